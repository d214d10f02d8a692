/* tests/models/test_cameo.c - the model that ships: it opens, its networks compute what diffusers and transformers
 * compute (fixture: tests/reference/cameo.py), and they are as small as promised.
 *
 * LIKENESS_TEST_MODEL and LIKENESS_TEST_MODEL_CASE name another folder and fixture. */
#include "models/model_test.h"

#include "base/file.h"
#include "base/hash.h"
#include "models/model.h"
#include "models/onnx_graph.h"

static lk_model model;
static bool opened;

static void open_model(void) {
    lk_error error = LK_ERROR_INIT;
    const char *folder = getenv("LIKENESS_TEST_MODEL");
    char path[600];
    if (!folder) folder = LIKENESS_SOURCE_DIR "/assets/cameo";
    snprintf(path, sizeof path, "%s/model_index.json", folder);
    if (!lk_file_exists(path)) {
        printf("skipped: %s does not exist\n", path);
        skip();
    }
    if (opened) return;
    assert_ok(lk_model_open(&model, folder, false, &error), &error);
    opened = true;
}

/* ---- size ---- */

static double gflop(const lk_graph *graph, int section) { return lk_graph_cost(graph, section).flops / 1e9; }

static int64_t parameters(const lk_safetensors *file) {
    int64_t count = 0;
    for (size_t i = 0; i < file->count; i++)
        count += (int64_t)file->tensors[i].elements;
    return count;
}

static lk_graph *new_graph(lk_weights *weights) {
    lk_error error = LK_ERROR_INIT;
    lk_graph *graph = lk_graph_create(weights, &error);
    if (!graph) fail_msg("%s", error.message);
    return graph;
}

static lk_value unet_graph(lk_graph *g, int batch, lk_unet_inputs *in) {
    const lk_unet_config *c = &model.unet.config;
    in->sample = lk_graph_input(g, "sample", lk_shape4(batch, c->in_channels, c->sample_size, c->sample_size), LK_F32);
    in->time = lk_graph_input(g, "time", lk_shape2(batch, c->channels[0]), LK_F32);
    in->context = lk_graph_input(g, "context", lk_shape3(batch, 77, c->context[0]), LK_F32);
    in->key_bias = LK_NO_VALUE;
    return lk_unet_build(&model.unet, g, in, NULL);
}

/* Appends the gradient with respect to x and prints what both sections cost. */
static double price(lk_graph *g, const char *name, lk_value x, lk_value y) {
    lk_error error = LK_ERROR_INIT;
    lk_value cotangent, gradient;
    lk_graph_output(g, y, "y");
    assert_ok(lk_graph_status(g, &error), &error);
    cotangent = lk_graph_input(g, "cotangent", lk_graph_shape(g, y), LK_F32);
    int forward = (int)lk_graph_node_count(g);
    int section = lk_graph_gradient(g, &y, &cotangent, 1, &x, 1, &gradient);
    assert_ok(lk_graph_status(g, &error), &error);
    lk_graph_output(g, gradient, "gradient");
    lk_plan *plan = lk_plan_create(g, &(lk_plan_options){0}, &error);
    assert_non_null(plan);
    printf("%-17s forward %.3f GFLOP, %d nodes; gradient %.3f GFLOP, %d nodes; %d commands, arena %.1f MiB\n", name,
           gflop(g, 0), forward, gflop(g, section), (int)lk_graph_node_count(g) - forward,
           (int)lk_plan_information(plan).commands, (double)lk_plan_information(plan).arena_bytes / 1048576);
    lk_plan_destroy(plan);
    return gflop(g, 0);
}

static void test_size(void **state) {
    (void)state;
    open_model();
    lk_error error = LK_ERROR_INIT;
    lk_unet_inputs in;
    lk_graph *g = new_graph(model.unet_weights);
    lk_value y = unet_graph(g, 1, &in);
    assert_true(price(g, "unet", in.sample, y) <= 1.2);
    lk_graph_destroy(g);
    assert_true(parameters(&model.unet.file) <= 12000000);
    printf("unet has %.2f M parameters, text encoder %.2f, autoencoder %.2f\n",
           (double)parameters(&model.unet.file) / 1e6, (double)parameters(&model.text.file) / 1e6,
           (double)parameters(&model.vae.file) / 1e6);

    int side = model.size / lk_vae_factor(&model.vae.config), channels = model.vae.config.latent_channels;
    g = new_graph(model.picture_weights);
    lk_value z = lk_graph_input(g, "z", lk_shape4(1, channels, side, side), LK_F32);
    y = lk_vae_decode(&model.vae, g, lk_vae_unscale(&model.vae, g, z), NULL);
    assert_true(price(g, "decoder", z, y) <= 3);
    lk_graph_destroy(g);

    if (!model.identity_encoder) return;
    lk_onnx_network encoder;
    lk_weights *weights = lk_weights_create(false);
    assert_ok(lk_onnx_network_open(&encoder, model.identity_encoder, "identity", weights, &error), &error);
    g = new_graph(weights);
    lk_value picture = lk_graph_input(g, "picture", lk_shape4(1, 3, model.size, model.size), LK_F32);
    y = lk_onnx_embed(&encoder, g, picture);
    assert_true(price(g, "identity encoder", picture, y) <= 0.2);
    lk_graph_destroy(g);
    lk_weights_destroy(weights);
    lk_onnx_network_close(&encoder);
}

