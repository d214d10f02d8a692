/* tests/op/test_heavy.c - what test_ops does not look at in matmul, convolution and attention: the packed weight's
 * layout, and that a sample's bytes do not depend on the batch it is in, in every variant. */
#include "base/half.h"
#include "base/memory.h"
#include "gpu/device.h"
#include "gpu/stream.h"
#include "ops/pack.h"
#include "ops/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static uint32_t state = 1;

/* In [-1, 1). */
static float noise(void) {
    state = state * 1664525u + 1013904223u;
    return (float)(state >> 8) / 8388608.0f - 1.0f;
}

/* ---- packed weights ---- */

static void pack_one(lk_shape shape, int groups, lk_storage storage) {
    size_t count = (size_t)lk_shape_elements(&shape), bytes = lk_pack_bytes(&shape, groups, storage);
    float *dense = lk_alloc(count, sizeof *dense), *back = lk_alloc(count, sizeof *back);
    uint32_t *packed = lk_alloc(bytes, 1);
    assert_true(dense != NULL && back != NULL && packed != NULL);
    for (size_t i = 0; i < count; i++) {
        dense[i] = noise();
    }
    memset(packed, 0xff, bytes);
    lk_pack_weight(&shape, groups, storage, dense, packed);
    lk_unpack_weight(&shape, groups, storage, packed, back);
    size_t nonzero = 0;
    for (size_t i = 0; i < count; i++) {
        float wanted = storage == LK_STORE_PACKED_F16 ? lk_f16_to_f32(lk_f32_to_f16(dense[i])) : dense[i];
        assert_true(back[i] == wanted);
        nonzero += wanted != 0 ? 1 : 0;
    }
    /* Nothing but the values is there: the padding is zero. */
    size_t found = 0;
    for (size_t i = 0; i < bytes / 4; i++) {
        if (storage == LK_STORE_PACKED_F16)
            found += ((packed[i] & 0x7fffu) != 0 ? 1u : 0u) + ((packed[i] & 0x7fff0000u) != 0 ? 1u : 0u);
        else
            found += packed[i] != 0 ? 1 : 0;
    }
    assert_int_equal(found, nonzero);
    lk_free(dense);
    lk_free(back);
    lk_free(packed);
}

static void packing_keeps_every_value(void **user) {
    (void)user;
    static const lk_storage storages[2] = {LK_STORE_PACKED_F16, LK_STORE_PACKED_F32};
    for (int i = 0; i < 2; i++) {
        pack_one(lk_shape2(1, 1), 1, storages[i]);
        pack_one(lk_shape2(33, 77), 1, storages[i]);
        pack_one(lk_shape4(40, 3, 3, 3), 1, storages[i]);
        pack_one(lk_shape4(64, 1, 3, 5), 64, storages[i]);
        pack_one(lk_shape4(6, 5, 2, 1), 3, storages[i]);
    }
}

/* Word for word as ops/pack.h writes it down: shaders rely on it. */
static void packing_is_as_documented(void **user) {
    (void)user;
    lk_shape shape = lk_shape4(40, 11, 1, 2);
    lk_pack_layout layout = lk_pack_layout_of(&shape, 1, LK_STORE_PACKED_F16);
    assert_int_equal(layout.panels, 2);
    assert_int_equal(layout.padded, 16);
    float *dense = lk_alloc(40 * 11 * 2, sizeof *dense);
    uint32_t *packed = lk_alloc(lk_pack_bytes(&shape, 1, LK_STORE_PACKED_F16), 1);
    assert_true(dense != NULL && packed != NULL);
    const int o = 37, c = 7, t = 1;
    dense[(o * 11 + c) * 2 + t] = 1;
    dense[(o * 11 + c - 1) * 2 + t] = -2;
    lk_pack_weight(&shape, 1, LK_STORE_PACKED_F16, dense, packed);
    assert_int_equal(packed[((t * 2 + o / 32) * 8 + c / 2) * 32 + o % 32], 0x3c00c000u);
    lk_free(dense);
    lk_free(packed);
}

/* ---- the same bytes alone and in a batch ---- */

enum { BATCH = 5 };

typedef struct batch_case {
    const char *name;
    lk_op op;
    lk_attributes attributes;
    int inputs;
    lk_shape shape[8]; /* dim[0] of a batched input is replaced */
    unsigned batched;  /* bit i: input i has a sample axis */
    unsigned outputs;  /* wanted */
} batch_case;

static lk_device *device;

