/* tests/op/test_ops.c - the op-test program: every shader against the C reference.
 *
 *     test_ops [check | grad | perf | support | mutate] [--device N|NAME] [--op NAME] [--truth] [-v]
 *
 *   check    (default) every case of op_cases, every variant, forward; then some with 7 workgroups an axis at most
 *   grad     the nodes that the gradient builders append for every case, every subset where outputs are optional
 *   perf     GFLOP/s and GB/s on shapes of image models
 *   support  which op runs in which variants on this device
 *   mutate   spoils each backward op in turn and expects `grad` to notice
 *
 * Exit code 0, 1 when something failed, 77 when there is no Vulkan device. */
#include "support/op_cases.h"
#include "support/op_device.h"

#include "base/time.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct counts {
    int runs, failed, missing, wide; /* missing: no shader; wide: more than 65,535 workgroups in a command */
    double worst;
    bool no_shader[LK_OP_COUNT];
} counts;

typedef struct settings {
    const char *mode, *device, *op;
    bool truth, verbose;
} settings;

static bool is_chosen(const settings *s, lk_op op) { return s->op == NULL || strcmp(s->op, lk_op_name(op)) == 0; }

/* One node in every variant. quiet: failures are expected and only counted. */
static void run_node(op_device *d, const settings *s, const tape *t, const tape_node *node, bool odd, bool absolute,
                     bool quiet, const char *name, counts *c) {
    if (!is_chosen(s, node->call.op)) return;
    const int32_t variants = lk_op_row_of(node->call.op)->dispatch != NULL ? op_device_variants(d, &node->call) : 1;
    for (int32_t v = 1; v <= variants; v++) {
        const op_options options = {
            .odd = odd, .variant = variants > 1 ? v : 0, .truth = s->truth, .absolute = absolute};
        op_outcome outcome;
        const double start = lk_time_seconds();
        op_device_run(d, t, node, &options, &outcome);
        c->runs++;
        if (!outcome.has_shader) {
            c->missing++;
            c->no_shader[node->call.op] = true;
            return;
        }
        if (outcome.groups > 65535) c->wide++;
        if (outcome.error > c->worst) c->worst = outcome.error;
        if (s->verbose)
            printf("%-15s variant %d  error %.2e  %6.1f ms  %s\n", lk_op_name(node->call.op), (int)v, outcome.error,
                   1e3 * (lk_time_seconds() - start), name);
        if (outcome.fine) continue;
        c->failed++;
        if (!quiet)
            printf("FAILED %s (variant %d of %d%s) in %s\n%s", lk_op_name(node->call.op), (int)v, (int)variants,
                   odd ? ", odd offset" : "", name, outcome.message);
        fflush(stdout);
    }
}

static void check_case(op_device *d, const settings *s, const op_case *k, bool odd, counts *c) {
    char name[512];
    op_case_name(k, name, sizeof name);
    if (!is_chosen(s, k->op)) return;
    tape t;
    tape_init(&t, true);
    lk_value leaves[LK_MAX_INPUTS], inputs[LK_MAX_INPUTS];
    const int32_t node = op_case_build(k, &t, false, leaves, inputs);
    if (node < 0) {
        printf("FAILED %s: %s\n", name, t.error.message);
        c->failed++;
    } else {
        run_node(d, s, &t, &t.nodes[node], odd, false, false, name, c);
    }
    tape_free(&t);
}

/* Appends the gradient for a subset of inputs and runs the new nodes. only: LK_OP_COUNT, or look at this op alone. */
static void grad_subset(op_device *d, const settings *s, tape *t, int32_t node, uint32_t wanted, lk_value cotangent,
                        lk_op only, bool odd, bool cancels, const char *name, counts *c) {
    const tape_node kept = t->nodes[node];
    lk_node_view view = tape_view(t, node);
    view.attributes = &kept.call.attributes;
    const lk_value upstream[LK_MAX_OUTPUTS] = {cotangent, LK_NO_VALUE, LK_NO_VALUE, LK_NO_VALUE};
    lk_value grads[LK_MAX_INPUTS];
    const lk_emitter emitter = tape_emitter(t);
    const int32_t first = t->node_count;
    lk_error error = LK_ERROR_INIT;
    if (lk_op_row_of(kept.call.op)->gradient(&emitter, &view, upstream, wanted, grads, &error) != LIKENESS_OK) {
        printf("FAILED %s: %s %s\n", name, error.message, t->error.message);
        c->failed++;
        return;
    }
    for (int32_t i = first; i < t->node_count; i++) {
        if (only == LK_OP_COUNT || only == t->nodes[i].call.op)
            run_node(d, s, t, &t->nodes[i], odd, cancels, only != LK_OP_COUNT, name, c);
    }
}

