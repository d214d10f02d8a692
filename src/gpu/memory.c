/* gpu/memory.c - blocks, pools, and copies between them and the host. */
#include "base/memory.h"
#include "gpu/internal.h"

#include <stdio.h>
#include <string.h>

/* ---- allocation ---- */

static uint64_t free_bytes(lk_device *device) {
    if (!device->probe.has_memory_budget) return 0;
    VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT};
    VkPhysicalDeviceMemoryProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2,
                                                    .pNext = &budget};
    vkGetPhysicalDeviceMemoryProperties2(device->physical, &properties);
    uint32_t heap = device->probe.memory.memoryTypes[device->probe.device_type].heapIndex;
    return budget.heapBudget[heap] > budget.heapUsage[heap] ? budget.heapBudget[heap] - budget.heapUsage[heap] : 0;
}

static likeness_status out_of_memory(lk_device *device, uint64_t bytes, const char *purpose, lk_error *error) {
    const double mib = 1.0 / 1048576.0;
    char available[96] = "";
    uint64_t free_now = free_bytes(device);
    if (device->memory_limit)
        snprintf(available, sizeof available, "; the limit is %.1f MiB", (double)device->memory_limit * mib);
    else if (free_now)
        snprintf(available, sizeof available, "; about %.0f MiB are free", (double)free_now * mib);
    return lk_fail(
        error, LIKENESS_OUT_OF_MEMORY,
        "%s needs %.1f MiB of device memory beside the %.1f MiB in use%s (%s has %.0f MiB): close other programs, ask "
        "for a smaller picture, or choose another device",
        purpose, (double)bytes * mib, (double)device->memory_now * mib, available, device->probe.caps.name,
        (double)device->probe.caps.heap_bytes * mib);
}

/* Buffer and memory of one type; fills what it made even when it fails, for the caller to destroy. */
static VkResult make_buffer(lk_device *device, uint64_t bytes, VkBufferUsageFlags usage, uint32_t type,
                            VkBuffer *buffer, VkDeviceMemory *memory) {
    VkBufferCreateInfo buffer_info = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
                                      .size = bytes,
                                      .usage =
                                          usage | VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT,
                                      .sharingMode = VK_SHARING_MODE_EXCLUSIVE};
    VkResult result = LK_VK(vkCreateBuffer(device->handle, &buffer_info, NULL, buffer));
    if (result != VK_SUCCESS) {
        *buffer = VK_NULL_HANDLE;
        return result;
    }
    VkMemoryRequirements needs;
    vkGetBufferMemoryRequirements(device->handle, *buffer, &needs);
    if (!(needs.memoryTypeBits & (1u << type))) { /* some type that the buffer can live in */
        VkMemoryPropertyFlags wanted = device->probe.memory.memoryTypes[type].propertyFlags;
        for (uint32_t i = 0; i < device->probe.memory.memoryTypeCount; ++i)
            if ((needs.memoryTypeBits & (1u << i)) &&
                (device->probe.memory.memoryTypes[i].propertyFlags & wanted) == wanted)
                type = i;
    }
    VkMemoryAllocateFlagsInfo flags = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO,
                                       .flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT};
    VkMemoryAllocateInfo allocation = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                       .pNext = usage & VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT ? &flags : NULL,
                                       .allocationSize = needs.size,
                                       .memoryTypeIndex = type};
    result = LK_VK(vkAllocateMemory(device->handle, &allocation, NULL, memory));
    if (result != VK_SUCCESS) {
        *memory = VK_NULL_HANDLE;
        return result;
    }
    return LK_VK(vkBindBufferMemory(device->handle, *buffer, *memory, 0));
}

