/* base/half.h - 16-bit floats on the host: IEEE binary16 and bfloat16 to and from float.
 *
 * Rounding is to nearest, ties to even, as GPUs and PyTorch do. Overflow gives infinity, NaN stays NaN (quiet, sign and
 * upper payload bits kept), subnormal results are exact. Widening is exact. */
#ifndef LK_BASE_HALF_H
#define LK_BASE_HALF_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint32_t lk_float_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float lk_bits_float(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

uint16_t lk_f32_to_f16(float value);
float lk_f16_to_f32(uint16_t half);
uint16_t lk_f32_to_bf16(float value);
static inline float lk_bf16_to_f32(uint16_t half) { return lk_bits_float((uint32_t)half << 16); }

void lk_f32_to_f16_many(uint16_t *to, const float *from, size_t count);
void lk_f16_to_f32_many(float *to, const uint16_t *from, size_t count);

#endif
