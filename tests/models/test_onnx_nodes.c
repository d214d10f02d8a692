/* tests/models/test_onnx_nodes.c - the onnx package's own cases of single operators (tests/reference/onnx_nodes.py):
 * results of the C reference against theirs, and every input gradient against central differences. The shaders are held
 * to the same reference by tests/op. */
#include "models/model_test.h"

#include "base/file.h"
#include "models/onnx_graph.h"

typedef struct node_case {
    lk_onnx_network network;
    lk_graph *graph;
    lk_value input[16], output[LK_ONNX_MAX_OUTPUTS], cotangent[LK_ONNX_MAX_OUTPUTS], gradient[16];
    double *values[32]; /* of the graph's inputs in order: pixels, then cotangents */
    int inputs, outputs;
} node_case;

/* The initializer NAME= that holds what input or output NAME is in the case. */
static const lk_onnx_tensor *known(const lk_onnx_model *file, const char *name) {
    char text[300];
    snprintf(text, sizeof text, "%s=", name);
    const lk_onnx_tensor *found = lk_onnx_initializer(file, text);
    if (!found || !found->f32) fail_msg("%s: no numbers for %s", file->nodes[0].op, name);
    return found;
}

static void open_case(node_case *c, const char *label, const uint8_t *data, size_t size) {
    lk_error error = LK_ERROR_INIT;
    memset(c, 0, sizeof *c);
    assert_ok(lk_onnx_parse(&c->network.file, label, data, size, &error), &error);
    c->network.file.file = c->network.file.nodes[0].name;
    c->network.weights = lk_weights_create(true);
    c->network.label = lk_strdup("net");
    c->graph = lk_graph_create(c->network.weights, &error);
    assert_non_null(c->graph);
}

/* What the case checks: "op: shapes". */
static bool build_case(node_case *c, lk_error *error) {
    const lk_onnx_model *file = &c->network.file;
    for (size_t i = 0; i < file->input_count; i++) {
        const lk_onnx_tensor *values = known(file, file->inputs[i].name);
        lk_shape shape = {.rank = values->rank};
        for (int k = 0; k < shape.rank; k++)
            shape.dim[k] = (int32_t)values->dims[k];
        c->values[c->inputs] = malloc(values->count * sizeof(double));
        for (size_t k = 0; k < values->count; k++)
            c->values[c->inputs][k] = (double)values->f32[k];
        c->input[c->inputs++] = lk_graph_input(c->graph, file->inputs[i].name, shape, LK_F32);
    }
    lk_onnx_network_build(&c->network, c->graph, c->input, c->output);
    if (lk_graph_status(c->graph, error) != LIKENESS_OK) return false;
    c->outputs = (int)file->output_count;
    uint32_t state = 1;
    for (int i = 0; i < c->outputs; i++) {
        lk_shape shape = lk_graph_shape(c->graph, c->output[i]);
        int64_t count = lk_shape_elements(&shape);
        double *v = c->values[c->inputs + i] = malloc((size_t)count * sizeof *v);
        for (int64_t k = 0; k < count; k++) {
            state = state * 1664525u + 1013904223u;
            v[k] = (double)(state >> 8) / (1 << 23) - 1;
        }
        c->cotangent[i] = lk_graph_input(c->graph, "cotangent", shape, LK_F32);
    }
    lk_graph_gradient(c->graph, c->output, c->cotangent, c->outputs, c->input, c->inputs, c->gradient);
    return lk_graph_status(c->graph, error) == LIKENESS_OK;
}

static void close_case(node_case *c) {
    lk_graph_destroy(c->graph);
    lk_weights_destroy(c->network.weights);
    lk_onnx_network_close(&c->network);
    for (size_t i = 0; i < sizeof c->values / sizeof *c->values; i++)
        free(c->values[i]);
}

static int64_t count_of(const node_case *c, lk_value value) {
    lk_shape shape = lk_graph_shape(c->graph, value);
    return lk_shape_elements(&shape);
}

static lk_reference_values *run(node_case *c) {
    lk_error error = LK_ERROR_INIT;
    lk_reference_values *values = lk_graph_run_reference(c->graph, (const double *const *)c->values, &error);
    if (!values) fail_msg("%s: %s", c->network.file.file, error.message);
    return values;
}

/* Sum of the outputs times their cotangents with every input moved by step along its direction. */
static double moved(node_case *c, double *const *direction, double step) {
    double sum = 0;
    for (int i = 0; i < c->inputs; i++)
        for (int64_t k = 0; k < count_of(c, c->input[i]); k++)
            c->values[i][k] += step * direction[i][k];
    lk_reference_values *values = run(c);
    for (int i = 0; i < c->outputs; i++)
        for (int64_t k = 0; k < count_of(c, c->output[i]); k++)
            sum += lk_reference_value(values, c->output[i])[k] * c->values[c->inputs + i][k];
    lk_reference_values_destroy(values);
    for (int i = 0; i < c->inputs; i++)
        for (int64_t k = 0; k < count_of(c, c->input[i]); k++)
            c->values[i][k] -= step * direction[i][k];
    return sum;
}

