/* gpu/stream.c - recordings: the list of commands, barriers, command buffers, submits, waits.
 *
 *   lk_record          the list, in the order of the calls
 *   plan_batches       cuts it where a command conflicts with one since the last cut: a cut is a barrier
 *                      (shuffle mode permutes the commands between two cuts)
 *   emit               writes chunks: one VkCommandBuffer of about CHUNK_SECONDS each; a dispatch that is longer alone
 * is cut at workgroup boundaries lk_replay          groups chunks to submits of about SUBMIT_SECONDS by what was
 * measured before
 *
 * Invariants: a barrier is a full one (all compute and transfer work before it happens before all after it); every
 * recording ends with one that also makes results visible to the host; nothing is submitted twice at a time. So
 * commands of different recordings are ordered as well, and a host access only has to wait for a fence. */
#include "base/memory.h"
#include "base/time.h"
#include "gpu/internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define SUBMIT_SECONDS 0.2
#define CHUNK_SECONDS 0.05
#define CHUNK_COMMANDS 128
#define PUSH_HEADER 8 /* first workgroup, number of workgroups (shaders/common/push.h) */

/* What one chunk did, in order, for the trace: a command's index, or one of these. */
#define NOTE_BARRIER UINT32_MAX
#define NOTE_END_BARRIER (UINT32_MAX - 1)

typedef struct lk_item {
    lk_command command;
    VkPipeline pipeline;
    double estimate; /* seconds, improved by measuring */
    uint64_t pieces; /* that it was cut in */
    uint32_t batch;
} lk_item;

typedef struct lk_chunk {
    VkCommandBuffer commands;
    double estimate;
    uint32_t first_note, note_count;
    uint32_t first_item, item_count; /* in emission order; pieces of a cut dispatch count as their item */
} lk_chunk;

struct lk_recording {
    lk_device *device;
    lk_recording_options options;
    lk_arena labels;
    lk_item *items;
    uint32_t *order; /* emission order of items */
    uint32_t count, capacity;

    VkCommandPool pool;
    VkQueryPool queries; /* two a command, with timestamps */
    lk_chunk *chunks;
    uint32_t chunk_count, chunk_capacity;
    uint32_t *notes;
    uint32_t note_count, note_capacity;
    uint32_t barriers;
    bool finished, rebuild;

    VkFence *fences; /* one a group of the replay that runs */
    uint32_t fence_count;
    struct {
        uint32_t first_chunk, chunk_count;
        double submitted;
        uint64_t serial;
    } * groups;
    uint32_t group_count, groups_waited;
    double seconds, last_done;
    double *times; /* of commands, seconds; NULL without timestamps */

    bool running;
    lk_recording *running_next;
};

/* ---- commands ---- */

lk_command lk_command_make(lk_shader shader) {
    lk_command command;
    memset(&command, 0, sizeof command);
    command.kind = LK_COMMAND_DISPATCH;
    command.shader = shader;
    return command;
}

void lk_command_spec(lk_command *command, uint32_t id, uint32_t value) {
    if (id >= LK_MAX_SPEC) {
        command->too_many = true;
        return;
    }
    command->spec[id] = value;
    if (id >= command->spec_count) command->spec_count = id + 1;
}

void lk_command_push(lk_command *command, const void *data, size_t bytes) {
    if (bytes > LK_MAX_PUSH || bytes % 4) {
        command->too_many = true;
        return;
    }
    memcpy(command->push, data, bytes);
    command->push_bytes = (uint32_t)bytes;
}

void lk_command_range(lk_command *command, lk_buffer_ref ref, uint64_t offset, uint64_t rows, uint64_t stride,
                      uint64_t bytes, uint32_t access) {
    if (!ref.block || rows == 0 || bytes == 0) return;
    if (command->range_count == LK_MAX_RANGES) {
        command->too_many = true;
        return;
    }
    if (rows == 1 || stride == bytes) { /* one run */
        bytes *= rows;
        rows = 1;
        stride = bytes;
    }
    command->range[command->range_count++] = (lk_range){ref, offset, rows, stride, bytes, access};
}

void lk_command_reads(lk_command *command, lk_buffer_ref ref) {
    lk_command_range(command, ref, 0, 1, ref.bytes, ref.bytes, LK_READ);
}

void lk_command_writes(lk_command *command, lk_buffer_ref ref) {
    lk_command_range(command, ref, 0, 1, ref.bytes, ref.bytes, LK_WRITE);
}

