/* models/onnx_linear.c - convolutions, pooling and products of ONNX as nodes of the graph. See onnx_internal.h.
 *
 * A convolution swallows the batch norm that alone reads it (into its weights), and then the addition that alone reads
 * that, when the other summand is already there (into its residual slot). */
#include "models/onnx_internal.h"

#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- windows ---- */

typedef struct window {
    int32_t kernel[2], stride[2], dilation[2], padding[4]; /* top, left, bottom, right */
} window;

/* `axes` numbers from 1 to 4096, for the last axes of the window; 1 when the attribute is missing. */
static bool read_pair(onnx_builder *b, const char *name, int axes, int32_t pair[2]) {
    size_t count;
    const int64_t *values = onnx_ints(b, name, &count);
    pair[0] = pair[1] = 1;
    if (!values) return true;
    if (count != (size_t)axes) return onnx_fail(b, LIKENESS_UNSUPPORTED, "'%s' must be %d numbers", name, axes);
    for (int i = 0; i < axes; i++) {
        if (values[i] < 1 || values[i] > 4096)
            return onnx_fail(b, LIKENESS_UNSUPPORTED, "'%s' must be from 1 to 4096", name);
        pair[2 - axes + i] = (int32_t)values[i];
    }
    return true;
}

static int32_t extent_of(const window *w, int i) { return w->dilation[i] * (w->kernel[i] - 1) + 1; }

