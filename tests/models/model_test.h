/* tests/models/model_test.h - a graph with known inputs, cotangents and results, run by the C reference and on a
 * device.
 *
 *   model_case c = {0};
 *   case_begin(&c, folder)              opens tests/data/models/FOLDER/case.safetensors, a weight set, a graph
 *   case_input / case_output            values of the graph and the tensors of the file that belong to them
 *   case_gradient                       appends the vector-Jacobian product of all outputs
 *   case_check(&c)                      reference in double: 2e-6; device: 1e-4 (house error measure, each result
 * apart) case_end(&c) */
#ifndef LK_TESTS_MODEL_TEST_H
#define LK_TESTS_MODEL_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/memory.h"
#include "gpu/device.h"
#include "graph/build.h"
#include "io/safetensors.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define assert_ok(expression, error)                                                                                   \
    do {                                                                                                               \
        if ((expression) != LIKENESS_OK) fail_msg("%s: %s", #expression, (error)->message);                            \
    } while (0)

enum { CASE_MOST = 32 };

typedef struct case_value {
    const char *name;
    lk_value value;
    bool integers;
    int64_t count;
    double *values; /* of an input; the truth of a result */
} case_value;

typedef struct model_case {
    const char *name;
    char folder[512];
    lk_safetensors file;
    lk_weights *weights;
    lk_graph *graph;
    case_value input[CASE_MOST], output[CASE_MOST], gradient[CASE_MOST];
    lk_value cotangent[CASE_MOST];
    int inputs, outputs, gradients, section;
    int pieces;                /* what the gradient computes again: lk_graph_recompute */
    int first_sample, samples; /* of the file's batch; samples 0: all of it */
    double worst_reference, worst_device;
} model_case;

/* The device of LIKENESS_TEST_DEVICE, else the best one; NULL (said aloud, once) where there is none. */
static inline lk_device *case_device(void) {
    static lk_device *device;
    static bool tried;
    if (tried) return device;
    tried = true;
    lk_error error = LK_ERROR_INIT;
    const lk_device_options options = {.select = getenv("LIKENESS_TEST_DEVICE"), .cache_folder = ""};
    if (lk_device_open(&options, &device, &error) != LIKENESS_OK) {
        device = NULL;
        printf("skipped on a device: %s\n", error.message);
    }
    return device;
}

static inline double *case_values(const lk_safetensors *file, const char *name, int64_t count) {
    lk_error error = LK_ERROR_INIT;
    const lk_safetensor *tensor = lk_safetensors_find(file, name);
    if (!tensor) fail_msg("%s: no tensor %s", file->name, name);
    if ((int64_t)tensor->elements != count)
        fail_msg("%s: %s has %zu elements, the graph's value %lld", file->name, name, tensor->elements,
                 (long long)count);
    float *f32 = malloc((size_t)count * sizeof *f32);
    double *values = malloc((size_t)count * sizeof *values);
    assert_ok(lk_safetensor_to_f32(tensor, f32, &error), &error);
    for (int64_t i = 0; i < count; i++)
        values[i] = (double)f32[i];
    free(f32);
    return values;
}

/* The part of a tensor that belongs to the case's samples. */
static inline double *case_truth(const model_case *c, const char *name, int64_t count) {
    if (c->samples == 0) return case_values(&c->file, name, count);
    const lk_safetensor *tensor = lk_safetensors_find(&c->file, name);
    if (!tensor) fail_msg("%s: no tensor %s", c->file.name, name);
    int64_t sample = count / c->samples;
    double *all = case_values(&c->file, name, (int64_t)tensor->elements);
    assert_true((int64_t)tensor->elements % sample == 0);
    assert_true((c->first_sample + c->samples) * sample <= (int64_t)tensor->elements);
    memmove(all, all + c->first_sample * sample, (size_t)count * sizeof *all);
    return all;
}

static inline void case_begin(model_case *c, const char *name, bool precise) {
    lk_error error = LK_ERROR_INIT;
    char path[600];
    memset(c, 0, sizeof *c);
    c->name = name;
    c->section = -1;
    snprintf(c->folder, sizeof c->folder, "%s/tests/data/models/%s", LIKENESS_SOURCE_DIR, name);
    snprintf(path, sizeof path, "%s/case.safetensors", c->folder);
    assert_ok(lk_safetensors_open(&c->file, path, &error), &error);
    c->weights = lk_weights_create(precise);
    assert_non_null(c->weights);
}

/* After the model was opened on c->weights. */
static inline void case_graph(model_case *c) {
    lk_error error = LK_ERROR_INIT;
    c->graph = lk_graph_create(c->weights, &error);
    if (!c->graph) fail_msg("%s", error.message);
}

/* Takes over `values` (malloc). */
static inline lk_value case_input_values(model_case *c, const char *name, lk_shape shape, lk_dtype dtype,
                                         double *values) {
    assert_true(c->inputs < CASE_MOST);
    lk_value value = lk_graph_input(c->graph, name, shape, dtype);
    c->input[c->inputs++] = (case_value){name, value, dtype == LK_I32, lk_shape_elements(&shape), values};
    return value;
}

/* An input with the shape and values of a tensor of the file. */
static inline lk_value case_input(model_case *c, const char *name) {
    const lk_safetensor *tensor = lk_safetensors_find(&c->file, name);
    if (!tensor) fail_msg("%s: no tensor %s", c->file.name, name);
    lk_shape shape = {.rank = tensor->rank};
    for (int i = 0; i < tensor->rank; i++)
        shape.dim[i] = i == 0 && c->samples > 0 ? c->samples : (int32_t)tensor->shape[i];
    return case_input_values(c, name, shape, tensor->dtype == LK_SAFETENSOR_I32 ? LK_I32 : LK_F32,
                             case_truth(c, name, lk_shape_elements(&shape)));
}

static inline void case_output(model_case *c, lk_value value, const char *name, const char *cotangent) {
    lk_error error = LK_ERROR_INIT;
    assert_ok(lk_graph_status(c->graph, &error), &error);
    lk_shape shape = lk_graph_shape(c->graph, value);
    int64_t count = lk_shape_elements(&shape);
    lk_graph_output(c->graph, value, name);
    c->cotangent[c->outputs] = cotangent ? case_input(c, cotangent) : LK_NO_VALUE;
    c->output[c->outputs++] = (case_value){name, value, false, count, case_truth(c, name, count)};
}

/* names[i]: the tensor with the truth of the gradient with respect to wrt[i]. Once, after all outputs. */
static inline void case_gradient(model_case *c, const lk_value *wrt, const char *const *names, int count) {
    lk_error error = LK_ERROR_INIT;
    lk_value outputs[CASE_MOST], cotangents[CASE_MOST], gradients[CASE_MOST];
    int used = 0;
    for (int i = 0; i < c->outputs; i++) {
        if (c->cotangent[i] == LK_NO_VALUE) continue;
        outputs[used] = c->output[i].value;
        cotangents[used++] = c->cotangent[i];
    }
    lk_graph_recompute(c->graph, c->pieces);
    c->section = lk_graph_gradient(c->graph, outputs, cotangents, used, wrt, count, gradients);
    assert_ok(lk_graph_status(c->graph, &error), &error);
    for (int i = 0; i < count; i++) {
        assert_int_not_equal(gradients[i], LK_NO_VALUE);
        lk_shape shape = lk_graph_shape(c->graph, gradients[i]);
        int64_t elements = lk_shape_elements(&shape);
        lk_graph_output(c->graph, gradients[i], names[i]);
        c->gradient[c->gradients++] =
            (case_value){names[i], gradients[i], false, elements, case_truth(c, names[i], elements)};
    }
}

/* |a-b|/|b| and max|a-b|/(20 rms(b)), the larger. */
static inline double case_distance(const double *a, const double *b, int64_t count) {
    double square = 0, norm = 0, most = 0;
    for (int64_t i = 0; i < count; i++) {
        double d = a[i] - b[i];
        if (!isfinite(a[i])) return INFINITY;
        square += d * d;
        norm += b[i] * b[i];
        most = fmax(most, fabs(d));
    }
    double relative = norm > 0 ? sqrt(square / norm) : sqrt(square);
    double peak = norm > 0 ? most / (20 * sqrt(norm / (double)count)) : most;
    return fmax(relative, peak);
}

static inline void case_compare(const model_case *c, const case_value *truth, const double *found, double tolerance,
                                const char *where, double *worst) {
    double norm = 0, distance = case_distance(found, truth->values, truth->count);
    for (int64_t i = 0; i < truth->count; i++)
        norm += truth->values[i] * truth->values[i];
    if (!(norm > 0)) fail_msg("%s: the truth of %s is all zero and proves nothing", c->name, truth->name);
    if (distance > *worst) *worst = distance;
    if (!(distance <= tolerance))
        fail_msg("%s: %s on %s: error %.3g, allowed %.3g", c->name, truth->name, where, distance, tolerance);
}

static inline void case_check_reference(model_case *c, double tolerance) {
    lk_error error = LK_ERROR_INIT;
    const double *inputs[2 * CASE_MOST];
    for (int i = 0; i < c->inputs; i++)
        inputs[i] = c->input[i].values;
    lk_reference_values *run = lk_graph_run_reference(c->graph, inputs, &error);
    if (!run) fail_msg("%s: %s", c->name, error.message);
    for (int i = 0; i < c->outputs; i++)
        case_compare(c, &c->output[i], lk_reference_value(run, c->output[i].value), tolerance, "the reference",
                     &c->worst_reference);
    for (int i = 0; i < c->gradients; i++)
        case_compare(c, &c->gradient[i], lk_reference_value(run, c->gradient[i].value), tolerance, "the reference",
                     &c->worst_reference);
    lk_reference_values_destroy(run);
}

static inline void case_write(const model_case *c, lk_instance *instance, const case_value *input) {
    lk_error error = LK_ERROR_INIT;
    float *f32 = malloc((size_t)input->count * sizeof *f32);
    int32_t *i32 = malloc((size_t)input->count * sizeof *i32);
    for (int64_t i = 0; i < input->count; i++) {
        f32[i] = (float)input->values[i];
        i32[i] = input->integers ? (int32_t)input->values[i] : 0;
    }
    assert_ok(lk_instance_write(instance, input->value, input->integers ? (void *)i32 : (void *)f32, &error), &error);
    (void)c;
    free(f32);
    free(i32);
}

static inline void case_read(model_case *c, lk_instance *instance, const case_value *truth, double tolerance) {
    lk_error error = LK_ERROR_INIT;
    float *f32 = malloc((size_t)truth->count * sizeof *f32);
    double *found = malloc((size_t)truth->count * sizeof *found);
    assert_ok(lk_instance_read(instance, truth->value, f32, &error), &error);
    for (int64_t i = 0; i < truth->count; i++)
        found[i] = (double)f32[i];
    case_compare(c, truth, found, tolerance, "the device", &c->worst_device);
    free(f32);
    free(found);
}

static inline void case_check_device(model_case *c, double tolerance) {
    lk_error error = LK_ERROR_INIT;
    lk_device *device = case_device();
    if (!device) return;
    lk_plan *plan = lk_plan_create(c->graph, &(lk_plan_options){0}, &error);
    if (!plan) fail_msg("%s: %s", c->name, error.message);
    lk_instance *instance = lk_instance_create(plan, device, NULL, &error);
    if (!instance) fail_msg("%s: %s", c->name, error.message);
    for (int i = 0; i < c->inputs; i++)
        case_write(c, instance, &c->input[i]);
    for (int s = 0; s <= (c->section > 0 ? c->section : 0); s++)
        assert_ok(lk_instance_run(instance, s, &error), &error);
    for (int i = 0; i < c->outputs; i++)
        case_read(c, instance, &c->output[i], tolerance);
    for (int i = 0; i < c->gradients; i++)
        case_read(c, instance, &c->gradient[i], tolerance);
    lk_instance_destroy(instance);
    lk_plan_destroy(plan);
}

static inline void case_report(const model_case *c) {
    printf("%-12s %4d nodes  error %.1e by the reference, %.1e on the device\n", c->name,
           (int)lk_graph_node_count(c->graph), c->worst_reference, c->worst_device);
}

static inline void case_check(model_case *c) {
    case_check_reference(c, 2e-6);
    case_check_device(c, 1e-4);
    case_report(c);
}

static inline void case_end(model_case *c) {
    lk_graph_destroy(c->graph);
    lk_weights_destroy(c->weights);
    lk_safetensors_close(&c->file);
    for (int i = 0; i < CASE_MOST; i++) {
        free(c->input[i].values);
        free(c->output[i].values);
        free(c->gradient[i].values);
    }
    memset(c, 0, sizeof *c);
}

#endif
