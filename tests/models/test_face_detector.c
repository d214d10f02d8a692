/* tests/models/test_face_detector.c - face detectors: YuNet's numbers decoded as OpenCV decodes them, a network of the
 * SCRFD family run and decoded as a NumPy oracle does, input pictures, refusals. Fixture: tests/reference/faces.py. The
 * C reference runs the networks: no device is opened. */
#include "models/model_test.h"

#include "base/file.h"
#include "models/face_detector.h"

#include <unistd.h>

#define FOLDER LIKENESS_SOURCE_DIR "/tests/data/models/faces/"
#define YUNET LIKENESS_SOURCE_DIR "/../shared/models/face_detection_yunet_2026may.onnx"

static lk_safetensors file;
static const char *const kinds[4] = {"cls", "obj", "bbox", "kps"};

static int setup(void **state) {
    (void)state;
    lk_error error = LK_ERROR_INIT;
    assert_ok(lk_safetensors_open(&file, FOLDER "case.safetensors", &error), &error);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    lk_safetensors_close(&file);
    return 0;
}

static float *numbers(const char *name, size_t *count) {
    lk_error error = LK_ERROR_INIT;
    const lk_safetensor *tensor = lk_safetensors_find(&file, name);
    if (!tensor) fail_msg("no tensor %s", name);
    float *values = malloc(tensor->elements * sizeof *values);
    assert_ok(lk_safetensor_to_f32(tensor, values, &error), &error);
    *count = tensor->elements;
    return values;
}

static void levels_read(const char *family, lk_detector_level levels[LK_FACE_LEVELS]) {
    for (int level = 0; level < LK_FACE_LEVELS; level++) {
        const float **const at[4] = {&levels[level].score, &levels[level].object, &levels[level].box,
                                     &levels[level].points};
        for (int kind = 0; kind < 4; kind++) {
            char name[40];
            size_t count;
            snprintf(name, sizeof name, "%s.%s_%d", family, kinds[kind], 8 << level);
            *at[kind] = lk_safetensors_find(&file, name) ? numbers(name, &count) : NULL;
            if (kind == 0) levels[level].cells = (int32_t)count;
        }
    }
}

static void levels_free(lk_detector_level levels[LK_FACE_LEVELS]) {
    for (int level = 0; level < LK_FACE_LEVELS; level++) {
        free((void *)levels[level].score);
        free((void *)levels[level].object);
        free((void *)levels[level].box);
        free((void *)levels[level].points);
    }
}

static void near(double got, double wanted, double tolerance, const char *what, int face) {
    if (!(fabs(got - wanted) <= tolerance)) fail_msg("face %d: %s is %.6g, expected %.6g", face, what, got, wanted);
}

/* ---- YuNet ---- */

static const lk_detector_frame sheet_frame = {
    .height = 160, .width = 352, .inner_height = 150, .inner_width = 340, .scale_x = 1, .scale_y = 1};

static void same_as_opencv(const lk_face *faces, int count, double tolerance) {
    size_t size;
    float *truth = numbers("yunet.faces", &size);
    assert_int_equal(count * 15, size);
    for (int i = 0; i < count; i++) {
        const float *t = truth + 15 * i;
        near(faces[i].left, (double)t[0], tolerance, "left", i);
        near(faces[i].top, (double)t[1], tolerance, "top", i);
        near(faces[i].right - faces[i].left, (double)t[2], tolerance, "width", i);
        near(faces[i].bottom - faces[i].top, (double)t[3], tolerance, "height", i);
        for (int k = 0; k < 10; k++)
            near(faces[i].points[k / 2][k % 2], (double)t[4 + k], tolerance, "point", i);
        near(faces[i].score, (double)t[14], 1e-3, "score", i);
        assert_true(faces[i].has_points);
    }
    free(truth);
}

