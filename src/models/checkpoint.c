/* models/checkpoint.c - splits a single-file checkpoint into components; configs: checkpoint_infer.c. See checkpoint.h.
 */
#include "models/checkpoint.h"

#include "base/memory.h"
#include "models/ldm_names.h"

#include <stdio.h>
#include <string.h>

/* ViT-H has 24 blocks; SD 2.x was trained on what enters the last one. */
enum { OPEN_CLIP_LAYERS = 24 };

static const char vae_prefix[] = "first_stage_model.", clip_prefix[] = "cond_stage_model.transformer.",
                  open_clip_prefix[] = "cond_stage_model.model.";

/* The rest of `name` after `prefix`, or NULL. */
static const char *after(const char *name, const char *prefix) {
    size_t length = strlen(prefix);
    return strncmp(name, prefix, length) == 0 ? name + length : NULL;
}

static likeness_status begin_view(const lk_checkpoint *c, lk_safetensors *view, const char *what, lk_error *error) {
    lk_text name = LK_TEXT_INIT;
    lk_text_addf(&name, "%s (%s, named as in diffusers)", c->file.name, what);
    likeness_status status = name.failed ? lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to open a checkpoint")
                                         : lk_safetensors_view_begin(view, name.data, 3 * c->file.count, error);
    lk_text_free(&name);
    return status;
}

static likeness_status no_place(const lk_checkpoint *c, const lk_safetensor *tensor, const char *what,
                                lk_error *error) {
    char shape[96];
    lk_dims_text(shape, sizeof shape, tensor->rank, tensor->shape);
    return lk_fail(error, LIKENESS_BAD_FILE, "%s: the tensor %s %s has no place in a %s %s", c->file.name, tensor->name,
                   shape, c->is.family_name, what);
}

static likeness_status add_whole(lk_safetensors *view, lk_safetensor *source, const char *name, lk_error *error) {
    return lk_safetensors_view_add(view, source, name, 0, source->rank, source->shape, error);
}

/* ---- U-Net ---- */

/* The averaged copy of "model.diffusion_model.a.b.c" is "model_ema.diffusion_modelabc". */
static lk_safetensor *averaged_of(const lk_checkpoint *c, const char *name) {
    char flat[512] = "model_ema.";
    size_t at = strlen(flat);
    for (const char *from = name + strlen("model."); *from && at + 1 < sizeof flat; from++)
        if (*from != '.') flat[at++] = *from;
    flat[at] = 0;
    return lk_safetensors_find(&c->file, flat);
}

static likeness_status view_unet(lk_checkpoint *c, bool averaged, lk_error *error) {
    lk_ldm_unet unet;
    LK_TRY(lk_ldm_unet_scan(&unet, &c->file, c->is.prefix, error));
    LK_TRY(begin_view(c, &c->unet, "U-Net", error));
    for (size_t i = 0; i < c->file.count; i++) {
        lk_safetensor *tensor = &c->file.tensors[i], *source = tensor;
        char name[LK_LDM_NAME];
        const char *key = after(tensor->name, c->is.prefix);
        if (!key || (!c->is.prefix[0] && lk_ldm_without_effect(key))) continue;
        if (!lk_ldm_unet_name(&unet, key, name)) return no_place(c, tensor, "U-Net", error);
        if (averaged && !(source = averaged_of(c, tensor->name)))
            return lk_fail(error, LIKENESS_USAGE, "%s: has no averaged weights (no model_ema of %s)", c->file.name,
                           tensor->name);
        tensor->used = true;
        LK_TRY(add_whole(&c->unet, source, name, error));
    }
    c->averaged = averaged;
    return lk_safetensors_view_finish(&c->unet, error);
}

/* ---- autoencoder ---- */

