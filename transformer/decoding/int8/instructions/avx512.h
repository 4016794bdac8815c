/* x86-64 with AVX-512 VNNI. */
#ifndef INSTRUCTIONS_H
#define INSTRUCTIONS_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

enum { TILE_ROWS = 12, TILE_BLOCKS = 2 }; /* 24 sums, 2 weights and an input fit the 32 registers */

typedef __m512 Vec;

static inline Vec v_splat(float x) { return _mm512_set1_ps(x); }
static inline Vec v_load(const float *x) { return _mm512_loadu_ps(x); }
static inline void v_store(float *x, Vec a) { _mm512_storeu_ps(x, a); }
static inline Vec v_add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
static inline Vec v_sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
static inline Vec v_mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
static inline Vec v_div(Vec a, Vec b) { return _mm512_div_ps(a, b); }
static inline Vec v_max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
static inline Vec v_min(Vec a, Vec b) { return _mm512_min_ps(a, b); }
static inline Vec v_abs(Vec a) { return _mm512_abs_ps(a); }
static inline Vec v_fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
static inline Vec v_round(Vec a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
static inline Vec v_scale_by_power(Vec a, Vec n) { return _mm512_scalef_ps(a, n); }
static inline uint32_t v_greater(Vec a, Vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
static inline float v_reduce_sum(Vec a) { return _mm512_reduce_add_ps(a); }
static inline float v_reduce_max(Vec a) { return _mm512_reduce_max_ps(a); }

static inline Vec v_load_halves(const uint16_t *x) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)x)); }
static inline void v_store_halves(uint16_t *x, Vec a) {
    _mm256_storeu_si256((__m256i *)x, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}

typedef uint8_t Input; /* unsigned, with 128 for zero, as VNNI multiplies unsigned by signed numbers */
enum { GROUP = 4 };
static inline void v_store_inputs(Input *x, Vec a) {
    __m512i n = _mm512_add_epi32(_mm512_cvtps_epi32(a), _mm512_set1_epi32(128));
    _mm_storeu_si128((__m128i *)x, _mm512_cvtepi32_epi8(n));
}

typedef __m512i Sums, Weights, Group;
static inline Sums v_no_sums(void) { return _mm512_setzero_si512(); }
static inline Weights v_load_weights(const int8_t *w) { return _mm512_loadu_si512(w); }
static inline Group v_splat_group(const Input *x) {
    int32_t four;
    memcpy(&four, x, sizeof four);
    return _mm512_set1_epi32(four);
}
static inline Sums v_dot(Sums sums, Group x, Weights w) {
    sums = _mm512_dpbusd_epi32(sums, x, w);
    __asm__ volatile("" : "+v"(sums)); /* stay in this register: GCC 12 would copy sums to the stack */
    return sums;
}
static inline Vec v_finish_sums(Sums sums, const int32_t *of_zero) {
    return _mm512_cvtepi32_ps(_mm512_sub_epi32(sums, _mm512_loadu_si512(of_zero)));
}

#endif
