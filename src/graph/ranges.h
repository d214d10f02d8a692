/* graph/ranges.h - the free ranges of some blocks, for the planner: first fit in O(log n).
 *
 *     block 0  |####......####..####|      ranges are kept by position, neighbours joined, in a treap whose nodes know
 *     block 1  |..########..........|      the largest range below them; its shape depends on nothing but the calls
 *
 * A zeroed lk_ranges has no free range. */
#ifndef LK_GRAPH_RANGES_H
#define LK_GRAPH_RANGES_H

#include <stdbool.h>
#include <stdint.h>

typedef struct lk_range_node lk_range_node;

typedef struct lk_ranges {
    lk_range_node *nodes;
    int32_t count, capacity; /* nodes ever used */
    int32_t root, unused;    /* 1-based, 0: none; unused nodes are chained */
} lk_ranges;

/* A range becomes free that is not. False: out of memory. */
bool lk_ranges_give(lk_ranges *ranges, int32_t block, uint64_t offset, uint64_t bytes);
/* The first free range (by block, then offset) of at least `bytes` > 0 loses its first bytes. False: there is none. */
bool lk_ranges_take(lk_ranges *ranges, uint64_t bytes, int32_t *block, uint64_t *offset);
void lk_ranges_free(lk_ranges *ranges);

#endif
