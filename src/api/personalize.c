/* api/personalize.c - one reference picture in, a new picture of the same person out: the device's side of anchored
 * guidance (personalize/anchored_guidance.h).
 *
 *   segment      a step of the sampler, forward    one instance a step keeps that step's activations; with one instance
 *   segment_vjp  its gradient                      for all of them the forward pass is run again before the gradient
 *   loss         decoder and identity encoder, forward and gradient; L = 100 (1 - cosine); of the whole picture, or of
 *                faces or a box in it (api/crops.h); with a classifier -100 log p of the wanted class, and p counts as
 *                the likeness
 *
 * Both ways give the same bytes: a network's result depends on its inputs alone. Where memory is shorter still the flow
 * network and the loss use the same memory in turn (api/memory_plan.h), and each has to be given everything again. */
#include "api/crops.h"
#include "api/memory_plan.h"

#include "base/memory.h"
#include "base/time.h"
#include "personalize/anchored_guidance.h"

#include <math.h>
#include <string.h>

static const double loss_scale = 100;
/* Entries of the latent for which a guidance step has length 1 (rectifid.md, scale rule). */
static const double scale_dimension = 16384;

typedef struct guide {
    likeness_model *model;
    const likeness_personalize_params *params;
    lk_run *run;
    likeness_personalize_result *result;
    lk_flow_network *flow;
    lk_picture_network *picture;
    lk_crops crops;
    bool parts; /* crops are what is compared */
    likeness_memory_plan memory;
    bool keep;                  /* one flow instance a segment */
    int loaded;                 /* segment whose inputs the only instance holds (keep is false) */
    bool loaded_start;          /* ... and whose forward pass it has just run */
    float *latent, *prediction; /* scratch, one latent each */
    float *reference;           /* embedding of the whole reference picture */
    double started;
    bool stopped_early; /* progress returned false */
    bool no_face;       /* none for too long */
} guide;

/* ---- latents between double and the device ---- */

static likeness_status put(guide *g, lk_instance *instance, lk_value value, const double *latent, lk_error *error) {
    for (size_t i = 0; i < g->run->dimension; i++)
        g->latent[i] = (float)latent[i];
    return lk_instance_write(instance, value, g->latent, error);
}

static likeness_status get(guide *g, lk_instance *instance, lk_value value, double *latent, lk_error *error) {
    LK_TRY(lk_instance_read(instance, value, g->latent, error));
    for (size_t i = 0; i < g->run->dimension; i++)
        latent[i] = (double)g->latent[i];
    return LIKENESS_OK;
}

/* ---- segments ---- */

static lk_instance *instance_of(const guide *g, int k) { return g->flow->net.instance[g->keep ? k - 1 : 0]; }

static const lk_sampling_step *step_of(const guide *g, int k) { return &g->run->sampling.step[k - 1]; }

static likeness_status load_segment(guide *g, int k, lk_error *error) {
    if (g->keep || g->loaded == k) return LIKENESS_OK;
    if (g->memory.in_turn) LK_TRY(lk_flow_set_prompt(g->flow, 0, g->run, error));
    g->loaded = k;
    return lk_flow_set_time(g->flow, 0, g->model, step_of(g, k)->time, error);
}

/* Leaves z as f32 in g->latent. */
static likeness_status run_segment(guide *g, int k, const double *start, lk_error *error) {
    LK_TRY(load_segment(g, k, error));
    for (size_t i = 0; i < g->run->dimension; i++)
        g->latent[i] = (float)start[i];
    lk_sampling_see(step_of(g, k), g->latent, g->prediction, g->run->dimension);
    LK_TRY(lk_instance_write(instance_of(g, k), g->flow->z, g->prediction, error));
    g->loaded_start = true;
    return lk_instance_run(instance_of(g, k), 0, error);
}

