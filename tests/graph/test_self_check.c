/* tests/graph/test_self_check.c - the command stream proves itself on networks, forward and gradient:
 *
 *   (a) trace     an independent pass over what was submitted, across recordings and replays, finds a barrier between
 *                 every two commands that conflict, and reports any one barrier left out, for every barrier
 *   (b) shuffle   commands between two barriers in random orders: same bytes
 *   (c) truth     every command alone, all that it does not declare as read poisoned in three ways: same bytes
 *   (d) loose     every tensor in a buffer of its own: same bytes
 *
 * Validation layers cannot see accesses through addresses, and CPU drivers hide missing barriers. */
#include "graph/graph_test.h"

#include "base/time.h"

static const char *const networks[] = {"unet_0",    "unet_4",    "clip_0",       "clip_3",  "encoder_1",
                                       "decoder_0", "decoder_3", "onnx_classic", "onnx_odd"};
enum { NETWORKS = sizeof networks / sizeof networks[0] };

/* Of each network: its fixture, kept open, and what an ordinary run gives. */
static network_case open_case[NETWORKS];
static float *expected[NETWORKS];
static bool opened;

static lk_device *begin(void) {
    lk_device *device = graph_device();
    for (int i = 0; i < NETWORKS && !opened; i++) {
        network_open(&open_case[i], networks[i], &(network_options){.pieces = i == 0 ? 3 : 0});
        expected[i] = case_run(&open_case[i].c, device, &(run_options){.replays = 1});
    }
    opened = true;
    lk_check_clear(device);
    return device;
}

static int finish(void **state) {
    (void)state;
    for (int i = 0; i < NETWORKS && opened; i++) {
        free(expected[i]);
        network_close(&open_case[i]);
    }
    return 0;
}

static void same(int network, const run_options *options, const char *what) {
    float *found = case_run(&open_case[network].c, graph_device_or_null(), options);
    case_same_bytes(&open_case[network].c, expected[network], found, what);
    free(found);
}

/* What a run gives must be right before it is worth comparing with. */
static void results_are_right(void **state) {
    (void)state;
    begin();
    for (int i = 0; i < NETWORKS; i++) {
        model_case *c = &open_case[i].c;
        const float *at = expected[i];
        for (int k = 0; k < c->outputs + c->gradients; k++) {
            const case_value *truth = k < c->outputs ? &c->output[k] : &c->gradient[k - c->outputs];
            double *found = malloc((size_t)truth->count * sizeof *found);
            for (int64_t e = 0; e < truth->count; e++)
                found[e] = (double)*at++;
            case_compare(c, truth, found, 1e-4, "the device", &c->worst_device);
            free(found);
        }
    }
}

/* ---- (a) ---- */

static lk_check_result trace_without(lk_device *device, uint64_t barrier) {
    lk_error error = LK_ERROR_INIT;
    lk_check_result result;
    assert_ok(lk_check_trace_without(device, barrier, &result, &error), &error);
    return result;
}

static void every_conflict_has_its_barrier(void **state) {
    (void)state;
    lk_device *device = begin();
    for (int i = 0; i < NETWORKS; i++) {
        lk_check_clear(device);
        same(i, &(run_options){.replays = 2}, "run again");
        lk_check_result whole = trace_without(device, 0);
        if (whole.conflicts)
            fail_msg("%s: %llu conflicts, %s", networks[i], (unsigned long long)whole.conflicts, whole.first);
        for (uint64_t barrier = 1; barrier <= whole.barriers; barrier++) {
            lk_check_result broken = trace_without(device, barrier);
            if (broken.conflicts == 0)
                fail_msg("%s: barrier %llu of %llu can be left out unnoticed", networks[i], (unsigned long long)barrier,
                         (unsigned long long)whole.barriers);
        }
        printf("%-13s %4llu commands, %4llu barriers: each one is missed\n", networks[i],
               (unsigned long long)whole.commands, (unsigned long long)whole.barriers);
    }
}

/* The same with barriers that are really not there, of one model: the stream leaves them out. */
static void a_missing_barrier_is_reported(void **state) {
    (void)state;
    lk_device *device = begin();
    int network = 2; /* clip_0 */
    model_case *c = &open_case[network].c;
    lk_plan *plan = graph_plan(c->graph, NULL);
    int64_t barriers = 0;
    for (int64_t omitted = 0; omitted <= barriers; omitted++) {
        lk_error error = LK_ERROR_INIT;
        lk_check_result result;
        float *results = malloc(case_result_count(c) * sizeof *results);
        lk_check_clear(device);
        lk_instance *instance = graph_instance(plan, device, &(lk_instance_options){.omit_barrier = omitted});
        case_write_all(c, instance);
        case_replay(c, instance, results);
        assert_ok(lk_check_trace(device, &result, &error), &error);
        if (omitted == 0)
            barriers = (int64_t)result.barriers;
        else
            assert_int_equal(result.barriers, barriers - 1);
        if ((result.conflicts == 0) != (omitted == 0))
            fail_msg("barrier %lld of %lld left out: %llu conflicts, %s", (long long)omitted, (long long)barriers,
                     (unsigned long long)result.conflicts, result.first);
        lk_instance_destroy(instance);
        free(results);
    }
    assert_true(barriers > 20);
    printf("%s: each of %d barriers was left out and missed\n", networks[network], (int)barriers);
    lk_plan_destroy(plan);
}

