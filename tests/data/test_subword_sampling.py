"""Random segmentations: reproducible, exact at strength 0, and distributed as SentencePiece's own."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pytest
import sentencepiece
from support.nursery import ROOT, open_nursery
from support.toy import assert_same

from transformer.config import TokenizerConfig
from transformer.data.subword_sampling import BpeDropout, Pieces, SubwordSampler, UnigramSampling, uniforms
from transformer.data.text import clean, hide_reserved
from transformer.data.tokenizer import Tokenizer, learn_tokenizer
from transformer.errors import ConfigError
from transformer.runs.checkpoint import TENSORS, WEIGHTS, load_state, load_tensors
from transformer.runs.run import open_run

Kind = Literal["bpe", "unigram"]
KINDS = pytest.mark.parametrize("kind", ["bpe", "unigram"])
BYTES = pytest.mark.parametrize("byte_fallback", [True, False])
ODD = "abc de fgh  <>\u2581\u2581ßüé½ﬁ日本Ж😀\u200b\u00a0\u0301"


@cache
def prose() -> list[str]:
    """Lines of this package's documents and sources."""
    files = [*ROOT.glob("docs/*.md"), *ROOT.glob("transformer/*/*.py")]
    lines = [line.strip() for path in sorted(files) for line in path.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if len(line) > 40][:3000]


@cache
def texts() -> list[str]:
    """Those lines and random strings, among them what no vocabulary has seen, as SentencePiece gets them."""
    chance = random.Random(1)
    odd = ["".join(chance.choices(ODD, k=chance.randrange(40))) for _ in range(3000)]
    return [hide_reserved(clean(text)) for text in (*prose(), *odd, "", " ")]


@cache
def made(kind: Kind, byte_fallback: bool = True, vocab_size: int = 1000) -> Tokenizer:
    cfg = TokenizerConfig(kind=kind, byte_fallback=byte_fallback, vocab_size=vocab_size)
    return learn_tokenizer([(line, line) for line in prose()], cfg)


def crossing(vocab_size: int = 600) -> Any:
    """A BPE model whose pieces reach across spaces."""
    return processor(model_type="bpe", vocab_size=vocab_size, split_by_whitespace=False, byte_fallback=True)


def processor(**how: Any) -> Any:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(prose()), model_writer=model, minloglevel=2, hard_vocab_limit=False, **how
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def score(pieces: Pieces, ids: list[int], side: Any) -> float:
    return sum(pieces.scores.get(side.id_to_piece(i), -1000.0) for i in ids)


# ---- reproducible -----------------------------------------------------------------------------------------

DRAW = """
import json, sys
from pathlib import Path
from transformer.data.tokenizer import load_tokenizer
texts = json.loads(Path(sys.argv[2]).read_text())
print(json.dumps(load_tokenizer(Path(sys.argv[1])).sample(texts, texts, 0.2, 7)))
"""


@KINDS
def test_another_process_draws_the_same(kind: Kind, tmp_path: Path) -> None:
    tok = made(kind)
    tok.save(tmp_path)
    (tmp_path / "texts").write_text(json.dumps(texts()[::20]))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", DRAW, str(tmp_path), str(tmp_path / "texts")]
    done = subprocess.run(command, env=environment, capture_output=True, check=True)
    source, target = tok.sample(texts()[::20], texts()[::20], 0.2, 7)
    assert json.loads(done.stdout) == [source, target]
    assert source != target  # the sides have draws of their own
    assert tok.sample(texts()[::20], [], 0.2, 8)[0] != source


@pytest.mark.parametrize("words", [True, False])
@KINDS
def test_what_is_kept_changes_no_draw(kind: Kind, words: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = texts()[::5] if words else ["x" * 100, *prose()[:20]]
    fresh = made(kind).source if words else crossing()
    expected = SubwordSampler(fresh, 0.3).sample(chosen, 1, 0)
    again = SubwordSampler(fresh, 0.3)
    again.sample(texts()[::7], 2, 0)
    assert again.sample(chosen, 1, 0) == expected
    monkeypatch.setattr(BpeDropout, "most", 10)
    monkeypatch.setattr(UnigramSampling, "most", 10)
    assert SubwordSampler(fresh, 0.3).sample(chosen, 1, 0) == expected


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BpeDropout, "most", 10)
    monkeypatch.setattr(UnigramSampling, "most", 10)
    dropout = BpeDropout(Pieces(made("bpe").source), 0.3)
    lattices = UnigramSampling(Pieces(made("unigram").source), 0.3)
    for sampling, kept in ((dropout, dropout._kept), (lattices, lattices)):
        segment = sampling.segmenter(uniforms(1, 0))
        for number in range(100):
            segment([f"\u2581{number}", "\u2581" + "long" * 20])
        assert 0 < len(kept) <= 10
        assert max(map(len, map(str, kept))) < 80


