/* tests/api/test_pictures.c - generate, personalize and compare through the public interface, on the tiny model of
 * tests/reference/tiny.py: values against diffusers and an independent PyTorch loop, byte invariants, refusals,
 * interruption, non-finite weights, a lost device, leaks. Needs a Vulkan device; skipped aloud without one. */
#include "support/fixture.h"

#include "base/error.h"
#include "base/memory.h"
#include "gpu/device.h"
#include "io/safetensors.h"
#include "likeness/likeness.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TINY LIKENESS_SOURCE_DIR "/tests/data/models/tiny"
static const char prompt[] = "red person on a hill", negative[] = "rain";

static likeness_context *context;
static likeness_model *model;
static likeness_image reference;

static void need_model(void) {
    if (model) return;
    if (context) skip();
    likeness_options options = {.cache = ""};
    if (likeness_open(&options, &context) != LIKENESS_OK) {
        printf("skipped: %s\n", likeness_message(context));
        skip();
    }
    if (likeness_load(context, TINY, &model) != LIKENESS_OK) fail_msg("%s", likeness_message(context));
    if (likeness_image_read(context, LIKENESS_SOURCE_DIR "/assets/samples/micah.png", &reference) != LIKENESS_OK)
        fail_msg("%s", likeness_message(context));
}

static void ok(likeness_status status) {
    if (status != LIKENESS_OK) fail_msg("status %d: %s", (int)status, likeness_message(context));
}

static float *truth(const char *name, size_t count) { return fixture_values(TINY "/case.safetensors", name, count); }

/* An 8-bit picture against planes of a float one: rounding may move a value by half, or fall to the other side. */
static void same_picture(const likeness_image *image, const char *name) {
    float *planes = truth(name, 3 * 16 * 16);
    double sum = 0, most = 0;
    for (int c = 0; c < 3; c++)
        for (int i = 0; i < 256; i++) {
            double wanted = 255.0 * fmin(fmax((double)planes[c * 256 + i], 0), 1);
            double off = fabs(wanted - image->rgb[i * 3 + c]);
            sum += off;
            most = fmax(most, off);
        }
    if (most > 0.51 || sum / 768 > 0.3) fail_msg("%s: mean %.3f, most %.3f of 255", name, sum / 768, most);
    free(planes);
}

static bool same_bytes(const likeness_image *a, const likeness_image *b) {
    return a->width == b->width && a->height == b->height &&
           memcmp(a->rgb, b->rgb, (size_t)a->width * (size_t)a->height * 3) == 0;
}

static likeness_personalize_params guided(int iterations) {
    return (likeness_personalize_params){
        .base = {.prompt = prompt, .seed = 7}, .reference = &reference, .iterations = iterations};
}

static bool same_logs(const likeness_personalize_result *a, const likeness_personalize_result *b) {
    bool same = a->iterations == b->iterations && a->segments == b->segments;
    for (int i = 0; same && i <= a->iterations; i++)
        same = a->log[i].loss == b->log[i].loss && a->log[i].likeness == b->log[i].likeness;
    for (int i = 0; same && i < (a->iterations + 1) * a->segments; i++)
        same = a->gradient_norms[i] == b->gradient_norms[i] && a->offset_norms[i] == b->offset_norms[i];
    return same;
}

/* ---- values ---- */

static void unguided_as_diffusers(void **state) {
    (void)state;
    need_model();
    likeness_image image;
    likeness_generate_params params = {.prompt = prompt, .seed = 7};
    ok(likeness_generate(model, &params, &image));
    assert_int_equal(image.width, 16);
    same_picture(&image, "unguided_1");
    likeness_image_free(&image);
    params.cfg_scale = 3;
    params.negative_prompt = negative;
    ok(likeness_generate(model, &params, &image));
    same_picture(&image, "unguided_3");
    likeness_image_free(&image);
}

