/* models/unet2d_config.c - config.json of a UNet2DConditionModel, every key accounted for. See unet2d.h. */
#include "models/unet2d.h"

#include "models/config_file.h"

#include <string.h>

/* Keys that change nothing as long as the keys that are checked below have their only supported value. */
static const char *const without_effect[] = {"_diffusers_version",
                                             "_name_or_path",
                                             "addition_embed_type_num_heads", /* with addition_embed_type only */
                                             "dropout",                       /* training only */
                                             "upcast_attention",              /* everything is summed in f32 here */
                                             NULL};

/* Keys that switch on parts that this builder does not have. */
static const char *const must_be_null[] = {"addition_embed_type",
                                           "addition_time_embed_dim",
                                           "class_embed_type",
                                           "cross_attention_norm",
                                           "encoder_hid_dim",
                                           "encoder_hid_dim_type",
                                           "num_attention_heads",
                                           "num_class_embeds",
                                           "projection_class_embeddings_input_dim",
                                           "reverse_transformer_layers_per_block",
                                           "time_cond_proj_dim",
                                           "time_embedding_act_fn",
                                           "timestep_post_act",
                                           NULL};

static likeness_status check_fixed(lk_json *json, lk_error *error) {
    for (const char *const *key = must_be_null; *key; key++)
        LK_TRY(lk_json_expect_null(json, NULL, *key, error));
    LK_TRY(lk_json_expect_text(json, NULL, "act_fn", "silu", error));
    LK_TRY(lk_json_expect_text(json, NULL, "attention_type", "default", error));
    LK_TRY(lk_json_expect_text(json, NULL, "resnet_time_scale_shift", "default", error));
    LK_TRY(lk_json_expect_text(json, NULL, "time_embedding_type", "positional", error));
    LK_TRY(lk_json_expect_bool(json, NULL, "class_embeddings_concat", false, error));
    LK_TRY(lk_json_expect_bool(json, NULL, "dual_cross_attention", false, error));
    LK_TRY(lk_json_expect_bool(json, NULL, "mid_block_only_cross_attention", false, error));
    LK_TRY(lk_json_expect_bool(json, NULL, "only_cross_attention", false, error));
    LK_TRY(lk_json_expect_bool(json, NULL, "resnet_skip_time_act", false, error));
    LK_TRY(lk_json_expect_double(json, NULL, "mid_block_scale_factor", 1, error));
    return lk_json_expect_double(json, NULL, "resnet_out_scale_factor", 1, error);
}

/* Which levels have a transformer beside each resnet. */
static likeness_status read_blocks(lk_json *json, const char *key, const char *plain, const char *cross, int32_t levels,
                                   bool *has_cross, lk_error *error) {
    const char *types[LK_UNET_MAX_LEVELS];
    size_t count = 0;
    LK_TRY(lk_json_texts(json, NULL, key, types, LK_UNET_MAX_LEVELS, &count, error));
    if (count != (size_t)levels)
        return lk_fail(error, LIKENESS_BAD_FILE, "%s: '%s' has %zu entries, 'block_out_channels' has %d", json->name,
                       key, count, (int)levels);
    for (size_t i = 0; i < count; i++) {
        has_cross[i] = strcmp(types[i], cross) == 0;
        if (!has_cross[i] && strcmp(types[i], plain) != 0)
            return lk_fail(error, LIKENESS_UNSUPPORTED, "%s: '%s[%zu]' is %s, supported are %s and %s", json->name, key,
                           i, types[i], plain, cross);
    }
    return LIKENESS_OK;
}

static likeness_status read_mid(lk_json *json, lk_unet_config *c, lk_error *error) {
    static const char key[] = "mid_block_type";
    const lk_json_value *given = lk_json_find(json, NULL, key);
    const char *type = "UNetMidBlock2DCrossAttn";
    if (!given && lk_json_present(json, NULL, key)) {
        c->mid = LK_UNET_MID_NONE;
        return LIKENESS_OK;
    }
    if (given) LK_TRY(lk_json_text(json, NULL, key, &type, error));
    c->mid = strcmp(type, "UNetMidBlock2D") == 0 ? LK_UNET_MID_PLAIN : LK_UNET_MID_CROSS;
    if (c->mid == LK_UNET_MID_CROSS && strcmp(type, "UNetMidBlock2DCrossAttn") != 0)
        return lk_fail(error, LIKENESS_UNSUPPORTED,
                       "%s: '%s' is %s, supported are UNetMidBlock2DCrossAttn and UNetMidBlock2D", json->name, key,
                       type);
    return LIKENESS_OK;
}

