/* models/onnx_pointwise.c - operators of ONNX that work element by element, softmax, reductions, as nodes of the graph.
 * See onnx_internal.h. */
#include "models/onnx_internal.h"

#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- one operand ---- */

static bool unary(onnx_builder *b, lk_unary kind, float a, float c) {
    lk_value x = onnx_operand(b, 0);
    return x != LK_NO_VALUE && onnx_set_value(b, 0, lk_unary_op(b->graph, kind, x, a, c));
}

static bool translate_unary(onnx_builder *b, int kind) { return unary(b, (lk_unary)kind, 0, 0); }

static bool translate_leaky(onnx_builder *b, int kind) {
    return unary(b, (lk_unary)kind, onnx_float(b, "alpha", 0.01f), 0);
}

static bool translate_hard_sigmoid(onnx_builder *b, int kind) {
    float slope = onnx_float(b, "alpha", 0.2f), shift = onnx_float(b, "beta", 0.5f);
    return unary(b, (lk_unary)kind, slope, shift);
}

static bool translate_gelu(onnx_builder *b, int kind) {
    (void)kind;
    bool exact = strcmp(onnx_string(b, "approximate", "none"), "none") == 0;
    return unary(b, exact ? LK_UNARY_GELU : LK_UNARY_GELU_TANH, 0, 0);
}

typedef enum shaped_elu { ELU, SELU, CELU } shaped_elu;

/* selu = gamma elu_alpha; celu(x) = elu_alpha with the argument divided by alpha below 0, that is alpha elu_1(x /
 * alpha). */
static bool translate_elu(onnx_builder *b, int kind) {
    float alpha = onnx_float(b, "alpha", kind == SELU ? 1.67326319217681884765625f : 1);
    float gamma = kind == SELU ? onnx_float(b, "gamma", 1.05070102214813232421875f) : 1;
    lk_value x = onnx_operand(b, 0);
    if (x == LK_NO_VALUE) return false;
    if (kind == CELU) {
        if (alpha == 0) return onnx_unsupported(b, "'alpha' is 0");
        x = lk_scale_shift(b->graph, x, 1 / alpha, 0);
        gamma = alpha;
        alpha = 1;
    }
    lk_value y = lk_unary_op(b->graph, LK_UNARY_ELU, x, alpha, 0);
    return onnx_set_value(b, 0, gamma == 1 ? y : lk_scale_shift(b->graph, y, gamma, 0));
}

/* x tanh(softplus(x)) */
static bool translate_mish(onnx_builder *b, int kind) {
    (void)kind;
    lk_value x = onnx_operand(b, 0);
    if (x == LK_NO_VALUE) return false;
    lk_value gate = lk_unary_op(b->graph, LK_UNARY_SOFTPLUS, x, 0, 0);
    return onnx_set_value(b, 0, lk_mul(b->graph, x, lk_unary_op(b->graph, LK_UNARY_TANH, gate, 0, 0)));
}

/* x / (1 + |x|) */
static bool translate_softsign(onnx_builder *b, int kind) {
    (void)kind;
    lk_value x = onnx_operand(b, 0);
    if (x == LK_NO_VALUE) return false;
    lk_value under = lk_scale_shift(b->graph, lk_unary_op(b->graph, LK_UNARY_ABS, x, 0, 0), 1, 1);
    return onnx_set_value(b, 0, lk_binary_op(b->graph, LK_BINARY_DIV, x, under));
}

static bool translate_clip(onnx_builder *b, int kind) {
    float bound[2] = {-3.4028234e38f, 3.4028234e38f};
    (void)kind;
    for (size_t i = 0; i < 2; i++) {
        const char *name = i == 0 ? "min" : "max";
        if (!onnx_input(b, i + 1)) {
            bound[i] = onnx_float(b, name, bound[i]);
            continue;
        }
        const lk_onnx_tensor *array = onnx_array(b, i + 1, true);
        if (!array) return false;
        if (!array->f32 || array->count != 1) return onnx_unsupported(b, "a bound must be one number");
        bound[i] = array->f32[0];
    }
    if (bound[0] > bound[1]) bound[0] = bound[1]; /* as ONNX defines it */
    return unary(b, LK_UNARY_CLAMP, bound[0], bound[1]);
}

