/* tests/support/op_cases_perf.c - shapes whose speed is worth a line in a log. See op_cases.h. */
#include "support/op_cases_table.h"

#define CONV(k, s, p, g)                                                                                               \
    ATTR(.conv = {.stride = {s, s}, .padding = {p, p, p, p}, .dilation = {1, 1}, .groups = g, .kernel = {k, k}})

static const op_case cases[] = {
    {LK_OP_MATMUL, "square", 0, 0, NO_ATTRIBUTES, INPUTS(IN(NORMAL, 768, 768), IN(WEIGHT, 768, 768))},
    {LK_OP_MATMUL, "a transformer's", 0, 0, NO_ATTRIBUTES,
     INPUTS(IN(NORMAL, 1, 256, 320), IN(WEIGHT, 1280, 320), IN(NORMAL, 1280))},
    {LK_OP_MATMUL, "text", 0, 0, NO_ATTRIBUTES, INPUTS(IN(NORMAL, 1, 77, 192), IN(WEIGHT, 192, 192), IN(NORMAL, 192))},
    {LK_OP_CONV2D, "32x32, 320", 0, 0, CONV(3, 1, 1, 1),
     INPUTS(IN(NORMAL, 1, 320, 32, 32), IN(WEIGHT, 320, 320, 3, 3))},
    {LK_OP_CONV2D, "16x16, 64", 0, 0, CONV(3, 1, 1, 1), INPUTS(IN(NORMAL, 1, 64, 16, 16), IN(WEIGHT, 64, 64, 3, 3))},
    {LK_OP_CONV2D, "8x8, 128", 0, 0, CONV(3, 1, 1, 1), INPUTS(IN(NORMAL, 1, 128, 8, 8), IN(WEIGHT, 128, 128, 3, 3))},
    {LK_OP_CONV2D, "128x128, 32", 0, 0, CONV(3, 1, 1, 1),
     INPUTS(IN(NORMAL, 1, 32, 128, 128), IN(WEIGHT, 32, 32, 3, 3))},
    {LK_OP_CONV2D, "stride 2", 0, 0, CONV(3, 2, 1, 1), INPUTS(IN(NORMAL, 1, 64, 32, 32), IN(WEIGHT, 64, 64, 3, 3))},
    {LK_OP_CONV2D, "depthwise", 0, 0, CONV(3, 1, 1, 128), INPUTS(IN(NORMAL, 1, 128, 32, 32), IN(WEIGHT, 128, 1, 3, 3))},
    {LK_OP_ATTENTION, "256 tokens", 3, 0, ATTR(.attention = {.heads = 4, .scale = 0.2f}),
     INPUTS(IN(NORMAL, 1, 256, 128), IN(NORMAL, 1, 256, 128), IN(NORMAL, 1, 256, 128))},
    {LK_OP_ATTENTION, "text", 3, 0, ATTR(.attention = {.heads = 4, .scale = 0.2f}),
     INPUTS(IN(NORMAL, 1, 256, 128), IN(NORMAL, 1, 77, 128), IN(NORMAL, 1, 77, 128))},
    {LK_OP_GROUP_NORM, "16x16, 128", 3, 0, ATTR(.norm = {.groups = 32, .epsilon = 1e-5f, .silu = 1}),
     INPUTS(IN(NORMAL, 1, 128, 16, 16), IN(GAIN, 128), IN(NORMAL, 128))},
    {LK_OP_GROUP_NORM, "128x128, 32", 3, 0, ATTR(.norm = {.groups = 8, .epsilon = 1e-5f, .silu = 1}),
     INPUTS(IN(NORMAL, 1, 32, 128, 128), IN(GAIN, 32), IN(NORMAL, 32))},
    {LK_OP_LAYER_NORM, "256 tokens", 3, 0, ATTR(.norm = {.epsilon = 1e-5f}),
     INPUTS(IN(NORMAL, 1, 256, 320), IN(GAIN, 320), IN(NORMAL, 320))},
    {LK_OP_UNARY, "SiLU, 1 M", 0, 0, ATTR(.unary = {LK_UNARY_SILU, 0, 0}), INPUTS(IN(NORMAL, 1024, 1024))},
    {LK_OP_BINARY, "add, 1 M", 0, 0, ATTR(.binary = {LK_BINARY_ADD, 0}),
     INPUTS(IN(NORMAL, 1024, 1024), IN(NORMAL, 1024, 1024))},
    {LK_OP_GEGLU, "256 tokens", 0, 0, NO_ATTRIBUTES, INPUTS(IN(NORMAL, 1, 256, 2560))},
    {LK_OP_RESIZE, "twice", 0, 0, ATTR(.resize = {LK_RESIZE_NEAREST, LK_COORDINATES_ASYMMETRIC, {64, 64}}),
     INPUTS(IN(NORMAL, 1, 64, 32, 32))},
    {LK_OP_CONCAT, "channels", 0, 0, ATTR(.axis = {1}), INPUTS(IN(NORMAL, 1, 128, 32, 32), IN(NORMAL, 1, 64, 32, 32))},
    {LK_OP_REDUCE, "positions", 0, 0, ATTR(.reduce = {LK_REDUCE_MEAN, 0xc, 1}), INPUTS(IN(NORMAL, 1, 128, 32, 32))},
};

int op_perf_case_count(void) { return COUNT(cases); }
const op_case *op_perf_case_at(int index) { return &cases[index]; }
