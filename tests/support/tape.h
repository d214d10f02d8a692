/* tests/support/tape.h - a small eager graph: every node is computed by the C reference as it is appended, and the op
 * table's gradient builders append to it through an lk_emitter. Independent of src/graph: it is what src/graph is
 * compared with, and where the op tests find each node's inputs and true outputs. */
#ifndef TESTS_SUPPORT_TAPE_H
#define TESTS_SUPPORT_TAPE_H

#include "ops/table.h"

typedef struct tape_value {
    lk_tensor tensor;
    double *data; /* dense logical order */
} tape_value;

typedef struct tape_node {
    lk_op_call call;
    lk_value input[LK_MAX_INPUTS], output[LK_MAX_OUTPUTS];
} tape_node;

typedef struct tape {
    tape_value *values;
    tape_node *nodes;
    int32_t value_count, node_count, value_room, node_room;
    bool round; /* every computed value is rounded to f32, as a device would store it */
    bool blank; /* nothing is computed: values stay zero */
    lk_error error;
} tape;

void tape_init(tape *t, bool round);
void tape_free(tape *t);
/* data is copied. */
lk_value tape_leaf(tape *t, const lk_tensor *tensor, const double *data);
/* As lk_emitter.emit. LK_NO_VALUE after a failure, which t->error keeps. */
lk_value tape_emit(tape *t, lk_op op, const lk_attributes *attributes, const lk_value *inputs, int input_count,
                   uint32_t want_outputs, lk_value out[LK_MAX_OUTPUTS]);
lk_emitter tape_emitter(tape *t);
lk_node_view tape_view(const tape *t, int32_t node);
/* Computes the first `nodes` nodes again after leaves were changed. */
bool tape_rerun(tape *t, int32_t nodes);
/* Appends the gradient of sum(cotangent * y) with respect to each wrt (LK_NO_VALUE: does not depend). */
bool tape_gradient(tape *t, lk_value y, lk_value cotangent, const lk_value *wrt, int wrt_count, lk_value *gradients);
static inline int64_t tape_elements(const tape *t, lk_value value) {
    return lk_shape_elements(&t->values[value].tensor.shape);
}

/* ---- numbers for tests ---- */

typedef struct test_random {
    uint64_t state;
} test_random;
double test_uniform(test_random *random, double low, double high);

/* The project's measure between a and the truth b: the larger of |a-b|_2/|b|_2 and max|a-b| / (20 rms(b)); at most the
 * tolerance when fine. A truth of zeros asks for zeros. NaN counts as infinite. */
double test_error(const double *a, const double *b, int64_t count);
/* max|a-b|; NaN counts as infinite. */
double test_difference(const double *a, const double *b, int64_t count);

#endif
