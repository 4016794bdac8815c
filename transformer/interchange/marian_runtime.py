"""Marian, to compare an exported model with ours: its programs, or the package pymarian, which has them too."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import sentencepiece

from transformer.errors import TransformerError
from transformer.interchange.marian import MODEL
from transformer.interchange.proof import Floats, Ids

PROGRAMS = {"decode": "marian-decoder", "score": "marian-scorer"}
SCORES = re.compile(r"WordScores= ([^|]*)")
LENGTH = 2048
"""Most tokens of a sentence. Marian's default leaves out or cuts longer ones."""
FACTOR = 20
"""Most tokens of a translation by those of its source. Marian has no other limit."""


def marian_is_there() -> bool:
    """Return whether Marian is installed."""
    return all(map(shutil.which, PROGRAMS.values())) or importlib.util.find_spec("pymarian") is not None


class MarianRuntime:
    """A folder of Marian, read in processes of their own, as Marian ends the process at any mistake."""

    bans = True

    def __init__(
        self, folder: Path, spm: tuple[Path, Path], vocabularies: tuple[Path, Path], model: str = MODEL
    ) -> None:
        """Take the folder, the SentencePiece models and YAML vocabularies of both sides, and the file of weights."""
        self.model, self.vocabularies = folder / model, vocabularies
        self.source, self.target = (sentencepiece.SentencePieceProcessor(model_file=str(path)) for path in spm)
        self.name = f"Marian {_version()}"

    def encode(self, texts: Sequence[str]) -> Ids:
        """Return the source ids of texts."""
        return self.source.encode(list(texts))

    def decode(self, ids: Ids) -> list[str]:
        """Return the texts of target ids."""
        return [self.target.decode_pieces([self.target.id_to_piece(i) for i in row]) for row in ids]

    def log_probs(self, sources: Ids, targets: Ids) -> list[Floats]:
        """Return the log-probability of each target id and of eos."""
        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder) / "source", Path(folder) / "target"]
            files[0].write_text(_lines(self.source, sources), encoding="utf-8")
            files[1].write_text(_lines(self.target, targets), encoding="utf-8")
            found = self._run("score", ["--model", *self._common(), "--train-sets", *map(str, files), "--word-scores"])
        scores = [SCORES.search(line) for line in found]
        return [np.array(each[1].split() if each else (), np.float32) for each in scores]

    def search(self, sources: Ids, beam: int, most: int) -> Ids:
        """Return the best translation of each source."""
        options = ["--beam-size", str(beam), "--normalize", "0", "--max-length-factor", str(min(most, FACTOR))]
        found = self._run("decode", ["--models", *self._common(), *options], _lines(self.source, sources))
        return [[self.target.piece_to_id(piece) for piece in line.split(" ") if piece] for line in found]

    def _common(self) -> list[str]:
        model = [str(self.model), "--vocabs", *map(str, self.vocabularies)]
        return [*model, "--cpu-threads", "1", "--quiet", "--max-length", str(LENGTH)]

    def _run(self, task: str, options: Sequence[str], text: str = "") -> list[str]:
        """Return the lines that a program of Marian writes. Raises TransformerError if it fails."""
        done = subprocess.run([*_command(task), *options], input=text.encode(), capture_output=True)
        if done.returncode:
            reason = done.stderr.decode(errors="replace").strip().splitlines() or ["it says nothing"]
            raise TransformerError(f"Marian cannot use the model: {reason[-1]}")
        return done.stdout.decode(errors="replace").splitlines()


def _command(task: str) -> list[str]:
    program = shutil.which(PROGRAMS[task])
    return [program] if program else [sys.executable, "-m", "pymarian", task]


def _version() -> str:
    done = subprocess.run([*_command("decode"), "--version"], capture_output=True, text=True)
    return (done.stdout + done.stderr).strip().partition(" ")[0]


def _lines(side: sentencepiece.SentencePieceProcessor, rows: Ids) -> str:
    return "".join(" ".join(side.id_to_piece(i) for i in row) + "\n" for row in rows)
