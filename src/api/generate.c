/* api/generate.c - pictures from words: checked parameters, prompts, sampling, decoding.
 *
 *   z <- noise of the seed;   for k = 1..K: z <- z + (t_k - t_{k-1}) v(z, t_{k-1}, prompt);   picture <- decode(z) */
#include "api/model.h"

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

likeness_status lk_run_start(lk_run *run, likeness_model *model, const likeness_generate_params *params,
                             lk_error *error) {
    const lk_unet_config *unet = &model->files.unet.config;
    int32_t factor = lk_vae_factor(&model->files.vae.config), unit = factor << (unet->levels - 1);
    memset(run, 0, sizeof *run);
    run->prompt = params->prompt ? params->prompt : "";
    run->negative = params->negative_prompt ? params->negative_prompt : "";
    run->width = params->width != 0 ? params->width : model->default_width;
    run->height = params->height != 0 ? params->height : model->default_height;
    run->steps = params->steps != 0 ? params->steps : model->default_steps;
    run->weight = params->cfg_scale > 0 ? params->cfg_scale : model->default_cfg_scale;
    run->seed = params->seed;
    if (!(params->cfg_scale >= 0) || !isfinite(params->cfg_scale))
        return lk_fail(error, LIKENESS_USAGE, "a guidance weight of %g makes no sense", params->cfg_scale);
    run->guided_free = run->weight != 1;
    LK_TRY(check_side("width", run->width, unit, error));
    LK_TRY(check_side("height", run->height, unit, error));
    if ((uint64_t)run->width * (uint64_t)run->height > LK_IMAGE_MAX_PIXELS)
        return lk_fail(error, LIKENESS_USAGE, "%d x %d pixels are too many for one picture: 64 megapixels are the most",
                       (int)run->width, (int)run->height);
    LK_TRY(check_prompt("prompt", params->prompt, error));
    LK_TRY(check_prompt("negative prompt", params->negative_prompt, error));
    run->channels = unet->in_channels;
    run->latent_height = run->height / factor;
    run->latent_width = run->width / factor;
    run->dimension = (size_t)run->channels * (size_t)run->latent_height * (size_t)run->latent_width;
    if (model->files.scheduler.prediction != LK_PREDICT_VELOCITY)
        return lk_fail(error, LIKENESS_UNSUPPORTED, "%s predicts %s: only velocities are sampled so far",
                       model->files.folder, lk_prediction_name(model->files.scheduler.prediction));
    return lk_flow_times(run->steps, model->files.scheduler.shift, run->times, error);
}

void lk_run_end(lk_run *run) {
    lk_free(run->context[0]);
    lk_free(run->context[1]);
    run->context[0] = run->context[1] = NULL;
}

/* ---- prompts ---- */

static likeness_status encode_prompt(likeness_model *model, const char *what, const char *prompt, float **hidden,
                                     lk_error *error) {
    lk_text_network *t = &model->text;
    lk_token_cut cut = {0};
    int32_t *ids = lk_alloc((size_t)t->length, sizeof *ids);
    *hidden = lk_alloc((size_t)t->length * (size_t)model->files.text.config.width, sizeof **hidden);
    likeness_status status =
        ids && *hidden ? LIKENESS_OK : lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for a prompt");
    if (status == LIKENESS_OK)
        status = lk_tokenizer_encode(&model->files.tokenizer, prompt, ids, (size_t)t->length, &cut, error);
    if (status == LIKENESS_OK && cut.cut)
        lk_context_warn(model->context,
                        "the %s has %zu tokens with its begin and end, %d fit: cut before the word \"%s\"", what,
                        cut.total + 2, (int)t->length, cut.first_word);
    if (status == LIKENESS_OK) status = lk_instance_write(t->net.instance[0], t->ids, ids, error);
    if (status == LIKENESS_OK) status = lk_instance_run(t->net.instance[0], 0, error);
    if (status == LIKENESS_OK) status = lk_instance_read(t->net.instance[0], t->hidden, *hidden, error);
    lk_free(ids);
    return status;
}

likeness_status lk_run_text(lk_run *run, likeness_model *model, const likeness_generate_params *params,
                            lk_error *error) {
    int total = run->guided_free ? 2 : 1;
    if (!lk_progress(params, "text", 0, total, NAN)) return lk_fail(error, LIKENESS_INTERRUPTED, "interrupted");
    LK_TRY(lk_text_network_build(&model->text, &model->files, model->context, error));
    LK_TRY(lk_network_instances(&model->text.net, model->context, 1, error));
    if (run->guided_free) LK_TRY(encode_prompt(model, "negative prompt", run->negative, &run->context[0], error));
    return encode_prompt(model, "prompt", run->prompt, &run->context[1], error);
}

