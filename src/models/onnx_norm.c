/* models/onnx_norm.c - norms of ONNX as nodes of the graph. See onnx_internal.h. */
#include "models/onnx_internal.h"

#include "base/memory.h"

#include <math.h>
#include <string.h>

/* x [N,C,...] as [N,C,1,rest], in which channels are channels whatever the rank was. */
static lk_value channels_second(onnx_builder *b, lk_value x) {
    lk_shape shape = onnx_shape(b, x);
    if (x == LK_NO_VALUE || shape.rank == 4 || shape.rank == 2) return x;
    if (shape.rank < 2) {
        onnx_fail(b, LIKENESS_BAD_FILE, "an input of rank %d has no channels", shape.rank);
        return LK_NO_VALUE;
    }
    int64_t rest = lk_shape_elements(&shape) / shape.dim[0] / shape.dim[1];
    return lk_reshape(b->graph, x, lk_shape4(shape.dim[0], shape.dim[1], 1, (int)rest));
}

/* Output 0 in the shape that x has. */
static bool set_like(onnx_builder *b, lk_value y, lk_value x) {
    lk_shape shape = onnx_shape(b, x), is = onnx_shape(b, y);
    if (y == LK_NO_VALUE) return false;
    return onnx_set_value(b, 0, lk_shape_equal(&shape, &is) ? y : lk_reshape(b->graph, y, shape));
}

/* ---- batch norm ---- */

bool onnx_read_norm(onnx_builder *b, const lk_onnx_node *norm, size_t channels, float *scale, float *shift) {
    const lk_onnx_tensor *part[5];
    lk_error error = LK_ERROR_INIT;
    float epsilon = 1e-5f;
    int64_t training = 0;
    for (int i = 1; i < 5; i++) {
        const onnx_value *value = onnx_find_value(b, norm->inputs[i]);
        part[i] = value ? value->array : NULL;
        if (!part[i] || !part[i]->f32 || part[i]->count != channels)
            return onnx_fail(b, LIKENESS_UNSUPPORTED, "a batch norm needs four constants of %zu numbers", channels);
    }
    if (lk_onnx_float(b->file, norm, "epsilon", 1e-5f, &epsilon, &error) != LIKENESS_OK ||
        lk_onnx_int(b->file, norm, "training_mode", 0, &training, &error) != LIKENESS_OK)
        return onnx_fail(b, error.status, "%s", error.message);
    if (training != 0) return onnx_unsupported(b, "a batch norm in training mode");
    (void)lk_onnx_find(norm, "momentum"); /* training only */
    (void)lk_onnx_find(norm, "spatial");  /* old files; 1 is the only value that fits these shapes */
    for (size_t i = 0; i < channels; i++) {
        double gain = (double)part[1]->f32[i] / sqrt((double)part[4]->f32[i] + (double)epsilon);
        scale[i] = (float)gain;
        shift[i] = (float)((double)part[2]->f32[i] - (double)part[3]->f32[i] * gain);
    }
    return true;
}

static bool translate_batch_norm(onnx_builder *b, int kind) {
    (void)kind;
    lk_value given = onnx_operand(b, 0), x = channels_second(b, given), y = LK_NO_VALUE;
    lk_shape shape = onnx_shape(b, x);
    if (x == LK_NO_VALUE) return false;
    if (b->node->input_count != 5) return onnx_fail(b, LIKENESS_BAD_FILE, "five inputs are needed");
    for (size_t i = 1; i < b->node->output_count; i++)
        if (b->node->outputs[i][0]) return onnx_unsupported(b, "the running statistics as outputs (training mode)");
    size_t channels = (size_t)shape.dim[1];
    float *values = lk_alloc(2 * channels, sizeof *values);
    if (!values) return onnx_out_of_memory(b);
    bool good = onnx_read_norm(b, b->node, channels, values, values + channels);
    if (good) {
        const char *name = b->node->outputs[0];
        lk_shape vector = lk_shape1((int)channels);
        y = lk_channel_affine(b->graph, x, onnx_weight(b, name, "#scale", LK_WEIGHT_VECTOR, vector, 1, values),
                              onnx_weight(b, name, "#shift", LK_WEIGHT_VECTOR, vector, 1, values + channels));
    }
    lk_free(values);
    return good && set_like(b, y, given);
}

/* ---- group and instance norm ---- */

/* Input i, one number a channel or a group, as one a channel. */
static lk_value per_channel(onnx_builder *b, size_t i, const char *suffix, int channels, int groups) {
    const lk_onnx_tensor *array = onnx_array(b, i, true);
    if (!array) return LK_NO_VALUE;
    if (!array->f32 || (array->count != (size_t)channels && array->count != (size_t)groups)) {
        onnx_fail(b, LIKENESS_BAD_FILE, "input %zu must hold %d or %d numbers", i, channels, groups);
        return LK_NO_VALUE;
    }
    float *values = lk_alloc((size_t)channels, sizeof *values);
    if (!values) {
        onnx_out_of_memory(b);
        return LK_NO_VALUE;
    }
    for (int c = 0; c < channels; c++)
        values[c] = array->f32[array->count == (size_t)channels ? c : c / (channels / groups)];
    lk_value w = onnx_weight(b, b->node->outputs[0], suffix, LK_WEIGHT_VECTOR, lk_shape1(channels), 1, values);
    lk_free(values);
    return w;
}

