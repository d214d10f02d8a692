/* ops/table.h - the op table: one row an operation, read by autodiff, planner, checker, benchmark and profiler.
 *
 * A row says: shape rule, differentiable inputs, gradient builder, shader dispatch, cost. Adding an op means: a line in
 * tensor/op.h, a reference (src/reference), a row here (src/ops/<family>.c), cases in tests/op. */
#ifndef LK_OPS_TABLE_H
#define LK_OPS_TABLE_H

#include "base/error.h"
#include "gpu/memory.h" /* lk_buffer_ref */
#include "tensor/op.h"

typedef struct lk_device lk_device;
typedef struct lk_recording lk_recording;

/* A value of a graph under construction; the graph layer owns what it means. */
typedef int32_t lk_value;
#define LK_NO_VALUE (-1)

/* How a gradient builder appends nodes without knowing the graph. Bit i of want_outputs: output i is computed (dk
 * alone, dv alone, both); 0 means every output that is not optional. emit returns the lowest wanted output, and
 * LK_NO_VALUE after any failure (the graph keeps the error); all outputs are written to out when it is not NULL.
 * attributes NULL: all zero. */
typedef struct lk_emitter {
    void *user;
    lk_value (*emit)(void *user, lk_op op, const lk_attributes *attributes, const lk_value *inputs, int input_count,
                     uint32_t want_outputs, lk_value out[LK_MAX_OUTPUTS]);
    const lk_tensor *(*describe)(void *user, lk_value value);
} lk_emitter;

/* The node whose gradient is asked for. */
typedef struct lk_node_view {
    lk_op op;
    const lk_attributes *attributes;
    lk_value input[LK_MAX_INPUTS], output[LK_MAX_OUTPUTS]; /* LK_NO_VALUE where absent */
    int32_t input_count, output_count;
} lk_node_view;

typedef struct lk_cost {
    double flops; /* 2 x multiply-adds for matmul-like ops, operations otherwise */
    double bytes; /* read + written once */
} lk_cost;

typedef struct lk_operand {
    lk_tensor tensor;
    lk_buffer_ref ref;
} lk_operand;

/* Everything a dispatch needs. It appends one or more commands to the recording. */
typedef struct lk_dispatch {
    lk_device *device;
    lk_recording *recording;
    const lk_op_call *call;
    lk_operand input[LK_MAX_INPUTS], output[LK_MAX_OUTPUTS]; /* valid where call->has_... */
    lk_buffer_ref scratch;                                   /* as many bytes as scratch_bytes asked for */
    const char *label;                                       /* the node's name, for messages and traces */
    int32_t variant;                                         /* 0: choose; n: force variant n (op tests, doctor) */
} lk_dispatch;

typedef struct lk_op_row {
    /* Fills call->output[] from inputs and attributes; refuses what the op does not define, naming both shapes. The
     * caller sets has_output for the outputs it wants; with none set the least outputs of the op are marked. */
    likeness_status (*shape)(lk_op_call *call, lk_error *error);
    uint32_t differentiable; /* bit i: a gradient with respect to input i exists. Weight gradients come later: matmul's
                              * and convolution's w, gamma, beta, slope, theta have no bit yet */
    /* Appends nodes for the inputs in `wanted` only and returns their values in grads[i] (LK_NO_VALUE: gradient is
     * zero, or not wanted). Only output 0 may have an upstream gradient; an upstream for a norm's stats or an
     * attention's log-sum-exp or extra columns is refused. NULL: not differentiable. */
    likeness_status (*gradient)(const lk_emitter *emitter, const lk_node_view *node,
                                const lk_value upstream[LK_MAX_OUTPUTS], uint32_t wanted, lk_value grads[LK_MAX_INPUTS],
                                lk_error *error);
    /* Scratch memory the dispatch needs on this device; NULL: none. */
    size_t (*scratch_bytes)(const lk_op_call *call, const lk_device *device);
    likeness_status (*dispatch)(const lk_dispatch *dispatch, lk_error *error);
    lk_cost (*cost)(const lk_op_call *call);
    /* Number of variants that this device can run for this call (at least 1); NULL: 1. */
    int32_t (*variants)(const lk_op_call *call, const lk_device *device);
} lk_op_row;

/* Never NULL; a row may lack gradient (not differentiable). */
const lk_op_row *lk_op_row_of(lk_op op);

/* For the mutation check only: from now on every dispatch of this op is followed by commands that spoil its results. A
 * test must notice. Not thread-safe; what was recorded before keeps its behaviour. */
typedef enum lk_mutation {
    LK_MUTATION_NONE,
    LK_MUTATION_SCALE,   /* times 1.01 */
    LK_MUTATION_LAST_ROW /* the last row becomes zero */
} lk_mutation;
void lk_op_mutate(lk_op op, lk_mutation mutation);
/* The same for a dispatch that chooses its variant itself or is told one up to `variants`: later ones stay right. */
void lk_op_mutate_first(lk_op op, lk_mutation mutation, int32_t variants);

/* The three parts of a row, implemented in different files: rules.c has shape, gradient and cost (needs no GPU); family
 * files have scratch_bytes, dispatch and variants. table.c joins them. */

#endif
