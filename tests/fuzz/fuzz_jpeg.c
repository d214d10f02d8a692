/* tests/fuzz/fuzz_jpeg.c - JPEG pictures. */
#include "fuzz/fuzz_picture.h"

const char fuzz_name[] = "jpeg";
const char *const fuzz_words[] = {"\xff\xd8", "\xff\xc0", "\xff\xc1", "\xff\xc2",     "\xff\xc4",
                                  "\xff\xda", "\xff\xdb", "\xff\xdd", "\xff\xd9",     "\xff\xd0",
                                  "\xff\xe0", "\xff\xe1", "\xff\xee", "\xff\xc9",     "\xff\xcc",
                                  "Exif",     "Adobe",    "JFIF",     "\xff\xda\x08", NULL};

void fuzz_one(const uint8_t *data, size_t size) { fuzz_picture(data, size); }
