/* graph/plan.c - aliases, lifetimes, and an offset for every value. See plan.h.
 *
 * Places are given in order of execution: what has ended is free, the first free range that is large enough is taken
 * (graph/ranges.h), else the last block grows or a new one begins. O(n log n) for n values. */
#include "graph/plan.h"

#include "base/memory.h"
#include "graph/ranges.h"

#include <stdlib.h>
#include <string.h>

/* ---- liveness and aliases ---- */

static likeness_status mark_live_nodes(lk_plan *plan, lk_error *error) {
    const lk_graph *graph = plan->graph;
    bool *needed = lk_alloc((size_t)graph->value_count + 1, sizeof *needed);
    if (!needed)
        return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to plan a graph of %d values", (int)plan->value_count);
    for (int32_t v = 0; v < graph->value_count; v++)
        needed[v] = graph->values[v].output;
    for (int32_t n = graph->node_count - 1; n >= 0; n--) {
        const lk_node *node = &graph->nodes[n];
        for (int i = 0; i < LK_MAX_OUTPUTS; i++)
            if (node->output[i] != LK_NO_VALUE && needed[node->output[i]]) plan->live_node[n] = true;
        for (int i = 0; i < LK_MAX_INPUTS && plan->live_node[n]; i++)
            if (node->input[i] != LK_NO_VALUE) needed[node->input[i]] = true;
    }
    lk_free(needed);
    return LIKENESS_OK;
}

static void find_roots(lk_plan *plan) {
    const lk_graph *graph = plan->graph;
    for (int32_t v = 0; v < graph->value_count; v++)
        plan->root[v] = v;
    for (int32_t n = 0; n < graph->node_count; n++) {
        const lk_node *node = &graph->nodes[n];
        if (!lk_node_is_alias(node)) continue;
        /* A reshaped weight is copied: its storage is the weight set's business. */
        if (graph->values[node->input[0]].kind == LK_VALUE_WEIGHT) continue;
        plan->root[node->output[0]] = plan->root[node->input[0]];
    }
}

bool lk_plan_runs(const lk_plan *plan, int32_t node) {
    const lk_node *n = &plan->graph->nodes[node];
    if (!plan->live_node[node]) return false;
    return !(lk_node_is_alias(n) && plan->root[n->output[0]] == plan->root[n->input[0]]);
}

static void find_lives(lk_plan *plan) {
    const lk_graph *graph = plan->graph;
    for (int32_t v = 0; v < graph->value_count; v++) {
        const lk_value_info *info = &graph->values[v];
        lk_place *place = &plan->place[plan->root[v]];
        if (info->kind == LK_VALUE_WEIGHT) continue;
        if (plan->root[v] == v) {
            place->bytes = lk_tensor_row_bytes(&info->tensor);
            place->first = info->kind == LK_VALUE_INPUT ? -1 : info->source;
            place->last = info->kind == LK_VALUE_INPUT ? INT32_MAX : info->source;
            if (info->kind == LK_VALUE_NODE && !plan->live_node[info->source]) place->bytes = 0;
        }
        if (info->output) place->last = INT32_MAX;
    }
    for (int32_t n = 0; n < graph->node_count; n++) {
        const lk_node *node = &graph->nodes[n];
        for (int i = 0; i < LK_MAX_INPUTS && plan->live_node[n]; i++) {
            if (node->input[i] == LK_NO_VALUE || graph->values[node->input[i]].kind == LK_VALUE_WEIGHT) continue;
            lk_value root = plan->root[node->input[i]];
            lk_place *place = &plan->place[root];
            const lk_value_info *info = &graph->values[root];
            bool other_section = info->kind == LK_VALUE_NODE && graph->nodes[info->source].section != node->section;
            if (other_section) place->last = INT32_MAX;
            if (place->last < n) place->last = n;
        }
    }
}

/* ---- places ---- */

typedef struct allocator {
    lk_plan *plan;
    lk_ranges free;
    uint64_t block_limit;
} allocator;

static uint64_t aligned(uint64_t bytes) { return (bytes + LK_PLAN_ALIGN - 1) / LK_PLAN_ALIGN * LK_PLAN_ALIGN; }

static bool add_block(allocator *a, uint64_t bytes) {
    lk_plan *plan = a->plan;
    uint64_t *grown = lk_realloc(plan->block_bytes, (size_t)plan->block_count + 1, sizeof *grown);
    if (!grown) return false;
    plan->block_bytes = grown;
    plan->block_bytes[plan->block_count++] = bytes;
    return true;
}

/* The first free range that is large enough; else the last block grows, or a new one begins. */
static bool take(allocator *a, lk_place *place) {
    lk_plan *plan = a->plan;
    /* Loose: not a byte more than the tensor, so that over-runs end outside of the buffer. */
    uint64_t bytes = plan->options.loose ? place->bytes : aligned(place->bytes);
    if (lk_ranges_take(&a->free, bytes, &place->block, &place->offset)) return true;
    int32_t last = plan->block_count - 1;
    if (last < 0 || plan->options.loose || plan->block_bytes[last] + bytes > a->block_limit) {
        if (!add_block(a, 0)) return false;
        last++;
    }
    place->block = last;
    place->offset = plan->block_bytes[last];
    plan->block_bytes[last] += bytes;
    return true;
}

