/* io/onnx.c - see onnx.h. */
#include "io/onnx.h"

#include "base/file.h"
#include "base/half.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/text.h"
#include "io/onnx.pb-c.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef LkPb__TensorProto tensor_message;
typedef LkPb__NodeProto node_message;
typedef LkPb__AttributeProto attribute_message;
typedef LkPb__ValueInfoProto value_message;
typedef LkPb__GraphProto graph_message;

/* ---- protobuf-c's memory: from lk_alloc, and bounded ---- */

typedef struct budget {
    size_t left;
    bool exhausted, out_of_memory;
} budget;

static void *budget_alloc(void *context, size_t size) {
    budget *b = context;
    if (size > b->left) {
        b->exhausted = true;
        return NULL;
    }
    void *memory = lk_alloc(size ? size : 1, 1);
    if (memory)
        b->left -= size;
    else
        b->out_of_memory = true;
    return memory;
}

static void budget_free(void *context, void *memory) {
    (void)context;
    lk_free(memory);
}

/* ---- small helpers ---- */

typedef struct reader {
    lk_onnx_model *model;
    lk_error *error;
} reader;

static likeness_status out_of_memory(reader *r) {
    return lk_fail(r->error, LIKENESS_OUT_OF_MEMORY, "no memory to read '%s'", r->model->file);
}

static void *take(reader *r, size_t count, size_t size) {
    void *memory = lk_arena_alloc(&r->model->arena, count, size);
    if (!memory) out_of_memory(r);
    return memory;
}

/* A name out of the file: UTF-8 (it may be shown on a terminal), copied; NULL becomes "". */
static const char *take_text(reader *r, const char *text, size_t length) {
    if (!lk_utf8_valid(text, length, NULL)) {
        lk_fail(r->error, LIKENESS_BAD_FILE, "%s: a name in it is not UTF-8", r->model->file);
        return NULL;
    }
    const char *copy = lk_arena_copy_text(&r->model->arena, text, length);
    if (!copy) out_of_memory(r);
    return copy;
}

static const char *take_name(reader *r, const char *text) {
    if (!text || !text[0]) return "";
    return take_text(r, text, strlen(text));
}

static likeness_status take_names(reader *r, char *const *from, size_t count, const char ***names) {
    *names = take(r, count, sizeof **names);
    for (size_t i = 0; i < count && *names; i++)
        if (!((*names)[i] = take_name(r, from[i]))) break;
    return r->error->status;
}

/* ---- tensors ---- */

/* The format's element types: bytes in raw_data, whether a float, and which typed list may hold them instead. */
static const struct {
    const char *name;
    size_t bytes;
    bool real;
    enum { NO_LIST, FLOATS, INT32S, INT64S, DOUBLES } list;
} element_types[] = {
    [1] = {"float", 4, true, FLOATS},     [2] = {"uint8", 1, false, INT32S},    [3] = {"int8", 1, false, INT32S},
    [4] = {"uint16", 2, false, INT32S},   [5] = {"int16", 2, false, INT32S},    [6] = {"int32", 4, false, INT32S},
    [7] = {"int64", 8, false, INT64S},    [9] = {"bool", 1, false, INT32S},     [10] = {"float16", 2, true, INT32S},
    [11] = {"double", 8, true, DOUBLES},  [12] = {"uint32", 4, false, NO_LIST}, [13] = {"uint64", 8, false, NO_LIST},
    [16] = {"bfloat16", 2, true, INT32S},
};
enum { ELEMENT_TYPES = sizeof element_types / sizeof *element_types };

static float raw_real(int type, const uint8_t *at) {
    uint16_t half;
    float single;
    double twofold;
    switch (type) {
    case 1:
        memcpy(&single, at, 4);
        return single;
    case 10:
        memcpy(&half, at, 2);
        return lk_f16_to_f32(half);
    case 16:
        memcpy(&half, at, 2);
        return lk_bf16_to_f32(half);
    default:
        memcpy(&twofold, at, 8);
        return (float)twofold;
    }
}

static int64_t raw_integer(int type, const uint8_t *at) {
    uint64_t value = 0;
    for (size_t i = element_types[type].bytes; i > 0; i--)
        value = value << 8 | at[i - 1];
    switch (type) {
    case 3:
        return (int8_t)value;
    case 5:
        return (int16_t)value;
    case 6:
        return (int32_t)value;
    case 9:
        return value != 0;
    default:
        return (int64_t)value;
    }
}

