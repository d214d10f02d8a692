/* reference/pointwise.c - what works element by element: unary, binary with broadcast, channel affine, PReLU, GEGLU. */
#include "reference/internal.h"

#include <math.h>

double lk_sigmoid_double(double x) { return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x)); }

static const double lk_inverse_sqrt2 = 0.70710678118654752440;
static const double lk_inverse_sqrt_2pi = 0.39894228040143267794;
static const double lk_sqrt_2_over_pi = 0.79788456080286535588;

double lk_gelu_double(double x) { return 0.5 * x * (1 + erf(x * lk_inverse_sqrt2)); }

double lk_gelu_slope_double(double x) {
    return 0.5 * (1 + erf(x * lk_inverse_sqrt2)) + x * lk_inverse_sqrt_2pi * exp(-0.5 * x * x);
}

static double lk_between(double x, double low, double high) { return x < low ? low : x > high ? high : x; }

static double lk_unary_value(lk_unary kind, double a, double b, double x) {
    switch (kind) {
    case LK_UNARY_SILU:
        return x * lk_sigmoid_double(x);
    case LK_UNARY_GELU:
        return lk_gelu_double(x);
    case LK_UNARY_GELU_TANH:
        return 0.5 * x * (1 + tanh(lk_sqrt_2_over_pi * (x + 0.044715 * x * x * x)));
    case LK_UNARY_QUICK_GELU:
        return x * lk_sigmoid_double(1.702 * x);
    case LK_UNARY_RELU:
        return x > 0 ? x : 0;
    case LK_UNARY_LEAKY_RELU:
        return x > 0 ? x : a * x;
    case LK_UNARY_SIGMOID:
        return lk_sigmoid_double(x);
    case LK_UNARY_TANH:
        return tanh(x);
    case LK_UNARY_EXP:
        return exp(x);
    case LK_UNARY_LOG:
        return log(x);
    case LK_UNARY_SQRT:
        return sqrt(x);
    case LK_UNARY_NEG:
        return -x;
    case LK_UNARY_ABS:
        return fabs(x);
    case LK_UNARY_SQUARE:
        return x * x;
    case LK_UNARY_RECIPROCAL:
        return 1 / x;
    case LK_UNARY_SOFTPLUS:
        return (x > 0 ? x : 0) + log1p(exp(-fabs(x)));
    case LK_UNARY_CLAMP:
        return lk_between(x, a, b);
    case LK_UNARY_AFFINE:
        return a * x + b;
    case LK_UNARY_HARD_SIGMOID:
        return lk_between(a * x + b, 0, 1);
    case LK_UNARY_HARD_SWISH:
        return x * lk_between(x / 6 + 0.5, 0, 1);
    case LK_UNARY_ERF:
        return erf(x);
    case LK_UNARY_ELU:
        return x > 0 ? x : a * expm1(x);
    case LK_UNARY_COUNT:
        break;
    }
    return NAN;
}

