/* base/memory.h - the library's only way to take and give back host memory.
 *
 * Tests make the n-th allocation fail through lk_memory_fail_after(), and ask lk_memory_live() whether anything leaked.
 * Everything returned by lk_alloc is zeroed and aligned for any type. */
#ifndef LK_BASE_MEMORY_H
#define LK_BASE_MEMORY_H

#include <stddef.h>
#include <stdint.h>

/* Zeroed memory for count x size bytes; NULL when it does not exist, when the product overflows, or for size 0. */
void *lk_alloc(size_t count, size_t size);
/* Grows or shrinks; new bytes are not zeroed; NULL leaves the old block alone. */
void *lk_realloc(void *memory, size_t count, size_t size);
void lk_free(void *memory);
/* Copy of a NUL-terminated string; NULL when out of memory. */
char *lk_strdup(const char *text);

/* After n more successful allocations every further one fails; n < 0 switches this off (the default). */
void lk_memory_fail_after(int64_t n);
/* The same for one allocation only: those after it succeed again. */
void lk_memory_fail_once(int64_t n);
/* Blocks that are allocated now and allocations made since the start, over all threads. */
int64_t lk_memory_live(void);
int64_t lk_memory_count(void);

#endif
