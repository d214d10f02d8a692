/* graph/build.c - see build.h. */
#include "graph/build.h"

#include <string.h>

static lk_value emit(lk_graph *g, lk_op op, const lk_attributes *attributes, const lk_value *inputs, int count) {
    return lk_graph_emit(g, op, attributes, inputs, count, 0, NULL);
}

static lk_value emit1(lk_graph *g, lk_op op, const lk_attributes *attributes, lk_value x) {
    return emit(g, op, attributes, &x, 1);
}

lk_value lk_matmul(lk_graph *g, lk_value x, lk_value w, lk_value bias, lk_value residual) {
    lk_value inputs[4] = {x, w, bias, residual};
    if (lk_graph_tensor(g, x)->shape.rank == 4) {
        /* Over the channels of a feature map: a 1x1 convolution; the weight is stored the same. */
        lk_shape shape = lk_graph_shape(g, x);
        lk_value tokens = lk_to_tokens(g, x), r = residual == LK_NO_VALUE ? residual : lk_to_tokens(g, residual);
        return lk_from_tokens(g, lk_matmul(g, tokens, w, bias, r), shape.dim[2], shape.dim[3]);
    }
    return emit(g, LK_OP_MATMUL, NULL, inputs, 4);
}

lk_value lk_conv2d(lk_graph *g, lk_value x, lk_value w, lk_value bias, lk_value residual, lk_conv2d_options o) {
    lk_attributes a;
    memset(&a, 0, sizeof a);
    lk_shape shape = lk_graph_shape(g, w);
    for (int i = 0; i < 2; i++) {
        a.conv.stride[i] = o.stride[i] > 0 ? o.stride[i] : 1;
        a.conv.dilation[i] = o.dilation[i] > 0 ? o.dilation[i] : 1;
        a.conv.kernel[i] = shape.rank == 4 ? shape.dim[2 + i] : 1;
    }
    memcpy(a.conv.padding, o.padding, sizeof a.conv.padding);
    a.conv.groups = o.groups > 0 ? o.groups : 1;
    lk_value inputs[4] = {x, w, bias, residual};
    return emit(g, LK_OP_CONV2D, &a, inputs, 4);
}

lk_value lk_conv2d_simple(lk_graph *g, lk_value x, lk_value w, lk_value bias, int stride, int padding) {
    lk_conv2d_options o = {.stride = {stride, stride}, .padding = {padding, padding, padding, padding}};
    return lk_conv2d(g, x, w, bias, LK_NO_VALUE, o);
}

lk_value lk_batch_matmul(lk_graph *g, lk_value a, lk_value b, bool turn_a, bool turn_b) {
    lk_attributes attributes = {.product = {.turn_a = turn_a, .turn_b = turn_b}};
    return lk_graph_emit(g, LK_OP_BATCH_MATMUL, &attributes, (lk_value[]){a, b}, 2, 0, NULL);
}

lk_value lk_attention(lk_graph *g, lk_value q, lk_value k, lk_value v, int heads, float scale, bool causal,
                      lk_value key_bias) {
    lk_attributes a = {.attention = {.heads = heads, .causal = causal, .scale = scale}};
    lk_value inputs[4] = {q, k, v, key_bias};
    lk_value out[LK_MAX_OUTPUTS];
    if (scale == 0 && heads > 0) {
        lk_shape shape = lk_graph_shape(g, q);
        double width = (double)lk_shape_inner(&shape) / heads, root = width;
        for (int i = 0; i < 60 && width > 0; i++)
            root = 0.5 * (root + width / root); /* Newton: sqrt without libm's last bit */
        a.attention.scale = (float)(width > 0 ? 1 / root : 0);
    }
    /* The log-sum-exp is what the gradient needs; it is as cheap to keep as to decide. */
    return lk_graph_emit(g, LK_OP_ATTENTION, &a, inputs, 4, 3u, out);
}

