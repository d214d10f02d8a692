/* base/thread.h - a loop over several cores.
 *
 * Work is split into ranges by size alone, never by the number of threads, so that a caller that keeps one result a
 * range gets the same sums on every machine. Threads live for one call: meant for loops of a millisecond or more. */
#ifndef LK_BASE_THREAD_H
#define LK_BASE_THREAD_H

#include <stddef.h>

/* Cores that this process may use, at least 1. */
int lk_thread_count(void);

typedef void (*lk_parallel_fn)(void *context, size_t begin, size_t end);

/* Calls fn for the ranges [0,grain), [grain,2 grain) ... below count, each once, in no certain order, and returns when
 * all are done. Where threads cannot be had the calling thread does all the work. */
void lk_parallel_for(size_t count, size_t grain, lk_parallel_fn fn, void *context);

#endif
