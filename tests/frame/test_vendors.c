/* tests/frame/test_vendors.c - facts about vendors and drivers are in src/gpu/drivers.c and nowhere else.
 *
 * Reads every source and shader without its comments (which may say where a number was measured) and looks for the
 * names of vendors and drivers, as parts of identifiers too, for their PCI numbers, and for a comparison of vendor_id.
 * The finder itself is tested with lines that break the rule. */
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

static const char *const names[] = {"nvidia",   "geforce",  "tesla",    "nv",          "nvk",      "amd",     "amdgpu",
                                    "radeon",   "radv",     "rdna",     "intel",       "anv",      "arc",     "arm",
                                    "mali",     "adreno",   "qualcomm", "apple",       "moltenvk", "powervr", "imgtec",
                                    "lavapipe", "llvmpipe", "lvp",      "swiftshader", "0x10de",   "0x1002",  "0x8086",
                                    "0x106b",   "0x13b5",   "0x5143",   "0x1ae0",      "0x10005"};

/* Blanks comments, keeps lines. */
static void strip_comments(char *text) {
    enum { CODE, STRING, CHARACTER, LINE, BLOCK } state = CODE;
    for (char *c = text; *c; ++c) {
        char next = c[1];
        if (state == CODE && c[0] == '/' && (next == '*' || next == '/')) {
            state = next == '*' ? BLOCK : LINE;
            c[0] = c[1] = ' ';
            ++c;
        } else if (state == CODE && (*c == '"' || *c == '\'')) {
            state = *c == '"' ? STRING : CHARACTER;
        } else if ((state == STRING || state == CHARACTER) && *c == '\\' && next) {
            ++c;
        } else if ((state == STRING && *c == '"') || (state == CHARACTER && *c == '\'')) {
            state = CODE;
        } else if (state == LINE) {
            if (*c == '\n')
                state = CODE;
            else
                *c = ' ';
        } else if (state == BLOCK) {
            if (c[0] == '*' && next == '/') {
                c[0] = c[1] = ' ';
                ++c;
                state = CODE;
            } else if (*c != '\n') {
                *c = ' ';
            }
        }
    }
}

/* The first forbidden word of a text without comments, with its line; NULL: none. */
static const char *find(const char *text, int *line) {
    *line = 1;
    for (const char *c = text; *c;) {
        if (*c == '\n') ++*line;
        if (strncmp(c, "vendor_id ==", 12) == 0) return "vendor_id ==";
        if (!isalnum((unsigned char)*c)) {
            ++c;
            continue;
        }
        char word[32];
        size_t length = 0;
        for (; isalnum((unsigned char)*c); ++c)
            if (length + 1 < sizeof word) word[length++] = (char)tolower((unsigned char)*c);
        word[length] = 0;
        if (strcmp(word, "vendor") == 0 && strncmp(c, "_id ==", 6) == 0) return "vendor_id ==";
        for (size_t i = 0; i < sizeof names / sizeof *names; ++i)
            if (strcmp(word, names[i]) == 0) return names[i];
    }
    return NULL;
}

static int files_read, found;

static void look_at(const char *path) {
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    rewind(file);
    char *text = calloc(1, (size_t)size + 1);
    assert_non_null(text);
    assert_int_equal(fread(text, 1, (size_t)size, file), size);
    fclose(file);
    strip_comments(text);
    int line;
    const char *word = find(text, &line);
    if (word) {
        printf("%s:%d: %s\n", path, line, word);
        found++;
    }
    files_read++;
    free(text);
}

static bool is_source(const char *name) {
    const char *dot = strrchr(name, '.');
    return dot && (!strcmp(dot, ".c") || !strcmp(dot, ".h") || !strcmp(dot, ".comp") || !strcmp(dot, ".glsl"));
}

static void walk(const char *folder) {
    DIR *directory = opendir(folder);
    if (!directory) fail_msg("%s cannot be read", folder);
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        if (entry->d_name[0] == '.') continue;
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        struct stat info;
        if (stat(path, &info) != 0) continue;
        if (S_ISDIR(info.st_mode))
            walk(path);
        else if (is_source(path) && !strstr(path, "src/gpu/drivers.c"))
            look_at(path);
    }
    closedir(directory);
}

static void only_drivers_c_knows_vendors(void **state) {
    (void)state;
    walk(LIKENESS_SOURCE_DIR "/src");
    walk(LIKENESS_SOURCE_DIR "/include");
    walk(LIKENESS_SOURCE_DIR "/shaders");
    assert_true(files_read > 100);
    assert_int_equal(found, 0);
}

static const char *found_in(const char *source, int *line) {
    char text[400];
    snprintf(text, sizeof text, "%s", source);
    strip_comments(text);
    return find(text, line);
}

static void the_finder_finds(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "if (caps->driver == LK_DRIVER_NVIDIA) tile = 64;",
        "VK_MEMORY_PROPERTY_DEVICE_COHERENT_BIT_AMD",
        "strstr(caps->name, \"Radeon\")",
        "if (caps->vendor_id == id)",
        "bool slow = vendor == 0x8086;",
        "/* fine */ int Intel_tile; // fine",
        "\"/*\" RADV \"*/\"",
        "char c = '\"'; LAVAPIPE",
    };
    int line;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; ++i)
        if (!found_in(wrong[i], &line)) fail_msg("not found in: %s", wrong[i]);
    assert_non_null(found_in("\n\n/* a\nb */ AMD", &line));
    assert_int_equal(line, 4);
    static const char *const right[] = {
        "/* measured on NVIDIA */ int tile;", "int a; // Intel\nint b;", "search(armor, narcissus, intelligence)",
        "\"apt install mesa-vulkan-drivers\"", /* a package to install, no decision */
    };
    for (size_t i = 0; i < sizeof right / sizeof *right; ++i)
        if (found_in(right[i], &line)) fail_msg("found in: %s", right[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_finder_finds),
                                       cmocka_unit_test(only_drivers_c_knows_vendors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
