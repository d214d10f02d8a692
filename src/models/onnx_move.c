/* models/onnx_move.c - operators of ONNX that reshape, cut, join, pad and resize, as nodes of the graph. See
 * onnx_internal.h. */
#include "models/onnx_internal.h"

#include <math.h>
#include <string.h>

static bool unsupported(onnx_builder *b, const char *what) { return onnx_fail(b, LIKENESS_UNSUPPORTED, "%s", what); }

lk_value onnx_raise(onnx_builder *b, lk_value x, int rank) {
    lk_shape shape = onnx_shape(b, x), raised = {.rank = rank};
    if (shape.rank >= rank) return x;
    for (int i = 0; i < rank; i++)
        raised.dim[i] = i < rank - shape.rank ? 1 : shape.dim[i - (rank - shape.rank)];
    return lk_reshape(b->graph, x, raised);
}

/* ---- movement ---- */

static bool set_reshaped(onnx_builder *b, lk_value x, const int64_t *dims, int rank) {
    lk_shape from = onnx_shape(b, x), shape = {.rank = rank};
    int64_t known = 1, all = lk_shape_elements(&from);
    int hole = -1;
    for (int i = 0; i < rank; i++) {
        if (dims[i] == -1 && hole < 0) {
            hole = i;
            continue;
        }
        if (dims[i] < 1 || dims[i] > INT32_MAX || (known *= dims[i]) > all)
            return onnx_fail(b, LIKENESS_BAD_FILE, "%lld elements do not have the wanted shape", (long long)all);
        shape.dim[i] = (int32_t)dims[i];
    }
    if (hole >= 0) shape.dim[hole] = (int32_t)(all / known);
    if (known * (hole >= 0 ? shape.dim[hole] : 1) != all)
        return onnx_fail(b, LIKENESS_BAD_FILE, "%lld elements do not have the wanted shape", (long long)all);
    return onnx_set_value(b, 0, lk_reshape(b->graph, x, shape));
}

static bool translate_reshape(onnx_builder *b) {
    lk_value x = onnx_operand(b, 0);
    size_t count;
    int64_t dims[LK_MAX_RANK];
    const int64_t *wanted = onnx_ints_either(b, 1, "shape", &count);
    lk_shape shape = onnx_shape(b, x);
    if (x == LK_NO_VALUE || !onnx_fine(b)) return false;
    if (!wanted || count > LK_MAX_RANK) return unsupported(b, "a shape of more than 6 axes, or none");
    if (onnx_int(b, "allowzero", 0) != 0) return unsupported(b, "'allowzero'");
    for (size_t i = 0; i < count; i++)
        dims[i] = wanted[i] == 0 && (int)i < shape.rank ? shape.dim[i] : wanted[i];
    return set_reshaped(b, x, dims, (int)count);
}

static bool translate_flatten(onnx_builder *b) {
    lk_value x = onnx_operand(b, 0);
    lk_shape shape = onnx_shape(b, x);
    if (x == LK_NO_VALUE) return false;
    int64_t axis = onnx_int(b, "axis", 1), dims[2] = {1, -1};
    axis = axis < 0 ? axis + shape.rank : axis;
    if (axis < 0 || axis > shape.rank) return onnx_fail(b, LIKENESS_BAD_FILE, "'axis' is outside the input");
    for (int i = 0; i < axis; i++)
        dims[0] *= shape.dim[i];
    return set_reshaped(b, x, dims, 2);
}

