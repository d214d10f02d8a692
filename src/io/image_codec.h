/* io/image_codec.h - between image.c and the codecs; nobody else includes it. */
#ifndef LK_IO_IMAGE_CODEC_H
#define LK_IO_IMAGE_CODEC_H

#include "io/image.h"

#include <stdbool.h>

/* Refuses what is too large or empty, with the picture's name. */
likeness_status lk_image_check_size(const char *name, uint64_t width, uint64_t height, lk_error *error);

/* The whole file is decoded; EXIF rotation is left to the caller. Either of `image` and `texts` may be NULL.
 * `orientation` gets 1 to 8. On failure nothing is kept in *image; texts may hold a part. */
likeness_status lk_png_decode(lk_image *image, lk_image_texts *texts, int *orientation, const char *name,
                              const uint8_t *data, size_t size, lk_error *error);
likeness_status lk_jpeg_decode(lk_image *image, lk_image_texts *texts, int *orientation, const char *name,
                               const uint8_t *data, size_t size, lk_error *error);

/* EXIF bytes that begin with "Exif\0\0". What cannot be understood counts as absent; only memory can fail. `texts` may
 * be NULL, else a user comment is added to it as "parameters". */
likeness_status lk_exif_read(const uint8_t *data, size_t size, int *orientation, lk_image_texts *texts,
                             lk_error *error);

/* Adds Latin-1 or UTF-8 bytes (recognised by validity) as UTF-8. */
likeness_status lk_image_texts_add_bytes(lk_image_texts *texts, const char *key, const char *bytes, size_t length,
                                         lk_error *error);

#endif