static void guided_as_the_paper(void **state) {
    (void)state;
    need_model();
    likeness_personalize_params params = guided(3);
    likeness_personalize_result r;
    ok(likeness_personalize(model, &params, &r));
    float *losses = truth("losses", 4), *norms = truth("norms", 12), *judge = truth("judge", 1);
    assert_int_equal(r.iterations, 3);
    assert_int_equal(r.segments, 3);
    for (int i = 0; i < 4; i++) {
        if (fabs(r.log[i].loss - (double)losses[i]) > 1e-4 * fabs((double)losses[i]))
            fail_msg("loss %d is %.7g, expected %.7g", i, r.log[i].loss, (double)losses[i]);
        for (int k = 0; k < 3 && i < 3; k++) {
            double got = r.gradient_norms[(i + 1) * 3 + k], wanted = (double)norms[i * 3 + k];
            if (fabs(got - wanted) > 1e-4 * wanted)
                fail_msg("gradient %d of pass %d has length %.7g, expected %.7g", k, i, got, wanted);
        }
    }
    same_picture(&r.unguided, "unguided_1");
    same_picture(&r.guided, "guided");
    assert_true(fabs(r.judge_guided - (double)judge[0]) < 1e-3);
    assert_true(fabs(r.judge_threshold - 0.25) < 1e-9);
    assert_true(r.likeness_guided > r.likeness_unguided + 0.1);
    likeness_personalize_result_free(&r);
    free(losses);
    free(norms);
    free(judge);
}

/* ---- the same bytes ---- */

static void unguided_is_what_generate_makes(void **state) {
    (void)state;
    need_model();
    likeness_personalize_params params = guided(-1);
    likeness_personalize_result r;
    likeness_image image;
    ok(likeness_personalize(model, &params, &r));
    ok(likeness_generate(model, &params.base, &image));
    assert_true(same_bytes(&r.unguided, &image));
    assert_true(same_bytes(&r.guided, &image));
    likeness_image_free(&image);
    likeness_personalize_result_free(&r);
}

/* Kept activations against computed again; both branches in a batch against one after the other. */
static void recompute_changes_nothing(void **state) {
    (void)state;
    need_model();
    for (int cfg = 1; cfg <= 3; cfg += 2) {
        likeness_personalize_params params = guided(4);
        likeness_personalize_result kept, again;
        params.base.cfg_scale = cfg;
        params.base.negative_prompt = negative;
        ok(likeness_personalize(model, &params, &kept));
        params.recompute = true;
        ok(likeness_personalize(model, &params, &again));
        assert_true(same_logs(&kept, &again));
        assert_true(same_bytes(&kept.guided, &again.guided));
        assert_false(same_bytes(&kept.guided, &kept.unguided));
        likeness_personalize_result_free(&kept);
        likeness_personalize_result_free(&again);
    }
}

static void other_calls_leave_no_trace(void **state) {
    (void)state;
    need_model();
    likeness_generate_params params = {.prompt = prompt, .seed = 3}, other = {.prompt = "x", .seed = 9, .steps = 5};
    likeness_image a, b, c;
    ok(likeness_generate(model, &params, &a));
    other.width = 24;
    other.height = 8;
    ok(likeness_generate(model, &other, &b));
    assert_int_equal(b.width, 24);
    assert_int_equal(b.height, 8);
    likeness_personalize_params guide = guided(1);
    guide.base.width = 24;
    likeness_personalize_result r;
    ok(likeness_personalize(model, &guide, &r));
    assert_int_equal(r.guided.width, 24);
    ok(likeness_generate(model, &params, &c));
    assert_true(same_bytes(&a, &c));
    likeness_image_free(&a);
    likeness_image_free(&b);
    likeness_image_free(&c);
    likeness_personalize_result_free(&r);
}

/* ---- guidance ---- */

typedef struct stop {
    int at, seen, previews;
} stop;

static bool stop_at(void *user, const char *phase, int step, int total, double likeness) {
    stop *s = user;
    (void)total;
    if (strcmp(phase, "guide") == 0) {
        s->seen++;
        assert_false(isnan(likeness));
        return step < s->at;
    }
    return true;
}

