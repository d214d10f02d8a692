/* gpu/check.h - the command stream proves itself.
 *
 * Validation layers cannot see accesses through addresses and CPU drivers hide missing barriers, so a device opened
 * with lk_device_options.trace keeps what was really submitted: commands with their ranges, barriers, submits, waits,
 * host accesses, across recordings and replays. lk_check_trace reads that list knowing nothing of planner or stream. */
#ifndef LK_GPU_CHECK_H
#define LK_GPU_CHECK_H

#include "gpu/stream.h"

typedef struct lk_check_result {
    uint64_t commands, barriers, submits, host_accesses; /* looked at; barriers of recordings, not of single copies */
    uint64_t conflicts; /* pairs of accesses without a barrier (or wait) between them */
    char first[400];    /* describes the first conflict, "" if none */
} lk_check_result;

/* Looks at everything since the device was opened or the last lk_check_clear. */
likeness_status lk_check_trace(const lk_device *device, lk_check_result *result, lk_error *error);
/* The same as if the n-th barrier (1 .. result.barriers) had never been submitted: a sound checker reports conflicts
 * for every n that was needed. */
likeness_status lk_check_trace_without(const lk_device *device, uint64_t n, lk_check_result *result, lk_error *error);
void lk_check_clear(lk_device *device);

/* Self-check (c) for one command of a recording: runs it alone, once with memory as it is, then three times with every
 * byte of `memory` that the command does not declare as read poisoned by a value that depends on its address (NaN,
 * about +3e38, about -3e38). Its written ranges must come out the same each time and no other byte may change. What the
 * memory holds before is the command's input; afterwards it holds the command's result. Fails with LIKENESS_INTERNAL
 * naming command, byte and what was seen. References are whole words; no byte may be named twice. Slow: for a few MiB.
 */
likeness_status lk_check_truth(lk_recording *recording, uint32_t index, const lk_buffer_ref *memory, uint32_t count,
                               lk_error *error);

#endif
