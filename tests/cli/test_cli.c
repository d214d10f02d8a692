/* tests/cli/test_cli.c - the program as a user meets it: exit codes, messages, files that appear whole or not at all.
 * Runs the built program (LIKENESS_BINARY) with the tiny model; tests that need a device use whatever the environment
 * offers and are skipped aloud without one. Exit codes 5 to 7 of failing devices and weights: test_faults.c. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/likeness_cli_XXXXXX";
static char output[65536]; /* stdout and stderr of the last run */

static int run(const char *format, ...) {
    char arguments[4096], command[8192];
    va_list list;
    va_start(list, format);
    vsnprintf(arguments, sizeof arguments, format, list);
    va_end(list);
    snprintf(command, sizeof command, "'%s' %s >'%s/out' 2>&1 </dev/null", LIKENESS_BINARY, arguments, folder);
    int status = system(command);
    char path[256];
    snprintf(path, sizeof path, "%s/out", folder);
    FILE *file = fopen(path, "rb");
    size_t n = file ? fread(output, 1, sizeof output - 1, file) : 0;
    output[n] = 0;
    if (file) fclose(file);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status;
}

static void expect(int code, int wanted, const char *words) {
    if (code != wanted || (words && !strstr(output, words)))
        print_error("exit code %d, expected %d with \"%s\"; output:\n%s\n", code, wanted, words ? words : "", output);
    assert_int_equal(code, wanted);
    if (words) assert_non_null(strstr(output, words));
}

static bool exists(const char *name) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    struct stat info;
    return stat(path, &info) == 0;
}

static void write_file(const char *name, const void *data, size_t bytes) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, bytes, file), bytes);
    fclose(file);
}

static bool read_file(const char *name, char **data, size_t *bytes) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    if (!file) return false;
    *data = malloc(1 << 22);
    *bytes = fread(*data, 1, 1 << 22, file);
    fclose(file);
    return true;
}

static bool same_file(const char *a, const char *b) {
    char *x = NULL, *y = NULL;
    size_t n = 0, m = 0;
    bool same = read_file(a, &x, &n) && read_file(b, &y, &m) && n == m && n > 0 && memcmp(x, y, n) == 0;
    free(x);
    free(y);
    return same;
}

/* The tiny model of tests/reference/tiny.py, and whether there is a device to run it on. */
#define TINY "-m '" LIKENESS_SOURCE_DIR "/tests/data/models/tiny' "
#define REFERENCE "-r '" LIKENESS_SOURCE_DIR "/assets/samples/micah.png' "

static int device_code = -1; /* of the first run, which also runs doctor */

#define NEED_DEVICE()                                                                                                  \
    do {                                                                                                               \
        if (device_code == 4) {                                                                                        \
            print_message("skipped: no Vulkan device\n");                                                              \
            skip();                                                                                                    \
        }                                                                                                              \
    } while (0)

static void help_and_version(void **state) {
    (void)state;
    expect(run("--help"), 0, "Exit codes: 0 done, 2 wrong usage");
    expect(run("--version"), 0, "likeness ");
    static const char *const commands[] = {"personalize", "generate", "devices", "doctor", "inspect", "compare"};
    for (int i = 0; i < 6; i++) {
        expect(run("%s --help", commands[i]), 0, "Usage: likeness ");
        for (char *line = strtok(output, "\n"); line; line = strtok(NULL, "\n"))
            if (strlen(line) > 80) fail_msg("longer than 80 columns: %s", line);
    }
}

