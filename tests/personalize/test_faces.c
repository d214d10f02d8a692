/* tests/personalize/test_faces.c - alignment (P19 of the RectifID spec), who is who, and what happens when a face is
 * not found (P18, both behaviours). No device, no network. Fixture: tests/reference/faces.py. */
#include "support/fixture.h"

#include "graph/build.h"
#include "io/resize.h"
#include "io/safetensors.h"
#include "personalize/assignment.h"
#include "personalize/face_align.h"
#include "personalize/face_policy.h"
#include "personalize/photograph.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static float *fixture(const char *name, size_t count) {
    return fixture_values(LIKENESS_SOURCE_DIR "/tests/data/models/faces/case.safetensors", name, count);
}

static void apply(const double theta[6], double x, double y, double at[2]) {
    at[0] = theta[0] * x + theta[1] * y + theta[2];
    at[1] = theta[3] * x + theta[4] * y + theta[5];
}

/* ---- alignment ---- */

/* P19: the template four times as large and moved comes back with scale 1/4 and the shift. */
static void recovers_scale_and_shift(void **state) {
    (void)state;
    double wanted[LK_FACE_POINTS][2], theta[6];
    lk_face face = {.has_points = true};
    lk_face_template(112, wanted);
    assert_true(wanted[2][0] == 56.0252 && wanted[4][1] == 92.2041);
    for (int i = 0; i < LK_FACE_POINTS; i++) {
        face.points[i][0] = 4 * wanted[i][0] + 31;
        face.points[i][1] = 4 * wanted[i][1] - 17;
    }
    lk_similarity m;
    assert_true(lk_similarity_fit(face.points, wanted, LK_FACE_POINTS, &m));
    assert_true(fabs(m.a - 0.25) < 1e-5 && fabs(m.b) < 1e-5);
    assert_true(fabs(m.tx + 31.0 / 4) < 1e-5 && fabs(m.ty - 17.0 / 4) < 1e-5);
    assert_true(lk_face_theta(&face, 112, theta));
    const double inverse[6] = {4, 0, 31, 0, 4, -17};
    for (int i = 0; i < 6; i++)
        assert_true(fabs(theta[i] - inverse[i]) < 1e-4);
}

/* Random points, a mirrored face among them: singular values say the same, and no neighbour does better. */
static void fits_like_singular_values(void **state) {
    (void)state;
    enum { SETS = 24 };
    float *points = fixture("align.points", SETS * 10), *matrices = fixture("align.matrices", SETS * 6);
    double wanted[LK_FACE_POINTS][2];
    lk_face_template(112, wanted);
    for (int s = 0; s < SETS; s++) {
        double from[LK_FACE_POINTS][2];
        lk_similarity m;
        for (int i = 0; i < 10; i++)
            from[i / 2][i % 2] = (double)points[10 * s + i];
        assert_true(lk_similarity_fit(from, wanted, LK_FACE_POINTS, &m));
        const double row[6] = {m.a, -m.b, m.tx, m.b, m.a, m.ty};
        for (int i = 0; i < 6; i++) {
            double truth = (double)matrices[6 * s + i];
            if (fabs(row[i] - truth) > 1e-5 * fmax(1, fabs(truth)))
                fail_msg("set %d, entry %d: %.8g, expected %.8g", s, i, row[i], truth);
        }
        double best = INFINITY;
        for (int tried = 0; tried < 9; tried++) {
            lk_similarity near = m;
            double *const entry[4] = {&near.a, &near.b, &near.tx, &near.ty};
            if (tried > 0) *entry[(tried - 1) / 2] += (tried % 2 ? 1 : -1) * 1e-3;
            double sum = 0;
            for (int i = 0; i < LK_FACE_POINTS; i++) {
                double u = near.a * from[i][0] - near.b * from[i][1] + near.tx - wanted[i][0];
                double v = near.b * from[i][0] + near.a * from[i][1] + near.ty - wanted[i][1];
                sum += u * u + v * v;
            }
            if (tried == 0)
                best = sum;
            else
                assert_true(sum > best);
        }
    }
    free(points);
    free(matrices);
}

