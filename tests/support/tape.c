/* tests/support/tape.c - see tape.h. */
#include "support/tape.h"

#include "base/memory.h"
#include "reference/reference.h"

#include <math.h>
#include <string.h>

void tape_init(tape *t, bool round) {
    memset(t, 0, sizeof *t);
    t->round = round;
}

void tape_free(tape *t) {
    for (int32_t i = 0; i < t->value_count; i++) {
        lk_free(t->values[i].data);
    }
    lk_free(t->values);
    lk_free(t->nodes);
    memset(t, 0, sizeof *t);
}

static lk_value tape_add_value(tape *t, const lk_tensor *tensor) {
    if (t->value_count == t->value_room) {
        int32_t room = t->value_room * 2 + 64;
        tape_value *values = lk_realloc(t->values, (size_t)room, sizeof *values);
        if (values == NULL) {
            lk_fail(&t->error, LIKENESS_OUT_OF_MEMORY, "tape");
            return LK_NO_VALUE;
        }
        t->values = values;
        t->value_room = room;
    }
    double *data = lk_alloc((size_t)lk_shape_elements(&tensor->shape), sizeof *data);
    if (data == NULL) {
        lk_fail(&t->error, LIKENESS_OUT_OF_MEMORY, "tape");
        return LK_NO_VALUE;
    }
    t->values[t->value_count] = (tape_value){*tensor, data};
    return t->value_count++;
}

lk_value tape_leaf(tape *t, const lk_tensor *tensor, const double *data) {
    lk_value value = tape_add_value(t, tensor);
    if (value != LK_NO_VALUE)
        memcpy(t->values[value].data, data, (size_t)lk_shape_elements(&tensor->shape) * sizeof *data);
    return value;
}

static bool tape_compute(tape *t, const tape_node *node) {
    if (t->blank) return true;
    const double *in[LK_MAX_INPUTS] = {NULL};
    double *out[LK_MAX_OUTPUTS] = {NULL};
    for (int i = 0; i < LK_MAX_INPUTS; i++) {
        if (node->input[i] != LK_NO_VALUE) in[i] = t->values[node->input[i]].data;
    }
    for (int i = 0; i < LK_MAX_OUTPUTS; i++) {
        if (node->output[i] != LK_NO_VALUE) out[i] = t->values[node->output[i]].data;
    }
    if (!lk_reference_run(&node->call, in, out)) {
        lk_fail(&t->error, LIKENESS_INTERNAL, "the reference refuses %s", lk_op_name(node->call.op));
        return false;
    }
    for (int i = 0; i < LK_MAX_OUTPUTS && t->round; i++) {
        for (int64_t k = 0; out[i] != NULL && k < tape_elements(t, node->output[i]); k++) {
            out[i][k] = (double)(float)out[i][k];
        }
    }
    return true;
}

lk_value tape_emit(tape *t, lk_op op, const lk_attributes *attributes, const lk_value *inputs, int input_count,
                   uint32_t want_outputs, lk_value out[LK_MAX_OUTPUTS]) {
    if (t->error.status != LIKENESS_OK) return LK_NO_VALUE;
    tape_node node;
    memset(&node, 0, sizeof node);
    node.call.op = op;
    if (attributes != NULL) node.call.attributes = *attributes;
    for (int i = 0; i < LK_MAX_INPUTS; i++) {
        node.input[i] = i < input_count ? inputs[i] : LK_NO_VALUE;
        if (node.input[i] == LK_NO_VALUE) continue;
        node.call.input_count = i + 1;
        node.call.has_input[i] = true;
        node.call.input[i] = t->values[node.input[i]].tensor;
    }
    for (int i = 0; i < LK_MAX_OUTPUTS; i++) {
        node.output[i] = LK_NO_VALUE;
        node.call.has_output[i] = (want_outputs >> i & 1u) != 0;
    }
    if (lk_op_row_of(op)->shape(&node.call, &t->error) != LIKENESS_OK) return LK_NO_VALUE;
    lk_value first = LK_NO_VALUE;
    for (int i = 0; i < node.call.output_count; i++) {
        if (!node.call.has_output[i]) continue;
        node.output[i] = tape_add_value(t, &node.call.output[i]);
        if (node.output[i] == LK_NO_VALUE) return LK_NO_VALUE;
        if (first == LK_NO_VALUE) first = node.output[i];
    }
    if (t->node_count == t->node_room) {
        int32_t room = t->node_room * 2 + 32;
        tape_node *nodes = lk_realloc(t->nodes, (size_t)room, sizeof *nodes);
        if (nodes == NULL) {
            lk_fail(&t->error, LIKENESS_OUT_OF_MEMORY, "tape");
            return LK_NO_VALUE;
        }
        t->nodes = nodes;
        t->node_room = room;
    }
    if (!tape_compute(t, &node)) return LK_NO_VALUE;
    t->nodes[t->node_count++] = node;
    if (out != NULL) memcpy(out, node.output, sizeof node.output);
    return first;
}

static lk_value tape_emitter_emit(void *user, lk_op op, const lk_attributes *attributes, const lk_value *inputs,
                                  int input_count, uint32_t want_outputs, lk_value out[LK_MAX_OUTPUTS]) {
    return tape_emit(user, op, attributes, inputs, input_count, want_outputs, out);
}

static const lk_tensor *tape_emitter_describe(void *user, lk_value value) {
    const tape *t = user;
    return &t->values[value].tensor;
}

lk_emitter tape_emitter(tape *t) { return (lk_emitter){t, tape_emitter_emit, tape_emitter_describe}; }

