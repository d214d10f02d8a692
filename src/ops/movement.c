/* ops/movement.c - dispatch of everything that only moves elements: PERMUTE, SLICE, PAD, CONCAT, RESHAPE, BROADCAST,
 * GATHER and their derivatives.
 *
 * Most are one strided copy. What a copy would leave unwritten (SLICE_DX with a step, PAD of many axes) is cleared by a
 * command before it. */
#include "movement/push.h"
#include "ops/axes.h"
#include "ops/light.h"

#include <string.h>

static int32_t stored(const lk_tensor *tensor) { return (int32_t)(lk_tensor_row_bytes(tensor) / 4); }

static lk_buffer_ref whole(const lk_operand *operand) {
    return lk_ref_slice(operand->ref, 0, lk_tensor_row_bytes(&operand->tensor));
}

static likeness_status too_many_axes(const lk_dispatch *d, lk_error *error) {
    return lk_fail(error, LIKENESS_UNSUPPORTED, "%s (%s): the axes do not collapse far enough for the shader",
                   d->label != NULL ? d->label : "node", lk_op_name(d->call->op));
}

/* ---- strided copy ---- */

typedef struct strided {
    lk_axes axes; /* operand 0: x, 1: y */
    int32_t base_x, base_y;
    float scale;
    bool fill; /* writes scale */
} strided;

static likeness_status record_copy(const lk_dispatch *d, lk_command *command, uint64_t x, uint64_t y, const strided *s,
                                   lk_error *error) {
    int32_t total = (int32_t)lk_axes_total(&s->axes);
    lk_flat flat = lk_flat_of(d->device, total);
    struct lk_push_copy push = {
        .x = x,
        .y = y,
        .base_x = s->base_x,
        .base_y = s->base_y,
        .total = total,
        .valid = s->axes.valid,
        .mode = s->axes.count | flat.per_thread << 8 | (s->scale != 1.0f ? 1 : 0) << 16 | (s->fill ? 1 : 0) << 17,
        .scale = s->scale,
    };
    lk_axes_export(&s->axes, 6, push.size, push.stride_x, push.stride_y, NULL);
    return lk_light_flat(d, command, &push, sizeof push, flat, error);
}

/* Output 0 whole, from input 0 by these strides along the output's logical axes. */
static likeness_status copy_whole(const lk_dispatch *d, const int32_t stride_x[LK_MAX_RANK], int32_t base_x,
                                  float scale, lk_error *error) {
    LK_TRY(lk_light_check(d, error));
    const lk_shape *y = &d->output[0].tensor.shape;
    int32_t strides[2][LK_MAX_RANK];
    memcpy(strides[0], stride_x, sizeof strides[0]);
    lk_row_strides(y, strides[1]);
    strided s = {.axes = lk_axes_make(y, 2, strides), .base_x = base_x, .scale = scale};
    /* Rows are joined over their padding only where x has the same: not when x's columns are a part or more of y's. */
    lk_axes_collapse(&s.axes, lk_shape_inner(&d->input[0].tensor.shape) == lk_shape_inner(y));
    lk_command command = lk_light_command(d, LK_SHADER_COPY, 1, 0);
    return record_copy(d, &command, lk_operand_address(&d->input[0]), lk_operand_address(&d->output[0]), &s, error);
}

likeness_status lk_dispatch_permute(const lk_dispatch *d, lk_error *error) {
    const lk_shape *x = &d->input[0].tensor.shape;
    int32_t own[LK_MAX_RANK], stride[LK_MAX_RANK] = {0};
    lk_row_strides(x, own);
    for (int i = 0; i < x->rank; i++) {
        stride[i] = own[d->call->attributes.permute.perm[i]];
    }
    return copy_whole(d, stride, 0, 1, error);
}

