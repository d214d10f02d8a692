/* tools/eval/run.h - what every measurement shares: options, the open device and model, names of results, progress. */
#ifndef EVAL_RUN_H
#define EVAL_RUN_H

#include "dataset.h"
#include "networks.h"

#include "likeness/likeness.h"

enum { EVAL_STYLES = 9 };
extern const char *const eval_styles[EVAL_STYLES];

typedef struct eval_run {
    const char *model_folder, *data, *out, *classifier, *device;
    int limit; /* 0: all rows */
    int steps; /* 0: the model's */
    double cfg_scale;
    int iterations;  /* 0: 50 */
    double id_scale; /* 0: 1 */
    bool precise;
    likeness_context *context; /* opened by eval_run_open */
    likeness_model *model;     /* by eval_model */
    double started;
    int first; /* rows that were there when progress began */
    lk_error error;
} eval_run;

likeness_status eval_run_open(eval_run *run);
void eval_run_close(eval_run *run);
/* The loaded model; loads it at the first call. */
likeness_status eval_model(eval_run *run);
lk_device *eval_device(const eval_run *run);
const int32_t *eval_variants(const eval_run *run);
/* Moves the context's message into run->error. */
likeness_status eval_api(eval_run *run, likeness_status status);

/* First 8 digits of a hash over files of the model folder that exist. */
likeness_status eval_hash(eval_run *run, const char *const *files, int count, char hash[9]);
extern const char *const eval_model_files[5]; /* everything a guided picture depends on */
/* OUT/NAME, with folders made. */
likeness_status eval_out_path(eval_run *run, const char *name, char *path, size_t capacity);
likeness_status eval_open_journal(eval_run *run, eval_journal *journal, const char *name);

/* "psnr 37/1620, 0.12 s each, 3.2 min left" on stderr: every line on a terminal, else every 5 %. */
void eval_progress(eval_run *run, const char *what, int done, int total);
void eval_progress_begin(eval_run *run, int already_done);
/* Row numbers to measure: all, or `limit` of them spread evenly. Returns how many; row i is eval_pick(...). */
int eval_pick_count(const eval_run *run, int rows);
int eval_pick(const eval_run *run, int rows, int i);

/* The header of a table: what was measured, with which model, device and date. */
void eval_heading(const eval_run *run, const char *title, const char *hash);

/* ---- pictures ---- */

/* Borrows the pixels. */
lk_image eval_borrow(const likeness_image *image);
likeness_status eval_save_picture(eval_run *run, const char *name, const lk_image *image);
/* Pictures of one size on a page of `columns`; entries without pixels stay grey. */
likeness_status eval_save_sheet(eval_run *run, const char *name, const lk_image *images, int count, int columns);

#endif
