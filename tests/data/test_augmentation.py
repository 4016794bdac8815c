"""Augmentation changes what it says it changes, and is a pure function of the seed, the epoch and the pair."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.toy import CPU, assert_same, toy_pairs, write_pairs

from transformer import config_file
from transformer.augment_config import AugmentConfig
from transformer.config import Config, TokenizerConfig
from transformer.data.augmentation import KINDS, Augmenter, make_augmenter, with_blanks
from transformer.data.batching import BatchCutter, order, updates
from transformer.data.corpus import Pair
from transformer.data.dataset import Dataset, from_pairs
from transformer.data.packing import RowPacker
from transformer.data.prepare import prepare
from transformer.data.reading import UpdateReader
from transformer.data.tokenizer import Tokenizer, learn_tokenizer
from transformer.errors import ConfigError
from transformer.runs.checkpoint import WEIGHTS, load_tensors
from transformer.system.distributed import Ranks
from transformer.training.session import train

PAIRS = [Pair(f"{a.source.capitalize()}.", f"{a.target.capitalize()}!") for a in toy_pairs(400, 3)]
SIMPLE = KINDS[: KINDS.index("placeholders")]
"""The changes that need nothing but text."""


def rates(*kinds: str, rate: float) -> AugmentConfig:
    each: dict[str, Any] = dict.fromkeys(kinds, rate)
    return AugmentConfig(**each)


ALL = rates(*SIMPLE, rate=0.2)


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    """A tokenizer of the toy languages in all cases."""
    lines = [Pair(a.source + a.source.upper(), a.target + a.target.upper()) for a in PAIRS]
    return learn_tokenizer(lines, TokenizerConfig(vocab_size=450), ["<bt>"])


@pytest.fixture(scope="module")
def data(words: Tokenizer) -> Dataset:
    return dataclasses.replace(from_pairs(PAIRS, words), corpora=((0, 300, 1.0), (300, 400, 1.0)))


def changer(data: Dataset, tok: Tokenizer, how: AugmentConfig, seed: int = 1, longest: int = 200) -> Augmenter:
    return Augmenter([how, None], data, tok, ("en", "de"), longest, seed)


def texts(augmenter: Augmenter, pairs: list[int], epoch: int = 0) -> list[Pair]:
    """Return these pairs in this epoch, as text."""
    chosen = np.array(pairs)
    source, target = augmenter.augment(chosen, *augmenter.dataset.ids(chosen), epoch)
    tok = augmenter.tok
    sides = tok.source.decode([x.tolist() for x in source]), tok.target.decode([x.tolist() for x in target])
    return [Pair(*each) for each in zip(*sides, strict=True)]


def test_what_becomes_of_a_pair_depends_on_seed_epoch_and_pair_only(data: Dataset, words: Tokenizer) -> None:
    one, everyone = changer(data, words, ALL), list(range(400))
    whole = texts(one, everyone, 3)
    assert sum(new != old for new, old in zip(whole, PAIRS, strict=True)) > 200
    for _ in range(3):
        some = random.Random(1).sample(everyone, 37)
        assert texts(changer(data, words, ALL), some, 3) == [whole[i] for i in some]
    assert texts(one, everyone, 3) == whole
    assert texts(one, everyone, 4) != whole
    assert texts(changer(data, words, ALL, seed=2), everyone, 3) != whole
    assert whole[300:] == PAIRS[300:]  # a corpus that asks for nothing


@pytest.mark.parametrize("kind", SIMPLE)
def test_each_rate_is_the_share_of_pairs_that_are_changed(kind: str, data: Dataset, words: Tokenizer) -> None:
    some, everyone = (changer(data, words, rates(kind, rate=rate)) for rate in (0.3, 1.0))
    changed, changeable = (
        sum(a != b for epoch in range(5) for a, b in zip(texts(one, [*range(300)], epoch), PAIRS, strict=False))
        for one in (some, everyone)
    )
    assert 0.25 < changed / changeable < 0.35
    assert texts(changer(data, words, AugmentConfig()), [*range(300)]) == PAIRS[:300]


def every(kind: str, data: Dataset, words: Tokenizer) -> list[Pair]:
    return texts(changer(data, words, rates(kind, rate=1.0)), [*range(300)])


@pytest.mark.parametrize(("kind", "change"), [("upper", str.upper), ("lower", str.lower), ("title", str.title)])
def test_case_changes_on_both_sides(kind: str, change: object, data: Dataset, words: Tokenizer) -> None:
    assert callable(change)
    assert every(kind, data, words) == [Pair(change(a.source), change(a.target)) for a in PAIRS[:300]]


def test_end_marks_are_left_out_on_both_sides(data: Dataset, words: Tokenizer) -> None:
    assert every("no_end_mark", data, words) == [Pair(a.source[:-1], a.target[:-1]) for a in PAIRS[:300]]


def test_neighbours_of_a_corpus_are_joined(data: Dataset, words: Tokenizer) -> None:
    found = every("merge", data, words)
    for (one, other), new in zip(zip(PAIRS, PAIRS[1:299], strict=False), found, strict=False):
        assert new == Pair(f"{one.source} {other.source}", f"{one.target} {other.target}")
    assert found[299] == PAIRS[299]  # the next pair is of another corpus
    chinese = Augmenter([AugmentConfig(merge=1.0), None], data, words, ("zh", "th"), 200, 1)
    assert texts(chinese, [0]) == [Pair(PAIRS[0].source + PAIRS[1].source, f"{PAIRS[0].target} {PAIRS[1].target}")]


@pytest.mark.parametrize("kind", ["typos", "blanks"])
def test_typos_and_blanks_are_in_the_source_only(kind: str, data: Dataset, words: Tokenizer) -> None:
    found = every(kind, data, words)
    assert [new.target for new in found] == [old.target for old in PAIRS[:300]]
    for new, old in zip(found, PAIRS, strict=False):
        assert abs(len(new.source) - len(old.source)) <= 1
        if kind == "blanks":
            assert new.source.replace(" ", "") == old.source.replace(" ", "")


def test_a_text_without_a_place_for_a_blank_stays() -> None:
    class Always:
        def __init__(self, number: int) -> None:
            self.number = number

        def below(self, count: int) -> int:
            return self.number % count

    assert [with_blanks("a, b", Always(i)) for i in range(4)] == ["a, b", "a , b", "a,b", "a, b"]  # type: ignore[arg-type]


def test_symbols_are_the_same_on_both_sides(data: Dataset, words: Tokenizer) -> None:
    kinds = set()
    for new, old in zip(every("symbols", data, words), PAIRS, strict=False):
        before, _, after = new.source.partition(old.source)
        assert new.target == before + old.target + after
        kinds.add(before.strip() or after.strip())
    assert len(kinds) > 150
    assert any(each.startswith("http") for each in kinds)
    assert any(each.startswith("<b>") for each in kinds)


def test_addresses_and_tags_keep_their_case(words: Tokenizer) -> None:
    pair = Pair("See <b>one</b> {name} on www.one.org/a", "Sieh <b>eins</b> {name} auf www.one.org/a")
    data = from_pairs([pair], words)
    (new,) = texts(Augmenter([AugmentConfig(upper=1.0)], data, words, ("en", "de"), 500, 1), [0])
    assert new == Pair("SEE <b>ONE</b> {name} ON www.one.org/a", "SIEH <b>EINS</b> {name} AUF www.one.org/a")


@pytest.mark.parametrize("kept", ["%s", "&amp;", "{user.name}", "${name}", "__PH0__", "%(Name)s", "Ann@One.org"])
def test_placeholders_keep_their_case(kept: str, words: Tokenizer) -> None:
    data = from_pairs([Pair(f"One {kept} Two", f"Eins {kept} Zwei")], words)
    for kind, change in (("upper", str.upper), ("lower", str.lower)):
        (new,) = texts(Augmenter([rates(kind, rate=1.0)], data, words, ("en", "de"), 500, 1), [0])
        assert new == Pair(f"{change('One')} {kept} {change('Two')}", f"{change('Eins')} {kept} {change('Zwei')}")


def test_no_pair_is_joined_with_one_that_has_unknown_pieces() -> None:
    poor = learn_tokenizer(PAIRS, TokenizerConfig(vocab_size=60, byte_fallback=False))
    pairs = [*PAIRS[:2], Pair("one €", "eins"), PAIRS[3]]
    found = texts(Augmenter([rates("merge", rate=1.0)], from_pairs(pairs, poor), poor, ("en", "de"), 500, 1), [0, 1])
    assert found == [Pair(f"{PAIRS[0].source} {PAIRS[1].source}", f"{PAIRS[0].target} {PAIRS[1].target}"), PAIRS[1]]


def test_a_source_without_case_leaves_its_target(words: Tokenizer) -> None:
    data = from_pairs([Pair("一二", "eins zwei")], words)
    assert texts(Augmenter([AugmentConfig(upper=1.0)], data, words, ("zh", "de"), 500, 1), [0]) == [
        Pair("一二", "eins zwei")
    ]


def test_a_tag_stays_before_the_text(words: Tokenizer) -> None:
    tagged = [Pair(f"<bt> {a.source}", a.target) for a in PAIRS[:50]]
    data = from_pairs(tagged, words)
    how = AugmentConfig(upper=1.0, merge=1.0, symbols=0.5)
    found = texts(Augmenter([how], data, words, ("en", "de"), 500, 1), [*range(50)])
    assert all(each.source.startswith("<bt> ") and each.source.count("<bt>") == 1 for each in found)
    assert any(PAIRS[0].source.upper() in each.source for each in found)


def test_what_would_be_too_long_or_unknown_stays(data: Dataset, words: Tokenizer) -> None:
    lengths = np.maximum(*data.lengths())
    short = changer(data, words, AugmentConfig(merge=1.0), longest=int(np.median(lengths)) * 2)
    found = texts(short, [*range(299)])
    kept = [new == old for new, old in zip(found, PAIRS, strict=False)]
    assert 0 < sum(kept) < 299
    poor = learn_tokenizer(PAIRS, TokenizerConfig(vocab_size=60, byte_fallback=False))  # without some capitals
    plain = from_pairs([*PAIRS, Pair("one €", "eins")], poor)
    found = texts(Augmenter([AugmentConfig(upper=1.0)], plain, poor, ("en", "de"), 200, 1), [*range(401)])
    assert all("\u2047" not in new.source + new.target for new in found[:400])
    assert poor.unk in plain.ids(np.array([400]))[0][0]


def test_other_batches_processes_and_rows_have_the_same_pairs(data: Dataset, words: Tokenizer) -> None:
    """Rectangles of several sizes, two processes and packed rows: each has the same sentences of an update."""
    one = changer(data, words, ALL)
    reader = UpdateReader(data, words, 0.0, 1, augmenter=one)
    update = next(updates(data, 2000, 1, 2, 1))
    found = []
    for limit, ranks in ((300, 1), (900, 1), (300, 2)):
        cut = [BatchCutter(reader, words.bos, limit, Ranks(i, ranks)).cut(update) for i in range(ranks)]
        rows = [row for each in cut for batch in each.batches for row in batch.source_BS.tolist()]
        found.append(sorted([i for i in row if i != words.pad] for row in rows))
        assert {each.tokens for each in cut} == {cut[0].tokens}
    packed = RowPacker(data, words, words.bos, 4 * 256, (64, 128, 256), 0.0, 1, augmenter=one).pack(update)
    rows = []
    for batch in packed.batches:
        for row, sentence in zip(batch.source.tolist(), batch.source_sentences.tolist(), strict=True):
            rows += [[i for i, n in zip(row, sentence, strict=True) if n == k] for k in range(1, max(sentence) + 1)]
    assert found[0] == found[1] == found[2] == sorted(rows)
    plain = UpdateReader(data, words, 0.0, 1).read(update, 300)[1]
    assert sorted([*each.tolist(), words.eos] for each in plain) != found[0]


def test_changed_pairs_are_also_sampled(data: Dataset, words: Tokenizer) -> None:
    update = next(updates(data, 2000, 1, 0, 0))
    texts_of = []
    for sampling in (0.0, 0.3):
        _, source, _ = UpdateReader(data, words, sampling, 1, augmenter=changer(data, words, ALL)).read(update, 500)
        texts_of.append(([x.tolist() for x in source], sorted(words.source.decode([x.tolist() for x in source]))))
    assert texts_of[0][1] == texts_of[1][1]
    assert sorted(texts_of[0][0]) != sorted(texts_of[1][0])


def augmented(tiny: Config, folder: Path, rates: str = "upper: 0.3, merge: 0.3, typos: 0.5") -> Config:
    files = write_pairs(folder, "train", toy_pairs(150, 1))
    return config_file.override(tiny, [f"data.train={{files: {files}, augment: {{{rates}}}}}", "data.valid=null"])


def test_a_run_with_augmentation_resumes_bit_for_bit(tiny: Config, tmp_path: Path) -> None:
    cfg = augmented(tiny, tmp_path)
    train(cfg, tmp_path / "whole", CPU)
    for steps in (5, 12):
        train(config_file.override(cfg, [f"train.max_steps={steps}"]), tmp_path / "parts", CPU)
    whole, parts = [
        load_tensors(tmp_path / name / "checkpoints" / "step-00000012" / WEIGHTS) for name in ("whole", "parts")
    ]
    assert_same(whole, parts)
    plain = config_file.override(cfg, [f"data.train={{files: {write_pairs(tmp_path, 'train', toy_pairs(150, 1))}}}"])
    with pytest.raises(ConfigError, match="was started with other settings: data.train"):
        train(plain, tmp_path / "whole", CPU)


def test_augmentation_leaves_the_prepared_text_and_its_order(tiny: Config, tmp_path: Path) -> None:
    cfg = augmented(tiny, tmp_path)
    plain = config_file.override(cfg, [f"data.train={{files: {write_pairs(tmp_path, 'train', toy_pairs(150, 1))}}}"])
    one, other = (prepare(each, tmp_path / "cache") for each in (cfg, plain))
    assert one.train.report["fingerprint"] == other.train.report["fingerprint"]
    assert [x.tolist() for x in order(one.train, 200, 1, 0)] == [x.tolist() for x in order(other.train, 200, 1, 0)]
    assert make_augmenter(plain.data, other.train, other.tokenizer, 1) is None
    assert make_augmenter(augmented(tiny, tmp_path, "upper: 0").data, one.train, one.tokenizer, 1) is None
    assert config_file.read(config_file.dump(cfg), "again") == cfg
    assert "lower" not in config_file.dump(cfg)


def test_what_is_measured_is_not_changed(tiny: Config) -> None:
    with pytest.raises(ConfigError, match="data.valid.augment would change what is measured; augmentation is for"):
        config_file.override(tiny, ["data.valid.augment={upper: 0.5}"])