likeness_status lk_dispatch_slice(const lk_dispatch *d, lk_error *error) {
    const lk_shape *x = &d->input[0].tensor.shape;
    int32_t stride[LK_MAX_RANK], base = 0;
    lk_row_strides(x, stride);
    for (int i = 0; i < x->rank; i++) {
        base += d->call->attributes.slice.start[i] * stride[i];
        stride[i] *= d->call->attributes.slice.step[i];
    }
    return copy_whole(d, stride, base, 1, error);
}

likeness_status lk_dispatch_broadcast(const lk_dispatch *d, lk_error *error) {
    int32_t stride[LK_MAX_RANK];
    lk_broadcast_strides(&d->input[0].tensor.shape, &d->output[0].tensor.shape, stride);
    return copy_whole(d, stride, 0, d->call->attributes.shape.factor, error);
}

/* All of output 0 becomes `value`, its padding zero. */
static likeness_status fill_output(const lk_dispatch *d, float value, lk_error *error) {
    if (value == 0.0f) return lk_record_fill(d->recording, whole(&d->output[0]), 0, error);
    const lk_shape *y = &d->output[0].tensor.shape;
    int32_t strides[2][LK_MAX_RANK] = {{0}};
    lk_row_strides(y, strides[1]);
    strided s = {.axes = lk_axes_make(y, 2, strides), .scale = value, .fill = true};
    lk_axes_collapse(&s.axes, false);
    lk_command command = lk_light_command(d, LK_SHADER_COPY, 0, 0);
    return record_copy(d, &command, 0, lk_operand_address(&d->output[0]), &s, error);
}

/* Input 0 into output 0 at start + i step along every axis; the rest of the output stays. */
static likeness_status copy_inside(const lk_dispatch *d, const int32_t *start, const int32_t *step, lk_error *error) {
    const lk_shape *x = &d->input[0].tensor.shape;
    int32_t strides[2][LK_MAX_RANK];
    lk_row_strides(x, strides[0]);
    lk_row_strides(&d->output[0].tensor.shape, strides[1]);
    strided s = {.scale = 1};
    for (int i = 0; i < x->rank; i++) {
        s.base_y += start[i] * strides[1][i];
        if (step != NULL) strides[1][i] *= step[i];
    }
    s.axes = lk_axes_make(x, 2, strides);
    s.axes.size[0] = s.axes.valid;
    lk_axes_collapse(&s.axes, false);
    lk_command command = lk_light_command(d, LK_SHADER_COPY, 1, -1);
    lk_command_reads_writes(&command, whole(&d->output[0]));
    return record_copy(d, &command, lk_operand_address(&d->input[0]), lk_operand_address(&d->output[0]), &s, error);
}

/* ---- pad and slice backward ---- */