static void usage_errors(void **state) {
    (void)state;
    expect(run(" "), 2, "Usage: likeness COMMAND");
    expect(run("persnalize"), 2, "did you mean personalize?");
    expect(run("generate --stps 4"), 2, "did you mean --steps?");
    expect(run("generate --steps"), 2, "needs a value");
    expect(run("generate --steps four"), 2, "whole number");
    expect(run("generate --steps 0"), 2, "whole number from 1");
    expect(run("generate -W -5"), 2, "--width");
    expect(run("generate stray"), 2, "quotes");
    expect(run("personalize -p x"), 2, "--reference");
    expect(run("personalize -r x.png --reading D"), 2, "A, B or C");
    expect(run("personalize -r x.png --method magic"), 2, "anchored, unanchored or noise");
    expect(run("generate --max-block 3X"), 2, "size");
    expect(run("compare one.png"), 2, "needs");
}

static void no_such_device(void **state) {
    (void)state;
    expect(run("generate -p x --device no_such_device -o %s/x.png", folder), 4, "no_such_device");
    assert_false(exists("x.png"));
}

static void bad_pictures(void **state) {
    (void)state;
    expect(run("inspect %s/missing.png", folder), 10, "missing.png");
    write_file("empty.png", "", 0);
    expect(run("inspect %s/empty.png", folder), 3, "empty.png");
    write_file("text.png", "not a picture at all", 20);
    expect(run("inspect %s/text.png", folder), 3, "text.png");
}

