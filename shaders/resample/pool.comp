/* shaders/resample/pool.comp - POOL2D, max and average. Padding pixels never win a maximum. */
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_GOOGLE_include_directive : require
#include "common/memory.glsl"
#include "common/grid.glsl"
#include "common/index.glsl"
#define LK_PUSH_POOL
#include "resample/push.h"

float pooled(int n, int oy, int ox, int c) {
    int top = oy * push.stride[0] - push.padding[0];
    int left = ox * push.stride[1] - push.padding[1];
    int y0 = max(top, 0), y1 = min(top + push.kernel[0], push.input_size[0]);
    int x0 = max(left, 0), x1 = min(left + push.kernel[1], push.input_size[1]);
    bool average = push.average != 0;
    float r = average ? 0.0 : -3.402823466e38;
    for (int iy = y0; iy < y1; ++iy) {
        int row = (n * push.input_size[0] + iy) * push.input_size[1];
        for (int ix = x0; ix < x1; ++ix) {
            float v = lk_load(push.x, (row + ix) * push.ld + c);
            r = average ? r + v : max(r, v);
        }
    }
    if (average) {
        int count = (y1 - y0) * (x1 - x0);
        if (push.include_padding != 0) {
            count = (min(top + push.kernel[0], push.input_size[0] + push.padding[2]) - top) *
                    (min(left + push.kernel[1], push.input_size[1] + push.padding[3]) - left);
        }
        r = r / float(max(count, 1));
    }
    return r;
}

void main() {
    int step = int(gl_WorkGroupSize.x);
    int i = int(lk_group_index()) * step * push.per_thread + int(gl_LocalInvocationID.x);
    for (int k = 0; k < push.per_thread && i < push.total; ++k, i += step) {
        int pixel = lk_divide(i, push.ld, 1.0 / float(push.ld));
        int c = i - pixel * push.ld;
        int line = lk_divide(pixel, push.output_size[1], 1.0 / float(push.output_size[1]));
        int n = lk_divide(line, push.output_size[0], 1.0 / float(push.output_size[0]));
        float y = 0.0;
        if (c < push.inner) y = pooled(n, line - n * push.output_size[0], pixel - line * push.output_size[1], c);
        lk_store(push.y, i, y);
    }
}
