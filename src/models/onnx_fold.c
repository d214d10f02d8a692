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

static bool fold_cast(onnx_builder *b, const lk_onnx_tensor *x) {
    int64_t type = onnx_int(b, "to", 1);
    bool integers = type != 1 && type != 10 && type != 11 && type != 16; /* float, float16, double, bfloat16 */
    (void)lk_onnx_find(b->node, "saturate"); /* of 8-bit floats, which are read from no file */
    (void)lk_onnx_find(b->node, "round_mode");
    lk_onnx_tensor *to = make_array(b, x->rank, x->dims, integers);
    for (size_t i = 0; to && i < x->count; i++) {
        copy_element(to, i, x, i);
        if (type == 9) to->i64[i] = x->i64 ? x->i64[i] != 0 : x->f32[i] != 0;
    }
    return onnx_set_array(b, 0, to);
}

/* ---- element by element ---- */

/* Offset in an array of `from`'s shape of the element that broadcasts to `index` of `rank` dimensions. */
static size_t broadcast_offset(const lk_onnx_tensor *from, const int64_t *index, int rank) {
    size_t offset = 0;
    for (int i = 0; i < from->rank; i++) {
        int64_t at = from->dims[i] == 1 ? 0 : index[rank - from->rank + i];
        offset = offset * (size_t)from->dims[i] + (size_t)at;
    }
    return offset;
}

