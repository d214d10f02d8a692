/* base/rng.c - see rng.h. */
#include "base/rng.h"

#include <math.h>
#include <string.h>

/* ---- mathematics ---- */

/* log x = e ln 2 + 2 atanh((m-1)/(m+1)) with m in [sqrt(1/2), sqrt(2)): the series in s^2 <= 0.0295 ends below 1e-17.
 */
double lk_log(double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    int exponent = (int)(bits >> 52 & 0x7ff) - 1023;
    if (exponent == -1023) { /* subnormal */
        x *= 0x1p54;
        memcpy(&bits, &x, sizeof bits);
        exponent = (int)(bits >> 52 & 0x7ff) - 1023 - 54;
    }
    bits = (bits & 0xfffffffffffffu) | 0x3ff0000000000000u;
    double m;
    memcpy(&m, &bits, sizeof m);
    if (m > 1.4142135623730951) {
        m *= 0.5;
        exponent++;
    }
    double s = (m - 1) / (m + 1), z = s * s, sum = 0;
    for (int k = 23; k >= 3; k -= 2)
        sum = (sum + 1.0 / k) * z;
    return exponent * 0.69314718055994530942 + (2 * s + 2 * s * sum);
}

/* Nearest eighth of a turn first, then Taylor series on at most pi/8: terms beyond x^15 are below 1e-20. */
void lk_sincos_turns(double turns, double *sine, double *cosine) {
    double eighths = turns * 8, nearest = floor(eighths + 0.5);
    double x = (eighths - nearest) * 0.78539816339744830962, z = x * x;
    double s = 1, c = 1;
    for (int k = 16; k >= 2; k -= 2) {
        s = 1 - s * z / (k * (k + 1.0));
        c = 1 - c * z / (k * (k - 1.0));
    }
    s *= x;
    double wrapped = nearest - 8 * floor(nearest / 8);
    const double half_root = 0.70710678118654752440;
    double s_half = (s + c) * half_root, c_half = (c - s) * half_root; /* sine and cosine an eighth of a turn further */
    switch ((int)wrapped) {
    case 0:
        *sine = s, *cosine = c;
        break;
    case 1:
        *sine = s_half, *cosine = c_half;
        break;
    case 2:
        *sine = c, *cosine = -s;
        break;
    case 3:
        *sine = c_half, *cosine = -s_half;
        break;
    case 4:
        *sine = -s, *cosine = -c;
        break;
    case 5:
        *sine = -s_half, *cosine = -c_half;
        break;
    case 6:
        *sine = -c, *cosine = s;
        break;
    default:
        *sine = -c_half, *cosine = s_half;
        break;
    }
}

/* ---- Mersenne Twister ---- */

void lk_mt19937_seed(lk_mt19937 *rng, uint64_t seed) {
    memset(rng, 0, sizeof *rng);
    rng->state[0] = (uint32_t)seed;
    for (uint32_t i = 1; i < 624; i++)
        rng->state[i] = 1812433253u * (rng->state[i - 1] ^ rng->state[i - 1] >> 30) + i;
    rng->next = 624;
}

uint32_t lk_mt19937_next(lk_mt19937 *rng) {
    uint32_t *state = rng->state;
    if (rng->next >= 624) {
        for (int i = 0; i < 624; i++) {
            uint32_t mixed = (state[i] & 0x80000000u) | (state[(i + 1) % 624] & 0x7fffffffu);
            state[i] = state[(i + 397) % 624] ^ mixed >> 1 ^ (mixed & 1 ? 0x9908b0dfu : 0);
        }
        rng->next = 0;
    }
    uint32_t word = state[rng->next++];
    word ^= word >> 11;
    word ^= word << 7 & 0x9d2c5680u;
    word ^= word << 15 & 0xefc60000u;
    return word ^ word >> 18;
}

void lk_mt19937_uniform(lk_mt19937 *rng, float *out, size_t count) {
    for (size_t i = 0; i < count; i++)
        out[i] = (float)(lk_mt19937_next(rng) & 0xffffffu) * 0x1p-24f;
}

static double uniform_double(lk_mt19937 *rng) {
    uint64_t high = lk_mt19937_next(rng), low = lk_mt19937_next(rng);
    return (double)((high << 32 | low) & 0x1fffffffffffffu) * 0x1p-53;
}

