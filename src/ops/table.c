/* ops/table.c - joins rules (ops/rules.h, no GPU) and dispatch (ops/dispatch.h) into the rows of the op table. */
#include "ops/table.h"

#include "ops/dispatch.h"
#include "ops/rules.h"

#include <stdatomic.h>

static lk_op_row lk_op_rows[LK_OP_COUNT];

static void lk_op_rows_fill(void) {
    for (int i = 0; i < LK_OP_COUNT; i++) {
        const lk_rule *rule = lk_rule_of((lk_op)i);
        lk_op_rows[i] = (lk_op_row){
            .shape = lk_rule_run_shape,
            .differentiable = rule->differentiable,
            .gradient = rule->gradient != NULL ? lk_rule_run_gradient : NULL,
            .scratch_bytes = lk_scratch_of((lk_op)i),
            .dispatch = lk_dispatch_of((lk_op)i),
            .cost = lk_rule_run_cost,
            .variants = lk_variants_of((lk_op)i),
        };
    }
}

const lk_op_row *lk_op_row_of(lk_op op) {
    /* Filled by the first caller; others that come meanwhile wait the microsecond it takes. */
    enum { EMPTY, FILLING, READY };
    static atomic_int state = EMPTY;
    int seen = atomic_load_explicit(&state, memory_order_acquire);
    while (seen != READY) {
        int expected = EMPTY;
        if (seen == EMPTY && atomic_compare_exchange_strong(&state, &expected, FILLING)) {
            lk_op_rows_fill();
            atomic_store_explicit(&state, READY, memory_order_release);
        }
        seen = atomic_load_explicit(&state, memory_order_acquire);
    }
    return &lk_op_rows[op];
}
