"""Activations beyond the usual ones: PyTorch's values and gradients, limits, layers, errors."""

import math

import numpy as np
import pytest
from peers import needs_torch, torch

from dlfast import Tensor, nn
from dlfast import functional as F

X = np.concatenate([np.linspace(-8, 8, 63), [-100.0, 100.0, -1e4, 1e4, 0.3, -0.3]]).reshape(3, 23)

CALLS = {
    "hardtanh": lambda f, x: f.hardtanh(x),
    "hardtanh, bounds": lambda f, x: f.hardtanh(x, -2.0, 0.5),
    "relu6": lambda f, x: f.relu6(x),
    "hardsigmoid": lambda f, x: f.hardsigmoid(x),
    "selu": lambda f, x: f.selu(x),
    "celu": lambda f, x: f.celu(x, 0.6),
    "mish": lambda f, x: f.mish(x),
    "softsign": lambda f, x: f.softsign(x),
    "logsigmoid": lambda f, x: f.logsigmoid(x),
    "threshold": lambda f, x: f.threshold(x, 0.1, 20.0),
    "hardshrink": lambda f, x: f.hardshrink(x, 0.4),
    "softshrink": lambda f, x: f.softshrink(x, 0.4),
    "tanhshrink": lambda f, x: f.tanhshrink(x),
    "softmin": lambda f, x: f.softmin(x, dim=1),
    "glu": lambda f, x: f.glu(x[:, 1:], dim=-1),
    "glu, first axis": lambda f, x: f.glu(x[1:], dim=0),
}


@needs_torch
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_follows_pytorch(call, dtype):
    x = X.astype(dtype)
    ours, theirs = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, z = call(F, ours), call(torch.nn.functional, theirs)
    # PyTorch has 1/6 and 1/alpha in float32 in the derivatives of these two.
    tolerance = 1e-6 if dtype == "float32" or call in (CALLS["hardsigmoid"], CALLS["celu"]) else 1e-12
    np.testing.assert_allclose(y.data, z.detach().numpy(), rtol=tolerance, atol=tolerance)
    gradient = np.random.default_rng(0).normal(size=y.shape).astype(dtype)
    y.backward(gradient)
    z.backward(torch.from_numpy(gradient))
    np.testing.assert_allclose(ours.grad, theirs.grad.numpy(), rtol=tolerance, atol=tolerance)


@needs_torch
@pytest.mark.parametrize("channels", [1, 5])
def test_prelu_follows_pytorch_whose_channels_are_second(channels):
    rng = np.random.default_rng(0)
    x, w, g = rng.normal(size=(2, 3, 4, 5)), rng.uniform(0.1, 0.5, channels), rng.normal(size=(2, 3, 4, 5))
    first = (0, 3, 1, 2)
    ours, theirs = nn.PReLU(channels).to(np.float64), torch.nn.PReLU(channels).double()
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    ours.load_state_dict({"weight": w})
    theirs.load_state_dict({"weight": torch.from_numpy(w)})
    a, b = Tensor(x, requires_grad=True), torch.tensor(x.transpose(first), requires_grad=True)
    y, z = ours(a), theirs(b)
    y.backward(g)
    z.backward(torch.from_numpy(g.transpose(first)))
    np.testing.assert_allclose(y.data.transpose(first), z.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(a.grad.transpose(first), b.grad.numpy(), rtol=1e-12)
    np.testing.assert_allclose(ours.weight.grad, theirs.weight.grad.numpy(), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_limits_at_infinity(dtype):
    x = np.array([-np.inf, np.inf, np.nan], dtype)
    limits = {
        F.relu6: (0, 6),
        F.hardtanh: (-1, 1),
        F.hardsigmoid: (0, 1),
        F.celu: (-1, np.inf),
        F.mish: (0, np.inf),
        F.softsign: (-1, 1),
        F.logsigmoid: (-np.inf, 0),
        F.hardshrink: (-np.inf, np.inf),
        F.softshrink: (-np.inf, np.inf),
    }
    for function, (low, high) in limits.items():
        t = Tensor(x, requires_grad=True)
        y = function(t)
        np.testing.assert_array_equal(y.data, np.array([low, high, np.nan], dtype), str(function))
        y.backward(np.ones(3, dtype))
        assert np.isfinite(t.grad[:2]).all(), function


def test_selu_keeps_mean_and_variance():
    x = np.random.default_rng(0).normal(size=200000)
    y = F.selu(x).data
    assert y.mean() == pytest.approx(0, abs=0.01)
    assert y.var() == pytest.approx(1, abs=0.02)


def test_derivative_of_elu_is_its_value_plus_alpha():
    x = Tensor(np.linspace(-5, 0, 20), requires_grad=True)
    y = F.elu(x, 0.7)
    y.sum().backward()
    np.testing.assert_allclose(x.grad, y.data + 0.7)


@pytest.mark.parametrize("layer", [nn.ReLU6, nn.Hardtanh, nn.Hardsigmoid, nn.SELU, nn.CELU, nn.Mish])
def test_inplace_layers_change_what_they_are_given(layer):
    x = Tensor(X, requires_grad=True) * 1
    expected = layer()(x).data
    assert layer(inplace=True)(x) is x
    np.testing.assert_array_equal(x.data, expected)
    assert "inplace=True" in repr(layer(inplace=True))


BAD = [
    (lambda: F.hardtanh(X, 1, 1), ValueError, "min_val must be below max_val"),
    (lambda: nn.Hardtanh(2, 1), ValueError, "min_val must be below max_val"),
    (lambda: F.celu(X, 0), ValueError, "celu: alpha must be"),
    (lambda: F.softshrink(X, -1), ValueError, "softshrink: lambd must be"),
    (lambda: nn.Threshold("0", 1), TypeError, "threshold must be a number"),
    (lambda: F.glu(X), ValueError, "glu: axis -1 of x .3, 23. must have an even length"),
    (lambda: F.prelu(X, np.ones(3)), ValueError, "prelu: weight must have shape .1,. or that of the last axis"),
    (lambda: nn.PReLU(0), ValueError, "num_parameters must be"),
    (lambda: F.mish(np.arange(3)), TypeError, "mish: x must be"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_names_what_is_wrong(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_mish_is_accurate_where_it_is_small():
    for x in (-20.0, -3.0, -1e-3, 1e-3, 5.0, 30.0):
        wanted = x * math.tanh(math.log1p(math.exp(x)))
        assert F.mish(np.array([x])).item() == pytest.approx(wanted, rel=1e-13)
