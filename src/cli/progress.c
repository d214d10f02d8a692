/* cli/progress.c - see progress.h. */
#include "cli/progress.h"

#include "base/time.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef _WIN32
#include <io.h>
#define isatty _isatty
#define fileno _fileno
#else
#include <unistd.h>
#endif

static volatile sig_atomic_t interrupt_count;

/* The first Ctrl-C asks the running work to stop at the next step, the second leaves at once. */
static void on_interrupt(int signal_number) {
    (void)signal_number;
    interrupt_count = interrupt_count + 1;
    if (interrupt_count > 1) _Exit(130);
    signal(SIGINT, on_interrupt);
}

bool cli_interrupted(void) { return interrupt_count > 0; }

void cli_progress_start(cli_progress *progress, const char *mode) {
    memset(progress, 0, sizeof *progress);
    if (mode)
        progress->mode = strcmp(mode, "bar") == 0 ? 1 : strcmp(mode, "json") == 0 ? 2 : 0;
    else
        progress->mode = isatty(fileno(stderr)) ? 1 : 0;
    signal(SIGINT, on_interrupt);
}

static void draw_bar(cli_progress *progress, const char *phase, int step, int total, double seconds, double likeness) {
    char bar[25];
    int filled = total > 0 ? step * 24 / total : 0;
    for (int i = 0; i < 24; i++)
        bar[i] = i < filled ? '=' : i == filled ? '>' : ' ';
    bar[24] = 0;
    char line[160];
    int n = snprintf(line, sizeof line, "%-8s |%s| %d/%d", phase, bar, step, total);
    if (step > 0) {
        double each = seconds / step, left = each * (total - step);
        n += snprintf(line + n, sizeof line - (size_t)n, each >= 1 ? " - %.2fs/it" : " - %.1fit/s",
                      each >= 1 ? each : 1 / each);
        n += snprintf(line + n, sizeof line - (size_t)n, " - %.0f s left", left);
    }
    if (!isnan(likeness)) n += snprintf(line + n, sizeof line - (size_t)n, " - likeness %.3f", likeness);
    fprintf(stderr, "\r%-*s", progress->width, line);
    progress->width = n;
    fflush(stderr);
}

bool cli_progress_step(void *user, const char *phase, int step, int total, double likeness) {
    cli_progress *progress = user;
    if (strncmp(progress->phase, phase, sizeof progress->phase - 1) != 0) {
        snprintf(progress->phase, sizeof progress->phase, "%s", phase);
        progress->phase_start = lk_time_seconds();
    }
    double seconds = lk_time_seconds() - progress->phase_start;
    if (progress->mode == 1) draw_bar(progress, phase, step, total, seconds, likeness);
    if (progress->mode == 2) {
        fprintf(stderr, "{\"phase\":\"%s\",\"step\":%d,\"total\":%d", phase, step, total);
        if (step > 0)
            fprintf(stderr, ",\"sec_per_step\":%.4f,\"eta\":%.1f", seconds / step, seconds / step * (total - step));
        if (!isnan(likeness)) fprintf(stderr, ",\"likeness\":%.5f", likeness);
        fprintf(stderr, "}\n");
    }
    return !cli_interrupted();
}

void cli_progress_end(cli_progress *progress) {
    if (progress->mode == 1 && progress->width > 0) fprintf(stderr, "\r%*s\r", progress->width, "");
    progress->width = 0;
}
