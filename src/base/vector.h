/* base/vector.h - small measures of float vectors, summed in double. */
#ifndef LK_BASE_VECTOR_H
#define LK_BASE_VECTOR_H

#include <stddef.h>

/* a.b / (|a| |b|), -1 to 1; each length counts as at least 1e-8, as in PyTorch, so that a zero vector gives 0. */
double lk_vector_cosine(const float *a, const float *b, size_t count);

#endif