static bool check_outputs(node_case *c, const lk_reference_values *values, double *worst) {
    bool good = true;
    const lk_onnx_model *file = &c->network.file;
    for (int i = 0; i < c->outputs; i++) {
        const lk_onnx_tensor *truth = known(file, file->outputs[i].name);
        lk_shape shape = lk_graph_shape(c->graph, c->output[i]);
        bool same = shape.rank == truth->rank;
        for (int k = 0; same && k < shape.rank; k++)
            same = shape.dim[k] == truth->dims[k];
        char text[96];
        if (!same) {
            printf("%s: output %d is %s\n", file->file, i, lk_shape_text(&shape, text, sizeof text));
            return false;
        }
        double size = 0, off = 0;
        const double *found = lk_reference_value(values, c->output[i]);
        for (size_t k = 0; k < truth->count; k++) {
            double t = (double)truth->f32[k];
            if (isfinite(t)) size = fmax(size, fabs(t));
            off = isfinite(t) || isfinite(found[k]) ? fmax(off, fabs(found[k] - t)) : off;
        }
        double error = off / fmax(size, 1e-3);
        if (error <= 2e-5) {
            *worst = fmax(*worst, error);
        } else {
            printf("%s: output %d is off by %.3g of %.3g\n", file->file, i, off, size);
            good = false;
        }
    }
    return good;
}

typedef enum verdict { RIGHT, WRONG, KINK } verdict;

/* KINK where the differences say nothing. */
static verdict check_gradient(node_case *c, const lk_reference_values *values, double *worst) {
    double *direction[16], slope = 0, size = 0;
    uint32_t state = 7;
    for (int i = 0; i < c->inputs; i++) {
        int64_t count = count_of(c, c->input[i]);
        direction[i] = malloc((size_t)count * sizeof **direction);
        for (int64_t k = 0; k < count; k++) {
            state = state * 1664525u + 1013904223u;
            direction[i][k] = (double)(state >> 8) / (1 << 23) - 1;
            double part =
                c->gradient[i] == LK_NO_VALUE ? 0 : lk_reference_value(values, c->gradient[i])[k] * direction[i][k];
            slope += part;
            size += part * part;
        }
    }
    double wide = (moved(c, direction, 2e-5) - moved(c, direction, -2e-5)) / 4e-5;
    double narrow = (moved(c, direction, 1e-5) - moved(c, direction, -1e-5)) / 2e-5;
    double scale = fmax(sqrt(size), 1e-3);
    for (int i = 0; i < c->inputs; i++)
        free(direction[i]);
    if (!(fabs(wide - narrow) <= 1e-5 * scale)) return KINK;
    if (!(fabs(slope - narrow) <= 2e-5 * scale)) {
        printf("%s: slope %.6g, by differences %.6g\n", c->network.file.file, slope, narrow);
        return WRONG;
    }
    *worst = fmax(*worst, fabs(slope - narrow) / scale);
    return RIGHT;
}

/* Every operator that is listed has a case here and a place in docs/models.md. */
static void check_list(const bool *seen) {
    lk_error error = LK_ERROR_INIT;
    const char *limits, *name;
    uint8_t *data;
    size_t size;
    assert_ok(lk_file_read(LIKENESS_SOURCE_DIR "/docs/models.md", 1 << 20, &data, &size, &error), &error);
    for (size_t i = 0; (name = lk_onnx_operator(i, &limits)) != NULL; i++) {
        bool written = false;
        size_t length = strlen(name);
        for (size_t k = 1; k + length < size && !written; k++)
            written = memcmp(data + k, name, length) == 0 &&
                      !strchr("abcdefghijklmnopqrstuvwxyzL12", data[k + length]) && data[k - 1] == ' ';
        if (!written) fail_msg("%s is listed, and not in docs/models.md", name);
        if (!seen[i]) fail_msg("%s is listed, and no case has it", name);
    }
    lk_free(data);
}

static void test_nodes(void **state) {
    (void)state;
    bool seen[256] = {false};
    const char *limits;
    lk_error error = LK_ERROR_INIT;
    uint8_t *data;
    size_t size, at = 0;
    int cases = 0, kinks = 0, failed = 0;
    double worst = 0, worst_slope = 0;
    assert_ok(lk_file_read(LIKENESS_SOURCE_DIR "/tests/data/models/onnx_nodes.bin", 1 << 22, &data, &size, &error),
              &error);
    while (at + 4 <= size) {
        node_case c;
        char label[64];
        uint32_t length = (uint32_t)data[at] | (uint32_t)data[at + 1] << 8 | (uint32_t)data[at + 2] << 16;
        at += 4;
        assert_true(length <= size - at);
        snprintf(label, sizeof label, "case %d", cases);
        open_case(&c, label, data + at, length);
        at += length;
        cases++;
        for (size_t i = 0; lk_onnx_operator(i, &limits); i++)
            for (size_t n = 0; n < c.network.file.node_count; n++)
                if (strcmp(lk_onnx_operator(i, &limits), c.network.file.nodes[n].op) == 0) seen[i] = true;
        error = (lk_error)LK_ERROR_INIT;
        if (!build_case(&c, &error)) {
            printf("%s\n", error.message);
            failed++;
        } else {
            lk_reference_values *values = run(&c);
            verdict slope = check_gradient(&c, values, &worst_slope);
            failed += !check_outputs(&c, values, &worst) || slope == WRONG;
            kinks += slope == KINK;
            lk_reference_values_destroy(values);
        }
        close_case(&c);
    }
    lk_free(data);
    printf("%d cases: results within %.1e, gradients within %.1e of differences, %d at a kink\n", cases, worst,
           worst_slope, kinks);
    assert_int_equal(failed, 0);
    check_list(seen);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_nodes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
