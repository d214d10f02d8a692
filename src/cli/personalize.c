/* cli/personalize.c - likeness personalize: new pictures of the person in a reference picture. */
#include "cli/commands.h"
#include "cli/consent.h"
#include "cli/progress.h"
#include "cli/report.h"

#include "base/time.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct picture {
    likeness_personalize_result result;
    int64_t seed;
    double seconds;
} picture;

/* "0.512", or what stands for a likeness where no face was found. */
static const char *likeness_text(double likeness, char text[16]) {
    if (isnan(likeness)) return "no face";
    snprintf(text, 16, "%.3f", likeness);
    return text;
}

static void print_scores(const likeness_personalize_params *params, const likeness_personalize_result *r,
                         double seconds) {
    char unguided[16], guided[16];
    if (params->classify)
        fprintf(stderr, "class %-3d %s without guidance, %s with (probability by the discriminator)\n",
                params->target_class, likeness_text(r->likeness_unguided, unguided),
                likeness_text(r->likeness_guided, guided));
    else
        fprintf(stderr, "likeness  %s without guidance, %s with (identity encoder)\n",
                likeness_text(r->likeness_unguided, unguided), likeness_text(r->likeness_guided, guided));
    for (int i = 0; i < r->people && r->people > 1; i++)
        fprintf(stderr, "person %d  %s\n", i + 1, likeness_text(r->person[i], guided));
    if (!isnan(r->judge_guided)) {
        fprintf(stderr, "judge     %s without guidance, %s with (not used for guidance)",
                likeness_text(r->judge_unguided, unguided), likeness_text(r->judge_guided, guided));
        if (!isnan(r->judge_threshold))
            fprintf(stderr, "; %s at its threshold %.3f",
                    r->judge_guided >= r->judge_threshold ? "accepted" : "not accepted", r->judge_threshold);
        fprintf(stderr, "\n");
    }
    fprintf(stderr, "time      %.1f s for %d iterations\n", seconds, r->iterations);
}

/* The sheet beside portrait.png is portrait_sheet.png: references, if any | unguided | guided. */
static likeness_status write_sheet(likeness_context *context, const char *name,
                                   const likeness_personalize_params *params, const likeness_personalize_result *result,
                                   const char *settings) {
    char path[4200];
    int count = 0;
    cli_sheet_name(name, path, sizeof path);
    const likeness_image *parts[LIKENESS_MAX_PEOPLE + 2];
    if (params->reference) parts[count++] = params->reference;
    for (int i = 0; i < params->other_count; i++)
        parts[count++] = &params->others[i];
    parts[count++] = &result->unguided;
    parts[count++] = &result->guided;
    likeness_image sheet = {0};
    likeness_status status = likeness_image_sheet(context, parts, count, &sheet);
    if (status == LIKENESS_OK) status = likeness_image_write(context, path, &sheet, settings);
    if (status == LIKENESS_OK)
        fprintf(stderr, "sheet     %s (%sunguided, guided)\n", path, params->reference ? "reference, " : "");
    likeness_image_free(&sheet);
    return status;
}

/* What a batch is sorted by; a picture without a face comes last. */
static double rank_of(const likeness_personalize_result *r) {
    double score = isnan(r->judge_guided) ? r->likeness_guided : r->judge_guided;
    return isnan(score) ? -2 : score;
}

static int by_judge(const void *left, const void *right) {
    const picture *a = left, *b = right;
    double x = rank_of(&a->result), y = rank_of(&b->result);
    return x < y ? 1 : x > y ? -1 : a->seed < b->seed ? -1 : 1;
}

static void fill_params(const cli_options *o, likeness_personalize_params *p) {
    p->base.prompt = o->prompt;
    p->base.negative_prompt = o->negative_prompt;
    p->base.width = o->width;
    p->base.height = o->height;
    p->base.steps = o->steps;
    p->base.cfg_scale = o->cfg_scale;
    p->base.sampler = o->sampler;
    p->base.scheduler = o->scheduler;
    p->base.clip_skip = o->clip_skip;
    p->base.strength = o->strength;
    p->base.seed = o->seed >= 0 ? o->seed : (int64_t)time(NULL) & 0x7fffffff;
    p->iterations = o->iterations;
    p->id_scale = o->id_scale;
    p->step_factor = o->step_factor;
    p->until = o->until;
    p->method = o->method;
    p->reading = o->reading;
    p->recompute = o->recompute;
    p->classify = o->classify;
    p->target_class = o->target_class;
    p->box = o->box;
    p->reference_box = o->reference_box;
    p->box_crop = o->box_crop;
    p->lower_threshold = o->lower_threshold;
    p->l1_weight = o->l1_weight;
}

/* A picture chosen by the judge says so: its judge number is not an independent one any more. */
static char *with_rank(char *settings, int place, int count) {
    size_t bytes = settings ? strlen(settings) + 64 : 0;
    char *longer = settings ? malloc(bytes) : NULL;
    if (longer) snprintf(longer, bytes, "%s, Ranked by judge: %d of %d", settings, place, count);
    likeness_text_free(settings);
    return longer;
}

