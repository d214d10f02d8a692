/* models/onnx_resize.c - Resize and Upsample of ONNX. See onnx_internal.h.
 *
 * Height and width in the ways that the op RESIZE knows take that op. Everything else - other axes, cubic, antialias,
 * other coordinates and roundings - is separable: each axis that changes is mapped by a matrix made here. */
#include "models/onnx_internal.h"

#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct resize {
    const char *mode, *where, *rounding;
    double cubic;
    bool outside, antialias; /* outside: taps beyond the edge count nothing */
    int size[LK_MAX_RANK];
    double scale[LK_MAX_RANK]; /* size / extent, or as the file gives it */
} resize;

static bool is(const char *text, const char *other) { return strcmp(text, other) == 0; }

/* ---- sizes ---- */

static bool set_size(onnx_builder *b, resize *r, int axis, double scale, double size) {
    if (!(scale > 0) || !(size >= 1 && size <= 65536)) return onnx_unsupported(b, "sizes outside 1 to 65536");
    r->scale[axis] = scale;
    r->size[axis] = (int)size;
    return true;
}

/* The axes that the numbers are for, all of them by default. */
static bool read_axes(onnx_builder *b, int rank, int *axes, int *count) {
    size_t named;
    const int64_t *given = onnx_ints(b, "axes", &named);
    *count = given ? (int)named : rank;
    if (given && named > (size_t)rank) return onnx_fail(b, LIKENESS_BAD_FILE, "'axes' names more than there are");
    for (int i = 0; i < *count; i++) {
        axes[i] = given ? onnx_axis(b, given[i], rank) : i;
        if (axes[i] < 0) return false;
    }
    return true;
}

static bool read_sizes(onnx_builder *b, resize *r, lk_shape shape, const lk_onnx_tensor *sizes) {
    int axes[LK_MAX_RANK], count;
    const char *policy = onnx_string(b, "keep_aspect_ratio_policy", "stretch");
    bool stretch = is(policy, "stretch"), larger = is(policy, "not_smaller");
    double common = larger ? 0 : INFINITY;
    if (!read_axes(b, shape.rank, axes, &count)) return false;
    if (!sizes->i64 || sizes->count != (size_t)count || (!stretch && !larger && !is(policy, "not_larger")))
        return onnx_fail(b, LIKENESS_BAD_FILE, "sizes for another number of axes, or an unknown aspect ratio policy");
    for (int i = 0; i < count; i++) {
        double scale = (double)sizes->i64[i] / shape.dim[axes[i]];
        common = larger ? fmax(common, scale) : fmin(common, scale);
    }
    for (int i = 0; i < count; i++) {
        double extent = shape.dim[axes[i]];
        double size = stretch ? (double)sizes->i64[i] : floor(common * extent + 0.5);
        if (!set_size(b, r, axes[i], stretch ? size / extent : common, size)) return false;
    }
    return true;
}

static bool read_scales(onnx_builder *b, resize *r, lk_shape shape, size_t at) {
    int axes[LK_MAX_RANK], count;
    const lk_onnx_tensor *array = onnx_input(b, at) ? onnx_array(b, at, true) : NULL;
    const lk_onnx_attribute *attribute = lk_onnx_find(b->node, "scales");
    const float *scales = array ? array->f32 : attribute ? attribute->floats : NULL;
    size_t given = array ? array->count : attribute ? attribute->count : 0;
    if (!onnx_fine(b) || !read_axes(b, shape.rank, axes, &count)) return false;
    if (!scales || given != (size_t)count) return onnx_unsupported(b, "neither scales nor sizes for its axes");
    for (int i = 0; i < count; i++) {
        double scale = (double)scales[i], size = scale * shape.dim[axes[i]];
        /* A scale such as 1/3 in f32 must not lose a pixel. */
        size = fabs(size - round(size)) < 1e-4 ? round(size) : floor(size);
        if (!set_size(b, r, axes[i], scale, size)) return false;
    }
    return true;
}

/* ---- one axis as a matrix ---- */

