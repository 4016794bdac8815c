"""Samples follow the model's distribution and the settings."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from support.toy_language import EOS, START, Language, log_prob, logits, searched, task

from transformer.decoding import search
from transformer.decoding.sampling import Sampling, draw, exponential_numbers, random_bits, sample

PLAIN = Sampling(temperature=1.0, top_k=0, top_p=1.0)


def sampled(sentences: Sequence[int], how: Sampling, seed: int = 1, nbest: int = 1) -> list[list[search.Hypothesis]]:
    generator = torch.Generator().manual_seed(seed)
    bits = torch.randint(-(2**63), 2**63 - 1, (len(sentences) * nbest, 6), generator=generator)
    return sample(Language(sentences, nbest), bits, how, task([5] * len(sentences), nbest=nbest))


def test_samples_follow_the_distribution() -> None:
    count = 4000
    drawn = Counter(h[0].ids[:1] for h in sampled([3] * count, PLAIN))
    choices = logits(3, (START,))
    choices[START] = -math.inf
    for i, p in enumerate(choices.softmax(0).tolist()):
        key = () if i == EOS else (i,)
        assert drawn[key] / count == pytest.approx(p, abs=0.03)


def test_samples_have_the_models_log_probability() -> None:
    for s, hypotheses in enumerate(sampled(list(range(10)), Sampling(temperature=0.5, top_k=3, top_p=0.9), nbest=3)):
        for h in hypotheses:
            assert h.log_prob == pytest.approx(log_prob(s, h.ids), abs=1e-4)


def test_sampling_with_low_temperature_or_top_1_is_greedy() -> None:
    greedy = [h[0].ids for h in searched(list(range(10)), 1, limits=[5] * 10)]
    for how in (
        Sampling(temperature=1.0, top_k=1, top_p=1.0),
        Sampling(temperature=1.0, top_k=0, top_p=0.0),
        Sampling(temperature=0.001, top_k=0, top_p=1.0),
    ):
        assert [h[0].ids for h in sampled(list(range(10)), how)] == greedy


def test_top_k_samples_only_the_top_k() -> None:
    for h in sampled([5] * 200, Sampling(temperature=2.0, top_k=2, top_p=1.0)):
        past: tuple[int, ...] = (START,)
        for i in h[0].ids:
            choices = logits(5, past)
            choices[START] = -math.inf
            assert i in choices.topk(2).indices
            past = (*past, i)


def test_the_numbers_depend_on_sentence_seed_and_sample_alone() -> None:
    bits = random_bits([5, 6], 0, 1, 1000)
    assert (random_bits([5, 6], 0, 1, 10) == bits[:10]).all()
    for other in (random_bits([5, 7], 0, 1, 10), random_bits([5, 6], 1, 1, 10), random_bits([5, 6], 0, 2, 10)):
        assert not np.isin(other, bits[:10]).any()


def test_the_numbers_of_the_ids_are_independent_and_exponential() -> None:
    """An exponential distribution has mean 1, variance 1 and median ln 2."""
    rows = torch.from_numpy(random_bits([5, 6], 0, 1, 40))
    numbers = exponential_numbers(rows, 5000).double()
    assert numbers.min() > 0
    assert numbers.mean().item() == pytest.approx(1, abs=0.015)
    assert numbers.var().item() == pytest.approx(1, abs=0.04)
    assert (numbers < math.log(2)).double().mean().item() == pytest.approx(0.5, abs=0.01)
    assert (torch.corrcoef(numbers) - torch.eye(len(numbers))).abs().max() < 0.08
    neighbors = numbers[:, 1:] - 1, numbers[:, :-1] - 1
    assert (neighbors[0] * neighbors[1]).mean().item() == pytest.approx(0, abs=0.015)


def test_rounding_hardly_changes_what_is_drawn() -> None:
    """With 5,000 almost equally improbable ids, noise of 1e-5 must not move all borders between them."""
    generator = torch.Generator().manual_seed(1)
    logits_RV = torch.randn(500, 5000, generator=generator) * 0.01
    noise_RV = torch.randn(500, 5000, generator=generator) * 1e-5
    bits_R = torch.from_numpy(random_bits([1], 0, 1, 500))
    one, other = (draw(each, bits_R, PLAIN) for each in (logits_RV, logits_RV + noise_RV))
    assert (one != other).sum() <= 1
