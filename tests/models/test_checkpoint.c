/* tests/models/test_checkpoint.c - single-file checkpoints: complete key lists of Stable Diffusion 1.5 and 2.1 (made by
 * the original code, named by diffusers' converters: tests/reference/checkpoint_keys.py) against our name maps and
 * inferred configs; whole files at a tenth of the width; refusals. */
#include "models/model_test.h"

#include "base/file.h"
#include "base/half.h"
#include "graph/internal.h"
#include "models/checkpoint.h"
#include "models/ldm_names.h"
#include "models/model.h"

#include <unistd.h>
#include <zlib.h>

enum { MOST_ROWS = 2048, WORD = 192 };

typedef struct key_row {
    char original[WORD], name[WORD]; /* name: "unet/...", "-" for none */
    int rank, name_rank;
    int64_t shape[4], name_shape[4];
} key_row;

typedef struct key_list {
    int count;
    key_row rows[MOST_ROWS];
} key_list;

static int read_shape(const char *text, int64_t shape[4]) {
    int rank = 0;
    for (char *end; *text && *text != '\n' && *text != '\t'; text = end + (*end == ','))
        shape[rank++] = strtoll(text, &end, 10);
    return rank;
}

static key_list *read_list(const char *name) {
    char path[512], line[1024];
    snprintf(path, sizeof path, "%s/tests/data/checkpoints/%s.txt.gz", LIKENESS_SOURCE_DIR, name);
    gzFile file = gzopen(path, "rb");
    assert_non_null(file);
    key_list *list = calloc(1, sizeof *list);
    while (gzgets(file, line, sizeof line)) {
        key_row *row = &list->rows[list->count++];
        assert_true(list->count < MOST_ROWS);
        char *tabs[3], *at = line;
        for (int i = 0; i < 3; i++, at = tabs[i - 1] + 1) {
            tabs[i] = strchr(at, '\t');
            assert_non_null(tabs[i]);
        }
        snprintf(row->original, WORD, "%.*s", (int)(tabs[0] - line), line);
        snprintf(row->name, WORD, "%.*s", (int)(tabs[2] - tabs[1] - 1), tabs[1] + 1);
        row->rank = read_shape(tabs[0] + 1, row->shape);
        row->name_rank = read_shape(tabs[2] + 1, row->name_shape);
    }
    gzclose(file);
    return list;
}

/* Makes a file in memory of the rows (a key that several rows share once) without data: no test here reads any. */
static void add_key(lk_safetensors *file, const char *name, int rank, const int64_t *shape) {
    static const uint8_t nowhere;
    lk_error error = LK_ERROR_INIT;
    lk_safetensor tensor = {.name = name, .dtype = LK_SAFETENSOR_F16, .rank = rank, .elements = 1, .data = &nowhere};
    for (int i = 0; i < rank; i++)
        tensor.elements *= (size_t)shape[i];
    assert_ok(lk_safetensors_view_add(file, &tensor, name, 0, rank, shape, &error), &error);
    file->tensors[file->count - 1].origin = NULL;
}

static void file_of(lk_safetensors *file, const key_list *list, bool with_averages) {
    lk_error error = LK_ERROR_INIT;
    assert_ok(lk_safetensors_view_begin(file, "keys", 2 * MOST_ROWS, &error), &error);
    for (int i = 0; i < list->count; i++) {
        const key_row *row = &list->rows[i];
        char flat[WORD + 16] = "model_ema.";
        if (i && strcmp(row->original, row[-1].original) == 0) continue;
        add_key(file, row->original, row->rank, row->shape);
        if (!with_averages || strncmp(row->original, "model.", 6) != 0) continue;
        size_t at = strlen(flat);
        for (const char *c = row->original + 6; *c; c++)
            if (*c != '.') flat[at++] = *c;
        add_key(file, flat, row->rank, row->shape);
    }
    assert_ok(lk_safetensors_view_finish(file, &error), &error);
}

static const lk_safetensors *component(const lk_checkpoint *c, const char *name, const char **key) {
    const lk_safetensors *view = NULL;
    if (strncmp(name, "unet/", 5) == 0) *key = name + 5, view = &c->unet;
    if (strncmp(name, "vae/", 4) == 0) *key = name + 4, view = &c->vae;
    if (strncmp(name, "text_encoder/text_model.", 24) == 0) *key = name + 24, view = &c->text;
    return view;
}

