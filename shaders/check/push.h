/* shaders/check/push.h - push constants of the device layer's own check shaders. */
#include "../common/push.h"

#if LK_PUSH_ALL || defined(LK_PUSH_AXPY)
LK_PUSH(axpy) {
    LK_ADDRESS_F32 x;
    LK_ADDRESS_F32 y;
    LK_INT count;
    LK_FLOAT a;
} LK_PUSH_END
#endif