void lk_command_reads_writes(lk_command *command, lk_buffer_ref ref) {
    lk_command_range(command, ref, 0, 1, ref.bytes, ref.bytes, LK_READ | LK_WRITE);
}

/* ---- do two commands touch the same bytes? ---- */

static uint64_t range_begin(const lk_range *range) { return range->ref.offset + range->offset; }
static uint64_t range_end(const lk_range *range) {
    return range_begin(range) + (range->rows - 1) * range->stride + range->bytes;
}

/* Exact for equal strides; for different ones any two ranges whose spans overlap count as overlapping. */
static bool ranges_overlap(const lk_range *a, const lk_range *b) {
    if (a->ref.block != b->ref.block) return false;
    if (range_end(a) <= range_begin(b) || range_end(b) <= range_begin(a)) return false;
    if (a->rows == 1 && b->rows == 1) return true;
    uint64_t stride = a->rows > 1 ? a->stride : b->stride;
    if (a->rows > 1 && b->rows > 1 && a->stride != b->stride) return true;
    if (a->bytes > stride || b->bytes > stride) return true; /* rows overlap themselves, or one run spans rows */
    /* Same period: look at where the rows lie within it. Spans that only nearly meet count as overlapping. */
    uint64_t pa = range_begin(a) % stride, pb = range_begin(b) % stride;
    uint64_t ahead = (pb + stride - pa) % stride; /* start of b's rows after the start of a's */
    return ahead < a->bytes || ahead + b->bytes > stride;
}

static bool commands_conflict(const lk_command *a, const lk_command *b) {
    for (uint32_t i = 0; i < a->range_count; ++i)
        for (uint32_t j = 0; j < b->range_count; ++j)
            if (((a->range[i].access | b->range[j].access) & LK_WRITE) && ranges_overlap(&a->range[i], &b->range[j]))
                return true;
    return false;
}

/* ---- the list ---- */

likeness_status lk_recording_create(lk_device *device, const lk_recording_options *options, lk_recording **out,
                                    lk_error *error) {
    *out = NULL;
    lk_recording *recording = lk_alloc(1, sizeof *recording);
    if (!recording) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "out of memory for a recording");
    recording->device = device;
    if (options) recording->options = *options;
    *out = recording;
    return LIKENESS_OK;
}

static const char *label_of(const lk_command *command) {
    if (command->label) return command->label;
    if (command->kind == LK_COMMAND_COPY) return "copy";
    if (command->kind == LK_COMMAND_FILL) return "fill";
    return lk_shader_table[command->shader]->name;
}

static likeness_status check_ranges(const lk_recording *recording, const lk_command *command, lk_error *error) {
    if (command->too_many)
        return lk_fail(error, LIKENESS_INTERNAL, "%s: too many push constants, specialization constants or ranges",
                       label_of(command));
    for (uint32_t i = 0; i < command->range_count; ++i) {
        const lk_range *range = &command->range[i];
        if (range->ref.block->device != recording->device || range_end(range) > range->ref.block->bytes)
            return lk_fail(error, LIKENESS_INTERNAL, "%s: range %u ends at byte %llu of a block of %llu",
                           label_of(command), i, (unsigned long long)range_end(range),
                           (unsigned long long)range->ref.block->bytes);
    }
    return LIKENESS_OK;
}

likeness_status lk_record(lk_recording *recording, const lk_command *command, lk_error *error) {
    lk_device *device = recording->device;
    if (recording->finished)
        return lk_fail(error, LIKENESS_INTERNAL, "%s: the recording is finished already", label_of(command));
    if (device->lost) return lk_fail(error, LIKENESS_DEVICE_LOST, "the device was lost: start again");
    if (command->kind == LK_COMMAND_DISPATCH && command->groups == 0) return LIKENESS_OK;
    if (command->kind == LK_COMMAND_DISPATCH && command->groups > UINT32_MAX)
        return lk_fail(error, LIKENESS_INTERNAL, "%s: too many workgroups", label_of(command));
    LK_TRY(check_ranges(recording, command, error));
    VkPipeline pipeline = VK_NULL_HANDLE;
    if (command->kind == LK_COMMAND_DISPATCH) {
        likeness_status status = lk_pipeline_get(device, command, &pipeline, error);
        if (status != LIKENESS_OK) {
            if (command->label) lk_error_prefix(error, "%s", command->label);
            return status;
        }
    }
    if (recording->count == recording->capacity) {
        uint32_t capacity = recording->capacity ? recording->capacity * 2 : 64;
        lk_item *items = lk_realloc(recording->items, capacity, sizeof *items);
        if (!items) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "out of memory recording %s", label_of(command));
        recording->items = items;
        recording->capacity = capacity;
    }
    lk_item *item = &recording->items[recording->count];
    item->command = *command;
    item->pipeline = pipeline;
    item->batch = 0;
    item->estimate = lk_driver_estimate(&device->probe.caps, command->flops, command->bytes);
    if (command->label) {
        item->command.label = lk_arena_strdup(&recording->labels, command->label);
        if (!item->command.label) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "out of memory recording a command");
    }
    ++recording->count;
    return LIKENESS_OK;
}

