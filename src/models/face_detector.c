/* models/face_detector.c - opening a face detector, its input and its place in a graph. See face_detector.h. */
#include "models/face_detector.h"

#include "base/memory.h"
#include "io/resize.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const int strides[LK_FACE_LEVELS] = {8, 16, 32};
static const char *const yunet_names[4] = {"cls", "obj", "bbox", "kps"};

/* ---- opening ---- */

static int output_index(const lk_onnx_model *file, const char *kind, int stride) {
    char name[16];
    snprintf(name, sizeof name, "%s_%d", kind, stride);
    for (size_t i = 0; i < file->output_count; i++)
        if (strcmp(file->outputs[i].name, name) == 0) return (int)i;
    return -1;
}

static bool is_yunet(const lk_onnx_model *file) {
    for (int kind = 0; kind < 4; kind++)
        for (int level = 0; level < LK_FACE_LEVELS; level++)
            if (output_index(file, yunet_names[kind], strides[level]) < 0) return false;
    return file->output_count == 12;
}

static likeness_status tell_family(lk_face_detector *detector, lk_error *error) {
    const lk_onnx_model *file = &detector->network.file;
    detector->has_points = file->output_count != 6;
    if (is_yunet(file)) {
        detector->family = LK_DETECTOR_YUNET;
    } else if (file->output_count == 9 || file->output_count == 6) {
        detector->family = LK_DETECTOR_SCRFD;
    } else {
        return lk_fail(
            error, LIKENESS_UNSUPPORTED,
            "%s: a network of %zu outputs is no face detector that is known: YuNet has 12 (cls_8 to kps_32), "
            "SCRFD 9 or 6",
            file->file, file->output_count);
    }
    if (file->input_count == 1) return LIKENESS_OK;
    return lk_fail(error, LIKENESS_UNSUPPORTED, "%s: a face detector has one input, this network has %zu", file->file,
                   file->input_count);
}

likeness_status lk_face_detector_open(lk_face_detector *detector, const char *path, const char *label,
                                      lk_weights *weights, lk_error *error) {
    memset(detector, 0, sizeof *detector);
    LK_TRY(lk_onnx_network_open(&detector->network, path, label, weights, error));
    likeness_status status = tell_family(detector, error);
    if (status != LIKENESS_OK) lk_face_detector_close(detector);
    return status;
}

void lk_face_detector_close(lk_face_detector *detector) {
    lk_onnx_network_close(&detector->network);
    memset(detector, 0, sizeof *detector);
}

/* ---- the input ---- */

static int32_t next_multiple(int32_t size) { return (size + 31) / 32 * 32; }

likeness_status lk_face_detector_frame(const lk_face_detector *detector, uint32_t width, uint32_t height,
                                       lk_detector_frame *frame, lk_error *error) {
    const lk_onnx_preprocessing *p = &detector->network.preprocessing;
    bool fixed = p->height > 0 && p->width > 0;
    uint32_t longer = width > height ? width : height;
    if (width == 0 || height == 0) return lk_fail(error, LIKENESS_USAGE, "there is no picture to look for faces in");
    if (fixed && (p->height % 32 || p->width % 32))
        return lk_fail(error, LIKENESS_UNSUPPORTED, "%s: a face detector's input of %d x %d is no multiple of 32",
                       detector->network.file.file, (int)p->width, (int)p->height);
    double scale = (double)LK_FACE_SIDE / longer;
    if (fixed) scale = fmin((double)p->width / width, (double)p->height / height);
    if (!fixed && detector->family == LK_DETECTOR_YUNET && scale > 1) scale = 1;
    frame->inner_width = (int32_t)fmax(1, floor(width * scale + 0.5));
    frame->inner_height = (int32_t)fmax(1, floor(height * scale + 0.5));
    frame->width = fixed ? p->width : next_multiple(frame->inner_width);
    frame->height = fixed ? p->height : next_multiple(frame->inner_height);
    frame->scale_x = (double)frame->inner_width / width;
    frame->scale_y = (double)frame->inner_height / height;
    return LIKENESS_OK;
}

