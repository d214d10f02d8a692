/* tests/fuzz/fuzz_tokenizer.c - the files of a tokenizer, and text through what was read.
 *
 * An input is vocab.json, merges.txt, special_tokens_map.json, tokenizer_config.json with a zero byte between each two;
 * the last two may be missing. */
#include "fuzz/fuzz.h"

#include "io/tokenizer.h"

#include <unistd.h>

const char fuzz_name[] = "tokenizer";
const char *const fuzz_words[] = {"\"<|startoftext|>\"",
                                  "\"<|endoftext|>\"",
                                  "</w>",
                                  "#version: 0.2\n",
                                  "\"a\":0",
                                  "\"b</w>\":",
                                  "a b\n",
                                  "a b</w>\n",
                                  "\"pad_token\"",
                                  "\"bos_token\"",
                                  "\"unk_token\"",
                                  "\"content\"",
                                  "\"normalized\": true",
                                  "\"model_max_length\"",
                                  "{",
                                  "}",
                                  NULL};

void fuzz_one(const uint8_t *data, size_t size) {
    static const char *const names[4] = {"vocab.json", "merges.txt", "special_tokens_map.json",
                                         "tokenizer_config.json"};
    const uint8_t *at = data, *end = data + size;
    for (int i = 0; i < 4; i++) {
        const uint8_t *stop = at && i < 3 ? memchr(at, 0, (size_t)(end - at)) : NULL;
        if (at)
            fuzz_put(names[i], at, (size_t)((stop ? stop : end) - at));
        else
            unlink(fuzz_path(names[i]));
        at = stop ? stop + 1 : NULL;
    }
    lk_tokenizer tokenizer;
    lk_error error = LK_ERROR_INIT;
    char folder[1024];
    strcpy(folder, fuzz_path("vocab.json"));
    *strrchr(folder, '/') = 0;
    if (!fuzz_answer(lk_tokenizer_open(&tokenizer, folder, &error), &error, LIKENESS_IO)) return;
    static const char *const texts[] = {"", "ab abba a b", "<|endoftext|>!<|STARTOFTEXT|> don't \xc3\x84 12"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        int32_t ids[12];
        lk_token_cut cut;
        fuzz_answer(lk_tokenizer_encode(&tokenizer, texts[i], ids, 12, &cut, &error), &error, LIKENESS_OK);
        for (int k = 0; k < 12; k++)
            if (ids[k] < 0 || ids[k] >= tokenizer.count) fuzz_fail("token %d of %d", (int)ids[k], (int)tokenizer.count);
    }
    lk_tokenizer_close(&tokenizer);
}
