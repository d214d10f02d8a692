/* tests/api/test_sampling.c - every sampler through the whole program on the tiny model, with both branches of
 * guidance: latents after each step against diffusers' schedulers and PeRFlow's formulas, five iterations of guidance
 * through PeRFlow, pictures made again from their settings, refusals (fixture: tests/reference/tiny_sampling.py). Needs
 * a Vulkan device; skipped aloud without one. */
#include "support/fixture.h"

#include "api/memory_plan.h"
#include "base/file.h"
#include "base/memory.h"
#include "io/json.h"
#include "io/safetensors.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODELS LIKENESS_SOURCE_DIR "/tests/data/models"

enum { SIZE = 256, SIDE = 16, MOST_STEPS = 8 };

static lk_safetensors file;
static likeness_context *context;
static char folder[64];
static uint8_t init_pixels[SIDE * SIDE * 3], reference_pixels[SIDE * SIDE * 3];
static const likeness_image init_image = {SIDE, SIDE, init_pixels}, reference = {SIDE, SIDE, reference_pixels};

static void ok(likeness_status status) {
    if (status != LIKENESS_OK) fail_msg("status %d: %s", (int)status, likeness_message(context));
}

static void put(const char *name, const char *text) {
    lk_error error = LK_ERROR_INIT;
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (lk_file_write(path, text, strlen(text), &error) != LIKENESS_OK) fail_msg("%s", error.message);
}

/* The tiny model's networks under another scheduler; index and config are written anew. */
static likeness_model *model_with(const char *scheduler, const char *prediction) {
    char class_name[64], index[1024];
    likeness_model *model;
    const char *at = strstr(scheduler, "\"_class_name\": \"");
    assert_non_null(at);
    assert_int_equal(sscanf(at, "\"_class_name\": \"%63[A-Za-z0-9]", class_name), 1);
    snprintf(index, sizeof index,
             "{\"scheduler\": [\"diffusers\", \"%s\"], \"unet\": [\"diffusers\", \"UNet2DConditionModel\"], \"vae\": "
             "[\"diffusers\", \"AutoencoderKL\"], \"text_encoder\": [\"transformers\", \"CLIPTextModel\"], "
             "\"tokenizer\": [\"transformers\", \"CLIPTokenizer\"], \"likeness\": {\"size\": 16, \"identity_encoder\": "
             "\"identity_encoder.onnx\"}}",
             class_name);
    put("model_index.json", index);
    put("scheduler/scheduler_config.json", scheduler);
    likeness_load_params load = {.prediction = prediction};
    ok(likeness_load_with(context, folder, &load, &model));
    return model;
}

/* ---- a case of the fixture ---- */

typedef struct request {
    lk_json json;
    likeness_generate_params params;
    const char *prediction;
} request;

static void read_request(request *r, const char *name) {
    lk_error error = LK_ERROR_INIT;
    char key[32];
    int64_t steps, skip;
    snprintf(key, sizeof key, "%s.request", name);
    const char *text = lk_safetensors_metadata(&file, key);
    assert_non_null(text);
    r->params = (likeness_generate_params){.negative_prompt = "rain", .seed = 7};
    assert_int_equal(lk_json_parse(&r->json, key, text, strlen(text), &error), LIKENESS_OK);
    lk_json_text_or(&r->json, NULL, "prompt", "red person on a hill", &r->params.prompt, &error);
    lk_json_text_or(&r->json, NULL, "prediction", NULL, &r->prediction, &error);
    lk_json_int(&r->json, NULL, "steps", 1, MOST_STEPS, &steps, &error);
    lk_json_int_or(&r->json, NULL, "clip_skip", 1, 2, 0, &skip, &error);
    lk_json_double(&r->json, NULL, "cfg", &r->params.cfg_scale, &error);
    lk_json_double(&r->json, NULL, "strength", &r->params.strength, &error);
    assert_int_equal(error.status, LIKENESS_OK);
    r->params.steps = (int32_t)steps;
    r->params.clip_skip = (int32_t)skip;
    if (r->params.strength > 0) r->params.init_image = &init_image;
}

