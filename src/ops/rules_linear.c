/* ops/rules_linear.c - rules of matmul, convolution, batched matmul and attention: what does most of the arithmetic. */
#include "ops/rules.h"

#include <math.h>

/* ---- matmul ---- */

/* [O,I], or a 1x1 convolution's [O,I,1,1]. */
static likeness_status lk_matmul_weight(const lk_op_call *call, lk_error *error, int32_t *outputs, int32_t *inputs) {
    const lk_shape *w = &call->input[1].shape;
    char text[96];
    if (w->rank != 2 && !(w->rank == 4 && w->dim[2] == 1 && w->dim[3] == 1))
        return lk_rule_refuse(call, error, "the weight is %s, wanted [O,I]", lk_shape_text(w, text, sizeof text));
    *outputs = w->dim[0];
    *inputs = w->dim[1];
    return LIKENESS_OK;
}

/* bias [O] or [N,O], residual of y's shape: the same for matmul and convolution. */
static likeness_status lk_linear_epilogue(const lk_op_call *call, int32_t outputs, const lk_shape *y, lk_error *error) {
    if (call->has_input[2]) {
        lk_shape shared = lk_shape1(outputs), own = lk_shape2(y->rank > 0 ? y->dim[0] : 1, outputs);
        bool per_sample = call->input[2].shape.rank == 2 && y->rank >= 2;
        LK_TRY(lk_rule_expect(call, 2, "the bias", per_sample ? &own : &shared, error));
    }
    if (call->has_input[3]) LK_TRY(lk_rule_expect(call, 3, "the residual", y, error));
    return LIKENESS_OK;
}

static likeness_status lk_matmul_shape(lk_op_call *call, lk_error *error) {
    int32_t outputs = 0, inputs = 0;
    LK_TRY(lk_matmul_weight(call, error, &outputs, &inputs));
    LK_TRY(lk_rule_expect_rank(call, 0, "x", 1, LK_MAX_RANK, error));
    const lk_shape *x = &call->input[0].shape;
    if (lk_shape_inner(x) != inputs) {
        char is[96], w[96];
        return lk_rule_refuse(call, error, "x %s does not fit the weight %s", lk_shape_text(x, is, sizeof is),
                              lk_shape_text(&call->input[1].shape, w, sizeof w));
    }
    call->output[0].shape = lk_shape_with_inner(*x, outputs);
    return lk_linear_epilogue(call, outputs, &call->output[0].shape, error);
}

static likeness_status lk_matmul_dx_shape(lk_op_call *call, lk_error *error) {
    int32_t outputs = 0, inputs = 0;
    LK_TRY(lk_matmul_weight(call, error, &outputs, &inputs));
    LK_TRY(lk_rule_expect_rank(call, 0, "dy", 1, LK_MAX_RANK, error));
    const lk_shape *dy = &call->input[0].shape;
    if (lk_shape_inner(dy) != outputs) {
        char is[96], w[96];
        return lk_rule_refuse(call, error, "dy %s does not fit the weight %s", lk_shape_text(dy, is, sizeof is),
                              lk_shape_text(&call->input[1].shape, w, sizeof w));
    }
    call->output[0].shape = lk_shape_with_inner(*dy, inputs);
    return lk_rule_addend(call, error);
}

static lk_cost lk_matmul_cost(const lk_op_call *call) {
    const lk_shape *w = &call->input[1].shape;
    double rows = (double)lk_shape_rows(&call->input[0].shape);
    return (lk_cost){2 * rows * w->dim[0] * w->dim[1], lk_rule_bytes(call)};
}

/* dy summed over the positions that share a bias. */
static lk_value lk_bias_gradient(const lk_gradient *g) {
    const lk_shape *y = lk_gradient_shape(g, g->dy), *bias = lk_gradient_shape(g, g->node->input[2]);
    lk_attributes attributes = lk_attributes_zero();
    attributes.reduce.kind = LK_REDUCE_SUM;
    for (int i = bias->rank == 2 ? 1 : 0; i < y->rank; i++) {
        if (i != lk_shape_inner_axis(y)) attributes.reduce.axes |= 1u << i;
    }
    if (attributes.reduce.axes == 0) return g->dy;
    return lk_gradient_emit(g, LK_OP_REDUCE, &attributes, &g->dy, 1);
}

