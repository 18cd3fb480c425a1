"""Memory that is short: a MemoryError, nothing changed, and the next call as before.

A hook of the thread pool refuses one request for scratch memory, the first, the second, ... until there are no more:
so every request of a kernel is refused once, those inside jobs on other threads too.
"""

import numpy as np
import pytest
from agreement import FAST, assert_same_bits, call

from cases import CASES, LARGE
from dlfast import kernels
from dlfast.kernels.cython.threads import refuse_scratch
from dlfast.kernels.threads import set_num_threads

ROWS = [case for case in CASES if case.op.startswith("conv")] + LARGE  # small ones for the methods of convolution


def requests():
    """Numbers of requests to refuse: each of the first, then fewer and fewer, since jobs of a kind ask alike."""
    n = 1
    while True:
        yield n
        n += 1 + n // 4


@pytest.fixture(autouse=True)
def _refuse_nothing_afterwards():
    yield
    refuse_scratch(0)


def having(cases):
    return [
        pytest.param(case, backend, id=f"{case}-{backend}")
        for case in cases
        for backend in FAST
        if backend in kernels.backends_of(case.op)
    ]


def run_short_of_memory(run):
    """Asserts that each refusal raises, and that nothing is left of it in the calls that follow."""
    wanted = run()
    for n in requests():
        refuse_scratch(n)
        try:
            got = run()
        except MemoryError:
            assert refuse_scratch(0) == 0
            if n < 4:
                assert_same_bits(run(), wanted, f"after request {n} was refused")
        else:
            assert refuse_scratch(0) > 0, f"request {n} was refused and nothing was said"
            assert_same_bits(got, wanted, f"after all requests below {n} were refused")
            return


@pytest.mark.parametrize(("case", "backend"), having(ROWS))
def test_every_request_refused(case, backend):
    set_num_threads(2)
    inputs = case.inputs("float32")
    with np.errstate(all="ignore"):
        run_short_of_memory(lambda: call(case.op, backend, inputs, case))


@pytest.mark.parametrize("backend", FAST)
def test_a_convolution_that_needs_more_than_there_is(backend):
    """A stride of 2^45 asks for a row of the image that long: an error in place of a crash, and all is well after it."""
    x, weight = np.ones((1, 4, 4, 3), "float32"), np.ones((8, 3, 3, 3), "float32")
    forward, backward = kernels.pair("conv2d", backend)
    options = {"padding": (1, 1, 1, 1), "dilation": (1, 1), "groups": 1, "activation": None, "method": "auto"}
    wanted = forward(x, weight, None, stride=(2, 2), **options)[0]
    y, saved = forward(x, weight, None, stride=(2**45, 1), **options)
    with contextlib.suppress(MemoryError):
        backward(np.ones_like(y), saved, (True, True, False))
    np.testing.assert_array_equal(forward(x, weight, None, stride=(2, 2), **options)[0], wanted)