static float *values_of(const char *name, size_t *count) {
    lk_error error = LK_ERROR_INIT;
    const lk_safetensor *tensor = lk_safetensors_find(&file, name);
    if (!tensor) return NULL;
    float *values = malloc(tensor->elements * sizeof *values);
    assert_int_equal(lk_safetensor_to_f32(tensor, values, &error), LIKENESS_OK);
    *count = tensor->elements;
    return values;
}

/* ---- latents after each step ---- */

typedef struct watched {
    const float *z, *wanted;
    double worst;
    int rows;
} watched;

/* Asked before each step and after the last. */
static bool watch(void *user, const char *phase, int step, int total, double likeness) {
    watched *w = user;
    (void)total, (void)likeness;
    if (strcmp(phase, "sample") != 0) return true;
    const float *wanted = w->wanted + (size_t)step * SIZE;
    double difference = 0, size = 0;
    for (int i = 0; i < SIZE; i++) {
        difference += pow((double)w->z[i] - (double)wanted[i], 2);
        size += pow((double)wanted[i], 2);
    }
    w->worst = fmax(w->worst, sqrt(difference / size));
    w->rows++;
    return true;
}

static void trajectory(const char *name, const float *wanted, size_t count) {
    lk_error error = LK_ERROR_INIT;
    request r;
    read_request(&r, name);
    likeness_model *model = model_with(lk_safetensors_metadata(&file, name), r.prediction);
    float z[SIZE];
    lk_run run;
    watched w = {.z = z, .wanted = wanted};
    r.params.progress = watch;
    r.params.progress_user = &w;
    likeness_memory_plan plan;
    likeness_status status = lk_run_start(&run, model, &r.params, &error);
    if (status == LIKENESS_OK)
        status = lk_memory_plan(model, &run, &(lk_memory_wish){.target = -1, .copies = 1}, &plan, &error);
    if (status == LIKENESS_OK) status = lk_run_text(&run, model, &r.params, &error);
    if (status == LIKENESS_OK) status = lk_run_begin(&run, model, z, &error);
    if (status == LIKENESS_OK) status = lk_run_sample(&run, model, &r.params, z, &error);
    if (status != LIKENESS_OK) fail_msg("case %s: %s", name, error.message);
    assert_int_equal(run.dimension, SIZE);
    assert_int_equal((size_t)w.rows * SIZE, count);
    printf("%-2s %-9s %s: %.1e\n", name, lk_solver_title(run.sampling.solver),
           lk_prediction_name(run.sampling.prediction), w.worst);
    assert_true(w.worst < 1e-4);
    lk_run_end(&run);
    likeness_unload(model);
    lk_json_free(&r.json);
}

static void trajectories(void **state) {
    (void)state;
    if (!context) skip();
    int cases = 0;
    for (;; cases++) {
        char name[16];
        size_t count;
        snprintf(name, sizeof name, "%d", cases);
        float *wanted = values_of(name, &count);
        if (!wanted) break;
        trajectory(name, wanted, count);
        free(wanted);
    }
    assert_int_equal(cases, 15);
}

/* ---- pictures from their settings ---- */

static void settings_make_the_same_picture(void **state) {
    (void)state;
    if (!context) skip();
    static const char *const samplers[] = {
        "Sampler: DDIM,",    "Sampler: Euler,", "Sampler: Euler a,", "Sampler: DPM++ 2M Karras,", "Sampler: DPM++ 2M,",
        "Sampler: LCM,",     "Sampler: Euler,", "Sampler: Euler,",   "Sampler: PeRFlow,",         "Sampler: PeRFlow,",
        "Sampler: PeRFlow,", "Sampler: DDIM,",  "Sampler: Euler a,", "Sampler: Euler,",           "Sampler: Euler,"};
    for (int i = 0; i < 15; i++) {
        char name[16];
        request r;
        likeness_image first, second;
        likeness_generate_params again = {0};
        char *storage;
        snprintf(name, sizeof name, "%d", i);
        read_request(&r, name);
        likeness_model *model = model_with(lk_safetensors_metadata(&file, name), r.prediction);
        ok(likeness_generate(model, &r.params, &first));
        char *settings = likeness_settings_text(model, &r.params, NULL);
        assert_non_null(settings);
        if (!strstr(settings, samplers[i])) fail_msg("%s", settings);
        assert_true(!strstr(settings, "Prediction: instaflow") == !r.prediction);
        assert_true(!strstr(settings, "Clip skip: 2") == (r.params.clip_skip < 2));
        assert_true(!strstr(settings, "Denoising strength: 0.") == !r.params.init_image);
        ok(likeness_settings_parse(context, settings, &again, &storage));
        assert_true(again.strength == r.params.strength);
        again.init_image = r.params.init_image;
        ok(likeness_generate(model, &again, &second));
        assert_memory_equal(first.rgb, second.rgb, SIDE * SIDE * 3);
        if (i == 0) { /* not because all pictures are the same */
            again.seed++;
            likeness_image_free(&second);
            ok(likeness_generate(model, &again, &second));
            assert_memory_not_equal(first.rgb, second.rgb, SIDE * SIDE * 3);
        }
        likeness_image_free(&first);
        likeness_image_free(&second);
        likeness_text_free(settings);
        likeness_text_free(storage);
        likeness_unload(model);
        lk_json_free(&r.json);
    }
}