static likeness_status segment(void *user, int k, const double *start, bool keep, double *endpoint, lk_error *error) {
    guide *g = user;
    (void)keep; /* activations stay in the arena anyway */
    LK_TRY(run_segment(g, k, start, error));
    LK_TRY(lk_instance_read(instance_of(g, k), g->flow->prediction, g->prediction, error));
    lk_sampling_advance(step_of(g, k), g->latent, g->prediction, NULL, NULL, g->run->dimension);
    for (size_t i = 0; i < g->run->dimension; i++)
        endpoint[i] = (double)g->latent[i];
    return LIKENESS_OK;
}

static likeness_status segment_vjp(void *user, int k, const double *start, const double *cotangent, double *gradient,
                                   lk_error *error) {
    guide *g = user;
    /* Within a pass every vjp of segment k sees the start that segment(k) saw. */
    if (!g->keep && !(g->loaded == k && g->loaded_start)) LK_TRY(run_segment(g, k, start, error));
    lk_sampling_cotangent(step_of(g, k), cotangent, g->prediction, g->run->dimension);
    LK_TRY(lk_instance_write(instance_of(g, k), g->flow->cotangent, g->prediction, error));
    LK_TRY(lk_instance_run(instance_of(g, k), g->flow->net.gradient_section, error));
    g->loaded_start = false;
    LK_TRY(lk_instance_read(instance_of(g, k), g->flow->z_gradient, g->prediction, error));
    lk_sampling_pull(step_of(g, k), cotangent, g->prediction, gradient, g->run->dimension);
    return LIKENESS_OK;
}

/* dt v(end, t_k): the velocity at the end point of segment k, which the un-anchored form wants. Flows only (check). */
static likeness_status end_displacement(void *user, int k, const double *end, double *displacement, lk_error *error) {
    guide *g = user;
    const lk_sampling *sampling = &g->run->sampling;
    double time = k < sampling->count ? sampling->step[k].time : 0;
    lk_instance *instance = instance_of(g, k);
    LK_TRY(lk_flow_set_time(g->flow, g->keep ? k - 1 : 0, g->model, time, error));
    g->loaded = 0;
    LK_TRY(put(g, instance, g->flow->z, end, error));
    LK_TRY(lk_instance_run(instance, 0, error));
    LK_TRY(get(g, instance, g->flow->prediction, displacement, error));
    for (size_t i = 0; i < g->run->dimension; i++)
        displacement[i] *= step_of(g, k)->move;
    return LIKENESS_OK;
}

/* ---- loss ---- */

/* What stays the same for every loss. */
static likeness_status load_loss(guide *g, lk_error *error) {
    float cotangent = (float)-loss_scale;
    if (g->parts) return LIKENESS_OK;
    if (g->reference)
        LK_TRY(lk_instance_write(g->picture->net.instance[0], g->picture->reference, g->reference, error));
    return lk_instance_write(g->picture->net.instance[0], g->picture->cotangent, &cotangent, error);
}

/* The picture network is about to run: where it shares its memory, what the flow network holds is lost. */
static likeness_status take_turn(guide *g, lk_error *error) {
    if (!g->memory.in_turn) return LIKENESS_OK;
    g->loaded = 0;
    g->loaded_start = false;
    return load_loss(g, error);
}

static likeness_status loss_of(void *user, const double *latent, double *loss, double *likeness, double *gradient,
                               lk_error *error) {
    guide *g = user;
    lk_instance *instance = g->picture->net.instance[0];
    float score = 0;
    bool class = g->picture->target >= 0;
    LK_TRY(take_turn(g, error));
    LK_TRY(put(g, instance, g->picture->latent, latent, error));
    LK_TRY(lk_instance_run(instance, 0, error));
    if (g->parts) {
        LK_TRY(lk_crops_loss(&g->crops, g->picture, loss, likeness, gradient ? g->latent : NULL, g->run->dimension,
                             error));
        for (size_t i = 0; gradient && i < g->run->dimension; i++)
            gradient[i] = (double)g->latent[i];
        return LIKENESS_OK;
    }
    LK_TRY(lk_instance_read(instance, g->picture->score, &score, error));
    *likeness = class ? exp((double)score) : (double)score;
    *loss = loss_scale * (class ? -(double)score : 1 - (double)score);
    if (!gradient) return LIKENESS_OK;
    LK_TRY(lk_instance_run(instance, g->picture->net.gradient_section, error));
    return get(g, instance, g->picture->latent_gradient, gradient, error);
}

