/* shaders/common/index.glsl - integer division that is cheap on every driver.
 *
 * CPU drivers do a vector integer division lane by lane. lk_divide works through the float reciprocal, with one more
 * step on the remainder, and is exact for 0 <= i < 2^31 - 64 and 2 <= d (d = 1 too while i < 2^31 - 64). */
#ifndef LK_INDEX_GLSL
#define LK_INDEX_GLSL

/* i / d, inverse = 1.0 / float(d). */
int lk_divide(int i, int d, float inverse) {
    int q = int(float(i) * inverse);
    int r = i - q * d;
    int more = int(float(r) * inverse);
    q += more;
    r -= more * d;
    q = r < 0 ? q - 1 : q;
    r = r < 0 ? r + d : r;
    return r >= d ? q + 1 : q;
}

int lk_modulo(int i, int d, float inverse) { return i - lk_divide(i, d, inverse) * d; }

#endif
