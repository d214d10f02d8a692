/* ops/rules.c - what all shape rules, gradient builders and costs share, and the join of the families. See ops/rules.h.
 */
#include "ops/rules.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const lk_rule *lk_rule_of(lk_op op) {
    static const lk_rule *const families[] = {lk_rules_linear, lk_rules_pointwise, lk_rules_movement,
                                              lk_rules_guidance};
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        if (families[i][op].shape != NULL) return &families[i][op];
    }
    return NULL; /* a test walks the list: does not happen */
}

/* ---- shape ---- */

likeness_status lk_rule_refuse(const lk_op_call *call, lk_error *error, const char *format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return lk_fail(error, LIKENESS_UNSUPPORTED, "%s: %s", lk_op_name(call->op), text);
}

likeness_status lk_rule_expect(const lk_op_call *call, int index, const char *name, const lk_shape *shape,
                               lk_error *error) {
    if (lk_shape_equal(&call->input[index].shape, shape)) return LIKENESS_OK;
    char is[96], wanted[96];
    return lk_rule_refuse(call, error, "%s is %s, wanted %s", name,
                          lk_shape_text(&call->input[index].shape, is, sizeof is),
                          lk_shape_text(shape, wanted, sizeof wanted));
}

likeness_status lk_rule_expect_rank(const lk_op_call *call, int index, const char *name, int least, int most,
                                    lk_error *error) {
    int rank = call->input[index].shape.rank;
    if (rank >= least && rank <= most) return LIKENESS_OK;
    char is[96];
    lk_shape_text(&call->input[index].shape, is, sizeof is);
    if (least == most) return lk_rule_refuse(call, error, "%s is %s, wanted rank %d", name, is, least);
    return lk_rule_refuse(call, error, "%s is %s, wanted rank %d to %d", name, is, least, most);
}

void lk_rule_same_shape(lk_op_call *call, int index) { call->output[0].shape = call->input[index].shape; }

lk_shape lk_shape_with_inner(lk_shape shape, int32_t inner) {
    int axis = lk_shape_inner_axis(&shape);
    if (axis >= 0) shape.dim[axis] = inner;
    return shape;
}

bool lk_shape_broadcast(const lk_shape *a, const lk_shape *b, lk_shape *result) {
    const lk_shape *wide = a->rank >= b->rank ? a : b, *narrow = wide == a ? b : a;
    int lead = wide->rank - narrow->rank;
    *result = *wide;
    for (int i = 0; i < narrow->rank; i++) {
        int32_t w = wide->dim[lead + i], n = narrow->dim[i];
        if (w != n && w != 1 && n != 1) return false;
        result->dim[lead + i] = w == 1 ? n : w;
    }
    return true;
}

likeness_status lk_rule_addend(const lk_op_call *call, lk_error *error) {
    int slot = lk_op_addend(call->op);
    if (!call->has_input[slot]) return LIKENESS_OK;
    return lk_rule_expect(call, slot, "the addend", &call->output[0].shape, error);
}

/* Slots below an op's least input count that may still be absent. */
static uint32_t lk_rule_optional_inputs(lk_op op) {
    return op == LK_OP_GROUP_NORM_DX || op == LK_OP_LAYER_NORM_DX ? 0x6u : 0u;
}

static int lk_rule_ids_slot(lk_op op) {
    if (op == LK_OP_GATHER) return 1;
    if (op == LK_OP_GATHER_DX) return 0;
    return -1;
}

static likeness_status lk_rule_check_inputs(const lk_op_call *call, lk_error *error) {
    int least, most, least_out, most_out;
    lk_op_arity(call->op, &least, &most, &least_out, &most_out);
    if (call->input_count < least || call->input_count > most)
        return lk_rule_refuse(call, error, "%d inputs, wanted %d to %d", (int)call->input_count, least, most);
    uint32_t optional = lk_rule_optional_inputs(call->op);
    for (int i = 0; i < call->input_count; i++) {
        if (!call->has_input[i]) {
            if (i < least && (optional >> i & 1u) == 0)
                return lk_rule_refuse(call, error, "input %d is required and absent", i);
            continue;
        }
        char text[96];
        if (!lk_shape_valid(&call->input[i].shape))
            return lk_rule_refuse(call, error, "input %d has no valid shape: %s", i,
                                  lk_shape_text(&call->input[i].shape, text, sizeof text));
        bool is_ids = i == lk_rule_ids_slot(call->op);
        if (is_ids != (call->input[i].dtype == LK_I32))
            return lk_rule_refuse(call, error, is_ids ? "input %d must hold integers" : "input %d holds integers", i);
    }
    return LIKENESS_OK;
}