/* The picture of a latent, as generate would decode it. */
static likeness_status decode(guide *g, const double *latent, likeness_image *image, lk_error *error) {
    lk_instance *instance = g->picture->net.instance[0];
    LK_TRY(take_turn(g, error));
    LK_TRY(put(g, instance, g->picture->latent, latent, error));
    LK_TRY(lk_instance_run(instance, 0, error));
    return lk_picture_take(g->picture, g->model, image, error);
}

/* ---- what is said and kept after each forward pass ---- */

static void show_preview(guide *g, int iteration) {
    const likeness_personalize_params *p = g->params;
    likeness_image image = {0};
    lk_error ignored = LK_ERROR_INIT; /* a preview is no reason to fail */
    if (!p->preview || p->preview_every <= 0 || iteration % p->preview_every != 0) return;
    if (lk_picture_take(g->picture, g->model, &image, &ignored) != LIKENESS_OK) return;
    p->preview(p->preview_user, iteration, &image);
    likeness_image_free(&image);
}

static bool on_step(void *user, const lk_guidance_step *step) {
    guide *g = user;
    likeness_personalize_result *r = g->result;
    int segments = r->segments;
    double likeness = g->parts ? g->crops.shown : step->likeness;
    r->iterations = step->iteration;
    r->log[step->iteration] = (likeness_iteration){.loss = step->loss,
                                                   .likeness = likeness,
                                                   .seconds = lk_time_seconds() - g->started,
                                                   .faces = g->parts && g->crops.faces ? g->crops.found : -1};
    for (int k = 1; k <= segments; k++) {
        r->gradient_norms[step->iteration * segments + k - 1] = step->norm[k - 1];
        r->offset_norms[step->iteration * segments + k - 1] = step->offset_norm[k];
    }
    show_preview(g, step->iteration);
    g->no_face = g->parts && lk_crops_over(&g->crops);
    g->stopped_early = !lk_progress(&g->params->base, "guide", step->iteration, step->iterations, likeness);
    return !g->stopped_early && !g->no_face;
}

/* ---- setting up ---- */

static bool has_reference(const likeness_personalize_params *p) { return p->reference && p->reference->rgb; }

/* A picture that looks like a photograph shows somebody; whose consent there is has to be said. */
static likeness_status check_consent(const likeness_personalize_params *p, likeness_personalize_result *result,
                                     lk_error *error) {
    result->photograph = has_reference(p) && likeness_is_photograph(p->reference);
    for (int i = 0; i < p->other_count; i++)
        result->photograph = result->photograph || likeness_is_photograph(&p->others[i]);
    if (p->base.init_image && p->base.init_image->rgb)
        result->photograph = result->photograph || likeness_is_photograph(p->base.init_image);
    if (!result->photograph || p->consent == LIKENESS_CONSENT_SELF || p->consent == LIKENESS_CONSENT_GRANTED)
        return LIKENESS_OK;
    return lk_fail(error, LIKENESS_CONSENT,
                   "a picture that was given looks like a photograph: say --consent self when it shows you, or "
                   "--consent granted when whoever it shows has agreed to this");
}

static likeness_status check(const likeness_model *model, const likeness_personalize_params *p, lk_error *error) {
    if (!model->identity.present)
        return lk_fail(error, LIKENESS_UNSUPPORTED,
                       "%s has no identity encoder to guide with; give one with --discriminator FILE.onnx",
                       model->files.folder);
    if (!p->classify && !has_reference(p)) return lk_fail(error, LIKENESS_USAGE, "there is no reference picture");
    if (p->classify && p->target_class < 0)
        return lk_fail(error, LIKENESS_USAGE, "there is no class %d", (int)p->target_class);
    if (p->other_count < 0 || p->other_count > LIKENESS_MAX_PEOPLE - 1 || (p->other_count > 0 && !p->others))
        return lk_fail(error, LIKENESS_USAGE, "at most %d people in one picture", LIKENESS_MAX_PEOPLE);
    if (p->iterations < -1 || p->iterations > 1000000)
        return lk_fail(error, LIKENESS_USAGE, "%d iterations make no sense", (int)p->iterations);
    if (!(p->id_scale >= 0) || !isfinite(p->id_scale) || !(p->step_factor >= 0) || !isfinite(p->step_factor))
        return lk_fail(error, LIKENESS_USAGE, "the guidance scale and the step factor must not be negative");
    if (p->method < LIKENESS_METHOD_ANCHORED || p->method > LIKENESS_METHOD_NOISE_DESCENT || p->reading < 0 ||
        p->reading > 2)
        return lk_fail(error, LIKENESS_USAGE, "there is no method %d with reading %d", (int)p->method, (int)p->reading);
    return LIKENESS_OK;
}

