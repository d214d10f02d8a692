/* api/generate.c - pictures from words (and a picture to begin from): checked parameters, sampling, decoding.
 *
 *   z <- noise of the seed, or the noised latent of a picture;
 *   for each step of the sampler's table: m <- network(z, time, prompt), z <- step(z, m);   picture <- decode(z) */
#include "api/memory_plan.h"

#include "base/memory.h"
#include "base/text.h"
#include "io/resize.h"

#include <math.h>
#include <string.h>

/* ---- parameters ---- */

bool lk_progress(const likeness_generate_params *params, const char *phase, int step, int total, double likeness) {
    return !params->progress || params->progress(params->progress_user, phase, step, total, likeness);
}

static likeness_status check_side(const char *what, int32_t side, int32_t unit, lk_error *error) {
    if (side >= unit && side <= 16384 && side % unit == 0) return LIKENESS_OK;
    return lk_fail(error, LIKENESS_USAGE, "a %s of %d pixels is not possible with this model: take a multiple of %d",
                   what, (int)side, (int)unit);
}

static likeness_status check_prompt(const char *what, const char *text, lk_error *error) {
    size_t bad = 0;
    if (!text || lk_utf8_valid(text, strlen(text), &bad)) return LIKENESS_OK;
    return lk_fail(error, LIKENESS_USAGE, "the %s is not UTF-8 (byte %zu is 0x%02x)", what, bad + 1,
                   (unsigned)(unsigned char)text[bad]);
}

/* The model's own numbers go with its own kind of sampler; else few steps and little guidance for what was distilled to
 * that, 25 steps and 7.5 for diffusion. */
static void solver_defaults(const likeness_model *model, lk_solver solver, lk_prediction prediction, int *steps,
                            double *weight) {
    const lk_scheduler_config *c = &model->files.scheduler;
    bool few = solver == LK_SOLVER_LCM || solver == LK_SOLVER_PERFLOW;
    bool made_for_few = c->solver == LK_SOLVER_LCM || c->solver == LK_SOLVER_PERFLOW;
    bool own = prediction == c->prediction && (solver == c->solver || (!few && !made_for_few));
    bool diffusion = prediction == LK_PREDICT_EPSILON || prediction == LK_PREDICT_V;
    *steps = own && model->files.steps > 0 ? model->files.steps
             : solver == LK_SOLVER_PERFLOW ? c->windows
             : solver == LK_SOLVER_LCM     ? 4
                                           : 25;
    *weight = own && model->files.guidance > 0 ? model->files.guidance
              : solver == LK_SOLVER_PERFLOW    ? 3
              : few || !diffusion              ? 1
                                               : 7.5;
}

likeness_status lk_sampling_of(const likeness_model *model, const likeness_generate_params *params,
                               lk_sampling_request *request, double *weight, lk_error *error) {
    static const lk_solver solvers[] = {
        [LIKENESS_SAMPLER_DEFAULT] = LK_SOLVER_COUNT,           [LIKENESS_SAMPLER_EULER] = LK_SOLVER_EULER,
        [LIKENESS_SAMPLER_EULER_A] = LK_SOLVER_EULER_ANCESTRAL, [LIKENESS_SAMPLER_DDIM] = LK_SOLVER_DDIM,
        [LIKENESS_SAMPLER_DPMPP_2M] = LK_SOLVER_DPMPP_2M,       [LIKENESS_SAMPLER_LCM] = LK_SOLVER_LCM,
        [LIKENESS_SAMPLER_PERFLOW] = LK_SOLVER_PERFLOW};
    static const lk_sigmas sigmas[] = {[LIKENESS_SCHEDULER_DEFAULT] = LK_SIGMAS_OWN,
                                       [LIKENESS_SCHEDULER_DISCRETE] = LK_SIGMAS_DISCRETE,
                                       [LIKENESS_SCHEDULER_KARRAS] = LK_SIGMAS_KARRAS};
    int steps;
    if ((unsigned)params->sampler >= sizeof solvers / sizeof *solvers ||
        (unsigned)params->scheduler >= sizeof sigmas / sizeof *sigmas)
        return lk_fail(error, LIKENESS_USAGE, "there is no sampler %d or scheduler %d", (int)params->sampler,
                       (int)params->scheduler);
    *request = (lk_sampling_request){.solver = solvers[params->sampler],
                                     .sigmas = sigmas[params->scheduler],
                                     .prediction = LK_PREDICT_COUNT,
                                     .from_picture = params->init_image != NULL,
                                     .strength = params->strength != 0 ? params->strength : 0.75};
    LK_TRY(lk_sampling_choose(&model->files.scheduler, request, &request->solver, &request->prediction,
                              &request->sigmas, error));
    solver_defaults(model, request->solver, request->prediction, &steps, weight);
    request->steps = params->steps != 0 ? params->steps : steps;
    if (params->cfg_scale > 0) *weight = params->cfg_scale;
    if (!(params->cfg_scale >= 0) || !isfinite(params->cfg_scale))
        return lk_fail(error, LIKENESS_USAGE, "a guidance weight of %g makes no sense", params->cfg_scale);
    return LIKENESS_OK;
}

