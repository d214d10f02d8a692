/* shaders/reduce/common.glsl - positions of kept and reduced elements. */
int kept_offset(int i, out bool padding) {
    int dims = (push.mode >> 4) & 15;
    int offset = 0;
    padding = false;
    for (int d = 0; d < dims; ++d) {
        int q = d + 1 < dims ? lk_divide(i, push.kept_size[d], 1.0 / float(push.kept_size[d])) : 0;
        int position = i - q * push.kept_size[d];
        i = q;
        if (d == 0) padding = position >= push.valid;
        offset += position * push.kept_stride[d];
    }
    return offset;
}

int reduced_offset(int i) {
    int dims = (push.mode >> 8) & 15;
    int offset = 0;
    for (int d = 0; d < dims; ++d) {
        int q = d + 1 < dims ? lk_divide(i, push.size[d], 1.0 / float(push.size[d])) : 0;
        offset += (i - q * push.size[d]) * push.stride[d];
        i = q;
    }
    return offset;
}
