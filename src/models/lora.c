/* models/lora.c - reads a LoRA, finds each module's matrix and adds the change to it. See lora.h. */
#include "models/lora.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/thread.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the change of one matrix ---- */

typedef struct change {
    const lk_safetensor *down, *up, *mid; /* mid may be NULL */
    int64_t rows, columns, rank;          /* of up x down, mid multiplied into down */
    float scale;
} change;

typedef struct product {
    const float *up, *down;
    float *values;
    const change *c;
} product;

/* Rows [begin, end) of values += scale * up x down. */
static void add_rows(void *context, size_t begin, size_t end) {
    enum { BLOCK = 256 };
    const product *p = context;
    int64_t columns = p->c->columns, rank = p->c->rank;
    for (size_t row = begin; row < end; row++)
        for (int64_t first = 0; first < columns; first += BLOCK) {
            float sums[BLOCK] = {0};
            int64_t count = columns - first < BLOCK ? columns - first : BLOCK;
            for (int64_t k = 0; k < rank; k++) {
                float factor = p->up[(int64_t)row * rank + k];
                const float *down = p->down + k * columns + first;
                for (int64_t i = 0; i < count; i++)
                    sums[i] += factor * down[i];
            }
            float *values = p->values + (int64_t)row * columns + first;
            for (int64_t i = 0; i < count; i++)
                values[i] += p->c->scale * sums[i];
        }
}

/* down[r,I] and mid[s,r,k] -> [s,I,k]; k: places of the convolution's kernel. */
static void multiply_mid(const float *mid, const float *down, int64_t s, int64_t r, int64_t inputs, int64_t k,
                         float *out) {
    for (int64_t a = 0; a < s; a++)
        for (int64_t b = 0; b < r; b++)
            for (int64_t i = 0; i < inputs; i++)
                for (int64_t j = 0; j < k; j++)
                    out[(a * inputs + i) * k + j] += mid[(a * r + b) * k + j] * down[b * inputs + i];
}

static likeness_status to_f32(const lk_safetensor *tensor, float **values, lk_error *error) {
    *values = lk_alloc(tensor->elements, sizeof **values);
    if (!*values) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for the LoRA tensor %s", tensor->name);
    return lk_safetensor_to_f32(tensor, *values, error);
}

static likeness_status add_change(void *user, void *values, lk_error *error) {
    const change *c = user;
    float *down = NULL, *up = NULL, *mid = NULL, *wide = NULL;
    likeness_status status = to_f32(c->down, &down, error);
    if (status == LIKENESS_OK) status = to_f32(c->up, &up, error);
    if (status == LIKENESS_OK && c->mid) {
        status = to_f32(c->mid, &mid, error);
        wide = lk_alloc((size_t)(c->rank * c->columns), sizeof *wide);
        if (!wide) status = lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for the LoRA tensor %s", c->mid->name);
        if (status == LIKENESS_OK)
            multiply_mid(mid, down, c->rank, c->down->shape[0], c->down->shape[1], c->mid->shape[2] * c->mid->shape[3],
                         wide);
    }
    product p = {.up = up, .down = wide ? wide : down, .values = values, .c = c};
    if (status == LIKENESS_OK) lk_parallel_for((size_t)c->rows, 32, add_rows, &p);
    lk_free(down);
    lk_free(up);
    lk_free(mid);
    lk_free(wide);
    return status;
}

/* ---- matrices of the model by flattened name ---- */

typedef struct place {
    char *name; /* "unet_down_blocks_0_..." */
    lk_weights *set;
    int32_t index;
} place;

typedef struct place_list {
    place *items;
    size_t count;
    lk_arena arena;
} place_list;

static int compare_places(const void *a, const void *b) {
    return strcmp(((const place *)a)->name, ((const place *)b)->name);
}

static likeness_status add_places(place_list *list, lk_weights *set, lk_error *error) {
    for (int32_t i = 0; i < lk_weights_count(set); i++) {
        lk_weight_info info = lk_weights_info(set, i);
        if (info.role != LK_WEIGHT_MATRIX || !lk_ends_with(info.name, ".weight")) continue;
        char *name = lk_arena_copy_text(&list->arena, info.name, strlen(info.name) - strlen(".weight"));
        if (!name) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to read a LoRA");
        for (char *c = name; *c; c++)
            if (*c == '.') *c = '_';
        list->items[list->count++] = (place){name, set, i};
    }
    return LIKENESS_OK;
}

