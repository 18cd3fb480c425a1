"""The same work on every backend and on PyTorch, where it is installed; nothing is timed before its results agree.

    pytest benchmarks                        all of it, about a minute
    pytest benchmarks -k conv2d --threads 1

A module lists its `WORK` (rows as in tests/cases.py, run forward and backward with every gradient) and gives
`pytorch(torch, *tensors, **options)`, the same forward in PyTorch, on tensors whose channels lie where `layout` says.
"""

from importlib.util import find_spec

import numpy as np
import pytest

from dlfast import kernels
from dlfast.kernels.threads import get_num_threads, set_num_threads

BACKENDS = ("reference", "numba", "cython")
LAYOUTS = ("contiguous", "channels_last")
SECONDS = 0.4  # for each contender, unless --benchmark-max-time says otherwise


def pytest_addoption(parser):
    parser.addoption("--threads", type=int, default=get_num_threads(), help="threads of dlfast and of PyTorch")


def pytest_configure(config):
    given = " ".join(config.invocation_params.args)
    for name, value in {"max_time": SECONDS, "min_rounds": 3, "columns": ["min", "median", "rounds"]}.items():
        if f"--benchmark-{name.replace('_', '-')}" not in given:
            setattr(config.option, f"benchmark_{name}", value)


def pytest_generate_tests(metafunc):
    """Each row with each contender: the backends that have the operation, PyTorch in each layout that matters."""
    if "work" not in metafunc.fixturenames:
        return
    rows = []
    for case in metafunc.module.WORK:
        contenders = [name for name in BACKENDS if name in kernels.backends_of(case.op)]
        if find_spec("torch"):
            layouts = LAYOUTS if case.inputs("float32")[0].ndim == 4 else LAYOUTS[:1]
            contenders += [f"pytorch-{layout}" if len(layouts) > 1 else "pytorch" for layout in layouts]
        rows += [pytest.param((case, name), id=f"{case}-{name}") for name in contenders]
    metafunc.parametrize("work", rows)


@pytest.fixture
def threads(request):
    """The number of threads, set in dlfast and PyTorch for the length of a test."""
    before, count = get_num_threads(), request.config.getoption("threads")
    set_num_threads(count)
    if find_spec("torch"):
        import torch

        torch.set_num_threads(count)
    yield count
    set_num_threads(before)


@pytest.fixture
def step(request, work, benchmark, threads):
    """Forward and backward of a row on a contender, once found to give the reference's results."""
    case, contender = work
    benchmark.group = f"{case.op}: {case.name}, {threads} thread{'s' if threads > 1 else ''}"
    benchmark.name = contender
    if contender.startswith("pytorch"):
        layout = contender.removeprefix("pytorch-") if "-" in contender else "contiguous"
        run, results = pytorch_step(case, request.module.pytorch, layout)
    else:
        run, results = kernel_step(case, contender)
    assert_agree(results(run()), reference_results(case))
    return run


def kernel_step(case, backend):
    """(a function that runs forward and backward, a function that makes its result a list of arrays)."""
    forward, backward = kernels.pair(case.op, backend)
    inputs = case.inputs("float32")
    dy = case.gradient(forward(*inputs, **case.options)[0], "float32")
    needs = tuple(x is not None for x in inputs)

    def run():
        y, saved = forward(*inputs, **case.options)
        return y, backward(dy, saved, needs)

    return run, lambda result: [*as_tuple(result[0]), *(dx for dx in result[1] if dx is not None)]


def pytorch_step(case, pytorch, layout):
    """As `kernel_step`. Tensors are in PyTorch's axis order and, with channels_last, in our memory order."""
    import torch

    memory_format = torch.channels_last if layout == "channels_last" else torch.contiguous_format

    def tensor(x):
        if x.ndim < 4:
            return torch.from_numpy(x)
        return torch.from_numpy(x.transpose(0, 3, 1, 2)).contiguous(memory_format=memory_format)

    inputs = [x if x is None else tensor(x).requires_grad_() for x in case.inputs("float32")]
    wanted = [x for x in inputs if x is not None]
    outputs = as_tuple(kernels.pair(case.op, "reference")[0](*case.inputs("float32"), **case.options)[0])
    dy = case.gradient(outputs if len(outputs) > 1 else outputs[0], "float32")
    dy = [tensor(each) for each in as_tuple(dy)]

    def run():
        y = as_tuple(pytorch(torch, *inputs, **case.options))
        return y, torch.autograd.grad(y, wanted, dy)

    def results(result):
        arrays = [x.detach() for part in result for x in part]
        return [(x.permute(0, 2, 3, 1) if x.ndim == 4 else x).numpy() for x in arrays]

    return run, results


def as_tuple(y):
    return y if isinstance(y, tuple) else (y,)


def reference_results(case):
    run, results = kernel_step(case, "reference")
    return results(run())


def assert_agree(got, wanted):
    """Wrong results are not worth timing. (How exact they are is the tests' affair.)"""
    for x, y in zip(got, wanted, strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=1e-4 * np.abs(y).max())
