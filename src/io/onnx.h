/* io/onnx.h - an ONNX file as plain structs; what its operators mean is the business of src/models.
 *
 * Read with distrust: the wire format by protobuf-c into messages that cannot nest in themselves (onnx.proto),
 * allocations bounded by the file's size, and then checked: tensor data against dims; every name a node reads made
 * before it; no name made twice; no data in other files; no attribute that holds a graph. Weights become float, index
 * tensors int64. Everything lives in the model's arena. */
#ifndef LK_IO_ONNX_H
#define LK_IO_ONNX_H

#include "base/arena.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LK_ONNX_MAX_RANK = 8 };

typedef struct lk_onnx_tensor {
    const char *name; /* "" inside an attribute */
    int rank;
    int64_t dims[LK_ONNX_MAX_RANK];
    size_t count;
    float *f32;   /* float, float16, bfloat16, double; else NULL */
    int64_t *i64; /* integers and bool; else NULL */
} lk_onnx_tensor;

typedef enum lk_onnx_attribute_kind {
    LK_ONNX_FLOAT = 1, /* the numbers of the file format */
    LK_ONNX_INT = 2,
    LK_ONNX_STRING = 3,
    LK_ONNX_TENSOR = 4,
    LK_ONNX_FLOATS = 6,
    LK_ONNX_INTS = 7,
    LK_ONNX_STRINGS = 8
} lk_onnx_attribute_kind;

typedef struct lk_onnx_attribute {
    const char *name;
    lk_onnx_attribute_kind kind;
    float f;
    int64_t i;
    const char *s;
    lk_onnx_tensor *tensor;
    size_t count; /* of the lists */
    const float *floats;
    const int64_t *ints;
    const char **strings;
    bool used; /* set by the getters below */
} lk_onnx_attribute;

typedef struct lk_onnx_node {
    const char *op, *name, *domain; /* name may be "", domain is "" for the standard one */
    const char **inputs, **outputs; /* "" for an optional one that is left out */
    size_t input_count, output_count, attribute_count;
    lk_onnx_attribute *attributes;
} lk_onnx_node;

typedef struct lk_onnx_value {
    const char *name;
    int element_type;                    /* TensorProto.DataType: 1 float, 7 int64, ...; 0 when the file does not say */
    int rank;                            /* -1 when the file does not say */
    int64_t dims[LK_ONNX_MAX_RANK];      /* -1 for a free dimension */
    const char *names[LK_ONNX_MAX_RANK]; /* of free dimensions, or NULL */
} lk_onnx_value;

typedef struct lk_onnx_model {
    const char *file; /* path, for messages */
    int64_t ir_version, opset;
    lk_onnx_node *nodes; /* in an order in which they can run */
    size_t node_count;
    lk_onnx_tensor *initializers; /* sorted by name */
    size_t initializer_count;
    lk_onnx_value *inputs, *outputs; /* inputs without those that have an initializer */
    size_t input_count, output_count;
    const char **metadata_keys, **metadata_values;
    size_t metadata_count;
    lk_arena arena;
} lk_onnx_model;

likeness_status lk_onnx_read(lk_onnx_model *model, const char *path, lk_error *error);
likeness_status lk_onnx_parse(lk_onnx_model *model, const char *name, const uint8_t *data, size_t size,
                              lk_error *error);
void lk_onnx_free(lk_onnx_model *model);

const lk_onnx_tensor *lk_onnx_initializer(const lk_onnx_model *model, const char *name); /* NULL: none */
const char *lk_onnx_metadata(const lk_onnx_model *model, const char *key);               /* NULL: none */
/* "'conv_1' (Conv)"; a node without a name is called after its first output. */
void lk_onnx_node_label(const lk_onnx_node *node, char *text, size_t capacity);

/* NULL when absent; marks it used. */
lk_onnx_attribute *lk_onnx_find(const lk_onnx_node *node, const char *name);
/* The value or the default; an attribute of another kind is LIKENESS_BAD_FILE. */
likeness_status lk_onnx_int(const lk_onnx_model *model, const lk_onnx_node *node, const char *name, int64_t otherwise,
                            int64_t *value, lk_error *error);
likeness_status lk_onnx_float(const lk_onnx_model *model, const lk_onnx_node *node, const char *name, float otherwise,
                              float *value, lk_error *error);
likeness_status lk_onnx_string(const lk_onnx_model *model, const lk_onnx_node *node, const char *name,
                               const char *otherwise, const char **value, lk_error *error);
/* *values NULL and *count 0 when absent. */
likeness_status lk_onnx_ints(const lk_onnx_model *model, const lk_onnx_node *node, const char *name,
                             const int64_t **values, size_t *count, lk_error *error);
/* LIKENESS_UNSUPPORTED naming an attribute that nobody asked for. */
likeness_status lk_onnx_unused(const lk_onnx_model *model, const lk_onnx_node *node, lk_error *error);

#endif
