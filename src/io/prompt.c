/* io/prompt.c - see prompt.h. */
#include "io/prompt.h"

#include "base/memory.h"
#include "base/text.h"

#include <math.h>
#include <string.h>

enum { MOST_OPEN = 64 }; /* brackets that are open at once; further ones stand for themselves */
static const double round_weight = 1.1, square_weight = 1 / 1.1;

/* ---- parsing ----
 *
 * Every byte of the prompt that stands for itself goes to `kept` with its weight; an opening bracket is remembered by
 * where it stood, and what was kept since is multiplied when it closes. */

typedef struct opening {
    char bracket;
    size_t kept; /* bytes kept before it */
} opening;

typedef struct parser {
    char *kept;
    double *weight; /* of each kept byte */
    opening *open;
    size_t count, depth;
} parser;

static void keep(parser *p, char c) {
    p->kept[p->count] = c;
    p->weight[p->count++] = 1;
}

static void multiply_since(parser *p, size_t from, double factor) {
    for (size_t i = from; i < p->count; i++)
        p->weight[i] *= factor;
}

/* The innermost bracket of this kind; those inside that were never closed stay open, as they do for others. */
static bool close_bracket(parser *p, char bracket, double factor) {
    for (size_t i = p->depth; i-- > 0;) {
        if (p->open[i].bracket != bracket) continue;
        multiply_since(p, p->open[i].kept, factor);
        memmove(p->open + i, p->open + i + 1, (p->depth - i - 1) * sizeof *p->open);
        p->depth--;
        return true;
    }
    return false;
}

/* Length of ":NUMBER)" at the text, 0 where there is none; blanks around the number are fine. */
static size_t read_weight(const char *text, double *weight) {
    char number[32];
    size_t at = 1 + strspn(text + 1, " \t\n"), digits = strspn(text + at, "0123456789.+-");
    if (text[0] != ':' || digits == 0 || digits >= sizeof number) return 0;
    memcpy(number, text + at, digits);
    number[digits] = 0;
    at += digits + strspn(text + at + digits, " \t\n");
    return text[at] == ')' && lk_parse_double(number, weight) ? at + 1 : 0;
}

static bool round_is_open(const parser *p) {
    for (size_t i = 0; i < p->depth; i++)
        if (p->open[i].bracket == '(') return true;
    return false;
}

static void parse(parser *p, const char *text) {
    double weight;
    for (size_t i = 0; text[i];) {
        size_t used = 1;
        if (text[i] == '\\' && text[i + 1] && strchr("()[]\\", text[i + 1])) {
            keep(p, text[i + 1]);
            used = 2;
        } else if ((text[i] == '(' || text[i] == '[') && p->depth < MOST_OPEN) {
            p->open[p->depth++] = (opening){text[i], p->count};
        } else if (text[i] == ':' && round_is_open(p) && (used = read_weight(text + i, &weight)) > 0) {
            close_bracket(p, '(', weight);
        } else if (!(text[i] == ')' && close_bracket(p, '(', round_weight)) &&
                   !(text[i] == ']' && close_bracket(p, '[', square_weight))) {
            keep(p, text[i]);
            used = 1;
        }
        i += used;
    }
    for (size_t i = 0; i < p->depth; i++)
        multiply_since(p, p->open[i].kept, p->open[i].bracket == '(' ? round_weight : square_weight);
}

/* Runs of equal weight become parts. Each part ends with a NUL of its own. */
static likeness_status split(lk_prompt *prompt, const parser *p, lk_error *error) {
    size_t parts = 0;
    for (size_t i = 0; i < p->count; i++)
        parts += i == 0 || p->weight[i] != p->weight[i - 1];
    if (parts == 0) return LIKENESS_OK;
    prompt->parts = lk_alloc(parts, sizeof *prompt->parts);
    prompt->storage = lk_alloc(p->count + parts, 1);
    if (!prompt->parts || !prompt->storage) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for a prompt");
    char *out = prompt->storage;
    for (size_t i = 0; i < p->count; i++) {
        if (i == 0 || p->weight[i] != p->weight[i - 1]) {
            if (i > 0) out++;
            prompt->parts[prompt->count++] = (lk_prompt_part){out, p->weight[i]};
            prompt->weighted |= p->weight[i] != 1;
        }
        *out++ = p->kept[i];
    }
    return LIKENESS_OK;
}

