/* cli/progress.h - progress of long work on stderr: a bar on a terminal, JSON lines on request, nothing else. */
#ifndef LK_CLI_PROGRESS_H
#define LK_CLI_PROGRESS_H

#include <stdbool.h>

typedef struct cli_progress {
    int mode; /* 0 none, 1 bar, 2 JSON */
    char phase[24];
    double phase_start;
    int width; /* characters on the line now */
} cli_progress;

/* mode: "bar", "json", "none" or NULL (bar when stderr is a terminal). Also catches Ctrl-C. */
void cli_progress_start(cli_progress *progress, const char *mode);
/* A likeness_progress callback with a cli_progress as user: false once Ctrl-C was pressed. */
bool cli_progress_step(void *user, const char *phase, int step, int total, double likeness);
/* Clears the line. */
void cli_progress_end(cli_progress *progress);
/* True once Ctrl-C was pressed. */
bool cli_interrupted(void);

#endif
