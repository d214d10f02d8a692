/* tests/io/test_prompt.c - weights in prompts: what is parsed, which tokens get which weight, cutting, the weighted
 * mean, missing memory. */
#include "io/io_test.h"

#include "io/prompt.h"

#include <math.h>

#define FOLDER LIKENESS_SOURCE_DIR "/tests/data/tokenizer"

static lk_prompt parsed(const char *text) {
    lk_error error = LK_ERROR_INIT;
    lk_prompt prompt;
    assert_ok(lk_prompt_parse(&prompt, text, &error), &error);
    return prompt;
}

static void weights_are_read(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t count;
        struct {
            const char *text;
            double weight;
        } part[4];
    } rows[] = {
        {"", 0, {{NULL, 0}}},
        {"()", 0, {{NULL, 0}}},
        {"a red cat", 1, {{"a red cat", 1}}},
        {"a (red:1.3) cat", 3, {{"a ", 1}, {"red", 1.3}, {" cat", 1}}},
        {"a (red: 0.5 ) cat", 3, {{"a ", 1}, {"red", 0.5}, {" cat", 1}}},
        {"(red)", 1, {{"red", 1.1}}},
        {"[red]", 1, {{"red", 1 / 1.1}}},
        {"((red))", 1, {{"red", 1.1 * 1.1}}},
        {"(a (red:2) cat:0.5)", 3, {{"a ", 0.5}, {"red", 1}, {" cat", 0.5}}},
        {"(a [red] cat)", 3, {{"a ", 1.1}, {"red", 1.1 / 1.1}, {" cat", 1.1}}},
        {"a \\(red\\) cat", 1, {{"a (red) cat", 1}}},
        {"a \\[red\\] \\\\ c:\\x", 1, {{"a [red] \\ c:\\x", 1}}},
        {"red) cat]", 1, {{"red) cat]", 1}}},
        {"red:1.3) cat", 1, {{"red:1.3) cat", 1}}},
        {"a (red cat", 2, {{"a ", 1}, {"red cat", 1.1}}},
        {"a [red (cat:2", 3, {{"a ", 1}, {"red ", 1 / 1.1}, {"cat:2", 1.1 / 1.1}}},
        {"(red:1.2.3)", 1, {{"red:1.2.3", 1.1}}},
        {"(red:big)", 1, {{"red:big", 1.1}}},
        {"(10:30 clock)", 1, {{"10:30 clock", 1.1}}},
        {"(red:-1)", 1, {{"red", -1}}},
        {"(a:1.5)(b:1.5)", 1, {{"ab", 1.5}}},
        {"\xc3\xa9(\xe2\x98\xba:2)\xc3\xa9", 3, {{"\xc3\xa9", 1}, {"\xe2\x98\xba", 2}, {"\xc3\xa9", 1}}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        lk_prompt p = parsed(rows[i].text);
        bool weighted = false;
        if (p.count != rows[i].count) fail_msg("%s: %zu parts", rows[i].text, p.count);
        for (size_t k = 0; k < p.count; k++) {
            assert_string_equal(p.parts[k].text, rows[i].part[k].text);
            assert_true(fabs(p.parts[k].weight - rows[i].part[k].weight) < 1e-12);
            weighted |= p.parts[k].weight != 1;
        }
        assert_int_equal(p.weighted, weighted);
        lk_prompt_free(&p);
    }
}

/* Brackets without end are neither slow nor too many. */
static void deep_nesting(void **state) {
    (void)state;
    enum { COUNT = 60000 };
    char *text = malloc(COUNT + 8000);
    memset(text, '(', COUNT / 2);
    memset(text + COUNT / 2, 'a', COUNT / 2);
    text[COUNT] = 0;
    lk_prompt p = parsed(text);
    assert_int_equal(p.count, 1);
    assert_int_equal(strlen(p.parts[0].text), COUNT - 64);
    lk_prompt_free(&p);
    memset(text, 'a', COUNT + 7999);
    text[COUNT + 7999] = 0;
    lk_error error = LK_ERROR_INIT;
    assert_fails(lk_prompt_parse(&p, text, &error), &error, LIKENESS_USAGE, "67999 bytes");
    free(text);
}

