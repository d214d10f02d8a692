/* tests/support/op_device.c - see op_device.h. */
#include "support/op_device.h"

#include "base/memory.h"
#include "gpu/check.h"
#include "gpu/stream.h"
#include "ops/pack.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { GAP = 192, POISON = 0x7fc0beef };

typedef struct placed {
    bool used;
    uint64_t offset, bytes;
} placed;

typedef struct layout {
    placed input[LK_MAX_INPUTS], output[LK_MAX_OUTPUTS], scratch;
    uint64_t bytes;
} layout;

likeness_status op_device_open(op_device *d, const char *select, uint32_t max_groups_axis, lk_error *error) {
    memset(d, 0, sizeof *d);
    if (select == NULL) select = getenv("LIKENESS_TEST_DEVICE");
    const lk_device_options options = {.select = select, .cache_folder = "", .max_groups_axis = max_groups_axis};
    return lk_device_open(&options, &d->device, error);
}

void op_device_close(op_device *d) {
    lk_block_destroy(d->block);
    lk_device_close(d->device);
    lk_free(d->before);
    lk_free(d->after);
    memset(d, 0, sizeof *d);
}

int32_t op_device_variants(const op_device *d, const lk_op_call *call) {
    const lk_op_row *row = lk_op_row_of(call->op);
    return row->variants != NULL ? row->variants(call, d->device) : 1;
}

static int32_t groups_of(const lk_op_call *call) {
    return call->op == LK_OP_CONV2D || call->op == LK_OP_CONV2D_DX ? call->attributes.conv.groups : 1;
}

static uint64_t operand_bytes(const lk_op_call *call, const lk_tensor *tensor) {
    if (tensor->storage == LK_STORE_ROWS) return lk_tensor_row_bytes(tensor);
    return lk_pack_bytes(&tensor->shape, groups_of(call), tensor->storage);
}

static placed place(layout *l, uint64_t bytes, bool odd) {
    const placed p = {true, (l->bytes + GAP + 63) / 64 * 64 + (odd ? 4 : 0), bytes};
    l->bytes = p.offset + bytes;
    return p;
}

static layout layout_of(const op_device *d, const lk_op_call *call, bool odd) {
    layout l;
    memset(&l, 0, sizeof l);
    for (int i = 0; i < call->input_count; i++) {
        if (call->has_input[i]) l.input[i] = place(&l, operand_bytes(call, &call->input[i]), odd);
    }
    for (int i = 0; i < call->output_count; i++) {
        if (call->has_output[i]) l.output[i] = place(&l, operand_bytes(call, &call->output[i]), odd);
    }
    const lk_op_row *row = lk_op_row_of(call->op);
    const size_t scratch = row->scratch_bytes != NULL ? row->scratch_bytes(call, d->device) : 0;
    if (scratch > 0) l.scratch = place(&l, scratch, odd);
    l.bytes += GAP;
    l.bytes = (l.bytes + 63) / 64 * 64;
    return l;
}

static likeness_status reserve(op_device *d, uint64_t bytes, lk_error *error) {
    if (bytes <= d->room) return LIKENESS_OK;
    lk_block_destroy(d->block);
    lk_free(d->before);
    lk_free(d->after);
    d->block = NULL;
    d->room = bytes * 2 > (UINT64_C(1) << 20) ? bytes + bytes / 4 : UINT64_C(1) << 20;
    d->before = lk_alloc(1, d->room);
    d->after = lk_alloc(1, d->room);
    if (d->before == NULL || d->after == NULL) {
        d->room = 0;
        return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "host memory for an op test");
    }
    return lk_block_create(d->device, d->room, "op test", &d->block, error);
}

/* Writes an operand in its storage. */
static bool store(const lk_op_call *call, const lk_tensor *tensor, const double *values, unsigned char *to) {
    const int64_t count = lk_shape_elements(&tensor->shape);
    uint32_t *words = lk_alloc((size_t)count, sizeof *words);
    if (words == NULL) return false;
    for (int64_t i = 0; i < count; i++) {
        const float real = (float)values[i];
        const int32_t whole = (int32_t)values[i];
        memcpy(&words[i], tensor->dtype == LK_I32 ? (const void *)&whole : (const void *)&real, 4);
    }
    unsigned char *stored = lk_alloc(1, operand_bytes(call, tensor)); /* `to` may be at an odd place */
    if (stored != NULL) {
        if (tensor->storage == LK_STORE_ROWS)
            lk_to_rows(&tensor->shape, words, stored);
        else
            lk_pack_weight(&tensor->shape, groups_of(call), tensor->storage, (const float *)(const void *)words,
                           stored);
        memcpy(to, stored, operand_bytes(call, tensor));
    }
    lk_free(words);
    const bool ok = stored != NULL;
    lk_free(stored);
    return ok;
}

