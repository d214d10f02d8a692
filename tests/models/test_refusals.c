/* tests/models/test_refusals.c - what a model folder or an ONNX file must not get away with: every refusal names the
 * file and the key, tensor or node, and leaves nothing behind. */
#include "models/model_test.h"

#include "base/file.h"
#include "base/text.h"
#include "models/autoencoder_kl.h"
#include "models/clip_text.h"
#include "models/model.h"
#include "models/onnx_graph.h"
#include "models/unet2d.h"

#include <unistd.h>

static char folder[512]; /* a temporary one with a blank and non-ASCII letters */

static int make_folder(void **state) {
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/likeness modèle-XXXXXX", base ? base : "/tmp");
    return mkdtemp(folder) ? 0 : -1;
}

static const char *inside(const char *name) {
    static char path[640];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static int remove_folder(void **state) {
    (void)state;
    static const char *const names[] = {"config.json", "model.safetensors", "diffusion_pytorch_model.safetensors",
                                        "model_index.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unlink(inside(names[i]));
    return rmdir(folder);
}

static char *fixture(const char *name, const char *file, size_t *size) {
    lk_error error = LK_ERROR_INIT;
    char path[700];
    uint8_t *data;
    snprintf(path, sizeof path, "%s/tests/data/models/%s/%s", LIKENESS_SOURCE_DIR, name, file);
    assert_ok(lk_file_read(path, 1 << 24, &data, size, &error), &error);
    return (char *)data;
}

static void put(const char *name, const char *data, size_t size) {
    lk_error error = LK_ERROR_INIT;
    assert_ok(lk_file_write(inside(name), data, size, &error), &error);
}

/* config.json of a fixture with `from` (which must occur once) replaced. */
static void put_config(const char *name, const char *from, const char *to) {
    size_t size;
    char *text = fixture(name, "config.json", &size), *at = strstr(text, from);
    if (!at || strstr(at + 1, from)) fail_msg("%s/config.json: '%s' must occur once", name, from);
    lk_text out = LK_TEXT_INIT;
    lk_text_append(&out, text, (size_t)(at - text));
    lk_text_add(&out, to);
    lk_text_add(&out, at + strlen(from));
    put("config.json", out.data, out.length);
    lk_text_free(&out);
    lk_free(text);
}

typedef likeness_status (*open_fn)(lk_error *error);

static likeness_status open_unet(lk_error *error) {
    lk_unet model;
    lk_weights *weights = lk_weights_create(false);
    if (!weights) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory");
    likeness_status status = lk_unet_open(&model, folder, weights, error);
    lk_weights_destroy(weights);
    lk_unet_close(&model);
    return status;
}

static likeness_status open_vae(lk_error *error) {
    lk_vae model;
    lk_weights *weights = lk_weights_create(false);
    if (!weights) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory");
    likeness_status status = lk_vae_open(&model, folder, NULL, weights, error);
    lk_weights_destroy(weights);
    lk_vae_close(&model);
    return status;
}

static likeness_status open_clip(lk_error *error) {
    lk_clip_text model;
    lk_weights *weights = lk_weights_create(false);
    if (!weights) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory");
    likeness_status status = lk_clip_text_open(&model, folder, weights, error);
    lk_weights_destroy(weights);
    lk_clip_text_close(&model);
    return status;
}

/* The change of the config must be refused with all three words in the message. */
static void refuse(open_fn open, const char *name, const char *from, const char *to, likeness_status wanted,
                   const char *word, const char *other, const char *third) {
    lk_error error = LK_ERROR_INIT;
    put_config(name, from, to);
    int64_t live = lk_memory_live();
    likeness_status status = open(&error);
    if (status != wanted || !strstr(error.message, word) || !strstr(error.message, other) ||
        !strstr(error.message, third))
        fail_msg("%s -> %s: status %d, message '%s', expected '%s', '%s', '%s'", from, to, (int)status, error.message,
                 word, other, third);
    assert_int_equal(lk_memory_live(), live);
}

static void put_weights(const char *name, const char *file) {
    size_t size;
    char *data = fixture(name, file, &size);
    put(file, data, size);
    lk_free(data);
}

static void test_unet_config(void **state) {
    (void)state;
    const char *json = "config.json";
    put_weights("unet_0", "diffusion_pytorch_model.safetensors");
    const likeness_status no = LIKENESS_UNSUPPORTED, bad = LIKENESS_BAD_FILE;
    refuse(open_unet, "unet_0", "\"dropout\": 0.0", "\"dropout\": 0.0, \"new_key\": 3", no, json, "new_key", "");
    refuse(open_unet, "unet_0", "\"act_fn\": \"silu\"", "\"act_fn\": \"mish\"", no, json, "act_fn", "mish");
    refuse(open_unet, "unet_0", "\"class_embed_type\": null", "\"class_embed_type\": \"identity\"", no, json,
           "class_embed_type", "");
    refuse(open_unet, "unet_0", "\"resnet_time_scale_shift\": \"default\"",
           "\"resnet_time_scale_shift\": \"scale_shift\"", no, json, "resnet_time_scale_shift", "");
    refuse(open_unet, "unet_0", "\"UNetMidBlock2DCrossAttn\"", "\"UNetMidBlock2DSimpleCrossAttn\"", no, json,
           "mid_block_type", "UNetMidBlock2DSimpleCrossAttn");
    refuse(open_unet, "unet_0", "\"CrossAttnUpBlock2D\"", "\"AttnUpBlock2D\"", no, json, "up_block_types",
           "AttnUpBlock2D");
    refuse(open_unet, "unet_0", "\"norm_num_groups\": 4", "\"norm_num_groups\": 3", bad, json, "norm_num_groups", "3");
    refuse(open_unet, "unet_0", "\"attention_head_dim\": 2", "\"attention_head_dim\": [2]", bad, json,
           "attention_head_dim", "2 levels");
    refuse(open_unet, "unet_0", "\"attention_head_dim\": 2", "\"attention_head_dim\": 5", bad, json, "5 heads", "16");
    refuse(open_unet, "unet_0", "\"UNet2DConditionModel\"", "\"UNet2DModel\"", no, json, "_class_name", "UNet2DModel");
    refuse(open_unet, "unet_0", "\"downsample_padding\": 1", "\"downsample_padding\": 2", no, json,
           "downsample_padding", "2");
    refuse(open_unet, "unet_0", "\"sample_size\": 16", "\"sample_size\": 16,", bad, json, "", "");
}

static void test_weights(void **state) {
    (void)state;
    const likeness_status bad = LIKENESS_BAD_FILE;
    put_weights("unet_0", "diffusion_pytorch_model.safetensors");
    refuse(open_unet, "unet_0", "\"cross_attention_dim\": 12", "\"cross_attention_dim\": 20", bad,
           "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight", "[16,12]", "[16,20]");
    refuse(open_unet, "unet_0", "\"layers_per_block\": 1", "\"layers_per_block\": 2", bad,
           "down_blocks.0.resnets.1.norm1.weight", folder, "");
    refuse(open_unet, "unet_0", "\"UNetMidBlock2DCrossAttn\"", "\"UNetMidBlock2D\"", bad,
           "mid_block.attentions.0.norm.bias", "has no place", "config.json");
    put_weights("vae_0", "diffusion_pytorch_model.safetensors");
    refuse(open_vae, "vae_0", "\"use_quant_conv\": true", "\"use_quant_conv\": false", bad, "quant_conv.bias",
           "has no place", "");
    refuse(open_vae, "vae_0", "\"in_channels\": 3", "\"in_channels\": 4", bad, "encoder.conv_in.weight", "[8,3,3,3]",
           "[8,4,3,3]");
    refuse(open_vae, "vae_0", "\"latents_mean\": null", "\"latents_mean\": [0.5]", LIKENESS_UNSUPPORTED, "config.json",
           "latents_mean", "");
    put_weights("clip_0", "model.safetensors");
    refuse(open_clip, "clip_0", "\"vocab_size\": 50", "\"vocab_size\": 51", bad, "token_embedding.weight", "[50,16]",
           "[51,16]");
    refuse(open_clip, "clip_0", "\"quick_gelu\"", "\"gelu_new\"", LIKENESS_UNSUPPORTED, "config.json", "hidden_act",
           "gelu_new");
    refuse(open_clip, "clip_0", "\"layer_norm_eps\"", "\"layer_norm_epsilon\"", LIKENESS_UNSUPPORTED, "config.json",
           "layer_norm_epsilon", "");
}

/* ---- folders ---- */

static void test_folder(void **state) {
    (void)state;
    lk_error error = LK_ERROR_INIT;
    lk_model model;
    assert_int_equal(lk_model_open(&model, inside("nowhere"), false, &error), LIKENESS_IO);
    assert_non_null(strstr(error.message, "nowhere"));
    static const char index[] = "{\"_class_name\": \"X\", \"unet\": [\"diffusers\", \"UNet3DConditionModel\"]}";
    put("model_index.json", index, sizeof index - 1);
    error = (lk_error)LK_ERROR_INIT;
    int64_t live = lk_memory_live();
    assert_int_equal(lk_model_open(&model, folder, false, &error), LIKENESS_UNSUPPORTED);
    assert_non_null(strstr(error.message, "UNet3DConditionModel"));
    assert_int_equal(lk_memory_live(), live);
}

/* ---- memory: every allocation of opening a model fails once ---- */

static void every_allocation(open_fn open) {
    lk_error error = LK_ERROR_INIT;
    assert_ok(open(&error), &error);
    int64_t live = lk_memory_live(), n = 0;
    for (;; n += 1 + n / 40) {
        error = (lk_error)LK_ERROR_INIT;
        lk_memory_fail_after(n);
        likeness_status status = open(&error);
        lk_memory_fail_after(-1);
        if (lk_memory_live() != live) fail_msg("allocation %lld leaked", (long long)n);
        if (status == LIKENESS_OK) break;
        if (status != LIKENESS_OUT_OF_MEMORY)
            fail_msg("allocation %lld: status %d, '%s'", (long long)n, (int)status, error.message);
    }
    assert_true(n > 20);
}

static void test_memory(void **state) {
    (void)state;
    static const char *const names[] = {"unet_0", "vae_0", "clip_0"};
    static const open_fn opens[] = {open_unet, open_vae, open_clip};
    for (int i = 0; i < 3; i++) {
        size_t size;
        char *config = fixture(names[i], "config.json", &size);
        put("config.json", config, size);
        lk_free(config);
        put_weights(names[i], i == 2 ? "model.safetensors" : "diffusion_pytorch_model.safetensors");
        every_allocation(opens[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_unet_config), cmocka_unit_test(test_weights),
                                       cmocka_unit_test(test_folder), cmocka_unit_test(test_memory)};
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
