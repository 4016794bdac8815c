"""Worker of bench/decode.py: the Translator of this repository, from text to text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from decode_common import read_sentences, work
from torch import Tensor
from worker import read_job

from transformer.decoding import search
from transformer.decoding.translator import make_translator
from transformer.runs.models import open_model
from transformer.runs.run import open_run


class Unending:
    """A decoder state in which no hypothesis ends before its limit."""

    def __init__(self, state: Any, eos: int, steps: int) -> None:
        self.state, self.eos, self.left = state, eos, steps

    def __getattr__(self, name: str) -> Any:
        return getattr(self.state, name)

    def step(self, last_R: Tensor) -> Tensor:
        """Return logits (R, V) with the end of sentence ruled out, except in the last step."""
        logits_RV = self.state.step(last_R)
        self.left -= 1
        if self.left > 0:
            logits_RV[:, self.eos] = -1e9
        return logits_RV


class UnendingChoice(Unending):
    """A decoder state that selects the best tokens itself and ends no hypothesis before its limit."""

    def top_candidates(
        self, last_R: Tensor, live_R: Tensor, allowed: Any, banned: Any, count: int
    ) -> tuple[Tensor, Tensor]:
        """Return the best next ids, without the end of sentence except in the last step."""
        self.left -= 1
        banned = np.append(banned, np.int32(self.eos)) if self.left > 0 else banned
        return self.state.top_candidates(last_R, live_R, allowed, banned, count)


def force_length(tokens: int) -> None:
    """Make every search return translations of exactly this many tokens, including eos."""
    beam_search: Callable[..., Any] = search.beam_search

    def forced(state: Any, beams: int, task: search.SearchTask) -> Any:
        task = replace(task, limits=[tokens] * len(task.limits))
        kind = UnendingChoice if isinstance(state, search.SelectingState) else Unending
        return beam_search(kind(state, task.eos, tokens), beams, task)

    search.beam_search = forced


def main() -> None:
    """Load the run and do the task; the batch size comes from the configuration, not from the job."""
    job = read_job()
    torch.set_num_threads(job["threads"])
    run = open_run(Path(job["model"]))
    stored, _ = open_model(run)
    model = stored if job["precision"] == "int8" else stored.network
    cfg = replace(run.config.decode, beam=job["beam"], precision=job["precision"], length_penalty=0.0, sampling=False)
    if job["precision"] == "int8" and job["isa"] != "best":
        cfg = replace(cfg, instruction_set=job["isa"])
    translator = make_translator(model, run.tokenizer, cfg, run.config.data.max_length, torch.device("cpu"))
    if job["fixed"]:
        force_length(job["fixed"])

    def translate(lines: list[str], _: int) -> list[list[int]]:
        return [list(best[0].ids) for best in translator.translate(lines)]

    work(job, translate, read_sentences(job, "text"))


if __name__ == "__main__":
    main()