/* Buffer, memory, mapping of a block in one type of memory, or nothing. */
static VkResult make_block(lk_device *device, lk_block *block, uint32_t type) {
    VkResult result = make_buffer(device, block->bytes,
                                  VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT, type,
                                  &block->buffer, &block->memory);
    const VkMemoryPropertyFlags mappable = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    bool maps = (device->probe.memory.memoryTypes[type].propertyFlags & mappable) == mappable;
    if (result == VK_SUCCESS && maps && device->probe.device_mappable) {
        void *mapped = NULL;
        VkResult mapping = LK_VK(vkMapMemory(device->handle, block->memory, 0, VK_WHOLE_SIZE, 0, &mapped));
        if (mapping == VK_SUCCESS) block->mapped = mapped; /* without one, copies go through staging */
        if (mapping == VK_ERROR_DEVICE_LOST) result = mapping;
    }
    if (result == VK_SUCCESS) return result;
    vkDestroyBuffer(device->handle, block->buffer, NULL);
    vkFreeMemory(device->handle, block->memory, NULL);
    block->buffer = VK_NULL_HANDLE;
    block->memory = VK_NULL_HANDLE;
    return result;
}

likeness_status lk_block_create(lk_device *device, uint64_t bytes, const char *purpose, lk_block **out,
                                lk_error *error) {
    *out = NULL;
    if (bytes == 0) bytes = 4;
    if (device->probe.caps.null_device)
        return lk_fail(error, LIKENESS_NO_DEVICE, "%s only compiles shaders and runs nothing: choose another device",
                       device->probe.caps.name);
    if (bytes > device->probe.caps.max_block)
        return lk_fail(error, LIKENESS_OUT_OF_MEMORY,
                       "%s needs %.1f MiB in one piece; %s allows %.1f MiB: ask for a smaller picture", purpose,
                       (double)bytes / 1048576.0, device->probe.caps.name,
                       (double)device->probe.caps.max_block / 1048576.0);
    if (device->memory_limit && device->memory_now + bytes > device->memory_limit)
        return out_of_memory(device, bytes, purpose, error);
    lk_block *block = lk_alloc(1, sizeof *block);
    if (!block) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "out of memory for a block's description");
    block->device = device;
    block->bytes = bytes;
    VkResult result = make_block(device, block, device->probe.device_type);
    /* A window through which all of a card's memory can be mapped may be smaller or slower to give out than promised.
     */
    if (result != VK_SUCCESS && result != VK_ERROR_DEVICE_LOST && device->probe.plain_type != device->probe.device_type)
        result = make_block(device, block, device->probe.plain_type);
    if (result != VK_SUCCESS) {
        lk_free(block);
        if (result == VK_ERROR_OUT_OF_DEVICE_MEMORY || result == VK_ERROR_OUT_OF_HOST_MEMORY)
            return out_of_memory(device, bytes, purpose, error);
        return lk_vk_fail(device, result, purpose, error);
    }
    VkBufferDeviceAddressInfo address = {.sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO,
                                         .buffer = block->buffer};
    block->address = vkGetBufferDeviceAddress(device->handle, &address);
    block->id = ++device->next_block_id;
    ++device->live_blocks;
    device->memory_now += bytes;
    if (device->memory_now > device->memory_peak) device->memory_peak = device->memory_now;
    *out = block;
    return LIKENESS_OK;
}

void lk_block_destroy(lk_block *block) {
    if (!block) return;
    lk_device *device = block->device;
    if (device->running_first) {
        lk_error ignored = LK_ERROR_INIT;
        if (lk_stream_wait(device, &ignored) != LIKENESS_OK) vkDeviceWaitIdle(device->handle);
    }
    vkDestroyBuffer(device->handle, block->buffer, NULL);
    vkFreeMemory(device->handle, block->memory, NULL);
    --device->live_blocks;
    device->memory_now -= block->bytes;
    lk_free(block);
}

uint64_t lk_block_bytes(const lk_block *block) { return block->bytes; }
lk_device *lk_block_device(const lk_block *block) { return block->device; }
uint64_t lk_ref_address(lk_buffer_ref ref) { return ref.block ? ref.block->address + ref.offset : 0; }

/* ---- commands that the host waits for ---- */

