/* cli/generate.c - likeness generate: pictures from words. */
#include "cli/commands.h"
#include "cli/progress.h"
#include "cli/report.h"

#include "base/time.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* --from: settings of a picture, under what the command line says. */
static likeness_status take_settings(likeness_context *context, const char *path, likeness_generate_params *params,
                                     char **storage, char **settings) {
    bool synthetic;
    int32_t width, height;
    likeness_status status = likeness_inspect(context, path, settings, &synthetic, &width, &height);
    return status == LIKENESS_OK ? likeness_settings_parse(context, *settings, params, storage) : status;
}

static void apply_options(const cli_options *options, likeness_generate_params *params) {
    if (options->prompt) params->prompt = options->prompt;
    if (options->negative_prompt) params->negative_prompt = options->negative_prompt;
    if (options->width) params->width = options->width;
    if (options->height) params->height = options->height;
    if (options->steps) params->steps = options->steps;
    if (options->cfg_scale > 0) params->cfg_scale = options->cfg_scale;
    if (options->seed_given || !options->from) params->seed = options->seed;
    if (params->seed < 0) params->seed = (int64_t)time(NULL) & 0x7fffffff;
}

/* Two settings texts disagree about a key that decides bytes. */
static bool differs(const char *a, const char *b, const char *key) {
    const char *x = strstr(a, key), *y = strstr(b, key);
    return x && y && (strcspn(x, ",\n") != strcspn(y, ",\n") || strncmp(x, y, strcspn(x, ",\n")) != 0);
}

/* --from promises the same bytes only from the same model and kernels. */
static void warn_of_difference(const likeness_model *model, const likeness_generate_params *params,
                               const char *original) {
    char *now = likeness_settings_text(model, params, NULL);
    if (now && differs(original, now, "Model hash: "))
        fprintf(stderr, "likeness: warning: the picture was made with another model, this one will differ\n");
    else if (now && differs(original, now, "Kernels: "))
        fprintf(stderr, "likeness: warning: the picture was made on another device, driver or version of likeness; "
                        "this one may differ a little\n");
    likeness_text_free(now);
}

int cli_generate(const cli_options *options) {
    likeness_context *context;
    likeness_model *model;
    int code = cli_check_outputs(options);
    if (code == 0) code = cli_open(options, true, &context, &model);
    if (code != 0) return code;
    likeness_generate_params params = {0};
    char *storage = NULL, *original = NULL;
    likeness_status status = LIKENESS_OK;
    if (options->from) status = take_settings(context, options->from, &params, &storage, &original);
    apply_options(options, &params);
    if (status == LIKENESS_OK && original) warn_of_difference(model, &params, original);
    cli_progress progress;
    cli_progress_start(&progress, options->progress);
    params.progress = cli_progress_step;
    params.progress_user = &progress;
    cli_report report;
    cli_report_start(&report, context, "generate");
    for (int i = 0; i < options->batch && status == LIKENESS_OK; i++) {
        char name[4096];
        cli_output_name(options, i, name, sizeof name);
        double start = lk_time_seconds();
        likeness_image image = {0};
        status = likeness_generate(model, &params, &image);
        cli_progress_end(&progress);
        double seconds = lk_time_seconds() - start;
        char *settings = likeness_settings_text(model, &params, NULL);
        if (status == LIKENESS_OK) status = likeness_image_write(context, name, &image, settings);
        if (status == LIKENESS_OK) {
            printf("%s\n", name);
            if (options->verbose) fprintf(stderr, "seed %lld: %.2f s\n", (long long)params.seed, seconds);
            cli_report_picture(&report, name, settings, &params, NULL, seconds);
        }
        likeness_text_free(settings);
        likeness_image_free(&image);
        params.seed = (int64_t)((uint64_t)params.seed + 1); /* wraps: any seed may come from a picture */
    }
    if (status == LIKENESS_OK && options->report) status = cli_report_write(&report, options->report);
    code = status == LIKENESS_OK ? 0 : cli_failed(context, status);
    cli_report_end(&report);
    likeness_text_free(storage);
    likeness_text_free(original);
    cli_close(context, model);
    return code;
}
