"""Convolution and the batch normalisation behind it in evaluation, as one operation."""

from __future__ import annotations

import math

from .. import _check as check
from ..tensor import ArrayLike, Tensor, arrays_of, run, wants_gradient
from ._conv import Padding, checked

_ROWS = ("norm_weight", "norm_bias", "running_mean", "running_var")


def conv2d_batch_norm(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None,
    running_mean: ArrayLike | None,
    running_var: ArrayLike | None,
    norm_weight: ArrayLike | None = None,
    norm_bias: ArrayLike | None = None,
    stride: int | tuple[int, int] = 1,
    padding: Padding = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    *,
    eps: float = 1e-5,
    residual: ArrayLike | None = None,
    activation: str | None = None,
    method: str = "auto",
) -> Tensor:
    """y = act((z - mean) / sqrt(var + eps) norm_weight + norm_bias + residual), z = conv2d(x, weight, bias).

    The batch normalisation of evaluation: running_mean and running_var (K,) are used and not changed. norm_weight and
    norm_bias (K,) or None; residual like y, or None. z is never written: its values are finished while in cache.
    Everything else as `conv2d`. Where gradients are wanted `batch_norm` behind `conv2d` is faster: here they compute
    z again.
    Raises as `conv2d` and `batch_norm`.
    """
    op = "conv2d_batch_norm"
    inputs = (x, weight, bias, norm_weight, norm_bias, residual, None, None)
    a, w, b, nw, nb, added, _, _ = arrays_of(inputs)
    mean, var = arrays_of((running_mean, running_var))
    options = checked(op, [a, w, b], stride, padding, dilation, groups, activation, method)
    rows = (nw, nb, mean, var)
    if not check.fits_rows(w, rows) or mean is None or var is None:
        _check_rows(op, w, rows)
    if added is not None:
        check.floats(op, ("x", "residual"), (a, added))
        check.shape(op, "residual", added, options["plan"].output, "as y")
    eps = check.number(op, "eps", eps, 0, math.inf, low_open=True)
    if wants_gradient(inputs):  # the statistics may move before backward
        mean, var = mean.copy(), var.copy()
    return run(op, inputs, (a, w, b, nw, nb, added, mean, var), {**options, "eps": eps})


def _check_rows(op: str, weight, rows: tuple) -> None:
    """Raise unless there is one number for each output channel, and there are statistics."""
    if rows[2] is None or rows[3] is None:
        raise ValueError(f"{op}: give running_mean and running_var; `batch_norm` takes those of the batch")
    check.floats(op, ("weight", *_ROWS), (weight, *rows))
    for name, row in zip(_ROWS, rows):
        check.shape(op, name, row, weight.shape[:1], f"to match weight {weight.shape}")
