/* tests/gpu/test_stream.c - recordings: grid limits, splitting, replay, barriers, shuffling, one command alone. */
#include "gpu_support.h"

static void covers_the_grid_exactly(void **state) {
    (void)state;
    /* Each element is touched once whatever the limits and pieces are: a second touch would add x twice. */
    static const int sizes[] = {1,       16,          17,       16 * 7,        16 * 7 + 1,
                                16 * 49, 16 * 50 + 3, 16 * 343, 16 * 343 + 16, 16 * 1000 + 5};
    static const uint32_t limits[] = {0, 7, 1};
    for (size_t l = 0; l < 3; ++l) {
        lk_device *device = gpu_open(&(lk_device_options){.cache_folder = "", .max_groups_axis = limits[l]});
        for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; ++s) {
            if (limits[l] == 1 && sizes[s] > 16 * 60) continue;
            gpu_axpy axpy = gpu_axpy_make(device, sizes[s], (int)s % 4);
            gpu_axpy_run(&axpy, NULL, 1);
            gpu_axpy_check(&axpy, 1);
            gpu_axpy_run(&axpy, &(lk_recording_options){.split_groups = 5}, 2);
            gpu_axpy_check(&axpy, 3);
            gpu_axpy_run(&axpy, &(lk_recording_options){.submit_commands = 1}, 3);
            gpu_axpy_check(&axpy, 6);
            gpu_axpy_free(&axpy);
        }
        lk_device_close(device);
    }
}

static void more_workgroups_than_an_axis_holds(void **state) {
    (void)state;
    lk_device *device = gpu_open(&(lk_device_options){.cache_folder = ""});
    int n = 2 * 65535 + 77; /* of one invocation each */
    gpu_axpy axpy = gpu_axpy_make(device, n, 1);
    lk_error error = LK_ERROR_INIT;
    lk_recording *recording = NULL;
    assert_ok(lk_recording_create(device, NULL, &recording, &error), &error);
    lk_command command = gpu_axpy_command(axpy.x, axpy.y, n, 1.0f, 1);
    assert_ok(lk_record(recording, &command, &error), &error);
    assert_ok(lk_replay(recording, &error), &error);
    gpu_axpy_check(&axpy, 1);
    lk_recording_destroy(recording);
    gpu_axpy_free(&axpy);
    lk_device_close(device);
}

static void replays(void **state) {
    (void)state;
    for (int staged = 0; staged < 2; ++staged) {
        lk_device *device =
            gpu_open(&(lk_device_options){.cache_folder = "", .pretend_unmappable = staged, .trace = true});
        gpu_axpy axpy = gpu_axpy_make(device, 500, 3);
        lk_error error = LK_ERROR_INIT;
        lk_recording *recording = NULL;
        assert_ok(lk_recording_create(device, &(lk_recording_options){.timestamps = true}, &recording, &error), &error);
        lk_command command = gpu_axpy_command(axpy.x, axpy.y, 500, 1.0f, 16);
        for (int i = 0; i < 5; ++i)
            assert_ok(lk_record(recording, &command, &error), &error);
        for (int i = 0; i < 4; ++i)
            assert_ok(lk_replay(recording, &error), &error);
        gpu_axpy_check(&axpy, 20);
        assert_int_equal(lk_recording_count(recording), 5);
        assert_int_equal(lk_recording_barriers(recording), 5);
        if (lk_device_caps(device)->timestamps)
            for (uint32_t i = 0; i < 5; ++i)
                assert_true(lk_recording_time(recording, i) >= 0);
        assert_true(lk_recording_seconds(recording) > 0);
        assert_int_equal(lk_record(recording, &command, &error), LIKENESS_INTERNAL); /* finished */
        lk_check_result result;
        error = (lk_error)LK_ERROR_INIT;
        assert_ok(lk_check_trace(device, &result, &error), &error);
        assert_int_equal(result.conflicts, 0);
        assert_true(result.commands >= 20);
        lk_recording_destroy(recording);
        gpu_axpy_free(&axpy);
        lk_device_close(device);
    }
}

