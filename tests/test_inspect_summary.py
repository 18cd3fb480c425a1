"""summary: shapes, parameters, memory and multiply-adds agree with formulas worked out by hand."""

import re

import numpy as np
import pytest

import dlfast as dl
from dlfast import models, nn, random
from dlfast.inspect import summary


def rows_of(found):
    return {row.name: row for row in found}


def test_the_shapes_of_the_notes():
    found = summary(models.notes_cnn(), (1, 224, 224, 3))
    chain = ["224x224x3", "222x222x32", "111x111x32", "109x109x64", "8x8x64", "4096", "1000"]
    shapes = re.findall(r" 1x(\S+)", str(found))
    assert list(dict.fromkeys(shapes)) == chain
    assert found.parameters == found.trainable == 4_116_392
    assert found.parameter_bytes == 4 * 4_116_392
    first, second, last = (rows_of(found)[name] for name in "037")
    assert first.multiply_adds == 222 * 222 * 32 * 3 * 3 * 3
    assert second.multiply_adds == 109 * 109 * 64 * 3 * 3 * 32
    assert last.multiply_adds == 4096 * 1000
    assert first.activation_bytes == 4 * 222 * 222 * 32
    assert rows_of(found)["6"].activation_bytes == 0  # Flatten gives a view
    assert found.multiply_adds == sum(row.multiply_adds for row in found)


ALEXNET = 55**2 * 64 * 363 + 27**2 * 192 * 1600 + 13**2 * (384 * 1728 + 256 * 3456 + 256 * 2304)
ALEXNET += 9216 * 4096 + 4096 * 4096 + 4096 * 1000
RESNET20 = 1024 * 16 * (27 + 6 * 144) + 256 * 32 * (144 + 5 * 288) + 64 * 64 * (288 + 5 * 576) + 640
VGG11 = 1024 * 64 * 27 + 256 * 128 * 576 + 64 * 256 * (1152 + 2304) + 16 * 512 * (2304 + 4608) + 4 * 512 * 2 * 4608


@pytest.mark.parametrize(
    ("build", "shape", "parameters", "multiply_adds"),
    [
        (models.alexnet, (1, 224, 224, 3), 61_100_840, ALEXNET),
        (models.resnet20, (2, 32, 32, 3), 269_722, 2 * RESNET20),
        (models.lenet5, (1, 28, 28, 1), 61_706, 28 * 28 * 6 * 25 + 100 * 16 * 150 + 400 * 120 + 120 * 84 + 840),
        (lambda: models.vgg11(10, image_size=32), (1, 32, 32, 3), 9_225_610, VGG11 + 5120),
        (lambda: models.mlp(20, 30, 5), (7, 20), 20 * 30 + 30 + 30 * 5 + 5, 7 * (600 + 150)),
        (lambda: models.perceptron(2), (4, 2), 3, 8),
        (models.demo_cnn, (1, 28, 28, 1), 421_642, 784 * 32 * 9 + 196 * 64 * 288 + 3136 * 128 + 1280),
    ],
    ids=["alexnet", "resnet20", "lenet5", "vgg11", "mlp", "perceptron", "demo_cnn"],
)
def test_models_by_name(build, shape, parameters, multiply_adds):
    found = summary(build(), shape)
    assert found.parameters == parameters
    assert found.multiply_adds == multiply_adds


def test_resnet18_takes_what_the_paper_says():
    """He et al. 2016, table 1: 1.8 10^9 multiply-adds."""
    found = summary(models.resnet18(), (1, 224, 224, 3))
    assert found.parameters == 11_689_512
    assert round(found.multiply_adds / 1e9, 1) == 1.8


