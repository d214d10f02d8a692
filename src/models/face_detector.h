/* models/face_detector.h - face detectors in ONNX files: what goes in, what their numbers mean.
 *
 *   lk_face_detector_open     reads the file and tells the family by its outputs
 *   lk_face_detector_frame    how a picture of some size is brought into the network
 *   lk_face_detector_planes   ... and the network's input for one picture
 *   lk_face_detector_build    the network in a graph, its outputs sorted by stride
 *   lk_face_decode            numbers of one run -> faces in pixels of the picture, best first, without doubles
 *
 *   family  outputs                            input             one cell at (row, column) of stride s says
 *   YuNet   cls_s [1,n,1]  obj_s [1,n,1]       BGR, 0..255       score sqrt(cls obj); centre ((column + x) s, (row + y)
 * s), bbox_s [1,n,4] kps_s [1,n,10]                        sides e^w s and e^h s; point ((column + x) s, (row + y) s)
 *   SCRFD   scores [n,1], distances [n,4],     RGB, (v - 127.5)  score; from the cell's corner (column s, row s) the
 * distances points [n,10], each for 8, 16, 32  / 128             left, top, right, bottom and the points, all times s
 *
 * n: cells row by row, SCRFD with one or two anchors a cell. The five points are the left eye, the right eye, the nose
 * and the left and right corner of the mouth as they lie in the picture. SCRFD files without points give boxes alone.
 * A picture stands in the upper left corner of the frame, black pixels fill the rest. */
#ifndef LK_MODELS_FACE_DETECTOR_H
#define LK_MODELS_FACE_DETECTOR_H

#include "io/image.h"
#include "models/face.h"
#include "models/onnx_graph.h"

#define LK_FACE_LEVELS 3 /* strides 8, 16, 32 */
#define LK_FACE_SIDE 640 /* longest side of a frame, where the file leaves it free */

typedef enum lk_detector_family { LK_DETECTOR_YUNET, LK_DETECTOR_SCRFD } lk_detector_family;

typedef struct lk_face_detector {
    lk_onnx_network network;
    lk_detector_family family;
    bool has_points;
} lk_face_detector;

typedef struct lk_detector_frame {
    int32_t height, width;             /* of the network's input */
    int32_t inner_height, inner_width; /* of the picture in it */
    double scale_x, scale_y;           /* pixels of the input a pixel of the picture */
} lk_detector_frame;

/* One stride's outputs as values of a graph, and as numbers after a run. */
typedef struct lk_detector_outputs {
    lk_value score, object, box, points; /* object: YuNet alone; points: LK_NO_VALUE where the file has none */
    int32_t cells;                       /* rows of each */
} lk_detector_outputs;

typedef struct lk_detector_level {
    const float *score, *object, *box, *points;
    int32_t cells;
} lk_detector_level;

/* weights: the set of the graphs that it is built into. LIKENESS_UNSUPPORTED for a network of another family. */
likeness_status lk_face_detector_open(lk_face_detector *detector, const char *path, const char *label,
                                      lk_weights *weights, lk_error *error);
void lk_face_detector_close(lk_face_detector *detector);

/* The file's own size where it states one; else YuNet sees the picture as it is, SCRFD as large as possible, neither
 * longer than LK_FACE_SIDE. */
likeness_status lk_face_detector_frame(const lk_face_detector *detector, uint32_t width, uint32_t height,
                                       lk_detector_frame *frame, lk_error *error);
/* planes: [3][frame height][frame width]. */
likeness_status lk_face_detector_planes(const lk_face_detector *detector, const lk_image *image,
                                        const lk_detector_frame *frame, float *planes, lk_error *error);
/* input [1,3,H,W]. Failures are kept by the graph. */
void lk_face_detector_build(const lk_face_detector *detector, lk_graph *graph, lk_value input,
                            lk_detector_outputs outputs[LK_FACE_LEVELS]);

/* Faces whose score is at least the threshold, best first, at most LK_FACES_MOST. A number that is none is
 * LIKENESS_NON_FINITE. */
likeness_status lk_face_decode(const lk_face_detector *detector, const lk_detector_level levels[LK_FACE_LEVELS],
                               const lk_detector_frame *frame, double threshold, lk_face faces[LK_FACES_MOST],
                               int *count, lk_error *error);
/* The `most` faces that are large and central (area - 2 distance^2 of the box's centre from the picture's), best first;
 * returns how many are left. Faces that are no more than `most` keep their order. */
int lk_faces_rank(lk_face *faces, int count, uint32_t width, uint32_t height, int most);

#endif
