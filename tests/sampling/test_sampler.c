/* tests/sampling/test_sampler.c - samplers against diffusers' schedulers and against formulas written by another hand
 * (tests/reference/sampling.py), with a network that is one line of arithmetic: no device. Then PeRFlow's constants
 * (P5) and its straightness inside a window (P6), the gradient through a step, what is refused, missing memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/rng.h"
#include "io/safetensors.h"
#include "sampling/noise_schedule.h"
#include "sampling/sampler.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIZE = 24, SEED = 21 };

static lk_safetensors file;

static float network(float z, double time) {
    double t = time / 1000, x = (double)z;
    return (float)(x * (0.6 + 0.3 * t) / sqrt(1 + 0.2 * x * x) + 0.1 * (t - 0.5));
}

static double network_slope(double z, double time) {
    double s = 1 + 0.2 * z * z;
    return (0.6 + 0.3 * time / 1000) / (s * sqrt(s));
}

static void predict(const lk_sampling_step *step, const float *z, float *m) {
    lk_sampling_see(step, z, m, SIZE);
    for (int i = 0; i < SIZE; i++)
        m[i] = network(m[i], step->time);
}

static void assert_ok(likeness_status status, const lk_error *error) {
    if (status != LIKENESS_OK) fail_msg("status %d: %s", (int)status, error->message);
}

/* ---- against diffusers ---- */

static lk_scheduler_config config_of(const char *text) {
    lk_error error = LK_ERROR_INIT;
    lk_scheduler_config config;
    lk_json json;
    const char *class_name;
    char path[64];
    snprintf(path, sizeof path, "/tmp/likeness_scheduler_%d.json", rand());
    assert_ok(lk_file_write(path, text, strlen(text), &error), &error); /* through a file: it may say -Infinity */
    assert_ok(lk_json_read(&json, path, 1 << 16, &error), &error);
    lk_file_remove(path);
    assert_ok(lk_json_text(&json, NULL, "_class_name", &class_name, &error), &error);
    assert_ok(lk_scheduler_config_read(&config, &json, class_name, &error), &error);
    lk_json_free(&json);
    return config;
}

static lk_sampling_request request_of(const char *text) {
    static const char *const solvers[] = {"euler", "euler_a", "ddim", "dpm++2m", "lcm", "perflow"};
    char solver[16], sigmas[16], prediction[16];
    int steps;
    double strength;
    if (sscanf(text, "%15s %15s %15s %d %lf", solver, sigmas, prediction, &steps, &strength) != 5) fail();
    lk_sampling_request r = {.solver = LK_SOLVER_COUNT,
                             .prediction = LK_PREDICT_COUNT,
                             .steps = steps,
                             .from_picture = strength > 0,
                             .strength = strength};
    for (int i = 0; i < LK_SOLVER_COUNT; i++)
        if (strcmp(solver, solvers[i]) == 0) r.solver = (lk_solver)i;
    if (strcmp(sigmas, "karras") == 0) r.sigmas = LK_SIGMAS_KARRAS;
    if (strcmp(prediction, "own") != 0) assert_true(lk_prediction_find(prediction, &r.prediction));
    return r;
}

/* Largest distance from row `step` of the fixture, relative to that row's largest value. */
static double distance(const float *z, const float *wanted) {
    double most = 0, size = 0;
    for (int i = 0; i < SIZE; i++) {
        most = fmax(most, fabs((double)z[i] - (double)wanted[i]));
        size = fmax(size, fabs((double)wanted[i]));
    }
    return most / size;
}

