"""What the notes teach, a test for each: by its formula, and on the data that ships with the package.

Here: optimizers, schedules, regularisation. Each test is named after its subject, which has a page in docs/notes.
"""

import itertools
import math

import numpy as np
import pytest
from features import digits, fitted

import dlfast as dl
from dlfast import functional as F
from dlfast import models, nn, optim
from dlfast.optim import lr_scheduler, regularizers


@pytest.fixture(autouse=True)
def _seed():
    dl.manual_seed(0)


def walk(make, steps=25):
    """Where an optimizer takes a parameter of two numbers on 3 w0^2 + w1^2 / 2, float64, after each step."""
    w = nn.Parameter(np.array([1.0, -2.0]))
    optimizer, path = make([w]), []
    for _ in range(steps):
        optimizer.zero_grad()
        (w * w * np.array([3.0, 0.5])).sum().backward()
        optimizer.step()
        path.append(w.numpy().copy())
    return np.array(path)


def by_formula(rule, steps=25):
    """The same by a rule of the notes: (t, gradient, state) -> what is taken off."""
    theta, state, path = np.array([1.0, -2.0]), {}, []
    for t in range(1, steps + 1):
        theta = theta - rule(t, theta * np.array([6.0, 1.0]), state)
        path.append(theta)
    return np.array(path)


def momentum(t, g, state, alpha=0.05, gamma=0.9):
    state["v"] = gamma * state.get("v", 0) + alpha * g  # the learning rate inside the velocity
    return state["v"]


def rmsprop(t, g, state, alpha=0.05, gamma=0.9, eps=1e-3):
    state["s"] = gamma * state.get("s", 0) + (1 - gamma) * g**2
    return alpha / np.sqrt(state["s"] + eps) * g


def adam(t, g, state, alpha=0.05, beta1=0.9, beta2=0.999, eps=1e-8):
    state["m"] = beta1 * state.get("m", 0) + (1 - beta1) * g
    state["v"] = beta2 * state.get("v", 0) + (1 - beta2) * g**2
    return alpha / (np.sqrt(state["v"] / (1 - beta2**t)) + eps) * (state["m"] / (1 - beta1**t))


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda p: optim.SGD(p, lr=0.05), lambda t, g, state: 0.05 * g),
        (lambda p: optim.SGD(p, lr=0.05, momentum=0.9), momentum),
        (lambda p: optim.RMSprop(p, lr=0.05, alpha=0.9, eps=1e-3), rmsprop),
        (lambda p: optim.Adam(p, lr=0.05), adam),
    ],
    ids=["gradient-descent", "momentum", "rmsprop", "adam"],
)
def test_optimizers_follow_the_notes(make, rule):
    np.testing.assert_allclose(walk(make), by_formula(rule), rtol=1e-9, atol=1e-12)


def test_rmsprop_has_epsilon_inside_the_root_by_default():
    inside, outside = (
        walk(lambda p, inside=inside: optim.RMSprop(p, lr=0.05, eps=1e-3, eps_inside_sqrt=inside))
        for inside in (True, False)
    )
    np.testing.assert_array_equal(walk(lambda p: optim.RMSprop(p, lr=0.05, eps=1e-3)), inside)
    assert not np.allclose(inside, outside, rtol=1e-4)


def test_momentum_parts_from_the_notes_when_the_rate_changes():
    """PyTorch's form scales the whole velocity, the notes' only the gradients to come: the docstring says so."""

    def after(steps, form):
        w, v = 1.0, 0.0
        for t in range(steps):
            lr = 0.1 if t < 3 else 0.01
            v = 0.9 * v + (lr if form == "notes" else 1) * w
            w -= v if form == "notes" else lr * v
        return w

    w = nn.Parameter(np.array([1.0]))
    optimizer = optim.SGD([w], lr=0.1, momentum=0.9)
    for t in range(6):
        optimizer.param_groups[0]["lr"] = 0.1 if t < 3 else 0.01
        optimizer.zero_grad()
        (w * w / 2).sum().backward()
        optimizer.step()
    assert w.item() == pytest.approx(after(6, "pytorch"), rel=1e-9)
    assert abs(after(6, "pytorch") - after(6, "notes")) > 1e-2


