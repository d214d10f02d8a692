/* Safetensors: what was written is read back; every kind of damage is refused with a message that names it. */
#include "io/io_test.h"

#include "base/half.h"
#include "io/safetensors.h"

static void put_file(const char *path, uint64_t claimed, const char *header, const void *data, size_t size) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    for (int i = 0; i < 8; i++)
        fputc((int)(claimed >> (8 * i) & 255), file);
    fwrite(header, 1, strlen(header), file);
    fwrite(data, 1, size, file);
    fclose(file);
}

static void round_trip(void **state) {
    (void)state;
    char *path = temporary_path("ключ a.safetensors");
    float f32[6] = {1, -2, 3.5f, 0, 1e-20f, 65504};
    uint16_t f16[3] = {lk_f32_to_f16(0.5f), lk_f32_to_f16(-3), 0x0001}, bf16[2] = {0x3f80, 0xc000};
    int64_t i64[2] = {-7, 1 << 20};
    lk_safetensor list[5] = {
        {.name = "w", .dtype = LK_SAFETENSOR_F32, .rank = 2, .shape = {2, 3}, .data = (uint8_t *)f32},
        {.name = "half \"x\"", .dtype = LK_SAFETENSOR_F16, .rank = 1, .shape = {3}, .data = (uint8_t *)f16},
        {.name = "b", .dtype = LK_SAFETENSOR_BF16, .rank = 1, .shape = {2}, .data = (uint8_t *)bf16},
        {.name = "empty", .dtype = LK_SAFETENSOR_F32, .rank = 2, .shape = {0, 4}, .data = (uint8_t *)f32},
        {.name = "i", .dtype = LK_SAFETENSOR_I64, .rank = 1, .shape = {2}, .data = (uint8_t *)i64}};
    const char *keys[1] = {"format"}, *values[1] = {"pt"};
    lk_error error = LK_ERROR_INIT;
    assert_ok(lk_safetensors_write(path, list, 5, keys, values, 1, &error), &error);
    lk_safetensors file;
    assert_ok(lk_safetensors_open(&file, path, &error), &error);
    assert_int_equal(file.count, 5);
    assert_string_equal(lk_safetensors_metadata(&file, "format"), "pt");
    lk_safetensor *tensor;
    int64_t shape[2] = {2, 3}, wrong[2] = {3, 2};
    float out[6];
    assert_ok(lk_safetensors_get(&file, "w", 2, shape, &tensor, &error), &error);
    assert_ok(lk_safetensor_to_f32(tensor, out, &error), &error);
    assert_memory_equal(out, f32, sizeof f32);
    assert_ok(lk_safetensor_to_f32(lk_safetensors_find(&file, "half \"x\""), out, &error), &error);
    assert_true(out[0] == 0.5f && out[1] == -3 && out[2] == 0x1p-24f);
    assert_ok(lk_safetensor_to_f32(lk_safetensors_find(&file, "b"), out, &error), &error);
    assert_true(out[0] == 1 && out[1] == -2);
    assert_ok(lk_safetensor_to_f32(lk_safetensors_find(&file, "i"), out, &error), &error);
    assert_true(out[0] == -7 && out[1] == 1048576);
    assert_null(lk_safetensors_find(&file, "nothing"));
    assert_string_equal(lk_safetensors_unused(&file)->name, "b");
    assert_fails(lk_safetensors_get(&file, "w", 2, wrong, &tensor, &error), &error, LIKENESS_BAD_FILE, "[2,3]");
    assert_non_null(strstr(error.message, "[3,2]"));
    error.status = LIKENESS_OK;
    assert_fails(lk_safetensors_get(&file, "q", 2, wrong, &tensor, &error), &error, LIKENESS_BAD_FILE,
                 "'q' is missing");
    lk_safetensors_close(&file);
    remove_temporary(path);
}

