/* tests/graph/test_instance.c - plans on a device: replays with new inputs, instances apart from each other, sections
 * on their own, what is refused, failing memory and Vulkan calls. */
#include "graph/graph_test.h"

/* y = silu(x w + b), one graph for all tests here; its gradient; a per-step scalar. */
typedef struct layer {
    lk_weights *weights;
    lk_graph *graph;
    lk_plan *plan;
    lk_value x, step, y, d, gradient, hidden;
} layer;

enum { ROWS = 3, WIDTH = 12, COUNT = ROWS * WIDTH };

static layer layer_new(void) {
    layer l = {.weights = lk_weights_create(false)};
    assert_non_null(l.weights);
    lk_graph *g = l.graph = graph_new(l.weights);
    l.x = lk_graph_input(g, "x", lk_shape2(ROWS, WIDTH), LK_F32);
    l.step = lk_graph_input(g, "dt", lk_shape1(1), LK_F32);
    l.d = lk_graph_input(g, "d", lk_shape2(ROWS, WIDTH), LK_F32);
    lk_value w = graph_weight(g, l.weights, "w", LK_WEIGHT_MATRIX, lk_shape2(WIDTH, WIDTH));
    lk_value b = graph_weight(g, l.weights, "b", LK_WEIGHT_VECTOR, lk_shape1(WIDTH));
    l.hidden = lk_matmul(g, l.x, w, b, LK_NO_VALUE);
    l.y = lk_flow_step(g, l.x, lk_silu(g, l.hidden), l.step, LK_NO_VALUE);
    lk_graph_output(g, l.y, "y");
    assert_int_equal(lk_graph_gradient(g, &l.y, &l.d, 1, &l.x, 1, &l.gradient), 1);
    lk_graph_output(g, l.gradient, "gradient");
    l.plan = graph_plan(g, NULL);
    return l;
}

static void layer_free(layer *l) {
    lk_plan_destroy(l->plan);
    lk_graph_destroy(l->graph);
    lk_weights_destroy(l->weights);
}

static void put(lk_instance *instance, lk_value value, const float *data) {
    lk_error error = LK_ERROR_INIT;
    assert_ok(lk_instance_write(instance, value, data, &error), &error);
}

static void get(lk_instance *instance, lk_value value, float *data) {
    lk_error error = LK_ERROR_INIT;
    assert_ok(lk_instance_read(instance, value, data, &error), &error);
}

/* Inputs number `seed` into the instance. */
static void load(const layer *l, lk_instance *instance, uint64_t seed) {
    float *x = graph_random(seed, COUNT, -1, 1), *d = graph_random(seed + 1000, COUNT, -1, 1);
    float *dt = graph_random(seed + 2000, 1, 0.1, 0.9);
    put(instance, l->x, x);
    put(instance, l->d, d);
    put(instance, l->step, dt);
    free(x);
    free(d);
    free(dt);
}

static void result(const layer *l, lk_instance *instance, float out[2 * COUNT]) {
    get(instance, l->y, out);
    get(instance, l->gradient, out + COUNT);
}

/* Nothing that changes from step to step is in a recording: one instance replayed with step after step's inputs gives
 * what a fresh instance gives for each. */
static void replays_take_new_inputs(void **state) {
    (void)state;
    lk_device *device = graph_device();
    layer l = layer_new();
    lk_instance *kept = graph_instance(l.plan, device, NULL);
    float a[2 * COUNT], b[2 * COUNT], last[2 * COUNT] = {0};
    for (uint64_t step = 1; step <= 5; step++) {
        load(&l, kept, step);
        graph_run(kept, 0);
        graph_run(kept, 1);
        result(&l, kept, a);
        lk_instance *fresh = graph_instance(l.plan, device, NULL);
        load(&l, fresh, step);
        graph_run(fresh, 0);
        graph_run(fresh, 1);
        result(&l, fresh, b);
        lk_instance_destroy(fresh);
        assert_memory_equal(a, b, sizeof a);
        assert_memory_not_equal(a, last, COUNT * sizeof *a);
        assert_memory_not_equal(a + COUNT, last + COUNT, COUNT * sizeof *a);
        memcpy(last, a, sizeof a);
    }
    /* Only the step changes: the recording must read it anew. */
    put(kept, l.step, (const float[]){0.0f});
    graph_run(kept, 0);
    get(kept, l.y, a);
    float *x = graph_random(5, COUNT, -1, 1);
    assert_memory_equal(a, x, COUNT * sizeof *a); /* x + 0 v */
    free(x);
    lk_instance_destroy(kept);
    layer_free(&l);
}

