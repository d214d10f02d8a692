/* sampling/diffusion.c - tables of the samplers of diffusion models: DDIM, Euler, Euler ancestral, DPM++ 2M, LCM.
 *
 * Times, their spacing and the ends are those of diffusers' schedulers, so that trajectories agree. Notation: a is the
 * kept part of the signal, alpha = sqrt(a), sigma = sqrt(1 - a) in "z = alpha x0 + sigma eps"; Euler's z is divided by
 * alpha, its sigma is sqrt(1 - a) / alpha. */
#include "sampling/internal.h"
#include "sampling/noise_schedule.h"

#include "base/memory.h"
#include "base/rng.h"

#include <math.h>

/* ---- predictions as linear forms of z and m ---- */

typedef struct form {
    double z, m;
} form;

static form picture_of(lk_prediction prediction, double alpha, double sigma) {
    return prediction == LK_PREDICT_V ? (form){alpha, -sigma} : (form){1 / alpha, -sigma / alpha};
}

static form noise_of(lk_prediction prediction, double alpha, double sigma) {
    return prediction == LK_PREDICT_V ? (form){sigma, alpha} : (form){0, 1};
}

/* x0 where z is divided by alpha. */
static form picture_of_scaled(lk_prediction prediction, double sigma) {
    double all = sigma * sigma + 1;
    return prediction == LK_PREDICT_V ? (form){1 / all, -sigma / sqrt(all)} : (form){1, -sigma};
}

/* ---- times ---- */

static lk_spacing spacing_of(const lk_scheduler_config *config, lk_spacing own) {
    return config->spacing == LK_SPACING_OWN ? own : config->spacing;
}

/* Step i of n, from the noisiest. Whole times, except for Euler's linspace. One step begins at the noisiest time, where
 * diffusers' linspace gives the cleanest. */
static double linspace(int i, int n) {
    const double last = LK_TRAIN_TIMESTEPS - 1;
    return n > 1 ? (n - 1 - i) * (last / (n - 1)) : last;
}

/* Multiples of a whole stride, counted so that the last of `divisor` strides would be 0. */
static double leading(int i, int divisor, int offset) {
    return (double)(divisor - 1 - i) * (LK_TRAIN_TIMESTEPS / divisor) + offset;
}

static double trailing(int i, int n) { return rint(LK_TRAIN_TIMESTEPS - i * ((double)LK_TRAIN_TIMESTEPS / n)) - 1; }

static likeness_status check_times(const double *time, int n, lk_error *error) {
    bool fine = n > 0 && time[0] <= LK_TRAIN_TIMESTEPS - 1 && time[n - 1] >= 0;
    for (int i = 1; i < n; i++)
        fine &= time[i] < time[i - 1];
    if (fine) return LIKENESS_OK;
    return lk_fail(error, LIKENESS_USAGE, "%d steps are more than this sampler can place on %d training times", n,
                   LK_TRAIN_TIMESTEPS);
}

/* What the makers below work with; one block of memory. */
typedef struct table {
    lk_noise_schedule noise;
    double time[LK_MAX_STEPS + 1], sigma[LK_MAX_STEPS + 1];
} table;

static table *table_make(const lk_scheduler_config *config, bool exact_end, lk_error *error) {
    table *t = lk_alloc(1, sizeof *t);
    if (t)
        lk_noise_schedule_make(&t->noise, config, exact_end);
    else
        lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for a noise schedule");
    return t;
}

/* ---- DDIM, without noise ---- */

likeness_status lk_make_ddim(lk_sampling *sampling, const lk_scheduler_config *config, bool from_picture, int first,
                             lk_error *error) {
    int n = sampling->asked;
    table *t = table_make(config, true, error);
    if (!t) return error->status;
    lk_spacing spacing = spacing_of(config, LK_SPACING_LEADING);
    for (int i = 0; i < n; i++)
        t->time[i] = spacing == LK_SPACING_LEADING    ? leading(i, n, config->steps_offset)
                     : spacing == LK_SPACING_LINSPACE ? rint(linspace(i, n))
                                                      : trailing(i, n);
    likeness_status status = check_times(t->time, n, error);
    for (int i = 0; i < n && status == LIKENESS_OK; i++) {
        int now = (int)t->time[i], next = now - LK_TRAIN_TIMESTEPS / n;
        double kept = t->noise.kept[now], alpha = sqrt(kept), sigma = sqrt(1 - kept);
        double kept_next = next >= 0 ? t->noise.kept[next] : config->alpha_to_one ? 1 : t->noise.kept[0];
        double alpha_next = sqrt(kept_next), sigma_next = sqrt(1 - kept_next);
        form x0 = picture_of(sampling->prediction, alpha, sigma), eps = noise_of(sampling->prediction, alpha, sigma);
        sampling->step[i] = (lk_sampling_step){.time = now,
                                               .input = 1,
                                               .keep = alpha_next * x0.z + sigma_next * eps.z,
                                               .move = alpha_next * x0.m + sigma_next * eps.m,
                                               .denoised_z = x0.z,
                                               .denoised_m = x0.m};
        if (i == first && from_picture) sampling->data = alpha, sampling->noise = sigma;
    }
    if (!from_picture) sampling->noise = 1;
    lk_free(t);
    return status;
}

