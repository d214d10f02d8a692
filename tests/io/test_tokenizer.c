/* The tokenizer against transformers' CLIPTokenizer (tests/reference/tokenizer.py), cutting, damage, missing memory. */
#include "io/io_test.h"

#include "io/json.h"
#include "io/tokenizer.h"

#include <cjson/cJSON.h>

#define FOLDER LIKENESS_SOURCE_DIR "/tests/data/tokenizer"

static size_t compare(const lk_tokenizer *tokenizer, const cJSON *rows) {
    size_t strings = 0;
    for (const cJSON *row = rows->child; row; row = row->next, strings++) {
        const char *text = cJSON_GetObjectItem(row, "text")->valuestring;
        const cJSON *wanted = cJSON_GetObjectItem(row, "ids");
        int32_t *ids;
        size_t count, i = 0;
        lk_error error = LK_ERROR_INIT;
        assert_ok(lk_tokenizer_encode_all(tokenizer, text, &ids, &count, &error), &error);
        if ((int)count != cJSON_GetArraySize(wanted))
            fail_msg("'%s': %zu tokens, expected %d", text, count, cJSON_GetArraySize(wanted));
        for (const cJSON *id = wanted->child; id; id = id->next, i++)
            if (ids[i] != id->valueint) fail_msg("'%s': token %zu is %d, expected %d", text, i, ids[i], id->valueint);
        lk_free(ids);
    }
    return strings;
}

static void against_transformers(void **state) {
    (void)state;
    lk_json json;
    lk_error error = LK_ERROR_INIT;
    lk_tokenizer tokenizer;
    assert_ok(lk_json_read(&json, FOLDER "/expected.json", 1 << 24, &error), &error);
    assert_ok(lk_tokenizer_open(&tokenizer, FOLDER, &error), &error);
    assert_int_equal(tokenizer.max_length, 77);
    assert_true(compare(&tokenizer, lk_json_find(&json, NULL, "plain")) > 300);
    lk_json_value *padded = lk_json_find(&json, NULL, "padded");
    int64_t wanted[77];
    int32_t ids[77];
    size_t count;
    const char *text;
    assert_ok(lk_json_text(&json, padded, "text", &text, &error), &error);
    assert_ok(lk_json_ints(&json, padded, "ids", 0, 1 << 20, wanted, 77, &count, &error), &error);
    assert_int_equal(count, 77);
    lk_token_cut cut;
    assert_ok(lk_tokenizer_encode(&tokenizer, text, ids, 77, &cut, &error), &error);
    for (int i = 0; i < 77; i++)
        assert_int_equal(ids[i], wanted[i]);
    assert_false(cut.cut);
    lk_tokenizer_close(&tokenizer);
    /* Stable Diffusion 2 pads with "!", which thereby is a special token wherever it stands. */
    char *map = temporary_path("special_tokens_map.json"), *folder = lk_path_folder(map);
    static const char *const names[2] = {"vocab.json", "merges.txt"};
    char *copies[2];
    for (int i = 0; i < 2; i++) {
        uint8_t *data;
        size_t size;
        char *from = lk_path_join(FOLDER, names[i]);
        copies[i] = lk_path_join(folder, names[i]);
        assert_ok(lk_file_read(from, 1 << 24, &data, &size, &error), &error);
        assert_ok(lk_file_write(copies[i], data, size, &error), &error);
        lk_free(data);
        lk_free(from);
    }
    const char *exclaimed =
        "{\"pad_token\": \"!\", \"bos_token\": {\"content\": \"<|startoftext|>\", \"normalized\": false}}";
    assert_ok(lk_file_write(map, exclaimed, strlen(exclaimed), &error), &error);
    assert_ok(lk_tokenizer_open(&tokenizer, folder, &error), &error);
    assert_int_equal(tokenizer.pad.id, 0);
    assert_true(compare(&tokenizer, lk_json_find(&json, NULL, "pad_is_exclamation_mark")) >= 5);
    lk_tokenizer_close(&tokenizer);
    const char *bad = "{\"pad_token\": \"<pad>\"}";
    assert_ok(lk_file_write(map, bad, strlen(bad), &error), &error);
    assert_fails(lk_tokenizer_open(&tokenizer, folder, &error), &error, LIKENESS_BAD_FILE, "'<pad>'");
    lk_json_free(&json);
    for (int i = 0; i < 2; i++) {
        lk_file_remove(copies[i]);
        lk_free(copies[i]);
    }
    error = (lk_error)LK_ERROR_INIT;
    assert_fails(lk_tokenizer_open(&tokenizer, folder, &error), &error, LIKENESS_IO, "vocab.json");
    lk_free(folder);
    remove_temporary(map);
}

