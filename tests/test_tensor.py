"""The Tensor and the tape: operators, gradients, errors that explain themselves."""

import copy
import pickle
import threading

import numpy as np
import pytest

import dlfast as dl
from dlfast import functional as F
from dlfast import kernels
from dlfast.nn import Parameter
from dlfast.tensor import Tensor, apply, no_grad


def leaf(*shape, dtype=np.float64, seed=0):
    return Tensor(np.random.default_rng(seed).normal(size=shape).astype(dtype), requires_grad=True)


# Construction and conversion


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        ([1.0, 2.0], np.float32),
        ([[1.0], [2.0]], np.float32),
        (3.5, np.float32),
        (np.ones(2), np.float64),
        (np.float64(2), np.float64),
        ([np.ones(2), np.ones(2)], np.float64),
        ([1, 2], np.int64),
        (np.ones(2, np.uint8), np.uint8),
        ([True, False], np.bool_),
        ([], np.float32),
    ],
)
def test_dtypes_of_data(data, dtype):
    assert Tensor(data).dtype == dtype


def test_data_that_are_no_numbers():
    for data in (np.array([object()]), ["a"], np.ones(2, complex)):
        with pytest.raises(TypeError, match="must hold real numbers"):
            Tensor(data)
    with pytest.raises(TypeError, match="requires_grad needs float32 or float64"):
        Tensor([1, 2], requires_grad=True)


def test_array_protocols():
    x = Tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
    assert np.asarray(x) is x.data
    assert x.numpy() is x.data
    assert np.array(x, dtype=np.float32).dtype == np.float32
    assert np.shares_memory(np.from_dlpack(x), x.data)
    assert len(x) == 2
    assert [row.shape for row in x] == [(3,), (3,)]
    assert (x.shape, x.ndim, x.size) == ((2, 3), 2, 6)
    assert x.detach().data is x.data
    assert not x.detach().requires_grad
    assert x.T.shape == (3, 2)
    with pytest.raises(TypeError, match="0-d"):
        iter(x.sum())


def test_numbers_out_of_scalars():
    x = Tensor([2.5])[0]
    assert (x.item(), float(x), int(x), bool(x), f"{x:.2f}") == (2.5, 2.5, 2, True, "2.50")
    assert repr(Tensor([1.0], requires_grad=True)) == "Tensor([1.], requires_grad=True)"
    assert repr(Tensor(np.ones(1))) == "Tensor([1.], dtype=float64)"


def test_copies_and_pickles_leave_the_graph_behind():
    x = leaf(3)
    for other in (copy.deepcopy(x * 2), pickle.loads(pickle.dumps(x * 2))):
        assert other._node is None
        assert np.array_equal(other.data, x.data * 2)
    p = Parameter(np.ones(3, np.float32), requires_grad=False)
    q = copy.deepcopy(p)
    assert type(q) is Parameter
    assert not q.requires_grad
    assert not np.shares_memory(p.data, q.data)


# Arithmetic


