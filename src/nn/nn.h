/* nn/nn.h - what models are made of: weights by name, hooks, layers, blocks. Only builds graphs, never sees a device.
 *
 * A lk_nn is the place in a model where the builder stands: a path ("down_blocks.0.resnets.1") that names both the
 * nodes of the graph and the tensors in the weight file. Layers append their own last word to it:
 *
 *     lk_nn_push(nn, "resnets.%d", i);      path "down_blocks.0.resnets.1"
 *     y = lk_nn_conv(nn, "conv1", x, ...);  reads "down_blocks.0.resnets.1.conv1.weight" and ".bias"
 *     lk_nn_pop(nn);
 *
 * A weight is looked up in the set under "<label>.<tensor name>"; when the set does not have it yet it is declared
 * there, filled lazily from the mapped file. A tensor that is missing or has another shape fails the graph with its
 * name. */
#ifndef LK_NN_NN_H
#define LK_NN_NN_H

#include "graph/build.h"
#include "io/safetensors.h"

/* Where the weights of one model component come from. */
typedef struct lk_weight_source {
    lk_weights *weights;     /* set of the graphs that use it */
    lk_safetensors *file;    /* must live as long as the set: fills read it */
    const char *label;       /* "unet": first word of the names in the set */
    const char *file_prefix; /* put before the path in the file ("text_model."), or "" */
} lk_weight_source;

/* Hooks (architecture.md, contract 5): methods add nodes to a model without editing it. Every member may be NULL.
 * `name` is the path of the module in diffusers' words, such as
 * "down_blocks.1.attentions.0.transformer_blocks.0.attn1". A hook returns the value that takes the place of the one it
 * was given, usually that value or a sum with it. */
typedef struct lk_hooks {
    void *user;
    /* Output of a self-attention (after its to_out), tokens [N,L,C], before the residual add. */
    lk_value (*after_self_attention)(void *user, lk_graph *graph, const char *name, lk_value tokens);
    /* query [N,L,h*d] and output [N,L,h*d] (before to_out) of a cross-attention; an adapter attends with the same query
     * to other tokens and returns output + weight * extra. */
    lk_value (*extra_cross_attention)(void *user, lk_graph *graph, const char *name, lk_value query, lk_value output,
                                      int heads);
    /* Tokens [N,H*W,C] after a transformer's proj_out, before its residual add. */
    lk_value (*after_proj_out)(void *user, lk_graph *graph, const char *name, lk_value tokens);
    /* Input and output of a named linear or convolution (a low-rank pair adds its product). The output may already
     * contain a residual; sums are unaffected by that. */
    lk_value (*layer)(void *user, lk_graph *graph, const char *name, lk_value x, lk_value y);
    /* A residual add: returns skip + branch, changed at will. */
    lk_value (*residual)(void *user, lk_graph *graph, const char *name, lk_value skip, lk_value branch);
} lk_hooks;

#define LK_NN_MAX_DEPTH 16

typedef struct lk_nn {
    lk_graph *graph;
    const lk_weight_source *source;
    const lk_hooks *hooks; /* NULL: none */
    char path[256];
    int16_t depth[LK_NN_MAX_DEPTH]; /* length of the path at each push */
    int levels;
} lk_nn;

void lk_nn_start(lk_nn *nn, lk_graph *graph, const lk_weight_source *source, const lk_hooks *hooks);
void lk_nn_push(lk_nn *nn, const char *format, ...) LK_PRINTF(2, 3);
void lk_nn_pop(lk_nn *nn);

/* ---- weights ---- */

/* The tensor "<path>.<name>" of the file with the shape that it has there; used under `shape`, which has as many
 * elements (a 1x1 convolution read as a matrix). */
lk_value lk_nn_weight(lk_nn *nn, const char *name, lk_weight_role role, lk_shape file_shape, lk_shape shape,
                      int groups);
/* The sum of two vectors "<path>.<first>" and "<path>.<second>", one weight. */
lk_value lk_nn_vector_sum(lk_nn *nn, const char *first, const char *second, int size);
/* True if the file has "<path>.<name>". */
bool lk_nn_has(const lk_nn *nn, const char *name);
/* LIKENESS_BAD_FILE naming the first tensor of the file that no builder asked for, except those whose names end in one
 * of the `ignored` (NULL-terminated; NULL: none). */
likeness_status lk_nn_check_all_used(const lk_weight_source *source, const char *const *ignored, lk_error *error);

/* ---- layers; `name` is appended to the path ---- */

/* y = x w^T + b (+ residual) over the channels of tokens or of a feature map (then the file may hold a 1x1
 * convolution). */
lk_value lk_nn_linear(lk_nn *nn, const char *name, lk_value x, int in, int out, bool bias, lk_value residual);
/* The same for a weight stored as [O,I,1,1]. */
lk_value lk_nn_conv1x1(lk_nn *nn, const char *name, lk_value x, int in, int out, lk_value residual);
/* A convolution with bias. rows: [N,out] that takes the place of the bias (a time embedding that contains it), or
 * LK_NO_VALUE. padding: top, left, bottom, right. */
lk_value lk_nn_conv(lk_nn *nn, const char *name, lk_value x, int in, int out, int kernel, int stride,
                    const int32_t padding[4], lk_value rows, lk_value residual);
/* The same with kernel/2 on every side, nothing added. */
lk_value lk_nn_conv_same(lk_nn *nn, const char *name, lk_value x, int in, int out, int kernel);
/* skip + branch, through the residual hook. Builders put the skip into the last layer's own residual slot instead where
 * lk_nn_fuses says that nobody listens. */
lk_value lk_nn_add(lk_nn *nn, lk_value skip, lk_value branch);
bool lk_nn_fuses(const lk_nn *nn);
lk_value lk_nn_group_norm(lk_nn *nn, const char *name, lk_value x, int channels, int groups, float epsilon, bool silu);
lk_value lk_nn_layer_norm(lk_nn *nn, const char *name, lk_value x, int channels, float epsilon);

/* ---- blocks ---- */

typedef struct lk_resnet_options {
    int in, out;
    int time;   /* width of the time embedding, 0: none */
    int groups; /* of both norms */
    float epsilon;
} lk_resnet_options;
/* ResnetBlock2D: shortcut(x) + conv2(silu(norm2(conv1(silu(norm1(x))) + time_emb_proj(time)))). `time` is the time
 * embedding [N,time] after its SiLU (diffusers applies it in every block; it is the same one). */
lk_value lk_nn_resnet(lk_nn *nn, lk_value x, lk_value time, const lk_resnet_options *options);

typedef struct lk_transformer_options {
    int channels, heads, layers, context; /* context: width of the text tokens, 0: no cross-attention */
    int groups;
    bool linear_projection;
} lk_transformer_options;
/* Transformer2DModel of BasicTransformerBlocks: norm, proj_in, layers x (self-attention, cross-attention, GEGLU),
 * proj_out,
 * + x. key_bias [N,S] is added to the logits of the cross-attention, or LK_NO_VALUE. */
lk_value lk_nn_transformer(lk_nn *nn, lk_value x, lk_value context, lk_value key_bias,
                           const lk_transformer_options *options);

/* The autoencoder's attention over all pixels, one head: x + to_out(attention(norm(x))). */
lk_value lk_nn_pixel_attention(lk_nn *nn, lk_value x, int channels, int groups, float epsilon);

/* Nearest upsampling to height x width, then "conv" (padding 1). */
lk_value lk_nn_upsample(lk_nn *nn, lk_value x, int channels, int height, int width);

#endif
