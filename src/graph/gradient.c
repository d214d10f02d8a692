/* graph/gradient.c - the vector-Jacobian product: reverse accumulation through the op table's gradient builders.
 *
 * Nodes are visited from the last to the first. A node is entered only if its output has a cotangent and one of its
 * inputs leads to a wanted value; its builder is asked for exactly those inputs. Contributions to one value are added
 * in the order in which they arise, which depends on the graph alone: inside the contribution's own node where its op
 * can (lk_op_addend), else by a node. */
#include "graph/internal.h"

#include "base/memory.h"
#include "graph/build.h"
#include "graph/recompute.h"

#include <string.h>

typedef struct reverse {
    lk_graph *graph;
    bool *leads;          /* [values] a wanted value is reached through this one */
    lk_value *cotangents; /* [values] sum so far, or LK_NO_VALUE */
    int32_t value_count;  /* of the graph before the gradient */
    lk_recompute pieces;
} reverse;

static lk_value emit_node(void *user, lk_op op, const lk_attributes *attributes, const lk_value *inputs,
                          int input_count, uint32_t want_outputs, lk_value out[LK_MAX_OUTPUTS]) {
    return lk_graph_emit(user, op, attributes, inputs, input_count, want_outputs, out);
}

static const lk_tensor *describe_value(void *user, lk_value value) { return lk_graph_tensor(user, value); }

static bool reads(const lk_node *node, lk_value value) {
    for (int i = 0; i < LK_MAX_INPUTS; i++)
        if (node->input[i] == value) return true;
    return false;
}

/* Hands `sum` to the node behind a contribution that this visit has made and nothing reads yet. */
static bool add_inside(lk_graph *graph, lk_value sum, lk_value contribution, int32_t first_node) {
    const lk_value_info *info = &graph->values[contribution], *addend = &graph->values[sum];
    if (info->kind != LK_VALUE_NODE || info->source < first_node || info->slot != 0) return false;
    if (addend->kind == LK_VALUE_NODE && addend->source >= info->source) return false;
    lk_node *node = &graph->nodes[info->source];
    int slot = lk_op_addend(node->call.op);
    if (slot < 0 || node->call.has_input[slot] || addend->tensor.dtype != LK_F32 ||
        !lk_shape_equal(&addend->tensor.shape, &info->tensor.shape))
        return false;
    for (int32_t n = info->source + 1; n < graph->node_count; n++)
        if (reads(&graph->nodes[n], contribution)) return false;
    node->input[slot] = sum;
    node->call.has_input[slot] = true;
    node->call.input[slot] = addend->tensor;
    if (node->call.input_count <= slot) node->call.input_count = slot + 1;
    return true;
}

/* `own`: nothing but this value gets the contribution. */
static void accumulate(reverse *r, lk_value value, lk_value contribution, bool own, int32_t first_node) {
    lk_value *sum = &r->cotangents[value];
    if (*sum == LK_NO_VALUE || (own && add_inside(r->graph, *sum, contribution, first_node)))
        *sum = contribution;
    else
        *sum = lk_add(r->graph, *sum, contribution);
}

/* Through every f32 input, differentiable or not: a derivative that does not exist is refused, not taken as zero. */
static void mark_leads(reverse *r, const lk_value *wrt, int wrt_count) {
    for (int i = 0; i < wrt_count; i++)
        r->leads[wrt[i]] = true;
    for (int32_t n = 0; n < r->graph->node_count; n++) {
        const lk_node *node = &r->graph->nodes[n];
        bool leads = false;
        for (int i = 0; i < node->call.input_count; i++)
            leads = leads ||
                    (node->input[i] != LK_NO_VALUE && node->call.input[i].dtype != LK_I32 && r->leads[node->input[i]]);
        /* A wanted value in the middle of the graph stays a wanted value. */
        for (int i = 0; i < LK_MAX_OUTPUTS && leads; i++)
            if (node->output[i] != LK_NO_VALUE) r->leads[node->output[i]] = true;
    }
}

static void visit(reverse *r, int32_t index) {
    lk_graph *graph = r->graph;
    lk_node_view view;
    memset(&view, 0, sizeof view);
    lk_attributes attributes = graph->nodes[index].call.attributes; /* the array of nodes moves while we append */
    const lk_node *node = &graph->nodes[index];
    lk_value upstream[LK_MAX_OUTPUTS], grads[LK_MAX_INPUTS], inputs[LK_MAX_INPUTS];
    bool any_upstream = false;
    uint32_t wanted = 0;
    const lk_op_row *row = lk_op_row_of(node->call.op);
    for (int i = 0; i < LK_MAX_OUTPUTS; i++) {
        upstream[i] = node->output[i] == LK_NO_VALUE ? LK_NO_VALUE : r->cotangents[node->output[i]];
        any_upstream = any_upstream || upstream[i] != LK_NO_VALUE;
        view.output[i] = lk_recompute_value(&r->pieces, node->output[i]);
    }
    for (int i = 0; i < LK_MAX_INPUTS; i++) {
        inputs[i] = node->input[i];
        view.input[i] = lk_recompute_value(&r->pieces, inputs[i]);
        grads[i] = LK_NO_VALUE;
        if (inputs[i] != LK_NO_VALUE && node->call.input[i].dtype != LK_I32 && r->leads[inputs[i]]) wanted |= 1u << i;
    }
    if (!any_upstream || wanted == 0) return;
    int32_t first_node = graph->node_count;
    view.op = node->call.op;
    view.attributes = &attributes;
    view.input_count = node->call.input_count;
    view.output_count = node->call.output_count;
    graph->scope = (lk_scope){.depth = 0}; /* a backward node is named by its forward node alone */
    lk_graph_push_scope(graph, "d:%s", node->name);
    lk_emitter emitter = {graph, emit_node, describe_value};
    lk_error error = LK_ERROR_INIT;
    likeness_status status = LIKENESS_OK;
    if (!row->gradient || (wanted & ~row->differentiable))
        status = lk_fail(&error, LIKENESS_UNSUPPORTED, "%s has no gradient for the inputs that a wanted value leads to",
                         lk_op_name(view.op));
    else
        status = row->gradient(&emitter, &view, upstream, wanted, grads, &error);
    if (status != LIKENESS_OK) lk_graph_fail(graph, status, "%s", error.message);
    for (int i = 0; i < LK_MAX_INPUTS && graph->error.status == LIKENESS_OK; i++) {
        if (!(wanted >> i & 1u) || grads[i] == LK_NO_VALUE) continue;
        int users = 0;
        for (int k = 0; k < LK_MAX_INPUTS; k++)
            users += (wanted >> k & 1u) && grads[k] == grads[i];
        accumulate(r, inputs[i], grads[i], users == 1, first_node);
    }
}

