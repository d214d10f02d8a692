/* models/checkpoint_infer.c - what the config.json of a single-file checkpoint would say. See checkpoint.h. */
#include "models/checkpoint.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const lk_safetensor *tensor(const lk_safetensors *file, const char *format, ...) LK_PRINTF(2, 3);

static const lk_safetensor *tensor(const lk_safetensors *file, const char *format, ...) {
    char name[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    return lk_safetensors_find(file, name);
}

/* Size `axis` of a tensor, 0 when it is missing, has fewer axes, or is absurd. */
static int32_t size(const lk_safetensor *t, int axis) {
    return t && axis < t->rank && t->shape[axis] <= 1 << 24 ? (int32_t)t->shape[axis] : 0;
}

static likeness_status missing(const lk_safetensors *file, const char *what, lk_error *error) {
    return lk_fail(error, LIKENESS_BAD_FILE, "%s: '%s' is missing or has no usable shape", file->name, what);
}

/* ---- U-Net ---- */

/* Layers and attention of one level; false when there is no such level. */
static bool infer_level(lk_unet_config *c, const lk_safetensors *file, int level) {
    const lk_safetensor *first = tensor(file, "down_blocks.%d.resnets.0.conv1.weight", level);
    if (!first) return false;
    c->channels[level] = size(first, 0);
    c->layers[level] = 1;
    while (c->layers[level] < 100 && tensor(file, "down_blocks.%d.resnets.%d.conv1.weight", level, c->layers[level]))
        c->layers[level]++;
    c->down_cross[level] = tensor(file, "down_blocks.%d.attentions.0.norm.weight", level) != NULL;
    c->up_cross[level] = tensor(file, "up_blocks.%d.attentions.0.norm.weight", level) != NULL;
    return true;
}

/* What a level's transformers are like, from the first one that there is on its way down, up or in the middle. */
static void infer_transformer(lk_unet_config *c, const lk_safetensors *file, int level, bool *linear) {
    char place[64] = "";
    if (c->down_cross[level])
        snprintf(place, sizeof place, "down_blocks.%d.attentions.0", level);
    else if (c->up_cross[c->levels - 1 - level])
        snprintf(place, sizeof place, "up_blocks.%d.attentions.0", c->levels - 1 - level);
    else if (level == c->levels - 1 && c->mid == LK_UNET_MID_CROSS)
        snprintf(place, sizeof place, "mid_block.attentions.0");
    c->transformer_layers[level] = 1;
    if (!place[0]) return;
    const lk_safetensor *projection = tensor(file, "%s.proj_in.weight", place);
    *linear = projection && projection->rank == 2;
    c->context[level] = size(tensor(file, "%s.transformer_blocks.0.attn2.to_k.weight", place), 1);
    while (c->transformer_layers[level] < 1000 &&
           tensor(file, "%s.transformer_blocks.%d.norm1.weight", place, c->transformer_layers[level]))
        c->transformer_layers[level]++;
}

likeness_status lk_unet_infer(lk_unet_config *config, const lk_safetensors *file, lk_family family, lk_error *error) {
    lk_unet_config *c = config;
    *c = (lk_unet_config){.groups = 32, .epsilon = 1e-5, .downsample_padding = 1, .flip_sin_to_cos = true};
    const lk_safetensor *in = tensor(file, "conv_in.weight"), *out = tensor(file, "conv_out.weight");
    c->in_channels = size(in, 1);
    c->out_channels = size(out, 0);
    c->conv_in_kernel = size(in, 2);
    c->conv_out_kernel = size(out, 2);
    c->time_width = size(tensor(file, "time_embedding.linear_1.weight"), 0);
    if (!c->in_channels || !c->conv_in_kernel) return missing(file, "conv_in.weight", error);
    if (!c->out_channels || !c->conv_out_kernel) return missing(file, "conv_out.weight", error);
    if (!c->time_width) return missing(file, "time_embedding.linear_1.weight", error);
    while (c->levels < LK_UNET_MAX_LEVELS && infer_level(c, file, c->levels))
        c->levels++;
    if (c->levels == 0) return missing(file, "down_blocks.0.resnets.0.conv1.weight", error);
    c->mid = tensor(file, "mid_block.attentions.0.norm.weight") ? LK_UNET_MID_CROSS
             : tensor(file, "mid_block.resnets.0.conv1.weight") ? LK_UNET_MID_PLAIN
                                                                : LK_UNET_MID_NONE;
    int32_t context = 0;
    for (int i = 0; i < c->levels; i++) {
        infer_transformer(c, file, i, &c->linear_projection);
        if (c->context[i] > 0) context = c->context[i];
        if (c->channels[i] <= 0 || c->channels[i] % c->groups)
            return lk_fail(error, LIKENESS_BAD_FILE, "%s: level %d has %d channels, which are no multiple of %d",
                           file->name, i, (int)c->channels[i], (int)c->groups);
        c->heads[i] = family == LK_FAMILY_SD1 ? 8 : c->channels[i] >= 64 ? c->channels[i] / 64 : 1;
        if (c->channels[i] % c->heads[i])
            return lk_fail(error, LIKENESS_BAD_FILE, "%s: level %d has %d channels, which %d heads cannot share",
                           file->name, i, (int)c->channels[i], (int)c->heads[i]);
    }
    for (int i = 0; i < c->levels; i++) /* levels without transformers name the same width */
        if (c->context[i] == 0) c->context[i] = context;
    return LIKENESS_OK;
}

/* ---- autoencoder ---- */

likeness_status lk_vae_infer(lk_vae_config *config, const lk_safetensors *file, lk_error *error) {
    lk_vae_config *c = config;
    *c = (lk_vae_config){.groups = 32, .scaling_factor = 0.18215};
    c->in_channels = size(tensor(file, "encoder.conv_in.weight"), 1);
    c->out_channels = size(tensor(file, "decoder.conv_out.weight"), 0);
    c->latent_channels = size(tensor(file, "decoder.conv_in.weight"), 1);
    if (!c->in_channels) return missing(file, "encoder.conv_in.weight", error);
    if (!c->out_channels) return missing(file, "decoder.conv_out.weight", error);
    if (!c->latent_channels) return missing(file, "decoder.conv_in.weight", error);
    for (const lk_safetensor *first; c->levels < LK_VAE_MAX_LEVELS &&
                                     (first = tensor(file, "encoder.down_blocks.%d.resnets.0.conv1.weight", c->levels));
         c->levels++) {
        c->channels[c->levels] = size(first, 0);
        if (c->channels[c->levels] <= 0 || c->channels[c->levels] % c->groups)
            return lk_fail(error, LIKENESS_BAD_FILE, "%s: level %d has %d channels, which are no multiple of %d",
                           file->name, (int)c->levels, (int)c->channels[c->levels], (int)c->groups);
    }
    if (c->levels == 0) return missing(file, "encoder.down_blocks.0.resnets.0.conv1.weight", error);
    while (c->layers < 100 && tensor(file, "encoder.down_blocks.0.resnets.%d.conv1.weight", c->layers))
        c->layers++;
    c->mid_attention = tensor(file, "encoder.mid_block.attentions.0.group_norm.weight") != NULL;
    c->quant_conv = tensor(file, "quant_conv.weight") != NULL;
    c->post_quant_conv = tensor(file, "post_quant_conv.weight") != NULL;
    return LIKENESS_OK;
}

/* ---- text encoder ---- */

likeness_status lk_clip_text_infer(lk_clip_text_config *config, const lk_safetensors *file, lk_family family,
                                   lk_error *error) {
    lk_clip_text_config *c = config;
    const lk_safetensor *table = tensor(file, "embeddings.token_embedding.weight");
    *c = (lk_clip_text_config){.eos = 49407, .epsilon = 1e-5, .exact_gelu = family == LK_FAMILY_SD2};
    c->vocabulary = size(table, 0);
    c->width = size(table, 1);
    c->positions = size(tensor(file, "embeddings.position_embedding.weight"), 0);
    c->intermediate = size(tensor(file, "encoder.layers.0.mlp.fc1.weight"), 0);
    if (!c->vocabulary || !c->width) return missing(file, "embeddings.token_embedding.weight", error);
    if (!c->positions) return missing(file, "embeddings.position_embedding.weight", error);
    if (!c->intermediate) return missing(file, "encoder.layers.0.mlp.fc1.weight", error);
    while (c->layers < 1000 && tensor(file, "encoder.layers.%d.layer_norm1.weight", c->layers))
        c->layers++;
    c->heads = c->width >= 64 ? c->width / 64 : 1; /* every CLIP has heads of 64 */
    if (c->width % c->heads)
        return lk_fail(error, LIKENESS_BAD_FILE, "%s: %d heads cannot share a width of %d", file->name, (int)c->heads,
                       (int)c->width);
    return LIKENESS_OK;
}
