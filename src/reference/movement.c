/* reference/movement.c - pad, slice, concat, permute, reshape, gather, reduce, broadcast. */
#include "reference/internal.h"

#include "base/memory.h"

#include <math.h>

/* ---- pad ---- */

/* Coordinate of the input that coordinate i of the output shows, or -1 for the constant. */
static int64_t lk_pad_source(const lk_attributes *a, int axis, int64_t i, int64_t extent) {
    const int64_t source = i - a->pad.before[axis];
    if (source >= 0 && source < extent) return source;
    switch (a->pad.kind) {
    case LK_PAD_CONSTANT:
        return -1;
    case LK_PAD_EDGE:
        return source < 0 ? 0 : extent - 1;
    case LK_PAD_REFLECT:
        return source < 0 ? -source : 2 * (extent - 1) - source;
    }
    return -1;
}

/* Index into x of what the index-th element of the padded tensor shows, or -1. */
static int64_t lk_pad_index(const lk_op_call *call, const lk_shape *x, const lk_shape *y, int64_t index) {
    int64_t at[LK_MAX_RANK];
    lk_coordinates_of(y, index, at);
    for (int i = 0; i < x->rank; i++) {
        at[i] = lk_pad_source(&call->attributes, i, at[i], x->dim[i]);
        if (at[i] < 0) return -1;
    }
    return lk_dense_index(x, at);
}

bool lk_reference_pad(const lk_op_call *call, const double *const *in, double *const *out) {
    const lk_shape *x = &call->input[0].shape, *y = &call->output[0].shape;
    const int64_t count = lk_shape_elements(y);
    for (int64_t i = 0; i < count; i++) {
        int64_t source = lk_pad_index(call, x, y, i);
        out[0][i] = source < 0 ? (double)call->attributes.pad.value : in[0][source];
    }
    return true;
}

bool lk_reference_pad_dx(const lk_op_call *call, const double *const *in, double *const *out) {
    const lk_shape *x = &call->output[0].shape, *y = &call->input[0].shape;
    const int64_t count = lk_shape_elements(y);
    lk_reference_zero(out[0], x);
    for (int64_t i = 0; i < count; i++) {
        int64_t source = lk_pad_index(call, x, y, i);
        if (source >= 0) out[0][source] += in[0][i];
    }
    return true;
}

/* ---- slice ---- */

static int64_t lk_slice_index(const lk_op_call *call, const lk_shape *whole, const lk_shape *part, int64_t index) {
    int64_t at[LK_MAX_RANK];
    lk_coordinates_of(part, index, at);
    for (int i = 0; i < whole->rank; i++) {
        at[i] = call->attributes.slice.start[i] + at[i] * call->attributes.slice.step[i];
    }
    return lk_dense_index(whole, at);
}

bool lk_reference_slice(const lk_op_call *call, const double *const *in, double *const *out) {
    const lk_shape *x = &call->input[0].shape, *y = &call->output[0].shape;
    const int64_t count = lk_shape_elements(y);
    for (int64_t i = 0; i < count; i++) {
        out[0][i] = in[0][lk_slice_index(call, x, y, i)];
    }
    return true;
}

bool lk_reference_slice_dx(const lk_op_call *call, const double *const *in, double *const *out) {
    const lk_shape *x = &call->output[0].shape, *y = &call->input[0].shape;
    const int64_t count = lk_shape_elements(y);
    lk_reference_zero(out[0], x);
    for (int64_t i = 0; i < count; i++) {
        out[0][lk_slice_index(call, x, y, i)] = in[0][i];
    }
    return true;
}

/* ---- concat, permute, copies ---- */

bool lk_reference_concat(const lk_op_call *call, const double *const *in, double *const *out) {
    const lk_shape *y = &call->output[0].shape;
    const int axis = call->attributes.axis.axis;
    int64_t start = 0;
    for (int part = 0; part < call->input_count; part++) {
        const lk_shape *x = &call->input[part].shape;
        const int64_t count = lk_shape_elements(x);
        for (int64_t i = 0; i < count; i++) {
            int64_t at[LK_MAX_RANK];
            lk_coordinates_of(x, i, at);
            at[axis] += start;
            out[0][lk_dense_index(y, at)] = in[part][i];
        }
        start += x->dim[axis];
    }
    return true;
}

static void lk_permute_values(const lk_shape *x, const lk_shape *y, const int32_t *perm, const double *from,
                              double *to) {
    const int64_t count = lk_shape_elements(y);
    for (int64_t i = 0; i < count; i++) {
        int64_t at[LK_MAX_RANK], source[LK_MAX_RANK];
        lk_coordinates_of(y, i, at);
        for (int k = 0; k < y->rank; k++) {
            source[perm[k]] = at[k];
        }
        to[i] = from[lk_dense_index(x, source)];
    }
}

bool lk_reference_permute(const lk_op_call *call, const double *const *in, double *const *out) {
    lk_permute_values(&call->input[0].shape, &call->output[0].shape, call->attributes.permute.perm, in[0], out[0]);
    return true;
}

bool lk_reference_copy(const lk_op_call *call, const double *const *in, double *const *out) {
    const int64_t count = lk_shape_elements(&call->output[0].shape);
    for (int64_t i = 0; i < count; i++) {
        out[0][i] = in[0][i];
    }
    return true;
}

