/* tools/eval/judge.c - encoder and judge on the real pictures of characters_val.
 *
 *   every picture -> embedding (journal) -> all pairs within a style: same person (true) or not (false)
 *   one threshold over all styles at which 1 % of the false pairs are accepted */
#include "measurements.h"

#include "base/memory.h"
#include "base/text.h"
#include "base/vector.h"
#include "measure.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const files[2] = {"identity_encoder.onnx", "judge.onnx"};
static const char *const fields[2] = {"identity", "judge"};
static const double false_rate = 0.01;

/* ---- networks ---- */

likeness_status eval_judges_open(eval_run *run, eval_judges *judges) {
    memset(judges, 0, sizeof *judges);
    for (int which = 0; which < 2; which++) {
        char path[2048];
        snprintf(path, sizeof path, "%s/%s", run->model_folder, files[which]);
        likeness_status status = eval_network_open(&judges->network[which], eval_device(run), eval_variants(run), path,
                                                   128, false, &run->error);
        if (status != LIKENESS_OK) {
            if (which == 1) eval_network_close(&judges->network[0]);
            return status;
        }
    }
    return LIKENESS_OK;
}

void eval_judges_close(eval_judges *judges) {
    eval_network_close(&judges->network[0]);
    eval_network_close(&judges->network[1]);
}

likeness_status eval_judges_compare(eval_run *run, eval_judges *judges, const eval_embeddings *e, int reference,
                                    const lk_image *pictures, int count, double (*cosines)[2]) {
    for (int which = 0; which < 2; which++) {
        size_t width = (size_t)e->width[which];
        float *seen = lk_alloc((size_t)count * width, sizeof *seen);
        if (!seen) return lk_fail(&run->error, LIKENESS_OUT_OF_MEMORY, "no memory for embeddings");
        likeness_status status = eval_network_run(&judges->network[which], pictures, count, &seen, &run->error);
        for (int i = 0; i < count && status == LIKENESS_OK; i++)
            cosines[i][which] = lk_vector_cosine(seen + (size_t)i * width, eval_embedding(e, which, reference), width);
        lk_free(seen);
        LK_TRY(status);
    }
    return LIKENESS_OK;
}

/* ---- embeddings of characters_val ---- */

static void add_list(lk_text *line, const char *key, const float *values, int count) {
    lk_text_addf(line, ",\"%s\":[", key);
    for (int i = 0; i < count; i++)
        lk_text_addf(line, "%s%.7g", i ? "," : "", (double)values[i]);
    lk_text_add(line, "]");
}

static likeness_status embed_batch(eval_run *run, eval_judges *judges, eval_journal *journal, const cJSON *const *rows,
                                   int count) {
    lk_image pictures[EVAL_BATCH] = {{0}};
    char folder[2048];
    float *seen[2] = {NULL, NULL};
    likeness_status status = LIKENESS_OK;
    snprintf(folder, sizeof folder, "%s/characters_val", run->data);
    for (int i = 0; i < count && status == LIKENESS_OK; i++)
        status = eval_picture_read(&pictures[i], folder, eval_text(rows[i], "file_name"), 128, &run->error);
    for (int which = 0; which < 2 && status == LIKENESS_OK; which++) {
        seen[which] = lk_alloc((size_t)count * (size_t)judges->network[which].width[0], sizeof(float));
        if (!seen[which]) status = lk_fail(&run->error, LIKENESS_OUT_OF_MEMORY, "no memory for embeddings");
        if (status == LIKENESS_OK)
            status = eval_network_run(&judges->network[which], pictures, count, &seen[which], &run->error);
    }
    for (int i = 0; i < count && status == LIKENESS_OK; i++) {
        lk_text line = LK_TEXT_INIT;
        lk_text_addf(&line, "\"energy\":%.6f", eval_gradient_energy(pictures[i].rgb, 128, 128));
        for (int which = 0; which < 2; which++) {
            int width = judges->network[which].width[0];
            add_list(&line, fields[which], seen[which] + (size_t)i * (size_t)width, width);
        }
        status = line.failed
                     ? lk_fail(&run->error, LIKENESS_OUT_OF_MEMORY, "no memory for a line")
                     : eval_journal_add(journal, eval_text(rows[i], "file_name"), lk_text_get(&line), &run->error);
        lk_text_free(&line);
    }
    for (int i = 0; i < count; i++)
        lk_image_free(&pictures[i]);
    lk_free(seen[0]);
    lk_free(seen[1]);
    return status;
}

