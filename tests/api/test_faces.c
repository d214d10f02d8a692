/* tests/api/test_faces.c - personalize by faces and boxes through the public interface, on the tiny model and the
 * networks of tests/reference/face_networks.py: values against an independent PyTorch loop (guided_faces.py), P20 of
 * the RectifID spec, a face that is never found, references without or with several faces, consent, refusals, leaks.
 * Needs a Vulkan device; skipped aloud without one. */
#include "support/fixture.h"

#include "base/error.h"
#include "base/memory.h"
#include "io/safetensors.h"
#include "likeness/likeness.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TINY LIKENESS_SOURCE_DIR "/tests/data/models/tiny"
#define FACES LIKENESS_SOURCE_DIR "/tests/data/models/faces/"
#define SAMPLES LIKENESS_SOURCE_DIR "/assets/samples/"

static likeness_context *context;
static likeness_image micah, lorelei;

static void ok(likeness_status status) {
    if (status != LIKENESS_OK) fail_msg("status %d: %s", (int)status, likeness_message(context));
}

static void refused(likeness_status status, likeness_status wanted, const char *word) {
    if (status != wanted || !strstr(likeness_message(context), word))
        fail_msg("status %d, expected %d with '%s': %s", (int)status, (int)wanted, word, likeness_message(context));
}

/* A model with a detector (or NULL) and the encoder of 112 x 112. */
static likeness_model *model_with(const char *detector) {
    likeness_model *model;
    if (!context) {
        likeness_options options = {.cache = ""};
        if (likeness_open(&options, &context) == LIKENESS_OK) {
            ok(likeness_image_read(context, SAMPLES "micah.png", &micah));
            ok(likeness_image_read(context, SAMPLES "lorelei.png", &lorelei));
        } else {
            printf("skipped: %s\n", likeness_message(context));
        }
    }
    if (!micah.rgb) skip();
    ok(likeness_load(context, TINY, &model));
    ok(likeness_set_discriminator(model, FACES "embedder.onnx"));
    ok(likeness_set_judge(model, FACES "judge.onnx"));
    if (detector) ok(likeness_set_detector(model, detector, 0));
    return model;
}

static likeness_personalize_params guided(int iterations) {
    return (likeness_personalize_params){
        .base = {.prompt = "red person on a hill", .seed = 7}, .reference = &micah, .iterations = iterations};
}

static float *truth(const char *name, const char *what, size_t count) {
    char key[64];
    snprintf(key, sizeof key, "%s.%s", name, what);
    return fixture_values(FACES "guided.safetensors", key, count);
}

/* Losses and lengths of all gradients within 1e-4, the picture rounded to the nearest. */
static void same_as_pytorch(const likeness_personalize_result *r, const char *name) {
    float *losses = truth(name, "losses", 4), *norms = truth(name, "norms", 12),
          *picture = truth(name, "picture", 3 * 256);
    assert_int_equal(r->iterations, 3);
    for (int i = 0; i < 4; i++) {
        if (fabs(r->log[i].loss - (double)losses[i]) > 1e-4 * fabs((double)losses[i]))
            fail_msg("%s: loss %d is %.7g, expected %.7g", name, i, r->log[i].loss, (double)losses[i]);
        for (int k = 0; k < 3 && i < 3; k++) {
            double got = r->gradient_norms[(i + 1) * 3 + k], wanted = (double)norms[i * 3 + k];
            if (fabs(got - wanted) > 3e-4 * wanted)
                fail_msg("%s: gradient %d of pass %d has length %.7g, expected %.7g", name, k, i, got, wanted);
        }
    }
    for (int c = 0; c < 3; c++)
        for (int i = 0; i < 256; i++) {
            double wanted = 255 * fmin(fmax((double)picture[c * 256 + i], 0), 1);
            assert_true(fabs(wanted - r->guided.rgb[3 * i + c]) <= 0.51);
        }
    free(losses);
    free(norms);
    free(picture);
}

/* ---- values ---- */

