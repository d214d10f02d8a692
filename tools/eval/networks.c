/* tools/eval/networks.c - see networks.h. */
#include "networks.h"

#include "base/memory.h"

#include <math.h>
#include <string.h>

static size_t elements(const lk_graph *graph, lk_value value) {
    lk_shape shape = lk_graph_shape(graph, value);
    return (size_t)lk_shape_elements(&shape);
}

/* Outputs are set: plan, instance, host memory. */
static likeness_status finish(eval_network *n, lk_device *device, const int32_t *variants, lk_error *error) {
    LK_TRY(lk_graph_status(n->graph, error));
    size_t largest = 0;
    for (int i = 0; i < n->output_count; i++) {
        lk_graph_output(n->graph, n->output[i], n->names[i]);
        size_t count = elements(n->graph, n->output[i]);
        n->width[i] = (int)(count / EVAL_BATCH);
        if (count > largest) largest = count;
    }
    LK_TRY(lk_graph_status(n->graph, error));
    n->plan = lk_plan_create(n->graph, &(lk_plan_options){0}, error);
    if (!n->plan) return error->status;
    n->instance = lk_instance_create(n->plan, device, &(lk_instance_options){.variants = variants}, error);
    if (!n->instance) return error->status;
    n->in = lk_alloc(elements(n->graph, n->input), sizeof *n->in);
    n->out = lk_alloc(largest, sizeof *n->out);
    if (!n->in || !n->out) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for a batch of pictures");
    return LIKENESS_OK;
}

static likeness_status begin(eval_network *n, uint32_t size, bool precise, lk_error *error) {
    n->size = size;
    n->weights = lk_weights_create(precise);
    if (!n->weights) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for a list of weights");
    return LIKENESS_OK;
}

static likeness_status begin_graph(eval_network *n, lk_error *error) {
    n->graph = lk_graph_create(n->weights, error);
    if (!n->graph) return error->status;
    n->input = lk_graph_input(n->graph, "picture", lk_shape4(EVAL_BATCH, 3, (int)n->size, (int)n->size), LK_F32);
    return LIKENESS_OK;
}

static likeness_status open_onnx(eval_network *n, lk_device *device, const int32_t *variants, const char *path,
                                 uint32_t size, bool all_outputs, lk_error *error) {
    LK_TRY(begin(n, size, false, error));
    LK_TRY(lk_onnx_network_open(&n->network, path, "network", n->weights, error));
    LK_TRY(begin_graph(n, error));
    const lk_onnx_model *file = &n->network.file;
    if (!all_outputs) {
        n->output_count = 1;
        n->names[0] = "embedding";
        n->output[0] = lk_onnx_embed(&n->network, n->graph, n->input);
    } else {
        if (file->output_count > EVAL_MAX_OUTPUTS || file->input_count != 1)
            return lk_fail(error, LIKENESS_UNSUPPORTED, "%s: one input and at most %d outputs are supported", path,
                           EVAL_MAX_OUTPUTS);
        lk_value input = lk_onnx_preprocess(&n->network, n->graph, n->input);
        n->output_count = (int)file->output_count;
        for (int i = 0; i < n->output_count; i++)
            n->names[i] = file->outputs[i].name;
        lk_onnx_network_build(&n->network, n->graph, &input, n->output);
    }
    return finish(n, device, variants, error);
}

likeness_status eval_network_open(eval_network *n, lk_device *device, const int32_t *variants, const char *path,
                                  uint32_t size, bool all_outputs, lk_error *error) {
    memset(n, 0, sizeof *n);
    likeness_status status = open_onnx(n, device, variants, path, size, all_outputs, error);
    if (status != LIKENESS_OK) eval_network_close(n);
    return status;
}

