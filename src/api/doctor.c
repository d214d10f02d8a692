/* api/doctor.c - every kernel of the device against the C reference, and what to use instead of one that fails.
 *
 * A case is a small graph with its gradient; it runs on the device and through the reference, and every output and
 * gradient is compared. When one differs, the ops of that section move to their next variant together until the case
 * passes or no variant is left; a replacement is tried on all cases again. What passed is remembered per device,
 * driver, engine version and kernels:
 *
 *     doctor-KEY.json   {"engine": "0.1.0", "kernels": "0123456789abcdef", "replaced": {"conv2d": 2}}
 */
#include "api/context.h"
#include "api/doctor_cases.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/time.h"
#include "io/json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* A chain of two or three f32 ops in one case: twice the op tests' tolerance. */
static const double doctor_tolerance = 2e-5;

/* ---- memory ---------------------------------------------------------------------------------------------------------
 */

static bool memory_path(const likeness_context *context, char *path, size_t bytes) {
    const char *folder = lk_device_cache_folder(context->device);
    if (!folder || !folder[0]) return false;
    return (size_t)snprintf(path, bytes, "%s/doctor-%s%s.json", folder, lk_device_key(context->device),
                            context->options.precise ? "-precise" : "") < bytes;
}

/* Of every shader's words: kernels that were built anew are looked at anew. */
static void kernels_hash(char text[17]) {
    uint64_t hash = LK_FNV64_INIT;
    for (int i = 0; i < LK_SHADER_COUNT; i++)
        hash = lk_fnv64(hash, lk_shader_table[i]->words, lk_shader_table[i]->bytes);
    snprintf(text, 17, "%016llx", (unsigned long long)hash);
}

/* Every key of "replaced" is an op with a variant beyond its first. */
static likeness_status read_replaced(lk_json *json, int32_t variants[LK_OP_COUNT], lk_error *error) {
    lk_json_value *replaced = lk_json_get(json, NULL, "replaced", error);
    if (!replaced) return error->status;
    if (!lk_json_is_object(replaced)) return lk_fail(error, LIKENESS_BAD_FILE, "'replaced' is no object");
    for (int op = 0; op < LK_OP_COUNT; op++) {
        int64_t variant = 0;
        if (!lk_json_present(json, replaced, lk_op_name((lk_op)op))) continue;
        LK_TRY(lk_json_int(json, replaced, lk_op_name((lk_op)op), 2, 99, &variant, error));
        variants[op] = (int32_t)variant;
    }
    return lk_json_unused(json, replaced, error);
}

void lk_doctor_load(likeness_context *context) {
    char path[1024], kernels[17];
    lk_error error = LK_ERROR_INIT;
    memset(context->variants, 0, sizeof context->variants);
    context->doctor_done = false;
    if (!memory_path(context, path, sizeof path) || !lk_file_exists(path)) return;
    lk_json json;
    if (lk_json_read(&json, path, 1 << 16, &error) != LIKENESS_OK) return;
    const char *engine = NULL, *built = NULL;
    int32_t variants[LK_OP_COUNT] = {0};
    kernels_hash(kernels);
    if (lk_json_text(&json, NULL, "engine", &engine, &error) == LIKENESS_OK &&
        lk_json_text(&json, NULL, "kernels", &built, &error) == LIKENESS_OK && strcmp(engine, LIKENESS_VERSION) == 0 &&
        strcmp(built, kernels) == 0 && read_replaced(&json, variants, &error) == LIKENESS_OK) {
        context->doctor_done = true;
        memcpy(context->variants, variants, sizeof variants);
    }
    lk_json_free(&json);
}

/* A cache folder that cannot be written only means that doctor runs again next time. */
static void doctor_store(likeness_context *context) {
    char path[1024], kernels[17];
    lk_error error = LK_ERROR_INIT;
    if (!memory_path(context, path, sizeof path) ||
        lk_directory_make(lk_device_cache_folder(context->device), &error) != LIKENESS_OK)
        return;
    kernels_hash(kernels);
    lk_text text = LK_TEXT_INIT;
    lk_text_addf(&text, "{\"engine\": \"%s\", \"kernels\": \"%s\", \"replaced\": {", LIKENESS_VERSION, kernels);
    bool first = true;
    for (int op = 0; op < LK_OP_COUNT; op++) {
        if (context->variants[op] == 0) continue;
        lk_text_addf(&text, "%s\"%s\": %d", first ? "" : ", ", lk_op_name((lk_op)op), (int)context->variants[op]);
        first = false;
    }
    lk_text_add(&text, "}}\n");
    if (!text.failed) lk_file_write(path, lk_text_get(&text), text.length, &error);
    lk_text_free(&text);
}

