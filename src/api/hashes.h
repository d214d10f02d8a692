/* api/hashes.h - SHA-256 of model files, shortened to 10 digits as pictures carry it.
 *
 * Reading gigabytes takes seconds, so the hashes of large files are remembered in the cache folder under a key of their
 * paths, sizes, times and places; a file that was touched is read again. Only files of src/api. */
#ifndef LK_API_HASHES_H
#define LK_API_HASHES_H

#include "api/model.h"
#include "base/hash.h"

void lk_short_hex(lk_sha256 *hash, char text[11]);
likeness_status lk_hash_add_file(lk_sha256 *hash, const char *path, lk_error *error);
/* Of the open files one after the other; of one file its own hash. */
void lk_hash_weights(const likeness_context *context, const lk_safetensors *file, char text[11]);
/* model->hash: everything that decides what generate computes; the encoders, and what was merged, have hashes of their
 * own. Of a single file it is the file's own hash, as other programs write it into their pictures. */
likeness_status lk_hash_model(likeness_model *model, lk_error *error);

#endif
