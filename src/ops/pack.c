/* ops/pack.c - see ops/pack.h for the layout. */
#include "ops/pack.h"

#include "base/half.h"

#include <string.h>

static int32_t lk_round_up(int32_t n, int32_t step) { return (n + step - 1) / step * step; }

lk_pack_layout lk_pack_layout_of(const lk_shape *shape, int32_t groups, lk_storage storage) {
    lk_pack_layout layout = {.outputs = shape->dim[0], .inputs = shape->dim[1], .taps = 1};
    for (int i = 2; i < shape->rank; i++)
        layout.taps *= shape->dim[i];
    layout.panels = (layout.outputs + LK_PACK_PANEL - 1) / LK_PACK_PANEL;
    layout.padded = lk_round_up(layout.inputs, groups > 1 ? 2 : LK_CHANNEL_ALIGN);
    layout.words = (int64_t)layout.taps * layout.panels * layout.padded * LK_PACK_PANEL;
    if (storage == LK_STORE_PACKED_F16) layout.words /= 2;
    return layout;
}

size_t lk_pack_bytes(const lk_shape *shape, int32_t groups, lk_storage storage) {
    return (size_t)lk_pack_layout_of(shape, groups, storage).words * sizeof(uint32_t);
}

/* Where (o, c, t) lies: a 32-bit index for f32, twice the word index plus the half for f16. */
static size_t lk_pack_index(const lk_pack_layout *layout, lk_storage storage, int32_t o, int32_t c, int32_t t) {
    size_t block = (size_t)t * (size_t)layout->panels + (size_t)(o / LK_PACK_PANEL);
    size_t column = (size_t)(o % LK_PACK_PANEL), channel = (size_t)c, padded = (size_t)layout->padded;
    if (storage == LK_STORE_PACKED_F32) return (block * padded + channel) * LK_PACK_PANEL + column;
    return ((block * (padded / 2) + channel / 2) * LK_PACK_PANEL + column) * 2 + channel % 2;
}

/* Halves are combined by shifts, so that the words mean the same on any host. */
void lk_pack_weight(const lk_shape *shape, int32_t groups, lk_storage storage, const float *dense, void *packed) {
    lk_pack_layout layout = lk_pack_layout_of(shape, groups, storage);
    uint32_t *words = packed;
    memset(words, 0, (size_t)layout.words * sizeof *words);
    for (int32_t o = 0; o < layout.outputs; o++) {
        for (int32_t c = 0; c < layout.inputs; c++) {
            for (int32_t t = 0; t < layout.taps; t++) {
                size_t at = lk_pack_index(&layout, storage, o, c, t);
                if (storage == LK_STORE_PACKED_F32)
                    words[at] = lk_float_bits(*dense++);
                else
                    words[at / 2] |= (uint32_t)lk_f32_to_f16(*dense++) << (at % 2 * 16);
            }
        }
    }
}

void lk_unpack_weight(const lk_shape *shape, int32_t groups, lk_storage storage, const void *packed, float *dense) {
    lk_pack_layout layout = lk_pack_layout_of(shape, groups, storage);
    const uint32_t *words = packed;
    for (int32_t o = 0; o < layout.outputs; o++) {
        for (int32_t c = 0; c < layout.inputs; c++) {
            for (int32_t t = 0; t < layout.taps; t++) {
                size_t at = lk_pack_index(&layout, storage, o, c, t);
                if (storage == LK_STORE_PACKED_F32)
                    *dense++ = lk_bits_float(words[at]);
                else
                    *dense++ = lk_f16_to_f32((uint16_t)(words[at / 2] >> (at % 2 * 16)));
            }
        }
    }
}
