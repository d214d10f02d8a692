/* api/doctor_cases.c - see doctor_cases.h. Shapes are odd on purpose: dimensions of 1, primes, channels that are no
 * multiple of 8. All stay tiny: a CPU driver spends its time compiling pipelines, not running them. */
#include "api/doctor_cases.h"

#include "base/memory.h"
#include "graph/build.h"

float lk_doctor_random(lk_doctor_graph *d) {
    d->random = d->random * 6364136223846793005u + 1442695040888963407u;
    return (float)(d->random >> 40) / 8388608.0f - 1.0f;
}

static lk_value add_input(lk_doctor_graph *d, lk_shape shape, bool differentiate, bool positive) {
    int i = d->input_count++;
    d->inputs[i] = lk_graph_input(d->graph, "x", shape, LK_F32);
    d->differentiate[i] = differentiate;
    d->positive[i] = positive;
    return d->inputs[i];
}

static lk_value in(lk_doctor_graph *d, lk_shape shape) { return add_input(d, shape, true, false); }
static lk_value constant(lk_doctor_graph *d, lk_shape shape) { return add_input(d, shape, false, false); }
static lk_value positive(lk_doctor_graph *d, lk_shape shape) { return add_input(d, shape, true, true); }

/* A random weight; names only need to differ. */
static lk_value weight(lk_doctor_graph *d, const char *name, lk_weight_role role, lk_shape shape, int groups) {
    int64_t count = lk_shape_elements(&shape);
    float *values = lk_alloc((size_t)count, sizeof *values);
    if (!values) {
        lk_graph_fail(d->graph, LIKENESS_OUT_OF_MEMORY, "no memory for doctor's weights");
        return LK_NO_VALUE;
    }
    for (int64_t i = 0; i < count; i++)
        values[i] = lk_doctor_random(d) * 0.3f;
    int32_t index = lk_weights_add_values(d->weights, name, role, &shape, groups, values, d->error);
    lk_free(values);
    return index < 0 ? LK_NO_VALUE : lk_graph_weight(d->graph, index);
}

static lk_value vector(lk_doctor_graph *d, const char *name, int size) {
    return weight(d, name, LK_WEIGHT_VECTOR, lk_shape1(size), 1);
}

static lk_value matmul(lk_doctor_graph *d) {
    lk_value x = in(d, lk_shape3(2, 37, 77)), r = in(d, lk_shape3(2, 37, 67));
    return lk_matmul(d->graph, x, weight(d, "w", LK_WEIGHT_MATRIX, lk_shape2(67, 77), 1), vector(d, "b", 67), r);
}

static lk_value matmul_aligned(lk_doctor_graph *d) {
    lk_value x = in(d, lk_shape3(1, 64, 128));
    return lk_matmul(d->graph, x, weight(d, "w", LK_WEIGHT_MATRIX, lk_shape2(128, 128), 1), LK_NO_VALUE, LK_NO_VALUE);
}

/* x comes back as its own residual: the gradient adds to the sum so far. */
static lk_value matmul_skip(lk_doctor_graph *d) {
    lk_value x = in(d, lk_shape3(1, 37, 21));
    return lk_matmul(d->graph, x, weight(d, "w", LK_WEIGHT_MATRIX, lk_shape2(21, 21), 1), LK_NO_VALUE, x);
}

static lk_value convolution_skip(lk_doctor_graph *d) {
    lk_value x = in(d, lk_shape4(1, 21, 7, 5));
    lk_conv2d_options o = {.padding = {1, 1, 1, 1}};
    return lk_conv2d(d->graph, x, weight(d, "w", LK_WEIGHT_MATRIX, lk_shape4(21, 21, 3, 3), 1), LK_NO_VALUE, x, o);
}

static lk_value norms_skip(lk_doctor_graph *d) {
    lk_value x = in(d, lk_shape4(1, 6, 7, 5));
    lk_value y = lk_add(d->graph, lk_group_norm(d->graph, x, vector(d, "g", 6), vector(d, "b", 6), 2, 1e-5f, true), x);
    lk_value t = lk_to_tokens(d->graph, y);
    return lk_add(d->graph, lk_layer_norm(d->graph, t, vector(d, "h", 6), vector(d, "c", 6), 1e-5f), t);
}

