/* shaders/norm/softmax.comp - SOFTMAX over the last logical axis, and SOFTMAX_DX = y (dy - sum(y dy)).
 *
 * Where the axis is the inner one a workgroup owns a row; in [N,C,H,W] the axis is W and a thread owns the line of its
 * channel (lanes: neighbouring channels), lines counted over the padding too, which gets zero. */
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_GOOGLE_include_directive : require
#include "common/memory.glsl"
#include "common/grid.glsl"
#include "common/index.glsl"
#include "common/math.glsl"
#include "common/collective.glsl"
#define LK_PUSH_SOFTMAX
#include "norm/push.h"

void row_of_workgroup(int row) {
    int lane = int(gl_LocalInvocationID.x);
    int step = int(gl_WorkGroupSize.x);
    int origin = row * push.ld;
    if (push.derivative != 0) {
        float dot_product = 0.0;
        for (int i = lane; i < push.extent; i += step)
            dot_product += lk_load(push.x, origin + i) * lk_load(push.dy, origin + i);
        dot_product = lk_workgroup_sum(dot_product);
        for (int i = lane; i < push.ld; i += step) {
            float y = i < push.extent ? lk_load(push.x, origin + i) * (lk_load(push.dy, origin + i) - dot_product) : 0.0;
            lk_store(push.y, origin + i, y);
        }
        return;
    }
    float largest = -3.402823e38;
    for (int i = lane; i < push.extent; i += step) largest = max(largest, lk_load(push.x, origin + i));
    largest = lk_workgroup_max(largest);
    float sum = 0.0;
    for (int i = lane; i < push.extent; i += step) sum += lk_exp(lk_load(push.x, origin + i) - largest);
    float scale = 1.0 / lk_workgroup_sum(sum);
    for (int i = lane; i < push.ld; i += step) {
        float y = i < push.extent ? lk_exp(lk_load(push.x, origin + i) - largest) * scale : 0.0;
        lk_store(push.y, origin + i, y);
    }
}

void line_of_thread(int line) {
    int outer = lk_divide(line, push.ld, 1.0 / float(push.ld));
    int channel = line - outer * push.ld;
    int origin = outer * push.extent * push.stride + channel;
    bool padding = channel >= push.inner;
    if (push.derivative != 0) {
        float dot_product = 0.0;
        for (int i = 0; i < push.extent; ++i)
            dot_product += lk_load(push.x, origin + i * push.stride) * lk_load(push.dy, origin + i * push.stride);
        for (int i = 0; i < push.extent; ++i) {
            int at = origin + i * push.stride;
            float y = lk_load(push.x, at) * (lk_load(push.dy, at) - dot_product);
            lk_store(push.y, at, padding ? 0.0 : y);
        }
        return;
    }
    float largest = -3.402823e38;
    for (int i = 0; i < push.extent; ++i) largest = max(largest, lk_load(push.x, origin + i * push.stride));
    float sum = 0.0;
    for (int i = 0; i < push.extent; ++i) sum += lk_exp(lk_load(push.x, origin + i * push.stride) - largest);
    float scale = 1.0 / sum;
    for (int i = 0; i < push.extent; ++i) {
        int at = origin + i * push.stride;
        float y = lk_exp(lk_load(push.x, at) - largest) * scale;
        lk_store(push.y, at, padding ? 0.0 : y);
    }
}

void main() {
    int item = int(lk_group_index());
    if (push.stride == 1) {
        if (item < push.lines) row_of_workgroup(item);
    } else {
        int line = item * int(gl_WorkGroupSize.x) + int(gl_LocalInvocationID.x);
        if (line < push.lines) line_of_thread(line);
    }
}
