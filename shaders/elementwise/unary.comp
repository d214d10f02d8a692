/* shaders/elementwise/unary.comp - UNARY and UNARY_DX, every kind in one pipeline.
 *
 * A thread takes per_thread elements, a workgroup apart, of the flat rows x ld matrix. kind is uniform, so that the
 * switch is one jump. Padding columns get zero whatever f(0) is. */
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_GOOGLE_include_directive : require
#include "common/memory.glsl"
#include "common/grid.glsl"
#include "common/index.glsl"
#include "common/math.glsl"
#define LK_PUSH_UNARY
#include "elementwise/push.h"

float unary_value(float x) {
    float a = push.a, b = push.b;
    switch (push.kind) {
    case 0: return lk_silu(x);
    case 1: return lk_gelu(x);
    case 2: return lk_gelu_tanh(x);
    case 3: return lk_quick_gelu(x);
    case 4: return lk_keep_nan(x, max(x, 0.0));
    case 5: return x < 0.0 ? a * x : x;
    case 6: return lk_sigmoid(x);
    case 7: return lk_tanh(x);
    case 8: return lk_exp(x);
    case 9: return lk_log(x);
    case 10: return sqrt(x);
    case 11: return -x;
    case 12: return abs(x);
    case 13: return x * x;
    case 14: return 1.0 / x;
    case 15: return lk_softplus(x);
    case 16: return lk_keep_nan(x, clamp(x, a, b));
    case 17: return a * x + b;
    case 18: return lk_keep_nan(x, clamp(a * x + b, 0.0, 1.0));
    case 19: return lk_keep_nan(x, x * clamp(x * (1.0 / 6.0) + 0.5, 0.0, 1.0));
    case 20: return lk_erf(x);
    case 21: return x > 0.0 ? x : a * lk_expm1(x);
    }
    return 0.0;
}

float unary_derivative(float x) {
    float a = push.a, b = push.b;
    switch (push.kind) {
    case 0: return lk_silu_derivative(x);
    case 1: return lk_gelu_derivative(x);
    case 2: return lk_gelu_tanh_derivative(x);
    case 3: return lk_quick_gelu_derivative(x);
    case 4: return x > 0.0 ? 1.0 : 0.0;
    case 5: return x > 0.0 ? 1.0 : a;
    case 6: {
        vec2 s = lk_sigmoid_pair(x);
        return s.x * s.y;
    }
    case 7: {
        float t = lk_tanh(x);
        return (1.0 - t) * (1.0 + t);
    }
    case 8: return lk_exp(x);
    case 9: return 1.0 / x;
    case 10: return 0.5 / sqrt(x);
    case 11: return -1.0;
    case 12: return sign(x);
    case 13: return 2.0 * x;
    case 14: return -1.0 / (x * x);
    case 15: return lk_sigmoid(x);
    case 16: return x >= a && x <= b ? 1.0 : 0.0;
    case 17: return a;
    case 18: {
        float v = a * x + b;
        return v > 0.0 && v < 1.0 ? a : 0.0;
    }
    case 19: return x <= -3.0 ? 0.0 : (x >= 3.0 ? 1.0 : x * (1.0 / 3.0) + 0.5);
    case 20: {
        float c = clamp(x, -10.0, 10.0); /* beyond, the density is 0 in f32 */
        return lk_keep_nan(x, 1.12837916709551257 * lk_exp_core(-c * c));
    }
    case 21: return x > 0.0 ? 1.0 : a * lk_exp(x);
    }
    return 0.0;
}

void main() {
    int step = int(gl_WorkGroupSize.x);
    int i = int(lk_group_index()) * step * push.per_thread + int(gl_LocalInvocationID.x);
    float inverse_ld = 1.0 / float(push.ld);
    for (int k = 0; k < push.per_thread && i < push.total; ++k, i += step) {
        float x = lk_load(push.x, i);
        float y = push.derivative != 0 ? unary_derivative(x) * lk_load(push.dy, i) : unary_value(x);
        if (push.inner != push.ld && lk_modulo(i, push.ld, inverse_ld) >= push.inner) y = 0.0;
        lk_store(push.y, i, y);
    }
}
