"""Worker of bench/decode.py: this repository's Translator, from text to text as `transformer translate` does it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from decode_common import read_job, read_sentences, work
from torch import Tensor

from transformer import checkpoint, search
from transformer.translator import Translator


class Unending:
    """A search's state in which no hypothesis ends before its limit."""

    def __init__(self, state: Any, eos: int, steps: int) -> None:
        self.state, self.eos, self.left = state, eos, steps

    def __getattr__(self, name: str) -> Any:
        return getattr(self.state, name)

    def step(self, last_N: Tensor) -> Tensor:
        """Return logits (N, V) in which the end of the sentence is impossible, unless this is the last step."""
        logits_NV = self.state.step(last_N)
        self.left -= 1
        if self.left > 0:
            logits_NV[:, self.eos] = -1e9
        return logits_NV


class UnendingChoice(Unending):
    """The same of a state that chooses itself."""

    def best(self, last_N: Tensor, live_N: Tensor, forced: Any, banned: Any, count: int) -> tuple[Tensor, Tensor]:
        """Return the best next ids, the end of the sentence not among them, unless this is the last step."""
        self.left -= 1
        banned = (*banned, self.eos) if self.left > 0 else banned
        return self.state.best(last_N, live_N, forced, banned, count)


def force_length(tokens: int) -> None:
    """Let every search return translations of exactly so many tokens, eos included."""
    beam_search: Callable[..., Any] = search.beam_search

    def forced(state: Any, beams: int, task: search.Task) -> Any:
        task = replace(task, limits=[tokens] * len(task.limits))
        kind = UnendingChoice if isinstance(state, search.ChoosingState) else Unending
        return beam_search(kind(state, task.eos, tokens), beams, task)

    search.beam_search = forced


def main() -> None:
    """Load the run and do the task; the batch size is the configuration's, whatever the job says."""
    job = read_job()
    torch.set_num_threads(job["threads"])
    run = checkpoint.open_run(Path(job["model"]))
    model, _ = checkpoint.load_model(run)
    cfg = replace(run.config.decode, beam=job["beam"], precision=job["precision"], length_penalty=0.0, sampling=False)
    translator = Translator(model, run.tokenizer, cfg, run.config.data.max_length, torch.device("cpu"))
    if job["fixed"]:
        force_length(job["fixed"])

    def translate(lines: list[str], _: int) -> list[list[int]]:
        return [list(best[0].ids) for best in translator.translate(lines)]

    work(job, translate, read_sentences(job, "text"))


if __name__ == "__main__":
    main()