static void bad_models(void **state) {
    (void)state;
    expect(run("generate -p x -m %s/nowhere -o %s/x.png", folder, folder), 10, "nowhere");
    assert_false(exists("x.png"));
    char path[512];
    snprintf(path, sizeof path, "%s/model", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    write_file("model/model_index.json", "{", 1);
    expect(run("generate -p x -m %s/model -o %s/x.png", folder, folder), 3, "model_index.json");
    assert_false(exists("x.png"));
}

/* The first command on a device checks it, once. */
static void first_run(void **state) {
    (void)state;
    device_code = run("generate " TINY "-p person -o '%s/first.png'", folder);
    NEED_DEVICE();
    expect(device_code, 0, "first run on this device");
    assert_true(exists("first.png"));
    expect(run("generate " TINY "-p person -o '%s/second.png'", folder), 0, "second.png");
    assert_null(strstr(output, "first run"));
    assert_true(same_file("first.png", "second.png"));
}

static void generates_the_same_bytes(void **state) {
    (void)state;
    NEED_DEVICE();
    expect(run("generate " TINY "-p 'red person, on a hill' -s 7 -o '%s/a b \xC3\xA9.png'", folder), 0, ".png");
    expect(run("generate " TINY "-p 'red person, on a hill' -s 7 -o '%s/b.png'", folder), 0, NULL);
    assert_true(same_file("a b \xC3\xA9.png", "b.png"));
    expect(run("generate " TINY "--from '%s/b.png' -o '%s/c.png'", folder, folder), 0, NULL);
    assert_true(same_file("b.png", "c.png"));
    assert_null(strstr(output, "warning"));
    expect(run("generate " TINY "-p 'red person, on a hill' -s 8 -o '%s/d.png'", folder), 0, NULL);
    assert_false(same_file("b.png", "d.png"));
    expect(run("inspect '%s/b.png'", folder), 0, "synthetic mark: yes");
    assert_non_null(strstr(output, "Seed: 7"));
    assert_non_null(strstr(output, "red person, on a hill"));
    /* Every setting at once, with a weight that six digits do not spell, and other flags over it. */
    expect(run("generate " TINY
               "-p 'red \xC3\xA9' -n rain --cfg-scale 2.0000001 --steps 5 -W 24 -H 20 -s 9 -o '%s/e.png'",
               folder),
           0, NULL);
    expect(run("generate " TINY "--from '%s/e.png' -o '%s/f.png'", folder, folder), 0, NULL);
    assert_true(same_file("e.png", "f.png"));
    expect(run("generate " TINY "--from '%s/e.png' -s 10 -o '%s/g.png'", folder, folder), 0, NULL);
    assert_false(same_file("e.png", "g.png"));
    expect(run("generate " TINY "--precise --from '%s/b.png' -o '%s/h.png'", folder, folder), 0, "another device");
}

/* Sampler, noise levels, prediction, clip skip, weights and a picture to begin from, and all of them back from a
 * picture. */
static void samples_as_told(void **state) {
    (void)state;
    NEED_DEVICE();
    expect(run("generate " TINY "-p x --sampling-method ddim -o '%s/x.png'", folder), 2, "rectified flow");
    expect(run("generate " TINY "-p x --sampling-method fast -o '%s/x.png'", folder), 2, "dpm++2m, lcm or perflow");
    expect(run("generate " TINY "-p x --scheduler exponential -o '%s/x.png'", folder), 2, "discrete or karras");
    expect(run("generate " TINY "-p x --prediction noise -o '%s/x.png'", folder), 2, "diff_eps");
    expect(run("generate " TINY "-p x --clip-skip 3 -o '%s/x.png'", folder), 2, "2 layers");
    expect(run("generate " TINY "-p x -i '%s/text.png' -o '%s/x.png'", folder, folder), 3, "text.png");
    expect(run("generate " TINY "-p '(red:1.3) person' --prediction eps --sampling-method dpm++2m --scheduler karras "
               "--steps 4 --clip-skip 2 -o '%s/s1.png'",
               folder),
           0, NULL);
    expect(run("inspect '%s/s1.png'", folder), 0, "Sampler: DPM++ 2M Karras");
    assert_non_null(strstr(output, "Prediction: eps"));
    assert_non_null(strstr(output, "Clip skip: 2"));
    expect(run("generate " TINY "--from '%s/s1.png' -o '%s/s2.png'", folder, folder), 0, NULL);
    assert_true(same_file("s1.png", "s2.png"));
    expect(run("generate " TINY "--from '%s/s1.png' --sampling-method euler_a -o '%s/s3.png'", folder, folder), 0,
           NULL);
    assert_false(same_file("s1.png", "s3.png"));
    expect(run("generate " TINY "-p red -i assets/samples/micah.png --strength 0.7 -o '%s/i1.png'", folder), 0, NULL);
    expect(run("generate " TINY "--from '%s/i1.png' -o '%s/x.png'", folder, folder), 2, "--init-img");
    expect(run("generate " TINY "--from '%s/i1.png' -i assets/samples/micah.png -o '%s/i2.png'", folder, folder), 0,
           NULL);
    assert_true(same_file("i1.png", "i2.png"));
    expect(run("inspect '%s/i1.png'", folder), 0, "Denoising strength: 0.7");
    assert_null(strstr(output, "micah"));
    expect(run("personalize " TINY REFERENCE "-p red --prediction diff_eps --iterations 1 --no-sheet -o '%s/pf.png'",
               folder),
           0, NULL);
    expect(run("inspect '%s/pf.png'", folder), 0, "Sampler: PeRFlow");
    expect(run("personalize " TINY REFERENCE "-p red --prediction eps --sampling-method dpm++2m -o '%s/x.png'", folder),
           2, "guidance cannot go through DPM++ 2M");
    assert_false(exists("x.png"));
}

static void counts_a_batch(void **state) {
    (void)state;
    NEED_DEVICE();
    expect(run("generate " TINY "-p red -s 7 -b 2 -o '%s/n_%%02d.png' --report '%s/n.json'", folder, folder), 0,
           "n_02.png");
    expect(run("generate " TINY "-p red -s 8 -o '%s/m.png'", folder), 0, NULL);
    assert_true(same_file("n_02.png", "m.png"));
    assert_true(exists("n_01.png") && exists("n.json"));
    expect(run("generate " TINY "-p red -s 7 -b 2 -o '%s/k.png'", folder), 0, "k_2.png");
    assert_true(same_file("n_01.png", "k_1.png") && !exists("k.png"));
}

#define FILES LIKENESS_SOURCE_DIR "/tests/data/"

static void brings_files(void **state) {
    (void)state;
    NEED_DEVICE();
    expect(run("generate " TINY "-p 'red zork' --lora '" FILES "loras/kohya.safetensors:0.5' --embedding '" FILES
               "embeddings/hill house.safetensors:zork' --taesd '" FILES "models/taesd' --report '%s/f.json' "
               "--preview '%s/f_preview.png' --preview-interval 1 -o '%s/f.png'",
               folder, folder, folder),
           0, "f.png");
    assert_true(exists("f_preview.png"));
    char *report = NULL;
    size_t bytes = 0;
    assert_true(read_file("f.json", &report, &bytes));
    report[bytes - 1] = 0;
    assert_non_null(strstr(report, "79 modules of the U-Net, 12 of the text encoder, 0 keys without a place"));
    assert_null(strstr(report, "tests/data")); /* no paths */
    free(report);
    expect(run("inspect '%s/f.png'", folder), 0, "kohya:0.5");
    expect(run("generate --from '%s/f.png' " TINY "-o '%s/again.png'", folder, folder), 0, "other LoRA");
    expect(run("inspect '" FILES "loras/kohya.safetensors'"), 0, "dialect: kohya");
    expect(run("generate " TINY "-p x --lora '" FILES "resize.bin' -o '%s/x.png'", folder), 3, "resize.bin");
    expect(run("generate " TINY "-p x --lora '" FILES "none.safetensors:2' -o '%s/x.png'", folder), 10,
           "none.safetensors");
    expect(run("generate -m '" FILES "loras/kohya.safetensors' -p x -o '%s/x.png'", folder), 3, "--lora");
}

static void refuses_before_work(void **state) {
    (void)state;
    NEED_DEVICE();
    expect(run("generate " TINY "-p x -o '%s/no/such/folder/x.png'", folder), 10, "folder");
    expect(run("generate " TINY "-p x --report '%s/no/x.json' -o '%s/x.png'", folder, folder), 10, "folder");
    expect(run("generate " TINY "-p x -W 101 -o '%s/x.png'", folder), 2, "101");
    expect(run("generate " TINY "-p \"$(printf 'a\\377b')\" -o '%s/x.png'", folder), 2, "UTF-8");
    expect(run("generate " TINY "--from '%s/missing.png' -o '%s/x.png'", folder, folder), 10, "missing.png");
    expect(run("generate " TINY "--from assets/samples/micah.png -o '%s/x.png'", folder), 3, "no settings");
    expect(run("generate " TINY "-p x -W 128 -H 128 --max-block 64K -o '%s/x.png'", folder), 5, NULL);
    expect(run("generate " TINY "-p x --max-vram 256K -o '%s/x.png'", folder), 5, "MiB");
    expect(run("generate " TINY "-p x --vram-limit 256K --dry-run -o '%s/x.png'", folder), 5, "MiB");
    expect(run("personalize " TINY "-r '%s/text.png' -p x -o '%s/x.png'", folder, folder), 3, "text.png");
    expect(run("personalize " TINY "-r '%s/missing.png' -p x -o '%s/x.png'", folder, folder), 10, "missing.png");
    expect(run("personalize " TINY REFERENCE "-p x --steps 65 -o '%s/x.png'", folder), 2, "64");
    expect(run("personalize " TINY REFERENCE "-p x --discriminator '%s/text.png' -o '%s/x.png'", folder, folder), 3,
           "text.png");
    expect(run("personalize " TINY "-p x --target-class 1 -o '%s/x.png'", folder), 2, "--discriminator");
    expect(run("personalize " TINY "-p x --target-class 99 --discriminator '%s' -o '%s/x.png'",
               LIKENESS_SOURCE_DIR "/tests/data/models/tiny/identity_encoder.onnx", folder),
           2, "no class 99");
    assert_false(exists("x.png"));
    expect(run("personalize " TINY "-p x --iterations 1 --target-class 1 --discriminator '%s' -o '%s/class.png'",
               LIKENESS_SOURCE_DIR "/tests/data/models/tiny/identity_encoder.onnx", folder),
           0, "class 1");
    assert_true(exists("class.png") && exists("class_sheet.png"));
}

static void odd_prompts(void **state) {
    (void)state;
    NEED_DEVICE();
    expect(run("generate " TINY "-p '' -o '%s/empty_prompt.png'", folder), 0, NULL);
    expect(run("generate " TINY "-o '%s/no_prompt.png'", folder), 0, NULL);
    assert_true(same_file("empty_prompt.png", "no_prompt.png"));
    /* "person" is one token here and "zebra" five: 75 fit between begin and end. */
    char words[1024] = "";
    for (int i = 0; i < 73; i++)
        strcat(words, "person ");
    expect(run("generate " TINY "-p '%szebra tail' -o '%s/long.png'", words, folder), 0, "zebra");
    assert_non_null(strstr(output, "77 fit"));
    expect(run("generate " TINY "-p '%s' -o '%s/fits.png'", words, folder), 0, "fits.png");
    assert_null(strstr(output, "warning"));
}

static void personalizes(void **state) {
    (void)state;
    NEED_DEVICE();
    expect(run("personalize " TINY REFERENCE "-p 'red person' -s 7 --iterations 2 --report '%s/r.json' "
               "--preview '%s/p.png' --preview-interval 1 -o '%s/q.png'",
               folder, folder, folder),
           0, "judge");
    assert_non_null(strstr(output, "device    "));
    assert_non_null(strstr(output, "without guidance"));
    assert_non_null(strstr(output, "time "));
    assert_true(exists("q.png") && exists("q_sheet.png") && exists("r.json") && exists("p.png"));
    char *report = NULL;
    size_t bytes = 0;
    assert_true(read_file("r.json", &report, &bytes));
    report[bytes < (1 << 22) ? bytes : bytes - 1] = 0;
    static const char *const keys[] = {
        "judge_guided", "judge_unguided", "likeness_guided",          "gradient_norms", "offset_norms",
        "Kernels",      "device",         "device_memory_peak_bytes", "judge_threshold"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        assert_non_null(strstr(report, keys[i]));
    /* No path and nothing of the reference. */
    assert_null(strstr(report, folder));
    assert_null(strstr(report, "micah"));
    free(report);
    expect(run("inspect '%s/q.png'", folder), 0, "Guidance iterations: 2");
    assert_null(strstr(output, "micah"));
    expect(run("generate " TINY "--from '%s/q.png' -o '%s/x.png'", folder, folder), 2, "reference");
    expect(run("personalize " TINY REFERENCE
               "-p 'red person' -s 7 --iterations 2 --recompute --no-sheet -o '%s/q2.png'",
               folder),
           0, NULL);
    assert_true(same_file("q.png", "q2.png"));
    expect(run("personalize " TINY REFERENCE "-p 'red person' --dry-run -o '%s/dry.png'", folder), 0,
           "with nothing saved");
    expect(run("generate " TINY "-p 'red person' --dry-run -o '%s/dry.png'", folder), 0, "are left");
    assert_false(exists("dry.png"));
    assert_false(exists("q2_sheet.png"));
    expect(run("compare " TINY "assets/samples/micah.png '%s/q.png'", folder), 0, "judge");
}

static void ranks_by_the_judge(void **state) {
    (void)state;
    NEED_DEVICE();
    expect(run("personalize " TINY REFERENCE
               "-p red --iterations 1 -s 1 -b 3 --rank --no-sheet --report '%s/rank.json' "
               "-o '%s/rank.png'",
               folder, folder),
           0, "rank_3.png");
    char *report = NULL;
    size_t bytes = 0;
    assert_true(read_file("rank.json", &report, &bytes));
    report[bytes < (1 << 22) ? bytes : bytes - 1] = 0;
    assert_non_null(strstr(report, "\"ranked_by\""));
    double last = 2;
    int seen = 0;
    for (char *at = report; (at = strstr(at, "\"judge_guided\"")); at++, seen++) {
        double judge = strtod(strchr(at, ':') + 1, NULL);
        assert_true(judge <= last);
        last = judge;
    }
    assert_int_equal(seen, 3);
    free(report);
    expect(run("inspect '%s/rank_1.png'", folder), 0, "Ranked by judge: 1 of 3");
}

/* Starts the program, sends Ctrl-C once its JSON progress says that the phase has begun, returns the exit code. */
static int interrupted(const char *phase, char *const arguments[]) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], 2);
        close(ends[0]);
        close(ends[1]);
        execv(LIKENESS_BINARY, arguments);
        _exit(127);
    }
    close(ends[1]);
    FILE *lines = fdopen(ends[0], "r");
    char line[1024], wanted[64];
    snprintf(wanted, sizeof wanted, "\"phase\":\"%s\",\"step\":1", phase);
    bool sent = false;
    while (fgets(line, sizeof line, lines))
        if (!sent && strstr(line, wanted)) {
            kill(child, SIGINT);
            sent = true;
        }
    fclose(lines);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(sent);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void ctrl_c(void **state) {
    (void)state;
    NEED_DEVICE();
    char model[] = LIKENESS_SOURCE_DIR "/tests/data/models/tiny",
         person[] = LIKENESS_SOURCE_DIR "/assets/samples/micah.png";
    char out[512], kept[512];
    snprintf(out, sizeof out, "%s/stopped.png", folder);
    snprintf(kept, sizeof kept, "%s/kept.png", folder);
    char *generate[] = {"likeness", "generate", "-m", model,        "-p",   "red", "--steps",
                        "1000",     "-o",       out,  "--progress", "json", NULL};
    assert_int_equal(interrupted("sample", generate), 130);
    assert_false(exists("stopped.png"));
    char *personalize[] = {"likeness", "personalize", "-m",           model,  "-r",         person,       "-p",   "red",
                           "-o",       kept,          "--iterations", "5000", "--no-sheet", "--progress", "json", NULL};
    assert_int_equal(interrupted("guide", personalize), 130);
    assert_true(exists("kept.png"));
    expect(run("inspect '%s/kept.png'", folder), 0, "synthetic mark: yes");
}

