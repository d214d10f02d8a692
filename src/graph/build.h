/* graph/build.h - one function an op, for everything that builds graphs (nn, models, personalize). Values are lk_value;
 * optional operands are LK_NO_VALUE. Shapes: see tensor/op.h. After a failure every call is a no-op. */
#ifndef LK_GRAPH_BUILD_H
#define LK_GRAPH_BUILD_H

#include "graph/graph.h"

/* y = x w^T + bias + residual over the last axis of x ([...,I]); on a rank-4 x over its channels (1x1 convolution). */
lk_value lk_matmul(lk_graph *g, lk_value x, lk_value w, lk_value bias, lk_value residual);

typedef struct lk_conv2d_options {
    int32_t stride[2];   /* 0: 1 */
    int32_t padding[4];  /* top, left, bottom, right */
    int32_t dilation[2]; /* 0: 1 */
    int32_t groups;      /* 0: 1 */
} lk_conv2d_options;
lk_value lk_conv2d(lk_graph *g, lk_value x, lk_value w, lk_value bias, lk_value residual, lk_conv2d_options options);
/* stride and the same padding on all four sides. */
lk_value lk_conv2d_simple(lk_graph *g, lk_value x, lk_value w, lk_value bias, int stride, int padding);

/* [B,M,N] = a [B,M,K] b [B,K,N] of two values that the graph computes; a turned one is stored the other way round. */
lk_value lk_batch_matmul(lk_graph *g, lk_value a, lk_value b, bool turn_a, bool turn_b);
/* heads: inner width of q is heads * d. scale 0: 1/sqrt(d). */
lk_value lk_attention(lk_graph *g, lk_value q, lk_value k, lk_value v, int heads, float scale, bool causal,
                      lk_value key_bias);
lk_value lk_group_norm(lk_graph *g, lk_value x, lk_value gamma, lk_value beta, int groups, float epsilon, bool silu);
lk_value lk_layer_norm(lk_graph *g, lk_value x, lk_value gamma, lk_value beta, float epsilon);
lk_value lk_channel_affine(lk_graph *g, lk_value x, lk_value scale, lk_value shift);
lk_value lk_unary_op(lk_graph *g, lk_unary kind, lk_value x, float a, float b);
lk_value lk_silu(lk_graph *g, lk_value x);
lk_value lk_clamp(lk_graph *g, lk_value x, float low, float high);
lk_value lk_scale_shift(lk_graph *g, lk_value x, float scale, float shift);
lk_value lk_prelu(lk_graph *g, lk_value x, lk_value slope);
lk_value lk_binary_op(lk_graph *g, lk_binary kind, lk_value a, lk_value b);
lk_value lk_add(lk_graph *g, lk_value a, lk_value b);
lk_value lk_mul(lk_graph *g, lk_value a, lk_value b);
lk_value lk_geglu(lk_graph *g, lk_value x);
lk_value lk_pool2d(lk_graph *g, lk_value x, const lk_attributes *attributes);
lk_value lk_upsample_nearest(lk_graph *g, lk_value x, int height, int width);
lk_value lk_resize_bilinear(lk_graph *g, lk_value x, int height, int width, lk_coordinates coordinates);
lk_value lk_pad_op(lk_graph *g, lk_value x, lk_pad kind, const int32_t *before, const int32_t *after, float value);
lk_value lk_slice(lk_graph *g, lk_value x, int axis, int start, int size);
lk_value lk_concat(lk_graph *g, const lk_value *parts, int count, int axis);
lk_value lk_permute(lk_graph *g, lk_value x, const int32_t *perm);
/* Same logical row-major order; free where the storage is the same ([N,C,H,W] is *not* the same order as [N,H*W,C]). */
lk_value lk_reshape(lk_graph *g, lk_value x, lk_shape shape);
/* [N,C,H,W] <-> [N,H*W,C]: the same memory, no work (ops TO_TOKENS, FROM_TOKENS, which the planner aliases). */
lk_value lk_to_tokens(lk_graph *g, lk_value x);
lk_value lk_from_tokens(lk_graph *g, lk_value tokens, int height, int width);
lk_value lk_gather(lk_graph *g, lk_value table, lk_value ids);
lk_value lk_reduce_op(lk_graph *g, lk_reduce kind, lk_value x, uint32_t axes, bool keepdims);
lk_value lk_softmax(lk_graph *g, lk_value x);
lk_value lk_affine_warp(lk_graph *g, lk_value x, lk_value theta, int height, int width);
lk_value lk_cosine(lk_graph *g, lk_value a, lk_value b);
lk_value lk_loss(lk_graph *g, lk_value a, lk_value b, bool squared);
lk_value lk_cfg_combine(lk_graph *g, lk_value uncond, lk_value cond, lk_value weight);
lk_value lk_flow_step(lk_graph *g, lk_value z, lk_value v, lk_value dt, lk_value offset);

#endif
