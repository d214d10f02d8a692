/* io/safetensors.c - see safetensors.h. */
#include "io/safetensors.h"

#include "base/half.h"
#include "base/memory.h"
#include "base/text.h"
#include "io/json.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_HEADER ((uint64_t)100 * 1000 * 1000)

static const struct {
    const char *name;
    size_t bytes;
} dtypes[LK_SAFETENSOR_DTYPE_COUNT] = {
#define LK_SAFETENSOR_ROW(name, bytes) {#name, bytes},
    LK_SAFETENSOR_DTYPES(LK_SAFETENSOR_ROW)
#undef LK_SAFETENSOR_ROW
};

const char *lk_safetensor_dtype_name(lk_safetensor_dtype dtype) {
    return (unsigned)dtype < LK_SAFETENSOR_DTYPE_COUNT ? dtypes[dtype].name : "unknown";
}

size_t lk_safetensor_dtype_bytes(lk_safetensor_dtype dtype) {
    return (unsigned)dtype < LK_SAFETENSOR_DTYPE_COUNT ? dtypes[dtype].bytes : 0;
}

void lk_dims_text(char *text, size_t capacity, int rank, const int64_t *shape) {
    size_t at = 0;
    for (int i = 0; i < rank && at < capacity; i++)
        at += (size_t)snprintf(text + at, capacity - at, "%c%lld", i ? ',' : '[', (long long)shape[i]);
    if (at < capacity) snprintf(text + at, capacity - at, rank ? "]" : "[]");
}

/* ---- the header ---- */

static bool read_shape(const cJSON *list, lk_safetensor *tensor) {
    if (!cJSON_IsArray(list)) return false;
    uint64_t elements = 1;
    tensor->rank = 0;
    for (const cJSON *node = list->child; node; node = node->next) {
        double value = cJSON_IsNumber(node) ? node->valuedouble : -1;
        if (tensor->rank == LK_SAFETENSOR_MAX_RANK || !(value >= 0 && value <= 0x1p53) ||
            value != (double)(int64_t)value)
            return false;
        tensor->shape[tensor->rank++] = (int64_t)value;
        if (value > 0 && elements > ((uint64_t)1 << 53) / (uint64_t)value) return false;
        elements *= (uint64_t)value;
    }
    tensor->elements = (size_t)elements;
    return elements <= SIZE_MAX / 8;
}

static bool read_offset(const cJSON *node, uint64_t *offset) {
    if (!cJSON_IsNumber(node) || !(node->valuedouble >= 0 && node->valuedouble <= 0x1p53) ||
        node->valuedouble != (double)(uint64_t)node->valuedouble)
        return false;
    *offset = (uint64_t)node->valuedouble;
    return true;
}

