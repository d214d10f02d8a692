/* models/onnx_ops.c - operators of ONNX as nodes of the graph. See onnx_internal.h.
 *
 * A convolution swallows the batch norm that alone reads it (into its weights), and then the addition that alone reads
 * that, when the other summand is already there (into its residual slot). */
#include "models/onnx_internal.h"

#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static bool unsupported(onnx_builder *b, const char *what) { return onnx_fail(b, LIKENESS_UNSUPPORTED, "%s", what); }

/* ---- convolution ---- */

typedef struct window {
    int32_t kernel[2], stride[2], dilation[2], padding[4]; /* top, left, bottom, right */
} window;

static bool read_pair(onnx_builder *b, const char *name, int32_t pair[2]) {
    size_t count;
    const int64_t *values = onnx_ints(b, name, &count);
    pair[0] = pair[1] = 1;
    if (!values) return true;
    if (count != 2 || values[0] < 1 || values[1] < 1 || values[0] > 4096 || values[1] > 4096)
        return onnx_fail(b, LIKENESS_UNSUPPORTED, "'%s' must be two numbers from 1 to 4096", name);
    pair[0] = (int32_t)values[0];
    pair[1] = (int32_t)values[1];
    return true;
}

static int32_t extent_of(const window *w, int i) { return w->dilation[i] * (w->kernel[i] - 1) + 1; }

static bool read_window(onnx_builder *b, lk_shape x, window *w) {
    const char *automatic = onnx_string(b, "auto_pad", "NOTSET");
    size_t count;
    const int64_t *pads = onnx_ints(b, "pads", &count);
    if (x.rank != 4) return unsupported(b, "only windows over two axes (input of rank 4)");
    if (!read_pair(b, "strides", w->stride) || !read_pair(b, "dilations", w->dilation)) return false;
    memset(w->padding, 0, sizeof w->padding);
    if (pads && count != 4) return unsupported(b, "'pads' must be four numbers");
    for (int i = 0; i < 4 && pads; i++) {
        if (pads[i] < 0 || pads[i] > 4096) return unsupported(b, "'pads' must be from 0 to 4096");
        w->padding[i] = (int32_t)pads[i];
    }
    bool upper = strcmp(automatic, "SAME_UPPER") == 0;
    if (upper || strcmp(automatic, "SAME_LOWER") == 0) {
        for (int i = 0; i < 2; i++) {
            int32_t out = (x.dim[2 + i] + w->stride[i] - 1) / w->stride[i];
            int32_t all = (out - 1) * w->stride[i] + extent_of(w, i) - x.dim[2 + i];
            all = all < 0 ? 0 : all;
            w->padding[i] = upper ? all / 2 : (all + 1) / 2;
            w->padding[2 + i] = all - w->padding[i];
        }
    } else if (strcmp(automatic, "NOTSET") != 0 && strcmp(automatic, "VALID") != 0) {
        return onnx_fail(b, LIKENESS_BAD_FILE, "'auto_pad' is %s", automatic);
    }
    return true;
}

/* The batch norm that alone reads the node's output and has constant parameters; NULL: none. */
static const lk_onnx_node *following_norm(onnx_builder *b) {
    const lk_onnx_node *norm = onnx_only_reader(b, b->node->outputs[0]);
    if (!norm || strcmp(norm->op, "BatchNormalization") != 0 || norm->input_count != 5) return NULL;
    if (strcmp(norm->inputs[0], b->node->outputs[0]) != 0) return NULL;
    for (int i = 1; i < 5; i++) {
        const onnx_value *value = onnx_find_value(b, norm->inputs[i]);
        if (!value || !value->array || !value->array->f32) return NULL;
    }
    return norm;
}

