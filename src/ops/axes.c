/* ops/axes.c - see ops/axes.h. */
#include "ops/axes.h"

#include <string.h>

int lk_memory_order(const lk_shape *shape, int order[LK_MAX_RANK]) {
    int inner = lk_shape_inner_axis(shape);
    int count = 0;
    if (inner >= 0) order[count++] = inner;
    for (int axis = shape->rank - 1; axis >= 0; axis--) {
        if (axis != inner) order[count++] = axis;
    }
    return count;
}

void lk_row_strides(const lk_shape *shape, int32_t stride[LK_MAX_RANK]) {
    int order[LK_MAX_RANK];
    int count = lk_memory_order(shape, order);
    memset(stride, 0, LK_MAX_RANK * sizeof *stride);
    int32_t step = lk_shape_ld(shape);
    for (int i = 0; i < count; i++) {
        stride[order[i]] = i == 0 ? 1 : step;
        if (i > 0) step *= shape->dim[order[i]];
    }
}

lk_axes lk_axes_make(const lk_shape *shape, int operands, const int32_t strides[][LK_MAX_RANK]) {
    lk_axes axes = {.operands = operands};
    int order[LK_MAX_RANK];
    axes.count = lk_memory_order(shape, order);
    axes.valid = lk_shape_inner(shape);
    for (int i = 0; i < axes.count; i++) {
        axes.size[i] = shape->dim[order[i]];
        for (int k = 0; k < operands; k++) {
            axes.stride[k][i] = strides[k][order[i]];
        }
    }
    if (axes.count == 0) axes.count = 1;
    axes.size[0] = lk_shape_ld(shape);
    return axes;
}

static void lk_axes_remove(lk_axes *axes, int at) {
    for (int i = at; i + 1 < axes->count; i++) {
        axes->size[i] = axes->size[i + 1];
        for (int k = 0; k < axes->operands; k++) {
            axes->stride[k][i] = axes->stride[k][i + 1];
        }
    }
    axes->count--;
}

void lk_axes_collapse(lk_axes *axes, bool join_padding) {
    for (int i = axes->count - 1; i > 0; i--) {
        if (axes->size[i] == 1) lk_axes_remove(axes, i);
    }
    for (int i = 0; i + 1 < axes->count;) {
        bool padded = i == 0 && axes->valid != axes->size[0];
        bool even = !padded || join_padding;
        for (int k = 0; k < axes->operands; k++) {
            /* Over padding only tensors that have the same padding themselves. */
            even = even && (!padded || axes->stride[k][0] == 1);
            even = even && (int64_t)axes->stride[k][i] * axes->size[i] == axes->stride[k][i + 1];
        }
        if (!even) {
            i++;
            continue;
        }
        axes->size[i] *= axes->size[i + 1];
        if (i == 0) axes->valid = axes->size[0];
        lk_axes_remove(axes, i + 1);
    }
}

int64_t lk_axes_total(const lk_axes *axes) {
    int64_t total = 1;
    for (int i = 0; i < axes->count; i++) {
        total *= axes->size[i];
    }
    return total;
}

bool lk_axes_export(const lk_axes *axes, int room, int32_t *size, int32_t *stride0, int32_t *stride1,
                    int32_t *stride2) {
    if (axes->count > room) return false;
    int32_t *const strides[LK_AXES_OPERANDS] = {stride0, stride1, stride2};
    for (int i = 0; i < room; i++) {
        if (size != NULL) size[i] = i < axes->count ? axes->size[i] : 1;
        for (int k = 0; k < LK_AXES_OPERANDS; k++) {
            if (strides[k] != NULL) strides[k][i] = i < axes->count ? axes->stride[k][i] : 0;
        }
    }
    return true;
}

void lk_broadcast_strides(const lk_shape *from, const lk_shape *to, int32_t stride[LK_MAX_RANK]) {
    int32_t own[LK_MAX_RANK];
    lk_row_strides(from, own);
    memset(stride, 0, LK_MAX_RANK * sizeof *stride);
    int lead = to->rank - from->rank;
    for (int i = 0; i < from->rank; i++) {
        if (from->dim[i] != 1) stride[lead + i] = own[i];
    }
}
