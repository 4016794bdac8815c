"""Reproducible sampling of translations from any step function, independent of the model.

Shape letters: B sentences, R rows (samples of all sentences, those of a sentence adjacent), T target positions,
V vocabulary.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transformer.decoding import search


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Settings of sampling: the distribution is divided by `temperature` and truncated to `top_k` and `top_p`."""

    temperature: float
    top_k: int
    top_p: float


def sample(
    state: search.State, uniform_RT: Tensor, sampling: Sampling, task: search.SearchTask
) -> list[list[search.Hypothesis]]:
    """Return `task.nbest` random translations of each sentence, each determined by its row of `uniform_RT`.

    `uniform_RT` has numbers in [0, 1), with a row for each translation and a column for each position.
    """
    sentence_of_row = np.arange(len(task.limits)).repeat(task.nbest)
    device = uniform_RT.device
    last_R = torch.full((len(sentence_of_row),), task.start_id, device=device)
    done_R = torch.zeros(len(sentence_of_row), dtype=torch.bool, device=device)
    log_prob_R = torch.zeros(len(sentence_of_row), device=device)
    ids_RT = torch.zeros(len(sentence_of_row), 0, dtype=torch.long, device=device)
    for position in range(max(task.limits, default=0)):
        logits_RV = state.step(last_R).float()
        norm_R = logits_RV.logsumexp(-1)
        free_RV = logits_RV.clone()  # the log-probability is that of the unconstrained model
        search.constrain(logits_RV, search.allowed_ids(sentence_of_row, ids_RT.cpu().numpy(), task), task.banned)
        last_R = draw(logits_RV, uniform_RT[:, position], sampling).masked_fill(done_R, task.eos)
        step_R = free_RV.gather(1, last_R[:, None])[:, 0] - norm_R
        log_prob_R += step_R.masked_fill(done_R, 0.0)
        ids_RT = torch.cat((ids_RT, last_R[:, None]), 1)
        done_R = done_R | (last_R == task.eos)
        if bool(done_R.all()):
            break
    return _hypotheses(ids_RT, log_prob_R, sentence_of_row, task)


def _hypotheses(
    ids_RT: Tensor, log_prob_R: Tensor, sentence_of_row: NDArray[Any], task: search.SearchTask
) -> list[list[search.Hypothesis]]:
    """Group the ids drawn into the samples of each sentence."""
    hypotheses: list[list[search.Hypothesis]] = [[] for _ in task.limits]
    for sentence, row, log_prob in zip(sentence_of_row.tolist(), ids_RT.tolist(), log_prob_R.tolist(), strict=True):
        text = tuple(row[: row.index(task.eos)])
        score = search.length_normalized(log_prob, len(text) + 1, task.alpha)
        hypotheses[sentence].append(search.Hypothesis(text, log_prob, score))
    return hypotheses


def draw(logits_RV: Tensor, uniform_R: Tensor, sampling: Sampling) -> Tensor:
    """Return one id per row: the first, by decreasing probability, whose cumulative probability exceeds the number."""
    sorted_RV, order_RV = (logits_RV / sampling.temperature).sort(dim=-1, descending=True, stable=True)
    if sampling.top_k:
        sorted_RV[:, sampling.top_k :] = -math.inf
    p_RV = sorted_RV.softmax(-1)
    before_RV = p_RV.cumsum(-1) - p_RV
    p_RV = p_RV.masked_fill(before_RV >= sampling.top_p, 0.0)
    p_RV[:, 0] = p_RV[:, 0].clamp_min(1e-30)  # the most probable id is always possible, even if top_p is 0
    total_RV = p_RV.cumsum(-1)
    place_R = (total_RV <= uniform_R[:, None] * total_RV[:, -1:]).sum(-1)
    last_possible_R = (p_RV > 0).sum(-1) - 1
    return order_RV.gather(1, torch.minimum(place_R, last_possible_R)[:, None])[:, 0]


def uniform_numbers(source: Sequence[int], which: int, seed: int, count: int) -> NDArray[np.float32]:
    """Return `count` numbers in [0, 1), determined by the sentence, the seed and the index `which` of the sample."""
    digest = hashlib.blake2b(np.array(source, np.int64).tobytes(), digest_size=8).digest()
    key = [int.from_bytes(digest, "little"), (seed << 32) | which]
    bits = np.random.Philox(key=key).random_raw(count)
    numbers: NDArray[np.float32] = (bits >> np.uint64(40)).astype(np.float32) * np.float32(2**-24)
    return numbers
