/* ops/rules_movement.c - rules of pooling, resampling, data movement, reductions and broadcasts. */
#include "ops/rules.h"

/* ---- pool ---- */

static int64_t lk_pool_extent(const lk_attributes *a, int axis, int64_t input) {
    int64_t kernel = a->pool.kernel[axis], stride = a->pool.stride[axis];
    int64_t before = a->pool.padding[axis], room = input + before + a->pool.padding[axis + 2] - kernel;
    if (room < 0) return 0;
    if (!a->pool.ceil_mode) return room / stride + 1;
    int64_t extent = (room + stride - 1) / stride + 1;
    return (extent - 1) * stride >= input + before ? extent - 1 : extent;
}

static likeness_status lk_pool_check(const lk_op_call *call, lk_shape *y, lk_error *error) {
    const lk_attributes *a = &call->attributes;
    LK_TRY(lk_rule_expect_rank(call, 0, "x", 4, 4, error));
    const lk_shape *x = &call->input[0].shape;
    if (a->pool.kind != LK_POOL_MAX && a->pool.kind != LK_POOL_AVERAGE)
        return lk_rule_refuse(call, error, "kind %d does not exist", (int)a->pool.kind);
    int64_t size[2];
    for (int i = 0; i < 2; i++) {
        if (a->pool.kernel[i] < 1 || a->pool.stride[i] < 1)
            return lk_rule_refuse(call, error, "kernel and stride must be at least 1");
        for (int side = 0; side < 2; side++) {
            int32_t padding = a->pool.padding[i + 2 * side];
            if (padding < 0 || padding >= a->pool.kernel[i])
                return lk_rule_refuse(call, error, "a padding of %d with a kernel of %d", (int)padding,
                                      (int)a->pool.kernel[i]);
        }
        size[i] = lk_pool_extent(a, i, x->dim[2 + i]);
    }
    char text[96];
    if (size[0] < 1 || size[1] < 1)
        return lk_rule_refuse(call, error, "a kernel of %dx%d does not fit x %s", (int)a->pool.kernel[0],
                              (int)a->pool.kernel[1], lk_shape_text(x, text, sizeof text));
    *y = lk_shape4(x->dim[0], x->dim[1], (int32_t)size[0], (int32_t)size[1]);
    return LIKENESS_OK;
}

static likeness_status lk_pool2d_shape(lk_op_call *call, lk_error *error) {
    return lk_pool_check(call, &call->output[0].shape, error);
}

static likeness_status lk_pool2d_dx_shape(lk_op_call *call, lk_error *error) {
    lk_shape y;
    LK_TRY(lk_pool_check(call, &y, error));
    LK_TRY(lk_rule_expect(call, 1, "y", &y, error));
    LK_TRY(lk_rule_expect(call, 2, "dy", &y, error));
    lk_rule_same_shape(call, 0);
    return LIKENESS_OK;
}

static lk_cost lk_pool_cost(const lk_op_call *call) {
    const lk_shape *y = call->op == LK_OP_POOL2D ? &call->output[0].shape : &call->input[1].shape;
    double taps = (double)call->attributes.pool.kernel[0] * call->attributes.pool.kernel[1];
    return (lk_cost){taps * (double)lk_shape_elements(y), lk_rule_bytes(call)};
}

static likeness_status lk_pool2d_gradient(const lk_gradient *g) {
    lk_value inputs[3] = {g->node->input[0], g->node->output[0], g->dy};
    g->grads[0] = lk_gradient_emit(g, LK_OP_POOL2D_DX, g->node->attributes, inputs, 3);
    return LIKENESS_OK;
}

/* ---- resize: forward and _DX differ only in which side attrs.size describes, and both give that size ---- */

static likeness_status lk_resize_shape(lk_op_call *call, lk_error *error) {
    const lk_attributes *a = &call->attributes;
    LK_TRY(lk_rule_expect_rank(call, 0, call->op == LK_OP_RESIZE ? "x" : "dy", 4, 4, error));
    const lk_shape *from = &call->input[0].shape;
    if ((a->resize.kind != LK_RESIZE_NEAREST && a->resize.kind != LK_RESIZE_BILINEAR) ||
        a->resize.coordinates < LK_COORDINATES_ASYMMETRIC || a->resize.coordinates > LK_COORDINATES_ALIGN_CORNERS)
        return lk_rule_refuse(call, error, "kind %d with coordinates %d does not exist", (int)a->resize.kind,
                              (int)a->resize.coordinates);
    if (a->resize.size[0] < 1 || a->resize.size[1] < 1)
        return lk_rule_refuse(call, error, "a size of %dx%d", (int)a->resize.size[0], (int)a->resize.size[1]);
    call->output[0].shape = lk_shape4(from->dim[0], from->dim[1], a->resize.size[0], a->resize.size[1]);
    return LIKENESS_OK;
}