/* ---- values ---- */

/* The fixture, unless it belongs to other weights. */
static bool same_weights(const lk_safetensors *file) {
    static const char *const names[] = {"text_encoder/model.safetensors", "unet/diffusion_pytorch_model.safetensors",
                                        "vae/diffusion_pytorch_model.safetensors"};
    const char *wanted = lk_safetensors_metadata(file, "weights");
    char all[3 * 64 + 1] = "";
    for (int i = 0; i < 3; i++) {
        lk_error error = LK_ERROR_INIT;
        lk_mapping mapping;
        char hex[65], *path = lk_path_join(model.folder, names[i]);
        if (lk_file_map(path, &mapping, &error) != LIKENESS_OK) fail_msg("%s", error.message);
        lk_sha256_hex(mapping.data, mapping.size, hex);
        strcat(all, hex);
        lk_file_unmap(&mapping);
        lk_free(path);
    }
    return wanted && strcmp(wanted, all) == 0;
}

static void begin(model_case *c, const char *name) {
    lk_error error = LK_ERROR_INIT;
    const char *path = getenv("LIKENESS_TEST_MODEL_CASE");
    if (!path) path = LIKENESS_SOURCE_DIR "/tests/data/models/cameo/case.safetensors";
    memset(c, 0, sizeof *c);
    c->name = name;
    c->section = -1;
    if (!lk_file_exists(path)) {
        printf("skipped: %s does not exist; tests/reference/cameo.py makes it\n", path);
        skip();
    }
    assert_ok(lk_safetensors_open(&c->file, path, &error), &error);
    if (!same_weights(&c->file)) {
        lk_safetensors_close(&c->file);
        printf("skipped: %s belongs to other weights; tests/reference/cameo.py makes it anew\n", path);
        skip();
    }
}

/* The C reference is too slow for these sizes: a device computes, or nothing does. */
static void check(model_case *c) {
    case_check_device(c, 1e-4);
    case_report(c);
    lk_graph_destroy(c->graph);
    c->graph = NULL;
    case_end(c);
}

static void test_text(void **state) {
    (void)state;
    open_model();
    model_case c;
    begin(&c, "text encoder");
    c.graph = new_graph(model.text_weights);
    lk_value ids = case_input(&c, "ids");
    case_output(&c, lk_clip_text_build(&model.text, c.graph, lk_clip_text_embed(&model.text, c.graph, ids), 0, NULL),
                "hidden", NULL);
    check(&c);
}

static void test_unet(void **state) {
    (void)state;
    open_model();
    model_case c;
    begin(&c, "unet");
    c.graph = new_graph(model.unet_weights);
    int width = model.unet.config.channels[0];
    double *steps = case_values(&c.file, "steps", 2), *time = malloc(2 * (size_t)width * sizeof *time);
    float *features = malloc((size_t)width * sizeof *features);
    for (int n = 0; n < 2; n++) {
        lk_unet_time_features(&model.unet.config, steps[n], features);
        for (int i = 0; i < width; i++)
            time[n * width + i] = (double)features[i];
    }
    lk_unet_inputs in = {.key_bias = LK_NO_VALUE};
    in.sample = case_input(&c, "sample");
    in.context = case_input(&c, "hidden");
    in.time = case_input_values(&c, "time", lk_shape2(2, width), LK_F32, time);
    case_output(&c, lk_unet_build(&model.unet, c.graph, &in, NULL), "velocity", "velocity_cotangent");
    case_gradient(&c, &in.sample, (const char *const[]){"gradient"}, 1);
    check(&c);
    free(steps);
    free(features);
}

static void test_decoder(void **state) {
    (void)state;
    open_model();
    model_case c;
    begin(&c, "decoder");
    c.graph = new_graph(model.picture_weights);
    lk_value z = case_input(&c, "z");
    case_output(&c, lk_vae_decode(&model.vae, c.graph, z, NULL), "picture", "picture_cotangent");
    case_gradient(&c, &z, (const char *const[]){"z_gradient"}, 1);
    check(&c);
}

static void test_encoder(void **state) {
    (void)state;
    open_model();
    model_case c;
    begin(&c, "encoder");
    c.graph = new_graph(model.encode_weights);
    lk_value picture = case_input(&c, "encoder_input");
    case_output(&c, lk_vae_encode(&model.vae, c.graph, picture, NULL, NULL), "mean", NULL);
    check(&c);
}

static int close_model(void **state) {
    (void)state;
    if (opened) lk_model_close(&model);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_size), cmocka_unit_test(test_text),
                                       cmocka_unit_test(test_unet), cmocka_unit_test(test_decoder),
                                       cmocka_unit_test(test_encoder)};
    int failed = cmocka_run_group_tests(tests, NULL, close_model);
    if (case_device()) lk_device_close(case_device());
    return failed;
}