/* ---- one case -------------------------------------------------------------------------------------------------------
 */

typedef struct doctor_run {
    lk_doctor_graph graph;
    lk_plan *plan;
    lk_value cotangent, gradients[LK_DOCTOR_MAX_INPUTS];
    int gradient_section; /* -1: the case has no gradient */
    double *host[LK_DOCTOR_MAX_INPUTS + 1];
    lk_reference_values *truth;
} doctor_run;

static void run_destroy(doctor_run *run) {
    lk_reference_values_destroy(run->truth);
    for (int i = 0; i <= LK_DOCTOR_MAX_INPUTS; i++)
        lk_free(run->host[i]);
    lk_plan_destroy(run->plan);
    lk_graph_destroy(run->graph.graph);
    lk_weights_destroy(run->graph.weights);
}

static likeness_status fill_input(doctor_run *run, int slot, lk_value value, bool positive, int32_t range,
                                  lk_error *error) {
    lk_shape shape = lk_graph_shape(run->graph.graph, value);
    int64_t count = lk_shape_elements(&shape);
    run->host[slot] = lk_alloc((size_t)count, sizeof(double));
    if (!run->host[slot]) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for a doctor case");
    for (int64_t i = 0; i < count; i++) {
        double x = lk_doctor_random(&run->graph);
        run->host[slot][i] = range > 0  ? (double)((int)((x + 1) / 2 * range) % range)
                             : positive ? (double)(float)(1 + x / 2)
                                        : x;
    }
    return LIKENESS_OK;
}

/* Builds the case's graph, its gradient, inputs, and the reference's answer. */
static likeness_status run_prepare(doctor_run *run, const lk_doctor_case *test, const likeness_context *context,
                                   lk_error *error) {
    uint32_t units = lk_device_caps(context->device)->compute_units;
    memset(run, 0, sizeof *run);
    lk_doctor_graph *d = &run->graph;
    d->random = 12345;
    d->error = error;
    d->also = LK_NO_VALUE;
    d->units = units > 0 && units < 1024 ? (int32_t)units : 32;
    run->gradient_section = -1;
    if (!(d->weights = lk_weights_create(context->options.precise)) || !(d->graph = lk_graph_create(d->weights, error)))
        return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for a doctor case");
    d->output = test->build(d);
    LK_TRY(lk_graph_status(d->graph, error));
    lk_graph_output(d->graph, d->output, "output");
    if (d->also != LK_NO_VALUE) lk_graph_output(d->graph, d->also, "also");
    for (int i = 0; i < d->input_count; i++)
        LK_TRY(fill_input(run, i, d->inputs[i], d->positive[i], d->range[i], error));
    lk_value wrt[LK_DOCTOR_MAX_INPUTS];
    int wanted = 0;
    for (int i = 0; i < d->input_count; i++)
        if (d->differentiate[i]) wrt[wanted++] = d->inputs[i];
    if (wanted > 0) {
        run->cotangent = lk_graph_input(d->graph, "cotangent", lk_graph_shape(d->graph, d->output), LK_F32);
        run->gradient_section =
            lk_graph_gradient(d->graph, &d->output, &run->cotangent, 1, wrt, wanted, run->gradients);
        LK_TRY(lk_graph_status(d->graph, error));
        for (int i = 0; i < wanted; i++)
            lk_graph_output(d->graph, run->gradients[i], "gradient");
        LK_TRY(fill_input(run, d->input_count, run->cotangent, false, 0, error));
    }
    LK_TRY(lk_graph_status(d->graph, error));
    run->truth = lk_graph_run_reference(d->graph, (const double *const *)run->host, error);
    if (!run->truth) return error->status;
    run->plan = lk_plan_create(d->graph, &(lk_plan_options){0}, error);
    return run->plan ? LIKENESS_OK : error->status;
}

