/* tests/gpu/test_null_device.c - a driver that compiles for a card that is not there (its null device): never chosen
 * unasked; every shader compiles for several cards; the pipeline cache on disk saves the work, whoever cut it, wrote it
 * at the same time or forgot it. Skipped without LIKENESS_RADV_ICD (tools/drivers.sh). */
#include "gpu_support.h"

#include <sys/wait.h>

static const char *const families[] = {"navi21", "navi31", "gfx1201"};
enum { FAMILIES = 3 };

static void use_drivers(const char *files, const char *family) {
    setenv("VK_DRIVER_FILES", files, 1);
    setenv("VK_ICD_FILENAMES", files, 1);
    setenv("RADV_FORCE_FAMILY", family, 1);
}

/* ---- every shader, as the ops would ask for it ---- */

static bool has(lk_shader shader, const char *part) { return strstr(lk_shader_table[shader]->name, part) != NULL; }

static bool is_team(lk_shader shader) {
    const lk_shader_code *code = lk_shader_table[shader];
    for (uint32_t i = 0; i < code->capability_count; ++i)
        if (code->capabilities[i] == 63) return !has(shader, "FLAT");
    return false;
}

/* kind 0: the usual workgroup; 1: one subgroup a workgroup, of the smallest size; 2: of the largest. Teams differ. */
static lk_command command_of(lk_shader shader, const lk_caps *caps, int kind) {
    lk_command command = lk_command_make(shader);
    uint32_t lanes = kind == 2 ? caps->max_subgroup_size : caps->min_subgroup_size;
    command.groups = 1;
    if (has(shader, "FLAT")) {
        lk_command_spec(&command, 0, lanes);
        lk_command_spec(&command, 1, lanes);
        command.subgroup_size = lanes;
    } else if (kind > 0) {
        lk_command_spec(&command, 0, lanes);
        lk_command_spec(&command, 1, 1);
        command.subgroup_size = lanes;
    } else {
        lk_command_spec(&command, 0, has(shader, "TILED_32") || has(shader, "ATTENTION") ? 64 : 256);
    }
    return command;
}

/* Makes the pipelines of every `step`-th shader from `first` on. */
static void compile(lk_device *device, int first, int step) {
    const lk_caps *caps = lk_device_caps(device);
    lk_error error = LK_ERROR_INIT;
    lk_recording *recording = NULL;
    assert_ok(lk_recording_create(device, NULL, &recording, &error), &error);
    for (int shader = first; shader < LK_SHADER_COUNT; shader += step) {
        if (!lk_shader_supported(device, (lk_shader)shader))
            fail_msg("%s lacks what %s needs", caps->name, lk_shader_table[shader]->name);
        for (int kind = 0; kind < (is_team((lk_shader)shader) ? 3 : 1); ++kind) {
            lk_command command = command_of((lk_shader)shader, caps, kind);
            assert_ok(lk_record(recording, &command, &error), &error);
        }
        assert_true(lk_device_shader_used(device, (lk_shader)shader));
    }
    lk_recording_destroy(recording);
}

static lk_pipeline_stats compile_in(const char *folder, int first, int step) {
    lk_device *device = gpu_open(&(lk_device_options){.select = "0", .cache_folder = folder});
    compile(device, first, step);
    lk_pipeline_stats stats = lk_device_pipeline_stats(device);
    lk_device_close(device);
    return stats;
}

/* ---- tests ---- */

static void never_chosen_unasked(void **state) {
    (void)state;
    lk_error error = LK_ERROR_INIT;
    lk_device *device = NULL;
    assert_int_equal(lk_device_open(&(lk_device_options){.cache_folder = ""}, &device, &error), LIKENESS_NO_DEVICE);
    assert_non_null(strstr(error.message, "only compiles"));
    assert_non_null(strstr(error.message, "apt install"));
    error = (lk_error)LK_ERROR_INIT;
    lk_device_entry *entries = NULL;
    size_t count = 0;
    assert_ok(lk_device_list(&(lk_device_options){0}, &entries, &count, &error), &error);
    assert_true(count > 0);
    for (size_t i = 0; i < count; ++i) {
        char text[2000];
        lk_device_describe(&entries[i].caps, text, sizeof text);
        assert_true(entries[i].usable && entries[i].caps.null_device && !entries[i].chosen);
        assert_non_null(strstr(text, "never run"));
    }
    lk_free(entries);
    device = gpu_open(&(lk_device_options){.select = "0", .cache_folder = ""}); /* asked for */
    assert_true(lk_device_caps(device)->null_device);
    lk_device_close(device);
    const char *real = getenv("LIKENESS_LAVAPIPE_ICD");
    if (!real) return;
    /* Beside a device that runs, whatever the order of the two. */
    for (int order = 0; order < 2; ++order) {
        char both[1200];
        const char *null = getenv("LIKENESS_RADV_ICD");
        snprintf(both, sizeof both, "%s:%s", order ? real : null, order ? null : real);
        use_drivers(both, families[1]);
        device = gpu_open(&(lk_device_options){.cache_folder = ""});
        assert_false(lk_device_caps(device)->null_device);
        lk_device_close(device);
    }
    use_drivers(getenv("LIKENESS_RADV_ICD"), families[1]);
}

