/* tools/eval/diversity.c - is a model neither collapsed nor blurred?
 *
 * 16 seeds of a prompt that names only style and background. Collapsed: their mean pairwise judge cosine exceeds that
 * of real pictures of the style (pairs of different people) by more than 0.1. Blurred: their mean gradient energy lies
 * outside 80 to 125 % of the real pictures'. */
#include "measurements.h"

#include "base/memory.h"
#include "base/text.h"
#include "base/vector.h"
#include "measure.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SEEDS = 16, FIRST_SEED = 9000 };

/* "big ears portrait, gray background" */
static void prompt_of(const eval_rows *rows, const eval_palette *palette, int style, char *prompt, size_t capacity) {
    int at = eval_rows_find(rows, "style", eval_styles[style]);
    const cJSON *phrases = at < 0 ? NULL : cJSON_GetObjectItemCaseSensitive(rows->row[at], "phrases");
    snprintf(prompt, capacity, "%s, %s background", eval_text(phrases, "style"), palette->name[style % palette->count]);
}

static likeness_status measure(eval_run *run, const eval_rows *rows, const eval_palette *palette, eval_journal *journal,
                               const char *folder) {
    eval_judges judges;
    LK_TRY(eval_model(run));
    LK_TRY(eval_judges_open(run, &judges));
    likeness_status status = LIKENESS_OK;
    eval_progress_begin(run, journal->rows.count);
    for (int i = 0; i < EVAL_STYLES * SEEDS && status == LIKENESS_OK; i++) {
        char prompt[128], key[64], name[256];
        int style = i / SEEDS, width = judges.network[EVAL_JUDGE].width[0];
        snprintf(key, sizeof key, "%s-%02d", eval_styles[style], i % SEEDS);
        if (eval_journal_find(journal, key)) continue;
        prompt_of(rows, palette, style, prompt, sizeof prompt);
        likeness_generate_params params = {
            .prompt = prompt, .seed = FIRST_SEED + i, .steps = run->steps, .cfg_scale = run->cfg_scale};
        likeness_image made = {0};
        status = eval_api(run, likeness_generate(run->model, &params, &made));
        if (status != LIKENESS_OK) break;
        lk_image image = eval_borrow(&made);
        float *seen = lk_alloc((size_t)width, sizeof *seen);
        status = seen ? eval_network_run(&judges.network[EVAL_JUDGE], &image, 1, &seen, &run->error)
                      : lk_fail(&run->error, LIKENESS_OUT_OF_MEMORY, "no memory for an embedding");
        lk_text line = LK_TEXT_INIT;
        lk_text_addf(&line, "\"style\":\"%s\",\"energy\":%.6f,\"judge\":[", eval_styles[style],
                     eval_gradient_energy(image.rgb, (int)image.width, (int)image.height));
        for (int j = 0; j < width && status == LIKENESS_OK; j++)
            lk_text_addf(&line, "%s%.7g", j ? "," : "", (double)seen[j]);
        lk_text_add(&line, "]");
        snprintf(name, sizeof name, "%s/%s.png", folder, key);
        if (status == LIKENESS_OK) status = eval_save_picture(run, name, &image);
        if (status == LIKENESS_OK) status = eval_journal_add(journal, key, lk_text_get(&line), &run->error);
        lk_text_free(&line);
        lk_free(seen);
        likeness_image_free(&made);
        eval_progress(run, "diversity", journal->rows.count, EVAL_STYLES * SEEDS);
    }
    eval_judges_close(&judges);
    return status;
}

/* Mean cosine of pairs of different people, and mean gradient energy, of the real pictures of a style. */
static likeness_status real_values(eval_run *run, const eval_embeddings *e, const char *style, double *cosine,
                                   double *energy) {
    eval_mean pairs = {0}, energies = {0};
    char folder[2048];
    snprintf(folder, sizeof folder, "%s/characters_val", run->data);
    for (int i = 0; i < e->val.count; i++) {
        if (strcmp(eval_text(e->val.row[i], "style"), style) != 0) continue;
        lk_image image;
        LK_TRY(eval_picture_read(&image, folder, eval_text(e->val.row[i], "file_name"), 128, &run->error));
        eval_mean_add(&energies, eval_gradient_energy(image.rgb, 128, 128));
        lk_image_free(&image);
        for (int j = i + 1; j < e->val.count; j++)
            if (strcmp(eval_text(e->val.row[j], "style"), style) == 0 &&
                strcmp(eval_text(e->val.row[j], "identity"), eval_text(e->val.row[i], "identity")) != 0)
                eval_mean_add(&pairs, lk_vector_cosine(eval_embedding(e, EVAL_JUDGE, i),
                                                       eval_embedding(e, EVAL_JUDGE, j), (size_t)e->width[EVAL_JUDGE]));
    }
    *cosine = eval_mean_get(&pairs);
    *energy = eval_mean_get(&energies);
    return LIKENESS_OK;
}