/* The attributes stay inside the tape: do not append nodes while the view is in use by the caller; tape_gradient
 * copies. */
lk_node_view tape_view(const tape *t, int32_t index) {
    const tape_node *node = &t->nodes[index];
    lk_node_view view = {.op = node->call.op,
                         .attributes = &node->call.attributes,
                         .input_count = node->call.input_count,
                         .output_count = node->call.output_count};
    memcpy(view.input, node->input, sizeof view.input);
    memcpy(view.output, node->output, sizeof view.output);
    return view;
}

bool tape_rerun(tape *t, int32_t nodes) {
    for (int32_t i = 0; i < nodes; i++) {
        if (!tape_compute(t, &t->nodes[i])) return false;
    }
    return true;
}

static lk_value tape_sum(tape *t, lk_value a, lk_value b) {
    if (a == LK_NO_VALUE) return b;
    lk_attributes add = lk_attributes_zero();
    add.binary.kind = LK_BINARY_ADD;
    return tape_emit(t, LK_OP_BINARY, &add, (lk_value[]){a, b}, 2, 1, NULL);
}

bool tape_gradient(tape *t, lk_value y, lk_value cotangent, const lk_value *wrt, int wrt_count, lk_value *gradients) {
    const int32_t values = t->value_count, nodes = t->node_count;
    lk_value *of = lk_alloc((size_t)values, sizeof *of);
    bool *needed = lk_alloc((size_t)values, sizeof *needed); /* depends on a wrt */
    bool ok = of != NULL && needed != NULL;
    for (int32_t i = 0; i < values && ok; i++) {
        of[i] = LK_NO_VALUE;
    }
    for (int i = 0; i < wrt_count && ok; i++) {
        needed[wrt[i]] = true;
    }
    for (int32_t n = 0; n < nodes && ok; n++) {
        bool any = false;
        for (int i = 0; i < LK_MAX_INPUTS; i++) {
            any = any || (t->nodes[n].input[i] != LK_NO_VALUE && needed[t->nodes[n].input[i]]);
        }
        for (int i = 0; i < LK_MAX_OUTPUTS && any; i++) {
            if (t->nodes[n].output[i] != LK_NO_VALUE) needed[t->nodes[n].output[i]] = true;
        }
    }
    if (ok) of[y] = cotangent;
    for (int32_t n = nodes - 1; n >= 0 && ok; n--) {
        const tape_node node = t->nodes[n]; /* a copy: appending may move the array */
        lk_node_view view = tape_view(t, n);
        view.attributes = &node.call.attributes;
        lk_value upstream[LK_MAX_OUTPUTS], grads[LK_MAX_INPUTS];
        bool any = false;
        for (int i = 0; i < LK_MAX_OUTPUTS; i++) {
            upstream[i] = node.output[i] == LK_NO_VALUE ? LK_NO_VALUE : of[node.output[i]];
            any = any || upstream[i] != LK_NO_VALUE;
        }
        uint32_t wanted = 0;
        for (int i = 0; i < LK_MAX_INPUTS; i++) {
            if (node.input[i] != LK_NO_VALUE && needed[node.input[i]]) wanted |= 1u << i;
        }
        if (!any || wanted == 0) continue;
        const lk_op_row *row = lk_op_row_of(node.call.op);
        const lk_emitter emitter = tape_emitter(t);
        if (row->gradient == NULL) {
            lk_fail(&t->error, LIKENESS_UNSUPPORTED, "%s has no gradient", lk_op_name(node.call.op));
            ok = false;
            break;
        }
        lk_error error = LK_ERROR_INIT;
        if (row->gradient(&emitter, &view, upstream, wanted, grads, &error) != LIKENESS_OK) {
            lk_fail(&t->error, error.status, "%s", error.message);
            ok = false;
        }
        for (int i = 0; i < LK_MAX_INPUTS && ok; i++) {
            if ((wanted >> i & 1u) != 0) of[node.input[i]] = tape_sum(t, of[node.input[i]], grads[i]);
        }
        ok = ok && t->error.status == LIKENESS_OK;
    }
    for (int i = 0; i < wrt_count && ok; i++) {
        gradients[i] = of[wrt[i]];
    }
    lk_free(of);
    lk_free(needed);
    return ok;
}

double test_uniform(test_random *random, double low, double high) {
    /* A 64-bit counter through a finaliser of multiplications and shifts. */
    uint64_t z = random->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    z ^= z >> 31;
    return low + (high - low) * ((double)(z >> 11) * 0x1p-53);
}

double test_error(const double *a, const double *b, int64_t count) {
    double difference = 0, truth = 0, largest = 0;
    for (int64_t i = 0; i < count; i++) {
        if (a[i] == b[i]) { /* also equal infinities */
            truth += isfinite(b[i]) ? b[i] * b[i] : 0;
            continue;
        }
        const double d = fabs(a[i] - b[i]);
        if (!isfinite(d)) return INFINITY;
        difference += d * d;
        truth += b[i] * b[i];
        if (d > largest) largest = d;
    }
    if (difference == 0) return 0;
    if (truth == 0) return INFINITY;
    const double relative = sqrt(difference / truth), spike = largest / (20 * sqrt(truth / (double)count));
    return relative > spike ? relative : spike;
}

double test_difference(const double *a, const double *b, int64_t count) {
    double largest = 0;
    for (int64_t i = 0; i < count; i++) {
        const double d = a[i] == b[i] ? 0 : fabs(a[i] - b[i]);
        if (!isfinite(d)) return INFINITY;
        if (d > largest) largest = d;
    }
    return largest;
}
