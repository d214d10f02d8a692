/* models/onnx_table.c - the operators of ONNX by name. See onnx_internal.h; the list that users see is
 * lk_onnx_operators (onnx_graph.h). */
#include "models/onnx_internal.h"

#include <string.h>

/* What onnx_fold.c computes and no node of a graph can be: inputs are known while building. */
static const onnx_operator folded_operators[] = {
    {"Constant", NULL, 0, ""},
    {"ConstantOfShape", NULL, 0, "known while building"},
    {"Shape", NULL, 0, ""},
    {"Size", NULL, 0, ""},
    {"Range", NULL, 0, "known while building"},
    {"Equal", NULL, 0, "known while building"},
    {"Greater", NULL, 0, "known while building"},
    {"GreaterOrEqual", NULL, 0, "known while building"},
    {"Less", NULL, 0, "known while building"},
    {"LessOrEqual", NULL, 0, "known while building"},
    {"And", NULL, 0, "known while building"},
    {"Or", NULL, 0, "known while building"},
    {"Xor", NULL, 0, "known while building"},
    {"Not", NULL, 0, "known while building"},
    {"Mod", NULL, 0, "known while building"},
    {"Floor", NULL, 0, "known while building"},
    {"Ceil", NULL, 0, "known while building"},
    {"Round", NULL, 0, "known while building"},
    {"Sign", NULL, 0, "known while building"},
    {"ReduceProd", NULL, 0, "known while building"},
    {0},
};

static const onnx_operator *const parts[] = {onnx_linear_operators,   onnx_pointwise_operators, onnx_norm_operators,
                                             onnx_movement_operators, onnx_resize_operators,    folded_operators};
enum { PARTS = sizeof parts / sizeof *parts };

const char *lk_onnx_operator(size_t index, const char **limits) {
    for (int p = 0; p < PARTS; p++)
        for (const onnx_operator *o = parts[p]; o->name; o++)
            if (index-- == 0) {
                *limits = o->limits;
                return o->name;
            }
    return NULL;
}

bool onnx_translate(onnx_builder *b) {
    for (int p = 0; p < PARTS; p++)
        for (const onnx_operator *o = parts[p]; o->name; o++) {
            if (strcmp(o->name, b->node->op) != 0) continue;
            if (o->translate) return o->translate(b, o->kind);
            return onnx_fail(b, LIKENESS_UNSUPPORTED,
                             "the operator %s is supported where its inputs are known while building; here they depend "
                             "on the picture",
                             o->name);
        }
    return onnx_fail(b, LIKENESS_UNSUPPORTED, "the operator %s (opset %lld) is not supported", b->node->op,
                     (long long)b->file->opset);
}
