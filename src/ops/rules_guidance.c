/* ops/rules_guidance.c - rules of the ops that guidance needs: warp, cosine, losses, and the steps of a guided flow. */
#include "ops/rules.h"

/* ---- affine warp: forward and _DX both give the size in the attributes ---- */

static likeness_status lk_warp_shape(lk_op_call *call, lk_error *error) {
    LK_TRY(lk_rule_expect_rank(call, 0, call->op == LK_OP_AFFINE_WARP ? "x" : "dy", 4, 4, error));
    const lk_shape *from = &call->input[0].shape;
    const int32_t *size = call->attributes.warp.size;
    lk_shape theta = lk_shape3(from->dim[0], 2, 3);
    LK_TRY(lk_rule_expect(call, 1, "theta", &theta, error));
    if (size[0] < 1 || size[1] < 1) return lk_rule_refuse(call, error, "a size of %dx%d", (int)size[0], (int)size[1]);
    call->output[0].shape = lk_shape4(from->dim[0], from->dim[1], size[0], size[1]);
    return LIKENESS_OK;
}

static likeness_status lk_warp_gradient(const lk_gradient *g) {
    const lk_shape *x = lk_gradient_shape(g, g->node->input[0]);
    lk_attributes attributes = lk_attributes_zero();
    attributes.warp.size[0] = x->dim[2];
    attributes.warp.size[1] = x->dim[3];
    lk_value inputs[2] = {g->dy, g->node->input[1]};
    g->grads[0] = lk_gradient_emit(g, LK_OP_AFFINE_WARP_DX, &attributes, inputs, 2);
    return LIKENESS_OK;
}

/* ---- cosine ---- */

static likeness_status lk_cosine_shape(lk_op_call *call, lk_error *error) {
    LK_TRY(lk_rule_expect_rank(call, 0, "a", 2, 2, error));
    const lk_shape *a = &call->input[0].shape;
    lk_shape b = *a;
    if (call->input[1].shape.rank == 2 && call->input[1].shape.dim[0] == 1) b.dim[0] = 1;
    LK_TRY(lk_rule_expect(call, 1, "b", &b, error));
    call->output[0].shape = lk_shape1(a->dim[0]);
    if (call->op == LK_OP_COSINE_DX) {
        LK_TRY(lk_rule_expect(call, 2, "dc", &call->output[0].shape, error));
        lk_rule_same_shape(call, 0);
    }
    return LIKENESS_OK;
}

static likeness_status lk_cosine_gradient(const lk_gradient *g) {
    lk_value a = g->node->input[0], b = g->node->input[1];
    if (lk_gradient_wants(g, 0)) g->grads[0] = lk_gradient_emit(g, LK_OP_COSINE_DX, NULL, (lk_value[]){a, b, g->dy}, 3);
    if (lk_gradient_wants(g, 1)) {
        /* The cosine is symmetric: the same op with the sides changed, b repeated for every row it serves. */
        const lk_shape rows = *lk_gradient_shape(g, a), own = *lk_gradient_shape(g, b);
        if (!lk_shape_equal(&rows, &own)) b = lk_gradient_broadcast(g, b, &rows, 1.0f);
        lk_value d = lk_gradient_emit(g, LK_OP_COSINE_DX, NULL, (lk_value[]){b, a, g->dy}, 3);
        g->grads[1] = lk_gradient_sum_to(g, d, &own);
    }
    return LIKENESS_OK;
}

/* ---- L1 and L2 ---- */

static likeness_status lk_loss_shape(lk_op_call *call, lk_error *error) {
    LK_TRY(lk_rule_expect_rank(call, 0, "a", 1, LK_MAX_RANK, error));
    LK_TRY(lk_rule_expect(call, 1, "b", &call->input[0].shape, error));
    call->output[0].shape = lk_shape1(call->input[0].shape.dim[0]);
    if (call->op == LK_OP_LOSS_DX) {
        LK_TRY(lk_rule_expect(call, 2, "dl", &call->output[0].shape, error));
        lk_rule_same_shape(call, 0);
    }
    return LIKENESS_OK;
}

static likeness_status lk_loss_gradient(const lk_gradient *g) {
    lk_value a = g->node->input[0], b = g->node->input[1];
    const lk_attributes *attributes = g->node->attributes;
    if (lk_gradient_wants(g, 0))
        g->grads[0] = lk_gradient_emit(g, LK_OP_LOSS_DX, attributes, (lk_value[]){a, b, g->dy}, 3);
    if (lk_gradient_wants(g, 1))
        g->grads[1] = lk_gradient_emit(g, LK_OP_LOSS_DX, attributes, (lk_value[]){b, a, g->dy}, 3);
    return LIKENESS_OK;
}

/* ---- classifier-free guidance ---- */

