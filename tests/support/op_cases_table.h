/* tests/support/op_cases_table.h - the words in which the case files (op_cases_*.c) are written. */
#ifndef TESTS_SUPPORT_OP_CASES_TABLE_H
#define TESTS_SUPPORT_OP_CASES_TABLE_H

#include "support/op_cases.h"

#define COUNT(list) ((int)(sizeof(list) / sizeof((list)[0])))
#define DIMS(...)                                                                                                      \
    {                                                                                                                  \
        (int32_t)(sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t)), { __VA_ARGS__ }                                 \
    }
/* An input: IN(values, dims...), SCALAR(values) of rank 0, FROM(list, dims...), FROM_SCALAR(list), ABSENT. */
#define IN(values, ...)                                                                                                \
    { DIMS(__VA_ARGS__), VALUES_##values, NULL, 0 }
#define SCALAR(values)                                                                                                 \
    { {0, {0}}, VALUES_##values, NULL, 0 }
#define FROM(list, ...)                                                                                                \
    { DIMS(__VA_ARGS__), VALUES_LIST, list, COUNT(list) }
#define FROM_SCALAR(list)                                                                                              \
    { {0, {0}}, VALUES_LIST, list, COUNT(list) }
#define ABSENT                                                                                                         \
    { {0, {0}}, VALUES_NONE, NULL, 0 }
#define INPUTS(...)                                                                                                    \
    { __VA_ARGS__ }
#define ATTR(...)                                                                                                      \
    { __VA_ARGS__ }
#define NO_ATTRIBUTES                                                                                                  \
    {                                                                                                                  \
        .axis = { 0 }                                                                                                  \
    }

/* A file of cases: {op, note, wanted outputs, flags, attributes, inputs}. */
typedef struct op_case_list {
    const op_case *cases;
    int count;
} op_case_list;
extern const op_case_list op_cases_linear, op_cases_pointwise, op_cases_movement, op_cases_spread;

#endif
