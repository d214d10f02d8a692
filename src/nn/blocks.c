/* nn/blocks.c - residual block, transformer, pixel attention, upsampling, as diffusers defines them. See nn.h. */
#include "nn/nn.h"

static const int32_t same3[4] = {1, 1, 1, 1};

/* ---- residual block ---- */

lk_value lk_nn_resnet(lk_nn *nn, lk_value x, lk_value time, const lk_resnet_options *o) {
    lk_value rows = LK_NO_VALUE, h = lk_nn_group_norm(nn, "norm1", x, o->in, o->groups, o->epsilon, true);
    if (o->time > 0) {
        /* The projected time embedding is added to conv1's output: the convolution takes it as its bias, one row a
         * sample, with its own bias inside. */
        lk_shape shape = lk_shape2(o->out, o->time);
        lk_graph_push_scope(nn->graph, "time_emb_proj");
        lk_value w = lk_nn_weight(nn, "time_emb_proj.weight", LK_WEIGHT_MATRIX, shape, shape, 1);
        lk_value b = lk_nn_vector_sum(nn, "time_emb_proj.bias", "conv1.bias", o->out);
        rows = lk_matmul(nn->graph, time, w, b, LK_NO_VALUE);
        lk_graph_pop_scope(nn->graph);
    }
    h = lk_nn_conv(nn, "conv1", h, o->in, o->out, 3, 1, same3, rows, LK_NO_VALUE);
    h = lk_nn_group_norm(nn, "norm2", h, o->out, o->groups, o->epsilon, true);
    lk_value skip = o->in == o->out ? x : lk_nn_conv1x1(nn, "conv_shortcut", x, o->in, o->out, LK_NO_VALUE);
    bool fuse = lk_nn_fuses(nn);
    h = lk_nn_conv(nn, "conv2", h, o->out, o->out, 3, 1, same3, LK_NO_VALUE, fuse ? skip : LK_NO_VALUE);
    return fuse ? h : lk_nn_add(nn, skip, h);
}

/* ---- transformer ---- */

/* One attention of a transformer block, residual included: skip + to_out(attention(to_q x, to_k source, to_v source)).
 */
static lk_value attend(lk_nn *nn, const char *name, lk_value skip, lk_value x, lk_value source, lk_value key_bias,
                       int source_width, bool cross, const lk_transformer_options *o) {
    const lk_hooks *hooks = nn->hooks;
    lk_nn_push(nn, "%s", name);
    int c = o->channels;
    lk_value q = lk_nn_linear(nn, "to_q", x, c, c, false, LK_NO_VALUE);
    lk_value k = lk_nn_linear(nn, "to_k", source, source_width, c, false, LK_NO_VALUE);
    lk_value v = lk_nn_linear(nn, "to_v", source, source_width, c, false, LK_NO_VALUE);
    lk_value y = lk_attention(nn->graph, q, k, v, o->heads, 0, false, key_bias);
    if (cross && hooks && hooks->extra_cross_attention)
        y = hooks->extra_cross_attention(hooks->user, nn->graph, nn->path, q, y, o->heads);
    bool listened = !cross && hooks && hooks->after_self_attention;
    bool fuse = lk_nn_fuses(nn) && !listened;
    y = lk_nn_linear(nn, "to_out.0", y, c, c, true, fuse ? skip : LK_NO_VALUE);
    if (listened) y = hooks->after_self_attention(hooks->user, nn->graph, nn->path, y);
    if (!fuse) y = lk_nn_add(nn, skip, y);
    lk_nn_pop(nn);
    return y;
}

static lk_value transformer_block(lk_nn *nn, lk_value x, lk_value context, lk_value key_bias,
                                  const lk_transformer_options *o) {
    int c = o->channels;
    lk_value h = lk_nn_layer_norm(nn, "norm1", x, c, 1e-5f);
    x = attend(nn, "attn1", x, h, h, LK_NO_VALUE, c, false, o);
    if (o->context > 0) {
        h = lk_nn_layer_norm(nn, "norm2", x, c, 1e-5f);
        x = attend(nn, "attn2", x, h, context, key_bias, o->context, true, o);
    }
    h = lk_nn_layer_norm(nn, "norm3", x, c, 1e-5f);
    lk_nn_push(nn, "ff");
    h = lk_geglu(nn->graph, lk_nn_linear(nn, "net.0.proj", h, c, 8 * c, true, LK_NO_VALUE));
    bool fuse = lk_nn_fuses(nn);
    h = lk_nn_linear(nn, "net.2", h, 4 * c, c, true, fuse ? x : LK_NO_VALUE);
    x = fuse ? h : lk_nn_add(nn, x, h);
    lk_nn_pop(nn);
    return x;
}

