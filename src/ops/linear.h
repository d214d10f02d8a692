/* ops/linear.h - what matmul and convolution share: one set of kernels (shaders/convolution), chosen and filled in
 * here.
 *
 * Both directions are the same sum: every result pixel adds, over taps and source channels, source x weight. A matmul
 * has one tap and no picture. */
#ifndef LK_OPS_LINEAR_H
#define LK_OPS_LINEAR_H

#include "ops/table.h"

/* The call as the kernels see it; the operands are those of the dispatch (0 source, 1 weight, 2 bias, 3 residual). */
typedef struct lk_linear {
    bool gradient; /* source is dy */
    int32_t samples;
    int32_t result_size[2], source_size[2]; /* height, width */
    int32_t result_channels, source_channels;
    int32_t kernel[2], stride[2], padding[2], dilation[2]; /* padding: top, left */
    int32_t groups;
} lk_linear;

likeness_status lk_linear_dispatch(const lk_linear *linear, const lk_dispatch *dispatch, lk_error *error);
int32_t lk_linear_variants(const lk_linear *linear, const lk_device *device);

#endif
