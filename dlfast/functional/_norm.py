"""Normalisation: over the batch for each channel, and over the features of each row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _check as check
from .._autocast import arrays_for
from .._devices import on_device
from ..kernels import active
from ..tensor import ArrayLike, Tensor, apply, arrays_of, as_tensor, record, run
from . import _norm_ranks
from ._linear import FUSED_ACTIVATIONS


def batch_norm(
    x: ArrayLike,
    running_mean: ArrayLike | None = None,
    running_var: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    residual: ArrayLike | None = None,
    activation: str | None = None,
    comm: Any = None,
) -> Tensor:
    """y = act((x - mean) / sqrt(var + eps) * weight + bias + residual) for each channel, channels last.

    x (..., C), residual like x or None, everything else (C,) or None. While training, or without running statistics,
    mean and var (biased) are those of the batch; the running ones, if given, then move in place to (1 - momentum)
    running + momentum batch, with the unbiased var. Else the running ones are used. An empty batch uses and changes no
    statistics. activation: None, "relu", "sigmoid" or "tanh"; the sum and ReLU are computed in the same pass.
    comm: a `distributed.Communicator`, whose ranks' rows are one batch then; all have to call this.
    Raises TypeError for dtypes other than float32 and float64 or mixed ones, ValueError for shapes that do not fit, one
    running statistic without the other, eps <= 0, and one value a channel where the batch gives the statistics (its
    variance is 0).
    Source: Ioffe and Szegedy 2015, algorithms 1 and 2.
    """
    inputs = (x, weight, bias, residual)
    a, w, b, r, mean, var = arrays_of((*inputs, running_mean, running_var))
    names = ("running_mean", "running_var", "weight", "bias")
    check.floats("batch_norm", ("x", *names, "residual"), (a, mean, var, w, b, r))
    if a.ndim < 2:
        raise ValueError(f"batch_norm: x must have shape (N, ..., C), got {a.shape}")
    for name, array in zip(names, (mean, var, w, b)):
        if array is not None and array.shape != a.shape[-1:]:
            check.shape("batch_norm", name, array, a.shape[-1:], f"to match x {a.shape}")
    if r is not None and r.shape != a.shape:
        check.shape("batch_norm", "residual", r, a.shape, "like x")
    if (mean is None) != (var is None):
        raise ValueError("batch_norm: give running_mean and running_var, or neither")
    if activation is not None:
        check.choice("batch_norm", "activation", activation, FUSED_ACTIVATIONS)
    momentum = check.number("batch_norm", "momentum", momentum, 0, 1, high_closed=True)
    eps = check.number("batch_norm", "eps", eps, 0, math.inf, low_open=True)
    rows = math.prod(a.shape[:-1])
    from_batch = (training or mean is None) and rows > 0
    if comm is not None and comm.size > 1 and training:
        if on_device(a):
            a, w, b, r = arrays_for("batch_norm", inputs, (a, w, b, r))
        y, saved, *statistics, rows = _norm_ranks.forward(comm, a, w, b, r, eps, activation)
        if mean is not None and rows > 1:
            _move(mean, statistics[0], momentum)
            _move(var, statistics[1] * (rows / (rows - 1)), momentum)
        return record(y, _norm_ranks.backward, saved, (*inputs, None, None), True)
    if from_batch and rows == 1:
        what = "training" if training else "evaluation without running statistics"
        raise ValueError(f"batch_norm: {what} needs more than one value a channel, got x {a.shape}")
    forward, backward = active("batch_norm", a)
    given = (None, None) if from_batch else _fixed(a, mean, var)
    arrays: Sequence = (a, w, b, r, *given)
    if on_device(a):
        arrays = arrays_for("batch_norm", inputs, arrays)
    y, saved = forward(*arrays, eps=eps, activation=activation)
    if from_batch and mean is not None:
        _move(mean, saved[3], momentum)
        _move(var, saved[4] * (rows / (rows - 1)), momentum)
    return record(y, backward, saved, (*inputs, None, None), True)


def _fixed(a: np.ndarray, mean: np.ndarray | None, var: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Copies of the running statistics, for they may move before backward; 0 and 1 where there are none."""
    if mean is None or var is None:
        return np.zeros_like(a, shape=a.shape[-1:]), np.ones_like(a, shape=a.shape[-1:])
    return mean.copy(), var.copy()


def _move(running: np.ndarray, batch: np.ndarray, momentum: float) -> None:
    running *= 1 - momentum
    running += momentum * batch