likeness_status lk_record_copy(lk_recording *recording, lk_buffer_ref from, lk_buffer_ref to, lk_error *error) {
    if (from.bytes != to.bytes)
        return lk_fail(error, LIKENESS_INTERNAL, "copy of %llu bytes into %llu", (unsigned long long)from.bytes,
                       (unsigned long long)to.bytes);
    if (from.bytes == 0) return LIKENESS_OK;
    lk_command command;
    memset(&command, 0, sizeof command);
    command.kind = LK_COMMAND_COPY;
    command.bytes = 2.0 * (double)from.bytes;
    lk_command_reads(&command, from);
    lk_command_writes(&command, to);
    if (from.block == to.block && ranges_overlap(&command.range[0], &command.range[1]))
        return lk_fail(error, LIKENESS_INTERNAL, "copy between overlapping ranges");
    return lk_record(recording, &command, error);
}

likeness_status lk_record_fill(lk_recording *recording, lk_buffer_ref ref, uint32_t word, lk_error *error) {
    if (ref.bytes % 4 || ref.offset % 4) return lk_fail(error, LIKENESS_INTERNAL, "a fill wants multiples of 4 bytes");
    if (ref.bytes == 0) return LIKENESS_OK;
    lk_command command;
    memset(&command, 0, sizeof command);
    command.kind = LK_COMMAND_FILL;
    command.word = word;
    command.bytes = (double)ref.bytes;
    lk_command_writes(&command, ref);
    return lk_record(recording, &command, error);
}

/* ---- batches ---- */

static uint64_t next_random(uint64_t *state) {
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static void plan_batches(lk_recording *recording) {
    uint32_t batch = 0, start = 0;
    for (uint32_t i = 0; i < recording->count; ++i) {
        bool conflict = recording->options.serialize && i > start;
        for (uint32_t j = start; j < i && !conflict; ++j)
            conflict = commands_conflict(&recording->items[j].command, &recording->items[i].command);
        if (conflict) {
            ++batch;
            start = i;
        }
        recording->items[i].batch = batch;
        recording->order[i] = i;
    }
    uint64_t state = recording->options.shuffle_seed;
    if (!state) return;
    for (uint32_t first = 0; first < recording->count;) {
        uint32_t end = first;
        while (end < recording->count && recording->items[end].batch == recording->items[first].batch)
            ++end;
        for (uint32_t i = end - first; i > 1; --i) {
            uint32_t a = first + i - 1, b = first + (uint32_t)(next_random(&state) % i);
            uint32_t swap = recording->order[a];
            recording->order[a] = recording->order[b];
            recording->order[b] = swap;
        }
        first = end;
    }
}

/* ---- emission ---- */

void lk_barrier(VkCommandBuffer commands, bool to_host) {
    const VkPipelineStageFlags2 work = VK_PIPELINE_STAGE_2_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_2_TRANSFER_BIT;
    VkMemoryBarrier2 barrier = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER_2,
                                .srcStageMask = work,
                                .srcAccessMask = VK_ACCESS_2_MEMORY_READ_BIT | VK_ACCESS_2_MEMORY_WRITE_BIT,
                                .dstStageMask = work | (to_host ? VK_PIPELINE_STAGE_2_HOST_BIT : 0),
                                .dstAccessMask = VK_ACCESS_2_MEMORY_READ_BIT | VK_ACCESS_2_MEMORY_WRITE_BIT};
    VkDependencyInfo info = {
        .sType = VK_STRUCTURE_TYPE_DEPENDENCY_INFO, .memoryBarrierCount = 1, .pMemoryBarriers = &barrier};
    vkCmdPipelineBarrier2(commands, &info);
}

