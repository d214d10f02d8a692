/* io/tokenizer.h - CLIP's byte-pair tokenizer, token for token what transformers' CLIPTokenizer gives.
 *
 *   text -> special tokens written out in it are taken out -> NFC, runs of white space become one blank, lower case
 *        -> pieces: 's 't 're 've 'm 'll 'd | letters | one digit | anything else that is no blank
 *        -> the piece's bytes as symbols, the last one with "</w>" -> pairs merged, lowest rank first, leftmost first
 *
 * A folder holds vocab.json and merges.txt, and may hold special_tokens_map.json and tokenizer_config.json (first one
 * that names a special token wins; defaults <|startoftext|>, <|endoftext|> for end, padding and unknown). Letters,
 * digits and case are those of the Unicode version of utf8proc. After opening nothing is written: safe for several
 * threads. */
#ifndef LK_IO_TOKENIZER_H
#define LK_IO_TOKENIZER_H

#include "base/arena.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LK_TOKENIZER_MAX_TEXT = 64 * 1024, LK_TOKENIZER_SPECIALS = 4 };

typedef struct lk_token_special {
    const char *text;
    size_t length;
    int32_t id;
    bool normalized; /* looked for after lower-casing instead of before */
} lk_token_special;

/* A word that was added: it stands for tokens first, first + 1, ... */
typedef struct lk_token_word {
    const char *text; /* lower case */
    size_t length;
    int32_t first, count;
} lk_token_word;

typedef struct lk_tokenizer {
    char *name;          /* the folder, for messages */
    const char **texts;  /* by id; NULL where the vocabulary has a gap */
    int32_t count;       /* largest id + 1 */
    int32_t *text_slots; /* hash table of ids, -1: empty; capacity a power of two */
    size_t text_capacity;
    struct lk_merge *merges; /* hash table by (left, right) */
    size_t merge_capacity;
    int32_t byte_ids[256], byte_end_ids[256];
    lk_token_special begin, end, pad, unknown;
    lk_token_word *words;
    size_t word_count, word_capacity;
    int64_t max_length; /* of tokenizer_config.json's model_max_length, 77 without one */
    lk_arena arena;
} lk_tokenizer;

likeness_status lk_tokenizer_open(lk_tokenizer *tokenizer, const char *folder, lk_error *error);
/* The same from the two files' contents; default special tokens. */
likeness_status lk_tokenizer_parse(lk_tokenizer *tokenizer, const char *name, const char *vocabulary,
                                   size_t vocabulary_size, const char *merges, size_t merges_size, lk_error *error);
/* CLIP's own vocabulary, made from the merges that are built in (third_party/data): for checkpoints that bring no
 * tokenizer. pad_with_zero: padding is token 0, as OpenCLIP and Stable Diffusion 2.x have it. */
likeness_status lk_tokenizer_open_clip(lk_tokenizer *tokenizer, bool pad_with_zero, lk_error *error);
/* Makes a word stand for `count` tokens from `first` on (textual inversion), wherever the lower-cased text has it; a
 * word that begins or ends with a letter, digit or underscore only where none is beside it. LIKENESS_USAGE for an empty
 * or overlong word, or one that was added before. Not while others encode. */
likeness_status lk_tokenizer_add_word(lk_tokenizer *tokenizer, const char *word, int32_t first, int32_t count,
                                      lk_error *error);
void lk_tokenizer_close(lk_tokenizer *tokenizer);

/* All tokens of the text, without begin, end and padding; *ids in memory of lk_alloc (NULL when there are none). Text
 * that is not UTF-8 or longer than 64 KiB is LIKENESS_USAGE. */
likeness_status lk_tokenizer_encode_all(const lk_tokenizer *tokenizer, const char *text, int32_t **ids, size_t *count,
                                        lk_error *error);

typedef struct lk_token_cut {
    size_t total;        /* tokens of the whole text, without begin and end */
    bool cut;            /* more than fit */
    char first_word[64]; /* the word that the first lost token belongs to, shortened at a character if long */
} lk_token_cut;

/* begin, at most length - 2 tokens, end, then padding up to `length`. `cut` may be NULL. */
likeness_status lk_tokenizer_encode(const lk_tokenizer *tokenizer, const char *text, int32_t *ids, size_t length,
                                    lk_token_cut *cut, lk_error *error);

/* -1 when there is none of that text. */
int32_t lk_tokenizer_find(const lk_tokenizer *tokenizer, const char *text, size_t length);

#endif
