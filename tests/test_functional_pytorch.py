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


@needs_torch
@pytest.mark.parametrize(
    "options",
    [{}, {"stride": 2, "padding": 1, "output_padding": 1}, {"groups": 2, "dilation": 3, "output_padding": 2}],
)
def test_conv_transpose1d_as_pytorch(options):
    rng = np.random.default_rng(0)
    x, b = rng.normal(size=(2, 5, 4)), rng.normal(size=6)
    w = rng.normal(size=(4, 3, 6 // options.get("groups", 1)))
    ours = [Tensor(array, requires_grad=True) for array in (x, w, b)]
    theirs = [nchw(x), nchw(w), torch.from_numpy(b).requires_grad_()]
    agree_with_gradients(F.conv_transpose1d(*ours, **options), TF.conv_transpose1d(*theirs, **options), ours, theirs)


def agree_with_gradients(y, expected, ours, theirs):
    """The values and all gradients of y, where every array of at least 3 axes lies channels first in PyTorch."""
    dy = np.random.default_rng(1).normal(size=y.shape).astype(y.dtype)
    y.backward(dy)
    expected.backward(nchw(dy).detach() if dy.ndim > 2 else torch.tensor(dy))
    places = [(y, expected), *((mine.grad, other.grad) for mine, other in zip(ours, theirs))]
    near = 1e-10 if y.dtype == np.float64 else 1e-5
    for mine, other in places:
        wanted = other.detach().numpy()
        wanted = np.moveaxis(wanted, 1, -1) if wanted.ndim > 2 else wanted
        np.testing.assert_allclose(mine, wanted, rtol=near, atol=near * max(1, np.abs(wanted).max()))


@needs_torch
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(3, 6), (2, 7, 6), (2, 5, 9, 6), (1, 90, 100, 12)])
def test_group_norm_as_pytorch(shape, dtype):
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=s).astype(dtype) for s in (shape, shape[-1:], shape[-1:])]
    for groups in (1, 3, 6) if len(shape) > 2 else (1, 3):  # of one number PyTorch makes more than its bias
        ours = [Tensor(array, requires_grad=True) for array in arrays]
        first = nchw(arrays[0]) if len(shape) > 2 else torch.tensor(arrays[0], requires_grad=True)
        theirs = [first, *(torch.tensor(array, requires_grad=True) for array in arrays[1:])]
        agree_with_gradients(
            F.group_norm(ours[0], groups, *ours[1:]), TF.group_norm(theirs[0], groups, *theirs[1:]), ours, theirs
        )


@needs_torch
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rms_norm_as_pytorch(dtype):
    rng = np.random.default_rng(0)
    for shape, normalized in (((7, 33), (33,)), ((5, 4, 6), (4, 6))):
        for eps in (None, 0.1):
            arrays = [rng.normal(size=s).astype(dtype) for s in (shape, normalized)]
            ours = [Tensor(array, requires_grad=True) for array in arrays]
            theirs = [torch.tensor(array, requires_grad=True) for array in arrays]
            y, expected = (
                F.rms_norm(ours[0], normalized, ours[1], eps),
                TF.rms_norm(theirs[0], normalized, theirs[1], eps),
            )
            dy = rng.normal(size=shape).astype(dtype)
            y.backward(dy)
            expected.backward(torch.tensor(dy))
            near = 1e-10 if dtype == np.float64 else 1e-5
            for mine, other in ((y, expected.detach()), *((a.grad, b.grad) for a, b in zip(ours, theirs))):
                np.testing.assert_allclose(mine, other, rtol=near, atol=10 * near)


@needs_torch
@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum", "batchmean"])
def test_kl_div_and_smooth_l1_loss_as_pytorch(reduction, dtype):
    rng = np.random.default_rng(0)
    x = np.log(rng.dirichlet(np.ones(5), 4)).astype(dtype)
    target = rng.dirichlet(np.ones(5), 4).astype(dtype)
    target[1, 2] = target[3, 0] = 0
    near = 1e-10 if dtype == np.float64 else 1e-5
    cases = [(F.kl_div, TF.kl_div, target, {"log_target": False}), (F.kl_div, TF.kl_div, x[::-1], {"log_target": True})]
    if reduction != "batchmean":
        cases += [(F.smooth_l1_loss, TF.smooth_l1_loss, target, {"beta": beta}) for beta in (1.0, 0.3, 0.0, 1e-30)]
    for ours, theirs, t, options in cases:
        a, b = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        y = ours(a, np.ascontiguousarray(t), reduction, **options)
        expected = theirs(b, torch.tensor(t.copy()), reduction=reduction, **options)
        dy = rng.normal(size=y.shape).astype(dtype)
        y.backward(dy)
        expected.backward(torch.tensor(dy))
        np.testing.assert_allclose(y, expected.detach(), rtol=near, atol=near)
        np.testing.assert_allclose(a.grad, b.grad, rtol=near, atol=near)


