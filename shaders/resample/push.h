/* shaders/resample/push.h - push constants of pooling, resize and warp. Sizes are y, x. */
#include "../common/push.h"

#if LK_PUSH_ALL || defined(LK_PUSH_POOL)
LK_PUSH(pool) {
    LK_ADDRESS_F32 x;
    LK_ADDRESS_F32 y;
    LK_ADDRESS_F32 dy;
    LK_ADDRESS_F32 dx;
    LK_INT total, per_thread; /* stored elements of what is written */
    LK_INT ld, inner;
    LK_INT input_size[2], output_size[2];
    LK_INT kernel[2], stride[2];
    LK_INT padding[4]; /* top, left, bottom, right */
    LK_INT average, include_padding;
} LK_PUSH_END
#endif

#if LK_PUSH_ALL || defined(LK_PUSH_RESIZE)
/* The source position of output o is (o * numerator + offset) / denominator, exactly. */
LK_PUSH(resize) {
    LK_ADDRESS_F32 x; /* or dy */
    LK_ADDRESS_F32 y; /* or dx */
    LK_INT total, per_thread; /* 8 stored elements each */
    LK_INT ld;
    LK_INT input_size[2], output_size[2]; /* of the forward op, also for the derivative */
    LK_INT numerator[2], offset[2], denominator[2];
    LK_INT mode; /* 0 nearest floor, 1 nearest round half down, 2 bilinear; +4 derivative */
} LK_PUSH_END
#endif

#if LK_PUSH_ALL || defined(LK_PUSH_WARP)
LK_PUSH(warp) {
    LK_ADDRESS_F32 x; /* or dy */
    LK_ADDRESS_F32 theta;
    LK_ADDRESS_F32 y; /* or dx */
    LK_INT total, per_thread;
    LK_INT ld;
    LK_INT input_size[2], output_size[2]; /* of the forward op */
    LK_INT derivative;
} LK_PUSH_END
#endif