/* ---- guidance ---- */

static const char scheduler_eps[] = "{\"_class_name\": \"DDIMScheduler\", \"beta_schedule\": \"scaled_linear\", "
                                    "\"beta_start\": 0.00085, \"beta_end\": 0.012}";
static const char scheduler_flow[] = "{\"_class_name\": \"FlowMatchEulerDiscreteScheduler\"}";

static likeness_personalize_params guided(int iterations) {
    return (likeness_personalize_params){
        .base = {.prompt = "red person on a hill", .negative_prompt = "rain", .seed = 7, .cfg_scale = 3},
        .reference = &reference,
        .consent = LIKENESS_CONSENT_GRANTED, /* noise passes for a photograph */
        .iterations = iterations};
}

static void guidance_through_perflow(void **state) {
    (void)state;
    if (!context) skip();
    size_t rows, count;
    float *losses = values_of("guided.losses", &rows), *norms = values_of("guided.norms", &count),
          *offsets = values_of("guided.offsets", &count);
    likeness_model *model = model_with(lk_safetensors_metadata(&file, "guided"), NULL);
    likeness_personalize_params params = guided(5);
    likeness_personalize_result r;
    ok(likeness_personalize(model, &params, &r));
    assert_int_equal(r.segments, 4);
    assert_int_equal(rows, 6);
    double worst = 0;
    for (int i = 0; i <= 5; i++) {
        worst = fmax(worst, fabs(r.log[i].loss / (double)losses[i] - 1));
        for (int k = 0; k < 4 && i > 0; k++) {
            double norm = (double)norms[(i - 1) * 4 + k], offset = (double)offsets[i * 4 + k];
            worst = fmax(worst, fabs(r.gradient_norms[i * 4 + k] / norm - 1));
            worst = fmax(worst, fabs(r.offset_norms[i * 4 + k] / offset - 1));
        }
    }
    printf("loss %.4f to %.4f, PyTorch %.4f; largest relative difference of losses, gradients, offsets %.1e\n",
           r.log[0].loss, r.log[5].loss, (double)losses[5], worst);
    assert_true(worst < 1e-3);
    likeness_personalize_result_free(&r);
    likeness_unload(model);
    free(losses);
    free(norms);
    free(offsets);
}

/* Through diffusion's maps, too: the likeness rises, recompute changes nothing. */
static void guidance_through_ddim_and_euler(void **state) {
    (void)state;
    if (!context) skip();
    likeness_model *model = model_with(scheduler_eps, NULL);
    for (int i = 0; i < 2; i++) {
        likeness_personalize_params params = guided(6);
        likeness_personalize_result r, again;
        likeness_image plain;
        params.base.steps = 3;
        params.base.sampler = i ? LIKENESS_SAMPLER_EULER : LIKENESS_SAMPLER_DDIM;
        ok(likeness_personalize(model, &params, &r));
        assert_true(r.likeness_guided > r.likeness_unguided + 0.005);
        ok(likeness_generate(model, &params.base, &plain));
        assert_memory_equal(plain.rgb, r.unguided.rgb, SIDE * SIDE * 3);
        params.recompute = true;
        ok(likeness_personalize(model, &params, &again));
        assert_memory_equal(again.guided.rgb, r.guided.rgb, SIDE * SIDE * 3);
        likeness_image_free(&plain);
        likeness_personalize_result_free(&r);
        likeness_personalize_result_free(&again);
    }
    likeness_unload(model);
}

