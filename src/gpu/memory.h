/* gpu/memory.h - device memory: blocks, and references into them.
 *
 * A block is one VkBuffer with its own allocation and a 64-bit address, at most lk_caps.max_block bytes. Callers place
 * things inside blocks themselves (the planner) or through a pool (weights). A reference is {block, offset, bytes}:
 *
 *     block   |......[offset ............ offset+bytes)......|
 *
 * Fresh memory holds anything. Host reads and writes wait for what is submitted, so a caller never sees stale bytes. */
#ifndef LK_GPU_MEMORY_H
#define LK_GPU_MEMORY_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lk_device;
typedef struct lk_block lk_block;

/* Offsets that callers give out inside a block should be multiples of this; shaders accept any multiple of 4. */
#define LK_BUFFER_ALIGN 64

typedef struct lk_buffer_ref {
    lk_block *block;
    uint64_t offset, bytes;
} lk_buffer_ref;

/* purpose: "activations", "weights" ...; named in the message when memory is short. bytes above lk_caps.max_block:
 * LIKENESS_OUT_OF_MEMORY as well, saying so. */
likeness_status lk_block_create(struct lk_device *device, uint64_t bytes, const char *purpose, lk_block **block,
                                lk_error *error);
/* Waits for the device first if anything is still running. NULL is fine. */
void lk_block_destroy(lk_block *block);
uint64_t lk_block_bytes(const lk_block *block);
struct lk_device *lk_block_device(const lk_block *block);

static inline lk_buffer_ref lk_block_ref(lk_block *block) { return (lk_buffer_ref){block, 0, lk_block_bytes(block)}; }
/* Part of a reference. */
static inline lk_buffer_ref lk_ref_slice(lk_buffer_ref ref, uint64_t offset, uint64_t bytes) {
    return (lk_buffer_ref){ref.block, ref.offset + offset, bytes};
}
/* What goes into push constants. 0 for a reference without a block. */
uint64_t lk_ref_address(lk_buffer_ref ref);

/* Copies between host memory and ref (`bytes` from `offset` inside it), through a mapping or a staging buffer. Wait for
 * everything submitted before. */
likeness_status lk_ref_write(lk_buffer_ref ref, uint64_t offset, const void *data, uint64_t bytes, lk_error *error);
likeness_status lk_ref_read(lk_buffer_ref ref, uint64_t offset, void *data, uint64_t bytes, lk_error *error);
/* Fills all of ref with a 32-bit word; ref.bytes is a multiple of 4. */
likeness_status lk_ref_fill(lk_buffer_ref ref, uint32_t word, lk_error *error);

/* ---- a pool: many small references that live and die together ---- */

typedef struct lk_pool lk_pool;

/* Blocks of the pool have block_bytes (0: 64 MiB, never above the device's limit); a larger request gets its own. */
likeness_status lk_pool_create(struct lk_device *device, uint64_t block_bytes, const char *purpose, lk_pool **pool,
                               lk_error *error);
/* The size of the blocks to come, as above. */
void lk_pool_set_block(lk_pool *pool, uint64_t block_bytes);
/* ref->offset is a multiple of LK_BUFFER_ALIGN. */
likeness_status lk_pool_take(lk_pool *pool, uint64_t bytes, lk_buffer_ref *ref, lk_error *error);
uint64_t lk_pool_bytes(const lk_pool *pool); /* of all its blocks */
void lk_pool_destroy(lk_pool *pool);

#endif
