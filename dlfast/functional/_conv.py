"""Convolution. N H W C images, R S kernel rows and columns, P Q output rows and columns, K out channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import _check as check
from .._autocast import arrays_for
from .._devices import on_device
from .._layout import channels_first
from .._precision import automatic
from ..kernels import active, active_module, get_backend
from ..kernels.conv_methods import METHODS, PLAIN, Abilities, Geometry, unfit
from ..kernels.conv_on_device import DEVICE_METHODS, unfit_on_device
from ..kernels.conv_plan import Plan, plan
from ..kernels.geometry import MOST_PADDING, conv_output_size, least_dilation, least_stride
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
    (rows, columns), ((top, bottom), (left, right)), "valid" (none) or "same" (P = H, Q = W; needs stride 1), at most
    2^20 on a side. A stride beyond the padded image leaves one window.
    activation: None, "relu", "sigmoid" or "tanh", computed in the same pass. method: "auto" chooses by shape, see
    `dlfast.explain`; "im2col", "direct", "winograd", "pointwise" or "depthwise" insist on one on the CPU, "implicit",
    "im2col" or "cudnn" on a device.
    Raises TypeError for dtypes other than float32 and float64 or mixed ones and for geometry that is not integer;
    ValueError for shapes that do not fit, channels that groups does not divide, a kernel larger than the padded image.
    """
    inputs = (x, weight, bias)
    arrays = arrays_of(inputs)
    options = checked("conv2d", arrays, stride, padding, dilation, groups, activation, method)
    return run("conv2d", inputs, arrays, options)


def checked(
    op: str, arrays: list, stride: Any, padding: Any, dilation: Any, groups: Any, activation: Any, method: str,
    pool_size: Any = None, average: int = 0,
) -> dict[str, Plan]:  # fmt: skip
    """The kernel's option `plan` for x, weight and bias; or raises. pool_size, average: of the pooling behind."""
    a, w, b = arrays
    if type(groups) is not int or not check.fits_conv(a, w, b, groups):
        groups = check_arrays(op, a, w, b, groups)
    options = stride, padding, dilation, groups, activation, method, pool_size, average
    return _planned(op, a.shape, w.shape, *options, automatic(), serving(a))