likeness_status lk_once_begin(lk_device *device, lk_error *error) {
    lk_once *once = &device->once;
    VkResult result = VK_SUCCESS;
    if (!once->pool) {
        VkCommandPoolCreateInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                        .flags = VK_COMMAND_POOL_CREATE_TRANSIENT_BIT,
                                        .queueFamilyIndex = device->probe.queue_family};
        result = LK_VK(vkCreateCommandPool(device->handle, &info, NULL, &once->pool));
        if (result != VK_SUCCESS) once->pool = VK_NULL_HANDLE;
    }
    if (result == VK_SUCCESS && !once->commands) {
        VkCommandBufferAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                            .commandPool = once->pool,
                                            .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                            .commandBufferCount = 1};
        result = LK_VK(vkAllocateCommandBuffers(device->handle, &info, &once->commands));
        if (result != VK_SUCCESS) once->commands = VK_NULL_HANDLE;
    }
    if (result == VK_SUCCESS && !once->fence) {
        VkFenceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
        result = LK_VK(vkCreateFence(device->handle, &info, NULL, &once->fence));
        if (result != VK_SUCCESS) once->fence = VK_NULL_HANDLE;
    }
    if (result == VK_SUCCESS) result = LK_VK(vkResetCommandPool(device->handle, once->pool, 0));
    if (result == VK_SUCCESS) {
        VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                          .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT};
        result = LK_VK(vkBeginCommandBuffer(once->commands, &begin));
    }
    if (result != VK_SUCCESS) return lk_vk_fail(device, result, "preparing a copy", error);
    return LIKENESS_OK;
}

likeness_status lk_once_end(lk_device *device, lk_error *error) {
    lk_once *once = &device->once;
    VkResult result = LK_VK(vkEndCommandBuffer(once->commands));
    if (result == VK_SUCCESS) result = LK_VK(vkResetFences(device->handle, 1, &once->fence));
    if (result == VK_SUCCESS) {
        VkCommandBufferSubmitInfo commands = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_SUBMIT_INFO,
                                              .commandBuffer = once->commands};
        VkSubmitInfo2 submit = {
            .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO_2, .commandBufferInfoCount = 1, .pCommandBufferInfos = &commands};
        result = LK_VK(vkQueueSubmit2(device->queue, 1, &submit, once->fence));
    }
    if (result != VK_SUCCESS) return lk_vk_fail(device, result, "submitting a copy", error);
    uint64_t serial = ++device->submit_serial;
    lk_trace_submit(device, serial);
    result = LK_VK(vkWaitForFences(device->handle, 1, &once->fence, VK_TRUE, UINT64_MAX));
    if (result != VK_SUCCESS) {
        vkDeviceWaitIdle(device->handle); /* nothing may be reused while it could still run */
        return lk_vk_fail(device, result, "waiting for a copy", error);
    }
    device->waited_serial = serial;
    lk_trace_wait(device, serial);
    return LIKENESS_OK;
}

static likeness_status staging_open(lk_device *device, lk_error *error) {
    if (device->staging_mapped) return LIKENESS_OK;
    VkResult result =
        make_buffer(device, LK_STAGING_BYTES, 0, device->probe.staging_type, &device->staging, &device->staging_memory);
    void *mapped = NULL;
    if (result == VK_SUCCESS)
        result = LK_VK(vkMapMemory(device->handle, device->staging_memory, 0, VK_WHOLE_SIZE, 0, &mapped));
    if (result != VK_SUCCESS) {
        vkDestroyBuffer(device->handle, device->staging, NULL);
        vkFreeMemory(device->handle, device->staging_memory, NULL);
        device->staging = VK_NULL_HANDLE;
        device->staging_memory = VK_NULL_HANDLE;
        return lk_vk_fail(device, result, "allocating the staging buffer", error);
    }
    device->staging_mapped = mapped;
    return LIKENESS_OK;
}

void lk_memory_close(lk_device *device) {
    vkDestroyFence(device->handle, device->once.fence, NULL);
    vkDestroyCommandPool(device->handle, device->once.pool, NULL);
    vkDestroyBuffer(device->handle, device->staging, NULL);
    vkFreeMemory(device->handle, device->staging_memory, NULL);
}

/* ---- copies between host and device ---- */

