/* tests/support/op_differences.c - see op_differences.h.
 *
 * Each op stands in the middle of a small graph: its inputs are computed (0.8 leaf + 0.05), its output goes through a
 * softplus, and a random cotangent weighs the result. */
#include "support/op_differences.h"

#include "support/op_cases.h"

#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const double step = 3e-5, tolerance = 1e-6;

/* Which spoiled gradients were noticed, for each op and input that cases have. */
typedef struct noticed {
    bool has[LK_OP_COUNT][LK_MAX_INPUTS], scaled[LK_OP_COUNT][LK_MAX_INPUTS], cut[LK_OP_COUNT][LK_MAX_INPUTS];
} noticed;

/* sum(cotangent * z) after running the first `nodes` nodes again. */
static double weighted_sum(tape *t, int32_t nodes, lk_value z, lk_value cotangent) {
    if (!tape_rerun(t, nodes)) return NAN;
    double sum = 0;
    for (int64_t i = 0; i < tape_elements(t, z); i++) {
        sum += t->values[z].data[i] * t->values[cotangent].data[i];
    }
    return sum;
}

/* Error of `gradient` with respect to `leaf`; looks at every entry of the leaf, or at 40 of them when the forward is
 * dear. scaled, cut: whether the same numbers times 1.01, or with zeros in the last row, would have been noticed. */
static double compare_leaf(tape *t, int32_t nodes, lk_value z, lk_value cotangent, lk_value leaf, lk_value gradient,
                           double flops, bool *scaled, bool *cut) {
    const lk_shape *shape = &t->values[leaf].tensor.shape;
    const int64_t count = tape_elements(t, leaf), row = shape->rank > 0 ? shape->dim[shape->rank - 1] : 1;
    const bool all = flops * (double)count < 3e7;
    const int64_t looks = all ? count : 40;
    double *found = lk_alloc((size_t)looks, sizeof *found), *truth = lk_alloc((size_t)looks, sizeof *truth);
    double *spoiled = lk_alloc((size_t)looks, sizeof *spoiled);
    double error = INFINITY;
    test_random random = {99};
    if (found != NULL && truth != NULL && spoiled != NULL) {
        for (int64_t k = 0; k < looks; k++) {
            const int64_t i = all ? k : (int64_t)test_uniform(&random, 0, (double)count);
            double *entry = &t->values[leaf].data[i];
            const double kept = *entry;
            *entry = kept + step;
            const double above = weighted_sum(t, nodes, z, cotangent);
            *entry = kept - step;
            const double below = weighted_sum(t, nodes, z, cotangent);
            *entry = kept;
            truth[k] = (above - below) / (2 * step);
            found[k] = gradient == LK_NO_VALUE ? 0 : t->values[gradient].data[i];
            spoiled[k] = i >= count - row ? 0 : found[k];
        }
        error = test_error(found, truth, looks);
        *cut = *cut || test_error(spoiled, truth, looks) > tolerance;
        for (int64_t k = 0; k < looks; k++) {
            spoiled[k] = 1.01 * found[k];
        }
        *scaled = *scaled || test_error(spoiled, truth, looks) > tolerance;
        tape_rerun(t, nodes);
    }
    lk_free(found);
    lk_free(truth);
    lk_free(spoiled);
    return error;
}

static bool check_case(const op_case *c, noticed *seen) {
    char name[512];
    op_case_name(c, name, sizeof name);
    tape t;
    tape_init(&t, false);
    lk_value leaves[LK_MAX_INPUTS], inputs[LK_MAX_INPUTS], wrt[LK_MAX_INPUTS], gradients[LK_MAX_INPUTS];
    const int32_t node = op_case_build(c, &t, true, leaves, inputs);
    bool ok = node >= 0;
    lk_attributes softplus = lk_attributes_zero();
    softplus.unary.kind = LK_UNARY_SOFTPLUS;
    lk_value z = LK_NO_VALUE, cotangent = LK_NO_VALUE;
    if (ok) z = tape_emit(&t, LK_OP_UNARY, &softplus, &t.nodes[node].output[0], 1, 1, NULL);
    if (z != LK_NO_VALUE) cotangent = op_case_cotangent(&t, z, 5);
    ok = ok && cotangent != LK_NO_VALUE;
    const int32_t nodes = t.node_count;
    int count = 0, slot[LK_MAX_INPUTS];
    for (int i = 0; i < LK_MAX_INPUTS && ok; i++) {
        if (leaves[i] == inputs[i]) continue;
        slot[count] = i;
        wrt[count++] = leaves[i];
    }
    ok = ok && tape_gradient(&t, z, cotangent, wrt, count, gradients);
    const double flops = ok ? 100 + lk_op_row_of(c->op)->cost(&t.nodes[node].call).flops : 0;
    for (int i = 0; i < count && ok; i++) {
        bool *scaled = &seen->scaled[c->op][slot[i]], *cut = &seen->cut[c->op][slot[i]];
        seen->has[c->op][slot[i]] = true;
        const double error = compare_leaf(&t, nodes, z, cotangent, wrt[i], gradients[i], flops, scaled, cut);
        if (error <= tolerance) continue;
        printf("FAILED %s: gradient %d is off by %.3g\n", name, i, error);
        tape_free(&t);
        return false;
    }
    if (!ok) printf("FAILED %s: %s\n", name, t.error.message);
    tape_free(&t);
    return ok;
}