static bool stop_now(void *user, const char *phase, int step, int total, double likeness) {
    (void)user, (void)phase, (void)step, (void)total, (void)likeness;
    return false;
}

static void count_preview(void *user, int iteration, const likeness_image *image) {
    stop *s = user;
    assert_int_equal(iteration % 2, 0);
    assert_int_equal(image->width, 16);
    s->previews++;
}

static void interruption_keeps_the_best(void **state) {
    (void)state;
    need_model();
    stop s = {.at = 3};
    likeness_personalize_params params = guided(20);
    params.base.progress = stop_at;
    params.base.progress_user = &s;
    params.preview = count_preview;
    params.preview_user = &s;
    params.preview_every = 2;
    likeness_personalize_result r, full;
    assert_int_equal(likeness_personalize(model, &params, &r), LIKENESS_INTERRUPTED);
    assert_true(r.interrupted);
    assert_int_equal(r.iterations, 3);
    assert_int_equal(s.seen, 4);
    assert_int_equal(s.previews, 2);
    double best = -1;
    for (int i = 0; i <= 3; i++)
        best = fmax(best, r.log[i].likeness);
    assert_true(r.likeness_guided == best);
    params = guided(3);
    ok(likeness_personalize(model, &params, &full));
    assert_true(same_bytes(&full.guided, &r.guided));
    likeness_personalize_result_free(&full);
    likeness_personalize_result_free(&r);
    params.base.progress = stop_now;
    assert_int_equal(likeness_personalize(model, &params, &r), LIKENESS_INTERRUPTED);
    assert_null(r.guided.rgb);
    likeness_image image;
    assert_int_equal(likeness_generate(model, &params.base, &image), LIKENESS_INTERRUPTED);
    assert_null(image.rgb);
}

static void until_stops(void **state) {
    (void)state;
    need_model();
    likeness_personalize_params params = guided(20);
    params.until = 0.65;
    likeness_personalize_result r;
    ok(likeness_personalize(model, &params, &r));
    assert_false(r.interrupted);
    assert_true(r.iterations < 20 && r.log[r.iterations].likeness >= 0.65 && r.log[r.iterations - 1].likeness < 0.65);
    likeness_personalize_result_free(&r);
}

static void comparison_forms(void **state) {
    (void)state;
    need_model();
    likeness_personalize_result r[5];
    for (int i = 0; i < 5; i++) {
        likeness_personalize_params params = guided(3);
        params.reading = i < 3 ? i : 0;
        params.method = i < 3 ? LIKENESS_METHOD_ANCHORED : (likeness_method)(i - 2);
        ok(likeness_personalize(model, &params, &r[i]));
        assert_true(isfinite(r[i].likeness_guided));
        assert_true(r[i].log[0].loss == r[0].log[0].loss);
        for (int j = 0; j < i; j++)
            assert_true(r[i].log[3].loss != r[j].log[3].loss);
    }
    for (int i = 0; i < 5; i++)
        likeness_personalize_result_free(&r[i]);
}

static void id_scale_and_factor_scale_the_step(void **state) {
    (void)state;
    need_model();
    likeness_personalize_params params = guided(1);
    likeness_personalize_result r;
    params.id_scale = 2;
    params.step_factor = 0.958;
    ok(likeness_personalize(model, &params, &r));
    /* Clipped gradients: every offset has exactly the length of a step, 2 * 0.958 * sqrt(256 / 16384). */
    for (int k = 0; k < 3; k++)
        assert_true(fabs(r.offset_norms[3 + k] - 2 * 0.958 * 0.125) < 1e-6);
    likeness_personalize_result_free(&r);
}

/* ---- encoders ---- */

