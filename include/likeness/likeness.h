/* likeness/likeness.h - the public interface of Likeness: pictures from words, and pictures of the same person from one
 * reference picture, on any Vulkan 1.3 device.
 *
 *     likeness_context *context;
 *     if (likeness_open(NULL, &context) != LIKENESS_OK) ...;            // NULL options: all defaults
 *     likeness_model *model;
 *     likeness_load(context, "assets/cameo", &model);
 *     likeness_generate_params params = {.prompt = "micah portrait of a person, red background", .seed = 7};
 *     likeness_image picture = {0};
 *     if (likeness_generate(model, &params, &picture) != LIKENESS_OK) puts(likeness_message(context));
 *     likeness_image_free(&picture);
 *     likeness_unload(model);
 *     likeness_close(context);
 *
 * Parameter structs: a zeroed struct means every default. Strings are UTF-8, copied when needed, owned by the caller.
 * Functions return a code from status.h; likeness_message(context) has the detail of the last failure. The library
 * never prints, exits, or opens a network connection. A context and what was made from it belong to one thread at a
 * time. */
#ifndef LIKENESS_LIKENESS_H
#define LIKENESS_LIKENESS_H

#include "likeness/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct likeness_context likeness_context;
typedef struct likeness_model likeness_model;

/* ---- context and devices
 * --------------------------------------------------------------------------------------------- */

typedef struct likeness_options {
    const char *device;  /* index ("0") or part of a name; NULL: the best device, else the LIKENESS_DEVICE variable */
    const char *cache;   /* folder of the pipeline cache and doctor's memory; NULL: the user's cache folder */
    bool precise;        /* f32 weights and scalar kernels everywhere */
    uint64_t max_block;  /* largest device allocation in bytes; 0: what the device allows, 1 GiB at most */
    uint64_t max_memory; /* device memory of this context in bytes; 0: what there is */
    bool no_device;      /* no device at all: a context that only reads and writes pictures */
    int32_t max_groups_axis;                   /* artificial limit of workgroups an axis (tests); 0: the device's */
    void (*log)(void *user, const char *line); /* verbose lines; NULL: none */
    void *log_user;
    void (*warn)(void *user, const char *line); /* what the user should know, such as a prompt that was cut */
    void *warn_user;
} likeness_options;

/* "0.1.0" */
const char *likeness_version(void);
/* Opens a device. On failure *context still receives a context that only holds the message (close it), or NULL when
 * even that failed. */
likeness_status likeness_open(const likeness_options *options, likeness_context **context);
void likeness_close(likeness_context *context);
/* Message of the last failure on this context, "" if none; valid until the next call. */
const char *likeness_message(const likeness_context *context);
/* Name and driver of the open device, one line. */
const char *likeness_device_name(const likeness_context *context);

/* Calls row for every Vulkan device: a one-line summary, a description of several lines, whether it would be chosen.
 * Needs no context; message (bytes long) receives what went wrong. */
likeness_status likeness_devices(const likeness_options *options,
                                 void (*row)(void *user, int index, const char *summary, const char *description,
                                             bool chosen),
                                 void *user, char *message, size_t message_bytes);

/* Runs every kernel that this device would use, forward and backward, against the C reference. row is called per check:
 * op, case, variant, relative error, milliseconds, verdict ("ok", "replaced", "FAILED"). A failing kernel is replaced
 * by its next variant, which is remembered for this device and driver. LIKENESS_OK when every op has a working kernel.
 */
likeness_status likeness_doctor(likeness_context *context,
                                void (*row)(void *user, const char *op, const char *test, int variant, double error,
                                            double milliseconds, const char *verdict),
                                void *user);
/* Which kernels have run on this context so far, and the names of the others; after likeness_doctor: what it left out.
 * Free with likeness_text_free; NULL without a device or memory. */
char *likeness_doctor_kernels(const likeness_context *context);
/* True when doctor has not yet run on this device and driver. */
bool likeness_doctor_needed(const likeness_context *context);

/* ---- pictures
 * -------------------------------------------------------------------------------------------------------- */

typedef struct likeness_image {
    int32_t width, height;
    uint8_t *rgb; /* height x width x 3, sRGB; owned by the struct */
} likeness_image;

/* PNG or JPEG by content, any bit depth; alpha over white; EXIF rotation applied; at most 64 megapixels. */
likeness_status likeness_image_read(likeness_context *context, const char *path, likeness_image *image);
void likeness_image_free(likeness_image *image);
/* Writes a PNG, whole or not at all. settings: AUTOMATIC1111's parameters text, NULL for none; the mark that the
 * picture is synthetic (XMP DigitalSourceType) is always written. */
