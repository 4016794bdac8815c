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
    float *score;        /* (H, positions), or a row */
    float *unit;         /* (rows): the scale of `q` */
    uint8_t *q;          /* (rows, widest): the inputs of products in 8 bits */
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
        .score = malloc(sizeof(float) * larger(positions * s->heads, width)),
        .unit = malloc(sizeof(float) * rows),
        .q = malloc(rows * widest),
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

/* Attention of one row over `count` positions. w->at points to the keys of each, which its values follow. */
static void attend(const LayerStack *s, const Workspace *w, const float *q, int count, float *y) {
    int width = s->width, heads = s->heads, head_width = width / heads;
    const uint16_t *const *at = w->at;
    float *score = w->score;
    __m512 rate = _mm512_set1_ps(1.0f / sqrtf((float)head_width));
    for (int t = 0; t < count; t++) {
        for (int h = 0; h < heads; h++) {
            __m512 sum = _mm512_setzero_ps();
            for (int e = h * head_width; e < (h + 1) * head_width; e += 16)
                sum = _mm512_fmadd_ps(_mm512_loadu_ps(q + e), load_halves(at[t] + e), sum);
            score[h * count + t] = _mm512_reduce_add_ps(_mm512_mul_ps(sum, rate));
        }
    }
    for (int h = 0; h < heads; h++) {
        float *p = score + h * count, peak = p[0], total = 0;
        for (int t = 1; t < count; t++) peak = p[t] > peak ? p[t] : peak;
        for (int t = 0; t < count; t += 16) {
            __mmask16 mask = count - t < 16 ? (1u << (count - t)) - 1 : 0xffff;
            __m512 v = exp512(_mm512_sub_ps(_mm512_maskz_loadu_ps(mask, p + t), _mm512_set1_ps(peak)));
            total += _mm512_mask_reduce_add_ps(mask, v);
            _mm512_mask_storeu_ps(p + t, mask, v);
        }
        for (int t = 0; t < count; t++) p[t] /= total;
    }
    memset(y, 0, sizeof(float) * width);
    for (int t = 0; t < count; t++) {
        for (int h = 0; h < heads; h++) {
            __m512 p = _mm512_set1_ps(score[h * count + t]);
            for (int e = h * head_width; e < (h + 1) * head_width; e += 16)
                _mm512_storeu_ps(y + e, _mm512_fmadd_ps(p, load_halves(at[t] + width + e), _mm512_loadu_ps(y + e)));
        }
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