/* A step must be a map of z, so that a gradient can go back through it. */
static likeness_status check_sampling(const lk_sampling *sampling, const likeness_personalize_params *p,
                                      lk_error *error) {
    if (!sampling->maps)
        return lk_fail(error, LIKENESS_USAGE,
                       "guidance cannot go through %s, which adds noise or remembers the step before: use euler, ddim "
                       "or perflow, whichever fits the model",
                       lk_solver_title(sampling->solver));
    if (p->method == LIKENESS_METHOD_UNANCHORED && !sampling->straight)
        return lk_fail(error, LIKENESS_USAGE, "the un-anchored form is one of rectified flows, not of %s",
                       lk_solver_title(sampling->solver));
    if (sampling->count <= LK_GUIDANCE_MAX_SEGMENTS) return LIKENESS_OK;
    return lk_fail(error, LIKENESS_USAGE, "guidance goes through 1 to %d sampling steps, not %d",
                   LK_GUIDANCE_MAX_SEGMENTS, sampling->count);
}

static lk_memory_wish wish_of(const likeness_personalize_params *p, bool parts, const lk_run *run) {
    bool gradient = p->method != LIKENESS_METHOD_UNANCHORED;
    bool copies = gradient && !p->recompute && run->sampling.count <= LK_NETWORK_MAX_INSTANCES;
    return (lk_memory_wish){.gradient = gradient,
                            .guiding = !parts,
                            .target = p->classify ? p->target_class : -1,
                            .judging = !parts && has_reference(p),
                            .pulling = parts,
                            .sparing = p->recompute,
                            .copies = copies ? run->sampling.count : 1};
}

static likeness_status place_segments(guide *g, lk_error *error) {
    LK_TRY(lk_network_instances(&g->flow->net, g->model->context, g->memory.copies, error));
    g->keep = g->memory.copies == g->run->sampling.count;
    for (int i = 0; i < g->memory.copies; i++) {
        LK_TRY(lk_flow_set_prompt(g->flow, i, g->run, error));
        if (g->keep) LK_TRY(lk_flow_set_time(g->flow, i, g->model, g->run->sampling.step[i].time, error));
    }
    return LIKENESS_OK;
}

/* Everything but the segments, the judge that is asked at the end too. */
static likeness_status place_loss(guide *g, lk_error *error) {
    likeness_model *model = g->model;
    LK_TRY(lk_network_instances(&g->picture->net, model->context, 1, error));
    if (g->parts) return lk_crops_start(&g->crops, model, g->params, g->run->height, g->run->width, error);
    if (!g->params->classify)
        LK_TRY(lk_encoder_embed(&model->identity, model, g->params->reference, &g->reference, error));
    LK_TRY(load_loss(g, error));
    if (!model->judge.present || !has_reference(g->params)) return LIKENESS_OK;
    return lk_network_instances(&model->judge.embed.net, model->context, 1, error);
}

/* Prompts, then the networks; the text encoder may have to make room for them. */
static likeness_status place(guide *g, lk_error *error) {
    lk_memory_wish wish = wish_of(g->params, g->parts, g->run);
    g->flow = &g->model->flow[wish.gradient];
    g->picture = &g->model->picture[1];
    LK_TRY(lk_memory_plan(g->model, g->run, &wish, &g->memory, error));
    LK_TRY(lk_run_text(g->run, g->model, &g->params->base, error));
    LK_TRY(lk_memory_settle(g->model, &wish, &g->memory, error));
    LK_TRY(place_loss(g, error));
    return place_segments(g, error);
}

