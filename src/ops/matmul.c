/* ops/matmul.c - MATMUL and MATMUL_DX: how a call looks to the linear kernels (ops/linear.c).
 *
 * x [..., I] with any number of leading dimensions; for rank 4 the inner dimension is dim[1] and the rows are pixels.
 */
#include "ops/heavy.h"
#include "ops/linear.h"

static lk_linear lk_matmul_linear(const lk_op_call *call) {
    const lk_shape *x = &call->input[0].shape, *y = &call->output[0].shape;
    int32_t samples = x->rank > 1 ? x->dim[0] : 1;
    int32_t rows = (int32_t)(lk_shape_rows(x) / samples);
    return (lk_linear){
        .gradient = call->op == LK_OP_MATMUL_DX,
        .samples = samples,
        .result_size = {1, rows},
        .source_size = {1, rows},
        .result_channels = lk_shape_inner(y),
        .source_channels = lk_shape_inner(x),
        .kernel = {1, 1},
        .stride = {1, 1},
        .dilation = {1, 1},
        .groups = 1,
    };
}

likeness_status lk_dispatch_matmul(const lk_dispatch *dispatch, lk_error *error) {
    lk_linear linear = lk_matmul_linear(dispatch->call);
    return lk_linear_dispatch(&linear, dispatch, error);
}

int32_t lk_variants_matmul(const lk_op_call *call, const lk_device *device) {
    lk_linear linear = lk_matmul_linear(call);
    return lk_linear_variants(&linear, device);
}
