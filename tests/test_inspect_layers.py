"""gradient_flow and dead_units: figures against what autograd and NumPy give, and nothing of the model changes."""

import sys

import numpy as np
import pytest
from inspecting import assert_untouched, batch_norm_net, digits, fingerprint

import dlfast as dl
from dlfast import functional as F
from dlfast import inspect, models, nn, optim
from dlfast.inspect import dead_units, gradient_flow

INSPECTIONS = {
    "gradient_flow": lambda model, data: gradient_flow(model, data, optimizer=optim.Adam(model.parameters())),
    "dead_units": dead_units,
    "activations": inspect.activations,
    "weights": lambda model, data: inspect.weights(model),
    "filters": lambda model, data: inspect.filters(model),
    "confusion_matrix": inspect.confusion_matrix,
    "check_initial_loss": inspect.check_initial_loss,
    "overfit_tiny_batch": lambda model, data: inspect.overfit_tiny_batch(model, data, steps=5),
}
OF_DATA = [name for name in INSPECTIONS if name not in ("weights", "filters")]
DRAWN = [name for name in INSPECTIONS if name != "check_initial_loss"]


@pytest.mark.parametrize("name", INSPECTIONS)
@pytest.mark.parametrize("training", [True, False])
def test_the_model_stays_as_it_was(name, training):
    model = batch_norm_net().train(training)
    model[4].train(not training)
    data = dl.data.DataLoader(dl.data.ArrayDataset(*digits(50, flat=False)), 8, shuffle=True)
    before = fingerprint(model)
    first = str(INSPECTIONS[name](model, data))
    assert_untouched(model, before)
    assert str(INSPECTIONS[name](model, data)) == first  # the same figures again


def test_gradient_flow_gives_the_norms_of_a_step():
    dl.manual_seed(0)
    model, (x, y) = models.mlp(64, 20, 10), digits(100)
    optimizer = optim.SGD(model.parameters(), lr=0.5)
    found = gradient_flow(model, (x, y), optimizer=optimizer)
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    assert found.loss == pytest.approx(loss.item(), rel=1e-5)
    assert [(row.name, row.layer) for row in found] == [("0", "Linear"), ("2", "Linear")]
    for row, layer in zip(found, (model[0], model[2])):
        norms = [np.linalg.norm(a.astype(np.float64)) for a in (layer.weight.data, layer.weight.grad)]
        assert [row.weight, row.gradient] == pytest.approx(norms, rel=1e-4)
        assert row.relative == pytest.approx(norms[1] / norms[0], rel=1e-4)
        assert row.update == pytest.approx(0.5 * row.relative, rel=1e-3)


def test_gradient_flow_takes_the_state_of_the_optimizer_along():
    dl.manual_seed(0)
    model, data = models.mlp(64, 20, 10), digits(64)
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    F.cross_entropy(model(data[0]), data[1]).backward()
    for _ in range(5):
        optimizer.step()  # momentum gathers
    state, found = optimizer.state_dict(), gradient_flow(model, data, optimizer=optimizer)
    assert all(row.update > 0.2 * row.relative for row in found)
    np.testing.assert_equal(optimizer.state_dict(), state)


def test_gradients_of_other_models_and_losses():
    text = dl.data.load("gospels")
    found = gradient_flow(models.char_lstm(len(text.vocabulary), hidden_size=8), text.windows(12), rows=8)
    assert [row.layer for row in found] == ["Embedding", "LSTM", "Linear"]
    assert found.finite
    assert all(row.update is None for row in found)
    x = np.ones((6, 9, 2), np.float32)
    found = gradient_flow(models.sequence_net(2, 3, hidden_size=4), (x, np.array([9, 3, 1, 2, 9, 9]), np.zeros(6, int)))
    assert [row.name for row in found] == ["rnn", "head"]
    found = gradient_flow(nn.Linear(64, 1), (digits(9)[0], np.ones((9, 1), np.float32)), F.l1_loss)
    assert len(found) == 1
    broken = models.mlp(64, 5, 10)
    broken[0].weight.data[...] = np.nan
    assert not gradient_flow(broken, digits(9)).finite
    assert len(gradient_flow(models.mlp(64, 5, 10).requires_grad_(False), digits(9), lambda y, t: y.sum())) == 0


def test_dead_and_saturated_units_are_counted():
    dl.manual_seed(1)
    x, y = digits(150)
    model = nn.Sequential(
        nn.Linear(64, 12),
        nn.ReLU(),
        nn.Linear(12, 8, activation="tanh"),
        nn.Linear(8, 6),
        nn.Sigmoid(),
        nn.Linear(6, 10),
    )
    model[0].bias.data[:5] = -100
    model[2].bias.data[:3] = 20
    model[3].bias.data[:2] = -20
    found = dead_units(model, (x, y))
    assert [(row.name, row.activation, row.units, row.dead, row.saturated) for row in found] == [
        ("1", "relu", 12, 5, 0),
        ("2", "tanh", 8, 0, 3),
        ("4", "sigmoid", 6, 0, 2),
    ]
    fired = np.maximum(x @ model[0].weight.data.T + model[0].bias.data, 0) > 0
    assert found.rows[0].active == pytest.approx(fired.mean(), abs=1e-3)
    assert (found.dead, found.saturated, found.shown) == (5, 5, 150)


def test_units_of_convolutions_are_channels_and_outputs_are_marked():
    dl.manual_seed(1)
    images, labels = dl.data.load("digits")[:40]
    model = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(54, 1), nn.Sigmoid())
    model[0].bias.data[:] = [5, 5, -50, -50, 5, 5]
    relu, sigmoid = dead_units(model, (images, labels))
    assert (relu.units, relu.dead, relu.output) == (6, 2, False)
    assert sigmoid.output
    block = nn.Sequential(nn.Residual(nn.Linear(64, 64), activation="relu"))
    assert [row.activation for row in dead_units(block, digits(9))] == ["relu"]


@pytest.mark.parametrize("name", DRAWN)
def test_pictures(name, tmp_path):
    pytest.importorskip("matplotlib")
    INSPECTIONS[name](batch_norm_net(), digits(60, flat=False)).plot(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"


def test_without_matplotlib_pictures_say_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    found = gradient_flow(models.mlp(64, 10), digits(9))
    assert "Linear" in str(found)
    with pytest.raises(ImportError, match="its extra `plots`"):
        found.plot(tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", OF_DATA)
def test_bad_arguments(name):
    inspect = INSPECTIONS[name]
    with pytest.raises(TypeError, match="must be a pair"):
        inspect(models.mlp(64, 10), digits(9)[0])
    with pytest.raises(ValueError, match="Linear"):
        inspect(models.mlp(63, 10), digits(9))
    with pytest.raises(TypeError, match="model must be a Module"):
        getattr(dl.inspect, name)("a model", digits(9))
    with pytest.raises(TypeError, match="loss must be made"):
        gradient_flow(models.mlp(64, 10), digits(9), nn.CrossEntropyLoss)