/* Exactly `count` workgroups from `first`, over three axes of at most `limit`: each piece is a full box. */
static void dispatch_groups(const lk_device *device, VkCommandBuffer commands, uint64_t first, uint64_t count) {
    uint64_t limit = device->probe.caps.max_groups_axis;
    while (count > 0) {
        uint64_t x = count < limit ? count : limit, y = 1, z = 1;
        if (x == limit) {
            y = count / x < limit ? count / x : limit;
            if (y == limit) z = count / (x * y) < limit ? count / (x * y) : limit;
        }
        uint32_t at = (uint32_t)first;
        vkCmdPushConstants(commands, device->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, 4, &at);
        vkCmdDispatch(commands, (uint32_t)x, (uint32_t)y, (uint32_t)z);
        first += x * y * z;
        count -= x * y * z;
    }
}

static void emit_command(const lk_device *device, VkCommandBuffer commands, const lk_item *item, uint64_t first,
                         uint64_t count) {
    const lk_command *command = &item->command;
    const lk_range *range = command->range;
    if (command->kind == LK_COMMAND_COPY) {
        VkBufferCopy region = {range_begin(&range[0]), range_begin(&range[1]), range[0].bytes};
        vkCmdCopyBuffer(commands, range[0].ref.block->buffer, range[1].ref.block->buffer, 1, &region);
    } else if (command->kind == LK_COMMAND_FILL) {
        vkCmdFillBuffer(commands, range[0].ref.block->buffer, range_begin(&range[0]), range[0].bytes, command->word);
    } else {
        uint32_t push[(PUSH_HEADER + LK_MAX_PUSH) / 4] = {(uint32_t)first, (uint32_t)command->groups};
        memcpy((unsigned char *)push + PUSH_HEADER, command->push, command->push_bytes);
        vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, item->pipeline);
        vkCmdPushConstants(commands, device->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, sizeof push, push);
        dispatch_groups(device, commands, first, count);
    }
}

/* State of one pass over the list. */
typedef struct lk_emission {
    lk_recording *recording;
    VkCommandBuffer commands; /* of the open chunk, or null */
    likeness_status status;
    lk_error *error;
} lk_emission;

static bool note(lk_emission *emission, uint32_t value) {
    lk_recording *recording = emission->recording;
    if (recording->note_count == recording->note_capacity) {
        uint32_t capacity = recording->note_capacity ? recording->note_capacity * 2 : 128;
        uint32_t *notes = lk_realloc(recording->notes, capacity, sizeof *notes);
        if (!notes) {
            emission->status = lk_fail(emission->error, LIKENESS_OUT_OF_MEMORY, "out of memory for a recording");
            return false;
        }
        recording->notes = notes;
        recording->note_capacity = capacity;
    }
    recording->notes[recording->note_count++] = value;
    ++recording->chunks[recording->chunk_count - 1].note_count;
    return true;
}

static void close_chunk(lk_emission *emission) {
    if (!emission->commands) return;
    VkResult result = LK_VK(vkEndCommandBuffer(emission->commands));
    emission->commands = VK_NULL_HANDLE;
    if (result != VK_SUCCESS)
        emission->status = lk_vk_fail(emission->recording->device, result, "recording commands", emission->error);
}

static bool open_chunk(lk_emission *emission, uint32_t first_item) {
    lk_recording *recording = emission->recording;
    lk_device *device = recording->device;
    if (recording->chunk_count == recording->chunk_capacity) {
        uint32_t capacity = recording->chunk_capacity ? recording->chunk_capacity * 2 : 16;
        lk_chunk *chunks = lk_realloc(recording->chunks, capacity, sizeof *chunks);
        if (!chunks) {
            emission->status = lk_fail(emission->error, LIKENESS_OUT_OF_MEMORY, "out of memory for a recording");
            return false;
        }
        recording->chunks = chunks;
        recording->chunk_capacity = capacity;
    }
    lk_chunk *chunk = &recording->chunks[recording->chunk_count];
    memset(chunk, 0, sizeof *chunk);
    chunk->first_note = recording->note_count;
    chunk->first_item = first_item;
    VkCommandBufferAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                        .commandPool = recording->pool,
                                        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                        .commandBufferCount = 1};
    VkResult result = LK_VK(vkAllocateCommandBuffers(device->handle, &info, &chunk->commands));
    if (result == VK_SUCCESS) {
        VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
        result = LK_VK(vkBeginCommandBuffer(chunk->commands, &begin));
    }
    if (result != VK_SUCCESS) {
        emission->status = lk_vk_fail(device, result, "making a command buffer", emission->error);
        return false;
    }
    ++recording->chunk_count;
    emission->commands = chunk->commands;
    if (recording->queries && recording->chunk_count == 1)
        vkCmdResetQueryPool(emission->commands, recording->queries, 0, 2 * recording->count);
    return true;
}

