"""Mixed precision in `fit`: autocast around forward passes, and the scale of the loss where gradients need one."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from .. import _check as check
from .._devices import CPU
from ..amp import GradScaler, autocast

DTYPES = ("bfloat16", "float16")


class Mixed:
    """What ``fit(amp=...)`` asks for: None, "bfloat16", or "float16", which needs the scaler.

    Raises ValueError for another name, ImportError where bfloat16 lacks ml_dtypes.
    """

    def __init__(self, amp: str | None = None):
        if amp is not None:
            autocast(check.choice("fit", "amp", amp, DTYPES))
        self.amp = amp
        self.scaler = GradScaler(enabled=amp == "float16")

    def check_place(self, place: Any) -> None:
        """Raise ValueError where the model is to compute on the CPU."""
        if self.amp is not None and place is CPU:
            raise ValueError(
                f"fit: amp={self.amp!r} is for GPUs, and the model lies on the CPU, which computes in float32; give "
                "device='cuda' or leave amp out"
            )

    def casting(self) -> AbstractContextManager:
        """For the forward pass and the loss."""
        return nullcontext() if self.amp is None else autocast(self.amp)
