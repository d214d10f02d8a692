/* tests/graph/test_plan.c - where values lie: lives that overlap share no byte, whatever the graph; blocks; limits;
 * many nodes. The test finds lives and aliases by itself, from the nodes. */
#include "graph/graph_test.h"

#include "base/time.h"
#include "graph/plan.h"
#include "graph/ranges.h"

/* ---- what must hold of any plan ---- */

/* Who holds the bytes of a value: follows nodes that are aliases up to where the memory is made. */
static lk_value storage_of(const lk_graph *graph, lk_value value) {
    for (;;) {
        const lk_value_info *info = &graph->values[value];
        if (info->kind != LK_VALUE_NODE) return value;
        const lk_node *node = &graph->nodes[info->source];
        if (!lk_node_is_alias(node) || graph->values[node->input[0]].kind == LK_VALUE_WEIGHT) return value;
        value = node->input[0];
    }
}

typedef struct life {
    bool used;
    int32_t first, last;
} life;

/* From the graph alone: which nodes anybody needs, and from when to when each memory is in use. */
static life *lives_of(const lk_graph *graph) {
    life *lives = calloc((size_t)graph->value_count + 1, sizeof *lives);
    bool *needed = calloc((size_t)graph->value_count + 1, sizeof *needed);
    for (int32_t v = 0; v < graph->value_count; v++)
        needed[v] = graph->values[v].output;
    for (int32_t n = graph->node_count - 1; n >= 0; n--) {
        const lk_node *node = &graph->nodes[n];
        bool runs = false;
        for (int i = 0; i < LK_MAX_OUTPUTS; i++)
            runs = runs || (node->output[i] != LK_NO_VALUE && needed[node->output[i]]);
        for (int i = 0; i < LK_MAX_INPUTS && runs; i++)
            if (node->input[i] != LK_NO_VALUE) needed[node->input[i]] = true;
        for (int i = 0; i < LK_MAX_OUTPUTS && runs; i++)
            if (node->output[i] != LK_NO_VALUE) needed[node->output[i]] = true; /* it is written */
    }
    for (int32_t v = 0; v < graph->value_count; v++) {
        const lk_value_info *info = &graph->values[v];
        lk_value s = storage_of(graph, v);
        if (graph->values[s].kind == LK_VALUE_WEIGHT) continue;
        bool input = graph->values[s].kind == LK_VALUE_INPUT;
        if (s == v) lives[s] = (life){input || needed[v], input ? -1 : info->source, input ? INT32_MAX : info->source};
        if (info->output) lives[s].last = INT32_MAX;
    }
    for (int32_t n = 0; n < graph->node_count; n++) {
        const lk_node *node = &graph->nodes[n];
        bool runs = false;
        for (int i = 0; i < LK_MAX_OUTPUTS; i++)
            runs = runs || (node->output[i] != LK_NO_VALUE && needed[node->output[i]]);
        for (int i = 0; i < LK_MAX_INPUTS && runs; i++) {
            if (node->input[i] == LK_NO_VALUE) continue;
            lk_value s = storage_of(graph, node->input[i]);
            const lk_value_info *info = &graph->values[s];
            bool later = info->kind == LK_VALUE_NODE && graph->nodes[info->source].section != node->section;
            if (later) lives[s].last = INT32_MAX; /* sections are replayed on their own */
            if (lives[s].last < n) lives[s].last = n;
        }
    }
    free(needed);
    return lives;
}

