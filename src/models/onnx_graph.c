/* models/onnx_graph.c - an ONNX file as part of a graph: values, the walk over the nodes, preprocessing. See
 * onnx_graph.h. */
#include "models/onnx_internal.h"

#include "base/memory.h"
#include "base/text.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- errors ---- */

bool onnx_fail(onnx_builder *b, likeness_status status, const char *format, ...) {
    char reason[512], label[160];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    if (b->node) {
        lk_onnx_node_label(b->node, label, sizeof label);
        lk_graph_fail(b->graph, status, "%s: node %s: %s", b->file->file, label, reason);
    } else {
        lk_graph_fail(b->graph, status, "%s: %s", b->file->file, reason);
    }
    return false;
}

bool onnx_out_of_memory(onnx_builder *b) { return onnx_fail(b, LIKENESS_OUT_OF_MEMORY, "no memory"); }

bool onnx_fine(const onnx_builder *b) {
    lk_error error = LK_ERROR_INIT;
    return lk_graph_status(b->graph, &error) == LIKENESS_OK;
}

/* Hands a failure of src/io on. */
static void keep(onnx_builder *b, const lk_error *error) {
    if (error->status != LIKENESS_OK) lk_graph_fail(b->graph, error->status, "%s", error->message);
}

/* ---- attributes ---- */

int64_t onnx_int(onnx_builder *b, const char *name, int64_t otherwise) {
    lk_error error = LK_ERROR_INIT;
    int64_t value = otherwise;
    if (lk_onnx_int(b->file, b->node, name, otherwise, &value, &error) != LIKENESS_OK) keep(b, &error);
    return value;
}

float onnx_float(onnx_builder *b, const char *name, float otherwise) {
    lk_error error = LK_ERROR_INIT;
    float value = otherwise;
    if (lk_onnx_float(b->file, b->node, name, otherwise, &value, &error) != LIKENESS_OK) keep(b, &error);
    return value;
}

const char *onnx_string(onnx_builder *b, const char *name, const char *otherwise) {
    lk_error error = LK_ERROR_INIT;
    const char *value = otherwise;
    if (lk_onnx_string(b->file, b->node, name, otherwise, &value, &error) != LIKENESS_OK) keep(b, &error);
    return value;
}

const int64_t *onnx_ints(onnx_builder *b, const char *name, size_t *count) {
    lk_error error = LK_ERROR_INIT;
    const int64_t *values = NULL;
    *count = 0;
    if (lk_onnx_ints(b->file, b->node, name, &values, count, &error) != LIKENESS_OK) keep(b, &error);
    return values;
}

const int64_t *onnx_ints_either(onnx_builder *b, size_t i, const char *name, size_t *count) {
    if (!onnx_input(b, i)) return onnx_ints(b, name, count);
    const lk_onnx_tensor *array = onnx_array(b, i, true);
    *count = 0;
    if (!array) return NULL;
    if (!array->i64) {
        onnx_fail(b, LIKENESS_BAD_FILE, "input %zu must be integers", i);
        return NULL;
    }
    *count = array->count;
    return array->i64;
}

int onnx_axis(onnx_builder *b, int64_t axis, int rank) {
    int64_t positive = axis < 0 ? axis + rank : axis;
    if (positive >= 0 && positive < rank) return (int)positive;
    onnx_fail(b, LIKENESS_BAD_FILE, "axis %lld of rank %d", (long long)axis, rank);
    return -1;
}

/* ---- values ---- */

const onnx_value *onnx_find_value(const onnx_builder *b, const char *name) {
    for (size_t i = b->count; i-- > 0;)
        if (strcmp(b->values[i].name, name) == 0) return &b->values[i];
    return NULL;
}

static bool add_value(onnx_builder *b, const char *name, lk_value value, const lk_onnx_tensor *array) {
    if (b->count == b->capacity) return onnx_fail(b, LIKENESS_INTERNAL, "more values than the file has");
    b->values[b->count++] = (onnx_value){name, value, array};
    return true;
}

const onnx_value *onnx_input(const onnx_builder *b, size_t i) {
    if (i >= b->node->input_count || b->node->inputs[i][0] == 0) return NULL;
    return onnx_find_value(b, b->node->inputs[i]);
}

lk_shape onnx_shape(const onnx_builder *b, lk_value value) { return lk_graph_shape(b->graph, value); }

