"""Padding from within, convolutions with it, and channels for pixels: PyTorch's values and gradients, NumPy's pads."""

import numpy as np
import pytest
from peers import needs_torch, torch

from dlfast import Tensor, nn
from dlfast import functional as F

RNG = np.random.default_rng(0)
MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap", "constant": "constant"}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("widths", [[(0, 0), (1, 2), (3, 0)], [(1, 1), (0, 0), (0, 2)], [(0, 0)] * 3])
def test_pad_is_numpys(mode, widths):
    x = RNG.normal(size=(2, 3, 4)).astype(np.float32)
    y = F.pad(x, widths, mode=mode)
    np.testing.assert_array_equal(y.data, np.pad(x, widths, MODES[mode]))
    assert y.dtype == np.float32
    assert y.data.flags.c_contiguous


def nchw(x):
    return torch.tensor(np.ascontiguousarray(np.moveaxis(x, -1, 1)))


def nhwc(t):
    return np.moveaxis(t.detach().numpy(), 1, -1)


LAYERS = [
    *((f"{kind}Pad2d", (2,)) for kind in ("Zero", "Reflection", "Replication", "Circular")),
    *((f"{kind}Pad2d", ((3, 0, 1, 2),)) for kind in ("Zero", "Reflection", "Replication", "Circular")),
    *((f"{kind}Pad1d", ((3, 1),)) for kind in ("Zero", "Reflection", "Replication", "Circular")),
    ("ConstantPad2d", ((1, 2, 0, 1), 0.5)),
    ("ConstantPad1d", (2, -1.5)),
    ("PixelShuffle", (2,)),
    ("PixelUnshuffle", (2,)),
]


@needs_torch
@pytest.mark.parametrize(("name", "options"), LAYERS, ids=str)
def test_layers_follow_pytorch(name, options):
    x = RNG.normal(size=(2, 6, 8) if "1d" in name else (2, 4, 6, 8))
    ours, theirs = Tensor(x, requires_grad=True), nchw(x).requires_grad_()
    y, z = getattr(nn, name)(*options)(ours), getattr(torch.nn, name)(*options)(theirs)
    np.testing.assert_array_equal(y.data, nhwc(z))
    gradient = RNG.normal(size=y.shape)
    y.backward(gradient)
    z.backward(nchw(gradient))
    np.testing.assert_allclose(ours.grad, nhwc(theirs.grad), rtol=1e-12)


@needs_torch
@pytest.mark.parametrize("padding", [1, "same"])
@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("rank", [1, 2])
def test_convolutions_follow_pytorch(rank, mode, padding):
    kinds = (nn.Conv1d, torch.nn.Conv1d) if rank == 1 else (nn.Conv2d, torch.nn.Conv2d)
    ours, theirs = (kind(3, 4, 3, padding=padding, padding_mode=mode) for kind in kinds)
    theirs.weight.data = nchw(ours.weight.data)
    theirs.bias.data = torch.tensor(ours.bias.data)
    x = RNG.normal(size=(2, 5, 3) if rank == 1 else (2, 5, 6, 3)).astype(np.float32)
    a, b = Tensor(x, requires_grad=True), nchw(x).requires_grad_()
    y, z = ours(a), theirs(b)
    np.testing.assert_allclose(y.data, nhwc(z), rtol=1e-4, atol=1e-5)
    y.sum().backward()
    z.sum().backward()
    np.testing.assert_allclose(a.grad, nhwc(b.grad), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours.weight.grad, nhwc(theirs.weight.grad), rtol=1e-4, atol=1e-4)
    assert ("padding_mode" in repr(ours)) == (mode != "zeros")


@pytest.mark.parametrize("after", [nn.MaxPool2d(2), nn.AvgPool2d(2), nn.BatchNorm2d(4), nn.ReLU()])
@pytest.mark.parametrize("training", [True, False])
def test_fused_with_what_follows(after, training):
    conv = nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect")
    x = RNG.normal(size=(2, 6, 8, 3)).astype(np.float32)
    net = nn.Sequential(conv, after).train(training)
    apart = after(conv(x)).data
    np.testing.assert_allclose(net(x).data, apart, rtol=1e-4, atol=1e-5)


def test_pixels_come_from_channels():
    x = np.arange(2 * 3 * 8.0).reshape(1, 2, 3, 8)
    y = F.pixel_shuffle(x, 2).data
    assert y.shape == (1, 4, 6, 2)
    assert y[0, 2 * 1 + 1, 2 * 2 + 0, 1] == x[0, 1, 2, 1 * 4 + 1 * 2 + 0]
    np.testing.assert_array_equal(F.pixel_unshuffle(y, 2).data, x)


X = np.zeros((2, 3, 4, 6))
BAD = [
    (lambda: F.pad(X, [(0, 0), (3, 0), (0, 0), (0, 0)], mode="reflect"), r"pad_width \(3, 0\) of axis 1, of length 3"),
    (lambda: F.pad(X, [(0, 0), (4, 0), (0, 0), (0, 0)], mode="circular"), "at most 3 to circular"),
    (lambda: F.pad(X, [(0, 0)] * 4, mode="mirror"), "pad: mode must be"),
    (lambda: nn.ZeroPad2d((1, 2)), "ZeroPad2d: padding must be an integer or 4 of them"),
    (lambda: nn.ReflectionPad1d(1)(X), "ReflectionPad1d: x must"),
    (lambda: nn.ZeroPad2d(-1), "padding must be at least 0"),
    (lambda: nn.Conv2d(3, 4, 3, padding_mode="mirror"), "Conv2d: padding_mode must be"),
    (lambda: F.pixel_shuffle(X, 2), "the channels of x .* must be a multiple of 4"),
    (lambda: F.pixel_unshuffle(X, 2), "must be multiples of 2"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_names_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()
