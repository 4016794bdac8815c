/* The encoder, and one step of the decoder for many hypotheses, in 8-bit products, on x86-64 with AVX-512 VNNI.
 *
 * transformer/native.py compiles and calls this and says what each array holds; transformer/model.py is the same
 * computation in torch. Everything of a hypothesis is computed from its own row alone, so that results depend neither
 * on the batch nor on the order.
 *
 * Letters: R rows (hypotheses that are alive), D width, H heads, E = D / H, P positions, V vocabulary.
 */
#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Weights (out, in) as 8-bit integers in blocks of 16 outputs by 4 inputs; out is rounded up to 32. */
typedef struct {
    int32_t in, out;
    const int8_t *weight; /* (out / 16, in / 4, 16, 4) */
    const float *scale;   /* (out) */
    const float *bias;    /* (out) */
    const int32_t *sum;   /* (out): 128 times the sum of each output's weights */
} Product;

typedef struct {
    const float *weight, *bias; /* (D) */
} Norm;

typedef struct {
    Product qkv, self_out, cross_q, cross_out, inner, outer;
    Norm self_norm, cross_norm, feed_norm;
} Layer; /* an encoder's has no cross_q, cross_out and cross_norm */

typedef struct {
    int32_t width, heads, layers, feed, vocabulary, post_norm, activation; /* 0 relu, 1 gelu, 2 swish */
    float eps, embedding_scale;
    const Layer *layer;
    Norm last;              /* pre-norm only */
    Product output;         /* a decoder's */
    const float *embedding; /* (V, D) */
} Stack;

enum { PAGE = 16 }; /* positions of a page of keys and values */

typedef struct {
    int32_t sentences, source, decoder_layers;
    const int32_t *ids;       /* (sentences, source) */
    const int32_t *lengths;   /* (sentences) */
    const float *encoding;    /* (source, D) */
    const Product *cross;     /* each decoder layer's product for keys and values */
    uint16_t *const *memory;  /* out, each decoder layer's: (sentences, source, 2, D), half precision */
} Sources;

typedef struct {
    int32_t rows, beams, sentences, position, source, best, banned_count, ancestor_stride;
    const int32_t *slot;      /* (R): the sentence's place in memory and pages */
    const int32_t *place;     /* (R): the hypothesis's place in its sentence */
    const int32_t *last;      /* (R): the last id */
    const int32_t *forced;    /* (R): the only id allowed, or -1 */
    const int32_t *lengths;   /* (sentences): source positions */
    const int32_t *banned;    /* ids never chosen */
    const uint8_t *ancestor;  /* (R, stride): place of the ancestor at each past position */
    const uint16_t *const *memory; /* each layer: (sentences, source, 2, D), half precision: keys, values */
    uint16_t *const *page;    /* each 16 positions: (layers, sentences, 16, beams, 2, D) */
    const float *encoding;    /* (D): of this position */
    float *log_prob;          /* out, (R, best) */
    int32_t *id;              /* out, (R, best) */
} Step;

static inline __m512 exp512(__m512 x) { /* relative error below 2e-7; below -87 it is that of -87 */
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

/* Layer normalisation of one row. */
static void normalise(const Norm *norm, float eps, const float *x, float *y, int width) {
    __m512 total = _mm512_setzero_ps(), squares = _mm512_setzero_ps();
    for (int i = 0; i < width; i += 16) total = _mm512_add_ps(total, _mm512_loadu_ps(x + i));
    __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(total) / width);
    for (int i = 0; i < width; i += 16) {
        __m512 d = _mm512_sub_ps(_mm512_loadu_ps(x + i), mean);
        squares = _mm512_fmadd_ps(d, d, squares);
    }
    __m512 rate = _mm512_set1_ps(1.0f / sqrtf(_mm512_reduce_add_ps(squares) / width + eps));
    for (int i = 0; i < width; i += 16) {
        __m512 d = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(x + i), mean), rate);
        d = _mm512_fmadd_ps(d, _mm512_loadu_ps(norm->weight + i), _mm512_loadu_ps(norm->bias + i));
        _mm512_storeu_ps(y + i, d);
    }
}

