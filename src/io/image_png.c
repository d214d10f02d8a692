/* io/image_png.c - PNG through libpng; see image.h.
 *
 * libpng leaves through longjmp: everything that must survive the jump lives in a png_job that the caller of the
 * function with the setjmp owns, never in that function's own variables. libpng's memory comes from lk_alloc. */
#include "io/image_codec.h"

#include "base/memory.h"
#include "base/text.h"

#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

typedef struct png_job {
    png_structp png;
    png_infop info;
    jmp_buf jump;
    char message[200];
    bool out_of_memory;
    /* reading */
    const uint8_t *data;
    size_t size, at;
    uint8_t *pixels; /* RGB or RGBA */
    png_bytep *rows;
    png_uint_32 width, height;
    bool alpha;
    /* writing */
    lk_text output;
    char **latin1; /* converted values of tEXt chunks, one per text */
    size_t latin1_count;
} png_job;

static png_voidp job_alloc(png_structp png, png_alloc_size_t size) {
    png_job *job = png_get_mem_ptr(png);
    void *memory = lk_alloc(size, 1);
    if (!memory) job->out_of_memory = true;
    return memory;
}

static void job_release(png_structp png, png_voidp memory) {
    (void)png;
    lk_free(memory);
}

static PNG_FUNCTION(void, job_error, (png_structp png, png_const_charp message), PNG_NORETURN) {
    png_job *job = png_get_error_ptr(png);
    snprintf(job->message, sizeof job->message, "%s", message);
    longjmp(job->jump, 1);
}

static void job_warning(png_structp png, png_const_charp message) {
    (void)png;
    (void)message;
}

static likeness_status job_failed(const png_job *job, const char *name, const char *what, lk_error *error) {
    if (job->out_of_memory) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to %s '%s'", what, name);
    return lk_fail(error, LIKENESS_BAD_FILE, "%s: damaged PNG picture (%s)", name, job->message);
}

/* ---- reading ---- */

static void job_read(png_structp png, png_bytep out, size_t wanted) {
    png_job *job = png_get_io_ptr(png);
    if (wanted > job->size - job->at) png_error(png, "it ends too early");
    memcpy(out, job->data + job->at, wanted);
    job->at += wanted;
}

/* Runs to the end of the file. The only function that libpng jumps back into while reading. */
static bool read_all(png_job *job) {
    if (setjmp(job->jump)) return false;
    job->png =
        png_create_read_struct_2(PNG_LIBPNG_VER_STRING, job, job_error, job_warning, job, job_alloc, job_release);
    if (job->png) job->info = png_create_info_struct(job->png);
    if (!job->info) {
        job->out_of_memory = true;
        return false;
    }
    png_structp png = job->png;
    png_infop info = job->info;
    png_set_read_fn(png, job, job_read);
    png_set_user_limits(png, 64000000, 64000000);
    png_set_chunk_malloc_max(png, 16 << 20);
    png_set_chunk_cache_max(png, 1000);
    png_read_info(png, info);
    job->width = png_get_image_width(png, info);
    job->height = png_get_image_height(png, info);
    png_set_palette_to_rgb(png);
    png_set_expand_gray_1_2_4_to_8(png);
    if (png_get_valid(png, info, PNG_INFO_tRNS)) png_set_tRNS_to_alpha(png);
    png_set_scale_16(png);
    png_set_gray_to_rgb(png);
    png_set_interlace_handling(png);
    png_read_update_info(png, info);
    size_t channels = png_get_channels(png, info);
    if ((channels != 3 && channels != 4) || png_get_bit_depth(png, info) != 8) png_error(png, "unusual kind of pixels");
    job->alpha = channels == 4;
    job->pixels = lk_alloc((size_t)job->width * job->height, channels);
    job->rows = lk_alloc(job->height, sizeof *job->rows);
    if (!job->pixels || !job->rows) {
        job->out_of_memory = true;
        return false;
    }
    for (png_uint_32 y = 0; y < job->height; y++)
        job->rows[y] = job->pixels + (size_t)y * job->width * channels;
    png_read_image(png, job->rows);
    png_read_end(png, info);
    return !job->out_of_memory; /* libpng drops a text chunk that it has no memory for: that is a failure here */
}

