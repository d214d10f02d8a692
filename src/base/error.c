/* base/error.c - see error.h. */
#include "base/error.h"

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

likeness_status lk_fail(lk_error *error, likeness_status status, const char *format, ...) {
    if (error->status != LIKENESS_OK) return error->status;
    error->status = status;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
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
}

const char *lk_status_text(likeness_status status) {
    return (unsigned)status < LIKENESS_STATUS_COUNT ? status_table[status].text : "unknown status";
}

int lk_status_exit_code(likeness_status status) {
    return (unsigned)status < LIKENESS_STATUS_COUNT ? status_table[status].exit_code : 1;
}
