/* tests/models/test_lora.c - LoRA files of every dialect, merged into the tiny model, against what diffusers and PEFT
 * make of them (tests/reference/loras.py); several together; what is refused and what is reported. */
#include "models/model_test.h"

#include "base/file.h"
#include "base/text.h"
#include "graph/internal.h"
#include "models/model.h"

#include <unistd.h>

#define TINY LIKENESS_SOURCE_DIR "/tests/data/models/tiny"
#define LORAS LIKENESS_SOURCE_DIR "/tests/data/loras/"

static lk_safetensors expected;

static double *input_of(const char *name) {
    const lk_safetensor *tensor = lk_safetensors_find(&expected, name);
    assert_non_null(tensor);
    return case_values(&expected, name, (int64_t)tensor->elements);
}

static void compare(lk_graph *graph, const double *const *inputs, lk_value value, const char *name, const char *part,
                    double tolerance) {
    lk_error error = LK_ERROR_INIT;
    char key[64];
    snprintf(key, sizeof key, "%s.%s", name, part);
    lk_shape shape = lk_graph_shape(graph, value);
    int64_t count = lk_shape_elements(&shape);
    double *truth = case_values(&expected, key, count);
    lk_graph_output(graph, value, part);
    lk_reference_values *run = lk_graph_run_reference(graph, inputs, &error);
    if (!run) fail_msg("%s: %s", key, error.message);
    double distance = case_distance(lk_reference_value(run, value), truth, count);
    if (!(distance <= tolerance)) fail_msg("%s: error %.3g, allowed %.3g", key, distance, tolerance);
    printf("%-16s error %.1e\n", key, distance);
    lk_reference_values_destroy(run);
    free(truth);
}

static void check_unet(const lk_model *model, const char *name, double tolerance) {
    lk_error error = LK_ERROR_INIT;
    double *sample = input_of("sample"), *context = input_of("context"), *steps = input_of("steps"), time[8];
    float features[8];
    assert_int_equal(model->unet.config.channels[0], 8);
    lk_unet_time_features(&model->unet.config, steps[0], features);
    for (int i = 0; i < 8; i++)
        time[i] = (double)features[i];
    lk_graph *graph = lk_graph_create(model->unet_weights, &error);
    lk_unet_inputs in = {lk_graph_input(graph, "sample", lk_shape4(1, 4, 8, 8), LK_F32),
                         lk_graph_input(graph, "time", lk_shape2(1, 8), LK_F32),
                         lk_graph_input(graph, "context", lk_shape3(1, 5, 16), LK_F32), LK_NO_VALUE};
    const double *const inputs[] = {sample, time, context};
    compare(graph, inputs, lk_unet_build(&model->unet, graph, &in, NULL), name, "unet", tolerance);
    lk_graph_destroy(graph);
    free(sample);
    free(context);
    free(steps);
}

static void check_text(const lk_model *model, const char *name, double tolerance) {
    lk_error error = LK_ERROR_INIT;
    double *ids = input_of("ids");
    lk_graph *graph = lk_graph_create(model->text_weights, &error);
    lk_value tokens = lk_graph_input(graph, "ids", lk_shape2(1, 5), LK_I32);
    const double *const inputs[] = {ids};
    lk_value hidden = lk_clip_text_build(&model->text, graph, lk_clip_text_embed(&model->text, graph, tokens), 0, NULL);
    compare(graph, inputs, hidden, name, "text", tolerance);
    lk_graph_destroy(graph);
    free(ids);
}

/* unet, text: modules that must have been merged. */
static void check(const char *name, const lk_lora_use *loras, int count, int unet, int text) {
    lk_error error = LK_ERROR_INIT;
    lk_model model;
    int64_t live = lk_memory_live();
    lk_model_options options = {.precise = true, .loras = loras, .lora_count = count};
    assert_ok(lk_model_open_with(&model, TINY, &options, &error), &error);
    assert_string_equal(lk_text_get(&model.notes), "");
    int found_unet = 0, found_text = 0;
    for (int i = 0; i < count; i++) {
        found_unet += model.loras[i].unet_modules;
        found_text += model.loras[i].text_modules;
        assert_int_equal(model.loras[i].unmatched, 0);
    }
    assert_int_equal(found_unet, unet);
    assert_int_equal(found_text, text);
    check_unet(&model, name, 2e-6);
    if (text || count == 0) check_text(&model, name, 2e-6);
    lk_model_close(&model);
    assert_int_equal(lk_memory_live(), live);
}

