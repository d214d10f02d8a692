/* api/networks.c - see networks.h. */
#include "api/networks.h"

#include <string.h>

/* ---- a graph, its plan, its instances ---- */

void lk_network_close(lk_network *net) {
    for (int i = 0; i < net->instance_count; i++)
        lk_instance_destroy(net->instance[i]);
    lk_plan_destroy(net->plan);
    lk_graph_destroy(net->graph);
    *net = (lk_network){.gradient_section = -1, .pieces = 1};
}

likeness_status lk_network_begin(lk_network *net, lk_weights *weights, int32_t pieces, lk_error *error) {
    *net = (lk_network){.gradient_section = -1, .pieces = pieces};
    net->graph = lk_graph_create(weights, error);
    if (!net->graph) return error->status;
    net->weights = weights;
    lk_graph_recompute(net->graph, pieces);
    return LIKENESS_OK;
}

likeness_status lk_network_finish(lk_network *net, const likeness_context *context, lk_error *error) {
    likeness_status status = lk_graph_status(net->graph, error);
    if (status == LIKENESS_OK) {
        lk_plan_options options = {.max_block = lk_device_caps(context->device)->max_block};
        net->plan = lk_plan_create(net->graph, &options, error);
        if (!net->plan) status = error->status;
        if (net->plan) net->scratch = lk_plan_scratch_bytes(net->plan, context->device);
    }
    if (status != LIKENESS_OK) lk_network_close(net);
    return status;
}

uint64_t lk_network_bytes(const lk_network *net, int count) {
    uint64_t arena = net->arena ? 0 : lk_plan_information(net->plan).arena_bytes;
    return (arena + net->scratch) * (uint64_t)(count > 0 ? count : 0);
}

uint64_t lk_memory_left(const likeness_context *context) {
    const lk_caps *caps = lk_device_caps(context->device);
    uint64_t all = caps->budget_bytes ? caps->budget_bytes : caps->heap_bytes, limit = context->options.max_memory;
    if (limit > 0 && (all == 0 || limit < all)) all = limit;
    uint64_t taken = lk_device_memory_now(context->device);
    if (all == 0) return UINT64_MAX;
    return taken < all ? all - taken : 0;
}

likeness_status lk_network_instances(lk_network *net, likeness_context *context, int count, lk_error *error) {
    uint64_t need = lk_network_bytes(net, count - net->instance_count), left = lk_memory_left(context);
    uint64_t weights = count > net->instance_count ? lk_weights_missing_bytes(net->weights) : 0;
    if (count > LK_NETWORK_MAX_INSTANCES)
        return lk_fail(error, LIKENESS_INTERNAL, "%d instances of a network, %d is the most", count,
                       LK_NETWORK_MAX_INSTANCES);
    if (need + weights > left)
        return lk_fail(error, LIKENESS_OUT_OF_MEMORY,
                       "weights need %.1f MiB and activations %.1f MiB of device memory, %.1f MiB are left: ask for a "
                       "smaller picture, close other programs, or choose another device",
                       (double)weights / 1048576, (double)need / 1048576, (double)left / 1048576);
    lk_instance_options options = {.variants = context->variants, .arena = net->arena};
    while (net->instance_count < count) {
        lk_instance *instance = lk_instance_create(net->plan, context->device, &options, error);
        if (!instance) return error->status;
        net->instance[net->instance_count++] = instance;
    }
    return LIKENESS_OK;
}

/* ---- text ---- */

likeness_status lk_text_network_build(lk_text_network *text, const lk_model *model, likeness_context *context,
                                      int32_t skip, lk_error *error) {
    if (text->net.plan && text->skip == skip) return LIKENESS_OK;
    lk_network_close(&text->net);
    LK_TRY(lk_network_begin(&text->net, model->text_weights, 1, error));
    text->skip = skip;
    lk_graph *g = text->net.graph;
    text->length = model->text.config.positions;
    if (model->tokenizer.max_length < text->length) text->length = (int32_t)model->tokenizer.max_length;
    text->ids = lk_graph_input(g, "ids", lk_shape2(1, text->length), LK_I32);
    text->hidden = lk_clip_text_build(&model->text, g, lk_clip_text_embed(&model->text, g, text->ids), skip, NULL);
    lk_graph_output(g, text->hidden, "hidden");
    return lk_network_finish(&text->net, context, error);
}