/* A barrier, unless it is the one that the test of the checker leaves out. */
static void emit_barrier(lk_emission *emission, bool end) {
    lk_recording *recording = emission->recording;
    ++recording->barriers;
    if ((int64_t)recording->barriers == recording->options.omit_barrier) return;
    lk_barrier(emission->commands, end);
    note(emission, end ? NOTE_END_BARRIER : NOTE_BARRIER);
}

static bool chunk_full(const lk_recording *recording, double more) {
    const lk_chunk *chunk = &recording->chunks[recording->chunk_count - 1];
    if (chunk->item_count == 0) return false;
    if (recording->options.submit_commands && chunk->item_count >= recording->options.submit_commands) return true;
    return chunk->item_count >= CHUNK_COMMANDS || chunk->estimate + more > CHUNK_SECONDS;
}

static void emit_item(lk_emission *emission, uint32_t position) {
    lk_recording *recording = emission->recording;
    uint32_t index = recording->order[position];
    lk_item *item = &recording->items[index];
    /* Pieces: a dispatch that alone is longer than a submit should be. */
    uint64_t groups = item->command.kind == LK_COMMAND_DISPATCH ? item->command.groups : 1;
    uint64_t pieces = 1;
    if (item->command.kind == LK_COMMAND_DISPATCH) {
        if (recording->options.split_groups)
            pieces = (groups + recording->options.split_groups - 1) / recording->options.split_groups;
        else if (!recording->device->probe.caps.is_cpu && item->estimate > SUBMIT_SECONDS)
            pieces = (uint64_t)ceil(item->estimate / SUBMIT_SECONDS);
        if (pieces > groups) pieces = groups;
    }
    item->pieces = pieces;
    double estimate = item->estimate / (double)pieces;
    uint64_t done = 0;
    for (uint64_t piece = 0; piece < pieces && emission->status == LIKENESS_OK; ++piece) {
        if (emission->commands && chunk_full(recording, estimate)) close_chunk(emission);
        if (emission->status == LIKENESS_OK && !emission->commands && !open_chunk(emission, position)) return;
        if (emission->status != LIKENESS_OK) return;
        bool before =
            piece == 0 && position > 0 && recording->items[recording->order[position - 1]].batch != item->batch;
        if (before) emit_barrier(emission, false);
        uint64_t end = groups * (piece + 1) / pieces;
        if (recording->options.split_groups) {
            end = done + recording->options.split_groups;
            if (end > groups) end = groups;
        }
        if (recording->queries && piece == 0)
            vkCmdWriteTimestamp2(emission->commands, VK_PIPELINE_STAGE_2_ALL_COMMANDS_BIT, recording->queries,
                                 2 * index);
        emit_command(recording->device, emission->commands, item, done, end - done);
        if (recording->queries && piece + 1 == pieces)
            vkCmdWriteTimestamp2(emission->commands, VK_PIPELINE_STAGE_2_ALL_COMMANDS_BIT, recording->queries,
                                 2 * index + 1);
        if (piece == 0 && !note(emission, index)) return;
        done = end;
        lk_chunk *chunk = &recording->chunks[recording->chunk_count - 1];
        ++chunk->item_count;
        chunk->estimate += estimate;
    }
}

static likeness_status emit(lk_recording *recording, lk_error *error) {
    lk_emission emission = {recording, VK_NULL_HANDLE, LIKENESS_OK, error};
    recording->chunk_count = 0;
    recording->note_count = 0;
    recording->barriers = 0;
    recording->rebuild = false;
    VkResult result = LK_VK(
        vkResetCommandPool(recording->device->handle, recording->pool, VK_COMMAND_POOL_RESET_RELEASE_RESOURCES_BIT));
    if (result != VK_SUCCESS) return lk_vk_fail(recording->device, result, "resetting a command pool", error);
    for (uint32_t i = 0; i < recording->count && emission.status == LIKENESS_OK; ++i)
        emit_item(&emission, i);
    if (emission.status == LIKENESS_OK && emission.commands) {
        emit_barrier(&emission, true);
        close_chunk(&emission);
    }
    return emission.status;
}

