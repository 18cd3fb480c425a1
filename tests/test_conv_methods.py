"""The algorithms of convolution: each on random geometries against float64, the chooser, precision."""

import numpy as np
import pytest
from isas import each_isa

import dlfast as dl
from dlfast import functional as F
from dlfast import kernels
from dlfast.kernels.conv_methods import METHODS, Abilities, Geometry, choose, unfit
from dlfast.kernels.conv_plan import plan

SWEEP = 60  # random convolutions for each method and dtype
TOLERANCE = {np.float32: 2e-6, np.float64: 4e-15}
WINOGRAD_FACTOR = 10
BACKENDS = each_isa([name for name in ("numba", "cython") if name in kernels.backends_of("conv2d")])


def random_convolution(rng, method):
    """Shapes of image and weight and a geometry that the method can do, borders and remainders of every kind."""
    groups, size = (int(rng.choice(values)) for values in ((1, 1, 1, 2), (1, 2, 3, 3, 5)))
    kernel = (size, size)
    channels = int(rng.choice([1, 2, 3, 5, 8, 17, 33]))
    outputs = groups * int(rng.choice([1, 2, 7, 16, 17, 40]))
    stride, dilation = (tuple(int(n) for n in rng.integers(1, high, 2)) for high in (4, 3))
    padding = tuple(int(n) for n in rng.integers(0, 3, 4))
    if method == "winograd":
        taps, stride, dilation = int(rng.integers(3, 6)), tuple(int(n) for n in rng.choice([1, 1, 1, 2, 4], 2)), (1, 1)
        kernel = tuple((taps - 1) * n + int(rng.integers(1, n + 1)) for n in stride)
    if method == "pointwise":
        stride, dilation, kernel, padding = (1, 1), (1, 1), (1, 1), (0, 0, 0, 0)
    if method in ("winograd", "pointwise", "direct"):
        outputs, groups, dilation = outputs // groups, 1, (dilation[0], 1)
    if method == "depthwise":
        channels, groups = 1, int(rng.integers(16, 40))
        outputs = groups
    sides = zip(kernel, dilation, padding[::2], padding[1::2])
    spans = [(taps - 1) * d + 1 - before - after for taps, d, before, after in sides]
    size = [max(1, span) + int(rng.integers(0, 12)) for span in spans]
    image = (int(rng.choice([0, 1, 2, 3])), *size, channels * groups)
    return image, (outputs, *kernel, channels), Geometry(stride, padding, dilation, groups)


def run(backend, arrays, dy, options):
    """y, dx, dweight and dbias; dy is made by a function of y."""
    forward, backward = kernels.pair("conv2d", backend)
    y, saved = forward(*arrays, **options)
    dy = dy(y)
    return y, *backward(dy.astype(y.dtype), saved, (True, True, True))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("method", ["auto", "exact", *METHODS])
def test_random_geometries(method, dtype, backend):
    rng = np.random.default_rng(METHODS.index(method) if method in METHODS else 99)
    allowed = TOLERANCE[dtype] * (WINOGRAD_FACTOR if method in ("auto", "winograd") else 1)
    for _ in range(SWEEP):
        image, weight, geometry = random_convolution(rng, method)
        assert method not in METHODS or unfit(method, "forward", weight, geometry) is None
        scale = 1 / np.sqrt(np.prod(weight[1:]))
        arrays = [rng.standard_normal(shape) * s for shape, s in ((image, 1), (weight, scale), (weight[:1], 1))]
        arrays = [array.astype(dtype) for array in arrays]
        options = {"plan": plan(image, weight, geometry, None, method)}
        seed = int(rng.integers(2**32))
        gradient = lambda y, seed=seed: np.random.default_rng(seed).standard_normal(y.shape).astype(dtype)  # noqa: E731
        wanted = run("reference", [array.astype(np.float64) for array in arrays], gradient, options)
        found = run(backend, arrays, gradient, options)
        for name, got, truth in zip(("y", "dx", "dw", "db"), found, wanted, strict=True):
            assert got.shape == truth.shape
            error = np.abs(got - truth).max(initial=0) / max(1, np.abs(truth).max(initial=0))
            assert error <= allowed, f"{name} of {image} * {weight}, {geometry}: off by {error:.2g}"


