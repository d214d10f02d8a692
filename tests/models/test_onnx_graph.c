/* tests/models/test_onnx_graph.c - ONNX files as graphs: outputs and input gradients against onnxruntime and PyTorch
 * (fixtures: tests/reference/onnx_networks.py), YuNet, preprocessing, refusals. */
#include "models/network_cases.h"

#include "base/file.h"

#include <unistd.h>

static void run_network(const char *name, bool precise) {
    network_case n;
    network_open(&n, name, &(network_options){.precise = precise});
    /* A folded batch norm makes weights that are rounded to f16 anew; with f32 matrices folding costs nothing. */
    bool rounds = !precise && strcmp(name, "onnx_residual") == 0;
    case_check_reference(&n.c, rounds ? 2e-3 : 2e-6);
    case_check_device(&n.c, rounds ? 2e-3 : 1e-4);
    case_report(&n.c);
    network_close(&n);
}

static void test_networks(void **state) {
    (void)state;
    for (int precise = 0; precise < 2; precise++) {
        run_network("onnx_residual", precise);
        run_network("onnx_classic", precise);
        run_network("onnx_odd", precise);
    }
}

/* ---- preprocessing ---- */

static void test_preprocessing(void **state) {
    (void)state;
    lk_error error = LK_ERROR_INIT;
    model_case c;
    lk_onnx_network network;
    char path[600];
    case_begin(&c, "onnx_preprocessing", false);
    snprintf(path, sizeof path, "%s/network.onnx", c.folder);
    assert_ok(lk_onnx_network_open(&network, path, "net", c.weights, &error), &error);
    const lk_onnx_preprocessing *p = &network.preprocessing;
    assert_true(p->height == 9 && p->width == 12 && p->bgr && p->has_threshold && p->threshold == 0.37);
    case_graph(&c);
    lk_value picture = case_input(&c, "picture");
    case_output(&c, lk_onnx_embed(&network, c.graph, picture), "output_0", "cotangent_0");
    case_gradient(&c, &picture, (const char *const[]){"gradient"}, 1);
    case_check(&c);
    case_end(&c);
    lk_onnx_network_close(&network);
}

/* ---- classifiers ---- */

static void test_classifiers(void **state) {
    (void)state;
    static const char *const names[] = {"onnx_class_logits", "onnx_class_probabilities", "onnx_class_logarithms"};
    for (int i = 0; i < 3; i++) {
        lk_error error = LK_ERROR_INIT;
        model_case c;
        lk_onnx_network network;
        char path[600];
        case_begin(&c, names[i], true);
        snprintf(path, sizeof path, "%s/network.onnx", c.folder);
        assert_ok(lk_onnx_network_open(&network, path, "net", c.weights, &error), &error);
        case_graph(&c);
        lk_value picture = case_input(&c, "picture");
        case_output(&c, lk_onnx_log_probability(&network, c.graph, picture, 2), "output_0", "cotangent_0");
        case_gradient(&c, &picture, (const char *const[]){"gradient"}, 1);
        case_check(&c);
        lk_onnx_log_probability(&network, c.graph, picture, 5);
        assert_int_equal(lk_graph_status(c.graph, &error), LIKENESS_USAGE);
        assert_non_null(strstr(error.message, "no class 5"));
        case_end(&c);
        lk_onnx_network_close(&network);
    }
}

/* ---- refusals ---- */

static uint8_t *network_bytes(const char *name, size_t *size) {
    lk_error error = LK_ERROR_INIT;
    char path[600];
    uint8_t *data;
    snprintf(path, sizeof path, "%s/tests/data/models/%s/network.onnx", LIKENESS_SOURCE_DIR, name);
    assert_ok(lk_file_read(path, 1 << 20, &data, size, &error), &error);
    return data;
}

/* Parses and builds on a picture of this shape, with its gradient. */
static likeness_status build_bytes(const uint8_t *data, size_t size, lk_shape shape, lk_error *error) {
    lk_onnx_network network;
    lk_value outputs[LK_ONNX_MAX_OUTPUTS], cotangent, gradient;
    memset(&network, 0, sizeof network);
    LK_TRY(lk_onnx_parse(&network.file, "a file.onnx", data, size, error));
    network.weights = lk_weights_create(false);
    network.label = lk_strdup("net");
    lk_graph *graph = network.weights && network.label ? lk_graph_create(network.weights, error) : NULL;
    likeness_status status = graph ? LIKENESS_OK : lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory");
    if (graph && network.file.input_count == 1 && network.file.output_count > 0) {
        lk_value pixels = lk_graph_input(graph, "pixels", shape, LK_F32);
        lk_onnx_network_build(&network, graph, &pixels, outputs);
        status = lk_graph_status(graph, error);
        if (status == LIKENESS_OK) {
            cotangent = lk_graph_input(graph, "cotangent", lk_graph_shape(graph, outputs[0]), LK_F32);
            lk_graph_gradient(graph, outputs, &cotangent, 1, &pixels, 1, &gradient);
            status = lk_graph_status(graph, error);
        }
    }
    lk_graph_destroy(graph);
    lk_weights_destroy(network.weights);
    lk_onnx_network_close(&network);
    return status;
}

