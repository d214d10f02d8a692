/* ops/normalisation.c - dispatch of GROUP_NORM, LAYER_NORM, SOFTMAX and their derivatives.
 *
 * A layer norm is a group norm of one group whose samples are rows. Variants of the norms, in this order where they
 * exist: one dispatch, the same without subgroup arithmetic, two dispatches (large groups: partial sums of chunks of
 * rows, then every chunk joins them), the same without. So variant 2 is without subgroups whatever the shape, as doctor
 * needs it. The choice depends on the size of one sample only. */
#include "norm/push.h"
#include "ops/light.h"

enum { MOST_CHUNKS = 64, CHUNK_ELEMENTS = 4096 };

typedef struct norm_geometry {
    int32_t samples, groups, rows, width;
    int32_t chunks, chunk_rows;
} norm_geometry;

static norm_geometry geometry_of(const lk_op_call *call) {
    const lk_shape *x = &call->input[0].shape;
    norm_geometry g = {.samples = (int32_t)lk_shape_rows(x), .groups = 1, .rows = 1};
    if (call->op == LK_OP_GROUP_NORM || call->op == LK_OP_GROUP_NORM_DX) {
        g.samples = x->dim[0];
        g.groups = call->attributes.norm.groups;
        g.rows = (int32_t)(lk_shape_rows(x) / g.samples);
    }
    g.width = lk_shape_inner(x) / g.groups;
    int64_t wanted = ((int64_t)g.rows * g.width + CHUNK_ELEMENTS - 1) / CHUNK_ELEMENTS;
    if (wanted < 2) wanted = 2;
    if (wanted > MOST_CHUNKS) wanted = MOST_CHUNKS;
    g.chunk_rows = (int32_t)((g.rows + wanted - 1) / wanted);
    g.chunks = (g.rows + g.chunk_rows - 1) / g.chunk_rows;
    return g;
}

size_t lk_scratch_norm(const lk_op_call *call, const lk_device *device) {
    (void)device;
    norm_geometry g = geometry_of(call);
    return g.chunks < 2 ? 0 : (size_t)g.samples * (size_t)g.groups * (size_t)g.chunks * 2 * sizeof(float);
}

int32_t lk_variants_norm(const lk_op_call *call, const lk_device *device) {
    int32_t cuts = geometry_of(call).chunks < 2 ? 1 : 2;
    return lk_team_subgroups(device) ? 2 * cuts : cuts;
}

static bool two_dispatches(const lk_device *device, const norm_geometry *g) {
    if (g->chunks < 2) return false;
    int64_t elements = (int64_t)g->rows * g->width;
    if (lk_device_caps(device)->is_cpu) return g->groups < 4 && elements > 65536;
    return elements > 32768;
}

/* CPU drivers: lanes over rows where there are enough of them (group.comp). */
static uint32_t by_rows(const lk_device *device, const norm_geometry *g) {
    return lk_device_caps(device)->is_cpu && g->rows >= 64;
}