lk_value onnx_weight(onnx_builder *b, const char *name, const char *suffix, lk_weight_role role, lk_shape shape,
                     int groups, const float *values) {
    lk_error error = LK_ERROR_INIT;
    char key[512];
    int written = snprintf(key, sizeof key, "%s.%s%s", b->network->label, name, suffix);
    if (written < 0 || (size_t)written >= sizeof key) {
        onnx_fail(b, LIKENESS_UNSUPPORTED, "the name of a weight is longer than %d bytes", (int)sizeof key - 1);
        return LK_NO_VALUE;
    }
    int32_t index = lk_weights_find(b->network->weights, key);
    if (index < 0) index = lk_weights_add_values(b->network->weights, key, role, &shape, groups, values, &error);
    if (index < 0) {
        keep(b, &error);
        return LK_NO_VALUE;
    }
    return lk_graph_weight(b->graph, index);
}

const lk_onnx_tensor *onnx_array(onnx_builder *b, size_t i, bool required) {
    const onnx_value *value = onnx_input(b, i);
    if (value && value->array) return value->array;
    if (required)
        onnx_fail(b, LIKENESS_UNSUPPORTED, "input %zu %s", i,
                  value ? "depends on the picture; only constants are supported there" : "is missing");
    return NULL;
}

lk_value onnx_operand(onnx_builder *b, size_t i) {
    const onnx_value *value = onnx_input(b, i);
    if (!value) {
        onnx_fail(b, LIKENESS_BAD_FILE, "input %zu is missing", i);
        return LK_NO_VALUE;
    }
    if (value->value != LK_NO_VALUE) return value->value;
    const lk_onnx_tensor *array = value->array;
    if (!array->f32 || array->rank > LK_MAX_RANK || array->count == 0) {
        onnx_fail(b, LIKENESS_UNSUPPORTED, "input %zu: a constant of integers, of no elements or of rank %d here", i,
                  array->rank);
        return LK_NO_VALUE;
    }
    lk_shape shape = {.rank = array->rank};
    char suffix[128] = "#";
    for (int k = 0; k < array->rank; k++) {
        shape.dim[k] = (int32_t)array->dims[k];
        snprintf(suffix + strlen(suffix), sizeof suffix - strlen(suffix), "%lld,", (long long)array->dims[k]);
    }
    /* Folded arrays may depend on the input's shape: other numbers are another weight. */
    uint64_t hash = 1469598103934665603u;
    for (size_t k = 0; k < array->count * sizeof *array->f32; k++)
        hash = (hash ^ ((const unsigned char *)array->f32)[k]) * 1099511628211u;
    snprintf(suffix + strlen(suffix), sizeof suffix - strlen(suffix), "%08llx", (unsigned long long)(hash >> 32));
    return onnx_weight(b, value->name, suffix, LK_WEIGHT_VECTOR, shape, 1, array->f32);
}

static bool output_name(onnx_builder *b, size_t output, const char **name) {
    *name = output < b->node->output_count ? b->node->outputs[output] : "";
    return (*name)[0] != 0;
}

bool onnx_set_value(onnx_builder *b, size_t output, lk_value value) {
    const char *name;
    if (value == LK_NO_VALUE || !onnx_fine(b)) return false;
    return !output_name(b, output, &name) || add_value(b, name, value, NULL);
}

bool onnx_set_later(onnx_builder *b, const lk_onnx_node *node, lk_value value) {
    if (value == LK_NO_VALUE || !onnx_fine(b)) return false;
    b->done[node - b->file->nodes] = true;
    return add_value(b, node->outputs[0], value, NULL);
}

bool onnx_set_array(onnx_builder *b, size_t output, const lk_onnx_tensor *array) {
    const char *name;
    if (!array) return false;
    return !output_name(b, output, &name) || add_value(b, name, LK_NO_VALUE, array);
}

const lk_onnx_node *onnx_only_reader(const onnx_builder *b, const char *name) {
    const lk_onnx_node *found = NULL;
    for (size_t i = 0; i < b->file->output_count; i++)
        if (strcmp(b->file->outputs[i].name, name) == 0) return NULL;
    for (size_t n = 0; n < b->file->node_count; n++)
        for (size_t i = 0; i < b->file->nodes[n].input_count; i++) {
            if (strcmp(b->file->nodes[n].inputs[i], name) != 0) continue;
            if (found) return NULL;
            found = &b->file->nodes[n];
        }
    return found;
}