/* scale and shift of a batch norm at inference, `channels` of each. */
static bool read_norm(onnx_builder *b, const lk_onnx_node *norm, size_t channels, float *scale, float *shift) {
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
    if (training != 0) return unsupported(b, "a batch norm in training mode");
    (void)lk_onnx_find(norm, "momentum"); /* training only */
    (void)lk_onnx_find(norm, "spatial");  /* old files; 1 is the only value that fits these shapes */
    for (size_t i = 0; i < channels; i++) {
        double gain = (double)part[1]->f32[i] / sqrt((double)part[4]->f32[i] + (double)epsilon);
        scale[i] = (float)gain;
        shift[i] = (float)((double)part[2]->f32[i] - (double)part[3]->f32[i] * gain);
    }
    return true;
}

/* The addition that alone reads `name` and whose other summand is a value of this shape; NULL: none. */
static const lk_onnx_node *following_add(onnx_builder *b, const char *name, lk_shape shape, lk_value *other) {
    const lk_onnx_node *add = onnx_only_reader(b, name);
    if (!add || strcmp(add->op, "Add") != 0 || add->input_count != 2) return NULL;
    const onnx_value *value = onnx_find_value(b, add->inputs[strcmp(add->inputs[0], name) == 0 ? 1 : 0]);
    if (!value || value->value == LK_NO_VALUE) return NULL;
    lk_shape has = onnx_shape(b, value->value);
    *other = value->value;
    return lk_shape_equal(&has, &shape) ? add : NULL;
}

/* Weight and bias of the convolution, with the batch norm in them. */
static bool conv_weights(onnx_builder *b, const lk_onnx_tensor *w, const lk_onnx_tensor *bias, const lk_onnx_node *norm,
                         lk_shape shape, int groups, lk_value *weight, lk_value *offset) {
    size_t outputs = (size_t)w->dims[0], row = w->count / outputs;
    float *values = lk_alloc(w->count, sizeof *values), *offsets = lk_alloc(2 * outputs, sizeof *offsets);
    bool good = values && offsets;
    float *scale = offsets ? offsets + outputs : NULL;
    if (!good) onnx_out_of_memory(b);
    if (good && norm) good = read_norm(b, norm, outputs, scale, offsets);
    for (size_t o = 0; good && o < outputs; o++) {
        double gain = norm ? (double)scale[o] : 1, shift = norm ? (double)offsets[o] : 0;
        offsets[o] = (float)((bias ? (double)bias->f32[o] * gain : 0) + shift);
        for (size_t i = 0; i < row; i++)
            values[o * row + i] = (float)((double)w->f32[o * row + i] * gain);
    }
    if (good) {
        const char *name = b->node->outputs[0];
        *weight = onnx_weight(b, name, "#weight", LK_WEIGHT_MATRIX, shape, groups, values);
        *offset = bias || norm ? onnx_weight(b, name, "#bias", LK_WEIGHT_VECTOR, lk_shape1((int)outputs), 1, offsets)
                               : LK_NO_VALUE;
    }
    lk_free(values);
    lk_free(offsets);
    return good;
}