/* Four instances hold four states; running one leaves the others alone. */
static void instances_are_apart(void **state) {
    (void)state;
    lk_device *device = graph_device();
    layer l = layer_new();
    lk_instance *instance[4];
    float alone[4][2 * COUNT], together[2 * COUNT];
    for (int i = 0; i < 4; i++) {
        instance[i] = graph_instance(l.plan, device, NULL);
        load(&l, instance[i], (uint64_t)i + 1);
        graph_run(instance[i], 0);
        graph_run(instance[i], 1);
        result(&l, instance[i], alone[i]);
    }
    for (int i = 0; i < 4; i++)
        graph_run(instance[i], 0); /* forward through all, then back, as guidance does */
    for (int i = 3; i >= 0; i--)
        graph_run(instance[i], 1);
    for (int i = 0; i < 4; i++) {
        result(&l, instance[i], together);
        assert_memory_equal(together, alone[i], sizeof together);
        lk_instance_destroy(instance[i]);
    }
    layer_free(&l);
}

/* A gradient is replayed with new cotangents on one forward pass, and is linear in them. */
static void sections_on_their_own(void **state) {
    (void)state;
    lk_device *device = graph_device();
    layer l = layer_new();
    lk_instance *instance = graph_instance(l.plan, device, NULL);
    float first[COUNT], again[COUNT], doubled[COUNT], *d = graph_random(1001, COUNT, -1, 1);
    load(&l, instance, 1);
    graph_run(instance, 0);
    graph_run(instance, 1);
    get(instance, l.gradient, first);
    for (int i = 0; i < COUNT; i++)
        d[i] *= 2;
    put(instance, l.d, d);
    graph_run(instance, 1);
    get(instance, l.gradient, doubled);
    for (int i = 0; i < COUNT; i++)
        assert_true(doubled[i] == 2 * first[i]); /* a power of two is exact */
    load(&l, instance, 1);
    graph_run(instance, 1);
    get(instance, l.gradient, again);
    assert_memory_equal(first, again, sizeof first);
    assert_int_equal(lk_instance_command_count(instance, 0), 3);
    assert_true(lk_instance_command_count(instance, 1) >= 3);
    free(d);
    lk_instance_destroy(instance);
    layer_free(&l);
}

/* What the host and the device do to the same memory is ordered, over several recordings. */
static void the_trace_is_ordered(void **state) {
    (void)state;
    lk_device *device = graph_device();
    lk_error error = LK_ERROR_INIT;
    lk_check_result result_of_check;
    layer l = layer_new();
    lk_instance *a = graph_instance(l.plan, device, NULL), *b = graph_instance(l.plan, device, NULL);
    float out[2 * COUNT];
    for (uint64_t step = 0; step < 3; step++) {
        load(&l, a, step);
        graph_run(a, 0);
        get(a, l.y, out);
        put(b, l.x, out);
        graph_run(b, 0);
        graph_run(a, 1);
        graph_run(b, 1);
        result(&l, b, out);
    }
    assert_ok(lk_check_trace(device, &result_of_check, &error), &error);
    if (result_of_check.conflicts) fail_msg("%s", result_of_check.first);
    assert_true(result_of_check.commands > 30 && result_of_check.commands + result_of_check.host_accesses > 45);
    lk_instance_destroy(a);
    lk_instance_destroy(b);
    layer_free(&l);
}

