/* api/networks.h - the graphs that a model runs, each for one set of shapes, and how often each is on the device.
 *
 *   text     ids [1,L]                                              -> hidden [1,L,C]
 *   flow     z [1,C,h,w], time, context (, weight)                  -> prediction m(z), its gradient with respect to z
 *   encode   picture [1,3,H,W] in 0..1                              -> latent [1,C,h,w], the mean
 *   picture  latent [1,C,h,w] (, embedding of the reference)        -> picture (, score, its gradient): the cosine, or
 *                                                                      a classifier's log-probability of a class
 *   embed    picture [1,3,S,S] in 0..1                              -> embedding [1,D]
 *   crop     picture [1,3,H,W], a theta a slot (face_align.h)       -> crops, embeddings; with a reference a slot the
 *                                                                      gradient of cosines with respect to the picture
 *
 * Black is 0 and white 1 in the picture; values outside are cut off before the encoder sees them, not in the output:
 * clamping would hide what is no number. What a sampler makes of a prediction is computed on the CPU
 * (sampling/sampler.h).
 *
 * A network is one graph and its plan; it is put on the device once, or several times where several states have to be
 * kept (one a sampling step). They share the weights of the model. Only files of src/api use this. */
#ifndef LK_API_NETWORKS_H
#define LK_API_NETWORKS_H

#include "api/context.h"
#include "graph/build.h"
#include "models/model.h"
#include "models/onnx_graph.h"

#define LK_NETWORK_MAX_INSTANCES 64

typedef struct lk_network {
    lk_graph *graph;
    lk_plan *plan;
    lk_weights *weights; /* of the graph, borrowed */
    lk_arena *arena;     /* of its instances, borrowed; NULL: each has memory of its own */
    lk_instance *instance[LK_NETWORK_MAX_INSTANCES];
    int instance_count;
    uint64_t scratch;     /* bytes that an instance takes beside its arena */
    int32_t pieces;       /* of the forward pass that the gradient computes again; 1: it keeps everything */
    int gradient_section; /* -1: none */
} lk_network;

typedef struct lk_text_network {
    lk_network net;
    lk_value ids, hidden;
    int32_t length, skip; /* tokens; last layers left out */
} lk_text_network;

typedef struct lk_flow_network {
    lk_network net;
    int32_t height, width; /* of the latent */
    bool guided_free;      /* both branches of classifier-free guidance */
    bool batched;          /* ... in one batch of two rather than one after the other: same bytes */
    bool gradient;
    lk_value z, time, context[2], weight, prediction, cotangent, z_gradient;
} lk_flow_network;

typedef struct lk_picture_network {
    lk_network net;
    int32_t height, width; /* of the latent */
    bool guiding;          /* with encoder, score and gradient */
    int32_t target;        /* class of a classifier; -1: the score is the cosine with the reference */
    bool pulling;          /* cotangent of the picture -> gradient of the latent */
    lk_value latent, reference, picture, score, cotangent, latent_gradient;
} lk_picture_network;

typedef struct lk_encode_network {
    lk_network net;
    lk_value picture, latent;
    int32_t height, width; /* of the picture */
} lk_encode_network;

typedef struct lk_embed_network {
    lk_network net;
    lk_value picture, embedding;
    int32_t side, width; /* of the picture; of the embedding */
} lk_embed_network;

/* One part of the picture: what is cut out, what it is compared with. The reference is written between the forward pass
 * and the gradient, which read it; cotangents are minus or plus what the loss multiplies by, 0 for a slot that does not
 * count. */
typedef struct lk_crop_slot {
    lk_value theta, crop, embedding;
    lk_value reference, cosine, cosine_cotangent;
    lk_value reference_crop, difference, difference_cotangent; /* mean |a - b| of the crops; only with `differences` */
} lk_crop_slot;

typedef struct lk_crop_network {
    lk_network net;
    int32_t height, width, side, fine, slots; /* of the picture; of a crop; samples a pixel and side; how many */
    bool differences;
    int32_t embedding_width;
    lk_value picture, picture_gradient;
    lk_crop_slot slot[LIKENESS_MAX_PEOPLE];
} lk_crop_network;

/* Everything is gone, the struct can be built again. */
void lk_network_close(lk_network *net);
/* Between the two the graph is built; after a failure of `finish` the network is closed. */
likeness_status lk_network_begin(lk_network *net, lk_weights *weights, int32_t pieces, lk_error *error);
likeness_status lk_network_finish(lk_network *net, const likeness_context *context, lk_error *error);
/* Puts further instances on the device until there are `count`; fails with LIKENESS_OUT_OF_MEMORY before memory is
 * taken when the device says that it has less. */
likeness_status lk_network_instances(lk_network *net, likeness_context *context, int count, lk_error *error);
/* Device memory that `count` further instances would take. */
uint64_t lk_network_bytes(const lk_network *net, int count);
/* What this process may still take on the device; UINT64_MAX where the driver does not say. */
uint64_t lk_memory_left(const likeness_context *context);

/* Each builds and plans, and does nothing when the network is already built for the same arguments. pieces: of the
 * forward pass, all but the last of which the gradient computes again (lk_graph_recompute); same bytes. */
likeness_status lk_text_network_build(lk_text_network *text, const lk_model *model, likeness_context *context,
                                      int32_t skip, lk_error *error);
likeness_status lk_flow_network_build(lk_flow_network *flow, const lk_model *model, likeness_context *context,
                                      int32_t height, int32_t width, bool guided_free, bool batched, bool gradient,
                                      int32_t pieces, lk_error *error);
likeness_status lk_encode_network_build(lk_encode_network *encode, const lk_model *model, likeness_context *context,
                                        int32_t height, int32_t width, lk_error *error);
/* encoder NULL: only the decoder. target: a class of the encoder, -1 for none. */
likeness_status lk_picture_network_build(lk_picture_network *picture, const lk_model *model,
                                         const lk_onnx_network *encoder, int32_t target, likeness_context *context,
                                         int32_t height, int32_t width, int32_t pieces, lk_error *error);
/* For previews: the tiny decoder that the model has for them, else like lk_picture_network_build without an encoder. */
likeness_status lk_preview_network_build(lk_picture_network *picture, const lk_model *model, likeness_context *context,
                                         int32_t height, int32_t width, lk_error *error);
/* The decoder alone, pulling a cotangent of the picture back to the latent. */
likeness_status lk_picture_pull_build(lk_picture_network *picture, const lk_model *model, likeness_context *context,
                                      int32_t height, int32_t width, int32_t pieces, lk_error *error);
/* height, width, side, fine, slots and differences are those of `wanted`. */
likeness_status lk_crop_network_build(lk_crop_network *crop, const lk_onnx_network *encoder, likeness_context *context,
                                      const lk_crop_network *wanted, lk_error *error);
/* side: of the square pictures that it takes. */
likeness_status lk_embed_network_build(lk_embed_network *embed, const lk_onnx_network *encoder, int32_t side,
                                       likeness_context *context, lk_error *error);

#endif
