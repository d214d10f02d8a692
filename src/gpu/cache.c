/* gpu/cache.c - the driver's pipeline cache on disk.
 *
 * File pipelines-<device key>.bin in the cache folder:
 *
 *     "LKPIPE01" | uuid[16] | vendor u32 | device u32 | driver version u32 | 0 u32 | bytes u64 | FNV-1a u64 | data
 *
 * little-endian as the machine is (a foreign file fails the comparison); data is the driver's own. Anything wrong with
 * a file, a cut or changed one, one of another driver or a folder that cannot be read or written, means starting
 * without it; it is never an error. Processes may write at the same time: a file appears whole or not at all, and who
 * comes second joins what the first one left to its own. */
#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "gpu/internal.h"

#include <stdio.h>
#include <string.h>

#define CACHE_LIMIT ((size_t)256 << 20)
#define DRIVER_HEADER 32 /* VkPipelineCacheHeaderVersionOne */

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

/* A cache file in memory. data: the driver's part, NULL where there is nothing to give back to the driver. */
typedef struct lk_cache_file {
    uint8_t *file; /* to free */
    const uint8_t *data;
    size_t bytes;
    uint64_t hash; /* of a sound file's data, 0 without one */
} lk_cache_file;

static lk_cache_file load(const lk_device *device) {
    lk_cache_file found = {0};
    char *path = cache_path(device);
    if (!path) return found;
    size_t size = 0;
    lk_error ignored = LK_ERROR_INIT;
    bool read = lk_file_exists(path) && lk_file_read(path, CACHE_LIMIT, &found.file, &size, &ignored) == LIKENESS_OK;
    lk_free(path);
    lk_cache_header header;
    if (!read || size < sizeof header) return found;
    memcpy(&header, found.file, sizeof header);
    const uint8_t *data = found.file + sizeof header;
    lk_cache_header expected = header_for(device, data, size - sizeof header);
    if (memcmp(&header, &expected, sizeof header) != 0) return found;
    /* The driver's header (VkPipelineCacheHeaderVersionOne) as well: some drivers trust it too much. */
    uint32_t words[4];
    if (header.bytes < DRIVER_HEADER) return found;
    memcpy(words, data, sizeof words);
    if (words[0] < DRIVER_HEADER || words[1] != VK_PIPELINE_CACHE_HEADER_VERSION_ONE || words[2] != header.vendor ||
        words[3] != header.device || memcmp(data + 16, header.uuid, 16) != 0)
        return found;
    found.hash = header.hash;
    /* A header alone holds no pipeline (CPU drivers keep none); one such driver would hand it back doubled. */
    if (header.bytes == DRIVER_HEADER) return found;
    found.data = data;
    found.bytes = header.bytes;
    return found;
}

static VkResult create_cache(lk_device *device, const lk_cache_file *from, VkPipelineCache *cache) {
    VkPipelineCacheCreateInfo info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO,
                                      .initialDataSize = from ? from->bytes : 0,
                                      .pInitialData = from ? from->data : NULL};
    VkResult result = LK_VK(vkCreatePipelineCache(device->handle, &info, NULL, cache));
    if (result != VK_SUCCESS) *cache = VK_NULL_HANDLE;
    return result;
}

likeness_status lk_cache_open(lk_device *device, lk_error *error) {
    lk_cache_file found = load(device);
    VkResult result = create_cache(device, &found, &device->cache);
    if (result != VK_SUCCESS && found.data) result = create_cache(device, NULL, &device->cache);
    device->cache_hash = found.hash;
    lk_free(found.file);
    if (result != VK_SUCCESS) return lk_vk_fail(device, result, "creating the pipeline cache", error);
    return LIKENESS_OK;
}

/* Another process wrote while this one ran: its pipelines join ours. The hash of what lies on disk now. */
static uint64_t join_newer(lk_device *device) {
    lk_cache_file found = load(device);
    VkPipelineCache other = VK_NULL_HANDLE;
    if (found.data && found.hash != device->cache_hash && create_cache(device, &found, &other) == VK_SUCCESS) {
        VkResult ignored = LK_VK(vkMergePipelineCaches(device->handle, device->cache, 1, &other));
        (void)ignored; /* ours alone is fine too */
        vkDestroyPipelineCache(device->handle, other, NULL);
    }
    lk_free(found.file);
    return found.hash;
}

static void save(lk_device *device) {
    uint64_t on_disk = join_newer(device);
    size_t bytes = 0;
    if (LK_VK(vkGetPipelineCacheData(device->handle, device->cache, &bytes, NULL)) != VK_SUCCESS || bytes == 0 ||
        bytes > CACHE_LIMIT)
        return;
    uint8_t *file = lk_alloc(1, sizeof(lk_cache_header) + bytes);
    char *path = cache_path(device);
    lk_error ignored = LK_ERROR_INIT;
    if (file && path &&
        LK_VK(vkGetPipelineCacheData(device->handle, device->cache, &bytes, file + sizeof(lk_cache_header))) ==
            VK_SUCCESS) {
        lk_cache_header header = header_for(device, file + sizeof header, bytes);
        memcpy(file, &header, sizeof header);
        if (header.hash != on_disk && lk_directory_make(device->cache_folder, &ignored) == LIKENESS_OK)
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