/* One row: the smallest tiles. */
static lk_value matmul_row(lk_doctor_graph *d) {
    return lk_matmul(d->graph, in(d, lk_shape2(1, 77)), weight(d, "w", LK_WEIGHT_MATRIX, lk_shape2(67, 77), 1),
                     LK_NO_VALUE, LK_NO_VALUE);
}

/* As many rows as keep a whole GPU busy, so that it takes its largest tiles; few channels to sum over. */
static int32_t many_rows(const lk_doctor_graph *d) { return 64 * (d->units * 2 / 8 + 1) + 1; }

static lk_value matmul_wide(lk_doctor_graph *d) {
    return lk_matmul(d->graph, in(d, lk_shape2(many_rows(d), 5)),
                     weight(d, "w", LK_WEIGHT_MATRIX, lk_shape2(509, 5), 1), LK_NO_VALUE, LK_NO_VALUE);
}

static lk_value matmul_narrow(lk_doctor_graph *d) {
    return lk_matmul(d->graph, in(d, lk_shape2(many_rows(d), 509)),
                     weight(d, "w", LK_WEIGHT_MATRIX, lk_shape2(5, 509), 1), LK_NO_VALUE, LK_NO_VALUE);
}

static lk_value convolution_3x3(lk_doctor_graph *d) {
    lk_value x = in(d, lk_shape4(2, 19, 7, 11)), r = in(d, lk_shape4(2, 35, 7, 11));
    lk_conv2d_options o = {.padding = {1, 1, 1, 1}};
    return lk_conv2d(d->graph, x, weight(d, "w", LK_WEIGHT_MATRIX, lk_shape4(35, 19, 3, 3), 1), vector(d, "b", 35), r,
                     o);
}

static lk_value convolution_aligned(lk_doctor_graph *d) {
    lk_value x = in(d, lk_shape4(1, 64, 8, 8));
    return lk_conv2d_simple(d->graph, x, weight(d, "w", LK_WEIGHT_MATRIX, lk_shape4(64, 64, 3, 3), 1),
                            vector(d, "b", 64), 1, 1);
}

static lk_value convolution_stride(lk_doctor_graph *d) {
    lk_value x = in(d, lk_shape4(1, 16, 9, 13));
    return lk_conv2d_simple(d->graph, x, weight(d, "w", LK_WEIGHT_MATRIX, lk_shape4(24, 16, 3, 3), 1),
                            vector(d, "b", 24), 2, 1);
}

static lk_value convolution_groups(lk_doctor_graph *d) {
    lk_value x = in(d, lk_shape4(1, 12, 6, 5));
    lk_conv2d_options o = {.padding = {1, 1, 1, 1}, .groups = 3};
    return lk_conv2d(d->graph, x, weight(d, "w", LK_WEIGHT_MATRIX, lk_shape4(6, 4, 3, 3), 3), LK_NO_VALUE, LK_NO_VALUE,
                     o);
}

static lk_value convolution_depthwise(lk_doctor_graph *d) {
    lk_value x = in(d, lk_shape4(1, 17, 9, 9));
    lk_conv2d_options o = {.stride = {2, 2}, .padding = {2, 2, 2, 2}, .groups = 17};
    return lk_conv2d(d->graph, x, weight(d, "w", LK_WEIGHT_MATRIX, lk_shape4(17, 1, 5, 5), 17), vector(d, "b", 17),
                     LK_NO_VALUE, o);
}

static lk_value convolution_rgb(lk_doctor_graph *d) {
    lk_value x = in(d, lk_shape4(1, 3, 17, 13));
    return lk_conv2d_simple(d->graph, x, weight(d, "w", LK_WEIGHT_MATRIX, lk_shape4(8, 3, 3, 3), 1), vector(d, "b", 8),
                            1, 1);
}

static lk_value batch_matmul(lk_doctor_graph *d) {
    lk_value a = in(d, lk_shape3(3, 13, 21)), b = in(d, lk_shape3(3, 19, 21));
    return lk_batch_matmul(d->graph, a, b, false, true);
}

static lk_value attention_cross(lk_doctor_graph *d) {
    lk_value q = in(d, lk_shape3(2, 37, 48)), k = in(d, lk_shape3(2, 77, 48)), v = in(d, lk_shape3(2, 77, 48));
    return lk_attention(d->graph, q, k, v, 2, 0, false, LK_NO_VALUE);
}

