/* models/scheduler_config.h - what a model's scheduler_config.json says: what its network predicts, how noise and data
 * were mixed in training, and which sampler it is meant for (sampling/sampler.h does the sampling).
 *
 *   flow        FlowMatchEulerDiscreteScheduler: z = (1 - t) x0 + t noise
 *   piecewise   PeRFlowScheduler: the diffusion below, straightened inside each of `windows` windows of time
 *   diffusion   DDIM, Euler, Euler ancestral, DPM++ (DPMSolverMultistep), LCM: z = sqrt(a_t) x0 + sqrt(1 - a_t) noise,
 *               with a_t the running product of 1 - beta
 *
 * Folders made for other samplers of diffusion models (PNDM, UniPC, Heun, ...) are read as descriptions of the noise;
 * they are sampled by DPM++ 2M. */
#ifndef LK_MODELS_SCHEDULER_CONFIG_H
#define LK_MODELS_SCHEDULER_CONFIG_H

#include "io/json.h"

typedef enum lk_prediction {
    LK_PREDICT_VELOCITY,         /* noise - data, along a straight line */
    LK_PREDICT_VELOCITY_TO_DATA, /* data - noise: InstaFlow and 2-rectified flow */
    LK_PREDICT_EPSILON,          /* the noise */
    LK_PREDICT_V,                /* sqrt(a_t) noise - sqrt(1 - a_t) data */
    LK_PREDICT_DIFF_EPS,         /* PeRFlow: the noise between the ends of a window */
    LK_PREDICT_DDIM_EPS,         /* PeRFlow: the noise that a DDIM step over the window takes */
    LK_PREDICT_COUNT
} lk_prediction;

typedef enum lk_solver {
    LK_SOLVER_EULER,
    LK_SOLVER_EULER_ANCESTRAL,
    LK_SOLVER_DDIM,
    LK_SOLVER_DPMPP_2M,
    LK_SOLVER_LCM,
    LK_SOLVER_PERFLOW,
    LK_SOLVER_COUNT
} lk_solver;

typedef enum lk_betas { LK_BETAS_LINEAR, LK_BETAS_SCALED_LINEAR, LK_BETAS_COSINE } lk_betas;

/* How steps are spread over training times. OWN: leading for DDIM, linspace for the others, as in diffusers. */
typedef enum lk_spacing { LK_SPACING_OWN, LK_SPACING_LEADING, LK_SPACING_LINSPACE, LK_SPACING_TRAILING } lk_spacing;

enum { LK_TRAIN_TIMESTEPS = 1000, LK_MAX_WINDOWS = 50 };

typedef struct lk_scheduler_config {
    lk_prediction prediction;
    lk_solver solver; /* the model's own */
    int32_t train_timesteps;
    double shift; /* flow: of the time grid; 1: none */
    lk_betas betas;
    double beta_start, beta_end;
    bool zero_terminal_snr;
    lk_spacing spacing;
    int32_t steps_offset;
    bool alpha_to_one; /* the last step of DDIM goes to pure data, not to the first training time */
    bool karras;
    int32_t windows;       /* PeRFlow */
    int32_t lcm_steps;     /* LCM: steps of the schedule that the model was distilled on */
    double lcm_time_scale; /* LCM: timestep_scaling */
} lk_scheduler_config;

/* What stable-diffusion 1.x checkpoints were trained with; 2.x 768 models differ by LK_PREDICT_V alone. Single files
 * carry no scheduler: this is theirs. */
lk_scheduler_config lk_scheduler_config_stable_diffusion(lk_prediction prediction);

/* The class decides how the rest of the document is read; keys that change nothing are known, others are refused. */
likeness_status lk_scheduler_config_read(lk_scheduler_config *config, lk_json *json, const char *class_name,
                                         lk_error *error);

/* "velocity", "instaflow", "eps", "v", "diff_eps", "ddim_eps"; also what diffusers calls them. False when unknown. */
bool lk_prediction_find(const char *name, lk_prediction *prediction);
const char *lk_prediction_name(lk_prediction prediction);

#endif