static likeness_status lk_rule_finish_outputs(lk_op_call *call, lk_error *error) {
    int least, most, least_out, most_out;
    lk_op_arity(call->op, &least, &most, &least_out, &most_out);
    bool any = false;
    for (int i = 0; i < LK_MAX_OUTPUTS; i++) {
        any = any || call->has_output[i];
    }
    for (int i = 0; i < least_out && !any; i++) {
        call->has_output[i] = true;
    }
    /* The pair of outputs of these two are optional one by one; everywhere else the least outputs are required. */
    bool either = call->op == LK_OP_ATTENTION_DKV || call->op == LK_OP_CFG_COMBINE_DX;
    call->output_count = 0;
    for (int i = 0; i < LK_MAX_OUTPUTS; i++) {
        if (!call->has_output[i]) {
            if (i < least_out && !either) return lk_rule_refuse(call, error, "output %d is required", i);
            continue;
        }
        if (i >= most_out) return lk_rule_refuse(call, error, "there is no output %d", i);
        call->output_count = i + 1;
    }
    lk_dtype dtype = call->op == LK_OP_GATHER_DX ? call->input[1].dtype : call->input[0].dtype;
    for (int i = 0; i < most_out; i++) {
        call->output[i].dtype = dtype;
        call->output[i].storage = LK_STORE_ROWS;
        char text[96];
        if (call->has_output[i] && !lk_shape_valid(&call->output[i].shape))
            return lk_rule_refuse(call, error, "output %d would have the shape %s, which is empty or too large", i,
                                  lk_shape_text(&call->output[i].shape, text, sizeof text));
    }
    return LIKENESS_OK;
}

likeness_status lk_rule_run_shape(lk_op_call *call, lk_error *error) {
    if ((unsigned)call->op >= LK_OP_COUNT) return lk_fail(error, LIKENESS_INTERNAL, "op %d does not exist", call->op);
    LK_TRY(lk_rule_check_inputs(call, error));
    for (int i = 0; i < LK_MAX_OUTPUTS; i++) {
        call->output[i].shape = lk_shape0();
    }
    LK_TRY(lk_rule_of(call->op)->shape(call, error));
    return lk_rule_finish_outputs(call, error);
}

/* ---- cost ---- */

static double lk_operand_bytes(const lk_tensor *tensor) {
    double elements = (double)lk_shape_elements(&tensor->shape);
    if (tensor->storage == LK_STORE_PACKED_F16) return 2 * elements;
    if (tensor->storage == LK_STORE_PACKED_F32) return 4 * elements;
    return (double)lk_tensor_row_bytes(tensor);
}

double lk_rule_bytes(const lk_op_call *call) {
    double bytes = 0;
    for (int i = 0; i < call->input_count; i++) {
        if (call->has_input[i]) bytes += lk_operand_bytes(&call->input[i]);
    }
    for (int i = 0; i < call->output_count; i++) {
        if (call->has_output[i]) bytes += lk_operand_bytes(&call->output[i]);
    }
    return bytes;
}

lk_cost lk_rule_run_cost(const lk_op_call *call) {
    const lk_rule *rule = lk_rule_of(call->op);
    if (rule->cost != NULL) return rule->cost(call);
    int64_t elements = 0;
    for (int i = 0; i < call->input_count; i++) {
        int64_t n = call->has_input[i] ? lk_shape_elements(&call->input[i].shape) : 0;
        if (n > elements) elements = n;
    }
    for (int i = 0; i < call->output_count; i++) {
        int64_t n = call->has_output[i] ? lk_shape_elements(&call->output[i].shape) : 0;
        if (n > elements) elements = n;
    }
    return (lk_cost){(double)rule->flops_per_element * (double)elements, lk_rule_bytes(call)};
}

/* ---- gradient ---- */

