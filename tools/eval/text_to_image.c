/* tools/eval/text_to_image.c - does a picture show what its prompt says?
 *
 * Background: the palette colour nearest to the median of the upper corners. Style, hair colour, glasses: what a
 * classifier reads that was trained apart (tools/train/classifier.py), against the labels of the real picture whose
 * caption the prompt is. */
#include "measurements.h"

#include "base/file.h"
#include "measure.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { READ_STYLE, READ_HAIR, READ_GLASSES, READ_COUNT, MAX_CLASSES = 32 };
static const char *const read_names[READ_COUNT] = {"style", "hair", "glasses"};

/* ---- background ---- */

likeness_status eval_palette_read(eval_run *run, eval_palette *palette, eval_rows *rows) {
    char path[4096];
    memset(palette, 0, sizeof *palette);
    snprintf(path, sizeof path, "%s/eval/text_to_image.jsonl", run->data);
    LK_TRY(eval_rows_read(rows, path, &run->error));
    for (int i = 0; i < rows->count; i++) {
        const char *name = eval_text(rows->row[i], "background");
        float rgb[3];
        int at = 0;
        while (at < palette->count && strcmp(palette->name[at], name) != 0)
            at++;
        if (at < palette->count) continue;
        if (at == 16 || !eval_floats(rows->row[i], "background_rgb", rgb, 3)) {
            eval_rows_free(rows);
            return lk_fail(&run->error, LIKENESS_BAD_FILE, "%s: row %d has no colour, or there are more than 16", path,
                           i + 1);
        }
        snprintf(palette->name[at], sizeof palette->name[at], "%s", name);
        for (int c = 0; c < 3; c++)
            palette->colour[at][c] = (uint8_t)rgb[c];
        palette->count++;
    }
    return LIKENESS_OK;
}

const char *eval_background(const eval_palette *palette, const lk_image *image) {
    double median[3];
    eval_corner_median(image->rgb, (int)image->width, (int)image->height, median);
    return palette->name[eval_nearest_colour((const uint8_t(*)[3])palette->colour, palette->count, median)];
}

/* ---- classifier ---- */

typedef struct classifier {
    eval_network network;
    int output[READ_COUNT];
    char names[READ_COUNT][512];
    const char *classes[READ_COUNT][MAX_CLASSES];
    int class_count[READ_COUNT];
} classifier;

static likeness_status classifier_open(eval_run *run, classifier *c) {
    memset(c, 0, sizeof *c);
    LK_TRY(
        eval_network_open(&c->network, eval_device(run), eval_variants(run), run->classifier, 128, true, &run->error));
    for (int r = 0; r < READ_COUNT; r++) {
        char key[32], *rest = NULL;
        snprintf(key, sizeof key, "classes.%s", read_names[r]);
        const char *list = lk_onnx_metadata(&c->network.network.file, key);
        snprintf(c->names[r], sizeof c->names[r], "%s", list ? list : "");
        for (char *name = strtok_r(c->names[r], ",", &rest); name && c->class_count[r] < MAX_CLASSES;
             name = strtok_r(NULL, ",", &rest))
            c->classes[r][c->class_count[r]++] = name;
        c->output[r] = -1;
        for (int o = 0; o < c->network.output_count; o++)
            if (strcmp(c->network.names[o], read_names[r]) == 0 && c->network.width[o] == c->class_count[r])
                c->output[r] = o;
        if (c->output[r] < 0) {
            eval_network_close(&c->network);
            return lk_fail(&run->error, LIKENESS_BAD_FILE, "%s: no output '%s' with its classes in the metadata",
                           run->classifier, read_names[r]);
        }
    }
    return LIKENESS_OK;
}

static likeness_status classify(eval_run *run, classifier *c, const lk_image *image, int seen[READ_COUNT]) {
    float values[EVAL_MAX_OUTPUTS][MAX_CLASSES];
    float *out[EVAL_MAX_OUTPUTS] = {values[0], values[1], values[2], values[3]};
    for (int o = 0; o < c->network.output_count; o++)
        if (c->network.width[o] > MAX_CLASSES) out[o] = NULL;
    LK_TRY(eval_network_run(&c->network, image, 1, out, &run->error));
    for (int r = 0; r < READ_COUNT; r++)
        seen[r] = eval_argmax(values[c->output[r]], c->class_count[r]);
    return LIKENESS_OK;
}

/* Whether the picture shows the hair colour that its caption names. Open Peeps draws most heads with black hair
 * whatever the caption says; these are the others (tools/train/classifier.py says how they were found). */
