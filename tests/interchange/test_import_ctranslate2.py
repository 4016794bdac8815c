"""Models of CTranslate2 become runs; what is exported and imported again is the same."""

from __future__ import annotations

import itertools
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.command import last_line_has, main
from support.foreign_models import PAIRS, hugging_face_marian
from support.random_models import SMALL, build

from transformer.config import ModelConfig, TokenizerConfig
from transformer.data.tokenizer import Tokenizer, learn_tokenizer
from transformer.interchange.ctranslate2 import write_ctranslate2
from transformer.interchange.foreign import IMPOSSIBLE
from transformer.interchange.hugging_face import ACCEPTED, write_hugging_face
from transformer.model.network import Transformer
from transformer.model.weights import unsupported
from transformer.runs.models import load_model
from transformer.runs.run import open_run

pytestmark = pytest.mark.filterwarnings("default")
CHOICES: dict[str, tuple[Any, ...]] = {
    "norm": ("post", "pre"),
    "tied": ("all", "target", "none"),
    "decoder_start": ("bos", "pad", "zero"),
    "activation": ("relu", "gelu", "swish"),
    "output_bias": (False, True),
    "positions": ("paper", "marian"),
    "norm_epsilon": (1e-5, 1e-6),
}
"""Each value of these with each of the first three, and each of the others at least twice."""


def kinds() -> list[ModelConfig]:
    made = []
    for i, (norm, tied, start) in enumerate(itertools.product(*list(CHOICES.values())[:3])):
        others = {name: values[i % len(values)] for name, values in list(CHOICES.items())[3:]}
        made.append(replace(SMALL, norm=norm, tied=tied, decoder_start=start, **others))
    return made


@pytest.fixture(scope="module")
def two() -> Tokenizer:
    """Two vocabularies of different sizes."""
    return learn_tokenizer(PAIRS, TokenizerConfig(vocab_size=300, joint=False))


@pytest.fixture(scope="module")
def one() -> Tokenizer:
    return learn_tokenizer(PAIRS, TokenizerConfig(vocab_size=320))


def same_run(model: Transformer, tok: Tokenizer, folder: Path, run: Path) -> None:
    """Import a folder; weights, settings and ids must be those of the model, bit for bit."""
    done = main("import", folder, run, "--languages", "en", "de")
    assert done.code == 0, done.err
    again, opened = load_model(open_run(run))[0], open_run(run)
    assert {**vars(again.cfg), "dropout": 0, "attention_dropout": 0} == {
        **vars(model.cfg),
        "dropout": 0,
        "attention_dropout": 0,
    }
    ours, theirs = model.state_dict(), again.state_dict()
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        if name == "output_bias":  # CTranslate2 gets another one for ids that are never chosen
            kept = [i for i in range(len(tensor)) if i not in tok.never_chosen or folder.name == "hf"]
            assert torch.equal(theirs[name][kept], tensor[kept])
        else:
            assert torch.equal(theirs[name], tensor), name
    texts = [text for pair in PAIRS[:20] for text in pair]
    assert opened.tokenizer.encode_source(texts) == tok.encode_source(texts)
    assert opened.tokenizer.encode_target(texts) == tok.encode_target(texts)
    assert opened.tokenizer.joint == tok.joint


@pytest.mark.parametrize("cfg", kinds(), ids=lambda cfg: f"{cfg.norm}-{cfg.tied}-{cfg.decoder_start}")
def test_a_run_comes_back_from_ctranslate2_and_hugging_face(
    cfg: ModelConfig, one: Tokenizer, two: Tokenizer, tmp_path: Path
) -> None:
    tok = one if cfg.tied == "all" else two
    model = build(cfg, tok)
    write_ctranslate2(model, tok, tmp_path / "ct2")
    same_run(model, tok, tmp_path / "ct2", tmp_path / "from-ct2")
    done = main("info", tmp_path / "from-ct2")
    assert done.code == 0
    fitting = replace(cfg, norm_epsilon=1e-5, positions=cfg.positions if cfg.norm == "pre" else "paper")
    if unsupported(fitting, ACCEPTED) is None:
        model = build(fitting, tok)
        write_hugging_face(model, tok, tmp_path / "hf")
        same_run(model, tok, tmp_path / "hf", tmp_path / "from-hf")


