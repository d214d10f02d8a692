/* tests/api/test_doctor.c - doctor: finds nothing wrong with right kernels, leaves none out that the device chooses,
 * replaces a spoiled one, remembers it, and believes no damaged memory. Skipped without a device. */
#include "api/context.h"
#include "api/doctor_cases.h"
#include "base/file.h"
#include "base/memory.h"
#include "ops/table.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/likeness-doctor-XXXXXX";
static likeness_context *context; /* one for most tests: its pipelines are compiled once */

typedef struct seen {
    int rows, ok, replaced, failed;
    double worst;
    char last_replaced[64];
} seen;

static void row(void *user, const char *op, const char *test, int variant, double error, double milliseconds,
                const char *verdict) {
    seen *s = user;
    assert_true(op[0] && test[0] && variant >= 1 && milliseconds >= 0);
    s->rows++;
    if (strcmp(verdict, "ok") == 0) s->ok++;
    if (strcmp(verdict, "FAILED") == 0) s->failed++;
    if (strcmp(verdict, "replaced") == 0) {
        s->replaced++;
        snprintf(s->last_replaced, sizeof s->last_replaced, "%s", op);
    }
    if (strcmp(verdict, "FAILED") != 0 && !(error <= s->worst)) s->worst = error;
}

static likeness_status run(seen *s) {
    *s = (seen){0};
    return likeness_doctor(context, row, s);
}

static likeness_context *open_context(bool precise) {
    likeness_options options = {.cache = folder, .precise = precise};
    likeness_context *opened = NULL;
    if (likeness_open(&options, &opened) != LIKENESS_OK) fail_msg("%s", likeness_message(opened));
    return opened;
}

static const char *memory_file(void) {
    static char path[400];
    snprintf(path, sizeof path, "%s/doctor-%s.json", folder, lk_device_key(context->device));
    return path;
}

/* ---- right kernels ---- */

static void right_kernels_pass_and_that_is_remembered(void **state) {
    (void)state;
    assert_true(likeness_doctor_needed(context));
    seen s;
    if (run(&s) != LIKENESS_OK) fail_msg("%s", likeness_message(context));
    assert_true(s.rows > 35);
    assert_int_equal(s.ok, s.rows);
    assert_true(s.worst > 0 && s.worst < 2e-5);
    assert_false(likeness_doctor_needed(context));
    likeness_context *later = open_context(false);
    assert_false(likeness_doctor_needed(later));
    for (int op = 0; op < LK_OP_COUNT; op++)
        assert_int_equal(later->variants[op], 0);
    likeness_close(later);
    later = open_context(true); /* other kernels, another memory */
    assert_true(likeness_doctor_needed(later));
    likeness_close(later);
}

static bool has(const char *name, const char *part) { return strstr(name, part) != NULL; }

/* Kernels that exist for other devices, or to replace the ones this device takes. */
static bool other_devices(const char *name, const lk_caps *caps) {
    if (has(name, "CHECK")) return true;
    if (has(name, "_TREE")) return caps->subgroup_arithmetic && caps->subgroup_size >= 4;
    bool lanes = caps->subgroup_size >= 8;
    if (has(name, "_FLAT")) return !caps->is_cpu || !lanes;
    if (has(name, "_TILED")) return caps->is_cpu || !lanes;
    if (has(name, "ATTENTION") && has(name, "_PLAIN")) return lanes;
    return false;
}

static bool used_by_doctor[LK_SHADER_COUNT];

/* Kernels that doctor should have run and did not. */
static int left_out(const likeness_context *checked) {
    const lk_caps *caps = lk_device_caps(checked->device);
    int count = 0;
    for (int i = 0; i < LK_SHADER_COUNT; i++) {
        bool used = lk_device_shader_used(checked->device, (lk_shader)i);
        if (used || other_devices(lk_shader_table[i]->name, caps)) continue;
        printf("not checked: %s\n", lk_shader_table[i]->name);
        count++;
    }
    return count;
}

static void no_kernel_of_the_device_is_left_out(void **state) {
    (void)state;
    assert_int_equal(left_out(context), 0);
    for (int i = 0; i < LK_SHADER_COUNT; i++)
        used_by_doctor[i] = lk_device_shader_used(context->device, (lk_shader)i);
    char *text = likeness_doctor_kernels(context);
    assert_non_null(text);
    printf("%s\n", text);
    assert_non_null(strstr(text, "MATH_CHECK"));
    likeness_text_free(text);
}