static likeness_status embed_all(eval_run *run, const eval_rows *val, eval_journal *journal) {
    const cJSON *batch[EVAL_BATCH];
    eval_judges judges;
    int waiting = 0;
    LK_TRY(eval_judges_open(run, &judges));
    likeness_status status = LIKENESS_OK;
    eval_progress_begin(run, journal->rows.count);
    for (int i = 0; i < val->count && status == LIKENESS_OK; i++) {
        if (!eval_journal_find(journal, eval_text(val->row[i], "file_name"))) batch[waiting++] = val->row[i];
        if (waiting == EVAL_BATCH || (i == val->count - 1 && waiting)) {
            status = embed_batch(run, &judges, journal, batch, waiting);
            waiting = 0;
            eval_progress(run, "judge", journal->rows.count, val->count);
        }
    }
    eval_judges_close(&judges);
    return status;
}

const float *eval_embedding(const eval_embeddings *e, int which, int row) {
    return e->values[which] + (size_t)row * (size_t)e->width[which];
}

static likeness_status take_embeddings(eval_run *run, eval_embeddings *e, const eval_journal *journal) {
    for (int which = 0; which < 2; which++) {
        e->width[which] = eval_list_length(journal->rows.row[0], fields[which]);
        size_t width = (size_t)e->width[which];
        e->values[which] = lk_alloc((size_t)e->val.count * (width ? width : 1), sizeof(float));
        if (!e->values[which]) return lk_fail(&run->error, LIKENESS_OUT_OF_MEMORY, "no memory for embeddings");
        for (int i = 0; i < e->val.count; i++) {
            const char *key = eval_text(e->val.row[i], "file_name");
            const cJSON *row = eval_journal_find(journal, key);
            if (!row || !width || !eval_floats(row, fields[which], e->values[which] + (size_t)i * width, (int)width))
                return lk_fail(&run->error, LIKENESS_BAD_FILE, "%s: the line of %s has no embedding; remove the file",
                               journal->path, key);
        }
    }
    return LIKENESS_OK;
}

/* ---- pairs ---- */

static bool same(const eval_rows *val, int i, int j, const char *key) {
    return strcmp(eval_text(val->row[i], key), eval_text(val->row[j], key)) == 0;
}

/* Cosines of all pairs of a style (NULL: within every style) of the same person, or of different ones. */
static size_t pair_scores(const eval_embeddings *e, int which, const char *style, bool same_person, float *scores) {
    size_t count = 0;
    for (int i = 0; i < e->val.count; i++) {
        if (style && strcmp(eval_text(e->val.row[i], "style"), style) != 0) continue;
        for (int j = i + 1; j < e->val.count; j++) {
            if (!same(&e->val, i, j, "style") || same(&e->val, i, j, "identity") != same_person) continue;
            if (scores)
                scores[count] = (float)lk_vector_cosine(eval_embedding(e, which, i), eval_embedding(e, which, j),
                                                        (size_t)e->width[which]);
            count++;
        }
    }
    return count;
}

static likeness_status find_threshold(eval_run *run, eval_embeddings *e, int which) {
    size_t count = pair_scores(e, which, NULL, false, NULL);
    float *scores = lk_alloc(count ? count : 1, sizeof *scores);
    if (!scores) return lk_fail(&run->error, LIKENESS_OUT_OF_MEMORY, "no memory for %zu pairs", count);
    pair_scores(e, which, NULL, false, scores);
    e->threshold[which] = eval_threshold(scores, count, false_rate);
    lk_free(scores);
    return LIKENESS_OK;
}

likeness_status eval_embeddings_load(eval_run *run, eval_embeddings *e) {
    char path[4096], name[64];
    eval_journal journal = {0};
    memset(e, 0, sizeof *e);
    LK_TRY(eval_hash(run, files, 2, e->hash));
    snprintf(name, sizeof name, "judge-%s.jsonl", e->hash);
    snprintf(path, sizeof path, "%s/characters_val/metadata.jsonl", run->data);
    LK_TRY(eval_rows_read(&e->val, path, &run->error));
    likeness_status status = eval_open_journal(run, &journal, name);
    if (status == LIKENESS_OK && journal.rows.count < e->val.count) status = embed_all(run, &e->val, &journal);
    if (status == LIKENESS_OK) status = take_embeddings(run, e, &journal);
    eval_journal_close(&journal);
    for (int which = 0; which < 2 && status == LIKENESS_OK; which++)
        status = find_threshold(run, e, which);
    if (status != LIKENESS_OK) eval_embeddings_free(e);
    return status;
}

