/* api/describe.c - what a model file is, in words. */
#include "api/context.h"

#include "base/memory.h"
#include "models/describe.h"

likeness_status likeness_describe(likeness_context *context, const char *path, char **text) {
    lk_error *error = lk_context_begin(context);
    lk_text out = LK_TEXT_INIT;
    *text = NULL;
    likeness_status status = lk_describe(&out, path, error);
    if (status == LIKENESS_OK) {
        *text = lk_strdup(lk_text_get(&out));
        if (!*text) status = lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to describe '%s'", path);
    }
    lk_text_free(&out);
    return status;
}
