"""Images and sequences of another size: interpolation, and the maxima of bins."""

from __future__ import annotations

import math
from typing import Any

from .. import _check as check
from ..kernels.resizing import axis_step, scaled_size
from ..tensor import ArrayLike, Tensor, as_tensor, run, unwrap
from ._pool import adaptive_avg_pool1d, adaptive_avg_pool2d, max_pool2d

MODES = ("nearest", "nearest-exact", "linear", "bilinear", "area")


def interpolate(
    x: ArrayLike,
    size: int | tuple[int, ...] | None = None,
    scale_factor: float | tuple[float, ...] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """Images x (N, H, W, C) as (N, P, Q, C), or sequences (N, L, C) as (N, P, C), by what lies about each pixel.

        "nearest"         y[i] = x[floor(i step)], step = H / P: as in PyTorch not quite the nearest
        "nearest-exact"   y[i] = x[floor((i + 1/2) step)]
        "bilinear", "linear" (of sequences)   between the pixels about (i + 1/2) step - 1/2, not below 0; with
                          align_corners about i (H - 1) / (P - 1), so that the corners stay corners
        "area"            the mean of each bin, as `adaptive_avg_pool2d`

    size: P = Q or (P, Q); or scale_factor, with P = floor(H factor) and step = 1 / factor: one of the two.
    Raises TypeError for dtypes other than float32 and float64, ValueError for both or neither of size and scale_factor,
    results without pixels, a mode that does not suit the axes, and align_corners where nothing is interpolated.
    """
    check.given("interpolate", ("x",), (x,))
    a = unwrap(x)
    check.is_float("interpolate", "x", a)
    check.choice("interpolate", "mode", mode, MODES)
    if a.ndim not in (3, 4):
        raise ValueError(f"interpolate: x must have shape (N, H, W, C) or (N, L, C), got {a.shape}")
    if mode in ("linear", "bilinear") and (mode == "linear") != (a.ndim == 3):
        fitting = "linear" if a.ndim == 3 else "bilinear"
        raise ValueError(f"interpolate: the mode for x {a.shape} is {fitting!r}, got {mode!r}")
    if align_corners is not None and mode not in ("linear", "bilinear"):
        raise ValueError(f"interpolate: align_corners is for the modes 'linear' and 'bilinear', not {mode!r}")
    spatial = a.shape[1:-1]
    if 0 in spatial:
        raise ValueError(f"interpolate: x must have at least one pixel, got shape {a.shape}")
    wanted, factors = _sizes(spatial, size, scale_factor)
    check.room("interpolate", (a.shape[0], *wanted, a.shape[-1]))
    if mode == "area":
        return adaptive_avg_pool2d(x, (wanted[0], wanted[1])) if a.ndim == 4 else adaptive_avg_pool1d(x, wanted[0])
    aligned = bool(align_corners)
    step = tuple(axis_step(*axis, aligned) for axis in zip(spatial, wanted, factors))
    options = {"mode": "bilinear" if mode == "linear" else mode, "align_corners": aligned}
    if a.ndim == 4:
        return run("interpolate", (x,), (a,), {"size": wanted, "step": step, **options})
    n, length, channels = a.shape
    image = as_tensor(x).reshape(n, 1, length, channels)
    y = run("interpolate", (image,), (image.data,), {"size": (1, *wanted), "step": (1.0, *step), **options})
    return y.reshape(n, wanted[0], channels)


def _sizes(spatial: tuple, size: Any, scale_factor: Any) -> tuple[tuple[int, ...], tuple[float | None, ...]]:
    """The size of the result along each axis, and the factors, None where the size was given."""
    if (size is None) == (scale_factor is None):
        raise ValueError("interpolate: give size or scale_factor, one of the two")
    given = size if scale_factor is None else scale_factor
    values = tuple(given) if isinstance(given, (tuple, list)) else (given,) * len(spatial)
    name = "size" if scale_factor is None else "scale_factor"
    if len(values) != len(spatial):
        raise ValueError(f"interpolate: {name} must be one number or {len(spatial)}, got {given!r}")
    if scale_factor is None:
        return tuple(check.integer("interpolate", name, value, 1) for value in values), (None,) * len(spatial)
    factors = tuple(check.number("interpolate", name, value, 0, math.inf, low_open=True) for value in values)
    sizes = tuple(scaled_size(*pair) for pair in zip(spatial, factors))
    if min(sizes) < 1:
        raise ValueError(f"interpolate: scale_factor {given!r} leaves no pixel of {spatial}")
    return sizes, factors


def adaptive_max_pool2d(x: ArrayLike, output_size: int | tuple[int | None, int | None] | None) -> Tensor:
    """The largest values of bins that divide the image: bin i has rows floor(i H / P) to ceil((i + 1) H / P) - 1.

    x (N, H, W, C), y (N, P, Q, C); output_size: P = Q or (P, Q), None for the size of x. The first of equal values
    takes the gradient; NaN wins over every number. Raises as `adaptive_avg_pool2d`.
    """
    check.given("adaptive_max_pool2d", ("x",), (x,))
    a = unwrap(x)
    check.is_float("adaptive_max_pool2d", "x", a)
    check.rank("adaptive_max_pool2d", "x", a, "N, H, W, C")
    h, w = a.shape[1:3]
    if h == 0 or w == 0:
        raise ValueError(f"adaptive_max_pool2d: x must have at least one row and column, got shape {a.shape}")
    sizes = output_size if isinstance(output_size, (tuple, list)) else (output_size, output_size)
    wanted = [size if given is None else given for given, size in zip(sizes, (h, w))]
    p, q = check.pair("adaptive_max_pool2d", "output_size", wanted, 1)
    check.room("adaptive_max_pool2d", (a.shape[0], p, q, a.shape[3]))
    if h % p == 0 and w % q == 0:
        return max_pool2d(x, (h // p, w // q))
    return run("adaptive_max_pool2d", (x,), (a,), {"output_size": (p, q)})


def adaptive_max_pool1d(x: ArrayLike, output_size: int) -> Tensor:
    """The largest values of bins that divide a sequence, as `adaptive_max_pool2d`: x (N, L, C), y (N, P, C)."""
    check.given("adaptive_max_pool1d", ("x",), (x,))
    x = as_tensor(x)
    check.rank("adaptive_max_pool1d", "x", x, "N, L, C")
    size = check.integer("adaptive_max_pool1d", "output_size", output_size, 1)
    n, length, channels = x.shape
    return adaptive_max_pool2d(x.reshape(n, 1, length, channels), (1, size)).reshape(n, size, channels)