static bool translate_squeeze(onnx_builder *b, bool squeeze) {
    lk_value x = onnx_operand(b, 0);
    lk_shape shape = onnx_shape(b, x);
    size_t count;
    int64_t dims[2 * LK_MAX_RANK];
    const int64_t *axes = onnx_ints_either(b, 1, "axes", &count);
    uint32_t named = 0;
    if (x == LK_NO_VALUE || !onnx_fine(b)) return false;
    if (count > LK_MAX_RANK || (!squeeze && !axes)) return unsupported(b, "too many axes, or none");
    int total = squeeze ? shape.rank : shape.rank + (int)count, rank = 0;
    for (size_t i = 0; i < count; i++) {
        int axis = onnx_axis(b, axes[i], total);
        if (axis < 0) return false;
        named |= 1u << axis;
    }
    for (int i = 0, from = 0; i < total; i++) {
        bool is_named = axes ? (named >> i & 1u) != 0 : shape.dim[i] == 1;
        if (!squeeze)
            dims[rank++] = is_named || from >= shape.rank ? 1 : shape.dim[from++];
        else if (!is_named)
            dims[rank++] = shape.dim[i];
    }
    if (rank > LK_MAX_RANK) return unsupported(b, "more than 6 axes");
    return set_reshaped(b, x, dims, rank);
}

static bool translate_transpose(onnx_builder *b) {
    lk_value x = onnx_operand(b, 0);
    int rank = onnx_shape(b, x).rank;
    size_t count;
    const int64_t *perm = onnx_ints(b, "perm", &count);
    int32_t order[LK_MAX_RANK];
    if (x == LK_NO_VALUE) return false;
    if (perm && count != (size_t)rank) return onnx_fail(b, LIKENESS_BAD_FILE, "'perm' has another rank");
    for (int i = 0; i < rank; i++) {
        order[i] = perm ? onnx_axis(b, perm[i], rank) : rank - 1 - i;
        if (order[i] < 0) return false;
    }
    return onnx_set_value(b, 0, lk_permute(b->graph, x, order));
}

static bool translate_concat(onnx_builder *b) {
    lk_value parts[LK_MAX_INPUTS], y = onnx_operand(b, 0);
    if (y == LK_NO_VALUE) return false;
    int axis = onnx_axis(b, onnx_int(b, "axis", 1), onnx_shape(b, y).rank);
    if (axis < 0) return false;
    for (size_t i = 1; i < b->node->input_count;) {
        int count = 1;
        parts[0] = y;
        while (count < LK_MAX_INPUTS && i < b->node->input_count) {
            parts[count] = onnx_operand(b, i++);
            if (parts[count++] == LK_NO_VALUE) return false;
        }
        y = lk_concat(b->graph, parts, count, axis);
    }
    return onnx_set_value(b, 0, y);
}

static bool translate_slice(onnx_builder *b) {
    lk_value x = onnx_operand(b, 0);
    lk_shape shape = onnx_shape(b, x);
    lk_attributes a = lk_attributes_zero();
    size_t starts = 0, ends = 0, axes = 0, steps = 0;
    const int64_t *start = onnx_ints_either(b, 1, "starts", &starts), *end = onnx_ints_either(b, 2, "ends", &ends);
    const int64_t *axis = onnx_ints_either(b, 3, "axes", &axes), *step = onnx_ints_either(b, 4, "steps", &steps);
    if (x == LK_NO_VALUE || !onnx_fine(b)) return false;
    if (!start || !end || starts != ends || (axis && axes != starts) || (step && steps != starts))
        return onnx_fail(b, LIKENESS_BAD_FILE, "starts, ends, axes and steps do not fit together");
    for (int i = 0; i < shape.rank; i++) {
        a.slice.step[i] = 1;
        a.slice.size[i] = shape.dim[i];
    }
    for (size_t i = 0; i < starts; i++) {
        int k = onnx_axis(b, axis ? axis[i] : (int64_t)i, shape.rank);
        if (k < 0) return false;
        int64_t size = shape.dim[k], by = step ? step[i] : 1;
        if (by < 1 || by > INT32_MAX) return unsupported(b, "a step below 1");
        int64_t from = start[i] < 0 ? start[i] + size : start[i], to = end[i] < 0 ? end[i] + size : end[i];
        from = from < 0 ? 0 : from;
        to = to > size ? size : to;
        if (to <= from) return unsupported(b, "an empty range");
        a.slice.start[k] = (int32_t)from;
        a.slice.step[k] = (int32_t)by;
        a.slice.size[k] = (int32_t)((to - from + by - 1) / by);
    }
    return onnx_set_value(b, 0, lk_graph_emit(b->graph, LK_OP_SLICE, &a, &x, 1, 0, NULL));
}

