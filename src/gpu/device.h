/* gpu/device.h - finding a Vulkan device, what it can do, opening it.
 *
 * Needs Vulkan 1.3 with buffer device addresses; everything else is optional and probed into lk_caps. Facts about
 * single vendors and drivers live in drivers.c only. A device and all that is made on it belong to one thread at a
 * time.
 *
 *     lk_device *device;
 *     LK_TRY(lk_device_open(&(lk_device_options){0}, &device, error));   // the best device
 *     ... blocks, recordings ...                                         // destroyed before the device
 *     lk_device_close(device);
 *
 * Environment: LIKENESS_VALIDATION=1 switches the Khronos validation layer on where it is installed. */
#ifndef LK_GPU_DEVICE_H
#define LK_GPU_DEVICE_H

#include "base/error.h"
#include "gpu/shader_list.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct lk_device lk_device;

typedef enum lk_device_class {
    LK_CLASS_DISCRETE,
    LK_CLASS_INTEGRATED,
    LK_CLASS_VIRTUAL,
    LK_CLASS_CPU,
    LK_CLASS_OTHER
} lk_device_class;

/* One supported shape of the matrix units (KHR cooperative matrix, subgroup scope). */
typedef struct lk_matrix_shape {
    uint32_t m, n, k;
    bool f16_inputs, f32_accumulate; /* a, b f16; c, result f32 */
} lk_matrix_shape;

typedef struct lk_caps {
    char name[256];        /* the driver's name of the device */
    char driver_name[256]; /* of the program that drives it */
    char driver_info[256]; /* its version, as text */
    lk_device_class device_class;
    uint32_t driver;  /* number in Vulkan's registry; only drivers.c asks which one it is */
    bool is_cpu;      /* a CPU driver: choose flat kernels */
    bool null_device; /* compiles shaders and runs nothing */
    uint32_t vendor_id, device_id, driver_version, api_version;
    uint8_t cache_uuid[16];

    uint32_t subgroup_size;                        /* the default */
    uint32_t min_subgroup_size, max_subgroup_size; /* what can be required */
    bool subgroup_size_control;                    /* a compute pipeline may require a size */
    bool subgroup_basic, subgroup_vote, subgroup_arithmetic, subgroup_ballot, subgroup_shuffle; /* in compute shaders */

    bool f16_arithmetic, storage_16bit, storage_8bit, int64, int16, int8, f64;
    bool cooperative_matrix;
    lk_matrix_shape matrix_shapes[16];
    uint32_t matrix_shape_count;
    bool pipeline_executable_info; /* registers, spills */

    uint32_t max_groups_axis; /* workgroups along each axis; already lowered by lk_device_options.max_groups_axis */
    uint32_t max_group_invocations, max_group_size_x;
    uint32_t max_group_subgroups; /* of a pipeline that requires a subgroup size */
    uint32_t shared_memory_bytes;
    uint32_t compute_units; /* cores, SMs, CUs; 0: unknown */

    uint64_t max_block;    /* largest lk_block in bytes: min(1 GiB, device limits, lk_device_options.max_block) */
    uint64_t heap_bytes;   /* of the largest device-local heap */
    uint64_t budget_bytes; /* of that heap what this process may use now; 0: unknown */
    bool unified_memory;   /* device memory is host memory */
    bool host_visible;     /* all of device memory can be mapped */

    bool timestamps;
    double timestamp_ns; /* nanoseconds a tick */
} lk_caps;

typedef struct lk_device_options {
    const char *select; /* index as listed ("0"), or part of name, driver or driver info, any case; NULL: the best */
    const char *cache_folder; /* of the pipeline cache; NULL: the user's; "": no cache on disk */
    uint64_t max_block;       /* 0: no own limit */
    uint64_t memory_limit;    /* of all blocks together, for tests; 0: none */
    uint32_t max_groups_axis; /* artificial limit, for tests; 0: the device's */
    bool pretend_unmappable;  /* treat device memory as not mappable, so that staging is used; for tests */
    bool pretend_gpu;         /* choose kernels, workgroups and submits on a CPU driver as on a GPU; for tests */
    bool trace;               /* keep what is submitted for lk_check_trace (gpu/check.h) */
} lk_device_options;