static void a_model_takes_no_other_kernel(void **state) {
    (void)state;
    char path[400];
    snprintf(path, sizeof path, "%s/assets/cameo/unet", LIKENESS_SOURCE_DIR);
    if (!lk_directory_exists(path)) {
        printf("skipped: the model that ships is not there yet\n");
        skip();
    }
    snprintf(path, sizeof path, "%s/assets/cameo", LIKENESS_SOURCE_DIR);
    likeness_model *model = NULL;
    likeness_image reference = {0};
    likeness_personalize_result result = {0};
    likeness_personalize_params params = {.base = {.prompt = "a person", .seed = 1}, .reference = &reference};
    params.iterations = 1;
    likeness_status status = likeness_load(context, path, &model);
    snprintf(path, sizeof path, "%s/assets/samples/micah.png", LIKENESS_SOURCE_DIR);
    if (status == LIKENESS_OK) status = likeness_image_read(context, path, &reference);
    if (status == LIKENESS_OK) status = likeness_personalize(model, &params, &result);
    if (status != LIKENESS_OK) fail_msg("%s", likeness_message(context));
    for (int i = 0; i < LK_SHADER_COUNT; i++)
        if (lk_device_shader_used(context->device, (lk_shader)i) && !used_by_doctor[i])
            fail_msg("the model takes %s, which doctor did not look at", lk_shader_table[i]->name);
    likeness_personalize_result_free(&result);
    likeness_image_free(&reference);
    likeness_unload(model);
}

/* ---- wrong kernels ---- */

/* The first variant of op is spoiled: doctor takes the second, for it alone, and a later context knows. */
static void replaces(lk_op op, lk_mutation mutation) {
    lk_op_mutate_first(op, mutation, 1);
    seen s;
    likeness_status status = run(&s);
    lk_op_mutate(op, LK_MUTATION_NONE);
    if (status != LIKENESS_OK) fail_msg("%s: %s", lk_op_name(op), likeness_message(context));
    assert_true(s.replaced >= 1);
    assert_int_equal(s.failed, 0);
    assert_int_equal(context->variants[op], 2);
    likeness_context *later = open_context(false);
    assert_false(likeness_doctor_needed(later));
    assert_memory_equal(later->variants, context->variants, sizeof later->variants);
    likeness_close(later);
}

static void spoiled_kernels_are_replaced(void **state) {
    (void)state;
    replaces(LK_OP_SOFTMAX, LK_MUTATION_SCALE);
    assert_int_equal(context->variants[LK_OP_SOFTMAX_DX], 0); /* only the section that was wrong */
    replaces(LK_OP_GROUP_NORM_DX, LK_MUTATION_LAST_ROW);
    assert_int_equal(context->variants[LK_OP_SOFTMAX], 0);          /* right again: the replacement is gone */
    if (lk_device_caps(context->device)->subgroup_size < 8) return; /* one kernel only */
    replaces(LK_OP_MATMUL, LK_MUTATION_SCALE);
    replaces(LK_OP_MATMUL_DX, LK_MUTATION_LAST_ROW);
}

/* A driver that refuses instead of computing wrongly: the next variant as well. */
static void refused_kernels_are_replaced(void **state) {
    (void)state;
    if (lk_device_caps(context->device)->subgroup_size < 8) skip(); /* the first case has one kernel only */
    for (int64_t n = 2; n < 20; n += 6) {
        lk_gpu_fail_once(n, LK_FAULT_REFUSED);
        seen s;
        likeness_status status = run(&s);
        lk_gpu_fail_after(-1, LK_FAULT_REFUSED);
        if (status != LIKENESS_OK) fail_msg("call %d: %s", (int)n, likeness_message(context));
        assert_true(s.replaced >= 1);
        assert_int_equal(context->variants[LK_OP_MATMUL], 2);
    }
    lk_gpu_fail_once(8, LK_FAULT_OUT_OF_DEVICE_MEMORY); /* no kernel's fault */
    seen s;
    likeness_status status = run(&s);
    lk_gpu_fail_after(-1, LK_FAULT_REFUSED);
    assert_int_equal(status, LIKENESS_OUT_OF_MEMORY);
    assert_true(likeness_doctor_needed(context));
}

