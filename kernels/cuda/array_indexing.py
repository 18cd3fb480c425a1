"""Reading and writing by integer and boolean arrays, by NumPy's rules.

Axes with integers or arrays come first in a view of the array; the places of what they name are offsets into memory,
made once, to which the rest of the axes is added in the kernel. Indices that lie on the CPU are checked there. Those on
a GPU are not, for the CPU would have to wait: what an index out of bounds reads is NaN, in integers -1, and what it
writes is written nowhere. On the host that plays a GPU it is an error.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..capturing import LOCAL as CAPTURING
from ..devices import DeviceArray
from . import array_operands as operands
from . import array_scattering as kernels
from . import array_ufuncs as ufuncs
from .array_axes import THREADS, joined, singles
from .array_moving import assign, bits, converted, number_bits, plain
from .array_views import viewed

if TYPE_CHECKING:
    from .array import Array


def is_basic(part: Any) -> bool:
    return part is None or part is Ellipsis or isinstance(part, (int, slice, np.integer)) and not isinstance(part, bool)


def basic_view(x: Array, parts: tuple) -> Array:
    """x[parts] for integers, slices, None and Ellipsis."""
    if len(parts) == 1 and x.shape and (row := _row(x, parts[0])) is not None:
        return row
    if not any(part is Ellipsis for part in parts):
        parts = (*parts, Ellipsis)  # of all integers NumPy makes a number, which it would have to read
    return viewed(x, lambda shadow: shadow[parts])


def _row(x: Array, index: Any) -> Array | None:
    """x[i] or x[i:j], without NumPy's help, which costs more than most; None for any other index."""
    length, strides = x.shape[0], x.strides
    if type(index) is int and -length <= index < length:
        inner = None if x.is_contiguous else strides[1:]
        at = x.pointer + index % length * strides[0]
        return type(x)(x.device, x.shape[1:], x.dtype, x.owner, at, inner)
    if type(index) is slice and index.step is None:
        start, stop, _ = index.indices(length)
        inner, shape = None if x.is_contiguous else strides, (max(stop - start, 0), *x.shape[1:])
        return type(x)(x.device, shape, x.dtype, x.owner, x.pointer + start * strides[0], inner)
    return None