lk_value lk_group_norm(lk_graph *g, lk_value x, lk_value gamma, lk_value beta, int groups, float epsilon, bool silu) {
    lk_attributes a = {.norm = {.groups = groups, .epsilon = epsilon, .silu = silu}};
    lk_value inputs[3] = {x, gamma, beta};
    return emit(g, LK_OP_GROUP_NORM, &a, inputs, 3);
}

lk_value lk_layer_norm(lk_graph *g, lk_value x, lk_value gamma, lk_value beta, float epsilon) {
    lk_attributes a = {.norm = {.epsilon = epsilon}};
    lk_value inputs[3] = {x, gamma, beta};
    return emit(g, LK_OP_LAYER_NORM, &a, inputs, 3);
}

lk_value lk_channel_affine(lk_graph *g, lk_value x, lk_value scale, lk_value shift) {
    lk_value inputs[3] = {x, scale, shift};
    return emit(g, LK_OP_CHANNEL_AFFINE, NULL, inputs, 3);
}

lk_value lk_unary_op(lk_graph *g, lk_unary kind, lk_value x, float a, float b) {
    lk_attributes attributes = {.unary = {kind, a, b}};
    return emit1(g, LK_OP_UNARY, &attributes, x);
}

lk_value lk_silu(lk_graph *g, lk_value x) { return lk_unary_op(g, LK_UNARY_SILU, x, 0, 0); }
lk_value lk_clamp(lk_graph *g, lk_value x, float low, float high) {
    return lk_unary_op(g, LK_UNARY_CLAMP, x, low, high);
}

lk_value lk_scale_shift(lk_graph *g, lk_value x, float scale, float shift) {
    return lk_unary_op(g, LK_UNARY_AFFINE, x, scale, shift);
}

lk_value lk_prelu(lk_graph *g, lk_value x, lk_value slope) {
    lk_value inputs[2] = {x, slope};
    return emit(g, LK_OP_PRELU, NULL, inputs, 2);
}

lk_value lk_binary_op(lk_graph *g, lk_binary kind, lk_value a, lk_value b) {
    lk_attributes attributes = {.binary = {.kind = kind}};
    lk_value inputs[2] = {a, b};
    return emit(g, LK_OP_BINARY, &attributes, inputs, 2);
}

lk_value lk_add(lk_graph *g, lk_value a, lk_value b) { return lk_binary_op(g, LK_BINARY_ADD, a, b); }
lk_value lk_mul(lk_graph *g, lk_value a, lk_value b) { return lk_binary_op(g, LK_BINARY_MUL, a, b); }
lk_value lk_geglu(lk_graph *g, lk_value x) { return emit1(g, LK_OP_GEGLU, NULL, x); }
lk_value lk_pool2d(lk_graph *g, lk_value x, const lk_attributes *attributes) {
    return emit1(g, LK_OP_POOL2D, attributes, x);
}

static lk_value resize(lk_graph *g, lk_value x, lk_attributes a, int height, int width) {
    a.resize.size[0] = height;
    a.resize.size[1] = width;
    return emit1(g, LK_OP_RESIZE, &a, x);
}

lk_value lk_upsample_nearest(lk_graph *g, lk_value x, int height, int width) {
    lk_attributes a = {.resize = {.kind = LK_RESIZE_NEAREST, .coordinates = LK_COORDINATES_ASYMMETRIC}};
    return resize(g, x, a, height, width);
}

lk_value lk_resize_bilinear(lk_graph *g, lk_value x, int height, int width, lk_coordinates coordinates) {
    lk_attributes a = {.resize = {.kind = LK_RESIZE_BILINEAR, .coordinates = coordinates}};
    return resize(g, x, a, height, width);
}

lk_value lk_pad_op(lk_graph *g, lk_value x, lk_pad kind, const int32_t *before, const int32_t *after, float value) {
    lk_attributes a;
    memset(&a, 0, sizeof a);
    int rank = lk_graph_tensor(g, x)->shape.rank;
    a.pad.kind = kind;
    a.pad.value = value;
    memcpy(a.pad.before, before, (size_t)rank * sizeof *before);
    memcpy(a.pad.after, after, (size_t)rank * sizeof *after);
    return emit1(g, LK_OP_PAD, &a, x);
}