@pytest.mark.parametrize("quantization", ["int8", "int16", "float16", "bfloat16"])
def test_quantized_weights_become_float32_and_that_is_said(one: Tokenizer, tmp_path: Path, quantization: str) -> None:
    model = build(SMALL, one)
    write_ctranslate2(model, one, tmp_path / "ct2", quantization)
    done = main("import", tmp_path / "ct2", tmp_path / "run", "--languages", "en", "de")
    assert done.code == 0, done.err
    assert f"note: weights of {quantization} became float32" in done.out.decode()
    assert "checked equal: ctranslate2" in done.out.decode()
    found, expected = load_model(open_run(tmp_path / "run"))[0].state_dict(), model.state_dict()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=0.02, rtol=0.02)


def test_a_copy_of_a_hugging_face_model_in_ctranslate2_is_imported(tmp_path: Path) -> None:
    """CTranslate2's own converter drops the row of padding and starts from zeros."""
    from ctranslate2.converters import TransformersConverter

    hugging_face_marian(tmp_path / "theirs")
    TransformersConverter(str(tmp_path / "theirs"), copy_files=["source.spm", "target.spm"]).convert(tmp_path / "ct2")
    for folder, run in (("theirs", "one"), ("ct2", "two")):
        done = main("import", tmp_path / folder, tmp_path / run, "--languages", "en", "de")
        assert done.code == 0, done.err
        assert "checked equal" in done.out.decode()
    one, two = (load_model(open_run(tmp_path / run))[0].state_dict() for run in ("one", "two"))
    assert all(torch.equal(two[name], tensor) for name, tensor in one.items() if name != "output_bias")
    assert torch.equal(two["output_bias"][:-1], one["output_bias"][:-1])
    assert two["output_bias"][-1] == IMPOSSIBLE  # where CTranslate2 has no piece


