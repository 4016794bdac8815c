"""Properties of the network, and its agreement with torch's Transformer layers."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from transformer.config import ModelConfig
from transformer.model.dropout import dropout
from transformer.model.network import Transformer, sinusoids

PAD, BOS, EOS, VOCAB = 0, 2, 3, 30
SMALL = ModelConfig(width=16, heads=4, feed_forward=32, encoder_layers=2, decoder_layers=2)


def make(seed: int = 1, **changes: Any) -> Transformer:
    torch.manual_seed(seed)
    sizes = (VOCAB + 5, VOCAB) if changes.get("tied", "all") != "all" else (VOCAB, VOCAB)
    model = Transformer(dataclasses.replace(SMALL, **changes), sizes, PAD, BOS, max_length=20)
    for p in model.parameters():  # biases and norms must differ from their initial values to have an effect
        if p.ndim == 1:
            nn.init.normal_(p, mean=0.5, std=0.5)
    return model.eval()


def ids(*size: int, seed: int = 0) -> Tensor:
    return torch.randint(4, VOCAB, size, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=["post", "pre"])
def model(request: pytest.FixtureRequest) -> Transformer:
    return make(norm=request.param)


def test_future_tokens_change_nothing(model: Transformer) -> None:
    source, target = ids(2, 6), ids(2, 7, seed=1)
    other = target.clone()
    other[:, 4:] = ids(2, 3, seed=2)
    torch.testing.assert_close(model(source, target)[:, :4], model(source, other)[:, :4])
    assert not torch.allclose(model(source, target)[:, 4:], model(source, other)[:, 4:])


def test_padding_changes_nothing(model: Transformer) -> None:
    source, target = ids(3, 6), ids(3, 7, seed=1)
    padded = torch.cat((source, torch.full((3, 4), PAD)), 1)
    longer = torch.cat((target, torch.full((3, 2), PAD)), 1)
    torch.testing.assert_close(model(padded, longer)[:, :7], model(source, target), atol=1e-5, rtol=1e-5)


def test_a_sentence_does_not_see_its_neighbours(model: Transformer) -> None:
    source, target = ids(3, 6), ids(3, 7, seed=1)
    torch.testing.assert_close(model(source, target)[1:2], model(source[1:2], target[1:2]), atol=1e-5, rtol=1e-5)


def test_source_order_matters(model: Transformer) -> None:
    source, target = ids(1, 6), ids(1, 3, seed=1)
    assert not torch.allclose(model(source, target), model(source.flip(1), target), atol=1e-3)


@pytest.mark.parametrize("beams", [1, 3])
def test_cached_steps_equal_the_full_forward_pass(model: Transformer, beams: int) -> None:
    source = torch.cat((ids(2, 5), torch.tensor([[PAD], [7]])), 1)
    target = ids(2 * beams, 6, seed=1)
    whole = model(source.repeat_interleave(beams, 0), target)
    state = model.start(source, beams)
    for t in range(6):
        torch.testing.assert_close(state.step(target[:, t]), whole[:, t], atol=1e-5, rtol=1e-5)


def test_selected_hypotheses_continue_independently(model: Transformer) -> None:
    source, target = ids(3, 5), ids(6, 4, seed=1)
    rows, sentences = torch.tensor([3, 3, 4, 5]), torch.tensor([1, 2])
    state = model.start(source, 2)
    for t in range(3):
        state.step(target[:, t])
    state.select(rows, sentences)
    whole = model(source.repeat_interleave(2, 0)[rows], target[rows])
    torch.testing.assert_close(state.step(target[rows, 3]), whole[:, 3], atol=1e-5, rtol=1e-5)


def test_the_kv_cache_grows_and_keeps_everything(model: Transformer) -> None:
    """The cache outgrows its initial capacity while hypotheses are replaced and sentences removed."""
    source, rng = ids(3, 5), torch.Generator().manual_seed(1)
    state, beams, steps = model.start(source, 2), 2, 40
    history, alive = torch.zeros(6, 0, dtype=torch.long), torch.arange(3)
    for t in range(steps):
        history = torch.cat((history, torch.randint(4, 20, (len(history), 1), generator=rng)), dim=1)
        found = state.step(history[:, -1])
        if t % 7 == 0:
            whole = model(source[alive].repeat_interleave(beams, 0), history)
            torch.testing.assert_close(found, whole[:, -1], atol=1e-4, rtol=1e-4)
        stay = torch.tensor([0, 2]) if t == 20 else None
        sentences = torch.arange(len(alive)) if stay is None else stay
        rows = (sentences[:, None] * beams + torch.randint(0, beams, (len(sentences), beams), generator=rng)).flatten()
        state.select(rows, stay)
        history, alive = history[rows], alive[sentences]


VARIANTS = list(
    itertools.product(["relu", "gelu", "swish"], ["all", "target", "none"], [True, False], [(1, 3), (3, 1)])
)


@pytest.mark.parametrize(("activation", "tied", "bias", "depths"), VARIANTS)
def test_every_variant_has_gradients_for_all_weights(
    activation: str, tied: str, bias: bool, depths: tuple[int, int]
) -> None:
    made = make(activation=activation, tied=tied, output_bias=bias, encoder_layers=depths[0], decoder_layers=depths[1])
    logits = made(ids(2, 5), ids(2, 4, seed=1))
    assert logits.shape == (2, 4, VOCAB)
    logits.square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in made.parameters())


def test_the_base_model_has_the_papers_size() -> None:
    with torch.device("meta"):
        base = Transformer(ModelConfig(), (37_000, 37_000), PAD, BOS, 256)
        big = Transformer(ModelConfig(width=1024, heads=16, feed_forward=4096), (37_000, 37_000), PAD, BOS, 256)
    assert 62e6 < sum(p.numel() for p in base.parameters()) < 65e6
    assert 211e6 < sum(p.numel() for p in big.parameters()) < 216e6


def copy_layer(ours: Any, theirs: Any) -> None:
    """Copy our weights into torch's encoder or decoder layer."""
    attention = {"self_attn": ours.attention} | ({"multihead_attn": ours.cross} if hasattr(ours, "cross") else {})
    for name, mine in attention.items():
        other = getattr(theirs, name)
        parts = (mine.qkv,) if hasattr(mine, "qkv") else (mine.q, mine.kv)
        other.in_proj_weight.data = torch.cat([part.weight for part in parts]).detach()
        other.in_proj_bias.data = torch.cat([part.bias for part in parts]).detach()
        other.out_proj.load_state_dict(mine.out.state_dict())
    theirs.linear1.load_state_dict(ours.feed_forward.inner.state_dict())
    theirs.linear2.load_state_dict(ours.feed_forward.out.state_dict())
    norms = [
        ours.attention_residual,
        *([ours.cross_residual] if hasattr(ours, "cross") else []),
        ours.feed_forward_residual,
    ]
    for i, residual in enumerate(norms, 1):
        getattr(theirs, f"norm{i}").load_state_dict(residual.norm.state_dict())


