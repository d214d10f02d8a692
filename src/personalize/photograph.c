/* personalize/photograph.c - see photograph.h. */
#include "personalize/photograph.h"

#include <string.h>

enum { BLOCK = 16, LEAST_SIDE = 32 };

/* Neighbours in a row of one block that are equal. */
static uint32_t equal_pairs(const lk_image *image, uint32_t left, uint32_t top) {
    uint32_t equal = 0;
    for (uint32_t y = top; y < top + BLOCK; y++) {
        const uint8_t *pixel = image->rgb + ((size_t)y * image->width + left) * 3;
        for (uint32_t x = 0; x < BLOCK; x++, pixel += 3)
            equal += memcmp(pixel, pixel + 3, 3) == 0;
    }
    return equal;
}

double lk_shaded_share(const lk_image *image) {
    uint64_t blocks = 0, shaded = 0;
    for (uint32_t y = 0; y + BLOCK <= image->height; y += BLOCK)
        for (uint32_t x = 0; x + BLOCK < image->width; x += BLOCK, blocks++)
            shaded += 4 * equal_pairs(image, x, y) < BLOCK * BLOCK;
    return blocks > 0 ? (double)shaded / (double)blocks : 0;
}

bool lk_looks_like_photograph(const lk_image *image) {
    return image->width >= LEAST_SIDE && image->height >= LEAST_SIDE && lk_shaded_share(image) > 0.2;
}