static likeness_status lk_resize_gradient(const lk_gradient *g) {
    const lk_shape *x = lk_gradient_shape(g, g->node->input[0]);
    lk_attributes attributes = *g->node->attributes;
    attributes.resize.size[0] = x->dim[2];
    attributes.resize.size[1] = x->dim[3];
    g->grads[0] = lk_gradient_emit(g, LK_OP_RESIZE_DX, &attributes, &g->dy, 1);
    return LIKENESS_OK;
}

/* ---- pad ---- */

static likeness_status lk_pad_shape(lk_op_call *call, lk_error *error) {
    const lk_attributes *a = &call->attributes;
    const bool backward = call->op == LK_OP_PAD_DX;
    const lk_shape *from = &call->input[0].shape;
    lk_shape to = *from;
    char text[96];
    lk_shape_text(from, text, sizeof text);
    if (a->pad.kind != LK_PAD_CONSTANT && a->pad.kind != LK_PAD_EDGE && a->pad.kind != LK_PAD_REFLECT)
        return lk_rule_refuse(call, error, "kind %d does not exist", (int)a->pad.kind);
    for (int i = 0; i < from->rank; i++) {
        int64_t before = a->pad.before[i], after = a->pad.after[i];
        if (before < 0 || after < 0) return lk_rule_refuse(call, error, "negative padding (use slice)");
        if ((before != 0 || after != 0) && a->pad.kind != LK_PAD_CONSTANT && (from->rank != 4 || i < 2))
            return lk_rule_refuse(call, error, "edge and reflect work on height and width only, not on axis %d of %s",
                                  i, text);
        int64_t extent = backward ? from->dim[i] - before - after : from->dim[i] + before + after;
        int64_t inside = backward ? extent : from->dim[i];
        if (extent < 1 || extent > INT32_MAX ||
            (a->pad.kind == LK_PAD_REFLECT && (before >= inside || after >= inside)))
            return lk_rule_refuse(call, error, "padding %d and %d on axis %d does not fit %s", (int)before, (int)after,
                                  i, text);
        to.dim[i] = (int32_t)extent;
    }
    call->output[0].shape = to;
    return LIKENESS_OK;
}

static likeness_status lk_pad_gradient(const lk_gradient *g) {
    g->grads[0] = lk_gradient_emit(g, LK_OP_PAD_DX, g->node->attributes, &g->dy, 1);
    return LIKENESS_OK;
}

/* ---- slice ---- */

/* `part` is cut out of `whole`. */
static likeness_status lk_slice_check(const lk_op_call *call, const lk_shape *whole, const lk_shape *part,
                                      lk_error *error) {
    const lk_attributes *a = &call->attributes;
    for (int i = 0; i < whole->rank; i++) {
        int64_t last = a->slice.start[i] + (int64_t)(part->dim[i] - 1) * a->slice.step[i];
        if (part->dim[i] < 1 || a->slice.start[i] < 0 || a->slice.step[i] < 1 || last >= whole->dim[i]) {
            char text[96];
            return lk_rule_refuse(call, error, "%d entries from %d in steps of %d on axis %d of %s", (int)part->dim[i],
                                  (int)a->slice.start[i], (int)a->slice.step[i], i,
                                  lk_shape_text(whole, text, sizeof text));
        }
    }
    return LIKENESS_OK;
}

static likeness_status lk_slice_shape(lk_op_call *call, lk_error *error) {
    lk_shape to = call->input[0].shape;
    for (int i = 0; i < to.rank; i++) {
        to.dim[i] = call->attributes.slice.size[i];
    }
    call->output[0].shape = to;
    return call->op == LK_OP_SLICE ? lk_slice_check(call, &call->input[0].shape, &to, error)
                                   : lk_slice_check(call, &to, &call->input[0].shape, error);
}

static likeness_status lk_slice_gradient(const lk_gradient *g) {
    const lk_shape *x = lk_gradient_shape(g, g->node->input[0]);
    lk_attributes attributes = *g->node->attributes;
    for (int i = 0; i < x->rank; i++) {
        attributes.slice.size[i] = x->dim[i];
    }
    g->grads[0] = lk_gradient_emit(g, LK_OP_SLICE_DX, &attributes, &g->dy, 1);
    return LIKENESS_OK;
}

/* ---- concat ---- */

