"""Corpora that models make: what they are, kills, other processes, resuming without the model, the dry run."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import random
import re
import shutil
import signal
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.command import main
from support.together import Group, together
from support.toy import CPU, toy_pairs, write_pairs

from transformer import config_file
from transformer.config import Config
from transformer.data.corpus import Pair, read_pairs
from transformer.data.lines import read_text
from transformer.data.prepare import check_corpora
from transformer.data_config import DataConfig
from transformer.decoding.loading import load_translator
from transformer.errors import CheckpointError, ConfigError, DataError, TransformerError
from transformer.evaluation.frequencies import word_frequencies
from transformer.evaluation.systems import TextChoice, text_to_check
from transformer.runs.run import Run, open_run
from transformer.runs.training_text import trained_corpora
from transformer.synthesis import making
from transformer.synthesis.ahead import look_ahead
from transformer.synthesis.making import Made, make_corpora
from transformer.synthesis.parts import Parts, read_part
from transformer.synthesis.teacher import Translating, closest
from transformer.system.distributed import Ranks
from transformer.training.dry_run import dry_run
from transformer.training.session import train

LINES = [pair.source for pair in toy_pairs(95, 21)]
STEP = "step-00000150"


def data_of(corpora: str, source: str = "en", target: str = "de", more: str = "") -> DataConfig:
    text = f"data: {{source: {source}, target: {target}, train: {corpora}{more}}}"
    return config_file.read(text, "a test").data


def forward(text: Path, model: Path | str, more: str = "") -> str:
    return f"{{forward: {{text: '{text}', model: '{model}'{more}}}}}"


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def make(data: DataConfig, cache: Path, *recorded: str) -> Made:
    return make_corpora(data, cache, CPU, Ranks(), recorded=recorded)


def pairs_of(made: Made, number: int = 0) -> list[Pair]:
    files = made.data.train[number].files
    assert files is not None
    return [Pair(*pair) for pair in zip(*(read_text(Path(name)) for name in files), strict=True)]


def translated(run: Path, lines: list[str], *overrides: str) -> list[str]:
    _, translator, _ = load_translator(run, overrides, CPU)
    return [found[0].text for found in translator.translate(lines)]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of the first line of each part that is translated."""
    found: list[int] = []
    pairs = Translating.rows

    def noted(self: Translating, lines: Any, first: int) -> Any:
        found.append(first)
        return pairs(self, lines, first)

    monkeypatch.setattr(Translating, "rows", noted)
    monkeypatch.setattr("transformer.synthesis.parts.PART", 10)
    return found


def test_text_is_translated_and_back_translated(trained_run: Path, tmp_path: Path, said: list[str]) -> None:
    """The text is the source side of one, and the target side of the other. Order is kept; files may be compressed."""
    texts = write(tmp_path / "a.txt", LINES[:50]), tmp_path / "b.gz"
    texts[1].write_bytes(gzip.compress("".join(f"{line}\n" for line in LINES[50:]).encode()))
    both = f"[{', '.join(map(str, texts))}]"
    german = translated(trained_run, LINES, "decode.beam=4")
    made = make(data_of(f"{{forward: {{text: {both}, model: {trained_run}}}, weight: 2}}"), tmp_path / "cache")
    assert pairs_of(made) == [Pair(*pair) for pair in zip(LINES, german, strict=True)]
    assert made.data.train[0].weight == 2
    back = data_of(f"{{back_translate: {{text: {both}, model: {trained_run}}}}}", "de", "en")
    made = make(back, tmp_path / "cache")
    assert pairs_of(made) == [Pair(*pair) for pair in zip(german, LINES, strict=True)]
    assert "a.txt + b.gz back-translated by run (beam 4): 95 pairs of 95 lines" in said
    assert made.facts["synthetic"][0]["models"][0]["checkpoint"] == "step-00000600"