static likeness_status list_places(place_list *list, const lk_lora_target *target, lk_error *error) {
    memset(list, 0, sizeof *list);
    size_t most = (size_t)lk_weights_count(target->unet) + (size_t)lk_weights_count(target->text) + 1;
    list->items = lk_arena_alloc(&list->arena, most, sizeof *list->items);
    if (!list->items) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to read a LoRA");
    LK_TRY(add_places(list, target->unet, error));
    LK_TRY(add_places(list, target->text, error));
    qsort(list->items, list->count, sizeof *list->items, compare_places);
    return LIKENESS_OK;
}

/* ---- modules of the file ---- */

typedef struct entry {
    const char *module;
    lk_lora_role role;
    const lk_safetensor *tensor;
} entry;

static int compare_entries(const void *a, const void *b) {
    const entry *x = a, *y = b;
    int order = strcmp(x->module, y->module);
    return order ? order : (x->role > y->role) - (x->role < y->role);
}

typedef struct reader {
    lk_lora *lora;
    const lk_lora_target *target;
    const char *path;
    place_list places;
    lk_lora_alphas alphas;
    lk_text *report;
    lk_text strangers; /* the first few keys without a place */
    lk_error *error;
} reader;

static likeness_status no_fit(const reader *r, const char *module, const lk_shape *shape, int64_t rows,
                              int64_t columns) {
    char text[96];
    lk_recognition is = lk_recognise(&r->lora->file);
    return lk_fail(r->error, LIKENESS_UNSUPPORTED,
                   "%s: made for another architecture (%s): its module %s changes a matrix of %lld x %lld, the model's "
                   "is %s",
                   r->path, is.family_name, module, (long long)rows, (long long)columns,
                   lk_shape_text(shape, text, sizeof text));
}

static bool is_plain(const lk_safetensor *t, int64_t kernel) {
    return t->rank == 2 ? kernel == 1 : t->rank == 4 && t->shape[2] * t->shape[3] == kernel;
}

/* Checks the shapes of a module against the model's matrix. */
static likeness_status make_change(const reader *r, const char *module, const lk_safetensor *const parts[4],
                                   const lk_shape *shape, change *c) {
    const lk_safetensor *down = parts[LK_LORA_DOWN], *up = parts[LK_LORA_UP], *mid = parts[LK_LORA_MID];
    int64_t kernel = shape->rank == 4 ? (int64_t)shape->dim[2] * shape->dim[3] : 1;
    bool sound = is_plain(up, 1) && down->rank >= 2 && down->shape[0] > 0 && up->shape[1] > 0;
    sound = sound && (mid ? mid->rank == 4 && is_plain(down, 1) && mid->shape[1] == down->shape[0] &&
                                mid->shape[0] == up->shape[1]
                          : down->shape[0] == up->shape[1]);
    if (!sound)
        return lk_fail(r->error, LIKENESS_BAD_FILE, "%s: the tensors of the module %s do not belong together", r->path,
                       module);
    int64_t places = mid ? mid->shape[2] * mid->shape[3] : down->rank == 4 ? down->shape[2] * down->shape[3] : 1;
    *c = (change){.down = down,
                  .up = up,
                  .mid = mid,
                  .rows = up->shape[0],
                  .columns = down->shape[1] * places,
                  .rank = up->shape[1]};
    if (c->rows != shape->dim[0] || down->shape[1] != shape->dim[1] || places != kernel)
        return no_fit(r, module, shape, c->rows, c->columns);
    return LIKENESS_OK;
}

static likeness_status module_scale(reader *r, const char *module, const lk_safetensor *const parts[4], double *scale) {
    const lk_safetensor *alpha = parts[LK_LORA_ALPHA];
    int64_t rank = parts[LK_LORA_DOWN]->shape[0];
    float value = 1;
    if (!alpha) return lk_lora_alphas_scale(&r->alphas, module, rank, scale, r->error);
    if (alpha->elements != 1)
        return lk_fail(r->error, LIKENESS_BAD_FILE, "%s: %s is not one number", r->path, alpha->name);
    LK_TRY(lk_safetensor_to_f32(alpha, &value, r->error));
    *scale = (double)value / (double)rank;
    return isfinite(value) ? LIKENESS_OK
                           : lk_fail(r->error, LIKENESS_BAD_FILE, "%s: %s is no number", r->path, alpha->name);
}

