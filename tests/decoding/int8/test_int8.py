"""The 8-bit kernels are compared with the same network in torch, with the same rounding."""

from __future__ import annotations

import copy
import dataclasses
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support.toy_language import IdPrefix
from torch import Tensor, nn

from transformer import config_file
from transformer.config import Config, ModelConfig
from transformer.decoding import search
from transformer.decoding.backend import TorchBackend
from transformer.decoding.int8 import instruction_sets
from transformer.decoding.int8.build import library
from transformer.decoding.int8.engine import Engine, make_engine, obstacle
from transformer.decoding.int8.structures import PAGE
from transformer.decoding.translator import Translator, make_translator
from transformer.errors import ConfigError, TransformerError
from transformer.model.network import Transformer
from transformer.training.session import train

PAD, BOS, EOS, VOCAB = 0, 2, 3, 77
INT8_MISFIT = ["decode.precision=int8", "model.width=48", "model.heads=3"]
SMALL = ModelConfig(width=64, heads=2, feed_forward=96, encoder_layers=2, decoder_layers=2)
KINDS: list[dict[str, Any]] = [
    {"norm": "post"},
    {"norm": "pre"},
    {"norm": "pre", "activation": "swish", "heads": 4, "output_bias": True},
    {"norm": "post", "activation": "gelu", "tied": "none"},
    {"norm": "pre", "tied": "target", "decoder_layers": 1, "encoder_layers": 3},
]

needs_kernels = pytest.mark.skipif(library() is None, reason="needs a C compiler")


def make(**changes: Any) -> Transformer:
    torch.manual_seed(1)
    sizes = (VOCAB + 5, VOCAB) if changes.get("tied", "all") != "all" else (VOCAB, VOCAB)
    model = Transformer(dataclasses.replace(SMALL, **changes), sizes, PAD, BOS, max_length=20)
    for p in model.parameters():
        if p.ndim == 1:
            nn.init.normal_(p, mean=0.5, std=0.5)
    return model.eval()


def sources(*lengths: int) -> Tensor:
    rng = torch.Generator().manual_seed(len(lengths))
    rows = [[*torch.randint(4, VOCAB, (n - 1,), generator=rng).tolist(), EOS] for n in lengths]
    return torch.tensor([row + [PAD] * (max(lengths) - len(row)) for row in rows])


def rounded(x: Tensor) -> tuple[Tensor, Tensor]:
    unit = x.abs().amax(-1, keepdim=True) / 127
    return (x / unit.clamp_min(1e-30)).round(), unit


