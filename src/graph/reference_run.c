/* graph/reference_run.c - a whole graph through the C reference in double; needs no device. */
#include "graph/internal.h"

#include "base/memory.h"
#include "reference/reference.h"

struct lk_reference_run_t {
    int32_t count;
    double **values;
};

void lk_reference_values_destroy(lk_reference_values *values) {
    if (!values) return;
    for (int32_t i = 0; i < values->count; i++)
        lk_free(values->values[i]);
    lk_free(values->values);
    lk_free(values);
}

const double *lk_reference_value(const lk_reference_values *values, lk_value value) {
    return value >= 0 && value < values->count ? values->values[value] : NULL;
}

static likeness_status out_of_memory(lk_error *error) {
    return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to run a graph through the reference");
}

static likeness_status load_weight(const lk_graph *graph, int32_t index, double *out, int64_t count, lk_error *error) {
    float *dense = lk_alloc((size_t)count, sizeof *dense);
    if (!dense) return out_of_memory(error);
    likeness_status status = lk_weight_values(graph->weights, index, dense, error);
    bool integers = graph->weights->items[index].role == LK_WEIGHT_INDEX;
    for (int64_t i = 0; i < count && status == LIKENESS_OK; i++)
        out[i] = integers ? (double)((const int32_t *)(const void *)dense)[i] : (double)dense[i];
    lk_free(dense);
    return status;
}

static likeness_status run_node(lk_reference_values *run, const lk_node *node, lk_error *error) {
    const double *in[LK_MAX_INPUTS] = {NULL};
    double *out[LK_MAX_OUTPUTS] = {NULL};
    for (int i = 0; i < LK_MAX_INPUTS; i++)
        if (node->input[i] != LK_NO_VALUE) in[i] = run->values[node->input[i]];
    for (int i = 0; i < LK_MAX_OUTPUTS; i++)
        if (node->output[i] != LK_NO_VALUE) out[i] = run->values[node->output[i]];
    if (!lk_reference_run(&node->call, in, out))
        return lk_fail(error, LIKENESS_INTERNAL, "%s: the reference does not define this call", node->name);
    return LIKENESS_OK;
}

lk_reference_values *lk_graph_run_reference(const lk_graph *graph, const double *const *inputs, lk_error *error) {
    if (lk_graph_status(graph, error) != LIKENESS_OK) return NULL;
    lk_reference_values *run = lk_alloc(1, sizeof *run);
    likeness_status status = LIKENESS_OK;
    if (run) run->values = lk_alloc((size_t)graph->value_count + 1, sizeof *run->values);
    if (!run || !run->values) status = out_of_memory(error);
    if (run && run->values) run->count = graph->value_count;
    for (int32_t v = 0; v < graph->value_count && status == LIKENESS_OK; v++) {
        const lk_value_info *info = &graph->values[v];
        int64_t count = lk_shape_elements(&info->tensor.shape);
        run->values[v] = lk_alloc((size_t)count, sizeof(double));
        if (!run->values[v]) {
            status = out_of_memory(error);
        } else if (info->kind == LK_VALUE_INPUT) {
            for (int64_t i = 0; i < count; i++)
                run->values[v][i] = inputs[info->source][i];
        } else if (info->kind == LK_VALUE_WEIGHT) {
            status = load_weight(graph, info->source, run->values[v], count, error);
        }
    }
    for (int32_t n = 0; n < graph->node_count && status == LIKENESS_OK; n++)
        status = run_node(run, &graph->nodes[n], error);
    if (status == LIKENESS_OK) return run;
    lk_reference_values_destroy(run);
    return NULL;
}
