/* models/unet2d.c - graph of a UNet2DConditionModel. See unet2d.h; the config is read in unet2d_config.c. */
#include "models/unet2d.h"

#include <math.h>
#include <string.h>

enum { MAX_SKIPS = 256 };

typedef struct builder {
    lk_nn nn;
    const lk_unet_config *config;
    lk_value time; /* [N,time_width] after its last SiLU: what every resnet projects */
    lk_value context, key_bias;
    lk_value skips[MAX_SKIPS]; /* outputs of the down path, taken from the end by the up path */
    int channels[MAX_SKIPS];   /* of each skip */
    int count;
} builder;

/* ---- time ---- */

void lk_unet_time_features(const lk_unet_config *config, double timestep, float *features) {
    int width = config->channels[0], half = width / 2;
    for (int i = 0; i < half; i++) {
        double angle = timestep * exp(-log(10000.0) * i / (half - config->frequency_shift));
        features[config->flip_sin_to_cos ? half + i : i] = (float)sin(angle);
        features[config->flip_sin_to_cos ? i : half + i] = (float)cos(angle);
    }
    if (width % 2) features[width - 1] = 0;
}

static lk_value time_embedding(lk_nn *nn, lk_value features, const lk_unet_config *c) {
    lk_nn_push(nn, "time_embedding");
    lk_value h = lk_nn_linear(nn, "linear_1", features, c->channels[0], c->time_width, true, LK_NO_VALUE);
    h = lk_nn_linear(nn, "linear_2", lk_silu(nn->graph, h), c->time_width, c->time_width, true, LK_NO_VALUE);
    h = lk_silu(nn->graph, h);
    lk_nn_pop(nn);
    return h;
}

/* ---- blocks ---- */

static void push_skip(builder *b, lk_value value, int channels) {
    if (b->count == MAX_SKIPS) {
        lk_graph_fail(b->nn.graph, LIKENESS_UNSUPPORTED, "unet: more than %d layers", (int)MAX_SKIPS);
        return;
    }
    b->channels[b->count] = channels;
    b->skips[b->count++] = value;
}

static lk_value resnet(builder *b, int index, lk_value x, int in, int out) {
    lk_resnet_options options = {.in = in,
                                 .out = out,
                                 .time = b->config->time_width,
                                 .groups = b->config->groups,
                                 .epsilon = (float)b->config->epsilon};
    lk_nn_push(&b->nn, "resnets.%d", index);
    x = lk_nn_resnet(&b->nn, x, b->time, &options);
    lk_nn_pop(&b->nn);
    return x;
}

static lk_value transformer(builder *b, int index, int level, lk_value x) {
    const lk_unet_config *c = b->config;
    lk_transformer_options options = {.channels = c->channels[level],
                                      .heads = c->heads[level],
                                      .layers = c->transformer_layers[level],
                                      .context = c->context[level],
                                      .groups = c->groups,
                                      .linear_projection = c->linear_projection};
    lk_nn_push(&b->nn, "attentions.%d", index);
    x = lk_nn_transformer(&b->nn, x, b->context, b->key_bias, &options);
    lk_nn_pop(&b->nn);
    return x;
}

static lk_value down_block(builder *b, int level, lk_value x) {
    static const int32_t even[4] = {1, 1, 1, 1}, bottom_right[4] = {0, 0, 1, 1};
    const lk_unet_config *c = b->config;
    int channels = c->channels[level];
    lk_nn_push(&b->nn, "down_blocks.%d", level);
    for (int i = 0; i < c->layers[level]; i++) {
        x = resnet(b, i, x, i > 0 || level == 0 ? channels : c->channels[level - 1], channels);
        if (c->down_cross[level]) x = transformer(b, i, level, x);
        push_skip(b, x, channels);
    }
    if (level + 1 < c->levels) {
        x = lk_nn_conv(&b->nn, "downsamplers.0.conv", x, channels, channels, 3, 2,
                       c->downsample_padding == 0 ? bottom_right : even, LK_NO_VALUE, LK_NO_VALUE);
        push_skip(b, x, channels);
    }
    lk_nn_pop(&b->nn);
    return x;
}

static lk_value mid_block(builder *b, lk_value x) {
    int level = b->config->levels - 1, channels = b->config->channels[level];
    if (b->config->mid == LK_UNET_MID_NONE) return x;
    lk_nn_push(&b->nn, "mid_block");
    x = resnet(b, 0, x, channels, channels);
    if (b->config->mid == LK_UNET_MID_CROSS) {
        x = transformer(b, 0, level, x);
        x = resnet(b, 1, x, channels, channels);
    }
    lk_nn_pop(&b->nn);
    return x;
}

static lk_value up_block(builder *b, int index, lk_value x, int *in) {
    const lk_unet_config *c = b->config;
    int level = c->levels - 1 - index, channels = c->channels[level];
    lk_nn_push(&b->nn, "up_blocks.%d", index);
    for (int i = 0; i <= c->layers[level] && b->count > 0; i++) {
        b->count--;
        lk_value parts[2] = {x, b->skips[b->count]};
        x = lk_concat(b->nn.graph, parts, 2, 1);
        x = resnet(b, i, x, *in + b->channels[b->count], channels);
        *in = channels;
        if (c->up_cross[index]) x = transformer(b, i, level, x);
    }
    if (index + 1 < c->levels && b->count > 0) {
        /* To the size of the next skip, which is not twice this one where a size did not halve evenly. */
        lk_shape size = lk_graph_shape(b->nn.graph, b->skips[b->count - 1]);
        lk_nn_push(&b->nn, "upsamplers.0");
        x = lk_nn_upsample(&b->nn, x, channels, size.dim[2], size.dim[3]);
        lk_nn_pop(&b->nn);
    }
    lk_nn_pop(&b->nn);
    return x;
}

