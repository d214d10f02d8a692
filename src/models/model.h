/* models/model.h - a whole text-to-image model: a folder of diffusers' layout, or one file (models/checkpoint.h).
 *
 *   model_index.json   _class_name, components, and for Likeness's own models "likeness": {name, size, prediction,
 * steps, guidance, identity_encoder, judge} scheduler/  tokenizer/  text_encoder/  unet/  vae/     a config and
 * safetensors each
 *
 * Every key of every config is used, or checked against the only supported value, or known to have no effect; anything
 * else is refused by name. Weights stay in the mapped files until a graph needs them.
 *
 * Graphs are built on four sets: text_weights (text encoder), unet_weights, picture_weights (decoder; callers may put
 * an ONNX network into the same set, so that decoder and encoder share a graph), encode_weights (encoder). */
#ifndef LK_MODELS_MODEL_H
#define LK_MODELS_MODEL_H

#include "base/text.h"
#include "io/tokenizer.h"
#include "models/autoencoder_kl.h"
#include "models/clip_text.h"
#include "models/embedding.h"
#include "models/lora.h"
#include "models/scheduler_config.h"
#include "models/taesd.h"
#include "models/unet2d.h"

typedef struct lk_model_options {
    bool precise;           /* matrices are kept f32 on the device */
    bool averaged;          /* a single file's averaged U-Net (EMA) */
    const char *prediction; /* a name that lk_prediction_find knows, over what the files say; or NULL */
    const lk_lora_use *loras;
    int32_t lora_count;
    const lk_embedding_use *embeddings;
    int32_t embedding_count;
    const char *taesd;       /* a tiny autoencoder's file, whose decoder takes the place of the model's; NULL: none */
    bool taesd_preview_only; /* ... in previews only */
} lk_model_options;

typedef struct lk_model {
    char *folder;              /* or file */
    lk_safetensors checkpoint; /* the whole single file, else empty: the components are views of it */
    bool prediction_said;      /* by the options */
    lk_text notes;             /* what the user should know about the files, a line each */
    lk_text report;            /* what was merged into it, in lines */
    lk_lora *loras;
    int32_t lora_count;
    lk_embedding *embeddings;
    int32_t embedding_count;
    lk_family family;
    bool averaged;                  /* the U-Net's averaged weights were taken */
    char *name;                     /* of the model, never NULL */
    int32_t size;                   /* side of its pictures */
    int32_t steps;                  /* default number of steps, 0: not said */
    double guidance;                /* default classifier-free guidance weight, 0: not said */
    char *identity_encoder, *judge; /* full paths, or NULL */
    lk_scheduler_config scheduler;
    lk_tokenizer tokenizer;
    lk_clip_text text;
    lk_unet unet;
    lk_vae vae;
    lk_taesd taesd; /* its source has no weights where there is none, else picture_weights or preview_weights */
    lk_weights *text_weights, *unet_weights, *picture_weights, *encode_weights;
    lk_weights *preview_weights; /* of a tiny decoder for previews, else NULL */
} lk_model;

/* After a failure nothing is open. Graphs, plans and instances must be destroyed before the model is closed. */
likeness_status lk_model_open_with(lk_model *model, const char *path, const lk_model_options *options, lk_error *error);
likeness_status lk_model_open(lk_model *model, const char *path, bool precise, lk_error *error);
void lk_model_close(lk_model *model);
/* The U-Net's latent -> picture, black 0 and white 1, by the decoder that was chosen. The graph must use
 * picture_weights. */
lk_value lk_model_decode(const lk_model *model, lk_graph *graph, lk_value latent);

#endif