likeness_status lk_run_start(lk_run *run, likeness_model *model, const likeness_generate_params *params,
                             lk_error *error) {
    const lk_unet_config *unet = &model->files.unet.config;
    int32_t factor = lk_vae_factor(&model->files.vae.config), unit = factor << (unet->levels - 1);
    lk_sampling_request request;
    memset(run, 0, sizeof *run);
    run->prompt = params->prompt ? params->prompt : "";
    run->negative = params->negative_prompt ? params->negative_prompt : "";
    run->width = params->width != 0 ? params->width : model->default_width;
    run->height = params->height != 0 ? params->height : model->default_height;
    run->seed = params->seed;
    run->clip_skip = params->clip_skip;
    run->init_image = params->init_image;
    LK_TRY(lk_sampling_of(model, params, &request, &run->weight, error));
    run->guided_free = run->weight != 1;
    LK_TRY(check_side("width", run->width, unit, error));
    LK_TRY(check_side("height", run->height, unit, error));
    if ((uint64_t)run->width * (uint64_t)run->height > LK_IMAGE_MAX_PIXELS)
        return lk_fail(error, LIKENESS_USAGE, "%d x %d pixels are too many for one picture: 64 megapixels are the most",
                       (int)run->width, (int)run->height);
    if (run->clip_skip < 0 || run->clip_skip > model->files.text.config.layers)
        return lk_fail(error, LIKENESS_USAGE, "clip skip %d: the text encoder has %d layers", (int)run->clip_skip,
                       (int)model->files.text.config.layers);
    if (run->init_image && (!run->init_image->rgb || run->init_image->width < 1 || run->init_image->height < 1))
        return lk_fail(error, LIKENESS_USAGE, "there is no picture to begin from");
    LK_TRY(check_prompt("prompt", params->prompt, error));
    LK_TRY(check_prompt("negative prompt", params->negative_prompt, error));
    run->channels = unet->in_channels;
    run->latent_height = run->height / factor;
    run->latent_width = run->width / factor;
    run->dimension = (size_t)run->channels * (size_t)run->latent_height * (size_t)run->latent_width;
    return lk_sampling_make(&run->sampling, &model->files.scheduler, &request, error);
}

void lk_run_end(lk_run *run) {
    lk_sampling_free(&run->sampling);
    lk_free(run->context[0]);
    lk_free(run->context[1]);
    run->context[0] = run->context[1] = NULL;
}

/* ---- the beginning ---- */

static likeness_status encode_picture(const lk_run *run, likeness_model *model, float *latent, lk_error *error) {
    lk_encode_network *encode = &model->encode;
    lk_image image = {(uint32_t)run->init_image->width, (uint32_t)run->init_image->height, run->init_image->rgb};
    LK_TRY(lk_encode_network_build(encode, &model->files, model->context, run->height, run->width, error));
    LK_TRY(lk_network_instances(&encode->net, model->context, 1, error));
    float *planes = lk_alloc((size_t)run->width * (size_t)run->height * 3, sizeof *planes);
    if (!planes) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for the picture to begin from");
    likeness_status status = lk_image_fit(&image, LK_FIT_CROP, LK_FILTER_LANCZOS, planes, (uint32_t)run->width,
                                          (uint32_t)run->height, error);
    if (status == LIKENESS_OK) status = lk_instance_write(encode->net.instance[0], encode->picture, planes, error);
    if (status == LIKENESS_OK) status = lk_instance_run(encode->net.instance[0], 0, error);
    if (status == LIKENESS_OK) status = lk_instance_read(encode->net.instance[0], encode->latent, latent, error);
    lk_free(planes);
    return status;
}