/* Every row's tensor is where diffusers puts it, cut and shaped as there; the views hold nothing else. */
static void check_map(const char *name, bool averaged) {
    lk_error error = LK_ERROR_INIT;
    lk_safetensors file;
    lk_checkpoint c;
    key_list *list = read_list(name);
    file_of(&file, list, averaged);
    assert_ok(lk_checkpoint_from(&c, &file, averaged, &error), &error);
    size_t placed = 0;
    int part = 0;
    for (int i = 0; i < list->count; i++) {
        const key_row *row = &list->rows[i];
        const char *key = NULL;
        const lk_safetensors *view = component(&c, row->name, &key);
        part = i && strcmp(row->original, row[-1].original) == 0 ? part + 1 : 0;
        if (strcmp(row->name, "-") == 0 || strstr(row->name, "position_ids")) continue;
        assert_non_null(view);
        const lk_safetensor *tensor = lk_safetensors_find(view, key);
        if (!tensor) fail_msg("%s: %s has no place as %s", name, row->original, row->name);
        placed++;
        assert_int_equal(tensor->rank, row->name_rank);
        assert_memory_equal(tensor->shape, row->name_shape, (size_t)tensor->rank * sizeof *tensor->shape);
        const lk_safetensor *source = lk_safetensors_find(&c.file, tensor->origin);
        assert_non_null(source);
        assert_true(tensor->data == source->data + (size_t)part * tensor->bytes);
        bool is_average = strncmp(tensor->origin, "model_ema.", 10) == 0;
        assert_true(is_average == (averaged && view == &c.unet));
        if (!is_average) assert_string_equal(tensor->origin, row->original);
    }
    assert_int_equal(placed, c.unet.count + c.vae.count + c.text.count);
    assert_string_equal(lk_text_get(&c.notes), "");
    printf("%s: %zu tensors under diffusers' names\n", name, placed);
    lk_checkpoint_close(&c);
    free(list);
}

static void test_names(void **state) {
    (void)state;
    int64_t live = lk_memory_live();
    check_map("sd1", false);
    check_map("sd1", true);
    check_map("sd2", false);
    assert_int_equal(lk_memory_live(), live);
}

/* What the two models' config.json files say. */
static void test_configs(void **state) {
    (void)state;
    for (int kind = 1; kind <= 2; kind++) {
        lk_error error = LK_ERROR_INIT;
        lk_safetensors file;
        lk_checkpoint c;
        key_list *list = read_list(kind == 1 ? "sd1" : "sd2");
        file_of(&file, list, false);
        assert_ok(lk_checkpoint_from(&c, &file, false, &error), &error);
        lk_unet_config unet = {.in_channels = 4,
                               .out_channels = 4,
                               .sample_size = kind == 1 ? 64 : 96,
                               .levels = 4,
                               .channels = {320, 640, 1280, 1280},
                               .layers = {2, 2, 2, 2},
                               .heads = {8, 8, 8, 8},
                               .transformer_layers = {1, 1, 1, 1},
                               .context = {768, 768, 768, 768},
                               .down_cross = {true, true, true, false},
                               .up_cross = {false, true, true, true},
                               .mid = LK_UNET_MID_CROSS,
                               .groups = 32,
                               .epsilon = 1e-5,
                               .downsample_padding = 1,
                               .conv_in_kernel = 3,
                               .conv_out_kernel = 3,
                               .time_width = 1280,
                               .linear_projection = kind == 2,
                               .flip_sin_to_cos = true};
        if (kind == 2)
            for (int i = 0; i < 4; i++) {
                unet.heads[i] = (int32_t[]){5, 10, 20, 20}[i];
                unet.context[i] = 1024;
            }
        lk_vae_config vae = {.in_channels = 3,
                             .out_channels = 3,
                             .latent_channels = 4,
                             .levels = 4,
                             .channels = {128, 256, 512, 512},
                             .layers = 2,
                             .groups = 32,
                             .mid_attention = true,
                             .quant_conv = true,
                             .post_quant_conv = true,
                             .scaling_factor = 0.18215};
        lk_clip_text_config text = {.vocabulary = 49408,
                                    .width = 768,
                                    .intermediate = 3072,
                                    .layers = 12,
                                    .heads = 12,
                                    .positions = 77,
                                    .eos = 49407,
                                    .epsilon = 1e-5};
        if (kind == 2)
            text = (lk_clip_text_config){.vocabulary = 49408,
                                         .width = 1024,
                                         .intermediate = 4096,
                                         .layers = 23,
                                         .heads = 16,
                                         .positions = 77,
                                         .eos = 49407,
                                         .exact_gelu = true,
                                         .epsilon = 1e-5};
        assert_memory_equal(&c.unet_config, &unet, sizeof unet);
        assert_memory_equal(&c.vae_config, &vae, sizeof vae);
        assert_memory_equal(&c.text_config, &text, sizeof text);
        assert_int_equal(c.predicts_v, kind == 2);
        assert_int_equal(c.prediction_known, kind == 1);
        lk_checkpoint_close(&c);
        free(list);
    }
}

