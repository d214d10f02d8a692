/* tests/personalize/test_fixed_points.c - P7, P7b, P7c of the RectifID spec: where the shipped iteration converges and
 * where it does not, on flows so simple that fixed point and rate are known exactly. */
#include "personalize/anchored_guidance.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- linear straight flow z_1 = A z_0 + b, quadratic potential with gradient h (mu - z) ---- */

enum { LINEAR_MAX = 4 };

typedef struct linear_flow {
    int n;
    double a[LINEAR_MAX][LINEAR_MAX], a_inverse[LINEAR_MAX][LINEAR_MAX], b, h, mu[LINEAR_MAX];
    double trace[64][LINEAR_MAX];
    int count;
} linear_flow;

static likeness_status linear_segment(void *user, int k, const double *start, bool keep, double *endpoint,
                                      lk_error *error) {
    const linear_flow *f = user;
    (void)k, (void)keep, (void)error;
    for (int i = 0; i < f->n; i++) {
        endpoint[i] = f->b;
        for (int j = 0; j < f->n; j++)
            endpoint[i] += f->a[i][j] * start[j];
    }
    return LIKENESS_OK;
}

static likeness_status linear_vjp(void *user, int k, const double *start, const double *cotangent, double *gradient,
                                  lk_error *error) {
    const linear_flow *f = user;
    (void)k, (void)start, (void)error;
    for (int j = 0; j < f->n; j++) {
        gradient[j] = 0;
        for (int i = 0; i < f->n; i++)
            gradient[j] += f->a[i][j] * cotangent[i];
    }
    return LIKENESS_OK;
}

static likeness_status linear_loss(void *user, const double *latent, double *loss, double *likeness, double *gradient,
                                   lk_error *error) {
    const linear_flow *f = user;
    (void)error;
    *loss = 0;
    for (int i = 0; i < f->n; i++) {
        *loss += 0.5 * f->h * (latent[i] - f->mu[i]) * (latent[i] - f->mu[i]);
        if (gradient) gradient[i] = f->h * (latent[i] - f->mu[i]);
    }
    *likeness = -*loss;
    return LIKENESS_OK;
}

/* v(z,1) = z - A^-1 (z - b): the velocity of the straight flow at its end. */
static likeness_status linear_end(void *user, int k, const double *end, double *displacement, lk_error *error) {
    const linear_flow *f = user;
    (void)k, (void)error;
    for (int i = 0; i < f->n; i++) {
        displacement[i] = end[i];
        for (int j = 0; j < f->n; j++)
            displacement[i] -= f->a_inverse[i][j] * (end[j] - f->b);
    }
    return LIKENESS_OK;
}

static bool record_linear(void *user, const lk_guidance_step *step) {
    linear_flow *f = user;
    memcpy(f->trace[f->count++], step->latent, (size_t)f->n * sizeof(double));
    return true;
}

static void linear_run(linear_flow *f, lk_guidance_method method, double scale, int iterations, const double *noise) {
    lk_flow_problem problem = {.user = f,
                               .segments = 1,
                               .dimension = (size_t)f->n,
                               .segment = linear_segment,
                               .segment_vjp = linear_vjp,
                               .loss = linear_loss,
                               .end_displacement = linear_end};
    lk_guidance_options options = {
        .method = method, .reading = LK_READING_C, .iterations = iterations, .scale = scale, .no_clip = true};
    double latent[LINEAR_MAX];
    lk_guidance_result result = {.latent = latent};
    lk_error error = LK_ERROR_INIT;
    f->count = 0;
    assert_int_equal(lk_anchored_guidance(&problem, &options, noise, record_linear, f, &result, &error), LIKENESS_OK);
    assert_int_equal(f->count, iterations + 1);
}

static void scalar_case(double a, double s, double mu, double fixed, double anchored_ratio, double anchored_error,
                        double free_ratio, double free_error) {
    linear_flow f = {.n = 1, .h = 1};
    f.a[0][0] = a;
    f.a_inverse[0][0] = 1 / a;
    f.mu[0] = mu;
    double noise = 1;
    assert_true(fabs((a * noise + s * a * mu) / (1 + s * a) - fixed) < 1e-6);
    fixed = (a * noise + s * a * mu) / (1 + s * a);
    linear_run(&f, LK_GUIDANCE_ANCHORED, s, 10, &noise);
    assert_true(fabs((f.trace[2][0] - fixed) / (f.trace[1][0] - fixed) - anchored_ratio) < 1e-3);
    assert_true(fabs(f.trace[10][0] - fixed) < 2 * anchored_error && fabs(f.trace[10][0] - fixed) > anchored_error / 2);
    linear_run(&f, LK_GUIDANCE_UNANCHORED, s, 10, &noise);
    assert_true(fabs((f.trace[2][0] - fixed) / (f.trace[1][0] - fixed) - free_ratio) < 1e-3);
    assert_true(fabs(f.trace[10][0] - fixed) < 2 * free_error && fabs(f.trace[10][0] - fixed) > free_error / 2);
}

static void p7_anchored_converges(void **state) {
    (void)state;
    scalar_case(0.3, 0.5, 2, 0.521739, -0.15, 1.3e-9, -2.8333333, 7.4e3);
}

static void p7b_anchoring_is_not_always_better(void **state) {
    (void)state;
    scalar_case(2, 0.6, 3, 2.545455, -1.2, 3.38, -0.1, 5e-11);
}

static void p7c_matrix_case(void **state) {
    (void)state;
    /* Q: a Householder reflection, so symmetric and orthogonal. */
    double u[4] = {1, 2, -1, 0.5}, uu = 0, q[4][4], eigen[4] = {0.2, 0.5, 1, 1.5};
    for (int i = 0; i < 4; i++)
        uu += u[i] * u[i];
    linear_flow f = {.n = 4, .h = 1};
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++)
            q[i][j] = (i == j) - 2 * u[i] * u[j] / uu;
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++)
            for (int k = 0; k < 4; k++) {
                f.a[i][j] += q[i][k] * eigen[k] * q[j][k];
                f.a_inverse[i][j] += q[i][k] / eigen[k] * q[j][k];
            }
    for (int i = 0; i < 4; i++)
        f.mu[i] = 1 + i;
    double noise[4] = {1, -1, 0.5, 2}, radius[2] = {0.75, 4.5};
    lk_guidance_method methods[2] = {LK_GUIDANCE_ANCHORED, LK_GUIDANCE_UNANCHORED};
    for (int m = 0; m < 2; m++) {
        linear_run(&f, methods[m], 0.5, 30, noise);
        double before = 0, after = 0;
        for (int i = 0; i < 4; i++) {
            before += pow(f.trace[29][i] - f.trace[28][i], 2);
            after += pow(f.trace[30][i] - f.trace[29][i], 2);
        }
        assert_true(fabs(sqrt(after / before) - radius[m]) < 0.02 * radius[m]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(p7_anchored_converges),
        cmocka_unit_test(p7b_anchoring_is_not_always_better),
        cmocka_unit_test(p7c_matrix_case),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
