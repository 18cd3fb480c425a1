"""The tape: backward, its errors, no_grad; and a Parameter's data and gradient in an arena."""

import threading

import numpy as np
import pytest
from samples import leaf

import dlfast as dl
from dlfast import functional as F
from dlfast import kernels
from dlfast.nn import Parameter
from dlfast.tensor import Tensor, apply, no_grad


def test_backward_accumulates_and_grad_is_an_array():
    x = leaf(3)
    for times in (1, 2, 3):
        (x * x).sum().backward()
        assert type(x.grad) is np.ndarray
        np.testing.assert_allclose(x.grad, times * 2 * x.data)


def test_second_backward_explains_itself_and_changes_nothing():
    x, w = leaf(3), leaf(3, seed=1)
    y = x * 2
    y.sum().backward()
    before = x.grad.copy()
    with pytest.raises(RuntimeError, match="already freed; run the forward pass again"):
        (y * w).sum().backward()
    assert w.grad is None
    np.testing.assert_array_equal(x.grad, before)


def test_backward_without_a_gradient_to_start_from():
    x = leaf(2, 3)
    with pytest.raises(RuntimeError, match=r"shape \(2, 3\) has several elements.*reduce it first"):
        (x * 2).backward()
    with pytest.raises(ValueError, match=r"gradient must have shape \(2, 3\), got \(3,\)"):
        (x * 2).backward(np.ones(3))
    (x * 2).backward(np.ones((2, 3)))
    np.testing.assert_allclose(x.grad, 2)
    (x[:1, :1] * 2).backward()  # a single element of any shape needs none
    assert x.grad[0, 0] == 4


def test_backward_where_nothing_was_recorded():
    with pytest.raises(RuntimeError, match="requires_grad=True"):
        Tensor([1.0]).backward()


def test_backward_of_a_leaf():
    x = leaf(2)
    seed = np.ones(2)
    x.backward(seed)
    x.grad += 1
    np.testing.assert_array_equal(seed, 1)


def test_shared_gradients_are_never_corrupted():
    """Addition hands one dy to both inputs: changing or adding to one gradient must leave the others alone."""
    x, y = leaf(4), leaf(4, seed=1)
    seed = np.ones(4)
    z = x + y
    z.backward(seed)
    x.grad += 5
    np.testing.assert_array_equal(y.grad, 1)
    np.testing.assert_array_equal(seed, 1)
    ((x + y) + x.reshape(2, 2).reshape(4)).sum().backward()
    np.testing.assert_array_equal(y.grad, 2)
    np.testing.assert_array_equal(x.grad, 8)


def test_diamonds_and_unused_branches():
    x = leaf(3)
    a = x * 2
    b, unused = a * a, a.exp()
    (a + b + a * b).sum().backward()
    assert unused.requires_grad
    np.testing.assert_allclose(x.grad, 2 + 8 * x.data + 24 * x.data**2)


def test_long_chains_need_no_recursion():
    x = Tensor([1.0], requires_grad=True)
    y = x
    for _ in range(10_000):
        y = y + 1.0
    y.backward()
    np.testing.assert_array_equal(x.grad, [1.0])
    for _ in range(100_000):  # dropped without a backward
        y = y + 1.0
    del y


def test_the_graph_is_freed_by_backward():
    x = leaf(3)
    y = x.exp()
    node = y._node
    y.sum().backward()
    assert node.saved is None
    assert node.edges == ()
    assert node.grad is None


def test_no_grad_as_context_and_decorator():
    x = leaf(2)

    @no_grad()
    def double(v):
        """Doubles."""
        return v * 2

    assert double.__doc__ == "Doubles."
    assert not double(x).requires_grad
    with no_grad():
        assert not (x * 2).requires_grad
        with no_grad():
            pass
        assert not F.relu(x).requires_grad
    assert (x * 2).requires_grad
    with pytest.raises(ZeroDivisionError), no_grad():
        raise ZeroDivisionError
    assert (x * 2).requires_grad


def test_no_grad_holds_for_its_thread_alone():
    found = []
    with no_grad():
        thread = threading.Thread(target=lambda: found.append((leaf(2) * 2).requires_grad))
        thread.start()
        thread.join()
    assert found == [True]