/* ---- the walk ---- */

static bool take_inputs(onnx_builder *b, const lk_value *inputs) {
    for (size_t i = 0; i < b->file->input_count; i++) {
        const lk_onnx_value *wanted = &b->file->inputs[i];
        lk_shape shape = onnx_shape(b, inputs[i]);
        bool good = wanted->rank < 0 || wanted->rank == shape.rank;
        for (int k = 0; good && wanted->rank > 0 && k < shape.rank; k++)
            good = wanted->dims[k] < 0 || wanted->dims[k] == shape.dim[k];
        if (!good) {
            char text[96], want[96];
            lk_shape stated = {.rank = wanted->rank < LK_MAX_RANK ? wanted->rank : LK_MAX_RANK};
            for (int k = 0; k < stated.rank; k++)
                stated.dim[k] = (int32_t)wanted->dims[k];
            return onnx_fail(b, LIKENESS_USAGE, "input %s is %s here, the file wants %s (-1: any)", wanted->name,
                             lk_shape_text(&shape, text, sizeof text), lk_shape_text(&stated, want, sizeof want));
        }
        if (!add_value(b, wanted->name, inputs[i], NULL)) return false;
    }
    for (size_t i = 0; i < b->file->initializer_count; i++)
        if (!add_value(b, b->file->initializers[i].name, LK_NO_VALUE, &b->file->initializers[i])) return false;
    return true;
}

static bool run_node(onnx_builder *b, const lk_onnx_node *node) {
    char label[96];
    lk_error error = LK_ERROR_INIT;
    b->node = node;
    if (node->domain[0] != 0 && strcmp(node->domain, "ai.onnx") != 0)
        return onnx_fail(b, LIKENESS_UNSUPPORTED, "operators of the domain %s are not supported", node->domain);
    lk_onnx_node_label(node, label, sizeof label);
    lk_graph_push_scope(b->graph, "%s", label);
    bool good = onnx_fold(b) || (onnx_fine(b) && onnx_translate(b));
    lk_graph_pop_scope(b->graph);
    if (good && lk_onnx_unused(b->file, node, &error) != LIKENESS_OK) keep(b, &error);
    return good && onnx_fine(b);
}

static bool give_outputs(onnx_builder *b, lk_value *outputs) {
    b->node = NULL;
    for (size_t i = 0; i < b->file->output_count; i++) {
        const onnx_value *value = onnx_find_value(b, b->file->outputs[i].name);
        if (!value || value->value == LK_NO_VALUE)
            return onnx_fail(b, LIKENESS_UNSUPPORTED, "output %s does not depend on the input",
                             b->file->outputs[i].name);
        outputs[i] = value->value;
    }
    return true;
}

static bool walk(onnx_builder *b, const lk_value *inputs, lk_value *outputs) {
    if (b->file->output_count > LK_ONNX_MAX_OUTPUTS)
        return onnx_fail(b, LIKENESS_UNSUPPORTED, "more than %d outputs", LK_ONNX_MAX_OUTPUTS);
    b->capacity = b->file->input_count + b->file->initializer_count;
    for (size_t n = 0; n < b->file->node_count; n++)
        b->capacity += b->file->nodes[n].output_count;
    b->values = lk_alloc(b->capacity, sizeof *b->values);
    b->done = lk_alloc(b->file->node_count, sizeof *b->done);
    if ((!b->values && b->capacity > 0) || (!b->done && b->file->node_count > 0)) return onnx_out_of_memory(b);
    if (!take_inputs(b, inputs)) return false;
    for (size_t n = 0; n < b->file->node_count; n++)
        if (!b->done[n] && !run_node(b, &b->file->nodes[n])) return false;
    return give_outputs(b, outputs);
}

void lk_onnx_network_build(const lk_onnx_network *network, lk_graph *graph, const lk_value *inputs, lk_value *outputs) {
    onnx_builder b = {.network = network, .file = &network->file, .graph = graph};
    for (size_t i = 0; i < b.file->output_count && i < LK_ONNX_MAX_OUTPUTS; i++)
        outputs[i] = LK_NO_VALUE;
    if (onnx_fine(&b)) walk(&b, inputs, outputs);
    lk_arena_free(&b.arena);
    lk_free(b.values);
    lk_free(b.done);
}

