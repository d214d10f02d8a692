/* models/scheduler_config.c - see scheduler_config.h. */
#include "models/scheduler_config.h"

#include "models/config_file.h"

#include <string.h>

/* ---- names ---- */

static const char *const prediction_names[LK_PREDICT_COUNT] = {"velocity", "instaflow", "eps",
                                                               "v",        "diff_eps",  "ddim_eps"};

const char *lk_prediction_name(lk_prediction prediction) { return prediction_names[prediction]; }

bool lk_prediction_find(const char *name, lk_prediction *prediction) {
    static const struct {
        const char *name;
        lk_prediction prediction;
    } also[] = {{"epsilon", LK_PREDICT_EPSILON}, {"v_prediction", LK_PREDICT_V}, {"flow", LK_PREDICT_VELOCITY}};
    for (int i = 0; i < LK_PREDICT_COUNT; i++)
        if (strcmp(name, prediction_names[i]) == 0) return *prediction = (lk_prediction)i, true;
    for (size_t i = 0; i < sizeof also / sizeof *also; i++)
        if (strcmp(name, also[i].name) == 0) return *prediction = also[i].prediction, true;
    return false;
}

/* ---- defaults ---- */

static const lk_scheduler_config defaults = {.prediction = LK_PREDICT_EPSILON,
                                             .solver = LK_SOLVER_DPMPP_2M,
                                             .train_timesteps = LK_TRAIN_TIMESTEPS,
                                             .shift = 1,
                                             .betas = LK_BETAS_LINEAR,
                                             .beta_start = 0.0001,
                                             .beta_end = 0.02,
                                             .alpha_to_one = true,
                                             .windows = 4,
                                             .lcm_steps = 50,
                                             .lcm_time_scale = 10};

static void stable_diffusion_betas(lk_scheduler_config *c) {
    c->betas = LK_BETAS_SCALED_LINEAR;
    c->beta_start = 0.00085;
    c->beta_end = 0.012;
}

lk_scheduler_config lk_scheduler_config_stable_diffusion(lk_prediction prediction) {
    lk_scheduler_config c = defaults;
    stable_diffusion_betas(&c);
    c.prediction = prediction;
    c.steps_offset = 1;
    c.alpha_to_one = false;
    return c;
}

/* ---- a flow ---- */

/* Parameters of the dynamic shift, which is refused below, and of samplers that are chosen here. */
static const char *const flow_without_effect[] = {"_diffusers_version", "_name_or_path",     "base_image_seq_len",
                                                  "base_shift",         "max_image_seq_len", "max_shift",
                                                  "shift_terminal",     "time_shift_type",   NULL};

static likeness_status read_flow(lk_scheduler_config *c, lk_json *json, lk_error *error) {
    static const char *const off[] = {"invert_sigmas",        "stochastic_sampling",    "use_beta_sigmas",
                                      "use_dynamic_shifting", "use_exponential_sigmas", "use_karras_sigmas"};
    stable_diffusion_betas(c); /* in case the user says that the network predicts something else */
    c->prediction = LK_PREDICT_VELOCITY;
    c->solver = LK_SOLVER_EULER;
    LK_TRY(lk_json_double_or(json, NULL, "shift", 1, &c->shift, error));
    if (!(c->shift > 0)) return lk_fail(error, LIKENESS_BAD_FILE, "%s: 'shift' is not positive", json->name);
    for (size_t i = 0; i < sizeof off / sizeof *off; i++)
        LK_TRY(lk_json_expect_bool(json, NULL, off[i], false, error));
    LK_TRY(lk_json_expect_null(json, NULL, "shift_terminal", error));
    lk_config_ignore(json, flow_without_effect);
    return LIKENESS_OK;
}

/* ---- what diffusion and piecewise flows share ---- */

static likeness_status read_betas(lk_scheduler_config *c, lk_json *json, lk_error *error) {
    static const char *const names[] = {"linear", "scaled_linear", "squaredcos_cap_v2"};
    const char *name;
    LK_TRY(lk_json_text_or(json, NULL, "beta_schedule", names[c->betas], &name, error));
    int found = -1;
    for (int i = 0; i < 3; i++)
        if (strcmp(name, names[i]) == 0) found = i;
    if (found < 0)
        return lk_fail(error, LIKENESS_UNSUPPORTED,
                       "%s: 'beta_schedule' is %s, supported are linear, scaled_linear and squaredcos_cap_v2",
                       json->name, name);
    c->betas = (lk_betas)found;
    LK_TRY(lk_json_double_or(json, NULL, "beta_start", c->beta_start, &c->beta_start, error));
    LK_TRY(lk_json_double_or(json, NULL, "beta_end", c->beta_end, &c->beta_end, error));
    if (!(c->beta_start > 0 && c->beta_end >= c->beta_start && c->beta_end < 1))
        return lk_fail(error, LIKENESS_BAD_FILE, "%s: betas from %g to %g are not a noise schedule", json->name,
                       c->beta_start, c->beta_end);
    return lk_json_expect_null(json, NULL, "trained_betas", error);
}

