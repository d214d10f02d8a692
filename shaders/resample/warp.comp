/* shaders/resample/warp.comp - AFFINE_WARP (bilinear, zero outside) and AFFINE_WARP_DX.
 *
 * theta maps an output pixel to input coordinates. They are computed in fixed point for theta's leading bits plus a small
 * float rest, so that a weight is good to f32 at any size (a plain f32 coordinate of 100 has lost seven bits of it). Entries of
 * theta beyond +-2^20 / size are clamped: they point outside. The derivative gathers: an input pixel visits the outputs in the
 * box that theta's inverse gives, in order, and asks each where it reads. */
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_GOOGLE_include_directive : require
#include "common/memory.glsl"
#include "common/grid.glsl"
#include "common/index.glsl"
#define LK_PUSH_WARP
#include "resample/push.h"

const float FIXED = 1024.0;

/* One row of theta, split. */
struct split_row {
    ivec3 high;
    vec3 low;
};

split_row split(vec3 t) {
    float limit = 1048576.0 / float(max(push.output_size[0], push.output_size[1]));
    t = clamp(t, vec3(-limit, -limit, -1048576.0), vec3(limit, limit, 1048576.0));
    vec3 high = floor(t * FIXED + 0.5);
    split_row r;
    r.high = ivec3(high);
    r.low = t - high * (1.0 / FIXED);
    return r;
}

/* Integer part and fraction of the source coordinate. */
int source(split_row t, int ox, int oy, out float fraction) {
    int fixed_part = t.high.x * ox + t.high.y * oy + t.high.z;
    fraction = float(fixed_part & 1023) * (1.0 / FIXED) + (t.low.x * float(ox) + t.low.y * float(oy) + t.low.z);
    float carry = floor(fraction);
    fraction -= carry;
    return (fixed_part >> 10) + int(carry);
}

float tap(int n, int y, int x, int c) {
    if (y < 0 || y >= push.input_size[0] || x < 0 || x >= push.input_size[1]) return 0.0;
    return lk_load(push.x, ((n * push.input_size[0] + y) * push.input_size[1] + x) * push.ld + c);
}

float forward(int n, int oy, int ox, int c, split_row tx, split_row ty) {
    float fx, fy;
    int x = source(tx, ox, oy, fx);
    int y = source(ty, ox, oy, fy);
    float top = tap(n, y, x, c) * (1.0 - fx) + tap(n, y, x + 1, c) * fx;
    float bottom = tap(n, y + 1, x, c) * (1.0 - fx) + tap(n, y + 1, x + 1, c) * fx;
    return top * (1.0 - fy) + bottom * fy;
}

float backward(int n, int iy, int ix, int c, split_row tx, split_row ty, vec3 row_x, vec3 row_y) {
    /* Output positions that may read (ix, iy): |theta (ox, oy, 1) - (ix, iy)| < 1 in both coordinates. */
    float determinant = row_x.x * row_y.y - row_x.y * row_y.x;
    int x0 = 0, x1 = push.output_size[1] - 1, y0 = 0, y1 = push.output_size[0] - 1;
    float scale = abs(row_x.x * row_y.y) + abs(row_x.y * row_y.x);
    if (abs(determinant) > 1.0e-5 * scale) {
        float inverse = 1.0 / determinant;
        float px = float(ix) - row_x.z, py = float(iy) - row_y.z;
        float cx = (row_y.y * px - row_x.y * py) * inverse;
        float cy = (row_x.x * py - row_y.x * px) * inverse;
        float ex = (abs(row_y.y) + abs(row_x.y)) * abs(inverse) * 1.001 + 1.0 + 1.0e-3 * abs(cx);
        float ey = (abs(row_x.x) + abs(row_y.x)) * abs(inverse) * 1.001 + 1.0 + 1.0e-3 * abs(cy);
        float far = float(x1 + 1), low = float(y1 + 1);
        x0 = int(clamp(floor(cx - ex), 0.0, far));
        x1 = int(clamp(ceil(cx + ex), -1.0, far - 1.0));
        y0 = int(clamp(floor(cy - ey), 0.0, low));
        y1 = int(clamp(ceil(cy + ey), -1.0, low - 1.0));
    }
    float sum = 0.0;
    for (int oy = y0; oy <= y1; ++oy) {
        for (int ox = x0; ox <= x1; ++ox) {
            float fx, fy;
            int dx = ix - source(tx, ox, oy, fx);
            int dy = iy - source(ty, ox, oy, fy);
            if ((dx == 0 || dx == 1) && (dy == 0 || dy == 1)) {
                float w = (dx == 0 ? 1.0 - fx : fx) * (dy == 0 ? 1.0 - fy : fy);
                sum += w * lk_load(push.x, ((n * push.output_size[0] + oy) * push.output_size[1] + ox) * push.ld + c);
            }
        }
    }
    return sum;
}

void main() {
    int step = int(gl_WorkGroupSize.x);
    bool derivative = push.derivative != 0;
    int height = derivative ? push.input_size[0] : push.output_size[0];
    int width = derivative ? push.input_size[1] : push.output_size[1];
    int i = int(lk_group_index()) * step * push.per_thread + int(gl_LocalInvocationID.x);
    for (int k = 0; k < push.per_thread && i < push.total; ++k, i += step) {
        int pixel = lk_divide(i, push.ld, 1.0 / float(push.ld));
        int c = i - pixel * push.ld;
        int line = lk_divide(pixel, width, 1.0 / float(width));
        int n = lk_divide(line, height, 1.0 / float(height));
        int y = line - n * height, x = pixel - line * width;
        /* theta is [N,2,3]: rows of 8. */
        vec3 row_x = vec3(lk_load(push.theta, n * 16), lk_load(push.theta, n * 16 + 1), lk_load(push.theta, n * 16 + 2));
        vec3 row_y = vec3(lk_load(push.theta, n * 16 + 8), lk_load(push.theta, n * 16 + 9), lk_load(push.theta, n * 16 + 10));
        split_row tx = split(row_x), ty = split(row_y);
        lk_store(push.y, i, derivative ? backward(n, y, x, c, tx, ty, row_x, row_y) : forward(n, y, x, c, tx, ty));
    }
}
