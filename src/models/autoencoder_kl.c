/* models/autoencoder_kl.c - see autoencoder_kl.h. */
#include "models/autoencoder_kl.h"

#include "base/memory.h"
#include "models/config_file.h"

#include <stdio.h>
#include <string.h>

static const float epsilon = 1e-6f; /* of every norm; not in the config */

/* ---- config ---- */

static const char *const without_effect[] = {"_diffusers_version", "_name_or_path",
                                             "force_upcast", /* everything is summed in f32 here */
                                             NULL};

static likeness_status check_blocks(lk_json *json, const char *key, const char *only, int32_t levels, lk_error *error) {
    const char *types[LK_VAE_MAX_LEVELS];
    size_t count = 0;
    LK_TRY(lk_json_texts(json, NULL, key, types, LK_VAE_MAX_LEVELS, &count, error));
    if (count != (size_t)levels)
        return lk_fail(error, LIKENESS_BAD_FILE, "%s: '%s' has %zu entries, 'block_out_channels' has %d", json->name,
                       key, count, (int)levels);
    for (size_t i = 0; i < count; i++)
        if (strcmp(types[i], only) != 0)
            return lk_fail(error, LIKENESS_UNSUPPORTED, "%s: '%s[%zu]' is %s, only %s is supported", json->name, key, i,
                           types[i], only);
    return LIKENESS_OK;
}

static likeness_status read_config(lk_json *json, lk_vae_config *c, lk_error *error) {
    LK_TRY(lk_config_class(json, "AutoencoderKL", error));
    LK_TRY(lk_config_channels(json, "block_out_channels", LK_VAE_MAX_LEVELS, c->channels, &c->levels, error));
    LK_TRY(check_blocks(json, "down_block_types", "DownEncoderBlock2D", c->levels, error));
    LK_TRY(check_blocks(json, "up_block_types", "UpDecoderBlock2D", c->levels, error));
    LK_TRY(lk_config_int(json, "in_channels", 1, 1024, 3, &c->in_channels, error));
    LK_TRY(lk_config_int(json, "out_channels", 1, 1024, 3, &c->out_channels, error));
    LK_TRY(lk_config_int(json, "latent_channels", 1, 1024, 4, &c->latent_channels, error));
    LK_TRY(lk_config_int(json, "layers_per_block", 1, 100, 1, &c->layers, error));
    LK_TRY(lk_config_int(json, "norm_num_groups", 1, 65536, 32, &c->groups, error));
    LK_TRY(lk_config_int(json, "sample_size", 0, 65536, 0, &c->sample_size, error));
    LK_TRY(lk_json_expect_text(json, NULL, "act_fn", "silu", error));
    LK_TRY(lk_json_expect_null(json, NULL, "latents_mean", error));
    LK_TRY(lk_json_expect_null(json, NULL, "latents_std", error));
    LK_TRY(lk_json_double_or(json, NULL, "scaling_factor", 0.18215, &c->scaling_factor, error));
    LK_TRY(lk_json_double_or(json, NULL, "shift_factor", 0, &c->shift_factor, error));
    if (!(c->scaling_factor > 0))
        return lk_fail(error, LIKENESS_BAD_FILE, "%s: 'scaling_factor' is not positive", json->name);
    LK_TRY(lk_json_bool_or(json, NULL, "mid_block_add_attention", true, &c->mid_attention, error));
    LK_TRY(lk_json_bool_or(json, NULL, "use_quant_conv", true, &c->quant_conv, error));
    LK_TRY(lk_json_bool_or(json, NULL, "use_post_quant_conv", true, &c->post_quant_conv, error));
    for (int i = 0; i < c->levels; i++)
        if (c->channels[i] % c->groups != 0)
            return lk_fail(error, LIKENESS_BAD_FILE,
                           "%s: 'block_out_channels[%d]' %d is not a multiple of 'norm_num_groups' %d", json->name, i,
                           (int)c->channels[i], (int)c->groups);
    lk_config_ignore(json, without_effect);
    return lk_json_unused(json, NULL, error);
}

likeness_status lk_vae_read_config(lk_vae_config *config, const char *folder, lk_error *error) {
    lk_json json;
    memset(config, 0, sizeof *config);
    LK_TRY(lk_config_read(&json, folder, "config.json", error));
    likeness_status status = read_config(&json, config, error);
    lk_json_free(&json);
    return status;
}

int lk_vae_factor(const lk_vae_config *config) { return 1 << (config->levels - 1); }

/* ---- graph ---- */

