"""Tensor, an array that remembers how it was made, and Parameter, a Tensor that a layer learns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ._arrays import to_array
from ._check import FLOATS
from ._methods import Methods
from ._tape import (
    Node,
    Variable,
    arrays_of,
    no_grad,
    record,
    results_are,
    run,
    run_backward,
    unwrap,
    wants_gradient,
    wrap,
)
from .kernels import Into

_ONE = {dtype: np.ones((), dtype) for dtype in FLOATS}  # the usual gradient of a loss

__all__ = [
    "ArrayLike",
    "Parameter",
    "Tensor",
    "apply",
    "arrays_of",
    "as_tensor",
    "no_grad",
    "record",
    "run",
    "unwrap",
    "wants_gradient",
]

ArrayLike = Methods | np.ndarray | np.generic | Sequence | float


class Tensor(Variable, Methods):
    """An array with an optional gradient; `backward()` fills `grad` of every Tensor that was made with requires_grad.

    data: an array is kept without a copy and with its dtype; lists of Python floats become float32.
    Integers and booleans are welcome where no gradient is wanted.
    Raises TypeError for arrays that do not hold numbers, and for requires_grad on anything but float32 and float64.
    """

    __slots__ = ()
    __array_ufunc__ = None  # array + Tensor calls Tensor.__radd__; np.exp(Tensor) raises instead of losing the gradient

    data: np.ndarray
    requires_grad: bool
    grad: np.ndarray | None
    _node: Node | None

    def __init__(self, data: ArrayLike, requires_grad: bool = False) -> None:
        array = data.data if isinstance(data, Tensor) else to_array(data)
        if requires_grad and array.dtype not in FLOATS:
            raise TypeError(f"Tensor: requires_grad needs float32 or float64 data, got {array.dtype}; cast it first")
        self.data = array
        self.requires_grad = bool(requires_grad)

    # The array

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def dtype(self) -> np.dtype:
        return self.data.dtype

    @property
    def ndim(self) -> int:
        return self.data.ndim

    @property
    def size(self) -> int:
        return self.data.size

    def numpy(self) -> np.ndarray:
        """The array itself, not a copy."""
        return self.data

    def item(self) -> Any:
        """The only element as a Python number."""
        return self.data.item()

    def detach(self) -> Tensor:
        """The same array without its history."""
        return wrap(self.data, None)

    def to(self, target: Any) -> Tensor:
        """This Tensor on a device ("cpu" is the only one) or cast to a dtype."""
        if isinstance(target, str) and target == "cpu":
            return self
        if isinstance(target, str) and target.partition(":")[0] in ("cuda", "gpu", "mps"):
            raise ValueError(f"to: device must be 'cpu', got {target!r}; this version computes on CPUs only")
        return self.astype(target)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy:
            return np.array(self.data, dtype=dtype)
        if copy is False and dtype is not None and self.data.dtype != dtype:
            raise ValueError(f"a Tensor of {self.data.dtype} cannot become an array of {dtype} without a copy")
        return np.asarray(self.data, dtype=dtype)

    def __dlpack__(self, **options: Any) -> Any:
        return self.data.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.data.__dlpack_device__()

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator[Tensor]:
        if self.data.ndim == 0:
            raise TypeError("iteration over a 0-d Tensor")
        return (self[i] for i in range(len(self.data)))

    def __bool__(self) -> bool:
        return bool(self.data)

    def __float__(self) -> float:
        return float(self.data.item())

    def __int__(self) -> int:
        return int(self.data.item())

    def __format__(self, spec: str) -> str:
        return format(self.data.item() if spec and self.data.ndim == 0 else str(self), spec)

    def __repr__(self) -> str:
        text = np.array2string(self.data, separator=", ", prefix="Tensor(")
        dtype = "" if self.data.dtype == FLOATS[0] else f", dtype={self.data.dtype}"
        return f"Tensor({text}{dtype}{', requires_grad=True' if self.requires_grad else ''})"

    def __reduce__(self) -> tuple:
        return _restore, (type(self), np.array(self.data), self.requires_grad)

    __hash__ = object.__hash__

    # Gradients

    def backward(self, gradient: ArrayLike | None = None) -> None:
        """Add d(self)/d(leaf), weighted with `gradient`, to `grad` of every leaf that self was computed from.

        gradient: same shape and dtype as self; may be left out for a single element. The graph is freed on the way.
        Raises RuntimeError where nothing was recorded, where several elements have no gradient given, and for a
        second call on the same graph.
        """
        if not self.requires_grad:
            raise RuntimeError(
                "backward: this Tensor depends on nothing that requires a gradient; "
                "make an input with requires_grad=True, and compute outside no_grad()"
            )
        seed = self._seed(gradient)
        if self._node is None:
            self._accumulate(seed, False)
        else:
            run_backward(self._node, seed)

    def _seed(self, gradient: ArrayLike | None) -> np.ndarray:
        if gradient is None:
            if self.data.size != 1:
                raise RuntimeError(
                    f"backward: a Tensor of shape {self.shape} has several elements and so no single gradient; "
                    "reduce it first (loss.mean().backward()) or pass gradient=, an array of that shape"
                )
            one = _ONE.get(self.data.dtype) if self.data.ndim == 0 else None
            return np.ones(self.data.shape, self.data.dtype) if one is None else one
        array = unwrap(gradient)
        if array.shape != self.data.shape:
            raise ValueError(f"backward: gradient must have shape {self.shape}, got {array.shape}")
        return array.astype(self.data.dtype, copy=False)


results_are(Tensor)


def _restore(kind: type[Tensor], array: np.ndarray, requires_grad: bool) -> Tensor:
    return kind(array, requires_grad)


class Parameter(Tensor):
    """A Tensor that a layer learns. It owns its storage: values are written in place, so that views of it stay good.

    p.data = array copies the values in, and raises ValueError unless shape and dtype agree. An optimizer moves a
    parameter into its flat arena with `_bind`; from then on the tape writes the gradient straight into the arena.
    """

    __slots__ = ()
    _data: Any = Variable.__dict__["data"]  # the storage itself, which the property below guards
    _grad: Any = Variable.__dict__["grad"]

    def __init__(self, data: ArrayLike, requires_grad: bool = True) -> None:
        self._data = np.array(Tensor(data, requires_grad).data, order="C")
        self.requires_grad = requires_grad

    def _set_data(self, value: ArrayLike) -> None:
        array, own = unwrap(value), self._data
        if array.shape != own.shape or array.dtype != own.dtype:
            raise ValueError(
                f"Parameter: data must have shape {own.shape} and dtype {own.dtype}, "
                f"got {array.shape} and {array.dtype}"
            )
        own[...] = array

    def _set_grad(self, value: ArrayLike | None) -> None:
        if value is None:
            self._grad = None
            return
        array = unwrap(value)
        if array.shape != self._data.shape:
            raise ValueError(f"Parameter: grad must have shape {self._data.shape}, got {array.shape}")
        self._grad = None
        self._accumulate(array.astype(self._data.dtype, copy=False), False)

    data: Any = property(_data.__get__, _set_data)
    grad: Any = property(_grad.__get__, _set_grad)

    def _bind(self, data: np.ndarray, grad: np.ndarray) -> None:
        """Move values and gradient into these arrays, of the same shape and dtype, and keep them there."""
        data[...] = self._data
        if self._grad is not None:
            grad[...] = self._grad
            self._grad = grad
        self._data, self._place = data, Into(grad)

    def _rebind(self, data: np.ndarray) -> None:
        """Take over an array of perhaps another dtype, out of any arena; the gradient is forgotten."""
        self._data, self._grad, self._place = data, None, None

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


def as_tensor(value: ArrayLike) -> Tensor:
    """A Tensor as it is, anything else in a new one."""
    return value if isinstance(value, Tensor) else Tensor(value)


def apply(op: str, *inputs: Any, **options: Any) -> Any:
    """Run kernel `op` on Tensors, arrays and None, and record it where a gradient may be asked for.

    Returns a Tensor, or a tuple of Tensors for an operation with several outputs. Arguments are not checked here:
    `functional` does that.
    """
    return run(op, inputs, arrays_of(inputs), options)