/* One fixture with every `from` replaced by `to`, as long. */
static void refuse(const char *from, const char *to, likeness_status wanted, const char *word, const char *other) {
    lk_error error = LK_ERROR_INIT;
    int64_t live = lk_memory_live();
    size_t size, length = strlen(from);
    uint8_t *data = network_bytes("onnx_classic", &size);
    bool found = false;
    assert_int_equal(length, strlen(to));
    for (size_t i = 0; i + length <= size; i++)
        if (memcmp(data + i, from, length) == 0) {
            memcpy(data + i, to, length);
            found = true;
        }
    if (!found) fail_msg("'%s' does not occur", from);
    likeness_status status = build_bytes(data, size, lk_shape4(2, 3, 21, 17), &error);
    if (status != wanted || !strstr(error.message, word) || !strstr(error.message, other))
        fail_msg("%s -> %s: status %d, message '%s'", from, to, (int)status, error.message);
    lk_free(data);
    assert_int_equal(lk_memory_live(), live);
}

static void test_refusals(void **state) {
    (void)state;
    const likeness_status no = LIKENESS_UNSUPPORTED;
    refuse("LeakyRelu", "LeakyElus", no, "LeakyElus", "a file.onnx");
    refuse("Tanh", "Sinh", no, "Sinh", "opset 11");
    refuse("dilations", "delations", no, "delations", "Conv");
    refuse("alpha", "alpho", no, "alpho", "LeakyRelu");
    refuse("auto_pad", "auto_pud", no, "auto_pud", "Conv");
}

/* Every allocation of parsing and building fails once: a message, no leak. */
static void test_memory(void **state) {
    (void)state;
    size_t size;
    uint8_t *data = network_bytes("onnx_classic", &size);
    int64_t live = lk_memory_live(), n = 0;
    for (;; n++) {
        lk_error error = LK_ERROR_INIT;
        lk_memory_fail_after(n);
        likeness_status status = build_bytes(data, size, lk_shape4(2, 3, 21, 17), &error);
        lk_memory_fail_after(-1);
        if (lk_memory_live() != live) fail_msg("allocation %lld leaked", (long long)n);
        if (status == LIKENESS_OK) break;
        if (status != LIKENESS_OUT_OF_MEMORY)
            fail_msg("allocation %lld: status %d, '%s'", (long long)n, (int)status, error.message);
    }
    assert_true(n > 50);
    lk_free(data);
}

/* ---- preprocessing that makes no sense ---- */

/* One entry of metadata_props (field 14 of the model) at the end of the file. */
static size_t add_metadata(uint8_t *data, size_t size, const char *key, const char *value) {
    size_t key_length = strlen(key), value_length = strlen(value), at = size;
    assert_true(key_length + value_length + 4 < 128);
    data[at++] = 14 << 3 | 2;
    data[at++] = (uint8_t)(key_length + value_length + 4);
    data[at++] = 1 << 3 | 2;
    data[at++] = (uint8_t)key_length;
    memcpy(data + at, key, key_length);
    at += key_length;
    data[at++] = 2 << 3 | 2;
    data[at++] = (uint8_t)value_length;
    memcpy(data + at, value, value_length);
    return at + value_length;
}

