"""Optimizer updates of every backend against the reference, and the reference against its equations."""

import inspect

import numpy as np
import pytest
from agreement import FAST, assert_agrees, assert_same_bits
from isas import named
from layouts import misplaced
from poison import poisoned

from cases import LARGE_STEPS, STEPS
from dlfast import kernels

STEP_COUNT = 4


def having(cases, backends=FAST):
    return [
        pytest.param(case, backend, id=f"{case}-{named(backend)}")
        for case in cases
        for backend in backends
        if backend in kernels.backends_of(case.op)
    ]


def take_steps(case, backend, dtype, arrays=None, gradients=None) -> dict[str, np.ndarray]:
    """The parameters and the state after some steps."""
    arrays = case.start(dtype) if arrays is None else arrays
    for step in range(1, STEP_COUNT + 1):
        gradient = case.gradient(step, dtype) if gradients is None else gradients[step - 1]
        result = kernels.pair(case.op, backend)(arrays[0], gradient, *arrays[1:], **case.options, **case.at_step(step))
        assert result is None
    return {f"array {i}": x for i, x in enumerate(arrays) if x is not None}


def with_neighbours(x):
    """A copy of x amid a larger array, as a parameter lies in an arena; the array too."""
    arena = np.full(x.size + 2, 123, dtype=x.dtype)
    arena[1:-1] = x
    return arena[1:-1], arena


@pytest.mark.parametrize(("case", "backend"), having(STEPS + LARGE_STEPS))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_agrees_with_reference(case, dtype, backend):
    wide = np.float64 if dtype == "float32" else np.longdouble
    gradients = [case.gradient(step, dtype) for step in range(1, STEP_COUNT + 1)]
    start = [x if x is None else x.astype(wide) for x in case.start(dtype)]
    truth = take_steps(case, "reference", wide, start, [g.astype(wide) for g in gradients])
    reference = take_steps(case, "reference", dtype)
    with poisoned():
        got = take_steps(case, backend, dtype)
    for name, x in got.items():
        assert_agrees(name, x, reference[name], truth[name])


@pytest.mark.parametrize(("case", "backend"), having(STEPS, ("reference", *FAST)))
def test_changes_parameters_and_state_alone(case, backend):
    placed = [(None, None) if x is None else with_neighbours(x) for x in case.start("float32")]
    gradients = [with_neighbours(case.gradient(step, "float32"))[0] for step in range(1, STEP_COUNT + 1)]
    before = [g.tobytes() for g in gradients]
    for g in gradients:
        g.flags.writeable = False
    got = take_steps(case, backend, "float32", [x for x, _ in placed], gradients)
    assert_same_bits(got, take_steps(case, backend, "float32"), "in an arena")
    assert [g.tobytes() for g in gradients] == before
    assert all(arena[0] == arena[-1] == 123 for _, arena in placed if arena is not None)


@pytest.mark.parametrize(("case", "backend"), having(list({case.op: case for case in STEPS}.values())))
@pytest.mark.parametrize("of", ["gradient", "parameter"])
def test_misaligned(case, backend, of):
    """Byte-shifted gradients are copied; a parameter that cannot be updated in place raises, and nothing is changed."""
    gradients = [case.gradient(step, "float32") for step in range(1, STEP_COUNT + 1)]
    wanted = take_steps(case, backend, "float32", gradients=gradients)
    arrays = case.start("float32")
    if of == "gradient":
        gradients = [misplaced(g) for g in gradients]
    else:
        arrays = [misplaced(arrays[0]), *arrays[1:]]
    before = [x if x is None else x.tobytes() for x in arrays]
    try:
        got = take_steps(case, backend, "float32", arrays, gradients)
    except ValueError:
        assert of == "parameter"
        assert [x if x is None else x.tobytes() for x in arrays] == before
    else:
        assert_same_bits(got, wanted, "misaligned")


@pytest.mark.parametrize(("case", "backend"), having(list({case.op: case for case in STEPS}.values()), FAST))
def test_signature(case, backend):
    """The reference's parameter names; options are keywords, each of them required and none besides."""
    step, reference = kernels.pair(case.op, backend), kernels.pair(case.op, "reference")
    parameters = inspect.signature(reference).parameters.values()
    names = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    options = case.options | case.at_step(1)
    assert {p.name for p in parameters if p.kind is p.KEYWORD_ONLY} == options.keys()
    param, *states = case.start("float32")
    arrays = (param, case.gradient(1, "float32"), *states)
    step(**dict(zip(names, arrays, strict=True)), **options)
    with pytest.raises(TypeError):
        step(*arrays, **options, unknown=0)
    for name in options:
        with pytest.raises(TypeError):
            step(*arrays, **{key: value for key, value in options.items() if key != name})


def test_table_covers_every_update():
    assert {case.op for case in STEPS} == {op for op in kernels.operations() if op.endswith("_step")}
