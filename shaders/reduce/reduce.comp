/* shaders/reduce/reduce.comp - REDUCE: sum, mean, max over any axes.
 *
 * A workgroup an output (lanes over the reduced elements), or a thread an output where few elements are reduced: the
 * host chooses by that count alone, so that a batch does not change the order of a sum. */
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_GOOGLE_include_directive : require
#include "common/memory.glsl"
#include "common/grid.glsl"
#include "common/index.glsl"
#include "common/math.glsl"
#include "common/collective.glsl"
#define LK_PUSH_REDUCE
#include "reduce/push.h"
#include "reduce/common.glsl"

const float LOWEST = -3.402823466e38;

float reduced(int base, int first, int step) {
    bool maximum = (push.mode & 15) == 2;
    float r = maximum ? LOWEST : 0.0;
    for (int i = first; i < push.count; i += step) {
        float v = lk_load(push.x, base + reduced_offset(i));
        r = maximum ? max(r, v) : r + v;
    }
    return r;
}

void main() {
    int lane = int(gl_LocalInvocationID.x);
    int step = int(gl_WorkGroupSize.x);
    int item = int(lk_group_index());
    bool padding;
    if ((push.mode >> 12) != 0) {
        int i = item * step + lane;
        if (i >= push.total) return;
        int base = kept_offset(i, padding);
        float y = 0.0;
        if (!padding) y = reduced(base, 0, 1) * push.scale;
        lk_store(push.y, i, y);
        return;
    }
    if (item >= push.total) return;
    int base = kept_offset(item, padding);
    float r = 0.0;
    if (!padding) {
        r = reduced(base, lane, step);
        r = ((push.mode & 15) == 2 ? lk_workgroup_max(r) : lk_workgroup_sum(r)) * push.scale;
    }
    if (lane == 0) lk_store(push.y, item, r);
}
