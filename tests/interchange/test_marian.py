"""An export to Marian is read as it was meant: by CTranslate2's converter for Marian, and by Marian itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import yaml
from support.command import main
from support.random_models import SMALL, build
from support.toy import CPU, TINY, toy_pairs, write_pairs

from transformer import config_file
from transformer.config import DecodeConfig, ModelConfig, TokenizerConfig
from transformer.data.tokenizer import Tokenizer, learn_tokenizer
from transformer.errors import ConfigError, TransformerError
from transformer.interchange.common import POSITIONS
from transformer.interchange.export import Choices, export_run
from transformer.interchange.marian import OPTIONS, fill_marian
from transformer.interchange.marian_runtime import MarianRuntime, marian_is_there
from transformer.interchange.proof import token_log_probs
from transformer.interchange.runtimes import CTranslate2Runtime
from transformer.model.network import Transformer, sinusoids
from transformer.model.weights import model_weights
from transformer.runs.checkpoint import save_checkpoint
from transformer.runs.run import Run, open_run, write_run
from transformer.training.session import train

MARIAN = replace(SMALL, positions="marian", norm_epsilon=1e-6)
KINDS = {
    "all-zero": replace(MARIAN, decoder_start="zero"),
    "all-bos": MARIAN,
    "target-zero": replace(MARIAN, tied="target", decoder_start="zero", activation="swish"),
    "target-pad": replace(MARIAN, tied="target", decoder_start="pad"),
    "none-zero": replace(MARIAN, tied="none", decoder_start="zero", output_bias=True),
    "none-pad": replace(MARIAN, tied="none", decoder_start="pad", activation="swish"),
}
SOURCES = [[10, 20, 30, 40, 50, 60], [70], [5, 6, 7, 8]]
TARGETS = [[100, 101, 102], [5], [200, 9, 8, 7, 6, 5, 4]]


def random_model(cfg: ModelConfig, tok: Tokenizer) -> Transformer:
    model = build(cfg, tok)
    if cfg.decoder_start == "zero":
        model.target_embedding.weight.data[tok.pad] = 0
    return model


@pytest.fixture(params=list(KINDS))
def model(request: pytest.FixtureRequest, tok: Tokenizer) -> Transformer:
    return random_model(KINDS[request.param], tok)


@pytest.fixture
def two() -> Tokenizer:
    """Return a tokenizer with two vocabularies."""
    pairs = [(pair.source, pair.target) for pair in toy_pairs(100, 1)]
    return learn_tokenizer(pairs, TokenizerConfig(vocab_size=300, joint=False))


@pytest.fixture
def run(trained_run: Path, tok: Tokenizer, tmp_path: Path) -> Run:
    """Return a run of a model that Marian supports, with random weights."""
    cfg = replace(open_run(trained_run).config, model=MARIAN)
    run = write_run(tmp_path / "run", cfg, tok)
    checkpoint = run.checkpoints / "step-00000001"
    save_checkpoint(checkpoint, random_model(MARIAN, tok).state_dict(), None, {"tokenizer": tok.fingerprint})
    run.point("best", checkpoint)
    return run


def fill(model: Transformer, tok: Tokenizer, folder: Path) -> None:
    folder.mkdir()
    fill_marian(model, tok, folder, ("en", "de"), DecodeConfig(beam=3), "toy")


@pytest.mark.filterwarnings("default")
def test_the_converter_of_ctranslate2_reads_the_same_model(model: Transformer, tok: Tokenizer, tmp_path: Path) -> None:
    """It has the paper's position table, which is replaced here."""
    converters = pytest.importorskip("ctranslate2.converters", reason="ctranslate2 is not installed")
    fill(model, tok, tmp_path / "marian")
    names = [str(tmp_path / "marian" / "vocab.yml")] * 2
    spec = converters.MarianConverter(str(tmp_path / "marian" / "model.npz"), names)._load()
    table = sinusoids(POSITIONS, model.cfg.width, "marian").numpy()
    spec.encoder.position_encodings.encodings = table
    spec.decoder.position_encodings.encodings = table.copy()
    spec.config.layer_norm_epsilon = 1e-6
    (tmp_path / "out").mkdir()
    spec.validate()
    spec.optimize()
    spec.save(str(tmp_path / "out"))
    spm = tmp_path / "marian" / "vocab.spm"
    theirs = CTranslate2Runtime(tmp_path / "out", spm, spm).log_probs(SOURCES, TARGETS)
    ours = token_log_probs(model, tok, SOURCES, TARGETS, banned=True)
    assert max(abs(a - b).max() for a, b in zip(ours, theirs, strict=True)) < 1e-4