/* One row in 8 bits, 128 being zero; returns what a unit is worth, NaN if the row is not finite. */
static float quantise(const float *x, uint8_t *q, int width) {
    __m512 largest = _mm512_setzero_ps(), nothing = _mm512_setzero_ps();
    for (int i = 0; i < width; i += 16) {
        __m512 v = _mm512_loadu_ps(x + i);
        largest = _mm512_max_ps(largest, _mm512_abs_ps(v));
        nothing = _mm512_fmadd_ps(v, _mm512_setzero_ps(), nothing); /* a maximum forgets NaN, a sum does not */
    }
    float peak = _mm512_reduce_max_ps(largest);
    __m512 rate = _mm512_set1_ps(peak > 0 ? 127.0f / peak : 0.0f);
    for (int i = 0; i < width; i += 16) {
        __m512i n = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + i), rate));
        _mm_storeu_si128((__m128i *)(q + i), _mm512_cvtepi32_epi8(_mm512_add_epi32(n, _mm512_set1_epi32(128))));
    }
    return peak / 127.0f + _mm512_reduce_add_ps(nothing);
}

enum { TILE = 12 };              /* rows multiplied together: 12 by 2 accumulators fit the registers */
enum { SET = 0, ADD = 1, RELU = 2 };

/* `count` rows by 32 outputs; the compiler unrolls it for each count. */
static inline __attribute__((always_inline)) void tile(const Product *p, int column, const uint8_t *x, const float *unit,
                                                       int count, float *y, int stride, int mode) {
    const int8_t *w0 = p->weight + (size_t)column * p->in, *w1 = w0 + (size_t)16 * p->in;
    __m512i a0[TILE], a1[TILE];
    for (int r = 0; r < count; r++) a0[r] = a1[r] = _mm512_setzero_si512();
    for (int k = 0; k < p->in; k += 4) {
        __m512i b0 = _mm512_load_si512(w0 + (size_t)k * 16), b1 = _mm512_load_si512(w1 + (size_t)k * 16);
#pragma GCC unroll 12
        for (int r = 0; r < count; r++) {
            int32_t four;
            memcpy(&four, x + (size_t)r * p->in + k, 4);
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
            if (mode == RELU) v = _mm512_max_ps(v, _mm512_setzero_ps());
            _mm512_storeu_ps(out, v);
        }
    }
}

/* y = x @ weight.T + bias for the columns from `begin` to `end`; y begins at column `begin`. */
static void multiply(const Product *p, int begin, int end, const uint8_t *x, const float *unit, int rows, float *y,
                     int stride, int mode) {
    for (int c = begin; c < end; c += 32) {
        for (int r = 0; r < rows; r += TILE) {
            const uint8_t *from = x + (size_t)r * p->in;
            float *to = y + (size_t)r * stride + (c - begin);
            switch (rows - r < TILE ? rows - r : TILE) {
#define CASE(n) case n: tile(p, c, from, unit + r, n, to, stride, mode); break;
                CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12)
#undef CASE
            }
        }
    }
}

static inline __m512 half16(const uint16_t *x) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)x)); }

/* Attention of one row over `count` positions, each with keys and after them values at `at`; `score` is room for
 * heads * count numbers. */
static void attend(const float *q, const uint16_t *const *at, int count, int heads, int width, float *score, float *y) {
    int each = width / heads;
    __m512 rate = _mm512_set1_ps(1.0f / sqrtf((float)each));
    for (int t = 0; t < count; t++) {
        for (int h = 0; h < heads; h++) {
            __m512 sum = _mm512_setzero_ps();
            for (int e = h * each; e < (h + 1) * each; e += 16)
                sum = _mm512_fmadd_ps(_mm512_loadu_ps(q + e), half16(at[t] + e), sum);
            score[h * count + t] = _mm512_reduce_add_ps(_mm512_mul_ps(sum, rate));
        }
    }
    for (int h = 0; h < heads; h++) {
        float *s = score + h * count, peak = s[0], total = 0;
        for (int t = 1; t < count; t++) peak = s[t] > peak ? s[t] : peak;
        for (int t = 0; t < count; t += 16) {
            __mmask16 m = count - t < 16 ? (1u << (count - t)) - 1 : 0xffff;
            __m512 v = exp512(_mm512_sub_ps(_mm512_maskz_loadu_ps(m, s + t), _mm512_set1_ps(peak)));
            total += _mm512_mask_reduce_add_ps(m, v);
            _mm512_mask_storeu_ps(s + t, m, v);
        }
        for (int t = 0; t < count; t++) s[t] /= total;
    }
    memset(y, 0, sizeof(float) * width);
    for (int t = 0; t < count; t++) {
        for (int h = 0; h < heads; h++) {
            __m512 p = _mm512_set1_ps(score[h * count + t]);
            for (int e = h * each; e < (h + 1) * each; e += 16)
                _mm512_storeu_ps(y + e, _mm512_fmadd_ps(p, half16(at[t] + width + e), _mm512_loadu_ps(y + e)));
        }
    }
}

