/* tests/cli/test_faces.c - faces on the command line: exit codes 8 and 9, consent that is asked once, the options'
 * words, what report and picture say. The tiny model and the networks of tests/reference/face_networks.py; what needs a
 * device is skipped aloud without one. */
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
#include <unistd.h>

#include <cmocka.h>

#include "io/image.h"

#define DATA LIKENESS_SOURCE_DIR "/tests/data/models/"
#define TINY "personalize -m '" DATA "tiny' -p 'red person on a hill' --progress none --iterations 2 "
#define EMBEDDER "--discriminator '" DATA "faces/embedder.onnx' "
#define MICAH "-r '" LIKENESS_SOURCE_DIR "/assets/samples/micah.png' "
#define LORELEI "-r '" LIKENESS_SOURCE_DIR "/assets/samples/lorelei.png' "

static char folder[] = "/tmp/likeness_faces_XXXXXX";
static char output[65536];

/* A shell line in which the program is called likeness; runs in the folder, with a home of its own. */
static int shell(const char *line, char *text, size_t bytes) {
    char command[8192];
    snprintf(command, sizeof command,
             "cd '%s' && export XDG_CONFIG_HOME='%s/config' && likeness() { '%s' \"$@\"; } && { %s; } 2>&1", folder,
             folder, LIKENESS_BINARY, line);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    text[fread(text, 1, bytes - 1, pipe)] = 0;
    int status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status;
}

static void expect(int wanted, const char *words, const char *format, ...) {
    char arguments[4096], line[4200];
    va_list list;
    va_start(list, format);
    vsnprintf(arguments, sizeof arguments, format, list);
    va_end(list);
    snprintf(line, sizeof line, "likeness %s </dev/null", arguments);
    int code = shell(line, output, sizeof output);
    if (code != wanted || !strstr(output, words))
        fail_msg("%s\nexit code %d, expected %d with \"%s\"; output:\n%s", arguments, code, wanted, words, output);
}

static bool exists(const char *name) {
    char path[512];
    struct stat info;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return stat(path, &info) == 0;
}

/* Shading and noise, as a camera makes them. */
static int make_photograph(void **state) {
    (void)state;
    lk_error error = LK_ERROR_INIT;
    lk_image image;
    char path[512];
    uint32_t noise = 99;
    if (!mkdtemp(folder) || lk_image_create(&image, 96, 96, &error) != LIKENESS_OK) return 1;
    for (uint32_t i = 0; i < 96 * 96 * 3; i++) {
        noise = noise * 1664525u + 1013904223u;
        image.rgb[i] = (uint8_t)(60 + i / 288 + (noise >> 29));
    }
    snprintf(path, sizeof path, "%s/photograph.png", folder);
    likeness_status status = lk_image_write_png(&image, NULL, path, &error);
    lk_image_free(&image);
    return status == LIKENESS_OK ? 0 : 1;
}

