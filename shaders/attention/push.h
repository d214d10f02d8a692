/* shaders/attention/push.h - push constants of attention and its two gradients. q, k, v, o and their gradients are
 * [N, rows, heads * width] with the same row length. */
#include "../common/push.h"

#if LK_PUSH_ALL || defined(LK_PUSH_ATTENTION)
LK_PUSH(attention) {
    LK_ADDRESS_F32 q;
    LK_ADDRESS_F32 k;
    LK_ADDRESS_F32 v;
    LK_ADDRESS_F32 o;        /* forward: written, flags & 8 for the log-sum-exp */
    LK_ADDRESS_F32 lse;      /* [N, L, heads] */
    LK_ADDRESS_F32 key_bias; /* flags & 2, [N, S] */
    LK_ADDRESS_F32 mask;     /* flags & 4, [L, S] */
    LK_ADDRESS_F32 a;        /* forward: extra columns [N, S, extra]; gradients: do */
    LK_ADDRESS_F32 b;        /* forward: their result, flags & 16; gradients: dq, or dk if flags & 8 */
    LK_ADDRESS_F32 c;        /* dv if flags & 16 */
    LK_INT queries, keys, heads, width, extra;
    LK_INT row_tiles, chunks; /* chunks of result channels; a chunk of extra columns comes after those of v */
    LK_INT total;             /* threads or workgroups that have work */
    LK_INT flags;             /* 1 causal */
    LK_FLOAT scale;
} LK_PUSH_END
#endif
