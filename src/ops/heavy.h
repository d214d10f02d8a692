/* ops/heavy.h - what matmul.c, convolution.c, attention.c and product.c give to the dispatch table. */
#ifndef LK_OPS_HEAVY_H
#define LK_OPS_HEAVY_H

#include "ops/table.h"

likeness_status lk_dispatch_matmul(const lk_dispatch *dispatch, lk_error *error);
int32_t lk_variants_matmul(const lk_op_call *call, const lk_device *device);
likeness_status lk_dispatch_conv2d(const lk_dispatch *dispatch, lk_error *error);
int32_t lk_variants_conv2d(const lk_op_call *call, const lk_device *device);
likeness_status lk_dispatch_attention(const lk_dispatch *dispatch, lk_error *error);
int32_t lk_variants_attention(const lk_op_call *call, const lk_device *device);
likeness_status lk_dispatch_batch_matmul(const lk_dispatch *dispatch, lk_error *error);

#endif