/* axes: 1 or 2. auto_pad other than NOTSET and VALID goes by the size of x. */
static bool read_window(onnx_builder *b, lk_shape x, int axes, window *w) {
    const char *automatic = onnx_string(b, "auto_pad", "NOTSET");
    size_t count;
    const int64_t *pads = onnx_ints(b, "pads", &count);
    if (!read_pair(b, "strides", axes, w->stride) || !read_pair(b, "dilations", axes, w->dilation)) return false;
    memset(w->padding, 0, sizeof w->padding);
    if (pads && count != 2 * (size_t)axes) return onnx_unsupported(b, "'pads' must be two numbers an axis");
    for (int i = 0; i < 2 * axes && pads; i++) {
        if (pads[i] < 0 || pads[i] > 4096) return onnx_unsupported(b, "'pads' must be from 0 to 4096");
        w->padding[(i < axes ? 0 : 2) + 2 - axes + i % axes] = (int32_t)pads[i];
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

/* x as a picture, and how many axes its windows have: 2, or 1 for a line. */
static lk_value windowed(onnx_builder *b, lk_value x, int *axes) {
    int rank = onnx_shape(b, x).rank;
    *axes = rank - 2;
    if (x == LK_NO_VALUE) return LK_NO_VALUE;
    if (rank != 3 && rank != 4) {
        onnx_fail(b, LIKENESS_UNSUPPORTED, "windows over one or two axes only (an input of rank 3 or 4, not %d)", rank);
        return LK_NO_VALUE;
    }
    return onnx_as_picture(b, x);
}

/* y [N,C,H,W] as output 0, without the axis that windowed() put in. */
static bool set_windowed(onnx_builder *b, lk_value y, int axes) {
    lk_shape shape = onnx_shape(b, y);
    if (axes == 1 && y != LK_NO_VALUE) y = lk_reshape(b->graph, y, lk_shape3(shape.dim[0], shape.dim[1], shape.dim[3]));
    return onnx_set_value(b, 0, y);
}

/* Kernel of the weight [O,I,k] or [O,I,h,w], against the attribute. */
static bool read_kernel(onnx_builder *b, const lk_onnx_tensor *w, int axes, window *win) {
    size_t count;
    const int64_t *stated = onnx_ints(b, "kernel_shape", &count);
    if (!w) return false;
    if (!w->f32 || w->rank != 2 + axes || w->count == 0)
        return onnx_fail(b, LIKENESS_UNSUPPORTED, "the weight must be floats of rank %d", 2 + axes);
    win->kernel[0] = 1;
    for (int i = 0; i < axes; i++) {
        win->kernel[2 - axes + i] = w->dims[2 + i] < 4096 ? (int32_t)w->dims[2 + i] : 4096;
        if (stated && (count != (size_t)axes || stated[i] != w->dims[2 + i]))
            return onnx_fail(b, LIKENESS_BAD_FILE, "'kernel_shape' is not that of the weight");
    }
    return true;
}

/* ---- convolution ---- */

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
    if (good && norm) good = onnx_read_norm(b, norm, outputs, scale, offsets);
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

static bool translate_conv(onnx_builder *b, int kind) {
    (void)kind;
    int axes;
    lk_value x = windowed(b, onnx_operand(b, 0), &axes), weight = LK_NO_VALUE, bias = LK_NO_VALUE;
    lk_value residual = LK_NO_VALUE;
    const lk_onnx_tensor *w = onnx_array(b, 1, true), *offset = onnx_array(b, 2, false);
    lk_shape shape = onnx_shape(b, x);
    int64_t groups = onnx_int(b, "group", 1);
    window win;
    if (x == LK_NO_VALUE || !read_kernel(b, w, axes, &win) || !read_window(b, shape, axes, &win)) return false;
    if (groups < 1 || w->dims[0] % groups != 0 || w->dims[1] * groups != shape.dim[1])
        return onnx_fail(b, LIKENESS_BAD_FILE, "weight [%lld,%lld,..] with %lld groups on %d channels",
                         (long long)w->dims[0], (long long)w->dims[1], (long long)groups, (int)shape.dim[1]);
    if (onnx_input(b, 2) && (!offset || !offset->f32 || offset->count != (size_t)w->dims[0]))
        return onnx_unsupported(b, "the bias must be a constant with one number an output channel");
    lk_shape out = lk_shape4(shape.dim[0], (int)w->dims[0], 0, 0);
    for (int i = 0; i < 2; i++)
        out.dim[2 + i] =
            (shape.dim[2 + i] + win.padding[i] + win.padding[2 + i] - extent_of(&win, i)) / win.stride[i] + 1;
    const lk_onnx_node *norm = axes == 2 ? following_norm(b) : NULL, *last = norm ? norm : b->node;
    const lk_onnx_node *add = axes == 2 ? following_add(b, last->outputs[0], out, &residual) : NULL;
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
    if (add) return onnx_set_later(b, add, y);
    return norm ? onnx_set_later(b, norm, y) : set_windowed(b, y, axes);
}

/* Paddings and the size of the result of a transposed convolution. */
static bool transposed_size(onnx_builder *b, lk_shape x, int axes, window *win, int32_t size[2]) {
    size_t extra_count, wanted_count;
    const int64_t *extra = onnx_ints(b, "output_padding", &extra_count);
    const int64_t *wanted = onnx_ints(b, "output_shape", &wanted_count);
    const char *automatic = onnx_string(b, "auto_pad", "NOTSET");
    bool upper = strcmp(automatic, "SAME_UPPER") == 0, same = upper || strcmp(automatic, "SAME_LOWER") == 0;
    if ((extra && extra_count != (size_t)axes) || (wanted && wanted_count != (size_t)axes))
        return onnx_fail(b, LIKENESS_BAD_FILE, "'output_padding' or 'output_shape' has another number of axes");
    for (int i = 2 - axes; i < 2; i++) {
        int64_t more = extra ? extra[i - (2 - axes)] : 0;
        int64_t full = (int64_t)win->stride[i] * (x.dim[2 + i] - 1) + more + extent_of(win, i);
        if (more < 0 || more >= win->stride[i]) return onnx_unsupported(b, "'output_padding' of a stride or more");
        if (wanted || same) {
            int64_t target = wanted ? wanted[i - (2 - axes)] : (int64_t)x.dim[2 + i] * win->stride[i];
            int64_t all = full - target;
            if (all < 0 || all > 8192 || target < 1)
                return onnx_unsupported(b, "a result larger than the windows reach");
            win->padding[i] = (int32_t)(upper ? all / 2 : all - all / 2);
            win->padding[2 + i] = (int32_t)(all - win->padding[i]);
        }
        int64_t result = full - win->padding[i] - win->padding[2 + i];
        if (result < 1 || result > 65536) return onnx_fail(b, LIKENESS_BAD_FILE, "an impossible size of the result");
        size[i] = (int32_t)result;
    }
    if (axes == 1) size[0] = 1;
    return true;
}

/* The data gradient of a convolution from the result's size to x's: ONNX stores the weight the same way. */
static bool translate_conv_transpose(onnx_builder *b, int kind) {
    (void)kind;
    int axes;
    lk_value x = windowed(b, onnx_operand(b, 0), &axes);
    const lk_onnx_tensor *w = onnx_array(b, 1, true), *offset = onnx_array(b, 2, false);
    lk_shape shape = onnx_shape(b, x);
    int64_t groups = onnx_int(b, "group", 1);
    lk_attributes a = lk_attributes_zero();
    window win;
    if (x == LK_NO_VALUE || !read_kernel(b, w, axes, &win) || !read_window(b, shape, axes, &win)) return false;
    if (groups < 1 || w->dims[0] != shape.dim[1] || w->dims[0] % groups != 0)
        return onnx_fail(b, LIKENESS_BAD_FILE, "weight [%lld,%lld,..] with %lld groups on %d channels",
                         (long long)w->dims[0], (long long)w->dims[1], (long long)groups, (int)shape.dim[1]);
    int64_t outputs = w->dims[1] * groups;
    if (onnx_input(b, 2) && (!offset || !offset->f32 || (int64_t)offset->count != outputs))
        return onnx_unsupported(b, "the bias must be a constant with one number an output channel");
    if (!transposed_size(b, shape, axes, &win, a.conv.input_size)) return false;
    a.conv.groups = (int32_t)groups;
    memcpy(a.conv.stride, win.stride, sizeof win.stride);
    memcpy(a.conv.dilation, win.dilation, sizeof win.dilation);
    memcpy(a.conv.padding, win.padding, sizeof win.padding);
    memcpy(a.conv.kernel, win.kernel, sizeof win.kernel);
    lk_shape stored = lk_shape4((int)w->dims[0], (int)w->dims[1], win.kernel[0], win.kernel[1]);
    lk_value weight = onnx_weight(b, b->node->outputs[0], "#weight", LK_WEIGHT_MATRIX, stored, (int)groups, w->f32);
    lk_value y = lk_graph_emit(b->graph, LK_OP_CONV2D_DX, &a, (lk_value[]){x, weight}, 2, 0, NULL);
    if (offset) {
        lk_value bias = onnx_weight(b, b->node->outputs[0], "#bias", LK_WEIGHT_VECTOR, lk_shape4(1, (int)outputs, 1, 1),
                                    1, offset->f32);
        y = lk_add(b->graph, y, bias);
    }
    return set_windowed(b, y, axes);
}

/* ---- pooling ---- */

static bool translate_pool(onnx_builder *b, int kind) {
    int axes;
    lk_value x = windowed(b, onnx_operand(b, 0), &axes);
    lk_attributes a = lk_attributes_zero();
    window win;
    size_t count;
    if (x == LK_NO_VALUE) return false;
    if (b->node->output_count > 1 && b->node->outputs[1][0] != 0)
        return onnx_unsupported(b, "the indices as an output");
    if (!onnx_ints(b, "kernel_shape", &count) || !read_pair(b, "kernel_shape", axes, win.kernel))
        return onnx_unsupported(b, "'kernel_shape' is missing or wrong");
    if (!read_window(b, onnx_shape(b, x), axes, &win)) return false;
    if (win.dilation[0] != 1 || win.dilation[1] != 1) return onnx_unsupported(b, "'dilations' other than 1");
    (void)onnx_int(b, "storage_order", 0); /* of the indices */
    a.pool.kind = (lk_pool_kind)kind;
    a.pool.ceil_mode = onnx_int(b, "ceil_mode", 0) != 0;
    a.pool.count_include_pad = onnx_int(b, "count_include_pad", 0) != 0;
    memcpy(a.pool.kernel, win.kernel, sizeof win.kernel);
    memcpy(a.pool.stride, win.stride, sizeof win.stride);
    memcpy(a.pool.padding, win.padding, sizeof win.padding);
    return set_windowed(b, lk_pool2d(b->graph, x, &a), axes);
}

static bool translate_global(onnx_builder *b, int kind) {
    lk_value x = onnx_operand(b, 0);
    int rank = onnx_shape(b, x).rank;
    if (x == LK_NO_VALUE) return false;
    if (rank < 3) return onnx_unsupported(b, "only inputs of rank 3 and more");
    return onnx_set_value(b, 0, lk_reduce_op(b->graph, (lk_reduce)kind, x, ((1u << rank) - 1) & ~3u, true));
}

/* ---- products with a constant ---- */

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

/* Rows of x, its last axis, times a constant matrix; a rank above 3 has its channels elsewhere and is flattened. */
static lk_value times_matrix(onnx_builder *b, lk_value x, const lk_onnx_tensor *w, bool turned, double factor,
                             lk_value bias) {
    lk_shape shape = onnx_shape(b, x), result = shape;
    int last = shape.rank - 1;
    if (w->dims[turned ? 1 : 0] != shape.dim[last]) {
        onnx_fail(b, LIKENESS_BAD_FILE, "a matrix [%lld,%lld]%s on rows of %d", (long long)w->dims[0],
                  (long long)w->dims[1], turned ? ", turned," : "", (int)shape.dim[last]);
        return LK_NO_VALUE;
    }
    result.dim[last] = (int32_t)w->dims[turned ? 0 : 1];
    lk_value weight = matrix(b, w, turned, factor);
    if (weight == LK_NO_VALUE) return LK_NO_VALUE;
    if (shape.rank > 3)
        x = lk_reshape(b->graph, x, lk_shape2((int)(lk_shape_elements(&shape) / shape.dim[last]), shape.dim[last]));
    lk_value y = lk_matmul(b->graph, x, weight, bias, LK_NO_VALUE);
    return shape.rank > 3 ? lk_reshape(b->graph, y, result) : y;
}

/* ---- products of two values ---- */

/* x [..., R, C] as a stack of matrices whose leading axes are those of `like` (its last two do not count). */
static lk_value stack(onnx_builder *b, lk_value x, lk_shape like) {
    lk_shape shape = onnx_shape(b, onnx_raise(b, x, like.rank));
    int64_t matrices = 1;
    x = onnx_raise(b, x, like.rank);
    for (int i = 0; i < like.rank - 2; i++) {
        shape.dim[i] = like.dim[i];
        matrices *= like.dim[i];
    }
    x = onnx_expand(b, x, shape);
    if (x == LK_NO_VALUE || matrices > INT32_MAX) return LK_NO_VALUE;
    return lk_reshape(b->graph, x, lk_shape3((int)matrices, shape.dim[like.rank - 2], shape.dim[like.rank - 1]));
}

/* numpy's matmul of operands of rank 2 and more. */
static lk_value product(onnx_builder *b, lk_value x, lk_value y) {
    lk_shape left = onnx_shape(b, x), right = onnx_shape(b, y);
    int rank = left.rank > right.rank ? left.rank : right.rank;
    lk_shape result = {.rank = rank};
    if (x == LK_NO_VALUE || y == LK_NO_VALUE) return LK_NO_VALUE;
    for (int i = 0; i < rank - 2; i++) {
        int l = i - (rank - left.rank), r = i - (rank - right.rank);
        int32_t dl = l >= 0 ? left.dim[l] : 1, dr = r >= 0 ? right.dim[r] : 1;
        if (dl != dr && dl != 1 && dr != 1) {
            onnx_fail(b, LIKENESS_BAD_FILE, "matrices whose leading axes do not fit together");
            return LK_NO_VALUE;
        }
        result.dim[i] = dl == 1 ? dr : dl;
    }
    if (left.dim[left.rank - 1] != right.dim[right.rank - 2]) {
        onnx_fail(b, LIKENESS_BAD_FILE, "rows of %d on a matrix of %d rows", (int)left.dim[left.rank - 1],
                  (int)right.dim[right.rank - 2]);
        return LK_NO_VALUE;
    }
    result.dim[rank - 2] = left.dim[left.rank - 2];
    result.dim[rank - 1] = right.dim[right.rank - 1];
    lk_value z = lk_batch_matmul(b->graph, stack(b, x, result), stack(b, y, result), false, false);
    return z == LK_NO_VALUE ? z : lk_reshape(b->graph, z, result);
}

/* A constant stack of matrices that is one matrix, as that; NULL: it is not. */
static const lk_onnx_tensor *one_matrix(onnx_builder *b, const lk_onnx_tensor *w, int most_rank) {
    if (!w || !w->f32 || w->rank < 2 || w->rank > most_rank || w->count == 0) return NULL;
    if (w->count != (size_t)(w->dims[w->rank - 2] * w->dims[w->rank - 1])) return NULL;
    if (w->rank == 2) return w;
    lk_onnx_tensor *flat = lk_arena_alloc(&b->arena, 1, sizeof *flat);
    if (!flat) {
        onnx_out_of_memory(b);
        return NULL;
    }
    *flat = *w;
    flat->rank = 2;
    memcpy(flat->dims, w->dims + w->rank - 2, 2 * sizeof *w->dims);
    return flat;
}

static bool translate_matmul(onnx_builder *b, int kind) {
    (void)kind;
    lk_value x = onnx_operand(b, 0);
    int rank = onnx_shape(b, x).rank, other = 0;
    const onnx_value *right = onnx_input(b, 1);
    if (x == LK_NO_VALUE) return false;
    const lk_onnx_tensor *w = right ? one_matrix(b, right->array, rank) : NULL;
    if (w && rank >= 2) return onnx_set_value(b, 0, times_matrix(b, x, w, false, 1, LK_NO_VALUE));
    lk_value y = onnx_operand(b, 1);
    if (y == LK_NO_VALUE) return false;
    other = onnx_shape(b, y).rank;
    if (rank == 0 || other == 0) return onnx_fail(b, LIKENESS_BAD_FILE, "a product with a single number");
    if (rank == 1) x = onnx_raise(b, x, 2);
    if (other == 1) y = lk_reshape(b->graph, y, lk_shape2(onnx_shape(b, y).dim[0], 1));
    lk_value z = product(b, x, y);
    lk_shape shape = onnx_shape(b, z);
    if (z == LK_NO_VALUE) return false;
    /* The axis that a vector was given goes again. */
    if (other == 1) shape.rank--;
    if (rank == 1) {
        if (other != 1) shape.dim[shape.rank - 2] = shape.dim[shape.rank - 1];
        shape.rank--;
    }
    return onnx_set_value(b, 0, rank == 1 || other == 1 ? lk_reshape(b->graph, z, shape) : z);
}

/* alpha A B + beta C with either matrix turned. */
static bool translate_gemm(onnx_builder *b, int kind) {
    static const int32_t turn[2] = {1, 0};
    (void)kind;
    lk_value x = onnx_operand(b, 0), bias = LK_NO_VALUE, y;
    const onnx_value *right = onnx_input(b, 1), *third = onnx_input(b, 2);
    const lk_onnx_tensor *w = right ? right->array : NULL, *c = third ? third->array : NULL;
    bool turn_a = onnx_int(b, "transA", 0) != 0, turn_b = onnx_int(b, "transB", 0) != 0;
    float alpha = onnx_float(b, "alpha", 1), beta = onnx_float(b, "beta", 1);
    (void)onnx_int(b, "broadcast", 1); /* old files; wherever it is 0 the shapes are equal */
    if (x == LK_NO_VALUE) return false;
    if (onnx_shape(b, x).rank != 2) return onnx_fail(b, LIKENESS_BAD_FILE, "the left side must be a matrix");
    if (turn_a) x = lk_permute(b->graph, x, turn);
    bool constant = w && w->f32 && w->rank == 2 && w->count > 0;
    size_t outputs = constant ? (size_t)w->dims[turn_b ? 0 : 1] : 0;
    /* A row goes into the product, anything else is added to it. */
    bool row =
        constant && c && c->f32 && (c->count == 1 || (c->count == outputs && c->dims[c->rank - 1] == (int64_t)outputs));
    if (row) {
        float *values = lk_alloc(outputs, sizeof *values);
        if (!values) return onnx_out_of_memory(b);
        for (size_t i = 0; i < outputs; i++)
            values[i] = beta * c->f32[c->count == 1 ? 0 : i];
        bias = onnx_weight(b, b->node->outputs[0], "#bias", LK_WEIGHT_VECTOR, lk_shape1((int)outputs), 1, values);
        lk_free(values);
    }
    if (constant) {
        y = times_matrix(b, x, w, turn_b, (double)alpha, bias);
    } else {
        y = onnx_operand(b, 1);
        if (y == LK_NO_VALUE) return false;
        if (onnx_shape(b, y).rank != 2) return onnx_fail(b, LIKENESS_BAD_FILE, "the right side must be a matrix");
        if (turn_b) y = lk_permute(b->graph, y, turn);
        y = product(b, x, y);
        if (alpha != 1) y = lk_scale_shift(b->graph, y, alpha, 0);
    }
    if (third && !row) {
        lk_value sum = onnx_operand(b, 2);
        if (sum == LK_NO_VALUE) return false;
        if (beta != 1) sum = lk_scale_shift(b->graph, sum, beta, 0);
        y = lk_add(b->graph, y, onnx_raise(b, sum, 2));
    }
    return onnx_set_value(b, 0, y);
}

/* ---- the list ---- */

const onnx_operator onnx_linear_operators[] = {
    {"Conv", translate_conv, 0, "one or two axes; constant weight and bias"},
    {"ConvTranspose", translate_conv_transpose, 0, "one or two axes; constant weight and bias"},
    {"MaxPool", translate_pool, LK_POOL_MAX, "one or two axes; no dilation, no indices"},
    {"AveragePool", translate_pool, LK_POOL_AVERAGE, "one or two axes; no dilation"},
    {"GlobalAveragePool", translate_global, LK_REDUCE_MEAN, ""},
    {"GlobalMaxPool", translate_global, LK_REDUCE_MAX, ""},
    {"MatMul", translate_matmul, 0, ""},
    {"Gemm", translate_gemm, 0, ""},
    {0},
};
