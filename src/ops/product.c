/* ops/product.c - BATCH_MATMUL: one command, one kernel (shaders/product/product.comp) for every device.
 *
 * Attention has kernels of its own; this is for graphs that others wrote, where a product of two computed values may
 * stand anywhere. */
#include "gpu/device.h"
#include "gpu/stream.h"
#include "ops/heavy.h"
#include "ops/launch.h"
#include "product/push.h"

enum { ROWS = 8, THREADS = 64 };

likeness_status lk_dispatch_batch_matmul(const lk_dispatch *dispatch, lk_error *error) {
    const lk_op_call *call = dispatch->call;
    const lk_caps *caps = lk_device_caps(dispatch->device);
    const lk_shape *a = &call->input[0].shape, *b = &call->input[1].shape, *y = &call->output[0].shape;
    const bool turn_a = call->attributes.product.turn_a != 0, turn_b = call->attributes.product.turn_b != 0;
    const int32_t ld_a = lk_shape_ld(a), ld_b = lk_shape_ld(b);
    LK_TRY(lk_light_check(dispatch, error));
    struct lk_push_product push = {
        .a = lk_ref_address(dispatch->input[0].ref),
        .b = lk_ref_address(dispatch->input[1].ref),
        .y = lk_ref_address(dispatch->output[0].ref),
        .a_matrix = a->dim[1] * ld_a,
        .a_row = turn_a ? 1 : ld_a,
        .a_depth = turn_a ? ld_a : 1,
        .b_matrix = b->dim[1] * ld_b,
        .b_column = turn_b ? ld_b : 1,
        .b_depth = turn_b ? 1 : ld_b,
        .rows = y->dim[1],
        .columns = y->dim[2],
        .depth = a->dim[turn_a ? 1 : 2],
        .ld = lk_shape_ld(y),
    };
    /* A CPU driver's workgroup is one subgroup, so that what all threads read is one load. */
    const int32_t threads = caps->is_cpu ? (int32_t)caps->subgroup_size : THREADS;
    push.row_tiles = (push.rows + ROWS - 1) / ROWS;
    push.column_tiles = (push.ld + threads - 1) / threads;
    lk_command command = lk_light_command(dispatch, LK_SHADER_PRODUCT, 3, 0);
    lk_command_spec(&command, 0, (uint32_t)threads);
    lk_command_push(&command, &push, sizeof push);
    command.groups = (uint64_t)y->dim[0] * (uint64_t)push.row_tiles * (uint64_t)push.column_tiles;
    lk_cost cost = lk_op_row_of(call->op)->cost(call);
    command.flops = cost.flops;
    command.bytes = cost.bytes;
    return lk_record(dispatch->recording, &command, error);
}