static void compares(void **state) {
    (void)state;
    need_model();
    double identity, judge, threshold;
    likeness_image other;
    ok(likeness_image_read(context, LIKENESS_SOURCE_DIR "/assets/samples/lorelei.png", &other));
    ok(likeness_compare(model, &reference, &reference, &identity, &judge, &threshold));
    assert_true(fabs(identity - 1) < 1e-9 && fabs(judge - 1) < 1e-9 && fabs(threshold - 0.25) < 1e-9);
    ok(likeness_compare(model, &reference, &other, &identity, &judge, &threshold));
    assert_true(identity < 0.999 && judge < 0.999);
    likeness_image_free(&other);
}

/* The tiny encoder's embedding taken for the logits of a classifier: no reference, and p grows. */
static void wanted_class(void **state) {
    (void)state;
    need_model();
    likeness_personalize_params params = guided(6);
    likeness_personalize_result with, without;
    params.classify = true;
    params.target_class = 1;
    ok(likeness_personalize(model, &params, &with));
    params.reference = NULL;
    ok(likeness_personalize(model, &params, &without));
    assert_true(same_logs(&with, &without));
    assert_true(same_bytes(&with.guided, &without.guided));
    assert_true(isnan(without.judge_guided) && !isnan(with.judge_guided));
    for (int i = 0; i <= without.iterations; i++)
        assert_true(fabs(without.log[i].loss + 100 * log(without.log[i].likeness)) < 1e-3);
    printf("probability %.4f without guidance, %.4f with\n", without.likeness_unguided, without.likeness_guided);
    assert_true(without.likeness_guided > without.likeness_unguided);
    likeness_personalize_result_free(&with);
    likeness_personalize_result_free(&without);
    params.target_class = 1000;
    assert_int_equal(likeness_personalize(model, &params, &without), LIKENESS_USAGE);
    assert_non_null(strstr(likeness_message(context), "no class 1000"));
    /* And back to the person. */
    params = guided(1);
    ok(likeness_personalize(model, &params, &with));
    assert_true(with.likeness_guided <= 1 && !isnan(with.judge_guided));
    likeness_personalize_result_free(&with);
}

static void another_discriminator(void **state) {
    (void)state;
    need_model();
    likeness_model *second;
    likeness_personalize_params params = guided(2);
    likeness_personalize_result own, same, different;
    ok(likeness_load(context, TINY, &second));
    ok(likeness_personalize(second, &params, &own));
    ok(likeness_set_discriminator(second, TINY "/identity_encoder.onnx"));
    ok(likeness_personalize(second, &params, &same));
    assert_true(same_logs(&own, &same));
    ok(likeness_set_discriminator(second, TINY "/judge.onnx"));
    ok(likeness_personalize(second, &params, &different));
    assert_false(same_logs(&own, &different));
    assert_int_equal(likeness_set_discriminator(second, TINY "/model_index.json"), LIKENESS_BAD_FILE);
    assert_int_equal(likeness_set_discriminator(second, TINY "/nothing.onnx"), LIKENESS_IO);
    /* The failed ones left the last good one in place. */
    likeness_personalize_result_free(&same);
    ok(likeness_personalize(second, &params, &same));
    assert_true(same_logs(&different, &same));
    likeness_personalize_result_free(&own);
    likeness_personalize_result_free(&same);
    likeness_personalize_result_free(&different);
    likeness_unload(second);
}

/* ---- refusals ---- */

static void refused(const likeness_personalize_params *params, likeness_status wanted, const char *words) {
    likeness_image image;
    likeness_personalize_result r;
    if (params->reference && params->iterations >= -1) {
        likeness_status status = likeness_generate(model, &params->base, &image);
        if (status != wanted || !strstr(likeness_message(context), words) || image.rgb)
            fail_msg("generate: %d, \"%s\", expected %s", (int)status, likeness_message(context), words);
    }
    likeness_status status = likeness_personalize(model, params, &r);
    if (status != wanted || !strstr(likeness_message(context), words) || r.guided.rgb || r.log)
        fail_msg("personalize: %d, \"%s\", expected %s", (int)status, likeness_message(context), words);
}

