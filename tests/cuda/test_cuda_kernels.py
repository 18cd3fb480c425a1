"""Every CUDA kernel against the reference, over the rows of cases.py."""

import numpy as np
import pytest
from agreement import ULPS, assert_agrees, expected
from ondevice import call, down, up

from cases import CASES, STEPS
from dlfast import kernels
from dlfast.kernels.cuda import fibers


@pytest.fixture(autouse=True)
def _no_floating_point_warnings():
    with np.errstate(all="ignore"):
        yield


@pytest.fixture
def backwards():
    """Warps and lanes run from the last to the first."""
    fibers.run_backwards(True)
    yield
    fibers.run_backwards(False)


SUMS = 2 * ULPS  # a thread adds its products one after the other, the reference's BLAS in many sums side by side


def agrees(case, dtype):
    got, (reference, truth) = call(case, dtype), expected(case, dtype)
    assert got.keys() == reference.keys()
    for name, x in got.items():
        assert_agrees(name, x, reference[name], truth[name], case.tags, SUMS)


def test_has_every_operation():
    assert not [op for op in kernels.operations() if kernels.pair(op, "cuda") is None]


ONE_EACH = list({case.op: case for case in reversed(CASES)}.values())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_agrees_with_reference(case):
    agrees(case, "float32")


FLOAT64 = ("silu", "linear", "conv2d", "max_pool2d", "batch_norm", "layer_norm", "softmax", "cross_entropy", "lstm",
           "attention")  # fmt: skip


@pytest.mark.parametrize("case", [case for case in ONE_EACH if case.op in FLOAT64], ids=str)
def test_agrees_in_float64(case):
    """A kernel is compiled anew for a dtype, so not each of them."""
    agrees(case, "float64")


@pytest.mark.parametrize("case", ONE_EACH, ids=str)
def test_needs_no_order_of_threads(case, backwards):
    agrees(case, "float32")


@pytest.mark.parametrize("case", ONE_EACH, ids=str)
def test_the_same_bits_again(case):
    first, second = call(case, "float32"), call(case, "float32")
    assert [x.tobytes() for x in first.values()] == [x.tobytes() for x in second.values()]


@pytest.mark.parametrize("case", STEPS, ids=str)
def test_update_agrees_with_reference(case):
    theirs, ours = case.start(np.float32), [up(x) for x in case.start(np.float32)]
    for step in (1, 2, 3):
        options = case.options | case.at_step(step)
        kernels.pair(case.op, "reference")(theirs[0], case.gradient(step, np.float32), *theirs[1:], **options)
        kernels.pair(case.op, "cuda")(ours[0], up(case.gradient(step, np.float32)), *ours[1:], **options)
    for mine, wanted in zip(map(down, ours), theirs, strict=True):
        assert wanted is None or np.allclose(mine, wanted, rtol=3e-6, atol=1e-7)


@pytest.mark.parametrize(("name", "formula"), [("square_sum", np.square), ("abs_sum", np.abs)])
def test_sums(name, formula):
    x = np.random.default_rng(0).standard_normal(10_001, np.float32)
    assert kernels.pair(name, "cuda")(up(x)) == pytest.approx(float(formula(x.astype(float)).sum()), rel=1e-6)