static likeness_status print_row(eval_run *run, const eval_embeddings *e, const eval_journal *journal, int style) {
    int width = e->width[EVAL_JUDGE], count = 0;
    float *vectors = lk_alloc(SEEDS * (size_t)width, sizeof *vectors);
    eval_mean energies = {0};
    double real_cosine = NAN, real_energy = NAN;
    if (!vectors) return lk_fail(&run->error, LIKENESS_OUT_OF_MEMORY, "no memory for embeddings");
    likeness_status status = real_values(run, e, eval_styles[style], &real_cosine, &real_energy);
    for (int i = 0; i < SEEDS; i++) {
        char key[64];
        snprintf(key, sizeof key, "%s-%02d", eval_styles[style], i);
        const cJSON *row = eval_journal_find(journal, key);
        if (!row || !eval_floats(row, "judge", vectors + (size_t)count * (size_t)width, width)) continue;
        eval_mean_add(&energies, eval_number(row, "energy"));
        count++;
    }
    double cosine = eval_mean_pairwise_cosine(vectors, count, width);
    double ratio = 100 * eval_mean_get(&energies) / real_energy;
    lk_free(vectors);
    printf("| %s | %d | %.3f | %.3f | %s | %.0f | %s |\n", eval_styles[style], count, cosine, real_cosine,
           cosine <= real_cosine + 0.1 ? "yes" : "**no**", ratio, ratio >= 80 && ratio <= 125 ? "yes" : "**no**");
    return status;
}

static likeness_status sheet(eval_run *run, const char *folder) {
    lk_image images[EVAL_STYLES * SEEDS] = {{0}};
    char name[4096];
    for (int i = 0; i < EVAL_STYLES * SEEDS; i++) {
        lk_error ignored = LK_ERROR_INIT;
        snprintf(name, sizeof name, "%s/%s/%s-%02d.png", run->out, folder, eval_styles[i / SEEDS], i % SEEDS);
        if (lk_image_read(&images[i], name, &ignored) != LIKENESS_OK) images[i].rgb = NULL;
    }
    snprintf(name, sizeof name, "%s.png", folder);
    likeness_status status = eval_save_sheet(run, name, images, EVAL_STYLES * SEEDS, SEEDS);
    for (int i = 0; i < EVAL_STYLES * SEEDS; i++)
        lk_image_free(&images[i]);
    return status;
}

likeness_status eval_measure_diversity(eval_run *run) {
    static const char *const files[5] = {"unet/diffusion_pytorch_model.safetensors",
                                         "vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors",
                                         "judge.onnx"};
    char hash[9], folder[80], name[96];
    eval_embeddings e;
    eval_palette palette;
    eval_rows rows;
    eval_journal journal;
    LK_TRY(eval_hash(run, files, 4, hash));
    snprintf(folder, sizeof folder, "diversity-%s", hash);
    if (run->steps > 0) snprintf(folder + strlen(folder), sizeof folder - strlen(folder), "-s%d", run->steps);
    snprintf(name, sizeof name, "%s.jsonl", folder);
    LK_TRY(eval_embeddings_load(run, &e));
    likeness_status status = eval_palette_read(run, &palette, &rows);
    if (status == LIKENESS_OK) {
        status = eval_open_journal(run, &journal, name);
        if (status == LIKENESS_OK) {
            if (journal.rows.count < EVAL_STYLES * SEEDS) status = measure(run, &rows, &palette, &journal, folder);
            if (status == LIKENESS_OK) {
                eval_heading(run, "Neither collapsed nor blurred: 16 seeds of one prompt a style", hash);
                printf("| style | pictures | mean pairwise judge cosine | of real pairs | at most 0.1 more | gradient "
                       "energy, %% of real | 80 to 125 |\n|---|---|---|---|---|---|---|\n");
            }
            for (int s = 0; s < EVAL_STYLES && status == LIKENESS_OK; s++)
                status = print_row(run, &e, &journal, s);
            if (status == LIKENESS_OK) status = sheet(run, folder);
            eval_journal_close(&journal);
        }
        eval_rows_free(&rows);
    }
    eval_embeddings_free(&e);
    return status;
}
