/* base/half.c - see half.h. */
#include "base/half.h"

uint16_t lk_f32_to_f16(float value) {
    uint32_t bits = lk_float_bits(value);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
    uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | (magnitude >> 13 & 0x1ffu));
    if (magnitude >= 0x477ff000u) return sign | 0x7c00u; /* 65520 and above round to infinity */
    if (magnitude < 0x38800000u) {                       /* below 2^-14: the result is subnormal */
        if (magnitude <= 0x33000000u) return sign;       /* 2^-25 is a tie with zero, and zero is even */
        unsigned shift = 126u - (magnitude >> 23);       /* 14 (just below 2^-14) to 24 */
        uint32_t mantissa = (magnitude & 0x7fffffu) | 0x800000u;
        uint32_t result = mantissa >> shift, rest = mantissa & ((1u << shift) - 1), half = 1u << (shift - 1);
        if (rest > half || (rest == half && (result & 1))) result++; /* may carry into the smallest normal: right */
        return (uint16_t)(sign | result);
    }
    uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1);
    return (uint16_t)(sign | ((rounded - 0x38000000u) >> 13));
}

float lk_f16_to_f32(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16, magnitude = half & 0x7fffu;
    if (magnitude >= 0x7c00u) return lk_bits_float(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
    if (magnitude >= 0x400u) return lk_bits_float(sign | ((magnitude << 13) + 0x38000000u));
    float value = (float)magnitude * 0x1p-24f;
    return sign ? -value : value;
}

uint16_t lk_f32_to_bf16(float value) {
    uint32_t bits = lk_float_bits(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

void lk_f32_to_f16_many(uint16_t *to, const float *from, size_t count) {
    for (size_t i = 0; i < count; i++)
        to[i] = lk_f32_to_f16(from[i]);
}

void lk_f16_to_f32_many(float *to, const uint16_t *from, size_t count) {
    for (size_t i = 0; i < count; i++)
        to[i] = lk_f16_to_f32(from[i]);
}
