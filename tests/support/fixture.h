/* tests/support/fixture.h - reading a fixture's tensors, and the end of a program that took memory and a device. */
#ifndef LK_TESTS_FIXTURE_H
#define LK_TESTS_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/error.h"
#include "base/memory.h"
#include "gpu/device.h"
#include "io/safetensors.h"

#include <stdio.h>
#include <stdlib.h>

/* The `count` values of a tensor of a safetensors file; free() them. */
static inline float *fixture_values(const char *path, const char *name, size_t count) {
    lk_error error = LK_ERROR_INIT;
    lk_safetensors file;
    float *values = malloc(count * sizeof *values);
    assert_non_null(values);
    if (lk_safetensors_open(&file, path, &error) != LIKENESS_OK) fail_msg("%s", error.message);
    const lk_safetensor *tensor = lk_safetensors_find(&file, name);
    if (!tensor) fail_msg("%s has no %s", path, name);
    assert_int_equal(tensor->elements, count);
    assert_int_equal(lk_safetensor_to_f32(tensor, values, &error), LIKENESS_OK);
    lk_safetensors_close(&file);
    return values;
}

/* 0 when everything that was taken is given back and the validation layer, where it is on, has said nothing. */
static inline int nothing_left(void) {
    if (lk_device_validation_count() > 0) {
        printf("validation: %s\n", lk_device_validation_last());
        return -1;
    }
    if (lk_memory_live() == 0) return 0;
    printf("%lld blocks of memory were not given back\n", (long long)lk_memory_live());
    return -1;
}

#endif
