"""The fast way of decoding, on a CPU: static buffers hold what growing ones do, and it steps aside when it fails."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import inspect
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.toy import CPU, toy_pairs
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from transformer.config import ModelConfig
from transformer.decoding import batches, fast, search, transfer
from transformer.decoding.backend import TorchBackend
from transformer.decoding.fast import FastDecoder, FastState
from transformer.decoding.translator import Translator, make_translator
from transformer.errors import TransformerError
from transformer.model import kernels
from transformer.model.cast_copy import CastCopy
from transformer.model.decoder_state import DecoderState
from transformer.model.network import Transformer
from transformer.model.static_state import Arena, StaticShape

PAD, BOS, EOS, VOCAB = 0, 1, 2, 200
LINES = [pair.source for pair in toy_pairs(40, 12)]


def make(**changes: Any) -> Transformer:
    torch.manual_seed(3)
    cfg = ModelConfig(
        **{"width": 32, "heads": 2, "feed_forward": 64, "encoder_layers": 1, "decoder_layers": 2, **changes}
    )
    return Transformer(cfg, (VOCAB, VOCAB), PAD, BOS, 20).eval()


def sources(sentences: int, length: int) -> Tensor:
    found = torch.randint(3, VOCAB, (sentences, length), generator=torch.Generator().manual_seed(1))
    found[-1, length // 2 :] = PAD
    return found


@pytest.fixture(autouse=True)
def _small_and_without_gradients(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(fast, "FEWEST_SLOTS", 8)
    with torch.inference_mode():
        yield


@pytest.fixture
def as_on_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the branches for CUDA, with tensors on the CPU."""
    monkeypatch.setattr(transfer, "on_gpu", lambda device: True)
    monkeypatch.setattr(kernels, "on_gpu", lambda x: True)


class Padded(DecoderState):
    """The growing state, with keys, values and masks padded to given sizes: how products round depends on them."""

    def __init__(self, model: Transformer, source: Tensor, shape: StaticShape) -> None:
        memory, bias = model.memory(source)
        empty, rest = shape.sentences - len(source), shape.source - source.shape[1]
        bias = F.pad(F.pad(bias, (0, rest), value=-math.inf), (0, 0, 0, 0, 0, 0, 0, empty))
        grown = [tuple(F.pad(x, (0, 0, 0, rest, 0, 0, 0, empty)) for x in layer) for layer in memory]
        super().__init__(model.step, grown, bias, shape.beams)  # type: ignore[arg-type]
        self.shape = shape
        for cache in self.caches:
            extend = cache.extend
            cache.extend = lambda kv, extend=extend: tuple(map(self.padded, extend(kv)))  # type: ignore[method-assign, assignment, misc]

    def padded(self, x_BHPE: Tensor) -> Tensor:
        return F.pad(x_BHPE, (0, 0, 0, self.shape.window * self.beams - x_BHPE.shape[2]))

    def visible(self) -> Tensor:
        found = super().visible()
        if found is None:
            found = self.bias_B11S.new_zeros(1, 1, 1, self.position + 1)
        return F.pad(found, (0, self.shape.window * self.beams - found.shape[3]), value=-math.inf)


def steps(model: Transformer, decoder: FastDecoder, beams: int, compare: Callable[..., None], reference: Any) -> None:
    """Decode 40 positions with random ids and ancestors, while sentences leave, beside a reference."""
    source, rng = sources(13, 9), np.random.default_rng(1)
    state = decoder.start(source, beams, 60)
    assert state is not None
    with state:
        other = reference(source, state)
        for position in range(40):
            rows, last = state._rows(), rng.integers(3, VOCAB, len(state.slot_B) * beams)
            compare(state, other, rows, last, state._logits(rows, last))
            leaves = position % 3 == 2 and len(state.slot_B) > 3
            kept = np.delete(np.arange(len(state.slot_B)), rng.integers(len(state.slot_B))) if leaves else None
            order = np.arange(len(state.slot_B)) if kept is None else kept
            parents = order[:, None] * beams + rng.integers(0, beams, (len(order), beams))
            before = state.slot_B
            state.select(parents.ravel(), kept)
            other.follow(parents, kept, before, state)


