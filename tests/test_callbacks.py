"""Callbacks: early stopping, checkpoints, the CSV log, the progress bar; files are written whole or not at all."""

import numpy as np
import pytest
from trainings import bits, exact, make, run, small

import dlfast as dl
import dlfast.random
from dlfast import nn, optim, train
from dlfast._files import write_atomically
from dlfast.serialize import pack, unpack


class TestEarlyStopping:
    class Scripted(train.Callback):
        """Replaces the validation loss by a script and remembers the weights of each epoch."""

        def __init__(self, losses):
            self.losses, self.weights = losses, []

        def on_epoch_end(self, run):
            run.history.epochs[-1]["val_loss"] = self.losses[len(run.history) - 1]
            self.weights.append(bits(run.model.state_dict()))

    def stopped(self, losses, **options):
        script = self.Scripted(losses)
        model, history = run(len(losses), val=small(), callbacks=[script, train.EarlyStopping(**options)])
        return bits(model.state_dict()), script.weights, history

    def test_stops_and_restores_the_best_weights(self):
        weights, seen, history = self.stopped([3.0, 2.0, 2.5, 2.1, 1.0], patience=2)
        assert len(history) == 4
        assert history.stopped == "no better than 2 for 2 epochs"
        assert weights == seen[1] != seen[3]

    def test_restores_the_best_weights_at_the_last_epoch_too(self):
        weights, seen, history = self.stopped([3.0, 2.0, 2.5], patience=2)
        assert history.stopped is None
        assert weights == seen[1]

    def test_options(self):
        weights, seen, history = self.stopped([3.0, 2.0, 2.5], patience=2, restore_best=False)
        assert weights == seen[2]
        _, _, history = self.stopped([3.0, 2.9, 2.8, 0.0], patience=2, min_delta=0.5)
        assert len(history) == 3

    def test_an_accuracy_is_better_when_larger(self):
        class Falling(train.Callback):
            def on_epoch_end(self, run):
                run.history.epochs[-1]["val_accuracy"] = 1 / len(run.history)

        _, history = run(5, val=small(), callbacks=[Falling(), train.EarlyStopping(1, "val_accuracy")])
        assert len(history) == 2

    def test_bad_input(self):
        with pytest.raises(ValueError, match="patience must be at least 1, got 0"):
            train.EarlyStopping(patience=0)
        with pytest.raises(ValueError, match="min_delta must be in"):
            train.EarlyStopping(min_delta=-1)
        with pytest.raises(ValueError, match="monitor 'val_f1' is not recorded; recorded are train_loss"):
            run(1, callbacks=[train.EarlyStopping(monitor="val_f1")])


