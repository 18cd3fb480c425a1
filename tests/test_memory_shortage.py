"""Memory that is short: a MemoryError, nothing changed, and the next call as before.

A hook of the thread pool refuses one request for scratch memory, the first, the second, ... until there are no more:
so every request of a kernel is refused once, those inside jobs on other threads too.
"""

import ctypes
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from agreement import FAST, assert_same_bits, call

from cases import CASES, LARGE
from dlfast import kernels, memory
from dlfast.kernels.runtime.threads import refuse_scratch, scratch_address
from dlfast.kernels.threads import set_num_threads

BACKENDS = list(dict.fromkeys(FAST))  # each once: the requests are those of any instruction set
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
        for backend in BACKENDS
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


def test_requests_beyond_any_memory():
    take = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)(scratch_address())
    for size in (2**47, 2**62, 2**63, 2**64 - 8):
        assert take(0, size) is None
        assert take(0, 4096) is not None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="bounds the address space")
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_true_shortage(backend):
    """The panels of a product, 70 MB, do not fit into what is left beside its result.

    The thread that calls is a new one: others may have kept so much from calls before.
    """
    with ThreadPoolExecutor(1) as pool:
        pool.submit(run_truly_short_of_memory, backend).result()


def run_truly_short_of_memory(backend):
    import resource

    x, weight = np.ones((2000, 3000), "float32"), np.ones((4000, 3000), "float32")
    forward = kernels.pair("linear", backend)[0]
    set_num_threads(2)
    small = forward(x[:100], weight[:50], None, activation=None)[0]  # compiled, and the threads started
    memory.release()
    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGE_SIZE") + (48 << 20), before[1]))
    try:
        with pytest.raises(MemoryError):
            forward(x, weight, None, activation=None)
        np.testing.assert_array_equal(forward(x[:100], weight[:50], None, activation=None)[0], small)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    np.testing.assert_array_equal(forward(x, weight, None, activation=None)[0], np.float32(3000))