/* ---- Euler and Euler ancestral ---- */

static void euler_sigmas(table *t, const lk_scheduler_config *config, lk_spacing spacing, int n) {
    for (int i = 0; i < n; i++) {
        t->time[i] = spacing == LK_SPACING_LEADING    ? leading(i, n, config->steps_offset)
                     : spacing == LK_SPACING_LINSPACE ? linspace(i, n)
                                                      : trailing(i, n);
        t->sigma[i] = lk_noise_sigma(&t->noise, t->time[i]);
    }
    t->sigma[n] = 0;
}

likeness_status lk_make_euler(lk_sampling *sampling, const lk_scheduler_config *config, bool from_picture, int first,
                              lk_error *error) {
    int n = sampling->asked;
    bool ancestral = sampling->solver == LK_SOLVER_EULER_ANCESTRAL;
    table *t = table_make(config, false, error);
    if (!t) return error->status;
    lk_spacing spacing = spacing_of(config, LK_SPACING_LINSPACE);
    euler_sigmas(t, config, spacing, n);
    likeness_status status = check_times(t->time, n, error);
    if (sampling->sigmas == LK_SIGMAS_KARRAS && status == LIKENESS_OK) {
        lk_noise_karras(t->sigma[0], t->sigma[n - 1], n, t->sigma);
        for (int i = 0; i < n; i++)
            t->time[i] = lk_noise_time(&t->noise, t->sigma[i]);
    }
    for (int i = 0; i < n && status == LIKENESS_OK; i++) {
        double sigma = t->sigma[i], next = t->sigma[i + 1], up = 0, down = next;
        if (ancestral) {
            up = sqrt(next * next * (sigma * sigma - next * next) / (sigma * sigma));
            down = sqrt(next * next - up * up);
        }
        /* z + (z - x0) / sigma (down - sigma) */
        form x0 = picture_of_scaled(sampling->prediction, sigma);
        double part = (down - sigma) / sigma;
        sampling->step[i] = (lk_sampling_step){.time = t->time[i],
                                               .input = 1 / sqrt(sigma * sigma + 1),
                                               .keep = 1 + part * (1 - x0.z),
                                               .move = -part * x0.m,
                                               .noise = up,
                                               .denoised_z = x0.z,
                                               .denoised_m = x0.m};
    }
    double most = t->sigma[0];
    sampling->data = from_picture ? 1 : 0;
    sampling->noise = from_picture ? t->sigma[first] : spacing == LK_SPACING_LEADING ? sqrt(most * most + 1) : most;
    lk_free(t);
    return status;
}

/* ---- DPM++ 2M: multistep, second order, midpoint ---- */

/* With h = lambda' - lambda and lambda = log(alpha / sigma), alpha' (1 - e^-h) is the weight of x0, and half of it over
 * r = (h of the step before) / h that of x0's change. The first and the last step have no change to go by. */
static lk_sampling_step multistep(const double *sigma, int i, int n, int first, lk_prediction prediction) {
    double alpha = 1 / sqrt(sigma[i] * sigma[i] + 1), alpha_next = 1 / sqrt(sigma[i + 1] * sigma[i + 1] + 1);
    form x0 = picture_of(prediction, alpha, sigma[i] * alpha);
    double shrink = sigma[i + 1] * alpha_next / (sigma[i] * alpha), now = alpha_next * (1 - sigma[i + 1] / sigma[i]);
    double before = 0;
    if (i > first && i < n - 1) {
        double h = lk_log(sigma[i] / sigma[i + 1]), h_before = lk_log(sigma[i - 1] / sigma[i]);
        before = -0.5 * now * h / h_before;
    }
    now -= before;
    return (lk_sampling_step){.input = 1,
                              .keep = shrink + now * x0.z,
                              .move = now * x0.m,
                              .remember = before,
                              .denoised_z = x0.z,
                              .denoised_m = x0.m};
}

