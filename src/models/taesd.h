/* models/taesd.h - the decoder of a tiny autoencoder (TAESD, diffusers' AutoencoderTiny): a small network that stands
 * in for a large autoencoder's decoder.
 *
 *   U-Net's latent [N,C,h,w] -> 3 tanh(x/3) -> conv, ReLU -> blocks, doublings, convs -> picture [N,3,2^k h,2^k w],
 * about 0..1 block: ReLU(skip(x) + conv(ReLU(conv(ReLU(conv(x))))))
 *
 * No shift or factor: it was trained on what the U-Net works with. Its structure is read off the numbers of its
 * tensors: "decoder.layers.N..." in diffusers' layout, "N+1..." in the original one; a number without tensors, except
 * the first ReLU's, is a doubling. */
#ifndef LK_MODELS_TAESD_H
#define LK_MODELS_TAESD_H

#include "nn/nn.h"

typedef struct lk_taesd {
    lk_safetensors file, view; /* view: the decoder's tensors, named as in diffusers */
    lk_weight_source source;
    int32_t layers;          /* numbers in use */
    int32_t latent_channels; /* C */
    int32_t factor;          /* 2^k */
} lk_taesd;

/* path: a safetensors file in either layout, or a folder with diffusion_pytorch_model.safetensors. Declares the weights
 * in the set. After a failure close it. */
likeness_status lk_taesd_open(lk_taesd *model, const char *path, lk_weights *weights, lk_error *error);
void lk_taesd_close(lk_taesd *model);
/* latent -> picture, black 0 and white 1, not clamped. */
lk_value lk_taesd_decode(const lk_taesd *model, lk_graph *graph, lk_value latent);

#endif
