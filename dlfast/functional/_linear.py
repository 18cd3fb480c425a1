"""Matrix products: linear and matmul."""

from __future__ import annotations

from .. import _check as check
from .. import _operators as ops
from ..tensor import ArrayLike, Tensor, arrays_of, run

FUSED_ACTIVATIONS = (None, "relu", "sigmoid", "tanh")
_OPTIONS = {activation: {"activation": activation} for activation in FUSED_ACTIVATIONS}  # made once: calls are many


def linear(x: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None, *, activation: str | None = None) -> Tensor:
    """y = act(x W^T + b).

    x (..., I), weight (O, I), bias (O,) or None, y (..., O). activation: None, "relu", "sigmoid" or "tanh", computed
    in the same pass.
    Raises TypeError for dtypes other than float32 and float64 or mixed ones, ValueError for shapes that do not fit.
    """
    inputs = (x, weight, bias)
    a, w, b = arrays = arrays_of(inputs)
    if not check.fits_linear(a, w, b):
        _check_arrays(a, w, b)
    if activation not in FUSED_ACTIVATIONS:
        check.choice("linear", "activation", activation, FUSED_ACTIVATIONS)
    return run("linear", inputs, arrays, _OPTIONS[activation])


def _check_arrays(a, w, b) -> None:
    """Raise where dtypes or shapes do not fit."""
    check.floats("linear", ("x", "weight", "bias"), (a, w, b), 2)
    if a.ndim == 0:
        raise ValueError("linear: x must have shape (..., I), got ()")
    check.rank("linear", "weight", w, "O, I")
    if a.shape[-1] != w.shape[1]:
        raise ValueError(f"linear: weight must have shape (O, {a.shape[-1]}) to match x {a.shape}, got {w.shape}")
    check.shape("linear", "bias", b, w.shape[:1], f"to match weight {w.shape}")


def matmul(a: ArrayLike, b: ArrayLike) -> Tensor:
    """The matrix product a @ b.

    a (..., M, K), b (..., K, N), y (..., M, N); batch axes broadcast. A 1-D operand is a row on the left, a column on
    the right, and its axis is dropped from y.
    Raises TypeError for dtypes other than float32 and float64 or mixed ones, ValueError for shapes that do not fit.
    """
    return ops.matmul(a, b)
