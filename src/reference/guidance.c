/* reference/guidance.c - cosine, L1/L2, classifier-free combination, flow step, offset update. */
#include "reference/internal.h"

#include <math.h>

/* ---- cosine ---- */

static const double lk_cosine_epsilon = 1e-8;

/* Sums over one row of a and its row of b. */
typedef struct lk_cosine_row {
    double dot, a_norm, b_norm; /* norms not below epsilon */
    bool a_small;               /* |a| is below epsilon: its norm does not move */
} lk_cosine_row;

static lk_cosine_row lk_cosine_sums(const double *a, const double *b, int64_t width) {
    double dot = 0, aa = 0, bb = 0;
    for (int64_t i = 0; i < width; i++) {
        dot += a[i] * b[i];
        aa += a[i] * a[i];
        bb += b[i] * b[i];
    }
    lk_cosine_row row = {dot, sqrt(aa), sqrt(bb), false};
    row.a_small = row.a_norm < lk_cosine_epsilon;
    if (row.a_small) row.a_norm = lk_cosine_epsilon;
    if (row.b_norm < lk_cosine_epsilon) row.b_norm = lk_cosine_epsilon;
    return row;
}

bool lk_reference_cosine(const lk_op_call *call, const double *const *in, double *const *out) {
    const int64_t rows = call->input[0].shape.dim[0], width = call->input[0].shape.dim[1];
    for (int64_t n = 0; n < rows; n++) {
        const double *b = in[1] + (call->input[1].shape.dim[0] == 1 ? 0 : n * width);
        const lk_cosine_row row = lk_cosine_sums(in[0] + n * width, b, width);
        out[0][n] = row.dot / (row.a_norm * row.b_norm);
    }
    return true;
}

bool lk_reference_cosine_dx(const lk_op_call *call, const double *const *in, double *const *out) {
    const int64_t rows = call->input[0].shape.dim[0], width = call->input[0].shape.dim[1];
    for (int64_t n = 0; n < rows; n++) {
        const double *a = in[0] + n * width;
        const double *b = in[1] + (call->input[1].shape.dim[0] == 1 ? 0 : n * width);
        const lk_cosine_row row = lk_cosine_sums(a, b, width);
        const double scale = 1 / (row.a_norm * row.b_norm);
        const double pull = row.a_small ? 0 : row.dot * scale / (row.a_norm * row.a_norm);
        for (int64_t i = 0; i < width; i++) {
            out[0][n * width + i] = in[2][n] * (b[i] * scale - a[i] * pull);
        }
    }
    return true;
}

/* ---- L1 and L2 ---- */

bool lk_reference_loss(const lk_op_call *call, const double *const *in, double *const *out) {
    const int64_t samples = call->input[0].shape.dim[0], each = lk_shape_elements(&call->input[0].shape) / samples;
    for (int64_t n = 0; n < samples; n++) {
        double sum = 0;
        for (int64_t i = n * each; i < (n + 1) * each; i++) {
            const double d = in[0][i] - in[1][i];
            sum += call->attributes.loss.squared ? d * d : fabs(d);
        }
        out[0][n] = sum / (double)each;
    }
    return true;
}

bool lk_reference_loss_dx(const lk_op_call *call, const double *const *in, double *const *out) {
    const int64_t samples = call->input[0].shape.dim[0], each = lk_shape_elements(&call->input[0].shape) / samples;
    for (int64_t i = 0; i < samples * each; i++) {
        const double d = in[0][i] - in[1][i], sign = d > 0 ? 1 : d < 0 ? -1 : 0;
        out[0][i] = in[2][i / each] * (call->attributes.loss.squared ? 2 * d : sign) / (double)each;
    }
    return true;
}

/* ---- guidance steps ---- */

bool lk_reference_cfg_combine(const lk_op_call *call, const double *const *in, double *const *out) {
    const int64_t count = lk_shape_elements(&call->output[0].shape);
    for (int64_t i = 0; i < count; i++) {
        out[0][i] = in[0][i] + in[2][0] * (in[1][i] - in[0][i]);
    }
    return true;
}

bool lk_reference_cfg_combine_dx(const lk_op_call *call, const double *const *in, double *const *out) {
    const int64_t count = lk_shape_elements(&call->input[0].shape);
    for (int64_t i = 0; i < count; i++) {
        if (call->has_output[0] && out[0] != NULL) out[0][i] = (1 - in[1][0]) * in[0][i];
        if (call->has_output[1] && out[1] != NULL) out[1][i] = in[1][0] * in[0][i];
    }
    return true;
}

bool lk_reference_flow_step(const lk_op_call *call, const double *const *in, double *const *out) {
    const int64_t count = lk_shape_elements(&call->output[0].shape);
    for (int64_t i = 0; i < count; i++) {
        out[0][i] = in[0][i] + in[2][0] * in[1][i] + (call->has_input[3] ? in[3][i] : 0);
    }
    return true;
}

bool lk_reference_flow_step_dx(const lk_op_call *call, const double *const *in, double *const *out) {
    const int64_t count = lk_shape_elements(&call->output[0].shape);
    for (int64_t i = 0; i < count; i++) {
        out[0][i] = in[1][0] * in[0][i];
    }
    return true;
}

bool lk_reference_offset_update(const lk_op_call *call, const double *const *in, double *const *out) {
    const int64_t count = lk_shape_elements(&call->output[0].shape);
    const double step = in[2][0], clamp = in[2][1];
    const bool assign = in[2][2] != 0;
    double norm = 0;
    for (int64_t i = 0; i < count; i++) {
        norm += in[1][i] * in[1][i];
    }
    norm = sqrt(norm);
    for (int64_t i = 0; i < count; i++) {
        double q = in[1][i] / (norm > 1 ? norm : 1);
        if (clamp > 0) q = q > clamp ? clamp : q < -clamp ? -clamp : q;
        out[0][i] = (assign ? 0 : in[0][i]) - step * q;
    }
    if (out[1] != NULL) out[1][0] = norm;
    return true;
}