static likeness_status lk_matmul_gradient(const lk_gradient *g) {
    if (lk_gradient_wants(g, 0))
        g->grads[0] = lk_gradient_emit(g, LK_OP_MATMUL_DX, NULL, (lk_value[]){g->dy, g->node->input[1]}, 2);
    if (lk_gradient_wants(g, 2)) g->grads[2] = lk_bias_gradient(g);
    if (lk_gradient_wants(g, 3)) g->grads[3] = g->dy;
    return LIKENESS_OK;
}

/* ---- convolution ---- */

/* Output extent along one axis, below 1 when the kernel does not fit. */
static int64_t lk_conv_extent(const lk_attributes *a, int axis, int64_t input) {
    int64_t span = (int64_t)a->conv.dilation[axis] * (a->conv.kernel[axis] - 1) + 1;
    int64_t room = input + a->conv.padding[axis] + a->conv.padding[axis + 2] - span;
    return room < 0 ? 0 : room / a->conv.stride[axis] + 1;
}

static likeness_status lk_conv_check(const lk_op_call *call, lk_error *error) {
    const lk_attributes *a = &call->attributes;
    LK_TRY(lk_rule_expect_rank(call, 0, "the input", 4, 4, error));
    LK_TRY(lk_rule_expect_rank(call, 1, "the weight", 4, 4, error));
    const lk_shape *w = &call->input[1].shape;
    for (int i = 0; i < 2; i++) {
        if (a->conv.stride[i] < 1 || a->conv.dilation[i] < 1)
            return lk_rule_refuse(call, error, "stride and dilation must be at least 1");
        if (a->conv.kernel[i] != w->dim[2 + i])
            return lk_rule_refuse(call, error, "the kernel attribute says %dx%d, the weight %dx%d",
                                  (int)a->conv.kernel[0], (int)a->conv.kernel[1], (int)w->dim[2], (int)w->dim[3]);
    }
    for (int i = 0; i < 4; i++) {
        if (a->conv.padding[i] < 0) return lk_rule_refuse(call, error, "negative padding");
    }
    if (a->conv.groups < 1 || w->dim[0] % a->conv.groups != 0)
        return lk_rule_refuse(call, error, "%d groups do not divide %d output channels", (int)a->conv.groups,
                              (int)w->dim[0]);
    return LIKENESS_OK;
}

static likeness_status lk_conv2d_shape(lk_op_call *call, lk_error *error) {
    LK_TRY(lk_conv_check(call, error));
    const lk_attributes *a = &call->attributes;
    const lk_shape *x = &call->input[0].shape, *w = &call->input[1].shape;
    int64_t height = lk_conv_extent(a, 0, x->dim[2]), width = lk_conv_extent(a, 1, x->dim[3]);
    if ((int64_t)w->dim[1] * a->conv.groups != x->dim[1] || height < 1 || width < 1) {
        char is[96], weight[96];
        return lk_rule_refuse(call, error, "x %s does not fit the weight %s with %d groups",
                              lk_shape_text(x, is, sizeof is), lk_shape_text(w, weight, sizeof weight),
                              (int)a->conv.groups);
    }
    call->output[0].shape = lk_shape4(x->dim[0], w->dim[0], (int32_t)height, (int32_t)width);
    return lk_linear_epilogue(call, w->dim[0], &call->output[0].shape, error);
}

static likeness_status lk_conv2d_dx_shape(lk_op_call *call, lk_error *error) {
    LK_TRY(lk_conv_check(call, error));
    const lk_attributes *a = &call->attributes;
    const lk_shape *dy = &call->input[0].shape, *w = &call->input[1].shape;
    const int32_t *size = a->conv.input_size;
    if (dy->dim[1] != w->dim[0] || size[0] < 1 || size[1] < 1 || lk_conv_extent(a, 0, size[0]) != dy->dim[2] ||
        lk_conv_extent(a, 1, size[1]) != dy->dim[3]) {
        char is[96], weight[96];
        return lk_rule_refuse(call, error, "dy %s does not fit the weight %s and an input of %dx%d",
                              lk_shape_text(dy, is, sizeof is), lk_shape_text(w, weight, sizeof weight), (int)size[0],
                              (int)size[1]);
    }
    call->output[0].shape = lk_shape4(dy->dim[0], w->dim[1] * a->conv.groups, size[0], size[1]);
    return lk_rule_addend(call, error);
}

