"""Selects the device and the precision of arithmetic."""

from __future__ import annotations

import functools
import importlib.util
import os
import platform
import re
from collections import deque
from pathlib import Path

import torch

from transformer.errors import ConfigError, DeviceError
from transformer.system.launcher import Launch, read_launch
from transformer.system.processors import available

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def resolve_device(name: str = "auto") -> torch.device:
    """Return the device that `auto`, `cpu`, `cuda` or `cuda:N` means. Raises DeviceError if it is not available.

    A GPU becomes the current device of torch, and has its number in the result. torch takes no more threads than this
    process has cores, unless OMP_NUM_THREADS says how many: they wait for each other at each operation, so that more
    would only stop each other.
    """
    if "OMP_NUM_THREADS" not in os.environ and torch.get_num_threads() > (cores := available().cores):
        torch.set_num_threads(cores)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        found = torch.device(name)
    except RuntimeError:
        raise DeviceError(f"unknown device {name!r}; use auto, cpu, cuda or cuda:N") from None
    if found.type == "cuda" and not torch.cuda.is_available():
        why = "this torch is built without CUDA" if torch.version.cuda is None else "no GPU is visible to it"
        raise DeviceError(f"device {name} is not available: {why}")
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise DeviceError(f"device {name} is not available: there are {torch.cuda.device_count()} GPUs")
    if found.type not in ("cpu", "cuda"):
        raise DeviceError(f"device {name} is not supported; use cpu or cuda")
    if found.type != "cuda":
        return found
    launch = read_launch()
    return gpu_of(launch) if launch.count > 1 else use_gpu(found.index or 0)


def gpu_of(launch: Launch) -> torch.device:
    """Make the GPU of this one of several processes the current device, and return it.

    No process touches the GPU of another: that would take half a gigabyte of it.
    """
    gpus, local = torch.cuda.device_count(), launch.local
    if local is None and gpus > 1:
        raise ConfigError(
            f"there are {gpus} GPUs, but LOCAL_RANK, the number of this process on its node, is not set: start "
            "training with torchrun or srun"
        )
    if local is None or (gpus == 1 and launch.bound):
        local = 0
    if local >= gpus:
        raise DeviceError(f"LOCAL_RANK is {local}, but there are {gpus} GPUs; start one process for each")
    return use_gpu(local)


def use_gpu(number: int) -> torch.device:
    """Make a GPU the current device, and return it. Sets which attention kernels torch may choose.

    cuDNN makes a plan for each new shape, which takes about a second, and nearly each batch has a shape of its own. Its
    gradients can be NaN with masks (pytorch#196678), and differ from run to run.
    """
    torch.cuda.set_device(number)  # where random numbers are seeded, memory is pinned and streams are made
    torch.backends.cuda.enable_cudnn_sdp(False)
    return torch.device("cuda", number)


def missing_here() -> list[str]:
    """Return what this system cannot do for a training, as sentences. On Linux and macOS it can do all."""
    lacks = {
        "fcntl": "run directories are not locked: start only one training in each",
        "resource": "the memory that is used is not measured",
    }
    return [what for module, what in lacks.items() if importlib.util.find_spec(module) is None]


def resolve_dtype(name: str, on: torch.device) -> torch.dtype:
    """Return the dtype of arithmetic. `auto` is bfloat16 if the hardware multiplies matrices in it, else float32."""
    if name == "float16" and on.type != "cuda":
        raise DeviceError("float16 needs a CUDA device; use bfloat16 or float32 on a CPU")
    if name not in ("auto", "int8"):  # with int8 only matrix products are in 8 bits; the rest is as for auto
        return DTYPES[name]
    return torch.bfloat16 if _has_bfloat16(on) else torch.float32


def _has_bfloat16(on: torch.device) -> bool:
    if on.type == "cuda":
        return torch.cuda.get_device_capability(on) >= (8, 0)
    return _cpu_has_bfloat16()


@functools.cache
def _cpu_has_bfloat16() -> bool:
    if not hasattr(torch.cpu, "get_capabilities"):
        return False
    flags = torch.cpu.get_capabilities()
    return bool(flags.get("avx512_bf16") or flags.get("amx_bf16"))


def advice_on_precision(name: str, on: torch.device) -> str | None:
    """Return what would make training in this precision, by its name in the configuration, faster on a GPU."""
    if on.type != "cuda" or resolve_dtype(name, on) != torch.float32:
        return None
    if _has_bfloat16(on):
        return "products in float32 are exact (no TF32), but several times slower than with train.precision=bfloat16"
    if torch.cuda.get_device_capability(on) >= (7, 0):
        return f"{device_name(on)} has no bfloat16, so this is float32; train.precision=float16 would be faster"
    return None


class LaunchQueue:
    """Bounds how far the host runs ahead of a GPU, so that the time on the host is that of the device."""

    def __init__(self, device: torch.device, most: int = 2) -> None:
        self.on_gpu, self.most = device.type == "cuda", most
        self._events: deque[torch.cuda.Event] = deque()

    def wait(self) -> None:
        """Mark the end of the work so far, and wait until all but `most` such marks are reached."""
        if self.on_gpu:
            event = torch.cuda.Event(blocking=True)
            event.record()
            self._events.append(event)
            if len(self._events) > self.most:
                self._events.popleft().synchronize()


def device_name(on: torch.device) -> str:
    """Return the name of a device for logs and model cards."""
    if on.type == "cuda":
        return torch.cuda.get_device_name(on)
    return f"CPU, {torch.get_num_threads()} threads"


def hardware(on: torch.device, processes: int = 1) -> str:
    """Return what computes, in words, to be kept with a result: `2 × NVIDIA H100 80GB HBM3`, `AMD EPYC, 4 threads`."""
    name = device_name(on) if on.type == "cuda" else f"{_cpu_name()}, {torch.get_num_threads()} threads"
    return name if processes == 1 else f"{processes} × {name}"


def _cpu_name() -> str:
    """Return the name of this machine's processor, or else of its architecture."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*: *(\S.*?) *$", text, re.MULTILINE)
    return found[1] if found else platform.processor() or platform.machine() or "CPU"
