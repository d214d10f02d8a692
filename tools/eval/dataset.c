/* tools/eval/dataset.c - see dataset.h. */
#include "dataset.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "io/json.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

enum { ROW_LIMIT = 64 << 20 };

static likeness_status rows_push(eval_rows *rows, int *capacity, cJSON *row, lk_error *error) {
    if (rows->count == *capacity) {
        int larger = *capacity ? 2 * *capacity : 256;
        cJSON **grown = lk_realloc(rows->row, (size_t)larger, sizeof *grown);
        if (!grown) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for %d rows", larger);
        rows->row = grown;
        *capacity = larger;
    }
    rows->row[rows->count++] = row;
    return LIKENESS_OK;
}

/* Parses the complete lines of a text; *used is where the last complete one ends. */
static likeness_status rows_parse(eval_rows *rows, int *capacity, const char *path, const char *text, size_t size,
                                  size_t *used, lk_error *error) {
    lk_json_use_library_memory();
    *used = 0;
    for (int line = 1; *used < size; line++) {
        const char *start = text + *used, *end = memchr(start, '\n', size - *used);
        if (!end) return LIKENESS_OK;
        *used = (size_t)(end + 1 - text);
        if (end == start) continue;
        cJSON *row = cJSON_ParseWithLength(start, (size_t)(end - start));
        if (!row) return lk_fail(error, LIKENESS_BAD_FILE, "%s: line %d is no JSON", path, line);
        likeness_status status = rows_push(rows, capacity, row, error);
        if (status != LIKENESS_OK) {
            cJSON_Delete(row);
            return status;
        }
    }
    return LIKENESS_OK;
}

likeness_status eval_rows_read(eval_rows *rows, const char *path, lk_error *error) {
    uint8_t *data = NULL;
    size_t size = 0, used = 0;
    int capacity = 0;
    memset(rows, 0, sizeof *rows);
    LK_TRY(lk_file_read(path, ROW_LIMIT, &data, &size, error));
    likeness_status status = rows_parse(rows, &capacity, path, (const char *)data, size, &used, error);
    if (status == LIKENESS_OK && used != size)
        status = lk_fail(error, LIKENESS_BAD_FILE, "%s: the last line is cut", path);
    lk_free(data);
    if (status != LIKENESS_OK) eval_rows_free(rows);
    return status;
}

void eval_rows_free(eval_rows *rows) {
    for (int i = 0; i < rows->count; i++)
        cJSON_Delete(rows->row[i]);
    lk_free(rows->row);
    memset(rows, 0, sizeof *rows);
}

const char *eval_text(const cJSON *row, const char *key) {
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(row, key);
    return cJSON_IsString(value) ? value->valuestring : "";
}

double eval_number(const cJSON *row, const char *key) {
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(row, key);
    return cJSON_IsNumber(value) ? value->valuedouble : NAN;
}

int eval_list_length(const cJSON *row, const char *key) {
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(row, key);
    return cJSON_IsArray(list) ? cJSON_GetArraySize(list) : 0;
}

bool eval_floats(const cJSON *row, const char *key, float *values, int count) {
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(row, key), *item = NULL;
    int filled = 0;
    if (!cJSON_IsArray(list)) return false;
    cJSON_ArrayForEach(item, list) {
        if (filled == count || !cJSON_IsNumber(item)) return false;
        values[filled++] = (float)item->valuedouble;
    }
    return filled == count;
}

int eval_rows_find(const eval_rows *rows, const char *key, const char *text) {
    for (int i = 0; i < rows->count; i++)
        if (strcmp(eval_text(rows->row[i], key), text) == 0) return i;
    return -1;
}

likeness_status eval_picture_reduce(const lk_image *image, uint32_t size, lk_image *reduced, lk_error *error) {
    uint32_t f = image->width / size;
    if (image->width != image->height || f == 0 || image->width % size)
        return lk_fail(error, LIKENESS_BAD_FILE, "%ux%u pixels are no multiple of %ux%u", image->width, image->height,
                       size, size);
    LK_TRY(lk_image_create(reduced, size, size, error));
    for (uint32_t y = 0; y < size; y++)
        for (uint32_t x = 0; x < size; x++)
            for (uint32_t c = 0; c < 3; c++) {
                uint32_t sum = f * f / 2;
                for (uint32_t v = 0; v < f; v++)
                    for (uint32_t u = 0; u < f; u++)
                        sum += image->rgb[3 * ((size_t)(f * y + v) * image->width + f * x + u) + c];
                reduced->rgb[3 * ((size_t)y * size + x) + c] = (uint8_t)(sum / (f * f));
            }
    return LIKENESS_OK;
}

likeness_status eval_picture_read(lk_image *image, const char *folder, const char *name, uint32_t size,
                                  lk_error *error) {
    lk_image whole = {0};
    char *path = lk_path_join(folder, name);
    memset(image, 0, sizeof *image);
    if (!path) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for a path");
    likeness_status status = lk_image_read(&whole, path, error);
    if (status == LIKENESS_OK) status = eval_picture_reduce(&whole, size, image, error);
    if (status != LIKENESS_OK) lk_error_prefix(error, "%s", path);
    lk_image_free(&whole);
    lk_free(path);
    return status;
}

likeness_status eval_journal_open(eval_journal *journal, const char *path, lk_error *error) {
    uint8_t *data = NULL;
    size_t size = 0, used = 0;
    memset(journal, 0, sizeof *journal);
    journal->path = lk_strdup(path);
    if (!journal->path) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for a path");
    likeness_status status = LIKENESS_OK;
    if (lk_file_exists(path)) {
        status = lk_file_read(path, ROW_LIMIT, &data, &size, error);
        if (status == LIKENESS_OK)
            status = rows_parse(&journal->rows, &journal->capacity, path, (const char *)data, size, &used, error);
        lk_free(data);
        if (status == LIKENESS_OK && used != size && truncate(path, (off_t)used) != 0)
            status = lk_fail(error, LIKENESS_IO, "%s: cannot drop a line that was cut", path);
    }
    if (status == LIKENESS_OK) {
        journal->file = fopen(path, "ab");
        if (!journal->file) status = lk_fail(error, LIKENESS_IO, "%s: cannot append", path);
    }
    if (status != LIKENESS_OK) eval_journal_close(journal);
    return status;
}

void eval_journal_close(eval_journal *journal) {
    if (journal->file) fclose(journal->file);
    lk_free(journal->path);
    eval_rows_free(&journal->rows);
    memset(journal, 0, sizeof *journal);
}

const cJSON *eval_journal_find(const eval_journal *journal, const char *key) {
    int i = eval_rows_find(&journal->rows, "key", key);
    return i < 0 ? NULL : journal->rows.row[i];
}

likeness_status eval_journal_add(eval_journal *journal, const char *key, const char *fields, lk_error *error) {
    lk_text line = LK_TEXT_INIT;
    size_t used = 0;
    lk_text_add(&line, "{\"key\":");
    lk_text_add_json(&line, key);
    lk_text_add(&line, ",");
    lk_text_add(&line, fields);
    lk_text_add(&line, "}\n");
    likeness_status status = LIKENESS_OK;
    if (line.failed) status = lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for a line of %s", journal->path);
    if (status == LIKENESS_OK)
        status = rows_parse(&journal->rows, &journal->capacity, journal->path, line.data, line.length, &used, error);
    if (status == LIKENESS_OK &&
        (fwrite(line.data, 1, line.length, journal->file) != line.length || fflush(journal->file) != 0))
        status = lk_fail(error, LIKENESS_IO, "%s: cannot write", journal->path);
    lk_text_free(&line);
    return status;
}
