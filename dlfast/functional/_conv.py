"""Convolution. N H W C images, R S kernel rows and columns, P Q output rows and columns, K out channels."""

from __future__ import annotations

import sys
from typing import Any

from .. import _check as check
from .._precision import automatic
from ..kernels import active
from ..kernels.conv_methods import METHODS, Geometry, output_shape, pooling_pays, unfit
from ..kernels.geometry import conv_output_size
from ..tensor import ArrayLike, Tensor, arrays_of, run, unwrap
from ._linear import FUSED_ACTIVATIONS

Padding = int | str | tuple


def conv2d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: int | tuple[int, int] = 1,
    padding: Padding = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    *,
    activation: str | None = None,
    method: str = "auto",
) -> Tensor:
    """Convolution (cross-correlation) over images, channels last:

        y[n, p, q, k] = act(b[k] + sum over r, s, c of x[n, p sh + r dh - top, q sw + s dw - left, c] w[k, r, s, c])

    where c runs over the channels of k's group. x (N, H, W, C), weight (K, R, S, C/groups), bias (K,) or None,
    y (N, P, Q, K). stride and dilation: one integer or (rows, columns). padding, in pixels: an integer,
    (rows, columns), ((top, bottom), (left, right)), "valid" (none) or "same" (P = H, Q = W; needs stride 1).
    activation: None, "relu", "sigmoid" or "tanh", computed in the same pass. method: "auto" chooses by shape, see
    `dlfast.explain`; "im2col", "direct", "winograd", "pointwise" or "depthwise" insist on one.
    Raises TypeError for dtypes other than float32 and float64 or mixed ones and for geometry that is not integer;
    ValueError for shapes that do not fit, channels that groups does not divide, a kernel larger than the padded image.
    """
    inputs = (x, weight, bias)
    arrays, options = _checked("conv2d", inputs, stride, padding, dilation, groups, activation, method)
    return run("conv2d", inputs, arrays, options)


def conv2d_max_pool2d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: int | tuple[int, int] = 1,
    padding: Padding = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    *,
    pool_size: int | tuple[int, int] = 2,
    activation: str | None = None,
    method: str = "auto",
) -> Tensor:
    """Convolution and max-pooling in one: y = act(max over each window of z), z = conv2d(x, weight, bias).

    The windows of pool_size lie side by side, as `max_pool2d(z, pool_size)` has them; where the method is direct (few
    channels in x) z is never written. For a monotonic activation, and all of these are, act(max(z)) = max(act(z)).
    Everything else as `conv2d`, y (N, P // rows, Q // columns, K).
    Raises as `conv2d`, and ValueError for a pool_size larger than z.
    """
    inputs = (x, weight, bias)
    arrays, options = _checked("conv2d_max_pool2d", inputs, stride, padding, dilation, groups, activation, method)
    pool = check.pair("conv2d_max_pool2d", "pool_size", pool_size, 1)
    geometry = Geometry(options["stride"], options["padding"], options["dilation"], groups)
    _, p, q, _ = output_shape(arrays[0].shape, arrays[1].shape, geometry)
    if pool[0] > p or pool[1] > q:
        raise ValueError(
            f"conv2d_max_pool2d: pool_size {pool} is larger than the {p} x {q} pixels of the convolution of "
            f"x {arrays[0].shape} with weight {arrays[1].shape}; pad more or use a smaller window"
        )
    return run("conv2d_max_pool2d", inputs, arrays, {**options, "pool_size": pool})


def pools_at_once(x: ArrayLike, weight: Tensor, geometry: Geometry, pool_size: tuple[int, int]) -> bool:
    """Whether `conv2d_max_pool2d` is faster than its two parts here, and would raise nothing that they would not."""
    a, kernel = unwrap(x), weight.shape
    fits = a.ndim == 4 and a.dtype == weight.dtype and a.shape[3] == kernel[3] * geometry.groups
    return fits and "direct" in _methods() and pooling_pays(a.shape, kernel, geometry, pool_size)


def _methods() -> tuple[str, ...]:
    """The methods of convolution that the backend in force has."""
    return sys.modules[active("conv2d")[0].__module__].CONV_METHODS