static void cutting(void **state) {
    (void)state;
    lk_tokenizer tokenizer;
    lk_error error = LK_ERROR_INIT;
    assert_ok(lk_tokenizer_open(&tokenizer, FOLDER, &error), &error);
    int32_t ids[77], *all;
    size_t count;
    char prompt[512] = "";
    for (int i = 0; i < 75; i++)
        strcat(prompt, "a ");
    lk_token_cut cut;
    assert_ok(lk_tokenizer_encode(&tokenizer, prompt, ids, 77, &cut, &error), &error);
    assert_false(cut.cut);
    assert_int_equal(cut.total, 75);
    strcat(prompt, "Zürich, lost");
    assert_ok(lk_tokenizer_encode(&tokenizer, prompt, ids, 77, &cut, &error), &error);
    assert_true(cut.cut);
    assert_string_equal(cut.first_word, "zürich");
    assert_int_equal(ids[0], tokenizer.begin.id);
    assert_int_equal(ids[76], tokenizer.end.id);
    assert_ok(lk_tokenizer_encode_all(&tokenizer, prompt, &all, &count, &error), &error);
    assert_int_equal(count, cut.total);
    assert_memory_equal(all, ids + 1, 75 * sizeof *ids);
    lk_free(all);
    /* A word that begins before the border and ends behind it is the one that is named. */
    assert_ok(lk_tokenizer_encode(&tokenizer, "qqzzxxqq next", ids, 4, &cut, &error), &error);
    assert_string_equal(cut.first_word, "qqzzxxqq");
    assert_fails(lk_tokenizer_encode(&tokenizer, "a\xff", ids, 77, &cut, &error), &error, LIKENESS_USAGE, "byte 2");
    char *huge = malloc(70000);
    memset(huge, 'a', 69999);
    huge[69999] = 0;
    error = (lk_error)LK_ERROR_INIT;
    assert_fails(lk_tokenizer_encode(&tokenizer, huge, ids, 77, &cut, &error), &error, LIKENESS_USAGE, "69999 bytes");
    huge[LK_TOKENIZER_MAX_TEXT] = 0;
    error = (lk_error)LK_ERROR_INIT;
    assert_ok(lk_tokenizer_encode(&tokenizer, huge, ids, 77, &cut, &error), &error);
    assert_int_equal(strlen(cut.first_word), 63);
    free(huge);
    lk_tokenizer_close(&tokenizer);
}