/* Runs the case on samples first .. first + count - 1 of `data` (dense rows of every input for the whole batch). */
static void run_case(const batch_case *b, int first, int count, float *const *data, int32_t variant,
                     float *result[LK_MAX_OUTPUTS], size_t bytes[LK_MAX_OUTPUTS]) {
    lk_error error = LK_ERROR_INIT;
    lk_op_call call = {.op = b->op, .attributes = b->attributes, .input_count = b->inputs};
    for (int i = 0; i < b->inputs; i++) {
        call.has_input[i] = true;
        call.input[i] = (lk_tensor){.shape = b->shape[i], .dtype = LK_F32};
        if ((b->batched >> i & 1u) != 0) call.input[i].shape.dim[0] = count;
        bool weight = (b->op <= LK_OP_CONV2D_DX) && i == 1;
        if (weight) call.input[i].storage = LK_STORE_PACKED_F16;
    }
    for (int i = 0; i < LK_MAX_OUTPUTS; i++) {
        call.has_output[i] = (b->outputs >> i & 1u) != 0;
        if (call.has_output[i]) call.output_count = i + 1;
    }
    if (lk_op_row_of(b->op)->shape(&call, &error) != LIKENESS_OK) fail_msg("%s: %s", b->name, error.message);

    lk_pool *pool = NULL;
    lk_recording *recording = NULL;
    lk_dispatch dispatch = {.device = device, .call = &call, .label = b->name, .variant = variant};
    likeness_status status = lk_pool_create(device, 4 << 20, "test", &pool, &error);
    if (status == LIKENESS_OK) status = lk_recording_create(device, NULL, &recording, &error);
    for (int i = 0; i < b->inputs && status == LIKENESS_OK; i++) {
        const lk_shape *shape = &call.input[i].shape;
        dispatch.input[i].tensor = call.input[i];
        if (call.input[i].storage != LK_STORE_ROWS) {
            size_t size = lk_pack_bytes(shape, b->attributes.conv.groups, call.input[i].storage);
            void *packed = lk_alloc(size, 1);
            assert_non_null(packed);
            lk_pack_weight(shape, b->attributes.conv.groups, call.input[i].storage, data[i], packed);
            status = lk_pool_take(pool, size, &dispatch.input[i].ref, &error);
            if (status == LIKENESS_OK) status = lk_ref_write(dispatch.input[i].ref, 0, packed, size, &error);
            lk_free(packed);
            continue;
        }
        size_t size = lk_tensor_row_bytes(&call.input[i]);
        size_t sample = (size_t)lk_shape_elements(shape) / (size_t)((b->batched >> i & 1u) != 0 ? count : 1);
        float *rows = lk_alloc(size, 1);
        assert_non_null(rows);
        lk_to_rows(shape, data[i] + ((b->batched >> i & 1u) != 0 ? sample * (size_t)first : 0), rows);
        status = lk_pool_take(pool, size, &dispatch.input[i].ref, &error);
        if (status == LIKENESS_OK) status = lk_ref_write(dispatch.input[i].ref, 0, rows, size, &error);
        lk_free(rows);
    }
    for (int i = 0; i < call.output_count && status == LIKENESS_OK; i++) {
        if (!call.has_output[i]) continue;
        bytes[i] = lk_tensor_row_bytes(&call.output[i]);
        dispatch.output[i].tensor = call.output[i];
        status = lk_pool_take(pool, bytes[i], &dispatch.output[i].ref, &error);
    }
    dispatch.recording = recording;
    if (status == LIKENESS_OK) status = lk_op_row_of(b->op)->dispatch(&dispatch, &error);
    if (status == LIKENESS_OK) status = lk_replay(recording, &error);
    if (status == LIKENESS_OK) status = lk_recording_wait(recording, &error);
    for (int i = 0; i < call.output_count && status == LIKENESS_OK; i++) {
        if (!call.has_output[i]) continue;
        result[i] = lk_alloc(bytes[i], 1);
        assert_non_null(result[i]);
        status = lk_ref_read(dispatch.output[i].ref, 0, result[i], bytes[i], &error);
    }
    lk_recording_destroy(recording);
    lk_pool_destroy(pool);
    if (status != LIKENESS_OK) fail_msg("%s: %s", b->name, error.message);
}

static int32_t variants_of(const batch_case *b) {
    lk_op_call call = {.op = b->op, .attributes = b->attributes, .input_count = b->inputs};
    for (int i = 0; i < b->inputs; i++) {
        call.has_input[i] = true;
        call.input[i] = (lk_tensor){.shape = b->shape[i], .dtype = LK_F32};
    }
    lk_error error = LK_ERROR_INIT;
    if (lk_op_row_of(b->op)->shape(&call, &error) != LIKENESS_OK) fail_msg("%s: %s", b->name, error.message);
    return lk_op_row_of(b->op)->variants(&call, device);
}

