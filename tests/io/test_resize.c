/* Scaling against Pillow (tests/reference/resize.py), and how pictures are fitted into a frame. */
#include "io/io_test.h"

#include "io/resize.h"

#include <math.h>

static void against_pillow(void **state) {
    (void)state;
    uint8_t *data;
    size_t size;
    lk_error error = LK_ERROR_INIT;
    assert_ok(lk_file_read(LIKENESS_SOURCE_DIR "/tests/data/resize.bin", 1 << 20, &data, &size, &error), &error);
    uint32_t head[3];
    memcpy(head, data, 8);
    uint32_t width = head[0], height = head[1];
    float *plane = malloc(width * height * sizeof *plane);
    memcpy(plane, data + 8, width * height * sizeof *plane);
    int cases = 0;
    for (size_t at = 8 + width * height * 4; at < size; cases++) {
        double box[4];
        memcpy(head, data + at, 12);
        memcpy(box, data + at + 12, 32);
        at += 44;
        size_t count = (size_t)head[1] * head[2];
        float *wanted = malloc(count * 4), *out = calloc(count, 4);
        memcpy(wanted, data + at, count * 4);
        at += count * 4;
        lk_box part = {box[0], box[1], box[2], box[3]};
        assert_ok(lk_resize(plane, 1, width, height, &part, (lk_filter)head[0], out, head[1], head[2], &error), &error);
        for (size_t i = 0; i < count; i++)
            if (fabsf(out[i] - wanted[i]) > 2e-6f)
                fail_msg("filter %u to %u x %u, pixel %zu: %g, expected %g", head[0], head[1], head[2], i,
                         (double)out[i], (double)wanted[i]);
        free(wanted);
        free(out);
    }
    assert_int_equal(cases, 20);
    free(plane);
    lk_free(data);
}

static void fitting(void **state) {
    (void)state;
    lk_image image, back;
    lk_error error = LK_ERROR_INIT;
    assert_ok(lk_image_create(&image, 6, 2, &error), &error); /* columns 0 2 4 ... 10 */
    for (int i = 0; i < 36; i++)
        image.rgb[i] = (uint8_t)(i / 3 % 6 * 2);
    float out[48];
    assert_ok(lk_image_fit(&image, LK_FIT_CROP, LK_FILTER_AREA, out, 2, 2, &error), &error);
    assert_true(fabsf(out[0] - 4 / 255.0f) < 1e-6f && fabsf(out[1] - 6 / 255.0f) < 1e-6f);
    assert_ok(lk_image_fit(&image, LK_FIT_STRETCH, LK_FILTER_AREA, out, 2, 2, &error), &error);
    assert_true(fabsf(out[0] - 2 / 255.0f) < 1e-6f && fabsf(out[1] - 8 / 255.0f) < 1e-6f);
    assert_ok(lk_image_fit(&image, LK_FIT_LETTERBOX, LK_FILTER_AREA, out, 3, 3, &error), &error);
    assert_true(out[0] == 1 && out[8] == 1 && fabsf(out[3] - 1 / 255.0f) < 1e-6f);
    const float planes[3] = {-1, 0.5f, 2};
    assert_ok(lk_image_from_planes(&back, planes, 1, 1, &error), &error);
    assert_int_equal(back.rgb[0], 0);
    assert_int_equal(back.rgb[1], 128);
    assert_int_equal(back.rgb[2], 255);
    lk_image_free(&image);
    lk_image_free(&back);
    lk_box outside = {0, 0, 9, 9};
    assert_fails(lk_resize(out, 1, 2, 2, &outside, LK_FILTER_AREA, out, 1, 1, &error), &error, LIKENESS_USAGE, "scale");
}

static likeness_status attempt(void *context, lk_error *error) {
    float out[27];
    return lk_image_fit(context, LK_FIT_LETTERBOX, LK_FILTER_BICUBIC, out, 3, 3, error);
}

static void allocations(void **state) {
    (void)state;
    lk_image image;
    lk_error error = LK_ERROR_INIT;
    assert_ok(lk_image_create(&image, 6, 2, &error), &error);
    assert_true(fail_every_allocation(attempt, &image) > 5);
    lk_image_free(&image);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(against_pillow), cmocka_unit_test(fitting),
                                       cmocka_unit_test(allocations)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