likeness_status lk_make_dpmpp_2m(lk_sampling *sampling, const lk_scheduler_config *config, bool from_picture, int first,
                                 lk_error *error) {
    int n = sampling->asked;
    table *t = table_make(config, false, error);
    if (!t) return error->status;
    likeness_status status = LIKENESS_OK;
    if (sampling->sigmas == LK_SIGMAS_KARRAS) {
        lk_noise_karras(t->noise.sigma[LK_TRAIN_TIMESTEPS - 1], t->noise.sigma[0], n, t->sigma);
        for (int i = 0; i < n; i++) {
            double time = lk_noise_time(&t->noise, t->sigma[i]);
            t->time[i] = config->betas == LK_BETAS_COSINE ? time : rint(time);
        }
    } else {
        lk_spacing spacing = spacing_of(config, LK_SPACING_LINSPACE);
        for (int i = 0; i < n; i++) {
            t->time[i] = spacing == LK_SPACING_LEADING    ? leading(i, n + 1, config->steps_offset)
                         : spacing == LK_SPACING_LINSPACE ? rint(linspace(i, n + 1))
                                                          : trailing(i, n);
            t->sigma[i] = lk_noise_sigma(&t->noise, t->time[i]);
        }
        status = check_times(t->time, n, error);
    }
    t->sigma[n] = 0;
    for (int i = 0; i < n && status == LIKENESS_OK; i++) {
        sampling->step[i] = multistep(t->sigma, i, n, first, sampling->prediction);
        sampling->step[i].time = t->time[i];
    }
    double alpha = 1 / sqrt(t->sigma[first] * t->sigma[first] + 1);
    sampling->data = from_picture ? alpha : 0;
    sampling->noise = from_picture ? t->sigma[first] * alpha : 1;
    lk_free(t);
    return status;
}

/* ---- latent consistency ---- */

/* Times of the schedule that the model was distilled on, as evenly spread as whole indices allow. */
static likeness_status lcm_times(double *time, const lk_scheduler_config *config, int n, lk_error *error) {
    int stride = LK_TRAIN_TIMESTEPS / config->lcm_steps;
    if (n > config->lcm_steps)
        return lk_fail(error, LIKENESS_USAGE,
                       "this model was distilled on %d steps, LCM can do no more: %d were asked for",
                       (int)config->lcm_steps, n);
    for (int i = 0; i < n; i++) {
        int index = (int)(i * ((double)config->lcm_steps / n));
        time[i] = (config->lcm_steps - index) * stride - 1;
    }
    return LIKENESS_OK;
}

likeness_status lk_make_lcm(lk_sampling *sampling, const lk_scheduler_config *config, bool from_picture, int first,
                            lk_error *error) {
    int n = sampling->asked;
    table *t = table_make(config, true, error);
    if (!t) return error->status;
    likeness_status status = lcm_times(t->time, config, n, error);
    for (int i = 0; i < n && status == LIKENESS_OK; i++) {
        const double data_deviation = 0.5;
        double kept = t->noise.kept[(int)t->time[i]], alpha = sqrt(kept), sigma = sqrt(1 - kept);
        double scaled = t->time[i] * config->lcm_time_scale, d2 = data_deviation * data_deviation;
        double skip = d2 / (scaled * scaled + d2), out = scaled / sqrt(scaled * scaled + d2);
        form x0 = picture_of(sampling->prediction, alpha, sigma);
        form consistent = {out * x0.z + skip, out * x0.m};
        double kept_next = i + 1 < n ? t->noise.kept[(int)t->time[i + 1]] : 1;
        sampling->step[i] = (lk_sampling_step){.time = t->time[i],
                                               .input = 1,
                                               .keep = sqrt(kept_next) * consistent.z,
                                               .move = sqrt(kept_next) * consistent.m,
                                               .noise = sqrt(1 - kept_next),
                                               .denoised_z = consistent.z,
                                               .denoised_m = consistent.m};
        if (i == first && from_picture) sampling->data = alpha, sampling->noise = sigma;
    }
    if (!from_picture) sampling->noise = 1;
    lk_free(t);
    return status;
}
