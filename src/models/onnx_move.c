/* models/onnx_move.c - operators of ONNX that reshape, cut, join and pad, as nodes of the graph. See onnx_internal.h.
 */
#include "models/onnx_internal.h"

#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- for all files ---- */

lk_value onnx_raise(onnx_builder *b, lk_value x, int rank) {
    lk_shape shape = onnx_shape(b, x), raised = {.rank = rank};
    if (shape.rank >= rank) return x;
    for (int i = 0; i < rank; i++)
        raised.dim[i] = i < rank - shape.rank ? 1 : shape.dim[i - (rank - shape.rank)];
    return lk_reshape(b->graph, x, raised);
}

lk_value onnx_as_picture(onnx_builder *b, lk_value x) {
    lk_shape shape = onnx_shape(b, x);
    if (x == LK_NO_VALUE || shape.rank != 3) return x;
    return lk_reshape(b->graph, x, lk_shape4(shape.dim[0], shape.dim[1], 1, shape.dim[2]));
}

lk_value onnx_expand(onnx_builder *b, lk_value x, lk_shape shape) {
    lk_shape own = onnx_shape(b, x);
    lk_attributes a = {.shape = {.shape = shape, .factor = 1}};
    if (x == LK_NO_VALUE || lk_shape_equal(&own, &shape)) return x;
    return lk_graph_emit(b->graph, LK_OP_BROADCAST, &a, &x, 1, 0, NULL);
}

lk_value onnx_map_axis(onnx_builder *b, lk_value x, int axis, int rows, const double *matrix, const char *name) {
    static const int32_t turn[3] = {0, 2, 1};
    lk_shape shape = onnx_shape(b, x), own = shape;
    int size = shape.dim[axis];
    size_t count = (size_t)rows * (size_t)size;
    int64_t before = 1, behind = 1;
    float *coarse = lk_alloc(count, sizeof *coarse), *fine = lk_alloc(count, sizeof *fine);
    lk_value y = LK_NO_VALUE;
    bool exact = true;
    for (int i = 0; i < shape.rank; i++)
        *(i < axis ? &before : &behind) *= i == axis ? 1 : shape.dim[i];
    own.dim[axis] = rows;
    if (!coarse || !fine) {
        onnx_out_of_memory(b);
    } else {
        /* Two parts with 11 significant bits each: matrices are stored in f16. */
        for (size_t i = 0; i < count; i++) {
            double high = round(matrix[i] * 2048) / 2048;
            coarse[i] = (float)high;
            fine[i] = (float)(matrix[i] - high);
            exact = exact && fine[i] == 0;
        }
        lk_shape stored = lk_shape2(rows, size);
        y = lk_reshape(b->graph, x, lk_shape3((int)before, size, (int)behind));
        if (behind > 1)
            y = lk_permute(b->graph, y, turn);
        else
            y = lk_reshape(b->graph, y, lk_shape2((int)before, size));
        lk_value line = y;
        lk_value low = LK_NO_VALUE;
        if (!exact) {
            low = onnx_weight(b, name, "#fine", LK_WEIGHT_MATRIX, stored, 1, fine);
            low = lk_matmul(b->graph, line, low, LK_NO_VALUE, LK_NO_VALUE);
        }
        lk_value high = onnx_weight(b, name, "#map", LK_WEIGHT_MATRIX, stored, 1, coarse);
        y = lk_matmul(b->graph, line, high, LK_NO_VALUE, low);
        if (behind > 1) y = lk_permute(b->graph, y, turn);
        y = lk_reshape(b->graph, y, own);
    }
    lk_free(coarse);
    lk_free(fine);
    return y;
}

