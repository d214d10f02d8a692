/* tests/op/test_math.c - shaders/common/math.glsl and index.glsl on every Vulkan device that is there, against libm in
 * double: all f16 values, a million f32 values spread over all bit patterns, and many near zero. */
#include "base/memory.h"
#include "elementwise/push.h"
#include "gpu/device.h"
#include "gpu/stream.h"

#include <math.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#ifndef M_PI
#define M_PI 3.14159265358979323846
#endif

enum { COUNT = 65536 + 1048576 + 262144, PAIRS = 200000 };

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double softplus(double x) { return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x)); }
static double silu(double x) { return x * sigmoid(x); }
static double silu_slope(double x) { return sigmoid(x) + x * sigmoid(x) * sigmoid(-x); }
static double gelu(double x) { return 0.5 * x * erfc(-x / sqrt(2)); }
static double gelu_slope(double x) { return 0.5 * erfc(-x / sqrt(2)) + x * exp(-x * x / 2) / sqrt(2 * M_PI); }
static double gelu_tanh_inner(double x) { return sqrt(8 / M_PI) * (x + 0.044715 * x * x * x); }
static double gelu_tanh(double x) { return x * sigmoid(gelu_tanh_inner(x)); }
static double gelu_tanh_slope(double x) {
    double z = gelu_tanh_inner(x), slope = sqrt(8 / M_PI) * (1 + 3 * 0.044715 * x * x);
    double bump = sigmoid(z) * sigmoid(-z);
    return sigmoid(z) + (bump == 0 ? 0 : x * bump * slope);
}
static double quick_gelu(double x) { return x * sigmoid(1.702 * x); }
static double quick_gelu_slope(double x) {
    return sigmoid(1.702 * x) + 1.702 * x * sigmoid(1.702 * x) * sigmoid(-1.702 * x);
}

/* tolerance: |y - truth| <= tolerance * max(floor, |truth|), infinity where the truth exceeds f32. */
static const struct {
    const char *name;
    double (*truth)(double);
    double floor, tolerance;
} functions[] = {
    {"exp", exp, 1e-37, 4e-7},
    {"log", log, 1e-30, 4e-7},
    {"erf", erf, 1e-37, 2.5e-7},
    {"tanh", tanh, 1e-37, 4e-7},
    {"sigmoid", sigmoid, 1e-37, 4e-7},
    {"softplus", softplus, 1e-30, 5e-7},
    {"silu", silu, 1e-28, 6e-7},
    {"silu'", silu_slope, 1, 4e-7},
    {"gelu", gelu, 1, 4e-7},
    {"gelu'", gelu_slope, 1, 4e-7},
    {"gelu_tanh", gelu_tanh, 1, 4e-7},
    {"gelu_tanh'", gelu_tanh_slope, 1, 4e-7},
    {"quick_gelu", quick_gelu, 1, 4e-7},
    {"quick_gelu'", quick_gelu_slope, 1, 4e-7},
    {"expm1", expm1, 1e-37, 6e-7},
};

static float from_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static float from_half(uint32_t h) {
    uint32_t exponent = h >> 10 & 31, mantissa = h & 1023;
    double v = exponent == 0 ? ldexp(mantissa, -24) : ldexp(1024 + mantissa, (int)exponent - 25);
    if (exponent == 31) v = mantissa != 0 ? NAN : INFINITY;
    return (float)(h >> 15 != 0 ? -v : v);
}

static void fill_inputs(float *x) {
    size_t at = 0;
    for (uint32_t h = 0; h < 65536; h++) {
        x[at++] = from_half(h);
    }
    for (uint32_t i = 0; i < 1048576; i++) {
        x[at++] = from_bits(i * 4096u + (i * 2654435761u >> 20));
    }
    for (uint32_t i = 0; i < 262144; i++) { /* even steps in [-16, 16] */
        x[at++] = (float)((double)i / 8192 - 16);
    }
}

typedef struct gpu {
    lk_device *device;
    lk_block *x, *y;
} gpu;

static void run(const gpu *g, int kind, int total, uint32_t *result) {
    lk_error error = LK_ERROR_INIT;
    lk_recording *recording = NULL;
    struct lk_push_math_check push = {
        .x = lk_ref_address(lk_block_ref(g->x)), .y = lk_ref_address(lk_block_ref(g->y)), .total = total, .kind = kind};
    lk_command command = lk_command_make(LK_SHADER_MATH_CHECK);
    lk_command_spec(&command, 0, 64);
    lk_command_push(&command, &push, sizeof push);
    lk_command_reads(&command, lk_block_ref(g->x));
    lk_command_writes(&command, lk_block_ref(g->y));
    command.groups = ((uint64_t)total + 63) / 64;
    bool done = lk_recording_create(g->device, NULL, &recording, &error) == LIKENESS_OK &&
                lk_record(recording, &command, &error) == LIKENESS_OK && lk_replay(recording, &error) == LIKENESS_OK &&
                lk_recording_wait(recording, &error) == LIKENESS_OK &&
                lk_ref_read(lk_block_ref(g->y), 0, result, (uint64_t)total * 4, &error) == LIKENESS_OK;
    lk_recording_destroy(recording);
    if (!done) fail_msg("%s", error.message);
}

