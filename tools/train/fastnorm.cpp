// fastnorm.cpp: group norm with an optional SiLU after it, forward and backward, for training on a CPU.
//
//   x [samples][pixels][channels] (channels last), f32 or bf16  --mean and variance of each (sample, group)-->  y
//
// One thread owns one sample, so no two threads ever write the same value; the weight gradients are per sample and
// summed by the caller.  Inner loops run over channels, which are contiguous.  Only fastnorm.py calls this.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

struct bf16 { uint16_t bits; };

static inline float get(float v) { return v; }
static inline float get(bf16 v) {
    uint32_t bits = (uint32_t)v.bits << 16;
    float f;
    memcpy(&f, &bits, 4);
    return f;
}
static inline void put(float &to, float v) { to = v; }
static inline void put(bf16 &to, float v) {                 // round to nearest even
    uint32_t bits;
    memcpy(&bits, &v, 4);
    to.bits = (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

template <class T>
static void forward(const T *x, T *y, const float *weight, const float *bias, float *mean, float *rstd,
                    int samples, int pixels, int channels, int groups, float eps, int silu) {
    const int width = channels / groups;
#pragma omp parallel for schedule(dynamic, 1)
    for (int n = 0; n < samples; n++) {
        const T *in = x + (size_t)n * pixels * channels;
        T *out = y + (size_t)n * pixels * channels;
        std::vector<float> sum(channels, 0.f), square(channels, 0.f), gain(channels), offset(channels);
        float *s = sum.data(), *q = square.data(), *a = gain.data(), *b = offset.data();
        for (int p = 0; p < pixels; p++)
            for (int c = 0; c < channels; c++) {
                float v = get(in[(size_t)p * channels + c]);
                s[c] += v;
                q[c] += v * v;
            }
        for (int g = 0; g < groups; g++) {
            double total = 0, squares = 0;
            for (int c = g * width; c < (g + 1) * width; c++) { total += s[c]; squares += q[c]; }
            double count = (double)pixels * width, m = total / count, variance = squares / count - m * m;
            mean[n * groups + g] = (float)m;
            rstd[n * groups + g] = (float)(1 / std::sqrt((variance > 0 ? variance : 0) + eps));
            for (int c = g * width; c < (g + 1) * width; c++) {
                a[c] = rstd[n * groups + g] * weight[c];
                b[c] = bias[c] - (float)m * a[c];
            }
        }
        for (int p = 0; p < pixels; p++)
            for (int c = 0; c < channels; c++) {
                float u = get(in[(size_t)p * channels + c]) * a[c] + b[c];
                put(out[(size_t)p * channels + c], silu ? u / (1.f + expf(-u)) : u);
            }
    }
}

template <class T>
static void backward(const T *x, const T *dy, T *dx, const float *weight, const float *bias, const float *mean,
                     const float *rstd, float *dweight, float *dbias, int samples, int pixels, int channels, int groups,
                     int silu) {
    const int width = channels / groups;
#pragma omp parallel for schedule(dynamic, 1)
    for (int n = 0; n < samples; n++) {
        size_t base = (size_t)n * pixels * channels;
        std::vector<float> buffer(6 * (size_t)channels, 0.f), held((size_t)pixels * channels);
        float *a = buffer.data(), *b = a + channels, *k = b + channels, *o = k + channels;   // u = a x + b, xhat = k x + o
        float *p1 = o + channels, *p2 = p1 + channels, *d = held.data();
        float *dw = dweight + (size_t)n * channels, *db = dbias + (size_t)n * channels;
        for (int c = 0; c < channels; c++) {
            int g = n * groups + c / width;
            k[c] = rstd[g];
            o[c] = -mean[g] * rstd[g];
            a[c] = k[c] * weight[c];
            b[c] = o[c] * weight[c] + bias[c];
            dw[c] = db[c] = 0;
        }
        for (int p = 0; p < pixels; p++)
            for (int c = 0; c < channels; c++) {
                size_t i = (size_t)p * channels + c;
                float v = get(x[base + i]), e = get(dy[base + i]);
                if (silu) {
                    float u = a[c] * v + b[c], sigmoid = 1.f / (1.f + expf(-u));
                    e *= sigmoid * (1.f + u * (1.f - sigmoid));
                }
                d[i] = e;
                db[c] += e;
                dw[c] += e * (k[c] * v + o[c]);
            }
        for (int g = 0; g < groups; g++) {
            float m1 = 0, m2 = 0;
            for (int c = g * width; c < (g + 1) * width; c++) { m1 += weight[c] * db[c]; m2 += weight[c] * dw[c]; }
            for (int c = g * width; c < (g + 1) * width; c++) {
                p1[c] = m1 / ((float)pixels * width);
                p2[c] = m2 / ((float)pixels * width);
            }
        }
        for (int p = 0; p < pixels; p++)
            for (int c = 0; c < channels; c++) {
                size_t i = (size_t)p * channels + c;
                float hat = k[c] * get(x[base + i]) + o[c];
                put(dx[base + i], k[c] * (weight[c] * d[i] - p1[c] - hat * p2[c]));
            }
    }
}

extern "C" void norm_forward(const void *x, void *y, const float *weight, const float *bias, float *mean, float *rstd,
                             int samples, int pixels, int channels, int groups, float eps, int silu, int half) {
    if (half) forward((const bf16 *)x, (bf16 *)y, weight, bias, mean, rstd, samples, pixels, channels, groups, eps, silu);
    else forward((const float *)x, (float *)y, weight, bias, mean, rstd, samples, pixels, channels, groups, eps, silu);
}

extern "C" void norm_backward(const void *x, const void *dy, void *dx, const float *weight, const float *bias,
                              const float *mean, const float *rstd, float *dweight, float *dbias, int samples, int pixels,
                              int channels, int groups, int silu, int half) {
    if (half) backward((const bf16 *)x, (const bf16 *)dy, (bf16 *)dx, weight, bias, mean, rstd, dweight, dbias, samples,
                       pixels, channels, groups, silu);
    else backward((const float *)x, (const float *)dy, (float *)dx, weight, bias, mean, rstd, dweight, dbias, samples,
                  pixels, channels, groups, silu);
}