static double lk_unary_slope(lk_unary kind, double a, double b, double x) {
    double s, t;
    switch (kind) {
    case LK_UNARY_SILU:
        s = lk_sigmoid_double(x);
        return s * (1 + x * (1 - s));
    case LK_UNARY_GELU:
        return lk_gelu_slope_double(x);
    case LK_UNARY_GELU_TANH:
        t = tanh(lk_sqrt_2_over_pi * (x + 0.044715 * x * x * x));
        return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * lk_sqrt_2_over_pi * (1 + 3 * 0.044715 * x * x);
    case LK_UNARY_QUICK_GELU:
        s = lk_sigmoid_double(1.702 * x);
        return s * (1 + 1.702 * x * (1 - s));
    case LK_UNARY_RELU:
        return x > 0 ? 1 : 0;
    case LK_UNARY_LEAKY_RELU:
        return x > 0 ? 1 : a;
    case LK_UNARY_SIGMOID:
        s = lk_sigmoid_double(x);
        return s * (1 - s);
    case LK_UNARY_TANH:
        t = tanh(x);
        return 1 - t * t;
    case LK_UNARY_EXP:
        return exp(x);
    case LK_UNARY_LOG:
        return 1 / x;
    case LK_UNARY_SQRT:
        return 0.5 / sqrt(x);
    case LK_UNARY_NEG:
        return -1;
    case LK_UNARY_ABS:
        return x > 0 ? 1 : x < 0 ? -1 : 0;
    case LK_UNARY_SQUARE:
        return 2 * x;
    case LK_UNARY_RECIPROCAL:
        return -1 / (x * x);
    case LK_UNARY_SOFTPLUS:
        return lk_sigmoid_double(x);
    case LK_UNARY_CLAMP:
        return x >= a && x <= b ? 1 : 0;
    case LK_UNARY_AFFINE:
        return a;
    case LK_UNARY_HARD_SIGMOID:
        s = a * x + b;
        return s > 0 && s < 1 ? a : 0;
    case LK_UNARY_HARD_SWISH:
        return x <= -3 ? 0 : x >= 3 ? 1 : x / 3 + 0.5;
    case LK_UNARY_ERF:
        return 2 * lk_sqrt_2_over_pi * lk_inverse_sqrt2 * exp(-x * x);
    case LK_UNARY_ELU:
        return x > 0 ? 1 : a * exp(x);
    case LK_UNARY_COUNT:
        break;
    }
    return NAN;
}

bool lk_reference_unary(const lk_op_call *call, const double *const *in, double *const *out) {
    const lk_attributes *at = &call->attributes;
    const int64_t count = lk_shape_elements(&call->input[0].shape);
    for (int64_t i = 0; i < count; i++) {
        out[0][i] = lk_unary_value(at->unary.kind, (double)at->unary.a, (double)at->unary.b, in[0][i]);
    }
    return true;
}

bool lk_reference_unary_dx(const lk_op_call *call, const double *const *in, double *const *out) {
    const lk_attributes *at = &call->attributes;
    const int64_t count = lk_shape_elements(&call->input[0].shape);
    for (int64_t i = 0; i < count; i++) {
        out[0][i] = in[1][i] * lk_unary_slope(at->unary.kind, (double)at->unary.a, (double)at->unary.b, in[0][i]);
    }
    return true;
}

/* ---- binary ---- */

static double lk_binary_value(lk_binary kind, double a, double b) {
    switch (kind) {
    case LK_BINARY_ADD:
        return a + b;
    case LK_BINARY_SUB:
        return a - b;
    case LK_BINARY_MUL:
        return a * b;
    case LK_BINARY_DIV:
        return a / b;
    case LK_BINARY_MIN:
        return a < b ? a : b;
    case LK_BINARY_MAX:
        return a > b ? a : b;
    case LK_BINARY_COUNT:
        break;
    }
    return NAN;
}

/* Derivative with respect to a (side 0) or b (side 1). */
static double lk_binary_slope(lk_binary kind, int side, double a, double b) {
    const double own = side == 0 ? a : b, other = side == 0 ? b : a;
    switch (kind) {
    case LK_BINARY_ADD:
        return 1;
    case LK_BINARY_SUB:
        return side == 0 ? 1 : -1;
    case LK_BINARY_MUL:
        return other;
    case LK_BINARY_DIV:
        return side == 0 ? 1 / b : -a / (b * b);
    case LK_BINARY_MIN:
        return own < other ? 1 : own > other ? 0 : 0.5;
    case LK_BINARY_MAX:
        return own > other ? 1 : own < other ? 0 : 0.5;
    case LK_BINARY_COUNT:
        break;
    }
    return NAN;
}

bool lk_reference_binary(const lk_op_call *call, const double *const *in, double *const *out) {
    const lk_shape *y = &call->output[0].shape;
    const int64_t count = lk_shape_elements(y);
    for (int64_t i = 0; i < count; i++) {
        int64_t at[LK_MAX_RANK];
        lk_coordinates_of(y, i, at);
        out[0][i] =
            lk_binary_value(call->attributes.binary.kind, in[0][lk_broadcast_index(&call->input[0].shape, at, y->rank)],
                            in[1][lk_broadcast_index(&call->input[1].shape, at, y->rank)]);
    }
    return true;
}