static double modulo(double a, double b, bool fmod_way) {
    double rest = b == 0 ? 0 : fmod(a, b);
    return !fmod_way && rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

typedef enum element_op {
    E_ADD,
    E_SUB,
    E_MUL,
    E_DIV,
    E_MIN,
    E_MAX,
    E_POW,
    E_MOD,
    E_EQUAL,
    E_GREATER,
    E_GREATER_EQUAL,
    E_LESS,
    E_LESS_EQUAL,
    E_AND,
    E_OR,
    E_XOR,
    E_NOT,
    E_IS_NAN,
    E_FLOOR,
    E_CEIL,
    E_ROUND,
    E_NEG,
    E_ABS,
    E_SIGN,
    E_SQRT,
    E_RECIPROCAL,
    E_EXP,
    E_LOG,
    E_WHERE
} element_op;

typedef struct element_row {
    const char *name;
    element_op op;
    int operands; /* 0: any number of them, one after the other */
    bool truth;   /* the result is a truth value */
} element_row;

static const element_row element_rows[] = {
    {"Add", E_ADD, 2, false},
    {"Sub", E_SUB, 2, false},
    {"Mul", E_MUL, 2, false},
    {"Div", E_DIV, 2, false},
    {"Min", E_MIN, 0, false},
    {"Max", E_MAX, 0, false},
    {"Sum", E_ADD, 0, false},
    {"Pow", E_POW, 2, false},
    {"Mod", E_MOD, 2, false},
    {"Equal", E_EQUAL, 2, true},
    {"Greater", E_GREATER, 2, true},
    {"GreaterOrEqual", E_GREATER_EQUAL, 2, true},
    {"Less", E_LESS, 2, true},
    {"LessOrEqual", E_LESS_EQUAL, 2, true},
    {"And", E_AND, 2, true},
    {"Or", E_OR, 2, true},
    {"Xor", E_XOR, 2, true},
    {"Not", E_NOT, 1, true},
    {"IsNaN", E_IS_NAN, 1, true},
    {"Floor", E_FLOOR, 1, false},
    {"Ceil", E_CEIL, 1, false},
    {"Round", E_ROUND, 1, false},
    {"Neg", E_NEG, 1, false},
    {"Abs", E_ABS, 1, false},
    {"Sign", E_SIGN, 1, false},
    {"Sqrt", E_SQRT, 1, false},
    {"Reciprocal", E_RECIPROCAL, 1, false},
    {"Exp", E_EXP, 1, false},
    {"Log", E_LOG, 1, false},

    {"Where", E_WHERE, 3, false},
};

static double apply(element_op op, const double *v, bool integers, bool fmod_way) {
    double a = v[0], b = v[1];
    switch (op) {
    case E_ADD:
        return a + b;
    case E_SUB:
        return a - b;
    case E_MUL:
        return a * b;
    case E_DIV:
        return integers ? trunc(a / b) : a / b;
    case E_MIN:
        return a < b ? a : b;
    case E_MAX:
        return a > b ? a : b;
    case E_POW:
        return pow(a, b);
    case E_MOD:
        return modulo(a, b, fmod_way);
    case E_EQUAL:
        return a == b;
    case E_GREATER:
        return a > b;
    case E_GREATER_EQUAL:
        return a >= b;
    case E_LESS:
        return a < b;
    case E_LESS_EQUAL:
        return a <= b;
    case E_AND:
        return a != 0 && b != 0;
    case E_OR:
        return a != 0 || b != 0;
    case E_XOR:
        return (a != 0) != (b != 0);
    case E_NOT:
        return a == 0;
    case E_IS_NAN:
        return isnan(a);
    case E_FLOOR:
        return floor(a);
    case E_CEIL:
        return ceil(a);
    case E_ROUND:
        return nearbyint(a); /* to even */
    case E_NEG:
        return -a;
    case E_ABS:
        return fabs(a);
    case E_SIGN:
        return (a > 0) - (a < 0);
    case E_SQRT:
        return sqrt(a);
    case E_RECIPROCAL:
        return 1 / a;
    case E_EXP:
        return exp(a);
    case E_LOG:
        return log(a);
    case E_WHERE:
        return a != 0 ? b : v[2];
    }
    return NAN;
}

/* count: 1 to 3 operands, all there. */
static lk_onnx_tensor *fold_elements(onnx_builder *b, const element_row *row, const lk_onnx_tensor *const *in,
                                     int count) {
    int64_t dims[LK_ONNX_MAX_RANK] = {0}, index[LK_ONNX_MAX_RANK] = {0};
    int rank = 0, first = row->op == E_WHERE ? 1 : 0;
    bool integers = true, fmod_way = row->op == E_MOD && onnx_int(b, "fmod", 0) != 0;
    for (int k = 0; k < count; k++) {
        rank = in[k]->rank > rank ? in[k]->rank : rank;
        integers = integers && (k < first || in[k]->i64 != NULL);
    }
    for (int i = 0; i < rank; i++) {
        dims[i] = 1;
        for (int k = 0; k < count; k++) {
            int own = i - (rank - in[k]->rank);
            int64_t dim = own >= 0 ? in[k]->dims[own] : 1;
            if (dim != dims[i] && dim != 1 && dims[i] != 1) {
                onnx_fail(b, LIKENESS_BAD_FILE, "constants whose shapes do not fit together");
                return NULL;
            }
            dims[i] = dims[i] == 1 ? dim : dims[i];
        }
    }
    lk_onnx_tensor *to = make_array(b, rank, dims, integers || row->truth);
    for (size_t i = 0; to && i < to->count; i++) {
        double v[3] = {0, 0, 0};
        for (int k = 0; k < count; k++) {
            size_t at = broadcast_offset(in[k], index, rank);
            v[k] = in[k]->i64 ? (double)in[k]->i64[at] : (double)in[k]->f32[at];
        }
        if (integers && v[1] == 0 && (row->op == E_DIV || row->op == E_MOD)) {
            onnx_fail(b, LIKENESS_BAD_FILE, "a division of integers by zero");
            return NULL;
        }
        double result = apply(row->op, v, integers, fmod_way);
        if (!to->i64)
            to->f32[i] = (float)result;
        else if (fabs(result) < 9e18)
            to->i64[i] = (int64_t)result;
        else
            to->i64[i] = result > 0 ? INT64_MAX : INT64_MIN; /* -INT64_MIN and the like in slices "to the end" */
        for (int d = rank - 1; d >= 0 && ++index[d] == dims[d]; d--)
            index[d] = 0;
    }
    return to;
}

static bool fold_element_row(onnx_builder *b, const element_row *row) {
    const lk_onnx_tensor *in[3] = {NULL, NULL, NULL};
    size_t count = b->node->input_count;
    for (size_t i = 0; i < count; i++)
        if (!onnx_array(b, i, true)) return false;
    if (row->operands > 0 ? count != (size_t)row->operands : count < 1)
        return onnx_fail(b, LIKENESS_BAD_FILE, "%llu inputs", (unsigned long long)count);
    for (size_t i = 0; i < count && i < 3; i++)
        in[i] = onnx_array(b, i, true);
    if (row->operands > 0) return onnx_set_array(b, 0, fold_elements(b, row, in, row->operands));
    for (size_t i = 1; i < count && in[0]; i++) {
        in[1] = onnx_array(b, i, true);
        in[0] = fold_elements(b, row, in, 2);
    }
    return onnx_set_array(b, 0, in[0]);
}

/* ---- parts ---- */

/* Position i of axis k of the result is position map[k][i] of axis k of x; a NULL map changes nothing. */
static lk_onnx_tensor *fold_take(onnx_builder *b, const lk_onnx_tensor *x, const int64_t *dims, int64_t *const *map) {
    int64_t index[LK_ONNX_MAX_RANK] = {0};
    lk_onnx_tensor *to = make_array(b, x->rank, dims, x->i64 != NULL);
    for (size_t i = 0; to && i < to->count; i++) {
        int64_t from = 0;
        for (int d = 0; d < x->rank; d++)
            from = from * x->dims[d] + (map[d] ? map[d][index[d]] : index[d]);
        if (!copy_element(to, i, x, (size_t)from)) {
            onnx_fail(b, LIKENESS_BAD_FILE, "a position outside the constant");
            return NULL;
        }
        for (int d = x->rank - 1; d >= 0 && ++index[d] == dims[d]; d--)
            index[d] = 0;
    }
    return to;
}

static int64_t *make_map(onnx_builder *b, int64_t count) {
    if (count < 0 || count > (1 << 24)) {
        onnx_fail(b, LIKENESS_UNSUPPORTED, "a constant of more than 16 million elements");
        return NULL;
    }
    int64_t *map = lk_arena_alloc(&b->arena, (size_t)count + 1, sizeof *map);
    if (!map) onnx_out_of_memory(b);
    return map;
}

static bool fold_gather(onnx_builder *b, const lk_onnx_tensor *x, const lk_onnx_tensor *ids) {
    int64_t dims[LK_ONNX_MAX_RANK], *map[LK_ONNX_MAX_RANK] = {NULL}, result[LK_ONNX_MAX_RANK];
    int axis = onnx_axis(b, onnx_int(b, "axis", 0), x->rank), rank = 0;
    if (axis < 0) return false;
    if (!ids->i64 || ids->rank + x->rank - 1 > LK_ONNX_MAX_RANK)
        return onnx_fail(b, LIKENESS_UNSUPPORTED, "positions that are no integers, or a result of too many axes");
    memcpy(dims, x->dims, sizeof dims);
    dims[axis] = (int64_t)ids->count;
    if (!(map[axis] = make_map(b, (int64_t)ids->count))) return false;
    for (size_t i = 0; i < ids->count; i++) {
        map[axis][i] = ids->i64[i] < 0 ? ids->i64[i] + x->dims[axis] : ids->i64[i];
        if (map[axis][i] < 0 || map[axis][i] >= x->dims[axis])
            return onnx_fail(b, LIKENESS_BAD_FILE, "a position outside the constant");
    }
    const lk_onnx_tensor *to = fold_take(b, x, dims, map);
    for (int i = 0; i < x->rank; i++) {
        if (i != axis) result[rank++] = x->dims[i];
        for (int k = 0; i == axis && k < ids->rank; k++)
            result[rank++] = ids->dims[k];
    }
    return to && set_reshaped(b, to, rank, result);
}

static bool fold_slice(onnx_builder *b, const lk_onnx_tensor *x) {
    size_t count[4];
    int64_t dims[LK_ONNX_MAX_RANK], *map[LK_ONNX_MAX_RANK] = {NULL};
    const int64_t *starts = onnx_ints_either(b, 1, "starts", &count[0]);
    const int64_t *ends = onnx_ints_either(b, 2, "ends", &count[1]);
    const int64_t *axes = onnx_ints_either(b, 3, "axes", &count[2]);
    const int64_t *steps = onnx_ints_either(b, 4, "steps", &count[3]);
    if (!onnx_fine(b)) return false;
    if (!starts || !ends || count[0] != count[1] || (axes && count[2] != count[0]) || (steps && count[3] != count[0]))
        return onnx_fail(b, LIKENESS_BAD_FILE, "starts, ends, axes and steps do not fit together");
    memcpy(dims, x->dims, sizeof dims);
    for (size_t i = 0; i < count[0]; i++) {
        int k = onnx_axis(b, axes ? axes[i] : (int64_t)i, x->rank);
        if (k < 0) return false;
        int64_t step = steps ? steps[i] : 1, first;
        if (step == 0 || step > INT32_MAX || step < -INT32_MAX) return onnx_fail(b, LIKENESS_BAD_FILE, "a step of 0");
        dims[k] = onnx_slice_range(x->dims[k], starts[i], ends[i], step, &first);
        if (!(map[k] = make_map(b, dims[k]))) return false;
        for (int64_t p = 0; p < dims[k]; p++)
            map[k][p] = first + p * step;
    }
    return onnx_set_array(b, 0, fold_take(b, x, dims, map));
}

static bool fold_split(onnx_builder *b, const lk_onnx_tensor *x) {
    size_t count;
    const int64_t *sizes = onnx_ints_either(b, 1, "split", &count);
    int64_t parts = (int64_t)b->node->output_count, at = 0;
    int axis = onnx_axis(b, onnx_int(b, "axis", 0), x->rank);
    if (axis < 0 || !onnx_fine(b)) return false;
    if (parts < 1 || onnx_int(b, "num_outputs", parts) != parts || (sizes && (int64_t)count != parts))
        return onnx_fail(b, LIKENESS_BAD_FILE, "the parts do not fit the outputs");
    for (int64_t i = 0; i < parts; i++) {
        int64_t dims[LK_ONNX_MAX_RANK], *map[LK_ONNX_MAX_RANK] = {NULL}, left = x->dims[axis] - at;
        int64_t chunk = (x->dims[axis] + parts - 1) / parts, size = sizes ? sizes[i] : chunk < left ? chunk : left;
        if (size < 0 || size > left) return onnx_fail(b, LIKENESS_BAD_FILE, "the parts do not fit the input");
        memcpy(dims, x->dims, sizeof dims);
        dims[axis] = size;
        if (!(map[axis] = make_map(b, size))) return false;
        for (int64_t p = 0; p < size; p++)
            map[axis][p] = at + p;
        if (!onnx_set_array(b, (size_t)i, fold_take(b, x, dims, map))) return false;
        at += size;
    }
    return true;
}

/* Expand (repeats: false) and Tile: one number an axis, the input's axes being the last ones. */
static bool fold_repeat(onnx_builder *b, const lk_onnx_tensor *x, const lk_onnx_tensor *numbers, bool repeats) {
    int64_t dims[LK_ONNX_MAX_RANK], *map[LK_ONNX_MAX_RANK] = {NULL};
    lk_onnx_tensor raised = *x;
    if (!numbers || !numbers->i64 || numbers->count > LK_ONNX_MAX_RANK || (repeats && (int)numbers->count != x->rank))
        return onnx_fail(b, LIKENESS_BAD_FILE, "not one number an axis");
    int rank = x->rank > (int)numbers->count ? x->rank : (int)numbers->count;
    raised.rank = rank;
    for (int i = 0; i < rank; i++) {
        int own = i - (rank - x->rank), other = i - (rank - (int)numbers->count);
        int64_t has = own >= 0 ? x->dims[own] : 1, wanted = other >= 0 ? numbers->i64[other] : 1;
        raised.dims[i] = has;
        if (wanted < 0 || wanted > (1 << 24) || (!repeats && wanted != has && wanted != 1 && has != 1))
            return onnx_fail(b, LIKENESS_BAD_FILE, "the shape does not fit the constant");
        dims[i] = repeats ? has * wanted : has == 1 ? wanted : has;
        if (!(map[i] = make_map(b, dims[i]))) return false;
        for (int64_t p = 0; p < dims[i]; p++)
            map[i][p] = p % has;
    }
    return onnx_set_array(b, 0, fold_take(b, &raised, dims, map));
}

static bool fold_concat(onnx_builder *b) {
    const lk_onnx_tensor *first = onnx_array(b, 0, true);
    int64_t dims[LK_ONNX_MAX_RANK], before = 1;
    if (!first) return false;
    int axis = onnx_axis(b, onnx_int(b, "axis", 1), first->rank);
    if (axis < 0) return false;
    bool integers = first->i64 != NULL;
    memcpy(dims, first->dims, sizeof dims);
    dims[axis] = 0;
    for (size_t i = 0; i < b->node->input_count; i++) {
        const lk_onnx_tensor *part = onnx_array(b, i, true);
        if (!part) return false;
        bool fits = part->rank == first->rank && (part->i64 != NULL) == integers;
        for (int k = 0; fits && k < first->rank; k++)
            fits = k == axis || part->dims[k] == first->dims[k];
        if (!fits) return onnx_fail(b, LIKENESS_BAD_FILE, "constants that do not fit together");
        dims[axis] += part->dims[axis];
    }
    lk_onnx_tensor *to = make_array(b, first->rank, dims, integers);
    for (int k = 0; k < axis; k++)
        before *= dims[k];
    size_t row = to && before > 0 ? to->count / (size_t)before : 0, at = 0;
    for (size_t i = 0; to && before > 0 && i < b->node->input_count; i++) {
        const lk_onnx_tensor *part = onnx_array(b, i, true);
        size_t own = part->count / (size_t)before;
        for (size_t n = 0; n < part->count; n++)
            copy_element(to, n / (own ? own : 1) * row + at + n % (own ? own : 1), part, n);
        at += own;
    }
    return onnx_set_array(b, 0, to);
}

static bool fold_range(onnx_builder *b) {
    const lk_onnx_tensor *part[3];
    double v[3];
    for (size_t i = 0; i < 3; i++) {
        part[i] = onnx_array(b, i, true);
        if (!part[i]) return false;
        if (part[i]->count != 1) return onnx_fail(b, LIKENESS_BAD_FILE, "input %zu must be one number", i);
        v[i] = part[i]->i64 ? (double)part[i]->i64[0] : (double)part[i]->f32[0];
    }
    double steps = v[2] == 0 ? NAN : ceil((v[1] - v[0]) / v[2]);
    if (!(steps <= (1 << 24))) return onnx_fail(b, LIKENESS_BAD_FILE, "a range without end");
    int64_t count = steps > 0 ? (int64_t)steps : 0;
    lk_onnx_tensor *to = make_array(b, 1, &count, part[0]->i64 != NULL);
    for (int64_t i = 0; to && i < count; i++)
        if (to->i64)
            to->i64[i] = (int64_t)(v[0] + (double)i * v[2]);
        else
            to->f32[i] = (float)(v[0] + (double)i * v[2]);
    return onnx_set_array(b, 0, to);
}

/* ---- reductions ---- */

static bool fold_reduce(onnx_builder *b, const lk_onnx_tensor *x, char what) {
    size_t count;
    const int64_t *axes = onnx_ints_either(b, 1, "axes", &count);
    bool keep = onnx_int(b, "keepdims", 1) != 0, nothing = onnx_int(b, "noop_with_empty_axes", 0) != 0;
    int64_t dims[LK_ONNX_MAX_RANK] = {0}, full[LK_ONNX_MAX_RANK] = {0}, index[LK_ONNX_MAX_RANK] = {0};
    uint32_t mask = 0;
    int rank = 0;
    if (!onnx_fine(b)) return false;
    for (size_t i = 0; i < count; i++) {
        int axis = onnx_axis(b, axes[i], x->rank);
        if (axis < 0) return false;
        mask |= 1u << axis;
    }
    if (count == 0 && !nothing) mask = (1u << x->rank) - 1;
    size_t reduced = 1;
    for (int i = 0; i < x->rank; i++) {
        bool gone = (mask >> i & 1u) != 0;
        full[i] = gone ? 1 : x->dims[i];
        if (gone) reduced *= (size_t)x->dims[i];
        if (!gone || keep) dims[rank++] = full[i];
    }
    lk_onnx_tensor *to = make_array(b, rank, dims, x->i64 != NULL);
    if (!to) return false;
    if (reduced == 0) return onnx_fail(b, LIKENESS_UNSUPPORTED, "a reduction of nothing");
    double *sum = lk_arena_alloc(&b->arena, to->count + 1, sizeof *sum);
    if (!sum) return onnx_out_of_memory(b);
    for (size_t i = 0; i < to->count; i++)
        sum[i] = what == 'p' ? 1 : what == 'x' ? -INFINITY : what == 'n' ? INFINITY : 0;
    for (size_t i = 0; i < x->count; i++) {
        size_t at = 0;
        for (int d = 0; d < x->rank; d++)
            at = at * (size_t)full[d] + (size_t)(full[d] == 1 ? 0 : index[d]);
        double v = x->i64 ? (double)x->i64[i] : (double)x->f32[i];
        sum[at] = what == 'p'   ? sum[at] * v
                  : what == 'x' ? fmax(sum[at], v)
                  : what == 'n' ? fmin(sum[at], v)
                                : sum[at] + v;
        for (int d = x->rank - 1; d >= 0 && ++index[d] == x->dims[d]; d--)
            index[d] = 0;
    }
    for (size_t i = 0; i < to->count; i++) {
        double v = what == 'm' ? sum[i] / (double)reduced : sum[i];
        if (to->i64)
            to->i64[i] = fabs(v) < 9e18 ? (int64_t)v : 0;
        else
            to->f32[i] = (float)v;
    }
    return onnx_set_array(b, 0, to);
}

static bool fold_size(onnx_builder *b) {
    const onnx_value *x = onnx_input(b, 0);
    if (!x) return onnx_fail(b, LIKENESS_BAD_FILE, "input 0 is missing");
    lk_onnx_tensor *to = make_array(b, 0, NULL, true);
    lk_shape shape = x->array ? (lk_shape){0} : onnx_shape(b, x->value);
    if (to) to->i64[0] = x->array ? (int64_t)x->array->count : lk_shape_elements(&shape);
    return onnx_set_array(b, 0, to);
}

static bool fold_flatten(onnx_builder *b, const lk_onnx_tensor *x) {
    int64_t axis = onnx_int(b, "axis", 1), dims[2] = {1, 1};
    axis = axis < 0 ? axis + x->rank : axis;
    if (axis < 0 || axis > x->rank) return onnx_fail(b, LIKENESS_BAD_FILE, "'axis' is outside the input");
    for (int i = 0; i < x->rank; i++)
        dims[i < axis ? 0 : 1] *= x->dims[i];
    return set_reshaped(b, x, 2, dims);
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
    static const struct {
        const char *name;
        char what;
    } reductions[] = {
        {"ReduceProd", 'p'}, {"ReduceSum", 's'}, {"ReduceMax", 'x'}, {"ReduceMin", 'n'}, {"ReduceMean", 'm'}};
    if (is(b, "Constant")) return fold_constant(b);
    if (is(b, "Shape")) return fold_shape(b);
    if (is(b, "Size")) return fold_size(b);
    if (b->node->input_count == 0) return false;
    for (size_t i = 0; i < b->node->input_count; i++) {
        const onnx_value *value = onnx_input(b, i);
        if (value && !value->array) return false;
        if (!value && b->node->inputs[i][0] != 0) return false;
    }
    const lk_onnx_tensor *x = onnx_array(b, 0, false), *y = onnx_array(b, 1, false);
    if (!x) return false;
    for (size_t i = 0; i < sizeof element_rows / sizeof *element_rows; i++)
        if (is(b, element_rows[i].name)) return fold_element_row(b, &element_rows[i]);
    for (size_t i = 0; i < sizeof reductions / sizeof *reductions; i++)
        if (is(b, reductions[i].name)) return fold_reduce(b, x, reductions[i].what);
    if (is(b, "Identity")) return onnx_set_array(b, 0, x);
    if (is(b, "Cast")) return fold_cast(b, x);
    if (is(b, "Gather") && y) return fold_gather(b, x, y);
    if (is(b, "Concat")) return fold_concat(b);
    if (is(b, "Slice")) return fold_slice(b, x);
    if (is(b, "Split")) return fold_split(b, x);
    if (is(b, "Expand")) return fold_repeat(b, x, y, false);
    if (is(b, "Tile")) return fold_repeat(b, x, y, true);
    if (is(b, "Range")) return fold_range(b);
    if (is(b, "ConstantOfShape")) return fold_constant_of_shape(b, x);
    if (is(b, "Reshape")) return fold_reshape(b, x);
    if (is(b, "Flatten")) return fold_flatten(b, x);
    if (is(b, "Squeeze")) return fold_squeeze(b, x, true);
    if (is(b, "Unsqueeze")) return fold_squeeze(b, x, false);
    if (is(b, "Transpose")) return fold_transpose(b, x);
    return false;
}
