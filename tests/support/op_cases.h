/* tests/support/op_cases.h - the table of op calls that all op tests share: gradients of the reference against central
 * differences, and every shader against the reference. Backward ops have few entries of their own: the gradient
 * builders make them from the forward entries, with inputs that fit each other. */
#ifndef TESTS_SUPPORT_OP_CASES_H
#define TESTS_SUPPORT_OP_CASES_H

#include "support/tape.h"

typedef enum op_values {
    VALUES_NONE = 0, /* the input is absent */
    VALUES_NORMAL,   /* -1 .. 1 */
    VALUES_WIDE,     /* -4 .. 4 */
    VALUES_POSITIVE, /* 0.5 .. 2 */
    VALUES_APART,    /* 0.2 .. 1.2 with either sign */
    VALUES_GAIN,     /* 0.5 .. 1.5: gamma, scale, slope */
    VALUES_WEIGHT,   /* a packed f16 weight */
    VALUES_WEIGHT32, /* a packed f32 weight (--precise) */
    VALUES_IDS,      /* integers; -1 and past the end too when `list` is not given */
    VALUES_LIST      /* from `list`, repeated */
} op_values;

typedef struct op_input {
    lk_shape shape;
    op_values values;
    const double *list;
    int list_count;
} op_input;

enum {
    CASE_DEVICE_ONLY = 1, /* too large for central differences, or with kinks everywhere */
    CASE_FEW_GROUPS = 2,  /* also with a limit of 7 workgroups an axis */
    CASE_NO_GRADIENT = 4, /* central differences and builders have nothing to do */
    CASE_CANCELS = 8      /* the gradient is zero but for rounding: its error is compared with 1 */
};

typedef struct op_case {
    lk_op op;
    const char *note; /* what the case is there for */
    uint32_t want;    /* outputs; 0: those that are not optional */
    unsigned flags;
    lk_attributes attributes;
    op_input input[LK_MAX_INPUTS];
} op_case;

int op_case_count(void);
const op_case *op_case_at(int index);
/* Shapes of image models, for speed alone. */
int op_perf_case_count(void);
const op_case *op_perf_case_at(int index);

/* "conv2d [1,3,8,8] [16,3,3,3] stride 2" */
void op_case_name(const op_case *c, char *text, size_t bytes);
/* The case on a tape: one leaf an input (inputs[i], LK_NO_VALUE when absent), and the node. between: differentiable
 * inputs are not leaves but computed, 0.8 leaf + 0.05, so that the op stands in the middle of a graph; leaves[i] is
 * then the leaf behind inputs[i]. Returns the node's index or -1 (message in t->error). */
int32_t op_case_build(const op_case *c, tape *t, bool between, lk_value leaves[LK_MAX_INPUTS],
                      lk_value inputs[LK_MAX_INPUTS]);
/* A leaf of random numbers in -1 .. 1 for a cotangent. */
lk_value op_case_cotangent(tape *t, lk_value of, uint64_t seed);

#endif
