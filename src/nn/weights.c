/* nn/weights.c - the builder's place in a model, and weights by that place. See nn.h. */
#include "nn/nn.h"

#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void lk_nn_start(lk_nn *nn, lk_graph *graph, const lk_weight_source *source, const lk_hooks *hooks) {
    memset(nn, 0, sizeof *nn);
    nn->graph = graph;
    nn->source = source;
    nn->hooks = hooks;
}

void lk_nn_push(lk_nn *nn, const char *format, ...) {
    char word[128];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(word, sizeof word, format, arguments);
    va_end(arguments);
    size_t used = strlen(nn->path);
    int written = snprintf(nn->path + used, sizeof nn->path - used, "%s%s", used ? "." : "", word);
    if (written < 0 || (size_t)written >= sizeof nn->path - used)
        lk_graph_fail(nn->graph, LIKENESS_INTERNAL, "the module path %s is too long", nn->path);
    nn->depth[nn->levels++ % LK_NN_MAX_DEPTH] = (int16_t)used;
    lk_graph_push_scope(nn->graph, "%s", word);
}

void lk_nn_pop(lk_nn *nn) {
    nn->path[nn->depth[--nn->levels % LK_NN_MAX_DEPTH]] = 0;
    lk_graph_pop_scope(nn->graph);
}

enum { NAME = 768 };

/* "<before><path>.<name>" */
static void full_name(const lk_nn *nn, const char *before, const char *name, char out[NAME]) {
    snprintf(out, NAME, "%s%s%s%s", before, nn->path, nn->path[0] && name[0] ? "." : "", name);
}

static void set_name(const lk_nn *nn, const char *name, char out[NAME]) {
    char label[64];
    snprintf(label, sizeof label, "%s.", nn->source->label);
    full_name(nn, label, name, out);
}

static likeness_status fill_tensor(void *user, void *values, lk_error *error) {
    return lk_safetensor_to_f32(user, values, error);
}

static lk_safetensor *take(lk_nn *nn, const char *name, const lk_shape *shape, lk_error *error) {
    char file_name[NAME];
    int64_t dims[LK_MAX_RANK];
    full_name(nn, nn->source->file_prefix, name, file_name);
    for (int i = 0; i < shape->rank; i++)
        dims[i] = shape->dim[i];
    lk_safetensor *tensor = NULL;
    lk_safetensors_get(nn->source->file, file_name, shape->rank, dims, &tensor, error);
    return tensor;
}

static lk_value failed(lk_nn *nn, const lk_error *error) {
    lk_graph_fail(nn->graph, error->status, "%s", error->message);
    return LK_NO_VALUE;
}

lk_value lk_nn_weight(lk_nn *nn, const char *name, lk_weight_role role, lk_shape file_shape, lk_shape shape,
                      int groups) {
    char key[NAME];
    lk_error error = LK_ERROR_INIT;
    set_name(nn, name, key);
    int32_t index = lk_weights_find(nn->source->weights, key);
    if (index < 0) {
        lk_safetensor *tensor = take(nn, name, &file_shape, &error);
        if (!tensor) return failed(nn, &error);
        index = lk_weights_add(nn->source->weights, key, role, &shape, groups, fill_tensor, tensor, NULL, &error);
        if (index < 0) return failed(nn, &error);
    }
    return lk_graph_weight(nn->graph, index);
}

typedef struct vector_sum {
    const lk_safetensor *first, *second;
} vector_sum;

static likeness_status fill_sum(void *user, void *values, lk_error *error) {
    const vector_sum *sum = user;
    float *out = values, *second = lk_alloc(sum->second->elements, sizeof *second);
    if (!second) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for the weight %s", sum->second->name);
    likeness_status status = lk_safetensor_to_f32(sum->first, out, error);
    if (status == LIKENESS_OK) status = lk_safetensor_to_f32(sum->second, second, error);
    for (size_t i = 0; i < sum->second->elements && status == LIKENESS_OK; i++)
        out[i] += second[i];
    lk_free(second);
    return status;
}

lk_value lk_nn_vector_sum(lk_nn *nn, const char *first, const char *second, int size) {
    char key[NAME], both[256];
    lk_error error = LK_ERROR_INIT;
    lk_shape shape = lk_shape1(size);
    snprintf(both, sizeof both, "%s+%s", first, second);
    set_name(nn, both, key);
    int32_t index = lk_weights_find(nn->source->weights, key);
    if (index < 0) {
        vector_sum *sum = lk_alloc(1, sizeof *sum);
        if (!sum) lk_fail(&error, LIKENESS_OUT_OF_MEMORY, "no memory for the weight %s", key);
        if (sum && (sum->first = take(nn, first, &shape, &error)) != NULL &&
            (sum->second = take(nn, second, &shape, &error)) != NULL)
            index =
                lk_weights_add(nn->source->weights, key, LK_WEIGHT_VECTOR, &shape, 1, fill_sum, sum, lk_free, &error);
        if (index < 0) {
            lk_free(sum);
            return failed(nn, &error);
        }
    }
    return lk_graph_weight(nn->graph, index);
}

bool lk_nn_has(const lk_nn *nn, const char *name) {
    char file_name[NAME];
    full_name(nn, nn->source->file_prefix, name, file_name);
    return lk_safetensors_find(nn->source->file, file_name) != NULL;
}

static bool ends_with(const char *text, const char *ending) {
    size_t length = strlen(text), end = strlen(ending);
    return length >= end && strcmp(text + length - end, ending) == 0;
}

likeness_status lk_nn_check_all_used(const lk_weight_source *source, const char *const *ignored, lk_error *error) {
    const lk_safetensors *file = source->file;
    const lk_safetensor *first = NULL;
    size_t more = 0;
    for (size_t i = 0; i < file->count; i++) {
        bool known = file->tensors[i].used;
        for (const char *const *name = ignored; name && *name && !known; name++)
            known = ends_with(file->tensors[i].name, *name);
        if (known) continue;
        if (!first) first = &file->tensors[i];
        more++;
    }
    if (!first) return LIKENESS_OK;
    char shape[96];
    lk_dims_text(shape, sizeof shape, first->rank, first->shape);
    return lk_fail(error, LIKENESS_BAD_FILE,
                   "%s: the tensor %s %s (%zu in all) has no place in the model that its config.json describes",
                   file->name, first->name, shape, more);
}
