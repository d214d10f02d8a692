/* models/describe.c - see describe.h. */
#include "models/describe.h"

#include "base/file.h"
#include "base/memory.h"
#include "io/onnx.h"
#include "models/checkpoint.h"
#include "models/model.h"
#include "models/onnx_graph.h"

#include <string.h>

/* ---- parts of a description ---- */

static void add_tensors(lk_text *out, const lk_safetensors *file) {
    size_t count[LK_SAFETENSOR_DTYPE_COUNT] = {0};
    double bytes = 0;
    for (size_t i = 0; i < file->count; i++) {
        count[file->tensors[i].dtype]++;
        bytes += (double)file->tensors[i].bytes;
    }
    lk_text_addf(out, "tensors: %zu, %.1f MiB (", file->count, bytes / 1048576);
    bool first = true;
    for (int t = 0; t < LK_SAFETENSOR_DTYPE_COUNT; t++)
        if (count[t]) {
            lk_text_addf(out, "%s%zu %s", first ? "" : ", ", count[t],
                         lk_safetensor_dtype_name((lk_safetensor_dtype)t));
            first = false;
        }
    lk_text_add(out, ")\n");
}

/* One line, whatever is inside. */
static void add_entry(lk_text *out, const char *key, const char *value) {
    char line[161];
    size_t at = 0;
    for (; *value && at + 1 < sizeof line; value++)
        if ((unsigned char)*value > ' ' || (at && line[at - 1] != ' '))
            line[at++] = (char)((unsigned char)*value > ' ' ? *value : ' ');
    line[at] = 0;
    lk_text_addf(out, "metadata: %.80s: %s%s\n", key, line, *value ? " ..." : "");
}

static void add_metadata(lk_text *out, const lk_safetensors *file) {
    enum { MOST = 24 };
    for (size_t i = 0; i < file->metadata_count && i < MOST; i++) {
        add_entry(out, file->metadata_keys[i], file->metadata_values[i]);
    }
    if (file->metadata_count > MOST) lk_text_addf(out, "metadata: %zu more\n", file->metadata_count - MOST);
}

static void add_levels(lk_text *out, const int32_t *values, int count) {
    for (int i = 0; i < count; i++)
        lk_text_addf(out, "%s%d", i ? "," : "", (int)values[i]);
}

static void add_unet(lk_text *out, const lk_unet_config *c) {
    lk_text_addf(out, "U-Net: %d -> %d channels, levels ", (int)c->in_channels, (int)c->out_channels);
    add_levels(out, c->channels, c->levels);
    lk_text_add(out, ", heads ");
    add_levels(out, c->heads, c->levels);
    lk_text_addf(out, ", text width %d, %s projections\n", (int)c->context[0],
                 c->linear_projection ? "linear" : "convolutional");
}

static void add_text_encoder(lk_text *out, const lk_clip_text_config *c) {
    lk_text_addf(out, "text encoder: CLIP, width %d, %d layers, %d heads, %d tokens of %d\n", (int)c->width,
                 (int)c->layers, (int)c->heads, (int)c->positions, (int)c->vocabulary);
}

static void add_vae(lk_text *out, const lk_vae_config *c) {
    lk_text_addf(out, "autoencoder: %d latent channels, a latent pixel is %d x %d, scaling %g\n",
                 (int)c->latent_channels, lk_vae_factor(c), lk_vae_factor(c), c->scaling_factor);
}

/* ---- one safetensors file ---- */

static likeness_status describe_checkpoint(lk_text *out, lk_safetensors *file, lk_error *error) {
    lk_checkpoint c;
    bool averaged = lk_safetensors_match(file, "model_ema.*weight") != NULL;
    LK_TRY(lk_checkpoint_from(&c, file, false, error));
    add_unet(out, &c.unet_config);
    add_text_encoder(out, &c.text_config);
    add_vae(out, &c.vae_config);
    lk_text_addf(out, "predicts: %s%s\n", c.predicts_v ? "v" : "eps",
                 c.prediction_known ? "" : " is assumed, the file does not say (--prediction eps for base models)");
    lk_text_addf(out, "averaged weights: %s\n", averaged ? "yes, used with --ema" : "no");
    lk_text_add(out, lk_text_get(&c.notes));
    lk_checkpoint_close(&c);
    return LIKENESS_OK;
}

