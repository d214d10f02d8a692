/* ops/attention.c - ATTENTION, ATTENTION_DQ, ATTENTION_DKV: always one command.
 *
 *   flat    CPU drivers with 8 lanes: one subgroup owns a tile of rows of one head (shaders/attention/flat.comp)
 *   tiled   GPUs: a thread a row, the other side in shared memory (tiled.comp)
 *   plain   any device: one thread for 16 result channels of a row of one head
 *
 * Rows are queries, keys for dk and dv. A head wider than a tile's channels is done in chunks that repeat the products.
 */
#include "attention/push.h"
#include "gpu/device.h"
#include "gpu/stream.h"
#include "ops/heavy.h"
#include "ops/launch.h"

enum { LK_ATTENTION_THREADS = 64, LK_ATTENTION_CHUNK = 16 };

/* Operands by their role; the ops order them differently. */
typedef struct lk_attention_slots {
    int key_bias, mask;
} lk_attention_slots;

static lk_attention_slots lk_attention_slots_of(lk_op op) {
    return op == LK_OP_ATTENTION ? (lk_attention_slots){3, 4} : (lk_attention_slots){6, 7};
}

static int32_t lk_chunks(int32_t width, int32_t chunk) { return (width + chunk - 1) / chunk; }

static struct lk_push_attention lk_attention_push(const lk_dispatch *dispatch) {
    const lk_op_call *call = dispatch->call;
    const lk_shape *q = &call->input[0].shape, *k = &call->input[1].shape;
    lk_attention_slots slots = lk_attention_slots_of(call->op);
    struct lk_push_attention push = {
        .q = lk_ref_address(dispatch->input[0].ref),
        .k = lk_ref_address(dispatch->input[1].ref),
        .v = lk_ref_address(dispatch->input[2].ref),
        .queries = q->dim[1],
        .keys = k->dim[1],
        .heads = call->attributes.attention.heads,
        .width = q->dim[2] / call->attributes.attention.heads,
        .scale = call->attributes.attention.scale,
        .flags = call->attributes.attention.causal != 0 ? 1 : 0,
    };
    if (call->has_input[slots.key_bias]) {
        push.key_bias = lk_ref_address(dispatch->input[slots.key_bias].ref);
        push.flags |= 2;
    }
    if (call->has_input[slots.mask]) {
        push.mask = lk_ref_address(dispatch->input[slots.mask].ref);
        push.flags |= 4;
    }
    if (call->op == LK_OP_ATTENTION) {
        push.o = lk_ref_address(dispatch->output[0].ref);
        if (call->has_output[1]) {
            push.lse = lk_ref_address(dispatch->output[1].ref);
            push.flags |= 8;
        }
        if (call->has_output[2]) {
            push.a = lk_ref_address(dispatch->input[5].ref);
            push.b = lk_ref_address(dispatch->output[2].ref);
            push.extra = call->attributes.attention.extra_columns;
            push.flags |= 16;
        }
        return push;
    }
    push.o = lk_ref_address(dispatch->input[3].ref);
    push.lse = lk_ref_address(dispatch->input[4].ref);
    push.a = lk_ref_address(dispatch->input[5].ref);
    if (call->has_output[0]) {
        push.b = lk_ref_address(dispatch->output[0].ref);
        push.flags |= 8;
    }
    if (call->op == LK_OP_ATTENTION_DKV && call->has_output[1]) {
        push.c = lk_ref_address(dispatch->output[1].ref);
        push.flags |= 16;
    }
    return push;
}

static void lk_attention_ranges(const lk_dispatch *dispatch, lk_command *command) {
    const lk_op_call *call = dispatch->call;
    for (int i = 0; i < call->input_count; i++) {
        bool unused = call->op == LK_OP_ATTENTION && i == 5 && !call->has_output[2];
        if (call->has_input[i] && !unused) lk_command_reads(command, dispatch->input[i].ref);
    }
    for (int i = 0; i < call->output_count; i++) {
        if (call->has_output[i]) lk_command_writes(command, dispatch->output[i].ref);
    }
}

