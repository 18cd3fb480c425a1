"""Infinity and NaN reach what is computed from them, and nothing else, in every backend and by every method.

One number of an input is made bad; what is not finite in the results must be what the reference has there.
"""

import numpy as np
import pytest
import rows
from agreement import FAST, argument_names

import dlfast as dl
from dlfast import functional as F
from dlfast import kernels, nn

BACKENDS = tuple(name for name in kernels.BACKENDS if kernels.built(name))
DTYPES = ("float32", "float64")


@pytest.fixture(autouse=True)
def _no_floating_point_warnings():
    with np.errstate(all="ignore"):
        yield


@pytest.fixture(params=BACKENDS)
def backend(request):
    with dl.use_backend(request.param, "reference"):
        yield request.param


def normal(*shape, dtype="float32", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def count_bad(x):
    return int((~np.isfinite(x)).sum())


# Adaptive pooling


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_adaptive_average_pooling(bad, dtype, backend):
    x = normal(1, 7, 7, 3, dtype=dtype)
    x[0, 0, 0, 1] = bad
    x = dl.Tensor(x, requires_grad=True)
    y = F.adaptive_avg_pool2d(x, 3)
    np.testing.assert_array_equal(np.argwhere(~np.isfinite(y.data)), [[0, 0, 0, 1]])
    dy = np.ones_like(y.data)
    dy[0, 1, 1, 2] = bad
    y.backward(dy)
    np.testing.assert_array_equal(np.unique(np.argwhere(~np.isfinite(x.grad))[:, 1:3]), [2, 3, 4])
    assert count_bad(x.grad) == 9


# Convolutions

FORMS = {
    "winograd": ((2, 9, 10, 16), (16, 3, 3, 16), {"method": "winograd"}),
    "winograd-few": ((1, 9, 10, 64), (64, 3, 3, 64), {"method": "winograd"}),
    "winograd-both": ((16, 15, 14, 8), (12, 3, 3, 8), {"method": "winograd"}),
    "winograd-turned": ((2, 9, 10, 3), (40, 3, 3, 3), {"method": "winograd"}),
    "winograd-4x4": ((2, 9, 11, 8), (16, 4, 4, 8), {"method": "winograd"}),
    "winograd-5x5": ((2, 9, 10, 8), (16, 5, 5, 8), {"method": "winograd", "pad": 2}),
    "winograd-stride": ((2, 13, 14, 4), (16, 7, 7, 4), {"method": "winograd", "stride": (2, 2), "pad": 3}),
    "winograd-relu": ((2, 9, 10, 16), (16, 3, 3, 16), {"method": "winograd", "act": "relu"}),
    "im2col": ((2, 9, 10, 5), (7, 3, 3, 5), {"method": "im2col"}),
    "im2col-stride": ((2, 9, 10, 5), (7, 3, 2, 5), {"method": "im2col", "stride": (2, 3)}),
    "groups": ((2, 9, 10, 6), (8, 3, 3, 3), {"groups": 2}),
    "direct": ((2, 9, 20, 3), (17, 3, 3, 3), {"method": "direct"}),
    "direct-stride": ((2, 9, 20, 2), (5, 3, 3, 2), {"method": "direct", "stride": (2, 2)}),
    "pointwise": ((2, 9, 10, 9), (20, 1, 1, 9), {"pad": 0}),
    "depthwise": ((2, 9, 10, 19), (19, 3, 3, 1), {"groups": 19}),
    "depthwise-stride": ((2, 9, 10, 19), (19, 3, 3, 1), {"groups": 19, "stride": (2, 2)}),
}


def results(op, backend, arrays, dy, **options):
    """y and the gradients of image, weight and bias: where and how they are not finite."""
    forward, backward = kernels.pair(op, backend)
    y, saved = forward(*arrays, **options)
    dy = dy(y.shape).astype(y.dtype)
    found = {
        "y": y,
        **dict(zip(argument_names(op, len(arrays)), backward(dy, saved, (True,) * len(arrays)), strict=True)),
    }
    return {name: np.where(np.isfinite(x), 0, x) for name, x in found.items() if x is not None}


def clean(shape):
    return normal(*shape, seed=3)


def spoiled(bad, place):
    """A maker of gradients with one bad number, at that share of the array."""

    def make(shape):
        dy = clean(shape)
        dy.reshape(-1)[int(place * (dy.size - 1))] = bad
        return dy

    return make


def assert_spoils_the_same(op, backend, arrays, dy, skips=False, **options):
    """skips: the kernel passes over zeros, of padding or of pixels in no window, that the reference multiplies."""
    wanted = results(op, "reference", arrays, dy, **options)
    got = results(op, backend, arrays, dy, **options)
    for name, x in wanted.items():
        skipped = skips & np.isnan(x) & (got[name] == 0)
        np.testing.assert_array_equal(got[name], np.where(skipped, 0, x), err_msg=name)


def options_of(op, image, kernel, **more):
    return getattr(rows, op)("", image, kernel, **{"pad": 1, **more}).options


@pytest.mark.parametrize("place", [0, 0.43, 1])
@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("form", FORMS)
def test_convolutions(form, backend, place):
    image, kernel, more = FORMS[form]
    x, w, b = normal(*image), normal(*kernel, seed=1), normal(kernel[0], seed=2)
    options = options_of("conv2d", image, kernel, **more)
    for bad in (np.inf, -np.inf, np.nan):
        strange = spoiled(bad, place)(image)
        assert_spoils_the_same("conv2d", backend, (strange, w, b), clean, **options)
        assert_spoils_the_same("conv2d", backend, (x, w, b), spoiled(bad, place), form.startswith("depth"), **options)


@pytest.mark.parametrize("place", [0, 0.43, 1])
@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize(
    ("op", "image", "kernel", "method", "activation"),
    [
        ("conv2d_max_pool2d", (2, 9, 10, 16), (16, 3, 3, 16), "winograd", None),
        ("conv2d_max_pool2d", (16, 15, 14, 8), (12, 3, 3, 8), "winograd", "relu"),
        ("conv2d_max_pool2d", (2, 9, 20, 3), (17, 3, 3, 3), "direct", None),
        ("conv2d_max_pool2d", (2, 8, 20, 1), (6, 3, 3, 1), "direct", "relu"),
        ("conv2d_avg_pool2d", (2, 9, 21, 1), (6, 3, 3, 1), "direct", None),
        ("conv2d_avg_pool2d", (2, 8, 20, 2), (3, 3, 3, 2), "direct", "tanh"),
        ("conv2d_avg_pool2d", (2, 9, 20, 4), (16, 3, 3, 4), "direct", None),
        ("conv_transpose2d", (2, 7, 8, 5), (5, 3, 3, 9), "exact", None),
        ("conv_transpose2d", (2, 7, 8, 24), (24, 3, 3, 20), "auto", "relu"),
        ("conv_transpose2d", (2, 7, 8, 9), (9, 3, 3, 2), "exact", None),
    ],
)
def test_convolutions_with_pooling_and_transposed(op, image, kernel, method, activation, backend, place):
    outputs = kernel[3] if op == "conv_transpose2d" else kernel[0]
    x, w, b = normal(*image), normal(*kernel, seed=1), normal(outputs, seed=2)
    options = options_of(op, image, kernel, method=method, act=activation)
    for bad in (np.inf, np.nan):
        skips = op == "conv2d_max_pool2d"
        assert_spoils_the_same(op, backend, (spoiled(bad, place)(image), w, b), clean, skips, **options)
        if activation != "tanh":  # 0 times infinity, where it saturates in one backend and not quite in another
            assert_spoils_the_same(op, backend, (x, w, b), spoiled(bad, place), skips, **options)


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_pixel_of_a_convolution(dtype, backend):
    """What `set_precision("exact")` gives: infinity for the 9 outputs that the pixel is part of, for each channel."""
    x = normal(1, 20, 20, 16, dtype=dtype)
    x[0, 9, 9, 3] = np.inf
    model = nn.Conv2d(16, 16, 3, padding=1).to(dtype)
    y = model(x).data
    assert np.isinf(y).sum(axis=(0, 1, 2)).tolist() == [9] * 16
    assert not np.isnan(y).any()
    dl.set_precision("exact")
    try:
        exact = model(x).data
    finally:
        dl.set_precision("fast")
    np.testing.assert_array_equal(y[np.isinf(y)], exact[np.isinf(y)])


@pytest.mark.parametrize("backend", FAST)
def test_weights_that_are_not_finite(backend):
    x, w, b = normal(2, 9, 10, 16), normal(16, 3, 3, 16, seed=1), normal(16, seed=2)
    for bad in (np.inf, np.nan):
        w[5, 1, 1, 7] = bad
        for method in ("winograd", "exact"):
            forward, backward = kernels.pair("conv2d", backend)
            y, saved = forward(x, w, b, **options_of("conv2d", x.shape, w.shape, method=method))
            dx, _, _ = backward(clean(y.shape), saved, (True, False, False))
            assert np.isfinite(y).all(axis=(0, 1, 2)).tolist() == [k != 5 for k in range(16)]
            assert np.isfinite(dx).all(axis=(0, 1, 2)).tolist() == [c != 7 for c in range(16)]


# The rest: pools, products


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize(
    ("op", "backend"),
    [(op, name) for op in ("avg_pool2d", "max_pool2d", "adaptive_avg_pool2d") for name in kernels.backends_of(op)],
)
def test_pools(op, backend, bad):
    windows = {"kernel_size": (3, 3), "stride": (2, 2), "padding": (1, 1), "ceil_mode": True}
    more = {"count_include_pad": True} if op == "avg_pool2d" else {"dilation": (1, 1)}
    options = {"output_size": (3, 4)} if op == "adaptive_avg_pool2d" else windows | more
    for channels in (3, 17):
        x = normal(2, 8, 9, channels)
        assert_spoils_the_same(op, backend, (spoiled(bad, 0.4)(x.shape),), clean, **options)
        assert_spoils_the_same(op, backend, (x,), spoiled(bad, 0.4), **options)


@pytest.mark.parametrize("bad", [np.inf, np.nan])
@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("sizes", [(1, 40, 9), (3, 40, 9), (40, 40, 9), (40, 5, 70), (2, 3000, 3)], ids=str)
def test_linear(sizes, backend, bad):
    rows, features, outputs = sizes
    x, w, b = normal(rows, features), normal(outputs, features, seed=1), normal(outputs, seed=2)
    assert_spoils_the_same("linear", backend, (spoiled(bad, 0.4)(x.shape), w, b), clean, activation=None)
    assert_spoils_the_same("linear", backend, (x, w, b), spoiled(bad, 0.4), activation=None)
