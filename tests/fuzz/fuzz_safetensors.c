/* tests/fuzz/fuzz_safetensors.c - safetensors files, and the reading of what passed. */
#include "fuzz/fuzz.h"

#include "io/safetensors.h"

#include <stdlib.h>

const char fuzz_name[] = "safetensors";
const char *const fuzz_words[] = {"\"dtype\"", "\"F32\"",   "\"F16\"",          "\"BF16\"", "\"I64\"",     "\"U8\"",
                                  "\"BOOL\"",  "\"shape\"", "\"data_offsets\"", "[0,8]",    "[]",          "[0,0]",
                                  "[4,8]",     "{}",        "\"__metadata__\"", "\"a\":",   "\"F8_E4M3\"", NULL};

void fuzz_one(const uint8_t *data, size_t size) {
    lk_safetensors file;
    lk_error error = LK_ERROR_INIT;
    if (!fuzz_answer(lk_safetensors_parse(&file, "file", data, size, &error), &error, LIKENESS_OK)) return;
    uint64_t bytes = 0;
    for (size_t i = 0; i < file.count; i++) {
        const lk_safetensor *tensor = &file.tensors[i];
        bytes += tensor->bytes;
        if (tensor->bytes && (tensor->data < data || tensor->data + tensor->bytes > data + size))
            fuzz_fail("tensor %s lies outside the file", tensor->name);
        if (i && strcmp(tensor[-1].name, tensor->name) >= 0) fuzz_fail("tensor %s is out of order", tensor->name);
        if (lk_safetensors_find(&file, tensor->name) != tensor) fuzz_fail("tensor %s is not found", tensor->name);
        float *values = malloc((tensor->elements + 1) * sizeof *values); /* bytes are there, so elements are few */
        lk_error failed = LK_ERROR_INIT;
        fuzz_answer(lk_safetensor_to_f32(tensor, values, &failed), &failed, LIKENESS_OK);
        free(values);
    }
    if (bytes > size) fuzz_fail("%llu bytes of tensors in %zu", (unsigned long long)bytes, size);
    if (file.count) {
        static const int64_t wrong[3] = {7, 7, 7};
        lk_error failed = LK_ERROR_INIT;
        lk_safetensor *found;
        fuzz_answer(lk_safetensors_get(&file, file.tensors[0].name, 3, wrong, &found, &failed), &failed, LIKENESS_OK);
    }
    lk_safetensors_metadata(&file, "format");
    lk_safetensors_close(&file);
}
