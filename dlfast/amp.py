"""Training in mixed precision on a GPU: products in half, weights and sums in float32.

    scaler = dl.amp.GradScaler()                  # for float16; bfloat16 has float32's range and needs none
    with dl.amp.autocast("float16"):
        loss = F.cross_entropy(model(x), y)
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()

Source: Micikevicius et al. 2018, "Mixed precision training", sections 3.1 and 3.2.
"""

from __future__ import annotations

import math
from contextlib import ContextDecorator
from threading import get_ident
from typing import Any

import numpy as np

from . import _check as check
from ._autocast import Casting, threads
from .kernels.capturing import refuse
from .kernels.halves import HALVES, half_dtype
from .optim import Optimizer
from .tensor import Tensor

__all__ = ["GradScaler", "autocast"]


class autocast(ContextDecorator):
    """Run operations on GPUs in the dtype that suits them, in a ``with`` or as a decorator.

    Linear layers, products, convolutions, attention and recurrent layers run in `dtype`, "bfloat16" or "float16",
    their weights cast once; losses, softmax, exp, log, powers, sums and means in float32; the rest in the widest dtype
    of its arguments, and norms give half for half from statistics, weight and bias in float32. Parameters stay in
    float32, and so do their gradients. Call ``backward`` outside of it.
    enabled=False leaves everything as it is, inside of another autocast too.
    Raises ValueError for another dtype, ImportError where bfloat16 lacks ml_dtypes; on entering, RuntimeError where
    there is no GPU, with the reason; for products of arrays on the CPU RuntimeError, for it computes in float32.
    """

    def __init__(self, dtype: Any = "bfloat16", enabled: bool = True):
        name = dtype if isinstance(dtype, str) else str(np.dtype(dtype))
        if name not in HALVES:
            raise ValueError(f"autocast: dtype must be 'bfloat16' or 'float16', got {dtype!r}")
        self.dtype, self.enabled = half_dtype(name) if enabled else None, bool(enabled)
        self._name = name
        self._before: list[Casting | None] = []

    def _recreate_cm(self) -> autocast:  # a decorated function may call itself
        return autocast(self._name, self.enabled)

    def __enter__(self) -> autocast:
        before = threads.get(get_ident())
        if self.dtype is None:
            threads.pop(get_ident(), None)
        elif before is None or before.dtype != self.dtype:
            _find_device()
            threads[get_ident()] = Casting(self.dtype)
        self._before.append(before)
        return self

    def __exit__(self, *exception: Any) -> None:
        before = self._before.pop()
        if before is None:
            threads.pop(get_ident(), None)
        else:
            threads[get_ident()] = before


def _find_device() -> None:
    from .cuda import get_device

    try:
        get_device()
    except RuntimeError as error:
        raise RuntimeError(f"autocast is for GPUs (the CPU computes in float32; enabled=False): {error}") from error


class _Progress:
    """How far a step of an optimizer has come."""

    def __init__(self) -> None:
        self.unscaled = self.stepped = self.overflowed = False


