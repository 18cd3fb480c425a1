"""Initial values: limits and variances of the formulas, in place, reproducible."""

import math

import numpy as np
import pytest

import dlfast as dl
from dlfast import init, nn
from dlfast.tensor import Tensor

SHAPES = [((300, 200), 200, 300), ((64, 3, 5, 32), 3 * 5 * 32, 64 * 3 * 5)]  # shape, fan_in, fan_out


def make(shape):
    return nn.Parameter(np.full(shape, np.nan, np.float32))


@pytest.fixture(autouse=True)
def _seed():
    dl.manual_seed(0)


def assert_uniform(data, limit):
    assert np.abs(data).max() <= limit * (1 + 1e-6)
    assert np.abs(data).max() > 0.99 * limit
    assert data.mean() == pytest.approx(0, abs=0.02 * limit)
    assert data.var() == pytest.approx(limit**2 / 3, rel=0.03)


def assert_normal(data, std):
    assert data.mean() == pytest.approx(0, abs=0.03 * std)
    assert data.var() == pytest.approx(std**2, rel=0.03)
    assert np.abs(data).max() > 3 * std
    assert (data**4).mean() / data.var() ** 2 == pytest.approx(3, rel=0.1)  # a uniform one has 1.8


@pytest.mark.parametrize(("shape", "fan_in", "fan_out"), SHAPES)
def test_formulas(shape, fan_in, fan_out):
    assert_uniform(init.xavier_uniform_(make(shape)).data, math.sqrt(6 / (fan_in + fan_out)))
    assert_uniform(init.xavier_uniform_(make(shape), gain=2).data, 2 * math.sqrt(6 / (fan_in + fan_out)))
    assert_normal(init.xavier_normal_(make(shape)).data, math.sqrt(2 / (fan_in + fan_out)))
    assert_normal(init.he_normal_(make(shape)).data, math.sqrt(2 / fan_in))
    assert_normal(init.kaiming_normal_(make(shape), mode="fan_out").data, math.sqrt(2 / fan_out))
    assert_normal(init.kaiming_normal_(make(shape), nonlinearity="tanh").data, 5 / 3 / math.sqrt(fan_in))
    assert_uniform(init.he_uniform_(make(shape), nonlinearity="relu").data, math.sqrt(6 / fan_in))
    assert_uniform(init.kaiming_uniform_(make(shape), a=math.sqrt(5)).data, 1 / math.sqrt(fan_in))


def test_aliases():
    assert init.he_normal_ is init.kaiming_normal_
    assert init.he_uniform_ is init.kaiming_uniform_
    assert init.glorot_uniform_ is init.xavier_uniform_
    assert init.glorot_normal_ is init.xavier_normal_


@pytest.mark.parametrize("bounds", [(-2.0, 2.0), (0.0, 1.0), (-0.1, 9.0), (3.0, 4.0), (-9.0, -4.0), (2.5, math.inf)])
def test_truncated_normal(bounds):
    """Mean and variance of the truncated density, by numerical integration."""
    low, high = bounds
    z = np.linspace(low, min(high, 12), 20001)
    density = np.exp(-(z**2) / 2)
    mean = (z * density).sum() / density.sum()
    variance = ((z - mean) ** 2 * density).sum() / density.sum()
    w = init.trunc_normal_(make((300, 200)), 5.0, 0.5, 5 + 0.5 * low, 5 + 0.5 * high).data
    assert w.min() >= np.float32(5 + 0.5 * low)
    assert w.max() <= 5 + 0.5 * high
    assert w.mean() == pytest.approx(5 + 0.5 * mean, abs=0.01 * math.sqrt(variance))
    assert w.var() == pytest.approx(0.25 * variance, rel=0.03)


