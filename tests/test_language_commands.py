"""`dlfast train` on text and `dlfast generate`, with nets of a few units."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

import dlfast as dl
from dlfast import models, train
from dlfast.cli import main
from dlfast.commands import config, networks
from dlfast.commands import text as language

TEXT = "In the beginning was the Word, and the Word was with God, and the Word was God.\n" * 30
TINY = {
    "gpt": {"context": 16, "d_model": 8, "num_layers": 1, "nhead": 2},
    "char_lstm": {"embedding_dim": 4, "hidden_size": 6, "dropout": 0.2},
    "char_gru": {"embedding_dim": 4, "hidden_size": 6, "dropout": 0.2},
}


def call(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(autouse=True)
def text(monkeypatch, tmp_path):
    """A folder of its own with a text, and small nets."""
    monkeypatch.setattr(language, "WINDOW", 16)
    for name, sizes in TINY.items():
        usual = {**networks.NETWORKS[name].usual, "epochs": 3, "batch_size": 32, "lr": 0.01, "set": sizes}
        monkeypatch.setitem(networks.NETWORKS, name, replace(networks.NETWORKS[name], usual=usual))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")


def trained(model, *options):
    result = call("train", model, "--data", "text.txt", *options)
    assert result.exit_code == 0, result.output
    return result.output


def plan_in(folder):
    return config.read_folder(language.Path(folder)).options


@pytest.mark.parametrize("model", TINY)
def test_train_then_generate(model):
    output = trained(model)
    assert "epoch 3/3" in output
    assert "characters/s" in output
    assert "nats a character after 3 epochs" in output
    with open(f"runs/{model}/history.csv", encoding="utf-8") as file:
        losses = [float(row["val_loss"]) for row in csv.DictReader(file)]
    assert losses[2] < losses[0]
    assert f"{losses[2]:.4f} nats" in output
    options = ("--prompt", "the Word", "--length", 40, "--seed", 3)
    for checkpoint in (f"runs/{model}", f"runs/{model}/best.safetensors", f"runs/{model}/last.safetensors"):
        written = call("generate", checkpoint, *options, "--temperature", 0.7, "--top-k", 5)
        assert written.exit_code == 0, written.output
        assert written.output.startswith("the Word")
        assert len(written.output) == 8 + 40 + 1
    net, vocabulary = language.load_writer(language.Path(f"runs/{model}"))
    codes = models.generate(net, language.encode("the Word", vocabulary), 40, temperature=0.8, seed=3)
    expected = "the Word" + "".join(vocabulary[code] for code in codes)
    assert call("generate", f"runs/{model}", *options).output == expected + "\n"


@pytest.mark.parametrize("model", TINY)
def test_resume_ends_with_the_bits_of_an_unbroken_run(model, monkeypatch):
    trained(model, "--out", "whole", "--seed", 5)

    def interrupt(self, run):
        if run.epoch == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(train.CSVLogger, "on_epoch_begin", interrupt)
        broken = call("train", model, "--data", "text.txt", "--out", "broken", "--seed", 5, "--threads", 2)
    assert broken.exit_code == 1
    assert "stopped after 2 epochs: interrupted" in broken.output
    assert f"go on with: dlfast train {model} --out broken --resume" in broken.output
    trained(model, "--out", "broken", "--resume", "--threads", 1)
    whole, resumed = (dl.load(f"{folder}/last.safetensors") for folder in ("whole", "broken"))
    for name, value in whole["model"].items():
        np.testing.assert_array_equal(resumed["model"][name], value)
    for column in ("train_loss", "val_loss"):
        assert [epoch[column] for epoch in whole["history"]["epochs"]] == [
            epoch[column] for epoch in resumed["history"]["epochs"]
        ]
    again = trained(model, "--out", "broken", "--resume")
    assert "after 3 epochs" in again
    assert "after 4 epochs" in trained(model, "--out", "broken", "--resume", "--epochs", 4)
    assert plan_in("broken").epochs == 4


def test_interrupted_in_the_first_epoch(monkeypatch):
    """There is nothing to go on with, and a new run may start in the folder."""

    def interrupt(self, run):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(train.CSVLogger, "on_epoch_begin", interrupt)
        broken = call("train", "char_gru", "--data", "text.txt")
    assert broken.exit_code == 1
    assert "stopped after 0 epochs: interrupted" in broken.output
    assert "--resume" not in broken.output
    trained("char_gru")


def test_steps_make_equal_epochs():
    trained("char_gru", "--steps", 11, "--batch-size", 32, "--lr", 0.02)
    plan = plan_in("runs/char_gru")
    assert (plan.epochs, plan.updates, plan.batch_size, plan.lr) == (3, 4, 32, 0.02)
    trained("char_gru", "--steps", 1, "--out", "short")
    assert plan_in("short").updates == 1


def test_the_embedded_text_is_the_default():
    result = call("train", "char_gru", "--steps", 1)
    assert result.exit_code == 0, result.output
    assert "learns gospels" in result.output
    assert len(config.read_folder(language.Path("runs/char_gru")).facts.vocabulary) == 61


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "transformer"], "'transformer' is not one of"),
        (["train", "gpt", "--data", "acts"], "--data acts: there is no such file"),
        (["train", "gpt", "--data", "bytes"], "--data bytes: it is no text in UTF-8"),
        (["train", "gpt", "--data", "short"], "more than 16 characters"),
        (["train", "gpt", "--steps", "3", "--epochs", "2"], "--steps stands alone"),
        (["train", "gpt", "--lr", "0"], "--lr"),
        (["train", "gpt", "--out", "run"], "run holds a run"),
        (["train", "gpt", "--out", "nothing", "--resume"], "nothing holds no run"),
        (["train", "char_lstm", "--out", "run", "--resume"], "the run in run has model char_gru, not char_lstm"),
        (["train", "char_gru", "--out", "run", "--resume", "--batch-size", "3"], "batch-size 32, not 3"),
        (["train", "char_gru", "--out", "text.txt"], "is a file"),
        (["generate", "run", "--prompt", "Word#"], "characters that the model never saw: '#'; it knows"),
        (["generate", "run", "--prompt", ""], "the prompt is empty"),
        (["generate", "run"], "--prompt"),
        (["generate", "run", "--prompt", "I", "--temperature", "0"], "--temperature"),
        (["generate", "run", "--prompt", "I", "--top-k", "0"], "--top-k"),
        (["generate", "nothing", "--prompt", "I"], "there is no checkpoint nothing"),
        (["generate", "text.txt", "--prompt", "I"], "text.txt is no checkpoint of `dlfast train`"),
        (["generate", "run/history.csv", "--prompt", "I"], "not a sound safetensors file"),
        (["generate", "other", "--prompt", "I"], "other/config.toml is not what `dlfast train` writes"),
    ],
)
def test_user_errors_are_one_clear_line(arguments, message, tmp_path):
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\xfd" * 50)
    (tmp_path / "short").write_text("In the beginning was")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.toml").write_text("epochs = 3")
    if "run" in arguments:
        trained("char_gru", "--steps", 1, "--out", "run")
    if "run/history.csv" in arguments:
        trained("char_gru", "--steps", 1, "--out", "run")
    result = call(*arguments)
    assert result.exit_code in (1, 2)
    assert message in " ".join(result.output.split())
    assert "Traceback" not in result.output


def test_a_run_whose_loss_is_not_finite(monkeypatch):
    monkeypatch.setattr(
        language.F, "cross_entropy", lambda logits, target: dl.Tensor(np.float32(np.nan)) + logits.sum()
    )
    result = call("train", "char_gru", "--data", "text.txt", "--steps", 1)
    assert result.exit_code == 1
    assert "the loss of batch 1 in epoch 1 is nan" in " ".join(result.output.split())
