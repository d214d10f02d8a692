/* gpu/instance.c - the Vulkan loader, the one instance of the process, validation messages, faults for tests. */
#define VOLK_IMPLEMENTATION
#include "gpu/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    VkInstance handle;
    VkDebugUtilsMessengerEXT messenger;
    int users;
    bool loaded, validation;
} vulkan;

static int64_t validation_count;
static char validation_last[1024];

/* ---- faults ---- */

static int64_t fail_after = -1;
static VkResult fail_with;
static bool fail_one;
static int64_t call_count;
VkResult lk_vk_gate_result;

void lk_gpu_fail_after(int64_t n, lk_gpu_fault fault) {
    fail_after = n;
    fail_one = false;
    fail_with = fault == LK_FAULT_DEVICE_LOST          ? VK_ERROR_DEVICE_LOST
                : fault == LK_FAULT_OUT_OF_HOST_MEMORY ? VK_ERROR_OUT_OF_HOST_MEMORY
                : fault == LK_FAULT_REFUSED            ? VK_ERROR_INITIALIZATION_FAILED
                                                       : VK_ERROR_OUT_OF_DEVICE_MEMORY;
}

void lk_gpu_fail_once(int64_t n, lk_gpu_fault fault) {
    lk_gpu_fail_after(n, fault);
    fail_one = true;
}

int64_t lk_gpu_calls(void) { return call_count; }

VkResult lk_vk_gate(void) {
    ++call_count;
    if (fail_after < 0) return VK_SUCCESS;
    if (fail_after == 0) {
        if (fail_one) fail_after = -1;
        return fail_with;
    }
    --fail_after;
    return VK_SUCCESS;
}

const char *lk_vk_result_text(VkResult result) {
    switch (result) {
    case VK_SUCCESS:
        return "success";
    case VK_TIMEOUT:
        return "timeout";
    case VK_ERROR_OUT_OF_HOST_MEMORY:
        return "out of host memory";
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
        return "out of device memory";
    case VK_ERROR_INITIALIZATION_FAILED:
        return "initialization failed";
    case VK_ERROR_DEVICE_LOST:
        return "device lost";
    case VK_ERROR_MEMORY_MAP_FAILED:
        return "memory cannot be mapped";
    case VK_ERROR_LAYER_NOT_PRESENT:
        return "layer not present";
    case VK_ERROR_EXTENSION_NOT_PRESENT:
        return "extension not present";
    case VK_ERROR_FEATURE_NOT_PRESENT:
        return "feature not present";
    case VK_ERROR_INCOMPATIBLE_DRIVER:
        return "no compatible driver";
    case VK_ERROR_TOO_MANY_OBJECTS:
        return "too many objects";
    default:
        return "error";
    }
}

likeness_status lk_vk_fail(lk_device *device, VkResult result, const char *what, lk_error *error) {
    likeness_status status = LIKENESS_INTERNAL;
    const char *advice = "";
    if (result == VK_ERROR_OUT_OF_DEVICE_MEMORY || result == VK_ERROR_OUT_OF_HOST_MEMORY ||
        result == VK_ERROR_TOO_MANY_OBJECTS) {
        status = LIKENESS_OUT_OF_MEMORY;
        advice = "; close other programs or ask for a smaller picture";
    } else if (result == VK_ERROR_DEVICE_LOST) {
        status = LIKENESS_DEVICE_LOST;
        advice = "; the graphics driver stopped or reset the device: try again, then look at the system's log";
        if (device) device->lost = true;
    }
    return lk_fail(error, status, "%s: %s (Vulkan %d)%s", what, lk_vk_result_text(result), (int)result, advice);
}

/* ---- validation ---- */

static VKAPI_ATTR VkBool32 VKAPI_CALL on_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                                 VkDebugUtilsMessageTypeFlagsEXT type,
                                                 const VkDebugUtilsMessengerCallbackDataEXT *data, void *user) {
    (void)severity;
    (void)type;
    (void)user;
    ++validation_count;
    snprintf(validation_last, sizeof validation_last, "%s", data->pMessage ? data->pMessage : "");
    const char *show = getenv("LIKENESS_VALIDATION_SHOW"); /* for developers; the library is silent otherwise */
    if (show && *show) fprintf(stderr, "validation: %s\n", validation_last);
    return VK_FALSE;
}

int64_t lk_device_validation_count(void) { return validation_count; }
const char *lk_device_validation_last(void) { return validation_last; }
bool lk_vulkan_validation(void) { return vulkan.validation; }

static bool layer_present(const char *name) {
    uint32_t count = 0;
    VkLayerProperties layers[64];
    if (vkEnumerateInstanceLayerProperties(&count, NULL) != VK_SUCCESS) return false;
    if (count > 64) count = 64;
    vkEnumerateInstanceLayerProperties(&count, layers);
    for (uint32_t i = 0; i < count; ++i)
        if (!strcmp(layers[i].layerName, name)) return true;
    return false;
}

