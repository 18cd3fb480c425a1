"""The operators and methods of Tensor; forward and gradient of each stand in _operators.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from . import _operators as ops

if TYPE_CHECKING:
    from ._operators import Axis
    from .tensor import ArrayLike, Tensor


def _plain(value: Any) -> Any:
    """The array of a Tensor, anything else as it is."""
    return value.data if isinstance(value, Methods) else value


class Methods:
    """What Tensor can do besides remembering: arithmetic, comparison, indexing, reductions, changes of shape."""

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

    def __eq__(self, other: object) -> np.ndarray:  # type: ignore[override]
        return self.data == _plain(other)

    def __ne__(self, other: object) -> np.ndarray:  # type: ignore[override]
        return self.data != _plain(other)

    def __lt__(self, other: ArrayLike) -> np.ndarray:
        return self.data < _plain(other)

    def __le__(self, other: ArrayLike) -> np.ndarray:
        return self.data <= _plain(other)

    def __gt__(self, other: ArrayLike) -> np.ndarray:
        return self.data > _plain(other)

    def __ge__(self, other: ArrayLike) -> np.ndarray:
        return self.data >= _plain(other)

    def __getitem__(self, index: Any) -> Tensor:
        return ops.getitem(self, index)

    def sum(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Sum over an axis, several, or all."""
        return ops.sum(self, axis, keepdims)

    def mean(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Mean over an axis, several, or all."""
        return ops.mean(self, axis, keepdims)

    def var(self, axis: Axis = None, keepdims: bool = False, ddof: int = 0) -> Tensor:
        """Mean squared distance from the mean; the divisor is the count less ddof, as in NumPy."""
        return ops.var(self, axis, keepdims, ddof)

    def max(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Largest element; equal ones share the gradient evenly."""
        return ops.max(self, axis, keepdims)

    def min(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Smallest element; equal ones share the gradient evenly."""
        return ops.min(self, axis, keepdims)

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

    def squeeze(self, axis: Axis = None) -> Tensor:
        """Without the given axes of length 1, or without all of them."""
        return ops.reshape(self, np.squeeze(self.data, axis).shape)

    def unsqueeze(self, axis: int) -> Tensor:
        """With an axis of length 1 put in at `axis`."""
        return ops.reshape(self, np.expand_dims(self.data, axis).shape)
