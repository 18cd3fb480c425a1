"""`dlfast doctor`: a run of `dlfast train` is examined with its own data, history and learning rate."""

import numpy as np
import pytest
from click.testing import CliRunner

from dlfast.cli import main
from dlfast.commands import examining, run
from dlfast.serialize import load, save

ROWS = 240


def call(*arguments):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def failed(*arguments):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code in (1, 2)
    assert "Traceback" not in result.output
    return " ".join(result.output.split())


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    """Images in which class c is bright in the rows from 2c on, with names for a table, and a text."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "find_spec", lambda name: None)  # no curves, which take a second
    draw = np.random.default_rng(1)
    labels = np.arange(ROWS) % 3
    images = draw.integers(0, 90, (ROWS, 8, 8), np.uint8)
    for image, label in zip(images, labels):
        image[2 * label : 2 * label + 2] += 120
    np.savez("images.npz", images=images, labels=labels)
    np.savez("shuffled.npz", images=images, labels=draw.permutation(labels))
    np.savez("other.npz", images=images[:50], labels=labels[:50])
    return tmp_path


def train(data="images.npz", *more):
    call("train", "mlp", "--data", data, "--epochs", 6, "--out", "out", *more)


def test_a_healthy_run(folder):
    train("images.npz", "--lr", 3e-3)
    output = call("doctor", "out")
    assert output.startswith("Healthy: nothing wrong was found.\n")
    assert "Data: 192 rows looked at." in output
    assert call("doctor", "out/last.safetensors", "--data", "other.npz").startswith("Healthy")


def test_faults_are_named(folder):
    train("shuffled.npz")
    assert "error: labels" in call("doctor", "out")
    call("train", "mlp", "--data", "images.npz", "--epochs", 4, "--lr", 1e-7, "--out", "slow")
    output = call("doctor", "slow")
    assert output.startswith("1. warning: learning_rate_too_low")
    assert "Advice: Raise the learning rate" in output


def test_a_page_is_written(folder):
    pytest.importorskip("matplotlib")
    train()
    output = call("doctor", "out", "--report", "page/report.html")
    page = (folder / "page" / "report.html").read_text(encoding="utf-8")
    assert "<title>mlp on images.npz</title>" in page
    assert "after 6 epochs of training" in page
    assert output.strip()


def test_texts_and_numbers(folder):
    (folder / "text.txt").write_text("the cat sat on the mat and the dog on the log; " * 60)
    sizes = ("--set", "hidden_size=16", "--set", "embedding_dim=8")
    call("train", "char_gru", "--data", "text.txt", "--epochs", 2, "--out", "gru", *sizes)
    assert "Inputs and targets" in call("doctor", "gru") or "Advice" in call("doctor", "gru")
    x = np.random.default_rng(0).normal(size=(ROWS, 5)).astype(np.float32)
    np.savez("numbers.npz", x=x, y=10 + 3 * x[:, :2])
    call("train", "mlp", "--data", "numbers.npz", "--epochs", 30, "--lr", 1e-2, "--out", "numbers")
    assert call("doctor", "numbers").startswith("Healthy")


def test_histories_of_runs(folder):
    train()
    history = examining.read_history(folder / "out" / "history.csv")
    assert len(history) == 6
    assert "epoch" not in history.epochs[0]
    assert history["train_loss"][-1] < history["train_loss"][0]
    assert examining.read_history(folder / "nothing.csv") is None


def test_what_went_wrong_is_said(folder):
    train()
    assert "there is no checkpoint nowhere" in failed("doctor", "nowhere")
    assert "no such file or folder" in failed("doctor", "out", "--data", "nothing.npz")
    assert "is a directory" in failed("doctor", "out", "--report", "out")
    (folder / "out" / "history.csv").write_text("epoch,train_loss\n1,much\n")
    assert "history.csv is not what `dlfast train` writes" in failed("doctor", "out")
    state = load(folder / "out" / "best.safetensors")
    save(folder / "out" / "best.safetensors", {name: np.full_like(array, np.nan) for name, array in state.items()})
    (folder / "out" / "history.csv").unlink()
    assert "nan_in_weights" in call("doctor", "out")
