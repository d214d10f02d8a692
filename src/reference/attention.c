/* reference/attention.c - attention with key bias, dense mask, causal mask and extra value columns, and its gradient.
 *
 * Backward takes the forward's o and log-sum-exp as inputs, as the shaders do: p = exp(logit - lse). */
#include "reference/internal.h"

#include "base/memory.h"

#include <math.h>

typedef struct lk_heads {
    int64_t batch, queries, keys, heads, width; /* width d of one head */
    double scale;
    bool causal;
    const double *q, *k, *v, *key_bias, *mask;
} lk_heads;

static lk_heads lk_heads_of(const lk_op_call *call, const double *const *in, int bias_slot, int mask_slot) {
    const lk_shape *q = &call->input[0].shape, *k = &call->input[1].shape;
    const int32_t heads = call->attributes.attention.heads;
    return (lk_heads){q->dim[0],
                      q->dim[1],
                      k->dim[1],
                      heads,
                      q->dim[2] / heads,
                      (double)call->attributes.attention.scale,
                      call->attributes.attention.causal != 0,
                      in[0],
                      in[1],
                      in[2],
                      call->has_input[bias_slot] ? in[bias_slot] : NULL,
                      call->has_input[mask_slot] ? in[mask_slot] : NULL};
}

/* First element of head h in row i of sample n of an array with `rows` rows a sample. */
static int64_t lk_head_at(const lk_heads *a, int64_t rows, int64_t n, int64_t i, int64_t h) {
    return ((n * rows + i) * a->heads + h) * a->width;
}

static double lk_dot(const double *a, const double *b, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        sum += a[i] * b[i];
    }
    return sum;
}

static double lk_logit(const lk_heads *a, int64_t n, int64_t h, int64_t i, int64_t j) {
    if (a->causal && j > i) return -INFINITY;
    double logit =
        a->scale * lk_dot(a->q + lk_head_at(a, a->queries, n, i, h), a->k + lk_head_at(a, a->keys, n, j, h), a->width);
    if (a->key_bias != NULL) logit += a->key_bias[n * a->keys + j];
    if (a->mask != NULL) logit += a->mask[i * a->keys + j];
    return logit;
}

/* One query of one head; p is room for a row of probabilities. */
static void lk_attend(const lk_op_call *call, const lk_heads *a, const double *const *in, double *const *out, int64_t n,
                      int64_t h, int64_t i, double *p) {
    double largest = -INFINITY, sum = 0;
    for (int64_t j = 0; j < a->keys; j++) {
        p[j] = lk_logit(a, n, h, i, j);
        if (p[j] > largest) largest = p[j];
    }
    const bool sees_none = largest == -INFINITY;
    for (int64_t j = 0; j < a->keys; j++) {
        p[j] = sees_none ? 0 : exp(p[j] - largest);
        sum += p[j];
    }
    for (int64_t j = 0; j < a->keys && !sees_none; j++) {
        p[j] /= sum;
    }
    double *o = out[0] + lk_head_at(a, a->queries, n, i, h);
    for (int64_t e = 0; e < a->width; e++) {
        o[e] = 0;
        for (int64_t j = 0; j < a->keys; j++) {
            o[e] += p[j] * a->v[lk_head_at(a, a->keys, n, j, h) + e];
        }
    }
    if (call->has_output[1] && out[1] != NULL)
        out[1][(n * a->queries + i) * a->heads + h] = sees_none ? -INFINITY : largest + log(sum);
    if (call->has_output[2] && out[2] != NULL) {
        const int64_t columns = call->attributes.attention.extra_columns;
        for (int64_t e = 0; e < columns; e++) {
            double value = 0;
            for (int64_t j = 0; j < a->keys; j++) {
                value += p[j] * in[5][(n * a->keys + j) * columns + e];
            }
            out[2][((n * a->queries + i) * a->heads + h) * columns + e] = value;
        }
    }
}

bool lk_reference_attention(const lk_op_call *call, const double *const *in, double *const *out) {
    const lk_heads a = lk_heads_of(call, in, 3, 4);
    double *p = lk_alloc((size_t)a.keys, sizeof *p);
    if (p == NULL) return false;
    for (int64_t n = 0; n < a.batch; n++) {
        for (int64_t h = 0; h < a.heads; h++) {
            for (int64_t i = 0; i < a.queries; i++) {
                lk_attend(call, &a, in, out, n, h, i, p);
            }
        }
    }
    lk_free(p);
    return true;
}

/* With in = {q, k, v, o, lse, do, ...}: the probability of key j for query i, and ds = p (do.v_j - do.o). */
static void lk_attention_pair(const lk_heads *a, const double *const *in, int64_t n, int64_t h, int64_t i, int64_t j,
                              double *p, double *ds) {
    const double lse = in[4][(n * a->queries + i) * a->heads + h];
    const double *o = in[3] + lk_head_at(a, a->queries, n, i, h), *d = in[5] + lk_head_at(a, a->queries, n, i, h);
    *p = lse == -INFINITY ? 0 : exp(lk_logit(a, n, h, i, j) - lse);
    *ds = *p * (lk_dot(d, a->v + lk_head_at(a, a->keys, n, j, h), a->width) - lk_dot(d, o, a->width));
}

bool lk_reference_attention_dq(const lk_op_call *call, const double *const *in, double *const *out) {
    const lk_heads a = lk_heads_of(call, in, 6, 7);
    lk_reference_zero(out[0], &call->output[0].shape);
    for (int64_t n = 0; n < a.batch; n++) {
        for (int64_t h = 0; h < a.heads; h++) {
            for (int64_t i = 0; i < a.queries; i++) {
                double *dq = out[0] + lk_head_at(&a, a.queries, n, i, h);
                for (int64_t j = 0; j < a.keys; j++) {
                    double p, ds;
                    lk_attention_pair(&a, in, n, h, i, j, &p, &ds);
                    for (int64_t e = 0; e < a.width; e++) {
                        dq[e] += a.scale * ds * a.k[lk_head_at(&a, a.keys, n, j, h) + e];
                    }
                }
            }
        }
    }
    return true;
}

bool lk_reference_attention_dkv(const lk_op_call *call, const double *const *in, double *const *out) {
    const lk_heads a = lk_heads_of(call, in, 6, 7);
    double *dk = call->has_output[0] ? out[0] : NULL, *dv = call->has_output[1] ? out[1] : NULL;
    if (dk != NULL) lk_reference_zero(dk, &call->output[0].shape);
    if (dv != NULL) lk_reference_zero(dv, &call->output[1].shape);
    for (int64_t n = 0; n < a.batch; n++) {
        for (int64_t h = 0; h < a.heads; h++) {
            for (int64_t j = 0; j < a.keys; j++) {
                const int64_t key = lk_head_at(&a, a.keys, n, j, h);
                for (int64_t i = 0; i < a.queries; i++) {
                    const int64_t query = lk_head_at(&a, a.queries, n, i, h);
                    double p, ds;
                    lk_attention_pair(&a, in, n, h, i, j, &p, &ds);
                    for (int64_t e = 0; e < a.width; e++) {
                        if (dk != NULL) dk[key + e] += a.scale * ds * a.q[query + e];
                        if (dv != NULL) dv[key + e] += p * in[5][query + e];
                    }
                }
            }
        }
    }
    return true;
}
