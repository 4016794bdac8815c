"""The model card: README.md of a run directory, with the model's description, use, scores, data and settings."""

from __future__ import annotations

import platform

import sacrebleu
import sentencepiece
import torch

from transformer import __version__, atomic, config_file
from transformer.errors import CheckpointError
from transformer.evaluation.metrics import METRICS
from transformer.runs.checkpoint import load_state
from transformer.runs.layout import REPORT
from transformer.runs.progress import Progress
from transformer.runs.run import Run


def write_model_card(run: Run) -> None:
    """Write README.md from the run's configuration, data counts and evaluations."""
    try:
        sections = [_head(run), _use(run), _scores(run), _data(run), _versions(), _settings(run)]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CheckpointError(f"README.md was not written: a report in {run.path} has an unknown format") from None
    atomic.write_text(run.path / "README.md", "\n".join(filter(None, sections)))


def _head(run: Run) -> str:
    data, model = run.config.data, run.config.model
    languages = "".join(f'- "{language}"\n' for language in (data.source, data.target))
    return (
        f"---\nlanguage:\n{languages}pipeline_tag: translation\n---\n"
        f"# {run.path.name}: {data.source} to {data.target}\n\n"
        f"A Transformer with {model.encoder_layers} encoder and {model.decoder_layers} decoder layers of width "
        f"{model.width}, {model.heads} heads, feed-forward {model.feed_forward}, {model.norm}-norm.\n"
    )


def _use(run: Run) -> str:
    return (
        "## Use\n\n```\n"
        f"echo 'Text to translate.' | transformer translate {run.path.name}\n"
        f"transformer evaluate {run.path.name}\n```\n"
    )


def _scores(run: Run) -> str:
    rows = []
    for file in sorted((run.path / "evaluations").glob("*.json")):
        found = atomic.read_json(file)
        if not METRICS.keys() & found.keys():
            raise KeyError(f"{file} has no score")
        for name, metric in METRICS.items():
            if score := found.get(name):
                spread = f" ± {score['confidence']:.2f}" if "confidence" in score else ""
                text = f"{metric.label} {score['score']:.2f}{spread}"
                rows.append(f"| {found['name']} | {found['sentences']} | {text} | `{score['signature']}` |")
    valid = _training(run)
    head = ["## Scores\n", "| text | sentences | score | signature |", "|---|---|---|---|"]
    return "\n".join([*(head + rows if rows else ["## Scores\n"]), "", *([valid, ""] if valid else [])])


def _training(run: Run) -> str:
    path = run.pointer("last")
    if path is None:
        return ""
    try:
        progress = Progress.from_state(load_state(path), ignore_unknown=True)
    except CheckpointError:
        return ""
    scores = progress.validation_in_words()
    return f"Trained for {progress.training_in_words()}." + (f" Last validation: {scores}." if scores else "")


def _data(run: Run) -> str:
    file = run.path / REPORT
    if not file.exists():
        return ""
    report = atomic.read_json(file)
    keys = list(dict.fromkeys(key for each in report["corpora"] for key in each))
    rows = ["| " + " | ".join(str(each.get(key, 0)) for key in keys) + " |" for each in report["corpora"]]
    head = ["| " + " | ".join(keys) + " |", "|" + "---|" * len(keys)]
    note = (
        f"{report['pairs']:,} training pairs; "
        f"duplicates: {report['duplicates']}, overlap with valid or test: {report['overlap']}."
    )
    return "\n".join(["## Training data\n", *head, *rows, "", note, ""])


def _versions() -> str:
    packages = {"transformer": __version__, "torch": torch.__version__}
    packages |= {"sentencepiece": sentencepiece.__version__, "sacrebleu": sacrebleu.__version__}
    named = ", ".join(f"{name} {version}" for name, version in packages.items())
    return f"## Versions\n\n{named}, Python {platform.python_version()} on {platform.system()} {platform.machine()}\n"


def _settings(run: Run) -> str:
    return f"## Configuration\n\n```yaml\n{config_file.dump(run.config)}```\n"
