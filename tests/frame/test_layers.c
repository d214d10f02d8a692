/* tests/frame/test_layers.c - the layers of docs/architecture.md are those of the code.
 *
 * Reads the table of layers in that page, rows of the form
 *
 *     | 3 | `src/ops` | what it does | `src/graph`, ... |
 *
 * and every #include line of src/: a file may include its own folder and folders of lower layers, none that its row's
 * last column names, and Vulkan's headers in src/gpu alone. The checker itself is tested with includes that break each
 * of the rules. */
#include <ctype.h>
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

enum { MOST_LAYERS = 32, SHADERS_FROM = 1 /* the lowest layer that may include what C and GLSL share */ };

typedef struct layer {
    char folder[32]; /* below src */
    int number;
    char never[160]; /* text of the row's last column */
} layer;

static layer layers[MOST_LAYERS];
static int layer_count;

static const layer *find_layer(const char *folder, size_t length) {
    for (int i = 0; i < layer_count; i++)
        if (strlen(layers[i].folder) == length && memcmp(layers[i].folder, folder, length) == 0) return &layers[i];
    return NULL;
}

static int read_layers(void **state) {
    (void)state;
    FILE *file = fopen(LIKENESS_SOURCE_DIR "/docs/architecture.md", "r");
    if (!file) return -1;
    char line[1024];
    while (fgets(line, sizeof line, file)) {
        layer l = {.number = -1};
        int end = 0;
        if (sscanf(line, "| %d | `src/%31[a-z]` |%n", &l.number, l.folder, &end) != 2 || end == 0) continue;
        char *last = strrchr(line, '|'); /* the row's end */
        if (!last) continue;
        *last = 0;
        last = strrchr(line + end, '|');
        snprintf(l.never, sizeof l.never, "%s", last ? last + 1 : "");
        if (layer_count < MOST_LAYERS) layers[layer_count++] = l;
    }
    fclose(file);
    return 0;
}

