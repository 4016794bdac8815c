/* Arithmetic on single rows of numbers, 16 at a time: exponential, layer norm, rounding to 8 and 16 bits. */
#ifndef ARITHMETIC_H
#define ARITHMETIC_H

#include <immintrin.h>
#include <math.h>
#include <stddef.h>

#include "structures.h"

/* The exponential, with a relative error below 2e-7. Arguments below -87 are treated as -87. */
static inline __m512 exp512(__m512 x) {
    x = _mm512_max_ps(x, _mm512_set1_ps(-87.0f));
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), 8);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693145752f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(1.42860677e-6f), r);
    __m512 p = _mm512_set1_ps(1.0f / 720);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 120));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 24));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 6));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.5f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, n);
}

static void layer_norm(const LayerNorm *norm, float epsilon, const float *x, float *y, int width) {
    __m512 total = _mm512_setzero_ps(), squares = _mm512_setzero_ps();
    for (int i = 0; i < width; i += 16) total = _mm512_add_ps(total, _mm512_loadu_ps(x + i));
    __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(total) / width);
    for (int i = 0; i < width; i += 16) {
        __m512 d = _mm512_sub_ps(_mm512_loadu_ps(x + i), mean);
        squares = _mm512_fmadd_ps(d, d, squares);
    }
    __m512 rate = _mm512_set1_ps(1.0f / sqrtf(_mm512_reduce_add_ps(squares) / width + epsilon));
    for (int i = 0; i < width; i += 16) {
        __m512 d = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(x + i), mean), rate);
        d = _mm512_fmadd_ps(d, _mm512_loadu_ps(norm->weight + i), _mm512_loadu_ps(norm->bias + i));
        _mm512_storeu_ps(y + i, d);
    }
}

/* Quantize a row to 8 bits, with 128 for zero. Returns the scale, NaN if the row is not finite. */
static float quantize_row(const float *x, uint8_t *q, int width) {
    __m512 largest = _mm512_setzero_ps(), zero_or_nan = _mm512_setzero_ps();
    for (int i = 0; i < width; i += 16) {
        __m512 v = _mm512_loadu_ps(x + i);
        largest = _mm512_max_ps(largest, _mm512_abs_ps(v));
        zero_or_nan = _mm512_fmadd_ps(v, _mm512_setzero_ps(), zero_or_nan); /* a maximum drops NaN, a sum keeps it */
    }
    float peak = _mm512_reduce_max_ps(largest);
    __m512 rate = _mm512_set1_ps(peak > 0 ? 127.0f / peak : 0.0f);
    for (int i = 0; i < width; i += 16) {
        __m512i n = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + i), rate));
        _mm_storeu_si128((__m128i *)(q + i), _mm512_cvtepi32_epi8(_mm512_add_epi32(n, _mm512_set1_epi32(128))));
    }
    return peak / 127.0f + _mm512_reduce_add_ps(zero_or_nan);
}

/* 16 numbers of half precision. */
static inline __m512 load_halves(const uint16_t *x) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)x)); }

/* Round numbers to half precision. */
static void store_halves(const float *from, uint16_t *to, int count) {
    for (int i = 0; i < count; i += 16)
        _mm256_storeu_si256((__m256i *)(to + i), _mm512_cvtps_ph(_mm512_loadu_ps(from + i), 0));
}

/* GELU or swish of all numbers, in place. */
static void activate(float *x, size_t count, int activation) {
    for (size_t i = 0; i < count; i += 16) {
        __m512 v = _mm512_loadu_ps(x + i);
        if (activation == SWISH) {
            __m512 below = _mm512_add_ps(_mm512_set1_ps(1), exp512(_mm512_sub_ps(_mm512_setzero_ps(), v)));
            _mm512_storeu_ps(x + i, _mm512_div_ps(v, below));
        } else {
            for (size_t j = i; j < i + 16; j++) x[j] *= 0.5f * (1 + erff(x[j] * 0.70710678f));
        }
    }
}

#endif