/* ---- preprocessing ---- */

/* One or three numbers, separated by commas or blanks. */
static likeness_status read_numbers(const lk_onnx_model *file, const char *key, float otherwise, float values[3],
                                    lk_error *error) {
    const char *text = lk_onnx_metadata(file, key);
    int count = 0;
    for (int i = 0; i < 3; i++)
        values[i] = otherwise;
    if (!text) return LIKENESS_OK;
    while (*text) {
        char word[40];
        double number;
        size_t length = strcspn(text, ", ");
        if (length > 0) {
            if (length >= sizeof word || count == 3) break;
            memcpy(word, text, length);
            word[length] = 0;
            if (!lk_parse_double(word, &number) || !isfinite((float)number)) break;
            values[count++] = (float)number;
        }
        text += length;
        if (*text) text++;
    }
    if (count == 1) values[1] = values[2] = values[0];
    if (*text || (count != 1 && count != 3))
        return lk_fail(error, LIKENESS_BAD_FILE, "%s: metadata '%s' must be one or three numbers", file->file, key);
    return LIKENESS_OK;
}

static likeness_status read_size(lk_onnx_preprocessing *p, const lk_onnx_model *file, lk_error *error) {
    const char *text = lk_onnx_metadata(file, "likeness.size");
    const lk_onnx_value *input = &file->inputs[0];
    int64_t size;
    for (int i = 0; i < 2; i++) {
        int64_t side = input->rank == 4 && input->dims[2 + i] > 0 ? input->dims[2 + i] : 0;
        *(i == 0 ? &p->height : &p->width) = side <= 16384 ? (int32_t)side : 0;
    }
    if (!text) return LIKENESS_OK;
    if (!lk_parse_int64(text, &size) || size < 1 || size > 16384)
        return lk_fail(error, LIKENESS_BAD_FILE, "%s: metadata 'likeness.size' is '%.40s', expected 1 to 16384",
                       file->file, text);
    if ((p->height > 0 && p->height != size) || (p->width > 0 && p->width != size))
        return lk_fail(error, LIKENESS_BAD_FILE, "%s: metadata 'likeness.size' is %lld, the input is %d x %d",
                       file->file, (long long)size, (int)p->height, (int)p->width);
    p->height = p->width = (int32_t)size;
    return LIKENESS_OK;
}

/* A key of ours that nobody knows, or that stands twice, would quietly change what the network sees. */
static likeness_status check_keys(const lk_onnx_model *file, lk_error *error) {
    static const char *const known[] = {"likeness.size",     "likeness.mean",      "likeness.std",
                                        "likeness.channels", "likeness.embedding", "likeness.threshold"};
    bool seen[sizeof known / sizeof *known] = {false};
    for (size_t i = 0; i < file->metadata_count; i++) {
        const char *key = file->metadata_keys[i];
        size_t k = 0;
        if (strncmp(key, "likeness.", 9) != 0) continue;
        while (k < sizeof known / sizeof *known && strcmp(known[k], key) != 0)
            k++;
        if (k == sizeof known / sizeof *known)
            return lk_fail(error, LIKENESS_UNSUPPORTED, "%s: metadata '%.60s' is not known", file->file, key);
        if (seen[k]) return lk_fail(error, LIKENESS_BAD_FILE, "%s: metadata '%s' stands twice", file->file, key);
        seen[k] = true;
    }
    return LIKENESS_OK;
}

/* The output that exporters of vision encoders give the embedding, where the file has one; else the first. */
static int32_t usual_embedding(const lk_onnx_model *file) {
    static const char *const names[] = {"image_embeds", "pooler_output"};
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
        for (size_t i = 0; i < file->output_count; i++)
            if (strcmp(file->outputs[i].name, names[k]) == 0) return (int32_t)i;
    return 0;
}

