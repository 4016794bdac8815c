"""The examples in the README work. Those that need no network are run, on a toy model and small files."""

from __future__ import annotations

import gzip
import re
import shlex
import shutil
from pathlib import Path

import pytest
from support.command import main
from support.toy import toy_pairs

from transformer import config_file
from transformer.cli import main as cli
from transformer.cli.commands import COMMANDS

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
ONLY_PARSED = ("--testset", "wmt14", "transformer serve")
"""Examples that need a network or do not end. Their commands are only parsed, and their configurations loaded."""
SMALL = """
    model.width=16 model.heads=2 model.feed_forward=16 model.encoder_layers=1 model.decoder_layers=1 train.max_steps=1
    train.batch_tokens=50 train.warmup_steps=1 tokenizer.vocab_size=300 decode.precision=float32
"""
"""Settings that make the trainings of the examples fast."""


def commands() -> list[str]:
    """Return the `transformer` commands of all shell blocks, with continued lines joined and without comments."""
    lines = "\n".join(text for language, text in BLOCKS if language in ("", "console")).replace("\\\n", " ")
    found = []
    for line in lines.splitlines():
        line = re.sub(r"\s+#.*$", "", line.removeprefix("$ "))
        if (
            re.match(r"(transformer|(echo|cat) .*\| *transformer) ", line)
            and "..." not in line
            and "CONFIG" not in line
        ):
            found.append(line)
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a folder with the text files that the examples name."""
    monkeypatch.chdir(tmp_path)
    pairs = toy_pairs(60, 5)
    english = "".join(f"{pair.source}\n" for pair in pairs)
    other = "".join(f"{pair.target}\n" for pair in pairs)
    for stem in ("a", "a1", "a2", "book", "dev", "test", "corpus"):
        Path(f"{stem}.en").write_text(english, encoding="utf-8")
        Path(f"{stem}.fr").write_text(other, encoding="utf-8")
    Path("begin.fr").write_text("\n" * 60, encoding="utf-8")
    for name, text in (("corpus.en.gz", english), ("corpus.fr.gz", other)):
        Path(name).write_bytes(gzip.compress(text.encode()))
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    return tmp_path


@pytest.mark.parametrize("line", commands())
def test_the_commands_run(line: str, folder: Path, trained_run: Path) -> None:
    *before, line = line.split(" | ") if " | " in line else [line]
    line, _, output = line.partition(" > ")
    _, *args = shlex.split(line)
    if any(word in line for word in ONLY_PARSED):
        cli.parse(args)
        if args[0] == "train":
            assert config_file.load(Path(args[1])).data.train
        return
    stdin = b""
    if before:
        program, *words = shlex.split(before[0])
        stdin = Path(words[0]).read_bytes() if program == "cat" else " ".join(words).encode() + b"\n"
    if args[0] == "train":
        args += SMALL.split()
    else:
        for name in ("mine", "quickstart"):
            shutil.copytree(trained_run, folder / "runs" / name)
    found = main(*args, stdin=stdin, checked=args[0] != "check")
    assert found.code == 0 or args[0] == "check", found.err
    if args[0] == "translate" and (stdin or "book.en" in args):
        assert found.out or Path("book.fr").stat().st_size > 0
    assert not output or output == "book.fr"


def test_there_are_examples_of_every_command() -> None:
    words = " ".join(commands())
    for command in COMMANDS.keys() - {"import"}:  # which needs a model of another program
        assert f"transformer {command} " in words


def test_the_python_runs(folder: Path, trained_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(trained_run, folder / "runs" / "quickstart")
    (code,) = [text for language, text in BLOCKS if language == "python"]
    assert len([line for line in code.splitlines() if line.strip()]) <= 6
    exec(compile(code, "README.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[2].startswith("BLEU ")


def test_the_yaml_is_a_configuration(folder: Path) -> None:
    corpora = []
    for text in (text for language, text in BLOCKS if language == "yaml"):
        Path("example.yaml").write_text(text, encoding="utf-8")
        corpora.append(len(config_file.load(Path("example.yaml")).data.train))
    assert corpora == [6, 2]


def test_the_tree_in_the_readme_matches_the_package() -> None:
    (tree,) = [text for language, text in BLOCKS if text.startswith("transformer/\n")]
    named = set(re.findall(r"[\w.]+/(?=\s)|\w+\.py", tree)) - {"transformer/"}
    package = ROOT / "transformer"
    folders = {f"{path.name}/" for path in package.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    assert folders <= named
    for name in named:
        assert (package / name).exists(), name
