/* tests/io/io_test.h - what the tests of base and io share: assertions on lk_error, temporary files, and the loop that
 * makes every allocation fail once. */
#ifndef LK_TESTS_IO_TEST_H
#define LK_TESTS_IO_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define assert_ok(expression, error)                                                                                   \
    do {                                                                                                               \
        if ((expression) != LIKENESS_OK) fail_msg("%s: %s", #expression, (error)->message);                            \
    } while (0)

/* The call must fail with this status and a message that contains `words`. */
#define assert_fails(expression, error, wanted, words)                                                                 \
    do {                                                                                                               \
        likeness_status got_ = (expression);                                                                           \
        if (got_ != (wanted) || (error)->status != (wanted) || !strstr((error)->message, words))                       \
            fail_msg("%s: status %d, expected %d; message '%s', expected '%s'", #expression, (int)got_, (int)(wanted), \
                     (error)->message, words);                                                                         \
    } while (0)

/* A path with a blank and non-ASCII letters in a new folder of its own. */
static inline char *temporary_path(const char *name) {
    const char *base = getenv("TMPDIR");
    char folder[512];
    snprintf(folder, sizeof folder, "%s/likeness tést-XXXXXX", base ? base : "/tmp");
    assert_non_null(mkdtemp(folder));
    char *path = malloc(strlen(folder) + strlen(name) + 2);
    assert_non_null(path);
    sprintf(path, "%s/%s", folder, name);
    return path;
}

/* The file may be gone already, but nothing else may be left beside it. */
static inline void remove_temporary(char *path) {
    unlink(path);
    *strrchr(path, '/') = 0;
    if (rmdir(path) != 0) fail_msg("something was left behind in %s", path);
    free(path);
}

/* Makes allocation 0, 1, 2, ... fail until `attempt` succeeds undisturbed. Each failure must be reported as out of
 * memory and must leave no block behind. Returns how many allocations were made to fail. */
typedef likeness_status (*attempt_fn)(void *context, lk_error *error);
static inline int64_t fail_every_allocation(attempt_fn attempt, void *context) {
    lk_error first = LK_ERROR_INIT;
    assert_ok(attempt(context, &first), &first); /* also warms what lives for the whole program */
    for (int64_t n = 0; n < 1000000; n++) {
        lk_error error = LK_ERROR_INIT;
        int64_t live = lk_memory_live();
        lk_memory_fail_after(n);
        likeness_status status = attempt(context, &error);
        lk_memory_fail_after(-1);
        if (lk_memory_live() != live)
            fail_msg("allocation %d failed and %d blocks leaked", (int)n, (int)(lk_memory_live() - live));
        if (status == LIKENESS_OK) return n;
        if (status != LIKENESS_OUT_OF_MEMORY || error.message[0] == 0)
            fail_msg("allocation %d failed, status %d, message '%s'", (int)n, (int)status, error.message);
    }
    fail_msg("never succeeded");
    return -1;
}

#endif