static void check_case(const batch_case *b) {
    float *data[8] = {0};
    for (int i = 0; i < b->inputs; i++) {
        lk_shape shape = b->shape[i];
        if ((b->batched >> i & 1u) != 0) shape.dim[0] = BATCH;
        size_t count = (size_t)lk_shape_elements(&shape);
        data[i] = lk_alloc(count, sizeof(float));
        assert_non_null(data[i]);
        for (size_t k = 0; k < count; k++) {
            data[i][k] = noise();
        }
    }
    for (int32_t variant = 1; variant <= variants_of(b); variant++) {
        float *together[LK_MAX_OUTPUTS] = {0};
        size_t bytes[LK_MAX_OUTPUTS] = {0}, alone_bytes[LK_MAX_OUTPUTS] = {0};
        run_case(b, 0, BATCH, data, variant, together, bytes);
        for (int n = 0; n < BATCH; n += BATCH - 1) {
            float *alone[LK_MAX_OUTPUTS] = {0};
            run_case(b, n, 1, data, variant, alone, alone_bytes);
            for (int i = 0; i < LK_MAX_OUTPUTS; i++) {
                if (alone[i] == NULL) continue;
                assert_int_equal(bytes[i], BATCH * alone_bytes[i]);
                if (memcmp((char *)together[i] + (size_t)n * alone_bytes[i], alone[i], alone_bytes[i]) != 0)
                    fail_msg("%s, variant %d: sample %d is another one in a batch", b->name, (int)variant, n);
                lk_free(alone[i]);
            }
        }
        for (int i = 0; i < LK_MAX_OUTPUTS; i++) {
            lk_free(together[i]);
        }
    }
    for (int i = 0; i < b->inputs; i++) {
        lk_free(data[i]);
    }
}

static lk_attributes conv(int kernel, int stride, int padding, int groups, int size) {
    lk_attributes a = lk_attributes_zero();
    for (int i = 0; i < 2; i++) {
        a.conv.kernel[i] = kernel;
        a.conv.stride[i] = stride;
        a.conv.dilation[i] = 1;
        a.conv.padding[i] = a.conv.padding[i + 2] = padding;
        a.conv.input_size[i] = size;
    }
    a.conv.groups = groups;
    return a;
}

static lk_attributes attention(int heads, int causal) {
    lk_attributes a = lk_attributes_zero();
    a.attention.heads = heads;
    a.attention.causal = causal;
    a.attention.scale = 0.25f;
    return a;
}

static void a_sample_does_not_depend_on_its_batch(void **user) {
    (void)user;
    if (device == NULL) skip();
    lk_shape x = lk_shape3(1, 3, 40), map = lk_shape4(1, 16, 4, 4), q = lk_shape3(1, 11, 24), k = lk_shape3(1, 19, 24);
    lk_shape lse = lk_shape3(1, 11, 2);
    const batch_case cases[] = {
        {"matmul",
         LK_OP_MATMUL,
         conv(1, 1, 0, 1, 0),
         4,
         {x, lk_shape2(70, 40), lk_shape2(1, 70), lk_shape3(1, 3, 70)},
         13,
         1},
        {"matmul, rows", LK_OP_MATMUL, conv(1, 1, 0, 1, 0), 2, {lk_shape2(1, 40), lk_shape2(24, 40)}, 1, 1},
        {"matmul_dx", LK_OP_MATMUL_DX, conv(1, 1, 0, 1, 0), 2, {x, lk_shape2(40, 70)}, 1, 1},
        {"conv2d", LK_OP_CONV2D, conv(3, 1, 1, 1, 4), 3, {map, lk_shape4(33, 16, 3, 3), lk_shape1(33)}, 1, 1},
        {"conv2d, 2 groups", LK_OP_CONV2D, conv(3, 2, 1, 2, 4), 2, {map, lk_shape4(6, 8, 3, 3)}, 1, 1},
        {"conv2d_dx", LK_OP_CONV2D_DX, conv(3, 2, 1, 1, 7), 2, {map, lk_shape4(16, 5, 3, 3)}, 1, 1},
        {"attention", LK_OP_ATTENTION, attention(2, 0), 3, {q, k, k}, 7, 3},
        {"attention, causal", LK_OP_ATTENTION, attention(1, 1), 3, {k, k, k}, 7, 3},
        {"attention_dq", LK_OP_ATTENTION_DQ, attention(2, 0), 6, {q, k, k, q, lse, q}, 63, 1},
        {"attention_dkv", LK_OP_ATTENTION_DKV, attention(2, 0), 6, {q, k, k, q, lse, q}, 63, 3},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check_case(&cases[i]);
    }
}

int main(void) {
    lk_error error = LK_ERROR_INIT;
    const lk_device_options options = {.select = getenv("LIKENESS_TEST_DEVICE"), .cache_folder = ""};
    if (lk_device_open(&options, &device, &error) != LIKENESS_OK) print_message("no device: %s\n", error.message);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packing_keeps_every_value),
        cmocka_unit_test(packing_is_as_documented),
        cmocka_unit_test(a_sample_does_not_depend_on_its_batch),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    lk_device_close(device);
    return failed;
}
