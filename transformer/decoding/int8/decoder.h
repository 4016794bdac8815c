/* The decoder: takes one more id of each row and returns the best candidates for the next id. */
#ifndef DECODER_H
#define DECODER_H

#include "layers.h"

static void self_attention(const LayerStack *s, const StepCall *c, const Workspace *w, int layer, int first, int rows) {
    int width = s->width;
    for (int r = 0; r < rows; r++) {
        size_t row = first + r, sentence = (size_t)layer * c->sentences + c->sentence[row];
        for (int t = 0; t <= c->position; t++) {
            int place = t < c->position ? c->ancestor[row * c->ancestor_stride + t] : c->place[row];
            w->at[t] = c->page[t / PAGE] + ((sentence * PAGE + t % PAGE) * c->beams + place) * 2 * width;
        }
        const float *q = w->wide + (size_t)r * 3 * width;
        c->failed[c->sentence[row]] |= store_halves(q + width, (uint16_t *)w->at[c->position], 2 * width);
        attend(s, w, q, c->position + 1, w->attended + (size_t)r * width);
    }
}

static void cross_attention(const LayerStack *s, const StepCall *c, const Workspace *w, int layer, int first,
                            int rows) {
    int width = s->width;
    for (int r = 0; r < rows; r++) {
        int sentence = c->sentence[first + r], count = c->lengths[sentence];
        for (int t = 0; t < count; t++)
            w->at[t] = c->memory[layer] + ((size_t)sentence * c->source_length + t) * 2 * width;
        attend(s, w, w->wide + (size_t)r * width, count, w->attended + (size_t)r * width);
    }
}

static void run_layers(const LayerStack *s, const StepCall *c, const Workspace *w, int first, int rows) {
    for (int r = 0; r < rows; r++) embed(s, w, r, c->last_id[first + r], c->encoding);
    for (int i = 0; i < s->layer_count; i++) {
        const Layer *l = s->layers + i;
        linear(s, w, &l->qkv, norm_before(s, &l->self_norm), w->x, rows, w->wide, STORE);
        self_attention(s, c, w, i, first, rows);
        add_residual(s, w, &l->self_out, w->attended, &l->self_norm, rows);
        linear(s, w, &l->cross_q, norm_before(s, &l->cross_norm), w->x, rows, w->wide, STORE);
        cross_attention(s, c, w, i, first, rows);
        add_residual(s, w, &l->cross_out, w->attended, &l->cross_norm, rows);
        feed_forward(s, w, l, rows);
    }
}

/* The running log-sum-exp of a row's logits: their maximum, and the sum of exponentials relative to it. */
typedef struct {
    float peak, sum;
} LogSumExp;

static void add_logits(LogSumExp *total, const float *logits, int count) {
    Vec largest = v_splat(-INFINITY), sum = v_splat(0);
    for (int i = 0; i < count; i += 16) largest = v_max(largest, v_load(logits + i));
    float top = v_reduce_max(largest);
    if (top > total->peak) {
        total->sum *= total->peak == -INFINITY ? 0.0f : expf(total->peak - top);
        total->peak = top;
    }
    Vec peak = v_splat(total->peak);
    for (int i = 0; i < count; i += 16) sum = v_add(sum, v_exp(v_sub(v_load(logits + i), peak)));
    total->sum += v_reduce_sum(sum);
}

/* Insert an id into a row's candidates. */
static void add_candidate(const StepCall *c, float logit, int32_t candidate, float *value, int32_t *id) {
    int k = c->candidates - 1;
    if (!(logit > value[k])) return;
    for (; k > 0 && logit > value[k - 1]; k--) value[k] = value[k - 1], id[k] = id[k - 1];
    value[k] = logit, id[k] = candidate;
}

/* Insert the ids from `begin` on into a row's candidates, except for banned ids. */
static void add_candidates(const StepCall *c, const float *logits, int begin, int count, float *value, int32_t *id) {
    for (int i = 0; i < count; i += 16) {
        uint32_t better = v_greater(v_load(logits + i), v_splat(value[c->candidates - 1]));
        for (; better; better &= better - 1) {
            int at = i + __builtin_ctz(better), possible = 1;
            for (int j = 0; j < c->banned_count; j++) possible &= c->banned[j] != begin + at;
            if (possible) add_candidate(c, logits[at], begin + at, value, id);
        }
    }
}

/* Add the logits of the ids from `begin` on to the log-sum-exp, and to the candidates those that are possible. */
static void scan_logits(const StepCall *c, LogSumExp *total, const float *logits, int begin, int count, size_t row) {
    float *value = c->log_prob + row * c->candidates;
    int32_t *id = c->id + row * c->candidates;
    int first = c->allowed_start ? c->allowed_start[row] : 0, end = c->allowed_start ? c->allowed_start[row + 1] : 0;
    add_logits(total, logits, count);
    if (first == end) add_candidates(c, logits, begin, count, value, id);
    for (int j = first; j < end; j++)
        if (c->allowed[j] >= begin && c->allowed[j] < begin + count)
            add_candidate(c, logits[c->allowed[j] - begin], c->allowed[j], value, id);
}

/* Write the candidates of the rows. Logits are computed for a block of columns at a time. */
static void choose(const LayerStack *s, const StepCall *c, const Workspace *w, int first, int rows) {
    int width = s->width;
    LogSumExp total[ROWS];
    for (int r = 0; r < rows; r++) {
        const float *row = w->x + (size_t)r * width;
        if (!s->post_norm) layer_norm(&s->final_norm, s->epsilon, row, w->score, width), row = w->score;
        w->unit[r] = quantize_row(row, w->q + (size_t)r * width, width);
        total[r] = (LogSumExp){-INFINITY, 0};
        for (size_t k = (size_t)(first + r) * c->candidates, end = k + c->candidates; k < end; k++)
            c->log_prob[k] = -INFINITY, c->id[k] = 0;
    }
    for (int begin = 0; begin < s->output.outputs; begin += COLUMNS) {
        int end = begin + COLUMNS < s->output.outputs ? begin + COLUMNS : s->output.outputs;
        multiply(&s->output, begin, end, w->q, w->unit, rows, w->wide, COLUMNS, STORE);
        for (int r = 0; r < rows; r++)
            scan_logits(c, total + r, w->wide + (size_t)r * COLUMNS, begin, end - begin, first + r);
    }
    for (int r = 0; r < rows; r++) {
        float norm = total[r].peak + logf(total[r].sum);
        if (!isfinite(norm)) c->failed[c->sentence[first + r]] = 1;
        for (int k = 0; k < c->candidates; k++) {
            float *value = c->log_prob + (size_t)(first + r) * c->candidates + k;
            *value = isfinite(norm) ? *value - norm : -INFINITY;
        }
    }
}

#endif
