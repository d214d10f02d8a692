/* tests/models/test_networks.c - six small configurations of each network against diffusers and transformers: outputs
 * and vector-Jacobian products (fixtures: tests/reference/models.py). */
#include "models/network_cases.h"

/* Every case once with f16 matrices (whose values are exact) and once with f32 ones. */
static void every(const char *kind) {
    char name[64];
    for (int i = 0; i < 12; i++) {
        network_case n;
        snprintf(name, sizeof name, "%s_%d", kind, i % 6);
        network_open(&n, name, &(network_options){.precise = i >= 6});
        case_check(&n.c);
        network_close(&n);
    }
}

static void test_clip(void **state) {
    (void)state;
    every("clip");
}

static void test_unet(void **state) {
    (void)state;
    every("unet");
}

static void test_encoder(void **state) {
    (void)state;
    every("encoder");
}

static void test_decoder(void **state) {
    (void)state;
    every("decoder");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_clip), cmocka_unit_test(test_unet),
                                       cmocka_unit_test(test_encoder), cmocka_unit_test(test_decoder)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (case_device()) lk_device_close(case_device());
    return failed;
}
