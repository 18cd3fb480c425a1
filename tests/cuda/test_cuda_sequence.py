"""Recurrent layers in one launch, and step by step: which it is, and that they fit each other."""

import numpy as np
import pytest
from ondevice import down, up
from rows import sequence
from test_cuda_kernels import agrees, backwards  # noqa: F401  a fixture

from cases import SEQUENCES
from dlfast import kernels
from dlfast.kernels.cuda import sequence as layers
from dlfast.kernels.cuda.dialect import Kernel
from dlfast.kernels.cuda.sequence_loop import in_one_launch
from dlfast.kernels.cuda.traffic import counted

RAGGED = (3, 1, 9, 4, 9, 2, 7, 1, 5)
MANY = [
    sequence(op, "many", 9, 9, 5, hidden, lengths=RAGGED, layers=2, both=True, **options)
    for op, hidden, options in (("rnn", 35, {"nonlinearity": "tanh"}), ("lstm", 34, {}), ("gru", 33, {}))
]
MOST = [  # of units in one launch
    sequence("rnn", "256-units", 3, 2, 3, 256, nonlinearity="tanh"),
    sequence("lstm", "128-units", 3, 6, 3, 128, lengths=(3, 1, 2, 3, 1, 2), reverse=True),
    sequence("gru", "147-units", 3, 5, 3, 147),
]
each_row = pytest.mark.parametrize("case", MANY + MOST, ids=str)


def batch_of(case):
    return len(case.options["steps"][0].lengths)


class Weight:
    """A W_hh of some size, of which nothing but that is asked."""

    def __init__(self, gates, hidden, dtype=np.float32):
        self.shape, self.size, self.dtype = (gates * hidden, hidden), gates * hidden * hidden, np.dtype(dtype)


def test_what_is_one_launch():
    for gates, limit in ((1, 256), (3, 147), (4, 128)):
        assert in_one_launch(Weight(gates, limit), 32)
        assert not in_one_launch(Weight(gates, limit + 1), 32)
    assert not in_one_launch(Weight(4, 0), 32)
    assert not in_one_launch(Weight(4, 64, np.float64), 32)  # of too little shared memory
    assert in_one_launch(Weight(4, 128, np.float16), 32)
    assert in_one_launch(Weight(4, 32), 4096)
    assert not in_one_launch(Weight(4, 128), 4096)  # all blocks read it


def launches(monkeypatch, case):
    """The names of the kernels that a case launches forward and back, which are not run."""
    names = []
    monkeypatch.setattr(
        Kernel, "__call__", lambda kernel, grid, *_: names.append(kernel.name) if 0 not in grid else None
    )
    forward, backward = kernels.pair(case.op, "cuda")
    inputs = [up(x) for x in case.inputs("float32")]
    y, saved = forward(*inputs, **case.options)
    backward(y, saved, tuple(x is not None for x in inputs))
    return names


@pytest.mark.parametrize("op", ["rnn", "lstm", "gru"])
def test_rows_of_cases_go_both_ways(monkeypatch, op):
    by_launch = {"one": 0, "many": 0}
    for case in SEQUENCES:
        if case.op == op and batch_of(case):
            names = launches(monkeypatch, case)
            one, many = (sum(each.startswith(start) for each in names) for start in ("sequence_loop_", f"gates_{op}"))
            assert (one > 0) != (many > 0), case
            by_launch["one" if one else "many"] += 1
    assert by_launch["one"] > 20
    assert by_launch["many"] >= 1


def test_launches_do_not_grow_with_the_steps(monkeypatch):
    counts = [len(launches(monkeypatch, sequence("lstm", "", steps, 2, 3, 8))) for steps in (2, 30)]
    assert counts[0] == counts[1]


@each_row
def test_agrees_with_reference(case):
    agrees(case, "float32")


@each_row
def test_needs_no_order_of_threads(case, backwards):  # noqa: F811
    agrees(case, "float32")


@pytest.mark.parametrize("case", MANY, ids=str)
def test_either_goes_back_through_what_the_other_saved(monkeypatch, case):
    inputs = [up(x) for x in case.inputs("float32")]
    forward, backward = kernels.pair(case.op, "cuda")
    needs = tuple(x is not None for x in inputs)
    ways = {}
    for way in (True, False):
        monkeypatch.setattr(layers, "in_one_launch", lambda *_, way=way: way)
        ways[way] = forward(*inputs, **case.options)
    dy = tuple(map(up, case.gradient(tuple(map(down, ways[True][0])), "float32")))
    results = []
    for saved_by in (True, False):
        for way in (True, False):
            monkeypatch.setattr(layers, "in_one_launch", lambda *_, way=way: way)
            results.append([down(x) for x in backward(dy, ways[saved_by][1], needs)])
    for found in results[1:]:
        for x, wanted in zip(found, results[0], strict=True):
            np.testing.assert_allclose(x, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())


def test_a_state_in_half_is_not_rounded_on_its_way():
    """Sums of many small steps: W_hh = 1 and a ReLU add 2^-12 to 1 each step, which float16 would lose."""
    steps, hidden = 64, 4
    x = np.full((steps, 1, 1), 2.0**-12, np.float16)
    weights_ih, weights_hh = np.ones((hidden, 1), np.float16), np.eye(hidden, dtype=np.float16)
    case = sequence("rnn", "", steps, 1, 1, hidden, nonlinearity="relu")
    arguments = [up(each) for each in (x, np.ones((1, hidden), np.float16), weights_ih, weights_hh)]
    (y, last), _ = kernels.pair("rnn", "cuda")[0](*arguments, None, None, **case.options)
    assert str(y.dtype) == "float16"
    np.testing.assert_array_equal(down(last), np.full((1, hidden), 1 + steps * 2.0**-12, np.float16))


@pytest.mark.parametrize("case", MANY, ids=str)
def test_step_by_step_in_half(monkeypatch, case):
    """The state is rounded from step to step, so that errors are a little larger."""
    inputs = [x if x is None else up(x.astype(np.float16)) for x in case.inputs("float32")]
    results = []
    for way in (True, False):
        monkeypatch.setattr(layers, "in_one_launch", lambda *_, way=way: way)
        (y, *_), _ = kernels.pair(case.op, "cuda")[0](*inputs, **case.options)
        assert str(y.dtype) == "float16"
        results.append(down(y).astype(np.float32))
    assert np.abs(results[0] - results[1]).max() <= 12 * 2.0**-10 * np.abs(results[0]).max()


def test_of_the_bytes_moved_the_weights_are_read_once(monkeypatch):
    monkeypatch.setattr(Kernel, "__call__", lambda *given: None)
    steps, batch, hidden = 10, 4, 8
    case = sequence("lstm", "", steps, batch, 3, hidden)
    with counted() as count:
        kernels.pair("lstm", "cuda")[0](*(up(x) for x in case.inputs("float32")), **case.options)
    states, rows = 2 * batch * hidden * 4, steps * batch * hidden * 4
    weights_and_bias = (4 * hidden * hidden + 4 * hidden) * 4
    table = steps * 2 * 8
    assert count.by_kernel["sequence_loop_forward"] == 2 * states + (4 + 4 + 3) * rows + weights_and_bias + table
