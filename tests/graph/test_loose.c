/* tests/graph/test_loose.c - self-check (d) with a witness: every tensor in a buffer of its own, and the validation
 * layer's GPU-assisted checks looking at every address that a shader uses. An access past the end of a tensor then ends
 * outside of any buffer and is reported. A deliberate one comes first: where it goes unseen (no layer, a device without
 * 64-bit integers, which the layer needs) the rest is skipped, saying so. Compiling what the layer makes of the shaders
 * is slow: one network, all with LIKENESS_TEST_ALL=1. */
#include "base/time.h"
#include "check/push.h"
#include "graph/graph_test.h"
#include "graph/internal.h"

/* y += x over `count` elements of buffers that hold 100. */
static void add_past_the_end(lk_device *device, int32_t count) {
    lk_error error = LK_ERROR_INIT;
    lk_block *x = NULL, *y = NULL;
    lk_recording *recording = NULL;
    assert_ok(lk_block_create(device, 400, "x", &x, &error), &error);
    assert_ok(lk_block_create(device, 400, "y", &y, &error), &error);
    assert_ok(lk_recording_create(device, NULL, &recording, &error), &error);
    lk_command command = lk_command_make(LK_SHADER_CHECK_AXPY);
    struct lk_push_axpy push = {
        .x = lk_ref_address(lk_block_ref(x)), .y = lk_ref_address(lk_block_ref(y)), .count = count, .a = 1};
    lk_command_spec(&command, 0, 16);
    lk_command_spec(&command, 1, 0);
    lk_command_push(&command, &push, sizeof push);
    lk_command_reads(&command, lk_block_ref(x));
    lk_command_reads_writes(&command, lk_block_ref(y));
    command.groups = ((uint64_t)count + 15) / 16;
    assert_ok(lk_record(recording, &command, &error), &error);
    assert_ok(lk_replay(recording, &error), &error);
    assert_ok(lk_recording_wait(recording, &error), &error);
    lk_recording_destroy(recording);
    lk_block_destroy(x);
    lk_block_destroy(y);
}

/* Some versions of the layer report addresses that lie well inside of a buffer: the address decides. */
static bool inside_a_buffer(const lk_instance *instance, uint64_t address) {
    const lk_weights *weights = instance->plan->graph->weights;
    lk_buffer_ref ref = instance->scratch ? lk_block_ref(instance->scratch) : (lk_buffer_ref){NULL, 0, 0};
    bool inside = address >= lk_ref_address(ref) && address < lk_ref_address(ref) + ref.bytes;
    for (int32_t i = 0; i < instance->block_count && !inside; i++) {
        ref = lk_block_ref(instance->blocks[i]);
        inside = address >= lk_ref_address(ref) && address < lk_ref_address(ref) + ref.bytes;
    }
    for (int32_t i = 0; i < weights->count && !inside; i++) {
        ref = weights->items[i].ref;
        inside = address >= lk_ref_address(ref) && address < lk_ref_address(ref) + ref.bytes;
    }
    return inside;
}

static void run_watched(const char *name, lk_device *device) {
    lk_error error = LK_ERROR_INIT;
    network_case n;
    double start = lk_time_seconds();
    int commands = 0;
    network_open(&n, name, &(network_options){.precise = false});
    lk_plan *plan = graph_plan(n.c.graph, &(lk_plan_options){.loose = true});
    lk_instance *instance = graph_instance(plan, device, NULL);
    case_write_all(&n.c, instance);
    for (int s = 0; s <= n.c.section; s++)
        for (uint32_t k = 0; k < lk_recording_count(instance->recordings[s]); k++, commands++) {
            int64_t before = lk_device_validation_count();
            assert_ok(lk_recording_run_one(instance->recordings[s], k, &error), &error);
            if (lk_device_validation_count() == before) continue;
            const char *at = strstr(lk_device_validation_last(), "Device address ");
            if (!at || !inside_a_buffer(instance, strtoull(at + strlen("Device address "), NULL, 16)))
                fail_msg("%s: %s: %s", name, lk_recording_command(instance->recordings[s], k)->label,
                         lk_device_validation_last());
        }
    printf("%s: %d commands, no access outside of a tensor (%.1f s)\n", name, commands, lk_time_seconds() - start);
    lk_instance_destroy(instance);
    lk_plan_destroy(plan);
    network_close(&n);
}

static void nothing_reaches_past_its_tensor(void **state) {
    (void)state;
    static const char *const networks[] = {"clip_0", "onnx_odd", "encoder_3", "decoder_2", "unet_0"};
    lk_device *device = NULL;
    lk_error error = LK_ERROR_INIT;
    lk_device_options options = {.select = getenv("LIKENESS_TEST_DEVICE"), .cache_folder = ""};
    if (lk_device_open(&options, &device, &error) != LIKENESS_OK) {
        printf("skipped: %s\n", error.message);
        skip();
    }
    bool can = lk_device_caps(device)->int64;
    lk_device_close(device);
    if (!can) {
        printf("skipped: GPU-assisted validation of addresses needs 64-bit integers in shaders\n");
        skip();
    }
    unsetenv("LIKENESS_VALIDATION_SHOW"); /* the deliberate one is nobody else's business */
    setenv("LIKENESS_VALIDATION", "1", 1);
    setenv("VK_LAYER_ENABLES", "VK_VALIDATION_FEATURE_ENABLE_GPU_ASSISTED_EXT", 1);
    assert_ok(lk_device_open(&options, &device, &error), &error);
    add_past_the_end(device, 100);
    int64_t before = lk_device_validation_count();
    if (lk_device_validation_active(device)) add_past_the_end(device, 101);
    int64_t seen = lk_device_validation_count();
    if (seen == before) {
        printf("skipped: the validation layer is missing or sees no addresses (Debian, Ubuntu: apt install "
               "vulkan-validationlayers)\n");
        lk_device_close(device);
        skip();
    }
    int count = getenv("LIKENESS_TEST_ALL") ? (int)(sizeof networks / sizeof networks[0]) : 1;
    for (int i = 0; i < count; i++)
        run_watched(networks[i], device);
    lk_device_close(device);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_reaches_past_its_tensor)};
    return cmocka_run_group_tests(tests, NULL, NULL) + (lk_memory_live() != 0);
}
