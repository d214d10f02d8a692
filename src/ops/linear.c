/* ops/linear.c - chooses a kernel for a matmul or convolution and records it: always one command.
 *
 *   flat    CPU drivers: one subgroup a workgroup, tile of rows x lane-columns in registers, no shared memory
 *   tiled   GPUs: tiles of source and weight in shared memory
 *   plain   any device, any number of groups: one thread for four pixels of a channel
 *
 * The kernel's order of summation depends on the shape of the weight only, so a sample's result does not depend on the
 * batch. */
#include "ops/linear.h"

#include "convolution/push.h"
#include "gpu/device.h"
#include "gpu/stream.h"
#include "ops/pack.h"

typedef enum lk_linear_kernel { LK_LINEAR_FLAT, LK_LINEAR_TILED, LK_LINEAR_PLAIN, LK_LINEAR_KERNELS } lk_linear_kernel;

enum { LK_PLAIN_THREADS = 64, LK_PLAIN_ROWS = 4 };

typedef struct lk_flat_tile {
    int32_t rows, columns; /* columns in subgroups */
    lk_shader forward, gradient;
} lk_flat_tile;

static const lk_flat_tile lk_flat_tiles[] = {
    {16, 8, LK_SHADER_CONV_FLAT_16X8, LK_SHADER_CONV_DX_FLAT_16X8},
    {16, 10, LK_SHADER_CONV_FLAT_16X10, LK_SHADER_CONV_DX_FLAT_16X10},
    {16, 4, LK_SHADER_CONV_FLAT_16X4, LK_SHADER_CONV_DX_FLAT_16X4},
    {32, 2, LK_SHADER_CONV_FLAT_32X2, LK_SHADER_CONV_DX_FLAT_32X2},
    {4, 4, LK_SHADER_CONV_FLAT_4X4, LK_SHADER_CONV_DX_FLAT_4X4},
};

static int64_t lk_ceil_divide(int64_t n, int64_t d) { return (n + d - 1) / d; }

/* Kernels that this device can run for this call, the best first; returns how many. SwiftShader (4 lanes) takes minutes
 * and gigabytes to compile unrolled tiles, and the plain kernel is as fast there; other CPU drivers run the GPUs'
 * kernel as well, so that it is tested. */
static int32_t lk_linear_kernels(const lk_linear *linear, const lk_caps *caps,
                                 lk_linear_kernel list[LK_LINEAR_KERNELS]) {
    int32_t count = 0;
    bool unrolls = linear->groups == 1 && caps->subgroup_size >= 8;
    bool flat = unrolls && caps->subgroup_basic && caps->subgroup_ballot && caps->subgroup_size <= 32;
    bool tiled = unrolls && caps->max_group_invocations >= 256 && caps->max_group_size_x >= 256;
    if (flat && caps->is_cpu) list[count++] = LK_LINEAR_FLAT;
    if (tiled && !caps->is_cpu) list[count++] = LK_LINEAR_TILED;
    list[count++] = LK_LINEAR_PLAIN;
    if (tiled && caps->is_cpu) list[count++] = LK_LINEAR_TILED;
    if (flat && !caps->is_cpu) list[count++] = LK_LINEAR_FLAT;
    return count;
}

int32_t lk_linear_variants(const lk_linear *linear, const lk_device *device) {
    lk_linear_kernel list[LK_LINEAR_KERNELS];
    return lk_linear_kernels(linear, lk_device_caps(device), list);
}

/* Pixels of the first phase of the result, which has the most (shaders/convolution/place.glsl). */
static int64_t lk_phase_rows(const lk_linear *linear) {
    int64_t rows = linear->samples;
    for (int i = 0; i < 2; i++) {
        rows *= linear->gradient ? lk_ceil_divide(linear->result_size[i], linear->stride[i]) : linear->result_size[i];
    }
    return rows;
}

static int64_t lk_phases(const lk_linear *linear) {
    return linear->gradient ? (int64_t)linear->stride[0] * linear->stride[1] : 1;
}

/* Nanoseconds that one step of 8 source channels takes, fitted to lavapipe on Zen 5 (docs/speed-log.md): 4.5 a load
 * (one a row, four a column of f16 weights), 0.95 for 8 multiply-adds of every lane. A tile that is not the first must
 * save 8 %, so that a model needs few pipelines. */