static likeness_status read_preprocessing(lk_onnx_preprocessing *p, const lk_onnx_model *file, lk_error *error) {
    const char *channels = lk_onnx_metadata(file, "likeness.channels");
    const char *output = lk_onnx_metadata(file, "likeness.embedding");
    const char *threshold = lk_onnx_metadata(file, "likeness.threshold");
    if (file->input_count < 1 || file->output_count < 1)
        return lk_fail(error, LIKENESS_BAD_FILE, "%s: a network without inputs or outputs", file->file);
    LK_TRY(check_keys(file, error));
    LK_TRY(read_size(p, file, error));
    LK_TRY(read_numbers(file, "likeness.mean", 0.5f, p->mean, error));
    LK_TRY(read_numbers(file, "likeness.std", 0.5f, p->std, error));
    for (int i = 0; i < 3; i++)
        if (!(p->std[i] > 0) || !isfinite(1 / p->std[i]) || !isfinite(p->mean[i] / p->std[i]))
            return lk_fail(error, LIKENESS_BAD_FILE,
                           "%s: metadata 'likeness.std' must be positive, and not so small that numbers overflow",
                           file->file);
    if (channels && strcmp(channels, "RGB") != 0 && strcmp(channels, "BGR") != 0)
        return lk_fail(error, LIKENESS_BAD_FILE, "%s: metadata 'likeness.channels' is '%.40s', expected RGB or BGR",
                       file->file, channels);
    p->bgr = channels && strcmp(channels, "BGR") == 0;
    if (output) {
        size_t i = 0;
        while (i < file->output_count && strcmp(file->outputs[i].name, output) != 0)
            i++;
        if (i == file->output_count)
            return lk_fail(error, LIKENESS_BAD_FILE,
                           "%s: metadata 'likeness.embedding' names '%.80s', which is no output", file->file, output);
        p->embedding = (int32_t)i;
    }
    if (!output) p->embedding = usual_embedding(file);
    p->has_threshold = threshold != NULL;
    if (threshold && (!lk_parse_double(threshold, &p->threshold) || !(fabs(p->threshold) <= 1)))
        return lk_fail(error, LIKENESS_BAD_FILE, "%s: metadata 'likeness.threshold' is '%.40s', expected -1 to 1",
                       file->file, threshold);
    return LIKENESS_OK;
}

/* Pillow's bilinear filter along one axis: a triangle as wide as the step between samples, at least 1. */
static bool resize_matrix(float *coarse, float *fine, int from, int to) {
    double step = (double)from / to, support = step > 1 ? step : 1;
    for (int i = 0; i < to; i++) {
        double centre = (i + 0.5) * step, sum = 0;
        for (int pass = 0; pass < 2; pass++)
            for (int j = 0; j < from; j++) {
                double distance = fabs(j + 0.5 - centre) / support, weight = distance < 1 ? 1 - distance : 0;
                if (pass == 0) {
                    sum += weight;
                    continue;
                }
                /* Two parts with 11 significant bits each: matrices are stored in f16. */
                double value = weight / sum, high = round(value * 2048) / 2048;
                coarse[i * from + j] = (float)high;
                fine[i * from + j] = (float)(value - high);
            }
    }
    return true;
}

/* The last axis of a rank-3 value, from `from` to `to` samples. */
static lk_value resize_axis(onnx_builder *b, lk_value x, int from, int to) {
    char name[64];
    float *coarse = lk_alloc((size_t)from * (size_t)to, sizeof *coarse);
    float *fine = lk_alloc((size_t)from * (size_t)to, sizeof *fine);
    lk_value y = LK_NO_VALUE;
    if (coarse && fine && resize_matrix(coarse, fine, from, to)) {
        snprintf(name, sizeof name, "#resize%dto%d", from, to);
        lk_shape shape = lk_shape2(to, from);
        lk_value high = onnx_weight(b, name, "", LK_WEIGHT_MATRIX, shape, 1, coarse);
        lk_value low = onnx_weight(b, name, "fine", LK_WEIGHT_MATRIX, shape, 1, fine);
        y = lk_matmul(b->graph, x, low, LK_NO_VALUE, LK_NO_VALUE);
        y = lk_matmul(b->graph, x, high, LK_NO_VALUE, y);
    } else {
        onnx_out_of_memory(b);
    }
    lk_free(coarse);
    lk_free(fine);
    return y;
}

static lk_value resize_picture(onnx_builder *b, lk_value x, int height, int width) {
    static const int32_t turn[3] = {0, 2, 1};
    lk_shape shape = onnx_shape(b, x);
    int n = shape.dim[0], c = shape.dim[1], h = shape.dim[2], w = shape.dim[3];
    if (h == height && w == width) return x;
    lk_value y = lk_reshape(b->graph, x, lk_shape3(n * c, h, w));
    if (w != width) y = resize_axis(b, y, w, width);
    if (h != height) y = lk_permute(b->graph, resize_axis(b, lk_permute(b->graph, y, turn), h, height), turn);
    return lk_reshape(b->graph, y, lk_shape4(n, c, height, width));
}

