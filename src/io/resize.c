/* io/resize.c - see resize.h. */
#include "io/resize.h"

#include "base/memory.h"
#include "base/rng.h"

#include <math.h>
#include <string.h>

/* ---- filters ---- */

static double weigh_area(double x) { return x > -0.5 && x <= 0.5 ? 1 : 0; }

static double weigh_bilinear(double x) {
    x = fabs(x);
    return x < 1 ? 1 - x : 0;
}

static double weigh_bicubic(double x) {
    x = fabs(x);
    if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
    return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

static double sinc(double x) {
    double sine, cosine;
    lk_sincos_turns(x / 2, &sine, &cosine); /* the C library's sine differs between systems */
    return x == 0 ? 1 : sine / (x * 3.14159265358979323846);
}

static double weigh_lanczos(double x) { return fabs(x) < 3 ? sinc(x) * sinc(x / 3) : 0; }

static const struct {
    double (*weigh)(double);
    double support;
} filters[] = {{weigh_area, 0.5}, {weigh_bilinear, 1}, {weigh_bicubic, 2}, {weigh_lanczos, 3}};

/* For every output position: the first input that counts, how many, and their weights (`stride` apart). */
typedef struct taps {
    uint32_t *first, *count;
    double *weights;
    size_t stride;
} taps;

static void taps_free(taps *t) {
    lk_free(t->first);
    lk_free(t->count);
    lk_free(t->weights);
}

static likeness_status taps_make(taps *t, uint32_t in, uint32_t out, double begin, double end, lk_filter filter,
                                 lk_error *error) {
    double scale = (end - begin) / out, widened = scale < 1 ? 1 : scale;
    double support = filters[filter].support * widened;
    t->stride = (size_t)ceil(support) * 2 + 1;
    t->first = lk_alloc(out, sizeof *t->first);
    t->count = lk_alloc(out, sizeof *t->count);
    t->weights = lk_alloc(out, t->stride * sizeof *t->weights);
    if (!t->first || !t->count || !t->weights)
        return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to scale a picture to %u pixels", (unsigned)out);
    for (uint32_t o = 0; o < out; o++) {
        double centre = begin + (o + 0.5) * scale, total = 0;
        double low = floor(centre - support + 0.5), high = floor(centre + support + 0.5);
        uint32_t first = low < 0 ? 0 : (uint32_t)low, last = high > in ? in : (uint32_t)high;
        double *weights = t->weights + o * t->stride;
        for (uint32_t i = first; i < last; i++)
            total += weights[i - first] = filters[filter].weigh((i - centre + 0.5) / widened);
        for (uint32_t i = first; i < last && total != 0; i++)
            weights[i - first] /= total;
        t->first[o] = first;
        t->count[o] = last - first;
    }
    return LIKENESS_OK;
}

/* ---- scaling ---- */

static void filter_rows(const float *in, uint32_t width, uint32_t height, const taps *t, float *out, uint32_t wide) {
    for (uint32_t y = 0; y < height; y++, in += width, out += wide)
        for (uint32_t x = 0; x < wide; x++) {
            const double *weights = t->weights + x * t->stride;
            double sum = 0;
            for (uint32_t i = 0; i < t->count[x]; i++)
                sum += weights[i] * (double)in[t->first[x] + i];
            out[x] = (float)sum;
        }
}

static void filter_columns(const float *in, uint32_t width, const taps *t, float *out, uint32_t high) {
    for (uint32_t y = 0; y < high; y++, out += width) {
        const double *weights = t->weights + y * t->stride;
        for (uint32_t x = 0; x < width; x++) {
            double sum = 0;
            for (uint32_t i = 0; i < t->count[y]; i++)
                sum += weights[i] * (double)in[(size_t)(t->first[y] + i) * width + x];
            out[x] = (float)sum;
        }
    }
}

likeness_status lk_resize(const float *planes, uint32_t channels, uint32_t width, uint32_t height, const lk_box *box,
                          lk_filter filter, float *out, uint32_t out_width, uint32_t out_height, lk_error *error) {
    lk_box all = {0, 0, width, height};
    if (!box) box = &all;
    if (width == 0 || height == 0 || out_width == 0 || out_height == 0 || !(box->left >= 0 && box->top >= 0) ||
        !(box->right <= width && box->bottom <= height) || !(box->left < box->right && box->top < box->bottom))
        return lk_fail(error, LIKENESS_USAGE, "cannot scale %u x %u pixels to %u x %u", (unsigned)width,
                       (unsigned)height, (unsigned)out_width, (unsigned)out_height);
    taps horizontal = {0}, vertical = {0};
    float *middle = lk_alloc((size_t)out_width * height, sizeof *middle);
    if (!middle) lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to scale a picture");
    if (error->status == LIKENESS_OK) taps_make(&horizontal, width, out_width, box->left, box->right, filter, error);
    if (error->status == LIKENESS_OK) taps_make(&vertical, height, out_height, box->top, box->bottom, filter, error);
    for (uint32_t c = 0; c < channels && error->status == LIKENESS_OK; c++) {
        filter_rows(planes + (size_t)c * width * height, width, height, &horizontal, middle, out_width);
        filter_columns(middle, out_width, &vertical, out + (size_t)c * out_width * out_height, out_height);
    }
    taps_free(&horizontal);
    taps_free(&vertical);
    lk_free(middle);
    return error->status;
}

/* ---- pictures ---- */

void lk_image_to_planes(const lk_image *image, float *planes) {
    size_t pixels = (size_t)image->width * image->height;
    for (size_t i = 0; i < pixels; i++)
        for (size_t c = 0; c < 3; c++)
            planes[c * pixels + i] = (float)image->rgb[3 * i + c] / 255.0f;
}

likeness_status lk_image_from_planes(lk_image *image, const float *planes, uint32_t width, uint32_t height,
                                     lk_error *error) {
    LK_TRY(lk_image_create(image, width, height, error));
    size_t pixels = (size_t)width * height;
    for (size_t i = 0; i < pixels; i++)
        for (size_t c = 0; c < 3; c++) {
            float value = planes[c * pixels + i] * 255.0f;
            image->rgb[3 * i + c] = value >= 255 ? 255 : value > 0 ? (uint8_t)(value + 0.5f) : 0; /* NaN: 0 */
        }
    return LIKENESS_OK;
}

static likeness_status letterbox(const float *planes, const lk_image *image, lk_filter filter, float *out,
                                 uint32_t width, uint32_t height, lk_error *error) {
    double scale = fmin((double)width / image->width, (double)height / image->height);
    uint32_t inner_width = (uint32_t)fmax(1, floor(image->width * scale + 0.5));
    uint32_t inner_height = (uint32_t)fmax(1, floor(image->height * scale + 0.5));
    if (inner_width > width) inner_width = width;
    if (inner_height > height) inner_height = height;
    size_t inner = (size_t)inner_width * inner_height, outer = (size_t)width * height;
    float *scaled = lk_alloc(inner * 3, sizeof *scaled);
    if (!scaled) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to scale a picture");
    if (lk_resize(planes, 3, image->width, image->height, NULL, filter, scaled, inner_width, inner_height, error) ==
        LIKENESS_OK) {
        for (size_t i = 0; i < 3 * outer; i++)
            out[i] = 1;
        size_t left = (width - inner_width) / 2, top = (height - inner_height) / 2;
        for (size_t c = 0; c < 3; c++)
            for (size_t y = 0; y < inner_height; y++)
                memcpy(out + c * outer + (top + y) * width + left, scaled + c * inner + y * inner_width,
                       inner_width * sizeof *out);
    }
    lk_free(scaled);
    return error->status;
}

likeness_status lk_image_fit(const lk_image *image, lk_fit fit, lk_filter filter, float *out, uint32_t width,
                             uint32_t height, lk_error *error) {
    if (image->width == 0 || width == 0 || height == 0)
        return lk_fail(error, LIKENESS_USAGE, "cannot scale a picture to or from nothing");
    float *planes = lk_alloc((size_t)image->width * image->height * 3, sizeof *planes);
    if (!planes) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to scale a picture");
    lk_image_to_planes(image, planes);
    if (fit == LK_FIT_LETTERBOX) {
        letterbox(planes, image, filter, out, width, height, error);
    } else {
        lk_box box = {0, 0, image->width, image->height};
        if (fit == LK_FIT_CROP) {
            double scale = fmin((double)image->width / width, (double)image->height / height);
            box.left = (image->width - width * scale) / 2;
            box.top = (image->height - height * scale) / 2;
            box.right = image->width - box.left;
            box.bottom = image->height - box.top;
        }
        lk_resize(planes, 3, image->width, image->height, &box, filter, out, width, height, error);
    }
    lk_free(planes);
    return error->status;
}