/* What was seen of a row's logits: peak and sum of exponentials below it, and the best allowed ones in order. */
typedef struct {
    float peak, sum;
} Seen;

static void look(Seen *seen, const float *logits, int begin, int count, const Step *s, int32_t forced, float *value,
                 int32_t *id) {
    __m512 largest = _mm512_set1_ps(-INFINITY), sum = _mm512_setzero_ps();
    for (int i = 0; i < count; i += 16) largest = _mm512_max_ps(largest, _mm512_loadu_ps(logits + i));
    float top = _mm512_reduce_max_ps(largest);
    if (top > seen->peak) {
        seen->sum *= seen->peak == -INFINITY ? 0.0f : expf(seen->peak - top);
        seen->peak = top;
    }
    __m512 peak = _mm512_set1_ps(seen->peak);
    for (int i = 0; i < count; i += 16) sum = _mm512_add_ps(sum, exp512(_mm512_sub_ps(_mm512_loadu_ps(logits + i), peak)));
    seen->sum += _mm512_reduce_add_ps(sum);
    if (forced >= 0) {
        if (forced >= begin && forced < begin + count) value[0] = logits[forced - begin], id[0] = forced;
        return;
    }
    for (int i = 0; i < count; i += 16) {
        uint32_t better = _mm512_cmp_ps_mask(_mm512_loadu_ps(logits + i), _mm512_set1_ps(value[s->best - 1]), _CMP_GT_OQ);
        for (; better; better &= better - 1) {
            int at = i + __builtin_ctz(better), allowed = 1, k = s->best - 1;
            for (int j = 0; j < s->banned_count; j++) allowed &= s->banned[j] != begin + at;
            if (!allowed || !(logits[at] > value[k])) continue;
            for (; k > 0 && logits[at] > value[k - 1]; k--) value[k] = value[k - 1], id[k] = id[k - 1];
            value[k] = logits[at], id[k] = begin + at;
        }
    }
}

enum { ROWS = 96, COLUMNS = 2048 }; /* what is worked on at once, so that it stays in the cache of a core */

typedef struct { /* for so many rows at once, of which each sees so many positions */
    float *x, *y, *wide, *score, *unit;
    uint8_t *q;
    uint16_t *half;
    const uint16_t **at;
} Room;

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

static void leave(Room *m) {
    free(m->x), free(m->y), free(m->wide), free(m->score), free(m->unit), free(m->q), free(m->half), free(m->at);
}

/* Returns whether there was memory. */
static int enter(Room *m, const Stack *d, size_t rows, size_t positions) {
    size_t width = d->width, widest = larger(larger(3 * width, d->feed), COLUMNS);
    *m = (Room){
        .x = malloc(sizeof(float) * rows * width),
        .y = malloc(sizeof(float) * rows * width),
        .wide = malloc(sizeof(float) * rows * widest),
        .score = malloc(sizeof(float) * larger(positions * d->heads, width)),
        .unit = malloc(sizeof(float) * rows),
        .q = malloc(rows * widest),
        .half = malloc(sizeof(uint16_t) * rows * 2 * width),
        .at = malloc(sizeof(uint16_t *) * positions),
    };
    if (m->x && m->y && m->wide && m->score && m->unit && m->q && m->half && m->at) return 1;
    leave(m);
    return 0;
}

/* Normalise if asked for, quantise and multiply all rows. */
static void project(const Stack *d, const Room *m, const Product *p, const Norm *norm, const float *x, int rows,
                    float *y, int mode) {
    for (int r = 0; r < rows; r++) {
        const float *row = x + (size_t)r * p->in;
        if (norm) normalise(norm, d->eps, row, m->score, p->in), row = m->score;
        m->unit[r] = quantise(row, m->q + (size_t)r * p->in, p->in);
    }
    multiply(p, 0, p->out, m->q, m->unit, rows, y, p->out, mode);
}