static likeness_status read_prediction(lk_scheduler_config *c, lk_json *json, const lk_prediction *allowed, int count,
                                       lk_error *error) {
    const char *name;
    lk_prediction found;
    LK_TRY(lk_json_text_or(json, NULL, "prediction_type", lk_prediction_name(allowed[0]), &name, error));
    if (lk_prediction_find(name, &found))
        for (int i = 0; i < count; i++)
            if (allowed[i] == found) return c->prediction = found, LIKENESS_OK;
    return lk_fail(error, LIKENESS_UNSUPPORTED, "%s: 'prediction_type' %s is not supported with this scheduler",
                   json->name, name);
}

/* ---- PeRFlow ---- */

static const char *const perflow_without_effect[] = {"_diffusers_version", "_name_or_path",
                                                     "set_alpha_to_one", /* never read by the method */
                                                     NULL};

static likeness_status read_perflow(lk_scheduler_config *c, lk_json *json, lk_error *error) {
    static const lk_prediction allowed[] = {LK_PREDICT_DDIM_EPS, LK_PREDICT_DIFF_EPS, LK_PREDICT_VELOCITY};
    stable_diffusion_betas(c);
    c->solver = LK_SOLVER_PERFLOW;
    LK_TRY(read_betas(c, json, error));
    LK_TRY(read_prediction(c, json, allowed, 3, error));
    LK_TRY(lk_config_int(json, "num_time_windows", 1, LK_MAX_WINDOWS, 4, &c->windows, error));
    LK_TRY(lk_json_expect_double(json, NULL, "t_noise", 1, error));
    LK_TRY(lk_json_expect_double(json, NULL, "t_clean", 0, error));
    lk_config_ignore(json, perflow_without_effect);
    return LIKENESS_OK;
}

/* ---- diffusion ---- */

static const struct {
    const char *name;
    lk_solver solver;
    bool own; /* the sampler itself is here, so its options count */
} diffusion_classes[] = {
    {"DDIMScheduler", LK_SOLVER_DDIM, true},
    {"EulerDiscreteScheduler", LK_SOLVER_EULER, true},
    {"EulerAncestralDiscreteScheduler", LK_SOLVER_EULER_ANCESTRAL, true},
    {"DPMSolverMultistepScheduler", LK_SOLVER_DPMPP_2M, true},
    {"LCMScheduler", LK_SOLVER_LCM, true},
    {"PNDMScheduler", LK_SOLVER_DPMPP_2M, false},
    {"LMSDiscreteScheduler", LK_SOLVER_DPMPP_2M, false},
    {"HeunDiscreteScheduler", LK_SOLVER_DPMPP_2M, false},
    {"KDPM2DiscreteScheduler", LK_SOLVER_DPMPP_2M, false},
    {"KDPM2AncestralDiscreteScheduler", LK_SOLVER_DPMPP_2M, false},
    {"UniPCMultistepScheduler", LK_SOLVER_DPMPP_2M, false},
    {"DEISMultistepScheduler", LK_SOLVER_DPMPP_2M, false},
    {"DPMSolverSinglestepScheduler", LK_SOLVER_DPMPP_2M, false},
    {"DDPMScheduler", LK_SOLVER_DPMPP_2M, false},
};

/* Parameters of variances, of clipping (which is refused when on) and of other samplers. */
static const char *const diffusion_without_effect[] = {
    "_diffusers_version", "_name_or_path",     "clip_sample_range", "disable_corrector", "dynamic_thresholding_ratio",
    "flow_shift",         "lower_order_final", "predict_x0",        "sample_max_value",  "shift_terminal",
    "skip_prk_steps",     "solver_p",          "time_shift_type",   "variance_type",     NULL};

static likeness_status read_spacing(lk_scheduler_config *c, lk_json *json, lk_error *error) {
    static const char *const names[] = {NULL, "leading", "linspace", "trailing"};
    const char *name;
    LK_TRY(lk_json_text_or(json, NULL, "timestep_spacing", NULL, &name, error));
    LK_TRY(lk_config_int(json, "steps_offset", 0, 100, 0, &c->steps_offset, error));
    if (!name) return LIKENESS_OK;
    for (int i = 1; i < 4; i++)
        if (strcmp(name, names[i]) == 0) return c->spacing = (lk_spacing)i, LIKENESS_OK;
    return lk_fail(error, LIKENESS_UNSUPPORTED,
                   "%s: 'timestep_spacing' is %s, supported are leading, linspace and trailing", json->name, name);
}