/* Slopes that are not one a channel: relu(x) - slope relu(-x). */
static bool prelu_apart(onnx_builder *b, lk_value x) {
    lk_value slope = onnx_operand(b, 1);
    int rank = onnx_shape(b, x).rank;
    if (slope == LK_NO_VALUE) return false;
    lk_value above = lk_unary_op(b->graph, LK_UNARY_RELU, x, 0, 0);
    lk_value below = lk_unary_op(b->graph, LK_UNARY_RELU, lk_unary_op(b->graph, LK_UNARY_NEG, x, 0, 0), 0, 0);
    lk_value steep = lk_mul(b->graph, below, onnx_raise(b, slope, rank));
    return onnx_set_value(b, 0, lk_binary_op(b->graph, LK_BINARY_SUB, above, steep));
}

static bool translate_prelu(onnx_builder *b, int kind) {
    (void)kind;
    lk_value x = onnx_operand(b, 0);
    const lk_onnx_tensor *slope = onnx_array(b, 1, false);
    lk_shape shape = onnx_shape(b, x);
    if (x == LK_NO_VALUE) return false;
    int channels = lk_shape_inner(&shape);
    /* For rank 4 the slope is [C,1,1]; a flat one would run along the width. */
    int place = slope ? slope->rank - (shape.rank == 4 ? 3 : 1) : 0;
    bool channelwise =
        slope && slope->f32 && shape.rank > 0 &&
        (slope->count == 1 || (slope->count == (size_t)channels && place >= 0 && slope->dims[place] == channels));
    if (!channelwise) return prelu_apart(b, x);
    float *values = lk_alloc((size_t)channels, sizeof *values);
    if (!values) return onnx_out_of_memory(b);
    for (int i = 0; i < channels; i++)
        values[i] = slope->f32[slope->count == 1 ? 0 : i];
    lk_value w = onnx_weight(b, b->node->outputs[0], "#slope", LK_WEIGHT_VECTOR, lk_shape1(channels), 1, values);
    lk_free(values);
    return onnx_set_value(b, 0, lk_prelu(b->graph, x, w));
}

/* What changes nothing: rounding to another float type is not imitated. */
static bool translate_identity(onnx_builder *b, int kind) {
    (void)kind;
    (void)lk_onnx_find(b->node, "ratio"); /* of a dropout, training only */
    (void)lk_onnx_find(b->node, "seed");
    (void)lk_onnx_find(b->node, "is_test");
    for (size_t i = 1; i < b->node->output_count; i++)
        if (b->node->outputs[i][0]) return onnx_unsupported(b, "the mask as an output");
    return onnx_set_value(b, 0, onnx_operand(b, 0));
}

static bool translate_cast(onnx_builder *b, int kind) {
    int64_t type = kind ? 1 : onnx_int(b, "to", 1);
    (void)lk_onnx_find(b->node, "saturate");
    (void)lk_onnx_find(b->node, "round_mode");
    if (kind) { /* CastLike */
        const onnx_value *like = onnx_input(b, 1);
        if (like && like->array && !like->array->f32) return onnx_unsupported(b, "a cast to integers");
    }
    if (type != 1 && type != 10 && type != 11 && type != 16)
        return onnx_unsupported(b, "a cast of what the network computes to integers");
    return onnx_set_value(b, 0, onnx_operand(b, 0));
}

/* ---- two operands and more ---- */