static void stranger(reader *r, const char *key) {
    if (r->lora->unmatched++ < 3) lk_text_addf(&r->strangers, "%s%.200s", r->strangers.length ? ", " : "", key);
    lk_text_addf(r->report, "  no place: %.300s\n", key);
}

/* All tensors of one module, entries [0, count). */
static likeness_status take_module(reader *r, const entry *entries, size_t count) {
    const lk_safetensor *parts[4] = {NULL, NULL, NULL, NULL};
    place key = {.name = (char *)entries[0].module};
    const place *found = bsearch(&key, r->places.items, r->places.count, sizeof *r->places.items, compare_places);
    if (!found) {
        for (size_t i = 0; i < count; i++)
            stranger(r, entries[i].tensor->name);
        return LIKENESS_OK;
    }
    for (size_t i = 0; i < count; i++) {
        if (parts[entries[i].role])
            return lk_fail(r->error, LIKENESS_BAD_FILE, "%s: %s and %s are the same part of one module", r->path,
                           parts[entries[i].role]->name, entries[i].tensor->name);
        parts[entries[i].role] = entries[i].tensor;
    }
    if (!parts[LK_LORA_DOWN] || !parts[LK_LORA_UP])
        return lk_fail(r->error, LIKENESS_BAD_FILE, "%s: the module %s has only one half of its pair (%s)", r->path,
                       entries[0].module, entries[0].tensor->name);
    lk_shape shape = lk_weights_info(found->set, found->index).shape;
    double scale;
    change *c = lk_alloc(1, sizeof *c);
    if (!c) return lk_fail(r->error, LIKENESS_OUT_OF_MEMORY, "no memory to read a LoRA");
    likeness_status status = make_change(r, entries[0].module, parts, &shape, c);
    if (status == LIKENESS_OK) status = module_scale(r, entries[0].module, parts, &scale);
    if (status == LIKENESS_OK) {
        c->scale = (float)(r->lora->weight * scale);
        status = lk_weights_change(found->set, found->index, add_change, c, lk_free, r->error);
    }
    if (status != LIKENESS_OK) {
        lk_free(c);
        return status;
    }
    (found->set == r->target->unet ? &r->lora->unet_modules : &r->lora->text_modules)[0]++;
    return LIKENESS_OK;
}

static likeness_status other_kind(const reader *r, const char *key) {
    const char *kind = strstr(key, ".hada_")                             ? "a LoHa"
                       : strstr(key, ".lokr_")                           ? "a LoKr"
                       : strstr(key, ".oft_")                            ? "an OFT"
                       : strstr(key, "dora") || strstr(key, "magnitude") ? "a DoRA"
                       : strstr(key, ".diff")                            ? "full differences"
                                                                         : "more than low-rank pairs";
    return lk_fail(r->error, LIKENESS_UNSUPPORTED, "%s: is or contains %s (%.200s), which is not supported", r->path,
                   kind, key);
}

static likeness_status take_all(reader *r) {
    lk_safetensors *file = &r->lora->file;
    lk_arena arena = {0};
    entry *entries = lk_arena_alloc(&arena, file->count + 1, sizeof *entries);
    likeness_status status =
        entries ? LIKENESS_OK : lk_fail(r->error, LIKENESS_OUT_OF_MEMORY, "no memory to read a LoRA");
    size_t count = 0;
    for (size_t i = 0; i < file->count && status == LIKENESS_OK; i++) {
        char module[LK_LORA_NAME];
        const lk_safetensor *tensor = &file->tensors[i];
        lk_lora_role role = lk_lora_key(tensor->name, module);
        if (role == LK_LORA_OTHER_KIND) status = other_kind(r, tensor->name);
        if (role == LK_LORA_NO_KEY) stranger(r, tensor->name);
        if (role > LK_LORA_ALPHA) continue;
        entries[count] = (entry){lk_arena_strdup(&arena, module), role, tensor};
        if (!entries[count++].module) status = lk_fail(r->error, LIKENESS_OUT_OF_MEMORY, "no memory to read a LoRA");
    }
    if (status == LIKENESS_OK && count) qsort(entries, count, sizeof *entries, compare_entries);
    for (size_t i = 0, end; i < count && status == LIKENESS_OK; i = end) {
        for (end = i + 1; end < count && strcmp(entries[end].module, entries[i].module) == 0; end++) {
        }
        status = take_module(r, entries + i, end - i);
    }
    lk_arena_free(&arena);
    return status;
}

