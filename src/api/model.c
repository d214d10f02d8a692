/* api/model.c - loading and unloading a model and its encoders, and what names it in pictures (hashes: hashes.c). */
#include "api/hashes.h"
#include "api/memory_plan.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>

/* ---- names ---- */

/* NULL for an empty text. */
static likeness_status keep_text(lk_text *text, char **copy, lk_error *error) {
    bool empty = text->length == 0 && !text->failed;
    if (!empty && !text->failed) *copy = lk_strdup(lk_text_get(text));
    lk_text_free(text);
    return empty || *copy ? LIKENESS_OK : lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to load a model");
}

/* What was added to the model, as pictures name it. */
static likeness_status name_additions(likeness_model *model, lk_error *error) {
    const lk_model *files = &model->files;
    lk_text loras = LK_TEXT_INIT, embeddings = LK_TEXT_INIT, decoder = LK_TEXT_INIT;
    char hex[11];
    for (int32_t i = 0; i < files->lora_count; i++) {
        lk_hash_weights(model->context, &files->loras[i].file, hex);
        lk_text_addf(&loras, "%s%.100s:%g (%s)", i ? ", " : "", files->loras[i].name, files->loras[i].weight, hex);
    }
    for (int32_t i = 0; i < files->embedding_count; i++)
        lk_text_addf(&embeddings, "%s%.100s (%.10s)", i ? ", " : "", files->embeddings[i].word,
                     files->embeddings[i].hash);
    if (files->taesd.source.weights && !files->preview_weights) {
        lk_hash_weights(model->context, &files->taesd.file, hex);
        lk_text_addf(&decoder, "TAESD (%s)", hex);
    }
    likeness_status status = keep_text(&loras, &model->lora_names, error);
    if (keep_text(&embeddings, &model->embedding_names, error) != LIKENESS_OK) status = error->status;
    if (keep_text(&decoder, &model->decoder_name, error) != LIKENESS_OK) status = error->status;
    return status;
}

void lk_model_kernels(likeness_model *model) {
    const likeness_context *context = model->context;
    lk_sha256 hash;
    lk_sha256_init(&hash);
    const char *const texts[] = {model->hash,
                                 model->identity.hash,
                                 LIKENESS_VERSION,
                                 lk_device_key(context->device),
                                 context->options.precise ? "precise" : "",
                                 model->lora_names ? model->lora_names : "",
                                 model->embedding_names ? model->embedding_names : "",
                                 model->decoder_name ? model->decoder_name : "",
                                 model->files.averaged ? "averaged" : "",
                                 lk_prediction_name(model->files.scheduler.prediction)};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        lk_sha256_add(&hash, texts[i], strlen(texts[i]) + 1);
    for (int op = 0; op < LK_OP_COUNT; op++) {
        char line[96];
        if (context->variants[op] == 0) continue;
        snprintf(line, sizeof line, "%s=%d", lk_op_name((lk_op)op), (int)context->variants[op]);
        lk_sha256_add(&hash, line, strlen(line) + 1);
    }
    lk_short_hex(&hash, model->kernels);
}

/* ---- encoders ---- */

void lk_encoder_close(lk_encoder *encoder) {
    lk_network_close(&encoder->embed.net);
    if (encoder->present) lk_onnx_network_close(&encoder->network);
    memset(encoder, 0, sizeof *encoder);
}

likeness_status lk_encoder_open(lk_encoder *encoder, const char *path, const char *label, lk_weights *weights,
                                lk_error *error) {
    memset(encoder, 0, sizeof *encoder);
    LK_TRY(lk_onnx_network_open(&encoder->network, path, label, weights, error));
    encoder->present = true;
    likeness_status status = lk_hash_file(path, encoder->hash, error);
    if (status != LIKENESS_OK) lk_encoder_close(encoder);
    return status;
}

/* ---- public ---- */

static likeness_status open_encoders(likeness_model *model, lk_error *error) {
    if (model->files.identity_encoder)
        LK_TRY(lk_encoder_open(&model->identity, model->files.identity_encoder, "identity",
                               model->files.picture_weights, error));
    if (!model->files.judge) return LIKENESS_OK;
    model->judge_weights = lk_weights_create(model->context->options.precise);
    if (!model->judge_weights) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to load a model");
    return lk_encoder_open(&model->judge, model->files.judge, "judge", model->judge_weights, error);
}