static double run_case(const char *name, const lk_safetensor *tensor) {
    lk_error error = LK_ERROR_INIT;
    char key[32];
    snprintf(key, sizeof key, "%s.request", name);
    lk_scheduler_config config = config_of(lk_safetensors_metadata(&file, name));
    lk_sampling_request request = request_of(lk_safetensors_metadata(&file, key));
    lk_sampling sampling;
    assert_ok(lk_sampling_make(&sampling, &config, &request, &error), &error);
    float *wanted = malloc(tensor->elements * sizeof *wanted), z[SIZE], m[SIZE], denoised[SIZE] = {0}, noise[SIZE];
    assert_ok(lk_safetensor_to_f32(tensor, wanted, &error), &error);
    assert_int_equal(tensor->elements, SIZE * ((size_t)sampling.count + 1));
    lk_mt19937 rng;
    lk_mt19937_seed(&rng, SEED);
    lk_mt19937_normal(&rng, noise, SIZE);
    for (int i = 0; i < SIZE; i++)
        z[i] = (float)(sampling.data * (i / 12.0 - 1) + sampling.noise * (double)noise[i]);
    double worst = distance(z, wanted);
    for (int k = 0; k < sampling.count; k++) {
        const lk_sampling_step *step = &sampling.step[k];
        predict(step, z, m);
        if (step->noise != 0) lk_mt19937_normal(&rng, noise, SIZE);
        lk_sampling_advance(step, z, m, sampling.maps ? NULL : denoised, step->noise != 0 ? noise : NULL, SIZE);
        worst = fmax(worst, distance(z, wanted + (size_t)(k + 1) * SIZE));
    }
    if (worst > 3e-5) printf("%s: %s: %.2e\n", name, lk_safetensors_metadata(&file, key), worst);
    lk_sampling_free(&sampling);
    free(wanted);
    return worst;
}

static void trajectories_are_those_of_diffusers(void **state) {
    (void)state;
    lk_error error = LK_ERROR_INIT;
    double worst = 0;
    int cases = 0;
    assert_ok(lk_safetensors_open(&file, LIKENESS_SOURCE_DIR "/tests/data/sampling.safetensors", &error), &error);
    for (;; cases++) {
        char name[16];
        snprintf(name, sizeof name, "%d", cases);
        const lk_safetensor *tensor = lk_safetensors_find(&file, name);
        if (!tensor) break;
        worst = fmax(worst, run_case(name, tensor));
    }
    lk_safetensors_close(&file);
    printf("%d trajectories, largest relative difference %.1e\n", cases, worst);
    assert_true(cases > 90);
    assert_true(worst < 1e-4);
}

/* ---- PeRFlow ---- */

static lk_scheduler_config perflow(lk_prediction prediction) {
    lk_scheduler_config config = lk_scheduler_config_stable_diffusion(prediction);
    config.solver = LK_SOLVER_PERFLOW;
    return config;
}

static lk_sampling sampling_of(const lk_scheduler_config *config, lk_solver solver, int steps) {
    lk_error error = LK_ERROR_INIT;
    lk_sampling sampling;
    lk_sampling_request request = {.solver = solver, .prediction = LK_PREDICT_COUNT, .steps = steps};
    assert_ok(lk_sampling_make(&sampling, config, &request, &error), &error);
    return sampling;
}

/* P5: with one step a window the map is lambda z + eta eps. */
static void constants_of_perflow(void **state) {
    (void)state;
    static const double gamma[4] = {0.286879, 0.451579, 0.641170, 0.822196};
    static const double lambda[4] = {3.485786, 2.214450, 1.559649, 1.216254};
    static const double eta[2][4] = {{-3.339267, -1.975801, -1.196872, -0.692297},
                                     {-2.506379, -1.300941, -0.755837, -0.663755}};
    for (int kind = 0; kind < 2; kind++) {
        lk_scheduler_config config = perflow(kind == 0 ? LK_PREDICT_DIFF_EPS : LK_PREDICT_DDIM_EPS);
        lk_sampling s = sampling_of(&config, LK_SOLVER_COUNT, 4);
        assert_int_equal(s.count, 4);
        assert_true(s.maps && !s.straight && s.noise == 1 && s.data == 0);
        for (int k = 0; k < 4; k++) {
            assert_true(s.step[k].time == 1000 - 250 * k);
            assert_true(fabs(1 / s.step[k].keep - gamma[k]) < 1e-6);
            assert_true(fabs(s.step[k].keep - lambda[k]) < 1e-6);
            assert_true(fabs(s.step[k].move - eta[kind][k]) < 1e-6);
        }
        lk_sampling_free(&s);
    }
}

