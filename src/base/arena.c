/* base/arena.c - see arena.h. */
#include "base/arena.h"

#include "base/memory.h"

#include <stdint.h>
#include <string.h>

enum { CHUNK_BYTES = 64 * 1024, ALIGNMENT = 16 };

struct lk_arena_chunk {
    lk_arena_chunk *older;
    size_t used, capacity;
    _Alignas(ALIGNMENT) unsigned char data[];
};

void *lk_arena_alloc(lk_arena *arena, size_t count, size_t size) {
    if (size && count > (SIZE_MAX / 2) / size) return NULL;
    size_t bytes = (count * size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    if (bytes == 0) bytes = ALIGNMENT;
    lk_arena_chunk *chunk = arena->newest;
    if (!chunk || chunk->capacity - chunk->used < bytes) {
        size_t capacity = bytes > CHUNK_BYTES ? bytes : CHUNK_BYTES;
        if (arena->limit && (capacity > arena->limit || arena->bytes > arena->limit - capacity)) return NULL;
        chunk = lk_alloc(1, sizeof *chunk + capacity);
        if (!chunk) return NULL;
        chunk->capacity = capacity;
        arena->bytes += capacity;
        chunk->older = arena->newest;
        arena->newest = chunk;
    }
    void *memory = chunk->data + chunk->used;
    chunk->used += bytes;
    return memory;
}

char *lk_arena_copy_text(lk_arena *arena, const char *text, size_t length) {
    if (length == SIZE_MAX) return NULL;
    char *copy = lk_arena_alloc(arena, length + 1, 1);
    if (copy && length) memcpy(copy, text, length);
    return copy;
}

char *lk_arena_strdup(lk_arena *arena, const char *text) { return lk_arena_copy_text(arena, text, strlen(text)); }

void lk_arena_free(lk_arena *arena) {
    while (arena->newest) {
        lk_arena_chunk *older = arena->newest->older;
        lk_free(arena->newest);
        arena->newest = older;
    }
    arena->bytes = 0;
}
