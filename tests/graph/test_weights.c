/* tests/graph/test_weights.c - a model's constants: names, their bytes on the device, one copy for every graph and
 * instance, sources that fail. */
#include "graph/graph_test.h"

#include "graph/internal.h"
#include "ops/pack.h"

/* A source that counts, and fails when told to. */
typedef struct source {
    float base;
    int64_t count;
    int filled, destroyed;
    bool integers, fails;
} source;

static likeness_status fill(void *user, void *values, lk_error *error) {
    source *s = user;
    s->filled++;
    if (s->fails) return lk_fail(error, LIKENESS_BAD_FILE, "the source of %g is gone", (double)s->base);
    for (int64_t i = 0; i < s->count; i++)
        if (s->integers)
            ((int32_t *)values)[i] = (int32_t)(s->base + (float)i);
        else
            ((float *)values)[i] = s->base + (float)i / 1024; /* exact in f16 below 2 */
    return LIKENESS_OK;
}

static void destroy(void *user) { ((source *)user)->destroyed++; }

static int32_t add(lk_weights *weights, const char *name, lk_weight_role role, lk_shape shape, int groups, source *s) {
    lk_error error = LK_ERROR_INIT;
    s->count = lk_shape_elements(&shape);
    int32_t index = lk_weights_add(weights, name, role, &shape, groups, fill, s, destroy, &error);
    if (index < 0) fail_msg("%s", error.message);
    return index;
}

static lk_weights *weights_new(bool precise) {
    lk_weights *weights = lk_weights_create(precise);
    assert_non_null(weights);
    return weights;
}

static void names(void **state) {
    (void)state;
    lk_error error = LK_ERROR_INIT;
    lk_weights *weights = weights_new(false);
    source *sources = calloc(3000, sizeof *sources);
    char name[64];
    assert_int_equal(lk_weights_find(weights, "empty"), -1);
    for (int i = 0; i < 3000; i++) {
        snprintf(name, sizeof name, "block.%d.weight", i);
        assert_int_equal(add(weights, name, LK_WEIGHT_VECTOR, lk_shape1(3), 1, &sources[i]), i);
    }
    for (int i = 0; i < 3000; i++) {
        snprintf(name, sizeof name, "block.%d.weight", i);
        assert_int_equal(lk_weights_find(weights, name), i);
    }
    assert_int_equal(lk_weights_find(weights, "block.3000.weight"), -1);
    assert_int_equal(lk_weights_find(weights, ""), -1);
    /* Twice, and shapes that cannot be: refused by name, nothing is added, the source is not taken over. */
    source extra = {0};
    lk_shape good = lk_shape1(3), bad = lk_shape2(4, 0);
    assert_int_equal(
        lk_weights_add(weights, "block.7.weight", LK_WEIGHT_VECTOR, &good, 1, fill, &extra, destroy, &error), -1);
    assert_int_equal(error.status, LIKENESS_BAD_FILE);
    assert_non_null(strstr(error.message, "block.7.weight"));
    lk_error second = LK_ERROR_INIT;
    assert_int_equal(lk_weights_add(weights, "flat", LK_WEIGHT_MATRIX, &bad, 1, fill, &extra, destroy, &second), -1);
    assert_non_null(strstr(second.message, "[4,0]"));
    assert_int_equal(lk_weights_find(weights, "flat"), -1);
    lk_weights_destroy(weights);
    for (int i = 0; i < 3000; i++)
        assert_true(sources[i].destroyed == 1 && sources[i].filled == 0);
    assert_int_equal(extra.destroyed, 0);
    free(sources);
}

/* ---- on a device ---- */

/* What the device holds must be what the packing functions make of the values, byte for byte. */
static void check_bytes(const lk_weights *weights, int32_t index) {
    lk_error error = LK_ERROR_INIT;
    const lk_weight *weight = &weights->items[index];
    int64_t count = lk_shape_elements(&weight->shape);
    void *dense = malloc((size_t)count * 4);
    source copy = *(source *)weight->user;
    assert_ok(fill(&copy, dense, &error), &error);
    bool packed = weight->role == LK_WEIGHT_MATRIX;
    size_t bytes = packed ? lk_pack_bytes(&weight->shape, weight->groups, weight->tensor.storage)
                          : lk_tensor_row_bytes(&weight->tensor);
    unsigned char *expected = calloc(bytes, 1), *found = malloc(bytes);
    if (packed)
        lk_pack_weight(&weight->shape, weight->groups, weight->tensor.storage, dense, expected);
    else
        lk_to_rows(&weight->shape, dense, expected);
    assert_true(weight->ref.bytes >= bytes && weight->ref.offset % LK_BUFFER_ALIGN == 0);
    assert_ok(lk_ref_read(weight->ref, 0, found, bytes, &error), &error);
    assert_memory_equal(found, expected, bytes);
    free(dense);
    free(expected);
    free(found);
}

