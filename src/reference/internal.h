/* reference/internal.h - what the files of the reference share. One function an op (or an op and its _DX); each gets
 * the call, whose shapes the shape rule has checked, and dense arrays. */
#ifndef LK_REFERENCE_INTERNAL_H
#define LK_REFERENCE_INTERNAL_H

#include "reference/reference.h"

typedef bool (*lk_reference_function)(const lk_op_call *call, const double *const *in, double *const *out);

#define LK_REFERENCE_FUNCTIONS(X)                                                                                      \
    X(matmul)                                                                                                          \
    X(matmul_dx)                                                                                                       \
    X(conv2d)                                                                                                          \
    X(conv2d_dx)                                                                                                       \
    X(attention)                                                                                                       \
    X(attention_dq)                                                                                                    \
    X(attention_dkv)                                                                                                   \
    X(batch_matmul)                                                                                                    \
    X(group_norm)                                                                                                      \
    X(group_norm_dx)                                                                                                   \
    X(layer_norm)                                                                                                      \
    X(layer_norm_dx)                                                                                                   \
    X(softmax)                                                                                                         \
    X(softmax_dx)                                                                                                      \
    X(channel_affine)                                                                                                  \
    X(unary)                                                                                                           \
    X(unary_dx)                                                                                                        \
    X(prelu)                                                                                                           \
    X(prelu_dx)                                                                                                        \
    X(binary)                                                                                                          \
    X(binary_dx)                                                                                                       \
    X(geglu)                                                                                                           \
    X(geglu_dx)                                                                                                        \
    X(pool2d)                                                                                                          \
    X(pool2d_dx)                                                                                                       \
    X(resize)                                                                                                          \
    X(resize_dx)                                                                                                       \
    X(affine_warp)                                                                                                     \
    X(affine_warp_dx)                                                                                                  \
    X(pad)                                                                                                             \
    X(pad_dx)                                                                                                          \
    X(slice)                                                                                                           \
    X(slice_dx)                                                                                                        \
    X(concat)                                                                                                          \
    X(permute)                                                                                                         \
    X(copy)                                                                                                            \
    X(to_tokens)                                                                                                       \
    X(from_tokens)                                                                                                     \
    X(gather)                                                                                                          \
    X(gather_dx)                                                                                                       \
    X(reduce)                                                                                                          \
    X(reduce_max_dx)                                                                                                   \
    X(broadcast)                                                                                                       \
    X(cosine)                                                                                                          \
    X(cosine_dx) X(loss) X(loss_dx) X(cfg_combine) X(cfg_combine_dx) X(flow_step) X(flow_step_dx) X(offset_update)

#define LK_REFERENCE_DECLARE(name)                                                                                     \
    bool lk_reference_##name(const lk_op_call *call, const double *const *in, double *const *out);
LK_REFERENCE_FUNCTIONS(LK_REFERENCE_DECLARE)
#undef LK_REFERENCE_DECLARE

/* A dense array seen as [outer][inner][positions], inner being the channel axis: element (o, c, p) lies at
 * (o*inner + c)*positions + p. Positions is H*W for rank 4 and 1 otherwise; row o*positions + p is the tensor's row. */
typedef struct lk_channels {
    int64_t outer, inner, positions;
} lk_channels;
lk_channels lk_channels_of(const lk_shape *shape);
static inline int64_t lk_channel_at(const lk_channels *v, int64_t o, int64_t c, int64_t p) {
    return (o * v->inner + c) * v->positions + p;
}

/* Coordinates of the index-th element in row-major order, and back. */
void lk_coordinates_of(const lk_shape *shape, int64_t index, int64_t at[LK_MAX_RANK]);
int64_t lk_dense_index(const lk_shape *shape, const int64_t at[LK_MAX_RANK]);
/* Index into `from` of the element that numpy broadcasting puts at coordinates `at` of a tensor of rank `rank`. */
int64_t lk_broadcast_index(const lk_shape *from, const int64_t at[LK_MAX_RANK], int rank);

void lk_reference_zero(double *values, const lk_shape *shape);

double lk_sigmoid_double(double x);
double lk_gelu_double(double x);
double lk_gelu_slope_double(double x);

#endif