def test_lines_that_cannot_become_pairs_are_counted(
    trained_run: Path, tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = write(tmp_path / "a.txt", ["one", "", "two \t ", "  ", "three " * 60, "four"])
    with text.open("ab") as stream:
        stream.write(b"\xff\n")
    corpus = forward(text, trained_run)
    with pytest.raises(DataError, match="line 7 is not UTF-8"):
        make(data_of(corpus), tmp_path / "cache")
    translate = Translating.rows

    def nothing_for_four(self: Translating, lines: Any, first: int) -> Any:
        decode = self.translator.tokenizer.decode
        monkeypatch.setattr(
            self.translator.tokenizer, "decode", lambda ids: ["" if t == "vier" else t for t in decode(ids)]
        )
        return translate(self, lines, first)

    monkeypatch.setattr(Translating, "rows", nothing_for_four)
    made = make(data_of(corpus, more=", undecodable: drop"), tmp_path / "cache")
    assert pairs_of(made) == [("one", "eins"), ("two \t ", "zwei")]
    assert made.facts["synthetic"][0]["left out"] == {
        "empty": 2,
        "empty translation": 1,
        "too long": 1,
        "undecodable": 1,
    }
    assert any("2 pairs of 7 lines; left out: 2 empty, 1 empty translation, 1 too long, 1 und" in line for line in said)
    with pytest.raises(DataError, match="none.txt is empty"):
        make(data_of(forward(write(tmp_path / "none.txt", []), trained_run)), tmp_path / "cache")


def test_an_ensemble_distills_and_the_closest_hypothesis_is_picked(trained_run: Path, tmp_path: Path) -> None:
    given = [Pair(line, "null null") for line in LINES[:40]]
    files = write_pairs(tmp_path, "own", given)
    names = [str(trained_run), f"{trained_run}/checkpoints/step-00000450"]
    ensemble = f"decode.ensemble=[{names[1]}]"
    settings = f"files: {files}, model: [{', '.join(names)}], beam: 3"
    best = pairs_of(make(data_of(f"{{distill: {{{settings}}}}}"), tmp_path / "cache"))
    expected = translated(trained_run, LINES[:40], "decode.beam=3", ensemble)
    assert best == [Pair(*pair) for pair in zip(LINES[:40], expected, strict=True)]
    picked = pairs_of(make(data_of(f"{{distill: {{{settings}, pick: chrf}}}}"), tmp_path / "cache"))
    _, translator, _ = load_translator(trained_run, ["decode.beam=3", ensemble], CPU)
    nbest = list(translator.translate(LINES[:40], 3))
    assert [pair.target for pair in picked] == [closest(found, "null null") for found in nbest]
    assert picked != best
    assert all(any(each.text == pair.target for each in found) for pair, found in zip(picked, nbest, strict=True))


TMX = "<tmx><body>{}</body></tmx>"
UNIT = '<tu><tuv xml:lang="de"><seg>{}</seg></tuv><tuv xml:lang="en-GB"><seg>{}</seg></tuv></tu>'


def named(kind: str, folder: Path, lines: list[str]) -> str:
    """Write a corpus of a kind with these source lines, and return how it is named in a configuration."""
    if kind == "zip":
        with zipfile.ZipFile(folder / "a.zip", "w") as file:
            for code, side in (("en", lines), ("de", ["x"] * len(lines))):
                file.writestr(f"a.{code}", "".join(f"{line}\n" for line in side))
    text = {
        "tsv": "".join(f"{line}\tnone\tx\n" for line in ("en", *lines)).replace("en\tnone\tx", "en\tother\tde", 1),
        "tmx": TMX.format("".join(UNIT.format("x", line) for line in lines)),
        "json": "".join(json.dumps({"en": line.replace(" ", "\r\n"), "de": "x\ny"}) + "\n" for line in lines),
    }
    if kind in text:
        (folder / f"a.{kind}").write_text(text[kind], encoding="utf-8")
    return f"{kind}: {folder}/a.{kind}" + (", columns: [en, de]" if kind == "tsv" else "")


@pytest.mark.parametrize("kind", ["tsv", "zip", "tmx", "json"])
def test_what_is_distilled_is_named_as_any_corpus(
    trained_run: Path, tmp_path: Path, kind: str, said: list[str]
) -> None:
    text = named(kind, tmp_path, LINES[:12])
    if kind == "tmx":
        file = tmp_path / "a.tmx"
        alone = "<tu><tuv xml:lang='en'><seg>x</seg></tuv></tu>"
        file.write_text(file.read_text(encoding="utf-8").replace("<body>", f"<body>{alone}"), encoding="utf-8")
    data = data_of(f"{{distill: {{{text}, model: {trained_run}, beam: 1}}, weight: 2}}")
    _, ahead = look_ahead(data, tmp_path / "cache")
    assert ahead[0].endswith("12 of 12 lines to translate; the dry run has the text instead")
    made = make(data, tmp_path / "cache")
    german = translated(trained_run, LINES[:12], "decode.beam=1")
    assert pairs_of(made) == [Pair(*pair) for pair in zip(LINES, german, strict=False)]
    left = "12 pairs of 13 lines; left out: 1 lacks a language" if kind == "tmx" else "12 pairs of 12 lines"
    assert f"a.{kind} distilled by run (beam 1): {left}" in said
    with pytest.raises(DataError, match=f"no such file: .*none.{kind}"):
        check_corpora(data_of(f"{{distill: {{{text.replace('/a.', '/none.')}, model: {trained_run}}}}}"))


def test_samples_are_drawn_as_asked_for(trained_run: Path, tmp_path: Path) -> None:
    text = write(tmp_path / "a.txt", LINES[:30])
    found = {}
    for name, more in (
        ("hot", "sampling: true, temperature: 3"),
        ("cold", "sampling: true, temperature: 0.01"),
        ("one", "sampling: true, temperature: 3, top_k: 1"),
        ("beam", "beam: 1"),
    ):
        section = f"{{back_translate: {{text: {text}, model: {trained_run}, {more}}}}}"
        made = make(data_of(section, "de", "en"), tmp_path / "cache")
        found[name] = [pair.source for pair in pairs_of(made)]
        assert made.facts["synthetic"][0]["name"].endswith("(beam 1)" if name == "beam" else ")")
    assert found["cold"] == found["one"] == found["beam"] != found["hot"]


def test_a_corpus_is_made_once_and_anew_when_something_has_changed(
    trained_run: Path, tmp_path: Path, calls: list[int]
) -> None:
    text, cache = write(tmp_path / "a.txt", LINES), tmp_path / "cache"
    make(data_of(forward(text, trained_run)), cache)
    assert calls == [1, 11, 21, 31, 41, 51, 61, 71, 81, 91]
    moved = shutil.copytree(trained_run, tmp_path / "moved")
    other = write(tmp_path / "b.txt", LINES)
    (finished,) = cache.glob("synthetic-*")
    finished.with_name(f"{finished.name}.parts").mkdir()  # by a process that was killed while it removed them
    make(data_of(f"[{forward(other, moved)}, {forward(text, trained_run)}]"), cache)
    assert len(calls) == 10
    assert len(list(cache.glob("synthetic-*"))) == 1  # no parts are left
    for different in (
        forward(text, trained_run, ", beam: 2"),
        forward(text, f"{trained_run}/checkpoints/{STEP}"),
        forward(write(tmp_path / "c.txt", [*LINES[:94], "one"]), trained_run),
    ):
        calls.clear()
        make(data_of(different), cache)
        assert len(calls) == 10


def test_a_model_that_does_not_fit_is_refused(trained_run: Path, tmp_path: Path) -> None:
    text = write(tmp_path / "a.txt", LINES[:3])
    with pytest.raises(ConfigError, match="forward.model: .* translates from en to de, and here a model from de to en"):
        make(data_of(forward(text, trained_run), "de", "en"), tmp_path / "cache")
    make(data_of(forward(text, trained_run), "eng", "deu_Latn"), tmp_path / "cache")
    with pytest.raises(CheckpointError, match="is not a run directory"):
        make(data_of(forward(text, tmp_path / "none")), tmp_path / "cache")
    empty = shutil.copytree(trained_run, tmp_path / "empty")
    for checkpoint in (empty / "checkpoints").iterdir():
        shutil.rmtree(checkpoint)
    with pytest.raises(CheckpointError, match="no checkpoint in .* can be used"):
        make(data_of(forward(text, empty)), tmp_path / "cache")


@pytest.mark.parametrize(
    ("corpora", "sentence"),
    [
        ("{distill: {files: [a], model: m}}", r"data.train.distill.files needs two files, source and target, not 1"),
        (
            "{distill: {files: [a, b], tsv: c, model: m}}",
            "data.train.distill must name exactly one of .* not files and t",
        ),
        ("{distill: {files: [a, b], version: v1, model: m}}", "data.train.distill.version is for opus, not for files"),
        ("{distill: {files: [a, b], model: m}, tsv: c}", "exactly one of .*, not tsv and distill"),
        ("{forward: {text: a}}", "data.train.forward.model is missing"),
        ("{tsv: a}, valid: {forward: {text: a, model: m}}", "data.valid must be text that is there; only data.train"),
    ],
)
def test_contradictory_settings_are_refused(corpora: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        data_of(corpora)


def test_a_configuration_is_written_as_it_was_read(tmp_path: Path) -> None:
    text = "{back_translate: {text: [a, b], model: m, sampling: true, top_k: 5}, weight: 0.5}"
    cfg = config_file.read(f"data: {{source: en, target: de, train: {text}}}", "a test")
    assert config_file.read(config_file.dump(cfg), "again") == cfg
    assert "top_k: 5" in config_file.dump(cfg)


# ---- kills, processes, resuming ---------------------------------------------------------------------------


@contextlib.contextmanager
def forked(data: DataConfig, cache: Path) -> Iterator[int]:
    """Yield the id of a child process that makes the corpora, and kill it."""
    if (pid := os.fork()) == 0:
        with contextlib.suppress(BaseException):
            make(data, cache)
        os._exit(0)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def states(cache: Path) -> dict[str, tuple[int, int]]:
    """Return inode and time of change of each part."""
    found = {}
    for path in cache.glob("synthetic-*.parts/part-*"):
        with contextlib.suppress(FileNotFoundError):
            found[path.name] = (path.stat().st_ino, path.stat().st_mtime_ns)
    return found


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forking a process that has threads
def test_kills_lose_no_part_and_leave_no_trace(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformer.synthesis.parts.PART", 3)
    lines = [line if i % 7 else "" for i, line in enumerate(LINES)]
    data = data_of(forward(write(tmp_path / "a.txt", lines), trained_run))
    undisturbed = make(data, tmp_path / "calm")
    rng, cache, before, kills = random.Random(5), tmp_path / "cache", dict[str, tuple[int, int]](), 0
    while not list(cache.glob("synthetic-*/synthetic.json")):
        with forked(data, cache):
            end, start, more = time.monotonic() + 30, len(before), rng.randint(1, 8)
            while len(states(cache)) < start + more and not list(cache.glob("synthetic-*/synthetic.json")):
                assert time.monotonic() < end
            time.sleep(rng.random() * 0.01)
        now = states(cache)
        if not list(cache.glob("synthetic-*/synthetic.json")):
            assert len(now) > len(before)
            assert {name: now[name] for name in before} == before
        before, kills = now, kills + 1
    assert kills >= 4
    made = make(data, cache)
    assert [each.name for each in cache.iterdir() if each.is_dir()] == [
        f"synthetic-{made.facts['synthetic'][0]['key']}"
    ]
    for name in ("source.txt", "target.txt", "synthetic.json"):
        calm, killed = (
            folder / f"synthetic-{made.facts['synthetic'][0]['key']}" / name for folder in (tmp_path / "calm", cache)
        )
        assert calm.read_bytes() == killed.read_bytes()
    known = dict(zip(lines, translated(trained_run, lines, "decode.beam=4"), strict=True))
    assert all(pair.target == known[pair.source] for pair in pairs_of(undisturbed))


def test_a_damaged_part_is_made_anew(
    trained_run: Path, tmp_path: Path, calls: list[int], said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, cache = data_of(forward(write(tmp_path / "a.txt", LINES[:25]), trained_run)), tmp_path / "cache"
    with monkeypatch.context() as patch:
        patch.setattr(Parts, "finish", lambda *_: pytest.fail("stopped"))
        with pytest.raises(pytest.fail.Exception):
            make(data, cache)
    first, second, _ = sorted(cache.glob("*.parts/part-*"))
    first.write_bytes(first.read_bytes()[:-20])
    second.write_bytes(b"\xff")
    assert read_part(second) is None
    calls.clear()
    assert len(pairs_of(make(data, cache))) == 25
    assert calls == [1, 11]
    assert any("part-000000.jsonl is damaged, and is made anew" in line for line in said)
    assert any("20 lines with run/step-00000600; 5 are translated already" in line for line in said)


def test_several_processes_make_what_one_makes(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one whose disk is its own. Each translates a share of the parts."""
    monkeypatch.setattr("transformer.synthesis.parts.PART", 10)
    data = data_of(forward(write(tmp_path / "a.txt", LINES), trained_run))
    alone = pairs_of(make(data, tmp_path / "alone"))
    caches = [tmp_path / "shared", tmp_path / "shared", tmp_path / "own"]

    def work(ranks: Ranks) -> Any:
        mine = []
        pairs = Translating.rows

        def noted(self: Translating, lines: Any, first: int) -> Any:
            mine.append(first)
            return pairs(self, lines, first)

        monkeypatch.setattr(Translating, "rows", noted)
        made = make_corpora(data, caches[ranks.rank], CPU, ranks, writes=ranks.rank != 1)
        return [mine, pairs_of(made)]

    found = together(3, tmp_path, work)
    assert [mine for mine, _ in found] == [[1, 31, 61, 91], [11, 41, 71], [21, 51, 81]]
    assert all([Pair(*pair) for pair in pairs] == alone for _, pairs in found)

    def other(ranks: Ranks) -> Any:
        text = write(tmp_path / f"{ranks.rank}.txt", LINES[ranks.rank :])
        return len(pairs_of(make_corpora(data_of(forward(text, trained_run)), tmp_path / "x", CPU, ranks)))

    sentence = "differ in data.train.forward (its text, model or settings)"
    assert all(sentence in each for each in together(2, tmp_path, other))


def test_a_corpus_that_is_removed_meanwhile_is_missed(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformer.synthesis.making._send", lambda _, folder, *rest: shutil.rmtree(folder))
    with pytest.raises(DataError, match="was removed while it was in use; run the same command again"):
        make(data_of(forward(write(tmp_path / "a.txt", LINES[:2]), trained_run)), tmp_path / "cache")


def test_what_is_done_is_said_when_work_ends_early(
    trained_run: Path, tmp_path: Path, calls: list[int], said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a text that becomes shorter after its lines were counted."""
    text, chunks = write(tmp_path / "a.txt", LINES), making._chunks

    def shorter(*args: Any) -> Iterator[Any]:
        return ((number, lines if number < 3 else lines[:1]) for number, lines in chunks(*args))

    monkeypatch.setattr(making, "_chunks", shorter)
    with pytest.raises(DataError, match="a.txt has changed while it was read; run the same command again"):
        make(data_of(forward(text, trained_run)), tmp_path / "cache")
    assert "a.txt: 30 of 95 lines are translated and kept; the same command goes on from there" in said


def student(tiny: Config, trained_run: Path, tmp_path: Path, *wishes: str) -> Config:
    made = forward(write(tmp_path / "a.txt", LINES), tmp_path / "teacher")
    corpora = f"[{made}, {{files: {write_pairs(tmp_path, 'own', toy_pairs(60, 3))}}}]"
    if not (tmp_path / "teacher").exists():
        shutil.copytree(trained_run, tmp_path / "teacher")
    return config_file.override(tiny, [f"data.train={corpora}", "train.max_steps=6", *wishes])


def test_a_run_is_resumed_without_its_teacher(
    tiny: Config, trained_run: Path, tmp_path: Path, calls: list[int], said: list[str]
) -> None:
    cfg, run = student(tiny, trained_run, tmp_path), tmp_path / "runs" / "run"
    train(config_file.override(cfg, ["train.max_steps=3"]), run, CPU)
    report = json.loads((run / "data.json").read_text())
    assert report["corpora"][0]["name"] == "a.txt translated by teacher (beam 4)"
    assert report["corpora"][0]["read"] == 95
    (made,) = report["synthetic"]
    assert made["names"] == [str(tmp_path / "teacher")]
    assert made["pairs"] == 95
    card = (run / "README.md").read_text()
    made_by = "- Made by a model: a.txt translated by teacher (beam 4). 95 pairs of 95 lines. Model: teacher/step-"
    assert made_by in card
    assert config_file.load(run / "config.yaml").data.train[0].forward is not None
    (tmp_path / "teacher" / "best").write_text(f"{STEP}\n")  # trained on since
    train(config_file.override(cfg, ["train.max_steps=4"]), run, CPU)
    shutil.rmtree(tmp_path / "teacher")
    assert train(cfg, run, CPU) == "all 6 steps are done"
    assert len(calls) == 10
    train(cfg, tmp_path / "runs" / "new", CPU)
    assert any("no such directory; what it has made before is used: " in line for line in said)
    assert len(calls) == 10
    german = {pair.target for pair in pairs_of(make(cfg.data, tmp_path / "runs" / "prepared"))}
    counted = word_frequencies(open_run(run), [Pair("", text) for text in german])
    assert counted is not None
    assert min(counted.values()) > 0
    assert text_to_check(replace_valid(open_run(run)), TextChoice("")).pairs[0].source == LINES[0]
    shutil.rmtree(tmp_path / "runs" / "prepared")
    assert trained_corpora(open_run(run))[0].synthetic is None
    (run / "data.json").unlink()
    assert trained_corpora(open_run(run))[0].synthetic is not None
    with pytest.raises(TransformerError, match="teacher is not a run directory: no such directory"):
        train(cfg, tmp_path / "runs" / "other", CPU)


def replace_valid(run: Run) -> Run:
    """Return a run that has no text but that of its training."""
    return replace(run, config=replace(run.config, data=replace(run.config.data, valid=None, test=None)))


def test_several_processes_train_on_what_they_have_made(
    tiny: Config, trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformer.synthesis.parts.PART", 30)
    cfg = student(tiny, trained_run, tmp_path, "train.max_steps=2", "train.validate_text=false")
    runs = [tmp_path / name / "run" for name in ("a", "b")]
    for run in runs:
        run.parent.mkdir()
    done = Group(2, tmp_path, lambda rank: train(cfg, runs[rank], CPU), LOCAL_RANK="0").results()
    assert done == ["all 2 steps are done"] * 2
    (folder,) = (tmp_path / "a" / "prepared").glob("synthetic-*")
    copied = tmp_path / "b" / "prepared" / folder.name / "target.txt"
    assert copied.read_bytes() == (folder / "target.txt").read_bytes()
    assert len(copied.read_bytes().splitlines()) == 95


def test_a_dry_run_translates_nothing(tiny: Config, trained_run: Path, tmp_path: Path, calls: list[int]) -> None:
    cfg, run = student(tiny, trained_run, tmp_path), tmp_path / "runs" / "run"
    name = "a.txt translated by teacher (beam 4)"
    said = dry_run(cfg, run, CPU)
    assert f"synthetic corpus  {name}: 95 of 95 lines to translate; the dry run has the text instead" in said
    assert "training pairs    155" in said
    assert calls == []
    train(cfg, run, CPU)
    (again,) = [line for line in dry_run(cfg, run, CPU) if line.startswith("synthetic corpus")]
    assert re.search(r"made already, \d+ pairs of 95 lines", again), again
    pairs = f"{{distill: {{files: {write_pairs(tmp_path, 'd', toy_pairs(30, 4))}, model: {trained_run}}}}}"
    lines = dry_run(config_file.override(cfg, [f"data.train={pairs}"]), run, CPU)
    ahead = "30 of 30 lines to translate; the dry run has the text instead"
    assert f"synthetic corpus  d.en distilled by run (beam 8): {ahead}" in lines
    assert "training pairs    30" in lines


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            "sampling: true, beam: 8",
            "beam is for the search, and data.train.back_translate.sampling draws",
        ),
        ("temperature: 0.5", "data.train.back_translate: temperature and top_k need sampling: true"),
        ("top_k: 5", "temperature and top_k need sampling: true"),
    ],
)
def test_settings_that_would_be_ignored_are_refused(settings: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        data_of(f"{{back_translate: {{text: a, model: b, {settings}}}}}")


def test_a_dry_run_does_not_compare_a_text_with_itself(tiny: Config, trained_run: Path, tmp_path: Path) -> None:
    """The first corpus would be empty, and its phase without a pair."""
    text = forward(write(tmp_path / "a.txt", LINES), trained_run).removesuffix("}")
    more = f"{{files: {write_pairs(tmp_path, 'd', toy_pairs(30, 4))}, from: 2}}"
    cfg = config_file.override(tiny, [f"data.train=[{text}, filters: {{identical: drop}}, until: 2}}, {more}]"])
    lines = dry_run(cfg, tmp_path / "runs" / "run", CPU)
    name = f"a.txt translated by {trained_run.name} (beam 4)"
    assert any(line.endswith("has the text instead, as both sides and without filters") for line in lines)
    assert "training pairs    125" in lines
    assert f"phase             updates 1 to 2: {name}" in lines


def test_what_is_made_is_not_read_by_others(tiny: Config, trained_run: Path, tmp_path: Path) -> None:
    text = tmp_path / "none.txt"
    outcome = main("train", student_file(tiny, forward(text, trained_run), tmp_path), "--run", tmp_path / "r")
    assert outcome.err.strip().endswith(f"no such file: {text}")
    (each,) = data_of(forward(write(text, LINES), trained_run)).train
    with pytest.raises(DataError, match="the translations of none.txt are made by `train`, which alone reads them"):
        list(read_pairs(each, "en", "de"))


def student_file(tiny: Config, corpora: str, tmp_path: Path) -> Path:
    path = tmp_path / "student.yaml"
    path.write_text(config_file.dump(config_file.override(tiny, [f"data.train={corpora}"])))
    return path
