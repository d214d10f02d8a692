/* tests/models/test_faults.c - a small text encoder and a small ONNX network, from file to gradient, with the n-th
 * allocation or the n-th Vulkan call failing, for every n: a message, no crash, nothing left behind; and where the
 * failure was survived, the same bytes as without it.
 *
 * The models use at most 10 pipelines each, so that a CPU driver gets through all n in seconds. */
#include "models/model_test.h"

#include "models/clip_text.h"
#include "models/onnx_graph.h"

enum { MOST_PIPELINES = 10, MOST_VALUES = 4096 };

typedef struct fixture {
    const char *name, *input, *output, *cotangent;
    lk_safetensors file;
    char folder[512], network[600];
    /* the undisturbed run */
    float result[MOST_VALUES];
    int64_t calls, allocations;
    uint32_t pipelines;
} fixture;

typedef struct run {
    fixture *f;
    bool shared; /* runs on the device that is open already, its pipelines made */
    lk_device *device;
    lk_weights *weights;
    lk_graph *graph;
    lk_plan *plan;
    lk_instance *instance;
    lk_clip_text text;
    lk_onnx_network network;
    lk_value input, cotangent, output, gradient;
    float result[MOST_VALUES]; /* output, then gradient */
} run;

/* Held open throughout, so that the driver is loaded once and not for every n (opening it with failures is the business
 * of tests/gpu/test_faults.c). */
static lk_device *keeper;

static const lk_safetensor *tensor_of(const fixture *f, const char *name) {
    const lk_safetensor *tensor = lk_safetensors_find(&f->file, name);
    if (!tensor) fail_msg("%s: no tensor %s", f->file.name, name);
    return tensor;
}

static lk_value input_of(run *r, const char *name) {
    const lk_safetensor *tensor = tensor_of(r->f, name);
    lk_shape shape = {.rank = tensor->rank};
    for (int i = 0; i < tensor->rank; i++)
        shape.dim[i] = (int32_t)tensor->shape[i];
    return lk_graph_input(r->graph, name, shape, LK_F32);
}

/* The model's part between opening and planning. */
static likeness_status build(run *r, lk_error *error) {
    bool text = r->f->network[0] == 0;
    if (text)
        LK_TRY(lk_clip_text_open(&r->text, r->f->folder, r->weights, error));
    else
        LK_TRY(lk_onnx_network_open(&r->network, r->f->network, "net", r->weights, error));
    r->graph = lk_graph_create(r->weights, error);
    if (!r->graph) return error->status;
    r->input = input_of(r, r->f->input);
    r->output = text ? lk_clip_text_build(&r->text, r->graph, r->input, 0, NULL)
                     : lk_onnx_embed(&r->network, r->graph, r->input);
    lk_graph_output(r->graph, r->output, "output");
    r->cotangent = input_of(r, r->f->cotangent);
    lk_graph_gradient(r->graph, &r->output, &r->cotangent, 1, &r->input, 1, &r->gradient);
    LK_TRY(lk_graph_status(r->graph, error));
    lk_graph_output(r->graph, r->gradient, "gradient");
    return lk_graph_status(r->graph, error);
}

static likeness_status write_value(run *r, lk_value value, const char *name, lk_error *error) {
    const lk_safetensor *tensor = tensor_of(r->f, name);
    float values[MOST_VALUES];
    assert_true(tensor->elements <= MOST_VALUES);
    LK_TRY(lk_safetensor_to_f32(tensor, values, error));
    return lk_instance_write(r->instance, value, values, error);
}

static likeness_status run_all(run *r, lk_error *error) {
    const lk_device_options options = {.select = getenv("LIKENESS_TEST_DEVICE"), .cache_folder = ""};
    if (r->shared)
        r->device = keeper;
    else
        LK_TRY(lk_device_open(&options, &r->device, error));
    r->weights = lk_weights_create(false);
    if (!r->weights) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for a weight set");
    LK_TRY(build(r, error));
    r->plan = lk_plan_create(r->graph, &(lk_plan_options){0}, error);
    if (!r->plan) return error->status;
    r->instance = lk_instance_create(r->plan, r->device, NULL, error);
    if (!r->instance) return error->status;
    LK_TRY(write_value(r, r->input, r->f->input, error));
    LK_TRY(write_value(r, r->cotangent, r->f->cotangent, error));
    LK_TRY(lk_instance_run(r->instance, 0, error));
    LK_TRY(lk_instance_run(r->instance, 1, error));
    lk_shape shape = lk_graph_shape(r->graph, r->output);
    LK_TRY(lk_instance_read(r->instance, r->output, r->result, error));
    LK_TRY(lk_instance_read(r->instance, r->gradient, r->result + lk_shape_elements(&shape), error));
    if (!r->shared) r->f->pipelines = lk_device_pipeline_stats(r->device).created;
    return LIKENESS_OK;
}

static likeness_status whole(run *r, fixture *f, bool shared, lk_error *error) {
    memset(r, 0, sizeof *r);
    r->f = f;
    r->shared = shared;
    likeness_status status = run_all(r, error);
    lk_instance_destroy(r->instance);
    lk_plan_destroy(r->plan);
    lk_graph_destroy(r->graph);
    lk_weights_destroy(r->weights);
    lk_clip_text_close(&r->text);
    lk_onnx_network_close(&r->network);
    if (!shared) lk_device_close(r->device);
    return status;
}

/* ---- the fixtures ---- */

static fixture fixtures[] = {
    {.name = "clip_4", .input = "embeddings", .output = "hidden", .cotangent = "cotangent"},
    {.name = "onnx_preprocessing", .input = "picture", .output = "output_0", .cotangent = "cotangent_0"}};
enum { FIXTURES = sizeof fixtures / sizeof *fixtures };

