/* graph/instance.c - a plan on a device: an arena, one recording a section, shared weights; write, run, read. */
#include "graph/instance.h"

#include "base/memory.h"
#include "gpu/check.h"
#include "gpu/device.h"

#include <string.h>

static lk_buffer_ref ref_of(const lk_instance *instance, lk_value value) {
    const lk_graph *graph = instance->plan->graph;
    const lk_value_info *info = &graph->values[value];
    if (info->kind == LK_VALUE_WEIGHT && instance->plan->root[value] == value)
        return graph->weights->items[info->source].ref;
    const lk_place *place = &instance->plan->place[instance->plan->root[value]];
    if (place->block < 0) return (lk_buffer_ref){NULL, 0, 0};
    return lk_ref_slice(lk_block_ref(instance->blocks[place->block]), place->offset, place->bytes);
}

struct lk_arena {
    lk_block **blocks;
    int32_t count;
};

lk_arena *lk_arena_create(lk_device *device, const lk_plan *const *plans, int plan_count, lk_error *error) {
    lk_arena *arena = lk_alloc(1, sizeof *arena);
    int32_t most = 0;
    for (int p = 0; p < plan_count; p++)
        if (plans[p]->block_count > most) most = plans[p]->block_count;
    if (arena) arena->blocks = lk_alloc((size_t)most + 1, sizeof *arena->blocks);
    if (!arena || !arena->blocks) {
        lk_free(arena);
        lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for an arena");
        return NULL;
    }
    for (int32_t i = 0; i < most; i++) {
        uint64_t bytes = 0;
        for (int p = 0; p < plan_count; p++)
            if (i < plans[p]->block_count && plans[p]->block_bytes[i] > bytes) bytes = plans[p]->block_bytes[i];
        if (lk_block_create(device, bytes, "activations", &arena->blocks[i], error) != LIKENESS_OK) {
            lk_arena_destroy(arena);
            return NULL;
        }
        arena->count++;
    }
    return arena;
}

void lk_arena_destroy(lk_arena *arena) {
    if (!arena) return;
    for (int32_t i = 0; i < arena->count; i++)
        lk_block_destroy(arena->blocks[i]);
    lk_free(arena->blocks);
    lk_free(arena);
}

uint64_t lk_plan_scratch_bytes(const lk_plan *plan, const lk_device *device) {
    uint64_t most = 0;
    for (int32_t n = 0; n < plan->node_count; n++) {
        const lk_op_call *call = &plan->graph->nodes[n].call;
        const lk_op_row *row = lk_op_row_of(call->op);
        if (!lk_plan_runs(plan, n) || !row->scratch_bytes) continue;
        uint64_t bytes = row->scratch_bytes(call, device);
        if (bytes > most) most = bytes;
    }
    return (most + 255) / 256 * 256;
}

static likeness_status take_memory(lk_instance *instance, const lk_arena *arena, lk_error *error) {
    const lk_plan *plan = instance->plan;
    instance->blocks = lk_alloc((size_t)plan->block_count + 1, sizeof *instance->blocks);
    instance->recordings = lk_alloc((size_t)plan->graph->section_count, sizeof *instance->recordings);
    if (!instance->blocks || !instance->recordings)
        return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for an instance of a graph");
    instance->borrowed = arena != NULL;
    for (int32_t i = 0; i < plan->block_count; i++) {
        if (!arena)
            LK_TRY(lk_block_create(instance->device, plan->block_bytes[i], "activations", &instance->blocks[i], error));
        else if (i < arena->count && lk_block_bytes(arena->blocks[i]) >= plan->block_bytes[i])
            instance->blocks[i] = arena->blocks[i];
        else
            return lk_fail(error, LIKENESS_INTERNAL, "an arena was not made for this plan");
        instance->block_count++;
    }
    uint64_t scratch = lk_plan_scratch_bytes(plan, instance->device);
    if (scratch == 0) return LIKENESS_OK;
    return lk_block_create(instance->device, scratch, "scratch", &instance->scratch, error);
}

static likeness_status record_node(lk_instance *instance, const lk_node *node, const lk_instance_options *options,
                                   lk_error *error) {
    const lk_op_row *row = lk_op_row_of(node->call.op);
    if (!row->dispatch) return lk_fail(error, LIKENESS_INTERNAL, "%s: this op has no shader", node->name);
    lk_dispatch dispatch;
    memset(&dispatch, 0, sizeof dispatch);
    dispatch.device = instance->device;
    dispatch.recording = instance->recordings[node->section];
    dispatch.call = &node->call;
    dispatch.label = node->name;
    /* A variant is forced for an op; a call that has fewer takes its last one. */
    dispatch.variant = options->variants ? options->variants[node->call.op] : 0;
    int32_t most = row->variants ? row->variants(&node->call, instance->device) : 1;
    if (dispatch.variant > most) dispatch.variant = most;
    for (int i = 0; i < LK_MAX_INPUTS; i++)
        if (node->input[i] != LK_NO_VALUE)
            dispatch.input[i] = (lk_operand){node->call.input[i], ref_of(instance, node->input[i])};
    for (int i = 0; i < LK_MAX_OUTPUTS; i++)
        if (node->output[i] != LK_NO_VALUE)
            dispatch.output[i] = (lk_operand){node->call.output[i], ref_of(instance, node->output[i])};
    if (row->scratch_bytes && instance->scratch)
        dispatch.scratch =
            lk_ref_slice(lk_block_ref(instance->scratch), 0, row->scratch_bytes(&node->call, instance->device));
    likeness_status status = row->dispatch(&dispatch, error);
    if (status != LIKENESS_OK) lk_error_prefix(error, "%s", node->name);
    return status;
}