@pytest.mark.parametrize("make", [optim.SGD, optim.RMSprop, optim.Adam], ids=lambda make: make.__name__)
def test_optimizers_on_digits(make):
    model = nn.Sequential(nn.Flatten(), *models.mlp(64, 32, 10))
    options = {"lr": 0.1, "momentum": 0.9} if make is optim.SGD else {"lr": 3e-3}
    optimizer = make(model.parameters(), **options)
    history = dl.train.fit(model, *digits(), epochs=8, loss=F.cross_entropy, optimizer=optimizer, progress=False)
    assert history["val_accuracy"][-1] > 0.85


def rates(make, steps):
    """The learning rates of so many updates."""
    optimizer = optim.SGD([nn.Parameter(np.zeros(1))], lr=0.4)
    schedule, found = make(optimizer), []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


@pytest.mark.parametrize(
    ("make", "formula"),
    [
        (lambda o: lr_scheduler.ConstantLR(o, factor=1.0), lambda t: 0.4),
        (lambda o: lr_scheduler.StepLR(o, step_size=4, gamma=0.5), lambda t: 0.4 * 0.5 ** (t // 4)),
        (lambda o: lr_scheduler.ExponentialLR(o, gamma=0.9), lambda t: 0.4 * 0.9**t),
        (lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=12), lambda t: 0.2 * (1 + math.cos(math.pi * t / 12))),
    ],
    ids=["constant", "step", "exponential", "cosine"],
)
def test_schedules(make, formula):
    np.testing.assert_allclose(rates(make, 12), [formula(t) for t in range(12)], rtol=1e-9)


def test_cosine_annealing_with_warm_up_rises_and_falls():
    """The notes' picture: up from near 0 to the full rate, then half a cosine down."""
    found = rates(lambda o: lr_scheduler.CosineWithWarmup(o, total_steps=24, warmup_steps=6), 25)
    np.testing.assert_allclose(found[:6], [0.4 * (t + 1) / 7 for t in range(6)], rtol=1e-9)
    fall = [0.2 * (1 + math.cos(math.pi * (t - 6) / 18)) for t in range(6, 25)]
    np.testing.assert_allclose(found[6:], fall, rtol=1e-9, atol=1e-12)
    assert max(found) == found[6] == 0.4
    assert found[24] == pytest.approx(0, abs=1e-12)


def test_schedules_in_a_training():
    model = nn.Sequential(nn.Flatten(), *models.mlp(64, 32, 10))
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    schedule = lr_scheduler.CosineWithWarmup(optimizer, total_steps=6 * 47, warmup_steps=20)
    history = dl.train.fit(
        model,
        *digits(),
        epochs=6,
        loss=F.cross_entropy,
        optimizer=optimizer,
        scheduler=schedule,
        scheduler_step="batch",
        progress=False,
    )
    assert history["val_accuracy"][-1] > 0.85
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)


def test_l2_penalty_is_lambda_sum_w2_and_its_gradient_2_lambda_w():
    w = nn.Parameter(np.array([[1.0, -2.0, 0.5], [0.0, 3.0, -0.1]]))
    penalty = regularizers.L2(0.3)([w])
    penalty.backward()
    assert penalty.item() == pytest.approx(0.3 * np.square(w.numpy()).sum(), rel=1e-12)
    np.testing.assert_allclose(w.grad, 2 * 0.3 * w.numpy(), rtol=1e-12)


def test_l1_penalty_is_lambda_sum_abs_w():
    w = nn.Parameter(np.array([[1.0, -2.0, 0.5], [0.0, 3.0, -0.1]]))
    penalty = regularizers.L1(0.3)([w])
    penalty.backward()
    assert penalty.item() == pytest.approx(0.3 * np.abs(w.numpy()).sum(), rel=1e-12)
    np.testing.assert_allclose(w.grad, 0.3 * np.sign(w.numpy()), rtol=1e-12)


def test_weight_decay_is_l2_with_half_the_factor():
    """PyTorch's weight_decay = 2 lambda walks the path of the notes' penalty lambda sum w^2."""

    def path(weight_decay, penalty):
        w = nn.Parameter(np.array([[1.0, -2.0]]))
        optimizer = optim.SGD([w], lr=0.05, momentum=0.9, weight_decay=weight_decay)
        for _ in range(10):
            optimizer.zero_grad()
            loss = (w * w * np.array([3.0, 0.5])).sum()
            (loss + penalty([w]) if penalty else loss).backward()
            optimizer.step()
        return w.numpy()

    np.testing.assert_allclose(path(0.4, None), path(0.0, regularizers.L2(0.2)), rtol=1e-9)
    assert not np.allclose(path(0.4, None), path(0.0, None), rtol=1e-2)


