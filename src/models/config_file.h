/* models/config_file.h - what the readers of the config.json files share. */
#ifndef LK_MODELS_CONFIG_FILE_H
#define LK_MODELS_CONFIG_FILE_H

#include "io/json.h"

#include <stdint.h>

/* Reads FOLDER/NAME (at most 1 MiB). */
likeness_status lk_config_read(lk_json *json, const char *folder, const char *name, lk_error *error);
/* "_class_name" must be `only`; a missing one is refused. */
likeness_status lk_config_class(lk_json *json, const char *only, lk_error *error);
/* An integer of 32 bits; `otherwise` where the key is missing or null. */
likeness_status lk_config_int(lk_json *json, const char *key, int32_t low, int32_t high, int32_t otherwise,
                              int32_t *value, lk_error *error);
/* One number for all levels, or a list with one number a level. */
likeness_status lk_config_levels(lk_json *json, const char *key, int32_t low, int32_t high, int32_t otherwise,
                                 int32_t levels, int32_t *values, lk_error *error);
/* A list of 1..capacity positive integers. */
likeness_status lk_config_channels(lk_json *json, const char *key, int32_t capacity, int32_t *values, int32_t *count,
                                   lk_error *error);
/* Marks every key of a NULL-terminated table as having no effect. */
void lk_config_ignore(lk_json *json, const char *const *keys);

#endif