static float listed_real(int type, const tensor_message *from, size_t i) {
    switch (type) {
    case 1:
        return from->float_data[i];
    case 10:
        return lk_f16_to_f32((uint16_t)from->int32_data[i]);
    case 16:
        return lk_bf16_to_f32((uint16_t)from->int32_data[i]);
    default:
        return (float)from->double_data[i];
    }
}

static size_t listed_count(int type, const tensor_message *from) {
    switch (element_types[type].list) {
    case FLOATS:
        return from->n_float_data;
    case INT32S:
        return from->n_int32_data;
    case INT64S:
        return from->n_int64_data;
    case DOUBLES:
        return from->n_double_data;
    default:
        return 0;
    }
}

static likeness_status read_dims(reader *r, const tensor_message *from, lk_onnx_tensor *to) {
    uint64_t count = 1;
    if (from->n_dims > LK_ONNX_MAX_RANK)
        return lk_fail(r->error, LIKENESS_UNSUPPORTED,
                       "%s: tensor '%.200s' has %llu dimensions, at most %d are supported", r->model->file, to->name,
                       (unsigned long long)from->n_dims, LK_ONNX_MAX_RANK);
    to->rank = (int)from->n_dims;
    for (int i = 0; i < to->rank; i++) {
        int64_t dim = to->dims[i] = from->dims[i];
        if (dim < 0 || (dim > 0 && count > ((uint64_t)1 << 40) / (uint64_t)dim))
            return lk_fail(r->error, LIKENESS_BAD_FILE, "%s: dimension %d of tensor '%.200s' is %lld", r->model->file,
                           i, to->name, (long long)dim);
        count *= (uint64_t)dim;
    }
    to->count = (size_t)count;
    return LIKENESS_OK;
}

static likeness_status read_tensor(reader *r, const tensor_message *from, lk_onnx_tensor *to) {
    const char *file = r->model->file;
    to->name = take_name(r, from->name);
    if (!to->name) return r->error->status;
    if (from->n_external_data || from->data_location == 1)
        return lk_fail(r->error, LIKENESS_UNSUPPORTED,
                       "%s: the data of tensor '%.200s' lie in another file; save the model as a single file", file,
                       to->name);
    int type = from->data_type;
    if (type <= 0 || type >= ELEMENT_TYPES || !element_types[type].name)
        return lk_fail(r->error, LIKENESS_UNSUPPORTED, "%s: tensor '%.200s' has elements of the unsupported type %d",
                       file, to->name, type);
    LK_TRY(read_dims(r, from, to));
    bool raw = from->has_raw_data && from->raw_data.len > 0;
    size_t bytes = element_types[type].bytes, given = raw ? from->raw_data.len / bytes : listed_count(type, from);
    if ((raw && from->raw_data.len % bytes) || given != to->count)
        return lk_fail(r->error, LIKENESS_BAD_FILE,
                       "%s: tensor '%.200s' has %llu %s elements by its dims but data for %llu", file, to->name,
                       (unsigned long long)to->count, element_types[type].name, (unsigned long long)given);
    if (element_types[type].real) {
        if (!(to->f32 = take(r, to->count, sizeof *to->f32))) return r->error->status;
        for (size_t i = 0; i < to->count; i++)
            to->f32[i] = raw ? raw_real(type, from->raw_data.data + i * bytes) : listed_real(type, from, i);
    } else {
        if (!(to->i64 = take(r, to->count, sizeof *to->i64))) return r->error->status;
        for (size_t i = 0; i < to->count; i++)
            to->i64[i] = raw ? raw_integer(type, from->raw_data.data + i * bytes)
                             : (element_types[type].list == INT64S ? from->int64_data[i] : from->int32_data[i]);
    }
    return LIKENESS_OK;
}

/* ---- nodes ---- */

void lk_onnx_node_label(const lk_onnx_node *node, char *text, size_t capacity) {
    const char *name = node->name[0] ? node->name : node->output_count ? node->outputs[0] : "";
    snprintf(text, capacity, "'%.120s' (%.60s)", name, node->op);
}

