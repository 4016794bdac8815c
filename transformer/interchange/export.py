"""Exports a run to another runtime: written, compared with ours, and only then put in its place."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from transformer.data.tokenizer import Tokenizer
from transformer.errors import ConfigError, TransformerError
from transformer.evaluation.check import Row
from transformer.interchange import argos, ctranslate2, hugging_face, marian
from transformer.interchange.card import write_card
from transformer.interchange.common import check_destination, check_export, new_export
from transformer.interchange.health import check_translations, in_words
from transformer.interchange.marian_runtime import MarianRuntime, marian_is_there
from transformer.interchange.portable import differences
from transformer.interchange.proof import Proof, Runtime, make_sample, prove
from transformer.interchange.runtimes import CTranslate2Runtime, HuggingFaceRuntime
from transformer.model.network import Transformer
from transformer.model.weights import Accepted
from transformer.runs.models import load_model
from transformer.runs.run import Run, open_run
from transformer.runs.tuning import with_tuned
from transformer.system.memory import enough_memory, is_out_of_memory

log = logging.getLogger(__name__)
README = "README.md"


@dataclass(frozen=True)
class Choices:
    """What the user may choose."""

    quantization: str | None = None
    checkpoint: str | None = None
    lines: int = 100
    """Sentences to compare on."""
    licence: str | None = None
    """The licence of the model, for the card."""
    version: str = "1.0"
    """The version of an Argos package."""


@dataclass(frozen=True)
class Subject:
    """What is exported."""

    run: Run
    model: Transformer
    checkpoint: str
    choices: Choices

    @property
    def languages(self) -> tuple[str, str]:
        """The language codes of source and target."""
        return self.run.config.data.source, self.run.config.data.target


@dataclass(frozen=True)
class Format:
    """A format to export to."""

    title: str
    accepted: Mapping[str, Accepted]
    write: Callable[[Subject, Path], None]
    """Writes the files into a new folder."""
    runtime: Callable[[Subject, Path], Runtime]
    """Opens the folder in its runtime."""
    package: str
    """The package of the runtime."""
    use: Callable[[Subject], str]
    """Returns the section of the card on how to use it."""
    library: str
    """The name of the runtime on the Hugging Face Hub."""
    quantized: bool = False
    """Whether it can be quantized."""
    finish: Callable[[Subject, Path, str], None] | None = None
    """Turns the proven folder into what is handed out; takes the card."""
    there: Callable[[], bool] | None = None
    """Returns whether the runtime is installed, if it can also be without its package."""

    @property
    def installed(self) -> bool:
        """Whether the runtime is installed."""
        return self.there() if self.there is not None else importlib.util.find_spec(self.package) is not None


@dataclass(frozen=True)
class Export:
    """An exported model."""

    folder: Path
    format: str
    checkpoint: str
    """The name of the checkpoint whose weights were exported."""
    proof: Proof | None
    """How it was compared, or None if the runtime is not installed."""
    checks: Sequence[Row] = ()
    """Faults of its translations, as `transformer check` counts them; none where it was not compared on text."""

    @property
    def lines(self) -> list[str]:
        """What was checked, in words."""
        if self.proof is None:
            form = FORMATS[self.format]
            return [f"not checked: pip install {form.package} to compare it with {form.title}"]
        return [*self.proof.lines, *([in_words(self.checks)] if self.checks else [])]


def export_run(path: Path, folder: Path, to: str, choices: Choices) -> Export:
    """Export the best checkpoint of a run, or a named one, to a new folder.

    The weights are the moving average where there is one. The folder appears when it is complete and the same as ours:
    it is loaded in its runtime, and log-probabilities and translations are compared on sentences of the run. Where the
    runtime is not installed that is left out, and said. Raises ConfigError if the format does not support the model or
    the choices, TransformerError if the exported model is not the same.
    """
    form = FORMATS[to]
    check_destination(folder)
    run = with_tuned(open_run(path))
    if choices.quantization is not None and not form.quantized:
        raise ConfigError(f"{to} has no quantization; leave out --quantization={choices.quantization}")
    check_export(run.config.model, form.accepted, form.title)
    with enough_memory(f"the model in {path} does not fit"):
        model, checkpoint = load_model(run, choices.checkpoint)
        subject = Subject(run, model, checkpoint.name, choices)
        with new_export(folder) as new:
            form.write(subject, new)
            found = Export(folder, to, checkpoint.name, *_proven(form, subject, new))
            tag = f"\n\nPut `{tag} ` before each text." if (tag := run.tokenizer.source_prefix) else ""
            use = f"{form.use(subject)}{tag}{_reserved(run.tokenizer)}\n\n{differences(run.tokenizer)}"
            card = write_card(run, checkpoint.name, use, found.lines, choices.licence, form.library)
            if form.finish is not None:
                form.finish(subject, new, card)
            (new / README).write_text(card, encoding="utf-8")
    return found


def _reserved(tok: Tokenizer) -> str:
    """Return what users of another runtime must do for reserved pieces, for the card."""
    parts = []
    if count := tok.placeholders:
        parts.append(
            f"This model copies the placeholders `<ph0>` to `<ph{count - 1}>`. Another runtime does not make them: "
            "write them instead of `{name}`, `%s`, tags and addresses, in the order of the line, and put those back."
        )
    if tok.takes_terms:
        parts.append(
            "To give the translation of a term, write `<term> TERM <trans> TRANSLATION </term>` in the source."
        )
    return "".join(f"\n\n{part}" for part in parts)


def _proven(form: Format, subject: Subject, folder: Path) -> tuple[Proof | None, list[Row]]:
    """Return how an exported model compares with ours, and the faults of its translations."""
    if not form.installed:
        return None, []
    run = subject.run
    sample = make_sample(run, subject.choices.lines)
    log.info("comparing %d sentences in %s", len(sample.texts), form.title)
    try:
        runtime = form.runtime(subject, folder)
        proof = prove(runtime, run, subject.model, sample, subject.choices.quantization)
        checks = check_translations(runtime, run.tokenizer, sample.pairs, subject.languages) if sample.pairs else []
    except (RuntimeError, ValueError, OSError) as error:
        if is_out_of_memory(error):
            raise
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise TransformerError(
            f"nothing was written: {form.title} fails with the exported model: {reason[0]}"
        ) from None
    return proof, checks


def _write_ctranslate2(subject: Subject, folder: Path) -> None:
    ctranslate2.fill_ctranslate2(subject.model, subject.run.tokenizer, folder, subject.choices.quantization)
    ctranslate2.save_models(subject.run.tokenizer, folder)


def _write_hugging_face(subject: Subject, folder: Path) -> None:
    run = subject.run
    hugging_face.fill_hugging_face(subject.model, run.tokenizer, folder, subject.languages, run.config.decode)


def _write_argos(subject: Subject, folder: Path) -> None:
    argos.fill_argos(
        subject.model,
        subject.run.tokenizer,
        folder,
        subject.languages,
        subject.choices.version,
        subject.choices.quantization,
    )


def _write_marian(subject: Subject, folder: Path) -> None:
    run = subject.run
    marian.fill_marian(subject.model, run.tokenizer, folder, subject.languages, run.config.decode, run.name)


def _open_marian(subject: Subject, folder: Path) -> Runtime:
    tok = subject.run.tokenizer
    spm, yml = ([folder / name for name in names(tok)] for names in (marian.spm_names, marian.yml_names))
    return MarianRuntime(folder, (spm[0], spm[-1]), (yml[0], yml[-1]))


def _open_ctranslate2(subject: Subject, folder: Path) -> Runtime:
    names = ctranslate2.spm_names(subject.run.tokenizer)
    return CTranslate2Runtime(folder, folder / names[0], folder / names[-1])


def _open_argos(subject: Subject, folder: Path) -> Runtime:
    root = folder / argos.package_name(subject.languages, subject.choices.version)
    model = root / argos.SENTENCEPIECE
    return CTranslate2Runtime(root / argos.MODEL, model, model)


FORMATS = {
    "ctranslate2": Format(
        "CTranslate2",
        ctranslate2.ACCEPTED,
        _write_ctranslate2,
        _open_ctranslate2,
        "ctranslate2",
        lambda subject: ctranslate2.how_to_use(subject.run.tokenizer),
        "ctranslate2",
        quantized=True,
    ),
    "argos": Format(
        "Argos Translate",
        argos.ACCEPTED,
        _write_argos,
        _open_argos,
        "ctranslate2",
        lambda subject: argos.how_to_use(subject.languages, subject.choices.version),
        "argos-translate",
        quantized=True,
        finish=lambda subject, folder, card: argos.pack(
            folder, argos.package_name(subject.languages, subject.choices.version), card
        ),
    ),
    "hugging-face": Format(
        "Hugging Face transformers",
        hugging_face.ACCEPTED,
        _write_hugging_face,
        lambda _, folder: HuggingFaceRuntime(folder),
        "transformers",
        lambda subject: hugging_face.HOW_TO_USE,
        "transformers",
    ),
    "marian": Format(
        "Marian",
        marian.ACCEPTED,
        _write_marian,
        _open_marian,
        "pymarian",
        lambda subject: marian.how_to_use(subject.run.tokenizer),
        "marian",
        there=marian_is_there,
    ),
}
"""The formats by their names on the command line."""