static void activate(float *x, size_t count, int kind) {
    for (size_t i = 0; i < count; i += 16) {
        __m512 v = _mm512_loadu_ps(x + i);
        if (kind == 2) {
            __m512 below = _mm512_add_ps(_mm512_set1_ps(1), exp512(_mm512_sub_ps(_mm512_setzero_ps(), v)));
            _mm512_storeu_ps(x + i, _mm512_div_ps(v, below));
        } else {
            for (size_t j = i; j < i + 16; j++) x[j] *= 0.5f * (1 + erff(x[j] * 0.70710678f));
        }
    }
}

/* Round keys and values to half precision. */
static void store_halves(const float *from, uint16_t *to, int count) {
    for (int i = 0; i < count; i += 16)
        _mm256_storeu_si256((__m256i *)(to + i), _mm512_cvtps_ph(_mm512_loadu_ps(from + i), 0));
}

static void self_attention(const Stack *d, const Step *s, const Room *m, int layer, int first, int rows) {
    int width = d->width;
    for (int r = 0; r < rows; r++) {
        int n = first + r;
        size_t sentence = (size_t)layer * s->sentences + s->slot[n];
        for (int t = 0; t <= s->position; t++) {
            int by = t < s->position ? s->ancestor[(size_t)n * s->ancestor_stride + t] : s->place[n];
            m->at[t] = s->page[t / PAGE] + ((sentence * PAGE + t % PAGE) * s->beams + by) * 2 * width;
        }
        const float *q = m->wide + (size_t)r * 3 * width;
        store_halves(q + width, (uint16_t *)m->at[s->position], 2 * width);
        attend(q, m->at, s->position + 1, d->heads, width, m->score, m->y + (size_t)r * width);
    }
}

static void cross_attention(const Stack *d, const Step *s, const Room *m, int layer, int first, int rows) {
    int width = d->width;
    for (int r = 0; r < rows; r++) {
        int slot = s->slot[first + r], count = s->lengths[slot];
        for (int t = 0; t < count; t++) m->at[t] = s->memory[layer] + ((size_t)slot * s->source + t) * 2 * width;
        attend(m->wide + (size_t)r * width, m->at, count, d->heads, width, m->score, m->y + (size_t)r * width);
    }
}

/* The sublayer's last product, added to its input, and the norm after it if that is where norms are. */
static void finish(const Stack *d, const Room *m, const Product *p, const float *y, const Norm *norm, int rows) {
    project(d, m, p, NULL, y, rows, m->x, ADD);
    for (int r = 0; d->post_norm && r < rows; r++)
        normalise(norm, d->eps, m->x + (size_t)r * d->width, m->x + (size_t)r * d->width, d->width);
}

static const Norm *before(const Stack *d, const Norm *norm) { return d->post_norm ? NULL : norm; }

static void feed_forward(const Stack *d, const Room *m, const Layer *l, int rows) {
    project(d, m, &l->inner, before(d, &l->feed_norm), m->x, rows, m->wide, d->activation ? SET : RELU);
    if (d->activation) activate(m->wide, (size_t)rows * d->feed, d->activation);
    finish(d, m, &l->outer, m->wide, &l->feed_norm, rows);
}

static void embed(const Stack *d, const Room *m, int row, int32_t id, const float *encoding) {
    const float *e = d->embedding + (size_t)id * d->width;
    for (int i = 0; i < d->width; i++) m->x[(size_t)row * d->width + i] = e[i] * d->embedding_scale + encoding[i];
}

static void run_layers(const Stack *d, const Step *s, const Room *m, int first, int rows) {
    for (int r = 0; r < rows; r++) embed(d, m, r, s->last[first + r], s->encoding);
    for (int i = 0; i < d->layers; i++) {
        const Layer *l = d->layer + i;
        project(d, m, &l->qkv, before(d, &l->self_norm), m->x, rows, m->wide, SET);
        self_attention(d, s, m, i, first, rows);
        finish(d, m, &l->self_out, m->y, &l->self_norm, rows);
        project(d, m, &l->cross_q, before(d, &l->cross_norm), m->x, rows, m->wide, SET);
        cross_attention(d, s, m, i, first, rows);
        finish(d, m, &l->cross_out, m->y, &l->cross_norm, rows);
        feed_forward(d, m, l, rows);
    }
}

