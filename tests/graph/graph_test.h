/* tests/graph/graph_test.h - what the tests of src/graph share: a device whose commands are traced, numbers, running a
 * graph or a network's fixture and keeping every byte that comes out.
 *
 *     packed results of a fixture:  | output 0 | output 1 | ... | gradient 0 | ... |   dense f32 */
#ifndef LK_TESTS_GRAPH_TEST_H
#define LK_TESTS_GRAPH_TEST_H

#include "models/network_cases.h"

#include "gpu/check.h"
#include "graph/instance.h"
#include "support/tape.h"

static lk_device *graph_opened; /* what graph_device_or_null has opened */

/* The device of LIKENESS_TEST_DEVICE, else the best one, traced; the calling test is skipped where there is none. */
static inline lk_device *graph_device_or_null(void) {
    static bool tried;
    lk_error error = LK_ERROR_INIT;
    if (tried) return graph_opened;
    tried = true;
    const lk_device_options options = {.select = getenv("LIKENESS_TEST_DEVICE"), .cache_folder = "", .trace = true};
    if (lk_device_open(&options, &graph_opened, &error) != LIKENESS_OK) {
        graph_opened = NULL;
        printf("skipped on a device: %s\n", error.message);
    }
    return graph_opened;
}

static inline lk_device *graph_device(void) {
    if (!graph_device_or_null()) skip();
    lk_check_clear(graph_device_or_null());
    return graph_device_or_null();
}

/* The end of every program: no validation message, nothing leaked. */
static inline int graph_finish(int failed) {
    lk_device_close(graph_opened);
    if (lk_device_validation_count() > 0) {
        printf("validation: %lld messages, last: %s\n", (long long)lk_device_validation_count(),
               lk_device_validation_last());
        failed++;
    }
    if (lk_memory_live() != 0) {
        printf("%lld host allocations leaked\n", (long long)lk_memory_live());
        failed++;
    }
    return failed;
}

static inline lk_graph *graph_new(lk_weights *weights) {
    lk_error error = LK_ERROR_INIT;
    lk_graph *graph = lk_graph_create(weights, &error);
    if (!graph) fail_msg("%s", error.message);
    return graph;
}

static inline lk_plan *graph_plan(lk_graph *graph, const lk_plan_options *options) {
    lk_error error = LK_ERROR_INIT;
    lk_plan *plan = lk_plan_create(graph, options, &error);
    if (!plan) fail_msg("%s", error.message);
    return plan;
}

static inline lk_instance *graph_instance(lk_plan *plan, lk_device *device, const lk_instance_options *options) {
    lk_error error = LK_ERROR_INIT;
    lk_instance *instance = lk_instance_create(plan, device, options, &error);
    if (!instance) fail_msg("%s", error.message);
    return instance;
}

static inline void graph_run(lk_instance *instance, int section) {
    lk_error error = LK_ERROR_INIT;
    assert_ok(lk_instance_run(instance, section, &error), &error);
}

/* n numbers between low and high; free() them. */
static inline float *graph_random(uint64_t seed, int64_t n, double low, double high) {
    test_random random = {seed};
    float *values = malloc((size_t)(n > 0 ? n : 1) * sizeof *values);
    assert_non_null(values);
    for (int64_t i = 0; i < n; i++)
        values[i] = (float)test_uniform(&random, low, high);
    return values;
}

/* Adds a matrix or vector of random values, well scaled; returns its value in the graph. */
static inline lk_value graph_weight(lk_graph *graph, lk_weights *weights, const char *name, lk_weight_role role,
                                    lk_shape shape) {
    lk_error error = LK_ERROR_INIT;
    int64_t count = lk_shape_elements(&shape);
    double reach = shape.rank > 1 ? 1.7 / sqrt((double)(count / shape.dim[0])) : 0.5;
    uint64_t seed = 7;
    for (const char *c = name; *c; c++)
        seed = seed * 131 + (unsigned char)*c;
    float *values = graph_random(seed, count, -reach, reach);
    int32_t index = lk_weights_add_values(weights, name, role, &shape, 1, values, &error);
    free(values);
    if (index < 0) fail_msg("%s", error.message);
    return lk_graph_weight(graph, index);
}

/* ---- fixtures on a device ---- */

typedef struct run_options {
    lk_plan_options plan;
    lk_instance_options instance;
    int replays; /* of all sections, inputs written anew each time; 0: 1 */
} run_options;

static inline size_t case_result_count(const model_case *c) {
    size_t count = 0;
    for (int i = 0; i < c->outputs; i++)
        count += (size_t)c->output[i].count;
    for (int i = 0; i < c->gradients; i++)
        count += (size_t)c->gradient[i].count;
    return count;
}

/* All sections in order, results read as soon as they are there: so every recording's end is followed by an access. */
static inline void case_replay(const model_case *c, lk_instance *instance, float *results) {
    lk_error error = LK_ERROR_INIT;
    graph_run(instance, 0);
    for (int i = 0; i < c->outputs; results += c->output[i++].count)
        assert_ok(lk_instance_read(instance, c->output[i].value, results, &error), &error);
    if (c->section > 0) graph_run(instance, c->section);
    for (int i = 0; i < c->gradients; results += c->gradient[i++].count)
        assert_ok(lk_instance_read(instance, c->gradient[i].value, results, &error), &error);
}

static inline void case_write_all(const model_case *c, lk_instance *instance) {
    for (int i = 0; i < c->inputs; i++)
        case_write(c, instance, &c->input[i]);
}

/* Packed results of a run; free() them. */
static inline float *case_run(const model_case *c, lk_device *device, const run_options *options) {
    lk_plan *plan = graph_plan(c->graph, &options->plan);
    lk_instance *instance = graph_instance(plan, device, &options->instance);
    float *results = malloc(case_result_count(c) * sizeof *results);
    assert_non_null(results);
    for (int replay = 0; replay < (options->replays > 0 ? options->replays : 1); replay++) {
        case_write_all(c, instance);
        case_replay(c, instance, results);
    }
    lk_instance_destroy(instance);
    lk_plan_destroy(plan);
    return results;
}

static inline void case_same_bytes(const model_case *c, const float *a, const float *b, const char *what) {
    for (int i = 0; i < c->outputs + c->gradients; i++) {
        const case_value *value = i < c->outputs ? &c->output[i] : &c->gradient[i - c->outputs];
        for (int64_t k = 0; k < value->count; k++)
            if (memcmp(&a[k], &b[k], sizeof *a) != 0)
                fail_msg("%s, %s: element %lld of %s is %.9g, was %.9g", c->name, what, (long long)k, value->name,
                         (double)b[k], (double)a[k]);
        a += value->count;
        b += value->count;
    }
}

#endif
