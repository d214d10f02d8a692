/* base/file.c - reading, mapping and atomic writing of file.h. */
#include "base/file.h"

#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- reading ---- */

/* Opens a regular file (a pipe's or device's size means nothing, so they are refused). */
static likeness_status open_regular(const char *path, int *descriptor, uint64_t *size, lk_error *error) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return lk_fail(error, LIKENESS_IO, "cannot open '%s': %s", path, strerror(errno));
    struct stat info;
    if (fstat(fd, &info) != 0) {
        lk_fail(error, LIKENESS_IO, "cannot examine '%s': %s", path, strerror(errno));
    } else if (S_ISDIR(info.st_mode)) {
        lk_fail(error, LIKENESS_IO, "'%s' is a folder, not a file", path);
    } else if (!S_ISREG(info.st_mode)) {
        lk_fail(error, LIKENESS_IO, "'%s' is not a regular file", path);
    } else {
        *descriptor = fd;
        *size = (uint64_t)info.st_size;
        return LIKENESS_OK;
    }
    close(fd);
    return error->status;
}

likeness_status lk_file_read(const char *path, size_t limit, uint8_t **data, size_t *size, lk_error *error) {
    int fd = -1;
    uint64_t length = 0;
    *data = NULL;
    *size = 0;
    LK_TRY(open_regular(path, &fd, &length, error));
    if (length > limit) {
        close(fd);
        return lk_fail(error, LIKENESS_BAD_FILE, "'%s' has %llu bytes, at most %llu are accepted here", path,
                       (unsigned long long)length, (unsigned long long)limit);
    }
    uint8_t *buffer = lk_alloc((size_t)length + 1, 1);
    if (!buffer) {
        close(fd);
        return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for the %llu bytes of '%s'",
                       (unsigned long long)length, path);
    }
    size_t done = 0;
    while (done < length) {
        ssize_t got = read(fd, buffer + done, (size_t)length - done);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) {
            lk_fail(error, LIKENESS_IO, "cannot read '%s': %s", path, got < 0 ? strerror(errno) : "it became shorter");
            break;
        }
        done += (size_t)got;
    }
    close(fd);
    if (done < length) {
        lk_free(buffer);
        return error->status;
    }
    *data = buffer;
    *size = (size_t)length;
    return LIKENESS_OK;
}

likeness_status lk_file_map(const char *path, lk_mapping *mapping, lk_error *error) {
    int fd = -1;
    uint64_t length = 0;
    mapping->data = NULL;
    mapping->size = 0;
    LK_TRY(open_regular(path, &fd, &length, error));
    if (length > SIZE_MAX / 2) {
        close(fd);
        return lk_fail(error, LIKENESS_IO, "'%s' is too large for this computer's address space", path);
    }
    if (length) {
        void *view = mmap(NULL, (size_t)length, PROT_READ, MAP_PRIVATE, fd, 0);
        if (view == MAP_FAILED)
            lk_fail(error, LIKENESS_IO, "cannot map '%s': %s", path, strerror(errno));
        else
            mapping->data = view;
    }
    close(fd);
    if (length && !mapping->data) return error->status;
    mapping->size = (size_t)length;
    return LIKENESS_OK;
}

void lk_file_unmap(lk_mapping *mapping) {
    if (mapping->data) munmap((void *)(uintptr_t)mapping->data, mapping->size);
    mapping->data = NULL;
    mapping->size = 0;
}

/* ---- writing ---- */

static likeness_status write_failed(const char *path, int code, lk_error *error) {
    const char *advice = code == ENOSPC || code == EDQUOT ? "; free some space and try again" : "";
    return lk_fail(error, LIKENESS_IO, "cannot write '%s': %s%s", path, strerror(code), advice);
}

/* The reason why a new file cannot be made at `path`, in the words of its folder. */
static likeness_status create_failed(const char *path, int code, lk_error *error) {
    char *folder = lk_path_folder(path);
    if (folder && code == ENOENT && !lk_directory_exists(folder))
        lk_fail(error, LIKENESS_IO, "cannot write '%s': the folder '%s' does not exist; create it first", path, folder);
    else
        write_failed(path, code, error);
    lk_free(folder);
    return error->status;
}

