/* cli/generate.c - likeness generate: pictures from words. */
#include "cli/commands.h"
#include "cli/progress.h"
#include "cli/report.h"

#include "base/time.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* What is read before a device is opened: the picture of --from and that of --init-img. */
typedef struct pictures {
    char *settings, *prediction;
    likeness_image init;
} pictures;

static int read_pictures(const cli_options *options, pictures *p) {
    likeness_options open = {.no_device = true};
    likeness_context *context;
    bool synthetic;
    int32_t width, height;
    likeness_status status = likeness_open(&open, &context);
    if (status == LIKENESS_OK && options->from)
        status = likeness_inspect(context, options->from, &p->settings, &synthetic, &width, &height);
    if (status == LIKENESS_OK && options->init_image)
        status = likeness_image_read(context, options->init_image, &p->init);
    if (p->settings) p->prediction = likeness_settings_find(p->settings, "Prediction");
    int code = status == LIKENESS_OK ? 0 : cli_failed(context, status);
    likeness_close(context);
    return code;
}

static void free_pictures(pictures *p) {
    likeness_text_free(p->settings);
    likeness_text_free(p->prediction);
    likeness_image_free(&p->init);
}

static void apply_options(const cli_options *options, likeness_generate_params *params) {
    if (options->prompt) params->prompt = options->prompt;
    if (options->negative_prompt) params->negative_prompt = options->negative_prompt;
    if (options->width) params->width = options->width;
    if (options->height) params->height = options->height;
    if (options->steps) params->steps = options->steps;
    if (options->cfg_scale > 0) params->cfg_scale = options->cfg_scale;
    if (options->sampler) params->sampler = options->sampler;
    if (options->sampler || options->scheduler) params->scheduler = options->scheduler;
    if (options->clip_skip) params->clip_skip = options->clip_skip;
    if (options->strength > 0) params->strength = options->strength;
    if (options->seed_given || !options->from) params->seed = options->seed;
    if (params->seed < 0) params->seed = (int64_t)time(NULL) & 0x7fffffff;
}

/* Two settings texts disagree about a key that decides bytes. */
static bool differs(const char *a, const char *b, const char *key) {
    const char *x = strstr(a, key), *y = strstr(b, key);
    return x && y && (strcspn(x, ",\n") != strcspn(y, ",\n") || strncmp(x, y, strcspn(x, ",\n")) != 0);
}

/* The same for a key that may be absent. */
static bool one_sided(const char *a, const char *b, const char *key) {
    return (strstr(a, key) != NULL) != (strstr(b, key) != NULL) || differs(a, b, key);
}

/* --from promises the same bytes only from the same model and kernels. */
static void warn_of_difference(const likeness_model *model, const likeness_generate_params *params,
                               const char *original) {
    char *now = likeness_settings_text(model, params, NULL);
    if (now && differs(original, now, "Model hash: "))
        fprintf(stderr, "likeness: warning: the picture was made with another model, this one will differ\n");
    else if (now && (one_sided(original, now, "Lora: ") || one_sided(original, now, "TI: ") ||
                     one_sided(original, now, "Decoder: ")))
        fprintf(stderr, "likeness: warning: the picture was made with other LoRA, textual inversion or decoder files, "
                        "this one will differ\n");
    else if (now && differs(original, now, "Kernels: "))
        fprintf(stderr, "likeness: warning: the picture was made on another device, driver or version of likeness; "
                        "this one may differ a little\n");
    likeness_text_free(now);
}

/* A picture that began from another one is only made again with that one. */
static int check_beginning(const cli_options *options, const likeness_generate_params *params) {
    if (!options->from || params->strength == 0 || params->init_image) return 0;
    fprintf(stderr,
            "likeness generate: %s began from another picture, which is not inside: give it with --init-img FILE\n",
            options->from);
    return 2;
}

static int generate(const cli_options *options, pictures *given) {
    likeness_context *context;
    likeness_model *model;
    cli_options with_prediction = *options;
    if (!options->load.prediction) with_prediction.load.prediction = given->prediction;
    int code = cli_open(&with_prediction, true, &context, &model);
    if (code != 0) return code;
    likeness_generate_params params = {0};
    char *storage = NULL;
    likeness_status status = LIKENESS_OK;
    if (options->from) status = likeness_settings_parse(context, given->settings, &params, &storage);
    apply_options(options, &params);
    if (options->init_image) params.init_image = &given->init;
    if (status == LIKENESS_OK && (code = check_beginning(options, &params)) != 0) {
        likeness_text_free(storage);
        cli_close(context, model);
        return code;
    }
    if (status == LIKENESS_OK && options->from) warn_of_difference(model, &params, given->settings);
    if (status == LIKENESS_OK && (options->dry_run || options->verbose)) {
        code = cli_memory(options, context, model, &params, NULL);
        if (code != 0 || options->dry_run) {
            likeness_text_free(storage);
            cli_close(context, model);
            return code;
        }
    }
    cli_progress progress;
    cli_progress_start(&progress, options->progress);
    params.progress = cli_progress_step;
    params.progress_user = &progress;
    cli_preview preview = {context, options->preview};
    if (options->preview) {
        params.preview = cli_write_preview;
        params.preview_user = &preview;
        params.preview_every = options->preview_interval;
    }
    cli_report report;
    cli_report_start(&report, context, "generate");
    cli_report_loaded(&report, model);
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
    cli_close(context, model);
    return code;
}

int cli_generate(const cli_options *options) {
    pictures given = {0};
    int code = cli_check_outputs(options);
    if (code == 0) code = read_pictures(options, &given);
    if (code == 0) code = generate(options, &given);
    free_pictures(&given);
    return code;
}
