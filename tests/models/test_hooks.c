/* tests/models/test_hooks.c - hooks are called at every place that contract 5 names, under diffusers' names, and what
 * they return takes effect: each effect is made in two independent ways that must agree. */
#include "models/model_test.h"

#include "models/unet2d.h"

typedef enum effect {
    NOTHING,          /* every hook returns what it was given */
    PROJ_OUT_ZERO,    /* proj_out's output times 0 */
    TRANSFORMER_SKIP, /* the transformers' residual adds return the skip alone */
    SELF_ZERO,
    SELF_SKIP,
    CROSS_TWICE, /* the cross-attention's output twice */
    CROSS_AGAIN, /* it plus a second attention with the same query to the same tokens */
    QUERY_TWICE, /* the output of attn2.to_q twice */
    QUERY_PAIR   /* it plus its input times the same matrix, as a low-rank pair adds its product */
} effect;

typedef struct listener {
    effect effect;
    lk_value context;
    int self, cross, proj_out, layers, residuals;
    bool saw_self_name, saw_layer_name, saw_residual_name;
} listener;

static bool ends_with(const char *text, const char *ending) {
    size_t a = strlen(text), b = strlen(ending);
    return a >= b && strcmp(text + a - b, ending) == 0;
}

static lk_value on_self(void *user, lk_graph *graph, const char *name, lk_value tokens) {
    listener *l = user;
    l->self++;
    if (strcmp(name, "mid_block.attentions.0.transformer_blocks.0.attn1") == 0) l->saw_self_name = true;
    return l->effect == SELF_ZERO ? lk_scale_shift(graph, tokens, 0, 0) : tokens;
}

/* The model's own weight "<name><tensor>". */
static lk_value own_weight(lk_graph *graph, const char *name, const char *tensor) {
    char full[400];
    snprintf(full, sizeof full, "unet.%s%s", name, tensor);
    return lk_graph_weight_named(graph, full);
}

static lk_value on_cross(void *user, lk_graph *graph, const char *name, lk_value query, lk_value output, int heads) {
    listener *l = user;
    l->cross++;
    if (l->effect == CROSS_TWICE) return lk_add(graph, output, output);
    if (l->effect != CROSS_AGAIN) return output;
    lk_value k = lk_matmul(graph, l->context, own_weight(graph, name, ".to_k.weight"), LK_NO_VALUE, LK_NO_VALUE);
    lk_value v = lk_matmul(graph, l->context, own_weight(graph, name, ".to_v.weight"), LK_NO_VALUE, LK_NO_VALUE);
    return lk_add(graph, output, lk_attention(graph, query, k, v, heads, 0, false, LK_NO_VALUE));
}

static lk_value on_proj_out(void *user, lk_graph *graph, const char *name, lk_value tokens) {
    listener *l = user;
    l->proj_out++;
    assert_true(strstr(name, ".attentions.") != NULL);
    return l->effect == PROJ_OUT_ZERO ? lk_scale_shift(graph, tokens, 0, 0) : tokens;
}

static lk_value on_layer(void *user, lk_graph *graph, const char *name, lk_value x, lk_value y) {
    listener *l = user;
    l->layers++;
    if (strcmp(name, "up_blocks.0.attentions.1.transformer_blocks.0.ff.net.0.proj") == 0) l->saw_layer_name = true;
    if (!ends_with(name, ".attn2.to_q")) return y;
    if (l->effect == QUERY_TWICE) return lk_add(graph, y, y);
    if (l->effect == QUERY_PAIR) return lk_matmul(graph, x, own_weight(graph, name, ".weight"), LK_NO_VALUE, y);
    return y;
}

static lk_value on_residual(void *user, lk_graph *graph, const char *name, lk_value skip, lk_value branch) {
    listener *l = user;
    l->residuals++;
    if (strcmp(name, "down_blocks.0.resnets.0") == 0) l->saw_residual_name = true;
    if (l->effect == TRANSFORMER_SKIP && ends_with(name, ".attentions.0")) return skip;
    if (l->effect == TRANSFORMER_SKIP && ends_with(name, ".attentions.1")) return skip;
    if (l->effect == SELF_SKIP && ends_with(name, ".attn1")) return skip;
    return lk_add(graph, skip, branch);
}