static void describe_lora(lk_text *out, const lk_safetensors *file) {
    size_t count[2] = {0, 0}, other = 0;
    int64_t least = INT64_MAX, most = 0;
    bool alpha = false;
    for (size_t i = 0; i < file->count; i++) {
        char module[LK_LORA_NAME];
        const lk_safetensor *t = &file->tensors[i];
        lk_lora_role role = lk_lora_key(t->name, module);
        alpha = alpha || role == LK_LORA_ALPHA;
        if (role == LK_LORA_OTHER_KIND || role == LK_LORA_NO_KEY) other++;
        if (role != LK_LORA_DOWN || t->rank < 1) continue;
        count[strncmp(module, "text_encoder_", 13) == 0]++;
        if (t->shape[0] < least) least = t->shape[0];
        if (t->shape[0] > most) most = t->shape[0];
    }
    const char *dialect = lk_safetensors_match(file, "base_model.model.*")   ? "PEFT"
                          : lk_safetensors_match(file, "*.lora_A.*")         ? "diffusers with PEFT"
                          : lk_safetensors_match(file, "*.lora_down.weight") ? "kohya"
                          : lk_safetensors_match(file, "*lora*.down.weight") ? "diffusers"
                                                                             : "unknown";
    lk_text_addf(out, "dialect: %s\nmodules: %zu of the U-Net, %zu of the text encoder\n", dialect, count[0], count[1]);
    if (most)
        lk_text_addf(out, "rank: %lld to %lld, %s\n", (long long)least, (long long)most,
                     alpha ? "with alpha" : "no alpha");
    if (other) lk_text_addf(out, "other tensors: %zu\n", other);
}

static likeness_status describe_tensors(lk_text *out, const char *path, lk_error *error) {
    lk_safetensors file;
    LK_TRY(lk_refuse_foreign(path, error));
    LK_TRY(lk_safetensors_open(&file, path, error));
    lk_recognition is = lk_recognise(&file);
    bool known = strcmp(is.family_name, "an unknown family") != 0;
    lk_text_addf(out, "%s: %s%s%s%s\n", path, is.part, known ? " of " : "", known ? is.family_name : "",
                 is.supported                                                           ? ""
                 : is.kind == LK_FILE_UNKNOWN && !known && strcmp(is.part, "file") == 0 ? " of unknown tensors"
                                                                                        : ", not supported");
    add_tensors(out, &file);
    add_metadata(out, &file);
    likeness_status status = LIKENESS_OK;
    if (is.kind == LK_FILE_LORA) describe_lora(out, &file);
    if (is.kind == LK_FILE_EMBEDDING)
        lk_text_addf(out, "vectors: %lld of width %lld\n",
                     (long long)(file.tensors[0].rank == 2 ? file.tensors[0].shape[0] : 1), (long long)is.context);
    if (is.kind == LK_FILE_CHECKPOINT && is.supported && strcmp(is.part, "checkpoint") == 0)
        status = describe_checkpoint(out, &file, error);
    lk_safetensors_close(&file);
    return status;
}

/* ---- a folder ---- */

static likeness_status describe_model(lk_text *out, const char *path, lk_error *error) {
    lk_model model;
    LK_TRY(lk_model_open(&model, path, false, error));
    const char *family = model.family == LK_FAMILY_SD1   ? "of Stable Diffusion 1.x"
                         : model.family == LK_FAMILY_SD2 ? "of Stable Diffusion 2.x"
                                                         : "of a family of its own";
    lk_text_addf(out, "%s: model %s %s, in diffusers' layout, pictures of %d pixels\n", path, model.name, family,
                 (int)model.size);
    add_unet(out, &model.unet.config);
    add_text_encoder(out, &model.text.config);
    add_vae(out, &model.vae.config);
    lk_text_addf(out, "predicts: %s\n", lk_prediction_name(model.scheduler.prediction));
    const lk_safetensors *const files[] = {&model.unet.file, &model.text.file, &model.vae.file};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        lk_text_addf(out, "%s, ", files[i]->name);
        add_tensors(out, files[i]);
    }
    lk_text_add(out, lk_text_get(&model.notes));
    lk_model_close(&model);
    return LIKENESS_OK;
}

static likeness_status describe_folder(lk_text *out, const char *path, lk_error *error) {
    static const char *const names[] = {"model_index.json",
                                        "adapter_model.safetensors",
                                        "pytorch_lora_weights.safetensors",
                                        "diffusion_pytorch_model.safetensors",
                                        "diffusion_pytorch_model.safetensors.index.json",
                                        "model.safetensors",
                                        "model.safetensors.index.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *inside = lk_path_join(path, names[i]);
        if (!inside) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to look at '%s'", path);
        bool exists = lk_file_exists(inside);
        likeness_status status = LIKENESS_OK;
        if (exists) status = i == 0 ? describe_model(out, path, error) : describe_tensors(out, inside, error);
        lk_free(inside);
        if (exists) return status;
    }
    return lk_fail(error, LIKENESS_IO, "%s: a folder without model_index.json, adapter or safetensors file", path);
}