/* Input 0 is x or dy, whichever lies on the output side has the positions that each weight meets. */
static lk_cost lk_conv2d_cost(const lk_op_call *call) {
    const lk_shape *y = call->op == LK_OP_CONV2D ? &call->output[0].shape : &call->input[0].shape;
    const lk_shape *w = &call->input[1].shape;
    double taps = (double)w->dim[1] * w->dim[2] * w->dim[3];
    return (lk_cost){2 * (double)lk_shape_elements(y) * taps, lk_rule_bytes(call)};
}

static likeness_status lk_conv2d_gradient(const lk_gradient *g) {
    if (lk_gradient_wants(g, 0)) {
        const lk_shape *x = lk_gradient_shape(g, g->node->input[0]);
        lk_attributes attributes = *g->node->attributes;
        attributes.conv.input_size[0] = x->dim[2];
        attributes.conv.input_size[1] = x->dim[3];
        g->grads[0] = lk_gradient_emit(g, LK_OP_CONV2D_DX, &attributes, (lk_value[]){g->dy, g->node->input[1]}, 2);
    }
    if (lk_gradient_wants(g, 2)) g->grads[2] = lk_bias_gradient(g);
    if (lk_gradient_wants(g, 3)) g->grads[3] = g->dy;
    return LIKENESS_OK;
}

/* A transposed convolution: its adjoint is the convolution. */
static likeness_status lk_conv2d_dx_gradient(const lk_gradient *g) {
    if (lk_gradient_wants(g, 0))
        g->grads[0] = lk_gradient_emit(g, LK_OP_CONV2D, g->node->attributes, (lk_value[]){g->dy, g->node->input[1]}, 2);
    if (lk_gradient_wants(g, 2)) g->grads[2] = g->dy;
    return LIKENESS_OK;
}

/* ---- batched matmul ---- */

static likeness_status lk_batch_matmul_shape(lk_op_call *call, lk_error *error) {
    LK_TRY(lk_rule_expect_rank(call, 0, "a", 3, 3, error));
    LK_TRY(lk_rule_expect_rank(call, 1, "b", 3, 3, error));
    const lk_shape *a = &call->input[0].shape, *b = &call->input[1].shape;
    const int turn_a = call->attributes.product.turn_a != 0, turn_b = call->attributes.product.turn_b != 0;
    if (a->dim[0] != b->dim[0] || a->dim[2 - turn_a] != b->dim[1 + turn_b]) {
        char is[96], other[96];
        return lk_rule_refuse(call, error, "a %s%s does not fit b %s%s", lk_shape_text(a, is, sizeof is),
                              turn_a ? " turned" : "", lk_shape_text(b, other, sizeof other), turn_b ? " turned" : "");
    }
    call->output[0].shape = lk_shape3(a->dim[0], a->dim[1 + turn_a], b->dim[2 - turn_b]);
    return LIKENESS_OK;
}

static lk_cost lk_batch_matmul_cost(const lk_op_call *call) {
    double depth = call->input[0].shape.dim[call->attributes.product.turn_a != 0 ? 1 : 2];
    return (lk_cost){2 * depth * (double)lk_shape_elements(&call->output[0].shape), lk_rule_bytes(call)};
}

/* With y = A B: dA = dy B^T, dB = A^T dy; a turned operand wants its gradient turned. */
static likeness_status lk_batch_matmul_gradient(const lk_gradient *g) {
    const lk_value a = g->node->input[0], b = g->node->input[1];
    const bool turn_a = g->node->attributes->product.turn_a != 0, turn_b = g->node->attributes->product.turn_b != 0;
    lk_attributes attributes = lk_attributes_zero();
    if (lk_gradient_wants(g, 0)) {
        attributes.product.turn_a = turn_a && turn_b;
        attributes.product.turn_b = turn_a || !turn_b;
        g->grads[0] = lk_gradient_emit(g, LK_OP_BATCH_MATMUL, &attributes,
                                       turn_a ? (lk_value[]){b, g->dy} : (lk_value[]){g->dy, b}, 2);
    }
    if (lk_gradient_wants(g, 1)) {
        attributes.product.turn_a = turn_b || !turn_a;
        attributes.product.turn_b = turn_b && turn_a;
        g->grads[1] = lk_gradient_emit(g, LK_OP_BATCH_MATMUL, &attributes,
                                       turn_b ? (lk_value[]){g->dy, a} : (lk_value[]){a, g->dy}, 2);
    }
    return LIKENESS_OK;
}