static likeness_status write_input(doctor_run *run, lk_instance *instance, lk_value value, const double *host,
                                   lk_error *error) {
    const lk_tensor *tensor = lk_graph_tensor(run->graph.graph, value);
    int64_t count = lk_shape_elements(&tensor->shape);
    void *dense = lk_alloc((size_t)count, 4);
    if (!dense) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for a doctor case");
    for (int64_t i = 0; i < count; i++) {
        if (tensor->dtype == LK_I32)
            ((int32_t *)dense)[i] = (int32_t)host[i];
        else
            ((float *)dense)[i] = (float)host[i];
    }
    likeness_status status = lk_instance_write(instance, value, dense, error);
    lk_free(dense);
    return status;
}

/* The relative error of one value by the house's measure: the larger of the norm ratio and max / (20 rms). */
static likeness_status compare_value(doctor_run *run, lk_instance *instance, lk_value value, double *worst,
                                     lk_error *error) {
    lk_shape shape = lk_graph_shape(run->graph.graph, value);
    int64_t count = lk_shape_elements(&shape);
    const double *truth = lk_reference_value(run->truth, value);
    float *got = lk_alloc((size_t)count, sizeof *got);
    if (!got || !truth) {
        lk_free(got);
        return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for a doctor case");
    }
    likeness_status status = lk_instance_read(instance, value, got, error);
    double wrong = 0, size = 0, largest = 0;
    for (int64_t i = 0; i < count && status == LIKENESS_OK; i++) {
        double difference = (double)got[i] - truth[i];
        wrong += difference * difference;
        size += truth[i] * truth[i];
        if (!(fabs(difference) <= largest)) largest = fabs(difference); /* a NaN stays */
    }
    double rms = sqrt(size / (double)count);
    double relative = size > 0 ? fmax(sqrt(wrong / size), largest / (20 * rms)) : largest;
    if (isnan(wrong)) relative = INFINITY;
    if (!(relative <= *worst)) *worst = relative;
    lk_free(got);
    return status;
}

/* Runs both sections with the given variants; errors of the forward part and of the gradients apart. */
static likeness_status run_on_device(doctor_run *run, likeness_context *context, double worst[2], lk_error *error) {
    lk_doctor_graph *d = &run->graph;
    lk_instance_options options = {.variants = context->variants};
    lk_instance *instance = lk_instance_create(run->plan, context->device, &options, error);
    if (!instance) return error->status;
    likeness_status status = LIKENESS_OK;
    for (int i = 0; i < d->input_count && status == LIKENESS_OK; i++)
        status = write_input(run, instance, d->inputs[i], run->host[i], error);
    if (status == LIKENESS_OK && run->gradient_section >= 0)
        status = write_input(run, instance, run->cotangent, run->host[d->input_count], error);
    worst[0] = worst[1] = 0;
    if (status == LIKENESS_OK) status = lk_instance_run(instance, 0, error);
    if (status == LIKENESS_OK) status = compare_value(run, instance, d->output, &worst[0], error);
    if (status == LIKENESS_OK && d->also != LK_NO_VALUE)
        status = compare_value(run, instance, d->also, &worst[0], error);
    if (status == LIKENESS_OK && run->gradient_section >= 0) {
        status = lk_instance_run(instance, run->gradient_section, error);
        for (int i = 0; i < LK_DOCTOR_MAX_INPUTS && status == LIKENESS_OK; i++)
            if (run->gradients[i] > 0) status = compare_value(run, instance, run->gradients[i], &worst[1], error);
    }
    lk_instance_destroy(instance);
    return status;
}

/* Moves the ops of the failing section to their next variant; false when none has one left. */
static bool next_variant(doctor_run *run, likeness_context *context, bool gradient) {
    bool moved = false, seen[LK_OP_COUNT] = {false};
    for (int32_t i = 0; i < lk_graph_node_count(run->graph.graph); i++) {
        lk_graph_node_info node = lk_graph_node(run->graph.graph, i);
        if (seen[node.call->op] || (node.section > 0) != gradient) continue;
        seen[node.call->op] = true;
        const lk_op_row *row = lk_op_row_of(node.call->op);
        int32_t variants = row->variants ? row->variants(node.call, context->device) : 1;
        int32_t now = context->variants[node.call->op] > 0 ? context->variants[node.call->op] : 1;
        if (now < variants) {
            context->variants[node.call->op] = now + 1;
            moved = true;
        }
    }
    return moved;
}

/* What a driver does with a kernel that it does not like, beside wrong numbers. */
static bool kernel_refused(likeness_status status) {
    return status == LIKENESS_INTERNAL || status == LIKENESS_UNSUPPORTED;
}