static likeness_status lk_concat_shape(lk_op_call *call, lk_error *error) {
    int axis = call->attributes.axis.axis;
    lk_shape to = call->input[0].shape;
    if (axis < 0 || axis >= to.rank) return lk_rule_refuse(call, error, "axis %d of rank %d", axis, (int)to.rank);
    int64_t extent = 0;
    for (int i = 0; i < call->input_count; i++) {
        if (!call->has_input[i]) return lk_rule_refuse(call, error, "part %d is absent", i);
        lk_shape part = call->input[i].shape;
        extent += part.rank == to.rank ? part.dim[axis] : 0;
        if (part.rank == to.rank) part.dim[axis] = call->input[0].shape.dim[axis];
        if (!lk_shape_equal(&part, &call->input[0].shape)) {
            char first[96], other[96];
            return lk_rule_refuse(call, error, "parts %s and %s do not fit along axis %d",
                                  lk_shape_text(&call->input[0].shape, first, sizeof first),
                                  lk_shape_text(&call->input[i].shape, other, sizeof other), axis);
        }
    }
    if (extent > INT32_MAX) return lk_rule_refuse(call, error, "the parts are too large together");
    to.dim[axis] = (int32_t)extent;
    call->output[0].shape = to;
    return LIKENESS_OK;
}

static likeness_status lk_concat_gradient(const lk_gradient *g) {
    int axis = g->node->attributes->axis.axis;
    int32_t start = 0;
    for (int i = 0; i < g->node->input_count; i++) {
        const lk_shape *part = lk_gradient_shape(g, g->node->input[i]);
        lk_attributes attributes = lk_attributes_zero();
        for (int k = 0; k < part->rank; k++) {
            attributes.slice.step[k] = 1;
            attributes.slice.size[k] = part->dim[k];
        }
        attributes.slice.start[axis] = start;
        start += part->dim[axis];
        if (lk_gradient_wants(g, i)) g->grads[i] = lk_gradient_emit(g, LK_OP_SLICE, &attributes, &g->dy, 1);
    }
    return LIKENESS_OK;
}

/* ---- permute, reshape, tokens ---- */

static likeness_status lk_permute_shape(lk_op_call *call, lk_error *error) {
    const lk_shape *x = &call->input[0].shape;
    lk_shape to = *x;
    uint32_t seen = 0;
    for (int i = 0; i < x->rank; i++) {
        int32_t from = call->attributes.permute.perm[i];
        if (from < 0 || from >= x->rank || (seen >> from & 1u) != 0)
            return lk_rule_refuse(call, error, "axis %d names %d, not a permutation of %d axes", i, (int)from,
                                  (int)x->rank);
        seen |= 1u << from;
        to.dim[i] = x->dim[from];
    }
    call->output[0].shape = to;
    return LIKENESS_OK;
}

static likeness_status lk_permute_gradient(const lk_gradient *g) {
    lk_attributes attributes = lk_attributes_zero();
    for (int i = 0; i < lk_gradient_shape(g, g->dy)->rank; i++) {
        attributes.permute.perm[g->node->attributes->permute.perm[i]] = i;
    }
    g->grads[0] = lk_gradient_emit(g, LK_OP_PERMUTE, &attributes, &g->dy, 1);
    return LIKENESS_OK;
}

static likeness_status lk_reshape_shape(lk_op_call *call, lk_error *error) {
    const lk_shape *to = &call->attributes.shape.shape;
    if (!lk_shape_valid(to) || lk_shape_elements(to) != lk_shape_elements(&call->input[0].shape)) {
        char from_text[96], to_text[96];
        return lk_rule_refuse(call, error, "%s to %s",
                              lk_shape_text(&call->input[0].shape, from_text, sizeof from_text),
                              lk_shape_text(to, to_text, sizeof to_text));
    }
    call->output[0].shape = *to;
    return LIKENESS_OK;
}

static likeness_status lk_reshape_gradient(const lk_gradient *g) {
    g->grads[0] = lk_gradient_reshape(g, g->dy, lk_gradient_shape(g, g->node->input[0]));
    return LIKENESS_OK;
}

static likeness_status lk_to_tokens_shape(lk_op_call *call, lk_error *error) {
    LK_TRY(lk_rule_expect_rank(call, 0, "x", 4, 4, error));
    const lk_shape *x = &call->input[0].shape;
    call->output[0].shape = lk_shape3(x->dim[0], x->dim[2] * x->dim[3], x->dim[1]);
    return LIKENESS_OK;
}

