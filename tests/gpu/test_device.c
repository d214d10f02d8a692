/* tests/gpu/test_device.c - choice of a device, memory, staging, pools, pipeline cache, limits. Skipped without a
 * device. */
#include "gpu_support.h"

static void lists_devices(void **state) {
    (void)state;
    lk_error error = LK_ERROR_INIT;
    lk_device_entry *entries = NULL;
    size_t count = 0;
    assert_ok(lk_device_list(&(lk_device_options){0}, &entries, &count, &error), &error);
    assert_true(count > 0);
    size_t chosen = 0;
    for (size_t i = 0; i < count; ++i) {
        char summary[800], text[2000];
        lk_device_summary(&entries[i].caps, summary, sizeof summary);
        lk_device_describe(&entries[i].caps, text, sizeof text);
        assert_non_null(strstr(summary, entries[i].caps.name));
        assert_non_null(strstr(text, "subgroups"));
        chosen += entries[i].chosen;
        if (entries[i].chosen) assert_true(entries[i].usable && !entries[i].caps.null_device);
    }
    assert_int_equal(chosen, 1);
    lk_free(entries);
}

static void refuses_wrong_names(void **state) {
    (void)state;
    static const char *const wrong[] = {"99", "no such card", "123456789"};
    for (size_t i = 0; i < 3; ++i) {
        lk_error error = LK_ERROR_INIT;
        lk_device *device = NULL;
        assert_int_equal(lk_device_open(&(lk_device_options){.select = wrong[i], .cache_folder = ""}, &device, &error),
                         LIKENESS_NO_DEVICE);
        assert_null(device);
        assert_non_null(strstr(error.message, wrong[i]));
    }
}

static void selects_by_name_in_any_case(void **state) {
    (void)state;
    lk_device *device = gpu_open(&(lk_device_options){.cache_folder = ""});
    char part[9] = {0};
    snprintf(part, sizeof part, "%.8s", lk_device_caps(device)->name);
    for (char *c = part; *c; ++c)
        *c = (char)((c - part) % 2 ? toupper((unsigned char)*c) : tolower((unsigned char)*c));
    lk_device_close(device);
    device = gpu_open(&(lk_device_options){.select = part, .cache_folder = ""});
    lk_device_close(device);
}

static void copies(lk_device_options options) {
    lk_device *device = gpu_open(&options);
    lk_error error = LK_ERROR_INIT;
    const uint64_t bytes = (UINT64_C(9) << 20) + 12; /* more than the staging buffer holds */
    lk_block *block = NULL;
    assert_ok(lk_block_create(device, bytes, "a test", &block, &error), &error);
    assert_int_equal(lk_device_memory_now(device), bytes);
    unsigned char *data = malloc(bytes), *back = malloc(bytes);
    for (uint64_t i = 0; i < bytes; ++i)
        data[i] = (unsigned char)(i * 2654435761u >> 24);
    lk_buffer_ref whole = lk_block_ref(block);
    assert_ok(lk_ref_write(whole, 0, data, bytes, &error), &error);
    memset(back, 0, bytes);
    assert_ok(lk_ref_read(whole, 0, back, bytes, &error), &error);
    assert_memory_equal(data, back, bytes);
    /* A slice at an odd place, odd in length too. */
    lk_buffer_ref slice = lk_ref_slice(whole, 1000004, 77);
    assert_ok(lk_ref_write(slice, 3, "hello", 5, &error), &error);
    assert_ok(lk_ref_read(whole, 1000007, back, 5, &error), &error);
    assert_memory_equal(back, "hello", 5);
    assert_ok(lk_ref_read(whole, 1000006, back, 1, &error), &error);
    assert_int_equal(back[0], data[1000006]);
    assert_ok(lk_ref_read(whole, 1000012, back, 1, &error), &error);
    assert_int_equal(back[0], data[1000012]);
    assert_ok(lk_ref_fill(lk_ref_slice(whole, 16, 64), 0x01020304, &error), &error);
    assert_ok(lk_ref_read(whole, 12, back, 72, &error), &error);
    assert_memory_equal(back, data + 12, 4);
    assert_int_equal(back[4], 4);
    assert_int_equal(back[67], 1);
    assert_memory_equal(back + 68, data + 80, 4);
    assert_int_equal(lk_ref_write(slice, 70, data, 8, &error), LIKENESS_INTERNAL); /* beyond its end */
    free(data);
    free(back);
    lk_block_destroy(block);
    assert_int_equal(lk_device_memory_now(device), 0);
    assert_int_equal(lk_device_memory_peak(device), bytes);
    lk_device_close(device);
}