@pytest.fixture(params=BACKENDS)
def backend(request):
    with dl.use_backend(request.param, "reference"):
        yield request.param


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", METHODS)
def test_same_bits_for_any_number_of_threads(method, backend):
    rng = np.random.default_rng(3)
    shape = {"pointwise": (64, 1, 1, 48), "depthwise": (48, 3, 3, 1)}.get(method, (64, 3, 3, 48))
    groups, pad = (48 if method == "depthwise" else 1), (0 if method == "pointwise" else 1)
    x, w = (rng.standard_normal(s).astype(np.float32) for s in ((6, 33, 29, 48), shape))
    options = {"plan": plan(x.shape, w.shape, Geometry((1, 1), (pad,) * 4, (1, 1), groups), "relu", method)}
    before, found = dl.get_num_threads(), []
    try:
        for count in (1, 2, 4):
            dl.set_num_threads(count)
            found.append([array.tobytes() for array in run(backend, (x, w, None), np.ones_like, options)[:3]])
    finally:
        dl.set_num_threads(before)
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(("side", "channels"), [(32, 16), (16, 32), (8, 64)])
def test_winograd_of_one_image_shares_it_out_alike(side, channels):
    rng = np.random.default_rng(4)
    x, w = (rng.standard_normal(s).astype(np.float32) for s in ((1, side, side, channels), (channels, 3, 3, channels)))
    options = {"plan": plan(x.shape, w.shape, Geometry((1, 1), (1,) * 4, (1, 1), 1), "relu", "winograd")}
    before, found = dl.get_num_threads(), []
    try:
        for count in (1, 2, 4):
            dl.set_num_threads(count)
            with dl.use_backend("cython", "reference"):
                found.append(run("cython", (x, w, None), np.ones_like, options)[0])
    finally:
        dl.set_num_threads(before)
    assert found[0].tobytes() == found[1].tobytes() == found[2].tobytes()
    exact = run("reference", (x.astype(np.float64), w.astype(np.float64), None), np.ones_like, options)[0]
    assert np.abs(found[0] - exact).max() <= 1e-4 * np.abs(exact).max()


def test_choice_follows_the_shape():
    plain = Geometry((1, 1), (1, 1, 1, 1), (1, 1), 1)
    assert choose("forward", (8, 28, 28, 64), (64, 3, 3, 64), plain).method == "winograd"
    few = (1, 10, 10, 64), (64, 3, 3, 64), plain
    assert [choose(passing, *few).method for passing in ("forward", "dx", "dweight")] == [
        "winograd",
        "im2col",
        "winograd",
    ]
    assert choose("forward", (1, 8, 8, 64), (64, 3, 3, 64), plain).method == "winograd"
    assert choose("forward", (1, 7, 7, 64), (64, 3, 3, 64), plain).method == "im2col"
    assert choose("forward", (32, 4, 4, 64), (64, 3, 3, 64), plain).method == "winograd"
    assert choose("forward", (32, 2, 2, 64), (64, 3, 3, 64), plain).method == "im2col"  # of each tile, a quarter
    assert choose("forward", (8, 28, 28, 64), (64, 3, 3, 64), plain, "exact").method == "im2col"
    assert choose("forward", (8, 28, 28, 3), (64, 3, 3, 3), plain).method == "direct"
    assert choose("dx", (8, 28, 28, 3), (64, 3, 3, 3), plain).method == "direct"
    assert choose("dx", (8, 28, 28, 3), (64, 3, 3, 3), plain._replace(dilation=(1, 2))).method == "im2col"
    assert (
        choose("dweight", (8, 28, 28, 64), (64, 1, 1, 64), Geometry((1, 1), (0,) * 4, (1, 1), 1)).method == "pointwise"
    )
    assert choose("forward", (8, 28, 28, 64), (64, 3, 3, 1), plain._replace(groups=64)).method == "depthwise"
    assert choose("forward", (8, 28, 28, 64), (64, 3, 3, 64), plain._replace(stride=(2, 2))).method == "im2col"
    for passing, method in (("forward", "direct"), ("dx", "direct"), ("dweight", "im2col")):
        strange = Geometry((2, 1), (1, 1, 1, 1), (1, 2), 2)
        assert (
            choose(passing, (8, 28, 28, 64), (64, 3, 3, 32), strange, able=Abilities(lists=("forward", "dx"))).method
            == method
        )


def test_precision_switches_winograd_off(backend):
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(shape).astype(np.float32) for shape in ((2, 12, 12, 32), (32, 3, 3, 32)))
    general = "direct" if backend == "cython" else "im2col"
    by_method = {method: F.conv2d(x, w, method=method).numpy().tobytes() for method in ("winograd", general)}
    assert dl.get_precision() == "fast"
    assert F.conv2d(x, w).numpy().tobytes() == by_method["winograd"]
    dl.set_precision("exact")
    try:
        assert F.conv2d(x, w).numpy().tobytes() == by_method[general]
        with pytest.raises(ValueError, match="'fast' or 'exact', got 'half'"):
            dl.set_precision("half")
        assert dl.get_precision() == "exact"
    finally:
        dl.set_precision("fast")


def test_a_method_that_does_not_fit_raises():
    x, w = np.zeros((1, 8, 8, 4), np.float32), np.zeros((4, 3, 3, 4), np.float32)
    with pytest.raises(ValueError, match="'winograd' needs a kernel of 3, 4 or 5 strides a side"):
        F.conv2d(x, w, stride=2, method="winograd")
    with pytest.raises(ValueError, match="method must be one of 'auto', 'im2col'"):
        F.conv2d(x, w, method="fft")
    with dl.use_backend("reference"), pytest.raises(ValueError, match="has the methods im2col"):
        F.conv2d(x, w, method="winograd")
