"""Batch normalisation over the rows of all ranks of a distributed training."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._autocast import FLOAT32
from ..kernels import active
from ..kernels.halves import is_half


def forward(comm: Any, x: Any, weight: Any, bias: Any, residual: Any, eps: float, activation: str | None) -> tuple:
    """(y, saved for `backward`, mean, var, rows): `batch_norm_forward` with the statistics of the rows of all ranks."""
    kernel, kernel_backward = active("batch_norm", x)
    mean, var, rows = _statistics(comm, x, kernel)
    weight = np.ones_like(mean) if weight is None else weight
    y, saved = kernel(x, weight, bias, residual, mean, var, eps=eps, activation=activation)
    return y, (kernel_backward, saved, comm, max(rows, 1)), mean, var, rows


def backward(dy: Any, saved: tuple, needs: tuple) -> tuple:
    """`batch_norm_backward`, in whose dx = rstd weight (g - (sum g + u sum g u) / M) the sums run over all ranks' rows.

    dweight and dbias are those of this rank's rows: the ranks add up all gradients later.
    """
    kernel, inner, comm, rows = saved
    x, weight, _, mean, var, *_, eps, _, _ = inner
    dx, dweight, dbias, dresidual, *_ = kernel(
        dy, inner, (needs[0], needs[1] or True, needs[2] or True, needs[3], False, False)
    )
    if needs[0]:
        of_g, of_gu = comm.all_reduce(np.stack([dbias, dweight]))
        rstd = 1 / np.sqrt(var + eps)
        dx -= (of_g + (x - mean) * rstd * of_gu) * (rstd * weight / rows)
    return dx, dweight if needs[1] else None, dbias if needs[2] else None, dresidual, None, None


def _statistics(comm: Any, x: Any, kernel: Any) -> tuple[Any, Any, int]:
    """Mean and biased variance of each channel over the rows of all ranks, and their number.

    mean = sum_r n_r mean_r / n,  var = sum_r n_r (var_r + (mean_r - mean)^2) / n, by rank, so the same bits on all.
    """
    own, dtype = math.prod(x.shape[:-1]), FLOAT32 if is_half(x.dtype) else x.dtype
    mean = var = np.zeros_like(x, dtype, shape=x.shape[-1:])
    if own:
        mean, var = kernel(x, None, None, None, None, None, eps=1.0, activation=None)[1][3:5]
    counts = comm.all_gather(np.array([own]))[:, 0].tolist()
    parts = comm.all_gather(np.stack([mean, var])).astype(np.float64)
    shares = [count / max(sum(counts), 1) for count in counts]
    mean = sum(part[0] * share for part, share in zip(parts, shares, strict=True))
    var = sum((part[1] + (part[0] - mean) ** 2) * share for part, share in zip(parts, shares, strict=True))
    return mean.astype(dtype), var.astype(dtype), sum(counts)
