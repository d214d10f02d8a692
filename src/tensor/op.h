/* clang-format off */
/* tensor/op.h - the list of operations, their attributes, and one call of an operation.
 *
 * Only descriptions live here. src/ops/table.h adds to each entry its shape rule, gradient builder, shader dispatch and
 * cost; src/reference computes each entry in plain C on doubles. Shapes below are logical. "?" marks an optional slot
 * (LK_NO_VALUE when absent). A name ending in _DX is the vector-Jacobian product of the op with respect to an input.
 *
 *   op              inputs                                                     outputs
 *   MATMUL          x [...,I], w [O,I], bias? [O]|[N,O], residual? [...,O]     y [...,O]      y = x w^T + bias + residual
 *   MATMUL_DX       dy [...,O], w [O,I], addend?                               dx [...,I] + addend
 *   CONV2D          x [N,I,H,W], w [O,I/g,kh,kw], bias? [O]|[N,O], residual?   y [N,O,H',W']
 *   CONV2D_DX       dy, w, addend?                                             dx + addend (attrs hold H, W of x)
 *   ATTENTION       q [N,L,h*d], k [N,S,h*d], v [N,S,h*d], key_bias? [N,S],    o [N,L,h*d], lse? [N,L,h], extra? [N,L,h*E]
 *                   mask? [L,S], extra columns? [N,S,E]
 *   ATTENTION_DQ    q, k, v, o, lse, do, key_bias?, mask?                      dq
 *   ATTENTION_DKV   q, k, v, o, lse, do, key_bias?, mask?                      dk?, dv?
 *   BATCH_MATMUL    a [B,M,K] or turned [B,K,M], b [B,K,N] or turned [B,N,K]   y [B,M,N] = a b, neither of them a weight
 *   GROUP_NORM      x [N,C,H,W] or [N,L,C], gamma? [C], beta? [C]              y, stats [N,G,2] = mean, 1/sqrt(var+eps)
 *   GROUP_NORM_DX   x, gamma?, beta?, stats, dy, addend?                       dx + addend  (attrs.norm.silu fuses SiLU)
 *   LAYER_NORM      x [...,C], gamma? [C], beta? [C]                           y, stats [rows,2]
 *   LAYER_NORM_DX   x, gamma?, beta?, stats, dy, addend?                       dx + addend
 *   CHANNEL_AFFINE  x, scale [C], shift? [C]                                   y = x*scale + shift (batch norm at inference)
 *   UNARY           x                                                          y = f(x), attrs.unary
 *   UNARY_DX        x, dy                                                      dx = f'(x) dy
 *   PRELU           x, slope [C]                                               y
 *   PRELU_DX        x, slope, dy                                               dx
 *   BINARY          a, b (numpy broadcast)                                     y, attrs.binary
 *   BINARY_DX       a, b, dy                                                   d of one side *before* reduction, shape of dy
 *   GEGLU           x [...,2C] = (value, gate)                                 y [...,C] = value * gelu(gate)
 *   GEGLU_DX        x, dy                                                      dx [...,2C]
 *   POOL2D          x                                                          y
 *   POOL2D_DX       x, y, dy                                                   dx (max: first maximum in scan order)
 *   RESIZE          x [N,C,H,W]                                                y, nearest or bilinear
 *   RESIZE_DX       dy                                                         dx
 *   PAD             x                                                          y constant | edge | reflect
 *   PAD_DX          dy                                                         dx
 *   SLICE           x                                                          y[i] = x[start + i*step]
 *   SLICE_DX        dy                                                         dx, zero where nothing was read
 *   CONCAT          2..8 inputs                                                y along attrs.axis.axis
 *   PERMUTE         x                                                          y, y.dim[i] = x.dim[perm[i]]
 *   RESHAPE         x                                                          y, same logical row-major order
 *   TO_TOKENS       x [N,C,H,W]                                                y [N,H*W,C]: the same memory, the planner aliases it
 *   FROM_TOKENS     x [N,H*W,C]                                                y [N,C,H,W] (attrs.shape.shape): likewise; each is the
 *                                                                              other's gradient
 *   GATHER          table [V,C], ids i32 [...]                                 y [...,C]
 *   GATHER_DX       ids, dy                                                    dtable [V,C], rows summed in order of position
 *   REDUCE          x                                                          sum | mean | max over axes (keepdims or not)
 *   REDUCE_MAX_DX   x, y, dy                                                   dx (first maximum takes all)
 *   BROADCAST       x                                                          y = factor * x expanded to attrs shape
 *   SOFTMAX         x                                                          y over the last logical axis
 *   SOFTMAX_DX      y, dy                                                      dx
 *   AFFINE_WARP     x [N,C,H,W], theta [N,2,3]                                 y [N,C,H',W'] bilinear, zero outside
 *   AFFINE_WARP_DX  dy, theta                                                  dx (attrs hold H, W of x)
 *   COSINE          a [N,D], b [N,D]|[1,D]                                     c [N]
 *   COSINE_DX       a, b, dc [N]                                               da
 *   LOSS            a, b (same shape, first dim N)                             l [N] mean |a-b| or mean (a-b)^2 per sample
 *   LOSS_DX         a, b, dl [N]                                               da
 *   CFG_COMBINE     uncond, cond, weight [1]                                   u + w (c - u)
 *   CFG_COMBINE_DX  dy, weight                                                 du?, dc?
 *   FLOW_STEP       z, v, dt [1], offset?                                      z + dt v + offset
 *   FLOW_STEP_DX    dy, dt                                                     dv = dt dy   (dz and doffset are dy itself)
 *   OFFSET_UPDATE   offset, gradient, params [3] = s*c_k, clamp, mode          offset' (rectifid.md 1.8 lines 16-19), norm [1]
 *
 * Fine print, the same in shape rules, reference and shaders:
 *   inner axis      matmul, norms, channel affine, PReLU and GEGLU work on the inner (channel) axis: dim[1] of rank 4
 *   bias [N,O]      one row a sample, N = dim[0] of x. (A rank-2 y needs no distinction: each row is a sample.)
 *   kinks           relu'(0) = abs'(0) = d|a-b| at a = b = 0; leaky_relu'(0) and prelu'(0) = slope; clamp' = 1 on its bounds;
 *                   hard_sigmoid' = 0 on its bounds; min and max give half of dy to each side of a tie
 *   elu             x for x > 0, else a (e^x - 1); elu'(0) = a
 *   softplus        log(1 + e^x); quick_gelu x sigmoid(1.702 x); gelu_tanh with sqrt(2/pi) and 0.044715
 *   attention       logits = scale q.k + key_bias + mask; causal: query i sees keys j <= i; a query that sees no key
 *                   (all logits -inf) gives zeros and lse = -inf; extra[n,l,head*E+e] = sum_j p_j E[n,j,e]
 *   pool            max ignores padding; average divides by the window's overlap with the padded input when
 *                   count_include_pad, else with the input. Every padding is smaller than the kernel. ceil_mode: the last
 *                   window starts inside the input or its top/left padding
 *   resize          source of output i of n, input extent m: asymmetric i m/n; half_pixel (i+1/2) m/n - 1/2; align_corners
 *                   i (m-1)/(n-1), 0 for n = 1. Nearest: floor for asymmetric, else ceil(s - 1/2), in integer arithmetic
 *                   (ties are exact). Bilinear: s clamped to [0, m-1]
 *   gather          an id outside the table gives zeros and gets no gradient
 *   warp            each of the four taps outside the picture counts as zero
 *   cosine          a.b / (max(|a|,1e-8) max(|b|,1e-8))
 *   bilinear etc. of _DX: the exact transpose of the forward op
 *
 * OFFSET_UPDATE: m = ||h||_2 over the tensor; q = h / max(1, m); if clamp > 0: q clamped to +-clamp;
 * mode 0 (accumulate): offset - s c q; mode 1 (assign): -s c q. The norm m is the second output. */
