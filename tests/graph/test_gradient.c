/* tests/graph/test_gradient.c - the vector-Jacobian product of small graphs: branches, skips, reused values, values
 * without a path, several outputs with arbitrary cotangents. By the reference against central differences in double,
 * and on a device against the reference. */
#include "graph/graph_test.h"

#include "graph/internal.h"

enum { MOST = 6 };

/* A graph with its inputs (random), outputs, cotangents and wanted values. */
typedef struct problem {
    const char *name;
    lk_weights *weights;
    lk_graph *g;
    lk_value input[2 * MOST], output[MOST], cotangent[MOST], wanted[MOST], gradient[MOST];
    double *values[2 * MOST];
    int inputs, outputs, wants, section;
    uint64_t seed;
} problem;

static lk_value input_of(problem *p, lk_shape shape) {
    int64_t n = lk_shape_elements(&shape);
    float *random = graph_random(++p->seed * 977, n, -1, 1);
    double *values = malloc((size_t)n * sizeof *values);
    for (int64_t i = 0; i < n; i++)
        values[i] = (double)random[i];
    free(random);
    p->values[p->inputs] = values;
    p->input[p->inputs] = lk_graph_input(p->g, "x", shape, LK_F32);
    return p->input[p->inputs++];
}

static void output_of(problem *p, lk_value value) {
    lk_graph_output(p->g, value, "y");
    p->output[p->outputs++] = value;
}

static void want(problem *p, lk_value value) { p->wanted[p->wants++] = value; }

static lk_value matrix(problem *p, const char *name, int out, int in) {
    return graph_weight(p->g, p->weights, name, LK_WEIGHT_MATRIX, lk_shape2(out, in));
}

static lk_value vector(problem *p, const char *name, int width) {
    return graph_weight(p->g, p->weights, name, LK_WEIGHT_VECTOR, lk_shape1(width));
}

/* ---- the graphs ---- */

static void chain(problem *p) {
    lk_value x = input_of(p, lk_shape2(3, 5));
    lk_value y = lk_matmul(p->g, x, matrix(p, "w", 7, 5), vector(p, "b", 7), LK_NO_VALUE);
    output_of(p, lk_matmul(p->g, lk_silu(p->g, y), matrix(p, "v", 2, 7), LK_NO_VALUE, LK_NO_VALUE));
    want(p, x);
}

/* x -> f(x) + x, twice, with the residual inside the matmul once. */
static void skips(problem *p) {
    lk_value x = input_of(p, lk_shape2(4, 6));
    lk_value y = lk_add(p->g, lk_silu(p->g, lk_matmul(p->g, x, matrix(p, "w", 6, 6), LK_NO_VALUE, LK_NO_VALUE)), x);
    output_of(p, lk_matmul(p->g, lk_silu(p->g, y), matrix(p, "v", 6, 6), LK_NO_VALUE, y));
    want(p, x);
}

/* One value read five times, twice by one node. */
static void reused(problem *p) {
    lk_value x = input_of(p, lk_shape2(2, 9));
    lk_value square = lk_mul(p->g, x, x);
    lk_value sum = lk_add(p->g, lk_unary_op(p->g, LK_UNARY_SIGMOID, x, 0, 0), square);
    output_of(p, lk_mul(p->g, lk_add(p->g, sum, x), lk_unary_op(p->g, LK_UNARY_TANH, x, 0, 0)));
    want(p, x);
}

/* A diamond of diamonds: 2^6 paths, each value's cotangent must be complete before its node is entered. */
static void diamonds(problem *p) {
    lk_value x = input_of(p, lk_shape1(7)), y = x;
    for (int i = 0; i < 6; i++)
        y = lk_add(p->g, lk_unary_op(p->g, LK_UNARY_TANH, y, 0, 0), lk_scale_shift(p->g, y, 0.5f, 0.1f));
    output_of(p, y);
    want(p, x);
}

/* The second input has no path; the third only one through a value that nothing reads. */
static void no_path(problem *p) {
    lk_value x = input_of(p, lk_shape2(2, 4)), apart = input_of(p, lk_shape2(2, 4)),
             dead = input_of(p, lk_shape2(2, 4));
    lk_add(p->g, lk_silu(p->g, dead), x);
    output_of(p, lk_silu(p->g, x));
    want(p, apart);
    want(p, dead);
    want(p, x);
}