static void uploads(void **state) {
    (void)state;
    lk_device *device = graph_device();
    for (int precise = 0; precise < 2; precise++) {
        lk_error error = LK_ERROR_INIT;
        lk_weights *weights = weights_new(precise);
        source s[6] = {{.base = 0.5f}, {.base = -1}, {.base = 0.25f}, {.base = -3}, {.base = 0, .integers = true},
                       {.base = 1}};
        add(weights, "matrix", LK_WEIGHT_MATRIX, lk_shape2(13, 21), 1, &s[0]);
        add(weights, "kernel", LK_WEIGHT_MATRIX, lk_shape4(10, 3, 3, 5), 1, &s[1]);
        add(weights, "grouped", LK_WEIGHT_MATRIX, lk_shape4(8, 2, 3, 3), 4, &s[2]);
        add(weights, "bias", LK_WEIGHT_VECTOR, lk_shape1(19), 1, &s[3]);
        add(weights, "ids", LK_WEIGHT_INDEX, lk_shape2(3, 5), 1, &s[4]);
        assert_ok(lk_weights_upload(weights, device, &error), &error);
        assert_ok(lk_weights_upload(weights, device, &error), &error);
        /* What is added later is uploaded later, and only that. */
        add(weights, "table", LK_WEIGHT_TABLE, lk_shape2(31, 7), 1, &s[5]);
        assert_ok(lk_weights_upload(weights, device, &error), &error);
        for (int32_t i = 0; i < 6; i++) {
            assert_int_equal(s[i].filled, 1);
            check_bytes(weights, i);
        }
        for (int a = 0; a < 6; a++)
            for (int b = 0; b < a; b++) {
                lk_buffer_ref x = weights->items[a].ref, y = weights->items[b].ref;
                assert_true(x.block != y.block || x.offset >= y.offset + y.bytes || y.offset >= x.offset + x.bytes);
            }
        lk_weights_destroy(weights);
        for (int i = 0; i < 6; i++)
            assert_int_equal(s[i].destroyed, 1);
    }
}

/* The reference sees matrices as the device has them: rounded to f16 unless precise. */
static void values_as_stored(void **state) {
    (void)state;
    lk_error error = LK_ERROR_INIT;
    const float values[2] = {0.1f, 65504.0f};
    lk_shape shape = lk_shape2(1, 2);
    for (int precise = 0; precise < 2; precise++) {
        float found[2];
        lk_weights *weights = weights_new(precise);
        assert_int_equal(lk_weights_add_values(weights, "m", LK_WEIGHT_MATRIX, &shape, 1, values, &error), 0);
        assert_int_equal(lk_weights_add_values(weights, "v", LK_WEIGHT_TABLE, &shape, 1, values, &error), 1);
        assert_ok(lk_weight_values(weights, 0, found, &error), &error);
        assert_true(found[0] == (precise ? 0.1f : 0.0999755859375f) && found[1] == 65504.0f);
        assert_ok(lk_weight_values(weights, 1, found, &error), &error);
        assert_true(found[0] == 0.1f);
        lk_weights_destroy(weights);
    }
}

