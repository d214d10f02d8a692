/* gpu/check.c - the trace of what was submitted, and the checks that read it.
 *
 * lk_check_trace is written without looking at the stream: it only knows the memory model.
 *   device after device   needs a barrier between the two commands
 *   host read             needs the write's barrier to the host and a wait for the submit that holds both
 *   host write            needs a wait for every submit that touches the bytes; a later submit sees it by itself
 * Commands between two barriers, and pieces of one command, run at once. */
#include "base/memory.h"
#include "gpu/internal.h"

#include <stdio.h>
#include <string.h>

/* ---- the trace ---- */

typedef struct lk_trace_entry {
    lk_trace_kind kind;
    bool to_host;
    uint32_t range_count;
    uint64_t first_range; /* index into ranges */
    uint64_t identity;    /* index of the command in its recording */
    uint64_t serial;
    const char *label;
} lk_trace_entry;

typedef struct lk_trace_range {
    uint32_t block; /* id */
    bool write;
    uint64_t begin, rows, stride, bytes;
} lk_trace_range;

struct lk_trace {
    lk_trace_entry *entries;
    uint64_t entry_count, entry_capacity;
    lk_trace_range *ranges;
    uint64_t range_count, range_capacity;
    lk_arena labels;
    bool incomplete;
};

likeness_status lk_trace_open(lk_device *device, lk_error *error) {
    device->trace = lk_alloc(1, sizeof *device->trace);
    if (!device->trace) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "out of memory for the trace");
    return LIKENESS_OK;
}

void lk_trace_close(lk_device *device) {
    if (!device->trace) return;
    lk_free(device->trace->entries);
    lk_free(device->trace->ranges);
    lk_arena_free(&device->trace->labels);
    lk_free(device->trace);
    device->trace = NULL;
}

void lk_check_clear(lk_device *device) {
    lk_trace *trace = device->trace;
    if (!trace) return;
    trace->entry_count = trace->range_count = 0;
    trace->incomplete = false;
    lk_arena_free(&trace->labels);
}

static lk_trace_entry *add_entry(lk_trace *trace, lk_trace_kind kind) {
    if (trace->entry_count == trace->entry_capacity) {
        uint64_t capacity = trace->entry_capacity ? trace->entry_capacity * 2 : 256;
        lk_trace_entry *entries = lk_realloc(trace->entries, capacity, sizeof *entries);
        if (!entries) {
            trace->incomplete = true;
            return NULL;
        }
        trace->entries = entries;
        trace->entry_capacity = capacity;
    }
    lk_trace_entry *entry = &trace->entries[trace->entry_count++];
    memset(entry, 0, sizeof *entry);
    entry->kind = kind;
    entry->first_range = trace->range_count;
    return entry;
}

static void add_range(lk_trace *trace, lk_trace_entry *entry, const lk_range *range) {
    if (trace->range_count == trace->range_capacity) {
        uint64_t capacity = trace->range_capacity ? trace->range_capacity * 2 : 512;
        lk_trace_range *ranges = lk_realloc(trace->ranges, capacity, sizeof *ranges);
        if (!ranges) {
            trace->incomplete = true;
            return;
        }
        trace->ranges = ranges;
        trace->range_capacity = capacity;
    }
    trace->ranges[trace->range_count++] = (lk_trace_range){range->ref.block->id,
                                                           (range->access & LK_WRITE) != 0,
                                                           range->ref.offset + range->offset,
                                                           range->rows,
                                                           range->stride,
                                                           range->bytes};
    ++entry->range_count;
}

void lk_trace_command(lk_device *device, const lk_range *ranges, uint32_t range_count, const char *label,
                      uint64_t identity) {
    lk_trace *trace = device->trace;
    if (!trace) return;
    lk_trace_entry *entry = add_entry(trace, LK_TRACE_COMMAND);
    if (!entry) return;
    entry->identity = identity;
    entry->label = lk_arena_strdup(&trace->labels, label);
    for (uint32_t i = 0; i < range_count; ++i)
        add_range(trace, entry, &ranges[i]);
}

void lk_trace_barrier(lk_device *device, bool to_host) {
    if (!device->trace) return;
    lk_trace_entry *entry = add_entry(device->trace, LK_TRACE_BARRIER);
    if (entry) entry->to_host = to_host;
}

void lk_trace_once_barrier(lk_device *device) {
    if (!device->trace) return;
    lk_trace_entry *entry = add_entry(device->trace, LK_TRACE_ONCE_BARRIER);
    if (entry) entry->to_host = true;
}