/* ---- ONNX ---- */

static void add_values(lk_text *out, const char *what, const lk_onnx_value *values, size_t count) {
    for (size_t i = 0; i < count; i++) {
        lk_text_addf(out, "%s: %.100s [", what, values[i].name);
        for (int d = 0; d < values[i].rank; d++) {
            lk_text_add(out, d ? "," : "");
            if (values[i].dims[d] < 0)
                lk_text_add(out, "N");
            else
                lk_text_addf(out, "%lld", (long long)values[i].dims[d]);
        }
        lk_text_add(out, "]\n");
    }
}

/* The file's operators with how often each occurs, and which of them are not known. */
static void add_operators(lk_text *out, const lk_onnx_model *model) {
    const char *limits, *known;
    bool all = true;
    for (int pass = 0; pass < 2; pass++) {
        lk_text_add(out, pass == 0 ? "operators:" : all ? "" : "not supported:");
        for (size_t n = 0; n < model->node_count; n++) {
            const char *op = model->nodes[n].op;
            size_t count = 0, first = n, i = 0;
            for (size_t k = model->node_count; k-- > 0;)
                if (strcmp(model->nodes[k].op, op) == 0) count++, first = k;
            if (first != n) continue;
            while ((known = lk_onnx_operator(i, &limits)) && strcmp(known, op) != 0)
                i++;
            if (!known) all = false;
            if (pass == 0 || !known) lk_text_addf(out, " %.60s %zu", op, count);
        }
        if (pass == 0 || !all) lk_text_add(out, "\n");
    }
    lk_text_add(out, "supported operators:");
    for (size_t i = 0; (known = lk_onnx_operator(i, &limits)) != NULL; i++)
        lk_text_addf(out, " %s", known);
    lk_text_add(out, "\n");
}

static likeness_status describe_onnx(lk_text *out, const char *path, lk_error *error) {
    lk_onnx_model model;
    LK_TRY(lk_onnx_read(&model, path, error));
    lk_text_addf(out, "%s: ONNX network, opset %lld, %zu nodes, %zu constants\n", path, (long long)model.opset,
                 model.node_count, model.initializer_count);
    add_values(out, "input", model.inputs, model.input_count);
    add_values(out, "output", model.outputs, model.output_count);
    for (size_t i = 0; i < model.metadata_count && i < 24; i++)
        add_entry(out, model.metadata_keys[i], model.metadata_values[i]);
    add_operators(out, &model);
    lk_onnx_free(&model);
    return LIKENESS_OK;
}

/* ---- telling them apart ---- */

typedef enum start { IS_TENSORS, IS_ONNX, IS_NEITHER } start;

/* By its first bytes: a header in braces after eight bytes of length, or field 1 (ir_version, a small number) of a
 * protocol buffer. */
static likeness_status look_at_start(const char *path, start *is, lk_error *error) {
    lk_mapping mapping;
    LK_TRY(lk_file_map(path, &mapping, error));
    const uint8_t *b = mapping.data;
    *is = IS_NEITHER;
    if (mapping.size > 8 && b[8] == '{')
        *is = IS_TENSORS;
    else if (mapping.size > 8 && b[0] == 0x08 && b[1] < 0x80)
        *is = IS_ONNX;
    lk_file_unmap(&mapping);
    return LIKENESS_OK;
}

static likeness_status describe_file(lk_text *out, const char *path, lk_error *error) {
    start is;
    LK_TRY(lk_refuse_foreign(path, error));
    if (lk_ends_with(path, ".json")) return describe_tensors(out, path, error); /* an index of shards */
    LK_TRY(look_at_start(path, &is, error));
    if (is == IS_TENSORS) return describe_tensors(out, path, error);
    if (is == IS_ONNX) return describe_onnx(out, path, error);
    return lk_fail(error, LIKENESS_BAD_FILE,
                   "%s: neither a picture (PNG, JPEG), a safetensors file nor an ONNX network", path);
}

likeness_status lk_describe(lk_text *out, const char *path, lk_error *error) {
    likeness_status status =
        lk_directory_exists(path) ? describe_folder(out, path, error) : describe_file(out, path, error);
    if (status == LIKENESS_OK && out->failed)
        status = lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to describe '%s'", path);
    return status;
}
