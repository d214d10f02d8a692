/* ops/convolution.c - CONV2D and CONV2D_DX: how a call looks to the linear kernels (ops/linear.c). */
#include "ops/heavy.h"
#include "ops/linear.h"

static lk_linear lk_conv2d_linear(const lk_op_call *call) {
    const lk_shape *source = &call->input[0].shape, *result = &call->output[0].shape;
    const lk_attributes *a = &call->attributes;
    return (lk_linear){
        .gradient = call->op == LK_OP_CONV2D_DX,
        .samples = source->dim[0],
        .result_size = {result->dim[2], result->dim[3]},
        .source_size = {source->dim[2], source->dim[3]},
        .result_channels = result->dim[1],
        .source_channels = source->dim[1],
        .kernel = {a->conv.kernel[0], a->conv.kernel[1]},
        .stride = {a->conv.stride[0], a->conv.stride[1]},
        .padding = {a->conv.padding[0], a->conv.padding[1]},
        .dilation = {a->conv.dilation[0], a->conv.dilation[1]},
        .groups = a->conv.groups,
    };
}

likeness_status lk_dispatch_conv2d(const lk_dispatch *dispatch, lk_error *error) {
    lk_linear linear = lk_conv2d_linear(dispatch->call);
    return lk_linear_dispatch(&linear, dispatch, error);
}

int32_t lk_variants_conv2d(const lk_op_call *call, const lk_device *device) {
    lk_linear linear = lk_conv2d_linear(call);
    return lk_linear_variants(&linear, device);
}
