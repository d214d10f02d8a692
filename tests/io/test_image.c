/* Pictures: every kind against what Pillow sees (tests/reference/pictures.py), writing, texts, and damage of all sorts.
 */
#include "io/io_test.h"

#include "io/image.h"

#include <signal.h>
#include <sys/resource.h>

#define PICTURES LIKENESS_SOURCE_DIR "/tests/data/pictures/"

static uint8_t *load(const char *path, size_t *size) {
    uint8_t *data;
    lk_error error = LK_ERROR_INIT;
    assert_ok(lk_file_read(path, 1 << 24, &data, size, &error), &error);
    return data;
}

static void compare(const char *file, int tolerance) {
    char path[512];
    snprintf(path, sizeof path, PICTURES "%s", file);
    lk_image image;
    lk_error error = LK_ERROR_INIT;
    assert_ok(lk_image_read(&image, path, &error), &error);
    snprintf(path, sizeof path, PICTURES "%.*s.rgb", (int)(strchr(file, '.') - file), file);
    size_t size;
    uint8_t *expected = load(path, &size);
    assert_int_equal(image.width, expected[0] | expected[1] << 8);
    assert_int_equal(image.height, expected[2] | expected[3] << 8);
    assert_int_equal(size, 4 + (size_t)image.width * image.height * 3);
    for (size_t i = 4; i < size; i++)
        if (abs((int)image.rgb[i - 4] - (int)expected[i]) > tolerance)
            fail_msg("%s: byte %zu is %d, expected %d", file, i - 4, image.rgb[i - 4], expected[i]);
    lk_free(expected);
    lk_image_free(&image);
}

