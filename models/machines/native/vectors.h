/* Vectors of one register, as wide as the instruction set that a file is compiled for: 16 bytes (SSE4.2, NEON), 32 (AVX2)
 * or 64 (AVX-512). Arithmetic, shifts and comparisons are the operators of GCC and Clang; what these have no operator for
 * stands here once for each set. A comparison gives -1 or 0 in each lane. Integers wrap around (-fwrapv).
 */
#ifndef LGCODEC_VECTORS_H
#define LGCODEC_VECTORS_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#include <immintrin.h>
#define VECTOR 64
#elif defined(__AVX2__)
#include <immintrin.h>
#define VECTOR 32
#elif defined(__SSE4_2__)
#include <nmmintrin.h>
#define VECTOR 16
#elif defined(__aarch64__)
#include <arm_neon.h>
#define VECTOR 16
#else
#error "no instruction set that this header knows"
#endif

enum {
    LANES = VECTOR / 4, /* int32 in a vector */
    WIDE = VECTOR / 8,  /* doubles in a vector */
    COLUMNS = 16,       /* arrays' rows are multiples of this, whatever the instruction set */
    SLACK = 16          /* so many more numbers may be read, and written, behind the last one of an array in lanes */
};

typedef int16_t i16v __attribute__((vector_size(VECTOR)));
typedef int32_t i32v __attribute__((vector_size(VECTOR)));
typedef int64_t i64v __attribute__((vector_size(VECTOR)));
typedef double f64v __attribute__((vector_size(VECTOR)));
typedef float f32v __attribute__((vector_size(VECTOR)));

#define INLINE static inline __attribute__((always_inline, unused))
#define UNROLL _Pragma("GCC unroll 24")

/* load_x(pointer), store_x(pointer, vector): anywhere in memory. */
#define LOAD_AND_STORE(name, vector, element)                                                                          \
    INLINE vector load_##name(const element *from) {                                                                   \
        vector v;                                                                                                      \
        memcpy(&v, from, sizeof v);                                                                                    \
        return v;                                                                                                      \
    }                                                                                                                  \
    INLINE void store_##name(element *to, vector v) { memcpy(to, &v, sizeof v); }
LOAD_AND_STORE(i16v, i16v, int16_t)
LOAD_AND_STORE(i32v, i32v, int32_t)
LOAD_AND_STORE(f64v, f64v, double)

INLINE i32v spread_i32(int32_t x) { return x - (i32v){0}; }
INLINE f64v spread_f64(double x) { return x - (f64v){0}; }

/* a where the condition's lane is -1, b where it is 0. */
INLINE i32v select_i32(i32v condition, i32v a, i32v b) { return (condition & a) | (~condition & b); }
INLINE f64v select_f64(i64v condition, f64v a, f64v b) {
    return (f64v)((condition & (i64v)a) | (~condition & (i64v)b));
}

/* Two vectors' 16 lower bits side by side, lane by lane: a0 b0 a1 b1 ... */
INLINE i16v beside(i32v a, i32v b) { return (i16v)((a & 0xffff) | (b << 16)); }

/* What a set has instructions of its own for:
 *
 * dot(sums, a, b)             sums plus the products of a and b, added in pairs
 * multiply_add(a, b, c)       a b + c, rounded once or twice: the same, because our doubles hold integers below 2**53
 * floor_f64, min_x, max_x     of each lane
 * load_widened(from)          LANES int16 as int32
 * store_narrowed(to, v)       int32, which must be within 16 bits, as int16
 * f64_half(v, upper)          half of the lanes as doubles
 * i32_of(lower, upper)        doubles as int32, towards zero; garbage where they are beyond
 * f32_of(v), i32_of_f32(v)    rounded to the nearest, and towards zero
 * count_at_most(a, b)         how many lanes of a are at most those of b
 * gather_pairs(t, i, &a, &b)  a = t[i], b = t[i + 1] in each lane
 */
INLINE f32v f32_of(i32v v) { return __builtin_convertvector(v, f32v); }
INLINE i32v i32_of_f32(f32v v) { return __builtin_convertvector(v, i32v); }

