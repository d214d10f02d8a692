/* tests/personalize/test_anchored_guidance.c - P1 to P4, P10, P11, P13 and P21 of the RectifID spec (section 6): the
 * shipped iteration runs the spec's toy with analytic segments in double, every pass recorded. Expected figures are
 * quoted from the spec. P7, P7b, P7c: test_fixed_points.c. */
#include "personalize/toy.h"

#include "base/half.h"

/* ---- a recorded run ---- */

enum { MAX_PASSES = 48 };

/* Pass p: z[p][k] as handed on by the iteration, e[p][k] as the segments gave it, h[p][k] as pulled back. */
typedef struct flight {
    toy flow;
    double gain; /* of the loss: 1 gives gradients longer than 1, little gives shorter ones */
    int passes;  /* scored so far */
    double noise[TOY_D];
    double z[MAX_PASSES][TOY_K + 1][TOY_D], e[MAX_PASSES][TOY_K + 1][TOY_D], h[MAX_PASSES][TOY_K + 1][TOY_D];
    double reported_norm[MAX_PASSES][TOY_K + 1], reported_offset[MAX_PASSES][TOY_K + 1];
} flight;

static likeness_status flight_segment(void *user, int k, const double *start, bool keep, double *endpoint,
                                      lk_error *error) {
    flight *f = user;
    likeness_status status = toy_segment(&f->flow, k, start, keep, endpoint, error);
    memcpy(f->z[f->passes][k - 1], start, sizeof f->noise);
    memcpy(f->e[f->passes][k], endpoint, sizeof f->noise);
    return status;
}

static likeness_status flight_vjp(void *user, int k, const double *start, const double *cotangent, double *gradient,
                                  lk_error *error) {
    flight *f = user;
    int pass = f->passes - 1;
    if (k == 1) {
        memcpy(f->z[pass][0], start, sizeof f->noise); /* an anchored run calls segment 1 in pass 0 only */
        if (f->flow.first_calls == 1) memcpy(f->e[pass][1], f->e[0][1], sizeof f->noise);
    }
    assert_memory_equal(start, f->z[pass][k - 1], sizeof f->noise);
    likeness_status status = toy_vjp(&f->flow, k, start, cotangent, gradient, error);
    memcpy(f->h[pass][k], cotangent, sizeof f->noise);
    memcpy(f->h[pass][k - 1], gradient, sizeof f->noise);
    return status;
}

static likeness_status flight_loss(void *user, const double *latent, double *loss, double *likeness, double *gradient,
                                   lk_error *error) {
    flight *f = user;
    likeness_status status = toy_loss(&f->flow, latent, loss, likeness, gradient, error);
    *loss *= f->gain;
    for (int i = 0; i < TOY_D && gradient; i++)
        gradient[i] *= f->gain;
    memcpy(f->z[f->passes++][TOY_K], latent, sizeof f->noise);
    return status;
}

static bool flight_step(void *user, const lk_guidance_step *step) {
    flight *f = user;
    assert_int_equal(step->iteration, f->passes - 1);
    for (int k = 0; k <= TOY_K; k++) {
        f->reported_norm[step->iteration][k] = step->norm[k];
        f->reported_offset[step->iteration][k] = step->offset_norm[k];
    }
    return true;
}

static flight *fly(uint64_t seed, double gain, lk_guidance_options options) {
    flight *f = test_calloc(1, sizeof *f);
    assert_true(options.iterations < MAX_PASSES);
    toy_create(&f->flow, seed);
    f->gain = gain;
    for (int i = 0; i < TOY_D; i++)
        f->noise[i] = normal();
    lk_flow_problem problem = {.user = f,
                               .segments = TOY_K,
                               .dimension = TOY_D,
                               .segment = flight_segment,
                               .segment_vjp = flight_vjp,
                               .loss = flight_loss};
    double latent[TOY_D];
    lk_guidance_result result = {.latent = latent};
    lk_error error = LK_ERROR_INIT;
    assert_int_equal(lk_anchored_guidance(&problem, &options, f->noise, flight_step, f, &result, &error), LIKENESS_OK);
    assert_int_equal(f->passes, options.iterations + 1);
    assert_memory_equal(latent, f->z[options.iterations][TOY_K], sizeof latent);
    return f;
}

