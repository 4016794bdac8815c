"""Models of other programs with random weights, made by those programs' own classes, with vocabularies learned here."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece

from support.toy import toy_pairs
from transformer.data.model_pieces import read_pieces
from transformer.model.network import Transformer
from transformer.model.weights import DecoderLayerWeights, model_weights

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


def linear(names: dict[str, str], each: Any) -> dict[str, Any]:
    """Return the arrays of a projection, or of several that are stacked, by the names of matrices and biases."""
    weights, biases = each.weight.chunk(len(names)), each.bias.chunk(len(names))
    found = {name: weight.T.contiguous().numpy() for name, weight in zip(names, weights, strict=True)}
    return found | {name: bias[None].numpy() for name, bias in zip(names.values(), biases, strict=True)}


def norm(name: str, each: Any, suffix: str) -> dict[str, Any]:
    return {f"{name}_ln_{part}{suffix}": getattr(each, kind)[None].numpy() for part, kind in LAYER_NORM.items()}


LAYER_NORM = {"scale": "weight", "bias": "bias"}


def marian_layer(head: str, layer: Any, suffix: str) -> dict[str, Any]:
    """Return the arrays of a layer. Matrices are stored as (inputs, outputs), biases as rows."""
    found = linear({f"{head}_self_W{part}": f"{head}_self_b{part}" for part in "qkv"}, layer.attention.qkv)
    found |= linear({f"{head}_self_Wo": f"{head}_self_bo"}, layer.attention.out)
    found |= norm(f"{head}_self_Wo", layer.attention.norm, suffix)
    found |= linear({f"{head}_ffn_W1": f"{head}_ffn_b1"}, layer.feed_forward.inner)
    found |= linear({f"{head}_ffn_W2": f"{head}_ffn_b2"}, layer.feed_forward.out)
    found |= norm(f"{head}_ffn_ffn", layer.feed_forward.norm, suffix)
    if isinstance(layer, DecoderLayerWeights):
        found |= linear({f"{head}_context_Wq": f"{head}_context_bq"}, layer.cross.q)
        found |= linear({f"{head}_context_W{part}": f"{head}_context_b{part}" for part in "kv"}, layer.cross.kv)
        found |= linear({f"{head}_context_Wo": f"{head}_context_bo"}, layer.cross.out)
        found |= norm(f"{head}_context_Wo", layer.cross.norm, suffix)
    return found


def marian_arrays(model: Transformer, rows: int) -> dict[str, Any]:
    """Return the arrays of a model of ours, of whose vocabulary Marian has the first rows."""
    weights, cfg = model_weights(model), model.cfg
    arrays: dict[str, Any] = {}
    for side, stack in (("encoder", weights.encoder), ("decoder", weights.decoder)):
        for i, layer in enumerate(stack.layers, 1):
            arrays |= marian_layer(f"{side}_l{i}", layer, "_pre" if cfg.norm == "pre" else "")
        arrays |= {} if stack.norm is None else norm(f"{side}_top", stack.norm, "")
        arrays["Wemb" if cfg.tied == "all" else f"{side}_Wemb"] = stack.embedding[:rows].numpy()
    if cfg.tied == "none":
        arrays["decoder_ff_logit_out_W"] = weights.decoder.output.weight[:rows].T.contiguous().numpy()
    if weights.decoder.output.bias is not None:
        arrays["decoder_ff_logit_out_b"] = weights.decoder.output.bias[None, :rows].numpy()
    return arrays


def marian(folder: Path, model: Transformer, vocabulary: list[str], spm: tuple[bytes, bytes], **options: Any) -> None:
    """Write a model as Marian does, without a row for padding, which must be the last, and as OPUS-MT hands it out."""
    cfg, rows, pre = model.cfg, len(vocabulary), model.cfg.norm == "pre"
    arrays = marian_arrays(model, rows)
    values = {
        "type": "transformer", "enc-depth": cfg.encoder_layers, "dec-depth": cfg.decoder_layers,
        "transformer-heads": cfg.heads, "dim-emb": cfg.width, "transformer-dim-ffn": cfg.feed_forward,
        "transformer-ffn-activation": cfg.activation, "transformer-ffn-depth": 2,
        "transformer-decoder-autoreg": "self-attention", "transformer-no-projection": "false",
        "transformer-preprocess": '"n"' if pre else '""', "transformer-postprocess": "da" if pre else "dan",
        "transformer-postprocess-top": "n" if pre else '""', "transformer-postprocess-emb": "d",
        "transformer-train-positions": "false", "transformer-tied-layers": "[]",
        "transformer-guided-alignment-layer": "last",
        "tied-embeddings": str(cfg.tied == "target").lower(), "tied-embeddings-src": "false", "input-types": "[]",
        "layer-normalization": "false", "lemma-dim-emb": 0, "right-left": "false", "skip": "false", "ulr": "false",
        "transformer-decoder-dim-ffn": cfg.feed_forward, "transformer-decoder-ffn-depth": 2, "version": "v1.9.0",
        "transformer-train-position-embeddings": "false", "output-omit-bias": str(not cfg.output_bias).lower(),
        "tied-embeddings-all": str(cfg.tied == "all").lower(), "dim-vocabs": f"\n  - {rows}\n  - {rows}", **options,
    }  # fmt: skip
    text = "".join(f"{name}: {value}\n" for name, value in values.items())
    arrays["special:model.yml"] = np.frombuffer(text.encode() + b"\0", np.int8)
    folder.mkdir()
    np.savez(folder / "opus.model1.npz.best-perplexity.npz", **arrays)
    quoted = (json.dumps(piece, ensure_ascii=False) for piece in vocabulary)
    (folder / "opus.vocab.yml").write_text("".join(f"{piece}: {i}\n" for i, piece in enumerate(quoted)))
    (folder / "decoder.yml").write_text(
        "models:\n  - opus.model1.npz.best-perplexity.npz\nvocabs:\n  - opus.vocab.yml\n  - opus.vocab.yml\n"
    )
    (folder / "source.spm").write_bytes(spm[0])
    (folder / "target.spm").write_bytes(spm[1])
    (folder / "README.md").write_text(
        "# opus\n\n* source languages: en\n* target languages: de\n*  model: transformer\n"
    )
