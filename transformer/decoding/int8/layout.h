/* The layout of the compiled structures, which Python compares with its own before it passes any. */
#ifndef LAYOUT_H
#define LAYOUT_H

#include <stddef.h>

#include "structures.h"

/* The size of each structure and the offset of each field: a new field may fit into padding without changing the size. */
static const int64_t LAYOUT[] = {
#define AT(field) offsetof(QuantizedLinear, field)
    sizeof(QuantizedLinear),
    AT(inputs), AT(outputs), AT(weight), AT(scale), AT(bias), AT(sum),
#undef AT
#define AT(field) offsetof(LayerNorm, field)
    sizeof(LayerNorm),
    AT(weight), AT(bias),
#undef AT
#define AT(field) offsetof(Layer, field)
    sizeof(Layer),
    AT(qkv), AT(self_out), AT(cross_q), AT(cross_out), AT(inner), AT(outer), AT(self_norm), AT(cross_norm),
    AT(feed_forward_norm),
#undef AT
#define AT(field) offsetof(LayerStack, field)
    sizeof(LayerStack),
    AT(width), AT(heads), AT(layer_count), AT(feed_forward), AT(vocabulary), AT(post_norm), AT(activation),
    AT(epsilon), AT(embedding_scale), AT(layers), AT(final_norm), AT(output), AT(embedding),
#undef AT
#define AT(field) offsetof(EncodeCall, field)
    sizeof(EncodeCall),
    AT(sentences), AT(source_length), AT(decoder_layers), AT(ids), AT(lengths), AT(encoding), AT(cross_kv),
    AT(memory), AT(failed),
#undef AT
#define AT(field) offsetof(StepCall, field)
    sizeof(StepCall),
    AT(rows), AT(beams), AT(sentences), AT(position), AT(source_length), AT(candidates), AT(banned_count),
    AT(ancestor_stride), AT(sentence), AT(place), AT(last_id), AT(allowed), AT(allowed_start),
    AT(lengths), AT(banned), AT(ancestor), AT(memory), AT(page), AT(encoding), AT(log_prob), AT(id), AT(failed),
#undef AT
    PAGE,
};

/* The entry of this number; -1 after the last. */
int64_t layout(int32_t number) {
    return number >= 0 && (size_t)number < sizeof(LAYOUT) / sizeof(*LAYOUT) ? LAYOUT[number] : -1;
}

#endif