static double length(const double *vector) {
    double sum = 0;
    for (int i = 0; i < TOY_D; i++)
        sum += vector[i] * vector[i];
    return sqrt(sum);
}

/* ---- P1 ---- */

static void p1_zero_guidance_changes_nothing(void **state) {
    (void)state;
    toy t;
    toy_create(&t, 3);
    lk_error error = LK_ERROR_INIT;
    double plain[TOY_D], next[TOY_D], moved[TOY_D];
    for (int i = 0; i < TOY_D; i++)
        plain[i] = normal();
    for (int k = 1; k <= TOY_K; k++) {
        toy_segment(&t, k, plain, false, next, &error);
        memcpy(plain, next, sizeof plain);
    }
    for (int n = 0; n <= 14; n += 7)
        for (int reading = 0; reading < 3; reading++) {
            double zero[TOY_D];
            toy_likeness(3, (lk_guidance_options){.iterations = n, .reading = (lk_guidance_reading)reading}, zero);
            assert_memory_equal(plain, zero, sizeof plain);
        }
    toy_likeness(3, (lk_guidance_options){.iterations = 7, .scale = toy_scale}, moved);
    assert_memory_not_equal(plain, moved, sizeof plain);
}

/* ---- P2 ---- */

static void p2_noise_and_first_endpoint_stay(void **state) {
    (void)state;
    flight *f = fly(5, 1, (lk_guidance_options){.iterations = 9, .scale = toy_scale});
    assert_int_equal(f->flow.first_calls, 1);
    double offset[TOY_D] = {0}, again[TOY_D];
    lk_error error = LK_ERROR_INIT;
    for (int pass = 0; pass < 9; pass++) {
        assert_memory_equal(f->z[pass][0], f->noise, sizeof f->noise);
        toy_segment(&f->flow, 1, f->z[pass][0], false, again, &error);
        for (int i = 0; i < TOY_D; i++) {
            /* What is left of the first boundary without its offset is e_1, in every pass. */
            assert_true(fabs(f->z[pass][1][i] - offset[i] - again[i]) < 1e-14);
            offset[i] -= toy_scale * f->h[pass][0][i] / fmax(1, length(f->h[pass][0]));
        }
    }
    for (int k = 1; k <= TOY_K; k++)
        assert_memory_equal(f->z[0][k], f->e[0][k], sizeof f->noise);
    test_free(f);
}

/* ---- P3 ---- */

/* The released code keeps three buffers a boundary, start z, endpoint e, target; this is that bookkeeping. */
static void p3_equals_three_buffer_form(void **state) {
    (void)state;
    enum { N = 30 };
    const double factor[TOY_K] = {1, 0.957967, 0.5, 1.3};
    flight *f = fly(11, 1, (lk_guidance_options){.iterations = N, .scale = toy_scale, .step_factor = factor});
    lk_error error = LK_ERROR_INIT;
    double z[TOY_K + 1][TOY_D], e[TOY_K + 1][TOY_D], target[TOY_K + 1][TOY_D], h[TOY_K + 1][TOY_D], worst = 0;
    memcpy(z[0], f->noise, sizeof z[0]);
    for (int k = 1; k <= TOY_K; k++) {
        toy_segment(&f->flow, k, z[k - 1], false, e[k], &error);
        memcpy(z[k], e[k], sizeof z[k]);
    }
    for (int n = 0;; n++) {
        double loss, likeness, fresh[TOY_D];
        for (int k = 0; k <= TOY_K; k++)
            for (int i = 0; i < TOY_D && (n < N || k == TOY_K); i++)
                worst = fmax(worst, fabs(z[k][i] - f->z[n][k][i]));
        if (n == N) break;
        toy_loss(&f->flow, z[TOY_K], &loss, &likeness, h[TOY_K], &error);
        for (int k = TOY_K; k >= 1; k--)
            toy_vjp(&f->flow, k, z[k - 1], h[k], h[k - 1], &error);
        for (int k = 1; k <= TOY_K; k++)
            for (int i = 0; i < TOY_D; i++)
                target[k][i] = e[k][i] - toy_scale * h[k - 1][i] / fmax(1, length(h[k - 1]));
        for (int k = 1; k <= TOY_K; k++) {
            toy_segment(&f->flow, k, z[k - 1], false, fresh, &error);
            for (int i = 0; i < TOY_D; i++)
                z[k][i] = z[k][i] + (fresh[i] - e[k][i]) + factor[k - 1] * (target[k][i] - e[k][i]);
            memcpy(e[k], fresh, sizeof fresh);
        }
    }
    print_message("offsets and three buffers differ by %.1e\n", worst);
    assert_true(worst < 1e-13);
    test_free(f);
}

