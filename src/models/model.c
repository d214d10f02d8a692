/* models/model.c - opens a folder of diffusers' layout. See model.h. */
#include "models/model.h"

#include "base/file.h"
#include "base/memory.h"
#include "models/checkpoint.h"
#include "models/config_file.h"

#include <stdio.h>
#include <string.h>

/* ---- model_index.json ---- */

static likeness_status copy_text(char **to, const char *text, lk_error *error) {
    *to = lk_strdup(text);
    return *to ? LIKENESS_OK : lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to open a model");
}

/* "unet": ["diffusers", "UNet2DConditionModel"] */
static likeness_status check_component(lk_json *json, const char *key, const char *only, lk_error *error) {
    const char *both[2];
    size_t count = 0;
    LK_TRY(lk_json_texts(json, NULL, key, both, 2, &count, error));
    if (count == 2 && strcmp(both[1], only) == 0) return LIKENESS_OK;
    return lk_fail(error, LIKENESS_UNSUPPORTED, "%s: '%s' is a %s, only %s is supported", json->name, key,
                   count == 2 ? both[1] : "list that names no class", only);
}

/* The full path of a file that the index names by its plain name. */
static likeness_status companion(lk_model *model, lk_json *json, lk_json_value *object, const char *key, char **path,
                                 lk_error *error) {
    const char *name = NULL;
    LK_TRY(lk_json_text_or(json, object, key, NULL, &name, error));
    if (!name) return LIKENESS_OK;
    if (strchr(name, '/') || strchr(name, '\\') || strcmp(name, "..") == 0 || name[0] == 0)
        return lk_fail(error, LIKENESS_BAD_FILE, "%s: '%s' must be the name of a file in the model's folder, not %s",
                       json->name, key, name);
    *path = lk_path_join(model->folder, name);
    return *path ? LIKENESS_OK : lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to open a model");
}

/* What the index says about sampling. */
typedef struct index_sampling {
    const char *scheduler; /* the class */
    bool has_prediction;   /* ours, which counts over that of the scheduler's config */
    lk_prediction prediction;
} index_sampling;

static likeness_status read_own_section(lk_model *model, lk_json *json, index_sampling *sampling, lk_error *error) {
    lk_json_value *own = lk_json_find(json, NULL, "likeness");
    const char *name = lk_path_name(model->folder), *prediction = NULL;
    int64_t size = 0, steps = 0;
    if (!own) return copy_text(&model->name, name, error);
    if (!lk_json_is_object(own))
        return lk_fail(error, LIKENESS_BAD_FILE, "%s: 'likeness' is %s, expected an object", json->name,
                       lk_json_kind(own));
    LK_TRY(lk_json_text_or(json, own, "name", name, &name, error));
    LK_TRY(copy_text(&model->name, name, error));
    LK_TRY(lk_json_int_or(json, own, "size", 1, 65536, 0, &size, error));
    LK_TRY(lk_json_int_or(json, own, "steps", 1, 1000, 0, &steps, error));
    LK_TRY(lk_json_double_or(json, own, "guidance", 0, &model->guidance, error));
    LK_TRY(lk_json_text_or(json, own, "prediction", NULL, &prediction, error));
    sampling->has_prediction = prediction != NULL;
    if (prediction && !lk_prediction_find(prediction, &sampling->prediction))
        return lk_fail(error, LIKENESS_UNSUPPORTED, "%s: 'likeness.prediction' %s is not known", json->name,
                       prediction);
    LK_TRY(companion(model, json, own, "identity_encoder", &model->identity_encoder, error));
    LK_TRY(companion(model, json, own, "judge", &model->judge, error));
    model->size = (int32_t)size;
    model->steps = (int32_t)steps;
    return lk_json_unused(json, own, error);
}

/* Components and notes of diffusers' own pipelines that do not change what the U-Net computes. */
static const char *const index_without_effect[] = {"_class_name",
                                                   "_diffusers_version",
                                                   "_name_or_path",
                                                   "feature_extractor",
                                                   "force_zeros_for_empty_prompt",
                                                   "image_encoder",
                                                   "requires_safety_checker",
                                                   "safety_checker",
                                                   NULL};

