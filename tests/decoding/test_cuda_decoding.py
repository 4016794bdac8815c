"""Decoding on CUDA against decoding on a CPU. Skipped where there is no GPU."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from support.toy import CPU, toy_pairs
from torch import Tensor

from transformer.decoding import fast, transfer
from transformer.decoding.backend import TorchBackend
from transformer.decoding.fast import FastDecoder
from transformer.decoding.translator import Translator, make_translator

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
CUDA = torch.device("cuda")
LINES = [pair.source for pair in toy_pairs(100, 12)]
WISHES: list[dict[str, Any]] = [
    {"beam": 1},
    {"beam": 4},
    {"beam": 4, "nbest": 3},
    {"beam": 2, "prefix": "eins zwei"},
    {"sampling": True, "nbest": 2, "seed": 5},
]


def make(translator: Translator, device: torch.device, **decode: Any) -> Translator:
    """Return a translator on a device, in float32 unless told otherwise."""
    cfg = dataclasses.replace(translator.cfg, **{"precision": "float32", **decode})
    model = copy.deepcopy(translator.model).to(device)
    return make_translator(model, translator.tokenizer, cfg, translator.max_length, device)


def translate(translator: Translator, nbest: int = 1, prefix: str = "") -> tuple[list[Any], list[float]]:
    """Return ids and scores."""
    found = list(translator.translate(LINES, nbest, [prefix] * len(LINES)))
    return [[each.ids for each in ways] for ways in found], [each.score for ways in found for each in ways]


def decoder_of(translator: Translator) -> FastDecoder:
    """Return the fast decoder, which must not have been given up."""
    assert isinstance(translator.decoder.backend, TorchBackend)
    assert translator.decoder.backend.fast is not None
    return translator.decoder.backend.fast


@pytest.mark.parametrize("batch_tokens", ["auto", 97])
@pytest.mark.parametrize("wishes", WISHES, ids=str)
def test_translations_are_those_of_the_cpu(translator: Translator, wishes: dict[str, Any], batch_tokens: Any) -> None:
    wishes = dict(wishes)
    how = wishes.pop("nbest", 1), wishes.pop("prefix", "")
    expected, scores = translate(make(translator, CPU, **wishes), *how)
    for setting in ("auto", "off"):
        ours = make(translator, CUDA, batch_tokens=batch_tokens, fast=setting, **wishes)
        for _ in range(3):  # compared with the plain way, then captured, then replayed
            found, found_scores = translate(ours, *how)
            assert found == expected
            assert found_scores == pytest.approx(scores, abs=1e-3)
        if setting == "auto":
            decoder = decoder_of(ours)
            assert decoder.unchecked <= 0
            assert any(step.graph is not None for step in decoder._steps.values())


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("beam", [1, 4])
def test_captured_steps_give_the_logits_of_plain_ones(translator: Translator, beam: int, precision: str) -> None:
    if precision == "bfloat16" and not torch.cuda.is_bf16_supported():
        pytest.skip("this GPU has no bfloat16")
    ours = make(translator, CUDA, beam=beam, precision=precision)
    decoder_of(ours).unchecked = 10**6  # compare all steps
    for _ in range(3):
        translate(ours)
    assert decoder_of(ours).unchecked < 10**6


@pytest.fixture
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let `transfer.fetch` wait for the GPU, also where waiting is an error."""
    fetch = transfer.fetch

    def allowed(tensor: Tensor) -> Any:
        mode = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("default")
        found = fetch(tensor)
        torch.cuda.set_sync_debug_mode(mode)
        return found

    monkeypatch.setattr(transfer, "fetch", allowed)
    yield
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("wishes", WISHES, ids=str)
@pytest.mark.usefixtures("_no_waits")
def test_nothing_waits_but_the_copy_of_each_step(translator: Translator, wishes: dict[str, Any]) -> None:
    wishes = dict(wishes)
    how = wishes.pop("nbest", 1), wishes.pop("prefix", "")
    ours = make(translator, CUDA, **wishes)
    expected = [translate(ours, *how) for _ in range(3)][0]  # all steps are captured now
    torch.cuda.set_sync_debug_mode("error")
    found = translate(ours, *how)
    torch.cuda.set_sync_debug_mode("default")
    assert found[0] == expected[0]
    decoder_of(ours)


def test_new_weights_are_used_by_captured_steps(translator: Translator) -> None:
    for precision in ("float32", "float16"):
        ours = make(translator, CUDA, precision=precision)
        for _ in range(3):
            translate(ours)
        with torch.no_grad():
            for weight in ours.model.parameters():
                weight.mul_(1.01)
        plain = make(translator, CUDA, precision=precision, fast="off")
        plain.model.load_state_dict(ours.model.state_dict())
        assert translate(ours)[1] == pytest.approx(translate(plain)[1], abs=1e-2)
        decoder_of(ours)


def test_lack_of_memory_splits_the_batch(translator: Translator, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    expected, _ = translate(make(translator, CPU))
    ours = make(translator, CUDA)
    for _ in range(3):
        translate(ours)
    right = fast._Step.hidden

    def hidden(self: Any) -> Tensor:
        if self.state.shape.rows > 64:
            torch.empty(1 << 60, dtype=torch.uint8, device=CUDA)  # raises torch.OutOfMemoryError
        return right(self)

    monkeypatch.setattr(fast._Step, "hidden", hidden)
    found, _ = translate(ours)
    assert found == expected
    assert any("decode.batch_tokens is lowered" in each for each in caplog.messages)
    decoder_of(ours)