static char folder[128];

static const char *inside(const char *name) {
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

/* ---- the published configs of diffusers' folders say the same as what is inferred ---- */

static void put_config(const char *text) {
    lk_error error = LK_ERROR_INIT;
    assert_ok(lk_file_write(inside("config.json"), text, strlen(text), &error), &error);
}

#define BLOCKS                                                                                                         \
    "\"down_block_types\": [\"CrossAttnDownBlock2D\", \"CrossAttnDownBlock2D\", \"CrossAttnDownBlock2D\", "            \
    "\"DownBlock2D\"], \"up_block_types\": [\"UpBlock2D\", \"CrossAttnUpBlock2D\", \"CrossAttnUpBlock2D\", "           \
    "\"CrossAttnUpBlock2D\"], \"block_out_channels\": [320, 640, 1280, 1280], "

static const char *const published[2][3] = {
    {"{\"_class_name\": \"UNet2DConditionModel\", \"_diffusers_version\": \"0.6.0\", \"act_fn\": \"silu\", "
     "\"attention_head_dim\": 8, " BLOCKS "\"center_input_sample\": false, \"cross_attention_dim\": 768, "
     "\"downsample_padding\": 1, \"flip_sin_to_cos\": true, \"freq_shift\": 0, \"in_channels\": 4, "
     "\"layers_per_block\": 2, \"mid_block_scale_factor\": 1, \"norm_eps\": 1e-05, \"norm_num_groups\": 32, "
     "\"out_channels\": 4, \"sample_size\": 64}",
     "{\"_class_name\": \"AutoencoderKL\", \"_diffusers_version\": \"0.6.0\", \"act_fn\": \"silu\", "
     "\"block_out_channels\": [128, 256, 512, 512], \"down_block_types\": [\"DownEncoderBlock2D\", "
     "\"DownEncoderBlock2D\", \"DownEncoderBlock2D\", \"DownEncoderBlock2D\"], \"in_channels\": 3, "
     "\"latent_channels\": 4, \"layers_per_block\": 2, \"norm_num_groups\": 32, \"out_channels\": 3, "
     "\"sample_size\": 512, \"up_block_types\": [\"UpDecoderBlock2D\", \"UpDecoderBlock2D\", "
     "\"UpDecoderBlock2D\", \"UpDecoderBlock2D\"]}",
     "{\"_name_or_path\": \"x\", \"architectures\": [\"CLIPTextModel\"], \"attention_dropout\": 0.0, "
     "\"bos_token_id\": 0, \"dropout\": 0.0, \"eos_token_id\": 2, \"hidden_act\": \"quick_gelu\", "
     "\"hidden_size\": 768, \"initializer_factor\": 1.0, \"initializer_range\": 0.02, "
     "\"intermediate_size\": 3072, \"layer_norm_eps\": 1e-05, \"max_position_embeddings\": 77, "
     "\"model_type\": \"clip_text_model\", \"num_attention_heads\": 12, \"num_hidden_layers\": 12, "
     "\"pad_token_id\": 1, \"projection_dim\": 768, \"torch_dtype\": \"float32\", "
     "\"transformers_version\": \"4.22.0.dev0\", \"vocab_size\": 49408}"},
    {"{\"_class_name\": \"UNet2DConditionModel\", \"_diffusers_version\": \"0.10.0.dev0\", \"act_fn\": \"silu\", "
     "\"attention_head_dim\": [5, 10, 20, 20], " BLOCKS "\"center_input_sample\": false, "
     "\"cross_attention_dim\": 1024, \"downsample_padding\": 1, \"dual_cross_attention\": false, "
     "\"flip_sin_to_cos\": true, \"freq_shift\": 0, \"in_channels\": 4, \"layers_per_block\": 2, "
     "\"mid_block_scale_factor\": 1, \"norm_eps\": 1e-05, \"norm_num_groups\": 32, \"num_class_embeds\": null, "
     "\"only_cross_attention\": false, \"out_channels\": 4, \"sample_size\": 96, \"upcast_attention\": true, "
     "\"use_linear_projection\": true}",
     NULL,
     "{\"_name_or_path\": \"x\", \"architectures\": [\"CLIPTextModel\"], \"attention_dropout\": 0.0, "
     "\"bos_token_id\": 0, \"dropout\": 0.0, \"eos_token_id\": 2, \"hidden_act\": \"gelu\", "
     "\"hidden_size\": 1024, \"initializer_factor\": 1.0, \"initializer_range\": 0.02, "
     "\"intermediate_size\": 4096, \"layer_norm_eps\": 1e-05, \"max_position_embeddings\": 77, "
     "\"model_type\": \"clip_text_model\", \"num_attention_heads\": 16, \"num_hidden_layers\": 23, "
     "\"pad_token_id\": 1, \"projection_dim\": 512, \"torch_dtype\": \"float32\", "
     "\"transformers_version\": \"4.25.0.dev0\", \"vocab_size\": 49408}"}};

static void test_published_configs(void **state) {
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        lk_error error = LK_ERROR_INIT;
        lk_safetensors file;
        lk_checkpoint c;
        lk_unet_config unet;
        lk_vae_config vae;
        lk_clip_text_config text;
        key_list *list = read_list(kind == 0 ? "sd1" : "sd2");
        file_of(&file, list, false);
        assert_ok(lk_checkpoint_from(&c, &file, false, &error), &error);
        put_config(published[kind][0]);
        assert_ok(lk_unet_read_config(&unet, folder, &error), &error);
        assert_memory_equal(&unet, &c.unet_config, sizeof unet);
        put_config(published[0][1]);
        assert_ok(lk_vae_read_config(&vae, folder, &error), &error);
        vae.sample_size = 0; /* a file does not say */
        assert_memory_equal(&vae, &c.vae_config, sizeof vae);
        put_config(published[kind][2]);
        assert_ok(lk_clip_text_read_config(&text, folder, &error), &error);
        text.eos = 49407; /* 2 stands for it in old configs */
        assert_memory_equal(&text, &c.text_config, sizeof text);
        lk_checkpoint_close(&c);
        free(list);
    }
    unlink(inside("config.json"));
}

