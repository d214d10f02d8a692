/* tests/models/network_cases.h - any fixture of tests/data/models as a graph with inputs, outputs and their truth.
 *
 *   network_case n;
 *   network_open(&n, "unet_3", &(network_options){0});   clip_0..5, unet_0..5, encoder_0..5, decoder_0..5 (both of
 *                                                         folder vae_N), onnx_residual, onnx_classic, onnx_odd
 *   case_check(&n.c);  ...
 *   network_close(&n);                                                                                           */
#ifndef LK_TESTS_NETWORK_CASES_H
#define LK_TESTS_NETWORK_CASES_H

#include "models/model_test.h"

#include "models/autoencoder_kl.h"
#include "models/clip_text.h"
#include "models/onnx_graph.h"
#include "models/unet2d.h"

typedef struct network_options {
    bool precise;       /* matrices in f32 */
    bool forward_only;  /* no gradient section */
    int pieces;         /* of the forward pass that the gradient computes again; 0: none */
    int first, samples; /* only these of the batch; samples 0: all */
} network_options;

typedef struct network_case {
    model_case c;
    lk_clip_text clip;
    lk_unet unet;
    lk_vae vae;
    lk_onnx_network onnx;
} network_case;

static inline void network_clip(network_case *n, bool gradient) {
    lk_error error = LK_ERROR_INIT;
    model_case *c = &n->c;
    assert_ok(lk_clip_text_open(&n->clip, c->folder, c->weights, &error), &error);
    case_graph(c);
    lk_value ids = case_input(c, "ids");
    lk_shape shape = lk_graph_shape(c->graph, ids);
    int32_t token[64], rows[8];
    assert_true(shape.dim[0] <= 8 && shape.dim[0] * shape.dim[1] <= 64);
    for (int i = 0; i < shape.dim[0] * shape.dim[1]; i++)
        token[i] = (int32_t)c->input[0].values[i];
    lk_clip_text_pool_rows(&n->clip.config, token, shape.dim[0], shape.dim[1], rows);
    double *row_values = malloc((size_t)shape.dim[0] * sizeof *row_values);
    for (int i = 0; i < shape.dim[0]; i++)
        row_values[i] = rows[i];
    lk_value embeddings = lk_clip_text_embed(&n->clip, c->graph, ids);
    lk_value hidden = lk_clip_text_build(&n->clip, c->graph, embeddings, 0, NULL);
    lk_value row = case_input_values(c, "rows", lk_shape1(shape.dim[0]), LK_I32, row_values);
    case_output(c, embeddings, "embeddings", NULL);
    case_output(c, hidden, "hidden", "cotangent");
    case_output(c, lk_clip_text_pool(c->graph, hidden, row), "pooled", "pooled_cotangent");
    if (gradient) case_gradient(c, &embeddings, (const char *const[]){"gradient"}, 1);
}

static inline void network_unet(network_case *n, bool gradient) {
    lk_error error = LK_ERROR_INIT;
    model_case *c = &n->c;
    assert_ok(lk_unet_open(&n->unet, c->folder, c->weights, &error), &error);
    case_graph(c);
    lk_unet_inputs in = {.context = LK_NO_VALUE, .key_bias = LK_NO_VALUE};
    in.sample = case_input(c, "sample");
    int batch = lk_graph_shape(c->graph, in.sample).dim[0], width = n->unet.config.channels[0];
    double *steps = case_truth(c, "steps", batch), *time = malloc((size_t)(batch * width) * sizeof *time);
    float features[64];
    for (int i = 0; i < batch; i++) {
        lk_unet_time_features(&n->unet.config, steps[i], features);
        for (int k = 0; k < width; k++)
            time[i * width + k] = (double)features[k];
    }
    free(steps);
    in.time = case_input_values(c, "time", lk_shape2(batch, width), LK_F32, time);
    bool context = lk_safetensors_find(&c->file, "context") != NULL;
    if (context) in.context = case_input(c, "context");
    if (lk_safetensors_find(&c->file, "key_bias")) in.key_bias = case_input(c, "key_bias");
    case_output(c, lk_unet_build(&n->unet, c->graph, &in, NULL), "output", "cotangent");
    lk_value wrt[2] = {in.sample, in.context};
    if (gradient) case_gradient(c, wrt, (const char *const[]){"gradient", "context_gradient"}, context ? 2 : 1);
}

