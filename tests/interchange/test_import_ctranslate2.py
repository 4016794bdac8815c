"""Models of CTranslate2 become runs; what is exported and imported again is the same."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.command import last_line_has, main
from support.foreign_models import PAIRS, learned, marian_vocabulary, spm_models
from support.random_models import SMALL, build

from transformer.config import ModelConfig, TokenizerConfig
from transformer.data.tokenizer import Tokenizer, learn_tokenizer
from transformer.interchange.ctranslate2 import write_ctranslate2
from transformer.interchange.hugging_face import ACCEPTED, write_hugging_face
from transformer.model.network import Transformer
from transformer.model.weights import unsupported
from transformer.runs.models import load_model
from transformer.runs.run import open_run

pytestmark = pytest.mark.filterwarnings("default")
CHOICES: dict[str, tuple[Any, ...]] = {
    "norm": ("post", "pre"),
    "tied": ("all", "target", "none"),
    "decoder_start": ("bos", "pad", "zero"),
    "activation": ("relu", "gelu", "swish"),
    "output_bias": (False, True),
    "positions": ("paper", "marian"),
    "norm_epsilon": (1e-5, 1e-6),
}
"""Each value of these with each of the first three, and each of the others at least twice."""


def kinds() -> list[ModelConfig]:
    made = []
    for i, (norm, tied, start) in enumerate(itertools.product(*list(CHOICES.values())[:3])):
        others = {name: values[i % len(values)] for name, values in list(CHOICES.items())[3:]}
        made.append(replace(SMALL, norm=norm, tied=tied, decoder_start=start, **others))
    return made


@pytest.fixture(scope="module")
def two() -> Tokenizer:
    """Two vocabularies of different sizes."""
    return learn_tokenizer(PAIRS, TokenizerConfig(vocab_size=300, joint=False))


@pytest.fixture(scope="module")
def one() -> Tokenizer:
    return learn_tokenizer(PAIRS, TokenizerConfig(vocab_size=320))


def same_run(model: Transformer, tok: Tokenizer, folder: Path, run: Path) -> None:
    """Import a folder; weights, settings and ids must be those of the model, bit for bit."""
    done = main("import", folder, run, "--languages", "en", "de")
    assert done.code == 0, done.err
    again, opened = load_model(open_run(run))[0], open_run(run)
    assert {**vars(again.cfg), "dropout": 0, "attention_dropout": 0} == {
        **vars(model.cfg),
        "dropout": 0,
        "attention_dropout": 0,
    }
    ours, theirs = model.state_dict(), again.state_dict()
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        if name == "output_bias":  # CTranslate2 gets another one for ids that are never chosen
            kept = [i for i in range(len(tensor)) if i not in tok.never_chosen or folder.name == "hf"]
            assert torch.equal(theirs[name][kept], tensor[kept])
        else:
            assert torch.equal(theirs[name], tensor), name
    texts = [text for pair in PAIRS[:20] for text in pair]
    assert opened.tokenizer.encode_source(texts) == tok.encode_source(texts)
    assert opened.tokenizer.encode_target(texts) == tok.encode_target(texts)
    assert opened.tokenizer.joint == tok.joint


@pytest.mark.parametrize("cfg", kinds(), ids=lambda cfg: f"{cfg.norm}-{cfg.tied}-{cfg.decoder_start}")
def test_a_run_comes_back_from_ctranslate2_and_hugging_face(
    cfg: ModelConfig, one: Tokenizer, two: Tokenizer, tmp_path: Path
) -> None:
    tok = one if cfg.tied == "all" else two
    model = build(cfg, tok)
    write_ctranslate2(model, tok, tmp_path / "ct2")
    same_run(model, tok, tmp_path / "ct2", tmp_path / "from-ct2")
    done = main("info", tmp_path / "from-ct2")
    assert done.code == 0
    fitting = replace(cfg, norm_epsilon=1e-5, positions=cfg.positions if cfg.norm == "pre" else "paper")
    if unsupported(fitting, ACCEPTED) is None:
        model = build(fitting, tok)
        write_hugging_face(model, tok, tmp_path / "hf")
        same_run(model, tok, tmp_path / "hf", tmp_path / "from-hf")