void lk_trace_submit(lk_device *device, uint64_t serial) {
    if (!device->trace) return;
    lk_trace_entry *entry = add_entry(device->trace, LK_TRACE_SUBMIT);
    if (entry) entry->serial = serial;
}

void lk_trace_wait(lk_device *device, uint64_t serial) {
    if (!device->trace) return;
    lk_trace_entry *entry = add_entry(device->trace, LK_TRACE_WAIT);
    if (entry) entry->serial = serial;
}

void lk_trace_host(lk_device *device, lk_trace_kind kind, lk_buffer_ref ref, uint64_t offset, uint64_t bytes) {
    if (!device->trace) return;
    lk_trace_entry *entry = add_entry(device->trace, kind);
    if (!entry) return;
    lk_range range = {ref, offset, 1, bytes, bytes, kind == LK_TRACE_HOST_WRITE ? LK_WRITE : LK_READ};
    entry->label = kind == LK_TRACE_HOST_WRITE ? "host write" : "host read";
    add_range(device->trace, entry, &range);
}

/* ---- the checker ---- */

/* An access of the device that may still matter. */
typedef struct lk_live {
    uint64_t entry; /* of the trace */
    lk_trace_range range;
    bool barrier;   /* a barrier came after it: ordered before later commands */
    bool available; /* ... that made it visible to the host */
    bool submitted, waited;
    uint64_t serial;
} lk_live;

static bool rows_touch(const lk_trace_range *a, uint64_t begin, uint64_t end) {
    /* Does [begin, end) touch any row of a? The first row that ends after `begin` decides. */
    uint64_t first = begin < a->begin + a->bytes ? 0 : (begin - a->begin - a->bytes) / a->stride + 1;
    return first < a->rows && a->begin + first * a->stride < end;
}

/* Row by row, exact. */
static bool touch(const lk_trace_range *a, const lk_trace_range *b) {
    if (a->block != b->block || !(a->write || b->write)) return false;
    if (a->rows > b->rows) {
        const lk_trace_range *swap = a;
        a = b;
        b = swap;
    }
    for (uint64_t row = 0; row < a->rows; ++row) {
        uint64_t begin = a->begin + row * a->stride;
        if (rows_touch(b, begin, begin + a->bytes)) return true;
    }
    return false;
}

static void report(lk_check_result *result, const lk_trace *trace, uint64_t first, uint64_t second) {
    if (result->conflicts++ > 0) return;
    const lk_trace_entry *a = &trace->entries[first], *b = &trace->entries[second];
    snprintf(result->first, sizeof result->first, "no barrier between %s (command %llu) and %s (command %llu)",
             a->label ? a->label : "?", (unsigned long long)a->identity, b->label ? b->label : "?",
             (unsigned long long)b->identity);
}

typedef struct lk_live_list {
    lk_live *item;
    uint64_t count, capacity;
    uint64_t open; /* the first that has no barrier after it yet; those behind it have none either */
} lk_live_list;

static bool keep(lk_live_list *live, uint64_t entry, const lk_trace_range *range) {
    if (live->count == live->capacity) {
        uint64_t capacity = live->capacity ? live->capacity * 2 : 256;
        lk_live *item = lk_realloc(live->item, capacity, sizeof *item);
        if (!item) return false;
        live->item = item;
        live->capacity = capacity;
    }
    live->item[live->count++] = (lk_live){.entry = entry, .range = *range};
    return true;
}

/* Accesses that are done and visible everywhere matter no more. */
static void forget(lk_live_list *live) {
    uint64_t kept = 0;
    for (uint64_t i = 0; i < live->count; ++i)
        if (!(live->item[i].barrier && live->item[i].available && live->item[i].waited))
            live->item[kept++] = live->item[i];
    live->count = live->open = kept;
    while (live->open > 0 && !live->item[live->open - 1].barrier)
        --live->open;
}

static bool check_command(const lk_trace *trace, uint64_t index, lk_live_list *live, lk_check_result *result) {
    const lk_trace_entry *entry = &trace->entries[index];
    for (uint32_t r = 0; r < entry->range_count; ++r) {
        const lk_trace_range *range = &trace->ranges[entry->first_range + r];
        for (uint64_t i = live->open; i < live->count; ++i)
            if (live->item[i].entry != index && touch(&live->item[i].range, range))
                report(result, trace, live->item[i].entry, index);
        if (!keep(live, index, range)) return false;
    }
    return true;
}