likeness_status lk_recording_finish(lk_recording *recording, lk_error *error) {
    if (recording->finished) return LIKENESS_OK;
    lk_device *device = recording->device;
    if (recording->count == 0) {
        recording->finished = true;
        return LIKENESS_OK;
    }
    VkResult result = VK_SUCCESS;
    if (!recording->order) {
        recording->order = lk_alloc(recording->count, sizeof *recording->order);
        if (!recording->order) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "out of memory for a recording");
        plan_batches(recording);
    }
    if (!recording->pool) {
        VkCommandPoolCreateInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                        .queueFamilyIndex = device->probe.queue_family};
        result = LK_VK(vkCreateCommandPool(device->handle, &info, NULL, &recording->pool));
        if (result != VK_SUCCESS) {
            recording->pool = VK_NULL_HANDLE;
            return lk_vk_fail(device, result, "creating a command pool", error);
        }
    }
    if (recording->options.timestamps && device->probe.caps.timestamps && !recording->queries) {
        recording->times = lk_alloc(recording->count, sizeof *recording->times);
        if (!recording->times) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "out of memory for a recording");
        VkQueryPoolCreateInfo info = {.sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
                                      .queryType = VK_QUERY_TYPE_TIMESTAMP,
                                      .queryCount = 2 * recording->count};
        result = LK_VK(vkCreateQueryPool(device->handle, &info, NULL, &recording->queries));
        if (result != VK_SUCCESS) {
            recording->queries = VK_NULL_HANDLE;
            return lk_vk_fail(device, result, "creating timestamps", error);
        }
    }
    LK_TRY(emit(recording, error));
    recording->finished = true;
    return LIKENESS_OK;
}

/* ---- submitting ---- */

static likeness_status add_fence(lk_recording *recording, lk_error *error) {
    uint32_t count = recording->fence_count + 1;
    VkFence *fences = lk_realloc(recording->fences, count, sizeof *fences);
    if (fences) recording->fences = fences;
    void *groups = lk_realloc(recording->groups, count, sizeof *recording->groups);
    if (groups) recording->groups = groups;
    if (!fences || !groups) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "out of memory for a submit");
    VkFenceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    VkResult result = LK_VK(vkCreateFence(recording->device->handle, &info, NULL, &fences[recording->fence_count]));
    if (result != VK_SUCCESS) return lk_vk_fail(recording->device, result, "creating a fence", error);
    recording->fence_count = count;
    return LIKENESS_OK;
}

static void trace_chunks(const lk_recording *recording, uint32_t first, uint32_t count) {
    lk_device *device = recording->device;
    if (!device->trace) return;
    for (uint32_t c = first; c < first + count; ++c)
        for (uint32_t n = 0; n < recording->chunks[c].note_count; ++n) {
            uint32_t value = recording->notes[recording->chunks[c].first_note + n];
            if (value == NOTE_BARRIER || value == NOTE_END_BARRIER) {
                lk_trace_barrier(device, value == NOTE_END_BARRIER);
            } else {
                const lk_command *command = &recording->items[value].command;
                lk_trace_command(device, command->range, command->range_count, label_of(command), value);
            }
        }
}

static likeness_status submit_group(lk_recording *recording, uint32_t first, uint32_t count, lk_error *error) {
    lk_device *device = recording->device;
    uint32_t group = recording->group_count;
    if (group == recording->fence_count) LK_TRY(add_fence(recording, error));
    VkCommandBufferSubmitInfo *infos = lk_alloc(count, sizeof *infos);
    if (!infos) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "out of memory for a submit");
    for (uint32_t i = 0; i < count; ++i) {
        infos[i].sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_SUBMIT_INFO;
        infos[i].commandBuffer = recording->chunks[first + i].commands;
    }
    VkSubmitInfo2 submit = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO_2, .commandBufferInfoCount = count, .pCommandBufferInfos = infos};
    VkResult result = LK_VK(vkResetFences(device->handle, 1, &recording->fences[group]));
    if (result == VK_SUCCESS) result = LK_VK(vkQueueSubmit2(device->queue, 1, &submit, recording->fences[group]));
    lk_free(infos);
    if (result != VK_SUCCESS) return lk_vk_fail(device, result, "submitting work", error);
    recording->groups[group].first_chunk = first;
    recording->groups[group].chunk_count = count;
    recording->groups[group].submitted = lk_time_seconds();
    recording->groups[group].serial = ++device->submit_serial;
    ++recording->group_count;
    trace_chunks(recording, first, count);
    lk_trace_submit(device, device->submit_serial);
    return LIKENESS_OK;
}

