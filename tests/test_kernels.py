"""Every backend against the reference, generated from the table in cases.py."""

import inspect
from itertools import permutations

import numpy as np
import pytest
from agreement import (
    FAST,
    argument_names,
    arrays_in,
    assert_agrees,
    assert_same_bits,
    call,
    expected,
    float_type,
    outputs,
)
from isas import named
from layouts import LAYOUTS, read_only, repeated
from poison import poisoned

from cases import CASES, LARGE
from dlfast import kernels

DTYPES = ("float32", "float64")
FUSED = ("relu", "leaky_relu", "elu", "gelu", "silu", "sigmoid", "tanh", "softplus", "hardswish")
SEQUENCES = ("rnn", "lstm", "gru", "attention", "self_attention")
EVERYWHERE = (
    *("conv2d", "conv_transpose2d", "max_pool2d", "interpolate", "lstm_cell", "linear", "matmul", "adam_step"),
    *(FUSED + SEQUENCES),
)


@pytest.fixture(autouse=True)
def _no_floating_point_warnings():
    """Rows with infinities and NaN: NumPy warns of them or not, as its build and the processor have it."""
    with np.errstate(all="ignore"):
        yield


def having(cases, backends=FAST):
    """(case, backend) for each backend that has the operation."""
    return [
        pytest.param(case, backend, id=f"{case}-{named(backend)}")
        for case in cases
        for backend in backends
        if backend in kernels.backends_of(case.op)
    ]


def once_each(cases):
    """The first row of each operation."""
    return list({case.op: case for case in reversed(cases)}.values())


every_backend = ("reference", *FAST)
each_case = pytest.mark.parametrize(("case", "backend"), having(CASES))
each_case_and_reference = pytest.mark.parametrize(("case", "backend"), having(CASES, every_backend))
each_op = pytest.mark.parametrize(("case", "backend"), having(once_each(CASES), every_backend))
each_dtype = pytest.mark.parametrize("dtype", DTYPES)


def test_table_covers_every_operation():
    assert {case.op for case in CASES} == {op for op in kernels.operations() if not kernels.is_single(op)}
    names = [str(case) for case in CASES + LARGE]
    assert len(set(names)) == len(names), "rows of one operation need different names"


@pytest.mark.parametrize("backend", FAST)
def test_backend_has_the_main_operations(backend):
    assert [op for op in EVERYWHERE if backend not in kernels.backends_of(op)] == []


@each_case
@each_dtype
def test_agrees_with_reference(case, dtype, backend):
    with poisoned():
        got = call(case.op, backend, case.inputs(dtype), case)
    compare_with_reference(case, got, "", dtype)


def compare_with_reference(case, got, what, dtype="float32"):
    reference, truth = expected(case, dtype)
    assert got.keys() == reference.keys()
    for name, x in got.items():
        assert_agrees(f"{what} {name}", x, reference[name], truth[name], case.tags)


@pytest.mark.parametrize(("case", "backend"), having(LARGE))
def test_large_agrees_with_reference(case, backend):
    test_agrees_with_reference(case, "float32", backend)


@each_case_and_reference
@each_dtype
def test_outputs_are_fresh(case, dtype, backend):
    """Results are C-contiguous, of the right dtype and writeable, and share no memory with anything but `saved`."""
    inputs = case.inputs(dtype)
    y, saved = kernels.pair(case.op, backend)[0](*inputs, **case.options)
    dy = case.gradient(y, dtype)
    gradients = kernels.pair(case.op, backend)[1](dy, saved, tuple(x is not None for x in inputs))
    results = [*outputs(y).values(), *arrays_in(gradients)]
    others = [*arrays_in(inputs), *(dy if isinstance(dy, tuple) else (dy,))]
    for i, x in enumerate(results):
        assert isinstance(x, np.ndarray)
        assert x.dtype == dtype
        assert x.flags.c_contiguous
        assert x.flags.writeable
        assert not any(np.shares_memory(x, other) for other in others + results[:i])
    for dx in arrays_in(gradients):
        assert not any(np.shares_memory(dx, kept) for kept in arrays_in(saved))
    for x, dx in zip(inputs, gradients, strict=True):
        assert dx is None or dx.shape == x.shape


@each_case_and_reference
def test_needs(case, backend):
    """Each gradient alone is the one that comes with all others; None stands where a gradient is not wanted."""
    inputs = case.inputs("float32")
    forward, backward = kernels.pair(case.op, backend)
    y, saved = forward(*inputs, **case.options)
    dy = case.gradient(y, "float32")
    present = tuple(x is not None for x in inputs)
    everything = backward(dy, saved, present)
    differentiable = [dx is not None for dx in call_reference_backward(case, inputs, dy, present)]
    assert [dx is not None for dx in everything] == differentiable
    for wanted in (None, *np.flatnonzero(present)):
        needs = tuple(i == wanted for i in range(len(inputs)))
        gradients = backward(dy, saved, needs)
        assert len(gradients) == len(inputs)
        assert [dx is not None for dx in gradients] == [n and d for n, d in zip(needs, differentiable, strict=True)]
        if wanted is not None and differentiable[wanted]:
            assert_same_bits({"dx": gradients[wanted]}, {"dx": everything[wanted]}, f"needs={needs}")