static void refuses_what_is_no_face(void **state) {
    (void)state;
    double theta[6];
    lk_face face = {.has_points = true};
    assert_false(lk_face_theta(&face, 112, theta)); /* all points in one place */
    lk_face_template(112, face.points);
    assert_true(lk_face_theta(&face, 112, theta));
    face.points[3][1] = NAN;
    assert_false(lk_face_theta(&face, 112, theta));
    lk_face_template(112, face.points);
    face.has_points = false;
    assert_false(lk_face_theta(&face, 112, theta));
}

/* Crops of another size show the same part of the picture. */
static void other_sizes_agree(void **state) {
    (void)state;
    lk_face face = {.has_points = true};
    double small[6], large[6], fine[6], a[2], b[2];
    lk_face_template(112, face.points);
    for (int i = 0; i < LK_FACE_POINTS; i++)
        face.points[i][0] = 1.7 * face.points[i][0] + 0.2 * face.points[i][1] + i, face.points[i][1] *= 1.6;
    assert_true(lk_face_theta(&face, 112, small) && lk_face_theta(&face, 224, large));
    memcpy(fine, small, sizeof fine);
    lk_theta_refine(fine, 2);
    for (int i = 0; i < 6; i++)
        assert_true(fabs(fine[i] - large[i]) < 1e-9);
    apply(large, -0.5, 223.5, a); /* the lower left corner, not the centre of a pixel */
    apply(small, -0.5, 111.5, b);
    assert_true(fabs(a[0] - b[0]) < 1e-9 && fabs(a[1] - b[1]) < 1e-9);
    assert_int_equal(lk_theta_fineness(small), 2);
    lk_box_theta(10, 20, 10 + 112, 20 + 56, 112, small);
    apply(small, 0, 0, a);
    assert_true(a[0] == 10 && a[1] == 19.75);
    apply(small, 111.5, 111.5, a);
    assert_true(a[0] == 121.5 && a[1] == 75.5);
    assert_int_equal(lk_theta_fineness(small), 1);
}

/* ---- crops ---- */

static lk_image read_sheet(void) {
    lk_error error = LK_ERROR_INIT;
    lk_image image;
    if (lk_image_read(&image, LIKENESS_SOURCE_DIR "/tests/data/pictures/faces.png", &error) != LIKENESS_OK)
        fail_msg("%s", error.message);
    return image;
}

/* The op of the guided path, run by the C reference, and its input for a picture. */
static double *warp(const double *planes, int height, int width, const double theta[6], int side) {
    lk_error error = LK_ERROR_INIT;
    lk_graph *graph = lk_graph_create(NULL, &error);
    lk_value x = lk_graph_input(graph, "x", lk_shape4(1, 3, height, width), LK_F32);
    lk_value t = lk_graph_input(graph, "theta", lk_shape3(1, 2, 3), LK_F32);
    lk_value y = lk_affine_warp(graph, x, t, side, side);
    lk_graph_output(graph, y, "y");
    const double *inputs[2] = {planes, theta};
    lk_reference_values *run = lk_graph_run_reference(graph, inputs, &error);
    if (!run) fail_msg("%s", error.message);
    double *out = malloc((size_t)(3 * side * side) * sizeof *out);
    memcpy(out, lk_reference_value(run, y), (size_t)(3 * side * side) * sizeof *out);
    lk_reference_values_destroy(run);
    lk_graph_destroy(graph);
    return out;
}

