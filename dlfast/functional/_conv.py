"""Convolution. N H W C images, R S kernel rows and columns, P Q output rows and columns, K out channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import _check as check
from .._layout import channels_first
from .._precision import automatic
from ..kernels import active, active_module, get_backend
from ..kernels.conv_methods import METHODS, Geometry, geometry_of, output_shape, unfit
from ..kernels.geometry import conv_output_size
from ..tensor import ArrayLike, Tensor, arrays_of, record, run
from ._linear import FUSED_ACTIVATIONS

Padding = int | str | tuple

_IMAGES, _SEQUENCES = ("N, H, W, C", "K, R, S, C/groups"), ("N, L, C", "K, S, C/groups")


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
    arrays = arrays_of(inputs)
    options, _ = checked("conv2d", arrays, stride, padding, dilation, groups, activation, method)
    return run("conv2d", inputs, arrays, options)


def checked(
    op: str, arrays: list, stride: Any, padding: Any, dilation: Any, groups: Any, activation: Any, method: str
) -> tuple[dict[str, Any], tuple]:
    """The options as kernels take them and the shape of the output, for the arrays x, weight and bias; or raises."""
    a, w, b = arrays
    if type(groups) is not int or not check.fits_conv(a, w, b, groups):
        groups = check_arrays(op, a, w, b, groups)
    in_force = automatic(), get_backend()
    return _plan(op, a.shape, w.shape, stride, padding, dilation, groups, activation, method, in_force)


@check.remembered
def _plan(
    op: str,
    image: tuple,
    kernel: tuple,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    activation: Any,
    method: str,
    in_force: tuple,
) -> tuple[dict[str, Any], tuple]:
    """The options and the shape of the output. in_force: what they depend on besides the arguments."""
    options = conv_geometry(op, image, kernel, stride, padding, dilation) | {"groups": groups}
    options = _with_algorithm(op, options, kernel, activation, method)
    return options, output_shape(image, kernel, geometry_of(options))


def _with_algorithm(op: str, options: dict[str, Any], kernel: tuple, activation: Any, method: str) -> dict[str, Any]:
    """The options with activation and method, which are checked; kernel: the shape of the weight of an image."""
    if activation is not None:
        check.choice(op, "activation", activation, FUSED_ACTIVATIONS)
    return {**options, "activation": activation, "method": conv_method(op, method, kernel, geometry_of(options))}


def conv1d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: int = 1,
    padding: Padding = 0,
    dilation: int = 1,
    groups: int = 1,
    *,
    activation: str | None = None,
    method: str = "auto",
) -> Tensor:
    """Convolution (cross-correlation) over sequences, channels last:

        y[n, q, k] = act(b[k] + sum over s, c of x[n, q stride + s dilation - before, c] w[k, s, c])

    where c runs over the channels of k's group. x (N, L, C), weight (K, S, C/groups), bias (K,) or None, y (N, Q, K).
    padding, in steps: an integer, (before, after), "valid" or "same". It is conv2d on images of one row; activation,
    method and errors as there.
    """
    inputs = (x, weight, bias)
    a, w, b = arrays_of(inputs)
    groups = check_arrays("conv1d", a, w, b, groups)
    stride = check.integer("conv1d", "stride", stride, 1)
    dilation = check.integer("conv1d", "dilation", dilation, 1)
    before, after = pad2("conv1d", padding, w.shape[1], stride, dilation)
    _check_axis("conv1d", "steps", a.shape, w.shape, 1, dilation, (before, after))
    image, taps = a[:, None], w[:, None]
    geometry = Geometry((1, stride), (0, 0, before, after), (1, dilation), groups)
    options = _with_algorithm("conv1d", geometry._asdict(), taps.shape, activation, method)
    forward, backward = active("conv2d", image)
    y, saved = forward(image, taps, b, **options)
    return record(y[:, 0], _conv1d_backward, (backward, saved), inputs, True)


def _conv1d_backward(dy, saved: tuple, needs: Sequence) -> tuple:
    """conv2d's gradients, without the axis of one row."""
    backward, of_image = saved
    dx, dweight, dbias = backward(dy[:, None], of_image, tuple(map(bool, needs)))
    return None if dx is None else dx[:, 0], None if dweight is None else dweight[:, 0], dbias


def check_arrays(op: str, a, w, b, groups: Any) -> int:
    """The number of groups; raises unless dtypes and shapes of x, weight and bias fit."""
    check.floats(op, ("x", "weight", "bias"), (a, w, b), 2)
    groups = check.integer(op, "groups", groups, 1)
    axes = 3 if op == "conv1d" else 4
    if not (a.ndim == w.ndim == axes and a.shape[-1] == w.shape[-1] * groups and w.shape[0] % groups == 0):
        _wrong_shapes(op, a, w, groups)
    if b is not None and b.shape != w.shape[:1]:
        check.shape(op, "bias", b, w.shape[:1], f"to match weight {w.shape}")
    return groups


