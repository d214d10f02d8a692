/* shaders/convolution/plain.comp - matmul and convolution with any number of groups, one thread for ROWS pixels of
 * one channel.
 *
 * Needs nothing of the device; used for grouped and depthwise convolutions and where the faster kernels fail. Threads
 * run over (row tile, channel) with channels fastest, so that neighbours share the source (groups = 1) or read it
 * side by side. */
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "common/memory.glsl"
#include "common/grid.glsl"
#include "common/index.glsl"
#define LK_PUSH_CONVOLUTION
#include "convolution/push.h"
#include "convolution/place.glsl"

layout(constant_id = 1) const bool WEIGHT_F32 = false;

/* Weight of tap t from input channel c of its group to output channel o. */
float weight_of(int t, int o, int c) {
    int block = t * push.panels + (o >> 5);
    if (WEIGHT_F32) return uintBitsToFloat(lk_load(push.weight, (block * push.padded + c) * 32 + (o & 31)));
    vec2 two = lk_load_f16x2(push.weight, (block * (push.padded >> 1) + (c >> 1)) * 32 + (o & 31));
    return (c & 1) == 0 ? two.x : two.y;
}

void main() {
    ivec2 stride = lk_pair(push.stride), kernel = lk_pair(push.kernel), padding = lk_pair(push.padding);
    ivec2 dilation = lk_pair(push.dilation), spread = lk_spread(stride), scale = lk_scale(stride);
    int item = int(lk_group_index() * gl_WorkGroupSize.x + gl_LocalInvocationID.x);
    int tile = lk_divide(item, push.result_ld, 1.0 / float(push.result_ld));
    int column = item - tile * push.result_ld;
    int phase_index = tile / push.row_tiles;
    if (phase_index >= spread.x * spread.y) return;
    int row0 = (tile - phase_index * push.row_tiles) * ROWS;
    ivec2 phase = ivec2(phase_index / spread.y, phase_index % spread.y);
    int height = (push.result_height - phase.x + spread.x - 1) / spread.x;
    int width = (push.result_width - phase.y + spread.y - 1) / spread.y;
    int rows = push.samples * height * width;
    if (row0 >= rows) return;
    float inverse_area = 1.0 / float(height * width), inverse_width = 1.0 / float(width);

    int at[ROWS], y[ROWS], x[ROWS], pixel[ROWS], owner[ROWS];
    [[unroll]] for (int r = 0; r < ROWS; ++r) {
        int row = min(row0 + r, rows - 1);
        owner[r] = lk_divide(row, height * width, inverse_area);
        int place = row - owner[r] * height * width;
        int place_y = lk_divide(place, width, inverse_width);
        int place_x = place - place_y * width;
        y[r] = place_y * scale.x;
        x[r] = place_x * scale.y;
        at[r] = ((owner[r] * push.source_height + y[r]) * push.source_width + x[r]) * push.source_ld;
        pixel[r] = (owner[r] * push.result_height + place_y * spread.x + phase.x) * push.result_width +
                   place_x * spread.y + phase.y;
    }

    bool exists = column < push.result_channels;
    int channel = exists ? column : 0;
    int per_group = push.source_channels / push.groups;      /* channels to sum over */
    int per_group_out = push.result_channels / push.groups;
    int group = channel / per_group_out;
    int own = channel - group * per_group_out;
    int source0 = group * per_group;

    float sum[ROWS];
    [[unroll]] for (int r = 0; r < ROWS; ++r) sum[r] = 0.0;
    ivec2 first, step;
    lk_taps(dilation.x, padding.x, stride.x, phase.x, kernel.x, first.x, step.x);
    lk_taps(dilation.y, padding.y, stride.y, phase.y, kernel.y, first.y, step.y);
    /* Loops are tested at their end and a phase without taps sums zeros once: see flat.comp. */
    int ky = first.x;
    do {
        int shift_y = lk_shift(ky, dilation.x, padding.x, stride.x, phase.x, kernel.x);
        int kx = first.y;
        do {
            int shift_x = lk_shift(kx, dilation.y, padding.y, stride.y, phase.y, kernel.y);
            int shift = (shift_y * push.source_width + shift_x) * push.source_ld;
            bool tap_exists = ky < kernel.x && kx < kernel.y;
            bool inside[ROWS];
            int tap_at[ROWS];
            [[unroll]] for (int r = 0; r < ROWS; ++r) {
                inside[r] = tap_exists && uint(y[r] + shift_y) < uint(push.source_height) &&
                            uint(x[r] + shift_x) < uint(push.source_width);
                tap_at[r] = (inside[r] ? at[r] + shift : 0) + source0;
            }
            int t = tap_exists ? ky * kernel.y + kx : 0;
            int k = 0;
            do {
#ifdef DX
                float w = weight_of(t, source0 + k, own);
#else
                float w = weight_of(t, channel, k);
#endif
                [[unroll]] for (int r = 0; r < ROWS; ++r) {
                    float value = lk_load(push.source, tap_at[r] + k);
                    sum[r] += (inside[r] ? value : 0.0) * w;
                }
                ++k;
            } while (k < per_group);
            kx += step.y;
        } while (kx < kernel.y);
        ky += step.x;
    } while (ky < kernel.x);

    [[unroll]] for (int r = 0; r < ROWS; ++r) {
        if (row0 + r < rows) {
            float value = sum[r];
#ifndef DX
            if ((push.flags & 1) != 0) value += lk_load(push.bias, owner[r] * push.bias_stride + channel);
#endif
            if ((push.flags & 2) != 0) value += lk_load(push.residual, pixel[r] * push.result_ld + channel);
            lk_store(push.result, pixel[r] * push.result_ld + column, exists ? value : 0.0);
        }
    }
}