@needs_torch
def test_pools_of_sequences_as_pytorch():
    x = np.random.default_rng(0).normal(size=(2, 11, 3))
    pairs = [(F.avg_pool1d(x, 3, 2, 1, ceil, count), TF.avg_pool1d(nchw(x), 3, 2, 1, ceil, count))
             for ceil in (False, True) for count in (False, True)]  # fmt: skip
    pairs += [(F.adaptive_avg_pool1d(x, size), TF.adaptive_avg_pool1d(nchw(x), size)) for size in (1, 4, 11, 13)]
    for y, expected in pairs:
        np.testing.assert_allclose(y, expected.detach().numpy().swapaxes(1, 2), rtol=1e-10, atol=1e-10)


MODES = [
    *({"mode": mode} for mode in ("nearest", "nearest-exact", "bilinear", "area")),
    *({"mode": "bilinear", "align_corners": align} for align in (False, True)),
]


@needs_torch
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("options", MODES, ids=str)
def test_interpolate_as_pytorch(options, dtype):
    rng = np.random.default_rng(0)
    for shape, target in (
        ((2, 5, 7, 3), {"size": (9, 4)}),
        ((1, 6, 4, 9), {"size": 8}),
        ((1, 6, 4, 1), {"scale_factor": 2}),
        ((2, 5, 7, 4), {"scale_factor": (0.7, 1.3)}),
        ((1, 1, 1, 2), {"size": (3, 2)}),
        ((1, 4, 6, 2), {"size": (1, 1)}),
    ):
        x = rng.normal(size=shape).astype(dtype)
        ours, theirs = Tensor(x, requires_grad=True), nchw(x)
        y, expected = F.interpolate(ours, **target, **options), TF.interpolate(theirs, **target, **options)
        agree_with_gradients(y, expected, [ours], [theirs])


@needs_torch
def test_interpolate_nearest_rounds_as_pytorch():
    """Which pixel is read where the quotient of the sizes should be whole."""
    for dtype in (np.float32, np.float64):
        for size in (1, 2, 3, 7, 14, 29, 41, 49):
            x = np.arange(size, dtype=dtype)[None, :, None]
            for out in range(1, 100):
                for mode in ("nearest", "nearest-exact"):
                    wanted = TF.interpolate(torch.from_numpy(x).swapaxes(1, 2), out, mode=mode).numpy()[0, 0]
                    np.testing.assert_array_equal(F.interpolate(x, out, mode=mode).data[0, :, 0], wanted)


@needs_torch
@pytest.mark.parametrize("options", [{}, {"align_corners": True}])
def test_interpolate_sequences_as_pytorch(options):
    x = np.random.default_rng(0).normal(size=(2, 5, 3))
    for target in ({"size": 8}, {"size": 3}, {"scale_factor": 1.7}):
        y, expected = F.interpolate(x, mode="linear", **target, **options), nchw(x)
        expected = TF.interpolate(expected, mode="linear", **target, **options).detach().numpy()
        np.testing.assert_allclose(y, np.moveaxis(expected, 1, -1), rtol=1e-10, atol=1e-10)


@needs_torch
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_adaptive_max_pools_as_pytorch(dtype):
    x = np.random.default_rng(0).normal(size=(2, 7, 8, 11)).astype(dtype)
    for size in (1, (3, 5), (7, 4), (None, 3), (9, 10)):
        ours, theirs = Tensor(x, requires_grad=True), nchw(x)
        y, expected = F.adaptive_max_pool2d(ours, size), TF.adaptive_max_pool2d(theirs, size)
        agree_with_gradients(y, expected, [ours], [theirs])
    for size in (1, 3, 7, 9):
        y, expected = F.adaptive_max_pool1d(x[:, 0], size), TF.adaptive_max_pool1d(nchw(x[:, 0]), size)
        np.testing.assert_array_equal(y, np.moveaxis(expected.detach().numpy(), 1, -1))