def _wrong_shapes(op: str, a, w, groups: int) -> None:
    letters = _SEQUENCES if op == "conv1d" else _IMAGES
    check.rank(op, "x", a, letters[0])
    check.rank(op, "weight", w, letters[1])
    channels, kernels = a.shape[-1], w.shape[0]
    if channels % groups:
        raise ValueError(f"{op}: groups={groups} must divide the {channels} channels of x {a.shape}")
    if w.shape[-1] * groups != channels:
        wanted = letters[1].replace("C/groups", str(channels // groups))
        raise ValueError(
            f"{op}: weight must have shape ({wanted}) to match x {a.shape} with groups={groups}, got {w.shape}"
            f"{channels_first(a, w.shape[-1] * groups)}"
        )
    raise ValueError(f"{op}: groups={groups} must divide the {kernels} output channels of weight {w.shape}")


def conv_method(op: str, method: str, kernel: tuple, geometry: Geometry) -> str:
    """The method for the kernels: "auto" and the precision in force, or the one asked for if it fits."""
    if method == "auto":
        return automatic()
    check_method(op, method, kernel, geometry, only_3x3())
    known = conv_methods()
    if method not in known:
        raise ValueError(f"{op}: the backend in force has the methods {', '.join(known)}, not {method!r}")
    return method


def conv_methods() -> tuple[str, ...]:
    """The methods of convolution that the backend in force has."""
    return getattr(active_module("conv2d"), "CONV_METHODS")  # noqa: B009


def only_3x3() -> bool:
    """Whether Winograd's method of the backend in force is for 3 x 3 kernels only, see `unfit`."""
    return getattr(active_module("conv2d"), "ONLY_3X3", False)


def check_method(op: str, method: str, kernel: tuple, geometry: Geometry, only_3x3: bool = False) -> str:
    """`method`; raises ValueError for one that is unknown or cannot do a convolution of this geometry."""
    check.choice(op, "method", method, ("auto", *METHODS))
    if method != "auto" and (why := unfit(method, "forward", kernel, geometry, only_3x3)):
        raise ValueError(f"{op}: method {method!r} {why}; got weight {kernel}, {geometry}")
    return method


def conv_geometry(op: str, image: tuple, kernel: tuple, stride: Any, padding: Any, dilation: Any) -> dict[str, Any]:
    """Stride, padding and dilation as the kernels take them; raises where no window fits the padded image."""
    stride = check.pair(op, "stride", stride, 1)
    dilation = check.pair(op, "dilation", dilation, 1)
    padding = pad4(op, padding, kernel[1:3], stride, dilation)
    _check_axis(op, "rows", image, kernel, 1, dilation[0], padding[:2])
    _check_axis(op, "columns", image, kernel, 2, dilation[1], padding[2:])
    return {"stride": stride, "padding": padding, "dilation": dilation}


def _check_axis(op: str, name: str, image: tuple, kernel: tuple, axis: int, dilation: int, padding: tuple) -> None:
    """Raise unless the kernel fits the padded image along this axis."""
    size, taps = image[axis], kernel[axis]
    if taps < 1:
        raise ValueError(f"{op}: weight must have at least one of its kernel {name}, got shape {kernel}")
    if conv_output_size(size, taps, 1, padding[0], padding[1], dilation) < 1:
        raise ValueError(
            f"{op}: kernel spans {dilation * (taps - 1) + 1} {name}, more than the {size} of x {image} "
            f"with padding {padding}; pad more or use a smaller kernel or dilation"
        )


def pad4(op: str, padding: Any, kernel: tuple, stride: tuple, dilation: tuple) -> tuple[int, int, int, int]:
    """Any way to say the padding of an image, as (top, bottom, left, right)."""
    if type(padding) is int and padding >= 0:
        return padding, padding, padding, padding
    if isinstance(padding, str):
        top, bottom = pad2(op, padding, kernel[0], stride[0], dilation[0])
        return top, bottom, *pad2(op, padding, kernel[1], stride[1], dilation[1])
    return sides(op, padding)


def pad2(op: str, padding: Any, taps: int, stride: int, dilation: int) -> tuple[int, int]:
    """Any way to say the padding along one axis, as (before, after). The odd pixel of "same" goes after."""
    if not isinstance(padding, str):
        return check.pair(op, "padding", padding, 0)
    check.choice(op, "padding", padding, ("same", "valid"))
    if padding == "valid":
        return 0, 0
    if stride != 1:
        raise ValueError(f"{op}: padding='same' needs stride 1, got stride {stride}; give the padding in pixels")
    total = dilation * (taps - 1)
    return total // 2, total - total // 2


def sides(op: str, padding: Any) -> tuple[int, int, int, int]:
    """An integer, (rows, columns) or ((top, bottom), (left, right)), as (top, bottom, left, right)."""
    if isinstance(padding, (tuple, list)) and len(padding) == 2 and isinstance(padding[0], (tuple, list)):
        return *check.pair(op, "padding", padding[0], 0), *check.pair(op, "padding", padding[1], 0)
    rows, columns = check.pair(op, "padding", padding, 0)
    return rows, rows, columns, columns
