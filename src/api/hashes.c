/* api/hashes.c - see hashes.h. */
#include "api/hashes.h"

#include "base/file.h"
#include "base/memory.h"

#include <stdio.h>
#include <string.h>

#define REMEMBERED ((uint64_t)64 << 20) /* smaller ones are read faster than looked up */

void lk_short_hex(lk_sha256 *hash, char text[11]) {
    uint8_t digest[32];
    lk_sha256_finish(hash, digest);
    for (int i = 0; i < 5; i++)
        snprintf(text + 2 * i, 3, "%02x", digest[i]);
}

likeness_status lk_hash_add_file(lk_sha256 *hash, const char *path, lk_error *error) {
    lk_mapping mapping;
    LK_TRY(lk_file_map(path, &mapping, error));
    lk_sha256_add(hash, mapping.data, mapping.size);
    lk_file_unmap(&mapping);
    return LIKENESS_OK;
}

likeness_status lk_hash_file(const char *path, char text[11], lk_error *error) {
    lk_sha256 hash;
    lk_sha256_init(&hash);
    likeness_status status = lk_hash_add_file(&hash, path, error);
    lk_short_hex(&hash, text);
    return status;
}

/* ---- what was found before ---- */

/* One collection of files: first stamped, then hashed if nothing is remembered. */
typedef struct collection {
    uint64_t key, bytes;
} collection;

static void stamp(collection *c, const char *path, uint64_t bytes) {
    uint64_t now = lk_file_stamp(path);
    c->key = lk_fnv64(lk_fnv64(c->key, path, strlen(path) + 1), &now, sizeof now);
    c->bytes += bytes;
}

static void stamp_weights(collection *c, const lk_safetensors *file) {
    for (size_t i = 0; i < file->mapping_count; i++)
        stamp(c, file->paths[i], file->mappings[i].size);
}

static bool memory_path(const likeness_context *context, const collection *c, char *path, size_t bytes) {
    const char *folder = context->device ? lk_device_cache_folder(context->device) : NULL;
    if (c->bytes < REMEMBERED || !folder || !folder[0]) return false;
    return (size_t)snprintf(path, bytes, "%s/hash-%016llx", folder, (unsigned long long)c->key) < bytes;
}

static bool recall(const likeness_context *context, const collection *c, char text[11]) {
    char path[1024];
    uint8_t *data;
    size_t size;
    lk_error ignored = LK_ERROR_INIT;
    if (!memory_path(context, c, path, sizeof path) || !lk_file_exists(path) ||
        lk_file_read(path, 64, &data, &size, &ignored) != LIKENESS_OK)
        return false;
    bool good = size == 10 && strspn((const char *)data, "0123456789abcdef") == 10;
    if (good) memcpy(text, data, 11);
    lk_free(data);
    return good;
}

/* A folder that cannot be written only means that the files are read again next time. */
static void remember(const likeness_context *context, const collection *c, const char text[11]) {
    char path[1024];
    lk_error ignored = LK_ERROR_INIT;
    if (memory_path(context, c, path, sizeof path) &&
        lk_directory_make(lk_device_cache_folder(context->device), &ignored) == LIKENESS_OK)
        lk_file_write(path, text, 10, &ignored);
}

/* ---- the hashes ---- */

static void add_weights(lk_sha256 *hash, const lk_safetensors *file) {
    for (size_t i = 0; i < file->mapping_count; i++)
        lk_sha256_add(hash, file->mappings[i].data, file->mappings[i].size);
}

void lk_hash_weights(const likeness_context *context, const lk_safetensors *file, char text[11]) {
    collection c = {.key = LK_FNV64_INIT};
    lk_sha256 hash;
    stamp_weights(&c, file);
    if (recall(context, &c, text)) return;
    lk_sha256_init(&hash);
    add_weights(&hash, file);
    lk_short_hex(&hash, text);
    remember(context, &c, text);
}

/* The configs of a folder; hash NULL: they are only stamped. */
static likeness_status visit_configs(const lk_model *model, collection *c, lk_sha256 *hash, lk_error *error) {
    static const char *const configs[] = {"scheduler/scheduler_config.json",
                                          "tokenizer/vocab.json",
                                          "tokenizer/merges.txt",
                                          "tokenizer/special_tokens_map.json",
                                          "tokenizer/tokenizer_config.json",
                                          "text_encoder/config.json",
                                          "unet/config.json",
                                          "vae/config.json"};
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
        char *path = lk_path_join(model->folder, configs[i]);
        likeness_status status = LIKENESS_OK;
        if (!path) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to load a model");
        if (!hash)
            stamp(c, path, 0);
        else if (lk_file_exists(path))
            status = lk_hash_add_file(hash, path, error);
        lk_free(path);
        LK_TRY(status);
    }
    return LIKENESS_OK;
}

likeness_status lk_hash_model(likeness_model *model, lk_error *error) {
    const lk_model *files = &model->files;
    const lk_safetensors *const parts[] = {&files->text.file, &files->unet.file, &files->vae.file};
    if (files->checkpoint.count) {
        lk_hash_weights(model->context, &files->checkpoint, model->hash);
        return LIKENESS_OK;
    }
    collection c = {.key = LK_FNV64_INIT};
    lk_sha256 hash;
    LK_TRY(visit_configs(files, &c, NULL, error));
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        stamp_weights(&c, parts[i]);
    if (recall(model->context, &c, model->hash)) return LIKENESS_OK;
    lk_sha256_init(&hash);
    LK_TRY(visit_configs(files, &c, &hash, error));
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        add_weights(&hash, parts[i]);
    lk_short_hex(&hash, model->hash);
    remember(model->context, &c, model->hash);
    return LIKENESS_OK;
}
