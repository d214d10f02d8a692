/* tests/fuzz/fuzz_exif.c - EXIF data: what is not understood counts as absent. */
#include "fuzz/fuzz_picture.h"

#include "io/image_codec.h"

const char fuzz_name[] = "exif";
const char *const fuzz_words[] = {"Exif",     "II*",      "MM",       "UNICODE",  "ASCII",     "\x12\x01",
                                  "\x01\x12", "\x69\x87", "\x87\x69", "\x92\x86", "\x86\x92",  "Canon",
                                  "Nikon",    "OLYMP",    "FUJIFILM", "PENTAX",   "Apple iOS", NULL};

void fuzz_one(const uint8_t *data, size_t size) {
    lk_image_texts texts = {0};
    lk_error error = LK_ERROR_INIT;
    int orientation = 1;
    if (lk_exif_read(data, size, &orientation, &texts, &error) != LIKENESS_OK) fuzz_fail("%s", error.message);
    if (orientation < 1 || orientation > 8) fuzz_fail("orientation %d", orientation);
    fuzz_check_texts(&texts);
    lk_image_texts_free(&texts);
}