/* Families that are told by the pipeline's class alone; LatentConsistencyModel, InstaFlow and the like are Stable
 * Diffusion in all but the scheduler. */
static likeness_status check_pipeline(lk_json *json, lk_error *error) {
    static const char *const others[][2] = {
        {"XL", "SDXL"},
        {"Diffusion3", "Stable Diffusion 3"},
        {"Flux", "Flux"},
        {"Chroma", "Chroma"},
        {"PixArt", "PixArt"},
        {"Sana", "Sana"},
        {"Kandinsky", "Kandinsky"},
        {"Hunyuan", "Hunyuan"},
        {"Lumina", "Lumina"},
        {"ZImage", "Z-Image"},
        {"QwenImage", "Qwen-Image"},
        {"AuraFlow", "AuraFlow"},
        {"Cascade", "Stable Cascade"},
        {"Wuerstchen", "Wuerstchen"},
        {"Video", "a video model"},
        {"Wan", "Wan"},
        {"LTX", "LTX"},
        {"CogView", "CogView"},
        {"DeepFloyd", "DeepFloyd IF"},
        {"IFPipeline", "DeepFloyd IF"},
        {"ControlNet", "a ControlNet pipeline"},
        {"Inpaint", "an inpainting model"},
        {"InstructPix2Pix", "InstructPix2Pix"},
        {"Upscale", "an upscaler"},
        {"Depth2Img", "a depth model"},
        {"UnCLIP", "an unCLIP model"},
    };
    const char *name = NULL;
    LK_TRY(lk_json_text_or(json, NULL, "_class_name", "", &name, error));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strstr(name, others[i][0]))
            return lk_fail(error, LIKENESS_UNSUPPORTED,
                           "%s: this is %s (%s); supported are Stable Diffusion 1.x and 2.x and Likeness' own models",
                           json->name, others[i][1], name);
    return LIKENESS_OK;
}

static likeness_status read_index(lk_model *model, lk_json *json, index_sampling *sampling, lk_error *error) {
    const char *both[2];
    size_t count = 0;
    LK_TRY(check_pipeline(json, error));
    LK_TRY(check_component(json, "unet", "UNet2DConditionModel", error));
    LK_TRY(check_component(json, "vae", "AutoencoderKL", error));
    LK_TRY(check_component(json, "text_encoder", "CLIPTextModel", error));
    LK_TRY(check_component(json, "tokenizer", "CLIPTokenizer", error));
    LK_TRY(lk_json_texts(json, NULL, "scheduler", both, 2, &count, error));
    if (count != 2) return lk_fail(error, LIKENESS_BAD_FILE, "%s: 'scheduler' names no class", json->name);
    sampling->scheduler = both[1];
    LK_TRY(read_own_section(model, json, sampling, error));
    lk_config_ignore(json, index_without_effect);
    return lk_json_unused(json, NULL, error);
}

/* ---- opening ---- */

static likeness_status open_index(lk_model *model, lk_error *error) {
    lk_json json, scheduler;
    index_sampling sampling = {0};
    LK_TRY(lk_config_read(&json, model->folder, "model_index.json", error));
    likeness_status status = read_index(model, &json, &sampling, error);
    char *folder = lk_path_join(model->folder, "scheduler");
    if (!folder) status = lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to open a model");
    if (status == LIKENESS_OK) status = lk_config_read(&scheduler, folder, "scheduler_config.json", error);
    if (status == LIKENESS_OK) {
        status = lk_scheduler_config_read(&model->scheduler, &scheduler, sampling.scheduler, error);
        if (sampling.has_prediction) model->scheduler.prediction = sampling.prediction;
        lk_json_free(&scheduler);
    }
    lk_free(folder);
    lk_json_free(&json);
    return status;
}

typedef enum component { TOKENIZER, TEXT, UNET, VAE } component;

static bool tiny_decodes(const lk_model *model) {
    return model->taesd.source.weights && model->taesd.source.weights == model->picture_weights;
}