static likeness_status make_room(likeness_personalize_result *r, int segments, int iterations, lk_error *error) {
    size_t rows = (size_t)iterations + 1;
    r->segments = segments;
    r->log = lk_alloc(rows, sizeof *r->log);
    r->gradient_norms = lk_alloc(rows * (size_t)segments, sizeof *r->gradient_norms);
    r->offset_norms = lk_alloc(rows * (size_t)segments, sizeof *r->offset_norms);
    if (r->log && r->gradient_norms && r->offset_norms) return LIKENESS_OK;
    return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for the record of %d iterations", iterations);
}

likeness_status likeness_plan_memory(likeness_model *model, const likeness_generate_params *params,
                                     const likeness_personalize_params *personalize, likeness_memory_plan *plan) {
    lk_error *error = lk_context_begin(model->context);
    lk_run run = {0};
    lk_memory_wish wish = {.target = -1, .copies = 1};
    *plan = (likeness_memory_plan){0};
    if (personalize) LK_TRY(check(model, personalize, error));
    LK_TRY(lk_run_start(&run, model, personalize ? &personalize->base : params, error));
    likeness_status status = personalize ? check_sampling(&run.sampling, personalize, error) : LIKENESS_OK;
    if (personalize) wish = wish_of(personalize, lk_crops_wanted(model, personalize), &run);
    if (status == LIKENESS_OK) status = lk_memory_plan(model, &run, &wish, plan, error);
    lk_run_end(&run);
    return status;
}

/* ---- the run ---- */

typedef struct latents {
    double *noise, *last, *best, *unguided;
} latents;

static likeness_status iterate(guide *g, int iterations, latents *z, lk_error *error) {
    const likeness_personalize_params *p = g->params;
    int segments = g->run->sampling.count;
    double factor[LK_GUIDANCE_MAX_SEGMENTS];
    for (int k = 0; k < segments; k++)
        factor[k] = p->step_factor > 0 ? p->step_factor : 1;
    lk_flow_problem problem = {.user = g,
                               .segments = segments,
                               .dimension = g->run->dimension,
                               .segment = segment,
                               .segment_vjp = segment_vjp,
                               .loss = loss_of,
                               .end_displacement = end_displacement};
    lk_guidance_options options = {.method = (lk_guidance_method)p->method,
                                   .reading = (lk_guidance_reading)p->reading,
                                   .iterations = iterations,
                                   .scale = (p->id_scale > 0 ? p->id_scale : 1) *
                                            sqrt((double)g->run->dimension / scale_dimension),
                                   .step_factor = factor,
                                   .f32 = true,
                                   .until = p->until};
    if (p->method == LIKENESS_METHOD_NOISE_DESCENT) {
        options.momentum = 0.9;
        options.noise_decay = 1;
    }
    LK_TRY(lk_run_begin(g->run, g->model, g->latent, error));
    for (size_t i = 0; i < g->run->dimension; i++)
        z->noise[i] = (double)g->latent[i];
    lk_guidance_result result = {.latent = z->last, .best = z->best, .unguided = z->unguided};
    g->started = lk_time_seconds();
    LK_TRY(lk_anchored_guidance(&problem, &options, z->noise, on_step, g, &result, error));
    likeness_personalize_result *r = g->result;
    r->interrupted = g->stopped_early;
    r->no_face = g->no_face && !g->stopped_early;
    /* A last picture in which somebody is missing is not better than one in which all are there. */
    bool missing = g->parts && g->crops.found < g->crops.people;
    bool best = r->interrupted || r->no_face || missing;
    r->likeness_unguided = g->parts ? r->log[0].likeness : result.unguided_likeness;
    r->likeness_guided = best ? result.best_likeness : result.likeness;
    if (g->parts) r->likeness_guided = r->log[best ? result.best_iteration : result.iterations].likeness;
    LK_TRY(decode(g, z->unguided, &r->unguided, error));
    return decode(g, best ? z->best : z->last, &r->guided, error);
}