static bool translate_split(onnx_builder *b) {
    lk_value x = onnx_operand(b, 0);
    lk_shape shape = onnx_shape(b, x);
    size_t count;
    const int64_t *sizes = onnx_ints_either(b, 1, "split", &count);
    int64_t parts = (int64_t)b->node->output_count, at = 0;
    if (x == LK_NO_VALUE || !onnx_fine(b)) return false;
    int axis = onnx_axis(b, onnx_int(b, "axis", 0), shape.rank);
    if (onnx_int(b, "num_outputs", parts) != parts || axis < 0 || (sizes && (int64_t)count != parts))
        return onnx_fail(b, LIKENESS_BAD_FILE, "the parts do not fit the outputs");
    int64_t chunk = (shape.dim[axis] + parts - 1) / parts;
    for (int64_t i = 0; i < parts; i++) {
        int64_t left = shape.dim[axis] - at, size = sizes ? sizes[i] : chunk < left ? chunk : left;
        if (size < 1 || size > left) return onnx_fail(b, LIKENESS_BAD_FILE, "the parts do not fit the input");
        if (!onnx_set_value(b, (size_t)i, lk_slice(b->graph, x, axis, (int)at, (int)size))) return false;
        at += size;
    }
    return true;
}

/* One position along an axis, the axis disappearing or staying. */
static bool translate_gather(onnx_builder *b) {
    lk_value x = onnx_operand(b, 0);
    const lk_onnx_tensor *ids = onnx_array(b, 1, true);
    lk_shape shape = onnx_shape(b, x);
    int64_t dims[LK_MAX_RANK];
    int rank = 0;
    if (x == LK_NO_VALUE || !ids) return false;
    int axis = onnx_axis(b, onnx_int(b, "axis", 0), shape.rank);
    if (axis < 0) return false;
    if (!ids->i64 || ids->count != 1 || ids->rank > 1) return unsupported(b, "more than one position");
    int64_t at = ids->i64[0] < 0 ? ids->i64[0] + shape.dim[axis] : ids->i64[0];
    if (at < 0 || at >= shape.dim[axis]) return onnx_fail(b, LIKENESS_BAD_FILE, "a position outside the input");
    lk_value y = lk_slice(b->graph, x, axis, (int)at, 1);
    if (ids->rank == 1) return onnx_set_value(b, 0, y);
    for (int i = 0; i < shape.rank; i++)
        if (i != axis) dims[rank++] = shape.dim[i];
    return set_reshaped(b, y, dims, rank);
}

static bool translate_pad(onnx_builder *b) {
    lk_value x = onnx_operand(b, 0);
    int rank = onnx_shape(b, x).rank;
    const char *mode = onnx_string(b, "mode", "constant");
    size_t count;
    const int64_t *pads = onnx_ints_either(b, 1, "pads", &count);
    int32_t before[LK_MAX_RANK], after[LK_MAX_RANK];
    float value = 0;
    if (x == LK_NO_VALUE || !onnx_fine(b)) return false;
    if (!pads || count != 2 * (size_t)rank || onnx_input(b, 3))
        return unsupported(b, "'pads' that name some axes only");
    if (onnx_input(b, 2)) {
        const lk_onnx_tensor *number = onnx_array(b, 2, true);
        if (!number) return false;
        if (!number->f32 || number->count != 1) return unsupported(b, "a value that is not one number");
        value = number->f32[0];
    } else {
        value = onnx_float(b, "value", 0);
    }
    for (int i = 0; i < 2 * rank; i++) {
        if (pads[i] < 0 || pads[i] > 65536) return unsupported(b, "'pads' below 0");
        *(i < rank ? &before[i] : &after[i - rank]) = (int32_t)pads[i];
    }
    lk_pad kind = strcmp(mode, "constant") == 0  ? LK_PAD_CONSTANT
                  : strcmp(mode, "edge") == 0    ? LK_PAD_EDGE
                  : strcmp(mode, "reflect") == 0 ? LK_PAD_REFLECT
                                                 : (lk_pad)-1;
    if ((int)kind < 0) return onnx_fail(b, LIKENESS_UNSUPPORTED, "'mode' is %s", mode);
    return onnx_set_value(b, 0, lk_pad_op(b->graph, x, kind, before, after, value));
}

