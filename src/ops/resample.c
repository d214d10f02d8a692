/* ops/resample.c - dispatch of POOL2D, RESIZE, AFFINE_WARP and their derivatives. */
#include "ops/light.h"
#include "resample/push.h"

static int32_t stored(const lk_tensor *tensor) { return (int32_t)(lk_tensor_row_bytes(tensor) / 4); }

likeness_status lk_dispatch_pool(const lk_dispatch *d, lk_error *error) {
    LK_TRY(lk_light_check(d, error));
    bool derivative = d->call->op == LK_OP_POOL2D_DX;
    const lk_tensor *x = &d->input[0].tensor;
    const lk_tensor *y = derivative ? &d->input[1].tensor : &d->output[0].tensor;
    int32_t total = stored(&d->output[0].tensor);
    lk_flat flat = lk_flat_of(d->device, total);
    struct lk_push_pool push = {
        .x = lk_operand_address(&d->input[0]),
        .y = derivative ? lk_operand_address(&d->input[1]) : lk_operand_address(&d->output[0]),
        .dy = derivative ? lk_operand_address(&d->input[2]) : 0,
        .dx = derivative ? lk_operand_address(&d->output[0]) : 0,
        .total = total,
        .per_thread = flat.per_thread,
        .ld = lk_shape_ld(&x->shape),
        .inner = lk_shape_inner(&x->shape),
        .average = d->call->attributes.pool.kind == LK_POOL_AVERAGE,
        .include_padding = d->call->attributes.pool.count_include_pad,
    };
    for (int i = 0; i < 2; i++) {
        push.input_size[i] = x->shape.dim[2 + i];
        push.output_size[i] = y->shape.dim[2 + i];
        push.kernel[i] = d->call->attributes.pool.kernel[i];
        push.stride[i] = d->call->attributes.pool.stride[i];
    }
    for (int i = 0; i < 4; i++) {
        push.padding[i] = d->call->attributes.pool.padding[i];
    }
    /* The gradient of an average needs no values, only the shape. */
    uint32_t reads = derivative && push.average ? 4 : 7;
    lk_command command = lk_light_command(d, derivative ? LK_SHADER_POOL_DX : LK_SHADER_POOL, reads, 0);
    return lk_light_flat(d, &command, &push, sizeof push, flat, error);
}

likeness_status lk_dispatch_resize(const lk_dispatch *d, lk_error *error) {
    LK_TRY(lk_light_check(d, error));
    bool derivative = d->call->op == LK_OP_RESIZE_DX;
    const lk_tensor *from = derivative ? &d->output[0].tensor : &d->input[0].tensor; /* of the forward op */
    const lk_tensor *to = derivative ? &d->input[0].tensor : &d->output[0].tensor;
    int32_t total = stored(&d->output[0].tensor) / 8;
    lk_flat flat = lk_flat_of(d->device, total);
    lk_coordinates coordinates = d->call->attributes.resize.coordinates;
    bool bilinear = d->call->attributes.resize.kind == LK_RESIZE_BILINEAR;
    struct lk_push_resize push = {
        .x = lk_operand_address(&d->input[0]),
        .y = lk_operand_address(&d->output[0]),
        .total = total,
        .per_thread = flat.per_thread,
        .ld = lk_shape_ld(&from->shape),
        .mode = (bilinear ? 2 : (coordinates == LK_COORDINATES_ASYMMETRIC ? 0 : 1)) | (derivative ? 4 : 0),
    };
    for (int i = 0; i < 2; i++) {
        int32_t m = from->shape.dim[2 + i], n = to->shape.dim[2 + i];
        push.input_size[i] = m;
        push.output_size[i] = n;
        /* Source of output o is (o numerator + offset) / denominator. */
        if (coordinates == LK_COORDINATES_ASYMMETRIC) {
            push.numerator[i] = m;
            push.denominator[i] = n;
        } else if (coordinates == LK_COORDINATES_HALF_PIXEL) {
            push.numerator[i] = 2 * m;
            push.offset[i] = m - n;
            push.denominator[i] = 2 * n;
        } else {
            push.numerator[i] = n == 1 ? 0 : m - 1;
            push.denominator[i] = n == 1 ? 1 : n - 1;
        }
    }
    lk_command command = lk_light_command(d, LK_SHADER_RESIZE, 1, 0);
    return lk_light_flat(d, &command, &push, sizeof push, flat, error);
}

likeness_status lk_dispatch_warp(const lk_dispatch *d, lk_error *error) {
    LK_TRY(lk_light_check(d, error));
    bool derivative = d->call->op == LK_OP_AFFINE_WARP_DX;
    const lk_tensor *from = derivative ? &d->output[0].tensor : &d->input[0].tensor; /* of the forward op */
    const lk_tensor *to = derivative ? &d->input[0].tensor : &d->output[0].tensor;
    int32_t total = stored(&d->output[0].tensor);
    lk_flat flat = lk_flat_of(d->device, total);
    struct lk_push_warp push = {
        .x = lk_operand_address(&d->input[0]),
        .theta = lk_operand_address(&d->input[1]),
        .y = lk_operand_address(&d->output[0]),
        .total = total,
        .per_thread = flat.per_thread,
        .ld = lk_shape_ld(&from->shape),
        .derivative = derivative,
    };
    for (int i = 0; i < 2; i++) {
        push.input_size[i] = from->shape.dim[2 + i];
        push.output_size[i] = to->shape.dim[2 + i];
    }
    lk_command command = lk_light_command(d, LK_SHADER_WARP, 3, 0);
    return lk_light_flat(d, &command, &push, sizeof push, flat, error);
}