static likeness_status open_autoencoder(eval_network *n, lk_device *device, const int32_t *variants, const char *folder,
                                        uint32_t size, bool precise, lk_error *error) {
    LK_TRY(begin(n, size, precise, error));
    LK_TRY(lk_vae_open(&n->vae, folder, n->weights, n->weights, error));
    n->is_vae = true;
    LK_TRY(begin_graph(n, error));
    lk_value mean = lk_vae_encode(&n->vae, n->graph, n->input, NULL, NULL);
    n->output_count = 1;
    n->names[0] = "decoded";
    n->output[0] = lk_vae_decode(&n->vae, n->graph, mean, NULL);
    return finish(n, device, variants, error);
}

likeness_status eval_autoencoder_open(eval_network *n, lk_device *device, const int32_t *variants, const char *folder,
                                      uint32_t size, bool precise, lk_error *error) {
    memset(n, 0, sizeof *n);
    likeness_status status = open_autoencoder(n, device, variants, folder, size, precise, error);
    if (status != LIKENESS_OK) eval_network_close(n);
    return status;
}

void eval_network_close(eval_network *n) {
    if (n->instance) lk_instance_destroy(n->instance);
    if (n->plan) lk_plan_destroy(n->plan);
    if (n->graph) lk_graph_destroy(n->graph);
    if (n->weights) lk_weights_destroy(n->weights);
    if (n->is_vae)
        lk_vae_close(&n->vae);
    else
        lk_onnx_network_close(&n->network);
    lk_free(n->in);
    lk_free(n->out);
    memset(n, 0, sizeof *n);
}

/* Pictures to the input's planes, value * scale + shift of bytes; missing ones repeat the last. */
static likeness_status fill(eval_network *n, const lk_image *pictures, int count, float scale, float shift,
                            lk_error *error) {
    size_t area = (size_t)n->size * n->size;
    for (int i = 0; i < EVAL_BATCH; i++) {
        const lk_image *picture = &pictures[i < count ? i : count - 1];
        if (picture->width != n->size || picture->height != n->size)
            return lk_fail(error, LIKENESS_INTERNAL, "a picture of %ux%u where %ux%u was promised", picture->width,
                           picture->height, n->size, n->size);
        for (size_t p = 0; p < area; p++)
            for (size_t c = 0; c < 3; c++)
                n->in[((size_t)i * 3 + c) * area + p] = (float)picture->rgb[3 * p + c] * scale + shift;
    }
    return lk_instance_write(n->instance, n->input, n->in, error);
}

likeness_status eval_network_run(eval_network *n, const lk_image *pictures, int count, float *const *values,
                                 lk_error *error) {
    for (int done = 0; done < count; done += EVAL_BATCH) {
        int batch = count - done < EVAL_BATCH ? count - done : EVAL_BATCH;
        LK_TRY(fill(n, pictures + done, batch, 1.0f / 255, 0, error));
        LK_TRY(lk_instance_run(n->instance, 0, error));
        for (int i = 0; i < n->output_count; i++) {
            if (!values[i]) continue;
            size_t width = (size_t)n->width[i];
            LK_TRY(lk_instance_read(n->instance, n->output[i], n->out, error));
            memcpy(values[i] + (size_t)done * width, n->out, (size_t)batch * width * sizeof(float));
        }
    }
    return LIKENESS_OK;
}

likeness_status eval_autoencoder_run(eval_network *n, const lk_image *pictures, int count, lk_image *decoded,
                                     lk_error *error) {
    size_t area = (size_t)n->size * n->size;
    LK_TRY(fill(n, pictures, count, 2.0f / 255, -1, error));
    LK_TRY(lk_instance_run(n->instance, 0, error));
    LK_TRY(lk_instance_read(n->instance, n->output[0], n->out, error));
    for (int i = 0; i < count; i++)
        for (size_t p = 0; p < area; p++)
            for (size_t c = 0; c < 3; c++) {
                float value = (n->out[((size_t)i * 3 + c) * area + p] + 1) * 127.5f;
                decoded[i].rgb[3 * p + c] = (uint8_t)lrintf(fminf(fmaxf(value, 0), 255));
            }
    return LIKENESS_OK;
}