static void check_plan(const lk_plan *plan) {
    const lk_graph *graph = plan->graph;
    uint64_t limit = plan->options.max_block ? plan->options.max_block : (uint64_t)1 << 30, arena = 0, apart = 0;
    life *lives = lives_of(graph);
    for (int32_t b = 0; b < plan->block_count; b++) {
        assert_true(plan->block_bytes[b] > 0 && plan->block_bytes[b] <= limit);
        arena += plan->block_bytes[b];
    }
    for (int32_t v = 0; v < plan->value_count; v++) {
        lk_value s = storage_of(graph, v);
        if (graph->values[s].kind == LK_VALUE_WEIGHT || !lives[s].used) continue;
        assert_int_equal(plan->root[v], s);
        const lk_place *place = &plan->place[s];
        assert_true(place->block >= 0 && place->block < plan->block_count);
        assert_true(place->offset % LK_PLAN_ALIGN == 0);
        assert_true(place->bytes >= lk_tensor_row_bytes(&graph->values[v].tensor));
        assert_true(place->offset + place->bytes <= plan->block_bytes[place->block]);
        if (s == v) apart += (place->bytes + LK_PLAN_ALIGN - 1) / LK_PLAN_ALIGN * LK_PLAN_ALIGN;
    }
    for (int32_t a = 0; a < plan->value_count; a++)
        for (int32_t b = 0; b < a; b++) {
            if (!lives[a].used || !lives[b].used || storage_of(graph, a) != a || storage_of(graph, b) != b) continue;
            const lk_place *x = &plan->place[a], *y = &plan->place[b];
            if (lives[a].last < lives[b].first || lives[b].last < lives[a].first) continue;
            if (x->block == y->block && x->offset < y->offset + y->bytes && y->offset < x->offset + x->bytes)
                fail_msg("values %d (%d..%d) and %d (%d..%d) share bytes", (int)a, (int)lives[a].first,
                         (int)lives[a].last, (int)b, (int)lives[b].first, (int)lives[b].last);
        }
    free(lives);
    lk_plan_info info = lk_plan_information(plan);
    assert_true(info.arena_bytes == arena && info.unaliased_bytes == apart);
    if (!plan->options.loose && plan->block_count == 1) assert_true(arena <= apart);
}

/* ---- random graphs ---- */

static int pick(test_random *random, int n) {
    int i = (int)test_uniform(random, 0, n);
    return i < n ? i : n - 1;
}

/* Nodes on random earlier values, with aliases, dead ends, outputs here and there, gradients of a few values. */
static lk_graph *random_graph(uint64_t seed) {
    lk_error error = LK_ERROR_INIT;
    test_random random = {seed};
    lk_graph *g = graph_new(NULL);
    lk_value values[64];
    int count = 2;
    values[0] = lk_graph_input(g, "a", lk_shape4(1, 16, 4, 6), LK_F32);
    values[1] = lk_graph_input(g, "b", lk_shape4(1, 16, 4, 6), LK_F32);
    while (count < 48) {
        lk_value x = values[pick(&random, count)];
        lk_shape shape = lk_graph_shape(g, x);
        switch (pick(&random, 6)) {
        case 0:
            values[count] = lk_silu(g, x);
            break;
        case 1:
            values[count] = lk_mul(g, x, x);
            break;
        case 2: /* an alias, there and back */
            values[count] = shape.rank == 4 ? lk_to_tokens(g, x) : lk_from_tokens(g, x, 4, shape.dim[1] / 4);
            break;
        case 3: /* another size */
            values[count] = shape.rank == 4 && shape.dim[3] < 40 ? lk_upsample_nearest(g, x, 4, 2 * shape.dim[3])
                                                                 : lk_scale_shift(g, x, 2, 1);
            break;
        case 4:
            values[count] =
                lk_shape_inner(&shape) > 8 ? lk_slice(g, x, lk_shape_inner_axis(&shape), 0, 8) : lk_silu(g, x);
            break;
        default: {
            lk_value parts[2] = {x, x};
            values[count] =
                lk_shape_inner(&shape) < 32 ? lk_concat(g, parts, 2, lk_shape_inner_axis(&shape)) : lk_silu(g, x);
        }
        }
        if (pick(&random, 8) == 0) lk_graph_output(g, values[count], "y");
        count++;
    }
    for (int section = 0; section < 2; section++) {
        lk_value y = values[count - 1 - section], gradients[2];
        lk_value d = lk_graph_input(g, "d", lk_graph_shape(g, y), LK_F32);
        lk_graph_gradient(g, &y, &d, 1, values, 2, gradients);
        for (int i = 0; i < 2; i++)
            if (gradients[i] != LK_NO_VALUE) lk_graph_output(g, gradients[i], "gradient");
    }
    assert_ok(lk_graph_status(g, &error), &error);
    return g;
}

