/* models/describe.h - what a file or folder is, in words: models, LoRAs, textual inversions, ONNX networks. */
#ifndef LK_MODELS_DESCRIBE_H
#define LK_MODELS_DESCRIBE_H

#include "base/error.h"
#include "base/text.h"

/* Appends lines. Text from inside the file may hold anything: the caller shows it with care. A file that is known but
 * not supported is described, too; one that cannot be told is an error. */
likeness_status lk_describe(lk_text *out, const char *path, lk_error *error);

#endif
