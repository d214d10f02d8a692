/* io/tokenizer.c - from text to token ids; the files are read in tokenizer_files.c. See tokenizer.h. */
#include "io/tokenizer.h"

#include "base/memory.h"
#include "base/text.h"
#include "io/tokenizer_tables.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* Work on one text. Pieces are made of code points of the normalised text; tokens remember the place of their piece. */
typedef struct encoder {
    const lk_tokenizer *tokenizer;
    lk_error *error;
    int32_t *ids;
    size_t count, capacity;
    size_t keep;       /* tokens before this one fit; the word of token number `keep` is copied to `word` */
    lk_token_cut *cut; /* may be NULL */
} encoder;

static likeness_status out_of_memory(lk_error *error) {
    return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to read the prompt");
}

static likeness_status push(encoder *e, int32_t id) {
    if (e->count == e->capacity) {
        size_t capacity = e->capacity ? e->capacity * 2 : 128;
        int32_t *grown = lk_realloc(e->ids, capacity, sizeof *grown);
        if (!grown) return out_of_memory(e->error);
        e->ids = grown;
        e->capacity = capacity;
    }
    e->ids[e->count++] = id;
    return LIKENESS_OK;
}

/* Called after the tokens of a word are pushed: is it the first one that does not fit? */
static void note_word(encoder *e, const char *word, size_t length) {
    if (!e->cut || e->cut->first_word[0] || e->count <= e->keep) return;
    size_t room = sizeof e->cut->first_word - 1, used;
    size_t size = 0;
    for (size_t i = 0; i < length; i += used) {
        lk_utf8_decode((const uint8_t *)word + i, length - i, &used);
        if (i + used > room) break;
        size = i + used;
    }
    memcpy(e->cut->first_word, word, size);
    e->cut->first_word[size] = 0;
}

/* ---- merging ---- */

/* A possible merge of the symbols at `at` and its right neighbour, as they were when it was found. */
typedef struct candidate {
    int32_t rank, left, right, merged;
    size_t at;
} candidate;

static bool before(const candidate *a, const candidate *b) {
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static void heap_push(candidate *heap, size_t *size, candidate item) {
    size_t i = (*size)++;
    for (; i && before(&item, &heap[(i - 1) / 2]); i = (i - 1) / 2)
        heap[i] = heap[(i - 1) / 2];
    heap[i] = item;
}

static candidate heap_pop(candidate *heap, size_t *size) {
    candidate top = heap[0], last = heap[--*size];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < *size; i = child) {
        if (child + 1 < *size && before(&heap[child + 1], &heap[child])) child++;
        if (!before(&heap[child], &last)) break;
        heap[i] = heap[child];
    }
    if (*size) heap[i] = last;
    return top;
}

typedef struct symbol {
    int32_t id; /* -1 once swallowed by its left neighbour */
    uint32_t previous, next;
} symbol;

#define NOWHERE UINT32_MAX

static void consider(const lk_tokenizer *t, const symbol *symbols, uint32_t at, candidate *heap, size_t *size) {
    if (at == NOWHERE || symbols[at].next == NOWHERE) return;
    candidate item = {.left = symbols[at].id, .right = symbols[symbols[at].next].id, .at = at};
    const lk_merge *merge = lk_merge_find(t, item.left, item.right);
    if (!merge) return;
    item.rank = merge->rank;
    item.merged = merge->merged;
    heap_push(heap, size, item);
}

