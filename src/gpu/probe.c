/* gpu/probe.c - asks a physical device what it is and can, and whether it can be used at all. */
#include "base/memory.h"
#include "gpu/internal.h"

#include <stdio.h>
#include <string.h>

bool lk_has_extension(const VkExtensionProperties *extensions, uint32_t count, const char *name) {
    for (uint32_t i = 0; i < count; ++i)
        if (!strcmp(extensions[i].extensionName, name)) return true;
    return false;
}

static lk_device_class class_of(VkPhysicalDeviceType type) {
    switch (type) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
        return LK_CLASS_DISCRETE;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
        return LK_CLASS_INTEGRATED;
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU:
        return LK_CLASS_VIRTUAL;
    case VK_PHYSICAL_DEVICE_TYPE_CPU:
        return LK_CLASS_CPU;
    default:
        return LK_CLASS_OTHER;
    }
}

static void copy_text(char *to, size_t bytes, const char *from) { snprintf(to, bytes, "%s", from); }

/* Features and properties of Vulkan 1.0 to 1.3. */
static bool probe_core(VkPhysicalDevice physical, lk_probe *probe) {
    lk_caps *caps = &probe->caps;
    VkPhysicalDeviceVulkan13Properties p13 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_PROPERTIES};
    VkPhysicalDeviceVulkan12Properties p12 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES,
                                              .pNext = &p13};
    VkPhysicalDeviceVulkan11Properties p11 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES,
                                              .pNext = &p12};
    VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &p11};
    VkPhysicalDeviceVulkan13Features f13 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES};
    VkPhysicalDeviceVulkan12Features f12 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
                                            .pNext = &f13};
    VkPhysicalDeviceVulkan11Features f11 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES,
                                            .pNext = &f12};
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &f11};
    vkGetPhysicalDeviceProperties2(physical, &properties);
    vkGetPhysicalDeviceFeatures2(physical, &features);

    const VkPhysicalDeviceLimits *limits = &properties.properties.limits;
    copy_text(caps->driver_name, sizeof caps->driver_name, p12.driverName);
    copy_text(caps->driver_info, sizeof caps->driver_info, p12.driverInfo);

    caps->subgroup_size = p11.subgroupSize;
    caps->subgroup_size_control = f13.subgroupSizeControl && f13.computeFullSubgroups &&
                                  (p13.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT);
    caps->min_subgroup_size = caps->subgroup_size_control ? p13.minSubgroupSize : p11.subgroupSize;
    caps->max_subgroup_size = caps->subgroup_size_control ? p13.maxSubgroupSize : p11.subgroupSize;
    if (p11.subgroupSupportedStages & VK_SHADER_STAGE_COMPUTE_BIT) {
        VkSubgroupFeatureFlags operations = p11.subgroupSupportedOperations;
        caps->subgroup_basic = operations & VK_SUBGROUP_FEATURE_BASIC_BIT;
        caps->subgroup_vote = operations & VK_SUBGROUP_FEATURE_VOTE_BIT;
        caps->subgroup_arithmetic = operations & VK_SUBGROUP_FEATURE_ARITHMETIC_BIT;
        caps->subgroup_ballot = operations & VK_SUBGROUP_FEATURE_BALLOT_BIT;
        caps->subgroup_shuffle = operations & VK_SUBGROUP_FEATURE_SHUFFLE_BIT;
    }
    caps->f16_arithmetic = f12.shaderFloat16;
    caps->int8 = f12.shaderInt8;
    caps->int16 = features.features.shaderInt16;
    caps->int64 = features.features.shaderInt64;
    caps->f64 = features.features.shaderFloat64;
    caps->storage_16bit = f11.storageBuffer16BitAccess;
    caps->storage_8bit = f12.storageBuffer8BitAccess;

    uint32_t axis = limits->maxComputeWorkGroupCount[0];
    for (int i = 1; i < 3; ++i)
        if (limits->maxComputeWorkGroupCount[i] < axis) axis = limits->maxComputeWorkGroupCount[i];
    caps->max_groups_axis = axis;
    caps->max_group_invocations = limits->maxComputeWorkGroupInvocations;
    caps->max_group_size_x = limits->maxComputeWorkGroupSize[0];
    caps->max_group_subgroups = p13.maxComputeWorkgroupSubgroups;
    caps->shared_memory_bytes = limits->maxComputeSharedMemorySize;
    caps->timestamp_ns = limits->timestampPeriod;
    caps->max_block = UINT64_C(1) << 30;
    if (p11.maxMemoryAllocationSize < caps->max_block) caps->max_block = p11.maxMemoryAllocationSize;
    if (p13.maxBufferSize < caps->max_block) caps->max_block = p13.maxBufferSize;

    const char *missing = !f12.bufferDeviceAddress             ? "buffer device addresses"
                          : !f13.synchronization2              ? "synchronization2"
                          : !f13.maintenance4                  ? "maintenance4"
                          : limits->maxPushConstantsSize < 128 ? "128 bytes of push constants"
                                                               : NULL;
    if (missing) snprintf(probe->reason, sizeof probe->reason, "the driver lacks %s", missing);
    return missing == NULL;
}