static void a_source_that_fails(void **state) {
    (void)state;
    lk_device *device = graph_device();
    lk_error error = LK_ERROR_INIT, again = LK_ERROR_INIT;
    lk_weights *weights = weights_new(false);
    source good = {.base = 1}, bad = {.base = 2, .fails = true};
    add(weights, "good", LK_WEIGHT_VECTOR, lk_shape1(4), 1, &good);
    add(weights, "bad", LK_WEIGHT_MATRIX, lk_shape2(4, 4), 1, &bad);
    assert_int_equal(lk_weights_upload(weights, device, &error), LIKENESS_BAD_FILE);
    assert_non_null(strstr(error.message, "source of 2"));
    lk_graph *graph = graph_new(weights);
    lk_graph_output(graph, lk_silu(graph, lk_graph_input(graph, "x", lk_shape1(4), LK_F32)), "y");
    lk_plan *plan = graph_plan(graph, NULL);
    assert_null(lk_instance_create(plan, device, NULL, &again)); /* an instance uploads, too */
    assert_int_equal(again.status, LIKENESS_BAD_FILE);
    bad.fails = false; /* the file is back */
    lk_instance *instance = graph_instance(plan, device, NULL);
    assert_int_equal(good.filled, 1);
    check_bytes(weights, 1);
    lk_instance_destroy(instance);
    lk_plan_destroy(plan);
    lk_graph_destroy(graph);
    lk_weights_destroy(weights);
}

static void one_device_only(void **state) {
    (void)state;
    lk_device *device = graph_device(), *other = NULL;
    lk_error error = LK_ERROR_INIT;
    const lk_device_options options = {.select = getenv("LIKENESS_TEST_DEVICE"), .cache_folder = ""};
    assert_ok(lk_device_open(&options, &other, &error), &error);
    lk_weights *weights = weights_new(false);
    source s = {.base = 1};
    add(weights, "w", LK_WEIGHT_VECTOR, lk_shape1(4), 1, &s);
    assert_ok(lk_weights_upload(weights, device, &error), &error);
    assert_int_equal(lk_weights_upload(weights, other, &error), LIKENESS_INTERNAL);
    assert_non_null(strstr(error.message, "another device"));
    lk_weights_destroy(weights);
    lk_device_close(other);
}

/* Two graphs and five instances of one model: its weights are on the device once. */
static void shared_by_instances(void **state) {
    (void)state;
    lk_device *device = graph_device();
    network_case n;
    network_open(&n, "unet_2", &(network_options){.precise = false});
    lk_plan *plan = graph_plan(n.c.graph, NULL);
    uint64_t before = lk_device_memory_now(device), after[4];
    lk_instance *instance[4];
    for (int i = 0; i < 4; i++) {
        instance[i] = graph_instance(plan, device, NULL);
        after[i] = lk_device_memory_now(device);
    }
    uint64_t arena = after[1] - after[0];
    assert_true(arena >= lk_plan_information(plan).arena_bytes);
    assert_true(arena < lk_plan_information(plan).arena_bytes + 65536); /* and the norms' scratch */
    assert_true(after[2] - after[1] == arena && after[3] - after[2] == arena);
    assert_true(after[0] - before >= arena + lk_plan_information(plan).weight_bytes / 2); /* matrices are f16 */
    lk_graph *second = graph_new(n.c.weights);
    lk_unet_inputs in = {.context = LK_NO_VALUE, .key_bias = LK_NO_VALUE};
    in.sample = lk_graph_input(second, "z", lk_graph_shape(n.c.graph, n.c.input[0].value), LK_F32);
    in.time = lk_graph_input(second, "time", lk_graph_shape(n.c.graph, n.c.input[1].value), LK_F32);
    if (lk_safetensors_find(&n.c.file, "context"))
        in.context = lk_graph_input(second, "context", lk_graph_shape(n.c.graph, n.c.input[2].value), LK_F32);
    lk_graph_output(second, lk_unet_build(&n.unet, second, &in, NULL), "y");
    lk_plan *other_plan = graph_plan(second, NULL);
    lk_instance *other = graph_instance(other_plan, device, NULL);
    assert_true(lk_device_memory_now(device) - after[3] < lk_plan_information(other_plan).arena_bytes + 65536);
    lk_instance_destroy(other);
    lk_plan_destroy(other_plan);
    lk_graph_destroy(second);
    for (int i = 0; i < 4; i++)
        lk_instance_destroy(instance[i]);
    assert_true(lk_device_memory_now(device) == after[0] - arena); /* the weights stay for the next graph */
    lk_plan_destroy(plan);
    network_close(&n);
    assert_true(lk_device_memory_now(device) == before);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),
        cmocka_unit_test(uploads),
        cmocka_unit_test(values_as_stored),
        cmocka_unit_test(a_source_that_fails),
        cmocka_unit_test(one_device_only),
        cmocka_unit_test(shared_by_instances),
    };
    return graph_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
