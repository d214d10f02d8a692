/* shaders/movement/gather.comp - GATHER: rows of a table (f32, or f16 pairs) by id. An id outside the table gives zeros. */
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_GOOGLE_include_directive : require
#include "common/memory.glsl"
#include "common/grid.glsl"
#include "common/index.glsl"
#define LK_PUSH_GATHER
#include "movement/push.h"

void main() {
    int dims = push.mode & 255;
    bool half_table = (push.mode & 256) != 0;
    int step = int(gl_WorkGroupSize.x);
    int i = int(lk_group_index()) * step * push.per_thread + int(gl_LocalInvocationID.x);
    for (int k = 0; k < push.per_thread && i < push.total; ++k, i += step) {
        int rest = i, at = 0, column = 0;
        bool padding = false;
        for (int d = 0; d < dims; ++d) {
            int q = d + 1 < dims ? lk_divide(rest, push.size[d], 1.0 / float(push.size[d])) : 0;
            int position = rest - q * push.size[d];
            rest = q;
            if (d == 0) padding = position >= push.valid;
            at += position * push.stride_ids[d];
            column += position * push.stride_column[d];
        }
        float v = 0.0;
        if (!padding) {
            int id = int(lk_load(push.ids, at));
            if (id >= 0 && id < push.entries) {
                int from = id * push.ld + column;
                if (half_table) {
                    vec2 pair = lk_load_f16x2(push.table, from >> 1);
                    v = (from & 1) == 0 ? pair.x : pair.y;
                } else {
                    v = uintBitsToFloat(lk_load(push.table, from));
                }
            }
        }
        lk_store(push.y, i, v);
    }
}