static void lives_that_overlap_share_nothing(void **state) {
    (void)state;
    double arena = 0, apart = 0;
    for (int seed = 0; seed < 300; seed++) {
        lk_graph *graph = random_graph((uint64_t)seed * 31 + 5);
        const lk_plan_options options = {.loose = seed % 5 == 4, .max_block = seed % 3 == 1 ? 24576 : 0};
        lk_plan *plan = graph_plan(graph, &options);
        check_plan(plan);
        if (!options.loose) {
            arena += (double)lk_plan_information(plan).arena_bytes;
            apart += (double)lk_plan_information(plan).unaliased_bytes;
        }
        lk_plan_destroy(plan);
        lk_graph_destroy(graph);
    }
    printf("arenas are %.0f %% of what they hold\n", 100 * arena / apart);
    assert_true(arena < apart);
}

/* The plans of networks, too. */
static void networks(void **state) {
    (void)state;
    static const char *const names[] = {"unet_0", "unet_3", "clip_1", "decoder_2", "encoder_4", "onnx_residual"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        for (int variant = 0; variant < 3; variant++) {
            network_case n;
            network_open(&n, names[i], &(network_options){.forward_only = variant == 2});
            lk_plan *plan = graph_plan(n.c.graph, &(lk_plan_options){.loose = variant == 1});
            check_plan(plan);
            lk_plan_info info = lk_plan_information(plan);
            if (variant != 1)
                printf("%-13s %s: %d commands, arena %.0f KiB of %.0f\n", names[i],
                       variant == 0 ? "with gradient" : "forward only ", (int)info.commands,
                       (double)info.arena_bytes / 1024, (double)info.unaliased_bytes / 1024);
            lk_plan_destroy(plan);
            network_close(&n);
        }
}

/* ---- limits ---- */

static void too_large_for_a_block(void **state) {
    (void)state;
    lk_graph *g = graph_new(NULL);
    lk_value x = lk_graph_input(g, "latent", lk_shape4(1, 8, 16, 16), LK_F32); /* 8 KiB */
    lk_graph_push_scope(g, "decoder.up.3");
    lk_value y = lk_upsample_nearest(g, x, 64, 64); /* 128 KiB */
    lk_graph_pop_scope(g);
    lk_graph_output(g, y, "y");
    const struct {
        uint64_t limit;
        const char *word, *other;
    } cases[] = {{131072, NULL, NULL},
                 {131071, "decoder.up.3/resize", "[1,8,64,64]"},
                 {8192, "decoder.up.3/resize", "131072"},
                 {8191, "input latent", "[1,8,16,16]"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        lk_error error = LK_ERROR_INIT;
        lk_plan *plan = lk_plan_create(g, &(lk_plan_options){.max_block = cases[i].limit}, &error);
        assert_true((plan == NULL) == (cases[i].word != NULL));
        if (!plan && (error.status != LIKENESS_OUT_OF_MEMORY || !strstr(error.message, cases[i].word) ||
                      !strstr(error.message, cases[i].other)))
            fail_msg("status %d, '%s'", (int)error.status, error.message);
        if (plan) assert_int_equal(plan->block_count, 2);
        lk_plan_destroy(plan);
    }
    lk_graph_destroy(g);
}

/* What nobody reads is neither placed nor run; what is read keeps its node. */
static void dead_nodes_cost_nothing(void **state) {
    (void)state;
    lk_graph *g = graph_new(NULL);
    lk_value x = lk_graph_input(g, "x", lk_shape2(4, 8), LK_F32), y = lk_silu(g, x), dead = x;
    for (int i = 0; i < 10; i++)
        dead = lk_silu(g, dead);
    lk_graph_output(g, y, "y");
    lk_plan *plan = graph_plan(g, NULL);
    assert_int_equal(lk_plan_information(plan).commands, 1);
    assert_true(lk_plan_information(plan).arena_bytes == 2 * LK_PLAN_ALIGN);
    lk_plan_destroy(plan);
    lk_graph_destroy(g);
}

/* ---- many nodes ---- */

/* A chain needs the input and two more tensors however long it is. */
static void chain_of_many_nodes(void **state) {
    (void)state;
    enum { LENGTH = 30000 };
    lk_graph *g = graph_new(NULL);
    lk_value x = lk_graph_input(g, "x", lk_shape2(4, 64), LK_F32);
    for (int i = 0; i < LENGTH; i++)
        x = lk_silu(g, x);
    lk_graph_output(g, x, "y");
    double start = lk_time_seconds();
    lk_plan *plan = graph_plan(g, NULL);
    printf("a chain of %d nodes is planned in %.1f ms\n", LENGTH, 1e3 * (lk_time_seconds() - start));
    assert_int_equal(lk_plan_information(plan).commands, LENGTH);
    assert_true(lk_plan_information(plan).arena_bytes == 3 * 1024);
    lk_plan_destroy(plan);
    lk_graph_destroy(g);
}

/* Many values at a time, freed in another order than made, so that thousands of gaps are open: forward and gradient of
 * a long chain with a skip from the first half's i-th node to the second half's mirror image, in many sizes. */
static double comb(int teeth) {
    lk_graph *g = graph_new(NULL);
    lk_value *tooth = malloc((size_t)teeth * sizeof *tooth), sum = LK_NO_VALUE;
    lk_value x = lk_graph_input(g, "x", lk_shape2(64, 8), LK_F32);
    for (int i = 0; i < teeth; i++) /* sizes 1 to 61 rows */
        tooth[i] = lk_silu(g, lk_slice(g, x, 0, 0, 1 + i * 37 % 61));
    for (int i = 0; i < teeth; i++) {
        /* 7 and the number of teeth have no common divisor: every tooth once, far from its neighbours */
        lk_value mean = lk_reduce_op(g, LK_REDUCE_MEAN, tooth[(int64_t)i * 7 % teeth], 1, true);
        sum = sum == LK_NO_VALUE ? mean : lk_add(g, sum, mean);
    }
    lk_graph_output(g, sum, "y");
    free(tooth);
    double start = lk_time_seconds();
    lk_plan *plan = graph_plan(g, NULL);
    double seconds = lk_time_seconds() - start;
    if (teeth < 1000) check_plan(plan);
    lk_plan_destroy(plan);
    lk_graph_destroy(g);
    return seconds;
}

static void many_gaps(void **state) {
    (void)state;
    comb(300);
    double few = comb(4000), many = comb(32000);
    printf("4,000 gaps: %.1f ms, 32,000: %.1f ms\n", 1e3 * few, 1e3 * many);
}

/* ---- free ranges against an array of bytes ---- */

static void ranges_against_an_array(void **state) {
    (void)state;
    enum { BLOCKS = 3, SIZE = 400, MOST_TAKEN = 200 };
    static bool is_free[BLOCKS][SIZE];
    struct {
        int32_t block;
        uint64_t offset, bytes;
    } taken[MOST_TAKEN];
    int count = 0;
    test_random random = {11};
    lk_ranges ranges = {0};
    memset(is_free, 0, sizeof is_free);
    for (int b = BLOCKS - 1; b >= 0; b--) {
        assert_true(lk_ranges_give(&ranges, b, 0, SIZE));
        memset(is_free[b], 1, SIZE);
    }
    for (int step = 0; step < 20000; step++) {
        if (count < MOST_TAKEN && (count == 0 || pick(&random, 2))) {
            int bytes = 1 + pick(&random, pick(&random, 10) == 0 ? SIZE : 12), block = 0, at = 0, run = 0;
            bool there = false;
            for (block = 0; block < BLOCKS && !there; block++)
                for (at = 0, run = 0; at < SIZE && !there; at++) {
                    run = is_free[block][at] ? run + 1 : 0;
                    there = run == bytes;
                }
            int32_t found_block;
            uint64_t found_offset;
            assert_int_equal(lk_ranges_take(&ranges, (uint64_t)bytes, &found_block, &found_offset), there);
            if (!there) continue;
            assert_int_equal(found_block, block - 1);
            assert_int_equal(found_offset, at - bytes);
            memset(&is_free[found_block][found_offset], 0, (size_t)bytes);
            taken[count].block = found_block;
            taken[count].offset = found_offset;
            taken[count++].bytes = (uint64_t)bytes;
        } else {
            int i = pick(&random, count);
            assert_true(lk_ranges_give(&ranges, taken[i].block, taken[i].offset, taken[i].bytes));
            memset(&is_free[taken[i].block][taken[i].offset], 1, taken[i].bytes);
            taken[i] = taken[--count];
        }
    }
    lk_ranges_free(&ranges);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lives_that_overlap_share_nothing),
        cmocka_unit_test(networks),
        cmocka_unit_test(too_large_for_a_block),
        cmocka_unit_test(dead_nodes_cost_nothing),
        cmocka_unit_test(chain_of_many_nodes),
        cmocka_unit_test(many_gaps),
        cmocka_unit_test(ranges_against_an_array),
    };
    return graph_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
