"""The Python interface: its names, the cost of importing it, and that it has no side effects on the program."""

from __future__ import annotations

import contextlib
import doctest
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, assert_type

import pytest

import transformer
from transformer import api, config_file
from transformer.cli import main as cli
from transformer.decoding.translator import Translator

PUBLIC = """
    Check CheckpointError Comparison ConfigError DataError DeviceError Evaluation Export Import Model
    TrainingResult TransformerError Translation __version__ check compare evaluate export import_model load train
"""


def test_the_public_names_of_the_package() -> None:
    assert transformer.__all__ == PUBLIC.split()
    assert set(transformer.__all__) <= set(dir(transformer))
    for name in transformer.__all__:
        assert getattr(transformer, name) is not None
        assert name == "__version__" or getattr(transformer, name).__doc__
    with pytest.raises(AttributeError, match="module 'transformer' has no attribute 'translate'"):
        transformer.translate  # type: ignore[attr-defined]  # noqa: B018
    assert (Path(transformer.__file__).parent / "py.typed").exists()


def test_all_errors_share_a_base_class() -> None:
    kinds = (transformer.CheckpointError, transformer.ConfigError, transformer.DataError, transformer.DeviceError)
    assert all(issubclass(kind, transformer.TransformerError) for kind in kinds)


def test_importing_is_quick_and_needs_no_torch() -> None:
    code = (
        "import sys, time; start = time.process_time(); import transformer; transformer.TransformerError;"
        "print(time.process_time() - start, *sys.modules)"
    )
    found = [
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
        for _ in range(3)
    ]
    assert min(float(seconds) for seconds, *_ in found) < 0.05
    for _, *loaded in found:
        assert not {"torch", "numpy", "yaml", "transformer.api"} & set(loaded)


@pytest.fixture(scope="module")
def model(shared_run: Path) -> transformer.Model:
    return transformer.load(shared_run, device="cpu")


