/* api/model.h - what is behind likeness_model, and the steps that generate, personalize and compare share.
 *
 * Networks are built when they are first needed for a shape and kept for the next call. Only files of src/api. */
#ifndef LK_API_MODEL_H
#define LK_API_MODEL_H

#include "api/networks.h"
#include "base/rng.h"
#include "models/face_detector.h"
#include "sampling/sampler.h"

/* An encoder of faces in an ONNX file: the one that guides, or the judge. */
typedef struct lk_encoder {
    bool present;
    lk_onnx_network network;
    lk_embed_network embed;
    char hash[11]; /* of the file */
} lk_encoder;

/* A face detector, on the device for one size of pictures at a time. */
typedef struct lk_detector {
    bool present;
    lk_face_detector file;
    lk_weights *weights;
    double threshold;
    char hash[11];
    lk_network net;
    lk_detector_frame frame; /* that the network is built for */
    lk_value picture;
    lk_detector_outputs outputs[LK_FACE_LEVELS];
} lk_detector;

struct likeness_model {
    likeness_context *context;
    lk_model files;
    const char *name;
    char hash[11], kernels[11]; /* see lk_model_kernels */
    char *lora_names;           /* "name:weight (hash), ..." of what was merged; NULL: nothing */
    char *embedding_names;      /* "word (hash), ..."; NULL: none */
    char *decoder_name;         /* "TAESD (hash)"; NULL: the model's own */
    int32_t default_width, default_height;
    lk_encoder identity, judge;
    lk_detector detector;
    lk_crop_network crop; /* of the identity encoder */
    lk_weights *judge_weights;
    int discriminators; /* set so far: names their weights apart in the set that the decoder shares */
    lk_arena *arena;    /* of flow and picture network, when they are used in turn (memory_plan.h) */
    lk_text_network text;
    lk_flow_network flow[2];       /* without and with the gradient */
    lk_picture_network preview;    /* where previews have a decoder of their own */
    lk_picture_network picture[2]; /* decoder alone; decoder, encoder and gradient */
    lk_encode_network encode;      /* of the picture that image to image begins from */
};

/* Parameters with every default filled in and checked. */
typedef struct lk_run {
    const char *prompt, *negative;
    int32_t width, height;
    lk_sampling sampling;
    int32_t channels, latent_height, latent_width;
    size_t dimension; /* entries of a latent */
    double weight;    /* of classifier-free guidance */
    bool guided_free; /* weight is not 1 */
    int64_t seed;
    lk_mt19937 rng; /* of the noise: the beginning first, then what the sampler adds */
    int32_t clip_skip;
    const likeness_image *init_image; /* NULL: text to image */
    float *context[2];                /* of the empty or negative prompt (NULL unless guided_free) and of the prompt */
} lk_run;

/* The first hexadecimal digits of a file's SHA-256. */
likeness_status lk_hash_file(const char *path, char hash[11], lk_error *error);
/* label: first word of its weights' names in the set. */
likeness_status lk_encoder_open(lk_encoder *encoder, const char *path, const char *label, lk_weights *weights,
                                lk_error *error);
void lk_encoder_close(lk_encoder *encoder);

/* Resolves and checks; nothing large is allocated. Then lk_run_text encodes the prompts. */
likeness_status lk_run_start(lk_run *run, likeness_model *model, const likeness_generate_params *params,
                             lk_error *error);
likeness_status lk_run_text(lk_run *run, likeness_model *model, const likeness_generate_params *params,
                            lk_error *error);
void lk_run_end(lk_run *run);
/* The request that parameters come to, defaults filled in, and the guidance weight; checks that it is possible. */
likeness_status lk_sampling_of(const likeness_model *model, const likeness_generate_params *params,
                               lk_sampling_request *request, double *weight, lk_error *error);
/* The latent that sampling begins with; encodes the picture of image to image. */
likeness_status lk_run_begin(lk_run *run, likeness_model *model, float *z, lk_error *error);
/* All steps of the sampler, without guidance; params->progress is asked before each and may look at z. */
likeness_status lk_run_sample(lk_run *run, likeness_model *model, const likeness_generate_params *params, float *z,
                              lk_error *error);
/* False when the caller wants to stop. */
bool lk_progress(const likeness_generate_params *params, const char *phase, int step, int total, double likeness);

/* Writes what stays the same over a pass: prompts and weight; then what belongs to a step: its time. */
likeness_status lk_flow_set_prompt(const lk_flow_network *flow, int instance, const lk_run *run, lk_error *error);
likeness_status lk_flow_set_time(const lk_flow_network *flow, int instance, const likeness_model *model, double time,
                                 lk_error *error);

/* The picture of a decoder that has just run, rounded to 8 bits; a value that is no number is LIKENESS_NON_FINITE. */
likeness_status lk_picture_take(const lk_picture_network *picture, const likeness_model *model, likeness_image *image,
                                lk_error *error);

/* The picture as an encoder of this model sees it (largest centred square, brought to the model's size), embedded;
 * *embedding has encoder->embed.width entries, in memory of lk_alloc. */
likeness_status lk_encoder_embed(lk_encoder *encoder, likeness_model *model, const likeness_image *image,
                                 float **embedding, lk_error *error);
/* The same for planes [3][side][side], 0..1, that were cut out already. */
likeness_status lk_encoder_embed_planes(lk_encoder *encoder, likeness_model *model, const float *planes, int32_t side,
                                        float **embedding, lk_error *error);
/* Cosine of two pictures; NaN when the encoder is absent. */
likeness_status lk_encoder_compare(lk_encoder *encoder, likeness_model *model, const likeness_image *a,
                                   const likeness_image *b, double *cosine, lk_error *error);

void lk_detector_close(lk_detector *detector);
/* The faces of a picture, best first. lower: see lk_faces_search, which stops at `wanted`. */
likeness_status lk_detector_find(likeness_model *model, const likeness_image *image, bool lower, int wanted,
                                 lk_face faces[LK_FACES_MOST], int *count, lk_error *error);

/* Names model, engine version, device, driver and doctor's replacements: equal text, equal bytes. */
void lk_model_kernels(likeness_model *model);

#endif
