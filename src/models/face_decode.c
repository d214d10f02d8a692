/* models/face_decode.c - numbers of a face detector to faces. See face_detector.h. */
#include "models/face_detector.h"

#include "base/memory.h"

#include <math.h>
#include <stdlib.h>

/* Of the candidates above the threshold only so many are looked at, the best: a threshold of 0 lets every cell in. */
enum { CANDIDATES = 5000 };

typedef struct candidate {
    double score;
    int32_t level, cell;
} candidate;

typedef struct decoder {
    const lk_face_detector *detector;
    const lk_detector_level *levels;
    const lk_detector_frame *frame;
    candidate *candidates;
    size_t count;
} decoder;

static int stride_of(int level) { return 8 << level; }

static double clamp01(float value) { return fmin(fmax((double)value, 0), 1); }

static double score_of(const decoder *d, int level, int32_t cell) {
    const lk_detector_level *l = &d->levels[level];
    if (d->detector->family == LK_DETECTOR_SCRFD) return (double)l->score[cell];
    return sqrt(clamp01(l->score[cell]) * clamp01(l->object[cell]));
}

static likeness_status not_finite(const decoder *d, lk_error *error) {
    return lk_fail(error, LIKENESS_NON_FINITE, "%s: the face detector gave values that are no numbers",
                   d->detector->network.file.file ? d->detector->network.file.file : "detector");
}

/* Best first; equal scores in the order of the cells. */
static int by_score(const void *left, const void *right) {
    const candidate *a = left, *b = right;
    if (a->score != b->score) return a->score > b->score ? -1 : 1;
    if (a->level != b->level) return a->level - b->level;
    return a->cell - b->cell;
}

static likeness_status collect(decoder *d, double threshold, lk_error *error) {
    size_t all = 0;
    for (int level = 0; level < LK_FACE_LEVELS; level++)
        all += (size_t)d->levels[level].cells;
    d->candidates = lk_alloc(all > 0 ? all : 1, sizeof *d->candidates);
    if (!d->candidates) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for the faces of a picture");
    for (int level = 0; level < LK_FACE_LEVELS; level++)
        for (int32_t cell = 0; cell < d->levels[level].cells; cell++) {
            const lk_detector_level *l = &d->levels[level];
            double score = score_of(d, level, cell);
            if (!isfinite(l->score[cell]) || (l->object && !isfinite(l->object[cell]))) return not_finite(d, error);
            if (score >= threshold) d->candidates[d->count++] = (candidate){score, level, cell};
        }
    if (d->count > 0) qsort(d->candidates, d->count, sizeof *d->candidates, by_score);
    if (d->count > CANDIDATES) d->count = CANDIDATES;
    return LIKENESS_OK;
}

/* Box and points of a cell, from pixels of the frame to pixels of the picture. */
static likeness_status face_of(const decoder *d, const candidate *at, lk_face *face, lk_error *error) {
    const lk_detector_level *l = &d->levels[at->level];
    int s = stride_of(at->level), columns = d->frame->width / s;
    int anchors = l->cells > columns * (d->frame->height / s) ? 2 : 1;
    int place = at->cell / anchors, column = place % columns, row = place / columns;
    const float *b = l->box + 4 * (size_t)at->cell;
    double box[4];
    if (d->detector->family == LK_DETECTOR_YUNET) {
        double x = (column + (double)b[0]) * s, y = (row + (double)b[1]) * s;
        double width = exp((double)b[2]) * s, height = exp((double)b[3]) * s;
        box[0] = x - width / 2, box[1] = y - height / 2, box[2] = x + width / 2, box[3] = y + height / 2;
    } else {
        box[0] = (column - (double)b[0]) * s, box[1] = (row - (double)b[1]) * s;
        box[2] = (column + (double)b[2]) * s, box[3] = (row + (double)b[3]) * s;
    }
    *face = (lk_face){.left = box[0] / d->frame->scale_x,
                      .top = box[1] / d->frame->scale_y,
                      .right = box[2] / d->frame->scale_x,
                      .bottom = box[3] / d->frame->scale_y,
                      .score = at->score,
                      .has_points = l->points != NULL};
    double sum = face->left + face->top + face->right + face->bottom;
    for (int k = 0; face->has_points && k < LK_FACE_POINTS; k++) {
        const float *p = l->points + 10 * (size_t)at->cell + 2 * k;
        face->points[k][0] = (column + (double)p[0]) * s / d->frame->scale_x;
        face->points[k][1] = (row + (double)p[1]) * s / d->frame->scale_y;
        sum += face->points[k][0] + face->points[k][1];
    }
    return isfinite(sum) ? LIKENESS_OK : not_finite(d, error);
}

/* Intersection over union. SCRFD's authors count pixels, so that sides are one longer. */
static double overlap(const lk_face *a, const lk_face *b, double extra) {
    double width = fmin(a->right, b->right) - fmax(a->left, b->left) + extra;
    double height = fmin(a->bottom, b->bottom) - fmax(a->top, b->top) + extra;
    double one = (a->right - a->left + extra) * (a->bottom - a->top + extra);
    double other = (b->right - b->left + extra) * (b->bottom - b->top + extra);
    double both = fmax(width, 0) * fmax(height, 0), all = one + other - both;
    return all > 0 ? both / all : 0;
}

likeness_status lk_face_decode(const lk_face_detector *detector, const lk_detector_level levels[LK_FACE_LEVELS],
                               const lk_detector_frame *frame, double threshold, lk_face faces[LK_FACES_MOST],
                               int *count, lk_error *error) {
    bool yunet = detector->family == LK_DETECTOR_YUNET;
    double most = yunet ? 0.3 : 0.4, extra = yunet ? 0 : 1;
    decoder d = {.detector = detector, .levels = levels, .frame = frame};
    likeness_status status = collect(&d, threshold, error);
    *count = 0;
    for (size_t i = 0; status == LIKENESS_OK && i < d.count && *count < LK_FACES_MOST; i++) {
        lk_face *face = &faces[*count];
        bool fresh = true;
        status = face_of(&d, &d.candidates[i], face, error);
        for (int k = 0; fresh && k < *count; k++)
            fresh = overlap(face, &faces[k], extra) <= most;
        if (fresh && status == LIKENESS_OK) ++*count;
    }
    lk_free(d.candidates);
    if (status != LIKENESS_OK) *count = 0;
    return status;
}

/* ---- which faces count ---- */

static double worth(const lk_face *face, uint32_t width, uint32_t height) {
    double x = (face->left + face->right - width) / 2, y = (face->top + face->bottom - height) / 2;
    return (face->right - face->left) * (face->bottom - face->top) - 2 * (x * x + y * y);
}

int lk_faces_rank(lk_face *faces, int count, uint32_t width, uint32_t height, int most) {
    if (count <= most) return count;
    for (int i = 1; i < count; i++) { /* insertion: few faces, and equal ones keep their order */
        lk_face moved = faces[i];
        int k = i;
        for (; k > 0 && worth(&faces[k - 1], width, height) < worth(&moved, width, height); k--)
            faces[k] = faces[k - 1];
        faces[k] = moved;
    }
    return most;
}
