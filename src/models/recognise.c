/* models/recognise.c - see recognise.h. */
#include "models/recognise.h"

#include <stdio.h>
#include <string.h>

bool lk_glob(const char *pattern, const char *text) {
    const char *star = NULL, *back = NULL;
    while (*text) {
        if (*pattern == '*') {
            star = pattern++;
            back = text;
        } else if (*pattern == *text) {
            pattern++;
            text++;
        } else if (star) {
            pattern = star + 1;
            text = ++back;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == 0;
}

const lk_safetensor *lk_safetensors_match(const lk_safetensors *file, const char *pattern) {
    if (!strchr(pattern, '*')) return lk_safetensors_find(file, pattern);
    for (size_t i = 0; i < file->count; i++)
        if (lk_glob(pattern, file->tensors[i].name)) return &file->tensors[i];
    return NULL;
}

/* ---- families that are known by name only ---- */

typedef struct row {
    const char *pattern, *family, *part;
} row;

/* The first row that matches decides, so the more special one comes first. */
static const row others[] = {
    {"*control_model.*", NULL, "ControlNet"},
    {"*controlnet_cond_embedding.*", NULL, "ControlNet"},
    {"*input_hint_block.*", NULL, "ControlNet"},
    {"ip_adapter.*", NULL, "IP-Adapter"},
    {"image_proj.*", NULL, "IP-Adapter"},
    {"*motion_modules.*", NULL, "AnimateDiff motion module"},
    {"*time_stack.*", "Stable Video Diffusion", "checkpoint"},
    {"conditioner.embedders.1.*", "SDXL", "checkpoint"},
    {"conditioner.embedders.0.model.*", "SDXL refiner", "checkpoint"},
    {"model.diffusion_model.label_emb.*", "SDXL", "U-Net"},
    {"label_emb.0.0.weight", "SDXL", "U-Net"},
    {"add_embedding.linear_1.weight", "SDXL", "U-Net"},
    {"*joint_blocks.*.context_block.*", "Stable Diffusion 3", "checkpoint"},
    {"transformer_blocks.*.attn.add_q_proj.weight", "Stable Diffusion 3 or Flux", "transformer"},
    {"*double_stream_modulation_img.*", "FLUX.2", "checkpoint"},
    {"*single_stream_modulation.lin.weight", "FLUX.2", "checkpoint"},
    {"*early_stream_modulations.*", "FLUX.3", "checkpoint"},
    {"*distilled_guidance_layer.*", "Chroma", "checkpoint"},
    {"*double_blocks.*.img_attn_qkv.*", "HunyuanVideo", "checkpoint"},
    {"*txt_in.individual_token_refiner.*", "HunyuanVideo", "checkpoint"},
    {"*double_blocks.*.img_attn.*", "Flux", "checkpoint"},
    {"*double_layers.*.attn.w1q.*", "AuraFlow", "checkpoint"},
    {"*clip_mapper.*", "Stable Cascade", "checkpoint"},
    {"clip_txt_mapper.*", "Stable Cascade", "checkpoint"},
    {"down_blocks.*.*.channelwise.*", "Stable Cascade", "checkpoint"},
    {"*patchify_proj.weight", "LTX", "checkpoint"},
    {"*blocks.*.attn.qkv_x.weight", "Mochi", "checkpoint"},
    {"*double_stream_blocks.*", "HiDream", "checkpoint"},
    {"*cross_attn.kv_linear.weight", "PixArt or Sana", "checkpoint"},
    {"net.x_embedder.proj.*", "Cosmos", "checkpoint"},
    {"*txt_in.text_norm.weight", "Qwen-Image", "checkpoint"},
    {"*txtfusion.projector.*", "Krea", "checkpoint"},
    {"*effnet_mapper.*", "Stable Cascade", "checkpoint"},
    {"*cap_embedder.*", "Lumina or Z-Image", "checkpoint"},
    {"*layers.0.adaLN_modulation.0.weight", "Z-Image", "checkpoint"},
    {"*caption_projection.*", "PixArt or Sana", "checkpoint"},
    {"*text_states_proj.*", "Hunyuan-DiT", "checkpoint"},
    {"*patch_embedding.weight", "Wan", "checkpoint"},
    {"*head.modulation", "Wan", "checkpoint"},
    {"*txt_norm.weight", "Qwen-Image", "checkpoint"},
    {"*t5xxl.*", NULL, "T5 text encoder"},
    {"encoder.block.0.layer.0.SelfAttention.*", NULL, "T5 text encoder"},
    {"*upsampler.*.norm*", NULL, "upscaler"},
};

/* LoRA targets of other families. */
static const row lora_others[] = {
    {"lora_te2_*", "SDXL", NULL},
    {"text_encoder_2.*", "SDXL", NULL},
    {"lora_unet_*double_blocks_*", "Flux", NULL},
    {"*double_blocks.*", "Flux", NULL},
    {"*single_transformer_blocks*", "Flux", NULL},
    {"lora_unet_joint_blocks_*", "Stable Diffusion 3", NULL},
    {"*joint_blocks.*", "Stable Diffusion 3", NULL},
    {"transformer.transformer_blocks.*", "Stable Diffusion 3 or Flux", NULL},
    {"lora_transformer_*", "a transformer (Stable Diffusion 3, Flux, ...)", NULL},
    {"diffusion_model.blocks.*", "Wan", NULL},
    {"diffusion_model.layers.*", "Lumina or Z-Image", NULL},
    {"lora_prior_unet_*", "Stable Cascade", NULL},
};

static const char *const lora_marks[] = {
    "*.lora_down.weight", "*.lora_A.*weight", "*lora.down.weight", "*lora_linear_layer.down.weight", "*.hada_w1_a",
    "*.lokr_w1*",         "*.dora_scale",     "*.oft_blocks",      "*.lora_magnitude_vector*"};

static bool any(const lk_safetensors *file, const char *const *patterns, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (lk_safetensors_match(file, patterns[i])) return true;
    return false;
}

static const row *find_row(const lk_safetensors *file, const row *rows, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (lk_safetensors_match(file, rows[i].pattern)) return &rows[i];
    return NULL;
}

/* ---- Stable Diffusion ---- */

static void by_context(lk_recognition *r) {
    switch (r->context) {
    case 768:
        r->family = LK_FAMILY_SD1;
        break;
    case 1024:
        r->family = LK_FAMILY_SD2;
        break;
    case 1280:
        r->family_name = "SDXL refiner";
        break;
    case 2048:
        r->family_name = "SDXL";
        break;
    default:
        break;
    }
}

static void name_family(lk_recognition *r) {
    if (r->family == LK_FAMILY_SD1) r->family_name = "Stable Diffusion 1.x";
    if (r->family == LK_FAMILY_SD2) r->family_name = "Stable Diffusion 2.x";
    if (r->family == LK_FAMILY_UNKNOWN && r->family_name) r->family = LK_FAMILY_OTHER;
    if (!r->family_name) r->family_name = "an unknown family";
}

static int64_t last_size(const lk_safetensor *tensor) { return tensor ? tensor->shape[tensor->rank > 1 ? 1 : 0] : 0; }

static lk_recognition lora(const lk_safetensors *file) {
    lk_recognition r = {.kind = LK_FILE_LORA, .part = "LoRA"};
    static const char *const contexts[] = {"*attn2_to_k.lora_down.weight", "*attn2.to_k.lora_A.*weight",
                                           "*attn2.to_k.lora.down.weight", "*attn2.processor.to_k_lora.down.weight",
                                           "*attn2_to_k.hada_w1_b"};
    static const char *const texts[] = {"lora_te_*self_attn_k_proj.lora_down.weight",
                                        "text_encoder.*k_proj.lora_A.*weight",
                                        "text_encoder.*k_proj.lora_linear_layer.down.weight"};
    for (size_t i = 0; i < sizeof contexts / sizeof *contexts && !r.context; i++)
        r.context = last_size(lk_safetensors_match(file, contexts[i]));
    for (size_t i = 0; i < sizeof texts / sizeof *texts && !r.context; i++)
        r.context = last_size(lk_safetensors_match(file, texts[i]));
    const row *other = find_row(file, lora_others, sizeof lora_others / sizeof *lora_others);
    if (other)
        r.family_name = other->family;
    else
        by_context(&r);
    name_family(&r);
    r.supported = r.family == LK_FAMILY_SD1 || r.family == LK_FAMILY_SD2 || r.family == LK_FAMILY_UNKNOWN;
    return r;
}

/* A U-Net (with or without the rest) in the original layout. The projections of SD 2.x are linear: that, not the width,
 * says which of the two it is. */
static lk_recognition original_unet(const lk_safetensors *file, const char *prefix) {
    char pattern[128];
    lk_recognition r = {.kind = LK_FILE_CHECKPOINT, .prefix = prefix};
    snprintf(pattern, sizeof pattern, "%s*attn2.to_k.weight", prefix);
    r.context = last_size(lk_safetensors_match(file, pattern));
    snprintf(pattern, sizeof pattern, "%s*proj_in.weight", prefix);
    const lk_safetensor *projection = lk_safetensors_match(file, pattern);
    bool whole = lk_safetensors_match(file, "first_stage_model.decoder.conv_in.weight") ||
                 lk_safetensors_match(file, "cond_stage_model.*");
    r.part = whole ? "checkpoint" : "U-Net";
    if (r.context == 2048 || r.context == 1280)
        by_context(&r);
    else if (projection)
        r.family = projection->rank == 4 ? LK_FAMILY_SD1 : LK_FAMILY_SD2;
    name_family(&r);
    snprintf(pattern, sizeof pattern, "%sinput_blocks.0.0.weight", prefix);
    int64_t channels = last_size(lk_safetensors_find(file, pattern));
    if (channels == 9) r.part = "inpainting checkpoint";
    if (channels == 8) r.part = "InstructPix2Pix checkpoint";
    if (channels == 5) r.part = "depth checkpoint";
    if (channels == 7) r.part = "upscaler checkpoint";
    r.supported = (r.family == LK_FAMILY_SD1 || r.family == LK_FAMILY_SD2) && channels == 4;
    return r;
}

static bool looks_like_embedding(const lk_safetensors *file, lk_recognition *r) {
    const lk_safetensor *tensor = lk_safetensors_find(file, "emb_params");
    if (lk_safetensors_find(file, "clip_g") && lk_safetensors_find(file, "clip_l")) {
        *r = (lk_recognition){.kind = LK_FILE_EMBEDDING, .part = "textual inversion", .family_name = "SDXL"};
        name_family(r);
        return true;
    }
    if (!tensor && file->count == 1) tensor = &file->tensors[0];
    if (!tensor || tensor->rank < 1 || tensor->rank > 2 || strchr(tensor->name, '.')) return false;
    *r = (lk_recognition){.kind = LK_FILE_EMBEDDING, .part = "textual inversion"};
    r->context = tensor->shape[tensor->rank - 1];
    by_context(r);
    name_family(r);
    r->supported = r->family == LK_FAMILY_SD1 || r->family == LK_FAMILY_SD2;
    return true;
}

static lk_recognition part(lk_file_kind kind, lk_family family, const char *name, const char *what, bool supported) {
    lk_recognition r = {.kind = kind, .family = family, .family_name = name, .part = what, .supported = supported};
    name_family(&r);
    return r;
}

lk_recognition lk_recognise(const lk_safetensors *file) {
    lk_recognition r;
    if (any(file, lora_marks, sizeof lora_marks / sizeof *lora_marks)) return lora(file);
    const row *other = find_row(file, others, sizeof others / sizeof *others);
    if (other) return part(LK_FILE_UNKNOWN, LK_FAMILY_UNKNOWN, other->family, other->part, false);
    if (lk_safetensors_find(file, "model.diffusion_model.input_blocks.0.0.weight"))
        return original_unet(file, "model.diffusion_model.");
    if (lk_safetensors_find(file, "input_blocks.0.0.weight")) return original_unet(file, "");
    if (lk_safetensors_find(file, "decoder.layers.0.weight") || lk_safetensors_find(file, "encoder.layers.0.weight") ||
        (lk_safetensors_find(file, "3.conv.0.weight") || lk_safetensors_find(file, "1.conv.0.weight")))
        return part(LK_FILE_TINY_AUTOENCODER, LK_FAMILY_UNKNOWN, NULL, "tiny autoencoder (TAESD)", true);
    if (lk_safetensors_find(file, "time_embedding.linear_1.weight")) {
        r = part(LK_FILE_COMPONENT, LK_FAMILY_UNKNOWN, NULL, "U-Net in diffusers' layout", true);
        r.context = last_size(lk_safetensors_match(file, "*attn2.to_k.weight"));
        by_context(&r);
        r.family_name = r.family == LK_FAMILY_UNKNOWN ? NULL : r.family_name;
        name_family(&r);
        return r;
    }
    if (lk_safetensors_match(file, "*decoder.up_blocks.0.resnets.0.conv1.weight") ||
        lk_safetensors_match(file, "*decoder.up.0.block.0.conv1.weight"))
        return part(LK_FILE_COMPONENT, LK_FAMILY_UNKNOWN, NULL, "autoencoder", true);
    if (lk_safetensors_match(file, "*embeddings.token_embedding.weight") ||
        lk_safetensors_match(file, "*token_embedding.weight")) {
        r = part(LK_FILE_COMPONENT, LK_FAMILY_UNKNOWN, NULL, "CLIP text encoder", true);
        r.context = last_size(lk_safetensors_match(file, "*token_embedding.weight"));
        return r;
    }
    if (looks_like_embedding(file, &r)) return r;
    return part(LK_FILE_UNKNOWN, LK_FAMILY_UNKNOWN, NULL, "file", false);
}

/* ---- files that are no safetensors ---- */

likeness_status lk_refuse_foreign(const char *path, lk_error *error) {
    static const char convert[] = "convert it on a machine that you trust with it: tools/convert_checkpoint.py";
    lk_error ignored = LK_ERROR_INIT; /* whoever opens the file says what is wrong with it */
    lk_mapping mapping;
    if (lk_file_map(path, &mapping, &ignored) != LIKENESS_OK) return LIKENESS_OK;
    unsigned char head[9] = {0};
    size_t size = mapping.size < sizeof head ? mapping.size : sizeof head;
    if (size) memcpy(head, mapping.data, size);
    lk_file_unmap(&mapping);
    if (head[8] == '{') return LIKENESS_OK; /* safetensors, whatever its length looks like */
    if (size >= 4 && memcmp(head, "PK\3\4", 4) == 0)
        return lk_fail(error, LIKENESS_UNSUPPORTED,
                       "%s is a PyTorch file (a ZIP of pickles), which can run programs and is never read; %s", path,
                       convert);
    if (size >= 2 && head[0] == 0x80 && head[1] >= 2 && head[1] <= 5)
        return lk_fail(error, LIKENESS_UNSUPPORTED,
                       "%s is a Python pickle, which can run programs and is never read; %s", path, convert);
    if (size >= 4 && memcmp(head, "GGUF", 4) == 0)
        return lk_fail(error, LIKENESS_UNSUPPORTED, "%s is a GGUF file; only safetensors are supported", path);
    return LIKENESS_OK;
}