/* The kernels of one op. A flat tile has 2 (forward only), 4 or 8 subgroups of channels; the fewer, the more keys a
 * step. */
typedef struct lk_attention_kernels {
    lk_shader plain, tiled, slim, narrow, wide;
    int32_t least; /* subgroups of channels of the smallest flat tile */
    int32_t rows;  /* of a flat tile */
} lk_attention_kernels;

static const lk_attention_kernels lk_attention_forward = {LK_SHADER_ATTENTION_PLAIN,
                                                          LK_SHADER_ATTENTION_TILED,
                                                          LK_SHADER_ATTENTION_FLAT_SLIM,
                                                          LK_SHADER_ATTENTION_FLAT_NARROW,
                                                          LK_SHADER_ATTENTION_FLAT_WIDE,
                                                          2,
                                                          16};
static const lk_attention_kernels lk_attention_dq = {LK_SHADER_ATTENTION_DQ_PLAIN,
                                                     LK_SHADER_ATTENTION_DQ_TILED,
                                                     LK_SHADER_COUNT,
                                                     LK_SHADER_ATTENTION_DQ_FLAT_NARROW,
                                                     LK_SHADER_ATTENTION_DQ_FLAT_WIDE,
                                                     4,
                                                     16};
static const lk_attention_kernels lk_attention_dkv = {LK_SHADER_ATTENTION_DKV_PLAIN,
                                                      LK_SHADER_ATTENTION_DKV_TILED,
                                                      LK_SHADER_COUNT,
                                                      LK_SHADER_ATTENTION_DKV_FLAT_NARROW,
                                                      LK_SHADER_ATTENTION_DKV_FLAT_WIDE,
                                                      4,
                                                      8};

static const lk_attention_kernels *lk_attention_kernels_of(lk_op op) {
    return op == LK_OP_ATTENTION      ? &lk_attention_forward
           : op == LK_OP_ATTENTION_DQ ? &lk_attention_dq
                                      : &lk_attention_dkv;
}

typedef enum lk_attention_kernel { LK_ATTENTION_FLAT, LK_ATTENTION_TILED, LK_ATTENTION_PLAIN } lk_attention_kernel;

/* Kernels that this device can run, the best first; returns how many. With more than 16 lanes the flat kernels'
 * unrolled code grows out of proportion; SwiftShader (4 lanes) compiles no unrolled kernel in reasonable time. */
static int32_t lk_attention_kernel_list(const lk_caps *caps, lk_attention_kernel list[3]) {
    int32_t count = 0;
    bool flat = caps->is_cpu && caps->subgroup_basic && caps->subgroup_ballot && caps->subgroup_arithmetic &&
                caps->subgroup_size >= 8 && caps->subgroup_size <= 16;
    bool tiled = caps->subgroup_size >= 8;
    if (flat) list[count++] = LK_ATTENTION_FLAT;
    if (tiled && !caps->is_cpu) list[count++] = LK_ATTENTION_TILED;
    list[count++] = LK_ATTENTION_PLAIN;
    if (tiled && caps->is_cpu) list[count++] = LK_ATTENTION_TILED;
    return count;
}

static lk_command lk_attention_tiled(const lk_attention_kernels *kernels, struct lk_push_attention *push,
                                     int32_t samples, int32_t rows) {
    push->chunks = lk_chunks(push->width, 32) + lk_chunks(push->extra, 32);
    push->row_tiles = lk_chunks(rows, LK_ATTENTION_THREADS);
    lk_command command = lk_command_make(kernels->tiled);
    lk_command_spec(&command, 0, LK_ATTENTION_THREADS);
    lk_command_spec(&command, 1, (push->flags & 4) != 0);
    command.groups = (uint64_t)samples * (uint64_t)push->heads * (uint64_t)push->chunks * (uint64_t)push->row_tiles;
    return command;
}

