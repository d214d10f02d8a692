/* nn/layers.c - linear, convolution, norms. See nn.h. */
#include "nn/nn.h"

#include <stdio.h>

enum { WORD = 192 };

static const char *word(char out[WORD], const char *name, const char *tensor) {
    snprintf(out, WORD, "%s.%s", name, tensor);
    return out;
}

static lk_value vector(lk_nn *nn, const char *name, const char *tensor, int size) {
    char text[WORD];
    return lk_nn_weight(nn, word(text, name, tensor), LK_WEIGHT_VECTOR, lk_shape1(size), lk_shape1(size), 1);
}

/* Through the hook of named layers. */
static lk_value finish(lk_nn *nn, const char *name, lk_value x, lk_value y) {
    if (!nn->hooks || !nn->hooks->layer) return y;
    char path[sizeof nn->path + WORD];
    snprintf(path, sizeof path, "%s%s%s", nn->path, nn->path[0] ? "." : "", name);
    return nn->hooks->layer(nn->hooks->user, nn->graph, path, x, y);
}

lk_value lk_nn_linear(lk_nn *nn, const char *name, lk_value x, int in, int out, bool bias, lk_value residual) {
    char text[WORD];
    lk_shape shape = lk_shape2(out, in);
    lk_graph_push_scope(nn->graph, "%s", name);
    lk_value w = lk_nn_weight(nn, word(text, name, "weight"), LK_WEIGHT_MATRIX, shape, shape, 1);
    lk_value b = bias ? vector(nn, name, "bias", out) : LK_NO_VALUE;
    lk_value y = finish(nn, name, x, lk_matmul(nn->graph, x, w, b, residual));
    lk_graph_pop_scope(nn->graph);
    return y;
}

lk_value lk_nn_conv1x1(lk_nn *nn, const char *name, lk_value x, int in, int out, lk_value residual) {
    char text[WORD];
    lk_graph_push_scope(nn->graph, "%s", name);
    lk_value w =
        lk_nn_weight(nn, word(text, name, "weight"), LK_WEIGHT_MATRIX, lk_shape4(out, in, 1, 1), lk_shape2(out, in), 1);
    lk_value b = vector(nn, name, "bias", out);
    lk_value y = finish(nn, name, x, lk_matmul(nn->graph, x, w, b, residual));
    lk_graph_pop_scope(nn->graph);
    return y;
}

lk_value lk_nn_conv(lk_nn *nn, const char *name, lk_value x, int in, int out, int kernel, int stride,
                    const int32_t padding[4], lk_value rows, lk_value residual) {
    char text[WORD];
    lk_shape shape = lk_shape4(out, in, kernel, kernel);
    lk_conv2d_options options = {.stride = {stride, stride},
                                 .padding = {padding[0], padding[1], padding[2], padding[3]}};
    lk_graph_push_scope(nn->graph, "%s", name);
    lk_value w = lk_nn_weight(nn, word(text, name, "weight"), LK_WEIGHT_MATRIX, shape, shape, 1);
    lk_value b = rows != LK_NO_VALUE ? rows : vector(nn, name, "bias", out);
    lk_value y = finish(nn, name, x, lk_conv2d(nn->graph, x, w, b, residual, options));
    lk_graph_pop_scope(nn->graph);
    return y;
}

lk_value lk_nn_conv_same(lk_nn *nn, const char *name, lk_value x, int in, int out, int kernel) {
    int32_t p = kernel / 2, padding[4] = {p, p, p, p};
    return lk_nn_conv(nn, name, x, in, out, kernel, 1, padding, LK_NO_VALUE, LK_NO_VALUE);
}

bool lk_nn_fuses(const lk_nn *nn) { return !nn->hooks || !nn->hooks->residual; }

lk_value lk_nn_add(lk_nn *nn, lk_value skip, lk_value branch) {
    if (lk_nn_fuses(nn)) return lk_add(nn->graph, skip, branch);
    return nn->hooks->residual(nn->hooks->user, nn->graph, nn->path, skip, branch);
}

lk_value lk_nn_group_norm(lk_nn *nn, const char *name, lk_value x, int channels, int groups, float epsilon, bool silu) {
    lk_graph_push_scope(nn->graph, "%s", name);
    lk_value gamma = vector(nn, name, "weight", channels), beta = vector(nn, name, "bias", channels);
    lk_value y = lk_group_norm(nn->graph, x, gamma, beta, groups, epsilon, silu);
    lk_graph_pop_scope(nn->graph);
    return y;
}

lk_value lk_nn_layer_norm(lk_nn *nn, const char *name, lk_value x, int channels, float epsilon) {
    lk_graph_push_scope(nn->graph, "%s", name);
    lk_value gamma = vector(nn, name, "weight", channels), beta = vector(nn, name, "bias", channels);
    lk_value y = lk_layer_norm(nn->graph, x, gamma, beta, epsilon);
    lk_graph_pop_scope(nn->graph);
    return y;
}
