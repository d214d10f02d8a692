/* base/error.c - see error.h. */
#include "base/error.h"

#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    int exit_code;
    const char *text;
} status_table[LIKENESS_STATUS_COUNT] = {
#define LK_STATUS_ROW(id, exit_code, text) {exit_code, text},
    LIKENESS_STATUS_LIST(LK_STATUS_ROW)
#undef LK_STATUS_ROW
};

/* Messages quote files and go to terminals: line feeds, escape sequences and cut or broken UTF-8 become '?'. */
static void make_printable(char *text) {
    size_t length = strlen(text), out = 0, used;
    for (size_t i = 0; i < length; i += used) {
        int32_t c = lk_utf8_decode((const uint8_t *)text + i, length - i, &used);
        if (c < 32 || (c >= 127 && c < 160)) {
            text[out++] = '?';
            continue;
        }
        memmove(text + out, text + i, used);
        out += used;
    }
    text[out] = 0;
}

likeness_status lk_fail(lk_error *error, likeness_status status, const char *format, ...) {
    if (error->status != LIKENESS_OK) return error->status;
    error->status = status;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    make_printable(error->message);
    return status;
}

void lk_error_prefix(lk_error *error, const char *format, ...) {
    char prefix[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(prefix, sizeof prefix, format, arguments);
    va_end(arguments);
    char old[sizeof error->message];
    memcpy(old, error->message, sizeof old);
    snprintf(error->message, sizeof error->message, "%s: %.*s", prefix, (int)(sizeof old - sizeof prefix - 3), old);
    make_printable(error->message);
}

const char *lk_status_text(likeness_status status) {
    return (unsigned)status < LIKENESS_STATUS_COUNT ? status_table[status].text : "unknown status";
}

int lk_status_exit_code(likeness_status status) {
    return (unsigned)status < LIKENESS_STATUS_COUNT ? status_table[status].exit_code : 1;
}