/* ---- whole files at a tenth of the width ---- */

static int64_t smaller(const char *key, int64_t size) {
    if (strncmp(key, "model.", 6) == 0) return size == 768 || size == 1024 ? 64 : size % 320 == 0 ? size / 10 : size;
    if (strncmp(key, "first_stage_model.", 18) == 0) return size >= 128 ? size / 4 : size;
    if (size < 768 || size == 49408) return size;
    return strncmp(key, "cond_stage_model.model.", 23) == 0 ? size / 16 : size / 12;
}

/* Values that differ from element to element, exact in every type. */
static float value_of(uint32_t tensor, size_t element) {
    uint32_t x = tensor * 2654435761u + (uint32_t)element * 40503u;
    x ^= x >> 15;
    x *= 2246822519u;
    return (float)((int)(x >> 25) - 64) / 64;
}

static void fill(lk_safetensor *tensor, uint32_t number, uint8_t *data) {
    for (size_t i = 0; i < tensor->elements; i++) {
        float value = value_of(number, i);
        uint16_t half = tensor->dtype == LK_SAFETENSOR_F16 ? lk_f32_to_f16(value) : lk_f32_to_bf16(value);
        if (tensor->dtype == LK_SAFETENSOR_F32)
            memcpy(data + 4 * i, &value, 4);
        else
            memcpy(data + 2 * i, &half, 2);
    }
    tensor->data = data;
}

