/* graph/internal.h - what the files of src/graph share. */
#ifndef LK_GRAPH_INTERNAL_H
#define LK_GRAPH_INTERNAL_H

#include "graph/graph.h"

typedef enum lk_value_kind { LK_VALUE_INPUT, LK_VALUE_WEIGHT, LK_VALUE_NODE } lk_value_kind;

typedef struct lk_value_info {
    lk_tensor tensor;
    lk_value_kind kind;
    int32_t source; /* node index, weight index, or number of the input */
    int32_t slot;   /* output slot of the node */
    bool output;    /* kept readable */
} lk_value_info;

typedef struct lk_node {
    lk_op_call call;
    lk_value input[LK_MAX_INPUTS], output[LK_MAX_OUTPUTS]; /* LK_NO_VALUE where absent */
    int32_t section;
    char *name;
} lk_node;

/* Where a builder is: "down_blocks.0/attentions.1". Longer text is cut, deeper levels are counted only. */
#define LK_SCOPE_DEPTH 32
typedef struct lk_scope {
    char text[256];
    uint16_t length[LK_SCOPE_DEPTH]; /* of the text before each push */
    int32_t depth;
} lk_scope;

struct lk_graph {
    lk_weights *weights;
    lk_error error;
    lk_value_info *values;
    lk_node *nodes;
    int32_t value_count, value_capacity, node_count, node_capacity, input_count, section_count;
    lk_value *weight_values; /* value of each weight that was asked for, or LK_NO_VALUE */
    int32_t weight_capacity;
    char **input_names; /* [input_count] */
    int32_t input_capacity;
    lk_scope scope;
    int32_t pieces; /* see recompute.h */
};

typedef struct lk_weight {
    char *name;
    lk_weight_role role;
    lk_shape shape;
    int32_t groups;
    lk_weight_fill fill;
    void *user;
    void (*destroy_user)(void *user);
    lk_tensor tensor; /* as stored on the device */
    lk_buffer_ref ref;
    bool uploaded;
} lk_weight;

struct lk_weights {
    bool precise;
    lk_weight *items;
    int32_t count, capacity;
    int32_t *buckets; /* open addressing by name, -1 empty */
    int32_t bucket_count;
    lk_device *device; /* where it was uploaded */
    lk_pool *pool;
};

/* True when the node's output 0 is the same bytes as its input 0 and needs no kernel. */
bool lk_node_is_alias(const lk_node *node);
/* Values of weight `index` as the device has them: dense, f32, matrices rounded to f16 unless precise. */
likeness_status lk_weight_values(const lk_weights *weights, int32_t index, float *dense, lk_error *error);

#endif
