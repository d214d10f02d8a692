/* sampling/sampler.h - every sampler as one table of numbers.
 *
 * All samplers here are linear in the latent z and in what the network predicts, m. A step is
 *
 *     m   = network(input z, time, prompt)
 *     x0  = denoised_z z + denoised_m m                        the picture as it looks now
 *     z  <- keep z + move m + remember (x0 of the step before) + noise n
 *
 * and a sampler is the list of these coefficients, made on the CPU in double from the scheduler's config before the
 * first step. Sampling begins at z = data x + noise n, with x the latent of a given picture (data is 0 without one).
 *
 *   flow Euler      z + dt m                          InstaFlow: the same with the opposite sign
 *   PeRFlow         z + dt (w - z) / (t_e - t)        w: end of the window, predicted from z and m (perflow.c)
 *   DDIM            sqrt(a') x0 + sqrt(1 - a') eps
 *   Euler           in z / sqrt(a): z + (sigma' - sigma) eps; ancestral: less far, and new noise
 *   DPM++ 2M        second order in log(sigma), by the x0 of the step before
 *   LCM             x0 by the consistency function, noised again
 *
 * A step without memory and noise is a map of z, and guidance may pull a gradient back through it:
 *
 *     gradient of z = keep g + input (d network / d z)^T (move g)
 */
#ifndef LK_SAMPLING_SAMPLER_H
#define LK_SAMPLING_SAMPLER_H

#include "models/scheduler_config.h"

#include <stddef.h>

#define LK_MAX_STEPS 1000

typedef enum lk_sigmas { LK_SIGMAS_OWN, LK_SIGMAS_DISCRETE, LK_SIGMAS_KARRAS } lk_sigmas;

typedef struct lk_sampling_request {
    lk_solver solver;         /* LK_SOLVER_COUNT: the model's own */
    lk_sigmas sigmas;         /* OWN: the model's own for its own sampler, else discrete */
    lk_prediction prediction; /* LK_PREDICT_COUNT: the model's own */
    int steps;
    bool from_picture;
    double strength; /* of image to image, above 0 to 1: which part of the steps is done */
} lk_sampling_request;

typedef struct lk_sampling_step {
    double time; /* what the network is fed, 0..1000; may have fractions */
    double input, keep, move, remember, noise, denoised_z, denoised_m;
} lk_sampling_step;

typedef struct lk_sampling {
    lk_solver solver; /* what the request came to */
    lk_sigmas sigmas;
    lk_prediction prediction;
    int asked;              /* steps of the request */
    int count;              /* steps that are done: fewer in image to image */
    lk_sampling_step *step; /* count of them */
    double data, noise;     /* the beginning */
    bool straight;          /* a flow: z + dt m at every step */
    bool maps;              /* neither memory nor noise in any step */
    bool draws;             /* some step wants noise */
} lk_sampling;

/* Chooses solver, prediction and sigmas, and says in the config's words why a combination is not possible. Needs no
 * number of steps. */
likeness_status lk_sampling_choose(const lk_scheduler_config *config, const lk_sampling_request *request,
                                   lk_solver *solver, lk_prediction *prediction, lk_sigmas *sigmas, lk_error *error);

/* Makes the table; *sampling is empty after a failure. */
likeness_status lk_sampling_make(lk_sampling *sampling, const lk_scheduler_config *config,
                                 const lk_sampling_request *request, lk_error *error);
void lk_sampling_free(lk_sampling *sampling);

/* AUTOMATIC1111's name, without the sigmas: "Euler a", "DPM++ 2M", ... */
const char *lk_solver_title(lk_solver solver);

/* ---- one step on arrays; sums in double, results rounded to f32 ---- */

/* out = input z: what the network sees. `out` may be z. */
void lk_sampling_see(const lk_sampling_step *step, const float *z, float *out, size_t count);
/* z <- the next z. m: prediction; denoised (NULL where no step remembers): x0 of the step before, replaced by this
 * one's; noise: NULL where step->noise is 0. */
void lk_sampling_advance(const lk_sampling_step *step, float *z, const float *m, float *denoised, const float *noise,
                         size_t count);
/* Of a map: the cotangent of m for the cotangent g of the next z, and from what the network pulled back of it the
 * gradient with respect to z. */
void lk_sampling_cotangent(const lk_sampling_step *step, const double *g, float *m_cotangent, size_t count);
void lk_sampling_pull(const lk_sampling_step *step, const double *g, const float *pulled, double *z_gradient,
                      size_t count);

#endif
