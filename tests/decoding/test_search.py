"""The search against brute force, on a language of a few words."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from transformer.decoding import search
from transformer.decoding.sampling import Sampling, sample

VOCAB, START, EOS = 5, 0, 1


class Language:
    """A step function whose distribution depends on the sentence and all ids so far."""

    def __init__(self, sentences: Sequence[int], beams: int) -> None:
        self.history: list[tuple[int, tuple[int, ...]]] = [(s, ()) for s in sentences for _ in range(beams)]

    def step(self, last_n: Tensor) -> Tensor:
        self.history = [(s, (*past, int(i))) for (s, past), i in zip(self.history, last_n, strict=True)]
        return torch.stack([logits(*h) for h in self.history])

    def select(self, rows_n: Tensor, sentences_b: Tensor | None) -> None:
        self.history = [self.history[i] for i in rows_n.tolist()]


def logits(sentence: int, past: tuple[int, ...]) -> Tensor:
    seed = hash((sentence, past)) % 2**31
    return torch.randn(VOCAB, generator=torch.Generator().manual_seed(seed)) * 2


def log_prob(sentence: int, ids: tuple[int, ...]) -> float:
    total = 0.0
    past: tuple[int, ...] = (START,)
    for i in (*ids, EOS):
        total += float(logits(sentence, past).log_softmax(0)[i])
        past = (*past, i)
    return total


def brute_force(sentence: int, limit: int, alpha: float) -> list[search.Hypothesis]:
    found = []
    for length in range(limit):
        for ids in itertools.product([i for i in range(VOCAB) if i not in (START, EOS)], repeat=length):
            total = log_prob(sentence, ids)
            found.append(search.Hypothesis(ids, total, search.length_normalized(total, length + 1, alpha)))
    return sorted(found, key=lambda h: -h.score)


def task(limits: Sequence[int], **changes: Any) -> search.SearchTask:
    return search.SearchTask(**{"start": START, "eos": EOS, "banned": (START,), "limits": limits, **changes})


def found(sentences: Sequence[int], beams: int, **changes: Any) -> list[list[search.Hypothesis]]:
    limits = changes.pop("limits", [4] * len(sentences))
    return search.beam_search(Language(sentences, beams), beams, task(limits, **changes))


@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
@pytest.mark.parametrize("sentence", range(8))
def test_a_wide_beam_finds_what_brute_force_finds(sentence: int, alpha: float) -> None:
    best = found([sentence], 200, alpha=alpha, best=5)[0]
    for mine, truth in zip(best, brute_force(sentence, 4, alpha)[:5], strict=True):
        assert mine.ids == truth.ids
        assert mine.log_prob == pytest.approx(truth.log_prob, abs=1e-4)
        assert mine.score == pytest.approx(truth.score, abs=1e-4)


@pytest.mark.parametrize("sentence", range(20))
def test_one_beam_is_greedy(sentence: int) -> None:
    past: tuple[int, ...] = (START,)
    ids: list[int] = []
    while len(ids) < 5:
        choices = logits(sentence, past)
        choices[START] = -math.inf
        choice = int(choices.argmax())
        if choice == EOS:
            break
        ids.append(choice)
        past = (*past, choice)
    assert found([sentence], 1, limits=[6])[0][0].ids == tuple(ids)


def test_independent_of_the_batch() -> None:
    sentences, limits = list(range(12)), [3, 6, 2, 5, 4, 6, 1, 3, 7, 2, 5, 4]
    together = found(sentences, 3, limits=limits, best=2)
    for s, limit, mine in zip(sentences, limits, together, strict=True):
        assert found([s], 3, limits=[limit], best=2)[0] == mine
    backwards = found(sentences[::-1], 3, limits=limits[::-1], best=2)
    assert backwards[::-1] == together


def test_scores_are_the_languages_own() -> None:
    for s, hypotheses in enumerate(found(list(range(10)), 4, best=4)):
        for h in hypotheses:
            assert h.log_prob == pytest.approx(log_prob(s, h.ids), abs=1e-4)


def test_limits_and_banned_ids_hold() -> None:
    for limit in (1, 2, 5):
        for hypotheses in found(list(range(20)), 3, limits=[limit] * 20, best=3):
            assert hypotheses
            assert all(len(h.ids) < limit and START not in h.ids for h in hypotheses)


def test_hypotheses_differ_and_come_best_first() -> None:
    for hypotheses in found(list(range(20)), 4, best=4):
        assert len({h.ids for h in hypotheses}) == len(hypotheses) == 4
        assert [h.score for h in hypotheses] == sorted((h.score for h in hypotheses), reverse=True)


def test_prefixes_are_kept_and_scored() -> None:
    prefixes = [[2, 3], [], [4]]
    for s, (prefix, hypotheses) in enumerate(zip(prefixes, found([0, 1, 2], 3, prefixes=prefixes), strict=True)):
        best = hypotheses[0]
        assert list(best.ids[: len(prefix)]) == prefix
        assert best.log_prob == pytest.approx(log_prob(s, best.ids), abs=1e-4)


def test_a_wider_beam_is_no_worse_on_the_whole() -> None:
    narrow, wide = (sum(h[0].score for h in found(list(range(40)), k, limits=[6] * 40)) for k in (1, 6))
    assert wide > narrow


PLAIN = Sampling(temperature=1.0, top_k=0, top_p=1.0)


def sampled(sentences: Sequence[int], how: Sampling, seed: int = 1, best: int = 1) -> list[list[search.Hypothesis]]:
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(len(sentences) * best, 6, generator=generator)
    return sample(Language(sentences, best), uniform, how, task([5] * len(sentences), best=best))


def test_samples_follow_the_distribution() -> None:
    count = 4000
    drawn = Counter(h[0].ids[:1] for h in sampled([3] * count, PLAIN))
    choices = logits(3, (START,))
    choices[START] = -math.inf
    for i, p in enumerate(choices.softmax(0).tolist()):
        key = () if i == EOS else (i,)
        assert drawn[key] / count == pytest.approx(p, abs=0.03)


def test_samples_carry_the_models_log_probability() -> None:
    for s, hypotheses in enumerate(sampled(list(range(10)), Sampling(temperature=0.5, top_k=3, top_p=0.9), best=3)):
        for h in hypotheses:
            assert h.log_prob == pytest.approx(log_prob(s, h.ids), abs=1e-4)


def test_cold_and_narrow_sampling_is_greedy() -> None:
    greedy = [h[0].ids for h in found(list(range(10)), 1, limits=[5] * 10)]
    for how in (
        Sampling(temperature=1.0, top_k=1, top_p=1.0),
        Sampling(temperature=1.0, top_k=0, top_p=0.0),
        Sampling(temperature=0.001, top_k=0, top_p=1.0),
    ):
        assert [h[0].ids for h in sampled(list(range(10)), how)] == greedy


def test_top_k_never_leaves_the_top() -> None:
    for h in sampled([5] * 200, Sampling(temperature=2.0, top_k=2, top_p=1.0)):
        past: tuple[int, ...] = (START,)
        for i in h[0].ids:
            choices = logits(5, past)
            choices[START] = -math.inf
            assert i in choices.topk(2).indices
            past = (*past, i)


@pytest.mark.parametrize("size", [7, 64, 640, 1000])
@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_largest_logits_are_found(size: int, count: int, dtype: torch.dtype) -> None:
    given = (torch.randn(50, size, generator=torch.Generator().manual_seed(size)) * 5).to(dtype)
    given[:, 3] = -math.inf  # what is banned
    values, ids = search.top(given, count)
    assert torch.equal(values, given.topk(count, dim=-1).values)
    assert torch.equal(given.gather(1, ids), values)
    assert all(len(set(row)) == count for row in ids.tolist())


def test_log_sum_exp_is_summed_in_float32() -> None:
    given = torch.randn(20, 5000, generator=torch.Generator().manual_seed(1)) * 5
    torch.testing.assert_close(search.log_sum_exp(given)[:, 0], given.logsumexp(-1))
    near = given.bfloat16()
    torch.testing.assert_close(search.log_sum_exp(near)[:, 0], near.float().logsumexp(-1), atol=5e-3, rtol=0)
