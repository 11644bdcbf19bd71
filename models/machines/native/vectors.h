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
#define VECTOR 16
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
typedef int16_t i16h __attribute__((vector_size(VECTOR / 2))); /* half a vector */
typedef int32_t i32h __attribute__((vector_size(VECTOR / 2)));

#define INLINE static inline __attribute__((always_inline, unused))
#define UNROLL _Pragma("GCC unroll 16")

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
LOAD_AND_STORE(i64v, i64v, int64_t)
LOAD_AND_STORE(f64v, f64v, double)
LOAD_AND_STORE(i16h, i16h, int16_t)
LOAD_AND_STORE(i32h, i32h, int32_t)

INLINE i32v spread_i32(int32_t x) { return x - (i32v){0}; }
INLINE f64v spread_f64(double x) { return x - (f64v){0}; }

/* a where the condition's lane is -1, b where it is 0. */
INLINE i32v select_i32(i32v condition, i32v a, i32v b) { return (condition & a) | (~condition & b); }
INLINE f64v select_f64(i64v condition, f64v a, f64v b) {
    return (f64v)((condition & (i64v)a) | (~condition & (i64v)b));
}

/* Between integers of other widths and doubles. Of doubles: towards zero, within int32. */
INLINE i32v widen(i16h v) { return __builtin_convertvector(v, i32v); }
INLINE i16h narrow(i32v v) { return __builtin_convertvector(v, i16h); }
INLINE i32h half(i32v v, int upper) {
    i32h h;
    memcpy(&h, (const char *)&v + upper * (VECTOR / 2), sizeof h);
    return h;
}
INLINE i32v whole(i32h lower, i32h upper) {
    i32v v;
    memcpy(&v, &lower, sizeof lower);
    memcpy((char *)&v + VECTOR / 2, &upper, sizeof upper);
    return v;
}
INLINE f64v to_f64(i32h v) { return __builtin_convertvector(v, f64v); }
INLINE i32h to_i32(f64v v) { return __builtin_convertvector(v, i32h); }

/* Two vectors' 16 lower bits side by side, lane by lane: a0 b0 a1 b1 ... */
INLINE i16v beside(i32v a, i32v b) { return (i16v)((a & 0xffff) | (b << 16)); }

/* dot(sums, a, b): sums plus the products of a and b, added in pairs. multiply_add: a b + c, which is the same number
 * rounded once or twice, because our doubles hold integers below 2**53. floor_f64; the lesser and greater of two.
 */
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
#elif VECTOR == 32
INLINE i32v dot(i32v sums, i16v a, i16v b) { return sums + (i32v)_mm256_madd_epi16((__m256i)a, (__m256i)b); }
#ifdef __FMA__
INLINE f64v multiply_add(f64v a, f64v b, f64v c) { return _mm256_fmadd_pd(a, b, c); }
#else
INLINE f64v multiply_add(f64v a, f64v b, f64v c) { return a * b + c; }
#endif
INLINE f64v floor_f64(f64v v) { return _mm256_floor_pd(v); }
INLINE f64v min_f64(f64v a, f64v b) { return _mm256_min_pd(a, b); }
INLINE f64v max_f64(f64v a, f64v b) { return _mm256_max_pd(a, b); }
INLINE i32v min_i32(i32v a, i32v b) { return (i32v)_mm256_min_epi32((__m256i)a, (__m256i)b); }
INLINE i32v max_i32(i32v a, i32v b) { return (i32v)_mm256_max_epi32((__m256i)a, (__m256i)b); }
INLINE i16v min_i16(i16v a, i16v b) { return (i16v)_mm256_min_epi16((__m256i)a, (__m256i)b); }
INLINE i16v max_i16(i16v a, i16v b) { return (i16v)_mm256_max_epi16((__m256i)a, (__m256i)b); }
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
#else /* any other processor: lane by lane */
#define BY_LANE(vector, count, expression)                                                                             \
    vector v;                                                                                                          \
    for (int i = 0; i < (count); i++) v[i] = (expression);                                                             \
    return v;
INLINE i32v dot(i32v sums, i16v a, i16v b) { BY_LANE(i32v, LANES, sums[i] + a[2 * i] * b[2 * i] + a[2 * i + 1] * b[2 * i + 1]) }
INLINE f64v multiply_add(f64v a, f64v b, f64v c) { return a * b + c; }
INLINE f64v floor_f64(f64v a) { BY_LANE(f64v, WIDE, floor(a[i])) }
INLINE f64v min_f64(f64v a, f64v b) { BY_LANE(f64v, WIDE, a[i] < b[i] ? a[i] : b[i]) }
INLINE f64v max_f64(f64v a, f64v b) { BY_LANE(f64v, WIDE, a[i] > b[i] ? a[i] : b[i]) }
INLINE i32v min_i32(i32v a, i32v b) { BY_LANE(i32v, LANES, a[i] < b[i] ? a[i] : b[i]) }
INLINE i32v max_i32(i32v a, i32v b) { BY_LANE(i32v, LANES, a[i] > b[i] ? a[i] : b[i]) }
INLINE i16v min_i16(i16v a, i16v b) { BY_LANE(i16v, 2 * LANES, a[i] < b[i] ? a[i] : b[i]) }
INLINE i16v max_i16(i16v a, i16v b) { BY_LANE(i16v, 2 * LANES, a[i] > b[i] ? a[i] : b[i]) }
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