/* One operand is a single number: a scale and a shift instead of a broadcast. */
static bool with_number(onnx_builder *b, lk_binary kind, size_t number_at, double number, bool *handled) {
    lk_value x = onnx_operand(b, 1 - number_at);
    double scale = 1, shift = 0;
    *handled = true;
    if (x == LK_NO_VALUE) return false;
    if (kind == LK_BINARY_ADD) {
        shift = number;
    } else if (kind == LK_BINARY_SUB) {
        scale = number_at == 0 ? -1 : 1;
        shift = number_at == 0 ? number : -number;
    } else if (kind == LK_BINARY_MUL) {
        scale = number;
    } else if (kind == LK_BINARY_DIV) {
        scale = number_at == 0 ? number : 1 / number;
        if (number_at == 0) x = lk_unary_op(b->graph, LK_UNARY_RECIPROCAL, x, 0, 0);
    } else {
        *handled = false;
        return false;
    }
    if (!isfinite(scale) || !isfinite(shift)) return onnx_unsupported(b, "a constant that is not finite");
    return onnx_set_value(b, 0, lk_scale_shift(b->graph, x, (float)scale, (float)shift));
}

static bool translate_binary(onnx_builder *b, int kind) {
    for (size_t i = 0; i < 2 && b->node->input_count == 2; i++) {
        const lk_onnx_tensor *array = onnx_array(b, i, false);
        const onnx_value *other = onnx_input(b, 1 - i);
        bool handled = false;
        if (!array || array->count != 1 || !array->f32 || !other || other->value == LK_NO_VALUE) continue;
        if (array->rank > onnx_shape(b, other->value).rank) continue;
        bool good = with_number(b, (lk_binary)kind, i, (double)array->f32[0], &handled);
        if (handled) return good;
    }
    lk_value y = onnx_operand(b, 0);
    for (size_t i = 1; i < b->node->input_count && y != LK_NO_VALUE; i++) {
        lk_value next = onnx_operand(b, i);
        if (next == LK_NO_VALUE) return false;
        int left = onnx_shape(b, y).rank, right = onnx_shape(b, next).rank, rank = left > right ? left : right;
        y = lk_binary_op(b->graph, (lk_binary)kind, onnx_raise(b, y, rank), onnx_raise(b, next, rank));
    }
    return onnx_set_value(b, 0, y);
}

static bool translate_mean(onnx_builder *b, int kind) {
    lk_value y = onnx_operand(b, 0);
    for (size_t i = 1; i < b->node->input_count && y != LK_NO_VALUE; i++) {
        lk_value next = onnx_operand(b, i);
        if (next == LK_NO_VALUE) return false;
        int left = onnx_shape(b, y).rank, right = onnx_shape(b, next).rank, rank = left > right ? left : right;
        y = lk_binary_op(b->graph, (lk_binary)kind, onnx_raise(b, y, rank), onnx_raise(b, next, rank));
    }
    return y != LK_NO_VALUE && onnx_set_value(b, 0, lk_scale_shift(b->graph, y, 1 / (float)b->node->input_count, 0));
}

/* A constant list of powers, which may be integers. */
static lk_value exponents(onnx_builder *b, const lk_onnx_tensor *power) {
    lk_shape shape = {.rank = power->rank};
    float *values = lk_alloc(power->count, sizeof *values);
    if (!values) {
        onnx_out_of_memory(b);
        return LK_NO_VALUE;
    }
    if (power->rank > LK_MAX_RANK || power->count == 0) {
        lk_free(values);
        onnx_fail(b, LIKENESS_UNSUPPORTED, "a constant of rank %d, or of no elements", power->rank);
        return LK_NO_VALUE;
    }
    for (int i = 0; i < power->rank; i++)
        shape.dim[i] = (int32_t)power->dims[i];
    for (size_t i = 0; i < power->count; i++)
        values[i] = power->f32 ? power->f32[i] : (float)power->i64[i];
    lk_value w = onnx_weight(b, b->node->outputs[0], "#power", LK_WEIGHT_VECTOR, shape, 1, values);
    lk_free(values);
    return w;
}