static void damaged(void **state) {
    (void)state;
    static const struct {
        const char *vocabulary, *merges, *words;
    } rows[] = {
        {"{\"a\":0,\"b\":1,\"ab\":2,\"<|startoftext|>\":3,\"<|endoftext|>\":4}", "a b\n", NULL},
        {"{\"a\":0,\"b\":1,\"<|startoftext|>\":3,\"<|endoftext|>\":4}", "a b\n", "line 1 merges 'a b'"},
        {"{\"a\":0,\"<|startoftext|>\":3,\"<|endoftext|>\":4}", "#version: 1\n\na\n", "line 3 is no pair"},
        {"{\"a\":0,\"<|startoftext|>\":3,\"<|endoftext|>\":4}", "a a a\n", "line 1 is no pair"},
        {"{\"a\":0}", "", "'<|startoftext|>' is not in the vocabulary"},
        {"{\"a\":0,\"b\":0}", "", "share the id 0"},
        {"{\"a\":-1}", "", "id of token 'a'"},
        {"{\"a\":1e9}", "", "id of token 'a'"},
        {"{\"a\":4000000}", "", "ids up to 4000000"},
        {"{\"a\":\"b\"}", "", "id of token 'a'"},
        {"[1]", "", "no object"},
        {"{}", "", "not in the vocabulary"},
        {"", "", "empty"},
        {"{\"a\":0,\"<|startoftext|>\":3,\"<|endoftext|>\":4}", "\xff", "not UTF-8"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        lk_tokenizer tokenizer;
        lk_error error = LK_ERROR_INIT;
        int64_t live = lk_memory_live();
        likeness_status status = lk_tokenizer_parse(&tokenizer, "files", rows[i].vocabulary, strlen(rows[i].vocabulary),
                                                    rows[i].merges, strlen(rows[i].merges), &error);
        if (rows[i].words) {
            assert_fails(status, &error, LIKENESS_BAD_FILE, rows[i].words);
        } else {
            int32_t ids[6];
            assert_ok(status, &error);
            /* letters that the vocabulary lacks are the unknown token: here also "a</w>" */
            assert_ok(lk_tokenizer_encode(&tokenizer, "abab a", ids, 6, NULL, &error), &error);
            static const int32_t wanted[6] = {3, 2, 0, 4, 4, 4};
            assert_memory_equal(ids, wanted, sizeof ids);
            lk_tokenizer_close(&tokenizer);
        }
        assert_int_equal(lk_memory_live(), live);
    }
}

static likeness_status attempt_open(void *context, lk_error *error) {
    static const char vocabulary[] = "{\"a\":0,\"b\":1,\"ab\":2,\"<|startoftext|>\":3,\"<|endoftext|>\":4}";
    lk_tokenizer tokenizer;
    (void)context;
    LK_TRY(lk_tokenizer_parse(&tokenizer, "files", vocabulary, sizeof vocabulary - 1, "a b\n", 4, error));
    lk_tokenizer_close(&tokenizer);
    return LIKENESS_OK;
}

static likeness_status attempt_folder(void *context, lk_error *error) {
    lk_tokenizer tokenizer;
    LK_TRY(lk_tokenizer_open(&tokenizer, context, error));
    lk_tokenizer_close(&tokenizer);
    return LIKENESS_OK;
}

static likeness_status attempt_encode(void *context, lk_error *error) {
    int32_t ids[77];
    lk_token_cut cut;
    return lk_tokenizer_encode(context, "Portrait of a PERSON <|endoftext|> 猫 don't", ids, 77, &cut, error);
}

static void allocations(void **state) {
    (void)state;
    lk_tokenizer tokenizer;
    lk_error error = LK_ERROR_INIT;
    assert_true(fail_every_allocation(attempt_open, NULL) > 10);
    assert_ok(lk_tokenizer_open(&tokenizer, FOLDER, &error), &error);
    assert_true(fail_every_allocation(attempt_encode, &tokenizer) > 10);
    lk_tokenizer_close(&tokenizer);
    /* the real folder takes thousands: try some */
    for (int64_t n = 0; n < 6000; n += 371) {
        error = (lk_error)LK_ERROR_INIT;
        int64_t live = lk_memory_live();
        lk_memory_fail_after(n);
        likeness_status status = attempt_folder(FOLDER, &error);
        lk_memory_fail_after(-1);
        assert_true(status == LIKENESS_OUT_OF_MEMORY || (status == LIKENESS_OK && n > 4000));
        assert_int_equal(lk_memory_live(), live);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(against_transformers), cmocka_unit_test(cutting),
                                       cmocka_unit_test(damaged), cmocka_unit_test(allocations)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
