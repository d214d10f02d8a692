/* shaders/elementwise/geglu.comp - GEGLU and GEGLU_DX: value * gelu(gate), value and gate side by side in a row of 2C.
 *
 * One thread an element of the narrow matrix; backward writes both halves, and the last columns of a row write the padding
 * of the wide row. */
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_GOOGLE_include_directive : require
#include "common/memory.glsl"
#include "common/grid.glsl"
#include "common/index.glsl"
#include "common/math.glsl"
#define LK_PUSH_GEGLU
#include "elementwise/push.h"

void main() {
    int step = int(gl_WorkGroupSize.x);
    int i = int(lk_group_index()) * step * push.per_thread + int(gl_LocalInvocationID.x);
    float inverse_ld = 1.0 / float(push.ld);
    for (int k = 0; k < push.per_thread && i < push.total; ++k, i += step) {
        int row = lk_divide(i, push.ld, inverse_ld);
        int c = i - row * push.ld;
        int wide = row * push.ld_wide;
        if (push.derivative == 0) {
            float y = 0.0;
            if (c < push.width)
                y = lk_load(push.x, wide + c) * lk_gelu(lk_load(push.x, wide + push.width + c));
            lk_store(push.y, i, y);
        } else {
            if (c < push.width) {
                float value = lk_load(push.x, wide + c);
                float gate = lk_load(push.x, wide + push.width + c);
                float dy = lk_load(push.dy, i);
                lk_store(push.y, wide + c, dy * lk_gelu(gate));
                lk_store(push.y, wide + push.width + c, dy * value * lk_gelu_derivative(gate));
            }
            /* Padding of the wide row: 0 to 7 columns from 2C on, by the row's first threads. */
            if (2 * push.width + c < push.ld_wide) lk_store(push.y, wide + 2 * push.width + c, 0.0);
        }
    }
}
