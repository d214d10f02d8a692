/* gpu/internal.h - what the files of src/gpu share: Vulkan itself and the insides of a device. Included nowhere else.
 *
 * Every Vulkan call that can fail goes through LK_VK(), which tests make fail (lk_gpu_fail_after), and every failure
 * through lk_vk_fail(), which turns it into a status and a message. Calls that give things back are not wrapped. */
#ifndef LK_GPU_INTERNAL_H
#define LK_GPU_INTERNAL_H

#include "base/arena.h"
#include "gpu/check.h"
#include "gpu/device.h"
#include "gpu/memory.h"
#include "gpu/stream.h"

#include <volk.h>

/* ---- instance.c ---- */

/* One VkInstance a process, counted. */
likeness_status lk_vulkan_acquire(VkInstance *instance, lk_error *error);
void lk_vulkan_release(void);
bool lk_vulkan_validation(void);

/* VK_SUCCESS, or what the next call shall fail with. */
VkResult lk_vk_gate(void);
extern VkResult lk_vk_gate_result;
#define LK_VK(call) ((lk_vk_gate_result = lk_vk_gate()) != VK_SUCCESS ? lk_vk_gate_result : (call))
/* LIKENESS_OUT_OF_MEMORY, LIKENESS_DEVICE_LOST (the device is marked lost) or LIKENESS_INTERNAL; device may be NULL. */
likeness_status lk_vk_fail(lk_device *device, VkResult result, const char *what, lk_error *error);
const char *lk_vk_result_text(VkResult result);

/* ---- drivers.c: everything known about vendors and drivers ---- */

/* Fills driver, is_cpu, null_device, compute_units; corrects what a driver is known to report wrongly. */
void lk_driver_facts(VkPhysicalDevice physical, VkDriverId id, const VkExtensionProperties *extensions,
                     uint32_t extension_count, lk_caps *caps);
/* Higher is better; negative: never without being asked. */
int lk_driver_preference(const lk_caps *caps);
/* Seconds that commands of this kind of device roughly take, before anything was measured. */
double lk_driver_estimate(const lk_caps *caps, double flops, double bytes);

/* ---- probe.c ---- */

typedef struct lk_probe {
    lk_caps caps;
    VkPhysicalDeviceMemoryProperties memory;
    uint32_t queue_family;
    uint32_t device_type;  /* memory type of blocks */
    uint32_t plain_type;   /* the one to fall back to where that cannot be had or mapped; may be the same */
    uint32_t staging_type; /* memory type of staging buffers */
    bool device_mappable;  /* blocks are host visible and coherent */
    bool device_cached;    /* ... and reading them through the mapping is fast */
    bool has_memory_budget, has_executable_properties, has_portability_subset;
    char reason[200]; /* why it cannot be used; "" if it can */
} lk_probe;

void lk_probe_device(VkPhysicalDevice physical, const lk_device_options *options, lk_probe *probe);
bool lk_has_extension(const VkExtensionProperties *extensions, uint32_t count, const char *name);

/* ---- device.c ---- */

typedef struct lk_pipeline_slot {
    bool used;
    lk_shader shader;
    uint32_t subgroup_size, spec_count;
    uint32_t spec[LK_MAX_SPEC];
    VkPipeline pipeline;
} lk_pipeline_slot;

/* Words and fence of copies that the host waits for. */
typedef struct lk_once {
    VkCommandPool pool;
    VkCommandBuffer commands;
    VkFence fence;
} lk_once;

typedef struct lk_trace lk_trace;

struct lk_device {
    VkInstance instance;
    VkPhysicalDevice physical;
    VkDevice handle;
    VkQueue queue;
    lk_probe probe;
    char *cache_folder;
    char key[96];
    uint64_t memory_limit, memory_now, memory_peak;
    bool lost;

    /* pipeline.c, cache.c */
    VkPipelineLayout layout;
    VkPipelineCache cache;
    uint64_t cache_hash;     /* of the data last read from disk; 0: none */
    bool cache_changed;      /* a pipeline was made that the cache did not hold */
    VkShaderModule *modules; /* LK_SHADER_COUNT */
    lk_pipeline_slot *slots; /* hash table, power of two */
    uint32_t slot_count, pipeline_count;
    lk_pipeline_stats stats;

    /* memory.c */
    lk_once once;
    VkBuffer staging;
    VkDeviceMemory staging_memory;
    void *staging_mapped;
    uint32_t next_block_id;
    uint32_t live_blocks;

    /* stream.c */
    lk_recording *running_first, *running_last; /* submitted, not yet waited for, in order */
    uint64_t submit_serial, waited_serial;

    lk_trace *trace; /* NULL: not kept */
};

/* ---- memory.c ---- */

struct lk_block {
    lk_device *device;
    VkBuffer buffer;
    VkDeviceMemory memory;
    uint64_t bytes, address;
    unsigned char *mapped; /* NULL: only through staging */
    uint32_t id;           /* unique within the device */
};

#define LK_STAGING_BYTES (UINT64_C(8) << 20)

/* Begins and ends one-off commands; end submits and waits. */
likeness_status lk_once_begin(lk_device *device, lk_error *error);
likeness_status lk_once_end(lk_device *device, lk_error *error);
void lk_memory_close(lk_device *device);

/* ---- pipeline.c and cache.c ---- */

likeness_status lk_pipeline_open(lk_device *device, lk_error *error);
void lk_pipeline_close(lk_device *device);
likeness_status lk_pipeline_get(lk_device *device, const lk_command *command, VkPipeline *pipeline, lk_error *error);
likeness_status lk_cache_open(lk_device *device, lk_error *error);
/* Writes the cache to disk if it changed; failure to write is no error. */
void lk_cache_close(lk_device *device);

/* ---- stream.c ---- */

/* A full barrier: all earlier compute and transfer work before all later work, host reads too if to_host. */
void lk_barrier(VkCommandBuffer commands, bool to_host);
likeness_status lk_stream_wait(lk_device *device, lk_error *error);

/* ---- check.c: the trace ---- */

typedef enum lk_trace_kind {
    LK_TRACE_COMMAND,
    LK_TRACE_BARRIER,      /* of a recording */
    LK_TRACE_ONCE_BARRIER, /* after a copy between host and device, or one command alone */
    LK_TRACE_SUBMIT,       /* what came before is on the queue */
    LK_TRACE_WAIT,         /* everything up to submit `serial` is done */
    LK_TRACE_HOST_READ,
    LK_TRACE_HOST_WRITE
} lk_trace_kind;

/* All do nothing when device->trace is NULL. A failure to note marks the trace incomplete: the check then fails. */
likeness_status lk_trace_open(lk_device *device, lk_error *error);
void lk_trace_close(lk_device *device);
void lk_trace_command(lk_device *device, const lk_range *ranges, uint32_t range_count, const char *label,
                      uint64_t identity);
void lk_trace_barrier(lk_device *device, bool to_host);
/* The barrier (to the host too) that ends one-off commands. */
void lk_trace_once_barrier(lk_device *device);
void lk_trace_submit(lk_device *device, uint64_t serial);
void lk_trace_wait(lk_device *device, uint64_t serial);
void lk_trace_host(lk_device *device, lk_trace_kind kind, lk_buffer_ref ref, uint64_t offset, uint64_t bytes);

#endif
