/* tests/support/op_cases.c - the cases (see op_cases.h) and how their numbers are made. A new op, or a bug found in
 * one, gets a line here; nothing else has to change. */
#include "support/op_cases_table.h"

#include "base/half.h"
#include "base/memory.h"

#include <stdio.h>
#include <string.h>

int op_case_count(void) {
    return op_cases_linear.count + op_cases_pointwise.count + op_cases_movement.count + op_cases_spread.count;
}

const op_case *op_case_at(int index) {
    const op_case_list *const lists[] = {&op_cases_linear, &op_cases_pointwise, &op_cases_movement, &op_cases_spread};
    for (int i = 0; i < COUNT(lists); i++) {
        if (index < lists[i]->count) return &lists[i]->cases[index];
        index -= lists[i]->count;
    }
    return NULL;
}

void op_case_name(const op_case *c, char *text, size_t bytes) {
    size_t used = (size_t)snprintf(text, bytes, "%s", lk_op_name(c->op));
    for (int i = 0; i < LK_MAX_INPUTS && used < bytes; i++) {
        char shape[96];
        if (c->input[i].values == VALUES_NONE) continue;
        used +=
            (size_t)snprintf(text + used, bytes - used, " %s", lk_shape_text(&c->input[i].shape, shape, sizeof shape));
    }
    if (used < bytes) snprintf(text + used, bytes - used, ", %s", c->note);
}

/* Values where a piecewise function bends: central differences must not step over them. */
static bool op_near_kink(const op_case *c, double value) {
    if (c->op != LK_OP_UNARY) return false;
    static const double hard_swish[] = {-3, 3}, hard_sigmoid[] = {-2.5, 2.5};
    const double clamp[] = {(double)c->attributes.unary.a, (double)c->attributes.unary.b};
    const double *kinks = c->attributes.unary.kind == LK_UNARY_HARD_SWISH     ? hard_swish
                          : c->attributes.unary.kind == LK_UNARY_HARD_SIGMOID ? hard_sigmoid
                          : c->attributes.unary.kind == LK_UNARY_CLAMP        ? clamp
                                                                              : NULL;
    for (int i = 0; i < 2 && kinks != NULL; i++) {
        if (value > kinks[i] - 0.05 && value < kinks[i] + 0.05) return true;
    }
    return false;
}

static double op_draw(const op_case *c, const op_input *input, int64_t index, test_random *random) {
    const int32_t table_rows = c->input[0].shape.dim[0];
    switch (input->values) {
    case VALUES_NONE:
        return 0;
    case VALUES_NORMAL:
        return test_uniform(random, -1, 1);
    case VALUES_WIDE:
        return test_uniform(random, -4, 4);
    case VALUES_POSITIVE:
        return test_uniform(random, 0.5, 2);
    case VALUES_APART:
        return test_uniform(random, 0.2, 1.2) * (test_uniform(random, 0, 1) < 0.5 ? -1 : 1);
    case VALUES_GAIN:
        return test_uniform(random, 0.5, 1.5);
    case VALUES_WEIGHT:
        return (double)lk_f16_to_f32(lk_f32_to_f16((float)test_uniform(random, -1, 1)));
    case VALUES_WEIGHT32:
        return test_uniform(random, -1, 1);
    case VALUES_IDS:
        return (double)(int)test_uniform(random, 0, table_rows + 1) - (index % 5 == 4 ? 1 : 0);
    case VALUES_LIST:
        return input->list[index % input->list_count];
    }
    return 0;
}

/* Inputs whose gradient the central differences look at. */
static bool op_input_moves(const op_case *c, int input) {
    return (lk_op_row_of(c->op)->differentiable >> input & 1u) != 0 && c->input[input].values != VALUES_NONE;
}

int32_t op_case_build(const op_case *c, tape *t, bool between, lk_value leaves[LK_MAX_INPUTS],
                      lk_value inputs[LK_MAX_INPUTS]) {
    test_random random = {UINT64_C(20250917) + (uint64_t)c->op};
    int input_count = 0;
    for (int i = 0; i < LK_MAX_INPUTS; i++) {
        const op_input *input = &c->input[i];
        leaves[i] = inputs[i] = LK_NO_VALUE;
        if (input->values == VALUES_NONE) continue;
        input_count = i + 1;
        const bool ids = (c->op == LK_OP_GATHER && i == 1) || (c->op == LK_OP_GATHER_DX && i == 0);
        const bool computed = between && op_input_moves(c, i);
        lk_tensor tensor = {input->shape, ids ? LK_I32 : LK_F32, LK_STORE_ROWS};
        if (input->values == VALUES_WEIGHT) tensor.storage = LK_STORE_PACKED_F16;
        if (input->values == VALUES_WEIGHT32) tensor.storage = LK_STORE_PACKED_F32;
        const int64_t count = lk_shape_elements(&input->shape);
        double *data = lk_alloc((size_t)count, sizeof *data);
        if (data == NULL) return -1;
        for (int64_t k = 0; k < count; k++) {
            double value = op_draw(c, input, k, &random);
            while (input->values == VALUES_WIDE && op_near_kink(c, value)) {
                value = op_draw(c, input, k, &random);
            }
            data[k] = computed ? (value - 0.05) / 0.8 : (double)(float)value;
        }
        leaves[i] = inputs[i] = tape_leaf(t, &tensor, data);
        lk_free(data);
        if (computed) {
            lk_attributes affine = lk_attributes_zero();
            affine.unary.kind = LK_UNARY_AFFINE;
            affine.unary.a = 0.8f;
            affine.unary.b = 0.05f;
            inputs[i] = tape_emit(t, LK_OP_UNARY, &affine, &leaves[i], 1, 1, NULL);
        }
    }
    if (tape_emit(t, c->op, &c->attributes, inputs, input_count, c->want, NULL) == LK_NO_VALUE) return -1;
    return t->node_count - 1;
}

lk_value op_case_cotangent(tape *t, lk_value of, uint64_t seed) {
    const lk_tensor tensor = t->values[of].tensor;
    const int64_t count = tape_elements(t, of);
    test_random random = {seed * 7919 + 13};
    double *data = lk_alloc((size_t)count, sizeof *data);
    if (data == NULL) return LK_NO_VALUE;
    for (int64_t k = 0; k < count; k++) {
        data[k] = (double)(float)test_uniform(&random, -1, 1);
    }
    lk_value value = tape_leaf(t, &tensor, data);
    lk_free(data);
    return value;
}