static bool probe_queue(VkPhysicalDevice physical, lk_probe *probe) {
    VkQueueFamilyProperties families[32];
    uint32_t count = 32;
    vkGetPhysicalDeviceQueueFamilyProperties(physical, &count, families);
    /* The family that can do most: on every GPU the one that is served best, and copies need no other. */
    int best = -1, best_score = -1;
    for (uint32_t i = 0; i < count; ++i) {
        if (!(families[i].queueFlags & VK_QUEUE_COMPUTE_BIT) || families[i].queueCount == 0) continue;
        int score = (families[i].queueFlags & VK_QUEUE_GRAPHICS_BIT ? 2 : 0) + (families[i].timestampValidBits ? 1 : 0);
        if (score > best_score) best = (int)i, best_score = score;
    }
    if (best < 0) {
        snprintf(probe->reason, sizeof probe->reason, "the driver offers no compute queue");
        return false;
    }
    probe->queue_family = (uint32_t)best;
    probe->caps.timestamps = families[best].timestampValidBits > 0;
    return true;
}

/* Type for blocks: in the largest device-local heap, mappable if such a type exists there. Staging: mappable, cached.
 */
static void probe_memory(VkPhysicalDevice physical, const lk_device_options *options, lk_probe *probe) {
    lk_caps *caps = &probe->caps;
    VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT};
    VkPhysicalDeviceMemoryProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2,
                                                    .pNext = probe->has_memory_budget ? &budget : NULL};
    vkGetPhysicalDeviceMemoryProperties2(physical, &properties);
    probe->memory = properties.memoryProperties;
    const VkPhysicalDeviceMemoryProperties *memory = &probe->memory;

    uint32_t heap = 0;
    bool any_local = false;
    uint64_t local_bytes = 0;
    for (uint32_t i = 0; i < memory->memoryHeapCount; ++i) {
        bool local = memory->memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT;
        uint64_t size = memory->memoryHeaps[i].size;
        if ((local && !any_local) || (local == any_local && size > local_bytes)) {
            heap = i;
            local_bytes = size;
            any_local = local;
        }
    }
    if (memory->memoryHeapCount > 0) caps->heap_bytes = memory->memoryHeaps[heap].size;
    if (probe->has_memory_budget && memory->memoryHeapCount > 0) {
        uint64_t used = budget.heapUsage[heap];
        caps->budget_bytes = budget.heapBudget[heap] > used ? budget.heapBudget[heap] - used : 0;
    }

    const VkMemoryPropertyFlags plain_flags = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT |
                                              VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT |
                                              VK_MEMORY_PROPERTY_HOST_COHERENT_BIT | VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
    const VkMemoryPropertyFlags mappable = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    int best = -1, best_score = -1, staging = -1, staging_score = -1, plain = -1;
    for (uint32_t i = 0; i < memory->memoryTypeCount; ++i) {
        VkMemoryPropertyFlags flags = memory->memoryTypes[i].propertyFlags;
        if (flags & ~plain_flags) continue; /* protected, lazily allocated, vendors' special kinds */
        bool maps = (flags & mappable) == mappable, cached = flags & VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
        if (memory->memoryTypes[i].heapIndex == heap) {
            int score =
                (flags & VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT ? 4 : 0) + (maps ? 2 : 0) + (maps && cached ? 1 : 0);
            if (score > best_score) best = (int)i, best_score = score;
            if (!maps && plain < 0 && (flags & VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT)) plain = (int)i;
        }
        if (maps) {
            int score = (cached ? 2 : 0) + (flags & VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT ? 0 : 1);
            if (score > staging_score) staging = (int)i, staging_score = score;
        }
    }
    if (best < 0 || staging < 0) {
        snprintf(probe->reason, sizeof probe->reason, "the driver offers no usable memory");
        return;
    }
    VkMemoryPropertyFlags flags = memory->memoryTypes[best].propertyFlags;
    probe->device_type = (uint32_t)best;
    probe->plain_type = plain >= 0 ? (uint32_t)plain : (uint32_t)best;
    probe->staging_type = (uint32_t)staging;
    caps->host_visible = (flags & mappable) == mappable;
    caps->unified_memory = caps->is_cpu || (caps->host_visible && caps->device_class == LK_CLASS_INTEGRATED);
    probe->device_mappable = caps->host_visible && !options->pretend_unmappable;
    probe->device_cached = flags & VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
}

