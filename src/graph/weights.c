/* graph/weights.c - the constants of a model: names, shapes, where their values come from, their one copy on the
 * device. */
#include "graph/internal.h"

#include "base/half.h"
#include "base/memory.h"
#include "gpu/device.h"
#include "ops/pack.h"

#include <string.h>

lk_weights *lk_weights_create(bool precise) {
    lk_weights *weights = lk_alloc(1, sizeof *weights);
    if (weights) weights->precise = precise;
    return weights;
}

void lk_weights_destroy(lk_weights *weights) {
    if (!weights) return;
    lk_pool_destroy(weights->pool);
    for (int32_t i = 0; i < weights->count; i++) {
        if (weights->items[i].destroy_user) weights->items[i].destroy_user(weights->items[i].user);
        lk_free(weights->items[i].name);
    }
    lk_free(weights->items);
    lk_free(weights->buckets);
    lk_free(weights);
}

static uint32_t name_hash(const char *name) {
    uint32_t hash = 2166136261u;
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 16777619u;
    return hash;
}

/* Bucket that holds the name, or the empty one where it belongs. */
static int32_t bucket_of(const lk_weights *weights, const char *name) {
    uint32_t mask = (uint32_t)weights->bucket_count - 1, i = name_hash(name) & mask;
    while (weights->buckets[i] >= 0 && strcmp(weights->items[weights->buckets[i]].name, name) != 0)
        i = (i + 1) & mask;
    return (int32_t)i;
}

int32_t lk_weights_find(const lk_weights *weights, const char *name) {
    return weights->bucket_count ? weights->buckets[bucket_of(weights, name)] : -1;
}

static likeness_status make_room(lk_weights *weights, lk_error *error) {
    if (weights->count < weights->capacity) return LIKENESS_OK;
    int32_t capacity = weights->capacity ? weights->capacity * 2 : 64;
    lk_weight *items = lk_realloc(weights->items, (size_t)capacity, sizeof *items);
    if (!items) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for %d weights", (int)capacity);
    weights->items = items;
    int32_t *buckets = lk_alloc((size_t)capacity * 2, sizeof *buckets);
    if (!buckets) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for %d weights", (int)capacity);
    memset(buckets, 0xff, (size_t)capacity * 2 * sizeof *buckets);
    lk_free(weights->buckets);
    weights->buckets = buckets;
    weights->bucket_count = capacity * 2;
    weights->capacity = capacity;
    for (int32_t i = 0; i < weights->count; i++)
        buckets[bucket_of(weights, items[i].name)] = i;
    return LIKENESS_OK;
}

int32_t lk_weights_add(lk_weights *weights, const char *name, lk_weight_role role, const lk_shape *shape,
                       int32_t groups, lk_weight_fill fill, void *user, void (*destroy_user)(void *user),
                       lk_error *error) {
    char text[80];
    if (!lk_shape_valid(shape) || groups < 1) {
        lk_fail(error, LIKENESS_BAD_FILE, "weight %s: shape %s is not possible", name,
                lk_shape_text(shape, text, sizeof text));
        return -1;
    }
    if (make_room(weights, error) != LIKENESS_OK) return -1;
    int32_t bucket = bucket_of(weights, name);
    if (weights->buckets[bucket] >= 0) {
        lk_fail(error, LIKENESS_BAD_FILE, "the weight %s exists twice", name);
        return -1;
    }
    char *copy = lk_strdup(name);
    if (!copy) {
        lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for the weight %s", name);
        return -1;
    }
    lk_tensor tensor = {*shape, role == LK_WEIGHT_INDEX ? LK_I32 : LK_F32, LK_STORE_ROWS};
    if (role == LK_WEIGHT_MATRIX) {
        tensor.storage = weights->precise ? LK_STORE_PACKED_F32 : LK_STORE_PACKED_F16;
        tensor.dtype = weights->precise ? LK_F32 : LK_F16;
    }
    weights->items[weights->count] = (lk_weight){.name = copy,
                                                 .role = role,
                                                 .shape = *shape,
                                                 .groups = groups,
                                                 .fill = fill,
                                                 .user = user,
                                                 .destroy_user = destroy_user,
                                                 .tensor = tensor};
    weights->buckets[bucket] = weights->count;
    return weights->count++;
}

