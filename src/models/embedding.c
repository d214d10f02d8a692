/* models/embedding.c - see embedding.h. */
#include "models/embedding.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/text.h"
#include "models/recognise.h"

#include <math.h>
#include <string.h>

enum { MOST_VECTORS = 75 }; /* what fits between begin and end of a prompt */

static const lk_safetensor *find_vectors(const lk_safetensors *file, const char **word) {
    const lk_safetensor *tensor = lk_safetensors_find(file, "emb_params");
    *word = NULL;
    if (tensor || file->count != 1) return tensor;
    *word = file->tensors[0].name;
    return &file->tensors[0];
}

static likeness_status choose_word(lk_embedding *e, const lk_embedding_use *use, const char *in_file, lk_error *error) {
    e->word = lk_strdup(use->word ? use->word : in_file ? in_file : lk_path_name(use->path));
    if (!e->word) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to read a textual inversion");
    char *dot = use->word || in_file ? NULL : strrchr(e->word, '.');
    if (dot && dot > e->word) *dot = 0;
    return LIKENESS_OK;
}

static likeness_status check(const lk_embedding_use *use, const lk_safetensors *file, const lk_safetensor *tensor,
                             int32_t width, lk_error *error) {
    lk_recognition is = lk_recognise(file);
    if (is.kind != LK_FILE_EMBEDDING || !tensor)
        return lk_fail(error, LIKENESS_UNSUPPORTED,
                       "%s: this is no textual inversion for one text encoder but a %s of %s", use->path, is.part,
                       is.family_name);
    int64_t columns = tensor->shape[tensor->rank - 1], rows = tensor->rank == 2 ? tensor->shape[0] : 1;
    if (columns != width)
        return lk_fail(error, LIKENESS_UNSUPPORTED,
                       "%s: this textual inversion is for %s (text tokens of width %lld), the model's have width %d",
                       use->path, is.family_name, (long long)columns, (int)width);
    if (rows < 1 || rows > MOST_VECTORS)
        return lk_fail(error, LIKENESS_UNSUPPORTED, "%s: has %lld vectors, 1 to %d are possible", use->path,
                       (long long)rows, MOST_VECTORS);
    return LIKENESS_OK;
}

static likeness_status add_rows(lk_embedding *e, const lk_embedding_use *use, const lk_safetensor *tensor,
                                lk_tokenizer *tokenizer, lk_weights *text, lk_error *error) {
    static const char table[] = "text_encoder.embeddings.token_embedding.weight";
    int32_t index = lk_weights_find(text, table), first;
    if (index < 0) return lk_fail(error, LIKENESS_INTERNAL, "the set has no weight %s", table);
    first = lk_weights_info(text, index).shape.dim[0];
    float *values = lk_alloc(tensor->elements, sizeof *values);
    if (!values) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to read a textual inversion");
    likeness_status status = lk_safetensor_to_f32(tensor, values, error);
    for (size_t i = 0; i < tensor->elements && status == LIKENESS_OK; i++)
        if (!isfinite(values[i]))
            status = lk_fail(error, LIKENESS_BAD_FILE, "%s: holds values that are no numbers", use->path);
    if (status == LIKENESS_OK) status = lk_weights_append_rows(text, index, values, e->vectors, error);
    lk_free(values);
    if (status == LIKENESS_OK) status = lk_tokenizer_add_word(tokenizer, e->word, first, e->vectors, error);
    return status;
}

likeness_status lk_embedding_add(lk_embedding *embedding, const lk_embedding_use *use, lk_tokenizer *tokenizer,
                                 lk_weights *text, int32_t width, lk_error *error) {
    lk_safetensors file;
    const char *in_file;
    memset(embedding, 0, sizeof *embedding);
    LK_TRY(lk_refuse_foreign(use->path, error));
    LK_TRY(lk_safetensors_open(&file, use->path, error));
    const lk_safetensor *tensor = find_vectors(&file, &in_file);
    likeness_status status = check(use, &file, tensor, width, error);
    if (status == LIKENESS_OK) status = choose_word(embedding, use, in_file, error);
    if (status == LIKENESS_OK) {
        embedding->vectors = tensor->rank == 2 ? (int32_t)tensor->shape[0] : 1;
        lk_sha256_hex(file.mappings[0].data, file.mappings[0].size, embedding->hash);
        status = add_rows(embedding, use, tensor, tokenizer, text, error);
    }
    lk_safetensors_close(&file);
    return status;
}

void lk_embedding_close(lk_embedding *embedding) {
    lk_free(embedding->word);
    memset(embedding, 0, sizeof *embedding);
}