static void copies_mapped(void **state) {
    (void)state;
    copies((lk_device_options){.cache_folder = ""});
}

static void copies_staged(void **state) {
    (void)state;
    copies((lk_device_options){.cache_folder = "", .pretend_unmappable = true});
}

static void says_how_much_memory(void **state) {
    (void)state;
    lk_device *device =
        gpu_open(&(lk_device_options){.cache_folder = "", .max_block = 1 << 20, .memory_limit = 1500000});
    lk_error error = LK_ERROR_INIT;
    lk_block *a = NULL, *b = NULL;
    assert_int_equal(lk_block_create(device, 3 << 20, "activations", &a, &error), LIKENESS_OUT_OF_MEMORY);
    assert_non_null(strstr(error.message, "activations needs 3.0 MiB"));
    error = (lk_error)LK_ERROR_INIT;
    assert_ok(lk_block_create(device, 1 << 20, "activations", &a, &error), &error);
    assert_int_equal(lk_block_create(device, 1 << 20, "weights", &b, &error), LIKENESS_OUT_OF_MEMORY);
    assert_non_null(strstr(error.message, "weights needs 1.0 MiB"));
    assert_null(b);
    lk_block_destroy(a);
    lk_device_close(device);
}

static void pool_packs(void **state) {
    (void)state;
    lk_device *device = gpu_open(&(lk_device_options){.cache_folder = ""});
    lk_error error = LK_ERROR_INIT;
    lk_pool *pool = NULL;
    assert_ok(lk_pool_create(device, 4096, "weights", &pool, &error), &error);
    lk_buffer_ref ref[6];
    static const uint64_t sizes[6] = {100, 4, 5000, 1000, 4000, 1};
    for (int i = 0; i < 6; ++i) {
        assert_ok(lk_pool_take(pool, sizes[i], &ref[i], &error), &error);
        assert_int_equal(ref[i].offset % LK_BUFFER_ALIGN, 0);
        assert_int_equal(ref[i].bytes, sizes[i]);
        assert_true(ref[i].offset + ref[i].bytes <= lk_block_bytes(ref[i].block));
        for (int j = 0; j < i; ++j)
            assert_true(ref[i].block != ref[j].block || ref[i].offset >= ref[j].offset + ref[j].bytes ||
                        ref[j].offset >= ref[i].offset + ref[i].bytes);
    }
    assert_ptr_equal(ref[0].block, ref[1].block);
    assert_ptr_equal(ref[0].block, ref[3].block); /* the big one did not close the block that still had room */
    lk_pool_destroy(pool);
    assert_int_equal(lk_device_memory_now(device), 0);
    lk_device_close(device);
}

/* ---- pipeline cache ---- */

static char *cache_file(const lk_device *device, const char *folder) {
    static char path[600];
    snprintf(path, sizeof path, "%s/pipelines-%s.bin", folder, lk_device_key(device));
    return path;
}

static void use_one_pipeline(lk_device *device) {
    gpu_axpy axpy = gpu_axpy_make(device, 100, 0);
    gpu_axpy_run(&axpy, NULL, 1);
    gpu_axpy_check(&axpy, 1);
    gpu_axpy_free(&axpy);
}

