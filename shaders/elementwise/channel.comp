/* shaders/elementwise/channel.comp - CHANNEL_AFFINE, PRELU, PRELU_DX: one number or two a channel. */
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_GOOGLE_include_directive : require
#include "common/memory.glsl"
#include "common/grid.glsl"
#include "common/index.glsl"
#define LK_PUSH_CHANNEL
#include "elementwise/push.h"

void main() {
    int step = int(gl_WorkGroupSize.x);
    int i = int(lk_group_index()) * step * push.per_thread + int(gl_LocalInvocationID.x);
    float inverse_ld = 1.0 / float(push.ld);
    for (int k = 0; k < push.per_thread && i < push.total; ++k, i += step) {
        int c = lk_modulo(i, push.ld, inverse_ld);
        float y = 0.0;
        if (c < push.inner) {
            float x = lk_load(push.x, i);
            float s = lk_load(push.scale, c);
            if (push.mode == 0)
                y = x * s;
            else if (push.mode == 1)
                y = x * s + lk_load(push.shift, c);
            else if (push.mode == 2)
                y = x < 0.0 ? s * x : x;
            else
                y = lk_load(push.shift, i) * (x > 0.0 ? 1.0 : s);
        }
        lk_store(push.y, i, y);
    }
}
