/* tests/personalize/test_adjoints.c - P4 of the RectifID spec on the graphs that guidance runs: for each stage
 * <u, J w> by central differences against <J^T u, w> with the appended gradient.
 *
 *   segment           prediction of z                      small U-Nets, one branch
 *   segment with CFG  both branches, in a batch and apart  the same gradient from both
 *   loss              decoder, cut to 0..1, resize, encoder, cosine
 *
 * Everything runs in double by the C reference (1e-6), then in f32 on the device against that. Skipped without one. */
#include "api/networks.h"
#include "base/memory.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MODELS LIKENESS_SOURCE_DIR "/tests/data/models"

enum { MAX_INPUTS = 8, TOKENS = 7 };

static likeness_context *context;
static lk_model model; /* only what the builders look at */
static uint64_t random_state;

static double uniform(void) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return ((double)(random_state >> 11) + 0.5) / 9007199254740992.0;
}

static double normal(void) { return sqrt(-2 * log(uniform())) * cos(6.283185307179586 * uniform()); }

static void assert_ok(likeness_status status, const lk_error *error) {
    if (status != LIKENESS_OK) fail_msg("%s", error->message);
}

/* ---- a stage: a network, its inputs in order of creation ---- */

typedef struct stage {
    lk_network *net;
    lk_value input[MAX_INPUTS], wrt, output, cotangent, gradient;
    double *values[MAX_INPUTS];
    int inputs;
} stage;

static size_t elements(const stage *s, lk_value value) {
    lk_shape shape = lk_graph_shape(s->net->graph, value);
    return (size_t)lk_shape_elements(&shape);
}

/* Adds an input of values N(0,1) * scale, rounded to f32, so that the device sees the same numbers. */
static double *add_input(stage *s, lk_value value, double scale) {
    size_t count = elements(s, value);
    double *values = test_calloc(count, sizeof *values);
    for (size_t i = 0; i < count; i++)
        values[i] = (double)(float)(scale * normal());
    s->input[s->inputs] = value;
    return s->values[s->inputs++] = values;
}

static double *values_of(const stage *s, lk_value value) {
    for (int i = 0; i < s->inputs; i++)
        if (s->input[i] == value) return s->values[i];
    fail_msg("not an input");
    return NULL;
}

static lk_reference_values *run_reference(const stage *s) {
    lk_error error = LK_ERROR_INIT;
    lk_reference_values *run = lk_graph_run_reference(s->net->graph, (const double *const *)s->values, &error);
    if (!run) fail_msg("%s", error.message);
    return run;
}

/* <u, output> with the differentiated input moved by step * w. */
static double moved(const stage *s, const double *w, double step) {
    size_t count = elements(s, s->wrt);
    double *x = values_of(s, s->wrt), *u = values_of(s, s->cotangent), sum = 0;
    for (size_t i = 0; i < count; i++)
        x[i] += step * w[i];
    lk_reference_values *run = run_reference(s);
    const double *y = lk_reference_value(run, s->output);
    for (size_t i = 0; i < elements(s, s->output); i++)
        sum += u[i] * y[i];
    lk_reference_values_destroy(run);
    for (size_t i = 0; i < count; i++)
        x[i] -= step * w[i];
    return sum;
}

static double relative(const double *truth, const float *seen, size_t count) {
    double wrong = 0, all = 0;
    for (size_t i = 0; i < count; i++) {
        wrong += pow((double)seen[i] - truth[i], 2);
        all += truth[i] * truth[i];
    }
    return sqrt(wrong / all);
}

