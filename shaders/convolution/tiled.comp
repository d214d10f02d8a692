/* shaders/convolution/tiled.comp - matmul and convolution for GPUs without matrix units: tiles in shared memory.
 *
 * A workgroup of (TILE / 4)^2 threads owns TILE output pixels x TILE channels, a thread 4 x 4 of them, TILE / 4
 * apart, so that neighbouring threads read neighbouring words of shared memory:
 *
 *     source  TILE rows x 16 channels, one column of padding against bank conflicts     weight  16 x TILE
 *
 * The sum runs over taps, then over the source's channels in steps of 16. */
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

const int DEPTH = 16;
const int SIDE = TILE / 4; /* threads along each side */
const int THREADS = SIDE * SIDE;
const int ROW_LOADS = TILE * DEPTH / THREADS;

shared float source_tile[TILE][DEPTH + 1];
shared float weight_tile[DEPTH][TILE];

/* The weights of 16 channels from k on for the tile's columns; zero where there is none. */
void load_weights(int thread, int tap, int k, int column0) {
    int panel_rows = WEIGHT_F32 ? push.padded : push.padded / 2;
#ifdef DX
    /* Words run over source channels (o) fastest, then over pairs of result channels. */
    [[unroll]] for (int i = 0; i < TILE / 2 * DEPTH / THREADS; ++i) {
        int w = i * THREADS + thread;
        int o = w % DEPTH, pair = w / DEPTH;
        int result_pair = column0 / 2 + pair;
        bool there = k + o < push.source_ld && result_pair < push.padded / 2;
        int row = (tap * push.panels + ((k + o) >> 5)) * panel_rows + (WEIGHT_F32 ? 2 * result_pair : result_pair);
        int at = there ? row * 32 + ((k + o) & 31) : 0;
        vec2 two;
        if (WEIGHT_F32)
            two = vec2(uintBitsToFloat(lk_load(push.weight, at)),
                       uintBitsToFloat(lk_load(push.weight, there ? at + 32 : 0)));
        else
            two = lk_load_f16x2(push.weight, at);
        weight_tile[o][2 * pair] = there ? two.x : 0.0;
        weight_tile[o][2 * pair + 1] = there ? two.y : 0.0;
    }
#else
    /* Words run over columns fastest, then over pairs of source channels. */
    [[unroll]] for (int i = 0; i < TILE * DEPTH / 2 / THREADS; ++i) {
        int w = i * THREADS + thread;
        int column = w % TILE, pair = w / TILE;
        int result_column = column0 + column;
        bool there = k + 2 * pair < push.source_ld && result_column < push.panels * 32;
        int row = (tap * push.panels + (result_column >> 5)) * panel_rows + (WEIGHT_F32 ? k + 2 * pair : k / 2 + pair);
        int at = there ? row * 32 + (result_column & 31) : 0;
        vec2 two;
        if (WEIGHT_F32)
            two = vec2(uintBitsToFloat(lk_load(push.weight, at)),
                       uintBitsToFloat(lk_load(push.weight, there ? at + 32 : 0)));
        else
            two = lk_load_f16x2(push.weight, at);
        weight_tile[2 * pair][column] = there ? two.x : 0.0;
        weight_tile[2 * pair + 1][column] = there ? two.y : 0.0;
    }
#endif
}

