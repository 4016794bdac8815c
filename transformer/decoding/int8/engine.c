/* The network with products of 8-bit integers: the functions that Python calls.
 *
 * build.py compiles this file with those that it includes, and engine.py calls it. transformer/model/network.py is the
 * same computation in torch.
 */
#include "decoder.h"
#include "encoder.h"
#include "layout.h"

/* Inputs whose weights are adjacent. */
int32_t group(void) { return GROUP; }

/* Encode all sources. Returns 0, or 1 if there was no memory. */
int32_t encode(const LayerStack *s, const EncodeCall *c) {
    Workspace w;
    size_t most = larger(ROWS, c->source_length);
    if (!allocate(&w, s, most, c->source_length)) return 1;
    for (int first = 0, last; first < c->sentences; first = last) {
        size_t rows = 0;
        for (last = first; last < c->sentences && rows + c->lengths[last] <= most; last++) rows += c->lengths[last];
        encode_sentences(s, c, &w, first, last, rows);
    }
    release(&w);
    return 0;
}

/* Decode one position of every row. Returns 0, or 1 if there was no memory. */
int32_t step(const LayerStack *s, const StepCall *c) {
    Workspace w;
    if (!allocate(&w, s, c->rows < ROWS ? c->rows : ROWS, larger(c->position + 1, c->source_length))) return 1;
    for (int first = 0; first < c->rows; first += ROWS) {
        int rows = c->rows - first < ROWS ? c->rows - first : ROWS;
        run_layers(s, c, &w, first, rows);
        choose(s, c, &w, first, rows);
    }
    release(&w);
    return 0;
}
