/* tests/op/test_ops.c - the op-test program: every shader against the C reference, the reference against differences.
 *
 *     test_ops [check | grad | perf | support | mutate] [--device N|NAME] [--driver ICD-FILE-VARIABLE] [--op NAME]
 *              [--repeats N] [--truth] [-v]
 *
 *   check    (default) on the device, every case of op_cases and all nodes of its gradient, in every variant, against
 *            the C reference; then some with 7 workgroups an axis at most
 *   grad     gradients of the C reference against central differences, no device (support/op_differences.h)
 *   perf     GFLOP/s and GB/s on shapes of image models, by the fastest of N replays; and, for CPU drivers that share
 *            their cores with other work, the mean processor time of the other replays
 *   support  which op runs in which variants on this device
 *   mutate   spoils every result of every op on the device, times 1.01 or its last row zeroed, and expects `check` to
 *            notice; `grad` does the same for the gradients that builders compose
 *
 * --truth: instead of one run, every command of the small cases alone, all that it does not declare as read poisoned
 * (gpu/check.h): its declarations hold.
 * --driver NAME: the environment variable NAME names the driver's ICD file; skipped when it is not set.
 * Exit code 0, 1 when something failed, 77 when there is no Vulkan device or driver. */
#include "support/op_cases.h"
#include "support/op_device.h"
#include "support/op_differences.h"

#include "base/memory.h"
#include "base/time.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct counts {
    int runs, failed, missing, wide; /* missing: no shader; wide: more than 65,535 workgroups in a command */
    double worst;
    uint64_t groups[LK_OP_COUNT]; /* the most workgroups of a command */
} counts;

typedef struct settings {
    const char *mode, *device, *op;
    bool truth, verbose;
    int repeats; /* of perf */
} settings;

static void print_device(const op_device *d) {
    const lk_caps *caps = lk_device_caps(d->device);
    printf("device: %s, %s%s\n", caps->name, caps->driver_info,
           lk_device_validation_active(d->device) ? ", validated" : "");
}

static bool is_chosen(const settings *s, lk_op op) { return s->op == NULL || strcmp(s->op, lk_op_name(op)) == 0; }

/* One node in every variant. */
static void run_node(op_device *d, const settings *s, const tape *t, const tape_node *node, bool odd, bool absolute,
                     const char *name, counts *c) {
    const lk_op op = node->call.op;
    if (!is_chosen(s, op)) return;
    const int32_t variants = lk_op_row_of(op)->dispatch != NULL ? op_device_variants(d, &node->call) : 1;
    for (int32_t v = 1; v <= variants; v++) {
        const op_options options = {
            .odd = odd, .variant = variants > 1 ? v : 0, .truth = s->truth, .absolute = absolute};
        op_outcome outcome;
        const double start = lk_time_seconds();
        op_device_run(d, t, node, &options, &outcome);
        c->runs++;
        if (!outcome.has_shader) c->missing++;
        if (outcome.groups > 65535) c->wide++;
        if (outcome.groups > c->groups[op]) c->groups[op] = outcome.groups;
        if (outcome.error > c->worst) c->worst = outcome.error;
        if (s->verbose)
            printf("%-15s variant %d  error %.2e  %6.1f ms  %s\n", lk_op_name(op), (int)v, outcome.error,
                   1e3 * (lk_time_seconds() - start), name);
        if (outcome.fine) continue;
        c->failed++;
        printf("FAILED %s (variant %d of %d%s) in %s\n%s", lk_op_name(op), (int)v, (int)variants,
               odd ? ", odd offset" : "", name, outcome.message);
        fflush(stdout);
    }
}

/* Appends the gradient of `node` for the inputs in `wanted` to the tape. Returns the number of new nodes, -1 after a
 * failure, which it prints. */
static int32_t append_gradient(tape *t, int32_t node, uint32_t wanted, const char *name) {
    const tape_node kept = t->nodes[node];
    lk_node_view view = tape_view(t, node);
    view.attributes = &kept.call.attributes;
    const int32_t first = t->node_count;
    const lk_value cotangent = op_case_cotangent(t, kept.output[0], 3);
    const lk_value upstream[LK_MAX_OUTPUTS] = {cotangent, LK_NO_VALUE, LK_NO_VALUE, LK_NO_VALUE};
    lk_value grads[LK_MAX_INPUTS];
    const lk_emitter emitter = tape_emitter(t);
    lk_error error = LK_ERROR_INIT;
    if (cotangent != LK_NO_VALUE &&
        lk_op_row_of(kept.call.op)->gradient(&emitter, &view, upstream, wanted, grads, &error) == LIKENESS_OK)
        return t->node_count - first;
    printf("FAILED %s: %s %s\n", name, error.message, t->error.message);
    return -1;
}

/* The inputs of a case that have a gradient. */
static uint32_t wanted_of(const op_case *k) {
    uint32_t wanted = 0;
    for (int i = 0; i < LK_MAX_INPUTS && (k->flags & CASE_NO_GRADIENT) == 0; i++) {
        if (k->input[i].values != VALUES_NONE) wanted |= lk_op_row_of(k->op)->differentiable & 1u << i;
    }
    return wanted;
}

