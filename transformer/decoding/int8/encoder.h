/* The encoder: computes the keys and values of the source that the decoder's layers attend to. */
#ifndef ENCODER_H
#define ENCODER_H

#include "layers.h"

static void encoder_layer(const LayerStack *s, const EncodeCall *c, const Workspace *w, const Layer *l, int first,
                          int last, int rows) {
    int width = s->width, r = 0;
    linear(s, w, &l->qkv, norm_before(s, &l->self_norm), w->x, rows, w->wide, STORE);
    for (int b = first; b < last; b++)
        for (int t = 0; t < c->lengths[b]; t++, r++)
            c->failed[b] |=
                store_halves(w->wide + ((size_t)r * 3 + 1) * width, w->half + (size_t)r * 2 * width, 2 * width);
    r = 0;
    for (int b = first; b < last; b++) {
        for (int t = 0; t < c->lengths[b]; t++) w->at[t] = w->half + (size_t)(r + t) * 2 * width;
        for (int end = r + c->lengths[b]; r < end; r++)
            attend(s, w, w->wide + (size_t)r * 3 * width, c->lengths[b], w->attended + (size_t)r * width);
    }
    add_residual(s, w, &l->self_out, w->attended, &l->self_norm, rows);
    feed_forward(s, w, l, rows);
}

/* Encode the sentences from `first` to `last`, `rows` tokens in all. */
static void encode_sentences(const LayerStack *s, const EncodeCall *c, const Workspace *w, int first, int last,
                             int rows) {
    int width = s->width, r = 0;
    for (int b = first; b < last; b++)
        for (int t = 0; t < c->lengths[b]; t++, r++)
            embed(s, w, r, c->ids[(size_t)b * c->source_length + t], c->encoding + (size_t)t * width);
    for (int i = 0; i < s->layer_count; i++) encoder_layer(s, c, w, s->layers + i, first, last, rows);
    for (int i = 0; i < c->decoder_layers; i++) {
        linear(s, w, c->cross_kv + i, norm_before(s, &s->final_norm), w->x, rows, w->wide, STORE);
        r = 0;
        for (int b = first; b < last; b++)
            for (int t = 0; t < c->lengths[b]; t++, r++)
                c->failed[b] |=
                    store_halves(w->wide + (size_t)r * 2 * width,
                                 c->memory[i] + ((size_t)b * c->source_length + t) * 2 * width, 2 * width);
    }
}

#endif
