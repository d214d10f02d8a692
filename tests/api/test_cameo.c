/* tests/api/test_cameo.c - whole pictures of the model that ships, against diffusers and against a loop for anchored
 * guidance in PyTorch (fixture: tests/reference/cameo_pictures.py), and the same bytes for the same seed.
 *
 * LIKENESS_TEST_MODEL and LIKENESS_TEST_PICTURES name another folder and fixture. SwiftShader is about 80 times slower
 * than lavapipe: there only the unguided picture is compared, the rest with LIKENESS_TEST_ALL. */
#include "api/model.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static likeness_context *context;
static likeness_model *model; /* precise */
static lk_safetensors fixture;
static bool fixture_fits; /* opened, and of these weights */

static const char *folder(void) {
    const char *other = getenv("LIKENESS_TEST_MODEL");
    return other ? other : LIKENESS_SOURCE_DIR "/assets/cameo";
}

static void check(likeness_status status) {
    if (status != LIKENESS_OK) fail_msg("%s", likeness_message(context));
}

static void need_model(void) {
    if (!model) skip();
}

static void need_fixture(void) {
    need_model();
    if (!fixture_fits) skip();
}

/* A weak CPU driver. */
static void need_speed(void) {
    if (!strstr(likeness_device_name(context), "SwiftShader") || getenv("LIKENESS_TEST_ALL")) return;
    printf("skipped: too slow on SwiftShader without LIKENESS_TEST_ALL\n");
    skip();
}

static likeness_generate_params words(void) {
    return (likeness_generate_params){.prompt = "micah portrait of a person, smile expression, red background",
                                      .seed = 7};
}

/* ---- against the fixture ---- */

static likeness_generate_params fixture_words(void) {
    int64_t seed = atoll(lk_safetensors_metadata(&fixture, "seed"));
    return (likeness_generate_params){.prompt = lk_safetensors_metadata(&fixture, "prompt"), .seed = seed, .steps = 4};
}

static void compare(const likeness_image *image, const char *name, double mean_limit, int most) {
    lk_safetensor *truth = lk_safetensors_find(&fixture, name);
    assert_non_null(truth);
    assert_int_equal(truth->elements, (size_t)image->width * (size_t)image->height * 3);
    const uint8_t *pixels = truth->data;
    double sum = 0;
    int worst = 0;
    for (size_t i = 0; i < truth->elements; i++) {
        int difference = abs(image->rgb[i] - pixels[i]);
        sum += difference;
        if (difference > worst) worst = difference;
    }
    sum /= (double)truth->elements;
    printf("%s: mean difference %.4f/255, largest %d/255\n", name, sum, worst);
    assert_true(sum <= mean_limit && worst <= most);
}

static void unguided_as_diffusers(void **state) {
    (void)state;
    need_fixture();
    likeness_generate_params params = fixture_words();
    likeness_image image = {0};
    check(likeness_generate(model, &params, &image));
    compare(&image, "plain", 0.5, 4);
    likeness_image_free(&image);
}

static void classifier_free_as_diffusers(void **state) {
    (void)state;
    need_fixture();
    need_speed();
    likeness_generate_params params = fixture_words();
    likeness_image image = {0};
    params.negative_prompt = lk_safetensors_metadata(&fixture, "negative");
    params.cfg_scale = atof(lk_safetensors_metadata(&fixture, "weight"));
    check(likeness_generate(model, &params, &image));
    compare(&image, "free", 0.5, 4);
    likeness_image_free(&image);
}

static void read_reference(likeness_image *image) {
    const char *name = lk_safetensors_metadata(&fixture, "reference");
    char path[600];
    snprintf(path, sizeof path, LIKENESS_SOURCE_DIR "/assets/samples/%s", name ? name : "micah.png");
    check(likeness_image_read(context, path, image));
}

static void guided_as_an_independent_loop(void **state) {
    (void)state;
    need_fixture();
    need_speed();
    likeness_image reference = {0};
    likeness_personalize_result result;
    read_reference(&reference);
    likeness_personalize_params params = {.base = fixture_words(),
                                          .reference = &reference,
                                          .iterations = atoi(lk_safetensors_metadata(&fixture, "iterations"))};
    check(likeness_personalize(model, &params, &result));
    compare(&result.unguided, "plain", 0.5, 4);
    compare(&result.guided, "guided", 1, 64);
    lk_safetensor *likeness = lk_safetensors_find(&fixture, "likeness");
    assert_non_null(likeness);
    assert_int_equal(likeness->elements, params.iterations + 1);
    for (int n = 0; n <= params.iterations; n++) {
        float expected;
        memcpy(&expected, (const uint8_t *)likeness->data + sizeof expected * (size_t)n, sizeof expected);
        printf("iteration %d: likeness %.5f, in the loop %.5f\n", n, result.log[n].likeness, (double)expected);
        assert_true(fabs(result.log[n].likeness - (double)expected) < 2e-3);
    }
    likeness_personalize_result_free(&result);
    likeness_image_free(&reference);
}

/* ---- the same bytes ---- */

static bool same(const likeness_image *a, const likeness_image *b) {
    return a->width == b->width && a->height == b->height &&
           memcmp(a->rgb, b->rgb, (size_t)a->width * (size_t)a->height * 3) == 0;
}

