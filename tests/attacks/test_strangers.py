"""An untrusted run folder is used or refused in one sentence. It never runs code and never reaches outside."""

from __future__ import annotations

import json
import os
import pty
import random
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save
from support.command import COMMAND, ENVIRONMENT, GREEDY, Outcome, Stream, last_line_has, main, measured, train
from support.toy import toy_pairs

import transformer
from transformer import atomic, config_file
from transformer.config import TokenizerConfig
from transformer.data.model_file import _varint
from transformer.data.tokenizer import LARGEST_MODEL, MOST_PIECES, Tokenizer, learn_tokenizer, load_tokenizer
from transformer.errors import CheckpointError
from transformer.system.escaping import HIDDEN

PACKAGE = Path(transformer.__file__).parent
ESCAPES = "\x1b[31m\x9b2J\u202e"


@pytest.fixture
def folder(trained_run: Path, tmp_path: Path) -> Path:
    """Return a run with one checkpoint, to be tampered with. A file outside of it must stay unchanged."""
    path = tmp_path / "stranger"
    shutil.copytree(trained_run, path)
    for each in (path / "checkpoints").iterdir():
        if each.name != (path / "best").read_text().strip():
            shutil.rmtree(each)
    (path / "last").write_text((path / "best").read_text())
    (tmp_path / "outside").write_text("mine")
    return path


def best(folder: Path) -> Path:
    return folder / "checkpoints" / (folder / "best").read_text().strip()


def sign(path: Path) -> None:
    """Write a manifest that matches a checkpoint's files, as an attacker can."""
    names = sorted(each.name for each in path.iterdir() if each.name != "manifest.json")
    files = {name: {"bytes": (path / name).stat().st_size, "sha256": atomic.sha256(path / name)} for name in names}
    (path / "manifest.json").write_text(json.dumps({"files": files}))


def attack(folder: Path, sentence: str) -> None:
    """Assert that every command refuses the folder in one sentence and touches nothing outside."""
    (folder.parent / "text").write_text("one two\n")
    text = folder.parent / "text"
    for args in (
        ("translate", folder, *GREEDY),
        ("score", folder, "--source", text, "--target", text),
        ("evaluate", folder, "--source", text, "--reference", text, *GREEDY),
        ("average", folder, "--last", "1", "--output", folder.parent / "average"),
    ):
        found = main(*args, stdin=b"one two\n")
        assert found.code in (1, 2)
        assert found.out == b""
        assert re.search(sentence, found.err), found.err
    main("info", folder)  # may report the fault but must not crash
    assert (folder.parent / "outside").read_text() == "mine"


# ---- manifests, names and links -------------------------------------------------------------------------


def named(name: object) -> str:
    return json.dumps({"files": {name: {"bytes": 4, "sha256": "0"}}})


