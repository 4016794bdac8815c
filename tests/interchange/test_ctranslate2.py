"""CTranslate2, if installed, computes the same with an exported model."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.random_models import KINDS, SMALL, SOURCES, build

from transformer.data.tokenizer import Tokenizer
from transformer.decoding.translator import Translator, greedy, make_translator
from transformer.errors import ConfigError, TransformerError
from transformer.interchange.ctranslate2 import write_ctranslate2
from transformer.model.network import Transformer


@pytest.fixture(params=list(KINDS))
def model(request: pytest.FixtureRequest, tok: Tokenizer) -> Transformer:
    return build(KINDS[request.param], tok)


@torch.inference_mode()
def our_log_probs(model: Transformer, tok: Tokenizer, source: list[int], target: list[int]) -> list[float]:
    """Return the log-probability of each target id and of eos."""
    logits = model(torch.tensor([[*source, tok.eos]]), torch.tensor([[model.start_id, *target]]))[0]
    return logits.log_softmax(-1).gather(1, torch.tensor([*target, tok.eos])[:, None])[:, 0].tolist()


def test_missing_ctranslate2_is_reported(tok: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    monkeypatch.setitem(sys.modules, "ctranslate2.specs", None)
    with pytest.raises(TransformerError, match="exporting to CTranslate2 needs its package: pip install ctranslate2"):
        write_ctranslate2(build(SMALL, tok), tok, tmp_path / "out")


def test_a_model_that_ctranslate2_rejects_is_reported(
    tok: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for CTranslate2's package takes any weights and rejects them in the end."""

    class Anything:
        """An object that has every attribute and item."""

        def __getattr__(self, name: str) -> Anything:
            self.__dict__[name] = Anything()
            return self.__dict__[name]

        def __getitem__(self, index: int | str) -> Anything:
            return self

        def __iter__(self) -> Any:
            return iter([self, self, self][: 2 if self is spec.encoder.layer else 3])

        def __call__(self, *_: Any, **__: Any) -> None:
            return None

    spec: Any = Anything()

    def refuse(quantization: str | None) -> None:
        raise ValueError(f"{quantization} is not a quantization")

    spec.optimize = refuse
    specs: Any = types.ModuleType("ctranslate2.specs")
    specs.common_spec = Anything()
    specs.transformer_spec = types.SimpleNamespace(
        TransformerSpec=types.SimpleNamespace(from_config=lambda *_, **__: spec)
    )
    monkeypatch.setitem(sys.modules, "ctranslate2", types.ModuleType("ctranslate2"))
    monkeypatch.setitem(sys.modules, "ctranslate2.specs", specs)
    model = build(SMALL, tok)
    with pytest.raises(ConfigError, match="CTranslate2 rejects this model: int3 is not a quantization"):
        write_ctranslate2(model, tok, tmp_path / "out", "int3")
    assert not (tmp_path / "out").exists()
    bias = spec.decoder.projection.bias
    assert (bias == -1e4).nonzero()[0].tolist() == sorted([tok.pad, tok.unk, tok.bos])


@pytest.mark.filterwarnings("default")
def test_ctranslate2_computes_the_same(model: Transformer, tok: Tokenizer, tmp_path: Path) -> None:
    runtime = pytest.importorskip("ctranslate2", reason="ctranslate2 is not installed")
    write_ctranslate2(model, tok, tmp_path / "out")
    translator = runtime.Translator(str(tmp_path / "out"), device="cpu", compute_type="float32", intra_threads=1)
    targets = [[100, 101, 102], [5], [200, 9, 8, 7, 6, 5, 4]]
    pieces = [[tok.source.id_to_piece(i) for i in ids] for ids in SOURCES]
    scored = translator.score_batch(pieces, [tok.pieces(ids) for ids in targets])
    for source, target, theirs in zip(SOURCES, targets, scored, strict=True):
        logits = our_log_probs(model, tok, source, target)
        # pad, unk and bos have probability in our distribution but not in theirs: the shift is the same for all ids
        shift = np.array(theirs.log_probs) - np.array(logits)
        assert (shift >= -1e-4).all()
        assert shift.max() < 0.5
    with pytest.raises(ConfigError, match="already exists; choose a new folder to export to"):
        write_ctranslate2(model, tok, tmp_path / "out")


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("quantization", [None, "int8"])
def test_ctranslate2_translates_the_same(
    trained_run: Path, translator: Translator, tmp_path: Path, quantization: str | None
) -> None:
    runtime = pytest.importorskip("ctranslate2", reason="ctranslate2 is not installed")
    tok = translator.tokenizer
    write_ctranslate2(translator.model, tok, tmp_path / "out", quantization)
    theirs = runtime.Translator(str(tmp_path / "out"), device="cpu", compute_type=quantization or "float32")
    lines = ["one two three", "nine nine zero four", "eight", "five six"]
    ours = make_translator(translator.model, tok, greedy(translator.cfg), translator.max_length, translator.device)
    pieces = [[tok.source.id_to_piece(i) for i in ids] for ids in tok.encode_source(lines)]
    found = theirs.translate_batch(pieces, beam_size=1)
    ids = [[tok.target.piece_to_id(piece) for piece in each.hypotheses[0]] for each in found]
    assert tok.decode(ids) == [best[0].text for best in ours.translate(lines)]
