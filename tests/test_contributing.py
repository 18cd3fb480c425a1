"""The example of CONTRIBUTING.md: what it says to write is enough for every generated check to find the operation."""

import re
import textwrap
from pathlib import Path

import arrays
import numpy as np
import pytest
import rows
import test_reference

import cases
import dlfast as dl
from dlfast import functional as F
from dlfast import kernels
from dlfast._gradcheck import cases as gradcheck_cases
from dlfast.functional import _activations
from dlfast.kernels.reference import elementwise

PAGE = Path(__file__).parent.parent / "CONTRIBUTING.md"
pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="not in the repository")


def example():
    """The four blocks of code: the reference, the cases, the public function, the benchmark."""
    text = PAGE.read_text(encoding="utf-8").partition("## Add an operation")[2].partition("## Rules")[0]
    return [textwrap.dedent(block) for block in re.findall(r"```(?:python)?\n(.*?)```", text, re.DOTALL)]


def defined(block, module, monkeypatch, names):
    """Define these functions as the block does, as if it stood in the file of the module."""
    scope = dict(vars(module))
    exec(block, scope)
    for name in names:
        monkeypatch.setattr(module, name, scope[name], raising=False)
    return [scope[name] for name in names]


def test_a_template_names_in_its_first_line_who_includes_it():
    headers = [path for path in (PAGE.parent / "kernels").rglob("*") if path.name.endswith((".h", ".pyx", ".pxi"))]
    users = {}
    for path in headers:
        for named in re.findall(r'(?:DL_IMPL|#include) +"(?:\w+/)*(\w+\.inc\.h)"', path.read_text(encoding="utf-8")):
            users.setdefault(named, set()).add(path.name)
    templates = [path for path in headers if path.name.endswith(".inc.h")]
    assert templates
    for path in templates:
        first = path.read_text(encoding="utf-8").splitlines()[0]
        assert any(user in first for user in users[path.name]), f"{path.name}: included by {users[path.name]}"


@pytest.fixture
def blocks(monkeypatch):
    found = example()
    defined(found[0], elementwise, monkeypatch, ("snake_forward", "snake_backward"))
    (function,) = defined(found[2], _activations, monkeypatch, ("snake",))
    monkeypatch.setattr(F, "snake", function, raising=False)
    monkeypatch.setattr(F, "__all__", [*F.__all__, "snake"])
    forget()
    yield found
    monkeypatch.undo()
    forget()


def forget():
    """What the lookup keeps of the files of kernels."""
    kernels.operations.cache_clear()
    kernels.pair.cache_clear()


def test_the_lookup_finds_it_and_the_rows_check_it(blocks):
    assert kernels.operations()["snake"] == "elementwise"
    assert kernels.backends_of("snake") == ["reference"]
    own = eval(f"[{blocks[1]}]", dict(vars(cases)))
    checked = test_reference.smooth(own)
    assert len(checked) > 5
    for case in checked:
        test_reference.test_gradients_against_central_differences(case)


def test_the_function_and_its_gradient(blocks):
    assert dl.gradcheck(F.snake, [np.linspace(-3, 3, 7)]).elements == 7
    np.testing.assert_allclose(F.snake(np.array([1.0, -2.0])).data, [1 + np.sin(1) ** 2, -2 + np.sin(2) ** 2])
    listed = {name: (function, inputs) for name, function, inputs in gradcheck_cases.cases()}
    assert dl.gradcheck(*listed["snake"]).max_relative_error <= 1e-6


def test_the_benchmark(blocks):
    (case,) = eval(f"[{blocks[3]}]", {**vars(rows), **vars(arrays)})
    y, _ = kernels.pair(case.op, "reference")[0](*case.inputs("float32"), **case.options)
    assert y.shape == (1000, 1000)


def test_public_names_are_listed_once():
    imported = {name for name, value in vars(F).items() if callable(value) and name[0] != "_"}
    assert set(F.__all__) == imported
    assert "relu" in imported
    pointwise = {case.op for case in cases.POINTWISE}
    assert pointwise <= {case.op for case in cases.LARGE}
