/* tests/fuzz/fuzz_driver.c - a fuzzer that needs no clang: replays a corpus, then mutates it, guided by coverage.
 *
 *   fuzz_NAME [--keep FOLDER] PATTERN...      PATTERN: files, as of the shell ("tests/data/pictures/" "*.png")
 *
 * LIKENESS_FUZZ_SECONDS (default: LIKENESS_FUZZ_DEFAULT, 0 only replays) and LIKENESS_FUZZ_SEED (default 1): the same
 * seed gives the same inputs in the same order, the clock only ends it. --keep writes what makes up the coverage at the
 * end, smallest inputs first.
 *
 * The library under test is compiled with -fsanitize-coverage=trace-pc (gcc and clang know it), which calls the
 * function below at every basic block. Pairs of consecutive blocks are counted in a map; an input that reaches a pair,
 * or a power of two of passes through it, for the first time joins the pool. An input that fails lies afterwards in
 * LIKENESS_FUZZ_ARTIFACTS (default: the temporary folder) as likeness-fuzz-NAME.input. */
#include "fuzz/fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#ifndef LIKENESS_FUZZ_DEFAULT
#define LIKENESS_FUZZ_DEFAULT 0
#endif

enum { MAP = 1 << 16, MOST_BYTES = 1 << 16, MOST_POOL = 20000, SECONDS_PER_INPUT = 20, MOST_MEMORY_MB = 3000 };

/* ---- coverage ---- */

static uint8_t map[MAP], seen[MAP];
static uintptr_t previous;

void __sanitizer_cov_trace_pc(void);

__attribute__((no_sanitize("address", "undefined"))) void __sanitizer_cov_trace_pc(void) {
    /* relative to this function: the same at every load address */
    uintptr_t place = (uintptr_t)__builtin_return_address(0) - (uintptr_t)&__sanitizer_cov_trace_pc;
    uintptr_t mixed = (place * (uintptr_t)UINT64_C(0x9e3779b97f4a7c15)) >> 40;
    uint8_t *count = &map[(mixed ^ previous) % MAP];
    if (*count < 255) ++*count;
    previous = mixed >> 1;
}

/* Passes in classes 1, 2, 3, 4.., 8.., 16.., 32.., 128..: one bit each. */
__attribute__((no_sanitize("address", "undefined"))) static uint8_t class_of(uint8_t passes) {
    if (passes == 0) return 0;
    if (passes < 4) return (uint8_t)(1u << (passes - 1));
    return passes < 8 ? 8 : passes < 16 ? 16 : passes < 32 ? 32 : passes < 128 ? 64 : 128;
}

/* How many classes of `map` are new in `known`, which then has them. Most of the map is empty: eight at a time. */
__attribute__((no_sanitize("address", "undefined"))) static int news(uint8_t *known) {
    int count = 0;
    for (size_t i = 0; i < MAP; i += 8) {
        uint64_t eight;
        memcpy(&eight, map + i, sizeof eight);
        for (size_t k = i; eight && k < i + 8; k++) {
            uint8_t bit = class_of(map[k]);
            if (bit & ~known[k]) count++;
            known[k] |= bit;
        }
    }
    return count;
}

/* ---- the input that runs now, for whoever has to look at a failure ---- */

static const uint8_t *running;
static size_t running_size;

static void keep_running(void) {
    const char *base = getenv("LIKENESS_FUZZ_ARTIFACTS");
    char path[1024];
    if (!base) base = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/likeness-fuzz-%s.input", base ? base : "/tmp", fuzz_name);
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0 || write(file, running, running_size) != (ssize_t)running_size) return;
    close(file);
    fprintf(stderr, "%s: this input of %zu bytes failed: %s\n", fuzz_name, running_size, path);
}

static void on_signal(int number) {
    if (number == SIGALRM) fprintf(stderr, "%s: an input took more than %d s\n", fuzz_name, SECONDS_PER_INPUT);
    keep_running();
    signal(number, SIG_DFL);
    raise(number);
}

/* Of the sanitizers' run-time, where they are linked. */
__attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)(void));

static void run(const uint8_t *data, size_t size) {
    struct rusage usage;
    running = data;
    running_size = size;
    memset(map, 0, sizeof map);
    previous = 0;
    alarm(SECONDS_PER_INPUT);
    fuzz_checked(data, size);
    alarm(0);
    if (getrusage(RUSAGE_SELF, &usage) == 0 && usage.ru_maxrss > (long)MOST_MEMORY_MB * 1024)
        fuzz_fail("the process grew to %ld MB", usage.ru_maxrss / 1024);
}