def test_an_operation_with_several_outputs():
    rng = np.random.default_rng(0)
    x, h, c, w, u = (rng.normal(size=s) for s in ((2, 3), (2, 4), (2, 4), (16, 3), (16, 4)))
    for pick in (lambda y: y[0], lambda y: y[1], lambda y: y[0] * y[1] + y[1]):  # the other's gradient is missing
        dl.gradcheck(lambda x, h, c, w, u, pick=pick: pick(F.lstm_cell(x, (h, c), w, u)), [x, h, c, w, u])
    x = Tensor(x, requires_grad=True)
    hidden, cell = F.lstm_cell(x, (h, c), w, u)
    hidden.sum().backward()
    with pytest.raises(RuntimeError, match="already freed"):
        cell.sum().backward()


def test_needs_tell_kernels_which_gradients_are_wanted(monkeypatch):
    seen = []
    forward, backward = kernels.active("linear")

    def spy(dy, saved, needs):
        seen.append(needs)
        return backward(dy, saved, needs)

    monkeypatch.setitem(kernels._table.small, "linear", (forward, spy))
    x, w = np.ones((2, 3), np.float32), Parameter(np.ones((4, 3), np.float32))
    apply("linear", x, w, None, activation=None).sum().backward()
    assert seen == [(False, True, False)]


def test_a_kernel_that_fails_leaves_no_stale_gradients(monkeypatch):
    x = leaf(3)
    y = F.relu(x)

    def broken(dy, saved, needs):
        raise MemoryError

    y._node.backward = broken
    z = y * 2
    with pytest.raises(MemoryError):
        z.sum().backward()
    assert z._node.grad is None
    assert y._node.grad is None
    assert x.grad is None


def test_parameter_data_is_written_in_place():
    p = Parameter(np.zeros((2, 3), np.float32))
    storage = p.data
    p.data = np.ones((2, 3), np.float32)
    assert p.data is storage
    assert storage.sum() == 6
    with pytest.raises(ValueError, match=r"\(2, 3\) and dtype float32, got \(3,\) and float32"):
        p.data = np.ones(3, np.float32)
    with pytest.raises(ValueError, match="got .* and float64"):
        p.data = np.ones((2, 3))


def test_parameter_owns_its_storage():
    array = np.zeros(3, np.float32)
    p = Parameter(array)
    p.data[...] = 1
    assert array.sum() == 0


def test_parameter_gradient_goes_into_its_view():
    p = Parameter(np.full(3, 2.0, np.float32))
    data, grad = np.zeros(10, np.float32), np.full(10, np.nan, np.float32)
    p._bind(data[2:5], grad[2:5])
    assert p.grad is None
    np.testing.assert_array_equal(data, [0, 0, 2, 2, 2, 0, 0, 0, 0, 0])
    (p * p).sum().backward()
    assert p.grad is p._place.array
    np.testing.assert_array_equal(grad[2:5], 4)
    (p * p).sum().backward()
    np.testing.assert_array_equal(grad[2:5], 8)
    p.grad = None
    assert p.grad is None
    (p * 3.0).sum().backward()
    np.testing.assert_array_equal(grad[2:5], 3)
    p.grad = [1.0, 1.0, 1.0]
    np.testing.assert_array_equal(grad[2:5], 1)
    with pytest.raises(ValueError, match=r"grad must have shape \(3,\)"):
        p.grad = np.ones(2)
    assert np.isnan(grad[[0, 1, 5]]).all()


def test_binding_keeps_the_gradient():
    p = Parameter(np.ones(2, np.float32))
    (p * 3.0).sum().backward()
    p._bind(np.zeros(2, np.float32), np.zeros(2, np.float32))
    np.testing.assert_array_equal(p.grad, 3)


def test_parameter_without_a_view_behaves_like_a_tensor():
    p = Parameter([1.0, 2.0])
    assert p.grad is None
    given = np.ones(2, np.float32)
    p.grad = given
    (p * p).sum().backward()
    np.testing.assert_array_equal(p.grad, [3, 5])
    np.testing.assert_array_equal(given, 1)