static void nonsense_is_refused(void **state) {
    (void)state;
    need_model();
    likeness_personalize_params p = guided(1);
    uint64_t before, after, peak;
    likeness_memory(context, &before, &peak);
    p.base.width = 17;
    refused(&p, LIKENESS_USAGE, "a width of 17 pixels");
    p = guided(1), p.base.height = -4;
    refused(&p, LIKENESS_USAGE, "a height of -4 pixels");
    p = guided(1), p.base.height = 1 << 30;
    refused(&p, LIKENESS_USAGE, "a height of 1073741824 pixels");
    p = guided(1), p.base.steps = 5000;
    refused(&p, LIKENESS_USAGE, "5000 sampling steps");
    p = guided(1), p.base.steps = -1;
    refused(&p, LIKENESS_USAGE, "-1 sampling steps");
    p = guided(1), p.base.cfg_scale = NAN;
    refused(&p, LIKENESS_USAGE, "guidance weight");
    p = guided(1), p.base.prompt = "a\xff"
                                   "b";
    refused(&p, LIKENESS_USAGE, "byte 2 is 0xff");
    p = guided(1), p.base.negative_prompt = "\xc3";
    refused(&p, LIKENESS_USAGE, "negative prompt is not UTF-8");
    p = guided(-7);
    refused(&p, LIKENESS_USAGE, "-7 iterations");
    p = guided(1), p.reference = NULL;
    refused(&p, LIKENESS_USAGE, "no reference");
    likeness_memory(context, &after, &peak);
    assert_int_equal(before, after);
    p = guided(1), p.base.width = p.base.height = 16384;
    refused(&p, LIKENESS_USAGE, "64 megapixels");
}

/* Guidance on a device with so much memory; the device memory that it took, 0 when it was refused. */
static uint64_t with_memory(uint64_t limit, likeness_personalize_params params,
                            const likeness_personalize_result *wanted) {
    likeness_options options = {.cache = "", .max_memory = limit};
    likeness_context *c;
    likeness_model *m;
    likeness_personalize_result r;
    uint64_t now, peak = 0;
    if (likeness_open(&options, &c) != LIKENESS_OK) fail_msg("%s", likeness_message(c));
    if (likeness_load(c, TINY, &m) != LIKENESS_OK) fail_msg("%s", likeness_message(c));
    likeness_memory_plan plan;
    likeness_status planned = likeness_plan_memory(m, NULL, &params, &plan);
    likeness_memory(c, &now, &peak);
    assert_int_equal(peak, 0); /* nothing is taken to find out */
    likeness_status status = likeness_personalize(m, &params, &r);
    assert_int_equal(status, planned);
    if (status == LIKENESS_OK) {
        assert_true(same_bytes(&wanted->guided, &r.guided));
        likeness_memory(c, &now, &peak);
        assert_true(limit == 0 || peak <= limit);
        /* Rounding of blocks aside, the plan is what the run takes. */
        if (peak > plan.need + (64 << 10) || peak + peak / 8 < plan.need)
            fail_msg("planned %llu bytes, took %llu", (unsigned long long)plan.need, (unsigned long long)peak);
    } else {
        assert_int_equal(status, LIKENESS_OUT_OF_MEMORY);
        if (!strstr(likeness_message(c), "MiB")) fail_msg("%s", likeness_message(c));
    }
    likeness_personalize_result_free(&r);
    likeness_unload(m);
    likeness_close(c);
    return peak;
}

/* With less and less memory: one copy of the flow network for all steps, then gradients that compute pieces of the
 * forward pass again; the bytes stay. With less than that takes the call is refused. */