static void every_shader_compiles_and_is_kept(void **state) {
    (void)state;
    for (int f = 0; f < FAMILIES; ++f) {
        use_drivers(getenv("LIKENESS_RADV_ICD"), families[f]);
        char folder[] = "/tmp/likeness-cache-XXXXXX", path[700];
        assert_non_null(mkdtemp(folder));
        lk_device *device = gpu_open(&(lk_device_options){.select = "0", .cache_folder = folder});
        snprintf(path, sizeof path, "%s/pipelines-%s.bin", folder, lk_device_key(device));
        compile(device, 0, 1);
        lk_pipeline_stats cold = lk_device_pipeline_stats(device);
        lk_device_close(device);
        long size = gpu_file_size(path);
        lk_pipeline_stats warm = compile_in(folder, 0, 1);
        printf("%s: %u pipelines in %.2f s, from a cache file of %ld KiB in %.3f s\n", families[f], cold.created,
               cold.seconds, size / 1024, warm.seconds);
        assert_int_equal(cold.hits, 0);
        assert_true(size > 56 + 1000 * (long)cold.created / 2);
        assert_int_equal(warm.created, cold.created);
        assert_int_equal(warm.hits, warm.created);
        assert_int_equal(gpu_file_size(path), size); /* nothing new: not written again */
        if (f == 0) {
            /* A cut file, and one with a flipped bit somewhere in the driver's own data, are as good as none. */
            for (int i = 0; i < 4; ++i) {
                size = gpu_file_size(path);
                gpu_damage(path, i == 0 ? size / 2 : i == 1 ? 0 : -1, i == 2 ? size / 2 : i == 3 ? size - 1 : -1);
                assert_int_equal(compile_in(folder, 0, 16).hits, 0);
                assert_true(compile_in(folder, 0, 16).hits > 0); /* and it was written anew */
            }
            /* Another card's file under this card's name. */
            use_drivers(getenv("LIKENESS_RADV_ICD"), families[1]);
            device = gpu_open(&(lk_device_options){.select = "0", .cache_folder = folder});
            char other[700];
            snprintf(other, sizeof other, "%s/pipelines-%s.bin", folder, lk_device_key(device));
            assert_string_not_equal(path, other);
            lk_device_close(device);
            assert_int_equal(rename(path, other), 0);
            snprintf(path, sizeof path, "%s", other);
            assert_int_equal(compile_in(folder, 0, 16).hits, 0);
        }
        remove(path);
        rmdir(folder);
    }
    use_drivers(getenv("LIKENESS_RADV_ICD"), families[1]);
}

static void writers_join_their_work(void **state) {
    (void)state;
    char folder[] = "/tmp/likeness-cache-XXXXXX", path[700];
    assert_non_null(mkdtemp(folder));
    const lk_device_options options = {.select = "0", .cache_folder = folder};
    lk_device *a = gpu_open(&options), *b = gpu_open(&options);
    snprintf(path, sizeof path, "%s/pipelines-%s.bin", folder, lk_device_key(a));
    compile(a, 0, 16);
    compile(b, 8, 16);
    lk_device_close(a);
    lk_device_close(b); /* had not seen a's file when it was opened */
    lk_pipeline_stats both = compile_in(folder, 0, 8);
    assert_int_equal(both.hits, both.created);
    remove(path);

    /* Processes at once: whoever comes last, the file is whole. */
    for (int i = 0; i < 4; ++i) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            for (int k = 0; k < 3; ++k)
                compile_in(folder, i + 4 * k, 16);
            _exit(0);
        }
    }
    for (int i = 0; i < 4; ++i) {
        int status = 0;
        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
    }
    assert_true(compile_in(folder, 0, 4).hits > 0);
    remove(path);
    assert_int_equal(rmdir(folder), 0); /* no temporary file was left */
}

static void read_only_folder(void **state) {
    (void)state;
    char folder[] = "/tmp/likeness-cache-XXXXXX";
    assert_non_null(mkdtemp(folder));
    if (geteuid() == 0) { /* root writes everywhere: a child without those rights */
        assert_int_equal(chmod(folder, 0555), 0);
        pid_t child = fork();
        if (child == 0) {
            if (setgid(65534) != 0 || setuid(65534) != 0) _exit(0);
            lk_error error = LK_ERROR_INIT;
            lk_device *device = NULL;
            /* The driver's own files may be out of this user's reach. */
            if (lk_device_open(&(lk_device_options){.select = "0", .cache_folder = folder}, &device, &error) !=
                LIKENESS_OK)
                _exit(0);
            compile(device, 0, 16);
            lk_device_close(device);
            _exit(0);
        }
        int status = 0;
        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
    } else {
        assert_int_equal(chmod(folder, 0555), 0);
        compile_in(folder, 0, 16);
    }
    assert_int_equal(rmdir(folder), 0); /* nothing in it */
}

int main(void) {
    const char *driver = getenv("LIKENESS_RADV_ICD");
    if (!driver || !*driver || access(driver, R_OK) != 0) {
        printf(
            "skipped: no driver with a null device; sh tools/drivers.sh unpacks one and LIKENESS_RADV_ICD names it\n");
        return 77;
    }
    const char *current = getenv("VK_DRIVER_FILES"), *weak = getenv("LIKENESS_SWIFTSHADER_ICD");
    if (current && weak && strcmp(current, weak) == 0) {
        printf("skipped: brings its own driver, so that one run is enough\n");
        return 77;
    }
    setenv("MESA_SHADER_CACHE_DISABLE", "true", 1); /* the driver's own files would hide what ours save */
    use_drivers(driver, families[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(never_chosen_unasked),
        cmocka_unit_test(every_shader_compiles_and_is_kept),
        cmocka_unit_test(writers_join_their_work),
        cmocka_unit_test(read_only_folder),
    };
    return gpu_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