static void a_face_as_pytorch(void **state) {
    (void)state;
    likeness_model *model = model_with(FACES "one.onnx");
    likeness_personalize_params params = guided(3);
    likeness_personalize_result r;
    ok(likeness_personalize(model, &params, &r));
    same_as_pytorch(&r, "face");
    assert_true(r.people == 1 && !r.no_face && !r.photograph && r.log[2].faces == 1);
    assert_true(fabs(r.log[1].likeness - (1 - r.log[1].loss / 100)) < 1e-9);
    assert_true(r.likeness_guided == r.log[3].likeness && r.likeness_guided > r.likeness_unguided + 0.1);
    assert_true(fabs(r.person[0] - r.likeness_guided) < 0.05); /* of the 8-bit picture */
    float *judge = truth("face", "judge", 1);
    if (!(fabs(r.judge_guided - (double)*judge) < 1e-3))
        fail_msg("judge %.6f, expected %.6f", r.judge_guided, (double)*judge);
    assert_true(fabs(r.judge_threshold - 0.3) < 1e-9);
    char *text = likeness_settings_text(model, &params.base, &params);
    assert_non_null(strstr(text, "Detector hash: "));
    assert_null(strstr(text, "Consent"));
    likeness_text_free(text);
    free(judge);
    likeness_personalize_result_free(&r);
    /* The same with segments that are computed again. */
    likeness_personalize_result again;
    ok(likeness_personalize(model, &params, &r));
    params.recompute = true;
    ok(likeness_personalize(model, &params, &again));
    assert_true(r.log[3].loss == again.log[3].loss);
    assert_memory_equal(r.guided.rgb, again.guided.rgb, 16 * 16 * 3);
    likeness_personalize_result_free(&r);
    likeness_personalize_result_free(&again);
    likeness_unload(model);
}

/* P20: swapped references give the same bytes. */
static void two_people_in_any_order(void **state) {
    (void)state;
    likeness_model *model = model_with(FACES "two.onnx");
    likeness_personalize_params params = guided(3);
    likeness_personalize_result r, swapped;
    params.others = &lorelei;
    params.other_count = 1;
    ok(likeness_personalize(model, &params, &r));
    same_as_pytorch(&r, "two");
    assert_true(r.people == 2 && r.log[0].faces == 2 && isfinite(r.person[0]) && isfinite(r.person[1]));
    assert_true(fabs(r.log[3].likeness - (1 - r.log[3].loss / 200)) < 1e-9);
    params.reference = &lorelei;
    params.others = &micah;
    ok(likeness_personalize(model, &params, &swapped));
    for (int i = 0; i <= 3; i++) {
        assert_true(r.log[i].loss == swapped.log[i].loss && r.log[i].likeness == swapped.log[i].likeness);
        for (int k = 0; k < 3; k++)
            assert_true(r.gradient_norms[3 * i + k] == swapped.gradient_norms[3 * i + k]);
    }
    assert_memory_equal(r.guided.rgb, swapped.guided.rgb, 16 * 16 * 3);
    assert_true(r.person[0] == swapped.person[1] && r.person[1] == swapped.person[0] && r.person[0] != r.person[1]);
    likeness_personalize_result_free(&r);
    likeness_personalize_result_free(&swapped);
    likeness_unload(model);
}

/* One of two people is never in the picture: the other is guided all the same. */
static void one_of_two_is_missing(void **state) {
    (void)state;
    likeness_model *model = model_with(FACES "one.onnx");
    likeness_personalize_params params = guided(2);
    likeness_personalize_result r;
    params.others = &lorelei;
    params.other_count = 1;
    ok(likeness_personalize(model, &params, &r));
    assert_true(r.people == 2 && r.log[0].faces == 1 && !r.no_face);
    assert_true(isnan(r.person[0]) != isnan(r.person[1]));
    assert_true(r.log[2].loss < r.log[0].loss && r.log[2].loss > 200 && r.gradient_norms[3] > 0);
    assert_true(r.log[2].likeness > r.log[0].likeness);
    likeness_personalize_result_free(&r);
    likeness_unload(model);
}

static void a_box_as_pytorch(void **state) {
    (void)state;
    likeness_model *model = model_with(NULL);
    likeness_personalize_params params = guided(3);
    likeness_personalize_result r;
    ok(likeness_set_discriminator(model, FACES "judge.onnx"));
    params.box = (likeness_box){3, 2, 10, 9};
    params.l1_weight = 10;
    ok(likeness_personalize(model, &params, &r));
    same_as_pytorch(&r, "box");
    assert_true(r.log[0].faces == -1 && r.people == 1 && isfinite(r.judge_guided));
    char *text = likeness_settings_text(model, &params.base, &params);
    assert_non_null(strstr(text, "Box: 3 2 10 9"));
    assert_non_null(strstr(text, "Difference weight: 10"));
    likeness_text_free(text);
    double whole = r.log[0].loss;
    likeness_personalize_result_free(&r);
    params.reference_box = (likeness_box){40, 40, 100, 120};
    params.iterations = -1;
    ok(likeness_personalize(model, &params, &r));
    assert_true(r.log[0].loss != whole);
    likeness_personalize_result_free(&r);
    params.box.width = 14;
    refused(likeness_personalize(model, &params, &r), LIKENESS_USAGE, "outside the picture");
    params.box.width = 10;
    params.reference_box.x = 200;
    refused(likeness_personalize(model, &params, &r), LIKENESS_USAGE, "outside the reference");
    likeness_unload(model);
}