/* ---- refusals ---- */

static void refused(likeness_model *model, likeness_generate_params params, const char *words) {
    likeness_image image;
    likeness_status status = likeness_generate(model, &params, &image);
    if (status != LIKENESS_USAGE || !strstr(likeness_message(context), words) || image.rgb)
        fail_msg("%d: %s", (int)status, likeness_message(context));
}

static void what_does_not_fit(void **state) {
    (void)state;
    if (!context) skip();
    const likeness_image empty = {0};
    likeness_personalize_result r;
    likeness_personalize_params p = guided(1);
    likeness_model *model = model_with(scheduler_flow, NULL);
    for (int i = LIKENESS_SAMPLER_EULER_A; i <= LIKENESS_SAMPLER_LCM; i++)
        refused(model, (likeness_generate_params){.sampler = (likeness_sampler)i}, "this one is a rectified flow");
    refused(model, (likeness_generate_params){.scheduler = LIKENESS_SCHEDULER_KARRAS}, "no Karras sigmas");
    refused(model, (likeness_generate_params){.sampler = LIKENESS_SAMPLER_PERFLOW, .steps = 2}, "at least 4 steps");
    refused(model, (likeness_generate_params){.sampler = (likeness_sampler)77}, "no sampler 77");
    refused(model, (likeness_generate_params){.clip_skip = 3}, "clip skip 3: the text encoder has 2 layers");
    refused(model, (likeness_generate_params){.clip_skip = -1}, "clip skip -1");
    refused(model, (likeness_generate_params){.init_image = &empty}, "no picture to begin from");
    refused(model, (likeness_generate_params){.init_image = &init_image, .strength = 2}, "strength of 2");
    likeness_unload(model);
    model = model_with(scheduler_eps, NULL);
    p.base.sampler = LIKENESS_SAMPLER_DPMPP_2M;
    assert_int_equal(likeness_personalize(model, &p, &r), LIKENESS_USAGE);
    assert_non_null(strstr(likeness_message(context), "guidance cannot go through DPM++ 2M"));
    p.base.sampler = LIKENESS_SAMPLER_DDIM;
    p.method = LIKENESS_METHOD_UNANCHORED;
    assert_int_equal(likeness_personalize(model, &p, &r), LIKENESS_USAGE);
    assert_non_null(strstr(likeness_message(context), "not of DDIM"));
    likeness_unload(model);
    likeness_load_params load = {.prediction = "noise"};
    assert_int_equal(likeness_load_with(context, folder, &load, &model), LIKENESS_USAGE);
    assert_non_null(strstr(likeness_message(context), "'noise' is not known"));
}

/* ---- setting up ---- */

static int start(void **state) {
    (void)state;
    char command[512];
    lk_error error = LK_ERROR_INIT;
    for (int i = 0; i < SIDE * SIDE * 3; i++) {
        init_pixels[i] = (uint8_t)(37 * i % 256);
        reference_pixels[i] = (uint8_t)((53 * i + i / 7) % 256);
    }
    likeness_options options = {.cache = "", .precise = true};
    if (likeness_open(&options, &context) != LIKENESS_OK) {
        printf("skipped: %s\n", likeness_message(context));
        likeness_close(context);
        context = NULL;
        return 0;
    }
    strcpy(folder, "/tmp/likeness_sampling_XXXXXX");
    if (!mkdtemp(folder)) return -1;
    snprintf(command, sizeof command, "cp -r '%s/tiny/.' %s && chmod -R u+w %s", MODELS, folder, folder);
    if (system(command) != 0) return -1;
    return lk_safetensors_open(&file, MODELS "/tiny_sampling.safetensors", &error) == LIKENESS_OK ? 0 : -1;
}

static int end(void **state) {
    (void)state;
    char command[128];
    if (!context) return 0;
    lk_safetensors_close(&file);
    likeness_close(context);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    if (system(command) != 0) return -1;
    return nothing_left();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trajectories),
        cmocka_unit_test(settings_make_the_same_picture),
        cmocka_unit_test(guidance_through_perflow),
        cmocka_unit_test(guidance_through_ddim_and_euler),
        cmocka_unit_test(what_does_not_fit),
    };
    return cmocka_run_group_tests(tests, start, end);
}