/* ---- flow ---- */

/* Both branches of classifier-free guidance, unconditional first. In the batched form the two samples are one batch;
 * else the conditional branch is built first, so that both forms add the two gradients in the same order. */
static lk_value both_branches(lk_flow_network *f, const lk_model *model, lk_unet_inputs in) {
    lk_graph *g = f->net.graph;
    lk_value branches[2];
    if (f->batched) {
        lk_value twice[2] = {f->z, f->z}, times[2] = {f->time, f->time};
        in.sample = lk_concat(g, twice, 2, 0);
        in.time = lk_concat(g, times, 2, 0);
        in.context = lk_concat(g, f->context, 2, 0);
        lk_value v = lk_unet_build(&model->unet, g, &in, NULL);
        branches[0] = lk_slice(g, v, 0, 0, 1);
        branches[1] = lk_slice(g, v, 0, 1, 1);
    } else {
        for (int branch = 1; branch >= 0; branch--) {
            in.context = f->context[branch];
            lk_graph_push_scope(g, "%s", branch ? "cond" : "uncond");
            branches[branch] = lk_unet_build(&model->unet, g, &in, NULL);
            lk_graph_pop_scope(g);
        }
    }
    return lk_cfg_combine(g, branches[0], branches[1], f->weight);
}

static void build_flow(lk_flow_network *f, const lk_model *model, int32_t length) {
    lk_graph *g = f->net.graph;
    const lk_unet_config *c = &model->unet.config;
    lk_shape latent = lk_shape4(1, c->in_channels, f->height, f->width);
    lk_shape tokens = lk_shape3(1, length, model->text.config.width);
    f->z = lk_graph_input(g, "z", latent, LK_F32);
    f->time = lk_graph_input(g, "time", lk_shape2(1, c->channels[0]), LK_F32);
    f->context[1] = lk_graph_input(g, "context", tokens, LK_F32);
    f->context[0] = f->weight = LK_NO_VALUE;
    lk_unet_inputs in = {.sample = f->z, .time = f->time, .context = f->context[1], .key_bias = LK_NO_VALUE};
    if (f->guided_free) {
        f->context[0] = lk_graph_input(g, "context without prompt", tokens, LK_F32);
        f->weight = lk_graph_input(g, "weight", lk_shape1(1), LK_F32);
        f->prediction = both_branches(f, model, in);
    } else {
        f->prediction = lk_unet_build(&model->unet, g, &in, NULL);
    }
    lk_graph_output(g, f->prediction, "prediction");
    f->cotangent = f->z_gradient = LK_NO_VALUE;
    if (!f->gradient || lk_graph_status(g, &(lk_error)LK_ERROR_INIT) != LIKENESS_OK) return;
    f->cotangent = lk_graph_input(g, "cotangent", latent, LK_F32);
    f->net.gradient_section = lk_graph_gradient(g, &f->prediction, &f->cotangent, 1, &f->z, 1, &f->z_gradient);
    lk_graph_output(g, f->z_gradient, "gradient");
}