@pytest.fixture
def eight_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make torch round both factors of products as in C."""

    def affine(x: Tensor, weight: Tensor, bias: Tensor | None, _: Any, relu: bool = False) -> Tensor:
        (x, x_unit), (w, w_unit) = rounded(x), rounded(weight)
        y = (x.double() @ w.t().double()).float() * x_unit * w_unit.t() + (0 if bias is None else bias)
        return y.relu() if relu else y

    monkeypatch.setattr("transformer.model.packed_linear.affine", affine)
    monkeypatch.setattr("transformer.model.network.affine", affine)


def task(source: Tensor, **changes: Any) -> search.SearchTask:
    limits = [20 + int(n) for n in (source != PAD).sum(1)]
    return search.SearchTask(**{"start_id": BOS, "eos": EOS, "banned": (PAD, BOS, 1), "limits": limits, **changes})


@needs_kernels
@pytest.mark.parametrize("kind", KINDS, ids=str)
@torch.inference_mode()
def test_each_step_equals_torch(kind: dict[str, Any], eight_bits: None) -> None:
    """Steps are compared along random replacements of hypotheses, over more than one page of positions."""
    model, source, beams = make(**kind), sources(9, 14, 3, 1), 3
    ours, plain = make_engine(model).start(source, beams), model.start(source, beams)
    last, rng = torch.full((12,), BOS), torch.Generator().manual_seed(3)
    kept, banned = None, np.array([PAD, 1], np.int32)
    for position in range(PAGE + 6):
        alive = np.ones(len(last), np.bool)
        found, ids = map(torch.tensor, ours.top_candidates(last.numpy(), alive, {1: [7], 2: [1, 9]}, banned, 4))
        ids = ids.long()
        expected = plain.step(last).log_softmax(-1)
        torch.testing.assert_close(found[1, 0], expected[1, 7], atol=0.15, rtol=0)
        assert ids[1, 0] == 7
        assert found[1, 1:].isneginf().all()
        assert sorted(ids[2, :2].tolist()) == [1, 9]
        torch.testing.assert_close(found[2, :2], expected[2, ids[2, :2]], atol=0.15, rtol=0)
        assert found[2, 2:].isneginf().all()
        free = torch.arange(len(last)) > 2
        free[0] = True
        torch.testing.assert_close(found[free], expected.gather(1, ids)[free], atol=0.15, rtol=0)
        expected[:, [PAD, 1]] = -math.inf
        torch.testing.assert_close(found[free], expected.topk(4).values[free], atol=0.15, rtol=0)
        sentences = len(last) // beams
        kept = torch.tensor([0, 1, 3]) if position == 5 else None  # a sentence is done
        staying = torch.arange(sentences) if kept is None else kept
        parents = torch.randint(beams, (len(staying), beams), generator=rng)
        rows = (staying[:, None] * beams + parents).flatten()
        ours.select(rows.numpy(), None if kept is None else kept.numpy())
        plain.select(rows, kept)
        last = torch.randint(4, VOCAB, (len(rows),), generator=rng)


@needs_kernels
@pytest.mark.parametrize("beams", [1, 4])
@pytest.mark.parametrize("kind", KINDS[:2], ids=str)
@torch.inference_mode()
def test_the_search_finds_the_same_translations(kind: dict[str, Any], beams: int, eight_bits: None) -> None:
    model, source = make(**kind), sources(5, 11, 2, 8, 8)
    work = task(source, prefixes=[None, IdPrefix((9, 1)), None, IdPrefix((5,)), None], nbest=beams)
    ours = search.beam_search(make_engine(model).start(source, beams), beams, work)
    plain = search.beam_search(model.start(source, beams), beams, work)
    assert [h[0].ids for h in ours] == [h[0].ids for h in plain]
    for a, b in zip(ours, plain, strict=True):
        assert [h.score for h in a] == pytest.approx([h.score for h in b], abs=0.15)


@needs_kernels
@torch.inference_mode()
def test_results_do_not_depend_on_batch_or_order() -> None:
    engine, lengths = make_engine(make(norm="pre")), [5, 11, 2, 8, 8, 19, 3] * 16  # more than one block of rows
    source = sources(*lengths)
    together = search.beam_search(engine.start(source, 4), 4, task(source, nbest=4))
    back = source.flip(0)
    assert search.beam_search(engine.start(back, 4), 4, task(back, nbest=4))[::-1] == together
    for i in (0, 5, 60):
        one = source[i : i + 1, : lengths[i]]
        assert search.beam_search(engine.start(one, 4), 4, task(one, nbest=4))[0] == together[i]


@needs_kernels
@torch.inference_mode()
def test_memory_of_earlier_searches_is_used_again_and_changes_nothing() -> None:
    engine = make_engine(make(norm="pre"))
    few, many = sources(5, 11, 2), sources(*[5, 11, 2, 8, 8, 19, 3] * 4)

    def found(source: Tensor) -> list[list[search.Hypothesis]]:
        return engine.decode(source, 4, 40, lambda state: search.beam_search(state, 4, task(source, nbest=4)))

    first = found(many)
    most = sum(each.size for each in engine.free)
    for _ in range(3):
        assert found(few) == search.beam_search(engine.start(few, 4), 4, task(few, nbest=4))
        assert found(many) == first
        assert sum(each.size for each in engine.free) <= most


@needs_kernels
@pytest.mark.parametrize("kind", KINDS, ids=str)
@torch.inference_mode()
def test_results_do_not_depend_on_the_instruction_set(kind: dict[str, Any]) -> None:
    """All of them compute the same numbers, bit for bit."""
    model, source = make(**kind), sources(9, 14, 3, 1, 7, 7)
    found = {
        each.name: search.beam_search(make_engine(model, each.name).start(source, 4), 4, task(source, nbest=4))
        for each in instruction_sets.here()
    }
    assert len(found) > 1
    assert all(each == found["portable"] for each in found.values())


@needs_kernels
@torch.inference_mode()
def test_weights_that_are_not_finite_give_no_translation() -> None:
    model, source = make(), sources(5, 3)
    model.target_embedding.weight[9] = math.nan
    source[0, 1] = 9
    for each in (make_engine(model), model):
        found = search.beam_search(each.start(source, 2), 2, task(source))
        assert found[0] == [search.Hypothesis((), -math.inf, -math.inf)]


@pytest.mark.parametrize(
    ("changes", "beams", "device", "reason"),
    [
        ({"width": 48, "heads": 3}, 4, "cpu", "model.width is 48, not a multiple of 32"),
        ({"heads": 8}, 4, "cpu", "model.heads is 8, not such that width / heads is a multiple of 16"),
        ({"feed_forward": 80}, 4, "cpu", "model.feed_forward is 80, not a multiple of 32"),
        ({}, 256, "cpu", "decode.beam is 256, more than 255"),
        ({}, 4, "cuda:0", "it decodes on a CPU, not on cuda:0"),
    ],
)
def test_obstacles_are_reported(changes: dict[str, Any], beams: int, device: str, reason: str) -> None:
    assert obstacle(dataclasses.replace(SMALL, **changes), beams, torch.device(device)) == reason


def test_torch_decodes_without_the_kernels(translator: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformer.decoding.int8.engine.library", lambda _: None)
    ours = translate_in("auto", translator)
    assert isinstance(ours.decoder.backend, TorchBackend)
    assert [ways[0].text for ways in ours.translate(["one two"])] == ["zwei eins"]
    sentence = (
        "int8 is not possible here: it needs Linux or macOS, a processor with AVX2 or NEON, and a C compiler or this"
    )
    with pytest.raises(ConfigError, match=sentence):
        translate_in("int8", translator)
    sentence = (
        "instruction_set=avx2 is not possible here: this processor and system have no avx2, or there is no C compiler"
    )
    with pytest.raises(ConfigError, match=sentence):
        translate_in("auto", translator, "avx2")


def translate_in(precision: Any, translator: Translator, instruction_set: Any = "auto") -> Translator:
    cfg = dataclasses.replace(translator.cfg, precision=precision, instruction_set=instruction_set)
    return make_translator(translator.model, translator.tokenizer, cfg, translator.max_length, translator.device)


@needs_kernels
def test_the_toy_task_in_8_bits(translator: Translator) -> None:
    ours = translate_in("int8", translator)
    assert ours.precision == "int8"
    lines = ["one two three", "nine", "", "four five"]
    found = [(a[0].text, b[0].text) for a, b in zip(ours.translate(lines), translator.translate(lines), strict=True)]
    assert [a for a, _ in found] == [b for _, b in found]
    assert isinstance(ours.decoder.backend, Engine)
    assert ours.decoder.backend.free == []  # memory is kept within a call only


def test_settings_that_cannot_decode_are_refused_before_training(tiny: Config, tmp_path: Path) -> None:
    for changes, what in (
        (["decode.precision=float16"], "float16 needs"),
        (INT8_MISFIT, "decode.precision=int8 is not possible"),
    ):
        with pytest.raises(TransformerError, match=what):
            train(config_file.override(tiny, changes), tmp_path / "run", torch.device("cpu"), fresh=True)


def with_large(model: Transformer, attention: str, part: str, factor: float) -> None:
    """Make the keys or values of the first layer larger. In float32 the model computes the same."""
    layers: Any = model.encoder if attention == "encoder" else model.decoder
    module, width = layers[0].cross if attention == "cross" else layers[0].attention, model.cfg.width
    cross = attention == "cross"
    queries = [module.q.weight, module.q.bias] if cross else [module.qkv.weight[:width], module.qkv.bias[:width]]
    projection, start = (module.kv, 0) if cross else (module.qkv, width)
    rows = slice(start, start + width) if part == "keys" else slice(start + width, start + 2 * width)
    with torch.no_grad():
        for each in (projection.weight, projection.bias):
            each[rows] *= factor
        for each in queries if part == "keys" else [module.out.weight]:
            each /= factor


@needs_kernels
@torch.inference_mode()
def test_a_sentence_with_a_number_beyond_half_precision_is_reported() -> None:
    model, source = make(norm="pre"), sources(5, 11, 2, 8)
    usual = make_engine(model).start(source, 2)
    before = search.beam_search(usual, 2, task(source))
    assert usual.failed == []
    memory = usual._kept[0][0][:, :, model.cfg.width :]  # values of the first layer (B, S, D)
    lengths = [int(n) for n in (source != PAD).sum(1)]
    largest = np.array([np.abs(row[:length]).max() for row, length in zip(memory, lengths, strict=True)], np.float32)
    second, first = np.sort(largest)[-2:]
    with_large(model, "cross", "values", 2 * 65504 / float(first + second))
    state = make_engine(model).start(source, 2)
    after = search.beam_search(state, 2, task(source))
    assert state.failed == [int(largest.argmax())]
    for i in set(range(4)) - set(state.failed):
        assert [each.ids for each in after[i]] == [each.ids for each in before[i]]


@needs_kernels
@pytest.mark.parametrize("part", ["keys", "values"])
@pytest.mark.parametrize("attention", ["encoder", "self", "cross"])
def test_a_number_beyond_half_precision_is_computed_in_float32(
    attention: str, part: str, translator: Translator, caplog: pytest.LogCaptureFixture
) -> None:
    """Keys that are infinite would make the attention uniform: no number of the result would tell."""
    model = copy.deepcopy(translator.model)
    with_large(model, attention, part, 1e6)
    cfg = dataclasses.replace(translator.cfg, precision="int8")
    ours = make_translator(model, translator.tokenizer, cfg, translator.max_length, translator.device)
    lines = ["one two three", "nine", "", "four five"]
    for _ in range(2):
        assert [ways[0].text for ways in ours.translate(lines)] == ["drei zwei eins", "neun", "", "fünf vier"]
    assert caplog.messages == ["some sentences need float32, which is slower: half precision ends at 65,504"]


@needs_kernels
@torch.inference_mode()
def test_an_id_beyond_the_vocabulary_is_refused() -> None:
    with pytest.raises(IndexError, match="source id 77 is not in the vocabulary of 77"):
        make_engine(make()).start(torch.tensor([[5, VOCAB, EOS]]), 1)


@needs_kernels
@torch.inference_mode()
def test_no_memory_in_c_is_a_memory_error() -> None:
    engine = make_engine(make())
    no_memory: Any = SimpleNamespace(encode=lambda *_: 1)
    with pytest.raises(MemoryError, match="no memory for the 8-bit kernels to encode"):
        Engine(no_memory, engine.weights, engine.pad, engine.encoding).start(sources(3), 1)
