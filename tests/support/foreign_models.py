"""Models of other programs with random weights, made by those programs' own classes, with vocabularies learned here."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import sentencepiece

from support.toy import toy_pairs
from transformer.data.model_pieces import read_pieces

PAIRS = toy_pairs(400, 5)


def learned(texts: Sequence[str], kind: str = "unigram", size: int = 60, **settings: Any) -> bytes:
    """Return a SentencePiece model as OPUS-MT learns it, with unk, bos and eos first."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model, model_type=kind, vocab_size=size, hard_vocab_limit=False,
        minloglevel=2, num_threads=1, **settings,
    )  # fmt: skip
    return model.getvalue()


def marian_vocabulary(*models: bytes, tags: tuple[str, ...] = ()) -> list[str]:
    """Return a vocabulary as Marian makes it of its models: eos and unk first, others by chance, without pad."""
    pieces = sorted({each.text for model in models for each in read_pieces(model)} - {"<unk>", "<s>", "</s>"})
    random.Random(1).shuffle(pieces)
    return ["</s>", "<unk>", *tags, *pieces]


def spm_models(kind: str = "unigram") -> tuple[bytes, bytes]:
    """Return the models of both sides."""
    return learned([pair.source for pair in PAIRS], kind), learned([pair.target for pair in PAIRS], kind)


def hugging_face_marian(folder: Path, tags: tuple[str, ...] = (), pickled: bool = False, **settings: Any) -> Any:
    """Write a MarianMTModel as those of OPUS-MT are, with its tokenizer's files, and return it."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    torch = pytest.importorskip("torch")
    source, target = spm_models()
    vocabulary = [*marian_vocabulary(source, target, tags=tags), "<pad>"]
    pad = len(vocabulary) - 1
    values = {
        "vocab_size": len(vocabulary), "d_model": 32, "encoder_layers": 2, "decoder_layers": 2,
        "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48,
        "activation_function": "swish", "scale_embedding": True, "max_position_embeddings": 64,
        "pad_token_id": pad, "eos_token_id": 0, "bos_token_id": 0, "decoder_start_token_id": pad,
        "forced_eos_token_id": 0, "init_std": 0.2, **settings,
    }  # fmt: skip
    torch.manual_seed(7)
    model = transformers.MarianMTModel(transformers.MarianConfig(**values)).eval()
    with torch.no_grad():
        model.final_logits_bias.normal_()
        model.final_logits_bias[0, pad] = 0.0
        for name, p in model.named_parameters():
            if p.ndim == 1:
                p.normal_(1.0 if "norm.weight" in name else 0.0, 0.2)
    model.save_pretrained(folder)
    if pickled:
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    (folder / "source.spm").write_bytes(source)
    (folder / "target.spm").write_bytes(target)
    (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(vocabulary)}))
    names = {"tokenizer_class": "MarianTokenizer", "source_lang": "en", "target_lang": "de", "separate_vocabs": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(names))
    return model
