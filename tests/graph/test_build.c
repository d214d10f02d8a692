/* tests/graph/test_build.c - building graphs: what is refused and how it is said, scopes, costs, failing memory. */
#include "graph/graph_test.h"

#include "graph/internal.h"

static void expect(const lk_graph *graph, likeness_status status, const char *word, const char *other) {
    lk_error error = LK_ERROR_INIT;
    likeness_status found = lk_graph_status(graph, &error);
    if (found != status || !strstr(error.message, word) || !strstr(error.message, other))
        fail_msg("status %d, message '%s'; wanted %d, '%s' and '%s'", (int)found, error.message, (int)status, word,
                 other);
}

/* A graph with one input x [2,5]. */
typedef struct small {
    lk_weights *weights;
    lk_graph *graph;
    lk_value x;
} small;

static small small_new(void) {
    small s = {.weights = lk_weights_create(false)};
    assert_non_null(s.weights);
    s.graph = graph_new(s.weights);
    s.x = lk_graph_input(s.graph, "x", lk_shape2(2, 5), LK_F32);
    return s;
}

static void small_free(small *s) {
    lk_graph_destroy(s->graph);
    lk_weights_destroy(s->weights);
}

static void the_first_error_stays(void **state) {
    (void)state;
    small s = small_new();
    lk_value w = graph_weight(s.graph, s.weights, "w", LK_WEIGHT_MATRIX, lk_shape2(3, 6));
    lk_graph_push_scope(s.graph, "block");
    lk_graph_push_scope(s.graph, "linear");
    assert_int_equal(lk_matmul(s.graph, s.x, w, LK_NO_VALUE, LK_NO_VALUE), LK_NO_VALUE);
    expect(s.graph, LIKENESS_UNSUPPORTED, "block/linear: ", "[2,5]");
    expect(s.graph, LIKENESS_UNSUPPORTED, "matmul", "[3,6]");
    int32_t nodes = lk_graph_node_count(s.graph), values = s.graph->value_count;
    /* From here on nothing happens, and nothing else is reported. */
    lk_value gradient, out[LK_MAX_OUTPUTS];
    assert_int_equal(lk_silu(s.graph, s.x), LK_NO_VALUE);
    assert_int_equal(lk_graph_emit(s.graph, LK_OP_UNARY, NULL, &s.x, 1, 0, out), LK_NO_VALUE);
    assert_int_equal(out[0], LK_NO_VALUE);
    assert_int_equal(lk_graph_input(s.graph, "y", lk_shape1(3), LK_F32), LK_NO_VALUE);
    assert_int_equal(lk_graph_weight(s.graph, 0), LK_NO_VALUE);
    assert_int_equal(lk_graph_weight_named(s.graph, "nothing"), LK_NO_VALUE);
    lk_graph_output(s.graph, 77, "far");
    lk_graph_fail(s.graph, LIKENESS_BAD_FILE, "later");
    assert_int_equal(lk_graph_gradient(s.graph, &s.x, &s.x, 1, &s.x, 1, &gradient), -1);
    assert_int_equal(gradient, LK_NO_VALUE);
    assert_int_equal(lk_graph_node_count(s.graph), nodes);
    assert_int_equal(s.graph->value_count, values);
    expect(s.graph, LIKENESS_UNSUPPORTED, "matmul", "[3,6]");
    /* A graph that failed is neither planned nor run, and says why. */
    lk_error error = LK_ERROR_INIT;
    assert_null(lk_plan_create(s.graph, NULL, &error));
    assert_non_null(strstr(error.message, "block/linear: "));
    lk_error again = LK_ERROR_INIT;
    assert_null(lk_graph_run_reference(s.graph, NULL, &again));
    assert_non_null(strstr(again.message, "block/linear: "));
    small_free(&s);
}

