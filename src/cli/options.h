/* cli/options.h - the words of the command line, parsed. The table behind it: option_table.h. */
#ifndef LK_CLI_OPTIONS_H
#define LK_CLI_OPTIONS_H

#include "likeness/likeness.h"

typedef enum cli_command {
    CLI_GENERATE = 1 << 0,
    CLI_PERSONALIZE = 1 << 1,
    CLI_DEVICES = 1 << 2,
    CLI_DOCTOR = 1 << 3,
    CLI_INSPECT = 1 << 4,
    CLI_COMPARE = 1 << 5
} cli_command;

enum { CLI_MOST_LORAS = 32, CLI_LORA_PATH = 1024 };

typedef struct cli_options {
    cli_command command;
    const char *model, *prompt, *negative_prompt, *output, *discriminator, *encoder_input, *judge, *judge_input,
        *detector, *from, *report, *preview, *device, *init_image;
    const char *progress; /* "bar", "json", "none"; NULL: bar on a terminal */
    const char *references[LIKENESS_MAX_PEOPLE];
    int reference_count;
    likeness_consent consent;
    likeness_box box, reference_box;
    double threshold, l1_weight;
    bool lower_threshold, box_crop;
    int64_t seed;
    bool seed_given;
    int width, height, steps, batch, iterations, preview_interval, reading, max_groups_axis;
    int clip_skip;
    likeness_sampler sampler;
    likeness_scheduler scheduler;
    bool classify; /* --target-class was given */
    int target_class;
    double cfg_scale, strength, id_scale, step_factor, until;
    likeness_load_params load;
    double lora_weights[CLI_MOST_LORAS]; /* load.lora_count of them, and their paths */
    char lora_paths[CLI_MOST_LORAS][CLI_LORA_PATH];
    char embedding_paths[CLI_MOST_LORAS][CLI_LORA_PATH]; /* load.embedding_count of them */
    const char *embedding_words[CLI_MOST_LORAS];         /* or NULL */
    likeness_method method;
    bool rank, precise, verbose, recompute, no_sheet, dry_run;
    uint64_t max_block, max_memory;
    const char *positional[2];
    int positional_count;
} cli_options;

/* Parses argv (without the program's name). Returns -1 to go on, else the exit code (help was printed, or a usage
 * error). */
int cli_parse(int argc, char **argv, cli_options *options);

#endif
