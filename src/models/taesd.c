/* models/taesd.c - see taesd.h. */
#include "models/taesd.h"

#include "base/file.h"
#include "models/recognise.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_LAYERS = 128 };

/* ---- graph ---- */

/* A 3x3 convolution, or one of another odd size, with the bias that the file has; sizes are the file's own. */
static lk_value conv(lk_nn *nn, const char *name, lk_value x, lk_value residual) {
    char word[sizeof nn->path + 8];
    lk_graph *g = nn->graph;
    lk_nn_push(nn, "%s", name);
    snprintf(word, sizeof word, "%s.weight", nn->path);
    const lk_safetensor *file = lk_safetensors_find(nn->source->file, word);
    lk_shape from = lk_graph_shape(g, x);
    lk_value y = LK_NO_VALUE;
    if (!file || file->rank != 4 || file->shape[2] != file->shape[3] || file->shape[2] % 2 == 0 ||
        file->shape[0] > 65536 || file->shape[2] > 15) {
        lk_graph_fail(g, LIKENESS_BAD_FILE, "%s: '%s' is missing or no square convolution", nn->source->file->name,
                      word);
    } else {
        int out = (int)file->shape[0], kernel = (int)file->shape[2], p = kernel / 2;
        lk_shape shape = lk_shape4(out, from.rank == 4 ? from.dim[1] : 0, kernel, kernel);
        lk_conv2d_options options = {.padding = {p, p, p, p}};
        lk_value w = lk_nn_weight(nn, "weight", LK_WEIGHT_MATRIX, shape, shape, 1);
        lk_value b = LK_NO_VALUE;
        if (lk_nn_has(nn, "bias")) b = lk_nn_weight(nn, "bias", LK_WEIGHT_VECTOR, lk_shape1(out), lk_shape1(out), 1);
        y = lk_conv2d(g, x, w, b, residual, options);
    }
    lk_nn_pop(nn);
    return y;
}

static lk_value relu(lk_nn *nn, lk_value x) { return lk_unary_op(nn->graph, LK_UNARY_RELU, x, 0, 0); }

static lk_value block(lk_nn *nn, lk_value x) {
    lk_value skip = lk_nn_has(nn, "skip.weight") ? conv(nn, "skip", x, LK_NO_VALUE) : x;
    lk_value h = relu(nn, conv(nn, "conv.0", x, LK_NO_VALUE));
    h = relu(nn, conv(nn, "conv.2", h, LK_NO_VALUE));
    return relu(nn, conv(nn, "conv.4", h, skip));
}

static lk_value doubled(lk_nn *nn, lk_value x) {
    lk_shape shape = lk_graph_shape(nn->graph, x);
    if (shape.rank != 4) return LK_NO_VALUE;
    return lk_upsample_nearest(nn->graph, x, 2 * shape.dim[2], 2 * shape.dim[3]);
}

lk_value lk_taesd_decode(const lk_taesd *model, lk_graph *graph, lk_value latent) {
    lk_nn nn;
    lk_nn_start(&nn, graph, &model->source, NULL);
    lk_value x = lk_scale_shift(graph, latent, 1.0f / 3, 0);
    x = lk_scale_shift(graph, lk_unary_op(graph, LK_UNARY_TANH, x, 0, 0), 3, 0);
    for (int i = 0; i < model->layers; i++) {
        char name[32];
        if (i == 1) {
            x = relu(&nn, x);
            continue;
        }
        lk_nn_push(&nn, "decoder.layers.%d", i);
        if (lk_nn_has(&nn, "conv.0.weight"))
            x = block(&nn, x);
        else if (!lk_nn_has(&nn, "weight"))
            x = doubled(&nn, x);
        else {
            lk_nn_pop(&nn);
            snprintf(name, sizeof name, "decoder.layers.%d", i);
            x = conv(&nn, name, x, LK_NO_VALUE);
            continue;
        }
        lk_nn_pop(&nn);
    }
    return x;
}

/* ---- opening ---- */