/* P6: with the same noise predicted everywhere, more steps in a window end at the same place. */
static void windows_are_straight(void **state) {
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        lk_scheduler_config config = perflow(kind == 0 ? LK_PREDICT_DIFF_EPS : LK_PREDICT_DDIM_EPS);
        double ends[3][4];
        for (int round = 0; round < 3; round++) {
            int inside = 1 << round;
            lk_sampling s = sampling_of(&config, LK_SOLVER_COUNT, 4 * inside);
            double z = 0.8, eps = -0.6;
            for (int k = 0; k < s.count; k++) {
                z = s.step[k].keep * z + s.step[k].move * eps;
                if ((k + 1) % inside == 0) ends[round][k / inside] = z;
            }
            lk_sampling_free(&s);
        }
        for (int k = 0; k < 4; k++)
            for (int round = 1; round < 3; round++)
                assert_true(fabs(ends[round][k] - ends[0][k]) < 1e-12 * (1 + fabs(ends[0][k])));
    }
}

/* ---- the gradient through a step ---- */

static void gradient_of(const lk_sampling_step *step) {
    double z[SIZE], g[SIZE], gradient[SIZE];
    float seen[SIZE], cotangent[SIZE];
    for (int i = 0; i < SIZE; i++) {
        z[i] = 0.3 * i - 3.1;
        g[i] = 0.7 - 0.11 * i;
    }
    lk_sampling_cotangent(step, g, cotangent, SIZE);
    for (int i = 0; i < SIZE; i++)
        seen[i] = (float)((double)cotangent[i] * network_slope(step->input * z[i], step->time));
    lk_sampling_pull(step, g, seen, gradient, SIZE);
    for (int i = 0; i < SIZE; i++) {
        double ends[2];
        const double h = 1e-4;
        for (int side = 0; side < 2; side++) {
            double x = z[i] + (side ? h : -h), y = step->input * x, t = step->time / 1000;
            ends[side] = step->keep * x + step->move * (y * (0.6 + 0.3 * t) / sqrt(1 + 0.2 * y * y) + 0.1 * (t - 0.5));
        }
        double wanted = g[i] * (ends[1] - ends[0]) / (2 * h);
        assert_true(fabs(gradient[i] - wanted) < 1e-6 * (1 + fabs(wanted)) + 1e-7 * fabs(step->move));
    }
}