class Places:
    """What an index names: places, and a view that has the axes of the rest behind the (hidden) indexed ones."""

    def __init__(self, x: Array, parts: tuple, is_table: bool = False):
        self.is_table = is_table or all(isinstance(part, list) or is_basic(part) for part in parts)
        parts = _expanded(x, parts)
        advanced = [i for i, part in enumerate(parts) if not isinstance(part, slice) and part is not None]
        view = basic_view(x, tuple(slice(None) if i in advanced else part for i, part in enumerate(parts)))
        indices = [parts[i] for i in advanced]
        self.rest = [i for i in range(view.ndim) if i not in advanced]
        self.shape = np.broadcast_shapes(*[np.shape(index) for index in indices])
        self.view, self.x = view, x
        self.unique = False
        lengths = [view.shape[i] for i in advanced]
        strides = [view.strides[i] // x.itemsize for i in advanced]
        if any(isinstance(index, DeviceArray) for index in indices):
            self.places = self._on_device(indices, lengths, strides)
        else:
            self.places = self._on_cpu(indices, lengths, strides)
        together = advanced == list(range(advanced[0], advanced[0] + len(advanced)))
        self.begin = advanced[0] if together else 0  # of the indices' axes in the result

    def _on_cpu(self, indices: list, lengths: list[int], strides: list[int]) -> Array:
        total = np.zeros(self.shape, np.int64)
        for axis, (index, length, stride) in enumerate(zip(indices, lengths, strides)):
            index = np.asarray(index, np.int64)
            if ((index < -length) | (index >= length)).any():
                bad = index[(index < -length) | (index >= length)].flat[0]
                raise IndexError(f"index {bad} is out of bounds for indexed axis {axis} with size {length}")
            total = total + np.where(index < 0, index + length, index) * stride
        self.unique = total.size < 2 or len(np.unique(total)) == total.size
        return (self.x.device.constant if self.is_table else self.x.device.upload)(total)

    def _on_device(self, indices: list, lengths: list[int], strides: list[int]) -> Array:
        device, before = self.x.device, None
        for index, length, stride in zip(indices, lengths, strides):
            if not isinstance(index, DeviceArray):
                index = (device.constant if np.ndim(index) == 0 else device.upload)(np.asarray(index, np.int64))
            whole = device.empty(self.shape, index.dtype)
            assign(whole, index)
            places = device.empty(self.shape, np.int64)
            if places.size:
                kernels.locate(singles(places.size), THREADS, plain(whole), before, places, before is not None, length,
                               stride, 0, places.size)  # fmt: skip
            before = places
        if device.strict and before.size and CAPTURING.capture is None and (before == kernels.OUTSIDE).any():
            raise IndexError(f"an index is out of bounds for the indexed axes of sizes {tuple(lengths)}")
        return before

    @property
    def whole_shape(self) -> tuple[int, ...]:
        """The places' shape and that of the rest, in the order in which they lie in the result."""
        rest = [self.view.shape[i] for i in self.rest]
        return (*self.shape, *rest)

    @property
    def ordered_shape(self) -> tuple[int, ...]:
        """The shape of the result."""
        rest = [self.view.shape[i] for i in self.rest]
        return (*rest[: self.begin], *self.shape, *rest[self.begin :])

    def axes(self) -> tuple[list[int], list[int], Array, int]:
        """Lengths and strides of the rest as kernels take them, the memory, and how much rest there is at a place."""
        rest = [self.view.shape[i] for i in self.rest]
        found = joined(rest, [self.view.strides[i] // self.x.itemsize for i in self.rest])
        if found is None:
            raise ValueError(f"an index that leaves the axes {tuple(rest)} strided in more than 6 ways; copy x first")
        return found[0][1:], found[1][0], bits(self.view), math.prod(rest)

    def ordered(self, y: Array) -> Array:
        """A result with the axes of the indices where they belong."""
        return self._moved(y, len(self.shape), 0, self.begin)

    def unordered(self, y: Array) -> Array:
        """The inverse of `ordered`."""
        return self._moved(y, len(self.shape), self.begin, 0)

    @staticmethod
    def _moved(y: Array, count: int, source: int, target: int) -> Array:
        if source == target or not count:
            return y
        axes = [range(first, first + count) for first in (source, target)]
        return viewed(y, lambda shadow: np.moveaxis(shadow, axes[0], axes[1]))


def _expanded(x: Array, parts: tuple) -> tuple:
    """Slices, None and integer arrays for each axis, from any index."""
    found: list[Any] = []
    for part in parts:
        if is_basic(part):
            found.append(part)
            continue
        index = part if isinstance(part, DeviceArray) else np.asarray(part)
        if not isinstance(part, DeviceArray) and not index.size:
            index = index.astype(np.int64)
        if index.dtype.kind == "b":
            found.extend(nonzero(index) if isinstance(index, DeviceArray) else np.nonzero(index))
        elif index.dtype.kind in "iu":
            found.append(index)
        else:
            raise IndexError(f"arrays used as indices must be of integers or booleans, got {index.dtype}")
    named = sum(part is not None and part is not Ellipsis for part in found)
    if named > x.ndim:
        raise IndexError(f"too many indices: an array of {x.ndim} axes has {named} of them")
    missing = [slice(None)] * (x.ndim - named)
    at = next((i for i, part in enumerate(found) if part is Ellipsis), len(found))
    return (*found[:at], *missing, *[part for part in found[at:] if part is not Ellipsis])


def nonzero(x: Array) -> tuple[Array, ...]:
    """np.nonzero: the coordinates of what is true; their count is waited for."""
    mask = x if x.dtype.kind == "b" else x != 0
    flat = mask.reshape(-1).contiguous()
    running = flat.cumsum()
    count = running[-1].item() if flat.size else 0
    found = x.device.empty((count,), np.int64)
    if count:
        kernels.compact(singles(flat.size), THREADS, plain(flat), running, flat.size, found)
    coordinates = []
    for length in x.shape[::-1]:
        coordinates.append(found % length if x.ndim > 1 else found)
        found = found // length if x.ndim > 1 else found
    return tuple(coordinates[::-1])


def taken(x: Array, parts: tuple, is_table: bool = False) -> Array:
    """x[parts] where some are arrays: a copy. is_table: those arrays follow from shapes and may be kept."""
    if len(_rest_axes(x)) > 6:
        x = x.contiguous()
    at = Places(x, parts, is_table)
    lengths, strides, memory, rest = at.axes()
    y = x.device.empty(at.whole_shape, x.dtype)
    if y.size:
        kernels.gather(singles(y.size), THREADS, memory, at.places, bits(y), rest, y.size, *lengths, *strides)
    return at.ordered(y)


def _rest_axes(x: Array) -> list[int]:
    return [n for n in x.shape if n != 1]


def put(x: Array, parts: tuple, value: Any) -> None:
    """x[parts] = value where some are arrays; of values for one place the last stays."""
    if len(parts) == 1 and isinstance(parts[0], DeviceArray) and _is_mask(parts[0], x) and _is_single(value):
        mask = parts[0].reshape(parts[0].shape + (1,) * (x.ndim - parts[0].ndim))
        assign(x, ufuncs.where(mask, _as_dtype(value, x.dtype), x))
        return
    at = Places(x, parts)
    lengths, strides, memory, rest = at.axes()
    count = at.places.size * rest
    if not isinstance(value, DeviceArray):
        if count:
            kernels.scatter(singles(count), THREADS, None, at.places, memory, number_bits(value, x.dtype), True, rest,
                            count, *lengths, *strides)  # fmt: skip
        return
    rows = bits(_rows(at, value, x))
    if not count:
        return
    if at.unique:
        kernels.scatter(singles(count), THREADS, rows, at.places, memory, 0, False, rest, count, *lengths, *strides)
    else:
        places, order = ordered(at.places.reshape(-1))
        kernels.scatter_last(singles(count), THREADS, rows, places, order, memory, rest, count, *lengths, *strides)


def _is_mask(mask: Array, x: Array) -> bool:
    return mask.dtype.kind == "b" and mask.shape == x.shape[: mask.ndim]


def _is_single(value: Any) -> bool:
    return not isinstance(value, DeviceArray) or value.size == 1 and value.ndim == 0


def _as_dtype(value: Any, dtype: np.dtype) -> Any:
    return converted(value, dtype) if isinstance(value, DeviceArray) else dtype.type(value)


def _rows(at: Places, value: Array, x: Array) -> Array:
    """The values, contiguous and of x's dtype, in the order of the places."""
    shape = at.ordered_shape
    while value.ndim > len(shape) and value.shape[0] == 1:
        value = value[0]
    broadcast = viewed(value, lambda shadow: np.broadcast_to(shadow, shape))
    rows = at.unordered(broadcast)
    return rows.contiguous() if rows.dtype == x.dtype else converted(rows, x.dtype)


def add_at(x: Array, index: Any, value: Any) -> None:
    """np.add.at: x[index] += value, as often as a place is named; floats are added in float64."""
    parts = index if isinstance(index, tuple) else (index,)
    if all(is_basic(part) for part in parts):
        target = basic_view(x, parts)
        ufuncs.arithmetic("add", target, value, target)
        return
    at = Places(x, parts)
    lengths, strides, _, rest = at.axes()
    count = at.places.size * rest
    if not isinstance(value, DeviceArray):
        value = x.device.upload(np.asarray(value, x.dtype))
    rows = _rows(at, value, x)
    if count:
        places, order = ordered(at.places.reshape(-1))
        launch = kernels.scatter_add if operands.is_real(x.dtype) else kernels.whole_scatter_add
        launch(singles(count), THREADS, plain(rows), places, order, plain(at.view), rest, count, *lengths, *strides)


def ordered(x: Array) -> tuple[Array, Array]:
    """x sorted along its last axis, stably and NaN last, and where each number was."""
    n, x, order, run = x.shape[-1], plain(x.contiguous()), None, 1
    while order is None or run < n:
        y, new_order = x.device.empty(x.shape, x.dtype), x.device.empty(x.shape, np.int64)
        if x.size:
            kernels.merge(singles(x.size), THREADS, x, order, y, new_order, order is not None, n, run, x.size)
        x, order, run = y, new_order, run * 2
    return x, order


def along_axis(x: Array, index: Any, axis: int) -> tuple:
    """The index that take_along_axis and put_along_axis mean."""
    if index.ndim != x.ndim:
        raise ValueError(f"indices must have as many axes as the array, {x.ndim}, got {index.ndim}")
    axis %= x.ndim
    parts: list[Any] = []
    for i, length in enumerate(x.shape):
        shape = [1] * x.ndim
        shape[i] = length
        parts.append(index if i == axis else x.device.constant(np.arange(length)).reshape(shape))
    return tuple(parts)
