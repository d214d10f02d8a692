/* Infotexts: what is written is read back, and what AUTOMATIC1111 and its kin write is understood. */
#include "io/io_test.h"

#include "io/metadata.h"

static void round_trip(void **state) {
    (void)state;
    lk_error error = LK_ERROR_INIT;
    lk_image_texts settings = {0};
    static const char *const pairs[][2] = {{"Steps", "4"},
                                           {"Sampler", "Euler"},
                                           {"Seed", "18446744073709551615"},
                                           {"Size", "128x128"},
                                           {"Note", "a, b: \"c\"\\ \n d"},
                                           {"Blank", " x "},
                                           {"Quote", "\"q\""},
                                           {"Name", "猫"}};
    for (size_t i = 0; i < 8; i++)
        assert_ok(lk_image_texts_add(&settings, pairs[i][0], pairs[i][1], &error), &error);
    lk_text text = LK_TEXT_INIT;
    lk_infotext_write(&text, "a portrait, red background\nsecond line: x", "blurry", &settings);
    assert_false(text.failed);
    lk_infotext info;
    assert_ok(lk_infotext_parse(&info, text.data, &error), &error);
    assert_string_equal(info.prompt, "a portrait, red background\nsecond line: x");
    assert_string_equal(info.negative, "blurry");
    assert_int_equal(info.settings.count, 8);
    for (size_t i = 0; i < 8; i++)
        assert_string_equal(lk_infotext_find(&info, pairs[i][0]), pairs[i][1]);
    lk_infotext_free(&info);
    lk_text_clear(&text);
    lk_infotext_write(&text, "", NULL, &settings);
    assert_ok(lk_infotext_parse(&info, text.data, &error), &error);
    assert_string_equal(info.prompt, "");
    assert_string_equal(info.negative, "");
    assert_string_equal(lk_infotext_find(&info, "Steps"), "4");
    lk_infotext_free(&info);
    lk_text_free(&text);
    lk_image_texts_free(&settings);
}

static void foreign(void **state) {
    (void)state;
    lk_error error = LK_ERROR_INIT;
    lk_infotext info;
    assert_ok(lk_infotext_parse(&info,
                                "cat, (fluffy:1.2)\nNegative prompt: dog,\nmouse\nSteps: 20, Sampler: DPM++ 2M Karras, "
                                "CFG scale: 7, Lora hashes: \"a: 1, b: 2\", Version: v1.6.0",
                                &error),
              &error);
    assert_string_equal(info.prompt, "cat, (fluffy:1.2)");
    assert_string_equal(info.negative, "dog,\nmouse");
    assert_string_equal(lk_infotext_find(&info, "Sampler"), "DPM++ 2M Karras");
    assert_string_equal(lk_infotext_find(&info, "Lora hashes"), "a: 1, b: 2");
    assert_string_equal(lk_infotext_find(&info, "Version"), "v1.6.0");
    lk_infotext_free(&info);
    assert_ok(lk_infotext_parse(&info, "only a prompt, style: bold", &error), &error);
    assert_string_equal(info.prompt, "only a prompt, style: bold");
    assert_int_equal(info.settings.count, 0);
    lk_infotext_free(&info);
    assert_ok(lk_infotext_parse(&info, "", &error), &error);
    assert_string_equal(info.prompt, "");
    lk_infotext_free(&info);
    assert_true(lk_xmp_is_synthetic(lk_xmp_synthetic()));
    assert_false(lk_xmp_is_synthetic("<x/>"));
}

static likeness_status attempt(void *context, lk_error *error) {
    lk_infotext info;
    LK_TRY(lk_infotext_parse(&info, context, error));
    lk_infotext_free(&info);
    return LIKENESS_OK;
}

static void allocations(void **state) {
    (void)state;
    char text[] = "p\nNegative prompt: n\nSteps: 4, A b: \"x, y\", Seed: 7";
    assert_true(fail_every_allocation(attempt, text) > 12);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(round_trip), cmocka_unit_test(foreign),
                                       cmocka_unit_test(allocations)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
