/* io/image.c - pictures whatever their format: kinds, limits, rotation, the list of texts. See image.h. */
#include "io/image.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "io/image_codec.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

likeness_status lk_image_check_size(const char *name, uint64_t width, uint64_t height, lk_error *error) {
    if (width == 0 || height == 0)
        return lk_fail(error, LIKENESS_BAD_FILE, "%s: the picture has no pixels (%llu x %llu)", name,
                       (unsigned long long)width, (unsigned long long)height);
    if (width > LK_IMAGE_MAX_PIXELS || height > LK_IMAGE_MAX_PIXELS || width * height > LK_IMAGE_MAX_PIXELS)
        return lk_fail(
            error, LIKENESS_BAD_FILE,
            "%s: the picture has %llu x %llu pixels, more than the 64 megapixels that are accepted; scale it "
            "down first",
            name, (unsigned long long)width, (unsigned long long)height);
    return LIKENESS_OK;
}

likeness_status lk_image_create(lk_image *image, uint32_t width, uint32_t height, lk_error *error) {
    memset(image, 0, sizeof *image);
    LK_TRY(lk_image_check_size("new picture", width, height, error));
    image->rgb = lk_alloc((size_t)width * height, 3);
    if (!image->rgb)
        return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for a picture of %u x %u pixels", (unsigned)width,
                       (unsigned)height);
    image->width = width;
    image->height = height;
    return LIKENESS_OK;
}

void lk_image_free(lk_image *image) {
    lk_free(image->rgb);
    memset(image, 0, sizeof *image);
}

/* ---- rotation ---- */

/* EXIF says how to turn the stored picture (w x h) for showing: 2 mirrored, 3 by 180 degrees, 4 upside down, 5 to 8
 * with rows and columns exchanged (6: clockwise by 90 degrees, 8: the other way). Output pixels look up where they come
 * from. */
static likeness_status apply_orientation(lk_image *image, int orientation, lk_error *error) {
    if (orientation <= 1 || orientation > 8) return LIKENESS_OK;
    bool transposed = orientation >= 5;
    bool flip_x = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    bool flip_y = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    uint32_t w = image->width, h = image->height;
    lk_image turned;
    LK_TRY(lk_image_create(&turned, transposed ? h : w, transposed ? w : h, error));
    uint8_t *out = turned.rgb;
    for (uint32_t y = 0; y < turned.height; y++)
        for (uint32_t x = 0; x < turned.width; x++, out += 3) {
            uint32_t sx = transposed ? y : x, sy = transposed ? x : y;
            if (flip_x) sx = w - 1 - sx;
            if (flip_y) sy = h - 1 - sy;
            memcpy(out, image->rgb + ((size_t)sy * w + sx) * 3, 3);
        }
    lk_image_free(image);
    *image = turned;
    return LIKENESS_OK;
}

/* ---- reading ---- */

/* What the first bytes look like, for the message that refuses it. */
static const char *other_kind(const uint8_t *data, size_t size) {
    if (size >= 12 && memcmp(data, "RIFF", 4) == 0 && memcmp(data + 8, "WEBP", 4) == 0) return "a WebP picture";
    if (size >= 12 && memcmp(data + 4, "ftyp", 4) == 0) return "a HEIC or AVIF picture or a video";
    if (size >= 4 && memcmp(data, "GIF8", 4) == 0) return "a GIF picture";
    if (size >= 2 && memcmp(data, "BM", 2) == 0) return "a BMP picture";
    if (size >= 4 && (memcmp(data, "II*\0", 4) == 0 || memcmp(data, "MM\0*", 4) == 0)) return "a TIFF picture";
    if (size >= 4 && memcmp(data, "%PDF", 4) == 0) return "a PDF document";
    return "no picture";
}

static likeness_status decode(lk_image *image, lk_image_texts *texts, int *orientation, const char *name,
                              const uint8_t *data, size_t size, lk_error *error) {
    static const uint8_t png_signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    *orientation = 1;
    if (size == 0) return lk_fail(error, LIKENESS_BAD_FILE, "%s: the file is empty", name);
    if (size >= 8 && memcmp(data, png_signature, 8) == 0)
        return lk_png_decode(image, texts, orientation, name, data, size, error);
    if (size >= 3 && data[0] == 0xff && data[1] == 0xd8 && data[2] == 0xff)
        return lk_jpeg_decode(image, texts, orientation, name, data, size, error);
    return lk_fail(error, LIKENESS_BAD_FILE, "%s: this is %s; PNG and JPEG pictures can be read", name,
                   other_kind(data, size));
}

