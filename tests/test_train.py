"""fit, evaluate, predict, History and the callbacks; and that training is exact to the bit."""

import json
import signal

import numpy as np
import pytest
from trainings import bits, digits, exact, make, run, small

import dlfast as dl
from dlfast import functional as F
from dlfast import models, nn, optim, train
from dlfast.data import ArrayDataset, DataLoader


def test_learns_digits():
    dl.manual_seed(0)
    training, validation = digits().split(1400)
    model, history = run(12, data=training, val=validation)
    assert history["val_accuracy"][-1] > 0.9
    assert history["train_loss"][-1] < 0.3 < history["train_loss"][0]
    results = train.evaluate(model, validation, loss=F.cross_entropy)
    assert results["accuracy"] == history["val_accuracy"][-1]
    assert results["loss"] == history["val_loss"][-1]
    outputs = train.predict(model, validation)
    assert (outputs.argmax(1) == validation.arrays[1]).mean() == pytest.approx(results["accuracy"])


@pytest.mark.parametrize("gate", ["and", "or", "xor"])
@pytest.mark.parametrize("kind", ["perceptron", "mlp"])
def test_a_perceptron_learns_and_or_but_not_xor(kind, gate):
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    y = {"and": x.min(1), "or": x.max(1), "xor": (x[:, 0] != x[:, 1]).astype(np.float32)}[gate][:, None]
    dl.manual_seed(0)
    model = models.perceptron(2) if kind == "perceptron" else models.mlp(2, 8, 1, activation=nn.Tanh)
    optimizer = optim.Adam(model.parameters(), lr=0.1)
    for _ in range(200):
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    right = int(((train.predict(model, x) > 0.5) == y).sum())
    assert right <= 3 if (kind, gate) == ("perceptron", "xor") else right == 4


def test_the_same_seed_gives_the_same_bits():
    results = []
    for seed in (5, 5, 6):
        dl.manual_seed(seed)
        model, history = run(2, val=small())
        results.append((bits(model.state_dict()), exact(history)))
    assert results[0] == results[1]
    assert results[0][0] != results[2][0]


def test_record_of_an_epoch():
    _, history = run(2, val=small())
    columns = ["train_loss", "train_accuracy", "val_loss", "val_accuracy", "seconds", "images_per_second"]
    assert [list(record) for record in history.epochs] == [columns] * 2
    assert history.stopped is None
    assert list(run(1)[1].epochs[0]) == ["train_loss", "train_accuracy", "seconds", "images_per_second"]


def test_metrics():
    def largest(outputs, targets):
        return outputs.max()

    model, history = run(1, metrics=["accuracy", largest])
    assert {"train_accuracy", "train_largest"} < set(history.epochs[0])
    assert set(train.evaluate(model, small(), metrics="accuracy")) == {"accuracy"}
    with pytest.raises(ValueError, match="unknown metric 'f2'; known are accuracy"):
        run(1, metrics=["f2"])


def test_a_regression_has_no_accuracy():
    model = nn.Linear(2, 1)
    data = (np.ones((8, 2), np.float32), np.zeros((8, 1), np.float32))
    _, history = run(1, model, optim.SGD(model.parameters(), lr=0.1), data, loss=F.mse_loss)
    assert "train_accuracy" not in history.epochs[0]


def test_means_weigh_each_row_alike():
    model, _ = make()
    data = small()
    whole = train.evaluate(model, data, loss=F.cross_entropy, batch_size=200)
    parts = train.evaluate(model, data, loss=F.cross_entropy, batch_size=64)
    assert parts == pytest.approx(whole, rel=1e-5)


def test_modes_are_as_before():
    model, optimizer = make()
    model[1].eval()
    seen = []

    class Look(train.Callback):
        def on_batch_end(self, run):
            seen.append((model.training, model[1].training, model[3].training))

    run(2, model, optimizer, val=small(), callbacks=[Look()])
    train.evaluate(model, small())
    train.predict(model, small())
    assert set(seen) == {(True, False, True)}
    assert (model.training, model[1].training, model[3].training) == (True, False, True)
    model.eval()
    run(1, model, optimizer)
    assert not model.training
    assert not model[3].training


def test_predict():
    model, _ = make()
    x = small().arrays[0]
    outputs = train.predict(model, x, batch_size=7)
    assert outputs.shape == (200, 10)
    np.testing.assert_allclose(outputs, train.predict(model, ArrayDataset(x)), rtol=1e-5, atol=1e-6)
    assert train.predict(model, x[:0]).shape == (0, 10)


