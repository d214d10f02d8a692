/* tests/personalize/toy.h - the spec's toy flow (RectifID spec, section 6) with analytic segments in double, run by the
 * shipped iteration. Included by the test programs of this folder. */
#ifndef TESTS_PERSONALIZE_TOY_H
#define TESTS_PERSONALIZE_TOY_H

#include "personalize/anchored_guidance.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- a small reproducible generator: only for the toys' random matrices ---- */

static uint64_t random_state;

static double uniform(void) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return ((double)(random_state >> 11) + 0.5) / 9007199254740992.0;
}

static double normal(void) { return sqrt(-2 * log(uniform())) * cos(6.283185307179586 * uniform()); }

/* ---- toy 1: K Euler segments of v = W2 tanh(W1 z + b + t c), similarity in R^8 ---- */

enum { TOY_D = 16, TOY_HIDDEN = 48, TOY_K = 4, TOY_E = 8 };

typedef struct toy {
    double w1[TOY_HIDDEN][TOY_D], w2[TOY_D][TOY_HIDDEN], b[TOY_HIDDEN], c[TOY_HIDDEN];
    double e1[TOY_HIDDEN][TOY_D], e2[TOY_E][TOY_HIDDEN], target[TOY_E];
    int first_calls;
} toy;

static void toy_create(toy *t, uint64_t seed) {
    memset(t, 0, sizeof *t);
    random_state = seed;
    for (int i = 0; i < TOY_HIDDEN; i++) {
        for (int j = 0; j < TOY_D; j++) {
            t->w1[i][j] = normal() / sqrt(TOY_D);
            t->w2[j][i] = normal() / sqrt(TOY_HIDDEN);
            t->e1[i][j] = normal() / sqrt(TOY_D);
        }
        for (int j = 0; j < TOY_E; j++)
            t->e2[j][i] = normal() / sqrt(TOY_HIDDEN);
        t->b[i] = 0.3 * normal();
        t->c[i] = 0.2 * normal();
    }
    for (int j = 0; j < TOY_E; j++)
        t->target[j] = normal();
}

static inline void toy_velocity(const toy *t, double time, const double *z, double *velocity) {
    double hidden[TOY_HIDDEN];
    for (int i = 0; i < TOY_HIDDEN; i++) {
        double sum = t->b[i] + time * t->c[i];
        for (int j = 0; j < TOY_D; j++)
            sum += t->w1[i][j] * z[j];
        hidden[i] = tanh(sum);
    }
    for (int j = 0; j < TOY_D; j++) {
        velocity[j] = 0;
        for (int i = 0; i < TOY_HIDDEN; i++)
            velocity[j] += t->w2[j][i] * hidden[i];
    }
}

/* The spec counts t = 0 as noise; the toy keeps that since its field has no convention of its own. */
static likeness_status toy_segment(void *user, int k, const double *start, bool keep, double *endpoint,
                                   lk_error *error) {
    toy *t = user;
    double velocity[TOY_D];
    (void)keep;
    (void)error;
    if (k == 1) t->first_calls++;
    toy_velocity(t, (double)(k - 1) / TOY_K, start, velocity);
    for (int j = 0; j < TOY_D; j++)
        endpoint[j] = start[j] + velocity[j] / TOY_K;
    return LIKENESS_OK;
}

static likeness_status toy_vjp(void *user, int k, const double *start, const double *cotangent, double *gradient,
                               lk_error *error) {
    toy *t = user;
    (void)error;
    double time = (double)(k - 1) / TOY_K;
    memcpy(gradient, cotangent, TOY_D * sizeof *gradient);
    for (int i = 0; i < TOY_HIDDEN; i++) {
        double sum = t->b[i] + time * t->c[i], back = 0;
        for (int j = 0; j < TOY_D; j++) {
            sum += t->w1[i][j] * start[j];
            back += t->w2[j][i] * cotangent[j];
        }
        double h = tanh(sum);
        for (int j = 0; j < TOY_D; j++)
            gradient[j] += t->w1[i][j] * (1 - h * h) * back / TOY_K;
    }
    return LIKENESS_OK;
}

static likeness_status toy_loss(void *user, const double *latent, double *loss, double *likeness, double *gradient,
                                lk_error *error) {
    const toy *t = user;
    (void)error;
    double hidden[TOY_HIDDEN], a[TOY_E] = {0}, aa = 0, bb = 0, ab = 0;
    for (int i = 0; i < TOY_HIDDEN; i++) {
        double sum = 0;
        for (int j = 0; j < TOY_D; j++)
            sum += t->e1[i][j] * latent[j];
        hidden[i] = tanh(sum);
        for (int j = 0; j < TOY_E; j++)
            a[j] += t->e2[j][i] * hidden[i];
    }
    for (int j = 0; j < TOY_E; j++) {
        aa += a[j] * a[j];
        bb += t->target[j] * t->target[j];
        ab += a[j] * t->target[j];
    }
    double cosine = ab / sqrt(aa * bb);
    *likeness = cosine;
    *loss = 100 * (1 - cosine);
    if (!gradient) return LIKENESS_OK;
    memset(gradient, 0, TOY_D * sizeof *gradient);
    for (int i = 0; i < TOY_HIDDEN; i++) {
        double back = 0;
        for (int j = 0; j < TOY_E; j++)
            back += t->e2[j][i] * -100 * (t->target[j] / sqrt(aa * bb) - cosine * a[j] / aa);
        for (int j = 0; j < TOY_D; j++)
            gradient[j] += t->e1[i][j] * (1 - hidden[i] * hidden[i]) * back;
    }
    return LIKENESS_OK;
}

static lk_flow_problem toy_problem(toy *t) {
    return (lk_flow_problem){.user = t,
                             .segments = TOY_K,
                             .dimension = TOY_D,
                             .segment = toy_segment,
                             .segment_vjp = toy_vjp,
                             .loss = toy_loss};
}

static const double toy_scale = 0.03125; /* s = sqrt(16 / 16384) */

static double toy_likeness(uint64_t seed, lk_guidance_options options, double *latent) {
    toy t;
    toy_create(&t, seed);
    double noise[TOY_D], final[TOY_D];
    for (int i = 0; i < TOY_D; i++)
        noise[i] = normal();
    lk_flow_problem problem = toy_problem(&t);
    lk_guidance_result result = {.latent = latent ? latent : final};
    lk_error error = LK_ERROR_INIT;
    assert_int_equal(lk_anchored_guidance(&problem, &options, noise, NULL, NULL, &result, &error), LIKENESS_OK);
    return result.likeness;
}

#endif
