"""The Tensor and the tape: operators, gradients, errors that explain themselves."""

import copy
import pickle

import numpy as np
import pytest
from samples import leaf

import dlfast as dl
from dlfast import functional as F
from dlfast.nn import Parameter
from dlfast.tensor import Tensor


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
    assert np.shares_memory(np.from_dlpack(x.detach()), x.data)
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


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8, np.bool_])
@pytest.mark.parametrize("number", [2, 0.5, True, np.int16(3)])
@pytest.mark.parametrize("operator", ["__add__", "__radd__", "__mul__", "__rmul__", "__truediv__"])
def test_integers_and_numbers_as_in_numpy(operator, number, dtype):
    array = np.array([1, 0, 1], dtype)
    got, wanted = getattr(Tensor(array), operator)(number), getattr(array, operator)(number)
    assert got.dtype == wanted.dtype
    np.testing.assert_array_equal(got.data, wanted)


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


UFUNCS = [
    lambda x: np.exp(x) + np.log(x) + np.sqrt(x) + np.tanh(x) + np.square(x) + np.abs(x) - np.negative(x),
    lambda x: np.add(x, 2) * np.subtract(np.ones(3), x) / np.true_divide(x, np.full(3, 2.0)) + np.power(x, 2),
    lambda x: np.matmul(np.ones((2, 3)), x) + np.ones((2, 3)) @ x,
    lambda x: np.maximum(x, 0.9) + np.minimum(np.full(3, 0.7), x),
    lambda x: np.arange(3.0) + x,
    lambda x: np.float64(2) * x - np.sum(x) + np.mean(x),
]


@pytest.mark.parametrize("fn", UFUNCS)
def test_numpys_ufuncs_keep_the_gradient(fn):
    dl.gradcheck(fn, np.random.default_rng(0).uniform(0.5, 1.5, 3))


def test_numpys_ufuncs_refuse_rather_than_lose_the_gradient():
    x = Tensor(np.ones(3), requires_grad=True)
    for call in (lambda: np.sin(x), lambda: np.add.reduce(x), lambda: np.exp(x, out=np.ones(3)), lambda: np.floor(x)):
        with pytest.raises(TypeError, match=r"np\..*use the methods of Tensor \(x.exp\(\), .*x.numpy\(\)"):
            call()
    total = np.zeros(3)
    with pytest.raises(TypeError, match="np.add"):
        total += x
    total += x.detach()
    np.testing.assert_array_equal(total, 1)
    assert np.isfinite(x).all()
    assert (np.ones(3) == x).all()


def test_comparisons_give_tensors_without_a_gradient():
    x = Tensor([1.0, 2.0], requires_grad=True)
    for found in (x > 1, x >= x, x < np.array([2, 2]), x <= 1.5, x == x, x != 1, ~(x > 1), (x > 1) & [True, False]):
        assert type(found) is Tensor
        assert found.dtype == bool
        assert not found.requires_grad
    assert (x == x).float().mean() == 1
    assert x != None  # noqa: E711
    assert not (x[0] == None) | (x[0] == "a")  # noqa: E711
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


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32, np.int64])
def test_sums_of_integers(dtype):
    assert Tensor(np.array([1, 0, 1], dtype)).sum().item() == 2


def test_to():
    x = Tensor([1.0])
    assert x.to("cpu") is x
    assert x.to(np.float64).dtype == np.float64
    assert x.to("float64").dtype == np.float64
    assert x.to(Tensor(np.array([1.0]))).dtype == np.float64
    assert x.device == dl.device("cpu") == "cpu"
    assert not x.is_cuda
    with pytest.raises(
        ValueError, match="to: device: must be 'cpu', 'cuda' or 'cuda:' and the number of a GPU, got 'tpu'"
    ):
        x.to("tpu")