static void prepare(fixture *f) {
    static run r;
    lk_error error = LK_ERROR_INIT;
    char path[600];
    snprintf(f->folder, sizeof f->folder, "%s/tests/data/models/%s", LIKENESS_SOURCE_DIR, f->name);
    snprintf(path, sizeof path, "%s/case.safetensors", f->folder);
    assert_ok(lk_safetensors_open(&f->file, path, &error), &error);
    if (strncmp(f->name, "onnx", 4) == 0) snprintf(f->network, sizeof f->network, "%s/network.onnx", f->folder);
    int64_t calls = lk_gpu_calls();
    assert_ok(whole(&r, f, false, &error), &error);
    f->calls = lk_gpu_calls() - calls;
    assert_ok(whole(&r, f, true, &error), &error);
    int64_t allocations = lk_memory_count();
    assert_ok(whole(&r, f, true, &error), &error);
    f->allocations = lk_memory_count() - allocations;
    memcpy(f->result, r.result, sizeof f->result);
    const lk_safetensor *truth = tensor_of(f, f->output);
    float values[MOST_VALUES];
    double found[MOST_VALUES], wanted[MOST_VALUES];
    assert_ok(lk_safetensor_to_f32(truth, values, &error), &error);
    for (size_t i = 0; i < truth->elements; i++) {
        found[i] = (double)f->result[i];
        wanted[i] = (double)values[i];
    }
    assert_true(case_distance(found, wanted, (int64_t)truth->elements) < 1e-3);
    if (f->pipelines == 0 || f->pipelines > MOST_PIPELINES)
        fail_msg("%s: %u pipelines, made for at most %d", f->name, f->pipelines, MOST_PIPELINES);
    printf("%-20s %u pipelines, %lld Vulkan calls, %lld allocations\n", f->name, f->pipelines, (long long)f->calls,
           (long long)f->allocations);
}

/* ---- the failures ---- */

/* One run with a failure switched on; `wanted` is the only way to fail. True when it was survived. */
static bool attempt(fixture *f, bool shared, const char *what, int64_t n, likeness_status wanted) {
    static run r;
    lk_error error = LK_ERROR_INIT;
    int64_t live = lk_memory_live();
    likeness_status status = whole(&r, f, shared, &error);
    lk_memory_fail_after(-1);
    lk_gpu_fail_after(-1, LK_FAULT_DEVICE_LOST);
    if (lk_memory_live() != live)
        fail_msg("%s: %s %lld: %lld blocks leaked", f->name, what, (long long)n, (long long)(lk_memory_live() - live));
    if (status == LIKENESS_OK) {
        if (memcmp(r.result, f->result, sizeof r.result) != 0)
            fail_msg("%s: %s %lld was survived with other numbers", f->name, what, (long long)n);
        return true;
    }
    if (status != wanted || error.status != status || strlen(error.message) < 8)
        fail_msg("%s: %s %lld: status %d, message '%s'", f->name, what, (long long)n, (int)status, error.message);
    return false;
}

static void every_allocation(void **state) {
    (void)state;
    for (int i = 0; i < FIXTURES; i++) {
        fixture *f = &fixtures[i];
        for (int64_t n = 0; n < f->allocations; n++) {
            lk_memory_fail_after(n);
            if (attempt(f, true, "all allocations after", n, LIKENESS_OUT_OF_MEMORY))
                fail_msg("%s: no memory from allocation %lld on, and nobody noticed", f->name, (long long)n);
            lk_memory_fail_once(n);
            attempt(f, true, "allocation", n, LIKENESS_OUT_OF_MEMORY);
        }
    }
}

static void every_call(void **state) {
    static const struct {
        lk_gpu_fault fault;
        likeness_status status;
        bool once;
        const char *what;
    } rows[] = {{LK_FAULT_OUT_OF_DEVICE_MEMORY, LIKENESS_OUT_OF_MEMORY, false, "no device memory after call"},
                {LK_FAULT_DEVICE_LOST, LIKENESS_DEVICE_LOST, false, "lost after call"},
                {LK_FAULT_OUT_OF_HOST_MEMORY, LIKENESS_OUT_OF_MEMORY, true, "no host memory in call"}};
    (void)state;
    const char *all = getenv("LIKENESS_TEST_ALL"); /* the last kind takes the same ways as the first */
    size_t kinds = all && all[0] && all[0] != '0' ? 3 : 2;
    for (int i = 0; i < FIXTURES; i++)
        for (size_t row = 0; row < kinds; row++) {
            fixture *f = &fixtures[i];
            for (int64_t n = 0; n < f->calls; n++) {
                if (rows[row].once)
                    lk_gpu_fail_once(n, rows[row].fault);
                else
                    lk_gpu_fail_after(n, rows[row].fault);
                attempt(f, false, rows[row].what, n, rows[row].status);
            }
        }
}

static int start(void **state) {
    (void)state;
    for (int i = 0; i < FIXTURES; i++)
        prepare(&fixtures[i]);
    return 0;
}

static int stop(void **state) {
    (void)state;
    for (int i = 0; i < FIXTURES; i++)
        lk_safetensors_close(&fixtures[i].file);
    lk_device_close(keeper);
    return lk_memory_live() == 0 && lk_device_validation_count() == 0 ? 0 : -1;
}

int main(void) {
    lk_error error = LK_ERROR_INIT;
    const lk_device_options options = {.select = getenv("LIKENESS_TEST_DEVICE"), .cache_folder = ""};
    if (lk_device_open(&options, &keeper, &error) != LIKENESS_OK) {
        printf("skipped: %s\n", error.message);
        return 77;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation), cmocka_unit_test(every_call)};
    return cmocka_run_group_tests(tests, start, stop);
}