static void cache_survives_anything(void **state) {
    (void)state;
    char folder[] = "/tmp/likeness-cache-XXXXXX";
    assert_non_null(mkdtemp(folder));
    lk_device_options options = {.cache_folder = folder};
    lk_device *device = gpu_open(&options);
    char path[600];
    snprintf(path, sizeof path, "%s", cache_file(device, folder));
    use_one_pipeline(device);
    lk_device_close(device);
    long size = gpu_file_size(path);
    assert_true(size >= 56 + 32);
    long wrong[][2] = {{-1, -1}, {0, -1}, {10, -1}, {56, -1}, {60, -1}, {size - 1, -1},
                       {-1, 0},  {-1, 9}, {-1, 30}, {-1, 45}, {-1, 58}, {-1, size - 1}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; ++i) {
        gpu_damage(path, wrong[i][0], wrong[i][1]);
        device = gpu_open(&options);
        use_one_pipeline(device);
        lk_device_close(device);
        assert_int_equal(gpu_file_size(path), size); /* written anew */
    }
    remove(path);
    rmdir(folder);
}

static void cache_folder_may_be_unusable(void **state) {
    (void)state;
    /* A file where the folder should be: cannot be made, whoever runs this (root may write everywhere). */
    char file[] = "/tmp/likeness-cache-XXXXXX";
    int descriptor = mkstemp(file);
    assert_true(descriptor >= 0);
    close(descriptor);
    lk_device *device = gpu_open(&(lk_device_options){.cache_folder = file});
    use_one_pipeline(device);
    lk_device_close(device);
    char inside[600];
    snprintf(inside, sizeof inside, "%s/deeper", file);
    device = gpu_open(&(lk_device_options){.cache_folder = inside});
    use_one_pipeline(device);
    lk_device_close(device);
    remove(file);
}

static void refuses_what_the_device_lacks(void **state) {
    (void)state;
    lk_device *device = gpu_open(&(lk_device_options){.cache_folder = ""});
    const lk_caps *caps = lk_device_caps(device);
    lk_error error = LK_ERROR_INIT;
    lk_recording *recording = NULL;
    assert_ok(lk_recording_create(device, NULL, &recording, &error), &error);
    lk_command command = lk_command_make(LK_SHADER_CHECK_AXPY);
    command.groups = 1;
    command.label = "the node";
    lk_command_spec(&command, 0, caps->max_group_invocations + 1);
    assert_int_equal(lk_record(recording, &command, &error), LIKENESS_UNSUPPORTED);
    assert_non_null(strstr(error.message, "CHECK_AXPY"));
    assert_non_null(strstr(error.message, "the node"));
    error = (lk_error)LK_ERROR_INIT;
    lk_command_spec(&command, 0, 64);
    command.subgroup_size = 3;
    assert_int_equal(lk_record(recording, &command, &error), LIKENESS_UNSUPPORTED);
    error = (lk_error)LK_ERROR_INIT;
    command.subgroup_size = 0;
    for (int i = 0; i < LK_MAX_RANGES + 1; ++i)
        lk_command_range(&command, (lk_buffer_ref){(lk_block *)&command, 0, 4}, 0, 1, 4, 4, LK_READ);
    assert_int_equal(lk_record(recording, &command, &error), LIKENESS_INTERNAL);
    lk_recording_destroy(recording);
    lk_device_close(device);
}

int main(void) {
    gpu_need_device();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_devices),
        cmocka_unit_test(refuses_wrong_names),
        cmocka_unit_test(selects_by_name_in_any_case),
        cmocka_unit_test(copies_mapped),
        cmocka_unit_test(copies_staged),
        cmocka_unit_test(says_how_much_memory),
        cmocka_unit_test(pool_packs),
        cmocka_unit_test(cache_survives_anything),
        cmocka_unit_test(cache_folder_may_be_unusable),
        cmocka_unit_test(refuses_what_the_device_lacks),
    };
    return gpu_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