/* ---- the pool ---- */

typedef struct input {
    uint8_t *data;
    size_t size;
} input;

static input pool[MOST_POOL];
static size_t pool_count;

static void add(const uint8_t *data, size_t size) {
    if (pool_count == MOST_POOL) return;
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy) abort();
    if (size) memcpy(copy, data, size);
    pool[pool_count++] = (input){copy, size};
}

static void replay(const char *path) {
    FILE *file = fopen(path, "rb");
    static uint8_t data[MOST_BYTES];
    if (!file) fuzz_fail("cannot read %s", path);
    size_t size = fread(data, 1, sizeof data, file);
    if (!feof(file)) fuzz_fail("%s is larger than %d bytes", path, MOST_BYTES - 1);
    fclose(file);
    add(data, size);
    run(data, size);
    news(seen);
}

/* ---- mutation ---- */

static uint64_t state;

static uint64_t draw(void) { /* splitmix64 */
    uint64_t z = state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static size_t below(size_t n) { return n ? (size_t)(draw() % n) : 0; }

typedef struct work {
    uint8_t data[MOST_BYTES];
    size_t size, most; /* it may grow only so far: small inputs are fast ones */
} work;

/* Replaces `old` bytes at `at` by others. */
static void replace(work *w, size_t at, size_t old, const void *bytes, size_t size) {
    uint8_t held[MOST_BYTES];
    if (w->size - old + size > w->most) return;
    if (size) memcpy(held, bytes, size); /* they may come from w itself */
    memmove(w->data + at + size, w->data + at + old, w->size - at - old);
    if (size) memcpy(w->data + at, held, size);
    w->size = w->size - old + size;
}

static void put_number(work *w) {
    static const int64_t numbers[] = {0,        1,          -1,        2,         3,
                                      7,        8,          16,        64,        127,
                                      128,      255,        256,       1000,      32767,
                                      65535,    65536,      1000000,   INT32_MAX, -1 - (int64_t)INT32_MAX,
                                      1 << 24,  UINT32_MAX, 1LL << 32, 1LL << 53, INT64_MAX,
                                      INT64_MIN};
    static const uint8_t widths[] = {1, 2, 4, 8};
    int64_t number = numbers[below(sizeof numbers / sizeof *numbers)];
    size_t width = widths[below(4)], at = below(w->size);
    bool big = below(2);
    for (size_t i = 0; i < width && at + i < w->size; i++)
        w->data[at + i] = (uint8_t)((uint64_t)number >> (8 * (big ? width - 1 - i : i)));
}

/* Another number where digits stand. */
static void change_digits(work *w) {
    static const char *const numbers[] = {"0",
                                          "1",
                                          "-1",
                                          "2",
                                          "65536",
                                          "2147483647",
                                          "1e9",
                                          "0.5",
                                          "4294967296",
                                          "-1e300",
                                          "9007199254740993",
                                          "1e999",
                                          "null",
                                          "128",
                                          "1000000007",
                                          "18446744073709551616"};
    size_t at = below(w->size), end;
    while (at < w->size && (w->data[at] < '0' || w->data[at] > '9'))
        at++;
    for (end = at; end < w->size && w->data[end] >= '0' && w->data[end] <= '9';)
        end++;
    const char *number = numbers[below(sizeof numbers / sizeof *numbers)];
    replace(w, at, end - at, number, strlen(number));
}

static void mutate_once(work *w) {
    size_t words = 0, at = below(w->size + 1), length = below(w->size - at + 1);
    while (fuzz_words[words])
        words++;
    if (length > 64 && below(4)) length = below(64);
    switch (below(12)) {
    case 0:
        if (w->size) w->data[below(w->size)] ^= (uint8_t)(1u << below(8));
        break;
    case 1:
        if (w->size) w->data[below(w->size)] = (uint8_t)draw();
        break;
    case 2:
        if (w->size) w->data[below(w->size)] += (uint8_t)(below(2) ? 1 + below(16) : 256 - 1 - below(16));
        break;
    case 3:
        put_number(w);
        break;
    case 4:
        change_digits(w);
        break;
    case 5:
        replace(w, at, length, NULL, 0);
        break;
    case 6: /* a piece twice */
        replace(w, at, 0, w->data + at, length);
        break;
    case 7: /* a piece elsewhere */
        replace(w, below(w->size + 1), 0, w->data + at, length);
        break;
    case 8:
        w->size = at;
        break;
    case 9:
    case 10:
        if (words) {
            const char *word = fuzz_words[below(words)];
            replace(w, at, below(2) ? 0 : length < strlen(word) ? length : strlen(word), word, strlen(word));
        }
        break;
    default: { /* a piece of another input */
        const input *other = &pool[below(pool_count)];
        size_t from = below(other->size + 1), size = below(other->size - from + 1);
        replace(w, at, below(2) ? length : 0, other->data + from, size);
    }
    }
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static int64_t fuzz(double seconds) {
    static work w;
    int64_t count = 0;
    for (double end = now() + seconds; now() < end; count++) {
        /* Half of the time one of the newest: what was reached last is explored least. */
        size_t recent = pool_count < 32 ? pool_count : 32;
        const input *from = &pool[below(2) ? below(pool_count) : pool_count - 1 - below(recent)];
        memcpy(w.data, from->data, from->size);
        w.size = from->size;
        w.most = from->size < 4096 ? 4096 : from->size;
        for (size_t times = (size_t)1 << below(5); times; times--)
            mutate_once(&w);
        run(w.data, w.size);
        if (news(seen)) add(w.data, w.size);
    }
    return count;
}

/* ---- what is worth keeping ---- */

static int smaller(const void *a, const void *b) {
    const input *x = a, *y = b;
    return (x->size > y->size) - (x->size < y->size);
}

static void keep(const char *folder) {
    static uint8_t known[MAP];
    size_t kept = 0, bytes = 0;
    qsort(pool, pool_count, sizeof *pool, smaller);
    for (size_t i = 0; i < pool_count; i++) {
        char path[1024];
        run(pool[i].data, pool[i].size);
        for (size_t k = 0; k < MAP; k++)
            map[k] = map[k] != 0; /* only what is reached, not how often: a small corpus */
        if (!news(known)) continue;
        snprintf(path, sizeof path, "%s/%03zu", folder, kept++);
        FILE *file = fopen(path, "wb");
        if (!file || fwrite(pool[i].data, 1, pool[i].size, file) != pool[i].size) fuzz_fail("cannot write %s", path);
        fclose(file);
        bytes += pool[i].size;
    }
    printf("%s: kept %zu inputs, %zu bytes\n", fuzz_name, kept, bytes);
}

int main(int count, char **arguments) {
    const char *seconds = getenv("LIKENESS_FUZZ_SECONDS"), *seed = getenv("LIKENESS_FUZZ_SEED"), *folder = NULL;
    static const int signals[] = {SIGABRT, SIGALRM, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        if (i < 2 || !__sanitizer_set_death_callback) signal(signals[i], on_signal);
    if (__sanitizer_set_death_callback) __sanitizer_set_death_callback(keep_running);
    state = seed ? strtoull(seed, NULL, 10) : 1;
    for (int i = 1; i < count; i++) {
        glob_t found;
        if (strcmp(arguments[i], "--keep") == 0 && i + 1 < count) {
            folder = arguments[++i];
            continue;
        }
        if (glob(arguments[i], 0, NULL, &found) != 0) fuzz_fail("no file matches %s", arguments[i]);
        for (size_t k = 0; k < found.gl_pathc; k++)
            replay(found.gl_pathv[k]);
        globfree(&found);
    }
    size_t corpus = pool_count;
    if (corpus == 0) fuzz_fail("no corpus");
    double wanted = seconds ? strtod(seconds, NULL) : LIKENESS_FUZZ_DEFAULT, start = now();
    int64_t tried = wanted > 0 ? fuzz(wanted) : 0;
    size_t reached = 0;
    for (size_t i = 0; i < MAP; i++)
        reached += seen[i] != 0;
    printf("%s: %zu files replayed, %lld inputs in %.1f s, %zu of them new, %zu edges\n", fuzz_name, corpus,
           (long long)tried, now() - start, pool_count - corpus, reached);
    if (folder) keep(folder);
    for (size_t i = 0; i < pool_count; i++)
        free(pool[i].data);
    return 0;
}