static likeness_status lk_cfg_combine_shape(lk_op_call *call, lk_error *error) {
    const lk_shape one = lk_shape1(1);
    LK_TRY(lk_rule_expect(call, 1, "cond", &call->input[0].shape, error));
    LK_TRY(lk_rule_expect(call, 2, "the weight", &one, error));
    lk_rule_same_shape(call, 0);
    return LIKENESS_OK;
}

static likeness_status lk_cfg_combine_dx_shape(lk_op_call *call, lk_error *error) {
    const lk_shape one = lk_shape1(1);
    LK_TRY(lk_rule_expect(call, 1, "the weight", &one, error));
    call->output[0].shape = call->input[0].shape;
    call->output[1].shape = call->input[0].shape;
    return LIKENESS_OK;
}

static likeness_status lk_cfg_combine_gradient(const lk_gradient *g) {
    lk_value inputs[2] = {g->dy, g->node->input[2]};
    lk_value outputs[LK_MAX_OUTPUTS] = {LK_NO_VALUE, LK_NO_VALUE, LK_NO_VALUE, LK_NO_VALUE};
    g->emitter->emit(g->emitter->user, LK_OP_CFG_COMBINE_DX, NULL, inputs, 2, g->wanted & 3u, outputs);
    for (int i = 0; i < 2; i++) {
        if (lk_gradient_wants(g, i)) g->grads[i] = outputs[i];
    }
    return LIKENESS_OK;
}

/* ---- flow step ---- */

static likeness_status lk_flow_step_shape(lk_op_call *call, lk_error *error) {
    const lk_shape one = lk_shape1(1);
    LK_TRY(lk_rule_expect(call, 1, "v", &call->input[0].shape, error));
    LK_TRY(lk_rule_expect(call, 2, "dt", &one, error));
    if (call->has_input[3]) LK_TRY(lk_rule_expect(call, 3, "the offset", &call->input[0].shape, error));
    lk_rule_same_shape(call, 0);
    return LIKENESS_OK;
}

static likeness_status lk_flow_step_dx_shape(lk_op_call *call, lk_error *error) {
    const lk_shape one = lk_shape1(1);
    LK_TRY(lk_rule_expect(call, 1, "dt", &one, error));
    lk_rule_same_shape(call, 0);
    return LIKENESS_OK;
}

static likeness_status lk_flow_step_gradient(const lk_gradient *g) {
    if (lk_gradient_wants(g, 0)) g->grads[0] = g->dy;
    if (lk_gradient_wants(g, 1))
        g->grads[1] = lk_gradient_emit(g, LK_OP_FLOW_STEP_DX, NULL, (lk_value[]){g->dy, g->node->input[2]}, 2);
    if (lk_gradient_wants(g, 3)) g->grads[3] = g->dy;
    return LIKENESS_OK;
}

/* ---- offset update ---- */

static likeness_status lk_offset_update_shape(lk_op_call *call, lk_error *error) {
    const lk_shape three = lk_shape1(3);
    LK_TRY(lk_rule_expect(call, 1, "the gradient", &call->input[0].shape, error));
    LK_TRY(lk_rule_expect(call, 2, "the parameters", &three, error));
    lk_rule_same_shape(call, 0);
    call->output[1].shape = lk_shape1(1);
    return LIKENESS_OK;
}

const lk_rule lk_rules_guidance[LK_OP_COUNT] = {
    [LK_OP_AFFINE_WARP] = {lk_warp_shape, 1, lk_warp_gradient, NULL, 10},
    [LK_OP_AFFINE_WARP_DX] = {lk_warp_shape, 0, NULL, NULL, 10},
    [LK_OP_COSINE] = {lk_cosine_shape, 3, lk_cosine_gradient, NULL, 6},
    [LK_OP_COSINE_DX] = {lk_cosine_shape, 0, NULL, NULL, 10},
    [LK_OP_LOSS] = {lk_loss_shape, 3, lk_loss_gradient, NULL, 3},
    [LK_OP_LOSS_DX] = {lk_loss_shape, 0, NULL, NULL, 3},
    [LK_OP_CFG_COMBINE] = {lk_cfg_combine_shape, 3, lk_cfg_combine_gradient, NULL, 3},
    [LK_OP_CFG_COMBINE_DX] = {lk_cfg_combine_dx_shape, 0, NULL, NULL, 2},
    [LK_OP_FLOW_STEP] = {lk_flow_step_shape, 0xb, lk_flow_step_gradient, NULL, 3},
    [LK_OP_FLOW_STEP_DX] = {lk_flow_step_dx_shape, 0, NULL, NULL, 1},
    [LK_OP_OFFSET_UPDATE] = {lk_offset_update_shape, 0, NULL, NULL, 5},
};
