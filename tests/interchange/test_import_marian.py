"""Models of Marian become runs with its numerics, and give its ids."""

from __future__ import annotations

import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import foreign_models
from support.command import GREEDY, last_line_has, main
from support.foreign_models import PAIRS, marian_vocabulary, spm_models
from support.random_models import SMALL, build

from transformer.config import DecodeConfig, ModelConfig, TokenizerConfig
from transformer.data.model_pieces import Special, read_pieces
from transformer.data.tokenizer import Tokenizer, learn_tokenizer
from transformer.interchange.foreign import IMPOSSIBLE, ordered_tokenizer
from transformer.interchange.marian import ACCEPTED, fill_marian
from transformer.interchange.marian_runtime import marian_is_there
from transformer.interchange.read_marian import vocabulary_entries
from transformer.model.network import Transformer, sinusoids
from transformer.model.weights import unsupported
from transformer.runs.models import load_model
from transformer.runs.run import open_run

MARIAN = replace(
    SMALL, activation="swish", positions="marian", norm_epsilon=1e-6, decoder_start="zero", output_bias=True
)
KINDS = {
    "opus": MARIAN,
    "relu": replace(MARIAN, activation="relu", tied="target"),
    "untied": replace(MARIAN, tied="none"),
    "pre": replace(MARIAN, norm="pre"),
    "no bias": replace(MARIAN, output_bias=False),
}
SPM = spm_models()
VOCABULARY = marian_vocabulary(*SPM)


def made(cfg: ModelConfig) -> tuple[Transformer, Tokenizer]:
    tok = ordered_tokenizer(SPM, ([*VOCABULARY, "<pad>"],) * 2, Special())
    model = build(cfg, tok)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "embedding" in name or name == "output.weight":
                p[tok.pad] = 0.0
        if model.output_bias is not None:
            model.output_bias[tok.pad] = IMPOSSIBLE
    return model, tok


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("kind", KINDS)
def test_a_model_of_marian_becomes_a_run(kind: str, tmp_path: Path) -> None:
    """CTranslate2's own converter reads the same file; with Marian's positions it computes the same."""
    runtime = pytest.importorskip("ctranslate2", reason="ctranslate2 is not installed")
    model, tok = made(KINDS[kind])
    foreign_models.marian(tmp_path / "opus", model, VOCABULARY, SPM)
    done = main("import", tmp_path / "opus", tmp_path / "run")
    assert done.code == 0, done.err
    words = done.out.decode()
    assert ("checked equal: Marian" if marian_is_there() else "not checked: pip install") in words
    assert ("note: Marian 1.12 translates with pre-norm models in another way" in words) is (kind == "pre")
    run = open_run(tmp_path / "run")
    again = load_model(run)[0]
    found, expected = again.state_dict(), model.state_dict()
    if kind == "no bias":  # padding, which Marian does not have, must be impossible
        assert found.pop("output_bias").tolist() == [*[0.0] * len(VOCABULARY), IMPOSSIBLE]
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert run.tokenizer.encode_source([pair.source for pair in PAIRS]) == tok.encode_source([p.source for p in PAIRS])
    assert (run.config.data.source, run.config.data.target) == ("en", "de")
    assert main("translate", tmp_path / "run", *GREEDY, stdin=b"one two\n").code == 0

    from ctranslate2.converters import MarianConverter

    vocabulary = str(tmp_path / "opus" / "opus.vocab.yml")
    converter = MarianConverter(str(next((tmp_path / "opus").glob("*.npz"))), [vocabulary, vocabulary])
    spec = converter._load()
    table = sinusoids(64, model.cfg.width, "marian").numpy()
    spec.encoder.position_encodings.encodings = spec.decoder.position_encodings.encodings = table
    spec.config.layer_norm_epsilon = 1e-6
    spec.validate()
    spec.optimize()
    (tmp_path / "ct2").mkdir()
    spec.save(str(tmp_path / "ct2"))
    theirs = runtime.Translator(str(tmp_path / "ct2"), compute_type="float32", intra_threads=1)
    source, target = tok.encode_source(["one two three four"])[0], tok.encode_target(["zwei drei eins"])[0]
    (scored,) = theirs.score_batch([[VOCABULARY[i] for i in source]], [[VOCABULARY[i] for i in target]])
    with torch.inference_mode():
        logits = again(torch.tensor([[*source, tok.eos]]), torch.tensor([[tok.pad, *target]]))[0]
    ours = logits.log_softmax(-1).gather(1, torch.tensor([*target, tok.eos])[:, None])[:, 0]
    np.testing.assert_allclose(ours.numpy(), scored.log_probs, atol=1e-4)
    for name in ("source.spm", "target.spm"):
        shutil.copy(tmp_path / "opus" / name, tmp_path / "ct2")
    done = main("import", tmp_path / "ct2", tmp_path / "from-ct2", "--languages", "en", "de")
    assert done.code == 0, done.err
    assert "checked equal: ctranslate2" in done.out.decode()
    found = load_model(open_run(tmp_path / "from-ct2"))[0].state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in model.state_dict().items())