static bool hair_is_coloured(const cJSON *attributes) {
    static const char *const heads[] = {"bangs",        "cornrows", "grayBun", "grayMedium", "grayShort",
                                        "mediumBangs2", "mohawk",   "mohawk2", "noHair3",    "short4"};
    if (cJSON_HasObjectItem(attributes, "hairColor")) return true;
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        if (strcmp(eval_text(attributes, "head"), heads[i]) == 0) return true;
    return false;
}

/* What the caption of a real picture says; -1 where it says nothing, or what the drawing does not show. */
static void labels(const classifier *c, const cJSON *real, int truth[READ_COUNT]) {
    const cJSON *phrases = cJSON_GetObjectItemCaseSensitive(real, "phrases");
    const cJSON *attributes = cJSON_GetObjectItemCaseSensitive(real, "attributes");
    truth[READ_STYLE] = -1;
    for (int i = 0; i < c->class_count[READ_STYLE]; i++)
        if (strcmp(c->classes[READ_STYLE][i], eval_text(real, "style")) == 0) truth[READ_STYLE] = i;
    truth[READ_HAIR] = hair_is_coloured(attributes) ? eval_hair_class(eval_text(phrases, "hair"), c->classes[READ_HAIR],
                                                                      c->class_count[READ_HAIR])
                                                    : -1;
    truth[READ_GLASSES] =
        strstr(eval_text(phrases, "accessories"), "glasses") || strstr(eval_text(phrases, "eyes"), "glasses");
}

/* ---- measuring ---- */

static likeness_status make(eval_run *run, classifier *c, const eval_palette *palette, const eval_rows *val,
                            const cJSON *row, eval_journal *journal, const char *key, const char *folder) {
    likeness_generate_params params = {.prompt = eval_text(row, "prompt"),
                                       .seed = (int64_t)eval_number(row, "seed"),
                                       .steps = run->steps,
                                       .cfg_scale = run->cfg_scale};
    likeness_image made = {0};
    int at = eval_rows_find(val, "file_name", eval_text(row, "like")), truth[READ_COUNT], seen[READ_COUNT];
    char fields[512], name[256];
    if (at < 0) return lk_fail(&run->error, LIKENESS_BAD_FILE, "characters_val has no %s", eval_text(row, "like"));
    LK_TRY(eval_api(run, likeness_generate(run->model, &params, &made)));
    lk_image image = eval_borrow(&made);
    labels(c, val->row[at], truth);
    likeness_status status = classify(run, c, &image, seen);
    const char *background = eval_background(palette, &image);
    snprintf(fields, sizeof fields,
             "\"style\":\"%.20s\",\"background\":\"%s\",\"background_right\":%d,\"truth\":[%d,%d,%d],"
             "\"seen\":[%d,%d,%d],\"energy\":%.6f",
             eval_text(row, "style"), background, strcmp(background, eval_text(row, "background")) == 0, truth[0],
             truth[1], truth[2], seen[0], seen[1], seen[2],
             eval_gradient_energy(image.rgb, (int)image.width, (int)image.height));
    snprintf(name, sizeof name, "%s/%s.png", folder, key);
    if (status == LIKENESS_OK) status = eval_save_picture(run, name, &image);
    if (status == LIKENESS_OK) status = eval_journal_add(journal, key, fields, &run->error);
    likeness_image_free(&made);
    return status;
}

static likeness_status measure(eval_run *run, const eval_palette *palette, const eval_rows *rows, int total,
                               eval_journal *journal, const char *folder) {
    char path[4096];
    eval_rows val;
    classifier c;
    LK_TRY(eval_model(run));
    LK_TRY(classifier_open(run, &c));
    snprintf(path, sizeof path, "%s/characters_val/metadata.jsonl", run->data);
    likeness_status status = eval_rows_read(&val, path, &run->error);
    eval_progress_begin(run, journal->rows.count);
    for (int i = 0; i < total && status == LIKENESS_OK; i++) {
        char key[16];
        snprintf(key, sizeof key, "%03d", i);
        if (eval_journal_find(journal, key)) continue;
        status = make(run, &c, palette, &val, rows->row[i], journal, key, folder);
        eval_progress(run, "t2i", journal->rows.count, total);
    }
    eval_rows_free(&val);
    eval_network_close(&c.network);
    return status;
}

/* ---- the table and a sheet ---- */

