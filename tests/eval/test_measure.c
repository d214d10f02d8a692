/* tests/eval/test_measure.c - the measures of docs/results.md on inputs whose answers are known, and the journal of a
 * run that was stopped. */
#include "dataset.h"
#include "measure.h"

#include "base/file.h"
#include "base/vector.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void assert_close(double a, double b, double tolerance) {
    if (!(fabs(a - b) <= tolerance)) fail_msg("%.9g is not %.9g", a, b);
}

static void psnr(void **state) {
    (void)state;
    uint8_t a[300], b[300];
    for (int i = 0; i < 300; i++) {
        a[i] = (uint8_t)(i % 200);
        b[i] = (uint8_t)(a[i] + (i % 2 ? 10 : 0));
    }
    /* Half of the values differ by 10: mean square 50. */
    assert_close(eval_psnr(a, b, 300), 10 * log10(65025.0 / 50), 1e-9);
    assert_close(eval_psnr(b, a, 300), eval_psnr(a, b, 300), 0);
    assert_close(eval_psnr(a, a, 300), 10 * log10(65025.0 / 1e-3), 1e-9);
    memset(a, 0, sizeof a);
    memset(b, 255, sizeof b);
    assert_close(eval_psnr(a, b, 300), 0, 1e-9);
}

static void corner_median_and_nearest_colour(void **state) {
    (void)state;
    enum { SIDE = 128 };
    static uint8_t rgb[SIDE * SIDE * 3];
    static const uint8_t palette[3][3] = {{255, 255, 255}, {232, 106, 95}, {34, 36, 42}};
    double median[3];
    memset(rgb, 7, sizeof rgb); /* a frame and a body that must not count */
    for (int y = 2; y < 14; y++)
        for (int x = 0; x < SIDE; x++) {
            uint8_t *p = rgb + 3 * (y * SIDE + x);
            bool counts = (x >= 2 && x < 14) || (x >= SIDE - 14 && x < SIDE - 2);
            /* 40 % of what counts is something else: the median does not care. */
            bool other = (x + y) % 5 < 2;
            p[0] = (uint8_t)(!counts || other ? 0 : 230);
            p[1] = (uint8_t)(!counts || other ? 255 : 100);
            p[2] = (uint8_t)(!counts || other ? 255 : 96);
        }
    eval_corner_median(rgb, SIDE, SIDE, median);
    assert_close(median[0], 230, 0);
    assert_close(median[1], 100, 0);
    assert_close(median[2], 96, 0);
    assert_int_equal(eval_nearest_colour(palette, 3, median), 1);
    /* Left and right corner weigh the same: half and half gives the middle. */
    for (int y = 2; y < 14; y++)
        for (int x = 2; x < 14; x++) {
            memset(rgb + 3 * (y * SIDE + x), 10, 3);
            memset(rgb + 3 * (y * SIDE + SIDE - 1 - x), 30, 3);
        }
    eval_corner_median(rgb, SIDE, SIDE, median);
    assert_close(median[2], 20, 0);
    assert_int_equal(eval_nearest_colour(palette, 3, (const double[3]){250, 250, 240}), 0);
    assert_int_equal(eval_nearest_colour(palette, 3, (const double[3]){20, 60, 60}), 2);
}

static void gradient_energy(void **state) {
    (void)state;
    uint8_t rgb[4 * 3 * 3];
    memset(rgb, 90, sizeof rgb);
    assert_close(eval_gradient_energy(rgb, 4, 3), 0, 0);
    /* One white pixel inside on black, one channel: four differences of 1 over 12 pixels x 3 channels. */
    memset(rgb, 0, sizeof rgb);
    rgb[3 * (1 * 4 + 1) + 2] = 255;
    assert_close(eval_gradient_energy(rgb, 4, 3), 4.0 / 36, 1e-12);
    /* A vertical edge of height 3 in all channels. */
    for (int y = 0; y < 3; y++)
        for (int x = 0; x < 4; x++)
            memset(rgb + 3 * (y * 4 + x), x < 2 ? 0 : 51, 3);
    assert_close(eval_gradient_energy(rgb, 4, 3), 3 * 3 * 0.04 / 36, 1e-12);
}