static const lk_flat_tile *lk_flat_choose(int64_t rows, int32_t columns, int32_t lanes) {
    const lk_flat_tile *best = NULL;
    double least = 0;
    for (size_t i = 0; i < sizeof lk_flat_tiles / sizeof *lk_flat_tiles; i++) {
        const lk_flat_tile *tile = &lk_flat_tiles[i];
        double tiles = (double)(lk_ceil_divide(rows, tile->rows) * lk_ceil_divide(columns, tile->columns * lanes));
        double step = 4.5 * (tile->rows + 4 * tile->columns) + 0.95 * tile->rows * tile->columns;
        if (best == NULL || tiles * step < 0.92 * least) {
            best = tile;
            least = tiles * step;
        }
    }
    return best;
}

static int32_t lk_pair16(const int32_t pair[2]) { return pair[0] | pair[1] * 65536; }

/* What is added to the result: a residual forward, the sum so far in a gradient. */
static int residual_slot(const lk_linear *linear) { return linear->gradient ? lk_op_addend(LK_OP_MATMUL_DX) : 3; }

static likeness_status lk_linear_push(const lk_linear *linear, const lk_dispatch *dispatch,
                                      struct lk_push_convolution *push, lk_error *error) {
    const lk_op_call *call = dispatch->call;
    const lk_tensor *weight = &call->input[1];
    for (int i = 0; i < 2; i++) {
        if (linear->kernel[i] > 32767 || linear->stride[i] > 32767 || linear->padding[i] > 32767 ||
            linear->dilation[i] > 32767)
            return lk_fail(error, LIKENESS_UNSUPPORTED, "%s: kernel, stride, padding and dilation end at 32767",
                           dispatch->label != NULL ? dispatch->label : lk_op_name(call->op));
    }
    const char *label = dispatch->label != NULL ? dispatch->label : lk_op_name(call->op);
    if (weight->storage == LK_STORE_ROWS)
        return lk_fail(error, LIKENESS_UNSUPPORTED, "%s: the weight is not packed (ops/pack.h)", label);
    for (int i = 0; i < call->input_count; i++) {
        bool rows = call->input[i].storage == LK_STORE_ROWS && call->input[i].dtype == LK_F32;
        if (i != 1 && call->has_input[i] && !rows)
            return lk_fail(error, LIKENESS_UNSUPPORTED, "%s: input %d is not f32 in rows", label, i);
    }
    lk_pack_layout layout = lk_pack_layout_of(&weight->shape, linear->groups, weight->storage);
    *push = (struct lk_push_convolution){
        .source = lk_ref_address(dispatch->input[0].ref),
        .weight = lk_ref_address(dispatch->input[1].ref),
        .result = lk_ref_address(dispatch->output[0].ref),
        .samples = linear->samples,
        .result_height = linear->result_size[0],
        .result_width = linear->result_size[1],
        .result_ld = lk_shape_ld(&call->output[0].shape),
        .result_channels = linear->result_channels,
        .source_height = linear->source_size[0],
        .source_width = linear->source_size[1],
        .source_ld = lk_shape_ld(&call->input[0].shape),
        .source_channels = linear->source_channels,
        .kernel = lk_pair16(linear->kernel),
        .stride = lk_pair16(linear->stride),
        .padding = lk_pair16(linear->padding),
        .dilation = lk_pair16(linear->dilation),
        .panels = layout.panels,
        .padded = layout.padded,
        .groups = linear->groups,
    };
    if (!linear->gradient && call->has_input[2]) {
        push->bias = lk_ref_address(dispatch->input[2].ref);
        push->bias_stride = call->input[2].shape.rank == 2 ? lk_shape_ld(&call->input[2].shape) : 0;
        push->flags |= 1;
    }
    int residual = residual_slot(linear);
    if (call->has_input[residual]) {
        push->residual = lk_ref_address(dispatch->input[residual].ref);
        push->flags |= 2;
    }
    return LIKENESS_OK;
}

static lk_command lk_linear_flat(const lk_linear *linear, struct lk_push_convolution *push, const lk_caps *caps,
                                 uint32_t f32) {
    int64_t rows = lk_phase_rows(linear);
    int32_t lanes = (int32_t)caps->subgroup_size;
    const lk_flat_tile *tile = lk_flat_choose(rows, push->result_ld, lanes);
    push->row_tiles = (int32_t)lk_ceil_divide(rows, tile->rows);
    push->column_tiles = (int32_t)lk_ceil_divide(push->result_ld, tile->columns * lanes);
    lk_command command = lk_command_make(linear->gradient ? tile->gradient : tile->forward);
    lk_command_spec(&command, 0, (uint32_t)lanes);
    lk_command_spec(&command, 1, (uint32_t)lanes);
    lk_command_spec(&command, 2, f32);
    if (caps->subgroup_size_control) command.subgroup_size = (uint32_t)lanes;
    command.groups = (uint64_t)lk_phases(linear) * (uint64_t)push->row_tiles * (uint64_t)push->column_tiles;
    return command;
}