likeness_status lk_run_begin(lk_run *run, likeness_model *model, float *z, lk_error *error) {
    lk_mt19937_seed(&run->rng, (uint64_t)run->seed);
    lk_mt19937_normal(&run->rng, z, run->dimension);
    float *latent = NULL;
    likeness_status status = LIKENESS_OK;
    if (run->init_image) {
        latent = lk_alloc(run->dimension, sizeof *latent);
        if (!latent) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for a latent");
        status = encode_picture(run, model, latent, error);
    }
    for (size_t i = 0; i < run->dimension && status == LIKENESS_OK; i++)
        z[i] = (float)((latent ? run->sampling.data * (double)latent[i] : 0) + run->sampling.noise * (double)z[i]);
    lk_free(latent);
    return status;
}

/* ---- the flow network ---- */

likeness_status lk_flow_set_prompt(const lk_flow_network *flow, int instance, const lk_run *run, lk_error *error) {
    lk_instance *i = flow->net.instance[instance];
    LK_TRY(lk_instance_write(i, flow->context[1], run->context[1], error));
    if (!flow->guided_free) return LIKENESS_OK;
    float weight = (float)run->weight;
    LK_TRY(lk_instance_write(i, flow->context[0], run->context[0], error));
    return lk_instance_write(i, flow->weight, &weight, error);
}

likeness_status lk_flow_set_time(const lk_flow_network *flow, int instance, const likeness_model *model, double time,
                                 lk_error *error) {
    const lk_unet_config *unet = &model->files.unet.config;
    float *features = lk_alloc((size_t)unet->channels[0], sizeof *features);
    if (!features) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for a sampling step");
    lk_unet_time_features(unet, time, features);
    likeness_status status = lk_instance_write(flow->net.instance[instance], flow->time, features, error);
    lk_free(features);
    return status;
}

/* ---- the picture ---- */

likeness_status lk_picture_take(const lk_picture_network *picture, const likeness_model *model, likeness_image *image,
                                lk_error *error) {
    int32_t factor = lk_vae_factor(&model->files.vae.config);
    size_t height = (size_t)(picture->height * factor), width = (size_t)(picture->width * factor);
    float *planes = lk_alloc(3 * height * width, sizeof *planes);
    lk_image made = {0};
    if (!planes) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for a picture");
    likeness_status status = lk_instance_read(picture->net.instance[0], picture->picture, planes, error);
    for (size_t i = 0; i < 3 * height * width && status == LIKENESS_OK; i++)
        if (!isfinite(planes[i]))
            status = lk_fail(error, LIKENESS_NON_FINITE,
                             "%s: the picture has values that are no numbers; try --precise, and likeness doctor",
                             model->files.folder);
    if (status == LIKENESS_OK) status = lk_image_from_planes(&made, planes, (uint32_t)width, (uint32_t)height, error);
    if (status == LIKENESS_OK) *image = (likeness_image){(int32_t)width, (int32_t)height, made.rgb};
    lk_free(planes);
    return status;
}

/* The picture as step k sees it, from the latent and the prediction. A preview is no reason to fail. */
static void show_preview(const lk_run *run, likeness_model *model, const likeness_generate_params *params, int k,
                         const float *z, const float *m) {
    lk_error ignored = LK_ERROR_INIT;
    lk_picture_network *p = model->files.preview_weights ? &model->preview : &model->picture[0];
    const lk_sampling_step *step = &run->sampling.step[k];
    likeness_image image = {0};
    if (!params->preview || params->preview_every <= 0 || (k + 1) % params->preview_every != 0) return;
    float *x0 = lk_alloc(run->dimension, sizeof *x0);
    for (size_t i = 0; x0 && i < run->dimension; i++)
        x0[i] = (float)(step->denoised_z * (double)z[i] + step->denoised_m * (double)m[i]);
    if (x0 &&
        lk_preview_network_build(p, &model->files, model->context, run->latent_height, run->latent_width, &ignored) ==
            LIKENESS_OK &&
        lk_network_instances(&p->net, model->context, 1, &ignored) == LIKENESS_OK &&
        lk_instance_write(p->net.instance[0], p->latent, x0, &ignored) == LIKENESS_OK &&
        lk_instance_run(p->net.instance[0], 0, &ignored) == LIKENESS_OK &&
        lk_picture_take(p, model, &image, &ignored) == LIKENESS_OK)
        params->preview(params->preview_user, k + 1, &image);
    likeness_image_free(&image);
    lk_free(x0);
}