def test_a_moved_start_leaves_the_weights_of_the_run(tok: Tokenizer, tmp_path: Path) -> None:
    model = random_model(KINDS["all-bos"], tok)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    fill(model, tok, tmp_path / "out")
    assert all((weight == before[name]).all() for name, weight in model.state_dict().items())
    with np.load(tmp_path / "out" / "model.npz", allow_pickle=False) as arrays:
        assert not arrays["decoder_Wemb"][model.start_id].any()
        assert (model_weights(model).decoder.output.weight.numpy() == arrays["decoder_ff_logit_out_W"].T).all()


def test_the_files_of_marian_and_translate_locally(tok: Tokenizer, tmp_path: Path) -> None:
    fill(random_model(KINDS["all-zero"], tok), tok, tmp_path / "out")
    found = {path.name: path for path in (tmp_path / "out").iterdir()}
    assert sorted(found) == [
        "config.intgemm8bitalpha.yml",
        "decoder.yml",
        "model.npz",
        "model_info.json",
        "vocab.spm",
        "vocab.yml",
    ]
    ids = yaml.safe_load(found["vocab.yml"].read_text(encoding="utf-8"))
    spm = sentencepiece.SentencePieceProcessor(model_file=str(found["vocab.spm"]))
    assert {piece: spm.piece_to_id(piece) for piece in ids} == ids
    assert len(ids) == tok.sizes[0]
    settings = yaml.safe_load(found["decoder.yml"].read_text())
    assert (settings["models"], settings["vocabs"]) == (["model.npz"], ["vocab.spm"] * 2)
    assert (settings["beam-size"], settings["normalize"], settings["skip-cost"]) == (3, 0.6, False)
    bergamot = yaml.safe_load(found["config.intgemm8bitalpha.yml"].read_text())
    assert bergamot == settings | {"max-length-break": 128, "mini-batch-words": 1024}
    info = json.loads(found["model_info.json"].read_text())
    assert (info["src"], info["trg"], info["shortName"]) == ("en", "de", "en-de-toy")
    with np.load(found["model.npz"], allow_pickle=False) as arrays:
        options = yaml.safe_load(arrays[OPTIONS].tobytes().rstrip(b"\0"))
        assert arrays["Wemb"].shape == tuple(reversed((32, *tok.sizes[:1])))
    assert (options["type"], options["dim-vocabs"], options["tied-embeddings-all"]) == (
        "transformer",
        list(tok.sizes),
        True,
    )


def test_two_vocabularies(two: Tokenizer, tmp_path: Path) -> None:
    fill(random_model(KINDS["none-zero"], two), two, tmp_path / "out")
    for name, side in (("source", two.source), ("target", two.target)):
        ids = yaml.safe_load((tmp_path / "out" / f"{name}.yml").read_text(encoding="utf-8"))
        assert {piece: side.piece_to_id(piece) for piece in ids} == ids
    assert yaml.safe_load((tmp_path / "out" / "decoder.yml").read_text())["vocabs"] == ["source.spm", "target.spm"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"positions": "paper"},
            "Marian does not support this model: model.positions is paper, not marian, which must be set before",
        ),
        ({"norm": "pre"}, "model.norm is pre, not post; Marian translates with pre-norm models unlike it trains them"),
        ({"activation": "gelu"}, "model.activation is gelu, not relu or swish; Marian approximates gelu"),
    ],
)
def test_what_marian_cannot_have(changes: dict[str, str], sentence: str, tok: Tokenizer, tmp_path: Path) -> None:
    model = random_model(replace(MARIAN, **changes), tok)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=sentence):
        fill(model, tok, tmp_path / "out")


