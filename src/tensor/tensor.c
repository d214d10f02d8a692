/* tensor/tensor.c - shapes and the copy between dense logical order and rows storage. See tensor/tensor.h for the
 * layout. */
#include "tensor/tensor.h"

#include <stdio.h>
#include <string.h>

bool lk_shape_equal(const lk_shape *a, const lk_shape *b) {
    if (a->rank != b->rank) return false;
    for (int i = 0; i < a->rank; i++) {
        if (a->dim[i] != b->dim[i]) return false;
    }
    return true;
}

int64_t lk_shape_elements(const lk_shape *shape) {
    int64_t elements = 1;
    for (int i = 0; i < shape->rank; i++) {
        elements *= shape->dim[i];
    }
    return elements;
}

int lk_shape_inner_axis(const lk_shape *shape) { return shape->rank == 4 ? 1 : shape->rank - 1; }

int32_t lk_shape_inner(const lk_shape *shape) { return shape->rank == 0 ? 1 : shape->dim[lk_shape_inner_axis(shape)]; }

int64_t lk_shape_rows(const lk_shape *shape) {
    int inner = lk_shape_inner_axis(shape);
    int64_t rows = 1;
    for (int i = 0; i < shape->rank; i++) {
        if (i != inner) rows *= shape->dim[i];
    }
    return rows;
}

int32_t lk_shape_ld(const lk_shape *shape) {
    int32_t inner = lk_shape_inner(shape);
    return (inner + LK_CHANNEL_ALIGN - 1) / LK_CHANNEL_ALIGN * LK_CHANNEL_ALIGN;
}

const char *lk_shape_text(const lk_shape *shape, char *text, size_t bytes) {
    if (bytes == 0) return text;
    size_t used = 0;
    int written = snprintf(text, bytes, "[");
    for (int i = 0; i < shape->rank && i < LK_MAX_RANK && written >= 0; i++) {
        used += (size_t)written;
        if (used >= bytes) return text;
        written = snprintf(text + used, bytes - used, i == 0 ? "%d" : ",%d", (int)shape->dim[i]);
    }
    used += (size_t)written;
    if (used < bytes) snprintf(text + used, bytes - used, "]");
    return text;
}

bool lk_shape_valid(const lk_shape *shape) {
    if (shape->rank < 0 || shape->rank > LK_MAX_RANK) return false;
    const int64_t limit = INT64_C(1) << 31;
    int inner = lk_shape_inner_axis(shape);
    int64_t stored = 1;
    /* The product is checked after every factor: each factor is below 2^31 and the running product too, so that no
     * intermediate value leaves 64 bits. */
    for (int i = 0; i < shape->rank; i++) {
        int64_t extent = shape->dim[i];
        if (extent < 1) return false;
        if (i == inner) extent = (extent + LK_CHANNEL_ALIGN - 1) / LK_CHANNEL_ALIGN * LK_CHANNEL_ALIGN;
        stored *= extent;
        if (stored >= limit) return false;
    }
    return true;
}

size_t lk_dtype_bytes(lk_dtype dtype) {
    switch (dtype) {
    case LK_F32:
    case LK_I32:
        return 4;
    case LK_F16:
    case LK_BF16:
        return 2;
    }
    return 0;
}

size_t lk_tensor_row_bytes(const lk_tensor *tensor) {
    return (size_t)lk_shape_rows(&tensor->shape) * (size_t)lk_shape_ld(&tensor->shape) * lk_dtype_bytes(tensor->dtype);
}

/* Both copies walk the stored matrix as [outer][inner][positions] of the dense array: for rank 4 the dense inner axis
 * lies between N and H*W, otherwise it is the last one and positions is 1. */
typedef struct lk_rows_walk {
    size_t outer, inner, positions, ld;
} lk_rows_walk;

static lk_rows_walk lk_rows_walk_of(const lk_shape *shape) {
    lk_rows_walk walk = {1, (size_t)lk_shape_inner(shape), 1, (size_t)lk_shape_ld(shape)};
    int inner = lk_shape_inner_axis(shape);
    for (int i = 0; i < inner; i++) {
        walk.outer *= (size_t)shape->dim[i];
    }
    for (int i = inner + 1; i < shape->rank; i++) {
        walk.positions *= (size_t)shape->dim[i];
    }
    return walk;
}

void lk_to_rows(const lk_shape *shape, const void *dense, void *rows) {
    lk_rows_walk walk = lk_rows_walk_of(shape);
    const uint32_t *from = dense;
    uint32_t *to = rows;
    for (size_t o = 0; o < walk.outer; o++) {
        for (size_t p = 0; p < walk.positions; p++) {
            const uint32_t *source = from + o * walk.inner * walk.positions + p;
            for (size_t c = 0; c < walk.inner; c++) {
                to[c] = source[c * walk.positions];
            }
            memset(to + walk.inner, 0, (walk.ld - walk.inner) * sizeof *to);
            to += walk.ld;
        }
    }
}

void lk_from_rows(const lk_shape *shape, const void *rows, void *dense) {
    lk_rows_walk walk = lk_rows_walk_of(shape);
    const uint32_t *from = rows;
    uint32_t *to = dense;
    for (size_t o = 0; o < walk.outer; o++) {
        for (size_t p = 0; p < walk.positions; p++) {
            uint32_t *target = to + o * walk.inner * walk.positions + p;
            for (size_t c = 0; c < walk.inner; c++) {
                target[c * walk.positions] = from[c];
            }
            from += walk.ld;
        }
    }
}
