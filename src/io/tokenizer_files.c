/* io/tokenizer_files.c - reads vocab.json, merges.txt and the names of the special tokens. See tokenizer.h. */
#include "io/tokenizer.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/text.h"
#include "io/json.h"
#include "io/tokenizer_tables.h"

#include <cjson/cJSON.h>
#include <string.h>

enum { MAX_TOKENS = 1 << 22 };
#define MAX_FILE ((size_t)64 << 20)

static likeness_status out_of_memory(const lk_tokenizer *t, lk_error *error) {
    return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for the tokenizer of '%s'", t->name);
}

/* ---- tables ---- */

/* The slot of the text, or the empty slot where it belongs. The tables are at most half full. */
static size_t text_slot(const lk_tokenizer *t, const char *text, size_t length) {
    size_t at = (size_t)lk_fnv64(LK_FNV64_INIT, text, length) & (t->text_capacity - 1);
    for (;; at = (at + 1) & (t->text_capacity - 1)) {
        int32_t id = t->text_slots[at];
        if (id < 0 || (strncmp(t->texts[id], text, length) == 0 && t->texts[id][length] == 0)) return at;
    }
}

int32_t lk_tokenizer_find(const lk_tokenizer *tokenizer, const char *text, size_t length) {
    return tokenizer->text_capacity ? tokenizer->text_slots[text_slot(tokenizer, text, length)] : -1;
}

static size_t merge_slot(const lk_tokenizer *t, int32_t left, int32_t right) {
    uint64_t mixed = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * UINT64_C(0x9e3779b97f4a7c15);
    size_t at = (size_t)(mixed >> 24) & (t->merge_capacity - 1);
    while (t->merges[at].left >= 0 && (t->merges[at].left != left || t->merges[at].right != right))
        at = (at + 1) & (t->merge_capacity - 1);
    return at;
}

const lk_merge *lk_merge_find(const lk_tokenizer *tokenizer, int32_t left, int32_t right) {
    const lk_merge *merge = &tokenizer->merges[merge_slot(tokenizer, left, right)];
    return merge->left >= 0 ? merge : NULL;
}

static size_t table_size(size_t entries) {
    size_t capacity = 16;
    while (capacity < 2 * entries)
        capacity *= 2;
    return capacity;
}

/* ---- vocabulary ---- */

static likeness_status read_vocabulary(lk_tokenizer *t, const lk_json *json, lk_error *error) {
    if (!lk_json_is_object(json->root)) return lk_fail(error, LIKENESS_BAD_FILE, "%s: no object", json->name);
    size_t entries = 0;
    for (const cJSON *node = json->root->child; node; node = node->next, entries++) {
        double id = cJSON_IsNumber(node) ? node->valuedouble : -1;
        if (!(id >= 0 && id < MAX_TOKENS) || id != (double)(int32_t)id)
            return lk_fail(error, LIKENESS_BAD_FILE, "%s: the id of token '%.60s' is no number from 0 to %d",
                           json->name, node->string, MAX_TOKENS - 1);
        if ((int32_t)id >= t->count) t->count = (int32_t)id + 1;
    }
    if ((size_t)t->count > 2 * entries + 1024) /* ids far beyond the entries would only waste memory */
        return lk_fail(error, LIKENESS_BAD_FILE, "%s: %llu tokens but ids up to %d", json->name,
                       (unsigned long long)entries, (int)t->count - 1);
    t->text_capacity = table_size(entries);
    t->texts = lk_arena_alloc(&t->arena, (size_t)t->count, sizeof *t->texts);
    t->text_slots = lk_arena_alloc(&t->arena, t->text_capacity, sizeof *t->text_slots);
    if (!t->texts || !t->text_slots) {
        t->text_capacity = 0;
        return out_of_memory(t, error);
    }
    memset(t->text_slots, -1, t->text_capacity * sizeof *t->text_slots);
    for (const cJSON *node = json->root->child; node; node = node->next) {
        int32_t id = (int32_t)node->valuedouble;
        if (t->texts[id])
            return lk_fail(error, LIKENESS_BAD_FILE, "%s: tokens '%.60s' and '%.60s' share the id %d", json->name,
                           t->texts[id], node->string, (int)id);
        t->texts[id] = lk_arena_strdup(&t->arena, node->string);
        if (!t->texts[id]) return out_of_memory(t, error);
        t->text_slots[text_slot(t, node->string, strlen(node->string))] = id;
    }
    return LIKENESS_OK;
}

