/* tools/eval/table2.c - the paper's Table 2 in small: nine people (one a style), one prompt each; anchored guidance,
 * the un-anchored fixed point, and gradient descent on the noise at three rates (the paper's 0.4 x 1/2, 1, 2), after
 * 20, 50 and 100 iterations of the same run. */
#include "measurements.h"

#include "measure.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { STOPS = 3 };

typedef struct plan {
    int stop[STOPS + 1]; /* 0 is the unguided picture */
    char folder[80];
} plan;

typedef struct way {
    const char *name;
    likeness_method method;
    double scale;
} way;

static const way ways[] = {
    {"anchored", LIKENESS_METHOD_ANCHORED, 1},
    {"un-anchored", LIKENESS_METHOD_UNANCHORED, 1},
    {"noise descent, rate 0.2", LIKENESS_METHOD_NOISE_DESCENT, 0.2},
    {"noise descent, rate 0.4", LIKENESS_METHOD_NOISE_DESCENT, 0.4},
    {"noise descent, rate 0.8", LIKENESS_METHOD_NOISE_DESCENT, 0.8},
};
enum { WAYS = sizeof ways / sizeof *ways };

/* The pictures of a run at its stops. */
typedef struct film {
    const plan *plan;
    likeness_image at[STOPS + 1];
    bool failed;
} film;

static void keep(void *user, int iteration, const likeness_image *image) {
    film *f = user;
    for (int i = 0; i <= STOPS; i++) {
        if (f->plan->stop[i] != iteration) continue;
        lk_image copy;
        lk_error error = LK_ERROR_INIT;
        if (lk_image_create(&copy, (uint32_t)image->width, (uint32_t)image->height, &error) != LIKENESS_OK) {
            f->failed = true;
            return;
        }
        memcpy(copy.rgb, image->rgb, (size_t)image->width * (size_t)image->height * 3);
        f->at[i] = (likeness_image){image->width, image->height, copy.rgb};
    }
}

static likeness_status note(eval_run *run, const eval_embeddings *e, const eval_palette *palette, eval_judges *judges,
                            const cJSON *row, int reference, const way *w, const film *f,
                            const likeness_personalize_result *result, eval_journal *journal) {
    lk_image pictures[STOPS + 1];
    double cosines[STOPS + 1][2];
    char key[96], fields[1024], name[256];
    int used = 0;
    for (int i = 0; i <= STOPS; i++) {
        if (f->failed || !f->at[i].rgb)
            return lk_fail(&run->error, LIKENESS_INTERNAL, "%s: no picture of iteration %d", w->name, f->plan->stop[i]);
        pictures[i] = eval_borrow(&f->at[i]);
    }
    LK_TRY(eval_judges_compare(run, judges, e, reference, pictures, STOPS + 1, cosines));
    snprintf(key, sizeof key, "%s, %s", eval_text(row, "style"), w->name);
    used += snprintf(fields, sizeof fields, "\"way\":\"%s\",\"iterations\":%d,\"seconds\":%.3f", w->name,
                     result->iterations, result->log[result->iterations].seconds);
    for (int i = 0; i <= STOPS; i++) {
        bool right = strcmp(eval_background(palette, &pictures[i]), eval_text(row, "background")) == 0;
        used += snprintf(fields + used, sizeof fields - (size_t)used, ",\"at%d\":[%.6f,%.6f,%d]", f->plan->stop[i],
                         cosines[i][EVAL_IDENTITY], cosines[i][EVAL_JUDGE], right);
        snprintf(name, sizeof name, "%s/%s-%d.png", f->plan->folder, key, f->plan->stop[i]);
        LK_TRY(eval_save_picture(run, name, &pictures[i]));
    }
    return eval_journal_add(journal, key, fields, &run->error);
}

static likeness_status make(eval_run *run, const eval_embeddings *e, const eval_palette *palette, eval_judges *judges,
                            const cJSON *row, const way *w, const plan *p, eval_journal *journal) {
    int reference;
    likeness_image picture = {0};
    film f = {.plan = p};
    likeness_personalize_result result;
    LK_TRY(eval_reference(run, e, row, &reference, &picture));
    likeness_personalize_params params = {
        .base = {.prompt = eval_text(row, "prompt"), .seed = (int64_t)eval_number(row, "seed")},
        .reference = &picture,
        .iterations = p->stop[STOPS],
        .id_scale = w->scale,
        .method = w->method,
        .preview_every = 1,
        .preview = keep,
        .preview_user = &f};
    likeness_status status = eval_api(run, likeness_personalize(run->model, &params, &result));
    if (status == LIKENESS_OK) {
        status = note(run, e, palette, judges, row, reference, w, &f, &result, journal);
        likeness_personalize_result_free(&result);
    }
    for (int i = 0; i <= STOPS; i++)
        likeness_image_free(&f.at[i]);
    likeness_image_free(&picture);
    return status;
}

