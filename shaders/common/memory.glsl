/* shaders/common/memory.glsl - the only way shaders touch memory.
 *
 * A buffer arrives as a 64-bit address in the push constants, typed as a reference to a run-time array:
 *
 *     lk_f32   float v[]   any multiple of 4 bytes        lk_f32x4  vec4 v[]   address must be a multiple of 16
 *     lk_u32   uint v[]    any multiple of 4 bytes        lk_u32x4  uvec4 v[]  address must be a multiple of 16
 *     lk_i32   int v[]     any multiple of 4 bytes
 *
 * Elements are reached by 32-bit index only: lk_load(ref, i), lk_store(ref, i, value). Never GL_EXT_buffer_reference2 or
 * pointer arithmetic: they pull in Int64, which weak devices lack (the build fails then). Half floats are read as pairs
 * through 32-bit words, which needs no feature of the device. */
#ifndef LK_MEMORY_GLSL
#define LK_MEMORY_GLSL

#extension GL_EXT_buffer_reference : require

layout(buffer_reference, std430, buffer_reference_align = 4) buffer lk_f32 { float v[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) buffer lk_u32 { uint v[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) buffer lk_i32 { int v[]; };
layout(buffer_reference, std430, buffer_reference_align = 16) buffer lk_f32x4 { vec4 v[]; };
layout(buffer_reference, std430, buffer_reference_align = 16) buffer lk_u32x4 { uvec4 v[]; };

/* Macros, because glslang cannot overload functions by kind of reference. */
#define lk_load(at, i) at.v[i]
#define lk_store(at, i, value) at.v[i] = (value)

/* Halves 2 i and 2 i + 1 of an array of f16. */
vec2 lk_load_f16x2(lk_u32 at, int i) { return unpackHalf2x16(at.v[i]); }
/* Halves 8 i to 8 i + 7; the address must be a multiple of 16. */
void lk_load_f16x8(lk_u32x4 at, int i, out vec4 low, out vec4 high) {
    uvec4 words = at.v[i];
    low = vec4(unpackHalf2x16(words.x), unpackHalf2x16(words.y));
    high = vec4(unpackHalf2x16(words.z), unpackHalf2x16(words.w));
}
void lk_store_f16x2(lk_u32 at, int i, vec2 pair) { at.v[i] = packHalf2x16(pair); }
/* bf16 pairs: the upper half of an f32. */
vec2 lk_unpack_bf16x2(uint word) { return vec2(uintBitsToFloat(word << 16), uintBitsToFloat(word & 0xffff0000u)); }
vec2 lk_load_bf16x2(lk_u32 at, int i) { return lk_unpack_bf16x2(at.v[i]); }

#endif
