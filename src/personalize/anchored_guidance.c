/* personalize/anchored_guidance.c - see anchored_guidance.h; line numbers refer to the spec's pseudo-code (1.8). */
#include "personalize/anchored_guidance.h"

#include "base/memory.h"

#include <math.h>
#include <string.h>

/* All vectors of a run in one allocation. z and gradient hold boundaries 0..K, endpoint and offset use 1..K. */
typedef struct guidance_state {
    const lk_flow_problem *problem;
    const lk_guidance_options *options;
    double *memory;
    double *z, *gradient, *endpoint, *offset;
    double *noise, *momentum, *scratch;
    bool first_endpoint_known;
    double norm[LK_GUIDANCE_MAX_SEGMENTS + 1];
} guidance_state;

static double *row(const guidance_state *state, double *rows, int k) {
    return rows + (size_t)k * state->problem->dimension;
}

static double stored(const guidance_state *state, double value) {
    return state->options->f32 ? (double)(float)value : value;
}

static double norm_of(const double *vector, size_t dimension) {
    double sum = 0;
    for (size_t i = 0; i < dimension; i++)
        sum += vector[i] * vector[i];
    return sqrt(sum);
}

static likeness_status state_create(guidance_state *state, const lk_flow_problem *problem,
                                    const lk_guidance_options *options, const double *noise, lk_error *error) {
    memset(state, 0, sizeof *state);
    state->problem = problem;
    state->options = options;
    size_t d = problem->dimension, rows = (size_t)problem->segments + 1;
    if (problem->segments < 1 || problem->segments > LK_GUIDANCE_MAX_SEGMENTS || d == 0)
        return lk_fail(error, LIKENESS_USAGE, "guidance needs 1 to %d sampling steps, not %d", LK_GUIDANCE_MAX_SEGMENTS,
                       problem->segments);
    state->memory = lk_alloc((4 * rows + 3) * d, sizeof(double));
    if (!state->memory)
        return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for the guidance state (%zu bytes)",
                       (4 * rows + 3) * d * sizeof(double));
    state->z = state->memory;
    state->gradient = state->z + rows * d;
    state->endpoint = state->gradient + rows * d;
    state->offset = state->endpoint + rows * d;
    state->noise = state->offset + rows * d;
    state->momentum = state->noise + d;
    state->scratch = state->momentum + d;
    for (size_t i = 0; i < d; i++)
        state->noise[i] = state->z[i] = stored(state, noise[i]);
    return LIKENESS_OK;
}

/* Lines 3 to 6. Segment 1 starts at the frozen noise, so its endpoint is computed once unless the noise moves. */
static likeness_status forward(guidance_state *state, bool keep, lk_error *error) {
    const lk_flow_problem *p = state->problem;
    bool noise_moves = state->options->method == LK_GUIDANCE_NOISE_DESCENT;
    for (int k = 1; k <= p->segments; k++) {
        double *start = row(state, state->z, k - 1), *endpoint = row(state, state->endpoint, k);
        double *offset = row(state, state->offset, k), *z = row(state, state->z, k);
        /* The activations of segment 1 stay valid where they are kept; p->segment decides by `keep`. */
        if (k > 1 || noise_moves || !state->first_endpoint_known)
            LK_TRY(p->segment(p->user, k, start, keep, endpoint, error));
        for (size_t i = 0; i < p->dimension; i++)
            z[i] = stored(state, endpoint[i] + offset[i]);
    }
    state->first_endpoint_known = true;
    return LIKENESS_OK;
}

/* Lines 12 to 14; gradient row K is set. */
static likeness_status backward(guidance_state *state, lk_error *error) {
    const lk_flow_problem *p = state->problem;
    for (int k = p->segments; k >= 1; k--)
        LK_TRY(p->segment_vjp(p->user, k, row(state, state->z, k - 1), row(state, state->gradient, k),
                              row(state, state->gradient, k - 1), error));
    for (int k = 0; k <= p->segments; k++) {
        state->norm[k] = norm_of(row(state, state->gradient, k), p->dimension);
        if (!isfinite(state->norm[k]))
            return lk_fail(error, LIKENESS_NON_FINITE,
                           "the guidance gradient at boundary %d of %d is not a number; try --precise", k, p->segments);
    }
    return LIKENESS_OK;
}

/* Lines 15 to 19 for one boundary. */
static likeness_status move_offset(guidance_state *state, int k, bool assign, lk_error *error) {
    const lk_flow_problem *p = state->problem;
    const lk_guidance_options *o = state->options;
    const double *h = row(state, state->gradient, k - 1);
    double *offset = row(state, state->offset, k);
    double step = o->scale * (o->step_factor ? o->step_factor[k - 1] : 1.0);
    if (p->update && !o->no_clip)
        return p->update(p->user, h, step, o->clamp, assign, offset, &state->norm[k - 1], error);
    double divisor = o->no_clip ? 1.0 : fmax(1.0, state->norm[k - 1]);
    for (size_t i = 0; i < p->dimension; i++) {
        double q = h[i] / divisor;
        if (o->clamp > 0) q = fmin(fmax(q, -o->clamp), o->clamp);
        offset[i] = stored(state, (assign ? 0.0 : offset[i]) - step * q);
    }
    return LIKENESS_OK;
}

static likeness_status anchored_update(guidance_state *state, lk_error *error) {
    LK_TRY(backward(state, error));
    int last = state->problem->segments;
    for (int k = 1; k <= last; k++) {
        lk_guidance_reading reading = state->options->reading;
        bool assign = reading == LK_READING_C || (reading == LK_READING_B && k == last);
        LK_TRY(move_offset(state, k, assign, error));
    }
    return LIKENESS_OK;
}

