"""Gradient clipping: the cure for exploding gradients."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from .. import kernels
from .._devices import on_device
from ..tensor import Tensor


def clip_grad_norm_(parameters, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False) -> float:
    """Scale all gradients, in place, by one factor so that their common norm is at most ``max_norm``; return the norm.

        norm = (sum |g|^norm_type)^(1 / norm_type) over all gradients,  g <- g * min(1, max_norm / (norm + 1e-6))

    ``norm_type`` may be ``float("inf")``, the largest |g|. The sum has the range of float64 and a relative error of at
    most 1e-6. Parameters without a gradient do not count. Raises ValueError for a negative max_norm, a norm_type not
    above 0, an iterator that is exhausted and, if ``error_if_nonfinite``, where the norm is NaN or infinite. Source:
    Pascanu et al., "On the difficulty of training recurrent neural networks", 2013, algorithm 1. An
    optimizer's option ``clip_grad_norm`` does the same without a pass of its own.
    """
    _check_bound("clip_grad_norm_", "max_norm", max_norm)
    if not norm_type > 0:
        raise ValueError(f"clip_grad_norm_: norm_type must be above 0, got {norm_type!r}")
    gradients = _gradients("clip_grad_norm_", parameters)
    total = norm(gradients, norm_type)
    if error_if_nonfinite and not math.isfinite(total):
        raise ValueError(f"clip_grad_norm_: the norm of the gradients is {total}; nothing was clipped")
    factor = clip_factor(total, max_norm)
    if factor != 1:
        for g in gradients:
            g *= factor
    return total


def clip_factor(total: float, max_norm: float) -> float:
    """min(1, max_norm / (total + 1e-6)); NaN where the norm is: it has to reach the weights, or the fault hides."""
    factor = max_norm / (total + 1e-6)
    return 1.0 if factor >= 1 else factor


def clip_grad_value_(parameters, clip_value: float) -> None:
    """Limit every single gradient, in place: g <- min(max(g, -clip_value), clip_value). ValueError if negative."""
    _check_bound("clip_grad_value_", "clip_value", clip_value)
    for g in _gradients("clip_grad_value_", parameters):
        np.clip(g, -clip_value, clip_value, out=g)


def _gradients(op: str, parameters) -> list[np.ndarray]:
    return [p.grad for p in listed(op, "parameters", parameters) if p.grad is not None]


def listed(op: str, name: str, parameters) -> list:
    """What a list or iterator of parameters holds; a single one, too.

    Raises TypeError for a module or method in its place, ValueError for an iterator that has nothing (left).
    """
    if isinstance(parameters, Tensor):
        return [parameters]
    if hasattr(parameters, "parameters") or callable(parameters):
        what = parameters if callable(parameters) and not hasattr(parameters, "parameters") else "a module"
        raise TypeError(f"{op}: {name} must be a list of Parameters, got {what}; pass model.parameters()")
    values = list(parameters)
    if not values and isinstance(parameters, Iterator):
        raise ValueError(
            f"{op}: {name} is an iterator that has nothing left; pass model.parameters() afresh every time, or keep "
            "list(model.parameters())"
        )
    if values and all(isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str) for pair in values):
        return [parameter for _, parameter in values]  # model.named_parameters()
    return values


def norm(gradients: list[np.ndarray], norm_type: float = 2.0) -> float:
    """The common norm of the arrays; the sum has the range of float64."""
    if norm_type == 2:
        return math.sqrt(square_sum([g.reshape(-1) for g in gradients]))
    if norm_type == math.inf:
        return float(np.max([np.abs(g).max().item() for g in gradients if g.size], initial=0.0))
    powers = (np.abs(g, dtype=np.float64) ** norm_type for g in gradients)
    return sum(float(power.sum()) for power in powers) ** (1 / norm_type)


def square_sum(arrays: list) -> float:
    """sum x^2 over flat arrays, with the range of float64; of those of one dtype on one device by one download."""
    if on_one_device(arrays):
        return sum_on_device(arrays)
    return float(sum(kernels.active_sum("square", x)(x) for x in arrays))


def sum_on_device(arrays: list, absolute: bool = False) -> float:
    """sum x^2, or sum |x|, over flat arrays of one dtype on one device."""
    from ..kernels.cuda.optim import clip_factor

    return float(clip_factor(arrays, 0.0, absolute)[1].numpy()[0])


def on_one_device(arrays: list) -> bool:
    """Whether there are arrays, and all lie on the same device other than the CPU and have one dtype."""
    kinds = {(on_device(array), array.dtype, str(array.device)) if on_device(array) else False for array in arrays}
    return len(kinds) == 1 and False not in kinds


def _check_bound(function: str, name: str, value: float) -> None:
    if not value >= 0:
        raise ValueError(f"{function}: {name} must be at least 0, got {value!r}")
