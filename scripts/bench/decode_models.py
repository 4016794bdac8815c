"""Models and text for bench/decode.py: the same weights and sentences in the format of every package."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from decode_runners import CT2, HF, RUNNERS, WARM

from transformer import atomic
from transformer.config import Config, ModelConfig, TokenizerConfig
from transformer.data import corpus
from transformer.data.tokenizer import learn_tokenizer
from transformer.data_config import CorpusConfig, DataConfig
from transformer.decoding.limits import make_limits
from transformer.errors import TransformerError
from transformer.interchange.ctranslate2 import write_ctranslate2
from transformer.interchange.hugging_face import write_hugging_face
from transformer.runs.checkpoint import save_checkpoint
from transformer.runs.models import build_model, load_model
from transformer.runs.run import Run, open_run, write_run

FIXED, VOCABULARY = 16, 8000
"""Of the untrained model: tokens of every translation, the end of sentence included, and pieces."""


@dataclass(frozen=True)
class Text:
    """Sentences and their reference translations."""

    name: str
    sources: list[str]
    references: list[str]


@dataclass(frozen=True)
class Subject:
    """A model and the folder of its exports."""

    name: str
    title: str
    run: Run
    folder: Path
    fixed: int
    """Forced length of every translation in tokens; 0 forces nothing."""

    def model_of(self, name: str) -> Path:
        """Return the model folder that a runner loads."""
        kind = RUNNERS[name].environment
        if not kind:
            return self.run.path
        return self.folder / (f"{kind}-{RUNNERS[name].precision}" if kind == CT2 else kind)


def read_text(source: Path, reference: Path, most: int | None) -> Text:
    """Return the first `most` sentence pairs of two files."""
    text = CorpusConfig(files=(str(source), str(reference)))
    corpus.check_files(text)
    pairs = [pair for pair in corpus.read_pairs(text, "source", "target") if pair is not None and pair.source.strip()]
    pairs = pairs[:most]
    return Text(source.name, [pair.source for pair in pairs], [pair.target for pair in pairs])


def trained(path: Path, cache: Path) -> Subject:
    """Return a trained run as a subject."""
    opened = open_run(path)
    cfg = opened.config.model
    title = (
        f"Trained model: {cfg.encoder_layers}+{cfg.decoder_layers} layers, width {cfg.width}, {cfg.heads} heads, "
        f"feed-forward {cfg.feed_forward:,}, {opened.tokenizer.sizes[1]:,} pieces, {cfg.norm}-norm"
    )
    return Subject("run", title, opened, cache / "run", 0)


def random_base(texts: list[Text], cache: Path) -> Subject:
    """Create a run with an untrained base model, and a vocabulary of the text and of random words."""
    rng = random.Random(1)
    words = [("".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=6)), "") for _ in range(20_000)]
    pairs = [pair for text in texts for pair in zip(text.sources, text.references, strict=True)]
    tok = learn_tokenizer([*pairs, *words], TokenizerConfig(vocab_size=VOCABULARY))
    none = CorpusConfig(files=("none.source", "none.target"))
    cfg = Config(data=DataConfig(source="en", target="de", train=(none,), max_length=256), model=ModelConfig())
    made = write_run(cache / "base" / "run", cfg, tok)
    torch.manual_seed(1)
    model = build_model(cfg, tok)
    weights = made.checkpoints / "step-00000001"
    save_checkpoint(weights, model.state_dict(), None, {"tokenizer": tok.fingerprint})
    made.point("best", weights)
    title = (
        f"Untrained base model: 6+6 layers, width 512, 8 heads, feed-forward 2,048, {tok.sizes[1]:,} pieces, "
        f"post-norm. Every translation has {FIXED} tokens"
    )
    return Subject("base", title, made, cache / "base", FIXED)


def export_all(subject: Subject, names: list[str], pythons: dict[str, Path]) -> dict[str, str]:
    """Export the weights for every runner; return the reasons why runners are skipped."""
    model, _ = load_model(subject.run)
    skipped: dict[str, str] = {}
    for name in names:
        folder, runner = subject.model_of(name), RUNNERS[name]
        try:
            if runner.environment and folder.exists() and name not in skipped:
                atomic.remove(folder)
            if runner.environment == CT2:
                borrow(pythons[name])
                quantization = None if runner.precision == "float32" else runner.precision
                write_ctranslate2(model, subject.run.tokenizer, folder, quantization)
            elif runner.environment == HF:
                write_hugging_face(model, subject.run.tokenizer, folder)
        except TransformerError as reason:
            skipped[name] = f"cannot be exported: {reason}"
    return skipped


def borrow(python: Path) -> None:
    """Let this process also import packages of another environment."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    folder = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    if folder not in sys.path:
        sys.path.append(folder)


def write_sentences(subject: Subject, text: Text, path: Path) -> dict[str, Any]:
    """Write the sentences for the workers, without those above the maximum length; return the shared settings."""
    tok = subject.run.tokenizer
    all_ids = tok.encode_source(text.sources)
    chosen = [i for i, ids in enumerate(all_ids) if 0 < len(ids) <= subject.run.config.data.max_length]
    ids = [all_ids[i] for i in chosen]
    pieces = [[tok.source.id_to_piece(i) for i in row] for row in ids]
    found = {"text": [text.sources[i] for i in chosen], "ids": ids, "pieces": pieces}
    path.write_text(json.dumps(found), encoding="utf-8")
    path.with_suffix(".references").write_text(json.dumps([text.references[i] for i in chosen]), encoding="utf-8")
    longest = max(map(len, ids)) + make_limits(subject.run.config.decode, 1, None).max_extra
    shared = {"sentences": str(path), "longest": longest, "fixed": subject.fixed, "pad": tok.pad, "eos": tok.eos}
    return {**shared, "warm": WARM, "left_out": len(all_ids) - len(ids), "count": len(ids)}
