/* models/onnx_graph.h - a network in an ONNX file as a part of a graph: encoders, judges, detectors.
 *
 *   lk_onnx_network_open    reads and checks the file, and its preprocessing from metadata_props
 *   lk_onnx_network_build   appends its nodes for given input shapes; an operator that is missing is named with its
 * node lk_onnx_embed           picture in 0..1 -> preprocessing -> network -> its embedding
 *
 * Metadata: likeness.size (side of the square input), likeness.mean, likeness.std (one or three numbers; the network
 * sees (x - mean) / std of a picture x in 0..1), likeness.channels (RGB | BGR), likeness.embedding (name of the
 * output), likeness.threshold (cosine above which two pictures show the same person). What is missing in the file
 * defaults to: the size that the graph's input states, 0.5, 0.5, RGB, the output named image_embeds or pooler_output
 * or else the first, none. Of tokens [N,T,C] the first, the class token, is the embedding. */
#ifndef LK_MODELS_ONNX_GRAPH_H
#define LK_MODELS_ONNX_GRAPH_H

#include "graph/build.h"
#include "io/onnx.h"

#define LK_ONNX_MAX_OUTPUTS 32

typedef struct lk_onnx_preprocessing {
    int32_t height, width; /* 0: any size */
    float mean[3], std[3]; /* of a picture in 0..1, in the order of the network's channels */
    bool bgr;
    bool has_threshold;
    double threshold;
    int32_t embedding; /* index of the output */
} lk_onnx_preprocessing;

typedef struct lk_onnx_network {
    lk_onnx_model file;
    lk_onnx_preprocessing preprocessing;
    lk_weights *weights; /* the set of the graphs it is built into */
    char *label;         /* first word of its names in the set */
} lk_onnx_network;

/* Opens the file; weights are declared in `weights` when a graph is built (constants may depend on its shapes). Two
 * networks in one set need different labels. Destroy the set before the network is closed. */
likeness_status lk_onnx_network_open(lk_onnx_network *network, const char *path, const char *label, lk_weights *weights,
                                     lk_error *error);
void lk_onnx_network_close(lk_onnx_network *network);

/* Appends the network. inputs: one value a graph input of the file; outputs receives file.output_count values.
 * A free first dimension takes any batch size. Failures are kept by the graph. */
void lk_onnx_network_build(const lk_onnx_network *network, lk_graph *graph, const lk_value *inputs, lk_value *outputs);

/* The operators that build, one an index from 0 on, and what of each is refused ("" : nothing that images meet); NULL
 * after the last. */
const char *lk_onnx_operator(size_t index, const char **limits);

/* picture [N,3,H,W], RGB, 0..1 -> the network's input: resized (bilinear, antialiased when it shrinks), channels in its
 * order, normalised. Differentiable. */
lk_value lk_onnx_preprocess(const lk_onnx_network *network, lk_graph *graph, lk_value picture);
/* lk_onnx_preprocess, lk_onnx_network_build, and the embedding [N,D]. */
lk_value lk_onnx_embed(const lk_onnx_network *network, lk_graph *graph, lk_value picture);
/* The same for a classifier: [N], the logarithm of the probability of class `target`, counted from 0. The output is
 * taken for logits unless a Softmax, LogSoftmax or Sigmoid makes it. */
lk_value lk_onnx_log_probability(const lk_onnx_network *network, lk_graph *graph, lk_value picture, int32_t target);

#endif