/* Whole powers by multiplication, roots by sqrt; any other as exp(p log x), defined above 0. */
static bool translate_pow(onnx_builder *b, int kind) {
    const lk_onnx_tensor *power = onnx_array(b, 1, false);
    lk_value x = onnx_operand(b, 0), y = LK_NO_VALUE;
    (void)kind;
    if (x == LK_NO_VALUE) return false;
    double p = !power || power->count != 1 ? NAN : power->f32 ? (double)power->f32[0] : (double)power->i64[0];
    double size = fabs(p), whole = floor(size);
    if (size >= 0.5 && size <= 8 && (size == whole || size - whole == 0.5)) {
        if (size != whole) y = lk_unary_op(b->graph, LK_UNARY_SQRT, x, 0, 0);
        lk_value squared = whole >= 2 ? lk_unary_op(b->graph, LK_UNARY_SQUARE, x, 0, 0) : LK_NO_VALUE;
        for (int left = (int)whole; left > 0;) {
            lk_value factor = left >= 2 ? squared : x;
            y = y == LK_NO_VALUE ? factor : lk_mul(b->graph, y, factor);
            left -= left >= 2 ? 2 : 1;
        }
        if (p < 0) y = lk_unary_op(b->graph, LK_UNARY_RECIPROCAL, y, 0, 0);
        return onnx_set_value(b, 0, y);
    }
    y = lk_unary_op(b->graph, LK_UNARY_LOG, x, 0, 0);
    if (isfinite(p)) {
        y = lk_scale_shift(b->graph, y, (float)p, 0);
    } else {
        lk_value exponent = power ? exponents(b, power) : onnx_operand(b, 1);
        if (exponent == LK_NO_VALUE) return false;
        int left = onnx_shape(b, y).rank, right = onnx_shape(b, exponent).rank, rank = left > right ? left : right;
        y = lk_mul(b->graph, onnx_raise(b, y, rank), onnx_raise(b, exponent, rank));
    }
    return onnx_set_value(b, 0, lk_unary_op(b->graph, LK_UNARY_EXP, y, 0, 0));
}

/* ---- where ---- */

/* cond (or its opposite) times one branch: 0 where the other branch counts, also when the value there is infinite. */
static lk_value masked(onnx_builder *b, const lk_onnx_tensor *condition, size_t branch, bool opposite) {
    const onnx_value *value = onnx_input(b, branch);
    const lk_onnx_tensor *array = value ? value->array : NULL;
    lk_shape shape = {.rank = condition->rank};
    int64_t index[LK_ONNX_MAX_RANK] = {0};
    char suffix[32];
    size_t count = 1;
    if (!value || (array && (!array->f32 || array->rank > condition->rank)) || condition->rank > LK_MAX_RANK) {
        onnx_fail(b, LIKENESS_UNSUPPORTED, "a condition of this rank, or integers to choose from");
        return LK_NO_VALUE;
    }
    for (int i = 0; i < condition->rank; i++) {
        int k = array ? i - (condition->rank - array->rank) : -1;
        int64_t dim = k >= 0 && condition->dims[i] == 1 ? array->dims[k] : condition->dims[i];
        if (dim < 1 || dim > (1 << 24) || (count *= (size_t)dim) > (1 << 24) ||
            (k >= 0 && array->dims[k] != 1 && array->dims[k] != dim)) {
            onnx_fail(b, LIKENESS_UNSUPPORTED, "condition and branches do not fit together");
            return LK_NO_VALUE;
        }
        shape.dim[i] = (int32_t)dim;
    }
    float *values = lk_alloc(count, sizeof *values);
    if (!values) {
        onnx_out_of_memory(b);
        return LK_NO_VALUE;
    }
    for (size_t n = 0; n < count; n++) {
        size_t at = 0, from = 0;
        for (int i = 0; i < condition->rank; i++) {
            int k = array ? i - (condition->rank - array->rank) : -1;
            at = at * (size_t)condition->dims[i] + (size_t)(condition->dims[i] == 1 ? 0 : index[i]);
            if (k >= 0) from = from * (size_t)array->dims[k] + (size_t)(array->dims[k] == 1 ? 0 : index[i]);
        }
        bool chosen = (condition->i64[at] != 0) != opposite;
        values[n] = !chosen ? 0 : array ? array->f32[from] : 1;
        for (int d = condition->rank - 1; d >= 0 && ++index[d] == shape.dim[d]; d--)
            index[d] = 0;
    }
    snprintf(suffix, sizeof suffix, "#where%zu", branch);
    lk_value mask = onnx_weight(b, b->node->outputs[0], suffix, LK_WEIGHT_VECTOR, shape, 1, values);
    lk_free(values);
    if (array || mask == LK_NO_VALUE) return mask;
    int left = shape.rank, right = onnx_shape(b, value->value).rank, rank = left > right ? left : right;
    return lk_mul(b->graph, onnx_raise(b, mask, rank), onnx_raise(b, value->value, rank));
}

