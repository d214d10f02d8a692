/* models/config_file.c - see config_file.h. */
#include "models/config_file.h"

#include "base/file.h"
#include "base/memory.h"

#include <string.h>

likeness_status lk_config_read(lk_json *json, const char *folder, const char *name, lk_error *error) {
    char *path = lk_path_join(folder, name);
    if (!path) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to read %s/%s", folder, name);
    likeness_status status = lk_json_read(json, path, (size_t)1 << 20, error);
    lk_free(path);
    return status;
}

likeness_status lk_config_class(lk_json *json, const char *only, lk_error *error) {
    const char *name;
    LK_TRY(lk_json_text(json, NULL, "_class_name", &name, error));
    if (strcmp(name, only) == 0) return LIKENESS_OK;
    return lk_fail(error, LIKENESS_UNSUPPORTED, "%s: '_class_name' is %s, only %s is supported", json->name, name,
                   only);
}

likeness_status lk_config_int(lk_json *json, const char *key, int32_t low, int32_t high, int32_t otherwise,
                              int32_t *value, lk_error *error) {
    int64_t wide;
    LK_TRY(lk_json_int_or(json, NULL, key, low, high, otherwise, &wide, error));
    *value = (int32_t)wide;
    return LIKENESS_OK;
}

likeness_status lk_config_levels(lk_json *json, const char *key, int32_t low, int32_t high, int32_t otherwise,
                                 int32_t levels, int32_t *values, lk_error *error) {
    enum { MOST = 16 };
    int64_t list[MOST];
    size_t count = 0;
    const lk_json_value *value = lk_json_find(json, NULL, key);
    if (value && lk_json_is_list(value)) {
        LK_TRY(lk_json_ints(json, NULL, key, low, high, list, MOST, &count, error));
        if (count != (size_t)levels)
            return lk_fail(error, LIKENESS_BAD_FILE, "%s: '%s' has %zu entries, the model has %d levels", json->name,
                           key, count, (int)levels);
        for (int i = 0; i < levels; i++)
            values[i] = (int32_t)list[i];
        return LIKENESS_OK;
    }
    int32_t one;
    LK_TRY(lk_config_int(json, key, low, high, otherwise, &one, error));
    for (int i = 0; i < levels; i++)
        values[i] = one;
    return LIKENESS_OK;
}

likeness_status lk_config_channels(lk_json *json, const char *key, int32_t capacity, int32_t *values, int32_t *count,
                                   lk_error *error) {
    enum { MOST = 16 };
    int64_t list[MOST];
    size_t found = 0;
    LK_TRY(lk_json_ints(json, NULL, key, 1, 65536, list, (size_t)(capacity < MOST ? capacity : MOST), &found, error));
    if (found == 0) return lk_fail(error, LIKENESS_BAD_FILE, "%s: '%s' is empty", json->name, key);
    for (size_t i = 0; i < found; i++)
        values[i] = (int32_t)list[i];
    *count = (int32_t)found;
    return LIKENESS_OK;
}

void lk_config_ignore(lk_json *json, const char *const *keys) {
    for (; *keys; keys++)
        lk_json_ignore(json, NULL, *keys);
}