/* Three outputs, one of which is computed from another one, one twice. */
static void outputs(problem *p) {
    lk_value x = input_of(p, lk_shape2(3, 5)), z = input_of(p, lk_shape2(1, 5));
    lk_value middle = lk_silu(p->g, lk_mul(p->g, x, z));
    lk_value last = lk_matmul(p->g, middle, matrix(p, "w", 4, 5), LK_NO_VALUE, LK_NO_VALUE);
    output_of(p, middle);
    output_of(p, last);
    output_of(p, lk_reduce_op(p->g, LK_REDUCE_MEAN, lk_mul(p->g, last, last), 3, false));
    output_of(p, last);
    want(p, x);
    want(p, z);
}

/* Wanted values inside the graph, one of them an output itself, one the output of an alias. */
static void inside(problem *p) {
    lk_value x = input_of(p, lk_shape4(2, 3, 2, 5));
    lk_value a = lk_silu(p->g, x), tokens = lk_to_tokens(p->g, a);
    lk_value b = lk_matmul(p->g, tokens, matrix(p, "w", 3, 3), LK_NO_VALUE, tokens);
    output_of(p, lk_from_tokens(p->g, b, 2, 5));
    output_of(p, b);
    want(p, a);
    want(p, tokens);
    want(p, b);
    want(p, x);
}

/* The wanted value is the output, and nothing in between. */
static void itself(problem *p) {
    lk_value x = input_of(p, lk_shape2(2, 3));
    output_of(p, x);
    output_of(p, lk_silu(p->g, x));
    want(p, x);
}

/* What networks are made of: convolution with stride, group norm, a skip by concatenation, attention, upsampling. */
static void network(problem *p) {
    lk_value x = input_of(p, lk_shape4(2, 3, 6, 5)), context = input_of(p, lk_shape3(2, 4, 8));
    lk_value w = graph_weight(p->g, p->weights, "conv", LK_WEIGHT_MATRIX, lk_shape4(8, 3, 3, 3));
    lk_value skip = lk_conv2d_simple(p->g, x, w, vector(p, "bias", 8), 1, 1);
    w = graph_weight(p->g, p->weights, "down", LK_WEIGHT_MATRIX, lk_shape4(8, 8, 3, 3));
    lk_value h =
        lk_conv2d_simple(p->g, lk_group_norm(p->g, skip, vector(p, "gamma", 8), vector(p, "beta", 8), 2, 1e-5f, true),
                         w, LK_NO_VALUE, 2, 1);
    lk_value tokens = lk_to_tokens(p->g, h);
    lk_value q = lk_layer_norm(p->g, tokens, vector(p, "g", 8), LK_NO_VALUE, 1e-5f);
    lk_value k = lk_matmul(p->g, context, matrix(p, "k", 8, 8), LK_NO_VALUE, LK_NO_VALUE);
    lk_value v = lk_matmul(p->g, context, matrix(p, "v", 8, 8), LK_NO_VALUE, LK_NO_VALUE);
    tokens = lk_add(p->g, tokens, lk_attention(p->g, q, k, v, 2, 0, false, LK_NO_VALUE));
    h = lk_upsample_nearest(p->g, lk_from_tokens(p->g, tokens, 3, 3), 6, 5);
    lk_value parts[2] = {h, skip};
    h = lk_concat(p->g, parts, 2, 1);
    w = graph_weight(p->g, p->weights, "out", LK_WEIGHT_MATRIX, lk_shape4(2, 16, 1, 1));
    output_of(p, lk_conv2d_simple(p->g, h, w, LK_NO_VALUE, 1, 0));
    want(p, x);
    want(p, context);
}

/* Slices that overlap, a permutation, a pad, a sum over an axis that is broadcast back. */
static void moved(problem *p) {
    lk_value x = input_of(p, lk_shape3(2, 6, 4));
    lk_value a = lk_slice(p->g, x, 1, 0, 4), b = lk_slice(p->g, x, 1, 2, 4);
    lk_value c =
        lk_mul(p->g, a, lk_permute(p->g, lk_permute(p->g, b, (const int32_t[]){2, 0, 1}), (const int32_t[]){1, 2, 0}));
    lk_value mean = lk_reduce_op(p->g, LK_REDUCE_MEAN, c, 1u << 2, true);
    lk_value centred = lk_binary_op(p->g, LK_BINARY_SUB, c, mean);
    output_of(p,
              lk_pad_op(p->g, centred, LK_PAD_CONSTANT, (const int32_t[]){0, 1, 0}, (const int32_t[]){0, 0, 2}, 0.5f));
    want(p, x);
}

