/* shaders/convolution/push.h - push constants of matmul and convolution, forward and data gradient.
 *
 * A matmul is a convolution with one tap over a picture of one pixel a row. "source" is what is read (x forward, dy
 * in the gradient), "result" what is written; both are rows x ld. Pairs of 16-bit numbers: low half y, high half x. */
#include "../common/push.h"

#if LK_PUSH_ALL || defined(LK_PUSH_CONVOLUTION)
LK_PUSH(convolution) {
    LK_ADDRESS_F32 source;
    LK_ADDRESS_U32 weight; /* ops/pack.h */
    LK_ADDRESS_F32 result;
    LK_ADDRESS_F32 bias;     /* flags & 1 */
    LK_ADDRESS_F32 residual; /* flags & 2 */
    LK_INT samples;
    LK_INT result_height, result_width, result_ld, result_channels;
    LK_INT source_height, source_width, source_ld, source_channels;
    LK_INT kernel, stride, padding, dilation; /* pairs; padding: top, left */
    LK_INT panels, padded;                    /* of the weight */
    LK_INT row_tiles, column_tiles;           /* of one phase: see flat.comp */
    LK_INT bias_stride;                       /* from one sample's bias to the next; 0: one for all */
    LK_INT groups;
    LK_INT flags;
} LK_PUSH_END
#endif