/* ---- opening ---- */

static likeness_status check_family(const reader *r) {
    lk_recognition is = lk_recognise(&r->lora->file);
    if (is.kind != LK_FILE_LORA)
        return lk_fail(r->error, LIKENESS_UNSUPPORTED, "%s: this is no LoRA but a %s of %s", r->path, is.part,
                       is.family_name);
    bool other = !is.supported || (r->target->family != LK_FAMILY_UNKNOWN && is.family != LK_FAMILY_UNKNOWN &&
                                   is.family != r->target->family);
    const char *model = r->target->family == LK_FAMILY_SD1   ? "Stable Diffusion 1.x"
                        : r->target->family == LK_FAMILY_SD2 ? "Stable Diffusion 2.x"
                                                             : "of another architecture";
    if (other)
        return lk_fail(r->error, LIKENESS_UNSUPPORTED, "%s: this LoRA is for %s, the model is %s", r->path,
                       is.family_name, model);
    return LIKENESS_OK;
}

/* A folder stands for the file in it. */
static likeness_status find_file(const char *path, char **file, lk_error *error) {
    static const char *const names[] = {"adapter_model.safetensors", "pytorch_lora_weights.safetensors"};
    *file = NULL;
    for (size_t i = 0; i < 2 && !*file && lk_directory_exists(path); i++) {
        char *inside = lk_path_join(path, names[i]);
        if (!inside) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to read a LoRA");
        if (lk_file_exists(inside))
            *file = inside;
        else
            lk_free(inside);
    }
    if (!*file) *file = lk_strdup(path);
    return *file ? LIKENESS_OK : lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to read a LoRA");
}

static likeness_status read_lora(reader *r) {
    lk_lora *lora = r->lora;
    LK_TRY(lk_refuse_foreign(r->path, r->error));
    LK_TRY(lk_safetensors_open(&lora->file, r->path, r->error));
    LK_TRY(check_family(r));
    LK_TRY(lk_lora_alphas_open(&r->alphas, &lora->file, r->path, r->error));
    LK_TRY(list_places(&r->places, r->target, r->error));
    LK_TRY(take_all(r));
    if (lora->unet_modules + lora->text_modules == 0)
        return lk_fail(r->error, LIKENESS_UNSUPPORTED,
                       "%s: none of its modules has a place in this model (it is for %s); the first key is %.200s",
                       r->path, lk_recognise(&lora->file).family_name,
                       lora->file.count ? lora->file.tensors[0].name : "missing");
    return LIKENESS_OK;
}

likeness_status lk_lora_open(lk_lora *lora, const lk_lora_use *use, const lk_lora_target *target, lk_text *report,
                             lk_text *notes, lk_error *error) {
    char *path;
    *lora = (lk_lora){.weight = use->weight};
    LK_TRY(find_file(use->path, &path, error));
    lk_text lines = LK_TEXT_INIT;
    reader r = {
        .lora = lora, .target = target, .path = path, .report = &lines, .strangers = LK_TEXT_INIT, .error = error};
    lora->name = lk_strdup(lk_path_name(use->path));
    likeness_status status =
        lora->name ? read_lora(&r) : lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to read a LoRA");
    if (lora->name && lk_ends_with(lora->name, ".safetensors")) lora->name[strlen(lora->name) - 12] = 0;
    if (status == LIKENESS_OK) {
        lk_text_addf(report,
                     "%s, weight %g: %d modules of the U-Net, %d of the text encoder, %d keys without a place\n%s",
                     lora->name, lora->weight, (int)lora->unet_modules, (int)lora->text_modules, (int)lora->unmatched,
                     lk_text_get(&lines));
        if (lora->unmatched)
            lk_text_addf(notes, "%s: %d of its %zu keys have no place in this model: %s%s\n", path,
                         (int)lora->unmatched, lora->file.count, lk_text_get(&r.strangers),
                         lora->unmatched > 3 ? ", ..." : "");
    }
    lk_lora_alphas_close(&r.alphas);
    lk_arena_free(&r.places.arena);
    lk_text_free(&r.strangers);
    lk_text_free(&lines);
    lk_free(path);
    return status;
}

void lk_lora_close(lk_lora *lora) {
    lk_safetensors_close(&lora->file);
    lk_free(lora->name);
    memset(lora, 0, sizeof *lora);
}
