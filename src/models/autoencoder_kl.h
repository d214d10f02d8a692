/* models/autoencoder_kl.h - diffusers' AutoencoderKL, both ways.
 *
 *   picture [N,3,H,W] in -1..1 -> encoder -> quant_conv -> mean, log variance [N,C,H/8,W/8]
 *   latent -> post_quant_conv -> decoder -> picture [N,3,8h,8w], about -1..1, not clamped
 *
 * A U-Net's latent is (z - shift_factor) * scaling_factor of the autoencoder's z: lk_vae_scale and lk_vae_unscale go
 * between the two. Encoder and decoder have weight sets of their own (either may be NULL: not opened); names begin with
 * "vae.". */
#ifndef LK_MODELS_AUTOENCODER_KL_H
#define LK_MODELS_AUTOENCODER_KL_H

#include "nn/nn.h"

#define LK_VAE_MAX_LEVELS 8

typedef struct lk_vae_config {
    int32_t in_channels, out_channels, latent_channels, sample_size;
    int32_t levels, channels[LK_VAE_MAX_LEVELS], layers, groups;
    bool mid_attention, quant_conv, post_quant_conv;
    double scaling_factor, shift_factor;
} lk_vae_config;

typedef struct lk_vae {
    lk_vae_config config;
    lk_safetensors file;
    lk_weight_source encoder, decoder;
} lk_vae;

/* Like lk_unet_open; the two sets may be the same one, or NULL for a half that is not needed. */
likeness_status lk_vae_open(lk_vae *model, const char *folder, lk_weights *encoder_weights, lk_weights *decoder_weights,
                            lk_error *error);
/* The same from tensors under diffusers' names, which are taken over (closed with the model, even after a failure). */
likeness_status lk_vae_open_view(lk_vae *model, const lk_vae_config *config, lk_safetensors *view,
                                 lk_weights *encoder_weights, lk_weights *decoder_weights, lk_error *error);
void lk_vae_close(lk_vae *model);
likeness_status lk_vae_read_config(lk_vae_config *config, const char *folder, lk_error *error);

/* Returns the mean; *log_variance (may be NULL) is clamped to [-30, 20]. The graph must use the encoder's set. */
lk_value lk_vae_encode(const lk_vae *model, lk_graph *graph, lk_value picture, const lk_hooks *hooks,
                       lk_value *log_variance);
/* z as the autoencoder knows it -> picture. The graph must use the decoder's set. */
lk_value lk_vae_decode(const lk_vae *model, lk_graph *graph, lk_value z, const lk_hooks *hooks);
/* z -> latent of the U-Net and back; no node where factor and shift are 1 and 0. */
lk_value lk_vae_scale(const lk_vae *model, lk_graph *graph, lk_value z);
lk_value lk_vae_unscale(const lk_vae *model, lk_graph *graph, lk_value latent);
/* 2 ^ (levels - 1): pixels of a latent's side. */
int lk_vae_factor(const lk_vae_config *config);

#endif
