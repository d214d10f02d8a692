/* sampling/sampler.c - which sampler fits which model, and one step on arrays. See sampler.h. */
#include "sampling/sampler.h"

#include "base/memory.h"
#include "sampling/internal.h"

#include <math.h>
#include <string.h>

/* ---- what fits what ---- */

static const char *const titles[LK_SOLVER_COUNT] = {"Euler", "Euler a", "DDIM", "DPM++ 2M", "LCM", "PeRFlow"};

const char *lk_solver_title(lk_solver solver) { return titles[solver]; }

static bool is_flow(lk_prediction p) { return p == LK_PREDICT_VELOCITY || p == LK_PREDICT_VELOCITY_TO_DATA; }
static bool is_diffusion(lk_prediction p) { return p == LK_PREDICT_EPSILON || p == LK_PREDICT_V; }

static bool fits(lk_solver solver, lk_prediction prediction) {
    if (solver == LK_SOLVER_PERFLOW)
        return prediction == LK_PREDICT_DIFF_EPS || prediction == LK_PREDICT_DDIM_EPS ||
               prediction == LK_PREDICT_VELOCITY;
    if (solver == LK_SOLVER_EULER) return is_flow(prediction) || is_diffusion(prediction);
    return is_diffusion(prediction);
}

/* The model's own sampler, unless its prediction was said to be of another kind. */
static lk_solver own_solver(const lk_scheduler_config *config, lk_prediction prediction) {
    if (fits(config->solver, prediction)) return config->solver;
    return is_flow(prediction) ? LK_SOLVER_EULER : is_diffusion(prediction) ? LK_SOLVER_DPMPP_2M : LK_SOLVER_PERFLOW;
}

static likeness_status refuse(lk_solver solver, lk_prediction prediction, lk_error *error) {
    if (is_flow(prediction))
        return lk_fail(
            error, LIKENESS_USAGE,
            "%s is a sampler of diffusion models; this one is a rectified flow (it predicts a velocity): use "
            "euler, or perflow for a PeRFlow model",
            titles[solver]);
    if (is_diffusion(prediction))
        return lk_fail(error, LIKENESS_USAGE,
                       "%s does not fit a network that predicts %s; for PeRFlow weights say which prediction they make "
                       "(velocity, diff_eps or ddim_eps)",
                       titles[solver], lk_prediction_name(prediction));
    return lk_fail(error, LIKENESS_USAGE, "a network that predicts %s is sampled by perflow alone, not by %s",
                   lk_prediction_name(prediction), titles[solver]);
}

likeness_status lk_sampling_choose(const lk_scheduler_config *config, const lk_sampling_request *request,
                                   lk_solver *solver, lk_prediction *prediction, lk_sigmas *sigmas, lk_error *error) {
    *prediction = request->prediction < LK_PREDICT_COUNT ? request->prediction : config->prediction;
    *solver = request->solver < LK_SOLVER_COUNT ? request->solver : own_solver(config, *prediction);
    /* Merged PeRFlow weights look like the diffusion model that they were made from, whose kind is diff_eps. */
    if (*solver == LK_SOLVER_PERFLOW && request->prediction == LK_PREDICT_COUNT && *prediction == LK_PREDICT_EPSILON)
        *prediction = LK_PREDICT_DIFF_EPS;
    if (!fits(*solver, *prediction)) return refuse(*solver, *prediction, error);
    if (*prediction == LK_PREDICT_EPSILON && config->zero_terminal_snr)
        return lk_fail(error, LIKENESS_USAGE,
                       "noise cannot be predicted from pure noise: this model's schedule ends "
                       "there, it predicts v");
    bool karras_possible = is_diffusion(*prediction) && *solver != LK_SOLVER_DDIM && *solver != LK_SOLVER_LCM;
    *sigmas = request->sigmas;
    if (*sigmas == LK_SIGMAS_OWN) {
        bool own = *solver == config->solver && config->karras && karras_possible;
        *sigmas = own ? LK_SIGMAS_KARRAS : LK_SIGMAS_DISCRETE;
    }
    if (*sigmas == LK_SIGMAS_KARRAS && !karras_possible)
        return lk_fail(error, LIKENESS_USAGE, "there are no Karras sigmas for %s with this model; use discrete",
                       titles[*solver]);
    return LIKENESS_OK;
}