def test_language_models_and_sequences_with_lengths():
    found = summary(models.gpt(11, num_layers=2, d_model=8, nhead=2, context=6, tie_weights=True), (3, 6))
    steps, pairs = 3 * 6, 3 * 2 * (6 * 7 // 2)
    block = steps * 8 * (24 + 8 + 32 + 32) + 2 * pairs * 4
    assert found.multiply_adds == 2 * block + steps * 8 * 11
    assert rows_of(found)["head"].parameters == 0  # the embedding's
    assert rows_of(found)["head"].output == (3, 6, 11)
    for kind, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1)):
        net = models.sequence_net(5, 3, kind=kind, hidden_size=7, bidirectional=True)
        found = summary(net, ((2, 9, 5), np.array([9, 4])))
        assert rows_of(found)["rnn"].multiply_adds == 2 * (9 + 4) * gates * 7 * (5 + 7)
        assert rows_of(found)["rnn"].output == (2, 9, 14)
        assert found.inputs == [(2, 9, 5), (2,)]
    found = summary(models.char_lstm(11, hidden_size=5, embedding_dim=4), (3, 6))
    assert [row.layer for row in found] == ["Embedding", "LSTM", "Dropout", "Linear"]
    assert found.multiply_adds == steps * (4 * 5 * (4 + 5) + 5 * 11)
    assert summary(models.char_gru(11), (3, 6)).rows[1].layer == "GRU"
    assert summary(models.forecaster(2), (4, 9, 2)).rows[-1].output == (4, 2)


class Twice(nn.Module):
    """A layer that is called twice, one that is not called, and a product of its own."""

    def __init__(self):
        self.shared, self.unused = nn.Linear(4, 4), nn.Linear(4, 9)
        self.weight = nn.Parameter(np.ones((4, 3), np.float32))

    def forward(self, x):
        return self.shared(self.shared(x)) @ self.weight


def test_layers_called_twice_or_never():
    found = summary(Twice().requires_grad_(False), (5, 4))
    rows = rows_of(found)
    assert rows["shared"].calls == 2
    assert rows["shared"].multiply_adds == 2 * 5 * 16
    assert rows["unused"][2:4] == (None, 0)
    assert rows[""].multiply_adds == 5 * 4 * 3
    assert rows[""].parameters == 12
    assert found.parameters == 20 + 45 + 12
    assert found.trainable == 0
    for words in ("Linear, 2 times", "Linear, not called", "77 of them frozen"):
        assert words in str(found)


def test_timing_adds_what_explain_measures(monkeypatch):
    monkeypatch.setattr("dlfast._explain.layers._SECONDS", 0)
    monkeypatch.setattr("dlfast._explain.layers._LEAST", 1)
    monkeypatch.setattr("dlfast._machine.fma_roof", lambda threads, dtype, least: 100.0)
    found = summary(models.lenet5(), (2, 28, 28, 1), timing=True)
    rows = rows_of(found)
    assert rows["0"].forward_seconds > 0
    assert rows["0"].backward_seconds > 0
    assert rows["1"].forward_seconds is None  # in the convolution's pass
    assert "fwd ms" in str(found)
    assert [row.layer for row in found.explanation][0] == "Conv2d + Tanh + AvgPool2d"


def test_the_model_stays_as_it_was():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5))
    model[3].eval()
    before, state = model.state_dict(), random.get_state()
    summary(model, (2, 8, 8, 1))
    assert random.get_state() == state
    assert [module.training for module in model.modules()] == [True, True, True, True, False]
    assert all(module._hooks is None for module in model.modules())
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_bad_arguments():
    with pytest.raises(TypeError, match="summary: model must be a Module, got int"):
        summary(3, (1, 2))
    with pytest.raises(TypeError, match="summary: model must be a Module, got <class '.*Linear'>; make one"):
        summary(nn.Linear, (1, 2))
    with pytest.raises(TypeError, match=r"summary: input_shape must be a shape with the batch.*got 7"):
        summary(nn.Linear(2, 2), 7)
    with pytest.raises(ValueError, match="x must have"):
        summary(nn.Linear(2, 2), (1, 3))
    assert dl.inspect.summary is summary