void eval_embeddings_free(eval_embeddings *e) {
    eval_rows_free(&e->val);
    lk_free(e->values[0]);
    lk_free(e->values[1]);
    memset(e, 0, sizeof *e);
}

double eval_ceiling(const eval_embeddings *e, int which, int reference) {
    eval_mean accepted = {0};
    for (int i = 0; i < e->val.count; i++)
        if (i != reference && same(&e->val, i, reference, "identity"))
            eval_mean_add(&accepted, lk_vector_cosine(eval_embedding(e, which, i), eval_embedding(e, which, reference),
                                                      (size_t)e->width[which]) >= e->threshold[which]);
    return eval_mean_get(&accepted);
}

likeness_status eval_reference(eval_run *run, const eval_embeddings *e, const cJSON *row, int *at,
                               likeness_image *picture) {
    const char *name = eval_text(row, "reference");
    char path[4096];
    *at = eval_rows_find(&e->val, "file_name", name);
    if (*at < 0) return lk_fail(&run->error, LIKENESS_BAD_FILE, "characters_val has no %s", name);
    snprintf(path, sizeof path, "%s/characters_val/%s", run->data, name);
    return eval_api(run, likeness_image_read(run->context, path, picture));
}

/* ---- the table ---- */

static likeness_status print_row(eval_run *run, const eval_embeddings *e, const char *style) {
    size_t most = pair_scores(e, EVAL_JUDGE, style, false, NULL), pairs = 0;
    float *scores = lk_alloc(most ? most : 1, sizeof *scores);
    double accepted[2][2]; /* [which][same person] */
    if (!scores) return lk_fail(&run->error, LIKENESS_OUT_OF_MEMORY, "no memory for %zu pairs", most);
    for (int which = 0; which < 2; which++)
        for (int true_pairs = 0; true_pairs < 2; true_pairs++) {
            pairs = pair_scores(e, which, style, true_pairs, scores);
            accepted[which][true_pairs] = 100 * eval_accepted(scores, pairs, e->threshold[which]);
        }
    lk_free(scores);
    printf("| %s | %zu | %.1f | %.2f | %.1f | %.2f |\n", style ? style : "**all** (target: 90)", pairs,
           accepted[EVAL_JUDGE][1], accepted[EVAL_JUDGE][0], accepted[EVAL_IDENTITY][1], accepted[EVAL_IDENTITY][0]);
    return LIKENESS_OK;
}

/* The threshold that the judge's file carries, "none" without one. */
static likeness_status print_own_threshold(eval_run *run) {
    char path[2048];
    lk_onnx_model file;
    snprintf(path, sizeof path, "%s/%s", run->model_folder, files[EVAL_JUDGE]);
    LK_TRY(lk_onnx_read(&file, path, &run->error));
    const char *own = lk_onnx_metadata(&file, "likeness.threshold");
    printf("The judge's file says %s.\n\n", own ? own : "none");
    lk_onnx_free(&file);
    return LIKENESS_OK;
}

likeness_status eval_measure_judge(eval_run *run) {
    eval_embeddings e;
    LK_TRY(eval_embeddings_load(run, &e));
    eval_heading(run, "Judge and encoder on characters_val, pairs within a style", e.hash);
    printf("One threshold each at which %.0f %% of all false pairs are accepted: judge %.4f, encoder %.4f. ",
           100 * false_rate, e.threshold[EVAL_JUDGE], e.threshold[EVAL_IDENTITY]);
    likeness_status status = print_own_threshold(run);
    printf(
        "| style | true pairs | judge accepts, %% | of false pairs, %% | encoder accepts, %% | of false pairs, %% |\n"
        "|---|---|---|---|---|---|\n");
    for (int s = 0; s <= EVAL_STYLES && status == LIKENESS_OK; s++)
        status = print_row(run, &e, s < EVAL_STYLES ? eval_styles[s] : NULL);
    eval_embeddings_free(&e);
    return status;
}
