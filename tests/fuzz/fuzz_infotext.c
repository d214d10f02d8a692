/* tests/fuzz/fuzz_infotext.c - the settings inside a picture; what was understood is written and understood again. */
#include "fuzz/fuzz.h"

#include "io/metadata.h"

#include <stdlib.h>

const char fuzz_name[] = "infotext";
const char *const fuzz_words[] = {"Negative prompt: ",
                                  "\nSteps: 4, Sampler: Euler, Seed: 7",
                                  ", ",
                                  ": ",
                                  "\"",
                                  "\\",
                                  "\\\"",
                                  "\n",
                                  "Size: 128x128",
                                  "CFG scale: 1",
                                  "trainedAlgorithmicMedia",
                                  NULL};

static void check(const lk_infotext *info) {
    if (!info->prompt || !info->negative) fuzz_fail("no prompt");
    for (size_t i = 0; i < info->settings.count; i++)
        if (!info->settings.items[i].key[0]) fuzz_fail("a setting without a name");
}

void fuzz_one(const uint8_t *data, size_t size) {
    size_t length = size ? strnlen((const char *)data, size) : 0;
    char *text = malloc(length + 1);
    if (length) memcpy(text, data, length);
    text[length] = 0;
    lk_infotext info, again;
    lk_error error = LK_ERROR_INIT;
    lk_xmp_is_synthetic(text);
    fuzz_answer(lk_infotext_parse(&info, text, &error), &error, LIKENESS_OK);
    check(&info);
    lk_text written = LK_TEXT_INIT;
    lk_infotext_write(&written, info.prompt, info.negative, &info.settings);
    fuzz_answer(lk_infotext_parse(&again, lk_text_get(&written), &error), &error, LIKENESS_OK);
    check(&again);
    /* Texts of pictures are UTF-8 (lk_image_texts); others need only be survived. */
    if (info.settings.count >= 3 && lk_utf8_valid(text, length, NULL)) {
        if (again.settings.count != info.settings.count)
            fuzz_fail("%zu settings, %zu after writing '%s'", info.settings.count, again.settings.count,
                      lk_text_get(&written));
        for (size_t i = 0; i < info.settings.count; i++)
            if (strcmp(info.settings.items[i].value, again.settings.items[i].value) != 0)
                fuzz_fail("setting %s is '%s', and '%s' after writing", info.settings.items[i].key,
                          info.settings.items[i].value, again.settings.items[i].value);
    }
    lk_infotext_free(&again);
    lk_infotext_free(&info);
    lk_text_free(&written);
    free(text);
}