static bool translate_conv(onnx_builder *b) {
    lk_value x = onnx_operand(b, 0), weight = LK_NO_VALUE, bias = LK_NO_VALUE, residual = LK_NO_VALUE;
    const lk_onnx_tensor *w = onnx_array(b, 1, true), *offset = onnx_array(b, 2, false);
    lk_shape shape = onnx_shape(b, x);
    int64_t groups = onnx_int(b, "group", 1);
    size_t count;
    const int64_t *stated = onnx_ints(b, "kernel_shape", &count);
    window win;
    if (x == LK_NO_VALUE || !w) return false;
    if (!w->f32 || w->rank != 4 || w->count == 0) return unsupported(b, "the weight must be floats of rank 4");
    for (int i = 0; i < 2; i++) {
        win.kernel[i] = w->dims[2 + i] < 4096 ? (int32_t)w->dims[2 + i] : 4096;
        if (stated && (count != 2 || stated[i] != w->dims[2 + i]))
            return onnx_fail(b, LIKENESS_BAD_FILE, "'kernel_shape' is not that of the weight");
    }
    if (!read_window(b, shape, &win)) return false;
    if (groups < 1 || w->dims[0] % groups != 0 || w->dims[1] * groups != shape.dim[1])
        return onnx_fail(b, LIKENESS_BAD_FILE, "weight [%lld,%lld,..] with %lld groups on %d channels",
                         (long long)w->dims[0], (long long)w->dims[1], (long long)groups, (int)shape.dim[1]);
    if (onnx_input(b, 2) && (!offset || !offset->f32 || offset->count != (size_t)w->dims[0]))
        return unsupported(b, "the bias must be a constant with one number an output channel");
    lk_shape out = lk_shape4(shape.dim[0], (int)w->dims[0], 0, 0);
    for (int i = 0; i < 2; i++)
        out.dim[2 + i] =
            (shape.dim[2 + i] + win.padding[i] + win.padding[2 + i] - extent_of(&win, i)) / win.stride[i] + 1;
    const lk_onnx_node *norm = following_norm(b), *last = norm ? norm : b->node;
    const lk_onnx_node *add = following_add(b, last->outputs[0], out, &residual);
    if (!add) residual = LK_NO_VALUE;
    bool plain = win.kernel[0] == 1 && win.kernel[1] == 1 && win.stride[0] == 1 && win.stride[1] == 1 && groups == 1 &&
                 win.padding[0] + win.padding[1] + win.padding[2] + win.padding[3] == 0;
    lk_shape stored = plain ? lk_shape2((int)w->dims[0], (int)w->dims[1])
                            : lk_shape4((int)w->dims[0], (int)w->dims[1], win.kernel[0], win.kernel[1]);
    if (!conv_weights(b, w, offset, norm, stored, (int)groups, &weight, &bias)) return false;
    lk_conv2d_options options = {.groups = (int32_t)groups};
    memcpy(options.stride, win.stride, sizeof win.stride);
    memcpy(options.dilation, win.dilation, sizeof win.dilation);
    memcpy(options.padding, win.padding, sizeof win.padding);
    lk_value y = plain ? lk_matmul(b->graph, x, weight, bias, residual)
                       : lk_conv2d(b->graph, x, weight, bias, residual, options);
    if (norm) b->done[norm - b->file->nodes] = true;
    return add ? onnx_set_later(b, add, y) : norm ? onnx_set_later(b, norm, y) : onnx_set_value(b, 0, y);
}

/* ---- linear ---- */

/* Constant B [K,O] (or [O,K] when turned) as a matrix [O,K], times a factor. */
static lk_value matrix(onnx_builder *b, const lk_onnx_tensor *w, bool turned, double factor) {
    int outputs = (int)w->dims[turned ? 0 : 1], inputs = (int)w->dims[turned ? 1 : 0];
    float *values = lk_alloc(w->count, sizeof *values);
    if (!values) {
        onnx_out_of_memory(b);
        return LK_NO_VALUE;
    }
    for (int o = 0; o < outputs; o++)
        for (int i = 0; i < inputs; i++)
            values[(size_t)o * (size_t)inputs + (size_t)i] =
                (float)(factor * (double)w->f32[turned ? (size_t)o * (size_t)inputs + (size_t)i
                                                       : (size_t)i * (size_t)outputs + (size_t)o]);
    lk_value y =
        onnx_weight(b, b->node->outputs[0], "#weight", LK_WEIGHT_MATRIX, lk_shape2(outputs, inputs), 1, values);
    lk_free(values);
    return y;
}

static bool is_matrix(onnx_builder *b, const lk_onnx_tensor *w, int inputs, bool turned) {
    if (!w) return false;
    if (!w->f32 || w->rank != 2 || w->count == 0) return unsupported(b, "only a constant matrix on the right");
    if (w->dims[turned ? 1 : 0] == inputs) return true;
    return onnx_fail(b, LIKENESS_BAD_FILE, "a matrix [%lld,%lld] on rows of %d", (long long)w->dims[0],
                     (long long)w->dims[1], inputs);
}

