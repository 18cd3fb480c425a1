"""Softmax and its logarithm along one axis of x; y, dx and dy have x's shape.

An entry of -inf has probability 0; a slice that is -inf throughout, or holds +inf or NaN, gives NaN, as in PyTorch.
"""

import numpy as np

from ..sums import total
from .elementwise import like


def _shifted(x, axis):
    """x minus its maximum along the axis, so that no exponential overflows."""
    with np.errstate(invalid="ignore"):
        return x - x.max(axis=axis, keepdims=True, initial=-np.inf)


def softmax_forward(x, *, axis):
    """y = exp(x) / sum of exp(x) along the axis."""
    e = np.exp(_shifted(x, axis))
    y = like(e / total(e, axis, keepdims=True), x)
    return y, (y, axis)


def softmax_backward(dy, saved, needs):
    """dx = y (dy - sum of y dy along the axis)."""
    y, axis = saved
    return (like(y * (dy - total(y * dy, axis, keepdims=True)), dy) if needs[0] else None,)


def log_softmax_forward(x, *, axis):
    """y = x - log(sum of exp(x) along the axis)."""
    shifted = _shifted(x, axis)
    with np.errstate(divide="ignore"):  # no numbers along the axis
        y = like(shifted - np.log(total(np.exp(shifted), axis, keepdims=True)), x)
    return y, (y, axis)


def log_softmax_backward(dy, saved, needs):
    """dx = dy - exp(y) (sum of dy along the axis)."""
    y, axis = saved
    return (like(dy - np.exp(y) * total(dy, axis, keepdims=True), dy) if needs[0] else None,)
