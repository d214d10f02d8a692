/* base/text.c - see text.h. */
#include "base/text.h"

#include "base/memory.h"

#include <errno.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void lk_text_free(lk_text *text) {
    lk_free(text->data);
    memset(text, 0, sizeof *text);
}

void lk_text_clear(lk_text *text) {
    text->length = 0;
    if (text->data) text->data[0] = 0;
}

const char *lk_text_get(const lk_text *text) { return text->data ? text->data : ""; }

static bool reserve(lk_text *text, size_t more) {
    if (text->failed) return false;
    if (more >= SIZE_MAX / 4 - text->length) {
        text->failed = true;
        return false;
    }
    size_t needed = text->length + more + 1;
    if (needed <= text->capacity) return true;
    size_t capacity = text->capacity * 2 > needed ? text->capacity * 2 : needed + 32;
    char *grown = lk_realloc(text->data, capacity, 1);
    if (!grown) {
        text->failed = true;
        return false;
    }
    text->data = grown;
    text->capacity = capacity;
    return true;
}

void lk_text_append(lk_text *text, const char *bytes, size_t length) {
    if (!reserve(text, length)) return;
    if (length) memcpy(text->data + text->length, bytes, length);
    text->length += length;
    text->data[text->length] = 0;
}

void lk_text_add(lk_text *text, const char *string) { lk_text_append(text, string, strlen(string)); }

void lk_text_addf(lk_text *text, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0) {
        text->failed = true;
        return;
    }
    if (!reserve(text, (size_t)length)) return;
    va_start(arguments, format);
    vsnprintf(text->data + text->length, (size_t)length + 1, format, arguments);
    va_end(arguments);
    text->length += (size_t)length;
}

void lk_text_add_json(lk_text *text, const char *string) {
    lk_text_add(text, "\"");
    for (const char *c = string; *c; c++) {
        if (*c == '"' || *c == '\\')
            lk_text_addf(text, "\\%c", *c);
        else if (*c == '\n')
            lk_text_add(text, "\\n");
        else if ((unsigned char)*c < 0x20)
            lk_text_addf(text, "\\u%04x", (unsigned)*c);
        else
            lk_text_append(text, c, 1);
    }
    lk_text_add(text, "\"");
}

int32_t lk_utf8_decode(const uint8_t *bytes, size_t length, size_t *used) {
    *used = 1;
    if (length == 0) return -1;
    uint8_t lead = bytes[0];
    if (lead < 0x80) return lead;
    size_t more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
    if (lead < 0xc2 || lead > 0xf4 || more >= length) return -1;
    int32_t code_point = lead & (0x3f >> more);
    for (size_t i = 1; i <= more; i++) {
        if ((bytes[i] & 0xc0) != 0x80) return -1;
        code_point = code_point << 6 | (bytes[i] & 0x3f);
    }
    static const int32_t smallest[4] = {0, 0x80, 0x800, 0x10000};
    if (code_point < smallest[more] || code_point > 0x10ffff || (code_point >= 0xd800 && code_point < 0xe000))
        return -1;
    *used = more + 1;
    return code_point;
}

size_t lk_utf8_encode(int32_t code_point, char out[4]) {
    if (code_point < 0x80) {
        out[0] = (char)code_point;
        return 1;
    }
    size_t more = code_point < 0x800 ? 1 : code_point < 0x10000 ? 2 : 3;
    static const uint8_t lead[4] = {0, 0xc0, 0xe0, 0xf0};
    for (size_t i = more; i >= 1; i--) {
        out[i] = (char)(0x80 | (code_point & 0x3f));
        code_point >>= 6;
    }
    out[0] = (char)(lead[more] | code_point);
    return more + 1;
}

bool lk_utf8_valid(const char *bytes, size_t length, size_t *bad) {
    for (size_t at = 0, used; at < length; at += used)
        if (lk_utf8_decode((const uint8_t *)bytes + at, length - at, &used) <= 0) {
            if (bad) *bad = at;
            return false;
        }
    return true;
}

/* strtod follows the locale: put its decimal point in where the text has a full stop. */
bool lk_parse_double(const char *text, double *value) {
    char copy[128], *end;
    size_t length = strlen(text);
    if (length == 0 || length >= sizeof copy || strchr(" \t\n\v\f\r", text[0])) return false;
    const char *point = localeconv()->decimal_point;
    for (size_t i = 0; i <= length; i++)
        copy[i] = text[i] == '.' ? point[0] : text[i];
    double parsed = strtod(copy, &end);
    if (*end) return false;
    *value = parsed;
    return true;
}

bool lk_parse_int64(const char *text, int64_t *value) {
    char *end;
    if (text[0] == 0 || strchr(" \t\n\v\f\r", text[0])) return false;
    errno = 0;
    long long parsed = strtoll(text, &end, 10);
    if (*end || errno == ERANGE) return false;
    *value = parsed;
    return true;
}

bool lk_ends_with(const char *text, const char *ending) {
    size_t length = strlen(text), tail = strlen(ending);
    return length >= tail && memcmp(text + length - tail, ending, tail) == 0;
}