/* Old files leave the type out: it is then the one field that is there. */
static int attribute_type(const attribute_message *from) {
    if (from->type) return from->type;
    if (from->has_f) return LK_ONNX_FLOAT;
    if (from->has_i) return LK_ONNX_INT;
    if (from->has_s) return LK_ONNX_STRING;
    if (from->t) return LK_ONNX_TENSOR;
    if (from->n_floats) return LK_ONNX_FLOATS;
    if (from->n_strings) return LK_ONNX_STRINGS;
    return LK_ONNX_INTS;
}

static likeness_status read_attribute(reader *r, const lk_onnx_node *node, const attribute_message *from,
                                      lk_onnx_attribute *to) {
    char label[200];
    lk_onnx_node_label(node, label, sizeof label);
    if (!(to->name = take_name(r, from->name))) return r->error->status;
    int type = attribute_type(from);
    to->kind = (lk_onnx_attribute_kind)type;
    if (from->ref_attr_name && from->ref_attr_name[0])
        return lk_fail(r->error, LIKENESS_UNSUPPORTED,
                       "%s: node %s takes '%.60s' from a function, which is not supported", r->model->file, label,
                       to->name);
    switch (type) {
    case LK_ONNX_FLOAT:
        to->f = from->f;
        break;
    case LK_ONNX_INT:
        to->i = from->i;
        break;
    case LK_ONNX_STRING:
        to->s = from->has_s ? take_text(r, (const char *)from->s.data, from->s.len) : "";
        break;
    case LK_ONNX_TENSOR:
        if (!from->t)
            return lk_fail(r->error, LIKENESS_BAD_FILE, "%s: the attribute '%.60s' of node %s is an empty tensor",
                           r->model->file, to->name, label);
        to->tensor = take(r, 1, sizeof *to->tensor);
        return to->tensor ? read_tensor(r, from->t, to->tensor) : r->error->status;
    case LK_ONNX_FLOATS:
        to->count = from->n_floats;
        to->floats = take(r, to->count, sizeof *to->floats);
        if (to->floats && to->count) memcpy((void *)(uintptr_t)to->floats, from->floats, to->count * sizeof(float));
        break;
    case LK_ONNX_INTS:
        to->count = from->n_ints;
        to->ints = take(r, to->count, sizeof *to->ints);
        if (to->ints && to->count) memcpy((void *)(uintptr_t)to->ints, from->ints, to->count * sizeof(int64_t));
        break;
    case LK_ONNX_STRINGS:
        to->count = from->n_strings;
        to->strings = take(r, to->count, sizeof *to->strings);
        for (size_t i = 0; i < to->count && to->strings; i++)
            if (!(to->strings[i] = take_text(r, (const char *)from->strings[i].data, from->strings[i].len))) break;
        break;
    default:
        return lk_fail(r->error, LIKENESS_UNSUPPORTED, "%s: the attribute '%.60s' of node %s holds %s, not supported",
                       r->model->file, to->name, label, type == 5 || type == 10 ? "a graph" : "an unusual type");
    }
    return r->error->status;
}

static likeness_status read_node(reader *r, const node_message *from, lk_onnx_node *to) {
    if (!(to->op = take_name(r, from->op_type)) || !(to->name = take_name(r, from->name)) ||
        !(to->domain = take_name(r, from->domain)))
        return r->error->status;
    if (strcmp(to->domain, "ai.onnx") == 0) to->domain = "";
    to->input_count = from->n_input;
    to->output_count = from->n_output;
    LK_TRY(take_names(r, from->input, from->n_input, &to->inputs));
    LK_TRY(take_names(r, from->output, from->n_output, &to->outputs));
    to->attributes = take(r, from->n_attribute, sizeof *to->attributes);
    if (!to->attributes) return r->error->status;
    for (size_t i = 0; i < from->n_attribute; i++) {
        LK_TRY(read_attribute(r, to, from->attribute[i], &to->attributes[i]));
        to->attribute_count++;
    }
    return LIKENESS_OK;
}