/* Asked for a subset of the gradients, a builder gives the same numbers and nothing that was not asked for. */
static bool check_subsets(const op_case *c) {
    char name[512];
    op_case_name(c, name, sizeof name);
    tape t;
    tape_init(&t, false);
    lk_value leaves[LK_MAX_INPUTS], inputs[LK_MAX_INPUTS], full[LK_MAX_INPUTS];
    const lk_op_row *row = lk_op_row_of(c->op);
    const int32_t node = op_case_build(c, &t, false, leaves, inputs);
    bool ok = node >= 0;
    uint32_t all = 0;
    for (int i = 0; i < LK_MAX_INPUTS && ok; i++) {
        if (inputs[i] != LK_NO_VALUE) all |= row->differentiable & 1u << i;
    }
    lk_value upstream[LK_MAX_OUTPUTS] = {LK_NO_VALUE, LK_NO_VALUE, LK_NO_VALUE, LK_NO_VALUE};
    if (ok) upstream[0] = op_case_cotangent(&t, t.nodes[node].output[0], 6);
    int32_t full_nodes = 0;
    for (uint32_t wanted = all; wanted != 0 && ok; wanted = (wanted - 1) & all) { /* all first, then every subset */
        const tape_node kept = t.nodes[node];
        lk_node_view view = tape_view(&t, node);
        view.attributes = &kept.call.attributes;
        lk_value grads[LK_MAX_INPUTS];
        const lk_emitter emitter = tape_emitter(&t);
        const int32_t before = t.node_count;
        lk_error error = LK_ERROR_INIT;
        if (row->gradient(&emitter, &view, upstream, wanted, grads, &error) != LIKENESS_OK) {
            printf("FAILED %s: subset 0x%x: %s %s\n", name, (unsigned)wanted, error.message, t.error.message);
            ok = false;
            break;
        }
        if (wanted == all) {
            full_nodes = t.node_count - before;
            memcpy(full, grads, sizeof full);
        }
        ok = t.node_count - before <= full_nodes;
        for (int i = 0; i < LK_MAX_INPUTS && ok; i++) {
            const bool is_wanted = (wanted >> i & 1u) != 0;
            ok = is_wanted == (grads[i] != LK_NO_VALUE);
            if (!ok || !is_wanted) continue;
            ok = lk_shape_equal(&t.values[grads[i]].tensor.shape, &t.values[inputs[i]].tensor.shape) &&
                 memcmp(t.values[grads[i]].data, t.values[full[i]].data,
                        (size_t)tape_elements(&t, grads[i]) * sizeof(double)) == 0;
        }
        if (!ok) printf("FAILED %s: subset 0x%x differs from the full gradient\n", name, (unsigned)wanted);
    }
    if (node < 0) printf("FAILED %s: %s\n", name, t.error.message);
    tape_free(&t);
    return ok;
}

/* Marks the ops of a case and of its gradient. */
static bool mark_reached(const op_case *c, bool reached[LK_OP_COUNT]) {
    tape t;
    tape_init(&t, false);
    lk_value leaves[LK_MAX_INPUTS], inputs[LK_MAX_INPUTS], wrt[LK_MAX_INPUTS], gradients[LK_MAX_INPUTS];
    bool ok = op_case_build(c, &t, true, leaves, inputs) >= 0;
    int count = 0;
    for (int k = 0; k < LK_MAX_INPUTS && ok; k++) {
        if (leaves[k] != inputs[k]) wrt[count++] = leaves[k];
    }
    if (ok && count > 0 && (c->flags & CASE_NO_GRADIENT) == 0) {
        const lk_value y = t.nodes[t.node_count - 1].output[0];
        ok = tape_gradient(&t, y, op_case_cotangent(&t, y, 1), wrt, count, gradients);
    }
    for (int k = 0; k < t.node_count; k++) {
        reached[t.nodes[k].call.op] = true;
    }
    if (!ok) printf("FAILED %s: %s\n", lk_op_name(c->op), t.error.message);
    tape_free(&t);
    return ok;
}

int op_differences(const char *only) {
    static noticed seen;
    bool reached[LK_OP_COUNT] = {false};
    int failed = 0, looked = 0, spoiled = 0, survivors = 0;
    memset(&seen, 0, sizeof seen);
    for (int i = 0; i < op_case_count(); i++) {
        const op_case *c = op_case_at(i);
        if ((c->flags & CASE_DEVICE_ONLY) != 0 || (only != NULL && strcmp(only, lk_op_name(c->op)) != 0)) continue;
        if (!mark_reached(c, reached)) failed++;
        if ((c->flags & CASE_NO_GRADIENT) != 0) continue;
        looked++;
        if (!check_case(c, &seen) || !check_subsets(c)) failed++;
    }
    for (int op = 0; op < LK_OP_COUNT; op++) {
        const uint32_t differentiable = lk_op_row_of((lk_op)op)->differentiable;
        if (only != NULL && strcmp(only, lk_op_name((lk_op)op)) != 0) continue;
        if (!reached[op] && only == NULL) {
            printf("FAILED no case reaches %s\n", lk_op_name((lk_op)op));
            failed++;
        }
        for (int i = 0; i < LK_MAX_INPUTS; i++) {
            if ((differentiable >> i & 1u) == 0) continue;
            if (!seen.has[op][i]) printf("FAILED no case differentiates %s by input %d\n", lk_op_name((lk_op)op), i);
            spoiled += 2;
            if (!seen.scaled[op][i]) printf("SURVIVOR gradient %d of %s, times 1.01\n", i, lk_op_name((lk_op)op));
            if (!seen.cut[op][i]) printf("SURVIVOR gradient %d of %s, last row zeroed\n", i, lk_op_name((lk_op)op));
            survivors += (seen.scaled[op][i] ? 0 : 1) + (seen.cut[op][i] ? 0 : 1);
        }
    }
    printf("grad: %d cases against central differences, %d failed; %d gradients spoiled, %d survivors\n", looked,
           failed, spoiled, survivors);
    return failed == 0 && survivors == 0 && looked > 0 ? 0 : 1;
}
