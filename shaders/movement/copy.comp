/* shaders/movement/copy.comp - strided copy: PERMUTE, SLICE, CONCAT (a command a part), BROADCAST, fills.
 *
 * Copies 32-bit words, whatever they mean, unless a factor is asked for. */
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_GOOGLE_include_directive : require
#include "common/memory.glsl"
#include "common/grid.glsl"
#include "common/index.glsl"
#define LK_PUSH_COPY
#include "movement/push.h"

void main() {
    int dims = push.mode & 255;
    int per_thread = (push.mode >> 8) & 255;
    bool scaled = (push.mode & 65536) != 0;
    bool fill = (push.mode & 131072) != 0;
    int step = int(gl_WorkGroupSize.x);
    int i = int(lk_group_index()) * step * per_thread + int(gl_LocalInvocationID.x);
    for (int k = 0; k < per_thread && i < push.total; ++k, i += step) {
        int rest = i;
        int from = push.base_x, to = push.base_y;
        bool padding = false;
        for (int d = 0; d < dims; ++d) {
            int q = d + 1 < dims ? lk_divide(rest, push.size[d], 1.0 / float(push.size[d])) : 0;
            int position = rest - q * push.size[d];
            rest = q;
            if (d == 0) padding = position >= push.valid;
            from += position * push.stride_x[d];
            to += position * push.stride_y[d];
        }
        float v = 0.0;
        if (!padding) {
            v = push.scale;
            if (!fill) v = lk_load(push.x, from);
            if (scaled && !fill) v *= push.scale; /* never times 1: an integer's bits are a subnormal, which may be flushed */
        }
        lk_store(push.y, to, v);
    }
}