/* Writes the list as a file, its three types of floats taken in turn. */
static void write_small(const key_list *list, const char *path) {
    static const lk_safetensor_dtype types[] = {LK_SAFETENSOR_F16, LK_SAFETENSOR_F32, LK_SAFETENSOR_BF16};
    lk_error error = LK_ERROR_INIT;
    lk_safetensor *tensors = calloc(MOST_ROWS, sizeof *tensors);
    size_t count = 0;
    for (int i = 0; i < list->count; i++) {
        const key_row *row = &list->rows[i];
        if (i && strcmp(row->original, row[-1].original) == 0) continue;
        lk_safetensor *t = &tensors[count++];
        *t = (lk_safetensor){.name = row->original, .dtype = types[i % 3], .rank = row->rank, .elements = 1};
        for (int d = 0; d < row->rank; d++)
            t->elements *= (size_t)(t->shape[d] = smaller(row->original, row->shape[d]));
        fill(t, (uint32_t)i, malloc(4 * t->elements));
    }
    static const char *const keys[] = {"modelspec.prediction_type"}, *const values[] = {"v"};
    assert_ok(lk_safetensors_write(path, tensors, count, keys, values, 1, &error), &error);
    for (size_t i = 0; i < count; i++)
        free((void *)tensors[i].data);
    free(tensors);
}

/* The value of every weight of a set is that of the tensor which diffusers would load there. */
static size_t compare_set(const lk_weights *set, const char *label, const key_list *list, const char *before) {
    lk_error error = LK_ERROR_INIT;
    size_t compared = 0;
    int part = 0;
    for (int i = 0; i < list->count; i++) {
        const key_row *row = &list->rows[i];
        char name[WORD + 64];
        part = i && strcmp(row->original, row[-1].original) == 0 ? part + 1 : 0;
        if (strncmp(row->name, before, strlen(before)) != 0) continue;
        snprintf(name, sizeof name, "%s.%s", label, row->name + strlen(before));
        int32_t index = lk_weights_find(set, name);
        if (index < 0) continue; /* of the other half of the autoencoder, or summed with another one */
        size_t elements = (size_t)lk_shape_elements(&set->items[index].shape);
        float *values = malloc(elements * sizeof *values);
        assert_ok(lk_weight_values(set, index, values, &error), &error);
        for (size_t e = 0; e < elements; e++)
            if (values[e] != value_of((uint32_t)(i - part), e + (size_t)part * elements))
                fail_msg("%s: element %zu differs", name, e);
        free(values);
        compared++;
    }
    return compared;
}

static void test_whole(void **state) {
    (void)state;
    for (int kind = 1; kind <= 2; kind++) {
        lk_error error = LK_ERROR_INIT;
        lk_model model;
        key_list *list = read_list(kind == 1 ? "sd1" : "sd2");
        const char *path = inside("small model.safetensors");
        write_small(list, path);
        int64_t live = lk_memory_live();
        assert_ok(lk_model_open_with(&model, path, &(lk_model_options){.precise = true}, &error), &error);
        assert_string_equal(model.name, "small model");
        assert_int_equal(model.size, kind == 1 ? 512 : 768);
        assert_int_equal(model.tokenizer.count, 49408);
        assert_int_equal(model.tokenizer.pad.id, kind == 1 ? 49407 : 0);
        assert_int_equal(model.scheduler.prediction, LK_PREDICT_V); /* the metadata says so */
        /* 22 resnets' time projections carry their convolution's bias: two rows, one weight. */
        assert_int_equal(compare_set(model.unet_weights, "unet", list, "unet/"), 686 - 2 * 22);
        assert_int_equal(compare_set(model.picture_weights, "vae", list, "vae/") +
                             compare_set(model.encode_weights, "vae", list, "vae/"),
                         248);
        assert_int_equal(compare_set(model.text_weights, "text_encoder", list, "text_encoder/text_model."),
                         kind == 1 ? 196 : 23 * 16 + 4);
        lk_model_close(&model);
        assert_int_equal(lk_memory_live(), live);
        assert_int_equal(lk_model_open_with(&model, path, &(lk_model_options){.averaged = true}, &error),
                         LIKENESS_USAGE);
        assert_non_null(strstr(error.message, "no averaged weights"));
        unlink(path);
        free(list);
    }
}