/* ---- attention ---- */

/* q, k, v fit each other; bias_slot and mask_slot fit them. */
static likeness_status lk_attention_check(const lk_op_call *call, int bias_slot, int mask_slot, lk_error *error) {
    LK_TRY(lk_rule_expect_rank(call, 0, "q", 3, 3, error));
    LK_TRY(lk_rule_expect_rank(call, 1, "k", 3, 3, error));
    const lk_shape *q = &call->input[0].shape, *k = &call->input[1].shape;
    int32_t heads = call->attributes.attention.heads;
    float scale = call->attributes.attention.scale;
    char q_text[96], k_text[96];
    lk_shape_text(q, q_text, sizeof q_text);
    lk_shape_text(k, k_text, sizeof k_text);
    if (q->dim[0] != k->dim[0] || q->dim[2] != k->dim[2])
        return lk_rule_refuse(call, error, "q %s does not fit k %s", q_text, k_text);
    LK_TRY(lk_rule_expect(call, 2, "v", k, error));
    if (heads < 1 || q->dim[2] % heads != 0)
        return lk_rule_refuse(call, error, "%d heads do not divide q %s", (int)heads, q_text);
    if (!(scale != 0) || !isfinite(scale)) /* the builder puts 1/sqrt(d) in place of 0 */
        return lk_rule_refuse(call, error, "the scale %g must be finite and not 0", (double)scale);
    lk_shape bias = lk_shape2(k->dim[0], k->dim[1]), mask = lk_shape2(q->dim[1], k->dim[1]);
    if (call->has_input[bias_slot]) LK_TRY(lk_rule_expect(call, bias_slot, "the key bias", &bias, error));
    if (call->has_input[mask_slot]) LK_TRY(lk_rule_expect(call, mask_slot, "the mask", &mask, error));
    return LIKENESS_OK;
}

static likeness_status lk_attention_shape(lk_op_call *call, lk_error *error) {
    LK_TRY(lk_attention_check(call, 3, 4, error));
    const lk_shape *q = &call->input[0].shape, *k = &call->input[1].shape;
    int32_t heads = call->attributes.attention.heads, columns = call->attributes.attention.extra_columns;
    call->output[0].shape = *q;
    call->output[1].shape = lk_shape3(q->dim[0], q->dim[1], heads);
    call->output[2].shape = lk_shape3(q->dim[0], q->dim[1], heads * columns);
    if ((columns != 0) != call->has_input[5] || columns < 0)
        return lk_rule_refuse(call, error, "%d extra columns, but the input for them is %s", (int)columns,
                              call->has_input[5] ? "there" : "absent");
    if (call->has_output[2] && columns == 0)
        return lk_rule_refuse(call, error, "the output of extra columns is wanted, but there are none");
    lk_shape extra = lk_shape3(k->dim[0], k->dim[1], columns);
    if (columns != 0) LK_TRY(lk_rule_expect(call, 5, "the extra columns", &extra, error));
    return LIKENESS_OK;
}

static likeness_status lk_attention_backward_check(const lk_op_call *call, lk_error *error) {
    LK_TRY(lk_attention_check(call, 6, 7, error));
    const lk_shape *q = &call->input[0].shape;
    lk_shape lse = lk_shape3(q->dim[0], q->dim[1], call->attributes.attention.heads);
    LK_TRY(lk_rule_expect(call, 3, "o", q, error));
    LK_TRY(lk_rule_expect(call, 4, "the log-sum-exp", &lse, error));
    return lk_rule_expect(call, 5, "do", q, error);
}

static likeness_status lk_attention_dq_shape(lk_op_call *call, lk_error *error) {
    LK_TRY(lk_attention_backward_check(call, error));
    lk_rule_same_shape(call, 0);
    return LIKENESS_OK;
}

static likeness_status lk_attention_dkv_shape(lk_op_call *call, lk_error *error) {
    LK_TRY(lk_attention_backward_check(call, error));
    call->output[0].shape = call->input[1].shape;
    call->output[1].shape = call->input[1].shape;
    return LIKENESS_OK;
}

