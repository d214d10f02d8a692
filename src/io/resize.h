/* io/resize.h - scaling pictures on the CPU, as Pillow does it.
 *
 * Planes are float [channels][height][width]. Each output pixel is a weighted mean of the input around its centre; when
 * shrinking, the filter is widened by the scale, so that nothing is skipped. Weights are made in double and normalised,
 * first all rows are filtered, then all columns. */
#ifndef LK_IO_RESIZE_H
#define LK_IO_RESIZE_H

#include "base/error.h"
#include "io/image.h"

typedef enum lk_filter {
    LK_FILTER_AREA,     /* box: the mean of what lies under the pixel */
    LK_FILTER_BILINEAR, /* triangle of half-width 1 */
    LK_FILTER_BICUBIC,  /* Keys with a = -1/2, half-width 2 */
    LK_FILTER_LANCZOS   /* three lobes */
} lk_filter;

/* The part of the source that is shown, in source pixels; may have fractions. */
typedef struct lk_box {
    double left, top, right, bottom;
} lk_box;

/* Scales the box (NULL: everything) to out_width x out_height. */
likeness_status lk_resize(const float *planes, uint32_t channels, uint32_t width, uint32_t height, const lk_box *box,
                          lk_filter filter, float *out, uint32_t out_width, uint32_t out_height, lk_error *error);

/* planes = rgb / 255 and back (clamped, rounded to nearest). */
void lk_image_to_planes(const lk_image *image, float *planes);
likeness_status lk_image_from_planes(lk_image *image, const float *planes, uint32_t width, uint32_t height,
                                     lk_error *error);

typedef enum lk_fit {
    LK_FIT_STRETCH,  /* all of the picture, its proportions changed */
    LK_FIT_CROP,     /* the largest centred part of the wanted proportions */
    LK_FIT_LETTERBOX /* all of it, centred, white around it */
} lk_fit;

/* The picture as planes [3][height][width] with values 0 to 1; `out` is the caller's. */
likeness_status lk_image_fit(const lk_image *image, lk_fit fit, lk_filter filter, float *out, uint32_t width,
                             uint32_t height, lk_error *error);

#endif