lk_value lk_onnx_preprocess(const lk_onnx_network *network, lk_graph *graph, lk_value picture) {
    static const float swap[9] = {0, 0, 1, 0, 1, 0, 1, 0, 0};
    const lk_onnx_preprocessing *p = &network->preprocessing;
    onnx_builder b = {.network = network, .file = &network->file, .graph = graph};
    lk_shape shape = lk_graph_shape(graph, picture);
    float scale[3], shift[3];
    bool neutral = true;
    if (!onnx_fine(&b)) return LK_NO_VALUE;
    if (shape.rank != 4 || shape.dim[1] != 3) {
        onnx_fail(&b, LIKENESS_INTERNAL, "preprocessing takes a picture [N,3,H,W]");
        return LK_NO_VALUE;
    }
    lk_graph_push_scope(graph, "%s.preprocess", network->label);
    lk_value x = picture;
    if (p->height > 0 && p->width > 0) x = resize_picture(&b, x, p->height, p->width);
    if (p->bgr)
        x = lk_matmul(graph, x, onnx_weight(&b, "#bgr", "", LK_WEIGHT_MATRIX, lk_shape2(3, 3), 1, swap), LK_NO_VALUE,
                      LK_NO_VALUE);
    for (int i = 0; i < 3; i++) {
        scale[i] = (float)(1.0 / (double)p->std[i]);
        shift[i] = (float)(-(double)p->mean[i] / (double)p->std[i]);
        neutral = neutral && p->std[i] == 1 && p->mean[i] == 0;
    }
    if (!neutral)
        x = lk_channel_affine(graph, x, onnx_weight(&b, "#scale", "", LK_WEIGHT_VECTOR, lk_shape1(3), 1, scale),
                              onnx_weight(&b, "#shift", "", LK_WEIGHT_VECTOR, lk_shape1(3), 1, shift));
    lk_graph_pop_scope(graph);
    return x;
}

lk_value lk_onnx_embed(const lk_onnx_network *network, lk_graph *graph, lk_value picture) {
    lk_value outputs[LK_ONNX_MAX_OUTPUTS];
    onnx_builder b = {.network = network, .file = &network->file, .graph = graph};
    if (network->file.input_count != 1) {
        onnx_fail(&b, LIKENESS_UNSUPPORTED, "an encoder has one input, this network has %zu",
                  network->file.input_count);
        return LK_NO_VALUE;
    }
    lk_value input = lk_onnx_preprocess(network, graph, picture);
    lk_onnx_network_build(network, graph, &input, outputs);
    if (!onnx_fine(&b)) return LK_NO_VALUE;
    lk_value y = outputs[network->preprocessing.embedding];
    lk_shape shape = lk_graph_shape(graph, y);
    if (shape.rank == 3 && shape.dim[1] > 1) { /* tokens: the first is the class token */
        y = lk_slice(graph, y, 1, 0, 1);
        shape = lk_graph_shape(graph, y);
    }
    int64_t width = shape.rank > 0 ? lk_shape_elements(&shape) / shape.dim[0] : 1;
    if (shape.rank == 2) return y;
    return lk_reshape(graph, y, lk_shape2(shape.rank > 0 ? shape.dim[0] : 1, (int)width));
}

/* ---- opening ---- */

likeness_status lk_onnx_network_open(lk_onnx_network *network, const char *path, const char *label, lk_weights *weights,
                                     lk_error *error) {
    memset(network, 0, sizeof *network);
    LK_TRY(lk_onnx_read(&network->file, path, error));
    network->weights = weights;
    network->label = lk_strdup(label);
    likeness_status status = network->label ? read_preprocessing(&network->preprocessing, &network->file, error)
                                            : lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to open %s", path);
    if (status != LIKENESS_OK) lk_onnx_network_close(network);
    return status;
}

void lk_onnx_network_close(lk_onnx_network *network) {
    lk_onnx_free(&network->file);
    lk_free(network->label);
    memset(network, 0, sizeof *network);
}