static int clean(void **state) {
    (void)state;
    char command[600];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static void need_device(void) {
    static int code = -1;
    if (code < 0) code = shell("likeness devices", output, sizeof output);
    if (code == 0) return;
    print_message("skipped: no Vulkan device\n");
    skip();
}

/* ---- words ---- */

static void options_are_read(void **state) {
    (void)state;
    expect(2, "--consent is self or granted, not \"yes\"", TINY MICAH "--consent yes");
    expect(2, "--no-face is hold or lower", TINY MICAH "--no-face never");
    expect(2, "takes a box X,Y,W,H", TINY MICAH "--box 1,2,3");
    expect(2, "takes a box X,Y,W,H", TINY MICAH "--box 1,2,3,4,5");
    expect(2, "takes a box X,Y,W,H", TINY MICAH "--reference-box 1,2,0,4");
    expect(2, "takes a box X,Y,W,H", TINY MICAH "--box -1,2,3,4");
    expect(2, "--threshold takes a number", TINY MICAH "--threshold 1");
    expect(2, "at most 8 references", TINY MICAH MICAH MICAH MICAH MICAH MICAH MICAH MICAH MICAH);
    expect(0, "8 no face found or not clear which, 9 consent is missing", "--help");
    expect(0, "--detector FILE", "personalize --help");
    expect(10, "missing.png", TINY MICAH "-r missing.png");
}

/* ---- consent ---- */

static void photograph_without_consent(void **state) {
    (void)state;
    expect(9, "photograph.png looks like a photograph", TINY "-r photograph.png -o a.png");
    expect(9, "photograph.png looks like a photograph", TINY MICAH "-r photograph.png -o a.png");
    expect(9, "photograph.png looks like a photograph", TINY MICAH "--init-img photograph.png -o a.png");
    assert_false(exists("a.png"));
    assert_false(exists("config/likeness/consent"));
}

/* Asked on a terminal (of script(1)), once: the second run finds the answer, another picture is asked for again. */
static void consent_is_asked_once(void **state) {
    (void)state;
    need_device();
    char text[8192];
    if (shell("command -v script && script -qec true /dev/null </dev/null", text, sizeof text) != 0) {
        print_message("skipped: no script(1) to make a terminal with\n");
        skip();
    }
    char line[2048];
    snprintf(
        line, sizeof line,
        "echo n | script -qec \"'%s' personalize -m '%stiny' -r photograph.png --iterations 0 -o a.png\" /dev/null",
        LIKENESS_BINARY, DATA);
    assert_int_equal(shell(line, text, sizeof text), 9);
    assert_non_null(strstr(text, "Does it show you"));
    assert_false(exists("config/likeness/consent"));
    memcpy(strstr(line, "echo n"), "echo s", 6);
    if (shell(line, text, sizeof text) != 0) fail_msg("%s", text);
    assert_true(exists("config/likeness/consent") && exists("a.png"));
    expect(0, "a.png", TINY "-r photograph.png -o a.png --no-sheet --report r.json");
    assert_int_equal(shell("cat r.json", text, sizeof text), 0);
    assert_non_null(strstr(text, "\"consent\":\t\"self\""));
    assert_null(strstr(text, "photograph.png"));
    assert_int_equal(shell("cat config/likeness/consent", text, sizeof text), 0);
    assert_true(strlen(text) == 64 + 6 && strstr(text, " self\n"));
}

static void consent_is_kept(void **state) {
    (void)state;
    need_device();
    char text[8192];
    expect(0, "c.png", TINY "-r photograph.png --consent granted -o c.png --no-sheet --report c.json");
    assert_int_equal(shell("cat c.json", text, sizeof text), 0);
    assert_non_null(strstr(text, "\"consent\":\t\"granted\""));
    assert_non_null(strstr(text, "\"photograph\":\ttrue"));
    expect(0, "Consent: granted", "inspect c.png");
    expect(0, "d.png", TINY MICAH "-o d.png --no-sheet --report d.json");
    assert_int_equal(shell("cat d.json", text, sizeof text), 0);
    assert_non_null(strstr(text, "\"consent\":\t\"none stated\""));
    assert_non_null(strstr(text, "\"photograph\":\tfalse"));
}

/* ---- faces ---- */

static void no_face_is_8(void **state) {
    (void)state;
    need_device();
    char text[65536];
    expect(8, "reference 1: no face was found", TINY MICAH EMBEDDER "--detector '" DATA "faces/none.onnx' -o n.png");
    assert_false(exists("n.png"));
    expect(8, "none is clearly the largest", TINY MICAH EMBEDDER "--detector '" DATA "faces/even.onnx' -o n.png");
    assert_false(exists("n.png"));
    /* The reference shows one, no picture does: the best so far is kept, with its report. */
    expect(8, "no face was found in 10 iterations in a row",
           TINY MICAH EMBEDDER "--iterations 30 --detector '" DATA "faces/bright.onnx' -o n.png --report n.json");
    assert_true(exists("n.png") && exists("n_sheet.png"));
    assert_non_null(strstr(output, "likeness  no face without guidance, no face with"));
    assert_int_equal(shell("cat n.json", text, sizeof text), 0);
    assert_non_null(strstr(text, "\"no_face\":\ttrue"));
    assert_non_null(strstr(text, "\"faces\":\t0"));
    assert_non_null(strstr(text, "\"likeness_guided\":\tnull"));
    expect(0, "Detector hash", "inspect n.png");
}

static void people_and_things(void **state) {
    (void)state;
    need_device();
    char text[65536];
    expect(0, "person 2",
           TINY MICAH LORELEI EMBEDDER "--detector '" DATA "faces/two.onnx' --judge '" DATA
                                       "faces/judge.onnx' -o p.png --report p.json --no-sheet");
    assert_non_null(strstr(output, "threshold 0.300"));
    assert_int_equal(shell("cat p.json", text, sizeof text), 0);
    assert_non_null(strstr(text, "\"faces\":\t2"));
    expect(2, "several references need a face detector", TINY MICAH LORELEI EMBEDDER "-o q.png");
    expect(0, "b.png",
           TINY MICAH "--discriminator '" DATA "faces/judge.onnx' --encoder-input imagenet --box 2,2,12,12 "
                      "--reference-box 10,10,200,200 --l1 10 -o b.png --no-sheet");
    expect(0, "Difference weight: 10", "inspect b.png");
    expect(2, "encoder's input is arcface", TINY MICAH EMBEDDER "--encoder-input 1/2/3 -o q.png");
    assert_false(exists("q.png"));
    expect(0, "identity encoder",
           "compare -m '" DATA "tiny' " EMBEDDER "--detector '" DATA "faces/one.onnx' b.png b.png");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_are_read),      cmocka_unit_test(photograph_without_consent),
        cmocka_unit_test(consent_is_asked_once), cmocka_unit_test(consent_is_kept),
        cmocka_unit_test(no_face_is_8),          cmocka_unit_test(people_and_things),
    };
    return cmocka_run_group_tests_name("faces on the command line", tests, make_photograph, clean);
}