/* Encode the sentences from `first` to `last`, `rows` tokens in all, and keep what the decoder's layers attend to. */
static void encode_some(const Stack *d, const Sources *s, const Room *m, int first, int last, int rows) {
    int width = d->width, r = 0;
    for (int b = first; b < last; b++)
        for (int t = 0; t < s->lengths[b]; t++, r++)
            embed(d, m, r, s->ids[(size_t)b * s->source + t], s->encoding + (size_t)t * width);
    for (int i = 0; i < d->layers; i++) {
        const Layer *l = d->layer + i;
        project(d, m, &l->qkv, before(d, &l->self_norm), m->x, rows, m->wide, SET);
        for (r = 0; r < rows; r++)
            store_halves(m->wide + ((size_t)r * 3 + 1) * width, m->half + (size_t)r * 2 * width, 2 * width);
        r = 0;
        for (int b = first; b < last; b++) {
            for (int t = 0; t < s->lengths[b]; t++) m->at[t] = m->half + (size_t)(r + t) * 2 * width;
            for (int end = r + s->lengths[b]; r < end; r++)
                attend(m->wide + (size_t)r * 3 * width, m->at, s->lengths[b], d->heads, width, m->score,
                       m->y + (size_t)r * width);
        }
        finish(d, m, &l->self_out, m->y, &l->self_norm, rows);
        feed_forward(d, m, l, rows);
    }
    for (int i = 0; i < s->decoder_layers; i++) {
        project(d, m, s->cross + i, before(d, &d->last), m->x, rows, m->wide, SET);
        r = 0;
        for (int b = first; b < last; b++)
            for (int t = 0; t < s->lengths[b]; t++, r++)
                store_halves(m->wide + (size_t)r * 2 * width, s->memory[i] + ((size_t)b * s->source + t) * 2 * width,
                             2 * width);
    }
}

static void choose(const Stack *d, const Step *s, const Room *m, int first, int rows) {
    int width = d->width;
    Seen seen[ROWS];
    for (int r = 0; r < rows; r++) {
        const float *row = m->x + (size_t)r * width;
        if (!d->post_norm) normalise(&d->last, d->eps, row, m->score, width), row = m->score;
        m->unit[r] = quantise(row, m->q + (size_t)r * width, width);
        seen[r] = (Seen){-INFINITY, 0};
        for (size_t k = (size_t)(first + r) * s->best, end = k + s->best; k < end; k++) s->log_prob[k] = -INFINITY, s->id[k] = 0;
    }
    for (int c = 0; c < d->output.out; c += COLUMNS) {
        int end = c + COLUMNS < d->output.out ? c + COLUMNS : d->output.out;
        multiply(&d->output, c, end, m->q, m->unit, rows, m->wide, COLUMNS, SET);
        for (int r = 0; r < rows; r++) {
            size_t n = first + r;
            look(seen + r, m->wide + (size_t)r * COLUMNS, c, end - c, s, s->forced ? s->forced[n] : -1,
                 s->log_prob + n * s->best, s->id + n * s->best);
        }
    }
    for (int r = 0; r < rows; r++) {
        float norm = seen[r].peak + logf(seen[r].sum);
        for (int k = 0; k < s->best; k++) {
            float *value = s->log_prob + (size_t)(first + r) * s->best + k;
            *value = isfinite(norm) ? *value - norm : -INFINITY;
        }
    }
}

/* Encode all sources; returns 0, or 1 if there was no memory. */
int32_t encode(const Stack *d, const Sources *s) {
    Room m;
    size_t most = larger(ROWS, s->source);
    if (!enter(&m, d, most, s->source)) return 1;
    for (int first = 0, last; first < s->sentences; first = last) {
        size_t rows = 0;
        for (last = first; last < s->sentences && rows + s->lengths[last] <= most; last++) rows += s->lengths[last];
        encode_some(d, s, &m, first, last, rows);
    }
    leave(&m);
    return 0;
}

/* Decode one position of every row; returns 0, or 1 if there was no memory. */
int32_t step(const Stack *d, const Step *s) {
    Room m;
    if (!enter(&m, d, s->rows < ROWS ? s->rows : ROWS, s->position + 1 > s->source ? s->position + 1 : s->source))
        return 1;
    for (int first = 0; first < s->rows; first += ROWS) {
        int count = s->rows - first < ROWS ? s->rows - first : ROWS;
        run_layers(d, s, &m, first, count);
        choose(d, s, &m, first, count);
    }
    leave(&m);
    return 0;
}
