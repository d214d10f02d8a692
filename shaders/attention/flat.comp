/* shaders/attention/flat.comp - attention for CPU drivers: one subgroup a workgroup, no shared memory.
 *
 * A workgroup owns ROWS rows of one head (KIND 0 o, 1 dq: queries; 2 dk and dv: keys) and COLUMNS * lanes of the
 * result's channels, and walks over the items on the other side, BLOCKS * lanes at a time:
 *
 *     products   lanes over items; a row's values are loaded with lanes over channels, 8 a step, and spread by
 *                subgroupBroadcast (as in convolution/flat.comp)
 *     weights    p (forward: with the running maximum of flash attention, one a row, the same in every lane) or ds
 *     result     lanes over channels; the weights, one a lane, are spread item by item
 *
 * A head wider than COLUMNS * lanes takes several workgroups, which repeat the products. Extra columns of the forward
 * kernel are one more such chunk with other values. Loops are tested at their end: see convolution/flat.comp. */
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_ballot : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#include "common/memory.glsl"
#include "common/grid.glsl"
#include "common/index.glsl"
#include "common/math.glsl"
#define LK_PUSH_ATTENTION
#include "attention/push.h"

layout(constant_id = 1) const int LANES = 8;
layout(constant_id = 2) const bool HAS_MASK = false;

const int LOADS = (ROWS * 8 + LANES - 1) / LANES;
#define NEGATIVE_INFINITY uintBitsToFloat(0xff800000u)

float weight_of(float s, float reference) {
    return s == NEGATIVE_INFINITY || reference == NEGATIVE_INFINITY ? 0.0 : lk_exp(s - reference);
}

/* Values 8 step .. 8 step + 7 of every row, zero beyond the head, into `to`. */
#define LOAD_ROWS(to, ref)                                                                                             \
    [[unroll]] for (int l = 0; l < LOADS; ++l) {                                                                       \
        int channel = step + ((l * LANES + lane) & 7);                                                                 \
        float value = lk_load(ref, own[l] + min(channel, push.width - 1));                                             \
        to[l] = channel < push.width ? value : 0.0;                                                                    \
    }

/* product[r][b] += sum over 8 channels of the row's value x the item's value. */
#define MULTIPLY(product, from, other)                                                                                 \
    [[unroll]] for (int r = 0; r < ROWS; ++r) {                                                                        \
        float spread[8];                                                                                               \
        [[unroll]] for (int j = 0; j < 8; ++j)                                                                         \
            spread[j] = subgroupBroadcast(from[(r * 8 + j) / LANES], uint((r * 8 + j) % LANES));                       \
        [[unroll]] for (int b = 0; b < BLOCKS; ++b) {                                                                  \
            float total = product[r][b];                                                                               \
            [[unroll]] for (int j = 0; j < 8; ++j) total += spread[j] * other[b][j];                                   \
            product[r][b] = total;                                                                                     \
        }                                                                                                              \
    }

/* result[r][c] += sum over the block's items of weight x value(item, channel). */
#define ACCUMULATE(result, weight, ref, value_base, value_ld, column_of)                                               \
    [[unroll]] for (int b = 0; b < BLOCKS; ++b) {                                                                      \
        [[unroll]] for (int j0 = 0; j0 < LANES; j0 += 8) {                                                             \
            float value[8][COLUMNS];                                                                                   \
            [[unroll]] for (int j = 0; j < 8; ++j) {                                                                   \
                int at = (value_base) + min(item0 + b * LANES + j0 + j, items - 1) * (value_ld);                       \
                [[unroll]] for (int c = 0; c < COLUMNS; ++c) value[j][c] = lk_load(ref, at + column_of[c]);            \
            }                                                                                                          \
            [[unroll]] for (int r = 0; r < ROWS; ++r) {                                                                \
                float spread[8];                                                                                       \
                [[unroll]] for (int j = 0; j < 8; ++j) spread[j] = subgroupBroadcast(weight[r][b], uint(j0 + j));      \
                [[unroll]] for (int c = 0; c < COLUMNS; ++c) {                                                         \
                    float total = result[r][c];                                                                        \
                    [[unroll]] for (int j = 0; j < 8; ++j) total += spread[j] * value[j][c];                           \
                    result[r][c] = total;                                                                              \
                }                                                                                                      \
            }                                                                                                          \
        }                                                                                                              \
    }

