/* models/onnx_fold.c - nodes whose result is known while building: constants, shapes, and arithmetic on them. See
 * onnx_internal.h. Exporters write such chains for every reshape and resize. */
#include "models/onnx_internal.h"

#include <math.h>
#include <string.h>

/* ---- arrays ---- */

static lk_onnx_tensor *make_array(onnx_builder *b, int rank, const int64_t *dims, bool integers) {
    lk_onnx_tensor *array = lk_arena_alloc(&b->arena, 1, sizeof *array);
    size_t count = 1;
    if (!array) {
        onnx_out_of_memory(b);
        return NULL;
    }
    array->name = "";
    array->rank = rank;
    for (int i = 0; i < rank; i++) {
        array->dims[i] = dims[i];
        if (dims[i] < 0 || dims[i] > (1 << 24) || (count *= (size_t)dims[i]) > (1 << 24)) {
            onnx_fail(b, LIKENESS_UNSUPPORTED, "a constant of more than 16 million elements");
            return NULL;
        }
    }
    array->count = count;
    if (integers)
        array->i64 = lk_arena_alloc(&b->arena, count, sizeof *array->i64);
    else
        array->f32 = lk_arena_alloc(&b->arena, count, sizeof *array->f32);
    if (array->i64 || array->f32) return array;
    onnx_out_of_memory(b);
    return NULL;
}

static bool copy_element(lk_onnx_tensor *to, size_t i, const lk_onnx_tensor *from, size_t j) {
    if (j >= from->count) return false;
    if (to->i64)
        to->i64[i] = from->i64 ? from->i64[j] : (int64_t)from->f32[j];
    else
        to->f32[i] = from->f32 ? from->f32[j] : (float)from->i64[j];
    return true;
}

/* The same elements under another shape. */
static bool set_reshaped(onnx_builder *b, const lk_onnx_tensor *from, int rank, const int64_t *dims) {
    lk_onnx_tensor *to = lk_arena_alloc(&b->arena, 1, sizeof *to);
    if (!to) return onnx_out_of_memory(b);
    *to = *from;
    to->rank = rank;
    memcpy(to->dims, dims, (size_t)rank * sizeof *dims);
    return onnx_set_array(b, 0, to);
}

/* ---- single operators ---- */

static bool fold_constant(onnx_builder *b) {
    static const char *const scalars[] = {"value_float", "value_int"};
    lk_onnx_attribute *value = lk_onnx_find(b->node, "value");
    if (value && value->kind == LK_ONNX_TENSOR) return onnx_set_array(b, 0, value->tensor);
    for (int i = 0; i < 2; i++) {
        lk_onnx_attribute *scalar = lk_onnx_find(b->node, scalars[i]);
        if (!scalar) continue;
        lk_onnx_tensor *array = make_array(b, 0, NULL, i == 1);
        if (!array) return false;
        if (i == 1)
            array->i64[0] = scalar->i;
        else
            array->f32[0] = scalar->f;
        return onnx_set_array(b, 0, array);
    }
    for (int i = 0; i < 2; i++) {
        lk_onnx_attribute *list = lk_onnx_find(b->node, i == 1 ? "value_ints" : "value_floats");
        if (!list) continue;
        int64_t count = (int64_t)list->count;
        lk_onnx_tensor *array = make_array(b, 1, &count, i == 1);
        if (!array) return false;
        for (size_t k = 0; k < list->count; k++)
            if (i == 1)
                array->i64[k] = list->ints[k];
            else
                array->f32[k] = list->floats[k];
        return onnx_set_array(b, 0, array);
    }
    return onnx_fail(b, LIKENESS_UNSUPPORTED, "a Constant without a number");
}

