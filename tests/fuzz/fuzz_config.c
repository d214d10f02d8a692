/* tests/fuzz/fuzz_config.c - the same bytes as every JSON file of a model's folder. */
#include "fuzz/fuzz.h"

#include "io/json.h"
#include "models/model.h"

const char fuzz_name[] = "config";
const char *const fuzz_words[] = {"{",
                                  "}",
                                  "[",
                                  "]",
                                  ",",
                                  ":",
                                  "null",
                                  "true",
                                  "false",
                                  "\"\"",
                                  "\\u0000",
                                  "\\ud800",
                                  "\"_class_name\": \"UNet2DConditionModel\"",
                                  "\"_class_name\": \"AutoencoderKL\"",
                                  "\"_class_name\": \"FlowMatchEulerDiscreteScheduler\"",
                                  "\"_class_name\": \"PeRFlowScheduler\"",
                                  "\"_class_name\": \"DDIMScheduler\"",
                                  "\"_class_name\": \"DPMSolverMultistepScheduler\"",
                                  "\"_class_name\": \"LCMScheduler\"",
                                  "\"prediction_type\": \"v_prediction\"",
                                  "\"beta_schedule\"",
                                  "\"lambda_min_clipped\": -Infinity",
                                  "\"down_block_types\"",
                                  "\"CrossAttnDownBlock2D\"",
                                  "\"up_block_types\"",
                                  "\"block_out_channels\"",
                                  "\"likeness\": {",
                                  "\"scheduler\": [\"diffusers\", \"X\"]",
                                  "\"attention_head_dim\"",
                                  NULL};

static const char index_file[] =
    "{\"_class_name\": \"X\", \"scheduler\": [\"diffusers\", \"FlowMatchEulerDiscreteScheduler\"], \"text_encoder\": "
    "[\"transformers\", \"CLIPTextModel\"], \"tokenizer\": [\"transformers\", \"CLIPTokenizer\"], \"unet\": "
    "[\"diffusers\", \"UNet2DConditionModel\"], \"vae\": [\"diffusers\", \"AutoencoderKL\"]}";

/* A whole model: after its index (and scheduler) the tokenizer's file is missing. */
static void open_model(const char *folder) {
    lk_model model;
    lk_error error = LK_ERROR_INIT;
    if (fuzz_answer(lk_model_open(&model, fuzz_path(folder), false, &error), &error, LIKENESS_IO))
        fuzz_fail("a model without a tokenizer was opened");
}

/* Under whatever class the file names; numbers that are read make sense. */
static void read_scheduler(const uint8_t *data, size_t size) {
    lk_error error = LK_ERROR_INIT;
    lk_scheduler_config config;
    lk_json json;
    const char *class_name;
    fuzz_put("part/config.json", data, size);
    if (lk_json_read(&json, fuzz_path("part/config.json"), 1 << 20, &error) != LIKENESS_OK) return;
    if (lk_json_text(&json, NULL, "_class_name", &class_name, &error) == LIKENESS_OK &&
        fuzz_answer(lk_scheduler_config_read(&config, &json, class_name, &error), &error, LIKENESS_OK) &&
        (!(config.shift > 0) || !(config.beta_start > 0) || !(config.beta_end < 1) || config.windows < 1 ||
         config.lcm_steps < 1 || (unsigned)config.prediction >= LK_PREDICT_COUNT))
        fuzz_fail("a scheduler without sense was read");
    lk_json_free(&json);
}

void fuzz_one(const uint8_t *data, size_t size) {
    lk_error error = LK_ERROR_INIT;
    lk_json json;
    if (!fuzz_answer(lk_json_parse(&json, "json", (const char *)data, size, &error), &error, LIKENESS_OK)) return;
    int64_t number;
    const char *text;
    lk_json_int(&json, NULL, "a", -1, 1, &number, &(lk_error)LK_ERROR_INIT);
    lk_json_text(&json, NULL, "a", &text, &(lk_error)LK_ERROR_INIT);
    lk_error unused = LK_ERROR_INIT;
    fuzz_answer(lk_json_unused(&json, NULL, &unused), &unused, LIKENESS_OK);
    lk_json_free(&json);
    read_scheduler(data, size);

    lk_unet_config unet;
    lk_vae_config vae;
    lk_clip_text_config clip;
    fuzz_put("part/config.json", data, size);
    fuzz_answer(lk_unet_read_config(&unet, fuzz_path("part"), &error), &error, LIKENESS_OK);
    error = (lk_error)LK_ERROR_INIT;
    fuzz_answer(lk_vae_read_config(&vae, fuzz_path("part"), &error), &error, LIKENESS_OK);
    error = (lk_error)LK_ERROR_INIT;
    fuzz_answer(lk_clip_text_read_config(&clip, fuzz_path("part"), &error), &error, LIKENESS_OK);
    fuzz_put("index/model_index.json", data, size);
    open_model("index");
    fuzz_put("whole/model_index.json", index_file, sizeof index_file - 1);
    fuzz_put("whole/scheduler/scheduler_config.json", data, size);
    open_model("whole");
}