static bool folder_exists(const char *format, const char *name) {
    char path[512];
    snprintf(path, sizeof path, format, name);
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* Why `line` must not stand in a file of the folder `own`; NULL when it may. */
static const char *refusal(const layer *own, const char *line) {
    const char *at = line + strspn(line, " \t");
    if (*at++ != '#') return NULL;
    at += strspn(at, " \t");
    if (strncmp(at, "include", 7) != 0) return NULL;
    at += 7;
    at += strspn(at, " \t");
    if (*at == '<') {
        bool vulkan = strncmp(at, "<volk", 5) == 0 || strncmp(at, "<vulkan", 7) == 0;
        return vulkan && strcmp(own->folder, "gpu") != 0 ? "Vulkan's headers are for src/gpu alone" : NULL;
    }
    if (*at++ != '"') return "neither <...> nor \"...\"";
    size_t length = strcspn(at, "/\"");
    if (at[length] != '/') return "names no folder";
    char folder[64];
    snprintf(folder, sizeof folder, "%.*s", (int)length, at);
    if (strcmp(folder, own->folder) == 0) return NULL;
    if (strcmp(folder, "likeness") == 0) { /* the status codes are everybody's, the rest is the API's and above */
        if (strncmp(at, "likeness/status.h\"", 18) == 0) return NULL;
        const layer *api = find_layer("api", 3);
        return api && own->number >= api->number ? NULL : "the public header is for src/api and src/cli";
    }
    const layer *other = find_layer(folder, strlen(folder));
    if (!other) {
        if (folder_exists(LIKENESS_SOURCE_DIR "/shaders/%s", folder))
            return own->number >= SHADERS_FROM ? NULL : "knows shaders";
        return "the folder is neither a layer nor one of shaders/";
    }
    if (other->number >= own->number) return "the folder is not of a lower layer";
    char quoted[64];
    snprintf(quoted, sizeof quoted, "`src/%.31s`", other->folder);
    return strstr(own->never, quoted) ? "the table's last column says never" : NULL;
}

static void every_folder_has_a_row(void **state) {
    (void)state;
    assert_true(layer_count >= 10);
    DIR *directory = opendir(LIKENESS_SOURCE_DIR "/src");
    assert_non_null(directory);
    int missing = 0;
    for (struct dirent *entry; (entry = readdir(directory));) {
        if (entry->d_name[0] == '.' || !folder_exists(LIKENESS_SOURCE_DIR "/src/%s", entry->d_name)) continue;
        if (!find_layer(entry->d_name, strlen(entry->d_name))) {
            print_error("src/%s has no row in docs/architecture.md\n", entry->d_name);
            missing++;
        }
    }
    closedir(directory);
    for (int i = 0; i < layer_count; i++)
        if (!folder_exists(LIKENESS_SOURCE_DIR "/src/%s", layers[i].folder)) {
            print_error("docs/architecture.md names src/%s, which does not exist\n", layers[i].folder);
            missing++;
        }
    assert_int_equal(missing, 0);
}

static void files_include_only_downwards(void **state) {
    (void)state;
    int files = 0, lines = 0, wrong = 0;
    for (int i = 0; i < layer_count; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/src/%.31s", LIKENESS_SOURCE_DIR, layers[i].folder);
        DIR *directory = opendir(path);
        if (!directory) continue;
        for (struct dirent *entry; (entry = readdir(directory));) {
            size_t length = strlen(entry->d_name);
            if (length < 3 || (strcmp(entry->d_name + length - 2, ".c") && strcmp(entry->d_name + length - 2, ".h")))
                continue;
            snprintf(path, sizeof path, "%s/src/%.31s/%.255s", LIKENESS_SOURCE_DIR, layers[i].folder, entry->d_name);
            FILE *file = fopen(path, "r");
            assert_non_null(file);
            files++;
            char line[4096];
            for (int number = 1; fgets(line, sizeof line, file); number++) {
                lines++;
                const char *why = refusal(&layers[i], line);
                if (!why) continue;
                print_error("src/%s/%s:%d: %s: %s", layers[i].folder, entry->d_name, number, why, line);
                wrong++;
            }
            fclose(file);
        }
        closedir(directory);
    }
    print_message("%d files, %d lines\n", files, lines);
    assert_true(files > 100);
    assert_int_equal(wrong, 0);
}

static void wrong_includes_are_found(void **state) {
    (void)state;
    static const struct {
        const char *folder, *line;
        bool fine;
    } cases[] = {
        {"base", "#include \"io/json.h\"\n", false},
        {"base", "#include \"likeness/status.h\"\n", true},
        {"base", "#include \"check/push.h\"\n", false},
        {"io", "#include \"gpu/device.h\"\n", false},
        {"io", "#include \"base/error.h\"\n", true},
        {"gpu", "#include <volk.h>\n", true},
        {"gpu", "#include \"tensor/tensor.h\"\n", false},
        {"ops", "#include \"graph/graph.h\"\n", false},
        {"ops", "#include \"reference/reference.h\"\n", false},
        {"ops", "  #  include \"attention/push.h\"\n", true},
        {"reference", "#include \"gpu/device.h\"\n", false},
        {"reference", "#include <vulkan/vulkan.h>\n", false},
        {"nn", "#include \"gpu/device.h\"\n", false},
        {"nn", "#include \"graph/graph.h\"\n", true},
        {"models", "#include \"sampling/schedule.h\"\n", false},
        {"graph", "#include \"likeness/likeness.h\"\n", false},
        {"cli", "#include \"likeness/likeness.h\"\n", true},
        {"cli", "#include \"nowhere/x.h\"\n", false},
        {"cli", "#include \"options.h\"\n", false},
        {"cli", "#include \"options.h\n", false},
        {"api", "int include; /* \"cli/main.h\" */\n", true},
        {"api", "#include \"cli/commands.h\"\n", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const layer *own = find_layer(cases[i].folder, strlen(cases[i].folder));
        assert_non_null(own);
        const char *why = refusal(own, cases[i].line);
        if (cases[i].fine != (why == NULL))
            print_error("src/%s, %s: %s", cases[i].folder, why ? why : "accepted", cases[i].line);
        assert_int_equal(cases[i].fine, why == NULL);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_folder_has_a_row),
        cmocka_unit_test(files_include_only_downwards),
        cmocka_unit_test(wrong_includes_are_found),
    };
    return cmocka_run_group_tests(tests, read_layers, NULL);
}
