"""The operators and methods of Tensor; forward and gradient of each stand in _operators.py."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _accumulating as accumulating
from . import _inplace as inplace
from . import _operators as ops
from ._devices import as_array, check_operands, on_device
from ._tape import wrap

if TYPE_CHECKING:
    from ._operators import Axis
    from .tensor import ArrayLike, Tensor


def _plain(value: Any) -> Any:
    """The array of a Tensor, anything else as it is."""
    return value.data if isinstance(value, Methods) else value


def _test(test: Callable, x: Methods, other: Any) -> Any:
    """The outcome for each element, as a Tensor of booleans; nothing compares with None or a string."""
    if other is None or isinstance(other, str):
        return NotImplemented
    y = _plain(other)
    if on_device(x.data) or on_device(y):
        check_operands(test.__name__, a=x.data, b=y)
    return wrap(as_array(test(x.data, y)), None)


def axes(op: str, axis: Any, keepdims: bool, dim: Any, keepdim: bool | None, **unused: Any) -> tuple[Any, bool]:
    """axis and keepdims, which may have come under PyTorch's names. unused: what NumPy's functions hand over."""
    for name, value in unused.items():
        if value is not None:
            raise TypeError(f"{op}: {name}= is not supported for a Tensor; got {value!r}")
    if dim is not None:
        if axis is not None:
            raise TypeError(f"{op}: axis and dim are one argument under two names, got axis={axis!r} and dim={dim!r}")
        axis = dim
    return tuple(axis) if isinstance(axis, list) else axis, keepdims if keepdim is None else keepdim


def _ddof(op: str, ddof: int, correction: int | None, unbiased: bool | None) -> int:
    """What the divisor of a variance is less than the count, under any of its three names."""
    given = [n for n in (ddof or None, correction, None if unbiased is None else int(unbiased)) if n is not None]
    if len(given) > 1:
        raise TypeError(f"{op}: ddof, correction and unbiased say the same; give one of them")
    return given[0] if given else 0


class Methods:
    """What Tensor can do besides remembering: arithmetic, comparison, indexing, reductions, changes of shape.

    `dim` and `keepdim`, PyTorch's names, stand for axis and keepdims wherever there are these.
    """

    __slots__ = ()

    data: np.ndarray

    def __add__(self, other: ArrayLike) -> Tensor:
        return ops.add(self, other)

    def __radd__(self, other: ArrayLike) -> Tensor:
        return ops.add(other, self)

    def __sub__(self, other: ArrayLike) -> Tensor:
        return ops.subtract(self, other)

    def __rsub__(self, other: ArrayLike) -> Tensor:
        return ops.subtract(other, self)

    def __mul__(self, other: ArrayLike) -> Tensor:
        return ops.multiply(self, other)

    def __rmul__(self, other: ArrayLike) -> Tensor:
        return ops.multiply(other, self)

    def __truediv__(self, other: ArrayLike) -> Tensor:
        return ops.divide(self, other)

    def __rtruediv__(self, other: ArrayLike) -> Tensor:
        return ops.divide(other, self)

    def __pow__(self, other: ArrayLike) -> Tensor:
        return ops.power(self, other)

    def __rpow__(self, other: ArrayLike) -> Tensor:
        return ops.power(other, self)

    def __matmul__(self, other: ArrayLike) -> Tensor:
        return ops.matmul(self, other)

    def __rmatmul__(self, other: ArrayLike) -> Tensor:
        return ops.matmul(other, self)

    def __neg__(self) -> Tensor:
        return ops.negative(self)

    def __pos__(self) -> Tensor:
        return ops.multiply(self, 1)

    def __abs__(self) -> Tensor:
        return ops.absolute(self)

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]
        return _test(operator.eq, self, other)

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]
        return _test(operator.ne, self, other)

    def __lt__(self, other: ArrayLike) -> Tensor:
        return _test(operator.lt, self, other)

    def __le__(self, other: ArrayLike) -> Tensor:
        return _test(operator.le, self, other)

    def __gt__(self, other: ArrayLike) -> Tensor:
        return _test(operator.gt, self, other)

    def __ge__(self, other: ArrayLike) -> Tensor:
        return _test(operator.ge, self, other)

    def __and__(self, other: ArrayLike) -> Tensor:
        return _test(np.bitwise_and, self, other)

    __rand__ = __and__

    def __or__(self, other: ArrayLike) -> Tensor:
        return _test(np.bitwise_or, self, other)

    __ror__ = __or__

    def __xor__(self, other: ArrayLike) -> Tensor:
        return _test(np.bitwise_xor, self, other)

    __rxor__ = __xor__

    def __invert__(self) -> Tensor:
        return wrap(as_array(~self.data), None)

    def __iadd__(self, other: ArrayLike) -> Any:
        return inplace.update("+=", self, other, ops.add, np.add)

    def __isub__(self, other: ArrayLike) -> Any:
        return inplace.update("-=", self, other, ops.subtract, np.subtract)

    def __imul__(self, other: ArrayLike) -> Any:
        return inplace.update("*=", self, other, ops.multiply, np.multiply)

    def __itruediv__(self, other: ArrayLike) -> Any:
        return inplace.update("/=", self, other, ops.divide, inplace.divide)

    def __ipow__(self, other: ArrayLike) -> Any:
        return inplace.update("**=", self, other, ops.power, np.power)

    def __getitem__(self, index: Any) -> Tensor:
        return ops.getitem(self, index)

    def __setitem__(self, index: Any, value: ArrayLike) -> None:
        inplace.set_item(self, index, value)

    def sum(
        self, axis: Axis = None, keepdims: bool = False, *, dim: Axis = None, keepdim: bool | None = None, **unused: Any
    ) -> Tensor:
        """Sum over an axis, several, or all."""
        return ops.sum(self, *axes("sum", axis, keepdims, dim, keepdim, **unused))

    def mean(
        self, axis: Axis = None, keepdims: bool = False, *, dim: Axis = None, keepdim: bool | None = None, **unused: Any
    ) -> Tensor:
        """Mean over an axis, several, or all."""
        return ops.mean(self, *axes("mean", axis, keepdims, dim, keepdim, **unused))

    def var(
        self,
        axis: Axis = None,
        keepdims: bool = False,
        ddof: int = 0,
        *,
        dim: Axis = None,
        keepdim: bool | None = None,
        correction: int | None = None,
        unbiased: bool | None = None,
        **unused: Any,
    ) -> Tensor:
        """Mean squared distance from the mean, divided by the count as in NumPy; PyTorch divides by one less.

        The divisor is the count less ddof; PyTorch's names: correction, a number like ddof, or unbiased=True for 1.
        """
        ddof = _ddof("var", ddof, correction, unbiased)
        return ops.var(self, *axes("var", axis, keepdims, dim, keepdim, **unused), ddof)

    def std(
        self,
        axis: Axis = None,
        keepdims: bool = False,
        ddof: int = 0,
        *,
        dim: Axis = None,
        keepdim: bool | None = None,
        correction: int | None = None,
        unbiased: bool | None = None,
        **unused: Any,
    ) -> Tensor:
        """Square root of `var`, whose divisor is the count as in NumPy; PyTorch's is one less. Gradient 0 at 0."""
        ddof = _ddof("std", ddof, correction, unbiased)
        return accumulating.root(ops.var(self, *axes("std", axis, keepdims, dim, keepdim, **unused), ddof))

    def max(
        self, axis: Axis = None, keepdims: bool = False, *, dim: Axis = None, keepdim: bool | None = None, **unused: Any
    ) -> Tensor:
        """Largest element: the values alone as in NumPy, where PyTorch gives (values, indices); see `argmax`.

        Equal ones share the gradient evenly.
        """
        return ops.max(self, *axes("max", axis, keepdims, dim, keepdim, **unused))

    def min(
        self, axis: Axis = None, keepdims: bool = False, *, dim: Axis = None, keepdim: bool | None = None, **unused: Any
    ) -> Tensor:
        """Smallest element: the values alone as in NumPy, where PyTorch gives (values, indices); see `argmin`.

        Equal ones share the gradient evenly.
        """
        return ops.min(self, *axes("min", axis, keepdims, dim, keepdim, **unused))

    def argmax(
        self,
        axis: int | None = None,
        keepdims: bool = False,
        *,
        dim: int | None = None,
        keepdim: bool | None = None,
        **unused: Any,
    ) -> Tensor:
        """Index of the largest element along an axis, or in the flattened Tensor; the first of equal ones."""
        return accumulating.position(np.argmax, self, *axes("argmax", axis, keepdims, dim, keepdim, **unused))

    def argmin(
        self,
        axis: int | None = None,
        keepdims: bool = False,
        *,
        dim: int | None = None,
        keepdim: bool | None = None,
        **unused: Any,
    ) -> Tensor:
        """Index of the smallest element along an axis, or in the flattened Tensor; the first of equal ones."""
        return accumulating.position(np.argmin, self, *axes("argmin", axis, keepdims, dim, keepdim, **unused))

    def norm(
        self,
        p: float | str = 2,
        axis: Axis = None,
        keepdims: bool = False,
        *,
        dim: Axis = None,
        keepdim: bool | None = None,
    ) -> Tensor:
        """(sum |x|^p)^(1/p) over all elements or an axis; p may be inf, the largest |x|. Gradient 0 where it is 0."""
        return accumulating.norm(self, p, *axes("norm", axis, keepdims, dim, keepdim))

    def cumsum(self, axis: int | None = None, *, dim: int | None = None, **unused: Any) -> Tensor:
        """Running sums along an axis, or of the flattened Tensor as in NumPy."""
        return accumulating.cumsum(self, axes("cumsum", axis, False, dim, None, **unused)[0])

    def all(
        self, axis: Axis = None, keepdims: bool = False, *, dim: Axis = None, keepdim: bool | None = None, **unused: Any
    ) -> Tensor:
        """Whether every element is true (not 0)."""
        axis, keepdims = axes("all", axis, keepdims, dim, keepdim, **unused)
        return wrap(as_array(np.all(self.data, axis=axis, keepdims=keepdims)), None)

    def any(
        self, axis: Axis = None, keepdims: bool = False, *, dim: Axis = None, keepdim: bool | None = None, **unused: Any
    ) -> Tensor:
        """Whether some element is true (not 0)."""
        axis, keepdims = axes("any", axis, keepdims, dim, keepdim, **unused)
        return wrap(as_array(np.any(self.data, axis=axis, keepdims=keepdims)), None)

    def abs(self) -> Tensor:
        """|x|; the gradient at 0 is 0."""
        return ops.absolute(self)

    def exp(self) -> Tensor:
        """e^x, element by element."""
        return ops.exp(self)

    def log(self) -> Tensor:
        """Natural logarithm, element by element."""
        return ops.log(self)

    def sqrt(self) -> Tensor:
        """Square root, element by element."""
        return ops.sqrt(self)

    def tanh(self) -> Tensor:
        """Hyperbolic tangent, element by element."""
        return ops.tanh(self)

    def clip(self, minimum: float | None = None, maximum: float | None = None) -> Tensor:
        """Values limited to [minimum, maximum]; no gradient flows where a limit was applied."""
        return ops.clip(self, minimum, maximum)

    def astype(self, dtype: Any) -> Tensor:
        """A cast; the gradient is cast back."""
        return ops.astype(self, dtype)

    def reshape(self, *shape: Any) -> Tensor:
        """The same elements in row-major order under another shape: reshape(2, -1) or reshape((2, -1))."""
        return ops.reshape(self, shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape)

    def transpose(self, axis0: int | None = None, axis1: int | None = None) -> Tensor:
        """Two axes exchanged, as in PyTorch; without arguments all axes reversed. `permute` orders all axes."""
        return ops.transpose(self, axis0, axis1)

    def permute(self, *axes: Any) -> Tensor:
        """Axes in a new order: permute(0, 2, 1) or permute((0, 2, 1))."""
        return ops.permute(self, axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes)

    @property
    def T(self) -> Tensor:
        """All axes reversed."""
        return ops.transpose(self)

    def squeeze(self, axis: Axis = None, *, dim: Axis = None) -> Tensor:
        """Without the given axes of length 1, or without all of them. As in NumPy another length raises ValueError."""
        return ops.reshape(self, np.squeeze(self.data, axes("squeeze", axis, False, dim, None)[0]).shape)

    def unsqueeze(self, axis: int | None = None, *, dim: int | None = None) -> Tensor:
        """With an axis of length 1 put in at `axis`."""
        axis = axes("unsqueeze", axis, False, dim, None)[0]
        if axis is None:
            raise TypeError("unsqueeze: axis must be the place of the new axis, got None")
        return ops.reshape(self, np.expand_dims(self.data, axis).shape)
