/* Products of 8-bit rows with 8-bit weights. */
#ifndef PRODUCTS_H
#define PRODUCTS_H

#include <immintrin.h>
#include <stddef.h>
#include <string.h>

#include "structures.h"

enum { TILE = 12 }; /* rows multiplied together: 12 by 2 accumulators, 2 weights and a row fit the 32 registers */

typedef enum { STORE, ADD, STORE_RELU } Mode; /* how the output is written */

/* `count` rows by 32 outputs; the compiler unrolls it for each count. */
static inline __attribute__((always_inline)) void multiply_tile(const QuantizedLinear *p, int column, const uint8_t *x,
                                                                const float *unit, int count, float *y, int stride,
                                                                Mode mode) {
    const int8_t *w0 = p->weight + (size_t)column * p->inputs, *w1 = w0 + (size_t)16 * p->inputs;
    __m512i a0[TILE], a1[TILE];
    for (int r = 0; r < count; r++) a0[r] = a1[r] = _mm512_setzero_si512();
    for (int k = 0; k < p->inputs; k += 4) {
        __m512i b0 = _mm512_load_si512(w0 + (size_t)k * 16), b1 = _mm512_load_si512(w1 + (size_t)k * 16);
#pragma GCC unroll 12
        for (int r = 0; r < count; r++) {
            int32_t four;
            memcpy(&four, x + (size_t)r * p->inputs + k, 4);
            __m512i v = _mm512_set1_epi32(four);
            a0[r] = _mm512_dpbusd_epi32(a0[r], v, b0);
            a1[r] = _mm512_dpbusd_epi32(a1[r], v, b1);
        }
    }
    for (int half = 0; half < 2; half++) {
        int at = column + 16 * half;
        __m512i sum = _mm512_loadu_si512(p->sum + at);
        __m512 scale = _mm512_loadu_ps(p->scale + at), bias = _mm512_loadu_ps(p->bias + at);
#pragma GCC unroll 12
        for (int r = 0; r < count; r++) {
            float *out = y + (size_t)r * stride + 16 * half;
            __m512 v = _mm512_cvtepi32_ps(_mm512_sub_epi32(half ? a1[r] : a0[r], sum));
            v = _mm512_fmadd_ps(v, _mm512_mul_ps(scale, _mm512_set1_ps(unit[r])), bias);
            if (mode == ADD) v = _mm512_add_ps(v, _mm512_loadu_ps(out));
            if (mode == STORE_RELU) v = _mm512_max_ps(v, _mm512_setzero_ps());
            _mm512_storeu_ps(out, v);
        }
    }
}

/* y = x @ weight.T + bias for the columns from `begin` to `end`; y begins at column `begin`. */
static void multiply(const QuantizedLinear *p, int begin, int end, const uint8_t *x, const float *unit, int rows,
                     float *y, int stride, Mode mode) {
    for (int c = begin; c < end; c += 32) {
        for (int r = 0; r < rows; r += TILE) {
            const uint8_t *from = x + (size_t)r * p->inputs;
            float *to = y + (size_t)r * stride + (c - begin);
            switch (rows - r < TILE ? rows - r : TILE) {
#define CASE(n) case n: multiply_tile(p, c, from, unit + r, n, to, stride, mode); break;
                CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12)
#undef CASE
            }
        }
    }
}

#endif
