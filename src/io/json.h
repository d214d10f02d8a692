/* io/json.h - reading JSON from files that nobody vouches for; thin over cJSON.
 *
 * A lk_json is one parsed document. Getters take an object and a key and fail with the file's name, the path of the key
 * and what was found instead: "unet/config.json: 'down_block_types[2]' is a number, expected a string".
 * Every key that a getter or lk_json_has / lk_json_ignore has asked for counts as used; lk_json_unused() then names one
 * that nobody asked for, so that a model refuses a config it does not fully understand.
 *
 * Limits: size given by the caller, nesting 64 levels, no duplicate keys in one object, valid UTF-8, nothing after the
 * end; a file may say -Infinity, which counts as null. cJSON's allocator is process-wide: the first document routes it
 * through base/memory.h. */
#ifndef LK_IO_JSON_H
#define LK_IO_JSON_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct cJSON lk_json_value; /* a node inside a document */

typedef struct lk_json {
    lk_json_value *root;
    char *name;                /* of the file, for messages */
    struct lk_json_used *used; /* set of nodes that were asked for */
} lk_json;

/* Routes cJSON through lk_alloc; called by lk_json_parse, and by whoever uses cJSON directly (writers). */
void lk_json_use_library_memory(void);

likeness_status lk_json_parse(lk_json *json, const char *name, const char *text, size_t size, lk_error *error);
likeness_status lk_json_read(lk_json *json, const char *path, size_t limit, lk_error *error);
void lk_json_free(lk_json *json);

/* ---- getters; `object` NULL means the root ---- */

/* The required value at a key; NULL and an error when missing. */
lk_json_value *lk_json_get(lk_json *json, lk_json_value *object, const char *key, lk_error *error);
/* True if the key exists and is not null; marks it used. */
bool lk_json_has(lk_json *json, lk_json_value *object, const char *key);
/* True if the key exists, with null as its value, too; does not mark it. */
bool lk_json_present(lk_json *json, lk_json_value *object, const char *key);
/* NULL when the key is missing or null; marks it used. */
lk_json_value *lk_json_find(lk_json *json, lk_json_value *object, const char *key);
/* Marks a key as known to have no effect; a missing one is fine. */
void lk_json_ignore(lk_json *json, lk_json_value *object, const char *key);

likeness_status lk_json_int(lk_json *json, lk_json_value *object, const char *key, int64_t low, int64_t high,
                            int64_t *value, lk_error *error);
likeness_status lk_json_double(lk_json *json, lk_json_value *object, const char *key, double *value, lk_error *error);
likeness_status lk_json_bool(lk_json *json, lk_json_value *object, const char *key, bool *value, lk_error *error);
/* The text lives as long as the document. */
likeness_status lk_json_text(lk_json *json, lk_json_value *object, const char *key, const char **value,
                             lk_error *error);
/* The same with a default for a missing or null key. */
likeness_status lk_json_int_or(lk_json *json, lk_json_value *object, const char *key, int64_t low, int64_t high,
                               int64_t otherwise, int64_t *value, lk_error *error);
likeness_status lk_json_double_or(lk_json *json, lk_json_value *object, const char *key, double otherwise,
                                  double *value, lk_error *error);
likeness_status lk_json_bool_or(lk_json *json, lk_json_value *object, const char *key, bool otherwise, bool *value,
                                lk_error *error);
likeness_status lk_json_text_or(lk_json *json, lk_json_value *object, const char *key, const char *otherwise,
                                const char **value, lk_error *error);
/* Arrays: at most `capacity` elements, *count how many there are. */
likeness_status lk_json_ints(lk_json *json, lk_json_value *object, const char *key, int64_t low, int64_t high,
                             int64_t *values, size_t capacity, size_t *count, lk_error *error);
likeness_status lk_json_bools(lk_json *json, lk_json_value *object, const char *key, bool *values, size_t capacity,
                              size_t *count, lk_error *error);
likeness_status lk_json_texts(lk_json *json, lk_json_value *object, const char *key, const char **values,
                              size_t capacity, size_t *count, lk_error *error);

/* "a number", "a list", ... for messages about values of two possible kinds. */
bool lk_json_is_list(const lk_json_value *value);
bool lk_json_is_object(const lk_json_value *value);
bool lk_json_is_text(const lk_json_value *value);
bool lk_json_is_number(const lk_json_value *value);
const char *lk_json_kind(const lk_json_value *value);

/* A key whose only supported value is known: fails, naming both, when it is present and different (null passes). */
likeness_status lk_json_expect_int(lk_json *json, lk_json_value *object, const char *key, int64_t only,
                                   lk_error *error);
likeness_status lk_json_expect_double(lk_json *json, lk_json_value *object, const char *key, double only,
                                      lk_error *error);
likeness_status lk_json_expect_bool(lk_json *json, lk_json_value *object, const char *key, bool only, lk_error *error);
likeness_status lk_json_expect_text(lk_json *json, lk_json_value *object, const char *key, const char *only,
                                    lk_error *error);
/* The only supported value is null, or the key being absent. */
likeness_status lk_json_expect_null(lk_json *json, lk_json_value *object, const char *key, lk_error *error);

/* LIKENESS_UNSUPPORTED naming the first key of the object that was never asked for. */
likeness_status lk_json_unused(lk_json *json, lk_json_value *object, lk_error *error);

#endif
