"""gradcheck finds what is wrong and passes what is right."""

import numpy as np
import pytest

import dlfast as dl
from dlfast import functional as F
from dlfast import kernels, random
from dlfast._gradcheck import GradcheckError
from dlfast.nn import Parameter
from dlfast.tensor import Tensor, record


def wrong_square(x):
    """x^2 with a gradient that is 1% off in one element."""

    def backward(dy, saved, needs):
        dx = 2 * dy * saved[0]
        dx[1, 2] *= 1.01
        return (dx,)

    return record(x.data**2, backward, (x.data,), (x,))


def test_a_wrong_gradient_is_found():
    x = np.arange(1.0, 7).reshape(2, 3)
    with pytest.raises(
        GradcheckError, match=r"input 0, element \(1, 2\): gradient .* relative error 9.*above 1.00e-06"
    ):
        dl.gradcheck(wrong_square, x)
    found = dl.gradcheck(wrong_square, x, tolerance=0.1)
    assert found.index == (1, 2)
    assert found.max_relative_error == pytest.approx(0.01 / 1.01, rel=1e-3)
    assert found.elements == 6


def test_a_missing_gradient_is_found():
    with pytest.raises(GradcheckError, match="central difference"):
        dl.gradcheck(lambda x: x * x.detach().data, np.ones(3))


def test_nan_is_found():
    with pytest.raises(GradcheckError, match="nan"):
        dl.gradcheck(lambda x: x * np.nan, np.ones(3))


def test_several_inputs_and_outputs_and_constants():
    labels = np.array([0, 2])
    x, w = np.random.default_rng(0).normal(size=(2, 2, 3))
    found = dl.gradcheck(lambda x, w, t: (F.cross_entropy(x * w, t), (x + w).exp(), w.sum()), [x, w, labels])
    assert found.elements == 12
    assert found.max_relative_error < 1e-8


def test_inputs_are_put_back():
    x = Tensor(np.array([1.0, 2.0]), requires_grad=True)
    p = Parameter(np.array([3.0, 4.0]))
    p._bind(np.zeros(2), np.zeros(2))
    x.grad, p.grad = np.array([5.0, 6.0]), np.array([7.0, 8.0])
    state = random.get_state()
    dl.gradcheck(lambda x, p: x * p, [x, p])
    np.testing.assert_array_equal(x.data, [1, 2])
    np.testing.assert_array_equal(p.data, [3, 4])
    np.testing.assert_array_equal(x.grad, [5, 6])
    np.testing.assert_array_equal(p.grad, [7, 8])
    assert random.get_state() == state


def test_random_functions_draw_the_same_numbers():
    dl.gradcheck(lambda x: F.dropout(x, 0.5), np.ones((4, 4)))


def test_bad_arguments():
    with pytest.raises(TypeError, match="Tensors must be float64, got float32"):
        dl.gradcheck(F.relu, Tensor([1.0], requires_grad=True))
    with pytest.raises(ValueError, match="must hold a float array"):
        dl.gradcheck(F.relu, [np.array([1, 2])])
    with pytest.raises(ValueError, match="fn must return a Tensor"):
        dl.gradcheck(lambda x: 1.0, np.ones(2))


def test_empty_inputs_pass():
    assert dl.gradcheck(F.relu, np.ones((0, 3))).elements == 0


@pytest.mark.parametrize("name", ["reference", "auto"])
def test_every_operation(name):
    before = random.get_state()
    with dl.use_backend(name):
        errors = dict(dl.gradcheck.operations())
    assert max(errors.values()) <= 1e-6
    assert random.get_state() == before


def test_the_table_of_operations_is_complete(monkeypatch):
    used = set()
    table = kernels._table

    class Spy(dict):
        names = table.names
        small = property(lambda self: self)

        def __missing__(self, op):
            used.add(op)
            return table[op]

    monkeypatch.setattr(kernels, "_table", Spy())
    names = dict(dl.gradcheck.operations())
    assert used == {op for op in kernels.operations() if not kernels.is_single(op)}
    tested = {name.split(",")[0] for name in names}
    assert set(F.__all__) - tested == {"one_hot"}  # of integers
