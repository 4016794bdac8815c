"""Devices and precisions that are not available are reported."""

from __future__ import annotations

import pytest
import torch

from transformer.errors import DeviceError
from transformer.system.device import resolve_device, resolve_dtype


def test_a_missing_gpu_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(DeviceError, match="device cuda:2 is not available: there are 2 GPUs"):
        resolve_device("cuda:2")


def test_float16_on_a_cpu() -> None:
    with pytest.raises(DeviceError, match="float16 needs a CUDA device; use bfloat16 or float32 on a CPU"):
        resolve_dtype("float16", torch.device("cpu"))


def test_int8_applies_to_products_only() -> None:
    cpu = torch.device("cpu")
    assert resolve_dtype("int8", cpu) == resolve_dtype("auto", cpu)
