/* shaders/elementwise/push.h - push constants of the elementwise family. */
#include "../common/push.h"

#if LK_PUSH_ALL || defined(LK_PUSH_UNARY)
LK_PUSH(unary) {
    LK_ADDRESS_F32 x;
    LK_ADDRESS_F32 dy; /* derivative only */
    LK_ADDRESS_F32 y;
    LK_INT total, per_thread;
    LK_INT ld, inner;
    LK_INT kind, derivative;
    LK_FLOAT a, b;
} LK_PUSH_END
#endif

#if LK_PUSH_ALL || defined(LK_PUSH_CHANNEL)
LK_PUSH(channel) {
    LK_ADDRESS_F32 x;
    LK_ADDRESS_F32 scale; /* slope of PRELU */
    LK_ADDRESS_F32 shift; /* PRELU_DX: dy */
    LK_ADDRESS_F32 y;
    LK_INT total, per_thread;
    LK_INT ld, inner;
    LK_INT mode; /* 0 affine without shift, 1 affine, 2 PReLU, 3 its derivative */
} LK_PUSH_END
#endif

#if LK_PUSH_ALL || defined(LK_PUSH_BINARY)
/* Dimensions innermost first; `dims` of them count. The output is contiguous in this order. */
LK_PUSH(binary) {
    LK_ADDRESS_F32 a;
    LK_ADDRESS_F32 b;
    LK_ADDRESS_F32 dy; /* derivative only */
    LK_ADDRESS_F32 y;
    LK_INT size[6];
    LK_INT stride_a[6];
    LK_INT stride_b[6];
    LK_INT total;
    LK_INT valid; /* positions of dimension 0 that exist; the rest is padding */
    LK_INT mode;  /* kind | side << 4 | derivative << 5 | dims << 8 | per_thread << 16 */
} LK_PUSH_END
#endif

#if LK_PUSH_ALL || defined(LK_PUSH_GEGLU)
LK_PUSH(geglu) {
    LK_ADDRESS_F32 x;
    LK_ADDRESS_F32 dy; /* derivative only */
    LK_ADDRESS_F32 y;
    LK_INT total, per_thread;
    LK_INT ld, ld_wide; /* of y [..,C] and x [..,2C]; total counts rows x ld */
    LK_INT width;       /* C */
    LK_INT derivative;
} LK_PUSH_END
#endif

#if LK_PUSH_ALL || defined(LK_PUSH_MATH_CHECK)
LK_PUSH(math_check) {
    LK_ADDRESS_U32 x;
    LK_ADDRESS_U32 y;
    LK_INT total, kind;
} LK_PUSH_END
#endif
