/* tests/cli/test_cli.c - the program as a user meets it: exit codes, messages, files that appear whole or not at all.
 * Runs the built program (LIKENESS_BINARY). Tests that need a device use whatever the environment offers; tests that
 * need the shipped model are skipped aloud where assets/cameo has no weights. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

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

static bool have_model(void) {
    struct stat info;
    return stat(LIKENESS_SOURCE_DIR "/assets/cameo/unet/diffusion_pytorch_model.safetensors", &info) == 0;
}

#define NEED_MODEL()                                                                                                   \
    do {                                                                                                               \
        if (!have_model()) {                                                                                           \
            print_message("skipped: assets/cameo has no weights\n");                                                   \
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
            if (!strstr(line, "prompt \"")) assert_true(strlen(line) <= 80);
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

static void generates_the_same_bytes(void **state) {
    (void)state;
    NEED_MODEL();
    expect(run("generate -p 'micah portrait of a person, red background' -s 7 -o '%s/a b \xC3\xA9.png'", folder), 0,
           ".png");
    expect(run("generate -p 'micah portrait of a person, red background' -s 7 -o %s/b.png", folder), 0, NULL);
    assert_true(same_file("a b \xC3\xA9.png", "b.png"));
    expect(run("generate --from %s/b.png -o %s/c.png", folder, folder), 0, NULL);
    assert_true(same_file("b.png", "c.png"));
    expect(run("generate -p 'micah portrait of a person, red background' -s 8 -o %s/d.png", folder), 0, NULL);
    assert_false(same_file("b.png", "d.png"));
    expect(run("inspect %s/b.png", folder), 0, "synthetic mark: yes");
    assert_non_null(strstr(output, "Seed: 7"));
    assert_non_null(strstr(output, "micah portrait of a person, red background"));
}

static void refuses_before_work(void **state) {
    (void)state;
    NEED_MODEL();
    expect(run("generate -p x -o %s/no/such/folder/x.png", folder), 10, "folder");
    expect(run("generate -p x -W 100 -o %s/x.png", folder), 2, "100");
    expect(run("generate -p \"$(printf 'a\\377b')\" -o %s/x.png", folder), 2, "UTF-8");
    assert_false(exists("x.png"));
    expect(run("personalize -r %s/text.png -p x -o %s/x.png", folder, folder), 3, "text.png");
    assert_false(exists("x.png"));
    expect(run("personalize -r assets/samples/micah.png -p x --discriminator %s/text.png -o %s/x.png", folder, folder),
           3, "text.png");
}

static void odd_prompts(void **state) {
    (void)state;
    NEED_MODEL();
    expect(run("generate -p '' -o %s/e.png", folder), 0, NULL);
    assert_true(exists("e.png"));
    char words[1024] = "";
    for (int i = 0; i < 100; i++)
        strcat(words, "smile ");
    expect(run("generate -p '%s' -o %s/l.png", words, folder), 0, "smile");
    assert_non_null(strstr(output, "77"));
}

static void personalizes(void **state) {
    (void)state;
    NEED_MODEL();
    expect(run("personalize -r assets/samples/micah.png -p 'micah portrait of a person, red background' -s 7 "
               "--iterations 2 "
               "--report %s/r.json --preview %s/p.png --preview-interval 1 -o %s/q.png",
               folder, folder, folder),
           0, "judge");
    assert_true(exists("q.png") && exists("q_sheet.png") && exists("r.json") && exists("p.png"));
    char *report = NULL;
    size_t bytes = 0;
    assert_true(read_file("r.json", &report, &bytes));
    report[bytes < (1 << 22) ? bytes : bytes - 1] = 0;
    assert_non_null(strstr(report, "judge_guided"));
    assert_null(strstr(report, folder));
    free(report);
}

static int setup(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    char command[256];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command) == 0 ? 0 : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(help_and_version),    cmocka_unit_test(usage_errors),
        cmocka_unit_test(no_such_device),      cmocka_unit_test(bad_pictures),
        cmocka_unit_test(bad_models),          cmocka_unit_test(generates_the_same_bytes),
        cmocka_unit_test(refuses_before_work), cmocka_unit_test(odd_prompts),
        cmocka_unit_test(personalizes),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
