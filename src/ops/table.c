/* ops/table.c - joins rules (ops/rules.h, no GPU) and dispatch (ops/dispatch.h) into the rows of the op table. */
#include "ops/table.h"

#include "gpu/stream.h"
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

/* ---- mutation check ---- */

static lk_mutation lk_mutations[LK_OP_COUNT];
static int32_t lk_mutated_variants[LK_OP_COUNT]; /* the first so many; 0: all */

static likeness_status lk_spoil(const lk_dispatch *d, const lk_operand *result, lk_mutation mutation, lk_error *error) {
    if (mutation == LK_MUTATION_LAST_ROW) {
        const uint64_t row = (uint64_t)lk_shape_ld(&result->tensor.shape) * lk_dtype_bytes(result->tensor.dtype);
        const uint64_t rows = (uint64_t)lk_shape_rows(&result->tensor.shape);
        return lk_record_fill(d->recording, lk_ref_slice(result->ref, (rows - 1) * row, row), 0, error);
    }
    lk_op_call call = {.op = LK_OP_UNARY, .attributes = lk_attributes_zero(), .input_count = 1, .output_count = 1};
    call.attributes.unary.kind = LK_UNARY_AFFINE;
    call.attributes.unary.a = 1.01f;
    call.has_input[0] = call.has_output[0] = true;
    call.input[0] = call.output[0] = result->tensor;
    lk_dispatch scale = {.device = d->device, .recording = d->recording, .call = &call, .label = d->label};
    scale.input[0] = scale.output[0] = *result; /* in place: each element is read and written by one thread */
    return lk_dispatch_of(LK_OP_UNARY)(&scale, error);
}

static likeness_status lk_dispatch_mutated(const lk_dispatch *d, lk_error *error) {
    LK_TRY(lk_dispatch_of(d->call->op)(d, error));
    int32_t first = lk_mutated_variants[d->call->op];
    if (first > 0 && d->variant > first) return LIKENESS_OK;
    for (int i = 0; i < d->call->output_count; i++) {
        if (d->call->has_output[i]) LK_TRY(lk_spoil(d, &d->output[i], lk_mutations[d->call->op], error));
    }
    return LIKENESS_OK;
}

void lk_op_mutate(lk_op op, lk_mutation mutation) {
    lk_op_row_of(op); /* filled */
    lk_mutations[op] = mutation;
    lk_mutated_variants[op] = 0;
    lk_op_rows[op].dispatch = mutation == LK_MUTATION_NONE ? lk_dispatch_of(op) : lk_dispatch_mutated;
}

void lk_op_mutate_first(lk_op op, lk_mutation mutation, int32_t variants) {
    lk_op_mutate(op, mutation);
    lk_mutated_variants[op] = variants;
}
