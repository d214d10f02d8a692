/* io/image_exif.c - the two facts that matter in a picture's EXIF data, through libexif: how the camera was held, and
 * the user comment, where AUTOMATIC1111 keeps its settings in JPEG files. */
#include "io/image_codec.h"

#include "base/memory.h"
#include "base/text.h"

#include <libexif/exif-data.h>
#include <string.h>

/* libexif's hooks have no context and it does not report a failed allocation: remember it per thread. */
static _Thread_local bool starved;

static void *exif_alloc(ExifLong size) {
    void *memory = lk_alloc(size ? size : 1, 1);
    if (!memory) starved = true;
    return memory;
}

static void *exif_realloc(void *memory, ExifLong size) {
    void *grown = lk_realloc(memory, size ? size : 1, 1);
    if (!grown) starved = true;
    return grown;
}

static void exif_release(void *memory) { lk_free(memory); }

/* UTF-16 in either byte order (programs disagree): zero bytes in front mean big endian. */
static void add_utf16(lk_text *text, const uint8_t *bytes, size_t size) {
    size_t zeros[2] = {0, 0};
    for (size_t i = 0; i + 1 < size; i += 2) {
        zeros[0] += bytes[i] == 0;
        zeros[1] += bytes[i + 1] == 0;
    }
    int big = zeros[0] >= zeros[1];
    for (size_t i = 0; i + 1 < size; i += 2) {
        int32_t unit = big ? bytes[i] << 8 | bytes[i + 1] : bytes[i + 1] << 8 | bytes[i];
        if (unit >= 0xd800 && unit < 0xdc00 && i + 3 < size) {
            int32_t low = big ? bytes[i + 2] << 8 | bytes[i + 3] : bytes[i + 3] << 8 | bytes[i + 2];
            if (low >= 0xdc00 && low < 0xe000) {
                unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                i += 2;
            }
        }
        if (unit == 0) continue;
        if (unit >= 0xd800 && unit < 0xe000) unit = 0xfffd;
        char encoded[4];
        lk_text_append(text, encoded, lk_utf8_encode(unit, encoded));
    }
}

static likeness_status add_comment(const ExifEntry *entry, lk_image_texts *texts, lk_error *error) {
    if (!entry->data || entry->size <= 8) return LIKENESS_OK;
    const uint8_t *body = entry->data + 8;
    size_t size = entry->size - 8;
    if (memcmp(entry->data, "UNICODE", 8) != 0) {
        while (size && (body[size - 1] == 0 || body[size - 1] == ' '))
            size--;
        return lk_image_texts_add_bytes(texts, "parameters", (const char *)body, size, error);
    }
    lk_text text = LK_TEXT_INIT;
    add_utf16(&text, body, size);
    if (text.failed)
        lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for the picture's EXIF comment");
    else
        lk_image_texts_add(texts, "parameters", lk_text_get(&text), error);
    lk_text_free(&text);
    return error->status;
}

likeness_status lk_exif_read(const uint8_t *data, size_t size, int *orientation, lk_image_texts *texts,
                             lk_error *error) {
    starved = false;
    ExifMem *memory = exif_mem_new(exif_alloc, exif_realloc, exif_release);
    ExifData *exif = memory && !starved ? exif_data_new_mem(memory) : NULL;
    if (exif && !starved) {
        exif_data_unset_option(exif, EXIF_DATA_OPTION_FOLLOW_SPECIFICATION); /* no repairs: only look */
        exif_data_load_data(exif, data, (unsigned)size);
        ExifEntry *turn = exif_content_get_entry(exif->ifd[EXIF_IFD_0], EXIF_TAG_ORIENTATION);
        if (turn && turn->data && turn->format == EXIF_FORMAT_SHORT && turn->components == 1 && turn->size >= 2) {
            int value = exif_get_short(turn->data, exif_data_get_byte_order(exif));
            if (value >= 1 && value <= 8) *orientation = value;
        }
        ExifEntry *comment = exif_content_get_entry(exif->ifd[EXIF_IFD_EXIF], EXIF_TAG_USER_COMMENT);
        if (comment && texts && !starved) add_comment(comment, texts, error);
    }
    if (exif) exif_data_unref(exif);
    if (memory) exif_mem_unref(memory);
    if (starved) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for the picture's EXIF data");
    return error->status;
}
