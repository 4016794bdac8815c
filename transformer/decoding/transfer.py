"""Copies between the CPU and a GPU that wait for nothing, but for results that are needed."""

from __future__ import annotations

import math
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor


def on_gpu(device: torch.device) -> bool:
    """Return whether decoding chooses what is fast on a GPU. Tests replace this to take those branches on a CPU."""
    return device.type == "cuda"


def memory_of(device: torch.device) -> float:
    """Return the bytes of memory of a GPU, free or not. A CPU has no limit here."""
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else math.inf


def pinned(array: NDArray[Any], device: torch.device) -> Tensor:
    """Return an array as a tensor on the CPU, from which a copy to the device can be queued."""
    return torch.from_numpy(array).pin_memory() if device.type == "cuda" else torch.from_numpy(array)


def upload(array: NDArray[Any], device: torch.device) -> Tensor:
    """Return an array as a tensor on a device. On CUDA the copy is queued."""
    return pinned(array, device).to(device, non_blocking=True)


def fetch(tensor: Tensor) -> NDArray[Any]:
    """Return a tensor as an array. On CUDA this waits for the work that is queued."""
    if not tensor.is_cuda:
        return tensor.numpy()
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    host.copy_(tensor, non_blocking=True)
    torch.cuda.current_stream(tensor.device).record_event().synchronize()
    return host.numpy()