/* Where a tiny decoder takes its place the large one is checked, but not kept. */
static lk_weights *decoder_weights(const lk_model *model) {
    return tiny_decodes(model) ? NULL : model->picture_weights;
}

static likeness_status open_component(lk_model *model, component which, const char *name, lk_error *error) {
    char *folder = lk_path_join(model->folder, name);
    likeness_status status;
    if (!folder)
        status = lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to open a model");
    else if (which == TOKENIZER)
        status = lk_tokenizer_open(&model->tokenizer, folder, error);
    else if (which == TEXT)
        status = lk_clip_text_open(&model->text, folder, model->text_weights, error);
    else if (which == UNET)
        status = lk_unet_open(&model->unet, folder, model->unet_weights, error);
    else
        status = lk_vae_open(&model->vae, folder, model->encode_weights, decoder_weights(model), error);
    lk_free(folder);
    return status;
}

/* What each component expects of the others. */
static likeness_status check_together(lk_model *model, lk_error *error) {
    const lk_unet_config *unet = &model->unet.config;
    const lk_vae_config *vae = &model->vae.config;
    if (unet->in_channels != vae->latent_channels || unet->out_channels != vae->latent_channels)
        return lk_fail(error, LIKENESS_UNSUPPORTED,
                       "%s: the U-Net goes from %d to %d channels, the autoencoder's latents have %d", model->folder,
                       (int)unet->in_channels, (int)unet->out_channels, (int)vae->latent_channels);
    for (int i = 0; i < unet->levels; i++)
        if (unet->context[i] != model->text.config.width)
            return lk_fail(error, LIKENESS_BAD_FILE,
                           "%s: the U-Net expects text tokens of width %d, the text encoder makes %d", model->folder,
                           (int)unet->context[i], (int)model->text.config.width);
    if (model->tokenizer.count > model->text.config.vocabulary)
        return lk_fail(error, LIKENESS_BAD_FILE, "%s: the tokenizer has %d entries, the text encoder's table %d",
                       model->folder, (int)model->tokenizer.count, (int)model->text.config.vocabulary);
    if (model->taesd.source.weights &&
        (model->taesd.latent_channels != vae->latent_channels || model->taesd.factor != lk_vae_factor(vae)))
        return lk_fail(error, LIKENESS_UNSUPPORTED,
                       "%s: takes %d channels and enlarges %d times, the model's autoencoder %d and %d",
                       model->taesd.file.name, (int)model->taesd.latent_channels, (int)model->taesd.factor,
                       (int)vae->latent_channels, lk_vae_factor(vae));
    if (model->size == 0) model->size = unet->sample_size * lk_vae_factor(vae);
    if (model->size == 0) model->size = vae->sample_size;
    if (model->size == 0)
        return lk_fail(error, LIKENESS_BAD_FILE, "%s: no config says how large the model's pictures are",
                       model->folder);
    return LIKENESS_OK;
}

/* What the user says about the prediction, if anything, counts over what was found. */
static likeness_status take_prediction(const char *said, lk_prediction *prediction, lk_error *error) {
    if (!said || lk_prediction_find(said, prediction)) return LIKENESS_OK;
    return lk_fail(error, LIKENESS_USAGE,
                   "the prediction '%s' is not known; there are eps, v, velocity, instaflow, diff_eps and ddim_eps",
                   said);
}

static likeness_status open_folder(lk_model *model, const char *said, lk_error *error) {
    static const char *const names[] = {"tokenizer", "text_encoder", "unet", "vae"};
    LK_TRY(open_index(model, error));
    lk_prediction found = model->scheduler.prediction;
    LK_TRY(take_prediction(said, &model->scheduler.prediction, error));
    if (model->scheduler.prediction != found) { /* the folder's numbers belong to another kind of sampling */
        model->steps = 0;
        model->guidance = 0;
    }
    for (int i = TOKENIZER; i <= VAE; i++)
        LK_TRY(open_component(model, (component)i, names[i], error));
    return LIKENESS_OK;
}