static void yunet_decodes_as_opencv(void **state) {
    (void)state;
    lk_error error = LK_ERROR_INIT;
    lk_face_detector detector = {.family = LK_DETECTOR_YUNET, .has_points = true};
    lk_detector_level levels[LK_FACE_LEVELS];
    lk_face faces[LK_FACES_MOST];
    int count;
    levels_read("yunet", levels);
    assert_ok(lk_face_decode(&detector, levels, &sheet_frame, 0.5, faces, &count, &error), &error);
    same_as_opencv(faces, count, 1e-3);
    /* A picture of twice the size, seen at half of it. */
    lk_detector_frame half = sheet_frame;
    half.scale_x = 0.5;
    half.scale_y = 0.25;
    lk_face large[LK_FACES_MOST];
    int other;
    assert_ok(lk_face_decode(&detector, levels, &half, 0.5, large, &other, &error), &error);
    assert_int_equal(other, count);
    for (int i = 0; i < count; i++) {
        near(large[i].right, 2 * faces[i].right, 1e-9, "right", i);
        near(large[i].points[4][1], 4 * faces[i].points[4][1], 1e-9, "point", i);
    }
    /* A threshold above all of them, and one that lets every cell in (P18: a blank picture at threshold 0). */
    assert_ok(lk_face_decode(&detector, levels, &sheet_frame, 0.999, faces, &count, &error), &error);
    assert_int_equal(count, 0);
    assert_ok(lk_face_decode(&detector, levels, &sheet_frame, 0, faces, &count, &error), &error);
    assert_int_equal(count, LK_FACES_MOST);
    for (int i = 1; i < count; i++)
        assert_true(faces[i - 1].score >= faces[i].score);
    /* A value that is none ends it, whatever its score. */
    for (int kind = 0; kind < 4; kind++) {
        lk_detector_level spoiled[LK_FACE_LEVELS];
        memcpy(spoiled, levels, sizeof spoiled);
        static const int widths[4] = {1, 1, 4, 10};
        size_t bytes = (size_t)(levels[1].cells * widths[kind]) * sizeof(float);
        const float **const at[4] = {&spoiled[1].score, &spoiled[1].object, &spoiled[1].box, &spoiled[1].points};
        float *copy = malloc(bytes);
        memcpy(copy, *at[kind], bytes);
        for (size_t i = 0; i < bytes / sizeof(float); i++)
            copy[i] = NAN;
        *at[kind] = copy;
        lk_error no = LK_ERROR_INIT;
        assert_int_equal(lk_face_decode(&detector, spoiled, &sheet_frame, 0, faces, &count, &no), LIKENESS_NON_FINITE);
        assert_int_equal(count, 0);
        free(copy);
    }
    levels_free(levels);
}

/* Runs a detector with the C reference on planes of the frame. */
static void run_reference(const lk_face_detector *detector, const lk_detector_frame *frame, const float *planes,
                          lk_detector_level levels[LK_FACE_LEVELS]) {
    lk_error error = LK_ERROR_INIT;
    lk_detector_outputs outputs[LK_FACE_LEVELS];
    size_t size = 3 * (size_t)frame->height * (size_t)frame->width;
    double *input = malloc(size * sizeof *input);
    for (size_t i = 0; i < size; i++)
        input[i] = (double)planes[i];
    lk_graph *graph = lk_graph_create(detector->network.weights, &error);
    lk_value x = lk_graph_input(graph, "picture", lk_shape4(1, 3, frame->height, frame->width), LK_F32);
    lk_face_detector_build(detector, graph, x, outputs);
    assert_ok(lk_graph_status(graph, &error), &error);
    const double *inputs[1] = {input};
    lk_reference_values *run = lk_graph_run_reference(graph, inputs, &error);
    if (!run) fail_msg("%s", error.message);
    for (int level = 0; level < LK_FACE_LEVELS; level++) {
        const lk_value values[4] = {outputs[level].score, outputs[level].object, outputs[level].box,
                                    outputs[level].points};
        const float **const at[4] = {&levels[level].score, &levels[level].object, &levels[level].box,
                                     &levels[level].points};
        levels[level].cells = outputs[level].cells;
        for (int kind = 0; kind < 4; kind++) {
            *at[kind] = NULL;
            if (values[kind] == LK_NO_VALUE) continue;
            lk_shape shape = lk_graph_shape(graph, values[kind]);
            int64_t count = lk_shape_elements(&shape);
            float *copy = malloc((size_t)count * sizeof *copy);
            for (int64_t i = 0; i < count; i++)
                copy[i] = (float)lk_reference_value(run, values[kind])[i];
            *at[kind] = copy;
        }
    }
    lk_reference_values_destroy(run);
    lk_graph_destroy(graph);
    free(input);
}

/* The whole way from a picture file; YuNet's file is not ours to ship. */
static void yunet_finds_drawn_faces(void **state) {
    (void)state;
    if (access(YUNET, R_OK) != 0) {
        printf("skipped: ../shared/models/face_detection_yunet_2026may.onnx is not here\n");
        skip();
    }
    lk_error error = LK_ERROR_INIT;
    lk_image image;
    lk_face_detector detector;
    lk_detector_frame frame;
    lk_detector_level levels[LK_FACE_LEVELS];
    lk_face faces[LK_FACES_MOST];
    int count;
    lk_weights *weights = lk_weights_create(true);
    assert_ok(lk_image_read(&image, LIKENESS_SOURCE_DIR "/tests/data/pictures/faces.png", &error), &error);
    assert_ok(lk_face_detector_open(&detector, YUNET, "detector", weights, &error), &error);
    assert_true(detector.family == LK_DETECTOR_YUNET && detector.has_points);
    assert_ok(lk_face_detector_frame(&detector, image.width, image.height, &frame, &error), &error);
    assert_memory_equal(&frame, &sheet_frame, sizeof frame);
    float *planes = malloc(3 * 160 * 352 * sizeof *planes);
    assert_ok(lk_face_detector_planes(&detector, &image, &frame, planes, &error), &error);
    run_reference(&detector, &frame, planes, levels);
    assert_ok(lk_face_decode(&detector, levels, &frame, 0.5, faces, &count, &error), &error);
    same_as_opencv(faces, count, 0.05); /* onnxruntime's sigmoid is an approximation */
    levels_free(levels);
    free(planes);
    lk_weights_destroy(weights);
    lk_face_detector_close(&detector);
    lk_image_free(&image);
}

