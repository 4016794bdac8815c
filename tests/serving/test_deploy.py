"""The systemd unit and the Dockerfile are valid and start the command with options that it has."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from support.served import served

from transformer.cli import serve
from transformer.cli.main import parse
from transformer.serving.limits import Limits
from transformer.serving.server import ANSWER_SECONDS, HEAD_SECONDS

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "docs" / "deploy"
UNIT = (DEPLOY / "transformer.service").read_text()
INSTRUCTIONS = [
    line.split(" ", 1)
    for line in (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    if line and not line.startswith("#")
]


def test_the_unit_is_valid_for_systemd(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze")
    unit = tmp_path / "transformer.service"
    unit.write_text(UNIT.replace("/opt/transformer/bin/transformer", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, timeout=60)
    own = [line for line in done.stderr.splitlines() if "transformer.service" in line]
    assert (done.returncode, own) == (0, []), done.stderr


def test_the_unit_starts_the_command() -> None:
    (line,) = re.findall(r"^ExecStart=\S+/transformer (.*)$", UNIT, re.MULTILINE)
    args = parse(shlex.split(line))
    assert (args.runs, str(args.api_keys), args.port) == (["/srv/models/en-de"], "%d/api-keys", 5000)
    (stop,) = re.findall(r"^TimeoutStopSec=(\d+)$", UNIT, re.MULTILINE)
    assert int(stop) > args.drain + 10


def test_the_image_starts_the_command() -> None:
    words = dict(INSTRUCTIONS)
    entry, *line = json.loads(words["ENTRYPOINT"]) + json.loads(words["CMD"])
    args: argparse.Namespace = parse(line)
    assert (entry, args.command, args.runs, args.host, args.no_api_key) == (
        "transformer", "serve", ["/model"], "0.0.0.0", True,
    )  # fmt: skip
    assert words["EXPOSE"] == str(args.port)
    assert [name for name, _ in INSTRUCTIONS].index("USER") > [name for name, _ in INSTRUCTIONS].index("RUN")


def test_what_the_image_copies_is_there_and_enough_to_build() -> None:
    copied = [name for kind, rest in INSTRUCTIONS if kind == "COPY" for name in rest.split()[:-1]]
    for name in copied:
        assert (ROOT / name).exists(), name
    project = (ROOT / "pyproject.toml").read_text()
    assert set(copied) >= {
        "pyproject.toml",
        "transformer",
        *re.findall(r'^(?:readme|license-files) = \[?"(.*?)"', project, re.MULTILINE),
    }
    assert "serve = [" in project


def test_the_health_check_of_the_image_works() -> None:
    health = dict(INSTRUCTIONS)["HEALTHCHECK"].partition(" CMD ")[2]
    program, *arguments = json.loads(health)
    with served() as server:
        for port, code in ((server.port, 0), (1, 1)):
            command = [each.replace("5000", str(port)) for each in arguments]
            done = subprocess.run([shutil.which(program) or "python3", *command], capture_output=True, timeout=60)
            assert done.returncode == code


def test_the_page_about_it_says_what_is_there() -> None:
    page = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    section = page[page.index("## Serve it") : page.index("### How fast")]
    options = set(re.findall(r"--[a-z][a-z-]+", section))
    assert options >= {"--char-limit", "--drain", "--allow-host", "--req-limit"}
    assert options <= parser._option_string_actions.keys()
    for line in re.findall(r"^transformer serve (.*)$", page, re.MULTILINE):
        assert parser.parse_args(shlex.split(line)).runs
    for path in re.findall(r"\((deploy/\S+)\)", page):
        assert (ROOT / "docs" / path).is_file()
    with served() as server:
        addresses = re.findall(r"`(GET|POST) (/[\w/]*)`", page)
        assert len(addresses) >= 6
        for method, address in addresses:
            assert server.ask(method, address, "" if method == "POST" else None).status in (200, 400), address


def test_defaults_in_the_page_are_those_of_the_command() -> None:
    page = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    args, limits = parse(["serve", "runs/mine"]), Limits()
    table = dict(re.findall(r"^\| (.+?) \| ([\d,]+|any|1 MiB) \|", page, re.MULTILINE))
    numbers = {
        name: int(text.replace(",", "")) for name, text in table.items() if text[0].isdigit() and "M" not in text
    }
    assert numbers["characters of a text (`--char-limit`)"] == args.char_limit == limits.characters
    assert numbers["texts of a request (`--batch-limit`)"] == args.batch_limit == limits.texts
    assert numbers["lines of a request"] == limits.lines
    assert numbers["seconds for a request to arrive"] == limits.body_seconds
    assert (
        numbers["lines that wait (`--queue`)"]
        == args.queue
        == limits.queue
        == 2 * numbers["lines of a client that wait: half of `--queue`"]
    )
    assert numbers["seconds until the answer (`--timeout`)"] == args.timeout == limits.seconds
    assert numbers["seconds for the head of a request"] == HEAD_SECONDS
    assert numbers["seconds to send a request and read its answer, beyond `--timeout`"] == ANSWER_SECONDS
    assert (table["bytes of a request"], limits.body) == ("1 MiB", 1 << 20)
    assert args.req_limit is None
