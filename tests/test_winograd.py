"""Winograd's method for every size of tile, with and without stride: rounding errors, NaN, who uses it."""

from importlib import import_module

import numpy as np
import pytest
from isas import each_isa

import dlfast as dl
from dlfast import functional as F
from dlfast import kernels, nn
from dlfast.kernels.conv_methods import Abilities, Geometry, choose, unfit

BACKENDS = [name for name in ("numba", "cython") if name in kernels.backends_of("conv2d")]
# kernel, stride, padding: of 3, 4 and 5 taps for each phase
KINDS = [(3, 1, 1), (4, 1, 2), (5, 1, 2), (11, 4, 2), (7, 2, 3), (9, 2, 4)]


def can_do(backend):
    return KINDS[:1] if import_module(f"dlfast.kernels.{backend}.conv").ABILITIES.only_3x3 else KINDS


@pytest.fixture(params=[(backend, kind) for backend in each_isa(BACKENDS) for kind in can_do(backend)], ids=str)
def kind(request):
    backend, kind = request.param
    with dl.use_backend(backend, "reference"):
        yield kind


@pytest.mark.parametrize("offset", [0, 100])
@pytest.mark.parametrize("scale", [1e-20, 1, 1e15])
def test_errors_are_bounded(scale, offset, kind):
    """Whatever the range of the values, |error| <= 64 eps max|x| max over k of sum|w| in y, and so in the gradients.

    For dx it is max|dy| and the sum over the weights of a channel, for dweight max|x| and the sum of |dy|.
    """
    size, stride, padding = kind
    rng = np.random.default_rng(size)
    x = ((rng.standard_normal((2, 21, 22, 12)) + offset) * scale).astype(np.float32)
    w = rng.standard_normal((24, size, size, 12)).astype(np.float32)
    y, dx, dw = gradients(x, w, stride, padding, "winograd")
    wide = gradients(x.astype(np.float64), w.astype(np.float64), stride, padding, "im2col")
    dy = gradient_of(y)
    unit = 64 * np.finfo(np.float32).eps
    bounds = {
        "y": np.abs(x).max() * np.abs(w).sum(axis=(1, 2, 3)).max(),
        "dx": np.abs(dy).max() * np.abs(w).sum(axis=(0, 1, 2)).max(),
        "dw": np.abs(x).max() * np.abs(dy).sum(axis=(0, 1, 2)).max(),
    }
    for (name, bound), got, truth in zip(bounds.items(), (y, dx, dw), wide, strict=True):
        assert np.abs(got - truth).max() <= unit * bound, name


def gradient_of(y):
    return np.random.default_rng(5).standard_normal(y.shape).astype(y.dtype)


def gradients(x, w, stride, padding, method):
    x, w = dl.Tensor(x, requires_grad=True), dl.Tensor(w, requires_grad=True)
    y = F.conv2d(x, w, stride=stride, padding=padding, method=method)
    y.backward(gradient_of(y.numpy().astype(np.float32)).astype(y.dtype))
    return y.numpy(), x.grad, w.grad


def test_nan_reaches_what_reads_it_only(kind):
    """As im2col has it; other outputs may differ in their last digits, for im2col makes them then."""
    size, stride, padding = kind
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(shape).astype(np.float32) for shape in ((1, 40, 41, 8), (8, size, size, 8)))
    options = {"stride": stride, "padding": padding}
    clean = F.conv2d(x, w, method="winograd", **options).numpy()
    x[0, 17, 18, 3] = np.nan
    y, exact = (F.conv2d(x, w, method=method, **options).numpy() for method in ("winograd", "im2col"))
    np.testing.assert_array_equal(np.isnan(y), np.isnan(exact))
    np.testing.assert_allclose(np.where(np.isnan(y), clean, y), clean, atol=1e-3)


def test_same_bits_for_any_number_of_threads(kind):
    size, stride, padding = kind
    rng = np.random.default_rng(3)
    x, w = (rng.standard_normal(shape).astype(np.float32) for shape in ((6, 61, 58, 9), (40, size, size, 9)))
    before, found = dl.get_num_threads(), []
    try:
        for count in (1, 2, 4):
            dl.set_num_threads(count)
            found.append([array.tobytes() for array in gradients(x, w, stride, padding, "winograd")])
    finally:
        dl.set_num_threads(before)
    assert found[0] == found[1] == found[2]


