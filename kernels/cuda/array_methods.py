"""What arrays on a device do besides lying there: operators, reductions, indexing, and NumPy on them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..devices import DeviceArray
from . import array_functions as functions
from . import array_indexing as indexing
from . import array_moving as moving
from . import array_operands as operands
from . import array_reductions as reductions
from . import array_shaping as shaping
from . import array_ufuncs as ufuncs


def _operator(name: str, call: Any = ufuncs.arithmetic) -> tuple[Any, Any, Any]:
    """x op other, other op x, and x op= other."""

    def forward(x, other):
        return call(name, x, other) if known(other) else NotImplemented

    def backward(x, other):
        return call(name, other, x) if known(other) else NotImplemented

    def in_place(x, other):
        return call(name, x, other, x)

    return forward, backward, in_place


def known(other: Any) -> bool:
    """Whether an operator meets an array or number; arrays of NumPy too, so that the error says what to do."""
    return isinstance(other, (DeviceArray, np.ndarray)) or operands.is_number(other)


def _comparison(name: str) -> Any:
    def compare(x, other):
        return ufuncs.compared(name, x, other) if known(other) else NotImplemented

    return compare


def _reduction(run: Any) -> Any:
    def method(x, *args, **kwargs):
        return run(x, *args, **kwargs)

    return method


class Methods:
    """The methods and operators of NumPy's arrays; results lie on the same device, those of no axes too."""

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]
    __array_priority__ = 1000

    __add__, __radd__, __iadd__ = _operator("add")
    __sub__, __rsub__, __isub__ = _operator("subtract")
    __mul__, __rmul__, __imul__ = _operator("multiply")
    __truediv__, __rtruediv__, __itruediv__ = _operator("divide")
    __floordiv__, __rfloordiv__, __ifloordiv__ = _operator("floor_divide")
    __mod__, __rmod__, __imod__ = _operator("remainder")
    __pow__, __rpow__, __ipow__ = _operator("power")
    __and__, __rand__, __iand__ = _operator("bitwise_and")
    __or__, __ror__, __ior__ = _operator("bitwise_or")
    __xor__, __rxor__, __ixor__ = _operator("bitwise_xor")
    __lshift__, __rlshift__, __ilshift__ = _operator("left_shift")
    __rshift__, __rrshift__, __irshift__ = _operator("right_shift")

    __eq__ = _comparison("equal")
    __ne__ = _comparison("not_equal")
    __lt__ = _comparison("less")
    __le__ = _comparison("less_equal")
    __gt__ = _comparison("greater")
    __ge__ = _comparison("greater_equal")

    def __matmul__(self, other: Any) -> Any:
        return ufuncs.matmul(self, other) if known(other) else NotImplemented

    def __rmatmul__(self, other: Any) -> Any:
        return ufuncs.matmul(other, self) if known(other) else NotImplemented

    def __neg__(self) -> Any:
        return ufuncs.function("negative", self)

    def __pos__(self) -> Any:
        return self.copy()

    def __abs__(self) -> Any:
        return ufuncs.function("absolute", self)

    def __invert__(self) -> Any:
        return ufuncs.inverted(self)

    # Reductions, as of NumPy's arrays

    sum = _reduction(reductions.total("sum"))
    prod = _reduction(reductions.total("prod"))
    max = _reduction(reductions.extreme("max"))
    min = _reduction(reductions.extreme("min"))
    any = _reduction(reductions.logical("any"))
    all = _reduction(reductions.logical("all"))
    argmax = _reduction(reductions.position("argmax"))
    argmin = _reduction(reductions.position("argmin"))
    mean = _reduction(reductions.mean)
    var = _reduction(reductions.var)
    std = _reduction(reductions.std)
    cumsum = _reduction(reductions.cumsum)

    def clip(self, min: Any = None, max: Any = None) -> Any:
        """What is below `min` or above `max` replaced by these."""
        return ufuncs.clip(self, min, max)

    def round(self, decimals: int = 0) -> Any:
        """The nearest integers, the even ones of two."""
        return shaping.rounded(self, decimals)

    def nonzero(self) -> tuple:
        """The coordinates of what is not 0."""
        return indexing.nonzero(self)

    def repeat(self, repeats: Any, axis: int | None = None) -> Any:
        """Each element several times."""
        return shaping.repeat(self, repeats, axis)

    def take(self, indices: Any, axis: int | None = None) -> Any:
        """The elements of these numbers along an axis."""
        return shaping.take(self, indices, axis)

    def argsort(self, axis: int | None = -1, kind: Any = None, *, stable: Any = None) -> Any:
        """The order that sorts, stably, NaN last."""
        return shaping.argsort(self, axis)

    # Elements

    def __getitem__(self, index: Any) -> Any:
        """x[index] as of NumPy: a view, or a copy where arrays name the elements."""
        parts = index if isinstance(index, tuple) else (index,)
        if all(indexing.is_basic(part) for part in parts):
            return indexing.basic_view(self, parts)
        return indexing.taken(self, parts)

    def __setitem__(self, index: Any, value: Any) -> None:
        parts = index if isinstance(index, tuple) else (index,)
        if isinstance(value, (list, tuple)):
            value = np.asarray(value)
        if isinstance(value, np.ndarray) and value.ndim:
            raise TypeError(
                f"item assignment: an array of NumPy, of shape {value.shape}, does not mix with one on a GPU; move it "
                "there first: dlfast.cuda.array(value)"
            )
        value = operands.operand("item assignment", value)
        if all(indexing.is_basic(part) for part in parts):
            target = self if index is Ellipsis else indexing.basic_view(self, parts)
            if isinstance(value, DeviceArray):
                value = shaping.fitted(value, target.shape)
            moving.assign(target, value)
        else:
            indexing.put(self, parts, value)

    def __iter__(self) -> Any:
        if not self.shape:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    def item(self) -> Any:
        """The only element as a Python number, after a wait for the device."""
        if self.size != 1:
            raise ValueError(f"item: only an array of one element has one, got shape {self.shape}")
        return self.numpy().item()

    def tolist(self) -> Any:
        """Python numbers in lists."""
        return self.numpy().tolist()

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ValueError(f"the truth of an array of shape {self.shape} is ambiguous; use .any() or .all()")
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self.dtype.kind not in "iu" or self.shape:
            raise TypeError(f"only a 0-d array of integers is an index, got {self.dtype} of shape {self.shape}")
        return self.item()

    # NumPy

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        return functions.call_ufunc(ufunc, method, inputs, options)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return functions.call_function(function, args, kwargs)
