"""What the notes teach, a test for each: by its formula, and on the data that ships with the package.

Here: practical tips. Each test is named after its subject, which has a page in docs/notes.
"""

import math

import numpy as np
import pytest
from features import digits, fitted

import dlfast as dl
from dlfast import functional as F
from dlfast import init, inspect, models, nn, optim


@pytest.fixture(autouse=True)
def _seed():
    dl.manual_seed(0)


def randn(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def test_initialisation_xavier_uniform_limits_and_variance():
    weight = init.xavier_uniform_(np.empty((300, 200), np.float32))
    limit = math.sqrt(6 / (200 + 300))
    assert 0.999 * limit < np.abs(weight).max() <= limit
    assert weight.var() == pytest.approx(limit**2 / 3, rel=0.02)
    assert weight.mean() == pytest.approx(0, abs=0.01 * limit)


def test_initialisation_he_normal_variance():
    """N(0, sqrt(2 / n_in)), of a Linear and of a convolution, whose n_in is R S C."""
    for shape, fan_in in (((300, 200), 200), ((64, 3, 3, 32), 288)):
        weight = init.he_normal_(np.empty(shape, np.float32))
        assert weight.std() == pytest.approx(math.sqrt(2 / fan_in), rel=0.02)
        excess = np.mean((weight / weight.std()) ** 4) - 3  # 0 of a normal distribution, -1.2 of a uniform one
        assert abs(excess) < 0.15


def test_initialisation_keeps_the_variance_through_layers():
    def spread(fill, activation):
        a = randn(200, 100)
        for _ in range(20):
            a = activation(a @ fill(np.empty((100, 100), np.float32)).T).numpy()
        return np.sqrt(np.mean(a**2))

    assert 0.2 < spread(init.he_normal_, F.relu) < 5
    assert spread(init.xavier_uniform_, F.relu) < 1e-2  # half the variance is lost at each layer
    assert 0.1 < spread(init.xavier_uniform_, F.tanh) < 1


def test_gradient_checking_is_the_central_difference():
    """Of x^4 it is 4 x^3 + 4 x eps^2: by its error of eps^2 / x^2 it can be told from any other."""
    result = dl.gradcheck(lambda x: x**4, np.array([1.5]), eps=1e-2, tolerance=1e-2)
    assert result.numeric / result.analytic == pytest.approx(1 + (1e-2 / 1.5) ** 2, rel=1e-9)


def test_gradient_checking_of_a_network_on_digits():
    images, labels = (array[:6] for array in digits()[0].arrays)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(18, 10))
    model.to(np.float64)
    x = images.astype(np.float64)
    found = dl.gradcheck(lambda *parameters: F.cross_entropy(model(x), labels), tuple(model.parameters()))
    assert found.elements == sum(parameter.size for parameter in model.parameters())