/* A case on a tape with everything that its gradients append: all inputs at once, and each alone where a kernel has
 * optional outputs. False after a failure, which it prints. The nodes that count begin with *first. */
static bool build_with_gradient(const op_case *k, tape *t, const char *name, int32_t *first) {
    lk_value leaves[LK_MAX_INPUTS], inputs[LK_MAX_INPUTS];
    *first = op_case_build(k, t, false, leaves, inputs);
    if (*first < 0) {
        printf("FAILED %s: %s\n", name, t->error.message);
        return false;
    }
    const uint32_t wanted = wanted_of(k);
    if (wanted == 0) return true;
    if (append_gradient(t, *first, wanted, name) < 0) return false;
    const bool either = k->op == LK_OP_ATTENTION || k->op == LK_OP_CFG_COMBINE;
    const uint32_t low = k->op == LK_OP_ATTENTION ? 2 : 1;
    return !either || (append_gradient(t, *first, low, name) >= 0 && append_gradient(t, *first, 2 * low, name) >= 0);
}

static void check_case(op_device *d, const settings *s, const op_case *k, bool odd, counts *c) {
    char name[512];
    op_case_name(k, name, sizeof name);
    tape t;
    tape_init(&t, true);
    int32_t first;
    if (!build_with_gradient(k, &t, name, &first)) {
        c->failed++;
    } else {
        for (int32_t i = first; i < t.node_count; i++) {
            run_node(d, s, &t, &t.nodes[i], odd, i > first && (k->flags & CASE_CANCELS) != 0, name, c);
        }
    }
    tape_free(&t);
}

static int report(const char *what, const counts *c, double seconds) {
    printf("%s: %d runs, %d failed, largest error %.2e, %.1f s\n", what, c->runs, c->failed, c->worst, seconds);
    return c->failed == 0 && c->runs > 0 ? 0 : 1;
}

static int check(const settings *s) {
    int result = 0;
    for (int few = 0; few < 2; few++) {
        op_device d;
        lk_error error = LK_ERROR_INIT;
        if (op_device_open(&d, s->device, few ? 7 : 0, &error) != LIKENESS_OK) {
            printf("skipped: %s\n", error.message);
            op_device_close(&d);
            return error.status == LIKENESS_NO_DEVICE ? 77 : 1;
        }
        if (!few) print_device(&d);
        counts c = {0};
        const double start = lk_time_seconds();
        for (int i = 0; i < op_case_count(); i++) {
            const op_case *k = op_case_at(i);
            if (s->truth && (k->flags & CASE_DEVICE_ONLY) != 0) continue;
            /* Half of the cases lie at an odd offset; both halves have every op. */
            if (!few || (k->flags & CASE_FEW_GROUPS) != 0) check_case(&d, s, k, i % 2 == 0, &c);
        }
        op_device_close(&d);
        result |= report(few ? "check, 7 workgroups an axis" : "check", &c, lk_time_seconds() - start);
        if (s->op != NULL || s->truth) continue;
        if (!few && c.wide == 0) {
            printf("FAILED no case has more than 65,535 workgroups\n");
            result = 1;
        }
        for (int op = 0; op < LK_OP_COUNT && few; op++) {
            if (c.groups[op] > 7) continue;
            printf("FAILED no case of %s has more than 7 workgroups\n", lk_op_name((lk_op)op));
            result = 1;
        }
    }
    return result;
}

/* ---- perf ---- */

