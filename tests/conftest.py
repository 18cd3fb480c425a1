"""Every test begins and ends with the default backend, the default number of threads and its own instruction set."""

from contextlib import nullcontext

import pytest
from isas import Cython, further_isas, named

from dlfast import kernels
from dlfast.kernels import threads


@pytest.fixture(autouse=True)
def _defaults():
    names, count = kernels.get_backend(), threads.get_num_threads()
    yield
    kernels.use_backend(*names)
    threads.set_num_threads(count)


@pytest.fixture(autouse=True)
def _instruction_set(request):
    """The set of the test's backend, where that names one."""
    with on_isa(_isa_in(getattr(request.node, "callspec", None) and request.node.callspec.params.values())):
        yield


@pytest.fixture(params=[None, *further_isas()], ids=lambda isa: isa or "default")
def isa(request):
    """Each instruction set in turn; None is the one in force."""
    with on_isa(request.param):
        yield request.param


def on_isa(name):
    if name is None:
        return nullcontext()
    from dlfast.kernels.cython import instruction_sets

    return instruction_sets.use(name)


def _isa_in(values):
    for value in values or ():
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, Cython):
                return each.isa
    return None


def pytest_make_parametrize_id(val):
    return named(val) if isinstance(val, Cython) else None


def pytest_report_header():
    if not kernels.built("cython"):
        return "no Cython kernels"
    from dlfast.kernels.cython import instruction_sets

    further = further_isas()
    kernel_tests = f"; kernel tests on {', '.join(further)} too" if further else ""
    return f"Cython kernels: {instruction_sets.in_use()}{kernel_tests}"
