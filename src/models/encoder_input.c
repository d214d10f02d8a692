/* models/encoder_input.c - see encoder_input.h. */
#include "models/encoder_input.h"

#include "base/text.h"

#include <math.h>
#include <string.h>

static const struct {
    const char *name;
    float mean[3], std[3];
} presets[] = {
    {"arcface", {0.5f, 0.5f, 0.5f}, {0.5f, 0.5f, 0.5f}},
    {"sface", {0, 0, 0}, {1 / 255.0f, 1 / 255.0f, 1 / 255.0f}},
    {"imagenet", {0.485f, 0.456f, 0.406f}, {0.229f, 0.224f, 0.225f}},
    {"clip", {0.48145466f, 0.4578275f, 0.40821073f}, {0.26862954f, 0.26130258f, 0.27577711f}},
};

/* One or three numbers up to '/' or the end; false for anything else. */
static bool numbers(const char **text, float values[3]) {
    int count = 0;
    for (;;) {
        char word[40];
        double value;
        size_t length = strcspn(*text, ",/");
        if (length == 0 || length >= sizeof word || count == 3) return false;
        memcpy(word, *text, length);
        word[length] = 0;
        if (!lk_parse_double(word, &value) || !isfinite((float)value)) return false;
        values[count++] = (float)value;
        *text += length;
        if (**text != ',') break;
        ++*text;
    }
    if (count == 1) values[1] = values[2] = values[0];
    return count != 2;
}

static bool parse(lk_onnx_preprocessing *p, const char *text) {
    const char *at = text;
    if (!numbers(&at, p->mean) || *at++ != '/' || !numbers(&at, p->std)) return false;
    for (int i = 0; i < 3; i++)
        if (!(p->std[i] > 0) || !isfinite(1 / p->std[i]) || !isfinite(p->mean[i] / p->std[i])) return false;
    p->bgr = strcmp(at, "/BGR") == 0;
    return p->bgr || *at == 0 || strcmp(at, "/RGB") == 0;
}

likeness_status lk_encoder_input(lk_onnx_preprocessing *preprocessing, const char *text, lk_error *error) {
    lk_onnx_preprocessing changed = *preprocessing;
    bool good = false;
    for (size_t i = 0; i < sizeof presets / sizeof *presets && !good; i++)
        if (strcmp(text, presets[i].name) == 0) {
            memcpy(changed.mean, presets[i].mean, sizeof changed.mean);
            memcpy(changed.std, presets[i].std, sizeof changed.std);
            changed.bgr = false;
            good = true;
        }
    if (!good && !parse(&changed, text))
        return lk_fail(error, LIKENESS_USAGE,
                       "an encoder's input is arcface, sface, imagenet, clip, or MEAN/STD[/RGB|BGR] with one or three "
                       "numbers each, not \"%.80s\"",
                       text);
    *preprocessing = changed;
    return LIKENESS_OK;
}