/* ---- refusals ---- */

/* The SD 1.5 list with one key added, renamed or left out. */
static likeness_status altered(const char *leave_out, const char *add, int rank, const int64_t *shape, lk_error *error,
                               char *notes) {
    lk_safetensors file;
    lk_checkpoint c;
    key_list *list = read_list("sd1");
    *error = (lk_error)LK_ERROR_INIT;
    assert_ok(lk_safetensors_view_begin(&file, "keys", MOST_ROWS, error), error);
    for (int i = 0; i < list->count; i++)
        if (!leave_out || strncmp(list->rows[i].original, leave_out, strlen(leave_out)) != 0)
            add_key(&file, list->rows[i].original, list->rows[i].rank, list->rows[i].shape);
    if (add) add_key(&file, add, rank, shape);
    assert_ok(lk_safetensors_view_finish(&file, error), error);
    likeness_status status = lk_checkpoint_from(&c, &file, false, error);
    notes[0] = 0;
    if (status == LIKENESS_OK) {
        snprintf(notes, 512, "%s", lk_text_get(&c.notes));
        lk_checkpoint_close(&c);
    }
    free(list);
    return status;
}

static void refuse(const char *leave_out, const char *add, likeness_status wanted, const char *word,
                   const char *other) {
    static const int64_t shape[2] = {8, 8};
    lk_error error;
    char notes[512];
    int64_t live = lk_memory_live();
    likeness_status status = altered(leave_out, add, 2, shape, &error, notes);
    if (status != wanted || !strstr(error.message, word) || !strstr(error.message, other))
        fail_msg("without %s, with %s: status %d, '%s'", leave_out ? leave_out : "nothing", add ? add : "nothing",
                 (int)status, error.message);
    assert_int_equal(lk_memory_live(), live);
}

static void test_refusals(void **state) {
    (void)state;
    const likeness_status bad = LIKENESS_BAD_FILE, no = LIKENESS_UNSUPPORTED;
    refuse(NULL, "model.diffusion_model.input_blocks.1.0.new.weight", bad, "input_blocks.1.0.new.weight [8,8]",
           "U-Net");
    refuse(NULL, "model.diffusion_model.input_blocks.99.0.in_layers.0.weight", bad, "input_blocks.99.0", "U-Net");
    refuse(NULL, "model.diffusion_model.time_embed.0.weight.more", bad, "time_embed.0.weight.more", "U-Net");
    refuse(NULL, "first_stage_model.decoder.up.9.block.0.norm1.weight", bad, "up.9", "autoencoder");
    refuse(NULL, "cond_stage_model.other.weight", bad, "cond_stage_model.other.weight", "checkpoint");
    refuse("first_stage_model.", NULL, no, "no autoencoder", "keys");
    refuse("cond_stage_model.", NULL, no, "no text encoder", "keys");
    refuse("model.diffusion_model.output_blocks.5.", NULL, bad, "output_blocks", "levels");
    refuse(NULL, "conditioner.embedders.1.model.ln_final.weight", no, "SDXL", "1.x or 2.x");
    refuse(NULL, "model.diffusion_model.joint_blocks.0.context_block.mlp.fc1.weight", no, "Stable Diffusion 3", "");
    refuse(NULL, "model.diffusion_model.double_blocks.0.img_attn.qkv.weight", no, "Flux", "");
    refuse(NULL, "control_model.input_blocks.0.0.weight", no, "ControlNet", "");
    lk_error error;
    char notes[512];
    assert_ok(altered(NULL, "somebody's.statistics", 1, (const int64_t[]){4}, &error, notes), &error);
    assert_non_null(strstr(notes, "1 tensors"));
    assert_non_null(strstr(notes, "somebody's.statistics"));
}