static void little_memory(void **state) {
    (void)state;
    need_model();
    likeness_personalize_params params = guided(2);
    params.base.steps = 8;
    likeness_personalize_result wanted;
    ok(likeness_personalize(model, &params, &wanted));
    uint64_t all = with_memory(0, params, &wanted);
    params.recompute = true;
    uint64_t sparing = with_memory(0, params, &wanted), least = 0;
    params.recompute = false;
    assert_true(sparing < all);
    assert_true(with_memory(sparing + (64 << 10), params, &wanted) > 0);
    for (int percent = 95; percent > 0; percent -= percent > 60 ? 5 : 20) {
        uint64_t took = with_memory(sparing / 100 * (uint64_t)percent, params, &wanted);
        if (took == 0) break;
        least = took;
    }
    print_message("guidance takes %.0f KiB, one network at a time %.0f, in pieces %.0f\n", (double)all / 1024,
                  (double)sparing / 1024, (double)least / 1024);
    assert_true(least > 0 && least < sparing);
    /* What an earlier picture has left on the device makes room. */
    likeness_options options = {.cache = "", .max_memory = least + (64 << 10)};
    likeness_context *c;
    likeness_model *m;
    likeness_image image;
    likeness_personalize_result r;
    if (likeness_open(&options, &c) != LIKENESS_OK) fail_msg("%s", likeness_message(c));
    if (likeness_load(c, TINY, &m) != LIKENESS_OK) fail_msg("%s", likeness_message(c));
    if (likeness_generate(m, &params.base, &image) != LIKENESS_OK) fail_msg("%s", likeness_message(c));
    if (likeness_personalize(m, &params, &r) != LIKENESS_OK) fail_msg("%s", likeness_message(c));
    assert_true(same_bytes(&wanted.guided, &r.guided));
    likeness_image_free(&image);
    likeness_personalize_result_free(&r);
    likeness_unload(m);
    likeness_close(c);
    /* A picture to begin from is part of the plan. */
    params.base.init_image = &reference;
    ok(likeness_personalize(model, &params, &r));
    assert_true(with_memory(0, params, &r) > 0);
    likeness_personalize_result_free(&r);
    likeness_personalize_result_free(&wanted);
}

/* A value larger than a block is refused by the plan, with its node's name. */
static void too_large_for_a_block(void **state) {
    (void)state;
    need_model();
    likeness_options options = {.cache = "", .max_block = 64 << 10};
    likeness_context *small;
    likeness_model *m;
    likeness_image image;
    likeness_generate_params params = {.prompt = prompt, .width = 128, .height = 128};
    if (likeness_open(&options, &small) != LIKENESS_OK) fail_msg("%s", likeness_message(small));
    if (likeness_load(small, TINY, &m) != LIKENESS_OK) fail_msg("%s", likeness_message(small));
    assert_int_equal(likeness_generate(m, &params, &image), LIKENESS_OUT_OF_MEMORY);
    if (!strstr(likeness_message(small), "device allocation")) fail_msg("%s", likeness_message(small));
    assert_null(image.rgb);
    likeness_unload(m);
    likeness_close(small);
}

/* ---- a model whose weights are no numbers, a device that goes away ---- */

static void break_bytes(const char *path, const char *name, uint16_t half) {
    lk_error error = LK_ERROR_INIT;
    lk_safetensors file;
    if (lk_safetensors_open(&file, path, &error) != LIKENESS_OK) fail_msg("%s", error.message);
    const lk_safetensor *tensor = lk_safetensors_find(&file, name);
    assert_non_null(tensor);
    size_t offset = (size_t)(tensor->data - file.mappings[0].data);
    lk_safetensors_close(&file);
    FILE *out = fopen(path, "r+b");
    assert_non_null(out);
    assert_int_equal(fseek(out, (long)offset, SEEK_SET), 0);
    assert_int_equal(fwrite(&half, 2, 1, out), 1);
    fclose(out);
}

