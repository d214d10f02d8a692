/* shaders/product/push.h - push constants of the batched matmul. Steps are in elements; a turned matrix only has other
 * steps. */
#include "../common/push.h"

#if LK_PUSH_ALL || defined(LK_PUSH_PRODUCT)
LK_PUSH(product) {
    LK_ADDRESS_F32 a;
    LK_ADDRESS_F32 b;
    LK_ADDRESS_F32 y;
    LK_INT a_matrix, a_row, a_depth; /* to the next matrix, row, entry of the sum */
    LK_INT b_matrix, b_column, b_depth;
    LK_INT rows, columns, depth;
    LK_INT ld; /* of y */
    LK_INT row_tiles, column_tiles;
} LK_PUSH_END
#endif
