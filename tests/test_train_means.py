"""Losses and metrics over batches are those of the whole, whatever the size of the batches; metrics look at shapes."""

import functools
import math

import numpy as np
import pytest

from dlfast import functional as F
from dlfast import nn, optim, train

IGNORED = -100
WEIGHTS = np.array([0.2, 1.0, 5.0], np.float32)
SIZES = (1, 3, 4, 10, 16, 23)


def data(ignored=IGNORED, rows=23, steps=None):
    """Rows of which a stretch, and so whole batches of up to six, have ignored targets."""
    rng = np.random.default_rng(0)
    shape = (rows,) if steps is None else (rows, steps)
    x = rng.normal(size=(*shape, 4)).astype(np.float32)
    y = rng.integers(1, 3, shape)
    y[6:12] = ignored
    y[-1] = ignored
    return x, y


LOSSES = {
    "cross_entropy": (F.cross_entropy, IGNORED),
    "layer": (nn.CrossEntropyLoss(), IGNORED),
    "another label": (nn.CrossEntropyLoss(ignore_index=0), 0),
    "partial": (functools.partial(F.cross_entropy, ignore_index=0), 0),
    "lambda": (lambda outputs, targets: F.cross_entropy(outputs, targets, ignore_index=7), 7),
    "weights": (nn.CrossEntropyLoss(weight=WEIGHTS), IGNORED),
    "smoothing": (nn.CrossEntropyLoss(label_smoothing=0.1), IGNORED),
    "nll": (lambda outputs, targets: F.nll_loss(F.log_softmax(outputs), targets), IGNORED),
    "nll weights": (lambda outputs, targets: nn.NLLLoss(WEIGHTS)(F.log_softmax(outputs), targets), IGNORED),
    "scaled": (lambda outputs, targets: 2 * F.cross_entropy(outputs, targets), IGNORED),
}


@pytest.mark.parametrize("steps", [None, 3])
@pytest.mark.parametrize("name", LOSSES)
def test_any_batch_size_gives_the_same_loss(name, steps):
    loss, ignored = LOSSES[name]
    x, y = data(ignored, steps=steps)
    model = nn.Linear(4, 3)
    whole = loss(model(x), y).item()
    right = (model(x).numpy().argmax(-1) == y)[y != ignored].mean()
    for size in SIZES:
        found = train.evaluate(model, (x, y), loss=loss, batch_size=size)
        assert found["loss"] == pytest.approx(whole, rel=1e-5)
        assert found["accuracy"] == pytest.approx(right, rel=1e-6)
        still = optim.SGD(model.parameters(), lr=0.0)
        history = train.fit(
            model, (x, y), (x, y), epochs=1, batch_size=size, loss=loss, optimizer=still, progress=False, shuffle=False
        )
        assert history["train_loss"][0] == pytest.approx(whole, rel=1e-5)
        assert history["val_loss"][0] == pytest.approx(whole, rel=1e-5)
        assert history["train_accuracy"][0] == pytest.approx(right, rel=1e-6)


def test_a_batch_of_ignored_targets_updates_nothing():
    x, y = data()
    model = nn.Linear(4, 3)
    optimizer, seen = optim.Adam(model.parameters(), weight_decay=0.1), []

    class Look(train.Callback):
        def on_batch_end(self, run):
            seen.append((run.batch, model.weight.data.tobytes()))

    train.fit(
        model, (x, y), loss=F.cross_entropy, optimizer=optimizer, batch_size=6, shuffle=False, progress=False,
        callbacks=[Look()],
    )  # fmt: skip
    assert [number for number, _ in seen] == [1, 2, 3, 4]
    assert seen[0][1] == seen[1][1] != seen[2][1]
    assert np.isfinite(model.weight.data).all()


def test_nothing_that_counts_is_nan_and_does_not_end_the_training():
    x, y = data()
    y[:] = IGNORED
    model = nn.Linear(4, 3)
    assert math.isnan(train.evaluate(model, (x, y), loss=F.cross_entropy)["loss"])
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    history = train.fit(model, (x, y), loss=F.cross_entropy, optimizer=optimizer, epochs=2, progress=False)
    assert len(history) == 2
    assert math.isnan(history["train_loss"][0])


def test_other_losses_count_rows():
    x, y = np.ones((5, 2), np.float32), np.arange(5, dtype=np.float32)[:, None]
    model = nn.Linear(2, 1)
    whole = train.evaluate(model, (x, y), loss=F.mse_loss, batch_size=5)
    assert train.evaluate(model, (x, y), loss=F.mse_loss, batch_size=2) == pytest.approx(whole, rel=1e-5)


class Given(nn.Module):
    """Its input is its output."""

    def forward(self, x):
        return x * 1.0


def accuracy(outputs, targets):
    return train.evaluate(Given(), (np.asarray(outputs, np.float32), np.asarray(targets)), metrics="accuracy")[
        "accuracy"
    ]


class TestAccuracy:
    labels = np.array([0, 2, 1, 2, 0])

    @pytest.mark.parametrize("shape", [(5,), (5, 1)])
    def test_of_classes(self, shape):
        logits = np.eye(3)[self.labels]
        assert accuracy(logits, self.labels.reshape(shape)) == 1
        logits[0] = logits[1]
        assert accuracy(logits, self.labels.reshape(shape)) == pytest.approx(0.8)

    @pytest.mark.parametrize("shape", [(4,), (4, 1)])
    def test_of_a_single_logit(self, shape):
        labels = np.array([0, 1, 1, 0]).reshape(shape)
        logits = np.array([[-3.0], [2.0], [0.1], [-0.1]])
        assert accuracy(logits, labels) == 1
        assert accuracy(-logits, labels) == 0
        assert accuracy(logits[:, 0], labels) == 1

    def test_of_one_hot_vectors(self):
        logits = np.random.default_rng(0).normal(size=(5, 3))
        expected = (logits.argmax(1) == self.labels).mean()
        assert accuracy(logits, np.eye(3, dtype=int)[self.labels]) == pytest.approx(expected)

    def test_of_sequences(self):
        labels = np.random.default_rng(0).integers(0, 4, (3, 5))
        logits = np.eye(4)[labels]
        assert accuracy(logits, labels) == 1
        assert accuracy(logits, labels[..., None]) == 1

    @pytest.mark.parametrize(
        ("outputs", "targets"), [((4, 3), (4, 2)), ((4, 3, 2), (4,)), ((4, 1), (4, 3)), ((4,), (4, 2))]
    )
    def test_shapes_that_do_not_fit_are_refused(self, outputs, targets):
        with pytest.raises(ValueError, match=r"accuracy: outputs must have shape \(\.\.\., C\) and targets"):
            accuracy(np.zeros(outputs), np.zeros(targets, int))

    def test_more_than_two_classes_in_one_logit_are_refused(self):
        with pytest.raises(ValueError, match=r"accuracy: one output, .* tells two classes apart"):
            accuracy(np.zeros((3, 1)), np.array([0, 1, 2]))