/* One entry of the header, everything about it checked that can be checked without the others. */
static likeness_status read_tensor(const char *file, const cJSON *entry, const uint8_t *data, uint64_t data_size,
                                   lk_safetensor *tensor, lk_error *error) {
    const char *name = entry->string;
    const cJSON *dtype = NULL, *shape = NULL, *offsets = NULL;
    for (const cJSON *node = cJSON_IsObject(entry) ? entry->child : NULL; node; node = node->next) {
        if (strcmp(node->string, "dtype") == 0)
            dtype = node;
        else if (strcmp(node->string, "shape") == 0)
            shape = node;
        else if (strcmp(node->string, "data_offsets") == 0)
            offsets = node;
        else
            return lk_fail(error, LIKENESS_BAD_FILE, "%s: tensor '%.200s' has the unknown field '%.60s'", file, name,
                           node->string);
    }
    if (!cJSON_IsString(dtype) || !shape || !cJSON_IsArray(offsets))
        return lk_fail(error, LIKENESS_BAD_FILE, "%s: tensor '%.200s' lacks dtype, shape or data_offsets", file, name);
    int type = 0;
    while (type < LK_SAFETENSOR_DTYPE_COUNT && strcmp(dtypes[type].name, dtype->valuestring) != 0)
        type++;
    if (type == LK_SAFETENSOR_DTYPE_COUNT)
        return lk_fail(error, LIKENESS_UNSUPPORTED, "%s: tensor '%.200s' has the unknown dtype '%.40s'", file, name,
                       dtype->valuestring);
    tensor->dtype = (lk_safetensor_dtype)type;
    if (!read_shape(shape, tensor))
        return lk_fail(error, LIKENESS_BAD_FILE,
                       "%s: the shape of tensor '%.200s' is no list of at most %d sizes with a sane product", file,
                       name, LK_SAFETENSOR_MAX_RANK);
    uint64_t begin, end;
    const cJSON *first = offsets->child;
    if (!first || !first->next || first->next->next || !read_offset(first, &begin) || !read_offset(first->next, &end))
        return lk_fail(error, LIKENESS_BAD_FILE, "%s: the data_offsets of tensor '%.200s' are not two whole numbers",
                       file, name);
    if (begin > end || end > data_size)
        return lk_fail(
            error, LIKENESS_BAD_FILE,
            "%s: tensor '%.200s' lies at bytes %llu to %llu, but the file has %llu bytes of data (is it cut?)", file,
            name, (unsigned long long)begin, (unsigned long long)end, (unsigned long long)data_size);
    uint64_t needed = (uint64_t)tensor->elements * dtypes[type].bytes;
    if (end - begin != needed)
        return lk_fail(error, LIKENESS_BAD_FILE, "%s: tensor '%.200s' needs %llu bytes by its shape but is given %llu",
                       file, name, (unsigned long long)needed, (unsigned long long)(end - begin));
    tensor->begin = begin;
    tensor->bytes = (size_t)needed;
    tensor->data = data + begin;
    return LIKENESS_OK;
}

