/* sampling/noise_schedule.h - how much data and how much noise a diffusion model saw at each training time.
 *
 *   a[t] = product of 1 - beta up to t,   sigma[t] = sqrt((1 - a[t]) / a[t]),   t = 0..999 from data to noise
 *
 * Times may have fractions: sigma is linear between two of them, as in diffusers. All in double, with IEEE operations
 * and base/rng.h's logarithm only, so that every machine has the same bits. */
#ifndef LK_SAMPLING_NOISE_SCHEDULE_H
#define LK_SAMPLING_NOISE_SCHEDULE_H

#include "models/scheduler_config.h"

typedef struct lk_noise_schedule {
    double kept[LK_TRAIN_TIMESTEPS];  /* a[t] */
    double sigma[LK_TRAIN_TIMESTEPS]; /* ratio of noise to data */
} lk_noise_schedule;

/* exact_end: with zero_terminal_snr the last a is 0 (DDIM, LCM), else 2^-24, so that its sigma is finite. */
void lk_noise_schedule_make(lk_noise_schedule *schedule, const lk_scheduler_config *config, bool exact_end);

double lk_noise_sigma(const lk_noise_schedule *schedule, double time);
/* The time of a sigma, interpolated in its logarithm. */
double lk_noise_time(const lk_noise_schedule *schedule, double sigma);
/* Karras et al. 2022: count sigmas from most to least, evenly spread in sigma^(1/7). */
void lk_noise_karras(double most, double least, int count, double *sigma);

#endif