/* "N.rest" of the original layout: its number and the rest; -1 for another name. */
static int numbered(const char *name, const char **rest) {
    size_t digits = strspn(name, "0123456789");
    if (digits < 1 || digits > 3 || name[digits] != '.') return -1;
    *rest = name + digits + 1;
    return atoi(name);
}

/* The decoder's tensors under diffusers' names, and how many numbers there are. */
static likeness_status make_view(lk_taesd *m, const char *path, lk_error *error) {
    static const char prefix[] = "decoder.layers.";
    bool original = lk_safetensors_find(&m->file, "1.weight") && !lk_safetensors_find(&m->file, "0.weight");
    if (!original && !lk_safetensors_find(&m->file, "decoder.layers.0.weight"))
        return lk_fail(error, LIKENESS_UNSUPPORTED, "%s: not the decoder of a tiny autoencoder (TAESD)%s", path,
                       lk_safetensors_find(&m->file, "0.weight") ? " but its encoder" : "");
    LK_TRY(lk_safetensors_view_begin(&m->view, path, m->file.count, error));
    for (size_t i = 0; i < m->file.count; i++) {
        lk_safetensor *tensor = &m->file.tensors[i];
        const char *rest = NULL, *name = tensor->name;
        char renamed[256];
        if (!original && strncmp(name, prefix, strlen(prefix)) != 0) continue;
        int number = numbered(original ? name : name + strlen(prefix), &rest) - original;
        if (number < 0 || number >= MOST_LAYERS)
            return lk_fail(error, LIKENESS_BAD_FILE, "%s: the tensor '%.200s' has no place in a tiny autoencoder", path,
                           name);
        if (number >= m->layers) m->layers = number + 1;
        snprintf(renamed, sizeof renamed, "%s%d.%.200s", prefix, number, rest);
        LK_TRY(lk_safetensors_view_add(&m->view, tensor, renamed, 0, tensor->rank, tensor->shape, error));
    }
    return lk_safetensors_view_finish(&m->view, error);
}

/* Builds the network once in a throw-away graph, which declares its weights and says how much it enlarges. */
static likeness_status declare(lk_taesd *m, const char *path, lk_error *error) {
    const lk_safetensor *first = lk_safetensors_find(&m->view, "decoder.layers.0.weight");
    if (!first || first->rank != 4 || first->shape[1] < 1 || first->shape[1] > 1024)
        return lk_fail(error, LIKENESS_BAD_FILE, "%s: its first convolution is missing or no convolution", path);
    m->latent_channels = (int32_t)first->shape[1];
    lk_graph *graph = lk_graph_create(m->source.weights, error);
    if (!graph) return error->status;
    lk_value x = lk_graph_input(graph, "latent", lk_shape4(1, m->latent_channels, 1, 1), LK_F32);
    lk_shape shape = lk_graph_shape(graph, lk_taesd_decode(m, graph, x));
    likeness_status status = lk_graph_status(graph, error);
    lk_graph_destroy(graph);
    if (status == LIKENESS_OK && shape.dim[1] != 3)
        status = lk_fail(error, LIKENESS_UNSUPPORTED, "%s: makes %d channels, not 3", path, (int)shape.dim[1]);
    m->factor = shape.rank == 4 ? shape.dim[2] : 0;
    return status == LIKENESS_OK ? lk_nn_check_all_used(&m->source, NULL, error) : status;
}

likeness_status lk_taesd_open(lk_taesd *model, const char *path, lk_weights *weights, lk_error *error) {
    memset(model, 0, sizeof *model);
    LK_TRY(lk_refuse_foreign(path, error));
    if (lk_directory_exists(path))
        LK_TRY(lk_safetensors_open_folder(&model->file, path, "diffusion_pytorch_model", error));
    else
        LK_TRY(lk_safetensors_open(&model->file, path, error));
    model->source = (lk_weight_source){weights, &model->view, "taesd", ""};
    LK_TRY(make_view(model, path, error));
    return declare(model, path, error);
}

void lk_taesd_close(lk_taesd *model) {
    lk_safetensors_close(&model->view);
    lk_safetensors_close(&model->file);
    memset(model, 0, sizeof *model);
}