static size_t stored_bytes(const lk_weight *weight) {
    return weight->role == LK_WEIGHT_MATRIX ? lk_pack_bytes(&weight->shape, weight->groups, weight->tensor.storage)
                                            : lk_tensor_row_bytes(&weight->tensor);
}

/* In a pool. */
static uint64_t device_bytes(const lk_weight *weight) {
    uint64_t align = LK_BUFFER_ALIGN, bytes = stored_bytes(weight);
    return (bytes + align - 1) / align * align;
}

uint64_t lk_weights_missing_bytes(const lk_weights *weights) {
    uint64_t sum = 0;
    for (int32_t i = 0; weights && i < weights->count; i++)
        if (!weights->items[i].uploaded) sum += device_bytes(&weights->items[i]);
    return sum;
}

void lk_weights_unload(lk_weights *weights) {
    if (!weights) return;
    lk_pool_destroy(weights->pool);
    weights->pool = NULL;
    for (int32_t i = 0; i < weights->count; i++)
        weights->items[i].uploaded = false;
}

typedef struct value_copy {
    size_t bytes;
    char data[];
} value_copy;

static likeness_status fill_copy(void *user, void *values, lk_error *error) {
    const value_copy *copy = user;
    (void)error;
    memcpy(values, copy->data, copy->bytes);
    return LIKENESS_OK;
}

int32_t lk_weights_add_values(lk_weights *weights, const char *name, lk_weight_role role, const lk_shape *shape,
                              int32_t groups, const void *values, lk_error *error) {
    size_t bytes = lk_shape_valid(shape) ? (size_t)lk_shape_elements(shape) * 4 : 0;
    value_copy *copy = lk_alloc(sizeof *copy + bytes, 1);
    if (!copy) {
        lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for the weight %s (%zu bytes)", name, bytes);
        return -1;
    }
    copy->bytes = bytes;
    memcpy(copy->data, values, bytes);
    int32_t index = lk_weights_add(weights, name, role, shape, groups, fill_copy, copy, lk_free, error);
    if (index < 0) lk_free(copy);
    return index;
}

int32_t lk_weights_count(const lk_weights *weights) { return weights->count; }

lk_weight_info lk_weights_info(const lk_weights *weights, int32_t index) {
    const lk_weight *weight = &weights->items[index];
    return (lk_weight_info){weight->name, weight->role, weight->shape};
}

/* A fill and what is done to its values. */
typedef struct changed {
    lk_weight_fill fill, change;
    void *fill_user, *change_user;
    void (*destroy_fill)(void *user), (*destroy_change)(void *user);
} changed;

static likeness_status fill_changed(void *user, void *values, lk_error *error) {
    const changed *c = user;
    LK_TRY(c->fill(c->fill_user, values, error));
    return c->change(c->change_user, values, error);
}

static void destroy_changed(void *user) {
    changed *c = user;
    if (c->destroy_fill) c->destroy_fill(c->fill_user);
    if (c->destroy_change) c->destroy_change(c->change_user);
    lk_free(c);
}

likeness_status lk_weights_change(lk_weights *weights, int32_t index, lk_weight_fill change, void *user,
                                  void (*destroy_user)(void *user), lk_error *error) {
    lk_weight *weight = &weights->items[index];
    if (weight->uploaded)
        return lk_fail(error, LIKENESS_INTERNAL, "the weight %s is on the device already", weight->name);
    changed *c = lk_alloc(1, sizeof *c);
    if (!c) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for a change of the weight %s", weight->name);
    *c = (changed){weight->fill, change, weight->user, user, weight->destroy_user, destroy_user};
    weight->fill = fill_changed;
    weight->user = c;
    weight->destroy_user = destroy_changed;
    return LIKENESS_OK;
}

typedef struct more_rows {
    int64_t first; /* values before them */
    size_t count;
    float values[];
} more_rows;

static likeness_status fill_more_rows(void *user, void *values, lk_error *error) {
    const more_rows *more = user;
    (void)error;
    memcpy((float *)values + more->first, more->values, more->count * sizeof *more->values);
    return LIKENESS_OK;
}

