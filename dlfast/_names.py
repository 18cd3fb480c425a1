"""The rest of Tensor's methods under PyTorch's names, for code that was written for it."""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _devices as devices
from . import _inplace as inplace
from . import _operators as ops
from . import _selecting as selecting
from ._methods import Methods
from .random import generator

if TYPE_CHECKING:
    from .tensor import ArrayLike, Tensor


class Count(int):
    """`x.size`: the number of elements, NumPy's; called as `x.size()` or `x.size(axis)` the shape, PyTorch's."""

    shape: tuple[int, ...]

    def __call__(self, dim: int | None = None) -> Any:
        return self.shape if dim is None else self.shape[dim]

    def __reduce__(self) -> tuple:
        return int, (int(self),)


class Names(Methods):
    """What PyTorch calls things that NumPy calls otherwise, or has not."""

    __slots__ = ()

    # About it

    @property
    def size(self) -> Count:
        """The number of elements; `size()` and `size(axis)` give the shape or one length of it."""
        count = Count(self.data.size)
        count.shape = self.data.shape
        return count

    @property
    def device(self) -> devices.device:
        """Where it lies: "cpu" or, say, "cuda:0"."""
        return devices.device_of(self.data)

    @property
    def is_cuda(self) -> builtins.bool:
        """Whether it lies on a GPU."""
        return devices.on_device(self.data)

    @property
    def is_leaf(self) -> builtins.bool:
        """Whether no recorded operation made it."""
        return getattr(self, "_node") is None  # noqa: B009

    def numel(self) -> builtins.int:
        """The number of elements."""
        return self.data.size

    def dim(self) -> builtins.int:
        """The number of axes."""
        return self.data.ndim

    def tolist(self) -> Any:
        """Nested lists of Python numbers."""
        return devices.on_cpu(self.data).tolist()

    # Copies and casts

    def clone(self) -> Tensor:
        """A copy in memory of its own; gradients flow through it."""
        return ops.tensor.record(self.data.copy(), _clone_backward, (), (self,))

    def contiguous(self) -> Tensor:
        """Itself, or a copy in row-major order where it is not in that."""
        array = self.data
        whole = array.is_contiguous if devices.on_device(array) else array.flags.c_contiguous  # type: ignore[attr-defined]
        return self if whole else self.clone()  # type: ignore[return-value]

    def to(
        self, target: Any = None, dtype: Any = None, *, device: Any = None, non_blocking: builtins.bool = False,
        copy: builtins.bool = False,
    ) -> Tensor:  # fmt: skip
        """This Tensor on a device ("cpu", "cuda", "cuda:1"), cast to a dtype, or both as another Tensor has them.

        Itself where nothing is to be done, unless `copy`; gradients flow back to where it lies. non_blocking is for
        PyTorch's sake: copies to a device never wait for it.
        Raises ValueError for a device of no such kind, RuntimeError for a GPU that cannot be used, with the reason.
        """
        dtype, place = devices.wanted("to", target, dtype, device)
        result: Any = self
        if dtype is not None and np.dtype(dtype) != self.data.dtype:
            result = result.astype(dtype)
        if place is not None:
            result = _moved(result, place)
        return result.clone() if copy and result is self else result

    def type(self, dtype: Any) -> Tensor:
        """A cast, as `astype`."""
        return self.astype(dtype)

    def cpu(self) -> Tensor:
        """Itself, or a copy of what lies on a device."""
        return self.to("cpu")

    def cuda(self, device: Any = None) -> Tensor:
        """On a GPU: the first one, or "cuda:1" or 1 for another. Raises as `to`."""
        return self.to("cuda" if device is None else device)

    def float(self) -> Tensor:
        """Cast to float32."""
        return self.to(np.float32)

    def double(self) -> Tensor:
        """Cast to float64."""
        return self.to(np.float64)

    def half(self) -> Tensor:
        """Cast to float16. On the CPU it can only be kept so: operations on half are for devices."""
        return self.to(np.float16)

    def bfloat16(self) -> Tensor:
        """Cast to bfloat16, as `half`. Raises ImportError without ml_dtypes."""
        return self.to("bfloat16")

    def int(self) -> Tensor:
        """Cast to int32."""
        return self.to(np.int32)

    def long(self) -> Tensor:
        """Cast to int64."""
        return self.to(np.int64)

    def bool(self) -> Tensor:
        """Whether each element is not 0."""
        return self.to(np.bool_)

    # Shapes

    def view(self, *shape: Any) -> Tensor:
        """As `reshape`: the same elements under another shape."""
        return self.reshape(*shape)

    def view_as(self, other: Tensor) -> Tensor:
        """The same elements under the shape of another Tensor."""
        return self.reshape(other.shape)

    def flatten(self, start_dim: builtins.int = 0, end_dim: builtins.int = -1) -> Tensor:
        """With the axes from start_dim to end_dim joined."""
        shape, axes_ = self.data.shape, self.data.ndim
        start, end = (axis + axes_ if axis < 0 else axis for axis in (start_dim, end_dim))
        if not shape:
            return self.reshape(1)
        if not 0 <= start <= end < axes_:
            raise ValueError(f"flatten: x must have axes {start_dim} to {end_dim}, got shape {shape}")
        return self.reshape((*shape[:start], np.prod(shape[start : end + 1], dtype=np.intp).item(), *shape[end + 1 :]))

    def t(self) -> Tensor:
        """The transpose of a matrix; a vector or number as it is."""
        if self.data.ndim > 2:
            raise ValueError(f"t: x must have at most 2 axes, got shape {self.data.shape}; see transpose and permute")
        return self.T

    def expand(self, *shape: Any) -> Tensor:
        """Repeated along axes of length 1 and new leading ones, without a copy; -1 keeps the length of an axis."""
        return selecting.expand(self, tuple(shape[0] if len(shape) == 1 and np.ndim(shape[0]) else shape))

    def expand_as(self, other: Tensor) -> Tensor:
        """Repeated to the shape of another Tensor, without a copy."""
        return self.expand(other.shape)

    def swapaxes(self, axis0: builtins.int, axis1: builtins.int) -> Tensor:
        """Two axes exchanged."""
        return self.transpose(axis0, axis1)

    def split(
        self, sizes: builtins.int | list[builtins.int], axis: builtins.int = 0, *, dim: builtins.int | None = None
    ) -> tuple[Tensor, ...]:
        """Parts along an axis, of `sizes` elements each (the last may have fewer), or of the sizes in a list."""
        return split(self, sizes, axis if dim is None else dim)

    def chunk(
        self, chunks: builtins.int, axis: builtins.int = 0, *, dim: builtins.int | None = None
    ) -> tuple[Tensor, ...]:
        """At most `chunks` parts along an axis, all but the last of one size."""
        axis = axis if dim is None else dim
        if chunks < 1:
            raise ValueError(f"chunk: chunks must be at least 1, got {chunks}")
        return split(self, max(1, -(-self.data.shape[axis] // chunks)), axis)

    # Values

    def clamp(self, min: Any = None, max: Any = None) -> Tensor:
        """As `clip`: values limited to [min, max]."""
        return self.clip(min, max)

    def pow(self, exponent: ArrayLike) -> Tensor:
        """x ** exponent."""
        return self**exponent

    def square(self) -> Tensor:
        """x * x."""
        return self * self

    def matmul(self, other: ArrayLike) -> Tensor:
        """x @ other."""
        return self @ other

    mm = dot = bmm = matmul

    def where(self, condition: ArrayLike, other: ArrayLike) -> Tensor:
        """Its elements where the condition is true, elsewhere those of `other`."""
        return selecting.where(condition, self, other)

    def masked_fill(self, mask: ArrayLike, value: builtins.float) -> Tensor:
        """With a number put where the mask is true."""
        return selecting.where(mask, value, self)

    def relu(self) -> Tensor:
        """max(x, 0)."""
        return _functional().relu(self)

    def sigmoid(self) -> Tensor:
        """1 / (1 + exp(-x))."""
        return _functional().sigmoid(self)

    def softmax(self, axis: builtins.int = -1, *, dim: builtins.int | None = None) -> Tensor:
        """exp(x) / sum of exp(x) along an axis."""
        return _functional().softmax(self, axis if dim is None else dim)

    def log_softmax(self, axis: builtins.int = -1, *, dim: builtins.int | None = None) -> Tensor:
        """x - log(sum of exp(x) along an axis)."""
        return _functional().log_softmax(self, axis if dim is None else dim)

    # In place

    def requires_grad_(self, requires_grad: builtins.bool = True) -> Names:
        """Whether backward gives it a gradient. Returns itself."""
        setattr(self, "requires_grad", requires_grad)  # noqa: B010
        return self

    def add_(self, other: ArrayLike, *, alpha: builtins.float = 1) -> Names:
        """x += alpha * other."""
        self += other if alpha == 1 else ops.multiply(other, alpha)
        return self

    def sub_(self, other: ArrayLike, *, alpha: builtins.float = 1) -> Names:
        """x -= alpha * other."""
        self -= other if alpha == 1 else ops.multiply(other, alpha)
        return self

    def mul_(self, other: ArrayLike) -> Names:
        """x *= other."""
        self *= other
        return self

    def div_(self, other: ArrayLike) -> Names:
        """x /= other."""
        self /= other
        return self

    def zero_(self) -> Names:
        """All elements 0."""
        return inplace.fill("zero_", self, 0)

    def fill_(self, value: builtins.float) -> Names:
        """All elements `value`."""
        return inplace.fill("fill_", self, value)

    def copy_(self, source: ArrayLike) -> Names:
        """x[...] = source."""
        self[...] = source
        return self

    def clamp_(self, min: Any = None, max: Any = None) -> Names:
        """Values limited to [min, max] in place."""
        return inplace.update(
            "clamp_", self, 0, lambda x, _: x.clip(min, max), lambda a, _, out: np.clip(a, min, max, out)
        )

    def normal_(self, mean: builtins.float = 0.0, std: builtins.float = 1.0) -> Names:
        """Normal random numbers from dlfast's generator."""
        return inplace.fill("normal_", self, generator().normal(mean, std, self.data.shape))

    def uniform_(self, low: builtins.float = 0.0, high: builtins.float = 1.0) -> Names:
        """Uniform random numbers in [low, high) from dlfast's generator."""
        return inplace.fill("uniform_", self, generator().uniform(low, high, self.data.shape))


def _clone_backward(dy, saved, needs):
    return (dy,)


def _moved(x: Any, place: Any) -> Any:
    """x on a device, as a step of a graph."""
    array = devices.moved(x.data, place)
    back = x.data.device if devices.on_device(x.data) else devices.CPU
    return x if array is x.data else ops.tensor.record(array, _moved_backward, (back,), (x,))


def _moved_backward(dy, saved, needs):
    return (devices.moved(dy, saved[0]),)


def split(x: Any, sizes: Any, axis: int) -> tuple[Tensor, ...]:
    """Parts along an axis; raises ValueError unless the sizes add up to its length."""
    length = x.data.shape[axis]
    if not isinstance(sizes, (tuple, list)):
        if sizes < 1:
            raise ValueError(f"split: the size of a part must be at least 1, got {sizes}")
        sizes = [min(sizes, length - start) for start in range(0, length, sizes)] or [0]
    if sum(sizes) != length:
        raise ValueError(f"split: sizes must add up to the {length} elements along axis {axis}, got {sizes}")
    before = (slice(None),) * (axis % x.data.ndim)
    ends = np.cumsum(sizes).tolist()
    indices = [(*before, slice(end - size, end)) for size, end in zip(sizes, ends)]
    return tuple(x[index] for index in indices)


def _functional() -> Any:
    from . import functional

    return functional