static void check_device(const stage *s, const double *output, const double *gradient, const char *name) {
    lk_error error = LK_ERROR_INIT;
    size_t most = 0;
    for (int i = 0; i < s->inputs; i++)
        if (elements(s, s->input[i]) > most) most = elements(s, s->input[i]);
    if (elements(s, s->output) > most) most = elements(s, s->output);
    float *dense = test_calloc(most, sizeof *dense);
    assert_ok(lk_network_instances(s->net, context, 1, &error), &error);
    for (int i = 0; i < s->inputs; i++) {
        for (size_t j = 0; j < elements(s, s->input[i]); j++)
            dense[j] = (float)s->values[i][j];
        assert_ok(lk_instance_write(s->net->instance[0], s->input[i], dense, &error), &error);
    }
    assert_ok(lk_instance_run(s->net->instance[0], 0, &error), &error);
    assert_ok(lk_instance_read(s->net->instance[0], s->output, dense, &error), &error);
    double forward = relative(output, dense, elements(s, s->output));
    assert_ok(lk_instance_run(s->net->instance[0], s->net->gradient_section, &error), &error);
    assert_ok(lk_instance_read(s->net->instance[0], s->gradient, dense, &error), &error);
    double backward = relative(gradient, dense, elements(s, s->gradient));
    printf("%-24s on the device: output %.1e, gradient %.1e\n", name, forward, backward);
    assert_true(forward < 1e-4 && backward < 1e-4);
    test_free(dense);
}

/* step: small where the stage has kinks (cut, PReLU) that a large one would cross. *kept (may be NULL) receives the
 * gradient. */
static void check(stage *s, const char *name, double step, double *kept) {
    size_t count = elements(s, s->wrt);
    double *w = test_calloc(count, sizeof *w), reverse = 0, lengths[2] = {0, 0};
    lk_reference_values *run = run_reference(s);
    const double *gradient = lk_reference_value(run, s->gradient);
    for (size_t i = 0; i < count; i++)
        w[i] = normal();
    for (size_t i = 0; i < count; i++) {
        reverse += gradient[i] * w[i];
        lengths[0] += gradient[i] * gradient[i];
        lengths[1] += w[i] * w[i];
    }
    double forward =
        (8 * (moved(s, w, step) - moved(s, w, -step)) - (moved(s, w, 2 * step) - moved(s, w, -2 * step))) / (12 * step);
    double error = fabs(forward - reverse) / sqrt(lengths[0] * lengths[1]) * sqrt((double)count);
    printf("%-24s <u, J w> %.9g, <J^T u, w> %.9g, difference %.1e\n", name, forward, reverse, error);
    assert_true(lengths[0] > 0);
    assert_true(error < 1e-6);
    check_device(s, lk_reference_value(run, s->output), gradient, name);
    if (kept) memcpy(kept, gradient, count * sizeof *kept);
    lk_reference_values_destroy(run);
    test_free(w);
    for (int i = 0; i < s->inputs; i++)
        test_free(s->values[i]);
    lk_network_close(s->net);
}

/* ---- segments ---- */

static void open_unet(const char *name) {
    char path[512];
    lk_error error = LK_ERROR_INIT;
    memset(&model, 0, sizeof model);
    snprintf(path, sizeof path, MODELS "/%s", name);
    model.unet_weights = lk_weights_create(true);
    assert_ok(lk_unet_open(&model.unet, path, model.unet_weights, &error), &error);
    model.text.config.positions = TOKENS;
    model.tokenizer.max_length = TOKENS;
    for (int i = 0; i < model.unet.config.levels; i++)
        if (model.unet.config.context[i] > 0) model.text.config.width = model.unet.config.context[i];
}

static void close_unet(void) {
    lk_weights_destroy(model.unet_weights);
    lk_unet_close(&model.unet);
}