def call_reference_backward(case, inputs, dy, needs):
    forward, backward = kernels.pair(case.op, "reference")
    return backward(dy, forward(*inputs, **case.options)[1], needs)


def mixed_pairs(cases):
    """(case, backend of the forward, another one for the backward)."""
    return [
        pytest.param(case, pair, id=f"{case}-{'-then-'.join(pair)}")
        for case in cases
        for pair in permutations(kernels.backends_of(case.op), 2)
    ]


@pytest.mark.parametrize(("case", "backends"), mixed_pairs(CASES))
def test_forward_pairs_with_any_backward(case, backends):
    with poisoned():
        got = call(case.op, backends, case.inputs("float32"), case)
    compare_with_reference(case, got, "")


@each_op
def test_signature(case, backend):
    """The reference's parameter names; options are keywords, each of them required and none besides."""
    forward, backward = kernels.pair(case.op, backend)
    inputs, options = case.inputs("float32"), case.options
    parameters = inspect.signature(kernels.pair(case.op, "reference")[0]).parameters.values()
    assert all(p.default is p.empty for p in parameters)
    assert {p.name for p in parameters if p.kind is p.KEYWORD_ONLY} == options.keys()
    y, saved = forward(**dict(zip(argument_names(case.op, len(inputs)), inputs, strict=True)), **options)
    backward(dy=case.gradient(y, "float32"), saved=saved, needs=(True,) * len(inputs))
    with pytest.raises(TypeError):
        forward(*inputs, *options.values(), 0)
    with pytest.raises(TypeError):
        forward(*inputs, **options, unknown=0)
    with pytest.raises(TypeError):
        forward(*inputs[:-1], **options)
    for name in options:
        with pytest.raises(TypeError):
            forward(*inputs, **{key: value for key, value in options.items() if key != name})


@each_case_and_reference
def test_any_layout_and_nothing_modified(case, backend):
    """Arrays in other places, of other strides or read-only give the bits of contiguous ones, and none changes.

    NumPy, and a matmul that reads transposed operands where they lie, may add in another order.
    """
    exact = backend != "reference" and case.op != "matmul"
    wanted = call(case.op, backend, case.inputs("float32"), case)
    for layout in LAYOUTS:
        inputs = [x if x is None else layout(x) for x in case.inputs("float32")]
        got = run_and_compare_bytes(case, backend, inputs, layout)
        if exact or layout is read_only:
            assert_same_bits(got, wanted, layout.__name__)
        else:
            assert_nearly_the_same(got, wanted, layout.__name__)


def assert_nearly_the_same(got, wanted, what):
    for name, x in got.items():
        scale = np.max(np.abs(wanted[name]), initial=0, where=np.isfinite(wanted[name]))
        np.testing.assert_allclose(x, wanted[name], rtol=1e-4, atol=1e-4 * scale, err_msg=f"{what}: {name}")


@pytest.mark.parametrize(("case", "backend"), having([case for case in CASES if case.op != "matmul"]))
def test_strides_of_0(case, backend):
    """Arrays that repeat one row without storing it again, as broadcasting makes them. (matmul: see above.)"""
    inputs = [x if x is None else repeated(x) for x in case.inputs("float32")]
    copies = [x if x is None else x.copy() for x in inputs]
    wanted = run_and_compare_bytes(case, backend, copies, lambda x: repeated(x).copy())
    assert_same_bits(run_and_compare_bytes(case, backend, inputs, repeated), wanted, "repeated")


def run_and_compare_bytes(case, backend, inputs, layout):
    """As `call`, with dy in a layout of its own; neither inputs nor dy nor what is saved may change."""
    forward, backward = kernels.pair(case.op, backend)
    before = [x.tobytes() for x in arrays_in(inputs)]
    y, saved = forward(*inputs, **case.options)
    assert [x.tobytes() for x in arrays_in(inputs)] == before, "the forward changed its inputs"
    dy = case.gradient(y, "float32")
    dy = tuple(map(layout, dy)) if isinstance(dy, tuple) else layout(dy)
    kept = [*arrays_in(saved), *outputs(dy).values()]
    before = [x.tobytes() for x in kept]
    for x in arrays_in(saved):
        x.flags.writeable = False
    gradients = backward(dy, saved, tuple(x is not None for x in inputs))
    assert [x.tobytes() for x in kept] == before, "the backward changed dy or what was saved"
    return outputs(y) | {
        f"d{name}": dx for name, dx in zip(argument_names(case.op, len(inputs)), gradients) if dx is not None
    }


@each_case
@each_dtype
def test_no_memory_of_earlier_calls(case, dtype, backend):
    """A call on NaN leaves nothing behind in buffers that the next call uses."""
    inputs = case.inputs(dtype)
    first = call(case.op, backend, inputs, case)
    nothing = [np.full_like(x, np.nan) if x is not None and x.dtype.kind == "f" else x for x in inputs]
    with np.errstate(all="ignore"):
        call(case.op, backend, nothing, case)
    assert_same_bits(call(case.op, backend, inputs, case), first, "after a call on NaN")


@each_op
def test_dtype_follows_the_arrays(case, backend):
    for dtype in DTYPES:
        inputs = case.inputs(dtype)
        assert float_type(inputs) == dtype
        assert {x.dtype.name for x in call(case.op, backend, inputs, case).values()} == {dtype}
