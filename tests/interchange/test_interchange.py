"""What is written for other runtimes holds every weight; where they are installed, they compute the same."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

from transformer import atomic
from transformer.config import ModelConfig
from transformer.data.tokenizer import Tokenizer
from transformer.decoding.translator import Translator, greedy
from transformer.errors import ConfigError, TransformerError
from transformer.interchange.common import POSITIONS
from transformer.interchange.ctranslate2 import write_ctranslate2
from transformer.interchange.hugging_face import hugging_face_tensors, write_hugging_face
from transformer.model.network import Transformer
from transformer.runs.models import load_model
from transformer.runs.run import open_run

SMALL = ModelConfig(width=32, heads=2, feed_forward=48, encoder_layers=2, decoder_layers=3)
KINDS = {
    "post": SMALL,
    "post-bias-gelu": replace(SMALL, output_bias=True, activation="gelu"),
    "post-target": replace(SMALL, tied="target", activation="swish", decoder_start="pad"),
    "post-none": replace(SMALL, tied="none"),
    "pre": replace(SMALL, norm="pre"),
    "pre-pad": replace(SMALL, norm="pre", decoder_start="pad", output_bias=True),
}
SOURCES = [[10, 20, 30, 40, 50, 60], [70], [5, 6, 7, 8]]


def build(cfg: ModelConfig, tok: Tokenizer) -> Transformer:
    """A model whose every number is random, norms and biases too."""
    torch.manual_seed(3)
    model = Transformer(cfg, tok.sizes, tok.pad, tok.bos if cfg.decoder_start == "bos" else tok.pad, 20)
    for name, weight in model.named_parameters():
        if weight.dim() == 1:
            nn.init.normal_(weight, mean=1.0 if "norm.weight" in name else 0.0, std=0.3)
    return model.eval()


@pytest.fixture(params=list(KINDS))
def model(request: pytest.FixtureRequest, tok: Tokenizer) -> Transformer:
    return build(KINDS[request.param], tok)


@torch.inference_mode()
def our_log_probs(model: Transformer, tok: Tokenizer, source: list[int], target: list[int]) -> list[float]:
    """The log-probability of each target id and of eos."""
    logits = model(torch.tensor([[*source, tok.eos]]), torch.tensor([[model.start_id, *target]]))[0]
    return logits.log_softmax(-1).gather(1, torch.tensor([*target, tok.eos])[:, None])[:, 0].tolist()


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


def test_fused_projections_are_taken_apart_in_order(tok: Tokenizer) -> None:
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


def test_what_cannot_be_exported_is_refused(tok: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one matrix of embeddings"):
        write_hugging_face(build(replace(KINDS["pre"], tied="none"), tok), tok, tmp_path / "out")
    with pytest.raises(ConfigError, match="already there"):
        write_hugging_face(build(KINDS["pre"], tok), tok, tmp_path)


def test_without_ctranslate2_a_sentence(tok: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    monkeypatch.setitem(sys.modules, "ctranslate2.specs", None)
    with pytest.raises(TransformerError, match="pip install ctranslate2"):
        write_ctranslate2(build(SMALL, tok), tok, tmp_path / "out")


@pytest.mark.filterwarnings("default")
def test_ctranslate2_computes_the_same(model: Transformer, tok: Tokenizer, tmp_path: Path) -> None:
    runtime = pytest.importorskip("ctranslate2", reason="ctranslate2 is not installed")
    write_ctranslate2(model, tok, tmp_path / "out")
    translator = runtime.Translator(str(tmp_path / "out"), device="cpu", compute_type="float32", intra_threads=1)
    targets = [[100, 101, 102], [5], [200, 9, 8, 7, 6, 5, 4]]
    pieces = [[tok.source.id_to_piece(i) for i in ids] for ids in SOURCES]
    scored = translator.score_batch(pieces, [tok.pieces(ids) for ids in targets])
    for source, target, theirs in zip(SOURCES, targets, scored, strict=True):
        logits = our_log_probs(model, tok, source, target)
        # pad, unk and bos take part in our distribution but not in theirs: a shift that is the same for all ids
        shift = np.array(theirs.log_probs) - np.array(logits)
        assert (shift >= -1e-4).all()
        assert shift.max() < 0.5
    with pytest.raises(ConfigError, match="already there"):
        write_ctranslate2(model, tok, tmp_path / "out")


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("quantization", [None, "int8"])
def test_ctranslate2_translates_the_same(
    trained_run: Path, translator: Translator, tmp_path: Path, quantization: str | None
) -> None:
    runtime = pytest.importorskip("ctranslate2", reason="ctranslate2 is not installed")
    tok = translator.tok
    write_ctranslate2(translator.model, tok, tmp_path / "out", quantization)
    theirs = runtime.Translator(str(tmp_path / "out"), device="cpu", compute_type=quantization or "float32")
    lines = ["one two three", "nine nine zero four", "eight", "five six"]
    ours = Translator(translator.model, tok, greedy(translator.cfg), translator.max_length, translator.device)
    pieces = [[tok.source.id_to_piece(i) for i in ids] for ids in tok.encode_source(lines)]
    found = theirs.translate_batch(pieces, beam_size=1)
    ids = [[tok.target.piece_to_id(piece) for piece in each.hypotheses[0]] for each in found]
    assert tok.decode(ids) == [best[0].text for best in ours.translate(lines)]


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
        "tokenizer.model",
    ]
