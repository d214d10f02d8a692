/* tests/support/op_device.h - runs one node of a tape on a Vulkan device and compares it with what the tape computed.
 *
 * All operands lie in one block, each followed by a gap, everything that is not input filled with NaN:
 *
 *     | gap | input 0 | gap | input 1 | gap | output 0 | gap | scratch | gap |
 *
 * Fine means: outputs within tolerance, padding zero, every other byte (inputs and gaps) as before. */
#ifndef TESTS_SUPPORT_OP_DEVICE_H
#define TESTS_SUPPORT_OP_DEVICE_H

#include "gpu/device.h"
#include "support/tape.h"

typedef struct op_device {
    lk_device *device;
    lk_block *block;
    uint64_t room;
    unsigned char *before, *after; /* host copies of the block */
} op_device;

typedef struct op_outcome {
    bool has_shader, fine;
    double error;             /* the largest over the outputs */
    uint32_t wrong;           /* bit i: output i is off by more than the tolerance */
    uint64_t groups;          /* the most workgroups of any command */
    double seconds;           /* of the fastest of `repeats` replays */
    double processor_seconds; /* of this process, all threads, a replay: what a CPU driver costs beside other work */
    char message[1024];       /* why it is not fine */
} op_outcome;

typedef struct op_options {
    bool odd;         /* operands begin 4 bytes after a multiple of 16 */
    int32_t variant;  /* as lk_dispatch.variant */
    double tolerance; /* 0: 1e-5 */
    int repeats;      /* 0: 1 */
    bool truth;       /* also lk_check_truth on every command */
    bool absolute;    /* the error is the largest difference, whatever the size of the truth */
} op_options;

/* select: as lk_device_options; NULL: the environment's LIKENESS_TEST_DEVICE, else the best. */
likeness_status op_device_open(op_device *d, const char *select, uint32_t max_groups_axis, lk_error *error);
void op_device_close(op_device *d);
/* 1, or the number of variants of this call on this device. */
int32_t op_device_variants(const op_device *d, const lk_op_call *call);
void op_device_run(op_device *d, const tape *t, const tape_node *node, const op_options *options, op_outcome *outcome);

#endif