/* x at these positions of an axis, in this order. */
static lk_value pick(onnx_builder *b, lk_value x, int axis, const int64_t *positions, int count) {
    lk_shape shape = onnx_shape(b, x);
    int64_t size = shape.dim[axis], step = count > 1 ? positions[1] - positions[0] : 1;
    bool even = step > 0;
    char name[512];
    lk_value y = LK_NO_VALUE;
    for (int i = 1; i < count; i++)
        even = even && positions[i] - positions[i - 1] == step;
    if (even) {
        lk_attributes a = lk_attributes_zero();
        for (int i = 0; i < shape.rank; i++) {
            a.slice.step[i] = i == axis ? (int32_t)step : 1;
            a.slice.start[i] = i == axis ? (int32_t)positions[0] : 0;
            a.slice.size[i] = i == axis ? count : shape.dim[i];
        }
        return lk_graph_emit(b->graph, LK_OP_SLICE, &a, &x, 1, 0, NULL);
    }
    double *matrix = lk_alloc((size_t)count * (size_t)size, sizeof *matrix);
    if (!matrix) {
        onnx_out_of_memory(b);
        return LK_NO_VALUE;
    }
    memset(matrix, 0, (size_t)count * (size_t)size * sizeof *matrix);
    for (int i = 0; i < count; i++)
        matrix[(int64_t)i * size + positions[i]] = 1;
    snprintf(name, sizeof name, "%s#axis%d", b->node->outputs[0], axis);
    y = onnx_map_axis(b, x, axis, count, matrix, name);
    lk_free(matrix);
    return y;
}

/* ---- movement ---- */