static bool translate_group_norm(onnx_builder *b, int instance) {
    lk_value given = onnx_operand(b, 0), x = channels_second(b, given);
    lk_shape shape = onnx_shape(b, x);
    float epsilon = onnx_float(b, "epsilon", 1e-5f);
    if (x == LK_NO_VALUE) return false;
    int channels = shape.dim[1];
    int64_t groups = instance ? channels : onnx_int(b, "num_groups", 0);
    if (!instance) (void)onnx_int(b, "stash_type", 1);
    if (groups < 1 || channels % groups != 0)
        return onnx_fail(b, LIKENESS_BAD_FILE, "%lld groups do not divide %d channels", (long long)groups, channels);
    lk_value scale = per_channel(b, 1, "#scale", channels, (int)groups);
    lk_value shift = per_channel(b, 2, "#shift", channels, (int)groups);
    if (scale == LK_NO_VALUE || shift == LK_NO_VALUE) return false;
    return set_like(b, lk_group_norm(b->graph, x, scale, shift, (int)groups, epsilon, false), given);
}

/* ---- layer norm ---- */

/* Input i, as many numbers as a row has, as a vector. */
static lk_value row_vector(onnx_builder *b, size_t i, int64_t width) {
    lk_value w = onnx_operand(b, i);
    lk_shape shape = onnx_shape(b, w);
    if (w == LK_NO_VALUE || lk_shape_elements(&shape) != width) {
        onnx_fail(b, LIKENESS_UNSUPPORTED, "input %zu must hold one number for each of the %lld that are normalised", i,
                  (long long)width);
        return LK_NO_VALUE;
    }
    return shape.rank == 1 ? w : lk_reshape(b->graph, w, lk_shape1((int)width));
}

/* Over all axes from `axis` on: rows of a matrix. */
static bool translate_layer_norm(onnx_builder *b, int kind) {
    (void)kind;
    lk_value given = onnx_operand(b, 0), x = given, scale, shift = LK_NO_VALUE;
    lk_shape shape = onnx_shape(b, x);
    float epsilon = onnx_float(b, "epsilon", 1e-5f);
    int64_t width = 1;
    if (x == LK_NO_VALUE) return false;
    int axis = onnx_axis(b, onnx_int(b, "axis", -1), shape.rank);
    (void)onnx_int(b, "stash_type", 1);
    if (axis < 0) return false;
    for (size_t i = 1; i < b->node->output_count; i++)
        if (b->node->outputs[i][0]) return onnx_unsupported(b, "the mean or the deviation as an output");
    for (int i = axis; i < shape.rank; i++)
        width *= shape.dim[i];
    if (axis != shape.rank - 1 || shape.rank > 3)
        x = lk_reshape(b->graph, x, lk_shape2((int)(lk_shape_elements(&shape) / width), (int)width));
    scale = row_vector(b, 1, width);
    if (onnx_input(b, 2)) shift = row_vector(b, 2, width);
    if (!onnx_fine(b)) return false;
    return set_like(b, lk_layer_norm(b->graph, x, scale, shift, epsilon), given);
}

/* ---- length ---- */

static bool translate_lp_norm(onnx_builder *b, int kind) {
    (void)kind;
    lk_value x = onnx_operand(b, 0);
    if (x == LK_NO_VALUE) return false;
    int axis = onnx_axis(b, onnx_int(b, "axis", -1), onnx_shape(b, x).rank);
    int64_t p = onnx_int(b, "p", 2);
    if (axis < 0) return false;
    if (p != 1 && p != 2) return onnx_unsupported(b, "only p = 1 and p = 2");
    lk_value part = lk_unary_op(b->graph, p == 1 ? LK_UNARY_ABS : LK_UNARY_SQUARE, x, 0, 0);
    lk_value sum = lk_reduce_op(b->graph, LK_REDUCE_SUM, part, 1u << axis, true);
    if (p == 2) sum = lk_unary_op(b->graph, LK_UNARY_SQRT, sum, 0, 0);
    return onnx_set_value(b, 0, lk_binary_op(b->graph, LK_BINARY_DIV, x, sum));
}

/* ---- the list ---- */

const onnx_operator onnx_norm_operators[] = {
    {"BatchNormalization", translate_batch_norm, 0, "at inference; constant parameters"},
    {"InstanceNormalization", translate_group_norm, 1, "constant scale and shift"},
    {"GroupNormalization", translate_group_norm, 0, "constant scale and shift"},
    {"LayerNormalization", translate_layer_norm, 0, "first output only"},
    {"LpNormalization", translate_lp_norm, 0, "p = 1 or 2"},
    {0},
};
