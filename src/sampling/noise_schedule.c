/* sampling/noise_schedule.c - see noise_schedule.h. */
#include "sampling/noise_schedule.h"

#include "base/rng.h"

#include <math.h>

/* ---- betas to a[t] ---- */

static double cosine_kept(double t) {
    double sine, cosine;
    lk_sincos_turns((t + 0.008) / 1.008 / 4, &sine, &cosine);
    return cosine * cosine;
}

static double beta_of(const lk_scheduler_config *c, int t) {
    double part = (double)t / (LK_TRAIN_TIMESTEPS - 1);
    if (c->betas == LK_BETAS_LINEAR) return c->beta_start + part * (c->beta_end - c->beta_start);
    if (c->betas == LK_BETAS_COSINE) {
        double from = cosine_kept((double)t / LK_TRAIN_TIMESTEPS), to = cosine_kept((t + 1.0) / LK_TRAIN_TIMESTEPS);
        return fmin(1 - to / from, 0.999);
    }
    double first = sqrt(c->beta_start), last = sqrt(c->beta_end), root = first + part * (last - first);
    return root * root;
}

/* beta and a are rounded to f32 as they are in PyTorch, where models are trained: near data 1 - a is small, and the
 * rounding of 1 - beta is seen in it (3e-4 of sigma[0] for the cosine). */
static void multiply(double *kept, const lk_scheduler_config *config) {
    double product = 1;
    for (int t = 0; t < LK_TRAIN_TIMESTEPS; t++) {
        product *= (double)(1.0f - (float)beta_of(config, t));
        kept[t] = (double)(float)product;
    }
}

/* Moves the roots of a[t] so that the last one is zero and the first one stays. */
static void remove_terminal_signal(double *kept, bool exact_end) {
    const int last = LK_TRAIN_TIMESTEPS - 1;
    double first_root = sqrt(kept[0]), last_root = sqrt(kept[last]);
    for (int t = 0; t <= last; t++) {
        double root = (sqrt(kept[t]) - last_root) * first_root / (first_root - last_root);
        kept[t] = root * root;
    }
    if (!exact_end) kept[last] = 1.0 / (1 << 24);
}

void lk_noise_schedule_make(lk_noise_schedule *schedule, const lk_scheduler_config *config, bool exact_end) {
    multiply(schedule->kept, config);
    if (config->zero_terminal_snr) remove_terminal_signal(schedule->kept, exact_end);
    for (int t = 0; t < LK_TRAIN_TIMESTEPS; t++)
        schedule->sigma[t] = sqrt((1 - schedule->kept[t]) / schedule->kept[t]);
}

/* ---- times and sigmas ---- */

double lk_noise_sigma(const lk_noise_schedule *schedule, double time) {
    if (!(time > 0)) return schedule->sigma[0];
    int low = (int)time;
    if (low >= LK_TRAIN_TIMESTEPS - 1) return schedule->sigma[LK_TRAIN_TIMESTEPS - 1];
    double part = time - low;
    return (1 - part) * schedule->sigma[low] + part * schedule->sigma[low + 1];
}

double lk_noise_time(const lk_noise_schedule *schedule, double sigma) {
    int low = 0;
    while (low < LK_TRAIN_TIMESTEPS - 2 && schedule->sigma[low + 1] <= sigma)
        low++;
    double from = lk_log(schedule->sigma[low]), to = lk_log(schedule->sigma[low + 1]);
    double part = (lk_log(sigma) - from) / (to - from);
    return low + fmin(fmax(part, 0), 1);
}

/* x^(1/7) by Newton's method, from above. */
static double seventh_root(double x) {
    double r = fmax(x, 1);
    for (int i = 0; i < 200; i++) {
        double r2 = r * r, next = r - (r - x / (r2 * r2 * r2)) / 7;
        if (!(next < r)) break;
        r = next;
    }
    return r;
}

void lk_noise_karras(double most, double least, int count, double *sigma) {
    double from = seventh_root(most), to = seventh_root(least);
    for (int i = 0; i < count; i++) {
        double part = count > 1 ? (double)i / (count - 1) : 0, r = from + part * (to - from), r3 = r * r * r;
        sigma[i] = r3 * r3 * r;
    }
}