static lk_command lk_attention_flat(const lk_attention_kernels *kernels, struct lk_push_attention *push,
                                    int32_t samples, int32_t rows, const lk_caps *caps) {
    int32_t lanes = (int32_t)caps->subgroup_size;
    int32_t needed = lk_chunks(push->width, lanes), subgroups = kernels->least;
    while (subgroups < needed && subgroups < 8)
        subgroups *= 2;
    int32_t columns = subgroups * lanes;
    push->chunks = lk_chunks(push->width, columns) + lk_chunks(push->extra, columns);
    push->row_tiles = lk_chunks(rows, kernels->rows);
    lk_command command = lk_command_make(subgroups == 2   ? kernels->slim
                                         : subgroups == 4 ? kernels->narrow
                                                          : kernels->wide);
    lk_command_spec(&command, 0, (uint32_t)lanes);
    lk_command_spec(&command, 1, (uint32_t)lanes);
    lk_command_spec(&command, 2, (push->flags & 4) != 0);
    if (caps->subgroup_size_control) command.subgroup_size = (uint32_t)lanes;
    command.groups = (uint64_t)samples * (uint64_t)push->heads * (uint64_t)push->chunks * (uint64_t)push->row_tiles;
    return command;
}

static lk_command lk_attention_plain(const lk_attention_kernels *kernels, struct lk_push_attention *push,
                                     int32_t samples, int32_t rows) {
    push->chunks = lk_chunks(push->width, LK_ATTENTION_CHUNK) + lk_chunks(push->extra, LK_ATTENTION_CHUNK);
    push->total = samples * rows * push->heads * push->chunks;
    lk_command command = lk_command_make(kernels->plain);
    lk_command_spec(&command, 0, LK_ATTENTION_THREADS);
    command.groups = ((uint64_t)push->total + LK_ATTENTION_THREADS - 1) / LK_ATTENTION_THREADS;
    return command;
}

likeness_status lk_dispatch_attention(const lk_dispatch *dispatch, lk_error *error) {
    const lk_op_call *call = dispatch->call;
    const lk_caps *caps = lk_device_caps(dispatch->device);
    lk_attention_kernel list[3];
    int32_t count = lk_attention_kernel_list(caps, list), chosen = dispatch->variant > 0 ? dispatch->variant - 1 : 0;
    if (chosen >= count)
        return lk_fail(error, LIKENESS_UNSUPPORTED, "%s has %d variants on this device, not %d", lk_op_name(call->op),
                       (int)count, (int)dispatch->variant);
    LK_TRY(lk_light_check(dispatch, error));
    /* Threads of the plain kernel are counted with 32 bits; they are fewer than the elements of the result. */
    struct lk_push_attention push = lk_attention_push(dispatch);
    int32_t samples = call->input[0].shape.dim[0];
    int32_t rows = call->op == LK_OP_ATTENTION_DKV ? push.keys : push.queries;
    const lk_attention_kernels *kernels = lk_attention_kernels_of(call->op);
    lk_command command = list[chosen] == LK_ATTENTION_FLAT    ? lk_attention_flat(kernels, &push, samples, rows, caps)
                         : list[chosen] == LK_ATTENTION_TILED ? lk_attention_tiled(kernels, &push, samples, rows)
                                                              : lk_attention_plain(kernels, &push, samples, rows);
    lk_command_push(&command, &push, sizeof push);
    lk_attention_ranges(dispatch, &command);
    command.label = dispatch->label;
    lk_cost cost = lk_op_row_of(call->op)->cost(call);
    command.flops = cost.flops;
    command.bytes = cost.bytes;
    return lk_record(dispatch->recording, &command, error);
}

int32_t lk_variants_attention(const lk_op_call *call, const lk_device *device) {
    (void)call;
    lk_attention_kernel list[3];
    return lk_attention_kernel_list(lk_device_caps(device), list);
}