static bool translate_gemm(onnx_builder *b) {
    lk_value x = onnx_operand(b, 0), bias = LK_NO_VALUE;
    const lk_onnx_tensor *w = onnx_array(b, 1, true), *c = onnx_array(b, 2, false);
    lk_shape shape = onnx_shape(b, x);
    bool turned = onnx_int(b, "transB", 0) != 0;
    float alpha = onnx_float(b, "alpha", 1), beta = onnx_float(b, "beta", 1);
    if (x == LK_NO_VALUE || !w) return false;
    if (onnx_int(b, "transA", 0) != 0 || shape.rank != 2) return unsupported(b, "only a plain matrix on the left");
    if (!is_matrix(b, w, shape.dim[1], turned)) return false;
    size_t outputs = (size_t)w->dims[turned ? 0 : 1];
    if (onnx_input(b, 2)) {
        if (!c || !c->f32 || (c->count != 1 && (c->count != outputs || c->dims[c->rank - 1] != (int64_t)outputs)))
            return unsupported(b, "the third input must be one constant row");
        float *values = lk_alloc(outputs, sizeof *values);
        if (!values) return onnx_out_of_memory(b);
        for (size_t i = 0; i < outputs; i++)
            values[i] = beta * c->f32[c->count == 1 ? 0 : i];
        bias = onnx_weight(b, b->node->outputs[0], "#bias", LK_WEIGHT_VECTOR, lk_shape1((int)outputs), 1, values);
        lk_free(values);
    }
    lk_value y = matrix(b, w, turned, (double)alpha);
    return y != LK_NO_VALUE && onnx_set_value(b, 0, lk_matmul(b->graph, x, y, bias, LK_NO_VALUE));
}

static bool translate_matmul(onnx_builder *b) {
    lk_value x = onnx_operand(b, 0);
    const lk_onnx_tensor *w = onnx_array(b, 1, true);
    lk_shape shape = onnx_shape(b, x), flat = shape;
    if (x == LK_NO_VALUE || !w) return false;
    if (shape.rank < 2) return unsupported(b, "only a matrix or a stack of them on the left");
    if (!is_matrix(b, w, shape.dim[shape.rank - 1], false)) return false;
    lk_value y = matrix(b, w, false, 1);
    if (shape.rank > 3) { /* rank 4 has its channels elsewhere */
        int64_t rows = lk_shape_elements(&shape) / shape.dim[shape.rank - 1];
        flat = lk_shape2((int)rows, shape.dim[shape.rank - 1]);
        x = lk_reshape(b->graph, x, flat);
    }
    y = lk_matmul(b->graph, x, y, LK_NO_VALUE, LK_NO_VALUE);
    if (shape.rank > 3) {
        shape.dim[shape.rank - 1] = (int32_t)w->dims[1];
        y = lk_reshape(b->graph, y, shape);
    }
    return onnx_set_value(b, 0, y);
}

/* ---- norms and slopes ---- */

static bool translate_batch_norm(onnx_builder *b) {
    lk_value x = onnx_operand(b, 0);
    lk_shape shape = onnx_shape(b, x);
    if (x == LK_NO_VALUE) return false;
    if (shape.rank != 4 && shape.rank != 2) return unsupported(b, "only inputs of rank 2 and 4");
    if (b->node->input_count != 5) return onnx_fail(b, LIKENESS_BAD_FILE, "five inputs are needed");
    size_t channels = (size_t)shape.dim[1];
    float *values = lk_alloc(2 * channels, sizeof *values);
    if (!values) return onnx_out_of_memory(b);
    bool good = read_norm(b, b->node, channels, values, values + channels);
    lk_value y = LK_NO_VALUE;
    if (good) {
        const char *name = b->node->outputs[0];
        lk_shape vector = lk_shape1((int)channels);
        y = lk_channel_affine(b->graph, x, onnx_weight(b, name, "#scale", LK_WEIGHT_VECTOR, vector, 1, values),
                              onnx_weight(b, name, "#shift", LK_WEIGHT_VECTOR, vector, 1, values + channels));
    }
    lk_free(values);
    return good && onnx_set_value(b, 0, y);
}