@pytest.mark.slow
def test_a_run_resumed_by_another_process_in_mid_epoch_is_the_undisturbed_one(tiny_file: Path, tmp_path: Path) -> None:
    """Of another nursery, because what one forks shares a salt of SentencePiece."""
    command: list[object] = ["train", tiny_file, "train.subword_sampling=0.3", "train.ema=0.9", "train.max_steps=40"]
    command += ["train.batch_tokens=50", "train.log_every=1", "train.validate_text=false"]
    command += ["train.validate_every=1000", "train.save_every=1000", "--run"]
    runs = {kind: tmp_path / kind for kind in ("bpe", "unigram")}
    with open_nursery() as first:
        for kind, run in runs.items():
            code, log = first.run(tmp_path / "log", *command, tmp_path / f"whole-{kind}", f"tokenizer.kind={kind}")
            assert code == 0, log
            child = first.start(tmp_path / "log", *command, run, f"tokenizer.kind={kind}")
            child.wait_for("step 5 ")
            os.kill(child.pid, signal.SIGTERM)
            assert child.wait() == 143
            stopped = load_state(open_run(run).steps()[-1])["progress"]
            assert stopped["epoch"] == 0
            assert stopped["index"] >= 5
    with open_nursery() as second:
        for kind, run in runs.items():
            code, log = second.run(tmp_path / "log", *command, run, f"tokenizer.kind={kind}")
            assert code == 0, log
            assert "resuming from" in log
            for name in (WEIGHTS, TENSORS):
                folders = (path / "checkpoints" / "step-00000040" for path in (tmp_path / f"whole-{kind}", run))
                one, other = (load_tensors(folder / name) for folder in folders)
                assert_same(one, other)


# ---- exact ------------------------------------------------------------------------------------------------


@BYTES
@pytest.mark.parametrize("vocab_size", [400, 3000])
def test_without_dropout_bpe_is_that_of_sentencepiece(byte_fallback: bool, vocab_size: int) -> None:
    tok = made("bpe", byte_fallback, vocab_size)
    assert SubwordSampler(tok.source, 0.0).sample(texts(), 1, 0) == tok.encode_source(texts())


def test_without_dropout_pieces_across_spaces_are_those_of_sentencepiece() -> None:
    side = crossing()
    assert any("\u2581" in side.id_to_piece(i)[1:] for i in range(side.get_piece_size()))
    assert SubwordSampler(side, 0.0).sample(texts(), 1, 0) == side.encode(texts())


@BYTES
def test_without_smoothing_unigram_sampling_finds_a_best_segmentation(byte_fallback: bool) -> None:
    """There can be several that are equally good."""
    tok = made("unigram", byte_fallback)
    pieces, best = Pieces(tok.source), tok.encode_source(texts())
    drawn = SubwordSampler(tok.source, 1000.0).sample(texts(), 1, 0)
    assert sum(a == b for a, b in zip(drawn, best, strict=True)) > 0.98 * len(best)
    for ours, theirs in zip(drawn, best, strict=True):
        assert score(pieces, ours, tok.source) == pytest.approx(score(pieces, theirs, tok.source), abs=1e-2)


@BYTES
@pytest.mark.parametrize(("kind", "strength"), [("bpe", 0.1), ("bpe", 1.0), ("unigram", 0.1), ("unigram", 0.4)])
def test_every_sample_spells_the_normalised_text(kind: Kind, byte_fallback: bool, strength: float) -> None:
    tok = made(kind, byte_fallback)
    drawn = tok.sample([], texts(), strength, 3)[1]
    plain = tok.encode_target(texts())
    assert tok.decode(drawn) == tok.decode(plain)
    assert sum(a != b for a, b in zip(drawn, plain, strict=True)) > len(plain) / 10
    if byte_fallback:
        spelled = [tok.target.decode(ids).replace(" ", "\u2581") for ids in drawn]
        assert spelled == [text.removeprefix("\u2581") for text in tok.target.normalize(texts())]


def test_all_merges_dropped_are_characters() -> None:
    side = made("bpe").source
    (ids,) = SubwordSampler(side, 1.0).sample(["the weights"], 1, 0)
    assert [side.id_to_piece(i) for i in ids] == list("\u2581the\u2581weights")


