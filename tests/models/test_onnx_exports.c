/* tests/models/test_onnx_exports.c - known image networks as PyTorch's exporters write them: embedding or logits and
 * the input gradient against the PyTorch module in double (tests/reference/onnx_exports.py). Weights are made from
 * their index, here as there. */
#include "models/model_test.h"

#include "base/file.h"
#include "base/half.h"
#include "io/onnx.pb-c.h"
#include "models/onnx_graph.h"

/* Number `index` of the seed, as 16 bits. */
static uint16_t generated(uint64_t seed, uint64_t index, float step, float around) {
    uint32_t x = (uint32_t)(index * 2654435761u + seed * 2246822519u);
    x ^= x >> 16;
    x *= 0x85ebca6bu;
    x ^= x >> 13;
    x *= 0xc2b2ae35u;
    x ^= x >> 16;
    return lk_f32_to_f16(((float)(x >> 20) - 2048.0f) * step + around);
}

static const char *entry(const LkPb__TensorProto *t, const char *key) {
    for (size_t i = 0; i < t->n_external_data; i++)
        if (strcmp(t->external_data[i]->key, key) == 0) return t->external_data[i]->value;
    return "0";
}

/* The data of a tensor that says how they are made. */
static void fill(LkPb__TensorProto *t) {
    uint64_t seed = strtoull(entry(t, "seed"), NULL, 10), count = 1;
    float step = strtof(entry(t, "step"), NULL), around = strtof(entry(t, "around"), NULL);
    bool turned = entry(t, "turned")[0] == '1', half = t->data_type == 10;
    for (size_t i = 0; i < t->n_dims; i++)
        count *= (uint64_t)t->dims[i];
    size_t bytes = count * (half ? 2 : 4);
    uint8_t *data = malloc(bytes);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t index = i;
        if (turned) index = i % (uint64_t)t->dims[1] * (uint64_t)t->dims[0] + i / (uint64_t)t->dims[1];
        uint16_t bits = generated(seed, index, step, around);
        float wide = lk_f16_to_f32(bits);
        memcpy(data + i * (half ? 2 : 4), half ? (void *)&bits : (void *)&wide, half ? 2 : 4);
    }
    for (size_t i = 0; i < t->n_external_data; i++)
        protobuf_c_message_free_unpacked(&t->external_data[i]->base, NULL);
    free(t->external_data);
    t->external_data = NULL;
    t->n_external_data = 0;
    t->has_data_location = 0;
    t->has_raw_data = 1;
    t->raw_data.len = bytes;
    t->raw_data.data = data;
}

static uint8_t *filled_file(const char *path, size_t *size) {
    lk_error error = LK_ERROR_INIT;
    uint8_t *data;
    size_t packed;
    assert_ok(lk_file_read(path, 1 << 22, &data, &packed, &error), &error);
    LkPb__ModelProto *model = lk_pb__model_proto__unpack(NULL, packed, data);
    assert_non_null(model);
    lk_free(data);
    for (size_t i = 0; i < model->graph->n_initializer; i++)
        if (model->graph->initializer[i]->data_location == 1) fill(model->graph->initializer[i]);
    *size = lk_pb__model_proto__get_packed_size(model);
    uint8_t *whole = malloc(*size);
    lk_pb__model_proto__pack(model, whole);
    lk_pb__model_proto__free_unpacked(model, NULL);
    return whole;
}

static double *generated_values(uint64_t seed, int64_t count) {
    double *values = malloc((size_t)count * sizeof *values);
    for (int64_t i = 0; i < count; i++)
        values[i] = (double)lk_f16_to_f32(generated(seed, (uint64_t)i, 1.0f / 2048, 0));
    return values;
}

/* The gradient at the places that the fixture knows, and its length. */
static void check_gradient(const model_case *c, const double *gradient, int64_t count, double tolerance,
                           const char *where, double *worst) {
    const lk_safetensor *tensor = lk_safetensors_find(&c->file, "at");
    int64_t places = (int64_t)tensor->elements;
    double *at = case_values(&c->file, "at", places), *truth = case_values(&c->file, "gradient", places);
    double *norm = case_values(&c->file, "norm", 1), *found = malloc((size_t)places * sizeof *found), length = 0;
    for (int64_t i = 0; i < count; i++)
        length += gradient[i] * gradient[i];
    for (int64_t i = 0; i < places; i++)
        found[i] = gradient[(int64_t)at[i]];
    double distance = fmax(case_distance(found, truth, places), fabs(sqrt(length) / norm[0] - 1));
    if (!(norm[0] > 0 && distance <= tolerance))
        fail_msg("%s: gradient on %s: error %.3g, allowed %.3g", c->name, where, distance, tolerance);
    *worst = fmax(*worst, distance);
    free(at);
    free(truth);
    free(norm);
    free(found);
}

