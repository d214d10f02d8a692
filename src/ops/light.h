/* ops/light.h - the dispatch functions of every op but matmul, convolution and attention; named in dispatch.c. */
#ifndef LK_OPS_LIGHT_H
#define LK_OPS_LIGHT_H

#include "ops/launch.h"

/* elementwise.c; each serves the op and its derivative */
likeness_status lk_dispatch_unary(const lk_dispatch *d, lk_error *error);
likeness_status lk_dispatch_channel(const lk_dispatch *d, lk_error *error);
likeness_status lk_dispatch_binary(const lk_dispatch *d, lk_error *error);
likeness_status lk_dispatch_geglu(const lk_dispatch *d, lk_error *error);

/* normalisation.c */
likeness_status lk_dispatch_norm(const lk_dispatch *d, lk_error *error);
size_t lk_scratch_norm(const lk_op_call *call, const lk_device *device);
int32_t lk_variants_norm(const lk_op_call *call, const lk_device *device);
likeness_status lk_dispatch_softmax(const lk_dispatch *d, lk_error *error);

/* reduce.c */
likeness_status lk_dispatch_reduce(const lk_dispatch *d, lk_error *error);
likeness_status lk_dispatch_reduce_max_dx(const lk_dispatch *d, lk_error *error);

/* resample.c */
likeness_status lk_dispatch_pool(const lk_dispatch *d, lk_error *error);
likeness_status lk_dispatch_resize(const lk_dispatch *d, lk_error *error);
likeness_status lk_dispatch_warp(const lk_dispatch *d, lk_error *error);

/* movement.c */
likeness_status lk_dispatch_permute(const lk_dispatch *d, lk_error *error);
likeness_status lk_dispatch_slice(const lk_dispatch *d, lk_error *error);
likeness_status lk_dispatch_slice_dx(const lk_dispatch *d, lk_error *error);
likeness_status lk_dispatch_pad(const lk_dispatch *d, lk_error *error);
likeness_status lk_dispatch_pad_dx(const lk_dispatch *d, lk_error *error);
likeness_status lk_dispatch_concat(const lk_dispatch *d, lk_error *error);
likeness_status lk_dispatch_reshape(const lk_dispatch *d, lk_error *error); /* and TO_TOKENS, FROM_TOKENS */
likeness_status lk_dispatch_broadcast(const lk_dispatch *d, lk_error *error);
likeness_status lk_dispatch_gather(const lk_dispatch *d, lk_error *error);
likeness_status lk_dispatch_gather_dx(const lk_dispatch *d, lk_error *error);

/* guidance.c */
likeness_status lk_dispatch_similarity(const lk_dispatch *d, lk_error *error); /* COSINE, LOSS */
likeness_status lk_dispatch_step(const lk_dispatch *d, lk_error *error);       /* CFG_COMBINE, FLOW_STEP */
likeness_status lk_dispatch_offset_update(const lk_dispatch *d, lk_error *error);
size_t lk_scratch_offset_update(const lk_op_call *call, const lk_device *device);

#endif
