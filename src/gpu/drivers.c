/* gpu/drivers.c - everything this program knows about single vendors and drivers. Nothing elsewhere asks for a vendor.
 */
#include "gpu/internal.h"

#include <stdlib.h>
#include <string.h>

/* Ids of Vulkan's registry, by number because older headers lack some. */
enum {
    ID_AMD_PROPRIETARY = 1,
    ID_AMD_OPEN_SOURCE = 2,
    ID_MESA_RADV = 3,
    ID_INTEL_WINDOWS = 5,
    ID_INTEL_MESA = 6,
    ID_SWIFTSHADER = 10,
    ID_MOLTENVK = 14,
    ID_MESA_DOZEN = 23 /* Vulkan on Direct3D 12: a second face of a GPU that is already listed */
};

static uint32_t compute_units(VkPhysicalDevice physical, const VkExtensionProperties *extensions, uint32_t count) {
    VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2};
    if (lk_has_extension(extensions, count, VK_NV_SHADER_SM_BUILTINS_EXTENSION_NAME)) {
        VkPhysicalDeviceShaderSMBuiltinsPropertiesNV sm = {
            .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_SM_BUILTINS_PROPERTIES_NV};
        properties.pNext = &sm;
        vkGetPhysicalDeviceProperties2(physical, &properties);
        return sm.shaderSMCount;
    }
    if (lk_has_extension(extensions, count, VK_AMD_SHADER_CORE_PROPERTIES_2_EXTENSION_NAME)) {
        VkPhysicalDeviceShaderCoreProperties2AMD core = {
            .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_CORE_PROPERTIES_2_AMD};
        properties.pNext = &core;
        vkGetPhysicalDeviceProperties2(physical, &properties);
        return core.activeComputeUnitCount;
    }
    return 0;
}

void lk_driver_facts(VkPhysicalDevice physical, VkDriverId id, const VkExtensionProperties *extensions,
                     uint32_t extension_count, lk_caps *caps) {
    caps->driver = (uint32_t)id;
    caps->is_cpu = caps->device_class == LK_CLASS_CPU;
    /* RADV with a forced family compiles for a card that is not there and accepts submits that do nothing. */
    const char *forced = getenv("RADV_FORCE_FAMILY");
    caps->null_device = caps->driver == ID_MESA_RADV && forced && *forced;
    caps->compute_units = compute_units(physical, extensions, extension_count);
    /* AMD's proprietary driver offers matrices on cards without matrix units (before RDNA3) by slow emulation; which
     * cards have them cannot be asked, so they stay off there. */
    if (caps->driver == ID_AMD_PROPRIETARY || caps->driver == ID_AMD_OPEN_SOURCE) caps->cooperative_matrix = false;
    /* Intel's first Arc generation (subgroups down to 8) loses by its matrix units more often than it wins. */
    if ((caps->driver == ID_INTEL_MESA || caps->driver == ID_INTEL_WINDOWS) && caps->min_subgroup_size <= 8)
        caps->cooperative_matrix = false;
    /* Subgroup arithmetic is broken in MoltenVK on AMD cards (vendor 0x1002). */
    if (caps->driver == ID_MOLTENVK && caps->vendor_id == 0x1002) caps->subgroup_arithmetic = false;
}

int lk_driver_preference(const lk_caps *caps) {
    if (caps->null_device) return -1;
    if (caps->driver == ID_MESA_DOZEN)
        return 0; /* hung while compiling in other projects: only when nothing else is there */
    switch (caps->device_class) {
    case LK_CLASS_DISCRETE:
        return 50;
    case LK_CLASS_INTEGRATED:
        return 40;
    case LK_CLASS_VIRTUAL:
        return 30;
    case LK_CLASS_OTHER:
        return 20;
    case LK_CLASS_CPU:
        return caps->driver == ID_SWIFTSHADER ? 1 : 2;
    }
    return 0;
}

double lk_driver_estimate(const lk_caps *caps, double flops, double bytes) {
    /* On the slow side: a first submit that is too small costs little, one that is too long is killed by the system. */
    double flops_per_second = 5e11, bytes_per_second = 5e10, start = 5e-6;
    if (caps->is_cpu) {
        flops_per_second = caps->driver == ID_SWIFTSHADER ? 1e9 : 2e10;
        bytes_per_second = 2e9;
        start = 4e-5;
    } else if (caps->device_class == LK_CLASS_DISCRETE) {
        flops_per_second = 2e12;
        bytes_per_second = 1.5e11;
    }
    return start + flops / flops_per_second + bytes / bytes_per_second;
}