def chosen(passing, image, kernel, stride=1, padding=0, method="auto", only_3x3=False):
    geometry = Geometry((stride, stride), (padding,) * 4, (1, 1), 1)
    return choose(passing, image, kernel, geometry, method, Abilities(only_3x3=only_3x3))


@pytest.mark.parametrize("passing", ["forward", "dx", "dweight"])
def test_it_is_chosen_where_it_saves_multiplications(passing):
    image, alexnet = (8, 27, 27, 64), ((8, 224, 224, 3), (64, 11, 11, 3), 4, 2)
    assert chosen(passing, image, (192, 5, 5, 64), 1, 2).method == "winograd"
    assert chosen(passing, image, (192, 5, 5, 64), 1, 2, "exact").method == "im2col"
    assert chosen(passing, image, (192, 5, 5, 64), 1, 2, only_3x3=True).method == "im2col"
    assert chosen(passing, (8, 27, 27, 3), (192, 5, 5, 3), 1, 2).method == "direct"
    found = chosen(passing, *alexnet)
    assert found.method == "winograd"
    saving = "2.8" if passing == "dx" else "3.2"  # the phases are more pixels than y
    assert found.why == f"F(4x4, 3x3), 48 channels of phases: {saving} times fewer multiplications"
    assert chosen(passing, *alexnet, "exact").method == "direct"
    assert chosen(passing, *alexnet, only_3x3=True).method == "direct"
    assert chosen(passing, (8, 56, 56, 64), (64, 3, 3, 64), 2, 1).method == "im2col"  # phases of 2 x 2
    assert chosen(passing, (8, 224, 224, 3), (64, 7, 7, 3), 2, 3).method == "winograd"
    assert chosen(passing, (8, 28, 28, 1), (64, 7, 7, 1), 2, 3).method == "direct"  # 4 channels of phases
    assert chosen(passing, (8, 28, 28, 2), (64, 7, 7, 2), 2, 3).method == "direct"  # 8: transforms cost too much
    assert chosen(passing, (1, 7, 7, 64), (64, 5, 5, 64)).method == "im2col"  # a tile and a half


def test_what_it_cannot_do():
    plain = Geometry((1, 1), (0,) * 4, (1, 1), 1)
    twice = plain._replace(stride=(2, 2))
    assert [n for n in range(1, 9) if unfit("winograd", "forward", (8, n, n, 8), plain) is None] == [3, 4, 5]
    assert [n for n in range(1, 14) if unfit("winograd", "dx", (8, n, n, 8), twice) is None] == [5, 6, 7, 8, 9, 10]
    for geometry in (plain._replace(dilation=(2, 2)), plain._replace(groups=2), plain._replace(stride=(1, 2))):
        assert "dilation 1 and groups 1" in unfit("winograd", "forward", (8, 5, 5, 8), geometry)
    assert "3 x 3 kernel with stride 1" in unfit("winograd", "forward", (8, 5, 5, 8), plain, Abilities(only_3x3=True))


def test_only_tiles_of_4_x_4_hold_windows():
    x, w = (np.random.default_rng(0).standard_normal(s).astype(np.float32) for s in ((2, 12, 12, 32), (32, 5, 5, 32)))
    pooled = F.conv2d_max_pool2d(x, w, method="winograd").numpy()
    np.testing.assert_array_equal(pooled, F.max_pool2d(F.conv2d(x, w, method="winograd"), 2).numpy())


def test_explain_says_what_runs():
    model = nn.Sequential(nn.Conv2d(3, 64, 11, stride=4, padding=2))
    for backend in BACKENDS:
        with dl.use_backend(backend, "reference"):
            (row,) = dl.explain(model, (4, 64, 64, 3)).rows
        method = "direct" if can_do(backend) != KINDS else "winograd"
        assert (row.forward, row.dweight) == (method, method)


@pytest.mark.skipif("numba" not in BACKENDS, reason="needs Numba")
def test_a_backend_for_3x3_only_says_so():
    x, w = np.zeros((1, 8, 8, 4), np.float32), np.zeros((4, 5, 5, 4), np.float32)
    with dl.use_backend("numba"), pytest.raises(ValueError, match="needs a 3 x 3 kernel with stride 1"):
        F.conv2d(x, w, method="winograd")
