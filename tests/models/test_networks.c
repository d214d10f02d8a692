/* tests/models/test_networks.c - six small configurations of each network against diffusers and transformers: outputs
 * and vector-Jacobian products (fixtures: tests/reference/models.py). */
#include "models/model_test.h"

#include "models/autoencoder_kl.h"
#include "models/clip_text.h"
#include "models/unet2d.h"

/* Every case once with f16 matrices (whose values are exact) and once with f32 ones. */
typedef void (*case_fn)(const char *name, bool precise);
static void every(const char *kind, case_fn run) {
    char name[64];
    for (int i = 0; i < 12; i++) {
        snprintf(name, sizeof name, "%s_%d", kind, i % 6);
        run(name, i >= 6);
    }
}

/* ---- text encoder ---- */

static void run_clip(const char *name, bool precise) {
    lk_error error = LK_ERROR_INIT;
    model_case c;
    lk_clip_text model;
    case_begin(&c, name, precise);
    assert_ok(lk_clip_text_open(&model, c.folder, c.weights, &error), &error);
    case_graph(&c);
    lk_value ids = case_input(&c, "ids");
    lk_shape shape = lk_graph_shape(c.graph, ids);
    int32_t token[64], rows[8];
    for (int i = 0; i < shape.dim[0] * shape.dim[1]; i++)
        token[i] = (int32_t)c.input[0].values[i];
    lk_clip_text_pool_rows(&model.config, token, shape.dim[0], shape.dim[1], rows);
    double *row_values = malloc((size_t)shape.dim[0] * sizeof *row_values);
    for (int i = 0; i < shape.dim[0]; i++)
        row_values[i] = rows[i];
    lk_value embeddings = lk_clip_text_embed(&model, c.graph, ids);
    lk_value hidden = lk_clip_text_build(&model, c.graph, embeddings, NULL);
    lk_value row = case_input_values(&c, "rows", lk_shape1(shape.dim[0]), LK_I32, row_values);
    case_output(&c, embeddings, "embeddings", NULL);
    case_output(&c, hidden, "hidden", "cotangent");
    case_output(&c, lk_clip_text_pool(c.graph, hidden, row), "pooled", "pooled_cotangent");
    case_gradient(&c, &embeddings, (const char *const[]){"gradient"}, 1);
    case_check(&c);
    case_end(&c);
    lk_clip_text_close(&model);
}

static void test_clip(void **state) {
    (void)state;
    every("clip", run_clip);
}

/* ---- U-Net ---- */

static void run_unet(const char *name, bool precise) {
    lk_error error = LK_ERROR_INIT;
    model_case c;
    lk_unet model;
    case_begin(&c, name, precise);
    assert_ok(lk_unet_open(&model, c.folder, c.weights, &error), &error);
    case_graph(&c);
    lk_unet_inputs in = {.context = LK_NO_VALUE, .key_bias = LK_NO_VALUE};
    in.sample = case_input(&c, "sample");
    int batch = lk_graph_shape(c.graph, in.sample).dim[0], width = model.config.channels[0];
    double *steps = case_values(&c.file, "steps", batch), *time = malloc((size_t)(batch * width) * sizeof *time);
    float features[64];
    for (int n = 0; n < batch; n++) {
        lk_unet_time_features(&model.config, steps[n], features);
        for (int i = 0; i < width; i++)
            time[n * width + i] = (double)features[i];
    }
    free(steps);
    in.time = case_input_values(&c, "time", lk_shape2(batch, width), LK_F32, time);
    bool context = lk_safetensors_find(&c.file, "context") != NULL;
    if (context) in.context = case_input(&c, "context");
    if (lk_safetensors_find(&c.file, "key_bias")) in.key_bias = case_input(&c, "key_bias");
    case_output(&c, lk_unet_build(&model, c.graph, &in, NULL), "output", "cotangent");
    lk_value wrt[2] = {in.sample, in.context};
    case_gradient(&c, wrt, (const char *const[]){"gradient", "context_gradient"}, context ? 2 : 1);
    case_check(&c);
    case_end(&c);
    lk_unet_close(&model);
}

static void test_unet(void **state) {
    (void)state;
    every("unet", run_unet);
}

/* ---- autoencoder ---- */

static void run_encoder(const char *name, bool precise) {
    lk_error error = LK_ERROR_INIT;
    model_case c;
    lk_vae model;
    lk_value log_variance;
    case_begin(&c, name, precise);
    assert_ok(lk_vae_open(&model, c.folder, c.weights, NULL, &error), &error);
    case_graph(&c);
    lk_value picture = case_input(&c, "picture");
    lk_value mean = lk_vae_encode(&model, c.graph, picture, NULL, &log_variance);
    case_output(&c, mean, "mean", "mean_cotangent");
    case_output(&c, log_variance, "log_variance", "log_variance_cotangent");
    case_gradient(&c, &picture, (const char *const[]){"picture_gradient"}, 1);
    case_check(&c);
    case_end(&c);
    lk_vae_close(&model);
}

static void run_decoder(const char *name, bool precise) {
    lk_error error = LK_ERROR_INIT;
    model_case c;
    lk_vae model;
    case_begin(&c, name, precise);
    assert_ok(lk_vae_open(&model, c.folder, NULL, c.weights, &error), &error);
    case_graph(&c);
    lk_value z = case_input(&c, "z");
    case_output(&c, lk_vae_decode(&model, c.graph, z, NULL), "decoded", "decoded_cotangent");
    case_gradient(&c, &z, (const char *const[]){"z_gradient"}, 1);
    case_check(&c);
    case_end(&c);
    lk_vae_close(&model);
}

static void test_encoder(void **state) {
    (void)state;
    every("vae", run_encoder);
}

static void test_decoder(void **state) {
    (void)state;
    every("vae", run_decoder);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_clip), cmocka_unit_test(test_unet),
                                       cmocka_unit_test(test_encoder), cmocka_unit_test(test_decoder)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (case_device()) lk_device_close(case_device());
    return failed;
}