/* Sixteen uniforms become sixteen normals in place. The angle is rounded to float as torch does: with a radius of 5
 * that rounding alone would be worth 1e-6. */
static void normal_block(float block[16]) {
    for (int i = 0; i < 8; i++) {
        double radius = sqrt(-2 * lk_log(1 - (double)block[i])), sine, cosine;
        float angle = block[i + 8] * 6.28318530718f;
        lk_sincos_turns((double)angle * 0.15915494309189533577, &sine, &cosine);
        block[i] = (float)(radius * cosine);
        block[i + 8] = (float)(radius * sine);
    }
}

void lk_mt19937_normal(lk_mt19937 *rng, float *out, size_t count) {
    if (count >= 16) {
        lk_mt19937_uniform(rng, out, count);
        for (size_t i = 0; i + 16 <= count; i += 16)
            normal_block(out + i);
        if (count % 16) {
            lk_mt19937_uniform(rng, out + count - 16, 16);
            normal_block(out + count - 16);
        }
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (rng->has_cached_normal) {
            rng->has_cached_normal = 0;
            out[i] = (float)rng->cached_normal;
            continue;
        }
        double angle = uniform_double(rng), sine, cosine;
        double radius = sqrt(-2 * lk_log(1 - uniform_double(rng))); /* 1 - u is exact: u is a multiple of 2^-53 */
        lk_sincos_turns(angle, &sine, &cosine);
        rng->cached_normal = radius * sine;
        rng->has_cached_normal = 1;
        out[i] = (float)(radius * cosine);
    }
}

/* ---- Philox ---- */

void lk_philox_seed(lk_philox *rng, uint64_t seed) {
    memset(rng, 0, sizeof *rng);
    rng->seed = seed;
}

void lk_philox_block(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xd2511f53u * c0, b = (uint64_t)0xcd9e8d57u * c2;
        uint32_t n0 = (uint32_t)(b >> 32) ^ c1 ^ k0, n2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)b;
        c3 = (uint32_t)a;
        c0 = n0;
        c2 = n2;
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

/* CUDA rounds the uniform to float before the logarithm, which matters where it is close to 1 (the radius close to 0):
 * the same roundings are made here. */
static void philox_pair(uint32_t x, uint32_t y, float *first, float *second) {
    float u = (float)x * 0x1p-32f + 0x1p-33f;
    const float scale = 6.2831855f * 0x1p-32f;
    float angle = (float)((double)(float)y * (double)scale + (double)scale / 2);
    double radius = sqrt(-2 * lk_log((double)u)), sine, cosine;
    lk_sincos_turns((double)angle * 0.15915494309189533577, &sine, &cosine);
    *first = (float)(radius * sine);
    *second = (float)(radius * cosine);
}

/* Thread t of T makes the elements t, t + T, t + 2T, t + 3T from one block, then goes on at t + 4T with the next block.
 */
void lk_philox_normal(lk_philox *rng, float *out, size_t count) {
    if (count == 0) return;
    uint64_t threads = (count + 255) / 256 * 256;
    if (rng->max_threads && threads > rng->max_threads) threads = rng->max_threads;
    const uint32_t key[2] = {(uint32_t)rng->seed, (uint32_t)(rng->seed >> 32)};
    uint64_t rounds = (count - 1) / (threads * 4) + 1;
    for (uint64_t round = 0; round < rounds; round++) {
        uint64_t offset = rng->offset + round;
        for (uint64_t thread = 0; thread < threads; thread++) {
            uint64_t element = round * threads * 4 + thread;
            if (element >= count) break;
            uint32_t counter[4] = {(uint32_t)offset, (uint32_t)(offset >> 32), (uint32_t)thread,
                                   (uint32_t)(thread >> 32)};
            uint32_t words[4];
            float normals[4];
            lk_philox_block(counter, key, words);
            philox_pair(words[0], words[1], &normals[0], &normals[1]);
            philox_pair(words[2], words[3], &normals[2], &normals[3]);
            for (int i = 0; i < 4 && element < count; i++, element += threads)
                out[element] = normals[i];
        }
    }
    rng->offset += rounds;
}