likeness_status lk_rule_run_gradient(const lk_emitter *emitter, const lk_node_view *node,
                                     const lk_value upstream[LK_MAX_OUTPUTS], uint32_t wanted,
                                     lk_value grads[LK_MAX_INPUTS], lk_error *error) {
    const lk_rule *rule = lk_rule_of(node->op);
    for (int i = 0; i < LK_MAX_INPUTS; i++) {
        grads[i] = LK_NO_VALUE;
        if (i >= node->input_count || node->input[i] == LK_NO_VALUE) wanted &= ~(1u << i);
    }
    if (wanted == 0) return LIKENESS_OK;
    if ((wanted & ~rule->differentiable) != 0)
        return lk_fail(error, LIKENESS_UNSUPPORTED, "%s has no gradient for inputs with mask 0x%x (it has 0x%x)",
                       lk_op_name(node->op), (unsigned)wanted, (unsigned)rule->differentiable);
    for (int i = 1; i < node->output_count; i++) {
        if (node->output[i] != LK_NO_VALUE && upstream[i] != LK_NO_VALUE)
            return lk_fail(error, LIKENESS_UNSUPPORTED, "%s: a gradient through output %d is not supported",
                           lk_op_name(node->op), i);
    }
    if (upstream[0] == LK_NO_VALUE) return LIKENESS_OK;
    lk_gradient g = {emitter, node, upstream[0], wanted, grads, error};
    LK_TRY(rule->gradient(&g));
    for (int i = 0; i < LK_MAX_INPUTS; i++) {
        if ((wanted >> i & 1u) != 0 && grads[i] == LK_NO_VALUE)
            return lk_fail(error, LIKENESS_INTERNAL, "%s: the gradient for input %d could not be built",
                           lk_op_name(node->op), i);
    }
    return LIKENESS_OK;
}

const lk_shape *lk_gradient_shape(const lk_gradient *g, lk_value value) {
    return &g->emitter->describe(g->emitter->user, value)->shape;
}

lk_value lk_gradient_emit(const lk_gradient *g, lk_op op, const lk_attributes *attributes, const lk_value *inputs,
                          int input_count) {
    /* An input that failed before: the graph keeps that failure. */
    if (inputs[0] == LK_NO_VALUE) return LK_NO_VALUE;
    return g->emitter->emit(g->emitter->user, op, attributes, inputs, input_count, 1u, NULL);
}

lk_value lk_gradient_unary(const lk_gradient *g, lk_unary kind, float a, float b, lk_value x) {
    lk_attributes attributes = lk_attributes_zero();
    attributes.unary.kind = kind;
    attributes.unary.a = a;
    attributes.unary.b = b;
    return lk_gradient_emit(g, LK_OP_UNARY, &attributes, &x, 1);
}

lk_value lk_gradient_binary(const lk_gradient *g, lk_binary kind, lk_value a, lk_value b) {
    if (b == LK_NO_VALUE) return LK_NO_VALUE;
    lk_attributes attributes = lk_attributes_zero();
    attributes.binary.kind = kind;
    return lk_gradient_emit(g, LK_OP_BINARY, &attributes, (lk_value[]){a, b}, 2);
}

lk_value lk_gradient_reshape(const lk_gradient *g, lk_value x, const lk_shape *shape) {
    if (x == LK_NO_VALUE || lk_shape_equal(lk_gradient_shape(g, x), shape)) return x;
    lk_attributes attributes = lk_attributes_zero();
    attributes.shape.shape = *shape;
    return lk_gradient_emit(g, LK_OP_RESHAPE, &attributes, &x, 1);
}

lk_value lk_gradient_sum_to(const lk_gradient *g, lk_value x, const lk_shape *target) {
    if (x == LK_NO_VALUE) return x;
    lk_shape from = *lk_gradient_shape(g, x);
    int lead = from.rank - target->rank;
    uint32_t leading = (1u << lead) - 1u, inside = 0;
    for (int i = 0; i < target->rank; i++) {
        if (target->dim[i] == 1 && from.dim[lead + i] != 1) inside |= 1u << (lead + i);
    }
    if ((leading | inside) == 0) return x;
    bool sums = inside != 0;
    for (int i = 0; i < lead; i++) {
        sums = sums || from.dim[i] != 1;
    }
    if (sums) {
        lk_attributes attributes = lk_attributes_zero();
        attributes.reduce.kind = LK_REDUCE_SUM;
        attributes.reduce.axes = leading | inside;
        attributes.reduce.keepdims = inside != 0; /* without inner axes the reduced shape is the target already */
        x = lk_gradient_emit(g, LK_OP_REDUCE, &attributes, &x, 1);
    }
    return lk_gradient_reshape(g, x, target);
}

lk_value lk_gradient_broadcast(const lk_gradient *g, lk_value x, const lk_shape *shape, float factor) {
    lk_attributes attributes = lk_attributes_zero();
    attributes.shape.shape = *shape;
    attributes.shape.factor = factor;
    return lk_gradient_emit(g, LK_OP_BROADCAST, &attributes, &x, 1);
}