/* A replacement is remembered for an op; a call that has fewer variants (a grouped convolution) takes its last one. */
static void calls_with_fewer_variants(void **state) {
    (void)state;
    int32_t variants[LK_OP_COUNT];
    for (int op = 0; op < LK_OP_COUNT; op++)
        variants[op] = 99;
    int count;
    const lk_doctor_case *cases = lk_doctor_cases(&count);
    for (int i = 0; i < count; i++) {
        lk_error error = LK_ERROR_INIT;
        lk_doctor_graph d = {.random = 1, .also = LK_NO_VALUE, .units = 8, .error = &error};
        d.weights = lk_weights_create(false);
        d.graph = lk_graph_create(d.weights, &error);
        d.output = cases[i].build(&d);
        lk_graph_output(d.graph, d.output, "output");
        lk_plan *plan = lk_plan_create(d.graph, &(lk_plan_options){0}, &error);
        assert_non_null(plan);
        lk_instance *instance =
            lk_instance_create(plan, context->device, &(lk_instance_options){.variants = variants}, &error);
        if (!instance) fail_msg("%s, %s: %s", cases[i].op, cases[i].test, error.message);
        lk_instance_destroy(instance);
        lk_plan_destroy(plan);
        lk_graph_destroy(d.graph);
        lk_weights_destroy(d.weights);
    }
}

static void wrong_in_every_variant(void **state) {
    (void)state;
    lk_op_mutate(LK_OP_GEGLU_DX, LK_MUTATION_SCALE);
    seen s;
    likeness_status status = run(&s);
    lk_op_mutate(LK_OP_GEGLU_DX, LK_MUTATION_NONE);
    assert_int_equal(status, LIKENESS_NO_DEVICE);
    assert_int_equal(s.failed, 1);
    assert_non_null(strstr(likeness_message(context), "geglu"));
    assert_non_null(strstr(likeness_message(context), "--device"));
    assert_true(likeness_doctor_needed(context));
    assert_false(lk_file_exists(memory_file()));
    lk_op_mutate(LK_OP_REDUCE, LK_MUTATION_SCALE); /* two variants, both wrong */
    status = run(&s);
    lk_op_mutate(LK_OP_REDUCE, LK_MUTATION_NONE);
    assert_int_equal(status, LIKENESS_NO_DEVICE);
    assert_true(s.failed >= 3);
}

/* ---- damaged memory ---- */

static void write_memory(const char *text, size_t bytes) {
    lk_error error = LK_ERROR_INIT;
    if (lk_file_write(memory_file(), text, bytes, &error) != LIKENESS_OK) fail_msg("%s", error.message);
}

static bool believed(void) {
    lk_doctor_load(context);
    bool any = false;
    for (int op = 0; op < LK_OP_COUNT; op++)
        any = any || context->variants[op] != 0;
    assert_true(context->doctor_done || !any); /* all or nothing */
    return context->doctor_done;
}

static void damaged_memory_is_ignored(void **state) {
    (void)state;
    lk_op_mutate_first(LK_OP_SOFTMAX, LK_MUTATION_SCALE, 1);
    seen s;
    assert_int_equal(run(&s), LIKENESS_OK);
    lk_op_mutate(LK_OP_SOFTMAX, LK_MUTATION_NONE);
    uint8_t *text = NULL;
    size_t size = 0;
    lk_error error = LK_ERROR_INIT;
    assert_int_equal(lk_file_read(memory_file(), 10000, &text, &size, &error), LIKENESS_OK);
    assert_true(believed());
    assert_int_equal(context->variants[LK_OP_SOFTMAX], 2);
    for (size_t cut = 0; cut + 2 < size; cut++) { /* the last two bytes are a bracket and the end of the line */
        write_memory((const char *)text, cut);
        if (believed()) fail_msg("cut after %zu of %zu bytes and believed", cut, size);
    }
    static const char *const changes[][2] = {
        {"\"softmax\": 2", "\"softmax\": 1"},
        {"\"softmax\": 2", "\"softmax\": -7"},
        {"\"softmax\": 2", "\"softmax\": 1e9"},
        {"\"softmax\": 2", "\"softmax\": \"2\""},
        {"softmax", "softmix"},
        {"\"engine\": \"", "\"engine\": \"9"},
        {"\"kernels\": \"", "\"kernels\": \"f"},
        {"engine", "motor"},
        {"replaced", "kept"},
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        char *at = strstr((char *)text, changes[i][0]), changed[1000];
        assert_non_null(at);
        int length = snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - (char *)text), (const char *)text,
                              changes[i][1], at + strlen(changes[i][0]));
        write_memory(changed, (size_t)length);
        if (believed()) fail_msg("believed: %s", changed);
    }
    write_memory("\xff\xfe\0\0[[[[", 8);
    assert_false(believed());
    lk_file_remove(memory_file());
    assert_false(believed());
    write_memory((const char *)text, size);
    assert_true(believed());
    lk_free(text);
}