static void every_png(void **state) {
    (void)state;
    static const char *const files[] = {
        "rgb.png",    "grey.png",  "one_bit.png",    "rgba.png", "grey_alpha.png", "palette.png", "palette_clear.png",
        "grey16.png", "rgb16.png", "interlaced.png", "thin.png", "turned.png",     "texts.png"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        compare(files[i], 0);
}

static void every_jpeg(void **state) {
    (void)state;
    static const char *const files[] = {"baseline.jpg", "progressive.jpg", "full_chroma.jpg", "grey_photo.jpg",
                                        "cmyk.jpg",     "exif_2.jpg",      "exif_3.jpg",      "exif_4.jpg",
                                        "exif_5.jpg",   "exif_6.jpg",      "exif_7.jpg",      "exif_8.jpg"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        compare(files[i], 2);
}

static void sample(lk_image *image) {
    lk_error error = LK_ERROR_INIT;
    assert_ok(lk_image_create(image, 7, 5, &error), &error);
    for (int i = 0; i < 7 * 5 * 3; i++)
        image->rgb[i] = (uint8_t)(i * 37);
}

static void writing(void **state) {
    (void)state;
    char *path = temporary_path("картина.png");
    lk_image image, again;
    lk_error error = LK_ERROR_INIT;
    sample(&image);
    lk_image_texts texts = {0}, read;
    assert_ok(lk_image_texts_add(&texts, "parameters", "café, 2 lines\nSteps: 4", &error), &error);
    assert_ok(lk_image_texts_add(&texts, "unicode", "猫 🐈", &error), &error);
    assert_ok(lk_image_texts_add(&texts, "XML:com.adobe.xmp", "<x/>", &error), &error);
    assert_ok(lk_image_write_png(&image, &texts, path, &error), &error);
    assert_ok(lk_image_read(&again, path, &error), &error);
    assert_int_equal(again.width, 7);
    assert_memory_equal(again.rgb, image.rgb, 7 * 5 * 3);
    assert_ok(lk_image_read_texts(&read, path, &error), &error);
    assert_int_equal(read.count, 3);
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(lk_image_texts_find(&read, texts.items[i].key), texts.items[i].value);
    size_t size, other_size;
    uint8_t *bytes = load(path, &size), *other;
    assert_ok(lk_image_encode_png(&image, &texts, &other, &other_size, &error), &error);
    assert_int_equal(size, other_size);
    assert_memory_equal(bytes, other, size);
    /* Latin-1 stays in tEXt, one byte a letter; what is not goes to iTXt; XMP always does; no time chunk. */
    const char *kinds[8];
    int count = 0;
    for (size_t at = 8; at + 12 <= size && count < 8;) {
        kinds[count++] = (const char *)bytes + at + 4;
        at += 12 + ((size_t)bytes[at] << 24 | (size_t)bytes[at + 1] << 16 | (size_t)bytes[at + 2] << 8 | bytes[at + 3]);
    }
    static const char *const wanted[6] = {"IHDR", "tEXt", "iTXt", "iTXt", "IDAT", "IEND"};
    assert_int_equal(count, 6);
    for (int i = 0; i < 6; i++)
        assert_memory_equal(kinds[i], wanted[i], 4);
    lk_free(bytes);
    lk_free(other);
    lk_image_texts_free(&texts);
    lk_image_texts_free(&read);
    lk_image_free(&image);
    lk_image_free(&again);
    remove_temporary(path);
}

static void foreign_texts(void **state) {
    (void)state;
    lk_image_texts texts;
    lk_error error = LK_ERROR_INIT;
    assert_ok(lk_image_read_texts(&texts, PICTURES "texts.png", &error), &error);
    assert_string_equal(lk_image_texts_find(&texts, "parameters"), "a cat\nSteps: 4, Sampler: Euler, Seed: 7");
    assert_string_equal(lk_image_texts_find(&texts, "note"), "猫");
    assert_int_equal(strlen(lk_image_texts_find(&texts, "packed")), 360);
    assert_null(lk_image_texts_find(&texts, "nothing"));
    lk_image_texts_free(&texts);
    assert_ok(lk_image_read_texts(&texts, PICTURES "exif_5.jpg", &error), &error);
    assert_string_equal(lk_image_texts_find(&texts, "parameters"), "a café 猫\nSteps: 4, Seed: 7, Size: 13x9");
    lk_image_texts_free(&texts);
    assert_ok(lk_image_read_texts(&texts, PICTURES "baseline.jpg", &error), &error);
    assert_int_equal(texts.count, 0);
}

/* Every proper beginning of a picture is refused (or, for a JPEG cut inside its last marker, read), and leaks nothing.
 */
static void cut_pictures(void **state) {
    (void)state;
    static const char *const files[] = {PICTURES "texts.png", PICTURES "interlaced.png", PICTURES "exif_5.jpg",
                                        PICTURES "progressive.jpg"};
    for (size_t f = 0; f < 4; f++) {
        size_t size;
        uint8_t *data = load(files[f], &size);
        for (size_t cut = 0; cut < size - 2; cut++) {
            uint8_t *part = malloc(cut ? cut : 1); /* exactly as long, so that the sanitizer sees a read behind it */
            memcpy(part, data, cut);
            lk_image image;
            lk_error error = LK_ERROR_INIT;
            int64_t live = lk_memory_live();
            assert_fails(lk_image_decode(&image, "cut", part, cut, &error), &error, LIKENESS_BAD_FILE, "cut: ");
            assert_null(image.rgb);
            assert_int_equal(lk_memory_live(), live);
            free(part);
        }
        lk_free(data);
    }
}

static void refused(void **state) {
    (void)state;
    lk_image image;
    static const struct {
        const char *bytes;
        size_t size;
        const char *words;
    } rows[] = {{"", 0, "empty"},
                {"hello", 5, "no picture"},
                {"RIFF\0\0\0\0WEBPVP8 ", 16, "WebP"},
                {"GIF89a", 6, "GIF"},
                {"BM\0\0", 4, "BMP"},
                {"\0\0\0\x1c"
                 "ftypheic",
                 12, "HEIC"},
                {"\x89PNG\r\n\x1a\n", 8, "no complete header"},
                {"\xff\xd8\xff\xe0", 4, "JPEG"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        lk_error error = LK_ERROR_INIT;
        assert_fails(lk_image_decode(&image, "name", (const uint8_t *)rows[i].bytes, rows[i].size, &error), &error,
                     LIKENESS_BAD_FILE, rows[i].words);
    }
    /* A text chunk that claims 2 GiB: libpng would make room for it. */
    size_t text_size;
    uint8_t *text = load(PICTURES "texts.png", &text_size);
    memcpy(text + 33, "\x7f\xff\xff\xff", 4);
    lk_error claims = LK_ERROR_INIT;
    int64_t made = lk_memory_count();
    assert_fails(lk_image_decode(&image, "claims", text, text_size, &claims), &claims, LIKENESS_BAD_FILE, "byte 33");
    assert_int_equal(lk_memory_count(), made);
    lk_free(text);
    /* A header of 100,000 x 100,000 pixels: refused with nothing large allocated. */
    size_t size;
    uint8_t *data = load(PICTURES "rgb.png", &size);
    memcpy(data + 16, "\0\1\x86\xa0\0\1\x86\xa0", 8);
    lk_error error = LK_ERROR_INIT;
    int64_t count = lk_memory_count();
    assert_fails(lk_image_decode(&image, "huge", data, size, &error), &error, LIKENESS_BAD_FILE, "64 megapixels");
    assert_int_equal(lk_memory_count(), count);
    memcpy(data + 16, "\0\0\0\0\0\0\0\1", 8);
    error.status = LIKENESS_OK;
    assert_fails(lk_image_decode(&image, "flat", data, size, &error), &error, LIKENESS_BAD_FILE, "no pixels");
    lk_free(data);
    data = load(PICTURES "baseline.jpg", &size);
    for (size_t i = 0; i + 9 < size; i++)
        if (data[i] == 0xff && data[i + 1] == 0xc0) memset(data + i + 5, 0xf0, 4);
    error.status = LIKENESS_OK;
    assert_fails(lk_image_decode(&image, "huge", data, size, &error), &error, LIKENESS_BAD_FILE, "64 megapixels");
    lk_free(data);
    error.status = LIKENESS_OK;
    assert_fails(lk_image_read(&image, "/no/such.png", &error), &error, LIKENESS_IO, "/no/such.png");
    error.status = LIKENESS_OK;
    sample(&image);
    assert_fails(lk_image_write_png(&image, NULL, "/no/such.png", &error), &error, LIKENESS_IO,
                 "the folder '/no' does not exist");
    if (access("/dev/full", W_OK) == 0) {
        error.status = LIKENESS_OK;
        assert_fails(lk_image_write_png(&image, NULL, "/dev/full", &error), &error, LIKENESS_IO, "No space left");
    }
    lk_image_free(&image);
}

/* A disk that fills up in the middle of a picture: refused, the old file stays, nothing else is left. */
static void full_disk(void **state) {
    (void)state;
    char *path = temporary_path("picture.png");
    lk_image image;
    lk_error error = LK_ERROR_INIT;
    sample(&image);
    assert_ok(lk_file_write(path, "old", 3, &error), &error);
    struct rlimit before, tight;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    tight = before;
    tight.rlim_cur = 60;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &tight);
    likeness_status status = lk_image_write_png(&image, NULL, path, &error);
    setrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, handler);
    assert_fails(status, &error, LIKENESS_IO, "picture.png");
    size_t size;
    uint8_t *data = load(path, &size);
    assert_true(size == 3 && memcmp(data, "old", 3) == 0);
    lk_free(data);
    lk_image_free(&image);
    remove_temporary(path);
}

static likeness_status attempt_read(void *context, lk_error *error) {
    lk_image image;
    LK_TRY(lk_image_read(&image, context, error));
    lk_image_free(&image);
    return LIKENESS_OK;
}

static likeness_status attempt_texts(void *context, lk_error *error) {
    lk_image_texts texts;
    LK_TRY(lk_image_read_texts(&texts, context, error));
    lk_image_texts_free(&texts);
    return LIKENESS_OK;
}

static likeness_status attempt_encode(void *context, lk_error *error) {
    lk_image_texts texts = {0};
    uint8_t *data = NULL;
    size_t size;
    lk_image_texts_add(&texts, "a", "b", error);
    if (error->status == LIKENESS_OK) lk_image_texts_add(&texts, "c", "猫", error);
    if (error->status == LIKENESS_OK) lk_image_encode_png(context, &texts, &data, &size, error);
    lk_free(data);
    lk_image_texts_free(&texts);
    return error->status;
}

static void allocations(void **state) {
    (void)state;
    static const char *const files[] = {PICTURES "texts.png", PICTURES "turned.png", PICTURES "palette_clear.png",
                                        PICTURES "exif_5.jpg", PICTURES "cmyk.jpg"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        assert_true(fail_every_allocation(attempt_read, (void *)(uintptr_t)files[i]) > 2);
        fail_every_allocation(attempt_texts, (void *)(uintptr_t)files[i]);
    }
    lk_image image;
    sample(&image);
    assert_true(fail_every_allocation(attempt_encode, &image) > 10);
    lk_image_free(&image);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_png),    cmocka_unit_test(every_jpeg),
                                       cmocka_unit_test(writing),      cmocka_unit_test(foreign_texts),
                                       cmocka_unit_test(cut_pictures), cmocka_unit_test(refused),
                                       cmocka_unit_test(full_disk),    cmocka_unit_test(allocations)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
