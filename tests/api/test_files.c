/* tests/api/test_files.c - what a model is loaded with, through the public interface: LoRA, textual inversion, TAESD as
 * decoder and in previews; what pictures say of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "likeness/likeness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DATA LIKENESS_SOURCE_DIR "/tests/data/"

static likeness_context *context;

static int open_context(void **state) {
    (void)state;
    likeness_options options = {.device = getenv("LIKENESS_TEST_DEVICE"), .cache = ""};
    if (likeness_open(&options, &context) == LIKENESS_OK) return 0;
    printf("skipped: %s\n", likeness_message(context));
    likeness_close(context);
    context = NULL;
    return 0;
}

static int close_context(void **state) {
    (void)state;
    likeness_close(context);
    return 0;
}

typedef struct seen {
    int calls, last_step;
    likeness_image last; /* a copy */
} seen;

static void keep(void *user, int step, const likeness_image *image) {
    seen *s = user;
    size_t bytes = (size_t)image->width * (size_t)image->height * 3;
    s->calls++;
    s->last_step = step;
    free(s->last.rgb);
    s->last = *image;
    s->last.rgb = malloc(bytes);
    memcpy(s->last.rgb, image->rgb, bytes);
}

/* A picture of the tiny model; *settings (may be NULL) is what would be written into it. */
static likeness_image make(const likeness_load_params *load, seen *previews, char **settings) {
    likeness_model *model;
    likeness_image image = {0};
    if (likeness_load_with(context, DATA "models/tiny", load, &model) != LIKENESS_OK)
        fail_msg("%s", likeness_message(context));
    likeness_generate_params params = {.prompt = "red zork person", .seed = 3};
    if (previews) {
        params.preview_every = 1;
        params.preview = keep;
        params.preview_user = previews;
    }
    if (likeness_generate(model, &params, &image) != LIKENESS_OK) fail_msg("%s", likeness_message(context));
    if (settings) *settings = likeness_settings_text(model, &params, NULL);
    likeness_unload(model);
    return image;
}

static bool same(const likeness_image *a, const likeness_image *b) {
    size_t bytes = (size_t)a->width * (size_t)a->height * 3;
    return a->width == b->width && a->height == b->height && memcmp(a->rgb, b->rgb, bytes) == 0;
}

static void additions_change_the_picture(void **state) {
    (void)state;
    if (!context) skip();
    const likeness_lora lora = {DATA "loras/kohya.safetensors", 0.5};
    const likeness_embedding word = {DATA "embeddings/hill house.safetensors", "zork"};
    const likeness_load_params loads[] = {{0},
                                          {.loras = &lora, .lora_count = 1},
                                          {.embeddings = &word, .embedding_count = 1},
                                          {.taesd = DATA "models/taesd"}};
    static const char *const keys[] = {"Model: Tiny", "Lora: \"kohya:0.5 (", "TI: zork (", "Decoder: TAESD ("};
    enum { COUNT = sizeof loads / sizeof *loads };
    likeness_image image[COUNT];
    for (int i = 0; i < COUNT; i++) {
        char *settings;
        image[i] = make(&loads[i], NULL, &settings);
        assert_non_null(settings);
        if (!strstr(settings, keys[i])) fail_msg("no '%s' in %s", keys[i], settings);
        likeness_text_free(settings);
        for (int j = 0; j < i; j++)
            assert_false(same(&image[i], &image[j]));
    }
    for (int i = 0; i < COUNT; i++)
        likeness_image_free(&image[i]);
}

static void previews_change_nothing(void **state) {
    (void)state;
    if (!context) skip();
    const likeness_load_params own = {0}, tiny = {.taesd = DATA "models/taesd", .taesd_preview_only = true};
    seen by_own = {0}, by_tiny = {0};
    char *settings;
    likeness_image plain = make(&own, NULL, NULL), with = make(&own, &by_own, NULL),
                   only = make(&tiny, &by_tiny, &settings);
    assert_true(same(&plain, &with));
    assert_true(same(&plain, &only));
    assert_null(strstr(settings, "Decoder"));
    assert_int_equal(by_own.calls, 3); /* the model's steps */
    assert_int_equal(by_tiny.calls, 3);
    assert_int_equal(by_tiny.last_step, 3);
    /* The last step of a flow ends where its preview already is. */
    assert_true(same(&by_own.last, &plain));
    assert_false(same(&by_tiny.last, &plain));
    likeness_text_free(settings);
    free(by_own.last.rgb);
    free(by_tiny.last.rgb);
    likeness_image_free(&plain);
    likeness_image_free(&with);
    likeness_image_free(&only);
}

static void refusals(void **state) {
    (void)state;
    if (!context) skip();
    likeness_model *model;
    const likeness_lora lora = {DATA "models/tiny/unet/diffusion_pytorch_model.safetensors", 0};
    assert_int_equal(likeness_load_with(context, DATA "models/tiny",
                                        &(likeness_load_params){.loras = &lora, .lora_count = 1}, &model),
                     LIKENESS_UNSUPPORTED);
    assert_non_null(strstr(likeness_message(context), "no LoRA"));
    assert_null(model);
    char *text;
    assert_int_equal(likeness_describe(context, DATA "models/tiny", &text), LIKENESS_OK);
    assert_non_null(strstr(text, "model Tiny"));
    likeness_text_free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(additions_change_the_picture),
                                       cmocka_unit_test(previews_change_nothing), cmocka_unit_test(refusals)};
    return cmocka_run_group_tests(tests, open_context, close_context);
}
