/* tests/fuzz/fuzz_checkpoint.c - what becomes of safetensors that passed: told apart, split into components, read as
 * LoRA, textual inversion or tiny decoder. */
#include "fuzz/fuzz.h"

#include "models/checkpoint.h"
#include "models/lora.h"

#include <stdlib.h>

const char fuzz_name[] = "checkpoint";
const char *const fuzz_words[] = {"model.diffusion_model.",
                                  "input_blocks.1.0.in_layers.0.weight",
                                  "output_blocks.0.",
                                  "middle_block.1.norm.weight",
                                  "first_stage_model.decoder.up.0.block.0.conv1.weight",
                                  "cond_stage_model.model.transformer.resblocks.0.attn.in_proj_weight",
                                  "cond_stage_model.transformer.text_model.",
                                  "model_ema.diffusion_model",
                                  "lora_unet_mid_block_resnets_0_conv1.lora_down.weight",
                                  ".lora_B.weight",
                                  "emb_params",
                                  "decoder.layers.0.weight",
                                  "\"F16\"",
                                  "\"shape\"",
                                  "[0,8]",
                                  NULL};

static void try_split(const uint8_t *data, size_t size, bool averaged) {
    lk_safetensors file;
    lk_checkpoint checkpoint;
    lk_error error = LK_ERROR_INIT, failed = LK_ERROR_INIT;
    if (lk_safetensors_parse(&file, "file", data, size, &error) != LIKENESS_OK) return;
    if (!fuzz_answer(lk_checkpoint_from(&checkpoint, &file, averaged, &failed), &failed,
                     averaged ? LIKENESS_USAGE : LIKENESS_OK))
        return;
    lk_checkpoint_close(&checkpoint);
}

void fuzz_one(const uint8_t *data, size_t size) {
    lk_safetensors file;
    lk_error error = LK_ERROR_INIT;
    if (!fuzz_answer(lk_safetensors_parse(&file, "file", data, size, &error), &error, LIKENESS_OK)) return;
    lk_recognition is = lk_recognise(&file);
    if (!is.part || !is.family_name) fuzz_fail("a file without a name");
    for (size_t i = 0; i < file.count; i++) {
        char module[LK_LORA_NAME];
        if (lk_lora_key(file.tensors[i].name, module) < LK_LORA_OTHER_KIND && strlen(module) >= LK_LORA_NAME)
            fuzz_fail("the module of %s is too long", file.tensors[i].name);
    }
    lk_safetensors_close(&file);
    try_split(data, size, false);
    try_split(data, size, true);
}
