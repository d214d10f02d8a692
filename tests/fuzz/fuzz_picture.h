/* tests/fuzz/fuzz_picture.h - what the harnesses of the picture formats share. */
#ifndef LK_TESTS_FUZZ_PICTURE_H
#define LK_TESTS_FUZZ_PICTURE_H

#include "fuzz/fuzz.h"

#include "base/text.h"
#include "io/image.h"
#include "io/metadata.h"

static inline void fuzz_check_texts(const lk_image_texts *texts) {
    for (size_t i = 0; i < texts->count; i++) {
        const char *value = texts->items[i].value;
        if (!lk_utf8_valid(value, strlen(value), NULL)) fuzz_fail("the text '%s' is not UTF-8", texts->items[i].key);
        lk_xmp_is_synthetic(value);
    }
}

/* Decodes, and what was decoded must survive being written and read again. */
static inline void fuzz_picture(const uint8_t *data, size_t size) {
    lk_image image, again;
    lk_image_texts texts;
    lk_error error = LK_ERROR_INIT;
    if (fuzz_answer(lk_image_decode(&image, "picture", data, size, &error), &error, LIKENESS_OK)) {
        uint64_t pixels = (uint64_t)image.width * image.height;
        uint8_t *encoded;
        size_t length;
        if (pixels == 0 || pixels > LK_IMAGE_MAX_PIXELS) fuzz_fail("%u x %u pixels", image.width, image.height);
        if (pixels < 4096) {
            fuzz_answer(lk_image_encode_png(&image, NULL, &encoded, &length, &error), &error, LIKENESS_OK);
            fuzz_answer(lk_image_decode(&again, "again", encoded, length, &error), &error, LIKENESS_OK);
            if (error.status != LIKENESS_OK || again.width != image.width || again.height != image.height ||
                memcmp(again.rgb, image.rgb, (size_t)pixels * 3) != 0)
                fuzz_fail("written and read again it is another picture: %s", error.message);
            lk_image_free(&again);
            lk_free(encoded);
        }
        lk_image_free(&image);
    }
    error = (lk_error)LK_ERROR_INIT;
    if (!fuzz_answer(lk_image_decode_texts(&texts, "picture", data, size, &error), &error, LIKENESS_OK)) return;
    fuzz_check_texts(&texts);
    lk_image_texts_free(&texts);
}

#endif