likeness_status lk_prompt_parse(lk_prompt *prompt, const char *text, lk_error *error) {
    size_t length = strlen(text);
    memset(prompt, 0, sizeof *prompt);
    if (length > LK_TOKENIZER_MAX_TEXT)
        return lk_fail(error, LIKENESS_USAGE, "the prompt has %llu bytes, at most %d are accepted",
                       (unsigned long long)length, (int)LK_TOKENIZER_MAX_TEXT);
    parser p = {.kept = lk_alloc(length + 1, 1),
                .weight = lk_alloc(length + 1, sizeof *p.weight),
                .open = lk_alloc(MOST_OPEN, sizeof *p.open)};
    likeness_status status =
        p.kept && p.weight && p.open ? LIKENESS_OK : lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for a prompt");
    if (status == LIKENESS_OK) {
        parse(&p, text);
        status = split(prompt, &p, error);
    }
    lk_free(p.kept);
    lk_free(p.weight);
    lk_free(p.open);
    if (status != LIKENESS_OK) lk_prompt_free(prompt);
    return status;
}

void lk_prompt_free(lk_prompt *prompt) {
    lk_free(prompt->parts);
    lk_free(prompt->storage);
    memset(prompt, 0, sizeof *prompt);
}

/* ---- tokens ---- */

/* Names the first word that does not fit, by encoding its part alone into the room that was left. */
static likeness_status name_cut_word(const char *text, const lk_tokenizer *tokenizer, size_t room, lk_token_cut *cut,
                                     lk_error *error) {
    lk_token_cut part;
    int32_t *ids = lk_alloc(room + 2, sizeof *ids);
    if (!ids) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for a prompt");
    likeness_status status = lk_tokenizer_encode(tokenizer, text, ids, room + 2, &part, error);
    if (status == LIKENESS_OK) memcpy(cut->first_word, part.first_word, sizeof cut->first_word);
    lk_free(ids);
    return status;
}

likeness_status lk_prompt_encode(const lk_prompt *prompt, const lk_tokenizer *tokenizer, int32_t *ids, double *weights,
                                 size_t length, lk_token_cut *cut, lk_error *error) {
    if (length < 2) return lk_fail(error, LIKENESS_INTERNAL, "a token list needs room for its begin and end");
    size_t keep_most = length - 2, kept = 0;
    memset(cut, 0, sizeof *cut);
    for (size_t i = 0; weights && i < length; i++)
        weights[i] = 1;
    for (size_t part = 0; part < prompt->count; part++) {
        int32_t *found;
        size_t count;
        LK_TRY(lk_tokenizer_encode_all(tokenizer, prompt->parts[part].text, &found, &count, error));
        size_t room = keep_most - kept, taken = count < room ? count : room;
        for (size_t i = 0; i < taken; i++) {
            ids[1 + kept + i] = found[i];
            if (weights) weights[1 + kept + i] = prompt->parts[part].weight;
        }
        lk_free(found);
        if (taken < count && !cut->cut) LK_TRY(name_cut_word(prompt->parts[part].text, tokenizer, room, cut, error));
        cut->cut |= taken < count;
        cut->total += count;
        kept += taken;
    }
    ids[0] = tokenizer->begin.id;
    ids[kept + 1] = tokenizer->end.id;
    for (size_t i = kept + 2; i < length; i++)
        ids[i] = tokenizer->pad.id;
    return LIKENESS_OK;
}

void lk_prompt_emphasize(float *hidden, const double *weights, size_t length, size_t width) {
    double before = 0, after = 0, size = 0;
    for (size_t i = 0; i < length * width; i++) {
        double value = weights[i / width] * (double)hidden[i];
        before += (double)hidden[i];
        after += value;
        size += fabs(value);
    }
    /* A text encoder whose last norm has no bias makes rows of mean 0: their ratio would be one of rounding errors. */
    double restore = fabs(after) > 1e-3 * size ? before / after : 1;
    for (size_t i = 0; i < length * width; i++)
        hidden[i] = (float)(weights[i / width] * restore * (double)hidden[i]);
}