static void cosines(void **state) {
    (void)state;
    const float vectors[4][3] = {{1, 0, 0}, {2, 0, 0}, {0, 3, 0}, {-1, 0, 0}};
    assert_close(lk_vector_cosine(vectors[0], vectors[1], 3), 1, 1e-12);
    assert_close(lk_vector_cosine(vectors[0], vectors[2], 3), 0, 1e-12);
    assert_close(lk_vector_cosine((const float[]){1, 1}, (const float[]){1, 0}, 2), sqrt(0.5), 1e-12);
    /* Pairs: 1, 0, -1, 0, -1, 0. */
    assert_close(eval_mean_pairwise_cosine(vectors[0], 4, 3), -1.0 / 6, 1e-12);
    assert_true(isnan(eval_mean_pairwise_cosine(vectors[0], 1, 3)));
}

static void thresholds(void **state) {
    (void)state;
    float scores[200];
    for (int i = 0; i < 200; i++)
        scores[(i * 77) % 200] = (float)i / 200;
    /* 1 % of 200 are the two highest; the third must not pass. */
    double threshold = eval_threshold(scores, 200, 0.01);
    assert_close(eval_accepted(scores, 200, threshold), 0.01, 1e-12);
    assert_true(threshold > (double)(197.0f / 200) && threshold <= (double)(198.0f / 200));
    assert_close(eval_accepted(scores, 200, eval_threshold(scores, 200, 0)), 0, 0);
    assert_close(eval_accepted(scores, 200, eval_threshold(scores, 200, 1)), 1, 0);
    /* Equal scores stand or fall together: then fewer than the rate pass. */
    float equal[100];
    for (int i = 0; i < 100; i++)
        equal[i] = i < 95 ? 0.0f : 0.5f;
    assert_close(eval_accepted(equal, 100, eval_threshold(equal, 100, 0.03)), 0, 0);
    assert_close(eval_accepted(equal, 100, eval_threshold(equal, 100, 0.05)), 0.05, 1e-12);
    assert_true(isnan(eval_accepted(equal, 0, 0)));
    assert_close(eval_accepted((const float[]){0.25f, 0.5f}, 2, 0.5), 0.5, 0); /* the threshold itself passes */
}

static void classes(void **state) {
    (void)state;
    const char *const hair[] = {"black", "blue", "light blue", "brown", "dark brown", "red"};
    assert_int_equal(eval_hair_class("with dark brown short hair", hair, 6), 4);
    assert_int_equal(eval_hair_class("with brown bun", hair, 6), 3);
    assert_int_equal(eval_hair_class("with light blue hair", hair, 6), 2);
    assert_int_equal(eval_hair_class("with reddish hair", hair, 6), -1);
    assert_int_equal(eval_hair_class("with black", hair, 6), 0);
    assert_int_equal(eval_hair_class("with short black hair", hair, 6), -1);
    assert_int_equal(eval_hair_class("", hair, 6), -1);
    assert_int_equal(eval_argmax((const float[]){-3, -1, -2}, 3), 1);
    assert_int_equal(eval_argmax((const float[]){2, 2}, 2), 0);
}

static void means(void **state) {
    (void)state;
    eval_mean mean = {0};
    assert_true(isnan(eval_mean_get(&mean)));
    eval_mean_add(&mean, 1);
    eval_mean_add(&mean, NAN);
    eval_mean_add(&mean, 4);
    assert_int_equal(mean.count, 2);
    assert_close(eval_mean_get(&mean), 2.5, 0);
}

