"""Any text through the real commands gives as many lines out as in, or one error sentence, and never a traceback."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import math
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.command import (
    COMMAND,
    ENVIRONMENT,
    GREEDY,
    Outcome,
    check_sentence,
    last_line_has,
    main,
    measured,
    train,
)
from support.toy import toy_pairs, write_pairs

from transformer import config_file
from transformer.cli.translate import WARNINGS
from transformer.config import Config, TokenizerConfig
from transformer.data import corpus
from transformer.data.formats import HEAD, OPENERS, what_it_is
from transformer.data.lines import LONGEST_LINE, read_lines
from transformer.data.text import CONTROLS, clean
from transformer.data.tokenizer import learn_tokenizer
from transformer.data_config import CorpusConfig, DataConfig
from transformer.decoding.int8.build import library
from transformer.decoding.translator import Translator
from transformer.errors import ConfigError, DataError


def count(content: bytes) -> int:
    """Return the number of lines as `wc -l` counts them, plus one if the last line has no LF."""
    return content.count(b"\n") + (content != b"" and not content.endswith(b"\n"))


TEXTS: dict[str, bytes] = {
    "empty file": b"",
    "empty and blank lines": b"\n \n\t\none\n\xc2\xa0\n\n",
    "no newline at the end": b"one two\nthree",
    "CRLF": b"one\r\ntwo\r\n\r\n",
    "BOM": b"\xef\xbb\xbfone\n\xef\xbb\xbftwo\n",
    "BOM alone": b"\xef\xbb\xbf",
    "a lone CR": b"one\rtwo\nthree\n",
    "LS, PS, NEL, VT, FF, FS": "one\u2028two\u2029three\x85four\x0bfive\x0csix\x1cseven\none\n".encode(),
    "NUL and control": b"one\x00two\x01\x1b[31m three\x07\n\x9b2J\x7f\n\x00\n",
    "invalid UTF-8": b"one \xff\xfe two\nthree\n\xc0\xaf\n\xf5\x80\x80\x80\n",
    "lone surrogate bytes": b"one \xed\xa0\x80 two\n\xed\xbf\xbf\n",
    "noncharacters and private use": "\ufffe \uffff \U0010ffff \ue000\none\n".encode(),
    "RTL": "مرحبا بالعالم \u202eabc\u202c\nשלום\n".encode(),
    "emoji with joiners": "👩‍👩‍👧‍👦 one 🏳️‍🌈\n👍🏽\n".encode(),
    "scripts never seen": "ᚠᚢᚦ one 𒀀𒀁 ꙮ ཨོཾ\n漢字かな\n".encode(),
    "combining marks": ("o" + "\u0301" * 500 + "ne\n").encode(),
    "control symbols": b"</s> <pad> <s> <unk> <2de> <0x41>\none </s> two\n\xe2\x81\x87 \xe2\x96\x81\n",
    "a long word": b"x" * 3000 + b"\none\n",
    "10,000 tokens": b"one " * 10_000 + b"\ntwo\n",
}
BROKEN = {"invalid UTF-8", "lone surrogate bytes", "NUL and control"}  # names of the texts that are not UTF-8
LONG = {
    "a long word",
    "10,000 tokens",
    "combining marks",
    "emoji with joiners",
    "noncharacters and private use",
    "RTL",
    "scripts never seen",
    "control symbols",
}  # names of the texts with more tokens than the training text; most of them are encoded by byte fallback


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("name", TEXTS)
def test_translate_returns_one_line_per_line(trained_run: Path, name: str, precision: str) -> None:
    if precision == "int8" and library() is None:
        pytest.skip("needs AVX-512 VNNI and a C compiler")
    content = TEXTS[name]
    found = main("translate", trained_run, *GREEDY, f"decode.precision={precision}", stdin=content)
    assert found.code == 0
    answers = found.out.decode().split("\n")
    assert answers.pop() == ""
    assert len(answers) == count(content)
    for line, answer in zip(content.split(b"\n"), answers, strict=False):
        assert not CONTROLS.search(answer)
        if not clean(line.decode("utf-8", "replace")).strip("\ufeff \t\xa0"):
            assert answer == ""
    assert ("is not UTF-8" in found.err) == (name in BROKEN)
    assert ("translated sentence by sentence" in found.err) == (name in LONG)


def test_replaced_characters_are_reported_once(trained_run: Path) -> None:
    found = main("translate", trained_run, *GREEDY, stdin=b"\xff\n" * 50 + b"one\x00\n" * 50)
    assert found.err.count("is not UTF-8: invalid bytes were replaced by U+FFFD") == WARNINGS
    assert "input: 50 lines are not UTF-8" in found.err
    assert found.err.count("line 51 has control characters, which are read as spaces") == 1
    assert "input: 50 lines have control characters" in found.err
    assert len(found.err.splitlines()) == WARNINGS + 3


@pytest.mark.parametrize("name", TEXTS)
def test_evaluate_counts_every_line_or_refuses(trained_run: Path, tmp_path: Path, name: str) -> None:
    content, reference = TEXTS[name], b"eins\n" * count(TEXTS[name])
    (tmp_path / "text").write_bytes(content)
    (tmp_path / "reference").write_bytes(reference)
    for source, target in (("text", "reference"), ("reference", "text")):
        files = ("--source", tmp_path / source, "--reference", tmp_path / target)
        found = main("evaluate", trained_run, *files, *GREEDY, "--json", "--again")
        if name in BROKEN or not content:
            assert found.code == 1
            sentence = r"text, line [12] is not UTF-8$" if content else f"{source} is empty$"
            assert last_line_has(sentence, found.err)
        else:
            assert found.code == 0
            assert json.loads(found.out)["sentences"] == count(content)
            (path,) = re.findall(r"translations written to (.*)", found.err)
            kept = Path(path).read_bytes()
            assert kept.count(b"\n") == count(content)


@pytest.mark.parametrize("name", TEXTS)
def test_score_returns_one_line_per_line_or_refuses(trained_run: Path, tmp_path: Path, name: str) -> None:
    content = TEXTS[name]
    (tmp_path / "text").write_bytes(content)
    (tmp_path / "other").write_bytes(b"eins\n" * count(content))
    for source, target in (("text", "other"), ("other", "text")):
        found = main("score", trained_run, "--source", tmp_path / source, "--target", tmp_path / target)
        if name in BROKEN:
            assert last_line_has(r"text, line [12] is not UTF-8$", found.err)
        elif name == "10,000 tokens":
            assert last_line_has(r": line 1 has \d+ tokens, more than the 4096 that can be scored$", found.err)
        else:
            assert found.code == 0
        assert found.out.count(b"\n") == (0 if found.code else count(content))
        assert all(math.isfinite(float(number)) for number in found.out.split())


DROPPED = {
    "empty file": 0, "empty and blank lines": 5, "CRLF": 1, "BOM alone": 1, "a long word": 1, "10,000 tokens": 1,
    "NUL and control": 1,
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_training_reads_every_pair_and_reports_dropped_pairs(tmp_path: Path, name: str) -> None:
    good = "".join(f"{pair.source}\n" for pair in toy_pairs(20, 5)).encode()
    content = TEXTS[name] + (b"\n" if TEXTS[name] and not TEXTS[name].endswith(b"\n") else b"") + good
    (tmp_path / "a").write_bytes(content)
    (tmp_path / "b").write_bytes(b"eins zwei\n" * count(content))
    files = f"{{files: ['{tmp_path}/a', '{tmp_path}/b']}}"
    found = train(tmp_path, files)
    broken = 0
    if name in BROKEN:
        assert found.code == 1
        assert last_line_has(r"a, line \d is not UTF-8; fix it, or drop such lines from training with", found.err)
        broken = sum(line is None for line in read_lines(tmp_path / "a"))
        found = train(tmp_path, files, "data.undecodable=drop")
    assert found.code == 0
    report = json.loads((tmp_path / "run" / "data.json").read_text())["corpora"][0]
    assert report["read"] == count(content)
    assert report.get("undecodable", 0) == broken
    assert report["read"] - report["usable"] - broken == DROPPED.get(name, 0)


def test_one_pair_is_enough_and_none_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "one.tsv").write_text("one\teins\n")
    assert train(tmp_path, f"{{tsv: '{tmp_path}/one.tsv'}}").code == 0
    for text, sentence in (
        ("", "no text to learn a vocabulary from: every training line is empty"),
        ("\t\n \t \n", "no text to learn a vocabulary from: every training line is empty"),
        ("\teins\nzwei\t\n", "no training pair is left: .*: 0 of 2 pairs usable, 2 empty"),
        ("one " * 200 + "\teins\n", "no training pair is left: .*: 0 of 1 pairs usable, 1 too long"),
        ("one\n", "line 1 has 1 columns; expected source and target, separated by one tab"),
        ("a\tb\tc\n", "line 1 has 3 columns; expected source and target, separated by one tab"),
    ):
        (tmp_path / "x.tsv").write_text(text)
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        found = train(tmp_path, f"{{tsv: '{tmp_path}/x.tsv'}}")
        assert found.code == 1
        assert last_line_has(sentence, found.err), found.err


# ---- files that are not text ----------------------------------------------------------------------------


def bomb(lines: int = 1) -> bytes:
    """Return a few KB that decompress to a line of zeros longer than any text."""
    return gzip.compress(bytes(LONGEST_LINE + 1) + b"\n" * lines)


MANY = b"one\n" * 9000
FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "no such file"),
    "directory": (Path.mkdir, "is not a file"),
    "socket": (lambda path: bind(path), "is not a file"),
    "link to nothing": (lambda path: path.symlink_to("nowhere"), "no such file"),
    "link to itself": (lambda path: path.symlink_to(path), "no such file"),
    "gz by its first bytes only": (lambda path: path.write_bytes(b"\x1f\x8bnonsense"), "cannot be read to its end"),
    "xz by its first bytes only": (lambda path: path.write_bytes(b"\xfd7zXZ\x00nonsense"), "cannot be read to its end"),
    "bz2 by its first bytes only": (lambda path: path.write_bytes(b"BZh91AY&SYnonsense"), "cannot be read to its end"),
    "truncated gz": (lambda path: path.write_bytes(gzip.compress(MANY)[:-9]), "cannot be read to its end"),
    "truncated bz2": (lambda path: path.write_bytes(bz2.compress(MANY)[:-9]), "cannot be read to its end"),
    "truncated xz": (lambda path: path.write_bytes(lzma.compress(MANY)[:-9]), "cannot be read to its end"),
    "gz with a flipped bit": (lambda path: path.write_bytes(flipped(gzip.compress(b"one\n" * 99))), "cannot be read"),
    "gz bomb": (lambda path: path.write_bytes(bomb()), "line 1 is longer than 16 MiB, so it is not text"),
}


def bind(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # the path of a socket is limited to about 100 bytes
    socket.socket(socket.AF_UNIX).bind(path.name)
    os.chdir(before)


def flipped(content: bytes) -> bytes:
    return content[:-6] + bytes([content[-6] ^ 1]) + content[-5:]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("kind", FILES)
def test_files_that_are_not_text_are_reported(trained_run: Path, tmp_path: Path, kind: str) -> None:
    make, sentence = FILES[kind]
    make(tmp_path / "bad")
    bad = tmp_path / "bad"
    (tmp_path / "good").write_bytes(b"one\n" * 9000)
    files = f"{{files: ['{bad}', '{tmp_path}/good']}}"
    for found in (
        main("translate", trained_run, bad, *GREEDY),
        main("evaluate", trained_run, "--source", bad, "--reference", tmp_path / "good"),
        main("evaluate", trained_run, "--source", tmp_path / "good", "--reference", bad),
        main("score", trained_run, "--source", bad, "--target", tmp_path / "good"),
        train(tmp_path, files),
        train(tmp_path, f"{{tsv: '{bad}'}}"),
    ):
        assert found.code == 1
        assert last_line_has(
            f"{sentence}|is not a regular file, so it cannot be read twice|line 1 has 1 columns", found.err
        ), found.err


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # pipes stay open until exit
def test_compression_does_not_depend_on_the_file_name(trained_run: Path, tmp_path: Path) -> None:
    (tmp_path / "x.gz").write_bytes(b"one two\n")
    assert main("translate", trained_run, tmp_path / "x.gz").out == b"zwei eins\n"
    (tmp_path / "x.txt").write_bytes(gzip.compress(b"one two\n"))
    assert main("translate", trained_run, tmp_path / "x.txt").out == b"zwei eins\n"
    os.mkfifo(tmp_path / "pipe")
    for pack in ("cat", "gzip -c"):
        with subprocess.Popen(f"printf 'one two\\n' | {pack} > '{tmp_path}/pipe'", shell=True):
            assert main("translate", trained_run, tmp_path / "pipe").out == b"zwei eins\n"


@pytest.mark.parametrize(("sources", "references"), [(3, 2), (2, 3), (0, 1)])
def test_different_lengths_are_reported_with_both_numbers(
    trained_run: Path, tmp_path: Path, sources: int, references: int
) -> None:
    (tmp_path / "a").write_text("one\n" * sources)
    (tmp_path / "b").write_text("eins\n" * references)
    numbers = rf"a has {sources} lines but .*b has {references}"
    for found in (
        main("evaluate", trained_run, "--source", tmp_path / "a", "--reference", tmp_path / "b"),
        main("score", trained_run, "--source", tmp_path / "a", "--target", tmp_path / "b"),
        train(tmp_path, f"{{files: ['{tmp_path}/a', '{tmp_path}/b']}}"),
    ):
        assert found.code == 1
        assert last_line_has(numbers, found.err)


def test_rows_without_text_are_refused(tmp_path: Path) -> None:
    for row, sentence in (
        ({"en": 1, "de": "eins"}, "contains a value that is not text"),
        ({"en": ["one"], "de": "eins"}, "contains a value that is not text"),
        ({"translation": "one"}, "has the languages none, not en and de"),
        ({"translation": {"en": 1.5, "de": "eins"}}, "contains a value that is not text"),
        ({"translation": {"fr": "un", "de": "eins"}}, "has the languages de, fr, not en and de"),
        ({"fr": "un"}, "has columns fr; expected translation, or en and de"),
    ):
        (tmp_path / "x.json").write_text(json.dumps(row) + "\n")
        with pytest.raises(DataError, match=sentence):
            list(corpus.read_pairs(CorpusConfig(json=(str(tmp_path / "x.json"),)), "en", "de"))
    (tmp_path / "x.json").write_text('{"en": null, "de": "eins"}\n{"en": "two", "de": "zwei"}\n')
    found = list(corpus.read_pairs(CorpusConfig(json=(str(tmp_path / "x.json"),)), "en", "de"))
    assert found == [("", "eins"), ("two", "zwei")]
    for content in (b"", b"not json", b"\xff\xfe\x00", b"[" * 5000, b"PAR1" + bytes(100) + b"PAR1"):
        (tmp_path / "x.json").write_bytes(content)
        for kind in ("json", "parquet"):
            with pytest.raises(DataError):
                list(corpus.read_pairs(CorpusConfig(**{kind: (str(tmp_path / "x.json"),)}), "en", "de"))  # type: ignore[arg-type]


def test_surrogates_from_python_are_accepted(translator: Translator) -> None:
    lines = ["one \ud800 two", "\udfff", "one"]
    found = [each[0].text for each in translator.translate(lines)]
    assert len(found) == 3
    assert found[1] == ""
    assert "".join(found).encode()
    assert len(translator.score(lines, lines[::-1])) == 3


def test_what_a_model_cannot_spell_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_text("one two\teins zwei\n" * 9)
    assert train(tmp_path, f"{{tsv: '{tmp_path}/x.tsv'}}", "tokenizer.byte_fallback=false").code == 0
    found = main("translate", tmp_path / "run", *GREEDY, stdin="one\n日本\none\nяблоко\n".encode())
    assert found.out.count(b"\n") == 4
    assert found.err.count("line 2 has characters that are not in this model's vocabulary") == 1
    assert "line 4" not in found.err


# ---- bounds ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def little(shared_run: Path, tmp_path_factory: pytest.TempPathFactory) -> float:
    """The megabytes that one short line takes."""
    path = tmp_path_factory.mktemp("little") / "text"
    path.write_text("one\n")
    return measured("translate", shared_run, path, *GREEDY).megabytes


@pytest.mark.slow
def test_a_line_of_a_megabyte_is_translated_in_bounded_memory(trained_run: Path, tmp_path: Path, little: float) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"one\n" + b"one two three. " * 70_000 + b"\ntwo\n")
    found = measured("translate", trained_run, path, *GREEDY)
    assert found.outcome.code == 0
    first, _, last, end = found.outcome.out.split(b"\n")
    assert (first, last, end) == (b"eins", b"zwei", b"")
    assert "line 2 has" in found.outcome.err
    assert found.megabytes < little + 400
    assert found.seconds < 60


def test_a_line_of_a_megabyte_is_scored_by_refusing_it(trained_run: Path, tmp_path: Path, little: float) -> None:
    (tmp_path / "a").write_bytes(b"one\n" + b"one two three. " * 70_000)
    (tmp_path / "b").write_bytes(b"eins\nzwei\n")
    found = measured("score", trained_run, "--source", tmp_path / "a", "--target", tmp_path / "b")
    assert last_line_has(r"line 2 has \d+ tokens, more than the 4096 that can be scored", found.outcome.err)
    assert found.megabytes < little + 200
    prefixed = main("translate", trained_run, "--prefix", tmp_path / "a", *GREEDY, stdin=b"one\ntwo\n")
    assert last_line_has(r"the prefix of line 2 has \d+ tokens, more than 40", prefixed.err)


def test_lines_of_a_megabyte_do_no_harm_to_training(tmp_path: Path, little: float) -> None:
    pairs = "".join(f"{pair.source}\t{pair.target}\n" for pair in toy_pairs(20, 5))
    (tmp_path / "x.tsv").write_text(pairs + "x" * 10**6 + "\teins\n" + "one two three. " * 70_000 + "\teins\n")
    assert train(tmp_path, f"{{tsv: '{tmp_path}/x.tsv'}}", "--print-config").code == 0
    found = measured("train", tmp_path / "t.yaml", "--run", tmp_path / "run")
    assert found.outcome.code == 0
    assert "20 of 22 pairs usable, 2 too long" in found.outcome.err
    assert found.megabytes < little + 400
    assert found.seconds < 60


def test_a_vocabulary_is_not_learned_from_what_is_no_sentence() -> None:
    pairs = [(pair.source, pair.target) for pair in toy_pairs(30, 1)]
    cfg = TokenizerConfig(vocab_size=300, kind="unigram")
    assert (
        learn_tokenizer([*pairs, ("x" * 10**6, "eins")], cfg).models
        == learn_tokenizer([*pairs, ("", "eins")], cfg).models
    )
    with pytest.raises(DataError, match="every training line is empty or longer than 65536 characters"):
        learn_tokenizer([("x" * 10**5, "x" * 10**5)], cfg)


def test_many_long_lines_are_not_taken_together(translator: Translator, monkeypatch: pytest.MonkeyPatch) -> None:

    monkeypatch.setattr("transformer.decoding.batches.WINDOW_CHARACTERS", 100)
    lines = ["one two three " * 10] * 3 + ["one"] * 3
    read: list[int] = []

    def reading() -> Iterator[str]:
        for number, line in enumerate(lines):
            read.append(number)
            yield line

    found = translator.translate(reading())
    next(found)
    assert read == [0]
    assert len(list(found)) == 5


# ---- streams --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("redirection", "code", "out", "err"),
    [
        ("<&-", 0, b"", b""),
        (">&-", 1, b"", b"transformer translate: standard output is closed\n"),
        ("2>&-", 0, b"zwei eins\n", b""),
        pytest.param("2>/dev/full", 0, b"zwei eins\n", b"", marks=pytest.mark.slow),
    ],
)
def test_closed_streams(trained_run: Path, redirection: str, code: int, out: bytes, err: bytes) -> None:
    command = f"exec '{sys.executable}' -m transformer translate '{trained_run}' --beam 1 {redirection}"
    done = subprocess.run(["sh", "-c", command], input=b"one two\n", capture_output=True, check=False, env=ENVIRONMENT)
    assert (done.returncode, done.stdout, done.stderr) == (code, out, err)


# ---- fuzzing --------------------------------------------------------------------------------------------

BYTES = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=80).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.lists(st.sampled_from([*TEXTS.values()][:-2]), max_size=4).map(b"".join),
    st.lists(st.sampled_from([b"one", b" ", b"\n", b"\r", b"\x00", b"\xff", b"\xe2\x80\xa8", b"</s>"])).map(b"".join),
)
FUZZ = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def is_text(content: bytes) -> bool:
    """Return whether bytes are not taken for another format, or for compressed text."""
    return not what_it_is(content[:HEAD]) and not any(content.startswith(magic) for magic in OPENERS)


def fuzz_translate(run: Path, content: bytes) -> None:
    found = main("translate", run, *GREEDY, stdin=content)
    if not is_text(content):
        assert (found.code, found.out) == (1, b"")
        return
    assert found.code == 0
    assert found.out.count(b"\n") == count(content)
    assert len(found.out.decode().splitlines()) == count(content)


@settings(FUZZ, max_examples=40)
@given(BYTES)
def test_any_bytes_are_translated(trained_run: Path, content: bytes) -> None:
    fuzz_translate(trained_run, content)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@settings(FUZZ, max_examples=2500)
@given(BYTES)
def test_any_bytes_are_translated_thousands_of_times(trained_run: Path, content: bytes) -> None:
    fuzz_translate(trained_run, content)


def fuzz_others(run: Path, folder: Path, source: bytes, target: bytes) -> None:
    """Through `score`, `evaluate` and `translate FILE`: as many lines, or a sentence."""
    (folder / "a").write_bytes(source)
    (folder / "b").write_bytes(target)
    scored = main("score", run, "--source", folder / "a", "--target", folder / "b")
    assert scored.out.count(b"\n") == (0 if scored.code else count(source))
    files = ("--source", folder / "a", "--reference", folder / "b")
    evaluated = main("evaluate", run, *files, *GREEDY, "--json")
    assert evaluated.code or json.loads(evaluated.out)["sentences"] == count(source)
    translated = main("translate", run, folder / "a", *GREEDY)
    assert translated.out.count(b"\n") == (count(source) if is_text(source) else 0)


@settings(FUZZ, max_examples=15)
@given(BYTES, BYTES)
@example(b"one\n", b"\xff\n")
def test_any_files_are_scored_and_evaluated_or_refused(
    trained_run: Path, tmp_path: Path, source: bytes, target: bytes
) -> None:
    fuzz_others(trained_run, tmp_path, source, target)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@settings(FUZZ, max_examples=500)
@given(BYTES, st.one_of(BYTES, st.none()))
def test_any_files_are_scored_and_evaluated_or_refused_hundreds_of_times(
    trained_run: Path, tmp_path: Path, source: bytes, target: bytes | None
) -> None:
    fuzz_others(trained_run, tmp_path, source, b"eins\n" * count(source) if target is None else target)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@settings(FUZZ, max_examples=300)
@given(BYTES, st.sampled_from(["error", "drop"]))
def test_any_text_is_prepared_for_training_or_refused(tmp_path: Path, content: bytes, undecodable: str) -> None:
    (tmp_path / "a").write_bytes(content)
    (tmp_path / "b").write_bytes(b"eins\n" * count(content))
    files = f"{{files: ['{tmp_path}/a', '{tmp_path}/b']}}"
    found = train(tmp_path, files, "--dry-run", f"data.undecodable={undecodable}")
    assert found.code in (0, 1)


@pytest.mark.slow
@settings(FUZZ, max_examples=12)
@given(BYTES)
def test_any_bytes_are_translated_by_a_real_process(trained_run: Path, content: bytes) -> None:
    command = [*COMMAND, "translate", str(trained_run), *GREEDY]
    done = subprocess.run(command, input=content, capture_output=True, check=False, env=ENVIRONMENT)
    assert done.returncode == (not is_text(content))
    assert done.stdout.count(b"\n") == (count(content) if is_text(content) else 0)
    check_sentence(Outcome(done.returncode, done.stdout, done.stderr.decode()), "translate")


SCALARS = st.one_of(
    st.text(max_size=12), st.integers(), st.floats(), st.booleans(), st.none(), st.sampled_from(["en", "a.txt", "1e-4"])
)
TREES = st.recursive(
    SCALARS, lambda each: st.one_of(st.lists(each, max_size=4), st.dictionaries(st.text(max_size=6), each, max_size=4))
)
KEYS = [
    *config_file.flat(Config(data=DataConfig(source="en", target="de", train=()))),
    "data",
    "train",
    "model",
]
CONFIGS = st.one_of(
    st.binary(max_size=300),
    st.text("abc:{}[],-\n #&*!'\"|>%@`? 1.\t", max_size=120).map(str.encode),
    st.dictionaries(st.sampled_from(["data", "model", "train", "decode", "tokenizer", "x"]), TREES).map(
        lambda tree: json.dumps(tree).encode()
    ),
)
GOOD = b"data: {source: en, target: de, train: {files: [a, b]}}\n"


def fuzz_config(folder: Path, content: bytes, overrides: list[str]) -> None:
    path = folder / "fuzz.yaml"
    path.write_bytes(content)
    found = main("train", path, "--print-config", *overrides)
    assert found.code in (0, 2)
    if found.code == 0:
        path.write_bytes(found.out)
        assert main("train", path, "--print-config").out == found.out


OVERRIDES = st.lists(st.tuples(st.sampled_from(KEYS), TREES).map(lambda pair: f"{pair[0]}={pair[1]}"), max_size=2)


@settings(FUZZ, max_examples=40)
@given(st.one_of(CONFIGS, st.just(GOOD)), OVERRIDES)
def test_any_configuration_is_read_or_refused(tmp_path: Path, content: bytes, overrides: list[str]) -> None:
    fuzz_config(tmp_path, content, overrides)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@settings(FUZZ, max_examples=2500)
@given(st.one_of(CONFIGS, st.just(GOOD)), OVERRIDES)
def test_any_configuration_is_read_or_refused_thousands_of_times(
    tmp_path: Path, content: bytes, overrides: list[str]
) -> None:
    fuzz_config(tmp_path, content, overrides)


@pytest.mark.parametrize(
    "content",
    [b"[" * 10**6, b"{a: " * 10**5, b"- " * 10**5, b"? " * 10**5, b"a: " + b"x" * 2**21, b"\n" * 2**21],
    ids=["lists", "sections", "items", "keys", "a long value", "lines"],
)
def test_a_configuration_takes_no_time_to_refuse(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "c.yaml").write_bytes(content)
    watch = time.monotonic()
    with pytest.raises(ConfigError, match="nested too deeply|larger than a configuration can be|not valid YAML"):
        config_file.load(tmp_path / "c.yaml")
    assert time.monotonic() - watch < 2


def test_a_configuration_is_not_read_to_its_end(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="larger than a configuration can be"):
        config_file.load(Path("/dev/zero"))
    assert write_pairs(tmp_path, "x", [])