/* One bad call on a fresh graph each. */
static void bad_input_shape(small *s) { lk_graph_input(s->graph, "pixels", lk_shape2(0, 3), LK_F32); }
static void bad_input_type(small *s) { lk_graph_input(s->graph, "pixels", lk_shape2(2, 3), LK_F16); }
static void bad_input_size(small *s) { lk_graph_input(s->graph, "pixels", lk_shape3(65536, 65536, 8), LK_F32); }
static void bad_weight_name(small *s) { lk_graph_weight_named(s->graph, "encoder.0.weight"); }
static void bad_weight_index(small *s) { lk_graph_weight(s->graph, 3); }
static void bad_operand(small *s) { lk_add(s->graph, s->x, 99); }
static void missing_operand(small *s) { lk_add(s->graph, s->x, LK_NO_VALUE); }
static void bad_broadcast(small *s) { lk_add(s->graph, s->x, lk_graph_input(s->graph, "y", lk_shape2(3, 5), LK_F32)); }
static void bad_output(small *s) { lk_graph_output(s->graph, LK_NO_VALUE, "velocity"); }
static void weight_output(small *s) {
    lk_graph_output(s->graph, graph_weight(s->graph, s->weights, "w", LK_WEIGHT_VECTOR, lk_shape1(4)), "velocity");
}
static void bad_slice(small *s) { lk_slice(s->graph, s->x, 1, 3, 3); }
static void bad_reshape(small *s) { lk_reshape(s->graph, s->x, lk_shape2(3, 4)); }
static void bad_tokens(small *s) {
    lk_from_tokens(s->graph, lk_graph_input(s->graph, "tokens", lk_shape3(2, 5, 4), LK_F32), 2, 3);
}
static void own_failure(small *s) {
    lk_graph_push_scope(s->graph, "mid_block");
    lk_graph_fail(s->graph, LIKENESS_UNSUPPORTED, "no such %s", "attention");
}
static void gradient_of(small *s, lk_value y, lk_value cotangent, lk_value wrt) {
    lk_value gradient;
    assert_int_equal(lk_graph_gradient(s->graph, &y, &cotangent, 1, &wrt, 1, &gradient), -1);
    assert_int_equal(gradient, LK_NO_VALUE);
}
static void gradient_shape(small *s) {
    gradient_of(s, lk_silu(s->graph, s->x), lk_graph_input(s->graph, "d", lk_shape2(5, 2), LK_F32), s->x);
}
static void gradient_type(small *s) {
    gradient_of(s, lk_silu(s->graph, s->x), lk_graph_input(s->graph, "d", lk_shape2(2, 5), LK_I32), s->x);
}
static void gradient_cotangent(small *s) { gradient_of(s, s->x, LK_NO_VALUE, s->x); }
static void gradient_wanted(small *s) { gradient_of(s, s->x, s->x, 12); }
static void gradient_missing(small *s) {
    lk_graph_push_scope(s->graph, "update");
    lk_value inputs[3] = {s->x, s->x, lk_graph_input(s->graph, "p", lk_shape1(3), LK_F32)}, out[LK_MAX_OUTPUTS];
    lk_graph_emit(s->graph, LK_OP_OFFSET_UPDATE, NULL, inputs, 3, 3, out);
    gradient_of(s, out[0], s->x, s->x);
}
static void gradient_weight(small *s) {
    lk_value w = graph_weight(s->graph, s->weights, "w", LK_WEIGHT_MATRIX, lk_shape2(5, 5));
    gradient_of(s, lk_matmul(s->graph, s->x, w, LK_NO_VALUE, LK_NO_VALUE), s->x, w);
}
static void gradient_second(small *s) {
    /* A gradient of a gradient: no op has one yet, and that is said with the node. */
    lk_value y = lk_silu(s->graph, s->x), first, second;
    assert_int_equal(lk_graph_gradient(s->graph, &y, &s->x, 1, &s->x, 1, &first), 1);
    lk_graph_gradient(s->graph, &first, &s->x, 1, &s->x, 1, &second);
}