/* What the samplers that are here can only do in one way. */
static likeness_status expect_own_options(lk_json *json, lk_solver solver, bool own, lk_error *error) {
    static const char *const multistep[] = {"algorithm_type", "solver_type", "solver_order", "euler_at_final", NULL};
    if (!own || solver != LK_SOLVER_DPMPP_2M) {
        lk_config_ignore(json, multistep);
        return LIKENESS_OK;
    }
    LK_TRY(lk_json_expect_text(json, NULL, "algorithm_type", "dpmsolver++", error));
    LK_TRY(lk_json_expect_text(json, NULL, "solver_type", "midpoint", error));
    LK_TRY(lk_json_expect_int(json, NULL, "solver_order", 2, error));
    return lk_json_expect_bool(json, NULL, "euler_at_final", false, error);
}

static likeness_status read_diffusion(lk_scheduler_config *c, lk_json *json, bool own, lk_error *error) {
    static const lk_prediction allowed[] = {LK_PREDICT_EPSILON, LK_PREDICT_V};
    static const char *const off[] = {"clip_sample",     "thresholding",         "use_beta_sigmas",
                                      "use_flow_sigmas", "use_dynamic_shifting", "use_exponential_sigmas",
                                      "use_lu_lambdas"};
    if (c->solver == LK_SOLVER_LCM) stable_diffusion_betas(c);
    LK_TRY(read_betas(c, json, error));
    LK_TRY(read_prediction(c, json, allowed, 2, error));
    LK_TRY(read_spacing(c, json, error));
    LK_TRY(lk_json_bool_or(json, NULL, "rescale_betas_zero_snr", false, &c->zero_terminal_snr, error));
    LK_TRY(lk_json_bool_or(json, NULL, "set_alpha_to_one", true, &c->alpha_to_one, error));
    LK_TRY(lk_json_bool_or(json, NULL, "use_karras_sigmas", false, &c->karras, error));
    LK_TRY(lk_config_int(json, "original_inference_steps", 1, LK_TRAIN_TIMESTEPS, 50, &c->lcm_steps, error));
    LK_TRY(lk_json_double_or(json, NULL, "timestep_scaling", 10, &c->lcm_time_scale, error));
    for (size_t i = 0; i < sizeof off / sizeof *off; i++)
        LK_TRY(lk_json_expect_bool(json, NULL, off[i], false, error));
    LK_TRY(lk_json_expect_text(json, NULL, "final_sigmas_type", "zero", error));
    LK_TRY(lk_json_expect_text(json, NULL, "interpolation_type", "linear", error));
    LK_TRY(lk_json_expect_text(json, NULL, "timestep_type", "discrete", error));
    LK_TRY(lk_json_expect_null(json, NULL, "sigma_min", error));
    LK_TRY(lk_json_expect_null(json, NULL, "sigma_max", error));
    LK_TRY(lk_json_expect_null(json, NULL, "lambda_min_clipped", error));
    LK_TRY(expect_own_options(json, c->solver, own, error));
    if (c->zero_terminal_snr && c->prediction == LK_PREDICT_EPSILON)
        return lk_fail(error, LIKENESS_BAD_FILE,
                       "%s: noise cannot be predicted from pure noise ('rescale_betas_zero_snr' with epsilon)",
                       json->name);
    lk_config_ignore(json, diffusion_without_effect);
    return LIKENESS_OK;
}

/* ---- any ---- */

likeness_status lk_scheduler_config_read(lk_scheduler_config *config, lk_json *json, const char *class_name,
                                         lk_error *error) {
    bool flow = strcmp(class_name, "FlowMatchEulerDiscreteScheduler") == 0;
    bool piecewise = strcmp(class_name, "PeRFlowScheduler") == 0;
    size_t count = sizeof diffusion_classes / sizeof *diffusion_classes, i = 0;
    while (i < count && strcmp(class_name, diffusion_classes[i].name) != 0)
        i++;
    if (!flow && !piecewise && i == count)
        return lk_fail(
            error, LIKENESS_UNSUPPORTED,
            "%s: a %s is not supported; flows (FlowMatchEulerDiscreteScheduler, PeRFlowScheduler) and "
            "diffusion (DDIM, EulerDiscrete, EulerAncestralDiscrete, DPMSolverMultistep, LCM, PNDM, ...) are",
            json->name, class_name);
    *config = defaults;
    LK_TRY(lk_config_class(json, class_name, error));
    LK_TRY(lk_config_int(json, "num_train_timesteps", LK_TRAIN_TIMESTEPS, LK_TRAIN_TIMESTEPS, LK_TRAIN_TIMESTEPS,
                         &config->train_timesteps, error));
    if (flow) {
        LK_TRY(read_flow(config, json, error));
    } else if (piecewise) {
        LK_TRY(read_perflow(config, json, error));
    } else {
        config->solver = diffusion_classes[i].solver;
        LK_TRY(read_diffusion(config, json, diffusion_classes[i].own, error));
    }
    return lk_json_unused(json, NULL, error);
}