static likeness_status check_sizes(const lk_json *json, const lk_unet_config *c, lk_error *error) {
    for (int i = 0; i < c->levels; i++) {
        bool cross =
            c->down_cross[i] || c->up_cross[c->levels - 1 - i] || (i == c->levels - 1 && c->mid == LK_UNET_MID_CROSS);
        if (c->channels[i] % c->groups != 0)
            return lk_fail(error, LIKENESS_BAD_FILE,
                           "%s: 'block_out_channels[%d]' %d is not a multiple of 'norm_num_groups' %d", json->name, i,
                           (int)c->channels[i], (int)c->groups);
        if (cross && c->channels[i] % c->heads[i] != 0)
            return lk_fail(error, LIKENESS_BAD_FILE,
                           "%s: 'block_out_channels[%d]' %d is not a multiple of its %d heads ('attention_head_dim')",
                           json->name, i, (int)c->channels[i], (int)c->heads[i]);
    }
    if (c->downsample_padding != 0 && c->downsample_padding != 1)
        return lk_fail(error, LIKENESS_UNSUPPORTED, "%s: 'downsample_padding' is %d, supported are 0 and 1", json->name,
                       (int)c->downsample_padding);
    if (c->conv_in_kernel % 2 == 0 || c->conv_out_kernel % 2 == 0)
        return lk_fail(error, LIKENESS_UNSUPPORTED, "%s: 'conv_in_kernel' and 'conv_out_kernel' must be odd",
                       json->name);
    return LIKENESS_OK;
}

static likeness_status read_config(lk_json *json, lk_unet_config *c, lk_error *error) {
    LK_TRY(lk_config_class(json, "UNet2DConditionModel", error));
    LK_TRY(lk_config_channels(json, "block_out_channels", LK_UNET_MAX_LEVELS, c->channels, &c->levels, error));
    LK_TRY(
        read_blocks(json, "down_block_types", "DownBlock2D", "CrossAttnDownBlock2D", c->levels, c->down_cross, error));
    LK_TRY(read_blocks(json, "up_block_types", "UpBlock2D", "CrossAttnUpBlock2D", c->levels, c->up_cross, error));
    LK_TRY(read_mid(json, c, error));
    LK_TRY(lk_config_int(json, "in_channels", 1, 1024, 4, &c->in_channels, error));
    LK_TRY(lk_config_int(json, "out_channels", 1, 1024, 4, &c->out_channels, error));
    const lk_json_value *size = lk_json_find(json, NULL, "sample_size");
    if (size && lk_json_is_list(size)) {
        int64_t both[2] = {0, 0};
        size_t count;
        LK_TRY(lk_json_ints(json, NULL, "sample_size", 1, 65536, both, 2, &count, error));
        c->sample_size = (int32_t)both[0];
    } else {
        LK_TRY(lk_config_int(json, "sample_size", 0, 65536, 0, &c->sample_size, error));
    }
    LK_TRY(lk_config_levels(json, "layers_per_block", 1, 100, 2, c->levels, c->layers, error));
    LK_TRY(lk_config_levels(json, "attention_head_dim", 1, 65536, 8, c->levels, c->heads, error));
    LK_TRY(lk_config_levels(json, "transformer_layers_per_block", 1, 1000, 1, c->levels, c->transformer_layers, error));
    LK_TRY(lk_config_levels(json, "cross_attention_dim", 1, 65536, 1280, c->levels, c->context, error));
    LK_TRY(lk_config_int(json, "norm_num_groups", 1, 65536, 32, &c->groups, error));
    LK_TRY(lk_json_double_or(json, NULL, "norm_eps", 1e-5, &c->epsilon, error));
    LK_TRY(lk_config_int(json, "downsample_padding", 0, 64, 1, &c->downsample_padding, error));
    LK_TRY(lk_config_int(json, "conv_in_kernel", 1, 63, 3, &c->conv_in_kernel, error));
    LK_TRY(lk_config_int(json, "conv_out_kernel", 1, 63, 3, &c->conv_out_kernel, error));
    LK_TRY(lk_config_int(json, "time_embedding_dim", 1, 1 << 20, 4 * c->channels[0], &c->time_width, error));
    LK_TRY(lk_json_bool_or(json, NULL, "use_linear_projection", false, &c->linear_projection, error));
    LK_TRY(lk_json_bool_or(json, NULL, "center_input_sample", false, &c->center_input, error));
    LK_TRY(lk_json_bool_or(json, NULL, "flip_sin_to_cos", true, &c->flip_sin_to_cos, error));
    LK_TRY(lk_json_double_or(json, NULL, "freq_shift", 0, &c->frequency_shift, error));
    LK_TRY(check_fixed(json, error));
    LK_TRY(check_sizes(json, c, error));
    lk_config_ignore(json, without_effect);
    return lk_json_unused(json, NULL, error);
}

likeness_status lk_unet_read_config(lk_unet_config *config, const char *folder, lk_error *error) {
    lk_json json;
    memset(config, 0, sizeof *config);
    LK_TRY(lk_config_read(&json, folder, "config.json", error));
    likeness_status status = read_config(&json, config, error);
    lk_json_free(&json);
    return status;
}
