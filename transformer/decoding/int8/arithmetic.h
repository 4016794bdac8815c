/* Arithmetic on single rows of numbers, 16 at a time: exponential, layer norm, rounding to 8 and 16 bits. */
#ifndef ARITHMETIC_H
#define ARITHMETIC_H

#include <float.h>
#include <math.h>
#include <stddef.h>

#include "structures.h"
#include "vectors.h"

/* The exponential, with a relative error below 2e-7. Arguments are limited to the range from -87 to 88. */
static inline Vec v_exp(Vec x) {
    x = v_min(v_max(x, v_splat(-87.0f)), v_splat(88.0f));
    Vec n = v_round(v_mul(x, v_splat(1.44269504f)));
    Vec r = v_fma(n, v_splat(-0.693145752f), x);
    r = v_fma(n, v_splat(-1.42860677e-6f), r);
    Vec p = v_splat(1.0f / 720);
    p = v_fma(p, r, v_splat(1.0f / 120));
    p = v_fma(p, r, v_splat(1.0f / 24));
    p = v_fma(p, r, v_splat(1.0f / 6));
    p = v_fma(p, r, v_splat(0.5f));
    p = v_fma(p, r, v_splat(1.0f));
    p = v_fma(p, r, v_splat(1.0f));
    return v_scale_by_power(p, n);
}

static void layer_norm(const LayerNorm *norm, float epsilon, const float *x, float *y, int width) {
    Vec total = v_splat(0), squares = v_splat(0);
    for (int i = 0; i < width; i += 16) total = v_add(total, v_load(x + i));
    Vec mean = v_splat(v_reduce_sum(total) / width);
    for (int i = 0; i < width; i += 16) {
        Vec d = v_sub(v_load(x + i), mean);
        squares = v_fma(d, d, squares);
    }
    Vec rate = v_splat(1.0f / sqrtf(v_reduce_sum(squares) / width + epsilon));
    for (int i = 0; i < width; i += 16) {
        Vec d = v_mul(v_sub(v_load(x + i), mean), rate);
        v_store(y + i, v_fma(d, v_load(norm->weight + i), v_load(norm->bias + i)));
    }
}

/* Quantize a row to 8 bits. Returns the scale, NaN if the row is not finite. */
static float quantize_row(const float *x, Input *q, int width) {
    Vec largest = v_splat(0), zero_or_nan = v_splat(0);
    for (int i = 0; i < width; i += 16) {
        Vec v = v_load(x + i);
        largest = v_max(largest, v_abs(v));
        zero_or_nan = v_fma(v, v_splat(0), zero_or_nan); /* a maximum drops NaN, a sum keeps it */
    }
    float peak = v_reduce_max(largest);
    Vec rate = v_splat(peak > 0 ? 127.0f / peak : 0.0f);
    for (int i = 0; i < width; i += 16) v_store_inputs(q + i, v_mul(v_load(x + i), rate));
    return peak / 127.0f + v_reduce_sum(zero_or_nan);
}

/* Round numbers to half precision. Returns whether one of them is not finite, or too large for it: 65,520 is. */
static int store_halves(const float *from, uint16_t *to, int count) {
    Vec zero_or_nan = v_splat(0), overflow = v_splat(FLT_MAX / 65519);
    for (int i = 0; i < count; i += 16) {
        Vec v = v_load(from + i);
        v_store_halves(to + i, v);
        zero_or_nan = v_fma(v_mul(v, overflow), v_splat(0), zero_or_nan);
    }
    return v_reduce_sum(zero_or_nan) != 0; /* as NaN is */
}

/* GELU or swish of all numbers, in place. */
static void activate(float *x, size_t count, int activation) {
    for (size_t i = 0; i < count; i += 16) {
        if (activation == SWISH) {
            Vec v = v_load(x + i);
            v_store(x + i, v_div(v, v_add(v_splat(1), v_exp(v_sub(v_splat(0), v)))));
        } else {
            for (size_t j = i; j < i + 16; j++) x[j] *= 0.5f * (1 + erff(x[j] * 0.70710678f));
        }
    }
}

#endif
