/* tests/models/test_encoder_input.c - how pictures enter encoders (models/encoder_input.h), and which output of an
 * exported vision encoder is taken for the embedding. Fixtures: tests/reference/face_networks.py. No device. */
#include "models/model_test.h"

#include "models/encoder_input.h"

#define FOLDER LIKENESS_SOURCE_DIR "/tests/data/models/faces/"

static void names_and_numbers(void **state) {
    (void)state;
    lk_error error = LK_ERROR_INIT;
    lk_onnx_preprocessing p = {.height = 7, .bgr = true};
    assert_ok(lk_encoder_input(&p, "imagenet", &error), &error);
    assert_true(p.mean[0] == 0.485f && p.mean[2] == 0.406f && p.std[1] == 0.224f && !p.bgr && p.height == 7);
    assert_ok(lk_encoder_input(&p, "clip", &error), &error);
    assert_true(p.mean[1] == 0.4578275f && p.std[0] == 0.26862954f);
    assert_ok(lk_encoder_input(&p, "arcface", &error), &error); /* 2 x - 1 */
    assert_true(p.mean[0] == 0.5f && p.std[2] == 0.5f);
    assert_ok(lk_encoder_input(&p, "sface", &error), &error); /* 255 x */
    assert_true(p.mean[0] == 0 && fabs(1 / (double)p.std[1] - 255) < 1e-4);
    assert_ok(lk_encoder_input(&p, "0.1,-0.2,3e-1/0.25/BGR", &error), &error);
    assert_true(p.mean[0] == 0.1f && p.mean[1] == -0.2f && p.mean[2] == 0.3f && p.std[2] == 0.25f && p.bgr);
    assert_ok(lk_encoder_input(&p, "0/1", &error), &error);
    assert_true(p.mean[0] == 0 && p.std[0] == 1 && !p.bgr);
    static const char *const bad[] = {"",        "ArcFace",      "0.5",     "0.5/",     "/0.5",      "0.5/0",
                                      "0.5/-1",  "0.5/nan",      "inf/1",   "1,2/1",    "1,2,3,4/1", "0.5/0.5/",
                                      "1/1/rgb", "0.5/0.5/RGBX", "1/1e-45", "0.5/0.5,", "0.5//0.5",  "x/1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        lk_error no = LK_ERROR_INIT;
        lk_onnx_preprocessing before = p;
        if (lk_encoder_input(&p, bad[i], &no) != LIKENESS_USAGE || !strstr(no.message, "MEAN/STD"))
            fail_msg("\"%s\": '%s'", bad[i], no.message);
        assert_memory_equal(&p, &before, sizeof p);
    }
}

/* A network that gives the mean colours of a picture as tokens [1,4,3], and maybe others under a telling name. */
static void embed(const char *name, double found[8], int count) {
    lk_error error = LK_ERROR_INIT;
    lk_onnx_network network;
    char path[512];
    double picture[3 * 8 * 8];
    for (int i = 0; i < 3 * 64; i++)
        picture[i] = 0.5 + 0.1 * (i / 64) + 0.001 * (i % 64);
    lk_weights *weights = lk_weights_create(true);
    snprintf(path, sizeof path, FOLDER "%s.onnx", name);
    assert_ok(lk_onnx_network_open(&network, path, "encoder", weights, &error), &error);
    lk_graph *graph = lk_graph_create(weights, &error);
    lk_value x = lk_graph_input(graph, "picture", lk_shape4(1, 3, 8, 8), LK_F32);
    lk_value y = lk_onnx_embed(&network, graph, x);
    assert_ok(lk_graph_status(graph, &error), &error);
    lk_graph_output(graph, y, "embedding");
    lk_shape shape = lk_graph_shape(graph, y);
    assert_true(shape.rank == 2 && shape.dim[0] == 1 && shape.dim[1] == count);
    const double *inputs[1] = {picture};
    lk_reference_values *run = lk_graph_run_reference(graph, inputs, &error);
    if (!run) fail_msg("%s", error.message);
    memcpy(found, lk_reference_value(run, y), (size_t)count * sizeof *found);
    lk_reference_values_destroy(run);
    lk_graph_destroy(graph);
    lk_weights_destroy(weights);
    lk_onnx_network_close(&network);
}

static void the_class_token_or_what_is_named(void **state) {
    (void)state;
    double tokens[8], pooled[8];
    embed("tokens", tokens, 3); /* the first of four tokens: the upper left quarter */
    embed("pooled", pooled, 3); /* the second output, named pooler_output: all of the picture */
    for (int c = 0; c < 3; c++) {
        double corner = 0, all = 0;
        for (int i = 0; i < 64; i++) {
            double value = 2 * (0.5 + 0.1 * c + 0.001 * i) - 1;
            all += value / 64;
            if (i % 8 < 4 && i / 8 < 4) corner += value / 16;
        }
        assert_true(fabs(tokens[c] - corner) < 1e-6);
        assert_true(fabs(pooled[c] - all) < 1e-6);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(names_and_numbers),
                                       cmocka_unit_test(the_class_token_or_what_is_named)};
    return cmocka_run_group_tests_name("encoder input", tests, NULL, NULL);
}