static bool fold_shape(onnx_builder *b) {
    const onnx_value *x = onnx_input(b, 0);
    if (!x) return onnx_fail(b, LIKENESS_BAD_FILE, "input 0 is missing");
    int64_t dims[LK_ONNX_MAX_RANK];
    int rank = 0;
    if (x->array) {
        rank = x->array->rank;
        memcpy(dims, x->array->dims, sizeof dims);
    } else {
        lk_shape shape = onnx_shape(b, x->value);
        rank = shape.rank;
        for (int i = 0; i < rank; i++)
            dims[i] = shape.dim[i];
    }
    int64_t start = onnx_int(b, "start", 0), end = onnx_int(b, "end", rank);
    start = start < 0 ? start + rank : start;
    end = end < 0 ? end + rank : end;
    start = start < 0 ? 0 : start;
    end = end > rank ? rank : end;
    int64_t count = end > start ? end - start : 0;
    lk_onnx_tensor *array = make_array(b, 1, &count, true);
    for (int64_t i = 0; array && i < count; i++)
        array->i64[i] = dims[start + i];
    return onnx_set_array(b, 0, array);
}

/* Offset in an array of `from`'s shape of the element that broadcasts to `index` of `rank` dimensions. */
static size_t broadcast_offset(const lk_onnx_tensor *from, const int64_t *index, int rank) {
    size_t offset = 0;
    for (int i = 0; i < from->rank; i++) {
        int64_t at = from->dims[i] == 1 ? 0 : index[rank - from->rank + i];
        offset = offset * (size_t)from->dims[i] + (size_t)at;
    }
    return offset;
}

static double apply(const char *op, double a, double b, bool integers) {
    if (strcmp(op, "Add") == 0) return a + b;
    if (strcmp(op, "Sub") == 0) return a - b;
    if (strcmp(op, "Mul") == 0) return a * b;
    if (strcmp(op, "Min") == 0) return a < b ? a : b;
    if (strcmp(op, "Max") == 0) return a > b ? a : b;
    if (strcmp(op, "Pow") == 0) return pow(a, b);
    return integers ? trunc(a / b) : a / b; /* Div */
}

static bool fold_binary(onnx_builder *b, const lk_onnx_tensor *x, const lk_onnx_tensor *y) {
    int64_t dims[LK_ONNX_MAX_RANK] = {0}, index[LK_ONNX_MAX_RANK] = {0};
    int rank = x->rank > y->rank ? x->rank : y->rank;
    bool integers = x->i64 && y->i64;
    for (int i = 0; i < rank; i++) {
        int64_t dx = i - (rank - x->rank) >= 0 ? x->dims[i - (rank - x->rank)] : 1;
        int64_t dy = i - (rank - y->rank) >= 0 ? y->dims[i - (rank - y->rank)] : 1;
        if (dx != dy && dx != 1 && dy != 1)
            return onnx_fail(b, LIKENESS_BAD_FILE, "constants whose shapes do not fit together");
        dims[i] = dx == 1 ? dy : dx;
    }
    lk_onnx_tensor *to = make_array(b, rank, dims, integers);
    for (size_t i = 0; to && i < to->count; i++) {
        size_t j = broadcast_offset(x, index, rank), k = broadcast_offset(y, index, rank);
        double left = x->i64 ? (double)x->i64[j] : (double)x->f32[j];
        double right = y->i64 ? (double)y->i64[k] : (double)y->f32[k];
        if (integers && right == 0 && strcmp(b->node->op, "Div") == 0)
            return onnx_fail(b, LIKENESS_BAD_FILE, "a division of integers by zero");
        double result = apply(b->node->op, left, right, integers);
        if (integers)
            to->i64[i] = (int64_t)result;
        else
            to->f32[i] = (float)result;
        for (int d = rank - 1; d >= 0 && ++index[d] == dims[d]; d--)
            index[d] = 0;
    }
    return onnx_set_array(b, 0, to);
}

