/* gpu/stream.h - the command stream: recordings of commands, built once, replayed many times.
 *
 *     lk_command command = lk_command_make(LK_SHADER_AXPY);      // gpu/shader_list.h, generated from the manifests
 *     lk_command_spec(&command, 0, 64);                          // workgroup size: constant 0 of every shader
 *     struct lk_push_axpy push = {.x = lk_ref_address(x), .y = lk_ref_address(y), .count = n, .a = 2};
 *     lk_command_push(&command, &push, sizeof push);
 *     lk_command_reads(&command, x);
 *     lk_command_reads_writes(&command, y);
 *     command.groups = (n + 63) / 64;
 *     LK_TRY(lk_record(recording, &command, error));
 *
 * Commands are kept in a list and turned into command buffers at the first replay (or lk_recording_finish). Nobody but
 * this file emits barriers: one goes before a command whose ranges conflict (same bytes, at least one writes) with a
 * command since the last barrier, and one ends each recording, so recordings and host accesses are ordered too. All on
 * one queue, in order.
 *
 * Long work is cut: submits are grouped to about 200 ms by measured time, and a dispatch that would take longer alone
 * is cut at workgroup boundaries (operating systems reset a GPU after 2 s). Shaders therefore find their place through
 * lk_group_index() only. Values that change from replay to replay live in buffers, never in push constants. */
#ifndef LK_GPU_STREAM_H
#define LK_GPU_STREAM_H

#include "gpu/memory.h"
#include "gpu/shader_list.h"

typedef struct lk_device lk_device;
typedef struct lk_recording lk_recording;

#define LK_MAX_SPEC 12  /* specialization constants 0..11, 32 bits each; 0 is the workgroup size */
#define LK_MAX_PUSH 120 /* the family's struct of shaders/<family>/push.h */
#define LK_MAX_RANGES 16

enum { LK_READ = 1, LK_WRITE = 2 };

/* `rows` runs of `bytes` each, `stride` apart, from `offset` inside ref. */
typedef struct lk_range {
    lk_buffer_ref ref;
    uint64_t offset, rows, stride, bytes;
    uint32_t access; /* LK_READ | LK_WRITE */
} lk_range;

typedef enum lk_command_kind { LK_COMMAND_DISPATCH, LK_COMMAND_COPY, LK_COMMAND_FILL } lk_command_kind;

typedef struct lk_command {
    lk_command_kind kind;
    lk_shader shader;
    uint32_t spec[LK_MAX_SPEC];
    uint32_t spec_count;
    uint32_t subgroup_size; /* required of the pipeline; 0: whatever the driver takes */
    uint32_t push_bytes;
    unsigned char push[LK_MAX_PUSH];
    uint64_t groups; /* linear number of workgroups; 0: the command does nothing */
    uint32_t range_count;
    lk_range range[LK_MAX_RANGES]; /* every byte the command may touch; outputs include the padding they write */
    bool too_many;                 /* set by the helpers below when an array was full; lk_record then fails */
    double flops, bytes;           /* estimate, from the op table; for grouping. 0: unknown */
    const char *label;             /* node name; copied; may be NULL */
    uint32_t word;                 /* LK_COMMAND_FILL */
} lk_command;

lk_command lk_command_make(lk_shader shader);
void lk_command_spec(lk_command *command, uint32_t id, uint32_t value); /* ids in any order; unset ones are 0 */
void lk_command_push(lk_command *command, const void *data, size_t bytes);
void lk_command_reads(lk_command *command, lk_buffer_ref ref); /* all of ref */
void lk_command_writes(lk_command *command, lk_buffer_ref ref);
void lk_command_reads_writes(lk_command *command, lk_buffer_ref ref);
/* Part of a matrix: e.g. a channel range of every row. Does nothing for a reference without a block. */
void lk_command_range(lk_command *command, lk_buffer_ref ref, uint64_t offset, uint64_t rows, uint64_t stride,
                      uint64_t bytes, uint32_t access);

/* ---- recordings ---- */

typedef struct lk_recording_options {
    uint64_t shuffle_seed;    /* not 0: commands between two barriers run in random order (self-check b) */
    bool timestamps;          /* measure every command; slower */
    bool serialize;           /* a barrier before every command */
    int64_t omit_barrier;     /* 1-based: leave this barrier out, to test the checker; 0: none */
    uint64_t split_groups;    /* cut every dispatch after so many workgroups, for tests; 0: by time */
    uint32_t submit_commands; /* at most so many commands a submit, for tests; 0: by time */
} lk_recording_options;

/* options NULL: defaults. */
likeness_status lk_recording_create(lk_device *device, const lk_recording_options *options, lk_recording **recording,
                                    lk_error *error);
/* Waits for its last replay. NULL is fine. */
void lk_recording_destroy(lk_recording *recording);

/* Appends a command (copied). Its pipeline is created here: an error names shader and label. */
likeness_status lk_record(lk_recording *recording, const lk_command *command, lk_error *error);
/* Device-side copy of from.bytes bytes, and fill with a word; sizes and offsets are multiples of 4. */
likeness_status lk_record_copy(lk_recording *recording, lk_buffer_ref from, lk_buffer_ref to, lk_error *error);
likeness_status lk_record_fill(lk_recording *recording, lk_buffer_ref ref, uint32_t word, lk_error *error);

/* Makes the command buffers; nothing can be appended afterwards. lk_replay does it when needed. */
likeness_status lk_recording_finish(lk_recording *recording, lk_error *error);
/* Submits everything; waits first if the same recording is still running. */
likeness_status lk_replay(lk_recording *recording, lk_error *error);
/* Waits for the last replay of this recording. */
likeness_status lk_recording_wait(lk_recording *recording, lk_error *error);

uint32_t lk_recording_count(const lk_recording *recording);
/* Valid until the recording is destroyed; index in order of lk_record. */
const lk_command *lk_recording_command(const lk_recording *recording, uint32_t index);
/* Barriers in one replay, the one at its end included; known after lk_recording_finish. */
uint32_t lk_recording_barriers(const lk_recording *recording);
/* Nanoseconds of a command in the last replay; NaN without timestamps. */
double lk_recording_time(const lk_recording *recording, uint32_t index);
/* Seconds that the last waited-for replay took on the device, by the host's clock. */
double lk_recording_seconds(const lk_recording *recording);

/* Runs one command of the list alone, with barriers around, and waits (self-check c). */
likeness_status lk_recording_run_one(lk_recording *recording, uint32_t index, lk_error *error);

#endif
