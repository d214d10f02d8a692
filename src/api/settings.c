/* api/settings.c - the settings text of a picture (AUTOMATIC1111's infotext) and back. */
#include "api/model.h"

#include "base/memory.h"
#include "base/text.h"
#include "io/metadata.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void add(lk_image_texts *settings, const char *key, lk_error *error, const char *format, ...) LK_PRINTF(4, 5);

static void add(lk_image_texts *settings, const char *key, lk_error *error, const char *format, ...) {
    char value[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(value, sizeof value, format, arguments);
    va_end(arguments);
    lk_image_texts_add(settings, key, value, error);
}

/* The shortest spelling that reads back as the same number. */
static void add_double(lk_image_texts *settings, const char *key, lk_error *error, double value) {
    char text[40];
    double back;
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (lk_parse_double(text, &back) && back == value) break;
    }
    add(settings, key, error, "%s", text);
}

/* Blanks between: commas end a setting. */
static void add_box(lk_image_texts *settings, const char *key, lk_error *error, const likeness_box *box) {
    add(settings, key, error, "%g %g %g %g", box->x, box->y, box->width, box->height);
}

static void add_guidance(lk_image_texts *settings, const likeness_model *model, const likeness_personalize_params *p,
                         lk_error *error) {
    static const char *const methods[] = {"anchored", "unanchored", "noise descent"};
    add(settings, "Guidance", error, "%s", methods[p->method]);
    add(settings, "Guidance iterations", error, "%d", p->iterations == 0 ? 50 : p->iterations < 0 ? 0 : p->iterations);
    add_double(settings, "Guidance scale", error, p->id_scale > 0 ? p->id_scale : 1.0);
    if (p->step_factor > 0 && p->step_factor != 1) add_double(settings, "Guidance step factor", error, p->step_factor);
    if (p->reading) add(settings, "Guidance reading", error, "%c", 'A' + p->reading);
    if (p->until > 0) add_double(settings, "Guidance until", error, p->until);
    if (p->classify) add(settings, "Target class", error, "%d", (int)p->target_class);
    add(settings, "Discriminator hash", error, "%s", model->identity.hash);
    if (model->detector.present) {
        add(settings, "Detector hash", error, "%s", model->detector.hash);
        add_double(settings, "Detector threshold", error, model->detector.threshold);
        if (p->other_count > 0) add(settings, "People", error, "%d", 1 + p->other_count);
        if (p->box_crop) add(settings, "Crop", error, "box");
        if (p->lower_threshold) add(settings, "No face", error, "lower the threshold");
    }
    if (p->box.width > 0) add_box(settings, "Box", error, &p->box);
    if (p->reference_box.width > 0) add_box(settings, "Reference box", error, &p->reference_box);
    if (p->l1_weight > 0) add_double(settings, "Difference weight", error, p->l1_weight);
    if (p->consent != LIKENESS_CONSENT_NONE)
        add(settings, "Consent", error, "%s", p->consent == LIKENESS_CONSENT_SELF ? "self" : "granted");
}

/* ---- sampling ---- */

static const likeness_sampler sampler_codes[LK_SOLVER_COUNT] = {LIKENESS_SAMPLER_EULER, LIKENESS_SAMPLER_EULER_A,
                                                                LIKENESS_SAMPLER_DDIM,  LIKENESS_SAMPLER_DPMPP_2M,
                                                                LIKENESS_SAMPLER_LCM,   LIKENESS_SAMPLER_PERFLOW};

/* Parameters that cannot be sampled with have no picture either: then the text says less. */
static void add_sampling(lk_image_texts *settings, const likeness_model *model, const likeness_generate_params *params,
                         lk_error *error) {
    lk_sampling_request request;
    lk_error ignored = LK_ERROR_INIT;
    double weight;
    if (lk_sampling_of(model, params, &request, &weight, &ignored) != LIKENESS_OK) return;
    add(settings, "Steps", error, "%d", request.steps);
    add(settings, "Sampler", error, "%s%s", lk_solver_title(request.solver),
        request.sigmas == LK_SIGMAS_KARRAS ? " Karras" : "");
    add_double(settings, "CFG scale", error, weight);
    add(settings, "Seed", error, "%lld", (long long)params->seed);
    add(settings, "Size", error, "%dx%d", params->width > 0 ? params->width : model->default_width,
        params->height > 0 ? params->height : model->default_height);
    if (model->files.prediction_said)
        add(settings, "Prediction", error, "%s", lk_prediction_name(model->files.scheduler.prediction));
    if (params->init_image) add_double(settings, "Denoising strength", error, request.strength);
    if (params->clip_skip > 1) add(settings, "Clip skip", error, "%d", params->clip_skip);
}