/* What a group took corrects the estimates of its chunks and commands. Chunks that turn out far too long are made anew,
 * smaller, before the next replay. */
static void learn(lk_recording *recording, uint32_t group, double seconds) {
    uint32_t first = recording->groups[group].first_chunk, count = recording->groups[group].chunk_count;
    if (recording->options.split_groups || recording->options.submit_commands) return; /* cut as a test wants it */
    double estimate = 0;
    for (uint32_t i = 0; i < count; ++i)
        estimate += recording->chunks[first + i].estimate;
    double ratio = seconds / (estimate > 1e-9 ? estimate : 1e-9);
    for (uint32_t i = 0; i < count; ++i) {
        lk_chunk *chunk = &recording->chunks[first + i];
        chunk->estimate *= ratio;
        for (uint32_t k = 0; k < chunk->item_count && chunk->first_item + k < recording->count; ++k) {
            lk_item *item = &recording->items[recording->order[chunk->first_item + k]];
            if (item->pieces > 1)
                item->estimate = chunk->estimate * (double)item->pieces; /* pieces have chunks of their own */
            else
                item->estimate *= ratio;
        }
        if (!recording->device->probe.caps.is_cpu && chunk->estimate > 2 * SUBMIT_SECONDS) recording->rebuild = true;
    }
}

static likeness_status wait_group(lk_recording *recording, uint32_t group, lk_error *error) {
    lk_device *device = recording->device;
    /* Done before we looked: the time is not known. */
    bool late = vkGetFenceStatus(device->handle, recording->fences[group]) == VK_SUCCESS;
    VkResult result = LK_VK(vkWaitForFences(device->handle, 1, &recording->fences[group], VK_TRUE, UINT64_MAX));
    if (result != VK_SUCCESS) return lk_vk_fail(device, result, "waiting for the device", error);
    double now = lk_time_seconds(), start = recording->groups[group].submitted;
    if (group > 0 && recording->last_done > start) start = recording->last_done;
    recording->last_done = now;
    recording->seconds += now - start;
    if (!late) learn(recording, group, now - start);
    recording->groups_waited = group + 1;
    device->waited_serial = recording->groups[group].serial;
    lk_trace_wait(device, device->waited_serial);
    return LIKENESS_OK;
}

static void unlink_running(lk_recording *recording) {
    lk_device *device = recording->device;
    lk_recording **link = &device->running_first, *previous = NULL;
    while (*link && *link != recording) {
        previous = *link;
        link = &(*link)->running_next;
    }
    if (*link) {
        *link = recording->running_next;
        if (device->running_last == recording) device->running_last = previous;
    }
    recording->running = false;
    recording->running_next = NULL;
}

static likeness_status read_times(lk_recording *recording, lk_error *error) {
    if (!recording->queries) return LIKENESS_OK;
    uint64_t *ticks = lk_alloc(2 * (size_t)recording->count, sizeof *ticks);
    if (!ticks) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "out of memory for timestamps");
    VkResult result = LK_VK(vkGetQueryPoolResults(recording->device->handle, recording->queries, 0,
                                                  2 * recording->count, 2 * recording->count * sizeof *ticks, ticks,
                                                  sizeof *ticks, VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WAIT_BIT));
    for (uint32_t i = 0; result == VK_SUCCESS && i < recording->count; ++i)
        recording->times[i] = (double)(ticks[2 * i + 1] - ticks[2 * i]) * recording->device->probe.caps.timestamp_ns;
    lk_free(ticks);
    if (result != VK_SUCCESS) return lk_vk_fail(recording->device, result, "reading timestamps", error);
    return LIKENESS_OK;
}

likeness_status lk_recording_wait(lk_recording *recording, lk_error *error) {
    if (!recording->running) return LIKENESS_OK;
    likeness_status status = LIKENESS_OK;
    for (uint32_t group = recording->groups_waited; group < recording->group_count && status == LIKENESS_OK; ++group)
        status = wait_group(recording, group, error);
    if (status != LIKENESS_OK) vkDeviceWaitIdle(recording->device->handle); /* nothing may be freed while in use */
    unlink_running(recording);
    if (status == LIKENESS_OK) status = read_times(recording, error);
    return status;
}

