"""Makes the synthetic corpora and the scores of a training, or finds them in the cache; all processes work."""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch

from transformer import atomic
from transformer.data import corpus
from transformer.data_config import CorpusConfig, DataConfig, MadeCorpus
from transformer.errors import CheckpointError, DataError
from transformer.synthesis import parts as parts_module
from transformer.synthesis.parts import MANIFEST, Part, Parts, discard, locked, parts_folder, read_manifest
from transformer.synthesis.recipe import Line, Recipe, Scoring, Wanted, recipe, scoring
from transformer.synthesis.scorer import find_scorer
from transformer.synthesis.teacher import Models, Worker, find_teacher, known_models
from transformer.system.distributed import Ranks
from transformer.system.progress_bar import ProgressBar

CHUNK = 1 << 24
"""Bytes that are sent to other disks at once."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Made:
    """The data of a training, with files in place of what models make."""

    data: DataConfig
    facts: dict[str, list[dict[str, Any]]]
    """What each synthetic corpus is made of, and the scores of each corpus that models score."""

    def add_to(self, report: dict[str, Any]) -> None:
        """Add the facts to the report on the data, `data.json`."""
        origins = [
            {"corpus": each["name"], **each["origin"]} for each in self.facts.get("synthetic", ()) if "origin" in each
        ]
        report.update(self.facts)
        if origins:
            report["origins"] = [*report.get("origins", ()), *origins]


def needs_models(data: DataConfig) -> bool:
    """Return whether models make some of the data."""
    return any(recipe(data, i) or scoring(data, i) for i in range(len(data.train)))


def make_corpora(
    data: DataConfig,
    cache: Path,
    device: torch.device,
    ranks: Ranks,
    writes: bool = True,
    recorded: Sequence[str] = (),
) -> Made:
    """Return the data with all synthetic corpora and all scores made, in `cache`, or found there.

    `writes` says whether this process writes into the cache, as the first one of each disk does. `recorded` are the
    keys of the corpora that a run was trained on so far: they are used whatever has become of the models.
    Raises TransformerError if a model is gone or cannot be used, and DataError if a text cannot be read.
    """
    _check_scorers(data, cache)
    facts: dict[str, list[dict[str, Any]]] = {}
    for name, wish, with_files in (("synthetic", recipe, with_texts), ("scores", scoring, with_scores)):
        wanted = {i: found for i in range(len(data.train)) if (found := wish(data, i)) is not None}
        plans = {i: _plan(each, cache, ranks, recorded) for i, each in wanted.items()}  # all, before the work of hours
        train = list(data.train)
        for i, each in wanted.items():
            made = _made(each, *plans[i], cache, device, ranks, writes)
            facts.setdefault(name, []).append(made)
            train[i] = with_files(train[i], made)
        data = replace(data, train=tuple(train))
    return Made(data, facts)


def _check_scorers(data: DataConfig, cache: Path) -> None:
    """Raise what `find_scorer` does before text is translated for hours. A model may be gone if there are scores."""
    for i in range(len(data.train)):
        each = scoring(data, i)
        if each is not None:
            with suppress(CheckpointError) if any(cache.glob(f"{each.prefix}*")) else nullcontext():
                find_scorer(each)


def _made(
    each: Wanted, key: str, models: Models | None, cache: Path, device: torch.device, ranks: Ranks, writes: bool
) -> dict[str, Any]:
    """Make what is wanted, or find it, and return its facts."""
    folder = cache / f"{each.prefix}{key}"
    if not ranks.of_first(lambda: read_manifest(folder) is not None):
        assert models is not None
        _make(each, models, folder, device, ranks)
    elif ranks.first:
        discard(folder)  # what a kill has left after the last part
    _send(each, folder, ranks, writes)
    made = read_manifest(folder)
    if made is None:
        raise DataError(f"{folder} was removed while it was in use; run the same command again")
    log.info("%s: %s", each.title, counts(made))
    return {"name": each.title, "key": key, "folder": str(folder.resolve()), **made}


def with_texts(each: CorpusConfig, made: dict[str, Any]) -> MadeCorpus:
    """Return a corpus with the files that a model has made. `made` has their folder and their name."""
    return corpus.made_corpus(each, Path(made["folder"]), made["name"])


def with_scores(each: CorpusConfig, made: dict[str, Any]) -> CorpusConfig:
    """Return a corpus with a file of scores in place of the model that has made it."""
    assert each.filters is not None
    assert each.filters.score is not None
    (name,) = Scoring.files_made
    score = replace(each.filters.score, model=None, file=str(Path(made["folder"]) / name))
    return replace(each, filters=replace(each.filters, score=score))


def find_models(each: Wanted) -> Models:
    """Return the models that make what is wanted. Raises CheckpointError if one is gone, ConfigError if it is wrong."""
    return find_scorer(each) if isinstance(each, Scoring) else find_teacher(cast(Recipe, each))


def _plan(each: Wanted, cache: Path, ranks: Ranks, recorded: Sequence[str]) -> tuple[str, Models | None]:
    """Return the key of what is wanted, and the models that make it unless it is finished."""
    key = ranks.of_first(lambda: find_finished(each, cache, recorded))
    if key is not None:
        return key, None
    models = find_models(each)
    if ranks.count > 1:
        ranks.refuse_differences({f"{each.dotted} (its text, model or settings)": models.key})
    return models.key, models


def find_finished(each: Wanted, cache: Path, recorded: Sequence[str] = ()) -> str | None:
    """Return the key of what is finished, or None if it is yet to be made.

    What the run was trained on comes first. If a model is gone, what models of these names have made is taken if there
    is only one such result.
    """
    for key in recorded:
        if _is_asked(each, read_manifest(cache / f"{each.prefix}{key}")):
            return key  # though the run of the model may have been trained on since
    try:
        key = find_models(each).key
        return key if read_manifest(cache / f"{each.prefix}{key}") is not None else None
    except CheckpointError as error:
        found = [path for path in sorted(cache.glob(f"{each.prefix}*")) if _is_asked(each, read_manifest(path))]
        if len(found) != 1:
            raise
        log.warning("%s; what it has made before is used: %s", error, found[0])
        return found[0].name.removeprefix(each.prefix)


def _is_asked(each: Wanted, made: dict[str, Any] | None) -> bool:
    """Return whether this has been made of this text, with these settings, by models of these names."""
    return made is not None and [made.get("asked"), made.get("names")] == [each.asked, list(each.models)]


def parts_of(each: Wanted, folder: Path) -> Parts:
    """Return the parts of a text. Reads it whole, to count its lines."""
    left_out: Counter[str] = Counter()
    total = sum(1 for _ in each.lines(left_out))
    if total == 0:
        raise DataError(f"{each.text_names} is empty")
    return Parts(parts_folder(folder), total, parts_module.PART, each.files_made, left_out)


def _make(each: Wanted, models: Models, folder: Path, device: torch.device, ranks: Ranks) -> None:
    """Make the parts that are missing, and finish."""
    parts = parts_of(each, folder)
    with locked(parts.folder) if ranks.first else nullcontext():
        if not ranks.of_first(lambda: read_manifest(folder) is not None):  # made by another training meanwhile
            if ranks.first:
                atomic.clean_up(parts.folder)
            missing = ranks.of_first(parts.missing)
            _work(each, models, parts, missing, device, ranks)
            if ranks.first:
                parts.finish(folder, facts_of(each, models, device))
        ranks.wait()


def facts_of(each: Wanted, models: Models, device: torch.device) -> dict[str, Any]:
    """Return what the result is made of, but for its counts."""
    return {
        "asked": each.asked,
        "names": list(each.models),
        "models": models.models,
        "precision": models.precision(device),
        **({"origin": each.origin} if each.origin else {}),
    }


def _work(each: Wanted, models: Models, parts: Parts, missing: list[int], device: torch.device, ranks: Ranks) -> None:
    """Make the missing parts. In each round every process makes one, and the first writes them."""
    if not missing:
        return
    todo = sum(map(parts.lines, missing))
    ready = parts.total - todo
    _, doing, done = each.verbs
    if ranks.first:
        rest = f"; {ready:,} are {done} already" if ready else ""
        log.info(
            "%s: %s %s %s with %s%s", each.title, doing, f"{todo:,}", each.units, known_models(models.models), rest
        )
    worker = models.load(device)
    texts = _chunks(each, parts, missing[ranks.rank :: ranks.count])
    try:
        with _shown(ProgressBar(f"{doing} {each.text_names}", todo, each.units), worker, ranks):
            for start in range(0, len(missing), ranks.count):
                mine = next(texts, None)
                content = b"" if mine is None else _part(each, worker, parts, *mine).to_bytes()
                for number, made in zip(missing[start : start + ranks.count], ranks.gather(content), strict=False):
                    if ranks.first:
                        parts.write(number, made)
                    ready += parts.lines(number)
    except BaseException:
        if ranks.first and ready:
            text = "%s: %s of %s %s are %s and kept; the same command goes on from there"
            log.info(text, each.text_names, f"{ready:,}", f"{parts.total:,}", each.units, done)
        raise
    del worker
    if device.type == "cuda":
        torch.cuda.empty_cache()  # the training will measure how much memory there is


@contextmanager
def _shown(bar: ProgressBar, worker: Worker, ranks: Ranks) -> Iterator[None]:
    """Show in the first process how far all are, by how far it is itself."""
    if not ranks.first:
        yield
        return
    with bar:
        worker.translator.decoder.decoded = lambda pieces: bar.advance(
            min(pieces * ranks.count, (bar.total or 0) - bar.count)
        )
        yield


def _part(each: Wanted, worker: Worker, parts: Parts, number: int, lines: list[Line | None]) -> Part:
    if len(lines) != parts.lines(number):
        raise DataError(f"{each.text_names} has changed while it was read; run the same command again")
    return Part(len(lines), *worker.rows(lines, number * parts.size + 1))


def _chunks(each: Wanted, parts: Parts, numbers: list[int]) -> Iterator[tuple[int, list[Line | None]]]:
    """Yield some parts of the text, in order, with their numbers."""
    lines, place = each.lines(), 0
    for number in numbers:
        start = number * parts.size
        yield number, list(itertools.islice(lines, start - place, start - place + parts.lines(number)))
        place = start + parts.lines(number)


def _send(each: Wanted, folder: Path, ranks: Ranks, writes: bool) -> None:
    """Copy what is finished to the disks that do not have it."""
    if ranks.count == 1:
        return
    lacks = writes and read_manifest(folder) is None
    if ranks.largest(int(lacks), work=True):
        with atomic.new_folder(folder) if lacks else nullcontext() as temporary:
            for name in (*each.files_made, MANIFEST):
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
    """Return the counts of what is finished in words."""
    left = ", ".join(f"{number:,} {reason}" for reason, number in made["left out"].items())
    return f"{made['pairs']:,} pairs of {made['lines']:,} lines" + (f"; left out: {left}" if left else "")