likeness_status lk_dispatch_norm(const lk_dispatch *d, lk_error *error) {
    LK_TRY(lk_light_check(d, error));
    const lk_op_call *call = d->call;
    bool derivative = call->op == LK_OP_GROUP_NORM_DX || call->op == LK_OP_LAYER_NORM_DX;
    bool group_norm = call->op == LK_OP_GROUP_NORM || call->op == LK_OP_GROUP_NORM_DX;
    norm_geometry g = geometry_of(call);
    int32_t cuts = g.chunks < 2 ? 1 : 2;
    int32_t kinds = lk_team_subgroups(d->device) ? 2 : 1;
    bool tree = kinds == 1 || (d->variant > 0 && d->variant % 2 == 0);
    bool two = d->variant == 0 ? two_dispatches(d->device, &g) : (cuts == 2 && d->variant > kinds);
    if (two && d->scratch.block == NULL) two = false;

    const lk_shape *x = &call->input[0].shape;
    struct lk_push_norm push = {
        .x = lk_operand_address(&d->input[0]),
        .gamma = call->has_input[1] ? lk_operand_address(&d->input[1]) : 0,
        .beta = call->has_input[2] ? lk_operand_address(&d->input[2]) : 0,
        .dy = derivative ? lk_operand_address(&d->input[4]) : 0,
        .addend = call->has_input[5] ? lk_operand_address(&d->input[5]) : 0,
        .y = lk_operand_address(&d->output[0]),
        .stats = derivative ? lk_operand_address(&d->input[3]) : lk_operand_address(&d->output[1]),
        .partial = lk_ref_address(d->scratch),
        .samples = g.samples,
        .groups = g.groups,
        .rows = g.rows,
        .width = g.width,
        .ld = lk_shape_ld(x),
        .inner = lk_shape_inner(x),
        .chunks = g.chunks,
        .chunk_rows = g.chunk_rows,
        .epsilon = call->attributes.norm.epsilon,
    };
    int32_t flags = (call->has_input[1] ? 1 : 0) | (call->has_input[2] ? 2 : 0) |
                    (group_norm && call->attributes.norm.silu ? 4 : 0) | (call->has_input[5] ? 8 : 0);
    lk_shader shader = derivative ? (tree ? LK_SHADER_GROUP_NORM_DX_TREE : LK_SHADER_GROUP_NORM_DX)
                                  : (tree ? LK_SHADER_GROUP_NORM_TREE : LK_SHADER_GROUP_NORM);
    uint64_t owners = (uint64_t)g.samples * (uint64_t)g.groups;
    uint32_t inputs = derivative ? 0x3f : 0x7;
    if (!two) {
        push.mode = flags;
        lk_command command = lk_light_command(d, shader, inputs, 0);
        lk_command_spec(&command, 2, by_rows(d->device, &g));
        if (!derivative) lk_command_writes(&command, d->output[1].ref);
        lk_team team = lk_team_of(d->device, (int64_t)g.rows * g.width, tree);
        return lk_light_team(d, &command, &push, sizeof push, team, owners, error);
    }
    lk_buffer_ref partial = lk_ref_slice(d->scratch, 0, lk_scratch_norm(call, d->device));
    lk_team team = lk_team_of(d->device, (int64_t)g.chunk_rows * g.width, tree);
    push.mode = flags | 1 << 4;
    lk_command command = lk_light_command(d, shader, derivative ? 0x1f : 1, -1);
    lk_command_spec(&command, 2, by_rows(d->device, &g));
    lk_command_writes(&command, partial);
    LK_TRY(lk_light_team(d, &command, &push, sizeof push, team, owners * (uint64_t)g.chunks, error));
    push.mode = flags | 2 << 4;
    command = lk_light_command(d, shader, inputs, 0);
    lk_command_spec(&command, 2, by_rows(d->device, &g));
    lk_command_reads(&command, partial);
    if (!derivative) lk_command_writes(&command, d->output[1].ref);
    return lk_light_team(d, &command, &push, sizeof push, team, owners * (uint64_t)g.chunks, error);
}

likeness_status lk_dispatch_softmax(const lk_dispatch *d, lk_error *error) {
    LK_TRY(lk_light_check(d, error));
    const lk_shape *x = &d->input[0].tensor.shape;
    bool derivative = d->call->op == LK_OP_SOFTMAX_DX;
    bool inner_axis = x->rank != 4;
    bool tree = lk_team_tree(d);
    int32_t rows = (int32_t)lk_shape_rows(x), ld = lk_shape_ld(x);
    struct lk_push_softmax push = {
        .x = lk_operand_address(&d->input[0]),
        .dy = derivative ? lk_operand_address(&d->input[1]) : 0,
        .y = lk_operand_address(&d->output[0]),
        .extent = inner_axis ? lk_shape_inner(x) : x->dim[3],
        .stride = inner_axis ? 1 : ld,
        .ld = ld,
        .inner = lk_shape_inner(x),
        .derivative = derivative,
    };
    push.lines = inner_axis ? rows : rows / push.extent * ld;
    lk_command command = lk_light_command(d, tree ? LK_SHADER_SOFTMAX_TREE : LK_SHADER_SOFTMAX, 3, 0);
    lk_team team = lk_team_of(d->device, inner_axis ? push.extent : 1, tree);
    uint64_t groups = (uint64_t)push.lines;
    if (!inner_axis) groups = (groups + team.workgroup - 1) / team.workgroup;
    return lk_light_team(d, &command, &push, sizeof push, team, groups, error);
}
