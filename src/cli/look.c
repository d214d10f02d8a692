/* cli/look.c - the commands that only look: devices, doctor, inspect, compare. */
#include "cli/commands.h"

#include "base/error.h"
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

/* The text comes from whoever made the picture: what would steer a terminal shows as '?'. */
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

int cli_inspect(const cli_options *options) {
    char *settings = NULL;
    bool synthetic;
    int32_t width, height;
    likeness_options open = {.no_device = true};
    likeness_context *context;
    likeness_status status = likeness_open(&open, &context);
    if (status == LIKENESS_OK)
        status = likeness_inspect(context, options->positional[0], &settings, &synthetic, &width, &height);
    if (status != LIKENESS_OK) {
        int code = cli_failed(context, status);
        likeness_close(context);
        return code;
    }
    printf("%s: %d x %d pixels\n", options->positional[0], width, height);
    printf("synthetic mark: %s\n", synthetic ? "yes (trainedAlgorithmicMedia)" : "no");
    print_foreign(settings && settings[0] ? settings : "no settings inside");
    likeness_text_free(settings);
    likeness_close(context);
    return 0;
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