/* Output of unet_0 with one effect; effect -1: without hooks. The caller frees it. */
static double *run(int which, listener *l, int64_t *count) {
    lk_error error = LK_ERROR_INIT;
    model_case c;
    lk_unet model;
    double time[8];
    float features[8];
    memset(l, 0, sizeof *l);
    l->effect = (effect)which;
    lk_hooks hooks = {l, on_self, on_cross, on_proj_out, NULL, NULL};
    bool layers = which == NOTHING || which == QUERY_TWICE || which == QUERY_PAIR;
    bool residuals = which == NOTHING || which == TRANSFORMER_SKIP || which == SELF_SKIP;
    if (layers) hooks.layer = on_layer;
    if (residuals) hooks.residual = on_residual;
    case_begin(&c, "unet_0", false);
    assert_ok(lk_unet_open(&model, c.folder, c.weights, &error), &error);
    case_graph(&c);
    lk_unet_inputs in = {.key_bias = LK_NO_VALUE};
    in.sample = case_input(&c, "sample");
    in.context = l->context = case_input(&c, "context");
    in.time = lk_graph_input(c.graph, "time", lk_shape2(1, 8), LK_F32);
    lk_unet_time_features(&model.config, 501.5, features);
    for (int i = 0; i < 8; i++)
        time[i] = (double)features[i];
    lk_value y = lk_unet_build(&model, c.graph, &in, which < 0 ? NULL : &hooks);
    assert_ok(lk_graph_status(c.graph, &error), &error);
    const double *inputs[3] = {c.input[0].values, c.input[1].values, time};
    lk_reference_values *values = lk_graph_run_reference(c.graph, inputs, &error);
    if (!values) fail_msg("%s", error.message);
    lk_shape shape = lk_graph_shape(c.graph, y);
    *count = lk_shape_elements(&shape);
    double *copy = malloc((size_t)*count * sizeof *copy);
    memcpy(copy, lk_reference_value(values, y), (size_t)*count * sizeof *copy);
    lk_reference_values_destroy(values);
    case_end(&c);
    lk_unet_close(&model);
    return copy;
}

static void test_places(void **state) {
    (void)state;
    listener l, none;
    int64_t count;
    double *plain = run(-1, &none, &count), *heard = run(NOTHING, &l, &count);
    assert_true(case_distance(heard, plain, count) < 1e-12);
    /* down_blocks.1 one, mid one, up_blocks.0 two transformers; resnets 1 + 1 + 2 + 2 + 2. */
    assert_int_equal(l.self, 4);
    assert_int_equal(l.cross, 4);
    assert_int_equal(l.proj_out, 4);
    assert_int_equal(l.residuals, 8 + 4 * 4);
    /* A transformer: proj_in, proj_out, 4 + 4 of the attentions, 2 of the MLP. Resnets: conv1, conv2, and a shortcut
     * where widths change (1 + 4). conv_in, conv_out, time embedding 2, down and up sampling 1 + 1. */
    assert_int_equal(l.layers, 4 * 12 + 8 * 2 + 5 + 6);
    assert_true(l.saw_self_name && l.saw_layer_name && l.saw_residual_name);
    free(plain);
    free(heard);
}

static void test_effects(void **state) {
    (void)state;
    static const effect pairs[][2] = {{PROJ_OUT_ZERO, TRANSFORMER_SKIP},
                                      {SELF_ZERO, SELF_SKIP},
                                      {CROSS_TWICE, CROSS_AGAIN},
                                      {QUERY_TWICE, QUERY_PAIR}};
    listener l;
    int64_t count;
    double *plain = run(-1, &l, &count);
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        double *one = run((int)pairs[i][0], &l, &count), *other = run((int)pairs[i][1], &l, &count);
        assert_true(case_distance(one, other, count) < 1e-6);
        assert_true(case_distance(one, plain, count) > 1e-4);
        free(one);
        free(other);
    }
    free(plain);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_places), cmocka_unit_test(test_effects)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
