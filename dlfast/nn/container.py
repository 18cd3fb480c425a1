"""Modules made of modules, and the two that only pass on or reshape."""

from __future__ import annotations

import math
import operator
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .. import _check as check
from .. import functional as F
from ..functional._linear import FUSED_ACTIVATIONS
from ..tensor import ArrayLike, Tensor, as_tensor
from .conv import Conv1d, Conv2d, ConvTranspose2d
from .elementwise import ReLU, Sigmoid, Tanh
from .linear import Linear
from .module import Module
from .norm import BatchNorm1d, BatchNorm2d
from .pool import MaxPool2d

_FUSED: dict[type, str] = {ReLU: "relu", Sigmoid: "sigmoid", Tanh: "tanh"}
_NORMS = (BatchNorm1d, BatchNorm2d)
_FUSING = (Linear, Conv1d, Conv2d, ConvTranspose2d, *_NORMS)  # no class derived from them: it may compute another thing


def _checked(owner: str, value: Any) -> Module:
    if not isinstance(value, Module):
        raise TypeError(f"{owner}: every part must be a Module, got {value!r}")
    return value


class _Row(Module):
    """Modules in a row under the names "0", "1", ... or their own."""

    def _row(self) -> list[tuple[str, Module]]:
        """The modules in the row, with their names."""
        return list(self.named_children())

    def __len__(self) -> int:
        return len(self._row())

    def __iter__(self) -> Iterator[Module]:
        return iter([module for _, module in self._row()])

    def __getitem__(self, index: Any) -> Any:
        pairs = self._row()
        if isinstance(index, slice):
            return self._of(pairs[index])
        return pairs[operator.index(index)][1]

    def __setitem__(self, index: int, module: Module) -> None:
        name, _ = self._row()[operator.index(index)]
        setattr(self, name, _checked(type(self).__name__, module))

    def append(self, module: Module) -> _Row:
        """Add one at the end. Returns self."""
        setattr(self, str(len(self)), _checked(type(self).__name__, module))
        return self

    def _of(self, pairs: list[tuple[str, Module]]) -> _Row:
        raise NotImplementedError


class Sequential(_Row):
    """Modules one after the other: y = f_n(... f_1(x)). Takes modules, or one OrderedDict of them by name.

    Indices give modules, slices give a Sequential of the same modules. Neighbours are run in one pass where that gives
    the same bits: an activation by the Linear, convolution or batch normalisation before it, else ReLU after the
    MaxPool2d that follows it, and a Conv2d with the MaxPool2d after it, where `conv2d_max_pool2d` writes no output of
    the convolution.
    """

    def __init__(self, *modules: Any) -> None:
        if len(modules) == 1 and isinstance(modules[0], dict):
            for name, module in modules[0].items():
                if not isinstance(name, str) or hasattr(self, name) or "." in name:
                    raise ValueError(f"Sequential: {name!r} cannot name a module: it is taken, or no plain string")
                setattr(self, name, _checked("Sequential", module))
        else:
            for i, module in enumerate(modules):
                setattr(self, str(i), _checked("Sequential", module))

    def forward(self, x: Any) -> Any:
        return _run(self._planned(), x)

    def _planned(self) -> list[Step]:
        """What runs the modules, worked out anew only where some module has changed."""
        plan = self.__dict__.get("_plan")
        if plan is None or plan[0] != Module.changes:
            plan = Module.changes, _steps([module for _, module in self._row()])
            self.__dict__["_plan"] = plan
        return plan[1]

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: their plan would name the modules of this one."""
        return {name: value for name, value in vars(self).items() if name != "_plan"}

    def _of(self, pairs: list[tuple[str, Module]]) -> Sequential:
        if all(name.isdigit() for name, _ in pairs):
            return Sequential(*(module for _, module in pairs))
        return Sequential(OrderedDict(pairs))


Step = tuple[Callable, str | None]  # a module, or a few of them, and the activation handed over to it


def _steps(parts: list[Module], pooling: bool = True) -> list[Step]:
    """What runs the modules, neighbours together where kernels can fuse them."""
    steps: list[Step] = []
    while parts:
        run, activation, taken = _step(parts, pooling)
        steps.append((run, activation))
        parts = parts[taken:]
    return steps


def _run(steps: list[Step], x: Any) -> Any:
    for run, activation in steps:
        x = run(x) if activation is None else run(x, activation)
    return x


def _step(parts: list[Module], pooling: bool) -> tuple[Callable, str | None, int]:
    """What runs the first of the modules, with its successors where kernels can fuse them; how many these are."""
    part, follower = parts[0], type(parts[1]) if len(parts) > 1 else Identity
    if type(part) is Conv2d and pooling:
        window, relu, taken = _pooling_after(parts)
        if window:
            return _Pooled(part, window, "relu" if relu else None, _steps(parts[:taken], False)), None, taken
    if type(part) is ReLU and _pools(parts, 1):
        return _PooledFirst(parts[1], part), None, 2
    later = follower is ReLU and type(part) not in _NORMS and _pools(parts, 2)  # normalisation has it for nothing
    fused = None if later else _FUSED.get(follower)
    if fused and type(part) in _FUSING and getattr(part, "activation", None) is None:
        return part, fused, 2
    return part, None, 1


class _Pooled:
    """A Conv2d and what follows it up to a MaxPool2d, in one pass where that is faster."""

    def __init__(self, conv: Conv2d, window: tuple[int, int], activation: str | None, apart: list[Step]):
        self.conv, self.window, self.activation, self.apart = conv, window, activation, apart

    def __call__(self, x: Any) -> Any:
        if self.conv.pools_at_once(x, self.window):
            return self.conv(x, self.activation, self.window)
        return _run(self.apart, x)


class _PooledFirst:
    """A ReLU that runs after the MaxPool2d behind it."""

    def __init__(self, pool: Module, relu: Module):
        self.pool, self.relu = pool, relu

    def __call__(self, x: Any) -> Any:
        return self.relu(self.pool(x))


def _pooling_after(parts: list[Module]) -> tuple[tuple[int, int] | None, bool, int]:
    """The window of the MaxPool2d that follows the Conv2d at the head, whether a ReLU comes before or after it, and the
    number of modules with the Conv2d; no window where they are not of the kind that `conv2d_max_pool2d` computes."""
    kinds = [type(part) for part in parts[1:3]]
    activation = vars(parts[0])["activation"]
    if MaxPool2d not in kinds or kinds[0] not in (MaxPool2d, ReLU) or activation not in (None, "relu"):
        return None, False, 0
    pool = parts[1 + kinds.index(MaxPool2d)]
    taken = 3 if ReLU in kinds else 2
    return _side_by_side(pool), ReLU in kinds or activation == "relu", taken


def _side_by_side(pool: Any) -> tuple[int, int] | None:
    """The window (rows, columns) of a MaxPool2d whose windows touch but do not overlap, without padding; or None."""
    window, stride, padding, dilation = (
        value if isinstance(value, tuple) else (value, value)
        for value in (pool.kernel_size, pool.stride, pool.padding, pool.dilation)
    )
    return window if (stride, padding, dilation, pool.ceil_mode) == (window, (0, 0), (1, 1), False) else None


def _pools(parts: list[Module], i: int) -> bool:
    """Whether a max-pooling at i may go before the ReLU in front of it.

    relu(max(x)) = max(relu(x)), gradients included, on a smaller image. But a dilated window may miss the image
    altogether; its -inf is for pooling to show.
    """
    part = parts[i] if i < len(parts) else None
    return type(part) is MaxPool2d and part.dilation in (1, (1, 1))


class ModuleList(_Row):
    """A list of modules whose parameters are found; it has no forward."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self.extend(modules)

    def extend(self, modules: Iterable[Module]) -> ModuleList:
        """Add several at the end. Returns self."""
        for module in modules:
            self.append(module)
        return self

    def _of(self, pairs: list[tuple[str, Module]]) -> ModuleList:
        return ModuleList(module for _, module in pairs)


