/* models/lora_keys.c - the dialects in which LoRA files name modules, and PEFT's configs. See lora.h. */
#include "models/lora.h"

#include "base/file.h"
#include "base/memory.h"
#include "io/json.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- keys ---- */

typedef struct ending {
    const char *text;
    lk_lora_role role;
} ending;

static const ending endings[] = {
    {".lora_down.weight", LK_LORA_DOWN},
    {".lora_up.weight", LK_LORA_UP},
    {".lora_mid.weight", LK_LORA_MID},
    {".alpha", LK_LORA_ALPHA},
    {".lora_A.weight", LK_LORA_DOWN},
    {".lora_B.weight", LK_LORA_UP},
    {".lora_A.default.weight", LK_LORA_DOWN},
    {".lora_B.default.weight", LK_LORA_UP},
    {".lora.down.weight", LK_LORA_DOWN},
    {".lora.up.weight", LK_LORA_UP},
    {".lora_linear_layer.down.weight", LK_LORA_DOWN},
    {".lora_linear_layer.up.weight", LK_LORA_UP},
    {"_lora.down.weight", LK_LORA_DOWN},
    {"_lora.up.weight", LK_LORA_UP},
    {".hada_w1_a", LK_LORA_OTHER_KIND},
    {".hada_w1_b", LK_LORA_OTHER_KIND},
    {".hada_w2_a", LK_LORA_OTHER_KIND},
    {".hada_w2_b", LK_LORA_OTHER_KIND},
    {".hada_t1", LK_LORA_OTHER_KIND},
    {".hada_t2", LK_LORA_OTHER_KIND},
    {".lokr_w1", LK_LORA_OTHER_KIND},
    {".lokr_w1_a", LK_LORA_OTHER_KIND},
    {".lokr_w1_b", LK_LORA_OTHER_KIND},
    {".lokr_w2", LK_LORA_OTHER_KIND},
    {".lokr_w2_a", LK_LORA_OTHER_KIND},
    {".lokr_w2_b", LK_LORA_OTHER_KIND},
    {".lokr_t2", LK_LORA_OTHER_KIND},
    {".dora_scale", LK_LORA_OTHER_KIND},
    {".lora_magnitude_vector", LK_LORA_OTHER_KIND},
    {".lora_magnitude_vector.weight", LK_LORA_OTHER_KIND},
    {".oft_blocks", LK_LORA_OTHER_KIND},
    {".diff", LK_LORA_OTHER_KIND},
    {".diff_b", LK_LORA_OTHER_KIND},
    {".lora_B.bias", LK_LORA_OTHER_KIND},
    {".on_input", LK_LORA_OTHER_KIND},
};

/* The first one that fits counts; what has none of them names a module of the U-Net. */
static const char *const beginnings[][2] = {
    {"lora_unet_", "unet_"},
    {"lora_te_text_model_", "text_encoder_"},
    {"lora_te1_text_model_", "text_encoder_"},
    {"unet.base_model.model.", "unet_"},
    {"unet.", "unet_"},
    {"text_encoder.base_model.model.text_model.", "text_encoder_"},
    {"text_encoder.text_model.", "text_encoder_"},
    {"text_encoder.", "text_encoder_"},
    {"base_model.model.text_model.", "text_encoder_"},
    {"base_model.model.encoder.layers.", "text_encoder_encoder_layers_"},
    {"base_model.model.unet.", "unet_"},
    {"base_model.model.", "unet_"},
    {"text_model.", "text_encoder_"},
    {"encoder.layers.", "text_encoder_encoder_layers_"},
};

static void replace_ending(char *text, const char *from, const char *to) {
    size_t length = strlen(text), end = strlen(from);
    if (length >= end && strcmp(text + length - end, from) == 0)
        snprintf(text + length - end, LK_LORA_NAME - (length - end), "%s", to);
}

/* Takes the first occurrence of a word out. */
static void take_out(char *text, const char *word) {
    char *at = strstr(text, word);
    if (at) memmove(at, at + strlen(word), strlen(at + strlen(word)) + 1);
}

lk_lora_role lk_lora_key(const char *key, char module[LK_LORA_NAME]) {
    const ending *found = NULL;
    for (size_t i = 0; i < sizeof endings / sizeof *endings && !found; i++)
        if (lk_ends_with(key, endings[i].text)) found = &endings[i];
    if (!found) return LK_LORA_NO_KEY;
    size_t stem = strlen(key) - strlen(found->text);
    const char *to = "unet_";
    for (size_t i = 0; i < sizeof beginnings / sizeof *beginnings; i++) {
        size_t length = strlen(beginnings[i][0]);
        if (length > stem || strncmp(key, beginnings[i][0], length) != 0) continue;
        to = beginnings[i][1];
        key += length;
        stem -= length;
        break;
    }
    int length = snprintf(module, LK_LORA_NAME, "%s%.*s", to, (int)(stem < LK_LORA_NAME ? stem : LK_LORA_NAME), key);
    if (length < 0 || length >= LK_LORA_NAME - 8) return LK_LORA_NO_KEY;
    take_out(module, ".processor");
    for (char *c = module; *c; c++)
        if (*c == '.') *c = '_';
    if (strncmp(module, "text_encoder_", 13) == 0) { /* old diffusers called a text encoder's layers as the U-Net's */
        replace_ending(module, "_to_q", "_q_proj");
        replace_ending(module, "_to_k", "_k_proj");
        replace_ending(module, "_to_v", "_v_proj");
        replace_ending(module, "_to_out", "_out_proj");
    } else {
        replace_ending(module, "_to_out", "_to_out_0");
    }
    return found->role;
}