/* Outputs and cotangents fit each other, and every wanted value exists. */
static bool check_arguments(lk_graph *graph, const lk_value *outputs, const lk_value *cotangents, int output_count,
                            const lk_value *wrt, int wrt_count) {
    char have[80], want[80];
    for (int i = 0; i < output_count; i++) {
        if (outputs[i] < 0 || outputs[i] >= graph->value_count || cotangents[i] < 0 ||
            cotangents[i] >= graph->value_count) {
            lk_graph_fail(graph, LIKENESS_INTERNAL, "gradient: output %d or its cotangent is no value of this graph",
                          i);
            return false;
        }
        const lk_tensor *output = lk_graph_tensor(graph, outputs[i]),
                        *cotangent = lk_graph_tensor(graph, cotangents[i]);
        if (lk_shape_equal(&output->shape, &cotangent->shape) && cotangent->dtype == LK_F32) continue;
        lk_graph_fail(graph, LIKENESS_INTERNAL, "gradient: output %d is %s but its cotangent is %s%s", i,
                      lk_shape_text(&output->shape, want, sizeof want),
                      lk_shape_text(&cotangent->shape, have, sizeof have),
                      cotangent->dtype == LK_F32 ? "" : " and not f32");
        return false;
    }
    for (int i = 0; i < wrt_count; i++)
        if (wrt[i] < 0 || wrt[i] >= graph->value_count) {
            lk_graph_fail(graph, LIKENESS_INTERNAL, "gradient: wanted value %d is no value of this graph", i);
            return false;
        }
    return true;
}

void lk_graph_recompute(lk_graph *graph, int32_t pieces) { graph->pieces = pieces; }

int lk_graph_gradient(lk_graph *graph, const lk_value *outputs, const lk_value *cotangents, int output_count,
                      const lk_value *wrt, int wrt_count, lk_value *gradients) {
    for (int i = 0; i < wrt_count; i++)
        gradients[i] = LK_NO_VALUE;
    if (graph->error.status != LIKENESS_OK) return -1;
    if (!check_arguments(graph, outputs, cotangents, output_count, wrt, wrt_count)) return -1;
    reverse r = {.graph = graph, .value_count = graph->value_count};
    r.leads = lk_alloc((size_t)r.value_count + 1, sizeof *r.leads);
    r.cotangents = lk_alloc((size_t)r.value_count + 1, sizeof *r.cotangents);
    if (!r.leads || !r.cotangents) {
        lk_free(r.leads);
        lk_free(r.cotangents);
        lk_graph_fail(graph, LIKENESS_OUT_OF_MEMORY, "no memory for a gradient of %d values", (int)r.value_count);
        return -1;
    }
    if (!lk_recompute_open(&r.pieces, graph, graph->pieces > 1 ? graph->pieces : 1)) {
        lk_free(r.leads);
        lk_free(r.cotangents);
        return -1;
    }
    int section = graph->section_count++;
    int32_t last_node = graph->node_count - 1;
    lk_scope scope = graph->scope;
    for (int32_t i = 0; i < r.value_count; i++)
        r.cotangents[i] = LK_NO_VALUE;
    mark_leads(&r, wrt, wrt_count);
    for (int i = 0; i < output_count; i++)
        accumulate(&r, outputs[i], cotangents[i], false, last_node + 1);
    for (int32_t piece = r.pieces.count - 1; piece >= 0; piece--) {
        lk_recompute_piece(&r.pieces, graph, piece);
        for (int32_t n = r.pieces.cut[piece + 1] - 1; n >= r.pieces.cut[piece]; n--)
            if (graph->error.status == LIKENESS_OK) visit(&r, n);
    }
    graph->scope = scope;
    for (int i = 0; i < wrt_count && graph->error.status == LIKENESS_OK; i++)
        gradients[i] = r.cotangents[wrt[i]];
    lk_recompute_close(&r.pieces);
    lk_free(r.leads);
    lk_free(r.cotangents);
    return graph->error.status == LIKENESS_OK ? section : -1;
}