/* The file's name without its ending. */
static likeness_status name_of_file(lk_model *model, lk_error *error) {
    LK_TRY(copy_text(&model->name, lk_path_name(model->folder), error));
    size_t length = strlen(model->name), ending = strlen(".safetensors");
    if (length > ending && lk_ends_with(model->name, ".safetensors")) model->name[length - ending] = 0;
    return LIKENESS_OK;
}

static likeness_status single_file_sampling(lk_model *model, const lk_checkpoint *file, const char *said,
                                            lk_error *error) {
    lk_prediction prediction = file->predicts_v ? LK_PREDICT_V : LK_PREDICT_EPSILON;
    LK_TRY(take_prediction(said, &prediction, error));
    if (!file->prediction_known && !said)
        lk_text_addf(&model->notes,
                     "%s: the file does not say whether it predicts v (the 768 pixel models of Stable Diffusion 2.x) "
                     "or the noise (the base models): v is assumed; --prediction eps for the others\n",
                     model->folder);
    model->scheduler = lk_scheduler_config_stable_diffusion(prediction);
    if (file->is.family == LK_FAMILY_SD2) model->unet.config.sample_size = prediction == LK_PREDICT_V ? 96 : 64;
    return LIKENESS_OK;
}

/* What is moved into the model is gone from the checkpoint, so that closing the rest is right in every case. */
static likeness_status take_checkpoint(lk_model *model, lk_checkpoint *file, const lk_model_options *options,
                                       lk_error *error) {
    model->checkpoint = file->file;
    memset(&file->file, 0, sizeof file->file);
    model->family = file->is.family;
    model->averaged = file->averaged;
    model->notes = file->notes;
    file->notes = (lk_text)LK_TEXT_INIT;
    LK_TRY(name_of_file(model, error));
    LK_TRY(lk_tokenizer_open_clip(&model->tokenizer, file->is.family == LK_FAMILY_SD2, error));
    LK_TRY(lk_clip_text_open_view(&model->text, &file->text_config, &file->text, model->text_weights, error));
    LK_TRY(lk_unet_open_view(&model->unet, &file->unet_config, &file->unet, model->unet_weights, error));
    LK_TRY(lk_vae_open_view(&model->vae, &file->vae_config, &file->vae, model->encode_weights, decoder_weights(model),
                            error));
    return single_file_sampling(model, file, options->prediction, error);
}

static likeness_status open_file(lk_model *model, const lk_model_options *options, lk_error *error) {
    lk_checkpoint file;
    LK_TRY(lk_checkpoint_open(&file, model->folder, options->averaged, error));
    likeness_status status = take_checkpoint(model, &file, options, error);
    lk_checkpoint_close(&file);
    return status;
}

/* A folder's family is told by the width of its text tokens. */
static likeness_status merge_loras(lk_model *model, const lk_model_options *options, lk_error *error) {
    int32_t context = model->text.config.width;
    if (model->family == LK_FAMILY_UNKNOWN && context == 768) model->family = LK_FAMILY_SD1;
    if (model->family == LK_FAMILY_UNKNOWN && context == 1024) model->family = LK_FAMILY_SD2;
    if (options->lora_count <= 0) return LIKENESS_OK;
    lk_lora_target target = {model->unet_weights, model->text_weights, model->family};
    model->loras = lk_alloc((size_t)options->lora_count, sizeof *model->loras);
    if (!model->loras) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to read a LoRA");
    for (int32_t i = 0; i < options->lora_count; i++) {
        model->lora_count++;
        LK_TRY(lk_lora_open(&model->loras[i], &options->loras[i], &target, &model->report, &model->notes, error));
    }
    return LIKENESS_OK;
}