/* ---- alphas of PEFT ---- */

static likeness_status take_document(lk_lora_alphas *alphas, lk_json *json, likeness_status status, lk_error *error) {
    if (status != LIKENESS_OK) return status;
    alphas->json = lk_alloc(1, sizeof *alphas->json);
    if (!alphas->json) {
        lk_json_free(json);
        return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to read a LoRA");
    }
    *alphas->json = *json;
    return LIKENESS_OK;
}

/* Only what would change the result is looked at. */
static likeness_status check_adapter(const lk_lora_alphas *alphas, lk_error *error) {
    static const char *const off[] = {"use_dora", "fan_in_fan_out", "lora_bias"};
    LK_TRY(lk_json_expect_text(alphas->json, NULL, "peft_type", "LORA", error));
    for (size_t i = 0; i < sizeof off / sizeof *off; i++)
        LK_TRY(lk_json_expect_bool(alphas->json, NULL, off[i], false, error));
    return LIKENESS_OK;
}

likeness_status lk_lora_alphas_open(lk_lora_alphas *alphas, const lk_safetensors *file, const char *path,
                                    lk_error *error) {
    *alphas = (lk_lora_alphas){0};
    const char *metadata = lk_safetensors_metadata(file, "lora_adapter_metadata");
    lk_json json;
    if (metadata) {
        likeness_status status = lk_json_parse(&json, path, metadata, strlen(metadata), error);
        return take_document(alphas, &json, status, error);
    }
    if (!lk_safetensors_match(file, "base_model.model.*")) return LIKENESS_OK;
    char *folder = lk_path_folder(path), *config = folder ? lk_path_join(folder, "adapter_config.json") : NULL;
    likeness_status status = config ? LIKENESS_OK : lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to read a LoRA");
    if (status == LIKENESS_OK && !lk_file_exists(config))
        status = lk_fail(error, LIKENESS_IO,
                         "%s: an adapter of PEFT, whose strength adapter_config.json says; it is "
                         "missing in the same folder",
                         path);
    if (status == LIKENESS_OK) {
        status = lk_json_read(&json, config, (size_t)1 << 22, error);
        status = take_document(alphas, &json, status, error);
    }
    lk_free(folder);
    lk_free(config);
    if (status == LIKENESS_OK) {
        alphas->path = path;
        status = check_adapter(alphas, error);
    }
    if (status != LIKENESS_OK) lk_lora_alphas_close(alphas);
    return status;
}

void lk_lora_alphas_close(lk_lora_alphas *alphas) {
    if (alphas->json) lk_json_free(alphas->json);
    lk_free(alphas->json);
    *alphas = (lk_lora_alphas){0};
}

/* PEFT's pattern (a regular expression for the end of a module's path; in practice a path) fits the module. */
static likeness_status pattern_fits(const lk_json *json, const char *pattern, const char *module, bool *fits,
                                    lk_error *error) {
    char plain[LK_LORA_NAME];
    size_t length = 0, whole = strlen(module);
    for (const char *c = pattern + (pattern[0] == '^'); *c && length + 1 < sizeof plain; c++) {
        if (*c == '\\' && c[1] == '.') continue;
        if (*c == '$' && c[1] == 0) break;
        if (strchr("*+?()[]{}|\\^$", *c))
            return lk_fail(error, LIKENESS_UNSUPPORTED, "%s: the pattern '%.200s' is more than a module's path",
                           json->name, pattern);
        plain[length++] = *c == '.' ? '_' : *c;
    }
    plain[length] = 0;
    *fits = length < whole && module[whole - length - 1] == '_' && strcmp(module + whole - length, plain) == 0;
    return LIKENESS_OK;
}

likeness_status lk_lora_alphas_scale(const lk_lora_alphas *alphas, const char *module, int64_t rank, double *scale,
                                     lk_error *error) {
    *scale = 1;
    lk_json *json = alphas->json;
    if (!json) return LIKENESS_OK;
    /* Metadata names both components' keys in one object: "unet.lora_alpha". */
    const char *before = alphas->path ? "" : strncmp(module, "unet_", 5) == 0 ? "unet." : "text_encoder.";
    char key[64];
    double alpha = (double)rank;
    bool root = false;
    snprintf(key, sizeof key, "%slora_alpha", before);
    LK_TRY(lk_json_double_or(json, NULL, key, alpha, &alpha, error));
    snprintf(key, sizeof key, "%suse_rslora", before);
    LK_TRY(lk_json_bool_or(json, NULL, key, false, &root, error));
    snprintf(key, sizeof key, "%suse_dora", before);
    LK_TRY(lk_json_expect_bool(json, NULL, key, false, error));
    snprintf(key, sizeof key, "%salpha_pattern", before);
    lk_json_value *patterns = lk_json_find(json, NULL, key);
    for (const cJSON *node = patterns && lk_json_is_object(patterns) ? patterns->child : NULL; node;
         node = node->next) {
        bool fits = false;
        LK_TRY(pattern_fits(json, node->string, module, &fits, error));
        if (!fits) continue;
        if (!cJSON_IsNumber(node))
            return lk_fail(error, LIKENESS_BAD_FILE, "%s: '%s.%.200s' is no number", json->name, key, node->string);
        alpha = node->valuedouble;
        break;
    }
    *scale = alpha / (root ? sqrt((double)rank) : (double)rank);
    return isfinite(*scale) ? LIKENESS_OK : lk_fail(error, LIKENESS_BAD_FILE, "%s: alpha is no number", json->name);
}
