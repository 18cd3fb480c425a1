"""Sums of many float32 numbers: added one after the other they stop growing at 2^24 and lose digits long before.

The first of the rows is 2^24 and the others are 1 (`stalling`): a running sum of them stays what it is.
"""

from itertools import combinations, permutations

import numpy as np
import pytest
import rows

import dlfast as dl
from dlfast import functional as F
from dlfast import kernels
from dlfast.kernels import sums

ROWS = 100_000
BACKENDS = tuple(name for name in kernels.BACKENDS if kernels.built(name))
DTYPES = ("float32", "float64")


def stalling(*shape, dtype="float32"):
    """Rows of ones behind one of 2^24."""
    x = np.ones(shape, dtype)
    x[0] = 2**24
    return x


SUM = 2**24 + ROWS - 1  # of `stalling` rows; a running sum is off by 6e-3


def assert_adds_up(got, wanted):
    np.testing.assert_allclose(np.asarray(got, np.float64), wanted, rtol=5e-4)


@pytest.fixture(params=BACKENDS)
def backend(request):
    with dl.use_backend(request.param, "reference"):
        yield request.param


# kernels.sums, on which NumPy's sums rest


@pytest.mark.parametrize("dtype", [*DTYPES, "int64"])
@pytest.mark.parametrize("shape", [(5000,), (1300, 3), (3, 2000), (5, 1100, 2), (40, 30, 4), (3, 0), (2, 3)], ids=str)
def test_totals_are_those_of_numpy(shape, dtype):
    """For every order of the axes in memory, with every set of them summed: shape, kind of result, and value."""
    base = (10 * np.random.default_rng(0).standard_normal(shape)).astype(dtype)
    for order in permutations(range(len(shape))):
        x = base.transpose(order)
        for view in (x, x[::-1], x[::2], np.broadcast_to(x[:1], x.shape)):
            for count in range(len(shape) + 1):
                for axes in combinations(range(len(shape)), count):
                    for keep in (False, True):
                        got, wanted = sums.total(view, axes, keep), np.sum(view, axes, keepdims=keep)
                        assert (type(got), got.dtype, got.shape) == (type(wanted), wanted.dtype, wanted.shape)
                        truth = np.sum(view, axes, keepdims=keep, dtype=np.longdouble)
                        np.testing.assert_allclose(got.astype(float), truth.astype(float), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("axis", [2, -3, (0, 2)])
def test_an_axis_that_is_not_there(axis):
    with pytest.raises(np.exceptions.AxisError):
        sums.total(np.ones((5000, 2), np.float32), axis)


def test_totals_of_infinities_and_nan():
    x = np.zeros((5000, 4), np.float32)
    x[1, 0], x[2, 1], x[3, 1], x[4, 2] = np.inf, np.inf, -np.inf, np.nan
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(sums.total(x, 0), [np.inf, np.nan, np.nan, 0])


def test_totals_of_many_numbers():
    x = stalling(ROWS, 2)
    for got in (sums.total(x, 0), sums.total(x.T, 1), sums.total(np.asfortranarray(x[:, None]), (0, 1))):
        assert_adds_up(got, SUM)
    assert sums.total(np.broadcast_to(np.float32(1), (25_000_000, 2)), 0).tolist() == [25_000_000] * 2
    random = np.random.default_rng(0).standard_normal((400_000, 3)).astype(np.float32)
    wide = random.astype(np.float64).sum(0)
    assert np.abs(sums.total(random, 0) - wide).max() < 1e-6 * np.abs(wide).max()


def test_products_of_a_long_depth():
    a, b = stalling(ROWS, 2).T, np.ones((ROWS, 1), np.float32)
    assert_adds_up(sums.product(a, b), SUM)
    assert_adds_up(sums.product(a[:1], b), SUM)
    assert sums.product(a[None], b).shape == (1, 2, 1)
    np.testing.assert_array_equal(sums.product(np.ones((2, 0)), np.ones((0, 3))), np.zeros((2, 3)))


def test_scattered_numbers():
    values = stalling(ROWS, 2)
    assert_adds_up(sums.scattered((3, 2), np.zeros(ROWS, int), values)[0], SUM)
    assert sums.scattered((3, 2), np.zeros(4, int), values[1:5]).tolist() == [[4, 4], [0, 0], [0, 0]]


# Operators


def test_sum_mean_and_var_over_rows():
    x = dl.Tensor(stalling(ROWS, 2))
    assert_adds_up(x.sum(0).data, SUM)
    assert_adds_up(x.mean(0).data, SUM / ROWS)
    assert dl.Tensor(np.broadcast_to(np.float32(1), (25_000_000, 2))).mean(axis=0).data.tolist() == [1, 1]


@pytest.mark.parametrize("offset", [0, 1e4, 1e6])
def test_variance_of_many_rows(offset):
    x = (offset + 100 * np.random.default_rng(0).integers(-1, 2, (300_000, 2))).astype(np.float32)
    np.testing.assert_allclose(dl.Tensor(x).var(axis=0).data, x.astype(np.float64).var(axis=0), rtol=1e-5)
    np.testing.assert_allclose(dl.Tensor(x).var(0, ddof=1).data, x.astype(np.float64).var(axis=0, ddof=1), rtol=1e-5)


def test_gradient_of_what_was_broadcast():
    row = dl.Tensor(np.zeros((1, 2), np.float32), requires_grad=True)
    (row + np.zeros((ROWS, 2), np.float32)).backward(stalling(ROWS, 2))
    assert_adds_up(row.grad, SUM)
    many = np.broadcast_to(np.float32(0), (25_000_000, 2))
    row = dl.Tensor(np.zeros((1, 2), np.float32), requires_grad=True)
    (row + many).sum().backward()
    assert row.grad.tolist() == [[25_000_000] * 2]


@pytest.mark.parametrize("index", [np.zeros(ROWS, int), (slice(None), np.zeros(ROWS, int))], ids=["rows", "columns"])
def test_gradient_of_what_was_taken_often(index):
    x = dl.Tensor(np.zeros((2, 2), np.float32), requires_grad=True)
    taken = x[index]
    taken.backward(stalling(ROWS, 2) if taken.shape[0] == ROWS else stalling(ROWS, 2).T)
    assert_adds_up(x.grad[0, 0], SUM)


# Kernels: the same sums in each backend


def backward_of(op, arrays, dy, **options):
    forward, backward = kernels.active(op)
    y, saved = forward(*arrays, **options)
    return backward(dy, saved, tuple(x is not None for x in arrays))


@pytest.mark.parametrize("outputs", [1, 2, 40])
def test_gradients_of_a_linear_layer(outputs, backend):
    x, w, b = stalling(ROWS, 3), np.zeros((outputs, 3), np.float32), np.zeros(outputs, np.float32)
    _, dweight, dbias = backward_of("linear", (x, w, b), np.ones((ROWS, outputs), np.float32), activation=None)
    assert_adds_up(dweight, SUM)
    assert_adds_up(dbias, ROWS)
    dy = stalling(ROWS, outputs)
    _, dweight, dbias = backward_of("linear", (np.ones_like(x), w, b), dy, activation=None)
    assert_adds_up(dweight, SUM)
    assert_adds_up(dbias, SUM)


@pytest.mark.parametrize("outputs", [2, 10])
def test_accuracy_of_a_weight_gradient(outputs, backend):
    """As good as PyTorch's, of which the largest error over 2 million rows is 7e-6 of the largest element."""
    rng = np.random.default_rng(0)
    x, dy = (rng.standard_normal((300_000, n)).astype(np.float32) for n in (8, outputs))
    arrays = x, np.zeros((outputs, 8), np.float32), np.zeros(outputs, np.float32)
    _, dweight, dbias = backward_of("linear", arrays, dy, activation=None)
    for got, truth in ((dweight, dy.T.astype(np.float64) @ x), (dbias, dy.astype(np.float64).sum(0))):
        assert np.abs(got - truth).max() < 2e-6 * np.abs(truth).max()


@pytest.mark.parametrize(("m", "n"), [(1, 1), (1, 3), (3, 2), (9, 1), (40, 5)])
def test_products_of_a_long_depth_in_each_backend(m, n, backend):
    a, b = stalling(ROWS, m).T.copy(), np.ones((ROWS, n), np.float32)
    assert_adds_up(F.matmul(a, b).data, SUM)
    assert_adds_up(F.linear(a, b.T.copy()).data, SUM)


def test_gradients_of_batch_norm(backend):
    ones, mean, var = np.ones((ROWS, 3), np.float32), np.zeros(3, np.float32), np.ones(3, np.float32)
    arrays = ones, var, mean, None, mean, var
    _, dweight, dbias, *_ = backward_of("batch_norm", arrays, stalling(ROWS, 3), eps=1e-12, activation=None)
    assert_adds_up(dweight, SUM)
    assert_adds_up(dbias, SUM)


def test_gradients_of_layer_norm(backend):
    x = np.tile(np.array([1, -1], np.float32), (ROWS, 1))
    arrays = x, np.ones(2, np.float32), np.zeros(2, np.float32)
    _, dweight, dbias = backward_of("layer_norm", arrays, stalling(ROWS, 2), eps=1e-12)
    assert_adds_up(dweight, [SUM, -SUM])
    assert_adds_up(dbias, SUM)


@pytest.mark.parametrize(
    ("image", "kernel", "groups", "method"),
    [
        ((1, 400, 250, 2), (3, 1, 1, 2), 1, "pointwise"),
        ((1, 400, 250, 2), (3, 2, 1, 2), 1, "im2col"),
        ((1, 1, 100_000, 1), (3, 1, 2, 1), 1, "direct"),
        ((1, 400, 250, 1), (20, 2, 2, 1), 1, "direct"),
        ((1, 400, 250, 16), (16, 2, 1, 1), 16, "depthwise"),
        ((1, 1, 100_000, 16), (16, 1, 1, 1), 16, "depthwise"),
    ],
)
def test_gradients_of_convolutions(image, kernel, groups, method, backend):
    arrays = np.ones(image, np.float32), np.zeros(kernel, np.float32), np.zeros(kernel[0], np.float32)
    options = rows.conv2d("", image, kernel, groups=groups, method=method).options
    height, width = image[1] - kernel[1] + 1, image[2] - kernel[2] + 1
    dy = stalling(height * width, kernel[0]).reshape(1, height, width, kernel[0])
    _, dweight, dbias = backward_of("conv2d", arrays, dy, **options)
    assert_adds_up(dweight, 2**24 + height * width - 1)
    assert_adds_up(dbias, 2**24 + height * width - 1)


@pytest.mark.parametrize("outputs", [6, 3])
@pytest.mark.parametrize("op", ["conv2d_max_pool2d", "conv2d_avg_pool2d"])
def test_gradients_of_convolutions_with_pooling(op, outputs, backend):
    arrays = np.ones((1, 401, 501, 1), np.float32), np.zeros((outputs, 2, 2, 1), np.float32)
    options = getattr(rows, op)("", arrays[0].shape, arrays[1].shape, method="direct").options
    dy = stalling(200 * 250, outputs).reshape(1, 200, 250, outputs)
    _, dweight, dbias = backward_of(op, (*arrays, np.zeros(outputs, np.float32)), dy, **options)
    assert_adds_up(dweight, 2**24 + 200 * 250 - 1)
    assert_adds_up(dbias, 2**24 + 200 * 250 - 1)


@pytest.mark.parametrize("slopes", [1, 2])
def test_gradient_of_prelu(slopes, backend):
    arrays = -np.ones((ROWS, 2), np.float32), np.ones(slopes, np.float32)
    _, dweight = backward_of("prelu", arrays, stalling(ROWS, 2))
    assert_adds_up(dweight, -SUM * 2 / slopes)


def test_gradient_of_an_embedding(backend):
    count = 1_000_000
    dy, weight = stalling(count, 1), np.zeros((3, 1), np.float32)
    _, dweight = backward_of("embedding", (np.ones(count, np.int64), weight), dy, padding_idx=None)
    np.testing.assert_allclose(dweight, [[0], [2**24 + count - 1], [0]], rtol=1e-2)  # a running sum is off by 6e-2


@pytest.mark.parametrize("image", [(1, 400, 250, 2), (1, 1, 100_000, 9), (1, 100_000, 1, 1)], ids=str)
def test_means_of_large_windows(image, backend):
    x = stalling(ROWS, image[3]).reshape(image)
    for y in (F.adaptive_avg_pool2d(x, 1), F.avg_pool2d(x, image[1:3])):
        assert_adds_up(y.data, SUM / ROWS)


def test_sums_of_a_softmax(backend):
    x = np.full(1_000_000, np.log(2.0**-24), np.float32)
    x[0] = 0
    share = 1 / np.exp(x, dtype=np.float64).sum()
    np.testing.assert_allclose(F.softmax(x).data[0], share, rtol=1e-3)  # a running sum gives 1: 6e-2 off
    np.testing.assert_allclose(F.log_softmax(x).data[0], np.log(share), rtol=1e-2)


def test_sums_of_losses(backend):
    x, target = np.sqrt(stalling(ROWS, 1)), np.zeros((ROWS, 1), np.float32)
    assert_adds_up(F.mse_loss(x, target, reduction="sum").data, SUM)
    assert_adds_up(F.mse_loss(x, target).data, SUM / ROWS)


# Means that are rounded


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [1000.1, 54321.1, -3e7])
def test_norms_of_equal_numbers_are_0(value, dtype, backend):
    x = np.full((4, 768), value, dtype)
    tolerance = 0 if dtype == "float32" else 1e-9
    assert np.abs(F.layer_norm(x, 768).data).max() <= tolerance
    x = np.full((1000, 5), value, dtype)
    assert np.abs(F.batch_norm(x, training=True).data).max() <= tolerance