/* One telling key of each, as those who made the families named them. */
static void test_families(void **state) {
    (void)state;
    static const struct {
        const char *key, *family;
    } rows[] = {{"conditioner.embedders.1.model.transformer.resblocks.9.mlp.c_proj.bias", "SDXL"},
                {"conditioner.embedders.0.model.transformer.resblocks.9.mlp.c_proj.bias", "SDXL refiner"},
                {"model.diffusion_model.joint_blocks.0.context_block.adaLN_modulation.1.bias", "Stable Diffusion 3"},
                {"double_blocks.0.img_attn.norm.key_norm.scale", "Flux"},
                {"single_stream_modulation.lin.weight", "FLUX.2"},
                {"distilled_guidance_layer.in_proj.bias", "Chroma"},
                {"clip_txt_mapper.weight", "Stable Cascade"},
                {"double_layers.0.attn.w1q.weight", "AuraFlow"},
                {"model.diffusion_model.cap_embedder.0.weight", "Lumina or Z-Image"},
                {"patchify_proj.weight", "LTX"},
                {"model.diffusion_model.blocks.0.attn.qkv_x.weight", "Mochi"},
                {"txt_in.individual_token_refiner.blocks.0.adaLN_modulation.1.bias", "HunyuanVideo"},
                {"blocks.0.cross_attn.kv_linear.weight", "PixArt or Sana"},
                {"head.modulation", "Wan"},
                {"net.x_embedder.proj.1.weight", "Cosmos"},
                {"txt_in.text_norm.weight", "Qwen-Image"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        lk_error error = LK_ERROR_INIT;
        lk_safetensors file;
        assert_ok(lk_safetensors_view_begin(&file, "key", 1, &error), &error);
        add_key(&file, rows[i].key, 1, (const int64_t[]){4});
        lk_recognition is = lk_recognise(&file);
        if (strcmp(is.family_name, rows[i].family) != 0 || is.supported)
            fail_msg("%s: said to be of %s", rows[i].key, is.family_name);
        lk_safetensors_close(&file);
    }
}

/* Every allocation of opening the complete key list fails once. */
static void test_memory(void **state) {
    (void)state;
    key_list *list = read_list("sd2");
    int64_t live = lk_memory_live(), n = 0;
    for (;; n += 1 + n / 8) {
        lk_error error = LK_ERROR_INIT;
        lk_safetensors file;
        lk_checkpoint c;
        file_of(&file, list, false);
        lk_memory_fail_after(n);
        likeness_status status = lk_checkpoint_from(&c, &file, false, &error);
        lk_memory_fail_after(-1);
        if (status == LIKENESS_OK) {
            lk_checkpoint_close(&c);
            break;
        }
        assert_int_equal(status, LIKENESS_OUT_OF_MEMORY);
        assert_int_equal(lk_memory_live(), live);
    }
    assert_true(n > 10);
    assert_int_equal(lk_memory_live(), live);
    free(list);
}

static void test_foreign_files(void **state) {
    (void)state;
    static const struct {
        const char *bytes, *word;
    } rows[] = {{"PK\3\4 archive/data.pkl", "convert_checkpoint.py"},
                {"\x80\2}q\1(X\5", "pickle"},
                {"GGUF\3 and so on", "GGUF"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        lk_error error = LK_ERROR_INIT;
        lk_model model;
        const char *path = inside("file.safetensors"); /* its name says otherwise */
        assert_ok(lk_file_write(path, rows[i].bytes, strlen(rows[i].bytes), &error), &error);
        assert_int_equal(lk_model_open(&model, path, false, &error), LIKENESS_UNSUPPORTED);
        assert_non_null(strstr(error.message, rows[i].word));
        unlink(path);
    }
}

static int make_folder(void **state) {
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/likeness-checkpoint-XXXXXX", base ? base : "/tmp");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    return rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),    cmocka_unit_test(test_configs),  cmocka_unit_test(test_published_configs),
        cmocka_unit_test(test_whole),    cmocka_unit_test(test_refusals), cmocka_unit_test(test_foreign_files),
        cmocka_unit_test(test_families), cmocka_unit_test(test_memory)};
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
