/* cli/session.c - what the commands share: opening a device and a model, messages, file names. */
#include "cli/commands.h"

#include "base/error.h"
#include "base/file.h"
#include "base/time.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_line(void *user, const char *line) {
    (void)user;
    fprintf(stderr, "%s\n", line);
}

static void print_warning(void *user, const char *line) {
    (void)user;
    fprintf(stderr, "likeness: warning: %s\n", line);
}

int cli_failed(likeness_context *context, likeness_status status) {
    const char *message = context ? likeness_message(context) : "";
    fprintf(stderr, "likeness: %s\n", message[0] ? message : lk_status_text(status));
    return lk_status_exit_code(status);
}

typedef struct doctor_summary {
    bool table;
    int checks, replaced, failed;
} doctor_summary;

static void doctor_row(void *user, const char *op, const char *test, int variant, double error, double milliseconds,
                       const char *verdict) {
    doctor_summary *summary = user;
    summary->checks++;
    if (strcmp(verdict, "replaced") == 0) summary->replaced++;
    if (strcmp(verdict, "FAILED") == 0) summary->failed++;
    if (summary->table || strcmp(verdict, "ok") != 0)
        fprintf(summary->table ? stdout : stderr, "%-16s %-36s %2d  %9.2e  %8.1f ms  %s\n", op, test, variant, error,
                milliseconds, verdict);
    fflush(stdout); /* where a driver hangs or dies, the table says in which case */
}

int cli_run_doctor(likeness_context *context, bool table) {
    doctor_summary summary = {.table = table};
    double start = lk_time_seconds();
    if (table)
        printf("%-16s %-36s %2s  %9s  %11s  %s\n", "op", "case", "v", "error", "time", "verdict");
    else
        fprintf(stderr, "first run on this device: checking every kernel\n");
    likeness_status status = likeness_doctor(context, doctor_row, &summary);
    fprintf(table ? stdout : stderr, "doctor: %d checks, %d replaced, %d failed, %.1f s\n", summary.checks,
            summary.replaced, summary.failed, lk_time_seconds() - start);
    char *kernels = table ? likeness_doctor_kernels(context) : NULL;
    if (kernels) printf("checked: %s\n", kernels);
    likeness_text_free(kernels);
    return status == LIKENESS_OK ? 0 : cli_failed(context, status);
}

/* LIKENESS_MODEL, then assets/cameo in the current folder, then where the install target puts it. */
static const char *model_path(const cli_options *options) {
    if (options->model) return options->model;
    const char *variable = getenv("LIKENESS_MODEL");
    if (variable && variable[0]) return variable;
    bool installed = !lk_directory_exists("assets/cameo") && lk_directory_exists(LIKENESS_INSTALLED_MODEL);
    return installed ? LIKENESS_INSTALLED_MODEL : "assets/cameo";
}

static likeness_status set_discriminators(const cli_options *o, likeness_model *model) {
    likeness_status status = LIKENESS_OK;
    if (o->discriminator) status = likeness_set_discriminator(model, o->discriminator);
    if (status == LIKENESS_OK && o->encoder_input) status = likeness_set_encoder_input(model, o->encoder_input, false);
    if (status == LIKENESS_OK && o->judge) status = likeness_set_judge(model, o->judge);
    if (status == LIKENESS_OK && o->judge_input) status = likeness_set_encoder_input(model, o->judge_input, true);
    if (status == LIKENESS_OK && o->detector) status = likeness_set_detector(model, o->detector, o->threshold);
    return status;
}

int cli_open(const cli_options *options, bool want_model, likeness_context **context, likeness_model **model) {
    likeness_options open = {.device = options->device,
                             .precise = options->precise,
                             .max_block = options->max_block,
                             .max_memory = options->max_memory,
                             .max_groups_axis = options->max_groups_axis,
                             .log = options->verbose ? print_line : NULL,
                             .warn = print_warning};
    if (model) *model = NULL;
    likeness_status status = likeness_open(&open, context);
    if (status == LIKENESS_OK && likeness_doctor_needed(*context)) {
        int code = cli_run_doctor(*context, false);
        if (code != 0) {
            likeness_close(*context);
            return code;
        }
    }
    if (status == LIKENESS_OK && want_model) {
        likeness_load_params load = options->load;
        likeness_lora loras[CLI_MOST_LORAS];
        for (int i = 0; i < load.lora_count; i++)
            loras[i] = (likeness_lora){options->lora_paths[i], options->lora_weights[i]};
        load.loras = loras;
        likeness_embedding embeddings[CLI_MOST_LORAS];
        for (int i = 0; i < load.embedding_count; i++)
            embeddings[i] = (likeness_embedding){options->embedding_paths[i], options->embedding_words[i]};
        load.embeddings = embeddings;
        status = likeness_load_with(*context, model_path(options), &load, model);
        if (status == LIKENESS_OK) status = set_discriminators(options, *model);
    }
    if (status == LIKENESS_OK) return 0;
    int code = cli_failed(*context, status);
    if (model) likeness_unload(*model);
    likeness_close(*context);
    return code;
}

void cli_close(likeness_context *context, likeness_model *model) {
    likeness_unload(model);
    likeness_close(context);
}

/* True for a name with exactly one %d or %0Nd and no other percent sign. */
static bool has_counter(const char *name) {
    const char *percent = strchr(name, '%');
    if (!percent || strchr(percent + 1, '%')) return false;
    size_t digits = strspn(percent + 1, "0123456789");
    return digits <= 3 && percent[1 + digits] == 'd';
}

void cli_output_name(const cli_options *options, int index, char *name, size_t bytes) {
    const char *output = options->output ? options->output : "output.png";
    if (has_counter(output)) {
        const char *percent = strchr(output, '%'), *end = percent + strspn(percent + 1, "0123456789") + 2;
        int width = atoi(percent + 1);
        snprintf(name, bytes, "%.*s%0*d%s", (int)(percent - output), output, width, index + 1, end);
    } else if (options->batch > 1) {
        const char *dot = strrchr(output, '.');
        if (dot && strchr(dot, '/')) dot = NULL; /* of a folder's name */
        int stem = dot ? (int)(dot - output) : (int)strlen(output);
        snprintf(name, bytes, "%.*s_%d%s", stem, output, index + 1, dot ? dot : "");
    } else {
        snprintf(name, bytes, "%s", output);
    }
}

void cli_write_preview(void *user, int step, const likeness_image *image) {
    const cli_preview *preview = user;
    (void)step;
    likeness_image_write(preview->context, preview->path, image, NULL);
}

void cli_sheet_name(const char *picture, char *name, size_t bytes) {
    const char *dot = strrchr(picture, '.');
    int stem = dot && !strchr(dot, '/') ? (int)(dot - picture) : (int)strlen(picture);
    snprintf(name, bytes, "%.*s_sheet.png", stem, picture);
}

int cli_check_outputs(const cli_options *options) {
    char first[4096];
    cli_output_name(options, 0, first, sizeof first);
    const char *const paths[] = {first, options->report, options->preview};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        lk_error error = LK_ERROR_INIT;
        if (!paths[i] || lk_output_check(paths[i], &error) == LIKENESS_OK) continue;
        fprintf(stderr, "likeness: %s\n", error.message);
        return lk_status_exit_code(error.status);
    }
    return 0;
}