#ifdef VK_KHR_cooperative_matrix
static void probe_matrices(VkPhysicalDevice physical, lk_caps *caps) {
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrix = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR};
    VkPhysicalDeviceVulkan12Features f12 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
                                            .pNext = &matrix};
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &f12};
    vkGetPhysicalDeviceFeatures2(physical, &features);
    if (!matrix.cooperativeMatrix || !f12.vulkanMemoryModel || !vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR)
        return;
    VkCooperativeMatrixPropertiesKHR shapes[64];
    uint32_t count = 64;
    for (uint32_t i = 0; i < count; ++i) {
        memset(&shapes[i], 0, sizeof shapes[i]);
        shapes[i].sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR;
    }
    VkResult result = vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR(physical, &count, shapes);
    if (result != VK_SUCCESS && result != VK_INCOMPLETE) return;
    for (uint32_t i = 0; i < count && caps->matrix_shape_count < 16; ++i) {
        const VkCooperativeMatrixPropertiesKHR *s = &shapes[i];
        if (s->scope != VK_SCOPE_SUBGROUP_KHR || s->AType != VK_COMPONENT_TYPE_FLOAT16_KHR ||
            s->BType != VK_COMPONENT_TYPE_FLOAT16_KHR || s->CType != s->ResultType)
            continue;
        caps->matrix_shapes[caps->matrix_shape_count++] =
            (lk_matrix_shape){s->MSize, s->NSize, s->KSize, true, s->CType == VK_COMPONENT_TYPE_FLOAT32_KHR};
    }
    caps->cooperative_matrix = caps->matrix_shape_count > 0;
}
#endif

void lk_probe_device(VkPhysicalDevice physical, const lk_device_options *options, lk_probe *probe) {
    memset(probe, 0, sizeof *probe);
    lk_caps *caps = &probe->caps;
    VkPhysicalDeviceProperties basic;
    vkGetPhysicalDeviceProperties(physical, &basic);
    copy_text(caps->name, sizeof caps->name, basic.deviceName);
    caps->device_class = class_of(basic.deviceType);
    caps->vendor_id = basic.vendorID;
    caps->device_id = basic.deviceID;
    caps->driver_version = basic.driverVersion;
    caps->api_version = basic.apiVersion;
    memcpy(caps->cache_uuid, basic.pipelineCacheUUID, sizeof caps->cache_uuid);
    if (basic.apiVersion < VK_API_VERSION_1_3) {
        snprintf(probe->reason, sizeof probe->reason, "the driver offers Vulkan %u.%u, 1.3 is needed: update it",
                 VK_API_VERSION_MAJOR(basic.apiVersion), VK_API_VERSION_MINOR(basic.apiVersion));
        return;
    }

    uint32_t extension_count = 0;
    VkExtensionProperties *extensions = NULL;
    if (vkEnumerateDeviceExtensionProperties(physical, NULL, &extension_count, NULL) == VK_SUCCESS)
        extensions = lk_alloc(extension_count ? extension_count : 1, sizeof *extensions);
    if (!extensions || vkEnumerateDeviceExtensionProperties(physical, NULL, &extension_count, extensions) != VK_SUCCESS)
        extension_count = 0;
    probe->has_memory_budget = lk_has_extension(extensions, extension_count, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
    probe->has_executable_properties =
        lk_has_extension(extensions, extension_count, VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME);
    probe->has_portability_subset = lk_has_extension(extensions, extension_count, "VK_KHR_portability_subset");
    caps->pipeline_executable_info = probe->has_executable_properties;

    bool fine = probe_core(physical, probe) && probe_queue(physical, probe);
#ifdef VK_KHR_cooperative_matrix
    if (fine && lk_has_extension(extensions, extension_count, VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME))
        probe_matrices(physical, caps);
#endif
    if (fine) {
        VkPhysicalDeviceDriverProperties driver = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES};
        VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
                                                  .pNext = &driver};
        vkGetPhysicalDeviceProperties2(physical, &properties);
        lk_driver_facts(physical, driver.driverID, extensions, extension_count, caps);
    }
    if (fine && !caps->null_device) probe_memory(physical, options, probe); /* a card that is not there has none */
    lk_free(extensions);

    if (options->pretend_gpu) caps->is_cpu = false;
    if (options->max_groups_axis && options->max_groups_axis < caps->max_groups_axis)
        caps->max_groups_axis = options->max_groups_axis;
    if (options->max_block && options->max_block < caps->max_block) caps->max_block = options->max_block;
}
