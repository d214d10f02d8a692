/* graph/graph.c - building: values, nodes, scopes, the sticky error. */
#include "graph/internal.h"

#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

lk_graph *lk_graph_create(lk_weights *weights, lk_error *error) {
    lk_graph *graph = lk_alloc(1, sizeof *graph);
    if (!graph) {
        lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for a graph");
        return NULL;
    }
    graph->weights = weights;
    graph->section_count = 1;
    return graph;
}

void lk_graph_destroy(lk_graph *graph) {
    if (!graph) return;
    for (int32_t i = 0; i < graph->node_count; i++)
        lk_free(graph->nodes[i].name);
    for (int32_t i = 0; i < graph->input_count; i++)
        lk_free(graph->input_names[i]);
    lk_free(graph->input_names);
    lk_free(graph->nodes);
    lk_free(graph->values);
    lk_free(graph->weight_values);
    lk_free(graph);
}

likeness_status lk_graph_status(const lk_graph *graph, lk_error *error) {
    if (graph->error.status == LIKENESS_OK) return LIKENESS_OK;
    return lk_fail(error, graph->error.status, "%s", graph->error.message);
}

void lk_graph_fail(lk_graph *graph, likeness_status status, const char *format, ...) {
    char message[sizeof graph->error.message];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    lk_fail(&graph->error, status, "%s%s%s", graph->scope.text, graph->scope.depth ? ": " : "", message);
}

/* Room for one more element; false (and the sticky error) when memory is out. */
static bool grow(lk_graph *graph, void **array, int32_t count, int32_t *capacity, size_t size) {
    if (count < *capacity) return true;
    int32_t wanted = *capacity ? *capacity * 2 : 64;
    void *grown = lk_realloc(*array, (size_t)wanted, size);
    if (!grown) {
        lk_graph_fail(graph, LIKENESS_OUT_OF_MEMORY, "no memory for a graph of %d entries", (int)wanted);
        return false;
    }
    *array = grown;
    *capacity = wanted;
    return true;
}

static lk_value add_value(lk_graph *graph, const lk_tensor *tensor, lk_value_kind kind, int32_t source, int32_t slot) {
    if (!grow(graph, (void **)&graph->values, graph->value_count, &graph->value_capacity, sizeof *graph->values))
        return LK_NO_VALUE;
    graph->values[graph->value_count] = (lk_value_info){*tensor, kind, source, slot, false};
    return graph->value_count++;
}

lk_value lk_graph_input(lk_graph *graph, const char *name, lk_shape shape, lk_dtype dtype) {
    if (graph->error.status != LIKENESS_OK) return LK_NO_VALUE;
    char text[80];
    if (!lk_shape_valid(&shape) || (dtype != LK_F32 && dtype != LK_I32)) {
        lk_graph_fail(graph, LIKENESS_INTERNAL, "input %s: bad shape %s or type", name,
                      lk_shape_text(&shape, text, sizeof text));
        return LK_NO_VALUE;
    }
    lk_tensor tensor = {shape, dtype, LK_STORE_ROWS};
    if (!grow(graph, (void **)&graph->input_names, graph->input_count, &graph->input_capacity,
              sizeof *graph->input_names))
        return LK_NO_VALUE;
    char *copy = lk_strdup(name);
    if (!copy) lk_graph_fail(graph, LIKENESS_OUT_OF_MEMORY, "no memory for the input %s", name);
    lk_value value = copy ? add_value(graph, &tensor, LK_VALUE_INPUT, graph->input_count, 0) : LK_NO_VALUE;
    if (value == LK_NO_VALUE)
        lk_free(copy);
    else
        graph->input_names[graph->input_count++] = copy;
    return value;
}

