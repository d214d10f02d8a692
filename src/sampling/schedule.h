/* sampling/schedule.h - times of a flow, and noise. Time t = 1 is noise, t = 0 is data. */
#ifndef LK_SAMPLING_SCHEDULE_H
#define LK_SAMPLING_SCHEDULE_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

#define LK_MAX_STEPS 1000

/* Fills times[0..steps]: 1 = times[0] > ... > times[steps] = 0, uniform before the shift, t <- shift t / (1 + (shift -
 * 1) t). That is diffusers' FlowMatchEulerDiscreteScheduler.set_timesteps(sigmas = linspace(1, 1/steps, steps)). */
likeness_status lk_flow_times(int steps, double shift, double *times, lk_error *error);

/* The initial latent [1,C,H,W], dense: torch.randn(1,C,H,W, generator=torch.Generator("cpu").manual_seed(seed)). */
void lk_initial_noise(int64_t seed, size_t count, float *noise);

#endif