static void same_seed_same_picture(void **state) {
    (void)state;
    need_model();
    need_speed();
    likeness_generate_params params = words();
    likeness_image first = {0}, again = {0}, other = {0};
    check(likeness_generate(model, &params, &first));
    params.seed++;
    check(likeness_generate(model, &params, &other));
    params.seed--;
    check(likeness_generate(model, &params, &again));
    assert_true(same(&first, &again));
    assert_false(same(&first, &other));
    likeness_image_free(&again);
    /* Another context, as another run of the program would open it. */
    likeness_context *fresh = NULL;
    likeness_model *loaded = NULL;
    likeness_options options = {.precise = true};
    assert_int_equal(likeness_open(&options, &fresh), LIKENESS_OK);
    assert_int_equal(likeness_load(fresh, folder(), &loaded), LIKENESS_OK);
    assert_int_equal(likeness_generate(loaded, &params, &again), LIKENESS_OK);
    assert_true(same(&first, &again));
    likeness_unload(loaded);
    likeness_close(fresh);
    likeness_image_free(&first);
    likeness_image_free(&again);
    likeness_image_free(&other);
}

/* Also: activations kept for every segment or computed again; the unguided picture is the one that generate makes; and
 * P1 of the spec, on the device: guidance of no strength changes nothing. */
static void same_seed_same_guidance(void **state) {
    (void)state;
    need_model();
    need_speed();
    likeness_image reference = {0}, plain = {0};
    likeness_personalize_result first, again;
    check(likeness_image_read(context, LIKENESS_SOURCE_DIR "/assets/samples/micah.png", &reference));
    likeness_personalize_params params = {.base = words(), .reference = &reference, .iterations = 2};
    check(likeness_generate(model, &params.base, &plain));
    check(likeness_personalize(model, &params, &first));
    assert_true(same(&first.unguided, &plain));
    params.recompute = true;
    check(likeness_personalize(model, &params, &again));
    assert_true(same(&first.unguided, &again.unguided) && same(&first.guided, &again.guided));
    for (int n = 0; n <= 2; n++)
        assert_true(first.log[n].likeness == again.log[n].likeness && first.log[n].loss == again.log[n].loss);
    likeness_personalize_result_free(&again);
    likeness_personalize_result_free(&first);
    params.id_scale = 1e-30;
    params.iterations = 1;
    check(likeness_personalize(model, &params, &again));
    assert_true(same(&again.guided, &plain));
    assert_true(again.log[0].likeness == again.log[1].likeness);
    likeness_personalize_result_free(&again);
    likeness_image_free(&reference);
    likeness_image_free(&plain);
}

/* ---- setting up ---- */

/* The fixture, unless it belongs to other weights. */
static void open_fixture(void) {
    static const char *const names[] = {"text_encoder/model.safetensors", "unet/diffusion_pytorch_model.safetensors",
                                        "vae/diffusion_pytorch_model.safetensors", "identity_encoder.onnx"};
    const char *path = getenv("LIKENESS_TEST_PICTURES");
    char seen[4 * 64 + 1] = "";
    lk_error error = LK_ERROR_INIT;
    if (!path) path = LIKENESS_SOURCE_DIR "/tests/data/models/cameo/pictures.safetensors";
    if (!lk_file_exists(path)) {
        printf("skipped: %s does not exist; tests/reference/cameo_pictures.py makes it\n", path);
        return;
    }
    if (lk_safetensors_open(&fixture, path, &error) != LIKENESS_OK) fail_msg("%s", error.message);
    for (int i = 0; i < 4; i++) {
        lk_mapping mapping;
        char hex[65], *name = lk_path_join(folder(), names[i]);
        if (lk_file_map(name, &mapping, &error) != LIKENESS_OK) fail_msg("%s", error.message);
        lk_sha256_hex(mapping.data, mapping.size, hex);
        strcat(seen, hex);
        lk_file_unmap(&mapping);
        lk_free(name);
    }
    const char *wanted = lk_safetensors_metadata(&fixture, "weights");
    fixture_fits = wanted && strcmp(wanted, seen) == 0;
    if (!fixture_fits)
        printf("skipped: %s belongs to other weights; tests/reference/cameo_pictures.py makes it anew\n", path);
}

static int open_all(void **state) {
    (void)state;
    likeness_options options = {.precise = true};
    char index[600];
    snprintf(index, sizeof index, "%s/model_index.json", folder());
    if (likeness_open(&options, &context) != LIKENESS_OK) {
        printf("skipped: %s\n", likeness_message(context));
        return 0;
    }
    printf("device: %s\n", likeness_device_name(context));
    if (!lk_file_exists(index)) {
        printf("skipped: %s does not exist\n", index);
        return 0;
    }
    check(likeness_load(context, folder(), &model));
    open_fixture();
    return 0;
}

static int close_all(void **state) {
    (void)state;
    lk_safetensors_close(&fixture);
    likeness_unload(model);
    likeness_close(context);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unguided_as_diffusers),         cmocka_unit_test(classifier_free_as_diffusers),
        cmocka_unit_test(guided_as_an_independent_loop), cmocka_unit_test(same_seed_same_picture),
        cmocka_unit_test(same_seed_same_guidance),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