/* P19: a linear ramp stays one, exactly, wherever the crop lies inside the picture. */
static void warp_of_a_ramp_is_exact(void **state) {
    (void)state;
    enum { H = 130, W = 150, SIDE = 56 };
    double *planes = malloc(3 * H * W * sizeof *planes);
    lk_image image = {W, H, malloc(3 * H * W)};
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++)
            for (int c = 0; c < 3; c++) {
                int value = c == 0 ? x : c == 1 ? y : (x + y) / 2; /* the third is no ramp on 8 bits: not compared */
                planes[(c * H + y) * W + x] = value / 255.0;
                image.rgb[(y * W + x) * 3 + c] = (uint8_t)value;
            }
    lk_face face = {.has_points = true};
    lk_face_template(112, face.points);
    double theta[6], at[2];
    for (int i = 0; i < LK_FACE_POINTS; i++) { /* turned and moved, well inside */
        double x = face.points[i][0], y = face.points[i][1];
        face.points[i][0] = 0.9 * x - 0.25 * y + 38;
        face.points[i][1] = 0.25 * x + 0.9 * y + 1;
    }
    assert_true(lk_face_theta(&face, SIDE, theta));
    double *op = warp(planes, H, W, theta, SIDE);
    for (int fine = 1; fine <= 3; fine++) {
        float *crop = malloc(3 * SIDE * SIDE * sizeof *crop);
        lk_crop_picture(&image, theta, SIDE, fine, crop);
        for (int y = 0; y < SIDE; y++)
            for (int x = 0; x < SIDE; x++) {
                apply(theta, x, y, at);
                assert_true(at[0] > 0 && at[0] < W - 1 && at[1] > 0 && at[1] < H - 1);
                for (int c = 0; c < 2; c++) {
                    int i = (c * SIDE + y) * SIDE + x;
                    assert_true(fabs(op[i] - at[c] / 255) < 1e-12);
                    assert_true(fabs((double)crop[i] - at[c] / 255) < 1e-6);
                }
            }
        free(crop);
    }
    free(op);
    free(planes);
    free(image.rgb);
}

/* The CPU's crop, the op's and PyTorch's grid_sample, of faces that OpenCV found; parts lie outside the picture. */
static void crops_like_pytorch(void **state) {
    (void)state;
    lk_image image = read_sheet();
    float *points = fixture("align.points", 24 * 10), *truth = fixture("align.crops", 3 * 3 * 14 * 14);
    float *planes = malloc(3 * 340 * 150 * sizeof *planes), *crop = malloc(3 * 112 * 112 * sizeof *crop);
    double *exact = malloc(3 * 340 * 150 * sizeof *exact), outside = 0;
    lk_image_to_planes(&image, planes);
    for (int i = 0; i < 3 * 340 * 150; i++)
        exact[i] = (double)planes[i];
    for (int f = 0; f < 3; f++) {
        lk_face face = {.has_points = true};
        double theta[6];
        for (int i = 0; i < 10; i++)
            face.points[i / 2][i % 2] = (double)points[10 * f + i];
        assert_true(lk_face_theta(&face, 112, theta));
        lk_crop_picture(&image, theta, 112, 1, crop);
        double *op = warp(exact, 150, 340, theta, 112);
        for (int c = 0; c < 3; c++)
            for (int y = 0; y < 112; y += 8)
                for (int x = 0; x < 112; x += 8) {
                    double wanted = (double)truth[((f * 3 + c) * 14 + y / 8) * 14 + x / 8];
                    int i = (c * 112 + y) * 112 + x;
                    assert_true(fabs((double)crop[i] - wanted) < 2e-5);
                    assert_true(fabs(op[i] - wanted) < 2e-5);
                    outside += wanted == 0;
                }
        free(op);
    }
    assert_true(outside > 0);
    free(points);
    free(truth);
    free(planes);
    free(crop);
    free(exact);
    lk_image_free(&image);
}

/* ---- who is who ---- */

static uint64_t random_state = 17;

static double random_unit(void) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (double)(random_state >> 11) / 9007199254740992.0;
}