static likeness_status score(guide *g, lk_error *error) {
    likeness_personalize_result *r = g->result;
    lk_encoder *judge = &g->model->judge;
    const lk_onnx_preprocessing *p = &judge->network.preprocessing;
    if (!has_reference(g->params)) return LIKENESS_OK; /* the judge has nothing to compare with */
    r->judge_threshold = judge->present && p->has_threshold ? p->threshold : NAN;
    if (g->parts) {
        double person[LIKENESS_MAX_PEOPLE], mean;
        r->people = g->crops.people;
        LK_TRY(lk_crops_score(&g->crops, &g->model->identity, &r->guided, r->person, &mean, error));
        LK_TRY(lk_crops_score(&g->crops, judge, &r->unguided, person, &r->judge_unguided, error));
        return lk_crops_score(&g->crops, judge, &r->guided, person, &r->judge_guided, error);
    }
    r->people = 1;
    r->person[0] = r->likeness_guided;
    LK_TRY(lk_encoder_compare(judge, g->model, &r->unguided, g->params->reference, &r->judge_unguided, error));
    return lk_encoder_compare(judge, g->model, &r->guided, g->params->reference, &r->judge_guided, error);
}

static likeness_status personalize(guide *g, lk_run *run, lk_error *error) {
    const likeness_personalize_params *p = g->params;
    int iterations = p->iterations == 0 ? 50 : p->iterations < 0 ? 0 : p->iterations;
    LK_TRY(check(g->model, p, error));
    LK_TRY(check_consent(p, g->result, error));
    g->parts = !p->classify && lk_crops_wanted(g->model, p);
    LK_TRY(lk_run_start(run, g->model, &p->base, error));
    LK_TRY(check_sampling(&run->sampling, p, error));
    LK_TRY(make_room(g->result, run->sampling.count, iterations, error));
    double *memory = lk_alloc(4 * run->dimension, sizeof *memory);
    g->latent = lk_alloc(run->dimension, sizeof *g->latent);
    g->prediction = lk_alloc(run->dimension, sizeof *g->prediction);
    likeness_status status = memory && g->latent && g->prediction
                                 ? LIKENESS_OK
                                 : lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for a latent");
    if (status == LIKENESS_OK) status = place(g, error);
    if (status == LIKENESS_OK) {
        latents z = {memory, memory + run->dimension, memory + 2 * run->dimension, memory + 3 * run->dimension};
        status = iterate(g, iterations, &z, error);
    }
    if (status == LIKENESS_OK) status = score(g, error);
    lk_crops_end(&g->crops);
    lk_free(memory);
    lk_free(g->latent);
    lk_free(g->prediction);
    lk_free(g->reference);
    return status;
}

likeness_status likeness_personalize(likeness_model *model, const likeness_personalize_params *params,
                                     likeness_personalize_result *result) {
    lk_error *error = lk_context_begin(model->context);
    lk_run run = {0};
    *result = (likeness_personalize_result){.judge_unguided = NAN, .judge_guided = NAN, .judge_threshold = NAN};
    guide g = {.model = model, .params = params, .run = &run, .result = result};
    likeness_status status = personalize(&g, &run, error);
    lk_run_end(&run);
    if (status != LIKENESS_OK) {
        likeness_personalize_result_free(result);
        return status;
    }
    if (result->no_face)
        return lk_fail(
            error, LIKENESS_NO_FACE,
            "no face was found in %d iterations in a row; the best picture so far was kept: try another seed, a "
            "prompt that shows the face larger, or a lower --threshold",
            LK_FACE_GIVE_UP);
    if (!result->interrupted) return LIKENESS_OK;
    return lk_fail(error, LIKENESS_INTERRUPTED, "interrupted after %d iterations", (int)result->iterations);
}

void likeness_personalize_result_free(likeness_personalize_result *result) {
    likeness_image_free(&result->unguided);
    likeness_image_free(&result->guided);
    lk_free(result->log);
    lk_free(result->gradient_norms);
    lk_free(result->offset_norms);
    *result = (likeness_personalize_result){0};
}