@pytest.mark.parametrize("columns", [5, 64, 769])
def test_layer_norm_of_rows_far_from_0(columns, backend):
    """The mean is no float32 number, and off by as much as the numbers are apart."""
    steps = np.random.default_rng(0).integers(-4, 5, (6, columns))
    x = (np.float32(4096) + steps * np.float32(2**-11)).astype(np.float32)
    weight, dy = np.linspace(1, 2, columns, dtype=np.float32), np.cos(np.arange(x.size)).reshape(x.shape)
    results = []
    for dtype, shift in ((np.float32, 0), (np.float64, 4096)):
        w, t = (
            dl.Tensor(weight.astype(dtype), requires_grad=True),
            dl.Tensor(x.astype(dtype) - shift, requires_grad=True),
        )
        y = F.layer_norm(t, columns, w, eps=1e-12)
        y.backward(dy.astype(dtype))
        results.append((y.data, w.grad, t.grad))
    for got, truth in zip(*results, strict=True):
        assert np.abs(got - truth).max() < 1e-4 * np.abs(truth).max()


# Losses


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_ignored_rows_may_hold_anything(reduction, bad, dtype, weighted, backend):
    logits = np.log(np.full((4, 3), 1 / 3, dtype))
    logits[1] = bad
    target, weight = np.array([0, -100, 2, 1]), np.array([1, 2, 3], dtype) if weighted else None
    for loss in (F.nll_loss, F.cross_entropy):
        x = dl.Tensor(logits, requires_grad=True)
        y = loss(x, target, weight, reduction=reduction)
        assert np.isfinite(y.data).all()
        y.backward(np.ones_like(y.data))
        assert np.isfinite(x.grad).all()
        assert not x.grad[1].any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", [F.nll_loss, F.cross_entropy])
