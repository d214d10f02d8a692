/* io/tokenizer_tables.h - the lookup tables between tokenizer.c and tokenizer_files.c; nobody else includes it. */
#ifndef LK_IO_TOKENIZER_TABLES_H
#define LK_IO_TOKENIZER_TABLES_H

#include "io/tokenizer.h"

typedef struct lk_merge {
    int32_t left, right, merged; /* left -1: empty slot */
    int32_t rank;
} lk_merge;

/* NULL when the pair never merges. */
const lk_merge *lk_merge_find(const lk_tokenizer *tokenizer, int32_t left, int32_t right);

#endif
