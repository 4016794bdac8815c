"""An export to Hugging Face transformers has every weight. If that is installed, it computes the same."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from support.random_models import KINDS, SOURCES, build

from transformer import atomic
from transformer.data.tokenizer import Tokenizer
from transformer.errors import ConfigError
from transformer.interchange.common import POSITIONS
from transformer.interchange.hugging_face import hugging_face_tensors, write_hugging_face
from transformer.model.network import Transformer
from transformer.runs.models import load_model
from transformer.runs.run import open_run


@pytest.fixture(params=list(KINDS))
def model(request: pytest.FixtureRequest, tok: Tokenizer) -> Transformer:
    return build(KINDS[request.param], tok)


def test_every_weight_is_in_the_hugging_face_folder(model: Transformer, tok: Tokenizer, tmp_path: Path) -> None:
    write_hugging_face(model, tok, tmp_path / "out")
    found, cfg = load_file(tmp_path / "out" / "model.safetensors"), model.cfg
    d, f, pieces = cfg.width, cfg.feed_forward, tok.sizes[1]
    attention: dict[str, tuple[int, ...]] = {f"{part}_proj": (d, d) for part in ("q", "k", "v", "out")}
    norms: dict[str, tuple[int, ...]] = {"self_attn_layer_norm": (d,), "final_layer_norm": (d,)}
    shapes: dict[str, tuple[int, ...]] = {"final_logits_bias": (1, pieces)}
    for side, count in (("encoder", cfg.encoder_layers), ("decoder", cfg.decoder_layers)):
        parts = {f"self_attn.{name}": shape for name, shape in attention.items()}
        parts |= {"fc1": (f, d), "fc2": (d, f), **norms}
        if side == "decoder":
            parts |= {f"encoder_attn.{name}": shape for name, shape in attention.items()}
            parts |= {"encoder_attn_layer_norm": (d,)}
        whole = {f"layers.{i}.{name}": shape for i in range(count) for name, shape in parts.items()}
        whole |= {"layer_norm": (d,)} if cfg.norm == "pre" else {}
        shapes |= {f"model.{side}.{name}.weight": shape for name, shape in whole.items()}
        shapes |= {f"model.{side}.{name}.bias": shape[:1] for name, shape in whole.items()}
        if cfg.norm == "pre":
            shapes[f"model.{side}.embed_positions.weight"] = (POSITIONS, d)
        if cfg.tied != "all":
            shapes[f"model.{side}.embed_tokens.weight"] = (pieces, d)
    shapes |= {"model.shared.weight": (pieces, d)} if cfg.tied == "all" else {}
    shapes |= {"lm_head.weight": (pieces, d)} if cfg.tied == "none" else {}
    assert {name: array.shape for name, array in found.items()} == shapes
    numbers = sum(array.size for name, array in found.items() if "positions" not in name and "logits" not in name)
    ours = sum(weight.numel() for name, weight in model.named_parameters() if name != "output_bias")
    assert numbers == ours


def test_never_chosen_ids_are_suppressed(tok: Tokenizer, tmp_path: Path) -> None:
    write_hugging_face(build(KINDS["pre"], tok), tok, tmp_path / "out")
    found = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert sorted(found["suppress_tokens"]) == sorted([tok.pad, tok.unk, tok.bos])


def test_fused_projections_are_split_in_order(tok: Tokenizer) -> None:
    model = build(KINDS["pre"], tok)
    found = hugging_face_tensors(model)
    fused = dict(model.named_parameters())
    names = [f"model.decoder.layers.1.self_attn.{part}_proj.weight" for part in "qkv"]
    joined = np.concatenate([found[name] for name in names])
    assert (joined == fused["decoder.1.attention.qkv.weight"].detach().numpy()).all()
    names = [f"model.decoder.layers.1.encoder_attn.{part}_proj.bias" for part in "kv"]
    assert (np.concatenate([found[name] for name in names]) == fused["decoder.1.cross.kv.bias"].detach().numpy()).all()


def test_hugging_face_configuration(tok: Tokenizer, tmp_path: Path) -> None:
    write_hugging_face(build(KINDS["post-target"], tok), tok, tmp_path / "post")
    found = json.loads((tmp_path / "post" / "config.json").read_text())
    assert found["architectures"] == ["MarianMTModel"]
    assert (found["vocab_size"], found["decoder_vocab_size"]) == tok.sizes
    assert found["decoder_start_token_id"] == tok.pad
    assert not found["share_encoder_decoder_embeddings"]
    assert found["tie_word_embeddings"]
    write_hugging_face(build(KINDS["pre"], tok), tok, tmp_path / "pre")
    found = json.loads((tmp_path / "pre" / "config.json").read_text())
    assert found["architectures"] == ["PegasusForConditionalGeneration"]
    assert found["decoder_start_token_id"] == tok.bos
    assert atomic.damage(tmp_path / "pre") is None


def test_unsupported_models_are_not_exported(tok: Tokenizer, tmp_path: Path) -> None:
    sentence = (
        "Hugging Face transformers does not support this model: model.tied is none, not all, since its pre-norm model "
        "has one matrix of embeddings"
    )
    with pytest.raises(ConfigError, match=sentence):
        write_hugging_face(build(replace(KINDS["pre"], tied="none"), tok), tok, tmp_path / "out")
    with pytest.raises(
        ConfigError, match="model.positions is marian, not paper, the only table of its post-norm model"
    ):
        write_hugging_face(build(replace(KINDS["post"], positions="marian"), tok), tok, tmp_path / "out")
    with pytest.raises(ConfigError, match="model.norm_epsilon is 1e-06, not 1e-05"):
        write_hugging_face(build(replace(KINDS["post"], norm_epsilon=1e-6), tok), tok, tmp_path / "out")
    with pytest.raises(ConfigError, match="already exists; choose a new folder to export to"):
        write_hugging_face(build(KINDS["pre"], tok), tok, tmp_path)


@pytest.mark.filterwarnings("default")
def test_hugging_face_computes_the_same(model: Transformer, tok: Tokenizer, tmp_path: Path) -> None:
    peer = pytest.importorskip("transformers", reason="transformers is not installed")
    write_hugging_face(model, tok, tmp_path / "out")
    theirs, notes = peer.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not notes["unexpected_keys"]
    assert all("embed_positions" in name for name in notes["missing_keys"])
    source = torch.tensor([[*SOURCES[0], tok.eos], [*SOURCES[2], tok.eos, tok.pad, tok.pad]])
    start = torch.tensor([[model.start_id, 7, 8, 9], [model.start_id, 50, 60, 70]])
    with torch.inference_mode():
        found = theirs(input_ids=source, attention_mask=source != tok.pad, decoder_input_ids=start).logits
        torch.testing.assert_close(found, model(source, start), atol=2e-4, rtol=1e-4)


def test_a_run_can_be_exported(trained_run: Path, tmp_path: Path) -> None:
    run = open_run(trained_run)
    model, _ = load_model(run)
    write_hugging_face(model, run.tokenizer, tmp_path / "deep" / "out")
    assert sorted(path.name for path in (tmp_path / "deep" / "out").iterdir()) == [
        "config.json",
        "generation_config.json",
        "manifest.json",
        "model.safetensors",
        "source.spm",
        "target.spm",
        "tokenizer_config.json",
        "vocab.json",
    ]
