/* reference/norm.c - group and layer norm (optionally with SiLU behind), softmax, and their gradients.
 *
 * Both norms are one loop over *sets*: values that share a mean and a variance. A set is a (sample, group) for group
 * norm and a row for layer norm. */
#include "reference/internal.h"

#include <math.h>

typedef struct lk_norm_sets {
    lk_channels view;                /* group norm: [N][C][positions]; layer norm: as lk_channels_of says */
    int64_t sets, members, channels; /* members and channels of one set */
    bool by_group;
} lk_norm_sets;

static lk_norm_sets lk_norm_sets_of(const lk_op_call *call) {
    const lk_shape *x = &call->input[0].shape;
    lk_norm_sets s = {.view = lk_channels_of(x), .by_group = false};
    if (call->op == LK_OP_GROUP_NORM || call->op == LK_OP_GROUP_NORM_DX) {
        const int64_t groups = call->attributes.norm.groups;
        s.by_group = true;
        s.channels = s.view.inner / groups;
        s.sets = x->dim[0] * groups;
        s.members = lk_shape_elements(x) / s.sets;
    } else {
        s.channels = s.view.inner;
        s.sets = s.view.outer * s.view.positions;
        s.members = s.channels;
    }
    return s;
}

/* Index and channel of member m of a set. For group norm of [N,L,C], view.outer is N*L: position m / channels of sample
 * n is the outer index n*L + that. */
static int64_t lk_norm_member(const lk_norm_sets *s, const lk_op_call *call, int64_t set, int64_t m, int64_t *channel) {
    if (!s->by_group) {
        *channel = m;
        return lk_channel_at(&s->view, set / s->view.positions, m, set % s->view.positions);
    }
    const int64_t groups = call->attributes.norm.groups, n = set / groups;
    const int64_t outer_a_sample = s->view.outer / call->input[0].shape.dim[0];
    const int64_t position = m / s->channels; /* of the sample: outer part, then H*W */
    *channel = set % groups * s->channels + m % s->channels;
    return lk_channel_at(&s->view, n * outer_a_sample + position / s->view.positions, *channel,
                         position % s->view.positions);
}

static double lk_affine_at(const lk_op_call *call, const double *const *in, int64_t channel, double normed) {
    double gamma = call->has_input[1] ? in[1][channel] : 1, beta = call->has_input[2] ? in[2][channel] : 0;
    return gamma * normed + beta;
}

static bool lk_norm_forward(const lk_op_call *call, const double *const *in, double *const *out) {
    const lk_norm_sets s = lk_norm_sets_of(call);
    for (int64_t set = 0; set < s.sets; set++) {
        double mean = 0, variance = 0;
        int64_t channel;
        for (int64_t m = 0; m < s.members; m++) {
            mean += in[0][lk_norm_member(&s, call, set, m, &channel)];
        }
        mean /= (double)s.members;
        for (int64_t m = 0; m < s.members; m++) {
            double d = in[0][lk_norm_member(&s, call, set, m, &channel)] - mean;
            variance += d * d;
        }
        variance /= (double)s.members;
        const double rstd = 1 / sqrt(variance + (double)call->attributes.norm.epsilon);
        for (int64_t m = 0; m < s.members; m++) {
            int64_t at = lk_norm_member(&s, call, set, m, &channel);
            double u = lk_affine_at(call, in, channel, (in[0][at] - mean) * rstd);
            out[0][at] = call->attributes.norm.silu ? u * lk_sigmoid_double(u) : u;
        }
        if (out[1] != NULL) {
            out[1][2 * set] = mean;
            out[1][2 * set + 1] = rstd;
        }
    }
    return true;
}

/* in = {x, gamma?, beta?, stats, dy, addend?}. With g the cotangent of the normalised value:
 * dx = rstd (g - mean(g) - normed mean(g normed)) + addend. */
static bool lk_norm_backward(const lk_op_call *call, const double *const *in, double *const *out) {
    const lk_norm_sets s = lk_norm_sets_of(call);
    for (int64_t set = 0; set < s.sets; set++) {
        const double mean = in[3][2 * set], rstd = in[3][2 * set + 1];
        double mean_g = 0, mean_g_normed = 0;
        for (int pass = 0; pass < 2; pass++) {
            for (int64_t m = 0; m < s.members; m++) {
                int64_t channel, at = lk_norm_member(&s, call, set, m, &channel);
                double normed = (in[0][at] - mean) * rstd, g = in[4][at];
                if (call->attributes.norm.silu) {
                    double u = lk_affine_at(call, in, channel, normed), sigmoid = lk_sigmoid_double(u);
                    g *= sigmoid * (1 + u * (1 - sigmoid));
                }
                if (call->has_input[1]) g *= in[1][channel];
                if (pass == 0) {
                    mean_g += g / (double)s.members;
                    mean_g_normed += g * normed / (double)s.members;
                } else {
                    out[0][at] = rstd * (g - mean_g - normed * mean_g_normed) + (call->has_input[5] ? in[5][at] : 0);
                }
            }
        }
    }
    return true;
}

bool lk_reference_group_norm(const lk_op_call *call, const double *const *in, double *const *out) {
    return lk_norm_forward(call, in, out);
}
bool lk_reference_group_norm_dx(const lk_op_call *call, const double *const *in, double *const *out) {
    return lk_norm_backward(call, in, out);
}
bool lk_reference_layer_norm(const lk_op_call *call, const double *const *in, double *const *out) {
    return lk_norm_forward(call, in, out);
}
bool lk_reference_layer_norm_dx(const lk_op_call *call, const double *const *in, double *const *out) {
    return lk_norm_backward(call, in, out);
}

/* ---- softmax over the last logical axis: contiguous in dense order ---- */

bool lk_reference_softmax(const lk_op_call *call, const double *const *in, double *const *out) {
    const lk_shape *x = &call->input[0].shape;
    const int64_t width = x->dim[x->rank - 1], rows = lk_shape_elements(x) / width;
    for (int64_t r = 0; r < rows; r++) {
        const double *from = in[0] + r * width;
        double *to = out[0] + r * width, largest = from[0], sum = 0;
        for (int64_t i = 1; i < width; i++) {
            if (from[i] > largest) largest = from[i];
        }
        for (int64_t i = 0; i < width; i++) {
            to[i] = exp(from[i] - largest);
            sum += to[i];
        }
        for (int64_t i = 0; i < width; i++) {
            to[i] /= sum;
        }
    }
    return true;
}

bool lk_reference_softmax_dx(const lk_op_call *call, const double *const *in, double *const *out) {
    const lk_shape *y = &call->input[0].shape;
    const int64_t width = y->dim[y->rank - 1], rows = lk_shape_elements(y) / width;
    for (int64_t r = 0; r < rows; r++) {
        const double *p = in[0] + r * width, *dy = in[1] + r * width;
        double sum = 0;
        for (int64_t i = 0; i < width; i++) {
            sum += p[i] * dy[i];
        }
        for (int64_t i = 0; i < width; i++) {
            out[0][r * width + i] = p[i] * (dy[i] - sum);
        }
    }
    return true;
}
