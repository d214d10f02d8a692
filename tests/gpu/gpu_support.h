/* tests/gpu/gpu_support.h - what the tests of the device layer share: opening, y += a x over and over. */
#ifndef LK_TEST_GPU_SUPPORT_H
#define LK_TEST_GPU_SUPPORT_H

#include "base/memory.h"
#include "check/push.h"
#include "gpu/check.h"
#include "gpu/device.h"
#include "gpu/memory.h"
#include "gpu/stream.h"

#include <ctype.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define assert_ok(expression, error)                                                                                   \
    do {                                                                                                               \
        if ((expression) != LIKENESS_OK) fail_msg("%s: %s", #expression, (error)->message);                            \
    } while (0)

/* 77 (skipped), saying why, where no device exists. */
static inline void gpu_need_device(void) {
    lk_error error = LK_ERROR_INIT;
    lk_device *device = NULL;
    if (lk_device_open(&(lk_device_options){.cache_folder = ""}, &device, &error) == LIKENESS_NO_DEVICE) {
        printf("skipped: %s\n", error.message);
        exit(77);
    }
    if (device) {
        char summary[800];
        lk_device_summary(lk_device_caps(device), summary, sizeof summary);
        printf("device: %s%s\n", summary, lk_device_validation_active(device) ? ", validated" : "");
        lk_device_close(device);
    }
}

/* Adds what every program checks at its end: no validation message, nothing leaked. */
static inline int gpu_finish(int failed) {
    if (lk_device_validation_count() > 0) {
        printf("validation: %lld messages, last: %s\n", (long long)lk_device_validation_count(),
               lk_device_validation_last());
        ++failed;
    }
    if (lk_memory_live() != 0) {
        printf("%lld host allocations leaked\n", (long long)lk_memory_live());
        ++failed;
    }
    return failed;
}

static inline lk_device *gpu_open(const lk_device_options *options) {
    lk_error error = LK_ERROR_INIT;
    lk_device *device = NULL;
    assert_ok(lk_device_open(options, &device, &error), &error);
    return device;
}

/* x, y of n floats each in one block; y at an offset of 4 * shift bytes beyond its aligned place. */
typedef struct gpu_axpy {
    lk_device *device;
    lk_block *block;
    lk_buffer_ref x, y;
    int n;
} gpu_axpy;

static inline float gpu_x(int i) { return (float)(i % 1000) - 400.0f; }
static inline float gpu_y(int i) { return (float)(i % 77); }

static inline gpu_axpy gpu_axpy_make(lk_device *device, int n, int shift) {
    lk_error error = LK_ERROR_INIT;
    gpu_axpy axpy = {.device = device, .n = n};
    uint64_t bytes = 4 * (uint64_t)n, second = (bytes + 255) / 256 * 256 + 4 * (uint64_t)shift;
    assert_ok(lk_block_create(device, second + bytes + 64, "a test", &axpy.block, &error), &error);
    axpy.x = (lk_buffer_ref){axpy.block, 0, bytes};
    axpy.y = (lk_buffer_ref){axpy.block, second, bytes};
    float *values = malloc(bytes);
    for (int i = 0; i < n; ++i)
        values[i] = gpu_x(i);
    assert_ok(lk_ref_write(axpy.x, 0, values, bytes, &error), &error);
    for (int i = 0; i < n; ++i)
        values[i] = gpu_y(i);
    assert_ok(lk_ref_write(axpy.y, 0, values, bytes, &error), &error);
    float guard = 12345.0f;
    assert_ok(lk_ref_write(lk_block_ref(axpy.block), second + bytes, &guard, 4, &error), &error);
    free(values);
    return axpy;
}

/* y[0..count) += a x[0..count), threads a workgroup; extra goes in through a specialization constant. */
static inline lk_command gpu_axpy_command(lk_buffer_ref x, lk_buffer_ref y, int count, float a, uint32_t threads) {
    lk_command command = lk_command_make(LK_SHADER_CHECK_AXPY);
    struct lk_push_axpy push = {.x = lk_ref_address(x), .y = lk_ref_address(y), .count = count, .a = a};
    lk_command_spec(&command, 0, threads);
    lk_command_spec(&command, 1, 0);
    lk_command_push(&command, &push, sizeof push);
    lk_command_reads(&command, x);
    lk_command_reads_writes(&command, y);
    command.groups = ((uint64_t)count + threads - 1) / threads;
    command.flops = 2.0 * count;
    command.bytes = 12.0 * count;
    return command;
}

/* Records `times` dispatches of y += x, replays once. */
static inline void gpu_axpy_run(gpu_axpy *axpy, const lk_recording_options *options, int times) {
    lk_error error = LK_ERROR_INIT;
    lk_recording *recording = NULL;
    assert_ok(lk_recording_create(axpy->device, options, &recording, &error), &error);
    lk_command command = gpu_axpy_command(axpy->x, axpy->y, axpy->n, 1.0f, 16);
    for (int i = 0; i < times; ++i)
        assert_ok(lk_record(recording, &command, &error), &error);
    assert_ok(lk_replay(recording, &error), &error);
    assert_ok(lk_recording_wait(recording, &error), &error);
    lk_recording_destroy(recording);
}

static inline void gpu_axpy_check(gpu_axpy *axpy, int times) {
    lk_error error = LK_ERROR_INIT;
    float *values = malloc(4 * (size_t)axpy->n + 4);
    lk_buffer_ref with_guard = {axpy->block, axpy->y.offset, axpy->y.bytes + 4};
    assert_ok(lk_ref_read(with_guard, 0, values, with_guard.bytes, &error), &error);
    for (int i = 0; i < axpy->n; ++i)
        if (values[i] != gpu_y(i) + (float)times * gpu_x(i))
            fail_msg("element %d is %g, expected %g", i, (double)values[i],
                     (double)(gpu_y(i) + (float)times * gpu_x(i)));
    assert_true(values[axpy->n] == 12345.0f);
    free(values);
}

static inline void gpu_axpy_free(gpu_axpy *axpy) { lk_block_destroy(axpy->block); }

/* ---- files ---- */

static inline long gpu_file_size(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) return -1;
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    fclose(file);
    return size;
}

/* Keeps the first `keep` bytes (-1: all) and flips a bit of byte `flip` (-1: none). */
static inline void gpu_damage(const char *path, long keep, long flip) {
    long size = gpu_file_size(path);
    if (size < 0) fail_msg("%s is not there", path);
    if (size < 0) return; /* fail_msg comes not back; compilers do not know */
    unsigned char *data = malloc((size_t)size);
    FILE *file = fopen(path, "rb");
    assert_int_equal(fread(data, 1, (size_t)size, file), size);
    fclose(file);
    if (flip >= 0 && flip < size) data[flip] ^= 0x40;
    file = fopen(path, "wb");
    assert_int_equal(fwrite(data, 1, (size_t)(keep >= 0 ? keep : size), file), keep >= 0 ? keep : size);
    fclose(file);
    free(data);
}

#endif
