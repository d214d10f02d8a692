/* cli/memory.c - what a run will take of the device's memory, said before it takes any. */
#include "cli/commands.h"

#include <stdio.h>

typedef struct amount {
    char text[32];
} amount;

static amount said(uint64_t bytes) {
    amount a;
    double mib = (double)bytes / 1048576;
    if (mib >= 1024)
        snprintf(a.text, sizeof a.text, "%.2f GiB", mib / 1024);
    else
        snprintf(a.text, sizeof a.text, "%.1f MiB", mib);
    return a;
}

static void print_pieces(int32_t pieces) {
    if (pieces > 1) fprintf(stderr, ", %d of %d pieces of it computed again", (int)pieces - 1, (int)pieces);
}

static void print_parts(const likeness_memory_plan *plan) {
    fprintf(stderr, "  weights              %s%s\n", said(plan->weights).text,
            plan->in_turn ? ", the text encoder's only until the prompts are encoded" : "");
    fprintf(stderr, "  a sampling step      %s", said(plan->step).text);
    if (plan->copies > 1) fprintf(stderr, ", %d of them", (int)plan->copies);
    print_pieces(plan->step_pieces);
    fprintf(stderr, "\n  the picture          %s%s", said(plan->picture).text,
            plan->in_turn ? ", in the same memory as the step" : "");
    print_pieces(plan->picture_pieces);
    fprintf(stderr, "\n  text, encoders       %s\n", said(plan->other).text);
    fprintf(stderr, "  with nothing saved   %s\n", said(plan->unsaved).text);
}

int cli_memory(const cli_options *options, likeness_context *context, likeness_model *model,
               const likeness_generate_params *params, const likeness_personalize_params *personalize) {
    likeness_memory_plan plan;
    likeness_status status = likeness_plan_memory(model, params, personalize, &plan);
    if (status != LIKENESS_OK) return cli_failed(context, status);
    fprintf(stderr, "memory    %s", said(plan.need).text);
    if (plan.left != UINT64_MAX) fprintf(stderr, " of the %s that are left", said(plan.left).text);
    if (plan.need < plan.unsaved)
        fprintf(stderr, ", %s less than with nothing saved", said(plan.unsaved - plan.need).text);
    fprintf(stderr, "\n");
    if (options->dry_run || options->verbose) print_parts(&plan);
    return 0;
}