/* Adds to the message; the first few lines matter. */
static void complain(op_outcome *outcome, const char *format, ...) LK_PRINTF(2, 3);
static void complain(op_outcome *outcome, const char *format, ...) {
    const size_t used = strlen(outcome->message);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(outcome->message + used, sizeof outcome->message - used, format, arguments);
    va_end(arguments);
    outcome->fine = false;
}

static void compare_output(const op_device *d, const tape *t, const tape_node *node, const layout *l, int index,
                           const op_options *options, op_outcome *outcome) {
    const double tolerance = options->tolerance > 0 ? options->tolerance : 1e-5;
    const lk_tensor *tensor = &node->call.output[index];
    const lk_shape *shape = &tensor->shape;
    const int64_t count = lk_shape_elements(shape), rows = lk_shape_rows(shape);
    const int32_t ld = lk_shape_ld(shape), inner = lk_shape_inner(shape);
    const double *truth = t->values[node->output[index]].data;
    float *stored = lk_alloc((size_t)rows * (size_t)ld, sizeof *stored);
    float *dense = lk_alloc((size_t)count, sizeof *dense);
    double *found = lk_alloc((size_t)count, sizeof *found);
    if (stored == NULL || dense == NULL || found == NULL) {
        complain(outcome, "host memory is short");
    } else {
        memcpy(stored, d->after + l->output[index].offset, l->output[index].bytes);
        lk_from_rows(shape, stored, dense);
        for (int64_t i = 0; i < count; i++) {
            found[i] = (double)dense[i];
        }
        const double error = options->absolute ? test_difference(found, truth, count) : test_error(found, truth, count);
        if (error > outcome->error) outcome->error = error;
        if (!(error <= tolerance)) {
            outcome->wrong |= 1u << index;
            int64_t worst = 0;
            for (int64_t i = 1; i < count; i++) {
                const double difference = fabs(found[i] - truth[i]);
                if (isnan(found[i]) || difference > fabs(found[worst] - truth[worst])) worst = i;
                if (isnan(found[i])) break;
            }
            char text[96];
            complain(outcome, "output %d %s: error %.3g, e.g. [%lld] is %.9g, should be %.9g\n", index,
                     lk_shape_text(shape, text, sizeof text), error, (long long)worst, found[worst], truth[worst]);
        }
        for (int64_t i = 0; i < rows * ld; i++) {
            uint32_t bits;
            memcpy(&bits, &stored[i], sizeof bits);
            if (i % ld < inner || (bits & 0x7fffffffu) == 0) continue; /* a zero of either sign */
            complain(outcome, "output %d: padding of row %lld, column %d is 0x%08x, not zero\n", index,
                     (long long)(i / ld), (int)(i % ld), (unsigned)bits);
            break;
        }
    }
    lk_free(stored);
    lk_free(dense);
    lk_free(found);
}

static bool inside(const placed *p, uint64_t at) { return p->used && at >= p->offset && at < p->offset + p->bytes; }

/* Everything that is not output or scratch must be as it was. */
static void compare_rest(const op_device *d, const layout *l, op_outcome *outcome) {
    uint64_t at = 0;
    while (at < l->bytes) {
        const placed *skip = inside(&l->scratch, at) ? &l->scratch : NULL;
        for (int i = 0; i < LK_MAX_OUTPUTS && skip == NULL; i++) {
            if (inside(&l->output[i], at)) skip = &l->output[i];
        }
        if (skip != NULL) {
            at = skip->offset + skip->bytes;
            continue;
        }
        if (d->before[at] != d->after[at]) {
            const char *what = "a gap";
            int number = -1;
            for (int i = 0; i < LK_MAX_INPUTS; i++) {
                if (inside(&l->input[i], at)) what = "input", number = i;
            }
            complain(outcome, "byte %llu (%s %d) was changed\n", (unsigned long long)at, what, number);
            return;
        }
        at++;
    }
}