/* Large tiles where they keep a big GPU busy, small ones otherwise. */
static lk_command lk_linear_tiled(const lk_linear *linear, struct lk_push_convolution *push, const lk_caps *caps,
                                  uint32_t f32) {
    int64_t rows = lk_phase_rows(linear), units = caps->compute_units != 0 ? caps->compute_units : 32;
    int64_t large = lk_phases(linear) * lk_ceil_divide(rows, 64) * lk_ceil_divide(push->result_ld, 64);
    int32_t tile = large >= 2 * units ? 64 : 32;
    push->row_tiles = (int32_t)lk_ceil_divide(rows, tile);
    push->column_tiles = (int32_t)lk_ceil_divide(push->result_ld, tile);
    lk_command command =
        lk_command_make(tile == 64 ? (linear->gradient ? LK_SHADER_CONV_DX_TILED_64 : LK_SHADER_CONV_TILED_64)
                                   : (linear->gradient ? LK_SHADER_CONV_DX_TILED_32 : LK_SHADER_CONV_TILED_32));
    lk_command_spec(&command, 0, (uint32_t)(tile / 4 * (tile / 4)));
    lk_command_spec(&command, 1, f32);
    command.groups = (uint64_t)lk_phases(linear) * (uint64_t)push->row_tiles * (uint64_t)push->column_tiles;
    return command;
}

static lk_command lk_linear_plain(const lk_linear *linear, struct lk_push_convolution *push, uint32_t f32) {
    push->row_tiles = (int32_t)lk_ceil_divide(lk_phase_rows(linear), LK_PLAIN_ROWS);
    push->column_tiles = 1;
    lk_command command = lk_command_make(linear->gradient ? LK_SHADER_CONV_DX_PLAIN : LK_SHADER_CONV_PLAIN);
    lk_command_spec(&command, 0, LK_PLAIN_THREADS);
    lk_command_spec(&command, 1, f32);
    int64_t threads = lk_phases(linear) * push->row_tiles * push->result_ld;
    command.groups = (uint64_t)lk_ceil_divide(threads, LK_PLAIN_THREADS);
    return command;
}

likeness_status lk_linear_dispatch(const lk_linear *linear, const lk_dispatch *dispatch, lk_error *error) {
    const lk_caps *caps = lk_device_caps(dispatch->device);
    lk_linear_kernel list[LK_LINEAR_KERNELS];
    int32_t count = lk_linear_kernels(linear, caps, list), chosen = dispatch->variant > 0 ? dispatch->variant - 1 : 0;
    if (chosen >= count)
        return lk_fail(error, LIKENESS_UNSUPPORTED, "%s has %d variants on this device, not %d",
                       lk_op_name(dispatch->call->op), (int)count, (int)dispatch->variant);
    struct lk_push_convolution push;
    LK_TRY(lk_linear_push(linear, dispatch, &push, error));
    uint32_t f32 = dispatch->call->input[1].storage == LK_STORE_PACKED_F32;
    lk_command command = list[chosen] == LK_LINEAR_FLAT    ? lk_linear_flat(linear, &push, caps, f32)
                         : list[chosen] == LK_LINEAR_TILED ? lk_linear_tiled(linear, &push, caps, f32)
                                                           : lk_linear_plain(linear, &push, f32);
    lk_command_push(&command, &push, sizeof push);
    lk_command_reads(&command, dispatch->input[0].ref);
    lk_command_reads(&command, dispatch->input[1].ref);
    if ((push.flags & 1) != 0) lk_command_reads(&command, dispatch->input[2].ref);
    if ((push.flags & 2) != 0) lk_command_reads(&command, dispatch->input[residual_slot(linear)].ref);
    lk_command_writes(&command, dispatch->output[0].ref);
    command.label = dispatch->label;
    lk_cost cost = lk_op_row_of(dispatch->call->op)->cost(dispatch->call);
    command.flops = cost.flops;
    command.bytes = cost.bytes;
    return lk_record(dispatch->recording, &command, error);
}
