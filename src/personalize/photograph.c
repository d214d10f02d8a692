/* personalize/photograph.c - see photograph.h. */
#include "personalize/photograph.h"

#include <string.h>

enum { BLOCK = 16 };

/* Neighbours in a row of one block that are equal. */
static uint32_t equal_pairs(const lk_image *image, uint32_t left, uint32_t top, uint32_t width, uint32_t height) {
    uint32_t equal = 0;
    for (uint32_t y = top; y < top + height; y++) {
        const uint8_t *pixel = image->rgb + ((size_t)y * image->width + left) * 3;
        for (uint32_t x = 0; x < width; x++, pixel += 3)
            equal += memcmp(pixel, pixel + 3, 3) == 0;
    }
    return equal;
}

double lk_shaded_share(const lk_image *image) {
    if (image->width < 2 || image->height < 1) return 0;
    uint32_t width = image->width - 1 < BLOCK ? image->width - 1 : BLOCK;
    uint32_t height = image->height < BLOCK ? image->height : BLOCK;
    uint64_t blocks = 0, shaded = 0;
    for (uint32_t y = 0; y + height <= image->height; y += height)
        for (uint32_t x = 0; x + width < image->width; x += width, blocks++)
            shaded += 4 * equal_pairs(image, x, y, width, height) < width * height;
    return (double)shaded / (double)blocks;
}

bool lk_looks_like_photograph(const lk_image *image) { return lk_shaded_share(image) > 0.2; }
