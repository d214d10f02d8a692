/* shaders/convolution/flat.comp - matmul and convolution for CPU drivers: one subgroup a workgroup, no shared memory.
 *
 * A workgroup owns ROWS output pixels x COLUMNS * lanes channels, all sums in registers. The sum runs over taps, then
 * over the source's channels in steps of 8:
 *
 *     source    ROWS x 8 values, loaded with lanes over channels (element e = 8 * row + channel lies in load e / lanes,
 *               lane e % lanes), then spread to all lanes by subgroupBroadcast
 *     weight    forward: lanes over output channels, one word = two steps of the sum; gradient: lanes over pairs of
 *               result channels, one word = one step for two channels (ops/pack.h)
 *
 * On a CPU a load with one address a lane costs about as much as 16 multiply-adds, whether the addresses are
 * neighbours or not: the tile is as large as the sums of one step stay cheap. Sums are kept in memory between steps
 * by the driver, so all 8 steps of one sum are done in a row.
 *
 * Order of every sum: taps, channels, bias, residual: the same for every tile size and batch. */
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_ballot : require
#include "common/memory.glsl"
#include "common/grid.glsl"
#include "common/index.glsl"
#define LK_PUSH_CONVOLUTION
#include "convolution/push.h"
#include "convolution/place.glsl"

layout(constant_id = 1) const int LANES = 8;      /* = workgroup size = subgroup size */
layout(constant_id = 2) const bool WEIGHT_F32 = false;

const int LOADS = (ROWS * 8 + LANES - 1) / LANES;

