/* shaders/attention/plain.comp - attention for any device: one thread for 16 result channels of one row of one head.
 *
 * KIND 0: o, log-sum-exp, extra columns, with the running maximum of flash attention. KIND 1: dq. KIND 2: dk and dv,
 * a row is a key. Each thread computes all dot products of its row again; no shared memory, no subgroup operations. */
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "common/memory.glsl"
#include "common/grid.glsl"
#include "common/index.glsl"
#include "common/math.glsl"
#define LK_PUSH_ATTENTION
#include "attention/push.h"

const int CHUNK = 16;
#define NEGATIVE_INFINITY uintBitsToFloat(0xff800000u)

#define DOT(sum, a_ref, a_at, b_ref, b_at)                                                                             \
    {                                                                                                                  \
        sum = 0.0;                                                                                                     \
        int t = 0;                                                                                                     \
        do {                                                                                                           \
            sum += lk_load(a_ref, (a_at) + t) * lk_load(b_ref, (b_at) + t);                                            \
            ++t;                                                                                                       \
        } while (t < push.width);                                                                                      \
    }

/* Key bias and mask of one logit; minus infinity where causality hides the key. */
float bias_of(int owner, int query, int key) {
    int ld = (push.keys + 7) & ~7;
    float bias = 0.0;
    if ((push.flags & 2) != 0) bias += lk_load(push.key_bias, owner * ld + key);
    if ((push.flags & 4) != 0) bias += lk_load(push.mask, query * ld + key);
    return (push.flags & 1) != 0 && key > query ? NEGATIVE_INFINITY : bias;
}

/* exp(s - reference), 0 for a logit or a row of minus infinity. */
float weight_of(float s, float reference) {
    return s == NEGATIVE_INFINITY || reference == NEGATIVE_INFINITY ? 0.0 : lk_exp(s - reference);
}