@pytest.mark.parametrize("number", [2, 2.5, np.float64(2.5), np.float32(2.5), np.int64(2), np.array(2.5)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_number_never_changes_the_dtype(number, dtype):
    x = Tensor(np.array([1.0, 2.0], dtype))
    value = float(number)
    for y, expected in [
        (x + number, x.data + value),
        (number + x, value + x.data),
        (x - number, x.data - value),
        (number - x, value - x.data),
        (x * number, x.data * value),
        (number * x, value * x.data),
        (x / number, x.data / value),
        (number / x, value / x.data),
        (x**number, x.data**value),
        (number**x, value**x.data),
    ]:
        assert type(y) is Tensor
        assert y.dtype == dtype
        np.testing.assert_allclose(y, expected, rtol=1e-6)


def test_arrays_and_lists_as_operands():
    x = Tensor([1.0, 2.0], requires_grad=True)
    mask = np.array([True, False])
    for y in (np.ones(2, np.float32) + x, x + [1, 1], x * mask + 1, np.arange(2) + x, mask * x + 1):
        assert type(y) is Tensor
        assert y.dtype == np.float32
        assert y.requires_grad
    assert type(np.ones((3, 2), np.float32) @ x) is Tensor


def test_mixed_floats_are_refused():
    x, y = Tensor([1.0]), Tensor(np.ones(1))
    for operation in (
        lambda: x + y,
        lambda: y * x,
        lambda: x - np.ones(1),
        lambda: x @ y,
        lambda: F.concatenate([x, y]),
        lambda: F.linear(x, np.ones((1, 1))),
    ):
        with pytest.raises(TypeError, match=r"float32.*float64|float64.*float32"):
            operation()


def test_numpy_functions_refuse_rather_than_lose_the_gradient():
    with pytest.raises(TypeError, match="does not support ufuncs"):
        np.exp(Tensor([1.0]))


def test_comparisons_give_arrays():
    x = Tensor([1.0, 2.0], requires_grad=True)
    for found in (x > 1, x >= x, x < np.array([2, 2]), x <= 1.5, x == x, x != 1):
        assert type(found) is np.ndarray
        assert found.dtype == bool
    assert hash(x) == hash(x)
    assert x in {x: 1}


@pytest.mark.parametrize(
    ("shape_a", "shape_b"),
    [((3, 4), (4,)), ((3, 1), (1, 4)), ((2, 3, 1), (3, 4)), ((), (2,)), ((2, 0), (1, 1)), ((2,), (2,))],
)
@pytest.mark.parametrize("operation", ["add", "sub", "mul", "truediv", "pow"])
def test_broadcasting_sums_gradients_down(shape_a, shape_b, operation):
    rng = np.random.default_rng(1)
    a, b = (rng.uniform(0.5, 2, shape) for shape in (shape_a, shape_b))
    dl.gradcheck(lambda x, y: getattr(x, f"__{operation}__")(y), [np.asarray(a), np.asarray(b)])


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: x.sum(),
        lambda x: x.sum((0, -1)),
        lambda x: x.sum(1, keepdims=True),
        lambda x: x.mean(),
        lambda x: x.mean((1, 2)),
        lambda x: x.mean(-1, keepdims=True),
        lambda x: x.var(),
        lambda x: x.var(1, ddof=1),
        lambda x: x.max(),
        lambda x: x.max((0, 2)),
        lambda x: x.max(1, keepdims=True),
        lambda x: x.min(-1),
        lambda x: x.exp() + x.tanh() + abs(x) + x.abs() - (-x),
        lambda x: (x * x + 1).log() + (x * x + 1).sqrt(),
        lambda x: x.clip(-0.5, 0.7) + x.clip(maximum=0.1) + x.clip(0.0),
        lambda x: x**2 + x**3.0 + x**0 + (x * x) ** 0.5,
        lambda x: x.reshape(4, 6) @ x.reshape((6, 4)),
        lambda x: x.reshape(-1).reshape([24])[3:20:2],
        lambda x: x.transpose(0, 2) + x.permute(2, 1, 0) + x.permute((2, 1, 0)) + x.T,
        lambda x: x.unsqueeze(1).squeeze(1) + x.unsqueeze(-1).squeeze(),
        lambda x: x[0, :, 1] + x[1][:, 2],
        lambda x: x[..., None, -1],
        lambda x: x[np.array([0, 1, 0]), 1],
        lambda x: x[[1, 1, 1]],
        lambda x: x[:, Tensor([2, 0, 2]), 1:3],
        lambda x: x[x.data > 0],
        lambda x: F.concatenate([x, x * 2, x[:1]], axis=0),
        lambda x: F.stack([x, x + 1], axis=-1),
        lambda x: F.pad(x, ((1, 0), (0, 0), (2, 1)), value=3.0),
        lambda x: x.astype(np.float64) * 2,
    ],
)
def test_operations_by_gradcheck(fn):
    dl.gradcheck(fn, np.random.default_rng(0).normal(size=(2, 3, 4)))


@pytest.mark.parametrize(
    ("shape_a", "shape_b"),
    [((3,), (3,)), ((3,), (3, 2)), ((2, 3), (3,)), ((4, 2, 3), (3,)), ((3,), (4, 3, 2)), ((2, 1, 2, 3), (5, 3, 2))],
)
def test_matmul_shapes(shape_a, shape_b):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=shape_a), rng.normal(size=shape_b)
    np.testing.assert_allclose(Tensor(a) @ b, a @ b, rtol=1e-13)
    assert (Tensor(a) @ b).shape == np.shape(a @ b)
    dl.gradcheck(lambda x, y: x @ y, [a, b])


def test_equal_maxima_share_the_gradient():
    x = Tensor(np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]]), requires_grad=True)
    x.max(1).sum().backward()
    np.testing.assert_allclose(x.grad, [[0, 0.5, 0.5], [1 / 3, 1 / 3, 1 / 3]])


def test_shape_errors_name_the_axes():
    x = leaf(2, 3)
    with pytest.raises(ValueError, match=r"last axis of a \(2, 3\)"):
        x @ x
    with pytest.raises(TypeError, match="permute takes a whole order"):
        x.transpose((1, 0))
    with pytest.raises(ValueError, match="more than ddof=2"):
        x.var(0, ddof=2)


def test_to():
    x = Tensor([1.0])
    assert x.to("cpu") is x
    assert x.to(np.float64).dtype == np.float64
    assert x.to("float64").dtype == np.float64
    with pytest.raises(ValueError, match="device must be 'cpu'"):
        x.to("cuda")


# The tape


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


# Parameters


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
