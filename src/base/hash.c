/* base/hash.c - see hash.h. */
#include "base/hash.h"

#include <string.h>

uint64_t lk_fnv64(uint64_t hash, const void *data, size_t size) {
    const uint8_t *bytes = data;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    return hash;
}

/* Fractional parts of the cube roots of the first 64 primes (FIPS 180-4). */
static const uint32_t round_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t rotate(uint32_t x, unsigned n) { return x >> n | x << (32 - n); }

static inline void one_round(const uint32_t *a, uint32_t b, uint32_t c, uint32_t *d, uint32_t e, uint32_t f, uint32_t g,
                             uint32_t *h, uint32_t word) {
    uint32_t big1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
    uint32_t big0 = rotate(*a, 2) ^ rotate(*a, 13) ^ rotate(*a, 22);
    uint32_t t1 = *h + big1 + ((e & f) ^ (~e & g)) + word;
    *d += t1;
    *h = t1 + big0 + ((*a & b) ^ (*a & c) ^ (b & c));
}

static void compress(lk_sha256 *hash, const uint8_t *block) {
    uint32_t w[64];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 | (uint32_t)block[4 * i + 2] << 8 |
               block[4 * i + 3];
    for (int i = 16; i < 64; i++) {
        uint32_t s0 = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3;
        uint32_t s1 = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10;
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    uint32_t v[8];
    memcpy(v, hash->state, sizeof v);
    for (int i = 0; i < 64; i += 8) /* names turn instead of values: nothing is moved */
        for (int j = 0; j < 8; j++)
            one_round(&v[(8 - j) & 7], v[(9 - j) & 7], v[(10 - j) & 7], &v[(11 - j) & 7], v[(12 - j) & 7],
                      v[(13 - j) & 7], v[(14 - j) & 7], &v[(15 - j) & 7], round_constants[i + j] + w[i + j]);
    for (int i = 0; i < 8; i++)
        hash->state[i] += v[i];
}

void lk_sha256_init(lk_sha256 *hash) {
    static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(hash->state, start, sizeof start);
    hash->length = 0;
}

void lk_sha256_add(lk_sha256 *hash, const void *data, size_t size) {
    const uint8_t *bytes = data;
    size_t waiting = hash->length % 64;
    hash->length += size;
    if (waiting) {
        size_t part = size < 64 - waiting ? size : 64 - waiting;
        memcpy(hash->block + waiting, bytes, part);
        if (waiting + part < 64) return;
        compress(hash, hash->block);
        bytes += part;
        size -= part;
    }
    for (; size >= 64; bytes += 64, size -= 64)
        compress(hash, bytes);
    if (size) memcpy(hash->block, bytes, size);
}

void lk_sha256_finish(lk_sha256 *hash, uint8_t digest[32]) {
    uint64_t bits = hash->length * 8;
    uint8_t tail[72] = {0x80};
    size_t zeros = (size_t)((119 - hash->length % 64) % 64); /* so that 1 + zeros + 8 fills a block */
    for (int i = 0; i < 8; i++)
        tail[1 + zeros + (size_t)i] = (uint8_t)(bits >> (56 - 8 * i));
    lk_sha256_add(hash, tail, 1 + zeros + 8);
    for (int i = 0; i < 32; i++)
        digest[i] = (uint8_t)(hash->state[i / 4] >> (24 - 8 * (i % 4)));
}

void lk_sha256_hex(const void *data, size_t size, char hex[65]) {
    lk_sha256 hash;
    uint8_t digest[32];
    lk_sha256_init(&hash);
    lk_sha256_add(&hash, data, size);
    lk_sha256_finish(&hash, digest);
    for (int i = 0; i < 32; i++) {
        hex[2 * i] = "0123456789abcdef"[digest[i] >> 4];
        hex[2 * i + 1] = "0123456789abcdef"[digest[i] & 15];
    }
    hex[64] = 0;
}