@pytest.fixture(scope="module")
def opus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("marian") / "opus"
    foreign_models.marian(folder, made(MARIAN)[0], VOCABULARY, SPM)
    return folder


@pytest.fixture
def theirs(opus: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(opus, tmp_path / "opus"))


def test_a_zip_of_opus_mt_is_imported(opus: Path, tmp_path: Path) -> None:
    shutil.make_archive(str(tmp_path / "opus-2020-02-26"), "zip", opus)
    assert main("import", tmp_path / "opus-2020-02-26.zip", tmp_path / "run").code == 0


def test_a_model_that_has_sentencepiece_itself_is_imported(theirs: Path, tmp_path: Path) -> None:
    """Marian with SentencePiece inside numbers the pieces as their model does."""
    spm = foreign_models.learned([text for pair in PAIRS for text in pair], "unigram", 60)
    pieces = [each.text for each in read_pieces(spm)]
    tok = ordered_tokenizer((spm, spm), ([*pieces, "<pad>"],) * 2, Special())
    shutil.rmtree(theirs)
    foreign_models.marian(theirs, build(MARIAN, tok), pieces, (spm, spm))
    for path in theirs.iterdir():
        if path.suffix != ".npz":
            path.unlink()
    (theirs / "vocab.ende.spm").write_bytes(spm)
    done = main("import", theirs, tmp_path / "run", "--languages", "en", "de")
    assert done.code == 0, done.err
    texts = [pair.source for pair in PAIRS]
    assert open_run(tmp_path / "run").tokenizer.encode_source(texts) == tok.encode_source(texts)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "another kind": ({"type": "s2s"}, "type is 's2s', not 'transformer'"),
    "gelu": ({"transformer-ffn-activation": "gelu"}, "transformer-ffn-activation is 'gelu', not 'swish' or 'relu'"),
    "order": ({"transformer-postprocess": "nda"}, "this package has no sub-layers between '' and 'nda' and ''"),
    "heads": ({"transformer-heads": "many"}, "transformer-heads is 'many', which is not possible"),
    "odd heads": ({"transformer-heads": 5}, "has a width of 32 with 5 heads, which is not possible"),
    "depth": ({"enc-depth": 3}, "lacks encoder_l3_self_Wq"),
    "less depth": ({"enc-depth": 1}, "has encoder_l2_ffn_W1, which this package does not compute"),
    "no YAML": ({"x": "[1"}, "not valid YAML"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_this_package_cannot_compute_is_refused(tmp_path: Path, name: str) -> None:
    options, sentence = WRONG[name]
    foreign_models.marian(tmp_path / "opus", made(MARIAN)[0], VOCABULARY, SPM, **options)
    done = main("import", tmp_path / "opus", tmp_path / "run")
    assert done.code == 1
    assert last_line_has(sentence, done.err), done.err


def test_damaged_folders_are_refused(theirs: Path, tmp_path: Path) -> None:
    def refused(sentence: str) -> None:
        done = main("import", theirs, tmp_path / "run")
        assert done.code in (1, 2)
        assert last_line_has(sentence, done.err), done.err
        assert not (tmp_path / "run").exists()

    (weights,) = theirs.glob("*.npz")
    whole, vocabulary = dict(np.load(weights)), (theirs / "opus.vocab.yml").read_text()
    np.savez(weights, **{**whole, "Wemb": whole["Wemb"].astype(np.int8)})
    refused("Wemb has values of type int8, not of float32")
    np.savez(weights, **{name: each for name, each in whole.items() if "special" not in name})
    refused("has no special:model.yml, so it is not a model of Marian")
    np.savez(weights, **{**whole, "Wemb": np.array([{}], dtype=object)}, allow_pickle=True)
    refused("is not an npz of plain numbers")
    np.savez(weights, **whole)
    (theirs / "opus.vocab.yml").write_text("a: 0\nb: 2\n")
    refused("opus.vocab.yml does not number its pieces from 0 on")
    (theirs / "opus.vocab.yml").write_text("a: 0\n- b\n")
    refused("opus.vocab.yml cannot be read: '- b' is no piece with its id")
    (theirs / "opus.vocab.yml").write_text('"</s>": 0\n"<unk>": 1\n')
    refused("the vocabulary has 2 pieces, but the model")
    (theirs / "opus.vocab.yml").write_text(vocabulary)
    (theirs / "source.bpe").write_text("")
    refused(r"is segmented by subword-nmt \(source.bpe\), which this package does not have")
    (theirs / "source.bpe").unlink()
    (theirs / "decoder.yml").unlink()
    shutil.copy(weights, theirs / "other.npz")
    refused(r"has several models \(opus.model1.npz.best-perplexity.npz, other.npz\); leave one of them in it")
    (theirs / "other.npz").unlink()
    for name in ("a.vocab.yml", "b.vocab.yml"):
        shutil.copy(theirs / "opus.vocab.yml", theirs / name)
    refused("has 3 vocabularies, not one or two")


def test_vocabularies_are_read_whatever_their_pieces_look_like() -> None:
    pieces = ["</s>", "<unk>", "yes", "1", "a: b", "'", '"', "\\", "#", "- x", "~", "\u2028", "{", "é", "?", ":"]
    yml = "".join(f"{json.dumps(piece, ensure_ascii=False)}: {i}\n" for i, piece in enumerate(pieces))
    assert vocabulary_entries(yml) == {piece: i for i, piece in enumerate(pieces)}
    assert vocabulary_entries(json.dumps({piece: i for i, piece in enumerate(pieces)}, indent=2)) == {
        piece: i for i, piece in enumerate(pieces)
    }
    assert vocabulary_entries("yes: 0\n'it''s': 1\n\"\\x22\": 2\n? ▁long\n: 3\n▁:: 4\n") == {
        "yes": 0, "it's": 1, '"': 2, "▁long": 3, "▁:": 4
    }  # fmt: skip


TYING = list(itertools.product(("all", "target", "none"), ("bos", "pad", "zero"), ("relu", "swish")))


@pytest.mark.parametrize(("tied", "start", "activation"), TYING)
def test_a_run_comes_back_from_marian(tied: str, start: str, activation: str, tmp_path: Path) -> None:
    """Bit for bit if the decoder starts from zeros, as Marian's does; else it is rewritten, and computes the same."""
    choices: Any = {"tied": tied, "decoder_start": start, "activation": activation}
    cfg = replace(MARIAN, **choices, output_bias=activation == "relu")
    assert unsupported(cfg, ACCEPTED) is None
    tok = learn_tokenizer(PAIRS, TokenizerConfig(vocab_size=300, joint=tied == "all"))
    model = build(cfg, tok)
    (tmp_path / "marian").mkdir()
    fill_marian(model, tok, tmp_path / "marian", ("en", "de"), DecodeConfig(), "toy")
    done = main("import", tmp_path / "marian", tmp_path / "run", "--languages", "en", "de")
    assert done.code == 0, done.err
    run = open_run(tmp_path / "run")
    again, texts = load_model(run)[0], [text for pair in PAIRS[:20] for text in pair]
    assert run.tokenizer.encode_source(texts) == tok.encode_source(texts)
    assert run.tokenizer.encode_target(texts) == tok.encode_target(texts)
    if start == "zero":
        assert again.cfg == replace(cfg, dropout=again.cfg.dropout)
        found, expected = again.state_dict(), model.state_dict()
        kept = [i for i in range(tok.sizes[1]) if i not in tok.never_chosen]
        assert found.keys() == expected.keys()
        for name, tensor in expected.items():
            rows = kept if name == "output_bias" else slice(None)
            assert torch.equal(found[name][rows], tensor[rows]), name
    source, target = torch.tensor([[5, 6, 7, 8, tok.eos]]), torch.tensor([[9, 10, 11]])
    with torch.inference_mode():
        starts = (torch.cat((torch.tensor([[each.start_id]]), target), 1) for each in (model, again))
        ours, theirs = (each(source, start) for each, start in zip((model, again), starts, strict=True))
        for each in (ours, theirs):
            each[..., list(tok.never_chosen)] = -torch.inf
        torch.testing.assert_close(theirs.log_softmax(-1), ours.log_softmax(-1), atol=1e-4, rtol=1e-4)