/* The detector's box instead of the five points. */
static void boxes_of_a_detector(void **state) {
    (void)state;
    likeness_model *model = model_with(FACES "one.onnx");
    likeness_personalize_params params = guided(1);
    likeness_personalize_result turned, box;
    ok(likeness_personalize(model, &params, &turned));
    params.box_crop = true;
    ok(likeness_personalize(model, &params, &box));
    assert_true(box.log[0].faces == 1 && box.log[0].loss != turned.log[0].loss && box.gradient_norms[3] > 0);
    likeness_personalize_result_free(&turned);
    likeness_personalize_result_free(&box);
    likeness_unload(model);
}

/* ---- no face ---- */

static int steps_seen;

static bool count_steps(void *user, const char *phase, int step, int total, double likeness) {
    (void)user, (void)total;
    if (strcmp(phase, "guide") != 0) return true;
    assert_int_equal(step, steps_seen);
    assert_true(isnan(likeness));
    steps_seen++;
    return true;
}

/* The reference is bright enough for this detector, the new picture is not: no step is taken, after ten the run ends.
 */
static void no_face_ends_the_run(void **state) {
    (void)state;
    likeness_model *model = model_with(FACES "bright.onnx");
    likeness_personalize_params params = guided(30);
    likeness_personalize_result r;
    params.base.progress = count_steps;
    steps_seen = 0;
    refused(likeness_personalize(model, &params, &r), LIKENESS_NO_FACE, "10 iterations in a row");
    assert_true(r.no_face && !r.interrupted && r.guided.rgb && r.iterations == 9 && steps_seen == 10);
    assert_memory_equal(r.guided.rgb, r.unguided.rgb, 16 * 16 * 3);
    assert_true(isnan(r.likeness_guided) && isnan(r.person[0]) && isnan(r.judge_guided));
    for (int i = 0; i <= 9; i++) {
        assert_true(r.log[i].faces == 0 && isnan(r.log[i].likeness) && r.log[i].loss == 200);
        for (int k = 0; k < 3; k++)
            assert_true(r.gradient_norms[3 * i + k] == 0 && r.offset_norms[3 * i + k] == 0);
    }
    likeness_personalize_result_free(&r);
    /* The published behaviour takes whatever scores best, and steps. */
    params = guided(2);
    params.lower_threshold = true;
    ok(likeness_personalize(model, &params, &r));
    assert_true(r.log[0].faces == 1 && r.gradient_norms[3] > 0 && !r.no_face);
    likeness_personalize_result_free(&r);
    likeness_unload(model);
}

/* Guidance makes the picture a little darker each time, and from pass 2 on this detector finds no face any more: three
 * steps with the last place, seven without one, then the best picture, of pass 1. */
static void a_face_is_lost_on_the_way(void **state) {
    (void)state;
    likeness_model *model = model_with(FACES "edge.onnx");
    likeness_personalize_params params = guided(30);
    likeness_personalize_result r, one;
    params.reference = &lorelei;
    refused(likeness_personalize(model, &params, &r), LIKENESS_NO_FACE, "10 iterations in a row");
    assert_true(r.no_face && r.iterations == 11);
    for (int i = 0; i <= 11; i++) {
        assert_int_equal(r.log[i].faces, i < 2);
        assert_int_equal(isnan(r.log[i].likeness), i >= 2);
        /* gradient_norms of row i made the step from pass i - 1. */
        for (int k = 0; k < 3 && i > 0; k++)
            assert_int_equal(r.gradient_norms[3 * i + k] > 0, i - 1 <= 4);
        assert_true(i < 6 || r.offset_norms[3 * i] == r.offset_norms[3 * 5]);
    }
    assert_true(r.log[4].loss < r.log[2].loss &&
                r.log[2].loss < r.log[1].loss); /* steps that help, at the last place */
    assert_true(r.log[5].loss == 200 && r.likeness_guided == r.log[1].likeness);
    params.iterations = 1;
    ok(likeness_personalize(model, &params, &one));
    assert_memory_equal(one.guided.rgb, r.guided.rgb, 16 * 16 * 3);
    likeness_personalize_result_free(&r);
    likeness_personalize_result_free(&one);
    likeness_unload(model);
}

