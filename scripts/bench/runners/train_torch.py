"""Worker of bench/train.py: torch.nn.Transformer in the plain loop."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from train_common import start, train_plainly
from worker import Job


class Plain(nn.Module):
    """nn.Transformer with tied embeddings and sinusoidal positions."""

    positions_PD: Tensor

    def __init__(self, job: Job) -> None:
        super().__init__()
        size = job["size"]
        width, layers = size["width"], size["layers"]
        self.pad, self.rate = job["pad"], job["dropout"]
        self.embedding = nn.Embedding(job["vocabulary"], width, padding_idx=self.pad)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        self.transformer = nn.Transformer(
            width, size["heads"], layers, layers, size["feed_forward"], dropout=self.rate, batch_first=True
        )
        self.register_buffer("positions_PD", sinusoids(512, width))

    def forward(self, source_BS: Tensor, input_BT: Tensor) -> Tensor:
        """Return logits (B, T, V)."""
        length = input_BT.shape[1]
        later_TT = torch.ones(length, length, dtype=torch.bool).triu(1)
        hidden_BTD = self.transformer(
            self.embed(source_BS),
            self.embed(input_BT),
            tgt_mask=later_TT,
            src_key_padding_mask=source_BS == self.pad,
            tgt_key_padding_mask=input_BT == self.pad,
            memory_key_padding_mask=source_BS == self.pad,
            tgt_is_causal=True,
        )
        return F.linear(hidden_BTD, self.embedding.weight)

    def embed(self, ids: Tensor) -> Tensor:
        """Return scaled embeddings plus positions."""
        x = self.embedding(ids) * math.sqrt(self.embedding.embedding_dim) + self.positions_PD[: ids.shape[1]]
        return F.dropout(x, self.rate, self.training)


def sinusoids(length: int, width: int) -> Tensor:
    """Return the position table (length, width)."""
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000) / width))
    angles = torch.arange(length)[:, None] * rates
    return torch.cat((angles.sin(), angles.cos()), dim=1)


if __name__ == "__main__":
    job = start()
    model = Plain(job)
    train_plainly(job, model, model)