class GradScaler:
    """Multiplies the loss, so that small gradients do not vanish in float16, and divides the gradients by it again.

    A step whose gradients are not all finite is left out, and the scale multiplied by backoff_factor; after
    growth_interval steps in a row without that it is multiplied by growth_factor. Works on the CPU, too.
    Raises ValueError unless init_scale > 0, growth_factor > 1, 0 < backoff_factor < 1 and growth_interval >= 1.
    Source: Micikevicius et al. 2018, section 3.2.
    """

    def __init__(
        self, init_scale: float = 2.0**16, growth_factor: float = 2.0, backoff_factor: float = 0.5,
        growth_interval: int = 2000, enabled: bool = True,
    ):  # fmt: skip
        number = check.number
        self._scale = number("GradScaler", "init_scale", init_scale, 0, math.inf, low_open=True)
        self._growth = number("GradScaler", "growth_factor", growth_factor, 1, math.inf, low_open=True)
        self._backoff = number("GradScaler", "backoff_factor", backoff_factor, 0, 1, low_open=True)
        self._interval = check.integer("GradScaler", "growth_interval", growth_interval, 1)
        self._enabled, self._good_steps = bool(enabled), 0
        self._under_way: dict[int, _Progress] = {}  # by the optimizer's id, since the last update

    def is_enabled(self) -> bool:
        return self._enabled

    def get_scale(self) -> float:
        """What losses are multiplied by; 1 where it is not enabled."""
        return self._scale if self._enabled else 1.0

    def scale(self, outputs: Any) -> Any:
        """The loss times the scale; of a list or tuple each."""
        if isinstance(outputs, (list, tuple)):
            return type(outputs)(self.scale(each) for each in outputs)
        if not isinstance(outputs, Tensor):
            raise TypeError(f"GradScaler.scale: expected a Tensor or a list of them, got {type(outputs).__name__}")
        if not self._enabled:
            return outputs
        refuse("the scale of losses, which follows overflows; bfloat16 needs none")
        return outputs * self._scale

    def unscale_(self, optimizer: Optimizer) -> None:
        """Divide the optimizer's gradients by the scale, in place, for what reads them before `step`: clipping.

        Raises RuntimeError for a second call before `update`.
        """
        if not self._enabled:
            return
        progress = self._progress(optimizer)
        if progress.unscaled or progress.stepped:
            raise RuntimeError("GradScaler: unscale_() has been called for this optimizer, or its step, since update()")
        progress.overflowed = not _are_finite(optimizer)
        optimizer.multiply_gradients(1 / self._scale)
        progress.unscaled = True

    def step(self, optimizer: Optimizer, closure: None = None) -> Any:
        """``optimizer.step()`` by the gradients divided by the scale; nothing where one of them is not finite.

        Gradients that `unscale_` has not divided stay as they are: the division is part of the update. Raises
        RuntimeError for a second call before `update`, and for a closure, whose loss nobody would scale.
        """
        if closure is not None:
            raise RuntimeError("GradScaler: step takes no closure; compute the loss, scale it and call backward before")
        if not self._enabled:
            return optimizer.step()
        progress = self._progress(optimizer)
        if progress.stepped:
            raise RuntimeError("GradScaler: step() has been called for this optimizer since the last update()")
        if not progress.unscaled and getattr(optimizer.step, "__func__", None) is not Optimizer.step:
            self.unscale_(optimizer)  # a step of the user's own reads the gradients
        progress.stepped = True
        if progress.unscaled:
            return None if progress.overflowed else optimizer.step()
        norm = optimizer.gradient_norm()
        progress.overflowed = not math.isfinite(norm) and not _are_finite(optimizer)
        if not progress.overflowed:
            optimizer.step_by(norm, 1 / self._scale)
        return None

    def update(self, new_scale: float | None = None) -> None:
        """End a round of steps: a smaller scale after an overflow, a larger one after a good while, or `new_scale`.

        Raises RuntimeError where there was neither `step` nor `unscale_`.
        """
        if not self._enabled:
            return
        if not self._under_way and new_scale is None:
            raise RuntimeError("GradScaler: update() comes after step(optimizer)")
        overflowed = any(progress.overflowed for progress in self._under_way.values())
        self._under_way = {}
        if new_scale is not None:
            self._scale = check.number("GradScaler", "new_scale", new_scale, 0, math.inf, low_open=True)
        else:
            self.adapt(overflowed)

    def adapt(self, overflowed: bool) -> None:
        """What `update` does after a step, for those who find overflows and divide gradients themselves."""
        if not self._enabled:
            return
        self._good_steps = 0 if overflowed else self._good_steps + 1
        if overflowed:
            self._scale *= self._backoff
        elif self._good_steps == self._interval:
            self._scale, self._good_steps = self._scale * self._growth, 0

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs, by PyTorch's names; empty where it is not enabled."""
        if not self._enabled:
            return {}
        return {
            "scale": self._scale, "growth_factor": self._growth, "backoff_factor": self._backoff,
            "growth_interval": self._interval, "_growth_tracker": self._good_steps,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave. Raises ValueError, and changes nothing, where something is missing."""
        if not self._enabled:
            return
        if missing := [name for name in self.state_dict() if name not in state]:
            raise ValueError(f"GradScaler: the state lacks {', '.join(missing)}; was the scaler enabled that gave it?")
        fresh = GradScaler(*(state[name] for name in ("scale", "growth_factor", "backoff_factor", "growth_interval")))
        self._scale, self._growth, self._backoff = fresh._scale, fresh._growth, fresh._backoff
        self._interval, self._good_steps = fresh._interval, int(state["_growth_tracker"])

    def _progress(self, optimizer: Optimizer) -> _Progress:
        return self._under_way.setdefault(id(optimizer), _Progress())

    def __repr__(self) -> str:
        return f"GradScaler(scale={self.get_scale():g}, enabled={self._enabled})"


def _are_finite(optimizer: Optimizer) -> bool:
    """Whether all gradients are finite: by one sum of their squares, which float64 holds but for float64's largest."""
    if math.isfinite(optimizer.gradient_norm()):
        return True
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    return all(bool(np.isfinite(gradient).all()) for gradient in gradients)
