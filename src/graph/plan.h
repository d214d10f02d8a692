/* graph/plan.h - where every value of a graph lies. Shared by plan.c, instance.c and the tests of both.
 *
 *     value --alias--> root --place--> {block, offset, bytes}     (weights lie in the weight set instead)
 *
 * A root lives from the node that makes it to its last reader. Inputs live always. Outputs, and what a later section
 * reads, live from their node to the end. Two roots whose lives overlap never share a byte. */
#ifndef LK_GRAPH_PLAN_H
#define LK_GRAPH_PLAN_H

#include "graph/internal.h"

#define LK_PLAN_ALIGN 256

typedef struct lk_place {
    int32_t block; /* -1: has no place (a weight, or nobody needs it) */
    uint64_t offset, bytes;
    int32_t first, last; /* positions in order of execution; -1: before everything, INT32_MAX: to the end */
} lk_place;

struct lk_plan {
    lk_graph *graph;
    lk_plan_options options;
    lk_value *root;        /* [values] the value whose bytes these are */
    lk_place *place;       /* [values], of roots */
    bool *live_node;       /* [nodes] something readable depends on it */
    uint64_t *block_bytes; /* [block_count] */
    int32_t block_count, value_count, node_count;
    uint64_t unaliased_bytes;
};

/* Whether a node needs a kernel: it is live and no alias. */
bool lk_plan_runs(const lk_plan *plan, int32_t node);

#endif
