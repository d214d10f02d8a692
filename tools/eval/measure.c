/* tools/eval/measure.c - see measure.h. */
#include "measure.h"

#include "base/vector.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

double eval_psnr(const uint8_t *a, const uint8_t *b, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        double difference = (double)a[i] - b[i];
        sum += difference * difference;
    }
    return 10 * log10(255.0 * 255.0 / fmax(sum / (double)count, 1e-3));
}

/* Median of a histogram of `total` bytes: the mean of the two middle ones where the number is even. */
static double histogram_median(const int histogram[256], int total) {
    int lower = -1, upper = -1, seen = 0;
    for (int value = 0; value < 256 && upper < 0; value++) {
        seen += histogram[value];
        if (lower < 0 && seen > (total - 1) / 2) lower = value;
        if (seen > total / 2) upper = value;
    }
    return (lower + upper) / 2.0;
}

void eval_corner_median(const uint8_t *rgb, int width, int height, double median[3]) {
    int from = width / 64, to = width * 7 / 64, histogram[3][256] = {{0}}, total = 0;
    if (to <= from) to = from + 1;
    for (int y = from; y < to && y < height; y++)
        for (int x = from; x < to; x++)
            for (int side = 0; side < 2; side++, total++) {
                const uint8_t *pixel = rgb + 3 * ((size_t)y * (size_t)width + (size_t)(side ? width - 1 - x : x));
                for (int c = 0; c < 3; c++)
                    histogram[c][pixel[c]]++;
            }
    for (int c = 0; c < 3; c++)
        median[c] = histogram_median(histogram[c], total);
}

int eval_nearest_colour(const uint8_t (*palette)[3], int count, const double colour[3]) {
    int best = -1;
    double least = INFINITY;
    for (int i = 0; i < count; i++) {
        double distance = 0;
        for (int c = 0; c < 3; c++)
            distance += (palette[i][c] - colour[c]) * (palette[i][c] - colour[c]);
        if (distance < least) {
            least = distance;
            best = i;
        }
    }
    return best;
}

double eval_gradient_energy(const uint8_t *rgb, int width, int height) {
    double sum = 0;
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < 3; c++) {
                size_t at = 3 * ((size_t)y * (size_t)width + (size_t)x) + (size_t)c;
                double dx = x + 1 < width ? rgb[at + 3] - rgb[at] : 0;
                double dy = y + 1 < height ? rgb[at + 3 * (size_t)width] - rgb[at] : 0;
                sum += dx * dx + dy * dy;
            }
    return sum / (255.0 * 255.0) / ((double)width * height * 3);
}

double eval_mean_pairwise_cosine(const float *vectors, int count, int width) {
    eval_mean mean = {0};
    for (int i = 0; i < count; i++)
        for (int j = i + 1; j < count; j++)
            eval_mean_add(&mean, lk_vector_cosine(vectors + (size_t)i * (size_t)width,
                                                  vectors + (size_t)j * (size_t)width, (size_t)width));
    return eval_mean_get(&mean);
}

static int descending(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

double eval_threshold(float *scores, size_t count, double rate) {
    size_t allowed = (size_t)floor(rate * (double)count + 1e-9);
    if (allowed >= count) return -INFINITY;
    qsort(scores, count, sizeof *scores, descending);
    /* The first score that must not pass; everything above it may. */
    return (double)nextafterf(scores[allowed], INFINITY);
}

double eval_accepted(const float *scores, size_t count, double threshold) {
    size_t accepted = 0;
    for (size_t i = 0; i < count; i++)
        accepted += (double)scores[i] >= threshold;
    return count ? (double)accepted / (double)count : NAN;
}

int eval_argmax(const float *values, int count) {
    int best = 0;
    for (int i = 1; i < count; i++)
        if (values[i] > values[best]) best = i;
    return best;
}

int eval_hair_class(const char *phrase, const char *const *classes, int count) {
    int best = -1;
    size_t longest = 0;
    if (strncmp(phrase, "with ", 5) == 0) phrase += 5;
    for (int i = 0; i < count; i++) {
        size_t length = strlen(classes[i]);
        if (strncmp(phrase, classes[i], length) != 0 || isalnum((unsigned char)phrase[length]) || length <= longest)
            continue;
        longest = length;
        best = i;
    }
    return best;
}

void eval_mean_add(eval_mean *mean, double value) {
    if (isnan(value)) return;
    mean->sum += value;
    mean->count++;
}

double eval_mean_get(const eval_mean *mean) { return mean->count ? mean->sum / mean->count : NAN; }
