/* shaders/guidance/similarity.comp - COSINE and LOSS, one workgroup a sample, and their derivatives with respect to a.
 *
 * Norms are taken of vectors scaled by their largest entry, so that squares neither overflow nor vanish. A norm below 1e-8
 * counts as 1e-8, and then has no derivative. */
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_GOOGLE_include_directive : require
#include "common/memory.glsl"
#include "common/grid.glsl"
#include "common/math.glsl"
#include "common/collective.glsl"
#define LK_PUSH_SIMILARITY
#include "guidance/push.h"

const float LEAST_NORM = 1.0e-8;

void cosine(int sample_index, int lane, int step) {
    int at_a = sample_index * push.stride_a, at_b = sample_index * push.stride_b;
    float big_a = 0.0, big_b = 0.0;
    for (int i = lane; i < push.extent; i += step) {
        big_a = max(big_a, abs(lk_load(push.a, at_a + i)));
        big_b = max(big_b, abs(lk_load(push.b, at_b + i)));
    }
    big_a = max(lk_workgroup_max(big_a), 1.0e-30);
    big_b = max(lk_workgroup_max(big_b), 1.0e-30);
    float scale_a = 1.0 / big_a, scale_b = 1.0 / big_b;
    float ab = 0.0, aa = 0.0, bb = 0.0;
    for (int i = lane; i < push.extent; i += step) {
        float a = lk_load(push.a, at_a + i) * scale_a, b = lk_load(push.b, at_b + i) * scale_b;
        ab += a * b;
        aa += a * a;
        bb += b * b;
    }
    ab = lk_workgroup_sum(ab);
    aa = lk_workgroup_sum(aa);
    bb = lk_workgroup_sum(bb);
    /* Norms in units of the largest entries. */
    float norm_a = max(sqrt(aa), LEAST_NORM * scale_a);
    float norm_b = max(sqrt(bb), LEAST_NORM * scale_b);
    bool free_norm = sqrt(aa) * big_a > LEAST_NORM;
    float c = ab / (norm_a * norm_b);
    if ((push.mode & 4) == 0) {
        if (lane == 0) lk_store(push.y, sample_index, c);
        return;
    }
    float d = lk_load(push.d, sample_index);
    float factor_b = d * scale_b / norm_b;
    float factor_a = free_norm ? d * c * scale_a / norm_a : 0.0;
    float outer = scale_a / norm_a;
    for (int i = lane; i < push.extent; i += step) {
        float y = factor_b * lk_load(push.b, at_b + i) - factor_a * lk_load(push.a, at_a + i);
        lk_store(push.y, at_a + i, outer * y);
    }
}

float distance_of(float a, float b) {
    float d = a - b;
    return (push.mode & 3) == 1 ? abs(d) : d * d;
}

void main() {
    int lane = int(gl_LocalInvocationID.x);
    int step = int(gl_WorkGroupSize.x);
    int item = int(lk_group_index());
    bool derivative = (push.mode & 4) != 0;
    if ((push.mode & 3) == 0) {
        if (item < push.samples)
            cosine(item, lane, step);
        else if (!derivative && item < push.slots && lane == 0)
            lk_store(push.y, item, 0.0);
    } else if (!derivative) {
        if (item >= push.slots) return;
        float sum = 0.0;
        if (item < push.samples) {
            for (int i = lane; i < push.extent; i += step)
                sum += distance_of(lk_load(push.a, item * push.stride_a + i), lk_load(push.b, item * push.stride_b + i));
        }
        sum = lk_workgroup_sum(sum) * push.scale;
        if (lane == 0) lk_store(push.y, item, sum);
    } else {
        int sample_index = item / push.chunks;
        int start = (item - sample_index * push.chunks) * push.chunk;
        if (sample_index >= push.samples) {
            /* a is [N]: its padding belongs to nobody else. */
            if (sample_index < push.slots && lane == 0) lk_store(push.y, sample_index, 0.0);
            return;
        }
        float factor = lk_load(push.d, sample_index) * push.scale;
        int end = min(start + push.chunk, push.extent);
        for (int i = start + lane; i < end; i += step) {
            float d = lk_load(push.a, sample_index * push.stride_a + i) - lk_load(push.b, sample_index * push.stride_b + i);
            lk_store(push.y, sample_index * push.stride_a + i, factor * ((push.mode & 3) == 1 ? sign(d) : 2.0 * d));
        }
    }
}
