/* personalize/anchored_guidance.h - anchored classifier guidance (RectifID, arXiv 2405.14677), the iteration itself.
 *
 * A K-segment sampler is steered by one additive offset per segment boundary. The initial noise z_0 is frozen; each
 * iteration samples with the current offsets, scores the result, pulls the gradient back segment by segment and moves
 * every offset by a norm-clipped step:
 *
 *     z_k = SEGMENT_k(z_{k-1}) + o_k            k = 1..K, from noise (0) to data (K)
 *     h_K = dL/dz_K,   h_{k-1} = SEGMENT_k^T h_k
 *     o_k <- o_k - s c_k h_{k-1} / max(1, |h_{k-1}|)
 *
 * The offset at boundary k is driven by the gradient at the START of segment k: that, the frozen noise, and adding
 * offsets to freshly computed endpoints are the whole anchoring mechanism (docs/methods/rectifid.md; spec 1.4 to 1.8).
 *
 * The code knows neither graphs nor devices: it runs against the small interface below, with U-Net segments on Vulkan
 * in the product and with analytic segments in the tests. Vectors are double here; with options.f32 every stored value
 * is rounded to f32, as the product does. */
#ifndef LK_PERSONALIZE_ANCHORED_GUIDANCE_H
#define LK_PERSONALIZE_ANCHORED_GUIDANCE_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

#define LK_GUIDANCE_MAX_SEGMENTS 64

/* What is steered. Every function fills its result completely or fails. Vectors have `dimension` entries. */
typedef struct lk_flow_problem {
    void *user;
    int segments;     /* K, 1..LK_GUIDANCE_MAX_SEGMENTS */
    size_t dimension; /* D, entries of one latent */
    /* endpoint = SEGMENT_k(start), k = 1..K. Called in order k = 1..K within a pass. keep: a segment_vjp of this pass
     * follows. */
    likeness_status (*segment)(void *user, int k, const double *start, bool keep, double *endpoint, lk_error *error);
    /* gradient = SEGMENT_k^T cotangent at `start`, the start of the same pass's segment(k). Called k = K..1. */
    likeness_status (*segment_vjp)(void *user, int k, const double *start, const double *cotangent, double *gradient,
                                   lk_error *error);
    /* Loss L and likeness (a cosine, -1..1) of the final latent; gradient = dL/dz_K, or NULL when not wanted. */
    likeness_status (*loss)(void *user, const double *latent, double *loss, double *likeness, double *gradient,
                            lk_error *error);
    /* Displacement of segment k with the velocity evaluated at its END point (un-anchored form only); may be NULL. */
    likeness_status (*end_displacement)(void *user, int k, const double *end, double *displacement, lk_error *error);
    /* offset <- step of the update above, on the device; norm receives |gradient|. NULL: computed here. */
    likeness_status (*update)(void *user, const double *gradient, double step, double clamp, bool assign,
                              double *offset, double *norm, lk_error *error);
} lk_flow_problem;

typedef enum lk_guidance_method {
    LK_GUIDANCE_ANCHORED = 0, /* the method */
    LK_GUIDANCE_UNANCHORED,   /* Eq. 8, piecewise: for comparison only */
    LK_GUIDANCE_NOISE_DESCENT /* gradient descent on z_0: for comparison only */
} lk_guidance_method;

/* Spec 1.5: what accumulates. A is the released code, B the literal Algorithm 1, C the literal fixed point of Eq. 14.
 */
typedef enum lk_guidance_reading { LK_READING_A = 0, LK_READING_B, LK_READING_C } lk_guidance_reading;

typedef struct lk_guidance_options {
    lk_guidance_method method;
    lk_guidance_reading reading;
    int iterations;            /* N, at least 0 */
    double scale;              /* s, absolute: callers apply sqrt(D/16384) */
    const double *step_factor; /* c_k, K entries; NULL: all 1 */
    double clamp;              /* elementwise clamp of the step before scaling; 0: off */
    bool no_clip;              /* leaves out the division by max(1, norm): analytic tests only */
    bool f32;                  /* round what is stored to f32 */
    double momentum;           /* noise descent: 0.9 in the paper */
    double noise_decay;        /* noise descent: weight of |z_0 - z_0 at the start|^2 / D */
    double until;              /* stop when the likeness reaches this; 0: never */
} lk_guidance_options;

/* Called after the forward pass of iteration n (0 = the plain, unguided sample). Return false to stop. */
typedef struct lk_guidance_step {
    int iteration, iterations;
    double loss, likeness;
    const double *latent;                             /* z_K */
    double norm[LK_GUIDANCE_MAX_SEGMENTS + 1];        /* |h_k|, k = 0..K, of the previous backward pass */
    double offset_norm[LK_GUIDANCE_MAX_SEGMENTS + 1]; /* |o_k|, k = 1..K, as used in this pass */
} lk_guidance_step;

typedef struct lk_guidance_result {
    double *latent;   /* [D] z_K of the last forward pass; caller's array */
    double *best;     /* [D] z_K with the highest likeness so far; caller's array, may be NULL */
    double *unguided; /* [D] z_K of pass 0; caller's array, may be NULL */
    double loss, likeness, best_likeness, unguided_likeness;
    int best_iteration, iterations; /* iterations done */
    bool stopped;                   /* the callback asked to stop */
} lk_guidance_result;

/* Runs the iteration from z_0 = noise [D]. N backward passes and N + 1 forward passes. */
likeness_status lk_anchored_guidance(const lk_flow_problem *problem, const lk_guidance_options *options,
                                     const double *noise, bool (*on_step)(void *user, const lk_guidance_step *step),
                                     void *step_user, lk_guidance_result *result, lk_error *error);

#endif