/* One command where at most four dimensions are left. before: along logical axes, of `small` inside `large`. */
static likeness_status pad_by(const lk_dispatch *d, const lk_shape *small, const lk_shape *large, const int32_t *before,
                              int32_t mode, float value, lk_error *error) {
    LK_TRY(lk_light_check(d, error));
    bool derivative = mode >= 3;
    const lk_shape *x = derivative ? large : small; /* read */
    const lk_shape *y = derivative ? small : large; /* written */
    int order[LK_MAX_RANK], count = lk_memory_order(y, order);
    int32_t stride[LK_MAX_RANK];
    lk_row_strides(x, stride);
    int32_t size_y[LK_MAX_RANK] = {lk_shape_ld(y)}, size_x[LK_MAX_RANK] = {1}, step[LK_MAX_RANK] = {0},
            ahead[LK_MAX_RANK] = {0};
    for (int i = 0; i < count; i++) {
        if (i > 0) size_y[i] = y->dim[order[i]];
        size_x[i] = x->dim[order[i]];
        step[i] = stride[order[i]];
        ahead[i] = before[order[i]];
    }
    if (count == 0) count = 1;
    for (int i = 1; mode == 0 && i + 1 < count;) {
        if (ahead[i] != 0 || size_y[i] != size_x[i] || step[i + 1] != step[i] * size_x[i]) {
            i++;
            continue;
        }
        ahead[i] = ahead[i + 1] * size_y[i];
        size_y[i] *= size_y[i + 1];
        size_x[i] *= size_x[i + 1];
        for (int k = i + 1; k + 1 < count; k++) {
            ahead[k] = ahead[k + 1];
            size_y[k] = size_y[k + 1];
            size_x[k] = size_x[k + 1];
            step[k] = step[k + 1];
        }
        count--;
    }
    if (count > 4) {
        LK_TRY(fill_output(d, value, error));
        return copy_inside(d, before, NULL, error);
    }
    int32_t total = stored(&d->output[0].tensor);
    lk_flat flat = lk_flat_of(d->device, total);
    struct lk_push_pad push = {
        .x = lk_operand_address(&d->input[0]),
        .y = lk_operand_address(&d->output[0]),
        .total = total,
        .valid = lk_shape_inner(y),
        .per_thread = flat.per_thread,
        .mode = mode,
        .value = value,
    };
    for (int i = 0; i < 4; i++) {
        push.size_y[i] = i < count ? size_y[i] : 1;
        push.size_x[i] = i < count ? size_x[i] : 1;
        push.stride_x[i] = i < count ? step[i] : 0;
        push.before[i] = i < count ? ahead[i] : 0;
    }
    lk_command command = lk_light_command(d, LK_SHADER_PAD, 1, 0);
    return lk_light_flat(d, &command, &push, sizeof push, flat, error);
}

likeness_status lk_dispatch_pad(const lk_dispatch *d, lk_error *error) {
    const lk_attributes *a = &d->call->attributes;
    return pad_by(d, &d->input[0].tensor.shape, &d->output[0].tensor.shape, a->pad.before, (int32_t)a->pad.kind,
                  a->pad.value, error);
}

likeness_status lk_dispatch_pad_dx(const lk_dispatch *d, lk_error *error) {
    const lk_attributes *a = &d->call->attributes;
    const lk_shape *dy = &d->input[0].tensor.shape, *dx = &d->output[0].tensor.shape;
    if (a->pad.kind != LK_PAD_CONSTANT)
        return pad_by(d, dx, dy, a->pad.before, a->pad.kind == LK_PAD_EDGE ? 3 : 4, 0, error);
    int32_t stride[LK_MAX_RANK], base = 0;
    lk_row_strides(dy, stride);
    for (int i = 0; i < dy->rank; i++) {
        base += a->pad.before[i] * stride[i];
    }
    return copy_whole(d, stride, base, 1, error);
}

likeness_status lk_dispatch_slice_dx(const lk_dispatch *d, lk_error *error) {
    const lk_attributes *a = &d->call->attributes;
    const lk_shape *dy = &d->input[0].tensor.shape, *dx = &d->output[0].tensor.shape;
    bool plain = true;
    for (int i = 0; i < dy->rank; i++) {
        plain = plain && (a->slice.step[i] == 1 || dy->dim[i] == 1);
    }
    if (plain) return pad_by(d, dy, dx, a->slice.start, 0, 0, error);
    LK_TRY(lk_light_check(d, error));
    LK_TRY(fill_output(d, 0, error));
    return copy_inside(d, a->slice.start, a->slice.step, error);
}

/* ---- concat ---- */