/* Byte-level BPE writes each byte as a printable character: itself where it is one in Latin-1, else 256, 257, ... */
static void find_bytes(lk_tokenizer *t) {
    int32_t other = 256;
    for (int b = 0; b < 256; b++) {
        bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
        char text[8];
        size_t length = lk_utf8_encode(printable ? b : other++, text);
        t->byte_ids[b] = lk_tokenizer_find(t, text, length);
        memcpy(text + length, "</w>", 4);
        t->byte_end_ids[b] = lk_tokenizer_find(t, text, length + 4);
    }
}

/* ---- merges ---- */

static likeness_status add_merge(lk_tokenizer *t, const char *file, int line, const char *text, size_t length,
                                 int32_t rank, lk_error *error) {
    const char *blank = memchr(text, ' ', length);
    size_t first = blank ? (size_t)(blank - text) : 0;
    char joined[512];
    if (!first || first + 1 >= length || memchr(blank + 1, ' ', length - first - 1) || length > sizeof joined)
        return lk_fail(error, LIKENESS_BAD_FILE, "%s: line %d is no pair of tokens", file, line);
    memcpy(joined, text, first);
    memcpy(joined + first, blank + 1, length - first - 1);
    lk_merge merge = {.left = lk_tokenizer_find(t, text, first),
                      .right = lk_tokenizer_find(t, blank + 1, length - first - 1),
                      .merged = lk_tokenizer_find(t, joined, length - 1),
                      .rank = rank};
    if (merge.left < 0 || merge.right < 0 || merge.merged < 0)
        return lk_fail(error, LIKENESS_BAD_FILE, "%s: line %d merges '%.*s', which the vocabulary does not know", file,
                       line, (int)(length < 100 ? length : 100), text);
    lk_merge *slot = &t->merges[merge_slot(t, merge.left, merge.right)];
    if (slot->left < 0) *slot = merge; /* a pair that is listed twice keeps its first rank */
    return LIKENESS_OK;
}

static likeness_status read_merges(lk_tokenizer *t, const char *file, const char *text, size_t size, lk_error *error) {
    size_t lines = 1, bad;
    if (!lk_utf8_valid(text, size, &bad))
        return lk_fail(error, LIKENESS_BAD_FILE, "%s: not UTF-8 at byte %llu", file, (unsigned long long)bad);
    for (size_t i = 0; i < size; i++)
        lines += text[i] == '\n';
    t->merge_capacity = table_size(lines);
    t->merges = lk_arena_alloc(&t->arena, t->merge_capacity, sizeof *t->merges);
    if (!t->merges) return out_of_memory(t, error);
    for (size_t i = 0; i < t->merge_capacity; i++)
        t->merges[i].left = -1;
    int line = 0;
    int32_t rank = 0;
    for (size_t at = 0, end; at < size; at = end + 1) {
        for (end = at; end < size && text[end] != '\n'; end++) {
        }
        size_t length = end - at;
        if (length && text[end - 1] == '\r') length--;
        line++;
        if (length == 0 || (line == 1 && length >= 8 && memcmp(text, "#version", 8) == 0)) continue;
        LK_TRY(add_merge(t, file, line, text + at, length, rank++, error));
    }
    return LIKENESS_OK;
}

/* ---- special tokens ---- */

static likeness_status set_special(lk_tokenizer *t, lk_token_special *special, const char *text, bool normalized,
                                   lk_error *error) {
    int32_t id = lk_tokenizer_find(t, text, strlen(text));
    if (id < 0 || !text[0])
        return lk_fail(error, LIKENESS_BAD_FILE, "%s: the special token '%.60s' is not in the vocabulary", t->name,
                       text);
    *special = (lk_token_special){t->texts[id], strlen(text), id, normalized};
    return LIKENESS_OK;
}

/* The four tokens from an optional JSON file; those already set stay. A token is a string or {"content", ...}. */
static likeness_status read_specials(lk_tokenizer *t, const char *path, lk_error *error) {
    static const char *const keys[LK_TOKENIZER_SPECIALS] = {"bos_token", "eos_token", "pad_token", "unk_token"};
    lk_token_special *places[LK_TOKENIZER_SPECIALS] = {&t->begin, &t->end, &t->pad, &t->unknown};
    if (!lk_file_exists(path)) return LIKENESS_OK;
    lk_json json;
    LK_TRY(lk_json_read(&json, path, MAX_FILE, error));
    for (int i = 0; i < LK_TOKENIZER_SPECIALS && error->status == LIKENESS_OK; i++) {
        lk_json_value *value = lk_json_find(&json, NULL, keys[i]);
        const char *text = NULL;
        bool normalized = false;
        if (!value || places[i]->text) continue;
        if (lk_json_is_object(value)) {
            if (lk_json_text(&json, value, "content", &text, error) == LIKENESS_OK)
                lk_json_bool_or(&json, value, "normalized", false, &normalized, error);
        } else {
            lk_json_text(&json, NULL, keys[i], &text, error);
        }
        if (error->status == LIKENESS_OK) set_special(t, places[i], text, normalized, error);
    }
    if (error->status == LIKENESS_OK && lk_json_is_number(lk_json_find(&json, NULL, "model_max_length"))) {
        double limit = 77; /* huggingface writes 1e30 for "none" */
        lk_json_double(&json, NULL, "model_max_length", &limit, error);
        t->max_length = limit >= 2 && limit <= 1 << 20 ? (int64_t)limit : 77;
    }
    lk_json_free(&json);
    return error->status;
}

