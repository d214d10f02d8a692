/* graph/recompute.c - see recompute.h. */
#include "graph/recompute.h"

#include "base/memory.h"

#include <string.h>

/* ---- where to cut ---- */

static uint64_t output_bytes(const lk_graph *graph, int32_t node) {
    uint64_t bytes = 0;
    if (lk_node_is_alias(&graph->nodes[node])) return 0;
    for (int i = 0; i < LK_MAX_OUTPUTS; i++)
        if (graph->nodes[node].output[i] != LK_NO_VALUE)
            bytes += lk_tensor_row_bytes(&graph->values[graph->nodes[node].output[i]].tensor);
    return bytes;
}

/* crossing[n]: bytes made before node n and read by it or a later one. */
static void measure(const lk_graph *graph, const int32_t *last_reader, uint64_t *crossing) {
    for (lk_value v = 0; v < graph->value_count; v++) {
        const lk_value_info *info = &graph->values[v];
        if (info->kind != LK_VALUE_NODE || lk_node_is_alias(&graph->nodes[info->source])) continue;
        if (last_reader[v] <= info->source) continue;
        uint64_t bytes = lk_tensor_row_bytes(&info->tensor);
        crossing[info->source + 1] += bytes;
        crossing[last_reader[v] + 1] -= bytes;
    }
    for (int32_t n = 1; n <= graph->node_count; n++)
        crossing[n] += crossing[n - 1];
}

/* Equal shares of what the nodes write; around each the place where the fewest bytes cross, the later of equals. */
static void choose(lk_recompute *r, const lk_graph *graph, const uint64_t *crossing, uint64_t total, int32_t pieces) {
    uint64_t sum = 0, window = total / (uint64_t)pieces * 2 / 3;
    int32_t node = 0;
    r->count = 1;
    r->cut[0] = 0;
    for (int32_t k = 1; k < pieces; k++) {
        uint64_t target = total / (uint64_t)pieces * (uint64_t)k;
        int32_t best = -1;
        for (; node < graph->node_count && sum < target + window; node++) {
            if (sum + window >= target && node > r->cut[r->count - 1] && (best < 0 || crossing[node] <= crossing[best]))
                best = node;
            sum += output_bytes(graph, node);
        }
        if (best > 0) r->cut[r->count++] = best;
    }
    r->cut[r->count] = graph->node_count;
}

/* ---- public ---- */

bool lk_recompute_open(lk_recompute *r, lk_graph *graph, int32_t pieces) {
    size_t values = (size_t)graph->value_count + 1, nodes = (size_t)graph->node_count + 2;
    *r = (lk_recompute){.value_count = graph->value_count};
    r->cut = lk_alloc((size_t)pieces + 1, sizeof *r->cut);
    r->kept = lk_alloc(values, sizeof *r->kept);
    r->again = lk_alloc(values, sizeof *r->again);
    int32_t *last_reader = lk_alloc(values, sizeof *last_reader);
    uint64_t *crossing = lk_alloc(nodes, sizeof *crossing), total = 0;
    bool ok = r->cut && r->kept && r->again && last_reader && crossing;
    for (int32_t v = 0; v < graph->value_count && ok; v++) {
        r->again[v] = LK_NO_VALUE;
        last_reader[v] = -1;
    }
    for (int32_t n = 0; n < graph->node_count && ok; n++) {
        total += output_bytes(graph, n);
        for (int i = 0; i < LK_MAX_INPUTS; i++)
            if (graph->nodes[n].input[i] != LK_NO_VALUE) last_reader[graph->nodes[n].input[i]] = n;
    }
    if (ok) {
        measure(graph, last_reader, crossing);
        choose(r, graph, crossing, total, pieces);
    }
    for (int32_t piece = 0; ok && piece < r->count; piece++)
        for (int32_t n = r->cut[piece]; n < r->cut[piece + 1]; n++)
            for (int i = 0; i < LK_MAX_OUTPUTS; i++) {
                lk_value v = graph->nodes[n].output[i];
                if (v != LK_NO_VALUE) r->kept[v] = graph->values[v].output || last_reader[v] >= r->cut[piece + 1];
            }
    lk_free(last_reader);
    lk_free(crossing);
    if (!ok) {
        lk_recompute_close(r);
        lk_graph_fail(graph, LIKENESS_OUT_OF_MEMORY, "no memory for a gradient of %d values", (int)graph->value_count);
    }
    return ok;
}

void lk_recompute_close(lk_recompute *r) {
    lk_free(r->cut);
    lk_free(r->kept);
    lk_free(r->again);
    *r = (lk_recompute){.count = 0};
}

lk_value lk_recompute_value(const lk_recompute *r, lk_value value) {
    if (value == LK_NO_VALUE || value >= r->value_count || r->kept[value] || r->again[value] == LK_NO_VALUE)
        return value;
    return r->again[value];
}

void lk_recompute_piece(lk_recompute *r, lk_graph *graph, int32_t piece) {
    if (piece == r->count - 1) return;
    for (int32_t n = r->cut[piece]; n < r->cut[piece + 1] && graph->error.status == LIKENESS_OK; n++) {
        lk_attributes attributes = graph->nodes[n].call.attributes; /* the array of nodes moves while we append */
        lk_value input[LK_MAX_INPUTS], was[LK_MAX_OUTPUTS], now[LK_MAX_OUTPUTS];
        uint32_t outputs = 0;
        for (int i = 0; i < LK_MAX_INPUTS; i++)
            input[i] = lk_recompute_value(r, graph->nodes[n].input[i]);
        for (int i = 0; i < LK_MAX_OUTPUTS; i++) {
            was[i] = graph->nodes[n].output[i];
            outputs |= was[i] != LK_NO_VALUE ? 1u << i : 0;
        }
        graph->scope = (lk_scope){.depth = 0};
        lk_graph_push_scope(graph, "again:%s", graph->nodes[n].name);
        lk_graph_emit(graph, graph->nodes[n].call.op, &attributes, input, graph->nodes[n].call.input_count, outputs,
                      now);
        for (int i = 0; i < LK_MAX_OUTPUTS; i++)
            if (was[i] != LK_NO_VALUE) r->again[was[i]] = now[i];
    }
}
