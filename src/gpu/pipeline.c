/* gpu/pipeline.c - compute pipelines, made when first asked for.
 *
 * A pipeline is {shader, specialization constants, required subgroup size}; all share one layout of 128 bytes of push
 * constants and no descriptors. A shader whose SPIR-V declares a capability that the device lacks is refused. */
#include "base/hash.h"
#include "base/memory.h"
#include "base/time.h"
#include "gpu/internal.h"

#include <string.h>

likeness_status lk_pipeline_open(lk_device *device, lk_error *error) {
    device->modules = lk_alloc(LK_SHADER_COUNT + 1, sizeof *device->modules);
    device->slot_count = 64;
    device->slots = lk_alloc(device->slot_count, sizeof *device->slots);
    if (!device->modules || !device->slots)
        return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "out of memory for pipelines");
    VkPushConstantRange range = {.stageFlags = VK_SHADER_STAGE_COMPUTE_BIT, .offset = 0, .size = 128};
    VkPipelineLayoutCreateInfo info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
                                       .pushConstantRangeCount = 1,
                                       .pPushConstantRanges = &range};
    VkResult result = LK_VK(vkCreatePipelineLayout(device->handle, &info, NULL, &device->layout));
    if (result != VK_SUCCESS) {
        device->layout = VK_NULL_HANDLE;
        return lk_vk_fail(device, result, "creating the pipeline layout", error);
    }
    return LIKENESS_OK;
}

void lk_pipeline_close(lk_device *device) {
    for (uint32_t i = 0; device->slots && i < device->slot_count; ++i)
        if (device->slots[i].used) vkDestroyPipeline(device->handle, device->slots[i].pipeline, NULL);
    for (uint32_t i = 0; device->modules && i < LK_SHADER_COUNT; ++i)
        vkDestroyShaderModule(device->handle, device->modules[i], NULL);
    vkDestroyPipelineLayout(device->handle, device->layout, NULL);
    lk_free(device->slots);
    lk_free(device->modules);
}

/* ---- what a shader needs ---- */

static bool has_capability(const lk_caps *caps, uint32_t capability) {
    switch (capability) {
    case 0:    /* Matrix */
    case 1:    /* Shader */
    case 5347: /* PhysicalStorageBufferAddresses */
        return true;
    case 9:
        return caps->f16_arithmetic;
    case 22:
        return caps->int16;
    case 39:
        return caps->int8;
    case 61:
        return caps->subgroup_basic;
    case 62:
        return caps->subgroup_vote;
    case 63:
        return caps->subgroup_arithmetic;
    case 64:
        return caps->subgroup_ballot;
    case 65:
        return caps->subgroup_shuffle;
    case 4433:
    case 4434:
        return caps->storage_16bit;
    case 4448:
        return caps->storage_8bit;
    case 5345: /* VulkanMemoryModel comes with matrices */
    case 6022:
        return caps->cooperative_matrix;
    default:
        return false;
    }
}

bool lk_shader_supported(const lk_device *device, lk_shader shader) {
    const lk_shader_code *code = lk_shader_table[shader];
    for (uint32_t i = 0; i < code->capability_count; ++i)
        if (!has_capability(&device->probe.caps, code->capabilities[i])) return false;
    return true;
}

static likeness_status check_command(const lk_device *device, const lk_command *command, lk_error *error) {
    const lk_caps *caps = &device->probe.caps;
    const lk_shader_code *code = lk_shader_table[command->shader];
    for (uint32_t i = 0; i < code->capability_count; ++i)
        if (!has_capability(caps, code->capabilities[i]))
            return lk_fail(error, LIKENESS_UNSUPPORTED, "shader %s needs SPIR-V capability %u, which %s lacks",
                           code->name, code->capabilities[i], caps->name);
    uint32_t size = command->spec_count > 0 ? command->spec[0] : 1;
    if (size == 0 || size > caps->max_group_invocations || size > caps->max_group_size_x)
        return lk_fail(error, LIKENESS_UNSUPPORTED, "shader %s: workgroups of %u invocations, %s allows 1 to %u",
                       code->name, size, caps->name, caps->max_group_invocations);
    if (command->subgroup_size && caps->subgroup_size_control &&
        size > (uint64_t)command->subgroup_size * caps->max_group_subgroups)
        return lk_fail(error, LIKENESS_UNSUPPORTED, "shader %s: workgroups of %u subgroups, %s allows %u", code->name,
                       (size + command->subgroup_size - 1) / command->subgroup_size, caps->name,
                       caps->max_group_subgroups);
    if (command->subgroup_size && command->subgroup_size != caps->subgroup_size &&
        (!caps->subgroup_size_control || command->subgroup_size < caps->min_subgroup_size ||
         command->subgroup_size > caps->max_subgroup_size))
        return lk_fail(error, LIKENESS_UNSUPPORTED, "shader %s: subgroups of %u lanes, %s offers %u to %u", code->name,
                       command->subgroup_size, caps->name, caps->min_subgroup_size, caps->max_subgroup_size);
    return LIKENESS_OK;
}

/* ---- the table ---- */

static uint64_t key_hash(const lk_command *command) {
    uint32_t head[3] = {(uint32_t)command->shader, command->subgroup_size, command->spec_count};
    return lk_fnv64(lk_fnv64(LK_FNV64_INIT, head, sizeof head), command->spec,
                    command->spec_count * sizeof command->spec[0]);
}

