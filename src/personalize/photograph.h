/* personalize/photograph.h - does a picture look like a photograph? Then somebody's consent is asked for.
 *
 * Flat colours make a drawing: in most places neighbouring pixels are equal, to the last bit. A photograph has noise
 * and shading everywhere. Counted are the blocks of 16 x 16 pixels in which fewer than a quarter of the neighbours in a
 * row are equal; a picture with more than a fifth of such blocks is taken for a photograph, also one of a head that was
 * cut out on white. A drawing that was saved as JPEG is often taken for one too: asking too often is the better
 * mistake. A picture of less than 32 pixels a side shows nobody. Nothing about the person is looked at. */
#ifndef LK_PERSONALIZE_PHOTOGRAPH_H
#define LK_PERSONALIZE_PHOTOGRAPH_H

#include "io/image.h"

#include <stdbool.h>

/* Share of blocks with shading or noise, 0..1. */
double lk_shaded_share(const lk_image *image);
bool lk_looks_like_photograph(const lk_image *image);

#endif
