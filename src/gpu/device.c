/* gpu/device.c - the list of devices, the choice, opening and closing. */
#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "gpu/internal.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define MAX_DEVICES 16

/* ---- the list and the choice ---- */

static bool contains(const char *text, const char *part) {
    size_t length = strlen(part);
    for (; *text; ++text) {
        size_t i = 0;
        while (i < length && text[i] && tolower((unsigned char)text[i]) == tolower((unsigned char)part[i]))
            ++i;
        if (i == length) return true;
    }
    return length == 0;
}

static bool is_index(const char *text, uint32_t *index) {
    uint32_t value = 0;
    size_t length = strlen(text);
    if (length == 0 || length > 6) return false;
    for (; *text; ++text) {
        if (*text < '0' || *text > '9') return false;
        value = value * 10 + (uint32_t)(*text - '0');
    }
    *index = value;
    return true;
}

typedef struct lk_found {
    VkPhysicalDevice physical[MAX_DEVICES];
    lk_probe probe[MAX_DEVICES];
    uint32_t count;
} lk_found;

static likeness_status find_devices(VkInstance instance, const lk_device_options *options, lk_found *found,
                                    lk_error *error) {
    found->count = MAX_DEVICES;
    VkResult result = LK_VK(vkEnumeratePhysicalDevices(instance, &found->count, found->physical));
    if (result != VK_SUCCESS && result != VK_INCOMPLETE) {
        /* A driver that is installed but finds no hardware, and nothing else. */
        if (result == VK_ERROR_INITIALIZATION_FAILED) {
            found->count = 0;
            return LIKENESS_OK;
        }
        return lk_vk_fail(NULL, result, "listing Vulkan devices", error);
    }
    for (uint32_t i = 0; i < found->count; ++i)
        lk_probe_device(found->physical[i], options, &found->probe[i]);
    return LIKENESS_OK;
}

/* Index of the device to open, or -1 with a message. */
static int choose(const lk_found *found, const char *select, lk_error *error) {
    if (found->count == 0) {
        lk_fail(error, LIKENESS_NO_DEVICE,
                "no Vulkan device: install your graphics card's Vulkan driver, or a CPU driver (Debian, Ubuntu: apt "
                "install "
                "mesa-vulkan-drivers)");
        return -1;
    }
    bool selected = select && *select;
    uint32_t index = 0;
    if (selected && is_index(select, &index)) {
        if (index >= found->count) {
            lk_fail(error, LIKENESS_NO_DEVICE, "there is no device %s: `likeness devices` lists %u (0 to %u)", select,
                    found->count, found->count - 1);
            return -1;
        }
        if (found->probe[index].reason[0]) {
            lk_fail(error, LIKENESS_NO_DEVICE, "device %u (%s) cannot be used: %s", index,
                    found->probe[index].caps.name, found->probe[index].reason);
            return -1;
        }
        return (int)index;
    }
    int best = -1, best_preference = selected ? -100 : -1, refused = -1;
    for (uint32_t i = 0; i < found->count; ++i) {
        const lk_caps *caps = &found->probe[i].caps;
        if (selected && !contains(caps->name, select) && !contains(caps->driver_name, select) &&
            !contains(caps->driver_info, select))
            continue;
        if (found->probe[i].reason[0]) {
            refused = (int)i;
            continue;
        }
        int preference = lk_driver_preference(caps);
        if (preference > best_preference) best = (int)i, best_preference = preference;
    }
    if (best >= 0) return best;
    if (refused >= 0)
        lk_fail(error, LIKENESS_NO_DEVICE, "device %d (%s) cannot be used: %s", refused,
                found->probe[refused].caps.name, found->probe[refused].reason);
    else if (selected)
        lk_fail(error, LIKENESS_NO_DEVICE, "no device is called \"%s\": `likeness devices` lists them (first: %s)",
                select, found->probe[0].caps.name);
    else
        lk_fail(error, LIKENESS_NO_DEVICE,
                "no device that can run anything (%s only compiles): install a CPU driver (Debian, Ubuntu: apt install "
                "mesa-vulkan-drivers)",
                found->probe[0].caps.name);
    return -1;
}

