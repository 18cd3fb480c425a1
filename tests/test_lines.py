"""Convolution to few channels with average-pooling (lines.h): what the table of cases cannot say."""

import numpy as np
import pytest

import dlfast as dl
from dlfast import functional as F
from dlfast import kernels, nn
from dlfast.kernels.conv_methods import Geometry
from dlfast.kernels.conv_plan import plan
from dlfast.tensor import Tensor

cython = pytest.mark.skipif(not kernels.built("cython"), reason="the Cython extensions are not built")


def planned(image, kernel, padding, activation):
    geometry = Geometry((1, 1), (padding,) * 4, (1, 1), 1)
    return plan(image, kernel, geometry, activation, "direct", (2, 2), True)


def drawn(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@cython
@pytest.mark.usefixtures("isa")
@np.errstate(invalid="ignore")
@pytest.mark.parametrize("width", range(16, 34))
def test_an_infinite_pixel_reaches_the_taps_that_see_it_and_no_others(width):
    """Rows of dz are filled up with zeros, which must not meet it."""
    for column in (0, width // 2, width - 2, width - 1):
        x = drawn(0, 1, 6, width, 1)
        x[0, 3, column] = np.inf
        gradients = []
        for backend in ("reference", "cython"):
            forward, backward = kernels.pair("conv2d_avg_pool2d", backend)
            how = planned(x.shape, (6, 3, 5, 1), 0, None)
            y, saved = forward(x, drawn(1, 6, 3, 5, 1), drawn(2, 6), plan=how)
            gradients.append(backward(drawn(3, *y.shape), saved, (False, True, True))[1])
        np.testing.assert_array_equal(np.isfinite(gradients[1]), np.isfinite(gradients[0]))


@cython
@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize(("channels", "outputs"), [(1, 1), (1, 3), (1, 4), (1, 6), (3, 6), (6, 16)])
@pytest.mark.parametrize("activation", [None, "relu", "sigmoid", "tanh"])
def test_the_means_have_the_bits_of_the_two_operations(channels, outputs, activation):
    with dl.use_backend("cython"):
        x, weight, bias = drawn(0, 3, 17, 22, channels), drawn(1, outputs, 3, 3, channels), drawn(2, outputs)
        both = F.conv2d_avg_pool2d(x, weight, bias, padding=1, activation=activation, method="direct").numpy()
        a = F.conv2d(x, weight, bias, padding=1, activation=activation, method="direct")
        np.testing.assert_array_equal(both, F.avg_pool2d(a, 2).numpy())


@cython
@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("batch", [0, 1, 2, 7, 33])
def test_bits_do_not_depend_on_threads(batch):
    x, weight, bias = drawn(0, batch, 28, 28, 1), drawn(1, 6, 5, 5, 1), drawn(2, 6)
    forward, backward = kernels.pair("conv2d_avg_pool2d", "cython")
    found = []
    before = dl.get_num_threads()
    try:
        for threads in (1, 2, 4):
            dl.set_num_threads(threads)
            y, saved = forward(x, weight, bias, plan=planned(x.shape, weight.shape, 1, "tanh"))
            found.append((y, *backward(drawn(3, *y.shape), saved, (True, True, True))))
    finally:
        dl.set_num_threads(before)
    for other in found[1:]:
        for one, same in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(one, same)


def test_lenet_runs_its_convolutions_with_the_means_behind_them():
    with kernels.watch() as calls:
        dl.models.lenet5()(drawn(0, 2, 28, 28, 1))
    assert [call.op for call in calls] == ["conv2d_avg_pool2d"] * 2 + ["linear"] * 3 or calls[0].backend != "cython"


def test_a_window_larger_than_the_convolution_is_refused():
    with pytest.raises(ValueError, match=r"conv2d_avg_pool2d: pool_size \(3, 3\) is larger than the 2 x 2 pixels"):
        F.conv2d_avg_pool2d(drawn(0, 1, 4, 4, 1), drawn(1, 1, 3, 3, 1), pool_size=3)


def test_a_derived_pooling_is_not_taken_over():
    class Doubled(nn.AvgPool2d):
        def forward(self, x):
            return super().forward(x) + super().forward(x)

    conv = nn.Conv2d(1, 6, 3)
    x = drawn(0, 1, 20, 20, 1)
    y = nn.Sequential(conv, nn.Tanh(), Doubled(2))(Tensor(x)).numpy()
    np.testing.assert_allclose(y, 2 * F.avg_pool2d(F.tanh(conv(x)), 2).numpy(), rtol=1e-5)
