/* shaders/guidance/push.h - push constants of similarity, losses and the guidance step. */
#include "../common/push.h"

#if LK_PUSH_ALL || defined(LK_PUSH_SIMILARITY)
/* Row n of a and b belongs to sample n; rows may be whole pictures, their padding is zero. */
LK_PUSH(similarity) {
    LK_ADDRESS_F32 a;
    LK_ADDRESS_F32 b;
    LK_ADDRESS_F32 d; /* upstream, one number a sample */
    LK_ADDRESS_F32 y;
    LK_INT samples, slots; /* slots: stored numbers of the per-sample output */
    LK_INT extent;         /* stored elements of a sample, padding included */
    LK_INT stride_a, stride_b;
    LK_INT mode; /* 0 cosine, 1 L1, 2 L2; +4 derivative */
    LK_INT chunks, chunk; /* derivative of a loss: workgroups a sample, elements of one */
    LK_FLOAT scale; /* 1 / elements of a sample (losses) */
} LK_PUSH_END
#endif

#if LK_PUSH_ALL || defined(LK_PUSH_STEP)
LK_PUSH(step) {
    LK_ADDRESS_F32 x;
    LK_ADDRESS_F32 z;
    LK_ADDRESS_F32 offset;
    LK_ADDRESS_F32 factor;
    LK_ADDRESS_F32 y;
    LK_ADDRESS_F32 y2;
    LK_INT total, per_thread;
    LK_INT mode; /* 0: x + w (z - x); 1: y = (1-w) x, y2 = w x; 2: x + w z; 3: x + w z + offset; 4: w x; outputs: +8 y, +16 y2 */
} LK_PUSH_END
#endif

#if LK_PUSH_ALL || defined(LK_PUSH_OFFSET)
LK_PUSH(offset) {
    LK_ADDRESS_F32 offset;
    LK_ADDRESS_F32 gradient;
    LK_ADDRESS_F32 params; /* step, clamp, mode */
    LK_ADDRESS_F32 y;
    LK_ADDRESS_F32 norm;
    LK_ADDRESS_F32 partial; /* largest magnitude and scaled squares of every chunk */
    LK_INT total;
    LK_INT chunks, chunk;
    LK_INT phase; /* 0 all in one workgroup, 1 partial sums, 2 update */
} LK_PUSH_END
#endif