lk_value lk_slice(lk_graph *g, lk_value x, int axis, int start, int size) {
    lk_attributes a;
    memset(&a, 0, sizeof a);
    lk_shape shape = lk_graph_shape(g, x);
    for (int i = 0; i < shape.rank; i++) {
        a.slice.step[i] = 1;
        a.slice.size[i] = i == axis ? size : shape.dim[i];
        a.slice.start[i] = i == axis ? start : 0;
    }
    return emit1(g, LK_OP_SLICE, &a, x);
}

lk_value lk_concat(lk_graph *g, const lk_value *parts, int count, int axis) {
    lk_attributes a = {.axis = {axis}};
    return emit(g, LK_OP_CONCAT, &a, parts, count);
}

lk_value lk_permute(lk_graph *g, lk_value x, const int32_t *perm) {
    lk_attributes a;
    memset(&a, 0, sizeof a);
    memcpy(a.permute.perm, perm, (size_t)lk_graph_tensor(g, x)->shape.rank * sizeof *perm);
    return emit1(g, LK_OP_PERMUTE, &a, x);
}

lk_value lk_reshape(lk_graph *g, lk_value x, lk_shape shape) {
    lk_attributes a = {.shape = {.shape = shape}};
    return emit1(g, LK_OP_RESHAPE, &a, x);
}

lk_value lk_to_tokens(lk_graph *g, lk_value x) { return emit1(g, LK_OP_TO_TOKENS, NULL, x); }

lk_value lk_from_tokens(lk_graph *g, lk_value tokens, int height, int width) {
    lk_shape shape = lk_graph_shape(g, tokens);
    lk_attributes a = {.shape = {.shape = lk_shape4(shape.dim[0], shape.dim[2], height, width)}};
    return emit1(g, LK_OP_FROM_TOKENS, &a, tokens);
}

lk_value lk_gather(lk_graph *g, lk_value table, lk_value ids) {
    lk_value inputs[2] = {table, ids};
    return emit(g, LK_OP_GATHER, NULL, inputs, 2);
}

lk_value lk_reduce_op(lk_graph *g, lk_reduce kind, lk_value x, uint32_t axes, bool keepdims) {
    lk_attributes a = {.reduce = {kind, axes, keepdims}};
    return emit1(g, LK_OP_REDUCE, &a, x);
}

lk_value lk_softmax(lk_graph *g, lk_value x) { return emit1(g, LK_OP_SOFTMAX, NULL, x); }

lk_value lk_affine_warp(lk_graph *g, lk_value x, lk_value theta, int height, int width) {
    lk_attributes a = {.warp = {{height, width}}};
    lk_value inputs[2] = {x, theta};
    return emit(g, LK_OP_AFFINE_WARP, &a, inputs, 2);
}

lk_value lk_cosine(lk_graph *g, lk_value a, lk_value b) {
    lk_value inputs[2] = {a, b};
    return emit(g, LK_OP_COSINE, NULL, inputs, 2);
}

lk_value lk_loss(lk_graph *g, lk_value a, lk_value b, bool squared) {
    lk_attributes attributes = {.loss = {squared}};
    lk_value inputs[2] = {a, b};
    return emit(g, LK_OP_LOSS, &attributes, inputs, 2);
}

lk_value lk_cfg_combine(lk_graph *g, lk_value uncond, lk_value cond, lk_value weight) {
    lk_value inputs[3] = {uncond, cond, weight};
    return emit(g, LK_OP_CFG_COMBINE, NULL, inputs, 3);
}

lk_value lk_flow_step(lk_graph *g, lk_value z, lk_value v, lk_value dt, lk_value offset) {
    lk_value inputs[4] = {z, v, dt, offset};
    return emit(g, LK_OP_FLOW_STEP, NULL, inputs, 4);
}
