/* x86-64 with AVX2, FMA and F16C; 8-bit products also with AVX-VNNI. A vector is two registers. */
#ifndef INSTRUCTIONS_H
#define INSTRUCTIONS_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    __m256 low, high;
} Vec;

static inline Vec v_splat(float x) { return (Vec){_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
static inline Vec v_load(const float *x) { return (Vec){_mm256_loadu_ps(x), _mm256_loadu_ps(x + 8)}; }
static inline void v_store(float *x, Vec a) { _mm256_storeu_ps(x, a.low), _mm256_storeu_ps(x + 8, a.high); }
#define BINARY(name, intrinsic) \
    static inline Vec name(Vec a, Vec b) { return (Vec){intrinsic(a.low, b.low), intrinsic(a.high, b.high)}; }
BINARY(v_add, _mm256_add_ps)
BINARY(v_sub, _mm256_sub_ps)
BINARY(v_mul, _mm256_mul_ps)
BINARY(v_div, _mm256_div_ps)
BINARY(v_max, _mm256_max_ps)
BINARY(v_min, _mm256_min_ps)
#undef BINARY
static inline Vec v_abs(Vec a) {
    __m256 sign = _mm256_set1_ps(-0.0f);
    return (Vec){_mm256_andnot_ps(sign, a.low), _mm256_andnot_ps(sign, a.high)};
}
static inline Vec v_fma(Vec a, Vec b, Vec c) {
    return (Vec){_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
static inline Vec v_round(Vec a) {
    enum { NEAREST = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC };
    return (Vec){_mm256_round_ps(a.low, NEAREST), _mm256_round_ps(a.high, NEAREST)};
}
static inline __m256 power_of_two(__m256 n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}
static inline Vec v_scale_by_power(Vec a, Vec n) {
    return (Vec){_mm256_mul_ps(a.low, power_of_two(n.low)), _mm256_mul_ps(a.high, power_of_two(n.high))};
}
static inline uint32_t v_greater(Vec a, Vec b) {
    uint32_t low = _mm256_movemask_ps(_mm256_cmp_ps(a.low, b.low, _CMP_GT_OQ));
    return low | (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(a.high, b.high, _CMP_GT_OQ)) << 8;
}
static inline float v_reduce_sum(Vec a) {
    __m256 eight = _mm256_add_ps(a.low, a.high);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
static inline float v_reduce_max(Vec a) {
    __m256 eight = _mm256_max_ps(a.low, a.high);
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

static inline Vec v_load_halves(const uint16_t *x) {
    __m128i low = _mm_loadu_si128((const __m128i *)x), high = _mm_loadu_si128((const __m128i *)(x + 8));
    return (Vec){_mm256_cvtph_ps(low), _mm256_cvtph_ps(high)};
}
static inline void v_store_halves(uint16_t *x, Vec a) {
    _mm_storeu_si128((__m128i *)x, _mm256_cvtps_ph(a.low, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128((__m128i *)(x + 8), _mm256_cvtps_ph(a.high, _MM_FROUND_TO_NEAREST_INT));
}

typedef struct {
    __m256i low, high;
} Sums, Weights;
typedef __m256i Group;

static inline Sums v_no_sums(void) { return (Sums){_mm256_setzero_si256(), _mm256_setzero_si256()}; }
static inline Vec to_floats(__m256i low, __m256i high) {
    return (Vec){_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(high)};
}
static inline __m256i splat_four_bytes(const void *x) {
    int32_t four;
    memcpy(&four, x, sizeof four);
    return _mm256_set1_epi32(four);
}
/* 16 numbers as 16-bit integers. */
static inline __m256i to_words(Vec a) {
    __m256i pairs = _mm256_packs_epi32(_mm256_cvtps_epi32(a.low), _mm256_cvtps_epi32(a.high)); /* 0-3 8-11 4-7 12-15 */
    return _mm256_permute4x64_epi64(pairs, _MM_SHUFFLE(3, 1, 2, 0));
}

enum { TILE_ROWS = 6, TILE_BLOCKS = 1 }; /* 12 sums, 2 weights and an input fit the 16 registers */

#ifdef __AVXVNNI__

enum { GROUP = 4 };
typedef uint8_t Input; /* unsigned, with 128 for zero, as VNNI multiplies unsigned by signed numbers */
static inline void v_store_inputs(Input *x, Vec a) {
    __m256i words = _mm256_add_epi16(to_words(a), _mm256_set1_epi16(128));
    __m256i bytes = _mm256_permute4x64_epi64(_mm256_packus_epi16(words, words), _MM_SHUFFLE(3, 1, 2, 0));
    _mm_storeu_si128((__m128i *)x, _mm256_castsi256_si128(bytes));
}
static inline Weights v_load_weights(const int8_t *w) {
    return (Weights){_mm256_loadu_si256((const __m256i *)w), _mm256_loadu_si256((const __m256i *)(w + 32))};
}
static inline Group v_splat_group(const Input *x) { return splat_four_bytes(x); }
static inline Sums v_dot(Sums sums, Group x, Weights w) {
    return (Sums){_mm256_dpbusd_avx_epi32(sums.low, x, w.low), _mm256_dpbusd_avx_epi32(sums.high, x, w.high)};
}
static inline Vec v_finish_sums(Sums sums, const int32_t *of_zero) {
    __m256i low = _mm256_loadu_si256((const __m256i *)of_zero), high = _mm256_loadu_si256((const __m256i *)of_zero + 1);
    return to_floats(_mm256_sub_epi32(sums.low, low), _mm256_sub_epi32(sums.high, high));
}

#else

/* Products of 16 bits are exact. The multiply-add of 8 bits saturates; without saturation, by moving signs from one
 * factor to the other, it was measured to be slower. */
enum { GROUP = 2 };
typedef int16_t Input;
static inline void v_store_inputs(Input *x, Vec a) { _mm256_storeu_si256((__m256i *)x, to_words(a)); }
static inline Weights v_load_weights(const int8_t *w) {
    __m128i low = _mm_loadu_si128((const __m128i *)w), high = _mm_loadu_si128((const __m128i *)w + 1);
    return (Weights){_mm256_cvtepi8_epi16(low), _mm256_cvtepi8_epi16(high)};
}
static inline Group v_splat_group(const Input *x) { return splat_four_bytes(x); }
static inline Sums v_dot(Sums sums, Group x, Weights w) {
    sums.low = _mm256_add_epi32(sums.low, _mm256_madd_epi16(x, w.low));
    sums.high = _mm256_add_epi32(sums.high, _mm256_madd_epi16(x, w.high));
    __asm__ volatile("" : "+x"(sums.low), "+x"(sums.high)); /* one row after the other, or GCC 12 runs out of registers */
    return sums;
}
static inline Vec v_finish_sums(Sums sums, const int32_t *of_zero) {
    (void)of_zero;
    return to_floats(sums.low, sums.high);
}

#endif

#endif