static int perf(op_device *d, const settings *s) {
    counts c = {0};
    printf("%-15s %-7s %9s %9s %9s %9s  %s\n", "op", "variant", "ms", "GFLOP/s", "GB/s", "cpu ms", "case");
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
                const op_options options = {.variant = v, .repeats = s->repeats, .tolerance = 1e30};
                op_outcome outcome;
                op_device_run(d, &t, &t.nodes[n], &options, &outcome);
                c.runs++;
                const double seconds = outcome.seconds > 0 ? outcome.seconds : 1e-9;
                printf("%-15s %3d/%-3d %9.3f %9.2f %9.2f %9.3f  %s\n", lk_op_name(call->op), (int)v, (int)variants,
                       1e3 * seconds, 1e-9 * cost.flops / seconds, 1e-9 * cost.bytes / seconds,
                       1e3 * outcome.processor_seconds, name);
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

/* For each op, output and mutation: whether some case ran, and whether the comparison with the truth failed. */
typedef struct mutants {
    bool tried[LK_OP_COUNT][LK_MAX_OUTPUTS][3], noticed[LK_OP_COUNT][LK_MAX_OUTPUTS][3];
} mutants;

static void mutate_node(op_device *d, const tape *t, const tape_node *node, mutants *m) {
    const lk_op op = node->call.op;
    for (int mutation = LK_MUTATION_SCALE; mutation <= LK_MUTATION_LAST_ROW; mutation++) {
        bool open = false;
        for (int i = 0; i < node->call.output_count; i++) {
            open = open || (node->call.has_output[i] && !m->noticed[op][i][mutation]);
        }
        if (!open) continue;
        const op_options options = {0};
        op_outcome outcome;
        lk_op_mutate(op, (lk_mutation)mutation);
        op_device_run(d, t, node, &options, &outcome);
        lk_op_mutate(op, LK_MUTATION_NONE);
        for (int i = 0; i < node->call.output_count; i++) {
            if (!node->call.has_output[i]) continue;
            m->tried[op][i][mutation] = true;
            m->noticed[op][i][mutation] = m->noticed[op][i][mutation] || (outcome.wrong >> i & 1u) != 0;
        }
    }
}

static int mutate(op_device *d, const settings *s) {
    static const char *const names[] = {"none", "times 1.01", "last row zeroed"};
    static mutants m;
    int survivors = 0, tried = 0;
    memset(&m, 0, sizeof m);
    for (int i = 0; i < op_case_count(); i++) {
        if ((op_case_at(i)->flags & (CASE_DEVICE_ONLY | CASE_CANCELS)) != 0) continue;
        char name[512];
        op_case_name(op_case_at(i), name, sizeof name);
        tape t;
        tape_init(&t, true);
        int32_t first;
        if (!build_with_gradient(op_case_at(i), &t, name, &first)) survivors++;
        for (int32_t n = first < 0 ? t.node_count : first; n < t.node_count; n++) {
            if (is_chosen(s, t.nodes[n].call.op)) mutate_node(d, &t, &t.nodes[n], &m);
        }
        tape_free(&t);
    }
    for (int op = 0; op < LK_OP_COUNT; op++) {
        if (!m.tried[op][0][LK_MUTATION_SCALE] && is_chosen(s, (lk_op)op)) {
            printf("SURVIVOR %s: no case runs it\n", lk_op_name((lk_op)op));
            survivors++;
        }
        for (int at = 0; at < 2 * LK_MAX_OUTPUTS; at++) {
            const int output = at / 2, mutation = at % 2 == 0 ? LK_MUTATION_SCALE : LK_MUTATION_LAST_ROW;
            if (!m.tried[op][output][mutation]) continue;
            tried++;
            if (m.noticed[op][output][mutation]) continue;
            printf("SURVIVOR %s, output %d, %s\n", lk_op_name((lk_op)op), output, names[mutation]);
            survivors++;
        }
    }
    printf("mutate: %d mutations, %d survivors\n", tried, survivors);
    return survivors == 0 && tried > 0 ? 0 : 1;
}

/* ---- main ---- */

static int run_mode(const settings *s) {
    if (strcmp(s->mode, "grad") == 0) return op_differences(s->op);
    if (strcmp(s->mode, "check") == 0) return check(s);
    op_device d;
    lk_error error = LK_ERROR_INIT;
    if (op_device_open(&d, s->device, 0, &error) != LIKENESS_OK) {
        printf("skipped: %s\n", error.message);
        op_device_close(&d);
        return error.status == LIKENESS_NO_DEVICE ? 77 : 1;
    }
    print_device(&d);
    int result = 2;
    if (strcmp(s->mode, "perf") == 0)
        result = perf(&d, s);
    else if (strcmp(s->mode, "support") == 0)
        result = support(&d, s);
    else if (strcmp(s->mode, "mutate") == 0)
        result = mutate(&d, s);
    else
        printf("unknown mode %s\n", s->mode);
    op_device_close(&d);
    return result;
}

/* Before the loader looks for drivers. */
static bool use_driver(const char *variable) {
    const char *file = getenv(variable);
    if (file == NULL || file[0] == '\0') {
        printf("skipped: %s is not set (tools/drivers.sh sets it where the driver is to be had)\n", variable);
        return false;
    }
    return setenv("VK_DRIVER_FILES", file, 1) == 0 && setenv("VK_ICD_FILENAMES", file, 1) == 0;
}

int main(int count, char **arguments) {
    settings s = {.mode = "check", .repeats = 6};
    for (int i = 1; i < count; i++) {
        if (strcmp(arguments[i], "--device") == 0 && i + 1 < count)
            s.device = arguments[++i];
        else if (strcmp(arguments[i], "--op") == 0 && i + 1 < count)
            s.op = arguments[++i];
        else if (strcmp(arguments[i], "--repeats") == 0 && i + 1 < count)
            s.repeats = atoi(arguments[++i]);
        else if (strcmp(arguments[i], "--truth") == 0)
            s.truth = true;
        else if (strcmp(arguments[i], "-v") == 0)
            s.verbose = true;
        else if (strcmp(arguments[i], "--driver") == 0 && i + 1 < count) {
            if (!use_driver(arguments[++i])) return 77;
        } else if (arguments[i][0] != '-')
            s.mode = arguments[i];
        else {
            printf("unknown option %s\n", arguments[i]);
            return 2;
        }
    }
    int result = run_mode(&s);
    if (lk_device_validation_count() > 0) {
        printf("validation: %lld messages, last: %s\n", (long long)lk_device_validation_count(),
               lk_device_validation_last());
        result = 1;
    }
    if (lk_memory_live() != 0) {
        printf("FAILED %lld host allocations leaked\n", (long long)lk_memory_live());
        result = 1;
    }
    return result;
}
