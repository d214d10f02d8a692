/* models/embedding.h - textual inversion: words that stand for vectors which a file brings.
 *
 *   AUTOMATIC1111   "emb_params" [n,C], the word is the file's name without its ending
 *   diffusers       one tensor, [C] or [n,C], whose name is the word ("<cat-toy>")
 *
 * The vectors become further rows of the token table, the word further tokens of the tokenizer, n in a row. Words are
 * looked for in lower case; one that begins or ends with a letter or digit only where no other one is beside it. */
#ifndef LK_MODELS_EMBEDDING_H
#define LK_MODELS_EMBEDDING_H

#include "graph/graph.h"
#include "io/tokenizer.h"

typedef struct lk_embedding_use {
    const char *path;
    const char *word; /* NULL: the file's own */
} lk_embedding_use;

typedef struct lk_embedding {
    char *word;
    int32_t vectors;
    char hash[65]; /* SHA-256 of the file */
} lk_embedding;

/* Adds the file's vectors to the tokenizer and to the set's token table, which is not on the device yet and has rows of
 * `width` values. */
likeness_status lk_embedding_add(lk_embedding *embedding, const lk_embedding_use *use, lk_tokenizer *tokenizer,
                                 lk_weights *text, int32_t width, lk_error *error);
void lk_embedding_close(lk_embedding *embedding);

#endif
