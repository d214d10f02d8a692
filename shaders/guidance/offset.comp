/* shaders/guidance/offset.comp - OFFSET_UPDATE: the anchored guidance step on one boundary's offset.
 *
 *     m = |h|;  q = h / max(1, m), clamped to +-clamp when clamp > 0;  offset' = offset - s q  (mode 0) or -s q (mode 1)
 *
 * Every chunk's squares are taken of entries scaled by the chunk's largest one. A small tensor is one workgroup; a large one goes
 * in two dispatches, and every workgroup of the second joins all partial sums in the same order. */
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_GOOGLE_include_directive : require
#include "common/memory.glsl"
#include "common/grid.glsl"
#include "common/collective.glsl"
#define LK_PUSH_OFFSET
#include "guidance/push.h"

void main() {
    int lane = int(gl_LocalInvocationID.x);
    int step = int(gl_WorkGroupSize.x);
    int item = int(lk_group_index());
    if (item >= push.chunks) return;
    int start = item * push.chunk;
    int end = min(start + push.chunk, push.total);

    float largest = 0.0, squares = 0.0;
    if (push.phase != 2) {
        for (int i = start + lane; i < end; i += step) largest = max(largest, abs(lk_load(push.gradient, i)));
        largest = max(lk_workgroup_max(largest), 1.0e-30);
        float inverse = 1.0 / largest;
        for (int i = start + lane; i < end; i += step) {
            float h = lk_load(push.gradient, i) * inverse;
            squares += h * h;
        }
        squares = lk_workgroup_sum(squares);
        if (push.phase == 1) {
            if (lane == 0) {
                lk_store(push.partial, 2 * item, largest);
                lk_store(push.partial, 2 * item + 1, squares);
            }
            return;
        }
    } else {
        for (int c = lane; c < push.chunks; c += step) largest = max(largest, lk_load(push.partial, 2 * c));
        largest = lk_workgroup_max(largest);
        for (int c = lane; c < push.chunks; c += step) {
            float ratio = lk_load(push.partial, 2 * c) / largest;
            squares += lk_load(push.partial, 2 * c + 1) * ratio * ratio;
        }
        squares = lk_workgroup_sum(squares);
    }
    float norm = largest * sqrt(squares);
    if (norm < 2.0e-30) norm = 0.0; /* the guard against division by zero is no norm */
    if (item == 0) {
        for (int c = lane; c < 8; c += step) lk_store(push.norm, c, c == 0 ? norm : 0.0);
    }
    float scale = 1.0 / max(1.0, norm);
    float s = lk_load(push.params, 0);
    float bound = lk_load(push.params, 1);
    bool assign = lk_load(push.params, 2) != 0.0;
    for (int i = start + lane; i < end; i += step) {
        float q = lk_load(push.gradient, i) * scale;
        if (bound > 0.0) q = clamp(q, -bound, bound);
        float y = -s * q;
        if (!assign) y += lk_load(push.offset, i);
        lk_store(push.y, i, y);
    }
}
