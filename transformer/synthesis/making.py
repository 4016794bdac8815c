"""Makes the synthetic corpora of a training, or finds them in the cache; all processes translate."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from transformer import atomic
from transformer.data import corpus
from transformer.data.corpus import SIDES
from transformer.data_config import CorpusConfig, DataConfig, DistillConfig, MadeCorpus
from transformer.errors import CheckpointError, DataError
from transformer.synthesis import parts as parts_module
from transformer.synthesis.parts import MANIFEST, Part, Parts, discard, locked, parts_folder, read_manifest
from transformer.synthesis.recipe import Line, Recipe, recipe
from transformer.synthesis.teacher import Teacher, Translating, find_teacher, known_models
from transformer.system.distributed import Ranks
from transformer.system.progress_bar import ProgressBar

PREFIX = "synthetic-"
CHUNK = 1 << 24
"""Bytes that are sent to other disks at once."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Made:
    """The data of a training, with files in place of what models make."""

    data: DataConfig
    facts: list[dict[str, Any]]
    """What each synthetic corpus is made of, for `data.json`."""


def make_corpora(
    data: DataConfig,
    cache: Path,
    device: torch.device,
    ranks: Ranks,
    writes: bool = True,
    recorded: Sequence[str] = (),
) -> Made:
    """Return the data with all synthetic corpora made, in `cache`, or found there.

    `writes` says whether this process writes into the cache, as the first one of each disk does. `recorded` are the
    keys of the corpora that a run was trained on so far: they are used whatever has become of the models.
    Raises TransformerError if a model is gone or cannot be used, and DataError if a text cannot be read.
    """
    wanted = [found for i in range(len(data.train)) if (found := recipe(data, i)) is not None]
    plans = [_plan(each, cache, ranks, recorded) for each in wanted]  # all, before the work of hours
    facts = []
    for each, (key, teacher) in zip(wanted, plans, strict=True):
        folder = cache / f"{PREFIX}{key}"
        if not ranks.of_first(lambda folder=folder: read_manifest(folder) is not None):  # type: ignore[misc]
            assert teacher is not None
            _make(each, teacher, folder, device, ranks)
        elif ranks.first:
            discard(folder)  # what a kill has left after the last part
        _send(folder, ranks, writes)
        made = read_manifest(folder)
        if made is None:
            raise DataError(f"{folder} was removed while it was in use; run the same command again")
        log.info("%s: %s", each.title, counts(made))
        facts.append({"name": each.title, "key": key, "folder": str(folder.resolve()), **made})
    rest = iter(facts)
    train = tuple(each if each.synthetic is None else _as_made(each, cache, next(rest)) for each in data.train)
    return Made(replace(data, train=train), facts)


def _as_made(each: CorpusConfig, cache: Path, facts: dict[str, Any]) -> MadeCorpus:
    folder = cache / f"{PREFIX}{facts['key']}"
    return corpus.made_corpus(each, folder, facts["name"])


def _plan(each: Recipe, cache: Path, ranks: Ranks, recorded: Sequence[str]) -> tuple[str, Teacher | None]:
    """Return the key of a corpus, and its teacher unless the corpus is finished."""
    key = ranks.of_first(lambda: find_finished(each, cache, recorded))
    if key is not None:
        return key, None
    teacher = find_teacher(each)
    if ranks.count > 1:
        ranks.refuse_differences({f"{each.dotted} (its text, model or settings)": teacher.key})
    return teacher.key, teacher


def find_finished(each: Recipe, cache: Path, recorded: Sequence[str] = ()) -> str | None:
    """Return the key of a finished corpus, or None if it is yet to be made.

    One that the run was trained on comes first. If a model is gone, the corpus that models of these names have made is
    taken if there is only one.
    """
    for key in recorded:
        if _is_asked(each, read_manifest(cache / f"{PREFIX}{key}")):
            return key  # though the run of the model may have been trained on since
    try:
        key = find_teacher(each).key
        return key if read_manifest(cache / f"{PREFIX}{key}") is not None else None
    except CheckpointError as error:
        found = [path for path in sorted(cache.glob(f"{PREFIX}*")) if _is_asked(each, read_manifest(path))]
        if len(found) != 1:
            raise
        log.warning("%s; what it has made before is used: %s", error, found[0])
        return found[0].name.removeprefix(PREFIX)


def _is_asked(each: Recipe, made: dict[str, Any] | None) -> bool:
    """Return whether a finished corpus has been made of this text, with these settings, by models of these names."""
    return made is not None and [made.get("asked"), made.get("names")] == [each.asked, list(each.settings.model)]


def parts_of(each: Recipe, folder: Path) -> Parts:
    """Return the parts of a corpus. Reads the whole text, to count its lines."""
    total = sum(1 for _ in each.lines())
    if total == 0:
        raise DataError(f"{each.text_names} is empty")
    return Parts(parts_folder(folder), total, parts_module.PART)


def _make(each: Recipe, teacher: Teacher, folder: Path, device: torch.device, ranks: Ranks) -> None:
    """Translate the parts that are missing, and finish the corpus."""
    parts = parts_of(each, folder)
    with locked(parts.folder) if ranks.first else nullcontext():
        if not ranks.of_first(lambda: read_manifest(folder) is not None):  # made by another training meanwhile
            if ranks.first:
                atomic.clean_up(parts.folder)
            missing = ranks.of_first(parts.missing)
            _translate(each, teacher, parts, missing, device, ranks)
            if ranks.first:
                parts.finish(folder, facts_of(each, teacher, device))
        ranks.wait()