/* [N,C,H,W] and [N,H*W,C]: in dense logical order that is a transposition. */
bool lk_reference_to_tokens(const lk_op_call *call, const double *const *in, double *const *out) {
    const lk_shape *x = &call->input[0].shape;
    lk_shape planes = lk_shape3(x->dim[0], x->dim[1], x->dim[2] * x->dim[3]);
    lk_permute_values(&planes, &call->output[0].shape, (const int32_t[]){0, 2, 1}, in[0], out[0]);
    return true;
}

bool lk_reference_from_tokens(const lk_op_call *call, const double *const *in, double *const *out) {
    const lk_shape *y = &call->output[0].shape;
    lk_shape planes = lk_shape3(y->dim[0], y->dim[1], y->dim[2] * y->dim[3]);
    lk_permute_values(&call->input[0].shape, &planes, (const int32_t[]){0, 2, 1}, in[0], out[0]);
    return true;
}

/* ---- gather ---- */

/* Row of the table that an id names, or -1. */
static int64_t lk_table_row(double id, int64_t rows) { return id >= 0 && id < (double)rows ? (int64_t)id : -1; }

bool lk_reference_gather(const lk_op_call *call, const double *const *in, double *const *out) {
    const int64_t rows = call->input[0].shape.dim[0], width = call->input[0].shape.dim[1];
    const int64_t count = lk_shape_elements(&call->input[1].shape);
    for (int64_t i = 0; i < count; i++) {
        const int64_t row = lk_table_row(in[1][i], rows);
        for (int64_t c = 0; c < width; c++) {
            out[0][i * width + c] = row < 0 ? 0 : in[0][row * width + c];
        }
    }
    return true;
}

bool lk_reference_gather_dx(const lk_op_call *call, const double *const *in, double *const *out) {
    const int64_t rows = call->output[0].shape.dim[0], width = call->output[0].shape.dim[1];
    const int64_t count = lk_shape_elements(&call->input[0].shape);
    lk_reference_zero(out[0], &call->output[0].shape);
    for (int64_t i = 0; i < count; i++) {
        const int64_t row = lk_table_row(in[0][i], rows);
        for (int64_t c = 0; c < width && row >= 0; c++) {
            out[0][row * width + c] += in[1][i * width + c];
        }
    }
    return true;
}

/* ---- reduce and broadcast ---- */

/* Index into the reduced tensor of the element of x at index i. */
static int64_t lk_reduced_index(const lk_op_call *call, const lk_shape *x, int64_t i) {
    int64_t at[LK_MAX_RANK], index = 0;
    lk_coordinates_of(x, i, at);
    for (int k = 0; k < x->rank; k++) {
        if ((call->attributes.reduce.axes >> k & 1u) == 0) index = index * x->dim[k] + at[k];
    }
    return index;
}

bool lk_reference_reduce(const lk_op_call *call, const double *const *in, double *const *out) {
    const lk_shape *x = &call->input[0].shape, *y = &call->output[0].shape;
    const int64_t count = lk_shape_elements(x), results = lk_shape_elements(y);
    const lk_reduce kind = call->attributes.reduce.kind;
    for (int64_t i = 0; i < results; i++) {
        out[0][i] = kind == LK_REDUCE_MAX ? -INFINITY : 0;
    }
    for (int64_t i = 0; i < count; i++) {
        double *to = &out[0][lk_reduced_index(call, x, i)];
        if (kind != LK_REDUCE_MAX)
            *to += in[0][i];
        else if (in[0][i] > *to)
            *to = in[0][i];
    }
    for (int64_t i = 0; i < results && kind == LK_REDUCE_MEAN; i++) {
        out[0][i] /= (double)(count / results);
    }
    return true;
}

/* in = {x, y, dy}. The maximum is found again in x: y may have been rounded. */
bool lk_reference_reduce_max_dx(const lk_op_call *call, const double *const *in, double *const *out) {
    const lk_shape *x = &call->input[0].shape, *y = &call->input[1].shape;
    const int64_t count = lk_shape_elements(x), results = lk_shape_elements(y);
    int64_t *best = lk_alloc((size_t)results, sizeof *best); /* 1 + index of the first maximum so far, 0: none */
    if (best == NULL) return false;
    for (int64_t i = 0; i < count; i++) {
        int64_t *b = &best[lk_reduced_index(call, x, i)];
        if (*b == 0 || in[0][i] > in[0][*b - 1]) *b = i + 1;
    }
    lk_reference_zero(out[0], x);
    for (int64_t r = 0; r < results; r++) {
        out[0][best[r] - 1] = in[2][r];
    }
    lk_free(best);
    return true;
}

bool lk_reference_broadcast(const lk_op_call *call, const double *const *in, double *const *out) {
    const lk_shape *y = &call->output[0].shape;
    const int64_t count = lk_shape_elements(y);
    for (int64_t i = 0; i < count; i++) {
        int64_t at[LK_MAX_RANK];
        lk_coordinates_of(y, i, at);
        out[0][i] =
            (double)call->attributes.shape.factor * in[0][lk_broadcast_index(&call->input[0].shape, at, y->rank)];
    }
    return true;
}
