/* io/image_jpeg.c - JPEG through libjpeg-turbo; see image.h.
 *
 * As with libpng, errors arrive by longjmp, and what must survive lives in the jpeg_job of the calling function.
 * libjpeg's own memory manager takes memory from the C library; it reports a shortage as an error like any other. */
#include "io/image_codec.h"

#include "base/memory.h"

#include <stdio.h>
#include <jpeglib.h>
#include <jerror.h>
#include <setjmp.h>
#include <string.h>

enum { MAX_SCANS = 200 }; /* a small progressive file can claim millions, each costing a pass over all pixels */

typedef struct jpeg_job {
    struct jpeg_error_mgr errors; /* first: libjpeg hands back its address */
    struct jpeg_progress_mgr progress;
    struct jpeg_decompress_struct decoder;
    bool created;
    jmp_buf jump;
    char message[JMSG_LENGTH_MAX];
    bool out_of_memory;
    const char *name;
    lk_error *error;
    uint8_t *pixels, *row; /* RGB; one row as decoded, for CMYK */
    uint32_t width, height;
} jpeg_job;

static void job_error(j_common_ptr decoder) {
    jpeg_job *job = (jpeg_job *)decoder->err;
    decoder->err->format_message(decoder, job->message);
    if (decoder->err->msg_code == JERR_OUT_OF_MEMORY) job->out_of_memory = true;
    longjmp(job->jump, 1);
}

/* libjpeg fills what is missing at the end with grey and only warns: a cut picture is refused here. */
static void job_message(j_common_ptr decoder, int level) {
    int code = decoder->err->msg_code;
    if (level < 0 && (code == JWRN_JPEG_EOF || code == JWRN_HIT_MARKER)) job_error(decoder);
}

static void job_progress(j_common_ptr decoder) {
    jpeg_job *job = (jpeg_job *)decoder->err;
    if (((j_decompress_ptr)decoder)->input_scan_number <= MAX_SCANS) return;
    snprintf(job->message, sizeof job->message, "more than %d scans", MAX_SCANS);
    longjmp(job->jump, 1);
}

/* Adobe programs store CMYK inverted (255: no ink); without their marker it is taken as it stands. */
static void cmyk_to_rgb(const uint8_t *in, uint8_t *out, uint32_t width, bool inverted) {
    for (uint32_t x = 0; x < width; x++, in += 4, out += 3)
        for (int c = 0; c < 3; c++) {
            unsigned ink = inverted ? in[c] : 255u - in[c], black = inverted ? in[3] : 255u - in[3];
            out[c] = (uint8_t)((ink * black + 127) / 255);
        }
}

static bool read_all(jpeg_job *job, const uint8_t *data, size_t size, bool want_pixels) {
    if (setjmp(job->jump)) return false;
    struct jpeg_decompress_struct *decoder = &job->decoder;
    decoder->err = jpeg_std_error(&job->errors);
    job->errors.error_exit = job_error;
    job->errors.emit_message = job_message;
    job->progress.progress_monitor = job_progress;
    jpeg_create_decompress(decoder);
    job->created = true;
    decoder->progress = &job->progress;
    jpeg_mem_src(decoder, data, (unsigned long)size);
    jpeg_save_markers(decoder, JPEG_APP0 + 1, 0xffff);
    jpeg_read_header(decoder, TRUE);
    job->width = decoder->image_width;
    job->height = decoder->image_height;
    if (lk_image_check_size(job->name, job->width, job->height, job->error) != LIKENESS_OK) return false;
    if (!want_pixels) return true;
    bool cmyk = decoder->jpeg_color_space == JCS_CMYK || decoder->jpeg_color_space == JCS_YCCK;
    decoder->out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
    decoder->dct_method = JDCT_ISLOW;
    jpeg_start_decompress(decoder);
    if (decoder->output_components != (cmyk ? 4 : 3)) {
        snprintf(job->message, sizeof job->message, "unusual kind of pixels");
        return false;
    }
    job->pixels = lk_alloc((size_t)job->width * job->height, 3);
    job->row = lk_alloc(job->width, 4);
    if (!job->pixels || !job->row) {
        job->out_of_memory = true;
        return false;
    }
    while (decoder->output_scanline < decoder->output_height) {
        uint8_t *out = job->pixels + (size_t)decoder->output_scanline * job->width * 3;
        JSAMPROW row = cmyk ? job->row : out;
        jpeg_read_scanlines(decoder, &row, 1);
        if (cmyk) cmyk_to_rgb(job->row, out, job->width, decoder->saw_Adobe_marker);
    }
    return true;
}

/* Reads up to the end marker, so that a cut file is noticed. Frees the saved markers. */
static bool finish(jpeg_job *job) {
    if (setjmp(job->jump)) return false;
    jpeg_finish_decompress(&job->decoder);
    return true;
}

static likeness_status job_failed(const jpeg_job *job, lk_error *error) {
    if (job->out_of_memory) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to read '%s'", job->name);
    return lk_fail(error, LIKENESS_BAD_FILE, "%s: damaged or unusual JPEG picture (%s)", job->name, job->message);
}

likeness_status lk_jpeg_decode(lk_image *image, lk_image_texts *texts, int *orientation, const char *name,
                               const uint8_t *data, size_t size, lk_error *error) {
    jpeg_job job;
    memset(&job, 0, sizeof job);
    job.name = name;
    job.error = error;
    bool read = read_all(&job, data, size, image != NULL);
    if (!read) job_failed(&job, error);
    for (jpeg_saved_marker_ptr marker = read ? job.decoder.marker_list : NULL; marker; marker = marker->next)
        if (error->status == LIKENESS_OK && marker->data_length > 6 && memcmp(marker->data, "Exif\0\0", 6) == 0)
            lk_exif_read(marker->data, marker->data_length, orientation, texts, error);
    if (error->status == LIKENESS_OK && image && !finish(&job)) job_failed(&job, error);
    if (job.created) jpeg_destroy_decompress(&job.decoder);
    if (error->status == LIKENESS_OK && image) {
        image->width = job.width;
        image->height = job.height;
        image->rgb = job.pixels;
        job.pixels = NULL;
    }
    lk_free(job.pixels);
    lk_free(job.row);
    return error->status;
}