def test_a_loader_keeps_its_own_batches():
    sizes = []

    class Look(train.Callback):
        def on_batch_end(self, run):
            sizes.append(run.means.count)

    run(1, data=DataLoader(small(), 90, drop_last=True), callbacks=[Look()])
    assert sizes == [90, 180]


class TestNonFiniteLoss:
    def test_names_the_batch_and_leaves_the_weights(self):
        data = small()
        data.arrays[0][70, 3] = np.nan
        model = nn.Linear(64, 10)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        states = [bits(model.state_dict())]

        class Look(train.Callback):
            def on_batch_end(self, run):
                states.append(bits(model.state_dict()))

        with pytest.raises(train.NonFiniteLoss, match="batch 3 in epoch 1 is nan") as caught:
            run(2, model, optimizer, data, shuffle=False, callbacks=[Look()])
        assert len(states) == 3
        assert bits(model.state_dict()) == states[-1]
        assert len(caught.value.history) == 0
        assert model.training

    def test_an_infinite_loss(self):
        model, optimizer = make()
        with pytest.raises(train.NonFiniteLoss, match="is inf"):
            run(1, model, optimizer, loss=lambda outputs, targets: (outputs * np.float32("inf")).abs().sum())


class TestInterrupt:
    class Press(train.Callback):
        """Presses Ctrl-C in the middle of the update of a batch."""

        def __init__(self, optimizer, batch):
            self.count, self.batch, self.original = 0, batch, optimizer._update
            optimizer._update = self.update

        def update(self, *work):
            self.count += 1
            if self.count == self.batch:
                signal.raise_signal(signal.SIGINT)
            self.original(*work)

    def test_the_update_under_way_is_finished(self):
        dl.manual_seed(1)
        model, optimizer = make()
        press = self.Press(optimizer, 10)  # the third batch of the second epoch
        _, history = run(5, model, optimizer, callbacks=[press])
        assert len(history) == 1
        assert history.stopped == "interrupted"
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert {entry["step"] for entry in optimizer.state_dict()["state"].values()} == {10}
        model.load_state_dict(model.state_dict())
        run(1, model, optimizer)  # it trains on

    def test_a_callback_may_interrupt(self):
        class Press(train.Callback):
            def on_batch_end(self, run):
                raise KeyboardInterrupt

        _, history = run(5, callbacks=[Press()])
        assert len(history) == 0
        assert history.stopped == "interrupted"


class TestHistory:
    def test_json(self, tmp_path):
        _, history = run(2, val=small())
        history.stopped = "interrupted"
        text = history.to_json(tmp_path / "history.json")
        assert json.loads(text)["epochs"] == history.epochs
        for back in (train.History.from_json(text), train.History.from_json(tmp_path / "history.json")):
            assert back.epochs == history.epochs
            assert back.stopped == "interrupted"

    def test_columns(self):
        history = train.History([{"train_loss": 1.0}, {"train_loss": 0.5}])
        assert history["train_loss"] == [1.0, 0.5]
        assert repr(history) == "History(2 epochs; last: train_loss 0.5)"
        assert repr(train.History()) == "History(empty)"
        with pytest.raises(KeyError, match="no column 'val_loss'; known are train_loss"):
            history["val_loss"]

    @pytest.mark.parametrize("name", ["curves.png", "curves.svg"])
    def test_plot(self, tmp_path, name):
        _, history = run(2, val=small())
        history.plot(tmp_path / name)
        assert (tmp_path / name).stat().st_size > 3000
        assert len(list(tmp_path.iterdir())) == 1


def test_fit_names_bad_arguments():
    model, optimizer = make()
    other, _ = make()
    x, y = small().arrays
    with pytest.raises(ValueError, match="epochs must be at least 1, got 0"):
        run(0, model, optimizer)
    with pytest.raises(TypeError, match="loss must be a function"):
        run(1, model, optimizer, loss="mse")
    with pytest.raises(TypeError, match="optimizer must be made"):
        run(1, model, optim.Adam)
    with pytest.raises(ValueError, match="holds no parameter of this model"):
        run(1, other, optimizer)
    with pytest.raises(TypeError, match="callbacks must be Callback objects"):
        run(1, model, optimizer, callbacks=[train.EarlyStopping])
    with pytest.raises(ValueError, match="train has no batches: 0 rows"):
        run(1, model, optimizer, (x[:0], y[:0]))
    with pytest.raises(ValueError, match="train must have inputs and targets"):
        run(1, model, optimizer, ArrayDataset(x))
    with pytest.raises(ValueError, match="equal lengths"):
        run(1, model, optimizer, (x, y[:3]))
