"""doctor: trainings that are made to fail are named by their fault, healthy ones healthy.

That it holds for other seeds too was tried by hand; `ailing` has the cases.
"""

import ailing
import numpy as np
import pytest
from inspecting import assert_untouched, batch_norm_net, digits, fingerprint

import dlfast as dl
from dlfast import functional as F
from dlfast import inspect, models, nn, optim, random, train
from dlfast.inspect import doctor

FAULTS = {
    "dying_relu": "dead_relu",
    "dying_relu_trained": "dead_relu",
    "vanishing_sigmoids": "vanishing_gradients",
    "vanishing_sigmoids_trained": "vanishing_gradients",
    "exploding_rnn": "exploding_gradients",
    "overfit": "overfitting",
    "overfit_few_rows": "overfitting",
    "underfit": "underfitting",
    "underfit_early": "underfitting",
    "unnormalised": "not_normalised",
    "unnormalised_trained": "not_normalised",
    "targets_not_normalised": "targets_not_normalised",
    "shuffled_labels": "labels",
    "shuffled_labels_learned": "labels",
    "too_high_adam": "learning_rate_too_high",
    "too_high_sgd": "learning_rate_too_high",
    "too_high_kills_units": "learning_rate_too_high",
    "too_high_untrained": "learning_rate_too_high",
    "too_low_sgd": "learning_rate_too_low",
    "too_low_adam_history_alone": "learning_rate_too_low",
    "imbalanced": "class_imbalance",
    "nan_in_data": "nan_in_data",
    "softmax_twice": "softmax_twice",
}
HEALTHY = [name for name in vars(ailing) if name.startswith("healthy_") and name != "healthy_mlp_sgd"]


def examine(name, seed=0):
    dl.manual_seed(seed)
    case = getattr(ailing, name)()
    return doctor(case.model, case.data, case.history, case.loss, case.optimizer, case.val)


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_leads(name):
    found = examine(name)
    assert found.codes[0] == FAULTS[name]
    assert not found.healthy
    leading = found.findings[0]
    assert leading.because is None
    assert leading.advice in " ".join(str(found).replace("Advice: ", "").split())
    assert f"1. {leading.severity}: {leading.code}" in str(found)
    assert all(finding.because is None or finding.because in found.codes for finding in found)


@pytest.mark.parametrize("name", HEALTHY)
def test_healthy_trainings_are_healthy(name):
    found = examine(name)
    assert found.codes == []
    assert found.healthy
    lines = str(found).split("\n")
    assert lines[0] == "Healthy: nothing wrong was found."
    assert any(line.startswith("Gradients over weights") for line in lines)


def test_consequences_are_told_as_such():
    found = examine("too_high_adam")
    assert {finding.because for finding in found.findings[1:]} == {"learning_rate_too_high"}
    assert "(follows from learning_rate_too_high)" in str(found)
    assert str(found).count("Advice:") == 1


def test_runs_that_ended_in_nan():
    dl.manual_seed(0)
    model = models.mlp(64, 20, 10)
    model[0].weight.data[3, 4] = np.nan
    history = train.History([{"train_loss": 2.3}, {"train_loss": float("nan")}])
    assert doctor(model, digits(), history).codes == ["learning_rate_too_high", "nan_in_weights"]
    x, y = digits()
    x = x.copy()
    x[7] = np.inf
    (finding,) = doctor(models.mlp(64, 10), (x, y))
    assert finding.figures == {"rows": 1, "of": 200}


def test_validation_data_and_the_model_decide_where_simple_rules_find_nothing():
    """The parity of 9 bits: no neighbour and no line knows it, but a network that does proves that there is a rule."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (1200, 9)).astype(np.float32)
    y = (x.sum(axis=1) % 2).astype(np.int64)

    class Parity(nn.Module):
        def __init__(self):
            self.head = nn.Linear(1, 2)
            self.head.weight.data[...], self.head.bias.data[...] = [[-9], [9]], [4.5, -4.5]

        def forward(self, x):
            odd = (np.asarray(x).sum(axis=1, keepdims=True) % 2).astype(np.float32)
            return self.head(odd)

    history = train.History([{"train_loss": 0.1, "val_loss": 0.1}])
    assert "labels" not in doctor(Parity(), (x[:800], y[:800]), history, val=(x[800:], y[800:])).codes
    shuffled = rng.permutation(y)
    assert "labels" in doctor(Parity(), (x[:800], shuffled[:800]), val=(x[800:], shuffled[800:])).codes


@pytest.mark.parametrize("training", [True, False])
def test_the_model_stays_as_it_was(training):
    model, optimizer = batch_norm_net().train(training), None
    data = dl.data.DataLoader(dl.data.ArrayDataset(*digits(80, flat=False)), 8, shuffle=True)
    optimizer = optim.Adam(model.parameters())
    model[5].weight.grad = np.full(model[5].weight.shape, 2, np.float32)
    before, state = fingerprint(model), optimizer.state_dict()
    history = train.History([{"train_loss": 2.3, "val_loss": 2.3}] * 3)
    first = str(doctor(model, data, history, optimizer=optimizer, val=digits(40, flat=False)))
    assert_untouched(model, before)
    np.testing.assert_equal(optimizer.state_dict(), state)
    random.permutation(5)  # wherever the random numbers are
    assert str(doctor(model, data, history, optimizer=optimizer, val=digits(40, flat=False))) == first


def test_models_of_several_inputs_numbers_and_texts():
    dl.manual_seed(0)
    x, y = digits()
    net = models.sequence_net(8, 10, hidden_size=16)
    assert doctor(net, (x.reshape(-1, 8, 8), np.full(200, 8), y)).healthy
    assert doctor(models.mlp(64, 24, 3), (x, x[:, 20:23].copy())).healthy
    binary = (x, (y[:, None] > 4).astype(np.float32))
    assert doctor(models.perceptron(64), binary, loss=F.binary_cross_entropy).healthy
    found = doctor(models.char_gru(61, hidden_size=32), dl.data.load("gospels").windows(24))
    assert found.healthy
    assert found.signal.kind == "text"
    assert found.signal.score < found.signal.chance


def test_bad_arguments():
    with pytest.raises(TypeError, match="doctor: model must be a Module, got function"):
        doctor(F.relu, digits())
    with pytest.raises(TypeError, match="must be a pair"):
        doctor(models.mlp(64, 10), digits()[0])
    with pytest.raises(TypeError, match="history must be a History"):
        doctor(models.mlp(64, 10), digits(), [1, 2])
    with pytest.raises(ValueError, match="holds no parameter of this model"):
        doctor(models.mlp(64, 10), digits(), optimizer=optim.SGD(models.mlp(64, 10).parameters(), lr=0.1))
    assert inspect.doctor is doctor