/* clang-format on */
#ifndef LK_TENSOR_OP_H
#define LK_TENSOR_OP_H

#include "tensor/tensor.h"

#include <string.h>

#define LK_MAX_INPUTS 8
#define LK_MAX_OUTPUTS 4

/* id, name, least inputs, most inputs, least outputs, most outputs */
#define LK_OP_LIST(X)                                                                                                  \
    X(MATMUL, "matmul", 2, 4, 1, 1)                                                                                    \
    X(MATMUL_DX, "matmul_dx", 2, 3, 1, 1)                                                                              \
    X(CONV2D, "conv2d", 2, 4, 1, 1)                                                                                    \
    X(CONV2D_DX, "conv2d_dx", 2, 3, 1, 1)                                                                              \
    X(ATTENTION, "attention", 3, 6, 1, 3)                                                                              \
    X(ATTENTION_DQ, "attention_dq", 6, 8, 1, 1)                                                                        \
    X(ATTENTION_DKV, "attention_dkv", 6, 8, 1, 2)                                                                      \
    X(BATCH_MATMUL, "batch_matmul", 2, 2, 1, 1)                                                                        \
    X(GROUP_NORM, "group_norm", 1, 3, 2, 2)                                                                            \
    X(GROUP_NORM_DX, "group_norm_dx", 5, 6, 1, 1)                                                                      \
    X(LAYER_NORM, "layer_norm", 1, 3, 2, 2)                                                                            \
    X(LAYER_NORM_DX, "layer_norm_dx", 5, 6, 1, 1)                                                                      \
    X(CHANNEL_AFFINE, "channel_affine", 2, 3, 1, 1)                                                                    \
    X(UNARY, "unary", 1, 1, 1, 1)                                                                                      \
    X(UNARY_DX, "unary_dx", 2, 2, 1, 1)                                                                                \
    X(PRELU, "prelu", 2, 2, 1, 1)                                                                                      \
    X(PRELU_DX, "prelu_dx", 3, 3, 1, 1)                                                                                \
    X(BINARY, "binary", 2, 2, 1, 1)                                                                                    \
    X(BINARY_DX, "binary_dx", 3, 3, 1, 1)                                                                              \
    X(GEGLU, "geglu", 1, 1, 1, 1)                                                                                      \
    X(GEGLU_DX, "geglu_dx", 2, 2, 1, 1)                                                                                \
    X(POOL2D, "pool2d", 1, 1, 1, 1)                                                                                    \
    X(POOL2D_DX, "pool2d_dx", 3, 3, 1, 1)                                                                              \
    X(RESIZE, "resize", 1, 1, 1, 1)                                                                                    \
    X(RESIZE_DX, "resize_dx", 1, 1, 1, 1)                                                                              \
    X(PAD, "pad", 1, 1, 1, 1)                                                                                          \
    X(PAD_DX, "pad_dx", 1, 1, 1, 1)                                                                                    \
    X(SLICE, "slice", 1, 1, 1, 1)                                                                                      \
    X(SLICE_DX, "slice_dx", 1, 1, 1, 1)                                                                                \
    X(CONCAT, "concat", 2, 8, 1, 1)                                                                                    \
    X(PERMUTE, "permute", 1, 1, 1, 1)                                                                                  \
    X(RESHAPE, "reshape", 1, 1, 1, 1)                                                                                  \
    X(TO_TOKENS, "to_tokens", 1, 1, 1, 1)                                                                              \
    X(FROM_TOKENS, "from_tokens", 1, 1, 1, 1)                                                                          \
    X(GATHER, "gather", 2, 2, 1, 1)                                                                                    \
    X(GATHER_DX, "gather_dx", 2, 2, 1, 1)                                                                              \
    X(REDUCE, "reduce", 1, 1, 1, 1)                                                                                    \
    X(REDUCE_MAX_DX, "reduce_max_dx", 3, 3, 1, 1)                                                                      \
    X(BROADCAST, "broadcast", 1, 1, 1, 1)                                                                              \
    X(SOFTMAX, "softmax", 1, 1, 1, 1)                                                                                  \
    X(SOFTMAX_DX, "softmax_dx", 2, 2, 1, 1)                                                                            \
    X(AFFINE_WARP, "affine_warp", 2, 2, 1, 1)                                                                          \
    X(AFFINE_WARP_DX, "affine_warp_dx", 2, 2, 1, 1)                                                                    \
    X(COSINE, "cosine", 2, 2, 1, 1)                                                                                    \
    X(COSINE_DX, "cosine_dx", 3, 3, 1, 1)                                                                              \
    X(LOSS, "loss", 2, 2, 1, 1)                                                                                        \
    X(LOSS_DX, "loss_dx", 3, 3, 1, 1)                                                                                  \
    X(CFG_COMBINE, "cfg_combine", 3, 3, 1, 1)                                                                          \
    X(CFG_COMBINE_DX, "cfg_combine_dx", 2, 2, 1, 2)                                                                    \
    X(FLOW_STEP, "flow_step", 3, 4, 1, 1)                                                                              \
    X(FLOW_STEP_DX, "flow_step_dx", 2, 2, 1, 1)                                                                        \
    X(OFFSET_UPDATE, "offset_update", 3, 3, 2, 2)

