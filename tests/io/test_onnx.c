/* The ONNX reader on files that the onnx package wrote (tests/reference/onnx_files.py), on damaged ones, on YuNet. */
#include "io/io_test.h"

#include "io/onnx.h"

#define FILES LIKENESS_SOURCE_DIR "/tests/data/onnx/"
#define YUNET LIKENESS_SOURCE_DIR "/../shared/models/face_detection_yunet_2026may.onnx"

static void reals(const lk_onnx_model *model, const char *name, float first, float second) {
    const lk_onnx_tensor *tensor = lk_onnx_initializer(model, name);
    if (!tensor || tensor->rank != 1 || tensor->count != 2 || !tensor->f32 || tensor->f32[0] != first ||
        tensor->f32[1] != second)
        fail_msg("initializer %s", name);
}

static void integers(const lk_onnx_model *model, const char *name, int64_t first, int64_t second) {
    const lk_onnx_tensor *tensor = lk_onnx_initializer(model, name);
    if (!tensor || tensor->count != 2 || !tensor->i64 || tensor->i64[0] != first || tensor->i64[1] != second)
        fail_msg("initializer %s", name);
}

static void good_file(void **state) {
    (void)state;
    lk_onnx_model model;
    lk_error error = LK_ERROR_INIT;
    assert_ok(lk_onnx_read(&model, FILES "good.onnx", &error), &error);
    assert_int_equal(model.opset, 17);
    assert_int_equal(model.ir_version, 8);
    assert_string_equal(lk_onnx_metadata(&model, "likeness.size"), "128");
    assert_string_equal(lk_onnx_metadata(&model, "note"), "größe");
    assert_null(lk_onnx_metadata(&model, "x"));
    assert_int_equal(model.initializer_count, 20);
    reals(&model, "raw_float32", 1.5f, -2);
    reals(&model, "raw_float16", 0.5f, -3);
    reals(&model, "raw_float64", 0.1f, 1e30f);
    reals(&model, "list_FLOAT", 1.5f, -2);
    reals(&model, "list_FLOAT16", 0.5f, -3);
    reals(&model, "list_BFLOAT16", 1, -2);
    reals(&model, "list_DOUBLE", 0.25f, 4);
    integers(&model, "raw_int64", -7, INT64_C(1) << 40);
    integers(&model, "raw_int32", -7, 7);
    integers(&model, "raw_int16", -300, 300);
    integers(&model, "raw_int8", -1, 127);
    integers(&model, "raw_uint8", 0, 255);
    integers(&model, "raw_uint16", 0, 65535);
    integers(&model, "raw_uint32", 1, INT64_C(4294967295));
    integers(&model, "raw_bool", 1, 0);
    integers(&model, "list_INT64", -7, INT64_C(1) << 40);
    integers(&model, "list_INT32", -7, 7);
    integers(&model, "list_INT8", -1, 127);
    integers(&model, "list_BOOL", 1, 0);
    const lk_onnx_tensor *scalar = lk_onnx_initializer(&model, "scalar");
    assert_true(scalar->rank == 0 && scalar->count == 1 && scalar->f32[0] == 2.5f);
    assert_int_equal(model.input_count, 1); /* "scalar" is listed as an input too, but has a value */
    assert_string_equal(model.inputs[0].name, "x");
    assert_int_equal(model.inputs[0].rank, 3);
    assert_int_equal(model.inputs[0].dims[0], -1);
    assert_string_equal(model.inputs[0].names[0], "N");
    assert_int_equal(model.inputs[0].dims[2], 4);
    assert_int_equal(model.outputs[0].rank, -1);

    const lk_onnx_node *node = &model.nodes[0];
    assert_string_equal(node->domain, "other");
    assert_int_equal(node->input_count, 3);
    assert_string_equal(node->inputs[1], "");
    int64_t i;
    float f;
    const char *s;
    const int64_t *ints;
    size_t count;
    assert_ok(lk_onnx_int(&model, node, "i", 0, &i, &error), &error);
    assert_int_equal(i, -5);
    assert_ok(lk_onnx_int(&model, node, "absent", 9, &i, &error), &error);
    assert_int_equal(i, 9);
    assert_ok(lk_onnx_float(&model, node, "f", 0, &f, &error), &error);
    assert_true(f == 0.5f);
    assert_ok(lk_onnx_string(&model, node, "s", "", &s, &error), &error);
    assert_string_equal(s, "text");
    assert_ok(lk_onnx_ints(&model, node, "ints", &ints, &count, &error), &error);
    assert_true(count == 3 && ints[0] == 1 && ints[1] == -2 && ints[2] == 3);
    const lk_onnx_attribute *floats = lk_onnx_find(node, "floats"), *strings = lk_onnx_find(node, "strings");
    assert_true(floats->count == 2 && floats->floats[1] == 2);
    assert_true(strings->count == 2 && strcmp(strings->strings[1], "ü") == 0);
    assert_fails(lk_onnx_unused(&model, node, &error), &error, LIKENESS_UNSUPPORTED, "'t' of node 'first' (Custom)");
    error = (lk_error)LK_ERROR_INIT;
    const lk_onnx_tensor *inner = lk_onnx_find(node, "t")->tensor;
    assert_true(inner->rank == 2 && inner->dims[1] == 3 && inner->i64[5] == 5);
    assert_ok(lk_onnx_unused(&model, node, &error), &error);
    assert_fails(lk_onnx_int(&model, node, "s", 0, &i, &error), &error, LIKENESS_BAD_FILE, "is not a whole number");
    char label[64];
    lk_onnx_node_label(&model.nodes[1], label, sizeof label);
    assert_string_equal(label, "'y' (Add)");
    lk_onnx_free(&model);
}

