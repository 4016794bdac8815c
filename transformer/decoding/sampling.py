"""Greedy and beam search and sampling over any step function; nothing here knows the model.

Shape letters: B sentences, K hypotheses of each, N = B * K rows (a sentence's hypotheses side by side),
V vocabulary, P prefix positions. A hypothesis's score is its log-probability, eos included, over
((5 + n) / 6) ** alpha (Wu et al. 2016, section 7), n being its tokens with eos.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from transformer.decoding import search


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How to draw: from the distribution sharpened by `temperature`, cut to `top_k` and `top_p`."""

    temperature: float
    top_k: int
    top_p: float


def sample(
    state: search.State, uniform_NT: Tensor, sampling: Sampling, task: search.SearchTask
) -> list[list[search.Hypothesis]]:
    """Return `task.best` random translations for each sentence, each a function of its row of `uniform_NT`.

    `uniform_NT` holds numbers in [0, 1), a row for each translation and a column for each id.
    """
    sentence_N = [b for b in range(len(task.limits)) for _ in range(task.best)]
    device = uniform_NT.device
    last_N = torch.full((len(sentence_N),), task.start, device=device)
    done_N = torch.zeros(len(sentence_N), dtype=torch.bool, device=device)
    log_prob_N = torch.zeros(len(sentence_N), device=device)
    ids = []
    for position in range(max(task.limits, default=0)):
        logits_NV = state.step(last_N).float()
        norm_N = logits_NV.logsumexp(-1)
        raw_NV = logits_NV.clone()
        search.constrain(logits_NV, search.forced_ids(position, sentence_N, task), task.banned)
        last_N = draw(logits_NV, uniform_NT[:, position], sampling).masked_fill(done_N, task.eos)
        step_N = raw_NV.gather(1, last_N[:, None])[:, 0] - norm_N
        log_prob_N += step_N.masked_fill(done_N, 0.0)
        ids.append(last_N)
        done_N = done_N | (last_N == task.eos)
        if bool(done_N.all()):
            break
    found: list[list[search.Hypothesis]] = [[] for _ in task.limits]
    table = torch.stack(ids, 1).tolist() if ids else []
    for row, log_prob in zip(range(len(table)), log_prob_N.tolist(), strict=True):
        text = tuple(table[row][: table[row].index(task.eos)])
        hypothesis = search.Hypothesis(text, log_prob, search.length_normalized(log_prob, len(text) + 1, task.alpha))
        found[sentence_N[row]].append(hypothesis)
    return found


def draw(logits_NV: Tensor, uniform_N: Tensor, sampling: Sampling) -> Tensor:
    """Return one id per row: the first whose cumulative probability, most probable first, exceeds the number."""
    sorted_NV, order_NV = (logits_NV / sampling.temperature).sort(dim=-1, descending=True, stable=True)
    if sampling.top_k:
        sorted_NV[:, sampling.top_k :] = -math.inf
    p_NV = sorted_NV.softmax(-1)
    before_NV = p_NV.cumsum(-1) - p_NV
    p_NV = p_NV.masked_fill(before_NV >= sampling.top_p, 0.0)
    p_NV[:, 0] = p_NV[:, 0].clamp_min(1e-30)
    total_NV = p_NV.cumsum(-1)
    place_N = (total_NV <= uniform_N[:, None] * total_NV[:, -1:]).sum(-1)
    last_N = (p_NV > 0).sum(-1) - 1
    return order_NV.gather(1, torch.minimum(place_N, last_N)[:, None])[:, 0]
