"""Training that starts from another run: more pieces, frozen parts, settings that are taken over."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
import torch
from support.toy import CPU, write_pairs
from torch import Tensor

from transformer import config_file
from transformer.config import Config, ModelConfig
from transformer.data.corpus import Pair
from transformer.errors import ConfigError
from transformer.runs.checkpoint import load_tensors
from transformer.runs.layout import step_name
from transformer.runs.models import load_model
from transformer.runs.run import open_run
from transformer.system.clock import Stopwatch
from transformer.system.distributed import Ranks
from transformer.training.dry_run import dry_run
from transformer.training.freezing import frozen_names
from transformer.training.resuming import with_inherited
from transformer.training.session import build_loop, train

NEW = [Pair(f"seventeen one {word}", f"siebzehn eins {word}") for word in ("seventeen", "ninety", "two", "Ωmega")] * 6


@pytest.fixture
def donor(tiny: Config, tmp_path: Path) -> Path:
    train(config_file.override(tiny, ["train.max_steps=3", "data.valid=null"]), tmp_path / "donor", CPU)
    return tmp_path / "donor"


def fine(tiny: Config, donor: Path, tmp_path: Path, *wishes: str) -> Config:
    """Return the configuration of a training on other text that starts from the donor."""
    text = f"data.train={{files: {write_pairs(tmp_path, 'new', NEW)}}}"
    some = ["data.valid=null", "train.max_steps=4", "train.save_every=2", f"train.init_from={donor}"]
    return config_file.override(tiny, [text, *some, *wishes])


def weights_of(run: Path) -> dict[str, Tensor]:
    return load_tensors(run / "checkpoints" / step_name(3) / "model.safetensors")


def weights(run: Path, step: int) -> dict[str, Tensor]:
    folder = run / "checkpoints" / step_name(step)
    return {**load_tensors(folder / "model.safetensors"), **load_tensors(folder / "state.safetensors")}


@pytest.mark.parametrize("tied", ["all", "none"])
def test_new_pieces_start_from_the_mean_of_their_old_ones(tiny: Config, tmp_path: Path, tied: str) -> None:
    shape = [f"model.tied={tied}", f"tokenizer.joint={str(tied == 'all').lower()}", "model.output_bias=true"]
    train(config_file.override(tiny, ["train.max_steps=3", "data.valid=null", *shape]), tmp_path / "donor", CPU)
    cfg = fine(tiny, tmp_path / "donor", tmp_path, *shape, "tokenizer.extend=10")
    loop = build_loop(cfg, tmp_path / "run", CPU, Ranks(), Stopwatch())
    before, tok = open_run(tmp_path / "donor").tokenizer, loop.data.tokenizer
    assert [new - old for old, new in zip(before.sizes, tok.sizes, strict=True)] == [10, 10]
    old, new = load_model(open_run(tmp_path / "donor"))[0].state_dict(), loop.trainer.model.state_dict()
    size = before.sizes[1]
    for name in ("target_embedding.weight", "output_bias", *(["output.weight"] if tied == "none" else [])):
        assert torch.equal(new[name][:size], old[name])
        for i in range(size, size + 10):
            piece = tok.target.id_to_piece(i)
            whole = before.target.encode(piece.replace("▁", " "))
            inside = before.target.encode("one" + piece)[len(before.target.encode("one")) :]
            parts = whole if piece.startswith("▁") else inside
            torch.testing.assert_close(new[name][i], old[name][parts].mean(0))
    if tied == "none":
        assert torch.equal(new["source_embedding.weight"][: before.sizes[0]], old["source_embedding.weight"])
        assert not torch.equal(new["source_embedding.weight"][-1], new["target_embedding.weight"][-1])
    assert tok.unk not in tok.encode_source(["Ωmega"])[0]


def test_training_with_more_pieces_resumes_bit_for_bit(
    tiny: Config, donor: Path, tmp_path: Path, said: list[str]
) -> None:
    wishes = ("tokenizer.extend=10", "train.freeze=[encoder]", "train.ema=0.9", "train.weight_decay=0.1")
    cfg = fine(tiny, donor, tmp_path, *wishes)
    train(cfg, tmp_path / "whole", CPU)
    assert any("tokenizer: 10 and 10 more pieces" in line for line in said)
    train(config_file.override(cfg, ["train.max_steps=2"]), tmp_path / "run", CPU)
    donor.rename(tmp_path / "gone")
    train(cfg, tmp_path / "run", CPU)
    whole, cut = weights(tmp_path / "whole", 4), weights(tmp_path / "run", 4)
    assert all(torch.equal(cut[name], tensor) for name, tensor in whole.items())
    run = open_run(tmp_path / "run")
    assert run.config.tokenizer.vocab_size == run.tokenizer.sizes[0]


def test_reserved_pieces_that_the_donor_lacks_are_added(tiny: Config, donor: Path, tmp_path: Path) -> None:
    files = write_pairs(tmp_path, "new", NEW)
    tagged = f"data.train=[{{files: {files}}}, {{files: {files}, tag: '>>fra<<'}}]"
    reserved = ("tokenizer.user_symbols=['@@Q']", "tokenizer.placeholders=2", "tokenizer.source_prefix='>>fra<<'")
    cfg = fine(tiny, donor, tmp_path, tagged, *reserved, "tokenizer.extend=6")
    few = config_file.override(cfg, ["tokenizer.extend=3"])
    sentence = "tokenizer.extend is 3, but the vocabulary of train.init_from lacks 4 reserved pieces .* at least 4"
    with pytest.raises(ConfigError, match=sentence):
        train(few, tmp_path / "few", CPU)
    before = open_run(donor).tokenizer
    train(config_file.override(cfg, ["train.max_steps=2"]), tmp_path / "run", CPU)
    donor.rename(tmp_path / "gone")
    assert train(cfg, tmp_path / "run", CPU) == "all 4 steps are done"
    run = open_run(tmp_path / "run")
    tok, how = run.tokenizer, run.config.tokenizer
    assert tok.sizes == (before.sizes[0] + 6, before.sizes[1] + 6)
    assert (how.user_symbols, how.placeholders, how.source_prefix) == (("@@Q",), 2, ">>fra<<")
    assert (tok.source_prefix, tok.placeholders) == (">>fra<<", 2)
    assert tok.encode_source(["one"]) == [[tok.source.piece_to_id("\u2581>>fra<<"), *before.encode_source(["one"])[0]]]


@pytest.mark.parametrize(
    ("patterns", "frozen"),
    [
        (["encoder"], lambda name: name.startswith("encoder.")),
        (["decoder.*.cross", "target_embedding"], lambda name: ".cross." in name or name.startswith("target_emb")),
        (["*.weight"], lambda name: name.endswith(".weight")),
        (["*.bias", "encoder.0"], lambda name: name.endswith(".bias") or name.startswith("encoder.0.")),
    ],
)
def test_frozen_parts_stay_and_others_change(
    tiny: Config, donor: Path, tmp_path: Path, patterns: list[str], frozen: object
) -> None:
    wishes = [f"train.freeze=[{','.join(repr(each) for each in patterns)}]", "train.weight_decay=0.1", "train.ema=0.5"]
    train(fine(tiny, donor, tmp_path, *wishes, "model.output_bias=false"), tmp_path / "run", CPU)
    before, after = weights(donor, 3), weights(tmp_path / "run", 4)
    names = [name for name in before if not name.startswith("adam.")]
    assert callable(frozen)
    assert {name: torch.equal(before[name], after[name]) for name in names} == {name: frozen(name) for name in names}


def test_what_is_frozen_is_named() -> None:
    names = ["encoder.0.attention.qkv.weight", "encoder.1.out.bias", "target_embedding.weight"]
    assert frozen_names(names, []) == set()
    assert frozen_names(names, ["encoder.0", "encoder.*.out"]) == set(names[:2])
    with pytest.raises(ConfigError, match="the model has no part 'encode'; its largest are encoder, target_embedding"):
        frozen_names(names, ["encode"])
    with pytest.raises(ConfigError, match="train.freeze leaves nothing to train"):
        frozen_names(names, ["encoder", "target_embedding"])


def test_the_model_of_the_donor_is_taken_unless_another_is_given(
    tiny: Config, donor: Path, tmp_path: Path, said: list[str]
) -> None:
    plain = ModelConfig(dropout=0.3)
    default = [f"model.{each.name}={getattr(plain, each.name)}" for each in fields(plain)]
    asked = config_file.override(fine(tiny, donor, tmp_path), default)
    cfg = with_inherited(asked, None)
    assert cfg.model == ModelConfig(**{**vars(tiny.model), "dropout": 0.3, "attention_dropout": 0.0})
    assert any(line.startswith(f"this run has the model of {donor}, so model.* is: width=") for line in said)
    (parameters,) = (line for line in dry_run(asked, tmp_path / "dry", CPU) if line.startswith("parameters"))
    assert int(parameters.split()[1].replace(",", "")) == sum(each.numel() for each in weights_of(donor).values())
    train(config_file.override(asked, ["train.max_steps=2"]), tmp_path / "run", CPU)
    assert train(asked, tmp_path / "run", CPU) == "all 4 steps are done"
    with pytest.raises(ConfigError, match="give this run the same `model` settings, or none: activation: relu$"):
        build_loop(fine(tiny, donor, tmp_path, "model.activation=gelu"), tmp_path / "x", CPU, Ranks(), Stopwatch())


def test_what_holds_of_the_tokenizer_is_said(tiny: Config, donor: Path, tmp_path: Path, said: list[str]) -> None:
    with_inherited(fine(tiny, donor, tmp_path, "tokenizer.vocab_size=5000", "tokenizer.kind=unigram"), None)
    assert any(f"this run uses the tokenizer of {donor}, so tokenizer.* is: kind=bpe" in line for line in said)
    with pytest.raises(ConfigError, match="tokenizer.extend needs train.init_from, whose vocabulary it extends"):
        config_file.override(tiny, ["tokenizer.extend=5"])