static likeness_status lk_from_tokens_shape(lk_op_call *call, lk_error *error) {
    const lk_shape *to = &call->attributes.shape.shape;
    if (to->rank != 4 || !lk_shape_valid(to)) return lk_rule_refuse(call, error, "the wanted shape is not of rank 4");
    lk_shape tokens = lk_shape3(to->dim[0], to->dim[2] * to->dim[3], to->dim[1]);
    LK_TRY(lk_rule_expect(call, 0, "the tokens", &tokens, error));
    call->output[0].shape = *to;
    return LIKENESS_OK;
}

static likeness_status lk_tokens_gradient(const lk_gradient *g) {
    if (g->node->op == LK_OP_FROM_TOKENS) {
        g->grads[0] = lk_gradient_emit(g, LK_OP_TO_TOKENS, NULL, &g->dy, 1);
        return LIKENESS_OK;
    }
    lk_attributes attributes = lk_attributes_zero();
    attributes.shape.shape = *lk_gradient_shape(g, g->node->input[0]);
    g->grads[0] = lk_gradient_emit(g, LK_OP_FROM_TOKENS, &attributes, &g->dy, 1);
    return LIKENESS_OK;
}

/* The same memory: nothing is moved. */
static lk_cost lk_free_cost(const lk_op_call *call) {
    (void)call;
    return (lk_cost){0, 0};
}

/* ---- gather ---- */

/* ids.shape with the table's width appended. Rank 4 would put the width on an axis that is not the inner one. */
static likeness_status lk_gather_output(const lk_op_call *call, int ids_slot, int32_t width, lk_shape *y,
                                        lk_error *error) {
    LK_TRY(lk_rule_expect_rank(call, ids_slot, "ids", 0, 2, error));
    *y = call->input[ids_slot].shape;
    y->dim[y->rank++] = width;
    return LIKENESS_OK;
}

static likeness_status lk_gather_shape(lk_op_call *call, lk_error *error) {
    LK_TRY(lk_rule_expect_rank(call, 0, "the table", 2, 2, error));
    return lk_gather_output(call, 1, call->input[0].shape.dim[1], &call->output[0].shape, error);
}

static likeness_status lk_gather_dx_shape(lk_op_call *call, lk_error *error) {
    const lk_shape *table = &call->attributes.shape.shape;
    if (table->rank != 2 || !lk_shape_valid(table)) return lk_rule_refuse(call, error, "the table's shape is wrong");
    lk_shape y;
    LK_TRY(lk_gather_output(call, 0, table->dim[1], &y, error));
    call->output[0].shape = *table;
    return lk_rule_expect(call, 1, "dy", &y, error);
}

static likeness_status lk_gather_gradient(const lk_gradient *g) {
    lk_attributes attributes = lk_attributes_zero();
    attributes.shape.shape = *lk_gradient_shape(g, g->node->input[0]);
    g->grads[0] = lk_gradient_emit(g, LK_OP_GATHER_DX, &attributes, (lk_value[]){g->node->input[1], g->dy}, 2);
    return LIKENESS_OK;
}

/* ---- reduce and broadcast ---- */

/* keep: reduced axes stay with extent 1. */
static lk_shape lk_reduced_shape(const lk_shape *x, uint32_t axes, bool keep) {
    lk_shape y = lk_shape0();
    for (int i = 0; i < x->rank; i++) {
        bool reduced = (axes >> i & 1u) != 0;
        if (!reduced || keep) y.dim[y.rank++] = reduced ? 1 : x->dim[i];
    }
    return y;
}

static likeness_status lk_reduce_check(const lk_op_call *call, lk_shape *y, lk_error *error) {
    const lk_attributes *a = &call->attributes;
    const lk_shape *x = &call->input[0].shape;
    if (a->reduce.kind != LK_REDUCE_SUM && a->reduce.kind != LK_REDUCE_MEAN && a->reduce.kind != LK_REDUCE_MAX)
        return lk_rule_refuse(call, error, "kind %d does not exist", (int)a->reduce.kind);
    if (a->reduce.axes == 0 || a->reduce.axes >> x->rank != 0) {
        char text[96];
        return lk_rule_refuse(call, error, "axes 0x%x of %s", (unsigned)a->reduce.axes,
                              lk_shape_text(x, text, sizeof text));
    }
    *y = lk_reduced_shape(x, a->reduce.axes, a->reduce.keepdims != 0);
    return LIKENESS_OK;
}

static likeness_status lk_reduce_shape(lk_op_call *call, lk_error *error) {
    return lk_reduce_check(call, &call->output[0].shape, error);
}

