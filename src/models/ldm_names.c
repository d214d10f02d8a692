/* models/ldm_names.c - see ldm_names.h. */
#include "models/ldm_names.h"

#include "base/text.h"

#include <stdio.h>
#include <string.h>

typedef struct word_pair {
    const char *from, *to; /* whole words between dots */
} word_pair;

/* ---- reading a key from left to right ---- */

/* Steps over "word." */
static bool step(const char **key, const char *word) {
    size_t length = strlen(word);
    if (strncmp(*key, word, length) != 0 || (*key)[length] != '.') return false;
    *key += length + 1;
    return true;
}

/* Steps over "NUMBER.", at most three digits. */
static bool number(const char **key, int *value) {
    size_t digits = strspn(*key, "0123456789");
    if (digits < 1 || digits > 3 || (*key)[digits] != '.') return false;
    *value = 0;
    for (size_t i = 0; i < digits; i++)
        *value = *value * 10 + ((*key)[i] - '0');
    *key += digits + 1;
    return true;
}

/* The rest of the key by a table: its first words are replaced, the last one ("weight", "bias") stays. */
static bool leaf(const char *rest, const word_pair *table, size_t count, const char *before, char name[LK_LDM_NAME]) {
    for (size_t i = 0; i < count; i++) {
        const char *at = rest;
        if (!step(&at, table[i].from) || strchr(at, '.')) continue;
        int length = snprintf(name, LK_LDM_NAME, "%s%s.%s", before, table[i].to, at);
        return length > 0 && length < LK_LDM_NAME;
    }
    return false;
}

#define LEAF(rest, table, before, name) leaf(rest, table, sizeof(table) / sizeof *(table), before, name)

/* ---- U-Net ---- */

static const word_pair unet_top[] = {{"time_embed.0", "time_embedding.linear_1"},
                                     {"time_embed.2", "time_embedding.linear_2"},
                                     {"input_blocks.0.0", "conv_in"},
                                     {"out.0", "conv_norm_out"},
                                     {"out.2", "conv_out"}};
static const word_pair unet_resnet[] = {{"in_layers.0", "norm1"},          {"in_layers.2", "conv1"},
                                        {"emb_layers.1", "time_emb_proj"}, {"out_layers.0", "norm2"},
                                        {"out_layers.3", "conv2"},         {"skip_connection", "conv_shortcut"}};

static bool exists(const lk_safetensors *file, const char *prefix, const char *kind, int block, int place,
                   const char *rest) {
    char key[2 * LK_LDM_NAME];
    snprintf(key, sizeof key, "%s%s.%d.%d.%s", prefix, kind, block, place, rest);
    return lk_safetensors_find(file, key) != NULL;
}

static likeness_status scan_inputs(lk_ldm_unet *unet, const lk_safetensors *file, const char *prefix, lk_error *error) {
    int level = 0, layer = 0, n = 1;
    for (; n < LK_LDM_MAX_BLOCKS; n++) {
        bool downsample = exists(file, prefix, "input_blocks", n, 0, "op.weight");
        if (!downsample && !exists(file, prefix, "input_blocks", n, 0, "in_layers.0.weight")) break;
        unet->input[n] = (lk_ldm_block){.level = level, .layer = layer, .downsample = downsample};
        unet->input[n].attention = exists(file, prefix, "input_blocks", n, 1, "norm.weight");
        layer++;
        if (downsample) level++, layer = 0;
    }
    unet->inputs = n;
    unet->levels = level + 1;
    if (n > 1 && n < LK_LDM_MAX_BLOCKS) return LIKENESS_OK;
    return lk_fail(error, LIKENESS_BAD_FILE, "%s: %sinput_blocks has %d blocks, expected 2 to %d", file->name, prefix,
                   n, LK_LDM_MAX_BLOCKS - 1);
}

static likeness_status scan_outputs(lk_ldm_unet *unet, const lk_safetensors *file, const char *prefix,
                                    lk_error *error) {
    int level = 0, layer = 0, n = 0;
    for (; n < LK_LDM_MAX_BLOCKS && exists(file, prefix, "output_blocks", n, 0, "in_layers.0.weight"); n++) {
        lk_ldm_block *block = &unet->output[n];
        *block = (lk_ldm_block){.level = level, .layer = layer++};
        block->attention = exists(file, prefix, "output_blocks", n, 1, "norm.weight");
        for (int place = 1; place <= 2; place++)
            if (exists(file, prefix, "output_blocks", n, place, "conv.weight")) block->upsample = place;
        if (block->upsample) level++, layer = 0;
    }
    unet->outputs = n;
    if (n > 0 && n < LK_LDM_MAX_BLOCKS && level + 1 == unet->levels) return LIKENESS_OK;
    return lk_fail(error, LIKENESS_BAD_FILE,
                   "%s: %soutput_blocks has %d blocks on %d levels, input_blocks has %d levels", file->name, prefix, n,
                   level + 1, unet->levels);
}