static bool key_equal(const lk_pipeline_slot *slot, const lk_command *command) {
    return slot->shader == command->shader && slot->subgroup_size == command->subgroup_size &&
           slot->spec_count == command->spec_count &&
           !memcmp(slot->spec, command->spec, command->spec_count * sizeof command->spec[0]);
}

static lk_pipeline_slot *find_slot(lk_pipeline_slot *slots, uint32_t count, const lk_command *command) {
    uint32_t i = (uint32_t)key_hash(command) & (count - 1);
    while (slots[i].used && !key_equal(&slots[i], command))
        i = (i + 1) & (count - 1);
    return &slots[i];
}

static likeness_status grow(lk_device *device, lk_error *error) {
    uint32_t count = device->slot_count * 2;
    lk_pipeline_slot *slots = lk_alloc(count, sizeof *slots);
    if (!slots) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "out of memory for pipelines");
    for (uint32_t i = 0; i < device->slot_count; ++i) {
        const lk_pipeline_slot *old = &device->slots[i];
        if (!old->used) continue;
        lk_command key = {.shader = old->shader, .subgroup_size = old->subgroup_size, .spec_count = old->spec_count};
        memcpy(key.spec, old->spec, sizeof key.spec);
        *find_slot(slots, count, &key) = *old;
    }
    lk_free(device->slots);
    device->slots = slots;
    device->slot_count = count;
    return LIKENESS_OK;
}

static likeness_status create(lk_device *device, const lk_command *command, VkPipeline *pipeline, lk_error *error) {
    LK_TRY(check_command(device, command, error));
    const lk_shader_code *code = lk_shader_table[command->shader];
    VkShaderModule *module = &device->modules[command->shader];
    VkResult result = VK_SUCCESS;
    if (!*module) {
        VkShaderModuleCreateInfo info = {
            .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO, .codeSize = code->bytes, .pCode = code->words};
        result = LK_VK(vkCreateShaderModule(device->handle, &info, NULL, module));
        if (result != VK_SUCCESS) *module = VK_NULL_HANDLE;
    }
    if (result == VK_SUCCESS) {
        VkSpecializationMapEntry entries[LK_MAX_SPEC];
        for (uint32_t i = 0; i < command->spec_count; ++i)
            entries[i] = (VkSpecializationMapEntry){i, i * 4, 4};
        VkSpecializationInfo specialization = {command->spec_count, entries, command->spec_count * 4, command->spec};
        VkPipelineShaderStageRequiredSubgroupSizeCreateInfo subgroup = {
            .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO,
            .requiredSubgroupSize = command->subgroup_size};
        bool require = command->subgroup_size && device->probe.caps.subgroup_size_control;
        bool full = require && command->spec_count > 0 && command->spec[0] % command->subgroup_size == 0;
        VkPipelineCreationFeedback feedback = {0};
        VkPipelineCreationFeedbackCreateInfo ask = {.sType = VK_STRUCTURE_TYPE_PIPELINE_CREATION_FEEDBACK_CREATE_INFO,
                                                    .pPipelineCreationFeedback = &feedback};
        VkComputePipelineCreateInfo info = {
            .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
            .pNext = &ask,
            .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                      .pNext = require ? &subgroup : NULL,
                      .flags = full ? VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT : 0,
                      .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                      .module = *module,
                      .pName = "main",
                      .pSpecializationInfo = command->spec_count ? &specialization : NULL},
            .layout = device->layout};
        double start = lk_time_seconds();
        result = LK_VK(vkCreateComputePipelines(device->handle, device->cache, 1, &info, NULL, pipeline));
        device->stats.seconds += lk_time_seconds() - start;
        const VkPipelineCreationFeedbackFlags hit =
            VK_PIPELINE_CREATION_FEEDBACK_VALID_BIT | VK_PIPELINE_CREATION_FEEDBACK_APPLICATION_PIPELINE_CACHE_HIT_BIT;
        if (result == VK_SUCCESS && (feedback.flags & hit) == hit)
            ++device->stats.hits;
        else
            device->cache_changed = true;
    }
    if (result != VK_SUCCESS) {
        *pipeline = VK_NULL_HANDLE;
        lk_vk_fail(device, result, "creating a pipeline", error);
        lk_error_prefix(error, "shader %s", code->name);
        return error->status;
    }
    return LIKENESS_OK;
}

likeness_status lk_pipeline_get(lk_device *device, const lk_command *command, VkPipeline *pipeline, lk_error *error) {
    if ((uint32_t)command->shader >= LK_SHADER_COUNT)
        return lk_fail(error, LIKENESS_INTERNAL, "shader %d does not exist", (int)command->shader);
    lk_pipeline_slot *slot = find_slot(device->slots, device->slot_count, command);
    if (!slot->used) {
        if (device->pipeline_count * 2 >= device->slot_count) {
            LK_TRY(grow(device, error));
            slot = find_slot(device->slots, device->slot_count, command);
        }
        LK_TRY(create(device, command, &slot->pipeline, error));
        slot->used = true;
        slot->shader = command->shader;
        slot->subgroup_size = command->subgroup_size;
        slot->spec_count = command->spec_count;
        memcpy(slot->spec, command->spec, sizeof slot->spec);
        ++device->pipeline_count;
        ++device->stats.created;
    }
    *pipeline = slot->pipeline;
    return LIKENESS_OK;
}

lk_pipeline_stats lk_device_pipeline_stats(const lk_device *device) { return device->stats; }

bool lk_device_shader_used(const lk_device *device, lk_shader shader) {
    for (uint32_t i = 0; i < device->slot_count; ++i)
        if (device->slots[i].used && device->slots[i].shader == shader) return true;
    return false;
}
