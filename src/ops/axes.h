/* ops/axes.h - nested loops over a tensor in memory order, with strides of the tensors beside it, and their collapse.
 *
 *     index 0 is the innermost dimension of what is written; it runs over the padded row (size ld), of which `valid`
 *     positions exist. Strides are in elements; a broadcast axis has stride 0.
 *
 * Collapse joins neighbouring dimensions that every tensor steps through evenly, so that a shader divides as rarely as
 * possible: two tensors of one shape become a single dimension. */
#ifndef LK_OPS_AXES_H
#define LK_OPS_AXES_H

#include "tensor/tensor.h"

#define LK_AXES_OPERANDS 3

typedef struct lk_axes {
    int32_t count; /* at least 1 */
    int32_t valid;
    int32_t operands; /* strides in use */
    int32_t size[LK_MAX_RANK];
    int32_t stride[LK_AXES_OPERANDS][LK_MAX_RANK];
} lk_axes;

/* Logical axes of a shape in memory order, innermost first; returns the rank. */
int lk_memory_order(const lk_shape *shape, int order[LK_MAX_RANK]);
/* Stride in elements of every logical axis in rows storage. */
void lk_row_strides(const lk_shape *shape, int32_t stride[LK_MAX_RANK]);
/* Loops over `shape` in its memory order. strides[k][axis]: step of operand k along the logical axis. */
lk_axes lk_axes_make(const lk_shape *shape, int operands, const int32_t strides[][LK_MAX_RANK]);
/* join_padding: the operation gives zero where all its inputs are padding, so rows may be joined over their padding. */
void lk_axes_collapse(lk_axes *axes, bool join_padding);
/* Product of the sizes. */
int64_t lk_axes_total(const lk_axes *axes);
/* Copies count sizes or strides, the rest filled. Fails (false) when there are more than room. */
bool lk_axes_export(const lk_axes *axes, int room, int32_t *size, int32_t *stride0, int32_t *stride1, int32_t *stride2);

/* Strides of `from` seen along the axes of the wider shape `to` (numpy broadcast, aligned at the last axis). */
void lk_broadcast_strides(const lk_shape *from, const lk_shape *to, int32_t stride[LK_MAX_RANK]);

#endif