static void test_bad_preprocessing(void **state) {
    (void)state;
    static const char *const rows[][2] = {
        {"likeness.size", "0"},         {"likeness.size", "-1"},
        {"likeness.size", "abc"},       {"likeness.size", "16385"},
        {"likeness.size", "1e2"},       {"likeness.size", "128 128"},
        {"likeness.size", ""},          {"likeness.size", "99999999999999999999"},
        {"likeness.mean", "a"},         {"likeness.mean", "0.5,0.5"},
        {"likeness.mean", "1,2,3,4"},   {"likeness.mean", "nan"},
        {"likeness.mean", "1e300"},     {"likeness.mean", ""},
        {"likeness.std", "0"},          {"likeness.std", "0.2,-1,0.2"},
        {"likeness.std", "inf"},        {"likeness.std", "1e-45"},
        {"likeness.std", "0x"},         {"likeness.channels", "rgb"},
        {"likeness.channels", "RGBA"},  {"likeness.embedding", "none"},
        {"likeness.threshold", "1.5"},  {"likeness.threshold", "nan"},
        {"likeness.threshold", "0.5;"},
    };
    size_t size;
    uint8_t *file = network_bytes("onnx_residual", &size), *data = malloc(size + 256);
    uint8_t *own = memmem(file, size, "likeness.", 9);
    assert_non_null(own);
    memcpy(own, "somebody.", 9); /* its own entry, out of the way */
    char path[] = "/tmp/likeness_onnx_XXXXXX";
    int handle = mkstemp(path);
    assert_true(handle >= 0 && data);
    close(handle);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        lk_error error = LK_ERROR_INIT;
        lk_onnx_network network;
        memcpy(data, file, size);
        assert_ok(lk_file_write(path, data, add_metadata(data, size, rows[i][0], rows[i][1]), &error), &error);
        int64_t live = lk_memory_live();
        likeness_status status = lk_onnx_network_open(&network, path, "net", NULL, &error);
        if (status != LIKENESS_BAD_FILE || !strstr(error.message, rows[i][0]) || !strstr(error.message, path) ||
            strstr(error.message, "twice"))
            fail_msg("%s = '%s': status %d, '%s'", rows[i][0], rows[i][1], (int)status, error.message);
        assert_int_equal(lk_memory_live(), live);
    }
    lk_error error = LK_ERROR_INIT;
    lk_onnx_network network;
    memcpy(data, file, size);
    size_t once = add_metadata(data, size, "likeness.std", "0.5");
    assert_ok(lk_file_write(path, data, add_metadata(data, once, "likeness.std", "0.2"), &error), &error);
    assert_int_equal(lk_onnx_network_open(&network, path, "net", NULL, &error), LIKENESS_BAD_FILE);
    assert_non_null(strstr(error.message, "'likeness.std' stands twice"));
    error = (lk_error)LK_ERROR_INIT;
    assert_ok(lk_file_write(path, data, add_metadata(data, size, "likeness.stdev", "0.2"), &error), &error);
    assert_int_equal(lk_onnx_network_open(&network, path, "net", NULL, &error), LIKENESS_UNSUPPORTED);
    assert_non_null(strstr(error.message, "'likeness.stdev' is not known"));
    /* The same way with sense is read. */
    error = (lk_error)LK_ERROR_INIT;
    assert_ok(lk_file_write(path, data, add_metadata(data, size, "likeness.std", "0.25 0.5, 1"), &error), &error);
    assert_ok(lk_onnx_network_open(&network, path, "net", NULL, &error), &error);
    assert_true(network.preprocessing.std[0] == 0.25f && network.preprocessing.std[2] == 1);
    lk_onnx_network_close(&network);
    unlink(path);
    lk_free(file);
    free(data);
}

/* ---- YuNet: a real file, not ours to ship ---- */

static void test_yunet(void **state) {
    (void)state;
    lk_error error = LK_ERROR_INIT;
    model_case c;
    lk_onnx_network network;
    lk_value outputs[LK_ONNX_MAX_OUTPUTS], gradient;
    char path[600], text[64];
    snprintf(path, sizeof path, "%s/../shared/models/face_detection_yunet_2026may.onnx", LIKENESS_SOURCE_DIR);
    FILE *there = fopen(path, "rb");
    if (!there) {
        printf("skipped: ../shared/models/face_detection_yunet_2026may.onnx is not here\n");
        skip();
    }
    fclose(there);
    case_begin(&c, "onnx_yunet", true);
    assert_ok(lk_onnx_network_open(&network, path, "yunet", c.weights, &error), &error);
    case_graph(&c);
    lk_value pixels = case_input(&c, "pixels");
    lk_onnx_network_build(&network, c.graph, &pixels, outputs);
    assert_ok(lk_graph_status(c.graph, &error), &error);
    static char names[2][12][24];
    assert_int_equal(network.file.output_count, 12);
    for (int i = 0; i < 12; i++) {
        snprintf(names[0][i], sizeof names[0][i], "output_%d", i);
        snprintf(names[1][i], sizeof names[1][i], "cotangent_%d", i);
        case_output(&c, outputs[i], names[0][i], names[1][i]);
    }
    c.section = lk_graph_gradient(c.graph, outputs, c.cotangent, 12, &pixels, 1, &gradient);
    assert_ok(lk_graph_status(c.graph, &error), &error);
    lk_graph_output(c.graph, gradient, "gradient");
    /* onnxruntime's sigmoid is an approximation: PyTorch in double differs from it by 1.2e-4, too. */
    case_check_reference(&c, 3e-4);
    case_check_device(&c, 3e-4);
    case_report(&c);

    const double *inputs[2 * CASE_MOST];
    for (int i = 0; i < c.inputs; i++)
        inputs[i] = c.input[i].values;
    lk_reference_values *run = lk_graph_run_reference(c.graph, inputs, &error);
    assert_non_null(run);
    double *at = case_values(&c.file, "at", 200), *slopes = case_values(&c.file, "differences", 200), found[200];
    for (int i = 0; i < 200; i++)
        found[i] = lk_reference_value(run, gradient)[(int)at[i]];
    double distance = case_distance(found, slopes, 200);
    snprintf(text, sizeof text, "%.3g", distance);
    printf("onnx_yunet   gradient at 200 pixels against central differences: %s\n", text);
    assert_true(distance <= 0.03);
    lk_reference_values_destroy(run);
    free(at);
    free(slopes);
    case_end(&c);
    lk_onnx_network_close(&network);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_networks),    cmocka_unit_test(test_preprocessing),
                                       cmocka_unit_test(test_classifiers), cmocka_unit_test(test_refusals),
                                       cmocka_unit_test(test_memory),      cmocka_unit_test(test_bad_preprocessing),
                                       cmocka_unit_test(test_yunet)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (case_device()) lk_device_close(case_device());
    return failed;
}
