/* tests/models/test_embedding.c - textual inversion in both forms against transformers (tests/reference/embedding.py),
 * where words are found, and what is refused. */
#include "models/model_test.h"

#include "models/model.h"

#include <unistd.h>

#define TINY LIKENESS_SOURCE_DIR "/tests/data/models/tiny"
#define FILES LIKENESS_SOURCE_DIR "/tests/data/embeddings/"

static const lk_embedding_use both[2] = {{FILES "hill house.safetensors", NULL},
                                         {FILES "learned_embeds.safetensors", NULL}};

static likeness_status open_with(lk_model *model, const lk_embedding_use *uses, int count, lk_error *error) {
    lk_model_options options = {.precise = true, .embeddings = uses, .embedding_count = count};
    *error = (lk_error)LK_ERROR_INIT;
    return lk_model_open_with(model, TINY, &options, error);
}

static void test_hidden(void **state) {
    (void)state;
    lk_error error;
    lk_model model;
    lk_safetensors expected;
    int32_t ids[77];
    int64_t live = lk_memory_live();
    assert_ok(open_with(&model, both, 2, &error), &error);
    assert_non_null(strstr(lk_text_get(&model.report), "2 vectors, written \"hill house\""));
    assert_non_null(strstr(lk_text_get(&model.report), "1 vectors, written \"<cat-toy>\""));
    assert_ok(lk_safetensors_open(&expected, FILES "expected.safetensors", &error), &error);
    double *truth = case_values(&expected, "ids", 77), *hidden = case_values(&expected, "hidden", 77 * 16);
    assert_ok(lk_tokenizer_encode(&model.tokenizer, "A red person,HILL house on a <CAT-TOY>!", ids, 77, NULL, &error),
              &error);
    for (int i = 0; i < 77; i++)
        assert_int_equal(ids[i], (int)truth[i]);
    lk_graph *graph = lk_graph_create(model.text_weights, &error);
    lk_value in = lk_graph_input(graph, "ids", lk_shape2(1, 77), LK_I32);
    lk_value out = lk_clip_text_build(&model.text, graph, lk_clip_text_embed(&model.text, graph, in), 0, NULL);
    lk_graph_output(graph, out, "hidden");
    lk_reference_values *run = lk_graph_run_reference(graph, (const double *const[]){truth}, &error);
    if (!run) fail_msg("%s", error.message);
    double distance = case_distance(lk_reference_value(run, out), hidden, 77 * 16);
    printf("hidden state: error %.1e\n", distance);
    assert_true(distance < 2e-6);
    lk_reference_values_destroy(run);
    lk_graph_destroy(graph);
    free(truth);
    free(hidden);
    lk_safetensors_close(&expected);
    lk_model_close(&model);
    assert_int_equal(lk_memory_live(), live);
}

/* How many tokens of a text are added ones. */
static int added(const lk_model *model, const char *text) {
    lk_error error = LK_ERROR_INIT;
    int32_t *ids;
    size_t count;
    int found = 0;
    assert_ok(lk_tokenizer_encode_all(&model->tokenizer, text, &ids, &count, &error), &error);
    for (size_t i = 0; i < count; i++)
        found += ids[i] >= 522;
    lk_free(ids);
    return found;
}

static void test_words(void **state) {
    (void)state;
    lk_error error;
    lk_model model;
    const lk_embedding_use named[2] = {{both[0].path, "Cat"}, {both[1].path, "cat toy"}};
    assert_ok(open_with(&model, named, 2, &error), &error);
    assert_int_equal(added(&model, "cat"), 2);
    assert_int_equal(added(&model, "a CAT, cat."), 4);
    assert_int_equal(added(&model, "concatenate cats category"), 0);
    assert_int_equal(added(&model, "cat toy"), 1); /* the longest one */
    assert_int_equal(added(&model, "cat_toy"), 0);
    assert_int_equal(added(&model, "cat<|endoftext|>cat"), 4);
    assert_int_equal(added(&model, "hill house"), 0);
    lk_model_close(&model);
}

static void refuse(const lk_embedding_use *uses, int count, likeness_status wanted, const char *word) {
    lk_error error;
    lk_model model;
    int64_t live = lk_memory_live();
    likeness_status status = open_with(&model, uses, count, &error);
    if (status != wanted || !strstr(error.message, word))
        fail_msg("%s: status %d, '%s'", uses[0].path, (int)status, error.message);
    assert_int_equal(lk_memory_live(), live);
}

static void test_refusals(void **state) {
    (void)state;
    char path[] = "/tmp/likeness-embedding-XXXXXX";
    static float values[2048];
    lk_error error = LK_ERROR_INIT;
    int file = mkstemp(path);
    assert_true(file >= 0);
    lk_safetensor wide = {.name = "emb_params",
                          .dtype = LK_SAFETENSOR_F32,
                          .rank = 2,
                          .shape = {2, 1024},
                          .data = (const uint8_t *)values};
    assert_ok(lk_safetensors_write(path, &wide, 1, NULL, NULL, 0, &error), &error);
    refuse(&(lk_embedding_use){path, NULL}, 1, LIKENESS_UNSUPPORTED, "Stable Diffusion 2.x");
    values[3] = NAN;
    wide.shape[1] = 16;
    assert_ok(lk_safetensors_write(path, &wide, 1, NULL, NULL, 0, &error), &error);
    refuse(&(lk_embedding_use){path, NULL}, 1, LIKENESS_BAD_FILE, "no numbers");
    refuse(&(lk_embedding_use){TINY "/unet/diffusion_pytorch_model.safetensors", NULL}, 1, LIKENESS_UNSUPPORTED,
           "U-Net");
    refuse((lk_embedding_use[]){both[0], both[0]}, 2, LIKENESS_USAGE, "hill house");
    refuse(&(lk_embedding_use){both[0].path, ""}, 1, LIKENESS_USAGE, "1 to 256");
    refuse(&(lk_embedding_use){FILES "none.safetensors", NULL}, 1, LIKENESS_IO, "none.safetensors");
    remove(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_hidden), cmocka_unit_test(test_words),
                                       cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
