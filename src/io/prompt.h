/* io/prompt.h - prompts with weights, as AUTOMATIC1111's and stable-diffusion.cpp's users write them:
 *
 *     (word)       1.1 times, (word:1.3) 1.3 times; [word] divided by 1.1; nested ones multiply
 *     \( \) \[ \]  the sign itself
 *
 * What is not closed counts to the end; a closing sign that closes nothing stands for itself. Parts of different weight
 * are tokenized apart. The weight multiplies a token's row of the text encoder's output, whose mean over all entries is
 * then restored, where it is not next to nothing. */
#ifndef LK_IO_PROMPT_H
#define LK_IO_PROMPT_H

#include "io/tokenizer.h"

typedef struct lk_prompt_part {
    char *text; /* in the prompt's storage */
    double weight;
} lk_prompt_part;

typedef struct lk_prompt {
    lk_prompt_part *parts; /* no two neighbours of the same weight; none for an empty text */
    size_t count;
    bool weighted; /* some weight is not 1 */
    char *storage;
} lk_prompt;

likeness_status lk_prompt_parse(lk_prompt *prompt, const char *text, lk_error *error);
void lk_prompt_free(lk_prompt *prompt);

/* Like lk_tokenizer_encode, but `cut` must be there; weights (may be NULL) receives `length` weights, 1 for begin, end
 * and padding. */
likeness_status lk_prompt_encode(const lk_prompt *prompt, const lk_tokenizer *tokenizer, int32_t *ids, double *weights,
                                 size_t length, lk_token_cut *cut, lk_error *error);
/* Weighs the rows of hidden [length][width] and restores the mean. */
void lk_prompt_emphasize(float *hidden, const double *weights, size_t length, size_t width);

#endif