likeness_status lk_ldm_unet_scan(lk_ldm_unet *unet, const lk_safetensors *file, const char *prefix, lk_error *error) {
    char key[2 * LK_LDM_NAME];
    memset(unet, 0, sizeof *unet);
    LK_TRY(scan_inputs(unet, file, prefix, error));
    LK_TRY(scan_outputs(unet, file, prefix, error));
    snprintf(key, sizeof key, "%smiddle_block.1.norm.weight", prefix);
    unet->mid_attention = lk_safetensors_find(file, key) != NULL;
    return LIKENESS_OK;
}

/* A transformer's own words are the same in both. */
static bool same_words(const char *rest, const char *before, char name[LK_LDM_NAME]) {
    static const char *const known[] = {"norm.", "proj_in.", "proj_out.", "transformer_blocks."};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strncmp(rest, known[i], strlen(known[i])) != 0) continue;
        int length = snprintf(name, LK_LDM_NAME, "%s%s", before, rest);
        return length > 0 && length < LK_LDM_NAME;
    }
    return false;
}

static bool input_name(const lk_ldm_unet *unet, const char *key, char name[LK_LDM_NAME]) {
    char before[64];
    int n, place;
    if (!number(&key, &n) || !number(&key, &place) || n < 1 || n >= unet->inputs) return false;
    const lk_ldm_block *block = &unet->input[n];
    if (block->downsample) {
        static const word_pair op[] = {{"op", "downsamplers.0.conv"}};
        snprintf(before, sizeof before, "down_blocks.%d.", block->level);
        return place == 0 && LEAF(key, op, before, name);
    }
    snprintf(before, sizeof before, "down_blocks.%d.%s.%d.", block->level, place ? "attentions" : "resnets",
             block->layer);
    if (place == 0) return LEAF(key, unet_resnet, before, name);
    return place == 1 && block->attention && same_words(key, before, name);
}

static bool output_name(const lk_ldm_unet *unet, const char *key, char name[LK_LDM_NAME]) {
    char before[64];
    int n, place;
    if (!number(&key, &n) || !number(&key, &place) || n >= unet->outputs) return false;
    const lk_ldm_block *block = &unet->output[n];
    if (place > 0 && place == block->upsample) {
        static const word_pair conv[] = {{"conv", "upsamplers.0.conv"}};
        snprintf(before, sizeof before, "up_blocks.%d.", block->level);
        return LEAF(key, conv, before, name);
    }
    snprintf(before, sizeof before, "up_blocks.%d.%s.%d.", block->level, place ? "attentions" : "resnets",
             block->layer);
    if (place == 0) return LEAF(key, unet_resnet, before, name);
    return place == 1 && block->attention && same_words(key, before, name);
}

/* Resnet, transformer, resnet; without attention the two resnets are 0 and 1. */
static bool middle_name(const lk_ldm_unet *unet, const char *key, char name[LK_LDM_NAME]) {
    int place;
    if (!number(&key, &place)) return false;
    if (place == 1 && unet->mid_attention) return same_words(key, "mid_block.attentions.0.", name);
    if (place > 2 || (place == 2 && !unet->mid_attention)) return false;
    return LEAF(key, unet_resnet, place == 0 ? "mid_block.resnets.0." : "mid_block.resnets.1.", name);
}

bool lk_ldm_unet_name(const lk_ldm_unet *unet, const char *key, char name[LK_LDM_NAME]) {
    if (LEAF(key, unet_top, "", name)) return true;
    if (step(&key, "input_blocks")) return input_name(unet, key, name);
    if (step(&key, "middle_block")) return middle_name(unet, key, name);
    return step(&key, "output_blocks") && output_name(unet, key, name);
}

/* ---- autoencoder ---- */

static const word_pair vae_resnet[] = {
    {"norm1", "norm1"}, {"conv1", "conv1"}, {"norm2", "norm2"}, {"conv2", "conv2"}, {"nin_shortcut", "conv_shortcut"}};
static const word_pair vae_attention[] = {
    {"norm", "group_norm"}, {"q", "to_q"}, {"k", "to_k"}, {"v", "to_v"}, {"proj_out", "to_out.0"}};
static const word_pair vae_half[] = {{"conv_in", "conv_in"}, {"norm_out", "conv_norm_out"}, {"conv_out", "conv_out"}};