static bool instance_extension_present(const char *name, const char *layer) {
    VkExtensionProperties extensions[128];
    uint32_t count = 128;
    VkResult result = vkEnumerateInstanceExtensionProperties(layer, &count, extensions);
    if (result != VK_SUCCESS && result != VK_INCOMPLETE) return false;
    return lk_has_extension(extensions, count, name);
}

/* ---- the instance ---- */

likeness_status lk_vulkan_acquire(VkInstance *instance, lk_error *error) {
    if (vulkan.users > 0) {
        ++vulkan.users;
        *instance = vulkan.handle;
        return LIKENESS_OK;
    }
    if (!vulkan.loaded) {
        VkResult result = LK_VK(volkInitialize());
        if (result != VK_SUCCESS)
            return lk_fail(error, LIKENESS_NO_DEVICE,
                           "the Vulkan loader is missing: install it (Debian, Ubuntu: apt install libvulkan1 "
                           "mesa-vulkan-drivers; Windows: the graphics driver brings it)");
        vulkan.loaded = true;
    }
    if (volkGetInstanceVersion() < VK_API_VERSION_1_3)
        return lk_fail(
            error, LIKENESS_NO_DEVICE,
            "the Vulkan loader is older than 1.3: install a newer one (Debian, Ubuntu: apt install libvulkan1)");

    const char *wanted = getenv("LIKENESS_VALIDATION");
    const char *layer = "VK_LAYER_KHRONOS_validation";
    bool validation = wanted && *wanted && strcmp(wanted, "0") != 0 && layer_present(layer);
    const char *extensions[2];
    uint32_t extension_count = 0;
    bool debug_utils = validation && (instance_extension_present(VK_EXT_DEBUG_UTILS_EXTENSION_NAME, NULL) ||
                                      instance_extension_present(VK_EXT_DEBUG_UTILS_EXTENSION_NAME, layer));
    if (debug_utils) extensions[extension_count++] = VK_EXT_DEBUG_UTILS_EXTENSION_NAME;
    VkInstanceCreateFlags flags = 0;
#ifdef VK_KHR_portability_enumeration
    if (instance_extension_present(VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME, NULL)) {
        extensions[extension_count++] = VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME;
        flags = VK_INSTANCE_CREATE_ENUMERATE_PORTABILITY_BIT_KHR;
    }
#endif
    VkDebugUtilsMessengerCreateInfoEXT messenger = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity =
            VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
        /* Not GENERAL: those are the loader's remarks about other drivers on the machine. */
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_TYPE_PERFORMANCE_BIT_EXT,
        .pfnUserCallback = on_message};
    VkApplicationInfo application = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
                                     .pApplicationName = "likeness",
                                     .pEngineName = "likeness",
                                     .apiVersion = VK_API_VERSION_1_3};
    VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
                                 .pNext = debug_utils ? &messenger : NULL,
                                 .flags = flags,
                                 .pApplicationInfo = &application,
                                 .enabledLayerCount = validation ? 1 : 0,
                                 .ppEnabledLayerNames = &layer,
                                 .enabledExtensionCount = extension_count,
                                 .ppEnabledExtensionNames = extensions};
    VkResult result = LK_VK(vkCreateInstance(&info, NULL, &vulkan.handle));
    if (result == VK_ERROR_INCOMPATIBLE_DRIVER)
        return lk_fail(
            error, LIKENESS_NO_DEVICE,
            "no Vulkan driver is installed: install your graphics card's, or a CPU driver (Debian, Ubuntu: apt "
            "install mesa-vulkan-drivers)");
    if (result != VK_SUCCESS) return lk_vk_fail(NULL, result, "creating the Vulkan instance", error);
    volkLoadInstance(vulkan.handle);
    vulkan.messenger = VK_NULL_HANDLE;
    if (debug_utils) {
        result = LK_VK(vkCreateDebugUtilsMessengerEXT(vulkan.handle, &messenger, NULL, &vulkan.messenger));
        if (result != VK_SUCCESS) {
            vkDestroyInstance(vulkan.handle, NULL);
            return lk_vk_fail(NULL, result, "creating the validation messenger", error);
        }
    }
    vulkan.validation = debug_utils;
    vulkan.users = 1;
    *instance = vulkan.handle;
    return LIKENESS_OK;
}

void lk_vulkan_release(void) {
    if (--vulkan.users > 0) return;
    if (vulkan.messenger) vkDestroyDebugUtilsMessengerEXT(vulkan.handle, vulkan.messenger, NULL);
    vkDestroyInstance(vulkan.handle, NULL);
    vulkan.handle = VK_NULL_HANDLE;
    vulkan.messenger = VK_NULL_HANDLE;
    vulkan.validation = false;
    vulkan.users = 0;
}
