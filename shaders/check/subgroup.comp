/* shaders/check/subgroup.comp - y[group] = sum of x over the workgroup by subgroupAdd; the workgroup is one subgroup. */
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#include "common/memory.glsl"
#include "common/grid.glsl"
#define LK_PUSH_AXPY
#include "check/push.h"

void main() {
    int i = int(lk_group_index() * gl_WorkGroupSize.x + gl_LocalInvocationID.x);
    float sum = subgroupAdd(i < push.count ? lk_load(push.x, i) : 0.0);
    if (subgroupElect()) lk_store(push.y, lk_group_index(), sum);
}
