/* gpu/cache.c - the driver's pipeline cache on disk.
 *
 * File pipelines-<device key>.bin in the cache folder:
 *
 *     "LKPIPE01" | uuid[16] | vendor u32 | device u32 | driver version u32 | 0 u32 | bytes u64 | FNV-1a u64 | driver's
 * data
 *
 * little-endian as the machine is (a foreign file fails the comparison). Anything wrong with a file, a cut or changed
 * one, one of another driver or a folder that cannot be read or written, means starting without it; it is never an
 * error. */
#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "gpu/internal.h"

#include <stdio.h>
#include <string.h>

#define CACHE_LIMIT ((size_t)256 << 20)

typedef struct lk_cache_header {
    char magic[8];
    uint8_t uuid[16];
    uint32_t vendor, device, driver_version, zero;
    uint64_t bytes, hash;
} lk_cache_header;

static lk_cache_header header_for(const lk_device *device, const void *data, size_t bytes) {
    const lk_caps *caps = &device->probe.caps;
    lk_cache_header header = {.vendor = caps->vendor_id,
                              .device = caps->device_id,
                              .driver_version = caps->driver_version,
                              .bytes = bytes,
                              .hash = lk_fnv64(LK_FNV64_INIT, data, bytes)};
    memcpy(header.magic, "LKPIPE01", 8);
    memcpy(header.uuid, caps->cache_uuid, sizeof header.uuid);
    return header;
}

static char *cache_path(const lk_device *device) {
    if (!device->cache_folder) return NULL;
    char name[160];
    snprintf(name, sizeof name, "pipelines-%s.bin", device->key);
    return lk_path_join(device->cache_folder, name);
}

/* The driver's own part of the file, or NULL. *file is what to free. */
static const uint8_t *load(const lk_device *device, uint8_t **file, size_t *bytes) {
    *file = NULL;
    *bytes = 0;
    char *path = cache_path(device);
    if (!path) return NULL;
    size_t size = 0;
    lk_error ignored = LK_ERROR_INIT;
    bool read = lk_file_exists(path) && lk_file_read(path, CACHE_LIMIT, file, &size, &ignored) == LIKENESS_OK;
    lk_free(path);
    lk_cache_header header;
    if (!read || size < sizeof header) return NULL;
    memcpy(&header, *file, sizeof header);
    const uint8_t *data = *file + sizeof header;
    lk_cache_header expected = header_for(device, data, size - sizeof header);
    if (memcmp(&header, &expected, sizeof header) != 0) return NULL;
    /* The driver's header (VkPipelineCacheHeaderVersionOne) as well: some drivers trust it too much. */
    uint32_t words[4];
    if (header.bytes < 32) return NULL;
    memcpy(words, data, sizeof words);
    if (words[0] < 32 || words[1] != VK_PIPELINE_CACHE_HEADER_VERSION_ONE || words[2] != header.vendor ||
        words[3] != header.device || memcmp(data + 16, header.uuid, 16) != 0)
        return NULL;
    *bytes = header.bytes;
    return data;
}

likeness_status lk_cache_open(lk_device *device, lk_error *error) {
    uint8_t *file = NULL;
    size_t bytes = 0;
    const uint8_t *data = load(device, &file, &bytes);
    VkPipelineCacheCreateInfo info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO,
                                      .initialDataSize = data ? bytes : 0,
                                      .pInitialData = data};
    VkResult result = LK_VK(vkCreatePipelineCache(device->handle, &info, NULL, &device->cache));
    if (result != VK_SUCCESS && data) {
        info.initialDataSize = 0;
        info.pInitialData = NULL;
        result = LK_VK(vkCreatePipelineCache(device->handle, &info, NULL, &device->cache));
    }
    lk_free(file);
    if (result != VK_SUCCESS) {
        device->cache = VK_NULL_HANDLE;
        return lk_vk_fail(device, result, "creating the pipeline cache", error);
    }
    return LIKENESS_OK;
}

static void save(lk_device *device) {
    size_t bytes = 0;
    if (vkGetPipelineCacheData(device->handle, device->cache, &bytes, NULL) != VK_SUCCESS || bytes == 0 ||
        bytes > CACHE_LIMIT)
        return;
    uint8_t *file = lk_alloc(1, sizeof(lk_cache_header) + bytes);
    char *path = cache_path(device);
    lk_error ignored = LK_ERROR_INIT;
    if (file && path &&
        vkGetPipelineCacheData(device->handle, device->cache, &bytes, file + sizeof(lk_cache_header)) == VK_SUCCESS &&
        lk_directory_make(device->cache_folder, &ignored) == LIKENESS_OK) {
        lk_cache_header header = header_for(device, file + sizeof header, bytes);
        memcpy(file, &header, sizeof header);
        lk_file_write(path, file, sizeof header + bytes, &ignored);
    }
    lk_free(path);
    lk_free(file);
}

void lk_cache_close(lk_device *device) {
    if (!device->cache) return;
    if (device->cache_changed && device->cache_folder && !device->lost) save(device);
    vkDestroyPipelineCache(device->handle, device->cache, NULL);
    device->cache = VK_NULL_HANDLE;
}
