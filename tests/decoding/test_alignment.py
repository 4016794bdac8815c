"""Alignments out: each word of a translation with its source word, and tags that follow their words."""

from __future__ import annotations

import html
import random
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.command import main
from support.toy import CPU, assert_same, toy_pairs, write_pairs

from transformer import config_file
from transformer.augment_config import AugmentConfig
from transformer.data.alignments import Guide
from transformer.data.augmentation import make_augmenter
from transformer.data.batching import BatchCutter, updates
from transformer.data.prepare import prepare
from transformer.data.reading import UpdateReader
from transformer.decoding.alignment import Aligner, Link, best_links
from transformer.decoding.loading import load_translator
from transformer.decoding.markup import put_back, take_out, tokens
from transformer.model.loss import guided_loss
from transformer.runs.models import load_model
from transformer.runs.run import Run, open_run
from transformer.training.session import train


@pytest.fixture(scope="module")
def guided(shared_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a run that learned from the true alignments: the words of a translation are in reverse order."""
    folder = tmp_path_factory.mktemp("guided")
    pairs = toy_pairs(3000, 1)
    files = write_pairs(folder, "train", pairs)
    lengths = [len(pair.source.split()) for pair in pairs]
    lines = [" ".join(f"{i}-{n - 1 - i}" for i in range(n)) for n in lengths]
    (folder / "align").write_text("".join(f"{line}\n" for line in lines))
    corpus = f"{{files: {files}, alignments: '{folder}/align'}}"
    how = [f"data.train={corpus}", "train.guided_alignment=0.5", "train.validate_text=false", "train.max_steps=300"]
    train(config_file.override(open_run(shared_run).config, how), folder / "run", CPU)
    return open_run(folder / "run")


def test_the_guided_head_attends_to_the_aligned_words(guided: Run) -> None:
    _, translator, _ = load_translator(guided.path, ["decode.beam=1"], CPU)
    lines = [pair.source for pair in toy_pairs(50, 7)]
    found = [ways[0] for ways in translator.translate(lines)]
    aligner = Aligner(translator.decoder, guided=True)
    links = [aligner.links(each) for each in aligner.attend(translator.parts.cut(lines), found)]
    right = total = 0
    for line, each, one in zip(lines, links, found, strict=True):
        words, written = len(line.split()), len(one.text.split())
        assert [link.target for link in each] == list(range(written))
        right += sum(link.source == words - 1 - link.target for link in each)
        total += written
    assert right > 0.9 * total


def test_without_weight_alignments_change_nothing(guided: Run, tmp_path: Path, said: list[str]) -> None:
    """Neither the text that is prepared nor the weights."""
    cfg, (corpus,) = guided.config, guided.config.data.train
    short = replace(cfg.train, max_steps=2, warmup_steps=1, guided_alignment=0.0)
    with_file = replace(cfg, train=short)
    without = replace(with_file, data=replace(cfg.data, train=(replace(corpus, alignments=None),)))
    weights = []
    for name, each in {"one": with_file, "other": without}.items():
        train(each, tmp_path / name, CPU)
        weights.append(load_model(open_run(tmp_path / name))[0].state_dict())
    assert_same(weights[0], weights[1])
    assert len({each.name for each in (tmp_path / "prepared").glob("pairs-*")}) == 1
    assert said.count("alignments are not read, as train.guided_alignment is 0") == 1


def test_the_loss_is_the_cross_entropy_of_aligned_positions() -> None:
    weights = torch.tensor([[[0.5, 0.25, 0.25], [0.1, 0.9, 0.0]]])
    guide = torch.tensor([[[0.0, 0.5, 0.5], [0.0, 0.0, 0.0]]])
    logs = weights.log().requires_grad_()
    loss = guided_loss(logs, guide)
    assert float(loss.detach()) == pytest.approx(-torch.tensor(0.25).log())
    loss.backward()
    assert logs.grad is not None
    assert torch.equal(logs.grad, -guide)


def test_units_are_linked_to_those_they_attend_to_most() -> None:
    weights = torch.tensor([[0.3, 0.3, 0.4, 0.0], [0.0, 0.1, 0.2, 0.7], [0.0, 0.0, 0.0, 1.0]]).numpy()
    assert best_links(weights, [0, 0, 1, -1], [0, 0, -1]) == [(0, 0)]
    assert best_links(weights, [-1, 0, 1, 2], [0, 1, 1]) == [(1, 0), (2, 1)]
    assert best_links(weights[:0], [0, 0, 1, 2], []) == []


def test_alignments_are_written_beside_translations(guided: Run, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("one two\n\nthree\n")
    out = ["-o", tmp_path / "out", "--alignments", tmp_path / "align", "--nbest", "2"]
    done = main("translate", guided.path, tmp_path / "in", *out)
    assert done.code == 0, done.err
    lines = (tmp_path / "align").read_text().splitlines()
    texts = (tmp_path / "out").read_text().splitlines()
    assert texts[0] == "zwei eins"
    assert lines[0] == "1-0 0-1"
    assert [len(line.split()) for line in lines] == [len(text.split()) for text in texts]
    assert lines[2:4] == ["", ""]


def test_tags_follow_their_words(guided: Run, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("<b>one</b> two <i>three four</i>\nfive<br>\n")
    done = main("translate", guided.path, tmp_path / "in", "--tags")
    assert done.code == 0, done.err
    assert done.out.decode().splitlines() == ["<i>vier drei</i> zwei <b>eins</b>", "fünf<br>"]


TAGS = ["<b>", "</b>", "<i a='1'>", "</i>", "<br/>", "<br>", "<!-- x -->", "one", "two", " ", "&amp;", ".", "<", "a<b"]


@given(st.lists(st.sampled_from(TAGS), max_size=10).map("".join), st.integers(0, 2**32))
def test_tags_never_change_the_text_and_none_is_lost(line: str, seed: int) -> None:
    rng = random.Random(seed)
    marked = take_out(line)
    translation = " ".join(rng.choices(["eins", "zwei.", "<", "&"], k=rng.randrange(5)))
    count = len(tokens(marked.text))
    aligned = [rng.randrange(count) if count else 0 for _ in tokens(translation)]
    written = put_back(marked, translation, aligned)
    without = re.sub(r"<[^<>]*>", "", written)
    assert html.unescape(without) == translation
    for tag in ("<br/>", "<!-- x -->"):
        assert written.count(tag) == line.count(tag)
    again = take_out(written)
    tags = [each.tag for each in again.elements] + [each.tag for each in again.marks]
    assert all(tag in line for tag in tags if not tag.startswith("</"))


def test_text_without_a_translation_word_keeps_its_marks() -> None:
    assert put_back(take_out("a<br>b"), "", []) == "<br>"
    assert put_back(take_out("one &lt; two"), "1 < 2", [0, 1, 2]) == "1 &lt; 2"
    assert put_back(take_out("<b>x</b> y"), "y x y x", [1, 0, 1, 0]) == "y <b>x</b> y <b>x</b>"


def test_links_are_written_as_pharaoh() -> None:
    assert str(Link(3, 1)) == "3-1"


def test_batches_carry_the_guide_through_halving(guided: Run) -> None:

    data = prepare(guided.config, guided.path.parent / "prepared", guided.tokenizer)
    reader = UpdateReader(data.train, data.tokenizer, 0.0, 1)
    cutter = BatchCutter(reader, data.tokenizer.bos, 10**9, workers=1, guide=Guide(data.tokenizer))
    (batch,) = cutter.cut(next(updates(data.train, 500, 1, 0, 0))).batches
    assert batch.guide_BTS is not None
    assert batch.guide_BTS.shape == (*batch.input_BT.shape, batch.source_BS.shape[1])
    halves = [half.guide_BTS for half in batch.halves(data.tokenizer.pad)]
    assert sum(float(half.sum()) for half in halves if half is not None) == pytest.approx(float(batch.guide_BTS.sum()))
    assert float(batch.guide_BTS.sum()) > 0


def test_a_changed_pair_has_no_alignment(guided: Run) -> None:
    """Its words may be others."""

    data = prepare(guided.config, guided.path.parent / "prepared", guided.tokenizer)
    (corpus,) = guided.config.data.train
    changing = replace(guided.config.data, train=(replace(corpus, augment=AugmentConfig(merge=0.5)),))
    augmenter = make_augmenter(changing, data.train, data.tokenizer, 1)
    assert augmenter is not None
    reader = UpdateReader(data.train, data.tokenizer, 0.0, 1, augmenter=augmenter)
    cutter = BatchCutter(reader, data.tokenizer.bos, 10**9, workers=1, guide=Guide(data.tokenizer))
    update = next(updates(data.train, 500, 1, 0, 0))
    (batch,) = cutter.cut(update).batches
    assert batch.guide_BTS is not None
    aligned = batch.guide_BTS.sum((1, 2)) > 0
    touched = augmenter.touches(batch.pair_ids, update.epoch)
    assert 0 < touched.sum() < len(touched)
    assert (aligned.numpy() == ~touched).all()
