/* shaders/reduce/push.h - push constants of the reductions. */
#include "../common/push.h"

#if LK_PUSH_ALL || defined(LK_PUSH_REDUCE)
/* Kept dimensions in the order of y's memory, innermost first, the first one padded to ld of y; reduced dimensions in
 * logical order, innermost first, so that position 0, 1, ... is scan order. Strides are those of x. */
LK_PUSH(reduce) {
    LK_ADDRESS_F32 x;
    LK_ADDRESS_F32 y;
    LK_ADDRESS_F32 dy; /* REDUCE_MAX_DX */
    LK_ADDRESS_F32 dx;
    LK_INT kept_size[4];
    LK_INT kept_stride[4];
    LK_INT size[4];
    LK_INT stride[4];
    LK_INT total; /* stored elements of y */
    LK_INT valid; /* positions of kept dimension 0 that exist */
    LK_INT count; /* elements that one output reduces */
    LK_INT mode;  /* kind | kept dims << 4 | reduced dims << 8 | thread an output << 12 */
    LK_FLOAT scale;
} LK_PUSH_END
#endif