/* Each merge removes one symbol and adds at most two candidates: 3 n places are enough. */
static likeness_status merge_word(encoder *e, const uint8_t *bytes, size_t length) {
    const lk_tokenizer *t = e->tokenizer;
    if (length == 1) {
        int32_t id = t->byte_end_ids[bytes[0]];
        return push(e, id < 0 ? t->unknown.id : id);
    }
    symbol *symbols = lk_alloc(length, sizeof *symbols);
    candidate *heap = lk_alloc(length, 3 * sizeof *heap);
    size_t size = 0;
    if (!symbols || !heap) {
        out_of_memory(e->error);
    } else {
        for (uint32_t i = 0; i < length; i++) {
            int32_t id = i + 1 == length ? t->byte_end_ids[bytes[i]] : t->byte_ids[bytes[i]];
            symbols[i] = (symbol){id < 0 ? t->unknown.id : id, i ? i - 1 : NOWHERE, i + 1 < length ? i + 1 : NOWHERE};
        }
        for (uint32_t i = 0; i + 1 < length; i++)
            consider(t, symbols, i, heap, &size);
        while (size) {
            candidate best = heap_pop(heap, &size);
            symbol *left = &symbols[best.at];
            if (left->id != best.left || left->next == NOWHERE || symbols[left->next].id != best.right) continue;
            symbol *right = &symbols[left->next];
            left->id = best.merged;
            right->id = -1;
            left->next = right->next;
            if (left->next != NOWHERE) symbols[left->next].previous = (uint32_t)best.at;
            consider(t, symbols, left->previous, heap, &size);
            consider(t, symbols, (uint32_t)best.at, heap, &size);
        }
        for (uint32_t i = 0; i != NOWHERE && e->error->status == LIKENESS_OK; i = symbols[i].next)
            push(e, symbols[i].id);
    }
    lk_free(symbols);
    lk_free(heap);
    return e->error->status;
}

static likeness_status add_word(encoder *e, const char *word, size_t length) {
    LK_TRY(merge_word(e, (const uint8_t *)word, length));
    note_word(e, word, length);
    return LIKENESS_OK;
}

/* ---- pieces of normalised text ---- */

typedef enum kind { BLANK, LETTER, NUMBER, OTHER } kind;

static kind kind_of(int32_t c) {
    if (c == ' ' || (c >= 9 && c <= 13) || c == 0x85) return BLANK;
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return LETTER;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return NUMBER;
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return BLANK;
    default:
        return OTHER;
    }
}

/* Length of the run of one kind at text[0]. */
static size_t run_of(const char *text, size_t length, kind wanted) {
    size_t at = 0, used;
    while (at < length && kind_of(lk_utf8_decode((const uint8_t *)text + at, length - at, &used)) == wanted)
        at += used;
    return at;
}

static size_t starts_with(const char *text, size_t length, const char *prefix) {
    size_t size = strlen(prefix);
    return length >= size && memcmp(text, prefix, size) == 0 ? size : 0;
}

