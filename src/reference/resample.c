/* reference/resample.c - pooling, resize and affine warp. Each _DX is the exact transpose: it walks the outputs as the
 * forward op does and hands each dy back to what was read. */
#include "reference/internal.h"

#include <math.h>

/* ---- pool ---- */

/* Window of one output along one axis: [begin, end) inside the input, and its extent inside the padded input. */
typedef struct lk_window {
    int64_t begin, end, padded;
} lk_window;

static lk_window lk_window_of(const lk_attributes *a, int axis, int64_t input, int64_t output) {
    int64_t begin = output * a->pool.stride[axis] - a->pool.padding[axis];
    int64_t end = begin + a->pool.kernel[axis], limit = input + a->pool.padding[axis + 2];
    if (end > limit) end = limit;
    lk_window window = {begin, end, end - begin};
    if (window.begin < 0) window.begin = 0;
    if (window.end > input) window.end = input;
    return window;
}

/* One output: its value from `plane`, or (dplane not NULL) its dy given back. */
static double lk_pool_output(const lk_attributes *a, lk_window v, lk_window h, int64_t width, const double *plane,
                             double *dplane, double dy) {
    if (a->pool.kind == LK_POOL_MAX) {
        int64_t best = v.begin * width + h.begin;
        for (int64_t y = v.begin; y < v.end; y++) {
            for (int64_t x = h.begin; x < h.end; x++) {
                if (plane[y * width + x] > plane[best]) best = y * width + x;
            }
        }
        if (dplane != NULL) dplane[best] += dy;
        return plane[best];
    }
    const double divisor =
        a->pool.count_include_pad ? (double)(v.padded * h.padded) : (double)((v.end - v.begin) * (h.end - h.begin));
    double sum = 0;
    for (int64_t y = v.begin; y < v.end; y++) {
        for (int64_t x = h.begin; x < h.end; x++) {
            sum += plane[y * width + x];
            if (dplane != NULL) dplane[y * width + x] += dy / divisor;
        }
    }
    return sum / divisor;
}

static void lk_pool_all(const lk_op_call *call, const lk_shape *x, const lk_shape *y, const double *from, double *to,
                        const double *dy, double *dx) {
    const int64_t plane = (int64_t)x->dim[2] * x->dim[3];
    int64_t at = 0;
    for (int64_t nc = 0; nc < (int64_t)x->dim[0] * x->dim[1]; nc++) {
        for (int64_t oy = 0; oy < y->dim[2]; oy++) {
            for (int64_t ox = 0; ox < y->dim[3]; ox++, at++) {
                double value =
                    lk_pool_output(&call->attributes, lk_window_of(&call->attributes, 0, x->dim[2], oy),
                                   lk_window_of(&call->attributes, 1, x->dim[3], ox), x->dim[3], from + nc * plane,
                                   dx != NULL ? dx + nc * plane : NULL, dy != NULL ? dy[at] : 0);
                if (to != NULL) to[at] = value;
            }
        }
    }
}

bool lk_reference_pool2d(const lk_op_call *call, const double *const *in, double *const *out) {
    lk_pool_all(call, &call->input[0].shape, &call->output[0].shape, in[0], out[0], NULL, NULL);
    return true;
}

bool lk_reference_pool2d_dx(const lk_op_call *call, const double *const *in, double *const *out) {
    lk_reference_zero(out[0], &call->output[0].shape);
    lk_pool_all(call, &call->input[0].shape, &call->input[1].shape, in[0], NULL, in[2], out[0]);
    return true;
}

/* ---- resize ---- */

/* Two source pixels of one output along one axis; nearest has weight 0 on the second. */
typedef struct lk_taps {
    int64_t first, second;
    double weight; /* of the second */
} lk_taps;

static int64_t lk_ceil_divide(int64_t a, int64_t b) { return a >= 0 ? (a + b - 1) / b : -(-a / b); }

/* Output i of n, input extent m. */
static lk_taps lk_resize_taps(const lk_attributes *a, int64_t i, int64_t n, int64_t m) {
    if (a->resize.kind == LK_RESIZE_NEAREST) {
        int64_t source = 0;
        switch (a->resize.coordinates) {
        case LK_COORDINATES_ASYMMETRIC:
            source = i * m / n;
            break;
        case LK_COORDINATES_HALF_PIXEL:
            source = lk_ceil_divide((2 * i + 1) * m - 2 * n, 2 * n);
            break;
        case LK_COORDINATES_ALIGN_CORNERS:
            source = n == 1 ? 0 : lk_ceil_divide(2 * i * (m - 1) - (n - 1), 2 * (n - 1));
            break;
        }
        source = source < 0 ? 0 : source >= m ? m - 1 : source;
        return (lk_taps){source, source, 0};
    }
    double source = 0;
    switch (a->resize.coordinates) {
    case LK_COORDINATES_ASYMMETRIC:
        source = (double)i * (double)m / (double)n;
        break;
    case LK_COORDINATES_HALF_PIXEL:
        source = ((double)i + 0.5) * (double)m / (double)n - 0.5;
        break;
    case LK_COORDINATES_ALIGN_CORNERS:
        source = n == 1 ? 0 : (double)i * (double)(m - 1) / (double)(n - 1);
        break;
    }
    if (source < 0) source = 0;
    if (source > (double)(m - 1)) source = (double)(m - 1);
    lk_taps taps = {(int64_t)floor(source), 0, 0};
    taps.second = taps.first + 1 < m ? taps.first + 1 : m - 1;
    taps.weight = source - (double)taps.first;
    return taps;
}

