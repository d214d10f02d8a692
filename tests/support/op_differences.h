/* tests/support/op_differences.h - the gradient that the op table's builders compose, computed by the C reference,
 * against central differences of the reference, in double; every subset of gradients; and the mutation check of both.
 */
#ifndef TESTS_SUPPORT_OP_DIFFERENCES_H
#define TESTS_SUPPORT_OP_DIFFERENCES_H

/* Prints what is wrong and a summary. only: the name of an op, or NULL. Returns 0 when all is fine. Fails where
 *
 *   - a gradient differs from the differences, or a subset of gradients from all of them
 *   - an op of the table is reached by no case, neither forward nor by a builder
 *   - a gradient of some op and input could be multiplied by 1.01, or lose its last row, without any case noticing */
int op_differences(const char *only);

#endif