static likeness_status write_pictures(const cli_options *options, likeness_context *context, likeness_model *model,
                                      likeness_personalize_params *params, picture *pictures, int count,
                                      cli_report *report) {
    likeness_status status = LIKENESS_OK;
    for (int i = 0; i < count && status == LIKENESS_OK; i++) {
        char name[4096];
        cli_output_name(options, i, name, sizeof name);
        params->base.seed = pictures[i].seed;
        char *text = likeness_settings_text(model, &params->base, params), *settings = text;
        bool ranked = options->rank && options->batch > 1;
        if (ranked) settings = with_rank(text, i + 1, count);
        status = likeness_image_write(context, name, &pictures[i].result.guided, settings);
        if (status == LIKENESS_OK) {
            printf("%s\n", name);
            fflush(stdout);
            print_scores(params, &pictures[i].result, pictures[i].seconds);
            cli_report_picture(report, name, settings, &params->base, &pictures[i].result, pictures[i].seconds);
            if (!options->no_sheet) status = write_sheet(context, name, params, &pictures[i].result, settings);
        }
        if (ranked)
            free(settings);
        else
            likeness_text_free(settings);
    }
    return status;
}

/* References (and what to begin from) are read before a device is opened: a wrong file is said at once. */
static int read_pictures(const cli_options *options, likeness_image *references, likeness_image *init) {
    likeness_options open = {.no_device = true};
    likeness_context *context;
    likeness_status status = likeness_open(&open, &context);
    for (int i = 0; i < options->reference_count && status == LIKENESS_OK; i++)
        status = likeness_image_read(context, options->references[i], &references[i]);
    if (status == LIKENESS_OK && options->init_image) status = likeness_image_read(context, options->init_image, init);
    int code = status == LIKENESS_OK ? 0 : cli_failed(context, status);
    likeness_close(context);
    return code;
}

static void free_references(likeness_image *references) {
    for (int i = 0; i < LIKENESS_MAX_PEOPLE; i++)
        likeness_image_free(&references[i]);
}

int cli_personalize(const cli_options *options) {
    if (options->reference_count == 0 && !options->classify) {
        fprintf(stderr, "likeness personalize: needs --reference FILE, a picture of the person\n");
        return 2;
    }
    if (options->classify && !options->discriminator) {
        fprintf(stderr, "likeness personalize: --target-class needs --discriminator FILE, a classifier\n");
        return 2;
    }
    likeness_context *context;
    likeness_model *model;
    likeness_image references[LIKENESS_MAX_PEOPLE] = {0}, init = {0};
    likeness_consent consent = LIKENESS_CONSENT_NONE;
    likeness_status status = LIKENESS_OK;
    int code = cli_check_outputs(options);
    if (code == 0) code = read_pictures(options, references, &init);
    if (code == 0)
        code = cli_consent(options->consent, options->references, references, options->reference_count, &consent);
    if (code == 0 && options->init_image)
        code = cli_consent(options->consent, &options->init_image, &init, 1, &consent);
    if (code == 0) code = cli_open(options, true, &context, &model);
    if (code != 0) {
        free_references(references);
        likeness_image_free(&init);
        return code;
    }
    fprintf(stderr, "device    %s\n", likeness_device_name(context));
    cli_progress progress;
    cli_progress_start(&progress, options->progress);
    cli_preview target = {context, options->preview};
    int people = options->reference_count;
    likeness_personalize_params params = {.reference = people > 0 ? references : NULL,
                                          .others = references + 1,
                                          .other_count = people > 0 ? people - 1 : 0,
                                          .consent = consent};
    fill_params(options, &params);
    if (options->init_image) params.base.init_image = &init;
    params.base.progress = cli_progress_step;
    params.base.progress_user = &progress;
    if (options->preview) {
        params.preview = cli_write_preview;
        params.preview_user = &target;
        params.preview_every = options->preview_interval;
    }
    code = cli_memory(options, context, model, NULL, &params);
    if (code != 0 || options->dry_run) {
        free_references(references);
        likeness_image_free(&init);
        cli_close(context, model);
        return code;
    }
    picture *pictures = calloc((size_t)options->batch, sizeof *pictures);
    if (!pictures) status = LIKENESS_OUT_OF_MEMORY;
    int done = 0;
    bool interrupted = false, no_face = false;
    for (; status == LIKENESS_OK && done < options->batch && !interrupted; params.base.seed++) {
        double start = lk_time_seconds();
        pictures[done].seed = params.base.seed;
        status = likeness_personalize(model, &params, &pictures[done].result);
        cli_progress_end(&progress);
        pictures[done].seconds = lk_time_seconds() - start;
        interrupted = status == LIKENESS_INTERRUPTED && pictures[done].result.guided.rgb;
        bool lost = status == LIKENESS_NO_FACE && pictures[done].result.guided.rgb;
        if (lost) fprintf(stderr, "likeness: %s\n", likeness_message(context));
        no_face = no_face || lost;
        if (interrupted || lost) status = LIKENESS_OK;
        if (status == LIKENESS_OK) done++;
    }
    if (status == LIKENESS_OK && options->rank) qsort(pictures, (size_t)done, sizeof *pictures, by_judge);
    cli_report report;
    cli_report_start(&report, context, "personalize");
    cli_report_loaded(&report, model);
    if (options->rank && options->batch > 1) cli_report_ranked(&report);
    cli_report_consent(&report, consent, done > 0 && pictures[0].result.photograph);
    if (status == LIKENESS_OK) status = write_pictures(options, context, model, &params, pictures, done, &report);
    if (status == LIKENESS_OK && options->report) status = cli_report_write(&report, options->report);
    code = status != LIKENESS_OK ? cli_failed(context, status) : interrupted ? 130 : no_face ? 8 : 0;
    if (interrupted && code == 130) fprintf(stderr, "interrupted: the best picture so far was kept\n");
    cli_report_end(&report);
    for (int i = 0; pictures && i < options->batch; i++)
        likeness_personalize_result_free(&pictures[i].result);
    free(pictures);
    free_references(references);
    likeness_image_free(&init);
    cli_close(context, model);
    return code;
}