static int check_function(const char *device, int kind, const float *x, const uint32_t *result) {
    double worst = 0;
    int bad = 0;
    for (size_t i = 0; i < COUNT; i++) {
        float y = from_bits(result[i]);
        if (isinf(x[i]) || (fabsf(x[i]) < 1.2e-38f && x[i] != 0)) continue; /* drivers may flush subnormal numbers */
        double truth = functions[kind].truth((double)x[i]);
        bool right;
        double off = 0;
        if (isnan(truth)) {
            right = isnan(y);
        } else if (fabs(truth) > 3.4028235e38) {
            right = isinf(y) && (y > 0) == (truth > 0);
        } else {
            off = fabs((double)y - truth) / fmax(fabs(truth), functions[kind].floor);
            right = off <= functions[kind].tolerance || (fabs(truth) < 1.2e-38 && fabs((double)y) < 2.4e-38);
        }
        if (right && off > worst && off <= functions[kind].tolerance) worst = off;
        if (!right && bad++ < 3)
            print_message("%s: %s(%.9g) = %.9g, wanted %.9g\n", device, functions[kind].name, (double)x[i], (double)y,
                          truth);
    }
    print_message("%-40.40s %-12s worst %.2e, wrong %d\n", device, functions[kind].name, worst, bad);
    return bad;
}

static int check_division(const gpu *g, uint32_t *words, uint32_t *result) {
    uint32_t state = 12345;
    for (uint32_t i = 0; i < 2 * PAIRS; i++) {
        state = state * 1664525u + 1013904223u;
        uint32_t bits = state >> 8;
        state = state * 1664525u + 1013904223u;
        /* Numbers of all lengths; numerators up to 2^31 - 65, half of them just around a multiple of the divisor. */
        words[i] = ((bits << 8 ^ state >> 3) & 0x7fffffffu) >> (state >> 27);
        if (i % 2 == 1) {
            if (words[i] < 2) words[i] = 2 + i % 1000;
            uint64_t near = (uint64_t)(words[i - 1] / words[i]) * words[i] + i / 2 % 3;
            if (i % 4 == 1 && near > 0) words[i - 1] = (uint32_t)(near - 1);
        }
        if (i % 2 == 0 && words[i] > 0x7fffffbfu) words[i] = 0x7fffffbfu;
    }
    for (uint32_t i = 0; i < PAIRS; i++) {
        if (words[2 * i] > 0x7fffffbfu) words[2 * i] = 0x7fffffbfu;
    }
    lk_error error = LK_ERROR_INIT;
    if (lk_ref_write(lk_block_ref(g->x), 0, words, 2 * (uint64_t)PAIRS * 4, &error) != LIKENESS_OK)
        fail_msg("%s", error.message);
    run(g, 100, PAIRS, result);
    int bad = 0;
    for (uint32_t i = 0; i < PAIRS; i++) {
        if (result[i] != words[2 * i] / words[2 * i + 1] && bad++ < 3)
            print_message("%u / %u = %u\n", words[2 * i], words[2 * i + 1], result[i]);
    }
    return bad;
}

static void test_every_device(void **state) {
    (void)state;
    lk_error error = LK_ERROR_INIT;
    lk_device_entry *entries = NULL;
    size_t count = 0;
    lk_device_options options = {0};
    if (lk_device_list(&options, &entries, &count, &error) != LIKENESS_OK || count == 0) {
        print_message("skipped: no Vulkan device: %s\n", error.message);
        skip();
    }
    float *x = lk_alloc(COUNT, sizeof *x);
    uint32_t *result = lk_alloc(COUNT, sizeof *result);
    assert_non_null(x);
    assert_non_null(result);
    int bad = 0, devices = 0;
    for (size_t i = 0; i < count; i++) {
        if (!entries[i].usable || entries[i].caps.null_device) continue;
        char index[24];
        snprintf(index, sizeof index, "%zu", i);
        options.select = index;
        gpu g = {0};
        lk_error e = LK_ERROR_INIT;
        if (lk_device_open(&options, &g.device, &e) != LIKENESS_OK) fail_msg("%s", e.message);
        if (lk_block_create(g.device, COUNT * 4, "test", &g.x, &e) != LIKENESS_OK ||
            lk_block_create(g.device, COUNT * 4, "test", &g.y, &e) != LIKENESS_OK)
            fail_msg("%s", e.message);
        fill_inputs(x);
        if (lk_ref_write(lk_block_ref(g.x), 0, x, COUNT * 4, &e) != LIKENESS_OK) fail_msg("%s", e.message);
        for (int kind = 0; kind < (int)(sizeof functions / sizeof *functions); kind++) {
            run(&g, kind, COUNT, result);
            bad += check_function(entries[i].caps.name, kind, x, result);
        }
        uint32_t *words = lk_alloc(2 * PAIRS, sizeof *words);
        assert_non_null(words);
        bad += check_division(&g, words, result);
        lk_free(words);
        lk_block_destroy(g.x);
        lk_block_destroy(g.y);
        lk_device_close(g.device);
        devices++;
    }
    lk_free(x);
    lk_free(result);
    lk_free(entries);
    if (devices == 0) skip();
    assert_int_equal(bad, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_device)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