static void copies_and_fills_are_ordered(void **state) {
    (void)state;
    lk_device *device = gpu_open(&(lk_device_options){.cache_folder = "", .trace = true});
    gpu_axpy axpy = gpu_axpy_make(device, 64, 0);
    lk_error error = LK_ERROR_INIT;
    lk_recording *recording = NULL;
    assert_ok(lk_recording_create(device, NULL, &recording, &error), &error);
    /* y = 0; y += x; x[0..32) = y[32..64); y += x */
    assert_ok(lk_record_fill(recording, axpy.y, 0, &error), &error);
    lk_command command = gpu_axpy_command(axpy.x, axpy.y, 64, 1.0f, 16);
    assert_ok(lk_record(recording, &command, &error), &error);
    assert_ok(lk_record_copy(recording, lk_ref_slice(axpy.y, 128, 128), lk_ref_slice(axpy.x, 0, 128), &error), &error);
    assert_ok(lk_record(recording, &command, &error), &error);
    assert_ok(lk_replay(recording, &error), &error);
    float y[64];
    assert_ok(lk_ref_read(axpy.y, 0, y, sizeof y, &error), &error);
    for (int i = 0; i < 64; ++i)
        assert_true(y[i] == gpu_x(i) + gpu_x(i < 32 ? i + 32 : i));
    assert_int_equal(lk_recording_barriers(recording), 4);
    lk_check_result result;
    assert_ok(lk_check_trace(device, &result, &error), &error);
    assert_int_equal(result.conflicts, 0);
    lk_recording_destroy(recording);
    gpu_axpy_free(&axpy);
    lk_device_close(device);
}

/* A small model: each of 6 columns of a matrix of 40 rows depends on earlier ones; strided ranges interleave. */
enum { COLUMNS = 6, ROWS = 40, WIDTH = 8 };

typedef struct model {
    lk_block *block;
    lk_buffer_ref slot[COLUMNS];
    lk_recording *recording;
} model;

static model model_make(lk_device *device, const lk_recording_options *options) {
    lk_error error = LK_ERROR_INIT;
    model m = {0};
    assert_ok(lk_block_create(device, COLUMNS * 256, "a test", &m.block, &error), &error);
    for (int i = 0; i < COLUMNS; ++i)
        m.slot[i] = (lk_buffer_ref){m.block, (uint64_t)i * 256, 160};
    float values[COLUMNS * 64];
    for (int i = 0; i < COLUMNS * 64; ++i)
        values[i] = (float)(i % 13) * 0.25f;
    assert_ok(lk_ref_write(lk_block_ref(m.block), 0, values, sizeof values, &error), &error);
    assert_ok(lk_recording_create(device, options, &m.recording, &error), &error);
    static const int from[] = {0, 0, 1, 2, 3, 1, 4, 5}, to[] = {1, 2, 3, 3, 4, 5, 0, 2};
    for (int i = 0; i < 8; ++i) {
        lk_command command = gpu_axpy_command(m.slot[from[i]], m.slot[to[i]], ROWS, 0.5f, 8);
        assert_ok(lk_record(m.recording, &command, &error), &error);
    }
    return m;
}

static void model_free(model *m) {
    lk_recording_destroy(m->recording);
    lk_block_destroy(m->block);
}

static void every_missing_barrier_is_reported(void **state) {
    (void)state;
    lk_device *device = gpu_open(&(lk_device_options){.cache_folder = "", .trace = true});
    lk_error error = LK_ERROR_INIT;
    uint32_t barriers = 1;
    for (uint32_t omit = 0; omit <= barriers; ++omit) {
        lk_check_clear(device);
        model m = model_make(device, &(lk_recording_options){.omit_barrier = omit});
        float values[COLUMNS * 64];
        assert_ok(lk_replay(m.recording, &error), &error);
        assert_ok(lk_replay(m.recording, &error), &error);
        assert_ok(lk_ref_read(lk_block_ref(m.block), 0, values, sizeof values, &error), &error);
        barriers = lk_recording_barriers(m.recording);
        lk_check_result result;
        assert_ok(lk_check_trace(device, &result, &error), &error);
        if (omit == 0) {
            assert_int_equal(result.conflicts, 0);
            assert_true(result.commands >= 16); /* and copies, where memory is not mapped */
        } else {
            if (result.conflicts == 0) fail_msg("barrier %u of %u left out and not reported", omit, barriers);
            assert_true(result.first[0] != 0);
        }
        model_free(&m);
    }
    assert_true(barriers > 4);
    lk_device_close(device);
}