/* ---- (b), (c), (d) ---- */

static void shuffled(void **state) {
    (void)state;
    begin();
    for (int i = 0; i < NETWORKS; i++)
        for (uint64_t seed = 1; seed <= 3; seed++)
            same(i, &(run_options){.instance.shuffle_seed = seed}, "shuffled");
}

static void truth(void **state) {
    (void)state;
    lk_device *device = begin();
    int checked = 0;
    for (int i = 0; i < NETWORKS; i++) {
        lk_plan *plan = graph_plan(open_case[i].c.graph, NULL);
        uint64_t arena = lk_plan_information(plan).arena_bytes;
        lk_plan_destroy(plan);
        if (arena > 2u << 20) continue; /* too slow for this */
        double start = lk_time_seconds();
        same(i, &(run_options){.instance.truth = true}, "in truth mode");
        lk_check_clear(device); /* all of memory written and read for each run of a command: a long trace */
        printf("%-13s arena of %.0f KiB: every command does what it declares (%.1f s)\n", networks[i],
               (double)arena / 1024, lk_time_seconds() - start);
        checked++;
    }
    assert_true(checked >= 6);
}

/* Every range of one command in turn; afterwards the command has been run. Returns how many. */
static int withhold_ranges(lk_instance *instance, lk_recording *recording, uint32_t index) {
    lk_command *command = (lk_command *)lk_recording_command(recording, index);
    lk_buffer_ref memory[2];
    unsigned char *before[2];
    lk_error error = LK_ERROR_INIT;
    int parts = 0, withheld = 0;
    assert_int_equal(instance->block_count, 1);
    memory[parts++] = lk_block_ref(instance->blocks[0]);
    if (instance->scratch) memory[parts++] = lk_block_ref(instance->scratch);
    for (int p = 0; p < parts; p++) {
        before[p] = malloc(memory[p].bytes);
        assert_ok(lk_ref_read(memory[p], 0, before[p], memory[p].bytes, &error), &error);
    }
    for (uint32_t r = 0; r < command->range_count; r++)
        for (uint32_t access = LK_READ; access <= LK_WRITE; access++) {
            lk_error why = LK_ERROR_INIT;
            bool ours = false;
            for (int p = 0; p < parts; p++)
                ours = ours || command->range[r].ref.block == memory[p].block; /* and not the weights */
            if (!ours || !(command->range[r].access & access)) continue;
            command->range[r].access &= ~access;
            likeness_status status = lk_check_truth(recording, index, memory, (uint32_t)parts, &why);
            command->range[r].access |= access;
            for (int p = 0; p < parts; p++)
                assert_ok(lk_ref_write(memory[p], 0, before[p], memory[p].bytes, &error), &error);
            if (status != LIKENESS_INTERNAL)
                fail_msg("%s: range %u can do without its %s", command->label, r, access == LK_READ ? "read" : "write");
            withheld++;
        }
    assert_ok(lk_recording_run_one(recording, index, &error), &error);
    for (int p = 0; p < parts; p++)
        free(before[p]);
    return withheld;
}

/* Truth mode itself: of every range that a command declares, one at a time is withheld, and each must be missed. */
static void truth_misses_every_range(void **state) {
    (void)state;
    lk_device *device = begin();
    static const int chosen[] = {2, 7}; /* clip_0, onnx_classic */
    for (size_t i = 0; i < sizeof chosen / sizeof chosen[0]; i++) {
        model_case *c = &open_case[chosen[i]].c;
        lk_plan *plan = graph_plan(c->graph, NULL);
        lk_instance *instance = graph_instance(plan, device, NULL);
        case_write_all(c, instance);
        int withheld = 0;
        for (int s = 0; s <= c->section; s++)
            for (uint32_t k = 0; k < lk_recording_count(instance->recordings[s]); k++)
                withheld += withhold_ranges(instance, instance->recordings[s], k);
        printf("%s: %d ranges withheld, all missed\n", c->name, withheld);
        assert_true(withheld >= 90);
        lk_instance_destroy(instance);
        lk_plan_destroy(plan);
    }
}

static void loose(void **state) {
    (void)state;
    begin();
    for (int i = 0; i < NETWORKS; i++)
        same(i, &(run_options){.plan.loose = true}, "every tensor in its own buffer");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_are_right),
        cmocka_unit_test(every_conflict_has_its_barrier),
        cmocka_unit_test(a_missing_barrier_is_reported),
        cmocka_unit_test(shuffled),
        cmocka_unit_test(truth),
        cmocka_unit_test(truth_misses_every_range),
        cmocka_unit_test(loose),
    };
    return graph_finish(cmocka_run_group_tests(tests, NULL, finish));
}
