/* shaders/resample/resize.comp - RESIZE and RESIZE_DX.
 *
 * Source positions are ratios of integers, so that floor and weight are exact at any size. The derivative is a gather: an
 * input pixel visits the outputs whose source lies within one pixel, in order. */
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_GOOGLE_include_directive : require
#include "common/memory.glsl"
#include "common/grid.glsl"
#include "common/index.glsl"
#define LK_PUSH_RESIZE
#include "resample/push.h"

/* Taps of output o along an axis: lower and upper input position, and the upper one's weight. */
struct taps {
    int lower, upper;
    float weight;
};

taps taps_of(int axis, int o) {
    int kind = push.mode & 3;
    int last = push.input_size[axis] - 1;
    int denominator = push.denominator[axis];
    float inverse = 1.0 / float(denominator);
    int position = o * push.numerator[axis] + push.offset[axis];
    taps t;
    if (kind == 1) {
        /* ceil(p/d - 1/2) = floor((2p - d + 2d - 1) / 2d) */
        int shifted = 2 * position + denominator - 1;
        t.lower = shifted <= 0 ? 0 : min(lk_divide(shifted, 2 * denominator, 0.5 * inverse), last);
        t.upper = t.lower;
        t.weight = 0.0;
        return t;
    }
    position = max(position, 0);
    int whole = lk_divide(position, denominator, inverse);
    t.lower = min(whole, last);
    t.upper = kind == 0 ? t.lower : min(whole + 1, last);
    t.weight = kind == 0 ? 0.0 : float(position - whole * denominator) / float(denominator);
    return t;
}

/* Outputs that may read input i. */
ivec2 readers(int axis, int i) {
    int numerator = push.numerator[axis], denominator = push.denominator[axis], offset = push.offset[axis];
    int last = push.output_size[axis] - 1;
    ivec2 range = ivec2(0, last);
    if (numerator > 0) {
        float inverse = 1.0 / float(numerator);
        int from = (i - 1) * denominator - offset;
        int to = (i + 1) * denominator - offset;
        if (i > 0 && from > 0) range.x = min(lk_divide(from, numerator, inverse), last);
        if (i < push.input_size[axis] - 1) range.y = to < 0 ? -1 : min(lk_divide(to, numerator, inverse) + 1, last);
    }
    return range;
}

float weight_of(taps t, int i) { return (t.lower == i ? 1.0 - t.weight : 0.0) + (t.upper == i ? t.weight : 0.0); }

float forward(int n, int oy, int ox, int c) {
    taps ty = taps_of(0, oy), tx = taps_of(1, ox);
    int upper_row = (n * push.input_size[0] + ty.lower) * push.input_size[1];
    float a = lk_load(push.x, (upper_row + tx.lower) * push.ld + c);
    if ((push.mode & 3) != 2) return a;
    int lower_row = (n * push.input_size[0] + ty.upper) * push.input_size[1];
    float b = lk_load(push.x, (upper_row + tx.upper) * push.ld + c);
    float d = lk_load(push.x, (lower_row + tx.lower) * push.ld + c);
    float e = lk_load(push.x, (lower_row + tx.upper) * push.ld + c);
    float top = a * (1.0 - tx.weight) + b * tx.weight;
    float bottom = d * (1.0 - tx.weight) + e * tx.weight;
    return top * (1.0 - ty.weight) + bottom * ty.weight;
}

float backward(int n, int iy, int ix, int c) {
    ivec2 range_y = readers(0, iy), range_x = readers(1, ix);
    float sum = 0.0;
    for (int oy = range_y.x; oy <= range_y.y; ++oy) {
        float wy = weight_of(taps_of(0, oy), iy);
        if (wy != 0.0) {
            int row = (n * push.output_size[0] + oy) * push.output_size[1];
            for (int ox = range_x.x; ox <= range_x.y; ++ox) {
                float w = wy * weight_of(taps_of(1, ox), ix);
                if (w != 0.0) sum += w * lk_load(push.x, (row + ox) * push.ld + c);
            }
        }
    }
    return sum;
}

void main() {
    int step = int(gl_WorkGroupSize.x);
    bool derivative = (push.mode & 4) != 0;
    int height = derivative ? push.input_size[0] : push.output_size[0];
    int width = derivative ? push.input_size[1] : push.output_size[1];
    int i = int(lk_group_index()) * step * push.per_thread + int(gl_LocalInvocationID.x);
    for (int k = 0; k < push.per_thread && i < push.total; ++k, i += step) {
        int pixel = lk_divide(i, push.ld, 1.0 / float(push.ld));
        int c = i - pixel * push.ld;
        int line = lk_divide(pixel, width, 1.0 / float(width));
        int n = lk_divide(line, height, 1.0 / float(height));
        int y = line - n * height, x = pixel - line * width;
        lk_store(push.y, i, derivative ? backward(n, y, x, c) : forward(n, y, x, c));
    }
}