static void grad_case(op_device *d, const settings *s, const op_case *k, bool odd, lk_op only, counts *c) {
    const uint32_t differentiable = lk_op_row_of(k->op)->differentiable;
    const bool cancels = (k->flags & CASE_CANCELS) != 0;
    uint32_t wanted = 0;
    for (int i = 0; i < LK_MAX_INPUTS; i++) {
        if (k->input[i].values != VALUES_NONE) wanted |= differentiable & 1u << i;
    }
    if (wanted == 0 || (k->flags & CASE_NO_GRADIENT) != 0) return;
    char name[512];
    op_case_name(k, name, sizeof name);
    tape t;
    tape_init(&t, true);
    lk_value leaves[LK_MAX_INPUTS], inputs[LK_MAX_INPUTS];
    const int32_t node = op_case_build(k, &t, false, leaves, inputs);
    const lk_value dy = node < 0 ? LK_NO_VALUE : op_case_cotangent(&t, t.nodes[node].output[0], 3);
    if (dy == LK_NO_VALUE) {
        printf("FAILED %s: %s\n", name, t.error.message);
        c->failed++;
    } else {
        grad_subset(d, s, &t, node, wanted, dy, only, odd, cancels, name, c);
        /* Kernels with two optional outputs: each alone as well. */
        if (k->op == LK_OP_ATTENTION) {
            grad_subset(d, s, &t, node, 2, dy, only, odd, cancels, name, c);
            grad_subset(d, s, &t, node, 4, dy, only, odd, cancels, name, c);
        }
        if (k->op == LK_OP_CFG_COMBINE) {
            grad_subset(d, s, &t, node, 1, dy, only, odd, cancels, name, c);
            grad_subset(d, s, &t, node, 2, dy, only, odd, cancels, name, c);
        }
    }
    tape_free(&t);
}

static int report(const char *what, const counts *c, double seconds) {
    printf("%s: %d runs, %d failed, %d without a shader, largest error %.2e, %.1f s\n", what, c->runs, c->failed,
           c->missing, c->worst, seconds);
    for (int op = 0; op < LK_OP_COUNT; op++) {
        if (c->no_shader[op]) printf("  no shader: %s\n", lk_op_name((lk_op)op));
    }
    return c->failed == 0 && c->missing == 0 && c->runs > 0 ? 0 : 1;
}

/* All cases of check and grad on one device; few: only those meant for a small limit of workgroups. */
static void run_all(op_device *d, const settings *s, bool grad, bool few, counts *c) {
    for (int i = 0; i < op_case_count(); i++) {
        const op_case *k = op_case_at(i);
        if (few && (k->flags & CASE_FEW_GROUPS) == 0) continue;
        const bool odd = i % 2 == 0; /* half of the cases; both halves have every op */
        if (grad)
            grad_case(d, s, k, odd, LK_OP_COUNT, c);
        else
            check_case(d, s, k, odd, c);
    }
}

static int check_or_grad(const settings *s, bool grad) {
    int result = 0;
    for (int few = 0; few < 2; few++) {
        op_device d;
        lk_error error = LK_ERROR_INIT;
        if (op_device_open(&d, s->device, few ? 7 : 0, &error) != LIKENESS_OK) {
            printf("skipped: %s\n", error.message);
            op_device_close(&d);
            return error.status == LIKENESS_NO_DEVICE ? 77 : 1;
        }
        if (!few) printf("device: %s, %s\n", lk_device_caps(d.device)->name, lk_device_caps(d.device)->driver_info);
        counts c = {0};
        const double start = lk_time_seconds();
        run_all(&d, s, grad, few != 0, &c);
        op_device_close(&d);
        char what[64];
        snprintf(what, sizeof what, "%s%s", grad ? "grad" : "check", few ? ", 7 workgroups an axis" : "");
        result |= report(what, &c, lk_time_seconds() - start);
        if (!few && !grad && s->op == NULL && c.missing == 0 && c.wide == 0) {
            printf("FAILED no case has more than 65,535 workgroups\n");
            result = 1;
        }
    }
    return result;
}

