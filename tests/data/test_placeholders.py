"""Placeholders come out as they went in, and terms are given in the source."""

from __future__ import annotations

import argparse
import random
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.command import main
from support.toy import CPU, ENGLISH, GERMAN, toy_pairs, write_pairs

from transformer import config_file
from transformer.augment_config import AugmentConfig, GlossaryConfig
from transformer.cli.translate import _annotation
from transformer.config import Config, DecodeConfig, ModelConfig, TokenizerConfig
from transformer.data.augmentation import Augmenter
from transformer.data.corpus import Pair
from transformer.data.dataset import from_pairs
from transformer.data.glossary import MOST, Glossary, read_glossary
from transformer.data.placeholders import RESERVED, Hidden, hide, hide_in_both, name, with_placeholders
from transformer.data.prepare import prepare
from transformer.data.tokenizer import Tokenizer, learn_tokenizer, load_tokenizer
from transformer.decoding.translator import make_translator
from transformer.errors import ConfigError, DataError
from transformer.interchange.export import _reserved
from transformer.model.network import Transformer
from transformer.runs.models import load_model
from transformer.runs.run import Run, open_run
from transformer.training.session import train

MARKS = ["<term>", "<trans>", "</term>"]
CASED = [Pair(a.source + a.source.title(), a.target + a.target.title()) for a in toy_pairs(300, 3)]


