/* models/clip_text.h - transformers' CLIPTextModel: tokens in, conditioning for a U-Net out.
 *
 *   ids [N,L] -> embeddings (token + position) -> layers x (LN, causal attention, LN, MLP) -> final LN -> [N,L,C]
 *
 * Padding is attended like any other token, as diffusers' pipelines do. Graphs are built on the set that was given to
 * open; names in it begin with "text_encoder.". */
#ifndef LK_MODELS_CLIP_TEXT_H
#define LK_MODELS_CLIP_TEXT_H

#include "nn/nn.h"

typedef struct lk_clip_text_config {
    int32_t vocabulary, width, intermediate, layers, heads, positions;
    int32_t eos;     /* eos_token_id; 2 has the old meaning "largest id" */
    bool exact_gelu; /* "gelu" instead of "quick_gelu" */
    double epsilon;
} lk_clip_text_config;

typedef struct lk_clip_text {
    lk_clip_text_config config;
    lk_safetensors file;
    lk_weight_source source;
} lk_clip_text;

/* Reads FOLDER/config.json and FOLDER/model.safetensors, declares every weight in `weights` (which must be destroyed
 * before the model is closed) and refuses left-over tensors. */
likeness_status lk_clip_text_open(lk_clip_text *model, const char *folder, lk_weights *weights, lk_error *error);
/* The same from tensors under transformers' names, which are taken over (closed with the model, even after a failure).
 */
likeness_status lk_clip_text_open_view(lk_clip_text *model, const lk_clip_text_config *config, lk_safetensors *view,
                                       lk_weights *weights, lk_error *error);
void lk_clip_text_close(lk_clip_text *model);
likeness_status lk_clip_text_read_config(lk_clip_text_config *config, const char *folder, lk_error *error);

/* ids: i32 [N,L]. Returns token embeddings [N,L,C] without positions: what lk_clip_text_build takes. */
lk_value lk_clip_text_embed(const lk_clip_text *model, lk_graph *graph, lk_value ids);
/* embeddings [N,L,C] -> hidden state [N,L,C] after the final layer norm. skip: how many of the last layers are left out
 * ("clip skip" less one). hooks may be NULL. */
lk_value lk_clip_text_build(const lk_clip_text *model, lk_graph *graph, lk_value embeddings, int32_t skip,
                            const lk_hooks *hooks);
/* Pooled output [N,C]: row rows[n] of the hidden state [N*L,C]; rows is an i32 [N] input filled by the function below.
 */
lk_value lk_clip_text_pool(lk_graph *graph, lk_value hidden, lk_value rows);
void lk_clip_text_pool_rows(const lk_clip_text_config *config, const int32_t *ids, int count, int length,
                            int32_t *rows);

#endif