static likeness_status view_vae(lk_checkpoint *c, lk_error *error) {
    int levels = 0;
    char probe[128];
    for (; levels < LK_VAE_MAX_LEVELS; levels++) {
        snprintf(probe, sizeof probe, "%sdecoder.up.%d.block.0.conv1.weight", vae_prefix, levels);
        if (!lk_safetensors_find(&c->file, probe)) break;
    }
    LK_TRY(begin_view(c, &c->vae, "autoencoder", error));
    for (size_t i = 0; i < c->file.count; i++) {
        lk_safetensor *tensor = &c->file.tensors[i];
        char name[LK_LDM_NAME];
        const char *key = after(tensor->name, vae_prefix);
        if (!key || lk_ldm_without_effect(tensor->name)) continue;
        if (!lk_ldm_vae_name(levels, key, name)) return no_place(c, tensor, "autoencoder", error);
        /* The attention's projections are 1x1 convolutions there and linear here: the same numbers. */
        bool attention = strstr(name, ".attentions.") && tensor->rank == 4 && tensor->shape[2] * tensor->shape[3] == 1;
        LK_TRY(lk_safetensors_view_add(&c->vae, tensor, name, 0, attention ? 2 : tensor->rank, tensor->shape, error));
    }
    if (c->vae.count == 0)
        return lk_fail(error, LIKENESS_UNSUPPORTED, "%s: has no autoencoder (%s...), so it cannot make pictures alone",
                       c->file.name, vae_prefix);
    return lk_safetensors_view_finish(&c->vae, error);
}

/* ---- text encoder ---- */

static likeness_status add_third(lk_checkpoint *c, lk_safetensor *tensor, const char *first_name, int third,
                                 lk_error *error) {
    char name[LK_LDM_NAME];
    int64_t shape[LK_SAFETENSOR_MAX_RANK];
    if (tensor->rank < 1 || tensor->rank > 2 || tensor->shape[0] % 3) return no_place(c, tensor, "text encoder", error);
    snprintf(name, sizeof name, "%s", first_name);
    memcpy(shape, tensor->shape, sizeof shape);
    strstr(name, ".q_proj.")[1] = "qkv"[third];
    shape[0] /= 3;
    return lk_safetensors_view_add(&c->text, tensor, name, (size_t)third * (tensor->elements / 3), tensor->rank, shape,
                                   error);
}

static likeness_status view_open_clip(lk_checkpoint *c, lk_error *error) {
    char last[64];
    snprintf(last, sizeof last, "%stransformer.resblocks.%d.", open_clip_prefix, OPEN_CLIP_LAYERS - 1);
    for (size_t i = 0; i < c->file.count; i++) {
        lk_safetensor *tensor = &c->file.tensors[i];
        char name[LK_LDM_NAME];
        bool fused;
        const char *key = after(tensor->name, open_clip_prefix);
        if (!key || lk_ldm_without_effect(tensor->name)) continue;
        if (after(tensor->name, last)) {
            tensor->used = true;
            continue;
        }
        if (!lk_ldm_open_clip_name(key, name, &fused)) return no_place(c, tensor, "text encoder", error);
        if (!fused) LK_TRY(add_whole(&c->text, tensor, name, error));
        for (int third = 0; fused && third < 3; third++)
            LK_TRY(add_third(c, tensor, name, third, error));
    }
    return LIKENESS_OK;
}

/* CLIPTextModel inside the checkpoint; some files lack the word text_model. */
static likeness_status view_clip(lk_checkpoint *c, lk_error *error) {
    for (size_t i = 0; i < c->file.count; i++) {
        lk_safetensor *tensor = &c->file.tensors[i];
        const char *key = after(tensor->name, clip_prefix);
        if (!key || lk_ldm_without_effect(tensor->name)) continue;
        const char *inner = after(key, "text_model.");
        LK_TRY(add_whole(&c->text, tensor, inner ? inner : key, error));
    }
    return LIKENESS_OK;
}

static likeness_status view_text(lk_checkpoint *c, lk_error *error) {
    bool open_clip = lk_safetensors_match(&c->file, "cond_stage_model.model.*") != NULL;
    LK_TRY(begin_view(c, &c->text, "text encoder", error));
    LK_TRY(open_clip ? view_open_clip(c, error) : view_clip(c, error));
    if (c->text.count == 0)
        return lk_fail(error, LIKENESS_UNSUPPORTED,
                       "%s: has no text encoder (cond_stage_model...), so it cannot make pictures alone", c->file.name);
    if (open_clip != (c->is.family == LK_FAMILY_SD2))
        return lk_fail(error, LIKENESS_UNSUPPORTED, "%s: its U-Net is one of %s, its text encoder is not", c->file.name,
                       c->is.family_name);
    return lk_safetensors_view_finish(&c->text, error);
}

/* ---- the rest ---- */

