/* reference/linear.c - matmul and convolution. */
#include "reference/internal.h"

/* bias [O] or [N,O] (absent: 0) for channel o of the sample that outer index n belongs to. */
static double lk_bias_at(const lk_op_call *call, const double *bias, int64_t sample, int64_t o) {
    if (bias == NULL) return 0;
    return call->input[2].shape.rank == 2 ? bias[sample * call->input[2].shape.dim[1] + o] : bias[o];
}

bool lk_reference_matmul(const lk_op_call *call, const double *const *in, double *const *out) {
    const lk_channels x = lk_channels_of(&call->input[0].shape), y = lk_channels_of(&call->output[0].shape);
    const double *bias = call->has_input[2] ? in[2] : NULL, *residual = call->has_input[3] ? in[3] : NULL;
    const int64_t outer_a_sample = x.outer / (call->input[0].shape.rank > 1 ? call->input[0].shape.dim[0] : 1);
    for (int64_t n = 0; n < x.outer; n++) {
        for (int64_t p = 0; p < x.positions; p++) {
            for (int64_t o = 0; o < y.inner; o++) {
                double sum = lk_bias_at(call, bias, n / outer_a_sample, o);
                for (int64_t i = 0; i < x.inner; i++) {
                    sum += in[0][lk_channel_at(&x, n, i, p)] * in[1][o * x.inner + i];
                }
                int64_t at = lk_channel_at(&y, n, o, p);
                out[0][at] = sum + (residual != NULL ? residual[at] : 0);
            }
        }
    }
    return true;
}

bool lk_reference_matmul_dx(const lk_op_call *call, const double *const *in, double *const *out) {
    const lk_channels dy = lk_channels_of(&call->input[0].shape), dx = lk_channels_of(&call->output[0].shape);
    for (int64_t n = 0; n < dy.outer; n++) {
        for (int64_t p = 0; p < dy.positions; p++) {
            for (int64_t i = 0; i < dx.inner; i++) {
                double sum = 0;
                for (int64_t o = 0; o < dy.inner; o++) {
                    sum += in[0][lk_channel_at(&dy, n, o, p)] * in[1][o * dx.inner + i];
                }
                int64_t at = lk_channel_at(&dx, n, i, p);
                out[0][at] = sum + (call->has_input[2] ? in[2][at] : 0);
            }
        }
    }
    return true;
}

bool lk_reference_batch_matmul(const lk_op_call *call, const double *const *in, double *const *out) {
    const lk_shape *y = &call->output[0].shape;
    const bool turn_a = call->attributes.product.turn_a != 0, turn_b = call->attributes.product.turn_b != 0;
    const int64_t rows = y->dim[1], columns = y->dim[2], depth = call->input[0].shape.dim[turn_a ? 1 : 2];
    for (int64_t n = 0; n < y->dim[0]; n++) {
        const double *a = in[0] + n * rows * depth, *b = in[1] + n * depth * columns;
        for (int64_t i = 0; i < rows; i++) {
            for (int64_t j = 0; j < columns; j++) {
                double sum = 0;
                for (int64_t k = 0; k < depth; k++) {
                    sum += a[turn_a ? k * rows + i : i * depth + k] * b[turn_b ? j * depth + k : k * columns + j];
                }
                out[0][(n * rows + i) * columns + j] = sum;
            }
        }
    }
    return true;
}

/* Everything that both directions of a convolution need: extents, and the input pixel that a tap of an output reads. */
typedef struct lk_conv_geometry {
    int64_t batch, in_channels, in_height, in_width, out_channels, out_height, out_width;
    int64_t kernel_height, kernel_width, in_group, out_group; /* channels a group */
    const lk_attributes *attributes;
} lk_conv_geometry;

static lk_conv_geometry lk_conv_geometry_of(const lk_op_call *call, const lk_shape *x, const lk_shape *y) {
    const lk_shape *w = &call->input[1].shape;
    const lk_attributes *a = &call->attributes;
    return (lk_conv_geometry){x->dim[0],
                              x->dim[1],
                              x->dim[2],
                              x->dim[3],
                              y->dim[1],
                              y->dim[2],
                              y->dim[3],
                              w->dim[2],
                              w->dim[3],
                              w->dim[1],
                              w->dim[0] / a->conv.groups,
                              a};
}