/* Lines of the model's notes, to the warning callback, and of its report, to the log. */
static void warn_of_notes(likeness_context *context, const lk_text *notes) {
    for (const char *line = lk_text_get(notes); *line; line += strcspn(line, "\n") + 1)
        lk_context_warn(context, "%.*s", (int)strcspn(line, "\n"), line);
}

static void log_lines(likeness_context *context, const lk_text *report) {
    for (const char *line = lk_text_get(report); *line; line += strcspn(line, "\n") + 1)
        lk_context_log(context, "%.*s", (int)strcspn(line, "\n"), line);
}

static likeness_status open_files(likeness_model *model, const char *path, const likeness_load_params *params,
                                  lk_error *error) {
    size_t loras = params->lora_count > 0 ? (size_t)params->lora_count : 0;
    size_t embeddings = params->embedding_count > 0 ? (size_t)params->embedding_count : 0;
    lk_lora_use *lora = lk_alloc(loras + 1, sizeof *lora);
    lk_embedding_use *embedding = lk_alloc(embeddings + 1, sizeof *embedding);
    likeness_status status =
        lora && embedding ? LIKENESS_OK : lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to load a model");
    for (size_t i = 0; i < loras && status == LIKENESS_OK; i++)
        lora[i] = (lk_lora_use){params->loras[i].path, params->loras[i].weight != 0 ? params->loras[i].weight : 1};
    for (size_t i = 0; i < embeddings && status == LIKENESS_OK; i++)
        embedding[i] = (lk_embedding_use){params->embeddings[i].path, params->embeddings[i].word};
    lk_model_options options = {.precise = model->context->options.precise,
                                .averaged = params->averaged,
                                .prediction = params->prediction,
                                .loras = lora,
                                .lora_count = (int32_t)loras,
                                .embeddings = embedding,
                                .embedding_count = (int32_t)embeddings,
                                .taesd = params->taesd,
                                .taesd_preview_only = params->taesd_preview_only};
    if (status == LIKENESS_OK) status = lk_model_open_with(&model->files, path, &options, error);
    lk_free(lora);
    lk_free(embedding);
    return status;
}

const char *likeness_load_report(const likeness_model *model) { return lk_text_get(&model->files.report); }

likeness_status likeness_load(likeness_context *context, const char *path, likeness_model **out) {
    return likeness_load_with(context, path, NULL, out);
}

likeness_status likeness_load_with(likeness_context *context, const char *path, const likeness_load_params *params,
                                   likeness_model **out) {
    static const likeness_load_params defaults;
    if (!params) params = &defaults;
    lk_error *error = lk_context_begin(context);
    *out = NULL;
    if (!context->device) return lk_fail(error, LIKENESS_USAGE, "a context without a device cannot load a model");
    likeness_model *model = lk_alloc(1, sizeof *model);
    if (!model) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to load a model");
    model->context = context;
    likeness_status status = open_files(model, path, params, error);
    if (status != LIKENESS_OK) {
        lk_free(model);
        return status;
    }
    warn_of_notes(context, &model->files.notes);
    model->context = context;
    model->name = model->files.name;
    model->default_width = model->default_height = model->files.size;
    if (status == LIKENESS_OK) status = open_encoders(model, error);
    if (status == LIKENESS_OK) status = lk_hash_model(model, error);
    if (status == LIKENESS_OK) status = name_additions(model, error);
    if (status != LIKENESS_OK) {
        likeness_unload(model);
        return status;
    }
    lk_model_kernels(model);
    log_lines(context, &model->files.report);
    lk_context_log(context, "model: %s, hash %s, kernels %s", model->name, model->hash, model->kernels);
    *out = model;
    return LIKENESS_OK;
}

void likeness_unload(likeness_model *model) {
    if (!model) return;
    lk_memory_release(model);
    lk_network_close(&model->text.net);
    lk_network_close(&model->preview.net);
    lk_network_close(&model->encode.net);
    for (int i = 0; i < 2; i++) {
        lk_network_close(&model->flow[i].net);
        lk_network_close(&model->picture[i].net);
    }
    /* Graphs first, then the weight sets, then the files that the sets may read from. */
    lk_network_close(&model->identity.embed.net);
    lk_network_close(&model->judge.embed.net);
    lk_network_close(&model->crop.net);
    lk_detector_close(&model->detector);
    lk_model_close(&model->files);
    lk_weights_destroy(model->judge_weights);
    lk_free(model->lora_names);
    lk_free(model->embedding_names);
    lk_free(model->decoder_name);
    lk_encoder_close(&model->identity);
    lk_encoder_close(&model->judge);
    lk_free(model);
}