void main() {
    int item = int(lk_group_index() * gl_WorkGroupSize.x + gl_LocalInvocationID.x);
    if (item >= push.total) return;
    int rest = lk_divide(item, push.chunks, 1.0 / float(push.chunks));
    int chunk = item - rest * push.chunks;
    int row_of_all = lk_divide(rest, push.heads, 1.0 / float(push.heads));
    int head = rest - row_of_all * push.heads;
#if KIND == 2
    int rows = push.keys;
#else
    int rows = push.queries;
#endif
    int owner = lk_divide(row_of_all, rows, 1.0 / float(rows));
    int row = row_of_all - owner * rows;
    int inner = push.heads * push.width;
    int ld = (inner + 7) & ~7;
    int own = row_of_all * ld + head * push.width;
    int lse_ld = (push.heads + 7) & ~7;
    int first = chunk * CHUNK, count = min(push.width - first, CHUNK);
    int last = push.width - 1;

#if KIND == 0
    int value_chunks = (push.width + CHUNK - 1) / CHUNK;
    bool is_extra = chunk >= value_chunks;
    int extra_ld = (push.extra + 7) & ~7;
    if (is_extra) {
        first = (chunk - value_chunks) * CHUNK;
        count = min(push.extra - first, CHUNK);
        last = push.extra - 1;
    }
    float highest = NEGATIVE_INFINITY, total = 0.0;
    float sum[CHUNK];
    [[unroll]] for (int c = 0; c < CHUNK; ++c) sum[c] = 0.0;
    int key = 0;
    do {
        int other = (owner * push.keys + key) * ld + head * push.width;
        float s;
        DOT(s, push.q, own, push.k, other);
        s = s * push.scale + bias_of(owner, row, key);
        float higher = max(highest, s);
        float keep = weight_of(highest, higher);
        float p = weight_of(s, higher);
        highest = higher;
        total = total * keep + p;
        [[unroll]] for (int c = 0; c < CHUNK; ++c) {
            int column = min(first + c, last);
            float value;
            if (is_extra)
                value = lk_load(push.a, (owner * push.keys + key) * extra_ld + column);
            else
                value = lk_load(push.v, other + column);
            sum[c] = sum[c] * keep + p * value;
        }
        ++key;
    } while (key < push.keys);

    float inverse = total > 0.0 ? 1.0 / total : (total == 0.0 ? 0.0 : total);
    int result = is_extra ? row_of_all * ((push.heads * push.extra + 7) & ~7) + head * push.extra + first : own + first;
    for (int c = 0; c < count; ++c) {
        float value = sum[c] * inverse;
        if (is_extra)
            lk_store(push.b, result + c, value);
        else
            lk_store(push.o, result + c, value);
    }
    bool last_head = head == push.heads - 1;
    if (last_head && !is_extra && first + CHUNK >= push.width) {
        for (int c = inner; c < ld; ++c) lk_store(push.o, row_of_all * ld + c, 0.0);
    }
    if (last_head && is_extra && first + CHUNK >= push.extra) {
        int wide = push.heads * push.extra;
        for (int c = wide; c < ((wide + 7) & ~7); ++c) lk_store(push.b, row_of_all * ((wide + 7) & ~7) + c, 0.0);
    }
    if ((push.flags & 8) != 0 && chunk == 0) {
        lk_store(push.lse, row_of_all * lse_ld + head, total == 0.0 ? NEGATIVE_INFINITY : highest + lk_log(total));
        for (int c = push.heads; last_head && c < lse_ld; ++c) lk_store(push.lse, row_of_all * lse_ld + c, 0.0);
    }

#elif KIND == 1
    float lse = lk_load(push.lse, row_of_all * lse_ld + head);
    float delta;
    DOT(delta, push.a, own, push.o, own);
    float sum[CHUNK];
    [[unroll]] for (int c = 0; c < CHUNK; ++c) sum[c] = 0.0;
    int key = 0;
    do {
        int other = (owner * push.keys + key) * ld + head * push.width;
        float s, dp;
        DOT(s, push.q, own, push.k, other);
        DOT(dp, push.a, own, push.v, other);
        float ds = weight_of(s * push.scale + bias_of(owner, row, key), lse) * (dp - delta) * push.scale;
        [[unroll]] for (int c = 0; c < CHUNK; ++c) sum[c] += ds * lk_load(push.k, other + min(first + c, last));
        ++key;
    } while (key < push.keys);
    for (int c = 0; c < count; ++c) lk_store(push.b, own + first + c, sum[c]);
    if (head == push.heads - 1 && first + CHUNK >= push.width) {
        for (int c = inner; c < ld; ++c) lk_store(push.b, row_of_all * ld + c, 0.0);
    }

#else
    float sum_k[CHUNK], sum_v[CHUNK];
    [[unroll]] for (int c = 0; c < CHUNK; ++c) sum_k[c] = sum_v[c] = 0.0;
    int query = 0;
    do {
        int other_row = owner * push.queries + query;
        int other = other_row * ld + head * push.width;
        float s, dp, delta;
        DOT(s, push.q, other, push.k, own);
        DOT(dp, push.a, other, push.v, own);
        DOT(delta, push.a, other, push.o, other);
        float p = weight_of(s * push.scale + bias_of(owner, query, row), lk_load(push.lse, other_row * lse_ld + head));
        float ds = p * (dp - delta) * push.scale;
        [[unroll]] for (int c = 0; c < CHUNK; ++c) {
            int column = other + min(first + c, last);
            sum_k[c] += ds * lk_load(push.q, column);
            sum_v[c] += p * lk_load(push.a, column);
        }
        ++query;
    } while (query < push.queries);
    bool ends = head == push.heads - 1 && first + CHUNK >= push.width;
    if ((push.flags & 8) != 0) {
        for (int c = 0; c < count; ++c) lk_store(push.b, own + first + c, sum_k[c]);
        for (int c = inner; ends && c < ld; ++c) lk_store(push.b, row_of_all * ld + c, 0.0);
    }
    if ((push.flags & 16) != 0) {
        for (int c = 0; c < count; ++c) lk_store(push.c, own + first + c, sum_v[c]);
        for (int c = inner; ends && c < ld; ++c) lk_store(push.c, row_of_all * ld + c, 0.0);
    }
#endif
}
