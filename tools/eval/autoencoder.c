/* tools/eval/autoencoder.c - how much of a picture the autoencoder keeps: PSNR with 8-bit output, by style. */
#include "measurements.h"

#include "base/file.h"
#include "base/memory.h"
#include "measure.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static likeness_status measure_batch(eval_run *run, eval_network *autoencoder, eval_journal *journal,
                                     const cJSON *const *rows, int count) {
    lk_image pictures[EVAL_BATCH] = {{0}}, decoded[EVAL_BATCH] = {{0}};
    char folder[2048], fields[128];
    snprintf(folder, sizeof folder, "%s/characters_val", run->data);
    likeness_status status = LIKENESS_OK;
    for (int i = 0; i < count && status == LIKENESS_OK; i++) {
        status =
            eval_picture_read(&pictures[i], folder, eval_text(rows[i], "file_name"), autoencoder->size, &run->error);
        if (status == LIKENESS_OK)
            status = lk_image_create(&decoded[i], autoencoder->size, autoencoder->size, &run->error);
    }
    if (status == LIKENESS_OK) status = eval_autoencoder_run(autoencoder, pictures, count, decoded, &run->error);
    for (int i = 0; i < count && status == LIKENESS_OK; i++) {
        size_t bytes = (size_t)autoencoder->size * autoencoder->size * 3;
        snprintf(fields, sizeof fields, "\"style\":\"%.20s\",\"psnr\":%.4f", eval_text(rows[i], "style"),
                 eval_psnr(pictures[i].rgb, decoded[i].rgb, bytes));
        status = eval_journal_add(journal, eval_text(rows[i], "file_name"), fields, &run->error);
    }
    for (int i = 0; i < count; i++) {
        lk_image_free(&pictures[i]);
        lk_image_free(&decoded[i]);
    }
    return status;
}

static likeness_status measure(eval_run *run, const eval_rows *val, eval_journal *journal) {
    char folder[2048];
    const cJSON *batch[EVAL_BATCH];
    int total = eval_pick_count(run, val->count), waiting = 0;
    snprintf(folder, sizeof folder, "%s/vae", run->model_folder);
    lk_vae_config config;
    LK_TRY(lk_vae_read_config(&config, folder, &run->error));
    eval_network autoencoder;
    LK_TRY(eval_autoencoder_open(&autoencoder, eval_device(run), eval_variants(run), folder, 128, run->precise,
                                 &run->error));
    likeness_status status = LIKENESS_OK;
    eval_progress_begin(run, journal->rows.count);
    for (int i = 0; i < total && status == LIKENESS_OK; i++) {
        const cJSON *row = val->row[eval_pick(run, val->count, i)];
        if (!eval_journal_find(journal, eval_text(row, "file_name"))) batch[waiting++] = row;
        if (waiting == EVAL_BATCH || (i == total - 1 && waiting)) {
            status = measure_batch(run, &autoencoder, journal, batch, waiting);
            waiting = 0;
            eval_progress(run, "psnr", journal->rows.count, total);
        }
    }
    eval_network_close(&autoencoder);
    return status;
}

static void print(const eval_run *run, const eval_journal *journal, const char *hash) {
    eval_mean all = {0};
    double worst = INFINITY;
    eval_heading(run, "Autoencoder on characters_val (8-bit output)", hash);
    printf("| style | pictures | mean PSNR, dB |\n|---|---|---|\n");
    for (int s = 0; s < EVAL_STYLES; s++) {
        eval_mean style = {0};
        for (int i = 0; i < journal->rows.count; i++) {
            const cJSON *row = journal->rows.row[i];
            if (strcmp(eval_text(row, "style"), eval_styles[s]) != 0) continue;
            eval_mean_add(&style, eval_number(row, "psnr"));
            eval_mean_add(&all, eval_number(row, "psnr"));
        }
        if (!style.count) continue;
        worst = fmin(worst, eval_mean_get(&style));
        printf("| %s | %d | %.2f |\n", eval_styles[s], style.count, eval_mean_get(&style));
    }
    printf("| **all** (target: mean 30, worst style 27) | %d | **%.2f**, worst style %.2f |\n", all.count,
           eval_mean_get(&all), worst);
}

likeness_status eval_measure_psnr(eval_run *run) {
    static const char *const files[] = {"vae/diffusion_pytorch_model.safetensors"};
    char hash[9], name[64], path[4096];
    eval_rows val;
    eval_journal journal;
    LK_TRY(eval_hash(run, files, 1, hash));
    snprintf(name, sizeof name, "psnr-%s%s.jsonl", hash, run->precise ? "-precise" : "");
    snprintf(path, sizeof path, "%s/characters_val/metadata.jsonl", run->data);
    LK_TRY(eval_rows_read(&val, path, &run->error));
    likeness_status status = eval_open_journal(run, &journal, name);
    if (status == LIKENESS_OK) {
        if (journal.rows.count < eval_pick_count(run, val.count)) status = measure(run, &val, &journal);
        if (status == LIKENESS_OK) print(run, &journal, hash);
        eval_journal_close(&journal);
    }
    eval_rows_free(&val);
    return status;
}
