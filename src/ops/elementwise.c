/* ops/elementwise.c - dispatch of UNARY, CHANNEL_AFFINE, PRELU, BINARY, GEGLU and their derivatives. */
#include "elementwise/push.h"
#include "ops/axes.h"
#include "ops/light.h"

static int32_t stored(const lk_tensor *tensor) { return (int32_t)(lk_tensor_row_bytes(tensor) / 4); }

likeness_status lk_dispatch_unary(const lk_dispatch *d, lk_error *error) {
    LK_TRY(lk_light_check(d, error));
    const lk_tensor *x = &d->input[0].tensor;
    bool derivative = d->call->op == LK_OP_UNARY_DX;
    lk_flat flat = lk_flat_of(d->device, stored(x));
    struct lk_push_unary push = {
        .x = lk_operand_address(&d->input[0]),
        .dy = derivative ? lk_operand_address(&d->input[1]) : 0,
        .y = lk_operand_address(&d->output[0]),
        .total = stored(x),
        .per_thread = flat.per_thread,
        .ld = lk_shape_ld(&x->shape),
        .inner = lk_shape_inner(&x->shape),
        .kind = (int32_t)d->call->attributes.unary.kind,
        .derivative = derivative,
        .a = d->call->attributes.unary.a,
        .b = d->call->attributes.unary.b,
    };
    lk_command command = lk_light_command(d, LK_SHADER_UNARY, 3, 0);
    return lk_light_flat(d, &command, &push, sizeof push, flat, error);
}

likeness_status lk_dispatch_channel(const lk_dispatch *d, lk_error *error) {
    LK_TRY(lk_light_check(d, error));
    const lk_tensor *x = &d->input[0].tensor;
    lk_op op = d->call->op;
    bool third = op == LK_OP_PRELU_DX || (op == LK_OP_CHANNEL_AFFINE && d->call->has_input[2]);
    lk_flat flat = lk_flat_of(d->device, stored(x));
    struct lk_push_channel push = {
        .x = lk_operand_address(&d->input[0]),
        .scale = lk_operand_address(&d->input[1]),
        .shift = third ? lk_operand_address(&d->input[2]) : 0,
        .y = lk_operand_address(&d->output[0]),
        .total = stored(x),
        .per_thread = flat.per_thread,
        .ld = lk_shape_ld(&x->shape),
        .inner = lk_shape_inner(&x->shape),
        .mode = op == LK_OP_PRELU ? 2 : (op == LK_OP_PRELU_DX ? 3 : (third ? 1 : 0)),
    };
    lk_command command = lk_light_command(d, LK_SHADER_CHANNEL, third ? 7 : 3, 0);
    return lk_light_flat(d, &command, &push, sizeof push, flat, error);
}

likeness_status lk_dispatch_binary(const lk_dispatch *d, lk_error *error) {
    LK_TRY(lk_light_check(d, error));
    const lk_shape *y = &d->output[0].tensor.shape;
    bool derivative = d->call->op == LK_OP_BINARY_DX;
    lk_binary kind = d->call->attributes.binary.kind;
    int32_t strides[2][LK_MAX_RANK];
    lk_broadcast_strides(&d->input[0].tensor.shape, y, strides[0]);
    lk_broadcast_strides(&d->input[1].tensor.shape, y, strides[1]);
    lk_axes axes = lk_axes_make(y, 2, strides);
    lk_axes_collapse(&axes, kind != LK_BINARY_DIV); /* 0 / 0 */
    int32_t total = (int32_t)lk_axes_total(&axes);
    lk_flat flat = lk_flat_of(d->device, total);
    struct lk_push_binary push = {
        .a = lk_operand_address(&d->input[0]),
        .b = lk_operand_address(&d->input[1]),
        .dy = derivative ? lk_operand_address(&d->input[2]) : 0,
        .y = lk_operand_address(&d->output[0]),
        .total = total,
        .valid = axes.valid,
        .mode = (int32_t)kind | d->call->attributes.binary.side << 4 | (derivative ? 1 : 0) << 5 | axes.count << 8 |
                flat.per_thread << 16,
    };
    lk_axes_export(&axes, 6, push.size, push.stride_a, push.stride_b, NULL);
    lk_command command = lk_light_command(d, LK_SHADER_BINARY, 7, 0);
    return lk_light_flat(d, &command, &push, sizeof push, flat, error);
}

likeness_status lk_dispatch_geglu(const lk_dispatch *d, lk_error *error) {
    LK_TRY(lk_light_check(d, error));
    bool derivative = d->call->op == LK_OP_GEGLU_DX;
    const lk_tensor *narrow = derivative ? &d->input[1].tensor : &d->output[0].tensor;
    lk_flat flat = lk_flat_of(d->device, stored(narrow));
    struct lk_push_geglu push = {
        .x = lk_operand_address(&d->input[0]),
        .dy = derivative ? lk_operand_address(&d->input[1]) : 0,
        .y = lk_operand_address(&d->output[0]),
        .total = stored(narrow),
        .per_thread = flat.per_thread,
        .ld = lk_shape_ld(&narrow->shape),
        .ld_wide = lk_shape_ld(&d->input[0].tensor.shape),
        .width = lk_shape_inner(&narrow->shape),
        .derivative = derivative,
    };
    lk_command command = lk_light_command(d, LK_SHADER_GEGLU, 3, 0);
    return lk_light_flat(d, &command, &push, sizeof push, flat, error);
}
