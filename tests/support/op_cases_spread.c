/* tests/support/op_cases_spread.c - two things that every op is tried with: channels 1, 3, 16, 77 and 320 (fewer than a
 * vector, whole vectors, more than a tile, a prime too many), and more workgroups than the forced limit an axis. See
 * op_cases.h. */
#include "support/op_cases_table.h"

static const double weight_list[] = {3.5};
static const double dt_list[] = {-0.25};
static const double offset_list[] = {0.75, 0.5, 0};
static const double theta_list[] = {0.8, 0.3, -0.7, -0.2, 0.9, 0.4};

/* attributes and inputs are macros of the number of channels. */
#define ONE(op, channels, attributes, inputs)                                                                          \
    { op, #channels " channels", 0, CASE_DEVICE_ONLY, attributes(channels), inputs(channels) }
#define MANY(op, attributes, inputs)                                                                                   \
    ONE(op, 3, attributes, inputs), ONE(op, 16, attributes, inputs), ONE(op, 77, attributes, inputs),                  \
        ONE(op, 320, attributes, inputs)
#define EACH(op, attributes, inputs) ONE(op, 1, attributes, inputs), MANY(op, attributes, inputs)

#define NONE(c) NO_ATTRIBUTES
#define MAP(c) INPUTS(IN(NORMAL, 1, c, 3, 2))
#define TWO_MAPS(c) INPUTS(IN(NORMAL, 1, c, 3, 2), IN(NORMAL, 1, c, 3, 2))
#define MAP_AND_CHANNEL(c) INPUTS(IN(APART, 1, c, 3, 2), IN(GAIN, c))
#define MAP_AND_CHANNELS(c) INPUTS(IN(WIDE, 1, c, 3, 2), IN(GAIN, c), IN(NORMAL, c))

#define TURN_B(c) ATTR(.product = {0, 1})
#define PRODUCT_INPUTS(c) INPUTS(IN(NORMAL, 2, 5, c), IN(NORMAL, 2, 3, c))
#define MATMUL_INPUTS(c) INPUTS(IN(NORMAL, 5, c), IN(WEIGHT, c, c), IN(NORMAL, c))
#define CONV_3X3(c)                                                                                                    \
    ATTR(.conv = {.stride = {1, 1}, .padding = {1, 1, 1, 1}, .dilation = {1, 1}, .groups = 1, .kernel = {3, 3}})
#define CONV_INPUTS(c) INPUTS(IN(NORMAL, 1, c, 3, 2), IN(WEIGHT, c, c, 3, 3), IN(NORMAL, c))
#define DEPTHWISE(c)                                                                                                   \
    ATTR(.conv = {.stride = {1, 1}, .padding = {1, 1, 1, 1}, .dilation = {1, 1}, .groups = c, .kernel = {3, 3}})
#define DEPTHWISE_INPUTS(c) INPUTS(IN(NORMAL, 1, c, 3, 2), IN(WEIGHT, c, 1, 3, 3), IN(NORMAL, c))
#define ONE_HEAD(c) ATTR(.attention = {.heads = 1, .scale = 0.25f})
#define ATTENTION_INPUTS(c) INPUTS(IN(NORMAL, 1, 5, c), IN(NORMAL, 1, 3, c), IN(NORMAL, 1, 3, c))
#define ONE_GROUP_SILU(c) ATTR(.norm = {.groups = 1, .epsilon = 1e-5f, .silu = 1})
#define NORM(c) ATTR(.norm = {.epsilon = 1e-5f})
#define SILU(c) ATTR(.unary = {LK_UNARY_SILU, 0, 0})
#define MULTIPLY(c) ATTR(.binary = {LK_BINARY_MUL, 0})
#define MAP_TIMES_CHANNEL(c) INPUTS(IN(NORMAL, 1, c, 3, 2), IN(NORMAL, 1, c, 1, 1))
#define GEGLU_INPUTS(c) INPUTS(IN(WIDE, 5, 2 * c))
#define ROWS(c) INPUTS(IN(WIDE, 5, c))
#define POOL_MAX(c) ATTR(.pool = {.kind = LK_POOL_MAX, .kernel = {2, 2}, .stride = {1, 1}})
#define POOL_AVERAGE(c) ATTR(.pool = {.kind = LK_POOL_AVERAGE, .kernel = {2, 2}, .stride = {1, 1}})
#define NEAREST_TWICE(c) ATTR(.resize = {LK_RESIZE_NEAREST, LK_COORDINATES_ASYMMETRIC, {6, 4}})
#define BILINEAR(c) ATTR(.resize = {LK_RESIZE_BILINEAR, LK_COORDINATES_HALF_PIXEL, {4, 5}})
#define PAD_ZERO(c) ATTR(.pad = {LK_PAD_CONSTANT, {0, 0, 1, 0}, {0, 0, 0, 2}, 0.0f})
#define PAD_EDGE(c) ATTR(.pad = {LK_PAD_EDGE, {0, 0, 1, 0}, {0, 0, 0, 2}, 0.0f})
#define PAD_REFLECT(c) ATTR(.pad = {LK_PAD_REFLECT, {0, 0, 1, 0}, {0, 0, 2, 1}, 0.0f})
#define PART(c) ATTR(.slice = {{0, 0, 1, 0}, {1, 1, 1, 1}, {1, c, 2, 2}})
#define CHANNEL_AXIS(c) ATTR(.axis = {1})
#define PARTS(c) INPUTS(IN(NORMAL, 1, c, 3, 2), IN(NORMAL, 1, 5, 3, 2), IN(NORMAL, 1, c, 3, 2))
#define CHANNELS_LAST(c) ATTR(.permute = {{0, 2, 3, 1}})
#define FLAT(c) ATTR(.shape = {.shape = {2, {2, 3 * c}}})
#define UNTOKENS(c) ATTR(.shape = {.shape = {4, {1, c, 3, 2}}})
#define TOKENS(c) INPUTS(IN(NORMAL, 1, 6, c))
#define TABLE(c) INPUTS(IN(NORMAL, 7, c), IN(IDS, 2, 3))
#define MEAN_POSITIONS(c) ATTR(.reduce = {LK_REDUCE_MEAN, 0xc, 1})
#define MAX_POSITIONS(c) ATTR(.reduce = {LK_REDUCE_MAX, 0xc, 0})
#define SUM_CHANNELS(c) ATTR(.reduce = {LK_REDUCE_SUM, 0x2, 1})
#define POSITIONS(c) ATTR(.shape = {.shape = {4, {2, c, 3, 2}}, .factor = 0.5f})
#define CHANNEL(c) INPUTS(IN(NORMAL, 1, c, 1, 1))
#define WARP(c) ATTR(.warp = {{4, 3}})
#define WARPED(c) INPUTS(IN(NORMAL, 1, c, 5, 4), FROM(theta_list, 1, 2, 3))
#define TWO_ROWS(c) INPUTS(IN(NORMAL, 3, c), IN(NORMAL, 3, c))
#define L1(c) ATTR(.loss = {0})
#define L2(c) ATTR(.loss = {1})
#define CFG_INPUTS(c) INPUTS(IN(NORMAL, 1, c, 3, 2), IN(NORMAL, 1, c, 3, 2), FROM(weight_list, 1))
#define FLOW_INPUTS(c) INPUTS(IN(NORMAL, 1, c, 3, 2), IN(NORMAL, 1, c, 3, 2), FROM(dt_list, 1), IN(NORMAL, 1, c, 3, 2))
#define OFFSET_INPUTS(c) INPUTS(IN(NORMAL, 1, c, 3, 2), IN(NORMAL, 1, c, 3, 2), FROM(offset_list, 3))

/* Large enough for more than 7 workgroups of 256 threads, or of one item each. */
#define SPLIT(op, attributes, inputs)                                                                                  \
    { op, "many workgroups", 0, CASE_DEVICE_ONLY | CASE_FEW_GROUPS, attributes, inputs }
#define WIDE_MAP INPUTS(IN(WIDE, 1, 24, 13, 11))

static const op_case cases[] = {
    EACH(LK_OP_MATMUL, NONE, MATMUL_INPUTS),
    EACH(LK_OP_CONV2D, CONV_3X3, CONV_INPUTS),
    EACH(LK_OP_CONV2D, DEPTHWISE, DEPTHWISE_INPUTS),
    EACH(LK_OP_BATCH_MATMUL, TURN_B, PRODUCT_INPUTS),
    EACH(LK_OP_ATTENTION, ONE_HEAD, ATTENTION_INPUTS),
    EACH(LK_OP_GROUP_NORM, ONE_GROUP_SILU, MAP_AND_CHANNELS),
    MANY(LK_OP_LAYER_NORM, NORM, MAP_AND_CHANNELS), /* of one channel everything cancels */
    EACH(LK_OP_CHANNEL_AFFINE, NONE, MAP_AND_CHANNELS),
    EACH(LK_OP_UNARY, SILU, MAP),
    EACH(LK_OP_PRELU, NONE, MAP_AND_CHANNEL),
    EACH(LK_OP_BINARY, MULTIPLY, MAP_TIMES_CHANNEL),
    EACH(LK_OP_GEGLU, NONE, GEGLU_INPUTS),
    EACH(LK_OP_SOFTMAX, NONE, ROWS),
    EACH(LK_OP_POOL2D, POOL_MAX, MAP),
    EACH(LK_OP_POOL2D, POOL_AVERAGE, MAP),
    EACH(LK_OP_RESIZE, NEAREST_TWICE, MAP),
    EACH(LK_OP_RESIZE, BILINEAR, MAP),
    EACH(LK_OP_PAD, PAD_ZERO, MAP),
    EACH(LK_OP_PAD, PAD_EDGE, MAP),
    EACH(LK_OP_PAD, PAD_REFLECT, MAP),
    EACH(LK_OP_SLICE, PART, MAP),
    EACH(LK_OP_CONCAT, CHANNEL_AXIS, PARTS),
    EACH(LK_OP_PERMUTE, CHANNELS_LAST, MAP),
    EACH(LK_OP_RESHAPE, FLAT, MAP),
    EACH(LK_OP_TO_TOKENS, NONE, MAP),
    EACH(LK_OP_FROM_TOKENS, UNTOKENS, TOKENS),
    EACH(LK_OP_GATHER, NONE, TABLE),
    EACH(LK_OP_REDUCE, MEAN_POSITIONS, MAP),
    EACH(LK_OP_REDUCE, MAX_POSITIONS, MAP),
    EACH(LK_OP_REDUCE, SUM_CHANNELS, MAP),
    EACH(LK_OP_BROADCAST, POSITIONS, CHANNEL),
    EACH(LK_OP_AFFINE_WARP, WARP, WARPED),
    MANY(LK_OP_COSINE, NONE, TWO_ROWS), /* likewise */
    EACH(LK_OP_LOSS, L1, TWO_MAPS),
    EACH(LK_OP_LOSS, L2, TWO_MAPS),
    EACH(LK_OP_CFG_COMBINE, NONE, CFG_INPUTS),
    EACH(LK_OP_FLOW_STEP, NONE, FLOW_INPUTS),
    EACH(LK_OP_OFFSET_UPDATE, NONE, OFFSET_INPUTS),

    {LK_OP_ATTENTION, "many workgroups", 3, CASE_DEVICE_ONLY | CASE_FEW_GROUPS,
     ATTR(.attention = {.heads = 8, .scale = 0.5f}),
     INPUTS(IN(NORMAL, 1, 67, 32), IN(NORMAL, 1, 71, 32), IN(NORMAL, 1, 71, 32))},
    SPLIT(LK_OP_CHANNEL_AFFINE, NO_ATTRIBUTES, INPUTS(IN(WIDE, 1, 24, 13, 11), IN(GAIN, 24), IN(NORMAL, 24))),
    SPLIT(LK_OP_PRELU, NO_ATTRIBUTES, INPUTS(IN(APART, 1, 24, 13, 11), IN(GAIN, 24))),
    SPLIT(LK_OP_BINARY, ATTR(.binary = {LK_BINARY_DIV, 0}), INPUTS(IN(NORMAL, 1, 24, 13, 11), IN(APART, 24, 1, 1))),
    SPLIT(LK_OP_GEGLU, NO_ATTRIBUTES, INPUTS(IN(WIDE, 143, 48))),
    SPLIT(LK_OP_SOFTMAX, NO_ATTRIBUTES, INPUTS(IN(WIDE, 1100, 5))),
    SPLIT(LK_OP_POOL2D, POOL_MAX(), WIDE_MAP),
    SPLIT(LK_OP_RESIZE, ATTR(.resize = {LK_RESIZE_BILINEAR, LK_COORDINATES_HALF_PIXEL, {17, 19}}), WIDE_MAP),
    SPLIT(LK_OP_PAD, ATTR(.pad = {LK_PAD_REFLECT, {0, 0, 2, 1}, {0, 0, 1, 3}, 0.0f}), WIDE_MAP),
    SPLIT(LK_OP_SLICE, ATTR(.slice = {{0, 1, 1, 0}, {1, 1, 1, 1}, {1, 21, 11, 11}}), WIDE_MAP),
    SPLIT(LK_OP_CONCAT, ATTR(.axis = {1}), INPUTS(IN(NORMAL, 1, 21, 13, 11), IN(NORMAL, 1, 19, 13, 11))),
    SPLIT(LK_OP_PERMUTE, ATTR(.permute = {{0, 3, 1, 2}}), WIDE_MAP),
    SPLIT(LK_OP_RESHAPE, ATTR(.shape = {.shape = {2, {33, 104}}}), WIDE_MAP),
    SPLIT(LK_OP_TO_TOKENS, NO_ATTRIBUTES, WIDE_MAP),
    SPLIT(LK_OP_FROM_TOKENS, ATTR(.shape = {.shape = {4, {1, 21, 13, 11}}}), INPUTS(IN(NORMAL, 1, 143, 21))),
    SPLIT(LK_OP_GATHER, NO_ATTRIBUTES, INPUTS(IN(NORMAL, 131, 21), IN(IDS, 143))),
    SPLIT(LK_OP_AFFINE_WARP, ATTR(.warp = {{12, 13}}), INPUTS(IN(NORMAL, 1, 21, 13, 11), FROM(theta_list, 1, 2, 3))),
    SPLIT(LK_OP_BROADCAST, ATTR(.shape = {.shape = {4, {1, 21, 13, 11}}, .factor = 0.5f}),
          INPUTS(IN(NORMAL, 21, 1, 1))),
    SPLIT(LK_OP_COSINE, NO_ATTRIBUTES, INPUTS(IN(NORMAL, 11, 21), IN(NORMAL, 11, 21))),
    SPLIT(LK_OP_LOSS, ATTR(.loss = {1}), INPUTS(IN(NORMAL, 11, 21, 13, 3), IN(NORMAL, 11, 21, 13, 3))),
    SPLIT(LK_OP_CFG_COMBINE, NO_ATTRIBUTES,
          INPUTS(IN(NORMAL, 1, 21, 13, 11), IN(NORMAL, 1, 21, 13, 11), FROM(weight_list, 1))),
    SPLIT(LK_OP_FLOW_STEP, NO_ATTRIBUTES,
          INPUTS(IN(NORMAL, 1, 21, 13, 11), IN(NORMAL, 1, 21, 13, 11), FROM(dt_list, 1))),
    SPLIT(LK_OP_OFFSET_UPDATE, NO_ATTRIBUTES,
          INPUTS(IN(NORMAL, 1, 13, 61, 67), IN(NORMAL, 1, 13, 61, 67), FROM(offset_list, 3))),
};

const op_case_list op_cases_spread = {cases, COUNT(cases)};