static bool fold_unary(onnx_builder *b, const lk_onnx_tensor *x) {
    const char *op = b->node->op;
    lk_onnx_tensor *to = make_array(b, x->rank, x->dims, x->i64 != NULL);
    for (size_t i = 0; to && i < x->count; i++) {
        double v = x->i64 ? (double)x->i64[i] : (double)x->f32[i];
        v = strcmp(op, "Floor") == 0  ? floor(v)
            : strcmp(op, "Ceil") == 0 ? ceil(v)
            : strcmp(op, "Neg") == 0  ? -v
                                      : sqrt(v);
        if (to->i64)
            to->i64[i] = (int64_t)v;
        else
            to->f32[i] = (float)v;
    }
    return onnx_set_array(b, 0, to);
}

static bool fold_cast(onnx_builder *b, const lk_onnx_tensor *x) {
    int64_t type = onnx_int(b, "to", 1);
    bool integers = type != 1 && type != 10 && type != 11 && type != 16; /* float, float16, double, bfloat16 */
    if (onnx_int(b, "saturate", 1) != 1) return onnx_fail(b, LIKENESS_UNSUPPORTED, "'saturate' other than 1");
    lk_onnx_tensor *to = make_array(b, x->rank, x->dims, integers);
    for (size_t i = 0; to && i < x->count; i++)
        copy_element(to, i, x, i);
    return onnx_set_array(b, 0, to);
}

/* Axis 0 only: what picking a dimension out of a shape needs. */
static bool fold_gather(onnx_builder *b, const lk_onnx_tensor *x, const lk_onnx_tensor *ids) {
    int64_t dims[LK_ONNX_MAX_RANK];
    if (onnx_int(b, "axis", 0) != 0 || x->rank < 1 || !ids->i64 || ids->rank + x->rank - 1 > LK_ONNX_MAX_RANK)
        return onnx_fail(b, LIKENESS_UNSUPPORTED, "only integer positions along the first axis of a constant");
    size_t row = x->dims[0] > 0 ? x->count / (size_t)x->dims[0] : 0;
    memcpy(dims, ids->dims, (size_t)ids->rank * sizeof *dims);
    memcpy(dims + ids->rank, x->dims + 1, (size_t)(x->rank - 1) * sizeof *dims);
    lk_onnx_tensor *to = make_array(b, ids->rank + x->rank - 1, dims, x->i64 != NULL);
    for (size_t i = 0; to && i < ids->count; i++) {
        int64_t at = ids->i64[i] < 0 ? ids->i64[i] + x->dims[0] : ids->i64[i];
        if (at < 0 || at >= x->dims[0]) return onnx_fail(b, LIKENESS_BAD_FILE, "a position outside the constant");
        for (size_t k = 0; k < row; k++)
            copy_element(to, i * row + k, x, (size_t)at * row + k);
    }
    return onnx_set_array(b, 0, to);
}

static bool fold_concat(onnx_builder *b) {
    int64_t count = 0;
    bool integers = true;
    for (size_t i = 0; i < b->node->input_count; i++) {
        const lk_onnx_tensor *part = onnx_array(b, i, true);
        if (!part) return false;
        if (part->rank != 1) return onnx_fail(b, LIKENESS_UNSUPPORTED, "only lists of numbers are joined");
        integers = integers && part->i64;
        count += part->dims[0];
    }
    (void)onnx_int(b, "axis", 0);
    lk_onnx_tensor *to = make_array(b, 1, &count, integers);
    size_t used = 0;
    for (size_t i = 0; to && i < b->node->input_count; i++) {
        const lk_onnx_tensor *part = onnx_array(b, i, true);
        for (size_t k = 0; k < part->count; k++)
            copy_element(to, used++, part, k);
    }
    return onnx_set_array(b, 0, to);
}