@pytest.mark.parametrize("shape", [(2, 3), (0, 3)], ids=str)
def test_the_mean_of_no_rows_is_nan_and_has_no_gradient(shape, loss, dtype, backend):
    for fill in (0.5, np.nan):
        x = dl.Tensor(np.full(shape, fill, dtype), requires_grad=True)
        y = loss(x, np.full(shape[0], -100))
        assert np.isnan(y.data)
        assert y.dtype == dtype
        y.backward()
        assert not x.grad.any()
        assert loss(x, np.full(shape[0], -100), reduction="sum").data == 0


# Nothing along an axis


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "axis"), [((4, 0), 1), ((0, 4), 0), ((0, 4), 1), ((2, 0, 3), 1), ((0,), 0)], ids=str)
def test_softmax_of_nothing(shape, axis, dtype, backend):
    for f in (F.softmax, F.log_softmax):
        x = dl.Tensor(np.zeros(shape, dtype), requires_grad=True)
        y = f(x, axis)
        y.backward(np.zeros(shape, dtype))
        assert y.shape == x.grad.shape == shape
        assert y.dtype == dtype


@pytest.mark.parametrize("dtype", DTYPES)
def test_layer_norm_of_nothing(dtype, backend):
    x = dl.Tensor(np.zeros((4, 0), dtype), requires_grad=True)
    y = F.layer_norm(x, 0, np.zeros(0, dtype), np.zeros(0, dtype))
    y.backward(np.zeros((4, 0), dtype))
    assert y.shape == x.grad.shape == (4, 0)


# Statistics of one row


@pytest.mark.parametrize("shape", [(1, 3), (1, 1, 1, 3)], ids=str)
def test_batch_norm_of_one_row_is_an_error_without_statistics(shape, backend):
    x, row = np.ones(shape, np.float32), np.ones(3, np.float32)
    with pytest.raises(ValueError, match="training needs more than one value a channel"):
        F.batch_norm(x, row, row, training=True)
    with pytest.raises(ValueError, match="evaluation without running statistics needs more than one value a channel"):
        F.batch_norm(x)
    assert F.batch_norm(x, row, row).shape == shape


@pytest.mark.parametrize("resize", ["nearest", "bilinear", "max"])
@pytest.mark.parametrize("size", [(1, ROWS), (ROWS, 1)], ids=["columns", "rows"])
def test_gradients_of_many_pixels_from_one(backend, size, resize):
    x = dl.Tensor(np.ones((1, 1, 1, 1), np.float32), requires_grad=True)
    y = F.adaptive_max_pool2d(x, size) if resize == "max" else F.interpolate(x, size=size, mode=resize)
    y.backward(stalling(ROWS).reshape(y.shape))
    assert x.grad.dtype == np.float32
    assert_adds_up(x.grad, [[[[SUM]]]])
