/* cli/look.c - the commands that only look: devices, doctor, inspect, compare. */
#include "cli/commands.h"

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void print_device(void *user, int index, const char *summary, const char *description, bool chosen) {
    bool *any = user;
    *any = true;
    printf("%s%d: %s\n%s", chosen ? "* " : "  ", index, summary, description);
}

int cli_devices(const cli_options *options) {
    likeness_options open = {.device = options->device};
    char message[768] = "";
    bool any = false;
    likeness_status status = likeness_devices(&open, print_device, &any, message, sizeof message);
    if (status != LIKENESS_OK) {
        fprintf(stderr, "likeness: %s\n", message);
        return lk_status_exit_code(status);
    }
    printf("The device marked * will be used.\n");
    return 0;
}

/* The head of doctor's table: everything a bug report needs. */
static void print_chosen(void *user, int index, const char *summary, const char *description, bool chosen) {
    (void)user;
    if (chosen) printf("likeness %s\ndevice %d: %s\n%s", likeness_version(), index, summary, description);
}

int cli_doctor(const cli_options *options) {
    likeness_options open = {.device = options->device,
                             .precise = options->precise,
                             .max_block = options->max_block,
                             .max_memory = options->max_memory,
                             .max_groups_axis = options->max_groups_axis};
    likeness_context *context;
    likeness_status status = likeness_open(&open, &context);
    char ignored[768]; /* what could go wrong there went wrong in likeness_open already */
    if (status == LIKENESS_OK) likeness_devices(&open, print_chosen, NULL, ignored, sizeof ignored);
    int code = status == LIKENESS_OK ? cli_run_doctor(context, true) : cli_failed(context, status);
    likeness_close(context);
    return code;
}

/* The text comes from whoever made the file: what would steer a terminal shows as '?'. */
static void print_foreign(const char *text) {
    size_t left = strlen(text), used;
    for (; left > 0; text += used, left -= used) {
        int32_t c = lk_utf8_decode((const uint8_t *)text, left, &used);
        if (c >= 160 || (c >= 32 && c < 127) || c == '\n' || c == '\t')
            fwrite(text, 1, used, stdout);
        else
            putchar('?');
    }
    putchar('\n');
}

/* Folders, safetensors (eight bytes of length, then a brace), their indexes, ONNX, and what is refused by name:
 * pickles, ZIP files of them, GGUF. Everything else is left to the reader of pictures, which names more formats. */
static bool is_model(const char *path) {
    unsigned char head[9] = {0};
    lk_mapping mapping;
    lk_error error = LK_ERROR_INIT;
    if (lk_directory_exists(path) || lk_ends_with(path, ".json")) return true;
    if (lk_file_map(path, &mapping, &error) != LIKENESS_OK) return false;
    if (mapping.size) memcpy(head, mapping.data, mapping.size < sizeof head ? mapping.size : sizeof head);
    lk_file_unmap(&mapping);
    return head[8] == '{' || (head[0] == 0x08 && head[1] < 0x80) || (head[0] == 0x80 && head[1] <= 5) ||
           memcmp(head, "PK\3\4", 4) == 0 || memcmp(head, "GGUF", 4) == 0;
}

static likeness_status inspect_picture(likeness_context *context, const char *path) {
    char *settings = NULL;
    bool synthetic;
    int32_t width, height;
    likeness_status status = likeness_inspect(context, path, &settings, &synthetic, &width, &height);
    if (status != LIKENESS_OK) return status;
    printf("%s: %d x %d pixels\n", path, width, height);
    printf("synthetic mark: %s\n", synthetic ? "yes (trainedAlgorithmicMedia)" : "no");
    print_foreign(settings && settings[0] ? settings : "no settings inside");
    likeness_text_free(settings);
    return LIKENESS_OK;
}

static likeness_status inspect_model(likeness_context *context, const char *path) {
    char *text = NULL;
    likeness_status status = likeness_describe(context, path, &text);
    if (status != LIKENESS_OK) return status;
    size_t length = strlen(text);
    if (length && text[length - 1] == '\n') text[length - 1] = 0;
    print_foreign(text);
    likeness_text_free(text);
    return LIKENESS_OK;
}

int cli_inspect(const cli_options *options) {
    const char *path = options->positional[0];
    likeness_options open = {.no_device = true};
    likeness_context *context;
    likeness_status status = likeness_open(&open, &context);
    if (status == LIKENESS_OK) status = is_model(path) ? inspect_model(context, path) : inspect_picture(context, path);
    int code = status == LIKENESS_OK ? 0 : cli_failed(context, status);
    likeness_close(context);
    return code;
}

int cli_compare(const cli_options *options) {
    likeness_context *context;
    likeness_model *model;
    int code = cli_open(options, true, &context, &model);
    if (code != 0) return code;
    likeness_image a = {0}, b = {0};
    double identity = NAN, judge = NAN, threshold = NAN;
    likeness_status status = likeness_image_read(context, options->positional[0], &a);
    if (status == LIKENESS_OK) status = likeness_image_read(context, options->positional[1], &b);
    if (status == LIKENESS_OK) status = likeness_compare(model, &a, &b, &identity, &judge, &threshold);
    if (status == LIKENESS_OK) {
        printf("identity encoder  %.4f\n", identity);
        if (!isnan(judge)) printf("judge             %.4f", judge);
        if (!isnan(judge) && !isnan(threshold))
            printf("  (%s: threshold %.4f)", judge >= threshold ? "same person" : "not the same person", threshold);
        if (!isnan(judge)) printf("\n");
    }
    code = status == LIKENESS_OK ? 0 : cli_failed(context, status);
    likeness_image_free(&a);
    likeness_image_free(&b);
    cli_close(context, model);
    return code;
}