def test_gradient_checking_finds_a_wrong_gradient():
    class Wrong(dl.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**2

        @staticmethod
        def backward(ctx, dy):
            (x,) = ctx.saved_tensors
            return 1.5 * x * dy

    with pytest.raises(AssertionError, match="gradient"):
        dl.gradcheck(Wrong.apply, np.array([1.0, 2.0]))


def deep_mlp(activation, factor=1.0):
    """Eight hidden layers with He's weights, times a factor."""
    model = nn.Sequential(nn.Flatten(), *models.mlp(64, *[48] * 8, 10, activation=activation))
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            init.he_normal_(layer.weight)
            layer.weight.data *= factor
    return model


def test_vanishing_gradients_of_sigmoids_are_seen_and_relu_keeps_them():
    vanishing, level = (
        [row.gradient for row in inspect.gradient_flow(deep_mlp(activation), digits()[0])]
        for activation in (nn.Sigmoid, nn.ReLU)
    )
    assert vanishing[0] < 1e-3 * vanishing[-1]
    assert level[0] > 0.05 * level[-1]


def test_exploding_gradients_are_clipped():
    model, (x, y) = deep_mlp(nn.ReLU, 3.0), digits()[0][:64]
    F.cross_entropy(model(x), y).backward()
    before = math.sqrt(sum(float((p.grad.astype(np.float64) ** 2).sum()) for p in model.parameters()))
    directions = [p.grad / before for p in model.parameters()]
    assert optim.clip_grad_norm_(model.parameters(), 2.0) == pytest.approx(before, rel=1e-4)
    assert before > 1000
    for parameter, direction in zip(model.parameters(), directions, strict=True):
        np.testing.assert_allclose(parameter.grad, 2 * direction, rtol=1e-3, atol=1e-6)


def test_exploding_training_ends_before_the_weights_are_lost():
    model = deep_mlp(nn.ReLU, 3.0)
    optimizer = optim.SGD(model.parameters(), lr=1e6)
    with pytest.raises(dl.train.NonFiniteLoss, match="learning rate"), np.errstate(all="ignore"):
        dl.train.fit(model, digits()[0], epochs=3, loss=F.cross_entropy, optimizer=optimizer, progress=False)


def test_start_small_overfit_a_tiny_batch():
    model = nn.Sequential(nn.Flatten(), *models.mlp(64, 32, 10))
    assert inspect.overfit_tiny_batch(model, digits()[0]).learned
    for parameter in model.parameters():
        init.zeros_(parameter)  # all units alike: it cannot
    assert not inspect.overfit_tiny_batch(model, digits()[0]).learned


def test_verify_the_loss_initial_cross_entropy_is_about_ln_classes():
    model = nn.Sequential(nn.Flatten(), *models.mlp(64, 32, 10))
    found = inspect.check_initial_loss(model, digits()[0])
    assert found.ok
    assert found.expected == pytest.approx(math.log(10))
    assert found.loss == pytest.approx(math.log(10), rel=0.15)
    model[3].weight.data *= 100
    assert not inspect.check_initial_loss(model, digits()[0]).ok


def test_monitor_gradients_dead_neurons_are_counted():
    model = nn.Sequential(nn.Flatten(), *models.mlp(64, 32, 10))
    alive = inspect.dead_units(model, digits()[0]).dead
    model[1].bias.data[:7] = -100
    assert 7 <= inspect.dead_units(model, digits()[0]).dead <= alive + 7


def test_visualise_curves_activations_weights(tmp_path):
    pytest.importorskip("matplotlib")
    model = nn.Sequential(nn.Flatten(), *models.mlp(64, 32, 10))
    history = fitted(model, digits(), 2)
    pictures = {
        "curves": history,
        "activations": inspect.activations(model, digits()[0]),
        "weights": inspect.weights(model),
        "gradients": inspect.gradient_flow(model, digits()[0]),
    }
    for name, picture in pictures.items():
        picture.plot(tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def codes(*arguments, **options):
    """What the doctor finds."""
    return [finding.code for finding in inspect.doctor(*arguments, **options).findings]


def test_doctor_finds_vanishing_and_exploding_gradients():
    deep = nn.Sequential(nn.Flatten(), *models.mlp(64, *[32] * 10, 10, activation=nn.Sigmoid))
    assert "vanishing_gradients" in codes(deep, digits()[0])
    assert "exploding_gradients" in codes(deep_mlp(nn.ReLU, 4.0), digits()[0])
    assert codes(nn.Sequential(nn.Flatten(), *models.mlp(64, 32, 10)), digits()[0]) == []


def test_doctor_finds_overfitting_and_underfitting():
    x, labels = digits()[0][:200]
    few = dl.data.ArrayDataset(x, np.where(np.arange(200) % 3 == 0, (labels + 1) % 10, labels))  # a third are wrong
    model = nn.Sequential(nn.Flatten(), *models.mlp(64, 256, 10))
    history = fitted(model, (few, digits()[1]), 60, lr=1e-2)
    assert "overfitting" in codes(model, few, history, val=digits()[1])
    narrow = nn.Sequential(nn.Flatten(), nn.Linear(64, 1), nn.Tanh(), nn.Linear(1, 10))
    history = fitted(narrow, digits(), 12, lr=1e-2)
    assert "underfitting" in codes(narrow, digits()[0], history, val=digits()[1])
