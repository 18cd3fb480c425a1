"""Batch normalisation with what it can take into its passes: an activation, and the sum of a residual block."""

import copy

import numpy as np
import pytest

from dlfast import functional as F
from dlfast import kernels, nn
from dlfast.tensor import Tensor


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def results(layer, x, dy):
    """Output and every gradient."""
    x = Tensor(x, requires_grad=True)
    layer.zero_grad()
    y = layer(x)
    y.backward(dy)
    return [y.data, x.grad, *(p.grad for p in layer.parameters())]


def ops_of(layer, x):
    with kernels.watch() as calls:
        layer(x)
    return [(call.op, call.options.get("activation"), len(call.shapes) > 3 and bool(call.shapes[3])) for call in calls]


class Apart(nn.Module):
    """The modules of a Sequential or Residual, one after the other, nothing fused."""

    def __init__(self, block):
        self.block = block

    def forward(self, x):
        y = x
        for module in self.block:
            y = module(y)
        if isinstance(self.block, nn.Residual):
            short = x if self.block.shortcut is None else self.block.shortcut(x)
            y = short + y
            y = y if self.block.activation is None else getattr(F, self.block.activation)(y)
        return y


BLOCKS = [
    nn.Sequential(nn.BatchNorm2d(5), nn.ReLU()),
    nn.Sequential(nn.BatchNorm2d(5), nn.Tanh()),
    nn.Sequential(nn.Conv2d(5, 5, 3, padding=1, bias=False), nn.BatchNorm2d(5), nn.ReLU(), nn.MaxPool2d(2)),
    nn.Residual(nn.Conv2d(5, 5, 3, padding=1), nn.BatchNorm2d(5)),
    nn.Residual(nn.Conv2d(5, 5, 3, padding=1), nn.BatchNorm2d(5), activation="relu"),
    nn.Residual(nn.Conv2d(5, 5, 1), nn.BatchNorm2d(5), shortcut=nn.BatchNorm2d(5), activation="sigmoid"),
    nn.Residual(nn.BatchNorm2d(5), activation="relu"),
    nn.Residual(nn.BatchNorm2d(5), nn.ReLU(), activation="relu"),
    nn.Residual(nn.BatchNorm2d(5, activation="relu"), activation="relu"),
]


@pytest.mark.parametrize("backend", kernels.backends_of("batch_norm"))
@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: repr(block).replace("\n", ""))
@pytest.mark.parametrize("training", [True, False])
def test_fused_is_what_the_parts_give(block, training, backend):
    block = copy.deepcopy(block).train(training)
    x = normal(3, 6, 4, 5)
    with kernels.use_backend(backend, "reference"):
        apart = Apart(copy.deepcopy(block)).train(training)
        dy = normal(*block(x).shape, seed=1)
        fused = results(copy.deepcopy(block), x, dy)
        for got, wanted in zip(fused, results(apart, x, dy), strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6 * np.abs(wanted).max())


def test_what_is_fused():
    x = normal(2, 4, 4, 3)
    norm = nn.BatchNorm2d(3)
    assert ops_of(nn.Sequential(norm, nn.ReLU()), x) == [("batch_norm", "relu", False)]
    assert ops_of(nn.Residual(nn.Tanh(), norm, activation="relu"), x)[-1] == ("batch_norm", "relu", True)
    assert [op for op, *_ in ops_of(nn.Sequential(norm, nn.ReLU(), nn.MaxPool2d(2)), x)] == ["batch_norm", "max_pool2d"]
    own = nn.BatchNorm2d(3, activation="tanh")
    assert [op for op, *_ in ops_of(nn.Sequential(own, nn.ReLU()), x)] == ["batch_norm", "relu"]

    class Other(nn.BatchNorm2d):
        def forward(self, x):
            return super().forward(x)

    assert [op for op, *_ in ops_of(nn.Sequential(Other(3), nn.ReLU()), x)] == ["batch_norm", "relu"]
    assert ops_of(nn.Residual(nn.Tanh(), Other(3), activation="relu"), x)[-1][0] == "relu"


def test_a_residual_still_says_what_does_not_fit():
    block = nn.Residual(nn.Linear(3, 4), nn.BatchNorm1d(4), activation="relu")
    with pytest.raises(ValueError, match=r"Residual: x has shape \(5, 3\) and f\(x\) \(5, 4\)"):
        block(normal(5, 3))


def test_arguments():
    x = normal(4, 3)
    with pytest.raises(ValueError, match=r"batch_norm: residual must have shape \(4, 3\) like x, got \(3,\)"):
        F.batch_norm(x, training=True, residual=np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="batch_norm: activation must be one of"):
        F.batch_norm(x, training=True, activation="elu")
    with pytest.raises(ValueError, match="BatchNorm1d: activation must be one of"):
        nn.BatchNorm1d(3, activation="gelu")
    with pytest.raises(TypeError, match="batch_norm: residual"):
        F.batch_norm(x, training=True, residual=np.zeros((4, 3)))
    assert repr(nn.BatchNorm1d(3, activation="relu")).endswith("activation='relu')")


@pytest.mark.parametrize("backend", [name for name in kernels.backends_of("batch_norm") if name != "reference"])
@pytest.mark.parametrize("offset", [1e3, 1e5])
def test_statistics_of_data_far_from_0(backend, offset):
    """The variance of float32 data keeps its digits at an offset that leaves the data theirs; the first row is far."""
    x = (np.float32(offset) + np.random.default_rng(0).integers(-8, 9, (5000, 3))).astype(np.float32)
    x[0] = 0
    with kernels.use_backend(backend):
        _, saved = kernels.active("batch_norm")[0](x, None, None, None, None, None, eps=1e-5, activation=None)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(saved[3], wide.mean(0), rtol=1e-6)
    np.testing.assert_allclose(saved[4], wide.var(0), rtol=1e-5)
