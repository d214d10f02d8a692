/* io/image.h - pictures: read PNG and JPEG, write PNG with text inside.
 *
 * What comes out is always 8-bit RGB, rows top to bottom, as a viewer would show it: palettes and grey are expanded,
 * 16 bits rounded to 8, what is transparent stands on white, EXIF rotation is applied, CMYK is converted. The kind of a
 * file is decided by its first bytes, never by its name. A header that claims more than 64 megapixels is refused before
 * anything of that size is allocated. Colour profiles and gamma chunks are ignored. */
#ifndef LK_IO_IMAGE_H
#define LK_IO_IMAGE_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

#define LK_IMAGE_MAX_PIXELS ((uint64_t)64 * 1000 * 1000)
#define LK_IMAGE_MAX_FILE ((size_t)512 << 20)

typedef struct lk_image {
    uint32_t width, height;
    uint8_t *rgb; /* width * height * 3 */
} lk_image;

likeness_status lk_image_create(lk_image *image, uint32_t width, uint32_t height, lk_error *error); /* black */
void lk_image_free(lk_image *image);

likeness_status lk_image_read(lk_image *image, const char *path, lk_error *error);
/* `name` is for messages. */
likeness_status lk_image_decode(lk_image *image, const char *name, const uint8_t *data, size_t size, lk_error *error);

/* ---- text inside a PNG ---- */

typedef struct lk_image_text {
    char *key;   /* 1 to 79 characters of Latin-1; the key is ASCII here */
    char *value; /* UTF-8 */
} lk_image_text;

typedef struct lk_image_texts {
    lk_image_text *items;
    size_t count, capacity;
} lk_image_texts;

likeness_status lk_image_texts_add(lk_image_texts *texts, const char *key, const char *value, lk_error *error);
const char *lk_image_texts_find(const lk_image_texts *texts, const char *key); /* NULL when absent */
void lk_image_texts_free(lk_image_texts *texts);

/* The text chunks of a PNG file (tEXt, zTXt, iTXt; raw UTF-8 in tEXt, which some programs write, is recognised), and of
 * a JPEG file the EXIF user comment as "parameters". A picture without any gives an empty list. */
likeness_status lk_image_read_texts(lk_image_texts *texts, const char *path, lk_error *error);
likeness_status lk_image_decode_texts(lk_image_texts *texts, const char *name, const uint8_t *data, size_t size,
                                      lk_error *error);

/* PNG, 8-bit RGB, no time and no other chunk than the given texts (`texts` may be NULL): the same picture and texts
 * give the same bytes. A text that is Latin-1 becomes tEXt, any other one iTXt; the key "XML:com.adobe.xmp" always
 * iTXt. */
likeness_status lk_image_write_png(const lk_image *image, const lk_image_texts *texts, const char *path,
                                   lk_error *error);
/* The file's bytes, in memory of lk_alloc. */
likeness_status lk_image_encode_png(const lk_image *image, const lk_image_texts *texts, uint8_t **data, size_t *size,
                                    lk_error *error);

#endif
