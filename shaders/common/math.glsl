/* shaders/common/math.glsl - the only transcendental functions that shaders use.
 *
 * The built-in exp, log, tanh have precisions that differ by driver (tanh may overflow, log is coarse near 1), so the
 * functions here are made of additions, multiplications, one division and bit operations only. Polynomials are our own
 * near-minimax fits. Every function is total: huge arguments saturate, NaN stays NaN.
 *
 * Largest errors, in f32 against double: exp 3 ulp, log 3 ulp, expm1 6e-7 relative, erf 1.2e-7 absolute, tanh, sigmoid and softplus 3e-7 relative to
 * max(|y|, tiny). tests/op/test_math.c sweeps every f16 value and a million f32 inputs on every driver. */
#ifndef LK_MATH_GLSL
#define LK_MATH_GLSL

const float LK_SQRT_HALF = 0.70710678118654752;
const float LK_INV_SQRT_2PI = 0.39894228040143268;

bool lk_is_nan(float x) { return (floatBitsToUint(x) & 0x7fffffffu) > 0x7f800000u; }

/* x where x is NaN, else y. Needed because min and max may drop a NaN. */
float lk_keep_nan(float x, float y) { return lk_is_nan(x) ? x : y; }

/* e^x without the NaN check; x in [-104, 89]. */
float lk_exp_core(float x) {
    float n = floor(x * 1.44269504089 + 0.5);
    precise float r = x - n * 0.693359375; /* ln 2 in two parts: the first product is exact */
    r = r + n * 2.12194440e-4;
    float p = 1.395170166e-03;
    p = p * r + 8.369591634e-03;
    p = p * r + 4.166618760e-02;
    p = p * r + 1.666651296e-01;
    p = p * r + 5.000000101e-01;
    p = (p * r) * r + r + 1.0;
    int i = int(n);
    int half_i = i >> 1;
    return p * intBitsToFloat((half_i + 127) << 23) * intBitsToFloat((i - half_i + 127) << 23);
}

float lk_exp(float x) { return lk_keep_nan(x, lk_exp_core(clamp(x, -104.0, 89.0))); }

/* e^x - 1, to full relative precision near 0. */
float lk_expm1(float x) {
    float p = 1.395170166e-03;
    p = p * x + 8.369591634e-03;
    p = p * x + 4.166618760e-02;
    p = p * x + 1.666651296e-01;
    p = p * x + 5.000000101e-01;
    return abs(x) < 0.34 ? (p * x) * x + x : lk_exp(x) - 1.0;
}

/* Natural logarithm; -inf at 0, NaN below, +inf at +inf. Subnormal arguments count as 0 (drivers may flush them). */
float lk_log(float x) {
    uint bits = floatBitsToUint(x);
    /* Exponent such that the mantissa lies in [sqrt(1/2), sqrt(2)). */
    int e = int(bits - 0x3f3504f3u) >> 23;
    float m = uintBitsToFloat(bits - uint(e << 23));
    float t = (m - 1.0) / (m + 1.0);
    float s = t * t;
    float p = 1.493832240e-01;
    p = p * s + 1.998869921e-01;
    p = p * s + 3.333338855e-01;
    float n = float(e);
    /* n ln2_hi + (2t + (2t s p + n ln2_lo)): small terms first. */
    precise float tail = 2.0 * t * s * p + n * -2.12194440e-4;
    precise float y = (tail + 2.0 * t) + n * 0.693359375;
    if (bits >= 0x7f800000u || bits < 0x00800000u) {
        y = x > 0.0 ? (bits == 0x7f800000u ? x : uintBitsToFloat(0xff800000u)) : uintBitsToFloat(0x7fc00000u);
        if ((bits & 0x7fffffffu) < 0x00800000u) y = uintBitsToFloat(0xff800000u);
    }
    return y;
}

/* log(1 + e) for e in [0, 1]. */
float lk_log1p_unit(float e) {
    float t = e / (2.0 + e);
    float s = t * t;
    float p = 1.401038631e-01;
    p = p * s + 1.399999293e-01;
    p = p * s + 2.001081937e-01;
    p = p * s + 3.333320722e-01;
    return 2.0 * (t + t * s * p);
}