static bool translate_layer_norm(onnx_builder *b) {
    lk_value x = onnx_operand(b, 0), scale = onnx_operand(b, 1);
    lk_value shift = onnx_input(b, 2) ? onnx_operand(b, 2) : LK_NO_VALUE;
    lk_shape shape = onnx_shape(b, x);
    int axis = onnx_axis(b, onnx_int(b, "axis", -1), shape.rank);
    (void)onnx_int(b, "stash_type", 1);
    if (axis != shape.rank - 1 || shape.rank == 4) return unsupported(b, "only over the last axis of rank 2 or 3");
    return onnx_set_value(b, 0, lk_layer_norm(b->graph, x, scale, shift, onnx_float(b, "epsilon", 1e-5f)));
}

static bool translate_prelu(onnx_builder *b) {
    lk_value x = onnx_operand(b, 0);
    const lk_onnx_tensor *slope = onnx_array(b, 1, true);
    lk_shape shape = onnx_shape(b, x);
    if (x == LK_NO_VALUE || !slope) return false;
    int channels = lk_shape_inner(&shape);
    /* For rank 4 the slope is [C,1,1]; a flat one would run along the width. */
    int place = slope->rank - (shape.rank == 4 ? 3 : 1);
    bool channelwise =
        slope->count == 1 || (slope->count == (size_t)channels && place >= 0 && slope->dims[place] == channels);
    if (!slope->f32 || !channelwise) return unsupported(b, "the slope must be one number, or one a channel");
    float *values = lk_alloc((size_t)channels, sizeof *values);
    if (!values) return onnx_out_of_memory(b);
    for (int i = 0; i < channels; i++)
        values[i] = slope->f32[slope->count == 1 ? 0 : i];
    lk_value w = onnx_weight(b, b->node->outputs[0], "#slope", LK_WEIGHT_VECTOR, lk_shape1(channels), 1, values);
    lk_free(values);
    return onnx_set_value(b, 0, lk_prelu(b->graph, x, w));
}

/* ---- elementwise ---- */

static bool unary(onnx_builder *b, lk_unary kind, float a, float c) {
    lk_value x = onnx_operand(b, 0);
    return x != LK_NO_VALUE && onnx_set_value(b, 0, lk_unary_op(b->graph, kind, x, a, c));
}

static bool translate_clip(onnx_builder *b) {
    float bound[2] = {-3.4028234e38f, 3.4028234e38f};
    for (size_t i = 0; i < 2; i++) {
        const char *name = i == 0 ? "min" : "max";
        if (!onnx_input(b, i + 1)) {
            bound[i] = onnx_float(b, name, bound[i]);
            continue;
        }
        const lk_onnx_tensor *array = onnx_array(b, i + 1, true);
        if (!array) return false;
        if (!array->f32 || array->count != 1) return unsupported(b, "a bound must be one number");
        bound[i] = array->f32[0];
    }
    return unary(b, LK_UNARY_CLAMP, bound[0], bound[1]);
}

/* One operand is a single number: a scale and a shift instead of a broadcast. */
static bool with_number(onnx_builder *b, lk_binary kind, size_t number_at, double number, bool *handled) {
    lk_value x = onnx_operand(b, 1 - number_at);
    double scale = 1, shift = 0;
    *handled = true;
    if (x == LK_NO_VALUE) return false;
    if (kind == LK_BINARY_ADD) {
        shift = number;
    } else if (kind == LK_BINARY_SUB) {
        scale = number_at == 0 ? -1 : 1;
        shift = number_at == 0 ? number : -number;
    } else if (kind == LK_BINARY_MUL) {
        scale = number;
    } else if (kind == LK_BINARY_DIV) {
        scale = number_at == 0 ? number : 1 / number;
        if (number_at == 0) x = lk_unary_op(b->graph, LK_UNARY_RECIPROCAL, x, 0, 0);
    } else {
        *handled = false;
        return false;
    }
    return onnx_set_value(b, 0, lk_scale_shift(b->graph, x, (float)scale, (float)shift));
}