static likeness_status check_range(lk_buffer_ref ref, uint64_t offset, uint64_t bytes, lk_error *error) {
    if (!ref.block || offset > ref.bytes || bytes > ref.bytes - offset || ref.offset > ref.block->bytes ||
        ref.bytes > ref.block->bytes - ref.offset)
        return lk_fail(error, LIKENESS_INTERNAL, "host access of %llu bytes at %llu is outside its %llu bytes",
                       (unsigned long long)bytes, (unsigned long long)offset, (unsigned long long)ref.bytes);
    if (ref.block->device->lost) return lk_fail(error, LIKENESS_DEVICE_LOST, "the device was lost: start again");
    return LIKENESS_OK;
}

/* One piece through the staging buffer. No barrier before it: whatever was submitted earlier ended with one (every
 * recording does, and every copy here). Device copies want multiples of 4, so a ragged end takes whole words along. */
static likeness_status staged(lk_buffer_ref ref, uint64_t at, uint64_t bytes, bool to_device, lk_error *error) {
    lk_device *device = ref.block->device;
    LK_TRY(lk_once_begin(device, error));
    VkBufferCopy region = {.srcOffset = to_device ? 0 : at, .dstOffset = to_device ? at : 0, .size = bytes};
    lk_range range = {{ref.block, at, bytes}, 0, 1, bytes, bytes, to_device ? LK_WRITE : LK_READ};
    if (to_device)
        vkCmdCopyBuffer(device->once.commands, device->staging, ref.block->buffer, 1, &region);
    else
        vkCmdCopyBuffer(device->once.commands, ref.block->buffer, device->staging, 1, &region);
    lk_trace_command(device, &range, 1, to_device ? "upload" : "download", 0);
    lk_barrier(device->once.commands, true);
    lk_trace_once_barrier(device);
    return lk_once_end(device, error);
}

likeness_status lk_ref_write(lk_buffer_ref ref, uint64_t offset, const void *data, uint64_t bytes, lk_error *error) {
    LK_TRY(check_range(ref, offset, bytes, error));
    lk_device *device = ref.block->device;
    LK_TRY(lk_stream_wait(device, error));
    if (bytes == 0) return LIKENESS_OK;
    uint64_t at = ref.offset + offset;
    const unsigned char *from = data;
    if (ref.block->mapped) {
        memcpy(ref.block->mapped + at, from, bytes);
        lk_trace_host(device, LK_TRACE_HOST_WRITE, ref, offset, bytes);
        return LIKENESS_OK;
    }
    LK_TRY(staging_open(device, error));
    while (bytes > 0) {
        uint64_t piece = bytes < LK_STAGING_BYTES ? bytes : LK_STAGING_BYTES;
        memcpy(device->staging_mapped, from, piece);
        LK_TRY(staged(ref, at, piece, true, error));
        at += piece;
        from += piece;
        bytes -= piece;
    }
    return LIKENESS_OK;
}

likeness_status lk_ref_read(lk_buffer_ref ref, uint64_t offset, void *data, uint64_t bytes, lk_error *error) {
    LK_TRY(check_range(ref, offset, bytes, error));
    lk_device *device = ref.block->device;
    LK_TRY(lk_stream_wait(device, error));
    if (bytes == 0) return LIKENESS_OK;
    uint64_t at = ref.offset + offset;
    unsigned char *to = data;
    /* Reading uncached memory across the bus costs more than a copy on the device. */
    if (ref.block->mapped && (device->probe.device_cached || bytes <= 4096)) {
        memcpy(to, ref.block->mapped + at, bytes);
        lk_trace_host(device, LK_TRACE_HOST_READ, ref, offset, bytes);
        return LIKENESS_OK;
    }
    LK_TRY(staging_open(device, error));
    while (bytes > 0) {
        uint64_t piece = bytes < LK_STAGING_BYTES ? bytes : LK_STAGING_BYTES;
        LK_TRY(staged(ref, at, piece, false, error));
        memcpy(to, device->staging_mapped, piece);
        at += piece;
        to += piece;
        bytes -= piece;
    }
    return LIKENESS_OK;
}