static bool translate_where(onnx_builder *b, int kind) {
    (void)kind;
    const lk_onnx_tensor *condition = onnx_array(b, 0, true);
    if (!condition) return false;
    if (!condition->i64) return onnx_fail(b, LIKENESS_BAD_FILE, "the condition must be of type bool");
    lk_value yes = masked(b, condition, 1, false), no = masked(b, condition, 2, true);
    if (yes == LK_NO_VALUE || no == LK_NO_VALUE) return false;
    int left = onnx_shape(b, yes).rank, right = onnx_shape(b, no).rank, rank = left > right ? left : right;
    return onnx_set_value(b, 0, lk_add(b->graph, onnx_raise(b, yes, rank), onnx_raise(b, no, rank)));
}

/* Exporters guard a softmax with Where(IsNaN(x), 0, x), for rows that are masked altogether. Both nodes are dropped: a
 * number that is not finite must be seen, not made 0. */
static bool translate_is_nan(onnx_builder *b, int kind) {
    (void)kind;
    lk_value x = onnx_operand(b, 0);
    const lk_onnx_node *guard = onnx_only_reader(b, b->node->outputs[0]);
    if (x == LK_NO_VALUE) return false;
    bool good = guard && strcmp(guard->op, "Where") == 0 && guard->input_count == 3 &&
                strcmp(guard->inputs[0], b->node->outputs[0]) == 0 && strcmp(guard->inputs[2], b->node->inputs[0]) == 0;
    const onnx_value *instead = good ? onnx_find_value(b, guard->inputs[1]) : NULL;
    const lk_onnx_tensor *zero = instead ? instead->array : NULL;
    if (!zero || !zero->f32 || zero->count != 1 || zero->f32[0] != 0)
        return onnx_unsupported(b, "IsNaN other than in Where(IsNaN(x), 0, x)");
    return onnx_set_later(b, guard, x);
}

/* ---- softmax ---- */

/* x - max - log(sum(exp(x - max))) over the last axis. */
static lk_value log_softmax(onnx_builder *b, lk_value x) {
    uint32_t last = 1u << (onnx_shape(b, x).rank - 1);
    lk_value shifted = lk_binary_op(b->graph, LK_BINARY_SUB, x, lk_reduce_op(b->graph, LK_REDUCE_MAX, x, last, true));
    lk_value sum =
        lk_reduce_op(b->graph, LK_REDUCE_SUM, lk_unary_op(b->graph, LK_UNARY_EXP, shifted, 0, 0), last, true);
    return lk_binary_op(b->graph, LK_BINARY_SUB, shifted, lk_unary_op(b->graph, LK_UNARY_LOG, sum, 0, 0));
}

