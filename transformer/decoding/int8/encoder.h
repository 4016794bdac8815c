/* The encoder: source ids to the keys and values that the decoder's layers attend to. */
#ifndef ENCODER_H
#define ENCODER_H

#include "layers.h"

static void encoder_layer(const LayerStack *s, const EncodeCall *c, const Workspace *m, const Layer *l, int first,
                          int last, int rows) {
    int width = s->width, r = 0;
    linear(s, m, &l->qkv, norm_before(s, &l->self_norm), m->x, rows, m->wide, STORE);
    for (r = 0; r < rows; r++)
        store_halves(m->wide + ((size_t)r * 3 + 1) * width, m->half + (size_t)r * 2 * width, 2 * width);
    r = 0;
    for (int b = first; b < last; b++) {
        for (int t = 0; t < c->lengths[b]; t++) m->at[t] = m->half + (size_t)(r + t) * 2 * width;
        for (int end = r + c->lengths[b]; r < end; r++)
            attend(s, m, m->wide + (size_t)r * 3 * width, c->lengths[b], m->attended + (size_t)r * width);
    }
    add_residual(s, m, &l->self_out, m->attended, &l->self_norm, rows);
    feed_forward(s, m, l, rows);
}

/* Encode the sentences from `first` to `last`, `rows` tokens in all. */
static void encode_sentences(const LayerStack *s, const EncodeCall *c, const Workspace *m, int first, int last,
                             int rows) {
    int width = s->width, r = 0;
    for (int b = first; b < last; b++)
        for (int t = 0; t < c->lengths[b]; t++, r++)
            embed(s, m, r, c->ids[(size_t)b * c->source_length + t], c->encoding + (size_t)t * width);
    for (int i = 0; i < s->layer_count; i++) encoder_layer(s, c, m, s->layers + i, first, last, rows);
    for (int i = 0; i < c->decoder_layers; i++) {
        linear(s, m, c->cross_kv + i, norm_before(s, &s->final_norm), m->x, rows, m->wide, STORE);
        r = 0;
        for (int b = first; b < last; b++)
            for (int t = 0; t < c->lengths[b]; t++, r++)
                store_halves(m->wide + (size_t)r * 2 * width,
                             c->memory[i] + ((size_t)b * c->source_length + t) * 2 * width, 2 * width);
    }
}

#endif
