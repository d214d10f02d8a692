/* shaders/common/push.h - push-constant blocks written once for GLSL and C.
 *
 * A family header declares   #if LK_PUSH_ALL || defined(LK_PUSH_NAME)   LK_PUSH(name) { ... } LK_PUSH_END   #endif.
 * C sees every block as struct lk_push_<name>; a shader defines LK_PUSH_<NAME> before the include and sees its own block as
 * `push`. Members are 4-byte scalars, arrays of them, and 8-byte addresses, which come first: the same layout in both
 * languages. At most 120 bytes: the command stream puts 8 bytes of its own in front (first workgroup, number of workgroups),
 * which common/grid.glsl reads. */
#ifndef LK_PUSH_H
#define LK_PUSH_H

#ifdef __STDC_VERSION__
#include <stdint.h>
#define LK_PUSH_ALL 1
#define LK_PUSH(name) struct lk_push_##name
#define LK_PUSH_END ;
#define LK_ADDRESS_F32 uint64_t
#define LK_ADDRESS_F32X4 uint64_t
#define LK_ADDRESS_U32 uint64_t
#define LK_ADDRESS_U32X4 uint64_t
#define LK_ADDRESS_I32 uint64_t
#define LK_INT int32_t
#define LK_FLOAT float
#else
#define LK_PUSH_ALL 0
#define LK_PUSH(name) struct lk_push_body
#define LK_PUSH_END                                                                                                    \
    ;                                                                                                                  \
    layout(push_constant, std430) uniform lk_push_block {                                                              \
        uint lk_first_group;                                                                                           \
        uint lk_group_count;                                                                                           \
        lk_push_body push;                                                                                             \
    };
#define LK_ADDRESS_F32 lk_f32
#define LK_ADDRESS_F32X4 lk_f32x4
#define LK_ADDRESS_U32 lk_u32
#define LK_ADDRESS_U32X4 lk_u32x4
#define LK_ADDRESS_I32 lk_i32
#define LK_INT int
#define LK_FLOAT float
#endif

#endif