/* ---- SCRFD ---- */

static void scrfd_runs_and_decodes(void **state) {
    (void)state;
    lk_error error = LK_ERROR_INIT;
    lk_image image;
    lk_face_detector detector;
    lk_detector_level levels[LK_FACE_LEVELS], stored[LK_FACE_LEVELS];
    lk_face faces[LK_FACES_MOST];
    int count;
    size_t size;
    lk_weights *weights = lk_weights_create(true);
    assert_ok(lk_image_read(&image, LIKENESS_SOURCE_DIR "/tests/data/pictures/faces.png", &error), &error);
    assert_ok(lk_face_detector_open(&detector, FOLDER "scrfd.onnx", "detector", weights, &error), &error);
    assert_true(detector.family == LK_DETECTOR_SCRFD && detector.has_points);
    float *planes = malloc(3 * 160 * 352 * sizeof *planes);
    assert_ok(lk_face_detector_planes(&detector, &image, &sheet_frame, planes, &error), &error);
    run_reference(&detector, &sheet_frame, planes, levels);
    levels_read("scrfd", stored);
    for (int level = 0; level < LK_FACE_LEVELS; level++) { /* the same network, its outputs sorted rightly */
        assert_int_equal(levels[level].cells, stored[level].cells);
        for (int32_t i = 0; i < levels[level].cells; i++) {
            near((double)levels[level].score[i], (double)stored[level].score[i], 1e-3, "score", i);
            for (int k = 0; k < 4; k++)
                near((double)levels[level].box[4 * i + k], (double)stored[level].box[4 * i + k],
                     1e-3 * fmax(1, fabs((double)stored[level].box[4 * i + k])), "distance", i);
            for (int k = 0; k < 10; k++)
                near((double)levels[level].points[10 * i + k], (double)stored[level].points[10 * i + k],
                     1e-3 * fmax(1, fabs((double)stored[level].points[10 * i + k])), "point", i);
        }
    }
    float *threshold = numbers("scrfd.threshold", &size), *truth = numbers("scrfd.faces", &size);
    assert_ok(lk_face_decode(&detector, stored, &sheet_frame, (double)*threshold, faces, &count, &error), &error);
    assert_int_equal(count * 15, size);
    for (int i = 0; i < count; i++) {
        const double edges[5] = {faces[i].left, faces[i].top, faces[i].right, faces[i].bottom, faces[i].score};
        for (int k = 0; k < 5; k++)
            near(edges[k], (double)truth[15 * i + k], 1e-3, "edge", i);
        for (int k = 0; k < 10; k++)
            near(faces[i].points[k / 2][k % 2], (double)truth[15 * i + 5 + k], 1e-3, "point", i);
    }
    free(threshold);
    free(truth);
    free(planes);
    levels_free(levels);
    levels_free(stored);
    lk_weights_destroy(weights);
    lk_face_detector_close(&detector);
    lk_image_free(&image);
}

/* ---- input ---- */

