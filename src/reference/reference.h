/* reference/reference.h - every op in plain C loops on doubles: the truth for the shaders. Never optimised, never sees
 * a GPU.
 *
 * Data are dense, in logical row-major order ([N,C,H,W] as numpy has it), without padding, all in double; i32 inputs
 * (token ids) are passed as doubles too. The caller owns all arrays. Weights come in their logical order [O,I,kh,kw].
 */
#ifndef LK_REFERENCE_REFERENCE_H
#define LK_REFERENCE_REFERENCE_H

#include "tensor/op.h"

/* Computes call->op. in[i] is NULL where has_input[i] is false, out[i] NULL where the output is not wanted.
 * Returns false when the call's attributes ask for something the op does not define (the shape rule refuses it first).
 */
bool lk_reference_run(const lk_op_call *call, const double *const *in, double *const *out);

#endif