likeness_status lk_dispatch_concat(const lk_dispatch *d, lk_error *error) {
    LK_TRY(lk_light_check(d, error));
    const lk_shape *y = &d->output[0].tensor.shape;
    int axis = d->call->attributes.axis.axis;
    if (axis < 0) axis += y->rank;
    bool inner = axis == lk_shape_inner_axis(y);
    int32_t strides[2][LK_MAX_RANK], stride_y[LK_MAX_RANK];
    lk_row_strides(y, stride_y);
    int32_t start = 0;
    for (int i = 0; i < d->call->input_count; i++) {
        const lk_shape *part = &d->input[i].tensor.shape;
        int32_t extent = part->dim[axis];
        bool last = i + 1 == d->call->input_count;
        lk_row_strides(part, strides[0]);
        memcpy(strides[1], stride_y, sizeof stride_y);
        strided s = {.axes = lk_axes_make(part, 2, strides), .base_y = start * stride_y[axis], .scale = 1};
        /* Along channels the last part writes the padding of y, the others none. */
        if (inner) s.axes.size[0] = extent + (last ? lk_shape_ld(y) - lk_shape_inner(y) : 0);
        lk_axes_collapse(&s.axes, !inner);
        lk_command command = lk_light_command(d, LK_SHADER_COPY, 1u << i, -1);
        uint64_t unit = 4 * (uint64_t)stride_y[axis];
        uint64_t stride = unit * (uint64_t)(inner ? lk_shape_ld(y) : y->dim[axis]);
        uint64_t bytes = unit * (uint64_t)(inner ? extent + (last ? lk_shape_ld(y) - lk_shape_inner(y) : 0) : extent);
        uint64_t rows = lk_tensor_row_bytes(&d->output[0].tensor) / stride;
        lk_command_range(&command, d->output[0].ref, unit * (uint64_t)start, rows, stride, bytes, LK_WRITE);
        LK_TRY(
            record_copy(d, &command, lk_operand_address(&d->input[i]), lk_operand_address(&d->output[0]), &s, error));
        start += extent;
    }
    return LIKENESS_OK;
}

/* ---- reshape ---- */

/* Logical row-major weight of every axis. */
static void logical_weights(const lk_shape *shape, int32_t weight[LK_MAX_RANK]) {
    int32_t step = 1;
    for (int axis = shape->rank - 1; axis >= 0; axis--) {
        weight[axis] = step;
        step *= shape->dim[axis];
    }
}

/* Loops over a shape in logical order, innermost first, without padding, with one or two strides. */
static lk_axes logical_axes(const lk_shape *shape, int operands, const int32_t strides[][LK_MAX_RANK]) {
    lk_axes axes = {.count = shape->rank > 0 ? shape->rank : 1, .operands = operands};
    axes.size[0] = 1;
    for (int i = 0; i < shape->rank; i++) {
        int axis = shape->rank - 1 - i;
        axes.size[i] = shape->dim[axis];
        for (int k = 0; k < operands; k++) {
            axes.stride[k][i] = strides[k][axis];
        }
    }
    axes.valid = axes.size[0];
    lk_axes_collapse(&axes, false);
    return axes;
}

likeness_status lk_dispatch_reshape(const lk_dispatch *d, lk_error *error) {
    LK_TRY(lk_light_check(d, error));
    const lk_shape *x = &d->input[0].tensor.shape, *y = &d->output[0].tensor.shape;
    int32_t total = stored(&d->output[0].tensor);
    if (d->call->op != LK_OP_RESHAPE) { /* tokens: the same memory */
        strided s = {.axes = {.count = 1, .valid = total, .operands = 2, .size = {total}, .stride = {{1}, {1}}},
                     .scale = 1};
        lk_command same = lk_light_command(d, LK_SHADER_COPY, 1, 0);
        return record_copy(d, &same, lk_operand_address(&d->input[0]), lk_operand_address(&d->output[0]), &s, error);
    }
    int32_t weights[1][LK_MAX_RANK] = {{0}}, stride_x[1][LK_MAX_RANK];
    logical_weights(y, weights[0]);
    lk_row_strides(x, stride_x[0]);
    lk_axes to = lk_axes_make(y, 1, weights);
    lk_axes_collapse(&to, false);
    lk_axes from = logical_axes(x, 1, stride_x);
    lk_flat flat = lk_flat_of(d->device, total);
    struct lk_push_reshape push = {
        .x = lk_operand_address(&d->input[0]),
        .y = lk_operand_address(&d->output[0]),
        .total = total,
        .valid = to.valid,
        .per_thread = flat.per_thread,
    };
    bool fits = lk_axes_export(&to, 3, push.size_y, push.weight_y, NULL, NULL) &&
                lk_axes_export(&from, 3, push.size_x, push.stride_x, NULL, NULL);
    if (!fits) return too_many_axes(d, error);
    lk_command command = lk_light_command(d, LK_SHADER_RESHAPE, 1, 0);
    return lk_light_flat(d, &command, &push, sizeof push, flat, error);
}