bool lk_reference_binary_dx(const lk_op_call *call, const double *const *in, double *const *out) {
    const lk_shape *y = &call->output[0].shape;
    const int64_t count = lk_shape_elements(y);
    for (int64_t i = 0; i < count; i++) {
        int64_t at[LK_MAX_RANK];
        lk_coordinates_of(y, i, at);
        out[0][i] = in[2][i] * lk_binary_slope(call->attributes.binary.kind, call->attributes.binary.side,
                                               in[0][lk_broadcast_index(&call->input[0].shape, at, y->rank)],
                                               in[1][lk_broadcast_index(&call->input[1].shape, at, y->rank)]);
    }
    return true;
}

/* ---- one value a channel ---- */

bool lk_reference_channel_affine(const lk_op_call *call, const double *const *in, double *const *out) {
    const lk_channels x = lk_channels_of(&call->input[0].shape);
    const int64_t count = lk_shape_elements(&call->input[0].shape);
    for (int64_t i = 0; i < count; i++) {
        int64_t c = i / x.positions % x.inner;
        out[0][i] = in[0][i] * in[1][c] + (call->has_input[2] ? in[2][c] : 0);
    }
    return true;
}

bool lk_reference_prelu(const lk_op_call *call, const double *const *in, double *const *out) {
    const lk_channels x = lk_channels_of(&call->input[0].shape);
    const int64_t count = lk_shape_elements(&call->input[0].shape);
    for (int64_t i = 0; i < count; i++) {
        out[0][i] = in[0][i] > 0 ? in[0][i] : in[1][i / x.positions % x.inner] * in[0][i];
    }
    return true;
}

bool lk_reference_prelu_dx(const lk_op_call *call, const double *const *in, double *const *out) {
    const lk_channels x = lk_channels_of(&call->input[0].shape);
    const int64_t count = lk_shape_elements(&call->input[0].shape);
    for (int64_t i = 0; i < count; i++) {
        out[0][i] = in[2][i] * (in[0][i] > 0 ? 1 : in[1][i / x.positions % x.inner]);
    }
    return true;
}

/* ---- GEGLU: channels 0..C-1 are values, C..2C-1 gates ---- */

bool lk_reference_geglu(const lk_op_call *call, const double *const *in, double *const *out) {
    const lk_channels x = lk_channels_of(&call->input[0].shape), y = lk_channels_of(&call->output[0].shape);
    for (int64_t o = 0; o < y.outer; o++) {
        for (int64_t c = 0; c < y.inner; c++) {
            for (int64_t p = 0; p < y.positions; p++) {
                out[0][lk_channel_at(&y, o, c, p)] =
                    in[0][lk_channel_at(&x, o, c, p)] * lk_gelu_double(in[0][lk_channel_at(&x, o, c + y.inner, p)]);
            }
        }
    }
    return true;
}

bool lk_reference_geglu_dx(const lk_op_call *call, const double *const *in, double *const *out) {
    const lk_channels x = lk_channels_of(&call->input[0].shape), y = lk_channels_of(&call->input[1].shape);
    for (int64_t o = 0; o < y.outer; o++) {
        for (int64_t c = 0; c < y.inner; c++) {
            for (int64_t p = 0; p < y.positions; p++) {
                const int64_t value = lk_channel_at(&x, o, c, p), gate = lk_channel_at(&x, o, c + y.inner, p);
                const double dy = in[1][lk_channel_at(&y, o, c, p)];
                out[0][value] = dy * lk_gelu_double(in[0][gate]);
                out[0][gate] = dy * in[0][value] * lk_gelu_slope_double(in[0][gate]);
            }
        }
    }
    return true;
}