likeness_status lk_ref_fill(lk_buffer_ref ref, uint32_t word, lk_error *error) {
    LK_TRY(check_range(ref, 0, ref.bytes, error));
    if (ref.bytes % 4 || ref.offset % 4) return lk_fail(error, LIKENESS_INTERNAL, "a fill wants multiples of 4 bytes");
    lk_device *device = ref.block->device;
    LK_TRY(lk_stream_wait(device, error));
    if (ref.bytes == 0) return LIKENESS_OK;
    LK_TRY(lk_once_begin(device, error));
    lk_range range = {ref, 0, 1, ref.bytes, ref.bytes, LK_WRITE};
    vkCmdFillBuffer(device->once.commands, ref.block->buffer, ref.offset, ref.bytes, word);
    lk_trace_command(device, &range, 1, "fill", 0);
    lk_barrier(device->once.commands, true);
    lk_trace_once_barrier(device);
    return lk_once_end(device, error);
}

/* ---- pools ---- */

typedef struct lk_pool_block {
    struct lk_pool_block *next;
    lk_block *block;
    uint64_t used;
} lk_pool_block;

struct lk_pool {
    lk_device *device;
    char *purpose;
    uint64_t block_bytes, bytes;
    lk_pool_block *first; /* the one with room comes first */
};

likeness_status lk_pool_create(lk_device *device, uint64_t block_bytes, const char *purpose, lk_pool **out,
                               lk_error *error) {
    *out = NULL;
    lk_pool *pool = lk_alloc(1, sizeof *pool);
    char *name = lk_strdup(purpose);
    if (!pool || !name) {
        lk_free(pool);
        lk_free(name);
        return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "out of memory for %s", purpose);
    }
    pool->device = device;
    pool->purpose = name;
    lk_pool_set_block(pool, block_bytes);
    *out = pool;
    return LIKENESS_OK;
}

void lk_pool_set_block(lk_pool *pool, uint64_t block_bytes) {
    uint64_t most = pool->device->probe.caps.max_block;
    pool->block_bytes = block_bytes ? block_bytes : UINT64_C(64) << 20;
    if (pool->block_bytes > most) pool->block_bytes = most;
}

likeness_status lk_pool_take(lk_pool *pool, uint64_t bytes, lk_buffer_ref *ref, lk_error *error) {
    uint64_t rounded = (bytes + LK_BUFFER_ALIGN - 1) / LK_BUFFER_ALIGN * LK_BUFFER_ALIGN;
    if (rounded < bytes) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "%s: impossible size", pool->purpose);
    if (rounded == 0) rounded = LK_BUFFER_ALIGN;
    lk_pool_block *first = pool->first;
    if (!first || first->block->bytes - first->used < rounded) {
        uint64_t size = rounded > pool->block_bytes ? rounded : pool->block_bytes;
        lk_pool_block *fresh = lk_alloc(1, sizeof *fresh);
        if (!fresh) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "out of memory for %s", pool->purpose);
        likeness_status status = lk_block_create(pool->device, size, pool->purpose, &fresh->block, error);
        if (status != LIKENESS_OK) {
            lk_free(fresh);
            return status;
        }
        pool->bytes += size;
        /* A large piece with its own block goes behind the block that still has room. */
        if (first && rounded >= size && first->used < first->block->bytes) {
            fresh->next = first->next;
            first->next = fresh;
        } else {
            fresh->next = first;
            pool->first = fresh;
        }
        first = fresh;
    }
    *ref = (lk_buffer_ref){first->block, first->used, bytes};
    first->used += rounded;
    if (first->used > first->block->bytes) first->used = first->block->bytes;
    return LIKENESS_OK;
}

uint64_t lk_pool_bytes(const lk_pool *pool) { return pool->bytes; }

void lk_pool_destroy(lk_pool *pool) {
    if (!pool) return;
    while (pool->first) {
        lk_pool_block *next = pool->first->next;
        lk_block_destroy(pool->first->block);
        lk_free(pool->first);
        pool->first = next;
    }
    lk_free(pool->purpose);
    lk_free(pool);
}