static lk_value projection(lk_nn *nn, const char *name, lk_value tokens, const lk_transformer_options *o,
                           lk_value residual) {
    return o->linear_projection ? lk_nn_linear(nn, name, tokens, o->channels, o->channels, true, residual)
                                : lk_nn_conv1x1(nn, name, tokens, o->channels, o->channels, residual);
}

lk_value lk_nn_transformer(lk_nn *nn, lk_value x, lk_value context, lk_value key_bias,
                           const lk_transformer_options *o) {
    const lk_hooks *hooks = nn->hooks;
    lk_shape shape = lk_graph_shape(nn->graph, x);
    /* The norm first: then its gradient comes last and adds to what came through the skip. */
    lk_value h = lk_nn_group_norm(nn, "norm", x, o->channels, o->groups, 1e-6f, false);
    lk_value skip = lk_to_tokens(nn->graph, x);
    h = projection(nn, "proj_in", lk_to_tokens(nn->graph, h), o, LK_NO_VALUE);
    for (int i = 0; i < o->layers; i++) {
        lk_nn_push(nn, "transformer_blocks.%d", i);
        h = transformer_block(nn, h, context, key_bias, o);
        lk_nn_pop(nn);
    }
    bool listened = hooks && hooks->after_proj_out, fuse = lk_nn_fuses(nn) && !listened;
    h = projection(nn, "proj_out", h, o, fuse ? skip : LK_NO_VALUE);
    if (listened) h = hooks->after_proj_out(hooks->user, nn->graph, nn->path, h);
    if (!fuse) h = lk_nn_add(nn, skip, h);
    return lk_from_tokens(nn->graph, h, shape.dim[2], shape.dim[3]);
}

/* ---- the autoencoder's parts ---- */

/* Old files know these layers under other names. */
static const char *either(lk_nn *nn, const char *weight, const char *name, const char *old_weight, const char *old) {
    return !lk_nn_has(nn, weight) && lk_nn_has(nn, old_weight) ? old : name;
}

lk_value lk_nn_pixel_attention(lk_nn *nn, lk_value x, int channels, int groups, float epsilon) {
    lk_shape shape = lk_graph_shape(nn->graph, x);
    lk_value h = lk_to_tokens(nn->graph, lk_nn_group_norm(nn, "group_norm", x, channels, groups, epsilon, false));
    lk_value skip = lk_to_tokens(nn->graph, x);
    const char *names[4] = {either(nn, "to_q.weight", "to_q", "query.weight", "query"),
                            either(nn, "to_k.weight", "to_k", "key.weight", "key"),
                            either(nn, "to_v.weight", "to_v", "value.weight", "value"),
                            either(nn, "to_out.0.weight", "to_out.0", "proj_attn.weight", "proj_attn")};
    lk_value q = lk_nn_linear(nn, names[0], h, channels, channels, true, LK_NO_VALUE);
    lk_value k = lk_nn_linear(nn, names[1], h, channels, channels, true, LK_NO_VALUE);
    lk_value v = lk_nn_linear(nn, names[2], h, channels, channels, true, LK_NO_VALUE);
    h = lk_attention(nn->graph, q, k, v, 1, 0, false, LK_NO_VALUE);
    bool listened = nn->hooks && nn->hooks->after_self_attention, fuse = lk_nn_fuses(nn) && !listened;
    h = lk_nn_linear(nn, names[3], h, channels, channels, true, fuse ? skip : LK_NO_VALUE);
    if (listened) h = nn->hooks->after_self_attention(nn->hooks->user, nn->graph, nn->path, h);
    if (!fuse) h = lk_nn_add(nn, skip, h);
    return lk_from_tokens(nn->graph, h, shape.dim[2], shape.dim[3]);
}

lk_value lk_nn_upsample(lk_nn *nn, lk_value x, int channels, int height, int width) {
    x = lk_upsample_nearest(nn->graph, x, height, width);
    return lk_nn_conv_same(nn, "conv", x, channels, channels, 3);
}
