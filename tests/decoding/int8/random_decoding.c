/* Decodes random numbers with random weights, and prints all results: the same on each instruction set.
 *
 * It is compiled with engine.c, also for processors that are emulated. Only memory, ids and log-probabilities are
 * printed: bits of what arithmetic alone computes, and numbers of what logf and expf of the C library are part of.
 */
#include <stdio.h>

#include "engine.c"

enum { WIDTH = 64, HEADS = 2, INNER = 96, VOCABULARY = 96, LAYERS = 2, SENTENCES = 5, LENGTH = 19, BEAMS = 3, STEPS = 21 };
enum { ROWS_IN_ALL = SENTENCES * BEAMS, CANDIDATES = 4, PAGES = (STEPS + PAGE - 1) / PAGE };

static uint32_t state = 1;
static uint32_t next(uint32_t below) { return (state = state * 1664525u + 1013904223u) / 65536 % below; }

static float *numbers(size_t count, float size, float middle) {
    float *all = malloc(sizeof(float) * count);
    for (size_t i = 0; i < count; i++) all[i] = middle + size * ((float)next(2001) / 1000 - 1);
    return all;
}

static LayerNorm norm(void) { return (LayerNorm){numbers(WIDTH, 0.3f, 1), numbers(WIDTH, 0.3f, 0)}; }

/* The weights are drawn in the same order whatever GROUP is. */
static QuantizedLinear linear_of(int inputs, int outputs) {
    int8_t *weight = malloc((size_t)inputs * outputs);
    int32_t *sum = calloc(outputs, sizeof(int32_t));
    for (int o = 0; o < outputs; o++) {
        for (int i = 0; i < inputs; i++) {
            int value = (int)next(255) - 127;
            size_t block = ((size_t)(o / 16) * (inputs / GROUP) + i / GROUP) * 16 * GROUP;
            weight[block + (size_t)(o % 16) * GROUP + i % GROUP] = value;
            sum[o] += 128 * value;
        }
    }
    return (QuantizedLinear){inputs, outputs, weight, numbers(outputs, 0.0002f, 0.001f), numbers(outputs, 0.1f, 0), sum};
}

static LayerStack stack(int decoder, int activation, int post_norm) {
    Layer *layers = malloc(sizeof(Layer) * LAYERS);
    for (int i = 0; i < LAYERS; i++) {
        layers[i] = (Layer){
            .qkv = linear_of(WIDTH, 3 * WIDTH), .self_out = linear_of(WIDTH, WIDTH), .inner = linear_of(WIDTH, INNER),
            .outer = linear_of(INNER, WIDTH), .self_norm = norm(), .feed_forward_norm = norm()};
        if (decoder) {
            layers[i].cross_q = linear_of(WIDTH, WIDTH), layers[i].cross_out = linear_of(WIDTH, WIDTH);
            layers[i].cross_norm = norm();
        }
    }
    LayerStack s = {.width = WIDTH, .heads = HEADS, .layer_count = LAYERS, .feed_forward = INNER,
                    .vocabulary = VOCABULARY, .post_norm = post_norm, .activation = activation, .epsilon = 1e-5f,
                    .embedding_scale = 8, .layers = layers, .final_norm = norm(),
                    .embedding = numbers((size_t)VOCABULARY * WIDTH, 0.1f, 0)};
    if (decoder) s.output = linear_of(WIDTH, VOCABULARY);
    return s;
}

static void print_halves(const uint16_t *x, size_t count) {
    uint64_t digest = 14695981039346656037u;
    for (size_t i = 0; i < count; i++) digest = (digest ^ x[i]) * 1099511628211u;
    printf("memory %016llx\n", (unsigned long long)digest);
}

static void decode(int activation, int post_norm) {
    LayerStack encoder = stack(0, activation, post_norm), decoder = stack(1, activation, post_norm);
    QuantizedLinear cross_kv[LAYERS];
    uint16_t *memory[LAYERS], *page[PAGES];
    int32_t ids[SENTENCES * LENGTH], lengths[SENTENCES], sentence[ROWS_IN_ALL], place[ROWS_IN_ALL], last[ROWS_IN_ALL];
    int32_t found[ROWS_IN_ALL * CANDIDATES], banned[] = {0, 5}, failed[SENTENCES] = {0};
    float log_prob[ROWS_IN_ALL * CANDIDATES];
    uint8_t ancestor[ROWS_IN_ALL * STEPS];
    size_t size = (size_t)SENTENCES * LENGTH * 2 * WIDTH;
    for (int i = 0; i < LAYERS; i++) cross_kv[i] = linear_of(WIDTH, 2 * WIDTH), memory[i] = calloc(size, 2);
    for (int i = 0; i < PAGES; i++) page[i] = calloc((size_t)LAYERS * SENTENCES * PAGE * BEAMS * 2 * WIDTH, 2);
    for (int i = 0; i < SENTENCES * LENGTH; i++) ids[i] = (int32_t)next(VOCABULARY);
    for (int i = 0; i < SENTENCES; i++) lengths[i] = i == 0 ? LENGTH : 1 + (int32_t)next(LENGTH);
    EncodeCall sources = {SENTENCES, LENGTH, LAYERS, ids, lengths, numbers(LENGTH * WIDTH, 1, 0), cross_kv, memory, failed};
    encode(&encoder, &sources);
    for (int i = 0; i < LAYERS; i++) print_halves(memory[i], size);
    for (int r = 0; r < ROWS_IN_ALL; r++) sentence[r] = r / BEAMS, place[r] = r % BEAMS;
    for (int t = 0; t < STEPS; t++) {
        for (int r = 0; r < ROWS_IN_ALL; r++) {
            last[r] = (int32_t)next(VOCABULARY);
            for (int p = 0; p < t; p++) ancestor[r * STEPS + p] = (uint8_t)next(BEAMS);
        }
        StepCall call = {.rows = ROWS_IN_ALL, .beams = BEAMS, .sentences = SENTENCES, .position = t,
                         .source_length = LENGTH, .candidates = CANDIDATES, .banned_count = 2, .ancestor_stride = STEPS,
                         .sentence = sentence, .place = place, .last_id = last, .lengths = lengths, .banned = banned,
                         .ancestor = ancestor, .memory = (const uint16_t *const *)memory, .page = page,
                         .encoding = numbers(WIDTH, 1, 0), .log_prob = log_prob, .id = found, .failed = failed};
        step(&decoder, &call);
        for (int i = 0; i < ROWS_IN_ALL * CANDIDATES; i++) printf("%d %.9g\n", found[i], log_prob[i]);
    }
    print_halves(page[0], (size_t)LAYERS * SENTENCES * PAGE * BEAMS * 2 * WIDTH);
}

int main(void) {
    decode(RELU, 0);
    decode(RELU, 1);
    decode(SWISH, 0);
    decode(GELU, 1);
    return 0;
}
