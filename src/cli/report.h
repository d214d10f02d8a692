/* cli/report.h - --report FILE.json: every number of a run. No reference picture, no embedding, no full path. */
#ifndef LK_CLI_REPORT_H
#define LK_CLI_REPORT_H

#include "likeness/likeness.h"

typedef struct cli_report {
    likeness_context *context;
    struct cJSON *root, *pictures;
} cli_report;

void cli_report_start(cli_report *report, likeness_context *context, const char *command);
/* settings: the text in the picture. result: NULL for generate. Only the file name's last part is kept. */
void cli_report_picture(cli_report *report, const char *path, const char *settings,
                        const likeness_generate_params *params, const likeness_personalize_result *result,
                        double seconds);
/* What was merged into the model when it was loaded, line by line. */
void cli_report_loaded(cli_report *report, const likeness_model *model);
/* Whose consent the reference has, for the whole run. */
void cli_report_consent(cli_report *report, likeness_consent consent, bool photograph);
/* The pictures were sorted by the judge: its numbers are no independent measure of them any more. */
void cli_report_ranked(cli_report *report);
likeness_status cli_report_write(cli_report *report, const char *path);
void cli_report_end(cli_report *report);

#endif