MANIFESTS: dict[str, tuple[str | bytes, str]] = {
    "a path up": (named("../../../outside"), "outside the folder"),
    "an absolute path": (named("/etc/passwd"), "outside the folder"),
    "a path down": (named("a/b"), "outside the folder"),
    "the folder": (named("."), "outside the folder"),
    "the parent": (named(".."), "outside the folder"),
    "no name": (named(""), "is missing"),
    "a NUL": (named("a\0b"), r"a\\x00b is missing"),
    "escapes": (named(ESCAPES), r"\\x1b\[31m\\u009b2J\\u202e is missing"),
    "a long name": (named("x" * 3000), "cannot be read"),
    "nothing": (json.dumps({"files": {}}), "contains model.safetensors, which is not in its manifest"),
    "no files": (json.dumps({}), "cannot be read"),
    "a list": (json.dumps({"files": ["model.safetensors"]}), "cannot be read"),
    "numbers": (json.dumps({"files": {"model.safetensors": 5}}), "cannot be read"),
    "not JSON": (b"\xff\xfe", "cannot be read"),
    "nested": (b"[" * 100_000, "cannot be read"),
    "huge": (b" " * (atomic.LARGEST_JSON + 1), "cannot be read"),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests_name_plain_files_of_their_folder(folder: Path, name: str) -> None:
    content, sentence = MANIFESTS[name]
    (best(folder) / "manifest.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    attack(folder, sentence)


def move(path: Path) -> None:
    """Move a file or folder outside and put a link in its place."""
    elsewhere = path.parents[1] / f"moved-{path.name}"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


@pytest.mark.parametrize(
    "name", ["config.yaml", "tokenizer.model", "best", "checkpoints", "metrics.jsonl", "README.md"]
)
def test_links_in_a_run_are_refused(folder: Path, name: str) -> None:
    move(folder / name)
    attack(folder, f"{name} is a symbolic link, which could point anywhere; copy the folder with cp -rL")
    assert (folder.parent / f"moved-{name}").exists()


def test_links_in_a_checkpoint_are_refused(folder: Path) -> None:
    move(best(folder) / "model.safetensors")
    attack(folder, "model.safetensors is missing")


def test_a_checkpoint_that_is_a_link_is_refused(folder: Path) -> None:
    move(best(folder))
    attack(folder, "it is a link")


@pytest.mark.parametrize("name", [".tmp-README.md", ".lock", "evaluations", ".tmp-data.json", "metrics.jsonl"])
def test_nothing_is_written_through_a_planted_link(folder: Path, tiny_file: Path, name: str) -> None:
    """An example is `.tmp-README.md -> ~/.bashrc`."""
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(folder.parent / "outside")
    (folder.parent / "text").write_text("one\n")
    text = ("--source", folder.parent / "text", "--reference", folder.parent / "text")
    main("evaluate", folder, *text, *GREEDY)
    main("train", folder / "config.yaml", "train.max_steps=1000")
    main("train", folder / "config.yaml", "--run", folder)
    assert (folder.parent / "outside").read_text() == "mine"


def test_training_removes_nothing_outside_the_run(folder: Path) -> None:
    outside = folder.parent / "moved-checkpoints"
    move(folder / "checkpoints")
    (outside / ".tmp-mine").write_text("mine")
    for args in ((), ("--run", folder), ("--run", folder, "--fresh")):
        main("train", folder / "config.yaml", *args, "train.max_steps=1")
    assert (outside / ".tmp-mine").read_text() == "mine"
    assert list(outside.glob("step-*"))


def test_a_temporary_file_that_is_a_link_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("mine")
    (tmp_path / ".tmp-x").symlink_to(tmp_path / "outside")
    atomic.write_text(tmp_path / "x", "theirs")
    assert (tmp_path / "outside").read_text() == "mine"
    assert (tmp_path / "x").read_text() == "theirs"
    assert not (tmp_path / "x").is_symlink()
    (tmp_path / ".lock").symlink_to(tmp_path / "outside")
    with pytest.raises(OSError, match="symbolic links"), atomic.only_writer(tmp_path):
        pass


@pytest.mark.parametrize("content", ["../..", "/", "..", "a/b", "", "x" * 10**6, f"step-{ESCAPES}"])
@pytest.mark.parametrize("name", ["best", "last"])
def test_pointers_must_name_a_checkpoint(folder: Path, name: str, content: str) -> None:
    (folder / name).write_text(content)
    for command in (("translate", folder, *GREEDY), ("info", folder)):
        found = main(*command, stdin=b"one\n")
        assert found.code in (0, 1)
        assert found.code or command[0] == "info" or found.out == b"eins\n"
    assert main("translate", folder, "--checkpoint", f"../{content[:100]}").code == 1


# ---- weights --------------------------------------------------------------------------------------------


def raw(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def one(shape: list[int], start: int = 0, end: int = 4, dtype: str = "F32", data: bytes = bytes(4)) -> bytes:
    return raw({"target_embedding.weight": {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}}, data)


EMPTY = b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
OVERLAP = {name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for name in "ab"}
FILES: dict[str, bytes] = {
    "nothing": b"",
    "short": b"abc",
    "a header without end": struct.pack("<Q", 1 << 60),
    "a negative header": struct.pack("<q", -1) + b"{}",
    "a header past the end": raw({}, length=10**6),
    "a header of 17 MB": raw(b" " * (17 << 20)),
    "a header that is no JSON": raw(b"not json!!"),
    "a header that is nested": raw(b"[" * 10**5),
    "a header of a list": raw([1, 2]),
    "a header not in UTF-8": raw(b"\xff\xfe{}"),
    "a giant shape": one([2**40, 2**40]),
    "a giant dimension": one([2**63 - 1]),
    "a dimension beyond": one([2**70]),
    "a negative dimension": one([-1]),
    "no dimensions": one([]),
    "ten thousand dimensions": one([1] * 10_000),
    "negative offsets": one([1], -4, 0),
    "offsets past the end": one([1], 0, 10**12),
    "offsets turned round": one([1], 4, 0),
    "offsets with a hole": one([1], 4, 8, data=bytes(8)),
    "offsets that overlap": raw(OVERLAP, bytes(4)),
    "data left over": one([1], data=bytes(400)),
    "data missing": one([1], data=b""),
    "a dtype that is not": one([1], dtype="F33"),
    "another dtype": one([1], dtype="I32"),
    "a name twice": raw(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},' * 2, bytes(8)),
    "a shape of text": raw({"a": {"dtype": "F32", "shape": "x", "data_offsets": [0, 4]}}, bytes(4)),
    "many tensors": raw(b"{" + b",".join(EMPTY % i for i in range(200_000)) + b"}"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_invalid_weight_files_are_refused(folder: Path, name: str) -> None:
    (best(folder) / "model.safetensors").write_bytes(FILES[name])
    sign(best(folder))
    attack(folder, "cannot be read|is not a safetensors file|lacks|this configuration|has I32 values instead of F32")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused(folder: Path, value: float) -> None:
    tensors = load_file(best(folder) / "model.safetensors")
    tensors["decoder.0.attention.qkv.weight"][0, 0] = value
    (best(folder) / "model.safetensors").write_bytes(save(tensors))
    sign(best(folder))
    attack(folder, "decoder.0.attention.qkv.weight has values that are not finite")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.int32, torch.bool])
def test_weights_of_another_dtype_are_refused(folder: Path, dtype: torch.dtype) -> None:
    tensors = {name: tensor.to(dtype) for name, tensor in load_file(best(folder) / "model.safetensors").items()}
    (best(folder) / "model.safetensors").write_bytes(save(tensors))
    sign(best(folder))
    attack(folder, r"values instead of F32")


def test_endless_names_are_shortened(folder: Path) -> None:
    tensors = load_file(best(folder) / "model.safetensors")
    (best(folder) / "model.safetensors").write_bytes(save({**tensors, "x" * 10**6: torch.zeros(1)}))
    sign(best(folder))
    found = main("translate", folder, *GREEDY, stdin=b"one\n")
    assert found.code == 1
    assert last_line_has("xxx … xxx.*which this configuration does not$", found.err)
    with (folder / "config.yaml").open("a") as file:
        file.write(f"? {'y' * 10**5}\n: 1\n")
    assert last_line_has("unknown key yyy.*yyy … yyy", main("info", folder).err)


def test_training_does_not_resume_from_other_shapes(folder: Path) -> None:
    """Adam's fused kernel would read beyond the end of a tensor that is too small, which could crash the process."""
    tensors = load_file(best(folder) / "state.safetensors")
    small = {name: tensor.flatten()[:1].clone() for name, tensor in tensors.items()}
    (best(folder) / "state.safetensors").write_bytes(save(small))
    sign(best(folder))
    found = measured("train", folder / "config.yaml", "--run", folder, "train.max_steps=700")
    assert found.outcome.code == 1
    assert last_line_has("has (another )?shape", found.outcome.err)


GIANT = "width: 16384, heads: 256, feed_forward: 65536, encoder_layers: 256, decoder_layers: 256"


@pytest.mark.slow
def test_a_huge_model_is_refused_before_it_takes_memory(folder: Path) -> None:
    before = measured("info", folder)
    assert before.outcome.code == 0
    text = (folder / "config.yaml").read_text()
    text = re.sub(r"model:\n( .*\n)+", f"model: {{{GIANT}}}\n", text).replace("max_length: 40", "max_length: 16384")
    (folder / "config.yaml").write_text(text)
    (folder.parent / "text").write_text("one\n")
    for command in ("translate", "info"):
        args = (folder.parent / "text",) if command == "translate" else ()
        found = measured(command, folder, *args)
        assert found.megabytes < before.megabytes + 250
        assert found.seconds < 30
        if command == "info":
            assert b"parameters   1,924,2" in found.outcome.out
        else:
            assert last_line_has(r"these `model` settings need 7,\d+ GiB for the weights alone, but", found.outcome.err)


# ---- configurations -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((f"model.{key}", value) for key in ("width", "heads", "encoder_layers", "decoder_layers", "feed_forward")
          for value in ("0", "-1", "1e9", "99999999999", ".nan", "true", "[1]")),
        *((key, value) for key in ("model.dropout", "decode.length_penalty", "decode.temperature", "train.peak_rate")
          for value in (".nan", ".inf", "-.inf", "nan", "1e999", "-1")),
        *((key, "9" * 20) for key in ("data.max_length", "decode.beam", "decode.max_extra", "decode.top_k",
                                                    "decode.batch_tokens", "tokenizer.vocab_size", "train.seed")),
        *(("data.source", value) for value in ('"\\e[31m"', '"a\\nb"', '"\\0"', '"\\u202e"', '"\\x9b"')),
    ],
)  # fmt: skip
def test_every_value_has_bounds(folder: Path, key: str, value: str) -> None:
    for args in (("train", folder / "config.yaml", "--print-config"), ("translate", folder)):
        if args[0] == "train" or key.startswith("decode."):
            found = main(*args, f"{key}={value}")
            assert found.code == 2
            assert last_line_has(rf"{key} must be |{key} ", found.err)


