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
from transformer.decoding.sampling import Sampling, sample, uniform_numbers

PLAIN = Sampling(temperature=1.0, top_k=0, top_p=1.0)


def sampled(sentences: Sequence[int], how: Sampling, seed: int = 1, nbest: int = 1) -> list[list[search.Hypothesis]]:
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(len(sentences) * nbest, 6, generator=generator)
    return sample(Language(sentences, nbest), uniform, how, task([5] * len(sentences), nbest=nbest))


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
    numbers = uniform_numbers([5, 6], 0, 1, 1000)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert numbers.mean() == pytest.approx(0.5, abs=0.05)
    assert (uniform_numbers([5, 6], 0, 1, 10) == numbers[:10]).all()
    for other in (
        uniform_numbers([5, 7], 0, 1, 10),
        uniform_numbers([5, 6], 1, 1, 10),
        uniform_numbers([5, 6], 0, 2, 10),
    ):
        assert not np.isin(other, numbers[:10]).any()
