"""Callbacks that tell of a run: CSV, progress bar, learning rates, TensorBoard, functions of one's own."""

import csv
import sys

import pytest
from trainings import make, run, small

from dlfast import optim, train


def test_csv_logger(tmp_path):
    _, history = run(2, val=small(), callbacks=[train.CSVLogger(tmp_path / "log.csv")])
    with (tmp_path / "log.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert [float(row["val_loss"]) for row in rows] == history["val_loss"]


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_bar(terminal):
    import io

    from rich.console import Console

    console = Console(file=io.StringIO(), force_terminal=terminal, width=160, highlight=False)
    run(2, val=small(), callbacks=[train.ProgressBar(console)], progress=True)
    text = console.file.getvalue()
    for part in ("epoch 1/2  loss ", "epoch 2/2  loss ", "val_accuracy 0.", "images/s"):
        assert part in text
    assert ("\x1b[" in text) == terminal


class TestLRLogger:
    def test_a_column(self, tmp_path):
        model, optimizer = make(lr=0.08)
        schedule = optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        callbacks = [train.LRLogger(), train.CSVLogger(tmp_path / "log.csv")]
        _, history = run(3, model, optimizer, scheduler=schedule, callbacks=callbacks)
        assert history["lr"] == [0.08, 0.04, 0.02]
        with (tmp_path / "log.csv").open() as stream:
            assert [float(row["lr"]) for row in csv.DictReader(stream)] == history["lr"]

    def test_the_rate_of_the_last_update(self):
        model, optimizer = make(lr=1.0)
        schedule = optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        _, history = run(
            2, model, optimizer, scheduler=schedule, scheduler_step="batch", callbacks=[train.LRLogger()]
        )  # fmt: skip
        assert history["lr"] == [0.5**6, 0.5**13]

    def test_a_column_for_each_group(self):
        model, _ = make()
        groups = [{"params": model[0].parameters(), "lr": 0.1}, {"params": model[4].parameters()}]
        _, history = run(1, model, optim.SGD(groups, lr=0.2), callbacks=[train.LRLogger()])
        assert (history["lr_0"], history["lr_1"]) == ([0.1], [0.2])


def test_lambda_callback():
    seen = []
    events = ["on_train_begin", "on_epoch_begin", "on_batch_end", "after_update", "on_epoch_end", "after_epoch"]
    functions = {name: (lambda run, name=name: seen.append((name, run.epoch, run.batch))) for name in events}
    run(1, batch_size=100, callbacks=[train.LambdaCallback(**functions)])
    batches = [(name, 1, i) for i in (1, 2) for name in ("on_batch_end", "after_update")]
    assert seen == [
        ("on_train_begin", 0, 0), ("on_epoch_begin", 1, 0), *batches, ("on_epoch_end", 1, 2), ("after_epoch", 1, 2),
    ]  # fmt: skip
    for wrong in ({"on_batch": print}, {"on_batch_end": 3}, {"state_dict": dict}):
        with pytest.raises(TypeError, match="LambdaCallback: expected functions named on_train_begin, .* got "):
            train.LambdaCallback(**wrong)


class TestTensorBoard:
    def scalars(self, folder):
        """{tag: [(step, value)]} of all event files: records of a length, its checksum, an Event, its checksum."""
        event = pytest.importorskip("tensorboardX.proto.event_pb2").Event
        found = {}
        for path in sorted(folder.glob("events.*")):
            content = path.read_bytes()
            while content:
                length = int.from_bytes(content[:8], "little")
                record, content = event.FromString(content[12 : 12 + length]), content[16 + length :]
                for value in record.summary.value:
                    found.setdefault(value.tag, []).append((record.step, value.simple_value))
        return found

    def test_what_is_written_is_read_back(self, tmp_path):
        pytest.importorskip("tensorboardX")
        model, optimizer = make(lr=0.08)
        schedule = optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        callbacks = [train.LRLogger(), train.TensorBoard(tmp_path, every_steps=3)]
        _, history = run(2, model, optimizer, val=small(), scheduler=schedule, callbacks=callbacks)
        found = self.scalars(tmp_path)
        for tag, column in (
            ("loss/train", "train_loss"), ("loss/val", "val_loss"), ("accuracy/val", "val_accuracy"), ("lr/0", "lr"),
            ("seconds", "seconds"),
        ):  # fmt: skip
            assert [step for step, _ in found[tag]] == [7, 14]
            assert [value for _, value in found[tag]] == pytest.approx(history[column], rel=1e-6)
        assert [step for step, _ in found["running/loss"]] == [3, 6, 9, 12]
        assert "lr" not in found

    def test_a_resumed_run_takes_over(self, tmp_path):
        pytest.importorskip("tensorboardX")
        run(1, callbacks=[train.TensorBoard(tmp_path), train.Checkpoint(tmp_path)])
        run(2, callbacks=[train.TensorBoard(tmp_path), train.Checkpoint(tmp_path)], resume=tmp_path)
        assert [step for step, _ in self.scalars(tmp_path)["loss/train"]] == [7, 14]

    def test_without_the_package(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "tensorboardX", None)
        with pytest.raises(ImportError, match="needs tensorboardX: install dlfast with its extra `tensorboard`"):
            train.TensorBoard(tmp_path)

    def test_bad_input(self, tmp_path):
        pytest.importorskip("tensorboardX")
        with pytest.raises(ValueError, match="every_steps must be at least 1"):
            train.TensorBoard(tmp_path, every_steps=0)
