/* api/discriminators.c - what scores pictures: replacing the identity encoder and the judge, and the face detector. */
#include "api/model.h"

#include "base/memory.h"
#include "models/encoder_input.h"
#include "personalize/face_policy.h"
#include "personalize/photograph.h"

#include <stdio.h>
#include <string.h>

/* ---- encoders ---- */

/* Weights of an old encoder stay in the set until the model is unloaded: they are copies. `input` may be NULL. */
static likeness_status replace(likeness_model *model, bool judge, const char *path, const char *input,
                               lk_error *error) {
    lk_encoder encoder, *old = judge ? &model->judge : &model->identity;
    char label[32];
    if (judge && !model->judge_weights) {
        model->judge_weights = lk_weights_create(model->context->options.precise);
        if (!model->judge_weights) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to open %s", path);
    }
    snprintf(label, sizeof label, "%s%d", judge ? "judge" : "identity", ++model->discriminators);
    LK_TRY(lk_encoder_open(&encoder, path, label, judge ? model->judge_weights : model->files.picture_weights, error));
    likeness_status status = input ? lk_encoder_input(&encoder.network.preprocessing, input, error) : LIKENESS_OK;
    if (status != LIKENESS_OK) {
        lk_encoder_close(&encoder);
        return status;
    }
    if (!judge) {
        lk_network_close(&model->picture[1].net);
        lk_network_close(&model->crop.net);
    }
    lk_encoder_close(old);
    *old = encoder;
    lk_model_kernels(model);
    return LIKENESS_OK;
}

likeness_status likeness_set_discriminator(likeness_model *model, const char *onnx_path) {
    return replace(model, false, onnx_path, NULL, lk_context_begin(model->context));
}

likeness_status likeness_set_judge(likeness_model *model, const char *onnx_path) {
    return replace(model, true, onnx_path, NULL, lk_context_begin(model->context));
}

/* The file is opened again: its preprocessing is among the weights of what is built already. */
likeness_status likeness_set_encoder_input(likeness_model *model, const char *text, bool of_judge) {
    lk_error *error = lk_context_begin(model->context);
    const lk_encoder *encoder = of_judge ? &model->judge : &model->identity;
    if (!encoder->present)
        return lk_fail(error, LIKENESS_USAGE, "there is no %s whose input could be set; give one with --%s FILE.onnx",
                       of_judge ? "judge" : "identity encoder", of_judge ? "judge" : "discriminator");
    char *path = lk_strdup(encoder->network.file.file);
    if (!path) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to open an encoder");
    likeness_status status = replace(model, of_judge, path, text, error);
    lk_free(path);
    return status;
}

bool likeness_is_photograph(const likeness_image *image) {
    const lk_image picture = {(uint32_t)image->width, (uint32_t)image->height, image->rgb};
    return lk_looks_like_photograph(&picture);
}

/* ---- the face detector ---- */

void lk_detector_close(lk_detector *detector) {
    lk_network_close(&detector->net);
    lk_weights_destroy(detector->weights);
    if (detector->present) lk_face_detector_close(&detector->file);
    memset(detector, 0, sizeof *detector);
}

likeness_status likeness_set_detector(likeness_model *model, const char *onnx_path, double threshold) {
    lk_error *error = lk_context_begin(model->context);
    lk_detector detector = {.threshold = threshold > 0 ? threshold : 0.5};
    if (!(threshold >= 0 && threshold < 1))
        return lk_fail(error, LIKENESS_USAGE, "the least score of a face lies between 0 and 1");
    detector.weights = lk_weights_create(model->context->options.precise);
    if (!detector.weights) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to open %s", onnx_path);
    likeness_status status = lk_face_detector_open(&detector.file, onnx_path, "detector", detector.weights, error);
    detector.present = status == LIKENESS_OK;
    if (status == LIKENESS_OK) status = lk_hash_file(onnx_path, detector.hash, error);
    if (status != LIKENESS_OK) {
        lk_detector_close(&detector);
        return status;
    }
    lk_detector_close(&model->detector);
    model->detector = detector;
    return LIKENESS_OK;
}

