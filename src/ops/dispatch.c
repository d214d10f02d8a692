/* ops/dispatch.c - the array behind ops/dispatch.h: one line an op. */
#include "ops/dispatch.h"

#include "ops/heavy.h"
#include "ops/light.h"

#include <stddef.h>

typedef struct lk_dispatch_entry {
    lk_dispatch_function dispatch;
    lk_scratch_function scratch;
    lk_variants_function variants;
} lk_dispatch_entry;

static const lk_dispatch_entry lk_dispatch_entries[LK_OP_COUNT] = {
    /* matmul, convolution, attention */
    [LK_OP_MATMUL] = {lk_dispatch_matmul, NULL, lk_variants_matmul},
    [LK_OP_MATMUL_DX] = {lk_dispatch_matmul, NULL, lk_variants_matmul},
    [LK_OP_CONV2D] = {lk_dispatch_conv2d, NULL, lk_variants_conv2d},
    [LK_OP_CONV2D_DX] = {lk_dispatch_conv2d, NULL, lk_variants_conv2d},
    [LK_OP_ATTENTION] = {lk_dispatch_attention, NULL, lk_variants_attention},
    [LK_OP_ATTENTION_DQ] = {lk_dispatch_attention, NULL, lk_variants_attention},
    [LK_OP_ATTENTION_DKV] = {lk_dispatch_attention, NULL, lk_variants_attention},
    [LK_OP_BATCH_MATMUL] = {lk_dispatch_batch_matmul, NULL, NULL},

    /* everything else */
    [LK_OP_GROUP_NORM] = {lk_dispatch_norm, lk_scratch_norm, lk_variants_norm},
    [LK_OP_GROUP_NORM_DX] = {lk_dispatch_norm, lk_scratch_norm, lk_variants_norm},
    [LK_OP_LAYER_NORM] = {lk_dispatch_norm, lk_scratch_norm, lk_variants_norm},
    [LK_OP_LAYER_NORM_DX] = {lk_dispatch_norm, lk_scratch_norm, lk_variants_norm},
    [LK_OP_CHANNEL_AFFINE] = {lk_dispatch_channel, NULL, NULL},
    [LK_OP_PRELU] = {lk_dispatch_channel, NULL, NULL},
    [LK_OP_PRELU_DX] = {lk_dispatch_channel, NULL, NULL},
    [LK_OP_UNARY] = {lk_dispatch_unary, NULL, NULL},
    [LK_OP_UNARY_DX] = {lk_dispatch_unary, NULL, NULL},
    [LK_OP_BINARY] = {lk_dispatch_binary, NULL, NULL},
    [LK_OP_BINARY_DX] = {lk_dispatch_binary, NULL, NULL},
    [LK_OP_GEGLU] = {lk_dispatch_geglu, NULL, NULL},
    [LK_OP_GEGLU_DX] = {lk_dispatch_geglu, NULL, NULL},
    [LK_OP_POOL2D] = {lk_dispatch_pool, NULL, NULL},
    [LK_OP_POOL2D_DX] = {lk_dispatch_pool, NULL, NULL},
    [LK_OP_RESIZE] = {lk_dispatch_resize, NULL, NULL},
    [LK_OP_RESIZE_DX] = {lk_dispatch_resize, NULL, NULL},
    [LK_OP_PAD] = {lk_dispatch_pad, NULL, NULL},
    [LK_OP_PAD_DX] = {lk_dispatch_pad_dx, NULL, NULL},
    [LK_OP_SLICE] = {lk_dispatch_slice, NULL, NULL},
    [LK_OP_SLICE_DX] = {lk_dispatch_slice_dx, NULL, NULL},
    [LK_OP_CONCAT] = {lk_dispatch_concat, NULL, NULL},
    [LK_OP_PERMUTE] = {lk_dispatch_permute, NULL, NULL},
    [LK_OP_RESHAPE] = {lk_dispatch_reshape, NULL, NULL},
    [LK_OP_TO_TOKENS] = {lk_dispatch_reshape, NULL, NULL},
    [LK_OP_FROM_TOKENS] = {lk_dispatch_reshape, NULL, NULL},
    [LK_OP_GATHER] = {lk_dispatch_gather, NULL, NULL},
    [LK_OP_GATHER_DX] = {lk_dispatch_gather_dx, NULL, NULL},
    [LK_OP_REDUCE] = {lk_dispatch_reduce, NULL, lk_team_variants},
    [LK_OP_REDUCE_MAX_DX] = {lk_dispatch_reduce_max_dx, NULL, lk_team_variants},
    [LK_OP_BROADCAST] = {lk_dispatch_broadcast, NULL, NULL},
    [LK_OP_SOFTMAX] = {lk_dispatch_softmax, NULL, lk_team_variants},
    [LK_OP_SOFTMAX_DX] = {lk_dispatch_softmax, NULL, lk_team_variants},
    [LK_OP_AFFINE_WARP] = {lk_dispatch_warp, NULL, NULL},
    [LK_OP_AFFINE_WARP_DX] = {lk_dispatch_warp, NULL, NULL},
    [LK_OP_COSINE] = {lk_dispatch_similarity, NULL, lk_team_variants},
    [LK_OP_COSINE_DX] = {lk_dispatch_similarity, NULL, lk_team_variants},
    [LK_OP_LOSS] = {lk_dispatch_similarity, NULL, lk_team_variants},
    [LK_OP_LOSS_DX] = {lk_dispatch_similarity, NULL, lk_team_variants},
    [LK_OP_CFG_COMBINE] = {lk_dispatch_step, NULL, NULL},
    [LK_OP_CFG_COMBINE_DX] = {lk_dispatch_step, NULL, NULL},
    [LK_OP_FLOW_STEP] = {lk_dispatch_step, NULL, NULL},
    [LK_OP_FLOW_STEP_DX] = {lk_dispatch_step, NULL, NULL},
    [LK_OP_OFFSET_UPDATE] = {lk_dispatch_offset_update, lk_scratch_offset_update, lk_team_variants},
};

lk_dispatch_function lk_dispatch_of(lk_op op) { return lk_dispatch_entries[op].dispatch; }
lk_scratch_function lk_scratch_of(lk_op op) { return lk_dispatch_entries[op].scratch; }
lk_variants_function lk_variants_of(lk_op op) { return lk_dispatch_entries[op].variants; }
