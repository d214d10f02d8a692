/* ops/reduce.c - dispatch of REDUCE and REDUCE_MAX_DX. */
#include "ops/axes.h"
#include "ops/light.h"
#include "reduce/push.h"

/* Outputs that reduce fewer elements than this are one thread each. Depends on nothing but that count (see launch.h).
 */
enum { LEAST_TEAM_ELEMENTS = 48 };

typedef struct reduce_geometry {
    lk_axes kept;    /* in y's memory order, stride 0: in x */
    lk_axes reduced; /* REDUCE: memory order, so that neighbouring lanes read neighbours; derivative: scan order */
    int32_t count;
} reduce_geometry;

static likeness_status geometry_of(const lk_dispatch *d, const lk_shape *x, const lk_shape *y, reduce_geometry *g,
                                   lk_error *error) {
    uint32_t axes = d->call->attributes.reduce.axes;
    bool keep = d->call->attributes.reduce.keepdims != 0;
    int32_t step[LK_MAX_RANK], kept_step[1][LK_MAX_RANK] = {{0}};
    lk_row_strides(x, step);
    *g = (reduce_geometry){.reduced = {.operands = 1}, .count = 1};
    int at = 0;
    for (int axis = 0; axis < x->rank; axis++) {
        bool reduced = (axes >> axis & 1u) != 0;
        if (!reduced) kept_step[0][at] = step[axis];
        if (!reduced || keep) at++;
    }
    g->kept = lk_axes_make(y, 1, kept_step);
    lk_axes_collapse(&g->kept, false);
    int order[LK_MAX_RANK];
    lk_memory_order(x, order);
    for (int i = 0; i < x->rank; i++) {
        int axis = d->call->op == LK_OP_REDUCE ? order[i] : x->rank - 1 - i;
        if ((axes >> axis & 1u) == 0 || x->dim[axis] == 1) continue;
        g->reduced.size[g->reduced.count] = x->dim[axis];
        g->reduced.stride[0][g->reduced.count++] = step[axis];
        g->count *= x->dim[axis];
    }
    if (g->reduced.count == 0) {
        g->reduced.size[0] = 1;
        g->reduced.count = 1;
    }
    g->reduced.valid = g->reduced.size[0];
    lk_axes_collapse(&g->reduced, false);
    if (g->kept.count > 4 || g->reduced.count > 4)
        return lk_fail(error, LIKENESS_UNSUPPORTED, "%s (%s): axes do not collapse to four kept and four reduced ones",
                       d->label != NULL ? d->label : "node", lk_op_name(d->call->op));
    return LIKENESS_OK;
}

static struct lk_push_reduce push_of(const reduce_geometry *g, const lk_dispatch *d) {
    struct lk_push_reduce push = {
        .x = lk_operand_address(&d->input[0]),
        .total = (int32_t)lk_axes_total(&g->kept),
        .valid = g->kept.valid,
        .count = g->count,
        .mode = g->kept.count << 4 | g->reduced.count << 8,
        .scale = 1,
    };
    lk_axes_export(&g->kept, 4, push.kept_size, push.kept_stride, NULL, NULL);
    lk_axes_export(&g->reduced, 4, push.size, push.stride, NULL, NULL);
    return push;
}

likeness_status lk_dispatch_reduce(const lk_dispatch *d, lk_error *error) {
    LK_TRY(lk_light_check(d, error));
    reduce_geometry g;
    LK_TRY(geometry_of(d, &d->input[0].tensor.shape, &d->output[0].tensor.shape, &g, error));
    lk_reduce kind = d->call->attributes.reduce.kind;
    bool tree = lk_team_tree(d);
    bool threads = g.count < LEAST_TEAM_ELEMENTS;
    struct lk_push_reduce push = push_of(&g, d);
    push.y = lk_operand_address(&d->output[0]);
    push.mode |= (int32_t)kind | (threads ? 1 : 0) << 12;
    if (kind == LK_REDUCE_MEAN) push.scale = 1.0f / (float)g.count;
    lk_command command = lk_light_command(d, tree ? LK_SHADER_REDUCE_TREE : LK_SHADER_REDUCE, 1, 0);
    lk_team team = lk_team_of(d->device, threads ? 1 : g.count, tree);
    uint64_t groups = (uint64_t)push.total;
    if (threads) groups = (groups + team.workgroup - 1) / team.workgroup;
    return lk_light_team(d, &command, &push, sizeof push, team, groups, error);
}

likeness_status lk_dispatch_reduce_max_dx(const lk_dispatch *d, lk_error *error) {
    LK_TRY(lk_light_check(d, error));
    reduce_geometry g;
    LK_TRY(geometry_of(d, &d->input[0].tensor.shape, &d->input[1].tensor.shape, &g, error));
    const lk_tensor *x = &d->input[0].tensor;
    bool tree = lk_team_tree(d);
    struct lk_push_reduce push = push_of(&g, d);
    push.y = lk_operand_address(&d->input[1]);
    push.dy = lk_operand_address(&d->input[2]);
    push.dx = lk_operand_address(&d->output[0]);
    lk_buffer_ref dx = lk_ref_slice(d->output[0].ref, 0, lk_tensor_row_bytes(&d->output[0].tensor));
    bool padded = lk_shape_ld(&x->shape) != lk_shape_inner(&x->shape);
    if (padded) LK_TRY(lk_record_fill(d->recording, dx, 0, error));
    lk_command command =
        lk_light_command(d, tree ? LK_SHADER_REDUCE_MAX_DX_TREE : LK_SHADER_REDUCE_MAX_DX, 7, padded ? -1 : 0);
    if (padded) lk_command_reads_writes(&command, dx);
    lk_team team = lk_team_of(d->device, g.count, tree);
    return lk_light_team(d, &command, &push, sizeof push, team, (uint64_t)push.total, error);
}