static likeness_status place(lk_detector *d, likeness_context *context, const lk_detector_frame *frame,
                             lk_error *error) {
    bool same = d->net.plan && d->frame.height == frame->height && d->frame.width == frame->width;
    d->frame = *frame;
    if (!same) {
        lk_network_close(&d->net);
        LK_TRY(lk_network_begin(&d->net, d->weights, 1, error));
        d->picture = lk_graph_input(d->net.graph, "picture", lk_shape4(1, 3, frame->height, frame->width), LK_F32);
        lk_face_detector_build(&d->file, d->net.graph, d->picture, d->outputs);
        LK_TRY(lk_network_finish(&d->net, context, error));
    }
    return lk_network_instances(&d->net, context, 1, error);
}

/* One run's numbers: four kinds a stride, side by side in one allocation. */
typedef struct numbers {
    const lk_detector *detector;
    lk_detector_level levels[LK_FACE_LEVELS];
    float *memory;
} numbers;

static likeness_status read_numbers(lk_detector *d, numbers *n, lk_error *error) {
    static const int widths[4] = {1, 1, 4, 10};
    size_t all = 0;
    for (int level = 0; level < LK_FACE_LEVELS; level++)
        all += 16 * (size_t)d->outputs[level].cells;
    n->memory = lk_alloc(all, sizeof *n->memory);
    if (!n->memory) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for the faces of a picture");
    float *next = n->memory;
    for (int level = 0; level < LK_FACE_LEVELS; level++) {
        const lk_detector_outputs *o = &d->outputs[level];
        lk_detector_level *l = &n->levels[level];
        const lk_value values[4] = {o->score, o->object, o->box, o->points};
        const float **const at[4] = {&l->score, &l->object, &l->box, &l->points};
        l->cells = o->cells;
        for (int kind = 0; kind < 4; kind++) {
            if (values[kind] == LK_NO_VALUE) continue;
            LK_TRY(lk_instance_read(d->net.instance[0], values[kind], next, error));
            *at[kind] = next;
            next += (size_t)(widths[kind] * o->cells);
        }
    }
    return LIKENESS_OK;
}

static likeness_status look(void *user, double threshold, lk_face faces[LK_FACES_MOST], int *count, lk_error *error) {
    numbers *n = user;
    return lk_face_decode(&n->detector->file, n->levels, &n->detector->frame, threshold, faces, count, error);
}

likeness_status lk_detector_find(likeness_model *model, const likeness_image *image, bool lower, int wanted,
                                 lk_face faces[LK_FACES_MOST], int *count, lk_error *error) {
    lk_detector *d = &model->detector;
    const lk_image picture = {(uint32_t)image->width, (uint32_t)image->height, image->rgb};
    lk_detector_frame frame;
    *count = 0;
    LK_TRY(lk_face_detector_frame(&d->file, picture.width, picture.height, &frame, error));
    LK_TRY(place(d, model->context, &frame, error));
    float *planes = lk_alloc(3 * (size_t)frame.height * (size_t)frame.width, sizeof *planes);
    numbers n = {.detector = d};
    likeness_status status =
        planes ? LIKENESS_OK : lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to look for faces");
    if (status == LIKENESS_OK) status = lk_face_detector_planes(&d->file, &picture, &frame, planes, error);
    if (status == LIKENESS_OK) status = lk_instance_write(d->net.instance[0], d->picture, planes, error);
    if (status == LIKENESS_OK) status = lk_instance_run(d->net.instance[0], 0, error);
    if (status == LIKENESS_OK) status = read_numbers(d, &n, error);
    if (status == LIKENESS_OK) status = lk_faces_search(look, &n, d->threshold, lower, wanted, faces, count, error);
    lk_free(planes);
    lk_free(n.memory);
    return status;
}
