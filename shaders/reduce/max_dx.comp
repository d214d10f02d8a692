/* shaders/reduce/max_dx.comp - REDUCE_MAX_DX: the first maximum in scan order takes the whole gradient.
 *
 * A workgroup an output: it finds the first position that equals y, then writes all elements that this output read. Padding
 * of dx is cleared by another command before. */
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_GOOGLE_include_directive : require
#include "common/memory.glsl"
#include "common/grid.glsl"
#include "common/index.glsl"
#include "common/collective.glsl"
#define LK_PUSH_REDUCE
#include "reduce/push.h"
#include "reduce/common.glsl"

void main() {
    int lane = int(gl_LocalInvocationID.x);
    int step = int(gl_WorkGroupSize.x);
    int item = int(lk_group_index());
    if (item >= push.total) return;
    bool padding;
    int base = kept_offset(item, padding);
    if (padding) return;
    float largest = lk_load(push.y, item);
    int first = push.count;
    for (int i = lane; i < push.count; i += step) {
        if (first == push.count && lk_load(push.x, base + reduced_offset(i)) == largest) first = i;
    }
    /* Positions fit 24 bits twice: the larger half first, then the smaller one among those that have it. */
    int high = -int(lk_workgroup_max(float(-(first >> 12))));
    int low = -int(lk_workgroup_max((first >> 12) == high ? float(-(first & 4095)) : -4096.0));
    first = high * 4096 + low;
    float dy = lk_load(push.dy, item);
    for (int i = lane; i < push.count; i += step)
        lk_store(push.dx, base + reduced_offset(i), i == first ? dy : 0.0);
}