static void references_need_one_face(void **state) {
    (void)state;
    likeness_model *model = model_with(FACES "none.onnx");
    likeness_personalize_params params = guided(1);
    likeness_personalize_result r;
    refused(likeness_personalize(model, &params, &r), LIKENESS_NO_FACE, "reference 1: no face was found");
    assert_null(r.guided.rgb);
    ok(likeness_set_detector(model, FACES "even.onnx", 0));
    refused(likeness_personalize(model, &params, &r), LIKENESS_NO_FACE, "reference 1 shows 2 faces");
    params.reference_box = (likeness_box){60, 40, 100, 100};
    ok(likeness_personalize(model, &params, &r));
    assert_true(r.log[0].faces == 1); /* only as many as there are people, though it finds two */
    likeness_personalize_result_free(&r);
    params.reference_box = (likeness_box){200, 200, 30, 30};
    refused(likeness_personalize(model, &params, &r), LIKENESS_NO_FACE, "in its box");
    double identity, judge, threshold;
    refused(likeness_compare(model, &micah, &lorelei, &identity, &judge, &threshold), LIKENESS_NO_FACE, "reference 1");
    ok(likeness_set_detector(model, FACES "one.onnx", 0));
    ok(likeness_compare(model, &micah, &micah, &identity, &judge, &threshold));
    assert_true(fabs(identity - 1) < 1e-9 && fabs(judge - 1) < 1e-9);
    ok(likeness_compare(model, &micah, &lorelei, &identity, &judge, &threshold));
    assert_true(identity < 0.999 && judge < 0.999);
    likeness_unload(model);
}

/* ---- consent ---- */

/* Shading and noise, as a camera makes them. */
static likeness_image camera_picture(void) {
    likeness_image image = {64, 64, malloc(64 * 64 * 3)};
    uint32_t noise = 12345;
    for (int i = 0; i < 64 * 64; i++)
        for (int c = 0; c < 3; c++) {
            noise = noise * 1664525u + 1013904223u;
            image.rgb[3 * i + c] = (uint8_t)(110 + i % 64 + i / 64 - 20 * c + (int)(noise >> 29));
        }
    return image;
}

static void photographs_need_consent(void **state) {
    (void)state;
    likeness_model *model = model_with(FACES "one.onnx");
    likeness_image photograph = camera_picture();
    likeness_personalize_params params = guided(1);
    likeness_personalize_result r;
    assert_true(likeness_is_photograph(&photograph));
    assert_false(likeness_is_photograph(&micah) || likeness_is_photograph(&lorelei));
    params.reference = &photograph;
    refused(likeness_personalize(model, &params, &r), LIKENESS_CONSENT, "--consent");
    assert_int_equal(lk_status_exit_code(LIKENESS_CONSENT), 9);
    assert_int_equal(lk_status_exit_code(LIKENESS_NO_FACE), 8);
    params.reference = &micah; /* of a further person */
    params.others = &photograph;
    params.other_count = 1;
    refused(likeness_personalize(model, &params, &r), LIKENESS_CONSENT, "--consent");
    params.other_count = 0;
    params.reference = &photograph;
    for (int i = 0; i < 2; i++) {
        params.consent = i ? LIKENESS_CONSENT_GRANTED : LIKENESS_CONSENT_SELF;
        ok(likeness_personalize(model, &params, &r));
        assert_true(r.photograph);
        char *text = likeness_settings_text(model, &params.base, &params);
        assert_non_null(strstr(text, i ? "Consent: granted" : "Consent: self"));
        likeness_text_free(text);
        likeness_personalize_result_free(&r);
    }
    /* Whole pictures too, with no detector. */
    likeness_model *plain = model_with(NULL);
    params.consent = LIKENESS_CONSENT_NONE;
    refused(likeness_personalize(plain, &params, &r), LIKENESS_CONSENT, "--consent");
    free(photograph.rgb);
    likeness_unload(plain);
    likeness_unload(model);
}

/* ---- refusals ---- */

