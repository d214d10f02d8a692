/* base/path.c - folders and names of file.h. */
#include "base/file.h"

#include "base/hash.h"
#include "base/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool lk_file_exists(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

bool lk_directory_exists(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

uint64_t lk_file_stamp(const char *path) {
    struct stat info;
    if (stat(path, &info) != 0) return 0;
    uint64_t nanoseconds = 0;
#ifndef _WIN32
    nanoseconds = (uint64_t)info.st_mtim.tv_nsec;
#endif
    const uint64_t parts[] = {(uint64_t)info.st_size, (uint64_t)info.st_mtime, nanoseconds, (uint64_t)info.st_ino,
                              (uint64_t)info.st_dev};
    uint64_t stamp = lk_fnv64(LK_FNV64_INIT, parts, sizeof parts);
    return stamp ? stamp : 1;
}

uint64_t lk_file_size(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode) ? (uint64_t)info.st_size : 0;
}

void lk_file_remove(const char *path) { unlink(path); }

likeness_status lk_directory_make(const char *path, lk_error *error) {
    char *partial = lk_strdup(path);
    if (!partial) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to make the folder '%s'", path);
    size_t length = strlen(partial);
    int code = length ? 0 : ENOENT;
    for (size_t i = 1; i <= length && code == 0; i++) {
        if (partial[i] != '/' && partial[i] != 0) continue;
        char kept = partial[i];
        partial[i] = 0;
        if (mkdir(partial, 0700) != 0 && !lk_directory_exists(partial)) code = errno;
        partial[i] = kept;
    }
    lk_free(partial);
    if (code) return lk_fail(error, LIKENESS_IO, "cannot make the folder '%s': %s", path, strerror(code));
    return LIKENESS_OK;
}

char *lk_path_join(const char *folder, const char *name) {
    size_t a = strlen(folder), b = strlen(name), slash = a && folder[a - 1] != '/';
    char *joined = lk_alloc(a + slash + b + 1, 1);
    if (!joined) return NULL;
    memcpy(joined, folder, a);
    if (slash) joined[a] = '/';
    memcpy(joined + a + slash, name, b + 1);
    return joined;
}

const char *lk_path_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

char *lk_path_folder(const char *path) {
    const char *slash = strrchr(path, '/');
    if (!slash) return lk_strdup(".");
    size_t length = slash == path ? 1 : (size_t)(slash - path);
    char *folder = lk_alloc(length + 1, 1);
    if (folder) memcpy(folder, path, length);
    return folder;
}

char *lk_path_with_suffix(const char *path, const char *suffix) {
    const char *name = lk_path_name(path), *dot = strrchr(name, '.');
    size_t stem = dot && dot != name ? (size_t)(dot - path) : strlen(path);
    char *result = lk_alloc(stem + strlen(suffix) + 1, 1);
    if (!result) return NULL;
    memcpy(result, path, stem);
    memcpy(result + stem, suffix, strlen(suffix));
    return result;
}

/* The XDG rule: a variable counts only when it holds an absolute path. */
static char *user_directory(const char *variable, const char *below_home) {
    const char *base = getenv(variable);
    if (base && base[0] == '/') return lk_path_join(base, "likeness");
    const char *home = getenv("HOME");
    if (!home || home[0] != '/') return NULL;
    char *folder = lk_path_join(home, below_home);
    char *result = folder ? lk_path_join(folder, "likeness") : NULL;
    lk_free(folder);
    return result;
}

char *lk_cache_directory(void) { return user_directory("XDG_CACHE_HOME", ".cache"); }
char *lk_config_directory(void) { return user_directory("XDG_CONFIG_HOME", ".config"); }