static lk_value resnets(lk_nn *nn, lk_value x, int in, int out, int count, const lk_vae_config *c) {
    for (int i = 0; i < count; i++) {
        lk_resnet_options options = {.in = i == 0 ? in : out, .out = out, .groups = c->groups, .epsilon = epsilon};
        lk_nn_push(nn, "resnets.%d", i);
        x = lk_nn_resnet(nn, x, LK_NO_VALUE, &options);
        lk_nn_pop(nn);
    }
    return x;
}

static lk_value mid_block(lk_nn *nn, lk_value x, const lk_vae_config *c) {
    int channels = c->channels[c->levels - 1];
    lk_resnet_options options = {.in = channels, .out = channels, .groups = c->groups, .epsilon = epsilon};
    for (int i = 0; i < 2; i++) {
        lk_nn_push(nn, "mid_block.resnets.%d", i);
        x = lk_nn_resnet(nn, x, LK_NO_VALUE, &options);
        lk_nn_pop(nn);
        if (i == 1 || !c->mid_attention) continue;
        lk_nn_push(nn, "mid_block.attentions.0");
        x = lk_nn_pixel_attention(nn, x, channels, c->groups, epsilon);
        lk_nn_pop(nn);
    }
    return x;
}

static bool has_channels(lk_graph *graph, lk_value x, int channels, const char *what) {
    lk_shape shape = lk_graph_shape(graph, x);
    if (shape.rank == 4 && shape.dim[1] == channels) return true;
    char text[96];
    lk_graph_fail(graph, LIKENESS_USAGE, "vae: %s %s, expected [N,%d,H,W]", what,
                  lk_shape_text(&shape, text, sizeof text), channels);
    return false;
}

lk_value lk_vae_encode(const lk_vae *model, lk_graph *graph, lk_value picture, const lk_hooks *hooks,
                       lk_value *log_variance) {
    static const int32_t bottom_right[4] = {0, 0, 1, 1};
    const lk_vae_config *c = &model->config;
    int top = c->channels[c->levels - 1], moments = 2 * c->latent_channels;
    lk_nn nn;
    lk_nn_start(&nn, graph, &model->encoder, hooks);
    if (log_variance) *log_variance = LK_NO_VALUE;
    if (!has_channels(graph, picture, c->in_channels, "picture")) return LK_NO_VALUE;
    lk_nn_push(&nn, "encoder");
    lk_value x = lk_nn_conv_same(&nn, "conv_in", picture, c->in_channels, c->channels[0], 3);
    for (int i = 0; i < c->levels; i++) {
        lk_nn_push(&nn, "down_blocks.%d", i);
        x = resnets(&nn, x, c->channels[i > 0 ? i - 1 : 0], c->channels[i], c->layers, c);
        if (i + 1 < c->levels)
            x = lk_nn_conv(&nn, "downsamplers.0.conv", x, c->channels[i], c->channels[i], 3, 2, bottom_right,
                           LK_NO_VALUE, LK_NO_VALUE);
        lk_nn_pop(&nn);
    }
    x = mid_block(&nn, x, c);
    x = lk_nn_group_norm(&nn, "conv_norm_out", x, top, c->groups, epsilon, true);
    x = lk_nn_conv_same(&nn, "conv_out", x, top, moments, 3);
    lk_nn_pop(&nn);
    if (c->quant_conv) x = lk_nn_conv1x1(&nn, "quant_conv", x, moments, moments, LK_NO_VALUE);
    if (log_variance)
        *log_variance = lk_clamp(graph, lk_slice(graph, x, 1, c->latent_channels, c->latent_channels), -30, 20);
    return lk_slice(graph, x, 1, 0, c->latent_channels);
}

lk_value lk_vae_decode(const lk_vae *model, lk_graph *graph, lk_value z, const lk_hooks *hooks) {
    const lk_vae_config *c = &model->config;
    int top = c->channels[c->levels - 1];
    lk_nn nn;
    lk_nn_start(&nn, graph, &model->decoder, hooks);
    if (!has_channels(graph, z, c->latent_channels, "latent")) return LK_NO_VALUE;
    lk_value x = z;
    if (c->post_quant_conv)
        x = lk_nn_conv1x1(&nn, "post_quant_conv", x, c->latent_channels, c->latent_channels, LK_NO_VALUE);
    lk_nn_push(&nn, "decoder");
    x = lk_nn_conv_same(&nn, "conv_in", x, c->latent_channels, top, 3);
    x = mid_block(&nn, x, c);
    for (int i = 0; i < c->levels; i++) {
        int level = c->levels - 1 - i, out = c->channels[level];
        lk_nn_push(&nn, "up_blocks.%d", i);
        x = resnets(&nn, x, i == 0 ? top : c->channels[level + 1], out, c->layers + 1, c);
        if (i + 1 < c->levels) {
            lk_shape shape = lk_graph_shape(graph, x);
            lk_nn_push(&nn, "upsamplers.0");
            x = lk_nn_upsample(&nn, x, out, 2 * shape.dim[2], 2 * shape.dim[3]);
            lk_nn_pop(&nn);
        }
        lk_nn_pop(&nn);
    }
    x = lk_nn_group_norm(&nn, "conv_norm_out", x, c->channels[0], c->groups, epsilon, true);
    x = lk_nn_conv_same(&nn, "conv_out", x, c->channels[0], c->out_channels, 3);
    lk_nn_pop(&nn);
    return x;
}