/* Where output i lies on the axis of the input; false: a mode that is not known. */
static bool source_of(const resize *r, int axis, int extent, int i, double *x) {
    double scale = r->scale[axis], length = scale * extent;
    if (is(r->where, "asymmetric"))
        *x = i / scale;
    else if (is(r->where, "half_pixel") || (is(r->where, "pytorch_half_pixel") && r->size[axis] > 1))
        *x = (i + 0.5) / scale - 0.5;
    else if (is(r->where, "pytorch_half_pixel"))
        *x = 0;
    else if (is(r->where, "half_pixel_symmetric"))
        *x = extent / 2.0 * (1 - r->size[axis] / length) + (i + 0.5) / scale - 0.5;
    else if (is(r->where, "align_corners"))
        *x = length > 1 ? i * (extent - 1) / (length - 1) : 0;
    else if (is(r->where, "tf_half_pixel_for_nn"))
        *x = (i + 0.5) / scale;
    else
        return false;
    return true;
}

/* Keys' cubic kernel. */
static double cubic(double a, double t) {
    t = fabs(t);
    if (t <= 1) return ((a + 2) * t - (a + 3)) * t * t + 1;
    return t < 2 ? ((a * t - 5 * a) * t + 8 * a) * t - 4 * a : 0;
}

static double nearest(const resize *r, double x) {
    if (is(r->rounding, "floor")) return floor(x);
    if (is(r->rounding, "ceil")) return ceil(x);
    return is(r->rounding, "round_prefer_ceil") ? floor(x + 0.5) : ceil(x - 0.5);
}

static bool fill_row(const resize *r, int axis, int extent, int i, double *row) {
    double x, squeeze = r->antialias && r->scale[axis] < 1 ? r->scale[axis] : 1, sum = 0;
    if (!source_of(r, axis, extent, i, &x)) return false;
    if (is(r->mode, "nearest")) {
        double at = nearest(r, x);
        row[at < 0 ? 0 : at > extent - 1 ? extent - 1 : (int)at] = 1;
        return true;
    }
    bool is_cubic = is(r->mode, "cubic");
    double reach = (is_cubic ? 2 : 1) / squeeze;
    /* Without antialias the weights sum to 1 by themselves; then only what lies outside may spoil that. */
    for (int pass = 0; pass < 2; pass++)
        for (int j = (int)floor(x - reach); j <= (int)ceil(x + reach); j++) {
            double t = (j - x) * squeeze, weight = is_cubic ? cubic(r->cubic, t) : fmax(1 - fabs(t), 0);
            if (r->outside && (j < 0 || j >= extent)) continue;
            if (pass == 0)
                sum += weight;
            else
                row[j < 0 ? 0 : j >= extent ? extent - 1 : j] += weight / sum;
        }
    return true;
}

static lk_value resize_axis(onnx_builder *b, lk_value x, const resize *r, int axis) {
    int extent = onnx_shape(b, x).dim[axis], rows = r->size[axis];
    char name[512];
    size_t count = (size_t)rows * (size_t)extent;
    if (count > (1 << 24)) {
        onnx_fail(b, LIKENESS_UNSUPPORTED, "an axis from %d to %d", extent, rows);
        return LK_NO_VALUE;
    }
    double *matrix = lk_alloc(count, sizeof *matrix);
    if (!matrix) {
        onnx_out_of_memory(b);
        return LK_NO_VALUE;
    }
    memset(matrix, 0, count * sizeof *matrix);
    bool known = true;
    for (int i = 0; i < rows && known; i++)
        known = fill_row(r, axis, extent, i, matrix + (size_t)i * (size_t)extent);
    if (!known) onnx_fail(b, LIKENESS_UNSUPPORTED, "'coordinate_transformation_mode' is %s", r->where);
    snprintf(name, sizeof name, "%s#axis%d,%d", b->node->outputs[0], axis, extent);
    lk_value y = known ? onnx_map_axis(b, x, axis, rows, matrix, name) : LK_NO_VALUE;
    lk_free(matrix);
    return y;
}

