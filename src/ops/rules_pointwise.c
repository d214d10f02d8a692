/* ops/rules_pointwise.c - rules of norms, softmax and everything that works element by element. */
#include "ops/rules.h"

/* ---- norms ---- */

/* gamma and beta, when present, have one entry a channel. */
static likeness_status lk_norm_check(const lk_op_call *call, lk_error *error) {
    lk_shape channels = lk_shape1(lk_shape_inner(&call->input[0].shape));
    if (call->has_input[1]) LK_TRY(lk_rule_expect(call, 1, "gamma", &channels, error));
    if (call->has_input[2]) LK_TRY(lk_rule_expect(call, 2, "beta", &channels, error));
    if (!(call->attributes.norm.epsilon >= 0)) return lk_rule_refuse(call, error, "epsilon is negative");
    return LIKENESS_OK;
}

static likeness_status lk_group_norm_check(const lk_op_call *call, lk_shape *stats, lk_error *error) {
    LK_TRY(lk_rule_expect_rank(call, 0, "x", 2, 4, error));
    LK_TRY(lk_norm_check(call, error));
    const lk_shape *x = &call->input[0].shape;
    int32_t groups = call->attributes.norm.groups;
    if (groups < 1 || lk_shape_inner(x) % groups != 0)
        return lk_rule_refuse(call, error, "%d groups do not divide %d channels", (int)groups, (int)lk_shape_inner(x));
    *stats = lk_shape3(x->dim[0], groups, 2);
    return LIKENESS_OK;
}

static likeness_status lk_group_norm_shape(lk_op_call *call, lk_error *error) {
    LK_TRY(lk_group_norm_check(call, &call->output[1].shape, error));
    lk_rule_same_shape(call, 0);
    return LIKENESS_OK;
}

static likeness_status lk_norm_dx_finish(lk_op_call *call, const lk_shape *stats, lk_error *error) {
    LK_TRY(lk_rule_expect(call, 3, "the statistics", stats, error));
    LK_TRY(lk_rule_expect(call, 4, "dy", &call->input[0].shape, error));
    lk_rule_same_shape(call, 0);
    return lk_rule_addend(call, error);
}

static likeness_status lk_group_norm_dx_shape(lk_op_call *call, lk_error *error) {
    lk_shape stats;
    LK_TRY(lk_group_norm_check(call, &stats, error));
    return lk_norm_dx_finish(call, &stats, error);
}

static likeness_status lk_layer_norm_check(const lk_op_call *call, lk_shape *stats, lk_error *error) {
    LK_TRY(lk_rule_expect_rank(call, 0, "x", 1, LK_MAX_RANK, error));
    LK_TRY(lk_norm_check(call, error));
    *stats = lk_shape2((int32_t)lk_shape_rows(&call->input[0].shape), 2);
    return LIKENESS_OK;
}

static likeness_status lk_layer_norm_shape(lk_op_call *call, lk_error *error) {
    LK_TRY(lk_layer_norm_check(call, &call->output[1].shape, error));
    lk_rule_same_shape(call, 0);
    return LIKENESS_OK;
}

static likeness_status lk_layer_norm_dx_shape(lk_op_call *call, lk_error *error) {
    lk_shape stats;
    LK_TRY(lk_layer_norm_check(call, &stats, error));
    return lk_norm_dx_finish(call, &stats, error);
}

static likeness_status lk_norm_gradient(const lk_gradient *g) {
    lk_op op = g->node->op == LK_OP_GROUP_NORM ? LK_OP_GROUP_NORM_DX : LK_OP_LAYER_NORM_DX;
    const lk_value *in = g->node->input;
    int count = g->node->input_count;
    lk_value inputs[5] = {in[0], count > 1 ? in[1] : LK_NO_VALUE, count > 2 ? in[2] : LK_NO_VALUE, g->node->output[1],
                          g->dy};
    g->grads[0] = lk_gradient_emit(g, op, g->node->attributes, inputs, 5);
    return LIKENESS_OK;
}

/* ---- one value a channel: channel affine, PReLU ---- */

static likeness_status lk_channel_vector_shape(lk_op_call *call, lk_error *error) {
    LK_TRY(lk_rule_expect_rank(call, 0, "x", 1, LK_MAX_RANK, error));
    lk_shape channels = lk_shape1(lk_shape_inner(&call->input[0].shape));
    bool prelu = call->op != LK_OP_CHANNEL_AFFINE;
    LK_TRY(lk_rule_expect(call, 1, prelu ? "the slope" : "the scale", &channels, error));
    if (call->op == LK_OP_CHANNEL_AFFINE && call->has_input[2])
        LK_TRY(lk_rule_expect(call, 2, "the shift", &channels, error));
    if (call->op == LK_OP_PRELU_DX) LK_TRY(lk_rule_expect(call, 2, "dy", &call->input[0].shape, error));
    lk_rule_same_shape(call, 0);
    return LIKENESS_OK;
}

