"""gradcheck: gradients of the tape against central differences, in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .. import random
from ..tensor import Tensor, no_grad


class GradcheckError(AssertionError):
    """A gradient differs from its central difference by more than the tolerance."""


@dataclass(frozen=True)
class GradcheckResult:
    """What `gradcheck` found; the worst element is inputs[input][index]."""

    max_relative_error: float
    elements: int
    input: int
    index: tuple[int, ...]
    analytic: float
    numeric: float


def gradcheck(
    fn: Callable[..., Any],
    inputs: Tensor | np.ndarray | Sequence[Any],
    eps: float = 1e-6,
    tolerance: float = 1e-6,
) -> GradcheckResult:
    """Compare the gradients of fn(*inputs) with central differences, element by element:

        numeric = (f(x + eps) - f(x - eps)) / (2 eps)
        error = |analytic - numeric| / max(1, |analytic|, |numeric|)

    fn returns a Tensor or a tuple of them; f is their sum weighted with fixed random numbers, so that no gradient can
    cancel. Float arrays among the inputs become float64 Tensors and are checked; so are Tensors that require a
    gradient, which are moved in place and put back, so parameters of a layer can be among them. Other arguments are
    passed on. Random numbers of the library are the same in every call of fn.
    Raises GradcheckError where an error exceeds the tolerance, TypeError for float32 Tensors, ValueError where nothing
    is to be checked or fn gives no Tensor.
    """
    arguments = [_argument(value) for value in (inputs if isinstance(inputs, (tuple, list)) else (inputs,))]
    checked = [(i, x) for i, x in enumerate(arguments) if isinstance(x, Tensor) and x.requires_grad]
    if not checked:
        raise ValueError("gradcheck: inputs must hold a float array or a Tensor that requires a gradient")
    state = random.get_state()

    def call() -> list[Tensor]:
        random.set_state(state)
        y = fn(*arguments)
        return list(y) if isinstance(y, (tuple, list)) else [y]

    try:
        worst = _worst(call, checked, eps)
    finally:
        random.set_state(state)
    if not worst.max_relative_error <= tolerance:
        raise GradcheckError(
            f"gradcheck: input {worst.input}, element {worst.index}: gradient {worst.analytic:.9g}, central difference "
            f"{worst.numeric:.9g}, relative error {worst.max_relative_error:.2e} above {tolerance:.2e}"
        )
    return worst


def _worst(call: Callable[[], list[Tensor]], checked: list[tuple[int, Tensor]], eps: float) -> GradcheckResult:
    """The element with the largest error; the first that is NaN, if any is."""
    worst, elements = GradcheckResult(0.0, 0, 0, (), 0.0, 0.0), 0
    analytic, weights = _analytic(call, [x for _, x in checked])
    for (i, x), gradient in zip(checked, analytic):
        for index in np.ndindex(x.shape):
            found, numeric = float(gradient[index]), _difference(call, x, weights, eps, index)
            error = abs(found - numeric) / max(1.0, abs(found), abs(numeric))
            elements += 1
            if not (error <= worst.max_relative_error or np.isnan(worst.max_relative_error)):
                worst = GradcheckResult(error, 0, i, index, found, numeric)
    return replace(worst, elements=elements)


def _argument(value: Any) -> Any:
    if isinstance(value, Tensor):
        if value.requires_grad and value.dtype != np.float64:
            raise TypeError(f"gradcheck: Tensors must be float64, got {value.dtype}; float32 has too few digits")
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return Tensor(np.array(value, np.float64), requires_grad=True)
    return value


def _analytic(call: Callable[[], list[Tensor]], inputs: list[Tensor]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Gradients of the weighted sum for each input, and the weights. The inputs' own `grad` stays as it was."""
    before = [None if x.grad is None else x.grad.copy() for x in inputs]
    for x in inputs:
        x.grad = None
    outputs = call()
    if not outputs or not all(isinstance(y, Tensor) for y in outputs):
        raise ValueError(f"gradcheck: fn must return a Tensor or a tuple of them, got {outputs}")
    rng = np.random.default_rng(0)
    weights = [rng.uniform(0.5, 1.5, y.shape) * rng.choice([-1.0, 1.0], y.shape) for y in outputs]
    total = sum((y * w).sum() for y, w in zip(outputs, weights))
    if total.requires_grad:
        total.backward()
    gradients = [np.zeros(x.shape) if x.grad is None else x.grad.copy() for x in inputs]
    for x, grad in zip(inputs, before):
        x.grad = grad
    return gradients, weights


@no_grad()
def _difference(call: Callable, x: Tensor, weights: list, eps: float, index: tuple[int, ...]) -> float:
    """The central difference of the weighted sum at one element of x, which is put back."""
    value = x.data[index]
    try:
        x.data[index] = value + eps
        above = [y.data.copy() for y in call()]
        x.data[index] = value - eps
        below = [y.data.copy() for y in call()]
        step = (value + eps) - (value - eps)  # as rounded
    finally:
        x.data[index] = value
    return float(sum(np.sum(w * (a - b)) for w, a, b in zip(weights, above, below)) / step)


def operations() -> Iterator[tuple[str, float]]:
    """Check every operation of the library once; gives (name, largest relative error), all at most 1e-6."""
    from .cases import cases

    for name, fn, inputs in cases():
        yield name, gradcheck(fn, inputs).max_relative_error


gradcheck.operations = operations  # type: ignore[attr-defined]