lk_value lk_graph_weight(lk_graph *graph, int32_t index) {
    if (graph->error.status != LIKENESS_OK) return LK_NO_VALUE;
    if (!graph->weights || index < 0 || index >= graph->weights->count) {
        lk_graph_fail(graph, LIKENESS_INTERNAL, "weight %d does not exist", (int)index);
        return LK_NO_VALUE;
    }
    if (index >= graph->weight_capacity) {
        int32_t capacity = graph->weights->count;
        lk_value *grown = lk_realloc(graph->weight_values, (size_t)capacity, sizeof *grown);
        if (!grown) {
            lk_graph_fail(graph, LIKENESS_OUT_OF_MEMORY, "no memory for a graph's weights");
            return LK_NO_VALUE;
        }
        for (int32_t i = graph->weight_capacity; i < capacity; i++)
            grown[i] = LK_NO_VALUE;
        graph->weight_values = grown;
        graph->weight_capacity = capacity;
    }
    if (graph->weight_values[index] == LK_NO_VALUE)
        graph->weight_values[index] = add_value(graph, &graph->weights->items[index].tensor, LK_VALUE_WEIGHT, index, 0);
    return graph->weight_values[index];
}

lk_value lk_graph_weight_named(lk_graph *graph, const char *name) {
    if (graph->error.status != LIKENESS_OK) return LK_NO_VALUE;
    int32_t index = graph->weights ? lk_weights_find(graph->weights, name) : -1;
    if (index >= 0) return lk_graph_weight(graph, index);
    lk_graph_fail(graph, LIKENESS_BAD_FILE, "the weight %s is missing", name);
    return LK_NO_VALUE;
}

void lk_graph_output(lk_graph *graph, lk_value value, const char *name) {
    if (graph->error.status != LIKENESS_OK) return;
    if (value < 0 || value >= graph->value_count)
        lk_graph_fail(graph, LIKENESS_INTERNAL, "output %s: is no value of this graph", name);
    else if (graph->values[value].kind == LK_VALUE_WEIGHT)
        lk_graph_fail(graph, LIKENESS_INTERNAL, "output %s: is a weight", name);
    else
        graph->values[value].output = true;
}

const lk_tensor *lk_graph_tensor(const lk_graph *graph, lk_value value) {
    static const lk_tensor none;
    return value >= 0 && value < graph->value_count ? &graph->values[value].tensor : &none;
}

lk_shape lk_graph_shape(const lk_graph *graph, lk_value value) { return lk_graph_tensor(graph, value)->shape; }

void lk_graph_push_scope(lk_graph *graph, const char *format, ...) {
    lk_scope *scope = &graph->scope;
    size_t used = strlen(scope->text);
    if (scope->depth < LK_SCOPE_DEPTH) scope->length[scope->depth] = (uint16_t)used;
    if (scope->depth++ >= LK_SCOPE_DEPTH) return;
    if (used > 0 && used + 1 < sizeof scope->text) scope->text[used++] = '/';
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(scope->text + used, sizeof scope->text - used, format, arguments);
    va_end(arguments);
}

void lk_graph_pop_scope(lk_graph *graph) {
    lk_scope *scope = &graph->scope;
    if (scope->depth > 0 && --scope->depth < LK_SCOPE_DEPTH) scope->text[scope->length[scope->depth]] = 0;
}

int32_t lk_graph_node_count(const lk_graph *graph) { return graph->node_count; }

lk_graph_node_info lk_graph_node(const lk_graph *graph, int32_t index) {
    const lk_node *node = &graph->nodes[index];
    return (lk_graph_node_info){&node->call, node->name, node->section};
}

lk_cost lk_graph_cost(const lk_graph *graph, int section) {
    lk_cost sum = {0, 0};
    for (int32_t i = 0; i < graph->node_count; i++) {
        if (graph->nodes[i].section != section) continue;
        lk_cost cost = lk_op_row_of(graph->nodes[i].call.op)->cost(&graph->nodes[i].call);
        sum.flops += cost.flops;
        sum.bytes += cost.bytes;
    }
    return sum;
}