def facts_of(each: Recipe, teacher: Teacher, device: torch.device) -> dict[str, Any]:
    """Return what a corpus is made of, but for its counts."""
    return {
        "asked": each.asked,
        "names": list(each.settings.model),
        "models": teacher.models,
        "precision": teacher.precision(device),
    }


def _translate(
    each: Recipe, teacher: Teacher, parts: Parts, missing: list[int], device: torch.device, ranks: Ranks
) -> None:
    """Make the missing parts. In each round every process makes one, and the first writes them."""
    if not missing:
        return
    todo = sum(map(parts.lines, missing))
    ready = parts.total - todo
    if ranks.first:
        text = "%s: translating %s lines with %s%s"
        rest = f"; {ready:,} are translated already" if ready else ""
        log.info(text, each.title, f"{todo:,}", known_models(teacher.models), rest)
    translating = teacher.load(device)
    texts = _chunks(each, parts, missing[ranks.rank :: ranks.count])
    try:
        with _shown(ProgressBar(f"translating {each.text_names}", todo), translating, ranks):
            for start in range(0, len(missing), ranks.count):
                mine = next(texts, None)
                content = b"" if mine is None else _part(translating, parts, *mine).to_bytes()
                for number, made in zip(missing[start : start + ranks.count], ranks.gather(content), strict=False):
                    if ranks.first:
                        parts.write(number, made)
                    ready += parts.lines(number)
    except BaseException:
        if ranks.first and ready:
            text = "%s: %s of %s lines are translated and kept; the same command goes on from there"
            log.info(text, each.text_names, f"{ready:,}", f"{parts.total:,}")
        raise
    del translating
    if device.type == "cuda":
        torch.cuda.empty_cache()  # the training will measure how much memory there is


@contextmanager
def _shown(bar: ProgressBar, translating: Translating, ranks: Ranks) -> Iterator[None]:
    """Show in the first process how far all are, by how far it is itself."""
    if not ranks.first:
        yield
        return
    with bar:
        translating.translator.decoder.decoded = lambda pieces: bar.advance(
            min(pieces * ranks.count, (bar.total or 0) - bar.count)
        )
        yield


def _part(translating: Translating, parts: Parts, number: int, lines: list[Line | None]) -> Part:
    if len(lines) != parts.lines(number):
        raise DataError(f"{translating.recipe.text_names} has changed while it was read; run the same command again")
    pairs, left_out = translating.pairs(lines, number * parts.size + 1)
    return Part(len(lines), pairs, left_out)


def _chunks(each: Recipe, parts: Parts, numbers: list[int]) -> Iterator[tuple[int, list[Line | None]]]:
    """Yield some parts of the text, in order, with their numbers."""
    lines, place = each.lines(), 0
    for number in numbers:
        start = number * parts.size
        yield number, list(itertools.islice(lines, start - place, start - place + parts.lines(number)))
        place = start + parts.lines(number)


def _send(folder: Path, ranks: Ranks, writes: bool) -> None:
    """Copy a finished corpus to the disks that do not have it."""
    if ranks.count == 1:
        return
    lacks = writes and read_manifest(folder) is None
    if ranks.largest(int(lacks), work=True):
        with atomic.new_folder(folder) if lacks else nullcontext() as temporary:
            for name in (*SIDES, MANIFEST):
                _send_file(folder / name, temporary / name if temporary is not None else None, ranks)
    ranks.wait()


def _send_file(path: Path, into: Path | None, ranks: Ranks) -> None:
    source = path.open("rb") if ranks.first else nullcontext()
    target = into.open("wb") if into is not None else nullcontext()
    with source as reading, target as writing:
        while part := ranks.share(reading.read(CHUNK) if reading is not None else b""):
            if writing is not None:
                writing.write(part)


def counts(made: dict[str, Any]) -> str:
    """Return the counts of a finished corpus in words."""
    left = ", ".join(f"{number:,} {reason}" for reason, number in made["left out"].items())
    return f"{made['pairs']:,} pairs of {made['lines']:,} lines" + (f"; left out: {left}" if left else "")


def look_ahead(data: DataConfig, cache: Path) -> tuple[DataConfig, list[str]]:
    """Return the data for a dry run, and lines that say what there is to translate. Nothing is translated.

    In place of a corpus that is yet to be made there is its text, as both sides unless it has two. Filters would
    compare such a text with itself, so they are left out then.
    """
    train: list[CorpusConfig] = []
    said = []
    for i, each in enumerate(data.train):
        wanted = recipe(data, i)
        if wanted is None:
            train.append(each)
            continue
        if (key := find_finished(wanted, cache)) is not None:
            made = read_manifest(cache / f"{PREFIX}{key}") or {}
            train.append(_as_made(each, cache, {"name": wanted.title, "key": key}))
            said.append(f"{wanted.title}: made already, {counts(made)}")
            continue
        parts = parts_of(wanted, cache / f"{PREFIX}{find_teacher(wanted).key}")
        todo = sum(map(parts.lines, parts.missing()))
        paired, files = isinstance(wanted.settings, DistillConfig), list(map(Path, wanted.files))
        rest = "" if paired or each.filters is None else ", as both sides and without filters"
        said.append(
            f"{wanted.title}: {todo:,} of {parts.total:,} lines to translate; the dry run has the text instead{rest}"
        )
        sides = [files[0:2]] if paired else [[file, file] for file in files]
        stand_in = each if paired else replace(each, filters=None)
        train += [corpus.with_files(stand_in, (side[0], side[1]), wanted.title) for side in sides]
    return replace(data, train=tuple(train)), said
