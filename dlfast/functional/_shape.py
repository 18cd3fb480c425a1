"""Joining and padding, and channels for pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _check as check
from .._autocast import FLOAT32, cast, mix
from .._devices import check_one_device, on_device
from ..kernels.memory import empty, pooled
from ..tensor import ArrayLike, Tensor, arrays_of, as_tensor, record, unwrap


def concatenate(tensors: Sequence[ArrayLike], axis: int = 0, *, dim: int | None = None) -> Tensor:
    """Tensors one after the other along an axis that they have; all other axes agree.

    Half beside float32 becomes float32. Raises TypeError for other mixed dtypes, ValueError for an empty list and
    shapes that do not fit.
    """
    axis = axis if dim is None else dim
    arrays = _one_dtype("concatenate", tensors)
    with pooled():
        y = np.concatenate(arrays, axis=axis)
    return record(y, _concatenate_backward, (np.cumsum([a.shape[axis] for a in arrays[:-1]]), axis), tensors)


def _concatenate_backward(dy, saved, needs):
    starts, axis = saved
    return np.split(dy, starts, axis=axis)


def stack(tensors: Sequence[ArrayLike], axis: int = 0, *, dim: int | None = None) -> Tensor:
    """Tensors of one shape side by side along a new axis. Raises as `concatenate`."""
    axis = axis if dim is None else dim
    with pooled():
        y = np.stack(_one_dtype("stack", tensors), axis=axis)
    return record(y, _stack_backward, (axis,), tensors)


def _stack_backward(dy, saved, needs):
    return list(np.moveaxis(dy, saved[0], 0))


def _one_dtype(op: str, tensors: Any) -> list[np.ndarray]:
    if isinstance(tensors, (Tensor, np.ndarray)) or len(tensors) == 0:
        raise ValueError(f"{op}: tensors must be a list of at least one, got {type(tensors).__name__}")
    check.given(op, [f"tensors[{i}]" for i in range(len(tensors))], tensors)
    arrays = arrays_of(tensors)
    check_one_device(op, [f"tensors[{i}]" for i in range(len(tensors))], arrays)
    dtypes = {a.dtype for a in arrays}
    if len(dtypes) > 1 and mix(arrays):
        return [cast(array, FLOAT32) for array in arrays]
    if len(dtypes) > 1:
        raise TypeError(f"{op}: all must have one dtype, got {', '.join(sorted(map(str, dtypes)))}; cast with x.astype")
    return arrays


def pad(x: ArrayLike, pad_width: Sequence[tuple[int, int]], value: float = 0.0, *, mode: str = "constant") -> Tensor:
    """x with `value` around it: pad_width has (before, after) for each axis, first axis first, as in NumPy.

    PyTorch's order is another: flat numbers, the last axis first; they are refused.

    mode "constant", or what is around x comes from it: "reflect" mirrors it without the edge (2 1 | 0 1 2), "replicate"
    repeats the edge (0 0 | 0 1 2), "circular" goes on at the other end (1 2 | 0 1 2).
    Raises TypeError for widths that are no integers, ValueError for negative ones, for a wrong number of pairs and for
    widths that are too large for the mode: from the axis' length on to reflect, above it to go round.
    """
    check.given("pad", ("x",), (x,))
    a = unwrap(x)
    if not isinstance(pad_width, (tuple, list)) or len(pad_width) != a.ndim:
        raise ValueError(f"pad: pad_width must have {a.ndim} pairs (before, after) for x {a.shape}, got {pad_width!r}")
    if not all(isinstance(width, (tuple, list)) for width in pad_width):
        raise ValueError(
            f"pad: pad_width must be pairs (before, after), first axis first, got {pad_width!r}; PyTorch's flat "
            "numbers, last axis first, would mean other axes here"
        )
    widths = [check.pair("pad", "pad_width", width, 0) for width in pad_width]
    inner = tuple(slice(before, before + n) for (before, _), n in zip(widths, a.shape))
    shape = tuple(before + n + after for (before, after), n in zip(widths, a.shape))
    check.room("pad", shape)
    if check.choice("pad", "mode", mode, ("constant", *_NUMPY_MODES)) != "constant":
        return _pad_from_within(x, a, widths, mode)
    y = np.empty_like(a, shape=shape) if on_device(a) else empty(shape, a.dtype)
    y[...] = float(value)
    y[inner] = a
    return record(y, _pad_backward, (inner,), (x,))


_NUMPY_MODES: dict[str, Any] = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def _pad_from_within(x: ArrayLike, a: np.ndarray, widths: list[tuple[int, int]], mode: str) -> Tensor:
    for axis, (width, n) in enumerate(zip(widths, a.shape)):
        most = {"reflect": n - 1, "replicate": math.inf if n else 0, "circular": n}[mode]
        if max(width) > most:
            raise ValueError(f"pad: pad_width {width} of axis {axis}, of length {n}, must be at most {most} to {mode}")
    sources = [np.pad(np.arange(n), width, _NUMPY_MODES[mode]) for width, n in zip(widths, a.shape)]
    with pooled():
        y = _whole(np.pad(a, widths, _NUMPY_MODES[mode]))
    return record(y, _pad_from_within_backward, (widths, sources), (x,))


def _pad_from_within_backward(dy, saved, needs):
    """Each number gets the gradients of its copies, axis by axis."""
    for axis, ((before, after), source) in enumerate(zip(*saved)):
        if not before and not after:
            continue
        rows = np.moveaxis(dy, axis, 0)
        end = len(rows) - after
        inner = rows[before:end].copy()
        for place in (*range(before), *range(end, len(rows))):
            inner[source[place]] += rows[place]
        dy = np.moveaxis(inner, 0, axis)
    return (_whole(dy),)


def _whole(x: np.ndarray) -> np.ndarray:
    """In row-major order; on a device kernels see to that themselves."""
    return x if on_device(x) else np.ascontiguousarray(x)


def pixel_shuffle(x: ArrayLike, upscale_factor: int) -> Tensor:
    """Channels become pixels: x (N, H, W, C r^2) -> y (N, H r, W r, C), r = upscale_factor.

        y[n, h r + i, w r + j, c] = x[n, h, w, c r^2 + i r + j]

    Raises ValueError where r^2 does not divide the channels. Source: Shi et al. 2016, equation 4.
    """
    r, t = check.integer("pixel_shuffle", "upscale_factor", upscale_factor, 1), as_tensor(x)
    check.rank("pixel_shuffle", "x", t, "N, H, W, C")
    n, h, w, channels = t.shape
    if channels % r**2:
        raise ValueError(f"pixel_shuffle: the channels of x {t.shape} must be a multiple of {r**2}")
    return t.reshape(n, h, w, channels // r**2, r, r).permute(0, 1, 4, 2, 5, 3).reshape(n, h * r, w * r, -1)


def pixel_unshuffle(x: ArrayLike, downscale_factor: int) -> Tensor:
    """Pixels become channels, the inverse of `pixel_shuffle`: x (N, H r, W r, C) -> y (N, H, W, C r^2).

    Raises ValueError where r = downscale_factor does not divide H and W.
    """
    r, t = check.integer("pixel_unshuffle", "downscale_factor", downscale_factor, 1), as_tensor(x)
    check.rank("pixel_unshuffle", "x", t, "N, H, W, C")
    n, h, w, channels = t.shape
    if h % r or w % r:
        raise ValueError(f"pixel_unshuffle: height and width of x {t.shape} must be multiples of {r}")
    return t.reshape(n, h // r, r, w // r, r, channels).permute(0, 1, 3, 5, 2, 4).reshape(n, h // r, w // r, -1)


def _pad_backward(dy, saved, needs):
    return (dy[saved[0]],)
