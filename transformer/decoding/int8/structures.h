/* The structures that Python passes: weights, and the arrays of one call. structures.py declares the same structures.
 *
 * Shape letters, here and in the other files: R rows (live hypotheses of all sentences), B sentences, K hypotheses of a
 * sentence, S source positions, T target positions, C candidates, V vocabulary, D model width, H heads, E = D / H.
 */
#ifndef STRUCTURES_H
#define STRUCTURES_H

#include <stdint.h>

enum { PAGE = 16 }; /* target positions whose keys and values are stored together; not measured */

/* Weights (outputs, inputs) as 8-bit integers in blocks of 16 outputs by GROUP inputs; outputs are rounded up to 32. */
typedef struct {
    int32_t inputs, outputs;
    const int8_t *weight; /* (outputs / 16, inputs / GROUP, 16, GROUP) */
    const float *scale;   /* (outputs): scale of the weights */
    const float *bias;    /* (outputs) */
    const int32_t *sum;   /* (outputs): 128 times the sum of each output's weights */
} QuantizedLinear;

typedef struct {
    const float *weight, *bias; /* (D) */
} LayerNorm;

/* A layer of the decoder, or of the encoder, which has no cross_q, cross_out and cross_norm. */
typedef struct {
    QuantizedLinear qkv, self_out, cross_q, cross_out, inner, outer;
    LayerNorm self_norm, cross_norm, feed_forward_norm;
} Layer;

enum { RELU = 0, GELU = 1, SWISH = 2 };

/* The encoder or the decoder. */
typedef struct {
    int32_t width, heads, layer_count, feed_forward, vocabulary, post_norm, activation;
    float epsilon, embedding_scale;
    const Layer *layers;
    LayerNorm final_norm;    /* pre-norm only */
    QuantizedLinear output;  /* the decoder's, to the vocabulary */
    const float *embedding;  /* (V, D) */
} LayerStack;

/* The arrays of `encode`. */
typedef struct {
    int32_t sentences, source_length, decoder_layers;
    const int32_t *ids;              /* (B, S) */
    const int32_t *lengths;          /* (B): source positions that are not padding */
    const float *encoding;           /* (S, D): of the positions */
    const QuantizedLinear *cross_kv; /* each decoder layer's product for keys and values of the source */
    uint16_t *const *memory;         /* out, each decoder layer's: (B, S, 2, D), half precision: keys, values */
    int32_t *failed;                 /* out, (B): set to 1 if a number was not finite, or too large for half precision */
} EncodeCall;

/* The arrays of `step`. */
typedef struct {
    int32_t rows, beams, sentences, position, source_length, candidates, banned_count, ancestor_stride;
    const int32_t *sentence;       /* (R): the row's sentence in memory and pages */
    const int32_t *place;          /* (R): the hypothesis's place in the KV cache, of its sentence's K */
    const int32_t *last_id;        /* (R) */
    const int32_t *allowed;        /* the only ids allowed, those of a row adjacent */
    const int32_t *allowed_start;  /* (R + 1): where those of a row begin; if it has none, all are; may be NULL */
    const int32_t *lengths;        /* (B): source positions that are not padding */
    const int32_t *banned;         /* ids that are never chosen */
    const uint8_t *ancestor;       /* (R, stride): place of the ancestor at each past position */
    const uint16_t *const *memory; /* each layer: (B, S, 2, D), half precision: keys, values of the source */
    uint16_t *const *page;         /* each PAGE positions: (layers, B, PAGE, K, 2, D), half precision */
    const float *encoding;         /* (D): of this position */
    float *log_prob;               /* out, (R, C), best first */
    int32_t *id;                   /* out, (R, C) */
    int32_t *failed;               /* out, (B): likewise */
} StepCall;

#endif
