/* tests/graph/test_bytes.c - results are a function of model and inputs alone. The same bytes with and without the
 * gradient appended, alone or as member of a batch, kept or recomputed, guidance branches together or one after the
 * other, however submits and dispatches are cut, with and without aliasing, mapped or staged memory. */
#include "graph/graph_test.h"

static float *run(const char *name, network_options network, run_options options, size_t *outputs) {
    network_case n;
    network_open(&n, name, &network);
    float *results = case_run(&n.c, graph_device(), &options);
    if (outputs) {
        *outputs = 0;
        for (int i = 0; i < n.c.outputs; i++)
            *outputs += (size_t)n.c.output[i].count;
    }
    network_close(&n);
    return results;
}

static const char *const each_kind[] = {"unet_1", "clip_2", "encoder_2", "decoder_1", "onnx_residual"};
enum { KINDS = sizeof each_kind / sizeof each_kind[0] };

/* ---- with and without a gradient ---- */

static void gradient_changes_no_output(void **state) {
    (void)state;
    graph_device();
    for (int i = 0; i < KINDS; i++) {
        size_t outputs;
        float *with = run(each_kind[i], (network_options){.precise = false}, (run_options){.replays = 1}, NULL);
        float *without =
            run(each_kind[i], (network_options){.forward_only = true}, (run_options){.replays = 1}, &outputs);
        for (size_t k = 0; k < outputs; k++)
            if (memcmp(&with[k], &without[k], sizeof *with) != 0)
                fail_msg("%s: element %zu is %.9g with a gradient, %.9g without", each_kind[i], k, (double)with[k],
                         (double)without[k]);
        free(with);
        free(without);
    }
}

/* ---- alone and in a batch ---- */

static void samples_do_not_see_each_other(void **state) {
    (void)state;
    graph_device();
    static const char *const networks[] = {"unet_1", "unet_4", "clip_1", "encoder_2", "decoder_1", "onnx_classic"};
    for (size_t i = 0; i < sizeof networks / sizeof networks[0]; i++) {
        network_case all;
        network_open(&all, networks[i], &(network_options){.precise = false});
        int batch = lk_graph_shape(all.c.graph, all.c.input[0].value).dim[0];
        assert_true(batch > 1);
        float *together = case_run(&all.c, graph_device(), &(run_options){.replays = 1});
        for (int sample = 0; sample < batch; sample++) {
            network_case one;
            network_open(&one, networks[i], &(network_options){.first = sample, .samples = 1});
            float *alone = case_run(&one.c, graph_device(), &(run_options){.replays = 1});
            const float *a = alone, *t = together;
            for (int k = 0; k < one.c.outputs + one.c.gradients; k++) {
                const case_value *value = k < one.c.outputs ? &one.c.output[k] : &one.c.gradient[k - one.c.outputs];
                for (int64_t e = 0; e < value->count; e++)
                    if (memcmp(&a[e], &t[sample * value->count + e], sizeof *a) != 0)
                        fail_msg("%s, sample %d: element %lld of %s is %.9g alone, %.9g in a batch of %d", networks[i],
                                 sample, (long long)e, value->name, (double)a[e], (double)t[sample * value->count + e],
                                 batch);
                a += value->count;
                t += batch * value->count;
            }
            free(alone);
            network_close(&one);
        }
        free(together);
        network_close(&all);
    }
}

/* ---- submits, dispatches, memory ---- */

static void cuts_and_memory(void **state) {
    (void)state;
    graph_device();
    const struct {
        const char *what;
        run_options options;
        bool slow; /* only for networks with few workgroups: each cut is a submit */
    } ways[] = {{"dispatches cut after 1 workgroup", {.instance.split_groups = 1}, true},
                {"dispatches cut after 11 workgroups", {.instance.split_groups = 11}, true},
                {"submits of 1 command", {.instance.submit_commands = 1}, false},
                {"both", {.instance = {.split_groups = 100, .submit_commands = 2}}, false},
                {"no aliasing", {.plan.loose = true}, false},
                {"small blocks", {.plan.max_block = 1 << 17}, false},
                {"replayed", {.replays = 2}, false}};
    for (int i = 0; i < KINDS; i++) {
        network_case n;
        network_open(&n, each_kind[i], &(network_options){.precise = false});
        float *expected = case_run(&n.c, graph_device(), &(run_options){.replays = 1});
        for (size_t w = 0; w < sizeof ways / sizeof ways[0]; w++) {
            bool few = strncmp(each_kind[i], "clip", 4) == 0 || strncmp(each_kind[i], "onnx", 4) == 0;
            if (ways[w].slow && !few) continue;
            lk_error error = LK_ERROR_INIT;
            lk_plan *fits = lk_plan_create(n.c.graph, &ways[w].options.plan, &error);
            lk_plan_destroy(fits);
            if (!fits) continue; /* a tensor larger than the small block */
            float *found = case_run(&n.c, graph_device(), &ways[w].options);
            case_same_bytes(&n.c, expected, found, ways[w].what);
            free(found);
        }
        free(expected);
        network_close(&n);
    }
}