@check.remembered
def _planned(
    op: str, image: tuple, kernel: tuple, stride: Any, padding: Any, dilation: Any, groups: int, activation: Any,
    method: str, pool_size: Any, average: int, auto: str, backend: tuple,
) -> dict[str, Plan]:  # fmt: skip
    """The kernel's option, made once. auto, backend: what it depends on besides the arguments."""
    geometry = Geometry(*conv_geometry(op, image, kernel, stride, padding, dilation), groups)
    if activation is not None:
        check.choice(op, "activation", activation, FUSED_ACTIVATIONS)
    method, able = conv_method(op, method, image, kernel, geometry, backend), abilities(backend)
    pool = None if pool_size is None else check.pair(op, "pool_size", pool_size, 1)
    made = plan(image, kernel, geometry, activation, method, pool, bool(average), able)
    check.room(op, made.output)
    if pool is not None and (pool[0] > made.output[1] or pool[1] > made.output[2]):
        raise ValueError(
            f"{op}: pool_size {pool} is larger than the {made.output[1]} x {made.output[2]} pixels of the convolution "
            f"of x {image} with weight {kernel}; pad more or use a smaller window"
        )
    return {"plan": made}


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
    padding, in steps: an integer, (before, after), "valid", "same", or "causal", (S - 1) dilation before, none after:
    with stride 1, step q of y sees steps up to q of x and none behind (van den Oord et al. 2016, "WaveNet", section
    2.1). It is conv2d on images of one row; activation, method and errors as there.
    """
    inputs = (x, weight, bias)
    a, w, b = arrays_of(inputs)
    groups = check_arrays("conv1d", a, w, b, groups)
    if on_device(a):
        a, w, b = arrays_for("conv2d", inputs, (a, w, b))
    image, taps = a[:, None], w[:, None]
    options = stride, padding, dilation, groups, activation, method
    planned = _planned_1d(a.shape, w.shape, *options, automatic(), serving(a))
    forward, backward = active("conv2d", image)
    y, saved = forward(image, taps, b, **planned)
    return record(y[:, 0], _conv1d_backward, (backward, saved), inputs, True)


@check.remembered
def _planned_1d(
    steps: tuple, kernel: tuple, stride: Any, padding: Any, dilation: Any, groups: int, activation: Any, method: str,
    auto: str, backend: tuple,
) -> dict[str, Plan]:  # fmt: skip
    """As `_planned`, for sequences."""
    op = "conv1d"
    stride = check.integer(op, "stride", stride, 1)
    dilation = check.integer(op, "dilation", dilation, 1)
    before, after = pad_steps(op, padding, kernel[1], stride, dilation)
    stride, dilation = _axis(op, "steps", steps, kernel, 1, stride, dilation, (before, after))
    geometry = Geometry((1, stride), (0, 0, before, after), (1, dilation), groups)
    image, taps = (steps[0], 1, *steps[1:]), (kernel[0], 1, *kernel[1:])
    if activation is not None:
        check.choice(op, "activation", activation, FUSED_ACTIVATIONS)
    method = conv_method(op, method, image, taps, geometry, backend)
    made = plan(image, taps, geometry, activation, method, abilities=abilities(backend))
    check.room(op, made.output)
    return {"plan": made}


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


def conv_method(op: str, method: str, image: tuple, kernel: tuple, geometry: Geometry, backend: tuple) -> str:
    """The method for the kernels: "auto" and the precision in force, or the one asked for if it fits."""
    if method == "auto":
        return automatic()
    able = abilities(backend)
    check_method(op, method, kernel, geometry, able)
    if able.on_device is not None:
        return _device_method(op, method, image, kernel, geometry, able)
    if method not in METHODS:
        raise ValueError(f"{op}: method {method!r} is for arrays on a device; the CPU has {', '.join(METHODS)}")
    if method not in able.methods:
        raise ValueError(f"{op}: the backend in force has the methods {', '.join(able.methods)}, not {method!r}")
    return method


def _device_method(op: str, method: str, image: tuple, kernel: tuple, geometry: Geometry, able: Abilities) -> str:
    """`method`; raises ValueError, with what there is, for one that the device lacks or that cannot do this."""
    assert able.on_device is not None
    if method not in DEVICE_METHODS:
        there = f"'auto', {', '.join(map(repr, able.methods))}"
        lacking = able.on_device.no_cudnn
        lacking = f"; cudnn cannot be used: {lacking}" if lacking else ""
        raise ValueError(f"{op}: method {method!r} is one of the CPU; arrays on a device have {there}{lacking}")
    if why := unfit_on_device(method, image, kernel, geometry, able.on_device):
        rest = ", ".join(repr(name) for name in able.methods if name != method)
        raise ValueError(f"{op}: method {method!r} {why}; 'auto', {rest} take x {image}, weight {kernel}, {geometry}")
    return method


def serving(x: Any) -> tuple:
    """What serves convolutions of x: `get_backend`, and for an array on a device what they can do there."""
    names = get_backend(x)
    if names[0] != "cuda":
        return names
    module: Any = active_module("conv2d", names)
    return *names, module.abilities(x.device, x.dtype)


def abilities(backend: tuple) -> Abilities:
    """What convolutions can do; backend: what `serving` says."""
    return backend[1] if backend[0] == "cuda" else getattr(active_module("conv2d"), "ABILITIES", PLAIN)


_MOST_ABLE = Abilities(lists=("forward",), grouped=True)  # what some backend can do: which one runs shows later


def check_method(op: str, method: str, kernel: tuple, geometry: Geometry, able: Abilities = _MOST_ABLE) -> str:
    """`method`; raises ValueError for one that is unknown or, on the CPU, cannot do a convolution of this geometry."""
    check.choice(op, "method", method, ("auto", *METHODS, *(name for name in DEVICE_METHODS if name not in METHODS)))
    if method in METHODS and (why := unfit(method, "forward", kernel, geometry, able)):
        raise ValueError(f"{op}: method {method!r} {why}; got weight {kernel}, {geometry}")
    return method


def conv_geometry(op: str, image: tuple, kernel: tuple, stride: Any, padding: Any, dilation: Any) -> tuple:
    """Stride, padding and dilation as the kernels take them; raises where no window fits the padded image."""
    stride = check.pair(op, "stride", stride, 1)
    dilation = check.pair(op, "dilation", dilation, 1)
    padding = pad4(op, padding, kernel[1:3], stride, dilation)
    rows = _axis(op, "rows", image, kernel, 1, stride[0], dilation[0], padding[:2])
    columns = _axis(op, "columns", image, kernel, 2, stride[1], dilation[1], padding[2:])
    (sh, dh), (sw, dw) = rows, columns
    return (sh, sw), padding, (dh, dw)


def _axis(
    op: str, name: str, image: tuple, kernel: tuple, axis: int, stride: int, dilation: int, padding: tuple
) -> tuple[int, int]:
    """Stride and dilation along this axis as the kernels take them; raises unless the kernel fits the padded image."""
    size, taps = image[axis], kernel[axis]
    if taps < 1:
        raise ValueError(f"{op}: weight must have at least one of its kernel {name}, got shape {kernel}")
    windows = conv_output_size(size, taps, 1, padding[0], padding[1], dilation)
    if windows < 1:
        raise ValueError(
            f"{op}: kernel spans {dilation * (taps - 1) + 1} {name}, more than the {size} of x {image} "
            f"with padding {padding}; pad more or use a smaller kernel or dilation"
        )
    return least_stride(stride, windows - 1), least_dilation(dilation, taps)


def pad4(op: str, padding: Any, kernel: tuple, stride: tuple, dilation: tuple) -> tuple[int, int, int, int]:
    """Any way to say the padding of an image, as (top, bottom, left, right)."""
    if type(padding) is int and 0 <= padding <= MOST_PADDING:
        return padding, padding, padding, padding
    if isinstance(padding, str):
        top, bottom = pad2(op, padding, kernel[0], stride[0], dilation[0])
        return top, bottom, *pad2(op, padding, kernel[1], stride[1], dilation[1])
    return sides(op, padding)


def pad2(op: str, padding: Any, taps: int, stride: int, dilation: int) -> tuple[int, int]:
    """Any way to say the padding along one axis, as (before, after). The odd pixel of "same" goes after."""
    if not isinstance(padding, str):
        return check.pair(op, "padding", padding, 0, MOST_PADDING)
    check.choice(op, "padding", padding, ("same", "valid"))
    if padding == "valid":
        return 0, 0
    if stride != 1:
        raise ValueError(f"{op}: padding='same' needs stride 1, got stride {stride}; give the padding in pixels")
    total = dilation * (taps - 1)
    if total > 2 * MOST_PADDING:
        raise ValueError(f"{op}: padding='same' would be {total} pixels, more than {2 * MOST_PADDING}; dilate less")
    return total // 2, total - total // 2


def pad_steps(op: str, padding: Any, taps: int, stride: int, dilation: int) -> tuple[int, int]:
    """As `pad2`, for sequences, which may be padded before their first step alone."""
    if not isinstance(padding, str):
        return pad2(op, padding, taps, stride, dilation)
    check.choice(op, "padding", padding, ("same", "valid", "causal"))
    if padding != "causal":
        return pad2(op, padding, taps, stride, dilation)
    before = dilation * (taps - 1)
    if before > MOST_PADDING:
        raise ValueError(f"{op}: padding='causal' would be {before} steps, more than {MOST_PADDING}; dilate less")
    return before, 0


def sides(op: str, padding: Any) -> tuple[int, int, int, int]:
    """An integer, (rows, columns) or ((top, bottom), (left, right)), as (top, bottom, left, right)."""
    if isinstance(padding, (tuple, list)) and len(padding) == 2 and isinstance(padding[0], (tuple, list)):
        top_bottom, left_right = (check.pair(op, "padding", both, 0, MOST_PADDING) for both in padding)
        return *top_bottom, *left_right
    rows, columns = check.pair(op, "padding", padding, 0, MOST_PADDING)
    return rows, rows, columns, columns