/* ---- P4 ---- */

/* The toy's own adjoints: what the rest of this file stands on. */
static void p4_toy_adjoints(void **state) {
    (void)state;
    toy t;
    toy_create(&t, 17);
    lk_error error = LK_ERROR_INIT;
    for (int k = 1; k <= TOY_K + 1; k++) { /* K + 1: embedder and cosine */
        double z[TOY_D], u[TOY_D], w[TOY_D], up[TOY_D], down[TOY_D], a[TOY_D], b[TOY_D], back[TOY_D], step = 1e-5;
        double likeness, forward = 0, reverse = 0;
        for (int i = 0; i < TOY_D; i++) {
            z[i] = normal();
            u[i] = normal();
            w[i] = normal();
            up[i] = z[i] + step * w[i];
            down[i] = z[i] - step * w[i];
        }
        if (k <= TOY_K) {
            toy_segment(&t, k, up, false, a, &error);
            toy_segment(&t, k, down, false, b, &error);
            toy_vjp(&t, k, z, u, back, &error);
        } else {
            memset(u, 0, sizeof u);
            u[0] = 1;
            toy_loss(&t, up, &a[0], &likeness, NULL, &error);
            toy_loss(&t, down, &b[0], &likeness, NULL, &error);
            toy_loss(&t, z, &step, &likeness, back, &error);
            step = 1e-5;
        }
        for (int i = 0; i < (k <= TOY_K ? TOY_D : 1); i++)
            forward += u[i] * (a[i] - b[i]) / (2 * step);
        for (int i = 0; i < TOY_D; i++)
            reverse += back[i] * w[i];
        assert_true(fabs(forward - reverse) < 1e-8 * fabs(reverse));
    }
}

/* Loss of a pass that goes on from boundary k at `start` with the offsets that pass `pass` used. */
static double loss_from(flight *f, int pass, int k, const double *start) {
    lk_error error = LK_ERROR_INIT;
    double z[TOY_D], next[TOY_D], loss, likeness;
    memcpy(z, start, sizeof z);
    for (int m = k + 1; m <= TOY_K; m++) {
        toy_segment(&f->flow, m, z, false, next, &error);
        for (int i = 0; i < TOY_D; i++)
            z[i] = next[i] + (f->z[pass][m][i] - f->e[pass][m][i]);
    }
    toy_loss(&f->flow, z, &loss, &likeness, NULL, &error);
    return loss;
}

/* The chain of the shipped iteration: h_k is the derivative of the whole rest of the pass at boundary k. */
static void p4_chain_of_the_iteration(void **state) {
    (void)state;
    flight *f = fly(19, 1, (lk_guidance_options){.iterations = 12, .scale = toy_scale});
    for (int pass = 0; pass < 12; pass += 11)
        for (int k = 0; k <= TOY_K; k++) {
            double w[TOY_D], up[TOY_D], down[TOY_D], reverse = 0, step = 1e-5;
            for (int i = 0; i < TOY_D; i++) {
                w[i] = normal();
                up[i] = f->z[pass][k][i] + step * w[i];
                down[i] = f->z[pass][k][i] - step * w[i];
                reverse += f->h[pass][k][i] * w[i];
            }
            double forward = (loss_from(f, pass, k, up) - loss_from(f, pass, k, down)) / (2 * step);
            assert_true(fabs(forward - reverse) < 1e-7 * length(f->h[pass][k]) * length(w));
            assert_true(fabs(f->reported_norm[pass + 1][k] - length(f->h[pass][k])) < 1e-12 * length(f->h[pass][k]));
        }
    test_free(f);
}