static const struct {
    const char *name;
    void (*build)(problem *p);
    uint32_t without; /* wanted values that get no gradient */
} graphs[] = {{"chain", chain, 0},     {"skips", skips, 0},     {"reused", reused, 0}, {"diamonds", diamonds, 0},
              {"no path", no_path, 3}, {"outputs", outputs, 0}, {"inside", inside, 0}, {"itself", itself, 0},
              {"network", network, 0}, {"moved", moved, 0}};
enum { GRAPHS = sizeof graphs / sizeof graphs[0] };

/* ---- central differences ---- */

static problem begin(int index, bool precise) {
    problem p = {.name = graphs[index].name, .seed = (uint64_t)index * 100};
    p.weights = lk_weights_create(precise);
    p.g = graph_new(p.weights);
    graphs[index].build(&p);
    for (int i = 0; i < p.outputs; i++)
        p.cotangent[i] = input_of(&p, lk_graph_shape(p.g, p.output[i]));
    return p;
}

static void end(problem *p) {
    for (int i = 0; i < p->inputs; i++)
        free(p->values[i]);
    lk_graph_destroy(p->g);
    lk_weights_destroy(p->weights);
}

static lk_reference_values *run_reference(const problem *p) {
    lk_error error = LK_ERROR_INIT;
    const double *inputs[2 * MOST];
    for (int i = 0; i < p->inputs; i++)
        inputs[i] = p->values[i];
    lk_reference_values *run = lk_graph_run_reference(p->g, inputs, &error);
    if (!run) fail_msg("%s: %s", p->name, error.message);
    return run;
}

/* sum of cotangent * output over all outputs, each as often as it was named. */
static double objective(const problem *p) {
    lk_reference_values *run = run_reference(p);
    double sum = 0;
    for (int i = 0; i < p->outputs; i++) {
        lk_shape shape = lk_graph_shape(p->g, p->output[i]);
        const double *y = lk_reference_value(run, p->output[i]);
        const double *d = lk_reference_value(run, p->cotangent[i]);
        for (int64_t k = 0; k < lk_shape_elements(&shape); k++)
            sum += y[k] * d[k];
    }
    lk_reference_values_destroy(run);
    return sum;
}

static int input_index(const problem *p, lk_value value) {
    for (int i = 0; i < p->inputs; i++)
        if (p->input[i] == value) return i;
    return -1;
}

static void check_differences(const problem *p, const lk_reference_values *run) {
    for (int w = 0; w < p->wants; w++) {
        int index = input_index(p, p->wanted[w]);
        if (index < 0) continue; /* inside the graph: by its consumers, below */
        lk_shape shape = lk_graph_shape(p->g, p->wanted[w]);
        int64_t n = lk_shape_elements(&shape);
        double *slopes = malloc((size_t)n * sizeof *slopes), *zeros = calloc((size_t)n, sizeof *zeros);
        for (int64_t k = 0; k < n; k++) {
            double at = p->values[index][k], h = 1e-5;
            p->values[index][k] = at + h;
            slopes[k] = objective(p);
            p->values[index][k] = at - h;
            slopes[k] = (slopes[k] - objective(p)) / (2 * h);
            p->values[index][k] = at;
        }
        const double *gradient = lk_reference_value(run, p->gradient[w]);
        double distance = test_error(gradient ? gradient : zeros, slopes, n);
        if (gradient == NULL) {
            for (int64_t k = 0; k < n; k++)
                if (fabs(slopes[k]) > 1e-9) fail_msg("%s: wanted value %d has a slope but no gradient", p->name, w);
        } else if (!(distance <= 1e-7)) {
            fail_msg("%s: gradient %d is off by %.3g", p->name, w, distance);
        }
        free(slopes);
        free(zeros);
    }
}

static void append(problem *p, int index) {
    lk_error error = LK_ERROR_INIT;
    p->section = lk_graph_gradient(p->g, p->output, p->cotangent, p->outputs, p->wanted, p->wants, p->gradient);
    assert_ok(lk_graph_status(p->g, &error), &error);
    assert_true(p->section > 0);
    for (int w = 0; w < p->wants; w++) {
        bool without = graphs[index].without >> w & 1u;
        if ((p->gradient[w] == LK_NO_VALUE) != without) fail_msg("%s: wanted value %d", p->name, w);
        if (p->gradient[w] == LK_NO_VALUE) continue;
        lk_shape a = lk_graph_shape(p->g, p->gradient[w]), b = lk_graph_shape(p->g, p->wanted[w]);
        assert_true(lk_shape_equal(&a, &b));
        lk_graph_output(p->g, p->gradient[w], "gradient");
    }
}

