/* The sublayers of the encoder and the decoder, on a block of rows.
 *
 * Everything of a row is computed from that row alone, so that results depend neither on the batch nor on its order.
 */
#ifndef LAYERS_H
#define LAYERS_H

#include <stdlib.h>

#include "arithmetic.h"
#include "products.h"

/* Rows and columns of logits that are computed at once, so that they stay in the cache of a core; not measured. */
enum { ROWS = 96, COLUMNS = 2048 };

/* Memory for a block of rows. */
typedef struct {
    float *x;            /* (rows, D): the residual stream */
    float *attended;     /* (rows, D): what attention returns */
    float *wide;         /* (rows, widest): the outputs of products */
    float *score;        /* (H, positions in whole vectors), or a row */
    float *unit;         /* (rows): the scale of `q` */
    Input *q;            /* (rows, widest): the inputs of products in 8 bits */
    uint16_t *half;      /* (rows, 2, D): keys and values of the encoder */
    const uint16_t **at; /* (positions): addresses of the keys and values that a row attends to */
} Workspace;

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

static void release(Workspace *w) {
    free(w->x), free(w->attended), free(w->wide), free(w->score), free(w->unit), free(w->q), free(w->half), free(w->at);
}

/* Returns 0 if there is not enough memory. */
static int allocate(Workspace *w, const LayerStack *s, size_t rows, size_t positions) {
    size_t width = s->width, widest = larger(larger(3 * width, s->feed_forward), COLUMNS);
    *w = (Workspace){
        .x = malloc(sizeof(float) * rows * width),
        .attended = malloc(sizeof(float) * rows * width),
        .wide = malloc(sizeof(float) * rows * widest),
        .score = malloc(sizeof(float) * larger((positions + 15) / 16 * 16 * s->heads, width)),
        .unit = malloc(sizeof(float) * rows),
        .q = malloc(sizeof(Input) * rows * widest),
        .half = malloc(sizeof(uint16_t) * rows * 2 * width),
        .at = malloc(sizeof(uint16_t *) * positions),
    };
    if (w->x && w->attended && w->wide && w->score && w->unit && w->q && w->half && w->at) return 1;
    release(w);
    return 0;
}

/* Normalize unless `norm` is NULL, quantize and multiply all rows. */
static void linear(const LayerStack *s, const Workspace *w, const QuantizedLinear *p, const LayerNorm *norm,
                   const float *x, int rows, float *y, Mode mode) {
    for (int r = 0; r < rows; r++) {
        const float *row = x + (size_t)r * p->inputs;
        if (norm) layer_norm(norm, s->epsilon, row, w->score, p->inputs), row = w->score;
        w->unit[r] = quantize_row(row, w->q + (size_t)r * p->inputs, p->inputs);
    }
    multiply(p, 0, p->outputs, w->q, w->unit, rows, y, p->outputs, mode);
}

/* Add the sublayer's last product to its input, and normalize where norms come after the sum. */
static void add_residual(const LayerStack *s, const Workspace *w, const QuantizedLinear *p, const float *y,
                         const LayerNorm *norm, int rows) {
    linear(s, w, p, NULL, y, rows, w->x, ADD);
    for (int r = 0; s->post_norm && r < rows; r++)
        layer_norm(norm, s->epsilon, w->x + (size_t)r * s->width, w->x + (size_t)r * s->width, s->width);
}

/* The norm before a sublayer: none where norms come after the sum. */
static const LayerNorm *norm_before(const LayerStack *s, const LayerNorm *norm) { return s->post_norm ? NULL : norm; }

/* `count` rounded up to whole vectors. */
static int whole_vectors(int count) { return (count + 15) / 16 * 16; }

/* Softmax of `count` numbers, in place. It writes whole vectors. */
static void softmax(float *x, int count) {
    float peak = x[0], total = 0;
    for (int t = 1; t < count; t++) peak = x[t] > peak ? x[t] : peak;
    for (int t = count; t < whole_vectors(count); t++) x[t] = -INFINITY;
    for (int t = 0; t < count; t += 16) {
        Vec v = v_exp(v_sub(v_load(x + t), v_splat(peak)));
        total += v_reduce_sum(v); /* what fills the last vector adds 1e-37, which rounding drops */
        v_store(x + t, v);
    }
    for (int t = 0; t < count; t++) x[t] /= total;
}

/* The sum of values, weighted by `p`. It computes 1 or 4 vectors, from number `from` of each position. */
static inline __attribute__((always_inline)) void weighted_sum(const uint16_t *const *at, int from, const float *p,
                                                               int count, int vectors, float *y) {
    Vec a = v_splat(0), b = a, c = a, d = a;
    for (int t = 0; t < count; t++) {
        const uint16_t *x = at[t] + from;
        Vec weight = v_splat(p[t]);
        a = v_fma(weight, v_load_halves(x), a);
        if (vectors < 4) continue;
        b = v_fma(weight, v_load_halves(x + 16), b);
        c = v_fma(weight, v_load_halves(x + 32), c);
        d = v_fma(weight, v_load_halves(x + 48), d);
    }
    v_store(y, a);
    if (vectors == 4) v_store(y + 16, b), v_store(y + 32, c), v_store(y + 48, d);
}

/* Attention of one row over `count` positions. w->at points to the keys of each, which its values follow. */
static void attend(const LayerStack *s, const Workspace *w, const float *q, int count, float *y) {
    int width = s->width, heads = s->heads, head_width = width / heads, stride = whole_vectors(count);
    const uint16_t *const *at = w->at;
    float *score = w->score; /* (H, stride) */
    Vec rate = v_splat(1.0f / sqrtf((float)head_width));
    for (int t = 0; t < count; t++) {
        for (int h = 0; h < heads; h++) {
            Vec sum = v_splat(0);
            for (int e = h * head_width; e < (h + 1) * head_width; e += 16)
                sum = v_fma(v_load(q + e), v_load_halves(at[t] + e), sum);
            score[h * stride + t] = v_reduce_sum(v_mul(sum, rate));
        }
    }
    for (int h = 0; h < heads; h++) softmax(score + h * stride, count);
    for (int h = 0; h < heads; h++) {
        int e = h * head_width, end = e + head_width;
        for (; e + 64 <= end; e += 64) weighted_sum(at, width + e, score + h * stride, count, 4, y + e);
        for (; e < end; e += 16) weighted_sum(at, width + e, score + h * stride, count, 1, y + e);
    }
}

static void feed_forward(const LayerStack *s, const Workspace *w, const Layer *l, int rows) {
    Mode mode = s->activation == RELU ? STORE_RELU : STORE;
    linear(s, w, &l->inner, norm_before(s, &l->feed_forward_norm), w->x, rows, w->wide, mode);
    if (s->activation != RELU) activate(w->wide, (size_t)rows * s->feed_forward, s->activation);
    add_residual(s, w, &l->outer, w->wide, &l->feed_forward_norm, rows);
}

/* Scaled embedding of an id and encoding of its position. */
static void embed(const LayerStack *s, const Workspace *w, int row, int32_t id, const float *encoding) {
    const float *e = s->embedding + (size_t)id * s->width;
    for (int i = 0; i < s->width; i++) w->x[(size_t)row * s->width + i] = e[i] * s->embedding_scale + encoding[i];
}

#endif
