/* Plain C, for any processor: slow, and the reference of the others. */
#ifndef INSTRUCTIONS_H
#define INSTRUCTIONS_H

#include <math.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    float lane[16];
} Vec;

#define EACH(result, expression)                                      \
    {                                                                 \
        result all;                                                   \
        for (int i = 0; i < 16; i++) all.lane[i] = (expression);      \
        return all;                                                   \
    }

static inline Vec v_splat(float x) EACH(Vec, x)
static inline Vec v_load(const float *x) EACH(Vec, x[i])
static inline void v_store(float *x, Vec a) { memcpy(x, a.lane, sizeof a.lane); }
static inline Vec v_add(Vec a, Vec b) EACH(Vec, a.lane[i] + b.lane[i])
static inline Vec v_sub(Vec a, Vec b) EACH(Vec, a.lane[i] - b.lane[i])
static inline Vec v_mul(Vec a, Vec b) EACH(Vec, a.lane[i] * b.lane[i])
static inline Vec v_div(Vec a, Vec b) EACH(Vec, a.lane[i] / b.lane[i])
static inline Vec v_max(Vec a, Vec b) EACH(Vec, a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i])
static inline Vec v_min(Vec a, Vec b) EACH(Vec, a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i])
static inline Vec v_abs(Vec a) EACH(Vec, fabsf(a.lane[i]))
static inline Vec v_fma(Vec a, Vec b, Vec c) EACH(Vec, fmaf(a.lane[i], b.lane[i], c.lane[i]))
static inline Vec v_round(Vec a) EACH(Vec, rintf(a.lane[i]))
static inline Vec v_scale_by_power(Vec a, Vec n) EACH(Vec, ldexpf(a.lane[i], (int)n.lane[i]))
static inline uint32_t v_greater(Vec a, Vec b) {
    uint32_t mask = 0;
    for (int i = 0; i < 16; i++) mask |= (uint32_t)(a.lane[i] > b.lane[i]) << i;
    return mask;
}
static inline float v_reduce_sum(Vec a) {
    for (int half = 8; half > 0; half /= 2)
        for (int i = 0; i < half; i++) a.lane[i] += a.lane[i + half];
    return a.lane[0];
}
static inline float v_reduce_max(Vec a) {
    for (int half = 8; half > 0; half /= 2)
        for (int i = 0; i < half; i++) a.lane[i] = a.lane[i] > a.lane[i + half] ? a.lane[i] : a.lane[i + half];
    return a.lane[0];
}

static inline float half_to_float(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, rest = half & 0x7fff;
    float size = rest < 0x400    ? ldexpf((float)rest, -24)
                 : rest < 0x7c00 ? ldexpf((float)(rest % 0x400 + 0x400), (int)(rest / 0x400) - 25)
                 : rest > 0x7c00 ? NAN
                                 : INFINITY;
    return sign ? -size : size;
}
/* Rounded to nearest, ties to even. */
static inline uint16_t float_to_half(float x) {
    uint16_t sign = signbit(x) ? 0x8000 : 0;
    float size = fabsf(x);
    int exponent;
    if (isnan(x)) return sign | 0x7e00;
    if (!(size < 65520)) return sign | 0x7c00; /* what rounds to 65,536 or more is infinite */
    if (size < 0x1p-14f) return sign | (uint16_t)rintf(ldexpf(size, 24));
    frexpf(size, &exponent); /* size = m * 2^exponent, with m from 0.5 to 1, of which half precision keeps 11 bits */
    return sign | (uint16_t)(rintf(ldexpf(size, 11 - exponent)) + (float)((exponent + 13) * 0x400));
}
static inline Vec v_load_halves(const uint16_t *x) EACH(Vec, half_to_float(x[i]))
static inline void v_store_halves(uint16_t *x, Vec a) {
    for (int i = 0; i < 16; i++) x[i] = float_to_half(a.lane[i]);
}

typedef int8_t Input;
enum { GROUP = 4 };
static inline void v_store_inputs(Input *x, Vec a) {
    for (int i = 0; i < 16; i++) x[i] = isfinite(a.lane[i]) ? (Input)rintf(a.lane[i]) : 0;
}

typedef struct {
    int32_t lane[16];
} Sums;
typedef const int8_t *Weights;
typedef const Input *Group;

enum { TILE_ROWS = 1, TILE_BLOCKS = 1 };

static inline Sums v_no_sums(void) EACH(Sums, 0)
static inline Weights v_load_weights(const int8_t *w) { return w; }
static inline Group v_splat_group(const Input *x) { return x; }
static inline Sums v_dot(Sums sums, Group x, Weights w)
    EACH(Sums, sums.lane[i] + x[0] * w[4 * i] + x[1] * w[4 * i + 1] + x[2] * w[4 * i + 2] + x[3] * w[4 * i + 3])
static inline Vec v_finish_sums(Sums sums, const int32_t *of_zero) {
    (void)of_zero;
    EACH(Vec, (float)sums.lane[i])
}
#undef EACH

#endif