bool onnx_set_reshaped(onnx_builder *b, lk_value x, const int64_t *dims, int rank) {
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

static bool translate_reshape(onnx_builder *b, int kind) {
    (void)kind;
    lk_value x = onnx_operand(b, 0);
    size_t count;
    int64_t dims[LK_MAX_RANK];
    const int64_t *wanted = onnx_ints_either(b, 1, "shape", &count);
    lk_shape shape = onnx_shape(b, x);
    if (x == LK_NO_VALUE || !onnx_fine(b)) return false;
    if (!wanted || count > LK_MAX_RANK) return onnx_unsupported(b, "a shape of more than 6 axes, or none");
    bool zero = onnx_int(b, "allowzero", 0) != 0; /* a 0 then asks for no elements, which is refused */
    for (size_t i = 0; i < count; i++)
        dims[i] = wanted[i] == 0 && !zero && (int)i < shape.rank ? shape.dim[i] : wanted[i];
    return onnx_set_reshaped(b, x, dims, (int)count);
}

static bool translate_flatten(onnx_builder *b, int kind) {
    (void)kind;
    lk_value x = onnx_operand(b, 0);
    lk_shape shape = onnx_shape(b, x);
    if (x == LK_NO_VALUE) return false;
    int64_t axis = onnx_int(b, "axis", 1), dims[2] = {1, -1};
    axis = axis < 0 ? axis + shape.rank : axis;
    if (axis < 0 || axis > shape.rank) return onnx_fail(b, LIKENESS_BAD_FILE, "'axis' is outside the input");
    for (int i = 0; i < axis; i++)
        dims[0] *= shape.dim[i];
    return onnx_set_reshaped(b, x, dims, 2);
}

static bool translate_squeeze(onnx_builder *b, int squeeze) {
    lk_value x = onnx_operand(b, 0);
    lk_shape shape = onnx_shape(b, x);
    size_t count;
    int64_t dims[2 * LK_MAX_RANK];
    const int64_t *axes = onnx_ints_either(b, 1, "axes", &count);
    uint32_t named = 0;
    if (x == LK_NO_VALUE || !onnx_fine(b)) return false;
    if (count > LK_MAX_RANK || (!squeeze && !axes)) return onnx_unsupported(b, "too many axes, or none");
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
    if (rank > LK_MAX_RANK) return onnx_unsupported(b, "more than 6 axes");
    return onnx_set_reshaped(b, x, dims, rank);
}

static bool translate_transpose(onnx_builder *b, int kind) {
    (void)kind;
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

static bool translate_concat(onnx_builder *b, int kind) {
    (void)kind;
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

int64_t onnx_slice_range(int64_t size, int64_t start, int64_t end, int64_t step, int64_t *first) {
    int64_t low = step > 0 ? 0 : -1, high = step > 0 ? size : size - 1;
    start = start < 0 ? start + size : start;
    end = end < 0 ? end + size : end;
    start = start < 0 ? 0 : start > high ? high : start;
    end = end < low ? low : end > high ? high : end;
    *first = start;
    int64_t span = step > 0 ? end - start : start - end, by = step > 0 ? step : -step;
    return span <= 0 ? 0 : (span + by - 1) / by;
}

static bool translate_slice(onnx_builder *b, int kind) {
    (void)kind;
    lk_value x = onnx_operand(b, 0);
    lk_shape shape = onnx_shape(b, x);
    lk_attributes a = lk_attributes_zero();
    int64_t reversed[LK_MAX_RANK] = {0}, first;
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
        int64_t by = step ? step[i] : 1;
        if (by == 0 || by > INT32_MAX || by < -INT32_MAX) return onnx_fail(b, LIKENESS_BAD_FILE, "a step of 0");
        int64_t count = onnx_slice_range(shape.dim[k], start[i], end[i], by, &first);
        if (count == 0) return onnx_unsupported(b, "an empty range");
        /* A range that runs backwards is cut forwards and turned round after that. */
        reversed[k] = by < 0 ? count : 0;
        a.slice.start[k] = (int32_t)(by < 0 ? first + (count - 1) * by : first);
        a.slice.step[k] = (int32_t)(by < 0 ? -by : by);
        a.slice.size[k] = (int32_t)count;
    }
    lk_value y = lk_graph_emit(b->graph, LK_OP_SLICE, &a, &x, 1, 0, NULL);
    for (int k = 0; k < shape.rank && y != LK_NO_VALUE; k++) {
        if (reversed[k] < 2) continue;
        int64_t *positions = lk_alloc((size_t)reversed[k], sizeof *positions);
        if (!positions) return onnx_out_of_memory(b);
        for (int64_t i = 0; i < reversed[k]; i++)
            positions[i] = reversed[k] - 1 - i;
        y = pick(b, y, k, positions, (int)reversed[k]);
        lk_free(positions);
    }
    return onnx_set_value(b, 0, y);
}

static bool translate_split(onnx_builder *b, int kind) {
    (void)kind;
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

/* Positions along an axis, known while building; their axes take the place of that one. */
static bool translate_gather(onnx_builder *b, int kind) {
    (void)kind;
    lk_value x = onnx_operand(b, 0);
    const lk_onnx_tensor *ids = onnx_array(b, 1, true);
    lk_shape shape = onnx_shape(b, x);
    int64_t dims[2 * LK_ONNX_MAX_RANK];
    int rank = 0;
    if (x == LK_NO_VALUE || !ids) return false;
    int axis = onnx_axis(b, onnx_int(b, "axis", 0), shape.rank);
    if (axis < 0) return false;
    if (!ids->i64 || ids->count < 1 || ids->count > 65536) return onnx_unsupported(b, "no position, or too many");
    int64_t *positions = lk_alloc(ids->count, sizeof *positions);
    if (!positions) return onnx_out_of_memory(b);
    bool good = true;
    for (size_t i = 0; i < ids->count; i++) {
        positions[i] = ids->i64[i] < 0 ? ids->i64[i] + shape.dim[axis] : ids->i64[i];
        good = good && positions[i] >= 0 && positions[i] < shape.dim[axis];
    }
    if (!good) onnx_fail(b, LIKENESS_BAD_FILE, "a position outside the input");
    lk_value y = good ? pick(b, x, axis, positions, (int)ids->count) : LK_NO_VALUE;
    lk_free(positions);
    if (y == LK_NO_VALUE) return false;
    if (ids->rank == 1) return onnx_set_value(b, 0, y);
    for (int i = 0; i < shape.rank; i++) {
        if (i != axis) dims[rank++] = shape.dim[i];
        for (int k = 0; i == axis && k < ids->rank; k++)
            dims[rank++] = ids->dims[k];
    }
    if (rank > LK_MAX_RANK) return onnx_unsupported(b, "more than 6 axes");
    return onnx_set_reshaped(b, y, dims, rank);
}

/* Removes what negative padding removes. */
static lk_value cropped(onnx_builder *b, lk_value x, const int32_t *before, const int32_t *after) {
    lk_shape shape = onnx_shape(b, x);
    lk_attributes a = lk_attributes_zero();
    bool all = true;
    for (int i = 0; i < shape.rank; i++) {
        int32_t front = before[i] < 0 ? -before[i] : 0, back = after[i] < 0 ? -after[i] : 0;
        a.slice.start[i] = front;
        a.slice.step[i] = 1;
        a.slice.size[i] = shape.dim[i] - front - back;
        if (a.slice.size[i] < 1) {
            onnx_fail(b, LIKENESS_BAD_FILE, "negative 'pads' that leave nothing");
            return LK_NO_VALUE;
        }
        all = all && a.slice.size[i] == shape.dim[i];
    }
    return all ? x : lk_graph_emit(b->graph, LK_OP_SLICE, &a, &x, 1, 0, NULL);
}

static bool translate_pad(onnx_builder *b, int kind) {
    (void)kind;
    lk_value x = onnx_operand(b, 0);
    lk_shape shape = onnx_shape(b, x);
    int rank = shape.rank;
    const char *mode = onnx_string(b, "mode", "constant");
    size_t count, named = 0;
    const int64_t *pads = onnx_ints_either(b, 1, "pads", &count);
    const int64_t *axes = onnx_input(b, 3) ? onnx_ints_either(b, 3, "", &named) : NULL;
    int32_t before[LK_MAX_RANK] = {0}, after[LK_MAX_RANK] = {0};
    float value = 0;
    bool any = false;
    if (x == LK_NO_VALUE || !onnx_fine(b)) return false;
    if (!axes) named = (size_t)rank;
    if (!pads || count != 2 * named || named > (size_t)rank) return onnx_unsupported(b, "'pads' of another rank");
    if (onnx_input(b, 2)) {
        const lk_onnx_tensor *number = onnx_array(b, 2, true);
        if (!number) return false;
        if (!number->f32 || number->count != 1) return onnx_unsupported(b, "a value that is not one number");
        value = number->f32[0];
    } else {
        value = onnx_float(b, "value", 0);
    }
    for (size_t i = 0; i < named; i++) {
        int axis = axes ? onnx_axis(b, axes[i], rank) : (int)i;
        if (axis < 0) return false;
        if (pads[i] < -65536 || pads[i] > 65536 || pads[named + i] < -65536 || pads[named + i] > 65536)
            return onnx_unsupported(b, "'pads' beyond 65536");
        before[axis] = (int32_t)pads[i];
        after[axis] = (int32_t)pads[named + i];
    }
    lk_pad way = strcmp(mode, "constant") == 0  ? LK_PAD_CONSTANT
                 : strcmp(mode, "edge") == 0    ? LK_PAD_EDGE
                 : strcmp(mode, "reflect") == 0 ? LK_PAD_REFLECT
                                                : (lk_pad)-1;
    if ((int)way < 0) return onnx_fail(b, LIKENESS_UNSUPPORTED, "'mode' is %s", mode);
    x = cropped(b, x, before, after);
    for (int i = 0; i < rank; i++) {
        before[i] = before[i] < 0 ? 0 : before[i];
        after[i] = after[i] < 0 ? 0 : after[i];
        any = any || before[i] > 0 || after[i] > 0;
    }
    return onnx_set_value(b, 0, any && x != LK_NO_VALUE ? lk_pad_op(b->graph, x, way, before, after, value) : x);
}

static bool translate_expand(onnx_builder *b, int kind) {
    (void)kind;
    lk_value x = onnx_operand(b, 0);
    const lk_onnx_tensor *wanted = onnx_array(b, 1, true);
    if (x == LK_NO_VALUE || !wanted) return false;
    if (!wanted->i64 || wanted->count > LK_MAX_RANK) return onnx_unsupported(b, "a shape of more than 6 axes");
    int own = onnx_shape(b, x).rank, count = (int)wanted->count, rank = own > count ? own : count;
    x = onnx_raise(b, x, rank);
    lk_shape shape = onnx_shape(b, x);
    for (int i = 0; i < count; i++) {
        int axis = rank - count + i;
        if (shape.dim[axis] == 1 && wanted->i64[i] > 0 && wanted->i64[i] <= INT32_MAX)
            shape.dim[axis] = (int32_t)wanted->i64[i];
        else if (wanted->i64[i] != 1 && wanted->i64[i] != shape.dim[axis])
            return onnx_fail(b, LIKENESS_BAD_FILE, "the shape does not fit the input");
    }
    return onnx_set_value(b, 0, onnx_expand(b, x, shape));
}

/* Copies along each axis: broadcast along a new axis in front of it, one after the other. */
static bool translate_tile(onnx_builder *b, int kind) {
    (void)kind;
    lk_value x = onnx_operand(b, 0);
    const lk_onnx_tensor *times = onnx_array(b, 1, true);
    if (x == LK_NO_VALUE || !times) return false;
    lk_shape shape = onnx_shape(b, x);
    if (!times->i64 || times->count != (size_t)shape.rank)
        return onnx_fail(b, LIKENESS_BAD_FILE, "the repeats are not one number an axis");
    for (int i = 0; i < shape.rank; i++) {
        int64_t before = 1, behind = shape.dim[i];
        if (times->i64[i] < 1 || times->i64[i] > 65536) return onnx_unsupported(b, "repeats outside 1 to 65536");
        if (times->i64[i] == 1) continue;
        for (int k = 0; k < shape.rank; k++)
            *(k < i ? &before : &behind) *= k == i ? 1 : shape.dim[k];
        x = lk_reshape(b->graph, x, lk_shape3((int)before, 1, (int)behind));
        x = onnx_expand(b, x, lk_shape3((int)before, (int)times->i64[i], (int)behind));
        shape.dim[i] = (int32_t)(shape.dim[i] * times->i64[i]);
        x = lk_reshape(b->graph, x, shape);
    }
    return onnx_set_value(b, 0, x);
}

/* Blocks of pixels to channels and back. */
static bool translate_depth_space(onnx_builder *b, int to_space) {
    static const int32_t up[2][6] = {{0, 3, 4, 1, 5, 2}, {0, 1, 4, 2, 5, 3}}; /* DCR, CRD */
    static const int32_t down[2][6] = {{0, 3, 5, 1, 2, 4}, {0, 1, 3, 5, 2, 4}};
    lk_value x = onnx_operand(b, 0);
    lk_shape s = onnx_shape(b, x), parts;
    int64_t block = onnx_int(b, "blocksize", 0);
    const char *mode = onnx_string(b, "mode", "DCR");
    bool crd = strcmp(mode, "CRD") == 0;
    if (x == LK_NO_VALUE) return false;
    if (s.rank != 4 || block < 1 || block > 1024 || (!crd && strcmp(mode, "DCR") != 0))
        return onnx_fail(b, LIKENESS_BAD_FILE, "'blocksize' or 'mode', or not a picture");
    int k = (int)block;
    if (to_space ? s.dim[1] % (k * k) != 0 : s.dim[2] % k != 0 || s.dim[3] % k != 0)
        return onnx_fail(b, LIKENESS_BAD_FILE, "blocks of %d do not divide the input", k);
    int32_t d = to_space ? s.dim[1] / (k * k) : 0;
    lk_shape split = to_space ? (crd ? (lk_shape){6, {s.dim[0], d, k, k, s.dim[2], s.dim[3]}}
                                     : (lk_shape){6, {s.dim[0], k, k, d, s.dim[2], s.dim[3]}})
                              : (lk_shape){6, {s.dim[0], s.dim[1], s.dim[2] / k, k, s.dim[3] / k, k}};
    parts = to_space ? lk_shape4(s.dim[0], d, s.dim[2] * k, s.dim[3] * k)
                     : lk_shape4(s.dim[0], s.dim[1] * k * k, s.dim[2] / k, s.dim[3] / k);
    lk_value y = lk_permute(b->graph, lk_reshape(b->graph, x, split), to_space ? up[crd] : down[crd]);
    return onnx_set_value(b, 0, lk_reshape(b->graph, y, parts));
}

/* ---- the list ---- */

const onnx_operator onnx_movement_operators[] = {
    {"Reshape", translate_reshape, 0, "up to 6 axes"},
    {"Flatten", translate_flatten, 0, ""},
    {"Squeeze", translate_squeeze, 1, ""},
    {"Unsqueeze", translate_squeeze, 0, "up to 6 axes"},
    {"Transpose", translate_transpose, 0, ""},
    {"Concat", translate_concat, 0, ""},
    {"Split", translate_split, 0, ""},
    {"Slice", translate_slice, 0, "constant ranges that are not empty"},
    {"Gather", translate_gather, 0, "constant positions"},
    {"Pad", translate_pad, 0, "constant; edge and reflect over height and width"},
    {"Expand", translate_expand, 0, ""},
    {"Tile", translate_tile, 0, ""},
    {"DepthToSpace", translate_depth_space, 1, ""},
    {"SpaceToDepth", translate_depth_space, 0, ""},
    {0},
};