class Follower:
    """A growing state that is told what a static one does."""

    def __init__(self, state: DecoderState) -> None:
        self.state = state

    def follow(self, parents: Any, kept: Any, before: Any, static: FastState) -> None:
        search.select_rows(self.state, parents.ravel(), kept, CPU)


class SlotFollower(Follower):
    """The same, with the slots of the static state."""

    def follow(self, parents: Any, kept: Any, before: Any, static: FastState) -> None:
        beams, slots = self.state.beams, static.shape.sentences
        came_from = np.arange(slots)
        came_from[static.slot_B] = before if kept is None else before[kept]
        rows = came_from[:, None] * beams + np.arange(beams)
        rows[static.slot_B] = came_from[static.slot_B][:, None] * beams + parents % beams
        search.select_rows(self.state, rows.ravel(), came_from, CPU)


@pytest.mark.parametrize("beams", [1, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_static_state_is_the_growing_state_bit_for_bit(dtype: torch.dtype, beams: int) -> None:
    model = make()
    model.compute_dtype = dtype
    decoder, seen = FastDecoder(model, CPU), set[int]()

    def compare(state: FastState, other: SlotFollower, rows: Any, last: Any, found: Tensor) -> None:
        seen.add(state.shape.sentences)
        other.state.shape = state.shape  # type: ignore[attr-defined]
        ids = np.zeros(state.shape.rows, np.int64)
        ids[rows] = last
        assert torch.equal(found[rows], other.state.step(torch.from_numpy(ids))[rows])

    steps(model, decoder, beams, compare, lambda source, state: SlotFollower(Padded(model, source, state.shape)))
    assert seen == {14, 7}


@pytest.mark.parametrize("beams", [1, 4])
def test_the_static_state_gives_the_logits_of_the_growing_state_up_to_rounding(beams: int) -> None:
    """Without padding, products may round otherwise, so the bits differ."""
    model = make(norm="pre", tied="none", output_bias=True)

    def compare(state: FastState, other: Follower, rows: Any, last: Any, found: Tensor) -> None:
        torch.testing.assert_close(found[rows], other.state.step(torch.from_numpy(last)), atol=1e-5, rtol=1e-5)

    steps(model, FastDecoder(model, CPU), beams, compare, lambda source, state: Follower(model.start(source, beams)))


def addresses(decoder: FastDecoder) -> dict[Any, list[int]]:
    return {
        key: [each.data_ptr() for each in (*step.state.of_sentences, step.state.inputs, step.state.encodings_PD)]
        for key, step in decoder._steps.items()
    }


def test_buffers_keep_their_addresses() -> None:
    model = make()
    decoder = FastDecoder(model, CPU)
    for _ in range(2):
        steps(model, decoder, 2, lambda *_: None, lambda source, state: Follower(model.start(source, 2)))
        first = addresses(decoder)
    assert len(first) == 3  # 14 slots; 7 slots with the first 32 positions, and with 64
    moves = decoder._arena.moves
    steps(model, decoder, 2, lambda *_: None, lambda source, state: Follower(model.start(source, 2)))
    assert addresses(decoder) == first
    assert decoder._arena.moves == moves
    caches = {key[0].sentences: found[0] for key, found in first.items()}
    assert len(set(caches.values())) == 1  # fewer slots are the beginning of the same memory
    large = decoder.start(sources(200, 9), 2, 60)
    assert large is not None
    with large:
        assert decoder._steps == {}  # captured steps would read the old buffers


def test_a_buffer_is_freed_before_it_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    zeros = torch.zeros
    arena = Arena(CPU, lambda: events.append("kept" if "one" in arena._flat else "free"))

    def allocate(*sizes: int, **how: Any) -> Tensor:
        events.append("allocate")
        return zeros(*sizes, **how)

    monkeypatch.setattr(torch, "zeros", allocate)
    address = arena.view("one", torch.float32, 5).data_ptr()
    assert arena.view("one", torch.float32, 2, 4).data_ptr() == address
    assert events == ["free", "allocate"]
    assert arena.view("one", torch.float32, 9).shape == (9,)
    assert events == ["free", "allocate"] * 2
    assert arena.moves == 2


def test_few_steps_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast, "MOST_STEPS", 2)
    model = make()
    decoder = FastDecoder(model, CPU)
    steps(model, decoder, 2, lambda *_: None, lambda source, state: Follower(model.start(source, 2)))
    assert [(key[0].sentences, key[0].window) for key in decoder._steps] == [(7, 64)]


def decoded(translator: Translator, nbest: int = 1, prefix: str = "", **changes: Any) -> Any:
    cfg = dataclasses.replace(translator.cfg, precision="float32", **changes)
    made = make_translator(translator.model, translator.tokenizer, cfg, translator.max_length, CPU)
    assert isinstance(made.decoder.backend, TorchBackend)
    found = list(made.translate(LINES, nbest, [prefix] * len(LINES)))
    ids = [[each.ids for each in ways] for ways in found]
    return ids, [each.score for ways in found for each in ways], made.decoder.backend


WISHES: list[dict[str, Any]] = [
    {"beam": 1},
    {"beam": 4},
    {"beam": 4, "nbest": 3},
    {"beam": 2, "prefix": "eins zwei"},
    {"beam": 2, "max_extra": 1},
    {"sampling": True, "nbest": 2, "seed": 5},
    {"sampling": True, "top_k": 4, "prefix": "drei"},
]


@pytest.mark.parametrize("wishes", WISHES, ids=str)
def test_the_fast_way_gives_the_same_translations(translator: Translator, wishes: Any, monkeypatch: Any) -> None:
    expected, scores, plain = decoded(translator, **wishes)
    assert plain.fast is None
    monkeypatch.setattr(transfer, "on_gpu", lambda device: True)
    monkeypatch.setattr(kernels, "on_gpu", lambda x: True)
    found, found_scores, ours = decoded(translator, **wishes)
    assert found == expected
    assert found_scores == pytest.approx(scores, abs=1e-4)
    assert ours.fast is not None  # it was not given up
    assert ours.fast.unchecked < fast.CHECKED_STEPS  # and compared
    assert decoded(translator, **wishes, fast="off")[2].fast is None


def test_steps_are_compared_and_a_difference_is_the_end_of_the_fast_way(
    translator: Translator, as_on_gpu: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = decoded(translator, fast="off")[0]
    right = fast._Step.hidden
    monkeypatch.setattr(fast._Step, "hidden", lambda self: right(self) + 0.1)
    found, _, ours = decoded(translator)
    assert found == expected
    assert ours.fast is None
    (message,) = [each for each in caplog.messages if "captured" in each]
    start = "decoding goes on without captured steps, with the same results: at position 1 the logits differ by "
    assert message.startswith(start)


@pytest.mark.parametrize("broken", ["fast._Step.hidden", "fast.StaticState.begin"], ids=["step", "start"])
def test_an_error_is_the_end_of_the_fast_way(
    translator: Translator, as_on_gpu: None, broken: str, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("CUDA error: no such thing\nmore lines")

    expected = decoded(translator, fast="off")[0]
    monkeypatch.setattr(f"transformer.decoding.{broken}", fail)
    found, _, ours = decoded(translator)
    assert found == expected
    assert ours.fast is None
    text = "decoding goes on without captured steps, with the same results: RuntimeError: CUDA error: no such thing"
    assert [each for each in caplog.messages if "captured" in each] == [text]


def test_a_step_is_captured_at_its_second_use_and_then_replayed(
    translator: Translator, as_on_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With stand-ins for CUDA's graphs: this one runs the step again when it is replayed, as greedy search allows."""
    events: list[str] = []
    signature = inspect.signature(torch.cuda.graph.__init__)

    class Graph:
        step: Any

        def replay(self) -> None:
            events.append("replay")
            self.step.output.copy_(self.step.model.step_hidden(self.step.state.last_BK, self.step.state))

    @contextlib.contextmanager
    def capture(graph: Graph, **how: Any) -> Iterator[None]:
        signature.bind(None, graph, **how)
        events.append("capture")
        yield

    def captured(self: fast._Step) -> Any:
        graph: Any = right(self)
        graph.step = self
        return graph

    right = fast._Step._capture
    monkeypatch.setattr(fast._Step, "_capture", captured)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", capture)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)
    expected = decoded(translator, beam=1, fast="off")[0]
    monkeypatch.setattr(fast, "new_pool", lambda device: (0, 1))
    found, _, ours = decoded(translator, beam=1)
    assert found == expected
    assert ours.fast is not None
    used = [step for step in ours.fast._steps.values() if step.graph is not None]
    assert events.count("capture") == len(used) > 0
    assert events[:2] == ["capture", "replay"]
    assert events.count("replay") > len(used)


def test_a_stop_is_not_taken_for_a_failure(translator: Translator, as_on_gpu: None) -> None:
    class StoppedError(TransformerError):
        pass

    def stop() -> None:
        raise StoppedError("enough")

    ours = make_translator(translator.model, translator.tokenizer, translator.cfg, translator.max_length, CPU)
    ours.decoder.check_interruption = stop
    with pytest.raises(StoppedError):
        list(ours.translate(LINES))


def test_lack_of_memory_frees_the_buffers_and_splits_the_batch(
    translator: Translator, as_on_gpu: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = decoded(translator, fast="off")[0]
    right, sizes = fast._Step.hidden, list[int]()

    def hidden(self: Any) -> Tensor:
        sizes.append(self.state.shape.rows)
        if self.state.shape.rows > 64:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return right(self)

    monkeypatch.setattr(fast._Step, "hidden", hidden)
    freed, release = list[int](), FastDecoder.release

    def released(self: FastDecoder) -> None:
        freed.append(1)
        release(self)

    monkeypatch.setattr(FastDecoder, "release", released)
    found, _, ours = decoded(translator)
    assert found == expected
    assert ours.fast is not None
    assert len(freed) > 1  # once at the start
    assert max(sizes) > 64 >= sizes[-1]
    assert any("decode.batch_tokens is lowered" in each for each in caplog.messages)


def test_the_buffers_serve_one_search_at_a_time() -> None:
    model = make()
    decoder = FastDecoder(model, CPU)
    first = decoder.start(sources(3, 5), 1, 9)
    assert first is not None
    with first:
        assert decoder.start(sources(3, 5), 1, 9) is None  # another thread would decode the plain way
    again = decoder.start(sources(3, 5), 1, 9)
    assert again is not None


def test_what_would_take_too_much_memory_is_decoded_the_plain_way() -> None:
    decoder = FastDecoder(make(), CPU)
    decoder.most_bytes = (
        2 * 2 * 2 * 16 * 4 * (32 + 32) * 4
    )  # 2 layers, keys and values, 2 heads of 16, 4 slots, float32
    assert decoder.start(sources(5, 5), 1, 9) is None
    assert decoder.start(sources(4, 5), 1, 33) is None
    assert decoder.start(sources(4, 5), 1, 9) is not None


def test_slots_are_few_numbers_and_windows_double(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    found = {n: fast.slots_for(n) for n in range(1, 5000)}
    assert [found[n] for n in (1, 8, 9, 32, 33, 64, 65, 585, 2340)] == [8, 8, 16, 32, 40, 64, 80, 640, 2560]
    assert len({found[n] for n in range(1, 1025)}) == 24
    assert all(n <= slots <= max(1.25 * n, n + 7) for n, slots in found.items())
    assert [fast.window_for(t, 160) for t in (0, 31, 32, 63, 64, 127, 128, 159)] == [32, 32, 64, 64, 128, 128, 160, 160]
    assert [fast.window_for(t, 32) for t in (0, 31)] == [32, 32]


def test_a_cast_copy_gives_the_same_numbers_and_follows_the_weights(as_on_gpu: None) -> None:
    with torch.inference_mode(False):
        model = make(output_bias=True)
    model.compute_dtype = torch.bfloat16
    copied = CastCopy(model, torch.bfloat16)
    source, target = sources(4, 7), sources(4, 6)
    assert torch.equal(copied.current()(source, target), model(source, target))
    kept = [each.data_ptr() for each in copied.current().parameters()]
    with torch.inference_mode(False), torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.5)
    assert torch.equal(copied.current()(source, target), model(source, target))
    assert [each.data_ptr() for each in copied.current().parameters()] == kept
    for name, each in copied.current().named_parameters():
        shared = "norm" in name or "embedding" in name
        assert each.dtype == (torch.float32 if shared else torch.bfloat16), name
        assert (each is model.get_parameter(name)) is shared


@pytest.mark.parametrize("allowed", [{}, {1: (7,), 4: (3, 150)}], ids=["free", "forced"])
def test_candidates_are_chosen_on_a_gpu_as_on_a_cpu(allowed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(6, 2000, generator=torch.Generator().manual_seed(1)) * 3
    logits[:, 3] = 50.0  # banned, but allowed in one row
    banned = torch.tensor([3, 5])
    log_probs, ids = search.best_candidates(logits.clone(), allowed, banned, 5)
    fetched, fetch = list[int](), transfer.fetch

    def counted(tensor: Tensor) -> Any:
        fetched.append(1)
        return fetch(tensor)

    monkeypatch.setattr(transfer, "on_gpu", lambda device: True)
    monkeypatch.setattr(transfer, "fetch", counted)
    found_log_probs, found = search.best_candidates(logits.clone(), allowed, banned, 5)
    possible = log_probs > -math.inf
    assert np.array_equal(found[possible], ids[possible])
    assert np.array_equal(possible, found_log_probs > -math.inf)
    assert found_log_probs[possible] == pytest.approx(log_probs[possible], abs=1e-4)
    if allowed:  # the log-probability is that of the free model
        assert found_log_probs[1, 0] == pytest.approx(float(logits[1].log_softmax(0)[7]), abs=1e-4)
    assert fetched == [1]


@pytest.mark.parametrize("sampling", [False, True])
def test_a_step_fetches_one_tensor(
    translator: Translator, sampling: bool, as_on_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast, "CHECKED_STEPS", 0)
    fetch, counts = transfer.fetch, {"fetch": 0, "steps": 0}
    right = fast._Step.hidden

    def counted(tensor: Tensor) -> Any:
        counts["fetch"] += 1
        return fetch(tensor)

    def hidden(self: Any) -> Tensor:
        counts["steps"] += 1
        return right(self)

    monkeypatch.setattr(transfer, "fetch", counted)
    monkeypatch.setattr(fast._Step, "hidden", hidden)
    decoded(translator, sampling=sampling)
    assert counts["fetch"] == counts["steps"] + sampling  # and the log-probabilities of the samples


class Operations(TorchDispatchMode):
    """Counts operations that are no views."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not func.is_view and func is not torch.ops.aten._unsafe_view.default:
            self.names.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("beams", "captured", "others"), [(1, 180, 13), (4, 206, 13)])
@torch.inference_mode(False)
@torch.no_grad()
def test_a_step_stays_within_a_budget_of_operations(beams: int, captured: int, others: int, as_on_gpu: None) -> None:
    """Six layers, bfloat16. On CUDA, ReLU is an operation of its own: 6 more. The captured ones are one launch."""
    model = make(encoder_layers=6, decoder_layers=6)
    decoder = FastDecoder(CastCopy(model, torch.bfloat16).current(), CPU)
    decoder.unchecked = 0
    state, last = decoder.start(sources(8, 9), beams, 20), np.full(8 * beams, 7)
    assert state is not None
    banned, rows = np.array([PAD, BOS], np.int32), np.arange(8 * beams)
    with state:
        for _ in range(2):
            with Operations() as whole:
                state.top_candidates(last, rows >= 0, {}, banned, beams + 1)
            state.select(rows, None)
        with Operations() as inner:
            decoder.step(state.shape).hidden()
    assert len(inner.names) <= captured
    assert len(whole.names) - len(inner.names) <= others


@pytest.mark.parametrize(
    ("memory", "vocabulary", "expected"), [(math.inf, 37_000, 65_536), (2.0**30, 37_000, 1570), (2.0**30, 500, 1745)]
)
def test_batches_are_sized_by_the_memory_that_a_gpu_has(
    memory: float, vocabulary: int, expected: int, as_on_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "memory_of", lambda device: memory)
    cfg = ModelConfig()
    assert batches.batch_tokens("auto", cfg, vocabulary, CPU) == expected
    assert batches.batch_tokens(7, cfg, vocabulary, CPU) == 7
    monkeypatch.setattr(transfer, "on_gpu", lambda device: False)
    assert batches.batch_tokens("auto", cfg, vocabulary, CPU) == 10_240


def test_the_benchmark_runs_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "scripts" / "bench")
    found = list(importlib.import_module("gpu_decoding").measurements(CPU, tiny=True))
    assert [(each["beams"], each["fast"]) for each in found] == [(1, False), (1, True), (4, False), (4, True)]
    assert all(each["ms_per_step"] > 0 for each in found)