/* ---- P10 ---- */

static void p10_step_length(void **state) {
    (void)state;
    enum { N = 20 };
    const double factor[TOY_K] = {1, 0.5, 2, 0.75};
    int clipped = 0, free_steps = 0;
    for (int run = 0; run < 2; run++) {
        flight *f =
            fly(23, run ? 0.004 : 1, (lk_guidance_options){.iterations = N, .scale = toy_scale, .step_factor = factor});
        for (int k = 1; k <= TOY_K; k++) {
            double offset[TOY_D] = {0}, step = toy_scale * factor[k - 1];
            for (int n = 1; n <= N; n++) {
                const double *h = f->h[n - 1][k - 1];
                double moved[TOY_D], wrong[TOY_D];
                for (int i = 0; i < TOY_D; i++) {
                    /* Segment 1 ran in pass 0 only. */
                    double now = f->z[n][k][i] - (k == 1 ? f->e[0][1][i] : f->e[n][k][i]);
                    moved[i] = now - offset[i];
                    offset[i] = now;
                    wrong[i] = moved[i] + step * h[i] / fmax(1, length(h));
                }
                assert_true(fabs(length(moved) - step * fmin(1, length(h))) < 1e-13);
                assert_true(length(wrong) < 1e-13);
                assert_true(length(offset) <= n * step * (1 + 1e-12));
                assert_true(fabs(f->reported_offset[n][k] - length(offset)) < 1e-12);
                *(length(h) >= 1 ? &clipped : &free_steps) += 1;
            }
        }
        test_free(f);
    }
    print_message("%d steps of full length, %d shorter\n", clipped, free_steps);
    assert_true(clipped >= 3 * N && free_steps >= 3 * N);
}

/* The option against artifacts: after the division, before the scale. */
static void elementwise_clamp(void **state) {
    (void)state;
    flight *f = fly(23, 1, (lk_guidance_options){.iterations = 1, .scale = toy_scale, .clamp = 0.02});
    int limited = 0;
    for (int k = 2; k <= TOY_K; k++)
        for (int i = 0; i < TOY_D; i++) {
            double q = f->h[0][k - 1][i] / fmax(1, length(f->h[0][k - 1]));
            limited += fabs(q) > 0.02;
            q = fmin(fmax(q, -0.02), 0.02);
            assert_true(fabs(f->z[1][k][i] - f->e[1][k][i] + toy_scale * q) < 1e-14);
        }
    assert_true(limited > 10);
    test_free(f);
}

/* ---- P11, P13 ---- */

/* Which offsets a reading keeps: after n passes an offset is the sum of all its steps, or the last one. */
static void p13_what_each_reading_keeps(void **state) {
    (void)state;
    enum { N = 6 };
    for (int reading = 0; reading < 3; reading++) {
        flight *f = fly(
            29, 1, (lk_guidance_options){.iterations = N, .scale = toy_scale, .reading = (lk_guidance_reading)reading});
        for (int k = 1; k <= TOY_K; k++) {
            bool last_only = reading == LK_READING_C || (reading == LK_READING_B && k == TOY_K);
            for (int i = 0; i < TOY_D; i++) {
                double expected = 0;
                for (int n = last_only ? N - 1 : 0; n < N; n++)
                    expected -= toy_scale * f->h[n][k - 1][i] / fmax(1, length(f->h[n][k - 1]));
                double offset = f->z[N][k][i] - (k == 1 ? f->e[0][1][i] : f->e[N][k][i]);
                assert_true(fabs(offset - expected) < 1e-13);
            }
        }
        test_free(f);
    }
}

