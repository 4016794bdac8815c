"""README.md of an exported model: how to use it, what was checked, scores, data and licence.

It may be published. So it has no paths, and of the configuration only what describes the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from transformer import __version__
from transformer.evaluation.metrics import METRICS
from transformer.evaluation.model_card import data_in_card, table_cell
from transformer.evaluation.records import read_records
from transformer.evaluation.robustness import VARIANTS
from transformer.runs.checkpoint import weights_digest
from transformer.runs.run import Run

TEXT_NAMES = {"test": "test text", "valid": "validation text"}
DRAWN = ("ensemble", "sampling", "mbr_samples")
"""Settings of decoding whose scores are not those of this model alone."""
ALTERED = {variant.name for variant in VARIANTS}
NO_LICENCE = "Not stated. The licences of the training data may restrict the use of the model."


def write_card(run: Run, checkpoint: str, use: str, checked: Sequence[str], licence: str | None, library: str) -> str:
    """Return the card as Markdown, with the values that the Hugging Face Hub reads before it.

    `use` is the section on how to use it, `checked` says how it was compared, `library` is the runtime's name on the
    Hub. Scores are those of the evaluations of these weights.
    """
    data, model, found = run.config.data, run.config.model, _evaluations(run, checkpoint)
    parts = [
        f"---\n{_yaml(_metadata(run, found, licence, library))}---",
        f"# {run.name}: {data.source} to {data.target}",
        f"A Transformer with {model.encoder_layers} encoder and {model.decoder_layers} decoder layers of width "
        f"{model.width}, {model.heads} heads, feed-forward {model.feed_forward}, {model.norm}-norm. The weights are "
        f"those of checkpoint {checkpoint}. Exported by transformer {__version__}.",
        f"## Use\n\n{use}",
        "## Checked\n\n" + "\n".join(f"- {line}" for line in checked),
        f"## Licence\n\n{licence or NO_LICENCE}",
        *(["## Scores\n\n" + _table(found)] if found else []),
        *([table.rstrip()] if (table := data_in_card(run)) else []),
    ]
    text = "\n\n".join(parts) + "\n"
    return text.encode("utf-8", "replace").decode("utf-8")  # a name in it need not be UTF-8


def _metadata(run: Run, found: Mapping[str, Mapping[str, Any]], licence: str | None, library: str) -> dict[str, Any]:
    """Return the values of a card that the Hub reads."""
    data = run.config.data
    values: dict[str, Any] = {"language": [data.source, data.target]}
    if licence:
        values["license"] = licence
    values |= {"library_name": library, "pipeline_tag": "translation", "tags": ["translation"]}
    if found:
        values["model-index"] = [{"name": run.name, "results": [_result(run, *each) for each in found.items()]}]
    return values


def _evaluations(run: Run, checkpoint: str) -> dict[str, Mapping[str, Any]]:
    """Return the newest scores of these weights by the names of texts, in the form of `evaluate --json`."""
    digest = weights_digest(run.checkpoints / checkpoint)
    newest: dict[str, Mapping[str, Any]] = {}
    for record in read_records(run.path):
        values, decode = record.values, record.values.get("decode") or {}
        name, used = str(values["name"]), values.get("checkpoint") or {}
        changed = name.rpartition(", ")[2] in ALTERED or any(decode.get(key) for key in DRAWN)
        if used.get("sha256") == digest and used.get("weights") != "plain" and not changed:
            newest[name] = values
    return dict(sorted(newest.items()))


def _result(run: Run, name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scores on a text in the form of a model-index."""
    data = run.config.data
    return {
        "task": {"type": "translation", "name": f"Translation {data.source}-{data.target}"},
        "dataset": {"name": TEXT_NAMES.get(name, name), "type": name},
        "metrics": [
            {
                "type": key,
                "name": metric.label,
                "value": round(values[key]["score"], 2),
                "args": {"signature": values[key]["signature"]},
            }
            for key, metric in METRICS.items()
            if key in values
        ],
    }


def _table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the scores as a table."""
    rows = ["| text | sentences | score | signature |", "|---|---|---|---|"]
    for name, values in found.items():
        for key, metric in METRICS.items():
            if key in values:
                score, signature = f"{metric.label} {values[key]['score']:.2f}", values[key]["signature"]
                cells = (name, str(values["sentences"]), score, f"`{signature}`")
                rows.append(f"| {' | '.join(map(table_cell, cells))} |")
    return "\n".join(rows)


def _yaml(values: Mapping[str, Any]) -> str:
    text: str = yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)
    return text
