/* base/file.h - files and folders. Paths are UTF-8 everywhere; only file.c and path.c talk to the operating system, so
 * a port with wide-character paths changes those two files and no caller.
 *
 * Writing is atomic: bytes go to a hidden temporary file beside the target, are flushed to the disk and renamed over
 * it. Whatever fails, the old file stays and the temporary one is removed. Targets that are no regular files
 * (/dev/null, a pipe) are written directly. */
#ifndef LK_BASE_FILE_H
#define LK_BASE_FILE_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- reading ---- */

/* The whole file in memory of lk_alloc, one zero byte after it. Larger than `limit` bytes: LIKENESS_BAD_FILE, before
 * anything is allocated. Missing, unreadable or a folder: LIKENESS_IO. */
likeness_status lk_file_read(const char *path, size_t limit, uint8_t **data, size_t *size, lk_error *error);

typedef struct lk_mapping {
    const uint8_t *data; /* NULL for an empty file */
    size_t size;
} lk_mapping;

/* Read-only view of a file; pages come in as they are touched. The file must not be cut while it is mapped. */
likeness_status lk_file_map(const char *path, lk_mapping *mapping, lk_error *error);
void lk_file_unmap(lk_mapping *mapping);

/* ---- writing ---- */

typedef struct lk_file_writer {
    char *path, *temporary; /* temporary is NULL when the target is written directly */
    int descriptor;
} lk_file_writer;

/* Fails with a message that names the folder where the output folder is missing. After a failure nothing is open. */
likeness_status lk_file_writer_open(lk_file_writer *writer, const char *path, lk_error *error);
/* After a failed append call lk_file_writer_abort. */
likeness_status lk_file_writer_append(lk_file_writer *writer, const void *data, size_t size, lk_error *error);
/* Makes the file appear, or fails and leaves no trace; closes the writer in both cases. */
likeness_status lk_file_writer_commit(lk_file_writer *writer, lk_error *error);
void lk_file_writer_abort(lk_file_writer *writer);

likeness_status lk_file_write(const char *path, const void *data, size_t size, lk_error *error);

/* ---- folders and names ---- */

bool lk_file_exists(const char *path);
bool lk_directory_exists(const char *path);
/* 0 for what does not exist. */
uint64_t lk_file_size(const char *path);
/* A number that changes with the file's size, time of change or place on the disk; 0 for what does not exist. */
uint64_t lk_file_stamp(const char *path);
/* Removes one file; a missing one is fine. */
void lk_file_remove(const char *path);
/* Refuses, before long work is done, a path whose folder does not exist or cannot be written to. */
likeness_status lk_output_check(const char *path, lk_error *error);
/* Makes the folder and its parents, for the user alone (0700). */
likeness_status lk_directory_make(const char *path, lk_error *error);

/* Results in memory of lk_alloc; NULL when out of memory. */
char *lk_path_join(const char *folder, const char *name);
char *lk_path_folder(const char *path); /* "." for a bare name, "/" for what lies in the root */
char *lk_path_with_suffix(const char *path, const char *suffix); /* "a/b.png" and ".sheet.png": "a/b.sheet.png" */
const char *lk_path_name(const char *path);                      /* last component, inside `path` */

/* $XDG_CACHE_HOME/likeness or ~/.cache/likeness, $XDG_CONFIG_HOME/likeness or ~/.config/likeness; not created. NULL
 * where no home folder is known or memory is short: callers then do without. */
char *lk_cache_directory(void);
char *lk_config_directory(void);

#endif