@pytest.fixture(scope="module")
def tok(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A tokenizer with pieces for placeholders and terms, as it is read from a run."""
    folder = tmp_path_factory.mktemp("tokenizer")
    learn_tokenizer(CASED, TokenizerConfig(vocab_size=400, placeholders=3), MARKS).save(folder)
    return load_tokenizer(folder)


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("Dear {name}, hello %s.", "Dear <ph0>, hello <ph1>."),
        ("<b>bold</b> and <b>bold</b>", "<ph0>bold<ph1> and <ph0>bold<ph1>"),
        ("See https://a.org/b?c=1. Or me@a.org!", "See <ph0>. Or <ph1>!"),
        ("__PH0__ ${user} {{x}}", "<ph0> <ph1> <ph2>"),
        ('<a href="x y">%(n)d &nbsp; %1$s', "<ph0><ph1> <ph2> %1$s"),  # only three are reserved
        ("5 % of all, 3 < 4 > 2, a_b", "5 % of all, 3 < 4 > 2, a_b"),
        ("<ph1> is mine", "<ph0> is mine"),
        ("<term> a <trans> b </term>", "<term> a <trans> b </term>"),
        ("", ""),
    ],
)
def test_placeholders_are_found(text: str, hidden: str) -> None:
    found = hide(text, 3, marks=True)
    assert found.text == hidden
    assert found.restore(found.text) == (text, [])
    assert hide(text, 0) == Hidden(text, ())


@settings(max_examples=200)
@given(st.text(st.sampled_from("ab <>{}%s/&;_@.:ph01"), max_size=40))
def test_what_was_hidden_comes_back(text: str) -> None:
    found = hide(text, 5)
    assert found.restore(found.text)[0] == text or len(set(RESERVED.findall(text))) > 5


def test_what_is_lost_or_made_up_is_known() -> None:
    found = hide("{a} and {b}", 4)
    assert found.restore("<ph1> und <ph1> <ph3>x") == ("{b} und {b}x", ["{a}"])
    assert found.hide("so {b}") == "so <ph1>"
    assert hide("{a} and <ph0>", 1).text == "<ph0> and < ph0>"
    assert hide("{a} and <ph0>", 1).restore("<ph0> und < ph0>") == ("{a} und < ph0>", [])


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("{a} then <b>", "<b> dann {a}", ("<ph0> then <ph1>", "<ph1> dann <ph0>")),
        ("{a} then {b}", "dann {a}", ("<ph0> then {b}", "dann <ph0>")),
        ("{a} {a}", "{a}", ("{a} {a}", "{a}")),
        ("<ph0> {a}", "{a} <ph0>", ("<ph0> <ph1>", "<ph1> <ph0>")),
        ("plain", "{a}", ("plain", "{a}")),
    ],
)
def test_pairs_hide_what_both_sides_have(source: str, target: str, expected: tuple[str, str]) -> None:
    assert hide_in_both(source, target, 3) == expected
    assert hide_in_both(*expected, 3) == expected


def test_pairs_are_prepared_with_reserved_pieces(tok: Tokenizer) -> None:
    pair = Pair("one {name} two", "zwei {name} eins")
    source, target = from_pairs([pair], tok).ids(np.array([0]))
    assert tok.source.id_to_piece(source[0].tolist()).count("<ph0>") == 1
    assert tok.target.decode(target[0].tolist()) == "zwei <ph0> eins"
    assert tok.placeholders == 3
    assert tok.takes_terms
    plain = learn_tokenizer(CASED, TokenizerConfig(vocab_size=400))
    assert (plain.placeholders, plain.takes_terms) == (0, False)
    assert "{name}" in plain.source.decode(from_pairs([pair], plain).ids(np.array([0]))[0][0].tolist())


def test_words_of_both_sides_are_replaced_at_a_rate(tok: Tokenizer) -> None:
    pairs = [Pair(f"one {n} Ada", f"Ada {n} eins") for n in range(200, 400)]
    how = AugmentConfig(placeholders=0.5)
    augmenter = Augmenter([how], from_pairs(pairs, tok), tok, ("en", "de"), 200, 1)
    chosen = np.arange(200)
    sides = augmenter.augment(chosen, *augmenter.dataset.ids(chosen), 0)
    found = [
        Pair(*texts) for texts in zip(*(tok.source.decode([x.tolist() for x in side]) for side in sides), strict=True)
    ]
    changed = [new for new, old in zip(found, pairs, strict=True) if new != old]
    assert 70 < len(changed) < 130
    assert set(changed) >= {Pair("one <ph0> <ph1>", "<ph1> <ph0> eins")}
    assert all(sorted(RESERVED.findall(a)) == sorted(RESERVED.findall(b)) for a, b in changed)
    assert with_placeholders("a", "b", 1, lambda n: 0) == ("<ph0> a", "<ph0> b")
    assert with_placeholders("a", "b", 2, lambda n: n - 1) == ("<ph0> a <ph1>", "<ph0> b <ph1>")
    assert with_placeholders("<ph0> a", "a", 2, lambda n: 0) == ("<ph0> a", "a")


def test_translations_have_the_placeholders_of_their_lines(
    tok: Tokenizer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The model sees reserved pieces. What it copies is put back; what it loses is said once."""
    small = ModelConfig(width=16, heads=2, feed_forward=16, encoder_layers=1, decoder_layers=1)
    model = Transformer(small, tok.sizes, tok.pad, tok.bos, 40).eval()
    translator = make_translator(model, tok, DecodeConfig(precision="float32", beam=1), 40, CPU)
    read: list[list[int]] = []
    decode = translator.decoder.decode

    def copied(pieces: Any, count: int) -> Any:
        found = decode(pieces, count)
        read.extend(piece.source for piece in pieces)
        says = [tuple(tok.encode_target(["eins <ph0> <ph2>"])[0])] * len(pieces)
        return [[replace(ways[0], ids=ids)] for ways, ids in zip(found, says, strict=True)]

    monkeypatch.setattr(translator.decoder, "decode", copied)
    lines = ["one {x} two", "two", "{a} one <b>"]
    out = [ways[0].text for ways in translator.translate(lines)]
    assert out == ["eins {x}", "eins <ph0> <ph2>", "eins {a}"]
    assert name(0) in tok.source.id_to_piece(read[0])
    assert [r.getMessage() for r in caplog.records] == ["line 3: the translation lacks '<b>'"]


# ---- terms -----------------------------------------------------------------------------------------------


def test_terms_are_given_behind_their_words(tmp_path: Path) -> None:
    file = tmp_path / "terms.tsv"
    file.write_text("dog\tHund\nhot dog\tHotdog\n狗\tHund\n\nC++\tC++\n", encoding="utf-8")
    glossary = Glossary(read_glossary(file))
    assert glossary.annotate("A Dog.") == "A <term> Dog <trans> Hund </term>."
    assert glossary.annotate("hot dogs, hot dog") == "hot dogs, <term> hot dog <trans> Hotdog </term>"
    assert glossary.annotate("我有狗。") == "我有 <term> 狗 <trans> Hund </term>。"
    assert glossary.annotate("C++ is") == "<term> C++ <trans> C++ </term> is"
    assert glossary.annotate_pair("The dog", "Der HUND") == "The <term> dog <trans> HUND </term>"
    assert glossary.annotate_pair("The dog", "Der Hundehof") == "The dog"
    assert glossary.annotate_pair("The dog", "Der Hundehof. Hund") == "The <term> dog <trans> Hund </term>"
    street = Glossary([("big street", "große Straße"), ("big", "groß")])
    assert (
        street.annotate_pair("THE BIG STREET", "DIE GROSSE STRASSE")
        == "THE <term> BIG STREET <trans> GROSSE STRASSE </term>"
    )
    assert street.annotate_pair("SO BIG", "SO GROSS") == "SO <term> BIG <trans> GROSS </term>"
    assert street.annotate_pair("SO BIG", "SO GROSSE") == "SO BIG"
    several = Glossary([("dog", "Hund"), ("dog", "Köter")])
    assert several.annotate("dog") == "<term> dog <trans> Hund </term>"
    assert several.annotate_pair("dog", "ein Köter") == "<term> dog <trans> Köter </term>"


def test_terms_are_found_in_any_case_also_where_that_changes_their_length() -> None:
    glossary = Glossary([("Straße", "street"), ("groß", "big"), ("Istanbul", "I."), ("İzmir", "Z.")])
    assert glossary.annotate("STRASSE, Straße, strasse!") == (
        "<term> STRASSE <trans> street </term> , <term> Straße <trans> street </term> , "
        "<term> strasse <trans> street </term>!"
    ).replace(" ,", ",")
    assert glossary.annotate("Die große Straßen") == "Die große Straßen"
    assert (
        glossary.annotate("So GROSS, İzmir") == "So <term> GROSS <trans> big </term>, <term> İzmir <trans> Z. </term>"
    )


@pytest.mark.parametrize(
    "text",
    ["Hello {name}", "Hello {{name}}", "http://one.com/name", "name@one.com", '<a name="one">', "&name;", ">>one<< x"],
)
def test_no_term_is_marked_inside_a_placeholder(text: str) -> None:
    assert Glossary([("name", "Name"), ("one", "eins")]).annotate(text) == text


def test_a_term_may_have_a_placeholder() -> None:
    whole = Glossary([("%s files", "%s Dateien"), ("C&amp;A", "C&amp;A"), ("one %", "ein %")])
    assert whole.annotate("All %s files.") == "All <term> %s files <trans> %s Dateien </term>."
    assert whole.annotate("C&amp;A") == "<term> C&amp;A <trans> C&amp;A </term>"
    assert whole.annotate("one %s") == "one %s"


def test_a_file_that_is_no_glossary_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "terms.tsv"
    for text in ("dog Hund\n", "dog\t\n", "a\tb\tc\n", f"{'x' * 201}\ty\n"):
        file.write_text(f"ok\tok\n{text}", encoding="utf-8")
        with pytest.raises(DataError, match="line 2 is no term; expected source and target, separated by one tab"):
            read_glossary(file)
    file.write_text("\n", encoding="utf-8")
    with pytest.raises(DataError, match="terms.tsv has no terms"):
        read_glossary(file)
    file.write_text("".join(f"{i}\t{i}\n" for i in range(MOST + 1)), encoding="utf-8")
    with pytest.raises(DataError, match="has more than 100000 terms"):
        read_glossary(file)


def test_some_pairs_are_trained_on_with_their_terms(tok: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "terms.tsv").write_text("one\teins\ntwo\tzwo\n", encoding="utf-8")
    how = AugmentConfig(glossary=GlossaryConfig(file=str(tmp_path / "terms.tsv"), rate=0.5))
    pairs = [Pair("one two", "zwei eins")] * 100
    augmenter = Augmenter([how], from_pairs(pairs, tok), tok, ("en", "de"), 200, 1)
    chosen = np.arange(100)
    source, target = augmenter.augment(chosen, *augmenter.dataset.ids(chosen), 0)
    found = tok.source.decode([x.tolist() for x in source])
    assert set(found) == {"one two", "<term> one <trans> eins </term> two"}
    assert 30 < found.count("one two") < 70
    assert set(tok.target.decode([x.tolist() for x in target])) == {"zwei eins"}
    assert not tok.has_tag("<term>")  # so that a line that begins with a term still gets its prefix
    assert set(tok.source.piece_to_id([f"\u2581{mark}" for mark in MARKS])) <= set(tok.never_chosen)


def test_a_run_gets_the_pieces_that_it_needs(tiny: Config, tmp_path: Path) -> None:
    (tmp_path / "terms.tsv").write_text("one\teins\n", encoding="utf-8")
    files = write_pairs(tmp_path, "own", toy_pairs(60, 1))
    augment = f"augment: {{placeholders: 0.2, glossary: {{file: {tmp_path}/terms.tsv}}}}"
    wishes = [f"data.train={{files: {files}, {augment}}}", "tokenizer.vocab_size=80"]
    with pytest.raises(ConfigError, match="augment.placeholders needs the pieces of tokenizer.placeholders"):
        config_file.override(tiny, wishes)
    cfg = config_file.override(tiny, [*wishes, "tokenizer.placeholders=4"])
    assert config_file.read(config_file.dump(cfg), "again") == cfg
    found = prepare(cfg, tmp_path / "cache").tokenizer
    assert (found.placeholders, found.takes_terms) == (4, True)
    assert "`<ph0>` to `<ph3>`" in _reserved(found)
    assert "<term> TERM <trans> TRANSLATION </term>" in _reserved(found)
    plain = prepare(tiny, tmp_path / "cache").tokenizer
    assert _reserved(plain) == ""
    only = config_file.override(tiny, [f"data.train={{files: {files}, augment: {{glossary: {{file: terms.tsv}}}}}}"])
    with pytest.raises(ConfigError, match="augment.glossary needs a vocabulary with the marks of terms"):
        prepare(only, tmp_path / "cache", plain)


def test_a_run_without_terms_refuses_a_glossary(tiny: Config, tok: Tokenizer, tmp_path: Path) -> None:
    """That is what `translate --glossary` does with each line."""
    (tmp_path / "terms.tsv").write_text("one\teins\n", encoding="utf-8")
    args = argparse.Namespace(glossary=tmp_path / "terms.tsv")
    annotate = _annotation(Run(tmp_path, tiny, tok), args)
    assert annotate("one two") == "<term> one <trans> eins </term> two"
    plain = learn_tokenizer(CASED, TokenizerConfig(vocab_size=400))
    with pytest.raises(ConfigError, match="was trained without a glossary, so it cannot use one: see augment.glossary"):
        _annotation(Run(tmp_path, tiny, plain), args)
    assert _annotation(Run(tmp_path, tiny, plain), argparse.Namespace(glossary=None))("one") == "one"
    refused = main("translate", tmp_path, "--glossary", tmp_path / "terms.tsv", "--tags")
    assert "--glossary cannot be used with --tags or --alignments" in refused.err


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_model_learns_to_copy_placeholders_and_to_use_terms(tiny: Config, tmp_path: Path) -> None:
    """Each German digit has three words. Which one the model writes is what the glossary gives."""
    chance = random.Random(1)
    words = {english: [german, german + "o", german + "a"] for english, german in zip(ENGLISH, GERMAN, strict=True)}
    german = dict(zip(GERMAN, words.values(), strict=True))
    pairs = [
        Pair(a.source, " ".join(chance.choice(german[b]) for b in a.target.split())) for a in toy_pairs(3000, 1, 4)
    ]
    lines = [f"{source}\t{target}\n" for source, targets in words.items() for target in targets]
    (tmp_path / "terms.tsv").write_text("".join(lines), encoding="utf-8")
    augment = f"augment: {{placeholders: 0.3, glossary: {{file: {tmp_path}/terms.tsv, rate: 0.5}}}}"
    settings = "max_steps=700 batch_tokens=400 warmup_steps=50 schedule=linear save_every=700 micro_batch_tokens=auto"
    wishes = [f"data.train={{files: {write_pairs(tmp_path, 'own', pairs)}, {augment}}}", "data.valid=null"]
    wishes += [f"train.{each}" for each in settings.split()] + ["model.norm=pre", "model.dropout=0", "model.width=64"]
    wishes += ["model.feed_forward=128", "tokenizer.placeholders=4", "tokenizer.vocab_size=400", "data.max_length=60"]
    wishes += ["tokenizer.byte_fallback=true"]
    train(config_file.override(tiny, wishes), tmp_path / "run", CPU)
    run = open_run(tmp_path / "run")
    translator = make_translator(load_model(run)[0], run.tokenizer, run.config.decode, 60, CPU)
    sources = [f"{a} {b} {c}" for a, b, c in (chance.sample(ENGLISH, 3) for _ in range(40))]
    for variant in range(3):
        given = Glossary([(source, targets[variant]) for source, targets in words.items()])
        out = [ways[0].text for ways in translator.translate(map(given.annotate, sources))]
        wanted = [" ".join(words[word][variant] for word in reversed(line.split())) for line in sources]
        assert sum(a == b for a, b in zip(out, wanted, strict=True)) >= 36, (out, wanted)
    out = [ways[0].text for ways in translator.translate(f"{{name}} {line} https://a.org" for line in sources)]
    assert sum("{name}" in text and "https://a.org" in text for text in out) >= 36, out


def test_a_long_word_takes_no_quadratic_time() -> None:
    start = time.process_time()
    assert hide("a" * 50_000, 3).originals == ()
    assert time.process_time() - start < 2
    longest = "a" * 64 + "@b.example"
    assert hide(f"to {longest} and a{longest}", 3).originals == (longest,)