static likeness_status lk_reduce_max_dx_shape(lk_op_call *call, lk_error *error) {
    lk_shape y;
    LK_TRY(lk_reduce_check(call, &y, error));
    if (call->attributes.reduce.kind != LK_REDUCE_MAX) return lk_rule_refuse(call, error, "the kind is not max");
    LK_TRY(lk_rule_expect(call, 1, "y", &y, error));
    LK_TRY(lk_rule_expect(call, 2, "dy", &y, error));
    lk_rule_same_shape(call, 0);
    return LIKENESS_OK;
}

static likeness_status lk_reduce_gradient(const lk_gradient *g) {
    const lk_attributes *a = g->node->attributes;
    const lk_shape x = *lk_gradient_shape(g, g->node->input[0]);
    if (a->reduce.kind == LK_REDUCE_MAX) {
        lk_value inputs[3] = {g->node->input[0], g->node->output[0], g->dy};
        g->grads[0] = lk_gradient_emit(g, LK_OP_REDUCE_MAX_DX, a, inputs, 3);
        return LIKENESS_OK;
    }
    lk_shape kept = lk_reduced_shape(&x, a->reduce.axes, true);
    double count = (double)lk_shape_elements(&x) / (double)lk_shape_elements(&kept);
    float factor = a->reduce.kind == LK_REDUCE_MEAN ? (float)(1 / count) : 1.0f;
    g->grads[0] = lk_gradient_broadcast(g, lk_gradient_reshape(g, g->dy, &kept), &x, factor);
    return LIKENESS_OK;
}

static likeness_status lk_broadcast_shape(lk_op_call *call, lk_error *error) {
    const lk_shape *to = &call->attributes.shape.shape;
    lk_shape both;
    if (!lk_shape_valid(to) || !lk_shape_broadcast(&call->input[0].shape, to, &both) || !lk_shape_equal(&both, to)) {
        char from_text[96], to_text[96];
        return lk_rule_refuse(call, error, "%s does not expand to %s",
                              lk_shape_text(&call->input[0].shape, from_text, sizeof from_text),
                              lk_shape_text(to, to_text, sizeof to_text));
    }
    call->output[0].shape = *to;
    return LIKENESS_OK;
}

static likeness_status lk_broadcast_gradient(const lk_gradient *g) {
    float factor = g->node->attributes->shape.factor;
    lk_value d = lk_gradient_sum_to(g, g->dy, lk_gradient_shape(g, g->node->input[0]));
    g->grads[0] = factor == 1 ? d : lk_gradient_unary(g, LK_UNARY_AFFINE, factor, 0, d);
    return LIKENESS_OK;
}

const lk_rule lk_rules_movement[LK_OP_COUNT] = {
    [LK_OP_POOL2D] = {lk_pool2d_shape, 1, lk_pool2d_gradient, lk_pool_cost, 0},
    [LK_OP_POOL2D_DX] = {lk_pool2d_dx_shape, 0, NULL, lk_pool_cost, 0},
    [LK_OP_RESIZE] = {lk_resize_shape, 1, lk_resize_gradient, NULL, 7},
    [LK_OP_RESIZE_DX] = {lk_resize_shape, 0, NULL, NULL, 7},
    [LK_OP_PAD] = {lk_pad_shape, 1, lk_pad_gradient, NULL, 0},
    [LK_OP_PAD_DX] = {lk_pad_shape, 0, NULL, NULL, 1},
    [LK_OP_SLICE] = {lk_slice_shape, 1, lk_slice_gradient, NULL, 0},
    [LK_OP_SLICE_DX] = {lk_slice_shape, 0, NULL, NULL, 0},
    [LK_OP_CONCAT] = {lk_concat_shape, 0xff, lk_concat_gradient, NULL, 0},
    [LK_OP_PERMUTE] = {lk_permute_shape, 1, lk_permute_gradient, NULL, 0},
    [LK_OP_RESHAPE] = {lk_reshape_shape, 1, lk_reshape_gradient, NULL, 0},
    [LK_OP_TO_TOKENS] = {lk_to_tokens_shape, 1, lk_tokens_gradient, lk_free_cost, 0},
    [LK_OP_FROM_TOKENS] = {lk_from_tokens_shape, 1, lk_tokens_gradient, lk_free_cost, 0},
    [LK_OP_GATHER] = {lk_gather_shape, 1, lk_gather_gradient, NULL, 0},
    [LK_OP_GATHER_DX] = {lk_gather_dx_shape, 0, NULL, NULL, 1},
    [LK_OP_REDUCE] = {lk_reduce_shape, 1, lk_reduce_gradient, NULL, 1},
    [LK_OP_REDUCE_MAX_DX] = {lk_reduce_max_dx_shape, 0, NULL, NULL, 1},
    [LK_OP_BROADCAST] = {lk_broadcast_shape, 1, lk_broadcast_gradient, NULL, 1},
};