static likeness_status read_value(reader *r, const value_message *from, lk_onnx_value *to) {
    to->rank = -1;
    if (!(to->name = take_name(r, from->name))) return r->error->status;
    if (!from->type || !from->type->tensor_type) return LIKENESS_OK;
    const LkPb__TypeProto__Tensor *type = from->type->tensor_type;
    to->element_type = type->elem_type;
    if (!type->shape) return LIKENESS_OK;
    if (type->shape->n_dim > LK_ONNX_MAX_RANK)
        return lk_fail(r->error, LIKENESS_UNSUPPORTED, "%s: '%.200s' has %llu dimensions, at most %d are supported",
                       r->model->file, to->name, (unsigned long long)type->shape->n_dim, LK_ONNX_MAX_RANK);
    to->rank = (int)type->shape->n_dim;
    for (int i = 0; i < to->rank; i++) {
        const LkPb__TensorShapeProto__Dimension *dim = type->shape->dim[i];
        to->dims[i] = dim->has_dim_value && dim->dim_value > 0 ? dim->dim_value : -1;
        if (to->dims[i] < 0 && dim->dim_param && !(to->names[i] = take_name(r, dim->dim_param)))
            return r->error->status;
    }
    return LIKENESS_OK;
}

/* ---- names: each made once, before it is read ---- */

typedef struct name_set {
    const char **slots;
    size_t capacity;
} name_set;

static const char **name_slot(const name_set *set, const char *name) {
    size_t at = (size_t)lk_fnv64(LK_FNV64_INIT, name, strlen(name)) & (set->capacity - 1);
    while (set->slots[at] && strcmp(set->slots[at], name) != 0)
        at = (at + 1) & (set->capacity - 1);
    return &set->slots[at];
}

static likeness_status make_name(reader *r, const name_set *set, const char *name) {
    const char **slot = name_slot(set, name);
    if (*slot) return lk_fail(r->error, LIKENESS_BAD_FILE, "%s: '%.200s' is made twice", r->model->file, name);
    *slot = name;
    return LIKENESS_OK;
}

static likeness_status check_names(reader *r, const name_set *set) {
    lk_onnx_model *m = r->model;
    for (size_t i = 0; i < m->initializer_count; i++)
        LK_TRY(make_name(r, set, m->initializers[i].name));
    for (size_t i = 0; i < m->input_count; i++)
        LK_TRY(make_name(r, set, m->inputs[i].name));
    for (size_t n = 0; n < m->node_count; n++) {
        const lk_onnx_node *node = &m->nodes[n];
        char label[200];
        lk_onnx_node_label(node, label, sizeof label);
        for (size_t i = 0; i < node->input_count; i++)
            if (node->inputs[i][0] && !*name_slot(set, node->inputs[i]))
                return lk_fail(r->error, LIKENESS_BAD_FILE, "%s: node %s reads '%.200s', which nothing before it makes",
                               m->file, label, node->inputs[i]);
        for (size_t i = 0; i < node->output_count; i++)
            if (node->outputs[i][0]) LK_TRY(make_name(r, set, node->outputs[i]));
    }
    for (size_t i = 0; i < m->output_count; i++)
        if (!*name_slot(set, m->outputs[i].name))
            return lk_fail(r->error, LIKENESS_BAD_FILE, "%s: no node makes the output '%.200s'", m->file,
                           m->outputs[i].name);
    return LIKENESS_OK;
}

static likeness_status check_graph(reader *r) {
    const lk_onnx_model *m = r->model;
    if (m->output_count == 0 || m->node_count == 0)
        return lk_fail(r->error, LIKENESS_BAD_FILE, "%s: the graph has no %s", m->file,
                       m->node_count ? "output" : "nodes");
    size_t names = m->initializer_count + m->input_count;
    for (size_t i = 0; i < m->node_count; i++)
        names += m->nodes[i].output_count;
    name_set set = {.capacity = 64};
    while (set.capacity < 2 * names)
        set.capacity *= 2;
    set.slots = lk_alloc(set.capacity, sizeof *set.slots);
    if (!set.slots) return out_of_memory(r);
    check_names(r, &set);
    lk_free(set.slots);
    return r->error->status;
}

/* ---- the model ---- */

static int compare_tensors(const void *a, const void *b) {
    return strcmp(((const lk_onnx_tensor *)a)->name, ((const lk_onnx_tensor *)b)->name);
}