static void refused(void **state) {
    (void)state;
    char *path = temporary_path("bad.safetensors");
    static const struct {
        const char *header;
        size_t data;
        const char *message;
    } rows[] = {
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 4, "but the file has 4 bytes"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 12, "the tensors end at byte 8"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 8, "needs 12 bytes"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
         8, "overlaps"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,12]}}",
         12, "hole"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, "lies at bytes 4 to 0"},
        {"{\"a\":{\"dtype\":\"F99\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "unknown dtype 'F99'"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4, "shape of tensor 'a'"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[9007199254740992,9007199254740992],\"data_offsets\":[0,4]}}", 4,
         "shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[0.5],\"data_offsets\":[0,4]}}", 4, "shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 4, "data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,1e300]}}", 4, "data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}}", 4, "unknown field 'x'"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "lacks"},
        {"{\"a\":7}", 0, "lacks"},
        {"{\"__metadata__\":{\"k\":1}}", 0, "__metadata__"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
         "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
         8, "stands twice"},
        {"{\"a\":", 0, "not valid JSON"},
        {"{} x", 0, "after the end"},
        {"[]", 0, "does not start with '{'"},
        {"", 0, "does not start with '{'"},
        {"{\"\xff\":1}", 0, "not UTF-8 at byte 2"},
    };
    char zeros[16] = {0};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        put_file(path, strlen(rows[i].header), rows[i].header, zeros, rows[i].data);
        lk_safetensors file;
        lk_error error = LK_ERROR_INIT;
        int64_t live = lk_memory_live();
        likeness_status wanted = strstr(rows[i].message, "dtype 'F99'") ? LIKENESS_UNSUPPORTED : LIKENESS_BAD_FILE;
        assert_fails(lk_safetensors_open(&file, path, &error), &error, wanted, rows[i].message);
        assert_non_null(strstr(error.message, "bad.safetensors"));
        assert_int_equal(lk_memory_live(), live);
    }
    lk_safetensors file;
    lk_error error = LK_ERROR_INIT;
    put_file(path, UINT64_C(1) << 60, "{}", zeros, 0);
    assert_fails(lk_safetensors_open(&file, path, &error), &error, LIKENESS_BAD_FILE, "claims 1152921504606846976");
    put_file(path, 1000, "{}", zeros, 0);
    error.status = LIKENESS_OK;
    assert_fails(lk_safetensors_open(&file, path, &error), &error, LIKENESS_BAD_FILE, "only 2 follow");
    FILE *empty = fopen(path, "wb");
    fclose(empty);
    error.status = LIKENESS_OK;
    assert_fails(lk_safetensors_open(&file, path, &error), &error, LIKENESS_BAD_FILE, "empty");
    remove_temporary(path);
    error.status = LIKENESS_OK;
    assert_fails(lk_safetensors_open(&file, "/nowhere/x.safetensors", &error), &error, LIKENESS_IO, "/nowhere/x");
    error.status = LIKENESS_OK;
    assert_fails(lk_safetensors_open(&file, "/", &error), &error, LIKENESS_IO, "folder");
}

static void deep_header(void **state) {
    (void)state;
    uint8_t bytes[400] = {200};
    memcpy(bytes + 8, "{\"a\":", 5);
    memset(bytes + 13, '[', 195);
    lk_safetensors file;
    lk_error error = LK_ERROR_INIT;
    assert_fails(lk_safetensors_parse(&file, "deep", bytes, sizeof bytes, &error), &error, LIKENESS_BAD_FILE,
                 "64 levels");
}

