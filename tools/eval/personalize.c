/* tools/eval/personalize.c - the main job: eval/personalize.jsonl, 27 unseen people x 3 prompts that name nothing of
 * the person. Each row is made once unguided and once guided from the same noise; the judge, which takes no part in
 * guidance, says whether the person is the reference's. The ceiling: real other pictures of the same person. */
#include "measurements.h"

#include "base/file.h"
#include "measure.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct set {
    eval_embeddings e;
    eval_palette palette;
    eval_rows rows; /* of personalize.jsonl */
    char hash[9], folder[80];
} set;

static likeness_status set_open(eval_run *run, set *s) {
    char path[4096];
    eval_rows prompts;
    memset(s, 0, sizeof *s);
    LK_TRY(eval_hash(run, eval_model_files, 5, s->hash));
    snprintf(s->folder, sizeof s->folder, "personalize-%s", s->hash);
    size_t used = strlen(s->folder);
    if (run->iterations > 0)
        used += (size_t)snprintf(s->folder + used, sizeof s->folder - used, "-n%d", run->iterations);
    if (run->id_scale > 0) used += (size_t)snprintf(s->folder + used, sizeof s->folder - used, "-x%g", run->id_scale);
    if (run->precise) snprintf(s->folder + used, sizeof s->folder - used, "-precise");
    LK_TRY(eval_palette_read(run, &s->palette, &prompts));
    eval_rows_free(&prompts);
    snprintf(path, sizeof path, "%s/eval/personalize.jsonl", run->data);
    LK_TRY(eval_rows_read(&s->rows, path, &run->error));
    likeness_status status = eval_embeddings_load(run, &s->e);
    if (status != LIKENESS_OK) eval_rows_free(&s->rows);
    return status;
}

static void set_close(set *s) {
    eval_rows_free(&s->rows);
    eval_embeddings_free(&s->e);
}

/* ---- measuring ---- */

static likeness_status note(eval_run *run, const set *s, const cJSON *row, const likeness_personalize_result *result,
                            eval_judges *judges, int reference, const char *key, eval_journal *journal) {
    lk_image pictures[2] = {eval_borrow(&result->unguided), eval_borrow(&result->guided)};
    double cosines[2][2];
    char fields[1024], name[256];
    int right[2];
    LK_TRY(eval_judges_compare(run, judges, &s->e, reference, pictures, 2, cosines));
    /* The library's own reading of the judge and this program's must be the same measure. */
    if (fabs(cosines[1][EVAL_JUDGE] - result->judge_guided) > 0.02)
        return lk_fail(&run->error, LIKENESS_INTERNAL, "row %s: the library's judge says %.4f, this program's %.4f",
                       key, result->judge_guided, cosines[1][EVAL_JUDGE]);
    for (int i = 0; i < 2; i++) {
        right[i] = strcmp(eval_background(&s->palette, &pictures[i]), eval_text(row, "background")) == 0;
        snprintf(name, sizeof name, "%s/%s-%s.png", s->folder, key, i ? "guided" : "unguided");
        LK_TRY(eval_save_picture(run, name, &pictures[i]));
    }
    snprintf(fields, sizeof fields,
             "\"style\":\"%.20s\",\"identity\":\"%.40s\",\"judge\":[%.6f,%.6f],\"encoder\":[%.6f,%.6f],"
             "\"background_right\":[%d,%d],\"iterations\":%d,\"seconds\":%.3f",
             eval_text(row, "style"), eval_text(row, "identity"), cosines[0][EVAL_JUDGE], cosines[1][EVAL_JUDGE],
             cosines[0][EVAL_IDENTITY], cosines[1][EVAL_IDENTITY], right[0], right[1], result->iterations,
             result->log[result->iterations].seconds);
    return eval_journal_add(journal, key, fields, &run->error);
}

static likeness_status make(eval_run *run, const set *s, int at, const char *key, eval_judges *judges,
                            eval_journal *journal) {
    const cJSON *row = s->rows.row[at];
    int reference;
    likeness_image picture = {0};
    likeness_personalize_result result;
    LK_TRY(eval_reference(run, &s->e, row, &reference, &picture));
    likeness_personalize_params params = {
        .base = {.prompt = eval_text(row, "prompt"), .seed = (int64_t)eval_number(row, "seed")},
        .reference = &picture,
        .iterations = run->iterations,
        .id_scale = run->id_scale};
    likeness_status status = eval_api(run, likeness_personalize(run->model, &params, &result));
    if (status == LIKENESS_OK) {
        status = note(run, s, row, &result, judges, reference, key, journal);
        likeness_personalize_result_free(&result);
    }
    likeness_image_free(&picture);
    return status;
}

static likeness_status measure(eval_run *run, const set *s, eval_journal *journal) {
    eval_judges judges;
    int total = eval_pick_count(run, s->rows.count);
    LK_TRY(eval_model(run));
    LK_TRY(eval_judges_open(run, &judges));
    likeness_status status = LIKENESS_OK;
    eval_progress_begin(run, journal->rows.count);
    for (int i = 0; i < total && status == LIKENESS_OK; i++) {
        char key[16];
        int at = eval_pick(run, s->rows.count, i);
        snprintf(key, sizeof key, "%02d", at);
        if (eval_journal_find(journal, key)) continue;
        status = make(run, s, at, key, &judges, journal);
        eval_progress(run, "personalize", journal->rows.count, total);
    }
    eval_judges_close(&judges);
    return status;
}

