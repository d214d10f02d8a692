/* io/safetensors.h - weights in safetensors files, read with distrust and without copying.
 *
 *   file:  u64 little-endian N | N bytes JSON {"name": {"dtype","shape","data_offsets":[begin,end]}, ...} | data
 *
 * Before anything is handed out all of this holds: N <= 100 MB and inside the file; the JSON is sound; every dtype
 * known, rank <= 8, the product of the shape does not overflow and times the element size equals end - begin; the
 * ranges, sorted, tile the data exactly: no overlap, no hole, no tail. Whatever does not hold is refused with the
 * tensor's name and the numbers. Data stay in the mapped file, possibly unaligned: read them through
 * lk_safetensor_to_f32 or memcpy.
 *
 * A path that ends in ".index.json" (or ".index.fp16.json") names a sharded model: its files lie in the same folder. */
#ifndef LK_IO_SAFETENSORS_H
#define LK_IO_SAFETENSORS_H

#include "base/arena.h"
#include "base/error.h"
#include "base/file.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LK_SAFETENSOR_MAX_RANK = 8 };

/* name in the file, bytes of an element */
#define LK_SAFETENSOR_DTYPES(X)                                                                                        \
    X(F32, 4)                                                                                                          \
    X(F16, 2)                                                                                                          \
    X(BF16, 2)                                                                                                         \
    X(F64, 8)                                                                                                          \
    X(I64, 8)                                                                                                          \
    X(I32, 4)                                                                                                          \
    X(I16, 2)                                                                                                          \
    X(I8, 1)                                                                                                           \
    X(U64, 8)                                                                                                          \
    X(U32, 4)                                                                                                          \
    X(U16, 2)                                                                                                          \
    X(U8, 1)                                                                                                           \
    X(BOOL, 1)                                                                                                         \
    X(F8_E4M3, 1)                                                                                                      \
    X(F8_E5M2, 1)

typedef enum lk_safetensor_dtype {
#define LK_SAFETENSOR_ENUM(name, bytes) LK_SAFETENSOR_##name,
    LK_SAFETENSOR_DTYPES(LK_SAFETENSOR_ENUM)
#undef LK_SAFETENSOR_ENUM
        LK_SAFETENSOR_DTYPE_COUNT
} lk_safetensor_dtype;

typedef struct lk_safetensor {
    const char *name;
    lk_safetensor_dtype dtype;
    int rank;
    int64_t shape[LK_SAFETENSOR_MAX_RANK];
    size_t elements, bytes;
    const uint8_t *data; /* little endian, unaligned; never NULL unless bytes is 0 */
    bool used;           /* set by lk_safetensors_get, and when a view takes it */
    uint64_t begin;      /* in the data part of its file */
    const char *origin;  /* in a view: its name in the file; else NULL */
} lk_safetensor;

typedef struct lk_safetensors {
    char *name;             /* path, for messages */
    lk_safetensor *tensors; /* sorted by name */
    size_t count;
    const char **metadata_keys, **metadata_values; /* the "__metadata__" object of the first file */
    size_t metadata_count;
    lk_mapping *mappings;
    const char **paths; /* of the mappings */
    size_t mapping_count;
    lk_arena arena; /* names, tensors */
} lk_safetensors;

likeness_status lk_safetensors_open(lk_safetensors *file, const char *path, lk_error *error);
/* FOLDER/STEM.safetensors, or FOLDER/STEM.safetensors.index.json, or the same with ".fp16" after STEM or "index". */
likeness_status lk_safetensors_open_folder(lk_safetensors *file, const char *folder, const char *stem, lk_error *error);
/* The same checks on bytes in memory, which must stay as long as the result. */
likeness_status lk_safetensors_parse(lk_safetensors *file, const char *name, const uint8_t *data, size_t size,
                                     lk_error *error);
void lk_safetensors_close(lk_safetensors *file);

/* ---- views: tensors of a file under other names, in other shapes, or cut; nothing is copied. The file must stay. ----
 */

likeness_status lk_safetensors_view_begin(lk_safetensors *view, const char *name, size_t capacity, lk_error *error);
/* Adds the part of `source` that begins at element `first` as `name` with this shape, and marks the source as used. */
likeness_status lk_safetensors_view_add(lk_safetensors *view, lk_safetensor *source, const char *name, size_t first,
                                        int rank, const int64_t *shape, lk_error *error);
/* Sorts; two tensors of one name are LIKENESS_BAD_FILE. */
likeness_status lk_safetensors_view_finish(lk_safetensors *view, lk_error *error);

/* ---- access ---- */

/* NULL when there is none of that name. */
lk_safetensor *lk_safetensors_find(const lk_safetensors *file, const char *name);
/* The tensor with exactly this shape, marked as used; a missing one or another shape is LIKENESS_BAD_FILE with the
 * tensor's name and both shapes. */
likeness_status lk_safetensors_get(lk_safetensors *file, const char *name, int rank, const int64_t *shape,
                                   lk_safetensor **tensor, lk_error *error);
/* The first tensor that lk_safetensors_get never returned; NULL when all were used. */
const lk_safetensor *lk_safetensors_unused(const lk_safetensors *file);
const char *lk_safetensors_metadata(const lk_safetensors *file, const char *key);

const char *lk_safetensor_dtype_name(lk_safetensor_dtype dtype);
size_t lk_safetensor_dtype_bytes(lk_safetensor_dtype dtype);
/* "[3,320,1,1]" */
void lk_dims_text(char *text, size_t capacity, int rank, const int64_t *shape);
/* All elements as float (integers rounded to the nearest one); LIKENESS_UNSUPPORTED for 8-bit floats. */
likeness_status lk_safetensor_to_f32(const lk_safetensor *tensor, float *out, lk_error *error);

/* Writes a file atomically; of each tensor name, dtype, rank, shape and data are read (elements and bytes follow). */
likeness_status lk_safetensors_write(const char *path, const lk_safetensor *tensors, size_t count,
                                     const char *const *metadata_keys, const char *const *metadata_values,
                                     size_t metadata_count, lk_error *error);

#endif