static inline void network_encoder(network_case *n, bool gradient) {
    lk_error error = LK_ERROR_INIT;
    model_case *c = &n->c;
    lk_value log_variance;
    assert_ok(lk_vae_open(&n->vae, c->folder, c->weights, NULL, &error), &error);
    case_graph(c);
    lk_value picture = case_input(c, "picture");
    lk_value mean = lk_vae_encode(&n->vae, c->graph, picture, NULL, &log_variance);
    case_output(c, mean, "mean", "mean_cotangent");
    case_output(c, log_variance, "log_variance", "log_variance_cotangent");
    if (gradient) case_gradient(c, &picture, (const char *const[]){"picture_gradient"}, 1);
}

static inline void network_decoder(network_case *n, bool gradient) {
    lk_error error = LK_ERROR_INIT;
    model_case *c = &n->c;
    assert_ok(lk_vae_open(&n->vae, c->folder, NULL, c->weights, &error), &error);
    case_graph(c);
    lk_value z = case_input(c, "z");
    case_output(c, lk_vae_decode(&n->vae, c->graph, z, NULL), "decoded", "decoded_cotangent");
    if (gradient) case_gradient(c, &z, (const char *const[]){"z_gradient"}, 1);
}

static inline void network_onnx(network_case *n, bool gradient) {
    static const char *const names[] = {"output_0", "output_1"}, *const cotangents[] = {"cotangent_0", "cotangent_1"};
    lk_error error = LK_ERROR_INIT;
    model_case *c = &n->c;
    lk_value outputs[LK_ONNX_MAX_OUTPUTS];
    char path[600];
    snprintf(path, sizeof path, "%s/network.onnx", c->folder);
    assert_ok(lk_onnx_network_open(&n->onnx, path, "net", c->weights, &error), &error);
    case_graph(c);
    lk_value pixels = case_input(c, "pixels");
    lk_onnx_network_build(&n->onnx, c->graph, &pixels, outputs);
    assert_ok(lk_graph_status(c->graph, &error), &error);
    for (size_t i = 0; i < n->onnx.file.output_count; i++)
        case_output(c, outputs[i], names[i], cotangents[i]);
    if (gradient) case_gradient(c, &pixels, (const char *const[]){"gradient"}, 1);
}

static inline void network_open(network_case *n, const char *name, const network_options *options) {
    static const struct {
        const char *kind, *folder;
        void (*build)(network_case *n, bool gradient);
    } kinds[] = {{"clip_", "clip_", network_clip},
                 {"unet_", "unet_", network_unet},
                 {"encoder_", "vae_", network_encoder},
                 {"decoder_", "vae_", network_decoder},
                 {"onnx_", "onnx_", network_onnx}};
    memset(n, 0, sizeof *n);
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        if (strncmp(name, kinds[k].kind, strlen(kinds[k].kind)) != 0) continue;
        char folder[64];
        snprintf(folder, sizeof folder, "%s%s", kinds[k].folder, name + strlen(kinds[k].kind));
        case_begin(&n->c, folder, options->precise);
        n->c.name = name;
        n->c.first_sample = options->first;
        n->c.samples = options->samples;
        n->c.pieces = options->pieces;
        kinds[k].build(n, !options->forward_only);
        return;
    }
    fail_msg("no fixture is called %s", name);
}

static inline void network_close(network_case *n) {
    bool onnx = n->onnx.weights != NULL;
    case_end(&n->c);
    lk_clip_text_close(&n->clip);
    lk_unet_close(&n->unet);
    lk_vae_close(&n->vae);
    if (onnx) lk_onnx_network_close(&n->onnx);
}

#endif
