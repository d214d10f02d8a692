/* models/unet2d.h - diffusers' UNet2DConditionModel: sample, time and text in, prediction out.
 *
 *   conv_in -> down blocks -> mid block -> up blocks (with the skips of the down blocks) -> norm, SiLU, conv_out
 *
 * The time sinusoid is made on the CPU in double (lk_unet_time_features) and is an input of the graph. Any height and
 * width: where a size does not halve evenly the up path takes the skip's size. The gradient with respect to sample,
 * context or time comes from lk_graph_gradient on the values that were passed in. Names in the weight set begin with
 * "unet.". */
#ifndef LK_MODELS_UNET2D_H
#define LK_MODELS_UNET2D_H

#include "nn/nn.h"

#define LK_UNET_MAX_LEVELS 8

/* resnet, transformer, resnet; or one resnet; or nothing ("mid_block_type": null) */
typedef enum lk_unet_mid { LK_UNET_MID_CROSS, LK_UNET_MID_PLAIN, LK_UNET_MID_NONE } lk_unet_mid;

typedef struct lk_unet_config {
    int32_t in_channels, out_channels, sample_size; /* sample_size 0: the file does not say */
    int32_t levels;
    int32_t channels[LK_UNET_MAX_LEVELS];
    int32_t layers[LK_UNET_MAX_LEVELS]; /* resnets of a down block; its up block has one more */
    int32_t heads[LK_UNET_MAX_LEVELS];
    int32_t transformer_layers[LK_UNET_MAX_LEVELS];
    int32_t context[LK_UNET_MAX_LEVELS];                               /* width of the text tokens; 0: none */
    bool down_cross[LK_UNET_MAX_LEVELS], up_cross[LK_UNET_MAX_LEVELS]; /* up: in order of execution */
    lk_unet_mid mid;
    int32_t groups;
    double epsilon;
    int32_t downsample_padding;
    int32_t conv_in_kernel, conv_out_kernel;
    int32_t time_width; /* of the time embedding */
    bool linear_projection, center_input, flip_sin_to_cos;
    double frequency_shift;
} lk_unet_config;

typedef struct lk_unet {
    lk_unet_config config;
    lk_safetensors file;
    lk_weight_source source;
} lk_unet;

typedef struct lk_unet_inputs {
    lk_value sample;   /* [N,in_channels,H,W] */
    lk_value time;     /* [N,channels[0]], from lk_unet_time_features */
    lk_value context;  /* [N,S,context]; LK_NO_VALUE for a model without cross-attention */
    lk_value key_bias; /* [N,S] added to the cross-attention's logits, or LK_NO_VALUE */
} lk_unet_inputs;

/* Reads FOLDER/config.json and the safetensors beside it, declares every weight in `weights` (which must be destroyed
 * before the model is closed) and refuses left-over tensors. */
likeness_status lk_unet_open(lk_unet *model, const char *folder, lk_weights *weights, lk_error *error);
/* The same from tensors under diffusers' names, which are taken over (closed with the model, even after a failure). */
likeness_status lk_unet_open_view(lk_unet *model, const lk_unet_config *config, lk_safetensors *view,
                                  lk_weights *weights, lk_error *error);
void lk_unet_close(lk_unet *model);
likeness_status lk_unet_read_config(lk_unet_config *config, const char *folder, lk_error *error);

/* channels[0] sines and cosines of a timestep (0..1000, fractions allowed). */
void lk_unet_time_features(const lk_unet_config *config, double timestep, float *features);
/* Returns the prediction [N,out_channels,H,W]. hooks may be NULL. */
lk_value lk_unet_build(const lk_unet *model, lk_graph *graph, const lk_unet_inputs *inputs, const lk_hooks *hooks);

#endif
