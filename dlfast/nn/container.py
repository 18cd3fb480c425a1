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
from .fusion import Step, adds_residual, run_steps, steps_of
from .module import Module


def _checked(owner: str, value: Any) -> Module:
    if not isinstance(value, Module):
        raise TypeError(f"{owner}: every part must be a Module, got {value!r}")
    return value


class _Row(Module):
    """Modules in a row under the names "0", "1", ... or their own."""

    def _row(self) -> list[tuple[str, Module]]:
        """The modules in the row, with their names; one that is there twice, twice."""
        return list(self._named())

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
        number = len(self)
        while str(number) in vars(self):  # a slice has the names that its modules had before
            number += 1
        setattr(self, str(number), _checked(type(self).__name__, module))
        return self

    def extend(self, modules: Iterable[Module]) -> _Row:
        """Add several at the end. Returns self."""
        for module in modules:
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> _Row:
        """Put one before that at `index`; the names are numbered anew. Returns self."""
        modules = list(self)
        modules.insert(index, _checked(type(self).__name__, module))
        return self._renew(modules)

    def __delitem__(self, index: Any) -> None:
        modules = list(self)
        del modules[index]
        self._renew(modules)

    def _renew(self, modules: list[Module]) -> _Row:
        for name, _ in self._row():
            delattr(self, name)
        return self.extend(modules)

    def _of(self, pairs: list[tuple[str, Module]]) -> _Row:
        raise NotImplementedError


class Sequential(_Row):
    """Modules one after the other: y = f_n(... f_1(x)). Takes modules, or one OrderedDict of them by name.

    Indices give modules, slices give a Sequential of the same modules under the same names.

    Neighbours are run in one pass where that gives the same output, bit by bit, and the same gradients to rounding: an
    activation by the Linear, convolution or batch normalisation before it, else ReLU after the MaxPool2d that follows
    it, and a Conv2d with the MaxPool2d after it, where `conv2d_max_pool2d` writes no output of the convolution, or with
    the AvgPool2d, where `conv2d_avg_pool2d` reads that from cache. In evaluation, where nothing needs a gradient, a
    Conv2d takes over the BatchNorm2d after it as well (and the activation after that), and a Linear the GELU or SiLU:
    the same but for rounding.
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
        return run_steps(self._planned(), x)

    def _planned(self) -> Any:
        """What runs the modules, worked out anew only where some module has changed."""
        plan = self.__dict__.get("_plan")
        if plan is None or plan[0] != Module.changes:
            plan = Module.changes, self._plan_of(steps_of([module for _, module in self._row()]))
            self.__dict__["_plan"] = plan
        return plan[1]

    def _plan_of(self, steps: list[Step]) -> Any:
        return steps

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: their plan would name the modules of this one."""
        return {name: value for name, value in vars(self).items() if name != "_plan"}

    def _of(self, pairs: list[tuple[str, Module]]) -> Sequential:
        return Sequential(OrderedDict(pairs))


class ModuleList(_Row):
    """A list of modules whose parameters are found; it has no forward."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self.extend(modules)

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
        return [pair for pair in self._named() if pair[0] != "shortcut"]

    def _plan_of(self, steps: list[Step]) -> tuple[list[Step], Callable | None, list[Step]]:
        """All steps but the last, what adds the residual in its own pass if the last one does, the last."""
        adds = steps[-1][0] if steps and adds_residual(steps[-1]) else None
        return steps[:-1], adds, steps[-1:]

    def forward(self, x: Any) -> Tensor:
        short = as_tensor(x) if self.shortcut is None else self.shortcut(x)
        first, adds, last = self._planned()
        y = run_steps(first, x)
        if adds is not None:
            try:
                return adds(y, self.activation, short)
            except (TypeError, ValueError):  # what does not fit shows below, and who says so
                pass
        y = run_steps(last, y)
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
