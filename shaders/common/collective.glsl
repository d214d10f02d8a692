/* shaders/common/collective.glsl - sums, maxima and minima over one workgroup, in a fixed order.
 *
 * With subgroup arithmetic: inside a subgroup by the hardware, then, where a workgroup has several subgroups, over their results
 * through shared memory. Without (LK_NO_SUBGROUPS): a tree in shared memory. Every invocation of the workgroup must call, and
 * every one gets the result. The workgroup has at most 1024 invocations. */
#ifndef LK_COLLECTIVE_GLSL
#define LK_COLLECTIVE_GLSL

#ifndef LK_NO_SUBGROUPS
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
shared float lk_part[256]; /* one a subgroup: at least 4 lanes each */
/* 1: the host made the workgroup exactly one subgroup; no barrier is compiled then. */
layout(constant_id = 1) const uint lk_one_subgroup = 0u;

#define LK_COLLECTIVE(name, inside, combine)                                                                           \
    float name(float value) {                                                                                          \
        float sum = inside(value);                                                                                     \
        if (lk_one_subgroup == 0u && gl_NumSubgroups > 1u) {                                                           \
            barrier();                                                                                                 \
            if (subgroupElect()) lk_part[gl_SubgroupID] = sum;                                                         \
            barrier();                                                                                                 \
            sum = lk_part[0];                                                                                          \
            for (uint s = 1u; s < gl_NumSubgroups; ++s) sum = combine(sum, lk_part[s]);                                \
        }                                                                                                              \
        return sum;                                                                                                    \
    }
#else
shared float lk_part[1024];

#define LK_COLLECTIVE(name, inside, combine)                                                                           \
    float name(float value) {                                                                                          \
        uint lane = gl_LocalInvocationIndex;                                                                           \
        barrier();                                                                                                     \
        lk_part[lane] = value;                                                                                         \
        barrier();                                                                                                     \
        uint count = gl_WorkGroupSize.x;                                                                               \
        while (count > 1u) {                                                                                           \
            uint half_count = (count + 1u) / 2u;                                                                       \
            if (lane + half_count < count) lk_part[lane] = combine(lk_part[lane], lk_part[lane + half_count]);         \
            barrier();                                                                                                 \
            count = half_count;                                                                                        \
        }                                                                                                              \
        return lk_part[0];                                                                                             \
    }
#endif

float lk_add(float a, float b) { return a + b; }
float lk_larger(float a, float b) { return max(a, b); }

LK_COLLECTIVE(lk_workgroup_sum, subgroupAdd, lk_add)
LK_COLLECTIVE(lk_workgroup_max, subgroupMax, lk_larger)

#endif