static void tokens_carry_weights(void **state) {
    (void)state;
    lk_tokenizer tokenizer;
    lk_error error = LK_ERROR_INIT;
    int32_t ids[77], plain[77], *red, *rest;
    double weights[77];
    size_t red_count, rest_count;
    lk_token_cut cut, plain_cut;
    assert_ok(lk_tokenizer_open(&tokenizer, FOLDER, &error), &error);

    static const char *const unweighted[] = {"", "a red cat, portrait", "a \\(red\\) cat"};
    for (int i = 0; i < 3; i++) {
        lk_prompt p = parsed(unweighted[i]);
        assert_ok(lk_prompt_encode(&p, &tokenizer, ids, weights, 77, &cut, &error), &error);
        assert_ok(
            lk_tokenizer_encode(&tokenizer, i == 2 ? "a (red) cat" : unweighted[i], plain, 77, &plain_cut, &error),
            &error);
        assert_memory_equal(ids, plain, sizeof ids);
        for (int k = 0; k < 77; k++)
            assert_true(weights[k] == 1);
        assert_int_equal(cut.total, plain_cut.total);
        lk_prompt_free(&p);
    }

    lk_prompt p = parsed("(red:1.5) portrait");
    assert_ok(lk_prompt_encode(&p, &tokenizer, ids, weights, 77, &cut, &error), &error);
    assert_ok(lk_tokenizer_encode_all(&tokenizer, "red", &red, &red_count, &error), &error);
    assert_ok(lk_tokenizer_encode_all(&tokenizer, " portrait", &rest, &rest_count, &error), &error);
    assert_int_equal(cut.total, red_count + rest_count);
    assert_int_equal(ids[0], tokenizer.begin.id);
    assert_memory_equal(ids + 1, red, red_count * sizeof *ids);
    assert_memory_equal(ids + 1 + red_count, rest, rest_count * sizeof *ids);
    assert_int_equal(ids[1 + red_count + rest_count], tokenizer.end.id);
    assert_int_equal(ids[76], tokenizer.pad.id);
    for (size_t i = 0; i < 77; i++)
        assert_true(weights[i] == (i >= 1 && i <= red_count ? 1.5 : 1));

    /* Cut inside the second part: its word is named. */
    assert_ok(lk_prompt_encode(&p, &tokenizer, ids, weights, red_count + 2, &cut, &error), &error);
    assert_true(cut.cut);
    assert_string_equal(cut.first_word, "portrait");
    assert_int_equal(ids[red_count + 1], tokenizer.end.id);
    lk_prompt_free(&p);
    lk_free(red);
    lk_free(rest);
    lk_tokenizer_close(&tokenizer);
}

static void emphasis_keeps_the_mean(void **state) {
    (void)state;
    float hidden[6] = {1, 2, 3, 4, 5, 9};
    const double weights[3] = {1, 2, 0.5};
    lk_prompt_emphasize(hidden, weights, 3, 2);
    /* Weighted: 1 2 6 8 2.5 4.5, sum 24 as before. */
    const float wanted[6] = {1, 2, 6, 8, 2.5f, 4.5f};
    assert_memory_equal(hidden, wanted, sizeof wanted);
    float twice[4] = {1, 1, 1, 1};
    const double two[2] = {3, 1};
    lk_prompt_emphasize(twice, two, 2, 2);
    const float halved[4] = {1.5f, 1.5f, 0.5f, 0.5f};
    assert_memory_equal(twice, halved, sizeof halved);
    float around[4] = {1, -1, 2, -2};
    lk_prompt_emphasize(around, two, 2, 2);
    const float tripled[4] = {3, -3, 2, -2};
    assert_memory_equal(around, tripled, sizeof tripled);
}

static void missing_memory(void **state) {
    (void)state;
    lk_tokenizer tokenizer;
    lk_error error = LK_ERROR_INIT;
    assert_ok(lk_tokenizer_open(&tokenizer, FOLDER, &error), &error);
    int64_t before = lk_memory_live();
    for (int64_t n = 0;; n++) {
        lk_prompt p;
        lk_token_cut cut;
        int32_t ids[4];
        error = (lk_error)LK_ERROR_INIT;
        lk_memory_fail_after(n);
        likeness_status status = lk_prompt_parse(&p, "a (red:2) portrait", &error);
        if (status == LIKENESS_OK) {
            status = lk_prompt_encode(&p, &tokenizer, ids, NULL, 4, &cut, &error);
            lk_prompt_free(&p);
        }
        lk_memory_fail_after(-1);
        assert_int_equal(lk_memory_live(), before);
        if (status == LIKENESS_OK) break;
        assert_int_equal(status, LIKENESS_OUT_OF_MEMORY);
    }
    lk_tokenizer_close(&tokenizer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_are_read),     cmocka_unit_test(deep_nesting),
        cmocka_unit_test(tokens_carry_weights), cmocka_unit_test(emphasis_keeps_the_mean),
        cmocka_unit_test(missing_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