static likeness_status lk_channel_affine_gradient(const lk_gradient *g) {
    g->grads[0] = lk_gradient_emit(g, LK_OP_CHANNEL_AFFINE, NULL, (lk_value[]){g->dy, g->node->input[1]}, 2);
    return LIKENESS_OK;
}

static likeness_status lk_prelu_gradient(const lk_gradient *g) {
    const lk_value *in = g->node->input;
    g->grads[0] = lk_gradient_emit(g, LK_OP_PRELU_DX, NULL, (lk_value[]){in[0], in[1], g->dy}, 3);
    return LIKENESS_OK;
}

/* ---- unary ---- */

static likeness_status lk_unary_shape(lk_op_call *call, lk_error *error) {
    if ((unsigned)call->attributes.unary.kind >= LK_UNARY_COUNT)
        return lk_rule_refuse(call, error, "kind %d does not exist", (int)call->attributes.unary.kind);
    if (call->attributes.unary.kind == LK_UNARY_CLAMP && !(call->attributes.unary.a <= call->attributes.unary.b))
        return lk_rule_refuse(call, error, "clamp to [%g, %g], which is empty", (double)call->attributes.unary.a,
                              (double)call->attributes.unary.b);
    if (call->op == LK_OP_UNARY_DX) LK_TRY(lk_rule_expect(call, 1, "dy", &call->input[0].shape, error));
    lk_rule_same_shape(call, 0);
    return LIKENESS_OK;
}

static likeness_status lk_unary_gradient(const lk_gradient *g) {
    const lk_attributes *a = g->node->attributes;
    if (a->unary.kind == LK_UNARY_NEG) /* linear kinds do not keep x alive */
        g->grads[0] = lk_gradient_unary(g, LK_UNARY_NEG, 0, 0, g->dy);
    else if (a->unary.kind == LK_UNARY_AFFINE)
        g->grads[0] = a->unary.a == 1 ? g->dy : lk_gradient_unary(g, LK_UNARY_AFFINE, a->unary.a, 0, g->dy);
    else
        g->grads[0] = lk_gradient_emit(g, LK_OP_UNARY_DX, a, (lk_value[]){g->node->input[0], g->dy}, 2);
    return LIKENESS_OK;
}

/* ---- binary ---- */

static likeness_status lk_binary_check(lk_op_call *call, lk_shape *result, lk_error *error) {
    const lk_shape *a = &call->input[0].shape, *b = &call->input[1].shape;
    if ((unsigned)call->attributes.binary.kind >= LK_BINARY_COUNT)
        return lk_rule_refuse(call, error, "kind %d does not exist", (int)call->attributes.binary.kind);
    if (lk_shape_broadcast(a, b, result)) return LIKENESS_OK;
    char a_text[96], b_text[96];
    return lk_rule_refuse(call, error, "%s and %s do not broadcast", lk_shape_text(a, a_text, sizeof a_text),
                          lk_shape_text(b, b_text, sizeof b_text));
}

static likeness_status lk_binary_shape(lk_op_call *call, lk_error *error) {
    return lk_binary_check(call, &call->output[0].shape, error);
}

static likeness_status lk_binary_dx_shape(lk_op_call *call, lk_error *error) {
    LK_TRY(lk_binary_check(call, &call->output[0].shape, error));
    if (call->attributes.binary.side != 0 && call->attributes.binary.side != 1)
        return lk_rule_refuse(call, error, "side %d does not exist", (int)call->attributes.binary.side);
    return lk_rule_expect(call, 2, "dy", &call->output[0].shape, error);
}

static lk_value lk_binary_side(const lk_gradient *g, int side) {
    lk_attributes attributes = *g->node->attributes;
    attributes.binary.side = side;
    const lk_value *in = g->node->input;
    return lk_gradient_emit(g, LK_OP_BINARY_DX, &attributes, (lk_value[]){in[0], in[1], g->dy}, 3);
}

