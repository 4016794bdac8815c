"""Which kernels the network uses: those of GPUs or those of CPUs."""

from __future__ import annotations

from torch import Tensor


def on_gpu(x: Tensor) -> bool:
    """Return whether `x` is computed with by the kernels of a GPU. All such choices are made here.

    Tests replace this function, so that the code for GPUs runs on a CPU.
    """
    return x.is_cuda
