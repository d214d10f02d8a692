/* tests/io/test_tokenizer_random.c - 20,000 random strings in over 20 scripts, emoji included: the ids are those of
 * transformers' fast CLIPTokenizer, with CLIP's whole vocabulary and with the small one. The strings are made here as
 * tests/reference/tokenizer_random.py makes them; its random.txt has a hash for every 200 strings. With a number as
 * argument the program prints that string's ids instead. */
#include "io/io_test.h"

#include "base/hash.h"
#include "base/text.h"
#include "io/tokenizer.h"

enum { COUNT = 20000, BLOCK = 200 };

static const struct {
    int32_t low, high;
} scripts[] = {
    {0x21, 0x7e},       {0x61, 0x7a},       {0xa1, 0x17f},      {0x1e00, 0x1eff},   {0x3a3, 0x3ff},
    {0x400, 0x52f},     {0x531, 0x556},     {0x561, 0x587},     {0x5d0, 0x5ea},     {0x620, 0x669},
    {0x904, 0x94d},     {0x995, 0x9a8},     {0xbae, 0xbb9},     {0xe01, 0xe3a},     {0xf40, 0xf47},
    {0x10d0, 0x10f0},   {0x1c90, 0x1cba},   {0x1208, 0x1246},   {0x13a0, 0x13f5},   {0x1780, 0x17b3},
    {0x3041, 0x3096},   {0x30a1, 0x30fa},   {0x4e00, 0x9fa5},   {0xac00, 0xd7a3},   {0x1100, 0x11ff},
    {0x1f300, 0x1f320}, {0x1f600, 0x1f64f}, {0x1f3fb, 0x1f3ff}, {0x1f1e6, 0x1f1ff}, {0x1d400, 0x1d454},
    {0xff01, 0xff5e},   {0x2010, 0x2027},   {0x2070, 0x2071},   {0x2150, 0x2188},   {0x2190, 0x22ff},
    {0x300, 0x36f},     {0x10400, 0x1044f},
};
static const char *const words[] = {
    "portrait",   "Person",       "RED",           "background",
    "it's",       "don't",        "I'LL",          "we've",
    "100",        "3.14",         "<|endoftext|>", "<|startoftext|>",
    "(word:1.2)", "\xe2\x80\x8d", "\xef\xb8\x8f",  "\xc4\xb0",
    "\xc3\x9f",   "\xef\xac\x81", "a\xcc\x81",     "\xe2\x9d\xa4\xef\xb8\x8f\xe2\x80\x8d\xf0\x9f\x94\xa5"};
static const char *const gaps[] = {"", " ", " ", ", ", "\n", "\t ", "\xe3\x80\x80", "\xc2\xa0", "-", "'"};

static uint64_t generator;

static size_t below(size_t limit) {
    generator = generator * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(generator >> 33) % limit;
}

static void make_string(uint64_t n, lk_text *out) {
    lk_text_clear(out);
    generator = n * 0x9e3779b97f4a7c15u;
    below(1);
    size_t parts = 1 + below(6);
    for (size_t part = 0; part < parts; part++) {
        if (part) lk_text_add(out, gaps[below(sizeof gaps / sizeof *gaps)]);
        if (below(4) == 0) {
            lk_text_add(out, words[below(sizeof words / sizeof *words)]);
            continue;
        }
        size_t script = below(sizeof scripts / sizeof *scripts), letters = 1 + below(8);
        int32_t low = scripts[script].low, high = scripts[script].high;
        for (size_t i = 0; i < letters; i++) {
            char encoded[4];
            lk_text_append(out, encoded, lk_utf8_encode(low + (int32_t)below((size_t)(high - low + 1)), encoded));
        }
    }
}

static void open_tokenizer(lk_tokenizer *tokenizer, bool whole) {
    lk_error error = LK_ERROR_INIT;
    if (whole)
        assert_ok(lk_tokenizer_open_clip(tokenizer, false, &error), &error);
    else
        assert_ok(lk_tokenizer_open(tokenizer, LIKENESS_SOURCE_DIR "/tests/data/tokenizer", &error), &error);
}

static void add_ids(lk_sha256 *hash, const int32_t *ids, size_t count) {
    for (size_t i = 0; i <= count; i++) {
        uint32_t id = i < count ? (uint32_t)ids[i] : UINT32_MAX;
        const uint8_t bytes[4] = {(uint8_t)id, (uint8_t)(id >> 8), (uint8_t)(id >> 16), (uint8_t)(id >> 24)};
        lk_sha256_add(hash, bytes, 4);
    }
}

/* Blocks of 200 strings whose hash is not the fixture's. */
static int wrong_blocks(bool whole, FILE *fixture) {
    lk_tokenizer tokenizer;
    lk_text text = LK_TEXT_INIT;
    int wrong = 0;
    open_tokenizer(&tokenizer, whole);
    for (int begin = 0; begin < COUNT; begin += BLOCK) {
        char name[16], wanted[32], found[17];
        uint8_t digest[32];
        lk_sha256 hash;
        lk_sha256_init(&hash);
        for (int n = begin; n < begin + BLOCK; n++) {
            lk_error error = LK_ERROR_INIT;
            int32_t *ids;
            size_t count;
            make_string((uint64_t)n, &text);
            assert_ok(lk_tokenizer_encode_all(&tokenizer, lk_text_get(&text), &ids, &count, &error), &error);
            add_ids(&hash, ids, count);
            lk_free(ids);
        }
        lk_sha256_finish(&hash, digest);
        for (int i = 0; i < 8; i++)
            snprintf(found + 2 * i, 3, "%02x", digest[i]);
        assert_int_equal(fscanf(fixture, "%15s %31s", name, wanted), 2);
        assert_string_equal(name, whole ? "clip" : "small");
        if (strcmp(found, wanted) == 0) continue;
        printf("%s: strings %d to %d\n", name, begin, begin + BLOCK - 1);
        wrong++;
    }
    lk_text_free(&text);
    lk_tokenizer_close(&tokenizer);
    return wrong;
}

static void ids_are_those_of_transformers(void **state) {
    (void)state;
    FILE *fixture = fopen(LIKENESS_SOURCE_DIR "/tests/data/tokenizer/random.txt", "r");
    assert_non_null(fixture);
    int wrong = wrong_blocks(true, fixture) + wrong_blocks(false, fixture);
    fclose(fixture);
    assert_int_equal(wrong, 0);
}

static int show(uint64_t n) {
    lk_text text = LK_TEXT_INIT;
    make_string(n, &text);
    for (int whole = 1; whole >= 0; whole--) {
        lk_tokenizer tokenizer;
        lk_error error = LK_ERROR_INIT;
        int32_t *ids;
        size_t count;
        open_tokenizer(&tokenizer, whole);
        if (lk_tokenizer_encode_all(&tokenizer, lk_text_get(&text), &ids, &count, &error) != LIKENESS_OK) return 1;
        printf("%s", whole ? "clip" : "small");
        for (size_t i = 0; i < count; i++)
            printf(" %d", (int)ids[i]);
        printf("\n");
        lk_free(ids);
        lk_tokenizer_close(&tokenizer);
    }
    lk_text_free(&text);
    return 0;
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(ids_are_those_of_transformers)};
    if (argc > 1) return show(strtoull(argv[1], NULL, 10));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