static bool translate_expand(onnx_builder *b) {
    lk_value x = onnx_operand(b, 0);
    const lk_onnx_tensor *wanted = onnx_array(b, 1, true);
    if (x == LK_NO_VALUE || !wanted) return false;
    if (!wanted->i64 || wanted->count > LK_MAX_RANK) return unsupported(b, "a shape of more than 6 axes");
    int own = onnx_shape(b, x).rank, count = (int)wanted->count, rank = own > count ? own : count;
    x = onnx_raise(b, x, rank);
    lk_shape shape = onnx_shape(b, x);
    lk_attributes a = {.shape = {.shape = shape, .factor = 1}};
    for (int i = 0; i < count; i++) {
        int axis = rank - count + i;
        if (shape.dim[axis] == 1 && wanted->i64[i] > 0 && wanted->i64[i] <= INT32_MAX)
            a.shape.shape.dim[axis] = (int32_t)wanted->i64[i];
        else if (wanted->i64[i] != 1 && wanted->i64[i] != shape.dim[axis])
            return onnx_fail(b, LIKENESS_BAD_FILE, "the shape does not fit the input");
    }
    return onnx_set_value(b, 0, lk_graph_emit(b->graph, LK_OP_BROADCAST, &a, &x, 1, 0, NULL));
}

/* ---- resize ---- */

/* Height and width of the result, from scales or sizes. */
static bool resize_size(onnx_builder *b, lk_shape shape, size_t scales_at, size_t sizes_at, int size[2]) {
    const onnx_value *given = onnx_input(b, sizes_at);
    if (given && given->array && given->array->i64 && given->array->count == 4) {
        const int64_t *sizes = given->array->i64;
        for (int i = 0; i < 4; i++)
            if (sizes[i] < 1 || sizes[i] > 65536 || (i < 2 && sizes[i] != shape.dim[i]))
                return unsupported(b, "sizes that change samples or channels");
        size[0] = (int)sizes[2];
        size[1] = (int)sizes[3];
        return true;
    }
    const lk_onnx_tensor *scales = onnx_input(b, scales_at) ? onnx_array(b, scales_at, true) : NULL;
    const lk_onnx_attribute *attribute = lk_onnx_find(b->node, "scales");
    const float *s = scales ? scales->f32 : attribute ? attribute->floats : NULL;
    if (!s || (scales ? scales->count : attribute->count) != 4) return unsupported(b, "neither four scales nor sizes");
    if (s[0] != 1 || s[1] != 1) return unsupported(b, "scales that change samples or channels");
    for (int i = 0; i < 2; i++) {
        double wide = (double)shape.dim[2 + i] * (double)s[2 + i];
        if (!(wide >= 1 && wide <= 65536) || fabs(wide - round(wide)) > 1e-3)
            return unsupported(b, "a scale that does not give a whole number of pixels");
        size[i] = (int)round(wide);
    }
    return true;
}