static void shuffled_commands_give_the_same_bytes(void **state) {
    (void)state;
    lk_device *device = gpu_open(&(lk_device_options){.cache_folder = "", .trace = true});
    lk_error error = LK_ERROR_INIT;
    float first[COLUMNS * 64], values[COLUMNS * 64];
    for (uint64_t seed = 0; seed < 6; ++seed) {
        lk_check_clear(device);
        model m = model_make(device, &(lk_recording_options){.shuffle_seed = seed});
        assert_ok(lk_replay(m.recording, &error), &error);
        assert_ok(lk_ref_read(lk_block_ref(m.block), 0, values, sizeof values, &error), &error);
        if (seed == 0) memcpy(first, values, sizeof first);
        assert_memory_equal(first, values, sizeof first);
        lk_check_result result;
        assert_ok(lk_check_trace(device, &result, &error), &error);
        assert_int_equal(result.conflicts, 0);
        model_free(&m);
    }
    lk_device_close(device);
}

static uint32_t barriers_between(lk_device *device, lk_range a, lk_range b) {
    lk_error error = LK_ERROR_INIT;
    lk_recording *recording = NULL;
    assert_ok(lk_recording_create(device, NULL, &recording, &error), &error);
    for (int i = 0; i < 2; ++i) {
        lk_command command = lk_command_make(LK_SHADER_CHECK_AXPY);
        struct lk_push_axpy push = {.count = 0};
        lk_command_spec(&command, 0, 8);
        lk_command_push(&command, &push, sizeof push);
        const lk_range *r = i ? &b : &a;
        lk_command_range(&command, r->ref, r->offset, r->rows, r->stride, r->bytes, r->access);
        command.groups = 1;
        assert_ok(lk_record(recording, &command, &error), &error);
    }
    assert_ok(lk_replay(recording, &error), &error);
    uint32_t barriers = lk_recording_barriers(recording) - 1;
    assert_ok(lk_recording_wait(recording, &error), &error);
    lk_recording_destroy(recording);
    return barriers;
}

/* The stream's overlap rule against every byte, and the checker's own against both. */
static void overlap_rule_against_brute_force(void **state) {
    (void)state;
    lk_device *device = gpu_open(&(lk_device_options){.cache_folder = "", .trace = true});
    lk_error error = LK_ERROR_INIT;
    lk_block *block = NULL;
    assert_ok(lk_block_create(device, 4096, "a test", &block, &error), &error);
    lk_buffer_ref ref = lk_block_ref(block);
    uint32_t seed = 7, exact = 0;
    for (int test = 0; test < 300; ++test) {
        lk_range range[2];
        for (int i = 0; i < 2; ++i) {
            uint32_t v[5];
            for (int k = 0; k < 5; ++k)
                v[k] = (seed = seed * 1664525u + 1013904223u) >> 8;
            range[i] = (lk_range){
                ref, v[0] % 40 * 4, 1 + v[1] % 4, 16 + (test % 3 ? 0 : v[2] % 4 * 4), 4 + v[3] % 3 * 4, 1 + v[4] % 3};
        }
        unsigned char marks[4096] = {0};
        bool touch = false;
        for (int i = 0; i < 2; ++i)
            for (uint64_t r = 0; r < range[i].rows; ++r)
                for (uint64_t b = 0; b < range[i].bytes; ++b) {
                    unsigned char *m = &marks[range[i].offset + r * range[i].stride + b];
                    if (i == 0)
                        *m = (unsigned char)range[0].access;
                    else if (*m && ((*m | range[1].access) & LK_WRITE))
                        touch = true;
                }
        uint32_t barrier = barriers_between(device, range[0], range[1]);
        if (touch && !barrier) fail_msg("case %d: ranges touch and there is no barrier", test);
        if (!touch && !barrier) ++exact;
    }
    assert_true(exact > 50);
    lk_check_result result;
    assert_ok(lk_check_trace(device, &result, &error), &error);
    assert_int_equal(result.conflicts, 0);
    lk_block_destroy(block);
    lk_device_close(device);
}

