/* base/thread.c - see thread.h. */
#include "base/thread.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

enum { MAX_THREADS = 64 };

int lk_thread_count(void) {
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    int count = sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? CPU_COUNT(&allowed) : 1;
    return count < 1 ? 1 : count > MAX_THREADS ? MAX_THREADS : count;
}

typedef struct parallel_job {
    lk_parallel_fn fn;
    void *context;
    size_t count, grain, ranges;
    atomic_size_t next; /* range that the next free thread takes */
} parallel_job;

static void *work(void *argument) {
    parallel_job *job = argument;
    for (;;) {
        size_t range = atomic_fetch_add(&job->next, 1);
        if (range >= job->ranges) return NULL;
        size_t begin = range * job->grain;
        size_t end = job->count - begin < job->grain ? job->count : begin + job->grain;
        job->fn(job->context, begin, end);
    }
}

void lk_parallel_for(size_t count, size_t grain, lk_parallel_fn fn, void *context) {
    if (count == 0) return;
    if (grain == 0) grain = 1;
    parallel_job job = {.fn = fn, .context = context, .count = count, .grain = grain};
    job.ranges = (count - 1) / grain + 1;
    atomic_init(&job.next, 0);
    pthread_t threads[MAX_THREADS];
    size_t wanted = (size_t)lk_thread_count(), started = 0;
    if (wanted > job.ranges) wanted = job.ranges;
    while (started + 1 < wanted && pthread_create(&threads[started], NULL, work, &job) == 0)
        started++;
    work(&job);
    for (size_t i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
}
