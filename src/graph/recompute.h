/* graph/recompute.h - a gradient that keeps less of the forward pass: the forward section is cut into pieces, and
 * before the gradient of a piece its nodes run again from what crosses the cut.
 *
 *     forward   | piece 0 | piece 1 | piece 2 |          kept: what crosses a cut, and the whole of piece 2
 *     gradient  d(piece 2) | piece 1 again, d(piece 1) | piece 0 again, d(piece 0)
 *
 * A node's result depends on its inputs alone, so the bytes are those of the gradient that keeps everything. Shared by
 * gradient.c and recompute.c. */
#ifndef LK_GRAPH_RECOMPUTE_H
#define LK_GRAPH_RECOMPUTE_H

#include "graph/internal.h"

typedef struct lk_recompute {
    int32_t count;   /* of pieces, at least 1 */
    int32_t *cut;    /* [count + 1] first node of each piece; the last entry is the number of forward nodes */
    bool *kept;      /* [values] read by a later piece, or an output */
    lk_value *again; /* [values] the same value computed again in the gradient section, or LK_NO_VALUE */
    int32_t value_count;
} lk_recompute;

/* Cuts the nodes so far into at most `pieces` of about equal size, each cut where few bytes cross it. */
bool lk_recompute_open(lk_recompute *r, lk_graph *graph, int32_t pieces);
void lk_recompute_close(lk_recompute *r);
/* Appends the nodes of a piece again, named "again:..."; nothing for the last one. Those that nobody reads do not run.
 */
void lk_recompute_piece(lk_recompute *r, lk_graph *graph, int32_t piece);
/* What the gradient of a node reads in place of a value of the forward section. */
lk_value lk_recompute_value(const lk_recompute *r, lk_value value);

#endif
