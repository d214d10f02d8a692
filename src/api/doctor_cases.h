/* api/doctor_cases.h - small graphs on odd shapes, one a case, that together use every kernel forward and backward. */
#ifndef LK_API_DOCTOR_CASES_H
#define LK_API_DOCTOR_CASES_H

#include "graph/graph.h"

enum { LK_DOCTOR_MAX_INPUTS = 8 };

typedef struct lk_doctor_graph {
    lk_weights *weights;
    lk_graph *graph;
    uint64_t random; /* state of the case's generator */
    lk_value inputs[LK_DOCTOR_MAX_INPUTS];
    bool differentiate[LK_DOCTOR_MAX_INPUTS];
    bool positive[LK_DOCTOR_MAX_INPUTS]; /* values in 0.5..1.5 instead of -1..1 */
    int32_t range[LK_DOCTOR_MAX_INPUTS]; /* i32 inputs: values below this */
    int input_count;
    lk_value output; /* the value that is compared and differentiated */
    lk_value also;   /* one more that is compared, LK_NO_VALUE: none */
    int32_t units;   /* the device's compute units: what counts as large depends on them */
    lk_error *error;
} lk_doctor_graph;

typedef struct lk_doctor_case {
    const char *op, *test;
    lk_value (*build)(lk_doctor_graph *d);
} lk_doctor_case;

const lk_doctor_case *lk_doctor_cases(int *count);
/* Next value of the case's generator, -1..1. */
float lk_doctor_random(lk_doctor_graph *d);

#endif