likeness_status lk_image_decode(lk_image *image, const char *name, const uint8_t *data, size_t size, lk_error *error) {
    int orientation;
    memset(image, 0, sizeof *image);
    LK_TRY(decode(image, NULL, &orientation, name, data, size, error));
    if (apply_orientation(image, orientation, error) != LIKENESS_OK) lk_image_free(image);
    return error->status;
}

likeness_status lk_image_read(lk_image *image, const char *path, lk_error *error) {
    uint8_t *data;
    size_t size;
    memset(image, 0, sizeof *image);
    LK_TRY(lk_file_read(path, LK_IMAGE_MAX_FILE, &data, &size, error));
    lk_image_decode(image, path, data, size, error);
    lk_free(data);
    return error->status;
}

likeness_status lk_image_decode_texts(lk_image_texts *texts, const char *name, const uint8_t *data, size_t size,
                                      lk_error *error) {
    int orientation;
    memset(texts, 0, sizeof *texts);
    if (decode(NULL, texts, &orientation, name, data, size, error) != LIKENESS_OK) lk_image_texts_free(texts);
    return error->status;
}

likeness_status lk_image_read_texts(lk_image_texts *texts, const char *path, lk_error *error) {
    uint8_t *data;
    size_t size;
    memset(texts, 0, sizeof *texts);
    LK_TRY(lk_file_read(path, LK_IMAGE_MAX_FILE, &data, &size, error));
    lk_image_decode_texts(texts, path, data, size, error);
    lk_free(data);
    return error->status;
}

/* ---- texts ---- */

likeness_status lk_image_texts_add(lk_image_texts *texts, const char *key, const char *value, lk_error *error) {
    if (texts->count == texts->capacity) {
        size_t capacity = texts->capacity ? texts->capacity * 2 : 4;
        lk_image_text *grown = lk_realloc(texts->items, capacity, sizeof *grown);
        if (!grown) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for the picture's text '%.79s'", key);
        texts->items = grown;
        texts->capacity = capacity;
    }
    lk_image_text item = {lk_strdup(key), lk_strdup(value)};
    if (!item.key || !item.value) {
        lk_free(item.key);
        lk_free(item.value);
        return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for the picture's text '%.79s'", key);
    }
    texts->items[texts->count++] = item;
    return LIKENESS_OK;
}

likeness_status lk_image_texts_add_bytes(lk_image_texts *texts, const char *key, const char *bytes, size_t length,
                                         lk_error *error) {
    lk_text value = LK_TEXT_INIT;
    if (lk_utf8_valid(bytes, length, NULL)) {
        lk_text_append(&value, bytes, length);
    } else {
        for (size_t i = 0; i < length && bytes[i]; i++) {
            char encoded[4];
            lk_text_append(&value, encoded, lk_utf8_encode((uint8_t)bytes[i], encoded));
        }
    }
    if (value.failed)
        lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for the picture's text '%.79s'", key);
    else
        lk_image_texts_add(texts, key, lk_text_get(&value), error);
    lk_text_free(&value);
    return error->status;
}

const char *lk_image_texts_find(const lk_image_texts *texts, const char *key) {
    for (size_t i = 0; i < texts->count; i++)
        if (strcmp(texts->items[i].key, key) == 0) return texts->items[i].value;
    return NULL;
}

void lk_image_texts_free(lk_image_texts *texts) {
    for (size_t i = 0; i < texts->count; i++) {
        lk_free(texts->items[i].key);
        lk_free(texts->items[i].value);
    }
    lk_free(texts->items);
    memset(texts, 0, sizeof *texts);
}

/* ---- writing ---- */

likeness_status lk_image_write_png(const lk_image *image, const lk_image_texts *texts, const char *path,
                                   lk_error *error) {
    uint8_t *data;
    size_t size;
    LK_TRY(lk_image_encode_png(image, texts, &data, &size, error));
    lk_file_write(path, data, size, error);
    lk_free(data);
    return error->status;
}
