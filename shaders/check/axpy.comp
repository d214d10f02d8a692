/* shaders/check/axpy.comp - y += a x, one element a thread: the smallest shader that touches everything the device layer
 * does (addresses, push constants, specialization constants, the grid over three axes). Constant 1 is added to a. */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common/memory.glsl"
#include "common/grid.glsl"
#define LK_PUSH_AXPY
#include "check/push.h"

layout(constant_id = 1) const int EXTRA = 0;

void main() {
    int i = int(lk_group_index() * gl_WorkGroupSize.x + gl_LocalInvocationID.x);
    if (i < push.count) lk_store(push.y, i, (push.a + float(EXTRA)) * lk_load(push.x, i) + lk_load(push.y, i));
}