const lk_onnx_tensor *lk_onnx_initializer(const lk_onnx_model *model, const char *name) {
    lk_onnx_tensor key = {.name = name};
    if (!model->initializer_count) return NULL;
    return bsearch(&key, model->initializers, model->initializer_count, sizeof key, compare_tensors);
}

static likeness_status read_graph(reader *r, const graph_message *graph) {
    lk_onnx_model *m = r->model;
    m->initializers = take(r, graph->n_initializer, sizeof *m->initializers);
    m->nodes = take(r, graph->n_node, sizeof *m->nodes);
    m->inputs = take(r, graph->n_input, sizeof *m->inputs);
    m->outputs = take(r, graph->n_output, sizeof *m->outputs);
    LK_TRY(r->error->status);
    for (; m->initializer_count < graph->n_initializer; m->initializer_count++)
        LK_TRY(read_tensor(r, graph->initializer[m->initializer_count], &m->initializers[m->initializer_count]));
    qsort(m->initializers, m->initializer_count, sizeof *m->initializers, compare_tensors);
    for (; m->node_count < graph->n_node; m->node_count++)
        LK_TRY(read_node(r, graph->node[m->node_count], &m->nodes[m->node_count]));
    for (size_t i = 0; i < graph->n_input; i++) { /* files before IR version 4 list initializers as inputs too */
        LK_TRY(read_value(r, graph->input[i], &m->inputs[m->input_count]));
        if (!lk_onnx_initializer(m, m->inputs[m->input_count].name)) m->input_count++;
    }
    for (; m->output_count < graph->n_output; m->output_count++)
        LK_TRY(read_value(r, graph->output[m->output_count], &m->outputs[m->output_count]));
    return check_graph(r);
}

static likeness_status read_model(reader *r, const LkPb__ModelProto *from) {
    lk_onnx_model *m = r->model;
    m->ir_version = from->ir_version;
    for (size_t i = 0; i < from->n_opset_import; i++) {
        const char *domain = from->opset_import[i]->domain;
        if (!domain || !domain[0] || strcmp(domain, "ai.onnx") == 0) m->opset = from->opset_import[i]->version;
    }
    if (!from->graph) return lk_fail(r->error, LIKENESS_BAD_FILE, "%s: not an ONNX model: it holds no graph", m->file);
    if (m->opset <= 0)
        return lk_fail(r->error, LIKENESS_BAD_FILE, "%s: it does not say which operator set version it uses", m->file);
    size_t count = from->n_metadata_props;
    m->metadata_keys = take(r, count, sizeof *m->metadata_keys);
    m->metadata_values = take(r, count, sizeof *m->metadata_values);
    LK_TRY(r->error->status);
    for (; m->metadata_count < count; m->metadata_count++) {
        const LkPb__StringStringEntryProto *entry = from->metadata_props[m->metadata_count];
        if (!(m->metadata_keys[m->metadata_count] = take_name(r, entry->key)) ||
            !(m->metadata_values[m->metadata_count] = take_name(r, entry->value)))
            return r->error->status;
    }
    return read_graph(r, from->graph);
}

likeness_status lk_onnx_parse(lk_onnx_model *model, const char *name, const uint8_t *data, size_t size,
                              lk_error *error) {
    memset(model, 0, sizeof *model);
    reader r = {model, error};
    if (size == 0) return lk_fail(error, LIKENESS_BAD_FILE, "%s: the file is empty", name);
    model->file = lk_arena_strdup(&model->arena, name);
    if (!model->file) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to read '%s'", name);
    /* An honest file needs about its own size; a hostile one can make millions of empty messages from two bytes each.
     */
    budget memory = {.left = ((size_t)32 << 20) + 4 * size};
    model->arena.limit = ((size_t)32 << 20) + 16 * size;
    ProtobufCAllocator allocator = {budget_alloc, budget_free, &memory};
    LkPb__ModelProto *message = lk_pb__model_proto__unpack(&allocator, size, data);
    if (message) {
        read_model(&r, message);
        lk_pb__model_proto__free_unpacked(message, &allocator);
    } else if (memory.out_of_memory) {
        out_of_memory(&r);
    } else {
        lk_fail(error, LIKENESS_BAD_FILE, "%s: not an ONNX model, or a cut one (%s)", name,
                memory.exhausted ? "it would take far more memory than its size explains"
                                 : "the protobuf data cannot be decoded");
    }
    if (error->status != LIKENESS_OK) lk_onnx_free(model);
    return error->status;
}

