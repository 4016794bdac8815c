"""Several sentences in a row have the loss and the gradients of one in a row, and the code compiles whole."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from support.random_models import KINDS, SMALL
from torch import Tensor

from transformer.config import ModelConfig
from transformer.data.ragged import rectangle
from transformer.model import kernels
from transformer.model.dropout import hashed_keep
from transformer.model.loss import label_smoothed
from transformer.model.network import Transformer
from transformer.model.packed_rows import PackedRows, Planes

PAD, BOS, EOS, LENGTH = 0, 2, 3, 16
Pair = tuple[list[int], list[int]]


def build(cfg: ModelConfig) -> Transformer:
    torch.manual_seed(1)
    return Transformer(cfg, (31, 37), PAD, BOS, LENGTH).train()


def sentences(count: int, seed: int = 0) -> list[Pair]:
    rng = np.random.default_rng(seed)
    return [
        (rng.integers(4, 31, rng.integers(1, 7)).tolist(), rng.integers(4, 37, rng.integers(1, 7)).tolist())
        for _ in range(count)
    ]


def pack(rows: list[list[Pair]]) -> Tensor:
    """Return the planes of rows of sentences."""
    planes = torch.zeros(7, len(rows), LENGTH, dtype=torch.int32)
    for r, row in enumerate(rows):
        ends = [0, 0]
        for number, (source, target) in enumerate(row, 1):
            sides = ([*source, EOS],), ([BOS, *target], [*target, EOS])
            for side, (first, *more) in enumerate(sides):
                start, end = ends[side], ends[side] + len(first)
                ids, numbers, positions = planes[3 * side : 3 * side + 3, r]
                ids[start:end] = torch.tensor(first)
                numbers[start:end] = number
                positions[start:end] = torch.arange(len(first))
                for answers in more:
                    planes[6, r, start:end] = torch.tensor(answers)
                ends[side] = end
    return planes


def plain(model: Transformer, pairs: list[Pair]) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Return loss, nll and gradients with one sentence in a row."""
    source, target = [list(side) for side in zip(*pairs, strict=True)]
    inputs, answers = rectangle(target, PAD, first=BOS), rectangle(target, -1, last=EOS)
    hidden = model.hidden(torch.from_numpy(rectangle(source, PAD, last=EOS)), torch.from_numpy(inputs))
    real = torch.from_numpy(answers >= 0)
    found = label_smoothed(hidden[real], model.output_weight, model.output_bias, torch.from_numpy(answers)[real], 0.1)
    return found.smoothed, found.nll, list(torch.autograd.grad(found.smoothed, list(model.parameters())))


def packed(rows: PackedRows, planes: Tensor, seeds: Tensor | None = None) -> tuple[Tensor, Tensor, list[Tensor]]:
    seeds = torch.zeros(rows.dropouts, dtype=torch.int32) if seeds is None else seeds
    found = rows.loss(planes, seeds, 0.1)
    return found.smoothed, found.nll, list(torch.autograd.grad(found.smoothed, list(rows.model.parameters())))


