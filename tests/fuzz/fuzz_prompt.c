/* tests/fuzz/fuzz_prompt.c - any bytes as a prompt for a real tokenizer, plain and with weights. */
#include "fuzz/fuzz.h"

#include "base/text.h"
#include "io/prompt.h"

#include <math.h>
#include <stdlib.h>

const char fuzz_name[] = "prompt";
const char *const fuzz_words[] = {"<|startoftext|>",
                                  "<|endoftext|>",
                                  "<|ENDOFTEXT|>",
                                  "'s",
                                  "'LL",
                                  "\xc4\xb0",
                                  "\xcc\x87",
                                  "\xe2\x80\x83",
                                  "\xef\xbb\xbf",
                                  "\xf0\x9f\x90\x88",
                                  "\xed\xa0\x80",
                                  "e\xcc\x81",
                                  "\xea\xb0\x80",
                                  "\xe1\x84\x80\xe1\x85\xa1",
                                  "portrait of a person, ",
                                  "((a:1.2)",
                                  ":0.5)",
                                  "[b]",
                                  "\\(",
                                  NULL};

static lk_tokenizer tokenizer;

static void start(void) {
    static bool started;
    lk_error error = LK_ERROR_INIT;
    if (!started && lk_tokenizer_open(&tokenizer, LIKENESS_SOURCE_DIR "/tests/data/tokenizer", &error) != LIKENESS_OK)
        fuzz_fail("%s", error.message);
    started = true;
}

/* The parts hold no more than the text, and fit into the same frame. */
static void weighted(const char *text, bool valid) {
    lk_error error = LK_ERROR_INIT;
    lk_prompt prompt;
    lk_token_cut cut;
    int32_t ids[20];
    double weights[20];
    size_t length = 0;
    if (!fuzz_answer(lk_prompt_parse(&prompt, text, &error), &error, LIKENESS_USAGE)) return;
    for (size_t i = 0; i < prompt.count; i++) {
        length += strlen(prompt.parts[i].text);
        if (!prompt.parts[i].text[0] || (i && prompt.parts[i].weight == prompt.parts[i - 1].weight))
            fuzz_fail("part %zu should not be one", i);
    }
    if (length > strlen(text)) fuzz_fail("%zu bytes became %zu", strlen(text), length);
    likeness_status status = lk_prompt_encode(&prompt, &tokenizer, ids, weights, 20, &cut, &error);
    if (fuzz_answer(status, &error, LIKENESS_USAGE) != valid) fuzz_fail("UTF-8 %d, status %d", valid, (int)status);
    if (valid && (ids[0] != tokenizer.begin.id || weights[0] != 1 || cut.cut != (cut.total > 18)))
        fuzz_fail("wrong frame with weights");
    lk_prompt_free(&prompt);
}

void fuzz_one(const uint8_t *data, size_t size) {
    start();
    char *text = malloc(size + 1);
    int32_t ids[20], *all;
    size_t count, short_length = strnlen((const char *)data, size);
    lk_token_cut cut;
    lk_error error = LK_ERROR_INIT;
    memcpy(text, data, short_length);
    text[short_length] = 0;
    bool valid = lk_utf8_valid(text, short_length, NULL) && short_length <= LK_TOKENIZER_MAX_TEXT;
    likeness_status status = lk_tokenizer_encode_all(&tokenizer, text, &all, &count, &error);
    if (fuzz_answer(status, &error, LIKENESS_USAGE) != valid) fuzz_fail("UTF-8 %d, status %d", valid, (int)status);
    if (valid) {
        fuzz_answer(lk_tokenizer_encode(&tokenizer, text, ids, 20, &cut, &error), &error, LIKENESS_OK);
        if (ids[0] != tokenizer.begin.id || cut.total != count || cut.cut != (count > 18)) fuzz_fail("wrong frame");
        for (size_t i = 0; i < 18; i++)
            if (ids[1 + i] != (i < count ? all[i] : i == count ? tokenizer.end.id : tokenizer.pad.id))
                fuzz_fail("token %zu of %zu differs", i, count);
        if (ids[19] != (count >= 18 ? tokenizer.end.id : tokenizer.pad.id)) fuzz_fail("no end");
        if (cut.cut && !cut.first_word[0]) fuzz_fail("the first word that was cut has no name");
        if (!lk_utf8_valid(cut.first_word, strlen(cut.first_word), NULL)) fuzz_fail("the first word is not UTF-8");
    }
    lk_free(all);
    weighted(text, valid);
    free(text);
}
