"""Reproducible sampling of translations from any step function, independent of the model.

Shape letters: B sentences, R rows (samples of all sentences, those of a sentence adjacent), T target positions,
V vocabulary.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transformer.decoding import search, transfer


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Settings of sampling: the distribution is divided by `temperature` and truncated to `top_k` and `top_p`."""

    temperature: float
    top_k: int
    top_p: float


def sample(
    state: search.State, bits_RT: Tensor, sampling: Sampling, task: search.SearchTask
) -> list[list[search.Hypothesis]]:
    """Return `task.nbest` random translations of each sentence, each determined by its row of `bits_RT`.

    `bits_RT` has 64 random bits for each translation and position, as an integer.
    """
    sentence_of_row = np.arange(len(task.limits)).repeat(task.nbest)
    rows, device = len(sentence_of_row), bits_RT.device
    banned = transfer.upload(np.array(task.banned, np.int64), device)
    last_R = torch.full((rows,), task.start_id, device=device)
    done_R = torch.zeros(rows, dtype=torch.bool, device=device)
    log_prob_R = torch.zeros(rows, device=device)
    ids_RT, ended_R = np.zeros((rows, 0), np.int64), np.zeros(rows, bool)
    for position in range(max(task.limits, default=0)):
        logits_RV = state.step(last_R).float()
        norm_R = logits_RV.logsumexp(-1)  # the log-probability is that of the unconstrained model
        search.constrain(logits_RV, search.allowed_ids(sentence_of_row, ids_RT, task), banned)
        last_R = draw(logits_RV, bits_RT[:, position], sampling).masked_fill(done_R, task.eos)
        step_R = logits_RV.gather(1, last_R[:, None])[:, 0] - norm_R
        log_prob_R += step_R.masked_fill(done_R, 0.0)
        done_R = done_R | (last_R == task.eos)
        drawn_R = transfer.fetch(last_R)
        ids_RT = np.concatenate((ids_RT, drawn_R[:, None]), axis=1)
        ended_R |= drawn_R == task.eos
        if ended_R.all():
            break
    return _hypotheses(ids_RT, transfer.fetch(log_prob_R), sentence_of_row, task)


def _hypotheses(
    ids_RT: NDArray[np.int64], log_prob_R: NDArray[np.float32], sentence_of_row: NDArray[Any], task: search.SearchTask
) -> list[list[search.Hypothesis]]:
    """Group the ids drawn into the samples of each sentence."""
    hypotheses: list[list[search.Hypothesis]] = [[] for _ in task.limits]
    for sentence, row, log_prob in zip(sentence_of_row.tolist(), ids_RT.tolist(), log_prob_R.tolist(), strict=True):
        text = tuple(row[: row.index(task.eos)])
        score = search.length_normalized(log_prob, len(text) + 1, task.alpha)
        hypotheses[sentence].append(search.Hypothesis(text, log_prob, score))
    return hypotheses


def draw(logits_RV: Tensor, bits_R: Tensor, sampling: Sampling) -> Tensor:
    """Return one random id per row: the winner of an exponential race, in which each id has a number of its own.

    The race is not sensitive to rounding, which differs between batches. With one number per row, looked up in the
    cumulative probabilities, 6 of 2,000 samples depended on the batch even in float32: it moves the borders of all the
    improbable ids.
    """
    p_RV = (logits_RV / sampling.temperature).softmax(-1)
    if sampling.top_k or sampling.top_p < 1.0:
        sorted_RV, order_RV = p_RV.sort(dim=-1, descending=True, stable=True)
        if sampling.top_k:
            sorted_RV[:, sampling.top_k :] = 0.0
        total_RV = sorted_RV.cumsum(-1)
        improbable_RV = total_RV - sorted_RV >= sampling.top_p * total_RV[:, -1:]
        improbable_RV[:, 0] = False  # the most probable id is always possible, even if top_p is 0
        p_RV = torch.zeros_like(p_RV).scatter_(-1, order_RV, sorted_RV.masked_fill_(improbable_RV, 0.0))
    return (p_RV / exponential_numbers(bits_R, p_RV.shape[1])).argmax(-1)


def exponential_numbers(bits_R: Tensor, count: int) -> Tensor:
    """Return `count` exponentially distributed numbers (R, V) from the bits of each row, by a hash like SplitMix64."""
    hash_RV = bits_R[:, None] + torch.arange(1, count + 1, device=bits_R.device) * -0x61C8864680B583EB
    for factor in (-0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15):
        hash_RV ^= hash_RV >> 31
        hash_RV *= factor
    hash_RV >>= 11
    uniform_RV = hash_RV.bitwise_and_((1 << 53) - 1).float().add_(0.5)
    return uniform_RV.mul_(-(2.0**-53) * (1 - 2.0**-24)).log1p_().neg_()  # above 0, below infinity


def random_bits(source: Sequence[int], which: int, seed: int, count: int) -> NDArray[np.int64]:
    """Return `count` random integers, determined by the sentence, the seed and the index `which` of the sample."""
    digest = hashlib.blake2b(np.array(source, np.int64).tobytes(), digest_size=8).digest()
    key = [int.from_bytes(digest, "little"), (seed << 32) | which]
    bits: NDArray[np.int64] = np.random.Philox(key=key).random_raw(count).view(np.int64)
    return bits
