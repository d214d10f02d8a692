/* shaders/attention/tiled.comp - attention for GPUs without matrix units: a thread a row, the other side in shared memory.
 *
 * A workgroup of ROWS threads owns ROWS rows of one head (KIND 0 o, 1 dq: queries; 2 dk and dv: keys) and 32 of the
 * result's channels. It walks over the items of the other side, 32 at a time:
 *
 *     products   32 logits a thread in registers; 16 channels of the items at a time in `part`, channel by channel, so that
 *                every thread reads the same four words at once
 *     result     32 sums a thread in registers; the items' 32 channels in `values`, each thread's weights in `weights`
 *
 * (dk and dv: 16 items at a time.) Loops over channels and items are loops: only the registers of a row are unrolled, so
 * that CPU drivers compile the kernel in reasonable time too. Shared memory stays below 16 KiB, the least a device may have. No exchange between
 * threads: maximum and sum of a row belong to its thread. A wider head takes several workgroups, which repeat the
 * products; extra columns of the forward kernel are one more such chunk with other values. */
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "common/memory.glsl"
#include "common/grid.glsl"
#include "common/index.glsl"
#include "common/math.glsl"
#define LK_PUSH_ATTENTION
#include "attention/push.h"

layout(constant_id = 1) const bool HAS_MASK = false;

const int ROWS = 64;
#if KIND == 2
const int ITEMS = 16;
#else
const int ITEMS = 32;
#endif
const int PART = 16;
const int CHUNK = 32;
#define NEGATIVE_INFINITY uintBitsToFloat(0xff800000u)

shared float part[PART][ITEMS + 4]; /* + 4: threads that fill it meet fewer bank conflicts */
shared float values[ITEMS][CHUNK];
shared float weights[ITEMS][ROWS]; /* a column belongs to its thread: no barrier */
#if KIND == 2
shared float slopes[ITEMS][ROWS]; /* likewise */
shared float item_lse[ITEMS], item_delta[ITEMS];
#endif

float weight_of(float s, float reference) {
    return s == NEGATIVE_INFINITY || reference == NEGATIVE_INFINITY ? 0.0 : lk_exp(s - reference);
}

/* Channels step .. step + 15 of the items into `part`, zero beyond the head. */
#define LOAD_PART(ref)                                                                                                 \
    barrier();                                                                                                         \
    [[unroll]] for (int i = 0; i < ITEMS * PART / ROWS; ++i) {                                                         \
        int e = i * ROWS + thread, item = e / PART, channel = step + e % PART;                                         \
        bool there = item0 + item < items && channel < push.width;                                                     \
        float value = lk_load(ref, items_at + (there ? (item0 + item) * ld + channel : 0));                            \
        part[e % PART][item] = there ? value : 0.0;                                                                    \
    }                                                                                                                  \
    barrier();

/* product[item] += sum over those channels of the row's value x the item's. */
#define MULTIPLY(product, ref)                                                                                         \
    for (int c = 0; c < PART; ++c) {                                                                                   \
        float value = lk_load(ref, own + min(step + c, push.width - 1));                                               \
        value = step + c < push.width ? value : 0.0;                                                                   \
        [[unroll]] for (int item = 0; item < ITEMS; ++item) product[item] += value * part[c][item];                    \
    }

#define TO_SHARED(weight, product)                                                                                     \
    [[unroll]] for (int item = 0; item < ITEMS; ++item) weight[item][thread] = product[item];

/* sum[c] += sum over the items of weight x value. */
#define ACCUMULATE(sum, weight, ref, base, value_ld)                                                                   \
    barrier();                                                                                                         \
    [[unroll]] for (int i = 0; i < ITEMS * CHUNK / ROWS; ++i) {                                                        \
        int e = i * ROWS + thread, item = e / CHUNK, c = e % CHUNK;                                                    \
        bool there = item0 + item < items && first + c < width;                                                        \
        float value = lk_load(ref, (base) + (there ? (item0 + item) * (value_ld) + first + c : 0));                    \
        values[item][c] = there ? value : 0.0;                                                                         \
    }                                                                                                                  \
    barrier();                                                                                                         \
    for (int item = 0; item < ITEMS; ++item) {                                                                         \
        float weight_here = weight[item][thread];                                                                      \
        [[unroll]] for (int c = 0; c < CHUNK; ++c) sum[c] += weight_here * values[item][c];                            \
    }