static void a_full_disk(void **state) {
    (void)state;
    NEED_DEVICE();
    if (access("/dev/full", W_OK) != 0) skip();
    expect(run("generate " TINY "-p x -o /dev/full"), 10, "/dev/full");
}

static int setup(void **state) {
    (void)state;
    if (!mkdtemp(folder)) return -1;
    /* A cache of its own, so that the first run is one; Mesa's compiled shaders stay where they are. */
    char caches[512];
    const char *shared = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    snprintf(caches, sizeof caches, "%s%s", shared ? shared : home ? home : folder, shared || !home ? "" : "/.cache");
    setenv("MESA_SHADER_CACHE_DIR", caches, 0);
    snprintf(caches, sizeof caches, "%s/cache", folder);
    return setenv("XDG_CACHE_HOME", caches, 1);
}

static int teardown(void **state) {
    (void)state;
    char command[256];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command) == 0 ? 0 : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(help_and_version),
        cmocka_unit_test(usage_errors),
        cmocka_unit_test(no_such_device),
        cmocka_unit_test(bad_pictures),
        cmocka_unit_test(first_run),
        cmocka_unit_test(bad_models),
        cmocka_unit_test(generates_the_same_bytes),
        cmocka_unit_test(samples_as_told),
        cmocka_unit_test(counts_a_batch),
        cmocka_unit_test(brings_files),
        cmocka_unit_test(refuses_before_work),
        cmocka_unit_test(odd_prompts),
        cmocka_unit_test(personalizes),
        cmocka_unit_test(ranks_by_the_judge),
        cmocka_unit_test(ctrl_c),
        cmocka_unit_test(a_full_disk),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
