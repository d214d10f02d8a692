/* base/arena.h - memory that is given back all at once.
 *
 * A chain of chunks; an allocation bumps a pointer in the newest one. Zeroed, aligned to 16 bytes. Not thread-safe.
 * Objects that live and die together (a parsed file, a graph) own one. */
#ifndef LK_BASE_ARENA_H
#define LK_BASE_ARENA_H

#include <stddef.h>

typedef struct lk_arena_chunk lk_arena_chunk;

typedef struct lk_arena {
    lk_arena_chunk *newest; /* a zeroed lk_arena is an empty one */
    size_t bytes;           /* taken from the system */
    size_t limit;           /* refuse to grow beyond; 0: no limit */
} lk_arena;

/* NULL when memory is short, the limit is reached or the product overflows. A size of 0 gives a valid pointer. */
void *lk_arena_alloc(lk_arena *arena, size_t count, size_t size);
char *lk_arena_strdup(lk_arena *arena, const char *text);
char *lk_arena_copy_text(lk_arena *arena, const char *text, size_t length); /* NUL is added */
/* Frees every chunk; the arena is empty and usable again. */
void lk_arena_free(lk_arena *arena);

#endif