void main() {
    int thread = int(gl_LocalInvocationID.x);
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
    bool exists = row0 + thread < rows;
    int row = min(row0 + thread, rows - 1), row_of_all = owner * rows + row;
    int inner = push.heads * push.width;
    int ld = (inner + 7) & ~7, keys_ld = (push.keys + 7) & ~7, lse_ld = (push.heads + 7) & ~7;
    int items_at = owner * items * ld + head * push.width;
    int own = row_of_all * ld + head * push.width;

    int first = chunk * CHUNK, width = push.width;
#if KIND == 0
    int value_chunks = (push.width + CHUNK - 1) / CHUNK;
    bool is_extra = chunk >= value_chunks;
    int extra_ld = (push.extra + 7) & ~7, wide_ld = (push.heads * push.extra + 7) & ~7;
    if (is_extra) {
        first -= value_chunks * CHUNK;
        width = push.extra;
    }
    lk_f32 value_ref = push.v;
    int values_at = items_at, values_ld = ld;
    if (is_extra) {
        value_ref = push.a;
        values_ld = extra_ld;
        values_at = owner * items * extra_ld;
    }
    float highest = NEGATIVE_INFINITY, total_weight = 0.0;
#elif KIND == 1
    float lse = lk_load(push.lse, row_of_all * lse_ld + head);
    float delta = 0.0;
    for (int c = 0; c < push.width; ++c) delta += lk_load(push.a, own + c) * lk_load(push.o, own + c);
#else
    float sum_v[CHUNK];
    [[unroll]] for (int c = 0; c < CHUNK; ++c) sum_v[c] = 0.0;
#endif
    float sum[CHUNK];
    [[unroll]] for (int c = 0; c < CHUNK; ++c) sum[c] = 0.0;

    int item0 = 0, items_end = items;
#if KIND == 2
    if (causal) item0 = min(row0, items - 1) / ITEMS * ITEMS;
#else
    if (causal) items_end = min(items, row0 + ROWS);
#endif
    for (; item0 < items_end; item0 += ITEMS) {
        float logit[ITEMS];
        [[unroll]] for (int item = 0; item < ITEMS; ++item) logit[item] = 0.0;
#if KIND != 0
        float slope[ITEMS]; /* do . v */
        [[unroll]] for (int item = 0; item < ITEMS; ++item) slope[item] = 0.0;
#endif
#if KIND == 2
        float item_part = 0.0; /* the first threads: do . o of an item */
        int item_at = items_at + min(item0 + thread, items - 1) * ld;
#endif
        for (int step = 0; step < push.width; step += PART) {
#if KIND == 2
            LOAD_PART(push.q)
            MULTIPLY(logit, push.k)
            LOAD_PART(push.a)
            MULTIPLY(slope, push.v)
            if (thread < ITEMS) {
                for (int c = 0; c < PART; ++c)
                    item_part += part[c][thread] * lk_load(push.o, item_at + min(step + c, push.width - 1));
            }
#else
            LOAD_PART(push.k)
            MULTIPLY(logit, push.q)
#if KIND == 1
            LOAD_PART(push.v)
            MULTIPLY(slope, push.a)
#endif
#endif
        }
#if KIND == 2
        if (thread < ITEMS) {
            item_delta[thread] = item_part;
            item_lse[thread] = lk_load(push.lse, (owner * items + min(item0 + thread, items - 1)) * lse_ld + head);
        }
        barrier();
#endif

        TO_SHARED(weights, logit)
#if KIND == 2
        TO_SHARED(slopes, slope)
#elif KIND == 1
        [[unroll]] for (int item = 0; item < ITEMS; ++item) slope[item] -= delta;
#else
        float higher = highest;
#endif
        for (int item = 0; item < ITEMS; ++item) {
            int there = min(item0 + item, items - 1);
#if KIND == 2
            int query = there, key = row;
#else
            int query = row, key = there;
#endif
            float s = weights[item][thread] * push.scale;
            if ((push.flags & 2) != 0) s += lk_load(push.key_bias, owner * keys_ld + key);
            if (HAS_MASK) s += lk_load(push.mask, query * keys_ld + key);
            s = item0 + item < items && !(causal && key > query) ? s : NEGATIVE_INFINITY;
#if KIND == 0
            weights[item][thread] = s;
            higher = max(higher, s);
#elif KIND == 1
            weights[item][thread] = weight_of(s, lse) * push.scale;
#else
            float p = weight_of(s, item_lse[item]);
            slopes[item][thread] = p * (slopes[item][thread] - item_delta[item]) * push.scale;
            weights[item][thread] = p;
#endif
        }

#if KIND == 0
        float keep = weight_of(highest, higher);
        highest = higher;
        total_weight *= keep;
        for (int item = 0; item < ITEMS; ++item) {
            float p = weight_of(weights[item][thread], higher);
            weights[item][thread] = p;
            total_weight += p;
        }
        [[unroll]] for (int c = 0; c < CHUNK; ++c) sum[c] *= keep;
        ACCUMULATE(sum, weights, value_ref, values_at, values_ld)
#elif KIND == 1
        [[unroll]] for (int item = 0; item < ITEMS; ++item) weights[item][thread] *= slope[item];
        ACCUMULATE(sum, weights, push.k, items_at, ld)
#else
        ACCUMULATE(sum, slopes, push.q, items_at, ld)
        ACCUMULATE(sum_v, weights, push.a, items_at, ld)
#endif
    }
    if (!exists) return;

    /* The last head's last chunk also writes the zeros that fill up a row. */
    bool fills = head == push.heads - 1;
#if KIND == 0
    float inverse = total_weight > 0.0 ? 1.0 / total_weight : (total_weight == 0.0 ? 0.0 : total_weight);
    if ((push.flags & 8) != 0 && chunk == 0) {
        float lse = total_weight == 0.0 ? NEGATIVE_INFINITY : highest + lk_log(total_weight);
        lk_store(push.lse, row_of_all * lse_ld + head, lse);
        for (int c = push.heads; fills && c < lse_ld; ++c) lk_store(push.lse, row_of_all * lse_ld + c, 0.0);
    }
    lk_f32 result = push.o;
    int result_at = own, padding = ld - inner;
    if (is_extra) {
        result = push.b;
        result_at = row_of_all * wide_ld + head * push.extra;
        padding = wide_ld - push.heads * push.extra;
    }
#else
    float inverse = 1.0;
    lk_f32 result = push.b;
    int result_at = own, padding = ld - inner;
#endif
    [[unroll]] for (int c = 0; c < CHUNK; ++c) {
        if (first + c < width) {
#if KIND == 2
            if ((push.flags & 8) != 0) lk_store(push.b, result_at + first + c, sum[c]);
            if ((push.flags & 16) != 0) lk_store(push.c, result_at + first + c, sum_v[c]);
#else
            lk_store(result, result_at + first + c, sum[c] * inverse);
#endif
        }
    }
    if (fills && first + CHUNK >= width) {
        for (int c = 0; c < padding; ++c) {
#if KIND == 2
            if ((push.flags & 8) != 0) lk_store(push.b, result_at + width + c, 0.0);
            if ((push.flags & 16) != 0) lk_store(push.c, result_at + width + c, 0.0);
#else
            lk_store(result, result_at + width + c, 0.0);
#endif
        }
    }
}