likeness_status lk_stream_wait(lk_device *device, lk_error *error) {
    likeness_status status = LIKENESS_OK;
    while (device->running_first) {
        likeness_status one = lk_recording_wait(device->running_first, error);
        if (status == LIKENESS_OK) status = one;
    }
    if (status == LIKENESS_OK && device->lost)
        status = lk_fail(error, LIKENESS_DEVICE_LOST, "the device was lost: start again");
    return status;
}

likeness_status lk_replay(lk_recording *recording, lk_error *error) {
    lk_device *device = recording->device;
    LK_TRY(lk_recording_wait(recording, error));
    if (device->lost) return lk_fail(error, LIKENESS_DEVICE_LOST, "the device was lost: start again");
    if (device->probe.caps.null_device)
        return lk_fail(error, LIKENESS_NO_DEVICE, "%s only compiles shaders and runs nothing: choose another device",
                       device->probe.caps.name);
    LK_TRY(lk_recording_finish(recording, error));
    if (recording->count == 0) return LIKENESS_OK;
    if (recording->rebuild) {
        recording->finished = false;
        LK_TRY(lk_recording_finish(recording, error));
    }
    recording->group_count = 0;
    recording->groups_waited = 0;
    recording->seconds = 0;
    recording->running = true;
    recording->running_next = NULL;
    if (device->running_last)
        device->running_last->running_next = recording;
    else
        device->running_first = recording;
    device->running_last = recording;

    likeness_status status = LIKENESS_OK;
    for (uint32_t first = 0; first < recording->chunk_count && status == LIKENESS_OK;) {
        uint32_t count = 1;
        double estimate = recording->chunks[first].estimate;
        while (first + count < recording->chunk_count && !recording->options.submit_commands &&
               !recording->options.split_groups &&
               (device->probe.caps.is_cpu || estimate + recording->chunks[first + count].estimate <= SUBMIT_SECONDS)) {
            estimate += recording->chunks[first + count].estimate;
            ++count;
        }
        status = submit_group(recording, first, count, error);
        first += count;
        /* Two submits in flight keep the device busy, and waiting for the one before gives its time. */
        if (status == LIKENESS_OK && recording->group_count >= 2 && first < recording->chunk_count)
            status = wait_group(recording, recording->group_count - 2, error);
    }
    if (status != LIKENESS_OK) {
        vkDeviceWaitIdle(device->handle);
        unlink_running(recording);
    }
    return status;
}

void lk_recording_destroy(lk_recording *recording) {
    if (!recording) return;
    lk_device *device = recording->device;
    if (recording->running) {
        vkDeviceWaitIdle(device->handle);
        unlink_running(recording);
    }
    for (uint32_t i = 0; i < recording->fence_count; ++i)
        vkDestroyFence(device->handle, recording->fences[i], NULL);
    vkDestroyQueryPool(device->handle, recording->queries, NULL);
    vkDestroyCommandPool(device->handle, recording->pool, NULL);
    lk_free(recording->times);
    lk_free(recording->fences);
    lk_free(recording->groups);
    lk_free(recording->notes);
    lk_free(recording->chunks);
    lk_free(recording->order);
    lk_free(recording->items);
    lk_arena_free(&recording->labels);
    lk_free(recording);
}

uint32_t lk_recording_count(const lk_recording *recording) { return recording->count; }
const lk_command *lk_recording_command(const lk_recording *recording, uint32_t index) {
    return &recording->items[index].command;
}
uint32_t lk_recording_barriers(const lk_recording *recording) { return recording->barriers; }
double lk_recording_time(const lk_recording *recording, uint32_t index) {
    return recording->times ? recording->times[index] : (double)NAN;
}
double lk_recording_seconds(const lk_recording *recording) { return recording->seconds; }

likeness_status lk_recording_run_one(lk_recording *recording, uint32_t index, lk_error *error) {
    lk_device *device = recording->device;
    if (index >= recording->count) return lk_fail(error, LIKENESS_INTERNAL, "there is no command %u", index);
    LK_TRY(lk_stream_wait(device, error));
    LK_TRY(lk_once_begin(device, error));
    const lk_item *item = &recording->items[index];
    emit_command(device, device->once.commands, item, 0, item->command.groups);
    lk_trace_command(device, item->command.range, item->command.range_count, label_of(&item->command), index);
    lk_barrier(device->once.commands, true);
    lk_trace_once_barrier(device);
    return lk_once_end(device, error);
}
