/* graph/graph.h - a static graph of ops for one set of shapes, its gradient, and how it runs.
 *
 *   build    lk_graph_create, lk_graph_input / lk_graph_weight, ops (graph/build.h), lk_graph_output
 *   gradient lk_graph_gradient appends the vector-Jacobian product as a second section of nodes
 *   plan     lk_plan_create: order, aliases, arena offsets; needs limits, not a device
 *   run      lk_instance_create on a device: an arena, recordings, shared weights; write, run a section, read
 *   check    lk_graph_run_reference runs the whole graph with the C reference in double, without a device
 *
 * Sections: nodes built before the first lk_graph_gradient are section 0 (forward); each lk_graph_gradient appends the
 * next section. A section is replayed on its own; values of earlier sections that it reads stay alive in the arena.
 *
 * Builder functions return LK_NO_VALUE after any failure and the graph keeps the first error; every later call is then
 * a no-op, so a model builder checks once, at the end, with lk_graph_status. */
#ifndef LK_GRAPH_GRAPH_H
#define LK_GRAPH_GRAPH_H

#include "base/error.h"
#include "ops/table.h"
#include "tensor/op.h"

typedef struct lk_graph lk_graph;
typedef struct lk_weights lk_weights;
typedef struct lk_plan lk_plan;
typedef struct lk_instance lk_instance;

/* ---- weights: constants shared by every graph and instance of a model ----------------------------------------------
 */

typedef enum lk_weight_role {
    LK_WEIGHT_MATRIX, /* [O,I] or [O,I/g,kh,kw]: stored packed, f16 (f32 with precise) */
    LK_WEIGHT_VECTOR, /* bias, gamma, beta, slopes ...: stored f32 rows */
    LK_WEIGHT_TABLE,  /* embedding [V,C]: stored f32 rows */
    LK_WEIGHT_INDEX   /* i32 constant */
} lk_weight_role;

/* Writes the weight's values, dense logical order, lk_shape_elements(shape) floats (int32 for LK_WEIGHT_INDEX). May be
 * called more than once (upload, reference). Returns a status; the values may come from a mapped file. */
typedef likeness_status (*lk_weight_fill)(void *user, void *values, lk_error *error);

/* precise: matrices are stored f32 instead of f16. */
lk_weights *lk_weights_create(bool precise);
void lk_weights_destroy(lk_weights *weights);
/* Adds a weight and returns its index, or -1 (message in error). The name is copied and must be new. `user` must live
 * as long as the set; destroy_user may be NULL. */
int32_t lk_weights_add(lk_weights *weights, const char *name, lk_weight_role role, const lk_shape *shape,
                       int32_t groups, lk_weight_fill fill, void *user, void (*destroy_user)(void *user),
                       lk_error *error);
/* The same from an array that is copied. */
int32_t lk_weights_add_values(lk_weights *weights, const char *name, lk_weight_role role, const lk_shape *shape,
                              int32_t groups, const void *values, lk_error *error);
/* Index of a name, or -1. */
int32_t lk_weights_find(const lk_weights *weights, const char *name);
/* What lk_weights_upload would still take on the device. */
uint64_t lk_weights_missing_bytes(const lk_weights *weights);
int32_t lk_weights_count(const lk_weights *weights);
typedef struct lk_weight_info {
    const char *name;
    lk_weight_role role;
    lk_shape shape;
} lk_weight_info;
/* Valid until a weight is added. */
lk_weight_info lk_weights_info(const lk_weights *weights, int32_t index);
/* Changes a weight that is not on the device yet: `change` is called after the fill with its values and adds to them;
 * several changes are called in order. `user` as for lk_weights_add; after a failure it is still the caller's. */
likeness_status lk_weights_change(lk_weights *weights, int32_t index, lk_weight_fill change, void *user,
                                  void (*destroy_user)(void *user), lk_error *error);
/* More rows under a table that is in no graph and not on the device yet; the values are copied. */
likeness_status lk_weights_append_rows(lk_weights *weights, int32_t index, const float *values, int32_t rows,
                                       lk_error *error);
/* Takes the weights off the device, where no instance may use them any more; the next one uploads them again. */
void lk_weights_unload(lk_weights *weights);
/* Uploads what is not yet on the device; later graphs on the same device share the copies. */
likeness_status lk_weights_upload(lk_weights *weights, lk_device *device, lk_error *error);

/* ---- building
 * -------------------------------------------------------------------------------------------------------- */

/* weights may be NULL for a graph without weights; it must outlive the graph. */
lk_graph *lk_graph_create(lk_weights *weights, lk_error *error);
void lk_graph_destroy(lk_graph *graph);
/* The first error of any builder call since create. */
likeness_status lk_graph_status(const lk_graph *graph, lk_error *error);
/* Records a failure found by a caller (a model builder that meets a bad configuration). */
void lk_graph_fail(lk_graph *graph, likeness_status status, const char *format, ...) LK_PRINTF(3, 4);

/* A tensor the host writes before a run. dtype LK_F32 or LK_I32. */
lk_value lk_graph_input(lk_graph *graph, const char *name, lk_shape shape, lk_dtype dtype);
/* A weight of the set, by index or by name (unknown name: error). */
lk_value lk_graph_weight(lk_graph *graph, int32_t index);
lk_value lk_graph_weight_named(lk_graph *graph, const char *name);
/* Keeps a value readable after a run. */
void lk_graph_output(lk_graph *graph, lk_value value, const char *name);
/* Appends any op; out (may be NULL) receives all outputs; returns output 0. `want_outputs` bit i: optional output i is
 * wanted. */