static void p11_p13_readings(void **state) {
    (void)state;
    double mean[3] = {0}, start = 0, early = 0;
    for (uint64_t draw = 0; draw < 20; draw++) {
        for (int reading = 0; reading < 3; reading++)
            mean[reading] +=
                toy_likeness(100 + draw,
                             (lk_guidance_options){
                                 .iterations = 100, .scale = toy_scale, .reading = (lk_guidance_reading)reading},
                             NULL) /
                20;
        start += toy_likeness(100 + draw, (lk_guidance_options){.iterations = 0}, NULL) / 20;
        early += toy_likeness(100 + draw, (lk_guidance_options){.iterations = 20, .scale = toy_scale}, NULL) / 20;
    }
    print_message("toy after 100 iterations: A %.3f B %.3f C %.3f; start %.3f, A after 20 %.3f\n", mean[0], mean[1],
                  mean[2], start, early);
    /* Spec: .88 / .86 / .03, .54 at 20; other draws of the same toy, hence the width. */
    assert_true(mean[0] > 0.75 && mean[1] > 0.7 && mean[2] < start + 0.15);
    assert_true(early > start + 0.3 && mean[0] > early);
}

/* ---- P21: offsets kept in f32 lose nothing that matters ---- */

enum { LARGE = 16384 };

/* A segment that is the identity, and a gradient that is always `user`. */
static likeness_status wide_segment(void *user, int k, const double *start, bool keep, double *endpoint,
                                    lk_error *error) {
    (void)user, (void)k, (void)keep, (void)error;
    memcpy(endpoint, start, LARGE * sizeof *endpoint);
    return LIKENESS_OK;
}

static likeness_status wide_vjp(void *user, int k, const double *start, const double *cotangent, double *gradient,
                                lk_error *error) {
    (void)user, (void)k, (void)start, (void)error;
    memcpy(gradient, cotangent, LARGE * sizeof *gradient);
    return LIKENESS_OK;
}

static likeness_status wide_loss(void *user, const double *latent, double *loss, double *likeness, double *gradient,
                                 lk_error *error) {
    (void)latent, (void)error;
    *loss = 1;
    *likeness = 0;
    if (gradient) memcpy(gradient, user, LARGE * sizeof *gradient);
    return LIKENESS_OK;
}

static double relative_error(const double *before, const double *after, const double *step) {
    double wrong = 0, wanted = 0;
    for (int i = 0; i < LARGE; i++) {
        wrong += pow(after[i] - before[i] - step[i], 2);
        wanted += step[i] * step[i];
    }
    return sqrt(wrong / wanted);
}

static double as_half(double value) { return (double)lk_f16_to_f32(lk_f32_to_f16((float)value)); }

/* The 101st step of length 1 on a latent of N(0,1): how much of it arrives. Beside it the same step on a latent that is
 * kept in f16, which shows that the measure sees what it should (spec: 2.7 %). */
static void p21_f32_offsets(void **state) {
    (void)state;
    double *memory = test_calloc(6 * LARGE, sizeof(double)), *direction = memory, *noise = memory + LARGE,
           *before = noise + LARGE, *after = before + LARGE, *step = after + LARGE, *half = step + LARGE, sum = 0;
    random_state = 77;
    for (int i = 0; i < LARGE; i++) {
        direction[i] = 3 * normal();
        noise[i] = normal();
        sum += direction[i] * direction[i];
    }
    for (int i = 0; i < LARGE; i++)
        step[i] = -direction[i] / sqrt(sum);
    lk_flow_problem problem = {.user = direction,
                               .segments = 1,
                               .dimension = LARGE,
                               .segment = wide_segment,
                               .segment_vjp = wide_vjp,
                               .loss = wide_loss};
    lk_error error = LK_ERROR_INIT;
    for (int n = 100; n <= 101; n++) {
        lk_guidance_options options = {.iterations = n, .scale = 1, .f32 = true};
        lk_guidance_result result = {.latent = n == 100 ? before : after};
        assert_int_equal(lk_anchored_guidance(&problem, &options, noise, NULL, NULL, &result, &error), LIKENESS_OK);
    }
    double single = relative_error(before, after, step);
    for (int i = 0; i < LARGE; i++) {
        assert_true(before[i] == (double)(float)before[i]); /* what is stored is f32 */
        before[i] = as_half(noise[i]);
        half[i] = as_half(before[i] + step[i]);
    }
    double control = relative_error(before, half, step);
    print_message("realised step error: f32 offsets %.1e, f16 latents %.1f %%\n", single, 100 * control);
    assert_true(single < 2e-5);
    assert_true(control > 0.02 && control < 0.04);
    test_free(memory);
}

/* ---- the forms kept for comparison, against their formulas ---- */