/* What a GPU would be given, run by whatever is here: tiled kernels, workgroups of several subgroups, uploads through
 * staging, work cut into many submits. */
static void as_on_a_gpu(void **state) {
    (void)state;
    if (lk_device_caps(context->device)->subgroup_size < 8) {
        printf("skipped: this driver takes minutes to compile unrolled kernels\n");
        skip();
    }
    likeness_context *gpu = NULL;
    assert_int_equal(likeness_open(&(likeness_options){.no_device = true}, &gpu), LIKENESS_OK);
    lk_device_options options = {.cache_folder = "", .pretend_gpu = true, .pretend_unmappable = true};
    lk_error error = LK_ERROR_INIT;
    if (lk_device_open(&options, &gpu->device, &error) != LIKENESS_OK) fail_msg("%s", error.message);
    seen s = {0};
    if (likeness_doctor(gpu, row, &s) != LIKENESS_OK) fail_msg("%s", likeness_message(gpu));
    assert_int_equal(s.ok, s.rows);
    assert_int_equal(left_out(gpu), 0);
    likeness_close(gpu);
}

static void needs_no_folder(void **state) {
    (void)state;
    likeness_options options = {.cache = ""};
    likeness_context *opened = NULL;
    assert_int_equal(likeness_open(&options, &opened), LIKENESS_OK);
    assert_true(likeness_doctor_needed(opened));
    likeness_close(opened);
    opened = NULL;
    assert_int_equal(likeness_open(&(likeness_options){.no_device = true}, &opened), LIKENESS_OK);
    assert_false(likeness_doctor_needed(opened));
    assert_int_equal(likeness_doctor(opened, NULL, NULL), LIKENESS_NO_DEVICE);
    assert_null(likeness_doctor_kernels(opened));
    likeness_close(opened);
}

int main(void) {
    if (!mkdtemp(folder)) return 1;
    likeness_options options = {.cache = folder};
    if (likeness_open(&options, &context) == LIKENESS_NO_DEVICE) {
        printf("skipped: %s\n", likeness_message(context));
        likeness_close(context);
        rmdir(folder);
        return 77;
    }
    printf("device: %s\n", likeness_device_name(context));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(right_kernels_pass_and_that_is_remembered),
        cmocka_unit_test(no_kernel_of_the_device_is_left_out),
        cmocka_unit_test(a_model_takes_no_other_kernel),
        cmocka_unit_test(spoiled_kernels_are_replaced),
        cmocka_unit_test(refused_kernels_are_replaced),
        cmocka_unit_test(calls_with_fewer_variants),
        cmocka_unit_test(wrong_in_every_variant),
        cmocka_unit_test(damaged_memory_is_ignored),
        cmocka_unit_test(as_on_a_gpu),
        cmocka_unit_test(needs_no_folder),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char path[600];
    lk_file_remove(memory_file());
    snprintf(path, sizeof path, "%s/pipelines-%s.bin", folder, lk_device_key(context->device));
    likeness_close(context);
    lk_file_remove(path);
    rmdir(folder);
    if (lk_device_validation_count() > 0) {
        printf("validation: %s\n", lk_device_validation_last());
        failed++;
    }
    if (lk_memory_live() != 0) {
        printf("%lld host allocations leaked\n", (long long)lk_memory_live());
        failed++;
    }
    return failed;
}