void main() {
    int lane = int(gl_SubgroupInvocationID);
    ivec2 stride = lk_pair(push.stride), kernel = lk_pair(push.kernel), padding = lk_pair(push.padding);
    ivec2 dilation = lk_pair(push.dilation), spread = lk_spread(stride), scale = lk_scale(stride);

    /* Row tiles run fastest: the weights of a column tile stay in cache. */
    int group = int(lk_group_index());
    int column_tile = group / (push.row_tiles * spread.x * spread.y);
    int rest = group - column_tile * (push.row_tiles * spread.x * spread.y);
    int phase_index = rest / push.row_tiles;
    int row0 = (rest - phase_index * push.row_tiles) * ROWS;
    ivec2 phase = ivec2(phase_index / spread.y, phase_index % spread.y);
    int height = (push.result_height - phase.x + spread.x - 1) / spread.x;
    int width = (push.result_width - phase.y + spread.y - 1) / spread.y;
    int rows = push.samples * height * width;
    if (row0 >= rows) return;
    float inverse_area = 1.0 / float(height * width), inverse_width = 1.0 / float(width);

    /* What this lane loads of the source. */
    int at[LOADS], y[LOADS], x[LOADS];
    [[unroll]] for (int l = 0; l < LOADS; ++l) {
        int e = l * LANES + lane;
        int row = min(row0 + (e >> 3), rows - 1);
        int owner = lk_divide(row, height * width, inverse_area);
        int place = row - owner * height * width;
        int place_y = lk_divide(place, width, inverse_width);
        y[l] = place_y * scale.x;
        x[l] = (place - place_y * width) * scale.y;
        at[l] = ((owner * push.source_height + y[l]) * push.source_width + x[l]) * push.source_ld + (e & 7);
    }

    /* What it loads of the weight. Columns that do not exist read some other column; their sums are dropped. */
#ifdef DX
    const int WORDS = COLUMNS / 2;
    int pair0 = column_tile * WORDS * LANES + lane;
#else
    const int WORDS = COLUMNS;
    int column0 = column_tile * COLUMNS * LANES + lane;
#endif
    int weight_at[WORDS];
    [[unroll]] for (int c = 0; c < WORDS; ++c) {
#ifdef DX
        int pair = min(pair0 + c * LANES, push.padded / 2 - 1);
        weight_at[c] = WEIGHT_F32 ? pair * 64 : pair * 32;
#else
        int column = min(column0 + c * LANES, push.panels * 32 - 1);
        weight_at[c] = (column >> 5) * (WEIGHT_F32 ? push.padded * 32 : push.padded * 16) + (column & 31);
#endif
    }
    int panel_words = WEIGHT_F32 ? push.padded * 32 : push.padded * 16;

    float sum[ROWS][COLUMNS];
    [[unroll]] for (int r = 0; r < ROWS; ++r) {
        [[unroll]] for (int c = 0; c < COLUMNS; ++c) sum[r][c] = 0.0;
    }

    ivec2 first, step;
    lk_taps(dilation.x, padding.x, stride.x, phase.x, kernel.x, first.x, step.x);
    lk_taps(dilation.y, padding.y, stride.y, phase.y, kernel.y, first.y, step.y);
    /* Loops are tested at their end: CPU drivers walk once more, masked, through a loop that is tested at its top. A
     * phase without taps goes round once with a source of zeros. */
    int ky = first.x;
    do {
        int shift_y = lk_shift(ky, dilation.x, padding.x, stride.x, phase.x, kernel.x);
        int kx = first.y;
        do {
            int shift_x = lk_shift(kx, dilation.y, padding.y, stride.y, phase.y, kernel.y);
            int shift = (shift_y * push.source_width + shift_x) * push.source_ld;
            bool tap_exists = ky < kernel.x && kx < kernel.y;
            bool inside[LOADS];
            int tap_at[LOADS];
            [[unroll]] for (int l = 0; l < LOADS; ++l) {
                inside[l] = tap_exists && uint(y[l] + shift_y) < uint(push.source_height) &&
                            uint(x[l] + shift_x) < uint(push.source_width);
                tap_at[l] = inside[l] ? at[l] + shift : (l * LANES + lane) & 7;
            }
            int tap_word = tap_exists ? (ky * kernel.y + kx) * push.panels * panel_words : 0;

            int k = 0;
            do {
                float source[LOADS];
                [[unroll]] for (int l = 0; l < LOADS; ++l) {
                    float value = lk_load(push.source, tap_at[l] + k);
                    source[l] = inside[l] ? value : 0.0;
                }
                float w[8][COLUMNS];
#ifdef DX
                int word = tap_word + (k >> 5) * panel_words + (k & 31);
                [[unroll]] for (int j = 0; j < 8; ++j) {
                    [[unroll]] for (int c = 0; c < WORDS; ++c) {
                        if (WEIGHT_F32) {
                            w[j][2 * c] = uintBitsToFloat(lk_load(push.weight, word + weight_at[c] + j));
                            w[j][2 * c + 1] = uintBitsToFloat(lk_load(push.weight, word + weight_at[c] + 32 + j));
                        } else {
                            vec2 two = lk_load_f16x2(push.weight, word + weight_at[c] + j);
                            w[j][2 * c] = two.x;
                            w[j][2 * c + 1] = two.y;
                        }
                    }
                }
#else
                int word = tap_word + (WEIGHT_F32 ? k * 32 : k * 16);
                [[unroll]] for (int c = 0; c < WORDS; ++c) {
                    if (WEIGHT_F32) {
                        [[unroll]] for (int j = 0; j < 8; ++j)
                            w[j][c] = uintBitsToFloat(lk_load(push.weight, word + weight_at[c] + j * 32));
                    } else {
                        [[unroll]] for (int j = 0; j < 8; j += 2) {
                            vec2 two = lk_load_f16x2(push.weight, word + weight_at[c] + j * 16);
                            w[j][c] = two.x;
                            w[j + 1][c] = two.y;
                        }
                    }
                }
#endif
                [[unroll]] for (int r = 0; r < ROWS; ++r) {
                    float s[8];
                    [[unroll]] for (int j = 0; j < 8; ++j)
                        s[j] = subgroupBroadcast(source[(r * 8 + j) / LANES], uint((r * 8 + j) % LANES));
                    [[unroll]] for (int c = 0; c < COLUMNS; ++c) {
                        float total = sum[r][c];
                        [[unroll]] for (int j = 0; j < 8; ++j) total += s[j] * w[j][c];
                        sum[r][c] = total;
                    }
                }
                k += 8;
            } while (k < push.source_ld);
            kx += step.y;
        } while (kx < kernel.y);
        ky += step.x;
    } while (ky < kernel.x);

    [[unroll]] for (int r = 0; r < ROWS; ++r) {
        int row = row0 + r;
        int owner = lk_divide(row, height * width, inverse_area);
#ifdef DX
        int place = row - owner * height * width;
        int place_y = lk_divide(place, width, inverse_width);
        int pixel = (owner * push.result_height + place_y * spread.x + phase.x) * push.result_width +
                    (place - place_y * width) * spread.y + phase.y;
#else
        int pixel = row;
#endif
        [[unroll]] for (int c = 0; c < COLUMNS; ++c) {
#ifdef DX
            int column = 2 * (pair0 + (c >> 1) * LANES) + (c & 1);
#else
            int column = column0 + c * LANES;
#endif
            if (row < rows && column < push.result_ld) {
                float value = sum[r][c];
#ifndef DX
                if ((push.flags & 1) != 0) value += lk_load(push.bias, owner * push.bias_stride + column);
#endif
                if ((push.flags & 2) != 0) value += lk_load(push.residual, pixel * push.result_ld + column);
                lk_store(push.result, pixel * push.result_ld + column, column < push.result_channels ? value : 0.0);
            }
        }
    }
}
