"""The switch of the Cython kernels' instruction set, with which the kernel tests run on each that there is."""

import os
import subprocess
import sys
from importlib import import_module

import pytest
from isas import Cython, each_isa

from dlfast import kernels

pytestmark = pytest.mark.skipif(not kernels.built("cython"), reason="the Cython extensions are not built")
FAMILIES = ("conv", "elementwise", "linear", "loss", "norm", "optim", "pool", "products", "softmax")
MODULES = ("runtime.machine", *(f"cython.{name}" for name in FAMILIES))


def names_in_use():
    return {import_module(f"dlfast.kernels.{name}").isa() for name in MODULES}


def test_all_kernels_switch_and_switch_back():
    from dlfast.kernels.cython import instruction_sets

    before = instruction_sets.in_use()
    assert instruction_sets.available()[0] == "base"
    assert before in instruction_sets.available()
    for name in instruction_sets.available():
        with instruction_sets.use(name):
            assert names_in_use() == {name}
        assert names_in_use() == {before}


def test_unknown_sets_are_refused_and_change_nothing():
    from dlfast.kernels.cython import instruction_sets

    before = names_in_use()
    with pytest.raises(ValueError, match=r"'sse9' is not one of this processor's: base"), instruction_sets.use("sse9"):
        pass
    assert names_in_use() == before


@pytest.mark.parametrize("backend", each_isa(["cython"]))
def test_a_test_runs_on_the_set_of_its_backend(backend):
    wanted = backend.isa if isinstance(backend, Cython) else import_module("dlfast.kernels.runtime.machine").isa()
    assert names_in_use() == {wanted}


def test_each_set_has_its_turn(isa):
    assert isa is None or names_in_use() == {isa}


@pytest.mark.parametrize("wish", ["base", "avx2", None])
def test_environment_asks_for_less_than_the_best(wish):
    from dlfast.kernels.cython import instruction_sets

    there = instruction_sets.available()
    environment = {name: value for name, value in os.environ.items() if name != "DLFAST_ISA"}
    environment |= {"DLFAST_ISA": wish} if wish else {}
    command = [sys.executable, "-c", "from dlfast.kernels.runtime import machine; print(machine.isa())"]
    got = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()
    assert got == (wish if wish in there else there[-1])
