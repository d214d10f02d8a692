/* cli/commands.h - one function a subcommand; each returns the process's exit code. */
#ifndef LK_CLI_COMMANDS_H
#define LK_CLI_COMMANDS_H

#include "cli/options.h"

/* The whole program: argv without its name, returns the exit code. */
int cli_run(int argc, char **argv);

int cli_generate(const cli_options *options);
int cli_personalize(const cli_options *options);
int cli_devices(const cli_options *options);
int cli_doctor(const cli_options *options);
int cli_inspect(const cli_options *options);
int cli_compare(const cli_options *options);

/* ---- shared by the commands (session.c) ---- */

/* Opens the device, runs doctor the first time, loads the model (--model or the default place) when wanted.
 * Returns 0, or the exit code after printing the message. */
int cli_open(const cli_options *options, bool want_model, likeness_context **context, likeness_model **model);
void cli_close(likeness_context *context, likeness_model *model);
/* Prints "likeness COMMAND: message" and returns the exit code of the status. */
int cli_failed(likeness_context *context, likeness_status status);
/* Runs doctor with a table (verbose) or a line. */
int cli_run_doctor(likeness_context *context, bool table);
/* "out.png" or "out_%03d.png" with index filled in; a batch without a pattern gets "_1" ... before the ending. */
void cli_output_name(const cli_options *options, int index, char *name, size_t bytes);

typedef struct cli_preview {
    likeness_context *context;
    const char *path;
} cli_preview;
/* The callback of previews; `user` is a cli_preview. One that cannot be written is not worth ending the run for: the
 * picture itself will say so. */
void cli_write_preview(void *user, int step, const likeness_image *image);

/* Prints the memory plan of likeness_generate or, if personalize is not NULL, likeness_personalize: a line, or with
 * --dry-run or -v its parts. Returns 0, or the exit code when it would not fit. */
int cli_memory(const cli_options *options, likeness_context *context, likeness_model *model,
               const likeness_generate_params *params, const likeness_personalize_params *personalize);
/* "portrait_sheet.png" for "portrait.png". */
void cli_sheet_name(const char *picture, char *name, size_t bytes);
/* Refuses output files whose folder is missing or cannot be written to, before any work: 0 or the exit code. */
int cli_check_outputs(const cli_options *options);

#endif