typedef enum lk_op {
#define LK_OP_ENUM(id, name, in0, in1, out0, out1) LK_OP_##id,
    LK_OP_LIST(LK_OP_ENUM)
#undef LK_OP_ENUM
        LK_OP_COUNT
} lk_op;

typedef enum lk_unary {
    LK_UNARY_SILU,
    LK_UNARY_GELU, /* exact, by erf */
    LK_UNARY_GELU_TANH,
    LK_UNARY_QUICK_GELU,
    LK_UNARY_RELU,
    LK_UNARY_LEAKY_RELU, /* a = negative slope */
    LK_UNARY_SIGMOID,
    LK_UNARY_TANH,
    LK_UNARY_EXP,
    LK_UNARY_LOG,
    LK_UNARY_SQRT,
    LK_UNARY_NEG,
    LK_UNARY_ABS,
    LK_UNARY_SQUARE,
    LK_UNARY_RECIPROCAL,
    LK_UNARY_SOFTPLUS,
    LK_UNARY_CLAMP,        /* to [a, b]; derivative 1 inside and on the bounds */
    LK_UNARY_AFFINE,       /* a*x + b */
    LK_UNARY_HARD_SIGMOID, /* clamp(a*x + b, 0, 1) */
    LK_UNARY_HARD_SWISH,   /* x * clamp(x/6 + 0.5, 0, 1) */
    LK_UNARY_ERF,
    LK_UNARY_ELU, /* x > 0 ? x : a (e^x - 1) */
    LK_UNARY_COUNT
} lk_unary;

