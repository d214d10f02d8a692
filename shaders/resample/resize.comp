/* shaders/resample/resize.comp - RESIZE and RESIZE_DX.
 *
 * Source positions are ratios of integers, so that floor and weight are exact at any size. The derivative is a gather: an
 * input pixel visits the outputs whose source lies within one pixel, in order. A thread takes 8 neighbouring channels of a
 * pixel (rows are padded to a multiple of 8), because finding its sources costs more than moving the numbers. */
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

/* Eight neighbouring channels; buffers are aligned to 4 bytes only, so they are read one by one. */
struct octet {
    vec4 low, high;
};

vec4 load_quad(int at) {
    return vec4(lk_load(push.x, at), lk_load(push.x, at + 1), lk_load(push.x, at + 2), lk_load(push.x, at + 3));
}

octet load_octet(int at) { return octet(load_quad(at), load_quad(at + 4)); }

void store_quad(int at, vec4 value) {
    lk_store(push.y, at, value.x);
    lk_store(push.y, at + 1, value.y);
    lk_store(push.y, at + 2, value.z);
    lk_store(push.y, at + 3, value.w);
}

octet blend(octet a, octet b, float weight) {
    return octet(a.low * (1.0 - weight) + b.low * weight, a.high * (1.0 - weight) + b.high * weight);
}

octet forward(int n, int oy, int ox, int c) {
    taps ty = taps_of(0, oy), tx = taps_of(1, ox);
    int upper_row = (n * push.input_size[0] + ty.lower) * push.input_size[1];
    octet a = load_octet((upper_row + tx.lower) * push.ld + c);
    if ((push.mode & 3) != 2) return a;
    int lower_row = (n * push.input_size[0] + ty.upper) * push.input_size[1];
    octet b = load_octet((upper_row + tx.upper) * push.ld + c);
    octet d = load_octet((lower_row + tx.lower) * push.ld + c);
    octet e = load_octet((lower_row + tx.upper) * push.ld + c);
    return blend(blend(a, b, tx.weight), blend(d, e, tx.weight), ty.weight);
}

octet backward(int n, int iy, int ix, int c) {
    ivec2 range_y = readers(0, iy), range_x = readers(1, ix);
    octet sum = octet(vec4(0.0), vec4(0.0));
    for (int oy = range_y.x; oy <= range_y.y; ++oy) {
        float wy = weight_of(taps_of(0, oy), iy);
        if (wy != 0.0) {
            int row = (n * push.output_size[0] + oy) * push.output_size[1];
            for (int ox = range_x.x; ox <= range_x.y; ++ox) {
                float w = wy * weight_of(taps_of(1, ox), ix);
                if (w != 0.0) {
                    octet dy = load_octet((row + ox) * push.ld + c);
                    sum.low += w * dy.low;
                    sum.high += w * dy.high;
                }
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
    int octets = push.ld / 8;
    int i = int(lk_group_index()) * step * push.per_thread + int(gl_LocalInvocationID.x);
    for (int k = 0; k < push.per_thread && i < push.total; ++k, i += step) {
        int pixel = lk_divide(i, octets, 1.0 / float(octets));
        int c = 8 * (i - pixel * octets);
        int line = lk_divide(pixel, width, 1.0 / float(width));
        int n = lk_divide(line, height, 1.0 / float(height));
        int y = line - n * height, x = pixel - line * width;
        octet value;
        if (derivative)
            value = backward(n, y, x, c);
        else
            value = forward(n, y, x, c);
        store_quad(8 * i, value.low);
        store_quad(8 * i + 4, value.high);
    }
}
