/* shaders/guidance/step.comp - classifier-free combination, flow step, and their derivatives. Padding stays zero. */
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_GOOGLE_include_directive : require
#include "common/memory.glsl"
#include "common/grid.glsl"
#define LK_PUSH_STEP
#include "guidance/push.h"

void main() {
    int kind = push.mode & 7;
    int step = int(gl_WorkGroupSize.x);
    int i = int(lk_group_index()) * step * push.per_thread + int(gl_LocalInvocationID.x);
    float w = lk_load(push.factor, 0);
    for (int k = 0; k < push.per_thread && i < push.total; ++k, i += step) {
        float x = lk_load(push.x, i);
        float y;
        if (kind == 0) {
            y = x + w * (lk_load(push.z, i) - x);
        } else if (kind == 1) {
            y = (1.0 - w) * x;
            if ((push.mode & 16) != 0) lk_store(push.y2, i, w * x);
        } else if (kind == 2) {
            y = x + w * lk_load(push.z, i);
        } else if (kind == 3) {
            y = x + w * lk_load(push.z, i) + lk_load(push.offset, i);
        } else {
            y = w * x;
        }
        if ((push.mode & 8) != 0) lk_store(push.y, i, y);
    }
}
