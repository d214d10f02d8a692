/* tensor/op.c - names and arities, from the list in tensor/op.h. */
#include "tensor/op.h"

typedef struct lk_op_description {
    const char *name;
    uint8_t least_inputs, most_inputs, least_outputs, most_outputs;
} lk_op_description;

static const lk_op_description lk_op_descriptions[LK_OP_COUNT] = {
#define LK_OP_ROW(id, name, in0, in1, out0, out1) [LK_OP_##id] = {name, in0, in1, out0, out1},
    LK_OP_LIST(LK_OP_ROW)
#undef LK_OP_ROW
};

static const char *const lk_unary_names[LK_UNARY_COUNT] = {
    [LK_UNARY_SILU] = "silu",
    [LK_UNARY_GELU] = "gelu",
    [LK_UNARY_GELU_TANH] = "gelu_tanh",
    [LK_UNARY_QUICK_GELU] = "quick_gelu",
    [LK_UNARY_RELU] = "relu",
    [LK_UNARY_LEAKY_RELU] = "leaky_relu",
    [LK_UNARY_SIGMOID] = "sigmoid",
    [LK_UNARY_TANH] = "tanh",
    [LK_UNARY_EXP] = "exp",
    [LK_UNARY_LOG] = "log",
    [LK_UNARY_SQRT] = "sqrt",
    [LK_UNARY_NEG] = "neg",
    [LK_UNARY_ABS] = "abs",
    [LK_UNARY_SQUARE] = "square",
    [LK_UNARY_RECIPROCAL] = "reciprocal",
    [LK_UNARY_SOFTPLUS] = "softplus",
    [LK_UNARY_CLAMP] = "clamp",
    [LK_UNARY_AFFINE] = "affine",
    [LK_UNARY_HARD_SIGMOID] = "hard_sigmoid",
    [LK_UNARY_HARD_SWISH] = "hard_swish",
    [LK_UNARY_ERF] = "erf",
    [LK_UNARY_ELU] = "elu",
};

const char *lk_op_name(lk_op op) { return (unsigned)op < LK_OP_COUNT ? lk_op_descriptions[op].name : "unknown op"; }

const char *lk_unary_name(lk_unary kind) {
    return (unsigned)kind < LK_UNARY_COUNT ? lk_unary_names[kind] : "unknown unary";
}

int lk_op_addend(lk_op op) {
    if (op == LK_OP_MATMUL_DX || op == LK_OP_CONV2D_DX) return 2;
    return op == LK_OP_GROUP_NORM_DX || op == LK_OP_LAYER_NORM_DX ? 5 : -1;
}

void lk_op_arity(lk_op op, int *least_inputs, int *most_inputs, int *least_outputs, int *most_outputs) {
    const lk_op_description *description = &lk_op_descriptions[op];
    *least_inputs = description->least_inputs;
    *most_inputs = description->most_inputs;
    *least_outputs = description->least_outputs;
    *most_outputs = description->most_outputs;
}