@pytest.mark.parametrize(
    "text",
    [
        "x: !!python/object/apply:os.system ['touch owned']\n",
        "x: !!python/name:os.system\n",
        "data: !!python/object/new:os.system [touch owned]\n",
        "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
        "<<: {a: 1}\n",
        "%TAG ! tag:yaml.org,2002:\n---\na: 1\n",
        "--- 1\n--- 2\n",
        "\x00", "[" * 10_000, "'" * 10_000, "\u2028: 1", "? [a]\n: 1\n",
    ],
)  # fmt: skip
def test_yaml_with_more_than_plain_values_is_refused(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    (folder / "config.yaml").write_text(text)
    attack(folder, r"config.yaml|unknown key|anchors")
    assert not (folder.parent / "owned").exists()


def test_yaml_tags_are_ignored(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace("source: en", "source: !!python/object/apply:os.system en"))
    assert main("translate", folder, *GREEDY, stdin=b"one\n").out == b"eins\n"


# ---- training state, and reports ------------------------------------------------------------------------


PROGRESS = {"step": 1, "epoch": 0, "index": 1, "tokens": 2, "seconds": 1.0, "valid": {}}
STATES: dict[str, object] = {
    "nested": "[" * 10**5,
    "a list": [],
    "another format": {"format": 2},
    "no tokenizer": {"format": 1},
    "a tokenizer that is a number": {"format": 1, "tokenizer": 5},
    **{
        f"progress: {key} = {value!r}": {"format": 1, "tokenizer": "TOK", "progress": {**PROGRESS, key: value}}
        for key in ("step", "epoch", "index", "tokens", "seconds")
        for value in (ESCAPES, None, [1], True)
    },
    "progress of a list": {"format": 1, "tokenizer": "TOK", "progress": [1]},
    "progress without steps": {"format": 1, "tokenizer": "TOK", "progress": {"valid": {}}},
    "a score of text": {"format": 1, "tokenizer": "TOK", "progress": {**PROGRESS, "valid": {"bleu": ESCAPES}}},
    "scores of a list": {"format": 1, "tokenizer": "TOK", "progress": {**PROGRESS, "valid": [1]}},
}


@pytest.mark.parametrize("name", STATES)
def test_state_that_training_did_not_write_is_refused(folder: Path, name: str) -> None:
    state = STATES[name]
    text = state if isinstance(state, str) else json.dumps(state)
    fingerprint = load_tokenizer(folder).fingerprint
    (best(folder) / "state.json").write_text(text.replace("TOK", fingerprint))
    sign(best(folder))
    attack(folder, "state.json cannot be read|has format|is not what training wrote")
    found = main("train", folder / "config.yaml", "--run", folder)
    assert found.code == 1


@pytest.mark.parametrize(
    "change",
    [
        {"evil": 1}, {"ranking": [1]}, {"ranking": 5}, {"ranking": [[1.0, "../x"]]}, {"step": 1.5}, {"epoch": 10**30},
        {"seconds": 10**400}, {"best": "x"}, {"skips": "x"}, {"good": "../x"}, {"calm": 3}, {"seconds": float("nan")},
    ],
    ids=str,
)  # fmt: skip
def test_progress_of_other_types_is_refused(folder: Path, change: dict[str, object]) -> None:
    path = best(folder) / "state.json"
    state = json.loads(path.read_text())
    state["progress"] = {**PROGRESS, **change}
    path.write_text(json.dumps(state))
    sign(best(folder))
    found = main("train", folder / "config.yaml", "--run", folder)
    assert found.code == 1
    assert "progress" in found.err or "is not what training wrote" in found.err


def test_two_vocabularies_for_one_matrix_are_refused(folder: Path) -> None:
    model = (folder / "tokenizer.model").read_bytes()
    (folder / "tokenizer.model").unlink()
    (folder / "source.model").write_bytes(model)
    (folder / "target.model").write_bytes(model.replace("▁zwei".encode(), "▁zewi".encode()))
    attack(folder, "has two vocabularies, but model.tied: all needs one")


def test_an_empty_pointer_is_ignored(folder: Path) -> None:
    (folder / "best").write_text("")
    found = main("translate", folder, stdin=b"one\n")
    assert found.code == 0
    assert "best is empty" in found.err


@pytest.mark.parametrize("content", ["[" * 10**5, "[]", "{}", '{"bleu": {"score": "x"}}', '{"corpora": 5}', " " * 10])
@pytest.mark.parametrize("name", ["evaluations/evil.json", "data.json"])
def test_foreign_reports_do_not_break_evaluation(folder: Path, name: str, content: str) -> None:
    (folder / "evaluations").mkdir(exist_ok=True)
    (folder / name).write_text(content)
    found = main("evaluate", folder, "--split", "valid", *GREEDY)
    assert found.code == 0
    assert b"BLEU" in found.out
    assert "README.md was not written: a report in " in found.err


# ---- tokenizers -----------------------------------------------------------------------------------------


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def piece(text: bytes) -> bytes:
    return field(1, field(1, text) + b"\x15" + struct.pack("<f", -1.0))


def tokenizers(model: bytes) -> dict[str, bytes]:
    """Return files that replace a tokenizer's."""
    return {
        "nothing": b"",
        "text": b"nonsense" * 100,
        "zeros": bytes(1000),
        "half of one": model[: len(model) // 2],
        "too many pieces": field(1, b"") * (MOST_PIECES + 1),
        "a length that lies": b"\x0a" + b"\xff" * 9 + b"\x01" + model,
        "a number without end": b"\xff" * 100,
        "a piece of 200 KB": piece(b"x" * 200_000) + model,
        "a piece with NUL": piece(b"a\0b") + model,
        "a piece that is empty": piece(b"") + model,
        "a piece not in UTF-8": piece(b"\xff\xfe") + model,
        "a piece twice": piece(b"one") + piece(b"one") + model,
        "no pieces": b"".join(part for part in (field(2, b""), field(3, b""))),
        "a table that is none": model + field(3, field(2, struct.pack("<I", 1024) + b"\xff" * 1024)),
        "a table that lies": model + field(3, field(2, struct.pack("<I", 2**32 - 1) + bytes(1024))),
    }


@pytest.mark.parametrize("name", tokenizers(b""))
def test_invalid_tokenizers_are_refused(folder: Path, name: str) -> None:
    (folder / "tokenizer.model").write_bytes(tokenizers((folder / "tokenizer.model").read_bytes())[name])
    attack(folder, "the tokenizer's file (is|has)|the tokenizer lacks|trained with a different tokenizer")


def test_a_tokenizer_is_not_read_if_it_is_too_large(folder: Path) -> None:
    with (folder / "tokenizer.model").open("r+b") as file:
        file.truncate(LARGEST_MODEL + 1)
    attack(folder, "is larger than a tokenizer can be")


MUTATE = """
import random, sys
from pathlib import Path
from transformer.data import tokenizer
from transformer.errors import CheckpointError
model, first, count = Path(sys.argv[1]).read_bytes(), int(sys.argv[2]), int(sys.argv[3])
text = ["one \\ufb01 \\u00bd", "\\u65e5\\u672c e\\u0301", "".join(map(chr, range(32, 0x3000, 5)))]
used = 0
for seed in range(first, first + count):
    print(seed, flush=True)
    rng, bad = random.Random(seed), bytearray(model)
    for _ in range(rng.choice([1, 1, 2, 8, 64])):
        place = rng.randrange(len(bad) if rng.random() < 0.5 else min(len(bad), 9000))
        kind = rng.randrange(4)
        if kind == 0: bad[place] = rng.randrange(256)
        elif kind == 1: bad[place] ^= 1 << rng.randrange(8)
        elif kind == 2: del bad[place : place + rng.choice([1, 4, 100])]
        else: bad[place:place] = bytes(rng.randrange(256) for _ in range(rng.choice([1, 4, 100])))
    try:
        tok = tokenizer.Tokenizer(bytes(bad))
        rows = tok.encode_source(text)
        tok.decode([*rows, list(range(tok.sizes[1]))])
        used += 1
    except CheckpointError:
        pass
print("used", used)
"""


def mutate(folder: Path, first: int, count: int) -> int:
    """Damage a tokenizer in many ways in a separate process, which may crash. Return how many were usable."""
    command = [sys.executable, "-c", MUTATE, str(folder / "tokenizer.model"), str(first), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT)
    *_, seed, used = ["", *done.stdout.splitlines()]
    assert done.returncode == 0, f"at seed {used}: {done.stderr[-800:]}"
    assert seed == str(first + count - 1)
    return int(used.removeprefix("used "))


def test_damaged_tokenizers_are_refused_or_used(trained_run: Path) -> None:
    assert 0 < mutate(trained_run, 0, 100) < 100


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_damaged_tokenizers_are_refused_or_used_thousands_of_times(trained_run: Path) -> None:
    assert 0 < mutate(trained_run, 1000, 4000) < 4000


def test_text_from_a_tokenizer_is_utf8_or_an_error() -> None:
    """A denormalizer can map pieces to any bytes."""
    cfg = TokenizerConfig(vocab_size=340, normalization="nmt_nfkc")
    model = learn_tokenizer(toy_pairs(300, 0), cfg).models[0]
    table = next(part for part in fields(model) if part[0] == 3)[1]
    charsmap = next(part for part in fields(table) if part[0] == 2)[1]
    (size,) = struct.unpack("<I", charsmap[:4])
    spoiled = charsmap[: 4 + size] + b"\xff" * (len(charsmap) - 5 - size) + b"\0"
    tok = Tokenizer(model + field(5, field(2, spoiled)))
    with pytest.raises(CheckpointError, match="the tokenizer turns ids into bytes that are not UTF-8"):
        tok.decode(tok.encode_target(["\u00bd \u2460 \ufb01"]) + [list(range(4, 300))])


def fields(message: bytes) -> list[tuple[int, bytes]]:
    """Return the length-delimited fields of a protocol buffer."""
    found, place = [], 0
    while place < len(message):
        tag, place = _varint(message, place)
        if tag & 7 == 2:
            size, place = _varint(message, place)
            found.append((tag >> 3, message[place : place + size]))
            place += size
        elif tag & 7 == 0:
            _, place = _varint(message, place)
        else:
            place += {1: 8, 5: 4}[tag & 7]
    return found


# ---- terminals ------------------------------------------------------------------------------------------


class Terminal(Stream):
    """A stream over bytes in memory that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


def on_terminal(*args: object, stdin: bytes, monkeypatch: pytest.MonkeyPatch) -> Outcome:
    monkeypatch.setattr("support.command.Stream", Terminal)
    if args[0] == "translate":
        (path := Path(str(args[1])).parent / "typed").write_bytes(stdin)
        args = (*args, path)
    return main(*args)


def test_translations_on_a_terminal_are_escaped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformer.decoding.translator.visible", str)  # else a prefix has no such characters
    (folder.parent / "prefix").write_text("\u202eeins\u2066")
    args = ("translate", folder, "--prefix", folder.parent / "prefix", *GREEDY)
    piped = main(*args, stdin=b"one\n")
    assert "\u202eeins\u2066" in piped.out.decode()
    for more in ((), ("--json",), ("--scores",)):
        shown = on_terminal(*args, *more, stdin=b"one\n", monkeypatch=monkeypatch).out.decode()
        assert "\\u202eeins\\u2066" in shown
        assert not HIDDEN.search(shown)


def test_a_real_terminal(folder: Path) -> None:
    """This includes typed text, which need not be UTF-8."""
    (folder.parent / "prefix").write_text("\u202eeins")
    (folder.parent / "text").write_text("one\n")
    master, slave = pty.openpty()
    args = ["translate", str(folder), str(folder.parent / "text"), "--prefix", str(folder.parent / "prefix"), *GREEDY]
    done = subprocess.run([*COMMAND, *args], stdin=slave, stdout=slave, stderr=slave, check=False, env=ENVIRONMENT)
    assert done.returncode == 0
    shown = os.read(master, 10_000)
    assert b"eins" in shown
    assert "\u202e".encode() not in shown
    process = subprocess.Popen([*COMMAND, "translate", str(folder)], stdin=slave, stdout=slave, stderr=slave,
                               env={**ENVIRONMENT, "TERM": "dumb"}, close_fds=True)  # fmt: skip
    os.close(slave)
    shown = b""
    while not shown.endswith(b"> "):
        shown += os.read(master, 1000)
    os.write(master, b"one \xff\xfe two\n")
    shown = b""
    while not shown.endswith(b"\n> "):
        shown += os.read(master, 1000)
    os.write(master, b"\x04")
    assert process.wait(30) == 0
    assert b"Traceback" not in shown
    os.close(master)


def test_samples_names_and_reports_are_escaped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evil = folder.parent / f"evil{ESCAPES}.txt"
    evil.write_text(f"one {ESCAPES}\n" * 3)
    shutil.copytree(best(folder), folder / "checkpoints" / f"step-{ESCAPES}")
    state = json.loads((best(folder) / "state.json").read_text())
    (best(folder) / "state.json").write_text(json.dumps({**state, "versions": {"torch": ESCAPES}}))
    sign(best(folder))
    for args in (
        ("evaluate", folder, "--source", evil, "--reference", evil, "--samples", 2, *GREEDY),
        ("evaluate", folder, "--source", evil, "--reference", evil, "--json", *GREEDY),
        ("info", folder),
        ("info", folder, "--json"),
        ("translate", evil),
        ("translate", folder, "--checkpoint", ESCAPES),
        ("translate", folder, f"{evil}.none"),
        ("score", folder, "--source", evil, "--target", f"{evil}.none"),
        ("train", evil),
        ("train", folder / "config.yaml", f"data.source={ESCAPES}"),
        ("train", folder / "config.yaml", f"train.x{ESCAPES}=1"),
    ):
        for found in (main(*args), on_terminal(*args, stdin=b"one\n", monkeypatch=monkeypatch)):
            assert not HIDDEN.search(found.out.decode())
            assert not HIDDEN.search(found.err.replace("\r", ""))  # a progress bar uses it


def test_training_escapes_its_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "".join(f"{pair.source} {ESCAPES}\t{pair.target}{ESCAPES}\n" for pair in toy_pairs(30, 1))
    (tmp_path / "x.tsv").write_text(lines)
    (tmp_path / "y.tsv").write_text("".join(lines.splitlines(keepends=True)[:3]))
    monkeypatch.setattr("support.command.Stream", Terminal)
    tsv = f"{{tsv: '{tmp_path}/x.tsv'}}, valid: {{tsv: '{tmp_path}/y.tsv'}}"
    found = train(tmp_path, tsv, "train.validate_every=1", "train.log_every=1", "decode.beam=1")
    assert found.code == 0
    assert "source       " in found.err
    assert "\\u009b2J\\u202e" in found.err
    for name in ("metrics.jsonl", "README.md", "data.json", "config.yaml"):
        assert not HIDDEN.search((tmp_path / "run" / name).read_text())


# ---- random damage --------------------------------------------------------------------------------------


INSERTED = [b"9" * 20, b"[" * 2000, b"null", b"-", b'"', b"\xff", b"\0", b"1e999"]
FAST = ("decode.beam=1", "decode.max_extra=3", "decode.batch_tokens=100")


def damage(folder: Path, seed: int) -> None:
    """Change bytes of one file of a run and update the manifest."""
    rng = random.Random(seed)
    where = best(folder)
    files = [*where.glob("*.json"), *where.glob("model.*"), folder / "config.yaml", folder / "best"]
    path = rng.choice(files)
    content = bytearray(path.read_bytes())
    for _ in range(rng.choice([1, 1, 3, 30])):
        place = rng.randrange(min(len(content), 4000))
        match rng.randrange(4):
            case 0:
                content[place] = rng.randrange(256)
            case 1:
                content[place] = rng.choice(b'0123456789-"[]{}:, \n')
            case 2:
                del content[place : place + rng.choice([1, 4, 100])]
            case _:
                content[place:place] = rng.choice(INSERTED)
        content = content or bytearray(b" ")
    path.write_bytes(content)
    if path.name != "manifest.json":
        sign(where)


def fuzz(folder: Path, seeds: range) -> int:
    """Return the number of damaged runs that were still usable."""
    kept, used = folder.with_name("kept"), 0
    shutil.copytree(folder, kept)
    for seed in seeds:
        shutil.rmtree(folder)
        shutil.copytree(kept, folder)
        damage(folder, seed)
        found = main("translate", folder, *FAST, stdin=b"one\n")
        assert found.code in (0, 1, 2), seed
        assert found.out.count(b"\n") == (found.code == 0), seed
        main("info", folder)
        used += found.code == 0
    return used


def test_damaged_runs_are_refused_or_used(folder: Path) -> None:
    assert 0 < fuzz(folder, range(40)) < 40


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_damaged_runs_are_refused_or_used_hundreds_of_times(folder: Path) -> None:
    assert 0 < fuzz(folder, range(1000, 2000)) < 1000


# ---- the package ----------------------------------------------------------------------------------------

DANGER = re.compile(
    r"pickle|torch\.load|(?<![\w.])eval\(|\.eval\([^)]|\bexec\(|yaml\.(unsafe_|full_)?load\(|shell=True|extractall\("
    r"|trust_remote_code|__import__|os\.system"
)

SAFE = re.compile(r"[Nn]o pickle|is pickled|allow_pickle=False|torch\.load\(.*weights_only=True")


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_the_package_never_executes_what_it_reads(path: Path) -> None:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        found = DANGER.search(SAFE.sub("", line))
        assert found is None, f"{path.name}, line {number}: {found}"


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "torch.load(x)",
        "eval(x)",
        "x = eval('1')",
        "exec(x)",
        "yaml.load(x)",
        "run(x, shell=True)",
        "t.extractall()",
    ],
)
def test_dangerous_calls_are_detected(text: str) -> None:
    assert DANGER.search(text)
    assert not DANGER.search("self.model.eval()")


def test_yaml_is_read_by_the_safe_loader(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("data: {source: en, target: de, train: {tsv: x}}\n")
    assert config_file.load(tmp_path / "c.yaml").data.source == "en"
    sources = "".join(path.read_text() for path in PACKAGE.glob("*.py"))
    assert set(re.findall(r"yaml\.(\w*Loader)", sources)) == {"SafeLoader"}
