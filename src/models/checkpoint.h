/* models/checkpoint.h - a Stable Diffusion 1.x or 2.x checkpoint in one safetensors file, in the original layout.
 *
 *   file  --names, shapes-->  three views under diffusers' names (nothing is copied), a config each, inferred:
 *
 *   from the keys     levels, layers, where there is attention, transformer depth, layers of the text encoder
 *   from the shapes   every width; linear or convolutional projections (SD 2.x or 1.x)
 *   by family         SD 1.x: 8 heads a transformer, CLIP ViT-L (quick GELU). SD 2.x: heads of 64 channels, OpenCLIP
 *                     ViT-H (GELU) without its last block, padding with token 0
 *   known constants   32 groups, autoencoder's factor 0.18215, noise schedule
 *   not in the file   eps or v prediction of SD 2.x: metadata may say, else the caller; a note tells what was assumed
 *
 * Every tensor has a place in a view, or is known to change nothing, or is refused if it belongs to a network, or
 * (other additions of those who made the file) is counted in a note. */
#ifndef LK_MODELS_CHECKPOINT_H
#define LK_MODELS_CHECKPOINT_H

#include "base/text.h"
#include "models/autoencoder_kl.h"
#include "models/clip_text.h"
#include "models/recognise.h"
#include "models/unet2d.h"

typedef struct lk_checkpoint {
    lk_safetensors file, unet, vae, text; /* whoever takes a view over zeroes it here */
    lk_recognition is;
    lk_unet_config unet_config;
    lk_vae_config vae_config;
    lk_clip_text_config text_config;
    bool predicts_v;       /* else eps */
    bool prediction_known; /* by the family or the file's metadata */
    bool averaged;         /* the U-Net's averaged weights (model_ema) were taken */
    lk_text notes;         /* lines for the user */
} lk_checkpoint;

/* averaged: take the U-Net's averaged weights; LIKENESS_USAGE where the file has none. Opens the file and makes the
 * views; after a failure nothing is open. */
likeness_status lk_checkpoint_open(lk_checkpoint *checkpoint, const char *path, bool averaged, lk_error *error);
/* The same from tensors that are open already; they are taken over. */
likeness_status lk_checkpoint_from(lk_checkpoint *checkpoint, lk_safetensors *file, bool averaged, lk_error *error);
void lk_checkpoint_close(lk_checkpoint *checkpoint);

/* Configs from tensors under diffusers' names. */
likeness_status lk_unet_infer(lk_unet_config *config, const lk_safetensors *unet, lk_family family, lk_error *error);
likeness_status lk_vae_infer(lk_vae_config *config, const lk_safetensors *vae, lk_error *error);
likeness_status lk_clip_text_infer(lk_clip_text_config *config, const lk_safetensors *text, lk_family family,
                                   lk_error *error);

#endif