@pytest.fixture(scope="module")
def exported(one: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ct2") / "ct2"
    write_ctranslate2(build(SMALL, one), one, folder)
    return folder


@pytest.fixture
def theirs(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of an exported model that a test may change. Its runtime is not there."""
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    return Path(shutil.copytree(exported, tmp_path / "ct2"))


def refused(folder: Path, sentence: str) -> None:
    run = folder.with_name("run")
    done = main("import", folder, run, "--languages", "en", "de")
    assert done.code == 1
    assert last_line_has(sentence, done.err), done.err
    assert not run.exists()


def test_without_its_runtime_a_model_is_imported_unchecked(theirs: Path, tmp_path: Path) -> None:
    (theirs / "model").mkdir()
    for name in ("model.bin", "config.json", "shared_vocabulary.json"):
        (theirs / name).rename(theirs / "model" / name)  # as in a package of Argos
    (theirs / "metadata.json").write_text('{"from_code": "en", "to_code": "de"}')
    shutil.make_archive(str(tmp_path / "translate-en_de"), "zip", tmp_path, "ct2")
    done = main("import", tmp_path / "translate-en_de.zip", tmp_path / "run")
    assert done.code == 0, done.err
    assert open_run(tmp_path / "run").config.data.target == "de"
    assert "not checked: pip install ctranslate2 would check it" in done.out.decode()


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no eos": ({"add_source_eos": False}, "the source has no eos, or bos, but this package always adds eos alone"),
    "start": ({"decoder_start_token": "</s>"}, "the decoder starts with '</s>', which is neither pad nor bos"),
    "unk": ({"unk_token": "[UNK]"}, r"the vocabulary has no \[UNK\] or no </s>"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_this_package_cannot_compute_is_refused(theirs: Path, name: str) -> None:
    changes, sentence = WRONG[name]
    values = json.loads((theirs / "config.json").read_text())
    (theirs / "config.json").write_text(json.dumps(values | changes))
    refused(theirs, sentence)


OTHER: dict[str, tuple[Callable[[Any], None], str]] = {
    "activation": (lambda spec: activate(spec, 1), "this package does not have its activation function"),
    "scale": (lambda spec: scale(spec, 3.0), "its embeddings are not scaled by the root of their width"),
    "sides": (lambda spec: setattr(spec.encoder, "pre_norm", True), "pre_norm differs between encoder and decoder"),
    "positions": (lambda spec: turn(spec), "has another position table than the paper's and Marian's"),
    "more": (
        lambda spec: setattr(spec.decoder, "alibi", True),
        "has decoder/alibi, which this package does not compute",
    ),
    "heads": (lambda spec: heads(spec, 5), r"has 2\+3 layers of width 32 with 5 heads"),
}


def activate(spec: Any, number: int) -> None:
    spec.encoder.activation = spec.decoder.activation = np.int8(number)


def scale(spec: Any, number: float) -> None:
    spec.encoder.scale_embeddings = spec.decoder.scale_embeddings = np.float32(number)


def heads(spec: Any, number: int) -> None:
    spec.encoder.num_heads = spec.decoder.num_heads = np.int16(number)


def turn(spec: Any) -> None:
    spec.encoder.position_encodings.encodings = spec.encoder.position_encodings.encodings[::-1].copy()


@pytest.mark.parametrize("name", OTHER)
def test_other_networks_are_refused(one: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    from ctranslate2.specs import TransformerSpec

    change, sentence = OTHER[name]
    validate = TransformerSpec.validate

    def changed(self: Any) -> None:
        change(self)
        validate(self)

    monkeypatch.setattr(TransformerSpec, "validate", changed)
    write_ctranslate2(build(SMALL, one), one, tmp_path / "ct2")
    refused(tmp_path / "ct2", sentence)


def test_damaged_files_are_refused(theirs: Path) -> None:
    binary = theirs / "model.bin"
    whole = binary.read_bytes()
    name = whole.index(b"TransformerSpec")
    variable = whole.index(b"decoder/activation")
    count = name + 16 + 4
    for content, sentence in (
        (whole[:-40000], "is not a model of CTranslate2, or it is damaged"),
        (whole[:50], "is not a model of CTranslate2, or it is damaged"),
        (b"", "is not a model of CTranslate2, or it is damaged"),
        (b"\x63" + whole[1:], "version 99 is not one of 2 to 6"),
        (whole.replace(b"TransformerSpec", b"WhisperSpec1234"), "it has a 'WhisperSpec1234', not a TransformerSpec"),
        (whole[:count] + b"\xff" * 4 + whole[count + 4 :], "it has 4294967295 variables"),
        (whole[: variable - 2] + b"\xff\xff" + whole[variable:], "a name of 65535 bytes"),
        (whole[: variable + 19] + b"\x09" + whole[variable + 20 :], "a variable of 9 dimensions"),
        (whole[: variable + 20] + b"\x09" + whole[variable + 21 :], "an unknown type of numbers"),
        (
            whole.replace(b"encoder/embeddings_0", b"encoder/embeddings_1"),
            "lacks encoder/embeddings_0/weight|stands for",
        ),
    ):
        binary.write_bytes(content)
        refused(theirs, sentence)


@pytest.mark.parametrize("epsilon", [-1.0, 0.5])
def test_settings_out_of_their_bounds_are_refused(theirs: Path, epsilon: float) -> None:
    values = json.loads((theirs / "config.json").read_text()) | {"layer_norm_epsilon": epsilon}
    (theirs / "config.json").write_text(json.dumps(values))
    refused(theirs, "cannot have: model.norm_epsilon must be a number from 1e-12 to 0.1")


def test_damaged_vocabularies_are_refused(theirs: Path) -> None:
    vocabulary, pieces = theirs / "shared_vocabulary.json", (theirs / "shared_vocabulary.json").read_text()
    vocabulary.write_text("{}")
    refused(theirs, "shared_vocabulary.json is not a list of pieces")
    vocabulary.write_text("[")
    refused(theirs, "shared_vocabulary.json cannot be read")
    vocabulary.unlink()
    (theirs / "shared_vocabulary.txt").write_bytes(b"\xff\n")
    refused(theirs, "shared_vocabulary.txt is not UTF-8")
    (theirs / "shared_vocabulary.txt").write_text("".join(f"{piece}\n" for piece in json.loads(pieces)))
    assert main("import", theirs, theirs.with_name("good"), "--languages", "en", "de").code == 0
    for path in theirs.glob("*.model"):
        path.unlink()
    refused(theirs, "has no SentencePiece model beside it; put it there as one of: sentencepiece.model")


def test_a_run_with_a_tag_is_exported_with_it_and_comes_back(tmp_path: Path) -> None:
    hugging_face_marian(tmp_path / "theirs", tags=(">>fra<<", ">>deu<<"))
    assert main("import", tmp_path / "theirs", tmp_path / "run", "--tag", ">>fra<<").code == 0
    tok = open_run(tmp_path / "run").tokenizer
    for form in ("ctranslate2", "hugging-face"):
        done = main("export", tmp_path / "run", tmp_path / form, "--to", form, "--lines", "5")
        assert done.code == 0, done.err
        assert "equal ids by the exported tokenizer: 5 of 5 sentences" in done.out.decode()
        assert "Put `>>fra<< ` before each text." in (tmp_path / form / "README.md").read_text()
        done = main("import", tmp_path / form, tmp_path / f"from-{form}", "--languages", "en", "de")
        assert done.code == 0, done.err
        again = open_run(tmp_path / f"from-{form}").tokenizer
        assert again.source_prefix == ">>fra<<"
        texts = ["one two", ">>deu<< one two", ""]
        assert again.encode_source(texts) == tok.encode_source(texts)
