"""Trainings that are made to fail, each in one way, and some that go well: for the tests of `inspect.doctor`."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np

import dlfast as dl
from dlfast import functional as F
from dlfast import init, models, nn, optim, train


class Case(NamedTuple):
    """What `doctor` is given."""

    model: Any
    data: Any
    history: Any = None
    optimizer: Any = None
    val: Any = None
    loss: Any = None


@cache
def digits():
    images, labels = dl.data.load("digits").arrays
    return images.reshape(-1, 64), labels


def split(count=1200, x=None, y=None):
    images, labels = digits()
    x, y = (images if x is None else x), (labels if y is None else y)
    return (x[:count], y[:count]), (x[1400:], y[1400:])


def trained(model, data, val, epochs, optimizer, batch_size=32, loss=F.cross_entropy):
    try:
        history = train.fit(
            model, data, val, epochs=epochs, batch_size=batch_size, loss=loss, optimizer=optimizer, progress=False
        )
    except train.NonFiniteLoss as error:
        history = error.history
    return Case(model, data, history, optimizer, val, loss)


def mlp(*sizes, **options):
    return models.mlp(64, *(sizes or (32, 32)), 10, **options)


def dying_relu():
    model = mlp()
    model[0].bias.data[...] = -10
    return Case(model, split()[0])


def dying_relu_trained():
    model = mlp()
    model[2].bias.data[...] = -20
    return trained(model, *split(), 3, optim.Adam(model.parameters(), lr=1e-3))


def vanishing_sigmoids():
    return Case(mlp(*[32] * 20, activation=nn.Sigmoid), split()[0])


def vanishing_sigmoids_trained():
    model = mlp(*[32] * 20, activation=nn.Sigmoid)
    return trained(model, *split(), 4, optim.SGD(model.parameters(), lr=0.1))


def exploding_rnn():
    images, labels = digits()
    net = models.sequence_net(8, 10, kind="RNN", hidden_size=32)
    net.rnn = nn.RNN(8, 32, nonlinearity="relu", batch_first=True)
    init.orthogonal_(net.rnn.weight_hh_l0)
    net.rnn.weight_hh_l0.data[...] *= 2.5
    sequences = np.tile(images[:1000].reshape(-1, 8, 8), (1, 4, 1))
    return Case(net, (sequences, labels[:1000]))


def overfit():
    """A quarter of the labels are wrong, and are learned by heart."""
    (x, y), val = split(400)
    rng = np.random.default_rng(0)
    noisy = np.where(rng.random(400) < 0.25, rng.integers(10, size=400), y)
    model = mlp(128)
    return trained(model, (x, noisy), val, 150, optim.Adam(model.parameters(), lr=3e-3))


def overfit_few_rows():
    """A hundred rows are learned by heart; the loss of others stays, but one in six or more is wrong."""
    model = mlp(64)
    return trained(model, *split(100), 60, optim.Adam(model.parameters(), lr=3e-3))


def underfit():
    model = mlp(2)
    return trained(model, *split(), 15, optim.Adam(model.parameters(), lr=1e-2))


def underfit_early():
    model = mlp(3)
    return trained(model, *split(), 6, optim.Adam(model.parameters(), lr=1e-2))


def unnormalised():
    (x, y), _ = split()
    return Case(mlp(), (x * 255 * 16, y))


def unnormalised_trained():
    images, _ = digits()
    model = mlp()
    return trained(model, *split(x=images * 4000 + 1000), 4, optim.SGD(model.parameters(), lr=0.1))


def shuffled_labels():
    _, labels = digits()
    model = mlp()
    shuffled = np.random.default_rng(5).permutation(labels)
    return trained(model, *split(y=shuffled), 10, optim.Adam(model.parameters(), lr=3e-3))


def shuffled_labels_learned():
    _, labels = digits()
    model = mlp(128)
    shuffled = np.random.default_rng(6).permutation(labels)
    return trained(model, *split(y=shuffled), 40, optim.Adam(model.parameters(), lr=5e-3))


def too_high_adam():
    model = mlp()
    return trained(model, *split(), 5, optim.Adam(model.parameters(), lr=1.0))


def too_high_sgd():
    model = mlp()
    return trained(model, *split(), 5, optim.SGD(model.parameters(), lr=20.0))


def too_high_untrained():
    model = mlp()
    return Case(model, split()[0], None, optim.SGD(model.parameters(), lr=30.0))


def too_low_sgd():
    model = mlp()
    return trained(model, *split(), 5, optim.SGD(model.parameters(), lr=1e-4))


def too_low_adam_history_alone():
    model = mlp()
    return trained(model, *split(), 5, optim.Adam(model.parameters(), lr=3e-6))._replace(optimizer=None)


def healthy_mlp():
    model = mlp()
    return trained(model, *split(), 15, optim.Adam(model.parameters(), lr=2e-3))


def healthy_mlp_sgd():
    model = mlp()
    return trained(model, *split(), 15, optim.SGD(model.parameters(), lr=0.1, momentum=0.9))


def healthy_untrained():
    model = mlp()
    return Case(model, split()[0], None, optim.Adam(model.parameters(), lr=1e-3))


def mnist():
    data, val = dl.data.load("mnist10k").split(8000)
    return dl.data.ArrayDataset(*data[:2000]), dl.data.ArrayDataset(*val[:500])


def healthy_lenet5():
    model = models.lenet5()
    return trained(model, *mnist(), 4, optim.Adam(model.parameters(), lr=2e-3))


def healthy_char_lstm():
    training, validation = dl.data.load("gospels").split()
    model = models.char_lstm(len(training.vocabulary), hidden_size=64, embedding_dim=32)
    windows = training.random_windows(32, 1500)
    held_out = dl.data.ArrayDataset(*validation.windows(32)[:200])
    return trained(model, windows, held_out, 3, optim.AdamW(model.parameters(), lr=1e-2))


def healthy_regression():
    images, _ = digits()
    model = models.mlp(63, 64, 1)
    y = images[:, 20:21].copy()
    x = np.delete(images, 20, axis=1)
    return trained(
        model, (x[:1200], y[:1200]), (x[1400:], y[1400:]), 20, optim.Adam(model.parameters(), lr=2e-3), loss=F.mse_loss
    )


def imbalanced():
    x, y = digits()
    keep = (y != 3) | (np.arange(len(y)) % 20 == 3)
    return Case(mlp(), (x[keep], y[keep]))


def nan_in_data():
    x, y = digits()
    x = x.copy()
    x[5, 3] = np.nan
    return Case(mlp(), (x, y))


def softmax_twice():
    return Case(nn.Sequential(*mlp(), nn.Softmax()), split()[0])


def targets_not_normalised():
    x, y = digits()
    return Case(models.mlp(64, 32, 1), (x, (y[:, None] * 1000.0 + 5000).astype(np.float32)))


def healthy_xor():
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]] * 50)
    x = (corners + 0.1 * np.random.default_rng(0).standard_normal((200, 2))).astype(np.float32)
    y = corners[:, 0] ^ corners[:, 1]
    m = models.mlp(2, 16, 2)
    return trained(m, (x, y), (x, y), 40, optim.Adam(m.parameters(), lr=1e-2))


def too_high_kills_units():
    model = mlp()
    return trained(model, *split(), 6, optim.SGD(model.parameters(), lr=2.0))
