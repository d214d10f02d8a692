/* ops/rules.h - the part of the op table that needs no GPU: shape rule, gradient builder, cost. Used by rules_*.c and
 * table.c only.
 *
 *   rules.c            arity check around every shape rule, helpers, the array that joins the families
 *   rules_linear.c     matmul, convolution, attention
 *   rules_pointwise.c  norms, unary, binary and what else works element by element, softmax
 *   rules_movement.c   pool, resize, pad, slice, concat, permute, reshape, gather, reduce, broadcast
 *   rules_guidance.c   warp, cosine, losses, guidance steps
 *
 * A shape rule may rely on: all required inputs are there, every input shape is valid, only ids are integers. It sets
 * call->output[i].shape for each output the op can have; dtype, storage and has_output are set around it. */
#ifndef LK_OPS_RULES_H
#define LK_OPS_RULES_H

#include "ops/table.h"

typedef likeness_status (*lk_shape_rule)(lk_op_call *call, lk_error *error);

/* What a gradient builder works with; grads[] is all LK_NO_VALUE on entry. */
typedef struct lk_gradient {
    const lk_emitter *emitter;
    const lk_node_view *node;
    lk_value dy;     /* upstream of output 0 */
    uint32_t wanted; /* only differentiable and present inputs */
    lk_value *grads;
    lk_error *error;
} lk_gradient;
typedef likeness_status (*lk_gradient_rule)(const lk_gradient *g);

typedef struct lk_rule {
    lk_shape_rule shape;
    uint32_t differentiable;
    lk_gradient_rule gradient;               /* NULL: not differentiable */
    lk_cost (*cost)(const lk_op_call *call); /* NULL: flops_per_element, every operand once */
    float flops_per_element;                 /* per element of the largest operand */
} lk_rule;

/* Indexed by lk_op within a family; an entry without shape belongs to another family. */
extern const lk_rule lk_rules_linear[LK_OP_COUNT];
extern const lk_rule lk_rules_pointwise[LK_OP_COUNT];
extern const lk_rule lk_rules_movement[LK_OP_COUNT];
extern const lk_rule lk_rules_guidance[LK_OP_COUNT];
const lk_rule *lk_rule_of(lk_op op);

/* For table.c: the three entries of every row. */
likeness_status lk_rule_run_shape(lk_op_call *call, lk_error *error);
likeness_status lk_rule_run_gradient(const lk_emitter *emitter, const lk_node_view *node,
                                     const lk_value upstream[LK_MAX_OUTPUTS], uint32_t wanted,
                                     lk_value grads[LK_MAX_INPUTS], lk_error *error);
lk_cost lk_rule_run_cost(const lk_op_call *call);

/* ---- helpers of shape rules ---- */

/* "op: " and the message, LIKENESS_UNSUPPORTED. */
likeness_status lk_rule_refuse(const lk_op_call *call, lk_error *error, const char *format, ...) LK_PRINTF(3, 4);
/* Refuses unless input `index` (called `name`) has exactly this shape. */
likeness_status lk_rule_expect(const lk_op_call *call, int index, const char *name, const lk_shape *shape,
                               lk_error *error);
/* The same for rank and for the extent along the inner axis. */
likeness_status lk_rule_expect_rank(const lk_op_call *call, int index, const char *name, int least, int most,
                                    lk_error *error);
/* The op's addend (lk_op_addend), when present, has output 0's shape. */
likeness_status lk_rule_addend(const lk_op_call *call, lk_error *error);
/* Output 0 has the shape of input `index`. */
void lk_rule_same_shape(lk_op_call *call, int index);
lk_shape lk_shape_with_inner(lk_shape shape, int32_t inner);
/* numpy broadcast; false when the shapes do not fit. */
bool lk_shape_broadcast(const lk_shape *a, const lk_shape *b, lk_shape *result);
/* Bytes of all present operands, each once. */
double lk_rule_bytes(const lk_op_call *call);

/* ---- helpers of gradient builders ---- */

static inline bool lk_gradient_wants(const lk_gradient *g, int input) { return (g->wanted >> input & 1u) != 0; }
const lk_shape *lk_gradient_shape(const lk_gradient *g, lk_value value);
/* Appends an op with its first output only. attributes may be NULL. */
lk_value lk_gradient_emit(const lk_gradient *g, lk_op op, const lk_attributes *attributes, const lk_value *inputs,
                          int input_count);
lk_value lk_gradient_unary(const lk_gradient *g, lk_unary kind, float a, float b, lk_value x);
lk_value lk_gradient_binary(const lk_gradient *g, lk_binary kind, lk_value a, lk_value b);
lk_value lk_gradient_reshape(const lk_gradient *g, lk_value x, const lk_shape *shape);
/* Sum of x over the axes along which `target` was broadcast to x's shape; x itself when the shapes are equal. */
lk_value lk_gradient_sum_to(const lk_gradient *g, lk_value x, const lk_shape *target);
/* factor * x expanded to `shape`. */
lk_value lk_gradient_broadcast(const lk_gradient *g, lk_value x, const lk_shape *shape, float factor);

#endif