/* Devices that differ in what must not matter: how many workgroups an axis takes, how memory is reached. */
static void limits_and_staging(void **state) {
    (void)state;
    graph_device();
    network_case n;
    network_open(&n, "clip_2", &(network_options){.precise = false});
    float *expected = case_run(&n.c, graph_device(), &(run_options){.replays = 1});
    network_close(&n); /* the weights were on that device */
    for (int way = 0; way < 2; way++) {
        lk_error error = LK_ERROR_INIT;
        lk_device *device = NULL;
        const lk_device_options options = {.select = getenv("LIKENESS_TEST_DEVICE"),
                                           .cache_folder = "",
                                           .max_groups_axis = way == 0 ? 3 : 0,
                                           .pretend_unmappable = way == 1};
        assert_ok(lk_device_open(&options, &device, &error), &error);
        network_open(&n, "clip_2", &(network_options){.precise = false});
        float *found = case_run(&n.c, device, &(run_options){.replays = 2});
        case_same_bytes(&n.c, expected, found, way == 0 ? "3 workgroups an axis" : "staged memory");
        free(found);
        network_close(&n);
        lk_device_close(device);
    }
    free(expected);
}

/* ---- kept or recomputed ---- */

/* A chain of calls of one network, z <- z + dt v(z), and the gradient back through it. */
typedef struct flow {
    network_case n;
    lk_graph *graph;
    lk_plan *plan;
    lk_unet_inputs in;
    lk_value dt, endpoint, cotangent, gradient;
    int64_t count;
    float *time, *context;
} flow;

enum { SEGMENTS = 4 };

static void flow_open(flow *f, bool with_gradient) {
    lk_error error = LK_ERROR_INIT;
    network_open(&f->n, "unet_2", &(network_options){.first = 1, .samples = 1});
    lk_graph *old = f->n.c.graph, *g = f->graph = graph_new(f->n.c.weights);
    lk_shape shape = lk_graph_shape(old, f->n.c.input[0].value);
    f->count = lk_shape_elements(&shape);
    f->in = (lk_unet_inputs){.context = LK_NO_VALUE, .key_bias = LK_NO_VALUE};
    f->in.sample = lk_graph_input(g, "z", shape, LK_F32);
    lk_shape time = lk_graph_shape(old, f->n.c.input[1].value);
    f->in.time = lk_graph_input(g, "time", time, LK_F32);
    f->time = graph_random(77, SEGMENTS * lk_shape_elements(&time), -1, 1);
    f->context = NULL;
    if (lk_safetensors_find(&f->n.c.file, "context")) {
        lk_shape context = lk_graph_shape(old, f->n.c.input[2].value);
        f->in.context = lk_graph_input(g, "context", context, LK_F32);
        f->context = graph_random(78, lk_shape_elements(&context), -1, 1);
    }
    f->dt = lk_graph_input(g, "dt", lk_shape1(1), LK_F32);
    f->endpoint = lk_flow_step(g, f->in.sample, lk_unet_build(&f->n.unet, g, &f->in, NULL), f->dt, LK_NO_VALUE);
    lk_graph_output(g, f->endpoint, "endpoint");
    if (with_gradient) {
        f->cotangent = lk_graph_input(g, "cotangent", shape, LK_F32);
        lk_graph_gradient(g, &f->endpoint, &f->cotangent, 1, &f->in.sample, 1, &f->gradient);
        lk_graph_output(g, f->gradient, "gradient");
    }
    assert_ok(lk_graph_status(g, &error), &error);
    f->plan = graph_plan(g, NULL);
}

static void flow_close(flow *f) {
    free(f->time);
    free(f->context);
    lk_plan_destroy(f->plan);
    lk_graph_destroy(f->graph);
    network_close(&f->n);
}

static void put(lk_instance *instance, lk_value value, const float *data) {
    lk_error error = LK_ERROR_INIT;
    assert_ok(lk_instance_write(instance, value, data, &error), &error);
}