/* ---- perf ---- */

static int perf(op_device *d, const settings *s) {
    counts c = {0};
    printf("%-15s %-7s %9s %9s %9s  %s\n", "op", "variant", "ms", "GFLOP/s", "GB/s", "case");
    for (int i = 0; i < op_perf_case_count(); i++) {
        const op_case *k = op_perf_case_at(i);
        char name[512];
        op_case_name(k, name, sizeof name);
        tape t;
        tape_init(&t, true);
        t.blank = true; /* shapes and inputs only: the truth would take longer than the device */
        lk_value leaves[LK_MAX_INPUTS], inputs[LK_MAX_INPUTS], grads[LK_MAX_INPUTS];
        const int32_t node = op_case_build(k, &t, false, leaves, inputs);
        const lk_value dy = node < 0 ? LK_NO_VALUE : op_case_cotangent(&t, t.nodes[node].output[0], 3);
        if (dy != LK_NO_VALUE && (k->flags & CASE_NO_GRADIENT) == 0)
            tape_gradient(&t, t.nodes[node].output[0], dy, inputs, 1, grads);
        for (int32_t n = node < 0 ? t.node_count : node; n < t.node_count; n++) {
            const lk_op_call *call = &t.nodes[n].call;
            if (!is_chosen(s, call->op) || lk_op_row_of(call->op)->dispatch == NULL) continue;
            const lk_cost cost = lk_op_row_of(call->op)->cost(call);
            const int32_t variants = op_device_variants(d, call);
            for (int32_t v = variants > 1 ? 1 : 0; v <= (variants > 1 ? variants : 0); v++) {
                const op_options options = {.variant = v, .repeats = 5, .tolerance = 1e30};
                op_outcome outcome;
                op_device_run(d, &t, &t.nodes[n], &options, &outcome);
                c.runs++;
                const double seconds = outcome.seconds > 0 ? outcome.seconds : 1e-9;
                printf("%-15s %3d/%-3d %9.3f %9.2f %9.2f  %s\n", lk_op_name(call->op), (int)v, (int)variants,
                       1e3 * seconds, 1e-9 * cost.flops / seconds, 1e-9 * cost.bytes / seconds, name);
                fflush(stdout);
            }
        }
        if (t.error.status != LIKENESS_OK) printf("FAILED %s: %s\n", name, t.error.message);
        tape_free(&t);
    }
    return c.runs > 0 ? 0 : 1;
}

/* ---- support ---- */

/* Runs, in each variant, the first small node of every op that the cases and their gradients have. */
static int support(op_device *d, const settings *s) {
    bool seen[LK_OP_COUNT] = {false};
    int bad = 0;
    printf("%-16s %-9s %s\n", "op", "variants", "state of each (ok, or why not)");
    for (int i = 0; i < op_case_count(); i++) {
        const op_case *k = op_case_at(i);
        if ((k->flags & CASE_DEVICE_ONLY) != 0) continue;
        tape t;
        tape_init(&t, true);
        lk_value leaves[LK_MAX_INPUTS], inputs[LK_MAX_INPUTS], wrt[LK_MAX_INPUTS], grads[LK_MAX_INPUTS];
        const int32_t node = op_case_build(k, &t, false, leaves, inputs);
        int count = 0;
        for (int n = 0; n < LK_MAX_INPUTS && node >= 0; n++) {
            if (inputs[n] != LK_NO_VALUE && (lk_op_row_of(k->op)->differentiable >> n & 1u) != 0)
                wrt[count++] = inputs[n];
        }
        if (count > 0 && (k->flags & CASE_NO_GRADIENT) == 0) {
            const lk_value y = t.nodes[node].output[0], dy = op_case_cotangent(&t, y, 3);
            if (dy != LK_NO_VALUE) tape_gradient(&t, y, dy, wrt, count, grads);
        }
        for (int32_t n = 0; n < t.node_count; n++) {
            const lk_op_call *call = &t.nodes[n].call;
            if (seen[call->op] || !is_chosen(s, call->op)) continue;
            seen[call->op] = true;
            if (lk_op_row_of(call->op)->dispatch == NULL) {
                printf("%-16s %-9s no shader\n", lk_op_name(call->op), "-");
                bad++;
                continue;
            }
            const int32_t variants = op_device_variants(d, call);
            printf("%-16s %-9d", lk_op_name(call->op), (int)variants);
            for (int32_t v = 1; v <= variants; v++) {
                const op_options options = {.variant = variants > 1 ? v : 0};
                op_outcome outcome;
                op_device_run(d, &t, &t.nodes[n], &options, &outcome);
                if (outcome.fine)
                    printf(" ok");
                else
                    printf(" WRONG: %s", outcome.message);
                bad += outcome.fine ? 0 : 1;
            }
            printf("\n");
            fflush(stdout);
        }
        tape_free(&t);
    }
    return bad == 0 ? 0 : 1;
}

