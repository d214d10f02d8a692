/* tests/cli/test_input.c - odd input that must work and bad input that must be refused, through the built program.
 *
 * Refused means: the exit code of its kind, a message that says what and where, and nothing left in the folder. All
 * runs use the small model of tests/data/models/tiny, copied into a folder whose name has blanks and non-ASCII letters;
 * %F in the tables stands for that folder, %S for the source tree. Needs a Vulkan device. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "io/image.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define DATA LIKENESS_SOURCE_DIR "/tests/data/"

static char folder[512];
static char output[1 << 16]; /* stdout and stderr of the last run */

/* %F and %S of a table's text. */
static void fill_in(lk_text *out, const char *format) {
    for (; *format; format++) {
        if (format[0] == '%' && (format[1] == 'F' || format[1] == 'S'))
            lk_text_add(out, *++format == 'F' ? folder : LIKENESS_SOURCE_DIR);
        else
            lk_text_append(out, format, 1);
    }
}

/* Through a pipe, so that limits on files do not touch the messages. 128 + N for signal N, as shells say. */
static int run(const char *before, const char *arguments) {
    lk_text command = LK_TEXT_INIT;
    fill_in(&command, before);
    lk_text_addf(&command, " '%s' ", LIKENESS_BINARY);
    fill_in(&command, arguments);
    lk_text_add(&command, " 2>&1 </dev/null");
    FILE *pipe = popen(lk_text_get(&command), "r");
    assert_non_null(pipe);
    size_t length = fread(output, 1, sizeof output - 1, pipe);
    output[length] = 0;
    int status = pclose(pipe);
    lk_text_free(&command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void expect(const char *what, int code, int wanted, const char *const *words, int count) {
    bool good = code == wanted;
    for (int i = 0; i < count && good; i++)
        good = !words[i] || strstr(output, words[i]);
    if (!good)
        fail_msg("%s: exit code %d, expected %d with '%s' '%s' '%s'; output:\n%s", what, code, wanted, words[0],
                 count > 1 && words[1] ? words[1] : "", count > 2 && words[2] ? words[2] : "", output);
}

static const char *inside(const char *name) {
    static char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void put(const char *name, const void *data, size_t size) {
    FILE *file = fopen(inside(name), "wb");
    if (!file || fwrite(data, 1, size, file) != size) fail_msg("cannot write %s", inside(name));
    fclose(file);
}

static uint8_t *get(const char *path, size_t *size) {
    lk_error error = LK_ERROR_INIT;
    uint8_t *data;
    if (lk_file_read(path, 1 << 24, &data, size, &error) != LIKENESS_OK) fail_msg("%s", error.message);
    return data;
}

/* What a refused run may have left: nothing but what was there before. Temporary files begin with a dot. */
static int entries(void) {
    DIR *list = opendir(folder);
    int count = 0;
    assert_non_null(list);
    while (readdir(list))
        count++;
    closedir(list);
    return count;
}

static void refused(const char *before, const char *arguments, int wanted, const char *const *words, int count) {
    int files = entries();
    expect(arguments, run(before, arguments), wanted, words, count);
    if (entries() != files) fail_msg("%s: a file was left behind", arguments);
}

/* ---- words on the command line ---- */

static void nonsense(void **state) {
    (void)state;
    static const struct {
        const char *before, *arguments;
        int code;
        const char *words[3];
    } rows[] = {
        {"", "generate -m '%F/model' -p \"$(printf 'caf\\351')\" -o '%F/x.png'", 2, {"UTF-8", "byte 4"}},
        {"", "generate -m '%F/model' -p x -n \"$(printf '\\355\\240\\200')\" -o '%F/x.png'", 2, {"negative", "UTF-8"}},
        {"", "generate -m '%F/model' -p x -W 17 -o '%F/x.png'", 2, {"width", "17", "multiple"}},
        {"", "generate -m '%F/model' -p x -H 0 -o '%F/x.png'", 2, {"--height"}},
        {"", "generate -m '%F/model' -p x -H 99999999999999999999 -o '%F/x.png'", 2, {"--height"}},
        {"", "generate -m '%F/model' -p x -W 16384 -H 16384 -o '%F/x.png'", 2, {"16384", "64 megapixels"}},
        {"", "generate -m '%F/model' -p x --steps 1001 -o '%F/x.png'", 2, {"--steps", "1000"}},
        {"", "generate -m '%F/model' -p x --steps 0x4 -o '%F/x.png'", 2, {"--steps"}},
        {"", "generate -m '%F/model' -p x --cfg-scale nan -o '%F/x.png'", 2, {"--cfg-scale"}},
        {"", "generate -m '%F/model' -p x --cfg-scale inf -o '%F/x.png'", 2, {"--cfg-scale"}},
        {"", "generate -m '%F/model' -p x --cfg-scale -1 -o '%F/x.png'", 2, {"--cfg-scale"}},
        {"", "generate -m '%F/model' -p x -s 1.5 -o '%F/x.png'", 2, {"--seed"}},
        {"", "generate -m '%F/model' -p x -s 9223372036854775807 -b 2 -o '%F/x.png'", 2, {"--seed"}},
        {"", "generate -m '%F/model' -p x -b 0 -o '%F/x.png'", 2, {"--batch-count"}},
        {"", "generate -m '%F/model' -p x --max-block 0 -o '%F/x.png'", 2, {"--max-block"}},
        {"", "generate -m '%F/model' -p x --device 99 -o '%F/x.png'", 4, {"device 99", "likeness devices"}},
        {"", "generate -m '%F/model' -p x --device -1 -o '%F/x.png'", 4, {"\"-1\"", "likeness devices"}},
        {"", "generate -m '%F/model' -p x --device 'no such thing' -o '%F/x.png'", 4, {"no such thing"}},
        {"", "personalize -m '%F/model' -p x -r '%F/good.png' --iterations -3 -o '%F/x.png'", 2, {"--iterations"}},
        {"", "personalize -m '%F/model' -p x -r '%F/good.png' --until 1.5 -o '%F/x.png'", 2, {"--until"}},
        {"", "personalize -m '%F/model' -p x -r '%F/good.png' --id-scale nan -o '%F/x.png'", 2, {"--id-scale"}},
        {"", "generate -m '%F/model' -p x --max-vram 128K -o '%F/x.png'", 5, {"pixels need", "are left"}},
        {"", "generate -m '%F/model' -p x --max-block 64K -W 128 -H 128 -o '%F/x.png'", 5, {"131072 bytes", "65536"}},
        {"", "generate -m '%F/model' -p x -W 8000 -H 8000 -o '%F/x.png'", 5, {"4096000000 bytes", "1073741824"}},
        {"VK_DRIVER_FILES='%F/none.json' VK_ICD_FILENAMES='%F/none.json'",
         "generate -m '%F/model' -p x -o '%F/x.png'",
         4,
         {"no Vulkan driver", "install", "mesa-vulkan-drivers"}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        refused(rows[i].before, rows[i].arguments, rows[i].code, rows[i].words, 3);
}

/* ---- pictures ---- */

static void bad_pictures(void **state) {
    (void)state;
    static const struct {
        const char *arguments;
        int code;
        const char *words[3];
    } rows[] = {
        {"inspect '%F/none.png'", 10, {"none.png", "No such file"}},
        {"inspect '%F'", 10, {"folder"}},
        {"inspect '%F/empty.png'", 3, {"empty.png", "empty"}},
        {"inspect '%F/text.png'", 3, {"text.png", "no picture"}},
        {"inspect '%F/picture.gif'", 3, {"picture.gif", "GIF"}},
        {"inspect '%F/huge.png'", 3, {"huge.png", "100000 x 100000", "64 megapixels"}},
        {"inspect '%F/huge.jpg'", 3, {"huge.jpg", "64 megapixels"}},
        {"inspect '%F/cut.png'", 3, {"cut.png"}},
        {"inspect '%F/cut.jpg'", 3, {"cut.jpg"}},
        {"inspect '%F/claims.png'", 3, {"claims.png", "cut"}},
        {"personalize -m '%F/model' -p x -r '%F/none.png' -o '%F/x.png'", 10, {"none.png"}},
        {"personalize -m '%F/model' -p x -r '%F/huge.png' -o '%F/x.png'", 3, {"huge.png", "64 megapixels"}},
        {"personalize -m '%F/model' -p x -r '%F/cut.jpg' -o '%F/x.png'", 3, {"cut.jpg"}},
        {"generate -m '%F/model' --from '%F/good.png' -o '%F/x.png'", 3, {"no settings"}},
        {"generate -m '%F/model' --from '%F/none.png' -o '%F/x.png'", 10, {"none.png"}},
    };
    size_t size;
    uint8_t *png = get(DATA "pictures/rgb.png", &size);
    put("cut.png", png, size - 20);
    memcpy(png + 16, "\0\1\x86\xa0\0\1\x86\xa0", 8);
    put("huge.png", png, size);
    lk_free(png);
    png = get(DATA "pictures/texts.png", &size);
    put("good.png", png, size);
    memcpy(png + 33, "\x7f\xff\xff\xff", 4);
    put("claims.png", png, size);
    lk_free(png);
    uint8_t *jpeg = get(DATA "pictures/baseline.jpg", &size);
    put("cut.jpg", jpeg, size * 2 / 3);
    for (size_t i = 0; i + 9 < size; i++)
        if (jpeg[i] == 0xff && jpeg[i + 1] == 0xc0) memset(jpeg + i + 5, 0xf0, 4);
    put("huge.jpg", jpeg, size);
    lk_free(jpeg);
    put("empty.png", "", 0);
    put("text.png", "this is text", 12);
    put("picture.gif", "GIF89a\1\0\1\0", 10);
    png = get(DATA "pictures/rgb.png", &size);
    put("good.png", png, size); /* without settings */
    lk_free(png);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        refused("", rows[i].arguments, rows[i].code, rows[i].words, 3);
}

/* A picture may hold any text: a terminal must not obey it. */
static void foreign_text(void **state) {
    (void)state;
    const char *const words[] = {"a ?]0;title? ?[31m ?", "Seed: 3"};
    lk_image image;
    lk_image_texts texts = {0};
    lk_error error = LK_ERROR_INIT;
    lk_image_create(&image, 3, 2, &error);
    lk_image_texts_add(&texts, "parameters", "a \x1b]0;title\x07 \xc2\x9b[31m \x7f\nSteps: 4, Sampler: Euler, Seed: 3",
                       &error);
    lk_image_write_png(&image, &texts, inside("foreign.png"), &error);
    if (error.status != LIKENESS_OK) fail_msg("%s", error.message);
    lk_image_texts_free(&texts);
    lk_image_free(&image);
    expect("foreign text", run("", "inspect '%F/foreign.png'"), 0, words, 2);
    assert_null(strchr(output, 0x1b));
    assert_null(strchr(output, 0x07));
}

/* ---- models ---- */

typedef enum damage { REMOVE, EMPTY, CUT, TAIL, REPLACE, WHOLE } damage;

/* Applies the damage to a file of the model's copy and returns what was there. */
static uint8_t *break_file(const char *name, damage kind, const char *from, const char *to, size_t *size) {
    char path[1024];
    snprintf(path, sizeof path, "%s", inside(name));
    uint8_t *data = get(path, size);
    size_t length = from ? strlen(from) : 0, at = 0;
    if (kind == REMOVE) unlink(path);
    if (kind == EMPTY) put(name, "", 0);
    if (kind == CUT) put(name, data, *size / 3);
    if (kind == TAIL) put(name, data, *size - 10);
    if (kind == WHOLE) put(name, to, strlen(to));
    if (kind == REPLACE) {
        while (at + length <= *size && memcmp(data + at, from, length) != 0)
            at++;
        if (at + length > *size) fail_msg("%s does not occur in %s", from, name);
        lk_text out = LK_TEXT_INIT;
        lk_text_append(&out, (const char *)data, at);
        lk_text_add(&out, to);
        lk_text_append(&out, (const char *)data + at + length, *size - at - length);
        put(name, out.data, out.length);
        lk_text_free(&out);
    }
    return data;
}

#define UNET "model/unet/diffusion_pytorch_model.safetensors"
#define TEXT "model/text_encoder/model.safetensors"
#define IDENTITY "model/identity_encoder.onnx"

static void bad_models(void **state) {
    (void)state;
    static const struct {
        const char *file;
        damage kind;
        const char *from, *to;
        int code;
        const char *words[3];
    } rows[] = {
        {UNET, REMOVE, NULL, NULL, 10, {"diffusion_pytorch_model.safetensors"}},
        {UNET, EMPTY, NULL, NULL, 3, {"diffusion_pytorch_model.safetensors", "empty"}},
        {UNET, CUT, NULL, NULL, 3, {"diffusion_pytorch_model.safetensors", "cut"}},
        {UNET, TAIL, NULL, NULL, 3, {"diffusion_pytorch_model.safetensors", "cut"}},
        {UNET, WHOLE, NULL, "\x10\x10\x10\x10\x10\x10\x10\x10{}", 3, {"header claims", "1157442765409226768"}},
        {TEXT, WHOLE, NULL, "\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f", 3, {"model.safetensors", "header claims"}},
        {TEXT, REPLACE, "\"F16\"", "\"F99\"", 3, {"model.safetensors", "dtype 'F99'", "tensor '"}},
        {"model/text_encoder/config.json",
         REPLACE,
         "\"vocab_size\": 522",
         "\"vocab_size\": 523",
         3,
         {"token_embedding.weight", "[522,16]", "[523,16]"}},
        {"model/text_encoder/config.json", REPLACE, "\"hidden_act\"", "\"new_act\"", 3, {"config.json", "new_act"}},
        {"model/unet/config.json", CUT, NULL, NULL, 3, {"unet/config.json", "JSON"}},
        {"model/unet/config.json", REPLACE, "\"silu\"", "\"mish\"", 3, {"unet/config.json", "act_fn", "mish"}},
        {"model/vae/config.json", REMOVE, NULL, NULL, 10, {"vae/config.json"}},
        {"model/scheduler/scheduler_config.json", REPLACE, "FlowMatchEuler", "DDIM", 3, {"scheduler_config.json"}},
        {"model/model_index.json", REPLACE, "CLIPTextModel", "T5EncoderModel", 3, {"model_index.json", "T5Encoder"}},
        {"model/model_index.json", REPLACE, "identity_encoder.onnx", "../../etc/passwd", 3, {"identity_encoder"}},
        {"model/tokenizer/vocab.json", CUT, NULL, NULL, 3, {"vocab.json"}},
        {"model/tokenizer/merges.txt", WHOLE, NULL, "zq zq\n", 3, {"merges.txt", "line 1"}},
        {IDENTITY, REMOVE, NULL, NULL, 10, {"identity_encoder.onnx"}},
        {IDENTITY, EMPTY, NULL, NULL, 3, {"identity_encoder.onnx", "empty"}},
        {IDENTITY, CUT, NULL, NULL, 3, {"identity_encoder.onnx", "cut"}},
        {IDENTITY, WHOLE, NULL, "no network", 3, {"identity_encoder.onnx"}},
        {IDENTITY, REPLACE, "Flatten", "Flotten", 3, {"identity_encoder.onnx", "Flotten", "flatten_5"}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t size;
        uint8_t *whole = break_file(rows[i].file, rows[i].kind, rows[i].from, rows[i].to, &size);
        refused("", "personalize -m '%F/model' -p x -r '%S/tests/data/pictures/rgb.png' --iterations 1 -o '%F/x.png'",
                rows[i].code, rows[i].words, 3);
        put(rows[i].file, whole, size);
        lk_free(whole);
    }
    static const char *const none[] = {"nowhere"};
    refused("", "generate -m '%F/nowhere' -p x -o '%F/x.png'", 10, none, 1);
}

/* ---- writing ---- */

static void bad_outputs(void **state) {
    (void)state;
    static const char *const missing[] = {"no folder", "does not exist"}, *const a_folder[] = {"it is a folder"},
                             *const full[] = {"No space left"};
    refused("", "generate -m '%F/model' -p x -o '%F/no folder/x.png'", 10, missing, 2);
    refused("", "generate -m '%F/model' -p x --report '%F/no folder/r.json' -o '%F/x.png'", 10, missing, 2);
    refused("", "generate -m '%F/model' -p x -o '%F/model'", 10, a_folder, 1);
    if (access("/dev/full", W_OK) == 0) refused("", "generate -m '%F/model' -p x -o /dev/full", 10, full, 1);
}

/* ---- what must work ---- */

static void odd_pictures(void **state) {
    (void)state;
    static const struct {
        const char *name, *size;
    } kinds[] = {{"grey.png", "13 x 9"},       {"grey16.png", "13 x 9"},  {"rgb16.png", "13 x 9"},
                 {"rgba.png", "13 x 9"},       {"palette.png", "13 x 9"}, {"palette_clear.png", "13 x 9"},
                 {"one_bit.png", "13 x 9"},    {"thin.png", "1 x 9"},     {"interlaced.png", "13 x 9"},
                 {"grey_alpha.png", "13 x 9"}, {"turned.png", "9 x 13"},  {"progressive.jpg", "13 x 9"},
                 {"grey_photo.jpg", "13 x 9"}, {"cmyk.jpg", "13 x 9"},    {"exif_6.jpg", "9 x 13"}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char path[1024];
        const char *const words[] = {"Фото ü.picture: ", kinds[i].size};
        size_t size;
        snprintf(path, sizeof path, DATA "pictures/%s", kinds[i].name);
        uint8_t *data = get(path, &size);
        put("Фото ü.picture", data, size);
        lk_free(data);
        expect(kinds[i].name, run("", "inspect '%F/Фото ü.picture'"), 0, words, 2);
    }
    /* As the reference of a whole run: the ones that differ most from an 8-bit square. */
    static const char *const references[] = {"thin.png", "cmyk.jpg", "grey_alpha.png"};
    for (size_t i = 0; i < sizeof references / sizeof *references; i++) {
        char arguments[512];
        const char *const words[] = {"likeness"};
        snprintf(arguments, sizeof arguments,
                 "personalize -m '%%F/model' -p '' -r '%%S/tests/data/pictures/%s' --iterations 1 --no-sheet -o "
                 "'%%F/Bild ä %d.png'",
                 references[i], (int)i);
        expect(references[i], run("", arguments), 0, words, 1);
        snprintf(arguments, sizeof arguments, "Bild ä %d.png", (int)i);
        assert_true(lk_file_size(inside(arguments)) > 100);
    }
}

static void odd_prompts(void **state) {
    (void)state;
    lk_text arguments = LK_TEXT_INIT;
    const char *const picture[] = {"leer é.png"}, *const cut[] = {"cut before the word \"zebra\"", "77 fit"};
    expect("empty prompt", run("", "generate -m '%F/model' -p '' -o '%F/leer é.png'"), 0, picture, 1);
    assert_true(lk_file_size(inside("leer é.png")) > 100);
    lk_text_add(&arguments, "generate -m '%F/model' -p '");
    for (int i = 0; i < 75; i++)
        lk_text_add(&arguments, "! ");
    lk_text_add(&arguments, "Zebra and more' -o '%F/lang.png'");
    expect("long prompt", run("", lk_text_get(&arguments)), 0, cut, 2);
    assert_true(lk_file_size(inside("lang.png")) > 100);
    lk_text_free(&arguments);
}

/* ---- frame ---- */

static int shell(const char *format, ...) {
    char command[2048];
    va_list list;
    va_start(list, format);
    vsnprintf(command, sizeof command, format, list);
    va_end(list);
    return system(command);
}

static int setup(void **state) {
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/likeness tést ж-XXXXXX", base ? base : "/tmp");
    if (!mkdtemp(folder)) return -1;
    return shell("cp -r '%s' '%s/model' && chmod -R u+w '%s/model' && cp '%s' '%s/good.png'", DATA "models/tiny",
                 folder, folder, DATA "pictures/rgb.png", folder);
}

static int teardown(void **state) {
    (void)state;
    return shell("rm -rf '%s'", folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(nonsense),     cmocka_unit_test(bad_pictures),
                                       cmocka_unit_test(foreign_text), cmocka_unit_test(bad_models),
                                       cmocka_unit_test(bad_outputs),  cmocka_unit_test(odd_pictures),
                                       cmocka_unit_test(odd_prompts)};
    if (setup(NULL) != 0) return 1;
    if (run("", "devices") != 0) {
        teardown(NULL);
        printf("skipped: %s", output);
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, teardown);
}