static void numbers_that_are_none(void **state) {
    (void)state;
    need_model();
    static const char *const files[2][2] = {{"unet/diffusion_pytorch_model.safetensors", "conv_out.bias"},
                                            {"vae/diffusion_pytorch_model.safetensors", "decoder.conv_out.bias"}};
    for (int i = 0; i < 2; i++) {
        char folder[] = "/tmp/likeness_nan_XXXXXX", command[512], path[256];
        assert_non_null(mkdtemp(folder));
        snprintf(command, sizeof command, "cp -r '%s/.' %s && chmod -R u+w %s", TINY, folder, folder);
        assert_int_equal(system(command), 0);
        snprintf(path, sizeof path, "%s/%s", folder, files[i][0]);
        break_bytes(path, files[i][1], 0x7e00);
        likeness_model *broken;
        likeness_image image;
        likeness_personalize_result r;
        likeness_personalize_params params = guided(2);
        ok(likeness_load(context, folder, &broken));
        assert_int_equal(likeness_generate(broken, &params.base, &image), LIKENESS_NON_FINITE);
        assert_null(image.rgb);
        assert_int_equal(likeness_personalize(broken, &params, &r), LIKENESS_NON_FINITE);
        assert_null(r.guided.rgb);
        likeness_unload(broken);
        snprintf(command, sizeof command, "rm -rf %s", folder);
        assert_int_equal(system(command), 0);
    }
}

static void a_device_that_goes_away(void **state) {
    (void)state;
    need_model();
    static const lk_gpu_fault faults[2] = {LK_FAULT_DEVICE_LOST, LK_FAULT_OUT_OF_DEVICE_MEMORY};
    static const likeness_status wanted[2] = {LIKENESS_DEVICE_LOST, LIKENESS_OUT_OF_MEMORY};
    likeness_options options = {.cache = ""};
    likeness_personalize_params params = guided(1);
    int64_t calls = 0;
    for (int round = 0; round < 9; round++) {
        likeness_context *c;
        likeness_model *m;
        likeness_personalize_result r;
        int64_t before = lk_gpu_calls();
        if (likeness_open(&options, &c) != LIKENESS_OK) fail_msg("%s", likeness_message(c));
        if (likeness_load(c, TINY, &m) != LIKENESS_OK) fail_msg("%s", likeness_message(c));
        int64_t opening = lk_gpu_calls() - before;
        if (round > 0) lk_gpu_fail_after(calls * (round - 1) / 8, faults[round % 2]);
        likeness_status status = likeness_personalize(m, &params, &r);
        lk_gpu_fail_after(-1, LK_FAULT_DEVICE_LOST);
        if (round == 0) calls = lk_gpu_calls() - before - opening;
        if (round == 0) assert_int_equal(status, LIKENESS_OK);
        if (round > 0) {
            if (status != wanted[round % 2]) fail_msg("round %d: %d, %s", round, (int)status, likeness_message(c));
            assert_null(r.guided.rgb);
            assert_true(strlen(likeness_message(c)) > 10);
        }
        likeness_personalize_result_free(&r);
        likeness_unload(m);
        likeness_close(c);
    }
}

static int start(void **state) {
    (void)state;
    return 0;
}

static int end(void **state) {
    (void)state;
    likeness_image_free(&reference);
    likeness_unload(model);
    likeness_close(context);
    return nothing_left();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unguided_as_diffusers),
        cmocka_unit_test(guided_as_the_paper),
        cmocka_unit_test(unguided_is_what_generate_makes),
        cmocka_unit_test(recompute_changes_nothing),
        cmocka_unit_test(other_calls_leave_no_trace),
        cmocka_unit_test(interruption_keeps_the_best),
        cmocka_unit_test(until_stops),
        cmocka_unit_test(comparison_forms),
        cmocka_unit_test(id_scale_and_factor_scale_the_step),
        cmocka_unit_test(compares),
        cmocka_unit_test(another_discriminator),
        cmocka_unit_test(wanted_class),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(little_memory),
        cmocka_unit_test(too_large_for_a_block),
        cmocka_unit_test(numbers_that_are_none),
        cmocka_unit_test(a_device_that_goes_away),
    };
    return cmocka_run_group_tests(tests, start, end);
}