static int compare_places(const void *a, const void *b) {
    const lk_safetensor *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

static int compare_names(const void *a, const void *b) {
    return strcmp(((const lk_safetensor *)a)->name, ((const lk_safetensor *)b)->name);
}

/* Tensors sorted by place must tile [0, data_size). */
static likeness_status check_tiling(const char *file, const lk_safetensor *tensors, size_t count, uint64_t data_size,
                                    lk_error *error) {
    uint64_t reached = 0;
    for (size_t i = 0; i < count; i++) {
        if (tensors[i].begin != reached)
            return lk_fail(error, LIKENESS_BAD_FILE, "%s: tensor '%.200s' begins at byte %llu, but %s byte %llu", file,
                           tensors[i].name, (unsigned long long)tensors[i].begin,
                           tensors[i].begin < reached ? "overlaps the one before, which ends at"
                                                      : "there is a hole: the one before ends at",
                           (unsigned long long)reached);
        reached += tensors[i].bytes;
    }
    if (reached != data_size)
        return lk_fail(error, LIKENESS_BAD_FILE, "%s: the tensors end at byte %llu, but there are %llu bytes of data",
                       file, (unsigned long long)reached, (unsigned long long)data_size);
    return LIKENESS_OK;
}

static likeness_status read_metadata(lk_safetensors *file, const char *name, const cJSON *object, lk_error *error) {
    size_t count = 0;
    for (const cJSON *node = object->child; node; node = node->next, count++)
        if (!cJSON_IsString(node) || !cJSON_IsObject(object))
            return lk_fail(error, LIKENESS_BAD_FILE, "%s: __metadata__ must map strings to strings", name);
    if (file->metadata_keys || count == 0) return LIKENESS_OK;
    file->metadata_keys = lk_arena_alloc(&file->arena, count, sizeof *file->metadata_keys);
    file->metadata_values = lk_arena_alloc(&file->arena, count, sizeof *file->metadata_values);
    for (const cJSON *node = object->child; node; node = node->next) {
        const char *key = lk_arena_strdup(&file->arena, node->string);
        const char *value = lk_arena_strdup(&file->arena, node->valuestring);
        if (!file->metadata_keys || !file->metadata_values || !key || !value)
            return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to read '%s'", name);
        file->metadata_keys[file->metadata_count] = key;
        file->metadata_values[file->metadata_count++] = value;
    }
    return LIKENESS_OK;
}

/* Appends the tensors of one file's parsed header. */
static likeness_status read_header(lk_safetensors *file, const char *name, const cJSON *root, const uint8_t *data,
                                   uint64_t data_size, lk_error *error) {
    size_t added = 0;
    for (const cJSON *node = root->child; node; node = node->next)
        added += strcmp(node->string, "__metadata__") != 0;
    lk_safetensor *all = lk_arena_alloc(&file->arena, file->count + added, sizeof *all);
    if (!all) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for the tensor list of '%s'", name);
    if (file->count) memcpy(all, file->tensors, file->count * sizeof *all);
    lk_safetensor *next = all + file->count;
    for (const cJSON *node = root->child; node; node = node->next) {
        if (strcmp(node->string, "__metadata__") == 0) {
            LK_TRY(read_metadata(file, name, node, error));
            continue;
        }
        LK_TRY(read_tensor(name, node, data, data_size, next, error));
        next->name = lk_arena_strdup(&file->arena, node->string);
        if (!next->name) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to read '%s'", name);
        next++;
    }
    if (added) qsort(all + file->count, added, sizeof *all, compare_places);
    LK_TRY(check_tiling(name, all + file->count, added, data_size, error));
    file->tensors = all;
    file->count += added;
    return LIKENESS_OK;
}

static likeness_status add_file(lk_safetensors *file, const char *name, const uint8_t *bytes, size_t size,
                                lk_error *error) {
    if (size < 8)
        return lk_fail(error, LIKENESS_BAD_FILE, "%s: %s; a safetensors file has at least 8 bytes", name,
                       size ? "cut short" : "empty");
    uint64_t header = 0;
    for (int i = 7; i >= 0; i--)
        header = header << 8 | bytes[i];
    if (header > MAX_HEADER)
        return lk_fail(error, LIKENESS_BAD_FILE,
                       "%s: not a safetensors file, or a hostile one: its header claims %llu bytes (at most %llu)",
                       name, (unsigned long long)header, (unsigned long long)MAX_HEADER);
    if (header > size - 8)
        return lk_fail(error, LIKENESS_BAD_FILE, "%s: its header claims %llu bytes, but only %llu follow (is it cut?)",
                       name, (unsigned long long)header, (unsigned long long)(size - 8));
    const char *text = (const char *)bytes + 8;
    if (header == 0 || text[0] != '{')
        return lk_fail(error, LIKENESS_BAD_FILE, "%s: not a safetensors file: its header does not start with '{'",
                       name);
    lk_json json;
    LK_TRY(lk_json_parse(&json, name, text, (size_t)header, error));
    read_header(file, name, json.root, bytes + 8 + header, size - 8 - header, error);
    lk_json_free(&json);
    return error->status;
}

static likeness_status begin(lk_safetensors *file, const char *name, lk_error *error) {
    memset(file, 0, sizeof *file);
    file->name = lk_strdup(name);
    return file->name ? LIKENESS_OK : lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to open '%s'", name);
}

/* Sorts by name and refuses a name that two shards share; closes everything when an error is recorded. */
static likeness_status finish(lk_safetensors *file, lk_error *error) {
    if (error->status == LIKENESS_OK && file->count) {
        qsort(file->tensors, file->count, sizeof *file->tensors, compare_names);
        for (size_t i = 1; i < file->count; i++)
            if (strcmp(file->tensors[i].name, file->tensors[i - 1].name) == 0) {
                if (file->tensors[i].origin)
                    lk_fail(error, LIKENESS_BAD_FILE, "%s: tensors '%.200s' and '%.200s' are the same one", file->name,
                            file->tensors[i - 1].origin, file->tensors[i].origin);
                lk_fail(error, LIKENESS_BAD_FILE, "%s: tensor '%.200s' lies in two of its files", file->name,
                        file->tensors[i].name);
                break;
            }
    }
    if (error->status != LIKENESS_OK) lk_safetensors_close(file);
    return error->status;
}

likeness_status lk_safetensors_parse(lk_safetensors *file, const char *name, const uint8_t *data, size_t size,
                                     lk_error *error) {
    LK_TRY(begin(file, name, error));
    add_file(file, name, data, size, error);
    return finish(file, error);
}

/* ---- files and shards ---- */

static likeness_status map_and_add(lk_safetensors *file, const char *path, lk_error *error) {
    lk_mapping *mapping = &file->mappings[file->mapping_count];
    const char *copy = lk_arena_strdup(&file->arena, path);
    if (!copy) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to open '%s'", path);
    LK_TRY(lk_file_map(path, mapping, error));
    file->paths[file->mapping_count++] = copy;
    return add_file(file, path, mapping->data, mapping->size, error);
}

static int compare_texts(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* The shards' names, once each, sorted; each a bare file name so that an index cannot reach outside its folder. */
static likeness_status shard_names(lk_safetensors *file, const cJSON *map, const char ***names, size_t *count,
                                   lk_error *error) {
    size_t entries = 0;
    for (const cJSON *node = map->child; node; node = node->next, entries++) {
        const char *shard = cJSON_IsString(node) ? node->valuestring : "";
        if (!lk_ends_with(shard, ".safetensors") || strpbrk(shard, "/\\"))
            return lk_fail(
                error, LIKENESS_BAD_FILE,
                "%s: tensor '%.200s' is said to lie in '%.100s', which is not the name of a safetensors file",
                file->name, node->string, shard);
    }
    if (entries == 0) return lk_fail(error, LIKENESS_BAD_FILE, "%s: its weight_map is empty", file->name);
    *names = lk_arena_alloc(&file->arena, entries, sizeof **names);
    if (!*names) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to open '%s'", file->name);
    size_t i = 0;
    for (const cJSON *node = map->child; node; node = node->next)
        (*names)[i++] = node->valuestring;
    qsort(*names, entries, sizeof **names, compare_texts);
    *count = 1;
    for (i = 1; i < entries; i++)
        if (strcmp((*names)[i], (*names)[*count - 1]) != 0) (*names)[(*count)++] = (*names)[i];
    return LIKENESS_OK;
}

/* Says which of the files are not there, all at once. */
static likeness_status check_shards(const char *path, const char *folder, const char *const *names, size_t count,
                                    lk_error *error) {
    lk_text missing = LK_TEXT_INIT;
    size_t absent = 0;
    bool failed = false;
    for (size_t i = 0; i < count && !failed; i++) {
        char *shard = lk_path_join(folder, names[i]);
        failed = !shard;
        if (shard && !lk_file_exists(shard)) lk_text_addf(&missing, "%s%s", absent++ ? ", " : "", names[i]);
        lk_free(shard);
    }
    if (failed || missing.failed)
        lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to open '%s'", path);
    else if (absent)
        lk_fail(error, LIKENESS_IO, "%s: %zu of its %zu files are missing: %s", path, absent, count, missing.data);
    lk_text_free(&missing);
    return error->status;
}

static likeness_status open_shards(lk_safetensors *file, const char *path, lk_json *json, lk_error *error) {
    cJSON *map = lk_json_get(json, NULL, "weight_map", error);
    if (!map) return error->status;
    if (!cJSON_IsObject(map)) return lk_fail(error, LIKENESS_BAD_FILE, "%s: 'weight_map' is no object", path);
    const char **names = NULL;
    size_t count = 0;
    LK_TRY(shard_names(file, map, &names, &count, error));
    file->mappings = lk_alloc(count, sizeof *file->mappings);
    file->paths = lk_arena_alloc(&file->arena, count, sizeof *file->paths);
    char *folder = lk_path_folder(path);
    if (!file->mappings || !file->paths || !folder)
        lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to open '%s'", path);
    if (error->status == LIKENESS_OK) check_shards(path, folder, names, count, error);
    for (size_t i = 0; i < count && error->status == LIKENESS_OK; i++) {
        char *shard = lk_path_join(folder, names[i]);
        if (shard)
            map_and_add(file, shard, error);
        else
            lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to open '%s'", path);
        lk_free(shard);
    }
    lk_free(folder);
    if (finish(file, error) != LIKENESS_OK) return error->status;
    for (const cJSON *node = map->child; node; node = node->next)
        if (!lk_safetensors_find(file, node->string))
            return lk_fail(error, LIKENESS_BAD_FILE, "%s: lists tensor '%.200s', which is in none of its files", path,
                           node->string);
    return LIKENESS_OK;
}

likeness_status lk_safetensors_open(lk_safetensors *file, const char *path, lk_error *error) {
    LK_TRY(begin(file, path, error));
    if (lk_ends_with(path, ".index.json") || lk_ends_with(path, ".index.fp16.json")) {
        lk_json json;
        if (lk_json_read(&json, path, (size_t)MAX_HEADER, error) == LIKENESS_OK) {
            open_shards(file, path, &json, error);
            lk_json_free(&json);
        }
        if (error->status != LIKENESS_OK) lk_safetensors_close(file);
        return error->status;
    }
    file->mappings = lk_alloc(1, sizeof *file->mappings);
    file->paths = lk_arena_alloc(&file->arena, 1, sizeof *file->paths);
    if (file->mappings && file->paths)
        map_and_add(file, path, error);
    else
        lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to open '%s'", path);
    return finish(file, error);
}

likeness_status lk_safetensors_open_folder(lk_safetensors *file, const char *folder, const char *stem,
                                           lk_error *error) {
    memset(file, 0, sizeof *file);
    static const char *const endings[] = {".safetensors", ".safetensors.index.json", ".fp16.safetensors",
                                          ".fp16.safetensors.index.json", ".safetensors.index.fp16.json"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        char name[256];
        snprintf(name, sizeof name, "%.200s%s", stem, endings[i]);
        char *path = lk_path_join(folder, name);
        if (!path) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to open '%s'", folder);
        bool exists = lk_file_exists(path);
        if (exists) lk_safetensors_open(file, path, error);
        lk_free(path);
        if (exists) return error->status;
    }
    static const char *const pickles[] = {"diffusion_pytorch_model.bin", "pytorch_model.bin"};
    for (size_t i = 0; i < sizeof pickles / sizeof *pickles; i++) {
        char *path = lk_path_join(folder, pickles[i]);
        bool exists = path && lk_file_exists(path);
        lk_free(path);
        if (exists)
            return lk_fail(error, LIKENESS_UNSUPPORTED,
                           "the folder '%s' has its weights as a pickle, %s, which can run programs and is never read; "
                           "convert it on a machine that you trust with it: tools/convert_checkpoint.py",
                           folder, pickles[i]);
    }
    return lk_fail(error, LIKENESS_IO, "there is no '%s.safetensors' (nor an index of its parts) in the folder '%s'",
                   stem, folder);
}

void lk_safetensors_close(lk_safetensors *file) {
    for (size_t i = 0; i < file->mapping_count; i++)
        lk_file_unmap(&file->mappings[i]);
    lk_free(file->mappings);
    lk_free(file->name);
    lk_arena_free(&file->arena);
    memset(file, 0, sizeof *file);
}

/* ---- views ---- */

likeness_status lk_safetensors_view_begin(lk_safetensors *view, const char *name, size_t capacity, lk_error *error) {
    LK_TRY(begin(view, name, error));
    view->tensors = lk_arena_alloc(&view->arena, capacity + 1, sizeof *view->tensors);
    return view->tensors ? LIKENESS_OK : lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to open '%s'", name);
}

likeness_status lk_safetensors_view_add(lk_safetensors *view, lk_safetensor *source, const char *name, size_t first,
                                        int rank, const int64_t *shape, lk_error *error) {
    lk_safetensor part = *source;
    size_t size = dtypes[source->dtype].bytes, elements = 1;
    for (int i = 0; i < rank; i++) {
        part.shape[i] = shape[i];
        elements *= (size_t)shape[i];
    }
    if (first > source->elements || elements > source->elements - first)
        return lk_fail(error, LIKENESS_BAD_FILE, "%s: tensor '%.200s' is too small to hold '%.200s'", view->name,
                       source->name, name);
    part.rank = rank;
    part.elements = elements;
    part.bytes = elements * size;
    if (part.bytes) part.data = source->data + first * size;
    part.begin = source->begin + first * size;
    part.origin = source->name;
    part.used = false;
    part.name = lk_arena_strdup(&view->arena, name);
    if (!part.name) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to open '%s'", view->name);
    source->used = true;
    view->tensors[view->count++] = part;
    return LIKENESS_OK;
}

likeness_status lk_safetensors_view_finish(lk_safetensors *view, lk_error *error) { return finish(view, error); }

/* ---- access ---- */

lk_safetensor *lk_safetensors_find(const lk_safetensors *file, const char *name) {
    lk_safetensor key = {.name = name};
    return file->count ? bsearch(&key, file->tensors, file->count, sizeof key, compare_names) : NULL;
}

likeness_status lk_safetensors_get(lk_safetensors *file, const char *name, int rank, const int64_t *shape,
                                   lk_safetensor **tensor, lk_error *error) {
    lk_safetensor *found = lk_safetensors_find(file, name);
    if (!found) return lk_fail(error, LIKENESS_BAD_FILE, "%s: the tensor '%.200s' is missing", file->name, name);
    bool same = found->rank == rank;
    for (int i = 0; same && i < rank; i++)
        same = found->shape[i] == shape[i];
    if (!same) {
        char has[96], wants[96];
        lk_dims_text(has, sizeof has, found->rank, found->shape);
        lk_dims_text(wants, sizeof wants, rank, shape);
        return lk_fail(error, LIKENESS_BAD_FILE, "%s: tensor '%.200s' has the shape %s, the configuration asks for %s",
                       file->name, found->origin ? found->origin : name, has, wants);
    }
    found->used = true;
    *tensor = found;
    return LIKENESS_OK;
}

const lk_safetensor *lk_safetensors_unused(const lk_safetensors *file) {
    for (size_t i = 0; i < file->count; i++)
        if (!file->tensors[i].used) return &file->tensors[i];
    return NULL;
}

const char *lk_safetensors_metadata(const lk_safetensors *file, const char *key) {
    for (size_t i = 0; i < file->metadata_count; i++)
        if (strcmp(file->metadata_keys[i], key) == 0) return file->metadata_values[i];
    return NULL;
}

likeness_status lk_safetensor_to_f32(const lk_safetensor *tensor, float *out, lk_error *error) {
#define CONVERT(type, expression)                                                                                      \
    for (size_t i = 0; i < tensor->elements; i++) {                                                                    \
        type x;                                                                                                        \
        memcpy(&x, tensor->data + i * sizeof x, sizeof x);                                                             \
        out[i] = expression;                                                                                           \
    }                                                                                                                  \
    return LIKENESS_OK
    switch (tensor->dtype) {
    case LK_SAFETENSOR_F32:
        if (tensor->bytes) memcpy(out, tensor->data, tensor->bytes);
        return LIKENESS_OK;
    case LK_SAFETENSOR_F16:
        CONVERT(uint16_t, lk_f16_to_f32(x));
    case LK_SAFETENSOR_BF16:
        CONVERT(uint16_t, lk_bf16_to_f32(x));
    case LK_SAFETENSOR_F64:
        CONVERT(double, (float)x);
    case LK_SAFETENSOR_I64:
        CONVERT(int64_t, (float)x);
    case LK_SAFETENSOR_I32:
        CONVERT(int32_t, (float)x);
    case LK_SAFETENSOR_I16:
        CONVERT(int16_t, (float)x);
    case LK_SAFETENSOR_I8:
        CONVERT(int8_t, (float)x);
    case LK_SAFETENSOR_U64:
        CONVERT(uint64_t, (float)x);
    case LK_SAFETENSOR_U32:
        CONVERT(uint32_t, (float)x);
    case LK_SAFETENSOR_U16:
        CONVERT(uint16_t, (float)x);
    case LK_SAFETENSOR_U8:
        CONVERT(uint8_t, (float)x);
    case LK_SAFETENSOR_BOOL:
        CONVERT(uint8_t, x ? 1.0f : 0.0f);
    default:
        return lk_fail(error, LIKENESS_UNSUPPORTED, "tensor '%.200s' holds %s values, which cannot be used here",
                       tensor->name, lk_safetensor_dtype_name(tensor->dtype));
    }
#undef CONVERT
}

/* ---- writing ---- */

static uint64_t tensor_bytes(const lk_safetensor *tensor) {
    uint64_t bytes = dtypes[tensor->dtype].bytes;
    for (int i = 0; i < tensor->rank; i++)
        bytes *= (uint64_t)tensor->shape[i];
    return bytes;
}

likeness_status lk_safetensors_write(const char *path, const lk_safetensor *tensors, size_t count,
                                     const char *const *metadata_keys, const char *const *metadata_values,
                                     size_t metadata_count, lk_error *error) {
    lk_text header = LK_TEXT_INIT;
    lk_text_add(&header, "{");
    if (metadata_count) {
        lk_text_add(&header, "\"__metadata__\":{");
        for (size_t i = 0; i < metadata_count; i++) {
            if (i) lk_text_add(&header, ",");
            lk_text_add_json(&header, metadata_keys[i]);
            lk_text_add(&header, ":");
            lk_text_add_json(&header, metadata_values[i]);
        }
        lk_text_add(&header, count ? "}," : "}");
    }
    uint64_t offset = 0;
    for (size_t i = 0; i < count; i++) {
        char shape[200];
        lk_dims_text(shape, sizeof shape, tensors[i].rank, tensors[i].shape);
        uint64_t end = offset + tensor_bytes(&tensors[i]);
        if (i) lk_text_add(&header, ",");
        lk_text_add_json(&header, tensors[i].name);
        lk_text_addf(&header, ":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%llu,%llu]}",
                     dtypes[tensors[i].dtype].name, shape, (unsigned long long)offset, (unsigned long long)end);
        offset = end;
    }
    lk_text_add(&header, "}");
    while (header.length % 8 && !header.failed)
        lk_text_add(&header, " ");
    lk_file_writer writer;
    if (header.failed)
        lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to write '%s'", path);
    else if (lk_file_writer_open(&writer, path, error) == LIKENESS_OK) {
        uint8_t length[8];
        for (int i = 0; i < 8; i++)
            length[i] = (uint8_t)((uint64_t)header.length >> (8 * i));
        lk_file_writer_append(&writer, length, 8, error);
        if (error->status == LIKENESS_OK) lk_file_writer_append(&writer, header.data, header.length, error);
        for (size_t i = 0; i < count && error->status == LIKENESS_OK; i++)
            lk_file_writer_append(&writer, tensors[i].data, (size_t)tensor_bytes(&tensors[i]), error);
        if (error->status == LIKENESS_OK)
            lk_file_writer_commit(&writer, error);
        else
            lk_file_writer_abort(&writer);
    }
    lk_text_free(&header);
    return error->status;
}
