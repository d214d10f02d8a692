/* base/memory.c - see memory.h. */
#include "base/memory.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static atomic_llong live_blocks;
static atomic_llong total_allocations;
static atomic_llong remaining = -1;
static atomic_bool once;

static int refuse_allocation(void) {
    long long left = atomic_load(&remaining);
    while (left >= 0) {
        if (left == 0 && !atomic_load(&once)) return 1;
        if (left == 0) return atomic_compare_exchange_strong(&remaining, &left, -1);
        if (atomic_compare_exchange_weak(&remaining, &left, left - 1)) return 0;
    }
    return 0;
}

void *lk_alloc(size_t count, size_t size) {
    if (count == 0 || size == 0 || count > SIZE_MAX / size || refuse_allocation()) return NULL;
    void *memory = calloc(count, size);
    if (memory) {
        atomic_fetch_add(&live_blocks, 1);
        atomic_fetch_add(&total_allocations, 1);
    }
    return memory;
}

void *lk_realloc(void *memory, size_t count, size_t size) {
    if (count == 0 || size == 0 || count > SIZE_MAX / size || refuse_allocation()) return NULL;
    void *grown = realloc(memory, count * size);
    if (grown) {
        if (!memory) atomic_fetch_add(&live_blocks, 1);
        atomic_fetch_add(&total_allocations, 1);
    }
    return grown;
}

void lk_free(void *memory) {
    if (!memory) return;
    atomic_fetch_sub(&live_blocks, 1);
    free(memory);
}

char *lk_strdup(const char *text) {
    size_t bytes = strlen(text) + 1;
    char *copy = lk_alloc(bytes, 1);
    if (copy) memcpy(copy, text, bytes);
    return copy;
}

void lk_memory_fail_after(int64_t n) {
    atomic_store(&once, false);
    atomic_store(&remaining, n < 0 ? -1 : n);
}

void lk_memory_fail_once(int64_t n) {
    atomic_store(&once, true);
    atomic_store(&remaining, n < 0 ? -1 : n);
}

int64_t lk_memory_live(void) { return atomic_load(&live_blocks); }
int64_t lk_memory_count(void) { return atomic_load(&total_allocations); }