static void refusals(void **state) {
    (void)state;
    const struct {
        void (*call)(small *s);
        likeness_status status;
        const char *word, *other;
    } cases[] = {
        {bad_input_shape, LIKENESS_INTERNAL, "pixels", "[0,3]"},
        {bad_input_type, LIKENESS_INTERNAL, "pixels", "type"},
        {bad_input_size, LIKENESS_INTERNAL, "pixels", "[65536,65536,8]"},
        {bad_weight_name, LIKENESS_BAD_FILE, "encoder.0.weight", "missing"},
        {bad_weight_index, LIKENESS_INTERNAL, "weight 3", "does not exist"},
        {bad_operand, LIKENESS_INTERNAL, "binary", "input 1"},
        {missing_operand, LIKENESS_UNSUPPORTED, "binary", ""},
        {bad_broadcast, LIKENESS_UNSUPPORTED, "[2,5]", "[3,5]"},
        {bad_output, LIKENESS_INTERNAL, "velocity", "no value"},
        {weight_output, LIKENESS_INTERNAL, "velocity", "weight"},
        {bad_slice, LIKENESS_UNSUPPORTED, "slice", "[2,5]"},
        {bad_reshape, LIKENESS_UNSUPPORTED, "[2,5]", "[3,4]"},
        {bad_tokens, LIKENESS_UNSUPPORTED, "from_tokens", "[2,5,4]"},
        {own_failure, LIKENESS_UNSUPPORTED, "mid_block: ", "no such attention"},
        {gradient_shape, LIKENESS_INTERNAL, "[2,5]", "[5,2]"},
        {gradient_type, LIKENESS_INTERNAL, "gradient", "f32"},
        {gradient_cotangent, LIKENESS_INTERNAL, "gradient", "cotangent"},
        {gradient_wanted, LIKENESS_INTERNAL, "gradient", "no value"},
        {gradient_missing, LIKENESS_UNSUPPORTED, "d:update/offset_update", "gradient"},
        {gradient_weight, LIKENESS_UNSUPPORTED, "d:matmul", "gradient"},
        {gradient_second, LIKENESS_UNSUPPORTED, "d:unary", "gradient"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        small s = small_new();
        cases[i].call(&s);
        expect(s.graph, cases[i].status, cases[i].word, cases[i].other);
        small_free(&s);
    }
    lk_graph *graph = graph_new(NULL);
    lk_graph_weight_named(graph, "bias");
    expect(graph, LIKENESS_BAD_FILE, "bias", "missing");
    lk_graph_destroy(graph);
}

static void scopes_name_nodes(void **state) {
    (void)state;
    small s = small_new();
    char expected[32 * 12 + 32] = "";
    lk_silu(s.graph, s.x);
    lk_graph_push_scope(s.graph, "down_blocks.%d", 2);
    lk_graph_push_scope(s.graph, "a/b"); /* a slash of its own */
    lk_silu(s.graph, s.x);
    lk_graph_pop_scope(s.graph);
    lk_silu(s.graph, s.x);
    lk_graph_pop_scope(s.graph);
    lk_graph_pop_scope(s.graph); /* one too many */
    lk_silu(s.graph, s.x);
    /* Deeper and longer than there is room for: cut, and what was above is unharmed. */
    for (int i = 0; i < 60; i++)
        lk_graph_push_scope(s.graph, "level.%d.with.a.long.name", i);
    lk_silu(s.graph, s.x);
    for (int i = 0; i < 59; i++)
        lk_graph_pop_scope(s.graph);
    lk_silu(s.graph, s.x);
    lk_graph_pop_scope(s.graph);
    lk_silu(s.graph, s.x);
    const char *const names[] = {
        "unary", "down_blocks.2/a/b/unary", "down_blocks.2/unary", "unary", NULL, "level.0.with.a.long.name/unary",
        "unary"};
    for (int i = 0; i < 7; i++)
        if (names[i]) assert_string_equal(lk_graph_node(s.graph, i).name, names[i]);
    snprintf(expected, sizeof expected, "level.0.with.a.long.name/level.1.with.a.long.name/");
    assert_int_equal(strncmp(lk_graph_node(s.graph, 4).name, expected, strlen(expected)), 0);
    /* Backward nodes are named by their forward node, and the caller's scope comes back. */
    lk_graph_push_scope(s.graph, "outer");
    lk_value y = lk_silu(s.graph, s.x), gradient;
    assert_int_equal(lk_graph_gradient(s.graph, &y, &s.x, 1, &s.x, 1, &gradient), 1);
    assert_string_equal(lk_graph_node(s.graph, 8).name, "d:outer/unary/unary_dx");
    assert_int_equal(lk_graph_node(s.graph, 8).section, 1);
    assert_int_equal(lk_graph_node(s.graph, 7).section, 0);
    lk_silu(s.graph, s.x);
    assert_string_equal(lk_graph_node(s.graph, 9).name, "outer/unary");
    assert_int_equal(lk_graph_node(s.graph, 9).section, 1);
    small_free(&s);
}

static void costs_by_section(void **state) {
    (void)state;
    small s = small_new();
    lk_value w = graph_weight(s.graph, s.weights, "w", LK_WEIGHT_MATRIX, lk_shape2(7, 5));
    lk_value y = lk_matmul(s.graph, s.x, w, LK_NO_VALUE, LK_NO_VALUE), gradient;
    lk_value d = lk_graph_input(s.graph, "d", lk_shape2(2, 7), LK_F32);
    lk_graph_gradient(s.graph, &y, &d, 1, &s.x, 1, &gradient);
    assert_true(lk_graph_cost(s.graph, 0).flops == 2.0 * 2 * 5 * 7);
    assert_true(lk_graph_cost(s.graph, 1).flops == 2.0 * 2 * 5 * 7);
    assert_true(lk_graph_cost(s.graph, 2).flops == 0);
    small_free(&s);
}

/* A weight is one value however often it is asked for; graphs of one set number their values apart. */
static void weights_are_values_once(void **state) {
    (void)state;
    small s = small_new();
    lk_value a = graph_weight(s.graph, s.weights, "a", LK_WEIGHT_VECTOR, lk_shape1(5));
    for (int i = 0; i < 200; i++) {
        char name[16];
        snprintf(name, sizeof name, "w%d", i);
        graph_weight(s.graph, s.weights, name, LK_WEIGHT_VECTOR, lk_shape1(3));
    }
    assert_int_equal(lk_graph_weight_named(s.graph, "a"), a);
    assert_int_equal(lk_graph_weight(s.graph, 0), a);
    lk_graph *other = graph_new(s.weights);
    assert_int_equal(lk_graph_weight_named(other, "w150"), 0);
    lk_graph_destroy(other);
    small_free(&s);
}

/* Everything between an empty set and the reference's results. */
static likeness_status whole_way(lk_error *error) {
    static const float ones[5] = {1, 1, 1, 1, 1};
    static const double x[10] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    const double *inputs[2] = {x, x};
    lk_weights *weights = lk_weights_create(false);
    if (!weights) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory");
    lk_shape five = lk_shape1(5);
    lk_graph *graph = NULL;
    lk_plan *plan = NULL;
    lk_reference_values *run = NULL;
    likeness_status status = LIKENESS_OK;
    if (lk_weights_add_values(weights, "ones", LK_WEIGHT_VECTOR, &five, 1, ones, error) < 0) status = error->status;
    if (status == LIKENESS_OK && !(graph = lk_graph_create(weights, error))) status = error->status;
    if (status == LIKENESS_OK) {
        lk_value in = lk_graph_input(graph, "x", lk_shape2(2, 5), LK_F32), y = in, gradient;
        lk_value d = lk_graph_input(graph, "d", lk_shape2(2, 5), LK_F32);
        for (int i = 0; i < 40; i++)
            y = lk_add(graph, lk_silu(graph, y), lk_graph_weight_named(graph, "ones"));
        lk_graph_gradient(graph, &y, &d, 1, &in, 1, &gradient);
        if (lk_graph_status(graph, error) == LIKENESS_OK) lk_graph_output(graph, gradient, "gradient");
        status = lk_graph_status(graph, error);
    }
    if (status == LIKENESS_OK && !(plan = lk_plan_create(graph, NULL, error))) status = error->status;
    if (status == LIKENESS_OK && !(run = lk_graph_run_reference(graph, inputs, error))) status = error->status;
    lk_reference_values_destroy(run);
    lk_plan_destroy(plan);
    lk_graph_destroy(graph);
    lk_weights_destroy(weights);
    return status;
}

static void every_allocation_fails_once(void **state) {
    (void)state;
    int64_t live = lk_memory_live(), n = 0;
    for (;; n++) {
        lk_error error = LK_ERROR_INIT;
        lk_memory_fail_after(n);
        likeness_status status = whole_way(&error);
        lk_memory_fail_after(-1);
        if (lk_memory_live() != live) fail_msg("allocation %lld leaked", (long long)n);
        if (status == LIKENESS_OK) break;
        if (status != LIKENESS_OUT_OF_MEMORY || !error.message[0])
            fail_msg("allocation %lld: status %d, '%s'", (long long)n, (int)status, error.message);
    }
    assert_true(n > 100);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_error_stays),   cmocka_unit_test(refusals),
        cmocka_unit_test(scopes_name_nodes),       cmocka_unit_test(costs_by_section),
        cmocka_unit_test(weights_are_values_once), cmocka_unit_test(every_allocation_fails_once),
    };
    return graph_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
