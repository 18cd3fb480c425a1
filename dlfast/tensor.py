"""Tensor, an array that remembers how it was made, and Parameter, a Tensor that a layer learns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from . import _dlpack, _ufuncs
from ._arrays import to_array
from ._changes import note
from ._check import FLOATS
from ._devices import assign, check_one_device, on_cpu, on_device
from ._methods import Methods
from ._modes import no_grad
from ._names import Names
from ._tape import (
    Node,
    Variable,
    arrays_of,
    record,
    results_are,
    run,
    run_backward,
    unwrap,
    wants_gradient,
    wrap,
)
from .kernels import Into
from .kernels.halves import is_half
from .kernels.memory import pooled

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


def _can_learn(array: Any) -> bool:
    """Whether an array may have a gradient: of float32 or float64, on a device in half, too."""
    return array.dtype in FLOATS or (on_device(array) and is_half(array.dtype))


ArrayLike: TypeAlias = Methods | np.ndarray | np.generic | Sequence | float


class Tensor(Variable, Names):
    """An array with an optional gradient; `backward()` fills `grad` of every Tensor that was made with requires_grad.

    data: an array is kept without a copy and with its dtype; lists of Python floats become float32.
    Integers and booleans are welcome where no gradient is wanted.
    In-place operators and assignments (`x += 1`, `x[0] = 1`) write into the array where nothing is recorded, raise
    RuntimeError for a leaf that requires a gradient, and else give x a new array with its history, which views that
    were taken before do not see.
    Raises TypeError for arrays that do not hold numbers, masked ones among them, and for requires_grad on anything but
    float32 and float64.
    """

    __slots__ = ()
    __array_ufunc__ = _ufuncs.Dispatch()  # np.exp(x) is x.exp(), array + x is x.__radd__(array)

    data: np.ndarray
    requires_grad: bool
    grad: np.ndarray | None
    _node: Node | None

    def __init__(self, data: ArrayLike, requires_grad: bool = False) -> None:
        self._data = data.data if isinstance(data, Tensor) else to_array(data)
        if requires_grad:
            self._set_requires_grad(True)

    def _set_data(self, value: ArrayLike) -> None:
        array, own = unwrap(value), self._data
        if (self._learns or own.dtype.kind == "f") and not _can_learn(array):
            raise TypeError(f"Tensor: data of a {own.dtype} Tensor must be float32 or float64, got {array.dtype}")
        if array is own:  # x.data += 1 has written into it
            note(own)
        elif self._place is not None or self._node is not None:
            self._overwrite(array)
        else:
            self._data = array

    def _overwrite(self, array: np.ndarray) -> None:
        """Copy the values in. Raises ValueError unless shape and dtype agree."""
        own = self._data
        if array.shape != own.shape or array.dtype != own.dtype:
            raise ValueError(
                f"{type(self).__name__}: data must have shape {own.shape} and dtype {own.dtype}, "
                f"got {array.shape} and {array.dtype}"
            )
        assign(own, array)
        note(own)

    def _set_requires_grad(self, value: bool) -> None:
        if value and not _can_learn(self._data):
            raise TypeError(
                f"Tensor: requires_grad needs float32 or float64 data, got {self._data.dtype}; cast it first"
            )
        if not value and self._node is not None:
            raise RuntimeError("Tensor: requires_grad of a computed Tensor cannot be switched off; use x.detach()")
        self._learns = bool(value)

    def _set_grad(self, value: ArrayLike | None) -> None:
        if value is None or value is self._grad:
            self._grad = value
            return
        array = unwrap(value)
        if array.shape != self._data.shape:
            raise ValueError(f"{type(self).__name__}: grad must have shape {self._data.shape}, got {array.shape}")
        check_one_device(type(self).__name__, ("data", "grad"), (self._data, array))
        self._grad = None
        self._accumulate(array.astype(self._data.dtype, copy=False), False)

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

    def numpy(self) -> np.ndarray:
        """The array itself, not a copy. Raises TypeError for a Tensor on a device, as PyTorch does: x.cpu().numpy()."""
        if type(self.data) is not np.ndarray and on_device(self.data):
            raise TypeError(f"numpy: this Tensor lies on {self.device}; copy it to the CPU first: x.cpu().numpy()")
        return self.data

    def item(self) -> Any:
        """The only element as a Python number."""
        return self.data.item()

    def detach(self) -> Tensor:
        """The same array without its history."""
        return wrap(self.data, None)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self.numpy()
        if copy:
            return np.array(array, dtype=dtype)
        if copy is False and dtype is not None and array.dtype != dtype:
            raise ValueError(f"a Tensor of {array.dtype} cannot become an array of {dtype} without a copy")
        return np.asarray(array, dtype=dtype)

    def __dlpack__(
        self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: bool | None = None
    ) -> Any:
        """The array for np.from_dlpack, torch.from_dlpack and the like, in the same memory; with `copy` in its own.

        Raises BufferError for a Tensor that requires a gradient (`detach` it), for a device where it does not lie, and
        for a read-only array where the receiver's DLPack is older than 1.0.
        """
        return _dlpack.exported(self, stream, max_version, dl_device, copy)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.data.__dlpack_device__()

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """The array on a GPU for Numba, CuPy and the like; a Tensor on the CPU has none (AttributeError)."""
        return _dlpack.interface(self)

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
        away = on_device(self.data)
        text = np.array2string(on_cpu(self.data) if away else self.data, separator=", ", prefix="Tensor(")
        device = f", device='{self.device}'" if away else ""
        dtype = "" if self.data.dtype == FLOATS[0] else f", dtype={self.data.dtype}"
        return f"Tensor({text}{device}{dtype}{', requires_grad=True' if self.requires_grad else ''})"

    def __reduce__(self) -> tuple:
        return _restore, (type(self), self.data.copy(), self.requires_grad, self._name)

    __hash__ = object.__hash__

    # Gradients

    def backward(
        self, gradient: ArrayLike | None = None, retain_graph: bool | None = None, create_graph: bool = False
    ) -> None:
        """Add d(self)/d(leaf), weighted with `gradient`, to `grad` of every leaf that self was computed from.

        gradient: same shape and dtype as self; may be left out for a single element. The graph is freed on the way,
        unless `retain_graph`.
        Raises RuntimeError where nothing was recorded, where several elements have no gradient given, for a second
        call on the same graph, and where an array that is needed was changed in place since the forward pass;
        NotImplementedError for create_graph: gradients of gradients are not recorded.
        """
        if create_graph:
            raise NotImplementedError(
                "backward: create_graph=True needs gradients of gradients, which are not recorded"
            )
        if not self.requires_grad:
            raise RuntimeError(
                "backward: this Tensor depends on nothing that requires a gradient; "
                "make an input with requires_grad=True, and compute outside no_grad()"
            )
        seed = self._seed(gradient)
        with pooled():  # what NumPy adds up on the way, and copies of gradients
            if self._node is None:
                self._accumulate(seed, False)
            else:
                run_backward(self._node, seed, bool(retain_graph))

    def _seed(self, gradient: ArrayLike | None) -> np.ndarray:
        if gradient is None:
            if self.data.size != 1:
                raise RuntimeError(
                    f"backward: a Tensor of shape {self.shape} has several elements and so no single gradient; "
                    "reduce it first (loss.mean().backward()) or pass gradient=, an array of that shape"
                )
            one = _ONE.get(self.data.dtype) if self.data.ndim == 0 and type(self.data) is np.ndarray else None
            return np.ones_like(self.data) if one is None else one
        array = unwrap(gradient)
        if array.shape != self.data.shape:
            raise ValueError(f"backward: gradient must have shape {self.shape}, got {array.shape}")
        if type(array) is not np.ndarray or type(self.data) is not np.ndarray:
            check_one_device("backward", ("the Tensor", "gradient"), (self.data, array))
        return array.astype(self.data.dtype, copy=False)


results_are(Tensor)


def _restore(kind: type[Tensor], array: np.ndarray, requires_grad: bool, name: str | None = None) -> Tensor:
    tensor = kind(array, False)
    tensor._learns = requires_grad  # half on the CPU, too, where it is only kept
    tensor._name = name
    return tensor


class Parameter(Tensor):
    """A Tensor that a layer learns. It owns its storage: values are written in place, so that views of it stay good.

    p.data = array copies the values in, and raises ValueError unless shape and dtype agree. An optimizer moves a
    parameter into its flat arena with `_bind`; from then on the tape writes the gradient straight into the arena.
    """

    __slots__ = ()

    def __init__(self, data: ArrayLike, requires_grad: bool = True) -> None:
        array = Tensor(data, requires_grad).data
        self._data = np.array(array, order="C") if type(array) is np.ndarray else array.copy()
        self._learns = bool(requires_grad)

    def _set_data(self, value: ArrayLike) -> None:
        self._overwrite(unwrap(value))

    def _bind(self, data: np.ndarray, grad: np.ndarray) -> None:
        """Move values and gradient into these arrays, of the same shape and dtype, and keep them there."""
        data[...] = self._data
        if self._grad is not None:
            grad[...] = self._grad
            self._grad = grad
        self._data, self._place = data, Into(grad)

    def _rebind(self, data: np.ndarray, grad: np.ndarray | None = None) -> None:
        """Take over an array of perhaps another dtype or device, out of any arena, and a gradient of its own."""
        self._data, self._grad, self._place = data, grad, None

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
