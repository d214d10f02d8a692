/* shaders/elementwise/math_check.comp - y = f(x) for the functions of common/math.glsl and common/index.glsl, for the test that
 * sweeps them. x and y are words; kind 100: y = x0 / x1 of a pair of integers through lk_divide. */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common/memory.glsl"
#include "common/grid.glsl"
#include "common/index.glsl"
#include "common/math.glsl"
#define LK_PUSH_MATH_CHECK
#include "elementwise/push.h"

float value(float x) {
    switch (push.kind) {
    case 0: return lk_exp(x);
    case 1: return lk_log(x);
    case 2: return lk_erf(x);
    case 3: return lk_tanh(x);
    case 4: return lk_sigmoid(x);
    case 5: return lk_softplus(x);
    case 6: return lk_silu(x);
    case 7: return lk_silu_derivative(x);
    case 8: return lk_gelu(x);
    case 9: return lk_gelu_derivative(x);
    case 10: return lk_gelu_tanh(x);
    case 11: return lk_gelu_tanh_derivative(x);
    case 12: return lk_quick_gelu(x);
    case 13: return lk_quick_gelu_derivative(x);
    case 14: return lk_expm1(x);
    }
    return 0.0;
}

void main() {
    int i = int(lk_group_index() * gl_WorkGroupSize.x + gl_LocalInvocationID.x);
    if (i >= push.total) return;
    if (push.kind == 100) {
        int a = int(lk_load(push.x, 2 * i)), b = int(lk_load(push.x, 2 * i + 1));
        lk_store(push.y, i, uint(lk_divide(a, b, 1.0 / float(b))));
    } else {
        lk_store(push.y, i, floatBitsToUint(value(uintBitsToFloat(lk_load(push.x, i)))));
    }
}
