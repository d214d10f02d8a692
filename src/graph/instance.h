/* graph/instance.h - what is behind lk_instance; for instance.c and the self-check tests. */
#ifndef LK_GRAPH_INSTANCE_H
#define LK_GRAPH_INSTANCE_H

#include "gpu/stream.h"
#include "graph/plan.h"

struct lk_instance {
    lk_plan *plan;
    lk_device *device;
    lk_block **blocks; /* the arena, plan->block_count of them once complete */
    int32_t block_count;
    bool borrowed;             /* the blocks are an lk_arena's */
    lk_block *scratch;         /* shared by all commands; NULL if none needs it */
    lk_recording **recordings; /* one a section */
    bool truth;
};

#endif
