/* ops/dispatch.h - which family function dispatches an op, asks for scratch and counts variants.
 *
 * Family files (elementwise.c, normalisation.c, ...) implement the functions declared below; dispatch.c joins them into
 * one array; table.c copies them into the rows. An op without an entry cannot run on the GPU yet: lk_dispatch_of is
 * NULL. */
#ifndef LK_OPS_DISPATCH_H
#define LK_OPS_DISPATCH_H

#include "ops/table.h"

typedef likeness_status (*lk_dispatch_function)(const lk_dispatch *dispatch, lk_error *error);
typedef size_t (*lk_scratch_function)(const lk_op_call *call, const lk_device *device);
typedef int32_t (*lk_variants_function)(const lk_op_call *call, const lk_device *device);

lk_dispatch_function lk_dispatch_of(lk_op op);
lk_scratch_function lk_scratch_of(lk_op op);   /* NULL: none */
lk_variants_function lk_variants_of(lk_op op); /* NULL: one variant */

#endif