likeness_status lk_onnx_read(lk_onnx_model *model, const char *path, lk_error *error) {
    lk_mapping mapping;
    memset(model, 0, sizeof *model);
    LK_TRY(lk_file_map(path, &mapping, error));
    if (mapping.size > INT32_MAX)
        lk_fail(error, LIKENESS_UNSUPPORTED, "%s: the file is larger than the 2 GiB that ONNX's format can hold", path);
    else
        lk_onnx_parse(model, path, mapping.data, mapping.size, error);
    lk_file_unmap(&mapping);
    return error->status;
}

void lk_onnx_free(lk_onnx_model *model) {
    lk_arena arena = model->arena;
    lk_arena_free(&arena);
    memset(model, 0, sizeof *model);
}

/* ---- access ---- */

const char *lk_onnx_metadata(const lk_onnx_model *model, const char *key) {
    for (size_t i = 0; i < model->metadata_count; i++)
        if (strcmp(model->metadata_keys[i], key) == 0) return model->metadata_values[i];
    return NULL;
}

lk_onnx_attribute *lk_onnx_find(const lk_onnx_node *node, const char *name) {
    for (size_t i = 0; i < node->attribute_count; i++)
        if (strcmp(node->attributes[i].name, name) == 0) {
            node->attributes[i].used = true;
            return &node->attributes[i];
        }
    return NULL;
}

/* The attribute if it is there and of the wanted kind. */
static likeness_status find_kind(const lk_onnx_model *model, const lk_onnx_node *node, const char *name,
                                 lk_onnx_attribute_kind kind, const char *expected, lk_onnx_attribute **found,
                                 lk_error *error) {
    *found = lk_onnx_find(node, name);
    if (!*found || (*found)->kind == kind) return LIKENESS_OK;
    char label[200];
    lk_onnx_node_label(node, label, sizeof label);
    return lk_fail(error, LIKENESS_BAD_FILE, "%s: the attribute '%s' of node %s is not %s", model->file, name, label,
                   expected);
}

likeness_status lk_onnx_int(const lk_onnx_model *model, const lk_onnx_node *node, const char *name, int64_t otherwise,
                            int64_t *value, lk_error *error) {
    lk_onnx_attribute *found;
    LK_TRY(find_kind(model, node, name, LK_ONNX_INT, "a whole number", &found, error));
    *value = found ? found->i : otherwise;
    return LIKENESS_OK;
}

likeness_status lk_onnx_float(const lk_onnx_model *model, const lk_onnx_node *node, const char *name, float otherwise,
                              float *value, lk_error *error) {
    lk_onnx_attribute *found;
    LK_TRY(find_kind(model, node, name, LK_ONNX_FLOAT, "a number", &found, error));
    *value = found ? found->f : otherwise;
    return LIKENESS_OK;
}

likeness_status lk_onnx_string(const lk_onnx_model *model, const lk_onnx_node *node, const char *name,
                               const char *otherwise, const char **value, lk_error *error) {
    lk_onnx_attribute *found;
    LK_TRY(find_kind(model, node, name, LK_ONNX_STRING, "a string", &found, error));
    *value = found ? found->s : otherwise;
    return LIKENESS_OK;
}

likeness_status lk_onnx_ints(const lk_onnx_model *model, const lk_onnx_node *node, const char *name,
                             const int64_t **values, size_t *count, lk_error *error) {
    lk_onnx_attribute *found;
    LK_TRY(find_kind(model, node, name, LK_ONNX_INTS, "a list of whole numbers", &found, error));
    *values = found ? found->ints : NULL;
    *count = found ? found->count : 0;
    return LIKENESS_OK;
}

likeness_status lk_onnx_unused(const lk_onnx_model *model, const lk_onnx_node *node, lk_error *error) {
    for (size_t i = 0; i < node->attribute_count; i++)
        if (!node->attributes[i].used) {
            char label[200];
            lk_onnx_node_label(node, label, sizeof label);
            return lk_fail(error, LIKENESS_UNSUPPORTED, "%s: the attribute '%.60s' of node %s is not supported",
                           model->file, node->attributes[i].name, label);
        }
    return LIKENESS_OK;
}
