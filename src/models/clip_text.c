/* models/clip_text.c - see clip_text.h. */
#include "models/clip_text.h"

#include "base/memory.h"
#include "models/config_file.h"

#include <string.h>

/* ---- config ---- */

/* Keys of transformers' configs that change nothing in a text encoder's forward pass. */
static const char *const without_effect[] = {"_name_or_path",
                                             "architectures",
                                             "attention_dropout", /* training only */
                                             "bos_token_id",      /* the tokenizer's business */
                                             "dropout",
                                             "dtype", /* of the file's tensors, which say it themselves */
                                             "gradient_checkpointing",
                                             "id2label",
                                             "initializer_factor",
                                             "initializer_range",
                                             "label2id",
                                             "output_attentions",
                                             "output_hidden_states",
                                             "pad_token_id",
                                             "problem_type",
                                             "projection_dim", /* of CLIPTextModelWithProjection */
                                             "return_dict",
                                             "torch_dtype",
                                             "transformers_version",
                                             "use_cache",
                                             NULL};

static likeness_status read_config(lk_json *json, lk_clip_text_config *c, lk_error *error) {
    const char *type, *activation;
    LK_TRY(lk_json_text(json, NULL, "model_type", &type, error));
    if (strcmp(type, "clip_text_model") != 0)
        return lk_fail(error, LIKENESS_UNSUPPORTED, "%s: 'model_type' is %s, only clip_text_model is supported",
                       json->name, type);
    LK_TRY(lk_config_int(json, "vocab_size", 1, 1 << 24, 49408, &c->vocabulary, error));
    LK_TRY(lk_config_int(json, "hidden_size", 1, 65536, 512, &c->width, error));
    LK_TRY(lk_config_int(json, "intermediate_size", 1, 1 << 20, 2048, &c->intermediate, error));
    LK_TRY(lk_config_int(json, "num_hidden_layers", 1, 1000, 12, &c->layers, error));
    LK_TRY(lk_config_int(json, "num_attention_heads", 1, 65536, 8, &c->heads, error));
    LK_TRY(lk_config_int(json, "max_position_embeddings", 1, 65536, 77, &c->positions, error));
    LK_TRY(lk_config_int(json, "eos_token_id", 0, 1 << 24, 49407, &c->eos, error));
    LK_TRY(lk_json_double_or(json, NULL, "layer_norm_eps", 1e-5, &c->epsilon, error));
    LK_TRY(lk_json_text_or(json, NULL, "hidden_act", "quick_gelu", &activation, error));
    if (strcmp(activation, "quick_gelu") != 0 && strcmp(activation, "gelu") != 0)
        return lk_fail(error, LIKENESS_UNSUPPORTED, "%s: 'hidden_act' is %s, supported are quick_gelu and gelu",
                       json->name, activation);
    c->exact_gelu = strcmp(activation, "gelu") == 0;
    if (c->width % c->heads != 0)
        return lk_fail(error, LIKENESS_BAD_FILE, "%s: 'hidden_size' %d is not a multiple of 'num_attention_heads' %d",
                       json->name, (int)c->width, (int)c->heads);
    lk_config_ignore(json, without_effect);
    return lk_json_unused(json, NULL, error);
}

likeness_status lk_clip_text_read_config(lk_clip_text_config *config, const char *folder, lk_error *error) {
    lk_json json;
    memset(config, 0, sizeof *config);
    LK_TRY(lk_config_read(&json, folder, "config.json", error));
    likeness_status status = read_config(&json, config, error);
    lk_json_free(&json);
    return status;
}

/* ---- graph ---- */

lk_value lk_clip_text_embed(const lk_clip_text *model, lk_graph *graph, lk_value ids) {
    lk_nn nn;
    lk_shape shape = lk_shape2(model->config.vocabulary, model->config.width);
    lk_nn_start(&nn, graph, &model->source, NULL);
    lk_nn_push(&nn, "embeddings");
    lk_value table = lk_nn_weight(&nn, "token_embedding.weight", LK_WEIGHT_TABLE, shape, shape, 1);
    lk_value y = lk_gather(graph, table, ids);
    lk_nn_pop(&nn);
    return y;
}

static lk_value encoder_layer(lk_nn *nn, lk_value x, const lk_clip_text_config *c) {
    lk_graph *g = nn->graph;
    int width = c->width;
    bool fuse = lk_nn_fuses(nn);
    lk_value h = lk_nn_layer_norm(nn, "layer_norm1", x, width, (float)c->epsilon);
    lk_nn_push(nn, "self_attn");
    lk_value q = lk_nn_linear(nn, "q_proj", h, width, width, true, LK_NO_VALUE);
    lk_value k = lk_nn_linear(nn, "k_proj", h, width, width, true, LK_NO_VALUE);
    lk_value v = lk_nn_linear(nn, "v_proj", h, width, width, true, LK_NO_VALUE);
    h = lk_attention(g, q, k, v, c->heads, 0, true, LK_NO_VALUE);
    bool listened = nn->hooks && nn->hooks->after_self_attention;
    h = lk_nn_linear(nn, "out_proj", h, width, width, true, fuse && !listened ? x : LK_NO_VALUE);
    if (listened) h = nn->hooks->after_self_attention(nn->hooks->user, g, nn->path, h);
    x = fuse && !listened ? h : lk_nn_add(nn, x, h);
    lk_nn_pop(nn);
    h = lk_nn_layer_norm(nn, "layer_norm2", x, width, (float)c->epsilon);
    lk_nn_push(nn, "mlp");
    h = lk_nn_linear(nn, "fc1", h, width, c->intermediate, true, LK_NO_VALUE);
    h = lk_unary_op(g, c->exact_gelu ? LK_UNARY_GELU : LK_UNARY_QUICK_GELU, h, 0, 0);
    h = lk_nn_linear(nn, "fc2", h, c->intermediate, width, true, fuse ? x : LK_NO_VALUE);
    x = fuse ? h : lk_nn_add(nn, x, h);
    lk_nn_pop(nn);
    return x;
}

