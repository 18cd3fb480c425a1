"""float16 and bfloat16 in CUDA kernels: conversions bit by bit, and every operation against the reference."""

import numpy as np
import pytest
from agreement import argument_names, outputs, widened
from ondevice import down, up

from cases import CASES
from dlfast import kernels
from dlfast.kernels.cuda.cast import cast
from dlfast.kernels.halves import FLOAT32_ARGUMENTS

EPS = {"float16": 2.0**-10, "bfloat16": 2.0**-7}
ALLOWED = 4  # errors in eps of the result's scale
CLOSE_RIVALS = {"conv2d_max_pool2d"}  # rounded, the largest one of a window may be another


def half(name):
    if name == "float16":
        return np.dtype(np.float16)
    return np.dtype(pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed").bfloat16)


@pytest.fixture(autouse=True)
def _no_floating_point_warnings():
    with np.errstate(all="ignore"):
        yield


@pytest.mark.parametrize("name", EPS)
def test_widens_every_number(name):
    x = np.arange(1 << 16, dtype=np.uint16).view(half(name))[:-1]  # an odd count: the last ones go one by one
    y, wanted = down(cast(up(x), np.float32)), x.astype(np.float32)
    assert np.array_equal(y, wanted, equal_nan=True)
    assert np.array_equal(np.signbit(y), np.signbit(wanted))


@pytest.mark.parametrize("name", EPS)
def test_rounds_to_nearest_even(name):
    dtype = half(name)
    numbers = np.arange(1 << 16, dtype=np.uint16).view(dtype).astype(np.float32)
    middle = np.uint32(1 << (15 if name == "bfloat16" else 12))  # of two neighbours
    ties = [(numbers.view(np.uint32) + middle + step).view(np.float32) for step in np.array([-1, 0, 1], np.int32)]
    small = numbers[np.abs(numbers) < 1e-4] + np.float32(2.0**-25)
    any_bits = np.random.default_rng(0).integers(0, 1 << 32, 200_001, dtype=np.uint32).view(np.float32)
    x = np.concatenate([numbers, *ties, small, any_bits, np.array([65519, 65520, 3.4e38, -3.4e38], np.float32)])
    y, wanted = down(cast(up(x), dtype)), x.astype(dtype)
    real = ~np.isnan(x)
    assert np.array_equal(y.view(np.uint16)[real], wanted.view(np.uint16)[real])
    assert np.isnan(y[~real].astype(np.float32)).all()


def test_from_one_half_to_the_other():
    x = np.random.default_rng(0).standard_normal(1001).astype(np.float16)
    y = down(cast(up(x), half("bfloat16")))
    assert np.array_equal(y.view(np.uint16), x.astype(np.float32).astype(y.dtype).view(np.uint16))


LOOPS = {"relu", "gelu", "dropout", "prelu", "glu"}  # of the elementwise ones, which share the rest
TRIED = [case for case in CASES if kernels.operations()[case.op] != "elementwise" or case.op in LOOPS]
ONE_EACH = list({case.op: case for case in reversed(TRIED) if kernels.pair(case.op, "cuda") is not None}.values())
BOTH = ("relu", "linear", "layer_norm")


def rounded(x, dtype):
    """x in half and back."""
    return x.astype(dtype).astype(np.float32) if x is not None and x.dtype.kind == "f" else x


def in_half(x, dtype):
    return up(x.astype(dtype)) if x is not None and x.dtype.kind == "f" else up(x)


def agrees(case, name):
    """The kernels in half beside the reference in float64, of the same rounded inputs."""
    dtype, wide = half(name), FLOAT32_ARGUMENTS.get(case.op, ())
    inputs = [x if i in wide else rounded(x, dtype) for i, x in enumerate(case.inputs("float32"))]
    truth, saved = kernels.pair(case.op, "reference")[0](*(widened(x, np.float64) for x in inputs), **case.options)
    dy = case.gradient(truth, np.float32)
    dy = tuple(rounded(each, dtype) for each in dy) if isinstance(dy, tuple) else rounded(dy, dtype)
    forward, backward = kernels.pair(case.op, "cuda")
    y, kept = forward(*(up(x) if i in wide else in_half(x, dtype) for i, x in enumerate(inputs)), **case.options)
    needs = tuple(x is not None for x in inputs)
    ours = tuple(in_half(each, dtype) for each in dy) if isinstance(dy, tuple) else in_half(dy, dtype)
    theirs = tuple(widened(each, np.float64) for each in dy) if isinstance(dy, tuple) else widened(dy, np.float64)
    gradients = backward(ours, kept, needs)
    wanted = kernels.pair(case.op, "reference")[1](theirs, saved, needs)
    for key, got in outputs(y).items():
        close(case, key, down(got), outputs(truth)[key], dtype)
    for i, (key, got, true) in enumerate(zip(argument_names(case.op, len(inputs)), gradients, wanted, strict=True)):
        assert (got is None) == (true is None), key
        if got is not None and case.op not in CLOSE_RIVALS:
            close(case, f"d{key}", down(got), true, np.dtype(np.float32) if i in wide else dtype)


def close(case, key, got, truth, dtype):
    assert got.dtype == dtype, key
    got = got.astype(np.float64)
    finite = np.isfinite(truth)
    np.testing.assert_array_equal(got[~finite], truth[~finite], err_msg=f"{key}: NaN and infinities")
    if finite.any() and truth.size:
        eps = max(EPS[str(x)] for x in EPS)
        error = np.abs(got - truth)[finite].max() / max(np.abs(truth[finite]).max(), 1e-6)
        allowed = ALLOWED * EPS.get(str(dtype), eps)
        assert error <= allowed, f"{key}: off by {error / allowed * ALLOWED:.3g} eps of the scale"


@pytest.mark.parametrize("case", ONE_EACH, ids=str)
def test_agrees_in_bfloat16(case):
    agrees(case, "bfloat16")


@pytest.mark.parametrize("case", [case for case in ONE_EACH if case.op in BOTH], ids=str)
def test_agrees_in_float16(case):
    """But for the conversions the kernels are the same, so not each of them."""
    agrees(case, "float16")