static lk_cost lk_attention_cost(const lk_op_call *call) {
    const lk_shape *q = &call->input[0].shape, *k = &call->input[1].shape;
    double pairs = (double)q->dim[0] * q->dim[1] * k->dim[1], products = 0; /* matrix products of that size */
    switch (call->op) {
    case LK_OP_ATTENTION:
        products = 2;
        break; /* q k, p v */
    case LK_OP_ATTENTION_DQ:
        products = 3;
        break; /* q k, do v, ds k */
    default:   /* q k and p do; for dk also do v and ds q */
        products = call->has_output[0] ? 3 : 1;
        products += call->has_output[1] ? 1 : 0;
        break;
    }
    double flops = 2 * pairs * q->dim[2] * products;
    if (call->op == LK_OP_ATTENTION)
        flops += 2 * pairs * call->attributes.attention.heads * call->attributes.attention.extra_columns;
    return (lk_cost){flops, lk_rule_bytes(call)};
}

static likeness_status lk_attention_gradient(const lk_gradient *g) {
    const lk_node_view *node = g->node;
    const lk_value *in = node->input;
    lk_value key_bias = node->input_count > 3 ? in[3] : LK_NO_VALUE;
    lk_value mask = node->input_count > 4 ? in[4] : LK_NO_VALUE;
    lk_value o = node->output[0], lse = node->output_count > 1 ? node->output[1] : LK_NO_VALUE;
    lk_attributes attributes = *node->attributes;
    attributes.attention.extra_columns = 0;
    if (lse == LK_NO_VALUE) {
        /* The forward call kept no log-sum-exp: run it again. Graph builders ask for it, so that this does not happen
         * where speed counts. */
        lk_value inputs[5] = {in[0], in[1], in[2], key_bias, mask}, outputs[LK_MAX_OUTPUTS];
        int count = mask != LK_NO_VALUE ? 5 : key_bias != LK_NO_VALUE ? 4 : 3;
        if (g->emitter->emit(g->emitter->user, LK_OP_ATTENTION, &attributes, inputs, count, 3u, outputs) == LK_NO_VALUE)
            return LIKENESS_OK; /* reported as a gradient that could not be built */
        o = outputs[0];
        lse = outputs[1];
    }
    lk_value inputs[8] = {in[0], in[1], in[2], o, lse, g->dy, key_bias, mask};
    int count = mask != LK_NO_VALUE ? 8 : key_bias != LK_NO_VALUE ? 7 : 6;
    if (lk_gradient_wants(g, 0)) g->grads[0] = lk_gradient_emit(g, LK_OP_ATTENTION_DQ, &attributes, inputs, count);
    uint32_t pair = g->wanted >> 1 & 3u;
    if (pair != 0) {
        lk_value outputs[LK_MAX_OUTPUTS] = {LK_NO_VALUE, LK_NO_VALUE, LK_NO_VALUE, LK_NO_VALUE};
        g->emitter->emit(g->emitter->user, LK_OP_ATTENTION_DKV, &attributes, inputs, count, pair, outputs);
        if ((pair & 1u) != 0) g->grads[1] = outputs[0];
        if ((pair & 2u) != 0) g->grads[2] = outputs[1];
    }
    return LIKENESS_OK;
}

const lk_rule lk_rules_linear[LK_OP_COUNT] = {
    [LK_OP_MATMUL] = {lk_matmul_shape, 0xd, lk_matmul_gradient, lk_matmul_cost, 0},
    [LK_OP_MATMUL_DX] = {lk_matmul_dx_shape, 0, NULL, lk_matmul_cost, 0},
    [LK_OP_CONV2D] = {lk_conv2d_shape, 0xd, lk_conv2d_gradient, lk_conv2d_cost, 0},
    [LK_OP_CONV2D_DX] = {lk_conv2d_dx_shape, 0x5, lk_conv2d_dx_gradient, lk_conv2d_cost, 0},
    [LK_OP_BATCH_MATMUL] = {lk_batch_matmul_shape, 0x3, lk_batch_matmul_gradient, lk_batch_matmul_cost, 0},
    [LK_OP_ATTENTION] = {lk_attention_shape, 0x7, lk_attention_gradient, lk_attention_cost, 0},
    [LK_OP_ATTENTION_DQ] = {lk_attention_dq_shape, 0, NULL, lk_attention_cost, 0},
    [LK_OP_ATTENTION_DKV] = {lk_attention_dkv_shape, 0, NULL, lk_attention_cost, 0},
};