likeness_status likeness_image_write(likeness_context *context, const char *path, const likeness_image *image,
                                     const char *settings);
/* Places count pictures side by side, scaled to the height of the tallest, on white. */
likeness_status likeness_image_sheet(likeness_context *context, const likeness_image *const *images, int count,
                                     likeness_image *sheet);

/* ---- models
 * ---------------------------------------------------------------------------------------------------------- */

typedef struct likeness_lora {
    const char *path; /* safetensors file of kohya, diffusers or PEFT, or a folder that holds one */
    double weight;    /* 0: 1 */
} likeness_lora;

typedef struct likeness_embedding {
    const char *path; /* textual inversion in a safetensors file of AUTOMATIC1111 or diffusers */
    const char *word; /* what stands for it in prompts; NULL: the file's own word, else the file's name */
} likeness_embedding;

typedef struct likeness_load_params {
    const likeness_lora *loras; /* merged into the weights in this order */
    int32_t lora_count;
    const likeness_embedding *embeddings;
    int32_t embedding_count;
    const char *taesd;       /* decoder of a tiny autoencoder (TAESD) in place of the model's; NULL: the model's */
    bool taesd_preview_only; /* ... for the previews of likeness_generate only */
    /* What the network predicts, over what the model's files say: "eps", "v", "velocity" (noise - data), "instaflow"
     * (data - noise: InstaFlow, 2-rectified flow), "diff_eps", "ddim_eps" (PeRFlow); NULL: what they say. */
    const char *prediction;
    bool averaged; /* a single file's averaged U-Net weights (EMA), where it has them */
} likeness_load_params;

/* A diffusers folder, or a Stable Diffusion 1.x or 2.x checkpoint in one safetensors file; which of them, and which
 * version, is told from what is inside. Likeness' own files identity_encoder.onnx and judge.onnx in a folder are used
 * where its model_index.json names them. */
likeness_status likeness_load(likeness_context *context, const char *path, likeness_model **model);
/* params NULL: all defaults. */
likeness_status likeness_load_with(likeness_context *context, const char *path, const likeness_load_params *params,
                                   likeness_model **model);
void likeness_unload(likeness_model *model);
/* What loading added, in lines: for each LoRA how many modules of each network it changed, and every key that has no
 * place in this model; for each textual inversion its word. "" when there was nothing; valid as long as the model. */
const char *likeness_load_report(const likeness_model *model);
/* Replaces the identity encoder by another ONNX file; any that takes a picture: a face encoder (112 x 112), DINOv2,
 * CLIP's vision tower. */
likeness_status likeness_set_discriminator(likeness_model *model, const char *onnx_path);
/* Replaces the judge, a second encoder that scores finished pictures and never guides. */
likeness_status likeness_set_judge(likeness_model *model, const char *onnx_path);
/* How pictures enter the identity encoder (the judge), over what its file says: "arcface", "sface", "imagenet", "clip",
 * or MEAN/STD[/RGB|BGR]; see docs/methods/rectifid.md. */
likeness_status likeness_set_encoder_input(likeness_model *model, const char *text, bool of_judge);
/* A face detector of the YuNet or SCRFD family: from now on the encoders see faces, cut out and turned upright, instead
 * of whole pictures. threshold: least score of a face; 0: 0.5. */
likeness_status likeness_set_detector(likeness_model *model, const char *onnx_path, double threshold);

/* Progress of a long call: phase ("load", "text", "sample", "guide", ...), step of total, and for guidance the likeness
 * so far (else NaN). Return false to stop. */
typedef bool (*likeness_progress)(void *user, const char *phase, int step, int total, double likeness);

/* How the network is asked step by step. Flows: EULER, and PERFLOW for models of that name. Diffusion models: all but
 * PERFLOW. The model's scheduler_config.json decides what is possible and what DEFAULT is. */
typedef enum likeness_sampler {
    LIKENESS_SAMPLER_DEFAULT = 0,
    LIKENESS_SAMPLER_EULER,
    LIKENESS_SAMPLER_EULER_A,
    LIKENESS_SAMPLER_DDIM,
    LIKENESS_SAMPLER_DPMPP_2M,
    LIKENESS_SAMPLER_LCM,
    LIKENESS_SAMPLER_PERFLOW
} likeness_sampler;

/* How the noise levels of the steps are spread (diffusion models). */
typedef enum likeness_scheduler {
    LIKENESS_SCHEDULER_DEFAULT = 0,
    LIKENESS_SCHEDULER_DISCRETE,
    LIKENESS_SCHEDULER_KARRAS
} likeness_scheduler;

