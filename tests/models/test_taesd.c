/* tests/models/test_taesd.c - the tiny decoder in both layouts against diffusers' AutoencoderTiny (tests/reference/
 * taesd.py): picture and gradient; as a model's decoder; what is refused. */
#include "models/model_test.h"

#include "models/model.h"

#define TAESD LIKENESS_SOURCE_DIR "/tests/data/models/taesd"
#define TINY LIKENESS_SOURCE_DIR "/tests/data/models/tiny"

static void check(const char *path) {
    lk_error error = LK_ERROR_INIT;
    model_case c;
    lk_taesd taesd;
    case_begin(&c, "taesd", true);
    assert_ok(lk_taesd_open(&taesd, path, c.weights, &error), &error);
    assert_int_equal(taesd.latent_channels, 4);
    assert_int_equal(taesd.factor, 2);
    case_graph(&c);
    lk_value z = case_input(&c, "z");
    case_output(&c, lk_taesd_decode(&taesd, c.graph, z), "picture", "cotangent");
    case_gradient(&c, &z, (const char *const[]){"gradient"}, 1);
    case_check(&c);
    case_end(&c);
    lk_taesd_close(&taesd);
}

static void test_layouts(void **state) {
    (void)state;
    int64_t live = lk_memory_live();
    case_device();
    int64_t with_device = lk_memory_live();
    check(TAESD);
    check(TAESD "/diffusion_pytorch_model.safetensors");
    check(TAESD "/taesd_decoder.safetensors");
    assert_true(with_device >= live);
}

/* The model's own large decoder is neither kept nor needed. */
static void test_in_a_model(void **state) {
    (void)state;
    lk_error error = LK_ERROR_INIT;
    lk_model model;
    int64_t live = lk_memory_live();
    lk_model_options options = {.precise = true, .taesd = TAESD "/taesd_decoder.safetensors"};
    assert_ok(lk_model_open_with(&model, TINY, &options, &error), &error);
    assert_true(lk_weights_find(model.picture_weights, "taesd.decoder.layers.0.weight") >= 0);
    assert_true(lk_weights_find(model.picture_weights, "vae.decoder.conv_in.weight") < 0);
    assert_true(lk_weights_find(model.encode_weights, "vae.encoder.conv_in.weight") >= 0);
    lk_graph *graph = lk_graph_create(model.picture_weights, &error);
    lk_value latent = lk_graph_input(graph, "latent", lk_shape4(1, 4, 8, 8), LK_F32);
    lk_shape shape = lk_graph_shape(graph, lk_model_decode(&model, graph, latent));
    assert_ok(lk_graph_status(graph, &error), &error);
    assert_int_equal(shape.dim[1], 3);
    assert_int_equal(shape.dim[2], 16);
    lk_graph_destroy(graph);
    lk_model_close(&model);
    assert_int_equal(lk_memory_live(), live);
}

static void refuse(const char *path, likeness_status wanted, const char *word) {
    lk_error error = LK_ERROR_INIT;
    lk_model model;
    int64_t live = lk_memory_live();
    likeness_status status = lk_model_open_with(&model, TINY, &(lk_model_options){.taesd = path}, &error);
    if (status != wanted || !strstr(error.message, word))
        fail_msg("%s: status %d, '%s'", path, (int)status, error.message);
    assert_int_equal(lk_memory_live(), live);
}

static void test_refusals(void **state) {
    (void)state;
    char path[] = "/tmp/likeness-taesd-XXXXXX";
    static float values[4096];
    lk_error error = LK_ERROR_INIT;
    assert_true(mkstemp(path) >= 0);
    lk_safetensor list[2] = {{.name = "1.weight",
                              .dtype = LK_SAFETENSOR_F32,
                              .rank = 4,
                              .shape = {8, 4, 3, 3},
                              .data = (const uint8_t *)values},
                             {.name = "3.weight",
                              .dtype = LK_SAFETENSOR_F32,
                              .rank = 4,
                              .shape = {3, 8, 3, 3},
                              .data = (const uint8_t *)values}};
    assert_ok(lk_safetensors_write(path, list, 2, NULL, NULL, 0, &error), &error);
    refuse(path, LIKENESS_UNSUPPORTED, "enlarges 1 times");
    list[1].name = "60.weight";
    assert_ok(lk_safetensors_write(path, list, 2, NULL, NULL, 0, &error), &error);
    refuse(path, LIKENESS_UNSUPPORTED, "too large");
    list[1].name = "3.weight";
    list[1].shape[1] = 7;
    assert_ok(lk_safetensors_write(path, list, 2, NULL, NULL, 0, &error), &error);
    refuse(path, LIKENESS_BAD_FILE, "decoder.layers.2");
    list[1].shape[1] = 8;
    list[1].name = "3.other";
    assert_ok(lk_safetensors_write(path, list, 2, NULL, NULL, 0, &error), &error);
    refuse(path, LIKENESS_UNSUPPORTED, "8 channels");
    list[0].name = "0.weight";
    assert_ok(lk_safetensors_write(path, list, 2, NULL, NULL, 0, &error), &error);
    refuse(path, LIKENESS_UNSUPPORTED, "its encoder");
    refuse(TINY "/unet/diffusion_pytorch_model.safetensors", LIKENESS_UNSUPPORTED, "not the decoder");
    remove(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_layouts), cmocka_unit_test(test_in_a_model),
                                       cmocka_unit_test(test_refusals)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (case_device()) lk_device_close(case_device());
    return failed;
}
