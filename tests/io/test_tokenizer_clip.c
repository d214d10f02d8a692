/* CLIP's tokenizer from the merges that are built in, against transformers' CLIPTokenizer with the whole vocabulary
 * (tests/reference/clip_ids.py). */
#include "io/io_test.h"

#include "io/json.h"
#include "io/tokenizer.h"

#include <cjson/cJSON.h>

static void same_ids(void **state) {
    (void)state;
    lk_json json;
    lk_error error = LK_ERROR_INIT;
    lk_tokenizer tokenizer;
    assert_ok(lk_tokenizer_open_clip(&tokenizer, false, &error), &error);
    assert_int_equal(tokenizer.count, 49408);
    assert_int_equal(tokenizer.begin.id, 49406);
    assert_int_equal(tokenizer.end.id, 49407);
    assert_int_equal(tokenizer.pad.id, 49407);
    assert_ok(lk_json_read(&json, LIKENESS_SOURCE_DIR "/tests/data/checkpoints/clip_ids.json", 1 << 20, &error),
              &error);
    int rows = 0;
    for (const cJSON *row = lk_json_find(&json, NULL, "rows")->child; row; row = row->next, rows++) {
        const char *text = cJSON_GetObjectItem(row, "text")->valuestring;
        const cJSON *wanted = cJSON_GetObjectItem(row, "ids");
        int32_t *ids;
        size_t count, i = 0;
        assert_ok(lk_tokenizer_encode_all(&tokenizer, text, &ids, &count, &error), &error);
        if ((int)count != cJSON_GetArraySize(wanted)) fail_msg("'%s': %zu tokens", text, count);
        for (const cJSON *id = wanted->child; id; id = id->next, i++)
            if (ids[i] != id->valueint) fail_msg("'%s': token %zu is %d, not %d", text, i, ids[i], id->valueint);
        lk_free(ids);
    }
    assert_true(rows > 150);
    lk_json_free(&json);
    lk_tokenizer_close(&tokenizer);
}

static void pads_with_zero(void **state) {
    (void)state;
    lk_error error = LK_ERROR_INIT;
    lk_tokenizer tokenizer;
    int32_t ids[8];
    static const int32_t wanted[8] = {49406, 320, 2368, 49407, 0, 0, 0, 0};
    assert_ok(lk_tokenizer_open_clip(&tokenizer, true, &error), &error);
    assert_ok(lk_tokenizer_encode(&tokenizer, "a cat", ids, 8, NULL, &error), &error);
    assert_memory_equal(ids, wanted, sizeof wanted);
    lk_tokenizer_close(&tokenizer);
}

static void memory_runs_out(void **state) {
    (void)state;
    int64_t live = lk_memory_live(), n = 0;
    for (;; n = n * 2 + 1) {
        lk_error error = LK_ERROR_INIT;
        lk_tokenizer tokenizer;
        lk_memory_fail_after(n);
        likeness_status status = lk_tokenizer_open_clip(&tokenizer, true, &error);
        lk_memory_fail_after(-1);
        if (status == LIKENESS_OK) {
            lk_tokenizer_close(&tokenizer);
            assert_int_equal(lk_memory_live(), live);
            break;
        }
        assert_int_equal(status, LIKENESS_OUT_OF_MEMORY);
        assert_int_equal(lk_memory_live(), live);
    }
    assert_true(n > 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(same_ids), cmocka_unit_test(pads_with_zero),
                                       cmocka_unit_test(memory_runs_out)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