static likeness_status add_embeddings(lk_model *model, const lk_model_options *options, lk_error *error) {
    if (options->embedding_count <= 0) return LIKENESS_OK;
    model->embeddings = lk_alloc((size_t)options->embedding_count, sizeof *model->embeddings);
    if (!model->embeddings) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to read a textual inversion");
    for (int32_t i = 0; i < options->embedding_count; i++) {
        lk_embedding *e = &model->embeddings[model->embedding_count++];
        LK_TRY(lk_embedding_add(e, &options->embeddings[i], &model->tokenizer, model->text_weights,
                                model->text.config.width, error));
        lk_text_addf(&model->report, "%s: %d vectors, written \"%.200s\" in a prompt\n",
                     lk_path_name(options->embeddings[i].path), (int)e->vectors, e->word);
    }
    return LIKENESS_OK;
}

static likeness_status open_taesd(lk_model *model, const lk_model_options *options, lk_error *error) {
    if (!options->taesd) return LIKENESS_OK;
    if (options->taesd_preview_only) {
        model->preview_weights = lk_weights_create(options->precise);
        if (!model->preview_weights) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to open a model");
    }
    return lk_taesd_open(&model->taesd, options->taesd,
                         options->taesd_preview_only ? model->preview_weights : model->picture_weights, error);
}

static likeness_status open_all(lk_model *model, const char *path, const lk_model_options *options, lk_error *error) {
    lk_weights **sets[] = {&model->text_weights, &model->unet_weights, &model->picture_weights, &model->encode_weights};
    LK_TRY(copy_text(&model->folder, path, error));
    if (!lk_directory_exists(path) && !lk_file_exists(path))
        return lk_fail(error, LIKENESS_IO,
                       "%s: there is no such file or folder; a model is a folder of diffusers' layout or a "
                       "safetensors file",
                       path);
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        *sets[i] = lk_weights_create(options->precise);
        if (!*sets[i]) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to open a model");
    }
    LK_TRY(open_taesd(model, options, error));
    LK_TRY(lk_directory_exists(path) ? open_folder(model, options->prediction, error)
                                     : open_file(model, options, error));
    model->prediction_said = options->prediction != NULL;
    LK_TRY(check_together(model, error));
    LK_TRY(merge_loras(model, options, error));
    LK_TRY(add_embeddings(model, options, error));
    if (model->notes.failed || model->report.failed)
        return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to open a model");
    return LIKENESS_OK;
}

likeness_status lk_model_open_with(lk_model *model, const char *path, const lk_model_options *options,
                                   lk_error *error) {
    memset(model, 0, sizeof *model);
    likeness_status status = open_all(model, path, options, error);
    if (status != LIKENESS_OK) lk_model_close(model);
    return status;
}

likeness_status lk_model_open(lk_model *model, const char *path, bool precise, lk_error *error) {
    return lk_model_open_with(model, path, &(lk_model_options){.precise = precise}, error);
}

lk_value lk_model_decode(const lk_model *model, lk_graph *graph, lk_value latent) {
    if (tiny_decodes(model)) return lk_taesd_decode(&model->taesd, graph, latent);
    lk_value decoded = lk_vae_decode(&model->vae, graph, lk_vae_unscale(&model->vae, graph, latent), NULL);
    return lk_scale_shift(graph, decoded, 0.5f, 0.5f);
}

void lk_model_close(lk_model *model) {
    lk_weights_destroy(model->text_weights);
    lk_weights_destroy(model->unet_weights);
    lk_weights_destroy(model->picture_weights);
    lk_weights_destroy(model->encode_weights);
    lk_weights_destroy(model->preview_weights);
    for (int32_t i = 0; i < model->lora_count; i++)
        lk_lora_close(&model->loras[i]);
    lk_free(model->loras);
    for (int32_t i = 0; i < model->embedding_count; i++)
        lk_embedding_close(&model->embeddings[i]);
    lk_free(model->embeddings);
    lk_text_free(&model->report);
    lk_taesd_close(&model->taesd);
    lk_vae_close(&model->vae);
    lk_unet_close(&model->unet);
    lk_clip_text_close(&model->text);
    lk_tokenizer_close(&model->tokenizer);
    lk_safetensors_close(&model->checkpoint);
    lk_text_free(&model->notes);
    lk_free(model->folder);
    lk_free(model->name);
    lk_free(model->identity_encoder);
    lk_free(model->judge);
    memset(model, 0, sizeof *model);
}