float lk_erf(float x) {
    float a = min(abs(x), 4.1);
    float s = a * a;
    float p = 7.889119431e-05;
    p = p * s - 8.020841250e-04;
    p = p * s + 5.189535336e-03;
    p = p * s - 2.685444459e-02;
    p = p * s + 1.128360018e-01;
    p = p * s - 3.761262714e-01;
    p = p * s + 1.128379166e+00;
    float near_zero = a * p;
    /* erf = 1 - exp(-q(a)), q fitted to -log(erfc). */
    float q = -1.500655574e-04;
    q = q * a + 2.595299640e-03;
    q = q * a - 2.044729055e-02;
    q = q * a + 1.002453189e-01;
    q = q * a + 6.413852467e-01;
    q = q * a + 1.125171826e+00;
    q = q * a + 8.051990083e-04;
    float far = 1.0 - lk_exp_core(-q);
    float y = a < 1.0 ? near_zero : far;
    return lk_keep_nan(x, x < 0.0 ? -y : y);
}

float lk_tanh(float x) {
    float a = min(abs(x), 10.0);
    float s = a * a;
    float p = -5.661234423e-03;
    p = p * s + 2.060246895e-02;
    p = p * s - 5.372939820e-02;
    p = p * s + 1.333133146e-01;
    p = p * s - 3.333327844e-01;
    float near_zero = a + a * s * p;
    float far = 1.0 - 2.0 / (lk_exp_core(2.0 * a) + 1.0);
    float y = a < 0.625 ? near_zero : far;
    return lk_keep_nan(x, x < 0.0 ? -y : y);
}

float lk_sigmoid(float x) {
    float e = lk_exp_core(max(-abs(x), -104.0));
    return lk_keep_nan(x, (x < 0.0 ? e : 1.0) / (1.0 + e));
}

/* log(1 + e^x) */
float lk_softplus(float x) {
    float e = lk_exp_core(max(-abs(x), -104.0));
    return lk_keep_nan(x, max(x, 0.0) + lk_log1p_unit(e));
}

/* (sigmoid(x), 1 - sigmoid(x)), both to full relative precision. */
vec2 lk_sigmoid_pair(float x) {
    float e = lk_exp_core(max(-abs(x), -104.0));
    float scale = lk_keep_nan(x, 1.0 / (1.0 + e));
    return scale * (x < 0.0 ? vec2(e, 1.0) : vec2(1.0, e));
}

float lk_silu(float x) { return x * lk_sigmoid(x); }

float lk_silu_derivative(float x) {
    vec2 s = lk_sigmoid_pair(x);
    return s.x + x * s.x * s.y;
}

/* x Phi(x), exact form. */
float lk_gelu(float x) { return 0.5 * x * (1.0 + lk_erf(x * LK_SQRT_HALF)); }

float lk_gelu_derivative(float x) {
    float c = clamp(x, -13.0, 13.0); /* beyond, the density is 0 in f32; keeps inf * 0 away */
    float density = LK_INV_SQRT_2PI * lk_exp_core(-0.5 * c * c);
    return lk_keep_nan(x, 0.5 * (1.0 + lk_erf(x * LK_SQRT_HALF)) + c * density);
}

/* x (1 + tanh z) / 2 = x sigmoid(2 z),  2 z = sqrt(8/pi) (x + 0.044715 x^3). */
const float LK_GELU_TANH_SCALE = 1.5957691216057308;
const float LK_GELU_TANH_CUBIC = 0.044715;

float lk_gelu_tanh(float x) {
    float c = clamp(x, -20.0, 20.0);
    return x * lk_keep_nan(x, lk_sigmoid(LK_GELU_TANH_SCALE * (c + LK_GELU_TANH_CUBIC * c * c * c)));
}

float lk_gelu_tanh_derivative(float x) {
    float c = clamp(x, -20.0, 20.0);
    vec2 s = lk_sigmoid_pair(LK_GELU_TANH_SCALE * (c + LK_GELU_TANH_CUBIC * c * c * c));
    float slope = LK_GELU_TANH_SCALE * (1.0 + 3.0 * LK_GELU_TANH_CUBIC * c * c);
    return lk_keep_nan(x, s.x + c * s.x * s.y * slope);
}

float lk_quick_gelu(float x) { return x * lk_sigmoid(1.702 * x); }

float lk_quick_gelu_derivative(float x) {
    float z = clamp(1.702 * x, -200.0, 200.0);
    vec2 s = lk_sigmoid_pair(z);
    return lk_keep_nan(x, s.x + z * s.x * s.y);
}

#endif