static likeness_status default_specials(lk_tokenizer *t, lk_error *error) {
    if (!t->begin.text) LK_TRY(set_special(t, &t->begin, "<|startoftext|>", false, error));
    if (!t->end.text) LK_TRY(set_special(t, &t->end, "<|endoftext|>", false, error));
    if (!t->pad.text) LK_TRY(set_special(t, &t->pad, "<|endoftext|>", false, error));
    if (!t->unknown.text) LK_TRY(set_special(t, &t->unknown, "<|endoftext|>", false, error));
    return LIKENESS_OK;
}

/* ---- opening ---- */

static likeness_status begin(lk_tokenizer *t, const char *name, lk_error *error) {
    memset(t, 0, sizeof *t);
    t->max_length = 77;
    t->name = lk_strdup(name);
    return t->name ? LIKENESS_OK : lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to open '%s'", name);
}

static likeness_status read_tables(lk_tokenizer *t, const char *vocabulary_name, const char *vocabulary,
                                   size_t vocabulary_size, const char *merges_name, const char *merges,
                                   size_t merges_size, lk_error *error) {
    lk_json json;
    LK_TRY(lk_json_parse(&json, vocabulary_name, vocabulary, vocabulary_size, error));
    read_vocabulary(t, &json, error);
    lk_json_free(&json);
    LK_TRY(error->status);
    find_bytes(t);
    return read_merges(t, merges_name, merges, merges_size, error);
}

likeness_status lk_tokenizer_parse(lk_tokenizer *tokenizer, const char *name, const char *vocabulary,
                                   size_t vocabulary_size, const char *merges, size_t merges_size, lk_error *error) {
    LK_TRY(begin(tokenizer, name, error));
    if (read_tables(tokenizer, name, vocabulary, vocabulary_size, name, merges, merges_size, error) != LIKENESS_OK ||
        default_specials(tokenizer, error) != LIKENESS_OK)
        lk_tokenizer_close(tokenizer);
    return error->status;
}

static likeness_status open_files(lk_tokenizer *t, char *const paths[4], lk_error *error) {
    uint8_t *vocabulary = NULL, *merges = NULL;
    size_t vocabulary_size, merges_size;
    if (lk_file_read(paths[0], MAX_FILE, &vocabulary, &vocabulary_size, error) == LIKENESS_OK &&
        lk_file_read(paths[1], MAX_FILE, &merges, &merges_size, error) == LIKENESS_OK)
        read_tables(t, paths[0], (const char *)vocabulary, vocabulary_size, paths[1], (const char *)merges, merges_size,
                    error);
    lk_free(vocabulary);
    lk_free(merges);
    if (error->status == LIKENESS_OK) read_specials(t, paths[2], error);
    if (error->status == LIKENESS_OK) read_specials(t, paths[3], error);
    return error->status == LIKENESS_OK ? default_specials(t, error) : error->status;
}

likeness_status lk_tokenizer_open(lk_tokenizer *tokenizer, const char *folder, lk_error *error) {
    static const char *const names[4] = {"vocab.json", "merges.txt", "special_tokens_map.json",
                                         "tokenizer_config.json"};
    char *paths[4] = {NULL, NULL, NULL, NULL};
    LK_TRY(begin(tokenizer, folder, error));
    bool complete = true;
    for (int i = 0; i < 4; i++)
        complete &= (paths[i] = lk_path_join(folder, names[i])) != NULL;
    if (complete)
        open_files(tokenizer, paths, error);
    else
        out_of_memory(tokenizer, error);
    for (int i = 0; i < 4; i++)
        lk_free(paths[i]);
    if (error->status != LIKENESS_OK) lk_tokenizer_close(tokenizer);
    return error->status;
}

void lk_tokenizer_close(lk_tokenizer *tokenizer) {
    lk_arena_free(&tokenizer->arena);
    lk_free(tokenizer->name);
    memset(tokenizer, 0, sizeof *tokenizer);
}