static void gradients_go_back_through_maps(void **state) {
    (void)state;
    const lk_scheduler_config eps = lk_scheduler_config_stable_diffusion(LK_PREDICT_EPSILON),
                              v = lk_scheduler_config_stable_diffusion(LK_PREDICT_V),
                              flow = lk_scheduler_config_stable_diffusion(LK_PREDICT_VELOCITY),
                              reflow = lk_scheduler_config_stable_diffusion(LK_PREDICT_VELOCITY_TO_DATA),
                              piecewise = perflow(LK_PREDICT_DIFF_EPS);
    const struct {
        const lk_scheduler_config *config;
        lk_solver solver;
        bool maps, draws;
    } rows[] = {
        {&flow, LK_SOLVER_EULER, true, false},
        {&reflow, LK_SOLVER_EULER, true, false},
        {&piecewise, LK_SOLVER_PERFLOW, true, false},
        {&eps, LK_SOLVER_DDIM, true, false},
        {&v, LK_SOLVER_DDIM, true, false},
        {&eps, LK_SOLVER_EULER, true, false},
        {&v, LK_SOLVER_EULER, true, false},
        {&eps, LK_SOLVER_DPMPP_2M, false, false},
        {&eps, LK_SOLVER_LCM, false, true},
        {&v, LK_SOLVER_EULER_ANCESTRAL, false, true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        lk_sampling s = sampling_of(rows[i].config, rows[i].solver, 5);
        assert_int_equal(s.maps, rows[i].maps);
        assert_int_equal(s.draws, rows[i].draws);
        assert_int_equal(s.straight, i < 2);
        for (int k = 0; k < s.count && s.maps; k++)
            gradient_of(&s.step[k]);
        lk_sampling_free(&s);
    }
}

/* ---- what each step shows as the picture so far ---- */

/* A network that knows data and noise exactly: every sampler's x0 is the data, and its end is, too. */
static void the_picture_so_far(void **state) {
    (void)state;
    const double data = 0.7, noise = -1.3;
    for (int solver = 0; solver < LK_SOLVER_PERFLOW; solver++)
        for (int p = 0; p < 2; p++) {
            lk_scheduler_config config = lk_scheduler_config_stable_diffusion(p ? LK_PREDICT_V : LK_PREDICT_EPSILON);
            config.alpha_to_one = true;
            lk_error error = LK_ERROR_INIT;
            lk_sampling s;
            lk_sampling_request request = {.solver = (lk_solver)solver,
                                           .prediction = LK_PREDICT_COUNT,
                                           .steps = 6,
                                           .from_picture = true, /* its noise level is that of the first step */
                                           .strength = 1};
            assert_ok(lk_sampling_make(&s, &config, &request, &error), &error);
            double z = s.data * data + s.noise * noise, before = 0;
            lk_noise_schedule schedule;
            lk_noise_schedule_make(&schedule, &config, false);
            for (int k = 0; k < s.count; k++) {
                const lk_sampling_step *t = &s.step[k];
                double sigma = lk_noise_sigma(&schedule, t->time), alpha = 1 / sqrt(1 + sigma * sigma);
                /* the noise that is in z now, whatever was added since */
                double eps = (t->input * z - alpha * data) / (sigma * alpha);
                double m = p ? alpha * eps - sigma * alpha * data : eps;
                double x0 = t->denoised_z * z + t->denoised_m * m;
                if (solver != LK_SOLVER_LCM) assert_true(fabs(x0 - data) < 1e-9);
                z = t->keep * z + t->move * m + t->remember * before + t->noise * 0.4;
                before = x0;
            }
            assert_true(fabs(z - data) < (solver == LK_SOLVER_LCM ? 1e-3 : 1e-9));
            lk_sampling_free(&s);
        }
}

/* ---- refusals ---- */

static void refused(const lk_scheduler_config *config, lk_sampling_request request, likeness_status status,
                    const char *words) {
    lk_error error = LK_ERROR_INIT;
    lk_sampling sampling;
    likeness_status found = lk_sampling_make(&sampling, config, &request, &error);
    if (found != status || !strstr(error.message, words)) fail_msg("%d: %s", (int)found, error.message);
    assert_null(sampling.step);
}

static void what_does_not_fit_is_refused(void **state) {
    (void)state;
    lk_scheduler_config flow = lk_scheduler_config_stable_diffusion(LK_PREDICT_VELOCITY);
    lk_scheduler_config eps = lk_scheduler_config_stable_diffusion(LK_PREDICT_EPSILON);
    lk_scheduler_config v = lk_scheduler_config_stable_diffusion(LK_PREDICT_V);
    lk_scheduler_config piecewise = perflow(LK_PREDICT_DDIM_EPS);
    lk_sampling_request r = {.solver = LK_SOLVER_DDIM, .prediction = LK_PREDICT_COUNT, .steps = 8};
    refused(&flow, r, LIKENESS_USAGE, "DDIM is a sampler of diffusion models; this one is a rectified flow");
    refused(&piecewise, r, LIKENESS_USAGE, "sampled by perflow alone");
    r.solver = LK_SOLVER_PERFLOW;
    refused(&v, r, LIKENESS_USAGE, "PeRFlow does not fit a network that predicts v");
    r.steps = 3;
    refused(&piecewise, r, LIKENESS_USAGE, "at least 4 steps, not 3");
    r.solver = LK_SOLVER_DDIM, r.sigmas = LK_SIGMAS_KARRAS;
    refused(&eps, r, LIKENESS_USAGE, "no Karras sigmas for DDIM");
    r.solver = LK_SOLVER_EULER;
    refused(&flow, r, LIKENESS_USAGE, "no Karras sigmas for Euler");
    r.sigmas = LK_SIGMAS_OWN, r.steps = 0;
    refused(&eps, r, LIKENESS_USAGE, "0 sampling steps");
    r.steps = 1001;
    refused(&eps, r, LIKENESS_USAGE, "1001 sampling steps");
    r.steps = 1000, r.solver = LK_SOLVER_DPMPP_2M;
    refused(&eps, r, LIKENESS_USAGE, "1000 training times");
    r.steps = 51, r.solver = LK_SOLVER_LCM;
    refused(&eps, r, LIKENESS_USAGE, "distilled on 50 steps");
    r.steps = 5, r.from_picture = true, r.strength = 1.5;
    refused(&eps, r, LIKENESS_USAGE, "strength of 1.5");
    r.strength = NAN;
    refused(&eps, r, LIKENESS_USAGE, "strength of");
}

/* A prediction that was said by hand brings the sampler of its kind; too little strength still does one step. */
static void choices(void **state) {
    (void)state;
    lk_scheduler_config eps = lk_scheduler_config_stable_diffusion(LK_PREDICT_EPSILON);
    static const struct {
        lk_prediction said;
        lk_solver solver, wanted;
        lk_prediction prediction;
    } rows[] = {
        {LK_PREDICT_COUNT, LK_SOLVER_COUNT, LK_SOLVER_DPMPP_2M, LK_PREDICT_EPSILON},
        {LK_PREDICT_VELOCITY_TO_DATA, LK_SOLVER_COUNT, LK_SOLVER_EULER, LK_PREDICT_VELOCITY_TO_DATA},
        {LK_PREDICT_DDIM_EPS, LK_SOLVER_COUNT, LK_SOLVER_PERFLOW, LK_PREDICT_DDIM_EPS},
        {LK_PREDICT_COUNT, LK_SOLVER_PERFLOW, LK_SOLVER_PERFLOW, LK_PREDICT_DIFF_EPS},
        {LK_PREDICT_V, LK_SOLVER_DDIM, LK_SOLVER_DDIM, LK_PREDICT_V},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        lk_error error = LK_ERROR_INIT;
        lk_sampling s;
        lk_sampling_request r = {
            .solver = rows[i].solver, .prediction = rows[i].said, .steps = 6, .from_picture = true, .strength = 0.01};
        assert_ok(lk_sampling_make(&s, &eps, &r, &error), &error);
        assert_int_equal(s.solver, rows[i].wanted);
        assert_int_equal(s.prediction, rows[i].prediction);
        assert_int_equal(s.count, 1);
        lk_sampling_free(&s);
    }
}

static void missing_memory(void **state) {
    (void)state;
    for (int solver = 0; solver < LK_SOLVER_COUNT; solver++) {
        lk_scheduler_config config = lk_scheduler_config_stable_diffusion(LK_PREDICT_EPSILON);
        lk_sampling_request r = {.solver = (lk_solver)solver, .prediction = LK_PREDICT_COUNT, .steps = 4};
        for (int64_t n = 0;; n++) {
            lk_error error = LK_ERROR_INIT;
            lk_sampling s;
            lk_memory_fail_after(n);
            likeness_status status = lk_sampling_make(&s, &config, &r, &error);
            lk_memory_fail_after(-1);
            if (status == LIKENESS_OK) {
                assert_true(n > 0);
                lk_sampling_free(&s);
                break;
            }
            assert_int_equal(status, LIKENESS_OUT_OF_MEMORY);
        }
    }
    assert_int_equal(lk_memory_live(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trajectories_are_those_of_diffusers),
        cmocka_unit_test(constants_of_perflow),
        cmocka_unit_test(windows_are_straight),
        cmocka_unit_test(gradients_go_back_through_maps),
        cmocka_unit_test(the_picture_so_far),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(choices),
        cmocka_unit_test(missing_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