lk_value lk_vae_scale(const lk_vae *model, lk_graph *graph, lk_value z) {
    double factor = model->config.scaling_factor, shift = model->config.shift_factor;
    if (factor == 1 && shift == 0) return z;
    return lk_scale_shift(graph, z, (float)factor, (float)(-shift * factor));
}

lk_value lk_vae_unscale(const lk_vae *model, lk_graph *graph, lk_value latent) {
    double factor = model->config.scaling_factor, shift = model->config.shift_factor;
    if (factor == 1 && shift == 0) return latent;
    return lk_scale_shift(graph, latent, (float)(1 / factor), (float)shift);
}

/* ---- opening ---- */

/* Builds one half once in a throw-away graph, which declares its weights. */
static likeness_status declare(lk_vae *model, bool decoder, lk_error *error) {
    const lk_vae_config *c = &model->config;
    lk_graph *graph = lk_graph_create(decoder ? model->decoder.weights : model->encoder.weights, error);
    if (!graph) return error->status;
    int side = decoder ? 1 : lk_vae_factor(c), channels = decoder ? c->latent_channels : c->in_channels;
    lk_value x = lk_graph_input(graph, "x", lk_shape4(1, channels, side, side), LK_F32);
    if (decoder)
        lk_vae_decode(model, graph, x, NULL);
    else
        lk_vae_encode(model, graph, x, NULL, NULL);
    likeness_status status = lk_graph_status(graph, error);
    lk_graph_destroy(graph);
    return status;
}

/* Both halves are built even when only one is wanted: the other one's tensors have to be right, too. */
static likeness_status declare_all(lk_vae *model, lk_error *error) {
    lk_weights *spare = NULL;
    likeness_status status = LIKENESS_OK;
    for (int decoder = 0; decoder < 2 && status == LIKENESS_OK; decoder++) {
        lk_weight_source *source = decoder ? &model->decoder : &model->encoder;
        lk_weights *wanted = source->weights;
        if (!wanted) {
            if (!spare) spare = lk_weights_create(false);
            if (!spare) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for the autoencoder's weights");
            source->weights = spare;
        }
        status = declare(model, decoder, error);
        source->weights = wanted;
    }
    lk_weights_destroy(spare);
    if (status == LIKENESS_OK) status = lk_nn_check_all_used(&model->decoder, NULL, error);
    return status;
}

likeness_status lk_vae_open_view(lk_vae *model, const lk_vae_config *config, lk_safetensors *view,
                                 lk_weights *encoder_weights, lk_weights *decoder_weights, lk_error *error) {
    *model = (lk_vae){.config = *config, .file = *view};
    memset(view, 0, sizeof *view);
    model->encoder = (lk_weight_source){encoder_weights, &model->file, "vae", ""};
    model->decoder = (lk_weight_source){decoder_weights, &model->file, "vae", ""};
    return declare_all(model, error);
}

likeness_status lk_vae_open(lk_vae *model, const char *folder, lk_weights *encoder_weights, lk_weights *decoder_weights,
                            lk_error *error) {
    lk_vae_config config;
    lk_safetensors file;
    memset(model, 0, sizeof *model);
    LK_TRY(lk_vae_read_config(&config, folder, error));
    LK_TRY(lk_safetensors_open_folder(&file, folder, "diffusion_pytorch_model", error));
    likeness_status status = lk_vae_open_view(model, &config, &file, encoder_weights, decoder_weights, error);
    if (status != LIKENESS_OK) lk_error_prefix(error, "%s", folder);
    return status;
}

void lk_vae_close(lk_vae *model) {
    lk_safetensors_close(&model->file);
    memset(model, 0, sizeof *model);
}