/* Every way to pair, by recursion. */
static double best_by_trying(const double *gain, int rows, int columns, int row, unsigned taken, int left) {
    if (left == 0) return 0;
    if (row == rows) return -INFINITY;
    double best = best_by_trying(gain, rows, columns, row + 1, taken, left);
    for (int c = 0; c < columns; c++)
        if (!(taken >> c & 1))
            best = fmax(best, gain[row * columns + c] +
                                  best_by_trying(gain, rows, columns, row + 1, taken | 1u << c, left - 1));
    return best;
}

static void assigns_like_trying_all(void **state) {
    (void)state;
    for (int round = 0; round < 300; round++) {
        int rows = 1 + round % 6, columns = 1 + round / 6 % 6, column[LK_ASSIGN_MOST], pairs = 0;
        double gain[36], sum = 0;
        for (int i = 0; i < rows * columns; i++) /* also many equal ones */
            gain[i] = round % 3 ? 2 * random_unit() - 1 : floor(4 * random_unit());
        lk_assign(gain, rows, columns, column);
        unsigned taken = 0;
        for (int r = 0; r < rows; r++) {
            assert_true(column[r] >= -1 && column[r] < columns);
            if (column[r] < 0) continue;
            assert_false(taken >> column[r] & 1);
            taken |= 1u << column[r];
            sum += gain[r * columns + column[r]];
            pairs++;
        }
        int wanted = rows < columns ? rows : columns;
        assert_int_equal(pairs, wanted);
        double best = best_by_trying(gain, rows, columns, 0, 0, wanted);
        if (fabs(sum - best) > 1e-12) fail_msg("%d x %d: %.17g, the best is %.17g", rows, columns, sum, best);
    }
    /* Greedy would take 0.9 and be left with -1. */
    const double trap[4] = {0.9, 0.8, 0.7, -1};
    int column[2];
    lk_assign(trap, 2, 2, column);
    assert_true(column[0] == 1 && column[1] == 0);
}

/* P20: references in another order are paired with the same faces. */
static void order_does_not_matter(void **state) {
    (void)state;
    for (int round = 0; round < 50; round++) {
        double gain[16], other[16];
        int column[4], swapped[4], order[4] = {2, 0, 3, 1};
        for (int i = 0; i < 16; i++)
            gain[i] = 2 * random_unit() - 1;
        for (int r = 0; r < 4; r++)
            memcpy(other + 4 * r, gain + 4 * order[r], 4 * sizeof *gain);
        lk_assign(gain, 4, 4, column);
        lk_assign(other, 4, 4, swapped);
        for (int r = 0; r < 4; r++)
            assert_int_equal(swapped[r], column[order[r]]);
    }
}

/* ---- no face: our behaviour ---- */

static lk_face at(double x, double y) {
    return (lk_face){.left = x, .top = y, .right = x + 20, .bottom = y + 24, .score = 0.8, .has_points = true};
}

static void one_face_comes_and_goes(void **state) {
    (void)state;
    lk_face_policy p;
    lk_face_policy_start(&p, 1);
    for (int i = 1; i <= 5; i++) { /* never seen: no step */
        lk_face_policy_step(&p, NULL, 0);
        assert_false(p.slot[0].step || p.slot[0].known);
        assert_int_equal(p.none, i);
    }
    lk_face face = at(50, 60), moved = at(90, 10);
    lk_face_policy_step(&p, &face, 1);
    assert_true(p.slot[0].step && p.slot[0].found && p.none == 0);
    for (int i = 1; i <= 10; i++) { /* three steps with the last box, then none; ten in a row are the end */
        assert_false(lk_face_policy_over(&p));
        lk_face_policy_step(&p, NULL, 0);
        assert_int_equal(p.slot[0].step, i <= 3);
        assert_false(p.slot[0].found);
        assert_true(p.slot[0].face.left == 50);
    }
    assert_true(lk_face_policy_over(&p));
    lk_face_policy_step(&p, &moved, 1); /* back again, wherever */
    assert_true(p.slot[0].step && p.slot[0].face.left == 90 && !lk_face_policy_over(&p));
    lk_face_policy_step(&p, NULL, 0);
    assert_true(p.slot[0].step); /* three anew */
}