static void truth_finds_undeclared_accesses(void **state) {
    (void)state;
    lk_device *device = gpu_open(&(lk_device_options){.cache_folder = ""});
    gpu_axpy axpy = gpu_axpy_make(device, 50, 1);
    for (int wrong = 0; wrong < 3; ++wrong) {
        lk_error error = LK_ERROR_INIT;
        lk_recording *recording = NULL;
        assert_ok(lk_recording_create(device, NULL, &recording, &error), &error);
        lk_command command = gpu_axpy_command(axpy.x, axpy.y, 50, 1.0f, 8);
        if (wrong == 1) command.range[0].bytes -= 4; /* the last element of x is read and not declared */
        if (wrong == 2) command.range[1].bytes -= 4; /* the last element of y is written and not declared */
        assert_ok(lk_record(recording, &command, &error), &error);
        float before, after;
        assert_ok(lk_ref_read(axpy.y, 40, &before, 4, &error), &error);
        lk_buffer_ref memory = lk_block_ref(axpy.block);
        likeness_status status = lk_check_truth(recording, 0, &memory, 1, &error);
        if (wrong == 0) {
            assert_ok(status, &error);
            assert_ok(lk_ref_read(axpy.y, 40, &after, 4, &error), &error);
            assert_true(after == before + gpu_x(10)); /* the command's result stays */
        } else {
            assert_int_equal(status, LIKENESS_INTERNAL);
            assert_non_null(strstr(error.message, "CHECK_AXPY"));
        }
        lk_recording_destroy(recording);
    }
    gpu_axpy_free(&axpy);
    lk_device_close(device);
}

static void subgroups_add_up(void **state) {
    (void)state;
    lk_device *device = gpu_open(&(lk_device_options){.cache_folder = ""});
    const lk_caps *caps = lk_device_caps(device);
    if (!lk_shader_supported(device, LK_SHADER_CHECK_SUBGROUP)) {
        lk_device_close(device);
        skip();
    }
    gpu_axpy axpy = gpu_axpy_make(device, 1024, 0);
    for (uint32_t size = caps->min_subgroup_size; size <= caps->max_subgroup_size; size *= 2) {
        lk_error error = LK_ERROR_INIT;
        lk_recording *recording = NULL;
        assert_ok(lk_recording_create(device, NULL, &recording, &error), &error);
        lk_command command = gpu_axpy_command(axpy.x, axpy.y, 1024, 0.0f, size);
        command.shader = LK_SHADER_CHECK_SUBGROUP;
        command.spec_count = 1;
        command.subgroup_size = size;
        assert_ok(lk_record(recording, &command, &error), &error);
        assert_ok(lk_replay(recording, &error), &error);
        float y[1024];
        assert_ok(lk_ref_read(axpy.y, 0, y, sizeof y, &error), &error);
        for (uint32_t group = 0; group < 1024 / size; ++group) {
            float sum = 0;
            for (uint32_t i = 0; i < size; ++i)
                sum += gpu_x((int)(group * size + i));
            assert_true(y[group] == sum);
        }
        lk_recording_destroy(recording);
    }
    gpu_axpy_free(&axpy);
    lk_device_close(device);
}

int main(void) {
    gpu_need_device();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(covers_the_grid_exactly),
        cmocka_unit_test(more_workgroups_than_an_axis_holds),
        cmocka_unit_test(replays),
        cmocka_unit_test(copies_and_fills_are_ordered),
        cmocka_unit_test(every_missing_barrier_is_reported),
        cmocka_unit_test(shuffled_commands_give_the_same_bytes),
        cmocka_unit_test(overlap_rule_against_brute_force),
        cmocka_unit_test(truth_finds_undeclared_accesses),
        cmocka_unit_test(subgroups_add_up),
    };
    return gpu_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
