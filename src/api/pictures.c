/* api/pictures.c - pictures in and out: reading, writing with settings and the synthetic mark, sheets, inspecting. */
#include "api/context.h"

#include "base/file.h"
#include "base/memory.h"
#include "io/image.h"
#include "io/metadata.h"
#include "io/resize.h"

#include <string.h>

static likeness_image to_public(const lk_image *image) {
    return (likeness_image){(int32_t)image->width, (int32_t)image->height, image->rgb};
}

static lk_image to_internal(const likeness_image *image) {
    return (lk_image){(uint32_t)image->width, (uint32_t)image->height, image->rgb};
}

likeness_status likeness_image_read(likeness_context *context, const char *path, likeness_image *image) {
    lk_error *error = lk_context_begin(context);
    lk_image read = {0};
    *image = (likeness_image){0};
    LK_TRY(lk_image_read(&read, path, error));
    *image = to_public(&read);
    return LIKENESS_OK;
}

void likeness_image_free(likeness_image *image) {
    lk_free(image->rgb);
    *image = (likeness_image){0};
}

likeness_status likeness_image_write(likeness_context *context, const char *path, const likeness_image *image,
                                     const char *settings) {
    lk_error *error = lk_context_begin(context);
    lk_image picture = to_internal(image);
    lk_image_texts texts = {0};
    likeness_status status = LIKENESS_OK;
    if (settings) status = lk_image_texts_add(&texts, LK_TEXT_KEY_INFOTEXT, settings, error);
    if (status == LIKENESS_OK) status = lk_image_texts_add(&texts, LK_TEXT_KEY_XMP, lk_xmp_synthetic(), error);
    if (status == LIKENESS_OK) status = lk_image_write_png(&picture, &texts, path, error);
    lk_image_texts_free(&texts);
    return status;
}

static likeness_status scaled_copy(const likeness_image *image, int32_t width, int32_t height, lk_image *scaled,
                                   lk_error *error) {
    lk_image source = to_internal(image);
    size_t count = (size_t)width * (size_t)height * 3;
    float *planes = lk_alloc(count, sizeof *planes);
    if (!planes)
        return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for a sheet of %zu bytes", count * sizeof *planes);
    likeness_status status =
        lk_image_fit(&source, LK_FIT_STRETCH, LK_FILTER_BICUBIC, planes, (uint32_t)width, (uint32_t)height, error);
    if (status == LIKENESS_OK) status = lk_image_from_planes(scaled, planes, (uint32_t)width, (uint32_t)height, error);
    lk_free(planes);
    return status;
}

likeness_status likeness_image_sheet(likeness_context *context, const likeness_image *const *images, int count,
                                     likeness_image *sheet) {
    enum { GAP = 8 };
    lk_error *error = lk_context_begin(context);
    *sheet = (likeness_image){0};
    int32_t height = 0;
    int64_t width = GAP;
    for (int i = 0; i < count; i++)
        if (images[i]->height > height) height = images[i]->height;
    if (height > 512) height = 512;
    for (int i = 0; i < count; i++)
        width += (int64_t)images[i]->width * height / images[i]->height + 1 + GAP;
    lk_image canvas = {0};
    LK_TRY(lk_image_create(&canvas, (uint32_t)width, (uint32_t)height + 2 * GAP, error));
    memset(canvas.rgb, 255, (size_t)canvas.width * canvas.height * 3);
    size_t left = GAP;
    likeness_status status = LIKENESS_OK;
    for (int i = 0; i < count && status == LIKENESS_OK; i++) {
        lk_image scaled = {0};
        int32_t scaled_width = (int32_t)((int64_t)images[i]->width * height / images[i]->height);
        status = scaled_copy(images[i], scaled_width > 0 ? scaled_width : 1, height, &scaled, error);
        for (uint32_t y = 0; y < scaled.height && status == LIKENESS_OK; y++)
            memcpy(canvas.rgb + ((size_t)(y + GAP) * canvas.width + left) * 3,
                   scaled.rgb + (size_t)y * scaled.width * 3, (size_t)scaled.width * 3);
        left += scaled.width + GAP;
        lk_image_free(&scaled);
    }
    if (status != LIKENESS_OK) {
        lk_image_free(&canvas);
        return status;
    }
    *sheet = to_public(&canvas);
    return LIKENESS_OK;
}

likeness_status likeness_inspect(likeness_context *context, const char *path, char **settings, bool *synthetic,
                                 int32_t *width, int32_t *height) {
    lk_error *error = lk_context_begin(context);
    lk_image image = {0};
    lk_image_texts texts = {0};
    *settings = NULL;
    likeness_status status = lk_image_read(&image, path, error);
    if (status == LIKENESS_OK) status = lk_image_read_texts(&texts, path, error);
    if (status == LIKENESS_OK) {
        const char *text = lk_image_texts_find(&texts, LK_TEXT_KEY_INFOTEXT),
                   *xmp = lk_image_texts_find(&texts, LK_TEXT_KEY_XMP);
        *synthetic = xmp && lk_xmp_is_synthetic(xmp);
        *width = (int32_t)image.width;
        *height = (int32_t)image.height;
        *settings = lk_strdup(text ? text : "");
        if (!*settings) status = lk_fail(error, LIKENESS_OUT_OF_MEMORY, "%s: no memory for its settings", path);
    }
    lk_image_texts_free(&texts);
    lk_image_free(&image);
    return status;
}

void likeness_text_free(char *text) { lk_free(text); }