/* ---- the flow network ---- */

likeness_status lk_run_flow(const lk_run *run, likeness_model *model, bool gradient, bool sparing, lk_error *error) {
    lk_flow_network *flow = &model->flow[gradient];
    for (int batched = !sparing; batched >= 0; batched--) {
        LK_TRY(lk_flow_network_build(flow, &model->files, model->context, run->latent_height, run->latent_width,
                                     run->guided_free, batched && run->guided_free, gradient, error));
        if (flow->net.instance_count > 0 || lk_network_bytes(&flow->net, 1) <= lk_memory_left(model->context)) break;
    }
    return lk_network_instances(&flow->net, model->context, 1, error);
}

likeness_status lk_flow_set_prompt(const lk_flow_network *flow, int instance, const lk_run *run, lk_error *error) {
    lk_instance *i = flow->net.instance[instance];
    LK_TRY(lk_instance_write(i, flow->context[1], run->context[1], error));
    if (!flow->guided_free) return LIKENESS_OK;
    float weight = (float)run->weight;
    LK_TRY(lk_instance_write(i, flow->context[0], run->context[0], error));
    return lk_instance_write(i, flow->weight, &weight, error);
}

likeness_status lk_flow_set_step(const lk_flow_network *flow, int instance, const likeness_model *model, double t,
                                 double dt, lk_error *error) {
    const lk_unet_config *unet = &model->files.unet.config;
    float *features = lk_alloc((size_t)unet->channels[0], sizeof *features), step = (float)dt;
    if (!features) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for a sampling step");
    lk_unet_time_features(unet, t * model->files.scheduler.train_timesteps, features);
    likeness_status status = lk_instance_write(flow->net.instance[instance], flow->time, features, error);
    if (status == LIKENESS_OK) status = lk_instance_write(flow->net.instance[instance], flow->dt, &step, error);
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

static likeness_status sample(const lk_run *run, likeness_model *model, const likeness_generate_params *params,
                              float *z, lk_error *error) {
    lk_flow_network *flow = &model->flow[0];
    LK_TRY(lk_run_flow(run, model, false, false, error));
    LK_TRY(lk_flow_set_prompt(flow, 0, run, error));
    lk_initial_noise(run->seed, run->dimension, z);
    for (int k = 1; k <= run->steps; k++) {
        if (!lk_progress(params, "sample", k - 1, run->steps, NAN))
            return lk_fail(error, LIKENESS_INTERRUPTED, "interrupted after %d of %d steps", k - 1, (int)run->steps);
        LK_TRY(lk_flow_set_step(flow, 0, model, run->times[k - 1], run->times[k] - run->times[k - 1], error));
        LK_TRY(lk_instance_write(flow->net.instance[0], flow->z, z, error));
        LK_TRY(lk_instance_run(flow->net.instance[0], 0, error));
        LK_TRY(lk_instance_read(flow->net.instance[0], flow->endpoint, z, error));
    }
    return lk_progress(params, "sample", run->steps, run->steps, NAN)
               ? LIKENESS_OK
               : lk_fail(error, LIKENESS_INTERRUPTED, "interrupted before the picture was decoded");
}

static likeness_status decode(const lk_run *run, likeness_model *model, const float *z, likeness_image *image,
                              lk_error *error) {
    lk_picture_network *picture = &model->picture[0];
    LK_TRY(lk_picture_network_build(picture, &model->files, NULL, model->context, run->latent_height, run->latent_width,
                                    error));
    LK_TRY(lk_network_instances(&picture->net, model->context, 1, error));
    LK_TRY(lk_instance_write(picture->net.instance[0], picture->latent, z, error));
    LK_TRY(lk_instance_run(picture->net.instance[0], 0, error));
    return lk_picture_take(picture, model, image, error);
}

likeness_status likeness_generate(likeness_model *model, const likeness_generate_params *params,
                                  likeness_image *image) {
    lk_error *error = lk_context_begin(model->context);
    lk_run run;
    *image = (likeness_image){0};
    LK_TRY(lk_run_start(&run, model, params, error));
    float *z = lk_alloc(run.dimension, sizeof *z);
    likeness_status status = z ? LIKENESS_OK : lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for a latent");
    if (status == LIKENESS_OK) status = lk_run_text(&run, model, params, error);
    if (status == LIKENESS_OK) status = sample(&run, model, params, z, error);
    if (status == LIKENESS_OK) status = decode(&run, model, z, image, error);
    lk_free(z);
    lk_run_end(&run);
    return status;
}