static void check_host(const lk_trace *trace, uint64_t index, const lk_live_list *live, lk_check_result *result) {
    const lk_trace_entry *entry = &trace->entries[index];
    for (uint32_t r = 0; r < entry->range_count; ++r)
        for (uint64_t i = 0; i < live->count; ++i) {
            const lk_live *access = &live->item[i];
            bool fine = access->waited && (!access->range.write || access->available);
            if (!fine && touch(&access->range, &trace->ranges[entry->first_range + r]))
                report(result, trace, access->entry, index);
        }
}

likeness_status lk_check_trace(const lk_device *device, lk_check_result *result, lk_error *error) {
    return lk_check_trace_without(device, 0, result, error);
}

likeness_status lk_check_trace_without(const lk_device *device, uint64_t n, lk_check_result *result, lk_error *error) {
    memset(result, 0, sizeof *result);
    const lk_trace *trace = device->trace;
    if (!trace) return lk_fail(error, LIKENESS_INTERNAL, "the device was opened without a trace");
    if (trace->incomplete) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "the trace ran out of memory");
    lk_live_list live = {0};
    bool fine = true;
    for (uint64_t index = 0; index < trace->entry_count && fine; ++index) {
        const lk_trace_entry *entry = &trace->entries[index];
        switch (entry->kind) {
        case LK_TRACE_COMMAND:
            ++result->commands;
            fine = check_command(trace, index, &live, result);
            break;
        case LK_TRACE_BARRIER:
            if (++result->barriers == n) break;
            for (uint64_t i = 0; i < live.count; ++i) {
                live.item[i].barrier = true;
                if (entry->to_host) live.item[i].available = true;
            }
            live.open = live.count;
            break;
        case LK_TRACE_ONCE_BARRIER: /* counted on for its own command only, so that mapped and staged memory differ in
                                     * nothing */
            for (uint64_t i = 0; i < live.count; ++i)
                if (live.item[i].entry + 1 == index) live.item[i].barrier = live.item[i].available = true;
            break;
        case LK_TRACE_SUBMIT:
            ++result->submits;
            for (uint64_t i = 0; i < live.count; ++i)
                if (!live.item[i].submitted) {
                    live.item[i].submitted = true;
                    live.item[i].serial = entry->serial;
                }
            break;
        case LK_TRACE_WAIT:
            for (uint64_t i = 0; i < live.count; ++i)
                if (live.item[i].submitted && live.item[i].serial <= entry->serial) live.item[i].waited = true;
            forget(&live);
            break;
        case LK_TRACE_HOST_READ:
        case LK_TRACE_HOST_WRITE:
            ++result->host_accesses;
            check_host(trace, index, &live, result);
            break;
        }
    }
    lk_free(live.item);
    if (!fine) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "out of memory checking the trace");
    return LIKENESS_OK;
}

/* ---- one command alone, poisoned ---- */

/* Poisons differ by address, so that two wrong reads do not cancel: NaN, about +3e38, about -3e38. */
static uint32_t poison(int run, uint64_t address) {
    uint32_t noise = (uint32_t)((address / 4 * UINT64_C(0x9e3779b97f4a7c15)) >> 45) & 0x7ffffu;
    if (run == 1) return 0x7fc00001u + noise; /* NaN with a payload */
    return (run == 2 ? 0x7f600000u : 0xff600000u) + noise;
}

/* marks[i]: LK_READ the command may read byte i, LK_WRITE it may write it. */
static void mark(unsigned char *marks, const lk_buffer_ref *memory, const lk_range *range) {
    uint64_t begin = range->ref.offset + range->offset, end = memory->offset + memory->bytes;
    for (uint64_t row = 0; row < range->rows; ++row)
        for (uint64_t i = 0; i < range->bytes; ++i) {
            uint64_t at = begin + row * range->stride + i;
            if (at >= memory->offset && at < end) marks[at - memory->offset] |= (unsigned char)range->access;
        }
}

/* One part of the memory. */
typedef struct lk_truth {
    lk_buffer_ref ref;
    unsigned char *before, *poisoned, *after, *first, *marks;
} lk_truth;

static void truth_free(lk_truth *truth, uint32_t count) {
    for (uint32_t b = 0; truth && b < count; ++b) {
        lk_free(truth[b].before);
        lk_free(truth[b].poisoned);
        lk_free(truth[b].after);
        lk_free(truth[b].first);
        lk_free(truth[b].marks);
    }
    lk_free(truth);
}

