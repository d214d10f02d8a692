/* ops/dispatch.c - the array behind ops/dispatch.h: one line an op. */
#include "ops/dispatch.h"

#include <stddef.h>

typedef struct lk_dispatch_entry {
    lk_dispatch_function dispatch;
    lk_scratch_function scratch;
    lk_variants_function variants;
} lk_dispatch_entry;

static const lk_dispatch_entry lk_dispatch_entries[LK_OP_COUNT] = {
    /* matmul, convolution, attention */

    /* everything else */
    [LK_OP_GROUP_NORM] = {NULL, NULL, NULL},
};

lk_dispatch_function lk_dispatch_of(lk_op op) { return lk_dispatch_entries[op].dispatch; }
lk_scratch_function lk_scratch_of(lk_op op) { return lk_dispatch_entries[op].scratch; }
lk_variants_function lk_variants_of(lk_op op) { return lk_dispatch_entries[op].variants; }