static void reference_against_differences(void **state) {
    (void)state;
    for (int i = 0; i < GRAPHS; i++) {
        problem p = begin(i, true);
        append(&p, i);
        lk_reference_values *run = run_reference(&p);
        check_differences(&p, run);
        lk_reference_values_destroy(run);
        end(&p);
    }
}

/* A wanted value in the middle: what its gradient gives through the nodes behind it must equal the gradient of the
 * input in front of it. For silu(x) = a: dx = da * silu'(x); checked where the graph "inside" has it. */
static void inside_by_the_chain_rule(void **state) {
    (void)state;
    int index = 0;
    while (strcmp(graphs[index].name, "inside") != 0)
        index++;
    problem p = begin(index, true);
    append(&p, index);
    lk_reference_values *run = run_reference(&p);
    const double *a = lk_reference_value(run, p.gradient[0]), *tokens = lk_reference_value(run, p.gradient[1]);
    const double *b = lk_reference_value(run, p.gradient[2]), *dx = lk_reference_value(run, p.gradient[3]);
    const double *first = lk_reference_value(run, p.cotangent[0]), *second = lk_reference_value(run, p.cotangent[1]);
    for (int n = 0; n < 2; n++)
        for (int c = 0; c < 3; c++)
            for (int i = 0; i < 10; i++) {
                int picture = (n * 3 + c) * 10 + i, token = (n * 10 + i) * 3 + c;
                double x = p.values[0][picture], s = 1 / (1 + exp(-x));
                assert_true(fabs(b[token] - (first[picture] + second[token])) < 1e-12);
                assert_true(fabs(a[picture] - tokens[token]) < 1e-12);
                assert_true(fabs(dx[picture] - a[picture] * s * (1 + x * (1 - s))) < 1e-12);
            }
    lk_reference_values_destroy(run);
    end(&p);
}

/* ---- subsets and sections ---- */

/* Only nodes that lead to a wanted value are appended. */
static void only_what_is_asked_for(void **state) {
    (void)state;
    lk_error error = LK_ERROR_INIT;
    int counts[3];
    for (int which = 0; which < 3; which++) {
        lk_graph *g = graph_new(NULL);
        lk_value x = lk_graph_input(g, "x", lk_shape2(2, 4), LK_F32),
                 z = lk_graph_input(g, "z", lk_shape2(2, 4), LK_F32);
        lk_value deep = z, d = lk_graph_input(g, "d", lk_shape2(2, 4), LK_F32), wanted[2] = {x, z}, gradients[2];
        for (int i = 0; i < 20; i++)
            deep = lk_silu(g, deep);
        lk_value y = lk_mul(g, lk_silu(g, x), deep);
        int before = lk_graph_node_count(g);
        assert_int_equal(
            lk_graph_gradient(g, &y, &d, 1, which == 1 ? &wanted[1] : wanted, which == 2 ? 2 : 1, gradients), 1);
        assert_ok(lk_graph_status(g, &error), &error);
        counts[which] = lk_graph_node_count(g) - before;
        lk_graph_destroy(g);
    }
    assert_int_equal(counts[0], 2); /* of mul with respect to its first operand, of silu */
    assert_int_equal(counts[1], 21);
    assert_int_equal(counts[2], 23);
}

/* Sums are made inside of nodes that can: a residual block's norm adds what came through the skip, three projections of
 * one value add up one after the other. The values are those of an addition apart. */
static void sums_go_inside(void **state) {
    (void)state;
    lk_error error = LK_ERROR_INIT;
    problem p = {.name = "sums", .seed = 900};
    p.weights = lk_weights_create(true);
    p.g = graph_new(p.weights);
    lk_value x = input_of(&p, lk_shape2(3, 8)), sum = x;
    lk_value h = lk_layer_norm(p.g, x, vector(&p, "gamma", 8), LK_NO_VALUE, 1e-5f);
    for (int i = 0; i < 3; i++) {
        char name[8];
        snprintf(name, sizeof name, "w%d", i);
        sum = lk_matmul(p.g, h, matrix(&p, name, 8, 8), LK_NO_VALUE, sum);
    }
    output_of(&p, sum);
    p.cotangent[0] = input_of(&p, lk_shape2(3, 8));
    want(&p, x);
    p.section = lk_graph_gradient(p.g, p.output, p.cotangent, 1, p.wanted, 1, p.gradient);
    assert_ok(lk_graph_status(p.g, &error), &error);
    int nodes = 0, added = 0;
    for (int32_t n = 0; n < lk_graph_node_count(p.g); n++) {
        lk_graph_node_info info = lk_graph_node(p.g, n);
        if (info.section != 1) continue;
        nodes++;
        int slot = lk_op_addend(info.call->op);
        added += slot >= 0 && info.call->has_input[slot];
    }
    assert_int_equal(nodes, 4); /* three projections, one norm */
    assert_int_equal(added, 3);
    lk_reference_values *run = run_reference(&p);
    check_differences(&p, run);
    lk_reference_values_destroy(run);
    end(&p);
}