likeness_status lk_flow_network_build(lk_flow_network *flow, const lk_model *model, likeness_context *context,
                                      int32_t height, int32_t width, bool guided_free, bool batched, bool gradient,
                                      int32_t pieces, lk_error *error) {
    if (flow->net.plan && flow->height == height && flow->width == width && flow->guided_free == guided_free &&
        flow->batched == batched && flow->gradient == gradient && flow->net.pieces == pieces)
        return LIKENESS_OK;
    lk_network_close(&flow->net);
    flow->height = height;
    flow->width = width;
    flow->guided_free = guided_free;
    flow->batched = batched;
    flow->gradient = gradient;
    int64_t length = model->text.config.positions;
    if (model->tokenizer.max_length < length) length = model->tokenizer.max_length;
    LK_TRY(lk_network_begin(&flow->net, model->unet_weights, pieces, error));
    build_flow(flow, model, (int32_t)length);
    return lk_network_finish(&flow->net, context, error);
}

/* ---- encoder of pictures ---- */

likeness_status lk_encode_network_build(lk_encode_network *encode, const lk_model *model, likeness_context *context,
                                        int32_t height, int32_t width, lk_error *error) {
    if (encode->net.plan && encode->height == height && encode->width == width) return LIKENESS_OK;
    lk_network_close(&encode->net);
    LK_TRY(lk_network_begin(&encode->net, model->encode_weights, 1, error));
    lk_graph *g = encode->net.graph;
    encode->height = height;
    encode->width = width;
    encode->picture = lk_graph_input(g, "picture", lk_shape4(1, 3, height, width), LK_F32);
    lk_value mean = lk_vae_encode(&model->vae, g, lk_scale_shift(g, encode->picture, 2, -1), NULL, NULL);
    encode->latent = lk_vae_scale(&model->vae, g, mean);
    lk_graph_output(g, encode->latent, "latent");
    return lk_network_finish(&encode->net, context, error);
}

/* ---- picture ---- */

/* The largest centred square: what lk_image_fit cuts out of a picture that is not square. */
static lk_value centred_square(lk_graph *g, lk_value x) {
    lk_shape shape = lk_graph_shape(g, x);
    if (shape.rank != 4 || shape.dim[2] == shape.dim[3]) return x;
    int axis = shape.dim[2] > shape.dim[3] ? 2 : 3, side = shape.dim[axis == 2 ? 3 : 2];
    return lk_slice(g, x, axis, (shape.dim[axis] - side) / 2, side);
}

static void build_guide(lk_picture_network *p, const lk_onnx_network *encoder) {
    lk_graph *g = p->net.graph;
    lk_value seen = centred_square(g, lk_clamp(g, p->picture, 0, 1));
    p->reference = LK_NO_VALUE;
    if (p->target >= 0) {
        p->score = lk_onnx_log_probability(encoder, g, seen, p->target);
    } else {
        lk_value embedding = lk_onnx_embed(encoder, g, seen);
        lk_shape shape = lk_graph_shape(g, embedding);
        if (lk_graph_status(g, &(lk_error)LK_ERROR_INIT) != LIKENESS_OK) return;
        p->reference = lk_graph_input(g, "reference", shape, LK_F32);
        p->score = lk_cosine(g, embedding, p->reference);
    }
    if (lk_graph_status(g, &(lk_error)LK_ERROR_INIT) != LIKENESS_OK) return;
    lk_graph_output(g, p->score, "score");
    p->cotangent = lk_graph_input(g, "cotangent", lk_shape1(1), LK_F32);
    p->net.gradient_section = lk_graph_gradient(g, &p->score, &p->cotangent, 1, &p->latent, 1, &p->latent_gradient);
    lk_graph_output(g, p->latent_gradient, "gradient");
}

static void build_pull(lk_picture_network *p) {
    lk_graph *g = p->net.graph;
    if (lk_graph_status(g, &(lk_error)LK_ERROR_INIT) != LIKENESS_OK) return;
    p->cotangent = lk_graph_input(g, "cotangent", lk_graph_shape(g, p->picture), LK_F32);
    p->net.gradient_section = lk_graph_gradient(g, &p->picture, &p->cotangent, 1, &p->latent, 1, &p->latent_gradient);
    lk_graph_output(g, p->latent_gradient, "gradient");
}

