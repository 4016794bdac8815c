/* Products of 8-bit rows with 8-bit weights. */
#ifndef PRODUCTS_H
#define PRODUCTS_H

#include <stddef.h>

#include "structures.h"
#include "vectors.h"

enum { TILE_OUTPUTS = 16 * TILE_BLOCKS };

typedef enum { STORE, ADD, STORE_RELU } Mode; /* how the output is written */

/* Do something for each row of a tile. Loops over arrays of sums would rely on the compiler to keep these in registers. */
#define EACH_ROW(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)

/* Scale 16 sums of a row, and write them. */
static inline __attribute__((always_inline)) void finish(const QuantizedLinear *p, int column, Sums sums, float unit,
                                                         float *y, Mode mode) {
    Vec v = v_finish_sums(sums, p->sum + column);
    v = v_fma(v, v_mul(v_load(p->scale + column), v_splat(unit)), v_load(p->bias + column));
    if (mode == ADD) v = v_add(v, v_load(y));
    if (mode == STORE_RELU) v = v_max(v, v_splat(0));
    v_store(y, v);
}

/* `count` rows, at most TILE_ROWS, by TILE_OUTPUTS outputs. It is compiled for each count. */
static inline __attribute__((always_inline)) void multiply_tile(const QuantizedLinear *p, int column, const Input *x,
                                                                const float *unit, int count, float *y, int stride,
                                                                Mode mode) {
    size_t inputs = p->inputs;
    const int8_t *weight = p->weight + column * inputs, *next = weight + (TILE_BLOCKS > 1 ? 16 * inputs : 0);
#define START(r) Sums first##r = v_no_sums(), second##r = v_no_sums();
    EACH_ROW(START)
    for (size_t k = 0; k < inputs; k += GROUP) {
        Weights w = v_load_weights(weight + 16 * k), v = v_load_weights(next + 16 * k);
#define DOT(r)                                                     \
    if (r < count) {                                               \
        Group group = v_splat_group(x + r * inputs + k);            \
        first##r = v_dot(first##r, group, w);                      \
        if (TILE_BLOCKS > 1) second##r = v_dot(second##r, group, v); \
    }
        EACH_ROW(DOT)
    }
#define FINISH(r)                                                                                            \
    if (r < count) {                                                                                         \
        finish(p, column, first##r, unit[r], y + (size_t)r * stride, mode);                                   \
        if (TILE_BLOCKS > 1) finish(p, column + 16, second##r, unit[r], y + (size_t)r * stride + 16, mode);   \
    }
    EACH_ROW(FINISH)
#undef START
#undef DOT
#undef FINISH
}

/* y = x @ weight.T + bias for the columns from `begin` to `end`; y begins at column `begin`. */
static void multiply(const QuantizedLinear *p, int begin, int end, const Input *x, const float *unit, int rows,
                     float *y, int stride, Mode mode) {
    for (int c = begin; c < end; c += TILE_OUTPUTS) {
        for (int r = 0; r < rows; r += TILE_ROWS) {
            const Input *from = x + (size_t)r * p->inputs;
            float *to = y + (size_t)r * stride + (c - begin);
            switch (rows - r < TILE_ROWS ? rows - r : TILE_ROWS) {
#define CASE(n) case n + 1: if (n < TILE_ROWS) multiply_tile(p, c, from, unit + r, n + 1, to, stride, mode); break;
                EACH_ROW(CASE)
#undef CASE
            }
        }
    }
}

#endif