likeness_status lk_device_list(const lk_device_options *options, lk_device_entry **entries, size_t *count,
                               lk_error *error) {
    *entries = NULL;
    *count = 0;
    VkInstance instance;
    LK_TRY(lk_vulkan_acquire(&instance, error));
    lk_found *found = lk_alloc(1, sizeof *found);
    likeness_status status = LIKENESS_OK;
    if (!found) status = lk_fail(error, LIKENESS_OUT_OF_MEMORY, "out of memory listing devices");
    if (status == LIKENESS_OK) status = find_devices(instance, options, found, error);
    if (status == LIKENESS_OK && found->count > 0) {
        lk_device_entry *list = lk_alloc(found->count, sizeof *list);
        if (list) {
            lk_error ignored = LK_ERROR_INIT;
            int chosen = choose(found, options->select, &ignored);
            for (uint32_t i = 0; i < found->count; ++i) {
                list[i].caps = found->probe[i].caps;
                list[i].usable = !found->probe[i].reason[0];
                snprintf(list[i].reason, sizeof list[i].reason, "%s", found->probe[i].reason);
                list[i].chosen = (int)i == chosen;
            }
            *entries = list;
            *count = found->count;
        } else {
            status = lk_fail(error, LIKENESS_OUT_OF_MEMORY, "out of memory listing devices");
        }
    }
    lk_free(found);
    lk_vulkan_release();
    return status;
}

/* ---- opening ---- */

static likeness_status create_logical(lk_device *device, lk_error *error) {
    const lk_caps *caps = &device->probe.caps;
    /* Only what is used, and of the optional parts only what was probed. */
    VkPhysicalDeviceVulkan13Features f13 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES,
                                            .synchronization2 = VK_TRUE,
                                            .maintenance4 = VK_TRUE,
                                            .subgroupSizeControl = caps->subgroup_size_control,
                                            .computeFullSubgroups = caps->subgroup_size_control};
    VkPhysicalDeviceVulkan12Features f12 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
                                            .pNext = &f13,
                                            .bufferDeviceAddress = VK_TRUE,
                                            .shaderFloat16 = caps->f16_arithmetic,
                                            .shaderInt8 = caps->int8,
                                            .storageBuffer8BitAccess = caps->storage_8bit};
    VkPhysicalDeviceVulkan11Features f11 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES,
                                            .pNext = &f12,
                                            .storageBuffer16BitAccess = caps->storage_16bit};
    VkPhysicalDeviceFeatures2 features = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &f11, .features = {.shaderInt16 = caps->int16}};
    const char *extensions[4];
    uint32_t extension_count = 0;
    if (device->probe.has_memory_budget) extensions[extension_count++] = VK_EXT_MEMORY_BUDGET_EXTENSION_NAME;
    if (device->probe.has_portability_subset) extensions[extension_count++] = "VK_KHR_portability_subset";
#ifdef VK_KHR_cooperative_matrix
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrix = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR, .cooperativeMatrix = VK_TRUE};
    if (caps->cooperative_matrix) {
        extensions[extension_count++] = VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME;
        f12.vulkanMemoryModel = VK_TRUE;
        matrix.pNext = f13.pNext;
        f13.pNext = &matrix;
    }
#endif
    float priority = 1.0f;
    VkDeviceQueueCreateInfo queue = {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                     .queueFamilyIndex = device->probe.queue_family,
                                     .queueCount = 1,
                                     .pQueuePriorities = &priority};
    VkDeviceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                               .pNext = &features,
                               .queueCreateInfoCount = 1,
                               .pQueueCreateInfos = &queue,
                               .enabledExtensionCount = extension_count,
                               .ppEnabledExtensionNames = extensions};
    VkResult result = LK_VK(vkCreateDevice(device->physical, &info, NULL, &device->handle));
    if (result != VK_SUCCESS) {
        device->handle = VK_NULL_HANDLE;
        lk_vk_fail(device, result, "opening the device", error);
        lk_error_prefix(error, "%s", caps->name);
        return error->status;
    }
    vkGetDeviceQueue(device->handle, device->probe.queue_family, 0, &device->queue);
    return LIKENESS_OK;
}

