/* shaders/norm/group_dx.comp - GROUP_NORM_DX and LAYER_NORM_DX.
 *
 * With h = (x - mean) rstd and g = dy * silu'(gamma h + beta) * gamma:   dx = rstd (g - mean(g) - h mean(g h)) + addend.
 * Work is cut and dealt to lanes as in group.comp; `partial` holds the sums of g and g h of every chunk. */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common/memory.glsl"
#include "common/grid.glsl"
#include "common/index.glsl"
#include "common/math.glsl"
#include "common/collective.glsl"
#define LK_PUSH_NORM
#include "norm/push.h"

layout(constant_id = 2) const uint lk_by_rows = 0u;

/* Line i of a group's part: where it begins, and the channel of the group there. */
ivec2 place(int i, int width, float inverse_width) {
    if (lk_by_rows != 0u) return ivec2(i * push.ld, 0);
    int row = lk_divide(i, width, inverse_width);
    int channel = i - row * width;
    return ivec2(row * push.ld + channel, channel);
}

float mean, rstd;

/* (g, h) of one element. */
vec2 element(int at, int channel) {
    float h = (lk_load(push.x, at) - mean) * rstd;
    float g = lk_load(push.dy, at);
    float gamma = (push.mode & 1) != 0 ? lk_load(push.gamma, channel) : 1.0;
    if ((push.mode & 4) != 0) {
        float beta = (push.mode & 2) != 0 ? lk_load(push.beta, channel) : 0.0;
        g *= lk_silu_derivative(gamma * h + beta);
    }
    return vec2(g * gamma, h);
}

void main() {
    int item = int(lk_group_index());
    int phase = push.mode >> 4;
    int chunks = phase == 0 ? 1 : push.chunks;
    if (item >= push.samples * push.groups * chunks) return;
    int chunk = item % chunks;
    int owner = item / chunks;
    int sample_index = owner / push.groups;
    int group = owner - sample_index * push.groups;

    int lane = int(gl_LocalInvocationID.x);
    int step = int(gl_WorkGroupSize.x);
    int width = push.width;
    int row0 = phase == 0 ? 0 : chunk * push.chunk_rows;
    int row_count = phase == 0 ? push.rows : min(push.chunk_rows, push.rows - row0);
    int origin = (sample_index * push.rows + row0) * push.ld + group * width;
    int count = row_count * width;
    float inverse_width = 1.0 / float(width);
    int lines = lk_by_rows != 0u ? row_count : count; /* that lanes are dealt, of `run` elements each */
    int run = lk_by_rows != 0u ? width : 1;
    mean = lk_load(push.stats, owner * 8);
    rstd = lk_load(push.stats, owner * 8 + 1);

    float sum_g = 0.0, sum_gh = 0.0;
    if (phase != 2) {
        for (int i = lane; i < lines; i += step) {
            ivec2 line = place(i, width, inverse_width);
            int k = 0;
            do {
                vec2 e = element(origin + line.x + k, group * width + line.y + k);
                sum_g += e.x;
                sum_gh += e.x * e.y;
            } while (++k < run);
        }
    } else {
        for (int c = lane; c < chunks; c += step) {
            sum_g += lk_load(push.partial, 2 * (owner * chunks + c));
            sum_gh += lk_load(push.partial, 2 * (owner * chunks + c) + 1);
        }
    }
    sum_g = lk_workgroup_sum(sum_g);
    sum_gh = lk_workgroup_sum(sum_gh);
    if (phase == 1) {
        if (lane == 0) {
            lk_store(push.partial, 2 * item, sum_g);
            lk_store(push.partial, 2 * item + 1, sum_gh);
        }
        return;
    }
    float inverse_count = 1.0 / (float(push.rows) * float(width));
    float mean_g = sum_g * inverse_count;
    float mean_gh = sum_gh * inverse_count;
    for (int i = lane; i < lines; i += step) {
        ivec2 line = place(i, width, inverse_width);
        int k = 0;
        do {
            int at = origin + line.x + k;
            vec2 e = element(at, group * width + line.y + k);
            float dx = rstd * (e.x - mean_g - e.y * mean_gh);
            if ((push.mode & 8) != 0) dx += lk_load(push.addend, at);
            lk_store(push.y, at, dx);
        } while (++k < run);
    }
    int padding = push.ld - push.inner;
    if (group == push.groups - 1 && padding > 0) {
        float inverse_padding = 1.0 / float(padding);
        int end = origin - group * width + push.inner;
        for (int i = lane; i < row_count * padding; i += step) {
            int row = lk_divide(i, padding, inverse_padding);
            lk_store(push.y, end + row * push.ld + i - row * padding, 0.0);
        }
    }
}