def test_identities():
    np.testing.assert_array_equal(init.eye_(make((3, 5))).data, np.eye(3, 5))
    x = np.random.default_rng(0).normal(size=(2, 5, 6, 4)).astype(np.float32)
    for groups in (1, 2, 4):
        layer = nn.Conv2d(4, 4, 3, padding="same", groups=groups, bias=False)
        init.dirac_(layer.weight, groups)
        np.testing.assert_array_equal(layer(x).data, x)
    w = init.dirac_(make((6, 1, 2, 2)), 2).data
    assert w.sum() == 4
    assert (w[0, 0, 1, 0], w[1, 0, 1, 1], w[3, 0, 1, 0]) == (1, 1, 1)


def test_sparse():
    w = init.sparse_(make((40, 30)), 0.33, 2.0).data
    np.testing.assert_array_equal((w == 0).sum(0), np.full(30, 14))
    assert w[w != 0].std() == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: init.trunc_normal_(make((2, 2)), a=1, b=1), "a must be below b"),
        (lambda: init.trunc_normal_(make((2, 2)), std=0), "std must be"),
        (lambda: init.eye_(make(3)), "eye_: tensor must have two axes"),
        (lambda: init.dirac_(make((3, 3))), "dirac_: tensor must be"),
        (lambda: init.dirac_(make((3, 3, 3)), 2), "K a multiple of 2"),
        (lambda: init.sparse_(make((2, 2)), 1.5), "sparsity must be"),
    ],
)
def test_names_a_bad_option(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("shape", [(5, 5), (3, 8), (8, 3), (6, 2, 2, 4)])
def test_orthogonal(shape):
    w = init.orthogonal_(make(shape), gain=2).data.reshape(shape[0], -1)
    small = w @ w.T if len(w) <= w.shape[1] else w.T @ w
    np.testing.assert_allclose(small, 4 * np.eye(len(small)), atol=1e-5)


def test_plain_fills_are_in_place():
    p = make((2, 3))
    storage = p.data
    for fill, value in ((init.zeros_, 0), (init.ones_, 1), (lambda t: init.constant_(t, 2.5), 2.5)):
        assert fill(p) is p
        assert p.data is storage
        np.testing.assert_array_equal(storage, value)
    assert_normal(init.normal_(make((300, 300)), 0, 0.5).data, 0.5)
    data = init.uniform_(make((300, 300)), 1, 3).data
    assert data.min() >= 1
    assert data.max() <= 3
    assert data.mean() == pytest.approx(2, abs=0.01)


def test_arrays_and_tensors_are_filled_too():
    array, tensor = np.ones(3), Tensor([1.0])
    assert init.zeros_(array) is array
    assert array.sum() == 0
    assert init.zeros_(tensor).data == 0


def test_seed():
    first = init.normal_(make((4, 4))).data
    dl.manual_seed(0)
    np.testing.assert_array_equal(init.normal_(make((4, 4))).data, first)


def test_gains():
    assert init.calculate_gain("linear") == 1
    assert init.calculate_gain("relu") == pytest.approx(math.sqrt(2))
    assert init.calculate_gain("leaky_relu", 0.2) == pytest.approx(math.sqrt(2 / 1.04))


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"xavier_uniform_: tensor must have at least two axes.*got shape \(3,\)"):
        init.xavier_uniform_(make((3,)))
    with pytest.raises(ValueError, match="mode must be one of 'fan_in', 'fan_out'"):
        init.he_normal_(make((3, 3)), mode="fan")
    with pytest.raises(ValueError, match="nonlinearity must be one of"):
        init.he_normal_(make((3, 3)), nonlinearity="swish")
    with pytest.raises(ValueError, match="low must not be above high"):
        init.uniform_(make((3, 3)), 1, 0)
    with pytest.raises(ValueError, match="std must be in"):
        init.normal_(make((3, 3)), 0, -1)
    with pytest.raises(TypeError, match="zeros_: tensor must be a Tensor or array of floats, got list"):
        init.zeros_([1.0])
    with pytest.raises(TypeError, match="array of floats"):
        init.ones_(np.array([1]))