class TestBest:
    """The column that is watched: NaN is worst, and which way is up must be known."""

    def epochs_until_stop(self, values, monitor="val_loss", **options):
        stop, weights = train.EarlyStopping(3, monitor, **options), []

        class Record(train.Callback):
            def on_epoch_end(self, run):
                run.history.epochs[-1][monitor] = values[len(run.history) - 1]
                weights.append(bits(run.model.state_dict()))

        model, history = run(len(values), val=small(), callbacks=[Record(), stop])
        return len(history), weights.index(bits(model.state_dict()))

    @pytest.mark.parametrize(
        ("values", "stops", "best"),
        [
            ([np.nan, 0.9, 0.5, 0.3], 4, 3),
            ([0.9, np.nan, np.nan, np.nan, 0.1], 4, 0),
            ([np.nan] * 6, 4, 0),
            ([0.9, np.nan, 0.5, np.nan, 0.4], 5, 4),
            ([np.inf, np.nan, 2.0, -np.inf, 3.0], 5, 3),
        ],
    )
    def test_nan_is_worst(self, values, stops, best):
        assert self.epochs_until_stop(values) == (stops, best)
        assert self.epochs_until_stop([-v for v in values], "val_accuracy") == (stops, best)

    @pytest.mark.parametrize(
        "monitor", ["val_auc", "val_accuracy", "train_acc", "val_f1", "val_top5_accuracy", "val_r2"]
    )
    def test_what_is_better_when_larger(self, monitor):
        assert self.epochs_until_stop([0.1, 0.2, 0.3, 0.4, 0.5], monitor) == (5, 4)
        assert self.epochs_until_stop([0.5, 0.4, 0.3, 0.2, 0.1], monitor) == (4, 0)

    @pytest.mark.parametrize("monitor", ["val_loss", "train_error", "val_rmse", "val_aux_loss", "val_perplexity"])
    def test_what_is_better_when_smaller(self, monitor):
        assert self.epochs_until_stop([0.5, 0.4, 0.3, 0.2, 0.1], monitor) == (5, 4)

    def test_a_mode_that_is_given(self):
        assert self.epochs_until_stop([1, 2, 3, 4, 5], "val_gain", mode="max") == (5, 4)
        assert self.epochs_until_stop([1, 2, 3, 4, 5], "val_gain", mode="min") == (4, 0)
        assert self.epochs_until_stop([1, 2, 3, 4, 5], "val_loss", mode="max") == (5, 4)

    def test_a_direction_that_is_not_known_is_asked_for(self, tmp_path):
        for build in (train.EarlyStopping, lambda monitor: train.Checkpoint(tmp_path, monitor)):
            with pytest.raises(ValueError, match=r"whether a larger 'val_gain' is better is not known.*mode='max'"):
                build(monitor="val_gain")
        with pytest.raises(ValueError, match="mode must be one of 'min', 'max'"):
            train.EarlyStopping(mode="up")

    def test_the_best_file_follows_it_too(self, tmp_path):
        weights = []

        class Record(train.Callback):
            def on_epoch_end(self, run):
                run.history.epochs[-1]["val_auc"] = [np.nan, 0.5, 0.9, 0.7][len(run.history) - 1]
                weights.append(bits(run.model.state_dict()))

        run(4, val=small(), callbacks=[Record(), train.Checkpoint(tmp_path, "val_auc")])
        assert bits(dl.load(tmp_path / "best.safetensors")) == weights[2]