static void refusals(void **state) {
    (void)state;
    lk_device *device = graph_device();
    layer l = layer_new();
    lk_instance *instance = graph_instance(l.plan, device, NULL);
    float data[COUNT] = {0};
    lk_error e[6] = {LK_ERROR_INIT, LK_ERROR_INIT, LK_ERROR_INIT, LK_ERROR_INIT, LK_ERROR_INIT, LK_ERROR_INIT};
    assert_int_equal(lk_instance_write(instance, l.y, data, &e[0]), LIKENESS_INTERNAL);
    assert_int_equal(lk_instance_write(instance, 9999, data, &e[1]), LIKENESS_INTERNAL);
    assert_int_equal(lk_instance_read(instance, l.hidden, data, &e[2]), LIKENESS_INTERNAL);
    assert_int_equal(lk_instance_read(instance, LK_NO_VALUE, data, &e[3]), LIKENESS_INTERNAL);
    assert_int_equal(lk_instance_run(instance, 2, &e[4]), LIKENESS_INTERNAL);
    assert_int_equal(lk_instance_run(instance, -1, &e[5]), LIKENESS_INTERNAL);
    for (int i = 0; i < 6; i++)
        assert_true(e[i].message[0] != 0);
    lk_instance_destroy(instance);
    layer_free(&l);
}

/* Variants that doctor forces are those that run, and all of them are right; a call with fewer takes its last one. */
static void forced_variants(void **state) {
    (void)state;
    lk_device *device = graph_device();
    layer l = layer_new();
    double expected[2 * COUNT] = {0}, found[2 * COUNT];
    for (int32_t variant = 0; variant < 100; variant = variant < 5 ? variant + 1 : 99 + (variant == 99)) {
        float out[2 * COUNT];
        int32_t variants[LK_OP_COUNT];
        for (int op = 0; op < LK_OP_COUNT; op++)
            variants[op] = variant;
        lk_instance *instance = graph_instance(l.plan, device, &(lk_instance_options){.variants = variants});
        load(&l, instance, 3);
        graph_run(instance, 0);
        graph_run(instance, 1);
        result(&l, instance, out);
        for (int i = 0; i < 2 * COUNT; i++)
            found[i] = (double)out[i];
        if (variant == 0) memcpy(expected, found, sizeof found);
        assert_true(test_error(found, expected, COUNT) < 1e-5);
        assert_true(test_error(found + COUNT, expected + COUNT, COUNT) < 1e-5);
        lk_instance_destroy(instance);
    }
    layer_free(&l);
}

/* ---- failures ---- */

static likeness_status create_and_run(const layer *l, lk_device *device, lk_error *error) {
    lk_instance *instance = lk_instance_create(l->plan, device, NULL, error);
    likeness_status status = instance ? LIKENESS_OK : error->status;
    float data[COUNT] = {1};
    if (status == LIKENESS_OK) status = lk_instance_write(instance, l->x, data, error);
    for (int s = 0; s < 2 && status == LIKENESS_OK; s++)
        status = lk_instance_run(instance, s, error);
    if (status == LIKENESS_OK) status = lk_instance_read(instance, l->gradient, data, error);
    lk_instance_destroy(instance);
    return status;
}

static lk_device *device_apart(uint64_t memory_limit) {
    lk_error error = LK_ERROR_INIT;
    lk_device *device = NULL;
    const lk_device_options options = {
        .select = getenv("LIKENESS_TEST_DEVICE"), .cache_folder = "", .memory_limit = memory_limit};
    assert_ok(lk_device_open(&options, &device, &error), &error);
    return device;
}

static void every_failure_is_survived(void **state) {
    (void)state;
    graph_device(); /* or skip */
    layer l = layer_new();
    for (int kind = 0; kind < 2; kind++) {
        lk_device *device = device_apart(0);
        lk_error error = LK_ERROR_INIT;
        assert_ok(create_and_run(&l, device, &error), &error); /* pipelines and weights are there from now on */
        int64_t live = lk_memory_live(), n = 0;
        uint64_t memory = lk_device_memory_now(device);
        for (;; n++) {
            lk_error why = LK_ERROR_INIT;
            if (kind == 0)
                lk_memory_fail_after(n);
            else
                lk_gpu_fail_after(n, LK_FAULT_OUT_OF_DEVICE_MEMORY);
            likeness_status status = create_and_run(&l, device, &why);
            lk_memory_fail_after(-1);
            lk_gpu_fail_after(-1, LK_FAULT_OUT_OF_DEVICE_MEMORY);
            if (lk_memory_live() != live || lk_device_memory_now(device) != memory)
                fail_msg("failure %lld leaked", (long long)n);
            if (status == LIKENESS_OK) break;
            if (status != LIKENESS_OUT_OF_MEMORY || !why.message[0])
                fail_msg("failure %lld: status %d, '%s'", (long long)n, (int)status, why.message);
        }
        assert_true(n > 10);
        lk_weights_destroy(l.weights); /* they were on this device */
        l.weights = NULL;
        lk_plan_destroy(l.plan);
        lk_graph_destroy(l.graph);
        lk_device_close(device);
        if (kind == 0) l = layer_new();
    }
}