static lk_value attention_causal(lk_doctor_graph *d) {
    lk_value q = in(d, lk_shape3(1, 13, 40)), k = in(d, lk_shape3(1, 13, 40)), v = in(d, lk_shape3(1, 13, 40));
    return lk_attention(d->graph, q, k, v, 1, 0, true, LK_NO_VALUE);
}

/* Slim heads, a dense mask, a bias a key, extra value columns beside v. */
static lk_value attention_masked(lk_doctor_graph *d) {
    lk_value q = in(d, lk_shape3(1, 19, 33)), k = in(d, lk_shape3(1, 23, 33)), v = in(d, lk_shape3(1, 23, 33));
    lk_value inputs[6] = {
        q, k, v, constant(d, lk_shape2(1, 23)), constant(d, lk_shape2(19, 23)), constant(d, lk_shape3(1, 23, 3))};
    lk_attributes a = {.attention = {.heads = 3, .scale = 0.3f, .extra_columns = 3}};
    lk_value out[LK_MAX_OUTPUTS];
    lk_value o = lk_graph_emit(d->graph, LK_OP_ATTENTION, &a, inputs, 6, 7u, out);
    d->also = o == LK_NO_VALUE ? LK_NO_VALUE : out[2];
    return o;
}

/* Large enough that a GPU, or a CPU with its few groups, takes two dispatches. */
static lk_value group_norm_large(lk_doctor_graph *d) {
    lk_value x = in(d, lk_shape4(1, 5, 123, 121));
    return lk_group_norm(d->graph, x, vector(d, "g", 5), vector(d, "b", 5), 1, 1e-5f, false);
}

static lk_value group_norm(lk_doctor_graph *d) {
    lk_value x = in(d, lk_shape4(2, 24, 7, 5));
    return lk_group_norm(d->graph, x, vector(d, "g", 24), vector(d, "b", 24), 3, 1e-5f, true);
}

static lk_value layer_norm(lk_doctor_graph *d) {
    lk_value x = in(d, lk_shape3(2, 5, 77));
    return lk_layer_norm(d->graph, x, vector(d, "g", 77), vector(d, "b", 77), 1e-5f);
}

static lk_value channel_affine(lk_doctor_graph *d) {
    lk_value x = in(d, lk_shape4(2, 11, 3, 5));
    return lk_channel_affine(d->graph, x, vector(d, "g", 11), vector(d, "b", 11));
}

static lk_value prelu(lk_doctor_graph *d) {
    return lk_prelu(d->graph, in(d, lk_shape4(1, 13, 5, 3)), vector(d, "s", 13));
}

/* Every kind of unary through one graph: the sum of all of them of the same positive input. */
static lk_value unary(lk_doctor_graph *d) {
    lk_value x = positive(d, lk_shape3(3, 5, 19)), sum = x;
    for (int kind = 0; kind < LK_UNARY_COUNT; kind++)
        sum =
            lk_add(d->graph, sum, lk_unary_op(d->graph, (lk_unary)kind, x, 0.2f, kind == LK_UNARY_CLAMP ? 1.1f : 0.7f));
    return sum;
}

static lk_value binary(lk_doctor_graph *d) {
    lk_value a = positive(d, lk_shape4(2, 7, 3, 5)), b = positive(d, lk_shape4(1, 7, 1, 1));
    lk_value c = positive(d, lk_shape4(2, 1, 3, 5)), sum = lk_add(d->graph, a, b);
    for (int kind = 0; kind < LK_BINARY_COUNT; kind++)
        sum = lk_add(d->graph, lk_binary_op(d->graph, (lk_binary)kind, sum, kind % 2 ? b : c), a);
    return sum;
}

static lk_value geglu(lk_doctor_graph *d) { return lk_geglu(d->graph, in(d, lk_shape3(2, 7, 46))); }

static lk_value pool(lk_doctor_graph *d, lk_pool_kind kind) {
    lk_attributes a = {
        .pool = {.kind = kind, .kernel = {3, 2}, .stride = {2, 2}, .padding = {1, 0, 1, 1}, .ceil_mode = 1}};
    return lk_pool2d(d->graph, in(d, lk_shape4(1, 9, 8, 7)), &a);
}