typedef enum lk_binary {
    LK_BINARY_ADD,
    LK_BINARY_SUB,
    LK_BINARY_MUL,
    LK_BINARY_DIV,
    LK_BINARY_MIN,
    LK_BINARY_MAX,
    LK_BINARY_COUNT
} lk_binary;

typedef enum lk_reduce { LK_REDUCE_SUM, LK_REDUCE_MEAN, LK_REDUCE_MAX } lk_reduce;
typedef enum lk_pool_kind { LK_POOL_MAX, LK_POOL_AVERAGE } lk_pool_kind;
typedef enum lk_pad { LK_PAD_CONSTANT, LK_PAD_EDGE, LK_PAD_REFLECT } lk_pad;
typedef enum lk_resize_kind { LK_RESIZE_NEAREST, LK_RESIZE_BILINEAR } lk_resize_kind;
/* How an output pixel maps to the input, as ONNX names it. NEAREST + ASYMMETRIC + integer factor is diffusers' upsample
 * (source = floor(i / factor)). Nearest rounding is floor for ASYMMETRIC, round_prefer_floor otherwise. */
typedef enum lk_coordinates {
    LK_COORDINATES_ASYMMETRIC,
    LK_COORDINATES_HALF_PIXEL,
    LK_COORDINATES_ALIGN_CORNERS
} lk_coordinates;