lk_value lk_graph_emit(lk_graph *graph, lk_op op, const lk_attributes *attributes, const lk_value *inputs,
                       int input_count, uint32_t want_outputs, lk_value out[LK_MAX_OUTPUTS]);
const lk_tensor *lk_graph_tensor(const lk_graph *graph, lk_value value);
lk_shape lk_graph_shape(const lk_graph *graph, lk_value value);
/* Names nodes from here on "scope/op" until the matching pop; for messages and traces. */
void lk_graph_push_scope(lk_graph *graph, const char *format, ...) LK_PRINTF(2, 3);
void lk_graph_pop_scope(lk_graph *graph);
int32_t lk_graph_node_count(const lk_graph *graph);
/* A node by index in order of creation; the call lives as long as the graph grows no more. */
typedef struct lk_graph_node_info {
    const lk_op_call *call;
    const char *name; /* "scope/op" */
    int section;
} lk_graph_node_info;
lk_graph_node_info lk_graph_node(const lk_graph *graph, int32_t index);
/* Sum of the op table's costs over one section. */
lk_cost lk_graph_cost(const lk_graph *graph, int section);

/* Appends the vector-Jacobian product: given cotangents[i] (values of the shape of outputs[i], usually inputs of the
 * graph) for outputs[i], gradients[j] becomes the value of sum_i (d outputs[i] / d wrt[j])^T cotangents[i]. A wrt that
 * no output depends on gets LK_NO_VALUE. Opens a new section and returns its number, or -1 after a failure. */
int lk_graph_gradient(lk_graph *graph, const lk_value *outputs, const lk_value *cotangents, int output_count,
                      const lk_value *wrt, int wrt_count, lk_value *gradients);

/* For the gradients that follow: the nodes so far are cut into at most `pieces`, and all but the last run again before
 * their gradient, so that of their values only those that cross a cut are kept. Costs up to one forward pass, gives the
 * same bytes. 0 or 1: everything is kept. */
void lk_graph_recompute(lk_graph *graph, int32_t pieces);

/* Every section in order with the C reference in double. inputs: one dense array a graph input in order of creation;
 * weights are rounded as they are stored (f16 unless precise). read() afterwards by value. */
typedef struct lk_reference_run_t lk_reference_values;
lk_reference_values *lk_graph_run_reference(const lk_graph *graph, const double *const *inputs, lk_error *error);
const double *lk_reference_value(const lk_reference_values *values, lk_value value);
void lk_reference_values_destroy(lk_reference_values *values);

/* ---- plan and instances
 * ---------------------------------------------------------------------------------------------- */

typedef struct lk_plan_options {
    bool loose;         /* every tensor its own memory, no aliasing (self-check d) */
    uint64_t max_block; /* a larger tensor is refused with its node's name; 0: 1 GiB */
} lk_plan_options;

typedef struct lk_plan_info {
    uint64_t arena_bytes, unaliased_bytes, weight_bytes;
    int32_t nodes, commands;
} lk_plan_info;

lk_plan *lk_plan_create(lk_graph *graph, const lk_plan_options *options, lk_error *error);
void lk_plan_destroy(lk_plan *plan);
lk_plan_info lk_plan_information(const lk_plan *plan);
/* What an instance on this device takes beside the arena, for all its commands in turn. */
uint64_t lk_plan_scratch_bytes(const lk_plan *plan, const lk_device *device);

/* Device memory that several instances use in turn: as much as the largest of their plans needs. What an instance
 * holds, inputs included, is gone once another one of the arena is written or run. Destroy it after the instances. */
typedef struct lk_arena lk_arena;
lk_arena *lk_arena_create(lk_device *device, const lk_plan *const *plans, int plan_count, lk_error *error);
void lk_arena_destroy(lk_arena *arena);

typedef struct lk_instance_options {
    lk_arena *arena;          /* made for this plan among others; NULL: memory of its own */
    uint64_t shuffle_seed;    /* not 0: commands between two barriers run in a random order (self-check b) */
    bool truth;               /* every command alone, poisoned (self-check c); slow */
    bool timestamps;          /* measure every command: lk_instance_recording, gpu/stream.h; slower */
    uint64_t split_groups;    /* cut every dispatch after so many workgroups (tests); 0: by time */
    uint32_t submit_commands; /* at most so many commands a submit (tests); 0: by time */
    int64_t omit_barrier;     /* leaves out this barrier, 1-based over the sections in order (tests); 0: none */
    /* LK_OP_COUNT entries: the variant that each op is forced to (doctor's replacements), 0 lets the op choose. NULL:
     * all 0. Copied. */
    const int32_t *variants;
} lk_instance_options;

/* Uploads weights if needed, takes an arena, records every section. The plan must outlive the instance. */
lk_instance *lk_instance_create(lk_plan *plan, lk_device *device, const lk_instance_options *options, lk_error *error);
void lk_instance_destroy(lk_instance *instance);
/* Dense logical order, f32 (int32 for LK_I32). */
likeness_status lk_instance_write(lk_instance *instance, lk_value input, const void *dense, lk_error *error);
likeness_status lk_instance_read(lk_instance *instance, lk_value output, void *dense, lk_error *error);
/* Commands of a section (each costs a CPU driver 25 to 45 microseconds whatever it does). */
uint32_t lk_instance_command_count(const lk_instance *instance, int section);
/* Replays one section and waits for it. */
likeness_status lk_instance_run(lk_instance *instance, int section, lk_error *error);

#endif