/* seen, predicted: one array; denoised and noise where the sampler wants them. */
typedef struct scratch {
    float *m, *denoised, *noise;
} scratch;

static likeness_status sample(lk_run *run, likeness_model *model, const likeness_generate_params *params, float *z,
                              const scratch *s, lk_error *error) {
    lk_flow_network *flow = &model->flow[0];
    const lk_sampling *sampling = &run->sampling;
    LK_TRY(lk_network_instances(&flow->net, model->context, 1, error));
    lk_instance *instance = flow->net.instance[0];
    for (int k = 0; k < sampling->count; k++) {
        const lk_sampling_step *step = &sampling->step[k];
        if (!lk_progress(params, "sample", k, sampling->count, NAN))
            return lk_fail(error, LIKENESS_INTERRUPTED, "interrupted after %d of %d steps", k, sampling->count);
        /* A preview may have used the same memory. */
        if (k == 0 || flow->net.arena) LK_TRY(lk_flow_set_prompt(flow, 0, run, error));
        LK_TRY(lk_flow_set_time(flow, 0, model, step->time, error));
        lk_sampling_see(step, z, s->m, run->dimension);
        LK_TRY(lk_instance_write(instance, flow->z, s->m, error));
        LK_TRY(lk_instance_run(instance, 0, error));
        LK_TRY(lk_instance_read(instance, flow->prediction, s->m, error));
        show_preview(run, model, params, k, z, s->m);
        bool noisy = step->noise != 0;
        if (noisy) lk_mt19937_normal(&run->rng, s->noise, run->dimension);
        lk_sampling_advance(step, z, s->m, sampling->maps ? NULL : s->denoised, noisy ? s->noise : NULL,
                            run->dimension);
    }
    return lk_progress(params, "sample", sampling->count, sampling->count, NAN)
               ? LIKENESS_OK
               : lk_fail(error, LIKENESS_INTERRUPTED, "interrupted before the picture was decoded");
}

likeness_status lk_run_sample(lk_run *run, likeness_model *model, const likeness_generate_params *params, float *z,
                              lk_error *error) {
    float *memory = lk_alloc(3 * run->dimension, sizeof *memory);
    if (!memory) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for a latent");
    scratch s = {memory, memory + run->dimension, memory + 2 * run->dimension};
    likeness_status status = sample(run, model, params, z, &s, error);
    lk_free(memory);
    return status;
}

static likeness_status decode(likeness_model *model, const float *z, likeness_image *image, lk_error *error) {
    lk_picture_network *picture = &model->picture[0];
    LK_TRY(lk_network_instances(&picture->net, model->context, 1, error));
    LK_TRY(lk_instance_write(picture->net.instance[0], picture->latent, z, error));
    LK_TRY(lk_instance_run(picture->net.instance[0], 0, error));
    return lk_picture_take(picture, model, image, error);
}

likeness_status likeness_generate(likeness_model *model, const likeness_generate_params *params,
                                  likeness_image *image) {
    lk_error *error = lk_context_begin(model->context);
    lk_run run;
    const lk_memory_wish wish = {.target = -1, .copies = 1};
    likeness_memory_plan plan;
    *image = (likeness_image){0};
    LK_TRY(lk_run_start(&run, model, params, error));
    float *z = lk_alloc(run.dimension, sizeof *z);
    likeness_status status = z ? LIKENESS_OK : lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for a latent");
    if (status == LIKENESS_OK) status = lk_memory_plan(model, &run, &wish, &plan, error);
    if (status == LIKENESS_OK) status = lk_run_text(&run, model, params, error);
    if (status == LIKENESS_OK) status = lk_memory_settle(model, &wish, &plan, error);
    if (status == LIKENESS_OK) status = lk_run_begin(&run, model, z, error);
    if (status == LIKENESS_OK) status = lk_run_sample(&run, model, params, z, error);
    if (status == LIKENESS_OK) status = decode(model, z, image, error);
    lk_free(z);
    lk_run_end(&run);
    return status;
}
