/* tests/gpu/test_faults.c - the n-th Vulkan call and the n-th host allocation fail, for every n: a message, no crash,
 * no leak, and afterwards everything works again. */
#include "gpu_support.h"

/* Opens, uploads, records, replays twice, reads. */
static likeness_status whole_run(bool staged, lk_error *error) {
    lk_device *device = NULL;
    lk_block *block = NULL;
    lk_recording *recording = NULL;
    lk_pool *pool = NULL;
    lk_device_options options = {.cache_folder = "", .pretend_unmappable = staged, .trace = true};
    likeness_status status = lk_device_open(&options, &device, error);
    if (status == LIKENESS_OK) status = lk_block_create(device, 4096, "a test", &block, error);
    float values[100] = {1, 2, 3};
    lk_buffer_ref x = {block, 0, sizeof values}, y = {block, 1024, sizeof values};
    if (status == LIKENESS_OK) status = lk_ref_write(x, 0, values, sizeof values, error);
    if (status == LIKENESS_OK) status = lk_ref_write(y, 0, values, sizeof values, error);
    if (status == LIKENESS_OK) status = lk_pool_create(device, 0, "weights", &pool, error);
    lk_buffer_ref weight;
    if (status == LIKENESS_OK) status = lk_pool_take(pool, 100, &weight, error);
    lk_recording_options record = {.timestamps = true, .submit_commands = 1};
    if (status == LIKENESS_OK) status = lk_recording_create(device, &record, &recording, error);
    for (int i = 0; i < 3 && status == LIKENESS_OK; ++i) {
        lk_command command = gpu_axpy_command(x, y, 100, 1.0f, i == 2 ? 8 : 16);
        command.label = "a node";
        status = lk_record(recording, &command, error);
    }
    for (int i = 0; i < 2 && status == LIKENESS_OK; ++i)
        status = lk_replay(recording, error);
    if (status == LIKENESS_OK) status = lk_ref_read(y, 0, values, sizeof values, error);
    if (status == LIKENESS_OK) assert_true(values[1] == 14.0f);
    lk_check_result result;
    if (status == LIKENESS_OK) status = lk_check_trace(device, &result, error);
    if (status == LIKENESS_OK) status = lk_recording_run_one(recording, 1, error);
    lk_recording_destroy(recording);
    lk_pool_destroy(pool);
    lk_block_destroy(block);
    lk_device_close(device);
    return status;
}

static void every_vulkan_call(void **state) {
    (void)state;
    for (int staged = 0; staged < 2; ++staged) {
        lk_error error = LK_ERROR_INIT;
        int64_t start = lk_gpu_calls();
        assert_ok(whole_run(staged, &error), &error);
        int64_t calls = lk_gpu_calls() - start;
        assert_true(calls > 30);
        static const likeness_status expected[] = {LIKENESS_OUT_OF_MEMORY, LIKENESS_DEVICE_LOST};
        static const lk_gpu_fault faults[] = {LK_FAULT_OUT_OF_DEVICE_MEMORY, LK_FAULT_DEVICE_LOST};
        for (int kind = 0; kind < 2; ++kind)
            for (int64_t n = 0; n < calls; ++n) {
                error = (lk_error)LK_ERROR_INIT;
                int64_t live = lk_memory_live();
                lk_gpu_fail_after(n, faults[kind]);
                likeness_status status = whole_run(staged, &error);
                lk_gpu_fail_after(-1, faults[kind]);
                if (status != expected[kind])
                    fail_msg("call %lld of %lld: status %d, %s", (long long)n, (long long)calls, (int)status,
                             error.message);
                assert_true(error.message[0] != 0);
                assert_int_equal(lk_memory_live(), live);
            }
        error = (lk_error)LK_ERROR_INIT;
        assert_ok(whole_run(staged, &error), &error);
    }
}

/* One call fails and those after it work: either there was another way, and the result is right, or a message. */
static void every_single_call(void **state) {
    (void)state;
    lk_error error = LK_ERROR_INIT;
    int64_t start = lk_gpu_calls();
    assert_ok(whole_run(false, &error), &error);
    int64_t calls = lk_gpu_calls() - start, around = 0;
    for (int64_t n = 0; n < calls; ++n) {
        error = (lk_error)LK_ERROR_INIT;
        int64_t live = lk_memory_live();
        lk_gpu_fail_once(n, LK_FAULT_OUT_OF_DEVICE_MEMORY);
        likeness_status status = whole_run(false, &error);
        lk_gpu_fail_after(-1, LK_FAULT_OUT_OF_DEVICE_MEMORY);
        if (status != LIKENESS_OK && status != LIKENESS_OUT_OF_MEMORY)
            fail_msg("call %lld of %lld: status %d, %s", (long long)n, (long long)calls, (int)status, error.message);
        around += status == LIKENESS_OK;
        assert_int_equal(lk_memory_live(), live);
    }
    assert_true(around > 0); /* memory that could not be mapped was reached through staging */
}

static void every_allocation(void **state) {
    (void)state;
    lk_error error = LK_ERROR_INIT;
    int64_t start = lk_memory_count();
    assert_ok(whole_run(false, &error), &error);
    int64_t allocations = lk_memory_count() - start;
    for (int64_t n = 0; n < allocations; ++n) {
        error = (lk_error)LK_ERROR_INIT;
        int64_t live = lk_memory_live();
        lk_memory_fail_after(n);
        likeness_status status = whole_run(false, &error);
        lk_memory_fail_after(-1);
        if (status != LIKENESS_OUT_OF_MEMORY)
            fail_msg("allocation %lld of %lld: status %d, %s", (long long)n, (long long)allocations, (int)status,
                     error.message);
        assert_int_equal(lk_memory_live(), live);
    }
}

int main(void) {
    gpu_need_device();
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_vulkan_call), cmocka_unit_test(every_single_call),
                                       cmocka_unit_test(every_allocation)};
    return gpu_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