static void forward(const flow *f, lk_instance *instance, int k, const float *start) {
    static const float dt[SEGMENTS] = {-0.4f, -0.3f, -0.2f, -0.1f};
    lk_shape time = lk_graph_shape(f->graph, f->in.time);
    put(instance, f->in.sample, start);
    put(instance, f->in.time, f->time + k * lk_shape_elements(&time));
    put(instance, f->dt, &dt[k]);
    if (f->context) put(instance, f->in.context, f->context);
    graph_run(instance, 0);
}

/* endpoints, then the gradients of the last one with respect to each segment's start; SEGMENTS of each. */
static float *there_and_back(const flow *f, int instances) {
    lk_error error = LK_ERROR_INIT;
    lk_instance *instance[SEGMENTS];
    float *z = malloc((size_t)(2 * SEGMENTS + 1) * (size_t)f->count * sizeof *z);
    float *noise = graph_random(5, f->count, -1.5, 1.5), *end = graph_random(6, f->count, -1, 1);
    float *gradients = z + (SEGMENTS + 1) * f->count;
    memcpy(z, noise, (size_t)f->count * sizeof *z);
    for (int i = 0; i < instances; i++)
        instance[i] = graph_instance(f->plan, graph_device_or_null(), NULL);
    for (int k = 0; k < SEGMENTS; k++) {
        forward(f, instance[k % instances], k, z + k * f->count);
        assert_ok(lk_instance_read(instance[k % instances], f->endpoint, z + (k + 1) * f->count, &error), &error);
    }
    for (int k = SEGMENTS - 1; k >= 0; k--) {
        lk_instance *i = instance[k % instances];
        if (instances < SEGMENTS) forward(f, i, k, z + k * f->count); /* its activations are gone */
        put(i, f->cotangent, k == SEGMENTS - 1 ? end : gradients + (k + 1) * f->count);
        graph_run(i, 1);
        assert_ok(lk_instance_read(i, f->gradient, gradients + k * f->count, &error), &error);
    }
    for (int i = 0; i < instances; i++)
        lk_instance_destroy(instance[i]);
    free(noise);
    free(end);
    return z;
}

static void kept_or_recomputed(void **state) {
    (void)state;
    graph_device();
    flow f;
    flow_open(&f, true);
    size_t bytes = (size_t)(2 * SEGMENTS + 1) * (size_t)f.count * sizeof(float);
    float *kept = there_and_back(&f, SEGMENTS);
    for (int instances = 1; instances < SEGMENTS; instances++) {
        float *again = there_and_back(&f, instances);
        assert_memory_equal(kept, again, bytes);
        free(again);
    }
    double norm = 0;
    for (int64_t i = 0; i < f.count; i++)
        norm += fabs((double)kept[(SEGMENTS + 1) * f.count + i]);
    assert_true(norm > 0 && isfinite(norm));
    free(kept);
    flow_close(&f);
}

/* ---- a gradient that keeps the whole forward pass, or pieces of it ---- */

static uint64_t arena(const network_case *n) {
    lk_plan *plan = graph_plan(n->c.graph, NULL);
    uint64_t bytes = lk_plan_information(plan).arena_bytes;
    lk_plan_destroy(plan);
    return bytes;
}

static int nodes_again(const network_case *n) {
    int count = 0;
    for (int32_t i = 0; i < lk_graph_node_count(n->c.graph); i++)
        count += strncmp(lk_graph_node(n->c.graph, i).name, "again:", 6) == 0;
    return count;
}

static void forward_pass_in_pieces(void **state) {
    (void)state;
    graph_device();
    static const int pieces[] = {2, 3, 7};
    for (int i = 0; i < KINDS; i++) {
        network_case n;
        network_open(&n, each_kind[i], &(network_options){.precise = false});
        float *expected = case_run(&n.c, graph_device(), &(run_options){.replays = 1});
        uint64_t all = arena(&n), least = all;
        network_close(&n);
        for (size_t p = 0; p < sizeof pieces / sizeof pieces[0]; p++) {
            network_open(&n, each_kind[i], &(network_options){.pieces = pieces[p]});
            assert_true(nodes_again(&n) > 0);
            if (arena(&n) < least) least = arena(&n);
            float *found = case_run(&n.c, graph_device(), &(run_options){.replays = 2});
            case_same_bytes(&n.c, expected, found, "in pieces");
            free(found);
            network_close(&n);
        }
        print_message("%s: %.0f KiB of activations, in pieces %.0f\n", each_kind[i], (double)all / 1024,
                      (double)least / 1024);
        assert_true(least < all);
        free(expected);
    }
}

