/* tests/api/test_faults.c - the shipped model through the public interface, from opening the device to the written
 * picture, with the n-th allocation or the n-th Vulkan call failing: the exit status of its kind, a message, nothing
 * leaked, no picture left behind; or, where the failure could be survived, the same picture as without it.
 *
 * 50 random n; with LIKENESS_TEST_ALL every n of the calls. Without Cameo's weights the tiny model of tests/data/models
 * stands in. Needs a Vulkan device. */
#include "support/fixture.h"

#include "base/file.h"
#include "base/memory.h"
#include "gpu/device.h"
#include "likeness/likeness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CAMEO LIKENESS_SOURCE_DIR "/assets/cameo"
#define TINY LIKENESS_SOURCE_DIR "/tests/data/models/tiny"

static const char *model_folder;
static char picture_path[64];
static int64_t calls[2], allocations[2]; /* of generate and personalize, undisturbed */
static uint8_t *wanted[2];               /* their files */
static size_t wanted_size[2];
/* Keeps the driver loaded from one run to the next. */
static likeness_context *keeper;

static likeness_status make(likeness_context *context, likeness_model *model, bool guided, likeness_image *image) {
    likeness_generate_params params = {.prompt = "a red person", .seed = 7};
    if (!guided) return likeness_generate(model, &params, image);
    likeness_image reference = {0};
    likeness_personalize_result result;
    likeness_status status =
        likeness_image_read(context, LIKENESS_SOURCE_DIR "/tests/data/pictures/rgb.png", &reference);
    if (status != LIKENESS_OK) return status;
    likeness_personalize_params personal = {.base = params, .reference = &reference, .iterations = 1};
    status = likeness_personalize(model, &personal, &result);
    if (status == LIKENESS_OK) {
        *image = result.guided;
        result.guided = (likeness_image){0};
    }
    likeness_personalize_result_free(&result);
    likeness_image_free(&reference);
    return status;
}

/* Everything once. The message of a failure is copied. */
static likeness_status whole(bool guided, char message[768]) {
    const likeness_options options = {.cache = "", .device = getenv("LIKENESS_TEST_DEVICE")};
    likeness_context *context = NULL;
    likeness_model *model = NULL;
    likeness_image image = {0};
    likeness_status status = likeness_open(&options, &context);
    if (status == LIKENESS_OK) status = likeness_load(context, model_folder, &model);
    if (status == LIKENESS_OK) status = make(context, model, guided, &image);
    if (status == LIKENESS_OK) status = likeness_image_write(context, picture_path, &image, "settings");
    snprintf(message, 768, "%s", context ? likeness_message(context) : "no memory even for a message");
    likeness_image_free(&image);
    likeness_unload(model);
    likeness_close(context);
    return status;
}

/* ---- one failure ---- */

typedef enum fault { MEMORY_ONCE, MEMORY_AFTER, CALL_MEMORY, CALL_LOST, CALL_HOST_ONCE, FAULTS } fault;

static const struct {
    const char *name;
    likeness_status status;
} faults[FAULTS] = {{"allocation", LIKENESS_OUT_OF_MEMORY},
                    {"allocations from", LIKENESS_OUT_OF_MEMORY},
                    {"no device memory from call", LIKENESS_OUT_OF_MEMORY},
                    {"device lost from call", LIKENESS_DEVICE_LOST},
                    {"no host memory in call", LIKENESS_OUT_OF_MEMORY}};

static void start_failing(fault kind, int64_t n) {
    if (kind == MEMORY_ONCE) lk_memory_fail_once(n);
    if (kind == MEMORY_AFTER) lk_memory_fail_after(n);
    if (kind == CALL_MEMORY) lk_gpu_fail_after(n, LK_FAULT_OUT_OF_DEVICE_MEMORY);
    if (kind == CALL_LOST) lk_gpu_fail_after(n, LK_FAULT_DEVICE_LOST);
    if (kind == CALL_HOST_ONCE) lk_gpu_fail_once(n, LK_FAULT_OUT_OF_HOST_MEMORY);
}

static void stop_failing(void) {
    lk_memory_fail_after(-1);
    lk_gpu_fail_after(-1, LK_FAULT_DEVICE_LOST);
}

