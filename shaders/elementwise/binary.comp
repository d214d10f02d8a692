/* shaders/elementwise/binary.comp - BINARY with numpy broadcast, and BINARY_DX.
 *
 * The host collapses dimensions: two tensors of one shape have one dimension, [N,C,H,W] with [N,C,1,1] three, and the
 * divisions below are as few. A broadcast dimension has stride 0. */
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_GOOGLE_include_directive : require
#include "common/memory.glsl"
#include "common/grid.glsl"
#include "common/index.glsl"
#include "common/math.glsl"
#define LK_PUSH_BINARY
#include "elementwise/push.h"

float binary_value(int kind, float a, float b) {
    switch (kind) {
    case 0: return a + b;
    case 1: return a - b;
    case 2: return a * b;
    case 3: return a / b;
    case 4: return lk_keep_nan(a, lk_keep_nan(b, min(a, b)));
    case 5: return lk_keep_nan(a, lk_keep_nan(b, max(a, b)));
    }
    return 0.0;
}

/* Derivative with respect to a (side 0) or b (side 1). Where min or max has a tie, each side takes half. */
float binary_derivative(int kind, int side, float a, float b) {
    switch (kind) {
    case 0: return 1.0;
    case 1: return side == 0 ? 1.0 : -1.0;
    case 2: return side == 0 ? b : a;
    case 3: return side == 0 ? 1.0 / b : -a / (b * b);
    case 4: return a == b ? 0.5 : ((a < b) == (side == 0) ? 1.0 : 0.0);
    case 5: return a == b ? 0.5 : ((a > b) == (side == 0) ? 1.0 : 0.0);
    }
    return 0.0;
}

void main() {
    int kind = push.mode & 15;
    int side = (push.mode >> 4) & 1;
    bool derivative = ((push.mode >> 5) & 1) != 0;
    int dims = (push.mode >> 8) & 255;
    int per_thread = push.mode >> 16;
    int step = int(gl_WorkGroupSize.x);
    int i = int(lk_group_index()) * step * per_thread + int(gl_LocalInvocationID.x);
    for (int k = 0; k < per_thread && i < push.total; ++k, i += step) {
        int rest = i;
        int offset_a = 0, offset_b = 0;
        bool padding = false;
        for (int d = 0; d < dims; ++d) {
            int position = rest;
            if (d + 1 < dims) {
                int q = lk_divide(rest, push.size[d], 1.0 / float(push.size[d]));
                position = rest - q * push.size[d];
                rest = q;
            }
            if (d == 0) padding = position >= push.valid;
            offset_a += position * push.stride_a[d];
            offset_b += position * push.stride_b[d];
        }
        float y = 0.0;
        if (!padding) {
            float a = lk_load(push.a, offset_a);
            float b = lk_load(push.b, offset_b);
            y = derivative ? binary_derivative(kind, side, a, b) * lk_load(push.dy, i) : binary_value(kind, a, b);
        }
        lk_store(push.y, i, y);
    }
}