class TestCheckpoint:
    def make(self, folder):
        return {"val": small(), "callbacks": [train.EarlyStopping(patience=3), train.Checkpoint(folder)]}

    def test_resumed_equals_uninterrupted(self, tmp_path):
        dl.manual_seed(7)
        whole, history = run(6, **self.make(tmp_path / "whole"))
        dl.manual_seed(7)
        run(3, **self.make(tmp_path / "parts"))
        dl.manual_seed(99)  # the state of the generator comes from the folder
        model, optimizer = make()
        _, resumed = run(6, model, optimizer, resume=tmp_path / "parts", **self.make(tmp_path / "parts"))
        assert exact(resumed) == exact(history)
        assert bits(model.state_dict()) == bits(whole.state_dict())
        for name in ("best", "last"):
            a, b = (dl.load(tmp_path / kind / f"{name}.safetensors") for kind in ("whole", "parts"))
            for key in ("history", "random"):  # the history holds the times
                a.pop(key, None), b.pop(key, None)
            assert bits(pack(a)) == bits(pack(b))

    def test_a_finished_run_stays_finished(self, tmp_path):
        dl.manual_seed(7)
        model, history = run(2, **self.make(tmp_path))
        other, resumed = run(2, resume=tmp_path, **self.make(tmp_path))
        assert resumed.epochs == history.epochs
        assert bits(other.state_dict()) == bits(model.state_dict())

    def test_a_stopped_run_stays_stopped(self, tmp_path):
        script = TestEarlyStopping.Scripted
        callbacks = lambda: [script([3.0, 2.0, 2.5, 2.6]), train.EarlyStopping(2), train.Checkpoint(tmp_path)]  # noqa: E731
        model, history = run(4, val=small(), callbacks=callbacks())
        other, resumed = run(9, val=small(), callbacks=callbacks(), resume=tmp_path)
        assert resumed.stopped == history.stopped == "no better than 2 for 2 epochs"
        assert bits(other.state_dict()) == bits(model.state_dict())

    def test_a_stop_is_judged_anew(self, tmp_path):
        losses = [3.0, 2.0, 2.5, 2.6, 2.7, 2.8, 1.0, 1.1]

        def callbacks(patience, **options):
            script = TestEarlyStopping.Scripted(losses)
            return [script, train.EarlyStopping(patience, **options), train.Checkpoint(tmp_path)]

        _, history = run(8, val=small(), callbacks=callbacks(2))
        assert len(history) == 4
        _, history = run(8, val=small(), callbacks=callbacks(4), resume=tmp_path)
        assert (len(history), history.stopped) == (6, "no better than 2 for 4 epochs")
        _, history = run(8, val=small(), callbacks=callbacks(5), resume=tmp_path)
        assert (len(history), history.stopped) == (8, None)
        _, history = run(8, val=small(), callbacks=callbacks(1), resume=tmp_path)
        assert (len(history), history.stopped) == (8, "no better than 1 for 1 epochs")

    def test_a_stop_by_another_column_is_forgotten(self, tmp_path):
        script = TestEarlyStopping.Scripted([1.0, 2.0, 3.0])
        run(3, val=small(), callbacks=[script, train.EarlyStopping(1), train.Checkpoint(tmp_path)])
        _, history = run(
            4,
            val=small(),
            callbacks=[train.EarlyStopping(9, "val_accuracy"), train.Checkpoint(tmp_path)],
            resume=tmp_path,
        )
        assert len(history) == 4

    def test_a_stop_by_a_callback_that_does_not_say_so_again_is_over(self, tmp_path):
        class Once(train.Callback):
            def on_epoch_end(self, run):
                run.stop = "enough" if len(run.history) == 1 else None

        _, history = run(3, callbacks=[Once(), train.Checkpoint(tmp_path)])
        assert (len(history), history.stopped) == (1, "enough")
        _, history = run(3, callbacks=[Once(), train.Checkpoint(tmp_path)], resume=tmp_path)
        assert (len(history), history.stopped) == (3, None)

    def untouched(self, folder, words, model=None, optimizer=None, callbacks=()):
        """Resuming from the folder raises, with these words, and changes nothing."""
        if model is None:
            model, optimizer = make()
            run(1, model, optimizer)
        before = bits(pack([model.state_dict(), optimizer.state_dict(), dl.random.get_state()]))
        with pytest.raises(ValueError, match=words):
            run(5, model, optimizer, callbacks=list(callbacks), resume=folder)
        assert bits(pack([model.state_dict(), optimizer.state_dict(), dl.random.get_state()])) == before

    def test_another_optimizer_is_refused(self, tmp_path):
        rules = {name: getattr(optim, name) for name in ("SGD", "RMSprop", "Adam", "AdamW")}
        for name, rule in rules.items():
            model, _ = make()
            run(1, model, rule(model.parameters(), lr=0.01), callbacks=[train.Checkpoint(tmp_path)])
            for other in rules.keys() - {name}:
                model, _ = make()
                optimizer = rules[other](model.parameters(), lr=0.01)
                self.untouched(tmp_path, f"was trained with {name}, whose state {other} cannot take", model, optimizer)

    def test_another_model_is_refused(self, tmp_path):
        run(1, callbacks=[train.Checkpoint(tmp_path)])
        model = nn.Sequential(nn.Linear(64, 12), nn.Linear(12, 10))
        self.untouched(tmp_path, "cannot resume from .*load_state_dict", model, optim.Adam(model.parameters()))

    def test_damage_is_refused(self, tmp_path):
        run(1, callbacks=[train.EarlyStopping(), train.Checkpoint(tmp_path)])
        path = tmp_path / "last.safetensors"
        content = path.read_bytes()
        rng = np.random.default_rng(0)
        for place in rng.integers(8, len(content), 20):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1 << rng.integers(8)]) + content[place + 1 :])
            self.untouched(tmp_path, "is not a sound safetensors file")
        for length in (0, 7, 100, len(content) // 2, len(content) - 1):
            path.write_bytes(content[:length])
            self.untouched(tmp_path, "is not a sound safetensors file")

    @pytest.mark.parametrize(
        "change",
        [
            lambda state: state.pop("model"),
            lambda state: state.pop("history"),
            lambda state: state["history"].pop("epochs"),
            lambda state: state["history"].update(epochs=[3]),
            lambda state: state["random"].update(state=None),
            lambda state: state["random"].update(bit_generator="MT"),
            lambda state: state["optimizer"].pop("param_groups"),
            lambda state: state["optimizer"]["param_groups"].append({"params": []}),
            lambda state: state["optimizer"]["state"].update({0: {"step": 1, "exp_avg": np.ones(3, np.float32)}}),
            lambda state: state["callbacks"]["EarlyStopping.0"].pop("waited"),
            lambda state: state["callbacks"]["EarlyStopping.0"].pop("best"),
            lambda state: state["callbacks"].update({"Checkpoint.0": 3}),
        ],
    )
    def test_a_state_that_lacks_something_changes_nothing(self, tmp_path, change):
        run(2, callbacks=[train.EarlyStopping(), train.Checkpoint(tmp_path)])
        state = dl.load(tmp_path / "last.safetensors")
        change(state)
        dl.save(tmp_path / "last.safetensors", state)
        stop = train.EarlyStopping()
        before = stop.state_dict()
        self.untouched(tmp_path, "last.safetensors", callbacks=[stop, train.Checkpoint(tmp_path)])
        assert stop.state_dict() == before

    def test_best_holds_the_best_weights(self, tmp_path):
        script = TestEarlyStopping.Scripted([3.0, 1.0, 2.0])
        run(3, val=small(), callbacks=[script, train.Checkpoint(tmp_path)])
        assert bits(dl.load(tmp_path / "best.safetensors")) == script.weights[1]
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            f"{name}.safetensors" for name in ("best", "last", "previous")
        ]

    def test_a_crash_while_writing_leaves_the_old_file(self, tmp_path, monkeypatch):
        run(1, callbacks=[train.Checkpoint(tmp_path)])
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

        def crash(path, arrays):
            path.write_bytes(b"half")
            raise OSError("disk full")

        monkeypatch.setattr("dlfast._safetensors.write", crash)
        with pytest.raises(OSError, match="disk full"):
            run(1, callbacks=[train.Checkpoint(tmp_path)])
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before

    def test_bad_input(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="nothing to resume"):
            run(1, resume=tmp_path / "none")
        run(1, callbacks=[train.Checkpoint(tmp_path)])
        model = nn.Sequential(nn.Linear(64, 12), nn.Linear(12, 10))
        before = bits(model.state_dict())
        with pytest.raises((ValueError, KeyError)):
            run(1, model, optim.SGD(model.parameters()), resume=tmp_path)
        assert bits(model.state_dict()) == before

    def test_pack(self):
        state = {"a": [np.arange(3), {"b": (1, 2.5, None, "x")}], 4: {}, "big": 2**100, "n": np.float64(0.1)}
        back = unpack(pack(state))
        np.testing.assert_array_equal(back["a"].pop(0), np.arange(3))
        assert back == {"a": [{"b": [1, 2.5, None, "x"]}], 4: {}, "big": 2**100, "n": 0.1}


def test_write_atomically(tmp_path):
    path = tmp_path / "new" / "file.txt"
    write_atomically(path, lambda temporary: temporary.write_text("one"))
    assert path.read_text() == "one"

    def crash(temporary):
        temporary.write_text("tw")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_atomically(path, crash)
    assert path.read_text() == "one"
    assert len(list(path.parent.iterdir())) == 1