void main() {
    int lane = int(gl_SubgroupInvocationID);
    int group = int(lk_group_index());
    int rest = group / push.row_tiles;
    int row0 = (group - rest * push.row_tiles) * ROWS;
    int chunk = rest % push.chunks;
    rest /= push.chunks;
    int head = rest % push.heads;
    int owner = rest / push.heads;
#if KIND == 2
    int rows = push.keys, items = push.queries;
#else
    int rows = push.queries, items = push.keys;
#endif
    bool causal = (push.flags & 1) != 0;
    int inner = push.heads * push.width;
    int ld = (inner + 7) & ~7, keys_ld = (push.keys + 7) & ~7, lse_ld = (push.heads + 7) & ~7;
    int head_at = head * push.width;
    int items_at = owner * items * ld + head_at;

    int own[LOADS];
    [[unroll]] for (int l = 0; l < LOADS; ++l)
        own[l] = (owner * rows + min(row0 + ((l * LANES + lane) >> 3), rows - 1)) * ld + head_at;

    /* The channels this lane sums. */
    int first = chunk * COLUMNS * LANES + lane, width = push.width;
#if KIND == 0
    int value_chunks = (push.width + COLUMNS * LANES - 1) / (COLUMNS * LANES);
    bool is_extra = chunk >= value_chunks;
    if (is_extra) {
        first -= value_chunks * COLUMNS * LANES;
        width = push.extra;
    }
#endif
    int column[COLUMNS];
    [[unroll]] for (int c = 0; c < COLUMNS; ++c) column[c] = min(first + c * LANES, width - 1);

    float sum[ROWS][COLUMNS];
    [[unroll]] for (int r = 0; r < ROWS; ++r) {
        [[unroll]] for (int c = 0; c < COLUMNS; ++c) sum[r][c] = 0.0;
    }
#if KIND == 0
    float highest[ROWS], total_weight[ROWS];
    [[unroll]] for (int r = 0; r < ROWS; ++r) {
        highest[r] = NEGATIVE_INFINITY;
        total_weight[r] = 0.0;
    }
    lk_f32 values = push.v;
    int values_at = items_at, values_ld = ld;
    if (is_extra) {
        values = push.a;
        values_ld = (push.extra + 7) & ~7;
        values_at = owner * items * values_ld;
    }
#elif KIND == 1
    float lse[ROWS], delta[ROWS];
    [[unroll]] for (int r = 0; r < ROWS; ++r) {
        int row = owner * rows + min(row0 + r, rows - 1);
        lse[r] = lk_load(push.lse, row * lse_ld + head);
        float part = 0.0;
        int c = lane;
        do {
            int at = row * ld + head_at + min(c, push.width - 1);
            float product = lk_load(push.a, at) * lk_load(push.o, at);
            part += c < push.width ? product : 0.0;
            c += LANES;
        } while (c - lane < push.width);
        delta[r] = subgroupAdd(part);
    }
#else
    float sum_v[ROWS][COLUMNS];
    [[unroll]] for (int r = 0; r < ROWS; ++r) {
        [[unroll]] for (int c = 0; c < COLUMNS; ++c) sum_v[r][c] = 0.0;
    }
#endif

    /* Causality leaves out whole blocks: keys after the last row's query, queries before the first row's key. */
    int item0 = 0, items_end = items;
#if KIND == 2
    if (causal) item0 = min(row0, items - 1) / (BLOCKS * LANES) * (BLOCKS * LANES);
#else
    if (causal) items_end = min(items, row0 + ROWS);
#endif
    do {
        int other_at[BLOCKS];
        [[unroll]] for (int b = 0; b < BLOCKS; ++b)
            other_at[b] = items_at + min(item0 + b * LANES + lane, items - 1) * ld;

        float logit[ROWS][BLOCKS];
        [[unroll]] for (int r = 0; r < ROWS; ++r) {
            [[unroll]] for (int b = 0; b < BLOCKS; ++b) logit[r][b] = 0.0;
        }
#if KIND != 0
        float slope[ROWS][BLOCKS]; /* do . v */
        [[unroll]] for (int r = 0; r < ROWS; ++r) {
            [[unroll]] for (int b = 0; b < BLOCKS; ++b) slope[r][b] = 0.0;
        }
#endif
#if KIND == 2
        float delta[BLOCKS];
        [[unroll]] for (int b = 0; b < BLOCKS; ++b) delta[b] = 0.0;
#endif
        int step = 0;
        do {
            float mine[LOADS];
            float other[BLOCKS][8];
            [[unroll]] for (int b = 0; b < BLOCKS; ++b) {
                [[unroll]] for (int j = 0; j < 8; ++j) {
                    int at = other_at[b] + min(step + j, push.width - 1);
#if KIND == 2
                    other[b][j] = lk_load(push.q, at);
#else
                    other[b][j] = lk_load(push.k, at);
#endif
                }
            }
#if KIND == 2
            LOAD_ROWS(mine, push.k)
#else
            LOAD_ROWS(mine, push.q)
#endif
            MULTIPLY(logit, mine, other)
#if KIND != 0
            [[unroll]] for (int b = 0; b < BLOCKS; ++b) {
                [[unroll]] for (int j = 0; j < 8; ++j) {
                    int at = other_at[b] + min(step + j, push.width - 1);
#if KIND == 2
                    other[b][j] = lk_load(push.a, at);
                    float product = other[b][j] * lk_load(push.o, at);
                    delta[b] += step + j < push.width ? product : 0.0;
#else
                    other[b][j] = lk_load(push.v, at);
#endif
                }
            }
#if KIND == 2
            LOAD_ROWS(mine, push.v)
#else
            LOAD_ROWS(mine, push.a)
#endif
            MULTIPLY(slope, mine, other)
#endif
            step += 8;
        } while (step < push.width);

        [[unroll]] for (int b = 0; b < BLOCKS; ++b) {
            int item = item0 + b * LANES + lane, there = min(item, items - 1);
            float bias = 0.0;
#if KIND == 2
            float item_lse = lk_load(push.lse, (owner * items + there) * lse_ld + head);
#else
            if ((push.flags & 2) != 0) bias = lk_load(push.key_bias, owner * keys_ld + there);
#endif
            [[unroll]] for (int r = 0; r < ROWS; ++r) {
                int row = min(row0 + r, rows - 1);
#if KIND == 2
                int query = there, key = row;
                if ((push.flags & 2) != 0) bias = lk_load(push.key_bias, owner * keys_ld + key);
#else
                int query = row, key = there;
#endif
                float s = logit[r][b] * push.scale + bias;
                if (HAS_MASK) s += lk_load(push.mask, query * keys_ld + key);
                s = item < items && !(causal && key > query) ? s : NEGATIVE_INFINITY;
#if KIND == 0
                logit[r][b] = s;
#elif KIND == 1
                logit[r][b] = weight_of(s, lse[r]) * (slope[r][b] - delta[r]) * push.scale;
#else
                float p = weight_of(s, item_lse);
                slope[r][b] = p * (slope[r][b] - delta[b]) * push.scale;
                logit[r][b] = p;
#endif
            }
        }

#if KIND == 0
        [[unroll]] for (int r = 0; r < ROWS; ++r) {
            float higher = logit[r][0];
            [[unroll]] for (int b = 1; b < BLOCKS; ++b) higher = max(higher, logit[r][b]);
            higher = max(highest[r], subgroupMax(higher));
            float keep = weight_of(highest[r], higher);
            highest[r] = higher;
            total_weight[r] *= keep;
            [[unroll]] for (int b = 0; b < BLOCKS; ++b) {
                logit[r][b] = weight_of(logit[r][b], higher);
                total_weight[r] += logit[r][b];
            }
            [[unroll]] for (int c = 0; c < COLUMNS; ++c) sum[r][c] *= keep;
        }
        ACCUMULATE(sum, logit, values, values_at, values_ld, column)
#elif KIND == 1
        ACCUMULATE(sum, logit, push.k, items_at, ld, column)
#else
        ACCUMULATE(sum, slope, push.q, items_at, ld, column)
        ACCUMULATE(sum_v, logit, push.a, items_at, ld, column)
#endif
        item0 += BLOCKS * LANES;
    } while (item0 < items_end);

    /* The last head's last chunk also writes the zeros that fill up a row. */
    bool fills = head == push.heads - 1;
    [[unroll]] for (int r = 0; r < ROWS; ++r) {
        int row = owner * rows + row0 + r;
        bool exists = row0 + r < rows;
#if KIND == 0
        float weight = subgroupAdd(total_weight[r]);
        float inverse = weight > 0.0 ? 1.0 / weight : (weight == 0.0 ? 0.0 : weight);
        float lse = weight == 0.0 ? NEGATIVE_INFINITY : highest[r] + lk_log(weight);
        if (exists && (push.flags & 8) != 0 && chunk == 0) {
            if (lane == 0) lk_store(push.lse, row * lse_ld + head, lse);
            if (fills && lane < lse_ld - push.heads) lk_store(push.lse, row * lse_ld + push.heads + lane, 0.0);
        }
        int padding = is_extra ? (8 - push.heads * push.extra % 8) & 7 : ld - inner;
        int result_at = is_extra ? row * ((push.heads * push.extra + 7) & ~7) + head * push.extra : row * ld + head_at;
        lk_f32 result = push.o;
        if (is_extra) result = push.b;
#else
        float inverse = 1.0;
        int padding = ld - inner;
        int result_at = row * ld + head_at;
        lk_f32 result = push.b;
#endif
        [[unroll]] for (int c = 0; c < COLUMNS; ++c) {
            int channel = first + c * LANES;
            if (exists && channel < width) {
#if KIND == 2
                if ((push.flags & 8) != 0) lk_store(push.b, result_at + channel, sum[r][c]);
                if ((push.flags & 16) != 0) lk_store(push.c, result_at + channel, sum_v[r][c]);
#else
                lk_store(result, result_at + channel, sum[r][c] * inverse);
#endif
            }
        }
        /* At most 7 columns, the workgroup that holds the last channel has at least 8 lanes. */
        if (exists && fills && first - lane + COLUMNS * LANES >= width && lane < padding) {
#if KIND == 2
            if ((push.flags & 8) != 0) lk_store(push.b, result_at + width + lane, 0.0);
            if ((push.flags & 16) != 0) lk_store(push.c, result_at + width + lane, 0.0);
#else
            lk_store(result, result_at + width + lane, 0.0);
#endif
        }
    }
}
