/* models/face.h - a face that was found in a picture. */
#ifndef LK_MODELS_FACE_H
#define LK_MODELS_FACE_H

#include <stdbool.h>

#define LK_FACE_POINTS 5
#define LK_FACES_MOST 64 /* that one picture gives */

/* The points are the left eye, the right eye, the nose and the left and right corner of the mouth as they lie in the
 * picture. */
typedef struct lk_face {
    double left, top, right, bottom; /* pixels; edges, not centres of pixels */
    double score;
    bool has_points;
    double points[LK_FACE_POINTS][2]; /* (0, 0) is the centre of the first pixel */
} lk_face;

#endif
