"""Neighbours in a Sequential that run as one operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..tensor import Tensor, wants_gradient
from . import packed
from ._blame import name_layer
from .conv import Conv1d, Conv2d, ConvTranspose2d
from .elementwise import GELU, ReLU, Sigmoid, SiLU, Tanh
from .linear import Linear
from .module import Module
from .norm import BatchNorm1d, BatchNorm2d
from .pool import AvgPool2d, MaxPool2d

_FUSED: dict[type, str] = {ReLU: "relu", Sigmoid: "sigmoid", Tanh: "tanh"}
_NORMS = (BatchNorm1d, BatchNorm2d)
_CALL = Module.__call__
_FUSING = (Linear, Conv1d, Conv2d, ConvTranspose2d, *_NORMS)

Step = tuple[Any, str | None]  # a module, or a few of them, and the activation handed over to it


def steps_of(parts: list[Any], pooling: bool = True) -> list[Step]:
    """What runs the modules, neighbours together where kernels can fuse them."""
    steps: list[Step] = []
    while parts:
        run, activation, taken = _step(parts, pooling)
        steps.append((run, activation))
        parts = parts[taken:]
    return steps


def run_steps(steps: list[Step], x: Any) -> Any:
    for part, activation in steps:
        run = part.forward if type(part).__call__ is _CALL else part  # a call less where calling does nothing else
        try:
            x = run(x) if activation is None else run(x, activation)
        except Exception as error:
            name_layer(error, getattr(part, "lead", part), (x,))
            raise
    return x


def adds_residual(step: Step) -> bool:
    """Whether this is a batch normalisation that can add a residual and take the activation behind the sum."""
    run, activation = step
    norm: Any = run.norm if type(run) is _Normed else run
    return _kind(norm) in _NORMS and activation is None and norm.activation is None


def _step(parts: list[Any], pooling: bool) -> tuple[Callable, str | None, int]:
    """What runs the first of the modules, with its successors where kernels can fuse them; how many these are."""
    part, kind = parts[0], _kind(parts[0])
    if kind is Conv2d and len(parts) > 1 and _kind(parts[1]) is BatchNorm2d and part.activation is None:
        activation = _taken_over(parts[1:])
        return _Normed(part, parts[1]), activation, 3 if activation else 2
    if kind is Linear and part.activation is None and len(parts) > 1 and _kind(parts[1]) in (GELU, SiLU):
        return _Gated(part, parts[1]), None, 2
    if kind is Conv2d and pooling:
        pool, activation, taken = _pooling_after(parts)
        if pool and (window := _side_by_side(pool)):
            average = type(pool) is AvgPool2d
            return _Pooled(part, window, average, activation, steps_of(parts[:taken], False)), None, taken
    if kind is ReLU and _pools(parts, 1):
        return _PooledFirst(parts[1], part), None, 2
    if part._hooks is not None:
        return _Hooked(part), None, 1
    activation = _taken_over(parts)
    return part, activation, 2 if activation else 1


def _kind(part: Any) -> type:
    """The class of a module, or Module for one with hooks or with a forward set on it alone: it may compute otherwise.

    So may a class derived from one that is fused; hence no isinstance below.
    """
    return Module if "forward" in vars(part) or part._hooks is not None else type(part)


def _taken_over(parts: list[Any]) -> str | None:
    """The activation behind the first module, where that one can compute it in its own pass."""
    kind, follower = _kind(parts[0]), _kind(parts[1]) if len(parts) > 1 else Module
    if kind not in _FUSING or parts[0].activation is not None:
        return None
    later = follower is ReLU and kind not in _NORMS and _pools(parts, 2)  # normalisation has it for nothing
    return None if later else _FUSED.get(follower)


# `lead` of what follows is the module that an error is ascribed to which none of them has raised itself.


class _Normed:
    """A Conv2d and the BatchNorm2d behind it: in evaluation, where nothing is recorded, one operation."""

    def __init__(self, conv: Conv2d, norm: BatchNorm2d):
        self.lead = self.conv = conv
        self.norm = norm

    def __call__(self, x: Any, activation: str | None = None, residual: Tensor | None = None) -> Any:
        conv, norm = self.conv, self.norm
        learning = norm.training or norm.running_mean is None
        if learning or wants_gradient((x, conv.weight, conv.bias, norm.weight, norm.bias, residual)):
            return norm(conv(x), activation, residual)
        return conv(x, activation or norm.activation, None, norm, residual)


class _Gated:
    """A Linear and the GELU or SiLU behind it: in evaluation, from packed weights, one operation."""

    def __init__(self, layer: Linear, gate: Module):
        self.lead = self.layer = layer
        self.gate = gate

    def __call__(self, x: Any) -> Any:
        layer, gate = self.layer, self.gate
        if not layer.training:
            approximate = isinstance(gate, GELU) and gate.approximate == "tanh"
            name = "silu" if isinstance(gate, SiLU) else "gelu_tanh" if approximate else "gelu"
            if (y := packed.linear(layer, x, name)) is not None:
                return y
        return gate(layer(x))


class _Hooked:
    """A module that is called, since it has hooks, and not only its forward."""

    _hooks = None

    def __init__(self, part: Module):
        self.part = self.lead = part

    def __call__(self, x: Any) -> Any:
        return self.part(x)


class _Pooled:
    """A Conv2d and what follows it up to a MaxPool2d or AvgPool2d, in one pass where that is faster."""

    def __init__(self, conv: Conv2d, window: tuple[int, int], average: bool, activation: str | None, apart: list[Step]):
        self.lead = self.conv = conv
        self.window, self.average, self.activation, self.apart = window, average, activation, apart

    def __call__(self, x: Any) -> Any:
        if self.conv.pools_at_once(x, self.window, self.average):
            return self.conv(x, self.activation, self.window, average=self.average)
        return run_steps(self.apart, x)


class _PooledFirst:
    """A ReLU that runs after the MaxPool2d behind it."""

    def __init__(self, pool: Module, relu: Module):
        self.lead = self.pool = pool
        self.relu = relu

    def __call__(self, x: Any) -> Any:
        return self.relu(self.pool(x))


def _pooling_after(parts: list[Any]) -> tuple[Any, str | None, int]:
    """The MaxPool2d or AvgPool2d that follows the Conv2d at the head, the activation of the pass that computes both,
    and the number of modules with the Conv2d; no pooling where `conv2d_max_pool2d` or `conv2d_avg_pool2d` does not.

    With MaxPool2d a ReLU may come before it or after it, with AvgPool2d any activation before it.
    """
    kinds = [_kind(part) for part in parts[1:3]]
    own: str | None = vars(parts[0])["activation"]
    before = _FUSED.get(kinds[0]) if kinds and own is None else None
    if kinds[:1] == [AvgPool2d]:
        return parts[1], own, 2
    if before and kinds[1:] == [AvgPool2d]:
        return parts[2], before, 3
    if MaxPool2d not in kinds or kinds[0] not in (MaxPool2d, ReLU) or own not in (None, "relu"):
        return None, None, 0
    relu = "relu" if ReLU in kinds else own
    return parts[1 + kinds.index(MaxPool2d)], relu, 3 if ReLU in kinds else 2


def _side_by_side(pool: Any) -> tuple[int, int] | None:
    """The window (rows, columns) of a pooling whose windows touch but do not overlap, without padding; or None."""
    window, stride, padding, dilation = (
        value if isinstance(value, tuple) else (value, value)
        for value in (pool.kernel_size, pool.stride, pool.padding, pool.dilation)
    )
    return window if (stride, padding, dilation, pool.ceil_mode) == (window, (0, 0), (1, 1), False) else None


def _pools(parts: list[Any], i: int) -> bool:
    """Whether a max-pooling at i may go before the ReLU in front of it.

    relu(max(x)) = max(relu(x)), gradients included, on a smaller image. But a dilated window may miss the image
    altogether; its -inf is for pooling to show.
    """
    part = parts[i] if i < len(parts) else None
    return part is not None and _kind(part) is MaxPool2d and part.dilation in (1, (1, 1))