@pytest.fixture(params=["CPU", "GPU"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernels of a CPU, and the code for GPUs on a CPU."""
    monkeypatch.setattr(kernels, "on_gpu", lambda x: request.param == "GPU")


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("kind", KINDS)
def test_packed_rows_equal_one_sentence_a_row(kind: str) -> None:
    model, pairs = build(replace(KINDS[kind], dropout=0.0)), sentences(9)
    wanted = plain(model, pairs)
    found = packed(PackedRows(model), pack([pairs[:2], pairs[2:3], pairs[3:5], [], pairs[5:7], pairs[7:]]))
    for mine, theirs in zip(found[:2], wanted[:2], strict=True):
        torch.testing.assert_close(mine, theirs)
    for (name, _), mine, theirs in zip(model.named_parameters(), found[2], wanted[2], strict=True):
        torch.testing.assert_close(mine, theirs, atol=2e-5, rtol=1e-4, msg=name)


def test_bfloat16_is_near_float32() -> None:
    model, pairs = build(replace(SMALL, dropout=0.0)), sentences(8)
    planes = pack([pairs[:2], pairs[2:4], pairs[4:6], pairs[6:]])
    exact = packed(PackedRows(model), planes)
    model.compute_dtype = torch.bfloat16
    near = packed(PackedRows(model), planes)
    torch.testing.assert_close(near[0], exact[0], rtol=0.01, atol=0)
    for (name, p), mine, theirs in zip(model.named_parameters(), near[2], exact[2], strict=True):
        assert (mine - theirs).norm() < 0.1 * theirs.norm() or "kv.bias" in name, (name, p.shape)


RATES = replace(SMALL, dropout=0.3, attention_dropout=0.2, activation_dropout=0.1)


def test_dropout_depends_on_its_seeds_alone() -> None:
    model, pairs = build(RATES), sentences(4)
    rows, planes = PackedRows(model), pack([pairs[:2], pairs[2:]])
    seeds = torch.arange(rows.dropouts, dtype=torch.int32) * 77
    torch.manual_seed(1)
    first = packed(rows, planes, seeds)
    torch.manual_seed(2)
    again = packed(rows, planes, seeds)
    assert all(torch.equal(*each) for each in zip(first[2], again[2], strict=True))
    for j in range(rows.dropouts):  # each seed is used
        other = seeds.clone()
        other[j] += 1
        assert packed(rows, planes, other)[0] != first[0], j


def test_a_part_of_a_batch_has_the_dropout_of_the_whole() -> None:
    model, pairs = build(RATES), sentences(9)
    rows, planes = PackedRows(model), pack([pairs[:2], pairs[2:5], pairs[5:7], pairs[7:]])
    seeds = torch.arange(rows.dropouts, dtype=torch.int32)
    whole = rows.loss(planes, seeds, 0.1).smoothed
    parts = [rows.loss(planes[:, a:b], seeds, 0.1, a).smoothed for a, b in ((0, 1), (1, 3), (3, 4))]
    torch.testing.assert_close(sum(parts), whole)


def test_hashed_masks_are_like_random_ones() -> None:
    x = torch.zeros(1000, 1000)
    seeds = torch.from_numpy(np.random.default_rng(1).integers(-(2**31), 2**31, 4).astype(np.int32))
    masks = [hashed_keep(x, 0.1, seed).double() for seed in seeds]
    for mask in masks:
        assert mask.mean().item() == pytest.approx(0.9, abs=5 * 0.3 / 1000)
        for axis in (0, 1):
            assert mask.mean(axis).std().item() == pytest.approx(0.3 / 1000**0.5, rel=0.15)
        centred = mask - mask.mean()
        for shift in ((0, 1), (1, 0), (1, 1), (0, 512), (7, 3)):
            assert abs((centred * centred.roll(shift, (0, 1))).mean() / centred.var()) < 5e-3
    for a, b in zip(masks, masks[1:], strict=False):
        assert abs(torch.corrcoef(torch.stack((a.flatten(), b.flatten())))[0, 1]) < 5e-3


@pytest.mark.filterwarnings("ignore")  # of the compiler, which suppresses some of its own
def test_regions_compile_whole_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no graph break, layers share their code, and other batches of the shape compile nothing."""
    monkeypatch.setattr(kernels, "on_gpu", lambda x: True)
    graphs: Counter[str] = Counter()
    operations: set[str] = set()

    def backend(graph: Any, inputs: Any) -> Any:
        graphs[str(len(list(graph.graph.nodes)))] += 1
        operations.update(str(node.target) for node in graph.graph.nodes)
        return torch._dynamo.backends.debugging.aot_eager(graph, inputs)

    torch._dynamo.reset()
    model = build(replace(RATES, encoder_layers=3, norm="pre"))
    rows = PackedRows(model, lambda f: torch.compile(f, backend=backend, fullgraph=True, dynamic=False))
    planes = [pack([each[:2], each[2:]]) for each in (sentences(4), sentences(4, seed=1))]
    seeds = torch.arange(rows.dropouts, dtype=torch.int32)
    found = packed(rows, planes[0], seeds)
    # What looks up weights is not compiled, as the compiler's gradient of that adds in any order. The positions are
    # looked up, but have no gradient.
    assert sum("embedding" in each for each in operations) == 1
    # Embedding (twice if the tables differ in size), biases, two kinds of layers, norm, terms of the loss.
    assert graphs.total() <= 8
    with torch.compiler.set_stance("fail_on_recompile"):
        packed(rows, planes[1], seeds + 1)
        again = packed(rows, planes[0], seeds)
    wanted = packed(PackedRows(model), planes[0], seeds)
    for mine, same, theirs in zip(found[2], again[2], wanted[2], strict=True):
        assert torch.equal(mine, same)
        torch.testing.assert_close(mine, theirs)


def test_planes_are_the_parts_of_a_batch() -> None:
    assert len(Planes._fields) == len(pack([sentences(1)]))
