/* tools/eval/networks.h - networks that look at pictures, run by the engine in batches: encoder, judge, classifier
 * (ONNX), and the autoencoder there and back. */
#ifndef EVAL_NETWORKS_H
#define EVAL_NETWORKS_H

#include "io/image.h"
#include "models/autoencoder_kl.h"
#include "models/onnx_graph.h"

enum { EVAL_BATCH = 4, EVAL_MAX_OUTPUTS = 4 };

typedef struct eval_network {
    lk_onnx_network network;
    lk_vae vae;
    bool is_vae;
    uint32_t size; /* side of the pictures that go in */
    int output_count;
    const char *names[EVAL_MAX_OUTPUTS];
    int width[EVAL_MAX_OUTPUTS]; /* numbers a picture */
    lk_weights *weights;
    lk_graph *graph;
    lk_plan *plan;
    lk_instance *instance;
    lk_value input, output[EVAL_MAX_OUTPUTS];
    float *in, *out; /* one batch */
} eval_network;

/* An ONNX network: its embedding, or (all_outputs) everything it computes. variants: doctor's replacements. */
likeness_status eval_network_open(eval_network *n, lk_device *device, const int32_t *variants, const char *path,
                                  uint32_t size, bool all_outputs, lk_error *error);
/* encode (mean), decode. */
likeness_status eval_autoencoder_open(eval_network *n, lk_device *device, const int32_t *variants, const char *folder,
                                      uint32_t size, bool precise, lk_error *error);
void eval_network_close(eval_network *n);

/* values[output] receives count x width[output] numbers; entries may be NULL. */
likeness_status eval_network_run(eval_network *n, const lk_image *pictures, int count, float *const *values,
                                 lk_error *error);
/* The autoencoder's pictures, rounded to 8 bits; `decoded` must have been created. At most EVAL_BATCH pictures. */
likeness_status eval_autoencoder_run(eval_network *n, const lk_image *pictures, int count, lk_image *decoded,
                                     lk_error *error);

#endif
