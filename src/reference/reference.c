/* reference/reference.c - finds the function of an op; index arithmetic that several families use. */
#include "reference/internal.h"

static const lk_reference_function lk_reference_functions[LK_OP_COUNT] = {
    [LK_OP_MATMUL] = lk_reference_matmul,
    [LK_OP_MATMUL_DX] = lk_reference_matmul_dx,
    [LK_OP_CONV2D] = lk_reference_conv2d,
    [LK_OP_CONV2D_DX] = lk_reference_conv2d_dx,
    [LK_OP_ATTENTION] = lk_reference_attention,
    [LK_OP_ATTENTION_DQ] = lk_reference_attention_dq,
    [LK_OP_ATTENTION_DKV] = lk_reference_attention_dkv,
    [LK_OP_BATCH_MATMUL] = lk_reference_batch_matmul,
    [LK_OP_GROUP_NORM] = lk_reference_group_norm,
    [LK_OP_GROUP_NORM_DX] = lk_reference_group_norm_dx,
    [LK_OP_LAYER_NORM] = lk_reference_layer_norm,
    [LK_OP_LAYER_NORM_DX] = lk_reference_layer_norm_dx,
    [LK_OP_CHANNEL_AFFINE] = lk_reference_channel_affine,
    [LK_OP_UNARY] = lk_reference_unary,
    [LK_OP_UNARY_DX] = lk_reference_unary_dx,
    [LK_OP_PRELU] = lk_reference_prelu,
    [LK_OP_PRELU_DX] = lk_reference_prelu_dx,
    [LK_OP_BINARY] = lk_reference_binary,
    [LK_OP_BINARY_DX] = lk_reference_binary_dx,
    [LK_OP_GEGLU] = lk_reference_geglu,
    [LK_OP_GEGLU_DX] = lk_reference_geglu_dx,
    [LK_OP_POOL2D] = lk_reference_pool2d,
    [LK_OP_POOL2D_DX] = lk_reference_pool2d_dx,
    [LK_OP_RESIZE] = lk_reference_resize,
    [LK_OP_RESIZE_DX] = lk_reference_resize_dx,
    [LK_OP_PAD] = lk_reference_pad,
    [LK_OP_PAD_DX] = lk_reference_pad_dx,
    [LK_OP_SLICE] = lk_reference_slice,
    [LK_OP_SLICE_DX] = lk_reference_slice_dx,
    [LK_OP_CONCAT] = lk_reference_concat,
    [LK_OP_PERMUTE] = lk_reference_permute,
    [LK_OP_RESHAPE] = lk_reference_copy,
    [LK_OP_TO_TOKENS] = lk_reference_to_tokens,
    [LK_OP_FROM_TOKENS] = lk_reference_from_tokens,
    [LK_OP_GATHER] = lk_reference_gather,
    [LK_OP_GATHER_DX] = lk_reference_gather_dx,
    [LK_OP_REDUCE] = lk_reference_reduce,
    [LK_OP_REDUCE_MAX_DX] = lk_reference_reduce_max_dx,
    [LK_OP_BROADCAST] = lk_reference_broadcast,
    [LK_OP_SOFTMAX] = lk_reference_softmax,
    [LK_OP_SOFTMAX_DX] = lk_reference_softmax_dx,
    [LK_OP_AFFINE_WARP] = lk_reference_affine_warp,
    [LK_OP_AFFINE_WARP_DX] = lk_reference_affine_warp_dx,
    [LK_OP_COSINE] = lk_reference_cosine,
    [LK_OP_COSINE_DX] = lk_reference_cosine_dx,
    [LK_OP_LOSS] = lk_reference_loss,
    [LK_OP_LOSS_DX] = lk_reference_loss_dx,
    [LK_OP_CFG_COMBINE] = lk_reference_cfg_combine,
    [LK_OP_CFG_COMBINE_DX] = lk_reference_cfg_combine_dx,
    [LK_OP_FLOW_STEP] = lk_reference_flow_step,
    [LK_OP_FLOW_STEP_DX] = lk_reference_flow_step_dx,
    [LK_OP_OFFSET_UPDATE] = lk_reference_offset_update,
};

bool lk_reference_run(const lk_op_call *call, const double *const *in, double *const *out) {
    if ((unsigned)call->op >= LK_OP_COUNT) return false;
    return lk_reference_functions[call->op](call, in, out);
}

lk_channels lk_channels_of(const lk_shape *shape) {
    lk_channels view = {1, lk_shape_inner(shape), 1};
    int inner = lk_shape_inner_axis(shape);
    for (int i = 0; i < shape->rank; i++) {
        if (i < inner) view.outer *= shape->dim[i];
        if (i > inner) view.positions *= shape->dim[i];
    }
    return view;
}

void lk_coordinates_of(const lk_shape *shape, int64_t index, int64_t at[LK_MAX_RANK]) {
    for (int i = shape->rank - 1; i >= 0; i--) {
        at[i] = index % shape->dim[i];
        index /= shape->dim[i];
    }
}

int64_t lk_dense_index(const lk_shape *shape, const int64_t at[LK_MAX_RANK]) {
    int64_t index = 0;
    for (int i = 0; i < shape->rank; i++) {
        index = index * shape->dim[i] + at[i];
    }
    return index;
}

int64_t lk_broadcast_index(const lk_shape *from, const int64_t at[LK_MAX_RANK], int rank) {
    int64_t index = 0;
    for (int i = 0; i < from->rank; i++) {
        int64_t coordinate = at[rank - from->rank + i];
        index = index * from->dim[i] + (from->dim[i] == 1 ? 0 : coordinate);
    }
    return index;
}

void lk_reference_zero(double *values, const lk_shape *shape) {
    int64_t count = lk_shape_elements(shape);
    for (int64_t i = 0; i < count; i++) {
        values[i] = 0;
    }
}