typedef struct likeness_generate_params {
    const char *prompt;          /* NULL or "": the empty prompt; (word:1.2) weighs words, \( is a bracket */
    const char *negative_prompt; /* used when cfg_scale is not 1 */
    int64_t seed;                /* noise of this picture; any value */
    int32_t width, height;       /* 0: the model's; multiples of the autoencoder's factor times the U-Net's */
    int32_t steps;               /* 0: the model's (Cameo: 4) */
    double cfg_scale;            /* 0: the model's (Cameo: 1, one branch), else 7.5 for diffusion, 3 for PeRFlow */
    likeness_sampler sampler;
    likeness_scheduler scheduler;
    int32_t clip_skip; /* 2: the text encoder's last layer is left out, ...; 0, 1: none is */
    /* Image to image: a picture to begin from, fitted to the size; strength is the part of the steps that is done. */
    const likeness_image *init_image;
    double strength; /* 0: 0.75; at most 1 */
    likeness_progress progress;
    void *progress_user;
    /* Called every so many steps (0: never) with the picture as it looks then; it does not change the result. */
    int32_t preview_every;
    void (*preview)(void *user, int step, const likeness_image *image);
    void *preview_user;
} likeness_generate_params;

likeness_status likeness_generate(likeness_model *model, const likeness_generate_params *params, likeness_image *image);

typedef enum likeness_method {
    LIKENESS_METHOD_ANCHORED = 0,
    LIKENESS_METHOD_UNANCHORED,   /* for comparison */
    LIKENESS_METHOD_NOISE_DESCENT /* for comparison */
} likeness_method;

#define LIKENESS_MAX_PEOPLE 8

/* A part of a picture in pixels, from the upper left corner; width 0: none. */
typedef struct likeness_box {
    double x, y, width, height;
} likeness_box;

typedef enum likeness_consent {
    LIKENESS_CONSENT_NONE = 0, /* of nobody: enough for drawings */
    LIKENESS_CONSENT_SELF,     /* the reference shows the one who asks */
    LIKENESS_CONSENT_GRANTED   /* whoever it shows has agreed */
} likeness_consent;

typedef struct likeness_personalize_params {
    likeness_generate_params base;
    const likeness_image *reference;
    const likeness_image *others; /* references of further people, with a detector: each step pairs faces and references
                                   * so that the likenesses have the largest sum */
    int32_t other_count;          /* LIKENESS_MAX_PEOPLE - 1 at most */
    likeness_box box;             /* the part of the new picture that is compared: for things, with no detector */
    likeness_box reference_box;   /* ... of the reference (none: its largest centred square); with a detector: which
                                   * face of the reference is meant */
    bool box_crop;                /* with a detector: its boxes as they are, not turned by the five points */
    bool lower_threshold;         /* for comparison: no face? The threshold falls until there is one (published code) */
    double l1_weight;             /* weight of the mean difference of the crops beside 1 - cosine; 10 in the paper */
    likeness_consent consent;     /* a reference, or picture to begin from, that looks like a photograph needs one */
    int32_t iterations;           /* 0: 50; -1: none (only the unguided picture) */
    double id_scale;              /* 0: 1; the step is id_scale * sqrt(D / 16384) */
    double step_factor;           /* c_k; 0: 1 (the paper), 0.958 repeats the released code */
    double until;                 /* stop at this likeness; 0: never */
    /* The discriminator is a classifier: what is wanted is its class target_class, counted from 0; the loss is -100 log
     * p, and "likeness" everywhere is p. A reference is not needed; the judge compares with it where there is one. */
    bool classify;
    int32_t target_class;
    likeness_method method;
    int32_t reading;       /* 0 = A, 1 = B, 2 = C (docs/methods/rectifid.md) */
    bool recompute;        /* one network instance that recomputes instead of one a segment; same bytes, less memory */
    int32_t preview_every; /* calls preview every so many iterations; 0: never */
    void (*preview)(void *user, int iteration, const likeness_image *image);
    void *preview_user;
} likeness_personalize_params;

typedef struct likeness_iteration {
    double loss, likeness, seconds; /* likeness: NaN where no face was found */
    int32_t faces;                  /* found; -1 where none are looked for */
} likeness_iteration;