static int64_t lk_conv_source(const lk_conv_geometry *g, int axis, int64_t output, int64_t tap) {
    const lk_attributes *a = g->attributes;
    return output * a->conv.stride[axis] + tap * a->conv.dilation[axis] - a->conv.padding[axis];
}

/* Sum over the taps of one output element. */
static double lk_conv_element(const lk_conv_geometry *g, const double *x, const double *w, int64_t n, int64_t o,
                              int64_t oy, int64_t ox) {
    const int64_t first = o / g->out_group * g->in_group;
    double sum = 0;
    for (int64_t c = 0; c < g->in_group; c++) {
        for (int64_t ky = 0; ky < g->kernel_height; ky++) {
            int64_t iy = lk_conv_source(g, 0, oy, ky);
            if (iy < 0 || iy >= g->in_height) continue;
            for (int64_t kx = 0; kx < g->kernel_width; kx++) {
                int64_t ix = lk_conv_source(g, 1, ox, kx);
                if (ix < 0 || ix >= g->in_width) continue;
                sum += x[((n * g->in_channels + first + c) * g->in_height + iy) * g->in_width + ix] *
                       w[((o * g->in_group + c) * g->kernel_height + ky) * g->kernel_width + kx];
            }
        }
    }
    return sum;
}

bool lk_reference_conv2d(const lk_op_call *call, const double *const *in, double *const *out) {
    const lk_conv_geometry g = lk_conv_geometry_of(call, &call->input[0].shape, &call->output[0].shape);
    const double *bias = call->has_input[2] ? in[2] : NULL, *residual = call->has_input[3] ? in[3] : NULL;
    int64_t at = 0;
    for (int64_t n = 0; n < g.batch; n++) {
        for (int64_t o = 0; o < g.out_channels; o++) {
            for (int64_t oy = 0; oy < g.out_height; oy++) {
                for (int64_t ox = 0; ox < g.out_width; ox++, at++) {
                    double sum = lk_bias_at(call, bias, n, o) + lk_conv_element(&g, in[0], in[1], n, o, oy, ox);
                    out[0][at] = sum + (residual != NULL ? residual[at] : 0);
                }
            }
        }
    }
    return true;
}

/* The transpose written as a scatter: each output hands its dy to the inputs it read. */
bool lk_reference_conv2d_dx(const lk_op_call *call, const double *const *in, double *const *out) {
    const lk_conv_geometry g = lk_conv_geometry_of(call, &call->output[0].shape, &call->input[0].shape);
    const double *dy = in[0], *w = in[1];
    lk_reference_zero(out[0], &call->output[0].shape);
    for (int64_t i = 0; call->has_input[2] && i < lk_shape_elements(&call->output[0].shape); i++)
        out[0][i] = in[2][i];
    int64_t at = 0;
    for (int64_t n = 0; n < g.batch; n++) {
        for (int64_t o = 0; o < g.out_channels; o++) {
            const int64_t first = o / g.out_group * g.in_group;
            for (int64_t oy = 0; oy < g.out_height; oy++) {
                for (int64_t ox = 0; ox < g.out_width; ox++, at++) {
                    for (int64_t c = 0; c < g.in_group; c++) {
                        for (int64_t ky = 0; ky < g.kernel_height; ky++) {
                            int64_t iy = lk_conv_source(&g, 0, oy, ky);
                            if (iy < 0 || iy >= g.in_height) continue;
                            for (int64_t kx = 0; kx < g.kernel_width; kx++) {
                                int64_t ix = lk_conv_source(&g, 1, ox, kx);
                                if (ix < 0 || ix >= g.in_width) continue;
                                out[0][((n * g.in_channels + first + c) * g.in_height + iy) * g.in_width + ix] +=
                                    dy[at] * w[((o * g.in_group + c) * g.kernel_height + ky) * g.kernel_width + kx];
                            }
                        }
                    }
                }
            }
        }
    }
    return true;
}
