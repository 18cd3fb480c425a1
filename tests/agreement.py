"""How the tests call kernels, and when two results count as equal."""

from __future__ import annotations

import inspect
from functools import cache

import numpy as np
from isas import each_isa, without_fma

from dlfast import kernels

FAST = tuple(each_isa([name for name in ("numba", "cython") if kernels.built(name)]))
ULPS = 4
WINOGRAD = 10  # F(4x4, 3x3) loses about a decimal digit, see kernels/numba/winograd.py


def call(op: str, backends, inputs, case, dy=None, needs=None) -> dict[str, np.ndarray]:
    """Forward and backward of `op`: {"y": ..., "d<argument>": ...}; an output tuple gives "y[0]", "y[1]", ...

    `backends` is one name, or two: of the forward and of the backward. Gradients that are None are left out.
    """
    forward_backend, backward_backend = (backends, backends) if isinstance(backends, str) else backends
    y, saved = kernels.pair(op, forward_backend)[0](*inputs, **case.options)
    dy = case.gradient(y, float_type(inputs)) if dy is None else dy
    needs = tuple(x is not None for x in inputs) if needs is None else needs
    gradients = kernels.pair(op, backward_backend)[1](dy, saved, needs)
    assert len(gradients) == len(inputs)
    names = [f"d{name}" for name in argument_names(op, len(inputs))]
    return outputs(y) | {name: dx for name, dx in zip(names, gradients, strict=True) if dx is not None}


def outputs(y) -> dict[str, np.ndarray]:
    return {f"y[{i}]": each for i, each in enumerate(y)} if isinstance(y, tuple) else {"y": y}


@cache
def argument_names(op: str, count: int) -> list[str]:
    """The names of so many arrays that the forward of `op` takes, as the reference has them."""
    parameters = list(inspect.signature(kernels.pair(op, "reference")[0]).parameters.values())
    names = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    return names + [
        f"{p.name}[{i}]" for p in parameters if p.kind is p.VAR_POSITIONAL for i in range(count - len(names))
    ]


def float_type(arrays) -> np.dtype:
    return next(x.dtype for x in arrays if x is not None and x.dtype.kind == "f")


def arrays_in(values) -> list[np.ndarray]:
    """The arrays of a tuple that holds other things too (such as `saved`)."""
    return [x for x in values if isinstance(x, np.ndarray)]


@cache
def expected(case, dtype) -> tuple[dict, dict]:
    """What the reference gives in `dtype`, and (the truth) in a wider type for the same, rounded, inputs."""
    wide = np.float64 if dtype == "float32" else np.longdouble
    inputs = case.inputs(dtype)
    with np.errstate(all="ignore"):
        y, _ = kernels.pair(case.op, "reference")[0](*inputs, **case.options)
        dy = case.gradient(y, dtype)
        wide_dy = tuple(widened(each, wide) for each in dy) if isinstance(dy, tuple) else widened(dy, wide)
        truth = call(case.op, "reference", [widened(x, wide) for x in inputs], case, wide_dy)
        return call(case.op, "reference", inputs, case, dy), truth


def widened(x, wide):
    return x.astype(wide) if x is not None and x.dtype.kind == "f" else x


def assert_agrees(name: str, got, reference, truth, tags=(), ulps=ULPS) -> None:
    """`got` is as good a result as that of the reference in the same dtype.

    NaN and infinities stand where the reference has them. Elsewhere the error against the truth is at most twice that
    of the reference plus `ulps` units in the last place of the result's scale: its largest magnitude, or with the tag
    "relative" each element's own (but results below the smallest normal number may be rounded to 0). The tag "winograd"
    allows WINOGRAD times as much. Errors of sums grow with
    their length, in the reference as in the kernel; what the constant must cover is short sums and elementary
    functions, for which the reference may happen to be exact: a few operations, half an ulp each, some of them
    magnified by a difference. Without fused multiply-adds there are twice as many.
    """
    assert got.dtype == reference.dtype
    assert got.shape == reference.shape, name
    finite = np.isfinite(reference)
    np.testing.assert_array_equal(got[~finite], reference[~finite], err_msg=f"{name}: NaN and infinities")
    if not finite.any():
        return
    truth = truth[finite]
    smallest = np.finfo(got.dtype).tiny / np.finfo(got.dtype).eps
    scale = np.maximum(np.abs(truth), smallest) if "relative" in tags else np.abs(truth).max()
    allowed = 2 * errors_in_ulps(reference[finite], truth, scale).max() + ulps
    if without_fma():
        allowed += ulps
    if "winograd" in tags:
        allowed *= WINOGRAD
    errors = errors_in_ulps(got[finite], truth, scale)
    worst = np.argmax(np.where(np.isnan(errors), np.inf, errors))
    assert errors[worst] <= allowed, (
        f"{name}: at {tuple(map(int, np.argwhere(finite)[worst]))} of {got.shape} expected {truth[worst]}, got "
        f"{got[finite][worst]}: off by {errors[worst]:.3g} ulps of the scale, {allowed:.3g} are allowed"
    )


def errors_in_ulps(values, truth, scale):
    """|values - truth| in units of eps * scale; where the scale is 0, 0 for equal and infinity for other values."""
    error, unit = np.abs(values - truth), np.finfo(values.dtype).eps * np.broadcast_to(scale, truth.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(error == 0, 0, error / unit)


def assert_same_bits(got: dict, wanted: dict, what: str) -> None:
    """The same arrays, down to the sign of zero and the bits of NaN."""
    assert got.keys() == wanted.keys(), what
    for name, x in got.items():
        assert x.dtype == wanted[name].dtype, f"{what}: {name}"
        assert x.shape == wanted[name].shape, f"{what}: {name}"
        same = x.tobytes() == wanted[name].tobytes()
        assert same, f"{what}: {np.sum(x != wanted[name])} of {x.size} elements of {name} differ"
