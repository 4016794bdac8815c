"""Text, vocabulary and updates for bench/train.py, which are the same for every package."""

from __future__ import annotations

import argparse
import itertools
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from train_runners import SIZES, Size

from transformer import config_file
from transformer.config import Config, ModelConfig, TokenizerConfig, TrainConfig
from transformer.data import batching, corpus
from transformer.data.prepare import find_or_learn_tokenizer, prepare_pairs
from transformer.data_config import CorpusConfig, DataConfig

VOCABULARY, BATCH_TOKENS, SEED = 8000, 4096, 1
COMMON = {"dropout": 0.1, "label_smoothing": 0.1, "clip_norm": 1.0}


def configuration(folder: Path, size: Size) -> Config:
    """Return a configuration as `transformer train` takes it."""
    files = (str(folder / "train.source"), str(folder / "train.target"))
    model = {key: value for key, value in asdict(size).items() if key not in ("layers", "timed")}
    return Config(
        data=DataConfig(
            source="en", target="de", train=(CorpusConfig(files=files),), prepared_dir=str(folder / "prepared")
        ),
        tokenizer=TokenizerConfig(vocab_size=VOCABULARY),
        model=ModelConfig(
            **model, encoder_layers=size.layers, decoder_layers=size.layers, tied="all", dropout=COMMON["dropout"]
        ),
        train=TrainConfig(
            seed=SEED,
            batch_tokens=BATCH_TOKENS,
            label_smoothing=COMMON["label_smoothing"],
            clip_norm=COMMON["clip_norm"],
        ),
    )


def prepare_all(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Write text, vocabulary, configurations and updates to a folder; return the settings of every job."""
    folder.mkdir(parents=True, exist_ok=True)
    text = CorpusConfig(dataset="bentrevett/multi30k")
    if args.source:
        text = CorpusConfig(files=(str(args.source), str(args.target)))
    corpus.check_files(text)
    kept = folder / "train.source", folder / "train.target"
    if args.source or not all(path.exists() for path in kept):
        pairs = [
            pair for pair in corpus.read_pairs(text, "en", "de") if pair is not None and pair.source and pair.target
        ]
        for side, path in enumerate(kept):
            path.write_text("".join(f"{pair[side]}\n" for pair in pairs), encoding="utf-8")
    for name, size in SIZES.items():
        (folder / f"{name}.yaml").write_text(config_file.dump(configuration(folder, size)), encoding="utf-8")
    cfg = configuration(folder, SIZES["small"])
    tok = find_or_learn_tokenizer(cfg, folder / "prepared")
    tok.save(folder)
    pieces = tok.pieces(range(tok.sizes[0]))
    (folder / "vocabulary.txt").write_text("".join(f"{piece}\n" for piece in pieces), encoding="utf-8")
    dataset = prepare_pairs(cfg, tok, [], folder / "prepared")
    most = args.warm + max(timed(args, size) for size in SIZES.values())
    rows = []
    for update in itertools.islice(batching.updates(dataset, BATCH_TOKENS, SEED, 0, 0), most):
        source, target = dataset.ids(update.pair_ids)
        rows.append({"source": [ids.tolist() for ids in source], "target": [ids.tolist() for ids in target]})
    (folder / "updates.json").write_text(json.dumps(rows))
    ids = {"pad": tok.pad, "bos": tok.bos, "eos": tok.eos, "vocabulary": tok.sizes[0], "pairs": len(dataset)}
    return {
        **ids,
        **COMMON,
        "folder": str(folder),
        "updates": str(folder / "updates.json"),
        "batch_tokens": BATCH_TOKENS,
    }


def timed(args: argparse.Namespace, size: Size) -> int:
    """Return the number of timed updates of a size."""
    return args.timed or size.timed


def describe_updates(job: dict[str, Any]) -> dict[str, float]:
    """Return means over the timed updates, and operations per target token; padding does not count."""
    updates = json.loads(Path(job["updates"]).read_text())[job["warm"] : job["warm"] + job["timed"]]
    lengths = {side: [[len(row) + 1 for row in update[side]] for update in updates] for side in ("source", "target")}
    total = {side: sum(map(sum, found)) for side, found in lengths.items()}
    padded = sum(max(found) * len(found) for each in lengths.values() for found in each)
    sentences = sum(map(len, lengths["target"]))
    s, t = total["source"] / sentences, total["target"] / sentences
    size = job["size"]
    shape = size["layers"], size["width"], size["feed_forward"], job["vocabulary"]
    return {
        "source_tokens": total["source"] / len(updates),
        "target_tokens": total["target"] / len(updates),
        "padding": 1 - sum(total.values()) / padded,
        "flops_per_target_token": training_flops(*shape, s, t),
    }


def training_flops(layers: int, width: int, feed_forward: int, vocabulary: int, source: float, target: float) -> float:
    """Return operations per target token of training, forward and backward, for sentences of these mean lengths.

    Counts the matrix products of the weights and of attention. Encoder and decoder have the same number of layers.
    """
    d, f = width, feed_forward
    source_macs = layers * (4 * d**2 + 2 * d * f) + layers * 2 * d**2 + layers * 2 * d * source
    target_macs = layers * (6 * d**2 + 2 * d * f) + vocabulary * d + layers * (2 * d * target / 2 + 2 * d * source)
    return 6 * (source_macs * source / target + target_macs)
