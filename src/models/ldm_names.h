/* models/ldm_names.h - what the tensors of a Stable Diffusion checkpoint in the original layout are called in
 * diffusers.
 *
 *   model.diffusion_model.input_blocks.4.1.proj_in.weight   ->  unet  down_blocks.1.attentions.0.proj_in.weight
 *   first_stage_model.decoder.up.3.block.0.nin_shortcut...  ->  vae   decoder.up_blocks.0.resnets.0.conv_shortcut...
 *   cond_stage_model.transformer.text_model.encoder...      ->  text  encoder...                          (SD 1.x)
 *   cond_stage_model.model.transformer.resblocks.0.ln_1...  ->  text  encoder.layers.0.layer_norm1...     (SD 2.x)
 *
 * The numbers of a U-Net's blocks count layers, so that its structure has to be known: it is read off which keys exist.
 * Functions take keys without the component's prefix and return false for a key that has no place. */
#ifndef LK_MODELS_LDM_NAMES_H
#define LK_MODELS_LDM_NAMES_H

#include "io/safetensors.h"

enum { LK_LDM_NAME = 256, LK_LDM_MAX_BLOCKS = 64 };

/* What a numbered block of the U-Net is. */
typedef struct lk_ldm_block {
    int level, layer; /* of the down or up path */
    bool downsample;  /* an input block that only halves */
    int upsample;     /* place of an output block's upsampler, 0: none */
    bool attention;
} lk_ldm_block;

typedef struct lk_ldm_unet {
    int inputs, outputs, levels; /* blocks, input block 0 (conv_in) counted */
    lk_ldm_block input[LK_LDM_MAX_BLOCKS], output[LK_LDM_MAX_BLOCKS];
    bool mid_attention;
} lk_ldm_unet;

/* Reads the structure of the U-Net whose keys begin with `prefix`; LIKENESS_BAD_FILE when there is none that is whole.
 */
likeness_status lk_ldm_unet_scan(lk_ldm_unet *unet, const lk_safetensors *file, const char *prefix, lk_error *error);

bool lk_ldm_unet_name(const lk_ldm_unet *unet, const char *key, char name[LK_LDM_NAME]);
/* levels: of the decoder, whose blocks are numbered from the other end. */
bool lk_ldm_vae_name(int levels, const char *key, char name[LK_LDM_NAME]);
/* OpenCLIP. For the fused "attn.in_proj_weight" and "attn.in_proj_bias" the name of the first third (q_proj) is given
 * and *fused set: k_proj and v_proj follow. */
bool lk_ldm_open_clip_name(const char *key, char name[LK_LDM_NAME], bool *fused);

/* Keys that belong to a checkpoint and to no network: the noise schedule's tables, averages' counters, buffers. */
bool lk_ldm_without_effect(const char *key);

#endif