static likeness_status check_rest(lk_checkpoint *c, lk_error *error) {
    const char *first = NULL;
    size_t more = 0;
    for (size_t i = 0; i < c->file.count; i++) {
        const lk_safetensor *tensor = &c->file.tensors[i];
        if (tensor->used || lk_ldm_without_effect(tensor->name)) continue;
        if (after(tensor->name, vae_prefix) || after(tensor->name, "cond_stage_model.") ||
            after(tensor->name, "model.diffusion_model."))
            return no_place(c, tensor, "checkpoint", error);
        if (!first) first = tensor->name;
        more++;
    }
    if (first)
        lk_text_addf(&c->notes, "%s: %zu tensors that belong to no network are left aside (%.100s ...)\n", c->file.name,
                     more, first);
    return LIKENESS_OK;
}

/* SD 1.x predicts the noise. SD 2.x exists both ways; the standard metadata and a marker tensor may say which. */
static void find_prediction(lk_checkpoint *c) {
    const char *said = lk_safetensors_metadata(&c->file, "modelspec.prediction_type");
    const char *architecture = lk_safetensors_metadata(&c->file, "modelspec.architecture");
    c->predicts_v = c->prediction_known = true;
    if ((said && said[0] == 'v') || lk_safetensors_find(&c->file, "v_pred") ||
        (architecture && strstr(architecture, "-768-v")))
        return;
    c->predicts_v = false;
    if ((said && said[0] == 'e') || c->is.family == LK_FAMILY_SD1 || (architecture && strstr(architecture, "-512")))
        return;
    c->predicts_v = true;
    c->prediction_known = false;
}

static likeness_status split(lk_checkpoint *c, bool averaged, lk_error *error) {
    bool known = strcmp(c->is.family_name, "an unknown family") != 0;
    const char *hint = c->is.kind == LK_FILE_LORA        ? "; give it with --lora beside a model"
                       : c->is.kind == LK_FILE_EMBEDDING ? "; give it with --embedding beside a model"
                                                         : "";
    if (c->is.kind != LK_FILE_CHECKPOINT || !c->is.supported)
        return lk_fail(error, LIKENESS_UNSUPPORTED,
                       "%s: this is %s %s of %s; a model is a checkpoint of Stable Diffusion 1.x or 2.x%s",
                       c->file.name, strchr("aeiou", c->is.part[0]) ? "an" : "a", c->is.part,
                       known ? c->is.family_name : "a family that is not known here", hint);
    LK_TRY(view_unet(c, averaged, error));
    LK_TRY(view_vae(c, error));
    LK_TRY(view_text(c, error));
    LK_TRY(check_rest(c, error));
    LK_TRY(lk_unet_infer(&c->unet_config, &c->unet, c->is.family, error));
    LK_TRY(lk_vae_infer(&c->vae_config, &c->vae, error));
    LK_TRY(lk_clip_text_infer(&c->text_config, &c->text, c->is.family, error));
    find_prediction(c);
    c->unet_config.sample_size = c->is.family == LK_FAMILY_SD2 && c->predicts_v ? 96 : 64;
    return c->notes.failed ? lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to open a checkpoint") : LIKENESS_OK;
}

likeness_status lk_checkpoint_from(lk_checkpoint *checkpoint, lk_safetensors *file, bool averaged, lk_error *error) {
    *checkpoint = (lk_checkpoint){.file = *file, .is = lk_recognise(file)};
    memset(file, 0, sizeof *file);
    likeness_status status = split(checkpoint, averaged, error);
    if (status != LIKENESS_OK) lk_checkpoint_close(checkpoint);
    return status;
}

likeness_status lk_checkpoint_open(lk_checkpoint *checkpoint, const char *path, bool averaged, lk_error *error) {
    lk_safetensors file;
    memset(checkpoint, 0, sizeof *checkpoint);
    LK_TRY(lk_refuse_foreign(path, error));
    LK_TRY(lk_safetensors_open(&file, path, error));
    return lk_checkpoint_from(checkpoint, &file, averaged, error);
}

void lk_checkpoint_close(lk_checkpoint *checkpoint) {
    lk_safetensors_close(&checkpoint->unet);
    lk_safetensors_close(&checkpoint->vae);
    lk_safetensors_close(&checkpoint->text);
    lk_safetensors_close(&checkpoint->file);
    lk_text_free(&checkpoint->notes);
    memset(checkpoint, 0, sizeof *checkpoint);
}