/* ---- the whole ---- */

static bool has_cross(const lk_unet_config *c) {
    bool any = c->mid == LK_UNET_MID_CROSS;
    for (int i = 0; i < c->levels; i++)
        any = any || c->down_cross[i] || c->up_cross[i];
    return any;
}

static bool check_inputs(lk_graph *graph, const lk_unet_inputs *in, const lk_unet_config *c) {
    lk_shape x = lk_graph_shape(graph, in->sample), t = lk_graph_shape(graph, in->time);
    lk_shape context = lk_graph_shape(graph, in->context);
    bool good =
        x.rank == 4 && x.dim[1] == c->in_channels && t.rank == 2 && t.dim[0] == x.dim[0] && t.dim[1] == c->channels[0];
    if (has_cross(c)) good = good && context.rank == 3 && context.dim[0] == x.dim[0];
    if (good) return true;
    char text[3][96];
    lk_graph_fail(
        graph, LIKENESS_USAGE,
        "unet: sample %s, time %s, context %s; expected [N,%d,H,W], [N,%d] and, with cross-attention, [N,S,D]",
        lk_shape_text(&x, text[0], sizeof text[0]), lk_shape_text(&t, text[1], sizeof text[1]),
        lk_shape_text(&context, text[2], sizeof text[2]), (int)c->in_channels, (int)c->channels[0]);
    return false;
}

lk_value lk_unet_build(const lk_unet *model, lk_graph *graph, const lk_unet_inputs *inputs, const lk_hooks *hooks) {
    const lk_unet_config *c = &model->config;
    builder b = {.config = c, .context = inputs->context, .key_bias = inputs->key_bias};
    lk_nn_start(&b.nn, graph, &model->source, hooks);
    if (!check_inputs(graph, inputs, c)) return LK_NO_VALUE;
    b.time = time_embedding(&b.nn, inputs->time, c);
    lk_value x = inputs->sample;
    if (c->center_input) x = lk_scale_shift(graph, x, 2, -1);
    x = lk_nn_conv_same(&b.nn, "conv_in", x, c->in_channels, c->channels[0], c->conv_in_kernel);
    push_skip(&b, x, c->channels[0]);
    for (int i = 0; i < c->levels; i++)
        x = down_block(&b, i, x);
    x = mid_block(&b, x);
    int channels = c->channels[c->levels - 1];
    for (int i = 0; i < c->levels; i++)
        x = up_block(&b, i, x, &channels);
    x = lk_nn_group_norm(&b.nn, "conv_norm_out", x, c->channels[0], c->groups, (float)c->epsilon, true);
    return lk_nn_conv_same(&b.nn, "conv_out", x, c->channels[0], c->out_channels, c->conv_out_kernel);
}

/* ---- opening ---- */

/* Declares every weight by building a throw-away graph, the only list of tensors there is. */
static likeness_status declare(lk_unet *model, lk_error *error) {
    const lk_unet_config *c = &model->config;
    lk_graph *graph = lk_graph_create(model->source.weights, error);
    if (!graph) return error->status;
    int side = 1 << (c->levels - 1);
    lk_unet_inputs inputs = {lk_graph_input(graph, "sample", lk_shape4(1, c->in_channels, side, side), LK_F32),
                             lk_graph_input(graph, "time", lk_shape2(1, c->channels[0]), LK_F32),
                             lk_graph_input(graph, "context", lk_shape3(1, 1, c->context[0]), LK_F32), LK_NO_VALUE};
    lk_unet_build(model, graph, &inputs, NULL);
    likeness_status status = lk_graph_status(graph, error);
    lk_graph_destroy(graph);
    if (status == LIKENESS_OK) status = lk_nn_check_all_used(&model->source, NULL, error);
    return status;
}

likeness_status lk_unet_open_view(lk_unet *model, const lk_unet_config *config, lk_safetensors *view,
                                  lk_weights *weights, lk_error *error) {
    *model = (lk_unet){.config = *config, .file = *view};
    memset(view, 0, sizeof *view);
    model->source = (lk_weight_source){weights, &model->file, "unet", ""};
    return declare(model, error);
}

likeness_status lk_unet_open(lk_unet *model, const char *folder, lk_weights *weights, lk_error *error) {
    lk_unet_config config;
    lk_safetensors file;
    memset(model, 0, sizeof *model);
    LK_TRY(lk_unet_read_config(&config, folder, error));
    LK_TRY(lk_safetensors_open_folder(&file, folder, "diffusion_pytorch_model", error));
    likeness_status status = lk_unet_open_view(model, &config, &file, weights, error);
    if (status != LIKENESS_OK) lk_error_prefix(error, "%s", folder);
    return status;
}

void lk_unet_close(lk_unet *model) {
    lk_safetensors_close(&model->file);
    memset(model, 0, sizeof *model);
}
