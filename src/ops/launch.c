/* ops/launch.c - see ops/launch.h. */
#include "ops/launch.h"

lk_flat lk_flat_of(const lk_device *device, int64_t total) {
    const lk_caps *caps = lk_device_caps(device);
    lk_flat flat;
    /* CPU drivers: a workgroup is one subgroup, which walks through memory in order, so that the processor fetches
     * ahead; it costs more than its elements when they are few, yet every core wants some. */
    flat.workgroup = caps->is_cpu ? caps->subgroup_size : 256;
    if (flat.workgroup > caps->max_group_invocations) flat.workgroup = caps->max_group_invocations;
    int64_t wanted = caps->is_cpu ? total / ((int64_t)flat.workgroup * 16) : total / ((int64_t)flat.workgroup * 4096);
    int32_t most = caps->is_cpu ? 128 : 4; /* below 256: push constants keep it in a byte */
    flat.per_thread = wanted < 1 ? 1 : (wanted < most ? (int32_t)wanted : most);
    int64_t each = (int64_t)flat.workgroup * flat.per_thread;
    flat.groups = (uint64_t)((total + each - 1) / each);
    return flat;
}

bool lk_team_subgroups(const lk_device *device) {
    const lk_caps *caps = lk_device_caps(device);
    return caps->subgroup_arithmetic && caps->subgroup_size >= 4;
}

lk_team lk_team_of(const lk_device *device, int64_t elements, bool tree) {
    const lk_caps *caps = lk_device_caps(device);
    lk_team team = {.tree = tree || !lk_team_subgroups(device)};
    if (!team.tree && (caps->is_cpu || elements <= 4 * (int64_t)caps->subgroup_size)) {
        team.workgroup = caps->subgroup_size;
        if (caps->subgroup_size_control) team.subgroup_size = caps->subgroup_size;
        /* Without the control a driver whose size varies may cut the workgroup in several. */
        team.one_subgroup = caps->subgroup_size_control || caps->min_subgroup_size == caps->max_subgroup_size;
        return team;
    }
    uint32_t most = caps->max_group_invocations < 256 ? caps->max_group_invocations : 256;
    team.workgroup = 32;
    while (team.workgroup * 2 <= most && (int64_t)team.workgroup * 4 < elements) {
        team.workgroup *= 2;
    }
    if (caps->is_cpu) team.workgroup = 32;
    return team;
}

int32_t lk_team_variants(const lk_op_call *call, const lk_device *device) {
    (void)call;
    return lk_team_subgroups(device) ? 2 : 1;
}

bool lk_team_tree(const lk_dispatch *dispatch) {
    return dispatch->variant == 2 || !lk_team_subgroups(dispatch->device);
}

likeness_status lk_light_check(const lk_dispatch *dispatch, lk_error *error) {
    const lk_op_call *call = dispatch->call;
    for (int i = 0; i < call->input_count + call->output_count; i++) {
        bool is_input = i < call->input_count;
        int slot = is_input ? i : i - call->input_count;
        if (is_input ? !call->has_input[slot] : !call->has_output[slot]) continue;
        const lk_tensor *tensor = is_input ? &dispatch->input[slot].tensor : &dispatch->output[slot].tensor;
        bool words = tensor->storage == LK_STORE_ROWS && (tensor->dtype == LK_F32 || tensor->dtype == LK_I32);
        if (!words)
            return lk_fail(error, LIKENESS_UNSUPPORTED,
                           "%s (%s): %s %d is stored in a way this op does not read (wanted f32 rows)",
                           dispatch->label != NULL ? dispatch->label : "node", lk_op_name(call->op),
                           is_input ? "input" : "output", slot);
    }
    return LIKENESS_OK;
}

uint64_t lk_operand_address(const lk_operand *operand) { return lk_ref_address(operand->ref); }

lk_command lk_light_command(const lk_dispatch *dispatch, lk_shader shader, uint32_t inputs, int out) {
    lk_command command = lk_command_make(shader);
    command.label = dispatch->label;
    for (int i = 0; i < dispatch->call->input_count; i++) {
        if ((inputs >> i & 1u) == 0 || !dispatch->call->has_input[i]) continue;
        const lk_operand *in = &dispatch->input[i];
        lk_command_reads(&command, lk_ref_slice(in->ref, 0, lk_tensor_row_bytes(&in->tensor)));
    }
    if (out >= 0) {
        const lk_operand *to = &dispatch->output[out];
        lk_command_writes(&command, lk_ref_slice(to->ref, 0, lk_tensor_row_bytes(&to->tensor)));
    }
    return command;
}

static likeness_status lk_light_record(const lk_dispatch *dispatch, lk_command *command, lk_error *error) {
    for (uint32_t i = 0; i < command->range_count; i++) {
        command->bytes += (double)(command->range[i].rows * command->range[i].bytes);
    }
    command->flops = command->bytes; /* a guess: a few operations an element */
    return lk_record(dispatch->recording, command, error);
}

likeness_status lk_light_flat(const lk_dispatch *dispatch, lk_command *command, const void *push, size_t bytes,
                              lk_flat flat, lk_error *error) {
    lk_command_spec(command, 0, flat.workgroup);
    lk_command_push(command, push, bytes);
    command->groups = flat.groups;
    return lk_light_record(dispatch, command, error);
}

likeness_status lk_light_team(const lk_dispatch *dispatch, lk_command *command, const void *push, size_t bytes,
                              lk_team team, uint64_t groups, lk_error *error) {
    lk_command_spec(command, 0, team.workgroup);
    lk_command_spec(command, 1, team.one_subgroup);
    command->subgroup_size = team.subgroup_size;
    lk_command_push(command, push, bytes);
    command->groups = groups;
    return lk_light_record(dispatch, command, error);
}