/* Name, driver and version as part of a file name. */
static void make_key(lk_device *device) {
    const lk_caps *caps = &device->probe.caps;
    uint64_t hash = LK_FNV64_INIT;
    hash = lk_fnv64(hash, caps->name, strlen(caps->name));
    hash = lk_fnv64(hash, caps->driver_info, strlen(caps->driver_info));
    hash = lk_fnv64(hash, &caps->vendor_id, sizeof caps->vendor_id);
    hash = lk_fnv64(hash, &caps->device_id, sizeof caps->device_id);
    hash = lk_fnv64(hash, &caps->driver_version, sizeof caps->driver_version);
    hash = lk_fnv64(hash, caps->cache_uuid, sizeof caps->cache_uuid);
    char name[33];
    size_t length = 0;
    for (const char *c = caps->name; *c && length < 32; ++c)
        if (isalnum((unsigned char)*c)) name[length++] = *c;
    name[length] = 0;
    snprintf(device->key, sizeof device->key, "%s-%016llx", name, (unsigned long long)hash);
}

likeness_status lk_device_open(const lk_device_options *options, lk_device **out, lk_error *error) {
    *out = NULL;
    lk_device *device = lk_alloc(1, sizeof *device);
    lk_found *found = lk_alloc(1, sizeof *found);
    if (!device || !found) {
        lk_free(device);
        lk_free(found);
        return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "out of memory opening a device");
    }
    likeness_status status = lk_vulkan_acquire(&device->instance, error);
    if (status != LIKENESS_OK) {
        lk_free(device);
        lk_free(found);
        return status;
    }
    status = find_devices(device->instance, options, found, error);
    if (status == LIKENESS_OK) {
        int chosen = choose(found, options->select, error);
        if (chosen < 0) {
            status = error->status;
        } else {
            device->physical = found->physical[chosen];
            device->probe = found->probe[chosen];
        }
    }
    lk_free(found);
    if (status == LIKENESS_OK) {
        device->memory_limit = options->memory_limit;
        make_key(device);
        if (!options->cache_folder) {
            device->cache_folder = lk_cache_directory(); /* NULL is fine: no cache */
        } else if (*options->cache_folder) {
            device->cache_folder = lk_strdup(options->cache_folder);
            if (!device->cache_folder)
                status = lk_fail(error, LIKENESS_OUT_OF_MEMORY, "out of memory opening a device");
        }
    }
    if (status == LIKENESS_OK) status = create_logical(device, error);
    if (status == LIKENESS_OK && options->trace) status = lk_trace_open(device, error);
    if (status == LIKENESS_OK) status = lk_cache_open(device, error);
    if (status == LIKENESS_OK) status = lk_pipeline_open(device, error);
    if (status != LIKENESS_OK) {
        lk_device_close(device);
        return status;
    }
    *out = device;
    return LIKENESS_OK;
}

void lk_device_close(lk_device *device) {
    if (!device) return;
    if (device->handle) {
        if (!device->probe.caps.null_device) vkDeviceWaitIdle(device->handle); /* it has nothing to wait for */
        lk_cache_close(device);
        lk_pipeline_close(device);
        lk_memory_close(device);
        vkDestroyDevice(device->handle, NULL);
    }
    lk_trace_close(device);
    lk_vulkan_release();
    lk_free(device->cache_folder);
    lk_free(device);
}

const lk_caps *lk_device_caps(const lk_device *device) { return &device->probe.caps; }
const char *lk_device_cache_folder(const lk_device *device) { return device->cache_folder; }
const char *lk_device_key(const lk_device *device) { return device->key; }
bool lk_device_validation_active(const lk_device *device) { return device && lk_vulkan_validation(); }
uint64_t lk_device_memory_now(const lk_device *device) { return device->memory_now; }
uint64_t lk_device_memory_peak(const lk_device *device) { return device->memory_peak; }
likeness_status lk_device_wait(lk_device *device, lk_error *error) { return lk_stream_wait(device, error); }