static void two_faces_keep_their_slots(void **state) {
    (void)state;
    lk_face_policy p;
    lk_face_policy_start(&p, 2);
    lk_face left = at(10, 30), right = at(70, 30), both[2] = {left, right}, turned[2] = {at(69, 31), at(12, 30)};
    lk_face_policy_step(&p, &left, 1);
    assert_true(p.slot[0].step && !p.slot[1].step);
    lk_face_policy_step(&p, &right, 1); /* far from the first: a new one, the first is held */
    assert_true(p.slot[1].found && p.slot[1].face.left == 70 && p.slot[0].step && !p.slot[0].found);
    lk_face_policy_step(&p, both, 2);
    assert_true(p.slot[0].found && p.slot[0].face.left == 10 && p.slot[1].face.left == 70);
    lk_face_policy_step(&p, turned, 2); /* the detector's order does not matter */
    assert_true(p.slot[0].face.left == 12 && p.slot[1].face.left == 69);
    for (int i = 1; i <= 12; i++) { /* the missing one stops, the other goes on, and so does the run */
        lk_face_policy_step(&p, &right, 1);
        assert_true(p.slot[1].found && p.slot[1].step);
        assert_int_equal(p.slot[0].step, i <= 3);
        assert_false(lk_face_policy_over(&p));
    }
}

/* ---- P18, the published behaviour: a detector whose scores are known ---- */

typedef struct looks {
    const double *scores;
    int faces, calls;
    double thresholds[16];
    bool broken;
} looks;

static likeness_status look(void *user, double threshold, lk_face faces[LK_FACES_MOST], int *count, lk_error *error) {
    looks *l = user;
    assert_true(l->calls < 16);
    l->thresholds[l->calls++] = threshold;
    if (l->broken) return lk_fail(error, LIKENESS_NON_FINITE, "not a number");
    *count = 0;
    for (int i = 0; i < l->faces; i++)
        if (l->scores[i] >= threshold) faces[(*count)++] = at(30 * i, 0);
    return LIKENESS_OK;
}

static void lowers_the_threshold_when_told(void **state) {
    (void)state;
    lk_error error = LK_ERROR_INIT;
    lk_face faces[LK_FACES_MOST];
    int count;
    const double weak[2] = {0.62, 0.17}, nothing[1] = {-1}, blank[1] = {0};
    looks l = {.scores = weak, .faces = 2};
    for (int round = 0; round < 2; round++) { /* the second search begins at the top again */
        l.calls = 0;
        assert_int_equal(lk_faces_search(look, &l, 0.5, true, 2, faces, &count, &error), LIKENESS_OK);
        assert_int_equal(count, 2);
        assert_int_equal(l.calls, 5);
        for (int i = 0; i < 5; i++)
            assert_true(fabs(l.thresholds[i] - (0.5 - 0.1 * i)) < 1e-12);
    }
    l.calls = 0; /* two faces at once where both are clear */
    assert_int_equal(lk_faces_search(look, &l, 0.1, true, 2, faces, &count, &error), LIKENESS_OK);
    assert_true(count == 2 && l.calls == 1);
    looks empty = {.scores = nothing, .faces = 1}; /* nothing at all: an end within seven looks */
    assert_int_equal(lk_faces_search(look, &empty, 0.5, true, 1, faces, &count, &error), LIKENESS_OK);
    assert_true(count == 0 && empty.calls <= 7 && empty.calls >= 6);
    looks all = {.scores = blank, .faces = 1}; /* a blank picture: at a threshold of 0 every cell is a face */
    assert_int_equal(lk_faces_search(look, &all, 0.5, true, 1, faces, &count, &error), LIKENESS_OK);
    assert_true(count == 1 && all.calls <= 7);
    looks broken = {.broken = true};
    assert_int_equal(lk_faces_search(look, &broken, 0.5, true, 1, faces, &count, &error), LIKENESS_NON_FINITE);
    assert_int_equal(broken.calls, 1);
}