static likeness_status measure(eval_run *run, const eval_embeddings *e, const eval_palette *palette,
                               const eval_rows *rows, const plan *p, eval_journal *journal) {
    eval_judges judges;
    LK_TRY(eval_model(run));
    LK_TRY(eval_judges_open(run, &judges));
    likeness_status status = LIKENESS_OK;
    eval_progress_begin(run, journal->rows.count);
    /* People outside: after an interruption every way has been seen on the same people but one. */
    for (int s = 0; s < eval_pick_count(run, EVAL_STYLES) && status == LIKENESS_OK; s++)
        for (int i = 0; i < WAYS && status == LIKENESS_OK; i++) {
            const cJSON *row = rows->row[eval_rows_find(rows, "style", eval_styles[s])];
            char key[96];
            snprintf(key, sizeof key, "%s, %s", eval_styles[s], ways[i].name);
            if (eval_journal_find(journal, key)) continue;
            status = make(run, e, palette, &judges, row, &ways[i], p, journal);
            eval_progress(run, "table2", journal->rows.count, WAYS * eval_pick_count(run, EVAL_STYLES));
        }
    eval_judges_close(&judges);
    return status;
}

/* Mean encoder cosine of a way at its last stop; what "best of three rates" goes by. */
static double encoder_at(const eval_journal *journal, const char *name, int stop) {
    eval_mean mean = {0};
    char key[16];
    snprintf(key, sizeof key, "at%d", stop);
    for (int i = 0; i < journal->rows.count; i++) {
        float values[3];
        if (strcmp(eval_text(journal->rows.row[i], "way"), name) == 0 &&
            eval_floats(journal->rows.row[i], key, values, 3))
            eval_mean_add(&mean, (double)values[0]);
    }
    return eval_mean_get(&mean);
}

static void print_way(const eval_embeddings *e, const eval_journal *journal, const plan *p, const way *w, bool best) {
    printf("| %s%s", w->name, best ? " (best rate)" : "");
    for (int i = 0; i <= STOPS; i++) {
        eval_mean encoder = {0}, judge = {0}, accepted = {0}, background = {0};
        char key[16];
        snprintf(key, sizeof key, "at%d", p->stop[i]);
        for (int j = 0; j < journal->rows.count; j++) {
            float values[3];
            if (strcmp(eval_text(journal->rows.row[j], "way"), w->name) != 0 ||
                !eval_floats(journal->rows.row[j], key, values, 3))
                continue;
            eval_mean_add(&encoder, (double)values[0]);
            eval_mean_add(&judge, (double)values[1]);
            eval_mean_add(&accepted, (double)values[1] >= e->threshold[EVAL_JUDGE]);
            eval_mean_add(&background, (double)values[2]);
        }
        if (i == 0) printf(" | %d", encoder.count);
        printf(" | %.3f, %.3f, %.0f, %.0f", eval_mean_get(&encoder), eval_mean_get(&judge), accepted.sum,
               background.sum);
    }
    printf(" |\n");
}

static void print(const eval_run *run, const eval_embeddings *e, const eval_journal *journal, const plan *p,
                  const char *hash) {
    int best = 2;
    for (int i = 3; i < WAYS; i++)
        if (encoder_at(journal, ways[i].name, p->stop[STOPS]) > encoder_at(journal, ways[best].name, p->stop[STOPS]))
            best = i;
    eval_heading(run, "Table 2 of the paper in small", hash);
    printf("Each entry: encoder cosine, judge cosine (means), rows accepted by the judge, rows with the right "
           "background.\n\n| design | people | unguided |");
    for (int i = 1; i <= STOPS; i++)
        printf(" %d iterations |", p->stop[i]);
    printf("\n|---|---|---|---|---|---|\n");
    for (int i = 0; i < WAYS; i++)
        print_way(e, journal, p, &ways[i], i == best);
}

likeness_status eval_measure_table2(eval_run *run) {
    int longest = run->iterations > 0 ? run->iterations : 100;
    plan p = {.stop = {0, longest / 5, longest / 2, longest}};
    char hash[9], name[96], path[4096];
    eval_embeddings e;
    eval_palette palette;
    eval_rows prompts, rows;
    eval_journal journal;
    LK_TRY(eval_hash(run, eval_model_files, 5, hash));
    snprintf(p.folder, sizeof p.folder, "table2-%s", hash);
    if (run->iterations > 0) snprintf(p.folder, sizeof p.folder, "table2-%s-n%d", hash, longest);
    snprintf(name, sizeof name, "%s.jsonl", p.folder);
    snprintf(path, sizeof path, "%s/eval/personalize.jsonl", run->data);
    LK_TRY(eval_palette_read(run, &palette, &prompts));
    eval_rows_free(&prompts);
    LK_TRY(eval_rows_read(&rows, path, &run->error));
    likeness_status status = eval_embeddings_load(run, &e);
    if (status == LIKENESS_OK) {
        status = eval_open_journal(run, &journal, name);
        if (status == LIKENESS_OK) {
            if (journal.rows.count < WAYS * eval_pick_count(run, EVAL_STYLES))
                status = measure(run, &e, &palette, &rows, &p, &journal);
            if (status == LIKENESS_OK) print(run, &e, &journal, &p, hash);
            eval_journal_close(&journal);
        }
        eval_embeddings_free(&e);
    }
    eval_rows_free(&rows);
    return status;
}