# ---- distribution -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "strength"), [("bpe", 0.1), ("bpe", 0.4), ("unigram", 0.1), ("unigram", 0.2)])
@pytest.mark.parametrize("text", ["untranslatable", "rechecking weights", "Ж日 batches"])
def test_segmentations_are_as_frequent_as_those_of_sentencepiece(kind: Kind, text: str, strength: float) -> None:
    assert_as_frequent(made(kind).source, text, strength)


def test_a_character_that_only_longer_pieces_have_is_as_rare_alone_as_in_sentencepiece() -> None:
    model = made("unigram").models[0].replace(b"\n\x01k\x15", b"\n\x01\x7f\x15")
    side = sentencepiece.SentencePieceProcessor(model_proto=model)
    assert side.is_unknown(side.piece_to_id("k"))
    assert_as_frequent(side, "tokens checkpoint", 0.05)


def assert_as_frequent(side: Any, text: str, strength: float, draws: int = 4000) -> None:
    ours = Counter(map(tuple, SubwordSampler(side, strength).sample([text] * draws, 1, 0)))
    theirs = Counter(
        tuple(side.encode(text, enable_sampling=True, alpha=strength, nbest_size=-1)) for _ in range(draws)
    )
    assert len(ours) > 3
    assert distance(ours, theirs) < 5.5  # of a normal variable; by chance once in 50 million


def distance(one: Counter[tuple[int, ...]], other: Counter[tuple[int, ...]]) -> float:
    """Return the chi-square statistic of two equally large samples, as standard deviations (Wilson and Hilferty)."""
    common = {each for each in one | other if one[each] + other[each] >= 20}
    cells = [(one[each], other[each]) for each in common]
    cells.append((one.total() - sum(a for a, _ in cells), other.total() - sum(b for _, b in cells)))
    statistic = sum((a - b) ** 2 / (a + b) for a, b in cells if a + b)
    free = sum(a + b > 0 for a, b in cells) - 1
    return float(((statistic / free) ** (1 / 3) - (1 - 2 / (9 * free))) / (2 / (9 * free)) ** 0.5)


# ---- refused ----------------------------------------------------------------------------------------------


def unused(model: bytes, piece: str) -> bytes:
    """Return a model with a piece's type changed to unused."""
    name = piece.encode()
    start = model.index(b"\n" + bytes([len(name)]) + name + b"\x15")
    size = model[start - 1]
    assert model[start - 2] == 0x0A
    return model[: start - 1] + bytes([size + 2]) + model[start : start + size] + b"\x18\x05" + model[start + size :]


@KINDS
def test_reserved_pieces_are_never_cut_and_all_else_is_sampled_as_without_them(kind: Kind) -> None:
    """At strength 0 the ids are SentencePiece's; at any other each reserved piece stays whole."""
    cfg = TokenizerConfig(kind=kind, vocab_size=1000, user_symbols=("<ph0>", "<ph01>", "x"))
    tok = learn_tokenizer([(line, line) for line in prose()], cfg, ["<bt>"])
    lines = [f"<bt> {line[:20]}<ph01>{line[20:40]}x<ph0> {line[40:]}" for line in prose()[:200]]
    whole = {piece: tok.source.piece_to_id(piece) for piece in ("<ph0>", "<ph01>", "x", "\u2581<bt>")}
    plain = tok.encode_source(lines)
    sure = 0.0 if kind == "bpe" else 200.0
    assert SubwordSampler(tok.source, sure).sample(lines, 3, 0) == plain
    drawn = SubwordSampler(tok.source, 0.4).sample(lines, 3, 0)
    assert drawn != plain
    assert tok.decode(drawn) == tok.decode(plain)
    for row, line in zip(drawn, lines, strict=True):
        assert row.count(whole["\u2581<bt>"]) == row.count(whole["<ph01>"]) == row.count(whole["<ph0>"]) == 1
        assert row.count(whole["x"]) == line.count("x")


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"model_type": "word"}, "it is neither of BPE nor a unigram model"),
        ({"model_type": "bpe", "control_symbols": "€"}, "its special piece '€' can stand in text"),
    ],
)
def test_other_models_are_refused(how: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=f"train.subword_sampling cannot be used with this tokenizer: {reason}"):
        SubwordSampler(processor(vocab_size=500, **how), 0.1)


@KINDS
def test_unused_pieces_are_refused(kind: Kind) -> None:
    side = sentencepiece.SentencePieceProcessor(model_proto=unused(made(kind).models[0], "\u2581the"))
    with pytest.raises(ConfigError, match="its piece '\u2581the' is unused"):
        SubwordSampler(side, 0.1)
