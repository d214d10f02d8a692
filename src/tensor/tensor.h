/* tensor/tensor.h - what a tensor is: shape, element type, storage. A descriptor without memory of its own.
 *
 * Logical shapes are written as the field writes them: pictures and feature maps [N,C,H,W], tokens [N,L,C], vectors
 * [C].
 *
 * Storage LK_STORE_ROWS (every activation, and weights that are vectors or tables):
 *
 *     the *inner* dimension is the channel: dim[1] of a rank-4 tensor (channels-last), the last dimension otherwise;
 *     memory is a matrix  rows x ld,  ld = inner rounded up to a multiple of 8, rows = product of the other dimensions
 *     in logical order;  element (n,c,h,w) lies at ((n*H + h)*W + w)*ld + c, element (n,l,c) at (n*L + l)*ld + c.
 *
 *     So [N,C,H,W] and [N,H*W,C] are the same memory, and a rank-0 tensor is one row of ld 8.
 *     Every op writes zeros into the padding (columns inner..ld-1): readers may rely on it.
 *
 * Storage LK_STORE_PACKED_F16 / _F32: a matmul or convolution weight [O,I,kh,kw] or [O,I] in the kernels' own order
 * (ops/pack.h); one packed copy serves forward and data gradient. f32 is used with --precise.
 *
 * A tensor has fewer than 2^31 stored elements: shaders index with 32 bits. */
#ifndef LK_TENSOR_TENSOR_H
#define LK_TENSOR_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LK_MAX_RANK 6
#define LK_CHANNEL_ALIGN 8

typedef enum lk_dtype { LK_F32 = 0, LK_F16, LK_BF16, LK_I32 } lk_dtype;

typedef enum lk_storage { LK_STORE_ROWS = 0, LK_STORE_PACKED_F16, LK_STORE_PACKED_F32 } lk_storage;

typedef struct lk_shape {
    int32_t rank; /* 0..LK_MAX_RANK */
    int32_t dim[LK_MAX_RANK];
} lk_shape;

typedef struct lk_tensor {
    lk_shape shape;
    lk_dtype dtype; /* element type in memory; packed storage says its own */
    lk_storage storage;
} lk_tensor;

/* Shapes of rank 0 to 4 in one expression. */
static inline lk_shape lk_shape0(void) { return (lk_shape){0, {0}}; }
static inline lk_shape lk_shape1(int a) { return (lk_shape){1, {a}}; }
static inline lk_shape lk_shape2(int a, int b) { return (lk_shape){2, {a, b}}; }
static inline lk_shape lk_shape3(int a, int b, int c) { return (lk_shape){3, {a, b, c}}; }
static inline lk_shape lk_shape4(int a, int b, int c, int d) { return (lk_shape){4, {a, b, c, d}}; }

bool lk_shape_equal(const lk_shape *a, const lk_shape *b);
/* Product of the dimensions; 1 for rank 0. */
int64_t lk_shape_elements(const lk_shape *shape);
/* Index of the inner (channel) dimension: 1 for rank 4, rank-1 otherwise, -1 for rank 0. */
int lk_shape_inner_axis(const lk_shape *shape);
/* Inner extent (1 for rank 0), rows, and padded row length of LK_STORE_ROWS. */
int32_t lk_shape_inner(const lk_shape *shape);
int64_t lk_shape_rows(const lk_shape *shape);
int32_t lk_shape_ld(const lk_shape *shape);
/* "[1,16,16,16]" into text; returns text. */
const char *lk_shape_text(const lk_shape *shape, char *text, size_t bytes);
/* True when every dimension is at least 1 and the stored elements stay below 2^31. */
bool lk_shape_valid(const lk_shape *shape);

size_t lk_dtype_bytes(lk_dtype dtype);
/* Bytes of a tensor in LK_STORE_ROWS storage. */
size_t lk_tensor_row_bytes(const lk_tensor *tensor);

/* Between dense logical row-major order ([N,C,H,W] as numpy has it) and rows storage, f32 and i32 (4-byte elements).
 * to_rows writes the zero padding. */
void lk_to_rows(const lk_shape *shape, const void *dense, void *rows);
void lk_from_rows(const lk_shape *shape, const void *rows, void *dense);

#endif
