/* shaders/norm/push.h - push constants of the norms and softmax. */
#include "../common/push.h"

#if LK_PUSH_ALL || defined(LK_PUSH_NORM)
/* Groups of `width` channels x `rows` rows; layer norm: every row is a sample of one group. */
LK_PUSH(norm) {
    LK_ADDRESS_F32 x;
    LK_ADDRESS_F32 gamma;
    LK_ADDRESS_F32 beta;
    LK_ADDRESS_F32 dy; /* derivative only */
    LK_ADDRESS_F32 y;  /* y or dx */
    LK_ADDRESS_F32 stats;
    LK_ADDRESS_F32 addend; /* derivative only, bit 3 */
    LK_ADDRESS_F32 partial; /* one pair a chunk: (mean, squares) or the two sums of backward */
    LK_INT samples, groups;
    LK_INT rows;  /* of one sample */
    LK_INT width; /* channels of a group */
    LK_INT ld, inner;
    LK_INT chunks, chunk_rows; /* a group is cut into `chunks` parts of chunk_rows rows */
    LK_INT mode;               /* bit 0 gamma, bit 1 beta, bit 2 silu, bit 3 addend, bits 4-5 phase: 0 all in one, 1 partial, 2 apply */
    LK_FLOAT epsilon;
} LK_PUSH_END
#endif

#if LK_PUSH_ALL || defined(LK_PUSH_SOFTMAX)
/* Lines of `length` elements, `stride` apart. */
LK_PUSH(softmax) {
    LK_ADDRESS_F32 x; /* forward x, derivative y */
    LK_ADDRESS_F32 dy;
    LK_ADDRESS_F32 y;
    LK_INT lines;  /* workgroup a line: rows; thread a line: rows_outer x ld */
    LK_INT extent; /* of the softmax axis */
    LK_INT stride; /* 1: axis is inner, a workgroup a line */
    LK_INT ld, inner;
    LK_INT derivative;
    LK_INT per_thread;
} LK_PUSH_END
#endif
