"""The parts of an update on a GPU: products, loss, and attention by each kernel that computes it.

Shape letters: N target tokens, D model width, V vocabulary, R rows, T target positions, H heads, E width of a head.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from gpu_report import Report
from gpu_work import BOS, Work, milliseconds, news, special_ids, wait
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from transformer.data import batching
from transformer.data.packing import RowPacker, choose_lengths, choose_slots
from transformer.data.reading import UpdateReader
from transformer.model.loss import label_smoothed
from transformer.model.packed_linear import PackedWeights

Attention = Callable[[Tensor], Tensor]
ROW_LENGTHS = (64, 128, 256)


def machine(work: Work, report: Report) -> None:
    """Report the device, the versions, and what the memory and a large product reach."""
    facts: dict[str, Any] = {"torch": torch.__version__}
    if not work.cuda:
        report.say("the device is no GPU: these numbers mean nothing", **facts)
        return
    facts |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    data = torch.empty(2**31, dtype=torch.uint8, device=work.device)
    copy = torch.empty_like(data)
    moved = milliseconds(work.device, lambda: copy.copy_(data))
    square = torch.randn(8192, 8192, device=work.device, dtype=torch.bfloat16)
    product = milliseconds(work.device, lambda: square @ square)
    report.say(
        torch.cuda.get_device_name(work.device), **facts, copy_TBps=2 * data.numel() / moved / 1e9,
        product_TFLOPs=2 * 8192**3 / product / 1e9,
    )  # fmt: skip


def products(work: Work, report: Report) -> None:
    """Measure the matrix products of an update alone: no update can be faster."""
    size, n = work.model, work.batch_tokens
    d, f = size.width, size.feed_forward
    encoder, decoder = [(d, 3 * d), (d, d), (d, f), (f, d)], [(d, 3 * d), (d, d), (d, d), (d, 2 * d), (d, d)]
    decoder += [(d, f), (f, d)]
    shapes = encoder * size.encoder_layers + decoder * size.decoder_layers + [(d, work.vocabulary)]
    taken: dict[tuple[int, int], float] = {}
    for inputs, outputs in dict.fromkeys(shapes):
        x = torch.randn(n, inputs, device=work.device, dtype=torch.bfloat16)
        w = torch.randn(outputs, inputs, device=work.device, dtype=torch.bfloat16)
        y = torch.randn(n, outputs, device=work.device, dtype=torch.bfloat16)
        ways = [lambda: x @ w.t(), lambda: y @ w, lambda: y.t() @ x]  # noqa: B023  # called before they change
        taken[inputs, outputs] = sum(milliseconds(work.device, way) for way in ways)
    total = sum(taken[shape] for shape in shapes)
    done = sum(6 * n * inputs * outputs for inputs, outputs in shapes)
    report.say(
        "all products of an update", ms=total, TFLOPs=done / total / 1e9, tokens_per_second=round(n / total * 1e3)
    )


def loss(work: Work, report: Report) -> None:
    """Measure the output projection and the loss, forward and backward."""
    n, d, v = work.batch_tokens, work.model.width, work.vocabulary
    hidden_ND = torch.randn(n, d, device=work.device).bfloat16().requires_grad_()
    weight_VD = torch.randn(v, d, device=work.device).mul_(d**-0.5).requires_grad_()
    target_N, packed = torch.randint(4, v, (n,), device=work.device), PackedWeights()

    def ours() -> Any:
        packed.repack(weight_VD, torch.bfloat16)
        found = label_smoothed(hidden_ND, weight_VD, None, target_N, 0.1, packed)
        return torch.autograd.grad(found.smoothed / n, (hidden_ND, weight_VD))

    def whole() -> Any:
        logits_NV = F.linear(hidden_ND, weight_VD.to(hidden_ND.dtype))
        return torch.autograd.grad(F.cross_entropy(logits_NV, target_N, label_smoothing=0.1), (hidden_ND, weight_VD))

    ways: list[tuple[str, Callable[[], Any]]] = [("this repository", ours), ("F.cross_entropy of all logits", whole)]
    if work.cuda:
        ways.append(("the same, torch.compile", torch.compile(whole, dynamic=False)))
    for name, way in ways:
        report.say(name, ms=milliseconds(work.device, way, times=5))


def attention(work: Work, report: Report) -> None:
    """Measure one causal attention of an update by each kernel, in rectangles and in rows of several sentences."""
    dataset, width = news(work), 3 * work.model.width
    update = next(batching.updates(dataset, work.batch_tokens, 1, 0, 0))
    reader = UpdateReader(dataset, special_ids(), 0.0, 1)
    (batch,) = batching.BatchCutter(reader, BOS, 10**9, workers=1).cut(update).batches
    shape = tuple(batch.input_BT.shape)
    plain = [("flash, is_causal", _kernel(work, SDPBackend.FLASH_ATTENTION, is_causal=True))] if work.cuda else []
    for name, function in [*plain, ("math, is_causal", _kernel(work, SDPBackend.MATH, is_causal=True))]:
        _measure(work, report, f"one sentence a row: {name}", function, shape, width)
    lengths = choose_lengths(max(ROW_LENGTHS) - 1)
    slots = choose_slots(dataset, work.batch_tokens, 1, lengths)
    for length in ROW_LENGTHS:
        packer = RowPacker(dataset, special_ids(), BOS, slots, [length] if length >= 128 else lengths, 0.0, 1)
        rows = packer.pack(update).batches[0].input_sentences.to(work.device)
        if rows.shape[1] != length:
            rows = rows.reshape(-1, length)  # the numbers need not be right to be as much work
        for name, function in _of_rows(work, rows):
            _measure(work, report, f"rows of {length}: {name}", function, tuple(rows.shape), width)


def _of_rows(work: Work, numbers_RT: Tensor) -> list[tuple[str, Attention]]:
    """Return the ways to attend within the sentences of each row, to earlier positions only."""
    later_TT = torch.ones(numbers_RT.shape[1], numbers_RT.shape[1], dtype=torch.bool, device=work.device).triu(1)
    other = (numbers_RT[:, None, :, None] != numbers_RT[:, None, None, :]) | later_TT
    bias = torch.zeros_like(other, dtype=torch.bfloat16).masked_fill_(other, -math.inf)
    scale = (work.model.width // work.model.heads) ** -0.5

    def explicit(qkv: Tensor) -> Tensor:
        q, k, v = _heads(work, qkv)
        weights = ((q * scale) @ k.transpose(-1, -2) + bias).float().softmax(-1)
        return weights.to(v.dtype) @ v

    ways: list[tuple[str, Attention]] = [("explicit", explicit)]
    if work.cuda:
        ways = [
            ("efficient, bias", _kernel(work, SDPBackend.EFFICIENT_ATTENTION, attn_mask=bias)),
            ("cuDNN, bias", _kernel(work, SDPBackend.CUDNN_ATTENTION, attn_mask=bias)),
            ("explicit, torch.compile", torch.compile(explicit, dynamic=False)),
            ("flex_attention, torch.compile", _flex(work, numbers_RT)),
        ]
    return ways


def _flex(work: Work, numbers_RT: Tensor) -> Attention:
    """Return flex_attention with one block of keys for each row: blocks of other rows are never computed."""
    from torch.nn.attention.flex_attention import BlockMask, flex_attention

    rows, length = numbers_RT.shape
    one = torch.ones(rows, 1, 1, dtype=torch.int32, device=work.device)

    def same_sentence(row: Tensor, _head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return (numbers_RT[row, q] == numbers_RT[row, k]) & (q >= k)

    mask = BlockMask.from_kv_blocks(one, torch.zeros_like(one)[..., None], BLOCK_SIZE=length, mask_mod=same_sentence)
    compiled: Any = torch.compile(flex_attention, dynamic=False)
    return lambda qkv: compiled(*_heads(work, qkv), block_mask=mask)


def _heads(work: Work, qkv: Tensor) -> list[Tensor]:
    """Return queries, keys and values (R, H, T, E) of their projections side by side."""
    rows, length, _ = qkv.shape
    return list(qkv.view(rows, length, 3, work.model.heads, -1).permute(2, 0, 3, 1, 4).unbind(0))


def _kernel(work: Work, backend: SDPBackend, **options: Any) -> Attention:
    def attend(qkv: Tensor) -> Tensor:
        with sdpa_kernel(backend):
            q, k, v = _heads(work, qkv)
            return F.scaled_dot_product_attention(q, k, v, **options)

    return attend


def _measure(work: Work, report: Report, name: str, function: Attention, shape: tuple[int, ...], width: int) -> None:
    try:
        qkv = torch.randn(*shape, width, device=work.device, dtype=torch.bfloat16).requires_grad_()
        started = time.perf_counter()
        out = function(qkv)
        gradient = torch.randn_like(out)
        torch.autograd.grad(out, qkv, gradient)
        wait(work.device)
        first = time.perf_counter() - started
        forward = milliseconds(work.device, lambda: function(qkv))
        both = milliseconds(work.device, lambda: torch.autograd.grad(function(qkv), qkv, gradient))
        report.say(name, rows=shape[0], length=shape[1], first_call_s=first, forward_ms=forward, both_ms=both)
    except Exception as error:  # whatever a compiler or a kernel may raise
        report.say(name, rows=shape[0], length=shape[1], reason=str(error).splitlines()[0][:200])