static size_t contraction(const char *text, size_t length) {
    static const char *const endings[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
    size_t size = 0;
    for (size_t i = 0; i < sizeof endings / sizeof *endings && !size; i++)
        size = starts_with(text, length, endings[i]);
    return size;
}

/* The special tokens' default spellings are pieces of their own for CLIP's pattern, and cut in three by the byte-level
 * pattern that follows ("<|", letters, "|>"). It happens to upper-case ones only: others are taken out before. */
static likeness_status add_written_special(encoder *e, const char *text, size_t length) {
    LK_TRY(add_word(e, text, 2));
    LK_TRY(add_word(e, text + 2, length - 4));
    return add_word(e, text + length - 2, 2);
}

static likeness_status add_plain(encoder *e, const char *text, size_t length) {
    size_t at = 0, used;
    while (at < length) {
        const char *here = text + at;
        size_t left = length - at, size;
        if ((size = starts_with(here, left, "<|startoftext|>")) || (size = starts_with(here, left, "<|endoftext|>"))) {
            LK_TRY(add_written_special(e, here, size));
        } else if ((size = contraction(here, left)) || (size = run_of(here, left, LETTER))) {
            LK_TRY(add_word(e, here, size));
        } else {
            kind here_kind = kind_of(lk_utf8_decode((const uint8_t *)here, left, &used));
            size = here_kind == OTHER ? run_of(here, left, OTHER) : used;
            if (here_kind != BLANK) LK_TRY(add_word(e, here, size));
        }
        at += size;
    }
    return LIKENESS_OK;
}

/* ---- special tokens, before and after normalising ---- */

/* The longest special token of the wanted sort that the text begins with. */
static const lk_token_special *special_at(const lk_tokenizer *t, const char *text, size_t length, bool normalized) {
    const lk_token_special *all[LK_TOKENIZER_SPECIALS] = {&t->begin, &t->end, &t->pad, &t->unknown}, *best = NULL;
    for (int i = 0; i < LK_TOKENIZER_SPECIALS; i++)
        if (all[i]->normalized == normalized && (!best || all[i]->length > best->length) &&
            starts_with(text, length, all[i]->text))
            best = all[i];
    return best;
}

typedef likeness_status (*part_fn)(encoder *e, const char *text, size_t length);

static bool is_wordy(char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || (unsigned char)c >= 0x80;
}

/* The longest added word at `at`, with nothing beside it that would belong to a longer one. */
static const lk_token_word *added_word_at(const lk_tokenizer *t, const char *text, size_t length, size_t at) {
    const lk_token_word *best = NULL;
    for (size_t i = 0; i < t->word_count; i++) {
        const lk_token_word *word = &t->words[i];
        size_t end = at + word->length;
        if (end > length || memcmp(text + at, word->text, word->length) != 0) continue;
        if (at > 0 && is_wordy(text[at]) && is_wordy(text[at - 1])) continue;
        if (end < length && is_wordy(text[end - 1]) && is_wordy(text[end])) continue;
        if (!best || word->length > best->length) best = word;
    }
    return best;
}

static likeness_status split_specials(encoder *e, const char *text, size_t length, bool normalized, part_fn part) {
    size_t begin = 0;
    for (size_t at = 0; at < length;) {
        const lk_token_word *word = normalized ? added_word_at(e->tokenizer, text, length, at) : NULL;
        if (word) {
            if (at > begin) LK_TRY(part(e, text + begin, at - begin));
            for (int32_t i = 0; i < word->count; i++)
                LK_TRY(push(e, word->first + i));
            note_word(e, word->text, word->length);
            begin = at += word->length;
            continue;
        }
        const lk_token_special *special = special_at(e->tokenizer, text + at, length - at, normalized);
        if (!special) {
            at++;
            continue;
        }
        if (at > begin) LK_TRY(part(e, text + begin, at - begin));
        LK_TRY(push(e, special->id));
        note_word(e, special->text, special->length);
        at += special->length;
        begin = at;
    }
    return begin < length ? part(e, text + begin, length - begin) : LIKENESS_OK;
}

static likeness_status add_normalized(encoder *e, const char *text, size_t length) {
    return split_specials(e, text, length, true, add_plain);
}

/* Lower case of one code point, as Unicode's full mapping has it: only the dotted capital I becomes two. */
static void add_lower(lk_text *out, int32_t c) {
    char encoded[4];
    if (c == 0x130) {
        lk_text_add(out, "i\xcc\x87");
        return;
    }
    lk_text_append(out, encoded, lk_utf8_encode(utf8proc_tolower(c), encoded));
}

static likeness_status normalize_and_add(encoder *e, const char *text, size_t length) {
    const utf8proc_option_t options = UTF8PROC_STABLE | UTF8PROC_COMPOSE;
    const utf8proc_uint8_t *bytes = (const utf8proc_uint8_t *)text;
    utf8proc_ssize_t needed = utf8proc_decompose(bytes, (utf8proc_ssize_t)length, NULL, 0, options);
    if (needed < 0) return lk_fail(e->error, LIKENESS_USAGE, "the prompt cannot be normalised");
    utf8proc_int32_t *points = lk_alloc((size_t)needed + 1, sizeof *points);
    if (!points) return out_of_memory(e->error);
    utf8proc_decompose(bytes, (utf8proc_ssize_t)length, points, needed, options);
    needed = utf8proc_normalize_utf32(points, needed, options);
    lk_text lower = LK_TEXT_INIT;
    for (utf8proc_ssize_t i = 0; i < needed; i++)
        if (kind_of(points[i]) != BLANK)
            add_lower(&lower, points[i]);
        else if (i == 0 || kind_of(points[i - 1]) != BLANK)
            lk_text_add(&lower, " ");
    lk_free(points);
    if (lower.failed)
        out_of_memory(e->error);
    else
        add_normalized(e, lk_text_get(&lower), lower.length);
    lk_text_free(&lower);
    return e->error->status;
}

/* ---- the public functions ---- */

likeness_status lk_tokenizer_add_word(lk_tokenizer *tokenizer, const char *word, int32_t first, int32_t count,
                                      lk_error *error) {
    size_t length = strlen(word), used, bad;
    if (length == 0 || length > 256 || !lk_utf8_valid(word, length, &bad))
        return lk_fail(error, LIKENESS_USAGE, "a word of a textual inversion has 1 to 256 bytes of UTF-8");
    lk_text lower = LK_TEXT_INIT;
    for (size_t i = 0; i < length; i += used)
        add_lower(&lower, lk_utf8_decode((const uint8_t *)word + i, length - i, &used));
    const char *text = lower.failed ? NULL : lk_arena_strdup(&tokenizer->arena, lk_text_get(&lower));
    lk_text_free(&lower);
    if (!text) return out_of_memory(error);
    for (size_t i = 0; i < tokenizer->word_count; i++)
        if (strcmp(tokenizer->words[i].text, text) == 0)
            return lk_fail(error, LIKENESS_USAGE, "two textual inversions are called '%.100s': give one another name",
                           text);
    if (tokenizer->word_count == tokenizer->word_capacity) {
        size_t capacity = tokenizer->word_capacity ? 2 * tokenizer->word_capacity : 8;
        lk_token_word *grown = lk_arena_alloc(&tokenizer->arena, capacity, sizeof *grown);
        if (!grown) return out_of_memory(error);
        if (tokenizer->word_count) memcpy(grown, tokenizer->words, tokenizer->word_count * sizeof *grown);
        tokenizer->words = grown;
        tokenizer->word_capacity = capacity;
    }
    tokenizer->words[tokenizer->word_count++] = (lk_token_word){text, strlen(text), first, count};
    return LIKENESS_OK;
}

static likeness_status encode_text(encoder *e, const char *text) {
    size_t length = strlen(text), bad;
    if (length > LK_TOKENIZER_MAX_TEXT)
        return lk_fail(e->error, LIKENESS_USAGE, "the prompt has %llu bytes, at most %d are accepted",
                       (unsigned long long)length, (int)LK_TOKENIZER_MAX_TEXT);
    if (!lk_utf8_valid(text, length, &bad))
        return lk_fail(e->error, LIKENESS_USAGE, "the prompt is not UTF-8 (byte %llu); check the terminal's encoding",
                       (unsigned long long)bad + 1);
    return split_specials(e, text, length, false, normalize_and_add);
}

likeness_status lk_tokenizer_encode_all(const lk_tokenizer *tokenizer, const char *text, int32_t **ids, size_t *count,
                                        lk_error *error) {
    encoder e = {.tokenizer = tokenizer, .error = error, .keep = SIZE_MAX};
    *ids = NULL;
    *count = 0;
    if (encode_text(&e, text) != LIKENESS_OK) {
        lk_free(e.ids);
        return error->status;
    }
    *ids = e.ids;
    *count = e.count;
    return LIKENESS_OK;
}

likeness_status lk_tokenizer_encode(const lk_tokenizer *tokenizer, const char *text, int32_t *ids, size_t length,
                                    lk_token_cut *cut, lk_error *error) {
    if (length < 2) return lk_fail(error, LIKENESS_INTERNAL, "a token list needs room for its begin and end");
    encoder e = {.tokenizer = tokenizer, .error = error, .keep = length - 2, .cut = cut};
    if (cut) memset(cut, 0, sizeof *cut);
    if (encode_text(&e, text) == LIKENESS_OK) {
        size_t kept = e.count < e.keep ? e.count : e.keep;
        ids[0] = tokenizer->begin.id;
        if (kept) memcpy(ids + 1, e.ids, kept * sizeof *ids);
        ids[kept + 1] = tokenizer->end.id;
        for (size_t i = kept + 2; i < length; i++)
            ids[i] = tokenizer->pad.id;
        if (cut) {
            cut->total = e.count;
            cut->cut = e.count > e.keep;
        }
    }
    lk_free(e.ids);
    return error->status;
}