/* Forward when `from` is given, else the transpose from dy to dx. */
static void lk_resize_all(const lk_op_call *call, const lk_shape *x, const lk_shape *y, const double *from, double *to,
                          const double *dy, double *dx) {
    const int64_t width = x->dim[3], plane = x->dim[2] * width;
    int64_t at = 0;
    for (int64_t nc = 0; nc < (int64_t)x->dim[0] * x->dim[1]; nc++) {
        for (int64_t oy = 0; oy < y->dim[2]; oy++) {
            const lk_taps v = lk_resize_taps(&call->attributes, oy, y->dim[2], x->dim[2]);
            for (int64_t ox = 0; ox < y->dim[3]; ox++, at++) {
                const lk_taps h = lk_resize_taps(&call->attributes, ox, y->dim[3], x->dim[3]);
                const int64_t base = nc * plane;
                const int64_t source[4] = {base + v.first * width + h.first, base + v.first * width + h.second,
                                           base + v.second * width + h.first, base + v.second * width + h.second};
                const double weight[4] = {(1 - v.weight) * (1 - h.weight), (1 - v.weight) * h.weight,
                                          v.weight * (1 - h.weight), v.weight * h.weight};
                if (from != NULL) to[at] = 0;
                for (int t = 0; t < 4; t++) {
                    if (from != NULL) to[at] += weight[t] * from[source[t]];
                    if (dy != NULL) dx[source[t]] += weight[t] * dy[at];
                }
            }
        }
    }
}

bool lk_reference_resize(const lk_op_call *call, const double *const *in, double *const *out) {
    lk_resize_all(call, &call->input[0].shape, &call->output[0].shape, in[0], out[0], NULL, NULL);
    return true;
}

bool lk_reference_resize_dx(const lk_op_call *call, const double *const *in, double *const *out) {
    lk_reference_zero(out[0], &call->output[0].shape);
    lk_resize_all(call, &call->output[0].shape, &call->input[0].shape, NULL, NULL, in[0], out[0]);
    return true;
}

/* ---- affine warp ---- */

static void lk_warp_all(const lk_shape *x, const lk_shape *y, const double *theta, const double *from, double *to,
                        const double *dy, double *dx) {
    const int64_t height = x->dim[2], width = x->dim[3];
    int64_t at = 0;
    for (int64_t n = 0; n < x->dim[0]; n++) {
        const double *t = theta + 6 * n;
        for (int64_t c = 0; c < x->dim[1]; c++) {
            const int64_t base = (n * x->dim[1] + c) * height * width;
            for (int64_t oy = 0; oy < y->dim[2]; oy++) {
                for (int64_t ox = 0; ox < y->dim[3]; ox++, at++) {
                    const double sx = t[0] * (double)ox + t[1] * (double)oy + t[2];
                    const double sy = t[3] * (double)ox + t[4] * (double)oy + t[5];
                    if (from != NULL) to[at] = 0;
                    if (!(sx > -1 && sx < (double)width && sy > -1 && sy < (double)height)) continue;
                    for (int tap = 0; tap < 4; tap++) {
                        const int64_t ix = (int64_t)floor(sx) + tap % 2, iy = (int64_t)floor(sy) + tap / 2;
                        if (ix < 0 || ix >= width || iy < 0 || iy >= height) continue;
                        const double fx = sx - floor(sx), fy = sy - floor(sy);
                        const double weight = (tap % 2 ? fx : 1 - fx) * (tap / 2 ? fy : 1 - fy);
                        if (from != NULL) to[at] += weight * from[base + iy * width + ix];
                        if (dy != NULL) dx[base + iy * width + ix] += weight * dy[at];
                    }
                }
            }
        }
    }
}

bool lk_reference_affine_warp(const lk_op_call *call, const double *const *in, double *const *out) {
    lk_warp_all(&call->input[0].shape, &call->output[0].shape, in[1], in[0], out[0], NULL, NULL);
    return true;
}

bool lk_reference_affine_warp_dx(const lk_op_call *call, const double *const *in, double *const *out) {
    lk_reference_zero(out[0], &call->output[0].shape);
    lk_warp_all(&call->output[0].shape, &call->input[0].shape, in[1], NULL, NULL, in[0], out[0]);
    return true;
}
