/* models/onnx_internal.h - what the files of the ONNX importer share.
 *
 *   onnx_graph.c      the file, the walk over its nodes, values, errors, preprocessing
 *   onnx_fold.c       nodes whose inputs are all known numbers: shape arithmetic, done while building
 *   onnx_table.c      the operators by name, and the list of them
 *   onnx_pointwise.c  element by element, softmax, reductions
 *   onnx_linear.c     convolutions and products
 *   onnx_norm.c       norms and pooling
 *   onnx_move.c       reshape, cut, join, pad
 *   onnx_resize.c     resampling
 *   onnx_classify.c   classifiers as discriminators
 *
 * A value of the file is either a number array (known while building) or a value of the graph. */
#ifndef LK_MODELS_ONNX_INTERNAL_H
#define LK_MODELS_ONNX_INTERNAL_H

#include "models/onnx_graph.h"

typedef struct onnx_value {
    const char *name;
    lk_value value;              /* LK_NO_VALUE for an array */
    const lk_onnx_tensor *array; /* NULL for a value of the graph */
} onnx_value;

typedef struct onnx_builder {
    const lk_onnx_network *network;
    const lk_onnx_model *file;
    lk_graph *graph;
    const lk_onnx_node *node; /* the one being translated */
    lk_arena arena;           /* arrays made by folding */
    onnx_value *values;
    size_t count, capacity;
    bool *done; /* nodes that an earlier one has swallowed */
} onnx_builder;

/* All of these name the file and the node. Return false, so that callers can return them. */
bool onnx_fail(onnx_builder *b, likeness_status status, const char *format, ...) LK_PRINTF(3, 4);
bool onnx_out_of_memory(onnx_builder *b);
/* False once anything has failed. */
bool onnx_fine(const onnx_builder *b);

/* Input i of the node, NULL when it is left out. */
const onnx_value *onnx_input(const onnx_builder *b, size_t i);
/* Input i as a value of the graph, an array becoming a weight; fails when it is left out. */
lk_value onnx_operand(onnx_builder *b, size_t i);
/* Input i as an array; NULL (and a failure when `required`) when it is left out or not known. */
const lk_onnx_tensor *onnx_array(onnx_builder *b, size_t i, bool required);
lk_shape onnx_shape(const onnx_builder *b, lk_value value);
/* Puts an array into the weight set under the file's name for it with `suffix`, as `shape`. */
lk_value onnx_weight(onnx_builder *b, const char *name, const char *suffix, lk_weight_role role, lk_shape shape,
                     int groups, const float *values);
bool onnx_set_value(onnx_builder *b, size_t output, lk_value value);
/* The same for the first output of a later node, which is then done. */
bool onnx_set_later(onnx_builder *b, const lk_onnx_node *node, lk_value value);
bool onnx_set_array(onnx_builder *b, size_t output, const lk_onnx_tensor *array);
/* The only node that reads a value which is no output of the file; NULL when there is not exactly one reader. */
const lk_onnx_node *onnx_only_reader(const onnx_builder *b, const char *name);
const onnx_value *onnx_find_value(const onnx_builder *b, const char *name);

/* Attributes with defaults; failures are kept by the graph. */
int64_t onnx_int(onnx_builder *b, const char *name, int64_t otherwise);
float onnx_float(onnx_builder *b, const char *name, float otherwise);
const char *onnx_string(onnx_builder *b, const char *name, const char *otherwise);
const int64_t *onnx_ints(onnx_builder *b, const char *name, size_t *count);
/* A list of integers that newer opsets give as input i and older ones as an attribute; NULL: neither. */
const int64_t *onnx_ints_either(onnx_builder *b, size_t i, const char *name, size_t *count);
/* axis in -rank..rank-1 to 0..rank-1; -1 and a failure outside. */
int onnx_axis(onnx_builder *b, int64_t axis, int rank);

/* ---- operators ---- */

/* A row of the table of operators; each file has its own part, ended by a row without a name. */
typedef struct onnx_operator {
    const char *name;
    bool (*translate)(onnx_builder *b, int kind);
    int kind;           /* what `translate` shall do, where it serves several operators */
    const char *limits; /* what is refused, for the printed list; "": nothing that images meet */
} onnx_operator;
extern const onnx_operator onnx_pointwise_operators[], onnx_linear_operators[], onnx_norm_operators[],
    onnx_movement_operators[], onnx_resize_operators[];

/* True if the node was folded (or failed); false if it is none that folds. */
bool onnx_fold(onnx_builder *b);
/* Translates the node; fails with its name when the operator is unknown. */
bool onnx_translate(onnx_builder *b);

static inline bool onnx_unsupported(onnx_builder *b, const char *what) {
    return onnx_fail(b, LIKENESS_UNSUPPORTED, "%s", what);
}
/* Scale and shift of a batch norm at inference, `channels` of each. */
bool onnx_read_norm(onnx_builder *b, const lk_onnx_node *norm, size_t channels, float *scale, float *shift);
/* Broadcasting pairs axes from the last one; ranks are made equal first, so that channels stay channels. */
lk_value onnx_raise(onnx_builder *b, lk_value x, int rank);
/* x under these dims, of which one may be -1, as output 0. */
bool onnx_set_reshaped(onnx_builder *b, lk_value x, const int64_t *dims, int rank);
/* x with an axis of 1 put in before the last one until it has rank 4: windows over one axis become windows over two. */
lk_value onnx_as_picture(onnx_builder *b, lk_value x);
/* Every line of x along `axis` times a matrix [rows, extent of the axis]: resampling, picking, reversing. `name` is
 * that of the weight, unique for these numbers. */
lk_value onnx_map_axis(onnx_builder *b, lk_value x, int axis, int rows, const double *matrix, const char *name);
/* How many positions a range has on an axis of this size, cut as numpy cuts it, and the first of them. */
int64_t onnx_slice_range(int64_t size, int64_t start, int64_t end, int64_t step, int64_t *first);
/* x expanded to `shape`, of the same rank. */
lk_value onnx_expand(onnx_builder *b, lk_value x, lk_shape shape);

#endif