/* ---- both branches of classifier-free guidance ---- */

/* As src/api builds it: in one batch of two, or one after the other with the conditional branch first. */
static float *guided(bool batched, size_t *bytes) {
    lk_error error = LK_ERROR_INIT;
    network_case n;
    network_open(&n, "unet_2", &(network_options){.samples = 1});
    lk_graph *old = n.c.graph, *g = graph_new(n.c.weights);
    lk_shape shape = lk_graph_shape(old, n.c.input[0].value), context_shape = lk_graph_shape(old, n.c.input[2].value);
    int64_t count = lk_shape_elements(&shape), context_count = lk_shape_elements(&context_shape);
    lk_unet_inputs in = {.context = LK_NO_VALUE, .key_bias = LK_NO_VALUE};
    lk_value z = lk_graph_input(g, "z", shape, LK_F32), velocity[2], gradient, contexts[2];
    lk_value time = lk_graph_input(g, "time", lk_graph_shape(old, n.c.input[1].value), LK_F32);
    for (int b = 0; b < 2; b++)
        contexts[b] = lk_graph_input(g, "context", context_shape, LK_F32);
    lk_value weight = lk_graph_input(g, "weight", lk_shape1(1), LK_F32);
    if (batched) {
        lk_value twice[2] = {z, z}, times[2] = {time, time};
        in.sample = lk_concat(g, twice, 2, 0);
        in.time = lk_concat(g, times, 2, 0);
        in.context = lk_concat(g, contexts, 2, 0);
        lk_value v = lk_unet_build(&n.unet, g, &in, NULL);
        velocity[0] = lk_slice(g, v, 0, 0, 1);
        velocity[1] = lk_slice(g, v, 0, 1, 1);
    } else {
        in.sample = z;
        in.time = time;
        for (int b = 1; b >= 0; b--) {
            in.context = contexts[b];
            velocity[b] = lk_unet_build(&n.unet, g, &in, NULL);
        }
    }
    lk_value y = lk_cfg_combine(g, velocity[0], velocity[1], weight);
    lk_value d = lk_graph_input(g, "d", lk_graph_shape(g, y), LK_F32);
    lk_graph_output(g, y, "velocity");
    lk_graph_gradient(g, &y, &d, 1, &z, 1, &gradient);
    lk_graph_output(g, gradient, "gradient");
    assert_ok(lk_graph_status(g, &error), &error);
    lk_plan *plan = graph_plan(g, NULL);
    lk_instance *instance = graph_instance(plan, graph_device_or_null(), NULL);
    const struct {
        lk_value value;
        int64_t count;
    } inputs[] = {
        {z, count}, {time, n.c.input[1].count}, {contexts[0], context_count}, {contexts[1], context_count}, {d, count}};
    for (int i = 0; i < 5; i++) {
        float *values = graph_random(40 + (uint64_t)i, inputs[i].count, -1, 1);
        put(instance, inputs[i].value, values);
        free(values);
    }
    put(instance, weight, (const float[]){4.5f});
    graph_run(instance, 0);
    graph_run(instance, 1);
    float *results = malloc(2 * (size_t)count * sizeof *results);
    assert_ok(lk_instance_read(instance, y, results, &error), &error);
    assert_ok(lk_instance_read(instance, gradient, results + count, &error), &error);
    *bytes = 2 * (size_t)count * sizeof *results;
    lk_instance_destroy(instance);
    lk_plan_destroy(plan);
    lk_graph_destroy(g);
    network_close(&n);
    return results;
}

static void branches_together_or_apart(void **state) {
    (void)state;
    graph_device();
    size_t bytes, same;
    float *together = guided(true, &bytes), *apart = guided(false, &same);
    assert_int_equal(bytes, same);
    assert_memory_equal(together, apart, bytes);
    assert_true(isfinite(together[0]) && together[0] != 0 && together[bytes / 8] != 0);
    free(together);
    free(apart);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradient_changes_no_output),
        cmocka_unit_test(samples_do_not_see_each_other),
        cmocka_unit_test(cuts_and_memory),
        cmocka_unit_test(limits_and_staging),
        cmocka_unit_test(kept_or_recomputed),
        cmocka_unit_test(forward_pass_in_pieces),
        cmocka_unit_test(branches_together_or_apart),
    };
    return graph_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