def _checked(
    op: str, inputs: tuple, stride: Any, padding: Any, dilation: Any, groups: Any, activation: Any, method: str
) -> tuple[list, dict[str, Any]]:
    """The arrays of x, weight and bias and the options as the kernels take them; raises where they do not fit."""
    a, w, b = arrays = arrays_of(inputs)
    check.floats(op, ("x", "weight", "bias"), arrays)
    groups = check.integer(op, "groups", groups, 1)
    if not (a.ndim == w.ndim == 4 and a.shape[3] == w.shape[3] * groups and w.shape[0] % groups == 0):
        _wrong_shapes(op, a, w, groups)
    if b is not None and b.shape != w.shape[:1]:
        check.shape(op, "bias", b, w.shape[:1], f"to match weight {w.shape}")
    options = conv_geometry(op, a.shape, w.shape, stride, padding, dilation)
    if activation is not None:
        check.choice(op, "activation", activation, FUSED_ACTIVATIONS)
    options |= {
        "groups": groups,
        "activation": activation,
        "method": conv_method(op, method, w.shape, groups, options),
    }
    return arrays, options


def conv_method(op: str, method: str, kernel: tuple, groups: int, options: dict[str, Any]) -> str:
    """The method for the kernels: "auto" and the precision in force, or the one asked for if it fits."""
    if method == "auto":
        return automatic()
    check.choice(op, "method", method, ("auto", *METHODS))
    geometry = Geometry(options["stride"], options["padding"], options["dilation"], groups)
    if why := unfit(method, "forward", kernel, geometry):
        raise ValueError(f"{op}: method {method!r} {why}; got weight {kernel}, {geometry}")
    known = _methods()
    if method not in known:
        raise ValueError(f"{op}: the backend in force has the methods {', '.join(known)}, not {method!r}")
    return method


def _wrong_shapes(op: str, a, w, groups: int) -> None:
    check.rank(op, "x", a, "N, H, W, C")
    check.rank(op, "weight", w, "K, R, S, C/groups")
    channels, kernels = a.shape[3], w.shape[0]
    if channels % groups:
        raise ValueError(f"{op}: groups={groups} must divide the {channels} channels of x {a.shape}")
    if w.shape[3] * groups != channels:
        raise ValueError(
            f"{op}: weight must have shape (K, R, S, {channels // groups}) to match x {a.shape} "
            f"with groups={groups}, got {w.shape}"
        )
    raise ValueError(f"{op}: groups={groups} must divide the {kernels} output channels of weight {w.shape}")


def conv_geometry(op: str, image: tuple, kernel: tuple, stride: Any, padding: Any, dilation: Any) -> dict[str, Any]:
    """Stride, padding and dilation as the kernels take them; raises where no window fits the padded image."""
    stride = check.pair(op, "stride", stride, 1)
    dilation = check.pair(op, "dilation", dilation, 1)
    padding = pad4(op, padding, kernel[1:3], stride, dilation)
    for axis, name in ((0, "rows"), (1, "columns")):
        size, taps, before, after = image[1 + axis], kernel[1 + axis], padding[2 * axis], padding[2 * axis + 1]
        if taps < 1:
            raise ValueError(f"{op}: weight must have at least one of its kernel {name}, got shape {kernel}")
        if conv_output_size(size, taps, 1, before, after, dilation[axis]) < 1:
            raise ValueError(
                f"{op}: kernel spans {dilation[axis] * (taps - 1) + 1} {name}, more than the {size} of x {image} "
                f"with padding ({before}, {after}); pad more or use a smaller kernel or dilation"
            )
    return {"stride": stride, "padding": padding, "dilation": dilation}


def pad4(op: str, padding: Any, kernel: tuple, stride: tuple, dilation: tuple) -> tuple[int, int, int, int]:
    """Any way to say a padding, as (top, bottom, left, right). The odd pixel of "same" goes below and to the right."""
    if type(padding) is int and padding >= 0:
        return padding, padding, padding, padding
    if isinstance(padding, str):
        check.choice(op, "padding", padding, ("same", "valid"))
        if padding == "valid":
            return 0, 0, 0, 0
        if stride != (1, 1):
            raise ValueError(f"{op}: padding='same' needs stride 1, got stride {stride}; give the padding in pixels")
        total = [d * (k - 1) for d, k in zip(dilation, kernel)]
        return total[0] // 2, total[0] - total[0] // 2, total[1] // 2, total[1] - total[1] // 2
    if isinstance(padding, (tuple, list)) and len(padding) == 2 and isinstance(padding[0], (tuple, list)):
        return *check.pair(op, "padding", padding[0], 0), *check.pair(op, "padding", padding[1], 0)
    rows, columns = check.pair(op, "padding", padding, 0)
    return rows, rows, columns, columns
