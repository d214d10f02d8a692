/* ops/launch.h - how the light ops (everything but matmul, convolution, attention) put a command together.
 *
 * Two shapes of work: *flat*, a thread takes a few elements of a long array; *team*, a workgroup owns an item and sums
 * over it. On CPU drivers a team is one subgroup (no barrier, no shared memory); elsewhere up to 256 threads, by the
 * item's size alone, never by how many items there are: a batch must not change the order of a sum. */
#ifndef LK_OPS_LAUNCH_H
#define LK_OPS_LAUNCH_H

#include "gpu/device.h"
#include "gpu/stream.h"
#include "ops/table.h"

typedef struct lk_flat {
    uint32_t workgroup;
    int32_t per_thread;
    uint64_t groups;
} lk_flat;

typedef struct lk_team {
    uint32_t workgroup;
    uint32_t subgroup_size; /* required of the pipeline; 0: any */
    uint32_t one_subgroup;  /* specialization constant 1 of shaders/common/collective.glsl */
    bool tree;              /* the shader without subgroup arithmetic */
} lk_team;

lk_flat lk_flat_of(const lk_device *device, int64_t total);
lk_team lk_team_of(const lk_device *device, int64_t elements, bool tree);
/* Whether shaders with subgroup arithmetic run on this device. */
bool lk_team_subgroups(const lk_device *device);
/* Variants of an op whose only choice is with or without subgroup arithmetic: 1 subgroups (where they exist), then
 * tree. */
int32_t lk_team_variants(const lk_op_call *call, const lk_device *device);
bool lk_team_tree(const lk_dispatch *dispatch);

/* LIKENESS_UNSUPPORTED unless every present operand is rows of 4-byte elements. */
likeness_status lk_light_check(const lk_dispatch *dispatch, lk_error *error);

uint64_t lk_operand_address(const lk_operand *operand);
/* A command that reads the inputs in the mask (bit i: input i) and writes output `out` (-1: none). */
lk_command lk_light_command(const lk_dispatch *dispatch, lk_shader shader, uint32_t inputs, int out);
/* Adds push constants and records. */
likeness_status lk_light_flat(const lk_dispatch *dispatch, lk_command *command, const void *push, size_t bytes,
                              lk_flat flat, lk_error *error);
likeness_status lk_light_team(const lk_dispatch *dispatch, lk_command *command, const void *push, size_t bytes,
                              lk_team team, uint64_t groups, lk_error *error);

#endif