static void over_white(png_job *job) {
    uint8_t *out = job->pixels;
    const uint8_t *in = job->pixels;
    for (size_t i = (size_t)job->width * job->height; i; i--, in += 4)
        for (int c = 0; c < 3; c++)
            *out++ = (uint8_t)((in[c] * in[3] + 255 * (255 - in[3]) + 127) / 255);
}

static likeness_status collect(png_job *job, lk_image_texts *texts, int *orientation, lk_error *error) {
#ifdef PNG_eXIf_SUPPORTED
    png_bytep exif = NULL;
    png_uint_32 exif_size = 0;
    if (png_get_eXIf_1(job->png, job->info, &exif_size, &exif) && exif_size < 1 << 24) {
        uint8_t *headed = lk_alloc((size_t)exif_size + 6, 1);
        if (!headed) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for the picture's EXIF data");
        memcpy(headed, "Exif\0", 6);
        memcpy(headed + 6, exif, exif_size);
        lk_exif_read(headed, (size_t)exif_size + 6, orientation, NULL, error);
        lk_free(headed);
        LK_TRY(error->status);
    }
#endif
    png_textp items = NULL;
    int count = 0;
    if (texts) png_get_text(job->png, job->info, &items, &count);
    for (int i = 0; i < count; i++) {
        size_t length = items[i].compression > 0 ? items[i].itxt_length : items[i].text_length;
        LK_TRY(lk_image_texts_add_bytes(texts, items[i].key, items[i].text ? items[i].text : "",
                                        items[i].text ? length : 0, error));
    }
    return LIKENESS_OK;
}

