/* shaders/movement/push.h - push constants of copies, padding and lookups. Dimensions are innermost first. */
#include "../common/push.h"

#if LK_PUSH_ALL || defined(LK_PUSH_COPY)
LK_PUSH(copy) {
    LK_ADDRESS_F32 x;
    LK_ADDRESS_F32 y;
    LK_INT size[6];
    LK_INT stride_x[6];
    LK_INT stride_y[6];
    LK_INT base_x, base_y;
    LK_INT total;
    LK_INT valid; /* positions of dimension 0 that exist; the rest is written as zero */
    LK_INT mode;  /* dims | per_thread << 8 | (scale differs from 1) << 16 | (fill with scale) << 17 */
    LK_FLOAT scale;
} LK_PUSH_END
#endif

#if LK_PUSH_ALL || defined(LK_PUSH_RESHAPE)
/* y's memory order -> logical position -> x's address. */
LK_PUSH(reshape) {
    LK_ADDRESS_F32 x;
    LK_ADDRESS_F32 y;
    LK_INT size_y[3], weight_y[3]; /* in y's memory order; weight: logical elements a step */
    LK_INT size_x[3], stride_x[3]; /* in logical order */
    LK_INT total, valid, per_thread;
} LK_PUSH_END
#endif

#if LK_PUSH_ALL || defined(LK_PUSH_PAD)
/* size_y: of what is written (x's shape for the derivative). */
LK_PUSH(pad) {
    LK_ADDRESS_F32 x;
    LK_ADDRESS_F32 y;
    LK_INT size_y[4], size_x[4], stride_x[4], before[4];
    LK_INT total, valid, per_thread;
    LK_INT mode; /* 0 constant, 1 edge, 2 reflect, 3 derivative of edge, 4 of reflect */
    LK_FLOAT value;
} LK_PUSH_END
#endif

#if LK_PUSH_ALL || defined(LK_PUSH_GATHER)
LK_PUSH(gather) {
    LK_ADDRESS_U32 table; /* f32 or f16 pairs; backward: dy */
    LK_ADDRESS_U32 ids;
    LK_ADDRESS_F32 y;
    LK_INT size[4], stride_ids[4], stride_column[4]; /* forward: of y; backward: of ids, stride_column of dy */
    LK_INT total, valid, per_thread;
    LK_INT ld, entries; /* of the table */
    LK_INT mode;        /* dims | half << 8 */
    LK_INT count, column_stride; /* backward: ids in all, step of dy from a column to the next */
} LK_PUSH_END
#endif
