"""Functions held against PyTorch's, where it is installed."""

import numpy as np
import pytest
from peers import needs_torch, torch

from dlfast import functional as F
from dlfast.tensor import Tensor

TF = torch and torch.nn.functional


def nchw(x):
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1))).requires_grad_()


def agree(y, expected):
    """Values, and the gradients of the first input, agree; images come back channels first."""
    expected = expected.detach().numpy()
    np.testing.assert_allclose(
        y, np.moveaxis(expected, 1, -1) if expected.ndim == 4 else expected, rtol=1e-9, atol=1e-9
    )


@needs_torch
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize(
    "options",
    [{}, {"stride": (2, 1), "padding": (1, 2)}, {"dilation": 2, "padding": 2}, {"groups": 2}, {"padding": "same"}],
)
def test_conv2d_as_pytorch(options):
    rng = np.random.default_rng(0)
    x, b = rng.normal(size=(2, 6, 7, 4)), rng.normal(size=4)
    w = rng.normal(size=(4, 3, 2, 4 // options.get("groups", 1)))
    agree(F.conv2d(x, w, b, **options), TF.conv2d(nchw(x), nchw(w), torch.from_numpy(b), **options))


@needs_torch
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize(
    "options",
    [{}, {"stride": 2, "padding": 1}, {"dilation": 3, "padding": 2}, {"groups": 2}, {"padding": "same", "dilation": 2}],
)
def test_conv1d_as_pytorch(options):
    rng = np.random.default_rng(0)
    x, b = rng.normal(size=(2, 11, 4)), rng.normal(size=4)
    w = rng.normal(size=(4, 4, 4 // options.get("groups", 1)))
    expected = TF.conv1d(nchw(x), nchw(w), torch.from_numpy(b), **options)
    np.testing.assert_allclose(F.conv1d(x, w, b, **options), expected.detach().numpy().swapaxes(1, 2), atol=1e-9)


@needs_torch
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2, "padding": 1, "output_padding": 1},
        {"stride": (1, 3), "padding": (0, 2), "output_padding": (0, 2), "groups": 2},
        {"dilation": (3, 2), "output_padding": (2, 1), "padding": 1},
    ],
)
def test_conv_transpose2d_as_pytorch(options):
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(2, 5, 4, 4)), rng.normal(size=(4, 3, 2, 6 // options.get("groups", 1)))
    b = rng.normal(size=6)
    ours = [Tensor(array, requires_grad=True) for array in (x, w, b)]
    theirs = [nchw(x), nchw(w), torch.from_numpy(b).requires_grad_()]
    y, expected = F.conv_transpose2d(*ours, **options), TF.conv_transpose2d(*theirs, **options)
    agree(y, expected)
    dy = rng.normal(size=y.shape)
    y.backward(dy)
    expected.backward(nchw(dy).detach())
    for mine, other in zip(ours, theirs):
        agree(mine.grad, other.grad)


@needs_torch
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_pools_as_pytorch(ceil_mode):
    x = np.random.default_rng(0).normal(size=(2, 7, 8, 3))
    agree(F.max_pool2d(x, 3, 2, 1, 2, ceil_mode), TF.max_pool2d(nchw(x), 3, 2, 1, 2, ceil_mode))
    agree(F.max_pool2d(x, (2, 3)), TF.max_pool2d(nchw(x), (2, 3)))
    for include in (True, False):
        agree(F.avg_pool2d(x, 3, 2, 1, ceil_mode, include), TF.avg_pool2d(nchw(x), 3, 2, 1, ceil_mode, include))
    for size in (1, (3, 5), (7, 8), (None, 3)):
        agree(F.adaptive_avg_pool2d(x, size), TF.adaptive_avg_pool2d(nchw(x), size))


@needs_torch
def test_functions_of_rows_as_pytorch():
    rng = np.random.default_rng(0)
    x, labels, weight = rng.normal(size=(6, 5)), np.array([0, 4, 2, -100, 1, 2]), rng.uniform(1, 2, 5)
    tx, tl, tw = map(torch.from_numpy, (x, labels, weight))
    for name in ("relu", "leaky_relu", "elu", "gelu", "silu", "sigmoid", "tanh", "softplus", "hardswish"):
        agree(getattr(F, name)(x), getattr(TF, name)(tx))
    agree(F.gelu(x, approximate="tanh"), TF.gelu(tx, approximate="tanh"))
    agree(F.softmax(x, 0), TF.softmax(tx, 0))
    agree(F.layer_norm(x, 5, weight), TF.layer_norm(tx, (5,), tw))
    agree(F.layer_norm(x[None], (6, 5)), TF.layer_norm(tx[None], (6, 5)))
    for reduction in ("mean", "sum", "none"):
        for smoothing in (0.0, 0.2):
            options = {"reduction": reduction, "label_smoothing": smoothing}
            agree(F.cross_entropy(x, labels, weight, **options), TF.cross_entropy(tx, tl, tw, **options))
        agree(F.nll_loss(x, labels, weight, reduction=reduction), TF.nll_loss(tx, tl, tw, reduction=reduction))
        agree(F.huber_loss(x, x[::-1], reduction, 0.7), TF.huber_loss(tx, tx.flip(0), reduction, 0.7))
        p = 1 / (1 + np.exp(-x))
        agree(
            F.binary_cross_entropy_with_logits(x, p, weight, reduction, weight),
            TF.binary_cross_entropy_with_logits(tx, torch.from_numpy(p), tw, reduction=reduction, pos_weight=tw),
        )


@needs_torch
def test_cells_as_pytorch():
    rng = np.random.default_rng(0)
    x, h, c = rng.normal(size=(3, 4)), rng.normal(size=(3, 2)), rng.normal(size=(3, 2))
    for name, gates in (("rnn_tanh", 1), ("lstm", 4), ("gru", 3)):
        arrays = [rng.normal(size=s) for s in ((2 * gates, 4), (2 * gates, 2), (2 * gates,), (2 * gates,))]
        tensors = [torch.from_numpy(a) for a in (x, h, *arrays)]
        if name == "lstm":
            expected = torch.lstm_cell(tensors[0], (tensors[1], torch.from_numpy(c)), *tensors[2:])
            for y, t in zip(F.lstm_cell(x, (h, c), *arrays), expected):
                agree(y, t)
        else:
            agree(getattr(F, f"{name[:3]}_cell")(x, h, *arrays), getattr(torch, f"{name}_cell")(*tensors))
