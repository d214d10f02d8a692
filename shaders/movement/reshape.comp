/* shaders/movement/reshape.comp - RESHAPE where storage differs (a rank-4 side, or padding). */
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_GOOGLE_include_directive : require
#include "common/memory.glsl"
#include "common/grid.glsl"
#include "common/index.glsl"
#define LK_PUSH_RESHAPE
#include "movement/push.h"

void main() {
    int step = int(gl_WorkGroupSize.x);
    int i = int(lk_group_index()) * step * push.per_thread + int(gl_LocalInvocationID.x);
    for (int k = 0; k < push.per_thread && i < push.total; ++k, i += step) {
        int q0 = lk_divide(i, push.size_y[0], 1.0 / float(push.size_y[0]));
        int p0 = i - q0 * push.size_y[0];
        int p2 = lk_divide(q0, push.size_y[1], 1.0 / float(push.size_y[1]));
        int p1 = q0 - p2 * push.size_y[1];
        float v = 0.0;
        if (p0 < push.valid) {
            int logical = p0 * push.weight_y[0] + p1 * push.weight_y[1] + p2 * push.weight_y[2];
            int r0 = lk_divide(logical, push.size_x[0], 1.0 / float(push.size_x[0]));
            int r1 = lk_divide(r0, push.size_x[1], 1.0 / float(push.size_x[1]));
            int from = (logical - r0 * push.size_x[0]) * push.stride_x[0] + (r0 - r1 * push.size_x[1]) * push.stride_x[1] +
                       r1 * push.stride_x[2];
            v = lk_load(push.x, from);
        }
        lk_store(push.y, i, v);
    }
}
