/* shaders/movement/gather_dx.comp - GATHER_DX: every element of the table sums the rows that read it, in order of
 * position. */
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
    int step = int(gl_WorkGroupSize.x);
    int i = int(lk_group_index()) * step * push.per_thread + int(gl_LocalInvocationID.x);
    for (int k = 0; k < push.per_thread && i < push.total; ++k, i += step) {
        int entry = lk_divide(i, push.ld, 1.0 / float(push.ld));
        int column = i - entry * push.ld;
        float sum = 0.0;
        if (column < push.valid) {
            for (int j = 0; j < push.count; ++j) {
                int rest = j, at = 0, from = column * push.column_stride;
                for (int d = 0; d < dims; ++d) {
                    int q = d + 1 < dims ? lk_divide(rest, push.size[d], 1.0 / float(push.size[d])) : 0;
                    int position = rest - q * push.size[d];
                    rest = q;
                    at += position * push.stride_ids[d];
                    from += position * push.stride_column[d];
                }
                if (int(lk_load(push.ids, at)) == entry) sum += uintBitsToFloat(lk_load(push.table, from));
            }
        }
        lk_store(push.y, i, sum);
    }
}