/* mid, down or up of a half, whose name with its dot is `half`. */
static bool vae_block(int levels, const char *key, const char *half, bool decoder, char name[LK_LDM_NAME]) {
    static const word_pair down[] = {{"downsample.conv", "downsamplers.0.conv"}},
                           up[] = {{"upsample.conv", "upsamplers.0.conv"}};
    char before[64];
    int level, layer;
    if (step(&key, "mid")) {
        for (int i = 0; i < 2; i++) {
            snprintf(before, sizeof before, "%smid_block.resnets.%d.", half, i);
            if (step(&key, i ? "block_2" : "block_1")) return LEAF(key, vae_resnet, before, name);
        }
        snprintf(before, sizeof before, "%smid_block.attentions.0.", half);
        return step(&key, "attn_1") && LEAF(key, vae_attention, before, name);
    }
    if (!step(&key, decoder ? "up" : "down") || !number(&key, &level) || level >= levels) return false;
    if (decoder) level = levels - 1 - level;
    const char *path = decoder ? "up_blocks" : "down_blocks";
    snprintf(before, sizeof before, "%s%s.%d.", half, path, level);
    if (decoder ? LEAF(key, up, before, name) : LEAF(key, down, before, name)) return true;
    if (!step(&key, "block") || !number(&key, &layer)) return false;
    snprintf(before, sizeof before, "%s%s.%d.resnets.%d.", half, path, level, layer);
    return LEAF(key, vae_resnet, before, name);
}

bool lk_ldm_vae_name(int levels, const char *key, char name[LK_LDM_NAME]) {
    static const word_pair top[] = {{"quant_conv", "quant_conv"}, {"post_quant_conv", "post_quant_conv"}};
    if (LEAF(key, top, "", name)) return true;
    if (step(&key, "encoder"))
        return LEAF(key, vae_half, "encoder.", name) || vae_block(levels, key, "encoder.", false, name);
    return step(&key, "decoder") &&
           (LEAF(key, vae_half, "decoder.", name) || vae_block(levels, key, "decoder.", true, name));
}

/* ---- text encoder ---- */

bool lk_ldm_open_clip_name(const char *key, char name[LK_LDM_NAME], bool *fused) {
    static const word_pair top[] = {{"token_embedding", "embeddings.token_embedding"},
                                    {"ln_final", "final_layer_norm"}};
    static const word_pair layer[] = {{"ln_1", "layer_norm1"},
                                      {"ln_2", "layer_norm2"},
                                      {"attn.out_proj", "self_attn.out_proj"},
                                      {"mlp.c_fc", "mlp.fc1"},
                                      {"mlp.c_proj", "mlp.fc2"}};
    char before[64];
    int n;
    *fused = false;
    if (strcmp(key, "positional_embedding") == 0) {
        snprintf(name, LK_LDM_NAME, "embeddings.position_embedding.weight");
        return true;
    }
    if (LEAF(key, top, "", name)) return true;
    if (!step(&key, "transformer") || !step(&key, "resblocks") || !number(&key, &n)) return false;
    snprintf(before, sizeof before, "encoder.layers.%d.", n);
    *fused = strcmp(key, "attn.in_proj_weight") == 0 || strcmp(key, "attn.in_proj_bias") == 0;
    if (!*fused) return LEAF(key, layer, before, name);
    snprintf(name, LK_LDM_NAME, "%sself_attn.q_proj.%s", before, key + strlen("attn.in_proj_"));
    return true;
}

/* ---- the rest of a checkpoint ---- */

bool lk_ldm_without_effect(const char *key) {
    static const char *const starts[] = {"model_ema.", "first_stage_model.loss.", "cond_stage_model.logit_scale",
                                         "cond_stage_model.model.visual."};
    static const char *const ends[] = {"position_ids", "logit_scale", "text_projection", "text_projection.weight"};
    static const char *const whole[] = {"alphas_cumprod",
                                        "alphas_cumprod_prev",
                                        "betas",
                                        "global_step",
                                        "log_one_minus_alphas_cumprod",
                                        "logvar",
                                        "lvlb_weights",
                                        "posterior_log_variance_clipped",
                                        "posterior_mean_coef1",
                                        "posterior_mean_coef2",
                                        "posterior_variance",
                                        "scale_factor",
                                        "sqrt_alphas_cumprod",
                                        "sqrt_one_minus_alphas_cumprod",
                                        "sqrt_recip_alphas_cumprod",
                                        "sqrt_recipm1_alphas_cumprod",
                                        "v_pred"};
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++)
        if (strncmp(key, starts[i], strlen(starts[i])) == 0) return true;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (strncmp(key, "cond_stage_model.", 17) == 0 && lk_ends_with(key, ends[i])) return true;
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        if (strcmp(key, whole[i]) == 0) return true;
    return false;
}