static void refused(void **state) {
    (void)state;
    static const struct {
        const char *path;
        likeness_status status;
        const char *words;
    } rows[] = {{FILES "graph_attribute.onnx", LIKENESS_UNSUPPORTED, "node 'choice' (If) holds a graph"},
                {FILES "backwards.onnx", LIKENESS_BAD_FILE, "node 'late' (Relu) reads 't'"},
                {FILES "twice.onnx", LIKENESS_BAD_FILE, "'y' is made twice"},
                {FILES "no_output.onnx", LIKENESS_BAD_FILE, "no node makes the output 'y'"},
                {FILES "external.onnx", LIKENESS_UNSUPPORTED, "'w' lie in another file"},
                {FILES "short.onnx", LIKENESS_BAD_FILE, "'w' has 5 float elements by its dims but data for 4"},
                {FILES "huge.onnx", LIKENESS_BAD_FILE, "of tensor 'w' is 4294967296"},
                {FILES "strings.onnx", LIKENESS_UNSUPPORTED, "'w' has elements of the unsupported type 8"},
                {FILES "none.onnx", LIKENESS_IO, "none.onnx"},
                {FILES, LIKENESS_IO, "folder"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        lk_onnx_model model;
        lk_error error = LK_ERROR_INIT;
        int64_t live = lk_memory_live();
        assert_fails(lk_onnx_read(&model, rows[i].path, &error), &error, rows[i].status, rows[i].words);
        assert_int_equal(lk_memory_live(), live);
    }
    /* Two million empty nodes in 4 MB: refused instead of 300 MB of structs. */
    size_t size = 1 << 22;
    uint8_t *bomb = malloc(size);
    bomb[0] = 7 << 3 | 2; /* graph, of size - 5 bytes */
    for (int i = 0; i < 4; i++)
        bomb[1 + i] = (uint8_t)((size - 5) >> (7 * i) & 127) | (i < 3 ? 128 : 0);
    for (size_t i = 5; i + 1 < size; i += 2) {
        bomb[i] = 1 << 3 | 2;
        bomb[i + 1] = 0;
    }
    bomb[size - 1] = 0;
    size--;
    bomb[1] = (uint8_t)(((size - 5) & 127) | 128);
    lk_onnx_model model;
    lk_error error = LK_ERROR_INIT;
    assert_fails(lk_onnx_parse(&model, "bomb", bomb, size, &error), &error, LIKENESS_BAD_FILE, "far more memory");
    error = (lk_error)LK_ERROR_INIT;
    assert_fails(lk_onnx_parse(&model, "empty", bomb, 0, &error), &error, LIKENESS_BAD_FILE, "empty");
    error = (lk_error)LK_ERROR_INIT;
    assert_fails(lk_onnx_parse(&model, "text", (const uint8_t *)"hello world", 11, &error), &error, LIKENESS_BAD_FILE,
                 "not an ONNX model");
    free(bomb);
}

/* Every beginning of a file is either refused or (where only trailing fields are lost) read; nothing leaks. */
static void cut_files(void **state) {
    (void)state;
    uint8_t *data;
    size_t size, read = 0;
    lk_error error = LK_ERROR_INIT;
    assert_ok(lk_file_read(FILES "good.onnx", 1 << 20, &data, &size, &error), &error);
    for (size_t cut = 0; cut < size; cut++) {
        uint8_t *part = malloc(cut ? cut : 1);
        memcpy(part, data, cut);
        lk_onnx_model model;
        int64_t live = lk_memory_live();
        error = (lk_error)LK_ERROR_INIT;
        if (lk_onnx_parse(&model, "cut", part, cut, &error) == LIKENESS_OK) {
            read++;
            lk_onnx_free(&model);
        } else {
            assert_int_equal(error.status, LIKENESS_BAD_FILE);
        }
        assert_int_equal(lk_memory_live(), live);
        free(part);
    }
    assert_true(read < 4); /* after the graph come only the operator sets and the metadata */
    lk_free(data);
}

static void real_file(void **state) {
    (void)state;
    if (access(YUNET, R_OK) != 0) {
        print_message("skipped: no face_detection_yunet_2026may.onnx beside the repository\n");
        skip();
    }
    lk_onnx_model model;
    lk_error error = LK_ERROR_INIT;
    assert_ok(lk_onnx_read(&model, YUNET, &error), &error);
    assert_int_equal(model.opset, 11);
    assert_int_equal(model.node_count, 106);
    assert_int_equal(model.initializer_count, 112);
    assert_int_equal(model.input_count, 1);
    assert_int_equal(model.output_count, 12);
    size_t convolutions = 0;
    for (size_t i = 0; i < model.node_count; i++)
        if (strcmp(model.nodes[i].op, "Conv") == 0) {
            const lk_onnx_tensor *weight = lk_onnx_initializer(&model, model.nodes[i].inputs[1]);
            assert_non_null(weight);
            assert_true(weight->rank == 4 && weight->f32 != NULL);
            convolutions++;
        }
    assert_int_equal(convolutions, 53);
    lk_onnx_free(&model);
}

static likeness_status attempt(void *context, lk_error *error) {
    lk_onnx_model model;
    LK_TRY(lk_onnx_read(&model, context, error));
    lk_onnx_free(&model);
    return LIKENESS_OK;
}

static void allocations(void **state) {
    (void)state;
    assert_true(fail_every_allocation(attempt, FILES "good.onnx") > 100);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(good_file), cmocka_unit_test(refused),
                                       cmocka_unit_test(cut_files), cmocka_unit_test(real_file),
                                       cmocka_unit_test(allocations)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