class Residual(Sequential):
    """y = act(shortcut(x) + f(x)), f being the modules one after the other. Source: He et al. 2016, section 3.2.

    shortcut: the Module that brings x to the shape of f(x), such as a projection; None adds x as it is. activation:
    None, "relu", "sigmoid" or "tanh", after the sum; a batch normalisation that ends f computes both in its own pass.
    Takes modules, or one OrderedDict of them by name; length, indices and slices are those of f.
    Raises ValueError where shortcut(x) and f(x) differ in shape.
    """

    shortcut: Module | None = None
    activation: str | None = None

    def __init__(self, *modules: Any, shortcut: Module | None = None, activation: str | None = None) -> None:
        super().__init__(*modules)
        self.activation = check.choice("Residual", "activation", activation, FUSED_ACTIVATIONS)
        self.shortcut = None if shortcut is None else _checked("Residual", shortcut)

    def _row(self) -> list[tuple[str, Module]]:
        return [pair for pair in self.named_children() if pair[0] != "shortcut"]

    def forward(self, x: Any) -> Tensor:
        short = as_tensor(x) if self.shortcut is None else self.shortcut(x)
        steps = self._planned()
        y, last = _run(steps[:-1], x), steps[-1:]
        if last and _adds(last[0]) and isinstance(y, Tensor) and (short.shape, short.dtype) == (y.shape, y.dtype):
            return last[0][0](y, self.activation, short)
        y = _run(last, y)
        if short.shape != y.shape:
            what = "x has" if self.shortcut is None else "the shortcut gives"
            raise ValueError(
                f"Residual: {what} shape {short.shape} and f(x) {y.shape}, which cannot be added; "
                "give a shortcut= that maps x to the shape of f(x)"
            )
        y = short + y
        return y if self.activation is None else getattr(F, self.activation)(y)

    def extra_repr(self) -> str:
        return f"activation={self.activation!r}" if self.activation else ""


def _adds(step: Step) -> bool:
    """Whether this is a batch normalisation that can add a residual and take the activation behind the sum."""
    module, activation = step
    return type(module) in _NORMS and activation is None and getattr(module, "activation", None) is None


class Identity(Module):
    """y = x."""

    def forward(self, x: ArrayLike) -> Tensor:
        return as_tensor(x)


class Flatten(Module):
    """Join the axes from start_dim to end_dim: x (N, H, W, C) becomes (N, H W C), in channels-last order."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim, self.end_dim = operator.index(start_dim), operator.index(end_dim)

    def forward(self, x: ArrayLike) -> Tensor:
        x = as_tensor(x)
        shape, start, end = x.data.shape, self.start_dim, self.end_dim
        start += len(shape) if start < 0 else 0
        end += len(shape) if end < 0 else 0
        if not 0 <= start <= end < len(shape):
            raise ValueError(f"Flatten: x must have axes {self.start_dim} to {self.end_dim}, got shape {shape}")
        return x.reshape((*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :]))

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"
