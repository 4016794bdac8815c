"""Ensembles: the mean of the probabilities of several models with one vocabulary."""

from __future__ import annotations

import copy
import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from support.toy import CPU, toy_pairs

from transformer.decoding.ensemble import mean_log_probs
from transformer.decoding.loading import load_translator
from transformer.decoding.translator import Translator, make_translator
from transformer.errors import CheckpointError, ConfigError
from transformer.model.network import Transformer

LINES = [pair.source for pair in toy_pairs(20, 11)]


def with_others(translator: Translator, others: list[Transformer], **decode: Any) -> Translator:
    named = tuple(f"run{i}" for i in range(len(others))) or None
    cfg = dataclasses.replace(translator.cfg, **{"precision": "float32", "ensemble": named, **decode})
    return make_translator(translator.model, translator.tokenizer, cfg, translator.max_length, CPU, others=others)


def damaged(model: Transformer, amount: float, seed: int = 1) -> Transformer:
    """Return a copy of a model with noise in its weights."""
    other, noise = copy.deepcopy(model), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in other.parameters():
            weight.add_(amount * weight.std() * torch.randn(weight.shape, generator=noise))
    return other


def results(found: Any) -> list[tuple[str, float]]:
    return [(each.text, each.log_prob) for ways in found for each in ways]


def test_the_mean_is_one_of_probabilities() -> None:
    logits = [torch.randn(3, 7), torch.randn(3, 7) * 5]
    expected = (logits[0].softmax(-1) + logits[1].softmax(-1)) / 2
    assert torch.allclose(mean_log_probs(logits).exp(), expected, atol=1e-6)


@pytest.mark.parametrize("how", [{"beam": 1}, {"beam": 4}, {"sampling": True}])
def test_copies_of_a_model_translate_like_the_model(translator: Translator, how: dict[str, Any]) -> None:
    alone, ours = with_others(translator, [], **how), with_others(translator, [translator.model] * 2, **how)
    for one, other in zip(results(alone.translate(LINES)), results(ours.translate(LINES)), strict=True):
        assert one[0] == other[0]
        assert one[1] == pytest.approx(other[1], abs=1e-4)


@pytest.mark.parametrize("beam", [1, 3])
def test_score_agrees_with_translate(translator: Translator, beam: int) -> None:
    ours = with_others(translator, [damaged(translator.model, 0.3)], beam=beam)
    found = [ways[0] for ways in ours.translate(LINES)]
    sources = ours.tokenizer.encode_source(LINES)
    for one, other in zip(found, ours.score_ids(sources, [each.ids for each in found]), strict=True):
        assert one.log_prob == pytest.approx(other.log_prob, abs=1e-3)


def test_every_model_has_a_say(translator: Translator) -> None:
    """The log-probability of a translation is that of the mean, not of one of the models, in whatever order."""
    other = damaged(translator.model, 0.5)
    pair = with_others(translator, [other]).score(LINES, LINES)
    first, second = with_others(translator, []).score(LINES, LINES), with_others(translator, []).score(LINES, LINES)
    swapped = make_translator(other, translator.tokenizer, translator.cfg, 64, CPU, others=[translator.model])
    for one, both, turned in zip(first, pair, swapped.score(LINES, LINES), strict=True):
        assert abs(one.log_prob - both.log_prob) > 1e-3
        assert both.log_prob == pytest.approx(turned.log_prob, abs=1e-3)
    assert [each.log_prob for each in first] == [each.log_prob for each in second]


def test_each_model_has_its_own_start_token(translator: Translator) -> None:
    """Of two models that were imported from elsewhere, one may begin with bos and the other with pad."""
    other = copy.deepcopy(translator.model)
    with torch.no_grad():  # what pad means to it is what bos means to the first
        other.target_embedding.weight[translator.tokenizer.pad] = other.target_embedding.weight[other.start_id]
    other.start_id = translator.tokenizer.pad
    alone, ours = with_others(translator, []), with_others(translator, [other])
    for one, both in zip(results(alone.translate(LINES)), results(ours.translate(LINES)), strict=True):
        assert one[0] == both[0]
        assert one[1] == pytest.approx(both[1], abs=1e-2)  # pad, though never chosen, got another probability


def test_runs_and_checkpoints_are_named_in_the_settings(trained_run: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copy"
    shutil.copytree(trained_run, copied)
    name = sorted((copied / "checkpoints").glob("step-*"))[0].name
    members = f"decode.ensemble=[{copied}, {copied}/checkpoints/{name}]"
    _, ours, _ = load_translator(trained_run, [members], CPU)
    assert len(ours.decoder.models) == 3
    assert ours.precision != "int8"
    with pytest.raises(CheckpointError, match="is not a run directory"):
        load_translator(trained_run, [f"decode.ensemble={tmp_path}/none"], CPU)


def test_another_vocabulary_is_refused(trained_run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(trained_run, other)
    model = (other / "tokenizer.model").read_bytes()
    assert model.count("▁zwei".encode()) == 1
    (other / "tokenizer.model").write_bytes(model.replace("▁zwei".encode(), "▁zewi".encode()))
    with pytest.raises(ConfigError, match=r"decode.ensemble: .*other has another vocabulary than .*run"):
        load_translator(trained_run, [f"decode.ensemble={other}"], CPU)


def test_8_bits_are_refused(translator: Translator) -> None:
    expected = "decode.precision=int8 is not possible here: decode.ensemble needs the probabilities of all tokens"
    with pytest.raises(ConfigError, match=expected):
        with_others(translator, [translator.model], precision="int8")


def test_the_same_weights_count_once(trained_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is in this ensemble already; name other runs or checkpoints"):
        load_translator(trained_run, [f"decode.ensemble={trained_run}"], CPU)
    copied = shutil.copytree(trained_run, tmp_path / "copy")
    with pytest.raises(ConfigError, match="is in this ensemble already"):
        load_translator(trained_run, [f"decode.ensemble=[{copied},{copied}/../copy]"], CPU)
