/* tests/fuzz/fuzz_png.c - PNG pictures. Checksums are made right first, or hardly an input would get past them. */
#include "fuzz/fuzz_picture.h"

#include <stdlib.h>
#include <zlib.h>

const char fuzz_name[] = "png";
const char *const fuzz_words[] = {"IHDR",
                                  "IDAT",
                                  "IEND",
                                  "PLTE",
                                  "tRNS",
                                  "tEXt",
                                  "zTXt",
                                  "iTXt",
                                  "eXIf",
                                  "gAMA",
                                  "sBIT",
                                  "bKGD",
                                  "acTL",
                                  "iCCP",
                                  "cHRM",
                                  "sRGB",
                                  "pHYs",
                                  "parameters",
                                  "XML:com.adobe.xmp",
                                  NULL};

static void repair(uint8_t *data, size_t size) {
    static const uint8_t signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    if (size >= 8) memcpy(data, signature, 8);
    for (size_t at = 8; size - at >= 12 && at < size;) {
        uint32_t length =
            (uint32_t)data[at] << 24 | (uint32_t)data[at + 1] << 16 | (uint32_t)data[at + 2] << 8 | data[at + 3];
        if (length > size - at - 12) return;
        uint32_t sum = (uint32_t)crc32(0, data + at + 4, length + 4);
        for (int i = 0; i < 4; i++)
            data[at + 8 + length + (size_t)i] = (uint8_t)(sum >> (24 - 8 * i));
        at += 12 + length;
    }
}

void fuzz_one(const uint8_t *data, size_t size) {
    uint8_t *copy = malloc(size ? size : 1);
    if (size) memcpy(copy, data, size);
    /* The last byte says whether the file is repaired: damaged sums are a case too. */
    if (size && data[size - 1] != 0x83) repair(copy, size);
    fuzz_picture(copy, size);
    free(copy);
}