static bool binary(onnx_builder *b, lk_binary kind) {
    for (size_t i = 0; i < 2; i++) {
        const lk_onnx_tensor *array = onnx_array(b, i, false);
        const onnx_value *other = onnx_input(b, 1 - i);
        bool handled = false;
        if (!array || array->count != 1 || !array->f32 || !other || other->value == LK_NO_VALUE) continue;
        if (array->rank > onnx_shape(b, other->value).rank) continue;
        bool good = with_number(b, kind, i, (double)array->f32[0], &handled);
        if (handled) return good;
    }
    lk_value y = onnx_operand(b, 0);
    for (size_t i = 1; i < b->node->input_count && y != LK_NO_VALUE; i++) {
        lk_value next = onnx_operand(b, i);
        if (next == LK_NO_VALUE) return false;
        int left = onnx_shape(b, y).rank, right = onnx_shape(b, next).rank, rank = left > right ? left : right;
        y = lk_binary_op(b->graph, kind, onnx_raise(b, y, rank), onnx_raise(b, next, rank));
    }
    return onnx_set_value(b, 0, y);
}

static bool translate_pow(onnx_builder *b) {
    const lk_onnx_tensor *power = onnx_array(b, 1, true);
    if (!power) return false;
    double p = power->count != 1 ? 0 : power->f32 ? (double)power->f32[0] : (double)power->i64[0];
    if (p == 2) return unary(b, LK_UNARY_SQUARE, 0, 0);
    if (p == 0.5) return unary(b, LK_UNARY_SQRT, 0, 0);
    if (p == 1) return onnx_set_value(b, 0, onnx_operand(b, 0));
    return unsupported(b, "only the powers 2, 1 and 0.5");
}

static bool translate_gelu(onnx_builder *b) {
    bool exact = strcmp(onnx_string(b, "approximate", "none"), "none") == 0;
    return unary(b, exact ? LK_UNARY_GELU : LK_UNARY_GELU_TANH, 0, 0);
}

static bool translate_softmax(onnx_builder *b) {
    lk_value x = onnx_operand(b, 0);
    lk_shape shape = onnx_shape(b, x);
    bool old = b->file->opset < 13; /* flattened everything from the axis on */
    if (x == LK_NO_VALUE) return false;
    int axis = onnx_axis(b, onnx_int(b, "axis", old ? 1 : -1), shape.rank), last = shape.rank - 1;
    if (axis < 0) return false;
    if (axis == last) return onnx_set_value(b, 0, lk_softmax(b->graph, x));
    int64_t behind = 1;
    for (int i = axis + 1; i <= last; i++)
        behind *= shape.dim[i];
    if (old && behind != 1) return unsupported(b, "over several axes at once");
    int32_t perm[LK_MAX_RANK];
    for (int i = 0; i <= last; i++)
        perm[i] = i == axis ? last : i == last ? axis : i;
    return onnx_set_value(b, 0, lk_permute(b->graph, lk_softmax(b->graph, lk_permute(b->graph, x, perm)), perm));
}

/* ---- pooling and reduction ---- */

static bool translate_pool(onnx_builder *b, lk_pool_kind kind) {
    lk_value x = onnx_operand(b, 0);
    lk_attributes a = lk_attributes_zero();
    window win;
    size_t count;
    const int64_t *kernel = onnx_ints(b, "kernel_shape", &count);
    if (x == LK_NO_VALUE) return false;
    if (b->node->output_count > 1 && b->node->outputs[1][0] != 0) return unsupported(b, "the indices as an output");
    if (!kernel || count != 2 || !read_pair(b, "kernel_shape", win.kernel)) return unsupported(b, "'kernel_shape'");
    if (!read_window(b, onnx_shape(b, x), &win)) return false;
    if (win.dilation[0] != 1 || win.dilation[1] != 1) return unsupported(b, "'dilations' other than 1");
    (void)onnx_int(b, "storage_order", 0); /* of the indices */
    a.pool.kind = kind;
    a.pool.ceil_mode = onnx_int(b, "ceil_mode", 0) != 0;
    a.pool.count_include_pad = onnx_int(b, "count_include_pad", 0) != 0;
    memcpy(a.pool.kernel, win.kernel, sizeof win.kernel);
    memcpy(a.pool.stride, win.stride, sizeof win.stride);
    memcpy(a.pool.padding, win.padding, sizeof win.padding);
    return onnx_set_value(b, 0, lk_pool2d(b->graph, x, &a));
}