void main() {
    int thread = int(gl_LocalInvocationID.x);
    ivec2 stride = lk_pair(push.stride), kernel = lk_pair(push.kernel), padding = lk_pair(push.padding);
    ivec2 dilation = lk_pair(push.dilation), spread = lk_spread(stride), scale = lk_scale(stride);
    int group = int(lk_group_index());
    int column_tile = group % push.column_tiles;
    int rest = group / push.column_tiles;
    int phase_index = rest / push.row_tiles;
    int row0 = (rest - phase_index * push.row_tiles) * TILE;
    int column0 = column_tile * TILE;
    ivec2 phase = ivec2(phase_index / spread.y, phase_index % spread.y);
    int height = (push.result_height - phase.x + spread.x - 1) / spread.x;
    int width = (push.result_width - phase.y + spread.y - 1) / spread.y;
    int rows = push.samples * height * width;
    if (row0 >= rows) return; /* the same in every thread */
    float inverse_area = 1.0 / float(height * width), inverse_width = 1.0 / float(width);

    int channel = thread % DEPTH;
    int at[ROW_LOADS], y[ROW_LOADS], x[ROW_LOADS];
    [[unroll]] for (int l = 0; l < ROW_LOADS; ++l) {
        int row = min(row0 + (l * THREADS + thread) / DEPTH, rows - 1);
        int owner = lk_divide(row, height * width, inverse_area);
        int place = row - owner * height * width;
        int place_y = lk_divide(place, width, inverse_width);
        y[l] = place_y * scale.x;
        x[l] = (place - place_y * width) * scale.y;
        at[l] = ((owner * push.source_height + y[l]) * push.source_width + x[l]) * push.source_ld + channel;
    }

    int thread_row = thread / SIDE, thread_column = thread % SIDE;
    float sum[4][4];
    [[unroll]] for (int r = 0; r < 4; ++r) {
        [[unroll]] for (int c = 0; c < 4; ++c) sum[r][c] = 0.0;
    }
    ivec2 first, step;
    lk_taps(dilation.x, padding.x, stride.x, phase.x, kernel.x, first.x, step.x);
    lk_taps(dilation.y, padding.y, stride.y, phase.y, kernel.y, first.y, step.y);
    for (int ky = first.x; ky < kernel.x; ky += step.x) {
        int shift_y = lk_shift(ky, dilation.x, padding.x, stride.x, phase.x, kernel.x);
        for (int kx = first.y; kx < kernel.y; kx += step.y) {
            int shift_x = lk_shift(kx, dilation.y, padding.y, stride.y, phase.y, kernel.y);
            int shift = (shift_y * push.source_width + shift_x) * push.source_ld;
            int tap = ky * kernel.y + kx;
            for (int k = 0; k < push.source_ld; k += DEPTH) {
                [[unroll]] for (int l = 0; l < ROW_LOADS; ++l) {
                    bool inside = uint(y[l] + shift_y) < uint(push.source_height) &&
                                  uint(x[l] + shift_x) < uint(push.source_width) && k + channel < push.source_ld;
                    float value = lk_load(push.source, inside ? at[l] + shift + k : 0);
                    source_tile[(l * THREADS + thread) / DEPTH][channel] = inside ? value : 0.0;
                }
                load_weights(thread, tap, k, column0);
                barrier();
                [[unroll]] for (int j = 0; j < DEPTH; ++j) {
                    float s[4], w[4];
                    [[unroll]] for (int r = 0; r < 4; ++r) s[r] = source_tile[thread_row + r * SIDE][j];
                    [[unroll]] for (int c = 0; c < 4; ++c) w[c] = weight_tile[j][thread_column + c * SIDE];
                    [[unroll]] for (int r = 0; r < 4; ++r) {
                        [[unroll]] for (int c = 0; c < 4; ++c) sum[r][c] += s[r] * w[c];
                    }
                }
                barrier();
            }
        }
    }

    [[unroll]] for (int r = 0; r < 4; ++r) {
        int row = row0 + thread_row + r * SIDE;
        if (row >= rows) continue;
        int owner = lk_divide(row, height * width, inverse_area);
        int place = row - owner * height * width;
        int place_y = lk_divide(place, width, inverse_width);
        int pixel = (owner * push.result_height + place_y * spread.x + phase.x) * push.result_width +
                    (place - place_y * width) * spread.y + phase.y;
        [[unroll]] for (int c = 0; c < 4; ++c) {
            int column = column0 + thread_column + c * SIDE;
            if (column >= push.result_ld) continue;
            float value = sum[r][c];
#ifndef DX
            if ((push.flags & 1) != 0) value += lk_load(push.bias, owner * push.bias_stride + column);
#endif
            if ((push.flags & 2) != 0) value += lk_load(push.residual, pixel * push.result_ld + column);
            lk_store(push.result, pixel * push.result_ld + column, column < push.result_channels ? value : 0.0);
        }
    }
}