static lk_value pool_max(lk_doctor_graph *d) { return pool(d, LK_POOL_MAX); }
static lk_value pool_average(lk_doctor_graph *d) { return pool(d, LK_POOL_AVERAGE); }
static lk_value upsample(lk_doctor_graph *d) {
    return lk_upsample_nearest(d->graph, in(d, lk_shape4(1, 9, 5, 3)), 10, 6);
}

static lk_value resize_bilinear(lk_doctor_graph *d) {
    return lk_resize_bilinear(d->graph, in(d, lk_shape4(1, 3, 9, 7)), 13, 5, LK_COORDINATES_HALF_PIXEL);
}

static lk_value pad(lk_doctor_graph *d) {
    int32_t before[LK_MAX_RANK] = {0, 1, 2, 0}, after[LK_MAX_RANK] = {0, 2, 1, 3};
    return lk_pad_op(d->graph, in(d, lk_shape4(1, 5, 4, 3)), LK_PAD_CONSTANT, before, after, 0.5f);
}

static lk_value movement(lk_doctor_graph *d) {
    lk_value x = in(d, lk_shape4(2, 6, 5, 7)), parts[2] = {lk_slice(d->graph, x, 1, 1, 4), x};
    lk_value joined = lk_concat(d->graph, parts, 2, 1);
    int32_t perm[4] = {0, 3, 1, 2};
    return lk_reshape(d->graph, lk_permute(d->graph, joined, perm), lk_shape2(2 * 7, 10 * 5));
}

static lk_value gather(lk_doctor_graph *d) {
    int i = d->input_count++;
    d->inputs[i] = lk_graph_input(d->graph, "ids", lk_shape2(2, 7), LK_I32);
    d->range[i] = 11;
    return lk_gather(d->graph, weight(d, "t", LK_WEIGHT_TABLE, lk_shape2(11, 21), 1), d->inputs[i]);
}

/* Rows of an activation, so that there is a gradient to hand back. */
static lk_value gather_activation(lk_doctor_graph *d) {
    lk_value table = in(d, lk_shape2(11, 21));
    int i = d->input_count++;
    d->inputs[i] = lk_graph_input(d->graph, "ids", lk_shape1(9), LK_I32);
    d->range[i] = 11;
    return lk_gather(d->graph, table, d->inputs[i]);
}

static lk_value reduce(lk_doctor_graph *d, lk_reduce kind) {
    return lk_reduce_op(d->graph, kind, in(d, lk_shape4(3, 5, 4, 7)), (1u << 1) | (1u << 3), false);
}

static lk_value reduce_sum(lk_doctor_graph *d) { return reduce(d, LK_REDUCE_SUM); }
static lk_value reduce_max(lk_doctor_graph *d) { return reduce(d, LK_REDUCE_MAX); }

static lk_value reduce_mean(lk_doctor_graph *d) {
    return lk_reduce_op(d->graph, LK_REDUCE_MEAN, in(d, lk_shape4(2, 11, 9, 13)), (1u << 2) | (1u << 3), true);
}

static lk_value softmax(lk_doctor_graph *d) { return lk_softmax(d->graph, in(d, lk_shape3(2, 5, 37))); }

static lk_value softmax_lines(lk_doctor_graph *d) { return lk_softmax(d->graph, in(d, lk_shape4(1, 5, 3, 29))); }

static lk_value warp(lk_doctor_graph *d) {
    lk_value x = in(d, lk_shape4(1, 3, 11, 9));
    float theta[6] = {0.9f, 0.2f, -0.3f, -0.1f, 1.1f, 0.4f};
    lk_shape shape = lk_shape3(1, 2, 3);
    int32_t index = lk_weights_add_values(d->weights, "theta", LK_WEIGHT_VECTOR, &shape, 1, theta, d->error);
    return lk_affine_warp(d->graph, x, index < 0 ? LK_NO_VALUE : lk_graph_weight(d->graph, index), 7, 8);
}

static lk_value cosine(lk_doctor_graph *d) {
    lk_value a = in(d, lk_shape2(2, 515));
    return lk_cosine(d->graph, a, constant(d, lk_shape2(1, 515)));
}

static lk_value losses(lk_doctor_graph *d) {
    lk_value a = in(d, lk_shape4(2, 3, 5, 7)), b = constant(d, lk_shape4(2, 3, 5, 7));
    return lk_add(d->graph, lk_loss(d->graph, a, b, false), lk_loss(d->graph, a, b, true));
}