static bool translate_global(onnx_builder *b, lk_reduce kind) {
    lk_value x = onnx_operand(b, 0);
    if (x == LK_NO_VALUE) return false;
    if (onnx_shape(b, x).rank != 4) return unsupported(b, "only inputs of rank 4");
    return onnx_set_value(b, 0, lk_reduce_op(b->graph, kind, x, 1u << 2 | 1u << 3, true));
}

typedef enum reduction { REDUCE_MEAN, REDUCE_SUM, REDUCE_MAX, REDUCE_MIN, REDUCE_L2, REDUCE_SUM_SQUARE } reduction;

static bool translate_reduce(onnx_builder *b, reduction kind) {
    lk_value x = onnx_operand(b, 0);
    lk_shape shape = onnx_shape(b, x);
    size_t count;
    const int64_t *axes = onnx_ints_either(b, 1, "axes", &count);
    bool keep = onnx_int(b, "keepdims", 1) != 0, nothing = onnx_int(b, "noop_with_empty_axes", 0) != 0;
    uint32_t mask = 0;
    if (x == LK_NO_VALUE) return false;
    for (size_t i = 0; i < count; i++) {
        int axis = onnx_axis(b, axes[i], shape.rank);
        if (axis < 0) return false;
        mask |= 1u << axis;
    }
    if (count == 0 && nothing) return onnx_set_value(b, 0, x);
    if (count == 0) mask = (1u << shape.rank) - 1;
    if (kind == REDUCE_L2 || kind == REDUCE_SUM_SQUARE) x = lk_unary_op(b->graph, LK_UNARY_SQUARE, x, 0, 0);
    if (kind == REDUCE_MIN) x = lk_unary_op(b->graph, LK_UNARY_NEG, x, 0, 0);
    lk_reduce op = kind == REDUCE_MEAN                        ? LK_REDUCE_MEAN
                   : kind == REDUCE_MAX || kind == REDUCE_MIN ? LK_REDUCE_MAX
                                                              : LK_REDUCE_SUM;
    lk_value y = lk_reduce_op(b->graph, op, x, mask, keep);
    if (kind == REDUCE_L2) y = lk_unary_op(b->graph, LK_UNARY_SQRT, y, 0, 0);
    if (kind == REDUCE_MIN) y = lk_unary_op(b->graph, LK_UNARY_NEG, y, 0, 0);
    return onnx_set_value(b, 0, y);
}

static bool translate_lp_norm(onnx_builder *b) {
    lk_value x = onnx_operand(b, 0);
    if (x == LK_NO_VALUE) return false;
    int axis = onnx_axis(b, onnx_int(b, "axis", -1), onnx_shape(b, x).rank);
    if (axis < 0) return false;
    if (onnx_int(b, "p", 2) != 2) return unsupported(b, "only p = 2");
    lk_value sum =
        lk_reduce_op(b->graph, LK_REDUCE_SUM, lk_unary_op(b->graph, LK_UNARY_SQUARE, x, 0, 0), 1u << axis, true);
    return onnx_set_value(b, 0,
                          lk_binary_op(b->graph, LK_BINARY_DIV, x, lk_unary_op(b->graph, LK_UNARY_SQRT, sum, 0, 0)));
}

/* ---- choice ---- */

static bool is(const onnx_builder *b, const char *op) { return strcmp(b->node->op, op) == 0; }