static void what_does_not_go_together(void **state) {
    (void)state;
    likeness_model *model = model_with(NULL);
    likeness_personalize_params params = guided(1);
    likeness_personalize_result r;
    params.others = &lorelei;
    params.other_count = 1;
    refused(likeness_personalize(model, &params, &r), LIKENESS_USAGE, "--detector");
    params.other_count = LIKENESS_MAX_PEOPLE;
    refused(likeness_personalize(model, &params, &r), LIKENESS_USAGE, "at most 8");
    params.other_count = -1;
    refused(likeness_personalize(model, &params, &r), LIKENESS_USAGE, "at most 8");
    params.other_count = 0;
    refused(likeness_set_detector(model, FACES "embedder.onnx", 0), LIKENESS_UNSUPPORTED, "no face detector");
    refused(likeness_set_detector(model, FACES "missing.onnx", 0), LIKENESS_IO, "missing.onnx");
    refused(likeness_set_detector(model, FACES "one.onnx", 1.5), LIKENESS_USAGE, "between 0 and 1");
    ok(likeness_personalize(model, &params, &r)); /* still whole pictures */
    assert_int_equal(r.log[0].faces, -1);
    likeness_personalize_result_free(&r);
    ok(likeness_set_detector(model, FACES "one.onnx", 0.3));
    params.box = (likeness_box){0, 0, 8, 8};
    refused(likeness_personalize(model, &params, &r), LIKENESS_USAGE, "exclude each other");
    params.box.width = 0;
    params.l1_weight = NAN;
    refused(likeness_personalize(model, &params, &r), LIKENESS_USAGE, "negative");
    params.l1_weight = 0;
    /* Another input changes what the encoder sees; nonsense changes nothing. */
    likeness_personalize_result other;
    ok(likeness_personalize(model, &params, &r));
    refused(likeness_set_encoder_input(model, "0.5/0", false), LIKENESS_USAGE, "MEAN/STD");
    refused(likeness_set_encoder_input(model, "imagenets", true), LIKENESS_USAGE, "imagenet");
    ok(likeness_set_encoder_input(model, "0.5/0.5/RGB", false));
    ok(likeness_personalize(model, &params, &other));
    assert_true(r.log[1].loss == other.log[1].loss);
    likeness_personalize_result_free(&other);
    ok(likeness_set_encoder_input(model, "0.4,0.5,0.6/0.25/BGR", false));
    ok(likeness_personalize(model, &params, &other));
    assert_true(r.log[1].loss != other.log[1].loss);
    likeness_personalize_result_free(&other);
    likeness_personalize_result_free(&r);
    likeness_unload(model);
}

/* ---- memory ---- */

/* Two people, differences too, from loading to unloading; allocation n fails (-1: none). */
static likeness_status whole(int64_t n) {
    likeness_model *model = NULL;
    likeness_personalize_params params = guided(1);
    likeness_personalize_result r = {0};
    params.others = &lorelei;
    params.other_count = 1;
    params.l1_weight = 1;
    lk_memory_fail_after(n);
    likeness_status status = likeness_load(context, TINY, &model);
    if (status == LIKENESS_OK) status = likeness_set_discriminator(model, FACES "embedder.onnx");
    if (status == LIKENESS_OK) status = likeness_set_detector(model, FACES "two.onnx", 0);
    if (status == LIKENESS_OK) status = likeness_personalize(model, &params, &r);
    lk_memory_fail_after(-1);
    likeness_personalize_result_free(&r);
    likeness_unload(model);
    return status;
}

/* Allocations fail here and there, most of them late, where the faces are: a message, nothing leaks. */
static void memory_runs_out(void **state) {
    (void)state;
    likeness_unload(model_with(NULL)); /* opens the context */
    ok(whole(-1));
    int64_t live = lk_memory_live(), before = lk_memory_count();
    ok(whole(-1));
    int64_t all = lk_memory_count() - before;
    assert_int_equal(lk_memory_live(), live);
    for (int i = 0; i < 14; i++) {
        int64_t n = all - 1 - (int64_t)((double)all * pow((i + 0.3) / 14, 3));
        likeness_status status = whole(n);
        if (status != LIKENESS_OUT_OF_MEMORY || !likeness_message(context)[0])
            fail_msg("allocation %lld of %lld: status %d", (long long)n, (long long)all, (int)status);
        if (lk_memory_live() != live) fail_msg("allocation %lld of %lld leaked", (long long)n, (long long)all);
    }
}

static int leave_nothing(void **state) {
    (void)state;
    likeness_image_free(&micah);
    likeness_image_free(&lorelei);
    likeness_close(context);
    return nothing_left();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_face_as_pytorch),         cmocka_unit_test(two_people_in_any_order),
        cmocka_unit_test(one_of_two_is_missing),     cmocka_unit_test(a_box_as_pytorch),
        cmocka_unit_test(boxes_of_a_detector),       cmocka_unit_test(no_face_ends_the_run),
        cmocka_unit_test(a_face_is_lost_on_the_way), cmocka_unit_test(references_need_one_face),
        cmocka_unit_test(photographs_need_consent),  cmocka_unit_test(what_does_not_go_together),
        cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests_name("faces", tests, NULL, leave_nothing);
}