static void test_dialects(void **state) {
    (void)state;
    check("plain", NULL, 0, 0, 0);
    check("kohya", &(lk_lora_use){LORAS "kohya.safetensors", 1}, 1, 79, 12);
    check("diffusers", &(lk_lora_use){LORAS "diffusers.safetensors", 0.7}, 1, 32, 8);
    check("peft", &(lk_lora_use){LORAS "peft.safetensors", 1}, 1, 44, 4);
    check("adapter", &(lk_lora_use){LORAS "adapter", 1}, 1, 36, 0);
    const lk_lora_use two[2] = {{LORAS "kohya.safetensors", 0.5}, {LORAS "peft.safetensors", -0.8}};
    check("two", two, 2, 79 + 44, 16);
}

/* ---- made here ---- */

static char folder[128];

static const char *inside(const char *name) {
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

typedef struct made {
    const char *name;
    int rank;
    int64_t shape[4];
} made;

/* Writes f32 tensors, element i of each being (i % 7 - 3) / 8. */
static void write_file(const char *path, const made *list, size_t count) {
    lk_error error = LK_ERROR_INIT;
    lk_safetensor tensors[8];
    static float values[1 << 14];
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        values[i] = (float)((int)(i % 7) - 3) / 8;
    for (size_t i = 0; i < count; i++) {
        tensors[i] = (lk_safetensor){
            .name = list[i].name, .dtype = LK_SAFETENSOR_F32, .rank = list[i].rank, .data = (const uint8_t *)values};
        memcpy(tensors[i].shape, list[i].shape, sizeof list[i].shape);
    }
    assert_ok(lk_safetensors_write(path, tensors, count, NULL, NULL, 0, &error), &error);
}

static likeness_status open_with(const char *path, lk_model *model, lk_error *error) {
    lk_lora_use use = {path, 1};
    *error = (lk_error)LK_ERROR_INIT;
    return lk_model_open_with(model, TINY, &(lk_model_options){.precise = true, .loras = &use, .lora_count = 1}, error);
}

#define CONV "lora_unet_mid_block_resnets_0_conv1"

/* A convolution with a middle tensor, computed here by the definition. */
static void test_mid(void **state) {
    (void)state;
    static const made list[] = {{CONV ".lora_down.weight", 4, {2, 16, 1, 1}},
                                {CONV ".lora_mid.weight", 4, {3, 2, 3, 3}},
                                {CONV ".lora_up.weight", 4, {16, 3, 1, 1}}};
    lk_error error = LK_ERROR_INIT;
    lk_model plain, merged;
    float before[16 * 16 * 9], after[16 * 16 * 9];
    const char *path = inside("mid.safetensors");
    write_file(path, list, 3);
    assert_ok(lk_model_open(&plain, TINY, true, &error), &error);
    assert_ok(open_with(path, &merged, &error), &error);
    lk_weights *sets[2] = {plain.unet_weights, merged.unet_weights};
    for (int i = 0; i < 2; i++) {
        int32_t index = lk_weights_find(sets[i], "unet.mid_block.resnets.0.conv1.weight");
        assert_true(index >= 0);
        assert_ok(lk_weight_values(sets[i], index, i ? after : before, &error), &error);
    }
    for (int o = 0; o < 16; o++)
        for (int i = 0; i < 16; i++)
            for (int k = 0; k < 9; k++) {
                double sum = 0;
                for (int a = 0; a < 3; a++)
                    for (int b = 0; b < 2; b++)
                        sum += ((o * 3 + a) % 7 - 3) / 8.0 * (((a * 2 + b) * 9 + k) % 7 - 3) / 8.0 *
                               ((b * 16 + i) % 7 - 3) / 8.0;
                int at = (o * 16 + i) * 9 + k;
                assert_true(fabs((double)after[at] - (double)before[at] - sum) < 1e-6);
            }
    lk_model_close(&plain);
    lk_model_close(&merged);
    unlink(path);
}

static void refuse(const made *list, size_t count, likeness_status wanted, const char *word, const char *other) {
    lk_error error;
    lk_model model;
    const char *path = inside("refused.safetensors");
    write_file(path, list, count);
    int64_t live = lk_memory_live();
    likeness_status status = open_with(path, &model, &error);
    if (status != wanted || !strstr(error.message, word) || !strstr(error.message, other))
        fail_msg("%s: status %d, '%s'", list[0].name, (int)status, error.message);
    assert_int_equal(lk_memory_live(), live);
    unlink(path);
}

#define TO_K "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k"

static void test_refusals(void **state) {
    (void)state;
    const likeness_status no = LIKENESS_UNSUPPORTED, bad = LIKENESS_BAD_FILE;
    refuse((made[]){{TO_K ".lora_down.weight", 2, {4, 2048}}, {TO_K ".lora_up.weight", 2, {16, 4}}}, 2, no, "SDXL",
           "refused.safetensors");
    refuse((made[]){{TO_K ".lora_down.weight", 2, {4, 768}}, {TO_K ".lora_up.weight", 2, {16, 4}}}, 2, no,
           "Stable Diffusion 1.x", "16 x 768");
    refuse((made[]){{"lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight", 2, {4, 16}},
                    {"lora_unet_double_blocks_0_img_attn_qkv.lora_up.weight", 2, {16, 4}}},
           2, no, "Flux", "");
    refuse((made[]){{"lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight", 2, {4, 16}},
                    {"lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_up.weight", 2, {16, 4}}},
           2, no, "SDXL", "");
    refuse((made[]){{TO_K ".hada_w1_a", 2, {16, 4}}, {TO_K ".hada_w1_b", 2, {4, 16}}}, 2, no, "LoHa", "attn2_to_k");
    refuse((made[]){{TO_K ".lora_down.weight", 2, {4, 16}},
                    {TO_K ".lora_up.weight", 2, {16, 4}},
                    {TO_K ".dora_scale", 2, {1, 16}}},
           3, no, "DoRA", "");
    refuse((made[]){{TO_K ".lora_down.weight", 2, {4, 16}}}, 1, bad, "only one half", TO_K + 5);
    refuse((made[]){{TO_K ".lora_down.weight", 2, {4, 16}}, {TO_K ".lora_up.weight", 2, {16, 3}}}, 2, bad,
           "do not belong together", "attn2_to_k");
    refuse(
        (made[]){{TO_K ".lora_down.weight", 2, {4, 16}}, {TO_K ".lora_up.weight", 2, {16, 4}}, {TO_K ".alpha", 1, {2}}},
        3, bad, "not one number", "alpha");
    refuse((made[]){{"lora_unet_elsewhere.lora_down.weight", 2, {4, 16}},
                    {"lora_unet_elsewhere.lora_up.weight", 2, {16, 4}}},
           2, no, "none of its modules", "elsewhere");
    refuse((made[]){{"base_model.model.mid_block.attentions.0.proj_in.lora_A.weight", 2, {4, 16}},
                    {"base_model.model.mid_block.attentions.0.proj_in.lora_B.weight", 2, {16, 4}}},
           2, LIKENESS_IO, "adapter_config.json", "missing");
    refuse((made[]){{"conv_in.weight", 2, {4, 16}}}, 1, no, "no LoRA", "");
}

static void test_report(void **state) {
    (void)state;
    static const made list[] = {{TO_K ".lora_down.weight", 2, {4, 16}},
                                {TO_K ".lora_up.weight", 2, {16, 4}},
                                {"lora_unet_elsewhere.lora_down.weight", 2, {4, 16}},
                                {"lora_unet_elsewhere.lora_up.weight", 2, {16, 4}},
                                {"something.else", 1, {3}}};
    lk_error error;
    lk_model model;
    const char *path = inside("report.safetensors");
    write_file(path, list, 5);
    assert_ok(open_with(path, &model, &error), &error);
    assert_non_null(strstr(lk_text_get(&model.report), "1 modules of the U-Net, 0 of the text encoder, 3 keys"));
    assert_non_null(strstr(lk_text_get(&model.report), "  no place: something.else\n"));
    assert_non_null(strstr(lk_text_get(&model.notes), "3 of its 5 keys have no place"));
    lk_model_close(&model);
    unlink(path);
}

static void test_keys(void **state) {
    (void)state;
    static const char *const rows[][2] = {
        {"lora_unet_up_blocks_1_attentions_2_proj_out.alpha", "unet_up_blocks_1_attentions_2_proj_out"},
        {"lora_te_text_model_encoder_layers_11_self_attn_q_proj.lora_up.weight",
         "text_encoder_encoder_layers_11_self_attn_q_proj"},
        {"unet.mid_block.attentions.0.transformer_blocks.0.attn1.processor.to_out_lora.up.weight",
         "unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_out_0"},
        {"mid_block.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.down.weight",
         "unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"},
        {"text_encoder.text_model.encoder.layers.0.self_attn.to_out_lora.up.weight",
         "text_encoder_encoder_layers_0_self_attn_out_proj"},
        {"text_encoder.text_model.encoder.layers.0.self_attn.v_proj.lora_linear_layer.up.weight",
         "text_encoder_encoder_layers_0_self_attn_v_proj"},
        {"base_model.model.up_blocks.0.resnets.1.conv2.lora_A.weight", "unet_up_blocks_0_resnets_1_conv2"},
        {"base_model.model.text_model.encoder.layers.3.mlp.fc1.lora_B.default.weight",
         "text_encoder_encoder_layers_3_mlp_fc1"},
        {"unet.base_model.model.conv_in.lora_A.weight", "unet_conv_in"},
        {"text_encoder.base_model.model.text_model.encoder.layers.3.mlp.fc2.lora_A.weight",
         "text_encoder_encoder_layers_3_mlp_fc2"},
        {"unet.down_blocks.0.downsamplers.0.conv.lora_B.weight", "unet_down_blocks_0_downsamplers_0_conv"}};
    char module[LK_LORA_NAME];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_true(lk_lora_key(rows[i][0], module) <= LK_LORA_ALPHA);
        assert_string_equal(module, rows[i][1]);
    }
    assert_int_equal(lk_lora_key("conv_in.weight", module), LK_LORA_NO_KEY);
}

