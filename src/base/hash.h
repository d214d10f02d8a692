/* base/hash.h - FNV-1a (fast, for tables and cache keys) and SHA-256 (for naming files and models). */
#ifndef LK_BASE_HASH_H
#define LK_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#define LK_FNV64_INIT UINT64_C(0xcbf29ce484222325)

/* Continue with the returned value to hash several pieces. */
uint64_t lk_fnv64(uint64_t hash, const void *data, size_t size);

typedef struct lk_sha256 {
    uint32_t state[8];
    uint64_t length;   /* bytes so far */
    uint8_t block[64]; /* length % 64 bytes wait here */
} lk_sha256;

void lk_sha256_init(lk_sha256 *hash);
void lk_sha256_add(lk_sha256 *hash, const void *data, size_t size);
void lk_sha256_finish(lk_sha256 *hash, uint8_t digest[32]);
void lk_sha256_hex(const void *data, size_t size, char hex[65]);

#endif
