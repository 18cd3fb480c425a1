"""The elementary functions that kernels compute in vectors: their errors, as their files state them."""

import math

import numpy as np
import pytest
from isas import each_isa

from dlfast import kernels

np_erfc = np.vectorize(math.erfc, otypes=[float])


def samples(dtype, low=-40.0, high=40.0):
    """Ordinary arguments, tiny ones, both signs, zeros."""
    rng = np.random.default_rng(0)
    tiny = 10.0 ** rng.uniform(-30, 0, 3000) * rng.choice([-1, 1], 3000)
    x = np.concatenate([rng.uniform(low, high, 20000), rng.standard_normal(20000), tiny, [0.0, -0.0]])
    return x.astype(dtype)


def worst(got, truth):
    """The largest error in units of the last place, results below the normal range left out."""
    normal = np.abs(truth) > np.finfo(got.dtype).tiny
    unit = np.spacing(np.abs(truth[normal]).astype(got.dtype)).astype(truth.dtype)
    return float((np.abs(got[normal] - truth[normal]) / unit).max())


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def phi(x):
    return 0.5 * np_erfc(-x * math.sqrt(0.5))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("name", "truth", "ulps", "range"),
    [
        ("exp_negative", np.exp, 1.1, (-87, 0)),
        ("expm1_negative", np.expm1, 1.1, (-40, 0)),
        ("log1p_exp", lambda x: np.log1p(np.exp(-np.abs(x))), 1.9, (-40, 40)),
        ("softplus", softplus, 1.9, (-40, 40)),
        ("sigmoid", sigmoid, 2.5, (-80, 40)),
        ("tanh", np.tanh, 2.5, (-20, 20)),
    ],
)
def test_numba(name, truth, ulps, range, dtype):
    vmath = pytest.importorskip("dlfast.kernels.numba.vmath")
    loops = pytest.importorskip("dlfast.kernels.numba.loops")
    x = samples(dtype, *range)
    x = -np.abs(x) if range[1] == 0 else x
    got = loops.mapped(getattr(vmath, name))(x)
    assert worst(got, truth(x.astype(np.longdouble))) <= ulps


@pytest.mark.parametrize("backend", each_isa([name for name in ("numba", "cython") if kernels.built(name)]))
def test_normal(backend):
    """The normal distribution function, by way of GELU, which multiplies it with x."""
    x = samples("float32", -13, 8)
    y, _ = kernels.pair("gelu", backend)[0](x, approximate="none")
    assert worst(y, x.astype(float) * phi(x.astype(float))) <= 6


@pytest.mark.skipif(not kernels.built("cython"), reason="not built")
@pytest.mark.parametrize(
    ("op", "truth", "ulps"), [("sigmoid", sigmoid, 3), ("tanh", np.tanh, 3), ("softplus", softplus, 4)]
)
@pytest.mark.usefixtures("isa")
def test_cython(op, truth, ulps):
    x = samples("float32", -80, 40)
    options = {"beta": 1.0, "threshold": math.inf} if op == "softplus" else {}
    got, _ = kernels.pair(op, "cython")[0](x, **options)
    assert worst(got, truth(x.astype(np.longdouble))) <= ulps


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_limits(dtype):
    vmath = pytest.importorskip("dlfast.kernels.numba.vmath")
    loops = pytest.importorskip("dlfast.kernels.numba.loops")
    x = np.array([-math.inf, -1e5, -math.nan, 0], dtype)
    np.testing.assert_array_equal(loops.mapped(vmath.exp_negative)(x), np.array([0, 0, math.nan, 1], dtype))