lk_value lk_clip_text_build(const lk_clip_text *model, lk_graph *graph, lk_value embeddings, int32_t skip,
                            const lk_hooks *hooks) {
    const lk_clip_text_config *c = &model->config;
    lk_shape shape = lk_graph_shape(graph, embeddings), table = lk_shape2(c->positions, c->width);
    lk_nn nn;
    lk_nn_start(&nn, graph, &model->source, hooks);
    if (shape.rank != 3 || shape.dim[1] > c->positions || shape.dim[2] != c->width) {
        char text[96];
        lk_graph_fail(graph, LIKENESS_USAGE, "%s: token embeddings %s, expected [N,1..%d,%d]", model->source.label,
                      lk_shape_text(&shape, text, sizeof text), (int)c->positions, (int)c->width);
        return LK_NO_VALUE;
    }
    lk_value positions = lk_nn_weight(&nn, "embeddings.position_embedding.weight", LK_WEIGHT_TABLE, table, table, 1);
    if (shape.dim[1] < c->positions) positions = lk_slice(graph, positions, 0, 0, shape.dim[1]);
    lk_value x = lk_add(graph, embeddings, positions);
    for (int i = 0; i < c->layers - skip; i++) {
        lk_nn_push(&nn, "encoder.layers.%d", i);
        x = encoder_layer(&nn, x, c);
        lk_nn_pop(&nn);
    }
    return lk_nn_layer_norm(&nn, "final_layer_norm", x, c->width, (float)c->epsilon);
}

lk_value lk_clip_text_pool(lk_graph *graph, lk_value hidden, lk_value rows) {
    lk_shape shape = lk_graph_shape(graph, hidden);
    lk_value flat = lk_reshape(graph, hidden, lk_shape2(shape.dim[0] * shape.dim[1], shape.dim[2]));
    return lk_gather(graph, flat, rows);
}

void lk_clip_text_pool_rows(const lk_clip_text_config *config, const int32_t *ids, int count, int length,
                            int32_t *rows) {
    for (int n = 0; n < count; n++) {
        const int32_t *row = ids + (size_t)n * (size_t)length;
        int found = 0;
        if (config->eos == 2) { /* configs from before the id was corrected: the largest id ends the text */
            for (int i = 1; i < length; i++)
                if (row[i] > row[found]) found = i;
        } else {
            while (found < length && row[found] != config->eos)
                found++;
            if (found == length) found = 0;
        }
        rows[n] = n * length + found;
    }
}

/* ---- opening ---- */

/* Buffers that old files carry beside the weights. */
static const char *const buffers[] = {"embeddings.position_ids", NULL};

/* Declares every weight by building a throw-away graph, the only list of tensors there is. */
static likeness_status declare(lk_clip_text *model, lk_error *error) {
    lk_graph *graph = lk_graph_create(model->source.weights, error);
    if (!graph) return error->status;
    lk_value ids = lk_graph_input(graph, "ids", lk_shape2(1, 1), LK_I32);
    lk_clip_text_build(model, graph, lk_clip_text_embed(model, graph, ids), 0, NULL);
    likeness_status status = lk_graph_status(graph, error);
    lk_graph_destroy(graph);
    if (status == LIKENESS_OK) status = lk_nn_check_all_used(&model->source, buffers, error);
    return status;
}

likeness_status lk_clip_text_open_view(lk_clip_text *model, const lk_clip_text_config *config, lk_safetensors *view,
                                       lk_weights *weights, lk_error *error) {
    *model = (lk_clip_text){.config = *config, .file = *view};
    memset(view, 0, sizeof *view);
    bool wrapped = lk_safetensors_find(&model->file, "text_model.embeddings.token_embedding.weight") != NULL;
    model->source = (lk_weight_source){weights, &model->file, "text_encoder", wrapped ? "text_model." : ""};
    return declare(model, error);
}

likeness_status lk_clip_text_open(lk_clip_text *model, const char *folder, lk_weights *weights, lk_error *error) {
    lk_clip_text_config config;
    lk_safetensors file;
    memset(model, 0, sizeof *model);
    LK_TRY(lk_clip_text_read_config(&config, folder, error));
    LK_TRY(lk_safetensors_open_folder(&file, folder, "model", error));
    likeness_status status = lk_clip_text_open_view(model, &config, &file, weights, error);
    if (status != LIKENESS_OK) lk_error_prefix(error, "%s", folder);
    return status;
}

void lk_clip_text_close(lk_clip_text *model) {
    lk_safetensors_close(&model->file);
    memset(model, 0, sizeof *model);
}