def test_regularisation_in_a_training():
    """L2 makes the weights smaller, L1 makes many of them nearly zero."""

    def weights(*penalties):
        dl.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), *models.mlp(64, 32, 10))
        assert fitted(model, digits(), 10, lr=5e-3, regularizers=penalties)["val_accuracy"][-1] > 0.8
        return model[1].weight.numpy()

    plain, ridge, lasso = weights(), weights(regularizers.L2(1e-3)), weights(regularizers.L1(1e-3))
    assert np.square(ridge).sum() < 0.8 * np.square(plain).sum()
    assert np.mean(np.abs(lasso) < 0.01) > 0.35 > np.mean(np.abs(plain) < 0.01)


@pytest.mark.parametrize("mode", ["inverted", "notes"])
def test_dropout_has_the_same_expectation_in_training_and_testing(mode):
    x = np.array([1.0, 0.5, 0.8, 0.3, 0.7])
    layer = nn.Dropout(0.4, mode)
    drawn = np.array([layer(x).numpy() for _ in range(5000)])
    expected = x if mode == "inverted" else 0.6 * x
    np.testing.assert_allclose(drawn.mean(axis=0), expected, atol=0.04)
    np.testing.assert_allclose((drawn == 0).mean(axis=0), 0.4, atol=0.03)
    np.testing.assert_allclose(layer.eval()(x).numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("mode", ["inverted", "notes"])
def test_dropout_in_a_network(mode):
    hidden = (nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.3, mode))
    assert fitted(nn.Sequential(nn.Flatten(), *hidden, nn.Linear(64, 10)), digits())["val_accuracy"][-1] > 0.85


def test_batch_normalisation_formula():
    """Epsilon inside the root, the biased variance of the batch, running statistics in evaluation."""
    x = np.random.default_rng(0).normal(3, 2, (40, 5)).astype(np.float32)
    norm = nn.BatchNorm1d(5, eps=0.5)
    expected = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 0.5)
    np.testing.assert_allclose(norm(x).numpy(), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(norm.running_mean, 0.1 * x.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(norm.running_var, 0.9 + 0.1 * x.var(axis=0, ddof=1), rtol=1e-5)
    evaluated = (x - norm.running_mean) / np.sqrt(norm.running_var + 0.5)
    np.testing.assert_allclose(norm.eval()(x).numpy(), evaluated, rtol=1e-4, atol=1e-5)


def test_batch_normalisation_gradients_go_through_mean_and_variance():
    rng = np.random.default_rng(1)
    x, g, gamma = rng.normal(size=(8, 3)), rng.normal(size=(8, 3)), rng.normal(size=3)
    given = dl.tensor(x, requires_grad=True)
    F.batch_norm(given, None, None, gamma, np.zeros(3), training=True).backward(g)
    xhat = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-5)
    expected = g - g.mean(axis=0) - xhat * (g * xhat).mean(axis=0)
    np.testing.assert_allclose(given.grad, gamma / np.sqrt(x.var(axis=0) + 1e-5) * expected, rtol=1e-9, atol=1e-12)
    dl.gradcheck(lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True), (x, gamma, np.ones(3)))


def test_batch_normalisation_bears_a_high_learning_rate():
    def accuracy(normalised):
        dl.manual_seed(0)
        norms = [[nn.BatchNorm1d(32)] if normalised else [] for _ in range(4)]
        hidden = [(nn.Linear(size, 32), *norm, nn.ReLU()) for size, norm in zip((64, 32, 32, 32), norms)]
        model = nn.Sequential(nn.Flatten(), *itertools.chain(*hidden), nn.Linear(32, 10))
        optimizer = optim.SGD(model.parameters(), lr=1.0)
        history = dl.train.fit(model, *digits(), epochs=5, loss=F.cross_entropy, optimizer=optimizer, progress=False)
        return history["val_accuracy"][-1]

    assert accuracy(True) > 0.8 > accuracy(False)


def test_early_stopping_restores_the_best_weights():
    few = dl.data.ArrayDataset(*digits()[0][:200])
    model = nn.Sequential(nn.Flatten(), *models.mlp(64, 128, 10))
    history = fitted(model, (few, digits()[1]), 200, lr=1e-2, callbacks=[dl.train.EarlyStopping(patience=4)])
    losses = history["val_loss"]
    assert len(losses) == int(np.argmin(losses)) + 1 + 4 < 200
    assert losses[-1] > min(losses)
    found = dl.train.evaluate(model, digits()[1], loss=F.cross_entropy)["loss"]
    assert found == pytest.approx(min(losses), rel=1e-5)