likeness_status lk_face_detector_planes(const lk_face_detector *detector, const lk_image *image,
                                        const lk_detector_frame *frame, float *planes, lk_error *error) {
    size_t inner = (size_t)frame->inner_height * (size_t)frame->inner_width;
    size_t outer = (size_t)frame->height * (size_t)frame->width, pixels = (size_t)image->width * image->height;
    bool yunet = detector->family == LK_DETECTOR_YUNET;
    float *whole = lk_alloc(3 * pixels, sizeof *whole), *scaled = lk_alloc(3 * inner, sizeof *scaled);
    likeness_status status =
        whole && scaled ? LIKENESS_OK : lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to look for faces");
    if (status == LIKENESS_OK) {
        lk_image_to_planes(image, whole);
        lk_filter filter = frame->scale_x < 1 ? LK_FILTER_AREA : LK_FILTER_BILINEAR;
        status = lk_resize(whole, 3, image->width, image->height, NULL, filter, scaled, (uint32_t)frame->inner_width,
                           (uint32_t)frame->inner_height, error);
    }
    if (status == LIKENESS_OK) {
        for (size_t i = 0; i < 3 * outer; i++)
            planes[i] = yunet ? 0.0f : -127.5f / 128.0f;
        for (int c = 0; c < 3; c++)
            for (int32_t y = 0; y < frame->inner_height; y++)
                for (int32_t x = 0; x < frame->inner_width; x++) {
                    float value = 255.0f * scaled[((size_t)c * frame->inner_height + y) * frame->inner_width + x];
                    planes[((size_t)(yunet ? 2 - c : c) * frame->height + y) * frame->width + x] =
                        yunet ? value : (value - 127.5f) / 128.0f;
                }
    }
    lk_free(whole);
    lk_free(scaled);
    return status;
}

/* ---- the graph ---- */

typedef struct sorter {
    const lk_face_detector *detector;
    lk_graph *graph;
    int64_t cells[LK_FACE_LEVELS]; /* of one anchor */
} sorter;

/* Puts one output where it belongs by its last axis and its number of rows; false when it belongs nowhere. */
static bool place(const sorter *s, lk_value value, lk_detector_outputs *outputs) {
    lk_shape shape = lk_graph_shape(s->graph, value);
    int32_t width = shape.rank > 1 ? shape.dim[shape.rank - 1] : 1;
    int64_t rows = lk_shape_elements(&shape) / width;
    for (int level = 0; level < LK_FACE_LEVELS; level++) {
        lk_detector_outputs *o = &outputs[level];
        lk_value *at = width == 1 ? &o->score : width == 4 ? &o->box : width == 10 ? &o->points : NULL;
        if (!at || *at != LK_NO_VALUE || (rows != s->cells[level] && rows != 2 * s->cells[level])) continue;
        if (o->cells != 0 && o->cells != rows) continue;
        *at = value;
        o->cells = (int32_t)rows;
        return true;
    }
    return false;
}

static bool sort_scrfd(const sorter *s, const lk_value *values, lk_detector_outputs *outputs) {
    for (size_t i = 0; i < s->detector->network.file.output_count; i++)
        if (!place(s, values[i], outputs)) return false;
    return true;
}

static bool sort_yunet(const sorter *s, const lk_value *values, lk_detector_outputs *outputs) {
    static const int32_t widths[4] = {1, 1, 4, 10};
    const lk_onnx_model *file = &s->detector->network.file;
    for (int level = 0; level < LK_FACE_LEVELS; level++) {
        lk_value *at[4] = {&outputs[level].score, &outputs[level].object, &outputs[level].box, &outputs[level].points};
        for (int kind = 0; kind < 4; kind++) {
            *at[kind] = values[output_index(file, yunet_names[kind], strides[level])];
            lk_shape shape = lk_graph_shape(s->graph, *at[kind]);
            if (lk_shape_elements(&shape) != s->cells[level] * widths[kind]) return false;
        }
        outputs[level].cells = (int32_t)s->cells[level];
    }
    return true;
}

void lk_face_detector_build(const lk_face_detector *detector, lk_graph *graph, lk_value input,
                            lk_detector_outputs outputs[LK_FACE_LEVELS]) {
    lk_value values[LK_ONNX_MAX_OUTPUTS];
    lk_shape shape = lk_graph_shape(graph, input);
    sorter s = {.detector = detector, .graph = graph};
    for (int level = 0; level < LK_FACE_LEVELS; level++) {
        s.cells[level] = (int64_t)(shape.dim[2] / strides[level]) * (shape.dim[3] / strides[level]);
        outputs[level] = (lk_detector_outputs){LK_NO_VALUE, LK_NO_VALUE, LK_NO_VALUE, LK_NO_VALUE, 0};
    }
    lk_onnx_network_build(&detector->network, graph, &input, values);
    if (lk_graph_status(graph, &(lk_error)LK_ERROR_INIT) != LIKENESS_OK) return;
    bool yunet = detector->family == LK_DETECTOR_YUNET;
    if (!(yunet ? sort_yunet(&s, values, outputs) : sort_scrfd(&s, values, outputs))) {
        lk_graph_fail(graph, LIKENESS_UNSUPPORTED,
                      "%s: the outputs of this face detector do not have the shapes of the %s family",
                      detector->network.file.file, yunet ? "YuNet" : "SCRFD");
        return;
    }
    for (int level = 0; level < LK_FACE_LEVELS; level++) {
        char name[24];
        lk_value all[4] = {outputs[level].score, outputs[level].object, outputs[level].box, outputs[level].points};
        for (int kind = 0; kind < 4; kind++) {
            snprintf(name, sizeof name, "%s_%d", yunet_names[kind], strides[level]);
            if (all[kind] != LK_NO_VALUE) lk_graph_output(graph, all[kind], name);
        }
    }
}