static lk_value guidance(lk_doctor_graph *d) {
    lk_value u = in(d, lk_shape4(1, 5, 3, 7)), c = in(d, lk_shape4(1, 5, 3, 7)), z = in(d, lk_shape4(1, 5, 3, 7));
    lk_value v = lk_cfg_combine(d->graph, u, c, constant(d, lk_shape1(1)));
    return lk_flow_step(d->graph, z, v, constant(d, lk_shape1(1)), in(d, lk_shape4(1, 5, 3, 7)));
}

static lk_value offset_update(lk_doctor_graph *d, lk_shape shape) {
    lk_value inputs[3] = {constant(d, shape), constant(d, shape), constant(d, lk_shape1(3))};
    return lk_graph_emit(d->graph, LK_OP_OFFSET_UPDATE, NULL, inputs, 3, 0, NULL);
}

static lk_value offset_small(lk_doctor_graph *d) { return offset_update(d, lk_shape4(1, 5, 13, 7)); }
static lk_value offset_large(lk_doctor_graph *d) { return offset_update(d, lk_shape4(1, 5, 47, 53)); }

static const lk_doctor_case cases[] = {
    {"matmul", "2x37x77 to 67, bias, residual", matmul},
    {"matmul", "64x128 to 128", matmul_aligned},
    {"matmul", "one row of 77 to 67", matmul_row},
    {"matmul", "many rows of 5 to 509", matmul_wide},
    {"matmul", "many rows of 509 to 5", matmul_narrow},
    {"matmul", "37x21, residual of itself", matmul_skip},
    {"conv2d", "3x3, 19 to 35 channels, 7x11", convolution_3x3},
    {"conv2d", "3x3, 64 to 64 channels, 8x8", convolution_aligned},
    {"conv2d", "3x3 stride 2, 16 to 24, 9x13", convolution_stride},
    {"conv2d", "3 groups of 4 channels, 6x5", convolution_groups},
    {"conv2d", "depthwise 5x5 stride 2, 17, 9x9", convolution_depthwise},
    {"conv2d", "3x3, 3 to 8 channels, 17x13", convolution_rgb},
    {"conv2d", "3x3, 21, residual of itself", convolution_skip},
    {"batch_matmul", "3 of 13x21 by 21x19", batch_matmul},
    {"attention", "37 x 77 keys, 2 heads of 24", attention_cross},
    {"attention", "causal 13, 1 head of 40", attention_causal},
    {"attention", "mask, key bias, 3 extra columns", attention_masked},
    {"group_norm", "24 channels, 3 groups, SiLU", group_norm},
    {"group_norm", "5 channels, 1 group, 123x121", group_norm_large},
    {"layer_norm", "10 rows of 77", layer_norm},
    {"group_norm", "and layer_norm, added to themselves", norms_skip},
    {"channel_affine", "11 channels", channel_affine},
    {"prelu", "13 channels", prelu},
    {"unary", "every kind, rows of 19", unary},
    {"binary", "every kind, broadcasts", binary},
    {"geglu", "rows of 46", geglu},
    {"pool2d", "max 3x2, ceil", pool_max},
    {"pool2d", "average 3x2, ceil", pool_average},
    {"resize", "nearest x2", upsample},
    {"resize", "bilinear 9x7 to 13x5", resize_bilinear},
    {"pad", "constant, channels and sides", pad},
    {"movement", "slice, concat, permute, reshape", movement},
    {"gather", "14 of 11 rows of 21", gather},
    {"gather", "9 of 11 rows, with gradient", gather_activation},
    {"reduce", "sum over channels and width", reduce_sum},
    {"reduce", "mean over H and W", reduce_mean},
    {"reduce", "max over channels and width", reduce_max},
    {"softmax", "rows of 37", softmax},
    {"softmax", "lines of 29 beside 5 channels", softmax_lines},
    {"affine_warp", "11x9 to 7x8", warp},
    {"cosine", "2 x 515", cosine},
    {"loss", "L1 and L2", losses},
    {"guidance", "cfg combine and flow step", guidance},
    {"offset_update", "455 values", offset_small},
    {"offset_update", "12455 values", offset_large},
};

const lk_doctor_case *lk_doctor_cases(int *count) {
    *count = (int)(sizeof cases / sizeof cases[0]);
    return cases;
}