static void run_export(const char *name, double reference, double device) {
    lk_error error = LK_ERROR_INIT;
    model_case c;
    lk_onnx_network network;
    lk_value outputs[LK_ONNX_MAX_OUTPUTS], gradient;
    char path[600];
    size_t size;
    memset(&c, 0, sizeof c);
    memset(&network, 0, sizeof network);
    c.name = name;
    c.section = -1;
    snprintf(path, sizeof path, "%s/tests/data/models/exports/%s.safetensors", LIKENESS_SOURCE_DIR, name);
    assert_ok(lk_safetensors_open(&c.file, path, &error), &error);
    c.weights = lk_weights_create(true);
    snprintf(path, sizeof path, "%s/tests/data/models/exports/%s.onnx", LIKENESS_SOURCE_DIR, name);
    uint8_t *file = filled_file(path, &size);
    assert_ok(lk_onnx_parse(&network.file, name, file, size, &error), &error);
    free(file);
    network.weights = c.weights;
    network.label = lk_strdup("net");
    case_graph(&c);
    double *dims = case_values(&c.file, "shape", 4);
    lk_shape shape = lk_shape4((int)dims[0], (int)dims[1], (int)dims[2], (int)dims[3]);
    free(dims);
    int64_t count = lk_shape_elements(&shape);
    lk_value pixels = case_input_values(&c, "pixels", shape, LK_F32, generated_values(0, count));
    lk_onnx_network_build(&network, c.graph, &pixels, outputs);
    assert_ok(lk_graph_status(c.graph, &error), &error);
    lk_shape result = lk_graph_shape(c.graph, outputs[0]);
    case_output(&c, outputs[0], "output", NULL);
    c.cotangent[0] =
        case_input_values(&c, "cotangent", result, LK_F32, generated_values(1000, lk_shape_elements(&result)));
    c.section = lk_graph_gradient(c.graph, outputs, c.cotangent, 1, &pixels, 1, &gradient);
    assert_ok(lk_graph_status(c.graph, &error), &error);
    lk_graph_output(c.graph, gradient, "gradient");

    if (reference > 0) {
        const double *inputs[2] = {c.input[0].values, c.input[1].values};
        lk_reference_values *run = lk_graph_run_reference(c.graph, inputs, &error);
        if (!run) fail_msg("%s: %s", name, error.message);
        case_compare(&c, &c.output[0], lk_reference_value(run, outputs[0]), reference, "the reference",
                     &c.worst_reference);
        check_gradient(&c, lk_reference_value(run, gradient), count, reference, "the reference", &c.worst_reference);
        lk_reference_values_destroy(run);
    }
    if (device > 0 && case_device()) {
        lk_plan *plan = lk_plan_create(c.graph, &(lk_plan_options){0}, &error);
        lk_instance *instance = plan ? lk_instance_create(plan, case_device(), NULL, &error) : NULL;
        if (!instance) fail_msg("%s: %s", name, error.message);
        for (int i = 0; i < 2; i++)
            case_write(&c, instance, &c.input[i]);
        for (int s = 0; s <= c.section; s++)
            assert_ok(lk_instance_run(instance, s, &error), &error);
        case_read(&c, instance, &c.output[0], device);
        float *f32 = malloc((size_t)count * sizeof *f32);
        double *found = malloc((size_t)count * sizeof *found);
        assert_ok(lk_instance_read(instance, gradient, f32, &error), &error);
        for (int64_t i = 0; i < count; i++)
            found[i] = (double)f32[i];
        check_gradient(&c, found, count, device, "the device", &c.worst_device);
        free(f32);
        free(found);
        lk_instance_destroy(instance);
        lk_plan_destroy(plan);
    }
    printf("%-28s %4zu operators, %4d nodes  error %.1e by the reference, %.1e on the device\n", name,
           network.file.node_count, (int)lk_graph_node_count(c.graph), c.worst_reference, c.worst_device);
    case_end(&c);
    lk_onnx_network_close(&network);
}

static void test_exports(void **state) {
    (void)state;
    static const char *const names[] = {
        "resnet18_script9",
        "resnet50_script11",
        "mobilenet_v2_script12",
        "mobilenet_v3_small_script13",
        "mobilenet_v3_large_script16",
        "efficientnet_b0_script15",
        "iresnet50_script11",
        "mobilefacenet_script10",
        "vit_small_script14",
        "dinov2_small_script17",
        "resnet18_half17",
        "vit_small_dynamo18",
        "mobilenet_v3_small_dynamo18",
        "dinov2_small_dynamo21",
        "mobilefacenet_dynamo20",
        "resnet50_dynamo18",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        run_export(names[i], 1e-5, 1e-4);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_exports)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (case_device()) lk_device_close(case_device());
    return failed;
}
