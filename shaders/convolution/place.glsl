/* shaders/convolution/place.glsl - which source pixel a tap of an output pixel reads.
 *
 * Forward: source = out * stride + tap * dilation - padding. Gradient: out = (source + padding - tap * dilation) /
 * stride, which exists only for some taps. The gradient's output pixels therefore come in stride_y * stride_x phases:
 * pixel = place * stride + phase; all pixels of a phase read the same taps, at source = place + a constant. So in
 * both directions a tap is
 *
 *     source pixel = place * lk_scale + lk_shift(tap)        out pixel = place * lk_spread + phase
 */
#ifndef LK_PLACE_GLSL
#define LK_PLACE_GLSL

ivec2 lk_pair(int packed) { return ivec2(packed & 0xffff, packed >> 16); }

#ifdef DX
#define lk_scale(stride) ivec2(1, 1)
#define lk_spread(stride) (stride)
#else
#define lk_scale(stride) (stride)
#define lk_spread(stride) ivec2(1, 1)
#endif

/* The taps that a phase reads along one axis: first, first + step ... below kernel. Loops take only these: CPU
 * drivers walk through a skipped iteration at full cost. */
void lk_taps(int dilation, int padding, int stride, int phase, int kernel, out int first, out int step) {
    first = 0;
    step = 1;
#ifdef DX
    float inverse = 1.0 / float(stride);
    while (lk_modulo(step * dilation, stride, inverse) != 0) ++step;
    int lift = kernel * dilation * stride; /* keeps the division positive */
    while (first < kernel && lk_modulo(phase + padding - first * dilation + lift, stride, inverse) != 0) ++first;
#endif
}

/* Shift of one of those taps. */
int lk_shift(int tap, int dilation, int padding, int stride, int phase, int kernel) {
#ifdef DX
    int lift = kernel * dilation;
    return lk_divide(phase + padding - tap * dilation + lift * stride, stride, 1.0 / float(stride)) - lift;
#else
    return tap * dilation - padding;
#endif
}

#endif