static void pictures_come_into_frames(void **state) {
    (void)state;
    lk_error error = LK_ERROR_INIT;
    lk_face_detector yunet = {.family = LK_DETECTOR_YUNET}, scrfd = {.family = LK_DETECTOR_SCRFD};
    lk_detector_frame f;
    assert_ok(lk_face_detector_frame(&yunet, 33, 20, &f, &error), &error); /* as it is, to the next multiple of 32 */
    assert_true(f.inner_width == 33 && f.width == 64 && f.height == 32 && f.scale_x == 1 && f.scale_y == 1);
    assert_ok(lk_face_detector_frame(&yunet, 4000, 3000, &f, &error), &error);
    assert_true(f.inner_width == 640 && f.inner_height == 480 && f.width == 640 && f.scale_x == 0.16);
    assert_ok(lk_face_detector_frame(&scrfd, 128, 64, &f, &error), &error);
    assert_true(f.inner_width == 640 && f.inner_height == 320 && f.scale_y == 5);
    scrfd.network.preprocessing.height = scrfd.network.preprocessing.width = 64;
    assert_ok(lk_face_detector_frame(&scrfd, 128, 96, &f, &error), &error);
    assert_true(f.width == 64 && f.height == 64 && f.inner_height == 48 && f.scale_x == 0.5);
    /* Four red pixels become one, in RGB, above and left of black. */
    uint8_t rgb[128 * 96 * 3];
    for (int i = 0; i < 128 * 96; i++)
        rgb[3 * i] = 200, rgb[3 * i + 1] = 10, rgb[3 * i + 2] = 0;
    const lk_image image = {128, 96, rgb};
    float *planes = malloc(3 * 64 * 64 * sizeof *planes);
    assert_ok(lk_face_detector_planes(&scrfd, &image, &f, planes, &error), &error);
    near((double)planes[0], (200 - 127.5) / 128, 1e-5, "red", 0);
    near((double)planes[64 * 64 + 47 * 64 + 63], (10 - 127.5) / 128, 1e-5, "green", 0);
    near((double)planes[48 * 64], -127.5 / 128, 1e-7, "black", 0);
    yunet.network.preprocessing = scrfd.network.preprocessing;
    assert_ok(lk_face_detector_planes(&yunet, &image, &f, planes, &error), &error);
    near((double)planes[2 * 64 * 64], 200, 1e-4, "red, last", 0);
    near((double)planes[0], 0, 1e-4, "blue, first", 0);
    near((double)planes[63 * 64], 0, 0, "black", 0);
    free(planes);
    scrfd.network.preprocessing.height = 60;
    assert_int_equal(lk_face_detector_frame(&scrfd, 128, 96, &f, &error), LIKENESS_UNSUPPORTED);
}

static void large_and_central_faces_count(void **state) {
    (void)state;
    lk_face faces[4] = {{.left = 0, .right = 10, .bottom = 10, .score = 0.9},             /* small, in a corner */
                        {.left = 40, .right = 60, .top = 40, .bottom = 60, .score = 0.8}, /* in the middle */
                        {.left = 0, .right = 30, .bottom = 30, .score = 0.7},             /* large, in a corner */
                        {.left = 20, .right = 80, .top = 20, .bottom = 80, .score = 0.6}};
    lk_face kept[4];
    memcpy(kept, faces, sizeof kept);
    assert_int_equal(lk_faces_rank(kept, 4, 100, 100, 4), 4);
    assert_true(kept[0].score == 0.9);
    assert_int_equal(lk_faces_rank(kept, 4, 100, 100, 2), 2);
    assert_true(kept[0].score == 0.6 && kept[1].score == 0.8);
    memcpy(kept, faces, sizeof kept);
    assert_int_equal(lk_faces_rank(kept, 3, 100, 100, 1), 1);
    assert_true(kept[0].score == 0.8);
}

/* ---- refusals ---- */

static void other_networks_are_refused(void **state) {
    (void)state;
    lk_error error = LK_ERROR_INIT;
    lk_face_detector detector;
    int64_t live = lk_memory_live();
    lk_weights *weights = lk_weights_create(false);
    assert_int_equal(lk_face_detector_open(&detector, FOLDER "embedder.onnx", "d", weights, &error),
                     LIKENESS_UNSUPPORTED);
    assert_non_null(strstr(error.message, "embedder.onnx"));
    assert_non_null(strstr(error.message, "no face detector"));
    /* The right outputs with the wrong shapes: seen when the graph is built. */
    error = (lk_error)LK_ERROR_INIT;
    lk_detector_outputs outputs[LK_FACE_LEVELS];
    assert_ok(lk_face_detector_open(&detector, FOLDER "one.onnx", "d", weights, &error), &error);
    detector.family = LK_DETECTOR_SCRFD;
    lk_graph *graph = lk_graph_create(weights, &error);
    lk_value x = lk_graph_input(graph, "picture", lk_shape4(1, 3, 32, 32), LK_F32);
    lk_face_detector_build(&detector, graph, x, outputs);
    assert_int_equal(lk_graph_status(graph, &error), LIKENESS_UNSUPPORTED);
    assert_non_null(strstr(error.message, "SCRFD"));
    lk_graph_destroy(graph);
    lk_weights_destroy(weights);
    lk_face_detector_close(&detector);
    assert_int_equal(lk_memory_live(), live);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(yunet_decodes_as_opencv),       cmocka_unit_test(yunet_finds_drawn_faces),
        cmocka_unit_test(scrfd_runs_and_decodes),        cmocka_unit_test(pictures_come_into_frames),
        cmocka_unit_test(large_and_central_faces_count), cmocka_unit_test(other_networks_are_refused),
    };
    return cmocka_run_group_tests_name("face detector", tests, setup, teardown);
}