typedef struct likeness_personalize_result {
    likeness_image unguided, guided;
    double likeness_unguided, likeness_guided; /* cosine by the identity encoder that guided */
    double judge_unguided, judge_guided;       /* cosine by the judge, NaN without one */
    double judge_threshold;                    /* the judge file's own threshold, NaN without one */
    int32_t iterations;                        /* done */
    likeness_iteration *log;                   /* iterations + 1 entries, owned by the struct */
    int32_t segments;                          /* K, the sampling steps */
    /* (iterations + 1) x segments, owned by the struct: length of the gradient at the start of segment k that made the
     * last step (0 before the first), and of the offset at its end, as pass i used it */
    double *gradient_norms, *offset_norms;
    bool interrupted;                   /* progress returned false: guided is the best so far */
    bool no_face;                       /* ten iterations in a row showed no face: guided is the best so far */
    bool photograph;                    /* a reference looks like a photograph */
    int32_t people;                     /* references */
    double person[LIKENESS_MAX_PEOPLE]; /* likeness of each in the guided picture; NaN where no face was found */
} likeness_personalize_result;

/* One reference picture in, a new picture of the same person out. Returns LIKENESS_INTERRUPTED with a complete result
 * when progress stopped it after the first pass, LIKENESS_NO_FACE with a complete result when no_face ended it; else
 * LIKENESS_NO_FACE says that a reference shows none, or several and none that is clearly the largest, and
 * LIKENESS_CONSENT that a reference looks like a photograph and nobody's consent was stated. */
likeness_status likeness_personalize(likeness_model *model, const likeness_personalize_params *params,
                                     likeness_personalize_result *result);
void likeness_personalize_result_free(likeness_personalize_result *result);

/* True for a picture that looks like a photograph rather than a drawing: personalize then wants a consent. */
bool likeness_is_photograph(const likeness_image *image);

/* What a call takes of the device, in bytes, beyond what this context holds already. Nothing is taken to find out. */
typedef struct likeness_memory_plan {
    uint64_t weights;       /* of all networks that the call needs */
    uint64_t step;          /* activations of one sampling step, with its gradient if there is one */
    uint64_t picture;       /* of decoder and encoder, with their gradient */
    uint64_t other;         /* of text encoder, encoders of the reference and of init_image, judge */
    int32_t copies;         /* of `step`: one a sampling step, or one for all of them */
    int32_t step_pieces;    /* above 1: the gradient computes all but one of so many pieces of the forward pass again */
    int32_t picture_pieces; /* the same for the picture */
    bool in_turn;           /* step and picture use the same memory; the text encoder leaves the device after use */
    uint64_t need;          /* the most at one time */
    uint64_t unsaved;       /* what `need` would be with nothing saved */
    uint64_t left;          /* what the device or max_memory still has; UINT64_MAX: not known */
} likeness_memory_plan;
/* The plan of likeness_generate, or of likeness_personalize when `personalize` is not NULL (then params may be NULL).
 * LIKENESS_OUT_OF_MEMORY, with numbers in the message, when the call would not fit. Faces' own networks, which are
 * small, are not counted. */
likeness_status likeness_plan_memory(likeness_model *model, const likeness_generate_params *params,
                                     const likeness_personalize_params *personalize, likeness_memory_plan *plan);

/* Cosine of two pictures by the identity encoder and by the judge (NaN where there is none); with a detector, of the
 * largest face of each. */
likeness_status likeness_compare(likeness_model *model, const likeness_image *a, const likeness_image *b,
                                 double *identity, double *judge, double *judge_threshold);

/* AUTOMATIC1111 text for a picture made with these parameters (resolved defaults). Free with likeness_text_free. */
char *likeness_settings_text(const likeness_model *model, const likeness_generate_params *params,
                             const likeness_personalize_params *personalize);
void likeness_text_free(char *text);
/* The value of one key of a settings text ("Prediction"), NULL without one. Free with likeness_text_free. */
char *likeness_settings_find(const char *settings, const char *key);

/* What a picture file says about itself: settings text ("" if none) and
 * whether it carries the synthetic mark. Free the text with likeness_text_free. */
likeness_status likeness_inspect(likeness_context *context, const char *path, char **settings, bool *synthetic,
                                 int32_t *width, int32_t *height);
/* What a file or folder that is no picture is, in lines: a model in one file or a folder, a LoRA, a textual inversion,
 * a component, an ONNX network; unsupported ones are named, too. Needs no device. Free the text with
 * likeness_text_free. */
likeness_status likeness_describe(likeness_context *context, const char *path, char **text);
/* Fills params from a settings text; strings are allocated into *storage (free with likeness_text_free). A strength
 * other than 0 says that the picture began from another one, which is not inside: init_image has to be given. */
likeness_status likeness_settings_parse(likeness_context *context, const char *settings,
                                        likeness_generate_params *params, char **storage);

/* Device memory of the context: bytes in use and their peak. */
void likeness_memory(const likeness_context *context, uint64_t *now, uint64_t *peak);

#ifdef __cplusplus
}
#endif

#endif
