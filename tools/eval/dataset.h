/* tools/eval/dataset.h - the image sets' tables (JSON lines) and pictures, and the journal of what was measured.
 *
 * A journal is a file of JSON lines, one a picture, each with a "key". It is appended to line by line; a run that was
 * stopped goes on where it ended, and a last line that was cut is dropped. */
#ifndef EVAL_DATASET_H
#define EVAL_DATASET_H

#include "base/error.h"
#include "io/image.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdio.h>

typedef struct eval_rows {
    cJSON **row;
    int count;
} eval_rows;

/* Every line of a file of JSON lines. */
likeness_status eval_rows_read(eval_rows *rows, const char *path, lk_error *error);
void eval_rows_free(eval_rows *rows);
/* "" and NaN for what is missing. */
const char *eval_text(const cJSON *row, const char *key);
double eval_number(const cJSON *row, const char *key);
/* A list of exactly `count` numbers; false when it is none. */
bool eval_floats(const cJSON *row, const char *key, float *values, int count);
/* Length of a list, 0 when there is none. */
int eval_list_length(const cJSON *row, const char *key);
/* Index of the row whose key has this text, or -1. */
int eval_rows_find(const eval_rows *rows, const char *key, const char *text);

/* Reads a picture and reduces it to size x size by the mean of whole blocks of pixels, as the training did. */
likeness_status eval_picture_read(lk_image *image, const char *folder, const char *name, uint32_t size,
                                  lk_error *error);
likeness_status eval_picture_reduce(const lk_image *image, uint32_t size, lk_image *reduced, lk_error *error);

typedef struct eval_journal {
    eval_rows rows;
    int capacity;
    FILE *file;
    char *path;
} eval_journal;

likeness_status eval_journal_open(eval_journal *journal, const char *path, lk_error *error);
void eval_journal_close(eval_journal *journal);
/* NULL when the key was not measured yet. */
const cJSON *eval_journal_find(const eval_journal *journal, const char *key);
/* Appends {"key": key, FIELDS}; fields is the inside of a JSON object without braces. */
likeness_status eval_journal_add(eval_journal *journal, const char *key, const char *fields, lk_error *error);

#endif
