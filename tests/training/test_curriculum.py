"""Corpora that are used in some updates only."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.datasets import dataset, sentences
from support.together import Group
from support.toy import CPU, assert_same, toy_pairs, write_pairs

from transformer import config_file
from transformer.augment_config import AugmentConfig
from transformer.config import Config
from transformer.data import batching
from transformer.data.augmentation import make_augmenter
from transformer.data.batching import Update
from transformer.data.curriculum import distinct, phases, warn_of_unused
from transformer.data.dataset import Dataset
from transformer.errors import ConfigError, DataError
from transformer.evaluation.frequencies import word_frequencies
from transformer.runs.checkpoint import load_tensors
from transformer.runs.run import open_run
from transformer.system.clock import Stopwatch
from transformer.system.distributed import Ranks
from transformer.training.dry_run import dry_run
from transformer.training.session import build_loop, train

SPANS = ((0, 7), (3, None), (0, None))


def three_corpora() -> Dataset:
    """Return a dataset of three corpora: one for the first 7 updates, one from update 4 on, one always."""
    return replace(dataset(sentences(300), (1.0, 2.0, 0.5)), updates=SPANS)


def first(count: int, data: Dataset, epoch: int = 0, index: int = 0, step: int = 0) -> list[Update]:
    found = batching.updates(data, 300, 1, epoch, index, False, step)
    return list(itertools.islice(found, count))


def test_each_update_has_pairs_of_the_corpora_that_are_used() -> None:
    data = three_corpora()
    for step, update in enumerate(first(40, data)):
        corpora = {int(np.searchsorted([end for _, end, _ in data.corpora], i, "right")) for i in update.pair_ids}
        used = {i for i, (start, end) in enumerate(SPANS) if start <= step and (end is None or step < end)}
        assert corpora <= used
    sequence = first(40, data)
    seen = {int(i) for update in sequence[7:40] for i in update.pair_ids}
    assert set(range(*data.corpora[1][:2])) <= seen


def test_an_epoch_ends_where_the_corpora_change() -> None:
    found = first(30, three_corpora())
    ends = [step + 1 for step, update in enumerate(found) if update.last]
    assert {3, 7} <= set(ends)
    assert found[3].epoch == found[2].epoch + 1
    assert (found[3].index, found[7].index) == (0, 0)


def test_training_goes_on_from_any_update() -> None:
    data = three_corpora()
    whole, place = first(30, data), (0, 0)
    for step in range(20):
        rest = first(30 - step, data, *place, step)
        assert [(each.epoch, each.index, each.last) for each in rest] == [
            (each.epoch, each.index, each.last) for each in whole[step:]
        ]
        assert all(np.array_equal(a.pair_ids, b.pair_ids) for a, b in zip(rest, whole[step:], strict=True))
        place = (rest[0].epoch + 1, 0) if rest[0].last else (rest[0].epoch, rest[0].index + 1)


def test_corpora_that_are_always_used_change_nothing() -> None:
    plain = replace(three_corpora(), updates=())
    always = replace(plain, updates=((0, None),) * 3)
    for one, other in zip(first(60, plain), first(60, always), strict=True):
        assert np.array_equal(one.pair_ids, other.pair_ids)
        assert (one.epoch, one.index, one.last) == (other.epoch, other.index, other.last)


# ---- settings ---------------------------------------------------------------------------------------------


def test_settings_are_read_and_written(tiny: Config, said: list[str]) -> None:
    cfg = config_file.override(tiny, ["data.train=[{tsv: a, until: 10}, {tsv: b, from: 10}]", "train.max_steps=20"])
    assert [(each.from_, each.until) for each in cfg.data.train] == [(0, 10), (10, None)]
    assert "from: 10" in config_file.dump(cfg)
    assert config_file.read(config_file.dump(cfg), "again") == cfg
    assert phases(cfg.data.train, 20) == ["updates 1 to 10: a", "updates 11 to 20: b"]
    warn_of_unused(cfg.data.train, 20)
    assert said == []
    warn_of_unused(cfg.data.train, 10)
    assert said[-1] == "b is used from update 11 on, and training ends at train.max_steps: 10, so it is never used"
    assert phases(cfg.data.train, 10) == ["updates 1 to 10: a", "after update 10, so never: b"]
    assert phases(cfg.data.train[:1], 10) == []


def test_settings_of_another_kind_are_a_warning(tiny: Config, said: list[str]) -> None:
    """Older runs, in which they were not checked, are still opened."""
    corpora = "[{tsv: a, split: validation}, {json: b, name: de-en, revision: 1f}, {dataset: c, split: validation}]"
    warn_of_unused(config_file.override(tiny, [f"data.train={corpora}"]).data.train, 10)
    assert said == [
        "a: split is for dataset, so it is ignored",
        "b: name is for dataset, so it is ignored",
        "b: revision is for dataset, so it is ignored",
    ]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            "data.train=[{tsv: a, until: 5}, {tsv: b, from: 6}]",
            "no corpus of data.train is used in update 6; change",
        ),
        ("data.train={tsv: a, from: 1}", "no corpus of data.train is used in update 1; change its from or until, or"),
        ("data.train={tsv: a, until: 11}", "no corpus of data.train is used in update 12"),
        (
            "data.train={tsv: a, from: 5, until: 5}",
            "data.train is used from 5 until 5 updates are done, so it is",
        ),
        ("data.valid={tsv: a, until: 5}", "data.valid is used in every validation and test; from and until are for"),
        ("data.train={tsv: a, from_: 5}", "unknown key data.train.from_; did you mean data.train.from?"),
    ],
)
def test_contradictions_are_refused(tiny: Config, settings: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        config_file.override(tiny, [settings])


def test_text_that_is_named_again_is_encoded_once(tiny: Config) -> None:
    def places(corpora: str) -> list[int]:
        return distinct(config_file.override(tiny, [f"data.train={corpora}", "train.max_steps=1"]).data.train)[1]

    assert places("[{tsv: a}, {tsv: b}, {tsv: a, weight: 2, from: 5}, {tsv: b, until: 3}]") == [0, 1, 0, 1]
    assert places("[{tsv: a}, {tsv: b}, {tsv: a, weight: 2}, {tsv: b, until: 3}]") == [0, 1, 2, 1]
    assert places("[{tsv: a}, {tsv: a, tag: '<x>', from: 5}]") == [0, 1]


# ---- whole trainings --------------------------------------------------------------------------------------


@pytest.fixture
def staged(tiny: Config, tmp_path: Path) -> Config:
    """Return a configuration with three phases of four updates; the second corpus is named twice."""
    easy = write_pairs(tmp_path, "easy", toy_pairs(60, 1, longest=2))
    hard = write_pairs(tmp_path, "hard", toy_pairs(120, 2))
    corpora = f"[{{files: {easy}, until: 8}}, {{files: {hard}, from: 4, weight: 0.5}}, {{files: {hard}, from: 8}}]"
    return config_file.override(tiny, [f"data.train={corpora}", "train.save_every=1", "train.keep_last=20"])


def weights(run: Path, step: int = 12) -> dict[str, torch.Tensor]:
    folder = run / "checkpoints" / f"step-{step:08d}"
    return {**load_tensors(folder / "model.safetensors"), **load_tensors(folder / "state.safetensors")}


def test_a_run_is_resumed_bit_for_bit_in_any_phase(staged: Config, tmp_path: Path, said: list[str]) -> None:
    train(staged, tmp_path / "whole", CPU)
    assert "updates 9 to 12: hard.en + hard.de x 0.5, hard.en + hard.de" in said
    for stop in (3, 4, 5, 8, 9):
        train(config_file.override(staged, [f"train.max_steps={stop}"]), tmp_path / "parts", CPU)
    train(staged, tmp_path / "parts", CPU)
    assert_same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    report = (tmp_path / "whole" / "data.json").read_text()
    assert report.count('"name": "hard.en + hard.de"') == 1
    files = [f"[{', '.join(each.files or ())}]" for each in staged.data.train]
    corpora = [f"{{files: {files[0]}}}, {{files: {files[1]}, weight: 0.5}}, {{files: {files[2]}}}"]
    later = config_file.override(staged, [f"data.train=[{', '.join(corpora)}]"])
    with pytest.raises(ConfigError, match="was started with other settings: data.train"):
        train(later, tmp_path / "whole", CPU)
    run = open_run(tmp_path / "whole")
    assert word_frequencies(run, toy_pairs(3, 1)) is not None


def test_several_processes_and_small_batches_train_on_the_same_pairs(staged: Config, tmp_path: Path) -> None:
    plain = config_file.override(staged, ["model.dropout=0", "train.adam_epsilon=1e-4", "train.validate_text=false"])
    small = config_file.override(plain, ["train.micro_batch_tokens=40"])
    train(small, tmp_path / "small" / "run", CPU)
    train(plain, tmp_path / "plain" / "run", CPU)
    assert_same(weights(tmp_path / "plain" / "run"), weights(tmp_path / "small" / "run"), exact=False)
    run = tmp_path / "two" / "run"
    run.parent.mkdir()
    assert Group(2, tmp_path, lambda _: train(plain, run, CPU)).results() == ["all 12 steps are done"] * 2
    assert_same(weights(tmp_path / "plain" / "run"), weights(run), exact=False)


def test_text_that_is_named_again_is_augmented_alike(staged: Config, tmp_path: Path) -> None:
    """The places of pairs are those of the encoded corpora, in whatever order corpora are named."""
    easy, hard, again = staged.data.train
    loud = AugmentConfig(upper=0.9)
    train_cfg = (replace(hard, from_=0, until=8, augment=loud), easy, replace(again, augment=loud))
    cfg = replace(staged, data=replace(staged.data, train=train_cfg))
    loop = build_loop(cfg, tmp_path / "run", CPU, Ranks(), Stopwatch())
    augmenter = make_augmenter(cfg.data, loop.data.train, loop.data.tokenizer, 1)
    assert augmenter is not None
    touched = augmenter.touches(np.arange(180), 0)
    assert touched[:120].sum() > 90
    assert not touched[120:].any()


def test_a_dry_run_says_the_phases(staged: Config, tmp_path: Path) -> None:
    lines = dry_run(staged, tmp_path / "run", CPU)
    assert "phase             updates 1 to 4: easy.en + easy.de" in lines
    assert "phase             updates 5 to 8: easy.en + easy.de, hard.en + hard.de x 0.5" in lines
    assert "training pairs    180" in lines
    loop = build_loop(staged, tmp_path / "run", CPU, Ranks(), Stopwatch())
    first, second, third = map(loop.cutting.updates_per_epoch, (0, 4, 8))
    assert first < second < third


def test_a_phase_without_a_pair_is_refused_before_the_training(tiny: Config, tmp_path: Path) -> None:
    """All pairs of the second corpus are duplicates of the first one, which is not used any more."""
    first = write_pairs(tmp_path, "first", toy_pairs(60, 1))
    second = write_pairs(tmp_path, "second", toy_pairs(60, 1))
    corpora = f"data.train=[{{files: {first}, until: 4}}, {{files: {second}, from: 4}}]"
    cfg = config_file.override(tiny, [corpora, "data.duplicates=drop"])
    with pytest.raises(DataError, match=r"no pair is left for update 5, which uses second.en \+ second.de: filters,"):
        train(cfg, tmp_path / "run", CPU)
    assert not (tmp_path / "run").exists()
    build_loop(config_file.override(cfg, ["train.max_steps=4"]), tmp_path / "run", CPU, Ranks(), Stopwatch())