static bool translate_softmax(onnx_builder *b, int logarithm) {
    lk_value x = onnx_operand(b, 0), y;
    lk_shape shape = onnx_shape(b, x);
    bool old = b->file->opset < 13; /* flattened everything from the axis on */
    if (x == LK_NO_VALUE) return false;
    int axis = onnx_axis(b, onnx_int(b, "axis", old ? 1 : -1), shape.rank), last = shape.rank - 1;
    if (axis < 0) return false;
    int64_t behind = 1;
    for (int i = axis + 1; i <= last; i++)
        behind *= shape.dim[i];
    bool flat = old && behind != 1, aside = !flat && axis != last;
    int32_t perm[LK_MAX_RANK];
    for (int i = 0; i <= last; i++)
        perm[i] = i == axis ? last : i == last ? axis : i;
    if (flat) {
        int64_t row = behind * shape.dim[axis];
        x = lk_reshape(b->graph, x, lk_shape2((int)(lk_shape_elements(&shape) / row), (int)row));
    }
    if (aside) x = lk_permute(b->graph, x, perm);
    y = logarithm ? log_softmax(b, x) : lk_softmax(b->graph, x);
    if (flat) y = lk_reshape(b->graph, y, shape);
    return onnx_set_value(b, 0, aside ? lk_permute(b->graph, y, perm) : y);
}

/* ---- reductions ---- */

typedef enum reduction {
    REDUCE_MEAN,
    REDUCE_SUM,
    REDUCE_MAX,
    REDUCE_MIN,
    REDUCE_L1,
    REDUCE_L2,
    REDUCE_SUM_SQUARE,
    REDUCE_LOG_SUM,
    REDUCE_LOG_SUM_EXP
} reduction;

static bool translate_reduce(onnx_builder *b, int kind) {
    lk_value x = onnx_operand(b, 0), most = LK_NO_VALUE;
    lk_shape shape = onnx_shape(b, x);
    size_t count;
    const int64_t *axes = onnx_ints_either(b, 1, "axes", &count);
    bool keep = onnx_int(b, "keepdims", 1) != 0, nothing = onnx_int(b, "noop_with_empty_axes", 0) != 0;
    uint32_t mask = 0;
    if (x == LK_NO_VALUE || !onnx_fine(b)) return false;
    for (size_t i = 0; i < count; i++) {
        int axis = onnx_axis(b, axes[i], shape.rank);
        if (axis < 0) return false;
        mask |= 1u << axis;
    }
    if (count == 0 && !nothing) mask = (1u << shape.rank) - 1;
    if (kind == REDUCE_L2 || kind == REDUCE_SUM_SQUARE) x = lk_unary_op(b->graph, LK_UNARY_SQUARE, x, 0, 0);
    if (kind == REDUCE_L1) x = lk_unary_op(b->graph, LK_UNARY_ABS, x, 0, 0);
    if (kind == REDUCE_MIN) x = lk_unary_op(b->graph, LK_UNARY_NEG, x, 0, 0);
    if (kind == REDUCE_LOG_SUM_EXP) {
        most = mask ? lk_reduce_op(b->graph, LK_REDUCE_MAX, x, mask, true) : x;
        x = lk_unary_op(b->graph, LK_UNARY_EXP, lk_binary_op(b->graph, LK_BINARY_SUB, x, most), 0, 0);
    }
    lk_reduce op = kind == REDUCE_MEAN                        ? LK_REDUCE_MEAN
                   : kind == REDUCE_MAX || kind == REDUCE_MIN ? LK_REDUCE_MAX
                                                              : LK_REDUCE_SUM;
    lk_value y = mask ? lk_reduce_op(b->graph, op, x, mask, keep) : x;
    if (kind == REDUCE_L2) y = lk_unary_op(b->graph, LK_UNARY_SQRT, y, 0, 0);
    if (kind == REDUCE_MIN) y = lk_unary_op(b->graph, LK_UNARY_NEG, y, 0, 0);
    if (kind == REDUCE_LOG_SUM || kind == REDUCE_LOG_SUM_EXP) y = lk_unary_op(b->graph, LK_UNARY_LOG, y, 0, 0);
    if (kind == REDUCE_LOG_SUM_EXP) y = lk_add(b->graph, y, lk_reshape(b->graph, most, onnx_shape(b, y)));
    return onnx_set_value(b, 0, y);
}

