"""Transposed convolution. N H W images, R S kernel and P Q output rows and columns, I input and O output channels."""

from __future__ import annotations

from typing import Any

from .. import _check as check
from .._precision import automatic
from ..kernels.conv_methods import Geometry
from ..kernels.conv_plan import Plan, plan_of_transposed
from ..kernels.geometry import MOST_PADDING, conv_transpose_output_size, least_dilation
from ..tensor import ArrayLike, Tensor, arrays_of, as_tensor, run
from ._conv import abilities, serving, sides
from ._linear import FUSED_ACTIVATIONS


def conv_transpose2d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple = 0,
    output_padding: int | tuple[int, int] = 0,
    groups: int = 1,
    dilation: int | tuple[int, int] = 1,
    *,
    activation: str | None = None,
) -> Tensor:
    """Transposed ("de-") convolution over images, channels last: each pixel adds a multiple of the kernel to y.

        y[n, p, q, o] = act(b[o] + sum of x[n, h, w, i] w[i, r, s, o] over all h, w, r, s, i
                            for which h sh + r dh - top = p and w sw + s dw - left = q)

    where i runs over the channels of o's group. x (N, H, W, I), weight (I, R, S, O/groups), bias (O,) or None,
    y (N, P, Q, O) with P = (H - 1) sh - top - bottom + dh (R - 1) + output_padding + 1, and Q likewise.
    The weight is laid out as that of the conv2d from O to I channels whose gradient of the image this is, so the two
    may share one array. PyTorch's weight (I, O/groups, R, S) is `weight.permute(0, 2, 3, 1)` here.
    stride, dilation: one integer or (rows, columns). padding, pixels cut off from y: an integer, (rows, columns) or
    ((top, bottom), (left, right)). output_padding: more rows and columns at the end, fewer than stride or dilation;
    it tells apart the sizes that a strided conv2d takes to one. activation: None, "relu", "sigmoid" or "tanh".
    Raises as `conv2d`; ValueError also where nothing of y is left.
    Source: Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning", chapter 4.
    """
    inputs = (x, weight, bias)
    a, w, b = arrays = arrays_of(inputs)
    check.floats("conv_transpose2d", ("x", "weight", "bias"), arrays, 2)
    groups = check.integer("conv_transpose2d", "groups", groups, 1)
    check.rank("conv_transpose2d", "x", a, "N, H, W, I")
    check.rank("conv_transpose2d", "weight", w, "I, R, S, O/groups")
    if a.shape[3] != w.shape[0] or w.shape[0] % groups:
        _wrong_channels(a, w, groups)
    check.shape("conv_transpose2d", "bias", b, (w.shape[3] * groups,), f"to match weight {w.shape}, groups={groups}")
    options = stride, padding, output_padding, dilation, groups, activation
    return run("conv_transpose2d", inputs, arrays, _planned(a.shape, w.shape, *options, automatic(), serving(a)))


def conv_transpose1d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: int = 1,
    padding: int | tuple[int, int] = 0,
    output_padding: int = 0,
    groups: int = 1,
    dilation: int = 1,
    *,
    activation: str | None = None,
) -> Tensor:
    """Transposed convolution over sequences: x (N, L, I), weight (I, S, O/groups), bias (O,) or None, y (N, Q, O).

    It is `conv_transpose2d` on images of one row; padding: an integer or (before, after).
    """
    op = "conv_transpose1d"
    check.given(op, ("x", "weight"), (x, weight))
    x, w = as_tensor(x), as_tensor(weight)
    check.rank(op, "x", x, "N, L, I")
    check.rank(op, "weight", w, "I, S, O/groups")
    before, after = check.pair(op, "padding", padding, 0, MOST_PADDING)
    steps = [
        check.integer(op, name, value, least)
        for name, value, least in (
            ("stride", stride, 1),
            ("output_padding", output_padding, 0),
            ("dilation", dilation, 1),
        )
    ]
    y = conv_transpose2d(
        x.reshape(x.shape[0], 1, *x.shape[1:]),
        w.reshape(w.shape[0], 1, *w.shape[1:]),
        bias,
        (1, steps[0]),
        ((0, 0), (before, after)),
        (0, steps[1]),
        groups,
        (1, steps[2]),
        activation=activation,
    )
    return y.reshape(y.shape[0], *y.shape[2:])


def _wrong_channels(a, w, groups: int) -> None:
    if a.shape[3] % groups:
        raise ValueError(f"conv_transpose2d: groups={groups} must divide the {a.shape[3]} channels of x {a.shape}")
    raise ValueError(
        f"conv_transpose2d: weight must have shape ({a.shape[3]}, R, S, O/groups) to match x {a.shape}, got {w.shape}"
    )


@check.remembered
def _planned(
    image: tuple, kernel: tuple, stride: Any, padding: Any, extra: Any, dilation: Any, groups: int, activation: Any,
    auto: str, backend: tuple,
) -> dict[str, Plan]:  # fmt: skip
    """The kernel's option, made once; raises where y would have no pixels. auto, backend: what else it depends on."""
    op = "conv_transpose2d"
    check.choice(op, "activation", activation, FUSED_ACTIVATIONS)
    stride = check.pair(op, "stride", stride, 1)
    dilation = check.pair(op, "dilation", dilation, 1)
    extra = output_padding_pair(op, extra, stride, dilation)
    padding = sides(op, padding)
    for axis, name in ((0, "rows"), (1, "columns")):
        size, taps, cut = image[1 + axis], kernel[1 + axis], padding[2 * axis] + padding[2 * axis + 1]
        if size < 1 or taps < 1:
            raise ValueError(f"{op}: x and weight must have at least one of their {name}, got {image} and {kernel}")
        if conv_transpose_output_size(size, taps, stride[axis], cut, dilation[axis], extra[axis]) < 1:
            raise ValueError(
                f"{op}: padding {padding[2 * axis : 2 * axis + 2]} cuts off all {name} that x {image} and "
                f"weight {kernel} give; pad less"
            )
    sh, sw = (step if size > 1 else 1 for step, size in zip(stride, image[1:]))  # one pixel has no next one
    dh, dw = map(least_dilation, dilation, kernel[1:])
    geometry = Geometry((sh, sw), padding, (dh, dw), groups)
    made = plan_of_transposed(image, kernel, geometry, extra, activation, auto, abilities(backend))
    check.room(op, made.image)
    return {"plan": made}


def output_padding_pair(op: str, value: Any, stride: tuple[int, int], dilation: tuple[int, int]) -> tuple[int, int]:
    """output_padding for rows and columns, each smaller than the stride or the dilation."""
    pair = check.pair(op, "output_padding", value, 0)
    for axis in (0, 1):
        if pair[axis] >= max(stride[axis], dilation[axis]):
            raise ValueError(
                f"{op}: output_padding must be smaller than stride {stride} or dilation {dilation}, got {pair}"
            )
    return pair
