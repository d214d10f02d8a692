/* ops/guidance.c - dispatch of COSINE, LOSS, CFG_COMBINE, FLOW_STEP, their derivatives, and OFFSET_UPDATE. */
#include "guidance/push.h"
#include "ops/light.h"

static int32_t stored(const lk_tensor *tensor) { return (int32_t)(lk_tensor_row_bytes(tensor) / 4); }

likeness_status lk_dispatch_similarity(const lk_dispatch *d, lk_error *error) {
    LK_TRY(lk_light_check(d, error));
    lk_op op = d->call->op;
    bool cosine = op == LK_OP_COSINE || op == LK_OP_COSINE_DX;
    bool derivative = op == LK_OP_COSINE_DX || op == LK_OP_LOSS_DX;
    const lk_shape *a = &d->input[0].tensor.shape, *b = &d->input[1].tensor.shape;
    bool tree = lk_team_tree(d);
    struct lk_push_similarity push = {
        .a = lk_operand_address(&d->input[0]),
        .b = lk_operand_address(&d->input[1]),
        .d = derivative ? lk_operand_address(&d->input[2]) : 0,
        .y = lk_operand_address(&d->output[0]),
        .samples = a->rank == 0 ? 1 : a->dim[0],
        .mode = cosine ? 0 : (d->call->attributes.loss.squared != 0 ? 2 : 1),
        .chunks = 1,
    };
    /* Rows of a rank-1 tensor hold all samples; otherwise a sample is a whole number of rows, padding included. */
    push.extent = a->rank == 1 ? 1 : stored(&d->input[0].tensor) / push.samples;
    push.stride_a = push.extent;
    push.stride_b = b->rank > 0 && b->dim[0] == 1 && push.samples != 1 ? 0 : push.extent;
    push.slots = (push.samples + 7) / 8 * 8;
    push.scale = 1.0f / (float)(lk_shape_elements(a) / push.samples);
    push.chunk = push.extent;
    uint64_t groups = (uint64_t)push.slots;
    if (derivative) {
        push.mode |= 4;
        groups = (uint64_t)(cosine || a->rank != 1 ? push.samples : push.slots);
        if (!cosine) {
            push.chunk = 4096;
            push.chunks = (push.extent + push.chunk - 1) / push.chunk;
            groups *= (uint64_t)push.chunks;
        }
    }
    lk_command command = lk_light_command(d, tree ? LK_SHADER_SIMILARITY_TREE : LK_SHADER_SIMILARITY, 7, 0);
    lk_team team = lk_team_of(d->device, push.chunk, tree);
    return lk_light_team(d, &command, &push, sizeof push, team, groups, error);
}

likeness_status lk_dispatch_step(const lk_dispatch *d, lk_error *error) {
    LK_TRY(lk_light_check(d, error));
    const lk_op_call *call = d->call;
    int32_t total = stored(&d->input[0].tensor);
    lk_flat flat = lk_flat_of(d->device, total);
    struct lk_push_step push = {
        .x = lk_operand_address(&d->input[0]), .total = total, .per_thread = flat.per_thread, .mode = 8};
    uint32_t inputs = 7;
    switch (call->op) {
    case LK_OP_CFG_COMBINE:
        push.z = lk_operand_address(&d->input[1]);
        push.factor = lk_operand_address(&d->input[2]);
        break;
    case LK_OP_CFG_COMBINE_DX:
        push.factor = lk_operand_address(&d->input[1]);
        push.mode = 1 | (call->has_output[0] ? 8 : 0) | (call->has_output[1] ? 16 : 0);
        break;
    case LK_OP_FLOW_STEP:
        push.z = lk_operand_address(&d->input[1]);
        push.factor = lk_operand_address(&d->input[2]);
        push.mode = 2 | 8;
        if (call->has_input[3]) {
            push.offset = lk_operand_address(&d->input[3]);
            push.mode = 3 | 8;
            inputs |= 8;
        }
        break;
    default: /* LK_OP_FLOW_STEP_DX */
        push.factor = lk_operand_address(&d->input[1]);
        push.mode = 4 | 8;
        break;
    }
    lk_command command = lk_light_command(d, LK_SHADER_STEP, inputs, call->has_output[0] ? 0 : -1);
    if (call->has_output[0]) push.y = lk_operand_address(&d->output[0]);
    if (call->op == LK_OP_CFG_COMBINE_DX && call->has_output[1]) {
        push.y2 = lk_operand_address(&d->output[1]);
        lk_command_writes(&command, lk_ref_slice(d->output[1].ref, 0, lk_tensor_row_bytes(&d->output[1].tensor)));
    }
    return lk_light_flat(d, &command, &push, sizeof push, flat, error);
}

/* ---- offset update ---- */

enum { OFFSET_ONE_WORKGROUP = 16384, OFFSET_CHUNK = 8192 };

static int32_t offset_chunks(const lk_tensor *offset) {
    int32_t total = stored(offset);
    return total <= OFFSET_ONE_WORKGROUP ? 1 : (total + OFFSET_CHUNK - 1) / OFFSET_CHUNK;
}

size_t lk_scratch_offset_update(const lk_op_call *call, const lk_device *device) {
    (void)device;
    int32_t chunks = offset_chunks(&call->input[0]);
    return chunks == 1 ? 0 : (size_t)chunks * 2 * sizeof(float);
}

likeness_status lk_dispatch_offset_update(const lk_dispatch *d, lk_error *error) {
    LK_TRY(lk_light_check(d, error));
    bool tree = lk_team_tree(d);
    lk_shader shader = tree ? LK_SHADER_OFFSET_UPDATE_TREE : LK_SHADER_OFFSET_UPDATE;
    int32_t total = stored(&d->input[0].tensor), chunks = offset_chunks(&d->input[0].tensor);
    struct lk_push_offset push = {
        .offset = lk_operand_address(&d->input[0]),
        .gradient = lk_operand_address(&d->input[1]),
        .params = lk_operand_address(&d->input[2]),
        .y = lk_operand_address(&d->output[0]),
        .norm = lk_operand_address(&d->output[1]),
        .partial = lk_ref_address(d->scratch),
        .total = total,
        .chunks = chunks,
        .chunk = chunks == 1 ? total : OFFSET_CHUNK,
    };
    lk_team team = lk_team_of(d->device, push.chunk, tree);
    lk_buffer_ref partial = lk_ref_slice(d->scratch, 0, lk_scratch_offset_update(d->call, d->device));
    if (chunks > 1) {
        push.phase = 1;
        lk_command first = lk_light_command(d, shader, 2, -1);
        lk_command_writes(&first, partial);
        LK_TRY(lk_light_team(d, &first, &push, sizeof push, team, (uint64_t)chunks, error));
        push.phase = 2;
    }
    lk_command command = lk_light_command(d, shader, 7, 0);
    lk_command_writes(&command, lk_ref_slice(d->output[1].ref, 0, lk_tensor_row_bytes(&d->output[1].tensor)));
    if (chunks > 1) lk_command_reads(&command, partial);
    return lk_light_team(d, &command, &push, sizeof push, team, (uint64_t)chunks, error);
}
