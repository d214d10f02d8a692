/* tests/fuzz/fuzz_onnx.c - ONNX files as structs. */
#include "fuzz/fuzz.h"

#include "io/onnx.h"

const char fuzz_name[] = "onnx";
const char *const fuzz_words[] = {"Conv", "Relu", "Constant", "ai.onnx", "\x08\x08", "\x12\x01x", "\x3a\x02", NULL};

void fuzz_one(const uint8_t *data, size_t size) {
    lk_onnx_model model;
    lk_error error = LK_ERROR_INIT;
    if (!fuzz_answer(lk_onnx_parse(&model, "file", data, size, &error), &error, LIKENESS_OK)) return;
    for (size_t i = 0; i < model.initializer_count; i++) {
        const lk_onnx_tensor *tensor = &model.initializers[i];
        size_t count = 1;
        for (int k = 0; k < tensor->rank; k++)
            count *= (size_t)tensor->dims[k];
        if (count != tensor->count || (count && !tensor->f32 == !tensor->i64))
            fuzz_fail("initializer %s: %zu elements, stated %zu", tensor->name, tensor->count, count);
        double sum = 0; /* touches every element */
        for (size_t k = 0; k < count; k++)
            sum += tensor->f32 ? (double)tensor->f32[k] : (double)tensor->i64[k];
        (void)sum;
        if (lk_onnx_initializer(&model, tensor->name) == NULL) fuzz_fail("initializer %s is not found", tensor->name);
    }
    for (size_t i = 0; i < model.node_count; i++) {
        const lk_onnx_node *node = &model.nodes[i];
        char label[40];
        lk_onnx_node_label(node, label, sizeof label);
        for (size_t k = 0; k < node->attribute_count; k++) {
            lk_error failed = LK_ERROR_INIT;
            int64_t value;
            const int64_t *values;
            size_t count;
            const char *name = node->attributes[k].name;
            if (node->attributes[k].kind == LK_ONNX_INTS)
                fuzz_answer(lk_onnx_ints(&model, node, name, &values, &count, &failed), &failed, LIKENESS_OK);
            else
                fuzz_answer(lk_onnx_int(&model, node, name, 0, &value, &failed), &failed, LIKENESS_OK);
        }
        lk_error failed = LK_ERROR_INIT;
        fuzz_answer(lk_onnx_unused(&model, node, &failed), &failed, LIKENESS_OK);
    }
    lk_onnx_metadata(&model, "likeness.size");
    lk_onnx_free(&model);
}