/* ---- mutate ---- */

static bool is_backward(lk_op op) {
    const char *name = lk_op_name(op), *cut = strrchr(name, '_');
    return cut != NULL && (strcmp(cut, "_dx") == 0 || strcmp(cut, "_dq") == 0 || strcmp(cut, "_dkv") == 0);
}

static int mutate(op_device *d, const settings *s) {
    static const char *const names[] = {"none", "times 1.01", "last row zeroed"};
    int survivors = 0, tried = 0;
    for (int op = 0; op < LK_OP_COUNT; op++) {
        if (!is_backward((lk_op)op) || !is_chosen(s, (lk_op)op)) continue;
        for (int mutation = LK_MUTATION_SCALE; mutation <= LK_MUTATION_LAST_ROW; mutation++) {
            lk_op_mutate((lk_op)op, (lk_mutation)mutation);
            counts c = {0};
            settings quiet = *s;
            quiet.verbose = false;
            for (int i = 0; i < op_case_count() && c.failed == 0; i++) {
                if ((op_case_at(i)->flags & CASE_DEVICE_ONLY) == 0)
                    grad_case(d, &quiet, op_case_at(i), false, (lk_op)op, &c);
            }
            lk_op_mutate((lk_op)op, LK_MUTATION_NONE);
            tried++;
            if (c.failed > 0 && c.missing == 0) continue;
            survivors++;
            printf("SURVIVOR %s, %s%s\n", lk_op_name((lk_op)op), names[mutation],
                   c.missing > 0 ? " (no shader)"
                   : c.runs == 0 ? " (no case)"
                                 : "");
        }
    }
    printf("mutate: %d mutations, %d survivors\n", tried, survivors);
    return survivors == 0 && tried > 0 ? 0 : 1;
}

int main(int count, char **arguments) {
    settings s = {.mode = "check"};
    for (int i = 1; i < count; i++) {
        if (strcmp(arguments[i], "--device") == 0 && i + 1 < count)
            s.device = arguments[++i];
        else if (strcmp(arguments[i], "--op") == 0 && i + 1 < count)
            s.op = arguments[++i];
        else if (strcmp(arguments[i], "--truth") == 0)
            s.truth = true;
        else if (strcmp(arguments[i], "-v") == 0)
            s.verbose = true;
        else if (arguments[i][0] != '-')
            s.mode = arguments[i];
        else {
            printf("unknown option %s\n", arguments[i]);
            return 2;
        }
    }
    if (strcmp(s.mode, "check") == 0 || strcmp(s.mode, "grad") == 0) return check_or_grad(&s, s.mode[0] == 'g');
    op_device d;
    lk_error error = LK_ERROR_INIT;
    if (op_device_open(&d, s.device, 0, &error) != LIKENESS_OK) {
        printf("skipped: %s\n", error.message);
        op_device_close(&d);
        return error.status == LIKENESS_NO_DEVICE ? 77 : 1;
    }
    printf("device: %s, %s\n", lk_device_caps(d.device)->name, lk_device_caps(d.device)->driver_info);
    int result = 2;
    if (strcmp(s.mode, "perf") == 0)
        result = perf(&d, &s);
    else if (strcmp(s.mode, "support") == 0)
        result = support(&d, &s);
    else if (strcmp(s.mode, "mutate") == 0)
        result = mutate(&d, &s);
    else
        printf("unknown mode %s\n", s.mode);
    op_device_close(&d);
    return result;
}