/* Attributes; the op decides which member is meant. Zero is the natural default unless said otherwise. */
typedef union lk_attributes {
    struct {
        int32_t stride[2];     /* y, x; at least 1 */
        int32_t padding[4];    /* top, left, bottom, right */
        int32_t dilation[2];   /* at least 1 */
        int32_t groups;        /* at least 1 */
        int32_t input_size[2]; /* _DX: H, W of x */
        int32_t kernel[2];     /* filled by the builder from the weight's shape */
    } conv;
    struct {
        int32_t heads; /* h; head width d = inner / h */
        int32_t causal;
        float scale; /* applied to q.k; 1/sqrt(d) is filled in by the builder when 0 */
        int32_t extra_columns;
    } attention;
    struct {
        int32_t turn_a, turn_b; /* the matrix is stored with rows and columns exchanged */
    } product;
    struct {
        int32_t groups; /* group norm */
        float epsilon;
        int32_t silu; /* y = silu(norm(x)) */
    } norm;
    struct {
        lk_unary kind;
        float a, b;
    } unary;
    struct {
        lk_binary kind;
        int32_t side; /* _DX: 0 = a, 1 = b */
    } binary;
    struct {
        lk_pool_kind kind;
        int32_t kernel[2], stride[2], padding[4];
        int32_t ceil_mode, count_include_pad;
    } pool;
    struct {
        lk_resize_kind kind;
        lk_coordinates coordinates;
        int32_t size[2]; /* H, W of the output; of x for _DX */
    } resize;
    struct {
        lk_pad kind;
        int32_t before[LK_MAX_RANK], after[LK_MAX_RANK]; /* at least 0; edge and reflect only on H and W */
        float value;
    } pad;
    struct {
        int32_t start[LK_MAX_RANK], step[LK_MAX_RANK], size[LK_MAX_RANK]; /* size: of the output; of x for _DX */
    } slice;
    struct {
        int32_t axis;
    } axis;
    struct {
        int32_t perm[LK_MAX_RANK];
    } permute;
    struct {
        lk_shape shape; /* RESHAPE, BROADCAST, FROM_TOKENS: shape of the output; GATHER_DX: shape of the table */
        float factor;   /* BROADCAST; builders pass 1 explicitly */
    } shape;
    struct {
        lk_reduce kind;
        uint32_t axes; /* bit i = logical axis i */
        int32_t keepdims;
    } reduce;
    struct {
        int32_t size[2]; /* AFFINE_WARP: H, W of the output; _DX: of x */
        /* theta maps output pixel (x, y, 1) to input pixel coordinates; pixel centres at integers. */
    } warp;
    struct {
        int32_t squared; /* 0: L1, 1: L2 */
    } loss;
} lk_attributes;

/* All zero, every member of the union ({0} would set the first member only). */
static inline lk_attributes lk_attributes_zero(void) {
    lk_attributes attributes;
    memset(&attributes, 0, sizeof attributes);
    return attributes;
}

/* One call, shapes only. Absent optional inputs and outputs have present[...] = false. */
typedef struct lk_op_call {
    lk_op op;
    lk_attributes attributes;
    int32_t input_count, output_count; /* slots up to the last one used */
    bool has_input[LK_MAX_INPUTS], has_output[LK_MAX_OUTPUTS];
    lk_tensor input[LK_MAX_INPUTS], output[LK_MAX_OUTPUTS];
} lk_op_call;

const char *lk_op_name(lk_op op);
const char *lk_unary_name(lk_unary kind);
/* The optional input that an op adds to its output 0, of the same shape (a gradient takes the sum so far instead of
 * being added to it by a node of its own); -1: none. */
int lk_op_addend(lk_op op);
void lk_op_arity(lk_op op, int *least_inputs, int *most_inputs, int *least_outputs, int *most_outputs);

#endif