/* Beside the target, hidden, unlike any other process's and any other call's. */
static char *temporary_name(const char *path) {
    static atomic_uint counter;
    char *folder = lk_path_folder(path);
    if (!folder) return NULL;
    char name[64];
    snprintf(name, sizeof name, ".likeness-%ld-%u.tmp", (long)getpid(), atomic_fetch_add(&counter, 1));
    char *joined = lk_path_join(folder, name);
    lk_free(folder);
    return joined;
}

likeness_status lk_file_writer_open(lk_file_writer *writer, const char *path, lk_error *error) {
    memset(writer, 0, sizeof *writer);
    writer->descriptor = -1;
    if (path[0] == 0) return lk_fail(error, LIKENESS_IO, "cannot write a file without a name");
    struct stat info;
    bool exists = stat(path, &info) == 0;
    if (exists && S_ISDIR(info.st_mode)) return lk_fail(error, LIKENESS_IO, "cannot write '%s': it is a folder", path);
    bool direct = exists && !S_ISREG(info.st_mode);
    if (exists && !direct) { /* a link is followed, so that the file it leads to is replaced and not the link */
        char *real = realpath(path, NULL);
        writer->path = lk_strdup(real ? real : path);
        free(real);
    } else {
        writer->path = lk_strdup(path);
    }
    if (writer->path && !direct) writer->temporary = temporary_name(writer->path);
    if (!writer->path || (!direct && !writer->temporary)) {
        lk_file_writer_abort(writer);
        return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to write '%s'", path);
    }
    if (direct)
        writer->descriptor = open(path, O_WRONLY | O_CLOEXEC);
    else
        writer->descriptor = open(writer->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (writer->descriptor < 0) {
        create_failed(path, errno, error);
        lk_free(writer->temporary); /* not ours: never made */
        writer->temporary = NULL;
        lk_file_writer_abort(writer);
        return error->status;
    }
    if (exists && !direct &&
        fchmod(writer->descriptor, info.st_mode & 0777) != 0) { /* keeping the mode is a courtesy */
    }
    return LIKENESS_OK;
}

likeness_status lk_file_writer_append(lk_file_writer *writer, const void *data, size_t size, lk_error *error) {
    const uint8_t *bytes = data;
    while (size) {
        size_t part = size < 1u << 30 ? size : 1u << 30;
        ssize_t put = write(writer->descriptor, bytes, part);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return write_failed(writer->path, errno, error);
        bytes += put;
        size -= (size_t)put;
    }
    return LIKENESS_OK;
}

likeness_status lk_file_writer_commit(lk_file_writer *writer, lk_error *error) {
    likeness_status status = LIKENESS_OK;
    if (fsync(writer->descriptor) != 0 && errno != EINVAL && errno != ENOTSUP && errno != EROFS)
        status = write_failed(writer->path, errno, error);
    int closed = close(writer->descriptor);
    writer->descriptor = -1;
    if (status == LIKENESS_OK && closed != 0) status = write_failed(writer->path, errno, error);
    if (status == LIKENESS_OK && writer->temporary) {
        if (rename(writer->temporary, writer->path) != 0) {
            status = write_failed(writer->path, errno, error);
        } else {
            lk_free(writer->temporary);
            writer->temporary = NULL;
        }
    }
    lk_file_writer_abort(writer);
    return status;
}

void lk_file_writer_abort(lk_file_writer *writer) {
    if (writer->descriptor >= 0) close(writer->descriptor);
    if (writer->temporary) unlink(writer->temporary);
    lk_free(writer->temporary);
    lk_free(writer->path);
    memset(writer, 0, sizeof *writer);
    writer->descriptor = -1;
}

likeness_status lk_file_write(const char *path, const void *data, size_t size, lk_error *error) {
    lk_file_writer writer;
    LK_TRY(lk_file_writer_open(&writer, path, error));
    if (lk_file_writer_append(&writer, data, size, error) != LIKENESS_OK) {
        lk_file_writer_abort(&writer);
        return error->status;
    }
    return lk_file_writer_commit(&writer, error);
}

likeness_status lk_output_check(const char *path, lk_error *error) {
    lk_file_writer writer;
    LK_TRY(lk_file_writer_open(&writer, path, error)); /* the only honest test: make the file, then take it away */
    lk_file_writer_abort(&writer);
    return LIKENESS_OK;
}