static void check_segment(const char *name, bool guided_free, bool batched, double *kept) {
    lk_error error = LK_ERROR_INIT;
    lk_flow_network flow = {0};
    assert_ok(lk_flow_network_build(&flow, &model, context, 6, 10, guided_free, batched, true, 1, &error), &error);
    stage s = {.net = &flow.net,
               .wrt = flow.z,
               .output = flow.prediction,
               .cotangent = flow.cotangent,
               .gradient = flow.z_gradient};
    random_state = 5;
    add_input(&s, flow.z, 1);
    float *features = test_calloc(elements(&s, flow.time), sizeof *features);
    lk_unet_time_features(&model.unet.config, 750, features);
    double *time = add_input(&s, flow.time, 1);
    for (size_t i = 0; i < elements(&s, flow.time); i++)
        time[i] = (double)features[i];
    test_free(features);
    add_input(&s, flow.context[1], 1);
    if (guided_free) {
        add_input(&s, flow.context[0], 1);
        add_input(&s, flow.weight, 1)[0] = 2.5;
    }
    add_input(&s, flow.cotangent, 1);
    check(&s, name, 2e-4, kept);
}

static void p4_segment(void **state) {
    (void)state;
    if (!context) skip();
    open_unet("unet_1");
    check_segment("segment", false, false, NULL);
    close_unet();
}

static void p4_segment_with_both_branches(void **state) {
    (void)state;
    if (!context) skip();
    double gradient[2][4 * 6 * 10], worst = 0;
    open_unet("unet_0");
    assert_int_equal(model.unet.config.in_channels, 4);
    check_segment("segment, CFG in a batch", true, true, gradient[0]);
    check_segment("segment, CFG apart", true, false, gradient[1]);
    for (int i = 0; i < 4 * 6 * 10; i++)
        worst = fmax(worst, fabs(gradient[0][i] - gradient[1][i]));
    assert_true(worst < 1e-12);
    close_unet();
}

/* ---- decoder, cut, resize, encoder, cosine ---- */

static void p4_decoder_encoder_cosine(void **state) {
    (void)state;
    if (!context) skip();
    lk_error error = LK_ERROR_INIT;
    lk_onnx_network encoder;
    lk_picture_network picture = {0};
    memset(&model, 0, sizeof model);
    model.picture_weights = lk_weights_create(true);
    assert_ok(lk_vae_open(&model.vae, MODELS "/vae_0", NULL, model.picture_weights, &error), &error);
    assert_ok(
        lk_onnx_network_open(&encoder, MODELS "/onnx_residual/network.onnx", "identity", model.picture_weights, &error),
        &error);
    assert_ok(lk_picture_network_build(&picture, &model, &encoder, -1, context, 9, 7, 1, &error), &error);
    stage s = {.net = &picture.net,
               .wrt = picture.latent,
               .output = picture.score,
               .cotangent = picture.cotangent,
               .gradient = picture.latent_gradient};
    random_state = 11;
    add_input(&s, picture.latent, 1.5);
    add_input(&s, picture.reference, 1);
    add_input(&s, picture.cotangent, 1)[0] = -100;
    lk_reference_values *run = run_reference(&s);
    const double *pixels = lk_reference_value(run, picture.picture);
    size_t outside = 0, count = elements(&s, picture.picture);
    for (size_t i = 0; i < count; i++)
        outside += pixels[i] < 0 || pixels[i] > 1;
    lk_reference_values_destroy(run);
    printf("%zu of %zu values are cut off\n", outside, count);
    assert_true(outside > count / 50 && outside < count / 2); /* the mask matters */
    check(&s, "decoder to cosine", 1e-7, NULL);
    lk_weights_destroy(model.picture_weights);
    lk_onnx_network_close(&encoder);
    lk_vae_close(&model.vae);
}

static int open_device(void **state) {
    (void)state;
    likeness_options options = {.precise = true};
    if (likeness_open(&options, &context) == LIKENESS_OK) {
        printf("device: %s\n", likeness_device_name(context));
        return 0;
    }
    printf("skipped: %s\n", likeness_message(context));
    likeness_close(context);
    context = NULL;
    return 0;
}

static int close_device(void **state) {
    (void)state;
    likeness_close(context);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(p4_segment),
        cmocka_unit_test(p4_segment_with_both_branches),
        cmocka_unit_test(p4_decoder_encoder_cosine),
    };
    return cmocka_run_group_tests(tests, open_device, close_device);
}
