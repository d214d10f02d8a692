/* base/text.h - a growing string, and UTF-8.
 *
 * lk_text keeps `data` NUL-terminated at all times ("" before the first append). When memory runs out the text keeps
 * what it has and `failed` is set: callers append freely and look once, at the end. */
#ifndef LK_BASE_TEXT_H
#define LK_BASE_TEXT_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct lk_text {
    char *data;
    size_t length, capacity;
    bool failed;
} lk_text;

#define LK_TEXT_INIT                                                                                                   \
    { NULL, 0, 0, false }

void lk_text_free(lk_text *text);
void lk_text_clear(lk_text *text);
void lk_text_append(lk_text *text, const char *bytes, size_t length);
void lk_text_add(lk_text *text, const char *string);
void lk_text_addf(lk_text *text, const char *format, ...) LK_PRINTF(2, 3);
/* The string as JSON, in quotes. */
void lk_text_add_json(lk_text *text, const char *string);
/* "" for an empty text. */
const char *lk_text_get(const lk_text *text);

/* The code point at bytes[0..length), its length in *used; -1 for anything that is not UTF-8 (over-long, surrogate,
 * above U+10FFFF, cut), with *used = 1. */
int32_t lk_utf8_decode(const uint8_t *bytes, size_t length, size_t *used);
/* Writes 1 to 4 bytes, returns how many. The code point must be valid. */
size_t lk_utf8_encode(int32_t code_point, char out[4]);
/* True if all is UTF-8 without NUL bytes; else *bad (may be NULL) is the offset of the first wrong byte. */
bool lk_utf8_valid(const char *bytes, size_t length, size_t *bad);

/* Parses all of `text` as a number in the C locale's notation, whatever the program's locale is. */
bool lk_parse_double(const char *text, double *value);
bool lk_parse_int64(const char *text, int64_t *value);
bool lk_ends_with(const char *text, const char *ending);

#endif