static likeness_status record_and_run(op_device *d, const lk_dispatch *dispatch, const op_options *options,
                                      lk_recording *recording, op_outcome *outcome, lk_error *error) {
    LK_TRY(lk_op_row_of(dispatch->call->op)->dispatch(dispatch, error));
    for (uint32_t i = 0; i < lk_recording_count(recording); i++) {
        const uint64_t groups = lk_recording_command(recording, i)->groups;
        if (groups > outcome->groups) outcome->groups = groups;
    }
    if (options->truth) {
        for (uint32_t i = 0; i < lk_recording_count(recording); i++) {
            lk_buffer_ref memory = lk_block_ref(d->block);
            LK_TRY(lk_check_truth(recording, i, &memory, 1, error));
        }
        return LIKENESS_OK;
    }
    const int repeats = options->repeats > 0 ? options->repeats : 1;
    clock_t begin = clock();
    for (int i = 0; i < repeats; i++) {
        if (i == 1) begin = clock(); /* the first replay may compile */
        LK_TRY(lk_replay(recording, error));
        LK_TRY(lk_recording_wait(recording, error));
        const double seconds = lk_recording_seconds(recording);
        if (i == 0 || seconds < outcome->seconds) outcome->seconds = seconds;
    }
    outcome->processor_seconds = (double)(clock() - begin) / CLOCKS_PER_SEC / (repeats > 1 ? repeats - 1 : 1);
    return LIKENESS_OK;
}

static likeness_status run(op_device *d, const tape *t, const tape_node *node, const op_options *options,
                           const layout *l, op_outcome *outcome, lk_error *error) {
    const lk_op_call *call = &node->call;
    LK_TRY(reserve(d, l->bytes, error));
    const uint32_t poison = POISON;
    for (uint64_t at = 0; at < l->bytes; at += 4) {
        memcpy(d->before + at, &poison, 4);
    }
    for (int i = 0; i < call->input_count; i++) {
        if (call->has_input[i] &&
            !store(call, &call->input[i], t->values[node->input[i]].data, d->before + l->input[i].offset))
            return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "host memory for an op test");
    }
    const lk_buffer_ref all = lk_ref_slice(lk_block_ref(d->block), 0, l->bytes);
    LK_TRY(lk_ref_write(all, 0, d->before, l->bytes, error));
    lk_dispatch dispatch = {
        .device = d->device, .call = call, .label = lk_op_name(call->op), .variant = options->variant};
    for (int i = 0; i < call->input_count; i++) {
        if (call->has_input[i])
            dispatch.input[i] = (lk_operand){call->input[i], lk_ref_slice(all, l->input[i].offset, l->input[i].bytes)};
    }
    for (int i = 0; i < call->output_count; i++) {
        if (call->has_output[i])
            dispatch.output[i] =
                (lk_operand){call->output[i], lk_ref_slice(all, l->output[i].offset, l->output[i].bytes)};
    }
    if (l->scratch.used) dispatch.scratch = lk_ref_slice(all, l->scratch.offset, l->scratch.bytes);
    LK_TRY(lk_recording_create(d->device, NULL, &dispatch.recording, error));
    const likeness_status status = record_and_run(d, &dispatch, options, dispatch.recording, outcome, error);
    lk_recording_destroy(dispatch.recording);
    LK_TRY(status);
    return lk_ref_read(all, 0, d->after, l->bytes, error);
}

void op_device_run(op_device *d, const tape *t, const tape_node *node, const op_options *options, op_outcome *outcome) {
    memset(outcome, 0, sizeof *outcome);
    outcome->has_shader = lk_op_row_of(node->call.op)->dispatch != NULL;
    if (!outcome->has_shader) {
        complain(outcome, "no shader\n");
        return;
    }
    outcome->fine = true;
    const layout l = layout_of(d, &node->call, options->odd);
    lk_error error = LK_ERROR_INIT;
    if (run(d, t, node, options, &l, outcome, &error) != LIKENESS_OK) {
        complain(outcome, "%s\n", error.message);
        return;
    }
    for (int i = 0; i < node->call.output_count; i++) {
        if (node->call.has_output[i]) compare_output(d, t, node, &l, i, options, outcome);
    }
    compare_rest(d, &l, outcome);
}