static uint32_t big_endian(const uint8_t *b) {
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

/* Length, kind, data and sum of every chunk must lie inside the file: libpng makes room for what a chunk claims (up to
 * 2 GiB, zeroed) before it reads. */
static likeness_status check_chunks(const char *name, const uint8_t *data, size_t size, lk_error *error) {
    for (size_t at = 8; at < size;) {
        uint32_t length = size - at < 12 ? UINT32_MAX : big_endian(data + at);
        if (size - at < 12 || length > size - at - 12)
            return lk_fail(error, LIKENESS_BAD_FILE,
                           "%s: damaged PNG picture (the chunk at byte %zu does not end inside the file; is it cut?)",
                           name, at);
        if (memcmp(data + at + 4, "IEND", 4) == 0) break;
        at += 12 + (size_t)length;
    }
    return LIKENESS_OK;
}

likeness_status lk_png_decode(lk_image *image, lk_image_texts *texts, int *orientation, const char *name,
                              const uint8_t *data, size_t size, lk_error *error) {
    /* 8 signature, 4 length, "IHDR", width, height: looked at before libpng allocates anything */
    if (size < 33 || memcmp(data + 12, "IHDR", 4) != 0)
        return lk_fail(error, LIKENESS_BAD_FILE, "%s: damaged PNG picture (it has no complete header)", name);
    LK_TRY(lk_image_check_size(name, big_endian(data + 16), big_endian(data + 20), error));
    LK_TRY(check_chunks(name, data, size, error));
    png_job job = {.data = data, .size = size};
    if (!read_all(&job)) {
        job_failed(&job, name, "read", error);
    } else if (collect(&job, texts, orientation, error) == LIKENESS_OK && image) {
        if (job.alpha) over_white(&job);
        image->width = job.width;
        image->height = job.height;
        image->rgb = job.pixels;
        job.pixels = NULL;
    }
    png_destroy_read_struct(job.png ? &job.png : NULL, job.info ? &job.info : NULL, NULL);
    lk_free(job.pixels);
    lk_free(job.rows);
    return error->status;
}

/* ---- writing ---- */

static void job_write(png_structp png, png_bytep bytes, size_t size) {
    png_job *job = png_get_io_ptr(png);
    lk_text_append(&job->output, (const char *)bytes, size);
    if (job->output.failed) {
        job->out_of_memory = true;
        png_error(png, "no memory");
    }
}

static void job_flush(png_structp png) { (void)png; }

/* The Latin-1 form of a UTF-8 text, or NULL with *fits false where tEXt cannot hold it. */
static char *to_latin1(const char *text, bool *fits) {
    size_t length = strlen(text), used;
    char *out = lk_alloc(length + 1, 1);
    *fits = true;
    for (size_t i = 0, o = 0; out && i < length; i += used) {
        int32_t c = lk_utf8_decode((const uint8_t *)text + i, length - i, &used);
        if (c != '\n' && (c < 32 || (c > 126 && c < 161) || c > 255)) {
            *fits = false;
            lk_free(out);
            return NULL;
        }
        out[o++] = (char)c;
    }
    return out;
}

static bool write_all(png_job *job, const lk_image *image, const lk_image_texts *texts) {
    if (setjmp(job->jump)) return false;
    job->png =
        png_create_write_struct_2(PNG_LIBPNG_VER_STRING, job, job_error, job_warning, job, job_alloc, job_release);
    if (job->png) job->info = png_create_info_struct(job->png);
    if (!job->info) {
        job->out_of_memory = true;
        return false;
    }
    png_structp png = job->png;
    png_set_write_fn(png, job, job_write, job_flush);
    png_set_compression_level(png, 6);
    png_set_IHDR(png, job->info, image->width, image->height, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    for (size_t i = 0; texts && i < texts->count; i++) {
        bool fits;
        char *key = texts->items[i].key, *value = texts->items[i].value;
        char *latin1 = job->latin1[i] = to_latin1(value, &fits);
        if (fits && !latin1) {
            job->out_of_memory = true;
            return false;
        }
        png_text item;
        memset(&item, 0, sizeof item);
        bool plain = fits && strcmp(key, "XML:com.adobe.xmp") != 0;
        static char none[1] = "";
        item.compression = plain ? PNG_TEXT_COMPRESSION_NONE : PNG_ITXT_COMPRESSION_NONE;
        item.key = key;
        item.text = plain ? latin1 : value;
        item.lang = none;
        item.lang_key = none;
        png_set_text(png, job->info, &item, 1);
    }
    png_write_info(png, job->info);
    for (uint32_t y = 0; y < image->height; y++)
        png_write_row(png, image->rgb + (size_t)y * image->width * 3);
    png_write_end(png, NULL);
    return !job->out_of_memory;
}

likeness_status lk_image_encode_png(const lk_image *image, const lk_image_texts *texts, uint8_t **data, size_t *size,
                                    lk_error *error) {
    *data = NULL;
    *size = 0;
    LK_TRY(lk_image_check_size("picture to write", image->width, image->height, error));
    png_job job = {.output = LK_TEXT_INIT};
    if (texts && texts->count) {
        job.latin1_count = texts->count;
        job.latin1 = lk_alloc(texts->count, sizeof *job.latin1);
        if (!job.latin1) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to write the picture");
    }
    bool written = write_all(&job, image, texts);
    png_destroy_write_struct(job.png ? &job.png : NULL, job.info ? &job.info : NULL);
    for (size_t i = 0; i < job.latin1_count; i++)
        lk_free(job.latin1[i]);
    lk_free(job.latin1);
    if (!written) {
        lk_text_free(&job.output);
        if (job.out_of_memory) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to write the picture");
        return lk_fail(error, LIKENESS_INTERNAL, "libpng cannot write the picture: %s", job.message);
    }
    *data = (uint8_t *)job.output.data;
    *size = job.output.length;
    return LIKENESS_OK;
}