/* Every allocation fails once. */
static void test_memory(void **state) {
    (void)state;
    lk_error error;
    lk_model model;
    int64_t live = lk_memory_live(), n = 0;
    for (;; n += 1 + n / 30) {
        lk_memory_fail_after(n);
        likeness_status status = open_with(LORAS "peft.safetensors", &model, &error);
        lk_memory_fail_after(-1);
        if (status == LIKENESS_OK) break;
        if (status != LIKENESS_OUT_OF_MEMORY) fail_msg("allocation %lld: '%s'", (long long)n, error.message);
        assert_int_equal(lk_memory_live(), live);
    }
    lk_model_close(&model);
    assert_int_equal(lk_memory_live(), live);
}

static int start(void **state) {
    (void)state;
    lk_error error = LK_ERROR_INIT;
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/likeness-lora-XXXXXX", base ? base : "/tmp");
    return mkdtemp(folder) && lk_safetensors_open(&expected, LORAS "expected.safetensors", &error) == LIKENESS_OK ? 0
                                                                                                                  : -1;
}

static int end(void **state) {
    (void)state;
    lk_safetensors_close(&expected);
    return rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_keys),   cmocka_unit_test(test_dialects),
                                       cmocka_unit_test(test_mid),    cmocka_unit_test(test_refusals),
                                       cmocka_unit_test(test_report), cmocka_unit_test(test_memory)};
    return cmocka_run_group_tests(tests, start, end);
}
