/* personalize/face_align.h - where in a picture a crop comes from, and the crop itself on the CPU.
 *
 * Everything ends in a theta, six numbers that take a pixel (ox, oy) of the crop to a place in the picture, centres of
 * pixels being whole numbers (op AFFINE_WARP, tensor/op.h):
 *     x = theta[0] ox + theta[1] oy + theta[2],   y = theta[3] ox + theta[4] oy + theta[5]
 * A theta is a constant of the backward pass.
 *
 *   face   the least-squares similarity (turn, scale, shift, no mirror) that takes the five points to the places they
 *          have in the pictures that ArcFace-type encoders were trained on
 *   box    the box, stretched to a square
 *
 * A crop may be sampled `fine` times as densely a side and averaged, so that a large face is not reduced to single
 * pixels. */
#ifndef LK_PERSONALIZE_FACE_ALIGN_H
#define LK_PERSONALIZE_FACE_ALIGN_H

#include "io/image.h"
#include "models/face.h"

/* u = a x - b y + tx, v = b x + a y + ty */
typedef struct lk_similarity {
    double a, b, tx, ty;
} lk_similarity;

/* Takes `from` to `to` with the least sum of squares (Umeyama); false when `from` is a single place. */
bool lk_similarity_fit(const double (*from)[2], const double (*to)[2], int count, lk_similarity *m);
/* The five points in a crop of side x side pixels: those of 112 x 112, scaled. */
void lk_face_template(int side, double points[LK_FACE_POINTS][2]);

/* false where the points lie on one place or are no numbers: no alignment. */
bool lk_face_theta(const lk_face *face, int side, double theta[6]);
void lk_box_theta(double left, double top, double right, double bottom, int side, double theta[6]);
/* The same crop with `fine` samples a pixel and side. */
void lk_theta_refine(double theta[6], int fine);
/* Samples that a crop needs so that no pixel of the picture is skipped, at most 16. */
int lk_theta_fineness(const double theta[6]);

/* planes [3][side][side], 0..1; places outside the picture are black, as the op has it. */
void lk_crop_picture(const lk_image *image, const double theta[6], int side, int fine, float *planes);

#endif