static void print_row(const eval_journal *journal, const char *style, int total) {
    eval_mean background = {0}, right[READ_COUNT] = {{0}};
    for (int i = 0; i < total; i++) {
        char key[16];
        float truth[READ_COUNT], seen[READ_COUNT];
        snprintf(key, sizeof key, "%03d", i);
        const cJSON *row = eval_journal_find(journal, key);
        if (!row || (style && strcmp(eval_text(row, "style"), style) != 0)) continue;
        eval_mean_add(&background, 100 * eval_number(row, "background_right"));
        if (!eval_floats(row, "truth", truth, READ_COUNT) || !eval_floats(row, "seen", seen, READ_COUNT)) continue;
        for (int r = 0; r < READ_COUNT; r++)
            if (truth[r] >= 0) eval_mean_add(&right[r], truth[r] == seen[r] ? 100 : 0);
    }
    if (!background.count) return;
    printf("| %s | %d | %.1f | %.1f | ", style ? style : "**all** (targets: 95, 97, 80, 85)", background.count,
           eval_mean_get(&background), eval_mean_get(&right[READ_STYLE]));
    if (right[READ_HAIR].count)
        printf("%.1f", eval_mean_get(&right[READ_HAIR]));
    else
        printf("-");
    printf(" | %.1f |\n", eval_mean_get(&right[READ_GLASSES]));
}

static likeness_status print(eval_run *run, const eval_journal *journal, int total, const char *hash) {
    char title[128];
    LK_TRY(eval_model(run)); /* its defaults are part of the title */
    likeness_generate_params params = {.steps = run->steps, .cfg_scale = run->cfg_scale};
    char *settings = likeness_settings_text(run->model, &params, NULL);
    const char *steps = settings ? strstr(settings, "Steps: ") : NULL;
    const char *weight = settings ? strstr(settings, "CFG scale: ") : NULL;
    snprintf(title, sizeof title, "Text to image, %d steps, guidance weight %g", steps ? atoi(steps + 7) : 0,
             weight ? atof(weight + 11) : 0.0);
    likeness_text_free(settings);
    eval_heading(run, title, hash);
    printf("Percent right.\n\n| style | pictures | background | style | hair | glasses |\n|---|---|---|---|---|---|\n");
    for (int s = 0; s < EVAL_STYLES; s++)
        print_row(journal, eval_styles[s], total);
    print_row(journal, NULL, total);
    return LIKENESS_OK;
}

static likeness_status sheet(eval_run *run, const char *folder, int total) {
    enum { SHOWN = 54 };
    lk_image images[SHOWN] = {{0}};
    char name[300];
    int count = total < SHOWN ? total : SHOWN;
    for (int i = 0; i < count; i++) {
        lk_error ignored = LK_ERROR_INIT;
        snprintf(name, sizeof name, "%s/%s/%03d.png", run->out, folder, i);
        if (lk_file_exists(name) && lk_image_read(&images[i], name, &ignored) != LIKENESS_OK) images[i].rgb = NULL;
    }
    snprintf(name, sizeof name, "%s.png", folder);
    likeness_status status = eval_save_sheet(run, name, images, count, EVAL_STYLES);
    for (int i = 0; i < count; i++)
        lk_image_free(&images[i]);
    return status;
}

likeness_status eval_measure_text_to_image(eval_run *run) {
    char hash[9], name[96], folder[80];
    eval_palette palette;
    eval_rows rows;
    eval_journal journal;
    LK_TRY(eval_hash(run, eval_model_files, 3, hash));
    snprintf(folder, sizeof folder, "t2i-%s", hash);
    if (run->steps > 0) snprintf(folder + strlen(folder), sizeof folder - strlen(folder), "-s%d", run->steps);
    if (run->cfg_scale > 0) snprintf(folder + strlen(folder), sizeof folder - strlen(folder), "-w%g", run->cfg_scale);
    snprintf(name, sizeof name, "%s.jsonl", folder);
    LK_TRY(eval_palette_read(run, &palette, &rows));
    int total = run->limit > 0 && run->limit < rows.count ? run->limit : rows.count;
    likeness_status status = eval_open_journal(run, &journal, name);
    if (status == LIKENESS_OK) {
        if (journal.rows.count < total) status = measure(run, &palette, &rows, total, &journal, folder);
        if (status == LIKENESS_OK) status = print(run, &journal, total, hash);
        if (status == LIKENESS_OK) status = sheet(run, folder, total);
        eval_journal_close(&journal);
    }
    eval_rows_free(&rows);
    return status;
}