/* ---- the op ---- */

/* Whether RESIZE does the same; fills its attributes. */
static bool fits_op(const resize *r, lk_shape shape, lk_attributes *a) {
    bool half = is(r->where, "half_pixel") ||
                (is(r->where, "pytorch_half_pixel") && shape.rank == 4 && r->size[2] > 1 && r->size[3] > 1);
    bool floors = is(r->where, "asymmetric");
    if (shape.rank != 4 || r->size[0] != shape.dim[0] || r->size[1] != shape.dim[1] || r->antialias) return false;
    for (int i = 2; i < 4; i++) /* the op knows sizes only */
        if (fabs(r->scale[i] * shape.dim[i] - r->size[i]) > 1e-3) return false;
    if (!half && !floors && !is(r->where, "align_corners")) return false;
    a->resize.coordinates = floors ? LK_COORDINATES_ASYMMETRIC
                            : half ? LK_COORDINATES_HALF_PIXEL
                                   : LK_COORDINATES_ALIGN_CORNERS;
    a->resize.kind = is(r->mode, "nearest") ? LK_RESIZE_NEAREST : LK_RESIZE_BILINEAR;
    a->resize.size[0] = r->size[2];
    a->resize.size[1] = r->size[3];
    if (is(r->mode, "nearest")) return is(r->rounding, floors ? "floor" : "round_prefer_floor");
    return is(r->mode, "linear") && !r->outside;
}

static bool translate_resize(onnx_builder *b, int kind) {
    (void)kind;
    bool old = is(b->node->op, "Upsample") || b->file->opset < 11;
    lk_value x = onnx_operand(b, 0);
    lk_shape shape = onnx_shape(b, x);
    resize r = {
        .mode = onnx_string(b, "mode", "nearest"),
        .where = onnx_string(b, "coordinate_transformation_mode", old ? "asymmetric" : "half_pixel"),
        .rounding = onnx_string(b, "nearest_mode", old ? "floor" : "round_prefer_floor"),
        .cubic = (double)onnx_float(b, "cubic_coeff_a", -0.75f),
        .outside = onnx_int(b, "exclude_outside", 0) != 0,
        .antialias = onnx_int(b, "antialias", 0) != 0,
    };
    lk_attributes a = lk_attributes_zero();
    (void)onnx_float(b, "extrapolation_value", 0); /* of tf_crop_and_resize, which is refused */
    if (x == LK_NO_VALUE || !onnx_fine(b)) return false;
    for (int i = 0; i < shape.rank; i++) {
        r.size[i] = shape.dim[i];
        r.scale[i] = 1;
    }
    if (is(r.mode, "bilinear")) r.mode = "linear";
    if (!is(r.mode, "nearest") && !is(r.mode, "linear") && !is(r.mode, "cubic"))
        return onnx_fail(b, LIKENESS_UNSUPPORTED, "'mode' is %s", r.mode);
    const lk_onnx_tensor *sizes = !old && onnx_input(b, 3) ? onnx_array(b, 3, true) : NULL;
    (void)lk_onnx_find(b->node, "keep_aspect_ratio_policy"); /* of sizes; means nothing for scales */
    if (!onnx_fine(b) || !(sizes ? read_sizes(b, &r, shape, sizes) : read_scales(b, &r, shape, old ? 1 : 2)))
        return false;
    if (fits_op(&r, shape, &a)) return onnx_set_value(b, 0, lk_graph_emit(b->graph, LK_OP_RESIZE, &a, &x, 1, 0, NULL));
    for (int i = 0; i < shape.rank && x != LK_NO_VALUE; i++)
        if (r.size[i] != shape.dim[i] || r.scale[i] != 1) x = resize_axis(b, x, &r, i);
    return onnx_set_value(b, 0, x);
}

/* ---- the list ---- */

const onnx_operator onnx_resize_operators[] = {
    {"Resize", translate_resize, 0, "not tf_crop_and_resize"},
    {"Upsample", translate_resize, 0, ""},
    {0},
};