static bool translate_resize(onnx_builder *b) {
    bool old = strcmp(b->node->op, "Upsample") == 0 || b->file->opset < 11;
    lk_value x = onnx_operand(b, 0);
    lk_shape shape = onnx_shape(b, x);
    const char *mode = onnx_string(b, "mode", "nearest");
    const char *where = onnx_string(b, "coordinate_transformation_mode", old ? "asymmetric" : "half_pixel");
    const char *rounding = onnx_string(b, "nearest_mode", old ? "floor" : "round_prefer_floor");
    bool antialias = onnx_int(b, "antialias", 0) != 0;
    lk_attributes a = lk_attributes_zero();
    int size[2] = {0, 0};
    (void)onnx_float(b, "cubic_coeff_a", -0.75f);  /* cubic only */
    (void)onnx_int(b, "exclude_outside", 0);       /* cubic only */
    (void)onnx_float(b, "extrapolation_value", 0); /* tf_crop_and_resize only */
    if (x == LK_NO_VALUE) return false;
    if (shape.rank != 4 || antialias || lk_onnx_find(b->node, "axes") ||
        strcmp(onnx_string(b, "keep_aspect_ratio_policy", "stretch"), "stretch") != 0)
        return unsupported(b, "antialias, axes or an aspect ratio policy");
    if (!resize_size(b, shape, old ? 1 : 2, old ? 99 : 3, size)) return false;
    if (strcmp(where, "asymmetric") == 0)
        a.resize.coordinates = LK_COORDINATES_ASYMMETRIC;
    else if (strcmp(where, "half_pixel") == 0 ||
             (strcmp(where, "pytorch_half_pixel") == 0 && size[0] > 1 && size[1] > 1))
        a.resize.coordinates = LK_COORDINATES_HALF_PIXEL;
    else if (strcmp(where, "align_corners") == 0)
        a.resize.coordinates = LK_COORDINATES_ALIGN_CORNERS;
    else
        return onnx_fail(b, LIKENESS_UNSUPPORTED, "'coordinate_transformation_mode' is %s", where);
    if (strcmp(mode, "nearest") == 0) {
        a.resize.kind = LK_RESIZE_NEAREST;
        bool floors = a.resize.coordinates == LK_COORDINATES_ASYMMETRIC;
        if (strcmp(rounding, floors ? "floor" : "round_prefer_floor") != 0)
            return onnx_fail(b, LIKENESS_UNSUPPORTED, "'nearest_mode' is %s with %s", rounding, where);
    } else if (strcmp(mode, "linear") == 0 || strcmp(mode, "bilinear") == 0) {
        a.resize.kind = LK_RESIZE_BILINEAR;
    } else {
        return onnx_fail(b, LIKENESS_UNSUPPORTED, "'mode' is %s", mode);
    }
    a.resize.size[0] = size[0];
    a.resize.size[1] = size[1];
    return onnx_set_value(b, 0, lk_graph_emit(b->graph, LK_OP_RESIZE, &a, &x, 1, 0, NULL));
}

/* ---- choice ---- */

static bool is(const onnx_builder *b, const char *op) { return strcmp(b->node->op, op) == 0; }

bool onnx_translate_movement(onnx_builder *b, bool *known) {
    *known = true;
    if (is(b, "Resize")) return translate_resize(b);
    if (is(b, "Upsample")) return translate_resize(b);
    if (is(b, "Reshape")) return translate_reshape(b);
    if (is(b, "Flatten")) return translate_flatten(b);
    if (is(b, "Squeeze")) return translate_squeeze(b, true);
    if (is(b, "Unsqueeze")) return translate_squeeze(b, false);
    if (is(b, "Transpose")) return translate_transpose(b);
    if (is(b, "Concat")) return translate_concat(b);
    if (is(b, "Slice")) return translate_slice(b);
    if (is(b, "Split")) return translate_split(b);
    if (is(b, "Gather")) return translate_gather(b);
    if (is(b, "Pad")) return translate_pad(b);
    if (is(b, "Expand")) return translate_expand(b);
    *known = false;
    return false;
}