/* Gradient descent on z_0 with momentum. The paper names an l2 regulariser of 1.0 without its formula; here it is
 * decay * |z_0 - z_0 at the start|^2 / D. */
static likeness_status noise_update(guidance_state *state, lk_error *error) {
    LK_TRY(backward(state, error));
    const lk_guidance_options *o = state->options;
    size_t d = state->problem->dimension;
    double divisor = o->no_clip ? 1.0 : fmax(1.0, state->norm[0]);
    for (size_t i = 0; i < d; i++) {
        double pull = 2.0 * o->noise_decay * (state->z[i] - state->noise[i]) / (double)d;
        state->momentum[i] = o->momentum * state->momentum[i] + state->gradient[i] / divisor + pull;
        state->z[i] = stored(state, state->z[i] - o->scale * state->momentum[i]);
    }
    return LIKENESS_OK;
}

/* Un-anchored fixed point: z_k <- z_{k-1} + displacement with the velocity at z_k - (s/K) clipped gradient. For K = 1
 * this is Eq. 8; the piecewise form is the natural reading, the paper gives none (spec 1.8). No network backward. */
static likeness_status unanchored_update(guidance_state *state, lk_error *error) {
    const lk_flow_problem *p = state->problem;
    const lk_guidance_options *o = state->options;
    if (!p->end_displacement)
        return lk_fail(error, LIKENESS_UNSUPPORTED,
                       "this model gives no velocity at a segment's end; use the anchored method");
    const double *h = row(state, state->gradient, p->segments);
    state->norm[p->segments] = norm_of(h, p->dimension);
    double divisor = o->no_clip ? 1.0 : fmax(1.0, state->norm[p->segments]);
    for (int k = 1; k <= p->segments; k++) {
        const double *start = row(state, state->z, k - 1);
        double *z = row(state, state->z, k);
        LK_TRY(p->end_displacement(p->user, k, z, state->scratch, error));
        for (size_t i = 0; i < p->dimension; i++)
            z[i] = stored(state, start[i] + state->scratch[i] - o->scale / p->segments * h[i] / divisor);
    }
    return LIKENESS_OK;
}

static void report(const guidance_state *state, int iteration, double loss, double likeness, lk_guidance_step *step) {
    memset(step, 0, sizeof *step);
    step->iteration = iteration;
    step->iterations = state->options->iterations;
    step->loss = loss;
    step->likeness = likeness;
    step->latent = row(state, state->z, state->problem->segments);
    for (int k = 0; k <= state->problem->segments; k++) {
        step->norm[k] = state->norm[k];
        step->offset_norm[k] = norm_of(row(state, state->offset, k), state->problem->dimension);
    }
}

static void keep_results(const guidance_state *state, int n, double loss, double likeness, lk_guidance_result *result) {
    const double *latent = row(state, state->z, state->problem->segments);
    size_t bytes = state->problem->dimension * sizeof(double);
    memcpy(result->latent, latent, bytes);
    result->loss = loss;
    result->likeness = likeness;
    result->iterations = n;
    if (n == 0) {
        result->unguided_likeness = likeness;
        if (result->unguided) memcpy(result->unguided, latent, bytes);
    }
    if (n == 0 || likeness > result->best_likeness) {
        result->best_likeness = likeness;
        result->best_iteration = n;
        if (result->best) memcpy(result->best, latent, bytes);
    }
}

static likeness_status iterate(guidance_state *state, bool (*on_step)(void *, const lk_guidance_step *),
                               void *step_user, lk_guidance_result *result, lk_error *error) {
    const lk_flow_problem *p = state->problem;
    const lk_guidance_options *o = state->options;
    for (int n = 0;; n++) {
        bool more = n < o->iterations;
        double loss, likeness;
        if (n == 0 || o->method != LK_GUIDANCE_UNANCHORED) LK_TRY(forward(state, more, error));
        LK_TRY(p->loss(p->user, row(state, state->z, p->segments), &loss, &likeness,
                       more ? row(state, state->gradient, p->segments) : NULL, error));
        if (!isfinite(loss) || !isfinite(likeness))
            return lk_fail(error, LIKENESS_NON_FINITE,
                           "guidance iteration %d gave a loss that is not a number; try a smaller --id-scale", n);
        keep_results(state, n, loss, likeness, result);
        lk_guidance_step step;
        report(state, n, loss, likeness, &step);
        if (on_step && !on_step(step_user, &step)) {
            result->stopped = true;
            return LIKENESS_OK;
        }
        if (!more || (o->until > 0 && likeness >= o->until)) return LIKENESS_OK;
        if (o->method == LK_GUIDANCE_ANCHORED)
            LK_TRY(anchored_update(state, error));
        else if (o->method == LK_GUIDANCE_NOISE_DESCENT)
            LK_TRY(noise_update(state, error));
        else
            LK_TRY(unanchored_update(state, error));
    }
}

likeness_status lk_anchored_guidance(const lk_flow_problem *problem, const lk_guidance_options *options,
                                     const double *noise, bool (*on_step)(void *user, const lk_guidance_step *step),
                                     void *step_user, lk_guidance_result *result, lk_error *error) {
    guidance_state state;
    likeness_status status = state_create(&state, problem, options, noise, error);
    result->stopped = false;
    result->best_iteration = 0;
    if (status == LIKENESS_OK) status = iterate(&state, on_step, step_user, result, error);
    lk_free(state.memory);
    return status;
}