@pytest.mark.skipif(marian_is_there(), reason="Marian is installed")
def test_without_marian_the_export_says_what_would_check_it(run: Run, tmp_path: Path) -> None:
    found = main("export", run.path, tmp_path / "out", "--to", "marian")
    assert found.code == 0, found.err
    assert found.out.decode().splitlines()[1] == "  not checked: pip install pymarian to compare it with Marian"
    export_run(run.path, tmp_path / "again", "marian", Choices())
    for path in (tmp_path / "out").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_a_failure_of_marian_is_reported(tok: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("marian-decoder", "marian-scorer"):
        program = tmp_path / name
        program.write_text(
            '#!/bin/sh\n[ "$1" = --version ] && echo v1.12.0 x && exit\necho "Error: no such key" >&2; exit 1\n'
        )
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    fill(random_model(KINDS["all-zero"], tok), tok, tmp_path / "out")
    assert marian_is_there()
    spm, yml = tmp_path / "out" / "vocab.spm", tmp_path / "out" / "vocab.yml"
    runtime = MarianRuntime(tmp_path / "out", (spm, spm), (yml, yml))
    assert runtime.name == "Marian v1.12.0"
    with pytest.raises(TransformerError, match="Marian cannot use the model: Error: no such key"):
        runtime.log_probs(SOURCES, TARGETS)


# ---- with Marian itself ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pymarian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Return the environment of a process that has pymarian, which is large, in a folder of its own."""
    folder = tmp_path_factory.mktemp("pymarian")
    packages = ["pymarian", "requests", "urllib3", "certifi", "idna", "charset-normalizer", "portalocker"]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), *packages]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    if done.returncode != 0:
        pytest.skip(f"pymarian cannot be installed: {done.stderr.strip().splitlines()[-1:]}")
    yield {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, sys.path)])}
    subprocess.run(["rm", "-rf", str(folder)], check=True)


@pytest.mark.slow
@pytest.mark.timeout(900)  # the package has 600 MB
@pytest.mark.parametrize("start", ["zero", "bos"])
def test_marian_computes_the_same(pymarian: dict[str, str], start: str, tmp_path: Path) -> None:
    names = {"train": 3000, "valid": 50, "test": 100}
    files = {
        name: write_pairs(tmp_path, name, toy_pairs(count, seed)) for seed, (name, count) in enumerate(names.items())
    }
    (tmp_path / "toy.yaml").write_text(TINY.format(**files), encoding="utf-8")
    overrides = f"""
        model.positions=marian model.norm_epsilon=1e-6 model.decoder_start={start} model.width=64 model.feed_forward=128
        model.dropout=0 train.max_steps=400 train.batch_tokens=400 train.micro_batch_tokens=auto train.warmup_steps=50
        train.schedule=linear train.validate_every=200 train.save_every=200 tokenizer.byte_fallback=true
        tokenizer.vocab_size=340
    """
    train(config_file.load(tmp_path / "toy.yaml", overrides.split()), tmp_path / "run", CPU)
    command = [sys.executable, "-m", "transformer"]
    done = subprocess.run(
        [*command, "export", str(tmp_path / "run"), str(tmp_path / "out"), "--to", "marian"],
        env=pymarian, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "checked equal in Marian v1." in done.stdout
    raw = (tmp_path / "test.en").read_text()
    decode = ["-m", "pymarian", "decode", "-c", str(tmp_path / "out" / "decoder.yml"), "--cpu-threads", "1", "--quiet"]
    theirs, ours = (
        subprocess.run(arguments, input=raw, env=pymarian, capture_output=True, text=True, check=True).stdout
        for arguments in (
            [sys.executable, *decode],
            [*command, "translate", str(tmp_path / "run"), "decode.precision=float32"],
        )
    )
    lines = list(zip(theirs.splitlines(), ours.splitlines(), strict=True))
    assert sum(one == other for one, other in lines) > 0.9 * len(lines)  # the penalties of length are not the same