/* Gradient descent on the noise: momentum, clipped gradient, pull towards the first noise. */
static void noise_descent_form(void **state) {
    (void)state;
    enum { N = 12 };
    const double momentum = 0.9, decay = 1.5, rate = 0.4 * toy_scale;
    int shorter = 0;
    for (int run = 0; run < 2; run++) {
        flight *f = fly(41, run ? 0.004 : 1,
                        (lk_guidance_options){.method = LK_GUIDANCE_NOISE_DESCENT,
                                              .iterations = N,
                                              .scale = rate,
                                              .momentum = momentum,
                                              .noise_decay = decay});
        double z[TOY_D], speed[TOY_D] = {0};
        memcpy(z, f->noise, sizeof z);
        for (int n = 0; n < N; n++) {
            const double *h = f->h[n][0];
            shorter += length(h) < 1;
            for (int i = 0; i < TOY_D; i++) {
                assert_true(fabs(f->z[n][0][i] - z[i]) < 1e-13);
                /* Nothing but the noise moves. */
                for (int k = 1; k <= TOY_K; k++)
                    assert_true(f->z[n][k][i] == f->e[n][k][i]);
                speed[i] = momentum * speed[i] + h[i] / fmax(1, length(h)) + decay * 2 * (z[i] - f->noise[i]) / TOY_D;
                z[i] -= rate * speed[i];
            }
        }
        assert_int_equal(f->flow.first_calls, N + 1);
        test_free(f);
    }
    assert_true(shorter > 0 && shorter < 2 * N);
}

/* Velocity of the toy at the END of segment k, times its length. */
static likeness_status flight_end(void *user, int k, const double *end, double *displacement, lk_error *error) {
    flight *f = user;
    (void)error;
    toy_velocity(&f->flow, (double)k / TOY_K, end, displacement);
    for (int i = 0; i < TOY_D; i++)
        displacement[i] /= TOY_K;
    return LIKENESS_OK;
}

static void unanchored_form(void **state) {
    (void)state;
    enum { N = 5 };
    flight *f = test_calloc(1, sizeof *f);
    toy_create(&f->flow, 43);
    f->gain = 1;
    for (int i = 0; i < TOY_D; i++)
        f->noise[i] = normal();
    lk_flow_problem problem = {.user = f,
                               .segments = TOY_K,
                               .dimension = TOY_D,
                               .segment = flight_segment,
                               .segment_vjp = flight_vjp,
                               .loss = flight_loss,
                               .end_displacement = flight_end};
    lk_guidance_options options = {.method = LK_GUIDANCE_UNANCHORED, .iterations = N, .scale = toy_scale};
    double latent[TOY_D], z[TOY_K + 1][TOY_D], h[TOY_D], v[TOY_D], loss, likeness;
    lk_guidance_result result = {.latent = latent};
    lk_error error = LK_ERROR_INIT;
    assert_int_equal(lk_anchored_guidance(&problem, &options, f->noise, NULL, NULL, &result, &error), LIKENESS_OK);
    memcpy(z[0], f->noise, sizeof z[0]);
    for (int k = 1; k <= TOY_K; k++)
        toy_segment(&f->flow, k, z[k - 1], false, z[k], &error);
    for (int n = 0;; n++) {
        for (int i = 0; i < TOY_D; i++)
            assert_true(fabs(z[TOY_K][i] - f->z[n][TOY_K][i]) < 1e-13);
        if (n == N) break;
        toy_loss(&f->flow, z[TOY_K], &loss, &likeness, h, &error);
        for (int k = 1; k <= TOY_K; k++) {
            flight_end(f, k, z[k], v, &error);
            for (int i = 0; i < TOY_D; i++)
                z[k][i] = z[k - 1][i] + v[i] - toy_scale / TOY_K * h[i] / fmax(1, length(h));
        }
    }
    problem.end_displacement = NULL;
    assert_int_equal(lk_anchored_guidance(&problem, &options, f->noise, NULL, NULL, &result, &error),
                     LIKENESS_UNSUPPORTED);
    test_free(f);
}

/* ---- stopping ---- */

typedef struct watch {
    double likeness[64], latent[64][TOY_D];
    int count, stop_at;
} watch;

