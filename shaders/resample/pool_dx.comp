/* shaders/resample/pool_dx.comp - POOL2D_DX as a gather: every input pixel asks the windows that read it, in order.
 *
 * Of a maximum the first one in the window's scan order takes the gradient: a pixel that equals the window's maximum
 * looks whether an earlier pixel of the window does too. */
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_GOOGLE_include_directive : require
#include "common/memory.glsl"
#include "common/grid.glsl"
#include "common/index.glsl"
#define LK_PUSH_POOL
#include "resample/push.h"

/* First and last output position whose window covers input position i. */
ivec2 windows(int axis, int i) {
    int last = i + push.padding[axis];
    int first = last - push.kernel[axis] + 1;
    int stride = push.stride[axis];
    float inverse = 1.0 / float(stride);
    int from = first <= 0 ? 0 : lk_divide(first + stride - 1, stride, inverse);
    return ivec2(from, min(lk_divide(last, stride, inverse), push.output_size[axis] - 1));
}

bool first_of_window(int n, int top, int left, int iy, int ix, int c, float largest) {
    int x1 = min(left + push.kernel[1], push.input_size[1]);
    for (int y = max(top, 0); y <= iy; ++y) {
        int end = y == iy ? ix : x1;
        int row = (n * push.input_size[0] + y) * push.input_size[1];
        for (int x = max(left, 0); x < end; ++x) {
            if (lk_load(push.x, (row + x) * push.ld + c) == largest) return false;
        }
    }
    return true;
}

float gathered(int n, int iy, int ix, int c, int at) {
    float sum = 0.0;
    ivec2 range_y = windows(0, iy), range_x = windows(1, ix);
    bool average = push.average != 0;
    float here = average ? 0.0 : lk_load(push.x, at);
    for (int oy = range_y.x; oy <= range_y.y; ++oy) {
        int top = oy * push.stride[0] - push.padding[0];
        for (int ox = range_x.x; ox <= range_x.y; ++ox) {
            int left = ox * push.stride[1] - push.padding[1];
            int out_at = ((n * push.output_size[0] + oy) * push.output_size[1] + ox) * push.ld + c;
            if (average) {
                int y0 = top, x0 = left, y1, x1;
                if (push.include_padding != 0) {
                    y1 = min(top + push.kernel[0], push.input_size[0] + push.padding[2]);
                    x1 = min(left + push.kernel[1], push.input_size[1] + push.padding[3]);
                } else {
                    y0 = max(top, 0);
                    x0 = max(left, 0);
                    y1 = min(top + push.kernel[0], push.input_size[0]);
                    x1 = min(left + push.kernel[1], push.input_size[1]);
                }
                sum += lk_load(push.dy, out_at) / float((y1 - y0) * (x1 - x0));
            } else if (here == lk_load(push.y, out_at)) {
                if (first_of_window(n, top, left, iy, ix, c, here)) sum += lk_load(push.dy, out_at);
            }
        }
    }
    return sum;
}

void main() {
    int step = int(gl_WorkGroupSize.x);
    int i = int(lk_group_index()) * step * push.per_thread + int(gl_LocalInvocationID.x);
    for (int k = 0; k < push.per_thread && i < push.total; ++k, i += step) {
        int pixel = lk_divide(i, push.ld, 1.0 / float(push.ld));
        int c = i - pixel * push.ld;
        int line = lk_divide(pixel, push.input_size[1], 1.0 / float(push.input_size[1]));
        int n = lk_divide(line, push.input_size[0], 1.0 / float(push.input_size[0]));
        float dx = 0.0;
        if (c < push.inner) dx = gathered(n, line - n * push.input_size[0], pixel - line * push.input_size[1], c, i);
        lk_store(push.dx, i, dx);
    }
}
