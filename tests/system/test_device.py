"""Devices and precisions that are not available are reported."""

from __future__ import annotations

import importlib.util
import re

import pytest
import torch

from transformer.errors import DeviceError
from transformer.system.device import (
    advice_on_precision,
    hardware,
    missing_here,
    resolve_device,
    resolve_dtype,
)
from transformer.system.processors import Processors


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


def test_torch_takes_no_more_threads_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    set_to: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", set_to.append)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    monkeypatch.setattr("transformer.system.device.available", lambda: Processors(4, 2))
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    resolve_device("cpu")
    monkeypatch.delenv("OMP_NUM_THREADS")
    resolve_device("cpu")
    assert set_to == [2]


def test_what_a_system_lacks_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has neither module."""
    assert missing_here() == []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert missing_here() == [
        "run directories are not locked: start only one training in each",
        "the memory that is used is not measured",
    ]


def test_the_chosen_gpu_is_the_current_one_and_cudnn_has_no_say(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", calls.append)
    monkeypatch.setattr(torch.backends.cuda, "enable_cudnn_sdp", calls.append)
    assert resolve_device("cuda:1") == torch.device("cuda", 1)
    assert resolve_device("auto") == torch.device("cuda", 0)
    assert calls == [1, False, 0, False]


@pytest.mark.parametrize(
    ("capability", "precision", "advice"),
    [
        ((9, 0), "float32", "products in float32 are exact .no TF32., but several times slower"),
        ((9, 0), "auto", None),
        ((7, 5), "auto", "A GPU has no bfloat16, so this is float32; train.precision=float16 would be faster"),
        ((7, 5), "float16", None),
        ((6, 1), "auto", None),
    ],
)
def test_a_slow_precision_is_said(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], precision: str, advice: str | None
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda on: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda on: "A GPU")
    said = advice_on_precision(precision, torch.device("cuda", 0))
    assert (said is None) if advice is None else re.match(advice, said or "")
    assert advice_on_precision("float32", torch.device("cpu")) is None


def test_hardware_is_named_with_the_number_of_processes() -> None:
    one = hardware(torch.device("cpu"))
    assert re.fullmatch(r"\S.*, \d+ threads", one)
    assert hardware(torch.device("cpu"), 2) == f"2 × {one}"