/* ---- the table and a sheet ---- */

static void print_row(const set *s, const eval_journal *journal, const char *style) {
    eval_mean accepted[2] = {{0}}, background[2] = {{0}}, encoder[2] = {{0}}, judge[2] = {{0}}, ceiling = {0};
    for (int i = 0; i < journal->rows.count; i++) {
        const cJSON *row = journal->rows.row[i];
        float judged[2], encoded[2], right[2];
        if ((style && strcmp(eval_text(row, "style"), style) != 0) || !eval_floats(row, "judge", judged, 2) ||
            !eval_floats(row, "encoder", encoded, 2) || !eval_floats(row, "background_right", right, 2))
            continue;
        for (int g = 0; g < 2; g++) {
            eval_mean_add(&accepted[g], (double)judged[g] >= s->e.threshold[EVAL_JUDGE] ? 100 : 0);
            eval_mean_add(&judge[g], (double)judged[g]);
            eval_mean_add(&encoder[g], (double)encoded[g]);
            eval_mean_add(&background[g], 100 * (double)right[g]);
        }
        int at = eval_rows_find(&s->rows, "identity", eval_text(row, "identity"));
        int reference = eval_rows_find(&s->e.val, "file_name", eval_text(s->rows.row[at], "reference"));
        eval_mean_add(&ceiling, 100 * eval_ceiling(&s->e, EVAL_JUDGE, reference));
    }
    if (!accepted[0].count) return;
    printf("| %s | %d | %.1f | %.1f | %.1f | %.3f, %.3f | %.3f, %.3f | %.1f, %.1f |\n", style ? style : "**all**",
           accepted[0].count, eval_mean_get(&accepted[0]), eval_mean_get(&accepted[1]), eval_mean_get(&ceiling),
           eval_mean_get(&judge[0]), eval_mean_get(&judge[1]), eval_mean_get(&encoder[0]), eval_mean_get(&encoder[1]),
           eval_mean_get(&background[0]), eval_mean_get(&background[1]));
}

static void print(const eval_run *run, const set *s, const eval_journal *journal) {
    char title[128];
    eval_mean seconds = {0};
    for (int i = 0; i < journal->rows.count; i++)
        eval_mean_add(&seconds, eval_number(journal->rows.row[i], "seconds"));
    snprintf(title, sizeof title, "Guidance, eval/personalize.jsonl, %d iterations",
             run->iterations > 0 ? run->iterations : 50);
    eval_heading(run, title, s->hash);
    printf("Accepted by the judge at %.4f (1 %% of false pairs). Targets: guided at least 70 %% and 8 times unguided; "
           "background right falls by at most 10 points.\n"
           "Mean time of a row %.1f s. Ceiling: real other pictures of the same person. Pairs: unguided, guided.\n\n",
           s->e.threshold[EVAL_JUDGE], eval_mean_get(&seconds));
    printf("| style | rows | accepted unguided, %% | **accepted guided, %%** | ceiling, %% | judge cosine | encoder "
           "cosine | background right, %% |\n|---|---|---|---|---|---|---|---|\n");
    for (int i = 0; i < EVAL_STYLES; i++)
        print_row(s, journal, eval_styles[i]);
    print_row(s, journal, NULL);
}

/* reference | unguided | guided, three rows of the table on a line. */
static likeness_status sheet(eval_run *run, const set *s) {
    enum { MOST = 81, COLUMNS = 9 };
    lk_image images[3 * MOST] = {{0}};
    char name[4096];
    int count = 0;
    for (int i = 0; i < s->rows.count && i < MOST; i++) {
        lk_error ignored = LK_ERROR_INIT;
        snprintf(name, sizeof name, "%s/%s/%02d-guided.png", run->out, s->folder, i);
        if (!lk_file_exists(name) || lk_image_read(&images[count + 2], name, &ignored) != LIKENESS_OK) continue;
        snprintf(name, sizeof name, "%s/%s/%02d-unguided.png", run->out, s->folder, i);
        if (lk_image_read(&images[count + 1], name, &ignored) != LIKENESS_OK) images[count + 1].rgb = NULL;
        snprintf(name, sizeof name, "%s/characters_val", run->data);
        if (eval_picture_read(&images[count], name, eval_text(s->rows.row[i], "reference"), images[count + 2].width,
                              &ignored) != LIKENESS_OK)
            images[count].rgb = NULL;
        count += 3;
    }
    snprintf(name, sizeof name, "%s.png", s->folder);
    likeness_status status = eval_save_sheet(run, name, images, count, COLUMNS);
    for (int i = 0; i < count; i++)
        lk_image_free(&images[i]);
    return status;
}

likeness_status eval_measure_personalize(eval_run *run) {
    set s;
    eval_journal journal;
    char name[96];
    LK_TRY(set_open(run, &s));
    snprintf(name, sizeof name, "%s.jsonl", s.folder);
    likeness_status status = eval_open_journal(run, &journal, name);
    if (status == LIKENESS_OK) {
        if (journal.rows.count < eval_pick_count(run, s.rows.count)) status = measure(run, &s, &journal);
        if (status == LIKENESS_OK) {
            print(run, &s, &journal);
            status = sheet(run, &s);
        }
        eval_journal_close(&journal);
    }
    set_close(&s);
    return status;
}