static bool fold_slice(onnx_builder *b, const lk_onnx_tensor *x) {
    size_t count[3];
    const int64_t *starts = onnx_ints_either(b, 1, "starts", &count[0]);
    const int64_t *ends = onnx_ints_either(b, 2, "ends", &count[1]);
    size_t steps = 0;
    const int64_t *step = onnx_ints_either(b, 4, "steps", &steps);
    (void)onnx_ints_either(b, 3, "axes", &count[2]);
    if (!starts || !ends || x->rank != 1 || count[0] != 1 || count[1] != 1 || (step && (steps != 1 || step[0] != 1)))
        return onnx_fail(b, LIKENESS_UNSUPPORTED, "only a range of a list of numbers");
    int64_t size = x->dims[0], from = starts[0] < 0 ? starts[0] + size : starts[0];
    int64_t to = ends[0] < 0 ? ends[0] + size : ends[0];
    from = from < 0 ? 0 : from > size ? size : from;
    to = to < from ? from : to > size ? size : to;
    int64_t length = to - from;
    lk_onnx_tensor *array = make_array(b, 1, &length, x->i64 != NULL);
    for (int64_t i = 0; array && i < length; i++)
        copy_element(array, (size_t)i, x, (size_t)(from + i));
    return onnx_set_array(b, 0, array);
}

static bool fold_constant_of_shape(onnx_builder *b, const lk_onnx_tensor *shape) {
    lk_onnx_attribute *value = lk_onnx_find(b->node, "value");
    if (!shape->i64 || shape->rank != 1 || shape->dims[0] > LK_ONNX_MAX_RANK)
        return onnx_fail(b, LIKENESS_BAD_FILE, "the shape must be a list of integers");
    bool integers = value && value->tensor && value->tensor->i64;
    lk_onnx_tensor *to = make_array(b, (int)shape->dims[0], shape->i64, integers);
    for (size_t i = 0; to && value && value->tensor && i < to->count; i++)
        copy_element(to, i, value->tensor, 0);
    return onnx_set_array(b, 0, to);
}

static bool fold_reshape(onnx_builder *b, const lk_onnx_tensor *x) {
    const lk_onnx_tensor *shape = onnx_array(b, 1, true);
    int64_t dims[LK_ONNX_MAX_RANK], known = 1;
    int hole = -1;
    (void)onnx_int(b, "allowzero", 0);
    if (!shape) return false;
    if (!shape->i64 || shape->count > LK_ONNX_MAX_RANK) return onnx_fail(b, LIKENESS_BAD_FILE, "not a shape");
    for (int i = 0; i < (int)shape->count; i++) {
        dims[i] = shape->i64[i] == 0 && i < x->rank ? x->dims[i] : shape->i64[i];
        if (dims[i] == -1 && hole < 0)
            hole = i;
        else if (dims[i] < 1 || dims[i] > (1 << 24) || (known *= dims[i]) > (1 << 24))
            return onnx_fail(b, LIKENESS_BAD_FILE, "a shape that is not possible");
    }
    if (hole >= 0) dims[hole] = (int64_t)x->count / known;
    if (known * (hole >= 0 ? dims[hole] : 1) != (int64_t)x->count)
        return onnx_fail(b, LIKENESS_BAD_FILE, "the shape has another number of elements");
    return set_reshaped(b, x, (int)shape->count, dims);
}

static bool fold_squeeze(onnx_builder *b, const lk_onnx_tensor *x, bool squeeze) {
    int64_t dims[LK_ONNX_MAX_RANK];
    size_t count;
    const int64_t *axes = onnx_ints_either(b, 1, "axes", &count);
    int rank = 0, total = squeeze ? x->rank : x->rank + (int)count;
    uint32_t named = 0;
    if (count > LK_ONNX_MAX_RANK || total > LK_ONNX_MAX_RANK || (!squeeze && !axes))
        return onnx_fail(b, LIKENESS_BAD_FILE, "too many axes, or none");
    for (size_t i = 0; i < count; i++) {
        int axis = onnx_axis(b, axes[i], total);
        if (axis < 0) return false;
        named |= 1u << axis;
    }
    for (int i = 0, from = 0; i < total; i++) {
        bool is_named = axes ? (named >> i & 1u) != 0 : x->dims[i] == 1;
        if (!squeeze) dims[rank++] = is_named ? 1 : x->dims[from++];
        if (squeeze && is_named && x->dims[i] != 1) return onnx_fail(b, LIKENESS_BAD_FILE, "axis %d is not 1", i);
        if (squeeze && !is_named) dims[rank++] = x->dims[i];
    }
    return set_reshaped(b, x, rank, dims);
}

