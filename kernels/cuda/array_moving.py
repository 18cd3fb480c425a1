"""Copies: between strided arrays, from one dtype to another, and of a number into all of an array.

Bytes moved: those of the arrays once. A copy knows no numbers but their size, so that four kernels move all dtypes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..devices import DeviceArray
from ..halves import HALVES
from .array_axes import THREADS, blocks, is_wide, place, singles, walks
from .array_views import ALIGNMENT
from .dialect import cuda, f64, i64, kernel, load4, real, store4

if TYPE_CHECKING:
    from .array import Array

_BITS = {1: np.dtype(np.uint8), 2: np.dtype(np.int16), 4: np.dtype(np.int32), 8: np.dtype(np.int64)}
_SOURCES = ("float32", "float64", "int64", "int32", "uint8", "bool")  # as `convert` numbers its pointers
DTYPES = (*_SOURCES, *HALVES)


def bits(x: Array) -> Array:
    """The array as integers of its size."""
    return x.view(_BITS[x.itemsize])


def number_bits(value: Any, dtype: np.dtype) -> int:
    """A number of a dtype as the integer of the same bits."""
    return np.array(value, dtype).view(_BITS[dtype.itemsize]).item()


@kernel("uufi" + "iiiiii" + "wwwwww" * 2)
def move(x, y, value, is_value, n, d1, d2, d3, d4, d5, x0, x1, x2, x3, x4, x5, y0, y1, y2, y3, y4, y5):
    """y = x, or a number."""
    k = cuda.blockIdx.x * (THREADS * 4) + cuda.threadIdx.x
    for _ in range(4):
        if k < n:
            to = place(k, d1, d2, d3, d4, d5, y0, y1, y2, y3, y4, y5)
            y[to] = value if is_value else x[place(k, d1, d2, d3, d4, d5, x0, x1, x2, x3, x4, x5)]
        k += THREADS


@kernel("ppfii")
def move_wide(x, y, value, is_value, n):
    i = (cuda.blockIdx.x * THREADS + cuda.threadIdx.x) * 4
    if i + 4 <= n:
        if is_value:
            store4(y, i, value, value, value, value)
        else:
            x0, x1, x2, x3 = load4(x, i)
            store4(y, i, x0, x1, x2, x3)
    else:
        for j in range(i, n):
            y[j] = value if is_value else x[j]


def _written(x: Array | None, y: Array, value: int) -> None:
    """y = x, which broadcasts, or the number of these bits."""
    if not y.size:
        return
    if is_wide(y) and (x is None or (is_wide(x) and x.shape == y.shape)):
        move_wide(blocks(y.size), THREADS, x, y, value, x is None, y.size)
        return
    axes = walks(y.shape, x, y)
    if axes is not None:
        move(blocks(y.size), THREADS, x, y, value, x is None, y.size, *axes)
        return
    if x is not None and x.ndim < y.ndim:
        x = x.reshape((1,) * (y.ndim - x.ndim) + x.shape)
    for i in range(len(y)):  # more axes than kernels know
        _written(None if x is None else x[i if len(x) > 1 else 0], y[i], value)


def assign(y: Array, x: Any) -> None:
    """y = x in place: an array of any dtype that broadcasts, or a number."""
    if not isinstance(x, DeviceArray):
        _written(None, bits(y), number_bits(x, y.dtype))
        return
    if x.device is not y.device:
        there = y.device.empty(x.shape, x.dtype)
        y.device.copy(x.contiguous(), there)
        x = there
    if x.dtype != y.dtype:
        x = converted(x, y.dtype)
    elif overlap(x, y):
        if (x.pointer, x.shape, x.strides) == (y.pointer, y.shape, y.strides):
            return  # x[...] += y assigns the array to itself
        x = copied(x)
    if x.is_contiguous and y.is_contiguous and x.shape == y.shape:
        y.device.copy(x, y)
        return
    _written(bits(x), bits(y), 0)


def overlap(x: Array, y: Array) -> bool:
    """Whether two arrays may have memory in common."""
    (x_begin, x_end), (y_begin, y_end) = _span(x), _span(y)
    return x.device is y.device and x_begin < y_end and y_begin < x_end


def _span(x: Array) -> tuple[int, int]:
    if x.is_contiguous or not x.size:
        return x.pointer, x.pointer + x.nbytes
    ways = [(length - 1) * stride for length, stride in zip(x.shape, x.strides)]
    return x.pointer + sum(min(way, 0) for way in ways), x.pointer + sum(max(way, 0) for way in ways) + x.itemsize


def copied(x: Array) -> Array:
    """A contiguous copy."""
    y = x.device.empty(x.shape, x.dtype)
    if is_wide(x):
        x.device.copy(x, y)
    else:
        _written(bits(x), bits(y), 0)
    return y


def filled(device_: Any, shape: tuple[int, ...], dtype: np.dtype, value: Any) -> Array:
    """A new array of one number."""
    y = device_.empty(shape, dtype)
    assign(y, value)
    return y


@kernel("rdljbp" + "iiiiw" + "iiiii" + "wwwwww")
def convert(xr, xd, xl, xj, xb, y, source, is_whole, is_truth, n, first, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5):
    """y = x from the pointer that is not null: by way of float64 or int64, whichever holds all that y may get."""
    k = cuda.blockIdx.x * THREADS + cuda.threadIdx.x
    if k < n:
        at = first + place(k, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5)
        number = f64(0)
        whole = i64(0)
        if source == 0:
            number = f64(xr[at])
        elif source == 1:
            number = xd[at]
        elif source == 2:
            whole = xl[at]
        elif source == 3:
            whole = i64(xj[at])
        else:
            whole = i64(xb[at])
        if is_truth:
            y[k] = real(1) if number != 0 or whole != 0 else real(0)
        elif source < 2 and not is_whole:
            y[k] = real(number)
        else:
            y[k] = real(i64(number) if source < 2 else whole)


def converted(x: Array, dtype: Any) -> Array:
    """A contiguous copy of another dtype. Raises TypeError for one that there is not on devices."""
    dtype = np.dtype(dtype)
    if dtype == x.dtype:
        return copied(x)
    check_dtype(dtype)
    if str(x.dtype) in HALVES:
        from .cast import cast  # it needs arrays

        x = cast(x.contiguous(), np.dtype(np.float32))
        if x.dtype == dtype:
            return x
    y = x.device.empty(x.shape, dtype)
    axes = walks(x.shape, x)
    if axes is None:
        return converted(copied(x), dtype)
    if y.size:
        base, skipped = _aligned(x)
        source = _SOURCES.index(str(x.dtype))
        given = [base if code == min(source, 4) else None for code in range(5)]
        convert(singles(y.size), THREADS, *given, plain(y), source, dtype.kind in "iub", dtype.kind == "b", y.size,
                skipped, *axes)  # fmt: skip
    return y


def _aligned(x: Array) -> tuple[Array, int]:
    """x from the multiple of 16 bytes before it on, and the elements between."""
    skipped = x.pointer % ALIGNMENT
    return type(x)(x.device, x.shape, plain(x).dtype, x.owner, x.pointer - skipped), skipped // x.itemsize


def plain(x: Array) -> Array:
    """An array as kernels know it: booleans as bytes of 0 and 1."""
    return x.view(_BITS[1]) if x.dtype.kind == "b" else x


def check_dtype(dtype: np.dtype) -> None:
    """Raise TypeError for a dtype that arrays on devices cannot have."""
    if str(dtype) not in DTYPES:
        raise TypeError(f"arrays on a GPU are of {', '.join(DTYPES)}, got {dtype}")
