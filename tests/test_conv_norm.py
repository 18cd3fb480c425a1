"""A convolution that takes over the batch normalisation behind it in evaluation: what is fused, and that no change of
parameters or statistics is missed."""

import copy

import numpy as np
import pytest
from isas import each_isa

from dlfast import functional as F
from dlfast import kernels, models, nn, no_grad, optim
from dlfast.tensor import Tensor

BACKENDS = kernels.backends_of("conv2d_batch_norm")


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def settled(model, seed=0):
    """The model with statistics and affine parameters that are not those it starts with."""
    rng = np.random.default_rng(seed)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None:
            norm.running_mean[...] = rng.normal(size=norm.num_features)
            norm.running_var[...] = rng.uniform(0.5, 2, norm.num_features)
        if isinstance(norm, nn.BatchNorm2d) and norm.affine:
            norm.weight.data[...] = rng.normal(size=norm.num_features)
            norm.bias.data[...] = rng.normal(size=norm.num_features)
    return model


def apart(model, x):
    """The same, module after module, nothing fused."""
    if isinstance(model, nn.Sequential):
        y = x
        for module in model:
            y = apart(module, y)
        if isinstance(model, nn.Residual):
            y = y + (x if model.shortcut is None else apart(model.shortcut, x))
            y = y if model.activation is None else getattr(F, model.activation)(y)
        return y
    return model(x)


def ops_of(layer, x):
    with kernels.watch() as calls:
        layer(x)
    return [call.op for call in calls]


def assert_as_apart(model, x):
    with no_grad():
        got, wanted = model(x).data, apart(model, Tensor(x)).data
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())


def block(**options):
    conv1, conv2 = nn.Conv2d(9, 12, 3, padding=1, bias=False), nn.Conv2d(12, 9, 3, padding=1)
    return nn.Residual(conv1, nn.BatchNorm2d(12), nn.ReLU(), conv2, nn.BatchNorm2d(9), **options)


BLOCKS = [
    nn.Sequential(nn.Conv2d(9, 7, 3), nn.BatchNorm2d(7)),
    nn.Sequential(nn.Conv2d(9, 16, 3, stride=2), nn.BatchNorm2d(16, affine=False), nn.Tanh()),
    nn.Sequential(nn.Conv2d(9, 16, 1), nn.BatchNorm2d(16, activation="relu"), nn.Sigmoid()),
    nn.Sequential(nn.Conv2d(9, 18, 3, groups=9), nn.BatchNorm2d(18), nn.ReLU(), nn.MaxPool2d(2)),
    nn.Sequential(nn.Conv2d(9, 40, 3, padding=1), nn.BatchNorm2d(40), nn.ReLU(), nn.Conv2d(40, 40, 3, padding=1),
                  nn.BatchNorm2d(40)),
    block(activation="relu"),
    block(activation="tanh", shortcut=nn.Sequential(nn.Conv2d(9, 9, 1), nn.BatchNorm2d(9))),
    block(),
]  # fmt: skip


@pytest.mark.parametrize("backend", each_isa(BACKENDS))
@pytest.mark.parametrize("model", BLOCKS, ids=range(len(BLOCKS)))
def test_as_the_parts_give(model, backend):
    model, x = settled(copy.deepcopy(model)).eval(), normal(2, 9, 10, 9)
    with kernels.use_backend(backend, "reference"), no_grad():
        ops = ops_of(model, x)
        assert "conv2d_batch_norm" in ops
        assert "batch_norm" not in ops
        assert_as_apart(model, x)


def test_whole_networks():
    for model, side in ((models.resnet20(), 32), (models.resnet20(shortcut="B"), 21), (models.resnet18(10), 40)):
        settled(model).eval()
        x = normal(2, side, side, 3)
        with no_grad():
            assert "batch_norm" not in ops_of(model, x)
        assert_as_apart(model, x)


def test_only_in_evaluation_and_where_nothing_is_recorded():
    model, x = settled(block(activation="relu")), normal(2, 6, 6, 9)
    apart_ops = ["conv2d", "batch_norm", "conv2d", "batch_norm"]
    with no_grad():
        assert ops_of(model.train(), x) == apart_ops
    assert ops_of(model.eval(), x) == apart_ops
    model.requires_grad_(False)
    assert ops_of(model, x) == ["conv2d_batch_norm"] * 2
    assert ops_of(model, Tensor(x, requires_grad=True)) == apart_ops
    model[4].bias.requires_grad = True
    assert ops_of(model, x) == ["conv2d_batch_norm", "conv2d", "batch_norm"]
    with no_grad():
        untracked = nn.Sequential(nn.Conv2d(9, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)).eval()
        assert ops_of(untracked, x) == ["conv2d", "batch_norm"]
        active = nn.Sequential(nn.Conv2d(9, 4, 3, activation="relu"), nn.BatchNorm2d(4)).eval()
        assert ops_of(active, x) == ["conv2d", "batch_norm"]


def test_gradients_in_evaluation():
    model = settled(block(activation="relu")).eval()
    x = normal(2, 6, 6, 9)
    results = []
    for run in (model, lambda x: apart(model, x)):
        model.zero_grad()
        leaf = Tensor(x, requires_grad=True)
        run(leaf).sum().backward()
        results.append([leaf.grad, *(p.grad for p in model.parameters())])
    for got, wanted in zip(*results, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())