/* "DPM++ 2M Karras", or the sampler and the sigmas apart, as newer programs write them. */
static void take_sampling(likeness_context *context, const lk_infotext *info, likeness_generate_params *params) {
    const char *name = lk_infotext_find(info, "Sampler"), *schedule = lk_infotext_find(info, "Schedule type");
    bool known = false;
    for (int i = 0; name && i < LK_SOLVER_COUNT; i++) {
        const char *title = lk_solver_title((lk_solver)i), *rest = name + strlen(title);
        if (strncmp(name, title, strlen(title)) != 0 || (*rest && strcmp(rest, " Karras") != 0)) continue;
        params->sampler = sampler_codes[i];
        params->scheduler = *rest ? LIKENESS_SCHEDULER_KARRAS : LIKENESS_SCHEDULER_DISCRETE;
        known = true;
    }
    if (known && schedule && strcmp(schedule, "Karras") == 0) params->scheduler = LIKENESS_SCHEDULER_KARRAS;
    if (name && !known)
        lk_context_warn(context, "the sampler \"%s\" is not known here: the model's own takes its place", name);
}

char *likeness_settings_text(const likeness_model *model, const likeness_generate_params *params,
                             const likeness_personalize_params *personalize) {
    lk_error error = LK_ERROR_INIT;
    lk_image_texts settings = {0};
    lk_text text = LK_TEXT_INIT;
    add_sampling(&settings, model, params, &error);
    add(&settings, "Model", &error, "%s", model->name);
    add(&settings, "Model hash", &error, "%s", model->hash);
    if (model->lora_names) lk_image_texts_add(&settings, "Lora", model->lora_names, &error);
    if (model->embedding_names) lk_image_texts_add(&settings, "TI", model->embedding_names, &error);
    if (model->decoder_name) lk_image_texts_add(&settings, "Decoder", model->decoder_name, &error);
    add(&settings, "RNG", &error, "CPU");
    if (personalize) add_guidance(&settings, model, personalize, &error);
    add(&settings, "Kernels", &error, "%s", model->kernels);
    add(&settings, "Version", &error, "likeness %s", LIKENESS_VERSION);
    lk_infotext_write(&text, params->prompt ? params->prompt : "", params->negative_prompt, &settings);
    char *copy = error.status == LIKENESS_OK && !text.failed ? lk_strdup(lk_text_get(&text)) : NULL;
    lk_image_texts_free(&settings);
    lk_text_free(&text);
    return copy;
}

char *likeness_settings_find(const char *settings, const char *key) {
    lk_error ignored = LK_ERROR_INIT;
    lk_infotext info;
    if (lk_infotext_parse(&info, settings, &ignored) != LIKENESS_OK) return NULL;
    const char *value = lk_infotext_find(&info, key);
    char *copy = value ? lk_strdup(value) : NULL;
    lk_infotext_free(&info);
    return copy;
}

static void take_int(const lk_infotext *info, const char *key, int64_t most, int64_t *value) {
    const char *text = lk_infotext_find(info, key);
    int64_t parsed;
    if (text && lk_parse_int64(text, &parsed) && parsed >= 0 && parsed <= most) *value = parsed;
}

likeness_status likeness_settings_parse(likeness_context *context, const char *settings,
                                        likeness_generate_params *params, char **storage) {
    lk_error *error = lk_context_begin(context);
    lk_infotext info;
    *storage = NULL;
    LK_TRY(lk_infotext_parse(&info, settings, error));
    if (lk_infotext_find(&info, "Guidance")) {
        lk_infotext_free(&info);
        return lk_fail(
            error, LIKENESS_USAGE,
            "this picture was personalized: its reference is not inside, so generate cannot make it again; run "
            "likeness personalize with the same reference and the settings that likeness inspect shows");
    }
    size_t prompt_bytes = strlen(info.prompt) + 1, negative_bytes = strlen(info.negative) + 1;
    char *texts = lk_alloc(prompt_bytes + negative_bytes, 1);
    if (texts) {
        memcpy(texts, info.prompt, prompt_bytes);
        memcpy(texts + prompt_bytes, info.negative, negative_bytes);
        params->prompt = texts;
        params->negative_prompt = texts + prompt_bytes;
        int64_t steps = params->steps;
        take_int(&info, "Steps", 1000, &steps);
        params->steps = (int32_t)steps;
        take_int(&info, "Seed", INT64_MAX, &params->seed);
        int64_t skip = params->clip_skip;
        take_int(&info, "Clip skip", 1000, &skip);
        params->clip_skip = (int32_t)skip;
        take_sampling(context, &info, params);
        const char *strength = lk_infotext_find(&info, "Denoising strength");
        double part;
        if (strength && lk_parse_double(strength, &part) && part > 0 && part <= 1) params->strength = part;
        const char *cfg = lk_infotext_find(&info, "CFG scale"), *size = lk_infotext_find(&info, "Size");
        double weight;
        if (cfg && lk_parse_double(cfg, &weight) && weight > 0 && weight < 1000) params->cfg_scale = weight;
        int width, height;
        if (size && sscanf(size, "%5dx%5d", &width, &height) == 2 && width > 0 && height > 0) {
            params->width = width;
            params->height = height;
        }
        *storage = texts;
    }
    bool any = lk_infotext_find(&info, "Seed") != NULL;
    lk_infotext_free(&info);
    if (!texts) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for the settings");
    if (!any) {
        lk_free(texts);
        *storage = NULL;
        return lk_fail(error, LIKENESS_BAD_FILE, "the picture carries no settings (no parameters text with a seed)");
    }
    return LIKENESS_OK;
}