likeness_status lk_weights_append_rows(lk_weights *weights, int32_t index, const float *values, int32_t rows,
                                       lk_error *error) {
    lk_weight *weight = &weights->items[index];
    lk_shape shape = weight->shape;
    if (weight->role != LK_WEIGHT_TABLE || rows < 1 || rows > INT32_MAX - shape.dim[0])
        return lk_fail(error, LIKENESS_INTERNAL, "%d rows cannot be added to the weight %s", (int)rows, weight->name);
    size_t count = (size_t)rows * (size_t)shape.dim[1];
    more_rows *more = lk_alloc(sizeof *more + count * sizeof *values, 1);
    if (!more) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for the weight %s", weight->name);
    more->first = lk_shape_elements(&shape);
    more->count = count;
    memcpy(more->values, values, count * sizeof *values);
    likeness_status status = lk_weights_change(weights, index, fill_more_rows, more, lk_free, error);
    if (status != LIKENESS_OK) {
        lk_free(more);
        return status;
    }
    weight->shape.dim[0] += rows;
    weight->tensor.shape = weight->shape;
    return LIKENESS_OK;
}

likeness_status lk_weight_values(const lk_weights *weights, int32_t index, float *dense, lk_error *error) {
    const lk_weight *weight = &weights->items[index];
    LK_TRY(weight->fill(weight->user, dense, error));
    if (weight->tensor.storage != LK_STORE_PACKED_F16) return LIKENESS_OK;
    int64_t count = lk_shape_elements(&weight->shape);
    for (int64_t i = 0; i < count; i++)
        dense[i] = lk_f16_to_f32(lk_f32_to_f16(dense[i]));
    return LIKENESS_OK;
}

/* Values in the order of the device, written to a fresh reference. */
static likeness_status upload_one(lk_weights *weights, lk_weight *weight, lk_error *error) {
    size_t count = (size_t)lk_shape_elements(&weight->shape);
    bool packed = weight->role == LK_WEIGHT_MATRIX;
    size_t bytes = stored_bytes(weight);
    float *dense = lk_alloc(count, sizeof *dense);
    void *stored = lk_alloc(bytes, 1);
    likeness_status status = dense && stored
                                 ? LIKENESS_OK
                                 : lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for the weight %s (%zu bytes)",
                                           weight->name, count * sizeof *dense + bytes);
    if (status == LIKENESS_OK) status = weight->fill(weight->user, dense, error);
    if (status == LIKENESS_OK && packed)
        lk_pack_weight(&weight->shape, weight->groups, weight->tensor.storage, dense, stored);
    if (status == LIKENESS_OK && !packed) lk_to_rows(&weight->shape, dense, stored);
    if (status == LIKENESS_OK) status = lk_pool_take(weights->pool, bytes, &weight->ref, error);
    if (status == LIKENESS_OK) status = lk_ref_write(weight->ref, 0, stored, bytes, error);
    weight->uploaded = status == LIKENESS_OK;
    lk_free(dense);
    lk_free(stored);
    return status;
}

/* Bytes of the weights from `first` on that are not on the device yet, as many as fit into one block: blocks are filled
 * to the last byte, and a set takes what lk_weights_missing_bytes says. */
static uint64_t next_block(const lk_weights *weights, int32_t first, uint64_t most) {
    uint64_t sum = 0;
    for (int32_t i = first; i < weights->count; i++) {
        if (weights->items[i].uploaded) continue;
        uint64_t bytes = device_bytes(&weights->items[i]);
        if (sum > 0 && sum + bytes > most) break;
        sum += bytes;
    }
    return sum;
}

likeness_status lk_weights_upload(lk_weights *weights, lk_device *device, lk_error *error) {
    if (weights->device && weights->device != device)
        return lk_fail(error, LIKENESS_INTERNAL, "the weights are on another device");
    uint64_t room = 0; /* in the block that is being filled */
    if (!weights->pool) LK_TRY(lk_pool_create(device, 0, "weights", &weights->pool, error));
    weights->device = device;
    for (int32_t i = 0; i < weights->count; i++) {
        lk_weight *weight = &weights->items[i];
        if (weight->uploaded) continue;
        if (room < device_bytes(weight)) {
            room = next_block(weights, i, lk_device_caps(device)->max_block);
            lk_pool_set_block(weights->pool, room);
        }
        LK_TRY(upload_one(weights, weight, error));
        room -= room < device_bytes(weight) ? room : device_bytes(weight);
    }
    return LIKENESS_OK;
}
