/* cli/consent.c - see consent.h. */
#include "cli/consent.h"

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>
#ifdef _WIN32
#include <io.h>
#define isatty _isatty
#define fileno _fileno
#else
#include <unistd.h>
#endif

static const char *const words[] = {"", "self", "granted"};

static void pixels_hash(const likeness_image *image, char text[65]) {
    uint8_t digest[32], size[8];
    lk_sha256 hash;
    for (int i = 0; i < 4; i++) {
        size[i] = (uint8_t)((uint32_t)image->width >> 8 * i);
        size[4 + i] = (uint8_t)((uint32_t)image->height >> 8 * i);
    }
    lk_sha256_init(&hash);
    lk_sha256_add(&hash, size, sizeof size);
    lk_sha256_add(&hash, image->rgb, (size_t)image->width * (size_t)image->height * 3);
    lk_sha256_finish(&hash, digest);
    for (int i = 0; i < 32; i++)
        snprintf(text + 2 * i, 3, "%02x", digest[i]);
}

/* ---- what was answered before; without a place to keep it every run asks ---- */

static char *memory_path(void) {
    char *folder = lk_config_directory(), *path = folder ? lk_path_join(folder, "consent") : NULL;
    lk_free(folder);
    return path;
}

static char *memory_read(const char *path) {
    lk_error ignored = LK_ERROR_INIT;
    uint8_t *data = NULL;
    size_t size;
    if (!path || lk_file_read(path, 1 << 20, &data, &size, &ignored) != LIKENESS_OK) return NULL;
    return (char *)data;
}

static likeness_consent recall(const char *text, const char *hash) {
    for (const char *line = text; line && *line; line = strchr(line, '\n'), line += line != NULL) {
        if (strncmp(line, hash, 64) != 0 || line[64] != ' ') continue;
        for (int i = 1; i <= 2; i++) {
            size_t length = strlen(words[i]);
            if (strncmp(line + 65, words[i], length) == 0 && (line[65 + length] == '\n' || !line[65 + length]))
                return (likeness_consent)i;
        }
    }
    return LIKENESS_CONSENT_NONE;
}

static void remember(const char *path, const char *before, const char *hash, likeness_consent consent) {
    lk_error error = LK_ERROR_INIT;
    lk_text text = LK_TEXT_INIT;
    char *folder = path ? lk_path_folder(path) : NULL;
    if (before) lk_text_add(&text, before);
    lk_text_addf(&text, "%s %s\n", hash, words[consent]);
    if (folder && !text.failed && lk_directory_make(folder, &error) == LIKENESS_OK)
        lk_file_write(path, lk_text_get(&text), text.length, &error);
    if (error.status != LIKENESS_OK) fprintf(stderr, "likeness: warning: the answer is not kept: %s\n", error.message);
    lk_free(folder);
    lk_text_free(&text);
}

/* ---- asking ---- */

static likeness_consent ask(const char *name) {
    char answer[32];
    fprintf(stderr,
            "%s looks like a photograph. Pictures of people need their consent.\n"
            "Does it show you (s), or somebody who has agreed to this (g)? Anything else stops. ",
            lk_path_name(name));
    if (!fgets(answer, sizeof answer, stdin)) return LIKENESS_CONSENT_NONE;
    answer[strcspn(answer, "\r\n")] = 0;
    if (!strcmp(answer, "s") || !strcmp(answer, words[1])) return LIKENESS_CONSENT_SELF;
    if (!strcmp(answer, "g") || !strcmp(answer, words[2])) return LIKENESS_CONSENT_GRANTED;
    return LIKENESS_CONSENT_NONE;
}

static likeness_consent consent_for(const char *name, const likeness_image *image) {
    char hash[65], *path = memory_path(), *known = memory_read(path);
    pixels_hash(image, hash);
    likeness_consent consent = recall(known, hash);
    if (consent == LIKENESS_CONSENT_NONE && isatty(fileno(stdin)) && isatty(fileno(stderr))) {
        consent = ask(name);
        if (consent != LIKENESS_CONSENT_NONE) remember(path, known, hash, consent);
    }
    lk_free(path);
    lk_free(known);
    return consent;
}

int cli_consent(likeness_consent stated, const char *const *names, const likeness_image *images, int count,
                likeness_consent *consent) {
    if (stated > *consent) *consent = stated;
    for (int i = 0; i < count && stated == LIKENESS_CONSENT_NONE; i++) {
        if (!likeness_is_photograph(&images[i])) continue;
        likeness_consent one = consent_for(names[i], &images[i]);
        if (one == LIKENESS_CONSENT_NONE) {
            fprintf(stderr,
                    "likeness: %s looks like a photograph: say --consent self when it shows you, or --consent granted\n"
                    "when whoever it shows has agreed to this\n",
                    lk_path_name(names[i]));
            return lk_status_exit_code(LIKENESS_CONSENT);
        }
        if (one > *consent) *consent = one;
    }
    return 0;
}
