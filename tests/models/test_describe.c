/* tests/models/test_describe.c - what files and folders are said to be. */
#include "models/model_test.h"

#include "models/describe.h"

#define DATA LIKENESS_SOURCE_DIR "/tests/data/"

static void says(const char *path, const char *const *words) {
    lk_error error = LK_ERROR_INIT;
    lk_text text = LK_TEXT_INIT;
    int64_t live = lk_memory_live();
    assert_ok(lk_describe(&text, path, &error), &error);
    for (; *words; words++)
        if (!strstr(lk_text_get(&text), *words)) fail_msg("%s: no '%s' in\n%s", path, *words, lk_text_get(&text));
    lk_text_free(&text);
    assert_int_equal(lk_memory_live(), live);
}

#define SAYS(path, ...) says(path, (const char *const[]){__VA_ARGS__, NULL})

static void test_files(void **state) {
    (void)state;
    SAYS(DATA "models/tiny", "model Tiny", "diffusers' layout", "pictures of 16 pixels", "levels 8,16", "heads 2,2",
         "width 16, 2 layers", "scaling 0.7", "predicts: velocity",
         "unet/diffusion_pytorch_model.safetensors, tensors: ");
    SAYS(DATA "models/tiny/unet", "U-Net in diffusers' layout", "F16");
    SAYS(DATA "models/tiny/vae/diffusion_pytorch_model.safetensors", "autoencoder");
    SAYS(DATA "models/tiny/text_encoder/model.safetensors", "CLIP text encoder");
    SAYS(DATA "models/tiny/judge.onnx", "ONNX network, opset", "input: ", "[N,3,8,8]", "likeness.threshold: 0.25",
         "operators: Conv 1 Relu 1 ", "\nsupported operators: Conv ConvTranspose");
    SAYS(DATA "onnx/good.onnx", "operators: Custom 1 Add 1\n", "not supported: Custom 1\n");
    SAYS(DATA "loras/kohya.safetensors", "LoRA", "dialect: kohya", "79 of the U-Net, 12 of the text encoder",
         "rank: 1 to 4, with alpha", "273, ", "F16", "ss_network_module: networks.lora");
    SAYS(DATA "loras/diffusers.safetensors", "dialect: diffusers\n", "32 of the U-Net, 8 of the text", "no alpha",
         "BF16");
    SAYS(DATA "loras/peft.safetensors", "dialect: diffusers with PEFT", "44 of the U-Net, 4 of the text");
    SAYS(DATA "loras/adapter", "dialect: PEFT\n", "36 of the U-Net, 0 of the text", "rank: 2 to 4");
    SAYS(DATA "loras/expected.safetensors", "file of unknown tensors", "I32");
}

static void test_refusals(void **state) {
    (void)state;
    static const struct {
        const char *path;
        likeness_status status;
        const char *word;
    } rows[] = {{DATA "nowhere", LIKENESS_IO, "nowhere"},
                {DATA "models", LIKENESS_IO, "model_index.json"},
                {DATA "checkpoints/sd1.txt.gz", LIKENESS_BAD_FILE, "neither a picture"},
                {DATA "models/tiny/model_index.json", LIKENESS_BAD_FILE, "model_index.json"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        lk_error error = LK_ERROR_INIT;
        lk_text text = LK_TEXT_INIT;
        int64_t live = lk_memory_live();
        likeness_status status = lk_describe(&text, rows[i].path, &error);
        if (status != rows[i].status || !strstr(error.message, rows[i].word))
            fail_msg("%s: status %d, '%s'", rows[i].path, (int)status, error.message);
        lk_text_free(&text);
        assert_int_equal(lk_memory_live(), live);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_files), cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