def layer_norm(
    x: ArrayLike,
    normalized_shape: int | Sequence[int],
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """y = (x - mean) / sqrt(var + eps) * weight + bias, mean and var (biased) over the last axes of each row.

    normalized_shape: the sizes of those axes; weight and bias have that shape, or are None.
    Raises TypeError for dtypes other than float32 and float64 or mixed ones, ValueError for shapes that do not fit and
    eps <= 0. Source: Ba et al. 2016, equation 4.
    """
    inputs = (x, weight, bias)
    a, w, b = arrays = arrays_of(inputs)
    check.floats("layer_norm", ("x", "weight", "bias"), arrays)
    wanted = _last_axes("layer_norm", a, normalized_shape)
    check.shape("layer_norm", "weight", w, wanted, f"to match x {a.shape}")
    check.shape("layer_norm", "bias", b, wanted, f"to match x {a.shape}")
    eps = check.number("layer_norm", "eps", eps, 0, math.inf, low_open=True)
    if a.ndim == 2 and len(wanted) == 1:
        return run("layer_norm", inputs, arrays, {"eps": eps})
    size = math.prod(wanted)
    rows = as_tensor(x).reshape(math.prod(a.shape[: -len(wanted)]), size)
    flat = [p if p is None or len(wanted) == 1 else as_tensor(p).reshape(size) for p in (weight, bias)]
    return apply("layer_norm", rows, *flat, eps=eps).reshape(a.shape)


def _last_axes(op: str, a: np.ndarray, normalized_shape: int | Sequence[int]) -> tuple[int, ...]:
    """normalized_shape as a tuple; raises unless the last axes of the array have these sizes."""
    wanted = tuple(normalized_shape) if isinstance(normalized_shape, (tuple, list)) else (normalized_shape,)
    if not wanted or a.shape[a.ndim - len(wanted) :] != wanted or a.ndim < len(wanted):
        raise ValueError(f"{op}: the last axes of x must be normalized_shape {wanted}, got x {a.shape}")
    return wanted


def rms_norm(
    x: ArrayLike,
    normalized_shape: int | Sequence[int],
    weight: ArrayLike | None = None,
    eps: float | None = None,
) -> Tensor:
    """y = x / sqrt(mean of x^2 + eps) * weight, the mean over the last axes of each row.

    normalized_shape: the sizes of those axes; weight has that shape, or is None. eps: None for the smallest difference
    from 1 of x's dtype, as in PyTorch. Raises as `layer_norm`. Source: Zhang and Sennrich 2019, equation 4.
    """
    a, w = arrays = arrays_of((x, weight))
    check.floats("rms_norm", ("x", "weight"), arrays)
    wanted = _last_axes("rms_norm", a, normalized_shape)
    check.shape("rms_norm", "weight", w, wanted, f"to match x {a.shape}")
    if eps is None:
        eps = float(np.finfo(a.dtype).eps)
    eps = check.number("rms_norm", "eps", eps, 0, math.inf, low_open=True)
    if a.ndim == 2 and len(wanted) == 1:
        return run("rms_norm", (x, weight), arrays, {"eps": eps})
    size = math.prod(wanted)
    rows = as_tensor(x).reshape(math.prod(a.shape[: -len(wanted)]), size)
    flat = weight if weight is None or len(wanted) == 1 else as_tensor(weight).reshape(size)
    return apply("rms_norm", rows, flat, eps=eps).reshape(a.shape)


def group_norm(
    x: ArrayLike,
    num_groups: int,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """y = (x - mean) / sqrt(var + eps) * weight + bias, channels last; mean and var (biased) of each image and group.

    x (N, ..., C), whose C channels form num_groups groups of neighbours; weight and bias (C,) or None. The statistics
    run over all pixels and the C / num_groups channels of a group. With one group it is a layer normalisation of whole
    images, with C groups instance normalisation.
    Raises TypeError for dtypes other than float32 and float64 or mixed ones, ValueError for shapes that do not fit,
    channels that num_groups does not divide, and eps <= 0. Source: Wu and He 2018, equations 1 and 2.
    """
    inputs = (x, weight, bias)
    a, w, b = arrays = arrays_of(inputs)
    check.floats("group_norm", ("x", "weight", "bias"), arrays)
    groups = check.integer("group_norm", "num_groups", num_groups, 1)
    if a.ndim < 2 or a.shape[-1] == 0:
        raise ValueError(f"group_norm: x must have shape (N, ..., C) with at least one channel, got {a.shape}")
    if a.shape[-1] % groups:
        raise ValueError(f"group_norm: num_groups={groups} must divide the {a.shape[-1]} channels of x {a.shape}")
    check.shape("group_norm", "weight", w, a.shape[-1:], f"to match x {a.shape}")
    check.shape("group_norm", "bias", b, a.shape[-1:], f"to match x {a.shape}")
    eps = check.number("group_norm", "eps", eps, 0, math.inf, low_open=True)
    return run("group_norm", inputs, arrays, {"groups": groups, "eps": eps})