@pytest.fixture
def folder(trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a working directory as the examples expect it."""
    shutil.copytree(trained_run, tmp_path / "runs" / "mine")
    shutil.copy(trained_run / "config.yaml", tmp_path / "config.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


EXAMPLES = [test for test in doctest.DocTestFinder().find(api, globs={"transformer": transformer}) if test.examples]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda test: test.name)
def test_examples_of_the_documentation(example: doctest.DocTest, folder: Path) -> None:
    assert doctest.DocTestRunner(optionflags=doctest.REPORT_NDIFF).run(example).failed == 0


def test_every_function_of_the_interface_has_an_example() -> None:
    names = {test.name.removeprefix("transformer.api.") for test in EXAMPLES}
    assert names == {
        "Model.translate",
        "Model.score",
        "load",
        "evaluate",
        "compare",
        "check",
        "export",
        "import_model",
        "train",
    }


def test_the_types_are_exact(model: transformer.Model) -> None:
    assert_type(model.translate(["one"]), list[transformer.Translation])
    assert_type(model.score(["one"], ["eins"]), list[transformer.Translation])
    assert_type(model.checkpoint, str)


def test_translate_agrees_with_the_translator(model: transformer.Model, translator: Translator) -> None:
    lines = ["one two three", "", "seven"]
    best = model.translate(lines)
    assert [str(each) for each in best] == ["drei zwei eins", "", "sieben"]
    assert all(each.alternatives == () for each in best)
    many = model.translate(iter(lines), nbest=3)
    for one, expected in zip(many, translator.translate(lines, 3), strict=True):
        found = [(each.text, each.score, each.log_prob) for each in (one, *one.alternatives)]
        assert found == [(each.text, each.score, each.log_prob) for each in expected]
    assert model.translate(["one two"], prefixes=["eins"])[0].text.startswith("eins")
    assert model.translate([]) == []


def test_score_agrees_with_translate_in_the_interface(trained_run: Path) -> None:
    exact = transformer.load(trained_run, {"decode.precision": "float32"}, device="cpu")
    lines = ["one two three", "seven"]
    best = exact.translate(lines)
    scored = exact.score(lines, [each.text for each in best])
    assert [each.score for each in scored] == pytest.approx([each.score for each in best], abs=1e-4)
    assert [each.tokens for each in scored] == [each.tokens for each in best]


def test_a_model_describes_itself(model: transformer.Model, trained_run: Path) -> None:
    assert (model.source, model.target, model.path) == ("en", "de", trained_run)
    assert model.checkpoint.startswith("step-")
    assert model.precision in ("int8", "bfloat16", "float32")
    assert repr(model) == f"<transformer.Model en to de: {trained_run}, {model.checkpoint}>"


def test_a_named_checkpoint_is_used(trained_run: Path) -> None:
    assert transformer.load(trained_run, device="cpu", checkpoint="last").checkpoint == "step-00000600"


@pytest.mark.parametrize(
    ("value", "expected"),
    [(8, 8), (0.5, 0.5), (1e-9, 1e-9), (True, True), (None, None), ("no", "no"), ("null", "null"), ("a: [b]",) * 2],
)
def test_overrides_are_python_values(value: object, expected: object, tiny_file: Path) -> None:
    key = {int: "decode.beam", float: "train.adam_epsilon", bool: "model.output_bias", str: "data.source"}
    dotted = key.get(type(value), "train.patience")
    (text,) = api._texts({dotted: value})
    assert config_file.flat(config_file.load(tiny_file, [text]))[dotted] == expected


def test_overrides_may_be_paths_lists_and_sections(tiny_file: Path, tmp_path: Path) -> None:
    cfg = config_file.load(tiny_file)
    assert cfg.data.valid is not None
    assert cfg.data.valid.files is not None
    paths = [Path(each) for each in cfg.data.valid.files]
    texts = api._texts({"data.prepared_dir": tmp_path, "data.train": [{"files": paths, "weight": 2}]})
    changed = config_file.load(tiny_file, texts)
    assert changed.data.prepared_dir == str(tmp_path)
    assert changed.data.train[0].files == cfg.data.valid.files


def test_evaluate_agrees_with_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = folder / "runs" / "mine"
    found = transformer.evaluate(run, split="valid", device="cpu")
    assert not (run / "evaluations").exists()
    saved = transformer.evaluate(run, split="valid", device="cpu", save=True)
    assert (run / "evaluations" / "valid.txt").read_text().splitlines() == found.translations == saved.translations
    capsys.readouterr()
    assert cli.main(["evaluate", str(run), "--split", "valid", "--device", "cpu", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed.pop("translated") == json.loads((run / "evaluations" / "valid.json").read_text())["time"]
    assert saved.as_json() == printed
    assert found.as_json().keys() == printed.keys()


MISTAKES: dict[str, tuple[Any, type[Exception], str]] = {
    "no run": (lambda m: transformer.load("nowhere"), transformer.CheckpointError,
               "nowhere is not a run directory: no such directory"),
    "no mapping": (lambda m: transformer.load(m.path, ["decode.beam=4"]), TypeError,  # type: ignore[arg-type]
                   'overrides must be a mapping such as {"decode.beam": 8}'),
    "a key": (lambda m: transformer.load(m.path, {"decode.beams": 4}), transformer.ConfigError,
              "unknown key decode.beams; did you mean decode.beam? (command line)"),
    "a device": (lambda m: transformer.load(m.path, device="quantum"), transformer.DeviceError,
                 "unknown device 'quantum'; use auto, cpu, cuda or cuda:N"),
    "nbest and beam": (lambda m: m.translate(["one"], nbest=99), transformer.ConfigError,
                       "99 translations need a beam of at least 99, not 4"),
    "nbest": (lambda m: m.translate(["one"], nbest=0), transformer.ConfigError, "nbest must be at least 1, not 0"),
    "missing": (lambda m: m.translate(["one", None]), TypeError, "lines[1] must be a string, not NoneType"),
    "bytes": (lambda m: m.score([b"one"], ["eins"]), TypeError, "sources[0] must be a string, not bytes"),
    "prefixes": (lambda m: m.translate(["one"], prefixes=["eins", ""]), transformer.ConfigError,
                 "there are 2 prefixes for 1 lines; give one per line, '' for none"),
    "a string": (lambda m: m.translate("one"), TypeError, "lines must be a list of strings, not a string"),
    "unequal lists": (lambda m: m.score(["one"], []), transformer.DataError, "sources has 1 lines but targets has 0"),
    "one file": (lambda m: transformer.evaluate(m.path, source="x"), transformer.ConfigError,
                 "source and reference must be given together"),
    "a split": (lambda m: transformer.evaluate(m.path, split="dev"), transformer.ConfigError,  # type: ignore[arg-type]
                "split must be valid or test, not 'dev'"),
    "a text": (lambda m: transformer.evaluate(m.path, source=["one"], reference="x"), TypeError,  # type: ignore[arg-type]
               "expected the path of a file or folder, not list"),
    "one system": (lambda m: transformer.compare(m.path), TypeError, "systems must be a list of paths, not one path"),
    "no split": (lambda m: transformer.check(m.path, split="dev"), transformer.ConfigError,  # type: ignore[arg-type]
                 "split must be valid or test, not 'dev'"),
    "no config": (lambda m: transformer.train("none.yaml"), transformer.ConfigError,
                  "cannot read the configuration none.yaml: No such file or directory"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_raise_the_error_of_the_command_line(name: str, model: transformer.Model) -> None:
    call, kind, sentence = MISTAKES[name]
    with pytest.raises(kind) as caught:
        call(model)
    assert type(caught.value) is kind
    assert str(caught.value) == sentence


def test_training_ends_and_resumes(tiny_file: Path, tmp_path: Path) -> None:
    def train(**overrides: object) -> transformer.TrainingResult:
        settings = {f"train.{key}": value for key, value in overrides.items()}
        return transformer.train(tiny_file, settings, run=tmp_path / "run", device="cpu")

    stopped = train(max_steps=100_000, time_limit=0.1)
    assert (stopped.run, stopped.reason, stopped.finished) == (tmp_path / "run", "time limit", False)
    steps = 1 + int((tmp_path / "run" / "last").read_text().removeprefix("step-"))
    done = train(max_steps=steps)
    assert (done.reason, done.finished) == (f"all {steps:,} steps are done", True)


def test_the_default_run_is_named_after_the_configuration(
    tiny_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = transformer.train(tiny_file, {"train.max_steps": 1, "train.validate_text": False}, device="cpu")
    assert found.run == Path("runs/tiny")
    assert transformer.train(found.run / "config.yaml", device="cpu") == found


@contextlib.contextmanager
def listening(hear: Callable[[str], None]) -> Iterator[None]:
    """Call a function with each message of the library's logger."""
    logger, handler = logging.getLogger("transformer"), logging.Handler()
    handler.emit = lambda record: hear(record.getMessage())  # type: ignore[method-assign]
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


@pytest.fixture
def handlers() -> Iterator[list[int]]:
    """Yield the signals that reached the handlers of the calling program."""
    seen: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    before = [signal.signal(number, lambda found, _: seen.append(found)) for number in numbers]
    yield seen
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_then_reaches_the_programs_own_handler(
    tiny_file: Path, tmp_path: Path, handlers: list[int], number: int
) -> None:
    own = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]

    def send(message: str) -> None:
        if message.startswith("step 5 "):
            signal.raise_signal(number)

    settings = {"train.max_steps": 100_000, "train.log_every": 1, "train.validate_text": False}
    with listening(send):
        found = transformer.train(tiny_file, settings, run=tmp_path / "run", device="cpu")
    assert found.reason == ("interrupted" if number == signal.SIGINT else "terminated")
    assert not found.finished
    assert handlers == [number]
    assert (tmp_path / "run" / "last").exists()
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)] == own


def test_importing_programs_are_left_alone(tiny_file: Path, tmp_path: Path) -> None:
    """The library prints nothing, configures no logging and keeps signal handlers, in any thread."""
    code = f"""
import logging, signal, threading, transformer
from concurrent.futures import ThreadPoolExecutor
numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
before = [signal.getsignal(number) for number in numbers]
def work():
    run = transformer.train({str(tiny_file)!r}, run={str(tmp_path / "run")!r}, device="cpu").run
    transformer.load(run, device="cpu").translate(["one \\0 two", "x" * 2000])
    transformer.evaluate(run, device="cpu")
work()
with ThreadPoolExecutor(1) as pool:
    pool.submit(work).result()
assert [signal.getsignal(number) for number in numbers] == before
assert not logging.getLogger().handlers
assert [type(each) for each in logging.getLogger("transformer").handlers] == [logging.NullHandler]
assert logging.getLogger("transformer").level == logging.NOTSET
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_messages_go_to_the_logger(model: transformer.Model) -> None:
    seen: list[str] = []
    with listening(seen.append):
        model.translate(["one " * 100])
    assert any("translated sentence by sentence" in message for message in seen)
