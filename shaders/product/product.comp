/* shaders/product/product.comp - BATCH_MATMUL: y = a b for a stack of matrices, both computed by the graph.
 *
 * A workgroup owns eight rows of one matrix and as many columns as it has threads: what it reads of a is the same for
 * all threads, b is read once for eight products. The sum runs over the depth in order. Padding columns get zero. */
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "common/memory.glsl"
#include "common/grid.glsl"
#include "common/index.glsl"
#define LK_PUSH_PRODUCT
#include "product/push.h"

const int ROWS = 8;

void main() {
    int group = int(lk_group_index());
    int rest = lk_divide(group, push.column_tiles, 1.0 / float(push.column_tiles));
    int column = (group - rest * push.column_tiles) * int(gl_WorkGroupSize.x) + int(gl_LocalInvocationID.x);
    int matrix = lk_divide(rest, push.row_tiles, 1.0 / float(push.row_tiles));
    int row = (rest - matrix * push.row_tiles) * ROWS;
    if (column >= push.ld) return;

    int from_b = matrix * push.b_matrix + min(column, push.columns - 1) * push.b_column;
    int from_a[ROWS];
    float sum[ROWS];
    [[unroll]] for (int r = 0; r < ROWS; ++r) {
        from_a[r] = matrix * push.a_matrix + min(row + r, push.rows - 1) * push.a_row;
        sum[r] = 0.0;
    }
    for (int k = 0; k < push.depth; ++k) {
        float b = lk_load(push.b, from_b + k * push.b_depth);
        [[unroll]] for (int r = 0; r < ROWS; ++r) sum[r] += lk_load(push.a, from_a[r] + k * push.a_depth) * b;
    }
    int to = (matrix * push.rows + row) * push.ld + column;
    [[unroll]] for (int r = 0; r < ROWS; ++r) {
        if (row + r < push.rows) lk_store(push.y, to + r * push.ld, column < push.columns ? sum[r] : 0.0);
    }
}
