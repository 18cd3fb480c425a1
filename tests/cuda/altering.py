"""Kernels of the library with a mistake put into their source, to see that tests find it."""

from __future__ import annotations

import inspect
import sys
import textwrap
from contextlib import contextmanager

import numpy as np
from agreement import assert_agrees, expected
from every import KERNELS
from ondevice import call

from cases import CASES
from dlfast.kernels.cuda import fibers
from dlfast.kernels.cuda.dialect import Device


@contextmanager
def altered(name: str, old: str, new: str, number: int = 0, within: str | None = None):
    """Kernel `name` with the occurrence `number` of `old` in its source replaced, or in that of the function `within`,
    which it calls."""
    (kernel,) = (each for each in KERNELS if each.name == name)
    original, scope = kernel.function, dict(kernel.function.__globals__)
    if within is None:
        kernel.function = _edited(original, old, new, number, scope)
    else:
        scope[within] = Device(
            _edited(scope[within].function, old, new, number, dict(scope[within].function.__globals__))
        )
        kernel.function = _edited(original, "", "", 0, scope)
    compiled, kernel.compiled = kernel.compiled, {}
    try:
        yield
    finally:
        kernel.function, kernel.compiled = original, compiled


def _edited(function, old, new, number, scope):
    source = textwrap.dedent(inspect.getsource(function))
    source = source[source.index("def ") :]
    if old:
        parts = source.split(old)
        assert len(parts) > number + 1, f"{function.__name__} has not so many of {old!r}"
        source = old.join(parts[: number + 1]) + new + old.join(parts[number + 1 :])
    exec(source, scope)
    return scope[function.__name__]


def case_named(name: str):
    (case,) = (case for case in CASES if str(case) == name)
    return case


def agrees(name: str) -> bool:
    """Whether a case gives the reference's results, whichever way the threads run."""
    case = case_named(name)
    reference, truth = expected(case, "float32")
    try:
        for backwards in (False, True):
            fibers.run_backwards(backwards)
            for key, x in call(case, "float32").items():
                assert_agrees(key, x, reference[key], truth[key], case.tags)
    except AssertionError:
        return False
    finally:
        fibers.run_backwards(False)
    return True


if __name__ == "__main__":  # in a process of its own, which a fault ends: name, old, new, case
    with np.errstate(all="ignore"), altered(*sys.argv[1:4]):
        agrees(sys.argv[4])
    print("survived")
