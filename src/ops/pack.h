/* ops/pack.h - how matmul and convolution weights lie in device memory (LK_STORE_PACKED_F16, LK_STORE_PACKED_F32).
 *
 * A weight [O,I] or [O,I/g,kh,kw] has O output channels, C = I/g input channels and T = kh*kw taps. Output channels
 * come in panels of 32; inside a panel two neighbouring input channels make a pair:
 *
 *     f16   one 32-bit word = { low half: input channel 2p, high half: 2p+1 }
 *           word index  ((t * panels + o / 32) * (padded / 2) + p) * 32 + o % 32
 *     f32   one 32-bit word a value
 *           word index  ((t * panels + o / 32) * padded + c) * 32 + o % 32
 *
 * Forward kernels have lanes over o: neighbouring words, two steps of the sum a word. Data-gradient kernels have lanes
 * over p and sum over o: each word gives two result channels, and 32 steps of the sum lie side by side. So one copy
 * serves both.
 *
 * `padded` is C rounded up to 8 without groups (kernels step through the sum by 8, like the rows of an activation) and
 * to 2 with groups. Words of channels that do not exist are zero. */
#ifndef LK_OPS_PACK_H
#define LK_OPS_PACK_H

#include "tensor/tensor.h"

#define LK_PACK_PANEL 32

/* The numbers that kernels need; words is the size of the whole weight. */
typedef struct lk_pack_layout {
    int32_t outputs, inputs, taps; /* O, I/g, kh*kw */
    int32_t panels, padded;
    int64_t words;
} lk_pack_layout;

/* shape: rank 2, or rank 4 with dim[2], dim[3] the kernel. */
lk_pack_layout lk_pack_layout_of(const lk_shape *shape, int32_t groups, lk_storage storage);
/* Bytes of the packed weight. storage: LK_STORE_PACKED_F16 or _F32. */
size_t lk_pack_bytes(const lk_shape *shape, int32_t groups, lk_storage storage);
/* dense: logical row-major order, as files have it. packed: lk_pack_bytes() bytes, written completely. */
void lk_pack_weight(const lk_shape *shape, int32_t groups, lk_storage storage, const float *dense, void *packed);
/* The values that kernels see, back in logical order: rounded to f16 where the storage is f16. */
void lk_unpack_weight(const lk_shape *shape, int32_t groups, lk_storage storage, const void *packed, float *dense);

#endif
