"""The search is compared with brute force, on a language of a few words."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from support.toy_language import EOS, START, VOCAB, IdPrefix, log_prob, logits, searched

from transformer.decoding import search


def brute_force(sentence: int, limit: int, alpha: float) -> list[search.Hypothesis]:
    found = []
    for length in range(limit):
        for ids in itertools.product([i for i in range(VOCAB) if i not in (START, EOS)], repeat=length):
            total = log_prob(sentence, ids)
            found.append(search.Hypothesis(ids, total, search.length_normalized(total, length + 1, alpha)))
    return sorted(found, key=lambda h: -h.score)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
@pytest.mark.parametrize("sentence", range(8))
def test_a_wide_beam_finds_what_brute_force_finds(sentence: int, alpha: float) -> None:
    best = searched([sentence], 200, alpha=alpha, nbest=5)[0]
    for mine, truth in zip(best, brute_force(sentence, 4, alpha)[:5], strict=True):
        assert mine.ids == truth.ids
        assert mine.log_prob == pytest.approx(truth.log_prob, abs=1e-4)
        assert mine.score == pytest.approx(truth.score, abs=1e-4)


def search_to_the_limit(sentence: int, beams: int, limit: int, alpha: float) -> list[search.Hypothesis]:
    """Beam search that never stops early unless it is greedy, written plainly."""
    live: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    finished: list[search.Hypothesis] = []
    for position in range(limit):
        choices = []
        for total, ids in live:
            step = logits(sentence, (START, *ids), sharpness=3.0).log_softmax(0)
            allowed = [EOS] if position == limit - 1 else [i for i in range(VOCAB) if i != START]
            choices += [(total + float(step[i]), (*ids, i)) for i in allowed]
        choices.sort(key=lambda choice: -choice[0])
        for total, ids in choices[:beams]:
            if ids[-1] == EOS:
                finished.append(search.Hypothesis(ids[:-1], total, search.length_normalized(total, len(ids), alpha)))
        live = [choice for choice in choices if choice[1][-1] != EOS][:beams]
        if finished and beams == 1:
            break
    return sorted(finished, key=lambda h: -h.score)


@pytest.mark.parametrize("beams", [1, 2, 3, 8])
@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0, 1.5])
def test_stopping_early_changes_no_result(alpha: float, beams: int) -> None:
    """The language is peaked: a hypothesis that goes on may still win when `beams` of them have ended."""
    for nbest in {1, min(beams, 2)}:
        sentences = list(range(30))
        found = searched(sentences, beams, limits=[9] * 30, alpha=alpha, nbest=nbest, sharpness=3.0)
        for sentence, mine in zip(sentences, found, strict=True):
            truth = search_to_the_limit(sentence, beams, 9, alpha)[:nbest]
            assert [h.ids for h in mine] == [h.ids for h in truth]
            assert [h.score for h in mine] == pytest.approx([h.score for h in truth], abs=1e-4)


def test_hypotheses_that_read_the_same_are_one() -> None:
    """Here ids 3 and 4 are two spellings of one word."""

    def read(ids: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(min(i, 3) for i in ids)

    for sentence, found in enumerate(searched(list(range(10)), 200, nbest=8, read=read)):
        assert len({read(h.ids) for h in found}) == len(found) == 8
        best: dict[tuple[int, ...], search.Hypothesis] = {}
        for each in brute_force(sentence, 4, 0.6):
            best.setdefault(read(each.ids), each)
        assert [h.ids for h in found] == [h.ids for h in best.values()][:8]


@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
@pytest.mark.parametrize("sentence", range(20))
def test_one_beam_is_greedy(sentence: int, alpha: float) -> None:
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
    assert searched([sentence], 1, limits=[6], alpha=alpha)[0][0].ids == tuple(ids)


def test_independent_of_the_batch() -> None:
    sentences, limits = list(range(12)), [3, 6, 2, 5, 4, 6, 1, 3, 7, 2, 5, 4]
    together = searched(sentences, 3, limits=limits, nbest=2)
    for s, limit, mine in zip(sentences, limits, together, strict=True):
        assert searched([s], 3, limits=[limit], nbest=2)[0] == mine
    backwards = searched(sentences[::-1], 3, limits=limits[::-1], nbest=2)
    assert backwards[::-1] == together


def test_scores_match_the_language() -> None:
    for s, hypotheses in enumerate(searched(list(range(10)), 4, nbest=4)):
        for h in hypotheses:
            assert h.log_prob == pytest.approx(log_prob(s, h.ids), abs=1e-4)


def test_limits_and_banned_ids_are_respected() -> None:
    for limit in (1, 2, 5):
        for hypotheses in searched(list(range(20)), 3, limits=[limit] * 20, nbest=3):
            assert hypotheses
            assert all(len(h.ids) < limit and START not in h.ids for h in hypotheses)


def test_hypotheses_differ_and_come_best_first() -> None:
    for hypotheses in searched(list(range(20)), 4, nbest=4):
        assert len({h.ids for h in hypotheses}) == len(hypotheses) == 4
        assert [h.score for h in hypotheses] == sorted((h.score for h in hypotheses), reverse=True)


def test_prefixes_are_kept_and_scored() -> None:
    prefixes = [IdPrefix((2, 3)), None, IdPrefix((4,))]
    for s, (prefix, hypotheses) in enumerate(zip(prefixes, searched([0, 1, 2], 3, prefixes=prefixes), strict=True)):
        best = hypotheses[0]
        assert best.ids[: len(prefix or ())] == (prefix or ())
        assert best.log_prob == pytest.approx(log_prob(s, best.ids), abs=1e-4)


def test_a_wider_beam_is_no_worse_on_average() -> None:
    narrow, wide = (sum(h[0].score for h in searched(list(range(40)), k, limits=[6] * 40)) for k in (1, 6))
    assert wide > narrow


@pytest.mark.parametrize("size", [7, 64, 640, 1000])
@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_largest_logits_are_found(size: int, count: int, dtype: torch.dtype) -> None:
    given = (torch.randn(50, size, generator=torch.Generator().manual_seed(size)) * 5).to(dtype)
    given[:, 3] = -math.inf  # what is banned
    values, ids = search.largest_logits(given, count)
    assert torch.equal(values, given.topk(count, dim=-1).values)
    assert torch.equal(given.gather(1, ids), values)
    assert all(len(set(row)) == count for row in ids.tolist())


def test_log_sum_exp_is_summed_in_float32() -> None:
    given = torch.randn(20, 5000, generator=torch.Generator().manual_seed(1)) * 5
    torch.testing.assert_close(search.log_sum_exp(given)[:, 0], given.logsumexp(-1))
    near = given.bfloat16()
    torch.testing.assert_close(search.log_sum_exp(near)[:, 0], near.float().logsumexp(-1), atol=5e-3, rtol=0)
