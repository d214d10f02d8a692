/* models/onnx_classify.c - a classifier in an ONNX file as a discriminator: the log-probability of one class. See
 * onnx_graph.h. */
#include "models/onnx_internal.h"

#include <string.h>

/* The operator that makes the output, behind those that only shape it; "" when it cannot be told. */
static const char *last_operator(const lk_onnx_model *file, const char *name) {
    static const char *const shaping[] = {"Identity", "Cast", "Squeeze", "Unsqueeze", "Reshape", "Flatten"};
    for (size_t n = file->node_count; n-- > 0;) {
        const lk_onnx_node *node = &file->nodes[n];
        bool makes = false, shapes = false;
        for (size_t i = 0; i < node->output_count; i++)
            makes = makes || strcmp(node->outputs[i], name) == 0;
        if (!makes) continue;
        for (size_t i = 0; i < sizeof shaping / sizeof *shaping; i++)
            shapes = shapes || strcmp(node->op, shaping[i]) == 0;
        if (!shapes || node->input_count == 0) return node->op;
        name = node->inputs[0]; /* made before this node */
    }
    return "";
}

lk_value lk_onnx_log_probability(const lk_onnx_network *network, lk_graph *graph, lk_value picture, int32_t target) {
    onnx_builder b = {.network = network, .file = &network->file, .graph = graph};
    lk_value z = lk_onnx_embed(network, graph, picture);
    lk_shape shape = lk_graph_shape(graph, z);
    if (!onnx_fine(&b)) return LK_NO_VALUE;
    const char *output = network->file.outputs[network->preprocessing.embedding].name;
    const char *last = last_operator(&network->file, output);
    if (target < 0 || target >= shape.dim[1]) {
        onnx_fail(&b, LIKENESS_USAGE, "there is no class %d: output %.80s has %d, counted from 0", (int)target, output,
                  (int)shape.dim[1]);
        return LK_NO_VALUE;
    }
    bool probabilities = strcmp(last, "Softmax") == 0 || strcmp(last, "Sigmoid") == 0;
    bool logits = !probabilities && strcmp(last, "LogSoftmax") != 0;
    lk_graph_push_scope(graph, "%s.class", network->label);
    if (logits) {
        lk_value most = lk_reduce_op(graph, LK_REDUCE_MAX, z, 2u, true);
        z = lk_binary_op(graph, LK_BINARY_SUB, z, most);
    }
    lk_value y = lk_slice(graph, z, 1, target, 1);
    if (probabilities) y = lk_unary_op(graph, LK_UNARY_LOG, lk_clamp(graph, y, 1e-30f, 1), 0, 0);
    if (logits) {
        lk_value sum = lk_reduce_op(graph, LK_REDUCE_SUM, lk_unary_op(graph, LK_UNARY_EXP, z, 0, 0), 2u, true);
        y = lk_binary_op(graph, LK_BINARY_SUB, y, lk_unary_op(graph, LK_UNARY_LOG, sum, 0, 0));
    }
    y = lk_reshape(graph, y, lk_shape1(shape.dim[0]));
    lk_graph_pop_scope(graph);
    return y;
}