typedef struct doctor_result {
    double worst; /* of all values; infinite where the driver refused a kernel */
    bool replaced, passed;
    int variant; /* the last one tried, counted from 1 */
} doctor_result;

static likeness_status run_case(likeness_context *context, const lk_doctor_case *test, doctor_result *result,
                                lk_error *error) {
    doctor_run run;
    *result = (doctor_result){.variant = 1};
    likeness_status status = run_prepare(&run, test, context, error);
    while (status == LIKENESS_OK) {
        double errors[2] = {0};
        status = run_on_device(&run, context, errors, error);
        bool refused = kernel_refused(status);
        if (refused) {
            *error = (lk_error)LK_ERROR_INIT;
            status = LIKENESS_OK;
            errors[0] = errors[1] = INFINITY;
        }
        if (status != LIKENESS_OK) break;
        result->worst = errors[0] > errors[1] ? errors[0] : errors[1];
        bool forward_ok = errors[0] <= doctor_tolerance, gradient_ok = errors[1] <= doctor_tolerance;
        result->passed = forward_ok && gradient_ok;
        if (result->passed) break;
        bool moved = next_variant(&run, context, forward_ok);
        if (refused && next_variant(&run, context, true)) moved = true;
        if (!moved) break;
        result->replaced = true;
        ++result->variant;
    }
    run_destroy(&run);
    return status;
}

/* ---- public ---------------------------------------------------------------------------------------------------------
 */

bool likeness_doctor_needed(const likeness_context *context) { return context->device && !context->doctor_done; }

likeness_status likeness_doctor(likeness_context *context,
                                void (*row)(void *user, const char *op, const char *test, int variant, double error,
                                            double milliseconds, const char *verdict),
                                void *user) {
    lk_error *error = lk_context_begin(context);
    if (!context->device) return lk_fail(error, LIKENESS_NO_DEVICE, "doctor needs a device");
    int count, failed;
    const lk_doctor_case *cases = lk_doctor_cases(&count);
    const char *first_failure = NULL;
    memset(context->variants, 0, sizeof context->variants);
    context->doctor_done = false;
    /* A replacement may be wrong where its predecessor was right, so after one everything is tried again. It ends:
     * variants only go up. */
    bool again = true;
    for (int pass = 0; again; pass++) {
        again = false;
        failed = 0;
        for (int i = 0; i < count; i++) {
            doctor_result result;
            double start = lk_time_seconds();
            LK_TRY(run_case(context, &cases[i], &result, error));
            if (result.replaced && result.passed) again = true;
            if (!result.passed && failed++ == 0) first_failure = cases[i].op;
            if (row && (pass == 0 || result.replaced))
                row(user, cases[i].op, cases[i].test, result.variant, result.worst, (lk_time_seconds() - start) * 1000,
                    !result.passed    ? "FAILED"
                    : result.replaced ? "replaced"
                                      : "ok");
        }
        if (failed > 0) break;
    }
    if (failed > 0) {
        char path[1024];
        if (memory_path(context, path, sizeof path)) lk_file_remove(path); /* what it says is no longer true */
        memset(context->variants, 0, sizeof context->variants);
        return lk_fail(
            error, LIKENESS_NO_DEVICE,
            "%d of %d kernels give wrong results on this device (first: %s) and none of their variants is right; "
            "update the driver or choose another device with --device, and please report the table of likeness doctor",
            failed, count, first_failure);
    }
    context->doctor_done = true;
    doctor_store(context);
    return LIKENESS_OK;
}

char *likeness_doctor_kernels(const likeness_context *context) {
    if (!context->device) return NULL;
    int used = 0;
    lk_text text = LK_TEXT_INIT, rest = LK_TEXT_INIT;
    for (int i = 0; i < LK_SHADER_COUNT; i++) {
        if (lk_device_shader_used(context->device, (lk_shader)i)) {
            used++;
            continue;
        }
        lk_text_addf(&rest, "%s%s", rest.length > 0 ? ", " : "", lk_shader_table[i]->name);
    }
    lk_text_addf(&text, "%d of %d kernels; not this device's choice: %s", used, (int)LK_SHADER_COUNT,
                 rest.length > 0 ? lk_text_get(&rest) : "none");
    char *copy = text.failed || rest.failed ? NULL : lk_strdup(lk_text_get(&text));
    lk_text_free(&text);
    lk_text_free(&rest);
    return copy;
}
