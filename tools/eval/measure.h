/* tools/eval/measure.h - the measures of docs/results.md as plain functions: no files, no device, no model.
 *
 * Pictures are 8-bit RGB, rows top to bottom. Tests: tests/eval/test_measure.c, with known answers. */
#ifndef EVAL_MEASURE_H
#define EVAL_MEASURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* 10 log10(255^2 / mean squared difference) of two arrays of bytes; equal ones give 78.13 (a difference of 0.001). */
double eval_psnr(const uint8_t *a, const uint8_t *b, size_t count);

/* Median, channel by channel, of the two upper corners: squares between 1/64 and 7/64 of the width from the edges (the
 * lower corners show clothes). */
void eval_corner_median(const uint8_t *rgb, int width, int height, double median[3]);
/* Index of the colour with the smallest squared distance; the first of equals. */
int eval_nearest_colour(const uint8_t (*palette)[3], int count, const double colour[3]);

/* Mean over pixels and channels of dx^2 + dy^2, forward differences of values 0..1: how much there is to see. */
double eval_gradient_energy(const uint8_t *rgb, int width, int height);

/* Mean cosine over all pairs i < j of `count` vectors of `width` numbers. */
double eval_mean_pairwise_cosine(const float *vectors, int count, int width);

/* The smallest threshold at which at most `rate` of the scores are accepted (score >= threshold). Sorts the scores. */
double eval_threshold(float *scores, size_t count, double rate);
/* Share of the scores that a threshold accepts; NaN for none. */
double eval_accepted(const float *scores, size_t count, double threshold);

int eval_argmax(const float *values, int count);

/* Index of the class whose name begins the phrase ("with dark brown short hair", after "with ") as whole words, the
 * longest of several; -1 when none does. */
int eval_hair_class(const char *phrase, const char *const *classes, int count);

/* A mean that grows. */
typedef struct eval_mean {
    double sum;
    int count;
} eval_mean;
void eval_mean_add(eval_mean *mean, double value); /* NaN is left out */
double eval_mean_get(const eval_mean *mean);       /* NaN when empty */

#endif
