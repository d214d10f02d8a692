/* tests/fuzz/fuzz_onnx_graph.c - ONNX files as part of a graph: preprocessing, every operator, gradient, plan. */
#include "fuzz/fuzz.h"

#include "graph/build.h"
#include "models/onnx_graph.h"

const char fuzz_name[] = "onnx_graph";
const char *const fuzz_words[] = {"Add",
                                  "AveragePool",
                                  "BatchNormalization",
                                  "Cast",
                                  "Clip",
                                  "Concat",
                                  "Constant",
                                  "ConstantOfShape",
                                  "Conv",
                                  "ConvTranspose",
                                  "DepthToSpace",
                                  "Div",
                                  "Elu",
                                  "Equal",
                                  "Expand",
                                  "Flatten",
                                  "Gather",
                                  "Gemm",
                                  "GlobalAveragePool",
                                  "GroupNormalization",
                                  "InstanceNormalization",
                                  "IsNaN",
                                  "LayerNormalization",
                                  "MatMul",
                                  "MaxPool",
                                  "Mul",
                                  "PRelu",
                                  "Pad",
                                  "Pow",
                                  "Range",
                                  "ReduceMean",
                                  "ReduceProd",
                                  "Relu",
                                  "Reshape",
                                  "Resize",
                                  "Shape",
                                  "Sigmoid",
                                  "Slice",
                                  "Softmax",
                                  "Split",
                                  "Squeeze",
                                  "Sub",
                                  "Tile",
                                  "Transpose",
                                  "Unsqueeze",
                                  "Upsample",
                                  "Where",
                                  "axes",
                                  "axis",
                                  "likeness.size",
                                  "likeness.mean",
                                  "likeness.std",
                                  "likeness.channels",
                                  "likeness.embedding",
                                  "likeness.threshold",
                                  "dilations",
                                  "group",
                                  "kernel_shape",
                                  "pads",
                                  "perm",
                                  "strides",
                                  NULL};

/* Takes what was built through the gradient and the planner. */
static void differentiate(lk_graph *graph, const lk_value *outputs, size_t count, lk_value input) {
    lk_value cotangents[LK_ONNX_MAX_OUTPUTS], gradient;
    lk_error error = LK_ERROR_INIT;
    for (size_t i = 0; i < count; i++) {
        lk_graph_output(graph, outputs[i], "output");
        cotangents[i] = lk_graph_input(graph, "cotangent", lk_graph_shape(graph, outputs[i]), LK_F32);
    }
    if (lk_graph_tensor(graph, input)->dtype != LK_I32)
        lk_graph_gradient(graph, outputs, cotangents, (int)count, &input, 1, &gradient);
    if (!fuzz_answer(lk_graph_status(graph, &error), &error, LIKENESS_USAGE)) return;
    if (lk_graph_node_count(graph) == 0) return; /* the output is the input */
    lk_plan *plan = lk_plan_create(graph, &(lk_plan_options){0}, &error);
    if (!plan) fuzz_answer(error.status, &error, LIKENESS_USAGE);
    lk_plan_destroy(plan);
}

static void build(const lk_onnx_network *network, lk_graph *graph) {
    lk_value inputs[8] = {0}, outputs[LK_ONNX_MAX_OUTPUTS];
    const lk_onnx_model *file = &network->file;
    lk_error error = LK_ERROR_INIT;
    if (file->input_count > sizeof inputs / sizeof *inputs || file->output_count > LK_ONNX_MAX_OUTPUTS) return;
    for (size_t i = 0; i < file->input_count; i++) {
        const lk_onnx_value *wanted = &file->inputs[i];
        lk_shape shape = lk_shape4(2, 3, 8, 8);
        if (wanted->rank >= 0) shape.rank = wanted->rank < LK_MAX_RANK ? wanted->rank : LK_MAX_RANK;
        for (int k = 0; wanted->rank >= 0 && k < shape.rank; k++)
            shape.dim[k] = wanted->dims[k] > 0 && wanted->dims[k] <= 64 ? (int32_t)wanted->dims[k] : k ? 8 : 2;
        inputs[i] = lk_graph_input(graph, "input", shape, wanted->element_type == 7 ? LK_I32 : LK_F32);
    }
    lk_onnx_network_build(network, graph, inputs, outputs);
    if (fuzz_answer(lk_graph_status(graph, &error), &error, LIKENESS_USAGE))
        differentiate(graph, outputs, file->output_count, inputs[0]);
}

/* The way of an identity encoder. */
static void embed(const lk_onnx_network *network, lk_graph *graph) {
    lk_error error = LK_ERROR_INIT;
    lk_value picture = lk_graph_input(graph, "picture", lk_shape4(1, 3, 12, 10), LK_F32);
    lk_value embedding = lk_onnx_embed(network, graph, picture);
    if (fuzz_answer(lk_graph_status(graph, &error), &error, LIKENESS_USAGE))
        differentiate(graph, &embedding, 1, picture);
}

void fuzz_one(const uint8_t *data, size_t size) {
    fuzz_put("network.onnx", data, size);
    for (int way = 0; way < 2; way++) {
        lk_onnx_network network;
        lk_error error = LK_ERROR_INIT;
        lk_weights *weights = lk_weights_create(false);
        if (!fuzz_answer(lk_onnx_network_open(&network, fuzz_path("network.onnx"), "n", weights, &error), &error,
                         LIKENESS_OK)) {
            lk_weights_destroy(weights);
            return;
        }
        lk_graph *graph = lk_graph_create(weights, &error);
        if (way)
            embed(&network, graph);
        else
            build(&network, graph);
        lk_graph_destroy(graph);
        lk_weights_destroy(weights);
        lk_onnx_network_close(&network);
    }
}
