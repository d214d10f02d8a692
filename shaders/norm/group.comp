/* shaders/norm/group.comp - GROUP_NORM and LAYER_NORM forward, with optional scale, shift and SiLU.
 *
 * A workgroup owns one (sample, group): mean, then squares about the mean, then the normalised values. Lanes run over the
 * group's elements, neighbouring lanes over neighbouring channels, or (lk_by_rows, for CPU drivers) each over rows of its own:
 * no divisions then, and gamma and beta are the same for all lanes. (Loops that are tested at their end cost these drivers a
 * round less.) Large groups go in two dispatches: phase 1 leaves (mean, squares)
 * of every chunk in `partial`, phase 2 joins all chunks of its group in order and normalises one chunk. */
#version 460
#extension GL_GOOGLE_include_directive : require
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
    int row0 = chunk * push.chunk_rows;
    int row_count = phase == 0 ? push.rows : min(push.chunk_rows, push.rows - row0);
    if (phase == 0) row0 = 0;
    int origin = (sample_index * push.rows + row0) * push.ld + group * width;
    int count = row_count * width;
    float inverse_width = 1.0 / float(width);
    int lines = lk_by_rows != 0u ? row_count : count; /* that lanes are dealt, of `run` elements each */
    int run = lk_by_rows != 0u ? width : 1;

    float mean = 0.0, squares = 0.0;
    if (phase != 2) {
        float sum = 0.0;
        for (int i = lane; i < lines; i += step) {
            int at = origin + place(i, width, inverse_width).x;
            int k = 0;
            do {
                sum += lk_load(push.x, at + k);
            } while (++k < run);
        }
        mean = lk_workgroup_sum(sum) / float(count);
        sum = 0.0;
        for (int i = lane; i < lines; i += step) {
            int at = origin + place(i, width, inverse_width).x;
            int k = 0;
            do {
                float d = lk_load(push.x, at + k) - mean;
                sum += d * d;
            } while (++k < run);
        }
        squares = lk_workgroup_sum(sum);
        if (phase == 1) {
            if (lane == 0) {
                lk_store(push.partial, 2 * item, mean);
                lk_store(push.partial, 2 * item + 1, squares);
            }
            return;
        }
    } else {
        float weighted = 0.0;
        for (int c = lane; c < chunks; c += step) {
            float n = float(min(push.chunk_rows, push.rows - c * push.chunk_rows)) / float(push.rows);
            weighted += n * lk_load(push.partial, 2 * (owner * chunks + c));
        }
        mean = lk_workgroup_sum(weighted);
        float total = 0.0;
        for (int c = lane; c < chunks; c += step) {
            float n = float(min(push.chunk_rows, push.rows - c * push.chunk_rows) * width);
            float d = lk_load(push.partial, 2 * (owner * chunks + c)) - mean;
            total += lk_load(push.partial, 2 * (owner * chunks + c) + 1) + n * d * d;
        }
        squares = lk_workgroup_sum(total);
    }
    float rstd = 1.0 / sqrt(squares / (float(push.rows) * float(width)) + push.epsilon);

    if (chunk == 0) {
        for (int c = lane; c < 8; c += step) lk_store(push.stats, owner * 8 + c, c == 0 ? mean : (c == 1 ? rstd : 0.0));
    }
    for (int i = lane; i < lines; i += step) {
        ivec2 line = place(i, width, inverse_width);
        int at = origin + line.x, first = group * width + line.y;
        int k = 0;
        do {
            float v = (lk_load(push.x, at + k) - mean) * rstd;
            if ((push.mode & 1) != 0) v *= lk_load(push.gamma, first + k);
            if ((push.mode & 2) != 0) v += lk_load(push.beta, first + k);
            if ((push.mode & 4) != 0) v = lk_silu(v);
            lk_store(push.y, at + k, v);
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