static bool translate_activation(onnx_builder *b, bool *known) {
    static const struct {
        const char *op;
        lk_unary kind;
    } plain[] = {{"Relu", LK_UNARY_RELU},
                 {"Sigmoid", LK_UNARY_SIGMOID},
                 {"Tanh", LK_UNARY_TANH},
                 {"Exp", LK_UNARY_EXP},
                 {"Log", LK_UNARY_LOG},
                 {"Sqrt", LK_UNARY_SQRT},
                 {"Neg", LK_UNARY_NEG},
                 {"Abs", LK_UNARY_ABS},
                 {"Reciprocal", LK_UNARY_RECIPROCAL},
                 {"Softplus", LK_UNARY_SOFTPLUS},
                 {"HardSwish", LK_UNARY_HARD_SWISH}};
    *known = true;
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        if (is(b, plain[i].op)) return unary(b, plain[i].kind, 0, 0);
    if (is(b, "LeakyRelu")) return unary(b, LK_UNARY_LEAKY_RELU, onnx_float(b, "alpha", 0.01f), 0);
    if (is(b, "HardSigmoid"))
        return unary(b, LK_UNARY_HARD_SIGMOID, onnx_float(b, "alpha", 0.2f), onnx_float(b, "beta", 0.5f));
    if (is(b, "Clip")) return translate_clip(b);
    if (is(b, "Gelu")) return translate_gelu(b);
    if (is(b, "PRelu")) return translate_prelu(b);
    if (is(b, "Pow")) return translate_pow(b);
    if (is(b, "Softmax")) return translate_softmax(b);
    *known = false;
    return false;
}

bool onnx_translate(onnx_builder *b) {
    static const struct {
        const char *op;
        lk_binary kind;
    } pairs[] = {{"Add", LK_BINARY_ADD}, {"Sub", LK_BINARY_SUB}, {"Mul", LK_BINARY_MUL}, {"Div", LK_BINARY_DIV},
                 {"Min", LK_BINARY_MIN}, {"Max", LK_BINARY_MAX}, {"Sum", LK_BINARY_ADD}};
    static const struct {
        const char *op;
        reduction kind;
    } reductions[] = {{"ReduceMean", REDUCE_MEAN}, {"ReduceSum", REDUCE_SUM}, {"ReduceMax", REDUCE_MAX},
                      {"ReduceMin", REDUCE_MIN},   {"ReduceL2", REDUCE_L2},   {"ReduceSumSquare", REDUCE_SUM_SQUARE}};
    bool known;
    bool good = translate_activation(b, &known);
    if (known) return good;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if (is(b, pairs[i].op)) return binary(b, pairs[i].kind);
    for (size_t i = 0; i < sizeof reductions / sizeof *reductions; i++)
        if (is(b, reductions[i].op)) return translate_reduce(b, reductions[i].kind);
    if (is(b, "Conv")) return translate_conv(b);
    if (is(b, "BatchNormalization")) return translate_batch_norm(b);
    if (is(b, "LayerNormalization")) return translate_layer_norm(b);
    if (is(b, "LpNormalization")) return translate_lp_norm(b);
    if (is(b, "Gemm")) return translate_gemm(b);
    if (is(b, "MatMul")) return translate_matmul(b);
    if (is(b, "MaxPool")) return translate_pool(b, LK_POOL_MAX);
    if (is(b, "AveragePool")) return translate_pool(b, LK_POOL_AVERAGE);
    if (is(b, "GlobalAveragePool")) return translate_global(b, LK_REDUCE_MEAN);
    if (is(b, "GlobalMaxPool")) return translate_global(b, LK_REDUCE_MAX);
    good = onnx_translate_movement(b, &known);
    if (known) return good;
    if (is(b, "Identity") || is(b, "Dropout") || is(b, "Cast")) {
        (void)lk_onnx_find(b->node, "ratio"); /* of a dropout, training only */
        (void)lk_onnx_find(b->node, "seed");
        (void)lk_onnx_find(b->node, "saturate");
        if (is(b, "Cast") && onnx_int(b, "to", 1) != 1) return unsupported(b, "only casts to float");
        return onnx_set_value(b, 0, onnx_operand(b, 0));
    }
    return onnx_fail(b, LIKENESS_UNSUPPORTED, "the operator %s (opset %lld) is not supported", b->node->op,
                     (long long)b->file->opset);
}