#ifdef __SSE4_2__
/* Pairs at two places. Loads took three fifths of the time of gather instructions (on a Zen 4); places in longer vectors go
 * through memory, because taking lanes out is slower still.
 */
INLINE void store_places(int32_t *at, i32v places) {
    store_i32v(at, places);
    __asm__("" : "+m"(*(int32_t(*)[LANES])at));
}
INLINE __m128i load_two(const int32_t *table, int32_t first, int32_t second) {
    __m128d lower = (__m128d)_mm_loadl_epi64((const void *)(table + first));
    return (__m128i)_mm_loadh_pd(lower, (const void *)(table + second));
}
#endif

#if VECTOR == 64
#ifdef __AVX512VNNI__
INLINE i32v dot(i32v sums, i16v a, i16v b) { return (i32v)_mm512_dpwssd_epi32((__m512i)sums, (__m512i)a, (__m512i)b); }
#else
INLINE i32v dot(i32v sums, i16v a, i16v b) { return sums + (i32v)_mm512_madd_epi16((__m512i)a, (__m512i)b); }
#endif
INLINE f64v multiply_add(f64v a, f64v b, f64v c) { return _mm512_fmadd_pd(a, b, c); }
INLINE f64v floor_f64(f64v v) { return _mm512_roundscale_pd(v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
INLINE f64v min_f64(f64v a, f64v b) { return _mm512_min_pd(a, b); }
INLINE f64v max_f64(f64v a, f64v b) { return _mm512_max_pd(a, b); }
INLINE i32v min_i32(i32v a, i32v b) { return (i32v)_mm512_min_epi32((__m512i)a, (__m512i)b); }
INLINE i32v max_i32(i32v a, i32v b) { return (i32v)_mm512_max_epi32((__m512i)a, (__m512i)b); }
INLINE i16v min_i16(i16v a, i16v b) { return (i16v)_mm512_min_epi16((__m512i)a, (__m512i)b); }
INLINE i16v max_i16(i16v a, i16v b) { return (i16v)_mm512_max_epi16((__m512i)a, (__m512i)b); }
INLINE i32v load_widened(const int16_t *from) { return (i32v)_mm512_cvtepi16_epi32(_mm256_loadu_si256((const void *)from)); }
INLINE void store_narrowed(int16_t *to, i32v v) { _mm256_storeu_si256((void *)to, _mm512_cvtepi32_epi16((__m512i)v)); }
INLINE f64v f64_half(i32v v, const int upper) {
    return _mm512_cvtepi32_pd(upper ? _mm512_extracti64x4_epi64((__m512i)v, 1) : _mm512_castsi512_si256((__m512i)v));
}
INLINE i32v i32_of(f64v lower, f64v upper) {
    return (i32v)_mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvttpd_epi32(lower)), _mm512_cvttpd_epi32(upper), 1);
}
INLINE int count_at_most(i32v a, i32v b) { return __builtin_popcount(_mm512_cmple_epi32_mask((__m512i)a, (__m512i)b)); }
INLINE __m256i load_quads(const int32_t *table, const int32_t *at) {
    return _mm256_set_m128i(load_two(table, at[2], at[3]), load_two(table, at[0], at[1]));
}
INLINE void gather_pairs(const int32_t *table, i32v places, i32v *first, i32v *second) {
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    int32_t at[LANES];
    store_places(at, places);
    __m512i lower = _mm512_inserti64x4(_mm512_castsi256_si512(load_quads(table, at)), load_quads(table, at + 4), 1);
    __m512i upper = _mm512_inserti64x4(_mm512_castsi256_si512(load_quads(table, at + 8)), load_quads(table, at + 12), 1);
    *first = (i32v)_mm512_permutex2var_epi32(lower, even, upper);
    *second = (i32v)_mm512_permutex2var_epi32(lower, odd, upper);
}
#elif VECTOR == 32
INLINE i32v dot(i32v sums, i16v a, i16v b) { return sums + (i32v)_mm256_madd_epi16((__m256i)a, (__m256i)b); }
INLINE f64v multiply_add(f64v a, f64v b, f64v c) { return _mm256_fmadd_pd(a, b, c); }
INLINE f64v floor_f64(f64v v) { return _mm256_floor_pd(v); }
INLINE f64v min_f64(f64v a, f64v b) { return _mm256_min_pd(a, b); }
INLINE f64v max_f64(f64v a, f64v b) { return _mm256_max_pd(a, b); }
INLINE i32v min_i32(i32v a, i32v b) { return (i32v)_mm256_min_epi32((__m256i)a, (__m256i)b); }
INLINE i32v max_i32(i32v a, i32v b) { return (i32v)_mm256_max_epi32((__m256i)a, (__m256i)b); }
INLINE i16v min_i16(i16v a, i16v b) { return (i16v)_mm256_min_epi16((__m256i)a, (__m256i)b); }
INLINE i16v max_i16(i16v a, i16v b) { return (i16v)_mm256_max_epi16((__m256i)a, (__m256i)b); }
INLINE i32v load_widened(const int16_t *from) { return (i32v)_mm256_cvtepi16_epi32(_mm_loadu_si128((const void *)from)); }
INLINE void store_narrowed(int16_t *to, i32v v) {
    __m256i both = _mm256_packs_epi32((__m256i)v, (__m256i)v); /* its quarters are halves of v, twice */
    _mm_storeu_si128((void *)to, _mm256_castsi256_si128(_mm256_permute4x64_epi64(both, 0xd8)));
}
INLINE f64v f64_half(i32v v, const int upper) {
    return _mm256_cvtepi32_pd(upper ? _mm256_extracti128_si256((__m256i)v, 1) : _mm256_castsi256_si128((__m256i)v));
}
INLINE i32v i32_of(f64v lower, f64v upper) {
    return (i32v)_mm256_set_m128i(_mm256_cvttpd_epi32(upper), _mm256_cvttpd_epi32(lower));
}
INLINE int count_at_most(i32v a, i32v b) { return LANES - __builtin_popcount(_mm256_movemask_ps((__m256)(a > b))); }
INLINE void gather_pairs(const int32_t *table, i32v places, i32v *first, i32v *second) {
    int32_t at[LANES];
    store_places(at, places);
    __m256 lower = (__m256)_mm256_set_m128i(load_two(table, at[4], at[5]), load_two(table, at[0], at[1]));
    __m256 upper = (__m256)_mm256_set_m128i(load_two(table, at[6], at[7]), load_two(table, at[2], at[3]));
    *first = (i32v)_mm256_shuffle_ps(lower, upper, 0x88), *second = (i32v)_mm256_shuffle_ps(lower, upper, 0xdd);
}
#elif defined(__SSE4_2__)
INLINE i32v dot(i32v sums, i16v a, i16v b) { return sums + (i32v)_mm_madd_epi16((__m128i)a, (__m128i)b); }
INLINE f64v multiply_add(f64v a, f64v b, f64v c) { return a * b + c; }
INLINE f64v floor_f64(f64v v) { return _mm_floor_pd(v); }
INLINE f64v min_f64(f64v a, f64v b) { return _mm_min_pd(a, b); }
INLINE f64v max_f64(f64v a, f64v b) { return _mm_max_pd(a, b); }
INLINE i32v min_i32(i32v a, i32v b) { return (i32v)_mm_min_epi32((__m128i)a, (__m128i)b); }
INLINE i32v max_i32(i32v a, i32v b) { return (i32v)_mm_max_epi32((__m128i)a, (__m128i)b); }
INLINE i16v min_i16(i16v a, i16v b) { return (i16v)_mm_min_epi16((__m128i)a, (__m128i)b); }
INLINE i16v max_i16(i16v a, i16v b) { return (i16v)_mm_max_epi16((__m128i)a, (__m128i)b); }
INLINE i32v load_widened(const int16_t *from) { return (i32v)_mm_cvtepi16_epi32(_mm_loadl_epi64((const void *)from)); }
INLINE void store_narrowed(int16_t *to, i32v v) { _mm_storel_epi64((void *)to, _mm_packs_epi32((__m128i)v, (__m128i)v)); }
INLINE f64v f64_half(i32v v, const int upper) {
    return _mm_cvtepi32_pd(upper ? _mm_unpackhi_epi64((__m128i)v, (__m128i)v) : (__m128i)v);
}
INLINE i32v i32_of(f64v lower, f64v upper) {
    return (i32v)_mm_unpacklo_epi64(_mm_cvttpd_epi32(lower), _mm_cvttpd_epi32(upper));
}
INLINE int count_at_most(i32v a, i32v b) { return LANES - __builtin_popcount(_mm_movemask_ps((__m128)(a > b))); }
INLINE void gather_pairs(const int32_t *table, i32v places, i32v *first, i32v *second) {
    __m128 lower = (__m128)load_two(table, places[0], places[1]), upper = (__m128)load_two(table, places[2], places[3]);
    *first = (i32v)_mm_shuffle_ps(lower, upper, 0x88), *second = (i32v)_mm_shuffle_ps(lower, upper, 0xdd);
}
#elif defined(__aarch64__)
INLINE i32v dot(i32v sums, i16v a, i16v b) {
    int16x8_t x = (int16x8_t)a, y = (int16x8_t)b;
    return sums + (i32v)vpaddq_s32(vmull_s16(vget_low_s16(x), vget_low_s16(y)), vmull_high_s16(x, y));
}
INLINE f64v multiply_add(f64v a, f64v b, f64v c) { return (f64v)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b); }
INLINE f64v floor_f64(f64v v) { return (f64v)vrndmq_f64((float64x2_t)v); }
INLINE f64v min_f64(f64v a, f64v b) { return (f64v)vminq_f64((float64x2_t)a, (float64x2_t)b); }
INLINE f64v max_f64(f64v a, f64v b) { return (f64v)vmaxq_f64((float64x2_t)a, (float64x2_t)b); }
INLINE i32v min_i32(i32v a, i32v b) { return (i32v)vminq_s32((int32x4_t)a, (int32x4_t)b); }
INLINE i32v max_i32(i32v a, i32v b) { return (i32v)vmaxq_s32((int32x4_t)a, (int32x4_t)b); }
INLINE i16v min_i16(i16v a, i16v b) { return (i16v)vminq_s16((int16x8_t)a, (int16x8_t)b); }
INLINE i16v max_i16(i16v a, i16v b) { return (i16v)vmaxq_s16((int16x8_t)a, (int16x8_t)b); }
INLINE i32v load_widened(const int16_t *from) { return (i32v)vmovl_s16(vld1_s16(from)); }
INLINE void store_narrowed(int16_t *to, i32v v) { vst1_s16(to, vmovn_s32((int32x4_t)v)); }
INLINE f64v f64_half(i32v v, const int upper) {
    return (f64v)vcvtq_f64_s64(vmovl_s32(upper ? vget_high_s32((int32x4_t)v) : vget_low_s32((int32x4_t)v)));
}
INLINE i32v i32_of(f64v lower, f64v upper) {
    int32x2_t low = vmovn_s64(vcvtq_s64_f64((float64x2_t)lower)), high = vmovn_s64(vcvtq_s64_f64((float64x2_t)upper));
    return (i32v)vcombine_s32(low, high);
}
INLINE int count_at_most(i32v a, i32v b) { return -vaddvq_s32((int32x4_t)(a <= b)); }
INLINE void gather_pairs(const int32_t *table, i32v places, i32v *first, i32v *second) {
    int32x4_t lower = vcombine_s32(vld1_s32(table + places[0]), vld1_s32(table + places[1]));
    int32x4_t upper = vcombine_s32(vld1_s32(table + places[2]), vld1_s32(table + places[3]));
    *first = (i32v)vuzp1q_s32(lower, upper), *second = (i32v)vuzp2q_s32(lower, upper);
}
#endif

INLINE i32v clip_i32(i32v v, i32v low, i32v high) { return min_i32(max_i32(v, low), high); }
INLINE i16v clip_i16(i16v v, i16v low, i16v high) { return min_i16(max_i16(v, low), high); }
INLINE f64v clip_f64(f64v v, f64v low, f64v high) { return min_f64(max_f64(v, low), high); }

/* table[places]: one load for each lane. */
INLINE i32v gather_i32(const int32_t *table, i32v places) {
    i32v v;
    UNROLL for (int i = 0; i < LANES; i++) v[i] = table[places[i]];
    return v;
}

#endif