/* Two gradients of one graph, of different outputs; and the forward nodes are the same as without any. */
static void two_sections(void **state) {
    (void)state;
    int index = 5; /* outputs */
    problem p = begin(index, true), q = begin(index, true), r = begin(index, true);
    lk_value first, second;
    assert_int_equal(lk_graph_gradient(p.g, p.output, p.cotangent, 1, p.wanted, 1, &first), 1);
    assert_int_equal(lk_graph_gradient(p.g, p.output + 2, p.cotangent + 2, 1, p.wanted + 1, 1, &second), 2);
    assert_int_equal(lk_graph_gradient(q.g, q.output, q.cotangent, 1, q.wanted, 1, &q.gradient[0]), 1);
    assert_int_equal(lk_graph_gradient(r.g, r.output + 2, r.cotangent + 2, 1, r.wanted + 1, 1, &r.gradient[0]), 1);
    lk_reference_values *pr = run_reference(&p), *qr = run_reference(&q), *rr = run_reference(&r);
    assert_memory_equal(lk_reference_value(pr, first), lk_reference_value(qr, q.gradient[0]), 15 * sizeof(double));
    assert_memory_equal(lk_reference_value(pr, second), lk_reference_value(rr, r.gradient[0]), 5 * sizeof(double));
    lk_reference_values_destroy(pr);
    lk_reference_values_destroy(qr);
    lk_reference_values_destroy(rr);
    end(&p);
    end(&q);
    end(&r);
}

/* ---- a device ---- */

static void device_against_reference(void **state) {
    (void)state;
    lk_device *device = graph_device();
    lk_error error = LK_ERROR_INIT;
    for (int i = 0; i < GRAPHS; i++) {
        problem p = begin(i, false);
        append(&p, i);
        lk_reference_values *run = run_reference(&p);
        lk_plan *plan = graph_plan(p.g, NULL);
        lk_instance *instance = graph_instance(plan, device, NULL);
        for (int k = 0; k < p.inputs; k++) {
            lk_shape shape = lk_graph_shape(p.g, p.input[k]);
            int64_t n = lk_shape_elements(&shape);
            float *values = malloc((size_t)n * sizeof *values);
            for (int64_t e = 0; e < n; e++)
                values[e] = (float)p.values[k][e];
            assert_ok(lk_instance_write(instance, p.input[k], values, &error), &error);
            free(values);
        }
        graph_run(instance, 0);
        graph_run(instance, 1);
        for (int k = 0; k < p.outputs + p.wants; k++) {
            lk_value value = k < p.outputs ? p.output[k] : p.gradient[k - p.outputs];
            if (value == LK_NO_VALUE) continue;
            lk_shape shape = lk_graph_shape(p.g, value);
            int64_t n = lk_shape_elements(&shape);
            float *found = malloc((size_t)n * sizeof *found);
            double *wide = malloc((size_t)n * sizeof *wide);
            assert_ok(lk_instance_read(instance, value, found, &error), &error);
            for (int64_t e = 0; e < n; e++)
                wide[e] = (double)found[e];
            double distance = test_error(wide, lk_reference_value(run, value), n);
            if (!(distance <= 1e-5)) fail_msg("%s: result %d is off by %.3g", p.name, k, distance);
            free(found);
            free(wide);
        }
        lk_instance_destroy(instance);
        lk_plan_destroy(plan);
        lk_reference_values_destroy(run);
        end(&p);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reference_against_differences),
        cmocka_unit_test(inside_by_the_chain_rule),
        cmocka_unit_test(only_what_is_asked_for),
        cmocka_unit_test(two_sections),
        cmocka_unit_test(sums_go_inside),
        cmocka_unit_test(device_against_reference),
    };
    return graph_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
