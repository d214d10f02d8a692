/* tests/api/test_cameo.c - pictures of the model that ships against diffusers and an independent PyTorch loop with the
 * same noise (fixture: tests/reference/guided.py): 4 unguided steps, 3 guided iterations. Skipped aloud where the
 * weights, the fixture or a device are missing, or where the fixture belongs to other weights.
 *
 * LIKENESS_TEST_MODEL and LIKENESS_TEST_MODEL_GUIDED name another folder and fixture. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "io/safetensors.h"
#include "likeness/likeness.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static lk_safetensors file;
static likeness_context *context;
static likeness_model *model;

static const char *folder_name(void) {
    const char *folder = getenv("LIKENESS_TEST_MODEL");
    return folder ? folder : LIKENESS_SOURCE_DIR "/assets/cameo";
}

static const char *case_path(void) {
    const char *path = getenv("LIKENESS_TEST_MODEL_GUIDED");
    return path ? path : LIKENESS_SOURCE_DIR "/tests/data/models/cameo/guided.safetensors";
}

static bool same_weights(void) {
    static const char *const names[] = {"text_encoder/model.safetensors", "unet/diffusion_pytorch_model.safetensors",
                                        "vae/diffusion_pytorch_model.safetensors", "identity_encoder.onnx",
                                        "judge.onnx"};
    const char *wanted = lk_safetensors_metadata(&file, "weights");
    char all[5 * 16 + 1] = "";
    for (int i = 0; i < 5; i++) {
        lk_error error = LK_ERROR_INIT;
        lk_mapping mapping;
        char hex[65], *path = lk_path_join(folder_name(), names[i]);
        if (lk_file_map(path, &mapping, &error) != LIKENESS_OK) fail_msg("%s", error.message);
        lk_sha256_hex(mapping.data, mapping.size, hex);
        memcpy(all + 16 * i, hex, 16);
        lk_file_unmap(&mapping);
        lk_free(path);
    }
    return wanted && strcmp(wanted, all) == 0;
}

static void skip_saying(const char *why) {
    printf("skipped: %s\n", why);
    skip();
}

static void ok(likeness_status status) {
    if (status != LIKENESS_OK) fail_msg("status %d: %s", (int)status, likeness_message(context));
}

static void start(bool precise) {
    lk_error error = LK_ERROR_INIT;
    char index[600];
    snprintf(index, sizeof index, "%s/unet/diffusion_pytorch_model.safetensors", folder_name());
    if (!lk_file_exists(index)) skip_saying("the model has no weights yet");
    if (!lk_file_exists(case_path())) skip_saying("there is no fixture; tests/reference/guided.py makes it");
    if (!file.name && lk_safetensors_open(&file, case_path(), &error) != LIKENESS_OK) fail_msg("%s", error.message);
    if (!same_weights()) skip_saying("the fixture belongs to other weights; tests/reference/guided.py makes it anew");
    likeness_options options = {.cache = "", .precise = precise};
    if (likeness_open(&options, &context) != LIKENESS_OK) skip_saying(likeness_message(context));
    ok(likeness_load(context, folder_name(), &model));
}

static int stop(void **state) {
    (void)state;
    likeness_unload(model);
    likeness_close(context);
    model = NULL;
    context = NULL;
    return 0;
}

static float *values_of(const char *name, size_t *count) {
    lk_error error = LK_ERROR_INIT;
    const lk_safetensor *tensor = lk_safetensors_find(&file, name);
    assert_non_null(tensor);
    float *values = malloc(tensor->elements * sizeof *values);
    assert_int_equal(lk_safetensor_to_f32(tensor, values, &error), LIKENESS_OK);
    *count = tensor->elements;
    return values;
}

/* Of 255; the truth is rounded as well, so equal numbers differ by 0. */
static void compare(const likeness_image *image, const char *name, double mean_limit, double most_limit) {
    size_t count, area = (size_t)image->width * (size_t)image->height;
    float *planes = values_of(name, &count);
    double sum = 0, most = 0;
    assert_int_equal(count, 3 * area);
    for (size_t c = 0; c < 3; c++)
        for (size_t i = 0; i < area; i++) {
            double wanted = floor(255.0 * fmin(fmax((double)planes[c * area + i], 0), 1) + 0.5);
            double off = fabs(wanted - image->rgb[i * 3 + c]);
            sum += off;
            most = fmax(most, off);
        }
    free(planes);
    printf("%s: mean difference %.4f, largest %.0f of 255\n", name, sum / (double)count, most);
    assert_true(sum / (double)count <= mean_limit && most <= most_limit);
}

static likeness_generate_params words(void) {
    return (likeness_generate_params){
        .prompt = lk_safetensors_metadata(&file, "prompt"),
        .negative_prompt = lk_safetensors_metadata(&file, "negative"),
        .seed = strtoll(lk_safetensors_metadata(&file, "seed"), NULL, 10),
    };
}

static void unguided(bool precise) {
    start(precise);
    likeness_image image;
    likeness_generate_params params = words();
    ok(likeness_generate(model, &params, &image));
    compare(&image, "unguided_1", 0.5, 4);
    likeness_image_free(&image);
    if (precise || strstr(likeness_device_name(context), "SwiftShader")) return; /* two branches take it minutes */
    params.cfg_scale = 3;
    ok(likeness_generate(model, &params, &image));
    compare(&image, "unguided_3", 0.5, 4);
    likeness_image_free(&image);
}

static void unguided_steps(void **state) {
    (void)state;
    unguided(false);
}

/* Minutes of work for the slowest driver, whose kernels the 4 steps above and tests/op look at. */
static void skip_where_slow(void) {
    likeness_options options = {.cache = ""};
    likeness_context *c;
    likeness_status status = likeness_open(&options, &c);
    bool slow = status == LIKENESS_OK && strstr(likeness_device_name(c), "SwiftShader");
    likeness_close(c);
    if (slow) skip_saying("SwiftShader would take minutes");
}

static void unguided_steps_precise(void **state) {
    (void)state;
    skip_where_slow();
    unguided(true);
}

static void guided_iterations(void **state) {
    (void)state;
    skip_where_slow();
    start(true);
    likeness_image reference;
    ok(likeness_image_read(context, LIKENESS_SOURCE_DIR "/assets/samples/micah.png", &reference));
    likeness_personalize_params params = {.base = words(), .reference = &reference, .iterations = 3};
    likeness_personalize_result r;
    ok(likeness_personalize(model, &params, &r));
    size_t count;
    float *losses = values_of("losses", &count), *judge = values_of("judge", &count);
    for (int i = 0; i <= 3; i++)
        printf("loss %d: %.4f, PyTorch %.4f\n", i, r.log[i].loss, (double)losses[i]);
    printf("judge: %.4f, PyTorch %.4f\n", r.judge_guided, (double)judge[0]);
    compare(&r.guided, "guided", 1, 255);
    assert_true(fabs(r.judge_guided - (double)judge[0]) < 0.02);
    for (int i = 0; i <= 3; i++)
        assert_true(fabs(r.log[i].loss - (double)losses[i]) <= 0.01 * (double)losses[i] + 0.02);
    free(losses);
    free(judge);
    likeness_personalize_result_free(&r);
    likeness_image_free(&reference);
}

static int end(void **state) {
    (void)state;
    if (file.name) lk_safetensors_close(&file);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(unguided_steps, stop),
        cmocka_unit_test_teardown(unguided_steps_precise, stop),
        cmocka_unit_test_teardown(guided_iterations, stop),
    };
    return cmocka_run_group_tests(tests, NULL, end);
}