static likeness_status build_picture(lk_picture_network *p, const lk_model *model, const lk_onnx_network *encoder,
                                     int32_t target, bool pulling, likeness_context *context, int32_t height,
                                     int32_t width, int32_t pieces, lk_error *error) {
    bool guiding = encoder != NULL;
    if (p->net.plan && p->height == height && p->width == width && p->guiding == guiding && p->target == target &&
        p->pulling == pulling && p->net.pieces == pieces)
        return LIKENESS_OK;
    lk_network_close(&p->net);
    *p = (lk_picture_network){
        .net = p->net, .height = height, .width = width, .guiding = guiding, .target = target, .pulling = pulling};
    LK_TRY(lk_network_begin(&p->net, model->picture_weights, pieces, error));
    lk_graph *g = p->net.graph;
    p->latent = lk_graph_input(g, "latent", lk_shape4(1, model->vae.config.latent_channels, height, width), LK_F32);
    p->picture = lk_model_decode(model, g, p->latent);
    lk_graph_output(g, p->picture, "picture");
    if (guiding) build_guide(p, encoder);
    if (pulling) build_pull(p);
    return lk_network_finish(&p->net, context, error);
}

likeness_status lk_picture_network_build(lk_picture_network *picture, const lk_model *model,
                                         const lk_onnx_network *encoder, int32_t target, likeness_context *context,
                                         int32_t height, int32_t width, int32_t pieces, lk_error *error) {
    return build_picture(picture, model, encoder, target, false, context, height, width, pieces, error);
}

likeness_status lk_preview_network_build(lk_picture_network *picture, const lk_model *model, likeness_context *context,
                                         int32_t height, int32_t width, lk_error *error) {
    if (!model->preview_weights)
        return lk_picture_network_build(picture, model, NULL, -1, context, height, width, 1, error);
    if (picture->net.plan && picture->height == height && picture->width == width) return LIKENESS_OK;
    lk_network_close(&picture->net);
    *picture = (lk_picture_network){.net = picture->net, .height = height, .width = width, .target = -1};
    LK_TRY(lk_network_begin(&picture->net, model->preview_weights, 1, error));
    lk_graph *g = picture->net.graph;
    picture->latent = lk_graph_input(g, "latent", lk_shape4(1, model->taesd.latent_channels, height, width), LK_F32);
    picture->picture = lk_taesd_decode(&model->taesd, g, picture->latent);
    lk_graph_output(g, picture->picture, "picture");
    return lk_network_finish(&picture->net, context, error);
}

likeness_status lk_picture_pull_build(lk_picture_network *picture, const lk_model *model, likeness_context *context,
                                      int32_t height, int32_t width, int32_t pieces, lk_error *error) {
    return build_picture(picture, model, NULL, -1, true, context, height, width, pieces, error);
}

/* ---- crops ---- */

/* The picture is cut off at 0 and 1, then warped, then reduced by the mean of fine x fine samples. */
static void build_slot(lk_crop_network *c, const lk_onnx_network *encoder, lk_value clamped, int index) {
    lk_graph *g = c->net.graph;
    lk_crop_slot *slot = &c->slot[index];
    const lk_attributes mean = {
        .pool = {.kernel = {c->fine, c->fine}, .stride = {c->fine, c->fine}, .kind = LK_POOL_AVERAGE}};
    lk_graph_push_scope(g, "crop%d", index);
    slot->theta = lk_graph_input(g, "theta", lk_shape3(1, 2, 3), LK_F32);
    slot->crop = lk_affine_warp(g, clamped, slot->theta, c->side * c->fine, c->side * c->fine);
    if (c->fine > 1) slot->crop = lk_pool2d(g, slot->crop, &mean);
    slot->embedding = lk_onnx_embed(encoder, g, slot->crop);
    lk_shape shape = lk_graph_shape(g, slot->embedding);
    c->embedding_width = shape.rank == 2 ? shape.dim[1] : 0;
    if (lk_graph_status(g, &(lk_error)LK_ERROR_INIT) == LIKENESS_OK) {
        slot->reference = lk_graph_input(g, "reference", shape, LK_F32);
        slot->cosine = lk_cosine(g, slot->embedding, slot->reference);
        slot->cosine_cotangent = lk_graph_input(g, "cosine cotangent", lk_shape1(1), LK_F32);
        lk_graph_output(g, slot->embedding, "embedding");
    }
    if (c->differences) {
        slot->reference_crop = lk_graph_input(g, "reference crop", lk_shape4(1, 3, c->side, c->side), LK_F32);
        slot->difference = lk_loss(g, slot->crop, slot->reference_crop, false);
        slot->difference_cotangent = lk_graph_input(g, "difference cotangent", lk_shape1(1), LK_F32);
        lk_graph_output(g, slot->crop, "crop");
    }
    lk_graph_pop_scope(g);
}

