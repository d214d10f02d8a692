/* tests/cli/test_faults.c - the exit codes for what goes wrong inside: memory runs out (5), the device goes away (6),
 * weights that are no numbers (7). The commands run inside this process, with failing Vulkan calls; what they print is
 * kept in a file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/error.h"
#include "cli/commands.h"
#include "gpu/device.h"
#include "io/safetensors.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TINY LIKENESS_SOURCE_DIR "/tests/data/models/tiny"

static char folder[] = "/tmp/likeness_fault_XXXXXX", picture[64], said[8192];
static bool device;

/* Runs `likeness generate` in this process; its messages go to `said`. */
static int generate(const char *model) {
    char path[64];
    snprintf(path, sizeof path, "%s/said", folder);
    fflush(stdout);
    fflush(stderr);
    int out = dup(1), err = dup(2), file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    dup2(file, 1);
    dup2(file, 2);
    char copy[512];
    snprintf(copy, sizeof copy, "%s", model);
    char *arguments[] = {"generate", "-m", copy, "-p", "red person", "-o", picture, NULL};
    int code = cli_run(7, arguments);
    fflush(stdout);
    fflush(stderr);
    dup2(out, 1);
    dup2(err, 2);
    close(out);
    close(err);
    ssize_t n = pread(file, said, sizeof said - 1, 0);
    said[n > 0 ? n : 0] = 0;
    close(file);
    return code;
}

static bool picture_exists(void) {
    struct stat info;
    return stat(picture, &info) == 0;
}

static void failing_calls(void **state) {
    (void)state;
    int code = generate(TINY); /* runs doctor once, so that the calls counted next are those of the work alone */
    if (code == 4) {
        print_message("skipped: %s\n", said);
        skip();
    }
    assert_int_equal(code, 0);
    device = true;
    int64_t before = lk_gpu_calls();
    assert_int_equal(generate(TINY), 0);
    int64_t calls = lk_gpu_calls() - before;
    static const lk_gpu_fault faults[2] = {LK_FAULT_DEVICE_LOST, LK_FAULT_OUT_OF_DEVICE_MEMORY};
    static const int wanted[2] = {6, 5};
    for (int64_t at = 4; at <= 7; at++)
        for (int i = 0; i < 2; i++) {
            remove(picture);
            lk_gpu_fail_after(calls * at / 8, faults[i]);
            code = generate(TINY);
            lk_gpu_fail_after(-1, LK_FAULT_DEVICE_LOST);
            if (code != wanted[i])
                fail_msg("after call %d of %d: exit code %d, %s", (int)(calls * at / 8), (int)calls, code, said);
            assert_non_null(strstr(said, "likeness: "));
            assert_false(picture_exists());
        }
}

static void not_a_number(void **state) {
    (void)state;
    if (!device) skip();
    char command[512], model[64], path[160];
    snprintf(model, sizeof model, "%s/model", folder);
    snprintf(command, sizeof command, "cp -r '%s' '%s' && chmod -R u+w '%s'", TINY, model, model);
    assert_int_equal(system(command), 0);
    snprintf(path, sizeof path, "%s/unet/diffusion_pytorch_model.safetensors", model);
    lk_error error = LK_ERROR_INIT;
    lk_safetensors file;
    assert_int_equal(lk_safetensors_open(&file, path, &error), LIKENESS_OK);
    const lk_safetensor *tensor = lk_safetensors_find(&file, "conv_out.bias");
    assert_non_null(tensor);
    long offset = (long)(tensor->data - file.mappings[0].data);
    lk_safetensors_close(&file);
    FILE *out = fopen(path, "r+b");
    assert_non_null(out);
    uint16_t nan = 0x7e00;
    assert_int_equal(fseek(out, offset, SEEK_SET), 0);
    assert_int_equal(fwrite(&nan, sizeof nan, 1, out), 1);
    fclose(out);
    remove(picture);
    assert_int_equal(generate(model), 7);
    assert_non_null(strstr(said, "no numbers"));
    assert_false(picture_exists());
}

static int start(void **state) {
    (void)state;
    if (!mkdtemp(folder)) return -1;
    snprintf(picture, sizeof picture, "%s/picture.png", folder);
    return 0;
}

static int end(void **state) {
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command) == 0 ? 0 : -1;
}

/* LIKENESS_BINARY runs on its own device elsewhere; here the library opens one. */
int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(failing_calls), cmocka_unit_test(not_a_number)};
    return cmocka_run_group_tests(tests, start, end);
}
