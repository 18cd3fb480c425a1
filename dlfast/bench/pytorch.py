"""PyTorch as the peer: images in both of its layouts. Imported only where PyTorch is installed."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from .rows import OperationStep, Step

# What holds PyTorch and the two libraries in it to AVX2, as DLFAST_ISA=avx2 does dlfast.
HELD = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
LAYOUTS = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}


def tensor(array: np.ndarray, layout: str) -> torch.Tensor:
    """A copy; images (N, H, W, C) and kernels (K, R, S, C) in PyTorch's axis order, (N, C, H, W), in that layout."""
    if array.ndim != 4:
        return torch.tensor(array)
    return torch.from_numpy(array.transpose(0, 3, 1, 2).copy()).to(memory_format=LAYOUTS[layout])


def array(value: torch.Tensor) -> np.ndarray:
    """A tensor as an array in our axis order."""
    value = value.detach()
    return (value.permute(0, 2, 3, 1) if value.ndim == 4 else value).numpy()


def instructions(environment: Mapping[str, str] = os.environ) -> str:
    """The instruction set of PyTorch's own loops, and whether it and its libraries are held to AVX2."""
    held = [name for name, value in HELD.items() if environment.get(name, "").lower() == value.lower()]
    if len(held) == len(HELD):
        words = f"held to AVX2 by {', '.join(held)}"
    else:
        words = "not held to AVX2" + (f", for of {', '.join(HELD)} only {', '.join(held)} is set" if held else "")
    return f"{torch.backends.cpu.get_cpu_capability()}, {words}"


def operation_steps(
    function: Callable[..., Any], arrays: Sequence[np.ndarray], dy: np.ndarray, needs: Sequence[bool]
) -> dict[str, Step]:
    """`function(torch, *tensors)` and its backward, in both layouts where the first array is an image."""
    return {
        f"PyTorch {layout}" if arrays[0].ndim == 4 else "PyTorch": OperationStep(
            partial(function, torch),
            [tensor(each, layout).requires_grad_(need) for each, need in zip(arrays, needs)],
            tensor(dy, layout),
            array,
        )
        for layout in (LAYOUTS if arrays[0].ndim == 4 else ("NCHW",))
    }
