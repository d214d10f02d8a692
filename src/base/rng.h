/* base/rng.h - noise made on the CPU, the same on every machine.
 *
 * Two generators whose integer streams are those of PyTorch:
 *   lk_mt19937  torch's CPU generator (Mersenne Twister). Normals: 16 or more values are made in blocks of 16 (eight
 *               cosines, then eight sines; a ragged tail redraws the last 16 values), fewer come one by one in double
 *               precision, where every second one was kept from the draw before. Uniform floats: 24 bits of a word.
 *   lk_philox   Philox 4x32-10 with the counter layout of torch's CUDA generator: {offset, subsequence = thread}.
 *               The block function is checked against the published Random123 vectors, the first 12 normals of seed 0
 *               against the published output of other programs that imitate a card. Unverified, for want of a card:
 *               tensors of more elements than max_threads, where a thread makes four normals or more.
 * Normals differ from torch's by at most 2e-6 and are bit-identical on every operating system: logarithm, sine and
 * cosine are our own (+, -, *, / and sqrt in double, which IEEE 754 fixes; compiled without contraction). */
#ifndef LK_BASE_RNG_H
#define LK_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

/* ---- mathematics with the same bits everywhere; also used for schedules and time-step tables ---- */

double lk_log(double x);                                          /* x > 0, finite */
void lk_sincos_turns(double turns, double *sine, double *cosine); /* of 2 pi turns */

/* ---- Mersenne Twister, torch's CPU generator ---- */

typedef struct lk_mt19937 {
    uint32_t state[624];
    uint32_t next; /* index into state; 624: refill first */
    int has_cached_normal;
    double cached_normal;
} lk_mt19937;

void lk_mt19937_seed(lk_mt19937 *rng, uint64_t seed); /* torch.manual_seed: the lower 32 bits count */
uint32_t lk_mt19937_next(lk_mt19937 *rng);
void lk_mt19937_uniform(lk_mt19937 *rng, float *out, size_t count); /* torch.rand */
void lk_mt19937_normal(lk_mt19937 *rng, float *out, size_t count);  /* torch.randn of a contiguous float tensor */

/* ---- Philox, torch's CUDA generator ---- */

typedef struct lk_philox {
    uint64_t seed;
    uint64_t offset;      /* in steps of four words per thread; a draw advances it */
    uint32_t max_threads; /* 256 x the largest grid of the imitated card (8 x its multiprocessors); 0: unlimited */
} lk_philox;

void lk_philox_seed(lk_philox *rng, uint64_t seed);
void lk_philox_block(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]); /* the 10-round function */
void lk_philox_normal(lk_philox *rng, float *out, size_t count);

#endif
