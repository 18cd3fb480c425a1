"""The same bits with any number of threads, and every time, at sizes that are cut into several jobs."""

import numpy as np
import pytest
from agreement import FAST, assert_same_bits, call
from isas import named
from test_steps import take_steps

from cases import CASES, LARGE, LARGE_STEPS, STEPS
from dlfast import kernels
from dlfast.kernels.threads import set_num_threads

THREADS = (1, 2, 4, 3, 4)  # 4 twice: which thread takes which job changes from run to run


def having(cases):
    return [
        pytest.param(case, backend, id=f"{case}-{named(backend)}")
        for case in cases
        for backend in FAST
        if backend in kernels.backends_of(case.op)
    ]


def compare(run):
    results = {}
    for threads in THREADS:
        set_num_threads(threads)
        results.setdefault("first", run())
        assert_same_bits(run(), results["first"], f"{threads} threads")


@pytest.mark.parametrize(("case", "backend"), having(LARGE))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_same_bits_with_any_number_of_threads(case, dtype, backend):
    inputs = case.inputs(dtype)
    y, _ = kernels.pair(case.op, backend)[0](*inputs, **case.options)
    dy = case.gradient(y, dtype)
    compare(lambda: call(case.op, backend, inputs, case, dy))


@pytest.mark.parametrize(("case", "backend"), having(LARGE_STEPS))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_same_updates_with_any_number_of_threads(case, dtype, backend):
    gradients = [case.gradient(step, dtype) for step in range(1, 5)]
    compare(lambda: take_steps(case, backend, dtype, gradients=gradients))


def test_every_operation_has_a_large_row():
    assert {case.op for case in LARGE} == {case.op for case in CASES}
    assert {case.op for case in LARGE_STEPS} == {case.op for case in STEPS}


@pytest.mark.parametrize(("case", "backend"), having([case for case in LARGE if case.op == "linear"]))
def test_rows_do_not_depend_on_the_other_rows(case, backend):
    """A row of NaN spoils its own outputs alone."""
    inputs = case.inputs("float32")
    forward, _ = kernels.pair(case.op, backend)
    wanted = forward(*inputs, **case.options)[0]
    inputs[0][1] = np.nan
    got = forward(*inputs, **case.options)[0]
    assert np.isnan(got[1]).all()
    assert_same_bits({"y": np.delete(got, 1, 0)}, {"y": np.delete(wanted, 1, 0)}, "beside a row of NaN")