/* ---- the list ---- */

const onnx_operator onnx_pointwise_operators[] = {
    {"Relu", translate_unary, LK_UNARY_RELU, ""},
    {"LeakyRelu", translate_leaky, LK_UNARY_LEAKY_RELU, ""},
    {"PRelu", translate_prelu, 0, ""},
    {"Elu", translate_elu, ELU, ""},
    {"Selu", translate_elu, SELU, ""},
    {"Celu", translate_elu, CELU, ""},
    {"Sigmoid", translate_unary, LK_UNARY_SIGMOID, ""},
    {"HardSigmoid", translate_hard_sigmoid, LK_UNARY_HARD_SIGMOID, ""},
    {"HardSwish", translate_unary, LK_UNARY_HARD_SWISH, ""},
    {"Mish", translate_mish, 0, ""},
    {"Gelu", translate_gelu, 0, ""},
    {"Tanh", translate_unary, LK_UNARY_TANH, ""},
    {"Erf", translate_unary, LK_UNARY_ERF, ""},
    {"Softplus", translate_unary, LK_UNARY_SOFTPLUS, ""},
    {"Softsign", translate_softsign, 0, ""},
    {"Exp", translate_unary, LK_UNARY_EXP, ""},
    {"Log", translate_unary, LK_UNARY_LOG, ""},
    {"Sqrt", translate_unary, LK_UNARY_SQRT, ""},
    {"Reciprocal", translate_unary, LK_UNARY_RECIPROCAL, ""},
    {"Neg", translate_unary, LK_UNARY_NEG, ""},
    {"Abs", translate_unary, LK_UNARY_ABS, ""},
    {"Clip", translate_clip, 0, "constant bounds"},
    {"Add", translate_binary, LK_BINARY_ADD, ""},
    {"Sub", translate_binary, LK_BINARY_SUB, ""},
    {"Mul", translate_binary, LK_BINARY_MUL, ""},
    {"Div", translate_binary, LK_BINARY_DIV, ""},
    {"Pow", translate_pow, 0, "powers other than halves and whole ones up to 8: of positive numbers"},
    {"Min", translate_binary, LK_BINARY_MIN, ""},
    {"Max", translate_binary, LK_BINARY_MAX, ""},
    {"Sum", translate_binary, LK_BINARY_ADD, ""},
    {"Mean", translate_mean, LK_BINARY_ADD, ""},
    {"Where", translate_where, 0, "constant condition"},
    {"IsNaN", translate_is_nan, 0, "as a guard, Where(IsNaN(x), 0, x)"},
    {"Softmax", translate_softmax, 0, ""},
    {"LogSoftmax", translate_softmax, 1, ""},
    {"ReduceMean", translate_reduce, REDUCE_MEAN, ""},
    {"ReduceSum", translate_reduce, REDUCE_SUM, ""},
    {"ReduceMax", translate_reduce, REDUCE_MAX, ""},
    {"ReduceMin", translate_reduce, REDUCE_MIN, ""},
    {"ReduceL1", translate_reduce, REDUCE_L1, ""},
    {"ReduceL2", translate_reduce, REDUCE_L2, ""},
    {"ReduceSumSquare", translate_reduce, REDUCE_SUM_SQUARE, ""},
    {"ReduceLogSum", translate_reduce, REDUCE_LOG_SUM, ""},
    {"ReduceLogSumExp", translate_reduce, REDUCE_LOG_SUM_EXP, ""},
    {"Identity", translate_identity, 0, ""},
    {"Dropout", translate_identity, 0, "at inference"},
    {"Cast", translate_cast, 0, "between float types"},
    {"CastLike", translate_cast, 1, "between float types"},
    {0},
};