/* Sections lie one after the other in the list of nodes. */
static likeness_status record_all(lk_instance *instance, const lk_instance_options *options, lk_error *error) {
    static const lk_instance_options defaults;
    if (!options) options = &defaults;
    const lk_plan *plan = instance->plan;
    lk_recording_options recording = {.shuffle_seed = options->shuffle_seed,
                                      .timestamps = options->timestamps,
                                      .split_groups = options->split_groups,
                                      .submit_commands = options->submit_commands,
                                      .omit_barrier = options->omit_barrier};
    for (int32_t s = 0, n = 0; s < plan->graph->section_count; s++) {
        LK_TRY(lk_recording_create(instance->device, &recording, &instance->recordings[s], error));
        for (; n < plan->node_count && plan->graph->nodes[n].section == s; n++)
            if (lk_plan_runs(plan, n)) LK_TRY(record_node(instance, &plan->graph->nodes[n], options, error));
        LK_TRY(lk_recording_finish(instance->recordings[s], error));
        recording.omit_barrier -= lk_recording_barriers(instance->recordings[s]);
    }
    return LIKENESS_OK;
}

lk_instance *lk_instance_create(lk_plan *plan, lk_device *device, const lk_instance_options *options, lk_error *error) {
    lk_instance *instance = lk_alloc(1, sizeof *instance);
    if (!instance) {
        lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for an instance of a graph");
        return NULL;
    }
    instance->plan = plan;
    instance->device = device;
    instance->truth = options && options->truth;
    likeness_status status = LIKENESS_OK;
    if (plan->graph->weights) status = lk_weights_upload(plan->graph->weights, device, error);
    if (status == LIKENESS_OK) status = take_memory(instance, options ? options->arena : NULL, error);
    if (status == LIKENESS_OK) status = record_all(instance, options, error);
    if (status == LIKENESS_OK) return instance;
    lk_instance_destroy(instance);
    return NULL;
}

void lk_instance_destroy(lk_instance *instance) {
    if (!instance) return;
    for (int32_t s = 0; instance->recordings && s < instance->plan->graph->section_count; s++)
        lk_recording_destroy(instance->recordings[s]);
    for (int32_t i = 0; i < instance->block_count && !instance->borrowed; i++)
        lk_block_destroy(instance->blocks[i]);
    lk_block_destroy(instance->scratch);
    lk_free(instance->recordings);
    lk_free(instance->blocks);
    lk_free(instance);
}

likeness_status lk_instance_write(lk_instance *instance, lk_value input, const void *dense, lk_error *error) {
    const lk_graph *graph = instance->plan->graph;
    if (input < 0 || input >= instance->plan->value_count || graph->values[input].kind != LK_VALUE_INPUT)
        return lk_fail(error, LIKENESS_INTERNAL, "value %d is no input of this graph", (int)input);
    const lk_tensor *tensor = &graph->values[input].tensor;
    size_t bytes = lk_tensor_row_bytes(tensor);
    void *rows = lk_alloc(bytes, 1);
    if (!rows) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to write %zu bytes", bytes);
    lk_to_rows(&tensor->shape, dense, rows);
    likeness_status status = lk_ref_write(ref_of(instance, input), 0, rows, bytes, error);
    lk_free(rows);
    return status;
}

likeness_status lk_instance_read(lk_instance *instance, lk_value output, void *dense, lk_error *error) {
    const lk_graph *graph = instance->plan->graph;
    if (output < 0 || output >= instance->plan->value_count || !graph->values[output].output)
        return lk_fail(error, LIKENESS_INTERNAL, "value %d is no output of this graph", (int)output);
    const lk_tensor *tensor = &graph->values[output].tensor;
    size_t bytes = lk_tensor_row_bytes(tensor);
    void *rows = lk_alloc(bytes, 1);
    if (!rows) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to read %zu bytes", bytes);
    likeness_status status = lk_ref_read(ref_of(instance, output), 0, rows, bytes, error);
    if (status == LIKENESS_OK) lk_from_rows(&tensor->shape, rows, dense);
    lk_free(rows);
    return status;
}

/* Self-check (c): each command alone, everything that it does not read poisoned, the weights too. */
static likeness_status run_truth(lk_instance *instance, lk_recording *recording, lk_error *error) {
    const lk_weights *weights = instance->plan->graph->weights;
    uint32_t count = 0, most = (uint32_t)instance->block_count + 1 + (weights ? (uint32_t)weights->count : 0);
    lk_buffer_ref *memory = lk_alloc(most, sizeof *memory);
    if (!memory) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to check an instance");
    for (int32_t i = 0; i < instance->block_count; i++)
        memory[count++] = lk_block_ref(instance->blocks[i]);
    if (instance->scratch) memory[count++] = lk_block_ref(instance->scratch);
    for (int32_t i = 0; weights && i < weights->count; i++)
        if (weights->items[i].uploaded) memory[count++] = weights->items[i].ref;
    likeness_status status = LIKENESS_OK;
    for (uint32_t i = 0; i < lk_recording_count(recording) && status == LIKENESS_OK; i++)
        status = lk_check_truth(recording, i, memory, count, error);
    lk_free(memory);
    return status;
}

likeness_status lk_instance_run(lk_instance *instance, int section, lk_error *error) {
    if (section < 0 || section >= instance->plan->graph->section_count)
        return lk_fail(error, LIKENESS_INTERNAL, "section %d does not exist", section);
    lk_recording *recording = instance->recordings[section];
    if (instance->truth) return run_truth(instance, recording, error);
    LK_TRY(lk_replay(recording, error));
    return lk_recording_wait(recording, error);
}

uint32_t lk_instance_command_count(const lk_instance *instance, int section) {
    return lk_recording_count(instance->recordings[section]);
}