static void build_crop_gradient(lk_crop_network *c) {
    lk_graph *g = c->net.graph;
    lk_value outputs[2 * LIKENESS_MAX_PEOPLE], cotangents[2 * LIKENESS_MAX_PEOPLE];
    int count = 0;
    for (int i = 0; i < c->slots; i++) {
        outputs[count] = c->slot[i].cosine;
        cotangents[count++] = c->slot[i].cosine_cotangent;
        if (!c->differences) continue;
        outputs[count] = c->slot[i].difference;
        cotangents[count++] = c->slot[i].difference_cotangent;
    }
    c->net.gradient_section = lk_graph_gradient(g, outputs, cotangents, count, &c->picture, 1, &c->picture_gradient);
    lk_graph_output(g, c->picture_gradient, "gradient");
}

likeness_status lk_crop_network_build(lk_crop_network *crop, const lk_onnx_network *encoder, likeness_context *context,
                                      const lk_crop_network *wanted, lk_error *error) {
    if (crop->net.plan && crop->height == wanted->height && crop->width == wanted->width &&
        crop->side == wanted->side && crop->fine == wanted->fine && crop->slots == wanted->slots &&
        crop->differences == wanted->differences)
        return LIKENESS_OK;
    lk_network_close(&crop->net);
    *crop = (lk_crop_network){.net = crop->net,
                              .height = wanted->height,
                              .width = wanted->width,
                              .side = wanted->side,
                              .fine = wanted->fine,
                              .slots = wanted->slots,
                              .differences = wanted->differences};
    LK_TRY(lk_network_begin(&crop->net, encoder->weights, 1, error));
    lk_graph *g = crop->net.graph;
    crop->picture = lk_graph_input(g, "picture", lk_shape4(1, 3, crop->height, crop->width), LK_F32);
    lk_value clamped = lk_clamp(g, crop->picture, 0, 1);
    for (int i = 0; i < crop->slots; i++)
        build_slot(crop, encoder, clamped, i);
    if (lk_graph_status(g, &(lk_error)LK_ERROR_INIT) == LIKENESS_OK) build_crop_gradient(crop);
    return lk_network_finish(&crop->net, context, error);
}

/* ---- embedding ---- */

likeness_status lk_embed_network_build(lk_embed_network *embed, const lk_onnx_network *encoder, int32_t side,
                                       likeness_context *context, lk_error *error) {
    if (embed->net.plan && embed->side == side) return LIKENESS_OK;
    lk_network_close(&embed->net);
    LK_TRY(lk_network_begin(&embed->net, encoder->weights, 1, error));
    lk_graph *g = embed->net.graph;
    embed->side = side;
    embed->picture = lk_graph_input(g, "picture", lk_shape4(1, 3, side, side), LK_F32);
    embed->embedding = lk_onnx_embed(encoder, g, embed->picture);
    lk_graph_output(g, embed->embedding, "embedding");
    lk_shape shape = lk_graph_shape(g, embed->embedding);
    embed->width = shape.rank == 2 ? shape.dim[1] : 0;
    return lk_network_finish(&embed->net, context, error);
}
