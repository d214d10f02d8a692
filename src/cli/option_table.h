/* cli/option_table.h - the one table of commands and options: parser (options.c), help, man page and completion
 * (manual.c) come from it. Flags that users of stable-diffusion.cpp know keep their names. */
#ifndef LK_CLI_OPTION_TABLE_H
#define LK_CLI_OPTION_TABLE_H

#include "cli/options.h"

/* Options without a short letter are numbered from here. */
enum {
    OPT_FIRST = 256,
    OPT_PREDICTION,
    OPT_EMA,
    OPT_LORA,
    OPT_EMBEDDING,
    OPT_TAESD,
    OPT_TAESD_PREVIEW,
    OPT_STEPS,
    OPT_CFG,
    OPT_FROM,
    OPT_SAMPLER,
    OPT_SCHEDULER,
    OPT_CLIP_SKIP,
    OPT_STRENGTH,
    OPT_DISCRIMINATOR,
    OPT_TARGET_CLASS,
    OPT_ITERATIONS,
    OPT_ID_SCALE,
    OPT_STEP_FACTOR,
    OPT_UNTIL,
    OPT_METHOD,
    OPT_READING,
    OPT_RANK,
    OPT_PREVIEW,
    OPT_PREVIEW_INTERVAL,
    OPT_REPORT,
    OPT_DEVICE,
    OPT_PRECISE,
    OPT_PROGRESS,
    OPT_RECOMPUTE,
    OPT_NO_SHEET,
    OPT_MAX_BLOCK,
    OPT_MAX_VRAM,
    OPT_DRY_RUN,
    OPT_MAX_GROUPS,
    OPT_CONSENT,
    OPT_ENCODER_INPUT,
    OPT_JUDGE,
    OPT_JUDGE_INPUT,
    OPT_DETECTOR,
    OPT_THRESHOLD,
    OPT_NO_FACE,
    OPT_BOX_CROP,
    OPT_BOX,
    OPT_REFERENCE_BOX,
    OPT_L1
};

typedef struct cli_option_row {
    int id; /* the short letter, or one of OPT_ */
    const char *name, *argument, *help;
    int commands; /* cli_command bits */
} cli_option_row;

typedef struct cli_command_row {
    const char *name;
    cli_command command;
    const char *positional, *help, *example;
} cli_command_row;

enum { CLI_OPTION_COUNT = 59, CLI_COMMAND_COUNT = 6 };

extern const cli_option_row cli_option_table[CLI_OPTION_COUNT];
extern const cli_command_row cli_command_table[CLI_COMMAND_COUNT];

#endif
