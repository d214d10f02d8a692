/* shaders/movement/pad.comp - PAD; the derivative of edge and reflect padding as a gather.
 *
 * Up to four dimensions, innermost first, the written tensor contiguous. Edge and reflect touch dimensions 1 and 2 (W and H). */
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_GOOGLE_include_directive : require
#include "common/memory.glsl"
#include "common/grid.glsl"
#include "common/index.glsl"
#define LK_PUSH_PAD
#include "movement/push.h"

/* Where output position p reads along an axis. */
int source(int axis, int p) {
    int i = p - push.before[axis];
    int last = push.size_x[axis] - 1;
    if (push.mode == 1) return clamp(i, 0, last);
    if (push.mode == 2) {
        i = abs(i);
        return i > last ? 2 * last - i : i;
    }
    return i;
}

/* The outputs along an axis that read position i: edge [first, last]; reflect: up to three, in order. */
int reader_count(int axis, int i) {
    if (push.mode == 4) return 3;
    int before = push.before[axis];
    int first = i == 0 ? 0 : i + before;
    int last = i == push.size_y[axis] - 1 ? push.size_x[axis] - 1 : i + before;
    return last - first + 1;
}

/* The k-th of them, -1: none. */
int reader(int axis, int i, int k) {
    int before = push.before[axis];
    if (push.mode == 3) return (i == 0 ? 0 : i + before) + k;
    int last = push.size_y[axis] - 1;
    int p = before + (k == 0 ? -i : (k == 1 ? i : 2 * last - i));
    if (k == 0 && i == 0) return -1;
    if (k == 2 && i == last) return -1;
    return p >= 0 && p < push.size_x[axis] ? p : -1;
}

void main() {
    int step = int(gl_WorkGroupSize.x);
    int i = int(lk_group_index()) * step * push.per_thread + int(gl_LocalInvocationID.x);
    for (int k = 0; k < push.per_thread && i < push.total; ++k, i += step) {
        int p[4];
        int q0 = lk_divide(i, push.size_y[0], 1.0 / float(push.size_y[0]));
        int q1 = lk_divide(q0, push.size_y[1], 1.0 / float(push.size_y[1]));
        p[3] = lk_divide(q1, push.size_y[2], 1.0 / float(push.size_y[2]));
        p[0] = i - q0 * push.size_y[0];
        p[1] = q0 - q1 * push.size_y[1];
        p[2] = q1 - p[3] * push.size_y[2];
        float v = 0.0;
        if (p[0] < push.valid) {
            if (push.mode < 3) {
                bool inside = true;
                int from = 0;
                for (int d = 0; d < 4; ++d) {
                    int at = source(d, p[d]);
                    inside = inside && at >= 0 && at < push.size_x[d];
                    from += at * push.stride_x[d];
                }
                v = push.value;
                if (inside) v = lk_load(push.x, from);
            } else {
                int count_y = reader_count(2, p[2]), count_x = reader_count(1, p[1]);
                for (int y = 0; y < count_y; ++y) {
                    int at_y = reader(2, p[2], y);
                    for (int x = 0; x < count_x; ++x) {
                        int at_x = reader(1, p[1], x);
                        if (at_y >= 0 && at_x >= 0)
                            v += lk_load(push.x, p[0] * push.stride_x[0] + at_x * push.stride_x[1] + at_y * push.stride_x[2] +
                                                     p[3] * push.stride_x[3]);
                    }
                }
            }
        }
        lk_store(push.y, i, v);
    }
}