static likeness_status truth_begin(lk_truth *truth, const lk_command *command, const lk_buffer_ref *ref,
                                   lk_error *error) {
    truth->ref = *ref;
    truth->before = lk_alloc(ref->bytes, 1);
    truth->poisoned = lk_alloc(ref->bytes, 1);
    truth->after = lk_alloc(ref->bytes, 1);
    truth->first = lk_alloc(ref->bytes, 1);
    truth->marks = lk_alloc(ref->bytes, 1);
    if (!truth->before || !truth->poisoned || !truth->after || !truth->first || !truth->marks)
        return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "out of memory for the truth check");
    for (uint32_t r = 0; r < command->range_count; ++r)
        if (command->range[r].ref.block == ref->block) mark(truth->marks, ref, &command->range[r]);
    return lk_ref_read(*ref, 0, truth->before, ref->bytes, error);
}

/* Run 0 sees the memory as it is: poisons look alike where floats are read as integers. */
static likeness_status truth_poison(lk_truth *truth, int run, lk_error *error) {
    if (run == 0) memcpy(truth->poisoned, truth->before, truth->ref.bytes);
    for (uint64_t at = 0; run > 0 && at + 4 <= truth->ref.bytes; at += 4) {
        uint32_t word = poison(run, truth->ref.offset + at);
        /* Byte by byte: a half-word tensor may declare two bytes of a word. */
        for (uint64_t i = 0; i < 4; ++i)
            truth->poisoned[at + i] =
                truth->marks[at + i] & LK_READ ? truth->before[at + i] : (unsigned char)(word >> (8 * i));
    }
    return lk_ref_write(truth->ref, 0, truth->poisoned, truth->ref.bytes, error);
}

static likeness_status truth_look(lk_truth *truth, int run, const char *label, uint32_t index, uint32_t part,
                                  lk_error *error) {
    uint64_t bytes = truth->ref.bytes;
    LK_TRY(lk_ref_read(truth->ref, 0, truth->after, bytes, error));
    for (uint64_t at = 0; at < bytes; ++at) {
        bool written = truth->marks[at] & LK_WRITE;
        if (!written && truth->after[at] != truth->poisoned[at])
            return lk_fail(error, LIKENESS_INTERNAL,
                           "%s (command %u) changed byte %llu of block %u, which it does not declare as written", label,
                           index, (unsigned long long)(truth->ref.offset + at), part);
        if (written && run > 0 && truth->after[at] != truth->first[at])
            return lk_fail(error, LIKENESS_INTERNAL,
                           "%s (command %u): byte %llu of block %u depends on memory that it does not declare as read, "
                           "or is not written at all",
                           label, index, (unsigned long long)(truth->ref.offset + at), part);
    }
    if (run == 0) memcpy(truth->first, truth->after, bytes);
    return LIKENESS_OK;
}

likeness_status lk_check_truth(lk_recording *recording, uint32_t index, const lk_buffer_ref *memory, uint32_t count,
                               lk_error *error) {
    if (index >= lk_recording_count(recording))
        return lk_fail(error, LIKENESS_INTERNAL, "there is no command %u", index);
    const lk_command *command = lk_recording_command(recording, index);
    const char *label = command->label                         ? command->label
                        : command->kind == LK_COMMAND_DISPATCH ? lk_shader_table[command->shader]->name
                                                               : "copy or fill";
    lk_truth *truth = lk_alloc((size_t)count + 1, sizeof *truth);
    if (!truth) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "out of memory for the truth check");
    likeness_status status = LIKENESS_OK;
    for (uint32_t b = 0; b < count && status == LIKENESS_OK; ++b)
        status = truth_begin(&truth[b], command, &memory[b], error);
    for (int run = 0; run < 4 && status == LIKENESS_OK; ++run) {
        for (uint32_t b = 0; b < count && status == LIKENESS_OK; ++b)
            status = truth_poison(&truth[b], run, error);
        if (status == LIKENESS_OK) status = lk_recording_run_one(recording, index, error);
        for (uint32_t b = 0; b < count && status == LIKENESS_OK; ++b)
            status = truth_look(&truth[b], run, label, index, b, error);
    }
    /* What the command really leaves: its outputs over the untouched rest. */
    for (uint32_t b = 0; b < count && status == LIKENESS_OK; ++b) {
        for (uint64_t at = 0; at < truth[b].ref.bytes; ++at)
            if (truth[b].marks[at] & LK_WRITE) truth[b].before[at] = truth[b].after[at];
        status = lk_ref_write(truth[b].ref, 0, truth[b].before, truth[b].ref.bytes, error);
    }
    truth_free(truth, count);
    return status;
}