def changes():
    """(name, what changes a model between two evaluations)."""

    def step(model):
        optimizer = optim.Adam(model.parameters(), lr=0.1)
        for seed in range(2):
            model.train()(normal(4, 6, 6, 9, seed=seed)).sum().backward()
            optimizer.step()
        model.eval()

    def load(model):
        model.load_state_dict({key: value * 1.5 for key, value in model.state_dict().items()})

    def edit(model):
        model[0].weight.data[...] *= 2
        model[1].weight.data[3] = 7
        model[3].bias.data += 1
        model[4].running_mean[2] = 3
        model[4].running_var *= 2

    def replace(model):
        model[4].running_var = np.full(9, 5, np.float32)
        model[1].bias.data = np.ones(12, np.float32)
        model[4].eps = 0.5

    return [step, load, edit, replace, lambda model: setattr(model, "0", nn.Conv2d(9, 12, 3, padding=1))]


@pytest.mark.parametrize("change", changes(), ids=["optimizer", "load_state_dict", "in-place", "replaced", "module"])
def test_no_change_is_missed(change):
    model, x = settled(block(activation="relu")).eval(), normal(2, 6, 6, 9)
    with no_grad():
        before = model(x).data
    change(model)
    assert_as_apart(model, x)
    with no_grad():
        assert np.abs(model(x).data - before).max() > 0.01


def test_a_forward_of_its_own_is_called():
    for i in (0, 1, 2):
        model, x, seen = settled(block()).eval(), normal(1, 6, 6, 9), []
        part = model[i]
        plain = part.forward

        def watched(x, plain=plain, seen=seen):
            y = plain(x)
            seen.append((x.shape, y.shape))
            return y

        part.forward = watched
        assert_as_apart(model, x)
        assert seen[0] == seen[1]
        assert seen[0][1] == (1, 6, 6, 12)
        del part.forward
        assert_as_apart(model, x)
        assert len(seen) == 2


def test_a_derived_class_is_called():
    class Doubled(nn.BatchNorm2d):
        def forward(self, x):
            return super().forward(x) * 2

    model, x = settled(nn.Sequential(nn.Conv2d(3, 4, 3), Doubled(4), nn.ReLU())).eval(), normal(1, 6, 6, 3)
    assert_as_apart(model, x)


def test_not_a_number_comes_through():
    x, arrays = normal(1, 9, 9, 9), [normal(20, 3, 3, 9), None, np.zeros(20, "f4"), np.ones(20, "f4")]
    x[0, 4, 4, 0], x[0, 0, 0, 1] = np.nan, np.inf
    for backend in BACKENDS:
        with kernels.use_backend(backend, "reference"), np.errstate(invalid="ignore"):
            for method in ("im2col", *(("direct", "winograd") if backend == "cython" else ())):
                y = F.conv2d_batch_norm(x, *arrays, padding=1, activation="relu", method=method).data
                assert np.isnan(y[0, 3:6, 3:6]).all()
                assert np.isfinite(y[0, 8]).all()


def test_arguments():
    x, w, rows = normal(1, 6, 6, 3), normal(4, 3, 3, 3), [np.zeros(4, "f4"), np.ones(4, "f4")]
    with pytest.raises(ValueError, match=r"conv2d_batch_norm: running_var must have shape \(4,\) to match weight"):
        F.conv2d_batch_norm(x, w, None, rows[0], np.ones(3, "f4"))
    with pytest.raises(TypeError, match="conv2d_batch_norm: norm_bias must have the dtype of weight, float32"):
        F.conv2d_batch_norm(x, w, None, *rows, None, np.zeros(4))
    with pytest.raises(ValueError, match="conv2d_batch_norm: give running_mean and running_var"):
        F.conv2d_batch_norm(x, w, None, rows[0], None)
    with pytest.raises(ValueError, match=r"conv2d_batch_norm: residual must have shape \(1, 4, 4, 4\) as y"):
        F.conv2d_batch_norm(x, w, None, *rows, residual=x)
    with pytest.raises(TypeError, match="conv2d_batch_norm: residual must have the dtype of x"):
        F.conv2d_batch_norm(x, w, None, *rows, residual=np.zeros((1, 4, 4, 4)))
    with pytest.raises(ValueError, match="conv2d_batch_norm: eps"):
        F.conv2d_batch_norm(x, w, None, *rows, eps=0)
    with pytest.raises(ValueError, match=r"Residual: x has shape \(1, 6, 6, 9\) and f\(x\) \(1, 4, 4, 9\)"), no_grad():
        nn.Residual(nn.Conv2d(9, 9, 3), nn.BatchNorm2d(9)).eval()(normal(1, 6, 6, 9))


def test_statistics_that_move_before_backward():
    x, w = normal(1, 6, 6, 3), Tensor(normal(4, 3, 3, 3), requires_grad=True)
    grads = []
    for moving in (False, True):
        w.grad, mean, var = None, np.zeros(4, "f4"), np.ones(4, "f4")
        y = F.conv2d_batch_norm(x, w, None, mean, var)
        if moving:
            mean += 1
            var *= 4
        y.sum().backward()
        grads.append(w.grad)
    np.testing.assert_array_equal(*grads)
