"""A summary of a run or model folder, for people and for programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformer import atomic
from transformer.errors import TransformerError
from transformer.runs.checkpoint import load_state
from transformer.runs.models import outline
from transformer.runs.progress import Progress
from transformer.runs.run import Run
from transformer.runs.tuning import TUNED, tuned


def summarize(run: Run) -> dict[str, Any]:
    """Return a run's languages, sizes, progress, and checkpoints with their damage."""
    cfg = run.config
    checkpoints = []
    for path in sorted(run.checkpoints.glob("*-*")):
        checkpoints.append({"name": path.name, **_state(path)})
    pointers = {name: found.name for name in ("best", "last") if (found := run.pointer(name)) is not None}
    used = run.pointer("last") or run.pointer("best")
    state = load_state(used) if used is not None and not any(_state(used, deep=False).values()) else {}
    model = outline(cfg, run.tokenizer)
    return {
        "source": cfg.data.source,
        "target": cfg.data.target,
        "parameters": sum(p.numel() for p in model.parameters()),
        "vocabulary": list(run.tokenizer.sizes),
        "model": vars(cfg.model),
        "checkpoints": checkpoints,
        **pointers,
        "tuned": _tuned(run),
        "progress": state.get("progress"),
        "versions": state.get("versions"),
    }


def _tuned(run: Run) -> dict[str, Any] | None:
    """Return the decoding settings that were tuned, or None if none were."""
    used = tuned(run)
    return None if used == run.config.decode else {key: getattr(used, key) for key in TUNED}


def _state(path: Path, deep: bool = True) -> dict[str, str | None]:
    """Return what is wrong with a checkpoint, or why this user cannot know."""
    try:
        return {"damage": atomic.damage(path, deep), "unreadable": None}
    except TransformerError as error:
        return {"damage": None, "unreadable": str(error)}


def format_summary(found: dict[str, Any]) -> str:
    """Return a summary as readable text."""
    model = found["model"]
    lines = [
        f"{found['source']} -> {found['target']}",
        f"model        {model['encoder_layers']}+{model['decoder_layers']} layers, width {model['width']}, "
        f"{model['heads']} heads, feed-forward {model['feed_forward']}, {model['norm']}-norm",
        f"parameters   {found['parameters']:,}",
        f"vocabulary   {' and '.join(f'{size:,}' for size in found['vocabulary'])}",
    ]
    if found["progress"]:
        progress = Progress.from_state(found, ignore_unknown=True)
        lines.append(f"trained      {progress.training_in_words()}")
        if progress.last_validation:
            lines.append(f"validation   {progress.validation_in_words()}")
    if found.get("tuned"):
        lines.append(f"decoding     {', '.join(f'{key} {value}' for key, value in found['tuned'].items())} (tuned)")
    for each in found["checkpoints"]:
        marks = [name for name in ("best", "last") if found.get(name) == each["name"]]
        health = (
            f"  DAMAGED: {each['damage']}"
            if each["damage"]
            else f"  {each['unreadable']}"
            if each["unreadable"]
            else ""
        )
        lines.append(f"checkpoint   {each['name']}{'  (' + ', '.join(marks) + ')' if marks else ''}{health}")
    return "\n".join(lines)