/* ---- gather ---- */

likeness_status lk_dispatch_gather(const lk_dispatch *d, lk_error *error) {
    const lk_tensor *table = &d->input[0].tensor;
    const lk_shape *y = &d->output[0].tensor.shape;
    bool half_table = table->dtype == LK_F16;
    if ((!half_table && table->dtype != LK_F32) || table->storage != LK_STORE_ROWS ||
        d->output[0].tensor.dtype != LK_F32)
        return lk_fail(error, LIKENESS_UNSUPPORTED,
                       "%s (gather): the table must hold f32 or f16 rows and the output f32",
                       d->label != NULL ? d->label : "node");
    int32_t strides[2][LK_MAX_RANK] = {{0}};
    lk_row_strides(&d->input[1].tensor.shape, strides[0]);
    strides[0][y->rank - 1] = 0;
    strides[1][y->rank - 1] = 1;
    lk_axes axes = lk_axes_make(y, 2, strides);
    lk_axes_collapse(&axes, false);
    int32_t total = stored(&d->output[0].tensor);
    lk_flat flat = lk_flat_of(d->device, total);
    struct lk_push_gather push = {
        .table = lk_operand_address(&d->input[0]),
        .ids = lk_operand_address(&d->input[1]),
        .y = lk_operand_address(&d->output[0]),
        .total = total,
        .valid = axes.valid,
        .per_thread = flat.per_thread,
        .ld = lk_shape_ld(&table->shape),
        .entries = table->shape.dim[0],
        .mode = axes.count | (half_table ? 1 : 0) << 8,
    };
    if (!lk_axes_export(&axes, 4, push.size, push.stride_ids, push.stride_column, NULL)) return too_many_axes(d, error);
    lk_command command = lk_light_command(d, LK_SHADER_GATHER, 3, 0);
    return lk_light_flat(d, &command, &push, sizeof push, flat, error);
}

likeness_status lk_dispatch_gather_dx(const lk_dispatch *d, lk_error *error) {
    LK_TRY(lk_light_check(d, error));
    const lk_shape *ids = &d->input[0].tensor.shape, *dy = &d->input[1].tensor.shape;
    const lk_shape *table = &d->output[0].tensor.shape;
    int32_t strides[2][LK_MAX_RANK];
    lk_row_strides(ids, strides[0]);
    lk_row_strides(dy, strides[1]);
    int32_t column_stride = strides[1][dy->rank - 1];
    lk_axes axes = logical_axes(ids, 2, strides);
    int32_t total = stored(&d->output[0].tensor);
    lk_flat flat = lk_flat_of(d->device, total);
    struct lk_push_gather push = {
        .table = lk_operand_address(&d->input[1]),
        .ids = lk_operand_address(&d->input[0]),
        .y = lk_operand_address(&d->output[0]),
        .total = total,
        .valid = lk_shape_inner(table),
        .per_thread = flat.per_thread,
        .ld = lk_shape_ld(table),
        .entries = table->dim[0],
        .mode = axes.count,
        .count = (int32_t)lk_shape_elements(ids),
        .column_stride = column_stride,
    };
    if (!lk_axes_export(&axes, 4, push.size, push.stride_ids, push.stride_column, NULL)) return too_many_axes(d, error);
    lk_command command = lk_light_command(d, LK_SHADER_GATHER_DX, 3, 0);
    return lk_light_flat(d, &command, &push, sizeof push, flat, error);
}