/* A line of the list of devices. */
typedef struct lk_device_entry {
    lk_caps caps;
    bool usable;
    char reason[200]; /* why not usable, "" if usable */
    bool chosen;      /* what lk_device_open with these options would take */
} lk_device_entry;

/* Every Vulkan device in the loader's order, in memory of lk_alloc; free with lk_free. None at all is no failure (count
 * 0), a missing Vulkan loader is LIKENESS_NO_DEVICE. */
likeness_status lk_device_list(const lk_device_options *options, lk_device_entry **entries, size_t *count,
                               lk_error *error);

/* Opens the selected device. Unless selected, a CPU driver is taken only where no usable GPU exists, and a null device
 * never. LIKENESS_NO_DEVICE with what to install or to choose from. */
likeness_status lk_device_open(const lk_device_options *options, lk_device **device, lk_error *error);
/* Waits for the device, writes the pipeline cache, gives everything back. NULL is fine. */
void lk_device_close(lk_device *device);

const lk_caps *lk_device_caps(const lk_device *device);
/* Folder that device-dependent files may go to (pipeline cache, doctor's memory); NULL: none. */
const char *lk_device_cache_folder(const lk_device *device);
/* "NAME-hash": names device, driver and driver version in file names; the same until the driver changes. */
const char *lk_device_key(const lk_device *device);

/* True when the device has every capability that the shader's SPIR-V declares. */
bool lk_shader_supported(const lk_device *device, lk_shader shader);

/* Pipelines made since the device was opened. */
typedef struct lk_pipeline_stats {
    uint32_t created, hits; /* hits: the driver says that the cache file held them */
    double seconds;         /* spent making them; CPU drivers compile later, at the first dispatch */
} lk_pipeline_stats;

lk_pipeline_stats lk_device_pipeline_stats(const lk_device *device);
/* True when a pipeline of this shader was made. */
bool lk_device_shader_used(const lk_device *device, lk_shader shader);

/* One line (name, driver, version, kind) and several lines for `likeness devices`, into text.
 */
void lk_device_summary(const lk_caps *caps, char *text, size_t bytes);
void lk_device_describe(const lk_caps *caps, char *text, size_t bytes);

/* Waits until everything submitted is done. LIKENESS_DEVICE_LOST if it never will be. */
likeness_status lk_device_wait(lk_device *device, lk_error *error);

/* Bytes of device memory now and at most, over all blocks of this device. */
uint64_t lk_device_memory_now(const lk_device *device);
uint64_t lk_device_memory_peak(const lk_device *device);

/* Messages (warnings and errors) of the validation layer since the start of the process; the last one as text. Zero
 * where the layer is not switched on, see lk_device_validation_active. */
int64_t lk_device_validation_count(void);
const char *lk_device_validation_last(void);
bool lk_device_validation_active(const lk_device *device);

/* ---- fault injection, for tests ---- */

/* What the failing Vulkan call returns. */
typedef enum lk_gpu_fault {
    LK_FAULT_OUT_OF_DEVICE_MEMORY,
    LK_FAULT_OUT_OF_HOST_MEMORY,
    LK_FAULT_DEVICE_LOST,
    LK_FAULT_REFUSED /* the driver does not want to, as with a shader that it cannot compile */
} lk_gpu_fault;

/* After n more successful Vulkan calls every further one fails, until switched off by n < 0 (the default). Only calls
 * that can fail count. */
void lk_gpu_fail_after(int64_t n, lk_gpu_fault fault);
/* The same for one call only: those after it succeed again. */
void lk_gpu_fail_once(int64_t n, lk_gpu_fault fault);
/* Calls that could have failed, since the start. */
int64_t lk_gpu_calls(void);

#endif
