"""The sizes of the machine's caches decide how kernels cut work and write results, never what these are."""

import pkgutil
from contextlib import contextmanager
from importlib import import_module

import pytest
from agreement import assert_same_bits, call
from isas import each_isa
from rows import avg_pool2d, batch_norm, conv2d, linear, max_pool2d

from dlfast import kernels

pytestmark = pytest.mark.skipif(not kernels.built("cython"), reason="the Cython extensions are not built")

# With pixels of whole cache lines, as writing past the caches wants them.
ROWS = [
    max_pool2d("overlapping", (2, 9, 8, 32), 3, 2, 1),
    max_pool2d("side-by-side", (2, 8, 8, 32), 2),
    avg_pool2d("overlapping", (2, 9, 8, 32), 3, 2, 1),
    batch_norm("relu", 64, 32, act="relu"),
    conv2d("direct", (2, 9, 8, 3), (32, 3, 3, 3), pad=1, act="relu"),
    conv2d("depthwise", (2, 9, 8, 32), (32, 3, 3, 1), groups=32, pad=1),
    conv2d("winograd", (3, 13, 12, 32), (32, 3, 3, 32), pad=1, method="winograd"),
    linear("packed", (70,), 300, 160),
]


def modules():
    package = import_module("dlfast.kernels.cython")
    every = (import_module(f"{package.__name__}.{each.name}") for each in pkgutil.iter_modules(package.__path__))
    return [module for module in every if hasattr(module, "set_caches")]


@contextmanager
def caches(l2, last):
    before = {module: module.caches() for module in modules()}
    for module in before:
        module.set_caches(l2, last)
    try:
        yield
    finally:
        for module, sizes in before.items():
            module.set_caches(*sizes)


def test_sizes_are_those_of_a_machine():
    sizes = {module.caches() for module in modules()}
    assert len(sizes) == 1
    l2, last = sizes.pop()
    assert 1 << 18 <= l2 <= last <= 1 << 28


@pytest.mark.parametrize("backend", each_isa(["cython"]))
@pytest.mark.parametrize("case", ROWS, ids=str)
def test_sizes_change_no_bit(case, backend):
    inputs = case.inputs("float32")
    ordinary = call(case.op, backend, inputs, case)
    for l2, last in ((1 << 10, 1 << 10), (1 << 30, 1 << 40)):  # everything is written past the caches, or nothing
        with caches(l2, last):
            assert_same_bits(call(case.op, backend, inputs, case), ordinary, f"caches of {l2} and {last} bytes")