/* Checks inputs, runs the shape rule; fills call and node inputs. */
static bool fill_call(lk_graph *graph, lk_node *node, const lk_value *inputs, int input_count, uint32_t want_outputs) {
    lk_op_call *call = &node->call;
    for (int i = 0; i < LK_MAX_INPUTS; i++)
        node->input[i] = LK_NO_VALUE;
    for (int i = 0; i < LK_MAX_OUTPUTS; i++)
        node->output[i] = LK_NO_VALUE;
    for (int i = 0; i < input_count && i < LK_MAX_INPUTS; i++) {
        if (inputs[i] == LK_NO_VALUE) continue;
        if (inputs[i] < 0 || inputs[i] >= graph->value_count) {
            lk_graph_fail(graph, LIKENESS_INTERNAL, "%s: input %d is no value of this graph", lk_op_name(call->op), i);
            return false;
        }
        node->input[i] = inputs[i];
        call->has_input[i] = true;
        call->input[i] = graph->values[inputs[i]].tensor;
        call->input_count = i + 1;
    }
    for (int i = 0; i < LK_MAX_OUTPUTS; i++)
        if (want_outputs & (1u << i)) {
            call->has_output[i] = true;
            call->output_count = i + 1;
        }
    lk_error error = LK_ERROR_INIT;
    if (lk_op_row_of(call->op)->shape(call, &error) == LIKENESS_OK) return true;
    lk_graph_fail(graph, error.status, "%s", error.message);
    return false;
}

lk_value lk_graph_emit(lk_graph *graph, lk_op op, const lk_attributes *attributes, const lk_value *inputs,
                       int input_count, uint32_t want_outputs, lk_value out[LK_MAX_OUTPUTS]) {
    for (int i = 0; out && i < LK_MAX_OUTPUTS; i++)
        out[i] = LK_NO_VALUE;
    if (graph->error.status != LIKENESS_OK) return LK_NO_VALUE;
    lk_node node;
    memset(&node, 0, sizeof node);
    node.call.op = op;
    if (attributes) node.call.attributes = *attributes;
    node.section = graph->section_count - 1;
    if (!fill_call(graph, &node, inputs, input_count, want_outputs)) return LK_NO_VALUE;
    if (!grow(graph, (void **)&graph->nodes, graph->node_count, &graph->node_capacity, sizeof *graph->nodes))
        return LK_NO_VALUE;
    lk_value first = LK_NO_VALUE;
    for (int i = 0; i < LK_MAX_OUTPUTS; i++) {
        if (!node.call.has_output[i]) continue;
        node.output[i] = add_value(graph, &node.call.output[i], LK_VALUE_NODE, graph->node_count, i);
        if (node.output[i] == LK_NO_VALUE) return LK_NO_VALUE;
        if (first == LK_NO_VALUE) first = node.output[i];
        if (out) out[i] = node.output[i];
    }
    char name[320];
    snprintf(name, sizeof name, "%s%s%s", graph->scope.text, graph->scope.depth ? "/" : "", lk_op_name(op));
    node.name = lk_strdup(name);
    if (!node.name) {
        lk_graph_fail(graph, LIKENESS_OUT_OF_MEMORY, "no memory for a node's name");
        return LK_NO_VALUE;
    }
    graph->nodes[graph->node_count++] = node;
    return first;
}

/* The storage order of a shape is its logical order when the inner axis is the last one and unpadded. */
static bool storage_is_logical(const lk_shape *shape) {
    if (shape->rank == 4) return lk_shape_ld(shape) == shape->dim[1] && shape->dim[2] * shape->dim[3] == 1;
    return lk_shape_ld(shape) == lk_shape_inner(shape);
}

bool lk_node_is_alias(const lk_node *node) {
    const lk_op_call *call = &node->call;
    if (call->op == LK_OP_TO_TOKENS || call->op == LK_OP_FROM_TOKENS) return true;
    if (call->op != LK_OP_RESHAPE) return false;
    const lk_shape *a = &call->input[0].shape, *b = &call->output[0].shape;
    if (lk_shape_equal(a, b)) return true;
    if (storage_is_logical(a) && storage_is_logical(b)) return true;
    /* Rows that keep their length, whatever is outside: [N,L,C] and [N*L,C]. */
    return a->rank != 4 && b->rank != 4 && a->rank > 0 && b->rank > 0 && lk_shape_inner(a) == lk_shape_inner(b);
}
