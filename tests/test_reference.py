"""The reference kernels: gradients against central differences, float32 against float64, optimizer steps by hand."""

import zlib

import numpy as np
import pytest
from agreement import argument_names, arrays_in, errors_in_ulps, expected, outputs

from cases import CASES, LARGE
from dlfast import kernels

STEP = 1e-5  # of central differences: their error is about STEP^2 + 1e-16 / STEP
DIRECTIONS = 24  # checked in arrays with more elements than that


def smooth(cases):
    return [case for case in cases if "no-gradcheck" not in case.tags]


@pytest.mark.parametrize("case", smooth(CASES), ids=str)
def test_gradients_against_central_differences(case):
    """With a random dy, sum(y dy) changes along each direction as the gradient says."""
    forward, backward = kernels.pair(case.op, "reference")
    inputs = case.inputs("float64")
    y, saved = forward(*inputs, **case.options)
    dy = case.gradient(y, "float64")
    gradients = backward(dy, saved, tuple(x is not None for x in inputs))
    with np.errstate(all="ignore"):  # the mean of nothing
        for i, dx in enumerate(gradients):
            if dx is not None:
                compare_directions(f"d{argument_names(case.op, len(inputs))[i]}", case, inputs, i, dx, dy)


def compare_directions(name, case, inputs, place, dx, dy):
    """dx against differences along single elements, all of them or some, and along random directions through all."""
    rng = np.random.default_rng(zlib.crc32(f"{case} {name}".encode()))
    got, wanted = [], []
    for direction in directions(rng, dx.shape):
        got.append(np.sum(dx * direction))
        wanted.append(difference(case, inputs, place, direction, dy))
    scale = np.max(np.abs(wanted), initial=1e-3)
    worst = np.max(np.abs(np.subtract(got, wanted)), initial=0) / scale
    assert worst <= 1e-6, f"{name}: relative error {worst:.2g}"


def directions(rng, shape):
    size = int(np.prod(shape))
    for element in rng.permutation(size)[:DIRECTIONS]:
        direction = np.zeros(size)
        direction[element] = 1
        yield direction.reshape(shape)
    if size > DIRECTIONS:
        for _ in range(4):
            yield rng.choice([-1.0, 1.0], shape) / np.sqrt(size)


def difference(case, inputs, place, direction, dy):
    """(sum(y(x + h) dy) - sum(y(x - h) dy)) / 2h, the outputs subtracted first, to lose fewer digits."""
    forward = kernels.pair(case.op, "reference")[0]
    ends = []
    for h in (STEP, -STEP):
        moved = [*inputs[:place], inputs[place] + h * direction, *inputs[place + 1 :]]
        ends.append(outputs(forward(*moved, **case.options)[0]))
    dy = outputs(dy)
    return sum(np.sum((ends[0][name] - ends[1][name]) * dy[name.replace("y", "y", 1)]) for name in dy) / (2 * STEP)


@pytest.mark.parametrize("case", smooth(CASES + LARGE), ids=str)
def test_float32_is_accurate(case):
    """Other backends are held to twice the reference's error, so that must be small itself: a few times the square root
    of the longest sum, in ulps of the result's scale."""
    got, truth = expected(case, "float32")
    for name, x in got.items():
        finite = np.isfinite(x)
        if finite.any():
            wanted = truth[name][finite]
            errors = errors_in_ulps(x[finite], wanted, np.abs(wanted).max())
            assert errors.max() <= 8 + longest_sum(case) ** 0.5, name


def longest_sum(case):
    return max((x.size for x in arrays_in(case.inputs("float32"))), default=1)
