/* tests/fuzz/fuzz_common.c - see fuzz.h. */
#include "fuzz/fuzz.h"

#include "base/text.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

void fuzz_fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "\n%s: ", fuzz_name);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    abort();
}

bool fuzz_answer(likeness_status status, const lk_error *error, likeness_status also) {
    if (status != error->status) fuzz_fail("returned %d, the error holds %d", (int)status, (int)error->status);
    if (status == LIKENESS_OK) {
        if (error->message[0]) fuzz_fail("success with the message '%s'", error->message);
        return true;
    }
    if (status != LIKENESS_BAD_FILE && status != LIKENESS_UNSUPPORTED && status != also)
        fuzz_fail("unexpected status %d: %s", (int)status, error->message);
    size_t length = strlen(error->message), used;
    if (length == 0) fuzz_fail("status %d without a message", (int)status);
    for (size_t i = 0; i < length; i += used) {
        int32_t c = lk_utf8_decode((const uint8_t *)error->message + i, length - i, &used);
        if (c < 32 || (c >= 127 && c < 160))
            fuzz_fail("byte %zu of the message is not printable: %s", i, error->message);
    }
    return false;
}

void fuzz_checked(const uint8_t *data, size_t size) {
    static bool warm;
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy) abort();
    if (size) memcpy(copy, data, size);
    if (!warm) fuzz_one(copy, size); /* what lives for the whole program is made here */
    warm = true;
    int64_t live = lk_memory_live();
    fuzz_one(copy, size);
    if (lk_memory_live() != live) fuzz_fail("%lld blocks leaked", (long long)(lk_memory_live() - live));
    free(copy);
}

/* ---- temporary files ---- */

static char folder[512];
static pid_t owner;

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *place) {
    (void)info;
    (void)kind;
    (void)place;
    return remove(path);
}

static void remove_folder(void) {
    if (folder[0] && owner == getpid()) nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

const char *fuzz_path(const char *name) {
    static char path[1024];
    if (!folder[0]) {
        const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : getenv("TMPDIR");
        snprintf(folder, sizeof folder, "%s/likeness fuzz-XXXXXX", base ? base : "/tmp");
        if (!mkdtemp(folder)) fuzz_fail("cannot make %s", folder);
        owner = getpid();
        atexit(remove_folder);
    }
    size_t start = strlen(folder) + 1;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    for (char *slash = strchr(path + start, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(path, 0700);
        *slash = '/';
    }
    return path;
}

/* Not lk_file_write: its fsync and rename would be most of the time. */
void fuzz_put(const char *name, const void *data, size_t size) {
    int file = open(fuzz_path(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0 || (size && write(file, data, size) != (ssize_t)size)) fuzz_fail("cannot write %s", fuzz_path(name));
    close(file);
}

/* ---- clang -fsanitize=fuzzer ---- */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_checked(data, size);
    return 0;
}
