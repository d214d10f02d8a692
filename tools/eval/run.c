/* tools/eval/run.c - see run.h. */
#include "run.h"

#include "api/context.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/time.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

const char *const eval_styles[EVAL_STYLES] = {"adventurer", "avataaars",  "bigEars",   "bigSmile", "lorelei",
                                              "micah",      "notionists", "openPeeps", "personas"};

const char *const eval_model_files[5] = {"unet/diffusion_pytorch_model.safetensors",
                                         "vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors",
                                         "identity_encoder.onnx", "judge.onnx"};

likeness_status eval_api(eval_run *run, likeness_status status) {
    if (status == LIKENESS_OK) return status;
    return lk_fail(&run->error, status, "%s", likeness_message(run->context));
}

likeness_status eval_run_open(eval_run *run) {
    run->error = (lk_error)LK_ERROR_INIT;
    likeness_options options = {.device = run->device, .precise = run->precise};
    return eval_api(run, likeness_open(&options, &run->context));
}

void eval_run_close(eval_run *run) {
    if (run->model) likeness_unload(run->model);
    likeness_close(run->context);
    run->model = NULL;
    run->context = NULL;
}

likeness_status eval_model(eval_run *run) {
    if (run->model) return LIKENESS_OK;
    return eval_api(run, likeness_load(run->context, run->model_folder, &run->model));
}

lk_device *eval_device(const eval_run *run) { return run->context->device; }

const int32_t *eval_variants(const eval_run *run) { return run->context->variants; }

likeness_status eval_hash(eval_run *run, const char *const *files, int count, char hash[9]) {
    lk_sha256 all;
    uint8_t digest[32];
    lk_sha256_init(&all);
    for (int i = 0; i < count; i++) {
        char *path = lk_path_join(run->model_folder, files[i]);
        if (!path) return lk_fail(&run->error, LIKENESS_OUT_OF_MEMORY, "no memory for a path");
        lk_mapping mapping = {0};
        likeness_status status = lk_file_exists(path) ? lk_file_map(path, &mapping, &run->error) : LIKENESS_OK;
        lk_free(path);
        LK_TRY(status);
        if (mapping.data) lk_sha256_add(&all, mapping.data, mapping.size);
        lk_file_unmap(&mapping);
    }
    lk_sha256_finish(&all, digest);
    for (int i = 0; i < 4; i++)
        snprintf(hash + 2 * i, 3, "%02x", digest[i]);
    return LIKENESS_OK;
}

likeness_status eval_out_path(eval_run *run, const char *name, char *path, size_t capacity) {
    int length = snprintf(path, capacity, "%s/%s", run->out, name);
    if (length < 0 || (size_t)length >= capacity)
        return lk_fail(&run->error, LIKENESS_USAGE, "the path %s/%s is too long", run->out, name);
    char *folder = lk_path_folder(path);
    if (!folder) return lk_fail(&run->error, LIKENESS_OUT_OF_MEMORY, "no memory for a path");
    likeness_status status = lk_directory_make(folder, &run->error);
    lk_free(folder);
    return status;
}

likeness_status eval_open_journal(eval_run *run, eval_journal *journal, const char *name) {
    char path[4096];
    LK_TRY(eval_out_path(run, name, path, sizeof path));
    return eval_journal_open(journal, path, &run->error);
}

void eval_progress_begin(eval_run *run, int already_done) {
    run->started = lk_time_seconds();
    run->first = already_done;
}

void eval_progress(eval_run *run, const char *what, int done, int total) {
    bool terminal = isatty(2);
    int step = total / 20 > 0 ? total / 20 : 1;
    if (!terminal && done % step && done != total) return;
    double seconds = lk_time_seconds() - run->started;
    int measured = done - run->first;
    if (measured > 0)
        fprintf(stderr, "%s%s %d/%d, %.2f s each, %.1f min left%s", terminal ? "\r" : "", what, done, total,
                seconds / measured, seconds / measured * (total - done) / 60, terminal ? "   " : "\n");
    if (terminal && done == total) fprintf(stderr, "\n");
}

int eval_pick_count(const eval_run *run, int rows) { return run->limit > 0 && run->limit < rows ? run->limit : rows; }

int eval_pick(const eval_run *run, int rows, int i) { return (int)((int64_t)i * rows / eval_pick_count(run, rows)); }

void eval_heading(const eval_run *run, const char *title, const char *hash) {
    char date[64];
    time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(date, sizeof date, "%Y-%m-%d %H:%M UTC", &utc);
    printf("\n### %s\n\n%s (files %s), %s%s, likeness %s, %s\n\n", title, run->model_folder, hash,
           likeness_device_name(run->context), run->precise ? ", precise" : "", likeness_version(), date);
}

/* ---- pictures ---- */

lk_image eval_borrow(const likeness_image *image) {
    return (lk_image){(uint32_t)image->width, (uint32_t)image->height, image->rgb};
}

likeness_status eval_save_picture(eval_run *run, const char *name, const lk_image *image) {
    char path[4096];
    LK_TRY(eval_out_path(run, name, path, sizeof path));
    return lk_image_write_png(image, NULL, path, &run->error);
}

likeness_status eval_save_sheet(eval_run *run, const char *name, const lk_image *images, int count, int columns) {
    enum { GAP = 4 };
    uint32_t w = 0, h = 0, rows = (uint32_t)((count + columns - 1) / columns);
    for (int i = 0; i < count; i++)
        if (images[i].rgb) w = images[i].width, h = images[i].height;
    if (!w || !rows) return LIKENESS_OK;
    lk_image page;
    LK_TRY(lk_image_create(&page, (uint32_t)columns * (w + GAP), rows * (h + GAP), &run->error));
    memset(page.rgb, 128, (size_t)page.width * page.height * 3);
    for (int i = 0; i < count; i++) {
        if (!images[i].rgb || images[i].width != w || images[i].height != h) continue;
        uint32_t left = (uint32_t)(i % columns) * (w + GAP), top = (uint32_t)(i / columns) * (h + GAP);
        for (uint32_t y = 0; y < h; y++)
            memcpy(page.rgb + 3 * ((size_t)(top + y) * page.width + left), images[i].rgb + 3 * (size_t)y * w,
                   (size_t)w * 3);
    }
    likeness_status status = eval_save_picture(run, name, &page);
    lk_image_free(&page);
    return status;
}