static void shards(void **state) {
    (void)state;
    char *index = temporary_path("model.safetensors.index.json");
    char *folder = lk_path_folder(index), *first = lk_path_join(folder, "model-1.safetensors"),
         *second = lk_path_join(folder, "model-2.safetensors");
    float a[2] = {1, 2}, b[1] = {3};
    lk_safetensor list[2] = {{.name = "a", .dtype = LK_SAFETENSOR_F32, .rank = 1, .shape = {2}, .data = (uint8_t *)a},
                             {.name = "b", .dtype = LK_SAFETENSOR_F32, .rank = 1, .shape = {1}, .data = (uint8_t *)b}};
    lk_error error = LK_ERROR_INIT;
    assert_ok(lk_safetensors_write(first, list, 1, NULL, NULL, 0, &error), &error);
    assert_ok(lk_safetensors_write(second, list + 1, 1, NULL, NULL, 0, &error), &error);
    const char *good = "{\"metadata\":{},\"weight_map\":{\"b\":\"model-2.safetensors\",\"a\":\"model-1.safetensors\"}}";
    assert_ok(lk_file_write(index, good, strlen(good), &error), &error);
    lk_safetensors file;
    assert_ok(lk_safetensors_open_folder(&file, folder, "model", &error), &error);
    assert_int_equal(file.count, 2);
    float out[2];
    assert_ok(lk_safetensor_to_f32(lk_safetensors_find(&file, "a"), out, &error), &error);
    assert_true(out[1] == 2);
    assert_ok(lk_safetensor_to_f32(lk_safetensors_find(&file, "b"), out, &error), &error);
    assert_true(out[0] == 3);
    lk_safetensors_close(&file);
    static const char *const bad[][2] = {
        {"{\"weight_map\":{\"a\":\"../model-1.safetensors\"}}", "not the name of a safetensors file"},
        {"{\"weight_map\":{\"a\":\"gone.safetensors\"}}", "gone.safetensors"},
        {"{\"weight_map\":{\"a\":\"gone.safetensors\",\"b\":\"model-2.safetensors\",\"c\":\"too.safetensors\"}}",
         "2 of its 3 files are missing: gone.safetensors, too.safetensors"},
        {"{\"weight_map\":{\"c\":\"model-1.safetensors\"}}", "lists tensor 'c'"},
        {"{\"weight_map\":{}}", "empty"},
        {"{\"weight_map\":[]}", "no object"},
        {"{}", "'weight_map' is missing"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int64_t live = lk_memory_live();
        assert_ok(lk_file_write(index, bad[i][0], strlen(bad[i][0]), &error), &error);
        assert_fails(lk_safetensors_open(&file, index, &error), &error,
                     i == 1 || i == 2 ? LIKENESS_IO : LIKENESS_BAD_FILE, bad[i][1]);
        assert_int_equal(lk_memory_live(), live);
        error = (lk_error)LK_ERROR_INIT;
    }
    lk_file_remove(first);
    lk_file_remove(second);
    assert_fails(lk_safetensors_open_folder(&file, folder, "vae", &error), &error, LIKENESS_IO, "vae.safetensors");
    lk_free(folder);
    lk_free(first);
    lk_free(second);
    remove_temporary(index);
}

static likeness_status attempt_open(void *context, lk_error *error) {
    lk_safetensors file;
    LK_TRY(lk_safetensors_open(&file, context, error));
    lk_safetensors_close(&file);
    return LIKENESS_OK;
}

static void allocations(void **state) {
    (void)state;
    char *path = temporary_path("a.safetensors");
    float f[4] = {1, 2, 3, 4};
    lk_safetensor list[2] = {
        {.name = "a", .dtype = LK_SAFETENSOR_F32, .rank = 1, .shape = {4}, .data = (uint8_t *)f},
        {.name = "b", .dtype = LK_SAFETENSOR_F32, .rank = 2, .shape = {2, 1}, .data = (uint8_t *)f}};
    const char *keys[2] = {"x", "y"};
    lk_error error = LK_ERROR_INIT;
    assert_ok(lk_safetensors_write(path, list, 2, keys, keys, 2, &error), &error);
    assert_true(fail_every_allocation(attempt_open, path) > 20);
    remove_temporary(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(round_trip), cmocka_unit_test(refused),
                                       cmocka_unit_test(deep_header), cmocka_unit_test(shards),
                                       cmocka_unit_test(allocations)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