/* True when it was survived. */
static bool attempt(bool guided, fault kind, int64_t n) {
    char message[768];
    int64_t live = lk_memory_live();
    const char *what = faults[kind].name;
    unlink(picture_path);
    start_failing(kind, n);
    likeness_status status = whole(guided, message);
    stop_failing();
    if (lk_memory_live() != live)
        fail_msg("%s %lld: %lld blocks leaked", what, (long long)n, (long long)(lk_memory_live() - live));
    if (status == LIKENESS_OK) {
        lk_error error = LK_ERROR_INIT;
        uint8_t *data;
        size_t size;
        if (lk_file_read(picture_path, 1 << 24, &data, &size, &error) != LIKENESS_OK) fail_msg("%s", error.message);
        if (size != wanted_size[guided] || memcmp(data, wanted[guided], size) != 0)
            fail_msg("%s %lld: survived with another picture", what, (long long)n);
        lk_free(data);
        return true;
    }
    if (status != faults[kind].status || strlen(message) < 8)
        fail_msg("%s %lld: status %d, message '%s'", what, (long long)n, (int)status, message);
    if (lk_file_exists(picture_path)) fail_msg("%s %lld: failed, but there is a picture", what, (long long)n);
    return false;
}

static int64_t most_of(bool guided, fault kind) { return kind < CALL_MEMORY ? allocations[guided] : calls[guided]; }

static void some(void **state) {
    uint64_t random = 20260000;
    int survived = 0;
    (void)state;
    for (int i = 0; i < 50; i++) {
        bool guided = i % 5 == 0; /* takes longer */
        fault kind = (fault)(i / 2 % FAULTS);
        random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        survived += attempt(guided, kind, (int64_t)((random >> 20) % (uint64_t)most_of(guided, kind)));
    }
    printf("50 failures, %d survived with the same picture\n", survived);
    assert_true(survived < 25);
}

/* With LIKENESS_TEST_ALL (tools/test.sh --all): every Vulkan call, minutes; with 2: every allocation too, hours. */
static void every(void **state) {
    (void)state;
    for (int kind = getenv("LIKENESS_TEST_ALL")[0] == '2' ? MEMORY_ONCE : CALL_MEMORY; kind < FAULTS; kind++)
        for (int64_t n = 0; n < most_of(false, (fault)kind); n++)
            attempt(false, (fault)kind, n);
}

/* ---- frame ---- */

static int start(void **state) {
    (void)state;
    for (int guided = 0; guided < 2; guided++) {
        char message[768];
        lk_error error = LK_ERROR_INIT;
        int64_t before[2] = {lk_gpu_calls(), lk_memory_count()};
        if (whole(guided, message) != LIKENESS_OK) fail_msg("%s", message);
        calls[guided] = lk_gpu_calls() - before[0];
        allocations[guided] = lk_memory_count() - before[1];
        if (lk_file_read(picture_path, 1 << 24, &wanted[guided], &wanted_size[guided], &error) != LIKENESS_OK)
            fail_msg("%s", error.message);
        printf("%s: %lld Vulkan calls, %lld allocations\n", guided ? "personalize" : "generate",
               (long long)calls[guided], (long long)allocations[guided]);
    }
    return 0;
}

static int stop(void **state) {
    (void)state;
    unlink(picture_path);
    lk_free(wanted[0]);
    lk_free(wanted[1]);
    likeness_close(keeper);
    return nothing_left();
}

int main(void) {
    const likeness_options options = {.cache = "", .device = getenv("LIKENESS_TEST_DEVICE")};
    if (likeness_open(&options, &keeper) != LIKENESS_OK) {
        printf("skipped: %s\n", keeper ? likeness_message(keeper) : "no memory");
        likeness_close(keeper);
        return 77;
    }
    const char *chosen = getenv("LIKENESS_TEST_MODEL");
    bool shipped = lk_file_exists(CAMEO "/unet/diffusion_pytorch_model.safetensors");
    bool slow = strstr(likeness_device_name(keeper), "SwiftShader") != NULL; /* minutes instead of seconds */
    model_folder = chosen ? chosen : shipped && !slow ? CAMEO : TINY;
    printf("model: %s\n", model_folder);
    if (!chosen && !shipped) printf("skipped with Cameo, done with the tiny model: no weights in assets/cameo\n");
    snprintf(picture_path, sizeof picture_path, "/tmp/likeness-faults-%ld.png", (long)getpid());
    const struct CMUnitTest tests[] = {cmocka_unit_test(some)},
                            all[] = {cmocka_unit_test(some), cmocka_unit_test(every)};
    const char *wish = getenv("LIKENESS_TEST_ALL");
    bool everything = wish && wish[0] && wish[0] != '0';
    return everything ? cmocka_run_group_tests(all, start, stop) : cmocka_run_group_tests(tests, start, stop);
}