static bool fold_transpose(onnx_builder *b, const lk_onnx_tensor *x) {
    size_t count;
    const int64_t *perm = onnx_ints(b, "perm", &count);
    int64_t dims[LK_ONNX_MAX_RANK], index[LK_ONNX_MAX_RANK] = {0}, stride[LK_ONNX_MAX_RANK], step = 1;
    if (perm && count != (size_t)x->rank) return onnx_fail(b, LIKENESS_BAD_FILE, "'perm' does not fit");
    for (int i = x->rank - 1; i >= 0; i--, step *= x->dims[i + 1])
        stride[i] = step;
    int from[LK_ONNX_MAX_RANK];
    for (int i = 0; i < x->rank; i++) {
        from[i] = perm ? onnx_axis(b, perm[i], x->rank) : x->rank - 1 - i;
        if (from[i] < 0) return false;
        dims[i] = x->dims[from[i]];
    }
    lk_onnx_tensor *to = make_array(b, x->rank, dims, x->i64 != NULL);
    for (size_t i = 0; to && i < to->count; i++) {
        int64_t offset = 0;
        for (int d = 0; d < x->rank; d++)
            offset += index[d] * stride[from[d]];
        if (!copy_element(to, i, x, (size_t)offset)) return onnx_fail(b, LIKENESS_BAD_FILE, "'perm' does not fit");
        for (int d = x->rank - 1; d >= 0 && ++index[d] == dims[d]; d--)
            index[d] = 0;
    }
    return onnx_set_array(b, 0, to);
}

/* ---- choice ---- */

static bool is(const onnx_builder *b, const char *op) { return strcmp(b->node->op, op) == 0; }

bool onnx_fold(onnx_builder *b) {
    static const char *const binary[] = {"Add", "Sub", "Mul", "Div", "Min", "Max", "Pow"};
    static const char *const unary[] = {"Floor", "Ceil", "Neg", "Sqrt"};
    if (is(b, "Constant")) return fold_constant(b);
    if (is(b, "Shape")) return fold_shape(b);
    if (b->node->input_count == 0) return false;
    for (size_t i = 0; i < b->node->input_count; i++) {
        const onnx_value *value = onnx_input(b, i);
        if (value && !value->array) return false;
        if (!value && b->node->inputs[i][0] != 0) return false;
    }
    const lk_onnx_tensor *x = onnx_array(b, 0, false), *y = onnx_array(b, 1, false);
    if (!x) return false;
    for (size_t i = 0; i < sizeof binary / sizeof *binary; i++)
        if (y && b->node->input_count == 2 && is(b, binary[i])) return fold_binary(b, x, y);
    for (size_t i = 0; i < sizeof unary / sizeof *unary; i++)
        if (is(b, unary[i])) return fold_unary(b, x);
    if (is(b, "Identity")) return onnx_set_array(b, 0, x);
    if (is(b, "Cast")) return fold_cast(b, x);
    if (is(b, "Gather") && y) return fold_gather(b, x, y);
    if (is(b, "Concat")) return fold_concat(b);
    if (is(b, "Slice")) return fold_slice(b, x);
    if (is(b, "ConstantOfShape")) return fold_constant_of_shape(b, x);
    if (is(b, "Reshape")) return fold_reshape(b, x);
    if (is(b, "Squeeze")) return fold_squeeze(b, x, true);
    if (is(b, "Unsqueeze")) return fold_squeeze(b, x, false);
    if (is(b, "Transpose")) return fold_transpose(b, x);
    return false;
}