static void our_default_looks_once(void **state) {
    (void)state;
    lk_error error = LK_ERROR_INIT;
    lk_face faces[LK_FACES_MOST];
    int count;
    const double weak[2] = {0.62, 0.17};
    looks l = {.scores = weak, .faces = 2};
    assert_int_equal(lk_faces_search(look, &l, 0.5, false, 2, faces, &count, &error), LIKENESS_OK);
    assert_true(count == 1 && l.calls == 1);
    looks none = {.scores = weak};
    assert_int_equal(lk_faces_search(look, &none, 0.5, false, 1, faces, &count, &error), LIKENESS_OK);
    assert_true(count == 0 && none.calls == 1);
}

/* ---- photographs ---- */

static double share_of(int side, int kind) {
    lk_image image = {(uint32_t)side, (uint32_t)side, calloc((size_t)side * (size_t)side, 3)};
    for (int y = 0; y < side; y++)
        for (int x = 0; x < side; x++)
            for (int c = 0; c < 3; c++) {
                bool disk = (x - side / 2) * (x - side / 2) + (y - side / 2) * (y - side / 2) < side * side / 9;
                double shading = 90 + 60 * sin(0.021 * x + c) + 50 * cos(0.017 * y) + 5 * random_unit();
                double flat = disk ? 200 - 40 * c : 30 + 50 * c;
                double value = kind == 0 || (kind == 2 && disk) ? shading : kind == 2 ? 255 : flat;
                image.rgb[(y * side + x) * 3 + c] = (uint8_t)fmin(fmax(value, 0), 255);
            }
    double share = lk_shaded_share(&image);
    assert_int_equal(lk_looks_like_photograph(&image), side >= 32 && share > 0.2);
    free(image.rgb);
    return share;
}

/* Noise and shading; flat colours; a shaded disk cut out on white, as heads are. */
static void photographs_are_told_from_drawings(void **state) {
    (void)state;
    assert_true(share_of(200, 0) > 0.9);
    assert_true(share_of(200, 1) < 0.05);
    assert_true(share_of(200, 2) > 0.2 && share_of(200, 2) < 0.6);
    assert_true(share_of(24, 0) > 0.9); /* too small to show anybody */
    assert_true(share_of(9, 0) == 0);
    static const char *const samples[] = {"adventurer", "avataaars", "lorelei", "micah", "openPeeps", "personas"};
    for (int i = 0; i < 6; i++) {
        lk_error error = LK_ERROR_INIT;
        lk_image image;
        char path[512];
        snprintf(path, sizeof path, "%s/assets/samples/%s.png", LIKENESS_SOURCE_DIR, samples[i]);
        assert_int_equal(lk_image_read(&image, path, &error), LIKENESS_OK);
        assert_true(lk_shaded_share(&image) < 0.1);
        lk_image_free(&image);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recovers_scale_and_shift),
        cmocka_unit_test(fits_like_singular_values),
        cmocka_unit_test(refuses_what_is_no_face),
        cmocka_unit_test(other_sizes_agree),
        cmocka_unit_test(warp_of_a_ramp_is_exact),
        cmocka_unit_test(crops_like_pytorch),
        cmocka_unit_test(assigns_like_trying_all),
        cmocka_unit_test(order_does_not_matter),
        cmocka_unit_test(one_face_comes_and_goes),
        cmocka_unit_test(two_faces_keep_their_slots),
        cmocka_unit_test(lowers_the_threshold_when_told),
        cmocka_unit_test(our_default_looks_once),
        cmocka_unit_test(photographs_are_told_from_drawings),
    };
    return cmocka_run_group_tests_name("faces", tests, NULL, NULL);
}