static bool watch_step(void *user, const lk_guidance_step *step) {
    watch *w = user;
    w->likeness[w->count] = step->likeness;
    memcpy(w->latent[w->count++], step->latent, sizeof w->latent[0]);
    return step->iteration != w->stop_at;
}

/* Steps twelve times too long, so that likeness falls as well as rises and the best pass is not the last. */
static void stops_and_keeps_the_best(void **state) {
    (void)state;
    toy t;
    toy_create(&t, 31);
    double noise[TOY_D], latent[TOY_D], best[TOY_D], unguided[TOY_D];
    for (int i = 0; i < TOY_D; i++)
        noise[i] = normal();
    lk_flow_problem problem = toy_problem(&t);
    lk_guidance_options options = {.iterations = 60, .scale = 12 * toy_scale};
    lk_guidance_result result = {.latent = latent, .best = best, .unguided = unguided};
    lk_error error = LK_ERROR_INIT;
    watch w = {.stop_at = 39};
    assert_int_equal(lk_anchored_guidance(&problem, &options, noise, watch_step, &w, &result, &error), LIKENESS_OK);
    assert_true(result.stopped);
    assert_int_equal(result.iterations, 39);
    assert_int_equal(w.count, 40);
    int top = 0;
    for (int n = 1; n < w.count; n++)
        if (w.likeness[n] > w.likeness[top]) top = n;
    assert_true(top > 0 && top < 39);
    assert_int_equal(result.best_iteration, top);
    assert_true(result.best_likeness == w.likeness[top] && result.unguided_likeness == w.likeness[0] &&
                result.likeness == w.likeness[39]);
    assert_memory_equal(best, w.latent[top], sizeof best);
    assert_memory_equal(unguided, w.latent[0], sizeof unguided);
    assert_memory_equal(latent, w.latent[39], sizeof latent);
    /* A likeness to stop at: the first pass that reaches it is the last. */
    options.until = (w.likeness[0] + w.likeness[top]) / 2;
    int first = 0;
    while (w.likeness[first] < options.until)
        first++;
    assert_int_equal(lk_anchored_guidance(&problem, &options, noise, NULL, NULL, &result, &error), LIKENESS_OK);
    assert_int_equal(result.iterations, first);
    assert_true(!result.stopped && result.likeness == w.likeness[first]);
}

static likeness_status broken_vjp(void *user, int k, const double *start, const double *cotangent, double *gradient,
                                  lk_error *error) {
    likeness_status status = toy_vjp(user, k, start, cotangent, gradient, error);
    if (k == 2) gradient[3] = NAN;
    return status;
}

/* A gradient that is not a number must not become a picture. */
static void refuses_gradients_that_are_no_numbers(void **state) {
    (void)state;
    toy t;
    toy_create(&t, 37);
    double noise[TOY_D] = {1}, latent[TOY_D];
    lk_flow_problem problem = toy_problem(&t);
    problem.segment_vjp = broken_vjp;
    lk_guidance_options options = {.iterations = 1, .scale = toy_scale};
    lk_guidance_result result = {.latent = latent};
    lk_error error = LK_ERROR_INIT;
    assert_int_equal(lk_anchored_guidance(&problem, &options, noise, NULL, NULL, &result, &error), LIKENESS_NON_FINITE);
    assert_non_null(strstr(error.message, "gradient"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(p1_zero_guidance_changes_nothing),
        cmocka_unit_test(p2_noise_and_first_endpoint_stay),
        cmocka_unit_test(p3_equals_three_buffer_form),
        cmocka_unit_test(p4_toy_adjoints),
        cmocka_unit_test(p4_chain_of_the_iteration),
        cmocka_unit_test(p10_step_length),
        cmocka_unit_test(elementwise_clamp),
        cmocka_unit_test(p13_what_each_reading_keeps),
        cmocka_unit_test(p11_p13_readings),
        cmocka_unit_test(p21_f32_offsets),
        cmocka_unit_test(noise_descent_form),
        cmocka_unit_test(unanchored_form),
        cmocka_unit_test(stops_and_keeps_the_best),
        cmocka_unit_test(refuses_gradients_that_are_no_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