/* ---- describing ---- */

static const char *class_text(const lk_caps *caps) {
    if (caps->null_device) return "compiles only";
    switch (caps->device_class) {
    case LK_CLASS_DISCRETE:
        return "GPU";
    case LK_CLASS_INTEGRATED:
        return "integrated GPU";
    case LK_CLASS_VIRTUAL:
        return "virtual GPU";
    case LK_CLASS_CPU:
        return "CPU";
    default:
        return "other";
    }
}

void lk_device_summary(const lk_caps *caps, char *text, size_t bytes) {
    snprintf(text, bytes, "%s, %s%s%s, %s", caps->name, caps->driver_name, caps->driver_info[0] ? " " : "",
             caps->driver_info, class_text(caps));
}

void lk_device_describe(const lk_caps *caps, char *text, size_t bytes) {
    char matrices[160] = "none", units[48] = "", budget[64] = "";
    if (caps->cooperative_matrix) {
        size_t length = 0;
        for (uint32_t i = 0; i < caps->matrix_shape_count && length + 32 < sizeof matrices; ++i)
            length += (size_t)snprintf(matrices + length, sizeof matrices - length, "%s%ux%ux%u%s", i ? ", " : "",
                                       caps->matrix_shapes[i].m, caps->matrix_shapes[i].n, caps->matrix_shapes[i].k,
                                       caps->matrix_shapes[i].f32_accumulate ? " (f32 sums)" : "");
    }
    if (caps->compute_units) snprintf(units, sizeof units, ", %u compute units", caps->compute_units);
    if (caps->budget_bytes) snprintf(budget, sizeof budget, ", %.1f free", (double)caps->budget_bytes / 1073741824.0);
    char memory[160] = "none";
    if (caps->heap_bytes)
        snprintf(memory, sizeof memory, "%.1f GiB%s, blocks up to %.2f GiB%s", (double)caps->heap_bytes / 1073741824.0,
                 budget, (double)caps->max_block / 1073741824.0,
                 caps->unified_memory ? ", shared with the CPU"
                 : caps->host_visible ? ", mapped"
                                      : "");
    snprintf(text, bytes,
             "     Vulkan      %u.%u.%u, driver version %u, vendor %04x, device %04x\n"
             "     memory      %s\n"
             "     workgroups  up to %u invocations, %u KiB shared, %u an axis%s\n"
             "     subgroups   %u lanes (%u to %u%s)%s%s%s\n"
             "     types       f32%s%s%s%s\n"
             "     matrices    %s\n"
             "     kernels     %s\n",
             VK_API_VERSION_MAJOR(caps->api_version), VK_API_VERSION_MINOR(caps->api_version),
             VK_API_VERSION_PATCH(caps->api_version), caps->driver_version, caps->vendor_id, caps->device_id, memory,
             caps->max_group_invocations, caps->shared_memory_bytes / 1024, caps->max_groups_axis, units,
             caps->subgroup_size, caps->min_subgroup_size, caps->max_subgroup_size,
             caps->subgroup_size_control ? ", can be required" : "", caps->subgroup_arithmetic ? ", sums" : "",
             caps->subgroup_shuffle ? ", shuffle" : "", caps->subgroup_ballot ? ", ballot" : "",
             caps->f16_arithmetic ? ", f16" : "", caps->storage_16bit ? ", 16-bit storage" : "",
             caps->int64 ? ", int64" : "", caps->f64 ? ", f64" : "", matrices,
             caps->null_device         ? "none: shaders are compiled and never run"
             : caps->subgroup_size < 8 ? "plain: one thread a few results"
             : caps->is_cpu            ? "flat: one subgroup a tile, for CPU drivers"
                                       : "tiled: a workgroup a tile in shared memory");
}