static likeness_status lk_binary_gradient(const lk_gradient *g) {
    const lk_value *in = g->node->input;
    for (int side = 0; side < 2; side++) {
        if (!lk_gradient_wants(g, side)) continue;
        const lk_shape own = *lk_gradient_shape(g, in[side]);
        lk_value d = LK_NO_VALUE;
        switch (g->node->attributes->binary.kind) {
        case LK_BINARY_ADD:
            d = lk_gradient_sum_to(g, g->dy, &own);
            break;
        case LK_BINARY_SUB: /* the sign after the sum: fewer elements */
            d = lk_gradient_sum_to(g, g->dy, &own);
            if (side == 1) d = lk_gradient_unary(g, LK_UNARY_NEG, 0, 0, d);
            break;
        case LK_BINARY_MUL:
            d = lk_gradient_sum_to(g, lk_gradient_binary(g, LK_BINARY_MUL, g->dy, in[1 - side]), &own);
            break;
        case LK_BINARY_DIV:
            d = side == 0 ? lk_gradient_binary(g, LK_BINARY_DIV, g->dy, in[1]) : lk_binary_side(g, 1);
            d = lk_gradient_sum_to(g, d, &own);
            break;
        case LK_BINARY_MIN:
        case LK_BINARY_MAX:
            d = lk_gradient_sum_to(g, lk_binary_side(g, side), &own);
            break;
        case LK_BINARY_COUNT:
            break;
        }
        g->grads[side] = d;
    }
    return LIKENESS_OK;
}

/* ---- GEGLU ---- */

static likeness_status lk_geglu_shape(lk_op_call *call, lk_error *error) {
    LK_TRY(lk_rule_expect_rank(call, 0, "x", 1, LK_MAX_RANK, error));
    const lk_shape *x = &call->input[0].shape;
    char text[96];
    if (lk_shape_inner(x) % 2 != 0)
        return lk_rule_refuse(call, error, "x %s has no two halves", lk_shape_text(x, text, sizeof text));
    lk_shape half = lk_shape_with_inner(*x, lk_shape_inner(x) / 2);
    call->output[0].shape = half;
    if (call->op == LK_OP_GEGLU_DX) {
        LK_TRY(lk_rule_expect(call, 1, "dy", &half, error));
        lk_rule_same_shape(call, 0);
    }
    return LIKENESS_OK;
}

static likeness_status lk_geglu_gradient(const lk_gradient *g) {
    g->grads[0] = lk_gradient_emit(g, LK_OP_GEGLU_DX, NULL, (lk_value[]){g->node->input[0], g->dy}, 2);
    return LIKENESS_OK;
}

/* ---- softmax ---- */

static likeness_status lk_softmax_shape(lk_op_call *call, lk_error *error) {
    LK_TRY(lk_rule_expect_rank(call, 0, call->op == LK_OP_SOFTMAX ? "x" : "y", 1, LK_MAX_RANK, error));
    if (call->op == LK_OP_SOFTMAX_DX) LK_TRY(lk_rule_expect(call, 1, "dy", &call->input[0].shape, error));
    lk_rule_same_shape(call, 0);
    return LIKENESS_OK;
}

static likeness_status lk_softmax_gradient(const lk_gradient *g) {
    g->grads[0] = lk_gradient_emit(g, LK_OP_SOFTMAX_DX, NULL, (lk_value[]){g->node->output[0], g->dy}, 2);
    return LIKENESS_OK;
}

/* Operations per element are rough: they rank ops in a profile, nothing is chosen by them. */
const lk_rule lk_rules_pointwise[LK_OP_COUNT] = {
    [LK_OP_GROUP_NORM] = {lk_group_norm_shape, 1, lk_norm_gradient, NULL, 8},
    [LK_OP_GROUP_NORM_DX] = {lk_group_norm_dx_shape, 0, NULL, NULL, 12},
    [LK_OP_LAYER_NORM] = {lk_layer_norm_shape, 1, lk_norm_gradient, NULL, 8},
    [LK_OP_LAYER_NORM_DX] = {lk_layer_norm_dx_shape, 0, NULL, NULL, 12},
    [LK_OP_CHANNEL_AFFINE] = {lk_channel_vector_shape, 1, lk_channel_affine_gradient, NULL, 2},
    [LK_OP_UNARY] = {lk_unary_shape, 1, lk_unary_gradient, NULL, 4},
    [LK_OP_UNARY_DX] = {lk_unary_shape, 0, NULL, NULL, 6},
    [LK_OP_PRELU] = {lk_channel_vector_shape, 1, lk_prelu_gradient, NULL, 2},
    [LK_OP_PRELU_DX] = {lk_channel_vector_shape, 0, NULL, NULL, 2},
    [LK_OP_BINARY] = {lk_binary_shape, 3, lk_binary_gradient, NULL, 1},
    [LK_OP_BINARY_DX] = {lk_binary_dx_shape, 0, NULL, NULL, 2},
    [LK_OP_GEGLU] = {lk_geglu_shape, 1, lk_geglu_gradient, NULL, 6},
    [LK_OP_GEGLU_DX] = {lk_geglu_shape, 0, NULL, NULL, 10},
    [LK_OP_SOFTMAX] = {lk_softmax_shape, 1, lk_softmax_gradient, NULL, 4},
    [LK_OP_SOFTMAX_DX] = {lk_softmax_shape, 0, NULL, NULL, 4},
};