def test_layers_equal_those_of_torch(model: Transformer) -> None:
    """With the same weights, torch's layers give the same numbers."""
    cfg = model.cfg
    kind: dict[str, Any] = {
        "d_model": 16,
        "nhead": 4,
        "dim_feedforward": 32,
        "batch_first": True,
        "norm_first": cfg.norm == "pre",
    }
    encoder = [nn.TransformerEncoderLayer(**kind) for _ in range(2)]
    decoder = [nn.TransformerDecoderLayer(**kind) for _ in range(2)]
    for ours, theirs in zip([*model.encoder, *model.decoder], [*encoder, *decoder], strict=True):
        copy_layer(ours, theirs.eval())
    source, target = ids(2, 6), ids(2, 7, seed=1)
    source[0, 4:] = PAD
    x = model._embed(model.target_embedding, source, model.encoding(0, 6))
    for layer in encoder:
        x = layer(x, src_key_padding_mask=source == PAD)
    memory = model.encoder_norm(x) if model.encoder_norm is not None else x
    y = model._embed(model.target_embedding, target, model.encoding(0, 7))
    mask = torch.full((7, 7), float("-inf")).triu(1)
    for block in decoder:
        y = block(y, memory, tgt_mask=mask, memory_key_padding_mask=source == PAD)
    y = model.decoder_norm(y) if model.decoder_norm is not None else y
    torch.testing.assert_close(model.hidden(source, target), y, atol=1e-5, rtol=1e-5)


def test_marians_sinusoids_end_at_its_longest_wavelength() -> None:
    """As its code computes them: the rate of pair i is 10,000 to the power of -i / (pairs - 1)."""
    for width in (8, 6, 512):
        table, pairs = sinusoids(60, width, "marian"), width // 2
        for position, i in itertools.product((0, 1, 59), (0, 1, pairs // 2, pairs - 1)):
            angle = position * math.exp(-i * math.log(10_000) / (pairs - 1))
            assert table[position, i].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert table[position, pairs + i].item() == pytest.approx(math.cos(angle), abs=1e-6)
    assert sinusoids(5, 2, "marian").isfinite().all()


def test_a_model_uses_its_position_table_also_beyond_its_first_length() -> None:
    source, target = ids(2, 6), ids(2, 30, seed=1)
    made = {kind: make(positions=kind) for kind in ("paper", "marian")}
    for kind, each in made.items():
        each(source, target)
        assert torch.equal(each.positions_LD, sinusoids(len(each.positions_LD), 16, kind))
    assert not torch.allclose(made["paper"](source, target), made["marian"](source, target), atol=1e-3)


def test_sinusoids_match_the_paper_with_sines_first() -> None:
    table = sinusoids(50, 8)
    for position, i in ((0, 0), (1, 0), (7, 1), (49, 3)):
        angle = torch.tensor(position / 10_000 ** (2 * i / 8), dtype=torch.float64)
        torch.testing.assert_close(table[position, [i, 4 + i]], torch.stack((angle.sin(), angle.cos())).float())


def test_positions_beyond_the_table(model: Transformer) -> None:
    assert model(ids(1, 100), ids(1, 90)).isfinite().all()


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    torch.manual_seed(1)
    x = dropout(torch.ones(500, 1000), 0.3, training=True)
    assert float((x == 0).float().mean()) == pytest.approx(0.3, abs=0.003)
    assert float(x.mean()) == pytest.approx(1, abs=0.005)
    assert dropout(x, 0.3, training=False) is x
    neighbours = (x[:, 1:] == 0) & (x[:, :-1] == 0)
    assert float(neighbours.float().mean()) == pytest.approx(0.09, abs=0.003)


def test_dropout_is_a_function_of_the_generator() -> None:
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(dropout(torch.ones(7, 11), 0.5, training=True))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_bfloat16_is_near_float32(model: Transformer) -> None:
    source, target = ids(2, 6), ids(2, 7, seed=1)
    exact = model(source, target)
    model.compute_dtype = torch.bfloat16
    near = model(source, target)
    assert near.dtype == torch.bfloat16
    assert (near - exact).abs().max() < 0.1 * exact.abs().max()
