/* api/prompt.c - prompts to what the U-Net attends to. */
#include "api/model.h"

#include "base/memory.h"
#include "io/prompt.h"

#include <math.h>

static likeness_status encode(likeness_model *model, const char *what, const char *text, int32_t *ids, double *weights,
                              float *hidden, lk_error *error) {
    lk_text_network *t = &model->text;
    size_t length = (size_t)t->length;
    lk_token_cut cut;
    lk_prompt prompt;
    LK_TRY(lk_prompt_parse(&prompt, text, error));
    bool weighted = prompt.weighted;
    likeness_status status = lk_prompt_encode(&prompt, &model->files.tokenizer, ids, weights, length, &cut, error);
    lk_prompt_free(&prompt);
    LK_TRY(status);
    if (cut.cut)
        lk_context_warn(model->context,
                        "the %s has %zu tokens with its begin and end, %d fit: cut before the word \"%s\"", what,
                        cut.total + 2, (int)t->length, cut.first_word);
    LK_TRY(lk_instance_write(t->net.instance[0], t->ids, ids, error));
    LK_TRY(lk_instance_run(t->net.instance[0], 0, error));
    LK_TRY(lk_instance_read(t->net.instance[0], t->hidden, hidden, error));
    if (weighted) lk_prompt_emphasize(hidden, weights, length, (size_t)model->files.text.config.width);
    return LIKENESS_OK;
}

static likeness_status encode_prompt(likeness_model *model, const char *what, const char *text, float **hidden,
                                     lk_error *error) {
    size_t length = (size_t)model->text.length;
    int32_t *ids = lk_alloc(length, sizeof *ids);
    double *weights = lk_alloc(length, sizeof *weights);
    *hidden = lk_alloc(length * (size_t)model->files.text.config.width, sizeof **hidden);
    likeness_status status = ids && weights && *hidden
                                 ? encode(model, what, text, ids, weights, *hidden, error)
                                 : lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for a prompt");
    lk_free(ids);
    lk_free(weights);
    return status;
}

likeness_status lk_run_text(lk_run *run, likeness_model *model, const likeness_generate_params *params,
                            lk_error *error) {
    int total = run->guided_free ? 2 : 1, skip = run->clip_skip > 1 ? run->clip_skip - 1 : 0;
    if (!lk_progress(params, "text", 0, total, NAN)) return lk_fail(error, LIKENESS_INTERRUPTED, "interrupted");
    LK_TRY(lk_text_network_build(&model->text, &model->files, model->context, skip, error));
    LK_TRY(lk_network_instances(&model->text.net, model->context, 1, error));
    if (run->guided_free) LK_TRY(encode_prompt(model, "negative prompt", run->negative, &run->context[0], error));
    return encode_prompt(model, "prompt", run->prompt, &run->context[1], error);
}