/* ---- the table ---- */

static likeness_status make_steps(lk_sampling *s, const lk_scheduler_config *config, bool from_picture, int first,
                                  lk_error *error) {
    switch (s->solver) {
    case LK_SOLVER_EULER:
        if (is_flow(s->prediction)) return lk_make_flow(s, config, from_picture, first, error);
        return lk_make_euler(s, config, from_picture, first, error);
    case LK_SOLVER_EULER_ANCESTRAL:
        return lk_make_euler(s, config, from_picture, first, error);
    case LK_SOLVER_DDIM:
        return lk_make_ddim(s, config, from_picture, first, error);
    case LK_SOLVER_DPMPP_2M:
        return lk_make_dpmpp_2m(s, config, from_picture, first, error);
    case LK_SOLVER_LCM:
        return lk_make_lcm(s, config, from_picture, first, error);
    case LK_SOLVER_PERFLOW:
        return lk_make_perflow(s, config, from_picture, first, error);
    case LK_SOLVER_COUNT:
        break;
    }
    return lk_fail(error, LIKENESS_INTERNAL, "there is no sampler %d", (int)s->solver);
}

likeness_status lk_sampling_make(lk_sampling *sampling, const lk_scheduler_config *config,
                                 const lk_sampling_request *request, lk_error *error) {
    int first = 0;
    memset(sampling, 0, sizeof *sampling);
    if (request->steps < 1 || request->steps > LK_MAX_STEPS)
        return lk_fail(error, LIKENESS_USAGE, "%d sampling steps make no sense; use 1 to %d", request->steps,
                       LK_MAX_STEPS);
    if (request->from_picture) {
        if (!(request->strength > 0 && request->strength <= 1))
            return lk_fail(error, LIKENESS_USAGE, "a strength of %g makes no sense; use above 0 to 1",
                           request->strength);
        int done = (int)(request->steps * request->strength);
        first = request->steps - (done > 0 ? done : 1);
    }
    LK_TRY(lk_sampling_choose(config, request, &sampling->solver, &sampling->prediction, &sampling->sigmas, error));
    sampling->asked = request->steps;
    sampling->step = lk_alloc((size_t)request->steps, sizeof *sampling->step);
    if (!sampling->step)
        return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for %d sampling steps", request->steps);
    likeness_status status = make_steps(sampling, config, request->from_picture, first, error);
    if (status != LIKENESS_OK) {
        lk_sampling_free(sampling);
        return status;
    }
    sampling->count = sampling->asked - first;
    memmove(sampling->step, sampling->step + first, (size_t)sampling->count * sizeof *sampling->step);
    sampling->maps = true;
    for (int i = 0; i < sampling->count; i++) {
        sampling->draws |= sampling->step[i].noise != 0;
        sampling->maps &= sampling->step[i].noise == 0 && sampling->step[i].remember == 0;
    }
    return LIKENESS_OK;
}

void lk_sampling_free(lk_sampling *sampling) {
    lk_free(sampling->step);
    memset(sampling, 0, sizeof *sampling);
}

/* ---- one step ---- */

void lk_sampling_see(const lk_sampling_step *step, const float *z, float *out, size_t count) {
    for (size_t i = 0; i < count; i++)
        out[i] = (float)(step->input * (double)z[i]);
}

void lk_sampling_advance(const lk_sampling_step *step, float *z, const float *m, float *denoised, const float *noise,
                         size_t count) {
    for (size_t i = 0; i < count; i++) {
        double now = (double)z[i], next = step->keep * now + step->move * (double)m[i];
        if (denoised) {
            if (step->remember != 0) next += step->remember * (double)denoised[i];
            denoised[i] = (float)(step->denoised_z * now + step->denoised_m * (double)m[i]);
        }
        if (noise) next += step->noise * (double)noise[i];
        z[i] = (float)next;
    }
}

void lk_sampling_cotangent(const lk_sampling_step *step, const double *g, float *m_cotangent, size_t count) {
    for (size_t i = 0; i < count; i++)
        m_cotangent[i] = (float)(step->move * g[i]);
}

void lk_sampling_pull(const lk_sampling_step *step, const double *g, const float *pulled, double *z_gradient,
                      size_t count) {
    for (size_t i = 0; i < count; i++)
        z_gradient[i] = step->keep * g[i] + step->input * (double)pulled[i];
}
