/* sampling/schedule.c - see schedule.h. */
#include "sampling/schedule.h"

#include "base/rng.h"

likeness_status lk_flow_times(int steps, double shift, double *times, lk_error *error) {
    if (steps < 1 || steps > LK_MAX_STEPS)
        return lk_fail(error, LIKENESS_USAGE, "%d sampling steps make no sense; use 1 to %d", steps, LK_MAX_STEPS);
    if (!(shift > 0)) return lk_fail(error, LIKENESS_BAD_FILE, "scheduler shift %g is not positive", shift);
    for (int i = 0; i <= steps; i++) {
        double t = 1.0 - (double)i / steps;
        times[i] = shift * t / (1.0 + (shift - 1.0) * t);
    }
    return LIKENESS_OK;
}

void lk_initial_noise(int64_t seed, size_t count, float *noise) {
    lk_mt19937 rng;
    lk_mt19937_seed(&rng, (uint64_t)seed);
    lk_mt19937_normal(&rng, noise, count);
}