/* Roots by the position at which they end. */
static int compare_ends(const void *left, const void *right) {
    const lk_place *a = *(const lk_place *const *)left, *b = *(const lk_place *const *)right;
    return a->last != b->last ? (a->last < b->last ? -1 : 1) : a < b ? -1 : 1;
}

static int compare_starts(const void *left, const void *right) {
    const lk_place *a = *(const lk_place *const *)left, *b = *(const lk_place *const *)right;
    return a->first != b->first ? (a->first < b->first ? -1 : 1) : a < b ? -1 : 1;
}

static likeness_status refuse_size(const lk_plan *plan, lk_value value, uint64_t limit, lk_error *error) {
    const lk_value_info *info = &plan->graph->values[value];
    char text[80];
    bool is_node = info->kind == LK_VALUE_NODE;
    return lk_fail(error, LIKENESS_OUT_OF_MEMORY,
                   "%s%s: its tensor %s of %llu bytes is larger than one device allocation may be (%llu); ask for a "
                   "smaller picture or a smaller batch",
                   is_node ? "" : "input ",
                   is_node ? plan->graph->nodes[info->source].name : plan->graph->input_names[info->source],
                   lk_shape_text(&info->tensor.shape, text, sizeof text), (unsigned long long)plan->place[value].bytes,
                   (unsigned long long)limit);
}

static likeness_status place_all(lk_plan *plan, lk_error *error) {
    allocator a = {.plan = plan, .block_limit = plan->options.max_block ? plan->options.max_block : (uint64_t)1 << 30};
    int32_t count = 0;
    lk_place **starts = lk_alloc((size_t)plan->value_count + 1, sizeof *starts);
    lk_place **ends = lk_alloc((size_t)plan->value_count + 1, sizeof *ends);
    bool ok = starts && ends;
    for (lk_value v = 0; v < plan->value_count && ok; v++) {
        if (plan->root[v] != v || plan->place[v].bytes == 0) continue;
        if (aligned(plan->place[v].bytes) > a.block_limit) {
            lk_free(starts);
            lk_free(ends);
            return refuse_size(plan, v, a.block_limit, error);
        }
        plan->unaliased_bytes += aligned(plan->place[v].bytes);
        starts[count] = ends[count] = &plan->place[v];
        count++;
    }
    if (ok) {
        qsort(starts, (size_t)count, sizeof *starts, compare_starts);
        qsort(ends, (size_t)count, sizeof *ends, compare_ends);
    }
    for (int32_t i = 0, ended = 0; i < count && ok; i++) {
        /* What ended before this node began is free; ends come in order. */
        for (; ended < count && ends[ended]->last < starts[i]->first && !plan->options.loose && ok; ended++)
            ok = lk_ranges_give(&a.free, ends[ended]->block, ends[ended]->offset, aligned(ends[ended]->bytes));
        ok = ok && take(&a, starts[i]);
    }
    lk_free(starts);
    lk_free(ends);
    lk_ranges_free(&a.free);
    return ok ? LIKENESS_OK
              : lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to plan a graph of %d values",
                        (int)plan->value_count);
}

/* ---- public ---- */

lk_plan *lk_plan_create(lk_graph *graph, const lk_plan_options *options, lk_error *error) {
    if (lk_graph_status(graph, error) != LIKENESS_OK) return NULL;
    lk_plan *plan = lk_alloc(1, sizeof *plan);
    size_t values = (size_t)graph->value_count + 1, nodes = (size_t)graph->node_count + 1;
    if (plan) {
        plan->graph = graph;
        if (options) plan->options = *options;
        plan->value_count = graph->value_count;
        plan->node_count = graph->node_count;
        plan->root = lk_alloc(values, sizeof *plan->root);
        plan->place = lk_alloc(values, sizeof *plan->place);
        plan->live_node = lk_alloc(nodes, sizeof *plan->live_node);
    }
    if (!plan || !plan->root || !plan->place || !plan->live_node) {
        lk_plan_destroy(plan);
        lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to plan a graph of %d values", (int)graph->value_count);
        return NULL;
    }
    for (int32_t v = 0; v < plan->value_count; v++)
        plan->place[v].block = -1;
    likeness_status status = mark_live_nodes(plan, error);
    if (status == LIKENESS_OK) {
        find_roots(plan);
        find_lives(plan);
        status = place_all(plan, error);
    }
    if (status == LIKENESS_OK) return plan;
    lk_plan_destroy(plan);
    return NULL;
}

void lk_plan_destroy(lk_plan *plan) {
    if (!plan) return;
    lk_free(plan->root);
    lk_free(plan->place);
    lk_free(plan->live_node);
    lk_free(plan->block_bytes);
    lk_free(plan);
}

lk_plan_info lk_plan_information(const lk_plan *plan) {
    lk_plan_info info = {.unaliased_bytes = plan->unaliased_bytes, .nodes = plan->node_count};
    for (int32_t i = 0; i < plan->block_count; i++)
        info.arena_bytes += plan->block_bytes[i];
    for (int32_t n = 0; n < plan->node_count; n++)
        info.commands += lk_plan_runs(plan, n);
    for (int32_t v = 0; v < plan->value_count; v++) {
        const lk_value_info *value = &plan->graph->values[v];
        if (value->kind == LK_VALUE_WEIGHT) info.weight_bytes += (uint64_t)lk_tensor_row_bytes(&value->tensor);
    }
    return info;
}