static void pictures_are_reduced_by_whole_blocks(void **state) {
    (void)state;
    uint8_t rgb[4 * 4 * 3] = {0};
    lk_image image = {4, 4, rgb}, small = {0};
    lk_error error = LK_ERROR_INIT;
    /* Upper left block of channel 1: 0, 1, 1, 0 has the mean 0.5, which is rounded up; lower right: 255. */
    rgb[3 * 1 + 1] = rgb[3 * 4 + 1] = 1;
    for (int y = 2; y < 4; y++)
        memset(rgb + 3 * (y * 4 + 2), 255, 6);
    assert_int_equal(eval_picture_reduce(&image, 2, &small, &error), LIKENESS_OK);
    const uint8_t expected[12] = {0, 1, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255};
    assert_memory_equal(small.rgb, expected, sizeof expected);
    lk_image_free(&small);
    assert_int_equal(eval_picture_reduce(&image, 3, &small, &error), LIKENESS_BAD_FILE);
}

static void a_journal_goes_on_where_it_ended(void **state) {
    (void)state;
    char path[64];
    snprintf(path, sizeof path, "/tmp/likeness-journal-%d.jsonl", (int)getpid());
    lk_file_remove(path);
    lk_error error = LK_ERROR_INIT;
    eval_journal journal;
    assert_int_equal(eval_journal_open(&journal, path, &error), LIKENESS_OK);
    assert_int_equal(eval_journal_add(&journal, "a/\"1\".png", "\"psnr\":31.5,\"list\":[1,2.5]", &error), LIKENESS_OK);
    assert_int_equal(eval_journal_add(&journal, "b", "\"psnr\":29", &error), LIKENESS_OK);
    eval_journal_close(&journal);

    /* The program was killed in the middle of a line. */
    FILE *file = fopen(path, "ab");
    assert_non_null(file);
    fputs("{\"key\":\"c\",\"ps", file);
    fclose(file);
    assert_int_equal(eval_journal_open(&journal, path, &error), LIKENESS_OK);
    assert_int_equal(journal.rows.count, 2);
    assert_null(eval_journal_find(&journal, "c"));
    assert_close(eval_number(eval_journal_find(&journal, "a/\"1\".png"), "psnr"), 31.5, 0);
    float list[2];
    assert_true(eval_floats(eval_journal_find(&journal, "a/\"1\".png"), "list", list, 2));
    assert_close((double)list[1], 2.5, 0);
    assert_false(eval_floats(journal.rows.row[0], "list", list, 1));
    assert_int_equal(eval_list_length(journal.rows.row[0], "list"), 2);
    assert_int_equal(eval_journal_add(&journal, "c", "\"psnr\":30", &error), LIKENESS_OK);
    eval_journal_close(&journal);

    eval_rows rows;
    assert_int_equal(eval_rows_read(&rows, path, &error), LIKENESS_OK);
    assert_int_equal(rows.count, 3);
    assert_int_equal(eval_rows_find(&rows, "key", "c"), 2);
    assert_int_equal(eval_rows_find(&rows, "key", "d"), -1);
    assert_string_equal(eval_text(rows.row[1], "key"), "b");
    assert_string_equal(eval_text(rows.row[1], "psnr"), "");
    assert_true(isnan(eval_number(rows.row[1], "key")));
    eval_rows_free(&rows);

    file = fopen(path, "ab");
    assert_non_null(file);
    fputs("nonsense\n", file);
    fclose(file);
    assert_int_equal(eval_journal_open(&journal, path, &error), LIKENESS_BAD_FILE);
    assert_non_null(strstr(error.message, "line 4"));
    lk_file_remove(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(psnr),
        cmocka_unit_test(corner_median_and_nearest_colour),
        cmocka_unit_test(gradient_energy),
        cmocka_unit_test(cosines),
        cmocka_unit_test(thresholds),
        cmocka_unit_test(classes),
        cmocka_unit_test(means),
        cmocka_unit_test(pictures_are_reduced_by_whole_blocks),
        cmocka_unit_test(a_journal_goes_on_where_it_ended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