static void too_little_device_memory(void **state) {
    (void)state;
    graph_device();
    lk_error error = LK_ERROR_INIT;
    network_case n;
    network_open(&n, "unet_0", &(network_options){.precise = false});
    lk_device *device = device_apart(100000);
    lk_plan *plan = graph_plan(n.c.graph, NULL);
    assert_null(lk_instance_create(plan, device, NULL, &error));
    assert_int_equal(error.status, LIKENESS_OUT_OF_MEMORY);
    assert_non_null(strstr(error.message, "memory"));
    lk_plan_destroy(plan);
    network_close(&n);
    lk_device_close(device);
}

/* Two networks in turn in one arena: the results of memory of their own, and the memory of the larger one. */
static void one_arena_for_two(void **state) {
    (void)state;
    lk_device *device = graph_device();
    static const char *const names[2] = {"unet_1", "decoder_1"};
    network_case n[2];
    lk_plan *plan[2];
    lk_instance *instance[2];
    float *expected[2];
    lk_error error = LK_ERROR_INIT;
    for (int i = 0; i < 2; i++) {
        network_open(&n[i], names[i], &(network_options){.precise = false});
        expected[i] = case_run(&n[i].c, device, &(run_options){.replays = 1});
        plan[i] = graph_plan(n[i].c.graph, NULL);
    }
    uint64_t before = lk_device_memory_now(device);
    lk_arena *arena = lk_arena_create(device, (const lk_plan *const *)plan, 2, &error);
    assert_non_null(arena);
    uint64_t a = lk_plan_information(plan[0]).arena_bytes, b = lk_plan_information(plan[1]).arena_bytes;
    assert_int_equal(lk_device_memory_now(device) - before, a > b ? a : b);
    for (int i = 0; i < 2; i++)
        instance[i] = graph_instance(plan[i], device, &(lk_instance_options){.arena = arena});
    for (int turn = 0; turn < 4; turn++) {
        int i = turn % 2;
        float *found = malloc(case_result_count(&n[i].c) * sizeof *found);
        case_write_all(&n[i].c, instance[i]);
        case_replay(&n[i].c, instance[i], found);
        case_same_bytes(&n[i].c, expected[i], found, "in a shared arena");
        free(found);
    }
    lk_arena *small = lk_arena_create(device, (const lk_plan *const *)&plan[a < b ? 0 : 1], 1, &error);
    assert_null(lk_instance_create(plan[a < b ? 1 : 0], device, &(lk_instance_options){.arena = small}, &error));
    assert_int_equal(error.status, LIKENESS_INTERNAL);
    lk_arena_destroy(small);
    for (int i = 0; i < 2; i++) {
        lk_instance_destroy(instance[i]);
        lk_plan_destroy(plan[i]);
        free(expected[i]);
    }
    lk_arena_destroy(arena);
    for (int i = 0; i < 2; i++)
        network_close(&n[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replays_take_new_inputs),  cmocka_unit_test(instances_are_apart),
        cmocka_unit_test(one_arena_for_two),        cmocka_unit_test(sections_on_their_own),
        cmocka_unit_test(the_trace_is_ordered),     cmocka_unit_test(refusals),
        cmocka_unit_test(forced_variants),          cmocka_unit_test(every_failure_is_survived),
        cmocka_unit_test(too_little_device_memory),
    };
    return graph_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
