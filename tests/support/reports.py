"""Runs with evaluations, for the tests of the report: nothing is translated."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from transformer import config_file
from transformer.data.corpus import Pair
from transformer.evaluation.evaluate import Evaluation
from transformer.evaluation.metrics import score_corpus
from transformer.evaluation.records import keep_evaluation
from transformer.evaluation.texts import reference_columns, text_digest
from transformer.runs.checkpoint import weights_digest
from transformer.runs.run import open_run
from transformer.training.session import train

from .toy import CPU, TINY, toy_pairs, write_pairs

STRANGE = [
    ("</script><script>hacked=1</script> one", "<img src=x onerror=hacked=1> eins"),
    ("]]> --> <!-- & &amp; &#60; two", "<b>zwei</b> {{ 7 * 7 }} {% raw %}"),
    ("שלום עולם \u202edrowkcab three", "مرحبا \u2066 drei"),
    ("line\u2028separator \u2029 four", "nul\x00 bell\x07 esc\x1b[31m vier"),
    ("five 👩‍👩‍👧‍👦 🇩🇪", "fünf ⁇ \ufffe"),
    ("six " * 2000, "sechs" * 1000),
    ("", "leer"),
    ("\ud800 seven", "sieben \udfff"),
]
"""Pairs that a page must show as text, and nothing else."""


def short_run(folder: Path) -> Path:
    """Train a run of two layers for twelve updates, with a test set, and return its folder."""
    files = {
        name: write_pairs(folder, name, toy_pairs(60, seed)) for seed, name in enumerate(("train", "valid", "test"))
    }
    path = folder / "toy.yaml"
    path.write_text(TINY.format(**files), encoding="utf-8")
    wishes = "model.encoder_layers=2 model.decoder_layers=2 train.validate_every=4 train.log_every=2"
    train(config_file.load(path, wishes.split()), folder / "run", CPU)
    return folder / "run"


def pairs_and_translations(count: int = 40, wrong: int = 5) -> tuple[list[Pair], list[str]]:
    """Return toy pairs and translations, of which every `wrong`-th lacks its first word."""
    pairs = [pair for pair in toy_pairs(3 * count, 9) if len(pair.source.split()) > 3][:count]
    translations = [pair.target if i % wrong else pair.target.partition(" ")[2] for i, pair in enumerate(pairs)]
    return pairs, translations


def strange_pairs_and_translations() -> tuple[list[Pair], list[str]]:
    """Return toy pairs with strange ones between them. Files keep no lone surrogates; a page must bear them too."""
    pairs, translations = pairs_and_translations()
    odd = [(a.replace("\ud800", ""), b.replace("\udfff", "")) for a, b in STRANGE]
    return [Pair(*each) for each in odd] + pairs, [target for _, target in odd] + translations


def keep(path: Path, pairs: Sequence[Pair], translations: list[str], name: str = "test", **origin: object) -> None:
    """Keep an evaluation in a run directory."""
    run = open_run(path)
    best = run.pointer("best")
    assert best is not None
    values = {
        "text": {"sha256": text_digest(pairs), "files": []},
        "languages": ["en", "de"],
        "checkpoint": {"name": best.name, "sha256": weights_digest(best)},
        "decode": dict(vars(run.config.decode)),
        "max_length": run.config.data.max_length,
        "device": "cpu",
        "version": "0.4.0",
        **origin,
    }
    scores = score_corpus(translations, reference_columns(pairs), "de", interval=True)
    keep_evaluation(run, Evaluation(name, translations, scores, 2.0, "float32", values, pairs))


def copied(run: Path, to: Path) -> Path:
    """Return a copy of a run directory."""
    shutil.copytree(run, to)
    return to
